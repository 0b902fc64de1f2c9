//! Changes of rows and fates of transactions, read from a logical replication stream.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Flags, Header};
use crate::direction::Direction;
use crate::pg::framer::WholeFrames;
use crate::pg::list::Oid;
use crate::pg::text::Text;
use crate::replication::Lsn;
use crate::replication::data::{
    ChangedRows, MessageContent, PayloadData, ReplicationContent, ReplicationContext, ReplicationData,
};
use crate::replication::pgoutput::Pgoutput;
use crate::replication::relation::{Relation, RowValues, UnchangedColumns};
use crate::replication::stream::StreamMessage;
use crate::session::walsender::logical::{Fate, TransactionOutcome};
use crate::time::Timestamp;

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Operation {
    /// It adds a row.
    Insert,
    /// It changes a row.
    Update,
    /// It deletes a row.
    Delete,
    /// It empties a table: there is a line for each of several.
    Truncate,
    /// It is a logical message, of `pg_logical_emit_message`.
    Message,
}

impl Operation {
    /// Returns its name, as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Message => "message",
        }
    }
}

/// A change of a row or table, or a logical message, in a stream of pgoutput.
///
/// Whoever keeps changes by `xid`, drops those whose `subxid` is aborted, and applies the others when a
/// [`TransactionRecord`] with the outcome `committed` comes, has the tables of the publisher.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangeRecord<'a> {
    /// When it was captured, and whose stream it is in.
    #[serde(flatten)]
    pub header: Header<'a>,
    /// Number of the packet with which it was complete, from 1.
    pub packet: u64,
    /// What it does.
    pub op: Operation,
    /// The schema of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Text<'a>>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Text<'a>>,
    /// The object ID of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation_oid: Option<u32>,
    /// The row that was inserted, or that an update has left: by the names of its columns, or an array if they are not known (flag
    /// `midstream`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<RowValues<'a>>,
    /// The row before, if the table's replica identity is FULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<RowValues<'a>>,
    /// The key of the row before: of one that was deleted, and of one whose key was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<RowValues<'a>>,
    /// The columns with large values that were not changed, and not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<UnchangedColumns<'a>>,
    /// Of TRUNCATE: CASCADE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cascade: Option<bool>,
    /// Of TRUNCATE: RESTART IDENTITY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_identity: Option<bool>,
    /// Of a logical message: its prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Text<'a>>,
    /// Of a logical message: its content, as text if it is readable, else `"\\x…"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<MessageContent<'a>>,
    /// Of a logical message: whether it is part of a transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactional: Option<bool>,
    /// The top-level transaction; absent if its beginning was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xid: Option<u32>,
    /// The subtransaction that it is of, in a streamed transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subxid: Option<u32>,
    /// Its position: the `start_lsn` of XLogData, or that of the logical message.
    pub lsn: Lsn,
    /// Whether its transaction was in progress: it may still be aborted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub streamed: bool,
    /// What is odd about it.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
}

/// The fate of a transaction, or of a subtransaction, in a stream of pgoutput.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TransactionRecord<'a> {
    /// When it was captured, and whose stream it is in.
    #[serde(flatten)]
    pub header: Header<'a>,
    /// Number of the packet with which it was complete, from 1.
    pub packet: u64,
    /// What became of it.
    pub outcome: TransactionOutcome,
    /// The transaction; absent if its beginning was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xid: Option<u32>,
    /// The subtransaction that was aborted: the transaction itself goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subxid: Option<u32>,
    /// The global identifier of a transaction that is, or was, prepared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<Text<'a>>,
    /// The position of its commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_lsn: Option<Lsn>,
    /// The position of its preparation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare_lsn: Option<Lsn>,
    /// Of one that was rolled back after it was prepared: the position behind its preparation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare_end_lsn: Option<Lsn>,
    /// The position of its abort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_lsn: Option<Lsn>,
    /// The position behind its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_lsn: Option<Lsn>,
    /// When it was committed, by the server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_ts: Option<Timestamp>,
    /// When it was prepared, by the server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare_ts: Option<Timestamp>,
    /// When it was aborted, or rolled back, by the server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_ts: Option<Timestamp>,
    /// The replication origin that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Text<'a>>,
    /// How many changes of it were sent, without those of subtransactions that were aborted; absent if its beginning was not seen, or
    /// if a part of them was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<u64>,
    /// Whether it was sent while it was in progress.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub streamed: bool,
    /// Microseconds from the time of its commit, preparation or abort to its capture; 0 if the server's clock is ahead. With an `origin`,
    /// a commit has the time at the origin, by its clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_us: Option<u64>,
    /// What is odd about it.
    #[serde(skip_serializing_if = "Flags::is_empty")]
    pub flags: Flags,
}

/// The transaction that a change is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeOf {
    pub(crate) xid: Option<u32>,
    pub(crate) subxid: Option<u32>,
    pub(crate) is_streamed: bool,
    pub(crate) flags: Flags,
}

impl<'a> ChangeRecord<'a> {
    /// Calls `emit` with each change of a message: TRUNCATE may be of several tables, which `relation` returns by object ID.
    pub(crate) fn each(
        (header, packet, lsn): (Header<'a>, u64, Lsn),
        message: &Pgoutput<'a>,
        of: ChangeOf,
        data: &ReplicationData<'a>,
        relation: impl Fn(u32) -> Option<&'a Relation>,
        mut emit: impl FnMut(Self),
    ) {
        let ChangeOf { xid, subxid, is_streamed, flags } = of;
        let is_transactional = !matches!(message, Pgoutput::Message { transactional: false, .. });
        let known = data.context.relation.map(|relation| &**relation);
        let ChangedRows { new, old, key, unchanged } = data.rows(message);
        let mut record = Self {
            header,
            packet,
            op: Operation::Insert,
            schema: known.map(Relation::schema),
            table: known.map(Relation::table),
            relation_oid: message.relation_oid(),
            new,
            old,
            key,
            unchanged,
            cascade: None,
            restart_identity: None,
            prefix: None,
            content: None,
            transactional: None,
            xid,
            subxid,
            lsn,
            streamed: is_streamed,
            flags: Flags { midstream: data.is_midstream() || xid.is_none() && is_transactional, ..flags },
        };
        match *message {
            Pgoutput::Insert { .. } => {}
            Pgoutput::Update { .. } => record.op = Operation::Update,
            Pgoutput::Delete { .. } => record.op = Operation::Delete,
            Pgoutput::Truncate { cascade, restart_identity, relation_oids, .. } => {
                (record.op, record.cascade) = (Operation::Truncate, Some(cascade));
                record.restart_identity = Some(restart_identity);
                for Oid(oid) in relation_oids.iter() {
                    let known = relation(oid);
                    let mut record = record.clone();
                    (record.schema, record.table) = (known.map(Relation::schema), known.map(Relation::table));
                    record.relation_oid = Some(oid);
                    record.flags.midstream |= known.is_none();
                    emit(record);
                }
                return;
            }
            Pgoutput::Message { transactional, lsn, prefix, content, .. } => {
                (record.op, record.lsn) = (Operation::Message, lsn);
                (record.prefix, record.transactional) = (Some(prefix), Some(transactional));
                record.content = Some(data.content(content));
            }
            _ => return,
        }
        emit(record);
    }
}

/// Changes of rows that came one right behind the other: of one table, in one transaction that is not streamed.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRun<'a> {
    /// That of each of them.
    pub header: Header<'a>,
    /// Number of the captured packet that completed them.
    pub packet: u64,
    /// The transaction; `None` if its beginning was not seen.
    pub(crate) xid: Option<u32>,
    /// What their decoding depends on.
    pub(crate) context: ReplicationContext<'a>,
    /// The messages that they are in.
    pub(crate) frames: WholeFrames<'a>,
    /// How many they are.
    pub count: u64,
}

impl ChangeRun<'_> {
    /// Calls `emit` with each of them.
    pub fn for_each(&self, mut emit: impl FnMut(ChangeRecord<'_>)) {
        for (_, _, body) in self.frames {
            self.each_of(body, &mut emit);
        }
    }

    /// Calls `emit` with the change in a message of them.
    pub(crate) fn each_of(&self, body: &[u8], emit: impl FnMut(ChangeRecord<'_>)) {
        let Self { header, packet, xid, context, .. } = *self;
        let of = ChangeOf { xid, subxid: None, is_streamed: false, flags: Flags::default() };
        let data = ReplicationData::decode(context, Direction::Backend, body, false);
        if let ReplicationContent::Stream(StreamMessage::XlogData { start_lsn, .. }, PayloadData::Pgoutput(message)) =
            &data.content
        {
            ChangeRecord::each((header, packet, *start_lsn), message, of, &data, |_| None, emit);
        }
    }
}

impl<'a> TransactionRecord<'a> {
    pub(crate) fn new(
        (header, packet): (Header<'a>, u64),
        fate: &Fate<'a>,
        origin: Option<Text<'a>>,
        flags: Flags,
    ) -> Self {
        let Fate { xid, subxid, outcome, lsn, end_lsn, time, gid, changes, is_whole, is_streamed } = *fate;
        let ts = time.and_then(|time| time.timestamp());
        let (is_committed, is_prepared) =
            (outcome == TransactionOutcome::Committed, outcome == TransactionOutcome::Prepared);
        let is_rolled_back = outcome == TransactionOutcome::RolledBack;
        let is_ended = !is_committed && !is_prepared;
        Self {
            header,
            packet,
            outcome,
            xid,
            subxid,
            gid,
            commit_lsn: lsn.filter(|_| is_committed),
            prepare_lsn: lsn.filter(|_| is_prepared),
            prepare_end_lsn: lsn.filter(|_| is_rolled_back),
            abort_lsn: lsn.filter(|_| outcome == TransactionOutcome::Aborted),
            end_lsn,
            commit_ts: ts.filter(|_| is_committed),
            prepare_ts: ts.filter(|_| is_prepared),
            abort_ts: ts.filter(|_| is_ended),
            origin,
            changes,
            streamed: is_streamed,
            lag_us: ts.map(|ts| header.ts.micros_since(ts)),
            flags: Flags { midstream: !is_whole, ..flags },
        }
    }
}
