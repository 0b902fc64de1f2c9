//! Traffic before and besides the protocol: old versions and their rejection, forks, responses that are pending while the client
//! continues, partly lost beginnings; and other protocols.

use std::collections::{BTreeMap, HashMap};

use pgdissect::{Config, KeyLogLines, Keys};
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;
use serde_json::{Value, json};

use crate::captures::{self, Output, OwnedPacket};
use crate::laws::contract;
use crate::wire::{From, Tcp, message, startup};

const C: From = From::Client;
const S: From = From::Server;

/// Messages with their senders, in order.
type Talk = Vec<(From, Vec<u8>)>;

/// Dissects a capture in `testdata`, with its keys, and checks that the result is the same if its port has to be detected.
fn read(name: &str) -> Output {
    let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
    assert_eq!(errors, [""; 0]);
    let keys = Keys::default();
    if let Ok(log) = std::fs::read(captures::testdata().join(name).with_extension("keys.log")) {
        KeyLogLines::default().push(&log, &keys);
    }
    let output = captures::decrypt_packets(&packets, &keys, captures::everything());
    check(&output, name);
    let auto = captures::decrypt_packets(&packets, &keys, Config { ports: None, ..captures::everything() });
    assert_eq!(auto.lines, output.lines, "{name}: found by its first bytes");
    output
}

/// Checks lines against the contract, and the counts of a session's line against the lines of its messages.
fn check(output: &Output, of: &str) {
    contract::check(output, of);
    let mut messages: HashMap<u64, u64> = HashMap::new();
    for line in output.values() {
        let conn = line["conn"].as_u64().unwrap();
        if line["event"] == "message" {
            *messages.entry(conn).or_default() += 1;
        } else if line["state"] == "ended" {
            assert_eq!(line["messages"], messages.remove(&conn).unwrap_or_default(), "{of}: {line}");
        }
    }
    assert!(messages.is_empty(), "{of}: a connection with messages has a session");
}

/// Returns types of messages with their direction, and reasons of losses.
fn events(output: &Output) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let lines = output.values().into_iter().filter(|line| line["event"] != "session" && line["event"] != "query");
    lines
        .map(|line| match line["event"].as_str().unwrap() {
            "message" => format!("{} {}", text(&line["dir"]), text(&line["type"])),
            _ => text(&line["reason"]),
        })
        .filter(|line| line != "B ParameterStatus")
        .collect()
}

/// Returns the bodies of the messages of a type.
fn bodies(output: &Output, kind: &str) -> Vec<Value> {
    let of_kind = output.messages().into_iter().filter(|line| line["type"] == kind);
    of_kind.map(|line| line["body"].clone()).collect()
}

fn sessions(output: &Output) -> Vec<Value> {
    output.values().into_iter().filter(|line| line["state"] == "ended").collect()
}

/// Creates the packets of a conversation, in segments of these sizes in turn, from SYN to FIN.
fn packets(talk: &Talk, sizes: &[usize]) -> Vec<OwnedPacket> {
    let mut sizes = sizes.iter().copied().cycle();
    let mut next = [101_u32, 501];
    let mut all = vec![
        Tcp::new(C, 100, 0, b"").without_ack().syn(),
        Tcp::new(S, 500, 101, b"").syn(),
        Tcp::new(C, 101, 501, b""),
    ];
    for (from, bytes) in talk {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len().min(60_000)));
            rest = behind;
            all.push(Tcp::new(*from, next[from.index()], next[from.peer().index()], piece));
            next[from.index()] += u32::try_from(piece.len()).unwrap();
        }
    }
    all.push(Tcp::new(S, next[1], next[0], b"").fin());
    all.push(Tcp::new(C, next[0], next[1] + 1, b"").fin());
    all.push(Tcp::new(S, next[1] + 1, next[0] + 1, b""));
    all.iter().zip(0..).map(|(segment, index)| segment.at(index % 90_000)).collect()
}

fn whole(talk: &Talk) -> Output {
    let output = captures::dissect_packets(&packets(talk, &[]), captures::everything());
    check(&output, "by hand");
    output
}

/// Creates a startup packet from the bytes after its length word.
fn packet(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], body].concat()
}

fn request(code: u16, rest: &[u8]) -> Vec<u8> {
    packet(&[&1234_u16.to_be_bytes()[..], &code.to_be_bytes(), rest].concat())
}

fn ssl_request() -> Vec<u8> {
    request(5679, b"")
}

/// Returns a server's messages for a successful start.
fn welcome() -> Vec<u8> {
    let key = message(b'K', b"\0\0\0\x07\0\0\0\x2a");
    [message(b'R', &[0; 4]), message(b'S', b"server_version\x0018.4\0"), key, message(b'Z', b"I")].concat()
}

fn query() -> Vec<u8> {
    message(b'Q', b"SELECT 1 AS one\0")
}

fn rows(between: &[u8]) -> Vec<u8> {
    let row = message(b'T', b"\0\x01one\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    let data = message(b'D', b"\0\x01\0\0\0\x011");
    [row, between.to_vec(), data, message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

#[test]
fn errors_before_any_protocol_have_their_text() {
    let output = read("cases/forkerr.pcap");
    let expected = [
        "F StartupMessage",
        "B ErrorResponse", // immediately
        "F SSLRequest",
        "B ErrorResponse", // instead of the response
        "F SSLRequest",
        "B SSLResponse",
        "F StartupMessage",
        "B ErrorResponse", // after N
    ];
    assert_eq!(events(&output), expected);
    let texts = [
        "could not fork new process for connection: Resource temporarily unavailable\n",
        "could not fork new process for connection: Cannot allocate memory\n",
        "FATAL:  sorry, too many clients already\n",
    ];
    assert_eq!(bodies(&output, "ErrorResponse"), texts.map(|text| json!({ "message": text })));
    for session in sessions(&output) {
        assert_eq!(
            (&session["end_reason"], &session["ended_by"], &session["errors"]),
            (&json!("fatal"), &json!("server"), &json!(1))
        );
        assert_eq!(session["lost_bytes"], 0);
    }
}

#[test]
fn an_error_may_precede_the_clients_first_message() {
    let text = b"Ecould not fork new process for connection: Cannot allocate memory\n\0";
    let error = message(b'E', b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0");
    for bytes in [&text[..], &error] {
        for auto in [false, true] {
            for size in [1, 7, usize::MAX] {
                let config = Config { ports: (!auto).then(|| vec![5432]), ..captures::everything() };
                let output = captures::dissect_packets(&packets(&vec![(S, bytes.to_vec())], &[size]), config);
                check(&output, "an error alone");
                assert_eq!(events(&output), ["B ErrorResponse"], "{size}");
                assert_eq!(sessions(&output)[0]["end_reason"], "fatal");
            }
        }
    }
}

#[test]
fn an_error_that_its_server_does_not_end_is_given_as_far_as_it_goes() {
    let talk = vec![(C, startup()), (S, b"Ecould not fork new proc".to_vec())];
    let output = whole(&talk);
    let error = &output.messages()[1];
    assert_eq!(
        (&error["body"]["message"], &error["flags"]),
        (&json!("could not fork new proc"), &json!(["truncated"]))
    );
    assert_eq!(events(&output).last().unwrap(), "malformed");
}

#[test]
fn old_and_new_versions_are_messages_and_so_is_what_refuses_them() {
    let output = read("cases/v2only.pcap");
    assert_eq!(events(&output), ["F StartupMessage", "B ErrorResponse"]);
    let body = json!({ "protocol_version": "2.0", "parameters": { "database": "shop", "user": "app" } });
    assert_eq!(bodies(&output, "StartupMessage"), [body]);
    let text = "FATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.0\n";
    assert_eq!(bodies(&output, "ErrorResponse"), [json!({ "message": text })]);
    let session = &sessions(&output)[0];
    assert_eq!((&session["user"], &session["protocol_version"]), (&json!("app"), &json!("2.0")));
    assert_eq!(
        (&session["messages"], &session["bytes_out"], &session["end_reason"]),
        (&json!(2), &json!(72), &json!("fatal"))
    );

    let output = read("cases/v4only.pcap");
    assert_eq!(events(&output), ["F StartupMessage", "B ErrorResponse"]);
    assert_eq!(bodies(&output, "StartupMessage")[0]["protocol_version"], "4.0");
    let error = &bodies(&output, "ErrorResponse")[0];
    assert_eq!(error["message"], "unsupported frontend protocol 4.0: server supports 3.0 to 3.0");
    assert_eq!(sessions(&output)[0]["lost_bytes"], 0);
}

#[test]
fn of_a_server_that_speaks_protocol_2_all_is_counted() {
    let mut body = vec![0; 292];
    body[1] = 2;
    body[68..71].copy_from_slice(b"app");
    let replies = b"R\0\0\0\0K\0\0\0\x01\0\0\0\x02Z";
    let output =
        whole(&vec![(C, packet(&body)), (S, replies.to_vec()), (C, b"Qselect 1\0".to_vec()), (S, b"Eno\n\0".to_vec())]);
    assert_eq!(events(&output), ["F StartupMessage", "not_postgresql", "not_postgresql"]);
    let lines = output.values();
    let skipped: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").map(|line| &line["skipped"]).collect();
    assert_eq!(skipped, [10, 20]);
    assert_eq!(sessions(&output)[0]["lost_bytes"], 30);
    assert_eq!(output.counters.skipped_bytes, 30);
}

#[test]
fn what_real_servers_make_of_odd_beginnings() {
    for (name, newest) in [("startups/15.pcap", "3.0"), ("startups/18.pcap", "3.2")] {
        let output = read(name);
        let mut of_conn: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for line in output.messages().iter().filter(|line| line["type"] != "ParameterStatus") {
            let of_conn = of_conn.entry(line["conn"].as_u64().unwrap()).or_default();
            of_conn.push(line["type"].as_str().unwrap().to_owned());
        }
        let has_tls = newest == "3.2";
        // A server with TLS interprets the next bytes as a ClientHello.
        let behind_ssl: &[&str] = if has_tls {
            &["SSLRequest", "SSLResponse"]
        } else {
            &["SSLRequest", "SSLResponse", "StartupMessage", "ErrorResponse"]
        };
        let refused = &["StartupMessage", "ErrorResponse"][..];
        let begun = ["AuthenticationOk", "BackendKeyData", "ReadyForQuery"];
        let answered = ["Query", "RowDescription", "DataRow", "CommandComplete", "ReadyForQuery", "Terminate"];
        let negotiated = [&["StartupMessage", "NegotiateProtocolVersion"], &begun[..], &answered].concat();
        let unknown = &["UnknownRequest", "ErrorResponse"][..];
        let odd_bind = ["Parse", "Bind", "Execute", "Sync", "ParseComplete", "ErrorResponse", "ReadyForQuery"];
        let bound = [&["StartupMessage"], &begun[..], &odd_bind, &answered].concat();
        let odd_type = [&["StartupMessage"], &begun[..], &["Unknown", "ErrorResponse"]].concat();
        let expected = [
            (1, refused),
            (2, refused),
            (3, behind_ssl),
            (4, refused),
            (5, &negotiated),
            (6, unknown),
            (7, unknown),
            (8, refused),
            (11, &bound),
            (12, &odd_type),
        ];
        for (conn, expected) in expected {
            assert_eq!(of_conn[&conn], expected, "{name}: connection {conn}");
        }
        // Its response is not part of the session, although the client did not wait for it.
        assert_eq!(of_conn[&9][..3], ["SSLRequest", "StartupMessage", "SSLResponse"]);
        assert_eq!(of_conn[&10][..4], ["GSSENCRequest", "SSLRequest", "StartupMessage", "GSSENCResponse"]);
        assert_eq!(of_conn[&13][..2], ["SSLRequest", "SSLResponse"]);

        let sessions = sessions(&output);
        let session = |conn: u64| sessions.iter().find(|session| session["conn"] == conn).unwrap();
        assert_eq!(session(5)["protocol_version"], newest, "{name}: what was negotiated");
        assert_eq!(session(8)["protocol_version"], "3.0");
        let lines = output.messages();
        let of =
            |conn: u64, kind: &str| lines.iter().find(|line| line["conn"] == conn && line["type"] == kind).unwrap();
        assert_eq!(of(5, "StartupMessage")["body"]["protocol_version"], "3.9999");
        let unrecognized = &of(5, "NegotiateProtocolVersion")["body"]["unrecognized_options"];
        assert_eq!(*unrecognized, json!(["_pq_.test_protocol_negotiation", "_pq_.later"]));
        assert_eq!(of(6, "UnknownRequest")["body"], json!({ "code": "1234.5690" }));
        assert_eq!(of(7, "UnknownRequest")["body"], json!({ "code": "1234.5690", "data": "***" }));
        assert_eq!(of(8, "StartupMessage")["body"]["greenplum_internal"], true);
        let bind = of(11, "Bind");
        assert_eq!((&bind["body"]["rest"], &bind["sql"]), (&json!("\\x00016c6174657200"), &json!("SELECT $1::text")));
        assert_eq!((&bind["error"], &bind["flags"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn an_answer_is_read_though_the_client_went_on_with_tls() {
    let output = read("cases/pipetls18.pcap");
    assert_eq!(events(&output)[..2], ["F SSLRequest", "B SSLResponse"]);
    let response = &output.messages()[1];
    assert_eq!((&response["body"], &response["packet"]), (&json!({ "accepted": true }), &json!(6)));
    let session = &sessions(&output)[0];
    assert_eq!((&session["tls"]["encrypted_in"], &session["tls"]["encrypted_out"]), (&json!(517), &json!(1_337)));
    assert_eq!((&session["bytes_in"], &session["bytes_out"]), (&json!(525), &json!(1_338)));
    assert_eq!(output.counters.encrypted_bytes, 517 + 1_337);

    // The same with its keys.
    let output = read("startups/early-tls.pcap");
    let expected = ["F SSLRequest", "B SSLResponse", "F StartupMessage", "B AuthenticationOk", "B BackendKeyData"];
    assert_eq!(events(&output)[..5], expected);
    assert_eq!(bodies(&output, "Query"), [json!({ "query": "SELECT 'early'" })]);
}

#[test]
fn a_client_that_went_on_with_tls_may_be_refused() {
    for refusal in [&b"N"[..], b"Ecould not fork new process for connection: Cannot allocate memory\n\0"] {
        let first = [ssl_request(), client_hello()].concat();
        let error = message(b'E', b"SFATAL\0VFATAL\0C08P01\0Mreceived unencrypted data after SSL request\0\0");
        let output = whole(&vec![(C, first), (S, refusal.to_vec()), (S, error)]);
        let answer = if refusal == b"N" { "B SSLResponse" } else { "B ErrorResponse" };
        assert_eq!(events(&output), ["F SSLRequest", answer, "B ErrorResponse", "undecryptable"]);
        assert_eq!(sessions(&output)[0]["encryption"], Value::Null);
    }
}

#[test]
fn a_lost_encryption_response_is_one_byte_whatever_the_client_sends_next() {
    let record = b"\x16\x03\x03\0\x04\x02\0\0\0".to_vec();
    let startup_follows = vec![(C, startup()), (S, welcome())];
    let tls_follows = vec![(C, client_hello()), (S, record)];
    for then in [&startup_follows, &tls_follows] {
        for is_early in [false, true] {
            let mut talk = vec![(C, ssl_request()), (S, b"N".to_vec())];
            if is_early {
                talk[0].1.extend_from_slice(&then[0].1);
                talk.push(then[1].clone());
            } else {
                talk.extend(then.clone());
            }
            let mut sent = packets(&talk, &[]);
            // After three packets of the handshake and the request.
            sent.remove(4);
            let output = captures::dissect_packets(&sent, captures::everything());
            check(&output, "a lost answer");
            let said = events(&output);
            let missing = output.values().into_iter().find(|line| line["reason"] == "missing").unwrap();
            assert_eq!((&missing["bytes"], &missing["within"]), (&json!(1), &Value::Null), "{said:?}");
            assert!(
                !output.lines.iter().any(|line| line.contains("skipped") || line.contains("malformed")),
                "{said:?}"
            );
            let session = &sessions(&output)[0];
            if then == &startup_follows {
                assert!(said.contains(&"F StartupMessage".to_owned()), "{said:?}");
                assert_eq!(
                    (said.last().unwrap(), &session["encryption"]),
                    (&"B ReadyForQuery".to_owned(), &Value::Null)
                );
            } else {
                let encrypted =
                    (&session["encryption"], &session["tls"]["encrypted_in"], &session["tls"]["encrypted_out"]);
                assert_eq!(encrypted, (&json!("tls"), &json!(client_hello().len()), &json!(9)), "{said:?}");
            }
        }
    }
}

#[test]
fn a_capture_may_begin_or_lose_a_packet_anywhere_in_a_beginning() {
    let name = "psql-prefer/capture.pcap";
    let (all, _) = captures::packets(&[captures::testdata().join(name)]);
    let whole: Vec<_> = events(&captures::dissect_packets(&all, captures::everything()));
    let has_startup = |output: &Output, what: &str| {
        check(output, what);
        let said = events(output);
        let at = said.iter().position(|line| line == "F StartupMessage").unwrap_or_else(|| panic!("{what}: {said:?}"));
        assert_eq!(said[at..], whole[2..], "{what}");
        let session = &sessions(output)[0];
        assert_eq!(session["user"], "app", "{what}");
        // If no handshake was captured, it may be a value that looks like one.
        assert!(session["flags"].is_null() || session["flags"] == json!(["resynchronized"]), "{what}: {session}");
    };
    // The StartupMessage is packet 8.
    for first in 1..8 {
        has_startup(&captures::dissect_packets(&all[first..], captures::everything()), &format!("from {first} on"));
    }
    for lost in 0..7 {
        let left = all.iter().enumerate().filter(|(index, _)| *index != lost).map(|(_, packet)| packet);
        has_startup(&captures::dissect_packets(left, captures::everything()), &format!("without {lost}"));
    }
    // If only the StartupMessage shows that it is PostgreSQL.
    let auto = captures::dissect_packets(&all[7..], Config { ports: None, ..captures::everything() });
    has_startup(&auto, "on any port");
}

#[test]
fn rows_of_redshift_have_their_names_and_types() {
    let output = read("cases/redshift.pcap");
    let fields = &bodies(&output, "RowDescription")[0]["fields"];
    let names = |metadata: &Value| {
        ["schema_name", "table_name", "column_name", "catalog_name"].map(|name| metadata[name].clone())
    };
    assert_eq!((&fields[0]["name"], &fields[0]["type_oid"]), (&json!("a"), &json!(23)));
    assert_eq!(names(&fields[0]["metadata"]), ["public", "t", "c0", "dev"]);
    assert_eq!((&fields[1]["name"], &fields[1]["type_oid"]), (&json!("b"), &json!(1043)));
    assert_eq!(names(&fields[1]["metadata"]), ["public", "t", "c1", "dev"]);
    assert_eq!(
        (&fields[0]["metadata"]["nullable"], &fields[0]["metadata"]["read_only"]),
        (&json!(true), &json!(false))
    );
    let rows: Vec<_> = bodies(&output, "DataRow").into_iter().map(|body| body["values"].clone()).collect();
    assert_eq!(rows, [json!([1, "x"]), json!([2, null]), json!([1]), json!([2])]);
    // The other response has the usual columns.
    assert_eq!(bodies(&output, "RowDescription")[1]["fields"][0]["metadata"], Value::Null);
    let (packets, _) = captures::packets(&[captures::testdata().join("cases/redshift.pcap")]);
    let named = captures::dissect_packets(&packets, Config { named_rows: true, ..captures::everything() });
    assert_eq!(bodies(&named, "DataRow")[0]["values"], json!({ "a": 1, "b": "x" }));
}

#[test]
fn of_columns_in_another_form_the_first_is_read_where_the_client_has_asked_for_it() {
    let column = b"one\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
    let odd =
        [&message(b'T', &[b"\0\x01", &column[..], b"odd"].concat())[..], &message(b'D', b"\0\x01\0\0\0\x011")].concat();
    let replies = [odd, message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let talk = |version: &[u8]| {
        let body = [b"\0\x03\0\0user\0app\0client_protocol_version\0", version, b"\0\0"].concat();
        whole(&vec![(C, packet(&body)), (S, welcome()), (C, query()), (S, replies.clone())])
    };
    let output = talk(b"2");
    let body = &bodies(&output, "RowDescription")[0];
    assert_eq!((&body["fields"][0]["name"], &body["rest"]), (&json!("one"), &json!("\\x6f6464")));
    assert_eq!(bodies(&output, "DataRow")[0]["values"], json!([1]));
    assert!(bodies(&talk(b"0"), "RowDescription")[0]["hex"].is_string());
}

#[test]
fn greenplum_speaks_to_itself_in_messages_of_its_own() {
    let begin = packet(b"\x70\x03\0\0user\0gpadmin\0database\0shop\0gpqeid\x001;2;3\0\0");
    let plan = message(b'M', &b"a plan, or what may be one: Q\0\0\0\x0dDELETE 1\0".repeat(1_200));
    let statistics = message(b'j', &[7; 70_000]);
    let replies = rows(&message(b'k', b"nextval"));
    let ready = message(b'Z', b"I");
    let done = [&statistics[..], &message(b'C', b"SELECT 1\0"), &ready].concat();
    assert!(plan.len() > 40_000);
    let talk = vec![(C, begin), (S, welcome()), (C, plan), (S, done), (C, query()), (S, replies)];
    let output = whole(&talk);
    let expected = [
        "F StartupMessage",
        "B AuthenticationOk",
        "B BackendKeyData",
        "B ReadyForQuery",
        "F Unknown",
        "B Unknown",
        "B CommandComplete",
        "B ReadyForQuery",
        "F Query",
        "B RowDescription",
        "B Unknown",
        "B DataRow",
        "B CommandComplete",
        "B ReadyForQuery",
    ];
    assert_eq!(events(&output), expected);
    assert_eq!(bodies(&output, "DataRow"), [json!({ "values": [1] })], "an unknown message changes no columns");
    let query = output.values().into_iter().find(|line| line["event"] == "query").unwrap();
    assert_eq!((&query["outcome"], &query["rows"], &query["flags"]), (&json!("ok"), &json!(1), &Value::Null));
    assert_eq!((output.counters.losses, output.counters.undecoded_messages), (0, 3));
    // An unknown type with a length that text cannot have is a message; text is not.
    let text = vec![(C, startup()), (S, welcome()), (C, b"What is this?".to_vec())];
    assert!(events(&whole(&text)).contains(&"malformed".to_owned()));
}

/// Returns a ClientHello that does not mention PostgreSQL.
fn client_hello() -> Vec<u8> {
    let (packets, _) = captures::packets(&[captures::testdata().join("tls-foreign/capture.pcap")]);
    let first = packets.iter().find_map(|packet| {
        let segment = pgdissect::internals::packet::decode(&packet.borrow()).ok()?;
        (!segment.payload.is_empty()).then(|| segment.payload.to_vec())
    });
    first.expect("the client says something")
}

/// Returns the first data of each side in other protocols, with the side that begins.
fn foreign() -> Vec<(&'static str, Talk)> {
    let kafka = |key: u8, version: u8, rest: &[u8]| {
        packet(&[&[0, key, 0, version], &b"\0\0\0\x01\0\x07rdkafka"[..], rest].concat())
    };
    let mysql = |len: u8| {
        let greeting =
            [&[len, 0, 0, 0, 10][..], b"8.0.36\0\x0b\0\0\0saltsalt\0\xff\xf7\xff\x02\0\xff\xdf\x15", &[0; 99]].concat();
        let login = [&b"\x55\0\0\x01\x85\xa6\xff\0\0\0\0\x01\xff"[..], &[0; 23], b"app\0\0"].concat();
        vec![(S, greeting[..usize::from(len) + 4].to_vec()), (C, login), (S, b"\x07\0\0\x02\0\0\0\x02\0\0\0".to_vec())]
    };
    let reply = |bytes: &[u8]| (S, packet(bytes));
    vec![
        ("Kafka ApiVersions", vec![(C, kafka(18, 3, b"\0\x08rdkafka\x062.3.0\0")), reply(b"\0\0\0\x01\0\0\x3b")]),
        ("Kafka Metadata", vec![(C, kafka(3, 9, b"\0\x02\x06topic\0\x01\0\0\0")), reply(b"\0\0\0\x01\0\0\0\0\0\x02")]),
        ("Kafka Metadata 0", vec![(C, kafka(3, 0, b"\0\0\0\0")), reply(b"\0\0\0\x01\0\0\0\0")]),
        ("Kafka ListOffsets", vec![(C, kafka(2, 5, &[0; 275])), reply(b"\0\0\0\x01\0\0\0\0")]),
        ("Kafka LeaderAndIsr", vec![(C, kafka(4, 1, b"\0\0\0\x02user\0a\0\0")), reply(b"\0\0\0\x01\0\0")]),
        (
            "LDAP",
            vec![
                (C, b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0".to_vec()),
                (S, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0".to_vec()),
            ],
        ),
        ("HTTPS", vec![(C, client_hello()), (S, b"\x16\x03\x03\0\x04\x02\0\0\0".to_vec())]),
        ("HTTP", vec![(C, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()), (S, b"HTTP/1.1 200 OK\r\n\r\n".to_vec())]),
        (
            "FTP",
            vec![
                (S, b"220 (vsFTPd 3.0.5)\r\n".to_vec()),
                (C, b"USER anonymous\r\n".to_vec()),
                (S, b"331 Please specify\r\n".to_vec()),
            ],
        ),
        ("SSH", vec![(S, b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()), (C, b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec())]),
        ("SMTP", vec![(S, b"220 mail ESMTP\r\n".to_vec()), (C, b"EHLO x\r\n".to_vec()), (S, b"250 mail\r\n".to_vec())]),
        ("IRC", vec![(S, b"ERROR :Closing Link\r\n".to_vec()), (C, b"QUIT\r\n".to_vec())]),
        ("IRC, and no client", vec![(S, b"ERROR :Closing Link\r\n".to_vec())]),
        ("a word", vec![(C, b"hi".to_vec())]),
        ("NNTP", vec![(S, b"N200 ready\r\n".to_vec()), (C, b"MODE READER\r\n".to_vec())]),
        ("MySQL", mysql(0x4a)),
        ("MySQL, 69 bytes", mysql(0x45)),
        ("MySQL, 78 bytes", mysql(0x4e)),
        ("MySQL, 83 bytes", mysql(0x53)),
        ("Redis", vec![(C, b"*1\r\n$4\r\nPING\r\n".to_vec()), (S, b"+PONG\r\n".to_vec())]),
        (
            "SMB",
            vec![
                (
                    C,
                    b"\0\0\0\x26\xfeSMB\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
                ),
                (S, b"\0\0\0\x04\xfeSMB".to_vec()),
            ],
        ),
        (
            "Thrift",
            vec![(C, packet(b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0")), reply(b"\x80\x01\0\x02\0\0\0\x04ping")],
        ),
        ("ZooKeeper", vec![(C, packet(&[0; 40])), reply(&[0; 36])]),
        (
            "TDS",
            vec![
                (C, b"\x12\x01\0\x2f\0\0\x01\0\0\0\x1a\0\x06\x01\0\x20".to_vec()),
                (S, b"\x04\x01\0\x2b\0\0\x01\0".to_vec()),
            ],
        ),
        ("XMPP in pieces", vec![(C, b"<".to_vec()), (C, b"?xml version='1.0'?>".to_vec()), (S, b"<stream>".to_vec())]),
    ]
}

/// Dissects packets with any port as a server's, with their port configured, and with both.
fn by_ports(packets: &[OwnedPacket]) -> [Output; 4] {
    let of = |ports: Option<Vec<u16>>, other_ports| {
        captures::dissect_packets(packets, Config { ports, other_ports, ..captures::everything() })
    };
    [of(None, false), of(Some(vec![6432]), true), of(Some(vec![5432]), false), of(Some(vec![5432, 6432]), true)]
}

fn assert_foreign(name: &str, packets: &[OwnedPacket]) {
    let [auto, elsewhere, named, both] = by_ports(packets);
    for silent in [auto, elsewhere] {
        assert_eq!(silent.lines, [""; 0], "{name}");
        let counters = silent.counters;
        assert_eq!((counters.connections, counters.messages, counters.losses), (0, 0, 0), "{name}");
        assert_eq!((counters.skipped_bytes, counters.contested_bytes), (0, 0), "{name}");
    }
    for told in [named, both] {
        check(&told, name);
        assert_eq!(events(&told), ["not_postgresql"], "{name}");
        assert_eq!((told.counters.connections, told.counters.messages), (1, 0), "{name}");
    }
}

#[test]
fn other_protocols_result_in_no_message_wherever_they_are_cut() {
    for (name, talk) in foreign() {
        for sizes in [&[usize::MAX][..], &[1], &[2], &[3, 1], &[5], &[1, 100], &[7]] {
            assert_foreign(name, &packets(&talk, sizes));
        }
    }
}

#[test]
fn a_request_for_encryption_does_not_make_postgresql_of_what_follows() {
    let request = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let http = (S, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    for behind in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\xff\xff\xff\xff", b"Q\0\0\0\x0dSELECT 1\0"] {
        assert_foreign("together", &packets(&vec![(C, [&request[..], behind].concat()), http.clone()], &[]));
        // If it arrives alone, it is accepted until the next bytes arrive.
        for talk in [
            vec![(C, request.to_vec()), (C, behind.to_vec()), http.clone()],
            vec![(C, request.to_vec()), http.clone(), (C, behind.to_vec())],
            vec![(C, request.to_vec()), (S, b"N".to_vec()), (C, behind.to_vec()), http.clone()],
        ] {
            let answered = talk.contains(&(S, b"N".to_vec()));
            for told in by_ports(&packets(&talk, &[])) {
                if told.lines.is_empty() {
                    continue;
                }
                let messages: Vec<_> = told.values().into_iter().filter(|line| line["event"] == "message").collect();
                let types: Vec<_> = messages.iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
                let expected: &[&str] = if answered { &["SSLRequest", "SSLResponse"] } else { &["SSLRequest"] };
                assert_eq!(types, expected);
            }
        }
    }
}

#[test]
fn what_is_not_postgresql_does_not_overlap() {
    for (name, talk) in foreign() {
        let sent = packets(&talk, &[6]);
        for at in 3..sent.len() - 3 {
            let mut forged = sent[at].clone();
            if let Some(last) = forged.data.last_mut() {
                *last ^= 0x55;
            }
            let repeated: Vec<_> = [&sent[..=at], &[forged], &sent[at + 1..]].concat();
            assert_foreign(name, &repeated);
        }
    }
}

#[test]
fn a_possible_prefix_of_a_startup_packet_is_not_another_protocol() {
    for bytes in [&b"\0\0"[..], b"\0\0\0\x08\x04\xd2\x16"] {
        let [auto, _, named, _] = by_ports(&packets(&vec![(C, bytes.to_vec())], &[]));
        assert_eq!(auto.lines, [""; 0]);
        check(&named, "a few bytes");
        assert_eq!(
            (events(&named), &sessions(&named)[0]["lost_bytes"]),
            (vec!["missing".to_owned()], &json!(bytes.len()))
        );
    }
}

#[test]
fn overlaps_in_a_beginning_are_reported_once_the_protocol_is_known() {
    let talk = vec![(C, startup()), (S, welcome())];
    let sent = packets(&talk, &[12]);
    let mut forged = sent[3].clone();
    *forged.data.last_mut().unwrap() ^= 0x55;
    let repeated: Vec<_> = [&sent[..=3], &[forged], &sent[4..]].concat();
    for output in by_ports(&repeated) {
        check(&output, "a contested beginning");
        assert_eq!(events(&output)[..2], ["overlap", "F StartupMessage"]);
        assert_eq!(output.messages()[0]["flags"], json!(["overlap"]));
        assert_eq!(output.counters.contested_bytes, 1);
    }
}

#[test]
fn a_named_port_is_read_from_the_middle_and_others_from_their_beginning() {
    let middle = captures::testdata().join("tcp/base.pcap");
    let (all, _) = captures::packets(&[middle]);
    let of = |from: usize, ports: Vec<u16>| {
        let config = Config { ports: Some(ports), other_ports: true, ..captures::everything() };
        captures::dissect_packets(&all[from..], config)
    };
    let both = [of(0, vec![5415, 5432]), of(0, vec![1])];
    assert_eq!(both[0].lines, both[1].lines);
    let from = all.len() / 2;
    assert!(!of(from, vec![5415, 5432]).messages().is_empty());
    assert_eq!(of(from, vec![1]).lines, [""; 0]);
}

/// Returns beginnings of every kind.
fn beginnings() -> Vec<(String, Talk)> {
    let mut all: Vec<(String, Talk)> = Vec::new();
    for name in
        ["cases/forkerr.pcap", "cases/pipetls18.pcap", "cases/redshift.pcap", "startups/15.pcap", "startups/18.pcap"]
    {
        let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
        let mut talks: BTreeMap<u16, Talk> = BTreeMap::new();
        let mut next: HashMap<(u16, bool), u32> = HashMap::new();
        for packet in &packets {
            let segment = pgdissect::internals::packet::decode(&packet.borrow()).unwrap();
            let is_server = matches!(segment.source.port, 5415 | 5432);
            let (port, from) = if is_server { (segment.destination.port, S) } else { (segment.source.port, C) };
            let next = next.entry((port, is_server)).or_insert(segment.seq);
            if segment.syn {
                *next = segment.seq.wrapping_add(1);
            } else if segment.seq == *next && !segment.payload.is_empty() && !segment.rst {
                *next = segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap());
                talks.entry(port).or_default().push((from, segment.payload.to_vec()));
            }
        }
        all.extend(talks.into_iter().map(|(port, talk)| (format!("{name}, {port}"), talk)));
    }
    assert!(all.len() > 25, "{}", all.len());
    all
}

/// Returns messages and sessions without the fields that depend on time and packet numbers.
fn essence(output: &Output) -> Vec<Value> {
    let mut lines = output.values();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.retain(|field, _| !field.ends_with("_us") && !["ts", "started", "packet"].contains(&field.as_str()));
    }
    lines
}

proptest! {
    #![proptest_config(Runs { cases: 40, failure_persistence: None, ..Runs::default() })]

    #[test]
    fn beginnings_are_the_same_however_they_are_cut(sizes in proptest::collection::vec(1..40_usize, 1..6)) {
        for (name, talk) in beginnings() {
            let whole = by_ports(&packets(&talk, &[]));
            let cut = by_ports(&packets(&talk, &sizes));
            for (whole, cut) in whole.iter().zip(&cut) {
                check(cut, &name);
                prop_assert_eq!(essence(whole), essence(cut), "{}", &name);
            }
            prop_assert_eq!(essence(&whole[0]), essence(&whole[2]), "{}: found as it is where it is named", &name);
        }
    }

    #[test]
    fn other_protocols_are_silent_however_they_are_cut(sizes in proptest::collection::vec(1..40_usize, 1..6)) {
        for (name, talk) in foreign() {
            assert_foreign(name, &packets(&talk, &sizes));
        }
    }
}
