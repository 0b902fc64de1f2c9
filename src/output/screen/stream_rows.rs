//! The columns of the list of replication streams, and what is in them.

use std::cmp::Ordering;

use ratatui::style::Style;

use super::draw::pen::{Theme, line};
use super::filter::{Filter, Subject};
use super::list::{Cell, Column, Row};
use super::rows::{name, plain};
use super::view::{StreamRow, StreamState};
use crate::output::summary::replication::{end_of_backup, purpose};
use crate::output::summary::units::{bytes, rate, some_bytes, some_count, time};
use crate::time::Timestamp;

impl StreamRow {
    /// Returns what is streamed: the plugin that makes it, or the WAL as it is.
    pub(crate) fn kind(&self, limit: usize) -> String {
        self.plugin.as_ref().map_or_else(|| purpose(self.purpose).to_owned(), |plugin| line(plugin, limit))
    }

    /// Returns whether it goes on, in words; how much of a base backup is done, and how it ended.
    pub(crate) fn state(&self) -> String {
        match (self.state, self.percent()) {
            (StreamState::Streaming, _) => "streaming".to_owned(),
            (StreamState::Backup, Some(percent)) => format!("{percent} % done"),
            (StreamState::Backup, None) => "under way".to_owned(),
            (StreamState::Ended, _) if self.outcome.is_some() => end_of_backup(self.outcome).to_owned(),
            (StreamState::Ended, _) => "ended".to_owned(),
        }
    }

    fn is_ended(&self) -> bool {
        self.state == StreamState::Ended
    }
}

impl Row for StreamRow {
    type Id = (u64, Timestamp);
    const COLUMNS: &'static [Column] = &[
        Column::text("SLOT", 0),
        Column::text("KIND", 0),
        Column::text("STATE", 1),
        Column::text("USER", 4),
        Column::text("APPLICATION", 2),
        Column::number("SENT", 3),
        Column::number("SENT/S", 0),
        Column::number("CHANGES", 5),
        Column::number("CHG/S", 0),
        Column::number("LAG", 0),
        Column::number("BEHIND", 0),
        Column::number("POSITION", 0),
        Column::number("CONFIRMED", 6),
        Column::text("CLIENT", 0),
    ];
    const LAST: (u16, u16) = (11, 11);
    const TIME: usize = 9;

    fn id(&self) -> Self::Id {
        (self.who.conn, self.started)
    }

    fn cell(&self, column: usize, limit: usize, _: Timestamp, theme: Theme) -> Cell {
        let dim = if self.is_ended() { theme.dim() } else { Style::new() };
        match column {
            0 => match &self.slot {
                Some(slot) => plain(line(slot, limit)),
                None => Cell { text: "-".to_owned(), style: theme.dim() },
            },
            1 => Cell { text: self.kind(limit), style: dim },
            2 => Cell { text: self.state(), style: if self.is_ended() { theme.dim() } else { theme.good() } },
            3 => name(&self.who.user, limit),
            4 => name(&self.who.application, limit),
            5 => plain(bytes(self.bytes)),
            6 => Cell { text: some_rate(bytes(self.bytes_per_second as u64), self.bytes_per_second), style: dim },
            7 => plain(some_count(self.changes)),
            8 => Cell { text: some_rate(rate(self.changes_per_second), self.changes_per_second), style: dim },
            9 => {
                let style = self.lag_us.filter(|_| !self.is_ended()).map_or(dim, |us| theme.age(us));
                Cell { text: self.lag_us.map_or_else(String::new, time), style }
            }
            10 => Cell { text: self.lag_bytes.map_or_else(String::new, some_bytes), style: dim },
            11 => plain(self.end_lsn.map_or_else(String::new, |lsn| lsn.to_string())),
            12 => plain(self.confirmed().map_or_else(String::new, |lsn| lsn.to_string())),
            _ => plain(line(&self.who.client, limit)),
        }
    }

    fn order(&self, other: &Self, column: usize, _: Timestamp) -> Ordering {
        let by_column = match column {
            0 => self.slot.cmp(&other.slot),
            1 => self.kind(64).cmp(&other.kind(64)),
            2 => (self.state, self.percent()).cmp(&(other.state, other.percent())),
            3 => self.who.user.cmp(&other.who.user),
            4 => self.who.application.cmp(&other.who.application),
            5 => self.bytes.cmp(&other.bytes),
            6 => self.bytes_per_second.total_cmp(&other.bytes_per_second),
            7 => self.changes.cmp(&other.changes),
            8 => self.changes_per_second.total_cmp(&other.changes_per_second),
            9 => self.lag_us.cmp(&other.lag_us),
            10 => self.lag_bytes.cmp(&other.lag_bytes),
            11 => self.end_lsn.cmp(&other.end_lsn),
            12 => self.confirmed().cmp(&other.confirmed()),
            _ => self.who.client.cmp(&other.who.client),
        };
        by_column.then(self.started.cmp(&other.started)).then(self.who.conn.cmp(&other.who.conn))
    }

    fn matches(&self, filter: &Filter, _: Timestamp) -> bool {
        let (who, message, us) = (Some(&self.who), self.slot.as_deref(), self.lag_us);
        filter.matches(&Subject { who, message, us, ..Subject::default() })
    }
}

/// What is 0 is not written.
fn some_rate(text: String, per_second: f64) -> String {
    if per_second > 0.0 { text } else { String::new() }
}
