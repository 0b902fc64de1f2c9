//! Lines of changes that came one right behind the other: what they have in common is copied.

use std::io;
use std::sync::Arc;

use super::LineWriter;
use super::bodies::{looked_at, text, value};
use super::change::write_lsn;
use super::tokens::{numbered, put, string};
use crate::direction::Direction;
use crate::output::Form;
use crate::pg;
use crate::pg::list::Decode;
use crate::reader::Reader;
use crate::record::{ChangeRun, Operation, Record};
use crate::replication::data::ReplicationContext;
use crate::replication::pgoutput::{Pgoutput, TupleValue};
use crate::replication::relation::Relation;
use crate::replication::stream::StreamMessage;
use crate::value::{Format, Look};

/// What lines of changes have in common.
#[derive(Debug, Default)]
pub(super) struct ChangeWriter {
    /// The table that the next three are of.
    relation: Option<Arc<Relation>>,
    /// From the end of the name of the operation to the first column.
    table: Vec<u8>,
    columns: Vec<WrittenColumn>,
    /// The names of all columns, with what is between them and the values.
    keys: Vec<u8>,
    /// Up to the name of the operation.
    head: Vec<u8>,
    /// From the last column to the position.
    tail: Vec<u8>,
}

#[derive(Debug)]
struct WrittenColumn {
    /// Where its name ends.
    key_end: usize,
    type_oid: u32,
    look: Look,
}

impl LineWriter {
    /// Writes the lines of changes.
    pub(super) fn change_run(&mut self, out: &mut Vec<u8>, run: &ChangeRun<'_>) -> io::Result<()> {
        let is_prepared = self.prepare_changes(run);
        for (_, _, body) in run.frames {
            let start = out.len();
            if is_prepared && self.changes.write(out, &run.context, body).is_some() {
                continue;
            }
            out.truncate(start);
            let mut written = Ok(());
            run.each_of(body, |change| written = self.record(out, &Record::Change(change)));
            written?;
        }
        Ok(())
    }

    /// Prepares for changes. Returns whether their lines have anything in common.
    fn prepare_changes(&mut self, run: &ChangeRun<'_>) -> bool {
        let (Some(relation), Some(xid)) = (run.context.relation, run.xid) else { return false };
        if run.context.redaction.hides_values() {
            return false;
        }
        let mut head = std::mem::take(&mut self.changes.head);
        head.clear();
        self.begin_change(&mut head, &run.header, run.packet);
        self.changes.head = head;
        let tail = &mut self.changes.tail;
        tail.clear();
        numbered(tail, br#"},"xid":"#, xid.into());
        put(tail, br#","lsn":"#);
        self.changes.prepare_table(relation);
        true
    }
}

impl ChangeWriter {
    fn prepare_table(&mut self, relation: &Arc<Relation>) {
        if self.relation.as_ref().is_some_and(|prepared| Arc::ptr_eq(prepared, relation)) {
            return;
        }
        self.relation = Some(Arc::clone(relation));
        let Self { table, columns, keys, .. } = self;
        table.clear();
        put(table, br#"","schema":"#);
        text(table, relation.schema());
        put(table, br#","table":"#);
        text(table, relation.table());
        numbered(table, br#","relation_oid":"#, relation.oid.into());
        put(table, br#","new":{"#);
        (*columns, *keys) = (Vec::new(), Vec::new());
        for (name, type_oid) in relation.columns() {
            if !keys.is_empty() {
                keys.push(b',');
            }
            string(keys, name);
            keys.push(b':');
            columns.push(WrittenColumn { key_end: keys.len(), type_oid, look: Look::of(type_oid, Format::Text) });
        }
    }

    /// Writes the line of the change in a message, if it has a new row and nothing but that; else anything.
    fn write(&self, out: &mut Vec<u8>, context: &ReplicationContext<'_>, body: &[u8]) -> Option<()> {
        let mut reader = Reader::new(body).with_encoding(context.encoding);
        let Ok(StreamMessage::XlogData { start_lsn, .. }) = StreamMessage::decode(Direction::Backend, &mut reader)
        else {
            return None;
        };
        let (kind, count) = Pgoutput::begin_new_row(&mut reader)?;
        if usize::from(count) != self.columns.len() {
            return None;
        }
        let op = if kind == b'I' { Operation::Insert } else { Operation::Update };
        out.extend_from_slice(&self.head);
        out.extend_from_slice(op.name().as_bytes());
        out.extend_from_slice(&self.table);
        let mut key_start = 0;
        for WrittenColumn { key_end, type_oid, look } in &self.columns {
            out.extend_from_slice(self.keys.get(key_start..*key_end)?);
            key_start = *key_end;
            match TupleValue::decode(&mut reader).ok()? {
                TupleValue::Text(bytes) => {
                    if !looked_at(out, *look, bytes) {
                        value(out, &context.value(bytes, Some(pg::row::Format::TEXT), *type_oid)).ok()?;
                    }
                }
                TupleValue::Null => put(out, b"null"),
                TupleValue::Unchanged | TupleValue::Binary(_) => return None,
            }
        }
        reader.finish("row").ok()?;
        out.extend_from_slice(&self.tail);
        write_lsn(out, start_lsn);
        put(out, b"}\n");
        Some(())
    }
}
