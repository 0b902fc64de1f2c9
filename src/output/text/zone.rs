//! The time zone of the times of day.

use std::fmt;
use std::ops::Range;

use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// A time zone in which times of day are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone(
    /// `None` for UTC.
    Option<TimeZone>,
);

/// How far local time is from UTC, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset(i32);

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(None);

    /// Returns the zone with this name in the IANA time zone database, such as `Europe/Berlin`.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self::of)
    }

    /// Returns the zone of this process: that of the environment variable `TZ`, or else that of the system.
    ///
    /// # Errors
    ///
    /// What is wrong with either.
    #[cfg(feature = "cli")]
    pub(crate) fn of_process() -> Result<Self, String> {
        TimeZone::try_system().map(Self::of).map_err(|error| error.to_string())
    }

    fn of(zone: TimeZone) -> Self {
        let is_utc = zone.is_unknown() || matches!(zone.iana_name(), Some("UTC" | "Etc/UTC"));
        Self((!is_utc).then_some(zone))
    }

    pub(super) fn offset(&self, ts: Timestamp) -> Offset {
        Offset(self.0.as_ref().map_or(0, |zone| zone.to_offset(instant(ts)).seconds()))
    }

    /// Returns the times around an instant, in nanoseconds since the epoch, in which the zone has the same offset and date.
    pub(super) fn day(&self, ts: Timestamp) -> Range<i64> {
        const DAY: i128 = 86_400_000_000_000;
        let offset = i128::from(self.offset(ts).0) * 1_000_000_000;
        let midnight = (i128::from(ts.as_nanos()) + offset).div_euclid(DAY) * DAY - offset;
        let (mut start, mut end) = (midnight, midnight + DAY);
        if let Some(zone) = &self.0 {
            // Those before an instant do not include it, those behind it do not either.
            let following = zone.following(instant(ts)).next().map(|change| change.timestamp());
            let at = instant(ts).checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(jiff::Timestamp::MAX);
            let preceding = zone.preceding(at).next().map(|change| change.timestamp());
            start = preceding.map_or(start, |change| start.max(change.as_nanosecond()));
            end = following.map_or(end, |change| end.min(change.as_nanosecond()));
        }
        clamp(start)..clamp(end)
    }

    /// Returns its name, with how far it is from UTC at an instant: `UTC`, `Europe/Berlin (UTC+02:00)`.
    pub(super) fn at(&self, ts: Timestamp) -> impl fmt::Display {
        ZoneAt(self, ts)
    }
}

impl Offset {
    /// Returns the instant at which a clock that shows UTC shows what a local one shows at `ts`.
    pub(super) fn local(self, ts: Timestamp) -> Timestamp {
        Timestamp::from_nanos(ts.as_nanos().saturating_add(i64::from(self.0) * 1_000_000_000), ts.precision())
    }
}

/// Instants that are not representable are those of no capture.
fn clamp(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

fn instant(ts: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(ts.as_nanos().into()).unwrap_or_default()
}

struct ZoneAt<'a>(&'a Zone, Timestamp);

impl fmt::Display for ZoneAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(zone, ts) = self;
        let Some(known) = &zone.0 else { return f.write_str("UTC") };
        let Offset(seconds) = zone.offset(*ts);
        let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
        let info = known.to_offset_info(instant(*ts));
        let name = known.iana_name().unwrap_or_else(|| info.abbreviation());
        write!(f, "{name} (UTC{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60)?;
        if seconds % 60 == 0 { f.write_str(")") } else { write!(f, ":{:02})", seconds % 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    fn at(text: &str) -> Timestamp {
        let nanos = text.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
        Timestamp::from_nanos(nanos.try_into().unwrap(), Precision::Micros)
    }

    #[test]
    fn a_zone_is_named_with_its_offset() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.at(at("2026-07-01T00:00:00Z")).to_string(), "Europe/Berlin (UTC+02:00)");
        assert_eq!(berlin.at(at("2026-12-01T00:00:00Z")).to_string(), "Europe/Berlin (UTC+01:00)");
        let newfoundland = Zone::named("America/St_Johns").unwrap();
        assert_eq!(newfoundland.at(at("2026-12-01T00:00:00Z")).to_string(), "America/St_Johns (UTC-03:30)");
        let posix = Zone::of(TimeZone::posix("<+0545>-5:45").unwrap());
        assert_eq!(posix.at(at("2026-12-01T00:00:00Z")).to_string(), "+0545 (UTC+05:45)");
        for utc in [Zone::UTC, Zone::named("Etc/UTC").unwrap(), Zone::named("UTC").unwrap(), Zone::default()] {
            assert_eq!(utc.at(at("2026-12-01T00:00:00Z")).to_string(), "UTC");
        }
        assert_eq!(Zone::named("Nowhere/Land"), None);
    }

    #[test]
    fn a_day_ends_at_local_midnight_and_where_clocks_change() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let day = |text| {
            let day = berlin.day(at(text));
            [day.start, day.end].map(|nanos| Timestamp::from_nanos(nanos, Precision::Micros).to_string())
        };
        assert_eq!(day("2026-07-01T12:00:00Z"), ["2026-06-30T22:00:00.000000Z", "2026-07-01T22:00:00.000000Z"]);
        assert_eq!(day("2026-03-29T00:59:59Z"), ["2026-03-28T23:00:00.000000Z", "2026-03-29T01:00:00.000000Z"]);
        assert_eq!(day("2026-03-29T01:00:00Z"), ["2026-03-29T01:00:00.000000Z", "2026-03-29T22:00:00.000000Z"]);
        let all = Zone::UTC.day(at("2026-03-29T01:00:00Z"));
        assert_eq!(all, at("2026-03-29T00:00:00Z").as_nanos()..at("2026-03-30T00:00:00Z").as_nanos());
        for nanos in [i64::MIN, i64::MAX] {
            let ts = Timestamp::from_nanos(nanos, Precision::Micros);
            for zone in [&Zone::UTC, &berlin] {
                assert!(zone.day(ts).start <= nanos && zone.day(ts).end >= nanos);
            }
        }
    }
}
