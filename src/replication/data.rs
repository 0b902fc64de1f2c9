//! CopyData of a stream or a backup, as it is written.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::backup::BackupMessage;
use super::pgoutput::{OldTuple, Pgoutput, Prepare, RelationMessage, ReplicaIdentity, Tuple};
use super::relation::{ColumnBody, Part, Relation, RowValues, UnchangedColumns};
use super::stream::StreamMessage;
use super::{Lsn, PgTime};
use crate::direction::Direction;
use crate::encoding::Encoding;
use crate::hex::Bytea;
use crate::pg::list::{List, Oid};
use crate::pg::row::{Format, FormattedValue, Guess, Value};
use crate::pg::text::Text;
use crate::reader::{DecodeError, Reader};
use crate::redaction::{Redaction, Shape};
use crate::value::Settings;

/// The object ID of the type json.
const JSON: u32 = 114;

/// What CopyData carries, as far as the command tells it that opened the COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The messages of a stream, with this in XLogData.
    Stream(Payload),
    /// The messages of a base backup.
    Backup,
    /// The data of an archive of a base backup, without frames: of a server before version 15.
    Archive,
    /// A manifest that the client sends.
    Manifest,
}

/// What the data in XLogData is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Bytes of the WAL.
    Wal,
    /// Messages of pgoutput.
    Pgoutput,
    /// JSON.
    Json,
    /// What a plugin writes that is not known.
    Other,
    /// It is not known whether it is bytes of the WAL.
    Unknown,
}

/// What the decoding of a CopyData depends on.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationContext<'a> {
    /// What it carries.
    pub mode: Mode,
    /// Whether it is between Stream Start and Stream Stop.
    pub is_streamed: bool,
    /// The table whose row it changes, or which it describes, if that is known.
    pub relation: Option<&'a Arc<Relation>>,
    /// How values are written.
    pub settings: Option<&'a Settings>,
    /// Whether bytes of the WAL and of backups are written.
    pub shows_data: bool,
    /// The encoding of text.
    pub encoding: Encoding,
    /// What is not written.
    pub redaction: Redaction,
}

/// A decoded CopyData of a stream or a backup.
#[derive(Clone, Copy, Debug)]
pub enum ReplicationContent<'a> {
    /// A message of a stream.
    Stream(StreamMessage, PayloadData<'a>),
    /// A message of a backup, and the data behind it.
    Backup(BackupMessage<'a>, &'a [u8]),
    /// Data without a frame.
    Data(&'a [u8]),
    /// A part of a manifest.
    Manifest(&'a [u8]),
    /// None of the messages that it should be.
    Undecoded(DecodeError, &'a [u8]),
}

/// What XLogData carries.
#[derive(Clone, Copy, Debug)]
pub enum PayloadData<'a> {
    /// Nothing: the message is another.
    None,
    /// Bytes of the WAL, or what may be that.
    Wal(&'a [u8]),
    /// A message of pgoutput.
    Pgoutput(Pgoutput<'a>),
    /// What should be one.
    NotPgoutput(DecodeError, &'a [u8]),
    /// What a plugin has written as JSON.
    Json(&'a [u8]),
    /// What another plugin has written.
    Other(&'a [u8]),
}

impl<'a> ReplicationContent<'a> {
    /// Decodes the body of a CopyData from this side, which may be cut off. Whether a message of pgoutput is one of a streamed transaction
    /// is what `is_streamed` returns for a reader of it and its position.
    pub(crate) fn decode(
        mode: Mode,
        is_streamed: impl FnOnce(&Reader<'a>, Lsn) -> bool,
        from: Direction,
        mut reader: Reader<'a>,
    ) -> Self {
        let body = reader.peek_rest();
        match mode {
            Mode::Stream(payload) => match StreamMessage::decode(from, &mut reader) {
                Ok(message @ StreamMessage::XlogData { start_lsn, .. }) => {
                    let payload = PayloadData::decode(payload, |payload| is_streamed(payload, start_lsn), reader);
                    Self::Stream(message, payload)
                }
                Ok(message) => Self::Stream(message, PayloadData::None),
                Err(error) => Self::Undecoded(error, body),
            },
            Mode::Backup if from == Direction::Backend => match BackupMessage::decode(&mut reader) {
                Ok(message) => Self::Backup(message, reader.rest()),
                Err(error) => Self::Undecoded(error, body),
            },
            Mode::Backup | Mode::Archive => Self::Data(body),
            Mode::Manifest => Self::Manifest(body),
        }
    }
}

impl<'a> ReplicationContext<'a> {
    /// Returns a value of this type, as it is written.
    pub(crate) fn value(&self, bytes: &'a [u8], format: Option<Format>, type_oid: u32) -> FormattedValue<'a> {
        let Self { encoding, redaction, settings, .. } = *self;
        FormattedValue { type_oid, settings, ..FormattedValue::new(Value(Some(bytes)), format, encoding, redaction) }
    }
}

impl<'a> PayloadData<'a> {
    fn decode(payload: Payload, is_streamed: impl FnOnce(&Reader<'a>) -> bool, mut reader: Reader<'a>) -> Self {
        let data = reader.peek_rest();
        match payload {
            Payload::Wal | Payload::Unknown => Self::Wal(data),
            Payload::Pgoutput => {
                let is_streamed = is_streamed(&reader);
                match Pgoutput::decode(&mut reader, is_streamed) {
                    Ok(message) => Self::Pgoutput(message),
                    Err(error) => Self::NotPgoutput(error, data),
                }
            }
            Payload::Json => Self::Json(data),
            // wal2json writes objects, and test_decoding none.
            Payload::Other if data.starts_with(b"{") && data.ends_with(b"}") => Self::Json(data),
            Payload::Other => Self::Other(data),
        }
    }
}

/// CopyData of a stream or a backup.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationData<'a> {
    /// What it is.
    pub content: ReplicationContent<'a>,
    /// What its decoding depends on.
    pub context: ReplicationContext<'a>,
}

impl<'a> ReplicationData<'a> {
    /// Decodes the body of a CopyData from this side, which may be cut off.
    pub(crate) fn decode(context: ReplicationContext<'a>, from: Direction, body: &'a [u8], is_cut: bool) -> Self {
        let reader = if is_cut { Reader::cut(body) } else { Reader::new(body) };
        let reader = reader.with_encoding(context.encoding);
        Self { content: ReplicationContent::decode(context.mode, |_, _| context.is_streamed, from, reader), context }
    }

    /// Returns whether it is a part of the WAL or of a backup, or may be, which is not written.
    pub(crate) const fn is_hidden(&self) -> bool {
        match self.content {
            ReplicationContent::Stream(_, payload) => {
                matches!(payload, PayloadData::Wal(_)) && !self.context.shows_data
            }
            _ => !self.context.shows_data,
        }
    }

    /// Returns whether what it depends on was sent before the capture began, or was lost.
    pub(crate) fn is_midstream(&self) -> bool {
        match &self.content {
            ReplicationContent::Stream(_, PayloadData::Pgoutput(message)) => is_without(message, self.context.relation),
            _ => false,
        }
    }

    fn body(&self) -> Body<'a> {
        let mut body = Body::default();
        match self.content {
            ReplicationContent::Stream(message, payload) => {
                body.stream = Some(message);
                match payload {
                    PayloadData::None => {}
                    PayloadData::Wal(data) => self.hidden(data, &mut body),
                    PayloadData::Pgoutput(message) => body.pgoutput = Some(self.pgoutput(&message)),
                    PayloadData::NotPgoutput(error, data) => {
                        body.error = Some(self.error(error));
                        body.data = Some(self.data(data, None, 0));
                    }
                    PayloadData::Json(data) => body.data = Some(self.data(data, Some(Format::TEXT), JSON)),
                    PayloadData::Other(data) => body.data = Some(self.data(data, None, 0)),
                }
            }
            ReplicationContent::Backup(message, data) => {
                body.backup = Some(message);
                if matches!(message, BackupMessage::Data) {
                    self.hidden(data, &mut body);
                }
            }
            ReplicationContent::Data(data) => {
                body.kind = Some("data");
                self.hidden(data, &mut body);
            }
            ReplicationContent::Manifest(data) => {
                body.kind = Some("manifest_data");
                self.hidden(data, &mut body);
            }
            ReplicationContent::Undecoded(error, data) => {
                body.error = Some(self.error(error));
                self.hidden(data, &mut body);
            }
        }
        body
    }

    const fn error(&self, error: DecodeError) -> DecodeError {
        if self.context.redaction.hides_values() { error.masked() } else { error }
    }

    /// Data of a plugin.
    fn data(&self, bytes: &'a [u8], format: Option<Format>, type_oid: u32) -> FormattedValue<'a> {
        self.context.value(bytes, format, type_oid)
    }

    /// Bytes of the WAL or of a backup, which are counted, and only written if that is wanted: they contain hashes of passwords.
    fn hidden(&self, bytes: &'a [u8], body: &mut Body<'a>) {
        body.bytes = Some(bytes.len());
        if self.context.shows_data && !self.context.redaction.hides_values() {
            body.binary = Some(Bytea(bytes));
        }
    }

    /// Returns what a plugin has written, as text or bytes.
    pub(crate) fn text(&self, bytes: &'a [u8]) -> FormattedValue<'a> {
        self.data(bytes, None, 0)
    }

    /// Returns a row, as it is written.
    pub(crate) fn row(&self, tuple: Tuple<'a>, part: Part) -> RowValues<'a> {
        let ReplicationContext { relation, settings, redaction, .. } = self.context;
        RowValues::new(tuple, relation.map(|relation| &**relation), part, settings, redaction)
    }

    /// Returns the rows of a change; none of another message.
    pub(crate) fn rows(&self, message: &Pgoutput<'a>) -> ChangedRows<'a> {
        let (new, old) = match *message {
            Pgoutput::Insert { new, .. } => (Some(new), None),
            Pgoutput::Update { old, new, .. } => (Some(new), old),
            Pgoutput::Delete { old, .. } => (None, Some(old)),
            _ => (None, None),
        };
        let new = new.map(|tuple| self.row(tuple, Part::Row));
        let (old, key) = match old {
            Some(OldTuple::Row(tuple)) => (Some(self.row(tuple, Part::Row)), None),
            Some(OldTuple::Key(tuple)) => (None, Some(self.row(tuple, Part::Key))),
            None => (None, None),
        };
        // Also of an insert: an update of a row that a publication has not published before is sent as one.
        let unchanged = new.as_ref().or(old.as_ref()).or(key.as_ref()).and_then(RowValues::unchanged);
        ChangedRows { new, old, key, unchanged }
    }

    fn pgoutput(&self, message: &Pgoutput<'a>) -> PgoutputBody<'a> {
        let relation = self.context.relation.map(|relation| &**relation);
        let ChangedRows { new, old, key, unchanged } = self.rows(message);
        let (name, xid) = (message.name(), message.streamed_xid());
        let mut body = PgoutputBody { name, xid, new, old, key, unchanged, ..PgoutputBody::default() };
        if let Some(oid) = message.relation_oid() {
            body.relation_oid = Some(oid);
            (body.schema, body.table) = (relation.map(Relation::schema), relation.map(Relation::table));
        }
        match *message {
            Pgoutput::Begin { final_lsn, commit_time, xid } => {
                (body.final_lsn, body.commit_time, body.xid) = (Some(final_lsn), Some(commit_time), Some(xid));
            }
            Pgoutput::Commit { commit_lsn, end_lsn, commit_time } => {
                body.commit(commit_lsn, end_lsn, commit_time);
            }
            Pgoutput::Origin { origin_lsn, name } => (body.origin_lsn, body.origin) = (Some(origin_lsn), Some(name)),
            Pgoutput::Relation { relation: described, .. } => {
                body.relation_oid = Some(described.oid);
                (body.schema, body.table) = (Some(described.schema()), Some(described.table));
                body.replica_identity = Some(described.replica_identity);
                body.columns = Some(Columns(described, relation));
            }
            Pgoutput::Type { oid, schema, name, .. } => {
                (body.type_oid, body.schema, body.type_name) = (Some(oid), Some(schema), Some(name));
            }
            Pgoutput::Insert { .. } | Pgoutput::Update { .. } | Pgoutput::Delete { .. } => {}
            Pgoutput::Truncate { cascade, restart_identity, relation_oids, .. } => {
                (body.cascade, body.restart_identity) = (cascade, restart_identity);
                body.relation_oids = Some(relation_oids);
            }
            Pgoutput::Message { transactional, lsn, prefix, content, .. } => {
                (body.transactional, body.lsn) = (Some(transactional), Some(lsn));
                (body.prefix, body.content) = (Some(prefix), Some(self.content(content)));
            }
            Pgoutput::StreamStart { xid, is_first } => (body.xid, body.is_first) = (Some(xid), Some(is_first)),
            Pgoutput::StreamStop => {}
            Pgoutput::StreamCommit { xid, commit_lsn, end_lsn, commit_time } => {
                body.xid = Some(xid);
                body.commit(commit_lsn, end_lsn, commit_time);
            }
            Pgoutput::StreamAbort { xid, subxid, aborted } => {
                (body.xid, body.subxid) = (Some(xid), Some(subxid));
                (body.abort_lsn, body.abort_time) = (aborted.map(|(lsn, _)| lsn), aborted.map(|(_, time)| time));
            }
            Pgoutput::BeginPrepare { prepare }
            | Pgoutput::Prepare { prepare }
            | Pgoutput::StreamPrepare { prepare } => {
                let Prepare { prepare_lsn, end_lsn, prepare_time, xid, gid } = prepare;
                (body.prepare_lsn, body.end_lsn) = (Some(prepare_lsn), Some(end_lsn));
                (body.prepare_time, body.xid, body.gid) = (Some(prepare_time), Some(xid), Some(gid));
            }
            Pgoutput::CommitPrepared { commit_lsn, end_lsn, commit_time, xid, gid } => {
                body.commit(commit_lsn, end_lsn, commit_time);
                (body.xid, body.gid) = (Some(xid), Some(gid));
            }
            Pgoutput::RollbackPrepared { prepare_end_lsn, end_lsn, prepare_time, rollback_time, xid, gid } => {
                (body.prepare_end_lsn, body.end_lsn) = (Some(prepare_end_lsn), Some(end_lsn));
                (body.prepare_time, body.rollback_time) = (Some(prepare_time), Some(rollback_time));
                (body.xid, body.gid) = (Some(xid), Some(gid));
            }
        }
        body
    }

    pub(crate) const fn content(&self, bytes: &'a [u8]) -> MessageContent<'a> {
        MessageContent { bytes, redaction: self.context.redaction }
    }
}

/// The rows of a change, as they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChangedRows<'a> {
    /// The row that was inserted, or that an update has left.
    pub(crate) new: Option<RowValues<'a>>,
    /// The row before.
    pub(crate) old: Option<RowValues<'a>>,
    /// The key of the row before.
    pub(crate) key: Option<RowValues<'a>>,
    /// The columns whose values were not sent.
    pub(crate) unchanged: Option<UnchangedColumns<'a>>,
}

/// Returns whether a message changes a row of a table that is not known, or of which something else is known.
fn is_without(message: &Pgoutput<'_>, relation: Option<&Arc<Relation>>) -> bool {
    let fits = |tuple| relation.is_some_and(|relation| relation.fits(tuple));
    match message {
        Pgoutput::Insert { new, .. } | Pgoutput::Update { new, .. } => !fits(new),
        Pgoutput::Delete { old: OldTuple::Key(old) | OldTuple::Row(old), .. } => !fits(old),
        _ => false,
    }
}

/// The content of a logical message: text if it is readable, else `"\\x…"`.
#[derive(Clone, Copy, Debug)]
pub struct MessageContent<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) redaction: Redaction,
}

impl Serialize for MessageContent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.redaction.shape(0, self.bytes) {
            Some(shape) => shape.serialize(serializer),
            None => Guess(self.bytes).serialize(serializer),
        }
    }
}

crate::pg::text::inline_schema!(MessageContent<'_>, "MessageContent", Shape::or::<String>);

/// The JSON form of CopyData in a stream or a backup.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "ReplicationData")]
struct Body<'a> {
    /// What else it is, where nothing says so on the wire: `data` of an archive, `manifest_data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(flatten)]
    stream: Option<StreamMessage>,
    #[serde(flatten)]
    backup: Option<BackupMessage<'a>>,
    /// Of pgoutput: the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pgoutput: Option<PgoutputBody<'a>>,
    /// What another plugin has written: JSON, text, or `"\\x…"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<FormattedValue<'a>>,
    /// How many bytes of the WAL, of an archive or of a manifest there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// These bytes, if they are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<Bytea<'a>>,
    /// Why it could not be decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<DecodeError>,
}

impl Serialize for ReplicationData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body().serialize(serializer)
    }
}

impl JsonSchema for ReplicationData<'_> {
    fn schema_name() -> Cow<'static, str> {
        Body::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Body::json_schema(generator)
    }
}

/// The JSON form of a message of pgoutput.
#[derive(Clone, Copy, Default, Serialize, JsonSchema)]
#[schemars(rename = "Pgoutput")]
#[allow(clippy::struct_excessive_bools, reason = "they are fields of JSON")]
struct PgoutputBody<'a> {
    /// Its name in the documentation.
    #[serde(rename = "type")]
    name: &'static str,
    /// The transaction; within a streamed one, the transaction or subtransaction that the message is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<u32>,
    /// Of Stream Abort: what is aborted; the transaction itself, or one of its subtransactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    subxid: Option<u32>,
    /// The object ID of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    relation_oid: Option<u32>,
    /// The schema of the table or type.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Text<'a>>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Text<'a>>,
    /// Of Relation: what identifies old rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_identity: Option<ReplicaIdentity>,
    /// Of Relation: the columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Columns<'a>>,
    /// Of Type: its object ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    type_oid: Option<u32>,
    /// Of Type: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    type_name: Option<Text<'a>>,
    /// The row that was inserted, or that an update has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<RowValues<'a>>,
    /// The row before.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<RowValues<'a>>,
    /// The key of the row before.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<RowValues<'a>>,
    /// Large values that were not changed, and not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    unchanged: Option<UnchangedColumns<'a>>,
    /// Of Truncate: the object IDs of the tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    relation_oids: Option<List<'a, Oid>>,
    /// Of Truncate: CASCADE.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cascade: bool,
    /// Of Truncate: RESTART IDENTITY.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    restart_identity: bool,
    /// Of Message: whether it is part of the transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    transactional: Option<bool>,
    /// Of Message: its position.
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn: Option<Lsn>,
    /// Of Message: its prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Text<'a>>,
    /// Of Message: its content, as text if it is readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<MessageContent<'a>>,
    /// Of Stream Start: whether it is the first for its transaction.
    #[serde(rename = "first", skip_serializing_if = "Option::is_none")]
    is_first: Option<bool>,
    /// Of Begin: the position of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    final_lsn: Option<Lsn>,
    /// The position of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_lsn: Option<Lsn>,
    /// The position of the preparation.
    #[serde(skip_serializing_if = "Option::is_none")]
    prepare_lsn: Option<Lsn>,
    /// The position behind the preparation.
    #[serde(skip_serializing_if = "Option::is_none")]
    prepare_end_lsn: Option<Lsn>,
    /// The position behind the end of the transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_lsn: Option<Lsn>,
    /// The position of the abort.
    #[serde(skip_serializing_if = "Option::is_none")]
    abort_lsn: Option<Lsn>,
    /// Of Origin: the position on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_lsn: Option<Lsn>,
    /// Of Origin: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Text<'a>>,
    /// When it was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_time: Option<PgTime>,
    /// When it was prepared.
    #[serde(skip_serializing_if = "Option::is_none")]
    prepare_time: Option<PgTime>,
    /// When it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_time: Option<PgTime>,
    /// When it was aborted.
    #[serde(skip_serializing_if = "Option::is_none")]
    abort_time: Option<PgTime>,
    /// The global identifier of a prepared transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<Text<'a>>,
}

impl<'a> PgoutputBody<'a> {
    const fn commit(&mut self, commit_lsn: Lsn, end_lsn: Lsn, commit_time: PgTime) {
        self.commit_lsn = Some(commit_lsn);
        self.end_lsn = Some(end_lsn);
        self.commit_time = Some(commit_time);
    }
}

/// The columns of a Relation message.
#[derive(Clone, Copy)]
struct Columns<'a>(RelationMessage<'a>, Option<&'a Relation>);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message, relation) = self;
        let columns = message.columns.iter().enumerate();
        serializer.collect_seq(columns.map(|(position, column)| ColumnBody::new(column, *relation, position)))
    }
}

crate::pg::text::inline_schema!(Columns<'_>, "Columns", |generator: &mut SchemaGenerator| {
    Vec::<ColumnBody<'_>>::json_schema(generator)
});
