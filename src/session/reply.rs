//! Replies: which request one answers, and what that shows of names and of what is executed.

use super::answers::Answers;
use super::execution::{Execution, Outcome};
use super::name_commands;
use super::observation::{Annotation, Observation};
use super::pipeline::{Pipeline, status};
use super::request::RequestTarget;
use super::request_queue::{Attribution, Misfit, Request};
use super::settle::settle;
use super::shared::Shared;
use super::violation::Violation;
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::error::{Fields, code};
use crate::pg::message::Message;
use crate::pg::message_table::{self, backend};
use crate::pg::query::CommandComplete;
use crate::sql::statement;

impl Pipeline {
    /// Observes a message of the backend.
    #[inline(always)]
    pub(super) fn reply(
        &mut self,
        tag: u8,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) {
        self.follow_run(tag, observation.whole());
        let kind = Answers::of_reply(tag, observation.whole());
        if !self.align(tag, kind, observation, shared) {
            return;
        }
        match (tag, observation.whole()) {
            (backend::ROW_DESCRIPTION | backend::PARAMETER_DESCRIPTION, Some(message)) => self.describe(message),
            (backend::COMMAND_COMPLETE, Some(Message::CommandComplete(complete))) => {
                self.apply_effects(Some(complete), shared)
            }
            (backend::COMMAND_COMPLETE, _) => self.apply_effects(None, shared),
            _ => {}
        }
        let head = self.request_queue.head().map(|head| head.request);
        let attribution = {
            let Self { request_queue, statements, executions, .. } = self;
            let settle =
                &mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation);
            request_queue.reply(tag, kind, observation.origin.ts, settle)
        };
        if let Some(execution) = attribution.query.and_then(|query| self.executions.get(query)) {
            execution.bytes_out += observation.size;
            execution.is_guessed |= observation.is_guessed();
            if attribution.elapsed_us.is_some() {
                let Origin { ts, packet } = observation.origin;
                execution.replied(ts, self.replied_at, packet, (self.transaction, self.statements.cycle));
            }
            record_reply(execution, head, tag, &attribution, observation);
            if tag == backend::ERROR_RESPONSE
                && execution.outcome == Some(Outcome::Canceled)
                && let Some(key) = &self.cancel_key
            {
                execution.canceled_by = shared.cancels.canceled(key, execution.started);
            }
        }
        if attribution.elapsed_us.is_some() {
            self.replied_at = observation.origin.ts;
        }
        if tag == backend::READY_FOR_QUERY {
            self.record_misfit(tag, observation);
            self.be_ready(status(observation));
        }
        (annotation.query, annotation.elapsed_us) = (attribution.query, attribution.elapsed_us);
        annotation.is_tied = attribution.is_tied;
        self.revise(shared);
    }

    /// Finds the request that a reply answers. Returns false where it answers none.
    #[inline(always)]
    fn align(&mut self, tag: u8, kind: Answers, observation: &Observation<'_, '_>, shared: &mut Shared) -> bool {
        if self.request_queue.is_tying() {
            self.resolve_tie(tag, observation, shared);
        }
        let Self { request_queue, statements, executions, .. } = self;
        let settle = &mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation);
        let answers = request_queue.align(tag, kind, settle)
            && (tag != backend::ERROR_RESPONSE
                || ends_session(observation.whole()) != Some(false)
                || request_queue.may_fail());
        if self.request_queue.take_refuted() {
            self.executions.refute();
        }
        if self.request_queue.take_renamed() {
            self.rename();
        }
        self.record_misfit(tag, observation);
        self.revise(shared);
        answers
    }

    /// The name that is executed stands for something else than was seen, and others may, too: SQL that a function or a DO executes
    /// can change what names stand for.
    #[cold]
    fn rename(&mut self) {
        self.statements.prepared.doubt();
        self.statements.is_stale = true;
        let query = self.request_queue.head().and_then(|head| head.query);
        if let Some(execution) = query.and_then(|query| self.executions.get(query)) {
            (execution.portal, execution.statement, execution.is_midstream) = (None, None, true);
        }
    }

    #[cold]
    fn resolve_tie(&mut self, tag: u8, observation: &Observation<'_, '_>, shared: &mut Shared) {
        let Self { request_queue, statements, executions, .. } = self;
        let settle = &mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation);
        let bytes = request_queue.resolve_tie(tag, observation.size, settle);
        let query = self.request_queue.head().and_then(|head| head.query);
        if let Some(execution) = query.and_then(|query| self.executions.get(query)) {
            execution.bytes_out += bytes.unwrap_or_default();
        }
    }

    /// Records how the protocol was broken, for the session and for the requests that are hit.
    #[inline(always)]
    fn record_misfit(&mut self, tag: u8, observation: &Observation<'_, '_>) {
        if let Some(misfit) = self.request_queue.take_misfit() {
            self.violate(misfit, tag, observation);
        }
    }

    #[cold]
    fn violate(&mut self, misfit: Misfit, tag: u8, observation: &Observation<'_, '_>) {
        let violation = Violation::new(misfit.what, misfit.wanted, tag, observation.origin.packet);
        self.violation.get_or_insert(violation);
        let (first, last) = misfit.queries.unwrap_or((1, 0));
        for query in first..=last {
            if let Some(execution) = self.executions.get(query) {
                execution.violation.get_or_insert_with(|| Box::new(violation));
                if execution.outcome == Some(Outcome::Incomplete) {
                    // What was attributed to it answers another.
                    execution.forget_replies();
                }
            }
        }
    }

    /// Applies what the statement that is completed has done to names.
    fn apply_effects(&mut self, complete: Option<&CommandComplete<'_>>, shared: &mut Shared) {
        if let Some(complete) = complete {
            let tag = complete.command_tag.0;
            // What they do may push the text out.
            let sql = if name_commands::needs_text(tag) {
                self.executed(shared).map(|sql| sql.kept().into_owned())
            } else {
                None
            };
            name_commands::apply(tag, sql.as_ref().map(|sql| sql.get()), &mut self.statements, &mut shared.kept);
        } else {
            self.statements.grow_old();
        }
        if let Some(RequestTarget::Sql(sql)) = self.request_queue.head_mut().map(|head| &mut head.target) {
            let rest = sql.text.get().0.get(sql.now..).unwrap_or_default();
            sql.now += statement::split(rest).next().map_or(0, |range| range.end);
        }
    }

    /// Keeps the columns of the rows that follow.
    #[inline(always)]
    fn follow_run(&mut self, tag: u8, message: Option<&Message<'_>>) {
        match (tag, message) {
            // These come at any time.
            _ if message_table::is_asynchronous(tag) => return,
            (backend::DATA_ROW, _) => {}
            (backend::ROW_DESCRIPTION, Some(Message::RowDescription(row))) if !self.describes_statement => {
                self.run = self.statements.describe_rows(row);
            }
            // What is not known may come at any time, too.
            _ if !message_table::is_known(Direction::Backend, tag) => return,
            _ => self.run = None,
        }
        self.describes_statement = tag == backend::PARAMETER_DESCRIPTION;
    }

    /// Keeps the columns and the types of parameters that the backend describes.
    fn describe(&mut self, message: &Message<'_>) {
        let Some(head) = self.request_queue.head() else { return };
        match (message, head.request, &head.target) {
            (Message::RowDescription(row), Request::DescribePortal, RequestTarget::Portal(portal)) => {
                self.statements.describe_portal(portal, row);
            }
            (Message::RowDescription(row), Request::DescribeStatement, RequestTarget::Statement(statement)) => {
                self.statements.describe_statement(statement, row);
            }
            (Message::ParameterDescription(types), Request::DescribeStatement, RequestTarget::Statement(statement)) => {
                self.statements.describe_parameters(statement, &types.parameter_types);
            }
            _ => {}
        }
    }
}

/// Records a reply in the execution that it answers.
#[inline(always)]
fn record_reply(
    execution: &mut Execution,
    head: Option<Request>,
    tag: u8,
    attribution: &Attribution,
    observation: &Observation<'_, '_>,
) {
    let (at, packet, elapsed_us) = (observation.origin.ts, observation.origin.packet, attribution.elapsed_us);
    execution.is_truncated |= observation.is_cut() && tag != backend::DATA_ROW;
    match (tag, observation.message) {
        (backend::PARSE_COMPLETE, _) => (execution.parse_us, execution.parsed_at) = (elapsed_us, at),
        (backend::BIND_COMPLETE, _) => execution.bind_us = elapsed_us,
        (backend::DATA_ROW, _) => {
            execution.add_rows(observation.count, at);
            execution.data.add(observation.frame.body, observation.size);
        }
        // A row of a COPY, as a rule, or a piece of one: only its CommandComplete counts them.
        (backend::COPY_DATA, _) => {
            execution.add_rows(0, at);
            execution.data.add(observation.frame.body, observation.size);
        }
        (backend::COPY_BOTH_RESPONSE, _) => execution.is_stream = true,
        (backend::COMMAND_COMPLETE, Some(Message::CommandComplete(complete))) => {
            // Half a number is another one.
            execution.add_tag(complete.command_tag.0, complete.rows.filter(|_| !observation.is_cut()));
        }
        // What ends the session behind the error that failed the request only follows from it.
        (backend::ERROR_RESPONSE, message)
            if execution.outcome == Some(Outcome::Error) && ends_session(message) == Some(true) => {}
        (backend::ERROR_RESPONSE, Some(Message::ErrorResponse(fields))) => {
            execution.keep_error(fields);
            execution.end(outcome_of(fields), at, packet);
        }
        (backend::ERROR_RESPONSE, _) => execution.end(Outcome::Error, at, packet),
        _ => {}
    }
    let is_its_end = match head {
        Some(Request::Execute) => matches!(tag, backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE),
        Some(Request::Query | Request::FunctionCall) => tag == backend::READY_FOR_QUERY && attribution.has_ended,
        _ => false,
    };
    if is_its_end && execution.outcome.is_none() {
        execution.end(Outcome::Ok, at, packet);
    } else if tag == backend::PORTAL_SUSPENDED {
        execution.end(Outcome::Suspended, at, packet);
    }
}

/// How severe an error is, in English where the server sends that.
fn severity<'a>(fields: &Fields<'a>) -> Option<&'a [u8]> {
    let severity = fields.get(code::SEVERITY_NONLOCALIZED).or_else(|| fields.get(code::SEVERITY));
    severity.map(|severity| severity.0)
}

/// Whether an error ends its session, where that is known.
fn ends_session(message: Option<&Message<'_>>) -> Option<bool> {
    let Some(Message::ErrorResponse(fields)) = message else { return None };
    severity(fields).and_then(|severity| match severity {
        b"ERROR" => Some(false),
        b"FATAL" | b"PANIC" => Some(true),
        _ => None,
    })
}

/// The outcome of a request that is answered with an error.
fn outcome_of(fields: &Fields<'_>) -> Outcome {
    match (severity(fields), fields.get(code::CODE).map(|code| code.0)) {
        (Some(b"FATAL" | b"PANIC"), _) => Outcome::Aborted,
        (_, Some(b"57014")) => Outcome::Canceled,
        _ => Outcome::Error,
    }
}
