//! Numbers as people read them: three digits that count, and a unit. The exact ones are in the JSON form.

use crate::record::Outcome;
use crate::time::Timestamp;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Formats a count: `9,999`, `12.3k`, `1.23M`.
pub(in crate::output) fn count(value: u64) -> String {
    match value {
        0..1_000 => value.to_string(),
        1_000..10_000 => format!("{},{:03}", value / 1_000, value % 1_000),
        _ => scaled(value as f64, 1_000.0, &["", "k", "M", "G", "T", "P", "E"]),
    }
}

/// Formats a count that is left out where it is 0.
pub(in crate::output) fn some_count(value: u64) -> String {
    if value == 0 { String::new() } else { count(value) }
}

/// Formats a count of something: `1 request`, `2 requests`.
pub(in crate::output) fn counted(value: u64, unit: &str) -> String {
    format!("{} {unit}{}", count(value), if value == 1 { "" } else { "s" })
}

/// Formats bytes: `87 B`, `1.23 MiB`.
pub(in crate::output) fn bytes(value: u64) -> String {
    scaled(value as f64, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// Formats bytes that are left out where there are none.
pub(in crate::output) fn some_bytes(value: u64) -> String {
    if value == 0 { String::new() } else { bytes(value) }
}

/// Formats a time in microseconds: `87µs`, `1.23ms`, `12.3s`, `4m05s`, `3h07m`, `2d04h`.
pub(in crate::output) fn time(us: u64) -> String {
    // What would be rounded up to the next unit is of that one.
    match us {
        0..SECOND => scaled(us as f64, 1_000.0, &["µs", "ms", "s"]),
        SECOND..59_950_000 => scaled(us as f64 / SECOND as f64, 1_000.0, &["s"]),
        59_950_000..HOUR => format!("{}m{:02}s", us.max(MINUTE) / MINUTE, us.max(MINUTE) % MINUTE / SECOND),
        HOUR..DAY => format!("{}h{:02}m", us / HOUR, us % HOUR / MINUTE),
        _ => format!("{}d{:02}h", us / DAY, us % DAY / HOUR),
    }
}

/// Formats a time that is left out where there is none.
pub(in crate::output) fn some_time(us: u64) -> String {
    if us == 0 { String::new() } else { time(us) }
}

/// Formats a time that may be negative, with its sign.
pub(in crate::output) fn change(us: f64) -> String {
    let sign = if us < 0.0 { "-" } else { "+" };
    format!("{sign}{}", time(us.abs() as u64))
}

/// Formats a number of something a second: `0.25`, `12.3`, `12.3k`.
pub(in crate::output) fn rate(per_second: f64) -> String {
    match per_second {
        _ if !per_second.is_finite() || per_second <= 0.0 => "0".to_owned(),
        _ if per_second < 0.005 => "<0.01".to_owned(),
        _ => scaled(per_second, 1_000.0, &["", "k", "M", "G", "T", "P", "E"]),
    }
}

/// Returns how many a second so many are in a time.
pub(in crate::output) fn per_second(count: u64, us: u64) -> f64 {
    if us == 0 { 0.0 } else { count as f64 * SECOND as f64 / us as f64 }
}

/// Formats a share in percent: `38.2%`, `0.4%`, `<0.1%`.
pub(in crate::output) fn percent(share: f64) -> String {
    match share {
        _ if !share.is_finite() || share <= 0.0 => "0%".to_owned(),
        _ if share < 0.05 => "<0.1%".to_owned(),
        _ if share >= 99.95 => format!("{share:.0}%"),
        _ => format!("{share:.1}%"),
    }
}

/// Returns how many percent of a whole a part is.
pub(in crate::output) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Formats the date and time of day, in UTC, to the second.
pub(in crate::output) fn date_time(ts: Timestamp) -> String {
    format!("{} {}", date(ts), within(ts, 11..19))
}

/// Formats the time of day, in UTC, to the millisecond.
pub(in crate::output) fn time_of_day(ts: Timestamp) -> String {
    within(ts, 11..23)
}

/// Formats the date, in UTC.
pub(in crate::output) fn date(ts: Timestamp) -> String {
    within(ts, 0..10)
}

fn within(ts: Timestamp, range: std::ops::Range<usize>) -> String {
    ts.rfc3339().as_str().get(range).unwrap_or_default().to_owned()
}

/// Returns how a request ended, where it is not as it should be.
pub(in crate::output) const fn bad_end(outcome: Option<Outcome>) -> Option<&'static str> {
    match outcome {
        Some(Outcome::Error) => Some("failed"),
        Some(Outcome::Canceled) => Some("canceled"),
        Some(Outcome::Skipped) => Some("skipped"),
        Some(Outcome::Aborted) => Some("aborted"),
        Some(Outcome::Incomplete) => Some("no end captured"),
        Some(Outcome::Ok | Outcome::Suspended | Outcome::Running) | None => None,
    }
}

/// Formats three digits that count, in the first unit of which there are less than `step`.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next();
    // 999.5 would be written as 1000.
    while value >= step - 0.5
        && let Some(next) = units.next()
    {
        value /= step;
        unit = Some(next);
    }
    let unit = unit.copied().unwrap_or_default();
    if value.fract() == 0.0 && value < step && (unit == "µs" || unit == " B" || unit.is_empty()) {
        format!("{value}{unit}")
    } else if value < 9.995 {
        format!("{value:.2}{unit}")
    } else if value < 99.95 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (value, wanted) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (9_999, "9,999"),
            (10_000, "10.0k"),
            (12_345, "12.3k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(count(value), wanted);
        }
        for (value, wanted) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (1_290_000, "1.23 MiB"),
            (50_000_000, "47.7 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(value), wanted);
        }
        assert_eq!(counted(1, "request"), "1 request");
        assert_eq!(counted(0, "request"), "0 requests");
    }

    #[test]
    fn times_have_the_unit_that_fits_them() {
        for (us, wanted) in [
            (0, "0µs"),
            (87, "87µs"),
            (999, "999µs"),
            (1_000, "1.00ms"),
            (1_234, "1.23ms"),
            (12_345, "12.3ms"),
            (999_499, "999ms"),
            (999_999, "1.00s"),
            (59_949_999, "59.9s"),
            (59_950_000, "1m00s"),
            (245_000_000, "4m05s"),
            (3_599_999_999, "59m59s"),
            (11_220_000_000, "3h07m"),
            (187_200_000_000, "2d04h"),
            (u64::MAX, "213503982d08h"),
        ] {
            assert_eq!(time(us), wanted);
        }
        assert_eq!(change(-1_234.0), "-1.23ms");
        assert_eq!(change(f64::NAN), "+0µs");
    }

    #[test]
    fn a_share_and_a_rate_are_never_more_exact_than_they_look() {
        for (share, wanted) in [(0.0, "0%"), (0.01, "<0.1%"), (38.24, "38.2%"), (99.97, "100%"), (f64::NAN, "0%")] {
            assert_eq!(percent(share), wanted);
        }
        for (per_second, wanted) in
            [(0.0, "0"), (0.001, "<0.01"), (0.25, "0.25"), (12.34, "12.3"), (12_340.0, "12.3k"), (2.0, "2")]
        {
            assert_eq!(rate(per_second), wanted);
        }
        assert_eq!(per_second(10, 0), 0.0);
        assert_eq!(share(1, 0), 0.0);
    }
}
