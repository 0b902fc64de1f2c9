//! Statements over sliding windows of time: the last seconds, the last minutes, and all.
//!
//! Requests are counted in slices of a second. A slice that is older than [`SECONDS`] is merged into one of ten seconds, and every
//! slice into the sums of all: so a window is a merge of at most [`SECONDS`] + [`TENS`] slices, and a request is counted once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::histogram::Timing;
use super::statements::Statements;
use crate::record::QueryRecord;
use crate::time::Timestamp;

/// The number of whole seconds that have slices of their own.
const SECONDS: usize = 10;

/// The number of slices of ten seconds before them.
const TENS: usize = 30;

/// The most statements of a slice, and of all. Those beyond are counted together.
const MAX_STATEMENTS: usize = 4_096;

/// The memory for the texts by which statements are found, in bytes.
const STATEMENT_BYTES: usize = 16 << 20;

/// What requests add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) rows: u64,
    /// Bytes of both directions.
    pub(crate) bytes: u64,
    /// Times that the server can have worked on them.
    pub(crate) timing: Timing,
}

impl Sums {
    fn add(&mut self, record: &QueryRecord<'_>, has_failed: bool) {
        self.calls += 1;
        self.errors += u64::from(has_failed);
        self.rows = self.rows.saturating_add(record.rows.unwrap_or_default());
        self.bytes = self.bytes.saturating_add(record.bytes_in.saturating_add(record.bytes_out));
        if let Some(us) = record.exec_us {
            self.timing.add(us);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.timing.merge(&other.timing);
    }
}

/// A statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Its fingerprint.
    Fingerprint(u64),
    /// The SQL is not known.
    Unknown,
    /// Statements beyond the limit.
    Others,
}

type BySums = HashMap<Key, Sums, RandomState>;

/// The requests of some time.
#[derive(Debug, Default)]
struct Slice {
    /// When it begins, in seconds since 1970.
    second: i64,
    sums: BySums,
}

/// Statements over sliding windows of time.
#[derive(Debug)]
pub(crate) struct Windows {
    statements: Statements,
    /// The normal forms of the statements that are counted.
    texts: HashMap<u64, Arc<str>, RandomState>,
    current: Slice,
    seconds: VecDeque<Slice>,
    tens: VecDeque<Slice>,
    /// Without the current slice.
    all: BySums,
    /// The second of the first request.
    started: Option<i64>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            statements: Statements::new(STATEMENT_BYTES),
            texts: HashMap::default(),
            current: Slice::default(),
            seconds: VecDeque::new(),
            tens: VecDeque::new(),
            all: BySums::default(),
            started: None,
        }
    }
}

impl Windows {
    /// Returns the statement of a request, and the normal form of its SQL, if that is known.
    pub(crate) fn statement(&mut self, record: &QueryRecord<'_>) -> (Key, Option<&Arc<str>>) {
        let id = self.statements.find(record.sql.as_ref().map(|sql| &sql.0));
        let Some(statement) = self.statements.get_mut(id) else { return (Key::Unknown, None) };
        (statement.fingerprint.map_or(Key::Unknown, Key::Fingerprint), statement.normalized.as_ref())
    }

    /// Counts a request. Returns its statement, and the normal form of its SQL, if that is known.
    pub(crate) fn add(&mut self, record: &QueryRecord<'_>, has_failed: bool) -> (Key, Option<&Arc<str>>) {
        let id = self.statements.find(record.sql.as_ref().map(|sql| &sql.0));
        self.advance(second_of(record.header.ts));
        let Some(statement) = self.statements.get_mut(id) else { return (Key::Unknown, None) };
        let key = statement.fingerprint.map_or(Key::Unknown, Key::Fingerprint);
        let sums = match self.current.sums.get_mut(&key) {
            Some(sums) => sums,
            None => {
                if let (Some(hash), Some(text)) = (statement.fingerprint, &statement.normalized)
                    && self.texts.len() < 4 * MAX_STATEMENTS
                {
                    self.texts.entry(hash).or_insert_with(|| Arc::clone(text));
                }
                entry(&mut self.current.sums, key)
            }
        };
        sums.add(record, has_failed);
        (key, statement.normalized.as_ref())
    }

    /// Returns what the statements of the last seconds add up to, or of all if `None`; and how many seconds these are.
    pub(crate) fn sums(&self, now: Timestamp, last: Option<u32>) -> (Vec<(Key, Sums)>, f64) {
        let mut sums = BySums::default();
        let mut add = |slice: &BySums| {
            slice.iter().for_each(|(key, more)| sums.entry(*key).or_default().merge(more));
        };
        let (whole, nanos) = now.parts();
        let seconds = whole as f64 + f64::from(nanos) / 1e9;
        let from = last.map(|last| seconds - f64::from(last));
        add(&self.current.sums);
        let mut started = self.started.unwrap_or_default() as f64;
        match from {
            None => add(&self.all),
            Some(from) => {
                // Whole slices: those most of which is inside. What is of ten seconds is older than all of a second.
                let tens = self.tens.iter().filter(|slice| slice.second as f64 + 5.0 >= from);
                let tens = tens.filter(|_| last > Some(SECONDS as u32));
                let seconds = self.seconds.iter().filter(|slice| slice.second as f64 + 0.5 >= from);
                tens.chain(seconds).for_each(|slice| add(&slice.sums));
                started = started.max(from);
            }
        }
        if from.is_some_and(|from| (self.current.second + 1) as f64 <= from) {
            sums.clear();
        }
        (sums.into_iter().collect(), (seconds - started).max(1.0))
    }

    /// Returns the normal form of a statement.
    pub(crate) fn text(&self, key: Key) -> Option<&str> {
        match key {
            Key::Fingerprint(hash) => self.texts.get(&hash).map(|text| &**text),
            Key::Unknown | Key::Others => None,
        }
    }

    /// Ends the slices before this second.
    #[inline]
    fn advance(&mut self, second: i64) {
        if second > self.current.second {
            self.end_slice(second);
        }
    }

    fn end_slice(&mut self, second: i64) {
        self.started.get_or_insert(second);
        let ended = std::mem::replace(&mut self.current, Slice { second, sums: BySums::default() });
        if ended.sums.is_empty() {
            return;
        }
        for (key, sums) in &ended.sums {
            entry(&mut self.all, *key).merge(sums);
        }
        self.seconds.push_back(ended);
        while self.seconds.front().is_some_and(|first| first.second < second - SECONDS as i64) {
            let Some(slice) = self.seconds.pop_front() else { break };
            let ten = slice.second.div_euclid(10) * 10;
            match self.tens.back_mut().filter(|last| last.second == ten) {
                Some(last) => slice.sums.iter().for_each(|(key, sums)| entry(&mut last.sums, *key).merge(sums)),
                None => self.tens.push_back(Slice { second: ten, sums: slice.sums }),
            }
        }
        let oldest = second - 10 * (TENS as i64 + 1);
        while self.tens.front().is_some_and(|first| first.second < oldest) {
            self.tens.pop_front();
        }
        self.forget_texts();
    }

    /// Forgets the texts of statements that are not counted any more.
    fn forget_texts(&mut self) {
        if self.texts.len() > 2 * MAX_STATEMENTS {
            let Self { texts, seconds, tens, all, .. } = self;
            let slices: Vec<&BySums> = seconds.iter().chain(&*tens).map(|slice| &slice.sums).chain([&*all]).collect();
            texts.retain(|hash, _| slices.iter().any(|sums| sums.contains_key(&Key::Fingerprint(*hash))));
        }
    }
}

/// Returns the sums of a statement; of the others, if there are too many.
fn entry(sums: &mut BySums, key: Key) -> &mut Sums {
    let key = if sums.len() >= MAX_STATEMENTS && !sums.contains_key(&key) { Key::Others } else { key };
    sums.entry(key).or_default()
}

fn second_of(ts: Timestamp) -> i64 {
    ts.parts().0
}
