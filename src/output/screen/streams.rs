//! Replication streams and base backups, as they are now.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::view::{StreamRow, StreamState, Who};
use crate::output::stats::owned;
use crate::record::{
    Lag, Purpose, QueryRecord, ReplicationEvent, ReplicationKind, TransactionOutcome, TransactionRecord,
};
use crate::replication::Lsn;
use crate::time::Timestamp;

/// The most streams that have ended, and the most of all, that are kept.
const MAX_ENDED: usize = 256;
const MAX_STREAMS: usize = 4_096;

/// Over how many seconds rates are.
const SECONDS: usize = 10;

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// By connection: one has one at a time.
    open: HashMap<u64, Stream, RandomState>,
    ended: VecDeque<Arc<StreamRow>>,
    /// What clients of slots, which are by their server and name, had not confirmed when their last stream ended.
    unconfirmed: HashMap<(String, String), (Lsn, Timestamp), RandomState>,
}

/// A stream, or a base backup.
#[derive(Debug)]
struct Stream {
    row: StreamRow,
    /// When its last message was captured.
    last: Timestamp,
    /// What the client has confirmed: has applied, or flushed, or received.
    confirmed: Option<Lsn>,
    /// Since when something is not confirmed.
    behind_since: Option<Timestamp>,
    lag: Option<Lag>,
    /// Bytes and changes by second, the latest last; and which second that is.
    recent: VecDeque<(u64, u64)>,
    second: i64,
}

impl Streams {
    /// Adds a message.
    pub(super) fn event(&mut self, event: &ReplicationEvent<'_>) {
        let conn = event.header.conn;
        if event.is_first {
            self.end(conn);
        }
        if !self.open.contains_key(&conn) && self.open.len() >= MAX_STREAMS {
            return;
        }
        let unconfirmed = &self.unconfirmed;
        let stream = self.open.entry(conn).or_insert_with(|| {
            let mut stream = Stream::new(event);
            if let Some((confirmed, since)) = stream.slot().and_then(|slot| unconfirmed.get(&slot)) {
                (stream.confirmed, stream.behind_since) = (Some(*confirmed), Some(*since));
            }
            stream
        });
        stream.event(event);
    }

    /// Adds a change.
    pub(super) fn change(&mut self, conn: u64, ts: Timestamp) {
        if let Some(stream) = self.open.get_mut(&conn) {
            stream.row.changes += 1;
            stream.count(ts, 0, 1);
        }
    }

    /// Adds the fate of a transaction.
    pub(super) fn transaction(&mut self, record: &TransactionRecord<'_>) {
        let Some(stream) = self.open.get_mut(&record.header.conn) else { return };
        if record.subxid.is_none() {
            match record.outcome {
                TransactionOutcome::Committed => stream.row.commits += 1,
                TransactionOutcome::Aborted | TransactionOutcome::RolledBack => stream.row.aborts += 1,
                TransactionOutcome::Prepared => {}
            }
        }
    }

    /// A request has ended: a base backup with it.
    pub(super) fn request(&mut self, record: &QueryRecord<'_>) {
        if record.is_base_backup()
            && let Some(stream) = self.open.get_mut(&record.header.conn)
        {
            stream.row.outcome = Some(record.outcome);
            self.end(record.header.conn);
        }
    }

    /// A connection has ended, or another stream begins on it.
    pub(super) fn end(&mut self, conn: u64) {
        if let Some(stream) = self.open.remove(&conn) {
            if let Some(slot) = stream.slot() {
                match stream.confirmed.zip(stream.behind_since) {
                    Some(behind) if self.unconfirmed.len() < MAX_STREAMS || self.unconfirmed.contains_key(&slot) => {
                        self.unconfirmed.insert(slot, behind);
                    }
                    _ => _ = self.unconfirmed.remove(&slot),
                }
            }
            self.ended.push_back(Arc::new(stream.ended()));
            if self.ended.len() > MAX_ENDED {
                self.ended.pop_front();
            }
        }
    }

    /// How many there are that have not ended.
    pub(super) fn open(&self) -> u64 {
        self.open.len() as u64
    }

    /// How many are kept.
    pub(super) fn len(&self) -> u64 {
        (self.open.len() + self.ended.len()) as u64
    }

    /// Returns all, as of this time.
    pub(super) fn rows(&self, now: Timestamp) -> Vec<Arc<StreamRow>> {
        self.open.values().map(|stream| Arc::new(stream.row(now))).chain(self.ended.iter().map(Arc::clone)).collect()
    }
}

impl Stream {
    fn new(event: &ReplicationEvent<'_>) -> Self {
        let header = &event.header;
        Self {
            row: StreamRow {
                who: Who {
                    conn: header.conn,
                    client: header.client.to_owned(),
                    server: header.server.to_owned(),
                    user: event.user.map(owned),
                    database: event.database.map(owned),
                    application: event.application.map(owned),
                },
                started: if event.is_first { header.ts.earlier(event.elapsed_us) } else { header.ts },
                slot: event.slot.map(owned),
                ..StreamRow::default()
            },
            last: header.ts,
            confirmed: None,
            behind_since: None,
            lag: None,
            recent: VecDeque::from([(0, 0)]),
            second: header.ts.parts().0,
        }
    }

    /// Returns its slot, by its server and name.
    fn slot(&self) -> Option<(String, String)> {
        Some((self.row.who.server.clone(), self.row.slot.clone()?))
    }

    fn event(&mut self, event: &ReplicationEvent<'_>) {
        let ts = event.header.ts;
        self.last = ts;
        self.row.bytes = self.row.bytes.saturating_add(event.bytes);
        self.count(ts, event.bytes, 0);
        if let Some(purpose) = event.purpose {
            self.row.purpose = Some(purpose);
            self.row.state = if purpose == Purpose::Backup { StreamState::Backup } else { StreamState::Streaming };
        }
        if let Some(backup) = event.backup {
            self.row.total_bytes = backup.total_bytes;
        }
        if let (Some(plugin), None) = (event.plugin, &self.row.plugin) {
            self.row.plugin = Some(owned(plugin));
        }
        match event.kind {
            ReplicationKind::Sent { end_lsn: Some(lsn), .. } if self.row.end_lsn.is_none_or(|before| before < lsn) => {
                self.row.end_lsn = Some(lsn);
                if self.confirmed.is_some_and(|confirmed| confirmed < lsn) {
                    self.behind_since.get_or_insert(ts);
                }
            }
            ReplicationKind::Confirmed { write_lsn, flush_lsn, apply_lsn, lag } => {
                let row = &mut self.row;
                row.write_lsn = write_lsn.or(row.write_lsn);
                row.flush_lsn = flush_lsn.or(row.flush_lsn);
                row.apply_lsn = apply_lsn.or(row.apply_lsn);
                let confirmed = apply_lsn.or(flush_lsn).or(write_lsn);
                // Who comes back, and confirms what it had confirmed, or less at first, is behind since then.
                let before = self.behind_since.filter(|_| confirmed <= self.confirmed);
                self.confirmed = confirmed.max(self.confirmed);
                if let Some(lag) = lag {
                    self.lag = Some(lag);
                    self.behind_since = lag.since.into_iter().chain(before).min();
                }
            }
            ReplicationKind::Archive { .. } => self.row.archives += 1,
            ReplicationKind::Progress { bytes_done } => self.row.bytes_done = Some(bytes_done),
            ReplicationKind::Sent { .. } | ReplicationKind::Manifest | ReplicationKind::Other => {}
        }
    }

    /// Counts bytes and changes of a second.
    fn count(&mut self, ts: Timestamp, more_bytes: u64, more_changes: u64) {
        let second = ts.parts().0;
        if second > self.second {
            let passed = usize::try_from(second - self.second).unwrap_or(SECONDS).min(SECONDS);
            self.recent.extend(std::iter::repeat_n((0, 0), passed));
            self.recent.drain(..self.recent.len().saturating_sub(SECONDS));
            self.second = second;
        }
        if let Some((bytes, changes)) = self.recent.back_mut() {
            *bytes = bytes.saturating_add(more_bytes);
            *changes += more_changes;
        }
    }

    /// Returns it as of this time: rates are those of the last seconds, and lag grows while the client confirms nothing.
    fn row(&self, now: Timestamp) -> StreamRow {
        let mut row = self.row.clone();
        let passed = usize::try_from(now.parts().0 - self.second).unwrap_or_default();
        let recent = self.recent.iter().skip(self.recent.len().saturating_add(passed).saturating_sub(SECONDS));
        let (bytes, changes) = recent.fold((0_u64, 0), |(bytes, changes), (more_bytes, more_changes)| {
            (bytes.saturating_add(*more_bytes), changes + more_changes)
        });
        let seconds = (now.micros_since(row.started) as f64 / 1e6).clamp(1.0, SECONDS as f64);
        (row.bytes_per_second, row.changes_per_second) = (bytes as f64 / seconds, changes as f64 / seconds);
        self.set_lag(&mut row, now);
        row
    }

    /// Returns it as it was at its end: rates are those of all its time.
    fn ended(self) -> StreamRow {
        let mut row = self.row.clone();
        self.set_lag(&mut row, self.last);
        row.state = StreamState::Ended;
        row.ended = Some(self.last);
        let seconds = self.last.micros_since(row.started) as f64 / 1e6;
        if seconds > 0.0 {
            (row.bytes_per_second, row.changes_per_second) = (row.bytes as f64 / seconds, row.changes as f64 / seconds);
        }
        row
    }

    fn set_lag(&self, row: &mut StreamRow, now: Timestamp) {
        let waiting = self.behind_since.map(|since| now.micros_since(since));
        row.lag_us = self.lag.map(|lag| lag.micros).max(waiting);
        let end = row.end_lsn.unwrap_or_default();
        row.lag_bytes = self.confirmed.filter(|_| row.end_lsn.is_some()).map(|lsn| end.0.saturating_sub(lsn.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direction::Direction;
    use crate::record::Header;
    use crate::time::Precision;

    fn event(us: i64, kind: ReplicationKind<'static>, bytes: u64) -> ReplicationEvent<'static> {
        ReplicationEvent {
            header: Header { ts: at(us), conn: 7, client: "10.0.0.1:1", server: "10.0.0.2:5432" },
            packet: 1,
            query: None,
            purpose: Some(Purpose::Physical),
            slot: None,
            plugin: None,
            user: None,
            database: None,
            application: None,
            kind,
            backup: None,
            dir: Direction::Backend,
            size: bytes,
            bytes,
            is_first: false,
            elapsed_us: 0,
        }
    }

    fn at(us: i64) -> Timestamp {
        Timestamp::from_nanos((1_000_000_000 + us) * 1_000, Precision::Micros)
    }

    fn behind(bytes: u64, micros: u64, since: Option<i64>) -> Lag {
        Lag { bytes, micros, since: since.map(at), ..Lag::default() }
    }

    fn confirmed(lsn: u64, lag: Lag) -> ReplicationKind<'static> {
        let (write_lsn, flush_lsn, apply_lsn) = (Some(Lsn(lsn)), None, None);
        ReplicationKind::Confirmed { write_lsn, flush_lsn, apply_lsn, lag: Some(lag) }
    }

    fn sent(end_lsn: Option<u64>) -> ReplicationKind<'static> {
        ReplicationKind::Sent { end_lsn: end_lsn.map(Lsn), lag: None }
    }

    #[test]
    fn lag_grows_by_the_clock_while_the_client_confirms_nothing() {
        let mut streams = Streams::default();
        let lag = |streams: &Streams, us| {
            let row = streams.rows(at(us)).pop().unwrap();
            (row.lag_us, row.lag_bytes)
        };
        streams.event(&event(0, sent(Some(100)), 0));
        assert_eq!(lag(&streams, 5_000), (None, None));
        streams.event(&event(300, confirmed(100, behind(0, 300, None)), 0));
        assert_eq!(lag(&streams, 9_000_000), (Some(300), Some(0)), "all is confirmed");
        streams.event(&event(1_000_000, sent(Some(180)), 0));
        assert_eq!(lag(&streams, 9_000_000), (Some(8_000_000), Some(80)));
        streams.event(&event(9_500_000, confirmed(150, behind(30, 8_500_000, Some(1_000_000))), 0));
        assert_eq!(lag(&streams, 10_000_000), (Some(9_000_000), Some(30)));
        streams.end(7);
        assert_eq!(lag(&streams, 90_000_000), (Some(8_500_000), Some(30)), "as it was at its last message");
    }

    #[test]
    fn who_comes_back_to_a_slot_and_confirms_nothing_more_is_behind_since_it_left() {
        let mut streams = Streams::default();
        let add = |streams: &mut Streams, conn, us, kind| {
            let mut event = event(us, kind, 0);
            (event.header.conn, event.slot) = (conn, Some(crate::pg::text::Text::utf8(b"sub")));
            streams.event(&event);
        };
        for conn in 1..4 {
            let began = conn as i64 * 5_000_000;
            add(&mut streams, conn, began, sent(Some(180)));
            // At first what it has saved, which is less.
            add(&mut streams, conn, began + 100, confirmed(50, behind(130, 100, Some(began))));
            add(&mut streams, conn, began + 150, confirmed(100, behind(0, 100, None)));
            add(&mut streams, conn, began + 200, confirmed(100, behind(80, 200, Some(began))));
            let rows = streams.rows(at(began + 1_000));
            let row = rows.iter().find(|row| row.who.conn == conn).unwrap();
            assert_eq!(row.lag_us, Some(began as u64 + 1_000 - 5_000_000), "connection {conn}");
            streams.end(conn);
        }
        add(&mut streams, 4, 30_000_000, sent(Some(190)));
        add(&mut streams, 4, 30_000_300, confirmed(180, behind(10, 300, Some(30_000_000))));
        let rows = streams.rows(at(31_000_000));
        assert_eq!(rows.iter().find(|row| row.who.conn == 4).unwrap().lag_us, Some(1_000_000));
    }

    #[test]
    fn rates_are_those_of_the_last_seconds_until_a_stream_ends() {
        let mut streams = Streams::default();
        let rate = |streams: &Streams, us| streams.rows(at(us)).pop().unwrap().bytes_per_second;
        for second in 0..20 {
            streams.event(&event(second * 1_000_000, sent(None), 500));
        }
        assert_eq!(rate(&streams, 19_500_000), 500.0);
        assert_eq!(rate(&streams, 24_500_000), 250.0, "nothing came for half of the time");
        assert_eq!(rate(&streams, 300_000_000), 0.0);
        streams.end(7);
        assert_eq!(rate(&streams, 300_000_000), 20.0 * 500.0 / 19.0);
    }

    #[test]
    fn a_bounded_number_is_kept() {
        let mut streams = Streams::default();
        for conn in 0..10_000 {
            let mut event = event(0, ReplicationKind::Other, 1);
            event.header.conn = conn;
            streams.event(&event);
            if conn % 2 == 0 {
                streams.end(conn);
            }
        }
        assert_eq!((streams.open(), streams.len()), (4_096, 4_096 + 256));
    }
}
