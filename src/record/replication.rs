//! What each message is to the replication stream or base backup that it is part of.

use super::Header;
use crate::direction::Direction;
use crate::pg::text::{KeptText, Text};
use crate::replication::Lsn;
use crate::replication::backup::BackupMessage;
use crate::replication::data::{Mode, Payload, ReplicationContent};
use crate::replication::stream::StreamMessage;
use crate::session::facts::Identity;
use crate::session::walsender::backup::BackupFacts;
use crate::session::walsender::progress::{Advance, Lag};
use crate::session::walsender::{ObservedReplication, Purpose, Walsender};

/// A message of a replication stream or a base backup, as part of that.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationEvent<'a> {
    /// When it was captured, and on which connection.
    pub header: Header<'a>,
    /// Number of the packet with which it was complete, from 1.
    pub packet: u64,
    /// The number of the request for it on its connection; `None` if that was not seen.
    pub query: Option<u64>,
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
    pub kind: ReplicationKind<'a>,
    /// Of a base backup: what the rows before and behind its files say.
    pub backup: Option<BackupFacts>,
    /// Who sent it.
    pub dir: Direction,
    /// Its bytes on the wire.
    pub size: u64,
    /// The bytes of WAL, of changes, or of files in it.
    pub bytes: u64,
    /// Whether it is the first of its stream or backup.
    pub is_first: bool,
    /// Microseconds since the one before, of the same stream or backup; of the first one of a backup, since that was asked for.
    pub elapsed_us: u64,
}

/// What a message of a stream or a base backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationKind<'a> {
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
    Archive {
        /// Its name; `None` before version 15, which does not tell it.
        archive: Option<Text<'a>>,
        /// The directory of its tablespace; empty for the main one.
        tablespace: Option<Text<'a>>,
    },
    /// The beginning of the manifest of a base backup.
    Manifest,
    /// How many bytes of a base backup were read, before compression.
    Progress {
        /// The bytes of all its files so far.
        bytes_done: u64,
    },
    /// Any other.
    Other,
}

/// How many bytes `XLogData` has before its data.
const XLOG_DATA_HEADER: u64 = 25;

impl<'a> ReplicationEvent<'a> {
    pub(crate) fn new(
        (header, packet, query): (Header<'a>, u64, Option<u64>),
        who: Identity<'a>,
        walsender: &'a Walsender,
        (dir, len): (Direction, u32),
        observed: &ObservedReplication<'a>,
    ) -> Self {
        let Advance { lag, is_archive, is_manifest, .. } = observed.advance;
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
            ReplicationContent::Backup(BackupMessage::Archive { archive, tablespace }, _) => {
                (ReplicationKind::Archive { archive: Some(archive), tablespace: Some(tablespace) }, 0)
            }
            ReplicationContent::Backup(BackupMessage::Manifest, _) => (ReplicationKind::Manifest, 0),
            ReplicationContent::Backup(BackupMessage::Progress { bytes_done }, _) => {
                (ReplicationKind::Progress { bytes_done }, 0)
            }
            ReplicationContent::Backup(BackupMessage::Data, _) => (ReplicationKind::Other, body.saturating_sub(1)),
            ReplicationContent::Data(_) if is_archive => {
                (ReplicationKind::Archive { archive: None, tablespace: None }, body)
            }
            ReplicationContent::Data(_) if is_manifest => (ReplicationKind::Manifest, body),
            ReplicationContent::Data(_) => (ReplicationKind::Other, body),
            _ => (ReplicationKind::Other, 0),
        };
        let purpose = match observed.mode {
            // What is streamed is not known from it, but may be from what the session asked for.
            Mode::Stream(Payload::Unknown) => walsender.purpose.filter(|purpose| *purpose != Purpose::Backup),
            Mode::Stream(Payload::Wal) => Some(Purpose::Physical),
            Mode::Stream(_) => Some(Purpose::Logical),
            Mode::Backup | Mode::Archive | Mode::Manifest => Some(Purpose::Backup),
        };
        let is_stream = matches!(observed.mode, Mode::Stream(_));
        Self {
            purpose,
            slot: walsender.slot.as_ref().filter(|_| is_stream).map(KeptText::get),
            plugin: walsender.plugin.as_ref().filter(|_| is_stream).map(KeptText::get),
            backup: (!is_stream).then_some(walsender.backup),
            dir,
            kind,
            bytes,
            ..Self::of_row((header, packet, query), who, walsender, len, observed.advance)
        }
    }

    /// Returns the event of a row before or behind the files of a base backup.
    pub(crate) fn of_row(
        (header, packet, query): (Header<'a>, u64, Option<u64>),
        who: Identity<'a>,
        walsender: &Walsender,
        len: u32,
        advance: Advance,
    ) -> Self {
        Self {
            header,
            packet,
            query,
            purpose: Some(Purpose::Backup),
            slot: None,
            plugin: None,
            user: who.user,
            database: who.database,
            application: who.application,
            kind: ReplicationKind::Other,
            backup: Some(walsender.backup),
            dir: Direction::Backend,
            // The length does not count the tag.
            size: u64::from(len) + 1,
            bytes: 0,
            is_first: advance.is_first,
            elapsed_us: advance.micros,
        }
    }
}
