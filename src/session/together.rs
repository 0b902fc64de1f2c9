//! An execution whose requests come together, and replies that do.
//!
//! Most drivers send Bind, Describe, Execute and Sync in one segment, and are answered in one, as a simple query is. Where
//! nothing else is under way there is nothing to be found out about any of them: they are taken at once, with the same result
//! as one by one.

use std::sync::Arc;

use super::dialogue::{Dialogue, settle_name};
use super::execution::{Outcome, Protocol, SMALL};
use super::meaning::{Meaning, Seen, Subject};
use super::pending::{Attribution, Expected, Fate, Request};
use super::request::About;
use super::shared::Shared;
use super::statements::{Portal, Row};
use crate::pg::extended::Bind;
use crate::pg::query::{CommandComplete, ReadyForQuery, TransactionStatus};
use crate::pg::row::{Formats, RowDescription, RowShape};

/// What waits for its replies, and nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Requests that came together ([`Dialogue::execute`]).
    Execution {
        /// Whether one of them is Describe.
        is_described: bool,
    },
    /// A simple query.
    Query,
}

/// All replies that are left to come.
#[derive(Clone, Copy, Debug)]
pub struct Replies<'a, 'm> {
    /// RowDescription, where there is one.
    pub row: Option<Described<'a, 'm>>,
    /// How many rows came.
    pub rows: u64,
    /// CommandComplete.
    pub complete: &'a CommandComplete<'m>,
    /// ReadyForQuery.
    pub ready: &'a ReadyForQuery,
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
#[derive(Clone, Debug)]
pub enum Rows {
    /// Their portal.
    Portal(Arc<Portal>),
    /// The RowDescription before them.
    Described(Option<Arc<Row>>),
}

impl Rows {
    /// Their columns.
    pub fn shape(&self) -> Option<&RowShape> {
        match self {
            Self::Portal(portal) => portal.row(),
            Self::Described(row) => row.as_ref().map(|row| &row.shape),
        }
    }

    /// Their formats.
    pub fn formats(&self) -> Formats<'_> {
        match self {
            Self::Portal(portal) => portal.row_formats(),
            Self::Described(row) => row.as_ref().map_or(Formats::Unknown, |row| row.shape.formats()),
        }
    }
}

/// The requests that [`Dialogue::execute`] takes.
const REQUESTS: [Request; 4] = [Request::Bind, Request::DescribePortal, Request::Execute, Request::Sync];

/// The same, without Describe.
const UNDESCRIBED: [Request; 3] = [Request::Bind, Request::Execute, Request::Sync];

impl Dialogue {
    /// Takes Bind to the unnamed portal, Describe of that where it `is_described`, Execute for all rows, and Sync, with what is
    /// `seen` of all of them. False, and nothing is taken, where other requests are under way.
    pub fn execute(
        &mut self,
        bind: &Bind<'_>,
        is_described: bool,
        seen: &Seen<'_, '_>,
        shared: &mut Shared,
        meaning: &mut Meaning,
    ) -> bool {
        let Self { pending, statements, executions, .. } = self;
        if !pending.is_idle() {
            return false;
        }
        let Shared { kept, spare, wants_queries, .. } = shared;
        let portal = statements.bind(kept, bind, *wants_queries);
        let requests = if is_described { &REQUESTS[..] } else { &UNDESCRIBED };
        let about = |request| match request {
            Request::Sync => About::Nothing,
            _ => About::Portal(Arc::clone(&portal)),
        };
        let (query, first) = pending.together(requests, seen.at, about);
        statements.portals.send(b"", first, Some(Arc::clone(&portal)));
        statements.make_room(kept);
        self.queries += 1;
        if *wants_queries && let Some(execution) = executions.begin(query, seen.at, seen.packet, spare) {
            execution.execute(Protocol::Extended);
            execution.is_midstream |= portal.is_statement_unknown();
            execution.portal = Some(Arc::clone(&portal));
            execution.bytes_in += seen.size;
        }
        meaning.query = Some(query);
        meaning.subject = Subject::Portal(portal);
        true
    }

    /// What waits for its replies, where nothing else does.
    pub fn waits(&self) -> Option<Waiting> {
        if let Some(count) = self.pending.are_together() {
            return Some(Waiting::Execution { is_described: count == REQUESTS.len() });
        }
        match self.pending.only()? {
            Expected { request: Request::Query, about: About::Nothing, .. } => Some(Waiting::Query),
            _ => None,
        }
    }

    /// Takes all replies to what [waits](Self::waits): BindComplete and RowDescription or NoData, as far as they are due, the
    /// rows, CommandComplete and ReadyForQuery. Says what the rows are.
    pub fn executed_at_once(
        &mut self,
        replies: &Replies<'_, '_>,
        seen: &Seen<'_, '_>,
        shared: &mut Shared,
        meaning: &mut Meaning,
    ) -> Option<Rows> {
        let Replies { row, rows, complete, ready } = *replies;
        let head = self.pending.head()?;
        let id = head.id;
        let of = match &head.about {
            About::Portal(portal) => {
                let portal = Arc::clone(portal);
                settle_name(&mut self.statements.portals, b"", id, Fate::Answered);
                match row {
                    Some(Described::Row(row)) => self.statements.describe_portal(&portal, row),
                    Some(Described::Again) => self.statements.describe_portal_again(&portal),
                    None => {}
                }
                Rows::Portal(portal)
            }
            _ => {
                settle_name(&mut self.statements.prepared, b"", id, Fate::Answered);
                settle_name(&mut self.statements.portals, b"", id, Fate::Answered);
                Rows::Described(match row {
                    Some(Described::Row(row)) => self.statements.describe_rows(row),
                    Some(Described::Again) => self.statements.last_row(),
                    None => None,
                })
            }
        };
        // The first of the requests is Bind: it is about the same portal as Execute.
        self.take_effects(Some(complete), shared);
        let Self { pending, statements, executions, transaction, .. } = self;
        let Attribution { query, elapsed_us } = pending.answered(seen.at);
        if let Some(execution) = query.and_then(|query| executions.get(query)) {
            execution.bytes_out += seen.size;
            execution.replied(seen.at, seen.packet, *transaction);
            if let Rows::Portal(_) = of {
                execution.bind_us = elapsed_us;
            }
            if rows > 0 {
                execution.add_rows(rows, seen.at);
            }
            execution.add_tag(complete.command_tag.0, complete.rows);
            if execution.outcome.is_none() {
                execution.end(Outcome::Ok, seen.at, seen.packet);
            }
        }
        *transaction = Some(ready.transaction_status);
        if ready.transaction_status == TransactionStatus::IDLE {
            statements.end_transaction();
        }
        (self.run, self.describes_statement) = (None, false);
        (meaning.query, meaning.elapsed_us) = (query, elapsed_us);
        if let Rows::Portal(portal) = &of
            && portal.size() <= SMALL
        {
            shared.kept.portals.give(Arc::clone(portal));
        }
        Some(of)
    }
}
