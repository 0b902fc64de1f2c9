//! The beginning and end of connections, and the packets to which lines are assigned: captures of single faults, and properties
//! of all captures.
//!
//! A line is assigned to a packet of its own connection, whatever else a capture contains and however it is read. An unanswered
//! SYN changes nothing.

use std::collections::{BTreeMap, HashMap};

use pgdissect::internals::packet;
use pgdissect::internals::packet::NotTcp;
use pgdissect::{Config, Dissector, Record, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;
use serde_json::{Value, json};

use crate::captures::{self, Bench, OwnedPacket};
use crate::hostile::cases_attribution::Dialogue;
use crate::wire::{From, Tcp, message, startup};

const C: From = From::Client;
const S: From = From::Server;

fn packets_of(name: &str) -> Vec<OwnedPacket> {
    captures::packets(&[captures::testdata().join(name)]).0
}

/// Returns all lines of a capture of a single fault, after checking the contract.
fn case(name: &str) -> Vec<Value> {
    let output = captures::dissect_packets(&packets_of(&format!("cases/{name}.pcap")), captures::everything());
    crate::laws::contract::check(&output, name);
    output.values()
}

fn lines_of<'a>(lines: &'a [Value], conn: u64, event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["conn"] == conn && line["event"] == event).collect()
}

/// Returns the line for the end of a session.
fn end(lines: &[Value], conn: u64) -> &Value {
    lines_of(lines, conn, "session").into_iter().find(|line| line["state"] == "ended").unwrap()
}

#[track_caller]
fn ends(line: &Value, how: &str, packet: u64, duration_us: u64) {
    assert_eq!(
        (&line["end_reason"], &line["packet"], &line["duration_us"]),
        (&how.into(), &packet.into(), &duration_us.into())
    );
}

#[test]
fn a_session_that_is_reset_ends_with_the_rst_whatever_follows() {
    let lines = case("rst-session");
    ends(end(&lines, 1), "reset", 10, 1_799);
    let request = lines_of(&lines, 1, "query")[1];
    assert_eq!((&request["outcome"], &request["packet"]), (&"aborted".into(), &10.into()));
    assert_eq!(request["total_us"], 1_100);

    let lines = case("rst-idle-in-tx");
    ends(end(&lines, 1), "reset", 9, 500_699);
    assert_eq!(end(&lines, 1)["idle_in_transaction_us"], 500_100);

    ends(end(&case("rst-busy"), 1), "reset", 8, 1_599);
}

#[test]
fn a_session_with_a_hole_before_its_fins_ends_with_their_acknowledgments() {
    let lines = case("fin-after-hole");
    ends(end(&lines, 1), "terminate", 11, 999);
    assert_eq!(end(&lines, 1)["lost_bytes"], 20);
    // Nothing waits for the end of the capture.
    let at = |wanted: &Value| lines.iter().position(|line| line == wanted).unwrap();
    assert!(at(end(&lines, 1)) < at(lines_of(&lines, 2, "query")[0]));
}

#[test]
fn a_hole_before_a_fin_is_counted_and_a_fin_is_not_a_byte() {
    let lines = case("fin-hole-noack");
    let loss = lines_of(&lines, 1, "loss");
    assert_eq!((loss.len(), &loss[0]["bytes"], &loss[0]["packet"]), (1, &5.into(), &8.into()));
    ends(end(&lines, 1), "fin", 8, 699);
    assert_eq!(end(&lines, 1)["lost_bytes"], 5);
}

#[test]
fn a_session_ends_the_same_beside_others() {
    let (alone, beside) = (case("crash-alone"), case("crash-beside"));
    ends(end(&alone, 1), "fin", 17, 2_350_123);
    ends(end(&beside, 1), "fin", 26, 2_350_123);
    for field in ["ts", "ended_by", "duration_us", "idle_in_transaction_us", "messages", "lost_bytes"] {
        assert_eq!(end(&alone, 1)[field], end(&beside, 1)[field], "{field}");
    }
}

#[test]
fn a_message_that_is_cut_off_is_dated_by_its_own_last_packet() {
    let lines = case("cut-message");
    let message = *lines_of(&lines, 1, "message").last().unwrap();
    assert_eq!((&message["type"], &message["packet"]), (&"Query".into(), &6.into()));
    assert_eq!(lines_of(&lines, 1, "query")[0]["packet"], 6);
    ends(end(&lines, 1), "capture_end", 6, 499);
}

#[test]
fn a_forged_syn_or_syn_ack_changes_nothing() {
    for name in ["repro_syn", "repro_synack_s"] {
        let lines = case(name);
        let requests = lines_of(&lines, 1, "query");
        assert_eq!(requests.len(), 20, "{name}");
        assert!(requests.iter().all(|line| line["outcome"] == "ok" && line["rows"] == 1), "{name}");
        assert!(lines.iter().all(|line| line["conn"] == 1 && line["event"] != "loss"), "{name}");
    }
}

/// Returns both SYNs, the StartupMessage, and the server's reply to it, for a client with this port; and the next sequence
/// numbers.
fn opened(port: u16, client: u32, server: u32) -> (Vec<Tcp>, u32, u32) {
    let first = startup();
    let answer = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let next = client + 1 + u32::try_from(first.len()).unwrap();
    let segments = [
        Tcp::new(C, client, 0, b"").without_ack().syn(),
        Tcp::new(S, server, client + 1, b"").syn(),
        Tcp::new(C, client + 1, server + 1, b""),
        Tcp::new(C, client + 1, server + 1, &first),
        Tcp::new(S, server + 1, next, &answer),
    ];
    let segments = segments.map(|segment| segment.port(port));
    (segments.to_vec(), next, server + 1 + u32::try_from(answer.len()).unwrap())
}

fn dissected(segments: &[Tcp]) -> Vec<Value> {
    let packets: Vec<_> = segments.iter().enumerate().map(|(at, segment)| segment.at(at as u64 * 100)).collect();
    let output = captures::dissect_packets(&packets, captures::everything());
    crate::laws::contract::check(&output, "made");
    output.values()
}

#[test]
fn a_port_that_is_used_again_is_another_connection_where_one_of_its_syns_was_not_captured() {
    let (first, client, server) = opened(40_000, 100, 500);
    let closed = [Tcp::new(C, client, server, b"").fin(), Tcp::new(S, server, client + 1, b"").fin()];
    // As far as Linux advances its initial sequence numbers in two seconds.
    let (second, ..) = opened(40_000, 31_000_000, 33_000_000);
    for is_closed in [false, true] {
        let mut lacking = vec![&[][..], &[0], &[1], &[2], &[0, 2], &[1, 2]];
        // After an end, a StartupMessage is sufficient evidence.
        lacking.extend(is_closed.then_some(&[0, 1, 2][..]));
        for lacks in lacking {
            let rest =
                second.iter().enumerate().filter(|(index, _)| !lacks.contains(index)).map(|(_, segment)| segment);
            let mut segments = first.clone();
            segments.extend(closed.iter().filter(|_| is_closed).cloned());
            segments.extend(rest.cloned());
            let lines = dissected(&segments);
            let messages = |conn| lines_of(&lines, conn, "message").len();
            assert_eq!((messages(1), messages(2)), (3, 3), "{is_closed} {lacks:?}");
            ends(
                end(&lines, 1),
                if is_closed { "fin" } else { "replaced" },
                if is_closed { 7 } else { 5 },
                if is_closed { 600 } else { 400 },
            );
            assert_eq!(lines_of(&lines, 1, "loss").len() + lines_of(&lines, 2, "loss").len(), 0);
        }
    }
}

#[test]
fn a_port_that_is_used_again_is_another_connection_where_its_numbers_are_among_those_of_the_first_one() {
    let (first, client, server) = opened(40_000, 100, 500);
    let closed = [
        Tcp::new(C, client, server, b"").fin(),
        Tcp::new(S, server, client + 1, b"").fin(),
        Tcp::new(C, client + 1, server + 1, b""),
    ];
    for (client, server) in [(110, 500), (110, 510), (client + 5, 500), (60, 500), (client + 1, server + 1)] {
        let (second, ..) = opened(40_000, client, server);
        for is_closed in [false, true] {
            let ends = closed.iter().filter(|_| is_closed).cloned();
            let segments: Vec<_> = first.iter().cloned().chain(ends).chain(second.clone()).collect();
            let lines = dissected(&segments);
            let messages = |conn| lines_of(&lines, conn, "message").len();
            assert_eq!((messages(1), messages(2)), (3, 3), "{client} {server} {is_closed}");
            assert_eq!(end(&lines, 1)["end_reason"], if is_closed { "fin" } else { "replaced" });
        }
        // A forged one changes nothing, nor does a retransmitted answer to the first SYN after it.
        let forged: Vec<_> =
            first.iter().cloned().chain([second[0].clone(), first[1].clone(), first[4].clone()]).collect();
        let lines = dissected(&forged);
        assert!(lines.iter().all(|line| line["event"] == "stats" || line["conn"] == 1), "{client} {server}");
    }
}

#[test]
fn a_syn_with_rst_or_fin_is_ignored() {
    let (first, client, server) = opened(40_000, 100, 500);
    for odd in [Tcp::new(C, 77, 0, b"").syn().rst(), Tcp::new(C, client, server, b"").syn().fin()] {
        let mut segments = first.clone();
        segments.extend([odd, Tcp::new(C, client, server, &message(b'Q', b"SELECT 1\0"))]);
        let lines = dissected(&segments);
        assert_eq!(lines_of(&lines, 1, "message").last().unwrap()["type"], "Query");
        ends(end(&lines, 1), "capture_end", 7, 600);
    }
}

/// Returns losses as `reason bytes packet`.
fn losses(lines: &[Value]) -> Vec<String> {
    let losses = lines.iter().filter(|line| line["event"] == "loss");
    losses.map(|line| format!("{} {} {}", line["reason"].as_str().unwrap(), line["bytes"], line["packet"])).collect()
}

#[test]
fn late_or_out_of_window_bytes_are_one_loss_for_each_direction() {
    let (first, client, server) = opened(40_000, 100, 500);
    let closed = [Tcp::new(C, client, server, b"").fin(), Tcp::new(S, server, client + 1, b"").fin()];
    let late: Vec<_> = (0..50).map(|index| Tcp::new(S, server + 1 + 10 * index, client + 1, b"ten bytes.")).collect();
    let all = dissected(&[&first[..], &closed, &late].concat());
    assert_eq!(losses(&all), ["late 500 57"]);
    // A retransmission of processed data is not a loss.
    assert_eq!(losses(&dissected(&[&first[..], &closed, &first[3..]].concat())), [""; 0]);

    let outside: Vec<_> = (0..50).map(|_| Tcp::new(C, client.wrapping_add(1 << 31), server, b"ten bytes.")).collect();
    let lines = dissected(&[&first[..], &outside, &closed].concat());
    assert_eq!(losses(&lines), ["out_of_window 500 57"]);
    assert_eq!(end(&lines, 1)["lost_bytes"], 500);
}

#[test]
fn a_fin_that_was_not_captured_is_not_a_byte() {
    let (first, client, server) = opened(40_000, 100, 500);
    let bye = u32::try_from(message(b'X', b"").len()).unwrap();
    // The last message was sent with the FIN, and both were lost.
    let rest = [
        Tcp::new(S, server, client + bye + 1, b""),
        Tcp::new(S, server, client + bye + 1, b"").fin(),
        Tcp::new(C, client + bye + 1, server + 1, b""),
    ];
    let lines = dissected(&[&first[..], &rest].concat());
    assert_eq!(losses(&lines), ["missing 5 8"]);
    // The client has closed its side while the server was busy: later data does not wait for a missing byte.
    let row = message(b'N', b"SNOTICE\0\0");
    let rest = [Tcp::new(S, server, client + 1, &row)];
    let lines = dissected(&[&first[..], &rest].concat());
    assert_eq!((losses(&lines), lines_of(&lines, 1, "message").len()), (vec![], 4));
    // If bytes before the FIN are missing as well, the FIN is not counted.
    let rest = [Tcp::new(C, client + 20, server, b"").fin(), Tcp::new(S, server, client + 21, &row)];
    assert_eq!(losses(&dissected(&[&first[..], &rest].concat())), ["missing 20 7"]);
    // A RST is equivalent to a FIN.
    let rest = [Tcp::new(C, client + 20, server, b"").rst()];
    assert_eq!(losses(&dissected(&[&first[..], &rest].concat())), ["missing 20 6"]);
}

#[test]
fn the_rows_of_a_copy_have_their_times() {
    let lines = captures::dissect_packets(&packets_of("copy-out/capture.pcap"), captures::everything()).values();
    let mut copies = 0;
    for query in lines.iter().filter(|line| {
        line["event"] == "query" && line["command_tags"][0].as_str().is_some_and(|tag| tag.starts_with("COPY"))
    }) {
        let data = lines.iter().filter(|line| line["type"] == "CopyData" && line["query"] == query["query"]);
        let times: Vec<_> = data.map(|line| line["elapsed_us"].as_u64().unwrap()).collect();
        let told = [&query["first_row_us"], &query["last_row_us"]].map(Value::as_u64);
        assert_eq!(told, [times.first().copied(), times.last().copied()], "{query}");
        copies += 1;
    }
    assert!(copies > 3, "{copies} statements");
}

/// Returns the captures in which connections are identified by frames alone, with at most `most` packets.
fn captures_of(most: usize) -> Vec<(String, Vec<OwnedPacket>)> {
    let all = captures::all().into_iter().map(|name| (packets_of(&name), name));
    let plain = all.filter(|(packets, _)| {
        packets.len() <= most
            && !packets.iter().any(|packet| matches!(packet::decode(&packet.borrow()), Err(NotTcp::Fragment)))
    });
    plain.map(|(packets, name)| (name, packets)).collect()
}

/// Returns the endpoints of a connection in a line, in a fixed order.
fn pair(one: &str, other: &str) -> [String; 2] {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

/// Checks that no session ends later than its own last packet, and that the packets of a connection's lines do not decrease.
fn check_dates(packets: &[&OwnedPacket], what: &str) {
    let mut lasts: HashMap<[String; 2], u64> = HashMap::new();
    for (packet, number) in packets.iter().zip(1..) {
        if let Ok(segment) = packet::decode(&packet.borrow()) {
            lasts.insert(pair(&segment.source.to_string(), &segment.destination.to_string()), number);
        }
    }
    let mut told: HashMap<u64, u64> = HashMap::new();
    let mut sink = |record: &Record<'_>| {
        let (conn, packet, ts) = match record {
            Record::Message(line) => (line.header.conn, line.packet, line.header.ts),
            Record::Query(line) => (line.header.conn, line.packet, line.header.ts),
            Record::Change(line) => (line.header.conn, line.packet, line.header.ts),
            Record::Transaction(line) => (line.header.conn, line.packet, line.header.ts),
            Record::Loss(line) => (line.header.conn, line.packet, line.header.ts),
            Record::Session(line) => {
                let last = lasts[&pair(line.header.client, line.header.server)];
                assert!(
                    line.packet <= last,
                    "{what}: connection {} ends with {}, not {last}",
                    line.header.conn,
                    line.packet
                );
                (line.header.conn, line.packet, line.header.ts)
            }
            Record::Running(_) | Record::Stats(_) | Record::Summary(_) => return,
        };
        assert_eq!(Some(ts), packets.get(packet as usize - 1).map(|packet| packet.ts), "{what}: packet {packet}");
        let before = told.insert(conn, packet).unwrap_or(0);
        assert!(before <= packet, "{what}: connection {conn} goes back from packet {before} to {packet}");
    };
    let mut dissector = Dissector::new(captures::everything());
    for packet in packets {
        dissector.packet(&packet.borrow(), &mut sink);
    }
    dissector.finish(&mut sink);
}

/// The maximum number of packets dissected for a capture of which each packet is left out in turn.
const MOST_WORK: usize = 20_000;

#[test]
fn without_any_one_packet_no_session_ends_later_than_its_own_last_packet() {
    for (name, packets) in captures_of(20_000) {
        let all: Vec<_> = packets.iter().collect();
        check_dates(&all, &name);
        let step = (packets.len() * packets.len()).div_ceil(MOST_WORK).max(1);
        for dropped in (0..packets.len()).step_by(step) {
            let left: Vec<_> =
                all.iter().enumerate().filter(|(index, _)| *index != dropped).map(|(_, packet)| *packet).collect();
            check_dates(&left, &format!("{name} without packet {}", dropped + 1));
        }
    }
}

/// Returns the lines of packets if time passes without packets now and then.
fn with_ticks(packets: &[OwnedPacket], ticks: &[u8]) -> Vec<String> {
    let mut bench = Bench::new(captures::everything());
    let mut ticks = ticks.iter().cycle();
    let mut last = packets.first().map(|packet| packet.ts);
    for packet in packets {
        let (from, to) = (last.unwrap().as_nanos(), packet.ts.as_nanos());
        if let share @ 1.. = *ticks.next().unwrap() {
            let at = from + (to - from).max(0) / 256 * i64::from(share);
            bench.tick(Timestamp::from_nanos(at, packet.ts.precision()));
        }
        bench.packet(&packet.borrow());
        last = Some(packet.ts);
    }
    bench.finish().lines
}

/// Some short captures, and what they are about.
const CAPTURES: &[&str] = &[
    "cases/crash-beside.pcap",
    "cases/fin-after-hole.pcap",
    "cases/rst-session.pcap",
    "cases/rst-idle-in-tx.pcap",
    "copy-in/capture.pcap",
    "extended-query/capture.pcap",
    "loss/burst.pcap",
    "pipeline-error/capture.pcap",
    "simple-query/capture.pcap",
    "tcp/base.pcap",
    "tcp/midstream.pcap",
    "tcp/missing-client-segment.pcap",
    "tcp/missing-segment.pcap",
    "tcp/reordered.pcap",
    "tcp/reused-port.pcap",
    "tcp/reused-port-no-fin.pcap",
    "tcp/rst.pcap",
    "tcp/simultaneous-open.pcap",
    "tcp/syn-data.pcap",
];

fn a_capture() -> impl Strategy<Value = (&'static str, Vec<OwnedPacket>)> {
    proptest::sample::select(CAPTURES).prop_map(|name| (name, packets_of(name)))
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Reset(From),
    Fins { first: From, is_acked: bool },
    One(From),
}

/// Returns the packets of one connection, with the time of each in microseconds.
fn connection(port: u16, steps: &[(u8, u32)], ending: Ending, lost: &[bool]) -> Vec<(u64, Tcp)> {
    let (mut segments, mut client, mut server) = opened(port, 1_000 + u32::from(port), 5_000);
    let query = message(b'Q', b"SELECT 1\0");
    let replies = [message(b'C', b"SELECT 0\0"), message(b'Z', b"T")].concat();
    for _ in 0..steps.len() {
        segments.push(Tcp::new(C, client, server, &query).port(port));
        client += u32::try_from(query.len()).unwrap();
        segments.push(Tcp::new(S, server, client, &replies).port(port));
        server += u32::try_from(replies.len()).unwrap();
    }
    let from = |from, fin| {
        let (seq, ack) = if from == C { (client, server) } else { (server, client) };
        Tcp::new(from, seq + u32::from(fin), ack, b"").port(port)
    };
    match ending {
        Ending::Reset(side) => segments.push(from(side, false).rst()),
        Ending::One(side) => segments.push(from(side, false).fin()),
        Ending::Fins { first, is_acked } => {
            segments.push(from(first, false).fin());
            let mut second = from(first.peer(), false).fin();
            second.ack = second.ack.map(|ack| ack + 1);
            segments.push(second);
            if is_acked {
                let mut last = from(first, true);
                last.ack = last.ack.map(|ack| ack + 1);
                segments.push(last);
            }
        }
    }
    let mut at = 0;
    let mut apart = steps.iter().map(|(exponent, micros)| u64::from(*micros) << exponent).cycle();
    let mut lost = lost.iter().copied().cycle();
    let timed = segments.into_iter().enumerate().filter_map(|(index, segment)| {
        at += apart.next().unwrap_or(10);
        (index < 5 || !lost.next().unwrap_or(false)).then_some((at, segment))
    });
    timed.collect()
}

fn an_ending() -> impl Strategy<Value = Ending> {
    let side = || prop_oneof![Just(C), Just(S)];
    prop_oneof![
        side().prop_map(Ending::Reset),
        (side(), any::<bool>()).prop_map(|(first, is_acked)| Ending::Fins { first, is_acked }),
        side().prop_map(Ending::One),
    ]
}

fn a_connection() -> impl Strategy<Value = (Vec<(u8, u32)>, Ending, Vec<bool>)> {
    let steps = proptest::collection::vec((0..13_u8, 1..1_000_u32), 1..8);
    (steps, an_ending(), proptest::collection::vec(proptest::bool::weighted(0.2), 1..9))
}

/// Returns the lines of each connection. If several wait for something, the order in which they are processed may differ.
fn by_client(lines: &[String]) -> BTreeMap<String, Vec<Value>> {
    let mut of_clients: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in lines {
        let mut line: Value = serde_json::from_str(line).unwrap();
        // The age of a request without an end is that at the end of the capture.
        line.as_object_mut()
            .unwrap()
            .retain(|field, _| !["conn", "age_us", "idle_in_transaction_us"].contains(&field.as_str()));
        of_clients.entry(line["client"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    of_clients
}

/// Returns lines without the fields that depend on other connections.
fn essence(lines: Vec<Value>, conn_of: &str) -> Vec<Value> {
    let own = lines.into_iter().filter(|line| line["client"].as_str().is_some_and(|client| client.ends_with(conn_of)));
    own.map(|mut line| {
        let line_fields = line.as_object_mut().unwrap();
        line_fields
            .retain(|field, _| !["conn", "packet", "age_us", "idle_in_transaction_us"].contains(&field.as_str()));
        line
    })
    .collect()
}

/// Returns the lines of messages and requests, without packet numbers.
fn messages_and_requests(packets: &[OwnedPacket]) -> Vec<Value> {
    let config = Config { ports: Some(captures::PORTS.to_vec()), ..captures::everything() };
    let mut lines = captures::dissect_packets(packets, config).values();
    lines.retain(|line| line["event"] == "message" || line["event"] == "query");
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        // A forged acknowledgment may be that of the last segment.
        line.retain(|field, _| {
            !["packet", "age_us", "server_us", "rtt_client_us", "rtt_server_us"].contains(&&**field)
        });
    }
    lines
}

/// Generates the distance of a forged segment's number from a right one.
fn a_distance() -> impl Strategy<Value = u32> {
    let near = (-3_000..3_000_i32).prop_map(|distance| 0_u32.wrapping_add_signed(distance));
    prop_oneof![any::<u32>(), near, Just(0), Just(u32::MAX), Just(100_000), Just(5_000_000)]
}

/// Returns the sequence and acknowledgment numbers of a packet's sender, or of its receiver.
fn numbers_of(packet: &OwnedPacket, of_its_sender: bool) -> Option<(u32, u32)> {
    let segment = packet::decode(&packet.borrow()).ok()?;
    let ends = segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap());
    let ack = segment.ack.unwrap_or_default();
    Some(if of_its_sender { (segment.seq, ack) } else { (ack, ends) })
}

/// Returns a segment without data that pretends to belong to the connection of a packet, in either direction.
fn forged(like: &OwnedPacket, from_its_sender: bool, number: (u32, u32), flags: u8) -> Option<OwnedPacket> {
    const IP: usize = 14;
    const TCP: usize = IP + 20;
    let mut data = like.data.get(..TCP + 20)?.to_vec();
    if data[IP] != 0x45 {
        return None;
    }
    data[IP + 2..IP + 4].copy_from_slice(&40_u16.to_be_bytes());
    if !from_its_sender {
        let (source, destination) = data[IP + 12..IP + 20].split_at_mut(4);
        source.swap_with_slice(destination);
        let (source, destination) = data[TCP..TCP + 4].split_at_mut(2);
        source.swap_with_slice(destination);
    }
    data[TCP + 4..TCP + 8].copy_from_slice(&number.0.to_be_bytes());
    data[TCP + 8..TCP + 12].copy_from_slice(&number.1.to_be_bytes());
    data[TCP + 12..TCP + 14].copy_from_slice(&[0x50, flags]);
    let orig_len = u32::try_from(data.len()).unwrap();
    Some(OwnedPacket { data, orig_len, ..like.clone() })
}

fn runs(cases: u32) -> Runs {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Runs { cases, failure_persistence: None, max_shrink_iters: 200, ..Runs::default() }
}

proptest! {
    #![proptest_config(runs(300))]

    #[test]
    fn a_session_has_the_same_lines_beside_other_traffic_as_alone(
        one in a_connection(), other in a_connection(), begins_at in 0..20_000_000_u64,
        ticks in proptest::collection::vec(any::<u8>(), 1..9),
    ) {
        let (steps, ending, lost) = one;
        let own = connection(40_000, &steps, ending, &lost);
        let (steps, ending, lost) = other;
        let others = connection(40_001, &steps, ending, &lost);
        let mut both = own.clone();
        both.extend(others.into_iter().map(|(at, segment)| (at + begins_at, segment)));
        both.sort_by_key(|(at, _)| *at);
        let captured = |segments: &[(u64, Tcp)]| segments.iter().map(|(at, segment)| segment.at(*at)).collect::<Vec<_>>();
        let (own, both) = (captured(&own), captured(&both));
        let alone = captures::dissect_packets(&own, captures::everything());
        let beside = captures::dissect_packets(&both, captures::everything());
        prop_assert_eq!(by_client(&with_ticks(&both, &ticks)), by_client(&beside.lines));
        prop_assert_eq!(essence(beside.values(), ":40000"), essence(alone.values(), ":40000"));
        check_dates(&both.iter().collect::<Vec<_>>(), "beside");
    }

    #[test]
    fn lines_are_the_same_however_often_time_passes_without_a_packet(
        (name, packets) in a_capture(), dropped in any::<prop::sample::Index>(), ticks in proptest::collection::vec(any::<u8>(), 1..9),
    ) {
        let mut packets = packets;
        packets.remove(dropped.index(packets.len()));
        let lines = captures::dissect_packets(&packets, captures::everything()).lines;
        prop_assert_eq!(by_client(&with_ticks(&packets, &ticks)), by_client(&lines), "{}", name);
    }

    #[test]
    fn a_forged_segment_that_opens_a_connection_changes_no_message(
        (name, packets) in a_capture(), at in any::<prop::sample::Index>(), like in any::<prop::sample::Index>(),
        from_its_sender: bool, flags in prop_oneof![Just(0x02_u8), Just(0x12), Just(0x06), Just(0x16), Just(0x03), Just(0x13)],
        distance in a_distance(), ack_distance in a_distance(),
    ) {
        let like = &packets[like.index(packets.len())];
        let Some((seq, ack)) = numbers_of(like, from_its_sender) else { return Ok(()) };
        let number = (seq.wrapping_add(distance), ack.wrapping_add(ack_distance));
        let forged = forged(like, from_its_sender, number, flags);
        prop_assume!(forged.is_some());
        let mut with_it = packets.clone();
        let at = at.index(packets.len() + 1);
        let ts = packets[at.saturating_sub(1)].ts;
        with_it.insert(at, OwnedPacket { ts, ..forged.unwrap() });
        prop_assert_eq!(messages_and_requests(&with_it), messages_and_requests(&packets), "{} at {}", name, at);
    }
}

#[test]
fn a_rst_after_which_both_sides_continue_ends_nothing() {
    let request = |number: usize| message(b'Q', format!("SELECT {number}\0").as_bytes());
    let reply = [message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat();
    for from in [From::Client, From::Server] {
        for offset in [0, 1, 30, 100] {
            for has_end in [false, true] {
                let mut dialogue = Dialogue::started();
                for number in 0..20 {
                    if number == 3 {
                        dialogue.reset(from, offset);
                    }
                    dialogue.send(From::Client, &request(number));
                    dialogue.send(From::Server, &reply);
                }
                if has_end {
                    dialogue.reset(from, 0);
                }
                let lines = dialogue.lines();
                let queries = lines.iter().filter(|line| line["event"] == "query" && line["outcome"] == "ok");
                assert_eq!(queries.count(), 20, "{from:?} {offset}");
                let ended: Vec<_> = lines.iter().filter(|line| line["state"] == "ended").collect();
                let (end, packet) = if has_end { ("reset", 46) } else { ("capture_end", 45) };
                assert_eq!((ended.len(), &ended[0]["end_reason"]), (1, &json!(end)), "{from:?} {offset}");
                assert_eq!(ended[0]["packet"], packet);
                assert!(lines.iter().all(|line| line["event"] != "loss"));
            }
        }
    }
}

#[test]
fn what_a_sender_leaves_unsaid_at_its_end_is_not_lost() {
    let half = &message(b'Q', b"SELECT 'never said to its end'\0")[..12];
    let header = &message(b'Q', b"SELECT 1\0")[..3];
    for (rest, skipped) in [(half, json!(null)), (header, json!(3))] {
        for is_reset in [false, true] {
            let mut dialogue = Dialogue::started();
            dialogue.send(From::Client, rest);
            if is_reset {
                dialogue.reset(From::Client, 0)
            } else {
                dialogue.finish(From::Client)
            }
            let lines = dialogue.lines();
            let losses: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").collect();
            assert_eq!(losses.len(), 1);
            assert_eq!((&losses[0]["reason"], &losses[0]["bytes"]), (&json!("malformed"), &json!(null)));
            assert_eq!(losses[0]["skipped"], skipped);
            let ended = lines.iter().find(|line| line["state"] == "ended").unwrap();
            assert_eq!(ended["lost_bytes"], if skipped.is_null() { json!(0) } else { skipped.clone() });
        }
    }
    // Without the end of the connection, the missing part may just not have been captured.
    let mut dialogue = Dialogue::started();
    dialogue.send(From::Client, half);
    let lines = dialogue.lines();
    let loss = lines.iter().find(|line| line["event"] == "loss").unwrap();
    assert_eq!((&loss["reason"], &loss["bytes"]), (&json!("missing"), &json!(24)));
}

/// Generates a connection with sequence numbers of its own: the startup, and some requests.
fn talk(packets: &mut Vec<OwnedPacket>, user: &str, [mut seq, mut ack]: [u32; 2], is_answered: bool) {
    let parameters = format!("user\0{user}\0\0");
    let startup = [&(8 + parameters.len() as u32).to_be_bytes()[..], &[0, 3, 0, 0], parameters.as_bytes()].concat();
    let started = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    let reply = [message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat();
    let query = message(b'Q', b"SELECT 1\0");
    for (sent, answer) in [(&startup, &started), (&query, &reply), (&query, &reply), (&query, &reply)] {
        let mut at = 1_000 * packets.len() as u64;
        packets.push(Tcp::new(From::Client, seq, ack, sent).at(at));
        if !is_answered {
            return;
        }
        seq = seq.wrapping_add(sent.len() as u32);
        at += 1_000;
        packets.push(Tcp::new(From::Server, ack, seq, answer).at(at));
        ack = ack.wrapping_add(answer.len() as u32);
    }
}

#[test]
fn a_startup_that_is_answered_with_other_numbers_begins_another_connection() {
    let far = [777_777_777, 888_888_888];
    for numbers in [far, [3_000_000_000, 4_000_000_000], [4_000_000_000, 3_000_000_000]] {
        let mut packets = Vec::new();
        talk(&mut packets, "alice", [1_000, 5_000], true);
        talk(&mut packets, "mallory", numbers, true);
        let lines = captures::dissect_packets(&packets, captures::everything()).values();
        let of_users = |event: &str, key: &str| -> Vec<_> {
            let lines = lines.iter().filter(|line| line["event"] == event && line["state"] != "ready");
            lines.map(|line| json!([line["conn"], line["user"], line[key]])).collect()
        };
        let [alice, mallory] = [json!([1, "alice", "ok"]), json!([2, "mallory", "ok"])];
        let [three, other] = [alice, mallory].map(|query| vec![query; 3]);
        assert_eq!(of_users("query", "outcome"), [three, other].concat());
        assert_eq!(
            of_users("session", "end_reason"),
            [json!([1, "alice", "replaced"]), json!([2, "mallory", "capture_end"])]
        );
        assert_eq!(of_users("loss", "reason"), [json!(null); 0]);
    }
}

#[test]
fn an_unanswered_startup_begins_no_other_connection() {
    let mut packets = Vec::new();
    talk(&mut packets, "alice", [1_000, 5_000], true);
    let first = packets.clone();
    for at in 3..first.len() {
        let mut packets = first[..at].to_vec();
        talk(&mut packets, "mallory", [777_777_777, 888_888_888], false);
        packets.extend_from_slice(&first[at..]);
        let lines = captures::dissect_packets(&packets, captures::everything()).values();
        let queries = lines.iter().filter(|line| line["event"] == "query" && line["outcome"] == "ok");
        assert_eq!(queries.filter(|line| line["user"] == "alice").count(), 3);
        let losses: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").collect();
        assert_eq!((losses.len(), &losses[0]["reason"]), (1, &json!("out_of_window")));
    }
}
