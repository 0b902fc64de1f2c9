//! How long it takes, and how far the client of a stream is behind.

use std::collections::VecDeque;

use crate::direction::Direction;
use crate::replication::Lsn;
use crate::replication::data::ReplicationContent;
use crate::replication::stream::StreamMessage;
use crate::time::Timestamp;

/// How many positions are remembered with their times, besides the newest. If there are more, those that
/// came soon after another are forgotten, so that a time is wrong by at most 1/32 of the time since the first.
const MAX_SENT: usize = 64;

/// What the manifest of a base backup begins with.
const MANIFEST: &[u8] = b"{ \"PostgreSQL-Backup-Manifest-Version\"";

/// The progress of a stream or a backup.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When its last message was captured.
    last: Option<Timestamp>,
    /// When it was asked for, before it has a message.
    asked: Option<Timestamp>,
    /// The newest position that the server has told, and when it told that first.
    newest: (Lsn, Timestamp),
    /// Positions before it that the client has not confirmed, with at least `spacing` microseconds between them.
    sent: VecDeque<(Lsn, Timestamp)>,
    spacing: u64,
    /// What the client has confirmed.
    confirmed: Lsn,
    /// Whether the stream was seen to begin.
    is_begun: bool,
    /// Of one that was not: when a position was told first. The server may have told that before.
    first_told: Option<Timestamp>,
    /// Whether data that comes next is the beginning of an archive, or of the manifest.
    is_new_archive: bool,
}

/// How far a client is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// The bytes from the position that it confirms to the newest one that the server has told.
    pub bytes: u64,
    /// The microseconds since the server told the last of the positions that the client confirms now; if it confirms no new one, and
    /// in the server's messages, since it told the first that is not confirmed. 0 if all were confirmed before.
    pub micros: u64,
    /// Whether it may be more, for the server may have told that before the capture began.
    pub is_least: bool,
    /// What the client has confirmed.
    pub confirmed: Lsn,
    /// When the server told the first position that is not confirmed; `None` if all are.
    pub since: Option<Timestamp>,
}

/// What a message adds to the progress of its stream or backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// Whether it is the first one.
    pub is_first: bool,
    /// The microseconds since the one before; of the first one of a backup, since that was asked for.
    pub micros: u64,
    /// How far the client is behind; `None` as long as it has not confirmed a position.
    pub lag: Option<Lag>,
    /// Whether an archive of a base backup before version 15 begins with it.
    pub is_archive: bool,
    /// Whether the manifest of one does.
    pub is_manifest: bool,
}

impl Progress {
    /// A backup is asked for.
    pub(super) fn begin_backup(&mut self, ts: Timestamp) {
        *self = Self { asked: Some(ts), ..Self::default() };
    }

    /// A COPY begins.
    pub(super) fn begin_copy(&mut self, is_stream: bool) {
        if is_stream {
            *self = Self { is_begun: true, ..Self::default() };
        }
        self.is_new_archive = true;
    }

    /// Observes that there is a message, whatever it is.
    pub(super) fn advance(&mut self, ts: Timestamp) -> Advance {
        let last = self.last.replace(ts);
        Advance {
            is_first: last.is_none(),
            micros: last.or(self.asked.take()).map_or(0, |last| ts.micros_since(last)),
            ..Advance::default()
        }
    }

    /// Observes a message.
    pub(super) fn observe(&mut self, from: Direction, content: &ReplicationContent<'_>, ts: Timestamp) -> Advance {
        let mut advance = self.advance(ts);
        match content {
            ReplicationContent::Stream(message, _) => match *message {
                StreamMessage::XlogData { end_lsn, .. }
                | StreamMessage::Keepalive { end_lsn, .. }
                | StreamMessage::PrimaryStatus { end_lsn, .. } => {
                    self.told(end_lsn, ts);
                    advance.lag = self.behind(ts);
                }
                StreamMessage::StandbyStatus { write_lsn, flush_lsn, apply_lsn, .. } => {
                    // A client that applies nothing sends "0/0".
                    let known = [apply_lsn, flush_lsn, write_lsn].into_iter().find(|lsn| *lsn != Lsn(0));
                    let lag = known.map(|lsn| self.confirmed(lsn, ts));
                    advance.lag = lag.filter(|_| self.newest.0 != Lsn(0));
                }
                StreamMessage::HotStandbyFeedback { .. } | StreamMessage::PrimaryStatusRequest { .. } => {}
            },
            ReplicationContent::Data(data) if from == Direction::Backend && !data.is_empty() => {
                let is_new = std::mem::take(&mut self.is_new_archive);
                advance.is_manifest = is_new && data.starts_with(MANIFEST);
                advance.is_archive = is_new && !advance.is_manifest;
            }
            _ => {}
        }
        advance
    }

    /// What the plugin writes before a change has no position: 0/0.
    pub(super) fn told(&mut self, lsn: Lsn, ts: Timestamp) {
        let (newest, at) = self.newest;
        if lsn <= newest {
            return;
        }
        if newest == Lsn(0) && !self.is_begun {
            self.first_told = Some(ts);
        }
        self.newest = (lsn, ts);
        if newest <= self.confirmed {
            self.spacing = 0;
            return;
        }
        if self.sent.back().is_some_and(|(_, before)| at.micros_since(*before) < self.spacing) {
            return;
        }
        if let (true, Some((_, first))) = (self.sent.len() >= MAX_SENT, self.sent.front()) {
            self.spacing = at.micros_since(*first) / (MAX_SENT as u64 / 2) + 1;
            let mut before = None;
            self.sent.retain(|(_, at)| {
                let is_kept = before.is_none_or(|before| at.micros_since(before) >= self.spacing);
                before = if is_kept { Some(*at) } else { before };
                is_kept
            });
        }
        self.sent.push_back((newest, at));
    }

    /// Returns how far the client is behind, if it has confirmed a position.
    fn behind(&self, ts: Timestamp) -> Option<Lag> {
        let (newest, at) = self.newest;
        let since = (newest > self.confirmed).then(|| self.sent.front().map_or(at, |(_, first)| *first));
        (self.confirmed != Lsn(0)).then(|| self.lag(self.confirmed, since, ts))
    }

    /// Returns how far a client is behind that confirms this position, measured since then.
    fn lag(&self, lsn: Lsn, since: Option<Timestamp>, ts: Timestamp) -> Lag {
        let (newest, at) = self.newest;
        Lag {
            bytes: newest.0.saturating_sub(lsn.0),
            micros: since.map_or(0, |since| ts.micros_since(since)),
            is_least: since.is_some() && since == self.first_told,
            confirmed: self.confirmed,
            since: (newest > self.confirmed).then(|| self.sent.front().map_or(at, |(_, first)| *first)),
        }
    }

    fn confirmed(&mut self, lsn: Lsn, ts: Timestamp) -> Lag {
        let is_new = lsn > self.confirmed;
        let mut since = None;
        while let Some((sent, at)) = self.sent.front().copied()
            && sent <= lsn
        {
            self.sent.pop_front();
            since = Some(at);
        }
        let (newest, at) = self.newest;
        if is_new && newest > self.confirmed && newest <= lsn {
            since = Some(at);
        }
        if since.is_none() && newest > lsn {
            since = Some(self.sent.front().map_or(at, |(_, first)| *first));
        }
        self.confirmed = self.confirmed.max(lsn);
        self.lag(lsn, since, ts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_nanos(us * 1_000, Precision::Micros)
    }

    #[test]
    fn lag_is_the_time_to_a_confirmation_and_grows_while_nothing_is_confirmed() {
        let mut progress = Progress::default();
        for (lsn, us) in [(0, 5), (100, 10), (200, 20), (200, 25), (150, 26), (300, 30)] {
            progress.told(Lsn(lsn), at(us));
        }
        let mut confirmed = |lsn, us| {
            let Lag { bytes, micros, .. } = progress.confirmed(Lsn(lsn), at(us));
            (bytes, micros)
        };
        assert_eq!(confirmed(250, 45), (50, 25), "200 was sent at 20");
        assert_eq!(confirmed(250, 60), (50, 30), "300 was sent at 30");
        assert_eq!(confirmed(250, 90), (50, 60));
        assert_eq!(confirmed(300, 100), (0, 70));
        assert_eq!(confirmed(300, 1_000), (0, 0), "nothing is to be confirmed");
        assert_eq!(confirmed(400, 1_001), (0, 0), "of a position that was not seen");
    }

    #[test]
    fn a_client_that_confirms_nothing_more_falls_behind() {
        let mut progress = Progress::default();
        progress.told(Lsn(100), at(10));
        assert_eq!(progress.behind(at(15)), None, "it may have more");
        progress.confirmed(Lsn(100), at(20));
        let behind = |progress: &Progress, us| progress.behind(at(us)).map(|Lag { bytes, micros, .. }| (bytes, micros));
        assert_eq!(behind(&progress, 90), Some((0, 0)));
        progress.told(Lsn(150), at(100));
        progress.told(Lsn(180), at(200));
        assert_eq!(behind(&progress, 250), Some((80, 150)));
        let lag = progress.confirmed(Lsn(150), at(300));
        assert_eq!((lag.micros, lag.confirmed, lag.since), (200, Lsn(150), Some(at(200))));
        assert_eq!(behind(&progress, 400), Some((30, 200)));
    }

    #[test]
    fn what_was_unconfirmed_when_the_capture_began_may_have_been_told_before() {
        let of = |is_begun| {
            let mut progress = Progress { is_begun, ..Progress::default() };
            progress.told(Lsn(100), at(10));
            progress.told(Lsn(150), at(20));
            let first = progress.confirmed(Lsn(50), at(30)).is_least;
            let next = progress.behind(at(40)).unwrap().is_least;
            let second = progress.confirmed(Lsn(120), at(50));
            assert_eq!(second.micros, 40);
            [first, next, second.is_least, progress.behind(at(60)).unwrap().is_least]
        };
        assert_eq!(of(false), [true, true, true, false]);
        assert_eq!(of(true), [false; 4]);
    }

    #[test]
    fn few_positions_are_remembered_of_many_the_first_and_the_last_among_them() {
        let mut progress = Progress::default();
        for lsn in 1..100_000 {
            progress.told(Lsn(lsn), at(lsn as i64));
            assert!(progress.sent.len() <= MAX_SENT);
        }
        let lag = progress.confirmed(Lsn(50_000), at(100_000));
        // The bound of memory costs little of the time.
        assert!((50_000..53_200).contains(&lag.micros), "{lag:?}");
        let lag = progress.confirmed(Lsn(99_999), at(100_000));
        assert_eq!((lag.bytes, lag.micros, lag.since), (0, 1, None));
    }
}
