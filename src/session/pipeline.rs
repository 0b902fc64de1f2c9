//! Requests that come one by one, and replies to them: which reply answers what, what names stand for, what is executed.

use std::sync::Arc;

use super::answers::Answers;
use super::budget::Budget;
use super::cancel::CancelKey;
use super::execution::{Execution, Executions, Outcome, SMALL};
use super::name_commands;
use super::names::Names;
use super::observation::{Annotation, Observation};
use super::request::{RequestTarget, Taken};
use super::request_queue::{Attribution, Expected, Misfit, QueuePlace, Request, RequestOutcome, RequestQueue};
use super::revision::revise_skipped;
use super::shared::Shared;
use super::statements::{Portal, Row, Statements};
use super::violation::Violation;
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::error::{Fields, code};
use crate::pg::extended::TargetKind;
use crate::pg::message::Message;
use crate::pg::message_table::{self, backend, frontend};
use crate::pg::query::{CommandComplete, TransactionStatus};
use crate::pg::row::{Formats, RowShape};
use crate::pg::text::Text;
use crate::sql::statement;

/// The requests that wait, and what is known when one of them is answered.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) request_queue: RequestQueue<RequestTarget>,
    pub(super) statements: Statements,
    pub(super) executions: Executions,
    /// The columns of the rows that come now, as the RowDescription right before them says.
    pub(super) run: Option<Arc<Row>>,
    /// A ParameterDescription was the last message: the RowDescription behind it is of a statement, not of rows.
    pub(super) describes_statement: bool,
    /// The last statement that began to copy: its request, and where in its text it is.
    copied: (u64, usize),
    pub(super) transaction: Option<TransactionStatus>,
    /// How many requests were sent that execute something.
    pub(super) queries: u64,
    pub(super) cancel_key: Option<CancelKey>,
    /// The last request that was sent before it was known that a name stands for something else than it was sent with; 0 for none.
    pub(super) stale_up_to: u64,
    /// The last of them that speaks of what its name stands for.
    pub(super) revised: u64,
    /// How the other side broke the protocol first.
    pub(super) violation: Option<Violation>,
}

impl Pipeline {
    /// Of a session that is about to begin.
    pub(super) fn new(budget: Budget) -> Self {
        Self::with(RequestQueue::default(), Statements::new(true, budget))
    }

    /// Of a session that began before the capture.
    pub(super) fn midstream(budget: Budget) -> Self {
        Self::with(RequestQueue::midstream(), Statements::new(false, budget))
    }

    fn with(request_queue: RequestQueue<RequestTarget>, statements: Statements) -> Self {
        Self {
            request_queue,
            statements,
            executions: Executions::default(),
            run: None,
            describes_statement: false,
            copied: (0, 0),
            transaction: None,
            queries: 0,
            cancel_key: None,
            stale_up_to: 0,
            revised: 0,
            violation: None,
        }
    }

    /// Bytes were lost, the client's or the server's.
    pub(super) fn lose(&mut self, requests: bool) {
        self.request_queue.lose(requests);
        self.executions.lose();
        self.run = None;
        self.transaction = None;
        self.statements.end_skipped();
        if requests {
            // One of those that were not seen may have given any name another meaning.
            self.statements.prepared.forget();
            self.statements.portals.forget();
        }
    }

    /// Whether nothing waits, nothing is executed, and nothing is uncertain.
    pub(super) fn is_idle(&self) -> bool {
        self.request_queue.is_idle() && self.executions.is_empty()
    }

    /// How many bytes the requests that are under way take.
    pub(super) fn held(&self) -> usize {
        // A request that waits may keep a portal that nothing else does.
        self.request_queue.held() + self.request_queue.len() * size_of::<Portal>() + self.executions.held()
    }

    /// Gives up the requests that are under way, for the memory is needed for others.
    pub(super) fn give_up(&mut self, origin: Origin, shared: &mut Shared) {
        let Self { request_queue, statements, executions, .. } = self;
        let observation = &Observation { at: origin.ts, packet: origin.packet, ..Observation::default() };
        request_queue
            .give_up(&mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation));
        self.executions.lose();
    }

    /// Takes a message of the frontend.
    #[inline(always)]
    pub(super) fn request(
        &mut self,
        tag: u8,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) {
        self.statements.guess(observation.is_guessed);
        let request = match (tag, observation.named()) {
            (frontend::PARSE, _) => Request::Parse,
            (frontend::BIND, _) => Request::Bind,
            (frontend::DESCRIBE, Some(Message::Describe(target))) if target.kind == TargetKind::Statement => {
                Request::DescribeStatement
            }
            (frontend::DESCRIBE, described) => {
                if described.is_none() {
                    // It may be of a statement.
                    self.request_queue.doubt();
                }
                Request::DescribePortal
            }
            (frontend::EXECUTE, _) => Request::Execute,
            (frontend::CLOSE, _) => Request::Close,
            (frontend::SYNC, _) => Request::Sync,
            (frontend::QUERY, _) => Request::Query,
            (frontend::FUNCTION_CALL, _) => Request::FunctionCall,
            (frontend::COPY_DONE | frontend::COPY_FAIL, _) => Request::CopyEnd,
            (frontend::COPY_DATA | frontend::FLUSH, _) => {
                annotation.query = self.request_queue.last_query();
                annotation.is_skipped = tag == frontend::COPY_DATA && self.request_queue.drops_copy_data();
                if tag == frontend::COPY_DATA {
                    self.request_queue.copy_data();
                } else if observation.size != 5 {
                    // The server answers it with an error.
                    self.request_queue.doubt();
                }
                if let Some(execution) = annotation.query.and_then(|query| self.executions.get(query)) {
                    execution.bytes_in += observation.size;
                    execution.is_guessed |= observation.is_guessed;
                }
                return;
            }
            (frontend::TERMINATE, _) => return,
            _ => {
                // Nobody knows what answers it.
                self.request_queue.doubt();
                return;
            }
        };
        let Self { request_queue, statements, executions, .. } = self;
        let is_dropped = request == Request::CopyEnd && request_queue.drops_copy_data();
        let settle = &mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation);
        let (query, place) = request_queue.request(request, observation.at, settle);
        annotation.query = query;
        let is_skipped = matches!(place, QueuePlace::Skipped(_));
        annotation.is_skipped = is_skipped || is_dropped;
        if request == Request::Sync {
            statements.end_skipped();
        }
        self.queries += u64::from(matches!(request, Request::Execute | Request::Query | Request::FunctionCall));

        let execution = match query {
            Some(number) if shared.wants_queries => {
                if matches!(request, Request::Sync | Request::CopyEnd) {
                    executions.get(number)
                } else {
                    let mut execution = executions.begin(number, observation.at, observation.packet, &mut shared.spare);
                    if let Some(execution) = &mut execution {
                        execution.is_uncertain |= request_queue.is_uncertain();
                        execution.is_truncated |= observation.is_cut;
                        execution.is_limited |= place == QueuePlace::TooMany;
                    }
                    execution
                }
            }
            _ => None,
        };
        let mut taken = Taken { request_queue, statements, kept: &mut shared.kept, execution, place, annotation };
        taken.request(request, observation, shared.wants_queries);
        let Taken { execution, .. } = taken;
        if let Some(execution) = execution {
            execution.bytes_in += observation.size;
            execution.is_guessed |= observation.is_guessed;
            if is_skipped && execution.is_executed && execution.outcome.is_none() {
                execution.end(Outcome::Skipped, observation.at, observation.packet);
            }
        }
        if place == QueuePlace::TooMany {
            statements.forget(&mut shared.kept);
        }
        if observation.is_late {
            self.miss(observation, shared);
        }
    }

    /// What waits was answered before it was found: its replies cannot be told from others.
    #[cold]
    fn miss(&mut self, observation: &Observation<'_, '_>, shared: &mut Shared) {
        let Self { request_queue, statements, executions, .. } = self;
        executions.lose();
        request_queue
            .miss(&mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation));
    }

    /// Takes a message of the backend.
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
                self.take_effects(Some(complete), shared)
            }
            (backend::COMMAND_COMPLETE, _) => self.take_effects(None, shared),
            _ => {}
        }
        let head = self.request_queue.head().map(|head| head.request);
        let attribution = {
            let Self { request_queue, statements, executions, .. } = self;
            let settle =
                &mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation);
            request_queue.reply(tag, kind, observation.at, settle)
        };
        if let Some(execution) = attribution.query.and_then(|query| self.executions.get(query)) {
            execution.bytes_out += observation.size;
            execution.is_guessed |= observation.is_guessed;
            if attribution.elapsed_us.is_some() {
                execution.replied(observation.at, observation.packet, self.transaction);
            }
            take_reply(execution, head, tag, &attribution, observation);
            if tag == backend::ERROR_RESPONSE
                && execution.outcome == Some(Outcome::Canceled)
                && let Some(key) = &self.cancel_key
            {
                execution.canceled_by = shared.cancels.canceled(key, execution.started);
            }
        }
        if tag == backend::READY_FOR_QUERY {
            self.take_misfit(tag, observation);
            self.be_ready(status(observation));
        }
        (annotation.query, annotation.elapsed_us) = (attribution.query, attribution.elapsed_us);
        annotation.is_tied = attribution.is_tied;
        self.revise(shared);
    }

    /// Finds the request that a reply answers. False where it answers none.
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
        self.take_misfit(tag, observation);
        self.revise(shared);
        answers
    }

    /// The name that is executed stands for something else than what was last seen to be given to it, and others may, too: SQL
    /// that a function or a DO executes has names of its own.
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

    /// Takes note of how the protocol was broken, for the session and for the requests that are hit.
    #[inline(always)]
    fn take_misfit(&mut self, tag: u8, observation: &Observation<'_, '_>) {
        if let Some(misfit) = self.request_queue.take_misfit() {
            self.violate(misfit, tag, observation);
        }
    }

    #[cold]
    fn violate(&mut self, misfit: Misfit, tag: u8, observation: &Observation<'_, '_>) {
        let violation = Violation::new(misfit.what, misfit.wanted, tag, observation.packet);
        self.violation.get_or_insert(violation);
        let (first, last) = misfit.queries.unwrap_or((1, 0));
        for query in first..=last {
            if let Some(execution) = self.executions.get(query) {
                execution.violation.get_or_insert_with(|| Box::new(violation));
                if execution.outcome == Some(Outcome::Incomplete) {
                    // What was taken for its replies answers another.
                    execution.forget_replies();
                }
            }
        }
    }

    /// The session is ready for the first time. No request has caused that, though some may have been sent already.
    pub(super) fn begin(&mut self, observation: &Observation<'_, '_>) {
        self.request_queue.begin();
        self.be_ready(status(observation));
    }

    /// The server is ready for the next request: ReadyForQuery, with the state of the transaction where it is known.
    #[inline(always)]
    pub(super) fn be_ready(&mut self, transaction: Option<TransactionStatus>) {
        self.statements.cycle += 1;
        self.transaction = transaction;
        if self.transaction == Some(TransactionStatus::IDLE) {
            self.statements.end_transaction();
        }
    }

    /// Takes what the statement that is completed has done to names.
    pub(super) fn take_effects(&mut self, complete: Option<&CommandComplete<'_>>, shared: &mut Shared) {
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

    /// The statement that is executed now, where it is known.
    pub(super) fn executed<'a>(&'a self, shared: &'a Shared) -> Option<Text<'a>> {
        match self.request_queue.head().map(|head| &head.target)? {
            RequestTarget::Sql(sql) => first_statement(Text(sql.text.get().0.get(sql.now..)?, sql.text.get().1)),
            RequestTarget::Portal(portal) => prepared_statement(portal, shared),
            _ => None,
        }
    }

    /// The statement of the last request, where it is a simple query of no other. So it is what data is of that the client
    /// sends before the server has asked for it.
    pub(super) fn last_statement(&self) -> Option<Text<'_>> {
        let RequestTarget::Sql(sql) = &self.request_queue.last()?.target else { return None };
        if sql.now == 0 { name_commands::only(sql.text.get()) } else { None }
    }

    /// Whether it is a COPY that begins now, and all of its data is to come.
    pub(super) fn begins_copy(&mut self, from: Direction) -> bool {
        let Some(head) = self.request_queue.head() else { return false };
        let now = if let RequestTarget::Sql(sql) = &head.target { sql.now } else { 0 };
        // It begins once. To look at its statement again, for each of many replies that say it does, would take long.
        let is_first = std::mem::replace(&mut self.copied, (head.id, now)) != (head.id, now);
        is_first && (from == Direction::Backend || !self.request_queue.has_copy_end())
    }

    /// Takes note of the columns that the rows have which follow.
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

    /// Takes what the backend says of columns and parameters.
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

    /// The formats of the rows, or of the function's result, that the backend sends now.
    pub(super) fn row_formats(&self) -> Formats<'_> {
        let of_run = || self.run.as_ref().map_or(Formats::Unknown, |row| row.shape.formats());
        match self.request_queue.head().map(|head| (head.request, &head.target)) {
            Some((Request::Execute | Request::FunctionCall, RequestTarget::Portal(portal))) => portal.row_formats(),
            Some((Request::FunctionCall, _)) => Formats::Unknown,
            _ => of_run(),
        }
    }

    /// The columns of the rows that the backend sends now.
    pub(super) fn row(&self) -> Option<&RowShape> {
        match self.request_queue.head().map(|head| (head.request, &head.target)) {
            Some((Request::Execute, RequestTarget::Portal(portal))) => portal.row(),
            _ => self.run.as_ref().map(|row| &row.shape),
        }
    }

    /// The next request that is over, to be told of and given back to what is shared.
    pub(super) fn next_over(&mut self, shared: &mut Shared) -> Option<Box<Execution>> {
        let nothing_waits = self.request_queue.is_empty();
        let over = self.executions.next_over(self.request_queue.first_open(), nothing_waits, &mut shared.spare)?;
        Some(finished(over))
    }

    /// The next of those that are left when the connection ends, with the outcome of those that have none.
    pub(super) fn next_left(&mut self, outcome: Outcome, end: Origin, shared: &mut Shared) -> Option<Box<Execution>> {
        let mut over = self.executions.next_over(u64::MAX, true, &mut shared.spare)?;
        if over.outcome.is_none() && outcome == Outcome::Aborted && !self.request_queue.is_uncertain() {
            over.end(outcome, end.ts, end.packet);
        }
        Some(finished(over))
    }
}

/// The state of the transaction that a ReadyForQuery has, where it is whole.
fn status(observation: &Observation<'_, '_>) -> Option<TransactionStatus> {
    match observation.whole() {
        Some(Message::ReadyForQuery(ready)) => Some(ready.transaction_status),
        _ => None,
    }
}

/// The statement that a portal executes, where its text is known.
pub(super) fn prepared_statement<'a>(portal: &Portal, shared: &'a Shared) -> Option<Text<'a>> {
    first_statement(shared.kept.texts.get(portal.statement()?.text()?)?)
}

/// The first statement of a text.
fn first_statement(sql: Text<'_>) -> Option<Text<'_>> {
    let range = statement::split(sql.0).next()?;
    Some(Text(sql.0.get(range)?, sql.1))
}

/// One that is over, with an outcome where it has none.
fn finished(mut over: Box<Execution>) -> Box<Execution> {
    over.outcome.get_or_insert(Outcome::Incomplete);
    over
}

/// A request is settled: what it says of names stands, or does not.
fn settle(
    mut expected: Expected<RequestTarget>,
    outcome: RequestOutcome,
    statements: &mut Statements,
    executions: &mut Executions,
    shared: &mut Shared,
    observation: &Observation<'_, '_>,
) {
    let left = match outcome {
        RequestOutcome::Skipped => Some(Outcome::Skipped),
        RequestOutcome::Unknown => Some(Outcome::Incomplete),
        RequestOutcome::Answered | RequestOutcome::Failed => None,
    };
    if let Some(outcome) = left
        && matches!(expected.request, Request::Execute | Request::Query | Request::FunctionCall)
        && let Some(execution) = expected.query.and_then(|query| executions.get(query))
        && execution.outcome.is_none()
    {
        execution.end(outcome, observation.at, observation.packet);
    }
    if outcome == RequestOutcome::Skipped && expected.request == Request::Bind {
        revise_skipped(&mut expected, statements, executions, &mut shared.kept);
    }
    let (request, id) = (expected.request, expected.id);
    let is_refused = matches!(outcome, RequestOutcome::Failed | RequestOutcome::Skipped);
    statements.is_stale |= outcome != RequestOutcome::Answered && !matches!(request, Request::Sync | Request::CopyEnd);
    match expected.target {
        RequestTarget::Statement(statement) if request == Request::Parse => {
            if is_refused {
                statements.refuse(&statement);
            }
            settle_name(&mut statements.prepared, statement.name().0, id, outcome);
            shared.kept.statements.give(statement);
        }
        RequestTarget::Portal(portal) if request == Request::Bind => {
            settle_name(&mut statements.portals, portal.name().0, id, outcome);
        }
        RequestTarget::Portal(portal)
            if matches!(request, Request::Execute | Request::FunctionCall) && portal.size() <= SMALL =>
        {
            shared.kept.portals.give(portal);
        }
        RequestTarget::Name(TargetKind::Statement, name) => settle_name(&mut statements.prepared, &name, id, outcome),
        RequestTarget::Name(TargetKind::Portal, name) => settle_name(&mut statements.portals, &name, id, outcome),
        _ if request == Request::Query => {
            settle_name(&mut statements.prepared, b"", id, outcome);
            settle_name(&mut statements.portals, b"", id, outcome);
        }
        _ => {}
    }
}

fn settle_name<T>(names: &mut Names<T>, name: &[u8], id: u64, outcome: RequestOutcome) {
    match outcome {
        RequestOutcome::Answered => names.confirm(name, id),
        RequestOutcome::Failed => names.fail(name, id),
        RequestOutcome::Skipped => names.take_back(name, id),
        RequestOutcome::Unknown => names.lose(name, id),
    }
}

/// Takes what a reply says of the request that it answers.
#[inline(always)]
fn take_reply(
    execution: &mut Execution,
    head: Option<Request>,
    tag: u8,
    attribution: &Attribution,
    observation: &Observation<'_, '_>,
) {
    let (at, packet, elapsed_us) = (observation.at, observation.packet, attribution.elapsed_us);
    execution.is_truncated |= observation.is_cut && tag != backend::DATA_ROW;
    match (tag, observation.message) {
        (backend::PARSE_COMPLETE, _) => execution.parse_us = elapsed_us,
        (backend::BIND_COMPLETE, _) => execution.bind_us = elapsed_us,
        (backend::DATA_ROW, _) => execution.add_rows(observation.count, at),
        // A row of a COPY, as a rule, or a piece of one: only its CommandComplete counts them.
        (backend::COPY_DATA, _) => execution.add_rows(0, at),
        (backend::COMMAND_COMPLETE, Some(Message::CommandComplete(complete))) => {
            // Half a number is another one.
            execution.add_tag(complete.command_tag.0, complete.rows.filter(|_| !observation.is_cut));
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

/// How severe an error is, in English where the server says that.
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

/// The outcome that an error tells.
fn outcome_of(fields: &Fields<'_>) -> Outcome {
    match (severity(fields), fields.get(code::CODE).map(|code| code.0)) {
        (Some(b"FATAL" | b"PANIC"), _) => Outcome::Aborted,
        (_, Some(b"57014")) => Outcome::Canceled,
        _ => Outcome::Error,
    }
}
