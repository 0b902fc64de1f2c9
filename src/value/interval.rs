//! Intervals: conversion from the binary format, and from every `IntervalStyle`, to ISO 8601 durations.

use super::datetime::{SECOND, push_fraction, push_time};
use super::datetime_text::{infinity, micros};
use super::settings::{IntervalStyle, Settings};
use super::short::Short;
use crate::reader::Reader;

/// An interval: three parts that cannot be converted into each other, each with its own sign.
///
/// Since PostgreSQL 17, the minimum and the maximum of all parts are the infinities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval {
    months: i32,
    days: i32,
    micros: i64,
}

const INFINITY: Interval = Interval { months: i32::MAX, days: i32::MAX, micros: i64::MAX };
const NEGATIVE_INFINITY: Interval = Interval { months: i32::MIN, days: i32::MIN, micros: i64::MIN };
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

impl Interval {
    pub(super) fn from_binary(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let micros = reader.i64("microseconds").ok()?;
        let (days, months) = (reader.i32("days").ok()?, reader.i32("months").ok()?);
        reader.is_empty().then_some(Self { months, days, micros })
    }
}

impl Interval {
    /// Formats the interval as an ISO 8601 duration, like the style iso_8601.
    pub(super) fn to_short(self) -> Short {
        let mut text = Short::new();
        match self {
            INFINITY => text.push_str("infinity"),
            NEGATIVE_INFINITY => text.push_str("-infinity"),
            Self { months: 0, days: 0, micros: 0 } => text.push_str("PT0S"),
            Self { months, days, micros } => {
                text.push(b'P');
                push_part(&mut text, (months / 12).into(), b'Y');
                push_part(&mut text, (months % 12).into(), b'M');
                push_part(&mut text, days.into(), b'D');
                if micros != 0 {
                    text.push(b'T');
                }
                push_part(&mut text, micros / HOUR, b'H');
                push_part(&mut text, micros % HOUR / MINUTE, b'M');
                let rest = micros % MINUTE;
                if rest != 0 {
                    push_signed(&mut text, rest < 0, rest.unsigned_abs() / SECOND.unsigned_abs());
                    push_fraction(&mut text, rest.unsigned_abs() % SECOND.unsigned_abs());
                    text.push(b'S');
                }
            }
        }
        text
    }

    /// Formats the interval like the style postgres: `1 year 2 mons -3 days +04:05:06`.
    pub(super) fn to_postgres(self) -> Short {
        let Self { months, days, micros } = self;
        if matches!(self, INFINITY | NEGATIVE_INFINITY) {
            return self.to_short();
        }
        let mut text = Short::new();
        let mut was_negative = false;
        for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
            if value != 0 {
                if text.as_str() != "" {
                    text.push(b' ');
                }
                if was_negative && value > 0 {
                    text.push(b'+');
                }
                push_signed(&mut text, value < 0, value.unsigned_abs().into());
                text.push(b' ');
                text.push_str(unit);
                if value != 1 {
                    text.push(b's');
                }
                was_negative = value < 0;
            }
        }
        let is_alone = text.as_str() == "";
        if micros != 0 || is_alone {
            if !is_alone {
                text.push(b' ');
            }
            match micros < 0 {
                true => text.push(b'-'),
                false if was_negative => text.push(b'+'),
                false => {}
            }
            push_time(&mut text, micros.unsigned_abs());
        }
        text
    }
}

fn push_part(text: &mut Short, value: i64, unit: u8) {
    if value != 0 {
        push_signed(text, value < 0, value.unsigned_abs());
        text.push(unit);
    }
}

fn push_signed(text: &mut Short, is_negative: bool, value: u64) {
    if is_negative {
        text.push(b'-');
    }
    text.push_number(value, 1);
}

/// Parses an interval in text format.
///
/// The style is determined from the form: `1 year 2 mons -3 days +04:05:06` (postgres), `@ 1 year 3 days 4 hours ago`
/// (postgres_verbose), `+1-2 -3 +4:05:06` (sql_standard), `P1Y2M-3DT4H5M6S` (iso_8601).
pub(super) fn from_text(text: &str, settings: &Settings) -> Option<Interval> {
    let text = text.trim_ascii();
    match infinity(text) {
        Some(true) => return Some(INFINITY),
        Some(false) => return Some(NEGATIVE_INFINITY),
        None => {}
    }
    let sum = match text.strip_prefix('P') {
        Some(parts) => designated(parts),
        None => words(text, settings),
    };
    sum?.interval()
}

/// The sums of an interval's parts. They cannot overflow, because each summand fits in 64 bits, and a text cannot have enough of
/// them.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    fn interval(self) -> Option<Interval> {
        Some(Interval {
            months: self.months.try_into().ok()?,
            days: self.days.try_into().ok()?,
            micros: self.micros.try_into().ok()?,
        })
    }
}

/// Parses `1Y2M-3DT4H5M6.7S`.
fn designated(parts: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (date, time) = parts.split_once('T').map_or((parts, None), |(date, time)| (date, Some(time)));
    if date.is_empty() && time.is_none_or(str::is_empty) {
        return None;
    }
    for (part, is_time) in [(date, false), (time.unwrap_or_default(), true)] {
        let mut rest = part;
        while !rest.is_empty() {
            let (value, behind) = rest.split_at_checked(rest.find(|c: char| c.is_ascii_alphabetic())?)?;
            let (unit, behind) = behind.split_at_checked(1)?;
            rest = behind;
            match (unit, is_time) {
                ("Y", false) => sum.months += 12 * whole(value)?,
                ("M", false) => sum.months += whole(value)?,
                ("W", false) => sum.days += 7 * whole(value)?,
                ("D", false) => sum.days += whole(value)?,
                ("H", true) => sum.micros += i128::from(HOUR) * whole(value)?,
                ("M", true) => sum.micros += i128::from(MINUTE) * whole(value)?,
                ("S", true) => sum.micros += seconds(value)?,
                _ => return None,
            }
        }
    }
    Some(sum)
}

/// Parses the other styles.
fn words(text: &str, settings: &Settings) -> Option<Sum> {
    let (text, is_ago) = text.strip_suffix(" ago").map_or((text, false), |text| (text, true));
    let mut sum = Sum::default();
    let mut words = text.strip_prefix('@').unwrap_or(text).split_ascii_whitespace().peekable();
    words.peek()?;
    let mut negative_days = false;
    while let Some(word) = words.next() {
        if word.contains(':') {
            let is_signed = word.starts_with(['+', '-']);
            let mut time = clock(word)?;
            if negative_days && !is_signed {
                // In the style sql_standard, a single sign applies to all parts, if all have the same.
                match settings.interval_style? {
                    IntervalStyle::SqlStandard => time = -time,
                    IntervalStyle::Other => {}
                }
            }
            sum.micros += time;
            return words.next().is_none().then_some(sum).filter(|_| !is_ago);
        }
        let next = words.peek().copied();
        match next.filter(|next| next.starts_with(|c: char| c.is_ascii_alphabetic())) {
            Some(unit) => {
                words.next();
                // In that style, a sign at the beginning would also apply to parts without a sign.
                if word.starts_with('-') && settings.interval_style == Some(IntervalStyle::SqlStandard) {
                    return None;
                }
                add(&mut sum, word, unit)?;
            }
            None => match word.rfind('-').filter(|at| *at > 0) {
                Some(hyphen) => sum.months += years_and_months(word, hyphen)?,
                // A number without a unit: days before a time, otherwise invalid.
                None if next.is_some_and(|next| next.contains(':')) => {
                    sum.days += whole(word)?;
                    negative_days = word.starts_with('-');
                }
                None => return (next.is_none() && word == "0").then_some(sum),
            },
        }
    }
    if is_ago {
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    Some(sum)
}

/// Adds a part such as `-3 days`.
fn add(sum: &mut Sum, value: &str, unit: &str) -> Option<()> {
    match unit.strip_suffix('s').unwrap_or(unit) {
        "year" => sum.months += 12 * whole(value)?,
        "mon" | "month" => sum.months += whole(value)?,
        "week" => sum.days += 7 * whole(value)?,
        "day" => sum.days += whole(value)?,
        "hour" => sum.micros += i128::from(HOUR) * whole(value)?,
        "min" | "minute" => sum.micros += i128::from(MINUTE) * whole(value)?,
        "sec" | "second" => sum.micros += seconds(value)?,
        _ => return None,
    }
    Some(())
}

/// Parses the months of `+1-2`, whose sign applies to both numbers.
fn years_and_months(word: &str, hyphen: usize) -> Option<i128> {
    let (years, months) = (word.get(..hyphen)?, word.get(hyphen + 1..)?);
    let (sign, years) = signed(years);
    Some(sign * (12 * digits(years)? + digits(months)?))
}

/// Parses the microseconds of `-2562047788:00:54.775808`.
fn clock(word: &str) -> Option<i128> {
    let (sign, word) = signed(word);
    let mut parts = word.splitn(3, ':');
    let hours = digits(parts.next()?)?;
    let minutes = digits(parts.next()?).filter(|minutes| *minutes < 60)?;
    let micros = parts.next().map_or(Some(0), micros).filter(|micros| *micros < MINUTE)?;
    Some(sign * (i128::from(HOUR) * hours + i128::from(MINUTE) * minutes + i128::from(micros)))
}

fn seconds(word: &str) -> Option<i128> {
    let (sign, word) = signed(word);
    Some(sign * i128::from(micros(word)?))
}

fn whole(word: &str) -> Option<i128> {
    let (sign, word) = signed(word);
    Some(sign * digits(word)?)
}

fn signed(word: &str) -> (i128, &str) {
    match word.strip_prefix('-') {
        Some(word) => (-1, word),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    }
}

fn digits(word: &str) -> Option<i128> {
    let number = word.parse::<u64>().ok().filter(|_| !word.starts_with('+'));
    number.map(Into::into)
}
