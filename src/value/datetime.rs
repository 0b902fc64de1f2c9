//! Dates and times: their representation, binary format, and ISO 8601.

use super::short::Short;
use super::types::Kind;
use crate::reader::Reader;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// An upper bound on the offset from UTC, in seconds; the largest that PostgreSQL accepts is one second less.
pub(super) const OFFSETS: i32 = 16 * 3600;

/// A date or a time. Days and microseconds are counted from 2000-01-01, in the proleptic Gregorian calendar; the minimum and
/// maximum numbers are the infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Date(i32),
    /// Microseconds since midnight, up to 24:00:00.
    Time(i64),
    /// Microseconds since midnight, and the offset from UTC in seconds, positive to the east.
    Timetz(i64, i32),
    /// Without time zone.
    Timestamp(i64),
    /// In UTC.
    Timestamptz(i64),
}

impl Moment {
    pub(super) fn from_binary(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let moment = match kind {
            Kind::Date => Self::Date(reader.i32("days").ok()?),
            Kind::Time => Self::Time(time(reader.i64("microseconds").ok()?)?),
            Kind::Timetz => {
                let time = time(reader.i64("microseconds").ok()?)?;
                let west = reader.i32("offset").ok()?;
                if west.unsigned_abs() >= OFFSETS.unsigned_abs() {
                    return None;
                }
                Self::Timetz(time, -west)
            }
            Kind::Timestamp => Self::Timestamp(reader.i64("microseconds").ok()?),
            Kind::Timestamptz => Self::Timestamptz(reader.i64("microseconds").ok()?),
            _ => return None,
        };
        reader.is_empty().then_some(moment)
    }
}

fn time(micros: i64) -> Option<i64> {
    (0..=DAY).contains(&micros).then_some(micros)
}

impl Moment {
    /// Formats the moment as ISO 8601.
    pub(super) fn to_short(self) -> Short {
        let mut text = Short::new();
        match self {
            Self::Date(i32::MIN) | Self::Timestamp(i64::MIN) | Self::Timestamptz(i64::MIN) => {
                text.push_str("-infinity")
            }
            Self::Date(i32::MAX) | Self::Timestamp(i64::MAX) | Self::Timestamptz(i64::MAX) => text.push_str("infinity"),
            Self::Date(days) => push_date(&mut text, days.into()),
            Self::Time(micros) => push_time(&mut text, micros.unsigned_abs()),
            Self::Timetz(micros, east) => {
                push_time(&mut text, micros.unsigned_abs());
                text.push(if east < 0 { b'-' } else { b'+' });
                let east = u64::from(east.unsigned_abs());
                text.push_number(east / 3600, 2);
                text.push(b':');
                text.push_number(east / 60 % 60, 2);
                if east % 60 != 0 {
                    text.push(b':');
                    text.push_number(east % 60, 2);
                }
            }
            Self::Timestamp(micros) => push_timestamp(&mut text, micros),
            Self::Timestamptz(micros) => {
                push_timestamp(&mut text, micros);
                text.push(b'Z');
            }
        }
        text
    }
}

fn push_timestamp(text: &mut Short, micros: i64) {
    push_date(text, micros.div_euclid(DAY));
    text.push(b'T');
    push_time(text, micros.rem_euclid(DAY).unsigned_abs());
}

fn push_date(text: &mut Short, days: i64) {
    let (year, month, day) = civil_from_days(days);
    // "Expanded representations" have a sign, and an agreed number of digits: six, as in ECMAScript, or more.
    let width = match year {
        0..=9999 => 4,
        _ => {
            text.push(if year < 0 { b'-' } else { b'+' });
            6
        }
    };
    text.push_number(year.unsigned_abs(), width);
    for part in [month, day] {
        text.push(b'-');
        text.push_number(part.unsigned_abs(), 2);
    }
}

pub(super) fn push_time(text: &mut Short, micros: u64) {
    let second = SECOND.unsigned_abs();
    let seconds = micros / second;
    text.push_number(seconds / 3600, 2);
    text.push(b':');
    text.push_number(seconds / 60 % 60, 2);
    text.push(b':');
    text.push_number(seconds % 60, 2);
    push_fraction(text, micros % second);
}

/// Appends the fraction of a second, without trailing zeros.
pub(super) fn push_fraction(text: &mut Short, mut micros: u64) {
    if micros == 0 {
        return;
    }
    let mut digits = 6;
    while micros.is_multiple_of(10) {
        micros /= 10;
        digits -= 1;
    }
    text.push(b'.');
    text.push_number(micros, digits);
}

/// The days from 0000-03-01 to 2000-01-01. In a year that begins in March, the leap day is the last.
const EPOCH: i64 = 730_425;
/// The days of 400 years, the period of the calendar.
const CYCLE: i64 = 146_097;

/// Returns year (0 is 1 BC), month and day.
pub(super) const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next_year, month, day_of_month)
}

/// Returns the days from 2000-01-01 to a date; `None` if the calendar has no such date.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    // No type has years beyond these, and none of the calculations below overflows.
    if !(-10_000_000..10_000_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year_of_march, month_of_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, of_cycle) = (year_of_march.div_euclid(400), year_of_march.rem_euclid(400));
    let day_of_year = (153 * month_of_march + 2) / 5 + day - 1;
    let days = cycle * CYCLE + 365 * of_cycle + of_cycle / 4 - of_cycle / 100 + day_of_year - EPOCH;
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_a_cycle_and_its_neighbours_is_found_again() {
        for days in -CYCLE - 800..CYCLE + 800 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), Some(days));
        }
        assert_eq!(civil_from_days(0), (2000, 1, 1));
        assert_eq!(days_from_civil(1970, 1, 1), Some(-10_957));
        assert_eq!(days_from_civil(1900, 2, 29), None);
        assert_eq!(days_from_civil(2024, 4, 31), None);
    }

    #[test]
    fn years_that_have_not_four_digits_have_a_sign() {
        let date = |year| {
            Moment::Date(days_from_civil(year, 3, 15).unwrap().try_into().unwrap()).to_short().as_str().to_owned()
        };
        assert_eq!(date(0), "0000-03-15");
        assert_eq!(date(-43), "-000043-03-15");
        assert_eq!(date(10_000), "+010000-03-15");
        assert_eq!(date(5_874_897), "+5874897-03-15");
        assert_eq!(Moment::Timetz(DAY, -(5 * 3600 + 30 * 60 + 7)).to_short().as_str(), "24:00:00-05:30:07");
    }
}
