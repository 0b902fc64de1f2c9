//! `"event":"session"`: a connection that is ready, or has ended.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::ends::HeaderWithEnds;
use super::query::Failure;
use super::{CommunityId, Flags, Header, is_zero};
use crate::hex::Hex;
use crate::pg::query::TransactionStatus;
use crate::pg::startup::ProtocolVersion;
use crate::pg::text::{Bytea, KeptText, Text, inline_schema};
use crate::session::Encryption;
use crate::session::facts::{AuthMethod, ChannelBinding, Setting};
use crate::session::violation::Violation;
use crate::session::walsender::Purpose;
use crate::time::Timestamp;
use crate::tls::{keylog, suite};

/// A connection, when it is ready for its first request and when it has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionRecord<'a> {
    /// When it was ready, or has ended.
    #[serde(flatten, serialize_with = "Header::with_ends")]
    #[schemars(with = "HeaderWithEnds<'_>")]
    pub header: Header<'a>,
    /// The Community ID of the connection, version 1.
    pub community_id: CommunityId,
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
    /// The state of the transaction, as of the last ReadyForQuery. Not on its line: those of requests have it.
    #[serde(skip)]
    pub transaction: Option<TransactionStatus>,
    /// The settings that the client asked for in its StartupMessage, with secrets masked.
    #[serde(skip)]
    pub startup: Settings<'a>,
    /// The server's version, as it reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<Text<'a>>,
    /// The version of the protocol that is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// How the client showed who it is. `none`: it was asked for nothing (trust, ident, cert).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,
    /// Whether SCRAM is tied to the TLS session: `used`, or `offered` by the server and not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_binding: Option<ChannelBinding>,
    /// How the connection is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// What is known of its TLS session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls<'a>>,
    /// What is known of its GSSAPI encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gssapi: Option<Gssapi>,
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
    /// What a session with a walsender does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<Purpose>,
    /// The replication slot that is streamed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<Text<'a>>,
    /// The output plugin of logical replication, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Text<'a>>,
    /// The publications that are streamed.
    #[serde(skip_serializing_if = "Publications::is_empty")]
    pub publications: Publications<'a>,
    /// The timeline that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// The round-trip time between the capture point and the client, in microseconds: the shortest so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_client_us: Option<u64>,
    /// The same of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_server_us: Option<u64>,
    /// Why it ended, or its login failed: the first error that ends a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure<'a>>,
    /// What is said at the end.
    #[serde(flatten)]
    pub ended: Option<Ended>,
    /// How the server, or a pooler before it, broke the protocol first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
    /// Whether it is a pooler's own connection to the server; or one of its client's that the pooler has ended with an error of its own.
    /// Absent where it is not, or that is not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pooler: bool,
    /// Whether it is that of a pooler's client. Not on its line.
    #[serde(skip)]
    pub is_at_pooler: bool,
    /// What is odd about it.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
}

/// What is known of a TLS session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Tls<'a> {
    /// Whether it was decrypted: the messages of the connection are those inside.
    pub decrypted: bool,
    /// The version, as in pg_stat_ssl: `TLSv1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// The cipher suite, by its name in IANA's registry, or by its number in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<CipherSuite>,
    /// The name of the server that the client wants (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Text<'a>>,
    /// The application protocols that the client offers (ALPN).
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub alpn: Names<'a>,
    /// Whether an earlier session is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// Whether the client offers to send data before the server's first word (0-RTT).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub early_data: bool,
    /// Whether the server asked for another ClientHello.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hello_retry_request: bool,
    /// How many times a handshake began anew inside the session (TLS 1.2).
    #[serde(skip_serializing_if = "is_zero")]
    pub renegotiations: u64,
    /// How many times a side changed its key (TLS 1.3), where it is decrypted.
    #[serde(skip_serializing_if = "is_zero")]
    pub key_updates: u64,
    /// The fingerprint JA4 of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ja4: Option<&'a str>,
    /// The client random, in hex: what names the session in a key log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_random: Option<ClientRandom>,
    /// The server's certificate: TLS 1.3 has it encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate<'a>>,
    /// The client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Certificate<'a>>,
    /// The first error that a side told the other (RFC 8446, section 6.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<Alert>,
    /// What it took, at the end.
    #[serde(flatten)]
    pub volume: Option<Volume>,
}

/// What a TLS session took on the wire.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Volume {
    /// Records from the client.
    pub records_in: u64,
    /// Records from the server.
    pub records_out: u64,
    /// Bytes from the client, as they are on the wire.
    pub encrypted_in: u64,
    /// Bytes from the server, as they are on the wire.
    pub encrypted_out: u64,
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Certificate<'a> {
    /// Whose it is: a distinguished name as RFC 4514 writes it.
    pub subject: &'a str,
    /// Who vouches for it.
    pub issuer: &'a str,
    /// From when on it is valid.
    pub not_before: &'a str,
    /// How long it is valid.
    pub not_after: &'a str,
}

/// An error that one side told the other.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Alert {
    /// Who told it.
    pub by: Side,
    /// Its number in IANA's registry.
    pub number: u8,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
}

/// What is known of GSSAPI encryption.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Gssapi {
    /// Packets from the client, as many as were seen before bytes of their headers were lost.
    pub packets_in: u64,
    /// Packets from the server.
    pub packets_out: u64,
}

/// A cipher suite, by its number.
#[derive(Clone, Copy, Debug)]
pub struct CipherSuite(pub u16);

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match suite::name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl Serialize for CipherSuite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

inline_schema!(CipherSuite, "CipherSuite", String::json_schema);

/// A client random: 64 digits of hex.
#[derive(Clone, Copy, Debug)]
pub struct ClientRandom(pub keylog::ClientRandom);

impl Serialize for ClientRandom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Hex(&self.0))
    }
}

inline_schema!(ClientRandom, "ClientRandom", String::json_schema);

/// Names in a list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a>(pub &'a [Box<[u8]>]);

impl Names<'_> {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|name| Text::utf8(name)))
    }
}

inline_schema!(Names<'_>, "Names", Vec::<Text<'_>>::json_schema);

/// What is said of a connection that has ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ended {
    /// How it ended.
    pub end_reason: EndReason,
    /// Who ended it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Side>,
    /// Microseconds from its first packet to its last.
    pub duration_us: u64,
    /// Microseconds in which a transaction was open and the client asked for nothing; of a session that is still open, up to the
    /// end of the capture.
    pub idle_in_transaction_us: u64,
    /// Messages, both directions.
    pub messages: u64,
    /// Requests that execute something: Query, Execute, FunctionCall.
    pub queries: u64,
    /// ErrorResponses.
    pub errors: u64,
    /// Bytes from the client: of messages, or of what is encrypted and was not decrypted.
    pub bytes_in: u64,
    /// Bytes from the server: of messages, or of what is encrypted and was not decrypted.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum EndReason {
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

/// Names of publications.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publications<'a>(pub &'a [KeptText<'static>]);

impl Publications<'_> {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Publications<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(KeptText::get))
    }
}

inline_schema!(Publications<'_>, "Publications", Vec::<Text<'_>>::json_schema);

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
