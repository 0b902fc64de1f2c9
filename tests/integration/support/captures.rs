//! The captures under `testdata`, and what the library makes of packets.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pgdissect::internals::json;
use pgdissect::message::Decoded;
use pgdissect::output::Form as _;
use pgdissect::record::{Counters, MessageEvent, MessageRun};
use pgdissect::{
    Config, Dissector, Event, FileSource, KeyLogLines, Keys, LinkType, Packet, Record, Records, Sink, Source, Timestamp,
};
use serde_json::Value;

/// The ports of the servers in the captures.
pub(crate) const PORTS: [u16; 4] = [5415, 5432, 5416, 6432];

/// What was made of some packets.
pub(crate) struct Output {
    pub(crate) lines: Vec<String>,
    pub(crate) counters: Counters,
}

impl Output {
    pub(crate) fn values(&self) -> Vec<Value> {
        self.lines.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// The lines of messages, in order.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.values().into_iter().filter(|line| line["event"] == "message").collect()
    }
}

/// An engine, with the lines that it has written.
pub(crate) struct Bench {
    dissector: Dissector,
    lines: Vec<String>,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_keys(config, &Keys::default())
    }

    pub(crate) fn with_keys(config: Config, keys: &Keys) -> Self {
        Self { dissector: Dissector::with_keys(config, keys.clone()), lines: Vec::new() }
    }

    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        let lines = &mut self.lines;
        self.dissector.packet(packet, &mut Written(lines));
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        let lines = &mut self.lines;
        self.dissector.tick(now, &mut Written(lines));
    }

    pub(crate) fn counters(&self) -> Counters {
        self.dissector.counters()
    }

    pub(crate) fn finish(mut self) -> Output {
        let lines = &mut self.lines;
        self.dissector.finish(&mut Written(lines));
        Output { counters: self.dissector.counters(), lines: self.lines }
    }
}

/// Keeps lines, and sees to it that each way to write them gives the same.
struct Written<'a>(&'a mut Vec<String>);

impl Sink for Written<'_> {
    fn record(&mut self, record: &Record<'_>) {
        self.0.push(line(record));
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) -> u64 {
        let mut fast = Vec::new();
        let write = |writer: &mut json::LineWriter| writer.message(&mut fast, event, &mut decoded.clone());
        let said = WRITER.with_borrow_mut(write).expect("a vector can be written to");
        let is_new = decoded.is_none();
        let decoded = decoded.get_or_insert_with(|| event.decode());
        self.record(&Record::Message(event.record(decoded)));
        assert_eq!(String::from_utf8_lossy(&fast).strip_suffix('\n'), self.0.last().map(String::as_str));
        assert_eq!(said, u64::from(is_new && decoded.is_err()));
        said
    }

    fn data(&mut self, data: &MessageRun<'_>) -> u64 {
        let mut fast = Vec::new();
        let said = WRITER.with_borrow_mut(|writer| writer.data(&mut fast, data)).expect("a vector can be written to");
        let (mut undecoded, before) = (0, self.0.len());
        data.for_each(|event| undecoded += self.message(event, &mut None));
        let lines = self.0.get(before..).unwrap_or_default();
        assert_eq!(lines.len() as u64, data.count);
        assert_eq!(String::from_utf8_lossy(&fast), lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        assert_eq!(said, undecoded);
        said
    }
}

thread_local! {
    /// One for all that a test looks at, so that what it keeps is of other lines, captures and settings.
    static WRITER: RefCell<json::LineWriter> = RefCell::default();
}

/// A record as it is written, without the line feed behind it.
pub(crate) fn line(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    json::write_line(&mut out, record).expect("a vector can be written to");
    let mut fast = Vec::new();
    WRITER.with_borrow_mut(|writer| writer.record(&mut fast, record).expect("a vector can be written to"));
    assert_eq!(fast, out, "both ways to write a line give the same");
    assert_eq!(out.pop(), Some(b'\n'), "a line ends with a line feed");
    String::from_utf8(out).expect("a line is UTF-8")
}

/// The settings that the captures are read with.
pub(crate) fn config() -> Config {
    Config { ports: Some(PORTS.to_vec()), ..Config::default() }
}

/// The same, with every kind of line.
pub(crate) fn everything() -> Config {
    Config { records: Records::ALL, ..config() }
}

/// A packet that is kept.
#[derive(Clone, Debug)]
pub(crate) struct OwnedPacket {
    pub(crate) ts: Timestamp,
    pub(crate) link: LinkType,
    pub(crate) data: Vec<u8>,
    pub(crate) orig_len: u32,
}

impl OwnedPacket {
    pub(crate) fn borrow(&self) -> Packet<'_> {
        Packet { ts: self.ts, link: self.link, data: &self.data, orig_len: self.orig_len }
    }
}

/// The packets of capture files, one after the other, and what was said of damage.
pub(crate) fn packets(paths: &[PathBuf]) -> (Vec<OwnedPacket>, Vec<String>) {
    let mut source = FileSource::new(paths.to_vec(), Arc::new(AtomicBool::new(false)));
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    loop {
        match source.next_event() {
            Ok(Event::Packet(packet)) => packets.push(OwnedPacket {
                ts: packet.ts,
                link: packet.link,
                data: packet.data.to_vec(),
                orig_len: packet.orig_len,
            }),
            Ok(Event::KeyLog(_) | Event::Idle) => {}
            Ok(Event::End) => return (packets, errors),
            Err(error) => errors.push(error.to_string()),
        }
    }
}

/// What the library makes of packets.
pub(crate) fn dissect_packets<'a>(
    packets: impl IntoIterator<Item = &'a OwnedPacket, IntoIter: Clone>,
    config: Config,
) -> Output {
    decrypt_packets(packets, &Keys::default(), config)
}

/// What the library makes of packets, with the keys of TLS sessions in them; the same by the short ways and by the long ones.
pub(crate) fn decrypt_packets<'a>(
    packets: impl IntoIterator<Item = &'a OwnedPacket, IntoIter: Clone>,
    keys: &Keys,
    config: Config,
) -> Output {
    let packets = packets.into_iter();
    let run = |config: Config| {
        let mut bench = Bench::with_keys(config, keys);
        for packet in packets.clone() {
            bench.packet(&packet.borrow());
        }
        bench.finish()
    };
    let output = run(config.clone());
    // The long ways need more memory to remember the same: where it is limited, they may forget more.
    if config.max_remembered >= Config::default().max_remembered && config.max_held >= 1 << 20 {
        let plain = run(Config { fast_paths: false, ..config });
        assert_eq!(plain.lines.len(), output.lines.len(), "by the long ways");
        for (plain, line) in plain.lines.iter().zip(&output.lines) {
            assert_eq!(plain, line, "by the long ways");
        }
        let counters = |output: &Output| Counters { remembered_bytes: 0, ..output.counters.clone() };
        assert_eq!(counters(&plain), counters(&output), "by the long ways");
    }
    output
}

/// The key log beside a capture under `testdata`; no keys where there is none.
pub(crate) fn keys_of(name: &str) -> Keys {
    let keys = Keys::default();
    if let Ok(log) = std::fs::read(testdata().join(name).with_file_name("keys.log")) {
        KeyLogLines::default().push(&log, &keys);
        assert_eq!(keys.counts().bad_lines, 0);
    }
    keys
}

/// What the library makes of capture files.
pub(crate) fn dissect(paths: &[PathBuf]) -> Output {
    dissect_packets(&packets(paths).0, config())
}

/// What the library makes of one capture under `testdata`.
pub(crate) fn dissect_one(name: &str) -> Output {
    dissect(&[testdata().join(name)])
}

/// The folder of the captures.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// The names of all captures, relative to the folder; without the one of many statements, which only `agree` reads.
pub(crate) fn all() -> Vec<String> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(testdata()).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() || folder.ends_with("mixed-10000") {
            continue;
        }
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().path().strip_prefix(testdata()).unwrap().to_str().unwrap().to_owned();
            if [".pcap", ".pcapng", ".pcap.gz", ".pcap.zst"].iter().any(|end| name.ends_with(end)) {
                found.push(name);
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "the captures were not found");
    found
}
