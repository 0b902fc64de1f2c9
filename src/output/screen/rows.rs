//! The columns of the lists, and what is in them.

use std::cmp::Ordering;
use std::fmt::Write;

use ratatui::style::Style;

use super::draw::pen::{Theme, line};
use super::filter::{Filter, Subject};
use super::list::{Cell, Column, Row};
use super::view::{Activity, ErrorKind, ErrorRow, RequestRow, RunningRow, SessionRow, StatementRow, Who};
use crate::output::summary::units::{bytes, count, rate, some_bytes, some_count, some_time, time, time_of_day};
use crate::record::{EndReason, RunningState};
use crate::time::Timestamp;

/// Returns what a session does, in words.
pub(crate) const fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Request(RunningState::Queued) => "queued",
        Activity::Request(RunningState::WaitingForServer) => "waiting for server",
        Activity::Request(RunningState::Sending) => "sending rows",
        Activity::Request(RunningState::WaitingForClient) => "waiting for client",
        Activity::IdleInTransaction => "idle in transaction",
        Activity::Idle => "idle",
        Activity::Starting => "starting",
        Activity::Encrypted => "encrypted",
        Activity::Ended(None | Some(EndReason::Terminate)) => "ended",
        Activity::Ended(Some(EndReason::Fatal)) => "ended by an error",
        Activity::Ended(Some(EndReason::Fin)) => "closed",
        Activity::Ended(Some(EndReason::Reset)) => "reset",
        Activity::Ended(Some(EndReason::Replaced)) => "replaced",
        Activity::Ended(Some(EndReason::Evicted)) => "not followed",
        Activity::Ended(Some(EndReason::CaptureEnd)) => "open at the end",
    }
}

fn activity_style(activity: Activity, theme: Theme) -> Style {
    match activity {
        Activity::Request(RunningState::Sending) => theme.good(),
        Activity::Request(RunningState::WaitingForClient) => theme.accent(),
        Activity::Request(_) => Style::new(),
        Activity::IdleInTransaction => theme.warning(),
        Activity::Ended(Some(EndReason::Fatal | EndReason::Reset)) => theme.bad(),
        Activity::Idle | Activity::Starting | Activity::Encrypted | Activity::Ended(_) => theme.dim(),
    }
}

pub(super) fn plain(text: String) -> Cell {
    Cell { text, style: Style::new() }
}

pub(super) fn name(name: &Option<String>, limit: usize) -> Cell {
    plain(name.as_ref().map_or_else(String::new, |name| line(name, limit)))
}

/// SQL, or what is shown where it is not known; and its parameters.
pub(crate) fn sql(sql: &str, params: &str, limit: usize) -> String {
    let mut text = if sql.is_empty() { "(SQL not known)".to_owned() } else { line(sql, limit) };
    if !params.is_empty() {
        let _ = write!(text, "  {}", line(params, limit));
    }
    text
}

fn sql_cell(text: &str, params: &str, limit: usize, theme: Theme) -> Cell {
    Cell { text: sql(text, params, limit), style: if text.is_empty() { theme.dim() } else { Style::new() } }
}

impl RunningRow {
    pub(crate) const fn age_us(&self, now: Timestamp) -> u64 {
        now.micros_since(self.since)
    }
}

impl Row for RunningRow {
    type Id = (u64, Option<u64>);
    const COLUMNS: &'static [Column] = &[
        Column::number("AGE", 0),
        Column::text("STATE", 0),
        Column::text("USER", 0),
        Column::text("DATABASE", 0),
        Column::text("APPLICATION", 1),
        Column::text("CLIENT", 2),
        Column::number("ROWS", 3),
        Column::number("SENT", 4),
        Column::text("SQL", 0),
    ];
    const LAST: (u16, u16) = (30, 40);
    const TIME: usize = 0;

    fn id(&self) -> Self::Id {
        (self.who.conn, self.query)
    }

    fn cell(&self, column: usize, limit: usize, now: Timestamp, theme: Theme) -> Cell {
        match column {
            0 => {
                let age = self.age_us(now);
                let text = if self.is_uncertain { format!("{}?", time(age)) } else { time(age) };
                Cell { text, style: theme.age(age) }
            }
            1 => Cell { text: activity(self.activity).to_owned(), style: activity_style(self.activity, theme) },
            2 => name(&self.who.user, limit),
            3 => name(&self.who.database, limit),
            4 => name(&self.who.application, limit),
            5 => plain(self.who.client.clone()),
            6 => plain(self.rows.map_or_else(String::new, some_count)),
            7 => plain(some_bytes(self.bytes_out)),
            _ => sql_cell(&self.sql, &self.params, limit, theme),
        }
    }

    fn order(&self, other: &Self, column: usize, _: Timestamp) -> Ordering {
        match column {
            // The oldest has the greatest age.
            0 => other.since.cmp(&self.since),
            1 => self.activity.rank().cmp(&other.activity.rank()),
            2 => self.who.user.cmp(&other.who.user),
            3 => self.who.database.cmp(&other.who.database),
            4 => self.who.application.cmp(&other.who.application),
            5 => self.who.client.cmp(&other.who.client),
            6 => self.rows.cmp(&other.rows),
            7 => self.bytes_out.cmp(&other.bytes_out),
            _ => self.sql.cmp(&other.sql),
        }
    }

    fn matches(&self, filter: &Filter, now: Timestamp) -> bool {
        let (sql, us) = (Some(self.sql.as_str()), Some(self.age_us(now)));
        let (who, message) = (Some(&self.who), Some(self.params.as_str()));
        filter.matches(&Subject { who, sql, message, us, ..Subject::default() })
    }
}

impl Row for StatementRow {
    type Id = (Option<String>, String);
    const COLUMNS: &'static [Column] = &[
        Column::number("CALLS/S", 0),
        Column::number("CALLS", 2),
        Column::number("TOTAL", 0),
        Column::number("MEAN", 0),
        Column::number("P95", 0),
        Column::number("MAX", 0),
        Column::number("ROWS", 0),
        Column::number("BYTES", 1),
        Column::number("ERRORS", 0),
        Column::text("SQL", 0),
    ];
    const LAST: (u16, u16) = (24, 35);
    const TIME: usize = 2;

    fn id(&self) -> Self::Id {
        (self.fingerprint.clone(), if self.fingerprint.is_some() { String::new() } else { self.sql.clone() })
    }

    fn cell(&self, column: usize, limit: usize, _: Timestamp, theme: Theme) -> Cell {
        match column {
            0 => plain(rate(self.calls_per_second)),
            1 => plain(count(self.calls)),
            2 => plain(time(self.total_us)),
            3 => Cell { text: time(self.mean_us), style: theme.age(self.mean_us) },
            4 => Cell { text: time(self.p95_us), style: theme.age(self.p95_us) },
            5 => Cell { text: time(self.max_us), style: theme.age(self.max_us) },
            6 => plain(some_count(self.rows)),
            7 => plain(some_bytes(self.bytes)),
            8 => Cell { text: some_count(self.errors), style: theme.bad() },
            _ => sql_cell(&self.sql, "", limit, theme),
        }
    }

    fn order(&self, other: &Self, column: usize, _: Timestamp) -> Ordering {
        let by_column = match column {
            0 => self.calls_per_second.total_cmp(&other.calls_per_second),
            1 => self.calls.cmp(&other.calls),
            2 => self.total_us.cmp(&other.total_us),
            3 => self.mean_us.cmp(&other.mean_us),
            4 => self.p95_us.cmp(&other.p95_us),
            5 => self.max_us.cmp(&other.max_us),
            6 => self.rows.cmp(&other.rows),
            7 => self.bytes.cmp(&other.bytes),
            8 => self.errors.cmp(&other.errors),
            _ => self.sql.cmp(&other.sql),
        };
        by_column.then(self.calls.cmp(&other.calls)).then_with(|| other.sql.cmp(&self.sql))
    }

    fn matches(&self, filter: &Filter, _: Timestamp) -> bool {
        let (sql, us) = (Some(self.sql.as_str()), Some(self.max_us));
        filter.matches(&Subject { sql, us, has_error: self.errors > 0, ..Subject::default() })
    }
}

impl SessionRow {
    /// Returns how long the session has done what it does, in microseconds.
    pub(crate) fn activity_us(&self, now: Timestamp) -> Option<u64> {
        self.since.map(|since| now.micros_since(since))
    }

    /// Returns how long it has been open, or was.
    fn age_us(&self, now: Timestamp) -> u64 {
        let end = self.since.filter(|_| matches!(self.activity, Activity::Ended(_))).unwrap_or(now);
        end.micros_since(self.started)
    }
}

impl Row for SessionRow {
    type Id = u64;
    const COLUMNS: &'static [Column] = &[
        Column::number("CONN", 0),
        Column::text("USER", 0),
        Column::text("DATABASE", 0),
        Column::text("APPLICATION", 3),
        Column::text("STATE", 0),
        Column::number("FOR", 0),
        Column::number("AGE", 0),
        Column::number("REQS", 0),
        Column::number("ERRORS", 2),
        Column::number("IN", 8),
        Column::number("OUT", 1),
        Column::number("RTT C", 4),
        Column::number("RTT S", 5),
        Column::number("IDLE TX", 6),
        Column::number("LOST", 7),
        Column::text("CLIENT", 0),
    ];
    const LAST: (u16, u16) = (15, 15);
    const TIME: usize = 5;

    fn id(&self) -> u64 {
        self.who.conn
    }

    fn cell(&self, column: usize, limit: usize, now: Timestamp, theme: Theme) -> Cell {
        let some = |us: Option<u64>| us.map_or_else(String::new, time);
        match column {
            0 => plain(self.who.conn.to_string()),
            1 => name(&self.who.user, limit),
            2 => name(&self.who.database, limit),
            3 => name(&self.who.application, limit),
            4 => Cell { text: activity(self.activity).to_owned(), style: activity_style(self.activity, theme) },
            5 => {
                let age = self.activity_us(now);
                let is_waited_for = matches!(self.activity, Activity::Request(_) | Activity::IdleInTransaction);
                let style = age.filter(|_| is_waited_for).map_or_else(Style::new, |age| theme.age(age));
                Cell { text: some(age), style }
            }
            6 => {
                let age = time(self.age_us(now));
                plain(if self.is_midstream { format!(">{age}") } else { age })
            }
            7 => plain(some_count(self.requests)),
            8 => Cell { text: some_count(self.errors), style: theme.bad() },
            9 => plain(bytes(self.bytes_in)),
            10 => plain(bytes(self.bytes_out)),
            11 => plain(some(self.rtt_client_us)),
            12 => plain(some(self.rtt_server_us)),
            13 => plain(some_time(self.idle_in_transaction_us)),
            14 => Cell { text: some_bytes(self.lost_bytes), style: theme.warning() },
            _ => plain(self.who.client.clone()),
        }
    }

    fn order(&self, other: &Self, column: usize, now: Timestamp) -> Ordering {
        let by_column = match column {
            0 => Ordering::Equal,
            1 => self.who.user.cmp(&other.who.user),
            2 => self.who.database.cmp(&other.who.database),
            3 => self.who.application.cmp(&other.who.application),
            4 => self.activity.rank().cmp(&other.activity.rank()),
            5 => other.since.cmp(&self.since),
            6 => self.age_us(now).cmp(&other.age_us(now)),
            7 => self.requests.cmp(&other.requests),
            8 => self.errors.cmp(&other.errors),
            9 => self.bytes_in.cmp(&other.bytes_in),
            10 => self.bytes_out.cmp(&other.bytes_out),
            11 => self.rtt_client_us.cmp(&other.rtt_client_us),
            12 => self.rtt_server_us.cmp(&other.rtt_server_us),
            13 => self.idle_in_transaction_us.cmp(&other.idle_in_transaction_us),
            14 => self.lost_bytes.cmp(&other.lost_bytes),
            _ => self.who.client.cmp(&other.who.client),
        };
        by_column.then(self.who.conn.cmp(&other.who.conn))
    }

    fn matches(&self, filter: &Filter, _: Timestamp) -> bool {
        let (who, has_error) = (Some(&self.who), self.errors > 0);
        filter.matches(&Subject { who, has_error, ..Subject::default() })
    }
}

impl Activity {
    /// Its place in a list that begins with what a user looks for.
    const fn rank(self) -> u8 {
        match self {
            Self::Request(RunningState::WaitingForServer) => 0,
            Self::Request(RunningState::Sending) => 1,
            Self::Request(RunningState::WaitingForClient) => 2,
            Self::Request(RunningState::Queued) => 3,
            Self::IdleInTransaction => 4,
            Self::Starting => 5,
            Self::Idle => 6,
            Self::Encrypted => 7,
            Self::Ended(_) => 8,
        }
    }
}

/// Returns the kind of an error, in a word.
pub(crate) const fn error_kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Request => "request",
        ErrorKind::Cancel => "cancel",
        ErrorKind::Login => "login",
        ErrorKind::Session => "session",
    }
}

impl Row for ErrorRow {
    type Id = (Timestamp, u64, Option<u64>);
    const COLUMNS: &'static [Column] = &[
        Column::number("TIME", 0),
        Column::text("KIND", 0),
        Column::text("CODE", 0),
        Column::text("USER", 0),
        Column::text("DATABASE", 0),
        Column::text("APPLICATION", 2),
        Column::text("CLIENT", 1),
        Column::number("AFTER", 3),
        Column::text("MESSAGE", 0),
    ];
    const LAST: (u16, u16) = (30, 40);
    const TIME: usize = 0;

    fn id(&self) -> Self::Id {
        (self.ts, self.who.conn, self.query)
    }

    fn cell(&self, column: usize, limit: usize, _: Timestamp, theme: Theme) -> Cell {
        match column {
            0 => plain(time_of_day(self.ts)),
            1 => Cell {
                text: error_kind(self.kind).to_owned(),
                style: match self.kind {
                    ErrorKind::Login | ErrorKind::Session => theme.bad(),
                    ErrorKind::Cancel => theme.warning(),
                    ErrorKind::Request => Style::new(),
                },
            },
            2 => plain(line(&self.code, limit)),
            3 => name(&self.who.user, limit),
            4 => name(&self.who.database, limit),
            5 => name(&self.who.application, limit),
            6 => plain(self.who.client.clone()),
            7 => plain(self.total_us.map_or_else(String::new, time)),
            _ => plain(line(&self.message, limit)),
        }
    }

    fn order(&self, other: &Self, column: usize, _: Timestamp) -> Ordering {
        let by_column = match column {
            0 => Ordering::Equal,
            1 => error_kind(self.kind).cmp(error_kind(other.kind)),
            2 => self.code.cmp(&other.code),
            3 => self.who.user.cmp(&other.who.user),
            4 => self.who.database.cmp(&other.who.database),
            5 => self.who.application.cmp(&other.who.application),
            6 => self.who.client.cmp(&other.who.client),
            7 => self.total_us.cmp(&other.total_us),
            _ => self.message.cmp(&other.message),
        };
        by_column.then(self.ts.cmp(&other.ts))
    }

    fn matches(&self, filter: &Filter, _: Timestamp) -> bool {
        let (sql, us) = (Some(self.sql.as_str()), Some(self.total_us.unwrap_or(0)));
        let (who, message, code) = (Some(&self.who), Some(self.message.as_str()), Some(self.code.as_str()));
        filter.matches(&Subject { who, sql, message, code, condition: self.condition, us, has_error: true })
    }
}

/// Returns who a session is, in a line: `user@database  application  client → server`.
pub(crate) fn who(who: &Who) -> String {
    let text = |name: &Option<String>| name.as_ref().map_or_else(|| "?".to_owned(), |name| line(name, 63));
    let mut text = match (&who.user, &who.database) {
        (None, None) => String::new(),
        (user, database) => format!("{}@{}  ", text(user), text(database)),
    };
    if let Some(application) = who.application.as_ref().filter(|application| !application.is_empty()) {
        let _ = write!(text, "{}  ", line(application, 63));
    }
    let _ = write!(text, "{} → {}", who.client, who.server);
    text
}

impl Row for RequestRow {
    type Id = (u64, Option<u64>);
    const COLUMNS: &'static [Column] = &[
        Column::number("TIME", 0),
        Column::number("TOOK", 0),
        Column::number("ROWS", 0),
        Column::number("BYTES", 0),
        Column::text("ERROR", 0),
        Column::text("USER", 1),
        Column::text("DATABASE", 3),
        Column::text("CLIENT", 2),
        Column::text("PARAMETERS", 0),
    ];
    const LAST: (u16, u16) = (20, 30);
    const TIME: usize = 1;

    fn id(&self) -> Self::Id {
        (self.who.conn, self.query)
    }

    fn cell(&self, column: usize, limit: usize, now: Timestamp, theme: Theme) -> Cell {
        match column {
            0 => plain(time_of_day(self.ts)),
            1 => {
                let took = self.took_us(now);
                let text = if self.total_us.is_some() { time(took) } else { format!(">{}", time(took)) };
                Cell { text, style: theme.age(took) }
            }
            2 => plain(some_count(self.rows)),
            3 => plain(some_bytes(self.bytes)),
            4 => Cell { text: line(&self.error, limit), style: theme.bad() },
            5 => name(&self.who.user, limit),
            6 => name(&self.who.database, limit),
            7 => plain(self.who.client.clone()),
            _ => plain(line(&self.params, limit)),
        }
    }

    fn order(&self, other: &Self, column: usize, now: Timestamp) -> Ordering {
        let by_column = match column {
            0 => Ordering::Equal,
            1 => self.took_us(now).cmp(&other.took_us(now)),
            2 => self.rows.cmp(&other.rows),
            3 => self.bytes.cmp(&other.bytes),
            4 => self.error.cmp(&other.error),
            5 => self.who.user.cmp(&other.who.user),
            6 => self.who.database.cmp(&other.who.database),
            7 => self.who.client.cmp(&other.who.client),
            _ => self.params.cmp(&other.params),
        };
        by_column.then(self.ts.cmp(&other.ts))
    }

    fn matches(&self, filter: &Filter, now: Timestamp) -> bool {
        let (us, has_error) = (Some(self.took_us(now)), !self.error.is_empty());
        let (who, message) = (Some(&self.who), Some(self.params.as_str()));
        filter.matches(&Subject { who, message, us, has_error, ..Subject::default() })
    }
}

impl RequestRow {
    /// Returns how long the client waited, or waits.
    pub(crate) fn took_us(&self, now: Timestamp) -> u64 {
        self.total_us.unwrap_or_else(|| now.micros_since(self.ts))
    }
}
