//! The session parameters that affect how values are written.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::encoding::Encoding;

/// The session parameters on which the decoding of values depends: `client_encoding`, `DateStyle`, `IntervalStyle`, `TimeZone`,
/// and `server_version`.
///
/// A server reports all of them when a session begins, and after each change. If that was not captured, a value is decoded as far
/// as its form is unambiguous. (Since PostgreSQL 14, a change is reported just before ReadyForQuery: rows between a SET and that,
/// in one query, are decoded with the earlier settings.)
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Identifies this state among all that were ever created; 0 if nothing was set.
    state: u64,
    pub(super) encoding: Encoding,
    pub(super) date_order: Option<DateOrder>,
    pub(super) interval_style: Option<IntervalStyle>,
    pub(super) time_zone: Option<TimeZone>,
    pub(super) server_major: Option<u32>,
}

/// The order of month and day in a date with the year last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateOrder {
    MonthDay,
    DayMonth,
}

/// Whether the sign of an interval applies to all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntervalStyle {
    SqlStandard,
    Other,
}

/// The bundled time zone database. That of the machine on which the capture is read may differ from the server's anyway.
static TIME_ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The next value of [`Settings::state`].
static STATES: AtomicU64 = AtomicU64::new(1);

impl Settings {
    /// Returns the `client_encoding`.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns whether both are known to be equal: one is a copy of the other, and neither has changed since.
    pub(crate) const fn is_same(&self, other: &Self) -> bool {
        self.state == other.state
    }

    /// Records a parameter of a StartupMessage or a ParameterStatus. Ignores irrelevant ones.
    pub fn parameter(&mut self, name: &[u8], value: &[u8]) {
        let value = || std::str::from_utf8(value).unwrap_or_default();
        if name.eq_ignore_ascii_case(b"client_encoding") {
            self.encoding = Encoding::named(value());
        } else if name.eq_ignore_ascii_case(b"DateStyle") {
            self.date_order = date_order(value()).or(self.date_order);
        } else if name.eq_ignore_ascii_case(b"IntervalStyle") {
            let is_standard = value().eq_ignore_ascii_case("sql_standard");
            self.interval_style = Some(if is_standard { IntervalStyle::SqlStandard } else { IntervalStyle::Other });
        } else if name.eq_ignore_ascii_case(b"TimeZone") {
            // The server also accepts and reports values in the syntax of POSIX's TZ variable.
            self.time_zone = TIME_ZONES.get(value()).or_else(|_| TimeZone::posix(value())).ok();
        } else if name.eq_ignore_ascii_case(b"server_version") {
            let digits = value().bytes().take_while(u8::is_ascii_digit).count();
            self.server_major = value().get(..digits).and_then(|major| major.parse().ok());
        } else {
            return;
        }
        self.state = STATES.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the order in a DateStyle, such as `SQL, DMY`. With the year first, the month precedes the day in the output as well.
fn date_order(style: &str) -> Option<DateOrder> {
    let is = |word: &str, names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    style.split(',').map(str::trim).find_map(|word| {
        if is(word, &["DMY", "Euro", "European"]) {
            Some(DateOrder::DayMonth)
        } else if is(word, &["MDY", "YMD", "US", "NonEuro", "NonEuropean"]) {
            Some(DateOrder::MonthDay)
        } else {
            None
        }
    })
}
