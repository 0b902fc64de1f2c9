//! Accidental and hostile input: nothing panics, everything terminates, every line keeps the contract.

use pgdissect::internals::pg::framer::Framing;
use pgdissect::{Config, Direction, Records, Redaction};
use proptest::prelude::*;
use proptest::test_runner::Config as Runs;
use serde_json::Value;

use crate::captures::{self, Bench, OwnedPacket};
use crate::hostile::fuzz_seeds::framer::{self, Input};
use crate::laws::contract;
use crate::wire::{From, Tcp, message, startup, time};

fn runs(cases: u32) -> Runs {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Runs { cases, failure_persistence: None, max_shrink_iters: 300, ..Runs::default() }
}

fn dissect_and_check(packets: &[OwnedPacket], config: Config) {
    contract::check(&captures::dissect_packets(packets, config), "hostile input");
}

/// Generates mostly valid messages, and invalid bytes.
fn bytes_of(from: From) -> impl Strategy<Value = Vec<u8>> {
    let tags: &'static [u8] = match from {
        From::Client => b"BCdcfDEHFPpQSX",
        From::Server => b"RK23CdcGHWDIEVvnNAtS1sZT",
    };
    let body = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 0..40),
        Just(b"\0\0\0\x05".to_vec()),
        Just(b"I".to_vec()),
        Just(b"ALTER ROLE a PASSWORD 'x\xff'\0".to_vec()),
        Just(b"S\xff\0S\xfe\0\xc3y\0\0".to_vec()),
        Just(b"COPY t FROM STDIN CSV HEADER; COPY t TO STDOUT\0".to_vec()),
        Just(b"\0\0\0".to_vec()),
        Just(b"a,\"\n\\.\n".to_vec()),
        Just(b"client_encoding\0GB18030\0".to_vec()),
    ];
    let whole = (proptest::sample::select(tags), body.clone()).prop_map(|(tag, body)| message(tag, &body));
    let lying = (proptest::sample::select(tags), any::<u32>(), body.clone())
        .prop_map(|(tag, len, body)| [&[tag], &len.to_be_bytes()[..], &body].concat());
    let piece = prop_oneof![
        6 => whole,
        1 => lying,
        1 => body,
        1 => Just(startup()),
        1 => Just(b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec()),
        1 => Just(b"\0\0\0\x08\x04\xd2\x16\x30".to_vec()),
        1 => Just(b"S".to_vec()),
        1 => Just(b"N".to_vec()),
        1 => Just(b"\x16\x03\x01\0\x05\x01\0\0\x01\0".to_vec()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Generates a segment of any kind, near the others or anywhere.
fn a_segment() -> impl Strategy<Value = Tcp> {
    let from = prop_oneof![Just(From::Client), Just(From::Server)];
    let number = prop_oneof![8 => 0..600_u32, 1 => any::<u32>()];
    let flags = (0..12_u8, 0..12_u8, 0..25_u8, 0..12_u8);
    (from, number.clone(), number, flags, 0..2_u16).prop_flat_map(|(from, seq, ack, (syn, fin, rst, no_ack), port)| {
        bytes_of(from).prop_map(move |payload| {
            let segment = Tcp::new(from, seq, ack, &payload).port(40_000 + port);
            let segment = if syn == 0 { segment.syn() } else { segment };
            let segment = if fin == 0 { segment.fin() } else { segment };
            let segment = if rst == 0 { segment.rst() } else { segment };
            if no_ack == 0 { segment.without_ack() } else { segment }
        })
    })
}

proptest! {
    #![proptest_config(runs(1_000))]

    #[test]
    fn segments_of_any_kind_keep_the_contract(
        segments in proptest::collection::vec((a_segment(), 0..40_000_000_u64), 1..40),
        max_message in prop_oneof![Just(1 << 20), 0..64_usize],
        max_early in prop_oneof![Just(1 << 20), 0..600_usize],
        max_held in prop_oneof![Just(1 << 20), 0..6_000_usize],
        max_remembered in prop_oneof![Just(1 << 20), 0..3_000_usize],
        any_port: bool,
        cut in prop_oneof![3 => Just(usize::MAX), 1 => 0..120_usize],
        redaction in prop::sample::select(&Redaction::ALL[..]),
    ) {
        let mut now = 0;
        let packets: Vec<_> = segments
            .iter()
            .map(|(segment, wait)| {
                // Usually a short time; now and then one after which things expire.
                now += if wait % 7 == 0 { *wait } else { wait % 1_000 };
                let mut packet = segment.at(now);
                packet.data.truncate(cut);
                packet
            })
            .collect();
        let ports = if any_port { None } else { Some(vec![5432]) };
        let config = Config {
            ports,
            max_message,
            max_early,
            max_held,
            max_connections: 4,
            max_remembered,
            redaction,
            records: Records::ALL,
            ..Config::default()
        };
        dissect_and_check(&packets, config);
    }

    #[test]
    fn streams_of_any_bytes_keep_the_contract(
        begins: bool,
        writes in proptest::collection::vec(
            prop_oneof![Just(From::Client), Just(From::Server)].prop_flat_map(|from| (Just(from), bytes_of(from))),
            1..30,
        ),
        max_message in prop_oneof![Just(1 << 20), 0..64_usize],
    ) {
        let mut next = [1_u32, 1];
        let mut packets = vec![
            Tcp::new(From::Client, 0, 0, b"").without_ack().syn().at(0),
            Tcp::new(From::Server, 0, 1, b"").syn().at(1),
        ];
        let first = if begins { vec![(From::Client, startup())] } else { Vec::new() };
        for (from, bytes) in first.into_iter().chain(writes) {
            let segment = Tcp::new(from, next[from.index()], next[from.peer().index()], &bytes);
            next[from.index()] += u32::try_from(bytes.len()).unwrap();
            packets.push(segment.at(packets.len() as u64));
        }
        dissect_and_check(&packets, Config { max_message, ..captures::everything() });
    }

    #[test]
    fn damaged_captures_keep_the_contract(
        capture in proptest::sample::select(DAMAGED),
        seed in any::<u64>(),
        damages in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u8>(), 0..4_u8), 1..20),
    ) {
        let (mut packets, _) = captures::packets(&[captures::testdata().join(capture)]);
        for (which, at, value, how) in damages {
            let which = usize::from(which) % packets.len();
            let packet = &mut packets[which];
            if packet.data.is_empty() {
                continue;
            }
            let at = usize::from(at) % packet.data.len();
            match how {
                0 => packet.data[at] = value,
                1 => packet.data[at] ^= 1 << (value % 8),
                2 => packet.data.truncate(at),
                _ => {
                    packets.remove(which);
                    if packets.is_empty() {
                        break;
                    }
                }
            }
        }
        if seed % 4 == 0 {
            packets.reverse();
        }
        dissect_and_check(&packets, captures::everything());
    }

    #[test]
    fn every_byte_is_in_a_frame_or_reported(
        direction in prop_oneof![Just(Direction::Frontend), Just(Direction::Backend)],
        framing in prop_oneof![
            Just(Framing::Tagged), Just(Framing::Tagged), Just(Framing::Startup), Just(Framing::EncryptionAnswer),
        ],
        inputs in proptest::collection::vec(
            prop_oneof![
                5 => bytes_of(From::Client).prop_map(Input::Bytes),
                5 => bytes_of(From::Server).prop_map(Input::Bytes),
                1 => (1..80_u64).prop_map(Input::Gap),
            ],
            1..12,
        ),
        max_message in prop_oneof![Just(1 << 20), 0..32_usize],
        size in prop_oneof![Just(usize::MAX), 1..9_usize],
    ) {
        let inputs = [vec![Input::Framing(framing)], inputs].concat();
        framer::account(direction, &inputs, max_message, size);
    }
}

const DAMAGED: &[&str] = &[
    "auth-scram-ok/capture.pcap",
    "copy-pipeline/capture.pcap",
    "extended-query/capture.pcap",
    "formats/any-sll2.pcap",
    "formats/null-ipv6.pcap",
    "formats/qinq.pcap",
    "function-call/capture.pcap",
    "ip-options/ipv6-extension.pcap",
    "pipeline-error/capture.pcap",
    "protocol-negotiate/capture.pcap",
    "replication/capture.pcap",
    "simple-query/capture.pcap",
    "tcp/base.pcap",
    "tcp/snaplen.pcap",
    "tls-direct/capture.pcap",
];

#[test]
fn lengths_of_two_gigabytes_cost_no_memory_and_no_time() {
    for len in [i32::MAX as u32, u32::MAX, 0x3fff_ffff, 0x4000_0003] {
        let mut bench = Bench::new(captures::everything());
        for packet in opened(&startup()) {
            bench.packet(&packet.borrow());
        }
        let mut next = [1 + u32::try_from(startup().len()).unwrap(), 1];
        for (from, tag) in [(From::Server, b'D'), (From::Client, b'Q')] {
            let bytes = [&[tag], &len.to_be_bytes()[..], b"the beginning"].concat();
            let segment = Tcp::new(from, next[from.index()], next[from.peer().index()], &bytes);
            next[from.index()] += u32::try_from(bytes.len()).unwrap();
            bench.packet(&segment.at(10).borrow());
        }
        assert!(bench.counters().held_bytes < 100_000, "{} bytes are held", bench.counters().held_bytes);
        contract::check(&bench.finish(), "large lengths");
    }
}

#[test]
fn a_list_that_is_cut_off_has_no_items_but_those_that_are_there() {
    // Two of two billion claimed options, and the beginning of a third.
    let options = message(b'v', b"\0\x03\0\0\x7f\xff\xff\xff_pq_.a\0_pq_.b\0_pq_.c\0");
    let mut packets = opened(&startup());
    packets.push(Tcp::new(From::Server, 1, 1 + u32::try_from(startup().len()).unwrap(), &options).at(3));
    for (max_message, there) in [(8, 0), (15, 1), (22, 2), (25, 3)] {
        let output = captures::dissect_packets(&packets, Config { max_message, ..captures::everything() });
        let messages = output.messages();
        assert_eq!(messages[1]["body"]["unrecognized_options"].as_array().unwrap().len(), there, "{max_message}");
        contract::check(&output, "a cut list");
    }
}

/// Opens a connection in which the client sends these bytes first.
fn opened(first: &[u8]) -> Vec<OwnedPacket> {
    vec![
        Tcp::new(From::Client, 0, 0, b"").without_ack().syn().at(0),
        Tcp::new(From::Server, 0, 1, b"").syn().at(1),
        Tcp::new(From::Client, 1, 1, first).at(2),
    ]
}

// None of these measures time; but a quadratic algorithm would not terminate in an acceptable time.

fn feed_bytes_one_by_one(first: &[Tcp], from: From, seq: u32, byte: impl Fn(u32) -> u8, count: u32, backwards: bool) {
    let mut bench = Bench::new(captures::everything());
    for segment in first {
        bench.packet(&segment.at(0).borrow());
    }
    for index in 0..count {
        let index = if backwards { count - index } else { index };
        let segment = Tcp::new(from, seq.wrapping_add(index), 1, &[byte(index)]);
        bench.packet(&segment.at(u64::from(index) / 100).borrow());
    }
    let held = bench.counters().held_bytes;
    assert!(held < 64 << 20, "{held} bytes are held");
    contract::check(&bench.finish(), "one byte at a time");
}

#[test]
fn many_segments_of_one_byte_in_order_hold_little() {
    let opening = [
        Tcp::new(From::Client, 0, 0, b"").without_ack().syn(),
        Tcp::new(From::Server, 0, 1, b"").syn(),
        Tcp::new(From::Client, 1, 1, &startup()),
    ];
    let seq = 1 + u32::try_from(startup().len()).unwrap();
    let query = message(b'Q', b"SELECT 1\0");
    let len = u32::try_from(query.len()).unwrap();
    feed_bytes_one_by_one(&opening, From::Client, seq, |index| query[(index % len) as usize], 300_000, false);
}

#[test]
fn many_segments_of_one_byte_in_reverse_order_hold_little() {
    let opening = [
        Tcp::new(From::Client, 0, 0, b"").without_ack().syn(),
        Tcp::new(From::Server, 0, 1, b"").syn(),
        Tcp::new(From::Client, 1, 1, &startup()),
    ];
    let seq = 1 + u32::try_from(startup().len()).unwrap();
    feed_bytes_one_by_one(&opening, From::Client, seq, |_| b'S', 100_000, true);
}

#[test]
fn many_bytes_without_a_boundary_hold_little() {
    // Text in which every byte could be the type of a message.
    feed_bytes_one_by_one(&[], From::Client, 1, |index| b"SELECT"[(index % 6) as usize], 200_000, false);
}

#[test]
fn bytes_in_which_every_one_could_begin_a_message_hold_little() {
    // "d\0\0\0" repeatedly: plausible lengths of bodies that need not be decoded.
    feed_bytes_one_by_one(&[], From::Client, 1, |index| b"d\0\0\0"[(index % 4) as usize], 200_000, false);
    // A row of 16,000 columns, in which each NULL could be the length of another message.
    let row = b"D\0\0\x40\0".repeat(200_000);
    let mut bench = Bench::new(captures::everything());
    for (index, piece) in row.chunks(1_448).enumerate() {
        let seq = 1 + u32::try_from(index * 1_448).unwrap();
        bench.packet(&Tcp::new(From::Server, seq, 1, piece).at(index as u64).borrow());
    }
    contract::check(&bench.finish(), "rows in rows");
}

#[test]
fn a_flood_of_connections_that_never_begin_results_in_no_lines() {
    let mut bench = Bench::new(captures::everything());
    for index in 0..200_000_u32 {
        let port = u16::try_from(index % 60_000).unwrap();
        let syn = Tcp::new(From::Client, index, 0, b"").without_ack().syn().port(port);
        bench.packet(&syn.at(u64::from(index)).borrow());
    }
    let output = bench.finish();
    assert!(output.lines.is_empty());
    assert_eq!(output.counters.connections, 0);
}

#[test]
fn held_data_of_all_connections_has_a_limit_and_only_it_is_lost() {
    const MAX_HELD: usize = 1 << 20;
    let mut bench = Bench::new(Config { max_held: MAX_HELD, ..captures::everything() });
    let first = startup();
    let next = 1 + u32::try_from(first.len()).unwrap();
    let filler = vec![b'x'; 1_400];
    let long = [b'x'; 30_000];
    let query = message(b'Q', &[&b"SELECT '"[..], &long, b"'\0"].concat());
    let (sent, rest) = query.split_at(15_000);
    let mut at = 0;
    let mut give = |bench: &mut Bench, segment: Tcp| {
        at += 10;
        bench.packet(&segment.at(at).borrow());
        assert!(bench.counters().held_bytes <= MAX_HELD as u64 + 2_048, "{} are held", bench.counters().held_bytes);
    };
    // Half of them hold data after a hole, the others the beginning of a long message.
    let ports = 1_000..1_200_u16;
    for port in ports.clone() {
        give(&mut bench, Tcp::new(From::Client, 0, 0, b"").without_ack().syn().port(port));
        give(&mut bench, Tcp::new(From::Client, 1, 1, &first).port(port));
        if port % 2 == 0 {
            let hole = next + u32::try_from(query.len()).unwrap() + 100;
            for index in 0..10 {
                give(&mut bench, Tcp::new(From::Client, hole + index * 1_400, 1, &filler).port(port));
            }
        } else {
            give(&mut bench, Tcp::new(From::Client, next, 1, sent).port(port));
        }
    }
    for port in ports.clone().filter(|port| port % 2 == 1) {
        let seq = next + u32::try_from(sent.len()).unwrap();
        give(&mut bench, Tcp::new(From::Client, seq, 1, rest).port(port));
        let seq = next + u32::try_from(query.len()).unwrap();
        give(&mut bench, Tcp::new(From::Client, seq, 1, &message(b'Q', b"SELECT 2\0")).port(port));
    }
    let output = bench.finish();
    contract::check(&output, "much is held");
    let said = |what: &dyn Fn(&Value) -> bool| output.values().iter().filter(|line| what(line)).count();
    // The messages were written as far as they were kept, none was skipped, and later messages are there.
    assert_eq!(said(&|line| line["type"] == "Query" && line["len"] == 13), ports.len() / 2);
    assert_eq!(said(&|line| line["type"] == "Query" && line["len"] != 13), ports.len() / 2);
    let truncated = said(&|line| line["type"] == "Query" && line["flags"][0] == "truncated");
    assert!(truncated > 0 && truncated < ports.len() / 2, "{truncated}");
    assert_eq!(said(&|line| line["detail"] == "more is held than --max-held"), truncated);
    assert!(said(&|line| line["detail"] == "the limit on data held after them was reached") > 0);
}

#[test]
fn connections_that_have_hardly_begun_are_among_what_has_a_limit() {
    const MAX_HELD: usize = 1 << 20;
    let mut bench = Bench::new(Config { max_held: MAX_HELD, ..captures::config() });
    // The beginning of a ClientHello with a large length.
    let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    hello.resize(1_400, 0);
    for port in 1_000..2_000_u16 {
        bench.packet(&Tcp::new(From::Client, 0, 0, b"").without_ack().syn().port(port).at(port.into()).borrow());
        bench.packet(&Tcp::new(From::Client, 1, 1, &hello).port(port).at(port.into()).borrow());
        assert!(bench.counters().held_bytes <= MAX_HELD as u64 + 2_048);
    }
    let output = bench.finish();
    contract::check(&output, "openings");
    let limited = output.values().iter().filter(|line| line["reason"] == "limit").count();
    assert!(limited > 300, "{limited}");
    assert_eq!(output.values().len(), 1_000, "each is said once");
}

#[test]
fn resets_and_fins_with_other_numbers_do_not_end_a_connection() {
    let reply = message(b'Z', b"I");
    let query = message(b'Q', b"SELECT 1\0");
    let seq = 1 + u32::try_from(startup().len()).unwrap();
    let mut packets = opened(&startup());
    packets.push(Tcp::new(From::Server, 1 << 31, 1, b"").rst().at(3));
    packets.push(Tcp::new(From::Client, 5 + (1 << 31), 1, b"").fin().at(4));
    packets.push(Tcp::new(From::Client, 0_u32.wrapping_sub(9), 1, b"").fin().at(5));
    packets.push(Tcp::new(From::Server, 1, seq, &reply).at(6));
    packets.push(Tcp::new(From::Client, seq, 7, &query).at(7));
    let output = captures::dissect_packets(&packets, captures::everything());
    let types: Vec<_> = output.messages().iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["StartupMessage", "ReadyForQuery", "Query"]);
    contract::check(&output, "odd numbers");
}

#[test]
fn time_that_goes_backwards_or_stands_at_its_ends_is_borne() {
    let mut bench = Bench::new(captures::everything());
    for (index, packet) in opened(&startup()).iter().enumerate() {
        let mut packet = packet.clone();
        packet.ts = [time(0), pgdissect::Timestamp::new(i64::MIN, 0, Default::default()), time(5)][index];
        bench.packet(&packet.borrow());
    }
    bench.tick(pgdissect::Timestamp::new(i64::MAX, 0, Default::default()));
    let output = bench.finish();
    assert_eq!(output.messages().len(), 1);
    contract::check(&output, "odd times");
}

#[test]
fn what_may_hold_a_secret_is_not_written_where_it_cannot_be_decoded() {
    let secret = b"hunter2hunter2";
    let hex = "68756e74657232";
    let password = |kind: u32| message(b'R', &kind.to_be_bytes());
    let with_more = [&secret[..], b"\0\0"].concat();
    let alter = b"ALTER ROLE u PASSWORD 'hunter2hunter2'\0behind the end".to_vec();
    let parse = b"\0ALTER ROLE u PASSWORD 'hunter2hunter2'\0\0\xff".to_vec();
    let cancel = [b"\0\0\x01\x40\x04\xd2\x16\x2e\0\0\0\x01", &secret.repeat(22)[..308]].concat();
    type Case = (&'static str, Vec<u8>, Vec<(From, Vec<u8>)>);
    let cases: Vec<Case> = vec![
        (
            "a password with more behind it",
            startup(),
            vec![(From::Server, password(3)), (From::Client, message(b'p', &with_more))],
        ),
        (
            "a password without its end",
            startup(),
            vec![(From::Server, password(3)), (From::Client, message(b'p', secret))],
        ),
        (
            "a SASL answer of a wrong length",
            startup(),
            vec![
                (From::Server, message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")),
                (From::Client, message(b'p', &[b"SCRAM-SHA-256\0\0\0\xff\xff", &secret[..]].concat())),
            ],
        ),
        (
            "a key that is too long",
            startup(),
            vec![(From::Server, message(b'K', &[&[0; 4], &secret.repeat(22)[..]].concat()))],
        ),
        ("a cancel key that is too long", cancel, vec![]),
        (
            "a query with more behind it",
            startup(),
            vec![(From::Server, message(b'R', &[0; 4])), (From::Client, message(b'Q', &alter))],
        ),
        (
            "a statement with half a list behind it",
            startup(),
            vec![(From::Server, message(b'R', &[0; 4])), (From::Client, message(b'P', &parse))],
        ),
    ];
    for (what, first, writes) in cases {
        let mut packets = opened(&first);
        let mut next = [1 + u32::try_from(first.len()).unwrap(), 1];
        for (from, bytes) in writes {
            packets.push(Tcp::new(from, next[from.index()], next[from.peer().index()], &bytes).at(3));
            next[from.index()] += u32::try_from(bytes.len()).unwrap();
        }
        let output = captures::dissect_packets(&packets, captures::everything());
        let text = output.lines.join("\n");
        assert!(text.contains("\"error\""), "{what} cannot be decoded: {text}");
        assert!(!text.contains("hunter2") && !text.contains(hex), "{what} is written: {text}");
        contract::check(&output, what);
    }
}
