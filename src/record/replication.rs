//! What each message is to the replication stream or base backup that it is part of.

use super::Header;
use crate::pg::text::{KeptText, Text};
use crate::replication::Lsn;
use crate::replication::backup::BackupMessage;
use crate::replication::data::{Mode, Payload, ReplicationContent};
use crate::replication::stream::StreamMessage;
use crate::session::facts::Identity;
use crate::session::walsender::progress::{Advance, Lag};
use crate::session::walsender::{ObservedReplication, Purpose, Walsender};

/// A message of a replication stream or a base backup, as part of that.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationEvent<'a> {
    /// When it was captured, and on which connection.
    pub header: Header<'a>,
    /// Number of the packet with which it was complete, from 1.
    pub packet: u64,
    /// What is streamed; `None` if that is not known yet.
    pub purpose: Option<Purpose>,
    /// The slot that is streamed from.
    pub slot: Option<Text<'a>>,
    /// The output plugin of the slot.
    pub plugin: Option<Text<'a>>,
    /// The user.
    pub user: Option<Text<'a>>,
    /// The database.
    pub database: Option<Text<'a>>,
    /// The application.
    pub application: Option<Text<'a>>,
    /// What it is.
    pub kind: ReplicationKind,
    /// The bytes of WAL, of changes, or of files in it.
    pub bytes: u64,
    /// Whether it is the first of its stream or backup.
    pub is_first: bool,
    /// Microseconds since the one before, of the same stream or backup; of the first one of a backup, since that was asked for.
    pub elapsed_us: u64,
}

/// What a message of a stream or a base backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationKind {
    /// Data from the server, or that it is there.
    Sent {
        /// The end of its WAL, if that is told.
        end_lsn: Option<Lsn>,
        /// How far the client is behind; `None` if it has confirmed no position yet.
        lag: Option<Lag>,
    },
    /// How far the client is.
    Confirmed {
        /// What it has received; `None` for "0/0", as the others.
        write_lsn: Option<Lsn>,
        /// What it has flushed to disk.
        flush_lsn: Option<Lsn>,
        /// What it has applied.
        apply_lsn: Option<Lsn>,
        /// How far that is behind; `None` if the server has told no position yet, or the client confirms none.
        lag: Option<Lag>,
    },
    /// The beginning of an archive of a base backup.
    Archive,
    /// Any other.
    Other,
}

/// How many bytes `XLogData` has before its data.
const XLOG_DATA_HEADER: u64 = 25;

impl<'a> ReplicationEvent<'a> {
    pub(crate) fn new(
        (header, packet): (Header<'a>, u64),
        who: Identity<'a>,
        walsender: &'a Walsender,
        len: u32,
        observed: &ObservedReplication<'_>,
    ) -> Self {
        let Advance { is_first, micros, lag, is_archive } = observed.advance;
        // The length counts its own four bytes; of what was not captured, too.
        let body = u64::from(len).saturating_sub(4);
        let known = |lsn: Lsn| (lsn != Lsn(0)).then_some(lsn);
        let (kind, bytes) = match observed.content {
            ReplicationContent::Stream(StreamMessage::XlogData { end_lsn, .. }, _) => {
                (ReplicationKind::Sent { end_lsn: known(end_lsn), lag }, body.saturating_sub(XLOG_DATA_HEADER))
            }
            ReplicationContent::Stream(
                StreamMessage::Keepalive { end_lsn, .. } | StreamMessage::PrimaryStatus { end_lsn, .. },
                _,
            ) => (ReplicationKind::Sent { end_lsn: known(end_lsn), lag }, 0),
            ReplicationContent::Stream(StreamMessage::StandbyStatus { write_lsn, flush_lsn, apply_lsn, .. }, _) => {
                let [write_lsn, flush_lsn, apply_lsn] = [write_lsn, flush_lsn, apply_lsn].map(known);
                (ReplicationKind::Confirmed { write_lsn, flush_lsn, apply_lsn, lag }, 0)
            }
            ReplicationContent::Backup(BackupMessage::Data, _) => (ReplicationKind::Other, body.saturating_sub(1)),
            ReplicationContent::Backup(..) if is_archive => (ReplicationKind::Archive, 0),
            ReplicationContent::Data(_) if is_archive => (ReplicationKind::Archive, body),
            ReplicationContent::Data(_) => (ReplicationKind::Other, body),
            _ => (ReplicationKind::Other, 0),
        };
        let purpose = match observed.mode {
            Mode::Stream(Payload::Unknown) => None,
            Mode::Stream(Payload::Wal) => Some(Purpose::Physical),
            Mode::Stream(_) => Some(Purpose::Logical),
            Mode::Backup | Mode::Archive | Mode::Manifest => Some(Purpose::Backup),
        };
        let is_stream = matches!(observed.mode, Mode::Stream(_));
        Self {
            header,
            packet,
            purpose,
            slot: walsender.slot.as_ref().filter(|_| is_stream).map(KeptText::get),
            plugin: walsender.plugin.as_ref().filter(|_| is_stream).map(KeptText::get),
            user: who.user,
            database: who.database,
            application: who.application,
            kind,
            bytes,
            is_first,
            elapsed_us: micros,
        }
    }
}
