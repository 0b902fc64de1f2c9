//! Requests and replies of a session that is ready: which reply answers what, what names stand for, what is executed.

use std::sync::Arc;

use super::answers::Answers;
use super::budget::Budget;
use super::cancel::CancelKey;
use super::exchange::Exchange;
use super::execution::{Execution, Executions, Outcome, SMALL};
use super::name_commands;
use super::names::Names;
use super::observation::{Meaning, Seen};
use super::request::{About, Taken};
use super::request_queue::{Attribution, Expected, Fate, Misfit, Pending, Place, Request};
use super::shared::Shared;
use super::statements::{Portal, Row, Statements};
use super::violation::Violation;
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::error::{Fields, code};
use crate::pg::extended::TargetKind;
use crate::pg::message::Message;
use crate::pg::query::{CommandComplete, TransactionStatus};
use crate::pg::row::{Formats, RowShape};
use crate::pg::tag;
use crate::pg::text::Text;
use crate::sql::statement;

/// How many bytes are held for a request that waits, at most: queues have room for twice as many as there are.
pub const MOST_FOR_A_REQUEST: usize =
    2 * (size_of::<Expected<About>>() + size_of::<Portal>() + size_of::<Execution>() + size_of::<usize>());

/// Requests and replies.
#[derive(Debug)]
pub struct Dialogue {
    pub(super) pending: Pending<About>,
    pub(super) statements: Statements,
    pub(super) executions: Executions,
    /// Requests that were taken at once. While there are some, nothing else is under way.
    pub(super) exchange: Option<Exchange>,
    /// The columns of the rows that come now, as the RowDescription right before them says.
    pub(super) run: Option<Arc<Row>>,
    /// A ParameterDescription was the last message: the RowDescription behind it is of a statement, not of rows.
    pub(super) describes_statement: bool,
    /// The last statement that began to copy: its request, and where in its text it is.
    copied: (u64, usize),
    pub(super) transaction: Option<TransactionStatus>,
    /// How many requests were sent that execute something.
    pub(super) queries: u64,
    cancel_key: Option<CancelKey>,
    /// How the other side broke the protocol first.
    violation: Option<Violation>,
}

impl Dialogue {
    /// Of a session that is about to begin.
    pub fn new(budget: Budget) -> Self {
        Self::with(Pending::default(), Statements::new(true, budget))
    }

    /// Of a session that began before the capture.
    pub fn midstream(budget: Budget) -> Self {
        Self::with(Pending::midstream(), Statements::new(false, budget))
    }

    fn with(pending: Pending<About>, statements: Statements) -> Self {
        Self {
            pending,
            statements,
            executions: Executions::default(),
            exchange: None,
            run: None,
            describes_statement: false,
            copied: (0, 0),
            transaction: None,
            queries: 0,
            cancel_key: None,
            violation: None,
        }
    }

    /// What is known of statements and portals.
    pub const fn statements(&self) -> &Statements {
        &self.statements
    }

    /// The room that the connection has for what it remembers.
    pub const fn budget(&self) -> &Budget {
        self.statements.budget()
    }

    /// What a CancelRequest for this session repeats.
    pub const fn cancel_key(&self) -> Option<&CancelKey> {
        self.cancel_key.as_ref()
    }

    /// The server has told it.
    pub fn set_cancel_key(&mut self, key: CancelKey) {
        self.cancel_key = Some(key);
    }

    /// How the server, or a pooler before it, broke the protocol first.
    pub const fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Whether requests wait for replies.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many requests were sent that execute something.
    pub const fn queries(&self) -> u64 {
        self.queries
    }

    /// Forgets statements and portals, to make room.
    pub fn forget(&mut self, shared: &mut Shared) {
        self.part();
        self.statements.forget(&mut shared.kept);
    }

    /// Bytes were lost, the client's or the server's.
    pub fn lose(&mut self, requests: bool) {
        self.part();
        self.pending.lose(requests);
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

    /// Whether it is not known which replies are whose.
    #[inline(always)]
    pub const fn is_uncertain(&self) -> bool {
        self.pending.is_uncertain()
    }

    /// How many requests were queued, where it is not known which replies are whose.
    pub fn uncertain_behind(&self) -> Option<u64> {
        self.pending.uncertain_behind()
    }

    /// Ties the first request queued behind so many others to the reply that is to begin at a sequence number, as [`Pending::tie`]
    /// does.
    pub fn tie(&mut self, behind: u64, reply_seq: u32, end_seq: u32) {
        self.pending.tie(behind, reply_seq, end_seq);
    }

    /// Tells whether the requests that come next may be tied to replies.
    pub const fn may_tie(&mut self, may_tie: bool) {
        self.pending.may_tie(may_tie);
    }

    /// Takes the numbers of a segment of the server's, as [`Pending::meet`] does.
    pub const fn meet(&mut self, begins_at: Option<u32>, ack: u32) {
        self.pending.meet(begins_at, ack);
    }

    /// What is read next may not be the beginning of a reply.
    pub const fn untie(&mut self) {
        self.pending.untie();
    }

    /// How many bytes the requests that are under way take.
    pub fn held(&self) -> usize {
        // A request that waits may keep a portal that nothing else does.
        let exchange = self.exchange.as_ref().map_or(0, |_| size_of::<Portal>() + size_of::<Execution>());
        self.pending.held() + self.pending.len() * size_of::<Portal>() + self.executions.held() + exchange
    }

    /// Gives up the requests that are under way, for the memory is needed for others.
    pub fn give_up(&mut self, origin: Origin, shared: &mut Shared) {
        self.part();
        let Self { pending, statements, executions, .. } = self;
        let seen = &Seen { at: origin.ts, packet: origin.packet, ..Seen::default() };
        pending.give_up(&mut |expected, fate| settle(expected, fate, statements, executions, shared, seen));
        self.executions.lose();
    }

    /// Takes a message of the frontend.
    #[inline(always)]
    pub fn request(&mut self, tag: u8, seen: &Seen<'_, '_>, shared: &mut Shared, meaning: &mut Meaning) {
        self.part();
        self.statements.guess(seen.is_guessed);
        let request = match (tag, seen.named()) {
            (b'P', _) => Request::Parse,
            (b'B', _) => Request::Bind,
            (b'D', Some(Message::Describe(target))) if target.kind == TargetKind::Statement => {
                Request::DescribeStatement
            }
            (b'D', described) => {
                if described.is_none() {
                    // It may be of a statement.
                    self.pending.doubt();
                }
                Request::DescribePortal
            }
            (b'E', _) => Request::Execute,
            (b'C', _) => Request::Close,
            (b'S', _) => Request::Sync,
            (b'Q', _) => Request::Query,
            (b'F', _) => Request::FunctionCall,
            (b'c' | b'f', _) => Request::CopyEnd,
            (b'd' | b'H', _) => {
                meaning.query = self.pending.last_query();
                meaning.is_skipped = tag == b'd' && self.pending.drops_copy_data();
                if tag == b'd' {
                    self.pending.copy_data();
                } else if seen.size != 5 {
                    // The server answers it with an error.
                    self.pending.doubt();
                }
                if let Some(execution) = meaning.query.and_then(|query| self.executions.get(query)) {
                    execution.bytes_in += seen.size;
                    execution.is_guessed |= seen.is_guessed;
                }
                return;
            }
            (b'X', _) => return,
            _ => {
                // Nobody knows what answers it.
                self.pending.doubt();
                return;
            }
        };
        let Self { pending, statements, executions, .. } = self;
        let is_dropped = request == Request::CopyEnd && pending.drops_copy_data();
        let settle = &mut |expected, fate| settle(expected, fate, statements, executions, shared, seen);
        let (query, place) = pending.request(request, seen.at, settle);
        meaning.query = query;
        let is_skipped = matches!(place, Place::Skipped(_));
        meaning.is_skipped = is_skipped || is_dropped;
        if request == Request::Sync {
            statements.end_skipped();
        }
        self.queries += u64::from(matches!(request, Request::Execute | Request::Query | Request::FunctionCall));

        let execution = match query {
            Some(number) if shared.wants_queries => {
                if matches!(request, Request::Sync | Request::CopyEnd) {
                    executions.get(number)
                } else {
                    let mut execution = executions.begin(number, seen.at, seen.packet, &mut shared.spare);
                    if let Some(execution) = &mut execution {
                        execution.is_uncertain |= pending.is_uncertain();
                        execution.is_truncated |= seen.is_cut;
                        execution.is_limited |= place == Place::TooMany;
                    }
                    execution
                }
            }
            _ => None,
        };
        let mut taken = Taken { pending, statements, kept: &mut shared.kept, execution, place, meaning };
        taken.request(request, seen, shared.wants_queries);
        let Taken { execution, .. } = taken;
        if let Some(execution) = execution {
            execution.bytes_in += seen.size;
            execution.is_guessed |= seen.is_guessed;
            if is_skipped && execution.is_executed && execution.outcome.is_none() {
                execution.end(Outcome::Skipped, seen.at, seen.packet);
            }
        }
        if place == Place::TooMany {
            statements.forget(&mut shared.kept);
        }
        if seen.is_late {
            self.miss(seen, shared);
        }
    }

    /// What waits was answered before it was found: its replies cannot be told from others.
    #[cold]
    fn miss(&mut self, seen: &Seen<'_, '_>, shared: &mut Shared) {
        let Self { pending, statements, executions, .. } = self;
        executions.lose();
        pending.miss(&mut |expected, fate| settle(expected, fate, statements, executions, shared, seen));
    }

    /// Takes a message of the backend.
    #[inline(always)]
    pub fn reply(&mut self, tag: u8, seen: &Seen<'_, '_>, shared: &mut Shared, meaning: &mut Meaning) {
        self.part();
        self.follow_run(tag, seen.whole());
        let kind = Answers::of_reply(tag, seen.whole());
        if !self.align(tag, kind, seen, shared) {
            return;
        }
        match (tag, seen.whole()) {
            (b'T' | b't', Some(message)) => self.describe(message),
            (b'C', Some(Message::CommandComplete(complete))) => self.take_effects(Some(complete), shared),
            (b'C', _) => self.take_effects(None, shared),
            _ => {}
        }
        let head = self.pending.head().map(|head| head.request);
        let attribution = {
            let Self { pending, statements, executions, .. } = self;
            let settle = &mut |expected, fate| settle(expected, fate, statements, executions, shared, seen);
            pending.reply(tag, kind, seen.at, settle)
        };
        if let Some(execution) = attribution.query.and_then(|query| self.executions.get(query)) {
            execution.bytes_out += seen.size;
            execution.is_guessed |= seen.is_guessed;
            if attribution.elapsed_us.is_some() {
                execution.replied(seen.at, seen.packet, self.transaction);
            }
            take_reply(execution, head, tag, &attribution, seen);
            if tag == b'E'
                && execution.outcome == Some(Outcome::Canceled)
                && let Some(key) = &self.cancel_key
            {
                execution.canceled_by = shared.cancels.canceled(key, execution.started);
            }
        }
        if tag == b'Z' {
            self.take_misfit(tag, seen);
            self.take_status(seen);
        }
        (meaning.query, meaning.elapsed_us) = (attribution.query, attribution.elapsed_us);
        meaning.is_tied = attribution.is_tied;
    }

    /// Finds the request that a reply answers. False where it answers none.
    #[inline(always)]
    fn align(&mut self, tag: u8, kind: Answers, seen: &Seen<'_, '_>, shared: &mut Shared) -> bool {
        if self.pending.is_tying() {
            self.resolve_tie(tag, seen, shared);
        }
        let Self { pending, statements, executions, .. } = self;
        let settle = &mut |expected, fate| settle(expected, fate, statements, executions, shared, seen);
        let answers = pending.align(tag, kind, settle)
            && (tag != b'E' || ends_session(seen.whole()) != Some(false) || pending.may_fail());
        if self.pending.take_refuted() {
            self.executions.refute();
        }
        if self.pending.take_renamed() {
            self.rename();
        }
        self.take_misfit(tag, seen);
        answers
    }

    /// The name that is executed stands for something else than what was last seen to be given to it, and others may, too: SQL
    /// that a function or a DO executes has names of its own.
    #[cold]
    fn rename(&mut self) {
        self.statements.prepared.forget();
        let query = self.pending.head().and_then(|head| head.query);
        if let Some(execution) = query.and_then(|query| self.executions.get(query)) {
            (execution.portal, execution.statement, execution.is_midstream) = (None, None, true);
        }
    }

    #[cold]
    fn resolve_tie(&mut self, tag: u8, seen: &Seen<'_, '_>, shared: &mut Shared) {
        let Self { pending, statements, executions, .. } = self;
        let settle = &mut |expected, fate| settle(expected, fate, statements, executions, shared, seen);
        let bytes = pending.resolve_tie(tag, seen.size, settle);
        let query = self.pending.head().and_then(|head| head.query);
        if let Some(execution) = query.and_then(|query| self.executions.get(query)) {
            execution.bytes_out += bytes.unwrap_or_default();
        }
    }

    /// Takes note of how the protocol was broken, for the session and for the requests that are hit.
    #[inline(always)]
    fn take_misfit(&mut self, tag: u8, seen: &Seen<'_, '_>) {
        if let Some(misfit) = self.pending.take_misfit() {
            self.violate(misfit, tag, seen);
        }
    }

    #[cold]
    fn violate(&mut self, misfit: Misfit, tag: u8, seen: &Seen<'_, '_>) {
        let violation = Violation::new(misfit.what, misfit.wanted, tag, seen.packet);
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
    pub(super) fn be_ready(&mut self, seen: &Seen<'_, '_>) {
        self.part();
        self.pending.begin();
        self.take_status(seen);
    }

    /// Takes what a ReadyForQuery says of the transaction.
    #[inline(always)]
    fn take_status(&mut self, seen: &Seen<'_, '_>) {
        self.transaction = match seen.whole() {
            Some(Message::ReadyForQuery(ready)) => Some(ready.transaction_status),
            _ => None,
        };
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
        if let Some(About::Sql(sql)) = self.pending.head_mut().map(|head| &mut head.about) {
            let rest = sql.text.get().0.get(sql.now..).unwrap_or_default();
            sql.now += statement::split(rest).next().map_or(0, |range| range.end);
        }
    }

    /// The statement that is executed now, where it is known.
    pub fn executed<'a>(&'a self, shared: &'a Shared) -> Option<Text<'a>> {
        let prepared = |portal: &Portal| shared.kept.texts.get(portal.statement()?.text()?);
        let sql = match (&self.exchange, self.pending.head().map(|head| &head.about)) {
            (Some(exchange), _) => prepared(exchange.portal()?)?,
            (None, Some(About::Sql(sql))) => Text(sql.text.get().0.get(sql.now..)?, sql.text.get().1),
            (None, Some(About::Portal(portal))) => prepared(portal)?,
            _ => return None,
        };
        let range = statement::split(sql.0).next()?;
        Some(Text(sql.0.get(range)?, sql.1))
    }

    /// The statement of the last request, where it is a simple query of no other. So it is what data is of that the client
    /// sends before the server has asked for it.
    pub fn last_statement(&self) -> Option<Text<'_>> {
        let About::Sql(sql) = &self.pending.last()?.about else { return None };
        if sql.now == 0 { name_commands::only(sql.text.get()) } else { None }
    }

    /// Whether it is a COPY that begins now, and all of its data is to come.
    pub fn begins_copy(&mut self, from: Direction) -> bool {
        self.part();
        let Some(head) = self.pending.head() else { return false };
        let now = if let About::Sql(sql) = &head.about { sql.now } else { 0 };
        // It begins once. To look at its statement again, for each of many replies that say it does, would take long.
        let is_first = std::mem::replace(&mut self.copied, (head.id, now)) != (head.id, now);
        is_first && (from == Direction::Backend || !self.pending.has_copy_end())
    }

    /// Takes note of the columns that the rows have which follow.
    #[inline(always)]
    fn follow_run(&mut self, tag: u8, message: Option<&Message<'_>>) {
        match (tag, message) {
            // These come at any time.
            (b'N' | b'S' | b'A', _) => return,
            (b'D', _) => {}
            (b'T', Some(Message::RowDescription(row))) if !self.describes_statement => {
                self.run = self.statements.describe_rows(row);
            }
            // What is not known may come at any time, too.
            _ if !tag::is_known(Direction::Backend, tag) => return,
            _ => self.run = None,
        }
        self.describes_statement = tag == b't';
    }

    /// Takes what the backend says of columns and parameters.
    fn describe(&mut self, message: &Message<'_>) {
        let Some(head) = self.pending.head() else { return };
        match (message, head.request, &head.about) {
            (Message::RowDescription(row), Request::DescribePortal, About::Portal(portal)) => {
                self.statements.describe_portal(portal, row);
            }
            (Message::RowDescription(row), Request::DescribeStatement, About::Statement(statement)) => {
                self.statements.describe_statement(statement, row);
            }
            (Message::ParameterDescription(types), Request::DescribeStatement, About::Statement(statement)) => {
                self.statements.describe_parameters(statement, &types.parameter_types);
            }
            _ => {}
        }
    }

    /// The formats of the rows, or of the function's result, that the backend sends now.
    pub fn row_formats(&self) -> Formats<'_> {
        let of_run = || self.run.as_ref().map_or(Formats::Unknown, |row| row.shape.formats());
        match self.pending.head().map(|head| (head.request, &head.about)) {
            Some((Request::Execute | Request::FunctionCall, About::Portal(portal))) => portal.row_formats(),
            Some((Request::FunctionCall, _)) => Formats::Unknown,
            _ => of_run(),
        }
    }

    /// The columns of the rows that the backend sends now.
    pub fn row(&self) -> Option<&RowShape> {
        match self.pending.head().map(|head| (head.request, &head.about)) {
            Some((Request::Execute, About::Portal(portal))) => portal.row(),
            _ => self.run.as_ref().map(|row| &row.shape),
        }
    }

    /// The next request that is over, to be told of and given back to what is shared.
    pub fn next_over(&mut self, shared: &mut Shared) -> Option<Box<Execution>> {
        let nothing_waits = self.pending.is_empty();
        let over = self.executions.next_over(self.pending.first_open(), nothing_waits, &mut shared.spare)?;
        Some(finished(over))
    }

    /// The next of those that are left when the connection ends, with the outcome of those that have none.
    pub fn next_left(&mut self, outcome: Outcome, end: Origin, shared: &mut Shared) -> Option<Box<Execution>> {
        self.part();
        let mut over = self.executions.next_over(u64::MAX, true, &mut shared.spare)?;
        if over.outcome.is_none() && outcome == Outcome::Aborted && !self.pending.is_uncertain() {
            over.end(outcome, end.ts, end.packet);
        }
        Some(finished(over))
    }
}

/// One that is over, with an outcome where it has none.
fn finished(mut over: Box<Execution>) -> Box<Execution> {
    over.outcome.get_or_insert(Outcome::Incomplete);
    over
}

/// A request is settled: what it says of names stands, or does not.
fn settle(
    expected: Expected<About>,
    fate: Fate,
    statements: &mut Statements,
    executions: &mut Executions,
    shared: &mut Shared,
    seen: &Seen<'_, '_>,
) {
    let left = match fate {
        Fate::Skipped => Some(Outcome::Skipped),
        Fate::Unknown => Some(Outcome::Incomplete),
        Fate::Answered | Fate::Failed => None,
    };
    if let Some(outcome) = left
        && matches!(expected.request, Request::Execute | Request::Query | Request::FunctionCall)
        && let Some(execution) = expected.query.and_then(|query| executions.get(query))
        && execution.outcome.is_none()
    {
        execution.end(outcome, seen.at, seen.packet);
    }
    let (request, id) = (expected.request, expected.id);
    match expected.about {
        About::Statement(statement) if request == Request::Parse => {
            settle_name(&mut statements.prepared, statement.name().0, id, fate);
            shared.kept.statements.give(statement);
        }
        About::Portal(portal) if request == Request::Bind => {
            settle_name(&mut statements.portals, portal.name().0, id, fate);
        }
        About::Portal(portal)
            if matches!(request, Request::Execute | Request::FunctionCall) && portal.size() <= SMALL =>
        {
            shared.kept.portals.give(portal);
        }
        About::Name(TargetKind::Statement, name) => settle_name(&mut statements.prepared, &name, id, fate),
        About::Name(TargetKind::Portal, name) => settle_name(&mut statements.portals, &name, id, fate),
        _ if request == Request::Query => {
            settle_name(&mut statements.prepared, b"", id, fate);
            settle_name(&mut statements.portals, b"", id, fate);
        }
        _ => {}
    }
}

fn settle_name<T>(names: &mut Names<T>, name: &[u8], id: u64, fate: Fate) {
    match fate {
        Fate::Answered => names.confirm(name, id),
        Fate::Failed => names.fail(name, id),
        Fate::Skipped => names.take_back(name, id),
        Fate::Unknown => names.lose(name, id),
    }
}

/// Takes what a reply says of the request that it answers.
#[inline(always)]
fn take_reply(
    execution: &mut Execution,
    head: Option<Request>,
    tag: u8,
    attribution: &Attribution,
    seen: &Seen<'_, '_>,
) {
    let (at, packet, elapsed_us) = (seen.at, seen.packet, attribution.elapsed_us);
    execution.is_truncated |= seen.is_cut && tag != b'D';
    match (tag, seen.message) {
        (b'1', _) => execution.parse_us = elapsed_us,
        (b'2', _) => execution.bind_us = elapsed_us,
        (b'D', _) => execution.add_rows(seen.count, at),
        // A row of a COPY, as a rule, or a piece of one: only its CommandComplete counts them.
        (b'd', _) => execution.add_rows(0, at),
        (b'C', Some(Message::CommandComplete(complete))) => {
            // Half a number is another one.
            execution.add_tag(complete.command_tag.0, complete.rows.filter(|_| !seen.is_cut));
        }
        (b'E', Some(Message::ErrorResponse(fields))) => {
            execution.keep_error(fields);
            execution.end(outcome_of(fields), at, packet);
        }
        (b'E', _) => execution.end(Outcome::Error, at, packet),
        _ => {}
    }
    let is_its_end = match head {
        Some(Request::Execute) => matches!(tag, b'C' | b'I'),
        Some(Request::Query | Request::FunctionCall) => tag == b'Z' && attribution.has_ended,
        _ => false,
    };
    if is_its_end && execution.outcome.is_none() {
        execution.end(Outcome::Ok, at, packet);
    } else if tag == b's' {
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
