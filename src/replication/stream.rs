//! The messages of a replication stream, which CopyData carries in both directions behind START_REPLICATION ("Streaming Replication
//! Protocol").

use schemars::JsonSchema;
use serde::Serialize;

use super::{Lsn, PgTime};
use crate::direction::Direction;
use crate::reader::{DecodeError, Reader};

/// A message of a stream, without the WAL data behind the fields of [`StreamMessage::XlogData`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StreamMessage {
    /// `w`: a part of the WAL, or a change decoded from it.
    XlogData {
        /// Where the data begins; 0/0 for what has no position.
        start_lsn: Lsn,
        /// The end of the WAL on the server.
        end_lsn: Lsn,
        /// The server's clock.
        server_time: PgTime,
    },
    /// `k` from the server: it is there, though it has nothing to send.
    Keepalive {
        /// The end of the WAL on the server.
        end_lsn: Lsn,
        /// The server's clock.
        server_time: PgTime,
        /// Whether the client is to answer at once.
        reply_requested: bool,
    },
    /// `s` from the server, since version 19: what transactions there are.
    PrimaryStatus {
        /// The end of the WAL on the server.
        end_lsn: Lsn,
        /// The oldest transaction that is being committed: the epoch in the upper 32 bits.
        oldest_committing_xid: u64,
        /// The next transaction, in the same form.
        next_xid: u64,
        /// The server's clock.
        server_time: PgTime,
    },
    /// `r` from the client: how far it is.
    StandbyStatus {
        /// The position behind the last byte that was received, and written.
        write_lsn: Lsn,
        /// The position behind the last byte that was flushed to disk.
        flush_lsn: Lsn,
        /// The position behind the last byte that was applied.
        apply_lsn: Lsn,
        /// The client's clock.
        client_time: PgTime,
        /// Whether the server is to answer at once.
        reply_requested: bool,
    },
    /// `h` from the client: which rows it still needs.
    HotStandbyFeedback {
        /// The client's clock.
        client_time: PgTime,
        /// The oldest transaction of the standby's queries; 0 if there is none.
        xmin: u32,
        /// How often transaction numbers have begun again before that one.
        xmin_epoch: u32,
        /// The oldest transaction for catalogs; 0 if there is none.
        catalog_xmin: u32,
        /// How often transaction numbers have begun again before that one.
        catalog_xmin_epoch: u32,
    },
    /// `p` from the client, since version 19: it asks for a [`StreamMessage::PrimaryStatus`].
    PrimaryStatusRequest {
        /// The client's clock.
        client_time: PgTime,
    },
}

impl StreamMessage {
    /// Decodes a message. What the reader has left is the data of `XlogData`; behind other messages, nothing is left.
    ///
    /// # Errors
    ///
    /// The kind is none that this side sends, fields are missing, or something follows them.
    pub fn decode(from: Direction, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.position();
        let kind = reader.u8("kind of message")?;
        let message = match (from, kind) {
            (Direction::Backend, b'w') => {
                return Ok(Self::XlogData {
                    start_lsn: lsn(reader, "start of the WAL data")?,
                    end_lsn: lsn(reader, "end of the WAL")?,
                    server_time: time(reader, "server's clock")?,
                });
            }
            (Direction::Backend, b'k') => Self::Keepalive {
                end_lsn: lsn(reader, "end of the WAL")?,
                server_time: time(reader, "server's clock")?,
                reply_requested: flag(reader, "whether a reply is requested")?,
            },
            (Direction::Backend, b's') => Self::PrimaryStatus {
                end_lsn: lsn(reader, "end of the WAL")?,
                oldest_committing_xid: reader.u64("oldest transaction that is being committed")?,
                next_xid: reader.u64("next transaction")?,
                server_time: time(reader, "server's clock")?,
            },
            (Direction::Frontend, b'r') => Self::StandbyStatus {
                write_lsn: lsn(reader, "position written")?,
                flush_lsn: lsn(reader, "position flushed")?,
                apply_lsn: lsn(reader, "position applied")?,
                client_time: time(reader, "client's clock")?,
                reply_requested: flag(reader, "whether a reply is requested")?,
            },
            (Direction::Frontend, b'h') => Self::HotStandbyFeedback {
                client_time: time(reader, "client's clock")?,
                xmin: reader.u32("xmin")?,
                xmin_epoch: reader.u32("epoch of xmin")?,
                catalog_xmin: reader.u32("catalog xmin")?,
                catalog_xmin_epoch: reader.u32("epoch of catalog xmin")?,
            },
            (Direction::Frontend, b'p') => Self::PrimaryStatusRequest { client_time: time(reader, "client's clock")? },
            (Direction::Backend, kind) => {
                return Err(Reader::unexpected(at, "kind of message", "w, k or s", kind.into()));
            }
            (Direction::Frontend, kind) => {
                return Err(Reader::unexpected(at, "kind of message", "r, h or p", kind.into()));
            }
        };
        reader.finish("message of the stream")?;
        Ok(message)
    }
}

pub(super) fn lsn(reader: &mut Reader<'_>, what: &'static str) -> Result<Lsn, DecodeError> {
    reader.u64(what).map(Lsn)
}

pub(super) fn time(reader: &mut Reader<'_>, what: &'static str) -> Result<PgTime, DecodeError> {
    reader.i64(what).map(PgTime)
}

fn flag(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    Ok(reader.u8(what)? != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(from: Direction, bytes: &[u8]) -> String {
        match StreamMessage::decode(from, &mut Reader::new(bytes)) {
            Ok(message) => serde_json::to_string(&message).unwrap(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn messages_have_their_fields() {
        let (server, client) = (Direction::Backend, Direction::Frontend);
        let wal = b"w\0\0\0\0\x01\x6b\x37\x48\0\0\0\x16\xb3\x74\xd8\x48\0\0\0\0\0\0\0\x01data";
        let mut reader = Reader::new(wal);
        let message = StreamMessage::decode(server, &mut reader).unwrap();
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"kind":"xlog_data","start_lsn":"0/16B3748","end_lsn":"16/B374D848","server_time":"2000-01-01T00:00:00.000001Z"}"#
        );
        assert_eq!(reader.rest(), b"data");
        assert_eq!(
            json(server, b"k\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x01"),
            r#"{"kind":"keepalive","end_lsn":"0/1","server_time":"2000-01-01T00:00:00.000000Z","reply_requested":true}"#
        );
        assert_eq!(
            json(server, b"s\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\0"),
            r#"{"kind":"primary_status","end_lsn":"0/1","oldest_committing_xid":4294967298,"next_xid":4294967299,"server_time":"2000-01-01T00:00:00.000000Z"}"#
        );
        assert_eq!(
            json(client, b"r\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0"),
            r#"{"kind":"standby_status","write_lsn":"0/3","flush_lsn":"0/2","apply_lsn":"0/1","client_time":"2000-01-01T00:00:00.000000Z","reply_requested":false}"#
        );
        assert_eq!(
            json(client, b"h\0\0\0\0\0\0\0\0\0\0\x02\xdc\0\0\0\x01\0\0\x02\xdd\0\0\0\0"),
            r#"{"kind":"hot_standby_feedback","client_time":"2000-01-01T00:00:00.000000Z","xmin":732,"xmin_epoch":1,"catalog_xmin":733,"catalog_xmin_epoch":0}"#
        );
        assert_eq!(
            json(client, b"p\0\0\0\0\0\0\0\0"),
            r#"{"kind":"primary_status_request","client_time":"2000-01-01T00:00:00.000000Z"}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(json(Direction::Frontend, b"k"), "kind of message at byte 0: wanted r, h or p, had 107");
        assert_eq!(json(Direction::Backend, b"k\0"), "end of the WAL at byte 1: wanted 8 bytes, had 1 byte");
        assert_eq!(
            json(Direction::Frontend, b"p\0\0\0\0\0\0\0\0!"),
            "message of the stream at byte 9: wanted the end of the message, had 1 byte"
        );
    }
}
