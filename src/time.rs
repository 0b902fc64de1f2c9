//! Capture time: when a packet was captured, not when it was processed.
//!
//! The engine has no clock. Each packet has a [`Timestamp`], and each line is written with one, in the precision of the capture.

use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The precision of a capture's timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// Microseconds: six digits.
    #[default]
    Micros,
    /// Nanoseconds: nine digits.
    Nanos,
}

/// An instant of capture time: nanoseconds since 1970-01-01T00:00:00Z, from the year 1677 to 2262.
///
/// Equality and order are those of the instant; the precision only decides how it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timestamp {
    nanos: i64,
    precision: Precision,
}

impl Timestamp {
    /// Creates an instant from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64, precision: Precision) -> Self {
        Self { nanos, precision }
    }

    /// Creates an instant from seconds and nanoseconds since the epoch. Values out of range are clamped, so that a damaged packet
    /// header does not lose the packet.
    pub const fn new(seconds: i64, nanos: u32, precision: Precision) -> Self {
        let nanos = seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos as i64);
        Self { nanos, precision }
    }

    /// Returns the nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Returns the whole seconds since the epoch, and the remaining nanoseconds, less than 1,000,000,000.
    pub const fn parts(self) -> (i64, u32) {
        (self.nanos.div_euclid(NANOS_PER_SECOND), self.nanos.rem_euclid(NANOS_PER_SECOND) as u32)
    }

    /// Returns the range of the second that contains the instant, in nanoseconds since the epoch; empty if it begins before the
    /// first representable instant.
    pub fn second(self) -> Range<i64> {
        let start = self.nanos.checked_sub(self.parts().1.into());
        start.map_or(0..0, |start| start..start.saturating_add(NANOS_PER_SECOND))
    }

    /// Returns the precision of the capture.
    pub const fn precision(self) -> Precision {
        self.precision
    }

    /// Returns the whole microseconds since `earlier`, or 0 if the capture's time went backwards.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        let nanos = self.nanos.saturating_sub(earlier.nanos);
        if nanos < 0 { 0 } else { (nanos / 1_000) as u64 }
    }

    /// Returns the nanoseconds since `earlier`, or `None` if the capture's time went backwards.
    pub fn nanos_since(self, earlier: Self) -> Option<u64> {
        u64::try_from(self.nanos.saturating_sub(earlier.nanos)).ok()
    }

    /// Returns the instant `micros` microseconds later.
    #[must_use]
    pub fn later(self, micros: u64) -> Self {
        Self::from_nanos(self.nanos.saturating_add(nanos(micros)), self.precision)
    }

    /// Returns the instant `micros` microseconds earlier.
    #[must_use]
    pub fn earlier(self, micros: u64) -> Self {
        Self::from_nanos(self.nanos.saturating_sub(nanos(micros)), self.precision)
    }

    /// Formats the instant as RFC 3339 in UTC: `2026-11-22T21:30:32.123456Z`.
    pub fn rfc3339(self) -> Rfc3339 {
        Rfc3339::new(self)
    }
}

fn nanos(micros: u64) -> i64 {
    i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rfc3339().as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.rfc3339().as_str())
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.(\d{6}|\d{9})Z$",
        })
    }
}

/// A formatted instant, stored inline.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339 {
    text: [u8; Self::LONGEST],
    len: usize,
}

impl Rfc3339 {
    const LONGEST: usize = "2026-11-22T21:30:32.123456789Z".len();

    fn new(at: Timestamp) -> Self {
        let (seconds, nanos) = at.parts();
        let fraction = i64::from(nanos);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);

        let mut text = [0; Self::LONGEST];
        let mut digits = Digits { left: &mut text };
        digits.put(year, 4, b"-");
        digits.put(month, 2, b"-");
        digits.put(day, 2, b"T");
        digits.put(second_of_day / 3_600, 2, b":");
        digits.put(second_of_day / 60 % 60, 2, b":");
        digits.put(second_of_day % 60, 2, b".");
        match at.precision {
            Precision::Micros => digits.put(fraction / 1_000, 6, b"Z"),
            Precision::Nanos => digits.put(fraction, 9, b"Z"),
        }
        let len = Self::LONGEST - digits.left.len();
        Self { text, len }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        self.text.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// Writes numbers of fixed width to the rest of a buffer.
struct Digits<'a> {
    left: &'a mut [u8],
}

impl Digits<'_> {
    fn put(&mut self, mut value: i64, width: usize, then: &[u8; 1]) {
        let left = std::mem::take(&mut self.left);
        let Some((field, left)) = left.split_at_mut_checked(width + 1) else { return };
        if let Some((last, digits)) = field.split_last_mut() {
            *last = then[0];
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        self.left = left;
    }
}

/// Returns year, month and day in the proleptic Gregorian calendar for a number of days since 1970-01-01.
///
/// Counts in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const DAYS_TO_EPOCH: i64 = 719_468; // from 0000-03-01 to 1970-01-01
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + DAYS_TO_EPOCH;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_with_the_precision_of_the_capture() {
        let nanos = 1_795_383_032_123_456_789;
        assert_eq!(Timestamp::from_nanos(nanos, Precision::Micros).to_string(), "2026-11-22T21:30:32.123456Z");
        assert_eq!(Timestamp::from_nanos(nanos, Precision::Nanos).to_string(), "2026-11-22T21:30:32.123456789Z");
    }

    #[test]
    fn agrees_with_a_calendar_library_over_the_whole_range() {
        let extremes = [i64::MIN, -1, 0, 951_782_399_999_999_999, 951_868_800_000_000_000, i64::MAX];
        let spread = (-10_000..10_000_i64).map(|i| i * (i64::MAX / 10_000));
        for nanos in extremes.into_iter().chain(spread) {
            let wanted = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
            let written = Timestamp::from_nanos(nanos, Precision::Nanos).to_string();
            assert_eq!(written, format!("{wanted:.9}"), "{nanos}");
        }
    }

    #[test]
    fn a_difference_is_never_negative() {
        let early = Timestamp::new(10, 0, Precision::Micros);
        let late = Timestamp::new(10, 1_999, Precision::Micros);
        assert_eq!(late.micros_since(early), 1);
        assert_eq!(early.micros_since(late), 0);
    }

    #[test]
    fn a_time_out_of_range_becomes_the_nearest() {
        assert_eq!(Timestamp::new(i64::MAX, 5, Precision::Nanos).as_nanos(), i64::MAX);
    }
}
