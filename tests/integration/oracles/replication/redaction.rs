//! `--redact values`: no value of any column, and no content of a message, is in any line; names and shapes are.

use std::collections::BTreeSet;

use pgdissect::{Config, Redaction};
use serde_json::Value;

use super::{Line, dissect_packets};
use crate::captures;
use crate::laws::redaction::written;

const CAPTURES: [&str; 12] = [
    "replication-pgoutput-v1/capture.pcap",
    "replication-pgoutput-v2-streaming/capture.pcap.gz",
    "replication-pgoutput-v3-two-phase/capture.pcap.gz",
    "replication-pgoutput-v4-parallel/capture.pcap.gz",
    "replication-pgoutput-v4-parallel/abort-unstarted.pcap.gz",
    "replication-pgoutput-14/capture.pcap.gz",
    "replication-subscription/capture.pcap.gz",
    "replication-subscription-18/capture.pcap.gz",
    "replication-text-plugins/test_decoding.pcap.gz",
    "replication-text-plugins/wal2json_1.pcap.gz",
    "replication-text-plugins/wal2json_2.pcap.gz",
    "replication-ends/capture.pcap",
];

/// Adds the texts in a value of at least 4 characters.
fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.chars().count() >= 4 && text.chars().any(char::is_alphabetic) => {
            _ = found.insert(text.clone())
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// Adds the names of all fields.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                keys(value, found);
            }
        }
        _ => {}
    }
}

/// Returns the values in the changes, and in what plugins have written.
fn values(lines: &[Line]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for Line { value, .. } in lines {
        for field in ["new", "old", "key", "content"].iter().filter(|_| value["event"] == "change") {
            texts(&value[*field], &mut found);
        }
        match &value["body"]["data"] {
            // What is in quotes in the text of test_decoding.
            Value::String(text) => {
                found.extend(text.split('\'').skip(1).step_by(2).filter(|text| text.len() >= 4).map(str::to_owned))
            }
            data => {
                for column in data["columns"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .chain(data["identity"].as_array().into_iter().flatten())
                {
                    texts(&column["value"], &mut found);
                }
                for change in data["change"].as_array().into_iter().flatten() {
                    texts(&change["columnvalues"], &mut found);
                    texts(&change["content"], &mut found);
                }
                texts(&data["content"], &mut found);
            }
        }
    }
    found
}

#[test]
fn no_value_of_a_change_is_in_a_line() {
    let mut count = 0;
    for capture in CAPTURES {
        let (packets, _) = captures::packets(&[captures::testdata().join(capture)]);
        let shown = dissect_packets(&packets, captures::everything(), &captures::keys_of(capture));
        let config = Config { redaction: Redaction::Values, ..captures::everything() };
        let hidden = dissect_packets(&packets, config.clone(), &captures::keys_of(capture));
        // Words that are names as well: of fields, types and tables; and that for no value.
        let mut names: BTreeSet<String> = ["varchar", "app.users", "NULL"].map(str::to_owned).into();
        hidden.iter().for_each(|line| keys(&line.value, &mut names));
        let is_name = |value: &String| names.iter().any(|name| name.contains(value));
        let values: BTreeSet<String> = values(&shown).into_iter().filter(|value| !is_name(value)).collect();
        let lines = written(&packets, config);
        for value in &values {
            let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
            let escaped = serde_json::to_string(value).unwrap();
            let escaped = &escaped[1..escaped.len() - 1];
            for form in [value, &hex, escaped] {
                let line = || lines.lines().find(|line| line.contains(form)).unwrap_or_default();
                assert!(!lines.contains(form), "{capture}: {value} is in {}", line());
            }
        }
        assert!(!values.is_empty(), "{capture}");
        count += values.len();

        // What it is of, and its shape, are as before.
        assert_eq!(hidden.len(), shown.len(), "{capture}");
        for (hidden, shown) in hidden.iter().zip(&shown) {
            let (hidden, shown) = (&hidden.value, &shown.value);
            if shown["event"] == "change" {
                for field in ["schema", "table", "relation_oid", "op", "xid", "prefix", "unchanged", "lsn"] {
                    assert_eq!(hidden.get(field), shown.get(field), "{capture}: {hidden}");
                }
                for field in ["new", "old", "key"] {
                    let columns = |line: &Value| {
                        line.get(field).map(|row| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
                    };
                    assert_eq!(columns(hidden), columns(shown), "{capture}: {hidden}");
                    for value in hidden.get(field).and_then(Value::as_object).into_iter().flat_map(|row| row.values()) {
                        assert!(value.is_null() || value["bytes"].is_u64(), "{capture}: {hidden}");
                    }
                }
            } else if shown["event"] == "transaction" {
                assert_eq!(hidden, shown, "{capture}");
            } else if shown["body"].get("pgoutput").is_some() {
                assert_eq!(hidden["body"]["pgoutput"]["type"], shown["body"]["pgoutput"]["type"], "{capture}");
                assert_eq!(hidden["body"]["pgoutput"]["columns"], shown["body"]["pgoutput"]["columns"], "{capture}");
            }
        }
    }
    assert!(count > 1_000, "{count}");
}
