//! Replication in a summary.

use schemars::JsonSchema;
use serde::Serialize;

use crate::replication::Lsn;
use crate::session::execution::Outcome;
use crate::session::walsender::Purpose;
use crate::session::walsender::logical::TransactionOutcome;
use crate::time::Timestamp;

/// The replication streams of one client from one slot.
///
/// How far the client is behind is measured whenever it confirms a position: the one up to which it has applied; if it applies
/// nothing, has flushed; else has received. In bytes, that is the distance to the newest position that the server has told. In time,
/// it is the time since the server told the last of the positions that are confirmed now; or, if no new one is confirmed, since it
/// told the first that is not: so it grows while the client confirms nothing, and is 0 if there is nothing to confirm. Both times are
/// those of the capture. It grows to the end of the capture, whether the client is connected or not; without a slot that waits for it,
/// to its last message.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ReplicationStream {
    /// The slot; absent where there is none, and where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// What is streamed; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The output plugin of a logical slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The application: of a standby or a subscription, its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The client's address.
    pub client_ip: String,
    /// The server's address and port.
    pub server: String,
    /// The connection of the last one.
    pub conn: u64,
    /// How many times the client began to stream.
    pub streams: u64,
    /// When the first message was captured.
    pub started: Timestamp,
    /// When the last message was captured.
    pub ts: Timestamp,
    /// Whether the session of the last one has ended.
    pub ended: bool,
    /// Microseconds of streaming: from the first message of each stream to its last.
    pub active_us: u64,
    /// Bytes of WAL, or of changes.
    pub bytes: u64,
    /// How many of them a second of streaming.
    pub bytes_per_second: f64,
    /// The last position that the server has told: the end of its WAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_lsn: Option<Lsn>,
    /// What the client has received, by its last words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_lsn: Option<Lsn>,
    /// What it has flushed to disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_lsn: Option<Lsn>,
    /// What it has applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_lsn: Option<Lsn>,
    /// How many times the client confirmed a position, so that it is known how far it was behind.
    pub confirmations: u64,
    /// How many bytes the client is behind at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// The bytes that it was not further behind in 95 % of all times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_p95_bytes: Option<u64>,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_max_bytes: Option<u64>,
    /// How many microseconds the client is behind at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_us: Option<u64>,
    /// Whether it is at least so many: the server may have told the position before the capture began.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lag_is_least: bool,
    /// The microseconds that it was not further behind in 95 % of all times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_p95_us: Option<u64>,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_max_us: Option<u64>,
    /// Changes and logical messages, of streams of pgoutput: lines of the event `change`.
    pub changes: u64,
    /// Logical messages among them.
    pub logical_messages: u64,
    /// Transactions that were committed.
    pub commits: u64,
    /// Transactions that were prepared for a two-phase commit.
    pub prepares: u64,
    /// Transactions that were sent while they were in progress, and rolled back.
    pub aborts: u64,
    /// Subtransactions of which this is true.
    pub subtransaction_aborts: u64,
    /// Transactions that were rolled back after they were prepared.
    pub rollbacks: u64,
    /// Transactions that were sent while they were in progress: each is committed, aborted or prepared.
    pub streamed_transactions: u64,
    /// Transactions that were committed or prepared, and sent again: each time but the first, by the position of the commit or of the
    /// preparation. All other figures have them as well.
    pub repeated_transactions: u64,
    /// Changes in them.
    pub repeated_changes: u64,
    /// The microseconds from a transaction's commit on the server to its capture that 95 % of commits do not exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_lag_p95_us: Option<u64>,
    /// The most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_lag_max_us: Option<u64>,
    /// The tables with the most changes.
    pub tables: Vec<TableChanges>,
    /// Changes of all other tables.
    pub other_changes: u64,
    /// The stream over time.
    pub over_time: ReplicationTraffic,
}

/// The changes of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct TableChanges {
    /// The schema; absent where it was sent before the capture began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The table; absent where it was sent before the capture began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The object ID of the table.
    pub relation_oid: u32,
    /// Rows that were inserted.
    pub inserts: u64,
    /// Rows that were changed.
    pub updates: u64,
    /// Rows that were deleted.
    pub deletes: u64,
    /// How many times it was emptied.
    pub truncates: u64,
}

impl TableChanges {
    /// Returns all of them together.
    pub const fn changes(&self) -> u64 {
        self.inserts.saturating_add(self.updates).saturating_add(self.deletes).saturating_add(self.truncates)
    }
}

/// A stream over time.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ReplicationTraffic {
    /// The width of a bucket, in microseconds.
    pub bucket_us: u64,
    /// The buckets, without gaps.
    pub buckets: Vec<ReplicationBucket>,
}

/// What was streamed in a span of time.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ReplicationBucket {
    /// When it begins.
    pub started: Timestamp,
    /// Bytes of WAL, or of changes.
    pub bytes: u64,
    /// Changes and logical messages.
    pub changes: u64,
    /// The most bytes that the client was behind; absent where it confirmed no position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// The most microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_us: Option<u64>,
}

/// A transaction with many changes. One that is sent again to the same slot and client is listed once.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct LargeTransaction {
    /// When its fate was captured.
    pub ts: Timestamp,
    /// The connection.
    pub conn: u64,
    /// The number of the captured packet.
    pub packet: u64,
    /// The slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The client's address and port.
    pub client: String,
    /// The transaction; absent if its beginning was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xid: Option<u32>,
    /// The global identifier of a prepared transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<String>,
    /// What became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TransactionOutcome>,
    /// How many changes of it were sent.
    pub changes: u64,
    /// Whether it was sent while it was in progress.
    pub streamed: bool,
    /// When it was committed, by the server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_ts: Option<Timestamp>,
    /// Microseconds from the time of its commit, preparation or abort to its capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_us: Option<u64>,
}

/// A base backup.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct BaseBackup {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The client's address.
    pub client_ip: String,
    /// The server's address and port.
    pub server: String,
    /// The connection.
    pub conn: u64,
    /// When it was asked for; or when its first message was captured.
    pub started: Timestamp,
    /// When its last message was captured.
    pub ts: Timestamp,
    /// How it ended; absent if it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The SQLSTATE of the error that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The message of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether it is an incremental one; absent if the command was not captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incremental: Option<bool>,
    /// The position in the WAL at which it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_lsn: Option<Lsn>,
    /// That at which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_lsn: Option<Lsn>,
    /// Microseconds from the command to its end, or to its last message.
    pub active_us: u64,
    /// Bytes of archives and of the manifest.
    pub bytes: u64,
    /// How many of them a second.
    pub bytes_per_second: f64,
    /// The bytes of all files before compression, as the server estimated them; absent if the client did not ask for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// The bytes of files that were sent so far, before compression, as the server told it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<u64>,
    /// The archives: one for each tablespace. At most 64.
    pub archives: Vec<BackupArchive>,
    /// How many more there are.
    pub other_archives: u64,
    /// Bytes of the manifest; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_bytes: Option<u64>,
}

/// An archive of a base backup.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct BackupArchive {
    /// Its name; absent before version 15, which does not tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The directory of its tablespace; empty for the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Its bytes.
    pub bytes: u64,
}
