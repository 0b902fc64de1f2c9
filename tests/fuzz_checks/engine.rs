//! A capture file of any bytes, through everything: it ends, the lines keep the contract, and the counters agree.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pgdissect::internals::json;
use pgdissect::message::Decoded;
use pgdissect::output::Form as _;
use pgdissect::record::{MessageRun, StatsRecord};
use pgdissect::{Config, Dissector, Event, FileSource, Record, Records, Redaction, Sink, Source, record};

use super::{every_way, lines};

/// More packets than any file of the sizes that are tried here may have, but for one that is compressed.
const PACKETS: u64 = 20_000;

/// What the lines told.
#[derive(Default)]
struct MessageEvent {
    /// The last message of each connection.
    last_seq: HashMap<u64, u64>,
    losses: u64,
    /// Writes them in its own way, which must give the same.
    writer: json::LineWriter,
}

impl MessageEvent {
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

impl Sink for MessageEvent {
    fn record(&mut self, record: &Record<'_>) {
        self.line(record);
    }

    fn message<'a>(&mut self, event: &record::MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) -> u64 {
        let (mut fast, mut derived) = (Vec::new(), Vec::new());
        let said = self.writer.message(&mut fast, event, &mut decoded.clone()).expect("a vector can be written to");
        let is_new = decoded.is_none();
        let decoded = decoded.get_or_insert_with(|| event.decode());
        let record = Record::Message(event.record(decoded));
        json::write_line(&mut derived, &record).expect("a vector can be written to");
        assert_eq!(String::from_utf8_lossy(&fast), String::from_utf8_lossy(&derived));
        self.line(&record);
        assert_eq!(said, u64::from(is_new && decoded.is_err()));
        said
    }

    fn data(&mut self, data: &MessageRun<'_>) -> u64 {
        let (mut fast, mut one_by_one, mut undecoded) = (Vec::new(), Vec::new(), 0);
        let said = self.writer.data(&mut fast, data).expect("a vector can be written to");
        data.for_each(|event| {
            let mut decoded = event.decode();
            json::write_line(&mut one_by_one, &Record::Message(event.record(&mut decoded))).expect("as before");
            undecoded += self.message(event, &mut None);
        });
        assert_eq!(String::from_utf8_lossy(&fast), String::from_utf8_lossy(&one_by_one));
        assert_eq!(said, undecoded);
        said
    }
}

/// The same, as arguments of the command; memory is not limited, for the long way needs more of it.
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
        "message,query,session,loss,stats",
    ];
    every_way::check(file, &[all, redact].concat());
}

/// One byte for the settings, then the file.
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
        records: Records { messages: true, queries: !bit(5), sessions: !bit(6) },
        ..Config::default()
    });
    let mut event = MessageEvent::default();
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
