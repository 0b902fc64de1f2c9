//! `"event":"query"`: one executed request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::ends::HeaderWithEnds;
use super::{CommunityId, Flags, Header};
use crate::direction::PerDirection;
use crate::pg::condition::condition_name;
use crate::pg::error::{Fields, code};
use crate::pg::list::Oid;
use crate::pg::query::TransactionStatus;
use crate::pg::row::Values;
use crate::pg::text::{Sql, Text, inline_schema};
use crate::session::execution::{DataMark, Outcome, Protocol, Tags};
use crate::session::violation::Violation;
use crate::sql::normalize;
use crate::time::Timestamp;

/// One executed request, written when it has ended: a Query, whatever the number of its statements; an Execute, with the
/// Parse and Bind that go with it; a FunctionCall. Also a Parse, Bind or Describe that failed, so that nothing could be
/// executed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QueryRecord<'a> {
    /// When its end was known: that of the group that it is of, and of the requests before it.
    #[serde(flatten, serialize_with = "Header::with_ends")]
    #[schemars(with = "HeaderWithEnds<'_>")]
    pub header: Header<'a>,
    /// The Community ID of the connection, version 1.
    pub community_id: CommunityId,
    /// Its number on the connection: that of its messages.
    pub query: u64,
    /// Number of the captured packet with which that was so.
    pub packet: u64,
    /// When its first message was captured.
    pub started: Timestamp,
    /// The user of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Text<'a>>,
    /// The database of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Text<'a>>,
    /// The application, as the session says it (`application_name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Text<'a>>,
    /// How it was made.
    pub protocol: Protocol,
    /// `sql`, `normalized`, `fingerprint`, `tags`; absent where it was prepared before the capture began.
    #[serde(flatten)]
    pub sql: Option<QuerySql<'a>>,
    /// The name of the prepared statement; empty for the unnamed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Text<'a>>,
    /// The name of the portal, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal: Option<Text<'a>>,
    /// The function that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_oid: Option<Oid>,
    /// The values of its parameters, or its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Values<'a>>,
    /// Command tags, one for each statement that was executed: `INSERT 0 5`.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub command_tags: Tags<'a>,
    /// How many rows it returned or changed, all statements together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of its messages from the client, up to its end.
    pub bytes_in: u64,
    /// Bytes of its messages from the server, up to its end.
    pub bytes_out: u64,
    /// Bytes that either side sent again while this was the request that the server worked on, as far as both were captured; absent
    /// where that was none. One byte by itself is not counted, because keep-alives and window probes repeat one; nor is what was
    /// repeated within 1 ms, because it may have been captured twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmitted: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure<'a>>,
    /// The connection of the CancelRequest that canceled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<u64>,
    /// Microseconds from Parse to ParseComplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parse_us: Option<u64>,
    /// Microseconds from Bind to BindComplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_us: Option<u64>,
    /// Microseconds from its first message to its first row, or the first data of a COPY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_row_us: Option<u64>,
    /// Microseconds from its first message to its last row, or the last data of a COPY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_row_us: Option<u64>,
    /// Microseconds from its first message to its last reply; absent where that was not seen, or never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_us: Option<u64>,
    /// Microseconds that the server can have worked on this request alone: from its last byte, or the end of the reply before it
    /// if that was later, to the end of its own reply. Absent for a replication stream, as the two below: it goes on as long as its
    /// client likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_us: Option<u64>,
    /// The same until the first of its reply, less the round-trip time to the server as far as the server waited for the request;
    /// absent where that time is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_us: Option<u64>,
    /// Microseconds from the first to the last of its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_us: Option<u64>,
    /// For how many of these microseconds the server could send no more, because the client's receive window was full: from when the
    /// client had to show that, at the latest by announcing a window of 0, until it announced another. That includes the time in which
    /// the window had room for less than a segment, as far as it was full in the end. Absent where no window of 0 was announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_stall_us: Option<u64>,
    /// Of a request without an end: how old it was, in microseconds, when that was last known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_us: Option<u64>,
    /// The round-trip time between the capture point and the client, in microseconds: the shortest so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_client_us: Option<u64>,
    /// The same of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_server_us: Option<u64>,
    /// At a pooler's client side: the execution at its server side that has answered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// At a pooler's server side: whose request it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downstream: Option<Downstream<'a>>,
    /// Whether it is the pooler's own: at its server side, what it has asked by itself; at its client side, what it has answered by
    /// itself. Absent where it is not, or that is not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pooler: bool,
    /// The state of the transaction in which it began: that of the last ReadyForQuery before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx: Option<TransactionStatus>,
    /// How the server, or a pooler before it, broke the protocol while it waited for its replies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
    /// What is odd about it.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
    /// What is known of the server's process. Not on its line: the lines of the session have it.
    #[serde(skip)]
    pub backend: Backend,
    /// What it and the same request on the other side of a pooler are found by. Not on its line.
    #[serde(skip)]
    pub evidence: Evidence,
    /// What it had, in the extended protocol. Not on its line: the lines of its messages have it.
    #[serde(skip)]
    pub steps: Steps<'a>,
}

/// The same request at a pooler's server side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Upstream {
    /// The connection to the server.
    pub conn: u64,
    /// Its number on that connection.
    pub query: u64,
    /// Microseconds from the last byte of the request to its first byte on that connection: how long it waited for one; 0 if it began
    /// there before it was complete.
    pub wait_us: u64,
    /// Microseconds that its transaction had been idle before it: the client asked for nothing, and kept that connection. Absent where no
    /// transaction was open, or its request before that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_us: Option<u64>,
    /// When its first byte was captured on that connection, and the last of its reply. Not on its line.
    #[serde(skip)]
    pub executed: (Timestamp, Timestamp),
}

/// The same request at a pooler's client side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Downstream<'a> {
    /// The connection of the client.
    pub conn: u64,
    /// Its number on that connection.
    pub query: u64,
    /// The client's address and port.
    pub client: &'a str,
    /// The application, as its session says it (`application_name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Text<'a>>,
    /// The user and the database, as its client names them. Not on its line.
    #[serde(skip)]
    pub names: [Option<Text<'a>>; 2],
}

/// What a request and the same on the other side of a pooler have in common, and when its parts were captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// When the last of its messages was sent that the server needs to work on it.
    pub sent: Timestamp,
    /// When the first of its reply was captured, and when the last.
    pub replied: Option<(Timestamp, Timestamp)>,
    /// What the data of its reply are told apart by.
    pub data: DataMark,
    /// Whether its own messages, or those of its reply, were found behind a boundary that was a guess; not only those that have prepared
    /// its statement.
    pub is_guessed: bool,
    /// Whether its connection is that of a pooler's client.
    pub is_at_pooler: bool,
}

/// What messages a request of the extended protocol had.
#[derive(Clone, Debug, Default)]
pub struct Steps<'a> {
    /// How many ReadyForQuery came before its first reply: what is of one number is of one pipeline, up to a Sync.
    pub pipeline: u64,
    /// Whether there was a Parse.
    pub has_parse: bool,
    /// Whether there was a Bind.
    pub has_bind: bool,
    /// What was parsed and not executed with it: drivers describe a statement, and execute others before they sync.
    pub parsed: Vec<ParsedStatement<'a>>,
}

/// A statement that was parsed.
#[derive(Clone, Copy, Debug)]
pub struct ParsedStatement<'a> {
    /// Its name; empty for the unnamed one.
    pub name: Text<'a>,
    /// Its SQL.
    pub sql: Sql<'a>,
    /// Microseconds from Parse to ParseComplete.
    pub parse_us: u64,
    /// When ParseComplete was captured.
    pub at: Timestamp,
}

/// The server's process of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backend {
    /// Its process ID.
    pub process_id: Option<i32>,
    /// When the first packet of the connection was captured.
    pub started: Timestamp,
    /// Whether it is a walsender.
    pub is_walsender: bool,
    /// Whether it has ended the session with an error.
    pub has_failed: bool,
    /// Whether a backslash in a constant is no escape (`standard_conforming_strings`), as it reported last, and when.
    pub conforming_strings: Option<(bool, Timestamp)>,
    /// The bytes of the request, by their direction, that were given as messages of a replication stream or a base backup already.
    pub given_bytes: PerDirection<u64>,
}

/// What of a request's record is borrowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Borrowed<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) user: Option<Text<'a>>,
    pub(crate) database: Option<Text<'a>>,
    pub(crate) application: Option<Text<'a>>,
    pub(crate) sql: Option<QuerySql<'a>>,
    pub(crate) statement: Option<Text<'a>>,
    pub(crate) portal: Option<Text<'a>>,
    pub(crate) params: Option<Values<'a>>,
    pub(crate) command_tags: Tags<'a>,
    pub(crate) downstream: Option<Downstream<'a>>,
    pub(crate) error: Option<Failure<'a>>,
    pub(crate) steps: Steps<'a>,
}

impl QueryRecord<'_> {
    /// Returns the request as it counts where each counts once. What went through a pooler is captured twice: at the server's side, it is
    /// that of the pooler's client, with the time that it took on the server; at the client's side, it is none. What a pooler answers
    /// itself takes no time of a server, and what it asks itself is no application's.
    pub fn counted(&self) -> Option<Cow<'_, Self>> {
        match (self.upstream, self.downstream) {
            (Some(_), _) => None,
            (None, Some(Downstream { conn, query, client, application, names: [user, database] })) => {
                let header = Header { conn, client, ..self.header };
                Some(Cow::Owned(Self { header, query, user, database, application, ..self.clone() }))
            }
            (None, None) if self.pooler && self.evidence.is_at_pooler => {
                Some(Cow::Owned(Self { exec_us: None, server_us: None, ..self.clone() }))
            }
            (None, None) if self.is_asked_by_pooler() => Some(Cow::Owned(Self { application: None, ..self.clone() })),
            (None, None) => Some(Cow::Borrowed(self)),
        }
    }

    /// Returns whether a pooler asks it by itself.
    pub(crate) const fn is_asked_by_pooler(&self) -> bool {
        self.pooler && !self.evidence.is_at_pooler
    }

    /// Returns whether the server answered it with an error, its cancellation included.
    pub(crate) const fn has_failed(&self) -> bool {
        self.error.is_some() || matches!(self.outcome, Outcome::Error | Outcome::Canceled)
    }

    /// Returns whether it asks a walsender for a base backup.
    pub(crate) fn is_base_backup(&self) -> bool {
        self.is_command(b"BASE_BACKUP")
    }

    /// Returns whether it asks a walsender for a replication stream, which goes on as long as its client likes.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_command(b"START_REPLICATION")
    }

    /// Returns whether it asks a walsender to create or drop a slot.
    pub(crate) fn is_for_slot(&self) -> bool {
        self.is_command(b"CREATE_REPLICATION_SLOT") || self.is_command(b"DROP_REPLICATION_SLOT")
    }

    /// Commands to a walsender are in upper case.
    fn is_command(&self, name: &[u8]) -> bool {
        self.backend.is_walsender && self.sql.is_some_and(|sql| sql.0.text.0.trim_ascii_start().starts_with(name))
    }

    /// Returns the record with other borrowed fields. The lifetimes are unrelated, so that none can be forgotten.
    pub(crate) fn with_borrowed<'b>(&self, borrowed: Borrowed<'b>) -> QueryRecord<'b> {
        let Borrowed {
            header,
            user,
            database,
            application,
            sql,
            statement,
            portal,
            params,
            command_tags,
            downstream,
            error,
            steps,
        } = borrowed;
        QueryRecord {
            header,
            user,
            database,
            application,
            sql,
            statement,
            portal,
            params,
            command_tags,
            downstream,
            error,
            steps,
            ..*self
        }
    }
}

impl<'a> Failure<'a> {
    /// The fields of an ErrorResponse.
    pub fn new(fields: Fields<'a>) -> Self {
        let sqlstate = fields.get(code::CODE).and_then(|code| code.0.try_into().ok());
        Self { condition: sqlstate.and_then(condition_name), fields }
    }
}

/// The SQL of a request. Its normal form is made when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuerySql<'a>(pub Sql<'a>);

impl QuerySql<'_> {
    /// Returns the SQL as pg_stat_statements shows it, and what all SQL of that shape shares: 16 hexadecimal digits.
    pub fn normalize(&self) -> (Vec<u8>, String) {
        let (normalized, fingerprint) = self.normal_form();
        (normalized, fingerprint.0.to_string())
    }

    /// Returns the tags in its comment, by the convention of sqlcommenter; empty if there are none.
    pub fn tags(&self) -> Vec<(String, String)> {
        self.0.tags()
    }

    fn normal_form(&self) -> (Vec<u8>, Fingerprint) {
        let mut normalized = Vec::new();
        let fingerprint = Fingerprint(self.0.normalize(&mut normalized).fingerprint);
        (normalized, fingerprint)
    }
}

/// SQL and its normal form, as they are written.
#[derive(Serialize, JsonSchema)]
struct SqlAndForm<'a> {
    /// The SQL.
    sql: Sql<'a>,
    /// The SQL as pg_stat_statements shows it: with `$n` for its constants, on one line.
    normalized: Text<'a>,
    /// What all SQL of that shape shares, also under other releases: 16 hexadecimal digits.
    fingerprint: Fingerprint,
    /// The tags in the comment at its end, or else at its beginning, by the convention of sqlcommenter: what the application says of
    /// it, such as `route` or `traceparent`. Decoded, in the order of the comment. Absent where there is no such comment, or anything in
    /// it is not as the convention has it. Secrets are masked, and with `--redact values` all values are.
    #[serde(skip_serializing_if = "SqlTags::is_empty")]
    tags: SqlTags,
}

impl Serialize for QuerySql<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (normalized, fingerprint) = self.normal_form();
        let (normalized, tags) = (Text(&normalized, self.0.text.1), SqlTags(self.tags()));
        SqlAndForm { sql: self.0, normalized, fingerprint, tags }.serialize(serializer)
    }
}

inline_schema!(QuerySql<'_>, "QuerySql", SqlAndForm::json_schema);

/// The tags in the comment of a text: an object.
struct SqlTags(Vec<(String, String)>);

impl SqlTags {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for SqlTags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

inline_schema!(SqlTags, "SqlTags", BTreeMap::<String, String>::json_schema);

/// The fingerprint of a normal form, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) normalize::Fingerprint);

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

inline_schema!(Fingerprint, "Fingerprint", |_: &mut SchemaGenerator| json_schema!({
    "type": "string",
    "pattern": "^[0-9a-f]{16}$",
}));

/// An ErrorResponse, with the name of its SQLSTATE.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Failure<'a> {
    /// The name of the condition that the SQLSTATE stands for, as PL/pgSQL has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<&'static str>,
    /// The fields.
    #[serde(flatten)]
    pub fields: Fields<'a>,
}
