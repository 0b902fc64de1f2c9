//! The phase that a connection is in, and how it is started.
//!
//! ```text
//!   Opening --first bytes--> Startup --StartupMessage--> Regular <-- midstream
//!      |                     |    ^              |
//!      |                     |    |              +-- of protocol 2.0: Refused
//!      |                     |    +-- N: the client goes on in clear
//!      |                     +-- S, G, or TLS before the answer: Encrypted
//!      +-- TLS with ALPN: Encrypted
//!      +-- something else: Foreign
//! ```
//!
//! A client may go on before the server has answered its request for encryption: which answers are owed is known apart from
//! the phase.

use schemars::JsonSchema;
use serde::Serialize;

use super::Session;
use super::dialogue::Dialogue;
use crate::direction::Direction;
use crate::pg::auth::Asked;
use crate::pg::framer::Framing;
use crate::pg::message::Message;
use crate::time::Timestamp;

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
    /// The first bytes of a connection that is not recognized yet.
    Opening,
    /// Messages.
    Messages(Framing),
    /// Encrypted.
    Encrypted,
    /// Bytes of a protocol that is PostgreSQL's, and not read: they are counted.
    Unread,
    /// Bytes of a connection that is not PostgreSQL's.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was recognized.
    Opening,
    /// The client sends startup packets.
    Startup,
    /// Tagged messages in both directions.
    Regular,
    /// Nothing to be read unless it is decrypted; then it begins with a startup packet, or anywhere.
    Encrypted { begins: bool },
    /// The client uses protocol 2.0. What refuses it is read, and nothing else.
    Refused,
    /// The server uses it, too.
    Unread,
    /// Not PostgreSQL.
    Foreign,
}

/// A one-byte answer that the server owes to a request for encryption.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) encryption: Encryption,
    /// Whether the request was encrypted itself.
    is_encrypted: bool,
}

impl Session {
    /// What a direction's next bytes are.
    pub fn route(&self, direction: Direction) -> Route {
        match (self.phase, direction) {
            (Phase::Opening, _) => Route::Opening,
            (Phase::Foreign, _) => Route::Foreign,
            (Phase::Unread, _) => Route::Unread,
            (_, Direction::Backend) if self.owes_answer() => Route::Messages(Framing::EncryptionAnswer),
            (Phase::Encrypted { .. }, _) => Route::Encrypted,
            (Phase::Startup, Direction::Frontend) => Route::Messages(Framing::Startup),
            (Phase::Refused, Direction::Frontend) => Route::Unread,
            (_, Direction::Backend) if !self.is_authenticated => Route::Messages(Framing::Handshake),
            (Phase::Startup | Phase::Refused | Phase::Regular, _) => Route::Messages(Framing::Tagged),
        }
    }

    /// Whether the server owes the answer to a request for encryption.
    pub const fn owes_answer(&self) -> bool {
        self.owed[0].is_some()
    }

    /// Whether it owes the answer to one that was sent in clear. Then it answers in clear, whatever the client went on with.
    pub fn owes_answer_in_clear(&self) -> bool {
        self.owed[0].is_some_and(|owed| !owed.is_encrypted)
    }

    /// The answer that was owed is lost.
    pub const fn lose_answer(&mut self) {
        self.owed = [self.owed[1], None];
    }

    /// The server does not accept what it owes an answer to. Where the client went on as if it did, what comes now is in clear.
    pub(super) fn refuse_encryption(&mut self) {
        if self.owes_answer_in_clear() && matches!(self.phase, Phase::Encrypted { .. }) {
            self.encryption = None;
            self.phase = Phase::Startup;
        }
    }

    fn owe(&mut self, encryption: Encryption) {
        let owed = Owed { encryption, is_encrypted: self.encryption.is_some() };
        if let Some(free) = self.owed.iter_mut().find(|owed| owed.is_none()) {
            *free = Some(owed);
        }
    }

    /// Whether a startup packet may be next, though it was not known that the client is at one: nothing but requests for
    /// encryption and their answers was seen.
    pub const fn may_begin(&self) -> bool {
        !self.has_begun && matches!(self.phase, Phase::Regular | Phase::Startup)
    }

    /// The client begins with a startup packet, though it seemed to be in the middle of its session.
    pub fn begin(&mut self) {
        self.phase = Phase::Startup;
        self.is_authenticated = false;
        self.dialogue = Dialogue::new(self.dialogue.budget().clone());
    }

    /// Whether the client uses a protocol that is not read beyond its startup, unless it is refused.
    pub const fn is_refused(&self) -> bool {
        matches!(self.phase, Phase::Refused)
    }

    /// The server does not refuse it.
    pub const fn leave_unread(&mut self) {
        self.phase = Phase::Unread;
    }

    /// The client's first bytes are a startup packet.
    pub fn recognize_startup(&mut self) {
        self.phase = Phase::Startup;
    }

    /// The server answers a request for encryption that was not seen.
    pub fn recognize_answer(&mut self, encryption: Encryption) {
        self.phase = Phase::Startup;
        self.owe(encryption);
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
            self.phase = if begins { Phase::Startup } else { Phase::Regular };
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

    pub(super) fn observe_startup_packet(&mut self, message: Option<&Message<'_>>, at: Timestamp) {
        (self.is_starting, self.startup_at) = (true, Some(at));
        self.awaits_question = matches!(message, Some(Message::StartupMessage(_)));
        self.phase = match message {
            Some(Message::SslRequest) => {
                self.owe(Encryption::Tls);
                Phase::Startup
            }
            Some(Message::GssencRequest) => {
                self.owe(Encryption::Gssapi);
                Phase::Startup
            }
            Some(Message::UnknownRequest(_)) => Phase::Startup,
            Some(Message::StartupMessage(startup)) if startup.protocol_version.major() < 3 => Phase::Refused,
            _ => Phase::Regular,
        };
        self.has_begun |= !matches!(self.phase, Phase::Startup);
    }

    /// Whether the client may authenticate itself before the server has asked for that.
    pub const fn awaits_question(&self) -> bool {
        self.awaits_question
    }

    /// What the client was asked before it authenticated itself will not be known.
    pub const fn miss_question(&mut self) {
        self.awaits_question = false;
    }

    /// Learns what the server asks the client for from a message of the startup. Returns whether that is known by now.
    pub fn hear(&mut self, message: Option<&Message<'_>>) -> bool {
        match message {
            Some(Message::AuthenticationCleartextPassword | Message::AuthenticationMd5Password(_)) => {
                self.asked = Asked::Password;
            }
            Some(Message::AuthenticationSasl(_)) => self.asked = Asked::SaslInitial,
            Some(Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationGssContinue(_)) => {
                self.asked = Asked::Gss;
            }
            Some(Message::AuthenticationOk) => {
                self.asked = Asked::Unknown;
                self.is_authenticated = true;
            }
            // These come before the server asks.
            Some(Message::NegotiateProtocolVersion(_) | Message::NoticeResponse(_)) => return false,
            _ => {}
        }
        self.awaits_question = false;
        true
    }
}
