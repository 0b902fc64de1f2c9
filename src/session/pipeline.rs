//! Requests that come one by one, and replies to them: which reply answers what, what names stand for, what is executed.

use std::sync::Arc;

use super::budget::Budget;
use super::cancel::CancelKey;
use super::execution::{Execution, Executions, Outcome};
use super::name_commands;
use super::observation::Observation;
use super::request::RequestTarget;
use super::request_queue::{Request, RequestQueue};
use super::settle::settle;
use super::shared::Shared;
use super::statements::{Portal, Row, Statements};
use super::violation::Violation;
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::message::Message;
use crate::pg::query::TransactionStatus;
use crate::pg::row::{Formats, RowShape};
use crate::pg::text::Text;
use crate::sql::statement;
use crate::time::Timestamp;

/// The requests that wait, and what is known when one of them is answered.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) request_queue: RequestQueue<RequestTarget>,
    pub(super) statements: Statements,
    pub(super) executions: Executions,
    /// The columns of the rows that come now, from the RowDescription right before them.
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
    /// The last of them whose name was resolved again.
    pub(super) revised: u64,
    /// When the last reply came.
    pub(super) replied_at: Timestamp,
    /// How the other side broke the protocol first.
    pub(super) violation: Option<Violation>,
}

impl Pipeline {
    /// The pipeline of a session that is about to begin.
    pub(super) fn new(budget: Budget) -> Self {
        Self::with(RequestQueue::default(), Statements::new(true, budget))
    }

    /// The pipeline of a session that began before the capture.
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
            replied_at: Timestamp::default(),
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
            // One of those that were not seen may have changed what any name stands for.
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

    /// Drops the requests that are under way, for the memory is needed for others.
    pub(super) fn give_up(&mut self, origin: Origin, shared: &mut Shared) {
        let Self { request_queue, statements, executions, .. } = self;
        let observation = &Observation::nothing(origin);
        request_queue
            .give_up(&mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation));
        self.executions.lose();
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

    /// The state of the transaction, and how many ReadyForQuery there were.
    pub(super) const fn state(&self) -> (Option<TransactionStatus>, u64) {
        (self.transaction, self.statements.cycle)
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

    /// The next request that is over.
    pub(super) fn next_over(&mut self, shared: &mut Shared) -> Option<Box<Execution>> {
        let nothing_waits = self.request_queue.is_empty();
        let over = self.executions.next_over(self.request_queue.first_open(), nothing_waits, shared)?;
        Some(finished(over))
    }

    /// The next of the requests that are left when the connection ends, with this outcome where it has none. At `now` it was known to
    /// have no end.
    pub(super) fn next_left(
        &mut self,
        outcome: Outcome,
        end: Origin,
        now: Timestamp,
        shared: &mut Shared,
    ) -> Option<Box<Execution>> {
        let mut over = self.executions.next_over(u64::MAX, true, shared)?;
        if over.outcome.is_none() && !self.request_queue.is_uncertain() {
            over.last_open = Some(now);
            if outcome == Outcome::Aborted {
                over.end(outcome, end.ts, end.packet);
            }
        }
        Some(finished(over))
    }
}

/// The state of the transaction that a ReadyForQuery has, where it is whole.
pub(super) fn status(observation: &Observation<'_, '_>) -> Option<TransactionStatus> {
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
