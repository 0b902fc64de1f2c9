//! Unusual TCP traffic, as hand-made packets.

use pgdissect::{Config, Redaction};
use serde_json::Value;

use crate::captures::{self, Output, OwnedPacket};
use crate::wire::{From, Tcp, message, startup};

const C: From = From::Client;
const S: From = From::Server;

fn query() -> Vec<u8> {
    message(b'Q', b"SELECT 1\0")
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Returns both SYNs and the StartupMessage, and the client's and server's next sequence numbers.
fn opened() -> (Vec<Tcp>, u32, u32) {
    let first = startup();
    let next = 101 + u32::try_from(first.len()).unwrap();
    let syns = vec![
        Tcp::new(C, 100, 0, b"").without_ack().syn(),
        Tcp::new(S, 500, 101, b"").syn(),
        Tcp::new(C, 101, 501, &first),
    ];
    (syns, next, 501)
}

/// Creates the packets of segments, captured `apart` microseconds apart.
fn packets(segments: &[Tcp], apart: u64) -> Vec<OwnedPacket> {
    segments.iter().enumerate().map(|(index, segment)| segment.at(index as u64 * apart)).collect()
}

/// Dissects segments, captured `apart` microseconds apart, and checks the contract of every line.
fn dissected(segments: &[Tcp], apart: u64) -> Output {
    let output = captures::dissect_packets(&packets(segments, apart), captures::config());
    crate::laws::contract::check(&output, "tcp");
    output
}

/// Returns the lines of segments, captured `apart` microseconds apart: types of messages, and losses as `reason bytes`.
fn events(segments: &[Tcp], apart: u64) -> Vec<String> {
    let output = dissected(segments, apart);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line = |line: &Value| match line["event"].as_str().unwrap() {
        "message" => text(&line["type"]),
        _ => format!("{} {}", text(&line["reason"]), line["bytes"]),
    };
    output.values().iter().map(line).collect()
}

#[test]
fn keep_alives_result_in_no_lines() {
    let (mut segments, client, server) = opened();
    segments.push(Tcp::new(S, server, client, &ready()));
    for junk in [&b""[..], b"\0"] {
        segments.push(Tcp::new(C, client.wrapping_sub(1), server + 6, junk));
        segments.push(Tcp::new(S, server + 5, client, junk));
    }
    segments.push(Tcp::new(C, client, server + 6, &query()));
    assert_eq!(events(&segments, 10), ["StartupMessage", "ReadyForQuery", "Query"]);
}

#[test]
fn data_on_the_syn_is_read() {
    let first = startup();
    let next = 101 + u32::try_from(first.len()).unwrap();
    let segments = [
        Tcp::new(C, 100, 0, &first).without_ack().syn(),
        Tcp::new(S, 500, next, b"").syn(),
        Tcp::new(C, next, 501, &query()),
    ];
    assert_eq!(events(&segments, 10), ["StartupMessage", "Query"]);
}

#[test]
fn both_ends_may_open_the_connection_at_the_same_time() {
    let (usual, client, server) = opened();
    let syns = [
        Tcp::new(C, 100, 0, b"").without_ack().syn(),
        Tcp::new(S, 500, 0, b"").without_ack().syn(),
        Tcp::new(C, 100, 501, b"").syn(),
        Tcp::new(S, 500, 101, b"").syn(),
    ];
    for order in [[0, 1, 2, 3], [0, 1, 3, 2], [1, 0, 2, 3], [1, 0, 3, 2], [0, 3, 1, 2], [1, 2, 0, 3]] {
        let mut segments: Vec<_> = order.iter().map(|index| syns[*index].clone()).collect();
        segments.push(usual[2].clone());
        segments.push(Tcp::new(S, server, client, &ready()));
        assert_eq!(events(&segments, 10), ["StartupMessage", "ReadyForQuery"], "{order:?}");
    }
}

#[test]
fn a_fin_may_come_twice_and_before_the_data() {
    let (mut segments, client, server) = opened();
    let terminate = message(b'X', b"");
    segments.push(Tcp::new(C, client + 5, server, b"").fin());
    segments.push(Tcp::new(C, client, server, &terminate));
    segments.push(Tcp::new(C, client, server, &terminate).fin());
    segments.push(Tcp::new(S, server, client + 6, b"").fin());
    segments.push(Tcp::new(S, server, client + 6, b"").fin());
    assert_eq!(events(&segments, 10), ["StartupMessage", "Terminate"]);
}

#[test]
fn what_comes_again_after_the_end_opens_no_other_connection() {
    let (mut segments, client, server) = opened();
    segments.push(Tcp::new(C, client, server, &query()).fin());
    let behind = client + u32::try_from(query().len()).unwrap() + 1;
    segments.push(Tcp::new(S, server, behind, &ready()).fin());
    segments.push(Tcp::new(C, behind, server + 7, b""));
    segments.push(Tcp::new(S, server, behind, &ready()).fin());
    segments.push(Tcp::new(C, client, server, &query()).fin());
    segments.push(segments[0].clone());
    assert_eq!(events(&segments, 10), ["StartupMessage", "Query", "ReadyForQuery"]);
    // As long as a host may remember the connection.
    assert_eq!(events(&segments, 10_000_000), ["StartupMessage", "Query", "ReadyForQuery"]);
}

#[test]
fn a_port_that_is_used_again_is_another_connection_however_the_first_one_ended() {
    let (first, client, server) = opened();
    let second = [
        Tcp::new(C, 9_000, 0, b"").without_ack().syn(),
        Tcp::new(S, 7_000, 9_001, b"").syn(),
        Tcp::new(C, 9_001, 7_001, &startup()),
    ];
    let ends: [Vec<Tcp>; 3] = [
        vec![],
        vec![Tcp::new(C, client, server, b"").rst()],
        vec![Tcp::new(C, client, server, b"").fin(), Tcp::new(S, server, client + 1, b"").fin()],
    ];
    for end in ends {
        let segments = [&first[..], &end, &second].concat();
        let packets = packets(&segments, 1);
        let messages = captures::dissect_packets(&packets, captures::config()).messages();
        let conns: Vec<_> = messages.iter().map(|line| line["conn"].as_u64().unwrap()).collect();
        assert_eq!(conns, [1, 2], "{end:?}");
    }
}

#[test]
fn what_was_on_its_way_when_a_connection_was_reset_is_read() {
    let (mut segments, client, server) = opened();
    segments.push(Tcp::new(C, client, server, b"words of the reset").rst());
    segments.push(Tcp::new(S, server, client, &ready()));
    assert_eq!(events(&segments, 10), ["StartupMessage", "ReadyForQuery"]);
}

#[test]
fn a_hole_is_given_up_with_its_size_once_it_was_acknowledged_for_long_enough() {
    let (mut segments, client, server) = opened();
    let lost = u32::try_from(query().len()).unwrap();
    segments.push(Tcp::new(S, server, client + lost, &ready()));
    assert_eq!(events(&segments, 10), ["StartupMessage".to_owned(), format!("missing {lost}"), "ReadyForQuery".into()]);
    // The late one arrives in time: there is no hole.
    segments.push(Tcp::new(C, client, server, &query()));
    assert_eq!(events(&segments, 10), ["StartupMessage", "Query", "ReadyForQuery"]);
    // Long after it was given up, it is ignored: by time alone if few segments arrive, or once many have arrived.
    let given_up = ["StartupMessage".to_owned(), format!("missing {lost}"), "ReadyForQuery".into()];
    let acknowledgment = Tcp::new(S, server + 6, client + lost, b"");
    segments.insert(4, acknowledgment.clone());
    assert_eq!(events(&segments, 4_000_000), given_up);
    for _ in 0..40 {
        segments.insert(4, acknowledgment.clone());
    }
    assert_eq!(events(&segments, 4_000), given_up);
    // Many segments within a short time are no reason to give it up.
    assert_eq!(events(&segments, 1_000), ["StartupMessage", "Query", "ReadyForQuery"]);
}

#[test]
fn a_byte_of_the_peer_that_was_only_acknowledged_is_missed_at_the_end() {
    let (mut segments, client, server) = opened();
    segments.push(Tcp::new(C, client, server + 6, b""));
    assert_eq!(events(&segments, 10), ["StartupMessage", "missing 6"]);
}

#[test]
fn one_side_alone_is_read() {
    let (mut segments, client, server) = opened();
    segments.push(Tcp::new(C, client, server + 6, &query()));
    segments.retain(|segment| segment.from == C);
    assert_eq!(events(&segments, 10), ["StartupMessage", "Query", "missing 6"], "and what it acknowledged is missed");
}

#[test]
fn a_lost_response_to_an_encryption_request_is_inferred() {
    let ssl_request = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let hello = b"\x16\x03\x01\x00\x05\x01\0\0\x01\0";
    let begun = [
        Tcp::new(C, 100, 0, b"").without_ack().syn(),
        Tcp::new(S, 500, 101, b"").syn(),
        Tcp::new(C, 101, 501, ssl_request),
    ];
    // `S` was lost, and TLS follows.
    let tls = [&begun[..], &[Tcp::new(C, 109, 502, hello), Tcp::new(S, 502, 119, hello)]].concat();
    let lines = events(&tls, 200_000);
    assert_eq!(lines[..2], ["SSLRequest", "missing 1"]);
    assert!(lines[2..].iter().all(|line| line.starts_with("undecryptable")), "{lines:?}");
    // `N` was lost, and the StartupMessage follows.
    let next = 109 + u32::try_from(startup().len()).unwrap();
    let clear = [&begun[..], &[Tcp::new(C, 109, 502, &startup()), Tcp::new(S, 502, next, &ready())]].concat();
    assert_eq!(events(&clear, 200_000), ["SSLRequest", "missing 1", "StartupMessage", "ReadyForQuery"]);
}

#[test]
fn holes_in_another_protocol_are_not_reported() {
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let sent = 101 + u32::try_from(request.len()).unwrap();
    let segments = [
        Tcp::new(C, 100, 0, b"").without_ack().syn(),
        Tcp::new(S, 500, 101, b"").syn(),
        Tcp::new(C, 101, 501, request),
        Tcp::new(S, 1_501, sent, b"the end of an answer"),
        Tcp::new(C, sent, 1_521, b"").fin(),
        Tcp::new(S, 1_521, sent + 1, b"").fin(),
    ];
    assert_eq!(events(&segments, 10), ["not_postgresql null"]);

    // If servers may be on any port, nothing is reported about it; nor if its beginning was not captured.
    for segments in [&segments[..], &segments[..2], &segments[3..]] {
        let packets: Vec<_> = segments.iter().map(|segment| segment.at(10)).collect();
        let config = Config { ports: None, ..Config::default() };
        assert_eq!(captures::dissect_packets(&packets, config).lines, [""; 0]);
    }
}

#[test]
fn of_too_many_connections_the_one_idle_longest_is_removed() {
    let mut packets = Vec::new();
    let mut say = |port: u16, payload: &[u8], seq: u32| {
        let at = packets.len() as u64;
        packets.push(Tcp::new(C, seq, 501, payload).port(port).at(at));
    };
    let first = startup();
    let next = 101 + u32::try_from(first.len()).unwrap();
    for port in [1, 2, 3] {
        say(port, &first, 101);
    }
    for port in [1, 3] {
        say(port, &query(), next);
    }
    // One more than the limit: the second is removed, rather than the first or third, which have sent data since, or the newest.
    say(4, &first, 101);
    for port in [1, 3, 4] {
        say(port, &message(b'X', b""), if port == 4 { next } else { next + 14 });
    }
    let output = captures::dissect_packets(&packets, Config { max_connections: 3, ..captures::config() });
    crate::laws::contract::check(&output, "eviction");
    let lines = output.values();
    let evicted: Vec<_> =
        lines.iter().filter(|line| line["reason"] == "limit").map(|line| line["conn"].clone()).collect();
    assert_eq!(evicted, [2]);
    let ended: Vec<_> =
        lines.iter().filter(|line| line["type"] == "Terminate").map(|line| line["conn"].clone()).collect();
    assert_eq!(ended, [1, 3, 4]);
    assert_eq!(output.counters.evicted_connections, 1);
}

#[test]
fn a_connection_refused_before_any_data_is_not_counted() {
    let syn = Tcp::new(C, 100, 0, b"").without_ack().syn();
    let refused = [syn.clone(), Tcp::new(S, 0, 101, b"").rst()];
    assert_eq!(events(&refused, 10), [""; 0]);
    // A second attempt from the same port with the same sequence number is a new one.
    let (opened, _, _) = opened();
    let again: Vec<_> = refused.into_iter().chain(opened).collect();
    assert_eq!(events(&again, 10), ["StartupMessage"]);
}

#[test]
fn a_syn_that_is_sent_again_with_another_number_is_the_one_that_counts() {
    let (opened, _, _) = opened();
    let stale = Tcp::new(C, 77_000, 0, b"").without_ack().syn();
    let segments: Vec<_> = [stale].into_iter().chain(opened).collect();
    assert_eq!(events(&segments, 10), ["StartupMessage"]);
}

/// Returns the flags of the messages, and the reports of overlaps, for consecutive segments.
fn flagged(segments: &[Tcp]) -> Vec<String> {
    let output = dissected(segments, 10);
    let flagged = |line: &Value| match line["event"].as_str().unwrap() {
        "message" => format!("{} {}", line["body"]["query"].as_str()?, line["flags"][0].as_str().unwrap_or("-")).into(),
        _ => Some(format!("{} {}", line["reason"].as_str().unwrap(), line["bytes"])),
    };
    output.values().iter().filter_map(flagged).collect()
}

#[test]
fn of_conflicting_segments_the_first_is_used_and_the_conflict_reported() {
    let (opened, client, server) = opened();
    let first = query();
    let other = message(b'Q', b"SELECT 2\0");
    let half = u32::try_from(first.len() / 2).unwrap();
    let with = |segments: &[(u32, &[u8])]| {
        let mut all = opened.clone();
        all.extend(segments.iter().map(|(at, bytes)| Tcp::new(C, client + at, server, bytes)));
        flagged(&all)
    };
    let end = u32::try_from(first.len()).unwrap();
    // An identical retransmission is not reported.
    assert_eq!(with(&[(0, &first), (0, &first)]), ["SELECT 1 -"]);
    // After the message was written: reported, but the following message is not flagged.
    let both = [&other[..], &first].concat();
    assert_eq!(with(&[(0, &first), (0, &both)]), ["SELECT 1 -", "overlap 1", "SELECT 1 -"]);
    // While it is incomplete.
    let cut = first.len() - 1;
    let forged = [(0, &first[..cut]), (0, &other[..cut]), (end - 1, &first[cut..]), (end, &first[..])];
    assert_eq!(with(&forged), ["overlap 1", "SELECT 1 overlap", "SELECT 1 -"]);
    // While it is held after a hole.
    let early = [(half, &first[half as usize..]), (half, &other[half as usize..]), (0, &first[..half as usize])];
    assert_eq!(with(&early), ["overlap 1", "SELECT 1 overlap"]);
    // Long ago: bytes that are no longer kept cannot be compared.
    let long = message(b'Q', &[&b"SELECT "[..], &[b'1'; 5_000], b"\0"].concat());
    let mut forged = long.clone();
    forged[10] = b'x';
    assert_eq!(with(&[(0, &long), (0, &forged)])[1..], [""; 0]);
    forged[4_990] = b'x';
    assert_eq!(with(&[(0, &long), (0, &forged)])[1..], ["overlap 1"]);
}

#[test]
fn bytes_captured_after_a_hole_in_a_message_are_shown() {
    let (mut segments, client, server) = opened();
    let row = message(b'D', b"\0\x01\0\0\0\x0a0123456789");
    let ready = ready();
    segments.push(Tcp::new(S, server, client, &message(b'R', &[0; 4])));
    let server = server + 9;
    let ends = server + u32::try_from(row.len() + ready.len()).unwrap();
    segments.push(Tcp::new(S, server, client, &row[..13]));
    segments.push(Tcp::new(S, server + 16, client, &[&row[16..], &ready].concat()));
    segments.push(Tcp::new(C, client, ends, b""));
    let output = dissected(&segments, 10);
    let lines = output.values();
    let (loss, row, ready) = (&lines[2], &lines[3], &lines[4]);
    assert_eq!(loss["offset"], 9 + 13);
    assert_eq!((&loss["bytes"], &loss["within"], &loss["dir"]), (&3.into(), &"DataRow".into(), &"B".into()));
    assert_eq!(row["body"]["values"], serde_json::json!(["01"]));
    assert_eq!(row["missing"], 3);
    assert_eq!(row["holes"], serde_json::json!([{ "at": 8, "bytes": 3, "behind": "56789" }]));
    assert_eq!(ready["type"], "ReadyForQuery");
}

#[test]
fn a_secret_after_a_hole_is_masked() {
    let (mut segments, client, server) = opened();
    let sql = message(b'Q', b"ALTER ROLE app PASSWORD 'hunter2-hunter2'\0");
    segments.push(Tcp::new(C, client, server, &sql[..20]));
    segments.push(Tcp::new(C, client + 34, server, &sql[34..]));
    let packets = packets(&segments, 10);
    let written = |redaction| {
        let output = captures::dissect_packets(&packets, Config { redaction, ..captures::config() });
        output.values().into_iter().find(|line| line["type"] == "Query").unwrap()["holes"][0]["behind"].clone()
    };
    assert_eq!(written(Redaction::Secrets), "***");
    assert_eq!(written(Redaction::Nothing), "\\x6572322d68756e746572322700");
}
