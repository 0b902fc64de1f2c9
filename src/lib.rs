//! A passive dissector of PostgreSQL's wire protocol: packets in, annotated records out.
//!
//! A [`Dissector`] is given packets, and emits a [`Record`] to a [`Sink`] for each [`Message`], executed request, session and
//! loss, as its [`Config`] asks for. It does no I/O and has no clock: time is the capture's. Packets come from a [`Source`]: a
//! [`FileSource`] reads capture files, and with the feature `live` `capture::LiveSource` captures on an interface. A
//! [`LineWriter`] writes records as the JSON lines of the command `pgdissect`, which runs the same engine.
//!
//! - [`capture`] has the sources of packets.
//! - [`record`] has the records and what they consist of; [`record::schema`] is the JSON Schema of their lines.
//! - [`message`] has the messages of the protocol and their fields.
//! - [`value`] reads values by their type, and documents the JSON that each type becomes.
//! - [`output`] writes records as JSON lines and as text for people.
//!
//! # Example
//!
//! Every SQL text of a capture file, with the microseconds until its reply was complete:
//!
//! ```
//! use std::collections::HashMap;
//!
//! use pgdissect::{Config, Content, Dissector, Event, FileSource, Message, Record, Source};
//!
//! let mut source = FileSource::new(vec!["testdata/psql-prefer/capture.pcap".into()], Default::default());
//! let mut dissector = Dissector::new(Config { ports: Some(vec![5415]), ..Config::default() });
//!
//! let mut asked = HashMap::new();
//! let mut answered = Vec::new();
//! let mut sink = |record: &Record<'_>| {
//!     let Record::Message(line) = record else { return };
//!     match &line.content {
//!         Content::Decoded(Message::Query(query)) => {
//!             asked.insert((line.header.conn, line.query), query.query.masked().get().to_str().unwrap_or_default().into_owned());
//!         }
//!         Content::Decoded(Message::ReadyForQuery(_)) => {
//!             if let Some(sql) = asked.remove(&(line.header.conn, line.query)) {
//!                 answered.push((sql, line.elapsed_us));
//!             }
//!         }
//!         _ => {}
//!     }
//! };
//! loop {
//!     match source.next_event()? {
//!         Event::Packet(packet) => dissector.packet(&packet, &mut sink),
//!         Event::KeyLog(_) | Event::Idle => {}
//!         Event::End => break,
//!     }
//! }
//! dissector.finish(&mut sink);
//!
//! assert_eq!(answered, [("SELECT * FROM pg_stat_activity LIMIT 1".to_owned(), Some(2_650))]);
//! # Ok::<(), pgdissect::capture::Error>(())
//! ```
//!
//! Requests, rather than messages, are emitted where they are asked for: here, how often each statement was executed, and for how
//! many microseconds.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use pgdissect::{Config, Dissector, Event, FileSource, Record, Records, Source};
//!
//! let mut source = FileSource::new(vec!["testdata/psql-prefer/capture.pcap".into()], Default::default());
//! let records = Records { queries: true, ..Records::NONE };
//! let mut dissector = Dissector::new(Config { ports: Some(vec![5415]), records, ..Config::default() });
//!
//! let mut statements: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
//! let mut sink = |record: &Record<'_>| {
//!     if let Record::Query(query) = record
//!         && let Some(sql) = &query.sql
//!     {
//!         let (calls, micros) = statements.entry(sql.normalize().0).or_default();
//!         *calls += 1;
//!         *micros += query.total_us.unwrap_or(0);
//!     }
//! };
//! loop {
//!     match source.next_event() {
//!         Ok(Event::Packet(packet)) => dissector.packet(&packet, &mut sink),
//!         Ok(Event::KeyLog(_) | Event::Idle) => {}
//!         Ok(Event::End) => break,
//!         // What is readable behind the damage follows.
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! dissector.finish(&mut sink);
//!
//! assert_eq!(statements[&b"SELECT * FROM pg_stat_activity LIMIT $1"[..]], (1, 2_650));
//! ```
//!
//! # Features
//!
//! Both are on by default; without them the crate needs neither clap, nix nor libpcap.
//!
//! - `live`: capture on interfaces, packet filters in the language of libpcap, and pipes that are polled.
//! - `cli`: the command `pgdissect`; it needs `live`.
//!
//! # Layers
//!
//! ```text
//!   capture file, stdin, interface     capture      the only place that opens anything
//!           |  Packet: time, link type, bytes
//!           v
//!   link, VLAN, IP -> TCP segment      packet
//!           |  Segment
//!           v
//!   ordered bytes, or a named gap      tcp          knows nothing of what the bytes mean
//!           |
//!           |                          tls          only where they are encrypted, and the keys are known
//!           v
//!   message boundaries, messages       pg           knows nothing of connections and time
//!           |  Message
//!           v
//!   what it means here                 session      request and reply, statements, what is executed
//!           |  Record                  record       the output contract, as types
//!           v
//!   JSON lines, text                   output
//! ```
//!
//! Each layer keeps a promise, so that a failure costs the layers above no more than it must:
//!
//! - [`capture`] yields every packet that can be read, and reports where a file is damaged.
//! - `packet` decodes a frame, or returns why it holds no TCP segment; either way the frame is counted.
//! - `tcp` delivers every captured byte once, in order, and requests before their replies; what was not captured is a gap of
//!   exactly its size.
//! - `tls` decrypts what is authentic under the known keys; a lost record costs only itself, and everything that is not
//!   decrypted is counted.
//! - `pg` yields every message. A body that does not decode costs that body; a gap inside a body is skipped exactly; behind an
//!   impossible header, a new boundary is believed only after several messages in a row.
//! - `encoding` decodes text of any `client_encoding` to UTF-8, or returns that it is invalid.
//! - `sql` analyzes the text of statements, below `pg` and `session`: it accepts any bytes, and reports as unknown what it
//!   does not wholly understand.
//! - `session` reports what is known, and never guesses: an unseen request leaves its replies without a number, and a statement that
//!   was prepared before the capture has no SQL. Its memory is bounded; what is forgotten is unknown.
//! - [`value`] decodes a value by its type, to the same JSON in either format. What does not decode is written as it is.
//! - [`Redaction`] defines what is left out of all lines: secrets, or data as well.
//! - [`record`] is the contract: fields may be added, none is renamed or dropped without a new version.
//! - [`output`] writes lines; `output::batch` keeps records, in order, until another thread writes them.
//!
//! Nothing panics on input, no length word sizes an allocation, and nothing is lost silently.

pub mod capture;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod digits;
mod direction;
mod dissector;
mod encoding;
mod hex;
#[doc(hidden)]
pub mod internals;
pub mod output;
mod packet;
mod pg;
mod pooler;
mod reader;
pub mod record;
mod redaction;
pub mod replication;
mod session;
mod sql;
mod tcp;
mod time;
mod tls;
pub mod value;

pub use capture::{Event, FileSource, Source};
pub use direction::Direction;
pub use dissector::{Clients, Config, Dissector, KnownSession, Only, PacketsOf, Partition, Records, Sink};
pub use message::Message;
pub use output::{Form, LineWriter};
pub use packet::{Endpoint, LinkType, Packet};
pub use pooler::{Joiner, Joining};
pub use record::{Content, Header, LossRecord, MessageRecord, QueryRecord, Record, SessionRecord, StatsRecord, schema};
pub use redaction::Redaction;
pub use time::{Precision, Rfc3339, Timestamp};
pub use tls::keylog::{KeyCounts, KeyLogLines, Keys};

/// The messages of the protocol, with their fields.
///
/// A [`Message`] is what a [`MessageRecord`] has for its content. It borrows from the packet that completed it: lists and texts are
/// decoded when they are iterated and read. Names of messages and fields are those of PostgreSQL's documentation ("Message Formats").
///
/// Messages and their fields implement [`serde::Serialize`], in the form of the JSON lines: with secrets masked, or data as well,
/// as the [`Redaction`] of the dissector asks for.
pub mod message {
    pub use crate::encoding::Encoding;
    pub use crate::hex::{Bytea, Hex};
    pub use crate::pg::auth::*;
    pub use crate::pg::condition::{class_name, condition_name};
    pub use crate::pg::copy::*;
    pub use crate::pg::error::{Fields, code};
    pub use crate::pg::extended::*;
    pub use crate::pg::frame::{Cut, Damage, Frame, Hole};
    pub use crate::pg::list::{Decode, List, Oid};
    pub use crate::pg::message::{Decoded, Message};
    pub use crate::pg::query::*;
    pub use crate::pg::row::{
        ColumnMetadata, DataRow, Field, Format, Formats, FormattedValue, FormattedValues, RowDescription, Types, Value,
        Values,
    };
    pub use crate::pg::startup::*;
    pub use crate::pg::text::{Excerpt, KeptText, Rest, Secret, Sql, Text};
    pub use crate::reader::{DecodeError, Had, Wanted};
    pub use crate::redaction::Shape;
    pub use crate::value::copy::{CopyField, CopyFields, CopyRow, Split};
}
