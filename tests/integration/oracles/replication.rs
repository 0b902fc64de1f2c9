//! Replication against what servers and clients wrote of the same traffic themselves: the payloads and files that were received, the
//! changes that SQL functions return, the tables at the end, libpq's results, and logs.

mod backup;
mod changes;
mod commands;
mod ends;
mod middles;
mod peek;
mod physical;
mod plugins;
mod reconnects;
mod redaction;
mod sessions;
mod stream;

use std::collections::BTreeMap;
use std::io::Read as _;

use pgdissect::message::Decoded;
use pgdissect::record::MessageEvent;
use pgdissect::value::{Format, Settings, TypedValue};
use pgdissect::{Config, Direction, Dissector, Keys, Record, Sink};
use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::command::parse;

/// A line, and what it was made of.
#[derive(Clone, Debug)]
struct Line {
    value: Value,
    /// The body of the message.
    body: Vec<u8>,
}

impl Line {
    /// Returns the payload of XLogData.
    fn payload(&self) -> Option<&[u8]> {
        (self.value["body"]["kind"] == "xlog_data").then(|| &self.body[25..])
    }

    fn is(&self, event: &str) -> bool {
        self.value["event"] == event
    }

    fn conn(&self) -> u64 {
        self.value["conn"].as_u64().unwrap()
    }
}

/// Keeps all lines.
#[derive(Default)]
struct Lines(Vec<Line>);

impl Sink for Lines {
    fn record(&mut self, record: &Record<'_>) {
        self.0.push(Line { value: parse(&captures::line(record)), body: Vec::new() });
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        let line = captures::line(&Record::Message(event.to_record(decoded)));
        self.0.push(Line { value: parse(&line), body: event.frame.body.to_vec() });
    }
}

/// Returns all lines of a capture in `testdata`.
fn dissect(name: &str) -> Vec<Line> {
    let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
    assert!(errors.is_empty(), "{name}: {errors:?}");
    dissect_packets(&packets, captures::everything(), &captures::keys_of(name))
}

fn dissect_packets(packets: &[OwnedPacket], config: Config, keys: &Keys) -> Vec<Line> {
    let mut lines = Lines::default();
    let mut dissector = Dissector::with_keys(config, keys.clone());
    for packet in packets {
        dissector.packet(&packet.borrow(), &mut lines);
    }
    dissector.finish(&mut lines);
    lines.0
}

/// Returns the content of a file in `testdata`, without its compression.
fn read(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(captures::testdata().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut content = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut content).unwrap();
    content
}

/// Returns the text of a file in `testdata`.
fn text(name: &str) -> String {
    String::from_utf8(read(name)).unwrap()
}

/// Returns the lines of a file of JSON lines in `testdata`.
fn jsonl(name: &str) -> Vec<Value> {
    text(name).lines().map(parse).collect()
}

/// Parses a position in the WAL.
#[track_caller]
fn lsn(value: &Value) -> u64 {
    let (high, low) = value.as_str().unwrap_or_else(|| panic!("{value} is no position")).split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

/// Returns the lines of the server's messages of a stream.
fn streamed(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| {
        line.is("message") && line.value["dir"] == name(Direction::Backend) && line.value["body"]["kind"].is_string()
    })
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Frontend => "F",
        Direction::Backend => "B",
    }
}

/// The settings of all servers in the captures.
fn settings() -> Settings {
    let mut settings = Settings::default();
    for (name, value) in
        [("DateStyle", "ISO, MDY"), ("TimeZone", "UTC"), ("IntervalStyle", "postgres"), ("client_encoding", "UTF8")]
    {
        settings.parameter(name.as_bytes(), value.as_bytes());
    }
    settings
}

/// Returns a value as it is in a line, by its type.
fn typed(type_oid: u32, format: Format, bytes: &[u8]) -> Value {
    const JSON: [u32; 2] = [114, 3802];
    let settings = settings();
    let value = TypedValue { type_oid, format, bytes, settings: &settings, encoding: settings.encoding() };
    let value = parse(&serde_json::to_string(&value).unwrap());
    if JSON.contains(&type_oid) { value } else { exact(value) }
}

/// Returns a value with integers as they are in lines: those that a double does not represent are strings.
fn exact(value: Value) -> Value {
    const MOST: u64 = (1 << 53) - 1;
    match value {
        Value::Number(number)
            if number.as_i64().map(i64::unsigned_abs).or(number.as_u64()).is_some_and(|n| n > MOST) =>
        {
            number.to_string().into()
        }
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, exact(value))).collect(),
        value => value,
    }
}

/// Changes, as a consumer keeps them until it knows what becomes of them.
#[derive(Default)]
struct Consumer<'a> {
    /// The changes of transactions whose fate is not known, by connection and transaction.
    open: BTreeMap<(u64, u64), Vec<&'a Value>>,
    /// The same, of those that are prepared.
    prepared: BTreeMap<(u64, u64), Vec<&'a Value>>,
    /// What has happened, in order: a logical message without a transaction, or a transaction with its changes.
    happened: Vec<(&'a Value, Vec<&'a Value>)>,
}

impl<'a> Consumer<'a> {
    fn of(lines: impl IntoIterator<Item = &'a Line>) -> Self {
        let mut consumer = Self::default();
        for line in lines {
            match line.value["event"].as_str() {
                Some("change") => consumer.change(&line.value),
                Some("transaction") => consumer.transaction(&line.value),
                _ => {}
            }
        }
        consumer
    }

    fn change(&mut self, line: &'a Value) {
        assert!(line.get("flags").is_none(), "{line}");
        let conn = line["conn"].as_u64().unwrap();
        match line["xid"].as_u64() {
            Some(xid) => self.open.entry((conn, xid)).or_default().push(line),
            None => {
                assert_eq!((&line["op"], &line["transactional"]), (&"message".into(), &false.into()), "{line}");
                self.happened.push((line, Vec::new()));
            }
        }
    }

    fn transaction(&mut self, line: &'a Value) {
        assert!(line.get("flags").is_none(), "{line}");
        let xid = line["xid"].as_u64().unwrap_or_else(|| panic!("{line}"));
        let id = (line["conn"].as_u64().unwrap(), xid);
        let count = |changes: &[&Value]| assert_eq!(line["changes"], changes.len(), "{line}");
        match line["outcome"].as_str().unwrap() {
            "aborted" => {
                let changes = self.open.entry(id).or_default();
                match line["subxid"].as_u64() {
                    Some(subxid) => {
                        let (aborted, kept) =
                            std::mem::take(changes).into_iter().partition(|change| change["subxid"] == subxid);
                        *changes = kept;
                        count(&aborted);
                    }
                    None => count(&self.open.remove(&id).unwrap()),
                }
            }
            "prepared" => {
                let changes = self.open.remove(&id).unwrap_or_default();
                count(&changes);
                self.happened.push((line, changes.clone()));
                self.prepared.insert(id, changes);
            }
            outcome => {
                let changes = match line.get("gid") {
                    Some(_) => self.prepared.remove(&id).unwrap_or_else(|| panic!("{line} was not prepared")),
                    None => self.open.remove(&id).unwrap_or_default(),
                };
                count(&changes);
                assert!(matches!(outcome, "committed" | "rolled_back"), "{line}");
                self.happened.push((line, changes));
            }
        }
    }

    /// Returns the changes that were committed, in the order of the commits, each with the line of its transaction.
    fn committed(&self) -> impl Iterator<Item = (&'a Value, &'a Value)> {
        let committed = self.happened.iter().filter(|(line, _)| line["outcome"] == "committed");
        committed.flat_map(|(line, changes)| changes.iter().map(|change| (*line, *change)))
    }
}
