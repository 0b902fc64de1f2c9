//! The engine's peak memory for traffic that would use all memory without limits.
//!
//! `cargo bench --bench memory` runs all kinds of traffic, each in a process of its own, and measures the peak that Linux reports
//! as VmHWM; `cargo bench --bench memory -- floods` runs those whose names contain the word. Packets are generated one by one and
//! not stored, and lines are discarded, so that only the engine is measured. Results above their limit are marked, and make the
//! benchmark fail.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::process::{Command, ExitCode};
use std::sync::Arc;

use pgdissect::internals::stats::{Context, Limits, Statistics};
use pgdissect::output::Form as _;
use pgdissect::record::Counters;
use pgdissect::{Config, Dissector, LineWriter, Packet, Record, Records, StatsRecord};

mod made;

use made::End::{Client, Server};
use made::{ACK, Connection, SYN, message, row};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The limit for any traffic.
const LIMIT: u64 = 512 * MIB;

/// The limit for a live connection.
const LIMIT_OF_CONNECTION: u64 = 10 * KIB;

/// A kind of traffic.
struct Traffic {
    name: &'static str,
    make: fn(&mut Tap),
    /// The number of connections that share the limit, if it applies to each connection.
    live: Option<u64>,
    /// The limit if there is a summary, but no lines.
    summarized: Option<u64>,
}

const TRAFFIC: &[Traffic] = &[
    Traffic {
        name: "1,000,000 connections, one after the other",
        make: one_after_the_other,
        live: None,
        summarized: None,
    },
    Traffic { name: "10,000 live connections that talk now and then", make: live, live: Some(LIVE), summarized: None },
    Traffic { name: "floods: 2,000,000 SYNs", make: syns, live: None, summarized: None },
    Traffic { name: "floods: 1,000,000 connections that never end", make: never_ending, live: None, summarized: None },
    Traffic {
        name: "floods: 2,000,000 fragments of packets never whole",
        make: fragments,
        live: None,
        summarized: None,
    },
    Traffic { name: "early: 128 connections, segments of 16 KiB", make: early, live: None, summarized: None },
    Traffic { name: "early: 128 connections, segments of one byte", make: early_bytes, live: None, summarized: None },
    Traffic {
        name: "early: 1 connection, each segment one byte longer",
        make: early_overlapping,
        live: None,
        summarized: None,
    },
    Traffic {
        name: "messages: 128 connections, each in one of 16 MiB",
        make: large_messages,
        live: None,
        summarized: None,
    },
    Traffic {
        name: "messages: 8,000 connections, each in one of 256 KiB",
        make: many_large_messages,
        live: None,
        summarized: None,
    },
    Traffic { name: "messages: one of 1 GB", make: huge_message, live: None, summarized: None },
    Traffic { name: "copies: 128 connections, each in a row of 16 MiB", make: copies, live: None, summarized: None },
    Traffic {
        name: "beginnings: 50,000 connections, half a ClientHello each",
        make: openings,
        live: None,
        summarized: None,
    },
    Traffic { name: "beginnings: 20,000 connections, none of a message", make: searches, live: None, summarized: None },
    Traffic {
        name: "requests: 1,000 connections, 20,000 never answered",
        make: unanswered,
        live: None,
        summarized: None,
    },
    Traffic {
        name: "requests: 100 connections, 20,000 statements each",
        make: statements,
        live: None,
        summarized: None,
    },
    Traffic {
        name: "summary: 100,000 sessions, 1,000,000 statements",
        make: statements_once,
        live: None,
        summarized: Some(256 * MIB),
    },
];

const LIVE: u64 = 10_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &args[..]
        && flag == "--of"
    {
        let traffic = TRAFFIC.iter().find(|traffic| traffic.name == name).unwrap();
        let records = traffic.summarized.map_or_else(Records::default, |_| Records { messages: false, ..Records::ALL });
        let limits = Limits { top: 10, statement_bytes: 64 << 20 };
        let mut tap = Tap::new(Engine {
            dissector: Dissector::new(Config { records, ..Config::default() }),
            writer: LineWriter::default(),
            line: Vec::new(),
            statistics: traffic.summarized.map(|_| Statistics::new(limits, Arc::default())),
        });
        let before = memory("VmRSS:");
        (traffic.make)(&mut tap);
        if let Some(statistics) = &mut tap.to.statistics {
            let stats = StatsRecord { counters: tap.to.dissector.counters(), ..StatsRecord::default() };
            let summary = statistics.summary(&Context { stats, ..Context::default() }, None);
            assert_eq!(summary.totals.requests, 1_000_000);
        }
        let Counters { packets, held_bytes, .. } = tap.to.dissector.counters();
        println!("{packets} {held_bytes} {} {}", memory("VmHWM:") - before, memory("VmHWM:"));
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` runs benchmarks as well, without this argument.
    if !args.iter().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let wanted = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
    let wanted: Vec<_> = TRAFFIC.iter().filter(|traffic| traffic.name.contains(wanted)).collect();
    if wanted.is_empty() {
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    println!("{:<56} {:>12} {:>12} {:>12} {:>12}", "traffic", "packets", "held at end", "peak", "limit");
    for traffic in wanted {
        let own = std::env::current_exe().unwrap();
        let output = Command::new(own).args(["--of", traffic.name]).output().unwrap();
        let figures = String::from_utf8(output.stdout).unwrap();
        let figures: Vec<u64> = figures.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
        let [packets, held, grown, peak] = figures[..] else {
            println!("{:<56} failed: {}", traffic.name, output.status);
            code = ExitCode::FAILURE;
            continue;
        };
        let mut row = |name: &str, figure: u64, limit: u64, shown: fn(u64) -> String| {
            let mark = if figure > limit { " OVER" } else { "" };
            if figure > limit {
                code = ExitCode::FAILURE;
            }
            let (held, figure, limit) = (mib(held), shown(figure), shown(limit));
            println!("{name:<56} {packets:>12} {held:>12} {figure:>12} {limit:>12}{mark}");
        };
        row(traffic.name, peak, traffic.summarized.unwrap_or(LIMIT), mib);
        if let Some(connections) = traffic.live {
            row("  … for each of them", grown / connections, LIMIT_OF_CONNECTION, kib);
        }
    }
    code
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / KIB as f64)
}

/// Returns a memory value of this process in bytes.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * KIB
}

fn one_after_the_other(tap: &mut Tap) {
    for number in 0..1_000_000 {
        let mut connection = tap.open(number);
        tap.send(&mut connection, Client, &message(b'Q', b"SELECT abalance FROM pgbench_accounts WHERE aid = 1\0"));
        tap.send(&mut connection, Server, &reply());
        tap.close(&mut connection);
    }
}

fn statements_once(tap: &mut Tap) {
    for number in 0..100_000 {
        let mut connection = tap.open(number);
        for statement in 0..10 {
            let name = number * 10 + statement;
            let sql = format!("SELECT column_{name}, other_{name} FROM table_{} WHERE id = {name}\0", name % 5_000);
            tap.send(&mut connection, Client, &message(b'Q', sql.as_bytes()));
            tap.send(&mut connection, Server, &reply());
        }
        tap.close(&mut connection);
    }
}

fn live(tap: &mut Tap) {
    let mut connections: Vec<_> = (0..LIVE).map(|number| tap.open(number)).collect();
    for round in 0..30 {
        for connection in &mut connections {
            let name = format!("S_{}\0", round % 3);
            let parse =
                format!("{name}SELECT c.id, c.name FROM customers c WHERE c.region = $1 AND c.kind = {round}\0\0\0");
            let bind = format!("\0{name}\0\0\0\x01\0\0\0\x05north\0\0");
            let execute = [message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
            let parsed = if round < 3 { message(b'P', parse.as_bytes()) } else { Vec::new() };
            tap.send(connection, Client, &[parsed, message(b'B', bind.as_bytes()), execute].concat());
            let parsed = if round < 3 { message(b'1', b"") } else { Vec::new() };
            let rows: Vec<u8> = (0..20).flat_map(|_| row(&[b"a name of some length"])).collect();
            tap.send(connection, Server, &[parsed, message(b'2', b""), rows, complete()].concat());
        }
    }
}

fn syns(tap: &mut Tap) {
    for number in 0..2_000_000 {
        tap.segment(&Connection::new(number), Client, SYN, 0, b"");
    }
}

fn never_ending(tap: &mut Tap) {
    for number in 0..1_000_000 {
        tap.open(number);
    }
}

/// Generates the first fragment of each packet only.
fn fragments(tap: &mut Tap) {
    const MORE_FRAGMENTS: u16 = 0x2000;
    for number in 0..2_000_000_u64 {
        tap.frame(&Connection::new(number), Client, ACK, 0, &[b'x'; 1_460]);
        tap.frame[18..20].copy_from_slice(&(number as u16).to_be_bytes());
        tap.frame[20..22].copy_from_slice(&MORE_FRAGMENTS.to_be_bytes());
        tap.deliver();
    }
}

/// Generates segments after a hole, up to the limit for a connection.
fn early(tap: &mut Tap) {
    const SEGMENT: u32 = 16 << 10;
    let connections: Vec<_> = (0..128).map(|number| tap.open(number)).collect();
    for index in 0..8 * MIB as u32 / SEGMENT {
        for connection in &connections {
            tap.segment(connection, Client, ACK, 1_000 + index * SEGMENT, &[b'x'; SEGMENT as usize]);
        }
    }
}

fn early_bytes(tap: &mut Tap) {
    let connections: Vec<_> = (0..128).map(|number| tap.open(number)).collect();
    for index in 0..40_000 {
        for connection in &connections {
            tap.segment(connection, Client, ACK, 1_000 + index * 2, b"x");
        }
    }
}

/// Generates segments with one new byte each, which repeat all bytes before.
fn early_overlapping(tap: &mut Tap) {
    let connection = tap.open(0);
    let bytes = vec![b'x'; 65_000];
    for len in 32_500..65_000 {
        tap.segment(&connection, Client, ACK, 1_000, &bytes[..len]);
    }
}

/// Generates connections with an incomplete message of the maximum size that is kept.
fn large_messages(tap: &mut Tap) {
    in_messages(tap, 128, 16 * MIB as u32);
}

fn many_large_messages(tap: &mut Tap) {
    in_messages(tap, 8_000, 256 * KIB as u32);
}

fn in_messages(tap: &mut Tap, connections: u64, len: u32) {
    const SEGMENT: u32 = 32 << 10;
    let mut connections: Vec<_> = (0..connections).map(|number| tap.open(number)).collect();
    for connection in &mut connections {
        tap.send(connection, Client, &[&b"Q"[..], &len.to_be_bytes()].concat());
    }
    for _ in 0..len / SEGMENT - 1 {
        for connection in &mut connections {
            tap.send(connection, Client, &[b'x'; SEGMENT as usize]);
        }
    }
}

fn huge_message(tap: &mut Tap) {
    const SEGMENT: u32 = 50_000;
    let mut connection = tap.open(0);
    tap.send(&mut connection, Client, &message(b'Q', b"SELECT contents FROM files LIMIT 1\0"));
    let row = [&b"D"[..], &1_000_000_010_u32.to_be_bytes(), &[0, 1], &1_000_000_000_u32.to_be_bytes()].concat();
    tap.send(&mut connection, Server, &row);
    for _ in 0..1_000_000_000 / SEGMENT {
        tap.send(&mut connection, Server, &[b'x'; SEGMENT as usize]);
    }
    tap.send(&mut connection, Server, &complete());
}

/// Generates connections with a row of COPY data that no line terminator ends, in messages of moderate size.
fn copies(tap: &mut Tap) {
    const PIECE: usize = 32 << 10;
    let mut connections: Vec<_> = (0..128).map(|number| tap.open(number)).collect();
    for connection in &mut connections {
        tap.send(connection, Client, &message(b'Q', b"COPY files FROM STDIN\0"));
        tap.send(connection, Server, &message(b'G', &[0, 0, 1, 0, 0]));
    }
    let piece = message(b'd', &[b'x'; PIECE]);
    for _ in 0..16 * MIB as usize / PIECE {
        for connection in &mut connections {
            tap.send(connection, Client, &piece);
        }
    }
}

/// Generates connections whose protocol cannot be identified yet.
fn openings(tap: &mut Tap) {
    let mut hello = b"\x16\x03\x01\x40\0\x01\0\x3f\xfc\x03\x03".to_vec();
    hello.resize(16_000, 0);
    for number in 0..50_000 {
        let mut connection = Connection::new(number);
        tap.segment(&connection, Client, SYN, 0, b"");
        connection.next[0] += 1;
        tap.send(&mut connection, Client, &hello);
    }
}

/// Generates connections whose beginning is missing, with bytes that may be the inside of a message, or the beginning of one.
fn searches(tap: &mut Tap) {
    let row = [&b"D"[..], &60_000_u32.to_be_bytes(), &[0, 1], &59_990_u32.to_be_bytes()].concat();
    for number in 0..20_000 {
        let mut connection = Connection::new(number);
        for _ in 0..4 {
            tap.send(&mut connection, Server, &row.repeat(1_000));
        }
    }
}

fn unanswered(tap: &mut Tap) {
    let mut connections: Vec<_> = (0..1_000).map(|number| tap.open(number)).collect();
    let request =
        [message(b'B', b"\0S_1\0\0\0\0\0\0\x01\0\x01"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat();
    let requests = request.repeat(200);
    for _ in 0..20_000 / 200 {
        for connection in &mut connections {
            tap.send(connection, Client, &requests);
        }
    }
}

fn statements(tap: &mut Tap) {
    let mut connections: Vec<_> = (0..100).map(|number| tap.open(number)).collect();
    let condition = " AND c.name <> 'a name of some length'".repeat(25);
    for number in 0..20_000 {
        let parse = format!("S_{number}\0SELECT c.id FROM customers c WHERE c.id = $1{condition}\0\0\0");
        let request = [message(b'P', parse.as_bytes()), message(b'S', b"")].concat();
        for connection in &mut connections {
            tap.send(connection, Client, &request);
            tap.send(connection, Server, &[message(b'1', b""), message(b'Z', b"I")].concat());
        }
    }
}

fn complete() -> Vec<u8> {
    made::complete(1)
}

fn reply() -> Vec<u8> {
    [made::description(&[("abalance", made::INT4)]), row(&[b"-42"]), complete()].concat()
}

/// Dissects packets and discards the lines.
struct Engine {
    dissector: Dissector,
    writer: LineWriter,
    line: Vec<u8>,
    statistics: Option<Statistics>,
}

impl made::Take for Engine {
    fn take(&mut self, packet: &Packet<'_>) {
        let Self { dissector, writer, line, statistics } = self;
        let mut to_nowhere = |record: &Record<'_>| {
            if let Some(statistics) = statistics {
                return statistics.record(record);
            }
            line.clear();
            writer.record(line, record).unwrap();
        };
        dissector.packet(packet, &mut to_nowhere);
    }
}

type Tap = made::Tap<Engine>;
