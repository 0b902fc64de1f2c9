//! Hostile TLS traffic: memory and decryption trials stay bounded, and all of it is reported.

use pgdissect::{Config, KeyLogLines, Keys};
use serde_json::Value;

use crate::captures::{self, Bench};
use crate::laws::contract;
use crate::wire::{From, Tcp};

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

/// A connection whose packets are passed to the engine as they are generated.
struct Connection<'a> {
    bench: &'a mut Bench,
    port: u16,
    next: [u32; 2],
    /// The maximum number of bytes held.
    most: u64,
}

impl<'a> Connection<'a> {
    fn new(bench: &'a mut Bench, port: u16) -> Self {
        let mut connection = Self { bench, port, next: [0; 2], most: 0 };
        connection.capture(Tcp::new(From::Client, 0, 0, b"").without_ack().syn());
        connection.capture(Tcp::new(From::Server, 0, 1, b"").syn());
        connection.next = [1; 2];
        connection
    }

    /// Creates a connection that continues with TLS.
    fn with_tls(bench: &'a mut Bench, port: u16) -> Self {
        let mut connection = Self::new(bench, port);
        connection.send(From::Client, SSL_REQUEST);
        connection.send(From::Server, b"S");
        connection
    }

    fn send(&mut self, from: From, bytes: &[u8]) {
        for piece in bytes.chunks(1_400) {
            let [seq, ack] = [from, from.peer()].map(|end| self.next[end.index()]);
            self.capture(Tcp::new(from, seq, ack, piece));
            self.lose(from, piece.len());
        }
    }

    /// Skips bytes that are not captured.
    fn lose(&mut self, from: From, bytes: usize) {
        let next = &mut self.next[from.index()];
        *next = next.wrapping_add(u32::try_from(bytes).unwrap());
    }

    fn capture(&mut self, segment: Tcp) {
        let micros = self.bench.counters().packets * 10;
        self.bench.packet(&segment.port(self.port).at(micros).borrow());
        self.most = self.most.max(self.bench.counters().held_bytes);
    }
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &u16::try_from(payload.len()).unwrap().to_be_bytes()[..], payload].concat()
}

fn client_hello(random: &[u8; 32]) -> Vec<u8> {
    let body = [&[3, 3], &random[..], &[0, 0, 2, 0x13, 0x02, 1, 0]].concat();
    record(22, &[&[1, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat())
}

/// Selects TLS 1.3 with AES-256-GCM.
fn server_hello() -> Vec<u8> {
    let body = [&[3, 3], &[9; 32][..], &[0, 0x13, 0x02, 0, 0, 6, 0, 43, 0, 2, 3, 4]].concat();
    record(22, &[&[2, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat())
}

/// Returns the key log of a session, with secrets that fit nothing.
fn keys_of(random: &[u8; 32]) -> Keys {
    let keys = Keys::default();
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    for name in ["CLIENT_HANDSHAKE_TRAFFIC", "SERVER_HANDSHAKE_TRAFFIC", "CLIENT_TRAFFIC", "SERVER_TRAFFIC"] {
        let number = if name.contains("HANDSHAKE") { "" } else { "_0" };
        let line = format!("{name}_SECRET{number} {random} {}\n", "ab".repeat(48));
        KeyLogLines::default().push(line.as_bytes(), &keys);
    }
    assert_eq!(keys.counts().bad_lines, 0);
    keys
}

/// Returns pseudorandom bytes that were not sent before.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(byte).take(len).collect()
}

#[test]
fn a_flood_of_sessions_that_wait_for_keys_holds_no_more_than_may_be() {
    const MAX_HELD: usize = 1 << 20;
    let keys = Keys::default();
    keys.expect_more(true);
    let mut bench = Bench::with_keys(Config { max_held: MAX_HELD, ..captures::everything() }, &keys);
    let mut most = 0;
    for port in 1_000..1_500_u16 {
        let mut connection = Connection::with_tls(&mut bench, port);
        let mut random = [7; 32];
        random[..2].copy_from_slice(&port.to_be_bytes());
        connection.send(From::Client, &client_hello(&random));
        connection.send(From::Server, &server_hello());
        connection.send(From::Server, &record(23, &noise(8_000, port.into())));
        most = most.max(connection.most);
    }
    assert!(most <= MAX_HELD as u64 + 20_000, "{most} bytes are held");
    assert!(most > MAX_HELD as u64 / 2, "as much waits as may: {most}");
    let output = bench.finish();
    contract::check(&output, "a flood that waits");
    let said = |what: &dyn Fn(&Value) -> bool| output.values().iter().filter(|line| what(line)).count();
    let why =
        |line: &Value| line["detail"].as_str().is_some_and(|detail| detail.contains("no key for the client random"));
    assert_eq!(said(&why), 500, "of each it is said why it is not read");
    assert_eq!(
        said(&|line| line["bytes"] == server_hello().len() + 8_005 && line["dir"] == "B"),
        500,
        "and how much that is"
    );
}

#[test]
fn one_session_that_waits_holds_no_more_than_its_share() {
    let keys = Keys::default();
    keys.expect_more(true);
    let mut bench = Bench::with_keys(captures::everything(), &keys);
    let mut connection = Connection::with_tls(&mut bench, 1_000);
    connection.send(From::Client, &client_hello(&[7; 32]));
    connection.send(From::Server, &server_hello());
    for seed in 0..300 {
        connection.send(From::Server, &record(23, &noise(16_000, seed)));
        // The smallest records: the overhead of holding them exceeds their size.
        (0..200).for_each(|seed| connection.send(From::Client, &record(23, &noise(9, seed))));
    }
    assert!(connection.most < 3 << 20, "{} bytes are held", connection.most);
    contract::check(&bench.finish(), "much that waits");
}

#[test]
fn handshakes_that_do_not_end_hold_little() {
    for kind in [1, 2, 4, 11, 20] {
        let mut bench = Bench::new(captures::everything());
        let mut connection = Connection::with_tls(&mut bench, 1_000);
        // A message that claims to have 16 MB; and so do all that seem to follow.
        let piece = record(22, &[&[kind, 0xff, 0xff, 0xff], &[kind; 16_000][..]].concat());
        for _ in 0..60 {
            connection.send(From::Client, &piece);
            connection.send(From::Server, &piece);
        }
        assert!(connection.most < 100_000, "{} bytes are held", connection.most);
        // A message of the maximum size, which does not end either.
        let piece = record(22, &[&[kind, 0, 0xff, 0xf0], &[kind; 16_000][..]].concat());
        (0..4).for_each(|_| connection.send(From::Client, &piece));
        assert!(connection.most < 200_000, "{} bytes are held", connection.most);
        contract::check(&bench.finish(), "an endless handshake");
    }
}

#[test]
fn a_first_hello_that_does_not_end_is_soon_no_hello() {
    for size in [1, 16_000] {
        let mut bench = Bench::new(captures::everything());
        let mut connection = Connection::new(&mut bench, 1_000);
        connection.send(From::Client, &record(22, &[1]));
        connection.send(From::Client, &record(22, &[0, 0xff, 0xff]));
        (0..100).for_each(|_| connection.send(From::Client, &record(22, &vec![0; size])));
        assert!(connection.most < 100_000, "{} bytes are held", connection.most);
        let output = bench.finish();
        contract::check(&output, "an endless hello");
        assert_eq!(output.values()[0]["reason"], "not_postgresql");
    }
}

#[test]
fn records_of_absurd_lengths_hold_little() {
    for length in [0, 0x4801, 0x8000, 0xffff_u16] {
        let mut bench = Bench::with_keys(captures::everything(), &keys_of(&[7; 32]));
        let mut connection = Connection::with_tls(&mut bench, 1_000);
        connection.send(From::Client, &client_hello(&[7; 32]));
        connection.send(From::Server, &server_hello());
        for seed in 0..100 {
            for from in [From::Client, From::Server] {
                let header = [&[23, 3, 3], &length.to_be_bytes()[..]].concat();
                connection.send(from, &[header, noise(16_000, seed)].concat());
            }
        }
        assert!(connection.most < 100_000, "{} bytes are held", connection.most);
        let output = bench.finish();
        contract::check(&output, "absurd lengths");
        let lost = |dir| output.values().iter().filter(|line| line["dir"] == dir && line["bytes"].is_u64()).count();
        assert_eq!((lost("F"), lost("B")), (1, 1), "what was not read is said, and how much it is");
    }
}

#[test]
fn records_that_no_key_fits_hold_little_and_are_counted() {
    // Any data after a hole waits for the missing bytes.
    let config = Config { max_early: 100_000, ..captures::everything() };
    let mut bench = Bench::with_keys(config, &keys_of(&[7; 32]));
    let mut connection = Connection::with_tls(&mut bench, 1_000);
    connection.send(From::Client, &client_hello(&[7; 32]));
    connection.send(From::Server, &server_hello());
    let mut sent = [client_hello(&[7; 32]).len(), server_hello().len()];
    for seed in 0..600 {
        for from in [From::Client, From::Server] {
            // With holes, so that any sequence number may be the next.
            if seed % 3 == 2 {
                connection.lose(from, 60_000);
            }
            let record = record(23, &noise(if seed % 2 == 0 { 3_000 } else { 17 }, seed));
            sent[from.index()] += record.len();
            connection.send(from, &record);
        }
    }
    assert!(connection.most < 300_000, "{} bytes are held", connection.most);
    let output = bench.finish();
    contract::check(&output, "records that no key fits");
    let lines = output.values();
    assert!(
        lines.iter().any(|line| line["detail"].as_str().is_some_and(|detail| detail.contains("nothing is authentic")))
    );
    for (dir, sent) in ["F", "B"].into_iter().zip(sent) {
        let in_all =
            lines.iter().find(|line| line["detail"] == "encrypted bytes in all" && line["dir"] == dir).unwrap();
        assert_eq!(in_all["bytes"], sent, "{dir}");
    }
}
