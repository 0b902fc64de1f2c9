//! Candidates for N+1: one statement, called many times with different parameters by one session, in one transaction or without a
//! pause.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::{FixedState, RandomState};

use super::owned;
use crate::pg::query::TransactionStatus;
use crate::record::QueryRecord;
use crate::time::Timestamp;

/// The fewest calls of a candidate.
const MIN_CALLS: u64 = 10;

/// The longest pause between the requests of a burst, in microseconds: what an application needs to process a row, not what a
/// person needs to think.
const MAX_PAUSE_US: u64 = 100_000;

/// How many statements of a session are followed at a time: a loop that runs several for each row.
const MAX_RUNS: usize = 4;

/// How many parts of the sessions have a lock of their own.
const PARTS: usize = 16;

/// The bursts of all sessions. Shared by threads, because a session is not followed by the same one all the time.
#[derive(Debug, Default)]
pub struct Bursts([Mutex<HashMap<u64, Burst, RandomState>>; PARTS]);

/// Whose a session is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) user: Option<String>,
    pub(super) application: Option<String>,
}

/// The transaction or burst of a session.
#[derive(Debug)]
struct Burst {
    owner: Arc<Owner>,
    started: Timestamp,
    last: Timestamp,
    in_transaction: bool,
    /// Whether a request was told of an error that ends the session.
    has_fatal: bool,
    runs: [Run; MAX_RUNS],
}

/// Calls of one statement in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    pub(super) fingerprint: u64,
    pub(super) calls: u64,
    pub(super) exec_us: u64,
    pub(super) conn: u64,
    pub(super) started: Timestamp,
    pub(super) in_transaction: bool,
    /// The hash of the first call's parameters, and whether another had others.
    params: u64,
    differ: bool,
    /// When it was called last, in calls of the burst.
    order: u64,
}

impl Run {
    const fn is_candidate(&self) -> bool {
        self.calls >= MIN_CALLS && self.differ
    }
}

/// Receives the candidates that have ended.
type Found<'a> = &'a mut dyn FnMut(&Run, &Arc<Owner>);

/// Returns a hash of what differs between calls of a statement: its parameters, or its text.
fn hash_of_params(record: &QueryRecord<'_>) -> u64 {
    match (&record.params, &record.sql) {
        (Some(params), _) => FixedState::default().hash_one(params.list.as_bytes()),
        (None, Some(sql)) => FixedState::default().hash_one(sql.0.text.0),
        (None, None) => 0,
    }
}

impl Bursts {
    /// Adds a request, and passes the candidates that have ended with it. `has_fatal` is whether it failed with an error that
    /// ends the session.
    pub(super) fn add(&self, record: &QueryRecord<'_>, fingerprint: Option<u64>, has_fatal: bool, found: Found<'_>) {
        let conn = record.header.conn;
        let params = hash_of_params(record);
        let Some(part) = self.0.get(conn as usize % PARTS) else { return };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let in_transaction = record.tx.is_some_and(|tx| tx != TransactionStatus::IDLE);
        let owner = || Owner { user: record.user.map(owned), application: record.application.map(owned) };
        let new = || Burst::new(Arc::new(owner()), record.started, in_transaction);
        let burst = part.entry(conn).or_insert_with(new);
        let goes_on = if in_transaction {
            burst.in_transaction
        } else {
            !burst.in_transaction && record.started.micros_since(burst.last) <= MAX_PAUSE_US
        };
        if !goes_on {
            burst.end(found);
            let has_fatal = burst.has_fatal;
            *burst = Burst::new(Arc::clone(&burst.owner), record.started, in_transaction);
            burst.has_fatal = has_fatal;
        }
        burst.last = record.header.ts;
        burst.has_fatal |= has_fatal;
        if let Some(fingerprint) = fingerprint {
            burst.call(conn, fingerprint, params, record.exec_us.unwrap_or_default(), found);
        }
    }

    /// Passes the candidates of a session that has ended. Returns whether a request had the error that ended it.
    pub(super) fn end(&self, conn: u64, found: Found<'_>) -> bool {
        let Some(part) = self.0.get(conn as usize % PARTS) else { return false };
        let burst = part.lock().unwrap_or_else(PoisonError::into_inner).remove(&conn);
        burst.as_ref().inspect(|burst| burst.end(found)).is_some_and(|burst| burst.has_fatal)
    }

    /// Passes the candidates of all sessions, so far.
    pub(super) fn each(&self, found: Found<'_>) {
        for part in &self.0 {
            part.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|burst| burst.end(found));
        }
    }
}

impl Burst {
    fn new(owner: Arc<Owner>, started: Timestamp, in_transaction: bool) -> Self {
        Self { owner, started, last: started, in_transaction, has_fatal: false, runs: [Run::default(); MAX_RUNS] }
    }

    fn call(&mut self, conn: u64, fingerprint: u64, params: u64, exec_us: u64, found: Found<'_>) {
        let order = self.runs.iter().map(|run| run.order).max().unwrap_or_default() + 1;
        let known = self.runs.iter().position(|run| run.calls > 0 && run.fingerprint == fingerprint);
        let oldest = || self.runs.iter().enumerate().min_by_key(|(_, run)| run.order).map_or(0, |(index, _)| index);
        let index = known.unwrap_or_else(oldest);
        let Some(run) = self.runs.get_mut(index) else { return };
        if known.is_none() {
            if run.is_candidate() {
                found(run, &self.owner);
            }
            let (started, in_transaction) = (self.started, self.in_transaction);
            *run = Run { fingerprint, conn, started, in_transaction, params, ..Run::default() };
        }
        run.calls += 1;
        run.order = order;
        run.differ |= run.params != params;
        run.exec_us = run.exec_us.saturating_add(exec_us);
    }

    fn end(&self, found: Found<'_>) {
        self.runs.iter().filter(|run| run.is_candidate()).for_each(|run| found(run, &self.owner));
    }
}
