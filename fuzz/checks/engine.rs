//! A capture file of any bytes, through everything: it ends, the lines keep the contract, and the counters agree.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pgdissect::capture::file::FileSource;
use pgdissect::capture::{Event, Source};
use pgdissect::dissector::{Config, Dissector, Records};
use pgdissect::record::{Record, StatsRecord};
use pgdissect::redaction::Redaction;

use super::lines;

/// More packets than any file of the sizes that are tried here may have, but for one that is compressed.
const PACKETS: u64 = 20_000;

/// What the lines told.
#[derive(Default)]
struct Told {
    /// The last message of each connection.
    last_seq: HashMap<u64, u64>,
    losses: u64,
}

impl Told {
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
    let mut told = Told::default();
    let mut source = FileSource::from_reader("fuzzed", Cursor::new(file.to_vec()), Arc::new(AtomicBool::new(false)));
    let mut errors = 0;
    let mut packets = 0;
    loop {
        match source.next_event() {
            Ok(Event::Packet(packet)) => {
                packets += 1;
                dissector.packet(&packet, &mut |record: &Record<'_>| told.line(record));
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
    dissector.finish(&mut |record: &Record<'_>| told.line(record));

    let counters = dissector.counters();
    assert_eq!(counters.packets, packets);
    assert_eq!(counters.losses, told.losses, "every loss has its line");
    assert_eq!(counters.messages, told.last_seq.values().sum::<u64>(), "every message has its line");
    assert_eq!(counters.connections, told.last_seq.len() as u64, "every connection has a line");
    assert_eq!((counters.held_bytes, counters.open_connections), (0, 0), "nothing is left");
    let ts = None;
    lines::check(&Record::Stats(StatsRecord { ts, counters, kernel: None }));
}
