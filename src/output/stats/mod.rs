//! What requests and sessions add up to: what the summary, the report and the screen show.
//!
//! [`Statistics`] receives the records of requests, sessions, losses and replication. Several of them, one for each thread, are merged into one:
//! all figures are sums, histograms and the first of an order, so that the result does not depend on which thread received which
//! record; unless statements were forgotten, or there are more callers than are told apart. What depends on the order of a session's requests is in [`Bursts`], which threads
//! share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::direction::{Direction, PerDirection};
use crate::pg::error::code;
use crate::pg::text::{Bytea, Text};
use crate::record::summary::{Example, LossReason, TimeSplit};
use crate::record::{
    Encryption, LossRecord, Purpose, QueryRecord, Reason, Record, ReplicationEvent, SessionRecord, State,
};
use crate::session::execution::Outcome;

use self::backups::Backups;
use self::bursts::{Owner, Run};
use self::callers::{Activity, CallerId, Callers, Moved};
use self::failures::{ErrorCount, FailedLogins, add_error, add_failed_login};
use self::histogram::Timing;
use self::pools::Pools;
use self::protection::{ProtectionKey, protection};
use self::replication::Replication;
use self::series::Series;
use self::statements::{Code, Statements, sqlstate};
use self::top::Top;

mod backups;
mod build;
mod bursts;
mod callers;
mod compare;
pub(in crate::output) mod example;
mod failures;
pub(in crate::output) mod histogram;
pub(in crate::output) mod pools;
mod protection;
mod replication;
mod series;
mod statements;
#[cfg(feature = "cli")]
mod tally;
#[cfg(test)]
mod tests;
mod top;
#[cfg(feature = "cli")]
pub(in crate::output) mod windows;

pub use build::Context;
pub use bursts::Bursts;
pub use compare::Baseline;
#[cfg(feature = "cli")]
pub(crate) use tally::Tally;

/// The most SQLSTATEs, callers with failed logins, and statements of an error or of candidates for N+1, that are told apart.
const MAX_KINDS: usize = 4_096;

/// The most cancel requests whose sender is remembered.
const MAX_CANCEL_REQUESTS: usize = 16_384;

/// Returns the text as a string; in hex, if it is not valid.
pub(super) fn owned(text: Text<'_>) -> String {
    text.to_str().map_or_else(|| Bytea(text.0).to_string(), std::borrow::Cow::into_owned)
}

/// Cuts a text to at most so many bytes, between two characters. Returns whether it was longer.
fn cut(text: &mut String, most: usize) -> bool {
    let is_longer = text.len() > most;
    if is_longer {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
    }
    is_longer
}

/// Adds to sums, which stay at the most where they would be beyond it.
fn add_each<const N: usize>(sums: [(&mut u64, &u64); N]) {
    for (sum, more) in sums {
        *sum = sum.saturating_add(*more);
    }
}

/// The limits of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of items of each list.
    pub top: usize,
    /// The memory for statements, in bytes.
    pub statement_bytes: usize,
}

/// What requests and sessions add up to.
#[derive(Debug)]
pub struct Statistics {
    limits: Limits,
    bursts: Arc<Bursts>,
    callers: Callers,
    statements: Statements,
    series: Series,
    /// Requests without an end.
    unfinished: u64,
    skipped: u64,
    uncertain: u64,
    midstream_sessions: u64,
    undecrypted_sessions: u64,
    slowest: Top<Example>,
    largest: Top<Example>,
    running: Top<Example>,
    cancels: Top<Example>,
    locks: Top<Example>,
    errors: BTreeMap<Code, ErrorCount>,
    failed_logins: HashMap<(CallerId, Option<Code>), FailedLogins, RandomState>,
    candidates: Candidates,
    protection: BTreeMap<ProtectionKey, u64>,
    time: TimeSplit,
    replication: Replication,
    backups: Backups,
    pools: Pools,
    losses: BTreeMap<Reason, LossReason>,
    /// The clients of connections that may be cancel requests, by connection.
    cancel_requests: BTreeMap<u64, Box<str>>,
    /// What came since the last summary.
    interval: Option<Box<IntervalCount>>,
    is_at_end: bool,
}

/// Requests and sessions of an interval.
#[derive(Debug, Default)]
struct IntervalCount {
    activity: Activity,
    timing: Timing,
    unfinished: u64,
    skipped: u64,
    series: Series,
    statements: std::collections::HashSet<u32, RandomState>,
}

/// Candidates for N+1, by statement and whose sessions they are of.
type Candidates = HashMap<(u64, Arc<Owner>), CandidateCount, RandomState>;

/// A candidate for N+1.
#[derive(Clone, Copy, Debug)]
struct CandidateCount {
    bursts: u64,
    calls: u64,
    exec_us: u64,
    /// The one with the most calls.
    longest: Run,
}

impl Statistics {
    /// Creates statistics without any records. Those of all threads share `bursts`.
    pub fn new(limits: Limits, bursts: Arc<Bursts>) -> Self {
        let top = || Top::new(limits.top);
        Self {
            limits,
            bursts,
            callers: Callers::default(),
            statements: Statements::new(limits.statement_bytes),
            series: Series::default(),
            unfinished: 0,
            skipped: 0,
            uncertain: 0,
            midstream_sessions: 0,
            undecrypted_sessions: 0,
            slowest: top(),
            largest: top(),
            running: top(),
            cancels: top(),
            locks: top(),
            errors: BTreeMap::new(),
            failed_logins: HashMap::default(),
            candidates: HashMap::default(),
            protection: BTreeMap::new(),
            time: TimeSplit::default(),
            replication: Replication::new(limits.top),
            backups: Backups::default(),
            pools: Pools::new(limits.top),
            losses: BTreeMap::new(),
            cancel_requests: BTreeMap::new(),
            interval: None,
            is_at_end: false,
        }
    }

    /// Counts what comes since the last summary separately, too.
    pub fn count_intervals(&mut self) {
        self.interval = Some(Box::default());
    }

    /// Marks the end of the capture: requests that come without an end from now on are still running.
    pub fn at_end(&mut self) {
        self.forget_running();
        self.is_at_end = true;
    }

    /// Forgets the requests that were under way, before those that are under way now are added.
    pub fn forget_running(&mut self) {
        self.running = Top::new(self.limits.top);
    }

    /// Adds a record.
    pub fn record(&mut self, record: &Record<'_>) {
        match record {
            Record::Query(query) => self.request_of_client(query),
            Record::Session(session) => self.session(session),
            Record::Change(change) => self.replication.change(change),
            Record::Transaction(transaction) => self.replication.transaction(transaction),
            Record::Loss(loss) => self.loss(loss),
            Record::Running(running) => self.running_now(&running.query),
            Record::Message(_) | Record::Stats(_) | Record::Summary(_) => {}
        }
    }

    /// Adds a message of a replication stream or a base backup.
    pub fn replication(&mut self, event: &ReplicationEvent<'_>) {
        self.add_volume(event);
        if event.purpose == Some(Purpose::Backup) {
            self.backups.event(event);
        } else {
            self.replication.event(event);
        }
    }

    /// Adds the bytes of a message when they are sent: the end of a stream may be far.
    fn add_volume(&mut self, event: &ReplicationEvent<'_>) {
        let of = |bytes_in, bytes_out| match event.dir {
            Direction::Frontend => bytes_in,
            Direction::Backend => bytes_out,
        };
        let caller = self.callers.of_replication(event);
        let volumes = [
            self.callers.activity(caller).map(|it| of(&mut it.bytes_in, &mut it.bytes_out)),
            self.series.at(event.header.ts).map(|it| of(&mut it.bytes_in, &mut it.bytes_out)),
            self.interval.as_mut().map(|it| of(&mut it.activity.bytes_in, &mut it.activity.bytes_out)),
        ];
        volumes.into_iter().flatten().for_each(|bytes| *bytes = bytes.saturating_add(event.size));
    }

    /// Adds a request: once, if it went through a pooler.
    fn request_of_client(&mut self, record: &QueryRecord<'_>) {
        if record.evidence.is_at_pooler {
            let id = self.statements.find(record.sql.as_ref().map(|sql| &sql.0));
            let statement = self.statements.get_mut(id).map(|it| (it.fingerprint, it.normalized.as_ref()));
            self.pools.request(record, statement.unwrap_or_default());
        }
        if let Some(counted) = record.counted() {
            self.request(&counted);
        }
    }

    fn request(&mut self, record: &QueryRecord<'_>) {
        let has_failed = record.has_failed();
        // A stream goes on as long as its client likes.
        let has_no_end = matches!(record.outcome, Outcome::Incomplete | Outcome::Aborted) && !record.is_stream();
        let is_skipped = record.outcome == Outcome::Skipped;
        let place = (record.header.conn, record.query);
        let caller = self.callers.of_request(record);
        let PerDirection { frontend, backend } = record.backend.given_bytes;
        let with_rest = (frontend > 0 || backend > 0).then(|| QueryRecord {
            bytes_in: record.bytes_in.saturating_sub(frontend),
            bytes_out: record.bytes_out.saturating_sub(backend),
            ..record.clone()
        });
        let counted = with_rest.as_ref().unwrap_or(record);
        if let Some(activity) = self.callers.activity(caller) {
            activity.request(counted, has_failed);
        }
        let id = self.statements.find(record.sql.as_ref().map(|sql| &sql.0));
        let Some(statement) = self.statements.get_mut(id) else { return };
        statement.call(record, caller, has_failed);
        if let Some(span) = self.series.at(record.header.ts) {
            span.request(counted, has_failed);
        }
        self.unfinished += u64::from(has_no_end && !has_failed);
        self.skipped += u64::from(is_skipped);
        self.uncertain += u64::from(record.flags.uncertain);
        self.backups.request(record);
        self.replication.request(record);
        let example = || example::request(record, statement.name().as_deref());
        if let Some(us) = record.exec_us {
            self.slowest.offer(us, place, example);
        }
        self.largest.offer(record.bytes_in.saturating_add(record.bytes_out), place, example);
        if record.outcome == Outcome::Incomplete && has_no_end && self.is_at_end && record.age_us.is_some() {
            self.running.offer(record.age_us.unwrap_or_default(), place, example);
        }
        if let Some(us) = record.server_us {
            self.time.add(record, us);
        }
        let candidates = &mut self.candidates;
        let has_ended_session = record.outcome == Outcome::Aborted && record.error.is_some();
        // What a pooler asks itself comes again and again, and is no loop of an application.
        let fingerprint = statement.fingerprint.filter(|_| !record.is_asked_by_pooler());
        self.bursts
            .add(record, fingerprint, has_ended_session, &mut |run, owner| add_candidate(candidates, run, owner));
        if has_failed {
            let waited = record.total_us.or(record.age_us).unwrap_or_default();
            let code = record.error.as_ref().and_then(|error| error.fields.get(code::CODE)).and_then(sqlstate);
            if record.outcome == Outcome::Canceled {
                self.cancels.offer(waited, place, example);
            }
            if code.is_some_and(|code| matches!(&code, b"40P01" | b"55P03")) {
                self.locks.offer(waited, place, example);
            }
            if let Some(code) = code {
                let raised = Some((statement.fingerprint, statement.normalized.as_ref()));
                let place = (record.header.ts, record.header.conn, Some(record.query));
                add_error(&mut self.errors, code, raised, place, example);
            }
        }
        if let Some(interval) = &mut self.interval {
            interval.activity.request(counted, has_failed);
            interval.unfinished += u64::from(has_no_end && !has_failed);
            interval.skipped += u64::from(is_skipped);
            record.exec_us.into_iter().for_each(|us| interval.timing.add(us));
            interval.statements.insert(id);
        }
    }

    fn running_now(&mut self, record: &QueryRecord<'_>) {
        let id = self.statements.find(record.sql.as_ref().map(|sql| &sql.0));
        let Some(statement) = self.statements.get_mut(id) else { return };
        let place = (record.header.conn, record.query);
        let example = || example::request(record, statement.name().as_deref());
        self.running.offer(record.age_us.unwrap_or_default(), place, example);
    }

    fn session(&mut self, record: &SessionRecord<'_>) {
        let ended = record.ended.as_ref();
        let is_midstream = record.flags.midstream;
        // A connection that asked for a cancel, or sent no StartupMessage, is no session.
        let is_session = is_midstream || record.protocol_version.is_some() || record.encryption.is_some();
        if !is_session {
            if ended.is_some() && self.cancel_requests.len() < MAX_CANCEL_REQUESTS {
                self.cancel_requests.insert(record.header.conn, record.header.client.into());
            }
            return;
        }
        // A session has up to two lines, and is counted with the first.
        let is_first = record.state == State::Ready || record.ready_us.is_none();
        let caller = self.callers.of_session(record);
        let has_failed_login = ended.is_some() && record.error.is_some() && record.ready_us.is_none() && !is_midstream;
        // A pooler's connection is idle in a transaction because that of its client is.
        let is_poolers = record.pooler && !record.is_at_pooler;
        let idle_in_transaction_us = ended.filter(|_| !is_poolers).map_or(0, |ended| ended.idle_in_transaction_us);
        let count = |activity: &mut Activity| {
            activity.sessions += u64::from(is_first);
            activity.connects += u64::from(is_first && !is_midstream);
            if record.state == State::Ready {
                record.ready_us.into_iter().for_each(|us| activity.logins.add(us));
            }
            activity.logins_failed += u64::from(has_failed_login);
            activity.idle_in_transaction_us += idle_in_transaction_us;
        };
        self.callers.activity(caller).map(count);
        if let Some(interval) = &mut self.interval {
            count(&mut interval.activity);
        }
        let is_undecrypted = match record.encryption {
            Some(Encryption::Tls) => record.tls.as_ref().is_some_and(|tls| !tls.decrypted),
            Some(Encryption::Gssapi) => true,
            None => false,
        };
        if is_first {
            self.midstream_sessions += u64::from(is_midstream);
            self.undecrypted_sessions += u64::from(is_undecrypted);
            *self.protection.entry(protection(record, is_undecrypted)).or_default() += 1;
            if !is_midstream {
                for series in [Some(&mut self.series), self.interval.as_mut().map(|interval| &mut interval.series)] {
                    series.and_then(|series| series.at(record.started)).into_iter().for_each(|span| span.connects += 1);
                }
            }
        }
        if ended.is_none() {
            return;
        }
        if record.replication.is_some() {
            self.backups.end(record.header.conn);
            self.replication.end(record);
        }
        let candidates = &mut self.candidates;
        let is_error_counted =
            self.bursts.end(record.header.conn, &mut |run, owner| add_candidate(candidates, run, owner));
        self.time.idle_in_transaction_us += idle_in_transaction_us;
        let Some(error) = &record.error else { return };
        let code = error.fields.get(code::CODE).and_then(sqlstate);
        let example = || example::session(record);
        if let Some(code) = code.filter(|_| !is_error_counted) {
            let place = (record.header.ts, record.header.conn, None);
            add_error(&mut self.errors, code, None, place, example);
        }
        let key = (caller, code);
        if has_failed_login && (self.failed_logins.len() < MAX_KINDS || self.failed_logins.contains_key(&key)) {
            let failed = FailedLogins { count: 1, first: record.header.ts, last: Box::new(example()) };
            add_failed_login(&mut self.failed_logins, key, failed);
        }
    }

    fn loss(&mut self, record: &LossRecord<'_>) {
        let (missing_bytes, skipped_bytes) = (record.bytes.unwrap_or_default(), record.skipped.unwrap_or_default());
        self.add_loss(&LossReason { reason: record.reason, count: 1, missing_bytes, skipped_bytes });
    }

    fn add_loss(&mut self, loss: &LossReason) {
        let LossReason { reason, count, missing_bytes, skipped_bytes } = *loss;
        let none = LossReason { reason, count: 0, missing_bytes: 0, skipped_bytes: 0 };
        let known = self.losses.entry(reason).or_insert(none);
        known.count += count;
        known.missing_bytes = known.missing_bytes.saturating_add(missing_bytes);
        known.skipped_bytes = known.skipped_bytes.saturating_add(skipped_bytes);
    }

    /// Adds all that another has received.
    pub fn merge(&mut self, other: Self) {
        // Every field, so that a new one cannot be forgotten.
        let Self {
            limits: _,
            bursts: _,
            callers,
            statements,
            series,
            unfinished,
            skipped,
            uncertain,
            midstream_sessions,
            undecrypted_sessions,
            slowest,
            largest,
            running,
            cancels,
            locks,
            errors,
            failed_logins,
            candidates,
            protection,
            time,
            replication,
            backups,
            pools,
            losses,
            cancel_requests,
            interval: _,
            is_at_end: _,
        } = other;
        let moved: Moved = self.callers.merge(callers);
        self.statements.merge(statements, &moved);
        self.series.merge(series);
        self.unfinished += unfinished;
        self.skipped += skipped;
        self.uncertain += uncertain;
        self.midstream_sessions += midstream_sessions;
        self.undecrypted_sessions += undecrypted_sessions;
        self.slowest.merge(slowest);
        self.largest.merge(largest);
        self.running.merge(running);
        self.cancels.merge(cancels);
        self.locks.merge(locks);
        for (code, errors) in errors {
            match self.errors.get_mut(&code) {
                Some(own) => own.merge(errors),
                None => drop(self.errors.insert(code, errors)),
            }
        }
        for ((caller, code), failed) in failed_logins {
            add_failed_login(&mut self.failed_logins, (moved.get(caller), code), failed);
        }
        for (key, candidate) in candidates {
            merge_candidate(&mut self.candidates, key, &candidate);
        }
        protection.into_iter().for_each(|(key, sessions)| *self.protection.entry(key).or_default() += sessions);
        self.time.merge(&time);
        self.replication.merge(replication);
        self.backups.merge(backups);
        self.pools.merge(pools);
        losses.values().for_each(|loss| self.add_loss(loss));
        self.cancel_requests.extend(cancel_requests);
    }
}

impl TimeSplit {
    fn add(&mut self, record: &QueryRecord<'_>, server_us: u64) {
        let (Some(client), Some(server)) = (record.rtt_client_us, record.rtt_server_us) else { return };
        let client_stall_us = record.client_stall_us.unwrap_or_default();
        self.merge(&Self {
            timed: 1,
            server_us,
            transfer_us: record.transfer_us.unwrap_or_default().saturating_sub(client_stall_us),
            client_stall_us,
            network_us: client.saturating_add(server),
            idle_in_transaction_us: 0,
        });
    }

    fn merge(&mut self, other: &Self) {
        let Self { timed, server_us, transfer_us, client_stall_us, network_us, idle_in_transaction_us } = other;
        self.timed += timed;
        add_each([
            (&mut self.server_us, server_us),
            (&mut self.transfer_us, transfer_us),
            (&mut self.client_stall_us, client_stall_us),
            (&mut self.network_us, network_us),
            (&mut self.idle_in_transaction_us, idle_in_transaction_us),
        ]);
    }
}

fn add_candidate(candidates: &mut Candidates, run: &Run, owner: &Arc<Owner>) {
    let candidate = CandidateCount { bursts: 1, calls: run.calls, exec_us: run.exec_us, longest: *run };
    merge_candidate(candidates, (run.fingerprint, Arc::clone(owner)), &candidate);
}

fn merge_candidate(candidates: &mut Candidates, key: (u64, Arc<Owner>), more: &CandidateCount) {
    if candidates.len() >= MAX_KINDS && !candidates.contains_key(&key) {
        return;
    }
    let none = CandidateCount { bursts: 0, calls: 0, exec_us: 0, ..*more };
    let known = candidates.entry(key).or_insert(none);
    known.bursts += more.bursts;
    known.calls += more.calls;
    known.exec_us = known.exec_us.saturating_add(more.exec_us);
    let order = |run: &Run| (run.calls, Reverse((run.started, run.conn)));
    if order(&known.longest) < order(&more.longest) {
        known.longest = more.longest;
    }
}
