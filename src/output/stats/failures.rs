//! What failed: errors by SQLSTATE, and logins by who tried.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::MAX_KINDS;
use super::callers::CallerId;
use super::statements::Code;
use crate::record::summary::Example;
use crate::time::Timestamp;

/// The SQLSTATE under which those are counted that are not told apart.
const OTHER_CODES: Code = *b"other";

/// Errors with one SQLSTATE.
#[derive(Debug)]
pub(super) struct ErrorCount {
    pub(super) count: u64,
    pub(super) sessions: u64,
    pub(super) statements: HashMap<Option<u64>, (Option<Arc<str>>, u64), RandomState>,
    pub(super) example: Box<Example>,
}

/// Logins of one caller that failed with one SQLSTATE.
#[derive(Debug)]
pub(super) struct FailedLogins {
    pub(super) count: u64,
    pub(super) first: Timestamp,
    pub(super) last: Box<Example>,
}

impl ErrorCount {
    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sessions += other.sessions;
        for (fingerprint, (normalized, count)) in other.statements {
            self.raised_by(fingerprint, normalized.as_ref(), count);
        }
        if place_of(&other.example) < place_of(&self.example) {
            self.example = other.example;
        }
    }

    fn raised_by(&mut self, fingerprint: Option<u64>, normalized: Option<&Arc<str>>, times: u64) {
        if let Some((_, count)) = self.statements.get_mut(&fingerprint) {
            *count += times;
        } else if self.statements.len() < MAX_KINDS {
            self.statements.insert(fingerprint, (normalized.cloned(), times));
        }
    }
}

/// The order of examples.
pub(super) const fn place_of(example: &Example) -> (Timestamp, u64, Option<u64>) {
    (example.ts, example.conn, example.query)
}

pub(super) fn add_error(
    errors: &mut BTreeMap<Code, ErrorCount>,
    code: Code,
    raised_by: Option<(Option<u64>, Option<&Arc<str>>)>,
    place: (Timestamp, u64, Option<u64>),
    example: impl Fn() -> Example,
) {
    let code = if errors.len() < MAX_KINDS || errors.contains_key(&code) { code } else { OTHER_CODES };
    let new = || ErrorCount { count: 0, sessions: 0, statements: HashMap::default(), example: Box::new(example()) };
    let error = errors.entry(code).or_insert_with(new);
    error.count += 1;
    match raised_by {
        Some((fingerprint, normalized)) => error.raised_by(fingerprint, normalized, 1),
        None => error.sessions += 1,
    }
    if place < place_of(&error.example) {
        *error.example = example();
    }
}

pub(super) fn add_failed_login(
    logins: &mut HashMap<(CallerId, Option<Code>), FailedLogins, RandomState>,
    key: (CallerId, Option<Code>),
    failed: FailedLogins,
) {
    let Some(known) = logins.get_mut(&key) else {
        logins.insert(key, failed);
        return;
    };
    known.count += failed.count;
    known.first = known.first.min(failed.first);
    if place_of(&known.last) < place_of(&failed.last) {
        known.last = failed.last;
    }
}
