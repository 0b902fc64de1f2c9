//! The messages of the plugin pgoutput, versions 1 to 4 ("Logical Replication Message Formats").

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::stream::{lsn, time};
use super::{Lsn, PgTime};
use crate::pg::list::{Decode, List, Oid};
use crate::pg::text::Text;
use crate::reader::{DecodeError, Reader};

/// A message of pgoutput.
///
/// `xid` of changes, and of what comes with them, is that of the transaction or subtransaction, which is on the wire within a streamed
/// transaction only.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are those of the documentation")]
pub enum Pgoutput<'a> {
    /// `B`
    Begin { final_lsn: Lsn, commit_time: PgTime, xid: u32 },
    /// `C`
    Commit { commit_lsn: Lsn, end_lsn: Lsn, commit_time: PgTime },
    /// `O`: the transaction came from another server.
    Origin { origin_lsn: Lsn, name: Text<'a> },
    /// `R`: what columns a table has.
    Relation { xid: Option<u32>, relation: RelationMessage<'a> },
    /// `Y`: the name of a type that is not built in.
    Type { xid: Option<u32>, oid: u32, schema: Text<'a>, name: Text<'a> },
    /// `I`
    Insert { xid: Option<u32>, relation_oid: u32, new: Tuple<'a> },
    /// `U`
    Update { xid: Option<u32>, relation_oid: u32, old: Option<OldTuple<'a>>, new: Tuple<'a> },
    /// `D`
    Delete { xid: Option<u32>, relation_oid: u32, old: OldTuple<'a> },
    /// `T`
    Truncate { xid: Option<u32>, cascade: bool, restart_identity: bool, relation_oids: List<'a, Oid> },
    /// `M`: of `pg_logical_emit_message`.
    Message { xid: Option<u32>, transactional: bool, lsn: Lsn, prefix: Text<'a>, content: &'a [u8] },
    /// `S`: changes of a transaction that is in progress follow.
    StreamStart { xid: u32, is_first: bool },
    /// `E`
    StreamStop,
    /// `c`
    StreamCommit { xid: u32, commit_lsn: Lsn, end_lsn: Lsn, commit_time: PgTime },
    /// `A`: with position and time where streaming is parallel.
    StreamAbort { xid: u32, subxid: u32, aborted: Option<(Lsn, PgTime)> },
    /// `b`
    BeginPrepare { prepare: Prepare<'a> },
    /// `P`
    Prepare { prepare: Prepare<'a> },
    /// `K`
    CommitPrepared { commit_lsn: Lsn, end_lsn: Lsn, commit_time: PgTime, xid: u32, gid: Text<'a> },
    /// `r`
    RollbackPrepared {
        prepare_end_lsn: Lsn,
        end_lsn: Lsn,
        prepare_time: PgTime,
        rollback_time: PgTime,
        xid: u32,
        gid: Text<'a>,
    },
    /// `p`
    StreamPrepare { prepare: Prepare<'a> },
}

/// A transaction that is prepared for a two-phase commit.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are those of the documentation")]
pub struct Prepare<'a> {
    pub prepare_lsn: Lsn,
    pub end_lsn: Lsn,
    pub prepare_time: PgTime,
    pub xid: u32,
    pub gid: Text<'a>,
}

/// What a Relation message says of a table.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are those of the documentation")]
pub struct RelationMessage<'a> {
    pub oid: u32,
    /// Empty for `pg_catalog`.
    pub schema: Text<'a>,
    pub table: Text<'a>,
    pub replica_identity: ReplicaIdentity,
    pub columns: List<'a, Column<'a>>,
}

impl<'a> RelationMessage<'a> {
    /// Returns the name of the schema.
    pub fn schema(&self) -> Text<'a> {
        // "Namespace (empty string for pg_catalog)"
        if self.schema.0.is_empty() { Text(b"pg_catalog", self.schema.1) } else { self.schema }
    }
}

/// What a table identifies its old rows by (`pg_class.relreplident`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ReplicaIdentity {
    /// `d`: the primary key, if there is one.
    Default,
    /// `n`
    Nothing,
    /// `f`: all columns.
    Full,
    /// `i`
    Index,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Whether it is part of the key that identifies old rows.
    pub is_key: bool,
    /// Its name.
    pub name: Text<'a>,
    /// The object ID of its type.
    pub type_oid: u32,
    /// The modifier of its type, such as a length; -1 if there is none.
    pub type_modifier: i32,
}

impl<'a> Decode<'a> for Column<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            is_key: reader.u8("flags of a column")? & 1 != 0,
            name: Text::decode(reader, "name of a column")?,
            type_oid: reader.u32("type of a column")?,
            type_modifier: reader.i32("modifier of a type")?,
        })
    }
}

/// The values of a row, in the order of the table's columns.
pub type Tuple<'a> = List<'a, TupleValue<'a>>;

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TupleValue<'a> {
    /// `n`: NULL; in a key, also a column that is not part of it.
    Null,
    /// `u`: a TOAST value that was not changed, and was not sent.
    Unchanged,
    /// `t`
    Text(&'a [u8]),
    /// `b`
    Binary(&'a [u8]),
}

impl<'a> Decode<'a> for TupleValue<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = reader.position();
        let kind = reader.u8("kind of a value")?;
        match kind {
            b'n' => Ok(Self::Null),
            b'u' => Ok(Self::Unchanged),
            b't' | b'b' => {
                let len = length(reader, "length of a value")?;
                // A value that is cut off is none.
                let bytes = reader.take(len, "value")?;
                Ok(if kind == b't' { Self::Text(bytes) } else { Self::Binary(bytes) })
            }
            kind => Err(Reader::unexpected(at, "kind of a value", "n, u, t or b", kind.into())),
        }
    }
}

/// Decodes a length, which is a signed number.
#[inline]
fn length(reader: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let at = reader.position();
    let len = reader.i32(what)?;
    usize::try_from(len).map_err(|_| Reader::unexpected(at, what, "0 or more", len.into()))
}

/// What identifies the row that was updated or deleted.
#[derive(Clone, Copy, Debug)]
pub enum OldTuple<'a> {
    /// `K`: its key; the other columns are NULL.
    Key(Tuple<'a>),
    /// `O`: all of it.
    Row(Tuple<'a>),
}

impl<'a> Pgoutput<'a> {
    /// Decodes a message to its end. Whether it is one of a streamed transaction determines whether changes begin with a transaction
    /// number.
    ///
    /// # Errors
    ///
    /// Describes what was missing, or in excess, and where.
    pub fn decode(reader: &mut Reader<'a>, is_streamed: bool) -> Result<Self, DecodeError> {
        let at = reader.position();
        let kind = reader.u8("kind of message")?;
        let xid = |reader: &mut Reader<'a>| is_streamed.then(|| reader.u32("transaction")).transpose();
        let message = match kind {
            b'B' => Self::Begin {
                final_lsn: lsn(reader, "final position")?,
                commit_time: time(reader, "time of the commit")?,
                xid: reader.u32("transaction")?,
            },
            b'C' => {
                reader.u8("flags")?;
                Self::Commit {
                    commit_lsn: lsn(reader, "position of the commit")?,
                    end_lsn: lsn(reader, "end of the transaction")?,
                    commit_time: time(reader, "time of the commit")?,
                }
            }
            b'O' => Self::Origin {
                origin_lsn: lsn(reader, "position on the origin")?,
                name: Text::decode(reader, "name of the origin")?,
            },
            b'R' => Self::Relation { xid: xid(reader)?, relation: RelationMessage::decode(reader)? },
            b'Y' => Self::Type {
                xid: xid(reader)?,
                oid: reader.u32("type")?,
                schema: Text::decode(reader, "schema of the type")?,
                name: Text::decode(reader, "name of the type")?,
            },
            b'I' => {
                let (xid, relation_oid) = (xid(reader)?, reader.u32("table")?);
                expect(reader, b'N', "N")?;
                Self::Insert { xid, relation_oid, new: tuple(reader)? }
            }
            b'U' => {
                let (xid, relation_oid) = (xid(reader)?, reader.u32("table")?);
                let old =
                    if reader.peek_rest().first() == Some(&b'N') { None } else { Some(OldTuple::decode(reader)?) };
                expect(reader, b'N', "N, K or O")?;
                Self::Update { xid, relation_oid, old, new: tuple(reader)? }
            }
            b'D' => {
                Self::Delete { xid: xid(reader)?, relation_oid: reader.u32("table")?, old: OldTuple::decode(reader)? }
            }
            b'T' => {
                let (xid, count) = (xid(reader)?, reader.u32("number of tables")?);
                let options = reader.u8("options")?;
                Self::Truncate {
                    xid,
                    cascade: options & 1 != 0,
                    restart_identity: options & 2 != 0,
                    relation_oids: List::decode(reader, count as usize)?,
                }
            }
            b'M' => {
                let (xid, flags) = (xid(reader)?, reader.u8("flags")?);
                let (lsn, prefix) = (lsn(reader, "position")?, Text::decode(reader, "prefix")?);
                let len = length(reader, "length of the content")?;
                let content = reader.take_to_cut(len, "content")?;
                Self::Message { xid, transactional: flags & 1 != 0, lsn, prefix, content }
            }
            b'S' => Self::StreamStart {
                xid: reader.u32("transaction")?,
                is_first: reader.u8("whether it is the first segment")? == 1,
            },
            b'E' => Self::StreamStop,
            b'c' => {
                let xid = reader.u32("transaction")?;
                reader.u8("flags")?;
                Self::StreamCommit {
                    xid,
                    commit_lsn: lsn(reader, "position of the commit")?,
                    end_lsn: lsn(reader, "end of the transaction")?,
                    commit_time: time(reader, "time of the commit")?,
                }
            }
            b'A' => {
                let (xid, subxid) = (reader.u32("transaction")?, reader.u32("subtransaction")?);
                let has_position = !reader.is_empty();
                let mut aborted = || Ok((lsn(reader, "position of the abort")?, time(reader, "time of the abort")?));
                Self::StreamAbort { xid, subxid, aborted: has_position.then(&mut aborted).transpose()? }
            }
            b'b' => Self::BeginPrepare { prepare: Prepare::decode(reader)? },
            b'P' => {
                reader.u8("flags")?;
                Self::Prepare { prepare: Prepare::decode(reader)? }
            }
            b'K' => {
                reader.u8("flags")?;
                Self::CommitPrepared {
                    commit_lsn: lsn(reader, "position of the commit")?,
                    end_lsn: lsn(reader, "end of the transaction")?,
                    commit_time: time(reader, "time of the commit")?,
                    xid: reader.u32("transaction")?,
                    gid: Text::decode(reader, "global identifier")?,
                }
            }
            b'r' => {
                reader.u8("flags")?;
                Self::RollbackPrepared {
                    prepare_end_lsn: lsn(reader, "end of the prepared transaction")?,
                    end_lsn: lsn(reader, "end of the rollback")?,
                    prepare_time: time(reader, "time of the preparation")?,
                    rollback_time: time(reader, "time of the rollback")?,
                    xid: reader.u32("transaction")?,
                    gid: Text::decode(reader, "global identifier")?,
                }
            }
            b'p' => {
                reader.u8("flags")?;
                Self::StreamPrepare { prepare: Prepare::decode(reader)? }
            }
            kind => return Err(Reader::unexpected(at, "kind of message", "one of pgoutput's", kind.into())),
        };
        reader.finish("message of pgoutput")?;
        Ok(message)
    }

    /// Returns the name of the message in the documentation.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "Begin",
            Self::Commit { .. } => "Commit",
            Self::Origin { .. } => "Origin",
            Self::Relation { .. } => "Relation",
            Self::Type { .. } => "Type",
            Self::Insert { .. } => "Insert",
            Self::Update { .. } => "Update",
            Self::Delete { .. } => "Delete",
            Self::Truncate { .. } => "Truncate",
            Self::Message { .. } => "Message",
            Self::StreamStart { .. } => "Stream Start",
            Self::StreamStop => "Stream Stop",
            Self::StreamCommit { .. } => "Stream Commit",
            Self::StreamAbort { .. } => "Stream Abort",
            Self::BeginPrepare { .. } => "Begin Prepare",
            Self::Prepare { .. } => "Prepare",
            Self::CommitPrepared { .. } => "Commit Prepared",
            Self::RollbackPrepared { .. } => "Rollback Prepared",
            Self::StreamPrepare { .. } => "Stream Prepare",
        }
    }

    /// Decodes a message of a transaction that is not streamed, if it is one that changes a row. Returns the object ID of the table.
    pub fn changed_row(reader: &mut Reader<'a>) -> Option<u32> {
        let is_of_row = matches!(reader.peek_rest().first(), Some(b'I' | b'U' | b'D'));
        if is_of_row { Self::decode(reader, false).ok()?.relation_oid() } else { None }
    }

    /// Decodes a message of a transaction that is not streamed up to the values of the new row, if it has one, and no old one. Returns
    /// its type byte, and how many values the row has.
    pub fn begin_new_row(reader: &mut Reader<'a>) -> Option<(u8, u16)> {
        let kind = reader.u8("kind of message").ok().filter(|kind| matches!(kind, b'I' | b'U'))?;
        reader.u32("table").ok()?;
        expect(reader, b'N', "N").ok()?;
        Some((kind, reader.u16("number of columns").ok()?))
    }

    /// Returns the byte that the message begins with.
    pub const fn tag(&self) -> u8 {
        match self {
            Self::Begin { .. } => b'B',
            Self::Commit { .. } => b'C',
            Self::Origin { .. } => b'O',
            Self::Relation { .. } => b'R',
            Self::Type { .. } => b'Y',
            Self::Insert { .. } => b'I',
            Self::Update { .. } => b'U',
            Self::Delete { .. } => b'D',
            Self::Truncate { .. } => b'T',
            Self::Message { .. } => b'M',
            Self::StreamStart { .. } => b'S',
            Self::StreamStop => b'E',
            Self::StreamCommit { .. } => b'c',
            Self::StreamAbort { .. } => b'A',
            Self::BeginPrepare { .. } => b'b',
            Self::Prepare { .. } => b'P',
            Self::CommitPrepared { .. } => b'K',
            Self::RollbackPrepared { .. } => b'r',
            Self::StreamPrepare { .. } => b'p',
        }
    }

    /// Returns the object ID of the table whose row it changes.
    pub const fn relation_oid(&self) -> Option<u32> {
        match self {
            Self::Insert { relation_oid, .. }
            | Self::Update { relation_oid, .. }
            | Self::Delete { relation_oid, .. } => Some(*relation_oid),
            _ => None,
        }
    }

    /// Returns the transaction that a message of a streamed transaction begins with.
    pub const fn streamed_xid(&self) -> Option<u32> {
        match self {
            Self::Relation { xid, .. }
            | Self::Type { xid, .. }
            | Self::Insert { xid, .. }
            | Self::Update { xid, .. }
            | Self::Delete { xid, .. }
            | Self::Truncate { xid, .. }
            | Self::Message { xid, .. } => *xid,
            _ => None,
        }
    }
}

impl<'a> Prepare<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            prepare_lsn: lsn(reader, "position of the preparation")?,
            end_lsn: lsn(reader, "end of the transaction")?,
            prepare_time: time(reader, "time of the preparation")?,
            xid: reader.u32("transaction")?,
            gid: Text::decode(reader, "global identifier")?,
        })
    }
}

impl<'a> RelationMessage<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (oid, schema) = (reader.u32("table")?, Text::decode(reader, "schema")?);
        let table = Text::decode(reader, "name of the table")?;
        let at = reader.position();
        let replica_identity = match reader.u8("replica identity")? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            other => return Err(Reader::unexpected(at, "replica identity", "d, n, f or i", other.into())),
        };
        Ok(Self { oid, schema, table, replica_identity, columns: List::counted(reader, "number of columns")? })
    }
}

impl<'a> OldTuple<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = reader.position();
        match reader.u8("kind of row")? {
            b'K' => Ok(Self::Key(tuple(reader)?)),
            b'O' => Ok(Self::Row(tuple(reader)?)),
            kind => Err(Reader::unexpected(at, "kind of row", "K or O", kind.into())),
        }
    }
}

fn tuple<'a>(reader: &mut Reader<'a>) -> Result<Tuple<'a>, DecodeError> {
    List::counted(reader, "number of columns")
}

fn expect(reader: &mut Reader<'_>, wanted: u8, name: &'static str) -> Result<(), DecodeError> {
    let at = reader.position();
    match reader.u8("kind of row")? {
        kind if kind == wanted => Ok(()),
        kind => Err(Reader::unexpected(at, "kind of row", name, kind.into())),
    }
}

/// Returns the name of a type, qualified as in SQL unless it is one of the system's.
pub(crate) fn qualified<'a>(schema: &'a str, name: &'a str) -> Cow<'a, str> {
    if schema.is_empty() || schema == "pg_catalog" {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{schema}.{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], is_streamed: bool) -> String {
        match Pgoutput::decode(&mut Reader::new(bytes), is_streamed) {
            Ok(message) => message.name().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (bytes, wanted) in [
            (&b""[..], "kind of message at byte 0: wanted 1 byte, had 0 bytes"),
            (b"x", "kind of message at byte 0: wanted one of pgoutput's, had 120"),
            (b"E!", "message of pgoutput at byte 1: wanted the end of the message, had 1 byte"),
            (b"I\0\0\0\x01K", "kind of row at byte 5: wanted N, had 75"),
            (b"D\0\0\0\x01N", "kind of row at byte 5: wanted K or O, had 78"),
            (b"I\0\0\0\x01N\0\x01x", "kind of a value at byte 8: wanted n, u, t or b, had 120"),
            (b"I\0\0\0\x01N\0\x01t\0\0\0\x02a", "value at byte 13: wanted 2 bytes, had 1 byte"),
            (b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xfba", "length of a value at byte 9: wanted 0 or more, had -5"),
            (b"R\0\0\0\x01s\0t\0x", "replica identity at byte 9: wanted d, n, f or i, had 120"),
            (b"S\0\0", "transaction at byte 1: wanted 4 bytes, had 2 bytes"),
        ] {
            assert_eq!(decoded(bytes, false), wanted);
        }
        // Within a streamed transaction, there is its number before.
        assert_eq!(decoded(b"I\0\0\0\x09\0\0\0\x01N\0\0", true), "Insert");
        assert_eq!(decoded(b"I\0\0\0\x01N\0\0", true), "table at byte 5: wanted 4 bytes, had 3 bytes");
    }

    #[test]
    fn of_a_message_that_is_cut_off_there_is_what_was_there() {
        let row = b"I\0\0\0\x01N\0\x02t\0\0\0\x011t\0\0\0\x09part";
        let Ok(Pgoutput::Insert { new, .. }) = Pgoutput::decode(&mut Reader::cut(row), false) else {
            panic!("the first value is there")
        };
        assert_eq!(new.iter().collect::<Vec<_>>(), [TupleValue::Text(b"1")]);
        assert!(new.is_cut());
    }
}
