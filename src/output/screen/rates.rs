//! Requests by second.

use std::collections::VecDeque;

use super::view::Rate;
use crate::output::stats::histogram::Timing;
use crate::record::QueryRecord;
use crate::time::Timestamp;

/// The number of seconds that are kept.
const SECONDS: usize = 300;

/// Requests by second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// The second under way, since 1970.
    second: i64,
    current: Rate,
    timing: Timing,
    /// The seconds before it, the latest last.
    before: VecDeque<Rate>,
}

impl Rates {
    pub(super) fn add(&mut self, record: &QueryRecord<'_>, has_failed: bool) {
        self.advance(record.header.ts.parts().0);
        self.current.requests += 1;
        self.current.errors += u64::from(has_failed);
        if let Some(us) = record.exec_us {
            self.timing.add(us);
        }
    }

    #[inline]
    fn advance(&mut self, second: i64) {
        if second > self.second {
            self.end_second(second);
        }
    }

    fn end_second(&mut self, second: i64) {
        if self.second > 0 {
            self.before.push_back(Rate { p95_us: self.timing.quantile(95), ..self.current });
            let quiet = usize::try_from(second - self.second - 1).unwrap_or(SECONDS).min(SECONDS);
            self.before.extend(std::iter::repeat_n(Rate::default(), quiet));
            self.before.drain(..self.before.len().saturating_sub(SECONDS));
        }
        (self.second, self.current, self.timing) = (second, Rate::default(), Timing::default());
    }

    /// Returns the whole seconds before this time, the latest last.
    pub(super) fn until(&self, now: Timestamp) -> Vec<Rate> {
        let quiet = usize::try_from(now.parts().0 - self.second).unwrap_or_default();
        let mut rates: Vec<Rate> = self.before.iter().copied().collect();
        if self.second > 0 && quiet > 0 {
            rates.push(Rate { p95_us: self.timing.quantile(95), ..self.current });
            rates.extend(std::iter::repeat_n(Rate::default(), (quiet - 1).min(SECONDS)));
            rates.drain(..rates.len().saturating_sub(SECONDS));
        }
        rates
    }
}
