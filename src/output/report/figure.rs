//! Figures as a person reads them, with the exact value beside it: `<data value="1234" title="1,234 µs">1.23 ms</data>`.

use std::borrow::Borrow;
use std::fmt;

use askama::filters::HtmlSafe;

use crate::replication::Lsn;
use crate::session::execution::Outcome;
use crate::time::Timestamp;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 86_400.0;

/// A count, as it is: `1,234,567`.
pub(super) fn count(value: impl Borrow<u64>) -> Count {
    Count(*value.borrow())
}

/// Microseconds: `1.23 ms`.
pub(super) fn time(micros: impl Borrow<u64>) -> Time {
    Time(*micros.borrow())
}

/// Microseconds, which may be unknown.
pub(super) fn maybe_time(micros: &Option<u64>) -> Maybe<Time> {
    Maybe(micros.map(Time))
}

/// Bytes: `1.23 MiB`.
pub(super) fn bytes(value: impl Borrow<u64>) -> Bytes {
    Bytes(*value.borrow())
}

/// Bytes, which may be unknown.
pub(super) fn maybe_bytes(value: &Option<u64>) -> Maybe<Bytes> {
    Maybe(value.map(Bytes))
}

/// A position in the write-ahead log, which may be unknown.
pub(super) fn maybe_lsn(lsn: &Option<Lsn>) -> Maybe<Lsn> {
    Maybe(*lsn)
}

/// Bytes a second: `1.23 MiB/s`.
pub(super) fn byte_rate(per_second: impl Borrow<f64>) -> ByteRate {
    ByteRate(*per_second.borrow())
}

/// A count, which may be unknown.
pub(super) fn maybe_count(value: &Option<u64>) -> Maybe<Count> {
    Maybe(value.map(Count))
}

/// Percent: `12.3 %`.
pub(super) fn percent(value: impl Borrow<f64>) -> Rounded {
    Rounded { value: *value.borrow(), unit: " %", has_sign: false }
}

/// How many a second: `12.3`.
pub(super) fn rate(value: impl Borrow<f64>) -> Rounded {
    Rounded { value: *value.borrow(), unit: "", has_sign: false }
}

/// A probability: `0.98`.
pub(super) fn probability(value: &Option<f64>) -> Maybe<Rounded> {
    Maybe(value.map(|value| Rounded { value, unit: "", has_sign: false }))
}

/// How many more in percent: `+12.3 %`; unknown where there were none before.
pub(super) fn growth(before: f64, after: f64) -> Maybe<Rounded> {
    let value = (after / before - 1.0) * 100.0;
    Maybe(value.is_finite().then_some(Rounded { value, unit: " %", has_sign: true }))
}

/// The share of a part in percent; 0 of nothing.
pub(super) fn share(part: impl Borrow<u64>, whole: impl Borrow<u64>) -> Rounded {
    let (part, whole) = (*part.borrow(), *whole.borrow());
    percent(if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 })
}

/// A share as a bar, for the eye alone: the figure is beside it.
pub(super) fn bar(part: impl Borrow<u64>, whole: impl Borrow<u64>) -> Bar {
    Bar(share(part, whole).value)
}

/// Percent as a bar.
pub(super) fn bar_of(percent: impl Borrow<f64>) -> Bar {
    Bar(*percent.borrow())
}

/// The mean of so many; nothing where there are none.
pub(super) fn mean(sum: impl Borrow<u64>, count: impl Borrow<u64>) -> Time {
    Time(sum.borrow().checked_div(*count.borrow()).unwrap_or_default())
}

/// How many a second, of so many microseconds; 0 where no time passed.
pub(super) fn per_second(count: impl Borrow<u64>, micros: impl Borrow<u64>) -> Rounded {
    rate(a_second(count, micros))
}

fn a_second(count: impl Borrow<u64>, micros: impl Borrow<u64>) -> f64 {
    let (count, micros) = (*count.borrow(), *micros.borrow());
    if micros == 0 { 0.0 } else { count as f64 * 1e6 / micros as f64 }
}

/// How many more a second than before, in percent.
pub(super) fn rate_growth(before: impl Borrow<(u64, u64)>, after: impl Borrow<(u64, u64)>) -> Maybe<Rounded> {
    let (before, after) = (before.borrow(), after.borrow());
    growth(a_second(before.0, before.1), a_second(after.0, after.1))
}

/// An outcome as it is written.
pub(super) fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::Canceled => "canceled",
        Outcome::Skipped => "skipped",
        Outcome::Suspended => "suspended",
        Outcome::Aborted => "aborted",
        Outcome::Incomplete => "incomplete",
        Outcome::Running => "running",
    }
}

/// A change of `exec_us` a second of the capture: `+12.3 ms/s`.
pub(super) fn change(micros_per_second: impl Borrow<f64>) -> Change {
    Change(*micros_per_second.borrow())
}

/// A count with commas.
#[derive(Clone, Copy)]
pub(super) struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl HtmlSafe for Count {}

/// A time in the unit that suits it.
#[derive(Clone, Copy)]
pub(super) struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(micros) = *self;
        if micros == 0 {
            return f.write_str("0");
        }
        write!(f, r#"<data value="{micros}" title="{} µs">{}</data>"#, Count(micros), Plain(micros))
    }
}

impl HtmlSafe for Time {}

/// A time as text, without its exact value.
pub(super) struct Plain(pub(super) u64);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 as f64 / 1e6;
        match self.0 {
            ..1_000 => write!(f, "{} µs", self.0),
            1_000..999_500 => write!(f, "{} ms", Significant(seconds * 1e3)),
            999_500..59_950_000 => write!(f, "{} s", Significant(seconds)),
            _ => {
                // Two units: the second is what is left of the first, rounded once.
                let (large, small, names) = match seconds {
                    ..3_599.5 => (MINUTE, 1.0, ["min", "s"]),
                    ..86_370.0 => (HOUR, MINUTE, ["h", "min"]),
                    _ => (DAY, HOUR, ["d", "h"]),
                };
                let smalls = (seconds / small).round();
                let whole = (smalls * small / large).floor();
                let left = smalls - whole * large / small;
                let [large, small] = names;
                write!(f, "{} {large}", Count(whole as u64))?;
                if left > 0.0 { write!(f, " {left} {small}") } else { Ok(()) }
            }
        }
    }
}

impl HtmlSafe for Plain {}

/// A number, not below 0, with three digits.
struct Significant(f64);

impl fmt::Display for Significant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.0 => f.write_str("0"),
            ..0.01 => write!(f, "{:.4}", self.0),
            ..9.995 => write!(f, "{:.2}", self.0),
            ..99.95 => write!(f, "{:.1}", self.0),
            ..1e15 => Count(self.0.round() as u64).fmt(f),
            _ => write!(f, "{:.2e}", self.0),
        }
    }
}

/// Bytes in the unit that suits them.
#[derive(Clone, Copy)]
pub(super) struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        if bytes == 0 {
            return f.write_str("0");
        }
        write!(f, r#"<data value="{bytes}" title="{} bytes">{}</data>"#, Count(bytes), Binary(bytes as f64))
    }
}

impl HtmlSafe for Bytes {}

/// Bytes a second.
#[derive(Clone, Copy)]
pub(super) struct ByteRate(f64);

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"<data value="{}">{}/s</data>"#, self.0, Binary(self.0.max(0.0)))
    }
}

impl HtmlSafe for ByteRate {}

/// Bytes as text, without their exact value.
pub(super) struct Binary(pub(super) f64);

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            if value < 999.5 {
                break;
            }
            value /= 1_024.0;
            unit = larger;
        }
        if unit == "B" { write!(f, "{value:.0} B") } else { write!(f, "{} {unit}", Significant(value)) }
    }
}

impl HtmlSafe for Lsn {}

/// A number that is not whole.
#[derive(Clone, Copy)]
pub(super) struct Rounded {
    value: f64,
    unit: &'static str,
    has_sign: bool,
}

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, unit, has_sign } = *self;
        let sign = match value {
            ..0.0 => "−",
            _ if has_sign && value > 0.0 => "+",
            _ => "",
        };
        write!(f, r#"<data value="{value}">{sign}{}{unit}</data>"#, Significant(value.abs()))
    }
}

impl HtmlSafe for Rounded {}

/// A bar of so many percent.
#[derive(Clone, Copy)]
pub(super) struct Bar(f64);

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.0.is_finite() { self.0.clamp(0.0, 100.0) } else { 0.0 };
        f.write_str(r#"<svg class="share" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">"#)?;
        write!(f, r#"<rect width="{width:.2}" height="1"/></svg>"#)
    }
}

impl HtmlSafe for Bar {}

/// A difference of times.
#[derive(Clone, Copy)]
pub(super) struct Change(f64);

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0.0 { "−" } else { "+" };
        let micros = self.0.abs().round() as u64;
        write!(f, r#"<data value="{0}" title="{0} µs/s">{sign}{1}/s</data>"#, self.0, Plain(micros))
    }
}

impl HtmlSafe for Change {}

/// A figure that may be unknown.
#[derive(Clone, Copy)]
pub(super) struct Maybe<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(r#"<span class="unknown" title="not known">–</span>"#),
        }
    }
}

impl<T: HtmlSafe> HtmlSafe for Maybe<T> {}

/// An instant: the time of day where the capture is of one day (in UTC), else the date as well.
pub(super) struct Instant {
    pub(super) at: Timestamp,
    pub(super) has_date: bool,
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.at.rfc3339();
        let exact = exact.as_str();
        // `2026-11-22T21:45:59.889145Z`, to the millisecond.
        let (date, time) = exact.split_once('T').unwrap_or_default();
        let time = time.get(..12).unwrap_or(time);
        write!(f, r#"<time datetime="{exact}" title="{exact}">"#)?;
        if self.has_date {
            write!(f, "{date} ")?;
        }
        write!(f, "{time}</time>")
    }
}

impl HtmlSafe for Instant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_unit_that_suits_it() {
        for (micros, shown) in [
            (1, "1 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (12_345, "12.3 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (59_949_999, "59.9 s"),
            (60_000_000, "1 min"),
            (3_599_400_000, "59 min 59 s"),
            (3_600_000_000, "1 h"),
            (7_260_000_000, "2 h 1 min"),
            (86_400_000_000, "1 d"),
            (900_000_000_000, "10 d 10 h"),
        ] {
            assert_eq!(Plain(micros).to_string(), shown, "{micros}");
        }
        assert_eq!(time(12_345).to_string(), r#"<data value="12345" title="12,345 µs">12.3 ms</data>"#);
        assert!(!Plain(u64::MAX).to_string().is_empty());
    }

    #[test]
    fn other_figures_keep_their_exact_value() {
        assert_eq!(count(1_234_567).to_string(), "1,234,567");
        assert_eq!(count(u64::MAX).to_string(), "18,446,744,073,709,551,615");
        assert_eq!(bytes(999).to_string(), r#"<data value="999" title="999 bytes">999 B</data>"#);
        assert_eq!(bytes(1_572_864).to_string(), r#"<data value="1572864" title="1,572,864 bytes">1.50 MiB</data>"#);
        assert_eq!(percent(12.345).to_string(), r#"<data value="12.345">12.3 %</data>"#);
        assert_eq!(change(-1_500.0).to_string(), r#"<data value="-1500" title="-1500 µs/s">−1.50 ms/s</data>"#);
        assert_eq!(growth(10.0, 15.0).to_string(), r#"<data value="50">+50.0 %</data>"#);
        assert_eq!(growth(10.0, 5.0).to_string(), r#"<data value="-50">−50.0 %</data>"#);
        assert!(growth(0.0, 15.0).to_string().contains("not known"));
        assert_eq!(maybe_time(&Some(5)).to_string(), time(5).to_string());
    }
}
