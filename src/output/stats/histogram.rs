//! Times, of which quantiles are known.
//!
//! A histogram of the kind of HdrHistogram: powers of two, each in 64 equal parts, so that the middle of a part differs from what
//! is in it by less than 1 %. Own code, because there is one for each statement, and most have a single call: only the parts
//! between the shortest and the longest time are in memory, at four bytes each. The crate `hdrhistogram` has all parts up to the
//! longest time, some kilobytes.

use crate::record::summary::{Bin, Times};

/// Each power of two has 2 to the power of this many parts.
const PARTS: u32 = 6;

/// How many parts of a histogram one bin of the record has: three bins for each power of two would be 21 parts.
const PARTS_OF_BIN: usize = 1 << (PARTS - 1);

/// Times, their sum, and how many took how long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timing {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) max: u64,
    /// The part of the first item of `counts`.
    first: usize,
    /// How many times are in each part. At most 2^32 - 1.
    counts: Vec<u32>,
}

/// The part of the histogram in which a time is.
const fn part(us: u64) -> usize {
    let shift = (us | 1).ilog2().saturating_sub(PARTS);
    ((shift as usize) << PARTS) + (us >> shift) as usize
}

/// The times of a part: the shortest and the longest.
const fn range(part: usize) -> (u64, u64) {
    let shift = (part >> PARTS).saturating_sub(1);
    let start = ((part - (shift << PARTS)) as u64) << shift;
    (start, start + ((1 << shift) - 1))
}

impl Timing {
    /// Adds a time, in microseconds.
    pub(crate) fn add(&mut self, us: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(us);
        self.max = self.max.max(us);
        self.add_to(part(us), 1);
    }

    /// Adds all times of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
        if let Some(last) = other.counts.len().checked_sub(1) {
            self.make_room(other.first, other.first + last);
            for (part, count) in other.parts() {
                self.add_to(part, count);
            }
        }
    }

    fn add_to(&mut self, part: usize, times: u32) {
        if part.checked_sub(self.first).is_none_or(|at| at >= self.counts.len()) {
            self.make_room(part, part);
        }
        if let Some(count) = self.counts.get_mut(part - self.first) {
            *count = count.saturating_add(times);
        }
    }

    fn make_room(&mut self, from: usize, to: usize) {
        if self.counts.is_empty() {
            self.first = from;
        }
        if from < self.first {
            self.counts.splice(0..0, std::iter::repeat_n(0, self.first - from));
            self.first = from;
        }
        let len = (to - self.first + 1).max(self.counts.len());
        self.counts.resize(len, 0);
    }

    /// Returns the parts that are not empty, in ascending order, and how many times each has.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, u32)> {
        self.counts.iter().zip(self.first..).filter(|(count, _)| **count > 0).map(|(count, part)| (part, *count))
    }

    /// Returns the bytes that it has allocated.
    pub(crate) const fn allocated(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }

    /// Returns the time that this share of all, in percent, does not exceed; 0 if there are none.
    pub(crate) fn quantile(&self, percent: u64) -> u64 {
        let all: u64 = self.parts().map(|(_, count)| u64::from(count)).sum();
        let rank = (u128::from(all) * u128::from(percent)).div_ceil(100);
        if rank >= all.into() {
            return self.max;
        }
        let mut seen = 0;
        for (part, count) in self.parts() {
            seen += u128::from(count);
            if seen >= rank {
                let (start, end) = range(part);
                return (start + (end - start) / 2).min(self.max);
            }
        }
        0
    }

    /// Returns the mean; 0 if there are no times.
    pub(crate) fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or_default()
    }

    /// Returns the figures of the times.
    pub(crate) fn times(&self) -> Times {
        Times {
            timed: self.count,
            exec_us: self.sum,
            mean_us: self.mean(),
            p50_us: self.quantile(50),
            p95_us: self.quantile(95),
            p99_us: self.quantile(99),
            max_us: self.max,
        }
    }

    /// Returns a coarser histogram: two bins for each power of two.
    pub(crate) fn bins(&self) -> Vec<Bin> {
        let mut bins: Vec<Bin> = Vec::new();
        for (part, count) in self.parts() {
            let last = part / PARTS_OF_BIN * PARTS_OF_BIN + PARTS_OF_BIN - 1;
            let (_, us) = range(last);
            match bins.last_mut() {
                Some(bin) if bin.us == us => bin.count += u64::from(count),
                _ => bins.push(Bin { us, count: count.into() }),
            }
        }
        bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_without_gaps() {
        let mut expected = 0;
        for part in 0..3_000 {
            let (start, end) = range(part);
            assert_eq!(start, expected);
            assert_eq!((super::part(start), super::part(end)), (part, part));
            assert!((end - start) as f64 <= start as f64 / 64.0, "{start} to {end}");
            expected = end + 1;
        }
        assert_eq!(range(part(u64::MAX)).1, u64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn quantiles_are_within_one_percent(
            times in proptest::collection::vec(proptest::prelude::any::<u64>().prop_map_to_time(), 1..200),
            split in 0_usize..200,
        ) {
            let (mut one, mut other) = (Timing::default(), Timing::default());
            for (index, time) in times.iter().enumerate() {
                if index < split { one.add(*time) } else { other.add(*time) }
            }
            one.merge(&other);
            let mut sorted = times;
            sorted.sort_unstable();
            for percent in [1, 50, 95, 99, 100] {
                let rank = (sorted.len() * percent).div_ceil(100).max(1);
                let exact = sorted[rank - 1];
                let found = one.quantile(percent as u64);
                proptest::prop_assert!(found.abs_diff(exact) as f64 <= exact as f64 / 100.0, "{found} for {exact}");
            }
            proptest::prop_assert_eq!(one.count, sorted.len() as u64);
            proptest::prop_assert_eq!(one.bins().iter().map(|bin| bin.count).sum::<u64>(), one.count);
        }
    }

    trait ToTime {
        fn prop_map_to_time(self) -> proptest::strategy::BoxedStrategy<u64>;
    }

    impl<S: proptest::strategy::Strategy<Value = u64> + 'static> ToTime for S {
        /// Of every magnitude, alike.
        fn prop_map_to_time(self) -> proptest::strategy::BoxedStrategy<u64> {
            use proptest::strategy::Strategy;
            (self, 0_u32..64).prop_map(|(bits, shift)| bits >> shift).boxed()
        }
    }
}
