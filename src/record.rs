//! The output contract: every kind of line, as types.
//!
//! UTF-8, one object a line, unique keys (but in a value of type `json`, which is as it is), `event` first. Fields may be
//! added; none is renamed or dropped without a new major version. What is absent is not known or does not apply; null is SQL NULL, or a value that is null on the wire.
//! [`schema`] is generated from these types.

use std::ops::AddAssign;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;

use crate::direction::Direction;
use crate::pg::frame::Damage;
use crate::pg::message::Message;
use crate::pg::row::Guess;
use crate::pg::text::{Excerpt, Secret, Sql, Text};
use crate::reader::DecodeError;
use crate::replication::command::Command;
use crate::replication::data::ReplicationData;
use crate::time::Timestamp;

pub mod change;
mod community_id;
pub(crate) mod ends;
pub(crate) mod event;
pub(crate) mod query;
mod replication;
mod running;
pub(crate) mod session;
pub mod summary;

pub use crate::session::Encryption;
pub use crate::session::execution::{DataMark, Outcome, Protocol, Tags};
pub use crate::session::facts::{AuthMethod, ChannelBinding, Setting};
pub use crate::session::violation::{Breach, Violation};
pub use crate::session::walsender::Purpose;
pub use crate::session::walsender::backup::BackupFacts;
pub use crate::session::walsender::logical::TransactionOutcome;
pub use crate::session::walsender::progress::Lag;
pub use change::{ChangeRecord, ChangeRun, Operation, TransactionRecord};
pub use community_id::CommunityId;
pub use event::{MessageEvent, MessageRun};
pub use query::{Backend, Downstream, Evidence, Failure, ParsedStatement, QueryRecord, QuerySql, Steps, Upstream};
pub use replication::{ReplicationEvent, ReplicationKind};
pub use running::{RunningRecord, RunningState};
pub use session::{
    Alert, Certificate, CipherSuite, ClientRandom, EndReason, Ended, Gssapi, Names, SessionRecord, Settings, Side,
    State, Tls, Volume,
};
pub use summary::Summary;

/// The largest integer that is a number in a line. Beyond it, and its negative, it is a string of its digits: readers that hold
/// numbers as doubles (jq 1.6, JavaScript, many loaders) would change it, and say nothing. "For applications that require the
/// exact interchange of numbers with greater magnitude or precision, it is RECOMMENDED to encode them in JSON string values"
/// (RFC 7493, I-JSON).
pub(crate) const MOST_EXACT: u64 = (1 << 53) - 1;

/// One line of output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record<'a> {
    /// A protocol message.
    Message(MessageRecord<'a>),
    /// An executed request.
    Query(QueryRecord<'a>),
    /// A request that is under way.
    Running(RunningRecord<'a>),
    /// A connection that is ready, or has ended.
    Session(SessionRecord<'a>),
    /// A change of a row, in a logical replication stream.
    Change(ChangeRecord<'a>),
    /// What became of a transaction, in a logical replication stream.
    Transaction(TransactionRecord<'a>),
    /// Bytes that are missing, or that could not be understood.
    Loss(LossRecord<'a>),
    /// Counters.
    Stats(StatsRecord),
    /// What all requests and sessions add up to.
    Summary(&'a Summary),
}

impl<'a> Record<'a> {
    /// Returns what a record of a connection begins with.
    pub const fn header(&self) -> Option<&Header<'a>> {
        match self {
            Self::Message(record) => Some(&record.header),
            Self::Query(record) => Some(&record.header),
            Self::Running(record) => Some(&record.query.header),
            Self::Session(record) => Some(&record.header),
            Self::Change(record) => Some(&record.header),
            Self::Transaction(record) => Some(&record.header),
            Self::Loss(record) => Some(&record.header),
            Self::Stats(_) | Self::Summary(_) => None,
        }
    }

    /// Returns the time of a record, as far as it has one.
    pub fn ts(&self) -> Option<Timestamp> {
        match self {
            Self::Stats(stats) => stats.ts,
            _ => self.header().map(|header| header.ts),
        }
    }
}

/// What every record of a connection begins with.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Header<'a> {
    /// When it was: of a message, when the packet was captured with which it, and all before it, was complete; of a request and of
    /// a session, when its end was known, or it was ready; of a loss, when it was found.
    pub ts: Timestamp,
    /// The connection: 1, 2, 3, … in order of appearance.
    pub conn: u64,
    /// The client's address and port.
    pub client: &'a str,
    /// The server's address and port.
    pub server: &'a str,
}

/// One protocol message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessageRecord<'a> {
    /// When it was complete, and whose it is.
    #[serde(flatten)]
    pub header: Header<'a>,
    /// Who sent it: `F`rontend or `B`ackend.
    pub dir: Direction,
    /// Ordinal of the message on its connection, both directions, from 1.
    pub seq: u64,
    /// Number of the packet with which it was complete, from 1.
    pub packet: u64,
    /// The type byte as a character; absent for messages without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The length word: it counts itself, not the tag. 1 for a one-byte answer.
    pub len: u32,
    /// `type` and `body`.
    #[serde(flatten)]
    pub content: Content<'a>,
    /// Number of the request on this connection that the message belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<u64>,
    /// On replies: microseconds since the request that they answer was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_us: Option<u64>,
    /// On Bind, Execute and Describe: the SQL that the name stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<Sql<'a>>,
    /// On Bind, Execute and Describe: the name of the prepared statement; empty for the unnamed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Text<'a>>,
    /// On CancelRequest: the connection whose request is to be canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<u64>,
    /// On Query to a walsender: the replication command, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_command: Option<Command<'a>>,
    /// Bytes of the body that are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Where bytes of the body were lost. `body` is what was before the first hole.
    #[serde(skip_serializing_if = "Holes::is_empty")]
    pub holes: Holes<'a>,
    /// What is odd about it.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
    /// Why the body could not be decoded; it is given in hex then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<DecodeError>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A type byte as a character: a byte above 0x7f is the character of that number, so that none is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Tag(char);

impl From<u8> for Tag {
    fn from(tag: u8) -> Self {
        Self(tag.into())
    }
}

impl From<Tag> for char {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

/// The type of a message, and its fields.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Content<'a> {
    /// One that was decoded.
    Decoded(&'a Message<'a>),
    /// CopyData of a replication stream or of a base backup.
    Replication {
        /// `CopyData`.
        #[serde(rename = "type")]
        name: &'static str,
        /// What it carries.
        body: ReplicationData<'a>,
    },
    /// One that was not: `error` says why.
    Undecoded {
        /// Its type, as far as the type byte tells it; else `Unknown`.
        #[serde(rename = "type")]
        name: &'static str,
        /// Its first bytes.
        body: Excerpt<'a>,
    },
}

impl Content<'_> {
    /// The type of the message.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Decoded(message) => message.name(),
            Self::Replication { name, .. } | Self::Undecoded { name, .. } => name,
        }
    }
}

/// What can be odd about a message, a request or a session: an array of strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `truncated`: bytes of its body are not shown.
    pub truncated: bool,
    /// `overlap`: bytes of it also came with other content. Those that came first are shown.
    pub overlap: bool,
    /// `midstream`: it depends on something that was sent before the capture began, or that was lost.
    pub midstream: bool,
    /// `skipped`: the server ignores it, for a request before it has failed. On the line of a message only where the error
    /// was seen before the message was; the line of a request has the outcome `skipped`.
    pub skipped: bool,
    /// `uncertain`: bytes were lost while it was under way, or its replies were tied to it by TCP's numbers alone.
    pub uncertain: bool,
    /// `protocol_violation`: the server, or a pooler before it, broke the protocol; `violation` says how.
    pub protocol_violation: bool,
    /// `limit`: something that it depends on was not kept, for a limit of memory was reached.
    pub limit: bool,
    /// `resynchronized`: it, a message of it, or one that it depends on, was found behind a boundary that was guessed, and that
    /// nothing had confirmed.
    pub resynchronized: bool,
    /// `from_file`: who the session is, or of a CancelRequest which process it names, is known from the user's file
    /// ([`Config::known_sessions`](crate::Config::known_sessions)), and was not seen.
    pub from_file: bool,
}

impl Flags {
    const ALL: Self = Self {
        truncated: true,
        overlap: true,
        midstream: true,
        skipped: true,
        uncertain: true,
        protocol_violation: true,
        limit: true,
        resynchronized: true,
        from_file: true,
    };

    /// The flags that are set, by name.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.truncated, "truncated"),
            (self.overlap, "overlap"),
            (self.midstream, "midstream"),
            (self.skipped, "skipped"),
            (self.uncertain, "uncertain"),
            (self.protocol_violation, "protocol_violation"),
            (self.limit, "limit"),
            (self.resynchronized, "resynchronized"),
            (self.from_file, "from_file"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
    }

    /// Whether none is set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // All of them, without a branch for each.
        let Self {
            truncated,
            overlap,
            midstream,
            skipped,
            uncertain,
            protocol_violation,
            limit,
            resynchronized,
            from_file,
        } = *self;
        !(truncated
            | overlap
            | midstream
            | skipped
            | uncertain
            | protocol_violation
            | limit
            | resynchronized
            | from_file)
    }
}

impl Serialize for Flags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl JsonSchema for Flags {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Flags".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let all: Vec<_> = Self::ALL.names().collect();
        json_schema!({ "type": "array", "items": { "enum": all }, "uniqueItems": true, "minItems": 1 })
    }
}

/// The holes in the body of a message: `[{"at": …, "bytes": …, "behind": …}]`, in bytes from the beginning of the body.
/// `behind` is what was captured between the hole and the next, as text or `"\\x…"`, or `"***"` where it may be a secret, or
/// data that is not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holes<'a> {
    /// The holes.
    pub damage: Damage<'a>,
    /// Whether what is behind them is masked.
    pub hides: bool,
}

/// A hole, as it is written.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Hole<'a> {
    /// Where it begins.
    at: u64,
    /// Its size.
    bytes: u64,
    /// What was captured behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    behind: Option<Guess<'a>>,
}

impl Holes<'_> {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Serialize for Holes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.damage.holes().map(|(hole, behind)| {
            let shown = if self.hides { Secret::MASK.as_bytes() } else { behind };
            Hole { at: hole.at, bytes: hole.bytes, behind: (!behind.is_empty()).then_some(Guess(shown)) }
        }))
    }
}

impl JsonSchema for Holes<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Holes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Hole<'_>>::json_schema(generator)
    }
}

/// Bytes that are missing, or that could not be understood.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LossRecord<'a> {
    /// When it was found, and whose they are.
    #[serde(flatten)]
    pub header: Header<'a>,
    /// Whose bytes, where only one side's are concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<Direction>,
    /// Number of the packet at which it was found out.
    pub packet: u64,
    /// How many bytes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where they were, in bytes from the beginning of that side's stream, or from the first byte that was seen of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The type of the message in whose body the first of them were. It is written with the flag `truncated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<&'static str>,
    /// Why.
    pub reason: Reason,
    /// Bytes that were captured, but skipped until a message boundary was found again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    /// More about it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
}

/// Why bytes are missing or not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Reason {
    /// They were not captured.
    Missing,
    /// The snap length of the capture cut them off.
    Snaplen,
    /// The capture began in the middle of the connection.
    Midstream,
    /// A limit of memory was reached.
    Limit,
    /// They came a second time with other content than the first, which is believed.
    Overlap,
    /// They are not what the protocol has.
    Malformed,
    /// They are encrypted.
    Undecryptable,
    /// They are of another protocol.
    NotPostgresql,
    /// They came behind the end of their connection, or behind what had been read before.
    Late,
    /// Their sequence numbers are not those of their connection.
    OutOfWindow,
}

impl Reason {
    /// The reason as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Snaplen => "snaplen",
            Self::Midstream => "midstream",
            Self::Limit => "limit",
            Self::Overlap => "overlap",
            Self::Malformed => "malformed",
            Self::Undecryptable => "undecryptable",
            Self::NotPostgresql => "not_postgresql",
            Self::Late => "late",
            Self::OutOfWindow => "out_of_window",
        }
    }
}

/// Counters since the beginning.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct StatsRecord {
    /// The time of the last packet; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// What the engine counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// What the kernel counted, where the capture is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelStats>,
}

/// Defines [`Counters`], and their sum.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the engine counted.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The counters by name, in their order.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        impl AddAssign<&Self> for Counters {
            fn add_assign(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Packets that were read.
    packets,
    /// Their bytes, as captured.
    packet_bytes,
    /// Packets that the user's filter did not let through.
    filtered_packets,
    /// Packets that are not TCP, or not of a connection that is looked at.
    other_packets,
    /// Packets whose link type is not known.
    unknown_link_packets,
    /// Packets with damaged headers.
    damaged_packets,
    /// Fragments of IP packets.
    fragments,
    /// Those of them of which no whole packet came: others are missing, they contradict each other, or a limit of memory
    /// was reached.
    lost_fragments,
    /// PostgreSQL connections.
    connections,
    /// Those of them that began before the capture.
    midstream_connections,
    /// Connections that are still open.
    open_connections,
    /// Connections that were given up to make room for others.
    evicted_connections,
    /// Messages.
    messages,
    /// Messages whose body could not be decoded.
    undecoded_messages,
    /// Reports of loss.
    losses,
    /// Bytes that were not captured.
    missing_bytes,
    /// Bytes that were captured, but skipped until a message boundary was found.
    skipped_bytes,
    /// Bytes that are encrypted, whether or not they were decrypted.
    encrypted_bytes,
    /// Bytes of plaintext that they gave.
    decrypted_bytes,
    /// Lines of key logs that make no sense.
    bad_key_lines,
    /// Sessions whose keys were forgotten to make room for others.
    forgotten_keys,
    /// Bytes that were seen before.
    retransmitted_bytes,
    /// Those of them that had other content then.
    contested_bytes,
    /// Bytes too far ahead to belong to their stream.
    out_of_window_bytes,
    /// Bytes that came too late: after their connection had ended, or, where that began before the capture, after bytes that
    /// are behind them.
    late_bytes,
    /// Bytes of early segments, of fragments and of unfinished messages held in memory.
    held_bytes,
    /// Statements, portals and SQL texts that were forgotten to make room for others.
    forgotten,
    /// Bytes of SQL texts, statements and requests that sessions remember.
    remembered_bytes,
    /// Requests of a pooler's clients that are not joined with one of its server connections, because they cannot be told from others.
    ambiguous_joins,
}

/// What the kernel counted of a live capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KernelStats {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets dropped because the capture buffer was full.
    pub dropped: u64,
    /// Packets dropped by the interface or its driver.
    pub interface_dropped: u64,
}

/// The JSON Schema (draft 2020-12) of all lines.
pub fn schema() -> Schema {
    // Of what is written, not of what could be read: a field that is left out where it does not apply is not required.
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Record<'_>>();
    schema.insert("title".to_owned(), "A line of pgdissect's output".into());
    RecursiveTransform(allow_digits).transform(&mut schema);
    schema
}

/// Says that a number which may be beyond what a double holds exactly is a string of its digits there.
fn allow_digits(schema: &mut Schema) {
    let is_large = matches!(schema.get("format").and_then(Value::as_str), Some("uint64" | "uint"));
    let Some(kind) = schema.get("type").filter(|_| is_large) else { return };
    let mut kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
    kinds.push("string".into());
    schema.insert("type".to_owned(), kinds.into());
    schema.insert("maximum".to_owned(), MOST_EXACT.into());
    schema.insert("pattern".to_owned(), "^[1-9][0-9]{15,19}$".into());
}
