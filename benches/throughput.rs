//! The speed of converting packets to lines, by layer and as a whole, and the number of allocations.
//!
//! `cargo bench --bench throughput` runs all benchmarks; `cargo bench --bench throughput -- json` those whose names contain the
//! word. Compare ratios within one run: machines differ, and vary over time. `kit` measures the command with captures of a
//! server.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use pgdissect::internals::direction::PerDirection;
use pgdissect::internals::packet;
use pgdissect::internals::packet::{Origin, Segment};
use pgdissect::internals::pg::framer::{Framer, Framing, Step};
use pgdissect::internals::pg::message::Context;
use pgdissect::internals::tcp::conversation::{Accepted, Conversation};
use pgdissect::message::Frame;
use pgdissect::output::Form as _;
use pgdissect::record::{Content, MessageRecord};
use pgdissect::{Config, Direction, Dissector, LineWriter, Message, Packet, Record, Records};

mod made;

use made::{Select, Tap};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Discards records: measures reassembly, framing, decoding and sessions.
#[divan::bench(args = Traffic::ALL, sample_count = 20)]
fn dissect(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    bencher.counter(capture.bytes()).counter(capture.messages()).bench(|| {
        capture.dissect(Records::default(), |record| {
            black_box(record);
        })
    });
}

/// Formats records as JSON lines in memory: measures everything but file I/O.
#[divan::bench(args = Traffic::ALL, sample_count = 20)]
fn dissect_to_json(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let mut lines = Vec::new();
    let mut writer = LineWriter::default();
    bencher.counter(capture.bytes()).counter(capture.messages()).bench_local(|| {
        lines.clear();
        capture.dissect(Records::default(), |record| writer.record(&mut lines, record).unwrap());
        black_box(&lines);
    });
}

/// Emits records of executed requests only, not of messages.
#[divan::bench(args = Traffic::ALL, sample_count = 20)]
fn dissect_queries(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let records = Records { queries: true, ..Records::NONE };
    bencher.counter(capture.bytes()).counter(capture.messages()).bench(|| {
        capture.dissect(records, |record| {
            black_box(record);
        })
    });
}

/// Decodes frames to segments.
#[divan::bench(args = Traffic::ALL)]
fn packets(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    bencher.counter(ItemsCount::new(capture.frames.len())).bench(|| {
        for packet in capture.packets() {
            let _ = black_box(packet::decode(&packet));
        }
    });
}

/// Reassembles segments.
#[divan::bench(args = Traffic::ALL)]
fn assembler(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    assemble(bencher, &capture.segments());
}

/// Reassembles segments of which every second one arrives before its predecessor.
#[divan::bench(args = Traffic::ALL)]
fn assembler_out_of_order(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let mut segments = capture.segments();
    let (_, data) = segments.split_at_mut(2);
    for pair in data.chunks_exact_mut(2) {
        pair.reverse();
    }
    assemble(bencher, &segments);
}

fn assemble(bencher: Bencher<'_, '_>, segments: &[(Direction, Segment<'_>, Origin)]) {
    bencher.counter(ItemsCount::new(segments.len())).bench(|| {
        let mut conversation = Conversation::new(Config::default().max_early);
        for (direction, segment, origin) in segments {
            if let Accepted::InOrder(bytes) = conversation.accept(*direction, segment, *origin) {
                black_box(bytes);
            }
            while let Some(delivery) = conversation.pop(origin.ts) {
                black_box(delivery);
            }
        }
    });
}

/// Splits bytes into frames, in the pieces of the segments.
#[divan::bench(args = Traffic::ALL)]
fn framer(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let segments = capture.segments();
    bencher.counter(capture.messages()).bench(|| {
        let mut framers = PerDirection::new(|direction| Framer::new(direction, Config::default().max_message));
        let mut framing = PerDirection { frontend: Framing::Startup, backend: Framing::Tagged };
        for (direction, segment, _) in &segments {
            let (framer, framing) = (framers.get_mut(*direction), framing.get_mut(*direction));
            let mut rest = segment.payload;
            while !rest.is_empty() {
                if let Step::Frame(frame) = framer.next(&mut rest, *framing) {
                    black_box(frame);
                    *framing = Framing::Tagged;
                }
            }
        }
    });
}

/// Decodes frames to messages.
#[divan::bench(args = Traffic::ALL)]
fn message(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let streams = Direction::BOTH.map(|direction| (direction, capture.stream(direction)));
    let mut frames = Vec::new();
    for (direction, stream) in &streams {
        let mut rest = &stream[..];
        if *direction == Direction::Frontend {
            let (len, _) = rest.split_first_chunk().unwrap();
            rest = &rest[u32::from_be_bytes(*len) as usize..];
        }
        while let Some((tag, behind)) = rest.split_first() {
            let (len, behind) = behind.split_first_chunk().unwrap();
            let len = u32::from_be_bytes(*len);
            let (body, behind) = behind.split_at(len as usize - 4);
            frames.push((*direction, Frame::whole(Some(*tag), len, body)));
            rest = behind;
        }
    }
    let context = Context::default();
    bencher.counter(ItemsCount::new(frames.len())).bench(|| {
        for (direction, frame) in &frames {
            let _ = black_box(Message::decode(*direction, frame, &context));
        }
    });
}

/// Formats one message as a line, with the data of its session.
#[divan::bench(args = ["Bind", "RowDescription", "DataRow", "CommandComplete", "ReadyForQuery"])]
fn json(bencher: Bencher<'_, '_>, name: &str) {
    let capture = Traffic::Oltp.capture();
    let mut bencher = Some(bencher);
    let (mut line, mut writer) = (Vec::new(), LineWriter::default());
    capture.dissect(Records::default(), |record| {
        // A record borrows from its packet, so it is measured where it is emitted.
        if let Record::Message(MessageRecord { content: Content::Decoded(message), query: Some(100), .. }) = record
            && message.name() == name
            && let Some(bencher) = bencher.take()
        {
            bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
                line.clear();
                writer.record(&mut line, record).unwrap();
                black_box(&line);
            });
        }
    });
    assert!(bencher.is_none(), "there is no {name}");
}

/// The kind of traffic in a capture.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// Short transactions with a prepared statement.
    Oltp,
    /// One large result.
    Bulk,
    /// The same rows with COPY.
    Copy,
}

impl Traffic {
    const ALL: [Self; 3] = [Self::Oltp, Self::Bulk, Self::Copy];

    fn capture(self) -> Capture {
        let mut frames = Vec::new();
        let mut tap = Tap::new(|packet: &Packet<'_>| frames.push(packet.data.to_vec()));
        let mut connection = tap.open(0);
        match self {
            Self::Oltp => {
                let select = Select::new();
                select.prepare(&mut tap, &mut connection);
                for aid in 0..20_000 {
                    select.execute(&mut tap, &mut connection, aid);
                }
            }
            Self::Bulk => made::accounts(&mut tap, &mut connection, 100_000),
            Self::Copy => made::copied_accounts(&mut tap, &mut connection, 100_000),
        }
        Capture { frames }
    }
}

/// A capture of one connection in memory.
struct Capture {
    frames: Vec<Vec<u8>>,
}

impl Capture {
    fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.frames.iter().zip(1..).map(|(frame, number)| made::packet(number * 10_000, frame))
    }

    fn segments(&self) -> Vec<(Direction, Segment<'_>, Origin)> {
        (1..)
            .zip(self.packets())
            .map(|(number, packet)| {
                let Ok(segment) = packet::decode(&packet) else { panic!("packet {number} has no segment") };
                let from_client = segment.destination.port == 5432;
                let direction = if from_client { Direction::Frontend } else { Direction::Backend };
                (direction, segment, Origin { packet: number, ts: packet.ts })
            })
            .collect()
    }

    /// Returns all bytes of a direction.
    fn stream(&self, direction: Direction) -> Vec<u8> {
        let segments = self.segments();
        let of_direction = segments.iter().filter(|(of, ..)| *of == direction);
        of_direction.flat_map(|(_, segment, _)| segment.payload).copied().collect()
    }

    fn bytes(&self) -> BytesCount {
        BytesCount::new(self.frames.iter().map(Vec::len).sum::<usize>())
    }

    fn messages(&self) -> ItemsCount {
        let mut messages = 0_usize;
        self.dissect(Records::default(), |_| messages += 1);
        ItemsCount::new(messages)
    }

    fn dissect(&self, records: Records, mut sink: impl FnMut(&Record<'_>)) {
        let mut dissector = Dissector::new(Config { records, ..Config::default() });
        for packet in self.packets() {
            dissector.packet(&packet, &mut sink);
        }
        dissector.finish(&mut sink);
    }
}
