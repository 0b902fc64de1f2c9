//! `"event":"session"`: a connection that is ready, or has ended.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Flags;
use crate::pg::startup::ProtocolVersion;
use crate::pg::text::{Bytea, Text, inline_schema};
use crate::session::Encryption;
use crate::session::facts::{AuthMethod, Setting};
use crate::time::Timestamp;

/// A connection, when it is ready for its first request and when it has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionRecord<'a> {
    /// When it was ready, or has ended.
    pub ts: Timestamp,
    /// The connection.
    pub conn: u64,
    /// The client's address and port.
    pub client: &'a str,
    /// The server's address and port.
    pub server: &'a str,
    /// Number of the captured packet with which it was ready, or has ended.
    pub packet: u64,
    /// Which of the two.
    pub state: State,
    /// When its first packet was captured.
    pub started: Timestamp,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Text<'a>>,
    /// The database: the one asked for, or the one named as the user where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Text<'a>>,
    /// The application, by its own words (`application_name`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Text<'a>>,
    /// The settings that the server reported, as they are now.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub parameters: Settings<'a>,
    /// The server's version, as it reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<Text<'a>>,
    /// The version of the protocol that is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// How the client showed who it is. `none`: it was asked for nothing (trust, peer, ident, cert).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,
    /// How the connection is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// The process ID of the server's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_id: Option<i32>,
    /// Microseconds from the client's SYN to its first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_us: Option<u64>,
    /// Microseconds from StartupMessage to AuthenticationOk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate_us: Option<u64>,
    /// Microseconds from its first packet to the first ReadyForQuery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_us: Option<u64>,
    /// What is said at the end.
    #[serde(flatten)]
    pub ended: Option<Ended>,
    /// What is odd about it.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
}

/// What is said of a connection that has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// Who ended it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Side>,
    /// Microseconds from its first packet to its last.
    pub duration_us: u64,
    /// Microseconds in which a transaction was open and the client asked for nothing.
    pub idle_in_transaction_us: u64,
    /// Messages, both directions.
    pub messages: u64,
    /// Requests that execute something: Query, Execute, FunctionCall.
    pub queries: u64,
    /// ErrorResponses.
    pub errors: u64,
    /// Bytes from the client: of messages, or encrypted.
    pub bytes_in: u64,
    /// Bytes from the server: of messages, or encrypted.
    pub bytes_out: u64,
    /// Bytes of it that were not captured, or not understood.
    pub lost_bytes: u64,
}

/// Which moment of a connection a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum State {
    /// It is ready for its first request.
    Ready,
    /// It has ended.
    Ended,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum End {
    /// The client sent Terminate.
    Terminate,
    /// The server sent a FATAL or PANIC error.
    Fatal,
    /// One side closed it, without a word of the protocol.
    Fin,
    /// One side broke it off.
    Reset,
    /// Its end was not seen: another connection between the same ends followed.
    Replaced,
    /// It made room for others, and is not followed any more.
    Evicted,
    /// The capture ended.
    CaptureEnd,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Side {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// Settings by name. A name that is not valid text is written in hex, as `\\x…`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a>(pub &'a [Setting]);

impl Settings<'_> {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Settings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for Setting { name, value } in self.0 {
            match name.get().to_str() {
                Some(name) => map.serialize_entry(&name, &value.get())?,
                None => map.serialize_entry(&Bytea(name), &value.get())?,
            }
        }
        map.end()
    }
}

inline_schema!(Settings<'_>, "Settings", BTreeMap::<String, Text<'_>>::json_schema);
