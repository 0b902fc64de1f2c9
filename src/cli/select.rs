//! What the values of options that select among lines can be.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use regex::bytes::Regex;

use super::args::{Args, parse_duration};
use crate::dissector::Clients;
use crate::time::Timestamp;

/// A time of the capture, as a user writes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct When {
    text: String,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// In nanoseconds since the epoch.
    Instant(i64),
    /// Of the day of the first packet, in local time or in UTC.
    TimeOfDay { time: Time, is_utc: bool },
    /// After the first packet.
    Offset(Duration),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl When {
    /// Returns the times from one to another, both included, in nanoseconds since the epoch, in a capture with this first packet;
    /// `None` if neither is given.
    pub(crate) fn range(since: Option<&Self>, until: Option<&Self>, first: Timestamp) -> Option<RangeInclusive<i64>> {
        if since.is_none() && until.is_none() {
            return None;
        }
        let start = since.map(|since| since.nanos(first, None));
        // A time of day that would be over before it can begin is that of the next day.
        let until = until.map(|until| until.nanos(first, Some(start.unwrap_or_else(|| first.as_nanos()))));
        Some(start.unwrap_or(i64::MIN)..=until.unwrap_or(i64::MAX))
    }

    /// Returns whether it is before another in every capture.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        match (self.at, other.at) {
            (At::Instant(own), At::Instant(other)) => own < other,
            (At::Offset(own), At::Offset(other)) => own < other,
            _ => false,
        }
    }

    /// Returns the time in nanoseconds since the epoch; a time of day at `earliest` or later.
    fn nanos(&self, first: Timestamp, earliest: Option<i64>) -> i64 {
        match self.at {
            At::Instant(nanos) => nanos,
            At::Offset(offset) => {
                let offset = i64::try_from(offset.as_nanos()).unwrap_or(i64::MAX);
                first.as_nanos().saturating_add(offset)
            }
            At::TimeOfDay { time, is_utc } => {
                let zone = if is_utc { TimeZone::UTC } else { TimeZone::system() };
                let first = jiff::Timestamp::from_nanosecond(first.as_nanos().into()).unwrap_or_default();
                let date = first.to_zoned(zone.clone()).date();
                let on = |date: jiff::civil::Date| date.to_datetime(time).to_zoned(zone.clone()).ok().and_then(nanos);
                match on(date) {
                    Some(found) if earliest.is_some_and(|earliest| found < earliest) => {
                        date.tomorrow().ok().and_then(on).unwrap_or(i64::MAX)
                    }
                    found => found.unwrap_or(i64::MAX),
                }
            }
        }
    }
}

fn nanos(zoned: Zoned) -> Option<i64> {
    i64::try_from(zoned.timestamp().as_nanosecond()).ok()
}

const NO_TIME: &str = "expected a time, such as 2026-11-27T04:10:05Z, \"2026-11-27 04:10\" or 04:10:05 (local time; UTC with Z), \
                       or one after the first packet, such as 30s";

pub(super) fn parse_when(text: &str) -> Result<When, String> {
    if text.starts_with('-') {
        return Err("there is nothing before the first packet: expected a time after it, such as 30s".to_owned());
    }
    let at = if text.contains([':', '-']) {
        parse_time(text).ok_or(NO_TIME)?
    } else {
        let is_number = text.starts_with(|c: char| c == '+' || c == '.' || c.is_ascii_digit());
        At::Offset(if is_number {
            parse_duration(text.strip_prefix('+').unwrap_or(text))?
        } else {
            return Err(NO_TIME.to_owned());
        })
    };
    Ok(When { text: text.to_owned(), at })
}

fn parse_time(text: &str) -> Option<At> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(timestamp.as_nanosecond()).ok().map(At::Instant);
    }
    let (local, is_utc) = match text.strip_suffix(['Z', 'z']) {
        Some(text) => (text, true),
        None => (text, false),
    };
    // A time of day may begin like a date, and a date is midnight.
    if local.contains('-') {
        let zone = if is_utc { TimeZone::UTC } else { TimeZone::system() };
        let zoned = local.parse::<DateTime>().ok()?.to_zoned(zone).ok()?;
        return nanos(zoned).map(At::Instant);
    }
    local.parse().ok().map(|time| At::TimeOfDay { time, is_utc })
}

pub(in crate::cli) fn parse_clients(text: &str) -> Result<Clients, String> {
    let wanted = "expected an address, with a port or without, or a network: 10.0.0.1, 10.0.0.1:40000, 10.0.0.0/8, ::1, \
                  [::1]:40000, fe80::/10";
    let bits = |addr: IpAddr| if addr.is_ipv4() { Ipv4Addr::BITS as u8 } else { Ipv6Addr::BITS as u8 };
    let parse = || {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(addr) = bare.parse::<IpAddr>().map(|addr| addr.to_canonical()) {
            return Some(Clients { addr, prefix: bits(addr), port: None });
        }
        if let Ok(end) = text.parse::<SocketAddr>() {
            let addr = end.ip().to_canonical();
            return Some(Clients { addr, prefix: bits(addr), port: Some(end.port()) });
        }
        let (addr, prefix) = text.split_once('/')?;
        let (addr, prefix) = (addr.parse().ok()?, prefix.parse().ok()?);
        (prefix <= bits(addr)).then_some(Clients { addr, prefix, port: None })
    };
    parse().ok_or_else(|| wanted.to_owned())
}

/// Which poolers there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pooler {
    /// Those that are found.
    Auto,
    /// Those on these addresses.
    At(Clients),
}

pub(in crate::cli) fn parse_pooler(text: &str) -> Result<Pooler, String> {
    if text == "auto" { Ok(Pooler::Auto) } else { parse_clients(text).map(Pooler::At) }
}

pub(in crate::cli) fn parse_shard(text: &str) -> Result<(u32, u32), String> {
    let parse = || {
        let (index, count) = text.split_once('/')?;
        let (index, count) = (index.parse().ok()?, count.parse().ok()?);
        (index < count).then_some((index, count))
    };
    parse().ok_or_else(|| "expected an index, from 0, and the number of parts: 0/4 to 3/4".to_owned())
}

pub(super) fn parse_regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

pub(super) fn parse_fingerprint(text: &str) -> Result<u64, String> {
    let is_one = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok().filter(|_| is_one);
    number.ok_or_else(|| "expected 16 hexadecimal digits, as the field fingerprint has them".to_owned())
}

/// Returns the options that leave out a part of the capture, as a user writes them.
pub(super) fn selection(args: &Args) -> Vec<String> {
    fn list<T: ToString>(option: &'static str, values: &[T]) -> Option<(&'static str, String)> {
        let values: Vec<_> = values.iter().map(T::to_string).collect();
        (!values.is_empty()).then(|| (option, values.join(",")))
    }
    let fingerprints: Vec<_> = args.fingerprint.iter().map(|fingerprint| format!("{fingerprint:016x}")).collect();
    let options = [
        list("--conn", &args.conn),
        list("--client", &args.client),
        list("--user", &args.user),
        list("--database", &args.database),
        list("--application", &args.application),
        args.since.as_ref().map(|since| ("--since", since.to_string())),
        args.until.as_ref().map(|until| ("--until", until.to_string())),
        args.errors.then(|| ("--errors", String::new())),
        args.min_duration.map(|duration| ("--min-duration", format!("{duration:?}"))),
        args.min_rows.map(|rows| ("--min-rows", rows.to_string())),
        args.sql.as_ref().map(|regex| ("--sql", format!("{:?}", regex.as_str()))),
        list("--fingerprint", &fingerprints),
        args.filter.as_ref().map(|filter| ("-f", format!("{filter:?}"))),
    ];
    let options = options.into_iter().flatten();
    options.map(|(option, value)| format!("{option} {value}").trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    const FIRST: &str = "2026-11-27T04:10:00Z";

    fn instant(text: &str) -> i64 {
        i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap()
    }

    fn range(since: &str, until: &str) -> (i64, i64) {
        let when = |text: &str| (!text.is_empty()).then(|| parse_when(text).unwrap());
        let first = Timestamp::from_nanos(instant(FIRST), Precision::Micros);
        let range = When::range(when(since).as_ref(), when(until).as_ref(), first).unwrap();
        (*range.start(), *range.end())
    }

    #[test]
    fn times_are_instants_times_of_day_or_after_the_first_packet() {
        for (text, wanted) in [
            ("2026-11-27T04:10:05Z", "2026-11-27T04:10:05Z"),
            ("2026-11-27T04:10:05.123456789Z", "2026-11-27T04:10:05.123456789Z"),
            ("2026-11-27 05:10:05+01:00", "2026-11-27T04:10:05Z"),
            ("2026-11-27 04:10Z", "2026-11-27T04:10:00Z"),
            ("2026-11-26Z", "2026-11-26T00:00:00Z"),
            ("04:10:05Z", "2026-11-27T04:10:05Z"),
            ("04:09z", "2026-11-27T04:09:00Z"),
            ("04:10:05.5Z", "2026-11-27T04:10:05.5Z"),
            ("30s", "2026-11-27T04:10:30Z"),
            ("+1.5h", "2026-11-27T05:40:00Z"),
        ] {
            assert_eq!(range(text, "").0, instant(wanted), "{text}");
        }
        for wrong in ["", "-30s", "30", "now", "25:00", "2026-13-01", "04:10:05 UTC", "10", "+", "2026-11-27T04:10:05X"]
        {
            assert!(parse_when(wrong).is_err(), "{wrong}");
        }
        assert!(parse_when("30").unwrap_err().contains("for milliseconds write 30ms"));
    }

    #[test]
    fn a_time_of_day_that_would_be_over_is_of_the_next_day() {
        assert_eq!(range("23:50Z", "00:10Z"), (instant("2026-11-27T23:50:00Z"), instant("2026-11-28T00:10:00Z")));
        assert_eq!(range("", "04:09Z").1, instant("2026-11-28T04:09:00Z"));
        assert_eq!(range("", "04:10Z"), (i64::MIN, instant(FIRST)));
        assert_eq!(range("04:00Z", "04:05Z"), (instant("2026-11-27T04:00:00Z"), instant("2026-11-27T04:05:00Z")));
    }

    #[test]
    fn clients_are_addresses_or_networks() {
        for text in ["10.0.0.1", "10.0.0.1:40000", "10.0.0.0/8", "::1", "[::1]:40000", "fe80::/10", "0.0.0.0/0"] {
            assert_eq!(parse_clients(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_clients("[::1]").unwrap().to_string(), "::1");
        assert_eq!(parse_clients("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1");
        assert_eq!(parse_clients("[::ffff:10.0.0.1]:40000").unwrap().to_string(), "10.0.0.1:40000");
        for wrong in
            ["", "localhost", "10.0.0", "10.0.0.0/33", "10.0.0.1:70000", "fe80::/129", "10.0.0.0/", ":5432", "[::1"]
        {
            assert!(parse_clients(wrong).unwrap_err().contains("expected an address"), "{wrong}");
        }
    }

    #[test]
    fn fingerprints_have_sixteen_digits() {
        assert_eq!(parse_fingerprint("00000000000000fF"), Ok(255));
        for wrong in ["", "ff", "+0000000000000ff", "0x000000000000ff", "00000000000000fff", "000000000000000g"] {
            assert!(parse_fingerprint(wrong).is_err(), "{wrong}");
        }
    }
}
