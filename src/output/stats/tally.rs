//! Requests counted by statement, and nothing else of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::statements::Statements;
use crate::pg::text::Sql;
use crate::sql::normalize::Fingerprint;

/// The memory for statements, in bytes. Beyond it, some are forgotten.
const MAX_BYTES: usize = 4 << 20;

/// How many requests of each statement there were.
#[derive(Debug)]
pub(crate) struct Tally(Statements);

impl Default for Tally {
    fn default() -> Self {
        Self(Statements::new(MAX_BYTES))
    }
}

impl Tally {
    /// Counts a request, and returns the fingerprint of its SQL; `None` if it has no SQL.
    pub(crate) fn count(&mut self, sql: Option<&Sql<'_>>) -> Option<u64> {
        let id = self.0.find(sql);
        let statement = self.0.get_mut(id)?;
        statement.calls += 1;
        statement.fingerprint
    }

    /// Returns the statements of several tallies, the most frequent first: how often each was, its fingerprint and its normal form.
    pub(crate) fn most_frequent<'a>(
        tallies: impl Iterator<Item = &'a Self>,
    ) -> Vec<(u64, Option<Fingerprint>, Arc<str>)> {
        let mut all = BTreeMap::new();
        for statement in tallies.flat_map(|tally| tally.0.iter()) {
            let normalized = statement.normalized.clone().unwrap_or_default();
            let (calls, known) = all.entry(statement.fingerprint).or_insert((0, Arc::clone(&normalized)));
            *calls += statement.calls;
            // Which of them was found first depends on the order of the tallies.
            if (normalized.len(), &normalized) < (known.len(), known) {
                *known = normalized;
            }
        }
        let all = all.into_iter();
        let mut all: Vec<_> =
            all.map(|(hash, (calls, normalized))| (calls, hash.map(Fingerprint), normalized)).collect();
        all.sort_by(|(one, ..), (other, ..)| other.cmp(one));
        all
    }
}
