//! What `pg_logical_slot_peek_binary_changes` returns of the same changes, from a slot of its own and without streaming: the same
//! transactions with the same changes, in the order of their commits.

use std::collections::HashMap;

use pgdissect::value::Format;
use serde_json::{Map, Value, json};

use super::{Consumer, dissect, jsonl, lsn, streamed, typed};

/// A reader of messages that were written whole.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number<const N: usize>(&mut self) -> u64 {
        self.take(N).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn lsn(&mut self) -> Value {
        let number = self.number::<8>();
        format!("{:X}/{:X}", number >> 32, number & 0xffff_ffff).into()
    }

    fn time(&mut self) -> Value {
        let micros = self.number::<8>() as i64 + 946_684_800_000_000;
        let time = jiff::Timestamp::from_microsecond(micros).unwrap();
        time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into()
    }

    fn text(&mut self) -> &'a str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = std::str::from_utf8(self.take(end)).unwrap();
        self.take(1);
        text
    }
}

/// A table, as it was described last.
struct Table<'a> {
    schema: &'a str,
    name: &'a str,
    /// The names of the columns, whether they are of the key, and their types.
    columns: Vec<(&'a str, bool, u32)>,
}

impl Table<'_> {
    /// Reads a row: the values that were sent, and the names of the others.
    fn row(&self, bytes: &mut Bytes<'_>, is_key: bool) -> (Value, Vec<Value>) {
        assert_eq!(bytes.number::<2>(), self.columns.len() as u64);
        let (mut row, mut unchanged) = (Map::new(), Vec::new());
        for (name, is_of_key, type_oid) in &self.columns {
            let format = match bytes.number::<1>() as u8 {
                b'n' => {
                    if *is_of_key || !is_key {
                        row.insert((*name).to_owned(), Value::Null);
                    }
                    continue;
                }
                b'u' => {
                    unchanged.push((*name).into());
                    continue;
                }
                b't' => Format::Text,
                b'b' => Format::Binary,
                other => panic!("{other}"),
            };
            let len = bytes.number::<4>() as usize;
            row.insert((*name).to_owned(), typed(*type_oid, format, bytes.take(len)));
        }
        (row.into(), unchanged)
    }
}

/// Returns what has happened, as the lines of the stream have it: logical messages without a transaction, and transactions with their
/// changes.
fn happened(peek: &str) -> Vec<(Value, Vec<Value>)> {
    let rows = jsonl(peek);
    let data: Vec<Vec<u8>> = rows.iter().map(|row| unhex(row["data"].as_str().unwrap())).collect();
    let mut tables: HashMap<u64, Table<'_>> = HashMap::new();
    let (mut happened, mut changes, mut origin) = (Vec::new(), Vec::new(), None);
    for (row, data) in rows.iter().zip(&data) {
        let mut bytes = Bytes(data);
        let tag = bytes.number::<1>() as u8;
        let mut change = json!({ "xid": row["xid"], "lsn": row["lsn"] });
        match tag {
            b'B' | b'b' => {
                (changes, origin) = (Vec::new(), None);
                bytes = Bytes(b"");
            }
            b'O' => {
                bytes.take(8);
                origin = Some(bytes.text());
            }
            b'R' => {
                let (oid, schema, name) = (bytes.number::<4>(), bytes.text(), bytes.text());
                bytes.take(1);
                let columns = (0..bytes.number::<2>()).map(|_| {
                    let is_key = bytes.number::<1>() == 1;
                    let (name, type_oid) = (bytes.text(), bytes.number::<4>() as u32);
                    bytes.take(4);
                    (name, is_key, type_oid)
                });
                let columns = columns.collect();
                tables.insert(oid, Table { schema, name, columns });
            }
            b'Y' => bytes = Bytes(b""),
            b'I' | b'U' | b'D' => {
                let oid = bytes.number::<4>();
                let table = &tables[&oid];
                let op = match tag {
                    b'I' => "insert",
                    b'U' => "update",
                    _ => "delete",
                };
                (change["op"], change["relation_oid"]) = (op.into(), oid.into());
                (change["schema"], change["table"]) = (table.schema.into(), table.name.into());
                while !bytes.0.is_empty() {
                    match bytes.number::<1>() as u8 {
                        b'K' => change["key"] = table.row(&mut bytes, true).0,
                        b'O' => change["old"] = table.row(&mut bytes, false).0,
                        b'N' => {
                            let (new, unchanged) = table.row(&mut bytes, false);
                            change["new"] = new;
                            if !unchanged.is_empty() {
                                change["unchanged"] = unchanged.into();
                            }
                        }
                        other => panic!("{other}"),
                    }
                }
                changes.push(change);
            }
            b'T' => {
                let (count, options) = (bytes.number::<4>(), bytes.number::<1>());
                (change["op"], change["cascade"]) = ("truncate".into(), (options & 1 != 0).into());
                change["restart_identity"] = (options & 2 != 0).into();
                for _ in 0..count {
                    let oid = bytes.number::<4>();
                    let (mut change, table) = (change.clone(), &tables[&oid]);
                    change["relation_oid"] = oid.into();
                    (change["schema"], change["table"]) = (table.schema.into(), table.name.into());
                    changes.push(change);
                }
            }
            b'M' => {
                let is_transactional = bytes.number::<1>() == 1;
                (change["op"], change["lsn"]) = ("message".into(), bytes.lsn());
                change["transactional"] = is_transactional.into();
                change["prefix"] = bytes.text().into();
                let len = bytes.number::<4>() as usize;
                let content = bytes.take(len);
                change["content"] = match std::str::from_utf8(content) {
                    Ok(text) => text.into(),
                    Err(_) => {
                        format!("\\x{}", content.iter().map(|byte| format!("{byte:02x}")).collect::<String>()).into()
                    }
                };
                if is_transactional {
                    changes.push(change);
                } else {
                    change.as_object_mut().unwrap().remove("xid");
                    happened.push((change, Vec::new()));
                }
            }
            b'C' | b'P' | b'K' | b'r' => {
                bytes.take(1);
                let (at, end) = (bytes.lsn(), bytes.lsn());
                let prepared = if tag == b'r' { Some(bytes.time()) } else { None };
                let time = bytes.time();
                let (outcome, at_name, time_name) = match tag {
                    b'P' => ("prepared", "prepare_lsn", "prepare_ts"),
                    b'r' => ("rolled_back", "prepare_end_lsn", "abort_ts"),
                    _ => ("committed", "commit_lsn", "commit_ts"),
                };
                let mut transaction =
                    json!({ "xid": row["xid"], "outcome": outcome, at_name: at, "end_lsn": end, time_name: time });
                if tag != b'C' {
                    transaction["xid"] = bytes.number::<4>().into();
                    transaction["gid"] = bytes.text().into();
                }
                assert!(prepared.is_none_or(|prepared| prepared.as_str() <= time_of(&transaction)));
                if let (b'C' | b'P', Some(origin)) = (tag, origin.take()) {
                    transaction["origin"] = origin.into();
                }
                let is_end = matches!(tag, b'C' | b'P');
                happened.push((transaction, if is_end { std::mem::take(&mut changes) } else { Vec::new() }));
            }
            // Of a transaction of which nothing was sent.
            b'A' => bytes = Bytes(b""),
            other => panic!("{}", char::from(other)),
        }
        assert_eq!(bytes.0, b"", "{row}");
    }
    happened
}

fn time_of(transaction: &Value) -> Option<&str> {
    transaction["abort_ts"].as_str()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// Returns the fields of a line that the function's rows have as well.
fn essence(line: &Value) -> Value {
    const OTHERS: [&str; 11] = [
        "event",
        "ts",
        "conn",
        "client",
        "server",
        "packet",
        "streamed",
        "subxid",
        "changes",
        "lag_us",
        "community_id",
    ];
    let mut line = line.clone();
    line.as_object_mut().unwrap().retain(|name, _| !OTHERS.contains(&name.as_str()));
    line
}

#[test]
fn transactions_and_their_changes_are_those_that_the_server_returns_by_sql() {
    for (capture, stream, peek) in [
        ("replication-pgoutput-v1/capture.pcap", 0, "replication-pgoutput-v1/peek.jsonl"),
        ("replication-pgoutput-v2-streaming/capture.pcap.gz", 0, "replication-pgoutput-v2-streaming/peek.jsonl.gz"),
        ("replication-pgoutput-v3-two-phase/capture.pcap.gz", 0, "replication-pgoutput-v3-two-phase/peek.jsonl.gz"),
        ("replication-pgoutput-v4-parallel/capture.pcap.gz", 0, "replication-pgoutput-v4-parallel/peek.jsonl.gz"),
        ("replication-pgoutput-14/capture.pcap.gz", 0, "replication-pgoutput-14/peek.jsonl.gz"),
        // In binary format: what differs is only how values were sent.
        ("replication-pgoutput-14/capture.pcap.gz", 1, "replication-pgoutput-14/peek.jsonl.gz"),
    ] {
        let lines = dissect(capture);
        let mut conns: Vec<u64> = streamed(&lines).map(super::Line::conn).collect();
        conns.dedup();
        let consumer = Consumer::of(lines.iter().filter(|line| line.conn() == conns[stream]));
        let rolled_back: Vec<&Value> = consumer
            .happened
            .iter()
            .filter(|(line, _)| line["outcome"] == "rolled_back")
            .map(|(line, _)| &line["xid"])
            .collect();
        let mut wanted = happened(peek);
        if wanted.last().is_some_and(|(line, _)| line["prefix"] == "the end") {
            // It is behind the end of the stream.
            wanted.pop();
        }
        let mut count = 0;
        for ((line, changes), (transaction, wanted)) in consumer.happened.iter().zip(&wanted) {
            assert_eq!(&essence(line), transaction, "{capture}");
            // What was rolled back before the function was called can have no changes there; and what was prepared has them there.
            let has_none =
                rolled_back.contains(&&line["xid"]) || line.get("gid").is_some() && line["outcome"] == "committed";
            if has_none && wanted.is_empty() {
                continue;
            }
            for (change, wanted) in changes.iter().zip(wanted) {
                assert_eq!(&essence(change), wanted, "{capture}: {change}");
            }
            assert_eq!(changes.len(), wanted.len(), "{capture}: {line}");
            count += changes.len();
        }
        assert_eq!(consumer.happened.len(), wanted.len(), "{capture}");
        assert!(count >= 100, "{capture}: {count}");
        // Commits are in the order of their positions.
        let commits: Vec<u64> = wanted.iter().filter_map(|(line, _)| line.get("commit_lsn").map(lsn)).collect();
        assert!(commits.is_sorted(), "{capture}");
    }
}
