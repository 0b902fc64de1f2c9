//! Requests of one execution that come together, and replies that do.
//!
//! Most drivers send Bind, Describe, Execute and Sync in one segment, and are answered in one, as a simple query is. Where
//! nothing else is under way there is nothing to be found out about any of them: they are taken at once, and wait as one. When
//! anything but all of their replies comes, they part, and it is as if they had come one by one.

use std::sync::Arc;

use super::answers::Answers;
use super::dialogue::Dialogue;
use super::execution::{Execution, Outcome, Protocol, SMALL};
use super::name_commands;
use super::observation::{Annotation, Observation, Subject};
use super::request::RequestTarget;
use super::request_queue::Request;
use super::shared::Shared;
use super::statements::{Portal, Row};
use crate::pg::extended::Bind;
use crate::pg::query::{CommandComplete, Query, ReadyForQuery, TransactionStatus};
use crate::pg::row::{Formats, RowDescription, RowShape};
use crate::sql::secret;
use crate::time::Timestamp;

/// Requests of one execution, which wait for their replies, and nothing else does.
#[derive(Debug)]
pub(super) struct Exchange {
    requests: &'static [Request],
    at: Timestamp,
    /// The number of the query, and the ordinal of the first request.
    numbers: (u64, u64),
    /// What is told of it, where that is wanted.
    execution: Option<Box<Execution>>,
    /// The portal, where the execution does not have it.
    portal: Option<Arc<Portal>>,
    /// What its SQL can be answered by.
    answers: Answers,
    /// Whether the columns of its rows are those that were described last.
    is_of_last_row: bool,
}

const QUERY: &[Request] = &[Request::Query];
const EXECUTE: &[Request] = &[Request::Bind, Request::Execute, Request::Sync];
const DESCRIBE_AND_EXECUTE: &[Request] = &[Request::Bind, Request::DescribePortal, Request::Execute, Request::Sync];

impl Exchange {
    pub(super) fn portal(&self) -> Option<&Arc<Portal>> {
        self.portal.as_ref().or_else(|| self.execution.as_ref()?.portal.as_ref())
    }
}

/// What waits for its replies, and nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// What [`Dialogue::execute`] has taken.
    Execution {
        /// Whether one of the requests is Describe.
        is_described: bool,
    },
    /// What [`Dialogue::query`] has taken.
    Query,
}

/// All replies to it.
#[derive(Clone, Copy, Debug)]
pub struct Replies<'a, 'm> {
    /// RowDescription, where there is one.
    pub row: Option<Described<'a, 'm>>,
    /// How many rows came.
    pub rows: u64,
    /// CommandComplete.
    pub complete: &'a CommandComplete<'m>,
    /// ReadyForQuery.
    pub ready: ReadyForQuery,
}

/// What a RowDescription says.
#[derive(Clone, Copy, Debug)]
pub enum Described<'a, 'm> {
    /// What the last one did.
    Again,
    /// This.
    Row(&'a RowDescription<'m>),
}

/// What tells what rows are.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Their portal.
    Portal(&'a Portal),
    /// The RowDescription before them.
    Described(&'a Row),
    /// Nothing.
    Unknown,
}

impl<'a> Rows<'a> {
    /// Their columns.
    pub fn shape(self) -> Option<&'a RowShape> {
        match self {
            Self::Portal(portal) => portal.row(),
            Self::Described(row) => Some(&row.shape),
            Self::Unknown => None,
        }
    }

    /// Their formats.
    pub fn formats(self) -> Formats<'a> {
        match self {
            Self::Portal(portal) => portal.row_formats(),
            Self::Described(row) => row.shape.formats(),
            Self::Unknown => Formats::Unknown,
        }
    }
}

impl Dialogue {
    /// Whether requests may be taken at once: no other is under way.
    fn is_idle(&self) -> bool {
        self.exchange.is_none() && self.request_queue.is_idle() && self.executions.is_empty()
    }

    /// Takes Bind to the unnamed portal, Describe of that where it `is_described`, Execute for all rows, and Sync, with what is
    /// `observation` of all of them. False, and nothing is taken, where other requests are under way.
    pub fn execute(
        &mut self,
        bind: &Bind<'_>,
        is_described: bool,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> bool {
        if !self.is_idle() {
            return false;
        }
        self.statements.guess(observation.is_guessed);
        let mut portal = Some(self.statements.bind(&mut shared.kept, bind, shared.wants_queries));
        let requests = if is_described { DESCRIBE_AND_EXECUTE } else { EXECUTE };
        let answers = portal.as_ref().map_or(Answers::ANY, |portal| portal.answers());
        self.begin((requests, answers), Protocol::Extended, observation, shared, annotation, |execution, _| {
            execution.is_midstream = portal.as_ref().is_some_and(|portal| portal.is_statement_unknown());
            execution.portal = portal.take();
        });
        if let Some(exchange) = &mut self.exchange {
            exchange.portal = portal;
        }
        true
    }

    /// Takes a simple query that does nothing to names, does not copy, and has no secrets. False, and nothing is taken, where it
    /// may, or where other requests are under way.
    pub fn query(
        &mut self,
        query: &Query<'_>,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> bool {
        let sql = query.query.text;
        if !self.is_idle() || name_commands::is_needed(sql.0) || secret::may_have(sql.0) {
            return false;
        }
        self.begin(
            (QUERY, Answers::to_query(sql.0)),
            Protocol::Simple,
            observation,
            shared,
            annotation,
            |execution, dialogue| {
                execution.keep_sql(sql, false, dialogue.statements.budget());
            },
        );
        true
    }

    fn begin(
        &mut self,
        (requests, answers): (&'static [Request], Answers),
        protocol: Protocol,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
        execute: impl FnOnce(&mut Execution, &Self),
    ) {
        let numbers = self.request_queue.together(requests);
        let execution = shared.wants_queries.then(|| {
            let mut execution = Execution::begun(numbers.0, observation.at, observation.packet, &mut shared.spare);
            execution.execute(protocol);
            execution.bytes_in = observation.size;
            execute(&mut execution, self);
            execution
        });
        self.queries += 1;
        annotation.query = Some(numbers.0);
        self.exchange = Some(Exchange {
            requests,
            at: observation.at,
            numbers,
            execution,
            portal: None,
            answers,
            is_of_last_row: false,
        });
    }

    /// What requests are about that were taken at once.
    pub fn exchanged(&self) -> Subject {
        let portal = self.exchange.as_ref().and_then(Exchange::portal);
        portal.map_or(Subject::Nothing, |portal| Subject::Portal(Arc::clone(portal)))
    }

    /// Whether the values of their parameters are secrets.
    pub fn has_exchanged_secrets(&self) -> bool {
        let portal = self.exchange.as_ref().and_then(Exchange::portal);
        portal.is_some_and(|portal| !portal.secret_parameters().is_empty())
    }

    /// Whether any number of messages with this tag only go on with the request that is being answered.
    #[inline(always)]
    pub(super) fn goes_on_with_data(&self, tag: u8) -> bool {
        self.exchange.is_none() && self.request_queue.stays_with(tag, Answers::of_reply(tag, None))
    }

    /// Has requests wait one by one that were taken at once: something else comes than all of their replies.
    #[inline(always)]
    pub(super) fn part(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.part_exchange(exchange);
        }
    }

    #[cold]
    fn part_exchange(&mut self, exchange: Exchange) {
        let portal = exchange.portal().cloned();
        let Exchange { requests, at, numbers, execution, answers, .. } = exchange;
        self.request_queue.put(requests, numbers, at, |request| match (request, &portal) {
            (Request::Bind, Some(portal)) => (RequestTarget::Portal(Arc::clone(portal)), Answers::ANY),
            (Request::DescribePortal | Request::Execute, Some(portal)) => {
                (RequestTarget::Portal(Arc::clone(portal)), answers)
            }
            (Request::Query, _) => (RequestTarget::Nothing, answers),
            _ => (RequestTarget::Nothing, Answers::ANY),
        });
        if requests == QUERY {
            self.statements.prepared.send(b"", numbers.1, None);
        }
        self.statements.portals.send(b"", numbers.1, portal);
        self.executions.go_on(execution);
    }

    /// Whether what [waits](Self::waits) can be answered so: with columns of rows, without, or with neither; with rows; and with this
    /// command tag.
    #[inline]
    pub fn is_answered_by(&self, row: Option<bool>, has_rows: bool, tag: &[u8]) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.answers.allow_all(row, has_rows, tag))
    }

    /// What waits for its replies, where nothing else does.
    pub fn waits(&self) -> Option<Waiting> {
        let requests = self.exchange.as_ref()?.requests;
        Some(if requests == QUERY {
            Waiting::Query
        } else {
            Waiting::Execution { is_described: requests == DESCRIBE_AND_EXECUTE }
        })
    }

    /// Takes all replies to what [waits](Self::waits): BindComplete and RowDescription or NoData, as far as they are due, the
    /// rows, CommandComplete and ReadyForQuery. It has been executed then, until the [end](Self::end_exchange) of the exchange.
    pub fn executed_at_once(
        &mut self,
        replies: &Replies<'_, '_>,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) {
        let Self { statements, exchange: Some(exchange), .. } = self else { return };
        let elapsed_us = observation.at.micros_since(exchange.at);
        exchange.is_of_last_row = match replies.row {
            Some(Described::Row(row)) => statements.describe_rows(row).is_some(),
            Some(Described::Again) => true,
            None => false,
        };
        if exchange.requests == QUERY {
            statements.prepared.remove(b"");
            statements.portals.remove(b"");
        } else if replies.ready.transaction_status != TransactionStatus::IDLE
            && let Some(portal) = exchange.portal()
        {
            // Until the transaction ends.
            if exchange.is_of_last_row {
                statements.describe_portal_again(portal);
            }
            statements.portals.establish(b"", Arc::clone(portal));
        }
        self.take_effects(Some(replies.complete), shared);
        let Self { request_queue, statements, exchange: Some(exchange), transaction, .. } = self else { return };
        request_queue.answered();
        if let Some(execution) = &mut exchange.execution {
            execution.bytes_out += observation.size;
            execution.replied(observation.at, observation.packet, *transaction);
            if exchange.requests != QUERY {
                execution.bind_us = Some(elapsed_us);
            }
            if replies.rows > 0 {
                execution.add_rows(replies.rows, observation.at);
            }
            execution.add_tag(replies.complete.command_tag.0, replies.complete.rows);
            execution.end(Outcome::Ok, observation.at, observation.packet);
        }
        *transaction = Some(replies.ready.transaction_status);
        if *transaction == Some(TransactionStatus::IDLE) {
            statements.end_transaction();
        }
        (self.run, self.describes_statement) = (None, false);
        (annotation.query, annotation.elapsed_us) = (Some(exchange.numbers.0), Some(elapsed_us));
    }

    /// What tells what the rows are that came with the replies.
    pub fn exchanged_rows(&self) -> Rows<'_> {
        match (&self.exchange, self.statements.last()) {
            (Some(Exchange { is_of_last_row: true, .. }), Some(row)) => Rows::Described(row),
            (Some(exchange), _) => exchange.portal().map_or(Rows::Unknown, |portal| Rows::Portal(portal)),
            (None, _) => Rows::Unknown,
        }
    }

    /// What was executed.
    pub fn exchange_executed(&self) -> Option<&Execution> {
        self.exchange.as_ref()?.execution.as_deref()
    }

    /// Ends an exchange: all is told of it.
    pub fn end_exchange(&mut self, shared: &mut Shared) {
        let Some(Exchange { mut execution, portal, .. }) = self.exchange.take() else { return };
        let portal = portal.or_else(|| execution.as_mut()?.portal.take());
        if let Some(portal) = portal.filter(|portal| portal.size() <= SMALL) {
            shared.kept.portals.give(portal);
        }
        if let Some(execution) = execution {
            shared.recycle(execution);
        }
    }
}
