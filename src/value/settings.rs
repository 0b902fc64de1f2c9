//! What a session's parameters say about how its values are written.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::encoding::Encoding;

/// The parameters of a session that its values depend on: `client_encoding`, `DateStyle`, `IntervalStyle`, `TimeZone`, and
/// `server_version`.
///
/// A server reports all of them when a session begins, and whenever one changes. Where that was not seen, a value is read
/// as far as its form tells what it is. (Since PostgreSQL 14, a change is reported just before ReadyForQuery: rows that
/// come between a SET and that, in one query, are read by the settings before it.)
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Tells them from all others that were ever made; 0 where nothing was set.
    state: u64,
    pub(super) encoding: Encoding,
    pub(super) date_order: Option<DateOrder>,
    pub(super) interval_style: Option<IntervalStyle>,
    pub(super) time_zone: Option<TimeZone>,
    pub(super) server_major: Option<u32>,
}

/// Which comes first where a date has the year last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateOrder {
    MonthDay,
    DayMonth,
}

/// Whether the sign of an interval holds for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntervalStyle {
    SqlStandard,
    Other,
}

/// The time zones that are built in: a file of the machine that reads the capture says no more about its server.
static TIME_ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The next [`Settings::state`].
static STATES: AtomicU64 = AtomicU64::new(1);

impl Settings {
    /// `client_encoding`.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether they are known to be the same: one is a copy of the other, and neither has changed since.
    pub(crate) const fn is_same(&self, other: &Self) -> bool {
        self.state == other.state
    }

    /// Takes a parameter of a StartupMessage or a ParameterStatus; of those that do not matter here, nothing.
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
            // The server also takes, and reports, what POSIX has in the variable TZ.
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

/// The order that a DateStyle says, such as `SQL, DMY`. Where the year comes first, the output has the month before the
/// day all the same.
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
