//! Requests of one execution that come together, and replies that do.
//!
//! Most drivers send Bind, Describe, Execute and Sync in one segment, and are answered in one, as a simple query is. Where
//! nothing else is under way there is nothing to be found out about any of them: they wait as one exchange. When anything but
//! all of their replies comes, the exchange is split, and it is as if its requests had come one by one.

use std::sync::Arc;

use super::answers::Answers;
use super::dialogue::Dialogue;
use super::execution::{Execution, Outcome, Protocol, SMALL};
use super::name_commands;
use super::observation::{Annotation, Observation, Subject};
use super::pipeline::{Pipeline, prepared_statement};
use super::request::RequestTarget;
use super::request_queue::Request;
use super::shared::Shared;
use super::statements::{Portal, Row};
use crate::encoding::Encoding;
use crate::packet::Origin;
use crate::pg::extended::Bind;
use crate::pg::query::{CommandComplete, Query, ReadyForQuery, TransactionStatus};
use crate::pg::row::{Formats, RowDescription, RowShape};
use crate::pg::text::Text;
use crate::sql::secret;
use crate::time::Timestamp;

/// Requests that come together.
#[derive(Clone, Copy, Debug)]
pub enum Requests<'a, 'm> {
    /// Query.
    Query(&'a Query<'m>),
    /// Bind to the unnamed portal, Describe of that, Execute for all of its rows, and Sync.
    Execution {
        /// Bind.
        bind: &'a Bind<'m>,
        /// Whether Describe is among them.
        is_described: bool,
    },
}

/// Replies that come together: up to ReadyForQuery.
#[derive(Clone, Copy, Debug)]
pub struct Replies<'a, 'm> {
    /// Whether BindComplete is the first.
    pub is_bound: bool,
    /// RowDescription or NoData, where there is one of them.
    pub columns: Option<DescribedColumns<'a, 'm>>,
    /// How many rows came.
    pub rows: u64,
    /// The body of the first, and the bytes of all.
    pub data: (&'m [u8], u64),
    /// CommandComplete.
    pub complete: &'a CommandComplete<'m>,
    /// ReadyForQuery.
    pub ready: ReadyForQuery,
}

/// The columns of rows, as the server describes them.
#[derive(Clone, Copy, Debug)]
pub enum DescribedColumns<'a, 'm> {
    /// NoData: there are none.
    NoData,
    /// RowDescription, [the same](OpenExchange::repeats_columns) as the last one.
    Again,
    /// Another RowDescription.
    Row(&'a RowDescription<'m>),
}

/// An exchange that is under way, as one sees it who reads its replies.
#[derive(Clone, Copy, Debug)]
pub struct OpenExchange<'a> {
    last_row: Option<&'a Row>,
}

impl<'a> OpenExchange<'a> {
    pub(super) const fn new(last_row: Option<&'a Row>) -> Self {
        Self { last_row }
    }

    /// Whether the body of a RowDescription, in this encoding, is the same as that of the last one.
    pub fn repeats_columns(self, body: &[u8], encoding: Encoding) -> bool {
        self.last_row.is_some_and(|last| last.shape.is_body(body, encoding))
    }
}

/// Which requests an exchange has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Query,
    Execution { is_described: bool },
}

impl Kind {
    const fn requests(self) -> &'static [Request] {
        match self {
            Self::Query => &[Request::Query],
            Self::Execution { is_described: false } => &[Request::Bind, Request::Execute, Request::Sync],
            Self::Execution { is_described: true } => {
                &[Request::Bind, Request::DescribePortal, Request::Execute, Request::Sync]
            }
        }
    }
}

/// Requests of one execution, which wait for their replies, and nothing else does.
#[derive(Debug)]
pub(super) struct Exchange {
    kind: Kind,
    at: Timestamp,
    /// The number of the query, and the ordinal of the first request.
    numbers: (u64, u64),
    /// What a query line is made of, where there are such lines.
    execution: Option<Box<Execution>>,
    /// The portal, where the execution does not have it.
    portal: Option<Arc<Portal>>,
    /// What its SQL can be answered by.
    answers: Answers,
}

impl Exchange {
    /// Begins an exchange while nothing waits in the pipeline, unless it is a simple query that may change what names stand for,
    /// copy, or have secrets.
    #[inline]
    pub(super) fn begin(
        requests: &Requests<'_, '_>,
        pipeline: &mut Pipeline,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> Option<Self> {
        match *requests {
            Requests::Query(query) => {
                let sql = query.query.text;
                if name_commands::is_needed(sql.0) || secret::may_have(sql.0) {
                    return None;
                }
                let mut exchange =
                    Self::new(Kind::Query, Answers::to_query(sql.0), pipeline, observation, shared, annotation);
                if let Some(execution) = &mut exchange.execution {
                    execution.execute(Protocol::Simple);
                    execution.keep_sql(sql, false, pipeline.statements.budget());
                }
                Some(exchange)
            }
            Requests::Execution { bind, is_described } => {
                pipeline.statements.guess(observation.is_guessed());
                let portal = pipeline.statements.bind(&mut shared.kept, bind, shared.wants_queries);
                annotation.has_secrets = !portal.secret_parameters().is_empty();
                if annotation.has_secrets || shared.wants_messages() {
                    annotation.subject = Subject::Portal(Arc::clone(&portal));
                }
                let kind = Kind::Execution { is_described };
                let mut exchange = Self::new(kind, portal.answers(), pipeline, observation, shared, annotation);
                match &mut exchange.execution {
                    Some(execution) => {
                        execution.execute(Protocol::Extended);
                        execution.is_midstream = portal.is_statement_unknown();
                        execution.is_bound = true;
                        execution.portal = Some(portal);
                    }
                    None => exchange.portal = Some(portal),
                }
                Some(exchange)
            }
        }
    }

    #[inline]
    fn new(
        kind: Kind,
        answers: Answers,
        pipeline: &mut Pipeline,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> Self {
        let numbers = pipeline.request_queue.together(kind.requests());
        let execution = shared.wants_queries.then(|| {
            let mut execution =
                Execution::begun(numbers.0, observation.origin.ts, observation.origin.packet, &mut shared.spare);
            execution.bytes_in = observation.size;
            execution
        });
        pipeline.queries += 1;
        annotation.query = Some(numbers.0);
        Self { kind, at: observation.origin.ts, numbers, execution, portal: None, answers }
    }

    /// What a query line is made of, where there are such lines.
    pub(super) fn execution(&mut self) -> Option<&mut Execution> {
        self.execution.as_deref_mut()
    }

    /// The same, to be read only.
    pub(super) fn under_way(&self) -> Option<&Execution> {
        self.execution.as_deref()
    }

    fn portal(&self) -> Option<&Arc<Portal>> {
        self.portal.as_ref().or_else(|| self.execution.as_ref()?.portal.as_ref())
    }

    /// The statement that is executed, where it is known.
    pub(super) fn executed<'a>(&'a self, shared: &'a Shared) -> Option<Text<'a>> {
        prepared_statement(self.portal()?, shared)
    }

    /// Whether replies are all that its requests have.
    #[inline]
    pub(super) fn is_answered_by(&self, replies: &Replies<'_, '_>) -> bool {
        let (columns, has_rows) = (&replies.columns, replies.rows > 0);
        let are_of_kind = match self.kind {
            Kind::Execution { is_described } => replies.is_bound && is_described == columns.is_some(),
            Kind::Query => {
                !replies.is_bound
                    && match columns {
                        Some(DescribedColumns::NoData) => false,
                        Some(_) => true,
                        None => !has_rows,
                    }
            }
        };
        let has_columns = columns.map(|columns| !matches!(columns, DescribedColumns::NoData));
        are_of_kind && self.answers.allow_all(has_columns, has_rows, replies.complete.command_tag.0)
    }

    /// Ends with all of its replies, and the `observation` of them as one.
    #[inline]
    pub(super) fn end(
        mut self,
        replies: &Replies<'_, '_>,
        pipeline: &mut Pipeline,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> EndedExchange {
        let elapsed_us = observation.origin.ts.micros_since(self.at);
        let statements = &mut pipeline.statements;
        let is_of_last_row = match replies.columns {
            Some(DescribedColumns::Row(row)) => statements.describe_rows(row).is_some(),
            Some(DescribedColumns::Again) => true,
            Some(DescribedColumns::NoData) | None => false,
        };
        if self.kind == Kind::Query {
            statements.prepared.remove(b"");
            statements.portals.remove(b"");
        } else if replies.ready.transaction_status != TransactionStatus::IDLE
            && let Some(portal) = self.portal()
        {
            // Until the transaction ends.
            if is_of_last_row {
                statements.describe_portal_again(portal);
            }
            statements.portals.establish(b"", Arc::clone(portal));
        }
        let tag = replies.complete.command_tag.0;
        // What it does may push the text out.
        let sql = if name_commands::needs_text(tag) {
            self.executed(shared).map(|sql| sql.kept().into_owned())
        } else {
            None
        };
        name_commands::apply(tag, sql.as_ref().map(|sql| sql.get()), statements, &mut shared.kept);
        pipeline.request_queue.answered();
        if let Some(execution) = &mut self.execution {
            execution.bytes_out += observation.size;
            let Origin { ts, packet } = observation.origin;
            execution.replied(ts, pipeline.replied_at, packet, pipeline.state());
            if self.kind != Kind::Query {
                execution.bind_us = Some(elapsed_us);
            }
            if replies.rows > 0 {
                execution.add_rows(replies.rows, observation.origin.ts);
                execution.data.add(replies.data.0, replies.data.1);
            }
            execution.add_tag(tag, replies.complete.rows);
            execution.end(Outcome::Ok, observation.origin.ts, observation.origin.packet);
        }
        pipeline.replied_at = observation.origin.ts;
        pipeline.be_ready(Some(replies.ready.transaction_status));
        (pipeline.run, pipeline.describes_statement) = (None, false);
        (annotation.query, annotation.elapsed_us) = (Some(self.numbers.0), Some(elapsed_us));
        EndedExchange { exchange: self, is_of_last_row }
    }

    /// Puts its requests into the pipeline, one by one: something else comes than all of their replies.
    #[cold]
    pub(super) fn split(self, pipeline: &mut Pipeline) {
        let portal = self.portal().cloned();
        let Self { kind, at, numbers, execution, answers, .. } = self;
        pipeline.request_queue.put(kind.requests(), numbers, at, |request| match (request, &portal) {
            (Request::Bind, Some(portal)) => (RequestTarget::Portal(Arc::clone(portal)), Answers::ANY),
            (Request::DescribePortal | Request::Execute, Some(portal)) => {
                (RequestTarget::Portal(Arc::clone(portal)), answers)
            }
            (Request::Query, _) => (RequestTarget::Nothing, answers),
            _ => (RequestTarget::Nothing, Answers::ANY),
        });
        if kind == Kind::Query {
            pipeline.statements.prepared.send(b"", numbers.1, None);
        }
        pipeline.statements.portals.send(b"", numbers.1, portal);
        pipeline.executions.go_on(execution);
    }
}

/// An exchange that has ended, from which lines are made.
#[derive(Debug)]
pub struct EndedExchange {
    exchange: Exchange,
    /// Whether the columns of its rows are those that were described last.
    is_of_last_row: bool,
}

impl EndedExchange {
    /// What was executed, where query lines are made of it.
    pub fn execution(&self) -> Option<&Execution> {
        self.exchange.execution.as_deref()
    }

    /// Where the columns and formats of its rows are known from, before another message is observed.
    pub fn rows<'a>(&'a self, dialogue: &'a Dialogue) -> RowSource<'a> {
        match dialogue.last_row().filter(|_| self.is_of_last_row) {
            Some(row) => RowSource::Described(row),
            None => self.exchange.portal().map_or(RowSource::Unknown, |portal| RowSource::Portal(portal)),
        }
    }

    /// Keeps its buffers to be used again.
    pub fn recycle(self, shared: &mut Shared) {
        let Exchange { mut execution, portal, .. } = self.exchange;
        let portal = portal.or_else(|| execution.as_mut()?.portal.take());
        if let Some(portal) = portal.filter(|portal| portal.size() <= SMALL) {
            shared.kept.portals.give(portal);
        }
        if let Some(execution) = execution {
            shared.recycle(execution);
        }
    }
}

/// Where the columns and formats of rows are known from.
#[derive(Clone, Copy, Debug)]
pub enum RowSource<'a> {
    /// Their portal.
    Portal(&'a Portal),
    /// The RowDescription before them.
    Described(&'a Row),
    /// Nowhere.
    Unknown,
}

impl<'a> RowSource<'a> {
    /// The columns of the rows.
    pub fn shape(self) -> Option<&'a RowShape> {
        match self {
            Self::Portal(portal) => portal.row(),
            Self::Described(row) => Some(&row.shape),
            Self::Unknown => None,
        }
    }

    /// The formats of the rows.
    pub fn formats(self) -> Formats<'a> {
        match self {
            Self::Portal(portal) => portal.row_formats(),
            Self::Described(row) => row.shape.formats(),
            Self::Unknown => Formats::Unknown,
        }
    }
}
