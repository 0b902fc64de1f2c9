//! Who a session is, and what became of it: what a `session` line is made of.

use schemars::JsonSchema;
use serde::Serialize;

use super::observation::Observation;
use super::walsender::Purpose;
use crate::direction::{Direction, PerDirection};
use crate::encoding::Encoding;
use crate::pg::auth::{is_scram, is_scram_plus};
use crate::pg::error::{Fields, KeptFields, code};
use crate::pg::message::Message;
use crate::pg::query::TransactionStatus;
use crate::pg::row::Metadata;
use crate::pg::startup::{ProtocolVersion, StartupMessage};
use crate::pg::text::{KeptText, Text};
use crate::redaction::Redaction;
use crate::time::Timestamp;
use crate::value::Settings;

/// How many settings are remembered: PostgreSQL reports 15, and poolers and forks some more.
const MAX_PARAMETERS: usize = 64;

/// A name or value longer than this is not remembered.
const MAX_VALUE: usize = 1_024;

/// How many bytes of settings of a StartupMessage are remembered. PostgreSQL takes no longer one.
const MAX_STARTUP: usize = 10_000;

/// The parameters of a StartupMessage that are no settings, or are known otherwise.
const NO_SETTINGS: [&[u8]; 5] = [b"user", b"database", b"replication", b"application_name", b"client_encoding"];

/// How the client showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum AuthMethod {
    /// It was asked for nothing: trust, ident, cert.
    #[serde(rename = "none")]
    None,
    /// A password in clear.
    #[serde(rename = "password")]
    Password,
    /// MD5 of a password.
    #[serde(rename = "md5")]
    Md5,
    /// SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    Scram,
    /// Another mechanism of SASL: OAUTHBEARER.
    #[serde(rename = "sasl")]
    Sasl,
    /// GSSAPI.
    #[serde(rename = "gss")]
    Gss,
    /// SSPI.
    #[serde(rename = "sspi")]
    Sspi,
    /// Something else.
    #[serde(rename = "other")]
    Other,
}

impl AuthMethod {
    /// The method as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
            Self::Sasl => "sasl",
            Self::Gss => "gss",
            Self::Sspi => "sspi",
            Self::Other => "other",
        }
    }
}

/// Channel binding of SCRAM: the proof of the password is tied to the TLS session, so that nobody in between can pass it on
/// (RFC 5802, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ChannelBinding {
    /// The server offers it.
    Offered,
    /// The client uses it.
    Used,
}

/// A setting that the server has reported.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name.
    pub name: KeptText<'static>,
    /// Its value.
    pub value: KeptText<'static>,
}

/// What is known of a session as a whole.
#[derive(Debug, Default)]
pub struct Facts {
    user: Option<KeptText<'static>>,
    database: Option<KeptText<'static>>,
    application: Option<KeptText<'static>>,
    /// Whether the user said who it is.
    is_known: bool,
    parameters: Vec<Setting>,
    /// The settings that the client asked for in its StartupMessage.
    startup: Vec<Setting>,
    /// Whether a backslash in a constant is no escape (`standard_conforming_strings`), as the server reported last, and when.
    pub conforming_strings: Option<(bool, Timestamp)>,
    /// How values are written.
    pub settings: Settings,
    /// Some settings were too many, or too long, to be remembered.
    pub is_limited: bool,
    /// The version of the protocol that is spoken.
    pub protocol_version: Option<ProtocolVersion>,
    /// How the client showed, or was to show, who it is.
    pub auth_method: Option<AuthMethod>,
    /// Whether SCRAM is bound to the TLS session.
    pub channel_binding: Option<ChannelBinding>,
    /// The process ID of the server's process.
    pub process_id: Option<i32>,
    /// The client's first message.
    pub first_at: Option<Timestamp>,
    /// Whether the client has asked Redshift for metadata of columns.
    asks_for_metadata: bool,
    startup_at: Option<Timestamp>,
    authenticated_at: Option<Timestamp>,
    /// When the session was ready for its first request.
    pub ready_at: Option<Timestamp>,
    /// The StartupMessage was found behind a boundary that is a guess.
    is_guessed: bool,
    idle_since: Option<Timestamp>,
    idle_in_transaction_us: u64,
    /// Messages of each direction.
    pub messages: PerDirection<u64>,
    /// Bytes of their messages.
    pub bytes: PerDirection<u64>,
    /// ErrorResponses.
    pub errors: u64,
    /// Whether bytes were lost.
    has_lost: bool,
    /// Whether the client has sent Terminate.
    pub has_terminated: bool,
    /// The first error that ends the session, if the server has sent one.
    failure: Option<Box<KeptFields>>,
}

/// How many bytes of the error that ends a session are kept.
const MAX_FAILURE: usize = 1024;

impl Facts {
    /// Returns whether the server has sent an error that ends the session.
    pub const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Returns that error.
    pub fn failure(&self, redaction: Redaction) -> Option<Fields<'_>> {
        self.failure.as_ref()?.get(redaction)
    }

    /// Counts a message whose header is impossible. Its bytes are counted where they are skipped.
    pub const fn undecodable(&mut self, direction: Direction) {
        *self.messages.get_mut(direction) += 1;
    }

    /// Observes a message. Returns whether the session has just become ready.
    #[inline(always)]
    pub fn observe(&mut self, direction: Direction, observation: &Observation<'_, '_>) -> bool {
        *self.messages.get_mut(direction) += observation.count;
        *self.bytes.get_mut(direction) += observation.size;
        match direction {
            Direction::Frontend => {
                self.observe_frontend(observation);
                false
            }
            Direction::Backend => self.observe_backend(observation),
        }
    }

    #[inline(always)]
    fn observe_frontend(&mut self, observation: &Observation<'_, '_>) {
        self.end_idle(observation.origin.ts);
        self.first_at.get_or_insert(observation.origin.ts);
        match observation.message {
            Some(Message::StartupMessage(startup)) => {
                self.startup_at = Some(observation.origin.ts);
                self.is_guessed = observation.is_guessed();
                self.begin(startup, observation.is_cut());
            }
            Some(Message::Terminate) => self.has_terminated = true,
            Some(Message::SaslInitialResponse(response)) => {
                let is_scram = is_scram(response.mechanism);
                self.auth_method = Some(if is_scram { AuthMethod::Scram } else { AuthMethod::Sasl });
                if is_scram_plus(response.mechanism) {
                    self.channel_binding = Some(ChannelBinding::Used);
                }
            }
            _ => {}
        }
    }

    #[cold]
    fn begin(&mut self, startup: &StartupMessage<'_>, is_cut: bool) {
        self.forget_known();
        self.protocol_version = Some(startup.protocol_version);
        let mut is_physical = false;
        self.startup.clear();
        let mut room = MAX_STARTUP;
        // Of one that is cut off, the last value may be half of another.
        let whole = startup.parameters.iter().count().saturating_sub(is_cut.into());
        for (name, value) in startup.parameters.iter().take(whole) {
            let value = value.get();
            self.settings.parameter(name.0, value.0);
            let kept = || (value.0.len() <= MAX_VALUE).then(|| value.kept().into_owned());
            if !NO_SETTINGS.contains(&name.0) && !name.0.starts_with(b"_pq_.") {
                let len = name.0.len().saturating_add(value.0.len()).saturating_add(size_of::<Setting>());
                if let Some(left) = room.checked_sub(len) {
                    room = left;
                    let (name, value) = (name.kept().into_owned(), value.kept().into_owned());
                    self.startup.push(Setting { name, value });
                }
            }
            match name.0 {
                b"user" => self.user = kept(),
                b"database" => self.database = kept(),
                b"application_name" => self.application = kept(),
                b"replication" => is_physical = Purpose::of_startup(value.0) == Some(Purpose::Physical),
                b"client_protocol_version" => self.asks_for_metadata = value.0 != b"0",
                _ => {}
            }
        }
        if self.database.is_none() && !is_physical && !is_cut {
            // "database: The database to connect to. Defaults to the user name."
            self.database.clone_from(&self.user);
        }
    }

    #[inline(always)]
    fn observe_backend(&mut self, observation: &Observation<'_, '_>) -> bool {
        match observation.message {
            Some(Message::AuthenticationOk) => {
                self.authenticated_at = Some(observation.origin.ts);
                if self.startup_at.is_some() && !self.has_lost {
                    self.auth_method.get_or_insert(AuthMethod::None);
                }
            }
            Some(Message::AuthenticationCleartextPassword) => self.auth_method = Some(AuthMethod::Password),
            Some(Message::AuthenticationMd5Password(_)) => self.auth_method = Some(AuthMethod::Md5),
            Some(Message::AuthenticationSasl(sasl)) => {
                self.auth_method = Some(AuthMethod::Sasl);
                let is_offered = sasl.mechanisms.iter().any(is_scram_plus);
                self.channel_binding = is_offered.then_some(ChannelBinding::Offered);
            }
            Some(Message::AuthenticationGss) => self.auth_method = Some(AuthMethod::Gss),
            Some(Message::AuthenticationSspi) => self.auth_method = Some(AuthMethod::Sspi),
            Some(
                Message::AuthenticationKerberosV5
                | Message::AuthenticationScmCredential
                | Message::UnknownAuthentication(_),
            ) => self.auth_method = Some(AuthMethod::Other),
            Some(Message::BackendKeyData(key)) if !observation.is_cut() => self.process_id = Some(key.process_id),
            Some(Message::NegotiateProtocolVersion(negotiated)) => {
                let newest = negotiated.newest_protocol_version;
                self.protocol_version =
                    Some(self.protocol_version.map_or(newest, |asked| ProtocolVersion(asked.0.min(newest.0))));
            }
            // Whether it was changed is not known. What a StartupMessage begins is another matter: see `confirm`.
            Some(Message::ParameterStatus(status)) if observation.is_guessed() && !self.is_guessed => {
                self.forget(status.name)
            }
            Some(Message::ParameterStatus(status)) if !observation.is_cut() => {
                self.settings.parameter(status.name.0, status.value.0);
                if status.name.0 == b"standard_conforming_strings" {
                    self.conforming_strings = Some((status.value.0 == b"on", observation.origin.ts));
                }
                self.set(status.name, status.value);
            }
            Some(Message::ErrorResponse(fields)) => {
                self.errors += 1;
                let severity = fields.get(code::SEVERITY_NONLOCALIZED).or_else(|| fields.get(code::SEVERITY));
                // A server that has no other words for it than those of protocol 2.0 closes the connection.
                let is_last = fields.is_version_2() || matches!(severity, Some(Text(b"FATAL" | b"PANIC", _)));
                if is_last && self.failure.is_none() {
                    self.failure.insert(Box::default()).keep(fields, MAX_FAILURE);
                }
            }
            Some(Message::ReadyForQuery(ready)) => {
                let is_open =
                    matches!(ready.transaction_status, TransactionStatus::IN_TRANSACTION | TransactionStatus::FAILED);
                self.idle_since = is_open.then_some(observation.origin.ts);
                if self.ready_at.is_none() && self.startup_at.is_some() {
                    self.ready_at = Some(observation.origin.ts);
                    return true;
                }
            }
            _ => {}
        }
        false
    }

    fn set(&mut self, name: Text<'_>, value: Text<'_>) {
        if name.0.len() > MAX_VALUE || value.0.len() > MAX_VALUE {
            self.is_limited = true;
            return;
        }
        if name.0 == b"application_name" {
            self.application = Some(value.kept().into_owned());
        }
        let has_room = self.parameters.len() < MAX_PARAMETERS;
        let (name, value) = (name.kept().into_owned(), value.kept().into_owned());
        match self.parameters.iter_mut().find(|setting| setting.name == name) {
            Some(setting) => setting.value = value,
            None if has_room => self.parameters.push(Setting { name, value }),
            None => self.is_limited = true,
        }
    }

    #[cold]
    fn forget(&mut self, name: Text<'_>) {
        self.parameters.retain(|setting| *setting.name != *name.0);
        self.conforming_strings = None;
        if name.0 == b"application_name" {
            self.application = None;
        }
    }

    /// Boundaries that were guessed are confirmed. Who the session is, is not known, if that was found behind one of them, and
    /// the server has not answered as it answers a StartupMessage.
    #[cold]
    pub fn confirm(&mut self, is_startup: bool) {
        if std::mem::take(&mut self.is_guessed) && !is_startup {
            (self.user, self.database, self.application) = (None, None, None);
            self.parameters.clear();
            self.startup.clear();
            self.conforming_strings = None;
            (self.protocol_version, self.auth_method, self.process_id) = (None, None, None);
            self.channel_binding = None;
            (self.startup_at, self.authenticated_at, self.ready_at) = (None, None, None);
        }
    }

    /// Sets who the session is, as the user knows it.
    pub fn know(&mut self, known: &Identity<'_>, process_id: Option<i32>) {
        let kept = |name: Option<Text<'_>>| Some(name?.kept().into_owned());
        self.user = kept(known.user);
        self.database = kept(known.database);
        self.application = kept(known.application);
        self.process_id = process_id;
        self.is_known = true;
    }

    /// Forgets what the user knew, because another session begins.
    pub fn forget_known(&mut self) {
        if std::mem::take(&mut self.is_known) {
            (self.user, self.database, self.application, self.process_id) = (None, None, None, None);
        }
    }

    /// Returns whether the user said who the session is, and the session did not.
    pub const fn is_known(&self) -> bool {
        self.is_known
    }

    /// The user, the database and the application.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            user: self.user.as_ref().map(KeptText::get),
            database: self.database.as_ref().map(KeptText::get),
            application: self.application.as_ref().map(KeptText::get),
        }
    }

    /// The settings that the server has reported, as they are now.
    pub fn parameters(&self) -> &[Setting] {
        &self.parameters
    }

    /// The settings that the client asked for in its StartupMessage, with secrets masked. `options` is one of them.
    pub fn startup(&self) -> &[Setting] {
        &self.startup
    }

    /// A setting that the server has reported.
    pub fn parameter(&self, name: &[u8]) -> Option<Text<'_>> {
        self.parameters.iter().find(|setting| *setting.name == *name).map(|setting| setting.value.get())
    }

    /// The encoding of what is sent now. Until the server has reported it, a session that begins has none.
    pub fn encoding(&self) -> Encoding {
        let is_beginning = self.startup_at.is_some() && self.ready_at.is_none();
        if is_beginning && self.parameter(b"client_encoding").is_none() {
            Encoding::UTF8
        } else {
            self.settings.encoding()
        }
    }

    /// Whether columns may have Redshift's metadata.
    pub const fn row_metadata(&self) -> Metadata {
        match (self.asks_for_metadata, self.startup_at) {
            (true, _) => Metadata::Announced,
            (false, None) => Metadata::Possible,
            (false, Some(_)) => Metadata::None,
        }
    }

    /// Whether AuthenticationOk was seen.
    pub const fn is_authenticated(&self) -> bool {
        self.authenticated_at.is_some()
    }

    /// Microseconds from StartupMessage to AuthenticationOk.
    pub fn authenticate_us(&self) -> Option<u64> {
        Some(self.authenticated_at?.micros_since(self.startup_at?))
    }

    /// Microseconds in which a transaction was open and the client asked for nothing.
    pub const fn idle_in_transaction_us(&self) -> u64 {
        self.idle_in_transaction_us
    }

    /// Since when a transaction is open and the client asks for nothing, if that is so.
    pub const fn idle_since(&self) -> Option<Timestamp> {
        self.idle_since
    }

    /// The session is not idle any more, or has ended.
    pub fn end_idle(&mut self, at: Timestamp) {
        if let Some(since) = self.idle_since.take() {
            self.idle_in_transaction_us = self.idle_in_transaction_us.saturating_add(at.micros_since(since));
        }
    }

    /// Bytes were lost: whether the session is idle is not known, nor what the client was asked.
    pub const fn lose(&mut self) {
        self.idle_since = None;
        self.conforming_strings = None;
        self.has_lost = true;
    }
}

/// Who a session is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// The user.
    pub user: Option<Text<'a>>,
    /// The database.
    pub database: Option<Text<'a>>,
    /// The application, by its own words.
    pub application: Option<Text<'a>>,
}
