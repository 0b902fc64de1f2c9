//! Requests through a pooler: each execution on a pooler's connection to the server is joined with that of the client whose request
//! it was, where both sides were captured.
//!
//! [`Joiner::before`] puts it before another sink. It holds the records of requests back until it is known what belongs together, for
//! 150 ms of the capture's time, and the ends of sessions behind them; all other records pass at once. Where nothing is connected to one of the poolers, or it is connected to
//! nothing, nothing is held back.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::dissector::{Clients, PacketsOf, Sink};
use crate::output::batch::Batch;
use crate::pg::message::Decoded;
use crate::pg::query::TransactionStatus;
use crate::record::query::{Downstream, Evidence, Upstream};
use crate::record::{
    ChangeRun, LossRecord, MessageEvent, MessageRun, QueryRecord, Record, ReplicationEvent, SessionRecord,
};
use crate::session::execution::Outcome;
use crate::time::Timestamp;

mod kept_session;
mod matching;
mod own;
mod topology;
mod who;

use self::kept_session::KeptSession;
use self::matching::{Execution, Found, Matcher, Ticket};
use self::topology::Topology;

/// How long, in microseconds, a record is held back: it has to be settled by then, as has that of its client.
const HELD_FOR: u64 = 150_000;

/// How long it is held back if it may still be joined: its client may get the reply later, or it may become known that its
/// connection is a pooler's.
const PENDING_FOR: u64 = 1_000_000;

/// How long, in microseconds, after some have passed others do.
const PASSED_EVERY: u64 = 5_000;

/// How many records a batch has.
const BATCH: usize = 256;

/// How many batches are held back at most.
const MAX_BATCHES: usize = 256;

/// How many ends of sessions are held back at most, behind the requests before them.
const MAX_ENDED: usize = 8_192;

/// Joins the executions at both sides of poolers.
#[derive(Debug, Default)]
pub struct Joiner {
    topology: Topology,
    matcher: Matcher,
    held: VecDeque<Held>,
    spare: Vec<Held>,
    /// How many requests were held back, and have passed.
    requests: u64,
    passed: u64,
    /// Sessions that have ended, each behind so many requests.
    ended: VecDeque<(u64, KeptSession)>,
    /// The latest time, and when the next ones pass.
    now: Timestamp,
    next_pass: Timestamp,
    joined: u64,
    ambiguous: u64,
}

/// Records that are held back.
#[derive(Debug, Default)]
struct Held {
    batch: Batch,
    /// What each is known by, if it can be joined, and when it ended.
    tickets: Vec<(Option<Ticket>, Timestamp)>,
    /// How many of them have passed.
    passed: usize,
}

impl Joiner {
    /// Creates one for the poolers that accept connections on these addresses, and for those that are found where a host accepts
    /// connections and opens others, if `is_automatic`. Without any, it joins nothing.
    pub fn new(poolers: Vec<Clients>, is_automatic: bool) -> Self {
        Self { topology: Topology::new(poolers, is_automatic), ..Self::default() }
    }

    /// Returns a sink before another one.
    pub const fn before<'a, S: Sink>(&'a mut self, sink: &'a mut S) -> Joining<'a, S> {
        Joining { joiner: self, sink }
    }

    /// Returns whether records of requests are held back, so that they have to come in order.
    pub const fn is_active(&self) -> bool {
        self.topology.has_pooler()
    }

    /// Returns how many requests of a pooler's clients were joined.
    pub const fn joined(&self) -> u64 {
        self.joined
    }

    /// Returns how many requests of a pooler's clients could not be joined because they cannot be told from others.
    pub const fn ambiguous(&self) -> u64 {
        self.ambiguous
    }

    fn hold(&mut self, query: &QueryRecord<'_>) {
        if self.held.back().is_none_or(|held| held.tickets.len() >= BATCH) {
            self.held.push_back(self.spare.pop().unwrap_or_default());
        }
        self.requests += 1;
        let ticket = self.ticket(query);
        if let Some(held) = self.held.back_mut() {
            held.batch.query(query);
            let ended = query.evidence.replied.map_or(query.header.ts, |(_, last)| last);
            held.tickets.push((ticket, ended.max(query.header.ts)));
        }
    }

    fn ticket(&mut self, query: &QueryRecord<'_>) -> Option<Ticket> {
        let conn = query.header.conn;
        let Some(execution) = execution(query) else {
            self.matcher.lose(conn, query.header.ts, &self.topology);
            return None;
        };
        Some(self.matcher.add(execution, query, &self.topology))
    }

    /// Returns the record of a session with whether it is that of a pooler's client, and is a pooler's own: one with a server, or one that it
    /// has ended by itself.
    fn session<'a>(&self, session: &SessionRecord<'a>) -> SessionRecord<'a> {
        let conn = session.header.conn;
        let is_at_pooler = self.topology.accepted_at(conn).is_some_and(|it| self.matcher.is_pooler(it));
        let pooler = self.matcher.is_opened_by_pooler(conn)
            || is_at_pooler && session.error.as_ref().is_some_and(own::is_error_of_pooler);
        SessionRecord { pooler, is_at_pooler, ..session.clone() }
    }

    /// Passes on the records that are held back long enough.
    fn pass(&mut self, sink: &mut impl Sink, is_last: bool) {
        if is_last {
            self.matcher.settle_all();
            self.count_unjoined();
        } else {
            self.matcher.settle(self.now);
        }
        self.pass_settled(sink, is_last);
        self.matcher.forget(self.now);
    }

    fn pass_settled(&mut self, sink: &mut impl Sink, is_last: bool) {
        loop {
            let is_full = self.held.len() > MAX_BATCHES;
            let Some(held) = self.held.front_mut() else { return };
            while let Some((ticket, ended)) = held.tickets.get(held.passed) {
                let must_pass = is_last || is_full;
                if !must_pass && self.now < ended.later(HELD_FOR) {
                    return;
                }
                let Some(query) = held.batch.query_at(held.passed) else { break };
                let found = ticket.map_or_else(Found::default, |ticket| self.matcher.found(ticket, is_last));
                let is_of_client = self.matcher.is_of_client(query.header.conn);
                let is_unjoined = found.downstream.is_none() && found.upstream.is_none();
                let may_be_poolers = is_unjoined && found.is_of_pooler != Some(false);
                let is_own = may_be_poolers && own::is_request_of_pooler(&query);
                let is_pending = found.is_pending || may_be_poolers && (!is_own || found.is_of_pooler.is_none());
                if is_pending && !must_pass && self.now < ended.later(PENDING_FOR) {
                    return;
                }
                self.joined += u64::from(found.upstream.is_some());
                self.ambiguous += u64::from(found.is_ambiguous && is_of_client);
                let is_poolers = is_unjoined
                    && !found.is_ambiguous
                    && (is_of_client && own::is_answered_by_pooler(&query)
                        || is_own && found.is_of_pooler == Some(true));
                let is_counted = found.downstream.is_none() && !is_own && !is_last;
                sink.record(&Record::Query(joined(query, &found, is_of_client, is_poolers)));
                held.passed += 1;
                self.passed += 1;
                while let Some((_, session)) = self.ended.front().filter(|(behind, _)| *behind <= self.passed) {
                    sink.record(&Record::Session(session.get()));
                    self.ended.pop_front();
                }
                if let (Some(ticket), true) = (*ticket, is_counted) {
                    self.matcher.pass(ticket);
                }
                // Either both of two requests have the other, or none.
                if let (Some(ticket), true) = (*ticket, is_unjoined) {
                    self.matcher.pass_unjoined(ticket);
                }
            }
            let Some(mut held) = self.held.pop_front() else { return };
            held.batch.clear();
            held.tickets.clear();
            held.passed = 0;
            self.spare.truncate(4);
            self.spare.push(held);
        }
    }

    /// Counts all that is held back and not joined, before it is found which connections are a pooler's by little.
    fn count_unjoined(&mut self) {
        for held in &self.held {
            for (index, (ticket, _)) in held.tickets.iter().enumerate().skip(held.passed) {
                let Some(ticket) = ticket else { continue };
                if self.matcher.is_unjoined(*ticket)
                    && held.batch.query_at(index).is_some_and(|query| !own::is_request_of_pooler(&query))
                {
                    self.matcher.pass(*ticket);
                }
            }
        }
    }

    /// Returns whether the first record is held back long enough.
    fn is_due(&self) -> bool {
        let first = self.held.front().and_then(|held| held.tickets.get(held.passed));
        let is_due = first.is_some_and(|(_, ended)| ended.later(HELD_FOR) <= self.now) && self.next_pass <= self.now;
        is_due || self.held.len() > MAX_BATCHES
    }

    fn advance(&mut self, now: Timestamp, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        if self.is_due() {
            self.next_pass = self.now.later(PASSED_EVERY);
            self.pass(sink, false);
        }
    }
}

/// Returns what a request is found by, if enough is known of it.
fn execution(query: &QueryRecord<'_>) -> Option<Execution> {
    let Evidence { sent, replied, data, is_guessed, .. } = query.evidence;
    let flags = query.flags;
    // A statement that was prepared before a boundary was sure is compared like all others: on a connection that was open before, it may be
    // executed for days.
    let is_odd =
        is_guessed || flags.truncated || flags.midstream || flags.uncertain || flags.protocol_violation || flags.limit;
    let is_known =
        !is_odd && matches!(query.outcome, Outcome::Ok | Outcome::Error | Outcome::Canceled | Outcome::Suspended);
    let ((replied, ended), true) = (replied?, is_known) else { return None };
    let sql = query.sql.as_ref().map(|sql| sql.0.text.0);
    if sql.is_none() && query.function_oid.is_none() {
        return None;
    }
    let params = query.params.as_ref().map(|params| params.list.as_bytes());
    let error = query.error.as_ref().map(|error| error.fields.as_parts().0);
    let request = (query.protocol as u8, sql, query.function_oid.map(|oid| oid.0), params);
    let reply = (query.outcome as u8, query.command_tags.as_bytes(), data, error);
    let in_transaction = query.tx.is_some_and(|status| status != TransactionStatus::IDLE);
    Some(Execution {
        conn: query.header.conn,
        query: query.query,
        key: FixedState::default().hash_one((request, reply, in_transaction)),
        in_transaction,
        started: query.started,
        sent,
        replied,
        ended,
    })
}

/// Returns the record with what was found, of a connection that is or is not one of a pooler's client.
fn joined<'a>(query: QueryRecord<'a>, found: &Found<'a>, is_at_pooler: bool, pooler: bool) -> QueryRecord<'a> {
    QueryRecord {
        upstream: found.upstream.map(|server| Upstream {
            conn: server.conn,
            query: server.query,
            wait_us: server.started.micros_since(query.evidence.sent),
            idle_us: found.idle_us,
            executed: (server.started, server.ended),
        }),
        downstream: found.downstream.map(|(client, who)| Downstream {
            conn: client.conn,
            query: client.query,
            client: who.client(),
            application: who.application(),
            names: who.names(),
        }),
        pooler,
        evidence: Evidence { is_at_pooler, ..query.evidence },
        ..query
    }
}

/// A sink before another one.
#[derive(Debug)]
pub struct Joining<'a, S> {
    joiner: &'a mut Joiner,
    sink: &'a mut S,
}

impl<S: Sink> Joining<'_, S> {
    /// Passes on what is held back, if it has come to its end by this time.
    pub fn tick(&mut self, now: Timestamp) {
        self.joiner.advance(now, self.sink);
    }

    /// Passes on everything that is held back.
    pub fn finish(&mut self) {
        self.joiner.pass(self.sink, true);
    }
}

impl<S: Sink> Sink for Joining<'_, S> {
    fn record(&mut self, record: &Record<'_>) {
        let Self { joiner, sink } = self;
        if !joiner.is_active() {
            return sink.record(record);
        }
        if let Some(ts) = record.ts() {
            joiner.advance(ts, *sink);
        }
        match record {
            Record::Query(query) => joiner.hold(query),
            Record::Session(session) => {
                let session = joiner.session(session);
                let is_behind = session.ended.is_some() && joiner.passed < joiner.requests;
                if is_behind && joiner.ended.len() < MAX_ENDED {
                    joiner.ended.push_back((joiner.requests, KeptSession::new(&session)));
                } else {
                    sink.record(&Record::Session(session));
                }
            }
            Record::Loss(loss) => {
                joiner.matcher.lose(loss.header.conn, loss.header.ts, &joiner.topology);
                sink.record(record);
            }
            _ => sink.record(record),
        }
    }

    fn end_packet(&mut self, packet: u64) {
        self.sink.end_packet(packet);
    }

    fn packets(&mut self, known: &PacketsOf<'_>) {
        match *known {
            PacketsOf::Begin { conn, ends, .. } => self.joiner.topology.begin(conn, ends),
            PacketsOf::End { conn, .. } => {
                self.joiner.topology.end(conn);
                self.joiner.matcher.end(conn);
            }
            _ => {}
        }
        self.sink.packets(known);
    }

    #[inline(always)]
    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        self.sink.message(event, decoded);
    }

    #[inline(always)]
    fn data(&mut self, run: &MessageRun<'_>) {
        self.sink.data(run);
    }

    fn changes(&mut self, run: &ChangeRun<'_>) {
        self.sink.changes(run);
    }

    fn replication(&mut self, event: &ReplicationEvent<'_>) {
        self.sink.replication(event);
    }

    fn incomplete(&mut self, conn: u64, since: Option<Timestamp>) {
        if self.joiner.topology.is_wanted() {
            self.joiner.matcher.set_incomplete(conn, since, &self.joiner.topology);
        }
        self.sink.incomplete(conn, since);
    }

    fn not_selected(&mut self, session: &SessionRecord<'_>) {
        self.sink.not_selected(session);
    }

    fn undecided_loss(&mut self, loss: &LossRecord<'_>) {
        self.sink.undecided_loss(loss);
    }
}
