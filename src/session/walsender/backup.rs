//! What the rows before and behind the files of a base backup say of it.

use super::progress::Advance;
use crate::pg::frame::Frame;
use crate::reader::Reader;
use crate::replication::Lsn;
use crate::replication::backup::BackupMessage;
use crate::replication::data::ReplicationContent;
use crate::time::Timestamp;

/// The base backup of a session, the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupFacts {
    /// Whether it was asked for as an incremental one; `None` if the command was not captured.
    pub is_incremental: Option<bool>,
    /// The position in the WAL at which it begins.
    pub start_lsn: Option<Lsn>,
    /// That at which it ends.
    pub end_lsn: Option<Lsn>,
    /// The bytes of all files before compression, as the server estimates them; `None` if the client does not ask for that.
    pub total_bytes: Option<u64>,
    /// When it was asked for, or its first message was captured: no other of its connection has the same time.
    pub begun: Option<Timestamp>,
    /// How many archives have begun.
    pub archives: u32,
    /// Whether the manifest has begun behind them.
    pub is_manifest: bool,
    /// Whether its files have begun, so that a position is that of its end.
    pub has_files: bool,
}

impl BackupFacts {
    pub(super) fn asked(is_incremental: bool, at: Timestamp) -> Self {
        Self { is_incremental: Some(is_incremental), begun: Some(at), ..Self::default() }
    }

    /// Returns those of a backup whose command was not seen, and whose first messages were not.
    pub(super) fn unknown() -> Self {
        Self { has_files: true, ..Self::default() }
    }

    /// Observes a message of its files.
    pub(super) fn advance(&mut self, content: &ReplicationContent<'_>, advance: &Advance, ts: Timestamp) {
        self.begun.get_or_insert(ts);
        if advance.is_archive || matches!(content, ReplicationContent::Backup(BackupMessage::Archive { .. }, _)) {
            (self.archives, self.is_manifest) = (self.archives.saturating_add(1), false);
        } else if advance.is_manifest || matches!(content, ReplicationContent::Backup(BackupMessage::Manifest, _)) {
            self.is_manifest = true;
        }
    }

    /// The server begins to send files.
    pub(super) const fn begin_files(&mut self) {
        self.has_files = true;
    }

    /// Observes a row, which is one of two kinds: a position and its timeline (`recptr`, `tli`); or a tablespace, by its object ID,
    /// its directory, and its size in KiB (`spcoid`, `spclocation`, `size`). Returns whether it is one of them.
    pub(super) fn observe(&mut self, frame: &Frame<'_>, ts: Timestamp) -> bool {
        self.begun.get_or_insert(ts);
        if frame.missing > 0 || !frame.damage.is_empty() {
            return false;
        }
        match columns(frame.body) {
            Some((2, [Some(position), ..])) => {
                let Some(lsn) = Lsn::parse(position) else { return false };
                *(if self.has_files { &mut self.end_lsn } else { &mut self.start_lsn }) = Some(lsn);
                true
            }
            Some((3, [.., size])) if !self.has_files => {
                let size = size.and_then(|size| std::str::from_utf8(size).ok()?.parse::<u64>().ok());
                if let Some(kib) = size {
                    let bytes = kib.saturating_mul(1_024);
                    self.total_bytes = Some(self.total_bytes.unwrap_or_default().saturating_add(bytes));
                }
                true
            }
            _ => false,
        }
    }
}

/// Returns the number of columns of a DataRow with two or three, and their values; `None` for null.
fn columns(body: &[u8]) -> Option<(u16, [Option<&[u8]>; 3])> {
    let mut reader = Reader::new(body);
    let count = reader.u16("number of columns").ok().filter(|count| (2..=3).contains(count))?;
    let mut columns = [None; 3];
    for column in columns.iter_mut().take(count.into()) {
        let len = reader.i32("length of a value").ok()?;
        if let Ok(len) = usize::try_from(len) {
            *column = Some(reader.take(len, "value").ok()?);
        }
    }
    reader.finish("row").ok()?;
    Some((count, columns))
}
