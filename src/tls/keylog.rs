//! Key logs: files to which a client or server writes the secrets of its sessions, for decryption by others.
//!
//! The format is that of NSS, which OpenSSL, Go, Java agents and Node write as well (`SSLKEYLOGFILE`). Each line has one secret:
//! its label, the client random of the session, and the secret in hex, separated by spaces. Source: "The SSLKEYLOGFILE Format for
//! TLS" (draft-ietf-tls-keylogfile, RFC 9850).
//!
//! A key log may have any size, and grow as long as its writer runs. Lines are parsed as they arrive, and secrets are stored
//! compactly. Above the session limit, the oldest sessions are forgotten. Secrets are written out by `Keys::lines_of` alone, not even by
//! `Debug`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hex::Hex;

/// Identifies a session in a key log: the 32 random bytes of its ClientHello.
pub type ClientRandom = [u8; 32];

/// The default limit on the number of sessions: about 80 MB with TLS 1.3.
pub const MAX_SESSIONS: usize = 262_144;

/// The maximum length of a line. The longest valid line is shorter: 31 bytes of label, 64 of client random, 96 of secret, and
/// spaces.
const MAX_LINE: usize = 512;

/// How many sessions are considered for a connection whose ClientHello was not captured.
const MAX_CANDIDATES: usize = 64;

/// How many connections without a captured ClientHello may try the secrets of one session.
const MAX_TRIALS: u8 = 8;

/// The purpose of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Label {
    /// The master secret of a session of TLS 1.2 or earlier.
    ClientRandom,
    /// Protects the client's early data (0-RTT).
    ClientEarlyTraffic,
    /// Protects the client's handshake messages.
    ClientHandshakeTraffic,
    /// Protects the server's handshake messages.
    ServerHandshakeTraffic,
    /// Protects the client's data after the handshake.
    ClientTraffic,
    /// Protects the server's data after the handshake.
    ServerTraffic,
}

impl Label {
    const ALL: [Self; 6] = [
        Self::ClientRandom,
        Self::ClientEarlyTraffic,
        Self::ClientHandshakeTraffic,
        Self::ServerHandshakeTraffic,
        Self::ClientTraffic,
        Self::ServerTraffic,
    ];

    const fn name(self) -> &'static [u8] {
        match self {
            Self::ClientRandom => b"CLIENT_RANDOM",
            Self::ClientEarlyTraffic => b"CLIENT_EARLY_TRAFFIC_SECRET",
            Self::ClientHandshakeTraffic => b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            Self::ServerHandshakeTraffic => b"SERVER_HANDSHAKE_TRAFFIC_SECRET",
            Self::ClientTraffic => b"CLIENT_TRAFFIC_SECRET_0",
            Self::ServerTraffic => b"SERVER_TRAFFIC_SECRET_0",
        }
    }

    /// Returns whether a secret with this label may have `len` bytes: a master secret has 48 (RFC 5246, section 8.1), a traffic
    /// secret as many as the output of its suite's hash, SHA-256 or SHA-384.
    const fn fits(self, len: usize) -> bool {
        match self {
            Self::ClientRandom => len == 48,
            _ => len == 32 || len == 48,
        }
    }
}

/// The secrets of one session, concatenated: label, length and secret of each.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Box<[u8]>);

impl Secrets {
    /// Returns the secret with a label: 32 or 48 bytes.
    pub fn get(&self, label: Label) -> Option<&[u8]> {
        let mut rest = &*self.0;
        while let [found, len, behind @ ..] = rest {
            let (secret, behind) = behind.split_at_checked(usize::from(*len))?;
            if *found == label as u8 {
                return Some(secret);
            }
            rest = behind;
        }
        None
    }

    /// Adds a secret and returns whether it is new. The first secret with a label is kept.
    fn add(&mut self, label: Label, secret: &[u8]) -> bool {
        if self.get(label).is_some() {
            return false;
        }
        let mut packed = Vec::with_capacity(self.0.len() + 2 + secret.len());
        packed.extend_from_slice(&self.0);
        packed.push(label as u8);
        packed.push(secret.len() as u8);
        packed.extend_from_slice(secret);
        self.0 = packed.into();
        true
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Label::ALL.iter().filter(|label| self.get(**label).is_some())).finish()
    }
}

/// The state of one session.
#[derive(Debug, Default)]
struct Session {
    secrets: Secrets,
    /// Whether a connection of the session was seen.
    is_claimed: bool,
    /// How many connections without a captured ClientHello have tried its secrets.
    trials: u8,
}

/// Statistics on the lines of a key log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Sessions with at least one secret.
    pub sessions: u64,
    /// Invalid lines: neither a secret, a comment, nor a label that is ignored.
    pub bad_lines: u64,
    /// Sessions forgotten to make room for others.
    pub forgotten: u64,
}

#[derive(Debug)]
struct KeyLog {
    sessions: HashMap<ClientRandom, Session, foldhash::fast::RandomState>,
    /// The sessions, oldest first.
    order: VecDeque<ClientRandom>,
    max_sessions: usize,
    bad_lines: u64,
    forgotten: u64,
}

/// A shared store of the known keys. Clones share the same store.
///
/// Whoever reads key logs adds lines with [`KeyLogLines`]; every engine that holds a clone looks keys up.
///
/// ```no_run
/// use pgdissect::{Config, Dissector, KeyLogLines, Keys};
///
/// let keys = Keys::default();
/// KeyLogLines::default().push(&std::fs::read("keys.log")?, &keys);
/// let dissector = Dissector::with_keys(Config::default(), keys);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Mutex<KeyLog>,
    /// Incremented with each new secret, so that lookups need no lock if nothing has changed.
    generation: AtomicU64,
    are_expected: AtomicBool,
    are_awaited: AtomicBool,
}

impl Default for Keys {
    fn default() -> Self {
        Self::new(MAX_SESSIONS)
    }
}

impl Keys {
    /// Creates a store without keys, with room for `max_sessions` sessions.
    pub fn new(max_sessions: usize) -> Self {
        Self(Arc::new(Shared {
            log: Mutex::new(KeyLog {
                sessions: HashMap::default(),
                order: VecDeque::new(),
                max_sessions: max_sessions.max(1),
                bad_lines: 0,
                forgotten: 0,
            }),
            generation: AtomicU64::new(0),
            are_expected: AtomicBool::new(false),
            are_awaited: AtomicBool::new(false),
        }))
    }

    /// Sets whether more keys may arrive while packets are processed, so that waiting for them is worthwhile.
    pub fn expect_more(&self, are_expected: bool) {
        self.0.are_expected.store(are_expected, Ordering::Relaxed);
    }

    /// Returns whether more keys may arrive while packets are processed.
    pub(crate) fn are_expected(&self) -> bool {
        self.0.are_expected.load(Ordering::Relaxed)
    }

    /// Records that a connection waits for keys.
    pub(crate) fn await_more(&self) {
        self.0.are_awaited.store(true, Ordering::Relaxed);
    }

    /// Returns whether a connection has waited for keys since the last call to [`Self::look`].
    pub fn are_awaited(&self) -> bool {
        self.0.are_awaited.load(Ordering::Relaxed)
    }

    /// Records that key logs are being read now.
    pub fn look(&self) {
        self.0.are_awaited.store(false, Ordering::Relaxed);
    }

    /// Returns a number that grows with each new secret; 0 while there is none.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Returns the secrets of a session.
    pub(crate) fn find(&self, client_random: &ClientRandom) -> Option<Secrets> {
        let mut log = self.lock();
        let session = log.sessions.get_mut(client_random)?;
        session.is_claimed = true;
        Some(session.secrets.clone())
    }

    /// Returns the only TLS 1.3 session for which no connection was seen, and its secrets; `None` if there are several.
    pub(crate) fn find_only_candidate(&self) -> Option<(ClientRandom, Secrets)> {
        let mut log = self.lock();
        if log.sessions.len() > MAX_CANDIDATES {
            return None;
        }
        let is_candidate = |session: &Session| {
            let has = |label| session.secrets.get(label).is_some();
            !session.is_claimed && (has(Label::ClientTraffic) || has(Label::ServerTraffic))
        };
        let mut candidates = log.sessions.iter_mut().filter(|(_, session)| is_candidate(session));
        match (candidates.next(), candidates.next()) {
            (Some((client_random, only)), None) if only.trials < MAX_TRIALS => {
                only.trials += 1;
                Some((*client_random, only.secrets.clone()))
            }
            _ => None,
        }
    }

    /// Returns lines of a key log with the secrets of sessions, as far as they are known, and the number of sessions with secrets.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn lines_of(&self, sessions: impl IntoIterator<Item = ClientRandom>) -> (Vec<u8>, u64) {
        let (log, mut lines, mut found) = (self.lock(), Vec::new(), 0);
        for client_random in sessions {
            let Some(session) = log.sessions.get(&client_random) else { continue };
            found += 1;
            for label in Label::ALL {
                let Some(secret) = session.secrets.get(label) else { continue };
                lines.extend_from_slice(label.name());
                lines.extend_from_slice(format!(" {} {}\n", Hex(&client_random), Hex(secret)).as_bytes());
            }
        }
        (lines, found)
    }

    /// Returns the statistics on the lines so far.
    pub fn counts(&self) -> KeyCounts {
        let log = self.lock();
        KeyCounts { sessions: log.sessions.len() as u64, bad_lines: log.bad_lines, forgotten: log.forgotten }
    }

    fn lock(&self) -> MutexGuard<'_, KeyLog> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyLog {
    /// Parses a line without its line feed. Returns whether it contains a new secret.
    fn line(&mut self, line: &[u8]) -> bool {
        match parse(line) {
            Line::Secret { label, client_random, secret } => self.add(label, client_random, secret.as_slice()),
            Line::Nothing => false,
            Line::Bad => {
                self.bad_lines += 1;
                false
            }
        }
    }

    fn add(&mut self, label: Label, client_random: ClientRandom, secret: &[u8]) -> bool {
        let session = self.sessions.entry(client_random).or_insert_with(|| {
            self.order.push_back(client_random);
            Session::default()
        });
        let is_new = session.secrets.add(label, secret);
        if self.sessions.len() > self.max_sessions
            && let Some(oldest) = self.order.pop_front()
        {
            self.sessions.remove(&oldest);
            self.forgotten += 1;
        }
        is_new
    }
}

/// Splits one key log into lines. Each key log needs its own.
#[derive(Debug, Default)]
pub struct KeyLogLines {
    /// The beginning of an incomplete line.
    partial: Vec<u8>,
    /// Whether the incomplete line exceeds the maximum length; then only its beginning is kept.
    is_overlong: bool,
}

impl KeyLogLines {
    /// Consumes the next bytes of a key log, which may be split anywhere.
    pub fn push(&mut self, mut bytes: &[u8], keys: &Keys) {
        let mut log = keys.lock();
        let mut is_new = false;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, behind) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = behind.get(1..).unwrap_or_default();
            if self.partial.is_empty() && line.len() <= MAX_LINE {
                is_new |= log.line(line);
            } else {
                self.gather(line);
                is_new |= self.take(&mut log);
            }
        }
        self.gather(bytes);
        drop(log);
        if is_new {
            keys.0.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Records the end of the key log: its last line may have no line feed.
    pub fn finish(&mut self, keys: &Keys) {
        self.push(b"\n", keys);
    }

    fn gather(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        self.is_overlong |= bytes.len() > room;
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn take(&mut self, log: &mut KeyLog) -> bool {
        let is_new = if std::mem::take(&mut self.is_overlong) {
            log.bad_lines += u64::from(self.partial.first() != Some(&b'#'));
            false
        } else {
            log.line(&self.partial)
        };
        self.partial.clear();
        is_new
    }
}

/// The content of a line.
enum Line {
    Secret {
        label: Label,
        client_random: ClientRandom,
        secret: Secret,
    },
    /// Empty, a comment, or a secret that is not needed: an exporter secret, one of ECH, …
    Nothing,
    Bad,
}

/// A secret of 32 or 48 bytes.
struct Secret {
    bytes: [u8; 48],
    len: usize,
}

impl Secret {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn parse(line: &[u8]) -> Line {
    let line = line.trim_ascii();
    if line.is_empty() || line.first() == Some(&b'#') {
        return Line::Nothing;
    }
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(name), Some(random), Some(hex), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Line::Bad;
    };
    let Some(label) = Label::ALL.into_iter().find(|label| label.name() == name) else {
        let is_label = name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
        let is_hex = |word: &[u8]| word.iter().all(u8::is_ascii_hexdigit);
        return if is_label && is_hex(random) && is_hex(hex) { Line::Nothing } else { Line::Bad };
    };
    let mut client_random = ClientRandom::default();
    let mut secret = Secret { bytes: [0; 48], len: hex.len() / 2 };
    let into = secret.bytes.get_mut(..secret.len).filter(|_| label.fits(hex.len() / 2));
    match (unhex(random, &mut client_random), into.and_then(|into| unhex(hex, into))) {
        (Some(()), Some(())) => Line::Secret { label, client_random, secret },
        _ => Line::Bad,
    }
}

/// Decodes exactly as many bytes as `into` has.
fn unhex(hex: &[u8], into: &mut [u8]) -> Option<()> {
    let (pairs, rest) = hex.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != into.len() {
        return None;
    }
    for ([high, low], byte) in pairs.iter().zip(into) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn random() -> ClientRandom {
        std::array::from_fn(|index| index as u8)
    }

    fn line(label: &str, random: &str, secret: usize) -> String {
        format!("{label} {random} {}\n", "aB".repeat(secret))
    }

    #[test]
    fn secrets_are_found_by_their_client_random_however_the_file_is_cut() {
        let text = [
            "# a comment\r\n\n",
            &format!("#{}\n", "long".repeat(1_000)),
            &line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", RANDOM, 48),
            &line("SERVER_TRAFFIC_SECRET_0", RANDOM, 32),
            &line("EXPORTER_SECRET", RANDOM, 48),
            &line("CLIENT_RANDOM", &RANDOM.to_uppercase(), 48).replace('\n', "\r\n"),
        ]
        .concat();
        for size in [1, 2, 7, 100, text.len()] {
            let (keys, mut lines) = (Keys::default(), KeyLogLines::default());
            text.as_bytes().chunks(size).for_each(|piece| lines.push(piece, &keys));
            let secrets = keys.find(&random()).unwrap();
            assert_eq!(secrets.get(Label::ClientHandshakeTraffic), Some(&[0xab; 48][..]));
            assert_eq!(secrets.get(Label::ServerTraffic), Some(&[0xab; 32][..]));
            assert_eq!(secrets.get(Label::ClientRandom), Some(&[0xab; 48][..]));
            assert_eq!(secrets.get(Label::ClientTraffic), None);
            assert_eq!(keys.counts(), KeyCounts { sessions: 1, bad_lines: 0, forgotten: 0 });
            assert!(keys.find(&[7; 32]).is_none());
            assert!(!format!("{keys:?}").contains("171"), "0xab");
        }
    }

    #[test]
    fn bad_lines_are_counted_and_the_good_ones_among_them_are_read() {
        let bad = [
            "CLIENT_RANDOM",
            &line("CLIENT_RANDOM", RANDOM, 47),
            &line("CLIENT_RANDOM", RANDOM, 32),
            &line("CLIENT_TRAFFIC_SECRET_0", RANDOM, 33),
            &line("CLIENT_TRAFFIC_SECRET_0", &RANDOM[1..], 32),
            &line("CLIENT_TRAFFIC_SECRET_0", &RANDOM.replace('a', "g"), 32),
            &format!("{} more", line("CLIENT_RANDOM", RANDOM, 48).trim()),
            "\u{0}\u{1}\u{ff}",
            &"x".repeat(100_000),
        ];
        let (keys, mut lines) = (Keys::default(), KeyLogLines::default());
        for bad in &bad {
            lines.push(bad.as_bytes(), &keys);
            lines.push(b"\n", &keys);
        }
        assert_eq!(keys.generation(), 0);
        lines.push(line("CLIENT_RANDOM", RANDOM, 48).trim_end().as_bytes(), &keys);
        assert!(keys.find(&random()).is_none(), "its end has not come");
        lines.finish(&keys);
        assert!(keys.find(&random()).is_some());
        assert_eq!(keys.counts().bad_lines, bad.len() as u64);
        assert_eq!(keys.generation(), 1);
    }

    #[test]
    fn of_more_sessions_than_the_limit_the_oldest_go() {
        let keys = Keys::new(10);
        let mut lines = KeyLogLines::default();
        for session in 0..25_u8 {
            lines.push(line("CLIENT_RANDOM", &format!("{session:064x}"), 48).as_bytes(), &keys);
        }
        assert_eq!(keys.counts(), KeyCounts { sessions: 10, bad_lines: 0, forgotten: 15 });
        let of = |session: u8| {
            let mut random = ClientRandom::default();
            random[31] = session;
            keys.find(&random)
        };
        assert!(of(14).is_none() && of(15).is_some() && of(24).is_some());
    }

    #[test]
    fn a_key_log_of_any_size_uses_bounded_memory() {
        let keys = Keys::new(100);
        let mut lines = KeyLogLines::default();
        for session in 0..20_000 {
            for label in Label::ALL {
                let name = std::str::from_utf8(label.name()).unwrap();
                // Each line occurs twice.
                let line = line(name, &format!("{session:064x}"), 48).repeat(2);
                lines.push(line.as_bytes(), &keys);
            }
        }
        // A line without an end, in pieces and at once.
        (0..1_000).for_each(|_| lines.push(&[b'x'; 1_000], &keys));
        lines.push(&vec![b'x'; 1_000_000], &keys);
        assert!(lines.partial.capacity() <= 2 * MAX_LINE);
        let log = keys.lock();
        assert_eq!((log.sessions.len(), log.order.len(), log.forgotten), (100, 100, 19_900));
        assert!(log.sessions.capacity() <= 400 && log.order.capacity() <= 400);
        assert!(log.sessions.values().all(|session| session.secrets.0.len() == 6 * 50));
    }

    #[test]
    fn a_connection_without_a_beginning_is_only_of_a_session_that_is_alone() {
        let (keys, mut lines) = (Keys::default(), KeyLogLines::default());
        lines.push(line("CLIENT_RANDOM", &"0".repeat(64), 48).as_bytes(), &keys);
        assert!(keys.find_only_candidate().is_none(), "TLS 1.2 needs the server's random, too");
        lines.push(line("CLIENT_TRAFFIC_SECRET_0", RANDOM, 32).as_bytes(), &keys);
        assert!(keys.find_only_candidate().is_some());
        lines.push(line("CLIENT_TRAFFIC_SECRET_0", &"1".repeat(64), 32).as_bytes(), &keys);
        assert!(keys.find_only_candidate().is_none());
        keys.find(&[0x11; 32]).unwrap();
        assert!(keys.find_only_candidate().is_some(), "the other one has its connection");
        assert_eq!((0..100).filter(|_| keys.find_only_candidate().is_some()).count(), 6, "and not for ever");
    }
}
