//! Dates and times in text format: in every `DateStyle`, and in the ISO 8601 variants that clients write.
//!
//! The style is determined from the form: `2024-07-02` (ISO), `07/02/2024` (SQL), `07-02-2024` (dates of the style Postgres),
//! `02.07.2024` (German), `Tue Jul 02 03:04:05 2024` (timestamps of the style Postgres). If the form does not show which number
//! is the month, the session's setting determines it; without the setting, the text is not decoded.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::datetime::{DAY, OFFSETS, SECOND, civil_from_days, days_from_civil};
use super::settings::{DateOrder, Settings};

/// Parses a `date`: days from 2000-01-01.
pub(super) fn date(text: &str, settings: &Settings) -> Option<i32> {
    let text = text.trim_ascii();
    if let Some(is_positive) = infinity(text) {
        return Some(if is_positive { i32::MAX } else { i32::MIN });
    }
    let (text, is_bc) = era(text);
    let days = i32::try_from(numeric_date(text, is_bc, settings)?).ok()?;
    Some(days).filter(|days| !matches!(*days, i32::MIN | i32::MAX))
}

/// Parses a `time`: microseconds since midnight.
pub(super) fn time(text: &str) -> Option<i64> {
    clock(text.trim_ascii())
}

/// Parses a `timetz`: microseconds since midnight, and the offset in seconds, positive to the east.
pub(super) fn timetz(text: &str) -> Option<(i64, i32)> {
    let (time, zone) = time_and_zone(text.trim_ascii());
    match self::zone(zone)? {
        Zone::East(east) => Some((clock(time)?, east)),
        Zone::None | Zone::Name(_) => None,
    }
}

/// Parses a `timestamp`: microseconds from 2000-01-01.
pub(super) fn timestamp(text: &str, settings: &Settings) -> Option<i64> {
    match local(text.trim_ascii(), settings)? {
        (micros, Zone::None) => Some(micros),
        _ => None,
    }
}

/// Parses a `timestamptz`: microseconds from 2000-01-01 in UTC.
pub(super) fn timestamptz(text: &str, settings: &Settings) -> Option<i64> {
    let (local, zone) = local(text.trim_ascii(), settings)?;
    let east = match zone {
        _ if matches!(local, i64::MIN | i64::MAX) => 0,
        Zone::East(east) => east,
        Zone::Name("UTC" | "GMT") => 0,
        Zone::Name(name) => offset(local, Some(name), settings.time_zone.as_ref()?)?,
        Zone::None => offset(local, None, settings.time_zone.as_ref()?)?,
    };
    local.checked_sub(i64::from(east) * SECOND)
}

/// The time zone after a time.
enum Zone<'a> {
    None,
    /// An offset in seconds, positive to the east.
    East(i32),
    /// A time zone abbreviation, such as CEST.
    Name(&'a str),
}

/// Parses a local date and time, and the time zone.
fn local<'a>(text: &'a str, settings: &Settings) -> Option<(i64, Zone<'a>)> {
    if let Some(is_positive) = infinity(text) {
        return Some((if is_positive { i64::MAX } else { i64::MIN }, Zone::None));
    }
    let (text, is_bc) = era(text);
    let (days, time, zone) = match weekday(text) {
        Some(rest) => {
            let mut words = rest.splitn(5, ' ');
            let (first, second, time, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let (month, day) = month(first).map_or((month(second), first), |month| (Some(month), second));
            (days_from_civil(self::year(year, is_bc)?, month?, number(day)?)?, time, words.next().unwrap_or_default())
        }
        None => {
            let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
            let (time, zone) = time_and_zone(time);
            (numeric_date(date, is_bc, settings)?, time, zone)
        }
    };
    let micros = days.checked_mul(DAY)?.checked_add(clock(time)?)?;
    Some((micros, self::zone(zone)?)).filter(|(micros, _)| !matches!(*micros, i64::MIN | i64::MAX))
}

/// Returns whether the text is positive infinity; `Some(false)` for negative infinity.
pub(super) fn infinity(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("infinity") {
        Some(true)
    } else if text.eq_ignore_ascii_case("-infinity") {
        Some(false)
    } else {
        None
    }
}

/// Splits off the suffix `BC`. Returns the text before it, and whether it was there.
fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

/// Returns the text after the name of a weekday.
fn weekday(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(' ')?;
    ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"].contains(&word).then_some(rest)
}

fn month(word: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(MONTHS).find(|(_, name)| *name == word).map(|(number, _)| number)
}

/// Parses a year of four digits or more; fewer digits may leave out the century. The year before 1 is 0, as in ISO 8601.
fn year(digits: &str, is_bc: bool) -> Option<i64> {
    let year = number(digits).filter(|year| digits.len() >= 4 && *year > 0)?;
    Some(if is_bc { 1 - year } else { year })
}

/// Parses a numeric date.
fn numeric_date(text: &str, is_bc: bool, settings: &Settings) -> Option<i64> {
    let separator = text.chars().find(|c| !c.is_ascii_digit()).filter(|c| matches!(c, '-' | '/' | '.'))?;
    let mut parts = text.splitn(3, separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if separator == '-' && first.len() >= 4 {
        return days_from_civil(year(first, is_bc)?, number(second)?, number(third)?);
    }
    let order = if separator == '.' { DateOrder::DayMonth } else { settings.date_order? };
    let (month, day) = match order {
        DateOrder::MonthDay => (first, second),
        DateOrder::DayMonth => (second, first),
    };
    days_from_civil(year(third, is_bc)?, number(month)?, number(day)?)
}

/// Parses a text of digits only, if it is short enough for a number.
fn number(digits: &str) -> Option<i64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

/// Parses `hours:minutes`, with optional seconds and their fraction.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = number(parts.next()?).filter(|hours| *hours <= 24)?;
    let minutes = number(parts.next()?).filter(|minutes| *minutes < 60)?;
    let micros = parts.next().map_or(Some(0), micros).filter(|micros| *micros < 60 * SECOND)?;
    Some((hours * 60 + minutes) * 60 * SECOND + micros).filter(|time| *time <= DAY)
}

/// Parses seconds with up to six decimals, as microseconds.
pub(super) fn micros(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').map_or((text, None), |(seconds, rest)| (seconds, Some(rest)));
    let fraction = match fraction {
        None => 0,
        Some(digits) => {
            let zeros = u32::try_from(6_usize.checked_sub(digits.len())?).ok()?;
            number(digits)? * 10_i64.pow(zeros)
        }
    };
    number(seconds)?.checked_mul(SECOND)?.checked_add(fraction)
}

/// Splits a text into a time and what follows it.
fn time_and_zone(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Parses `Z`, `+02`, `-0330`, `+00:53:28`, ` CEST`.
fn zone(text: &str) -> Option<Zone<'_>> {
    let text = text.trim_ascii();
    let (sign, digits) = match text.split_at_checked(1) {
        None => return Some(Zone::None),
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        Some(_) if text.eq_ignore_ascii_case("z") => return Some(Zone::East(0)),
        Some(_) => return text.bytes().all(|byte| byte.is_ascii_alphabetic()).then_some(Zone::Name(text)),
    };
    let mut parts = digits.splitn(3, ':');
    let (first, minutes, seconds) = (parts.next()?, parts.next(), parts.next());
    let (hours, minutes) = match minutes {
        None if first.len() == 4 => (first.get(..2)?, first.get(2..)?),
        minutes => (first, minutes.unwrap_or("0")),
    };
    let part = |digits: &str, end: i64| number(digits).filter(|part| *part < end);
    let seconds = (part(hours, 16)? * 60 + part(minutes, 60)?) * 60 + part(seconds.unwrap_or("0"), 60)?;
    let east = i32::try_from(seconds).ok()?;
    (east < OFFSETS).then_some(Zone::East(sign * east))
}

/// Returns the offset in seconds, positive to the east, of a time zone at a local time: the one with this abbreviation, or the
/// only one.
fn offset(local: i64, abbreviation: Option<&str>, zone: &TimeZone) -> Option<i32> {
    let time = datetime(local)?;
    let offset_is_right = |offset: &Offset| {
        let info = offset.to_timestamp(time).map(|timestamp| zone.to_offset_info(timestamp));
        info.is_ok_and(|info| {
            info.offset() == *offset && abbreviation.is_none_or(|wanted| info.abbreviation() == wanted)
        })
    };
    let offsets = match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
        AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
    };
    let mut right = offsets.into_iter().flatten().filter(offset_is_right);
    let offset = right.next()?;
    right.next().is_none().then(|| offset.seconds())
}

/// Converts a time to a year within the time zone database. The calendar has a period of 400 years, and the rules for the future
/// repeat with it.
fn datetime(local: i64) -> Option<civil::DateTime> {
    let (year, month, day) = civil_from_days(local.div_euclid(DAY));
    let year = if year > 9_600 { 9_200 + year % 400 } else { year };
    let seconds = local.rem_euclid(DAY) / SECOND;
    civil::DateTime::new(
        year.try_into().ok()?,
        month.try_into().ok()?,
        day.try_into().ok()?,
        (seconds / 3600).try_into().ok()?,
        (seconds / 60 % 60).try_into().ok()?,
        (seconds % 60).try_into().ok()?,
        0,
    )
    .ok()
}
