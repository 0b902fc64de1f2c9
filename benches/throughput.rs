//! How fast packets become lines: bytes of capture and messages a second, on two captures made in memory.
//!
//! `cargo bench` runs all; `cargo bench -- oltp` one. Compare ratios of one run: machines differ, and drift.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;

use divan::counter::{BytesCount, ItemsCount};
use etherparse::PacketBuilder;
use pgdissect::dissector::{Config, Dissector, Records};
use pgdissect::output::json::LineWriter;
use pgdissect::packet::{LinkType, Packet};
use pgdissect::record::Record;
use pgdissect::time::{Precision, Timestamp};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Records that go nowhere: reassembly, framing, decoding and sessions alone.
#[divan::bench(args = [Traffic::Oltp, Traffic::Bulk], sample_count = 20)]
fn dissect(bencher: divan::Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    bencher.counter(capture.bytes).counter(capture.messages()).bench(|| {
        capture.dissect(|record| {
            black_box(record);
        })
    });
}

/// Records to JSON lines in memory: all but the reading and writing of files.
#[divan::bench(args = [Traffic::Oltp, Traffic::Bulk], sample_count = 20)]
fn dissect_to_json(bencher: divan::Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let mut lines = Vec::new();
    bencher.counter(capture.bytes).counter(capture.messages()).bench_local(|| {
        lines.clear();
        let mut writer = LineWriter::default();
        capture.dissect(|record| writer.write(&mut lines, record).unwrap());
        black_box(&lines);
    });
}

/// Executed requests alone: no message has a record.
#[divan::bench(args = [Traffic::Oltp, Traffic::Bulk], sample_count = 20)]
fn dissect_queries(bencher: divan::Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let records = Records { messages: false, queries: true, sessions: false };
    bencher.counter(capture.bytes).counter(capture.messages()).bench(|| {
        capture.dissect_to(records, |record| {
            black_box(record);
        })
    });
}

/// What a capture is full of.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// Short transactions by prepared statements.
    Oltp,
    /// One large result.
    Bulk,
}

impl Traffic {
    fn capture(self) -> Capture {
        match self {
            Self::Oltp => Capture::oltp(),
            Self::Bulk => Capture::bulk(),
        }
    }
}

/// A capture in memory: one connection over Ethernet.
struct Capture {
    frames: Vec<Vec<u8>>,
    bytes: BytesCount,
    seq: [u32; 2],
}

const FRONTEND: usize = 0;
const BACKEND: usize = 1;

/// What an Ethernet frame leaves for TCP, with its usual options.
const SEGMENT: usize = 1448;

impl Capture {
    fn new() -> Self {
        let mut capture = Self { frames: Vec::new(), bytes: BytesCount::new(0_usize), seq: [1, 1] };
        let mut startup = b"\0\x03\0\0user\0app\0database\0shop\0\0".to_vec();
        startup.splice(0..0, (startup.len() as u32 + 4).to_be_bytes());
        capture.send(FRONTEND, &startup);
        capture.send(BACKEND, &[message(b'R', &[0; 4]), message(b'Z', b"I")].concat());
        capture
    }

    /// Short transactions by prepared statements, as pgbench -S -M prepared makes them.
    fn oltp() -> Self {
        let mut capture = Self::new();
        let row = [b"\0\x01\0\0\0\x03".as_slice(), b"-42"].concat();
        for number in 0..20_000 {
            let parameter = format!("{}", 1_000_000 + number);
            let mut bind = b"\0P_0\0\0\0\0\x01\0\0\0\x07".to_vec();
            bind.extend_from_slice(parameter.as_bytes());
            bind.extend_from_slice(b"\0\0");
            let execute = message(b'E', b"\0\0\0\0\0");
            capture.send(FRONTEND, &[message(b'B', &bind), execute, message(b'S', b"")].concat());
            let reply =
                [message(b'2', b""), message(b'D', &row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
            capture.send(BACKEND, &reply);
        }
        capture.finish()
    }

    /// One large result, cut into full segments without regard to messages.
    fn bulk() -> Self {
        let mut capture = Self::new();
        capture.send(FRONTEND, &message(b'Q', b"SELECT * FROM pgbench_accounts\0"));
        let mut result = Vec::new();
        for number in 0..100_000 {
            let mut row = b"\0\x04".to_vec();
            for value in [format!("{number}"), "1".to_owned(), "0".to_owned(), " ".repeat(84)] {
                row.extend_from_slice(&(value.len() as u32).to_be_bytes());
                row.extend_from_slice(value.as_bytes());
            }
            result.extend_from_slice(&message(b'D', &row));
        }
        result.extend_from_slice(&[message(b'C', b"SELECT 100000\0"), message(b'Z', b"I")].concat());
        capture.send(BACKEND, &result);
        capture.finish()
    }

    fn send(&mut self, from: usize, bytes: &[u8]) {
        for payload in bytes.chunks(SEGMENT) {
            let ends = [([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 5432)];
            let (source, destination) = (ends[from], ends[1 - from]);
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4(source.0, destination.0, 64)
                .tcp(source.1, destination.1, self.seq[from], 65_535)
                .ack(self.seq[1 - from]);
            let mut frame = Vec::new();
            builder.write(&mut frame, payload).unwrap();
            self.frames.push(frame);
            self.seq[from] = self.seq[from].wrapping_add(payload.len() as u32);
        }
    }

    fn finish(mut self) -> Self {
        self.bytes = BytesCount::new(self.frames.iter().map(Vec::len).sum::<usize>());
        self
    }

    fn messages(&self) -> ItemsCount {
        let mut messages = 0_usize;
        self.dissect(|_| messages += 1);
        ItemsCount::new(messages)
    }

    fn dissect(&self, sink: impl FnMut(&Record<'_>)) {
        self.dissect_to(Records::default(), sink);
    }

    fn dissect_to(&self, records: Records, mut sink: impl FnMut(&Record<'_>)) {
        let mut dissector = Dissector::new(Config { records, ..Config::default() });
        for (frame, micros) in self.frames.iter().zip(0..) {
            let packet = Packet {
                ts: Timestamp::new(1_700_000_000, micros * 1_000, Precision::Micros),
                link: LinkType::ETHERNET,
                data: frame,
                orig_len: frame.len() as u32,
            };
            dissector.packet(&packet, &mut sink);
        }
        dissector.finish(&mut sink);
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}
