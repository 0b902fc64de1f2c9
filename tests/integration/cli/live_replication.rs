//! Logical replication, captured live: what the lines say, applied to empty tables, gives the tables of the publisher.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cli::live::{Server, announce, interrupt};

/// Tables with values that JSON and SQL write alike, and the columns that identify their rows.
const TABLES: &[(&str, &str, &[&str])] = &[
    (
        "item",
        "id int PRIMARY KEY, name text, price numeric(10,2), at timestamptz, day date, took interval, ok boolean, big bigint, \
         small smallint, ratio double precision, raw bytea, tag uuid, doc jsonb, words text[], host inet, mood mood",
        &["id"],
    ),
    ("pair", "a int, b text, v text, PRIMARY KEY (a, b)", &["a", "b"]),
    ("document", "id int PRIMARY KEY, title text, body text", &["id"]),
    ("whole", "a int, b text", &["a", "b"]),
];

const WORKLOAD: &str = r#"
INSERT INTO item VALUES
    (1, 'größe', 1.50, '2026-11-27 10:00:00.123456+01', '2026-02-28', '1 mon 2 days 03:04:05.6', true, 9223372036854775807, -7,
     0.1, '\x00ff', '6d9ef5a4-5f4e-4c3c-9d3e-0a1b2c3d4e5f', '{"a": [1, null, "x"]}', '{a,NULL,"b c"}', '10.0.0.1/8', 'sad'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, '', -0.01, 'infinity', '1044-03-15', '-1 day', false, -9007199254740993, 0, 'NaN', '', NULL, '"text"', '{}', '::1', 'ok');
UPDATE item SET name = 'apple', price = price + 1 WHERE id = 1;
UPDATE item SET id = 30 WHERE id = 3;
DELETE FROM item WHERE id = 2;
INSERT INTO pair VALUES (1, 'x', 'one'), (1, 'y', 'two'), (2, 'x', NULL);
UPDATE pair SET b = 'z', v = 'moved' WHERE a = 1 AND b = 'y';
INSERT INTO whole VALUES (1, 'a'), (2, NULL), (3, 'c');
UPDATE whole SET b = 'two' WHERE a = 2;
DELETE FROM whole WHERE a = 3;
BEGIN;
INSERT INTO pair VALUES (9, 'kept', NULL);
SAVEPOINT s;
INSERT INTO pair VALUES (9, 'undone', NULL);
ROLLBACK TO s;
COMMIT;
BEGIN; INSERT INTO pair VALUES (8, 'never', NULL); ROLLBACK;
-- Kept out of line.
ALTER TABLE document ALTER body SET STORAGE EXTERNAL;
INSERT INTO document SELECT i, 'title ' || i, repeat(md5(i::text), 400) FROM generate_series(1, 3) i;
UPDATE document SET title = 'new' WHERE id = 2;
ALTER TABLE document ADD COLUMN note text DEFAULT 'none';
INSERT INTO document VALUES (4, 'four', 'short', 'noted');
-- Streamed while it is in progress, and in part undone.
BEGIN;
INSERT INTO pair SELECT i, 'streamed', repeat('x', 300) FROM generate_series(100, 500) i;
SAVEPOINT s;
INSERT INTO pair SELECT i, 'undone', repeat('x', 300) FROM generate_series(600, 900) i;
ROLLBACK TO s;
DELETE FROM pair WHERE a > 490;
COMMIT;
BEGIN;
INSERT INTO pair SELECT i, 'aborted', repeat('x', 300) FROM generate_series(1000, 1500) i;
ROLLBACK;
BEGIN; INSERT INTO pair VALUES (50, 'prepared', NULL); PREPARE TRANSACTION 'one'; COMMIT PREPARED 'one';
BEGIN; INSERT INTO pair VALUES (51, 'prepared', NULL); PREPARE TRANSACTION 'two'; ROLLBACK PREPARED 'two';
TRUNCATE whole;
INSERT INTO whole VALUES (7, 'after');
SELECT pg_logical_emit_message(false, 'end', 'of the workload');
"#;

/// A subscriber that is stopped when it is dropped.
struct Subscriber(Child);

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn changes_give_the_tables_of_the_publisher(server: &Server) {
    if !Command::new("pg_recvlogical").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return announce("SKIPPED: changes_give_the_tables_of_the_publisher: no pg_recvlogical");
    }
    let mut schema = "CREATE TYPE mood AS ENUM ('sad', 'ok');\nCREATE SCHEMA applied;\n".to_owned();
    for (table, columns, _) in TABLES {
        let _ = writeln!(schema, "CREATE TABLE {table} ({columns});");
    }
    schema += "ALTER TABLE whole REPLICA IDENTITY FULL;\nCREATE PUBLICATION tables FOR ALL TABLES;\n";
    schema += "SELECT pg_create_logical_replication_slot('lines', 'pgoutput');";
    run_sql(server, &schema);

    let mut running = server.listen(["-i", "lo", "-e", "change,transaction"]);
    let subscriber = Command::new("pg_recvlogical")
        .args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "--slot",
            "lines",
            "--start",
            "--no-loop",
            "-f",
            "/dev/null",
        ])
        .args(["-o", "proto_version=2", "-o", "streaming=on", "-o", "messages=true", "-o", "publication_names=tables"])
        .args(["-p", &server.port.to_string()])
        .env("PGSSLMODE", "disable")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let subscriber = Subscriber(subscriber);
    run_sql(server, WORKLOAD);
    let lines = running.lines_until(|line| line["op"] == "message" && line["prefix"] == "end");
    interrupt(running);
    drop(subscriber);

    assert!(lines.iter().any(|line| line["streamed"] == true && line["op"] == "insert"), "nothing was streamed");
    assert!(lines.iter().any(|line| !line["unchanged"].is_null()), "nothing was unchanged");
    // Those that it is applied to are not to be published.
    let mut sql = "DROP PUBLICATION tables;\n".to_owned();
    for (table, ..) in TABLES {
        let _ = writeln!(sql, "CREATE TABLE applied.{table} (LIKE {table} INCLUDING DEFAULTS);");
    }
    sql += &apply(&lines);
    for (table, ..) in TABLES {
        // A row too many, or one that lacks, divides by zero.
        let _ = writeln!(
            sql,
            "SELECT 1 / (count(*) = 0)::int FROM ((TABLE {table} EXCEPT ALL TABLE applied.{table}) UNION ALL \
             (TABLE applied.{table} EXCEPT ALL TABLE {table})) AS differing;"
        );
    }
    run_sql(server, &sql);
}

/// Returns SQL that applies the changes of the transactions that were committed, when they were.
fn apply(lines: &[Value]) -> String {
    let mut sql = String::new();
    let mut open: HashMap<u64, Vec<&Value>> = HashMap::new();
    for line in lines {
        let xid = line["xid"].as_u64();
        if line["event"] == "change" {
            if let Some(xid) = xid {
                open.entry(xid).or_default().push(line);
            }
            continue;
        }
        let xid = xid.unwrap();
        match line["outcome"].as_str().unwrap() {
            "committed" => {
                let changes = open.remove(&xid).unwrap_or_default();
                assert_eq!(line["changes"], changes.len(), "{line}");
                changes.iter().for_each(|change| apply_one(&mut sql, change));
            }
            "aborted" if line["subxid"].is_null() => _ = open.remove(&xid),
            "aborted" => {
                if let Some(changes) = open.get_mut(&xid) {
                    changes.retain(|change| change["subxid"] != line["subxid"]);
                }
            }
            other => panic!("{other} needs version 3"),
        }
    }
    sql
}

fn apply_one(sql: &mut String, change: &Value) {
    let op = change["op"].as_str().unwrap();
    if op == "message" {
        return;
    }
    let table = change["table"].as_str().unwrap();
    let (_, _, key) = TABLES.iter().find(|(name, ..)| *name == table).unwrap();
    let literal = |value: &Value| format!("'{}'", value.to_string().replace('\'', "''"));
    let record = |value: &Value| format!("jsonb_populate_record(NULL::applied.{table}, {})", literal(value));
    // The row before, or of an update that does not change its key, the new one.
    let before = [&change["old"], &change["key"], &change["new"]].into_iter().find(|row| !row.is_null());
    let is_it = || {
        let same = key.iter().map(|column| format!("t.{column} IS NOT DISTINCT FROM k.{column}"));
        same.collect::<Vec<_>>().join(" AND ")
    };
    let _ = match op {
        "insert" => {
            // A column that was added later is there already.
            let new = change["new"].as_object().unwrap();
            let columns: Vec<_> = new.keys().cloned().collect();
            let columns = columns.join(", ");
            writeln!(sql, "INSERT INTO applied.{table} ({columns}) SELECT {columns} FROM {};", record(&change["new"]))
        }
        "update" => {
            let new = change["new"].as_object().unwrap();
            let columns: Vec<_> = new.keys().cloned().collect();
            writeln!(
                sql,
                "UPDATE applied.{table} AS t SET ({0}) = ROW({1}) FROM {2} AS k, {3} AS n WHERE {4};",
                columns.join(", "),
                columns.iter().map(|column| format!("n.{column}")).collect::<Vec<_>>().join(", "),
                record(before.unwrap()),
                record(&change["new"]),
                is_it(),
            )
        }
        "delete" => {
            writeln!(sql, "DELETE FROM applied.{table} AS t USING {} AS k WHERE {};", record(before.unwrap()), is_it())
        }
        "truncate" => writeln!(sql, "TRUNCATE applied.{table};"),
        other => panic!("{other}"),
    };
}

/// Executes SQL, each statement by itself.
#[track_caller]
fn run_sql(server: &Server, sql: &str) {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p"]);
    psql.arg(server.port.to_string()).env("PGSSLMODE", "disable");
    psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    // It ends at the first statement that fails, and says so.
    let _ = psql.stdin.take().unwrap().write_all(sql.as_bytes());
    let output = psql.wait_with_output().unwrap();
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
}
