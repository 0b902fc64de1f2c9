//! Calls and rows of a summary, beside what the server's pg_stat_statements counted of the same workload.

use std::collections::BTreeMap;

use pgdissect::Redaction;
use pgdissect::message::{Sql, Text};
use pgdissect::record::QuerySql;
use serde_json::Value;

use crate::command::{parse, run, testdata};

#[test]
fn calls_and_rows_are_those_of_the_server() {
    let folder = testdata().join("pg-stat-statements");
    let counted = std::fs::read_to_string(folder.join("pg_stat_statements.json")).unwrap();
    let mut expected = BTreeMap::<String, (u64, u64)>::new();
    for statement in parse(&counted).as_array().unwrap() {
        let text = statement["query"].as_str().unwrap();
        // Of prepared utility statements, the server counts the first execution alone.
        if ["BEGIN", "END"].contains(&text) {
            continue;
        }
        let sql = QuerySql(Sql { text: Text::utf8(text.as_bytes()), redaction: Redaction::Nothing });
        let (calls, rows) = expected.entry(sql.normalize().1).or_default();
        *calls += statement["calls"].as_u64().unwrap();
        *rows += statement["rows"].as_u64().unwrap();
    }
    assert!(expected.len() > 15, "{}", expected.len());
    let summary = &run(["-p", "5416", "-e", "summary", "--top", "100", "pg-stat-statements/capture.pcap.gz"]).good()[0];
    let mut found = BTreeMap::new();
    for statement in summary["statements"].as_array().unwrap() {
        // It does not count what failed.
        let calls = statement["calls"].as_u64().unwrap() - statement["errors"].as_u64().unwrap();
        if calls > 0 && !["BEGIN", "END", "COMMIT"].iter().any(|text| statement["normalized"] == *text) {
            let fingerprint = statement["fingerprint"].as_str().unwrap().to_owned();
            found.insert(fingerprint, (calls, statement["rows"].as_u64().unwrap()));
        }
    }
    // COMMIT comes from psql, as it is.
    let commit = |statement: &&Value| statement["normalized"] == "COMMIT";
    assert_eq!(summary["statements"].as_array().unwrap().iter().find(commit).unwrap()["calls"], 3);
    expected.retain(|fingerprint, _| found.contains_key(fingerprint) || !is_commit(fingerprint));
    // What resets the counters is counted first, and was not captured.
    expected.retain(|fingerprint, _| !is(fingerprint, "select pg_stat_statements_reset()"));
    assert_eq!(found, expected);
}

fn is(fingerprint: &str, text: &str) -> bool {
    let sql = QuerySql(Sql { text: Text::utf8(text.as_bytes()), redaction: Redaction::Nothing });
    sql.normalize().1 == fingerprint
}

fn is_commit(fingerprint: &str) -> bool {
    is(fingerprint, "COMMIT")
}

/// The same workload, before and after an index was dropped.
#[test]
fn a_baseline_names_the_statement_that_lost_its_index_first() {
    let args = ["-p", "5416", "-e", "summary", "--baseline", "baseline/before.pcap.gz", "baseline/after.pcap.gz"];
    let summary = &run(args).good()[0];
    let before = &run(["-p", "5416", "-e", "summary", "baseline/before.pcap.gz"]).good()[0];
    let comparison = &summary["baseline"];
    assert_eq!(comparison["totals"], before["totals"]);
    let lost = &comparison["explained"][0];
    assert_eq!(lost["normalized"], "SELECT count(*) FROM account WHERE owner = $2 || $1");
    assert_eq!((&lost["confidence"], &comparison["slower"][0]), (&"certain".into(), lost));
    assert!(lost["slower_probability"].as_f64() > Some(0.95), "{lost}");
    for (times, of) in [("before", before), ("after", summary)] {
        let statements = of["statements"].as_array().unwrap();
        let statement = statements.iter().find(|s| s["fingerprint"] == lost["fingerprint"]).unwrap();
        for field in ["calls", "errors", "timed", "exec_us", "p50_us", "p95_us", "max_us"] {
            assert_eq!(lost[times][field], statement[field], "{times}: {field}");
        }
    }
    // A capture is as it is itself.
    let args = ["-p", "5416", "-e", "summary", "--baseline", "baseline/before.pcap.gz", "baseline/before.pcap.gz"];
    let same = &run(args).good()[0]["baseline"];
    for section in
        ["explained", "appeared", "vanished", "slower", "faster", "more_frequent", "less_frequent", "began_to_fail"]
    {
        assert_eq!(same[section].as_array().map(Vec::len), Some(0), "{section}: {}", same[section]);
    }
}
