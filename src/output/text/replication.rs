//! What is in a replication stream or a base backup, and lines of changes and transactions.
//!
//! ```text
//! 21:46:13.768763   1 [B2F] CopyData  0/16B3748 Insert public.t (id=1, word='kiwi')
//! 21:46:13.768763   1       CHANGE    insert public.t (id=1, word='kiwi')  xid=735
//! 21:46:13.768763   1       TRANSACTION committed  1 change  xid=735  0/16B3748
//! ```

use std::fmt;
use std::io;

use super::line::{Line, Paint};
use super::sanitize::{Data, Extent, Name, PROSE, Prose, Value};
use super::{beginning, kind, oddities, width};
use crate::output::text::body::Count;
use crate::pg::text::Text;
use crate::record::{ChangeRecord, TransactionOutcome, TransactionRecord};
use crate::replication::backup::BackupMessage;
use crate::replication::data::{ChangedRows, MessageContent, PayloadData, ReplicationContent, ReplicationData};
use crate::replication::pgoutput::{Pgoutput, Prepare};
use crate::replication::relation::{Relation, RowValues};
use crate::replication::stream::StreamMessage;

/// Writes a CopyData.
pub(super) fn data(line: &mut Line<'_>, data: &ReplicationData<'_>) -> io::Result<()> {
    match &data.content {
        ReplicationContent::Stream(message, payload) => {
            stream(line, message)?;
            match payload {
                PayloadData::None => Ok(()),
                PayloadData::Wal(bytes) => line.item(format_args!("{}", Count(bytes.len() as u64, "byte"))),
                PayloadData::Pgoutput(message) => pgoutput(line, message, data),
                PayloadData::NotPgoutput(error, bytes) => {
                    line.painted(Paint::RED, format_args!(" not decoded: {error}"))?;
                    line.item(format_args!("{}", Count(bytes.len() as u64, "byte")))
                }
                PayloadData::Json(bytes) | PayloadData::Other(bytes) => {
                    let extent = line.extent;
                    line.item(format_args!("{}", Value(data.text(bytes), extent)))
                }
            }
        }
        ReplicationContent::Backup(BackupMessage::Archive { archive, tablespace }, _) => {
            line.item(format_args!("archive {}", Name(*archive, line.extent)))?;
            if tablespace.0.is_empty() {
                Ok(())
            } else {
                line.item(format_args!("of {}", Name(*tablespace, line.extent)))
            }
        }
        ReplicationContent::Backup(BackupMessage::Manifest, _) => line.item(format_args!("manifest")),
        ReplicationContent::Backup(BackupMessage::Progress { bytes_done }, _) => {
            line.item(format_args!("{} done", Count(*bytes_done, "byte")))
        }
        ReplicationContent::Backup(BackupMessage::Data, bytes)
        | ReplicationContent::Data(bytes)
        | ReplicationContent::Manifest(bytes) => line.item(format_args!("{}", Count(bytes.len() as u64, "byte"))),
        ReplicationContent::Undecoded(error, bytes) => {
            line.painted(Paint::RED, format_args!("not decoded: {error}"))?;
            line.item(format_args!("{}", Count(bytes.len() as u64, "byte")))
        }
    }
}

fn stream(line: &mut Line<'_>, message: &StreamMessage) -> io::Result<()> {
    let requested = |requested| if requested { " reply requested" } else { "" };
    match *message {
        StreamMessage::XlogData { start_lsn, .. } => line.item(format_args!("{start_lsn}")),
        StreamMessage::Keepalive { end_lsn, reply_requested, .. } => {
            line.item(format_args!("keepalive end={end_lsn}{}", requested(reply_requested)))
        }
        StreamMessage::PrimaryStatus { end_lsn, oldest_committing_xid, next_xid, .. } => line.item(format_args!(
            "primary status end={end_lsn} oldest_committing_xid={oldest_committing_xid} next_xid={next_xid}"
        )),
        StreamMessage::StandbyStatus { write_lsn, flush_lsn, apply_lsn, reply_requested, .. } => line.item(
            format_args!("status write={write_lsn} flush={flush_lsn} apply={apply_lsn}{}", requested(reply_requested)),
        ),
        StreamMessage::HotStandbyFeedback { xmin, catalog_xmin, .. } => {
            line.item(format_args!("feedback xmin={xmin} catalog_xmin={catalog_xmin}"))
        }
        StreamMessage::PrimaryStatusRequest { .. } => line.item(format_args!("primary status request")),
    }
}

fn pgoutput(line: &mut Line<'_>, message: &Pgoutput<'_>, data: &ReplicationData<'_>) -> io::Result<()> {
    let extent = line.extent;
    line.item(format_args!("{}", message.name()))?;
    let relation = data.context.relation.map(|relation| &**relation);
    if let Some(oid) = message.relation_oid() {
        table(line, relation.map(Relation::schema), relation.map(Relation::table), Some(oid))?;
    }
    match *message {
        Pgoutput::Begin { xid, .. } => line.item(format_args!("xid={xid}")),
        Pgoutput::Commit { commit_lsn, .. } => line.item(format_args!("{commit_lsn}")),
        Pgoutput::Origin { name, .. } => line.item(format_args!("{}", Name(name, extent))),
        Pgoutput::Relation { relation, .. } => {
            table(line, Some(relation.schema()), Some(relation.table), Some(relation.oid))?;
            line.item(format_args!("("))?;
            line.list(", ", relation.columns.iter().map(|column| Name(column.name, extent)))?;
            line.put(format_args!(")"))
        }
        Pgoutput::Type { oid, schema, name, .. } => table(line, Some(schema), Some(name), Some(oid)),
        Pgoutput::Insert { .. } | Pgoutput::Update { .. } | Pgoutput::Delete { .. } => rows(line, &data.rows(message)),
        Pgoutput::Truncate { cascade, restart_identity, relation_oids, .. } => {
            line.item(format_args!("{}", Count(relation_oids.len() as u64, "table")))?;
            options(line, cascade, restart_identity)
        }
        Pgoutput::Message { prefix, content: bytes, .. } => {
            line.item(format_args!("{}", Name(prefix, extent)))?;
            content(line, &data.content(bytes))
        }
        Pgoutput::StreamStart { xid, .. } | Pgoutput::StreamCommit { xid, .. } => line.item(format_args!("xid={xid}")),
        Pgoutput::StreamStop => Ok(()),
        Pgoutput::StreamAbort { xid, subxid, .. } => line.item(format_args!("xid={xid} subxid={subxid}")),
        Pgoutput::BeginPrepare { prepare: Prepare { xid, gid, .. } }
        | Pgoutput::Prepare { prepare: Prepare { xid, gid, .. } }
        | Pgoutput::StreamPrepare { prepare: Prepare { xid, gid, .. } }
        | Pgoutput::CommitPrepared { xid, gid, .. }
        | Pgoutput::RollbackPrepared { xid, gid, .. } => line.item(format_args!("xid={xid} gid={}", Name(gid, extent))),
    }
}

fn table(line: &mut Line<'_>, schema: Option<Text<'_>>, table: Option<Text<'_>>, oid: Option<u32>) -> io::Result<()> {
    let extent = line.extent;
    match (schema, table, oid) {
        (Some(schema), Some(table), _) => line.item(format_args!("{}.{}", Name(schema, extent), Name(table, extent))),
        (_, _, Some(oid)) => line.item(format_args!("relation_oid={oid}")),
        _ => Ok(()),
    }
}

fn rows(line: &mut Line<'_>, rows: &ChangedRows<'_>) -> io::Result<()> {
    for (what, values) in [(Some("key"), &rows.key), (Some("old"), &rows.old), (None, &rows.new)] {
        if let Some(values) = values {
            row(line, what, values)?;
        }
    }
    if let Some(unchanged) = &rows.unchanged {
        let extent = line.extent;
        line.item(format_args!("unchanged("))?;
        line.list(", ", unchanged.names().map(|name| Column(name, extent)))?;
        line.put(format_args!(")"))?;
    }
    Ok(())
}

/// How TRUNCATE empties a table.
fn options(line: &mut Line<'_>, cascade: bool, restart_identity: bool) -> io::Result<()> {
    for (is_given, option) in [(cascade, "cascade"), (restart_identity, "restart identity")] {
        if is_given {
            line.item(format_args!("{option}"))?;
        }
    }
    Ok(())
}

/// The name of a column.
struct Column<'a>(std::borrow::Cow<'a, str>, Extent);

impl fmt::Display for Column<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name(Text::utf8(self.0.as_bytes()), self.1).fmt(f)
    }
}

fn row(line: &mut Line<'_>, what: Option<&str>, row: &RowValues<'_>) -> io::Result<()> {
    let extent = line.extent;
    match what {
        Some(what) => line.item(format_args!("{what}("))?,
        None => line.item(format_args!("("))?,
    }
    line.list(", ", row.iter().map(|(name, value)| NamedValue(name, Value(value, extent), extent)))?;
    line.put(format_args!(")"))
}

/// A value with the name of its column.
struct NamedValue<'a>(Option<&'a str>, Value<'a>, Extent);

impl fmt::Display for NamedValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "{}={}", Name(Text::utf8(name.as_bytes()), self.2), self.1),
            None => self.1.fmt(f),
        }
    }
}

fn content(line: &mut Line<'_>, content: &MessageContent<'_>) -> io::Result<()> {
    match content.redaction.shape(0, content.bytes) {
        Some(shape) => line.item(format_args!("{shape}")),
        None => {
            let data = Data { text: Text::utf8(content.bytes), format: None, excerpt: PROSE, extent: line.extent };
            line.item(format_args!("{data}"))
        }
    }
}

/// Writes a change.
pub(super) fn change(line: &mut Line<'_>, record: &ChangeRecord<'_>) -> io::Result<()> {
    begin(line, &record.header, Paint::BOLD, "CHANGE", None)?;
    oddities(line, record.flags, 0)?;
    line.content();
    line.item(format_args!("{}", record.op.name()))?;
    table(line, record.schema, record.table, record.relation_oid)?;
    let ChangeRecord { new, old, key, unchanged, .. } = *record;
    rows(line, &ChangedRows { new, old, key, unchanged })?;
    options(line, record.cascade == Some(true), record.restart_identity == Some(true))?;
    if let Some(prefix) = record.prefix {
        line.item(format_args!("{}", Name(prefix, line.extent)))?;
    }
    if let Some(bytes) = &record.content {
        content(line, bytes)?;
    }
    line.tail();
    transaction_of(line, record.xid, record.subxid)?;
    if record.streamed { line.aside(Paint::DIM, format_args!("streamed")) } else { Ok(()) }
}

/// Writes the fate of a transaction.
pub(super) fn transaction(line: &mut Line<'_>, record: &TransactionRecord<'_>) -> io::Result<()> {
    let (paint, outcome) = match record.outcome {
        TransactionOutcome::Committed => (Paint::BOLD, "committed"),
        TransactionOutcome::Prepared => (Paint::BOLD, "prepared"),
        TransactionOutcome::Aborted => (Paint::BOLD_YELLOW, "aborted"),
        TransactionOutcome::RolledBack => (Paint::BOLD_YELLOW, "rolled back"),
    };
    begin(line, &record.header, paint, "TRANSACTION", record.lag_us)?;
    oddities(line, record.flags, 0)?;
    line.content();
    line.item(format_args!("{outcome}"))?;
    if let Some(changes) = record.changes {
        line.item(format_args!("{}", Count(changes, "change")))?;
    }
    if let Some(gid) = record.gid {
        line.item(format_args!("{}", Prose(gid.0, line.extent.limit(PROSE))))?;
    }
    line.tail();
    transaction_of(line, record.xid, record.subxid)?;
    match record.commit_lsn.or(record.prepare_lsn).or(record.prepare_end_lsn).or(record.abort_lsn) {
        Some(lsn) => line.aside(Paint::DIM, format_args!("{lsn}")),
        None => Ok(()),
    }
}

fn begin(
    line: &mut Line<'_>,
    header: &crate::record::Header<'_>,
    paint: Paint,
    name: &str,
    elapsed_us: Option<u64>,
) -> io::Result<()> {
    beginning(line, header, elapsed_us)?;
    if !line.is_compact {
        line.skip_column(width::DIRECTION);
    }
    kind(line, paint, name)
}

fn transaction_of(line: &mut Line<'_>, xid: Option<u32>, subxid: Option<u32>) -> io::Result<()> {
    if let Some(xid) = xid {
        line.aside(Paint::DIM, format_args!("xid={xid}"))?;
    }
    match subxid {
        Some(subxid) => line.aside(Paint::DIM, format_args!("subxid={subxid}")),
        None => Ok(()),
    }
}
