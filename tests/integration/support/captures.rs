//! The captures in `testdata`, and dissection of packets by the library.

use std::cell::{Cell, RefCell};
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
pub(crate) const PORTS: [u16; 14] =
    [5415, 5432, 5416, 6432, 5440, 5441, 5514, 5515, 5518, 5525, 5526, 5534, 5535, 5538];

/// The result of dissecting packets.
pub(crate) struct Output {
    pub(crate) lines: Vec<String>,
    pub(crate) counters: Counters,
}

impl Output {
    pub(crate) fn values(&self) -> Vec<Value> {
        self.lines.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Returns the lines of messages, in order.
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

/// Stores lines, and checks that all ways to write them agree.
struct Written<'a>(&'a mut Vec<String>);

impl Sink for Written<'_> {
    fn record(&mut self, record: &Record<'_>) {
        self.0.push(line(record));
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        let (mut fast, undecoded) = (Vec::new(), Cell::new(0));
        let event_of_fast = event.counting_in(&undecoded);
        let write = |writer: &mut json::LineWriter| writer.message(&mut fast, &event_of_fast, &mut decoded.clone());
        WRITER.with_borrow_mut(write).expect("a vector can be written to");
        let before = event.undecoded.get();
        self.record(&Record::Message(event.to_record(decoded)));
        assert_eq!(String::from_utf8_lossy(&fast).strip_suffix('\n'), self.0.last().map(String::as_str));
        assert_eq!(before + undecoded.get(), event.undecoded.get());
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        let (mut fast, undecoded) = (Vec::new(), Cell::new(0));
        let run_of_fast = run.counting_in(&undecoded);
        WRITER.with_borrow_mut(|writer| writer.data(&mut fast, &run_of_fast)).expect("a vector can be written to");
        let (counted, before) = (run.first.undecoded.get(), self.0.len());
        run.for_each(|event| self.message(event, &mut None));
        let lines = self.0.get(before..).unwrap_or_default();
        assert_eq!(lines.len() as u64, run.count);
        assert_eq!(String::from_utf8_lossy(&fast), lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        assert_eq!(counted + undecoded.get(), run.first.undecoded.get());
    }
}

thread_local! {
    /// Shared by everything in a test thread, so that its state comes from other lines, captures and settings.
    static WRITER: RefCell<json::LineWriter> = RefCell::default();
}

/// Returns a record as it is written, without the line feed.
pub(crate) fn line(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    json::write_line(&mut out, record).expect("a vector can be written to");
    let mut fast = Vec::new();
    WRITER.with_borrow_mut(|writer| writer.record(&mut fast, record).expect("a vector can be written to"));
    assert_eq!(fast, out, "both ways to write a line give the same");
    assert_eq!(out.pop(), Some(b'\n'), "a line ends with a line feed");
    String::from_utf8(out).expect("a line is UTF-8")
}

/// Returns the configuration with which the captures are dissected.
pub(crate) fn config() -> Config {
    Config { ports: Some(PORTS.to_vec()), ..Config::default() }
}

/// Returns the same configuration with every kind of line.
pub(crate) fn everything() -> Config {
    Config { records: Records::ALL, ..config() }
}

/// An owned packet.
#[derive(Clone, Debug)]
pub(crate) struct OwnedPacket {
    pub(crate) ts: Timestamp,
    pub(crate) link: LinkType,
    pub(crate) data: Vec<u8>,
    pub(crate) orig_len: u32,
}

impl OwnedPacket {
    pub(crate) fn borrow(&self) -> Packet<'_> {
        Packet { ts: self.ts, link: self.link, data: &self.data, orig_len: self.orig_len, interface: 0 }
    }
}

/// Returns the packets of capture files, one after the other, and the errors about damage.
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

/// Dissects packets.
pub(crate) fn dissect_packets<'a>(
    packets: impl IntoIterator<Item = &'a OwnedPacket, IntoIter: Clone>,
    config: Config,
) -> Output {
    decrypt_packets(packets, &Keys::default(), config)
}

/// Dissects packets with the keys of TLS sessions, with and without fast paths, and checks that both agree.
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
    // The general paths need more memory for the same state: with a low limit, they may forget more.
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

/// Returns the key log of a capture in `testdata`; without keys if there is none.
pub(crate) fn keys_of(name: &str) -> Keys {
    let keys = Keys::default();
    if let Ok(log) = std::fs::read(testdata().join(name).with_file_name("keys.log")) {
        KeyLogLines::default().push(&log, &keys);
        assert_eq!(keys.counts().bad_lines, 0);
    }
    keys
}

/// Dissects capture files.
pub(crate) fn dissect(paths: &[PathBuf]) -> Output {
    dissect_packets(&packets(paths).0, config())
}

/// Dissects one capture in `testdata`.
pub(crate) fn dissect_one(name: &str) -> Output {
    dissect(&[testdata().join(name)])
}

/// Returns the folder of captures.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Returns the names of all captures, relative to the folder, except the one with many statements, which only `agree` reads.
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
