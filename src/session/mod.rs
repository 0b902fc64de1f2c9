//! What messages mean to each other: the phase that a connection is in, and which request a reply answers.
//!
//! A [`Session`] is told every message of both directions, in order, and says what is known of each. It holds no bytes of
//! the stream but those of a connection that is not recognized yet.
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

use crate::direction::Direction;
use crate::pg::auth::{self, Asked, SaslInitialResponse, SaslResponse, UnknownAuthenticationResponse};
use crate::pg::copy::{CopyResponse, CopyRows};
use crate::pg::extended::Bind;
use crate::pg::frame::Frame;
use crate::pg::framer::Framing;
use crate::pg::message::{Context, Message};
use crate::pg::message_table::{backend, frontend};
use crate::pg::row::Format;
use crate::pg::startup::{self, StartupMessage};
use crate::redaction::Redaction;
use crate::time::Timestamp;

pub mod answers;
pub mod budget;
pub mod cancel;
mod copy;
pub mod dialogue;
pub mod exchange;
pub mod execution;
pub mod facts;
pub mod interner;
mod name_commands;
mod names;
pub mod observation;
pub mod opening;
mod pipeline;
pub mod pool;
mod reply;
mod request;
pub mod request_queue;
mod revision;
mod secrets;
mod settle;
pub mod shared;
pub mod statements;
pub mod violation;

use budget::{Budget, Total};
use cancel::CancelKey;
use copy::Copying;
use dialogue::Dialogue;
use exchange::{EndedExchange, OpenExchange, Replies, Requests};
use facts::Facts;
use observation::{Annotation, Observation, Subject};
use secrets::Secrets;
use shared::Shared;

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
    /// Of a protocol that is PostgreSQL's, and not read: they are counted.
    Unread,
    /// Of a connection that is not PostgreSQL's.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was recognized.
    Opening,
    /// The client sends startup packets.
    Startup,
    /// Tagged messages in both directions.
    Regular,
    /// Nothing to be read unless it is decrypted; then it begins with a startup packet, or anywhere.
    Encrypted { begins: bool },
    /// The client speaks protocol 2.0. What refuses it is read, and nothing else.
    Refused,
    /// The server speaks it, too.
    Unread,
    /// Not PostgreSQL.
    Foreign,
}

/// A one-byte answer that the server owes to a request for encryption.
#[derive(Clone, Copy, Debug)]
struct Owed {
    encryption: Encryption,
    /// Whether the request was encrypted itself.
    is_encrypted: bool,
}

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    encryption: Option<Encryption>,
    /// The answers that are owed, in order. A server takes a request of each kind once.
    owed: [Option<Owed>; 2],
    /// Whether the server has shown that the client is authenticated.
    is_authenticated: bool,
    /// Whether something was seen of more than requests for encryption, and their answers.
    has_begun: bool,
    asked: Asked,
    /// Whether the session is being started: the ReadyForQuery that ends that belongs to no request.
    is_starting: bool,
    /// Whether the server has not said yet how the client is to show who it is.
    awaits_question: bool,
    /// When the client's last message of the startup was sent, until ReadyForQuery.
    startup_at: Option<Timestamp>,
    /// Whether ReadyForQuery was seen.
    has_been_ready: bool,
    copying: Copying,
    dialogue: Dialogue,
    facts: Facts,
    /// The secrets that it has sent, where it has sent any.
    secrets: Option<Box<Secrets>>,
}

impl Session {
    /// A session that is about to begin.
    pub fn new(all: &Total) -> Self {
        Self::in_phase(Phase::Opening, Dialogue::new(Budget::new(MAX_REMEMBERED, all)))
    }

    /// A session that began before the capture.
    pub fn midstream(all: &Total) -> Self {
        let dialogue = Dialogue::midstream(Budget::new(MAX_REMEMBERED, all));
        Self { is_authenticated: true, ..Self::in_phase(Phase::Regular, dialogue) }
    }

    fn in_phase(phase: Phase, dialogue: Dialogue) -> Self {
        Self {
            phase,
            encryption: None,
            owed: [None; 2],
            is_authenticated: false,
            has_begun: false,
            asked: Asked::Unknown,
            is_starting: false,
            awaits_question: false,
            startup_at: None,
            has_been_ready: false,
            copying: Copying::default(),
            dialogue,
            facts: Facts::default(),
            secrets: None,
        }
    }

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
    fn refuse_encryption(&mut self) {
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

    /// The client begins with a startup packet, though it was taken for one in the middle of its session.
    pub fn begin(&mut self) {
        self.phase = Phase::Startup;
        self.is_authenticated = false;
        self.dialogue = Dialogue::new(self.dialogue.budget().clone());
    }

    /// Whether the client speaks what is not read beyond its startup, unless it is refused.
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

    /// Bytes were lost: what depended on them is not known any more.
    pub fn lose(&mut self, direction: Direction) {
        self.dialogue.pipeline().lose(direction == Direction::Frontend);
        self.facts.lose();
        self.copying.end();
        (self.is_starting, self.awaits_question, self.startup_at) = (false, false, None);
        self.phase = match (self.phase, direction) {
            (Phase::Opening | Phase::Startup, Direction::Frontend) => Phase::Regular,
            (phase, _) => phase,
        };
        if direction == Direction::Backend {
            self.asked = Asked::Unknown;
            // The answer may be what was lost. What the client sends next tells it: TLS, or a startup packet.
            self.owed = [None; 2];
            // Text is believed only behind a boundary that is certain.
            self.is_authenticated = true;
        }
    }

    /// What the decoding of the next message depends on.
    #[inline(always)]
    pub fn context(&self, redaction: Redaction) -> Context {
        Context {
            asked: self.asked,
            is_authenticated: self.has_been_ready || self.facts.is_authenticated(),
            gssenc: self.owed[0].is_some_and(|owed| owed.encryption == Encryption::Gssapi),
            encoding: self.facts.encoding(),
            copy_format: self.copying.format(),
            is_copy_torn: self.copying.is_torn(),
            metadata: self.facts.row_metadata(),
            redaction,
        }
    }

    /// Takes a message, or the tag of one that could not be decoded, and says what it means here.
    #[inline(always)]
    pub fn observe(
        &mut self,
        direction: Direction,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) {
        annotation.is_ready = self.facts.observe(direction, observation);
        match direction {
            Direction::Frontend => self.observe_frontend(observation, shared, annotation),
            Direction::Backend => self.observe_backend(observation, shared, annotation),
        }
    }

    #[inline(always)]
    fn observe_frontend(
        &mut self,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) {
        match observation.tag {
            None => {
                self.observe_startup_packet(observation.message, observation.at);
                if let Some(Message::StartupMessage(startup)) = observation.message {
                    self.learn_startup(startup);
                }
                let Some(Message::CancelRequest(cancel)) = observation.whole() else { return };
                let key = CancelKey::new(cancel.process_id, cancel.secret_key.reveal());
                annotation.target = shared.cancels.request(&key, observation.conn, observation.at);
                if annotation.target.is_none() {
                    annotation.subject = Subject::Unknown;
                }
            }
            Some(frontend::PASSWORD_MESSAGE) if !self.has_been_ready => {
                self.has_begun = true;
                (self.is_starting, self.startup_at) = (true, Some(observation.at));
                self.learn_response(observation.message, observation.is_cut);
                if let Some(Message::SaslInitialResponse(response)) = observation.message {
                    let scram = auth::is_scram(response.mechanism);
                    self.asked = if scram { Asked::ScramContinue } else { Asked::SaslContinue };
                }
            }
            Some(tag) => {
                self.has_begun = true;
                match tag {
                    frontend::COPY_DONE => self.copying.done(Direction::Frontend),
                    frontend::COPY_DATA => self.take_data(Direction::Frontend, observation, shared),
                    _ => {}
                }
                if matches!(tag, frontend::QUERY | frontend::EXECUTE | frontend::COPY_DONE | frontend::COPY_FAIL) {
                    self.copying.request();
                }
                self.dialogue.pipeline().request(tag, observation, shared, annotation);
                if annotation.has_secrets || tag == frontend::COPY_FAIL {
                    self.learn(observation.message, observation.is_cut, annotation);
                }
            }
        }
    }

    /// Remembers the secrets in a StartupMessage: what refuses it may repeat them, and what comes later.
    #[cold]
    fn learn_startup(&mut self, startup: &StartupMessage<'_>) {
        let mut has_secrets = false;
        if startup.parameters.secrets(|_| has_secrets = true) || has_secrets {
            self.secrets.get_or_insert_default().learn_startup(startup);
        }
    }

    /// Remembers what a client shows to tell who it is.
    #[cold]
    fn learn_response(&mut self, message: Option<&Message<'_>>, is_cut: bool) {
        match message {
            Some(Message::PasswordMessage(message)) => {
                self.secrets.get_or_insert_default().learn_value(message.password.reveal());
            }
            Some(
                Message::SaslInitialResponse(SaslInitialResponse { data: Some(Some(data)), .. })
                | Message::SaslResponse(SaslResponse { data: Some(data), .. })
                | Message::UnknownAuthenticationResponse(UnknownAuthenticationResponse { data }),
            ) => self.secrets.get_or_insert_default().learn_response(data.reveal(), is_cut),
            _ => {}
        }
    }

    /// Remembers the secrets in a request.
    #[cold]
    fn learn(&mut self, message: Option<&Message<'_>>, is_cut: bool, annotation: &Annotation) {
        if let Some(Message::CopyFail(fail)) = message {
            if crate::sql::secret::may_have(fail.reason.0) {
                self.secrets.get_or_insert_default().learn_reason(fail.reason);
            }
            return;
        }
        let secrets = self.secrets.get_or_insert_default();
        match message {
            Some(Message::Query(query)) => secrets.learn(query.query.text, is_cut),
            Some(Message::Parse(parse)) => secrets.learn(parse.query.text, is_cut),
            Some(Message::Bind(bind)) => self.learn_values(bind, annotation),
            _ => {}
        }
    }

    /// Remembers the values of parameters that are secrets.
    #[cold]
    fn learn_values(&mut self, bind: &Bind<'_>, annotation: &Annotation) {
        let secrets = self.secrets.get_or_insert_default();
        let mut are_secrets = annotation.subject.secret_parameters();
        for value in bind.parameter_values.list.iter() {
            if let (true, Some(value)) = (are_secrets.shift(), value.0) {
                secrets.learn_value(value);
            }
        }
    }

    /// The body of a message of the server without the secrets of the session, where it repeats them: errors and notices; of a
    /// request with a secret also its rows; settings and notifications.
    #[inline(always)]
    pub fn masked(&self, direction: Direction, frame: &Frame<'_>, redaction: Redaction) -> Option<Vec<u8>> {
        let secrets = self.secrets.as_deref().filter(|_| redaction.hides_secrets())?;
        if direction == Direction::Frontend {
            return None;
        }
        let is_cut = frame.missing > 0 || !frame.damage.is_empty();
        match frame.tag? {
            backend::ERROR_RESPONSE | backend::NOTICE_RESPONSE => {
                secrets.mask_fields(frame.body, self.facts.encoding(), is_cut)
            }
            backend::NOTIFICATION_RESPONSE => secrets.mask_last(frame.body, self.facts.encoding(), is_cut),
            backend::PARAMETER_STATUS
                if startup::may_repeat(frame.body.split(|b| *b == 0).next().unwrap_or_default()) =>
            {
                secrets.mask_last(frame.body, self.facts.encoding(), is_cut)
            }
            backend::DATA_ROW if secrets.is_current() => secrets.mask_row(frame.body, is_cut),
            _ => None,
        }
    }

    /// Whether rows that come now may repeat a secret.
    #[inline(always)]
    fn masks_rows(&self) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.is_current())
    }

    /// Whether any number of DataRow or CopyData messages of the server's, by their tag, do no more than to continue the reply to
    /// the request that is being answered, and need not be looked at one by one.
    #[inline(always)]
    pub fn goes_on_with_data(&self, tag: u8) -> bool {
        !(tag == backend::DATA_ROW && self.masks_rows()) && self.dialogue.goes_on_with_data(tag)
    }

    /// Observes requests that come together, as an exchange. Returns false, and nothing was observed, where they have to be
    /// observed one by one.
    pub fn begin_exchange(
        &mut self,
        requests: &Requests<'_, '_>,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> bool {
        if !self.dialogue.begin_exchange(requests, observation, shared, annotation) {
            return false;
        }
        if let (true, Requests::Execution { bind, .. }) = (annotation.has_secrets, requests) {
            self.learn_values(bind, annotation);
        }
        self.facts.observe(Direction::Frontend, observation);
        self.copying.request();
        true
    }

    /// The exchange that is under way, where its replies need not be looked at one by one.
    pub fn exchange(&self) -> Option<OpenExchange<'_>> {
        if self.masks_rows() { None } else { self.dialogue.exchange() }
    }

    /// Observes replies that come together, where they are all of those to the [exchange](Self::exchange), which ends then. Returns
    /// `None`, and nothing was observed, where they have to be observed one by one.
    pub fn end_exchange(
        &mut self,
        replies: &Replies<'_, '_>,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> Option<EndedExchange> {
        let ended = self.dialogue.end_exchange(replies, observation, shared, annotation)?;
        self.facts.observe(Direction::Backend, observation);
        self.copying.end();
        Some(ended)
    }

    fn begin_copy(
        &mut self,
        from: Direction,
        copy: &CopyResponse<'_>,
        observation: &Observation<'_, '_>,
        shared: &Shared,
    ) {
        if self.copying.begin(from, copy.format)
            && !observation.is_cut
            && let Some(longest) = shared.longest_copy_row
            && self.dialogue.pipeline().begins_copy(from)
            && let Some(sql) = self.dialogue.executed(shared)
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
    }

    fn take_data(&mut self, from: Direction, observation: &Observation<'_, '_>, shared: &Shared) {
        let Some(Message::CopyData(copy)) = observation.message else { return };
        if from == Direction::Frontend
            && self.copying.may_begin()
            && let Some(longest) = shared.longest_copy_row
            && let Some(sql) = self.dialogue.last_statement()
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
        self.copying.data(from, copy.data, observation.is_cut, self.dialogue.budget());
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

    #[inline(always)]
    fn observe_backend(&mut self, observation: &Observation<'_, '_>, shared: &mut Shared, annotation: &mut Annotation) {
        let startup_elapsed = self.startup_at.map(|asked_at| observation.at.micros_since(asked_at));
        if self.is_starting || observation.tag == Some(backend::AUTHENTICATION) {
            self.hear(observation.message);
        }
        match observation.message {
            Some(Message::SslResponse(response) | Message::GssencResponse(response)) => {
                let owed = self.owed[0];
                match owed {
                    // Nothing is encrypted twice.
                    Some(owed) if response.accepted => self.encrypt(owed.encryption),
                    _ => self.refuse_encryption(),
                }
                self.lose_answer();
            }
            // Once, before the session is ready.
            Some(Message::BackendKeyData(key))
                if !observation.is_cut
                    && !self.has_been_ready
                    && (!observation.is_guessed || self.startup_at.is_some()) =>
            {
                let key = CancelKey::new(key.process_id, key.secret_key.reveal());
                shared.cancels.begin(key.clone(), observation.conn);
                self.dialogue.pipeline().cancel_key = Some(key);
            }
            Some(Message::CopyInResponse(copy)) => self.begin_copy(Direction::Frontend, copy, observation, shared),
            Some(Message::CopyOutResponse(copy)) => self.begin_copy(Direction::Backend, copy, observation, shared),
            // Replication: "each CopyData … contains" binary messages, whatever the format says.
            Some(Message::CopyBothResponse(_)) => {
                self.copying.begin(Direction::Backend, Format::BINARY);
            }
            _ => {}
        }
        annotation.elapsed_us = startup_elapsed;
        let Some(tag) = observation.tag else { return };
        self.has_begun = true;
        match tag {
            backend::READY_FOR_QUERY => {
                self.has_been_ready = true;
                self.is_authenticated = true;
                self.copying.end();
            }
            // Only a session that is not ready yet is told these, though the beginning of the capture may be behind its own.
            backend::AUTHENTICATION | backend::BACKEND_KEY_DATA => self.is_starting |= !self.has_been_ready,
            backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE => {
                self.copying.end();
                if self.owes_answer() {
                    // An error instead of it.
                    self.refuse_encryption();
                    self.owed = [None; 2];
                }
            }
            backend::COPY_DONE => self.copying.done(Direction::Backend),
            backend::COPY_DATA => self.take_data(Direction::Backend, observation, shared),
            _ => {}
        }
        if self.is_starting {
            // Until the session is ready, everything answers the client's last startup message. Requests that were sent ahead wait.
            if tag == backend::READY_FOR_QUERY {
                (self.is_starting, self.startup_at) = (false, None);
                self.dialogue.pipeline().begin(observation);
                self.end_request_with_secrets();
            }
            return;
        }
        self.dialogue.pipeline().reply(tag, observation, shared, annotation);
        if tag == backend::READY_FOR_QUERY {
            self.end_request_with_secrets();
        }
    }

    fn end_request_with_secrets(&mut self) {
        if let Some(secrets) = &mut self.secrets
            && !self.dialogue.has_pending()
        {
            secrets.end_request();
        }
    }

    /// Whether what the client sends to show who it is may come before the server has said how it is to do that.
    pub const fn awaits_question(&self) -> bool {
        self.awaits_question
    }

    /// Gives up to know what the client was asked before it showed who it is.
    pub const fn miss_question(&mut self) {
        self.awaits_question = false;
    }

    /// Takes what the server asks the client for, from a message of the startup. Says whether that is known by now.
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
