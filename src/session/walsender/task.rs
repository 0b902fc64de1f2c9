//! What the commands to a walsender are, as far as it matters for what their COPY carries.

use crate::encoding::Encoding;
use crate::pg::text::{KeptText, Text};
use crate::replication::command::{Command, Kind, StartReplication};
use crate::replication::relation::MAX_NAME;
use crate::time::Timestamp;

/// How many publications are remembered.
const MAX_PUBLICATIONS: usize = 64;

/// What a command is, as far as it matters for what its COPY carries. Several may be sent ahead: each takes effect when its turn comes,
/// and if it succeeds.
#[derive(Debug)]
pub(super) enum Task {
    Stream(Box<Start>),
    Backup {
        is_incremental: bool,
        /// Whether its options show that its data have the form that they have since version 15; `None` if it has none.
        is_new: Option<bool>,
        asked: Timestamp,
    },
    Manifest,
    /// A slot that is created, and its plugin; `None` if it is dropped.
    Slot(Box<(KeptText<'static>, Option<KeptText<'static>>)>),
    /// SQL, or a command that copies nothing.
    Other,
    /// It was not seen.
    Unknown,
}

impl Task {
    /// Returns what a Query is; its text, if that is whole.
    pub(super) fn of(sql: Option<Text<'_>>, ts: Timestamp) -> Self {
        match sql {
            None => Self::Unknown,
            Some(sql) => match Command::parse(sql.0) {
                Some(command) => Self::of_command(&command, sql, ts),
                None => Self::Other,
            },
        }
    }

    fn of_command(command: &Command<'_>, sql: Text<'_>, ts: Timestamp) -> Self {
        let encoding = sql.1;
        match command {
            Command::CreateReplicationSlot(create) => {
                let plugin = create.plugin.as_ref().and_then(|plugin| kept(plugin, encoding));
                Self::slot(kept(&create.slot, encoding), plugin)
            }
            Command::StartReplication(start) => Self::Stream(Box::new(Start::new(start, encoding))),
            Command::BaseBackup(backup) => {
                // Since version 15, options are in parentheses.
                let options = sql.0.trim_ascii_start().strip_prefix(b"BASE_BACKUP").unwrap_or_default();
                let first = options.trim_ascii_start().first();
                let is_new = first.filter(|first| **first != b';').map(|first| *first == b'(');
                Self::Backup { is_incremental: backup.incremental, is_new, asked: ts }
            }
            Command::UploadManifest => Self::Manifest,
            Command::DropReplicationSlot { slot, .. } => Self::slot(kept(slot, encoding), None),
            _ => Self::Other,
        }
    }

    fn slot(slot: Option<KeptText<'static>>, plugin: Option<KeptText<'static>>) -> Self {
        slot.map_or(Self::Other, |slot| Self::Slot(Box::new((slot, plugin))))
    }
}

/// START_REPLICATION.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) kind: Kind,
    pub(super) slot: Option<KeptText<'static>>,
    pub(super) timeline: Option<u32>,
    pub(super) publications: Vec<KeptText<'static>>,
    /// Whether it has options that pgoutput requires.
    pub(super) has_pgoutput_options: bool,
}

impl Start {
    fn new(start: &StartReplication<'_>, encoding: Encoding) -> Self {
        let has = |option| start.option(option).is_some();
        let publications = start.publications().filter_map(|name| kept(&name, encoding));
        Self {
            kind: start.kind,
            slot: start.slot.as_ref().and_then(|slot| kept(slot, encoding)),
            timeline: start.timeline,
            publications: publications.take(MAX_PUBLICATIONS).collect(),
            has_pgoutput_options: has("proto_version") && has("publication_names"),
        }
    }
}

/// Returns whether a text begins as the commands do that copy, and no SQL does.
pub fn is_copying_command(sql: &[u8]) -> bool {
    let sql = sql.trim_ascii_start();
    [&b"BASE_BACKUP"[..], b"START_REPLICATION", b"UPLOAD_MANIFEST"].iter().any(|command| sql.starts_with(command))
}

/// Keeps a name, unless it is longer than any.
pub(super) fn kept(name: &[u8], encoding: Encoding) -> Option<KeptText<'static>> {
    (name.len() <= MAX_NAME).then(|| Text(name, encoding).kept().into_owned())
}
