//! How the requests of a capture differ from those of an earlier one.

use std::collections::BTreeSet;

use super::Statistics;
use super::build::{Context, per_second};
use super::histogram::Timing;
use super::statements::Statement;
use crate::record::summary::{Calls, Comparison, Confidence, Difference};
use crate::sql::normalize::Fingerprint;

/// The fewest calls with times, before and after, of which it can be told whether they differ.
const MIN_TIMED: u64 = 5;

/// How much the median or the mean must differ, in percent, so that it matters.
const MIN_CHANGE: u64 = 10;

/// How many times as many calls a second are more.
const MORE: f64 = 1.5;

/// The share of failed calls must grow by this, in percent of all calls.
const MORE_ERRORS: f64 = 1.0;

/// An earlier capture.
#[derive(Debug)]
pub struct Baseline {
    /// What its requests and sessions add up to.
    pub statistics: Statistics,
    /// What else is known of it.
    pub context: Context,
}

/// Whether one set of times is longer than another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RankSum {
    /// The probability that one of the second is longer than one of the first; equal ones count half.
    probability: f64,
    confidence: Confidence,
}

/// Compares two sets of times by the rank-sum test of Mann and Whitney, with the normal approximation and its correction for ties,
/// which are all times in one part of the histograms. Returns `None` if there are too few.
fn rank_sum(before: &Timing, after: &Timing) -> Option<RankSum> {
    if before.count < MIN_TIMED || after.count < MIN_TIMED {
        return None;
    }
    let (mut first, mut second) = (before.parts().peekable(), after.parts().peekable());
    // Of the first set: how many are shorter than the current part. Of pairs: how many times the second is longer, twice.
    let (mut shorter, mut longer, mut ties) = (0.0, 0.0, 0.0);
    let (mut before_count, mut after_count) = (0.0, 0.0);
    loop {
        let part = match (first.peek(), second.peek()) {
            (Some((one, _)), Some((other, _))) => *one.min(other),
            (Some((part, _)), None) | (None, Some((part, _))) => *part,
            (None, None) => break,
        };
        let one = first.next_if(|(other, _)| *other == part).map_or(0.0, |(_, count)| f64::from(count));
        let other = second.next_if(|(other, _)| *other == part).map_or(0.0, |(_, count)| f64::from(count));
        longer += other * (2.0 * shorter + one);
        shorter += one;
        let tied = one + other;
        ties += tied * tied * tied - tied;
        before_count += one;
        after_count += other;
    }
    let pairs = before_count * after_count;
    let all = before_count + after_count;
    let probability = longer / 2.0 / pairs;
    let variance = pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let distance = (longer / 2.0 - pairs / 2.0).abs();
    // Two-sided: p < 0.001 and p < 0.05.
    let confidence = match if variance > 0.0 { distance / variance.sqrt() } else { 0.0 } {
        z if z > 3.291 => Confidence::Certain,
        z if z > 1.960 => Confidence::Likely,
        _ => Confidence::Unsure,
    };
    Some(RankSum { probability, confidence })
}

/// Compares two rates of events, which are Poisson: by the normal approximation of how many of all fall into the second.
fn rates_differ(before: u64, before_us: u64, after: u64, after_us: u64) -> bool {
    let (before, after) = (before as f64, after as f64);
    let share = after_us as f64 / (before_us as f64 + after_us as f64);
    let all = before + after;
    let deviation = (all * share * (1.0 - share)).sqrt();
    deviation > 0.0 && (after - all * share).abs() / deviation > 3.291
}

/// A statement in both captures.
struct Pair<'a> {
    fingerprint: Option<u64>,
    before: Option<&'a Statement>,
    after: Option<&'a Statement>,
    before_us: u64,
    after_us: u64,
}

impl Pair<'_> {
    fn rank_sum(&self) -> Option<RankSum> {
        rank_sum(&self.before?.timing, &self.after?.timing)
    }

    /// How much more time a second of the capture has.
    fn change(&self) -> f64 {
        let us = |statement: Option<&Statement>, all| statement.map_or(0.0, |s| per_second(s.timing.sum, all));
        us(self.after, self.after_us) - us(self.before, self.before_us)
    }

    fn difference(&self) -> Difference {
        let rank_sum = self.rank_sum();
        let statement = self.after.or(self.before);
        let calls = |statement: &Statement, duration_us| Calls {
            calls: statement.calls,
            calls_per_second: per_second(statement.calls, duration_us),
            errors: statement.errors,
            times: statement.timing.times(),
        };
        Difference {
            fingerprint: self.fingerprint.map(|hash| Fingerprint(hash).to_string()),
            normalized: statement.and_then(|statement| statement.normalized.as_deref()).map(str::to_owned),
            before: self.before.map(|statement| calls(statement, self.before_us)),
            after: self.after.map(|statement| calls(statement, self.after_us)),
            change_us_per_second: (self.change() * 1e3).round() / 1e3,
            slower_probability: rank_sum.map(|found| (found.probability * 1e3).round() / 1e3),
            confidence: rank_sum.map_or(Confidence::Unsure, |found| found.confidence),
        }
    }

    /// Returns the probability that a call now takes longer than one before, if it is sure that they differ, and it matters.
    fn slower_probability(&self) -> Option<f64> {
        let RankSum { probability, confidence } = self.rank_sum()?;
        let (before, after) = (&self.before?.timing, &self.after?.timing);
        let differ = |before: u64, after: u64| before.abs_diff(after) * 100 > before.min(after).max(1) * MIN_CHANGE;
        let matters = differ(before.quantile(50), after.quantile(50)) || differ(before.mean(), after.mean());
        (matters && confidence != Confidence::Unsure).then_some(probability)
    }

    /// How many times as many calls a second there are, if that is sure.
    fn frequency(&self) -> Option<f64> {
        let (before, after) = (self.before?.calls, self.after?.calls);
        let is_sure = rates_differ(before, self.before_us, after, self.after_us);
        let rate = per_second(after, self.after_us) / per_second(before, self.before_us);
        (is_sure && rate.is_finite()).then_some(rate)
    }

    fn has_more_errors(&self) -> bool {
        let Some(after) = self.after else { return false };
        let share = |statement: &Statement| statement.errors as f64 / statement.calls.max(1) as f64 * 100.0;
        after.errors > 0 && share(after) > self.before.map_or(0.0, share) + MORE_ERRORS
    }
}

impl Statistics {
    /// Returns how all requests differ from those of an earlier capture.
    pub(super) fn compare(&self, context: &Context, baseline: &Baseline) -> Comparison {
        let (before_us, after_us) = (baseline.context.duration_us(), context.duration_us());
        let fingerprints = |statistics: &Statistics| {
            statistics.statements.iter().map(|statement| statement.fingerprint).collect::<BTreeSet<_>>()
        };
        let all: BTreeSet<_> = fingerprints(self).union(&fingerprints(&baseline.statistics)).copied().collect();
        let pairs: Vec<_> = all
            .into_iter()
            .map(|fingerprint| Pair {
                fingerprint,
                before: baseline.statistics.statements.get(fingerprint),
                after: self.statements.get(fingerprint),
                before_us,
                after_us,
            })
            .collect();
        let list = |is_wanted: &dyn Fn(&Pair<'_>) -> bool, order: &dyn Fn(&Pair<'_>) -> f64| {
            let mut wanted: Vec<_> = pairs.iter().filter(|pair| is_wanted(pair)).collect();
            wanted.sort_by(|a, b| order(b).total_cmp(&order(a)).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
            wanted.into_iter().take(self.limits.top).map(Pair::difference).collect::<Vec<_>>()
        };
        let by_change = |pair: &Pair<'_>| pair.change().abs();
        Comparison {
            started: baseline.context.started,
            duration_us: before_us,
            totals: baseline.statistics.totals(),
            explained: list(&|pair| pair.change() != 0.0, &by_change),
            appeared: list(&|pair| pair.before.is_none(), &by_change),
            vanished: list(&|pair| pair.after.is_none(), &by_change),
            slower: list(&|pair| pair.slower_probability().is_some_and(|slower| slower > 0.5), &by_change),
            faster: list(&|pair| pair.slower_probability().is_some_and(|slower| slower < 0.5), &by_change),
            more_frequent: list(&|pair| pair.frequency().is_some_and(|rate| rate >= MORE), &|pair| {
                pair.frequency().unwrap_or_default()
            }),
            less_frequent: list(&|pair| pair.frequency().is_some_and(|rate| rate <= 1.0 / MORE), &|pair| {
                -pair.frequency().unwrap_or_default()
            }),
            began_to_fail: list(&|pair| pair.has_more_errors(), &|pair| {
                pair.after.map_or(0.0, |after| after.errors as f64)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(times: impl IntoIterator<Item = u64>) -> Timing {
        let mut timing = Timing::default();
        times.into_iter().for_each(|us| timing.add(us));
        timing
    }

    #[test]
    fn sets_of_times_are_compared_by_their_ranks() {
        // By scipy.stats.mannwhitneyu of SciPy (method="asymptotic", use_continuity=False): U of the second is 35 of 42 pairs,
        // p = 0.0437.
        let found = rank_sum(&timing([1, 2, 3, 4, 5, 5]), &timing([3, 4, 5, 6, 7, 8, 9])).unwrap();
        assert!((found.probability - 35.0 / 42.0).abs() < 1e-9, "{found:?}");
        assert_eq!(found.confidence, Confidence::Likely);
        let (low, high) = (timing(100..200), timing(150..250));
        assert_eq!(rank_sum(&low, &high).unwrap().confidence, Confidence::Certain);
        assert!(rank_sum(&high, &low).unwrap().probability < 0.2);
        let same = rank_sum(&low, &low).unwrap();
        assert!((same.probability - 0.5).abs() < 1e-9 && same.confidence == Confidence::Unsure);
        assert_eq!(rank_sum(&timing([1; 9]), &timing([1; 9])).unwrap().confidence, Confidence::Unsure);
        assert_eq!(rank_sum(&low, &timing(0..4)), None);
    }
}
