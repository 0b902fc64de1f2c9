//! Parallel dissection: the lines, their order, and the counters are the same as without it, whatever the limits are.

use std::sync::LazyLock;

use pgdissect::capture::Block;
use pgdissect::{Config, Dissector, Record, Sink};
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;
use rayon_core::{ThreadPool, ThreadPoolBuilder};

use crate::captures::{self, Output, OwnedPacket};
use crate::wire::{From, Tcp, message, startup};

/// Lines and the packets to which they belong.
#[derive(Default)]
struct Shard {
    open: Vec<String>,
    lines: Vec<(u64, Vec<String>)>,
}

impl Sink for Shard {
    fn record(&mut self, record: &Record<'_>) {
        self.open.push(captures::line(record));
    }

    fn end_packet(&mut self, packet: u64) {
        self.lines.push((packet, std::mem::take(&mut self.open)));
    }
}

/// Threads for all tests.
static THREADS: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPoolBuilder::new().num_threads(2).build().unwrap());

/// Dissects packets in blocks of this size. Returns the output, and how many packets were dissected in parallel.
fn in_shards(packets: &[OwnedPacket], config: Config, block_len: usize) -> (Output, usize) {
    let mut dissector = Dissector::new(config);
    let mut lines = Vec::new();
    let mut shards = [Shard::default(), Shard::default(), Shard::default()];
    let mut in_parallel = 0;
    for packets in packets.chunks(block_len) {
        let mut block = Block::default();
        packets.iter().for_each(|packet| block.push(&packet.borrow()));
        let mut next = 0;
        while next < block.len() {
            let taken = if dissector.may_run_parallel() {
                dissector.in_parallel(&block, next, 2, &THREADS, &mut shards)
            } else {
                0
            };
            let mut woven: Vec<_> = shards.iter_mut().flat_map(|strand| strand.lines.drain(..)).collect();
            woven.sort_by_key(|(packet, _)| *packet);
            lines.extend(woven.into_iter().flat_map(|(_, lines)| lines));
            in_parallel += taken;
            next += taken;
            if taken == 0 {
                let packet = block.packet(next).unwrap();
                dissector.packet(&packet, &mut |record: &Record<'_>| lines.push(captures::line(record)));
                next += 1;
            }
        }
    }
    dissector.finish(&mut |record: &Record<'_>| lines.push(captures::line(record)));
    assert!(shards.iter().all(|strand| strand.open.is_empty()), "a line without a packet");
    (Output { lines, counters: dissector.counters() }, in_parallel)
}

/// Checks that the output is the same. Returns how many packets were dissected in parallel.
#[track_caller]
fn is_the_same(packets: &[OwnedPacket], config: &Config, block_len: usize) -> usize {
    let alone = captures::dissect_packets(packets, config.clone());
    let (lanes, in_parallel) = in_shards(packets, config.clone(), block_len);
    for (index, (one, other)) in lanes.lines.iter().zip(&alone.lines).enumerate() {
        assert_eq!(one, other, "line {index}");
    }
    assert_eq!(lanes.lines.len(), alone.lines.len());
    assert_eq!(lanes.counters, alone.counters);
    in_parallel
}

/// Returns the packets of a capture on lo, with clients' ports increased by a number.
fn of_other_clients(packets: &[OwnedPacket], by: u16) -> Vec<OwnedPacket> {
    const PORTS: usize = 14 + 20;
    let mut packets = packets.to_vec();
    for packet in &mut packets {
        for at in [PORTS, PORTS + 2] {
            let Some(&[high, low]) = packet.data.get(at..at + 2) else { continue };
            let port = u16::from_be_bytes([high, low]);
            if !captures::PORTS.contains(&port) {
                packet.data[at..at + 2].copy_from_slice(&port.wrapping_add(by).to_be_bytes());
            }
        }
    }
    packets
}

/// Interleaves the packets of several captures, `turn` packets at a time.
fn by_turns(captures: &[Vec<OwnedPacket>], turn: usize) -> Vec<OwnedPacket> {
    let mut all: Vec<_> = captures.iter().map(|packets| packets.chunks(turn)).collect();
    let mut packets = Vec::new();
    loop {
        let before = packets.len();
        all.iter_mut().filter_map(Iterator::next).for_each(|turn| packets.extend_from_slice(turn));
        if packets.len() == before {
            return packets;
        }
    }
}

fn packets_of(name: &str) -> Vec<OwnedPacket> {
    captures::packets(&[captures::testdata().join(name)]).0
}

#[test]
fn every_capture_has_the_same_lines_in_parallel() {
    for name in captures::all() {
        is_the_same(&packets_of(&name), &captures::everything(), 500);
    }
}

#[test]
fn interleaved_captures_have_the_same_lines_in_parallel() {
    let all: Vec<_> = captures::all().iter().map(|name| packets_of(name)).collect();
    is_the_same(&by_turns(&all, 40), &captures::everything(), 1_000);
}

#[test]
fn limits_do_the_same_side_by_side() {
    let one = packets_of("driver-pgbench-prepared/capture.pcap.gz");
    let clients: Vec<_> = (0..12).map(|number| of_other_clients(&one, number * 64)).collect();
    let packets = by_turns(&clients, 3);
    let everything = captures::everything;
    let in_parallel = is_the_same(&packets, &everything(), 300);
    assert!(in_parallel > packets.len() / 2, "{in_parallel} of {} packets", packets.len());
    for config in [
        Config { max_remembered: 20_000, ..everything() },
        Config { max_remembered: 1_000, ..everything() },
        Config { max_held: 30_000, ..everything() },
        Config { max_held: 0, ..everything() },
        Config { max_connections: 5, ..everything() },
        Config { max_message: 20, ..everything() },
    ] {
        is_the_same(&packets, &config, 300);
    }
}

/// Generates messages of the client or the server in a session that is ready.
fn says(from: From) -> impl Strategy<Value = Vec<u8>> {
    let messages: Vec<Vec<u8>> = match from {
        From::Client => vec![
            message(b'Q', b"SELECT 1\0"),
            message(b'Q', b"PREPARE a AS SELECT 2; COPY t TO STDOUT\0"),
            message(b'P', b"a\0SELECT $1\0\0\x01\0\0\0\x17"),
            message(b'P', b"\0INSERT INTO t VALUES ($1)\0\0\0"),
            message(b'B', b"\0a\0\0\0\0\x01\0\0\0\x011\0\0"),
            message(b'B', b"p\0\0\0\0\0\0\0\0"),
            message(b'D', b"P\0"),
            message(b'D', b"Sa\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'C', b"Sa\0"),
            message(b'S', b""),
            message(b'd', b"1\t2\n"),
            message(b'X', b""),
        ],
        From::Server => vec![
            message(b'1', b""),
            message(b'2', b""),
            message(b't', b"\0\x01\0\0\0\x17"),
            message(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
            message(b'D', b"\0\x01\0\0\0\x011"),
            message(b'C', b"SELECT 1\0"),
            message(b'C', b"PREPARE\0"),
            message(b'H', b"\0\0\0"),
            message(b'E', b"SERROR\0C57014\0Mno\0\0"),
            message(b'K', b"\0\0\0\x01\0\0\0\x02"),
            message(b'S', b"client_encoding\0LATIN1\0"),
            message(b'Z', b"I"),
            message(b'Z', b"T"),
        ],
    };
    proptest::collection::vec(proptest::sample::select(messages), 1..5).prop_map(|messages| messages.concat())
}

proptest! {
    #![proptest_config(Runs { cases: 300, failure_persistence: None, ..Runs::default() })]

    #[test]
    fn any_sessions_have_the_same_lines_in_parallel(
        turns in proptest::collection::vec(
            (0..4_u16, prop_oneof![Just(From::Client), Just(From::Server)], 0..40_u8).prop_flat_map(
                |(port, from, fault)| (Just(port), Just(from), Just(fault), says(from)),
            ),
            20..120,
        ),
        max_remembered in prop_oneof![Just(1 << 26), 0..9_000_usize],
        max_held in prop_oneof![Just(1 << 20), 0..9_000_usize],
        max_connections in 2..6_usize,
        block_len in 1..60_usize,
    ) {
        let mut next = [[1_u32; 2]; 4];
        let mut packets = Vec::new();
        let mut send = |port: u16, from: From, fault: u8, bytes: &[u8], packets: &mut Vec<OwnedPacket>| {
            let [own, peer] = [from.index(), from.peer().index()].map(|index| next[usize::from(port)][index]);
            let segment = Tcp::new(from, own, peer, bytes).port(40_000 + port);
            next[usize::from(port)][from.index()] += u32::try_from(bytes.len()).unwrap();
            match fault {
                // Lost, repeated, and the end.
                0 => {}
                1 => packets.extend([segment.clone().at(packets.len() as u64), segment.at(packets.len() as u64 + 1)]),
                2 => packets.push(segment.fin().at(packets.len() as u64)),
                _ => packets.push(segment.at(packets.len() as u64)),
            }
        };
        for port in 0..4 {
            send(port, From::Client, 9, &startup(), &mut packets);
            send(port, From::Server, 9, &[message(b'R', &[0; 4]), message(b'Z', b"I")].concat(), &mut packets);
        }
        for (port, from, fault, bytes) in &turns {
            send(*port, *from, *fault, bytes, &mut packets);
        }
        let limits = Config { max_remembered, max_held, max_connections, ..captures::everything() };
        is_the_same(&packets, &limits, block_len);
    }
}
