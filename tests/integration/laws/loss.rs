//! Messages in a capture with lost packets: every message of which all bytes are there is reported, and none that was not sent.
//!
//! The expected messages are computed independently: the streams are assembled from the whole capture and split into messages by
//! their lengths, and the bytes that remain in the impaired capture are counted. No code is shared with the tested library.

#![allow(clippy::print_stdout)] // the table is for interactive use

use std::collections::HashMap;

use pgdissect::{Direction, Dissector, Record};

use crate::captures::{self, OwnedPacket};

/// A generator of reproducible random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, of_thousand: u64) -> bool {
        self.next() % 1_000 < of_thousand
    }
}

/// What an impairment keeps of each packet: this many bytes of the frame, or nothing.
type Kept = Vec<Option<usize>>;

/// A whole capture and its expected messages.
struct Truth {
    name: String,
    /// Packets before this one are never impaired.
    spared: usize,
    packets: Vec<OwnedPacket>,
    /// For each packet with a payload: the stream, the offset in it, the offset of the payload in the frame, and its length.
    pieces: Vec<Option<(Stream, usize, usize, usize)>>,
    /// For each stream: the start and end of its messages, their type byte (0 if there is none) and length word.
    messages: HashMap<Stream, Vec<Sent>>,
}

/// A client's port, and `F` or `B`.
type Stream = (u16, &'static str);

#[derive(Clone, Copy, Debug)]
struct Sent {
    from: usize,
    to: usize,
    tag: u8,
    len: u32,
}

impl Truth {
    fn of(name: &str) -> Self {
        let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
        assert!(errors.is_empty(), "{errors:?}");
        let mut first: HashMap<Stream, u32> = HashMap::new();
        let mut bytes: HashMap<Stream, Vec<u8>> = HashMap::new();
        let mut pieces = Vec::new();
        for packet in &packets {
            let segment = pgdissect::internals::packet::decode(&packet.borrow()).expect("every packet is TCP");
            let is_client = captures::PORTS.contains(&segment.destination.port);
            let stream = if is_client { (segment.source.port, "F") } else { (segment.destination.port, "B") };
            if segment.syn {
                first.insert(stream, segment.seq.wrapping_add(1));
            }
            if segment.payload.is_empty() {
                pieces.push(None);
                continue;
            }
            let offset = segment.seq.wrapping_sub(first[&stream]) as usize;
            let stream_bytes = bytes.entry(stream).or_default();
            if stream_bytes.len() < offset + segment.payload.len() {
                stream_bytes.resize(offset + segment.payload.len(), 0);
            }
            stream_bytes[offset..offset + segment.payload.len()].copy_from_slice(segment.payload);
            let start = packet.data.len() - segment.payload.len();
            pieces.push(Some((stream, offset, start, segment.payload.len())));
        }
        let messages = bytes.iter().map(|(stream, bytes)| (*stream, cut(*stream, bytes))).collect();
        Self { name: name.to_owned(), spared: 0, packets, pieces, messages }
    }

    /// Computes the same for a capture of one connection encrypted with AES-GCM, with a key log. A message can only be decrypted
    /// if all bytes of its records are there.
    fn of_encrypted(name: &str) -> Self {
        let mut truth = Self::of(name);
        let whole = captures::decrypt_packets(&truth.packets, &captures::keys_of(name), captures::config()).messages();
        let streams = truth.streams();
        for ((port, direction), bytes) in &streams {
            let mut records = records(direction, bytes);
            let mut sent = Vec::new();
            let of_direction = whole.iter().filter(|line| line["dir"] == *direction);
            for line in of_direction {
                let tag = line["tag"].as_str().map_or(0, |tag| tag.as_bytes()[0]);
                let len = u32::try_from(line["len"].as_u64().unwrap()).unwrap();
                if matches!(line["type"].as_str(), Some("SSLRequest" | "SSLResponse")) {
                    let to = len as usize;
                    sent.push(Sent { from: 0, to, tag, len });
                    continue;
                }
                let size = len as usize + usize::from(tag != 0);
                let (from, to) = take(&mut records, size);
                sent.push(Sent { from, to, tag, len });
            }
            assert!(records.iter().all(|(_, _, left)| *left == 0), "{name}: every byte of plaintext is in a message");
            truth.messages.insert((*port, direction), sent);
        }
        truth
    }

    /// Returns the bytes of each stream.
    fn streams(&self) -> HashMap<Stream, Vec<u8>> {
        let mut streams: HashMap<Stream, Vec<u8>> = HashMap::new();
        for (packet, piece) in self.packets.iter().zip(&self.pieces) {
            let Some((stream, offset, start, len)) = *piece else { continue };
            let bytes = streams.entry(stream).or_default();
            bytes.resize(bytes.len().max(offset + len), 0);
            bytes[offset..offset + len].copy_from_slice(&packet.data[start..start + len]);
        }
        streams
    }

    /// Returns the impaired capture.
    fn impaired(&self, kept: &Kept) -> Vec<OwnedPacket> {
        let left = self.packets.iter().zip(kept).filter_map(|(packet, kept)| {
            let mut packet = packet.clone();
            packet.data.truncate((*kept)?);
            Some(packet)
        });
        left.collect()
    }

    /// Returns the messages of which all bytes remain.
    fn present(&self, kept: &Kept) -> HashMap<Stream, Vec<Sent>> {
        let mut there: HashMap<Stream, Vec<bool>> = HashMap::new();
        for (piece, kept) in self.pieces.iter().zip(kept) {
            let (Some((stream, offset, start, len)), Some(kept)) = (piece, kept) else { continue };
            let len = kept.saturating_sub(*start).min(*len);
            let bytes = there.entry(*stream).or_default();
            if bytes.len() < offset + len {
                bytes.resize(offset + len, false);
            }
            bytes[*offset..offset + len].fill(true);
        }
        let whole = |stream: &Stream, sent: &Sent| {
            there
                .get(stream)
                .and_then(|bytes| bytes.get(sent.from..sent.to))
                .is_some_and(|bytes| bytes.iter().all(|b| *b))
        };
        let present = self
            .messages
            .iter()
            .map(|(stream, messages)| (*stream, messages.iter().copied().filter(|sent| whole(stream, sent)).collect()));
        present.collect()
    }
}

/// Returns the start, the end, and the plaintext size of each record with messages.
fn records(direction: &str, bytes: &[u8]) -> Vec<(usize, usize, usize)> {
    // SSLRequest, or its response.
    let mut at = if direction == "F" { 8 } else { 1 };
    let mut records = Vec::new();
    let mut is_tls13 = true;
    while at < bytes.len() {
        let len = usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
        let to = at + 5 + len;
        records.push((at, to, bytes[at], len));
        // In TLS 1.2, Finished is a handshake record after ChangeCipherSpec; in TLS 1.3 it is an application data record.
        is_tls13 &= !(bytes[at] == 22 && records.iter().any(|(_, _, kind, _)| *kind == 20));
        at = to;
    }
    let data: Vec<_> = records.into_iter().filter(|(_, _, kind, _)| *kind == 23).collect();
    // Content type and tag; or explicit nonce and tag.
    let expansion = if is_tls13 { 17 } else { 24 };
    // The client's Certificate and Finished; EncryptedExtensions, and the server's CertificateRequest, Certificate,
    // CertificateVerify and Finished.
    let handshake = match (is_tls13, direction) {
        (true, "F") => 2,
        (true, _) => 5,
        (false, _) => 0,
    };
    // The last record of TLS 1.3 is the close_notify alert.
    let data = data.into_iter().skip(handshake).map(|(from, to, _, len)| (from, to, len - expansion));
    data.filter(|(_, _, len)| !(is_tls13 && *len == 2)).collect()
}

/// Consumes `size` bytes of plaintext from the front. Returns the range of the records that contain them.
fn take(records: &mut [(usize, usize, usize)], size: usize) -> (usize, usize) {
    let mut left = size;
    let mut place = None;
    for (from, to, plaintext) in records.iter_mut().filter(|(_, _, plaintext)| *plaintext > 0) {
        let taken = left.min(*plaintext);
        *plaintext -= taken;
        left -= taken;
        place = Some((place.map_or(*from, |(first, _)| first), *to));
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0, "the records have all messages");
    place.unwrap()
}

/// Splits a stream into messages.
fn cut((_, direction): Stream, bytes: &[u8]) -> Vec<Sent> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().unwrap()));
    let mut messages = Vec::new();
    let mut at = 0;
    let mut is_startup = direction == "F";
    while at < bytes.len() {
        let sent = if is_startup {
            let (Some(len), Some(code)) = (word(at), word(at + 4)) else { break };
            is_startup = matches!(code, 80_877_103 | 80_877_104);
            Sent { from: at, to: at + len as usize, tag: 0, len }
        } else if direction == "B" && at == 0 && matches!(bytes[0], b'S' | b'N' | b'G') {
            Sent { from: at, to: at + 1, tag: 0, len: 1 }
        } else {
            let Some(len) = word(at + 1) else { break };
            Sent { from: at, to: at + 1 + len as usize, tag: bytes[at], len }
        };
        at = sent.to;
        messages.push(sent);
    }
    messages
}

/// The share of the remaining messages that was reported.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    sent: usize,
    present: usize,
    reported: usize,
    damaged: usize,
    invented: usize,
}

impl Score {
    fn recall(self) -> f64 {
        if self.present == 0 { 1.0 } else { self.reported as f64 / self.present as f64 }
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.present += other.present;
        self.reported += other.reported;
        self.damaged += other.damaged;
        self.invented += other.invented;
    }
}

/// The checked fields of a reported message.
struct Reported {
    tag: u8,
    len: u32,
    is_whole: bool,
    is_decoded: bool,
}

/// Dissects an impaired capture, and compares the result with the expected messages.
fn score(truth: &Truth, kept: &Kept) -> Score {
    let mut reported: HashMap<Stream, Vec<Reported>> = HashMap::new();
    let mut sink = |record: &Record<'_>| {
        let Record::Message(line) = record else { return };
        let port = line.header.client.rsplit(':').next().unwrap().parse().unwrap();
        let dir = if line.dir == Direction::Frontend { "F" } else { "B" };
        reported.entry((port, dir)).or_default().push(Reported {
            tag: line.tag.map_or(0, |tag| char::from(tag) as u8),
            len: line.len,
            is_whole: line.missing == 0,
            is_decoded: line.error.is_none(),
        });
    };
    let mut dissector = Dissector::with_keys(captures::config(), captures::keys_of(&truth.name));
    for packet in truth.impaired(kept) {
        dissector.packet(&packet.borrow(), &mut sink);
    }
    dissector.finish(&mut sink);

    let present = truth.present(kept);
    let mut score = Score::default();
    for (stream, sent) in &truth.messages {
        score.sent += sent.len();
        score.present += present[stream].len();
        let mut rest = sent.iter();
        for message in reported.remove(stream).unwrap_or_default() {
            // Every reported message must be among those sent, in the same order.
            let was_sent = rest.any(|sent| (sent.tag, sent.len) == (message.tag, message.len));
            if !was_sent || message.is_whole && !message.is_decoded {
                score.invented += 1;
                break;
            } else if message.is_whole {
                score.reported += 1;
            } else {
                score.damaged += 1;
            }
        }
    }
    score.invented += reported.len();
    score
}

/// A kind of impairment.
#[derive(Clone, Copy, Debug)]
enum Impairment {
    /// A number of packets per thousand is dropped.
    Drops(u64),
    /// A number of packets per thousand is dropped, each together with up to 20 following ones.
    Bursts(u64),
    /// Packets are truncated to this size.
    Snaplen(usize),
    /// The capture begins at any packet.
    Begins,
    /// Only one direction is captured, and a number of its packets per thousand is dropped.
    OneDirection(u64),
}

impl Impairment {
    fn kept(self, truth: &Truth, random: &mut Random) -> Kept {
        let all = || truth.packets.iter().map(|packet| packet.data.len());
        let has_data = |index: usize| truth.pieces[index].is_some();
        match self {
            Self::Drops(rate) => {
                let dropped = |index| has_data(index) && random.chance(rate);
                all()
                    .enumerate()
                    .map({
                        let mut dropped = dropped;
                        move |(index, len)| (!dropped(index)).then_some(len)
                    })
                    .collect()
            }
            Self::Bursts(rate) => {
                let mut left = 0;
                let mut kept = Vec::new();
                for len in all() {
                    if left == 0 && random.chance(rate) {
                        left = 1 + random.next() % 20;
                    }
                    kept.push((left == 0).then_some(len));
                    left = left.saturating_sub(1);
                }
                kept
            }
            Self::Snaplen(snaplen) => all().map(|len| Some(len.min(snaplen))).collect(),
            Self::Begins => {
                let first = random.next() as usize % truth.packets.len();
                all().enumerate().map(|(index, len)| (index >= first).then_some(len)).collect()
            }
            Self::OneDirection(rate) => {
                let direction = if random.chance(500) { "F" } else { "B" };
                let mut kept = Vec::new();
                for (packet, piece) in truth.packets.iter().zip(&truth.pieces) {
                    let segment = pgdissect::internals::packet::decode(&packet.borrow()).unwrap();
                    let from_client = captures::PORTS.contains(&segment.destination.port);
                    let is_seen = from_client == (direction == "F") && !(piece.is_some() && random.chance(rate));
                    kept.push(is_seen.then_some(packet.data.len()));
                }
                kept
            }
        }
    }
}

const TRAFFIC: &[(&str, &str)] = &[
    ("simple queries", "pgbench-simple/capture.pcap.gz"),
    ("prepared statements", "pgbench-prepared/capture.pcap.gz"),
    ("transactions", "pgbench-tpcb/capture.pcap.gz"),
    ("result of 3,000 rows", "rows-3000/capture.pcap"),
    ("COPY", "copy-in/capture.pcap"),
    ("changes", "replication-pgoutput-v2-streaming/capture.pcap.gz"),
    ("WAL", "replication-physical/receivewal.pcap.gz"),
];

/// Computes scores of impairments for all traffic; `cargo test loss -- --nocapture` prints the table.
fn measure(impairments: &[Impairment], runs: u64) -> Vec<(String, Score)> {
    let mut scores = Vec::new();
    for (traffic, name) in TRAFFIC {
        scores.extend(measure_one(traffic, &Truth::of(name), impairments, runs));
    }
    scores
}

fn measure_one(traffic: &str, truth: &Truth, impairments: &[Impairment], runs: u64) -> Vec<(String, Score)> {
    let mut scores = Vec::new();
    for impairment in impairments {
        let mut total = Score::default();
        for seed in 0..runs {
            let mut kept = impairment.kept(truth, &mut Random(seed));
            for (kept, packet) in kept.iter_mut().zip(&truth.packets).take(truth.spared) {
                *kept = Some(packet.data.len());
            }
            total.add(score(truth, &kept));
        }
        let what = format!("{traffic}, {impairment:?}");
        println!(
            "{what:45} {:7} sent, {:7} there, {:7} reported ({:6.2}%), {:4} damaged, {} invented",
            total.sent,
            total.present,
            total.reported,
            100.0 * total.recall(),
            total.damaged,
            total.invented,
        );
        scores.push((what, total));
    }
    scores
}

#[test]
fn dropped_packets_cost_no_message_but_those_that_were_in_them() {
    use Impairment::{Bursts, Drops, OneDirection, Snaplen};
    let light = [Drops(0), Drops(1), Drops(10), Bursts(1), OneDirection(0), OneDirection(10)];
    for (what, score) in measure(&light, runs()) {
        assert!(score.recall() >= 0.99, "{what}: {score:?}");
        assert_eq!(score.invented, 0, "{what}");
    }
    for (what, score) in measure(&[Drops(100), Bursts(10), OneDirection(100), Snaplen(300)], runs()) {
        assert!(score.recall() >= 0.9, "{what}: {score:?}");
        assert_eq!(score.invented, 0, "{what}");
    }
}

#[test]
fn a_capture_may_begin_with_any_packet() {
    for (what, score) in measure(&[Impairment::Begins], 10 * runs()) {
        assert!(score.recall() >= 0.99, "{what}: {score:?}");
        assert_eq!(score.invented, 0, "{what}");
    }
}

#[test]
fn lost_records_cost_no_message_but_those_that_were_in_them() {
    use Impairment::{Bursts, Drops, OneDirection};
    let mut tls13 = Truth::of_encrypted("tls-traffic/13.pcap");
    let mut tls12 = Truth::of_encrypted("tls-traffic/12.pcap");
    // Without its hellos, a TLS 1.2 session cannot be decrypted; without ClientHello, no session can, unless it is the only one.
    tls13.spared = 8;
    tls12.spared = 14;
    for (what, truth) in [("TLS 1.3", &tls13), ("TLS 1.2", &tls12)] {
        for (what, score) in measure_one(what, truth, &[Drops(0), Drops(1), Drops(10), Bursts(1)], runs()) {
            assert!(score.recall() >= 0.99, "{what}: {score:?}");
            assert_eq!(score.invented, 0, "{what}");
        }
        for (what, score) in measure_one(what, truth, &[Drops(100), Bursts(10), OneDirection(100)], runs()) {
            assert!(score.recall() >= 0.9, "{what}: {score:?}");
            assert_eq!(score.invented, 0, "{what}");
        }
    }
}

#[test]
fn an_encrypted_capture_may_begin_with_any_packet() {
    let truth = Truth::of_encrypted("tls-traffic/13.pcap");
    for (what, score) in measure_one("TLS 1.3", &truth, &[Impairment::Begins], 5 * runs()) {
        assert!(score.recall() >= 0.99, "{what}: {score:?}");
        assert_eq!(score.invented, 0, "{what}");
    }
}

/// Returns the number of random cases, which proptest's variable can raise.
fn runs() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20)
}
