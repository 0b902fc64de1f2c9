//! Base backups: what each has sent, and how it ended.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::build::per_second;
use super::owned;
use crate::pg::text::Text;
use crate::record::ends::without_port;
use crate::record::summary::{BackupArchive, BaseBackup};
use crate::record::{BackupFacts, Header, Outcome, QueryRecord, ReplicationEvent, ReplicationKind};
use crate::replication::command::Command;
use crate::time::Timestamp;

/// How many backups are kept. More are counted.
const MAX_BACKUPS: usize = 1_024;

/// How many archives of a backup are kept. More are counted.
const MAX_ARCHIVES: usize = 64;

/// Base backups.
#[derive(Debug, Default)]
pub(super) struct Backups {
    all: Vec<Backup>,
    /// Those that go on, by connection: one has one at a time.
    open: HashMap<u64, usize, RandomState>,
    /// How many are not kept.
    others: u64,
}

/// A base backup.
#[derive(Debug)]
struct Backup {
    record: BaseBackup,
    /// What data is part of.
    current: Part,
    /// Whether the end of its request was seen, and how long that took.
    total_us: Option<u64>,
}

/// A part of a backup.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// It is not known: its beginning was not captured.
    Unknown,
    /// The last of the archives that are kept.
    Archive,
    /// An archive that is not kept.
    OtherArchive,
    Manifest,
}

/// Who asks for a backup.
type Who<'a> = [Option<Text<'a>>; 2];

impl Backups {
    /// Adds a message.
    pub(super) fn event(&mut self, event: &ReplicationEvent<'_>) {
        let conn = event.header.conn;
        if event.is_first {
            self.open.remove(&conn);
        }
        let started = if event.is_first { event.header.ts.earlier(event.elapsed_us) } else { event.header.ts };
        if let Some(backup) = self.begun(&event.header, [event.user, event.application], started) {
            backup.event(event);
        }
    }

    /// Adds a request that has ended: it may be one for a backup.
    pub(super) fn request(&mut self, record: &QueryRecord<'_>) {
        if !record.is_base_backup() {
            return;
        }
        let open = self.open.contains_key(&record.header.conn);
        // It may have failed, or waited for a checkpoint, without a message of its own.
        let who = [record.user, record.application];
        let Some(backup) = self.begun(&record.header, who, record.started) else { return };
        backup.record.outcome = Some(record.outcome);
        if !open && let Some(Command::BaseBackup(command)) = record.sql.and_then(|sql| Command::parse(sql.0.text.0)) {
            backup.record.incremental = Some(command.incremental);
        }
        backup.total_us = record.total_us.or(record.age_us);
        if !open {
            backup.record.ts = record.header.ts;
        }
        self.open.remove(&record.header.conn);
    }

    /// A session has ended. What became of its backup is not known if its request was not seen.
    pub(super) fn end(&mut self, conn: u64) {
        if let Some(backup) = self.open.remove(&conn).and_then(|index| self.all.get_mut(index)) {
            backup.record.outcome = Some(Outcome::Incomplete);
        }
    }

    /// Returns the backup of a connection, and begins one if there is none.
    fn begun(&mut self, header: &Header<'_>, [user, application]: Who<'_>, started: Timestamp) -> Option<&mut Backup> {
        if let Some(index) = self.open.get(&header.conn) {
            return self.all.get_mut(*index);
        }
        let index = self.all.len();
        self.open.insert(header.conn, index);
        if index >= MAX_BACKUPS {
            self.others += 1;
            return None;
        }
        self.all.push(Backup {
            record: BaseBackup {
                user: user.map(owned),
                application: application.map(owned),
                client_ip: without_port(header.client).into(),
                server: header.server.into(),
                conn: header.conn,
                started,
                ts: header.ts,
                ..BaseBackup::default()
            },
            current: Part::Unknown,
            total_us: None,
        });
        self.all.last_mut()
    }

    /// Adds all that another has received.
    pub(super) fn merge(&mut self, other: Self) {
        let room = MAX_BACKUPS.saturating_sub(self.all.len());
        self.others += other.others + other.all.len().saturating_sub(room) as u64;
        self.all.extend(other.all.into_iter().take(room));
    }

    /// Returns the backups with the most bytes.
    pub(super) fn largest(&self, top: usize) -> Vec<BaseBackup> {
        let mut all: Vec<&Backup> = self.all.iter().collect();
        all.sort_by_key(|backup| (Reverse(backup.record.bytes), backup.record.started, backup.record.conn));
        all.into_iter().take(top).map(Backup::summary).collect()
    }

    /// How many there are that are not among those.
    pub(super) fn others(&self, top: usize) -> u64 {
        self.others + self.all.len().saturating_sub(top) as u64
    }
}

impl Backup {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        let record = &mut self.record;
        record.ts = record.ts.max(event.header.ts);
        record.bytes = record.bytes.saturating_add(event.bytes);
        if let Some(BackupFacts { is_incremental, start_lsn, end_lsn, total_bytes, .. }) = event.backup {
            record.incremental = is_incremental;
            (record.start_lsn, record.end_lsn, record.total_bytes) = (start_lsn, end_lsn, total_bytes);
        }
        match event.kind {
            ReplicationKind::Archive { archive, tablespace } => {
                if record.archives.len() < MAX_ARCHIVES {
                    let (archive, tablespace) = (archive.map(owned), tablespace.map(owned));
                    record.archives.push(BackupArchive { archive, tablespace, bytes: 0 });
                    self.current = Part::Archive;
                } else {
                    record.other_archives += 1;
                    self.current = Part::OtherArchive;
                }
            }
            ReplicationKind::Manifest => {
                record.manifest_bytes = Some(0);
                self.current = Part::Manifest;
            }
            ReplicationKind::Progress { bytes_done } => record.bytes_done = Some(bytes_done),
            _ => {}
        }
        let part = match self.current {
            Part::Archive => record.archives.last_mut().map(|archive| &mut archive.bytes),
            Part::Manifest => record.manifest_bytes.as_mut(),
            Part::Unknown | Part::OtherArchive => None,
        };
        part.into_iter().for_each(|bytes| *bytes = bytes.saturating_add(event.bytes));
    }

    fn summary(&self) -> BaseBackup {
        let record = &self.record;
        let active_us = self.total_us.unwrap_or_else(|| record.ts.micros_since(record.started));
        BaseBackup { active_us, bytes_per_second: per_second(record.bytes, active_us), ..record.clone() }
    }
}
