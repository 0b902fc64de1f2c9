//! Replication: what CopyData carries on a connection to a walsender (PostgreSQL documentation, "Streaming Replication Protocol" and
//! "Logical Streaming Replication Protocol").
//!
//! ```text
//! command     what the client asks for: START_REPLICATION, BASE_BACKUP, CREATE_REPLICATION_SLOT, …
//! stream      the messages of a stream in both directions: WAL, keepalives, positions
//! pgoutput    changes of rows, as the plugin pgoutput writes them into the WAL messages of a logical stream
//! relation    the tables that pgoutput has described, and their rows
//! data        CopyData as it is written
//! backup      the messages of a base backup
//! ```
//!
//! All of this decodes bytes, and knows no session: which of these messages a CopyData is decides the command that opened the
//! stream, never the first byte.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::time::{Precision, Timestamp};

pub mod backup;
pub mod command;
pub mod data;
pub mod pgoutput;
pub mod relation;
pub mod stream;

/// A position in the write-ahead log, in bytes. Written as PostgreSQL does: `16/B374D848`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Parses `16/B374D848`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (high, low) = std::str::from_utf8(text).ok()?.split_once('/')?;
        let part = |text: &str| {
            let is_hex = (1..=8).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            if is_hex { u32::from_str_radix(text, 16).ok() } else { None }
        };
        Some(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Lsn {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Lsn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$" })
    }
}

/// A time of a server or client: microseconds since 2000-01-01T00:00:00Z. Written as RFC 3339 in UTC, with microseconds; null if it
/// is not between the years 1677 and 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgTime(pub i64);

impl PgTime {
    /// Microseconds from the Unix epoch to PostgreSQL's.
    const EPOCH: i64 = 946_684_800_000_000;

    /// Returns the instant, if it can be represented.
    pub fn timestamp(self) -> Option<Timestamp> {
        let nanos = self.0.checked_add(Self::EPOCH)?.checked_mul(1_000)?;
        Some(Timestamp::from_nanos(nanos, Precision::Micros))
    }
}

impl Serialize for PgTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.timestamp().serialize(serializer)
    }
}

impl JsonSchema for PgTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PgTime".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Option<Timestamp>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_the_server_does() {
        for text in ["0/0", "16/B374D848", "0/16B3748", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(Lsn::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        assert_eq!(Lsn::parse(b"00000016/b374d848"), Some(Lsn(0x16_b374_d848)));
        for wrong in ["", "/", "0/", "/0", "123456789/0", "0/123456789", "g/0", "+1/0", "1/0/0", "1"] {
            assert_eq!(Lsn::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn times_begin_with_the_year_2000() {
        let written = |micros| serde_json::to_string(&PgTime(micros)).unwrap();
        assert_eq!(written(0), r#""2000-01-01T00:00:00.000000Z""#);
        assert_eq!(written(849_083_425_123_456), r#""2026-11-27T08:30:25.123456Z""#);
        assert_eq!(written(-1), r#""1999-12-31T23:59:59.999999Z""#);
        assert_eq!((written(i64::MAX), written(i64::MIN)), ("null".to_owned(), "null".to_owned()));
    }
}
