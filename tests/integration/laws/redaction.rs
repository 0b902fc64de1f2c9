//! `--redact values`: no user data is in any line, in either format, whatever is missing in a capture.

use std::collections::BTreeSet;

use pgdissect::internals::text;
use pgdissect::output::{Form as _, LogFormat, LogStyle, ServerLog, TextStyle};
use pgdissect::record::StatsRecord;
use pgdissect::{Config, Dissector, Record, Redaction, value};
use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::laws::contract;
use crate::wire::{From, Tcp, message, startup};

/// Returns every line in all formats, including counters and a server's log.
pub(crate) fn written(packets: &[OwnedPacket], config: Config) -> String {
    let mut lines = String::new();
    let mut logs: Vec<_> = [LogFormat::Csv, LogFormat::Json, LogFormat::Stderr]
        .into_iter()
        .flat_map(|format| [LogStyle::Duration, LogStyle::Statement].map(|style| ServerLog::new(format, style, 15)))
        .collect();
    let mut write = |record: &Record<'_>| {
        lines.push_str(&captures::line(record));
        lines.push('\n');
        for width in [None, Some(80), Some(400)] {
            let mut line = Vec::new();
            text::write_line(&mut line, record, &TextStyle { width, ..TextStyle::default() }).unwrap();
            lines.push_str(&String::from_utf8(line).unwrap());
        }
        for log in &mut logs {
            let mut line = Vec::new();
            log.record(&mut line, record).unwrap();
            lines.push_str(&String::from_utf8(line).unwrap());
        }
    };
    let mut dissector = Dissector::new(config);
    for packet in packets {
        dissector.packet(&packet.borrow(), &mut write);
    }
    dissector.finish(&mut write);
    write(&Record::Stats(StatsRecord { counters: dissector.counters(), ..StatsRecord::default() }));
    lines
}

fn without_values() -> Config {
    Config { redaction: Redaction::Values, ..captures::everything() }
}

fn planted() -> Vec<OwnedPacket> {
    captures::packets(&[captures::testdata().join("planted/capture.pcap")]).0
}

/// Returns the forms in which a planted value may be written: as text, as the bytes of text in hex, as binary data.
fn forms(value: &str) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut forms = vec![value.to_owned(), hex(value.as_bytes())];
    if let Ok(number) = value.parse::<i32>() {
        forms.push(hex(&number.to_be_bytes()));
    }
    if let Ok(number) = value.parse::<i64>() {
        forms.push(hex(&number.to_be_bytes()));
    } else if let Ok(number) = value.parse::<f64>() {
        forms.push(hex(&number.to_be_bytes()));
    }
    if value.len() == 36 {
        forms.push(value.replace('-', ""));
    }
    forms
}

/// Returns the planted value that the lines contain, if any.
fn leak(lines: &str) -> Option<String> {
    // All words have the same beginning and middle; after a cut, one or the other remains.
    let words = ["zq", "7a71", "planted", "706c616e746564"].map(str::to_owned);
    let constants = ["7eadbee1", "2125315809", "5_836_194", "5836194", "101101011010"].map(str::to_owned);
    let planted = include_str!("../../../testdata/planted/planted.txt");
    let others = planted.lines().filter(|value| !value.starts_with("zq")).flat_map(forms);
    let lines = lines.to_ascii_lowercase();
    let needle = words.into_iter().chain(constants).chain(others).find(|needle| lines.contains(needle))?;
    Some(lines.lines().find(|line| line.contains(&needle)).unwrap().to_owned())
}

#[track_caller]
fn assert_nothing_leaks(packets: &[OwnedPacket], config: Config, what: &str) {
    if let Some(line) = leak(&written(packets, config)) {
        panic!("{what}: {line}");
    }
}

#[test]
fn every_planted_value_is_written_by_default() {
    let shown = written(&planted(), Config { redaction: Redaction::Nothing, ..captures::everything() });
    for value in include_str!("../../../testdata/planted/planted.txt").lines() {
        assert!(forms(value).iter().any(|form| shown.contains(form)), "{value}");
    }
}

#[test]
fn no_planted_value_is_written() {
    let packets = planted();
    let lines = written(&packets, without_values());
    assert!(lines.lines().count() > 900);
    for config in [
        without_values(),
        Config { named_rows: true, ..without_values() },
        Config { ports: None, ..without_values() },
        Config { max_remembered: 0, ..without_values() },
    ] {
        assert_nothing_leaks(&packets, config, "whole");
    }
    for max_message in (0..40).chain([50, 64, 100, 150, 200, 500]) {
        assert_nothing_leaks(&packets, Config { max_message, ..without_values() }, "messages cut at a length");
    }
}

#[test]
fn no_planted_value_is_written_where_packets_are_cut_or_lost() {
    let packets = planted();
    for snaplen in (66..600).step_by(19) {
        let mut cut = packets.clone();
        cut.iter_mut().for_each(|packet| packet.data.truncate(snaplen));
        assert_nothing_leaks(&cut, without_values(), "snap length");
    }
    let has_payload = |index: &usize| packets[*index].data.len() > 66;
    for lost in (0..packets.len()).filter(has_payload) {
        let mut without = packets.clone();
        without.remove(lost);
        assert_nothing_leaks(&without, without_values(), "a packet is lost");
    }
    for begin in (0..packets.len()).filter(has_payload).step_by(3) {
        assert_nothing_leaks(&packets[begin..], without_values(), "the capture begins later");
    }
    for number in 0..30_usize {
        // Most or few of the packets are lost, different ones each time.
        let left = packets.iter().enumerate().filter(|(index, _)| (index * index + number * 7) % (2 + number % 9) != 0);
        let left: Vec<_> = left.map(|(_, packet)| packet.clone()).collect();
        assert_nothing_leaks(&left, without_values(), "many packets are lost");
    }
}

/// Returns a session in an encoding, with data in many places: SQL, a row, an error, COPY data in both directions and all
/// formats. `word` is a name, and part of all data.
fn said_in(encoding: &str, word: &[u8]) -> Vec<(From, Vec<u8>)> {
    let say = |text: &[u8]| {
        let pieces: Vec<_> = text.split(|byte| *byte == b'@').collect();
        pieces.join(word)
    };
    let client = |tag, body: &[u8]| (From::Client, message(tag, &say(body)));
    let server = |messages: &[(u8, &[u8])]| {
        let bytes: Vec<_> = messages.iter().map(|(tag, body)| message(*tag, &say(body))).collect();
        (From::Server, bytes.concat())
    };
    let ready = (b'Z', &b"I"[..]);
    let copied = (b'C', &b"COPY 2\0"[..]);
    let told = format!("client_encoding\0{encoding}\0");
    let value = say(b"planted @");
    let row = [b"\0\x02", &(value.len() as u32).to_be_bytes()[..], &value, b"\xff\xff\xff\xff"].concat();
    let of_copy = [b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", &row[..]].concat();
    let mut turns = vec![
        (From::Client, startup()),
        server(&[(b'R', &[0; 4]), (b'S', told.as_bytes()), ready]),
        client(b'Q', b"SELECT 'planted @', E'@', 'planted', \"@\" -- planted @\0"),
        (From::Server, [message(b'D', &row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()),
        client(b'Q', b"INSERT INTO t VALUES ('planted @')\0"),
        server(&[(b'E', b"SERROR\0C22P02\0Mplanted @\0Dplanted @\0s@\0\0"), ready]),
    ];
    for sql in ["COPY t FROM STDIN\0", "COPY t FROM STDIN (HEADER)\0", "COPY t FROM STDIN (FORMAT csv, HEADER)\0"] {
        for waits in [true, false] {
            turns.push(client(b'Q', sql.as_bytes()));
            let asked = server(&[(b'G', &[0, 0, 2, 0, 0, 0, 0])]);
            turns.extend(waits.then(|| asked.clone()));
            if sql.contains("HEADER") {
                turns.push(client(b'd', b"a,@\n"));
            }
            turns.extend([
                client(b'd', b"planted @,1\nplanted"),
                client(b'd', b"@,2\nplanted,@\n\\.\n"),
                client(b'd', b"planted@"),
            ]);
            turns.extend((!waits).then_some(asked));
            turns.extend([client(b'c', b""), server(&[copied, ready])]);
        }
    }
    for (sql, format, data) in [
        ("COPY t TO STDOUT\0", 0, [&b"planted @\t\\N\n"[..], b"planted @\t@\n"]),
        ("COPY t TO STDOUT (FORMAT csv, HEADER)\0", 0, [b"a,@\n", b"\"planted @\",\n"]),
        ("COPY t TO STDOUT (FORMAT binary)\0", 1, [&of_copy, &row]),
    ] {
        turns.push(client(b'Q', sql.as_bytes()));
        turns.push(server(&[(b'H', &[format, 0, 2, 0, format, 0, format])]));
        turns.extend(
            data.map(|data| if format == 1 { (From::Server, message(b'd', data)) } else { server(&[(b'd', data)]) }),
        );
        turns.push(server(&[(b'c', b""), copied, ready]));
    }
    turns
}

fn packets_of(turns: &[(From, Vec<u8>)]) -> Vec<OwnedPacket> {
    let mut next = [1, 1];
    let mut packets =
        vec![Tcp::new(From::Client, 0, 0, b"").without_ack().syn(), Tcp::new(From::Server, 0, 1, b"").syn()];
    for (from, bytes) in turns {
        packets.push(Tcp::new(*from, next[from.index()], next[from.peer().index()], bytes));
        next[from.index()] += u32::try_from(bytes.len()).unwrap();
    }
    (0..).zip(&packets).map(|(at, packet)| packet.at(at)).collect()
}

#[test]
fn nothing_is_written_of_data_in_any_encoding_nor_of_rows_of_which_some_are_lost() {
    // Words of one encoding each; the last byte of 0x95 0x5c looks like a backslash, and 0xff is invalid in SJIS.
    for (encoding, word) in
        [("LATIN1", &b"Gr\xf6\xdfe"[..]), ("SJIS", b"\x95\\"), ("SJIS", b"\xff\x95\\"), ("UTF8", b"\xf6")]
    {
        let packets = packets_of(&said_in(encoding, word));
        let shown = written(&packets, captures::everything());
        // Text that is not valid in its encoding is written in hex.
        let is_shown = |planted| shown.matches(planted).count();
        assert!(is_shown("planted") + is_shown("706c616e746564") > 40, "{shown}");
        for named_rows in [false, true] {
            let config = Config { named_rows, ..without_values() };
            assert_nothing_leaks(&packets, config.clone(), encoding);
            for lost in 2..packets.len() {
                let mut without = packets.clone();
                without.remove(lost);
                assert_nothing_leaks(&without, config.clone(), "a packet is lost");
                without.truncate(lost.max(3));
                assert_nothing_leaks(&packets[lost..], config.clone(), "the capture begins later");
            }
            for max_message in 0..40 {
                assert_nothing_leaks(&packets, Config { max_message, ..config.clone() }, "messages cut at a length");
            }
        }
    }
    let output = captures::dissect_packets(&packets_of(&said_in("LATIN1", b"Gr\xf6\xdfe")), without_values());
    contract::check(&output, "LATIN1");
    let query = output.values().into_iter().find(|line| line["event"] == "query").unwrap();
    assert_eq!(query["sql"], "SELECT $1, $2, $3, \"Größe\"");
}

#[test]
fn shapes_are_left() {
    let output = captures::dissect_packets(&planted(), Config { named_rows: true, ..without_values() });
    contract::check(&output, "planted");
    let shown = captures::dissect_packets(&planted(), captures::everything());
    assert_eq!(output.lines.len(), shown.lines.len());
    let lines = output.values();
    let first = |kind: &str, wanted: &dyn Fn(&Value) -> bool| {
        let found = lines.iter().find(|line| (line["type"] == kind || line["event"] == kind) && wanted(line));
        found.unwrap_or_else(|| panic!("{kind}")).clone()
    };
    let shape = |kind: &str, bytes: u64| serde_json::json!({ "type": kind, "bytes": bytes });

    let bind = first("Bind", &|line| line["body"]["parameter_values"].as_array().unwrap().len() == 9);
    assert_eq!(bind["body"]["parameter_values"][2], shape("float8", 11));
    assert!(bind["sql"].as_str().unwrap().starts_with("INSERT INTO u VALUES ($1, $2, "));
    let row = first("DataRow", &|line| line["body"]["values"]["i"].is_object());
    assert_eq!(row["body"]["values"]["i"], shape("uuid", 36));
    assert_eq!(row["body"]["values"]["a"]["type"], "_text");
    let query = first("query", &|line| line["params"][0]["type"] == "text");
    assert_eq!(query["sql"], query["normalized"]);
    let notification = first("NotificationResponse", &|_| true);
    assert_eq!(notification["body"]["channel"], "channel");
    assert!(notification["body"]["payload"]["bytes"].as_u64() > Some(10));
    let error = first("query", &|line| line["error"]["code"] == "23505");
    assert_eq!((&error["error"]["message"], &error["error"]["detail"]), (&"***".into(), &"***".into()));
    assert_eq!(error["error"]["constraint_name"], "t_pkey");
    // The client's `\\.` is outside of rows.
    let copy = first("CopyData", &|_| true);
    let of_unknown = |bytes: u64| serde_json::json!({ "bytes": bytes });
    assert_eq!(copy["body"]["rows"][0], serde_json::json!([of_unknown(14), of_unknown(1), of_unknown(16)]));
    assert_eq!(copy["body"]["data"], of_unknown(3));
    let startup = first("StartupMessage", &|line| line["body"]["parameters"]["options"].is_string());
    assert_eq!(startup["body"]["parameters"]["options"], "***");
    assert_eq!(startup["body"]["parameters"]["user"], "app");
    let fail = first("CopyFail", &|_| true);
    assert_eq!(fail["body"]["message"], "***");
}

/// The kinds of content of a line's fields.
enum Sort {
    Data,
    Sql,
    Name,
}

/// Returns the kind of a field, given the type of its message and its path in the line.
fn sort(kind: &str, path: &[&str]) -> Sort {
    const PEOPLE: [&str; 5] = ["message", "detail", "hint", "where", "internal_query"];
    match path {
        ["sql" | "normalized", ..] => Sort::Sql,
        ["body", "query", ..] if matches!(kind, "Query" | "Parse") => Sort::Sql,
        ["tags", _] | ["params", ..] | ["holes", "behind"] | ["body", "hex"] => Sort::Data,
        ["body", "values" | "arguments" | "rows" | "data" | "payload" | "other_fields", ..] => Sort::Data,
        ["body", "parameter_values", ..] => Sort::Data,
        ["body", "parameters", "options"] => Sort::Data,
        ["body", "value", ..] if kind == "FunctionCallResponse" => Sort::Data,
        ["body" | "error", field, ..] if PEOPLE.contains(field) => Sort::Data,
        _ => Sort::Name,
    }
}

/// Passes every text in a line, and every key and number of its data, to `give`, with its kind.
fn leaves(line: &Value, give: &mut impl FnMut(Sort, &str)) {
    fn walk<'a>(kind: &str, path: &mut Vec<&'a str>, value: &'a Value, give: &mut impl FnMut(Sort, &str)) {
        match value {
            Value::String(text) => give(sort(kind, path), text),
            Value::Number(number) => give(sort(kind, path), &number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| walk(kind, path, item, give)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    give(sort(kind, path), key);
                    path.push(key);
                    walk(kind, path, value, give);
                    path.pop();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
    let mut path = Vec::new();
    for (field, value) in line.as_object().unwrap() {
        let ends = ["client", "server", "client_ip", "client_port", "server_ip", "server_port", "community_id"];
        let is_of_the_capture = ["ts", "started"].contains(&field.as_str()) || field.ends_with("_us");
        if !is_of_the_capture && !ends.contains(&field.as_str()) {
            path.push(field.as_str());
            walk(line["type"].as_str().unwrap_or_default(), &mut path, value, give);
            path.pop();
        }
    }
}

/// Returns the parts of SQL outside of single and dollar quotes, found in the simplest way: these are not data.
fn unquoted(sql: &str) -> String {
    sql.split('\'').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Data of at least this length in the default output must not be in the redacted one.
const SHORTEST: usize = 6;

#[test]
fn no_data_of_any_capture_is_written() {
    let mut checked = 0;
    for name in captures::all() {
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        let shown =
            captures::dissect_packets(&packets, Config { redaction: Redaction::Nothing, ..captures::everything() });
        let mut data = BTreeSet::new();
        // Shapes contain the names of types.
        let mut names: BTreeSet<_> = (0..20_000).filter_map(value::type_name).map(str::to_owned).collect();
        for line in shown.values() {
            leaves(&line, &mut |sort, text| match sort {
                Sort::Data => {
                    let pieces = text.split(['\t', '\n', ',', '"', '{', '}', '(', ')']).chain([text]);
                    data.extend(pieces.filter(|piece| piece.chars().count() >= SHORTEST).map(str::to_owned));
                }
                Sort::Sql => drop(names.insert(unquoted(text))),
                Sort::Name => drop(names.insert(text.to_owned())),
            });
        }
        let redacted = captures::dissect_packets(&packets, without_values());
        contract::check(&redacted, &name);
        assert_eq!(redacted.lines.len(), shown.lines.len());
        let mut left = BTreeSet::new();
        for line in redacted.values() {
            leaves(&line, &mut |sort, text| {
                let is_known = matches!(sort, Sort::Name) && names.contains(text);
                if !is_known {
                    left.insert(text.to_owned());
                }
            });
        }
        let left = left.into_iter().collect::<Vec<_>>().join("\n");
        let names = names.into_iter().collect::<Vec<_>>().join("\n");
        for piece in data.iter().filter(|piece| left.contains(*piece)) {
            assert!(names.contains(piece), "{name}: {piece}");
        }
        checked += data.len();
    }
    assert!(checked > 10_000, "{checked}");
}
