//! Single requests of each statement: the slowest, the latest, and those that failed last. With them a fast run can be compared with
//! a slow one.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::view::RequestRow;
use crate::output::stats::windows::Key;
use crate::record::QueryRecord;

/// The most statements of which requests are kept.
const MAX_STATEMENTS: usize = 1_024;

/// How many requests of each kind are kept of a statement.
const MAX_REQUESTS: usize = 5;

/// Requests of each statement.
#[derive(Debug, Default)]
pub(super) struct Requests(HashMap<Key, OfStatement, RandomState>);

#[derive(Debug, Default)]
struct OfStatement {
    /// The slowest first.
    slowest: Vec<(u64, RequestRow)>,
    latest: VecDeque<RequestRow>,
    failed: VecDeque<RequestRow>,
    /// The second of the last of the latest: one a second is enough to see what is usual.
    second: i64,
}

impl Requests {
    /// Adds a request, whose row is made only if it is kept.
    pub(super) fn add(&mut self, key: Key, record: &QueryRecord<'_>, row: impl Fn() -> RequestRow) {
        let is_full = self.0.len() >= MAX_STATEMENTS;
        let of_statement = match self.0.get_mut(&key) {
            Some(of_statement) => of_statement,
            None if is_full => return,
            None => self.0.entry(key).or_default(),
        };
        let OfStatement { slowest, latest, failed, second } = of_statement;
        if let Some(us) = record.total_us {
            let at = slowest.partition_point(|(other, _)| *other >= us);
            if at < MAX_REQUESTS {
                slowest.insert(at, (us, row()));
                slowest.truncate(MAX_REQUESTS);
            }
        }
        if record.error.is_some() {
            push(failed, row());
        }
        let now = record.header.ts.parts().0;
        if now != *second {
            *second = now;
            push(latest, row());
        }
    }

    /// Returns the requests of a statement, each once.
    pub(super) fn of(&self, key: Key) -> Vec<RequestRow> {
        let Some(OfStatement { slowest, latest, failed, .. }) = self.0.get(&key) else { return Vec::new() };
        let mut rows: Vec<RequestRow> = Vec::new();
        for row in slowest.iter().map(|(_, row)| row).chain(failed).chain(latest) {
            if !rows.iter().any(|other| (other.who.conn, other.query) == (row.who.conn, row.query)) {
                rows.push(row.clone());
            }
        }
        rows
    }
}

fn push(rows: &mut VecDeque<RequestRow>, row: RequestRow) {
    if rows.len() == MAX_REQUESTS {
        rows.pop_front();
    }
    rows.push_back(row);
}
