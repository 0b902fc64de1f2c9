//! One TLS session, observed in both directions: bytes in, in a causally consistent order; plaintext out, as far as keys are
//! known.
//!
//! ```text
//!   TLS 1.3   Clear --ServerHello--> Handshake --Finished--> Application --KeyUpdate--> Application
//!                \--early data--> Early --EndOfEarlyData--/
//!   TLS 1.2   Clear --ChangeCipherSpec--> Tls12 --ChangeCipherSpec (renegotiation)--> Tls12
//! ```
//!
//! Each direction moves through these stages independently. A record whose key is not known yet is held, together with everything
//! after it in both directions, as long as more keys may arrive. A record that no key fits is lost, and nothing else. TLS 1.3
//! records can be decrypted without the handshake: the sequence number of the first record, and the suite, are found by trial
//! with the authentication tag. TLS 1.2 records cannot, because their keys depend on the ServerHello.

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

/// The maximum number of bytes of records held for keys.
pub const MAX_HELD: usize = 1 << 20;

/// The maximum time that records are held, in microseconds of capture time. Key logs are written during the handshake, but may
/// arrive over a network.
pub const MAX_WAIT: u64 = 10_000_000;

/// What decryption needs besides the session: the keys, and an output buffer.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The known keys.
    pub keys: Keys,
    scratch: Scratch,
}

impl Tools {
    /// Creates tools with these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, scratch: Scratch::default() }
    }
}

/// An event of one direction of a session, in order.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The first record was decrypted; the metadata of the session.
    Begins(&'a Facts),
    /// Plaintext.
    Data(&'a [u8]),
    /// Plaintext is missing.
    Gap {
        /// The number of missing bytes, if known.
        bytes: Option<u64>,
        /// How many bytes of captured records the gap contains.
        skipped: u64,
    },
}

/// The receiver of events, each with the packet that completed it.
pub type Sink<'a> = &'a mut dyn FnMut(Direction, Event<'_>, Origin);

/// Why a session cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No key is known for the session with this client random.
    NoKey(ClientRandom),
    /// A key is known, but no record is authentic under it.
    WrongKey(ClientRandom),
    /// The ClientHello, which identifies the session, was not captured.
    NoClientHello,
    /// The ServerHello, on which TLS 1.2 keys depend, was not captured.
    NoServerHello,
    /// The version or the cipher suite is not supported.
    Unsupported,
}

/// Statistics of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The number of records.
    pub records: u64,
    /// The number of bytes, including those outside of records.
    pub bytes: u64,
}

/// An item that waits for a key.
#[derive(Debug)]
enum Held {
    TlsRecord { direction: Direction, origin: Origin, start: u64, kind: u8, version: [u8; 2], payload: Box<[u8]> },
    Gap { direction: Direction, bytes: u64 },
}

/// The negotiated version and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreed {
    /// None yet.
    Nothing,
    /// TLS 1.3.
    Tls13(Suite),
    /// TLS 1.2, from the next ChangeCipherSpec on.
    Tls12(Parameters),
    /// An unsupported version or suite.
    Unsupported,
}

/// The result of decrypting a record.
enum Unsealed {
    /// Decrypted into the scratch buffer.
    Opened(Opened),
    /// The record has to wait for a key.
    Waits,
    /// The record cannot be decrypted.
    Failed,
}

/// One TLS session.
#[derive(Debug)]
pub struct TlsSession {
    sides: PerDirection<Side>,
    counts: PerDirection<Counts>,
    facts: Facts,
    agreed: Agreed,
    /// The session ID that the client offers to resume.
    offered_id: Box<[u8]>,
    /// The secrets of the session, and the keys' generation at the last lookup.
    secrets: Option<Secrets>,
    /// The session of which these secrets are, if the ClientHello was not captured.
    candidate: Option<ClientRandom>,
    looked_at: Option<u64>,
    held: VecDeque<Held>,
    held_bytes: usize,
    held_since: Option<Timestamp>,
    /// Whether the held records waited for too long.
    has_given_up: bool,
    /// Whether the sequence number of the first record after those given up was searched for.
    has_searched: bool,
    /// Whether it is known if early data is accepted.
    knows_early_data: bool,
    /// Whether plaintext was emitted.
    has_begun: bool,
    obstacle: Option<Obstacle>,
    budget: Budget,
}

impl TlsSession {
    /// Creates a session whose directions begin with the next byte, or have begun before the capture.
    pub fn new(is_midstream: PerDirection<bool>) -> Self {
        Self {
            sides: PerDirection::new(|direction| Side::new(direction, *is_midstream.get(direction))),
            counts: PerDirection::default(),
            facts: Facts::default(),
            agreed: Agreed::Nothing,
            offered_id: Box::default(),
            secrets: None,
            candidate: None,
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

    /// Processes the next bytes of a direction.
    pub fn push(&mut self, direction: Direction, mut bytes: &[u8], origin: Origin, tools: &mut Tools, sink: Sink<'_>) {
        self.counts.get_mut(direction).bytes += bytes.len() as u64;
        self.budget.earn(bytes.len() as u64);
        // A record may borrow from `records`, which is therefore moved out while the record is processed.
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

    /// Records that bytes of a direction were lost here.
    pub fn gap(&mut self, direction: Direction, bytes: u64) {
        let side = self.sides.get_mut(direction);
        side.records.gap(bytes);
        if self.held.is_empty() {
            side.gap(bytes);
        } else {
            self.held.push_back(Held::Gap { direction, bytes });
        }
    }

    /// Decrypts held records as far as possible after keys may have arrived.
    pub fn resume(&mut self, tools: &mut Tools, sink: Sink<'_>) {
        loop {
            // Early data waits for the server's first message after its hello, which shows whether it is accepted.
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

    /// Stops waiting for keys: decrypts held records as far as possible, and drops the rest.
    pub fn give_up(&mut self, tools: &mut Tools, sink: Sink<'_>) {
        self.settle_early_data(false);
        if !self.held.is_empty() {
            self.has_given_up = true;
            self.resume(tools, sink);
        }
    }

    /// Records the end of the session.
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

    /// Returns since when records have been held.
    pub const fn waits_since(&self) -> Option<Timestamp> {
        self.held_since
    }

    /// Returns the metadata of the session.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the statistics of a direction.
    pub fn counts(&self, direction: Direction) -> Counts {
        *self.counts.get(direction)
    }

    /// Returns whether data of a direction was decrypted.
    pub fn has_opened(&self, direction: Direction) -> bool {
        self.sides.get(direction).has_opened()
    }

    /// Returns whether a direction has encrypted records, none of which was decrypted.
    pub fn lacks(&self, direction: Direction) -> bool {
        let side = self.sides.get(direction);
        !side.has_opened() && side.left() > 0
    }

    /// Returns what identifies the session in a key log, as far as is known.
    pub fn client_random(&self) -> Option<ClientRandom> {
        self.facts.client_random.or(self.candidate)
    }

    /// Returns why records are not decrypted.
    pub const fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }

    /// Returns the number of bytes held.
    pub fn held(&self) -> usize {
        let side = |side: &Side| side.records.held() + side.messages.held();
        self.held_bytes
            + self.held.capacity() * size_of::<Held>()
            + self.facts.held()
            + side(&self.sides.frontend)
            + side(&self.sides.backend)
    }

    /// Frees held data, in order to use the memory for other connections.
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
            side.mark_processed(record);
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

    /// Returns whether the client's data may be early data that the server has neither accepted nor rejected yet.
    fn may_be_early(&self, direction: Direction) -> bool {
        let is_first = match self.agreed {
            Agreed::Nothing => !self.facts.is_retried,
            _ => self.sides.frontend.stage() == Stage::Early,
        };
        direction == Direction::Frontend && self.facts.offers_early_data && !self.knows_early_data && is_first
    }

    /// Records whether the server accepts early data. If it does not, the client sends it again.
    fn settle_early_data(&mut self, is_accepted: bool) {
        if self.facts.offers_early_data && !std::mem::replace(&mut self.knows_early_data, true) && !is_accepted {
            let client = &mut self.sides.frontend;
            if client.stage() == Stage::Early {
                client.enter(Stage::Handshake);
            }
        }
    }

    /// Processes an encrypted record. Returns `false` if it has to wait for a key.
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
            Unsealed::Failed => {
                if direction == Direction::Backend {
                    // The server's answer to early data cannot be decrypted.
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
        side.mark_processed(record);
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
            // The ChangeCipherSpec was lost.
            side.enter(Stage::Tls12(parameters));
        }
        let result = match (self.agreed, side.stage(), &self.secrets) {
            (Agreed::Unsupported, ..) => {
                self.obstacle.get_or_insert(Obstacle::Unsupported);
                return Unsealed::Failed;
            }
            (_, Stage::Tls12(parameters), secrets) => {
                side.open_tls12(&parameters, secrets.as_ref(), record, &mut self.budget, &mut tools.scratch)
            }
            (_, _, None) => Err(Unopened::NoKey),
            (Agreed::Tls13(suite), _, Some(secrets)) => {
                side.open_tls13(suite, secrets, record, &mut self.budget, &mut tools.scratch)
            }
            // There is no encryption before the ServerHello.
            (Agreed::Nothing | Agreed::Tls12(_), ..) if !lacks_server_hello => return Unsealed::Failed,
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
            Err(Unopened::Failed) => Unsealed::Failed,
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
                Unsealed::Failed
            }
        }
    }

    /// Looks up the session's secrets, if keys were added since the last lookup.
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
                    // The number of records given up has to be found by trial.
                    self.budget.grant_search();
                }
            }
            None if self.secrets.is_none() => {
                (self.candidate, self.secrets) = keys.find_only_candidate().unzip();
                if self.secrets.is_some() {
                    self.budget.grant_search();
                }
            }
            None => {}
        }
    }

    /// Records the suite that a trial with a record of one direction has found. The other direction's keys continue at its stage.
    fn agree_on_tls13(&mut self, other: Direction, suite: Suite) {
        self.agreed = Agreed::Tls13(suite);
        self.facts.version = Some(Version::TLS13);
        self.facts.suite = Some(suite.id);
        let side = self.sides.get_mut(other);
        side.enter(if side.lacks_beginning() { Stage::Application } else { Stage::Handshake });
        self.budget.grant_search();
    }

    /// Processes content that was sent in the clear or was decrypted.
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
                // It has no meaning in TLS 1.3.
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
        // A ClientHello that answers a HelloRetryRequest differs only in its key share. Any other one begins a new session.
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
        self.facts.server_hello(hello, if is_tls13 { hello.accepts_psk } else { is_echo });
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
