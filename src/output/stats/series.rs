//! What happens over time.

use std::collections::VecDeque;

use super::histogram::Timing;
use crate::record::QueryRecord;
use crate::record::summary::{Bucket, Traffic};
use crate::time::{Precision, Timestamp};

/// The most buckets.
const MAX_BUCKETS: usize = 360;

/// The widths of buckets, in microseconds: those that people count in, each a multiple of the one before, so that buckets of one
/// are merged into buckets of the next.
const WIDTHS: [u64; 20] = {
    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400 * SECOND;
    [
        1_000,
        2_000,
        10_000,
        50_000,
        100_000,
        500_000,
        SECOND,
        2 * SECOND,
        10 * SECOND,
        30 * SECOND,
        60 * SECOND,
        300 * SECOND,
        900 * SECOND,
        3_600 * SECOND,
        4 * 3_600 * SECOND,
        DAY,
        7 * DAY,
        28 * DAY,
        28 * 13 * DAY,
        28 * 13 * 100 * DAY,
    ]
};

/// Buckets of time, as narrow as their number allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Series<T = Span> {
    /// The index of their width.
    width: usize,
    /// The number of the first bucket, counted from 1970.
    first: i64,
    buckets: VecDeque<T>,
}

/// What is counted in a span of time.
pub(super) trait Merge: Default {
    /// Adds what was counted in another one.
    fn merge(&mut self, other: &Self);
}

/// The requests of a span of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) connects: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) timing: Timing,
}

impl Span {
    #[inline]
    pub(super) fn request(&mut self, record: &QueryRecord<'_>, has_failed: bool) {
        self.requests += 1;
        self.errors += u64::from(has_failed);
        self.bytes_in = self.bytes_in.saturating_add(record.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(record.bytes_out);
        if let Some(us) = record.exec_us {
            self.timing.add(us);
        }
    }
}

impl Merge for Span {
    fn merge(&mut self, other: &Self) {
        let Self { requests, errors, connects, bytes_in, bytes_out, timing } = other;
        self.requests += requests;
        self.errors += errors;
        self.connects += connects;
        self.bytes_in = self.bytes_in.saturating_add(*bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(*bytes_out);
        self.timing.merge(timing);
    }
}

impl<T: Merge> Series<T> {
    fn nanos(&self) -> i64 {
        WIDTHS.get(self.width).map_or(i64::MAX, |us| us.saturating_mul(1_000) as i64)
    }

    /// Returns the bucket of an instant.
    #[inline]
    pub(super) fn at(&mut self, ts: Timestamp) -> Option<&mut T> {
        let number = ts.as_nanos().div_euclid(self.nanos());
        let is_known = usize::try_from(number.wrapping_sub(self.first)).is_ok_and(|index| index < self.buckets.len());
        if !is_known {
            self.make_room(ts.as_nanos(), ts.as_nanos());
        }
        let number = ts.as_nanos().div_euclid(self.nanos());
        self.buckets.get_mut(usize::try_from(number - self.first).ok()?)
    }

    /// Adds the parts of a time, in nanoseconds, to the buckets in which they are.
    pub(super) fn spread(&mut self, (from, until): (Timestamp, Timestamp), add: impl Fn(&mut T, u64)) {
        let (mut at, until) = (from.as_nanos(), until.as_nanos());
        if at >= until {
            return;
        }
        self.make_room(at, until);
        let nanos = self.nanos();
        while at < until {
            let number = at.div_euclid(nanos);
            let end = number.saturating_add(1).saturating_mul(nanos).min(until);
            let bucket = usize::try_from(number - self.first).ok().and_then(|index| self.buckets.get_mut(index));
            bucket.into_iter().for_each(|bucket| add(bucket, (end - at) as u64));
            at = end.max(at + 1);
        }
    }

    /// Makes the buckets cover the times between two.
    #[inline(never)]
    fn make_room(&mut self, from: i64, to: i64) {
        loop {
            let nanos = self.nanos();
            let (mut first, mut last) = (from.div_euclid(nanos), to.div_euclid(nanos));
            if let Some(before_last) = self.buckets.len().checked_sub(1) {
                (first, last) = (first.min(self.first), last.max(self.first + before_last as i64));
            }
            if (last - first) < MAX_BUCKETS as i64 || self.width + 1 >= WIDTHS.len() {
                if self.buckets.is_empty() {
                    self.first = first;
                }
                for _ in first..self.first {
                    self.buckets.push_front(T::default());
                }
                self.first = first;
                let len = (last - first) as usize + 1;
                self.buckets.resize_with(len.max(self.buckets.len()), T::default);
                return;
            }
            self.widen();
        }
    }

    /// Merges buckets into those of the next width.
    fn widen(&mut self) {
        let before = self.nanos();
        self.width += 1;
        let ratio = self.nanos() / before;
        let first = self.first.div_euclid(ratio);
        let mut wider: VecDeque<T> = VecDeque::new();
        for (bucket, number) in self.buckets.iter().zip(self.first..) {
            let index = (number.div_euclid(ratio) - first) as usize;
            if index >= wider.len() {
                wider.resize_with(index + 1, T::default);
            }
            if let Some(wide) = wider.get_mut(index) {
                wide.merge(bucket);
            }
        }
        (self.first, self.buckets) = (first, wider);
    }

    pub(super) fn merge(&mut self, mut other: Self) {
        if other.buckets.is_empty() {
            return;
        }
        if self.buckets.is_empty() {
            *self = other;
            return;
        }
        while self.width < other.width {
            self.widen();
        }
        while other.width < self.width {
            other.widen();
        }
        let last = other.first + other.buckets.len() as i64 - 1;
        let nanos = other.nanos();
        self.make_room(other.first.saturating_mul(nanos), last.saturating_mul(nanos));
        while other.width < self.width {
            other.widen();
        }
        for (bucket, number) in other.buckets.iter().zip(other.first..) {
            if let Some(own) = self.buckets.get_mut((number - self.first) as usize) {
                own.merge(bucket);
            }
        }
    }

    /// Returns the width of the buckets, in microseconds, and when each begins.
    pub(super) fn buckets(&self, precision: Precision) -> (u64, impl Iterator<Item = (Timestamp, &T)>) {
        let nanos = self.nanos();
        let began = move |number: i64| Timestamp::from_nanos(number.saturating_mul(nanos), precision);
        let buckets = self.buckets.iter().zip(self.first..);
        (nanos as u64 / 1_000, buckets.map(move |(bucket, number)| (began(number), bucket)))
    }
}

impl Series {
    /// Returns the most sessions that began within a second; the mean of a bucket, where these are wider.
    pub(super) fn most_connects_per_second(&self) -> u64 {
        const SECOND: i64 = 1_000_000_000;
        let nanos = self.nanos();
        let mut most = 0;
        let mut of_second = (i64::MIN, 0);
        for (bucket, number) in self.buckets.iter().zip(self.first..) {
            if nanos >= SECOND {
                most = most.max(bucket.connects.div_ceil((nanos / SECOND) as u64));
                continue;
            }
            let second = number.saturating_mul(nanos).div_euclid(SECOND);
            if second != of_second.0 {
                of_second = (second, 0);
            }
            of_second.1 += bucket.connects;
            most = most.max(of_second.1);
        }
        most
    }

    /// Returns the times of all requests.
    pub(super) fn timing(&self) -> Timing {
        let mut all = Timing::default();
        self.buckets.iter().for_each(|span| all.merge(&span.timing));
        all
    }

    pub(super) fn traffic(&self, precision: Precision) -> Traffic {
        let (bucket_us, buckets) = self.buckets(precision);
        let bucket = |(started, span): (Timestamp, &Span)| Bucket {
            started,
            requests: span.requests,
            errors: span.errors,
            connects: span.connects,
            bytes_in: span.bytes_in,
            bytes_out: span.bytes_out,
            times: span.timing.times(),
            histogram: span.timing.bins(),
        };
        Traffic { bucket_us, buckets: buckets.map(bucket).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_nanos(us * 1_000, Precision::Micros)
    }

    #[test]
    fn each_width_is_a_multiple_of_the_one_before() {
        assert!(WIDTHS.windows(2).all(|pair| pair[1] % pair[0] == 0 && pair[1] / pair[0] <= 100));
    }

    #[test]
    fn the_buckets_are_the_same_in_any_order_and_merged_or_not() {
        // From milliseconds to years, and before 1970.
        for scale in [1, 700, 90_000, 40_000_000, 5_000_000_000_000] {
            let times: Vec<i64> = (-20..300).map(|n| n * n * n % 997 * scale).collect();
            let mut all = Series::<Span>::default();
            times.iter().for_each(|us| all.at(at(*us)).unwrap().requests += 1);
            let (mut one, mut other) = (Series::<Span>::default(), Series::default());
            for (index, us) in times.iter().rev().enumerate() {
                let series = if index % 5 == 0 { &mut one } else { &mut other };
                series.at(at(*us)).unwrap().requests += 1;
            }
            one.merge(other);
            let counts = |series: &Series| {
                let traffic = series.traffic(Precision::Micros);
                (traffic.bucket_us, traffic.buckets.iter().map(|b| (b.started, b.requests)).collect::<Vec<_>>())
            };
            assert_eq!(counts(&all), counts(&one));
            let (width, buckets) = counts(&all);
            assert!(buckets.len() <= MAX_BUCKETS);
            for (started, requests) in buckets {
                let start = started.as_nanos() / 1_000;
                let expected = times.iter().filter(|us| (start..start + width as i64).contains(us)).count();
                assert_eq!(requests, expected as u64);
            }
        }
    }

    #[test]
    fn the_extremes_of_time_are_in_few_buckets() {
        let mut series = Series::<Span>::default();
        for nanos in [i64::MIN, 0, i64::MAX] {
            series.at(Timestamp::from_nanos(nanos, Precision::Nanos)).unwrap().connects += 1;
        }
        assert!(series.buckets.len() <= MAX_BUCKETS);
        assert_eq!(series.buckets.iter().map(|span| span.connects).sum::<u64>(), 3);
    }
}
