//! Law 1: the messages do not depend on how a byte stream is segmented, reordered, repeated or overlapped.
//!
//! Real connections are split into the writes of each side, in a possible causal order. Then they are sent again over a simulated
//! TCP, with segments of any size, acknowledgments as of a real receiver, and a capture that records packets out of order.

use std::sync::LazyLock;

use pgdissect::{Config, Keys};
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;
use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::wire::{From, Tcp};

/// A write of one side, made after it had received a number of bytes from the other.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    from: From,
    bytes: Vec<u8>,
}

/// A connection: its writes, in a causal order.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    name: &'static str,
    pub(crate) writes: Vec<Write>,
    keys: Keys,
    /// The messages in the original capture.
    expected: Vec<Value>,
}

const STREAMS: &[&str] = &[
    "auth-md5-ok/capture.pcap",
    "auth-password-wrong/capture.pcap",
    "auth-scram-ok/capture.pcap",
    "copy-binary/capture.pcap",
    "copy-fail/capture.pcap",
    "copy-formats/capture.pcap",
    "copy-in/capture.pcap",
    "copy-out/capture.pcap",
    "copy-pipeline/capture.pcap",
    "extended-query/capture.pcap",
    "function-call/capture.pcap",
    "cases/redshift.pcap",
    "gssenc/capture.pcap",
    "pgbench-prepared/capture.pcap.gz",
    "pgbench-tpcb/capture.pcap.gz",
    "pipeline-error/capture.pcap",
    "portal-suspended/capture.pcap",
    "protocol-32/capture.pcap",
    "psql-prefer/capture.pcap",
    "replication-base-backup/blackhole-15.pcap.gz",
    "replication-base-backup/error-15.pcap.gz",
    "replication-physical/timeline.pcap.gz",
    "replication/capture.pcap",
    "rows-3000/capture.pcap",
    "simple-query/capture.pcap",
    "startups/early-tls.pcap",
    "tcp/base.pcap",
    "tls-direct/capture.pcap",
    "tls-no-keys/capture.pcap",
    "tls-sessions/direct.pcap",
    "tls-sessions/hello-retry.pcap",
    "tls-sessions/key-update.pcap",
    "tls-sessions/padded.pcap",
    "tls-sessions/renegotiated.pcap",
    "tls-sessions/scram-plus.pcap",
    "tls-suites/ECDHE-RSA-AES128-SHA-mte.pcap",
    "tls-suites/TLS_AES_128_CCM_SHA256.pcap",
    "tls-traffic/12.pcap",
];

/// Connections that are not the first of their captures.
const LATER_STREAMS: &[(&str, u64)] = &[
    ("replication-commands/commands-18.pcap", 3),
    ("replication-pgoutput-v1/capture.pcap", 2),
    ("replication-pgoutput-v2-streaming/capture.pcap.gz", 2),
    ("replication-pgoutput-v3-two-phase/capture.pcap.gz", 2),
    ("replication-pgoutput-v4-parallel/capture.pcap.gz", 2),
    ("replication-subscription-18/capture.pcap.gz", 3),
    ("replication-text-plugins/wal2json_1.pcap.gz", 2),
];

static CONVERSATIONS: LazyLock<Vec<Conversation>> = LazyLock::new(|| {
    let first = STREAMS.iter().map(|name| (*name, 1));
    first.chain(LATER_STREAMS.iter().copied()).map(|(name, number)| conversation(name, number)).collect()
});

/// Returns a connection of a capture by its number, without retransmissions.
pub(crate) fn conversation(name: &'static str, number: u64) -> Conversation {
    let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
    assert!(errors.is_empty());
    let mut next: [Option<u32>; 2] = [None; 2];
    let mut client = None;
    let mut begun = 0;
    let mut writes: Vec<Write> = Vec::new();
    for packet in &packets {
        let Ok(segment) = pgdissect::internals::packet::decode(&packet.borrow()) else { continue };
        if segment.syn && segment.ack.is_none() && client.is_none() {
            begun += 1;
            client = (begun == number).then_some((segment.source, segment.destination));
        }
        let Some((source, destination)) = client else { continue };
        let from = match (segment.source, segment.destination) {
            ends if ends == (source, destination) => From::Client,
            ends if ends == (destination, source) => From::Server,
            _ => continue,
        };
        if segment.rst {
            break;
        }
        let next = &mut next[from.index()];
        if segment.syn {
            *next = Some(segment.seq.wrapping_add(1));
        } else if !segment.payload.is_empty() && *next == Some(segment.seq) {
            *next = Some(segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap()));
            writes.push(Write { from, bytes: segment.payload.to_vec() });
        }
    }
    assert!(writes.len() > 2, "{name}");
    let keys = captures::keys_of(name);
    let expected = essence(&send(&writes, Network::default()), &keys);
    let mut of_capture = essence(&packets, &keys);
    of_capture.retain(|line| line["conn"] == number);
    for line in &mut of_capture {
        line["conn"] = 1.into();
    }
    assert_eq!(expected, of_capture, "{name}: what is sent again is what was captured");
    Conversation { name, writes, keys, expected }
}

/// Returns messages without the fields that depend on time and packet numbers.
fn essence(packets: &[OwnedPacket], keys: &Keys) -> Vec<Value> {
    let config = Config { ports: Some([&captures::PORTS[..], &[5415]].concat()), ..captures::everything() };
    let mut lines = captures::decrypt_packets(packets, keys, config).values();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        let ends = ["client", "server", "client_ip", "client_port", "server_ip", "server_port", "community_id"];
        let of_the_network = ["ts", "started", "packet", "retransmitted", "end_reason", "ended_by"];
        let of_the_network = [&of_the_network[..], &ends].concat();
        line.retain(|field, _| !field.ends_with("_us") && !of_the_network.contains(&field.as_str()));
    }
    lines
}

/// Returns the messages of each direction, without the numbers that depend on the order between directions.
fn by_direction(lines: &[Value]) -> [Vec<Value>; 2] {
    ["F", "B"].map(|dir| {
        let of_dir = lines.iter().filter(|line| line["dir"] == dir);
        of_dir
            .map(|line| {
                let mut line = line.clone();
                line.as_object_mut().unwrap().remove("seq");
                line
            })
            .collect()
    })
}

/// The behaviour of the network and the capture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    /// The sizes of segments, used in turn; if empty, each write is one segment (of at most 60,000 bytes).
    sizes: Vec<usize>,
    /// The initial sequence numbers.
    isn: [u32; 2],
    /// For each segment in turn: how many earlier bytes it retransmits.
    overlaps: Vec<usize>,
    /// For each packet in turn: whether it is captured twice.
    repeats: Vec<bool>,
    /// For each packet in turn: by how many positions it is captured late.
    delays: Vec<usize>,
    /// Whether late packets stay in order within their direction.
    only_across: bool,
    /// Whether acknowledgments without data are sent as well.
    pure_acks: bool,
}

impl Network {
    /// With segments of these sizes, in turn.
    pub(crate) fn with_sizes(sizes: &[usize]) -> Self {
        Self { sizes: sizes.to_vec(), ..Self::default() }
    }
}

/// Sends writes over a network. Returns the captured packets.
pub(crate) fn send(writes: &[Write], network: Network) -> Vec<OwnedPacket> {
    let Network { sizes, isn, overlaps, repeats, delays, only_across, pure_acks } = network;
    let mut sent = [Vec::new(), Vec::new()];
    let number = |from: From, sent: &[Vec<u8>; 2]| {
        isn[from.index()].wrapping_add(1).wrapping_add(u32::try_from(sent[from.index()].len()).unwrap())
    };
    let mut segments = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    let mut overlaps = overlaps.iter().copied().cycle();
    for write in writes {
        let from = write.from;
        let mut rest = &write.bytes[..];
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(60_000).clamp(1, rest.len().min(60_000));
            let (piece, behind) = rest.split_at(size);
            rest = behind;
            let so_far = &sent[from.index()];
            let back = overlaps.next().unwrap_or(0).min(so_far.len()).min(60_000 - piece.len());
            let payload = [&so_far[so_far.len() - back..], piece].concat();
            let seq = number(from, &sent).wrapping_sub(u32::try_from(back).unwrap());
            segments.push(Tcp::new(from, seq, number(from.peer(), &sent), &payload));
            sent[from.index()].extend_from_slice(piece);
            if pure_acks {
                segments.push(Tcp::new(from.peer(), number(from.peer(), &sent), number(from, &sent), b""));
            }
        }
    }
    let mut captured = Vec::new();
    let mut repeats = repeats.iter().copied().cycle();
    for segment in segments {
        if repeats.next() == Some(true) {
            captured.push(segment.clone());
        }
        captured.push(segment);
    }
    let captured = delay(captured, &delays, only_across);
    let [client, server] = isn;
    let mut all = vec![
        Tcp::new(From::Client, client, 0, b"").without_ack().syn(),
        Tcp::new(From::Server, server, client.wrapping_add(1), b"").syn(),
    ];
    all.extend(captured);
    let (client, server) = (number(From::Client, &sent), number(From::Server, &sent));
    all.push(Tcp::new(From::Client, client, server, b"").fin());
    all.push(Tcp::new(From::Server, server, client.wrapping_add(1), b"").fin());
    all.push(Tcp::new(From::Client, client.wrapping_add(1), server.wrapping_add(1), b""));
    // The time is too short for a hole to be given up.
    all.iter().enumerate().map(|(index, segment)| segment.at(index as u64 % 90_000)).collect()
}

/// Moves each packet back by a number of positions.
fn delay(packets: Vec<Tcp>, delays: &[usize], only_across: bool) -> Vec<Tcp> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut last = [0, 0];
    let mut delays = delays.iter().copied().cycle();
    for (index, packet) in packets.iter().enumerate() {
        let mut place = index + delays.next().unwrap_or(0);
        if only_across {
            place = place.max(last[packet.from.index()]);
            last[packet.from.index()] = place;
        }
        places.push((place, index));
    }
    places.sort();
    places.iter().map(|(_, index)| packets[*index].clone()).collect()
}

fn a_conversation() -> impl Strategy<Value = &'static Conversation> {
    (0..STREAMS.len() + LATER_STREAMS.len()).prop_map(|index| &CONVERSATIONS[index])
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![4 => 1..20_usize, 4 => 20..1_500_usize, 2 => Just(1_448), 1 => 1_500..65_536_usize];
    // Only tiny segments would result in hundreds of thousands of packets for the largest streams.
    proptest::collection::vec(size, 1..12).prop_map(|mut sizes| {
        sizes.push(5_000);
        sizes
    })
}

fn isn() -> impl Strategy<Value = [u32; 2]> {
    let near_the_end = (0..3_000_u32).prop_map(|before| 0_u32.wrapping_sub(before));
    let one = prop_oneof![any::<u32>(), near_the_end.clone(), Just(0x7fff_ff00)];
    (one.clone(), one).prop_map(|(client, server)| [client, server])
}

fn runs(cases: u32) -> Runs {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Runs { cases, failure_persistence: None, max_shrink_iters: 200, ..Runs::default() }
}

fn assert_same(expected: &[Value], actual: &[Value]) -> Result<(), TestCaseError> {
    for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        prop_assert_eq!(expected, actual, "line {}", index + 1);
    }
    prop_assert_eq!(expected.len(), actual.len(), "as many lines");
    Ok(())
}

proptest! {
    #![proptest_config(runs(1_000))]

    #[test]
    fn any_segments_result_in_the_same_messages(
        conversation in a_conversation(), sizes in sizes(), isn in isn(), pure_acks: bool,
    ) {
        let packets = send(&conversation.writes, Network { sizes, isn, pure_acks, ..Network::default() });
        assert_same(&conversation.expected, &essence(&packets, &conversation.keys))?;
    }

    #[test]
    fn repeated_and_overlapping_segments_result_in_the_same_messages(
        conversation in a_conversation(), sizes in sizes(), isn in isn(), pure_acks: bool,
        overlaps in proptest::collection::vec(prop_oneof![Just(0), 1..3_000_usize], 1..7),
        repeats in proptest::collection::vec(any::<bool>(), 1..7),
    ) {
        let network = Network { sizes, isn, overlaps, repeats, pure_acks, ..Network::default() };
        assert_same(&conversation.expected, &essence(&send(&conversation.writes, network), &conversation.keys))?;
    }

    #[test]
    fn segments_captured_in_another_order_result_in_the_same_messages(
        conversation in a_conversation(), sizes in sizes(), isn in isn(),
        repeats in proptest::collection::vec(any::<bool>(), 1..7),
        delays in proptest::collection::vec(prop_oneof![3 => Just(0), 2 => 0..12_usize], 1..16),
        only_across: bool, pure_acks: bool,
    ) {
        let network =
            Network { sizes, isn, repeats, delays, only_across, pure_acks, ..Network::default() };
        let actual = essence(&send(&conversation.writes, network), &conversation.keys);
        // Segments that do not acknowledge each other may be in either order.
        for (expected, actual) in by_direction(&conversation.expected).iter().zip(by_direction(&actual)) {
            assert_same(expected, &actual)?;
        }
        prop_assert_eq!(conversation.expected.len(), actual.len());
        assert_replies_follow_requests(&actual)?;
    }

    #[test]
    fn overlapping_segments_in_another_order_result_in_the_same_messages(
        conversation in a_conversation(), sizes in sizes(), isn in isn(),
        overlaps in proptest::collection::vec(prop_oneof![Just(0), 1..3_000_usize], 1..7),
        delays in proptest::collection::vec(prop_oneof![3 => Just(0), 2 => 0..12_usize], 1..16),
    ) {
        let network = Network { sizes, isn, overlaps, delays, ..Network::default() };
        let actual = essence(&send(&conversation.writes, network), &conversation.keys);
        for (expected, actual) in by_direction(&conversation.expected).iter().zip(by_direction(&actual)) {
            assert_same(expected, &actual)?;
        }
    }
}

/// Checks that no reply precedes the request to which it is attributed.
fn assert_replies_follow_requests(lines: &[Value]) -> Result<(), TestCaseError> {
    let mut last_request = 0;
    for line in lines {
        let Some(query) = line["query"].as_u64() else { continue };
        if line["dir"] == "F" {
            last_request = last_request.max(query);
        } else {
            prop_assert!(query <= last_request, "{} comes before its request", line);
        }
    }
    Ok(())
}

#[test]
fn the_conversations_are_worth_cutting() {
    let messages: usize = CONVERSATIONS.iter().map(|conversation| conversation.expected.len()).sum();
    assert!(messages > 5_000, "{messages} messages in all");
    for conversation in &*CONVERSATIONS {
        assert!(!conversation.expected.is_empty(), "{}", conversation.name);
    }
}

#[test]
fn segments_of_one_byte_result_in_the_same_messages() {
    for conversation in CONVERSATIONS.iter().filter(|conversation| small(conversation, 25_000)) {
        for pure_acks in [false, true] {
            let network = Network { sizes: vec![1], pure_acks, ..Network::default() };
            let actual = essence(&send(&conversation.writes, network), &conversation.keys);
            assert_same(&conversation.expected, &actual).unwrap();
        }
    }
}

#[test]
fn a_cut_at_any_byte_results_in_the_same_messages() {
    for conversation in CONVERSATIONS.iter().filter(|conversation| small(conversation, 2_500)) {
        for (index, write) in conversation.writes.iter().enumerate() {
            for at in 1..write.bytes.len() {
                let mut writes = conversation.writes.clone();
                let behind = writes[index].bytes.split_off(at);
                writes.insert(index + 1, Write { from: write.from, bytes: behind });
                let actual = essence(&send(&writes, Network::default()), &conversation.keys);
                assert_same(&conversation.expected, &actual).unwrap();
            }
        }
    }
}

#[test]
fn a_capture_with_one_direction_after_the_other_results_in_the_same_messages() {
    for conversation in &*CONVERSATIONS {
        let packets = send(&conversation.writes, Network::default());
        let is_client =
            |packet: &&OwnedPacket| pgdissect::internals::packet::decode(&packet.borrow()).unwrap().source.port != 5432;
        for client_first in [true, false] {
            // Both SYNs first: without them, a direction whose packets were not captured yet would not be waited for.
            let (syns, rest) = packets.split_at(2);
            let (one, other): (Vec<_>, Vec<_>) = rest.iter().partition(|packet| is_client(packet) == client_first);
            let one: Vec<_> = syns.iter().chain(one).chain(other).cloned().collect();
            let actual = essence(&one, &conversation.keys);
            assert_same(&conversation.expected, &actual)
                .unwrap_or_else(|error| panic!("{}: {error}", conversation.name));
        }
    }
}

fn small(conversation: &Conversation, limit: usize) -> bool {
    conversation.writes.iter().map(|write| write.bytes.len()).sum::<usize>() <= limit
}
