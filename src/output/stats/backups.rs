//! Base backups: what each has sent, and how it ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::build::per_second;
use super::{cut, example, owned};
use crate::direction::Direction;
use crate::pg::text::Text;
use crate::record::ends::without_port;
use crate::record::summary::{BackupArchive, BaseBackup};
use crate::record::{BackupFacts, Header, Outcome, QueryRecord, ReplicationEvent, ReplicationKind};
use crate::replication::command::Command;
use crate::replication::relation::MAX_NAME;
use crate::time::Timestamp;

/// How many backups are kept. More are counted.
const MAX_BACKUPS: usize = 1_024;

/// How many archives of a backup are kept. More are counted.
const MAX_ARCHIVES: usize = 64;

/// Which backup it is: its connection, and the number of the request for it there; or, if that was not seen, when its first message
/// was captured, in nanoseconds since 1970.
type Key = (u64, Result<u64, i64>);

/// Base backups. Parts of one may come to several of these, which are merged.
#[derive(Debug, Default)]
pub(super) struct Backups {
    all: Vec<Backup>,
    by_key: HashMap<Key, usize, RandomState>,
    /// How many are not kept.
    others: u64,
    /// Connections with a walsender that have ended.
    ended: HashSet<u64, RandomState>,
}

/// A base backup.
#[derive(Debug)]
struct Backup {
    key: Key,
    /// Without its archives.
    record: BaseBackup,
    /// By their number, from 1.
    archives: BTreeMap<u32, BackupArchive>,
    /// How many archives have begun.
    begun: u32,
    /// How long it took, if the end of its request was seen.
    total_us: Option<u64>,
}

/// Who asks for a backup.
type Who<'a> = [Option<Text<'a>>; 2];

impl Backups {
    /// Adds a message.
    pub(super) fn event(&mut self, event: &ReplicationEvent<'_>) {
        let Some(facts) = event.backup else { return };
        let started = facts.begun.unwrap_or(event.header.ts);
        let key = event.query.ok_or(started.as_nanos());
        if let Some(backup) = self.begun(&event.header, key, [event.user, event.application], started) {
            backup.event(event, &facts);
        }
    }

    /// Adds a request that has ended: it may be one for a backup.
    pub(super) fn request(&mut self, record: &QueryRecord<'_>) {
        if !record.is_base_backup() {
            return;
        }
        // It may have failed, or waited for a checkpoint, without a message of its own.
        let who = [record.user, record.application];
        let Some(backup) = self.begun(&record.header, Ok(record.query), who, record.started) else { return };
        backup.record.outcome = Some(record.outcome);
        if let Some(failure) = &record.error {
            [backup.record.code, backup.record.message] = example::error(failure);
        }
        backup.total_us = record.total_us.or(record.age_us);
        if let Some(Command::BaseBackup(command)) = record.sql.and_then(|sql| Command::parse(sql.0.text.0)) {
            backup.record.incremental = Some(command.incremental);
        }
    }

    /// A session with a walsender has ended. What became of its backup is not known if the request for it was not seen.
    pub(super) fn end(&mut self, conn: u64) {
        if self.ended.len() < MAX_BACKUPS {
            self.ended.insert(conn);
        }
    }

    /// Returns a backup, and begins it if it is not known.
    fn begun(
        &mut self,
        header: &Header<'_>,
        key: Result<u64, i64>,
        [user, application]: Who<'_>,
        started: Timestamp,
    ) -> Option<&mut Backup> {
        let key = (header.conn, key);
        if let Some(index) = self.by_key.get(&key) {
            return self.all.get_mut(*index);
        }
        self.insert(Backup {
            key,
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
            archives: BTreeMap::new(),
            begun: 0,
            total_us: None,
        })
    }

    /// Keeps a backup, if there is room.
    fn insert(&mut self, backup: Backup) -> Option<&mut Backup> {
        let index = self.all.len();
        // Those for which there is no room are known by their keys, so that each is counted once.
        if self.by_key.len() >= 64 * MAX_BACKUPS {
            return None;
        }
        let has_room = index < MAX_BACKUPS;
        self.by_key.insert(backup.key, if has_room { index } else { usize::MAX });
        if !has_room {
            self.others += 1;
            return None;
        }
        self.all.push(backup);
        self.all.last_mut()
    }

    /// Adds all that another has received.
    pub(super) fn merge(&mut self, other: Self) {
        let is_kept = |backup: &Backup| backup.key;
        let kept: HashSet<Key, RandomState> = other.all.iter().map(is_kept).collect();
        for key in other.by_key.into_keys().filter(|key| !kept.contains(key)) {
            self.by_key.entry(key).or_insert_with(|| {
                self.others += 1;
                usize::MAX
            });
        }
        for backup in other.all {
            match self.by_key.get(&backup.key) {
                Some(index) => self.all.get_mut(*index).into_iter().for_each(|own| own.merge(&backup)),
                None => _ = self.insert(backup),
            }
        }
        self.ended.extend(other.ended);
    }

    /// Returns the backups with the most bytes.
    pub(super) fn largest(&self, top: usize) -> Vec<BaseBackup> {
        let mut all: Vec<&Backup> = self.all.iter().collect();
        all.sort_by_key(|backup| (Reverse(backup.record.bytes), backup.key));
        all.into_iter().take(top).map(|backup| backup.summary(self.ended.contains(&backup.key.0))).collect()
    }

    /// How many there are that are not among those.
    pub(super) fn others(&self, top: usize) -> u64 {
        self.others + self.all.len().saturating_sub(top) as u64
    }
}

impl Backup {
    fn event(&mut self, event: &ReplicationEvent<'_>, facts: &BackupFacts) {
        let record = &mut self.record;
        record.ts = record.ts.max(event.header.ts);
        self.begun = self.begun.max(facts.archives);
        let BackupFacts { is_incremental, start_lsn, end_lsn, total_bytes, .. } = *facts;
        let found =
            BaseBackup { incremental: is_incremental, start_lsn, end_lsn, total_bytes, ..BaseBackup::default() };
        add_facts(record, &found);
        if event.dir == Direction::Frontend {
            return;
        }
        match event.kind {
            ReplicationKind::Archive { archive, tablespace } if (facts.archives as usize) <= MAX_ARCHIVES => {
                let name = |name: Text<'_>| {
                    let mut name = owned(name);
                    cut(&mut name, MAX_NAME);
                    name
                };
                let own = self.archives.entry(facts.archives).or_default();
                (own.archive, own.tablespace) = (archive.map(name), tablespace.map(name));
            }
            ReplicationKind::Progress { bytes_done } => record.bytes_done = record.bytes_done.max(Some(bytes_done)),
            _ => {}
        }
        record.bytes = record.bytes.saturating_add(event.bytes);
        let part = if facts.is_manifest {
            Some(record.manifest_bytes.get_or_insert_default())
        } else if facts.archives > 0 && facts.archives as usize <= MAX_ARCHIVES {
            Some(&mut self.archives.entry(facts.archives).or_default().bytes)
        } else {
            None
        };
        part.into_iter().for_each(|bytes| *bytes = bytes.saturating_add(event.bytes));
    }

    fn merge(&mut self, other: &Self) {
        let record = &mut self.record;
        add_facts(record, &other.record);
        record.started = record.started.min(other.record.started);
        record.ts = record.ts.max(other.record.ts);
        record.outcome = record.outcome.or(other.record.outcome);
        let [code, message] = [&other.record.code, &other.record.message];
        record.code = record.code.take().or_else(|| code.clone());
        record.message = record.message.take().or_else(|| message.clone());
        record.bytes = record.bytes.saturating_add(other.record.bytes);
        record.bytes_done = record.bytes_done.max(other.record.bytes_done);
        if let Some(bytes) = other.record.manifest_bytes {
            let own = record.manifest_bytes.get_or_insert_default();
            *own = own.saturating_add(bytes);
        }
        for (number, archive) in &other.archives {
            let own = self.archives.entry(*number).or_default();
            own.bytes = own.bytes.saturating_add(archive.bytes);
            own.archive = own.archive.take().or_else(|| archive.archive.clone());
            own.tablespace = own.tablespace.take().or_else(|| archive.tablespace.clone());
        }
        self.begun = self.begun.max(other.begun);
        self.total_us = self.total_us.or(other.total_us);
    }

    fn summary(&self, has_ended: bool) -> BaseBackup {
        let record = &self.record;
        let active_us = self.total_us.unwrap_or_else(|| record.ts.micros_since(record.started));
        BaseBackup {
            active_us,
            bytes_per_second: per_second(record.bytes, active_us),
            outcome: record.outcome.or(has_ended.then_some(Outcome::Incomplete)),
            archives: self.archives.values().cloned().collect(),
            other_archives: u64::from(self.begun).saturating_sub(self.archives.len() as u64),
            ..record.clone()
        }
    }
}

/// Adds what is known of a backup from any of its messages.
fn add_facts(record: &mut BaseBackup, other: &BaseBackup) {
    record.incremental = record.incremental.or(other.incremental);
    record.start_lsn = record.start_lsn.or(other.start_lsn);
    record.end_lsn = record.end_lsn.or(other.end_lsn);
    record.total_bytes = record.total_bytes.max(other.total_bytes);
}
