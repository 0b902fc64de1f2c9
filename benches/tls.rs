//! The cost of decryption: the same session unencrypted, and over TLS 1.3 with AES-256-GCM, which libpq and the server negotiate
//! by default.
//!
//! `cargo bench --bench tls`. Compare ratios within one run: machines differ, and vary over time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::hint::black_box;

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use divan::Bencher;
use divan::counter::BytesCount;
use hkdf::Hkdf;
use pgdissect::internals::packet;
use pgdissect::output::Form as _;
use pgdissect::{Config, Dissector, KeyLogLines, Keys, LineWriter, Packet, Record};
use sha2::Sha384;

mod made;

use made::{Connection, End, Select, Take, Tap};

fn main() {
    divan::main();
}

/// Discards records: measures reassembly, decryption, framing, decoding and sessions.
#[divan::bench(args = Traffic::ALL, sample_count = 20)]
fn dissect(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    bencher.counter(capture.bytes).bench(|| {
        capture.dissect(|record| {
            black_box(record);
        })
    });
}

/// Formats records as JSON lines in memory.
#[divan::bench(args = Traffic::ALL, sample_count = 20)]
fn dissect_to_json(bencher: Bencher<'_, '_>, traffic: Traffic) {
    let capture = traffic.capture();
    let mut lines = Vec::new();
    let mut writer = LineWriter::default();
    bencher.counter(capture.bytes).bench_local(|| {
        lines.clear();
        capture.dissect(|record| writer.record(&mut lines, record).unwrap());
        black_box(&lines);
    });
}

/// The kind of traffic in a capture.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// Short transactions with a prepared statement.
    OltpClear,
    OltpTls,
    /// One large result.
    BulkClear,
    BulkTls,
}

impl Traffic {
    const ALL: [Self; 4] = [Self::OltpClear, Self::OltpTls, Self::BulkClear, Self::BulkTls];

    fn capture(self) -> Capture {
        let mut frames = Vec::new();
        let mut tap = Tap::new(|packet: &Packet<'_>| frames.push(packet.data.to_vec()));
        let mut connection = tap.open(0);
        match self {
            Self::OltpClear | Self::OltpTls => {
                let select = Select::new();
                select.prepare(&mut tap, &mut connection);
                for aid in 0..20_000 {
                    select.execute(&mut tap, &mut connection, aid);
                }
            }
            Self::BulkClear | Self::BulkTls => made::accounts(&mut tap, &mut connection, 100_000),
        }
        match self {
            Self::OltpClear | Self::BulkClear => Capture::new(frames),
            Self::OltpTls | Self::BulkTls => Capture::new(encrypt(&frames)),
        }
    }
}

/// A capture of one connection in memory.
struct Capture {
    frames: Vec<Vec<u8>>,
    bytes: BytesCount,
}

impl Capture {
    fn new(frames: Vec<Vec<u8>>) -> Self {
        let bytes = BytesCount::new(frames.iter().map(Vec::len).sum::<usize>());
        Self { frames, bytes }
    }

    fn dissect(&self, mut sink: impl FnMut(&Record<'_>)) {
        let keys = Keys::default();
        KeyLogLines::default().push(Tls::key_log().as_bytes(), &keys);
        let mut dissector = Dissector::with_keys(Config::default(), keys);
        for (number, frame) in (1..).zip(&self.frames) {
            dissector.packet(&made::packet(number * 10_000, frame), &mut sink);
        }
        dissector.finish(&mut sink);
        assert_eq!(dissector.counters().losses, 0, "everything is read");
    }
}

/// Returns the same session over TLS. Consecutive data of one side becomes one write, like a flush of the server's buffer.
fn encrypt(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut writes: Vec<(End, Vec<u8>)> = Vec::new();
    for (number, frame) in (1..).zip(frames) {
        let packet = made::packet(number, frame);
        let Ok(segment) = packet::decode(&packet) else { panic!("frame {number} has no segment") };
        let from = if segment.destination.port == 5432 { End::Client } else { End::Server };
        match writes.last_mut() {
            _ if segment.payload.is_empty() => {}
            Some((end, bytes)) if *end == from => bytes.extend(segment.payload),
            _ => writes.push((from, segment.payload.to_vec())),
        }
    }
    let mut encrypted = Vec::new();
    let mut tap = Tap::new(|packet: &Packet<'_>| encrypted.push(packet.data.to_vec()));
    let mut connection = Connection::new(0);
    handshake(&mut tap, &mut connection);
    let mut tls = Tls::new();
    for (from, bytes) in writes {
        let sealed = tls.seal(from, &bytes);
        tap.stream(&mut connection, from, &sealed);
    }
    encrypted
}

/// Generates SYNs and both hellos. The rest of the handshake is not needed, because the later secrets are known.
fn handshake<T: Take>(tap: &mut Tap<T>, connection: &mut Connection) {
    tap.segment(connection, End::Client, made::SYN, 0, b"");
    tap.segment(connection, End::Server, made::SYN | made::ACK, 0, b"");
    connection.next = [2, 2];
    tap.send(connection, End::Client, &Tls::client_hello());
    tap.send(connection, End::Server, &Tls::server_hello());
}

/// The encrypting end of a TLS session.
struct Tls {
    keys: [(Aes256Gcm, [u8; 12]); 2],
    numbers: [u64; 2],
}

impl Tls {
    const RANDOM: [u8; 32] = [7; 32];
    const SECRETS: [[u8; 48]; 2] = [[1; 48], [2; 48]];
    /// The size of PostgreSQL's writes to TLS.
    const RECORD: usize = 8192;

    fn new() -> Self {
        let keys = Self::SECRETS.map(|secret| {
            let hkdf = Hkdf::<Sha384>::from_prk(&secret).unwrap();
            let (mut key, mut iv) = ([0; 32], [0; 12]);
            hkdf.expand(b"\x00\x20\x09tls13 key\x00", &mut key).unwrap();
            hkdf.expand(b"\x00\x0c\x08tls13 iv\x00", &mut iv).unwrap();
            (Aes256Gcm::new(&key.into()), iv)
        });
        Self { keys, numbers: [0; 2] }
    }

    fn key_log() -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = |label: &str, secret: &[u8]| format!("{label} {} {}\n", hex(&Self::RANDOM), hex(secret));
        let [client, server] = Self::SECRETS;
        line("CLIENT_TRAFFIC_SECRET_0", &client) + &line("SERVER_TRAFFIC_SECRET_0", &server)
    }

    fn client_hello() -> Vec<u8> {
        let alpn = b"\x00\x10\x00\x0d\x00\x0b\x0apostgresql";
        let fixed = [&[3, 3], &Self::RANDOM[..], &[0, 0, 2, 0x13, 0x02, 1, 0, 0, alpn.len() as u8]].concat();
        Self::hello(1, &[&fixed, &alpn[..]].concat())
    }

    fn server_hello() -> Vec<u8> {
        Self::hello(2, &[&[3, 3], &[9; 32][..], &[0, 0x13, 0x02, 0, 0, 6, 0, 43, 0, 2, 3, 4]].concat())
    }

    fn hello(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u8;
        [&[22, 3, 3, 0, len + 4, kind, 0, 0, len], body].concat()
    }

    fn seal(&mut self, from: End, bytes: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        for piece in bytes.chunks(Self::RECORD) {
            let (key, iv) = &self.keys[from as usize];
            let mut nonce = *iv;
            for (byte, number) in nonce[4..].iter_mut().zip(self.numbers[from as usize].to_be_bytes()) {
                *byte ^= number;
            }
            self.numbers[from as usize] += 1;
            let mut content = [piece, &[23]].concat();
            let len = (content.len() as u16 + 16).to_be_bytes();
            let header = [23, 3, 3, len[0], len[1]];
            let tag = key.encrypt_inout_detached(&nonce.into(), &header, content.as_mut_slice().into()).unwrap();
            wire.extend([&header[..], &content, &tag].concat());
        }
        wire
    }
}
