//! What messages mean to each other: the phase that a connection is in, and which request a reply answers.
//!
//! A [`Session`] is told every message of both directions, in order, and says what is known of each. It holds no bytes of
//! the stream but those of a connection that is not recognized yet.
//!
//! ```text
//!   Opening --first bytes--> Startup --StartupMessage--> Regular <-- midstream
//!      |                     |    ^
//!      |                     |    +-- N: the client goes on in clear
//!      |                     +-- S, G: Encrypted
//!      +-- TLS with ALPN: Encrypted
//!      +-- something else: Foreign
//! ```

use schemars::JsonSchema;
use serde::Serialize;

use crate::direction::Direction;
use crate::pg::auth::{self, Asked};
use crate::pg::copy::{CopyResponse, CopyRows};
use crate::pg::extended::Bind;
use crate::pg::framer::Framing;
use crate::pg::message::{Context, Message};
use crate::pg::query::Query;
use crate::pg::row::Format;
use crate::redaction::Redaction;
use crate::time::Timestamp;

pub mod budget;
pub mod cancel;
mod copy;
pub mod dialogue;
mod effects;
pub mod execution;
pub mod facts;
pub mod meaning;
mod names;
pub mod opening;
pub mod pending;
pub mod pool;
mod request;
pub mod shared;
pub mod statements;
pub mod texts;
pub mod together;

use budget::{Budget, Total};
use cancel::CancelKey;
use copy::Copying;
use dialogue::Dialogue;
use facts::Facts;
use meaning::{Meaning, Seen, Subject};
use shared::Shared;
use together::Replies;

/// How many bytes a connection may take for what it remembers of statements and requests.
const MAX_REMEMBERED: usize = 8 << 20;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Encryption {
    /// TLS.
    Tls,
    /// GSSAPI.
    Gssapi,
}

/// What a direction's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The first of a connection that is not recognized yet.
    Opening,
    /// Messages.
    Messages(Framing),
    /// Encrypted.
    Encrypted,
    /// Of a connection that is not PostgreSQL's.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was recognized.
    Opening,
    /// The client sends startup packets; a request for encryption may wait for its one-byte answer.
    Startup { asked: Option<Encryption> },
    /// Tagged messages in both directions.
    Regular,
    /// Nothing to be read unless it is decrypted; then it begins with a startup packet, or anywhere.
    Encrypted { begins: bool },
    /// Not PostgreSQL.
    Foreign,
}

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    encryption: Option<Encryption>,
    asked: Asked,
    /// When the client's last message of the startup was sent, until ReadyForQuery.
    startup_at: Option<Timestamp>,
    /// Whether ReadyForQuery was seen.
    has_been_ready: bool,
    copying: Copying,
    dialogue: Dialogue,
    facts: Facts,
}

impl Session {
    /// A session that is about to begin.
    pub fn new(all: &Total) -> Self {
        Self::in_phase(Phase::Opening, Dialogue::new(Budget::new(MAX_REMEMBERED, all)))
    }

    /// A session that began before the capture.
    pub fn midstream(all: &Total) -> Self {
        Self::in_phase(Phase::Regular, Dialogue::midstream(Budget::new(MAX_REMEMBERED, all)))
    }

    fn in_phase(phase: Phase, dialogue: Dialogue) -> Self {
        Self {
            phase,
            encryption: None,
            asked: Asked::Unknown,
            startup_at: None,
            has_been_ready: false,
            copying: Copying::default(),
            dialogue,
            facts: Facts::default(),
        }
    }

    /// What a direction's next bytes are.
    pub fn route(&self, direction: Direction) -> Route {
        match (self.phase, direction) {
            (Phase::Opening, _) => Route::Opening,
            (Phase::Startup { .. }, Direction::Frontend) => Route::Messages(Framing::Startup),
            (Phase::Startup { asked: Some(_) }, Direction::Backend) => Route::Messages(Framing::EncryptionAnswer),
            (Phase::Startup { asked: None }, Direction::Backend) | (Phase::Regular, _) => {
                Route::Messages(Framing::Tagged)
            }
            (Phase::Encrypted { .. }, _) => Route::Encrypted,
            (Phase::Foreign, _) => Route::Foreign,
        }
    }

    /// The client's first bytes are a startup packet.
    pub fn recognize_startup(&mut self) {
        self.phase = Phase::Startup { asked: None };
    }

    /// The server answers a request for encryption that was not seen.
    pub fn recognize_answer(&mut self, encryption: Encryption) {
        self.phase = Phase::Startup { asked: Some(encryption) };
    }

    /// The connection is not PostgreSQL's.
    pub fn recognize_foreign(&mut self) {
        self.phase = Phase::Foreign;
    }

    /// Everything from here on is encrypted.
    pub fn encrypt(&mut self, encryption: Encryption) {
        if self.encryption.replace(encryption).is_some() {
            return;
        }
        self.phase = Phase::Encrypted { begins: self.phase != Phase::Regular };
    }

    /// What comes from here on was decrypted.
    pub fn decrypt(&mut self) {
        if let Phase::Encrypted { begins } = self.phase {
            self.phase = if begins { Phase::Startup { asked: None } } else { Phase::Regular };
        }
    }

    /// Where nothing of what is encrypted was decrypted yet: whether it begins with a startup packet.
    pub const fn begins_encrypted(&self) -> Option<bool> {
        match self.phase {
            Phase::Encrypted { begins } => Some(begins),
            _ => None,
        }
    }

    /// How the connection is encrypted.
    pub const fn encryption(&self) -> Option<Encryption> {
        self.encryption
    }

    /// Whether it has been ready for requests, and can be read. It stays so.
    pub const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Regular) && self.startup_at.is_none() && self.has_been_ready
    }

    /// Whether it is ready, and in clear.
    pub const fn is_steady(&self) -> bool {
        self.is_ready() && self.encryption.is_none()
    }

    /// Bytes were lost: what depended on them is not known any more.
    pub fn lose(&mut self, direction: Direction) {
        self.dialogue.lose(direction == Direction::Frontend);
        self.facts.lose();
        self.copying.end();
        self.startup_at = None;
        self.phase = match (self.phase, direction) {
            (Phase::Opening | Phase::Startup { .. }, Direction::Frontend) => Phase::Regular,
            // The answer may be what was lost. What the client sends next tells it: TLS, or a startup packet.
            (Phase::Startup { .. }, Direction::Backend) => Phase::Startup { asked: None },
            (phase, _) => phase,
        };
        if direction == Direction::Backend {
            self.asked = Asked::Unknown;
        }
    }

    /// What the decoding of the next message depends on.
    #[inline(always)]
    pub fn context(&self, redaction: Redaction) -> Context {
        Context {
            asked: self.asked,
            gssenc: matches!(self.phase, Phase::Startup { asked: Some(Encryption::Gssapi) }),
            encoding: self.facts.encoding(),
            copy_format: self.copying.format(),
            is_copy_torn: self.copying.is_torn(),
            redaction,
        }
    }

    /// Takes a message, or the tag of one that could not be decoded, and says what it means here.
    #[inline(always)]
    pub fn observe(&mut self, direction: Direction, seen: &Seen<'_, '_>, shared: &mut Shared, meaning: &mut Meaning) {
        meaning.is_ready = self.facts.observe(direction, seen);
        match direction {
            Direction::Frontend => self.observe_frontend(seen, shared, meaning),
            Direction::Backend => self.observe_backend(seen, shared, meaning),
        }
    }

    #[inline(always)]
    fn observe_frontend(&mut self, seen: &Seen<'_, '_>, shared: &mut Shared, meaning: &mut Meaning) {
        match seen.tag {
            None => {
                self.observe_startup_packet(seen.message, seen.at);
                let Some(Message::CancelRequest(cancel)) = seen.whole() else { return };
                let key = CancelKey::new(cancel.process_id, cancel.secret_key.reveal());
                meaning.target = shared.cancels.request(&key, seen.conn, seen.at);
                if meaning.target.is_none() {
                    meaning.subject = Subject::Unknown;
                }
            }
            Some(b'p') => {
                self.startup_at = Some(seen.at);
                if let Some(Message::SaslInitialResponse(response)) = seen.message {
                    let scram = auth::is_scram(response.mechanism);
                    self.asked = if scram { Asked::ScramContinue } else { Asked::SaslContinue };
                }
            }
            Some(tag) => {
                match tag {
                    b'c' => self.copying.done(Direction::Frontend),
                    b'd' => self.take_data(Direction::Frontend, seen, shared),
                    _ => {}
                }
                if matches!(tag, b'Q' | b'E' | b'c' | b'f') {
                    self.copying.request();
                }
                self.dialogue.request(tag, seen, shared, meaning);
            }
        }
    }

    /// Takes Bind, Describe of its portal where that `is_described`, Execute and Sync, as [`Dialogue::execute`] does.
    pub fn execute(
        &mut self,
        bind: &Bind<'_>,
        is_described: bool,
        seen: &Seen<'_, '_>,
        shared: &mut Shared,
        meaning: &mut Meaning,
    ) -> bool {
        self.dialogue.execute(bind, is_described, seen, shared, meaning) && self.has_taken(seen)
    }

    /// Takes a simple query, as [`Dialogue::query`] does.
    pub fn query(
        &mut self,
        query: &Query<'_>,
        seen: &Seen<'_, '_>,
        shared: &mut Shared,
        meaning: &mut Meaning,
    ) -> bool {
        self.dialogue.query(query, seen, shared, meaning) && self.has_taken(seen)
    }

    /// Requests were taken at once.
    fn has_taken(&mut self, seen: &Seen<'_, '_>) -> bool {
        self.facts.observe(Direction::Frontend, seen);
        self.copying.request();
        true
    }

    /// Takes replies as [`Dialogue::executed_at_once`] does. What is `seen` of them has the last as its message.
    pub fn executed_at_once(
        &mut self,
        replies: &Replies<'_, '_>,
        seen: &Seen<'_, '_>,
        shared: &mut Shared,
        meaning: &mut Meaning,
    ) {
        meaning.is_ready = self.facts.observe(Direction::Backend, seen);
        self.copying.end();
        self.dialogue.executed_at_once(replies, seen, shared, meaning);
    }

    fn begin_copy(&mut self, from: Direction, copy: &CopyResponse<'_>, seen: &Seen<'_, '_>, shared: &Shared) {
        if self.copying.begin(from, copy.format)
            && !seen.is_cut
            && let Some(longest) = shared.longest_copy_row
            && self.dialogue.begins_copy(from)
            && let Some(sql) = self.dialogue.executed(shared)
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
    }

    fn take_data(&mut self, from: Direction, seen: &Seen<'_, '_>, shared: &Shared) {
        let Some(Message::CopyData(copy)) = seen.message else { return };
        if from == Direction::Frontend
            && self.copying.may_begin()
            && let Some(longest) = shared.longest_copy_row
            && let Some(sql) = self.dialogue.last_statement()
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
        self.copying.data(from, copy.data, seen.is_cut, self.dialogue.budget());
    }

    /// Takes the data of a CopyData, if it is a row and nothing else. Any number of such may then be observed as one message
    /// that was not decoded.
    #[inline(always)]
    pub fn takes_row(&mut self, from: Direction, data: &[u8]) -> bool {
        self.copying.row(from, data, self.facts.encoding())
    }

    /// The rows in the CopyData that was observed last; or what CopyDone has left, where that was.
    pub fn copy_rows<'a>(
        &'a self,
        from: Direction,
        data: Option<&'a [u8]>,
        has_keys: bool,
        redaction: Redaction,
    ) -> Option<CopyRows<'a>> {
        self.copying.rows(from, data, has_keys, redaction)
    }

    /// How many bytes are held for what is under way.
    pub fn held(&self) -> usize {
        self.dialogue.held() + self.copying.held()
    }

    /// Gives up the beginning of a row of COPY data, for the memory is needed for others.
    pub fn release_copy(&mut self) {
        self.copying.release();
    }

    fn observe_startup_packet(&mut self, message: Option<&Message<'_>>, at: Timestamp) {
        self.startup_at = Some(at);
        self.phase = match message {
            Some(Message::SslRequest) => Phase::Startup { asked: Some(Encryption::Tls) },
            Some(Message::GssencRequest) => Phase::Startup { asked: Some(Encryption::Gssapi) },
            Some(Message::StartupMessage(startup)) if startup.protocol_version.major() < 3 => Phase::Foreign,
            _ => Phase::Regular,
        };
    }

    #[inline(always)]
    fn observe_backend(&mut self, seen: &Seen<'_, '_>, shared: &mut Shared, meaning: &mut Meaning) {
        let startup_elapsed = self.startup_at.map(|asked_at| seen.at.micros_since(asked_at));
        match seen.message {
            Some(Message::SslResponse(response) | Message::GssencResponse(response)) => {
                match self.phase {
                    // Nothing is encrypted twice.
                    Phase::Startup { asked: Some(encryption) } if response.accepted && self.encryption.is_none() => {
                        self.encrypt(encryption);
                    }
                    _ => self.phase = Phase::Startup { asked: None },
                }
            }
            Some(Message::AuthenticationCleartextPassword | Message::AuthenticationMd5Password(_)) => {
                self.asked = Asked::Password;
            }
            Some(Message::AuthenticationSasl(_)) => self.asked = Asked::SaslInitial,
            Some(Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationGssContinue(_)) => {
                self.asked = Asked::Gss
            }
            Some(Message::AuthenticationOk) => self.asked = Asked::Unknown,
            // Once, before the session is ready.
            Some(Message::BackendKeyData(key))
                if !seen.is_cut && !self.has_been_ready && (!seen.is_guessed || self.startup_at.is_some()) =>
            {
                let key = CancelKey::new(key.process_id, key.secret_key.reveal());
                shared.cancels.begin(key.clone(), seen.conn);
                self.dialogue.set_cancel_key(key);
            }
            Some(Message::CopyInResponse(copy)) => self.begin_copy(Direction::Frontend, copy, seen, shared),
            Some(Message::CopyOutResponse(copy)) => self.begin_copy(Direction::Backend, copy, seen, shared),
            // Replication: "each CopyData … contains" binary messages, whatever the format says.
            Some(Message::CopyBothResponse(_)) => {
                self.copying.begin(Direction::Backend, Format::BINARY);
            }
            _ => {}
        }
        meaning.elapsed_us = startup_elapsed;
        let Some(tag) = seen.tag else { return };
        match tag {
            b'Z' => {
                self.has_been_ready = true;
                self.copying.end();
            }
            b'C' | b'E' => self.copying.end(),
            b'c' => self.copying.done(Direction::Backend),
            b'd' => self.take_data(Direction::Backend, seen, shared),
            _ => {}
        }
        if startup_elapsed.is_some() {
            // Until the session is ready, everything answers the client's last startup message.
            if tag == b'Z' {
                self.startup_at = None;
                self.dialogue.reply(tag, seen, shared, &mut Meaning::default());
            }
            return;
        }
        self.dialogue.reply(tag, seen, shared, meaning);
    }

    /// Requests and replies.
    pub const fn dialogue(&self) -> &Dialogue {
        &self.dialogue
    }

    /// Requests and replies, to take out what is over.
    pub const fn dialogue_mut(&mut self) -> &mut Dialogue {
        &mut self.dialogue
    }

    /// Who the session is, and what became of it.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Who the session is, and what became of it, to be told of the end.
    pub const fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}
