//! Rows of COPY data: those of the table, however they were formatted and segmented; and only rows that were sent, whatever was
//! lost.

use std::collections::HashSet;

use pgdissect::Config;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::captures::{self, OwnedPacket};
use crate::wire::{From, Tcp, message, startup};

/// Captures in which the rows of the table are selected after each COPY.
const SELECTED: [&str; 2] = ["copy-formats/capture.pcap", "copy-clients/capture.pcap"];

/// A COPY, or a result: its rows, and for a COPY its other data.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    rows: Vec<Value>,
    headers: Vec<Value>,
    /// The bytes outside of rows.
    rest: String,
}

impl Rows {
    fn take(&mut self, body: &Value) {
        self.rows.extend(body["rows"].as_array().into_iter().flatten().cloned());
        self.headers.extend(body.get("header").cloned());
        self.rest.push_str(body["data"].as_str().unwrap_or_default());
    }
}

/// Returns each COPY of a capture with the rows selected after it.
fn copies(name: &str, config: Config) -> Vec<(Rows, Vec<Value>)> {
    let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
    let (mut copies, mut waiting) = (Vec::new(), Vec::new());
    let (mut copy, mut selected, mut is_select) = (Rows::default(), Vec::new(), false);
    for line in captures::dissect_packets(&packets, config).messages() {
        let body = &line["body"];
        match line["type"].as_str().unwrap() {
            "Query" => is_select = body["query"].as_str().unwrap().starts_with("SELECT"),
            "Bind" => is_select = false,
            "CopyData" => copy.take(body),
            "CopyDone" => {
                copy.take(body);
                waiting.push(std::mem::take(&mut copy));
            }
            "DataRow" => selected.push(body["values"].clone()),
            "ReadyForQuery" => {
                let selected = std::mem::take(&mut selected);
                if is_select {
                    copies.extend(waiting.drain(..).map(|copy| (copy, selected.clone())));
                }
            }
            _ => {}
        }
    }
    assert!(waiting.is_empty());
    copies
}

/// Returns the same rows with every text in hex, like text in binary format.
fn in_binary(rows: &[Value]) -> Vec<Value> {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let value = |value: &Value| value.as_str().map_or(Value::Null, |text| format!("\\x{}", hex(text)).into());
    let row = |row: &Value| match row {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), value(field))).collect(),
        row => row.as_array().unwrap().iter().map(value).collect(),
    };
    rows.iter().map(row).collect()
}

#[test]
fn rows_are_those_that_the_table_has() {
    let (mut count, mut in_hex, mut with_rest) = (0, 0, Vec::new());
    for name in SELECTED {
        for (copy, selected) in copies(name, captures::config()) {
            let is_binary = copy.rows != selected;
            assert!(!is_binary || copy.rows == in_binary(&selected), "{name}: {copy:?}\n{selected:?}");
            assert!(copy.headers.len() < 2);
            count += 1;
            in_hex += usize::from(is_binary);
            with_rest.extend((!copy.rest.is_empty()).then_some(copy.rest));
        }
    }
    assert_eq!((count, in_hex), (50, 4));
    assert_eq!(with_rest, ["\\.\nand\twhat\tfollows\n", "\\.\n"]);
}

#[test]
fn rows_have_the_names_of_their_columns_where_these_are_known() {
    let mut named = 0;
    for name in SELECTED {
        let plain = copies(name, captures::config());
        let with_names = copies(name, Config { named_rows: true, ..captures::config() });
        for ((copy, of_columns), (_, selected)) in with_names.into_iter().zip(plain) {
            let is_named = copy.rows.first().is_some_and(Value::is_object);
            let wanted = if is_named { of_columns } else { selected };
            assert!(copy.rows == wanted || copy.rows == in_binary(&wanted), "{name}: {copy:?}\n{wanted:?}");
            named += usize::from(is_named);
        }
    }
    // Those with a header, or with a column list in the statement.
    assert_eq!(named, 14);
}

/// Returns the message lines of a connection in which these turns are sent.
fn dissect(turns: &[(From, Vec<u8>)], config: Config) -> Vec<Value> {
    let mut packets =
        vec![Tcp::new(From::Client, 0, 0, b"").without_ack().syn(), Tcp::new(From::Server, 0, 1, b"").syn()];
    let mut next = [1, 1];
    for (from, bytes) in turns {
        packets.push(Tcp::new(*from, next[from.index()], next[from.peer().index()], bytes));
        next[from.index()] += u32::try_from(bytes.len()).unwrap();
    }
    let packets: Vec<_> = (0..).zip(&packets).map(|(index, packet)| packet.at(index)).collect();
    captures::dissect_packets(&packets, config).values()
}

fn client(tag: u8, body: &[u8]) -> (From, Vec<u8>) {
    (From::Client, message(tag, body))
}

fn server(messages: &[(u8, &[u8])]) -> (From, Vec<u8>) {
    (From::Server, messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect())
}

/// Prepends the start of a session to turns.
fn session(turns: impl IntoIterator<Item = (From, Vec<u8>)>) -> Vec<(From, Vec<u8>)> {
    let begin = [(From::Client, startup()), server(&[(b'R', &[0; 4]), (b'Z', b"I")])];
    begin.into_iter().chain(turns).collect()
}

const COPY_IN: (u8, &[u8]) = (b'G', &[0, 0, 1, 0, 0]);
const COPY_OUT: (u8, &[u8]) = (b'H', &[0, 0, 1, 0, 0]);
const DONE: &[(u8, &[u8])] = &[(b'C', b"COPY 1\0"), (b'Z', b"I")];

/// Returns the bodies of COPY data and its end, with flags if there are any.
fn data(lines: &[Value]) -> Vec<Value> {
    let is_data =
        |line: &&Value| line["type"] == "CopyData" || line["type"] == "CopyDone" && line.get("body").is_some();
    let told = |line: &Value| match line.get("flags") {
        Some(flags) => json!([line["body"], flags]),
        None => line["body"].clone(),
    };
    lines.iter().filter(is_data).map(told).collect()
}

#[test]
fn rows_are_only_split_if_the_copy_is_understood() {
    for sql in ["SELECT 1", "COPY t TO STDOUT", "COPY t FROM STDIN (FORMAT new)", "COPY t FROM STDIN BINARY"] {
        let turns = [
            client(b'Q', &[sql.as_bytes(), b"\0"].concat()),
            server(&[COPY_IN]),
            client(b'd', b"a\n"),
            client(b'c', b""),
            server(DONE),
        ];
        assert_eq!(data(&dissect(&session(turns), Config::default())), [json!({ "data": "a\n" })], "{sql}");
    }
}

#[test]
fn a_row_that_nothing_ends_is_given_with_the_end_of_the_data() {
    let turns = [
        client(b'Q', b"COPY t FROM STDIN\0"),
        server(&[COPY_IN]),
        client(b'd', b"a\nb"),
        client(b'd', b"c"),
        client(b'c', b""),
        server(DONE),
    ];
    let wanted = [
        json!({ "rows": [["a"]], "unfinished": 1 }),
        json!({ "rows": [], "unfinished": 2 }),
        json!({ "rows": [["bc"]] }),
    ];
    assert_eq!(data(&dissect(&session(turns), Config::default())), wanted);
}

#[test]
fn each_copy_of_a_query_is_of_its_own_statement() {
    let sql =
        b"-- ;\nCOPY t FROM STDIN (DELIMITER ';'); SELECT 1; COPY t FROM STDIN CSV; COPY t TO STDOUT (NULL 'a');\0";
    let turns = [
        client(b'Q', sql),
        server(&[COPY_IN]),
        client(b'd', b"a;\"b\n"),
        client(b'c', b""),
        // Rows without an end are completed as well.
        server(&[(b'C', b"COPY 1\0"), (b'C', b"SELECT 1"), COPY_IN]),
        client(b'd', b"a;\"b\"\n"),
        client(b'c', b""),
        server(&[(b'C', b"COPY 1\0"), COPY_OUT, (b'd', b"a\n"), (b'c', b"")]),
        server(DONE),
    ];
    let wanted = [json!({ "rows": [["a", "\"b"]] }), json!({ "rows": [["a;b"]] }), json!({ "rows": [[null]] })];
    assert_eq!(data(&dissect(&session(turns), Config::default())), wanted);
}

#[test]
fn data_that_is_not_asked_for_yet_is_of_the_request_right_before_or_unknown() {
    // A client that pipelines: the second query and its data are sent before the reply to the first.
    let turns = [
        client(b'Q', b"COPY t FROM STDIN\0"),
        client(b'd', b"a,\nb"),
        client(b'd', b",\n"),
        client(b'c', b""),
        client(b'Q', b"COPY t FROM STDIN CSV\0"),
        client(b'd', b"\"a\"\n"),
        server(&[COPY_IN]),
        client(b'd', b"b\n"),
        server(DONE),
        client(b'd', b"c\n"),
        server(&[COPY_IN]),
        client(b'd', b"d\n"),
        client(b'c', b""),
        server(DONE),
    ];
    let wanted = [
        json!({ "rows": [["a,"]], "unfinished": 1 }),
        json!({ "rows": [["b,"]] }),
        json!({ "rows": [["a"]] }),
        json!({ "rows": [["b"]] }),
        json!([{ "data": "c\n" }, ["midstream"]]),
        json!({ "data": "d\n" }),
    ];
    assert_eq!(data(&dissect(&session(turns), Config::default())), wanted);
    // If data is sent before the statements are executed, it is not known to which of several it belongs.
    let turns = [
        client(b'Q', b"COPY t FROM STDIN; COPY t FROM STDIN CSV\0"),
        client(b'd', b"a\n"),
        server(&[COPY_IN]),
        client(b'd', b"b\n"),
        client(b'c', b""),
    ];
    let wanted = [json!([{ "data": "a\n" }, ["midstream"]]), json!({ "data": "b\n" })];
    assert_eq!(data(&dissect(&session(turns), Config::default())), wanted);
}

#[test]
fn a_row_that_is_too_long_is_counted_and_affects_no_other() {
    let turns = [
        client(b'Q', b"COPY t FROM STDIN\0"),
        server(&[COPY_IN]),
        client(b'd', &[&b"a\n"[..], &[b'x'; 60]].concat()),
        client(b'd', &[&[b'x'; 60], &b"\nb\n"[..]].concat()),
        client(b'c', b""),
        server(DONE),
    ];
    let lines = dissect(&session(turns), Config { max_message: 100, ..Config::default() });
    let wanted =
        [json!({ "rows": [["a"]], "unfinished": 60 }), json!([{ "rows": [["b"]], "skipped": 121 }, ["limit"]])];
    assert_eq!(data(&lines), wanted);
    let loss = lines.iter().find(|line| line["event"] == "loss").unwrap();
    assert_eq!((&loss["reason"], &loss["skipped"]), (&json!("limit"), &json!(121)));
}

/// Returns the lines of a COPY with a message that is larger than the limit.
fn with_a_cut_message(sql: &[u8], from: From, pieces: &[&[u8]]) -> Vec<Value> {
    let mut turns = session([client(b'Q', sql), server(&[if from == From::Client { COPY_IN } else { COPY_OUT }])]);
    turns.extend(pieces.iter().map(|piece| (from, message(b'd', piece))));
    turns.extend([(from, message(b'c', b"")), server(DONE)]);
    data(&dissect(&turns, Config { max_message: 24, ..Config::default() }))
}

#[test]
fn behind_what_is_missing_rows_go_on_where_they_surely_begin() {
    let long: &[u8] = b"a\nand more than there is room for";
    let cut = || json!([{ "rows": [["a"]], "unfinished": 22 }, ["truncated"]]);
    let text = with_a_cut_message(b"COPY t FROM STDIN\0", From::Client, &[long, b"b\nc", b"d\ne"]);
    let resumed = json!([{ "rows": [], "unfinished": 1, "skipped": 2 }, ["midstream"]]);
    assert_eq!(text, [cut(), resumed, json!({ "rows": [["cd"]], "unfinished": 1 }), json!({ "rows": [["e"]] })]);
    let csv = with_a_cut_message(b"COPY t FROM STDIN CSV\0", From::Client, &[long, b"b\nc", b"d\ne"]);
    assert_eq!(csv, [cut(), json!({ "data": "b\nc" }), json!({ "data": "d\ne" })]);
    // A server sends one row in each message.
    let out = with_a_cut_message(b"COPY t TO STDOUT CSV\0", From::Server, &[long, b"b\n", b"\"d\n\"\n"]);
    assert_eq!(out, [cut(), json!({ "rows": [["b"]] }), json!({ "rows": [["d\n"]] })]);
    // A row without its end is not a row.
    let last = with_a_cut_message(b"COPY t FROM STDIN\0", From::Client, &[long]);
    assert_eq!(last, [cut()]);
}

const LOSSY: [&str; 6] = [
    "copy-formats/capture.pcap",
    "copy-clients/capture.pcap",
    "copy-in/capture.pcap",
    "copy-out/capture.pcap",
    "copy-binary/capture.pcap",
    "copy-pipeline/capture.pcap",
];

/// Returns all rows as they are written.
fn rows(packets: &[OwnedPacket]) -> HashSet<String> {
    let lines = captures::dissect_packets(packets, captures::config()).messages();
    let bodies = lines.iter().filter(|line| line["type"] == "CopyData" || line["type"] == "CopyDone");
    bodies.flat_map(|line| line["body"]["rows"].as_array().into_iter().flatten().map(Value::to_string)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn no_row_is_there_that_was_not_sent(
        name in proptest::sample::select(LOSSY.to_vec()),
        // For each packet, whether it is lost or truncated.
        fates in proptest::collection::vec((0..20_u8, any::<proptest::sample::Index>()), 1..50),
        first in any::<proptest::sample::Index>(),
    ) {
        let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
        let sent = rows(&packets);
        let mut left = packets[first.index(packets.len().min(40))..].to_vec();
        let mut fates = fates.iter().cycle();
        left.retain_mut(|packet| {
            let (fate, at) = fates.next().unwrap();
            if *fate == 1 {
                packet.data.truncate(at.index(packet.data.len() + 1).max(66));
            }
            *fate > 0
        });
        // If the message with the encoding was lost, the encoding of other rows is not known.
        for row in rows(&left).into_iter().filter(|row| row.is_ascii() && !row.contains("hex")) {
            prop_assert!(sent.contains(&row), "{}", row);
        }
    }
}
