//! What messages mean to each other: the phase that a connection is in, and which request a reply answers.
//!
//! A [`Session`] observes every message of both directions, in order, and annotates each with what is known of it. It holds no bytes of
//! the stream but those of a connection that is not recognized yet.

use crate::direction::{Direction, PerDirection};
use crate::pg::auth::{self, Asked};
use crate::pg::copy::{CopyResponse, CopyRows};
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::message::{Context, Message};
use crate::pg::message_table::{backend, frontend};
use crate::pg::row::Format;
use crate::pg::startup::StartupMessage;
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
pub mod walsender;

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
use walsender::progress::Advance;
use walsender::{ObservedReplication, Walsender, is_copying_command};

/// How many bytes a connection may take for what it remembers of statements and requests.
const MAX_REMEMBERED: usize = 8 << 20;

/// How many CopyData in a row that are rows show that a session is none with a walsender.
const ORDINARY_RUN: u8 = 16;

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
    /// What it does if it is one with a walsender.
    walsender: Option<Box<Walsender>>,
    /// Whether CopyData may be that of a walsender, of which the session has not shown that it is one: until its StartupMessage shows
    /// that it is none, or its data do.
    may_replicate: bool,
    /// How many CopyData in a row were none of a stream or a backup.
    ordinary_copies: u8,
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
            walsender: None,
            may_replicate: true,
            ordinary_copies: 0,
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
        if let Some(walsender) = &mut self.walsender {
            walsender.lose(direction);
        }
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
            is_walsender: self.walsender.as_ref().is_some_and(|walsender| walsender.is_known),
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
                    self.begin_walsender(startup, observation.is_cut());
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
                if self.may_carry_replication() {
                    self.observe_command(tag, observation);
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
        let is_special = match tag {
            backend::DATA_ROW => self.masks_rows() || self.walsender.as_ref().is_some_and(|it| it.has_backup()),
            _ => self.may_carry_replication(),
        };
        !is_special && self.dialogue.goes_on_with_data(tag)
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
        // Of commands to a walsender, each may open a stream.
        let is_command =
            self.may_replicate && matches!(requests, Requests::Query(query) if is_copying_command(query.query.text.0));
        if self.walsender.is_some()
            || is_command
            || !self.dialogue.begin_exchange(requests, observation, shared, annotation)
        {
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
        if self.walsender.as_ref().is_some_and(|walsender| walsender.mode().is_some()) {
            return;
        }
        if from == Direction::Frontend
            && self.copying.may_begin()
            && let Some(longest) = shared.longest_copy_row
            && let Some(sql) = self.dialogue.last_statement()
        {
            self.copying.understand(from, sql, &self.facts.settings, longest, self.dialogue.budget());
        }
        self.copying.data(from, copy.data, observation.is_cut(), self.dialogue.budget());
    }

    #[cold]
    fn begin_walsender(&mut self, startup: &StartupMessage<'_>, is_cut: bool) {
        // Of one that is cut off, the last value may be half of another.
        let whole = startup.parameters.iter().count().saturating_sub(is_cut.into());
        let parameters = startup.parameters.iter().take(whole);
        let value = parameters.filter(|(name, _)| name.0 == b"replication").last();
        self.walsender = value.and_then(|(_, value)| Walsender::of_startup(value.get().0)).map(Box::new);
        self.may_replicate = is_cut && self.walsender.is_none();
    }

    /// Observes a request that may be a command to a walsender.
    #[cold]
    fn observe_command(&mut self, tag: u8, observation: &Observation<'_, '_>) {
        let sql = match observation.whole() {
            Some(Message::Query(query)) => Some(query.query.text),
            _ => None,
        };
        // Who the session is was not seen, but nothing else has such commands.
        if self.walsender.is_none() && sql.is_some_and(|sql| is_copying_command(sql.0)) {
            self.walsender = Some(Box::new(Walsender::unknown()));
        }
        let Some(walsender) = &mut self.walsender else { return };
        match tag {
            frontend::QUERY => walsender.command(sql, observation.origin.ts),
            frontend::SYNC | frontend::FUNCTION_CALL => walsender.other_request(),
            _ => {}
        }
    }

    /// A COPY begins, by this tag of the server's. Returns whether it is a stream or a backup.
    #[cold]
    fn begin_replication(&mut self, tag: u8) -> bool {
        // Nothing but replication has a CopyBothResponse.
        let is_both = tag == backend::COPY_BOTH_RESPONSE;
        if self.walsender.is_none() && is_both {
            self.walsender = Some(Box::new(Walsender::unknown()));
        }
        let version = self.facts.parameter(b"server_version");
        let is_replication = self.walsender.as_mut().is_some_and(|walsender| walsender.begin_copy(tag, version));
        if is_replication {
            // "each CopyData … contains" binary messages, whatever the format is.
            let from = if tag == backend::COPY_IN_RESPONSE { Direction::Frontend } else { Direction::Backend };
            self.copying.begin(from, Format::BINARY);
        }
        is_replication
    }

    /// Whether CopyData may be that of a stream or a backup, and has to be looked at one by one.
    #[inline]
    pub const fn may_carry_replication(&self) -> bool {
        self.walsender.is_some() || self.may_replicate
    }

    /// Observes a CopyData. Returns what it is, if it is one of a stream or a backup.
    pub fn observe_replication<'a>(
        &mut self,
        from: Direction,
        frame: &Frame<'a>,
        ts: Timestamp,
    ) -> Option<ObservedReplication<'a>> {
        let (encoding, budget) = (self.facts.encoding(), self.dialogue.budget());
        if let Some(walsender) = &mut self.walsender {
            return walsender.observe(from, frame, ts, encoding, budget);
        }
        let mut walsender = Walsender::unknown();
        let observed = walsender.observe(from, frame, ts, encoding, budget);
        if observed.is_some() {
            self.walsender = Some(Box::new(walsender));
            self.copying.begin(from, Format::BINARY);
        } else if frame.missing == 0 && !frame.is_guessed {
            // A file in a backup may have a piece of text that looks like a row, but not so many of them.
            self.ordinary_copies = self.ordinary_copies.saturating_add(1);
            self.may_replicate = self.ordinary_copies < ORDINARY_RUN;
        }
        observed
    }

    /// Observes the changes of rows at the beginning of these frames of the server's, of which the dialogue has to know no more than
    /// that they are data. Returns them, and how many they are; none if they have to be observed one by one.
    pub fn observe_changes<'i>(&mut self, frames: &mut WholeFrames<'i>, ts: Timestamp) -> (WholeFrames<'i>, u64) {
        let encoding = self.facts.encoding();
        match &mut self.walsender {
            Some(walsender) if self.dialogue.goes_on_with_data(backend::COPY_DATA) => {
                walsender.observe_changes(frames, ts, encoding)
            }
            _ => (*frames, 0),
        }
    }

    /// Observes a DataRow. Returns what it adds to the progress of a base backup, if it is one of its rows.
    pub fn observe_backup_row(&mut self, frame: &Frame<'_>, ts: Timestamp) -> Option<Advance> {
        self.walsender.as_mut()?.row(frame, ts)
    }

    /// Messages of this size were given as those of a stream or a backup. They are counted until [`Self::forget_replication`].
    pub fn count_replication(&mut self, from: Direction, size: u64) {
        if let Some(walsender) = &mut self.walsender {
            let bytes = walsender.given_bytes.get_mut(from);
            *bytes = bytes.saturating_add(size);
        }
    }

    /// The request that such messages belong to is over.
    pub fn forget_replication(&mut self) {
        self.walsender.iter_mut().for_each(|walsender| walsender.given_bytes = PerDirection::default());
    }

    /// What the session does if it is one with a walsender.
    pub fn walsender(&self) -> Option<&Walsender> {
        self.walsender.as_deref()
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
            Some(Message::CopyInResponse(copy)) if !self.begin_replication(backend::COPY_IN_RESPONSE) => {
                self.begin_copy(Direction::Frontend, copy, observation, shared);
            }
            Some(Message::CopyOutResponse(copy)) if !self.begin_replication(backend::COPY_OUT_RESPONSE) => {
                self.begin_copy(Direction::Backend, copy, observation, shared);
            }
            Some(Message::CopyBothResponse(_)) => _ = self.begin_replication(backend::COPY_BOTH_RESPONSE),
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
                // That which ends startup answers no request.
                if let (Some(walsender), false) = (&mut self.walsender, self.is_starting) {
                    walsender.ready();
                }
            }
            // Only a session that is not ready yet has these, though its beginning may be before that of the capture.
            backend::AUTHENTICATION | backend::BACKEND_KEY_DATA => self.is_starting |= !self.has_been_ready,
            backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE => {
                self.copying.end();
                match &mut self.walsender {
                    Some(walsender) if tag == backend::COMMAND_COMPLETE => walsender.complete(),
                    Some(walsender) => walsender.fail(),
                    None => {}
                }
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
