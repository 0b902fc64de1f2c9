//! Dates and times: what they are, their binary form, and ISO 8601.

use std::fmt;

use super::types::Kind;
use crate::reader::Reader;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// The largest offset from UTC that PostgreSQL takes is a second less, in seconds.
pub(super) const OFFSETS: i32 = 16 * 3600;

/// A date or a time. Days and microseconds are counted from 2000-01-01, in the proleptic Gregorian calendar; the least and
/// the largest number are the infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Date(i32),
    /// Microseconds from midnight, up to 24:00:00.
    Time(i64),
    /// The same, and the offset from UTC in seconds, positive to the east.
    Timetz(i64, i32),
    /// In no time zone.
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

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Date(i32::MIN) | Self::Timestamp(i64::MIN) | Self::Timestamptz(i64::MIN) => f.write_str("-infinity"),
            Self::Date(i32::MAX) | Self::Timestamp(i64::MAX) | Self::Timestamptz(i64::MAX) => f.write_str("infinity"),
            Self::Date(days) => write_date(f, days.into()),
            Self::Time(micros) => write_time(f, micros),
            Self::Timetz(micros, east) => {
                write_time(f, micros)?;
                let (sign, east) = (if east < 0 { '-' } else { '+' }, east.unsigned_abs());
                write!(f, "{sign}{:02}:{:02}", east / 3600, east / 60 % 60)?;
                if east % 60 != 0 { write!(f, ":{:02}", east % 60) } else { Ok(()) }
            }
            Self::Timestamp(micros) => write_timestamp(f, micros),
            Self::Timestamptz(micros) => {
                write_timestamp(f, micros)?;
                f.write_str("Z")
            }
        }
    }
}

fn write_timestamp(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    write_date(f, micros.div_euclid(DAY))?;
    f.write_str("T")?;
    write_time(f, micros.rem_euclid(DAY))
}

fn write_date(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    // "Expanded representations" have a sign, and as many digits as was agreed upon: six, as in ECMAScript, or more.
    match year {
        0..=9999 => write!(f, "{year:04}")?,
        _ => write!(f, "{year:+07}")?,
    }
    write!(f, "-{month:02}-{day:02}")
}

fn write_time(f: &mut fmt::Formatter<'_>, micros: i64) -> fmt::Result {
    let seconds = micros / SECOND;
    write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    write_fraction(f, micros % SECOND)
}

/// Writes the fraction of a second, as long as it has to be.
pub(super) fn write_fraction(f: &mut fmt::Formatter<'_>, mut micros: i64) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    let mut digits = 6;
    while micros % 10 == 0 {
        micros /= 10;
        digits -= 1;
    }
    write!(f, ".{micros:0digits$}")
}

/// The days from 0000-03-01 to 2000-01-01. A year that begins in March has its leap day last.
const EPOCH: i64 = 730_425;
/// The days of 400 years, after which the calendar repeats itself.
const CYCLE: i64 = 146_097;

/// Year (0 is 1 BC), month and day.
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

/// The days from 2000-01-01 to a date; nothing where the calendar has no such date.
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    // No type has so many years; and none of the numbers below overflow.
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
        let date = |year| Moment::Date(days_from_civil(year, 3, 15).unwrap().try_into().unwrap()).to_string();
        assert_eq!(date(0), "0000-03-15");
        assert_eq!(date(-43), "-000043-03-15");
        assert_eq!(date(10_000), "+010000-03-15");
        assert_eq!(date(5_874_897), "+5874897-03-15");
        assert_eq!(Moment::Timetz(DAY, -(5 * 3600 + 30 * 60 + 7)).to_string(), "24:00:00-05:30:07");
    }
}
