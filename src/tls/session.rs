//! One TLS session, observed in both directions: bytes in, in an order in which they can have happened; plaintext
//! out, as far as there are keys.
//!
//! ```text
//!   TLS 1.3   Clear --ServerHello--> Handshake --Finished--> Application --KeyUpdate--> Application
//!                \--early data--> Early --EndOfEarlyData--/
//!   TLS 1.2   Clear --ChangeCipherSpec--> Tls12 --ChangeCipherSpec (renegotiation)--> Tls12
//! ```
//!
//! Each direction goes its own way through these. A record whose key is not there yet is held, with all that comes behind it
//! in either direction, as long as more keys may come; a record that no key fits is lost, and nothing else. Records of TLS 1.3 can be
//! decrypted without the handshake: the tag tells the number of the first, and the suite. Those of TLS 1.2 cannot, for their
//! keys depend on the ServerHello.

use std::collections::VecDeque;

use super::decrypt::Scratch;
use super::facts::Facts;
use super::handshake::{self, Message};
use super::hello::{self, ClientHello, ServerHello, Version};
use super::keylog::{ClientRandom, Keys, Secrets};
use super::record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, Records, TlsRecord};
use super::side::{Budget, Missing, Opened, Parameters, Side, Stage, Unopened};
use super::suite::Suite;
use crate::direction::{Direction, PerDirection};
use crate::packet::Origin;
use crate::time::Timestamp;

/// How many bytes of records wait for their keys.
pub const MAX_HELD: usize = 1 << 20;

/// How long they wait, in microseconds of capture time: key logs are written in the handshake, but may come over a network.
pub const MAX_WAIT: u64 = 10_000_000;

/// What decryption needs beside the session: the keys, and a place to decrypt to.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The keys that are known.
    pub keys: Keys,
    scratch: Scratch,
}

impl Tools {
    /// Tools with these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, scratch: Scratch::default() }
    }
}

/// What a session gives of a direction, in order.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Something is decrypted for the first time; what is known of the session.
    Begins(&'a Facts),
    /// Plaintext.
    Data(&'a [u8]),
    /// Plaintext is missing here.
    Gap {
        /// How many bytes, where that can be told.
        bytes: Option<u64>,
        /// How many bytes of records were captured there all the same.
        skipped: u64,
    },
}

/// Where events go, with the packet that completed each.
pub type Sink<'a> = &'a mut dyn FnMut(Direction, Event<'_>, Origin);

/// Why a session cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no key for the session that this names.
    NoKey(ClientRandom),
    /// There is a key, but none of its records is authentic under it.
    WrongKey(ClientRandom),
    /// The ClientHello, which names the session, was not captured.
    NoClientHello,
    /// The ServerHello, without which keys of TLS 1.2 are not known, was not captured.
    NoServerHello,
    /// It has a version or a cipher suite that is not decrypted here.
    Unsupported,
}

/// What one direction has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Their bytes, and those that belong to none.
    pub bytes: u64,
}

/// What waits for a key.
#[derive(Debug)]
enum Held {
    TlsRecord { direction: Direction, origin: Origin, start: u64, kind: u8, version: [u8; 2], payload: Box<[u8]> },
    Gap { direction: Direction, bytes: u64 },
}

/// How the sides agreed to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreed {
    /// Not yet.
    Nothing,
    /// TLS 1.3.
    Tls13(Suite),
    /// TLS 1.2, from the next ChangeCipherSpec on.
    Tls12(Parameters),
    /// What is not decrypted here.
    Unsupported,
}

/// What became of an encrypted record.
enum Unsealed {
    /// It was decrypted; so many bytes are in the scratch.
    Opened(Opened),
    /// It has to wait for a key.
    Waits,
    /// It was not.
    Not,
}

/// One TLS session.
#[derive(Debug)]
pub struct TlsSession {
    sides: PerDirection<Side>,
    counts: PerDirection<Counts>,
    facts: Facts,
    agreed: Agreed,
    /// The session ID that the client wants to resume.
    offered_id: Box<[u8]>,
    /// The secrets of the client random, and how many keys there were when they were looked for.
    secrets: Option<Secrets>,
    looked_at: Option<u64>,
    held: VecDeque<Held>,
    held_bytes: usize,
    held_since: Option<Timestamp>,
    /// Whether what came next waited for too long.
    has_given_up: bool,
    /// Whether it was searched for the number of the first record behind those that were given up.
    has_searched: bool,
    /// Whether it is known what becomes of early data.
    knows_early_data: bool,
    /// Whether plaintext was given.
    has_begun: bool,
    obstacle: Option<Obstacle>,
    budget: Budget,
}

impl TlsSession {
    /// A session that begins with the next byte of each direction, or that has begun before.
    pub fn new(is_midstream: PerDirection<bool>) -> Self {
        Self {
            sides: PerDirection::new(|direction| Side::new(direction, *is_midstream.get(direction))),
            counts: PerDirection::default(),
            facts: Facts::default(),
            agreed: Agreed::Nothing,
            offered_id: Box::default(),
            secrets: None,
            looked_at: None,
            held: VecDeque::new(),
            held_bytes: 0,
            held_since: None,
            has_given_up: false,
            has_searched: false,
            knows_early_data: false,
            has_begun: false,
            obstacle: None,
            budget: Budget::default(),
        }
    }

    /// Takes the next bytes of a direction.
    pub fn push(&mut self, direction: Direction, mut bytes: &[u8], origin: Origin, tools: &mut Tools, sink: Sink<'_>) {
        self.counts.get_mut(direction).bytes += bytes.len() as u64;
        self.budget.earn(bytes.len() as u64);
        // A record may be borrowed from what carries it, which is taken out as long as it is looked at.
        let mut records = std::mem::replace(&mut self.sides.get_mut(direction).records, Records::new());
        loop {
            let (used, record) = records.next(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
            let Some(record) = record else { break };
            self.counts.get_mut(direction).records += 1;
            self.record(direction, &record, origin, tools, sink);
        }
        self.sides.get_mut(direction).records = records;
        if self.held_bytes > MAX_HELD {
            self.give_up(tools, sink);
        }
    }

    /// Tells that so many bytes of a direction were lost here.
    pub fn gap(&mut self, direction: Direction, bytes: u64) {
        let side = self.sides.get_mut(direction);
        side.records.gap(bytes);
        if self.held.is_empty() {
            side.gap(bytes);
        } else {
            self.held.push_back(Held::Gap { direction, bytes });
        }
    }

    /// Tells that keys may have come: what waits for them is decrypted as far as they go.
    pub fn resume(&mut self, tools: &mut Tools, sink: Sink<'_>) {
        loop {
            // Early data waits for the server's first word behind its hello, which says whether it is taken.
            let of_server = |held: &Held| matches!(held, Held::TlsRecord { direction: Direction::Backend, .. });
            let next = match self.held.front() {
                Some(Held::TlsRecord { direction, .. }) if self.may_be_early(*direction) => {
                    self.held.iter().position(of_server)
                }
                Some(_) => Some(0),
                None => break,
            };
            let Some((at, held)) = next.and_then(|at| Some((at, self.held.remove(at)?))) else { return };
            match held {
                Held::Gap { direction, bytes } => self.sides.get_mut(direction).gap(bytes),
                Held::TlsRecord { direction, origin, start, kind, version, payload } => {
                    let record = TlsRecord { start, kind, version, payload: &payload };
                    if !self.sealed(direction, &record, origin, tools, sink) {
                        self.held.insert(at, Held::TlsRecord { direction, origin, start, kind, version, payload });
                        return;
                    }
                    self.held_bytes -= payload.len();
                }
            }
        }
        self.held_since = None;
        self.held = VecDeque::new();
    }

    /// Waits no longer for keys: what waits for them is decrypted as far as possible, and the rest is not.
    pub fn give_up(&mut self, tools: &mut Tools, sink: Sink<'_>) {
        self.settle_early_data(false);
        if !self.held.is_empty() {
            self.has_given_up = true;
            self.resume(tools, sink);
        }
    }

    /// Tells that nothing more comes of the session.
    pub fn end(&mut self, origin: Origin, tools: &mut Tools, sink: Sink<'_>) {
        self.give_up(tools, sink);
        for direction in Direction::BOTH {
            let side = self.sides.get(direction);
            let skipped = side.left();
            if skipped > 0 && side.may_lack_data() {
                sink(direction, Event::Gap { bytes: None, skipped }, origin);
            }
        }
        if self.secrets.is_some() && !Direction::BOTH.iter().any(|direction| self.has_opened(*direction)) {
            let client_random = self.facts.client_random;
            self.obstacle = self.obstacle.or(client_random.map(Obstacle::WrongKey));
        }
    }

    /// Since when records wait for their keys.
    pub const fn waits_since(&self) -> Option<Timestamp> {
        self.held_since
    }

    /// What is known of the session.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What a direction has brought.
    pub fn counts(&self, direction: Direction) -> Counts {
        *self.counts.get(direction)
    }

    /// Whether something of a direction was decrypted.
    pub fn has_opened(&self, direction: Direction) -> bool {
        self.sides.get(direction).has_opened()
    }

    /// Whether a direction has records that were not decrypted, and none that were.
    pub fn lacks(&self, direction: Direction) -> bool {
        let side = self.sides.get(direction);
        !side.has_opened() && side.left() > 0
    }

    /// Why records are not decrypted.
    pub const fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        let side = |side: &Side| side.records.held() + side.messages.held();
        self.held_bytes
            + self.held.capacity() * size_of::<Held>()
            + self.facts.held()
            + side(&self.sides.frontend)
            + side(&self.sides.backend)
    }

    /// Gives back what is held: the memory is needed for others.
    pub fn release(&mut self, tools: &mut Tools, sink: Sink<'_>) {
        self.give_up(tools, sink);
        self.sides.frontend.records.release();
        self.sides.backend.records.release();
    }

    fn record(
        &mut self,
        direction: Direction,
        record: &TlsRecord<'_>,
        origin: Origin,
        tools: &mut Tools,
        sink: Sink<'_>,
    ) {
        let side = self.sides.get_mut(direction);
        if !side.is_sealed(record) {
            if side.lost_before(record) > 0 {
                side.messages.clear();
            }
            side.understand(record);
            self.content(direction, record.kind, record.payload, origin, sink);
        } else if self.may_be_early(direction)
            || !self.held.is_empty()
            || !self.sealed(direction, record, origin, tools, sink)
        {
            let TlsRecord { start, kind, version, payload } = *record;
            tools.keys.await_more();
            self.held_bytes += payload.len();
            self.held_since.get_or_insert(origin.ts);
            self.held.push_back(Held::TlsRecord { direction, origin, start, kind, version, payload: payload.into() });
            if direction == Direction::Backend && self.may_be_early(Direction::Frontend) {
                self.resume(tools, sink);
            }
        }
    }

    /// Whether what the client sends may be early data of which it is not known whether the server takes it.
    fn may_be_early(&self, direction: Direction) -> bool {
        let is_first = match self.agreed {
            Agreed::Nothing => !self.facts.is_retried,
            _ => self.sides.frontend.stage() == Stage::Early,
        };
        direction == Direction::Frontend && self.facts.offers_early_data && !self.knows_early_data && is_first
    }

    /// The server takes early data; or it does not, so that the client sends it again.
    fn settle_early_data(&mut self, is_accepted: bool) {
        if self.facts.offers_early_data && !std::mem::replace(&mut self.knows_early_data, true) && !is_accepted {
            let client = &mut self.sides.frontend;
            if client.stage() == Stage::Early {
                client.enter(Stage::Handshake);
            }
        }
    }

    /// Takes an encrypted record. Says whether it is done with; else it waits.
    fn sealed(
        &mut self,
        direction: Direction,
        record: &TlsRecord<'_>,
        origin: Origin,
        tools: &mut Tools,
        sink: Sink<'_>,
    ) -> bool {
        let opened = match self.unseal(direction, record, tools) {
            Unsealed::Opened(opened) => opened,
            Unsealed::Waits => return false,
            Unsealed::Not => {
                if direction == Direction::Backend {
                    // What the server says of early data cannot be read.
                    self.settle_early_data(false);
                }
                return true;
            }
        };
        if let Some(Missing { bytes, skipped }) = opened.before {
            self.begin(direction, origin, sink);
            sink(direction, Event::Gap { bytes, skipped }, origin);
        }
        let plaintext = tools.scratch.get(opened.len);
        let side = self.sides.get_mut(direction);
        side.understand(record);
        if matches!(self.agreed, Agreed::Tls13(_)) {
            // "struct { opaque content[]; ContentType type; uint8 zeros[]; } TLSInnerPlaintext"
            let Some(end) = plaintext.iter().rposition(|byte| *byte != 0) else { return true };
            if end + 1 < plaintext.len() {
                side.note_padding();
            }
            if let Some((content, [kind, ..])) = plaintext.split_at_checked(end) {
                self.content(direction, *kind, content, origin, sink);
            }
        } else {
            self.content(direction, record.kind, plaintext, origin, sink);
        }
        true
    }

    fn unseal(&mut self, direction: Direction, record: &TlsRecord<'_>, tools: &mut Tools) -> Unsealed {
        self.look_up(&tools.keys);
        let lacks_server_hello = self.sides.backend.lacks_beginning();
        let side = self.sides.get_mut(direction);
        if let (Agreed::Tls12(parameters), Stage::Clear) = (self.agreed, side.stage()) {
            // Its ChangeCipherSpec was lost.
            side.enter(Stage::Tls12(parameters));
        }
        let result = match (self.agreed, side.stage(), &self.secrets) {
            (Agreed::Unsupported, ..) => {
                self.obstacle.get_or_insert(Obstacle::Unsupported);
                return Unsealed::Not;
            }
            (_, Stage::Tls12(parameters), secrets) => {
                side.open_tls12(&parameters, secrets.as_ref(), record, &mut self.budget, &mut tools.scratch)
            }
            (_, _, None) => Err(Unopened::NoKey),
            (Agreed::Tls13(suite), _, Some(secrets)) => {
                side.open_tls13(suite, secrets, record, &mut self.budget, &mut tools.scratch)
            }
            // It cannot be before the ServerHello.
            (Agreed::Nothing | Agreed::Tls12(_), ..) if !lacks_server_hello => return Unsealed::Not,
            (Agreed::Nothing | Agreed::Tls12(_), _, Some(secrets)) => {
                let found = side.open_unknown(secrets, record, &mut self.budget, &mut tools.scratch);
                if let Ok((suite, _)) = found {
                    self.agree_on_tls13(direction.opposite(), suite);
                }
                found.map(|(_, opened)| opened)
            }
        };
        match result {
            Ok(opened) => {
                self.obstacle = None;
                Unsealed::Opened(opened)
            }
            Err(Unopened::Failed) => Unsealed::Not,
            Err(Unopened::NoKey) => {
                let may_come = tools.keys.are_expected() && self.facts.client_random.is_some();
                if may_come && !self.has_given_up {
                    return Unsealed::Waits;
                }
                self.obstacle = Some(match self.facts.client_random {
                    None => Obstacle::NoClientHello,
                    Some(_) if self.secrets.is_some() && self.agreed == Agreed::Nothing => Obstacle::NoServerHello,
                    Some(client_random) => Obstacle::NoKey(client_random),
                });
                Unsealed::Not
            }
        }
    }

    /// Looks for the session's secrets, where something may have come since it was looked for them last.
    fn look_up(&mut self, keys: &Keys) {
        let generation = keys.generation();
        if self.looked_at == Some(generation) {
            return;
        }
        self.looked_at = Some(generation);
        match &self.facts.client_random {
            Some(client_random) => {
                self.secrets = keys.find(client_random).or(self.secrets.take());
                if self.secrets.is_some() && self.has_given_up && !std::mem::replace(&mut self.has_searched, true) {
                    // How many records were given up is to be found out.
                    self.budget.grant_search();
                }
            }
            None if self.secrets.is_none() => {
                self.secrets = keys.find_only_candidate();
                if self.secrets.is_some() {
                    self.budget.grant_search();
                }
            }
            None => {}
        }
    }

    /// The suite was found by trial, with a record of one direction; the other one's keys go on from where it is.
    fn agree_on_tls13(&mut self, other: Direction, suite: Suite) {
        self.agreed = Agreed::Tls13(suite);
        self.facts.version = Some(Version::TLS13);
        self.facts.suite = Some(suite.id);
        let side = self.sides.get_mut(other);
        side.enter(if side.lacks_beginning() { Stage::Application } else { Stage::Handshake });
        self.budget.grant_search();
    }

    /// Takes content, which was in clear or was decrypted.
    fn content(&mut self, direction: Direction, kind: u8, mut content: &[u8], origin: Origin, sink: Sink<'_>) {
        match kind {
            APPLICATION_DATA if content.is_empty() => {}
            APPLICATION_DATA => {
                self.begin(direction, origin, sink);
                sink(direction, Event::Data(content), origin);
            }
            HANDSHAKE => {
                let mut messages = std::mem::take(&mut self.sides.get_mut(direction).messages);
                while let Some(message) = messages.next(&mut content) {
                    self.message(direction, &message);
                }
                self.sides.get_mut(direction).messages = messages;
            }
            ALERT => self.facts.alert(direction, content),
            CHANGE_CIPHER_SPEC => match self.agreed {
                Agreed::Tls12(parameters) => self.enter(direction, Stage::Tls12(parameters)),
                Agreed::Unsupported => self.enter(direction, Stage::Unsupported),
                // In TLS 1.3 it means nothing.
                Agreed::Tls13(_) | Agreed::Nothing => {}
            },
            _ => {}
        }
    }

    fn begin(&mut self, direction: Direction, origin: Origin, sink: Sink<'_>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            sink(direction, Event::Begins(&self.facts), origin);
        }
    }

    fn message(&mut self, direction: Direction, message: &Message<'_>) {
        let stage = self.sides.get(direction).stage();
        match (message.kind, direction) {
            (handshake::CLIENT_HELLO, Direction::Frontend) => {
                if let Ok(hello) = ClientHello::read(message.body) {
                    self.client_hello(&hello);
                }
            }
            (handshake::SERVER_HELLO, Direction::Backend) => {
                if let Ok(hello) = ServerHello::read(message.body) {
                    self.server_hello(&hello);
                }
            }
            (handshake::ENCRYPTED_EXTENSIONS, Direction::Backend) => {
                self.settle_early_data(hello::accepts_early_data(message.body));
            }
            (handshake::CERTIFICATE, _) => self.facts.certificate(direction, message.body),
            (handshake::END_OF_EARLY_DATA, _) if stage == Stage::Early => self.enter(direction, Stage::Handshake),
            (handshake::FINISHED, _) if matches!(stage, Stage::Early | Stage::Handshake) => {
                self.enter(direction, Stage::Application);
            }
            (handshake::KEY_UPDATE, _) if stage == Stage::Application => {
                self.facts.key_updates += 1;
                if let Agreed::Tls13(suite) = self.agreed {
                    self.sides.get_mut(direction).update(suite);
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, direction: Direction, stage: Stage) {
        self.sides.get_mut(direction).enter(stage);
    }

    fn client_hello(&mut self, hello: &ClientHello<'_>) {
        if let Agreed::Tls13(_) = self.agreed {
            return;
        }
        self.offered_id = hello.session_id.into();
        // The answer to a HelloRetryRequest is the same hello with another share. Another one begins a session anew.
        if self.facts.client_random != Some(hello.random) {
            if self.facts.client_random.is_some() {
                self.facts.renegotiations += 1;
            } else {
                self.facts.client_hello(hello);
            }
            self.facts.client_random = Some(hello.random);
            (self.secrets, self.looked_at) = (None, None);
        }
    }

    fn server_hello(&mut self, hello: &ServerHello<'_>) {
        if let Agreed::Tls13(_) = self.agreed {
            return;
        }
        if hello.is_retry_request() {
            self.facts.is_retried = true;
            return;
        }
        let is_echo = !hello.session_id.is_empty() && *hello.session_id == *self.offered_id;
        let is_tls13 = hello.version == Version::TLS13;
        self.facts.server_hello(hello, if is_tls13 { hello.takes_psk } else { is_echo });
        let suite = Suite::by_id(hello.suite).filter(|suite| suite.is_tls13 == is_tls13);
        self.agreed = match (suite, self.facts.client_random, hello.version) {
            (Some(suite), _, Version::TLS13) => Agreed::Tls13(suite),
            (Some(suite), Some(client_random), Version::TLS12) => Agreed::Tls12(Parameters {
                client_random,
                server_random: hello.random,
                suite,
                encrypts_then_macs: hello.encrypts_then_macs,
            }),
            _ => Agreed::Unsupported,
        };
        if is_tls13 {
            self.enter(Direction::Backend, Stage::Handshake);
            let early = self.facts.offers_early_data && !self.facts.is_retried;
            self.enter(Direction::Frontend, if early { Stage::Early } else { Stage::Handshake });
        }
    }
}
