//! Scripts of sessions, run by psql on a real server, against the replies that were captured.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::live::{Server, announce};
use crate::command::{Folder, run, testdata};

const SCENARIO: &str = "sql-script/capture.pcap.gz";
const PORTS: &str = "-p5415,5432,5450,6432";

fn script(capture: &str, args: &[&str]) -> String {
    let outcome = run([&[PORTS, "-q", "-F", "sql", capture], args].concat());
    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
    outcome.lines.join("\n") + "\n"
}

/// Returns the requests in a script: when they began, and whether they are run, as the text of each.
fn requests(script: &str) -> Vec<(String, String)> {
    let mut requests: Vec<(String, String)> = Vec::new();
    for line in script.lines() {
        let time = line.strip_prefix("-- ").and_then(|line| line.split("  ").next());
        match time.filter(|time| time.len() > 20 && time.ends_with('Z') && time.starts_with("20")) {
            Some(time) => requests.push((time.to_owned(), String::new())),
            None => {
                if let Some((_, text)) = requests.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    requests
}

fn is_run(text: &str) -> bool {
    !text.starts_with("-- not run: ")
}

#[test]
fn parameters_are_constants_of_their_types() {
    let script = script("extended-query/capture.pcap", &[]);
    for expected in [
        "SELECT 'größe' AS t, '41'::int + 1 AS i, NULL::text AS n;\n",
        "SELECT '-5'::int4 + 1, 'bin'::text || 'tail', '1.5'::float8, E'\\\\x0001feff'::bytea;\n",
        "INSERT INTO ext_item VALUES ('0'::int4, 'name 0'::text);\n",
        "  error 23505 duplicate key value violates unique constraint \"ext_item_pkey\"\nINSERT INTO ext_item VALUES ('1'::int4, 'duplicate'::text);\n",
        "-- not run: the value of a parameter is not known\n-- INSERT INTO ext_item VALUES ($1, $2)\n",
        "-- not run: its SQL was not captured, or not kept\n",
    ] {
        assert!(script.contains(expected), "{expected}");
    }
}

#[test]
fn a_session_is_a_block_and_every_request_is_in_one() {
    for capture in ["summary/capture.pcap.gz", "mixed-10000/capture.pcap.zst", SCENARIO] {
        let queries = run([PORTS, "-q", "-e", "query", capture]).good();
        let script = script(capture, &[]);
        let mut expected: Vec<_> = queries.iter().map(|query| query["started"].as_str().unwrap().to_owned()).collect();
        let mut found: Vec<_> = requests(&script).into_iter().map(|(time, _)| time).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{capture}");
        let mut conns: Vec<_> = queries.iter().map(|query| query["conn"].as_u64().unwrap()).collect();
        conns.sort_unstable();
        conns.dedup();
        let blocks = script.lines().filter(|line| line.starts_with("-- Session ")).count();
        assert_eq!(blocks, conns.len(), "{capture}");
        assert_eq!(script.lines().filter(|line| *line == "\\connect").count(), blocks - 1);
    }
    // Where no session is selected, because none failed, requests are still in the blocks of theirs.
    let failed = run([PORTS, "-q", "-e", "query", "--errors", SCENARIO]).good().len();
    assert!(failed > 5);
    assert_eq!(requests(&script(SCENARIO, &["--errors"])).len(), failed);
    // Of chosen sessions, those, whatever is chosen among their requests.
    let one = script(SCENARIO, &["--conn", "2", "--sql", "plain"]);
    assert_eq!(requests(&one).len(), 1);
    assert!(one.contains("-- Session 2, ") && one.contains("SELECT 'plain'::text;\n"));
}

#[test]
fn what_cannot_be_run_is_a_comment_and_says_why() {
    let requests = requests(&script(SCENARIO, &[]));
    for (_, text) in requests.iter().filter(|(_, text)| !is_run(text)) {
        // What is behind the request belongs to the next block.
        let text = text.split("\n\\connect\n").next().unwrap();
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with("-- ")), "{text}");
    }
    let why = |sql: &str| {
        let text = &requests.iter().find(|(_, text)| text.contains(sql)).unwrap_or_else(|| panic!("{sql}")).1;
        text.strip_prefix("-- not run: ").unwrap_or_else(|| panic!("{text}")).lines().next().unwrap().to_owned()
    };
    for (sql, reason) in [
        ("SELECT 1 \\! touch", "psql would read its backslash as a command"),
        ("'it has no end", "a constant, a name or a comment in it has no end"),
        ("SELECT (1\n", "its parentheses, or a BEGIN in it, have no end"),
        ("COPY script_item FROM STDIN", "the data of its COPY is not in this script"),
        ("SET client_encoding = 'LATIN1'", "it may set client_encoding, and this script is in UTF-8"),
        ("SET NAMES 'UTF8'", "it may set client_encoding, and this script is in UTF-8"),
        ("PASSWORD '***'", "it has a secret (--show-secrets)"),
        ("-- SELECT $2\n", "the value of a parameter is not known"),
        (
            "DEALLOCATE script_by_protocol",
            "it names a prepared statement or a portal of the protocol, which this script does not make",
        ),
    ] {
        assert_eq!(why(sql), reason, "{sql}");
    }
    // In a session without standard_conforming_strings.
    assert!(script(SCENARIO, &[]).contains("\nSELECT 'a\\'b; \\\\d'::text;\n"));
    // Further rows of a portal are none of its statement once more.
    let fetched = script("portal-suspended/capture.pcap", &[]);
    let sql = "SELECT i FROM generate_series(1, 20) i";
    assert_eq!(fetched.matches(&format!("\n{sql};\n")).count(), 1);
    let more = format!("\n-- not run: more rows of a portal: its statement is above\n-- {sql}\n");
    assert_eq!(fetched.matches(&more).count(), 2);
    assert!(!script(SCENARIO, &[]).contains("script-secret"));
    // What the server had reported, behind a statement that sets it.
    let run_again = "SET standard_conforming_strings = 'on'; -- as it was\nSELECT '\\'::text;\n";
    assert!(script(SCENARIO, &[]).contains(run_again));
    assert!(script(SCENARIO, &["--show-secrets"]).contains("\nALTER ROLE app PASSWORD 'script-secret';\n"));
    let outcome = run(["-F", "sql", "--redact", "values", SCENARIO]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.said.contains("not with --redact values"), "{}", outcome.said);
}

#[test]
fn null_has_a_type_and_what_has_none_is_no_column() {
    let typed = script("server-log-cases/script-types.pcap", &[]);
    for expected in [
        "select to_json(NULL::text);\n",
        "select array_length(NULL::int4[],1);\n",
        "select ov(NULL::int4);\n",
        "create table mm3 as select NULL::int4 as a;\n",
    ] {
        assert!(typed.contains(expected), "{expected}");
    }
    let script = script("server-log-cases/script.pcap.gz", &[]);
    // A constant there would be the number of a column, or an error.
    assert!(script.contains("GROUP BY or ORDER BY, where a constant means a column\n-- select g%2 from generate_series(1,3) g group by g%2, $1 order by 1\n"));
    assert!(script.contains("\nselect count(*) from generate_series(1,3) g group by '1'::int4;\n"));
}

#[test]
fn what_failed_for_the_type_of_a_parameter_is_not_run_with_a_constant() {
    let script = script("server-log-cases/script-pipelines.pcap.gz", &[]);
    let refused = "error 42P18 could not determine data type of parameter $1\n\
                   -- not run: the type of a parameter could not be determined, and a constant needs none\n";
    assert!(script.contains(refused));
}

#[test]
fn a_statement_that_sql_has_prepared_can_be_executed_behind_a_bind_of_it() {
    let script = script("server-log-cases/script-pipelines.pcap.gz", &[]);
    assert!(script.contains("\nprepare p3 as select $1::text;\n") && script.contains("\nexecute p3('v');\n"));
}

#[test]
fn what_a_pipeline_had_undone_is_told() {
    let script = script("server-log-cases/script-pipelines.pcap.gz", &[]);
    let told = "\nselect 1/0;\n-- the server undid the 2 statements above of its pipeline; here they are run by themselves, and stay\n";
    assert!(script.contains(told));
    assert_eq!(script.matches("-- the server undid").count(), 1, "not of what was in a transaction, or failed first");
}

/// What psql prints behind each request: its number, how many rows its last statement had, and its SQLSTATE.
const MARK: &str = "@@";

/// Runs the requests of a script in a new database. Returns what psql printed for each, and then the number of rows and the SQLSTATE.
fn replay(server: &Server, database: &str, capture: &str) -> Vec<(String, String, String, String)> {
    server.query(&format!("CREATE DATABASE {database}"));
    let script = script(capture, &[]);
    let folder = Folder::new();
    let mut marked = String::new();
    let mut runs = Vec::new();
    let schema = fs::read_to_string(testdata().join("drivers/schema.sql")).unwrap();
    let first = requests(&script)[0].0.clone();
    let header = script.split_once(&format!("-- {first}")).unwrap().0;
    marked.push_str(header);
    for (time, text) in requests(&script) {
        // What is behind the request belongs to the next block.
        let (text, next) = text.split_once("\n\\connect\n").map_or((text.as_str(), ""), |(text, next)| (text, next));
        if is_run(text) {
            marked.push_str(&format!("\\echo {MARK}begin\n{text}\n\\echo {MARK}end :ROW_COUNT :SQLSTATE\n"));
            runs.push(time);
        }
        if !next.is_empty() {
            marked.push_str(&format!("\\connect\n{next}"));
        }
    }
    let (schema_file, file) = (folder.file("schema.sql"), folder.file("script.sql"));
    fs::write(&schema_file, schema).unwrap();
    fs::write(&file, marked).unwrap();
    let psql = |file: &str| {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-U", "app", "-d", database, "-f", file]);
        // The script says itself which encoding it is in.
        psql.env("PGCLIENTENCODING", if file.ends_with("script.sql") { "LATIN1" } else { "UTF8" });
        psql.arg("-p").arg(server.port.to_string()).stdin(Stdio::null()).current_dir(folder.path()).output().unwrap()
    };
    psql(&schema_file);
    let output = psql(&file);
    assert!(!folder.path().join("broken").exists());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut replayed = Vec::new();
    for part in printed.split(&format!("{MARK}begin\n")).skip(1) {
        let (text, end) = part.split_once(&format!("{MARK}end ")).unwrap_or_else(|| panic!("{part}\n{said}"));
        let (rows, state) = end.trim().split_once(' ').unwrap();
        replayed.push((text.to_owned(), rows.to_owned(), state.to_owned()));
    }
    assert_eq!(replayed.len(), runs.len(), "{said}");
    runs.into_iter().zip(replayed).map(|(time, (text, rows, state))| (time, text, rows, state)).collect()
}

/// Returns how many rows the last statement of a request had, by its command tag.
fn last_rows(query: &Value) -> Option<String> {
    let tag = query["command_tags"].as_array()?.last()?.as_str()?;
    let counts = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "FETCH "];
    counts.iter().any(|command| tag.starts_with(command)).then(|| tag.rsplit(' ').next().unwrap().to_owned())
}

#[test]
fn psql_and_a_server_do_with_a_script_what_was_captured() {
    let server = match Server::start() {
        Ok(server) => server,
        Err(reason) => {
            return announce(&format!("SKIPPED: psql_and_a_server_do_with_a_script_what_was_captured: {reason}"));
        }
    };
    server.query("CREATE ROLE app SUPERUSER LOGIN");
    let captures = [
        SCENARIO,
        "driver-psycopg3-binary/capture.pcap.gz",
        "driver-psql/capture.pcap.gz",
        "driver-pg8000/capture.pcap.gz",
    ];
    for (number, capture) in captures.into_iter().enumerate() {
        let lines = run([PORTS, "-q", "-e", "query,message", "-t", "DataRow", capture]).good();
        let queries: Vec<_> = lines.iter().filter(|line| line["event"] == "query").collect();
        // What the data of a COPY, or a parameter that is not known, would have changed.
        let is_partial = capture != SCENARIO;
        let mut compared = 0;
        for (time, text, rows, state) in replay(&server, &format!("replay_{number}"), capture) {
            let query = queries.iter().find(|query| query["started"] == time).unwrap();
            let expected = query["error"]["code"].as_str().unwrap_or("00000");
            assert_eq!(state, expected, "{capture}: {query}\n{text}");
            if let Some(expected) = last_rows(query).filter(|_| query["outcome"] == "ok" && query["error"].is_null())
                && !(is_partial && capture.contains("driver-psql/"))
            {
                assert_eq!(rows, expected, "{capture}: {query}\n{text}");
                compared += 1;
            }
            // What the scenario asked for in binary format, to send it again.
            let is_binary = query["sql"].as_str().is_some_and(|sql| sql.starts_with("SELECT ($1::text)::"));
            if capture != SCENARIO || expected != "00000" || is_binary {
                continue;
            }
            // The values themselves, which are texts.
            let is_its = |line: &&Value| {
                line["type"] == "DataRow" && line["query"] == query["query"] && line["conn"] == query["conn"]
            };
            let values: Vec<_> = lines.iter().filter(is_its).map(|line| line["body"]["values"][0].clone()).collect();
            if values.iter().all(Value::is_string) {
                let values: String = values.iter().map(|value| format!("{}\n", value.as_str().unwrap())).collect();
                assert_eq!(text, values, "{query}");
            }
        }
        // What psql has sent depends on the data of its COPY.
        assert!(compared > 10 || capture.contains("driver-psql/"), "{capture}: {compared}");
    }
}
