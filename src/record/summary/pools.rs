//! What went through poolers.

use schemars::JsonSchema;
use serde::Serialize;

use crate::time::Timestamp;

/// The clients of one user and database behind a pooler: PgBouncer's pool.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Pool {
    /// The address and port at which the pooler accepts clients.
    pub server: String,
    /// The database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Requests of clients that were found on a connection to the server: all others here are of these.
    pub requests: u64,
    /// Requests of clients that were not found there.
    pub unjoined_requests: u64,
    /// Requests that the pooler has answered by itself.
    pub answered_by_pooler: u64,
    /// Those of them that failed: `query_wait_timeout`, for example.
    pub refused_by_pooler: u64,
    /// Connections of clients that made requests.
    pub client_connections: u64,
    /// Connections to the server on which they were executed.
    pub server_connections: u64,
    /// How long requests waited for such a connection.
    #[serde(flatten)]
    pub waits: Waits,
    /// Microseconds in which connections to the server had a request, all together.
    pub busy_us: u64,
    /// Microseconds in which they were held by a client that had a transaction open and asked for nothing.
    pub idle_in_transaction_us: u64,
    /// The clients that did so for the longest time at once.
    pub idle_in_transaction: Vec<IdleInTransaction>,
    /// The statements that have waited longest, all their calls together.
    pub statements: Vec<StatementWaits>,
    /// How many more there are.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub unlisted_statements: u64,
    /// Waits and connections over time.
    pub over_time: PoolTraffic,
}

/// How long requests waited for a connection to the server, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Waits {
    /// All together.
    pub wait_us: u64,
    /// The mean.
    pub wait_mean_us: u64,
    /// The median.
    pub wait_p50_us: u64,
    /// The time that 95 % do not exceed.
    pub wait_p95_us: u64,
    /// The longest.
    pub wait_max_us: u64,
}

/// The waits of one statement, whatever its constants.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct StatementWaits {
    /// What all SQL of that shape shares. Absent for requests whose SQL is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The SQL as pg_stat_statements shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<String>,
    /// Requests of it.
    pub calls: u64,
    /// Their waits.
    #[serde(flatten)]
    pub waits: Waits,
}

/// A client that had a transaction open and asked for nothing, and so kept a connection to the server from others.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct IdleInTransaction {
    /// When its next request began.
    pub ts: Timestamp,
    /// Its connection to the pooler.
    pub conn: u64,
    /// The number of that request on it.
    pub query: u64,
    /// The client's address and port.
    pub client: String,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The connection to the server.
    pub server_conn: u64,
    /// How long, in microseconds.
    pub idle_us: u64,
}

/// A pool over time.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PoolTraffic {
    /// The width of a bucket, in microseconds.
    pub bucket_us: u64,
    /// The buckets, without gaps.
    pub buckets: Vec<PoolBucket>,
}

/// A pool in a span of time. Each time divided by the width of the bucket is a mean: how many clients waited, for example.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct PoolBucket {
    /// When it begins.
    pub started: Timestamp,
    /// Requests that were executed in it, by when they ended.
    pub requests: u64,
    /// Microseconds in which requests waited for a connection to the server, all together.
    pub wait_us: u64,
    /// Microseconds in which connections to the server had a request.
    pub busy_us: u64,
    /// Microseconds in which connections to the server were idle in a transaction.
    pub idle_in_transaction_us: u64,
}
