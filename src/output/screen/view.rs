//! What a screen shows, as plain data: rows that were true at one time, and can be sorted, filtered and drawn anywhere.

use super::app::Tab;
use crate::direction::Direction;
use crate::record::summary::Pool;
use crate::record::{EndReason, Outcome, Purpose, RunningState};
use crate::replication::Lsn;
use crate::time::Timestamp;

/// Over which time statements are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Window {
    /// The last 10 seconds.
    TenSeconds,
    /// The last minute.
    #[default]
    Minute,
    /// The last 5 minutes.
    FiveMinutes,
    /// All of the capture.
    All,
}

/// Who a session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// The number of the connection.
    pub(crate) conn: u64,
    /// The client's address and port.
    pub(crate) client: String,
    /// The server's address and port.
    pub(crate) server: String,
    pub(crate) user: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) application: Option<String>,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A request is under way.
    Request(RunningState),
    /// A transaction is open, and the client asks for nothing.
    IdleInTransaction,
    /// The client asks for nothing.
    Idle,
    /// The session has not been ready yet.
    Starting,
    /// What it does is encrypted.
    Encrypted,
    /// It has ended.
    Ended(Option<EndReason>),
}

/// A request that is under way; or a session that is idle in a transaction, with its last request.
#[derive(Clone, Debug)]
pub(crate) struct RunningRow {
    pub(crate) who: Who,
    /// The number of the request on its connection.
    pub(crate) query: Option<u64>,
    /// `Request` or `IdleInTransaction`.
    pub(crate) activity: Activity,
    /// When its first message was sent, or since when the session is idle. Its age is the time from then to [`Overview::now`].
    pub(crate) since: Timestamp,
    /// The SQL, with secrets masked; empty if it is not known.
    pub(crate) sql: String,
    /// The values of its parameters as JSON: `[1,"x",null]`; empty if there are none.
    pub(crate) params: String,
    pub(crate) rows: Option<u64>,
    pub(crate) bytes_out: u64,
    /// Whether it may have ended, or may be another's: bytes were lost, or the capture began amid it.
    pub(crate) is_uncertain: bool,
}

/// What the requests of a statement add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatementRow {
    /// 16 hexadecimal digits; `None` for requests whose SQL is not known.
    pub(crate) fingerprint: Option<String>,
    /// The SQL as pg_stat_statements shows it; empty if it is not known.
    pub(crate) sql: String,
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) calls_per_second: f64,
    /// Times that the server can have worked on them, in microseconds (`exec_us`).
    pub(crate) total_us: u64,
    pub(crate) mean_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) max_us: u64,
    pub(crate) rows: u64,
    /// Bytes of both directions.
    pub(crate) bytes: u64,
}

/// A request of a statement.
#[derive(Clone, Debug)]
pub(crate) struct RequestRow {
    pub(crate) who: Who,
    /// The number of the request on its connection.
    pub(crate) query: Option<u64>,
    /// When its first message was sent.
    pub(crate) ts: Timestamp,
    /// Microseconds that the client waited; `None` while it is under way.
    pub(crate) total_us: Option<u64>,
    pub(crate) rows: u64,
    /// Bytes of both directions.
    pub(crate) bytes: u64,
    /// The SQLSTATE, if it failed; empty if it did not.
    pub(crate) error: String,
    /// The values of its parameters, as in [`RunningRow`].
    pub(crate) params: String,
}

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) who: Who,
    pub(crate) process_id: Option<i32>,
    pub(crate) activity: Activity,
    /// Since when it does that, where it is known.
    pub(crate) since: Option<Timestamp>,
    /// When its first packet was captured.
    pub(crate) started: Timestamp,
    /// Whether it began before the capture.
    pub(crate) is_midstream: bool,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) rtt_client_us: Option<u64>,
    pub(crate) rtt_server_us: Option<u64>,
    pub(crate) lost_bytes: u64,
    pub(crate) idle_in_transaction_us: u64,
    /// `TLSv1.3`, `GSSAPI`; empty if it is not encrypted.
    pub(crate) encryption: String,
}

/// Whether a replication stream goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamState {
    /// It does.
    #[default]
    Streaming,
    /// It is a base backup that goes on.
    Backup,
    /// It does not.
    Ended,
}

/// A replication stream, or a base backup.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamRow {
    pub(crate) who: Who,
    pub(crate) slot: Option<String>,
    pub(crate) purpose: Option<Purpose>,
    pub(crate) plugin: Option<String>,
    pub(crate) state: StreamState,
    /// When its first message was captured; and its last one, if it has ended.
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// Bytes of WAL, of changes, or of files; and how many a second lately, or of all its time if it has ended.
    pub(crate) bytes: u64,
    pub(crate) bytes_per_second: f64,
    /// Changes of rows, and logical messages.
    pub(crate) changes: u64,
    pub(crate) changes_per_second: f64,
    /// Transactions that were committed, and those that were rolled back.
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    /// Of a base backup: its archives, the bytes of files that it has read of all that there are, as the server estimates them, and
    /// how it ended.
    pub(crate) archives: u64,
    pub(crate) bytes_done: Option<u64>,
    pub(crate) total_bytes: Option<u64>,
    pub(crate) outcome: Option<Outcome>,
    /// The end of the WAL, as the server has told it.
    pub(crate) end_lsn: Option<Lsn>,
    /// What the client has received, flushed and applied.
    pub(crate) write_lsn: Option<Lsn>,
    pub(crate) flush_lsn: Option<Lsn>,
    pub(crate) apply_lsn: Option<Lsn>,
    /// How far the client is behind, in microseconds and in bytes; `None` if it has confirmed nothing.
    pub(crate) lag_us: Option<u64>,
    pub(crate) lag_bytes: Option<u64>,
}

impl StreamRow {
    /// Returns up to where the client is: has applied, or else flushed, or else received.
    pub(crate) fn confirmed(&self) -> Option<Lsn> {
        self.apply_lsn.or(self.flush_lsn).or(self.write_lsn)
    }

    /// Returns how much of a base backup is done, in percent; `None` if that is not known. The server's estimate may be too low.
    pub(crate) fn percent(&self) -> Option<u64> {
        let total = self.total_bytes.filter(|total| *total > 0)?;
        Some((self.bytes_done.unwrap_or(self.bytes).saturating_mul(100) / total).min(100))
    }
}

/// What went through a pooler, of one user and database.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolRow(pub(crate) Pool);

/// What kind of failure an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// A request failed.
    Request,
    /// A request was canceled.
    Cancel,
    /// A login failed.
    Login,
    /// An error ended a session.
    Session,
}

/// An error.
#[derive(Clone, Debug)]
pub(crate) struct ErrorRow {
    pub(crate) ts: Timestamp,
    pub(crate) who: Who,
    pub(crate) query: Option<u64>,
    pub(crate) kind: ErrorKind,
    /// Five characters; empty if it is not known.
    pub(crate) code: String,
    /// The condition's name, such as `unique_violation`.
    pub(crate) condition: Option<&'static str>,
    pub(crate) message: String,
    /// The SQL of the request; empty if there is none.
    pub(crate) sql: String,
    pub(crate) params: String,
    /// Microseconds that the client waited.
    pub(crate) total_us: Option<u64>,
}

/// How often an SQLSTATE came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorCount {
    pub(crate) code: String,
    pub(crate) condition: Option<&'static str>,
    pub(crate) count: u64,
}

/// The requests of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// The time that 95 % of them did not exceed.
    pub(crate) p95_us: u64,
}

/// What is shown above every list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overview {
    /// The time of the capture up to which everything is known; live, that of the clock.
    pub(crate) now: Timestamp,
    /// The time of the first packet; live, that of the start.
    pub(crate) started: Option<Timestamp>,
    /// Whether packets may still come.
    pub(crate) is_under_way: bool,
    /// Requests by second, up to the last whole second, the latest last. At most 300.
    pub(crate) rates: Vec<Rate>,
    pub(crate) packets: u64,
    pub(crate) messages: u64,
    /// Packets that the kernel dropped, live.
    pub(crate) dropped: Option<u64>,
    pub(crate) open_connections: u64,
    /// How many requests are under way, and how many sessions are idle in a transaction.
    pub(crate) running: u64,
    pub(crate) idle_in_transaction: u64,
    pub(crate) errors: u64,
    /// How many replication streams there are, those that have ended included; and how many go on.
    pub(crate) streams: u64,
    pub(crate) open_streams: u64,
    /// How many pools there are behind poolers.
    pub(crate) pools: u64,
    /// Bytes of PostgreSQL connections that were not captured, or not understood.
    pub(crate) lost_bytes: u64,
    /// Sessions that began before the capture, and sessions whose content is encrypted and cannot be read.
    pub(crate) midstream_sessions: u64,
    pub(crate) encrypted_sessions: u64,
    /// Connections to a port of a server's that speak something else.
    pub(crate) foreign: u64,
    /// Sessions that have ended, and errors, that are not in their lists any more.
    pub(crate) forgotten_sessions: u64,
    pub(crate) forgotten_errors: u64,
    /// Whether the input was cut short, or damaged.
    pub(crate) is_partial: bool,
    /// Messages for the user, the latest last.
    pub(crate) notes: Vec<String>,
}

impl Overview {
    /// Returns whether there can be something in a list: most captures have no replication, and no pooler.
    pub(crate) const fn has(&self, tab: Tab) -> bool {
        match tab {
            Tab::Replication => self.streams > 0,
            Tab::Poolers => self.pools > 0,
            Tab::Running | Tab::Statements | Tab::Sessions | Tab::Errors => true,
        }
    }

    /// Returns how many rows a list has no more.
    pub(crate) fn not_kept(&self, tab: Tab) -> Option<u64> {
        let not_kept = match tab {
            Tab::Sessions => self.forgotten_sessions,
            Tab::Errors => self.forgotten_errors,
            Tab::Running | Tab::Statements | Tab::Replication | Tab::Poolers => 0,
        };
        Some(not_kept).filter(|not_kept| *not_kept > 0)
    }
}

/// The messages of a session, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ladder {
    /// The messages.
    pub(crate) steps: Vec<Step>,
    /// How many messages before these were forgotten, to bound the memory.
    pub(crate) forgotten: u64,
}

/// The bytes of a message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WireBytes {
    /// With tag and length word.
    Known(Vec<u8>),
    /// Some of them must not be shown.
    Redacted,
    /// They are not kept: they are too many, some were not captured, or they were forgotten.
    NotKept,
}

/// A message of a ladder; or rows that were counted only.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The ordinal of the message on its connection; of counted rows, that of the first.
    pub(crate) seq: u64,
    pub(crate) ts: Timestamp,
    pub(crate) packet: u64,
    pub(crate) dir: Direction,
    /// The type of the message, such as `DataRow`.
    pub(crate) name: String,
    /// How many messages these are: 1, or the number of counted rows.
    pub(crate) count: u64,
    /// The number of the request on its connection that it belongs to.
    pub(crate) query: Option<u64>,
    /// Bytes on the wire, with tag and length word.
    pub(crate) bytes: u64,
    /// What it says, in a line of text.
    pub(crate) text: String,
    /// All its fields: the JSON line as `-e message` writes it; empty for rows that were counted only.
    pub(crate) json: String,
}
