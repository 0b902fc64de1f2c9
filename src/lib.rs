//! A passive dissector of PostgreSQL's wire protocol: packets in, annotated records out.
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
//! One engine, [`dissector::Dissector`], owns the middle. It does no I/O and has no clock: it is given packets with the
//! capture's time, and emits records to a [`dissector::Sink`]. The command, the tests, the benchmarks and users of this crate
//! run the same engine.
//!
//! Each layer keeps a promise, so that a failure costs the layers above no more than it must:
//!
//! - [`capture`] yields every packet that can be read, and reports where a file is damaged.
//! - [`mod@packet`] decodes a frame, or returns why it holds no TCP segment; either way the frame is counted.
//! - [`tcp`] delivers every captured byte once, in order, and requests before their replies; what was not captured is a gap of
//!   exactly its size.
//! - [`tls`] decrypts what is authentic under the known keys; a lost record costs only itself, and everything that is not
//!   decrypted is counted.
//! - [`pg`] yields every message. A body that does not decode costs that body; a gap inside a body is skipped exactly; behind an
//!   impossible header, a new boundary is believed only after several messages in a row.
//! - [`mod@encoding`] decodes text of any `client_encoding` to UTF-8, or returns that it is invalid.
//! - [`sql`] analyzes the text of statements, below [`pg`] and [`session`]: it accepts any bytes, and reports as unknown what it
//!   does not wholly understand.
//! - [`session`] reports what is known, and never guesses: an unseen request leaves its replies without a number, and a statement that
//!   was prepared before the capture has no SQL. Its memory is bounded; what is forgotten is unknown.
//! - [`value`] decodes a value by its type, to the same JSON in either format. What does not decode is written as it is.
//! - [`redaction`] defines what is left out of all lines: secrets, or data as well.
//! - [`record`] is the contract: fields may be added, none is renamed or dropped without a new version.
//! - [`output`] writes lines; [`output::batch`] keeps records, in order, until another thread writes them.
//!
//! Nothing panics on input, no length word sizes an allocation, and nothing is lost silently.
//!
//! # Example
//!
//! Every SQL text of a capture file, with the microseconds until its reply was complete:
//!
//! ```
//! use std::collections::HashMap;
//!
//! use pgdissect::capture::{Event, Source, file::FileSource};
//! use pgdissect::dissector::{Config, Dissector};
//! use pgdissect::pg::message::Message;
//! use pgdissect::record::{Content, Record};
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
//!             asked.insert((line.header.conn, line.query), query.query.text.to_str().unwrap_or_default().into_owned());
//!         }
//!         Content::Decoded(Message::ReadyForQuery(_)) => {
//!             if let Some(sql) = asked.remove(&(line.header.conn, line.query)) {
//!                 answered.push((sql, line.elapsed_us));
//!             }
//!         }
//!         _ => {}
//!     }
//! };
//! while let Event::Packet(packet) = source.next_event()? {
//!     dissector.packet(&packet, &mut sink);
//! }
//! dissector.finish(&mut sink);
//!
//! assert_eq!(answered, [("SELECT * FROM pg_stat_activity LIMIT 1".to_owned(), Some(2_650))]);
//! # Ok::<(), pgdissect::capture::Error>(())
//! ```

pub mod capture;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod digits;
pub mod direction;
pub mod dissector;
pub mod encoding;
pub mod hex;
pub mod output;
pub mod packet;
pub mod pg;
pub mod reader;
pub mod record;
pub mod redaction;
pub mod session;
pub mod sql;
pub mod tcp;
pub mod time;
pub mod tls;
pub mod value;
