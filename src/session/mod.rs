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

use std::collections::HashMap;

use crate::direction::Direction;
use crate::pg::auth::{self, Asked};
use crate::pg::extended::TargetKind;
use crate::pg::framer::Framing;
use crate::pg::message::{Context, Message};
use crate::pg::row::{Format, Formats, KeptFormats};
use crate::time::Timestamp;

pub mod opening;
pub mod pending;

pub use pending::Attribution;
use pending::{Pending, Request};

/// How many named portals are remembered; past that all are forgotten, and their formats are unknown.
const MAX_PORTALS: usize = 4_096;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Nothing to be read any more.
    Encrypted(Encryption),
    /// Not PostgreSQL.
    Foreign,
}

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    asked: Asked,
    /// When the client's last message of the startup was sent, until ReadyForQuery.
    startup_at: Option<Timestamp>,
    copy_format: Option<Format>,
    pending: Pending,
    portals: Portals,
}

impl Session {
    /// A session that is about to begin.
    pub fn new() -> Self {
        Self::in_phase(Phase::Opening, Pending::default())
    }

    /// A session that began before the capture.
    pub fn midstream() -> Self {
        Self::in_phase(Phase::Regular, Pending::midstream())
    }

    fn in_phase(phase: Phase, pending: Pending) -> Self {
        Self { phase, asked: Asked::Unknown, startup_at: None, copy_format: None, pending, portals: Portals::default() }
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
            (Phase::Encrypted(_), _) => Route::Encrypted,
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
        self.phase = Phase::Encrypted(encryption);
    }

    /// How the connection is encrypted.
    pub const fn encryption(&self) -> Option<Encryption> {
        match self.phase {
            Phase::Encrypted(encryption) => Some(encryption),
            _ => None,
        }
    }

    /// Bytes were lost: what depended on them is not known any more.
    pub fn lose(&mut self, direction: Direction) {
        self.pending.lose();
        self.copy_format = None;
        self.startup_at = None;
        self.phase = match (self.phase, direction) {
            (Phase::Opening | Phase::Startup { .. }, Direction::Frontend) => Phase::Regular,
            // The answer may be what was lost. What the client sends next tells it: TLS, or a startup packet.
            (Phase::Startup { .. }, Direction::Backend) => Phase::Startup { asked: None },
            (phase, _) => phase,
        };
        if direction == Direction::Backend {
            self.asked = Asked::Unknown;
        } else {
            self.portals.forget();
        }
    }

    /// What the decoding of the next message depends on.
    pub const fn context(&self, show_secrets: bool) -> Context {
        Context {
            asked: self.asked,
            gssenc: matches!(self.phase, Phase::Startup { asked: Some(Encryption::Gssapi) }),
            copy_format: self.copy_format,
            show_secrets,
        }
    }

    /// Takes a message, or the tag of one that could not be decoded, and says what it belongs to.
    pub fn observe(
        &mut self,
        direction: Direction,
        tag: Option<u8>,
        message: Option<&Message<'_>>,
        at: Timestamp,
    ) -> Attribution {
        match direction {
            Direction::Frontend => self.observe_frontend(tag, message, at),
            Direction::Backend => self.observe_backend(tag, message, at),
        }
    }

    fn observe_frontend(&mut self, tag: Option<u8>, message: Option<&Message<'_>>, at: Timestamp) -> Attribution {
        let Some(tag) = tag else {
            self.observe_startup_packet(message, at);
            return Attribution::default();
        };
        let (request, formats) = match tag {
            b'P' => (Request::Parse, KeptFormats::Unknown),
            b'B' => {
                self.portals.bind(message);
                (Request::Bind, KeptFormats::Unknown)
            }
            b'D' => match message {
                Some(Message::Describe(target)) if target.kind == TargetKind::Statement => {
                    (Request::DescribeStatement, KeptFormats::Unknown)
                }
                _ => (Request::DescribePortal, KeptFormats::Unknown),
            },
            b'E' => (Request::Execute, self.portals.formats(message)),
            b'C' => (Request::Close, KeptFormats::Unknown),
            b'S' => (Request::Sync, KeptFormats::Unknown),
            b'Q' => (Request::Query, KeptFormats::Unknown),
            b'F' => match message {
                Some(Message::FunctionCall(call)) => (Request::FunctionCall, KeptFormats::All(call.result_format)),
                _ => (Request::FunctionCall, KeptFormats::Unknown),
            },
            b'c' | b'f' => (Request::CopyEnd, KeptFormats::Unknown),
            b'd' | b'H' => return Attribution { query: self.pending.last_query(), elapsed_us: None },
            b'p' => {
                self.startup_at = Some(at);
                if let Some(Message::SaslInitialResponse(response)) = message {
                    let scram = auth::is_scram(response.mechanism);
                    self.asked = if scram { Asked::ScramContinue } else { Asked::SaslContinue };
                }
                return Attribution::default();
            }
            _ => return Attribution::default(),
        };
        self.pending.request(request, at, formats)
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

    fn observe_backend(&mut self, tag: Option<u8>, message: Option<&Message<'_>>, at: Timestamp) -> Attribution {
        let startup_elapsed = self.startup_at.map(|asked_at| at.micros_since(asked_at));
        match message {
            Some(Message::SslResponse(response) | Message::GssencResponse(response)) => {
                self.phase = match self.phase {
                    Phase::Startup { asked: Some(encryption) } if response.accepted => Phase::Encrypted(encryption),
                    _ => Phase::Startup { asked: None },
                };
            }
            Some(Message::AuthenticationCleartextPassword | Message::AuthenticationMd5Password(_)) => {
                self.asked = Asked::Password;
            }
            Some(Message::AuthenticationSasl(_)) => self.asked = Asked::SaslInitial,
            Some(Message::AuthenticationGss | Message::AuthenticationSspi | Message::AuthenticationGssContinue(_)) => {
                self.asked = Asked::Gss
            }
            Some(Message::AuthenticationOk) => self.asked = Asked::Unknown,
            Some(Message::CopyInResponse(copy) | Message::CopyOutResponse(copy)) => {
                self.copy_format = Some(copy.format);
            }
            // Replication: "each CopyData … contains" binary messages, whatever the format says.
            Some(Message::CopyBothResponse(_)) => self.copy_format = Some(Format::BINARY),
            Some(Message::RowDescription(row)) => self.pending.describe_rows(|| row.formats()),
            _ => {}
        }
        let Some(tag) = tag else { return Attribution { query: None, elapsed_us: startup_elapsed } };
        if matches!(tag, b'C' | b'E' | b'Z') {
            self.copy_format = None;
        }
        if startup_elapsed.is_some() {
            // Until the session is ready, everything answers the client's last startup message.
            if tag == b'Z' {
                self.startup_at = None;
            }
            return Attribution { query: None, elapsed_us: startup_elapsed };
        }
        self.pending.reply(tag, at)
    }

    /// The formats of the rows that the backend sends now.
    pub fn row_formats(&self) -> Formats<'_> {
        self.pending.formats()
    }

    /// Whether requests or replies were lost, so that what depends on them is not known.
    pub const fn is_uncertain(&self) -> bool {
        self.pending.is_uncertain()
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// The formats that Bind asked for, by portal.
#[derive(Debug, Default)]
struct Portals {
    unnamed: KeptFormats,
    named: HashMap<Box<[u8]>, KeptFormats>,
}

impl Portals {
    fn bind(&mut self, message: Option<&Message<'_>>) {
        match message {
            Some(Message::Bind(bind)) => {
                let formats = Formats::from_codes(bind.result_formats).to_kept();
                if bind.portal.0.is_empty() {
                    self.unnamed = formats;
                } else {
                    if self.named.len() >= MAX_PORTALS {
                        self.named.clear();
                    }
                    self.named.insert(bind.portal.0.into(), formats);
                }
            }
            // It could not be decoded, and may have been about any of them.
            _ => self.forget(),
        }
    }

    fn formats(&self, message: Option<&Message<'_>>) -> KeptFormats {
        match message {
            Some(Message::Execute(execute)) if execute.portal.0.is_empty() => self.unnamed.clone(),
            Some(Message::Execute(execute)) => self.named.get(execute.portal.0).cloned().unwrap_or_default(),
            _ => KeptFormats::Unknown,
        }
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}
