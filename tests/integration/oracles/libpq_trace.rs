//! Comparison of messages with libpq's own traces of the same connections.
//!
//! Every message must agree with the trace in order, direction, type, length and fields. Known differences: the trace does not
//! contain AuthenticationOk, nor the salt of AuthenticationMD5Password.

use std::collections::BTreeMap;

use pgdissect::record::{Content, MessageRecord};
use pgdissect::{Config, Dissector, Keys, Message, Record, Redaction};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::captures::{self, OwnedPacket};
use crate::oracles::tls;
use crate::support::trace::{self, Cursor, Traced};

/// Captures and the traces of their connections, in order of appearance.
const TRACED: &[(&str, &[&str])] = &[
    ("auth-md5-ok/capture.pcap", &["trace.txt"]),
    ("auth-md5-wrong/capture.pcap", &["trace.txt"]),
    ("auth-password-ok/capture.pcap", &["trace.txt"]),
    ("auth-password-wrong/capture.pcap", &["trace.txt"]),
    ("auth-reject/capture.pcap", &["trace.txt"]),
    ("auth-scram-ok/capture.pcap", &["trace.txt"]),
    ("auth-scram-wrong/capture.pcap", &["trace.txt"]),
    ("auth-trust/capture.pcap", &["trace.txt"]),
    ("cancel-32/capture.pcap", &["trace.txt"]),
    ("cancel/capture.pcap", &["trace.txt"]),
    ("copy-binary/capture.pcap", &["trace.txt"]),
    ("copy-fail/capture.pcap", &["trace.txt"]),
    ("copy-in/capture.pcap", &["trace.txt"]),
    ("copy-out/capture.pcap", &["trace.txt"]),
    ("copy-pipeline/capture.pcap", &["trace.txt"]),
    ("extended-query/capture.pcap", &["trace.txt"]),
    ("formats/micro.pcap", &["trace.txt"]),
    ("function-call/capture.pcap", &["trace.txt"]),
    ("ip-options/routed-fragments.pcap", &["trace.txt"]),
    ("pipeline-error/capture.pcap", &["trace.txt"]),
    ("protocol-32/capture.pcap", &["trace.txt"]),
    ("protocol-negotiate/capture.pcap", &["trace.txt"]),
    ("replication/capture.pcap", &["trace.txt"]),
    ("rows-3000/capture.pcap", &["trace.txt"]),
    ("simple-query/capture.pcap", &["trace-1.txt", "trace-2.txt"]),
    ("tcp/base.pcap", &["trace.txt"]),
    ("tunnels/vxlan.pcap", &["trace-1.txt"]),
    ("tunnels/6in4.pcap", &["trace-2.txt"]),
];

/// Traces of connections inside TLS for which no keys were recorded.
const ENCRYPTED: &[&str] = &["tls-direct/trace.txt", "tls-no-keys/trace.txt"];

#[test]
fn every_trace_is_compared() {
    let mut compared: Vec<_> = TRACED
        .iter()
        .flat_map(|(name, traces)| {
            let folder = name.split('/').next().unwrap();
            traces.iter().map(move |trace| format!("{folder}/{trace}"))
        })
        .chain(ENCRYPTED.iter().map(|name| (*name).to_owned()))
        .chain(tls::traced().flat_map(|(name, traces)| {
            let folder = name.split('/').next().unwrap().to_owned();
            traces.into_iter().map(move |trace| format!("{folder}/{trace}"))
        }))
        .collect();
    compared.sort();
    let mut there = Vec::new();
    for folder in std::fs::read_dir(captures::testdata()).unwrap() {
        let folder = folder.unwrap().path();
        for file in folder.read_dir().into_iter().flatten() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // Those of streams that the client has left before their end have fewer messages than the capture.
            let is_of_stream = ["replication-commands", "replication-ends"].iter().any(|name| folder.ends_with(name));
            if name.starts_with("trace") && name.ends_with(".txt") && !is_of_stream {
                there.push(path.strip_prefix(captures::testdata()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    there.sort();
    assert_eq!(compared, there);
}

#[test]
fn messages_and_their_fields_are_those_of_libpqs_trace() {
    let mut count = 0;
    for (name, traces) in TRACED {
        count += compare_with_traces(name, traces.iter().copied());
    }
    assert!(count > 5_000, "{count} messages were compared");
}

/// Compares a capture with the traces of its connections, in order of appearance. Returns the number of messages compared.
pub(crate) fn compare_with_traces<'a>(name: &str, traces: impl ExactSizeIterator<Item = &'a str>) -> usize {
    let path = captures::testdata().join(name);
    let (packets, _) = captures::packets(std::slice::from_ref(&path));
    let lines = untyped(&packets, &captures::keys_of(name));
    let mut connections: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
    for line in &lines {
        let line: Line = serde_json::from_str(line).unwrap();
        assert_eq!(line.event, "message", "{name}: nothing is lost in these captures");
        connections.entry(line.conn).or_default().push(line);
    }
    // libpq does not trace a CancelRequest.
    connections.retain(|_, lines| !lines.iter().any(|line| line.kind == "CancelRequest"));
    assert_eq!(connections.len(), traces.len(), "{name}");
    let mut count = 0;
    for (lines, trace) in connections.values().zip(traces) {
        let traced = trace::read(&path.with_file_name(trace));
        for dir in ["F", "B"] {
            count += compare(dir, lines, &traced, name);
        }
    }
    count
}

/// Returns lines with values as they are on the wire, as libpq traces them.
fn untyped(packets: &[OwnedPacket], keys: &Keys) -> Vec<String> {
    let mut lines = Vec::new();
    let mut sink = |record: &Record<'_>| {
        let Record::Message(MessageRecord { content: Content::Decoded(message), .. }) = record else {
            lines.push(captures::line(record));
            return;
        };
        let mut message = (*message).clone();
        match &mut message {
            Message::Bind(bind) => bind.parameter_values.settings = None,
            Message::DataRow(row) => row.values.settings = None,
            Message::FunctionCall(call) => call.arguments.settings = None,
            Message::FunctionCallResponse(response) => response.value.settings = None,
            Message::CopyData(copy) => copy.rows = None,
            _ => {}
        }
        let Record::Message(record) = record.clone() else { return };
        lines.push(captures::line(&Record::Message(MessageRecord { content: Content::Decoded(&message), ..record })));
    };
    let config = Config { redaction: Redaction::Nothing, ..captures::config() };
    let mut dissector = Dissector::with_keys(config, keys.clone());
    for packet in packets {
        dissector.packet(&packet.borrow(), &mut sink);
    }
    dissector.finish(&mut sink);
    lines
}

#[derive(Deserialize)]
struct Line {
    event: String,
    conn: u64,
    #[serde(default)]
    dir: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    len: u64,
    body: Option<Box<RawValue>>,
    error: Option<Value>,
}

fn compare(dir: &str, lines: &[Line], traced: &[Traced], of: &str) -> usize {
    let mut ours = lines.iter().filter(|line| line.dir == dir && line.kind != "AuthenticationOk");
    let mut theirs = traced.iter().filter(|message| message.dir == dir);
    let mut count = 0;
    loop {
        let (ours, theirs) = match (ours.next(), theirs.next()) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (None, None) => return count,
            (ours, theirs) => {
                panic!("{of}: {dir} message {count}: {:?} here, {theirs:?} in the trace", ours.map(|line| &line.kind))
            }
        };
        count += 1;
        let place = format!("{of}: {dir} message {count}, {}", theirs.name);
        assert_eq!((&*ours.kind, ours.len), (&*theirs.name, theirs.len), "{place}");
        assert!(ours.error.is_none(), "{place}: {:?}", ours.error);
        let result = compare_fields(ours, theirs);
        assert!(result.is_ok(), "{place}: {}\n{:?}", result.unwrap_err(), ours.body);
    }
}

/// Returns the entries of an object, in order.
fn entries(object: &RawValue) -> Vec<(String, Value)> {
    struct Entries;
    impl<'de> serde::de::Visitor<'de> for Entries {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(object.get()), Entries).unwrap()
}

type Compared = Result<(), String>;

fn compare_fields(ours: &Line, theirs: &Traced) -> Compared {
    let mut trace = Cursor::new(theirs);
    let Some(raw) = &ours.body else {
        match &*ours.kind {
            "SSLRequest" => trace.exactly(b"1234 5679")?,
            "GSSENCRequest" => trace.exactly(b"1234 5680")?,
            _ => {}
        }
        return trace.end();
    };
    let body: Value = serde_json::from_str(raw.get()).unwrap();
    let t = &mut trace;
    match &*ours.kind {
        "StartupMessage" => {
            #[derive(Deserialize)]
            struct Startup {
                parameters: Box<RawValue>,
            }
            let version = body["protocol_version"].as_str().unwrap().replace('.', " ");
            t.exactly(version.as_bytes())?;
            let startup: Startup = serde_json::from_str(raw.get()).unwrap();
            for (name, value) in entries(&startup.parameters) {
                t.text(name.as_bytes())?;
                string(t, &value)?;
            }
        }
        "SSLResponse" => t.exactly(if body["accepted"] == true { b"S" } else { b"N" })?,
        "NegotiateProtocolVersion" => {
            let version = body["newest_protocol_version"].as_str().unwrap().split_once('.').unwrap();
            let (major, minor): (i64, i64) = (version.0.parse().unwrap(), version.1.parse().unwrap());
            number(t, &(major << 16 | minor).into())?;
            list(t, &body["unrecognized_options"], string)?;
        }
        "AuthenticationMD5Password" => {
            // The trace does not contain it.
            let salt = body["salt"].as_str().unwrap();
            if salt.len() != 2 + 8 {
                return Err(format!("a salt of four bytes, not {salt}"));
            }
        }
        "AuthenticationSASL" => {
            for mechanism in body["mechanisms"].as_array().unwrap() {
                string(t, mechanism)?;
            }
            t.text(b"")?;
        }
        "SASLInitialResponse" => {
            string(t, &body["mechanism"])?;
            let scram = &body["scram"];
            let message =
                format!("{},,n={},r={}", str(scram, "channel_binding"), str(scram, "user"), str(scram, "nonce"));
            number(t, &message.len().into())?;
            t.bytes(message.as_bytes())?;
        }
        "AuthenticationSASLContinue" => {
            let scram = &body["scram"];
            let iterations = &scram["iterations"];
            t.bytes(format!("r={},s={},i={iterations}", str(scram, "nonce"), str(scram, "salt")).as_bytes())?;
        }
        "SASLResponse" => {
            let scram = &body["scram"];
            let message =
                format!("c={},r={},p={}", str(scram, "channel_binding"), str(scram, "nonce"), str(scram, "proof"));
            t.bytes(message.as_bytes())?;
        }
        "AuthenticationSASLFinal" => t.bytes(format!("v={}", str(&body["scram"], "signature")).as_bytes())?,
        "PasswordMessage" => string(t, &body["password"])?,
        "ParameterStatus" => {
            string(t, &body["name"])?;
            string(t, &body["value"])?;
        }
        "BackendKeyData" => {
            number(t, &body["process_id"])?;
            t.bytes(&unhex(str(&body, "secret_key").strip_prefix("\\x").unwrap()))?;
        }
        "ReadyForQuery" => t.exactly(match str(&body, "transaction_status") {
            "idle" => b"I",
            "in_transaction" => b"T",
            "failed" => b"E",
            other => return Err(format!("a transaction that is {other}")),
        })?,
        "Query" => string(t, &body["query"])?,
        "CommandComplete" => {
            string(t, &body["command_tag"])?;
            let rebuilt = match (str(&body, "command"), &body["rows"]) {
                (command, Value::Null) => command.to_owned(),
                ("INSERT", rows) => format!("INSERT 0 {rows}"),
                (command, rows) => format!("{command} {rows}"),
            };
            if body["command_tag"] != rebuilt {
                return Err(format!("the command and its rows are {rebuilt}"));
            }
        }
        "NotificationResponse" => {
            number(t, &body["process_id"])?;
            string(t, &body["channel"])?;
            string(t, &body["payload"])?;
        }
        "ErrorResponse" | "NoticeResponse" => {
            for (name, value) in entries(raw) {
                let (_, letter) = FIELDS.iter().find(|(known, _)| *known == name).ok_or(format!("field {name}"))?;
                t.exactly(letter.as_bytes())?;
                match value {
                    Value::Number(number) => t.text(number.to_string().as_bytes())?,
                    text => string(t, &text)?,
                }
            }
            t.exactly(b"\\x00")?;
        }
        "RowDescription" => list(t, &body["fields"], |t, field| {
            string(t, &field["name"])?;
            number(t, &field["table_oid"])?;
            unsigned(t, &field["attribute_number"])?;
            number(t, &field["type_oid"])?;
            unsigned(t, &field["type_size"])?;
            number(t, &field["type_modifier"])?;
            format(t, &field["format"])
        })?,
        "DataRow" => list(t, &body["values"], value)?,
        "Parse" => {
            string(t, &body["statement"])?;
            string(t, &body["query"])?;
            list(t, &body["parameter_types"], number)?;
        }
        "Bind" => {
            string(t, &body["portal"])?;
            string(t, &body["statement"])?;
            list(t, &body["parameter_formats"], format)?;
            list(t, &body["parameter_values"], value)?;
            list(t, &body["result_formats"], format)?;
        }
        "Describe" | "Close" => {
            t.exactly(match str(&body, "kind") {
                "statement" => b"S",
                _ => b"P",
            })?;
            string(t, &body["name"])?;
        }
        "Execute" => {
            string(t, &body["portal"])?;
            number(t, &body["max_rows"])?;
        }
        "ParameterDescription" => list(t, &body["parameter_types"], number)?,
        "FunctionCall" => {
            number(t, &body["function_oid"])?;
            list(t, &body["argument_formats"], format)?;
            list(t, &body["arguments"], value)?;
            format(t, &body["result_format"])?;
        }
        "FunctionCallResponse" => value(t, &body["value"])?,
        "CopyInResponse" | "CopyOutResponse" | "CopyBothResponse" => {
            t.exactly(match str(&body, "format") {
                "text" => b"\\x00",
                _ => b"\\x01",
            })?;
            list(t, &body["column_formats"], format)?;
        }
        // What it carries is compared with payloads and files.
        "CopyData" if body["data"].is_null() => return Ok(()),
        "CopyData" => bytes(t, &body["data"], ours.len as usize - 4)?,
        "CopyFail" => string(t, &body["message"])?,
        other => return Err(format!("{other} is not compared")),
    }
    trace.end()
}

/// Fields of ErrorResponse and their codes in the documentation.
const FIELDS: &[(&str, &str)] = &[
    ("severity", "S"),
    ("severity_nonlocalized", "V"),
    ("code", "C"),
    ("message", "M"),
    ("detail", "D"),
    ("hint", "H"),
    ("position", "P"),
    ("internal_position", "p"),
    ("internal_query", "q"),
    ("where", "W"),
    ("schema_name", "s"),
    ("table_name", "t"),
    ("column_name", "c"),
    ("data_type_name", "d"),
    ("constraint_name", "n"),
    ("file", "F"),
    ("line", "L"),
    ("routine", "R"),
];

fn str<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {value}"))
}

fn string(trace: &mut Cursor<'_>, ours: &Value) -> Compared {
    trace.text(ours.as_str().ok_or_else(|| format!("a text, not {ours}"))?.as_bytes())
}

fn number(trace: &mut Cursor<'_>, ours: &Value) -> Compared {
    trace.exactly(ours.to_string().as_bytes())
}

/// Compares an Int16, which the trace shows as unsigned.
fn unsigned(trace: &mut Cursor<'_>, ours: &Value) -> Compared {
    let ours = ours.as_i64().ok_or("a number")? as i16;
    number(trace, &(ours as u16).into())
}

fn format(trace: &mut Cursor<'_>, ours: &Value) -> Compared {
    trace.exactly(match ours.as_str() {
        Some("text") => b"0",
        Some("binary") => b"1",
        _ => return Err(format!("a format, not {ours}")),
    })
}

fn list(trace: &mut Cursor<'_>, ours: &Value, mut item: impl FnMut(&mut Cursor<'_>, &Value) -> Compared) -> Compared {
    let ours = ours.as_array().ok_or_else(|| format!("a list, not {ours}"))?;
    number(trace, &ours.len().into())?;
    ours.iter().try_for_each(|ours| item(trace, ours))
}

fn value(trace: &mut Cursor<'_>, ours: &Value) -> Compared {
    match trace.number()? {
        -1 if ours.is_null() => Ok(()),
        -1 => Err(format!("NULL, not {ours}")),
        len => bytes(trace, ours, len as usize),
    }
}

/// Compares bytes of known length, which are text or hex in JSON.
fn bytes(trace: &mut Cursor<'_>, ours: &Value, len: usize) -> Compared {
    let bytes = match ours {
        Value::String(text) if text.len() == len => text.clone().into_bytes(),
        Value::String(text) => unhex(text.strip_prefix("\\x").ok_or_else(|| format!("{len} bytes, not {text:?}"))?),
        Value::Object(object) => unhex(object["hex"].as_str().unwrap()),
        other => return Err(format!("a value, not {other}")),
    };
    trace.bytes(&bytes)
}

fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}");
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
