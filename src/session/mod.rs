//! What messages mean to each other: the phase that a connection is in, and which request a reply answers.
//!
//! A [`Session`] observes every message of both directions, in order, and annotates each with what is known of it. It holds no bytes of
//! the stream but those of a connection that is not recognized yet.

use crate::direction::Direction;
use crate::pg::auth::{self, Asked};
use crate::pg::copy::{CopyResponse, CopyRows};
use crate::pg::message::{Context, Message};
use crate::pg::message_table::{backend, frontend};
use crate::pg::row::Format;
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
mod masking;
mod name_commands;
mod names;
pub mod observation;
pub mod opening;
mod phase;
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
pub use phase::{Encryption, Route};
use phase::{Owed, Phase};
use secrets::Secrets;
use shared::Shared;

/// How many bytes a connection may take for what it remembers of statements and requests.
const MAX_REMEMBERED: usize = 8 << 20;

/// One connection's session.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    encryption: Option<Encryption>,
    /// The answers that are owed, in order. A server accepts a request of each kind once.
    owed: [Option<Owed>; 2],
    /// Whether the server has shown that the client is authenticated.
    is_authenticated: bool,
    /// Whether something was seen of more than requests for encryption, and their answers.
    has_begun: bool,
    asked: Asked,
    /// Whether the session is being started: the ReadyForQuery that ends that belongs to no request.
    is_starting: bool,
    /// Whether the server has not asked the client to authenticate itself yet.
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
            // The answer may be what was lost. What the client sends next shows it: TLS, or a startup packet.
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

    /// Observes a message, or the tag of one that could not be decoded, and annotates it with what it means here.
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
        match observation.tag() {
            None => {
                self.observe_startup_packet(observation.message, observation.origin.ts);
                if let Some(Message::StartupMessage(startup)) = observation.message {
                    self.learn_startup(startup);
                }
                let Some(Message::CancelRequest(cancel)) = observation.whole() else { return };
                let key = CancelKey::new(cancel.process_id, cancel.secret_key.reveal());
                annotation.target = shared.cancels.request(&key, observation.conn, observation.origin.ts);
                if annotation.target.is_none() {
                    annotation.subject = Subject::Unknown;
                }
            }
            Some(frontend::PASSWORD_MESSAGE) if !self.has_been_ready => {
                self.has_begun = true;
                (self.is_starting, self.startup_at) = (true, Some(observation.origin.ts));
                self.learn_response(observation.message, observation.is_cut());
                if let Some(Message::SaslInitialResponse(response)) = observation.message {
                    let scram = auth::is_scram(response.mechanism);
                    self.asked = if scram { Asked::ScramContinue } else { Asked::SaslContinue };
                }
            }
            Some(tag) => {
                self.has_begun = true;
                match tag {
                    frontend::COPY_DONE => self.copying.done(Direction::Frontend),
                    frontend::COPY_DATA => self.observe_copy_data(Direction::Frontend, observation, shared),
                    _ => {}
                }
                if matches!(tag, frontend::QUERY | frontend::EXECUTE | frontend::COPY_DONE | frontend::COPY_FAIL) {
                    self.copying.request();
                }
                self.dialogue.pipeline().request(tag, observation, shared, annotation);
                if annotation.has_secrets || tag == frontend::COPY_FAIL {
                    self.learn(observation.message, observation.is_cut(), annotation);
                }
            }
        }
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
            && !observation.is_cut()
            && let Some(longest) = shared.longest_copy_row
            && self.dialogue.pipeline().begins_copy(from)
            && let Some(sql) = self.dialogue.executed(shared)
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
    }

    fn observe_copy_data(&mut self, from: Direction, observation: &Observation<'_, '_>, shared: &Shared) {
        let Some(Message::CopyData(copy)) = observation.message else { return };
        if from == Direction::Frontend
            && self.copying.may_begin()
            && let Some(longest) = shared.longest_copy_row
            && let Some(sql) = self.dialogue.last_statement()
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
        self.copying.data(from, copy.data, observation.is_cut(), self.dialogue.budget());
    }

    /// Reads the data of a CopyData as a row. Returns false, and nothing was read, where it is not a row and nothing else. Any
    /// number of rows may then be observed as one message that was not decoded.
    #[inline(always)]
    pub fn observe_copy_row(&mut self, from: Direction, data: &[u8]) -> bool {
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

    /// Drops the beginning of a row of COPY data, for the memory is needed for others.
    pub fn release_copy(&mut self) {
        self.copying.release();
    }

    #[inline(always)]
    fn observe_backend(&mut self, observation: &Observation<'_, '_>, shared: &mut Shared, annotation: &mut Annotation) {
        let startup_elapsed = self.startup_at.map(|asked_at| observation.origin.ts.micros_since(asked_at));
        if self.is_starting || observation.tag() == Some(backend::AUTHENTICATION) {
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
                if !observation.is_cut()
                    && !self.has_been_ready
                    && (!observation.is_guessed() || self.startup_at.is_some()) =>
            {
                let key = CancelKey::new(key.process_id, key.secret_key.reveal());
                shared.cancels.begin(key.clone(), observation.conn);
                self.dialogue.pipeline().cancel_key = Some(key);
            }
            Some(Message::CopyInResponse(copy)) => self.begin_copy(Direction::Frontend, copy, observation, shared),
            Some(Message::CopyOutResponse(copy)) => self.begin_copy(Direction::Backend, copy, observation, shared),
            // Replication: "each CopyData … contains" binary messages, whatever the format is.
            Some(Message::CopyBothResponse(_)) => {
                self.copying.begin(Direction::Backend, Format::BINARY);
            }
            _ => {}
        }
        annotation.elapsed_us = startup_elapsed;
        let Some(tag) = observation.tag() else { return };
        self.has_begun = true;
        match tag {
            backend::READY_FOR_QUERY => {
                self.has_been_ready = true;
                self.is_authenticated = true;
                self.copying.end();
            }
            // Only a session that is not ready yet has these, though its beginning may be before that of the capture.
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
            backend::COPY_DATA => self.observe_copy_data(Direction::Backend, observation, shared),
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

    /// Requests and replies.
    pub const fn dialogue(&self) -> &Dialogue {
        &self.dialogue
    }

    /// Requests and replies, to report what is over.
    pub const fn dialogue_mut(&mut self) -> &mut Dialogue {
        &mut self.dialogue
    }

    /// Who the session is, and what became of it.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Who the session is, and what became of it, to record its end.
    pub const fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }
}
