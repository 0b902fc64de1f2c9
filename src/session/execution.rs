//! One executed request, from its first message to its end: what a `query` line is made of.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::budget::{Budget, Share};
use super::interner::MAX_TEXT;
use super::shared::Shared;
use super::statements::{Portal, Statement};
use super::violation::Violation;
use crate::pg::error::{Fields, KeptFields};
use crate::pg::list::Oid;
use crate::pg::query::TransactionStatus;
use crate::pg::row::Values;
use crate::pg::text::{KeptText, Text, inline_schema};
use crate::redaction::Redaction;
use crate::time::Timestamp;

/// How a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Execute.
    #[default]
    Extended,
    /// FunctionCall.
    Function,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Outcome {
    /// It was executed.
    Ok,
    /// It failed.
    Error,
    /// It was canceled (SQLSTATE 57014): by a CancelRequest, `pg_cancel_backend()`, `statement_timeout`, or CopyFail.
    Canceled,
    /// The server ignored it, for a request before it had failed.
    Skipped,
    /// The rows that were asked for came, and there may be more.
    Suspended,
    /// Its connection, or its server process, ended before it did.
    Aborted,
    /// How it ended was not captured.
    Incomplete,
    /// It has not ended: only on lines of requests under way.
    Running,
}

/// How many requests of a connection are followed at a time; of more, the first one is dropped.
const MAX_OPEN: usize = 65_536;

/// How many bytes of command tags are kept: those of some thousand statements in one Query.
const MAX_TAGS: usize = 64 * 1024;

/// How many bytes of an error are kept: enough for a message, its detail and context, and a quotation of some length.
const MAX_ERROR: usize = 64 * 1024;

/// How many are kept to be used again.
const MAX_SPARE: usize = 64;

/// Room for SQL is reserved in multiples of this many bytes.
const ROOM: usize = 256;

/// How many statements of a request are known that were parsed and not executed.
const MAX_PARSED: usize = 8;

/// A buffer larger than this is not kept to be used again.
pub(super) const SMALL: usize = 4 * 1024;

/// Command tags, one for each statement: `INSERT 0 5`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    /// The tags, each with a zero byte behind it.
    pub(crate) const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The tags that were these bytes.
    pub(crate) const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The tags.
    pub fn iter(self) -> impl Iterator<Item = Text<'a>> {
        // Each ends with a zero byte.
        let tags = self.0.strip_suffix(&[0]);
        tags.into_iter().flat_map(|tags| tags.split(|byte| *byte == 0)).map(Text::utf8)
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

inline_schema!(Tags<'_>, "Tags", Vec::<Text<'_>>::json_schema);

/// What the data of a reply, rows or COPY, are told apart by, without a look at each: data that differ have other marks, but for
/// those that begin alike and are as long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DataMark {
    /// The hash of how the first message begins.
    first: u64,
    /// Bytes of all messages on the wire.
    bytes: u64,
}

impl DataMark {
    /// How many bytes of the first message are looked at: those of some columns.
    const PREFIX: usize = 128;

    /// Adds messages of data, the first of which has this body.
    #[inline]
    pub(super) fn add(&mut self, first_body: &[u8], bytes: u64) {
        if self.bytes == 0 {
            let prefix = first_body.get(..Self::PREFIX).unwrap_or(first_body);
            self.first = FixedState::default().hash_one(prefix);
        }
        self.bytes += bytes;
    }
}

/// A statement that was parsed: how many microseconds that took, and when ParseComplete came.
type Parsed = (Arc<Statement>, u64, Timestamp);

/// One request.
#[derive(Debug, Default)]
pub struct Execution {
    number: u64,
    /// How it is made.
    pub protocol: Protocol,
    /// Whether a message was seen that executes it.
    pub(super) is_executed: bool,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When its first message was sent.
    pub started: Timestamp,
    /// When the last of its messages was sent that the server needs to work on it.
    sent: Timestamp,
    /// When its first reply came, and when the reply before that was over.
    replying: Option<(Timestamp, Timestamp)>,
    /// For how many nanoseconds of its reply the client's receive window was full.
    stalled: u64,
    /// When it was known to have no end yet, if none was captured.
    pub(super) last_open: Option<Timestamp>,
    /// When its last reply came, or it was known that none will come.
    pub ended: Timestamp,
    /// The packet that ended it.
    pub packet: u64,
    sql: KeptText<'static>,
    is_sql_kept: bool,
    pub(super) statement: Option<Arc<Statement>>,
    pub(super) portal: Option<Arc<Portal>>,
    /// The function that is called.
    pub function: Option<Oid>,
    tags: Vec<u8>,
    /// Rows by command tags.
    tagged_rows: Option<u64>,
    /// Rows that were seen.
    seen_rows: u64,
    /// What the data of its reply are told apart by.
    pub(super) data: DataMark,
    /// Bytes of its messages that the client sent.
    pub bytes_in: u64,
    /// Bytes of its messages that the server sent.
    pub bytes_out: u64,
    /// Bytes that either side sent again while it was under way.
    pub retransmitted: u64,
    error: KeptFields,
    /// Microseconds from Parse to ParseComplete.
    pub(super) parse_us: Option<u64>,
    /// When ParseComplete came.
    pub(super) parsed_at: Timestamp,
    /// The statements that it has parsed before another.
    parsed: Vec<Parsed>,
    /// Whether it has a Parse.
    pub is_parsed: bool,
    /// Whether it has a Bind.
    pub is_bound: bool,
    /// Microseconds from Bind to BindComplete.
    pub bind_us: Option<u64>,
    first_row: Option<Timestamp>,
    last_row: Option<Timestamp>,
    /// The state of the transaction in which it began.
    pub transaction: Option<TransactionStatus>,
    /// How many ReadyForQuery came before its first reply.
    pub cycle: u64,
    /// The connection whose CancelRequest canceled it.
    pub canceled_by: Option<u64>,
    has_reply: bool,
    /// It has opened a replication stream, which goes on as long as its client likes.
    pub is_stream: bool,
    /// Part of its SQL or of its tags was not kept.
    pub is_truncated: bool,
    /// It depends on something that was not seen.
    pub is_midstream: bool,
    /// Something of it could not be kept.
    pub is_limited: bool,
    /// Bytes were lost while it was under way, or TCP's numbers alone tie its replies to it.
    pub is_uncertain: bool,
    /// How the other side broke the protocol while it waited for its replies.
    pub violation: Option<Box<Violation>>,
    /// One of its messages was found behind a boundary that is a guess.
    pub is_guessed: bool,
    share: Option<Share>,
}

impl Execution {
    /// One that begins with its first message.
    pub(super) fn begun(number: u64, at: Timestamp, packet: u64, spare: &mut Spare) -> Box<Self> {
        let mut execution = spare.pop().unwrap_or_default();
        execution.begin(number, at, packet);
        execution
    }

    /// Puts another one in the place of one that is over. Its buffers, and the room that they have, are used again.
    fn begin(&mut self, new: u64, at: Timestamp, in_packet: u64) {
        // Each by itself, for most are as they were, and all together are several lines of a cache.
        let Self {
            number,
            protocol,
            is_executed,
            outcome,
            started,
            sent,
            replying,
            stalled,
            last_open,
            ended,
            packet,
            sql,
            is_sql_kept,
            statement,
            portal,
            function,
            tags,
            tagged_rows,
            seen_rows,
            data,
            bytes_in,
            bytes_out,
            retransmitted,
            error,
            parse_us,
            parsed_at: _,
            parsed,
            is_parsed,
            is_bound,
            bind_us,
            first_row,
            last_row,
            transaction,
            cycle: _,
            canceled_by,
            has_reply,
            is_stream,
            is_truncated,
            is_midstream,
            is_limited,
            is_uncertain,
            violation,
            is_guessed,
            share: _,
        } = self;
        (*number, *protocol, *is_executed, *outcome) = (new, Protocol::default(), false, None);
        (*started, *sent, *ended, *packet) = (at, at, at, in_packet);
        (*replying, *stalled, *last_open) = (None, 0, None);
        sql.set(Text::default());
        tags.clear();
        error.clear();
        parsed.clear();
        (*is_parsed, *is_bound) = (false, false);
        (*is_sql_kept, *statement, *portal, *function) = (false, None, None, None);
        (*tagged_rows, *seen_rows, *data) = (None, 0, DataMark::default());
        (*bytes_in, *bytes_out, *retransmitted) = (0, 0, 0);
        (*parse_us, *bind_us, *first_row, *last_row) = (None, None, None, None);
        (*transaction, *canceled_by, *has_reply, *is_stream) = (None, None, false, false);
        (*is_truncated, *is_midstream, *is_limited, *is_uncertain) = (false, false, false, false);
        *violation = None;
        *is_guessed = false;
    }

    /// Whether one of its messages, or of those that it depends on, was found behind a boundary that was a guess.
    pub fn depends_on_guess(&self) -> bool {
        self.is_guessed
            || self.portal.as_ref().is_some_and(|portal| portal.is_guessed())
            || self.statement.as_ref().is_some_and(|statement| statement.is_guessed())
    }

    /// Its number on its connection.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Keeps the SQL of a simple query.
    pub(super) fn keep_sql(&mut self, sql: Text<'_>, is_cut: bool, budget: &Budget) {
        let beginning = sql.0.get(..MAX_TEXT).unwrap_or(sql.0);
        let kept = Text(beginning, sql.1).kept();
        // What is about as long as the last has the same room.
        if !budget.take_again(&mut self.share, kept.len().next_multiple_of(ROOM)) {
            self.is_limited = true;
            return;
        }
        self.is_truncated |= is_cut || beginning.len() < sql.0.len();
        self.is_sql_kept = true;
        self.sql.set(kept.get());
    }

    /// The SQL of a simple query.
    pub fn sql(&self) -> Option<Text<'_>> {
        self.is_sql_kept.then(|| self.sql.get())
    }

    /// The statement that it is about, in the extended protocol.
    pub fn statement(&self) -> Option<&Statement> {
        self.portal.as_ref().and_then(|portal| portal.statement()).or(self.statement.as_ref()).map(|found| &**found)
    }

    /// The name of that statement.
    pub fn statement_name(&self) -> Option<Text<'_>> {
        match (&self.portal, self.protocol) {
            (_, Protocol::Simple | Protocol::Function) => None,
            (Some(portal), _) => portal.statement_name(),
            (None, _) => self.statement.as_ref().map(|statement| statement.name()),
        }
    }

    /// Microseconds from Parse to ParseComplete, unless another statement than that is executed.
    pub fn parse_us(&self) -> Option<u64> {
        let parse_us = self.parse_us?;
        let executed = self.portal.as_ref().and_then(|portal| portal.statement()).map(|statement| statement.name());
        let parsed = self.statement.as_ref().map(|statement| statement.name());
        (parsed.is_none() || executed.is_none() || parsed == executed).then_some(parse_us)
    }

    /// Its next Parse is of this statement. An earlier one is remembered that has been answered.
    pub(super) fn parse(&mut self, statement: &Arc<Statement>) {
        let before = self.statement.replace(Arc::clone(statement)).filter(|_| self.is_parsed);
        self.is_parsed = true;
        if let Some((statement, elapsed_us)) = before.zip(self.parse_us.take())
            && self.parsed.len() < MAX_PARSED
        {
            self.parsed.push((statement, elapsed_us, self.parsed_at));
        }
    }

    /// The statements that it has parsed, and executed none of: how many microseconds that took, and when ParseComplete came.
    pub fn parsed_only(&self) -> impl Iterator<Item = (&Statement, u64, Timestamp)> {
        let last = self.parse_us.filter(|_| self.parse_us().is_none()).zip(self.statement.as_ref());
        let last = last.map(|(elapsed_us, statement)| (&**statement, elapsed_us, self.parsed_at));
        self.parsed.iter().map(|(statement, elapsed_us, at)| (&**statement, *elapsed_us, *at)).chain(last)
    }

    /// The portal that it executes, in the extended protocol.
    pub fn portal(&self) -> Option<&Portal> {
        self.portal.as_deref()
    }

    /// The values of its parameters, or its arguments.
    pub fn parameters(&self, redaction: Redaction) -> Option<Values<'_>> {
        self.portal.as_ref()?.parameters(redaction)
    }

    /// The command tags of its statements.
    pub fn tags(&self) -> Tags<'_> {
        Tags(&self.tags)
    }

    /// How many rows it returned or changed, by its command tags; else how many were seen.
    pub fn rows(&self) -> Option<u64> {
        self.tagged_rows.or_else(|| (self.seen_rows > 0).then_some(self.seen_rows))
    }

    /// Its error.
    pub fn error(&self, redaction: Redaction) -> Option<Fields<'_>> {
        self.error.get(redaction)
    }

    /// Microseconds from its beginning to the first row.
    pub fn first_row_us(&self) -> Option<u64> {
        self.first_row.map(|at| at.micros_since(self.started))
    }

    /// Microseconds from its beginning to the last row.
    pub fn last_row_us(&self) -> Option<u64> {
        self.last_row.map(|at| at.micros_since(self.started))
    }

    /// Returns when its reply began and ended, if it has an end. A stream is no work that takes a time.
    fn reply(&self) -> Option<(Timestamp, Timestamp, Timestamp)> {
        let has_end = !matches!(self.outcome, None | Some(Outcome::Incomplete | Outcome::Skipped));
        let (first, after) = self.replying.filter(|_| has_end && !self.is_stream)?;
        Some((first, after, self.ended))
    }

    /// Returns what the data of its reply are told apart by.
    pub const fn data(&self) -> DataMark {
        self.data
    }

    /// Returns when the first of its reply came.
    pub fn replied_at(&self) -> Option<Timestamp> {
        self.replying.map(|(first, _)| first)
    }

    /// Returns the microseconds that the server can have worked on this request alone: from its last byte, or the end of the reply
    /// before it if that was later, to the end of its own reply.
    pub fn exec_us(&self) -> Option<u64> {
        let (_, after, ended) = self.reply()?;
        Some(ended.micros_since(self.sent.max(after)))
    }

    /// Returns the same until the first of its reply, without the round-trip time to the server as far as the server waited for the
    /// request: it arrives half of that after it was captured, and a reply is captured half of that after it was sent.
    pub fn server_us(&self, rtt_server_us: u64) -> Option<u64> {
        let (first, after, _) = self.reply()?;
        Some(first.micros_since(self.sent.later(rtt_server_us).max(after)))
    }

    /// Returns the microseconds from the first to the last of its reply.
    pub fn transfer_us(&self) -> Option<u64> {
        let (first, _, ended) = self.reply()?;
        Some(ended.micros_since(first))
    }

    /// Returns how many of these microseconds the client's receive window was full, if it was. It may still be, since some time.
    pub fn client_stall_us(&self, full_since: Option<Timestamp>) -> Option<u64> {
        let (first, _, ended) = self.reply()?;
        let last = full_since.and_then(|since| ended.nanos_since(since.max(first)));
        let micros = self.stalled.saturating_add(last.unwrap_or_default()) / 1_000;
        (micros > 0).then(|| micros.min(ended.micros_since(first)))
    }

    /// Returns how old it was, in microseconds, when it was last known to have no end.
    pub fn age_us(&self) -> Option<u64> {
        self.last_open.map(|at| at.micros_since(self.started))
    }

    pub(super) fn add_rows(&mut self, count: u64, at: Timestamp) {
        self.seen_rows += count;
        self.first_row.get_or_insert(at);
        self.last_row = Some(at);
    }

    pub(super) fn add_tag(&mut self, tag: &[u8], rows: Option<u64>) {
        if let Some(rows) = rows {
            self.tagged_rows = Some(self.tagged_rows.unwrap_or_default().saturating_add(rows));
        }
        if self.tags.len() + tag.len() < MAX_TAGS {
            self.tags.extend_from_slice(tag);
            self.tags.push(0);
        } else {
            self.is_truncated = true;
        }
    }

    pub(super) fn keep_error(&mut self, fields: &Fields<'_>) {
        self.error.keep(fields, MAX_ERROR);
    }

    /// A message was seen that executes it.
    pub(super) fn execute(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.is_executed = true;
    }

    pub(super) fn end(&mut self, outcome: Outcome, at: Timestamp, packet: u64) {
        self.outcome = Some(outcome);
        self.ended = at;
        self.packet = packet;
    }

    /// What was attributed to it may answer another.
    pub(super) fn forget_replies(&mut self) {
        self.tags.clear();
        self.error.clear();
        (self.tagged_rows, self.seen_rows, self.data, self.bytes_out) = (None, 0, DataMark::default(), 0);
        (self.parse_us, self.bind_us, self.first_row, self.last_row) = (None, None, None, None);
        (self.transaction, self.canceled_by, self.replying, self.stalled) = (None, None, None, 0);
        if self.outcome.is_some() {
            self.outcome = Some(Outcome::Incomplete);
        }
    }

    /// Records that a message was sent that the server needs to work on it. What it replied before is to earlier ones, such as Parse.
    pub(super) fn send(&mut self, at: Timestamp) {
        (self.sent, self.replying, self.stalled) = (at, None, 0);
    }

    /// Records that a reply came, and when the reply to another request before it was over. The first one shows that the server
    /// has begun with it.
    pub(super) fn replied(
        &mut self,
        at: Timestamp,
        after: Timestamp,
        packet: u64,
        (transaction, cycle): (Option<TransactionStatus>, u64),
    ) {
        self.replying.get_or_insert((at, after));
        if !self.has_reply {
            self.has_reply = true;
            (self.transaction, self.cycle) = (transaction, cycle);
        }
        if self.outcome.is_none() || self.protocol != Protocol::Extended {
            (self.ended, self.packet) = (at, packet);
        }
    }

    /// Records that the client's receive window was full from one time to another.
    pub(super) fn stall(&mut self, from: Timestamp, to: Timestamp) {
        let Some((first, _)) = self.replying else { return };
        let to = if self.outcome.is_some() && self.protocol == Protocol::Extended { to.min(self.ended) } else { to };
        self.stalled = self.stalled.saturating_add(to.nanos_since(from.max(first)).unwrap_or_default());
    }

    /// When the last of its messages was sent that the server needs to work on it.
    pub const fn sent(&self) -> Timestamp {
        self.sent
    }

    /// Whether the server has begun to reply.
    pub const fn is_replied(&self) -> bool {
        self.replying.is_some()
    }

    /// Whether it is to be executed, and has no end yet.
    pub(super) const fn is_under_way(&self) -> bool {
        self.is_executed && self.outcome.is_none()
    }

    /// Whether it is reported: it was to be executed, or has failed before that.
    const fn is_reported(&self) -> bool {
        self.is_executed || self.outcome.is_some()
    }
}

/// Those that nobody needs any more, to be used again.
pub type Spare = Vec<Box<Execution>>;

/// The requests of a connection that are not over.
#[derive(Debug, Default)]
pub struct Executions {
    open: VecDeque<Box<Execution>>,
}

impl Executions {
    /// A request begins, with its first message; or goes on.
    pub(super) fn begin(
        &mut self,
        number: u64,
        at: Timestamp,
        packet: u64,
        spare: &mut Spare,
    ) -> Option<&mut Execution> {
        if self.open.back().is_none_or(|last| last.number < number) {
            self.open.push_back(Execution::begun(number, at, packet, spare));
        }
        self.get(number)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The requests, in the order in which they were sent.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Execution> {
        self.open.iter().map(|execution| &**execution)
    }

    /// A request goes on that has begun elsewhere, behind all others.
    pub(super) fn go_on(&mut self, execution: Option<Box<Execution>>) {
        self.open.extend(execution);
    }

    /// A request by its number.
    pub(super) fn get(&mut self, number: u64) -> Option<&mut Execution> {
        // Every number has its place.
        let index = usize::try_from(number.checked_sub(self.open.front()?.number)?).ok()?;
        self.open.get_mut(index).map(|found| &mut **found)
    }

    /// Removes the next one that is over and is to be reported: those before `first_open` are over, and the one that has its
    /// outcome already where nothing else waits.
    pub(super) fn next_over(
        &mut self,
        first_open: u64,
        nothing_waits: bool,
        shared: &mut Shared,
    ) -> Option<Box<Execution>> {
        loop {
            let front = self.open.front()?;
            let is_over = front.number < first_open || nothing_waits && front.outcome.is_some();
            let are_too_many = self.open.len() > MAX_OPEN;
            if !is_over && !are_too_many {
                return None;
            }
            let mut execution = self.open.pop_front()?;
            execution.is_limited |= !is_over;
            if execution.is_reported() {
                return Some(execution);
            }
            if shared.wants_parses && (execution.parse_us.is_some() || execution.bind_us.is_some()) {
                execution.outcome = Some(Outcome::Ok);
                return Some(execution);
            }
            recycle(execution, &mut shared.spare);
        }
    }

    /// How many bytes they take, without what is counted elsewhere.
    pub(super) fn held(&self) -> usize {
        self.open.capacity() * size_of::<Box<Execution>>() + self.open.len() * size_of::<Execution>()
    }

    /// What was attributed to those that are under way may answer others.
    #[cold]
    pub(super) fn refute(&mut self) {
        for execution in self.open.iter_mut().filter(|execution| execution.is_uncertain) {
            execution.forget_replies();
        }
    }

    /// The first request that is under way: the one that the server works on.
    pub(super) fn first(&mut self) -> Option<&mut Execution> {
        self.open.front_mut().map(|first| &mut **first)
    }

    /// Bytes were lost: what is under way may have ended.
    pub(super) fn lose(&mut self) {
        for execution in &mut self.open {
            execution.is_uncertain = true;
        }
    }
}

/// Keeps the buffers of one that was reported.
pub(super) fn recycle(mut execution: Box<Execution>, spare: &mut Spare) {
    (execution.portal, execution.statement) = (None, None);
    execution.parsed.clear();
    let is_small = execution.sql.capacity() <= SMALL && execution.tags.capacity() <= SMALL;
    if spare.len() < MAX_SPARE && is_small && execution.error.capacity() <= SMALL {
        spare.push(execution);
    }
}
