//! `"event":"summary"`: what all requests and sessions of a capture add up to.

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Counters, KernelStats, Reason, is_zero};
use crate::pg::text::inline_schema;
use crate::session::execution::Outcome;
pub use crate::sql::audit::AuditKind;
use crate::time::Timestamp;
pub use pools::{IdleInTransaction, Pool, PoolBucket, PoolTraffic, StatementWaits, Waits};
pub use replication::{
    BackupArchive, BaseBackup, LargeTransaction, ReplicationBucket, ReplicationStream, ReplicationTraffic, TableChanges,
};

mod pools;
mod replication;

/// What all requests and sessions add up to, from the beginning of the capture.
///
/// Sections with a limit hold the first of their order. All times of requests are of `exec_us`: the time that the server can have
/// worked on a request alone, so that they can be added. Quantiles are nearest ranks, with an error of at most 1 %.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// The time of the last packet; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// What the capture holds, and how complete it is.
    pub capture: Capture,
    /// All requests and sessions together.
    pub totals: Totals,
    /// Those since the summary before, where the capture is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// The statements that are first by `exec_us`, `calls`, `mean_us`, `rows`, or `bytes_in` and `bytes_out` together; ordered by
    /// `exec_us`.
    pub statements: Vec<StatementSummary>,
    /// All other statements together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_statements: Option<OtherStatements>,
    /// The requests with the longest `exec_us`.
    pub slowest: Vec<Example>,
    /// The requests with the most bytes, of both directions.
    pub largest: Vec<Example>,
    /// Requests that had no end yet when the capture ended, or when the summary was made, the oldest first.
    pub running: Vec<Example>,
    /// Errors of requests and of sessions, by SQLSTATE; the most frequent first.
    pub errors: Vec<ErrorSummary>,
    /// Logins that failed, by who tried; the most frequent first.
    pub failed_logins: Vec<FailedLogin>,
    /// Requests that were canceled.
    pub cancels: Vec<Example>,
    /// Requests that failed for a lock: a deadlock (40P01), a lock that was not available (55P03).
    pub locks: Vec<Example>,
    /// Sessions and their requests by user; the longest `exec_us` first.
    pub users: Vec<Group>,
    /// By database.
    pub databases: Vec<Group>,
    /// By application.
    pub applications: Vec<Group>,
    /// By the client's address, without its port.
    pub clients: Vec<Group>,
    /// How applications use prepared statements; those with the most statements parsed first.
    pub prepared: Vec<PreparedUse>,
    /// Where the time of requests went.
    pub time: TimeSplit,
    /// How sessions are protected; the most frequent first.
    pub protection: Vec<Protection>,
    /// Statements that an audit looks for: who ran them.
    pub audit: Vec<AuditEntry>,
    /// Candidates for N+1: one statement, called at least 10 times with different parameters by one session, in one transaction or
    /// without a pause of 100 ms; by statement, user and application.
    pub n_plus_one: Vec<Candidate>,
    /// SELECT statements without a limit that returned at least 1,000 rows at once.
    pub unlimited_selects: Vec<UnlimitedSelect>,
    /// Requests over time.
    pub traffic: Traffic,
    /// Replication streams, by slot and client: those whose client is 10 s behind or more, by that; then those with the most bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replication_streams: Vec<ReplicationStream>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_replication_streams: u64,
    /// Changes and logical messages of these others.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_replicated_changes: u64,
    /// The transactions with the most changes, in streams of pgoutput.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub largest_transactions: Vec<LargeTransaction>,
    /// Base backups; those with the most bytes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base_backups: Vec<BaseBackup>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_base_backups: u64,
    /// What went through poolers, by pooler, database and user; those whose requests waited longest first. Everywhere else, such a request
    /// counts once, as its client's, with the time that it took on the server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
    /// What the same workload was before, and how this one differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Box<Comparison>>,
}

/// What a capture holds, and how complete it is.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Capture {
    /// The time of the first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Microseconds from the first packet to the last; of a live capture, from its start to now.
    pub duration_us: u64,
    /// Whether the capture goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub under_way: bool,
    /// Whether a signal ended the reading of files before their end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// The options that leave out a part of the capture, as they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selection: Vec<String>,
    /// What the engine counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// What the kernel counted, where the capture is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelStats>,
    /// What was lost, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loss_reasons: Vec<LossReason>,
    /// Sessions that had begun before the capture.
    pub midstream_sessions: u64,
    /// Sessions that are encrypted, and were not decrypted.
    pub undecrypted_sessions: u64,
    /// Requests whose figures are uncertain, for bytes were lost.
    pub uncertain_requests: u64,
    /// Statements that were forgotten, for there were too many at a time. Their figures are in `other_statements`, and those of a
    /// statement that came again lack what it had before.
    pub forgotten_statements: u64,
    /// The longest `exec_us` of a statement that was forgotten: that of a listed statement lacks at most as much for each time it
    /// was forgotten.
    #[serde(skip_serializing_if = "is_zero")]
    pub forgotten_exec_us: u64,
}

/// What was lost for one reason.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct LossReason {
    /// Why.
    pub reason: Reason,
    /// How many reports of loss.
    pub count: u64,
    /// Bytes that are missing.
    pub missing_bytes: u64,
    /// Bytes that were captured, but skipped.
    pub skipped_bytes: u64,
}

/// Times of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Times {
    /// How many requests have a time: they were executed, and their end was seen.
    pub timed: u64,
    /// All times together, in microseconds.
    pub exec_us: u64,
    /// The mean, in microseconds. This and the others are 0 where no request has a time.
    pub mean_us: u64,
    /// The median.
    pub p50_us: u64,
    /// The time that 95 % do not exceed.
    pub p95_us: u64,
    /// The time that 99 % do not exceed.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// All requests and sessions together.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Totals {
    /// Requests: lines of the event `query`.
    pub requests: u64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// Those of which no end was seen.
    pub unfinished: u64,
    /// Those that the server ignored, for a request before them had failed.
    pub skipped: u64,
    /// Their times.
    #[serde(flatten)]
    pub times: Times,
    /// Rows that they returned or changed.
    pub rows: u64,
    /// Bytes of their messages from the client.
    pub bytes_in: u64,
    /// Bytes of their messages from the server.
    pub bytes_out: u64,
    /// Statements that differ in more than their constants.
    pub distinct_statements: u64,
    /// Sessions, without connections that only asked for a cancel, or sent no StartupMessage.
    pub sessions: u64,
    /// Sessions that began within the capture.
    pub connects: u64,
    /// The most sessions that began within a second.
    pub most_connects_per_second: u64,
    /// Sessions whose login failed.
    pub logins_failed: u64,
    /// Microseconds in which a transaction was open and its client asked for nothing.
    pub idle_in_transaction_us: u64,
}

/// The requests and sessions since the summary before.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Interval {
    /// When it began.
    pub started: Timestamp,
    /// How long it was, in microseconds.
    pub duration_us: u64,
    /// Its requests and sessions.
    #[serde(flatten)]
    pub totals: Totals,
}

/// The calls of one statement, whatever its constants.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct StatementSummary {
    /// What all SQL of that shape shares: 16 hexadecimal digits. Absent for requests whose SQL is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The SQL as pg_stat_statements shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<String>,
    /// Requests of it.
    pub calls: u64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// Their times.
    #[serde(flatten)]
    pub times: Times,
    /// The share of all `exec_us`, in percent.
    pub share: f64,
    /// Rows that they returned or changed.
    pub rows: u64,
    /// Bytes of their messages from the client.
    pub bytes_in: u64,
    /// Bytes of their messages from the server.
    pub bytes_out: u64,
    /// How many took how long: times up to `us`, and longer than that of the item before.
    pub histogram: Vec<Bin>,
    /// The users that called it: the eight with the most calls, as of the following.
    pub users: Vec<Share>,
    /// The databases in which.
    pub databases: Vec<Share>,
    /// The applications.
    pub applications: Vec<Share>,
    /// The addresses of the clients.
    pub clients: Vec<Share>,
    /// Its errors, by SQLSTATE: the 32 most frequent.
    pub error_codes: Vec<CodeCount>,
    /// The slowest call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Box<Example>>,
}

/// Statements that are not listed.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct OtherStatements {
    /// How many; those that were forgotten and came again count again.
    pub distinct_statements: u64,
    /// Requests of them.
    pub calls: u64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// How many have a time.
    pub timed: u64,
    /// Their times together, in microseconds.
    pub exec_us: u64,
    /// Rows that they returned or changed.
    pub rows: u64,
    /// Bytes of their messages from the client.
    pub bytes_in: u64,
    /// Bytes of their messages from the server.
    pub bytes_out: u64,
}

/// A part of a histogram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Bin {
    /// The longest time in it, in microseconds.
    pub us: u64,
    /// How many requests.
    pub count: u64,
}

/// How many requests are of one user, database, application or client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Share {
    /// The name; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many.
    pub calls: u64,
}

/// How many errors have one SQLSTATE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct CodeCount {
    /// The SQLSTATE.
    pub code: String,
    /// The name of its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// How many.
    pub count: u64,
}

/// One request, or one session where `query` is absent.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Example {
    /// When its end was known.
    pub ts: Timestamp,
    /// When its first message was captured, or the first packet of the session.
    pub started: Timestamp,
    /// The connection.
    pub conn: u64,
    /// The number of the request on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<u64>,
    /// The number of the captured packet with which its end was known.
    pub packet: u64,
    /// The client's address and port.
    pub client: String,
    /// The server's address and port.
    pub server: String,
    /// The user of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The database of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The application of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// What all SQL of that shape shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The SQL, up to its first 4,096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// The values of its parameters; the first of them, where all are longer than 4,096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Params>,
    /// Whether SQL or values are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The severity of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The SQLSTATE of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The name of that condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The message of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// More about its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The connection of the CancelRequest that canceled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<u64>,
    /// The address and port from which that CancelRequest came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_from: Option<String>,
    /// How many rows it returned or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of its messages from the client.
    pub bytes_in: u64,
    /// Bytes of its messages from the server.
    pub bytes_out: u64,
    /// Microseconds from its first message to its last reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_us: Option<u64>,
    /// Microseconds that the server can have worked on it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_us: Option<u64>,
    /// How old it was, in microseconds, when that was last known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_us: Option<u64>,
}

/// Values of parameters, as they are in the line of the request.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Params(pub Vec<Box<RawValue>>);

inline_schema!(Params, "Params", |_: &mut SchemaGenerator| json_schema!({ "type": "array" }));

/// Errors with one SQLSTATE.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ErrorSummary {
    /// The SQLSTATE.
    pub code: String,
    /// The name of its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// How many requests failed with it, and how many sessions it ended, or kept from a login.
    pub count: u64,
    /// How many of them are sessions.
    pub sessions: u64,
    /// The statements that raised it: the eight most frequent.
    pub statements: Vec<ErrorStatement>,
    /// The first of them.
    pub example: Box<Example>,
}

/// A statement that raised an error.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ErrorStatement {
    /// What all SQL of that shape shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The SQL as pg_stat_statements shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<String>,
    /// How many times.
    pub count: u64,
}

/// Logins that failed alike.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct FailedLogin {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The client's address.
    pub client_ip: String,
    /// The SQLSTATE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The name of its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The message of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many.
    pub count: u64,
    /// When the first one failed.
    pub started: Timestamp,
    /// When the last one failed.
    pub ts: Timestamp,
}

/// Sessions of one user, database, application or client, and their requests.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Group {
    /// The name, or the address; absent where it is not known, or there are too many: more than 65,536 of them all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Sessions.
    pub sessions: u64,
    /// Those of them that began within the capture.
    pub connects: u64,
    /// How many of them a second of the capture.
    pub connects_per_second: f64,
    /// Logins that failed.
    pub logins_failed: u64,
    /// The mean time from the first packet of a session to the first ReadyForQuery, in microseconds.
    pub login_mean_us: u64,
    /// The time that 95 % of logins do not exceed.
    pub login_p95_us: u64,
    /// The longest.
    pub login_max_us: u64,
    /// Requests.
    pub requests: u64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// Their times together, in microseconds.
    pub exec_us: u64,
    /// Rows that they returned or changed.
    pub rows: u64,
    /// Bytes of their messages from the client.
    pub bytes_in: u64,
    /// Bytes of their messages from the server.
    pub bytes_out: u64,
    /// Microseconds in which a transaction was open and the client asked for nothing, of sessions that have ended.
    pub idle_in_transaction_us: u64,
}

/// How an application uses prepared statements.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PreparedUse {
    /// The application; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Requests with Query: nothing can be prepared.
    pub simple: u64,
    /// Requests with Execute.
    pub extended: u64,
    /// Those of them with a Parse of their own.
    pub parsed: u64,
    /// Those of them that use a named statement.
    pub named: u64,
    /// `parsed` of `extended`, in percent: 100 is who prepares every time.
    pub share: f64,
}

/// Where the time of requests went, in microseconds: of those for which all of it is known.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct TimeSplit {
    /// How many requests.
    pub timed: u64,
    /// The server worked before its first reply (`server_us`).
    pub server_us: u64,
    /// The reply was under way, from its first byte to its last, without the time below (`transfer_us` less `client_stall_us`).
    pub transfer_us: u64,
    /// The server had to wait for the client, whose receive window was full (`client_stall_us`).
    pub client_stall_us: u64,
    /// One round trip of the network each, from client to server (`rtt_client_us` and `rtt_server_us`).
    pub network_us: u64,
    /// A transaction was open and the client asked for nothing.
    pub idle_in_transaction_us: u64,
}

/// Sessions that are protected in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Protection {
    /// `TLSv1.3` and so on, `TLS`, `GSSAPI`, or `none`; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// How the client showed who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<String>,
    /// What is weak about it: `password_in_clear`, `md5`, `no_channel_binding` where it was offered, `key_exchange_failed`.
    pub weaknesses: Vec<Weakness>,
    /// How many sessions.
    pub sessions: u64,
}

/// What is weak about the protection of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Weakness {
    /// A password was sent as it is, without encryption.
    PasswordInClear,
    /// An MD5 of a password, which serves as well as the password.
    Md5,
    /// SCRAM without channel binding, which the server offered.
    NoChannelBinding,
    /// The key exchange failed.
    KeyExchangeFailed,
}

impl Weakness {
    /// The weakness as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PasswordInClear => "password_in_clear",
            Self::Md5 => "md5",
            Self::NoChannelBinding => "no_channel_binding",
            Self::KeyExchangeFailed => "key_exchange_failed",
        }
    }
}

/// A statement that an audit looks for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct AuditEntry {
    /// Why.
    pub kind: AuditKind,
    /// What all SQL of that shape shares.
    pub fingerprint: String,
    /// The SQL as pg_stat_statements shows it.
    pub normalized: String,
    /// Requests of it.
    pub calls: u64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// Who ran it: the eight with the most calls.
    pub callers: Vec<Caller>,
}

/// Who called a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Caller {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// How many times.
    pub calls: u64,
}

/// A candidate for N+1.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Candidate {
    /// What all SQL of that shape shares.
    pub fingerprint: String,
    /// The SQL as pg_stat_statements shows it.
    pub normalized: String,
    /// How many transactions, or bursts without a pause, had many calls.
    pub bursts: u64,
    /// Calls in them.
    pub calls: u64,
    /// The most calls in one.
    pub max_calls: u64,
    /// Their times together, in microseconds.
    pub exec_us: u64,
    /// The connection of the one with the most calls.
    pub conn: u64,
    /// When that one began.
    pub started: Timestamp,
    /// Whether that one is a transaction.
    pub in_transaction: bool,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

/// A SELECT without a limit that returned many rows at once.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct UnlimitedSelect {
    /// What all SQL of that shape shares.
    pub fingerprint: String,
    /// The SQL as pg_stat_statements shows it.
    pub normalized: String,
    /// Requests of it.
    pub calls: u64,
    /// Rows that they returned.
    pub rows: u64,
    /// The most rows of one.
    pub max_rows: u64,
    /// Bytes of their messages from the server.
    pub bytes_out: u64,
}

/// Requests over time.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Traffic {
    /// The width of a bucket, in microseconds.
    pub bucket_us: u64,
    /// The buckets, without gaps; a request is in that of the time when its end was known.
    pub buckets: Vec<Bucket>,
}

/// The requests of a span of time.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Bucket {
    /// When it begins.
    pub started: Timestamp,
    /// Requests.
    pub requests: u64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// Sessions that began.
    pub connects: u64,
    /// Bytes of the requests' messages from the client.
    pub bytes_in: u64,
    /// Bytes of the requests' messages from the server.
    pub bytes_out: u64,
    /// Their times.
    #[serde(flatten)]
    pub times: Times,
    /// How many requests took how long.
    pub histogram: Vec<Bin>,
}

/// How the requests differ from those of an earlier capture.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Comparison {
    /// The time of the first packet of the earlier capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How long it is, in microseconds.
    pub duration_us: u64,
    /// Its requests and sessions.
    pub totals: Totals,
    /// What explains most of the change, first what changed `exec_us` a second of the capture most.
    pub explained: Vec<Difference>,
    /// Statements that were not called before.
    pub appeared: Vec<Difference>,
    /// Statements that are not called any more.
    pub vanished: Vec<Difference>,
    /// Statements that became slower.
    pub slower: Vec<Difference>,
    /// Statements that became faster.
    pub faster: Vec<Difference>,
    /// Statements that are called more often.
    pub more_frequent: Vec<Difference>,
    /// Statements that are called less often.
    pub less_frequent: Vec<Difference>,
    /// Statements that began to fail.
    pub began_to_fail: Vec<Difference>,
}

/// How the calls of one statement differ.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Difference {
    /// What all SQL of that shape shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The SQL as pg_stat_statements shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<String>,
    /// What it was; absent where it was not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Calls>,
    /// What it is; absent where it is not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Calls>,
    /// How much more of its `exec_us` a second of the capture has, in microseconds; below 0 where it is less.
    pub change_us_per_second: f64,
    /// The probability that a call now takes longer than one before: 0.5 where there is no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slower_probability: Option<f64>,
    /// How sure it is that the times differ: by the rank-sum test of Mann and Whitney.
    pub confidence: Confidence,
}

/// The calls of a statement in one of two captures.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Calls {
    /// Requests of it.
    pub calls: u64,
    /// How many a second of the capture.
    pub calls_per_second: f64,
    /// Those that failed or were canceled.
    pub errors: u64,
    /// Their times.
    #[serde(flatten)]
    pub times: Times,
}

/// How sure it is that two sets of times differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Confidence {
    /// There are too few calls to tell, or the difference can well be chance (p ≥ 0.05).
    #[default]
    Unsure,
    /// The difference is unlikely to be chance (p < 0.05).
    Likely,
    /// The difference is very unlikely to be chance (p < 0.001).
    Certain,
}

impl Confidence {
    /// The confidence as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsure => "unsure",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}
