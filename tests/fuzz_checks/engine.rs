//! Arbitrary bytes as a capture file, through the whole engine: it terminates, the lines keep the contract, and the counters
//! agree.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pgdissect::internals::json;
use pgdissect::message::Decoded;
use pgdissect::output::Form as _;
use pgdissect::record::{MessageEvent, MessageRun, StatsRecord};
use pgdissect::{Config, Dissector, Event, FileSource, Record, Records, Redaction, Sink, Source};

use super::{every_way, lines};

/// More packets than any uncompressed file of the sizes tried here can have.
const PACKETS: u64 = 20_000;

/// The state of the checked lines.
#[derive(Default)]
struct Checked {
    /// The last message of each connection.
    last_seq: HashMap<u64, u64>,
    losses: u64,
    /// A second writer, whose lines must be the same.
    writer: json::LineWriter,
}

impl Checked {
    fn line(&mut self, record: &Record<'_>) {
        let value = lines::check(record);
        let conn = value["conn"].as_u64().expect("every line has its connection");
        let seq = self.last_seq.entry(conn).or_default();
        if value["event"] == "message" {
            *seq += 1;
            assert_eq!(value["seq"], *seq, "messages are counted: {value}");
        }
        self.losses += u64::from(value["event"] == "loss");
    }
}

impl Sink for Checked {
    fn record(&mut self, record: &Record<'_>) {
        self.line(record);
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        let (mut fast, mut derived, undecoded) = (Vec::new(), Vec::new(), Cell::new(0));
        let event_of_fast = event.counting_in(&undecoded);
        self.writer.message(&mut fast, &event_of_fast, &mut decoded.clone()).expect("a vector can be written to");
        let before = event.undecoded.get();
        let record = Record::Message(event.to_record(decoded));
        json::write_line(&mut derived, &record).expect("a vector can be written to");
        assert_eq!(String::from_utf8_lossy(&fast), String::from_utf8_lossy(&derived));
        self.line(&record);
        assert_eq!(before + undecoded.get(), event.undecoded.get());
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        let (mut fast, mut one_by_one, undecoded) = (Vec::new(), Vec::new(), Cell::new(0));
        self.writer.data(&mut fast, &run.counting_in(&undecoded)).expect("a vector can be written to");
        let before = run.first.undecoded.get();
        run.for_each(|event| {
            let elsewhere = Cell::new(0);
            let apart = event.counting_in(&elsewhere);
            json::write_line(&mut one_by_one, &Record::Message(apart.to_record(&mut None))).expect("as before");
            self.message(event, &mut None);
        });
        assert_eq!(String::from_utf8_lossy(&fast), String::from_utf8_lossy(&one_by_one));
        assert_eq!(before + undecoded.get(), run.first.undecoded.get());
    }
}

/// The same settings as arguments of the command. Memory is not limited, because the general paths need more of it.
fn in_every_way(settings: u8, file: &[u8]) {
    let bit = |bit: u8| settings >> bit & 1 == 1;
    let redact: &[&str] = match (bit(3), bit(7)) {
        (true, _) => &["--show-secrets"],
        (false, true) => &["--redact", "values"],
        (false, false) => &[],
    };
    let all: &[&str] = &[
        "-p",
        if bit(0) { "auto" } else { "5432,5415,5416" },
        "--max-message",
        if bit(1) { "24" } else { "1M" },
        "--max-early",
        if bit(2) { "300" } else { "1M" },
        "-e",
        // Changes of rows are only dissected together where messages have no lines.
        if bit(6) { "change,transaction,query,loss,stats" } else { "message,query,session,loss,stats" },
    ];
    every_way::check(file, &[all, redact].concat());
}

/// The input is one byte for the settings, then the file.
pub(crate) fn check(data: &[u8]) {
    let [settings, file @ ..] = data else { return };
    let bit = |bit: u8| settings >> bit & 1 == 1;
    let mut dissector = Dissector::new(Config {
        ports: if bit(0) { None } else { Some(vec![5432, 5415, 5416]) },
        max_message: if bit(1) { 24 } else { 1 << 20 },
        max_early: if bit(2) { 300 } else { 1 << 20 },
        redaction: match (bit(3), bit(7)) {
            (true, _) => Redaction::Nothing,
            (false, true) => Redaction::Values,
            (false, false) => Redaction::Secrets,
        },
        max_remembered: if bit(4) { 2_000 } else { 1 << 20 },
        records: Records { messages: true, queries: !bit(5), sessions: !bit(6), changes: !bit(5), streams: !bit(5) },
        ..Config::default()
    });
    let mut event = Checked::default();
    let mut source = FileSource::from_reader("fuzzed", Cursor::new(file.to_vec()), Arc::new(AtomicBool::new(false)));
    let mut errors = 0;
    let mut packets = 0;
    loop {
        match source.next_event() {
            Ok(Event::Packet(packet)) => {
                packets += 1;
                dissector.packet(&packet, &mut event);
            }
            Ok(Event::KeyLog(_)) => {}
            Ok(Event::Idle) => panic!("there is nothing to wait for"),
            Ok(Event::End) => break,
            Err(error) => {
                errors += 1;
                assert!(!error.to_string().chars().any(char::is_control), "{error}");
                assert!(errors <= file.len() + 1 || packets > 0, "it does not end");
            }
        }
        if packets >= PACKETS {
            break;
        }
    }
    dissector.finish(&mut event);

    let counters = dissector.counters();
    assert_eq!(counters.packets, packets);
    assert_eq!(counters.losses, event.losses, "every loss has its line");
    assert_eq!(counters.messages, event.last_seq.values().sum::<u64>(), "every message has its line");
    assert_eq!(counters.connections, event.last_seq.len() as u64, "every connection has a line");
    assert_eq!((counters.held_bytes, counters.open_connections), (0, 0), "nothing is left");
    if packets < PACKETS {
        in_every_way(*settings, file);
    }
    let ts = None;
    lines::check(&Record::Stats(StatsRecord { ts, counters, kernel: None }));
}
