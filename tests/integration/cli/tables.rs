//! Lines as tables, read by the tools that they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::captures;
use crate::cli::live::announce;
use crate::command::{self, Folder, parse, run};

const TABLES: [&str; 3] = ["query", "session", "change"];

/// Captures of all that tables have: many kinds of requests, logins that failed, changes, text that is not valid, large integers.
const CAPTURES: [&str; 8] = [
    "summary",
    "integers",
    "client-encodings",
    "copy-formats",
    "replication-pgoutput-v2-streaming",
    "replication-subscription",
    "pipeline-error",
    "ipv6",
];

/// Returns the capture files in folders of `testdata`.
fn files(folders: &[&str]) -> Vec<String> {
    let found = folders.iter().flat_map(|folder| {
        let files = fs::read_dir(command::testdata().join(folder)).unwrap();
        files.map(|file| file.unwrap().path().display().to_string())
    });
    let mut found: Vec<_> = found.filter(|name| name.ends_with(".pcap") || name.ends_with(".pcap.gz")).collect();
    found.sort();
    assert!(found.len() >= folders.len());
    // Times that are finer than those of tables.
    found.push("formats/nano.pcap".to_owned());
    found
}

/// Returns the options with which all lines of tables are written.
fn options(events: &'static str) -> Vec<String> {
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    ["-q", "-p", &ports, "-e", events].map(str::to_owned).into()
}

/// Returns the columns of each table in SQL as `--schema` prints it, whose names are between two of `quote`.
fn columns(form: &str, quote: char) -> BTreeMap<&'static str, BTreeSet<String>> {
    let outcome = run(["--schema", form]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    let sql = outcome.lines.join("\n");
    let of_table = |table: &'static str| {
        // Behind the comments, which have an example.
        let begins = ["MACRO", "EXISTS"].map(|word| format!("{word} pgdissect_{table}"));
        let (_, sql) = begins.iter().find_map(|begin| sql.split_once(begin)).unwrap();
        let sql = sql.split(';').next().unwrap();
        let columns =
            sql.lines().filter_map(|line| Some(line.trim().strip_prefix(quote)?.split(quote).next()?.to_owned()));
        (table, columns.collect())
    };
    TABLES.map(of_table).into()
}

#[test]
fn the_tables_in_sql_have_every_field_of_the_lines() {
    let mut fields = BTreeMap::<String, BTreeSet<String>>::new();
    let lines = run(options("query,session,change").into_iter().chain(files(&CAPTURES)));
    for line in lines.values() {
        let line = line.as_object().unwrap();
        let of_event = fields.entry(line["event"].as_str().unwrap().to_owned()).or_default();
        of_event.extend(line.keys().filter(|name| *name != "event").cloned());
    }
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["change", "query", "session"]);
    for (form, quote) in [("duckdb", '"'), ("clickhouse", '`')] {
        let columns = columns(form, quote);
        for (table, fields) in &fields {
            let missing: Vec<_> = fields.difference(&columns[table.as_str()]).collect();
            assert!(missing.is_empty(), "{form}, {table}: {missing:?}");
        }
    }
}

#[test]
fn the_schema_without_a_form_is_that_of_json() {
    let outcome = run(["--schema"]);
    assert_eq!(outcome.lines, run(["--schema", "json"]).lines);
    assert!(parse(&outcome.lines.join("\n"))["oneOf"].is_array());
}

/// The interpreter of Python that has the tools: `PGDISSECT_PYTHON`, or the system's.
fn python() -> String {
    std::env::var("PGDISSECT_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Returns whether a module of Python is there; prints a message if not.
fn has_module(name: &str) -> bool {
    let found = Command::new(python()).args(["-c", &format!("import {name}")]).output();
    let is_there = found.is_ok_and(|found| found.status.success());
    if !is_there {
        announce(&format!("SKIPPED: {} has no {name} (PGDISSECT_PYTHON)", python()));
    }
    is_there
}

/// Compares the tables that a tool reads with the lines in a file.
fn compare(tool: &str, lines: &str, sql: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/cli/tables.py");
    let output = Command::new(python()).arg(script).arg(tool).args([lines, sql]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tool}: {out}{err}");
    // The script's numbers, against those of the lines as they are read here.
    let values: Vec<Value> = fs::read_to_string(lines).unwrap().lines().map(parse).collect();
    assert_eq!(out.lines().count(), TABLES.len());
    for (table, read) in TABLES.iter().zip(out.lines()) {
        let of_table: Vec<_> = values.iter().filter(|value| value["event"] == *table).collect();
        let [name, count, sums] = read.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((name, count), (*table, of_table.len().to_string().as_str()), "{tool}");
        // Those of columns that are numbers.
        let sums = parse(sums);
        assert_eq!(sums["total_us"].is_u64(), *table == "query", "{tool}");
        for (field, sum) in sums.as_object().unwrap() {
            let expected: u64 = of_table.iter().filter_map(|value| value[field].as_u64()).sum();
            assert_eq!(sum.as_u64(), Some(expected), "{tool}: {table}.{field}");
        }
    }
}

/// Writes lines to `lines.jsonl` in a folder.
fn written_lines(events: &'static str) -> Folder {
    let folder = Folder::new();
    let lines = run(options(events).into_iter().chain(files(&CAPTURES)));
    assert!(lines.lines.len() > 1_000);
    fs::write(folder.file("lines.jsonl"), lines.lines.join("\n") + "\n").unwrap();
    folder
}

#[test]
#[ignore = "needs DuckDB's module for Python"]
fn duckdb_reads_lines_as_tables() {
    if !has_module("duckdb") {
        return;
    }
    // Lines of other events in the same file are passed over.
    let folder = written_lines("message,query,session,change,loss,stats");
    let sql = run(["--schema", "duckdb"]).lines.join("\n");
    fs::write(folder.file("schema.sql"), sql).unwrap();
    compare("duckdb", &folder.file("lines.jsonl"), &folder.file("schema.sql"));
}

#[test]
#[ignore = "needs chdb, ClickHouse as a module for Python"]
fn clickhouse_reads_lines_as_tables() {
    if !has_module("chdb") {
        return;
    }
    let folder = written_lines("query,session,change");
    let sql = run(["--schema", "clickhouse"]).lines.join("\n");
    fs::write(folder.file("schema.sql"), sql + "\n").unwrap();
    compare("chdb", &folder.file("lines.jsonl"), &folder.file("schema.sql"));
    // A line of another event is refused.
    let script = "import sys; from chdb import session; server = session.Session()
for statement in filter(str.strip, open(sys.argv[1]).read().split(';\\n')): server.query(statement)
try: server.query('INSERT INTO pgdissect_query FORMAT JSONEachRow {\"event\":\"session\",\"conn\":1}')
except Exception as refused: print('session' in str(refused))";
    let output = Command::new(python()).args(["-c", script, &folder.file("schema.sql")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "True\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Writes the tables of the same lines to `tables`.
#[cfg(feature = "parquet")]
fn parquet_is_read_by(module: &str) {
    if !has_module(module) {
        return;
    }
    for jobs in ["-j1", "-j4"] {
        let folder = written_lines("query,session,change");
        let tables = folder.file("tables");
        let options = ["-q", "-F", "parquet", "-o", &tables, jobs, "--least-in-parallel=1", "-p"].map(str::to_owned);
        let ports = captures::PORTS.map(|port| port.to_string()).join(",");
        let outcome = run(options.into_iter().chain([ports]).chain(files(&CAPTURES)));
        assert_eq!((outcome.code, outcome.lines.len(), outcome.said.as_str()), (Some(0), 0, ""));
        let mut names: Vec<_> = fs::read_dir(&tables).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["change-00001.parquet", "query-00001.parquet", "session-00001.parquet"]);
        compare(module, &folder.file("lines.jsonl"), &tables);
    }
}

#[test]
#[cfg(feature = "parquet")]
#[ignore = "needs DuckDB's module for Python"]
fn duckdb_reads_parquet() {
    parquet_is_read_by("duckdb");
}

#[test]
#[cfg(feature = "parquet")]
#[ignore = "needs chdb, ClickHouse as a module for Python"]
fn clickhouse_reads_parquet() {
    parquet_is_read_by("chdb");
}

#[test]
#[cfg(feature = "parquet")]
#[ignore = "needs pandas, and pyarrow"]
fn pandas_reads_parquet() {
    parquet_is_read_by("pandas");
}

#[test]
fn tables_that_cannot_be_written_are_refused() {
    let folder = Folder::new();
    let tables = folder.file("tables");
    let capture = "simple-query/capture.pcap";
    let (no_folder, not_a_table, is_a_file) = if cfg!(feature = "parquet") {
        ("it requires -o FOLDER", "tables of requests, sessions and changes", "tables cannot be written: File exists")
    } else {
        ["built without the Cargo feature `parquet`"; 3].into()
    };
    fs::write(folder.file("file"), "").unwrap();
    for (args, wanted) in [
        (&["-F", "parquet", capture][..], no_folder),
        (&["-F", "parquet", "-o", "-", capture], no_folder),
        (&["-F", "parquet", "-o", &tables, "-e", "query,message", capture], not_a_table),
        (&["-F", "parquet", "-o", &folder.file("file"), capture], is_a_file),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2), "{args:?}");
        assert!(outcome.said.contains(wanted), "{args:?}: {}", outcome.said);
        assert!(!Path::new(&tables).exists());
    }
}
