//! Text in client encodings: nine sessions send the same in nine encodings, each with a word of its own.
//!
//! In `client-encodings`, the content of a session is known to the byte (`run.py`), and one of them uses UTF-8. So the lines of
//! the others must be the same except for the word. The server's interpretation is compared by `agree`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::wire::{From, Tcp, message};
use crate::{captures, command};

const CAPTURE: [&str; 3] = ["-p", "5432", "client-encodings/capture.pcap.gz"];

/// The encodings and words in `run.py`.
const WORDS: &[(&str, &str)] = &[
    ("LATIN1", "Größe ÿ"),
    ("WIN1251", "Цена №"),
    ("EUC_JP", "能力の表"),
    ("SJIS", "能力の表"),
    ("BIG5", "蓋許功"),
    ("GBK", "表誠"),
    ("GB18030", "ø誠"),
    ("UHC", "하똠"),
    ("SQL_ASCII", "é表"),
];

/// The fields that differ between sessions with the same content.
const OF_THE_SESSION: &[&str] = &[
    "ts",
    "conn",
    "client",
    "client_port",
    "community_id",
    "packet",
    "len",
    "started",
    "bytes_in",
    "bytes_out",
    "process_id",
    "fingerprint",
];

/// Returns the lines of each session, with the word replaced by `@`.
fn sessions() -> Vec<Vec<String>> {
    let outcome = command::run(CAPTURE.iter().chain(&["-e", "message,query,session,loss"]));
    let mut sessions: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for mut line in outcome.good() {
        let conn = line["conn"].as_u64().unwrap();
        let (encoding, word) = WORDS[usize::try_from(conn).unwrap() - 1];
        if is_of_its_bytes(&line, encoding) {
            continue;
        }
        let fields = line.as_object_mut().unwrap();
        fields.retain(|name, _| !OF_THE_SESSION.contains(&&**name) && !name.ends_with("_us"));
        if let Some(body) = fields.get_mut("body").and_then(Value::as_object_mut) {
            body.retain(|name, _| name != "process_id");
        }
        let line = line.to_string().replace(word, "@").replace(encoding, "THE ENCODING");
        sessions.entry(conn).or_default().push(line);
    }
    sessions.into_values().collect()
}

/// Returns whether a line depends on its bytes: data of a COPY that is cut inside a multibyte character; and a row in the new
/// encoding before the server has reported that.
fn is_of_its_bytes(line: &Value, encoding: &str) -> bool {
    match line["type"].as_str() {
        Some("CopyData") => line["dir"] == "F",
        Some("DataRow") => line["body"]["values"][0] == encoding,
        _ => false,
    }
}

#[test]
fn the_same_text_in_any_encoding_has_the_same_lines() {
    let sessions = sessions();
    assert_eq!(sessions.len(), WORDS.len());
    let in_utf8 = sessions.last().unwrap();
    for (session, (encoding, _)) in sessions.iter().zip(WORDS) {
        for (line, expected) in session.iter().zip(in_utf8) {
            assert_eq!(line, expected, "{encoding}");
        }
        assert_eq!(session.len(), in_utf8.len(), "{encoding}");
    }
    let all = in_utf8.join("\n");
    assert!(!all.contains(r#""hex""#), "{all}");
    for expected in [
        r#""query":"PREPARE \"q @\" AS SELECT $1::text""#,
        r#""sql":"SELECT $1::text AS \"@\", E'@' || $2""#,
        r#""statement":"q @""#,
        r#""message":"relation \"@\" does not exist""#,
        r#""channel":"@","payload":"@""#,
        r#""search_path":"public, \"@\"""#,
        r#""params":["@","again @"]"#,
        r#""normalized":"SELECT $1 AS \"@\", $2||$3""#,
    ] {
        assert!(all.contains(expected), "{expected} in {all}");
    }
}

#[test]
fn what_sql_prepared_in_one_encoding_is_known_in_another() {
    for line in command::run(CAPTURE).good() {
        let is_bind = line["type"] == "Bind" && line["body"]["statement"].as_str().unwrap().starts_with("q ");
        assert!(!is_bind || line["sql"] == "SELECT $1::text", "{line}");
    }
}

#[test]
fn lines_for_people_have_the_words_too() {
    let outcome = command::run(CAPTURE.iter().chain(&["-F", "text", "-e", "message,query,session,loss"]));
    assert_eq!((outcome.code, &*outcome.said), (Some(0), ""));
    let mut counts = [0; WORDS.len()];
    for line in &outcome.lines {
        // The first line says the zone of times.
        let Some(Ok(conn)) = line.split_whitespace().nth(1).map(str::parse::<usize>) else { continue };
        // Only rows and data of clients may differ.
        if !line.contains("DataRow ") && !line.contains("[F2B] CopyData ") {
            counts[conn - 1] += line.matches(WORDS[conn - 1].1).count();
        }
    }
    assert!(counts[0] > 70 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// Returns the lines of a connection with these messages of both sides, from its beginning or from the middle.
fn lines_of(messages: &[(From, Vec<u8>)], is_whole: bool) -> Vec<Value> {
    let mut numbers = [1, 1];
    let mut packets = Vec::new();
    if is_whole {
        packets.push(Tcp::new(From::Client, 0, 0, b"").syn().without_ack());
        packets.push(Tcp::new(From::Server, 0, 1, b"").syn());
    }
    for (from, bytes) in messages {
        packets.push(Tcp::new(*from, numbers[from.index()], numbers[from.peer().index()], bytes));
        numbers[from.index()] += u32::try_from(bytes.len()).unwrap();
    }
    let packets: Vec<_> = packets.iter().zip(0..).map(|(packet, at)| packet.at(at)).collect();
    captures::dissect_packets(&packets, captures::config()).messages()
}

fn hex(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serde_json::json!({ "hex": digits })
}

#[test]
fn before_the_server_reports_the_encoding_it_is_unknown() {
    let body = b"\0\x03\0\0user\0na\xefve\0client_encoding\0LATIN1\0\0";
    let startup = [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], body].concat();
    let lines = lines_of(
        &[
            (From::Client, startup),
            (From::Server, message(b'N', b"SNOTICE\0Mna\xefve\0\0")),
            (From::Server, message(b'R', &[0; 4])),
            (From::Server, message(b'S', b"client_encoding\0LATIN1\0")),
            (From::Server, message(b'S', b"session_authorization\0na\xefve\0")),
            (From::Server, message(b'Z', b"I")),
            (From::Client, message(b'Q', b"SELECT 'na\xefve'\0")),
        ],
        true,
    );
    assert_eq!(lines[0]["body"]["parameters"]["user"], hex(b"na\xefve"));
    assert_eq!(lines[1]["body"]["message"], hex(b"na\xefve"));
    assert_eq!(lines[4]["body"]["value"], "naïve");
    assert_eq!(lines[6]["body"]["query"], "SELECT 'naïve'");
}

#[test]
fn without_a_reported_encoding_only_utf8_is_decoded() {
    let query = |sql: &[u8]| (From::Client, message(b'Q', &[sql, b"\0"].concat()));
    let answer = || {
        let messages = [message(b'C', b"SELECT 0\0"), message(b'Z', b"I")];
        (From::Server, messages.concat())
    };
    let (latin1, utf8) = (b"SELECT 'na\xefve'", "SELECT 'naïve'");
    let queries = [query(latin1), answer(), query(utf8.as_bytes()), answer(), query(latin1), answer()];
    let lines = lines_of(&queries, false);
    let sql: Vec<_> = lines.iter().filter(|line| line["type"] == "Query").map(|line| &line["body"]["query"]).collect();
    assert_eq!(sql, [&hex(latin1), &Value::from(utf8), &hex(latin1)]);
}
