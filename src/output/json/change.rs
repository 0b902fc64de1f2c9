//! `"event":"change"`, and the rows in messages of pgoutput, written by hand: the fields in their order, as the derived forms have them.

use serde::Serialize;

use super::bodies::{text, value};
use super::serializer::{Error, Serializer};
use super::tokens::{numbered, put, string};
use super::{LineWriter, member};
use crate::record::{ChangeRecord, Header};
use crate::replication::Lsn;
use crate::replication::data::{ChangedRows, PayloadData, ReplicationContent, ReplicationData};
use crate::replication::relation::RowValues;
use crate::replication::stream::StreamMessage;

impl LineWriter {
    pub(super) fn change(&mut self, out: &mut Vec<u8>, record: &ChangeRecord<'_>) -> Result<(), Error> {
        // Every field, so that a new one cannot be forgotten.
        let ChangeRecord {
            header,
            packet,
            op,
            schema,
            table,
            relation_oid,
            new,
            old,
            key,
            unchanged,
            cascade,
            restart_identity,
            prefix,
            content,
            transactional,
            xid,
            subxid,
            lsn,
            streamed,
            flags,
        } = record;
        self.begin_change(out, header, *packet);
        out.extend_from_slice(op.name().as_bytes());
        out.push(b'"');
        if let Some(schema) = schema {
            put(out, br#","schema":"#);
            text(out, *schema);
        }
        if let Some(table) = table {
            put(out, br#","table":"#);
            text(out, *table);
        }
        if let Some(oid) = relation_oid {
            numbered(out, br#","relation_oid":"#, (*oid).into());
        }
        let rows = ChangedRows { new: *new, old: *old, key: *key, unchanged: *unchanged };
        rows.write(out)?;
        if let Some(cascade) = cascade {
            member(out, "cascade", cascade)?;
        }
        if let Some(restart_identity) = restart_identity {
            member(out, "restart_identity", restart_identity)?;
        }
        if let Some(prefix) = prefix {
            put(out, br#","prefix":"#);
            text(out, *prefix);
        }
        if let Some(content) = content {
            member(out, "content", content)?;
        }
        if let Some(transactional) = transactional {
            member(out, "transactional", transactional)?;
        }
        if let Some(xid) = xid {
            numbered(out, br#","xid":"#, (*xid).into());
        }
        if let Some(subxid) = subxid {
            numbered(out, br#","subxid":"#, (*subxid).into());
        }
        put(out, br#","lsn":"#);
        write_lsn(out, *lsn);
        if *streamed {
            put(out, br#","streamed":true"#);
        }
        if !flags.is_empty() {
            member(out, "flags", flags)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Writes the line of a change up to the name of the operation.
    pub(super) fn begin_change(&mut self, out: &mut Vec<u8>, header: &Header<'_>, packet: u64) {
        put(out, br#"{"event":"change","ts":"#);
        self.clock.write(out, header.ts);
        if let Some(kept) = self.connections.get(header) {
            out.extend_from_slice(kept.header());
        }
        numbered(out, br#","packet":"#, packet);
        put(out, br#","op":""#);
    }
}

impl LineWriter {
    /// Writes what a CopyData of a stream or a backup carries.
    pub(super) fn replication(&mut self, out: &mut Vec<u8>, data: &ReplicationData<'_>) -> Result<(), Error> {
        if let ReplicationContent::Stream(
            StreamMessage::XlogData { start_lsn, end_lsn, server_time },
            PayloadData::Pgoutput(message),
        ) = &data.content
            && message.relation_oid().is_some()
            && let Some(server_time) = server_time.timestamp()
        {
            put(out, br#"{"kind":"xlog_data","start_lsn":"#);
            write_lsn(out, *start_lsn);
            put(out, br#","end_lsn":"#);
            write_lsn(out, *end_lsn);
            put(out, br#","server_time":"#);
            self.clock.write(out, server_time);
            put(out, br#","pgoutput":{"type":""#);
            out.extend_from_slice(message.name().as_bytes());
            out.push(b'"');
            if let Some(xid) = message.streamed_xid() {
                numbered(out, br#","xid":"#, xid.into());
            }
            if let Some(oid) = message.relation_oid() {
                numbered(out, br#","relation_oid":"#, oid.into());
            }
            if let Some(relation) = data.context.relation {
                put(out, br#","schema":"#);
                text(out, relation.schema());
                put(out, br#","table":"#);
                text(out, relation.table());
            }
            data.rows(message).write(out)?;
            put(out, b"}}");
            return Ok(());
        }
        data.serialize(Serializer::new(out))
    }
}

impl ChangedRows<'_> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(new) = &self.new {
            put(out, br#","new":"#);
            row(out, new)?;
        }
        if let Some(old) = &self.old {
            put(out, br#","old":"#);
            row(out, old)?;
        }
        if let Some(key) = &self.key {
            put(out, br#","key":"#);
            row(out, key)?;
        }
        match &self.unchanged {
            Some(unchanged) => member(out, "unchanged", unchanged),
            None => Ok(()),
        }
    }
}

/// Writes a row: an object, or an array if the names of its columns are not known.
fn row(out: &mut Vec<u8>, values: &RowValues<'_>) -> Result<(), Error> {
    let (opens, closes) = if values.has_names() { (b'{', b'}') } else { (b'[', b']') };
    out.push(opens);
    let start = out.len();
    for (name, item) in values.iter() {
        if let Some(name) = name {
            string(out, name);
            out.push(b':');
        }
        value(out, &item)?;
        out.push(b',');
    }
    // There is no comma behind the last.
    if out.len() > start {
        out.pop();
    }
    out.push(closes);
    Ok(())
}

pub(super) fn write_lsn(out: &mut Vec<u8>, Lsn(lsn): Lsn) {
    out.push(b'"');
    hex(out, (lsn >> 32) as u32);
    out.push(b'/');
    hex(out, lsn as u32);
    out.push(b'"');
}

/// Writes the digits of a number, without those zeros that it begins with: all eight at once, each in a byte of a word.
fn hex(out: &mut Vec<u8>, number: u32) {
    let halves = u64::from(number >> 16) << 32 | u64::from(number & 0xffff);
    let bytes = (halves << 8 | halves) & 0x00ff_00ff_00ff_00ff;
    let digits = (bytes << 4 | bytes) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let text = digits + 0x3030_3030_3030_3030 + letters * u64::from(b'A' - b'0' - 10);
    // There is at least one digit.
    let zeros = (number | 1).leading_zeros() / 4;
    put(out, &(text << (8 * zeros)).to_be_bytes());
    out.truncate(out.len() - zeros as usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_they_are_displayed() {
        let halves = [0, 1, 9, 0xa, 0xf, 0x10, 0x9a, 0x1234_5678, 0x9abc_def0, 0xf000_000f, u32::MAX];
        for (high, low) in halves.iter().flat_map(|high| halves.map(|low| (*high, low))) {
            let lsn = Lsn(u64::from(high) << 32 | u64::from(low));
            let mut out = Vec::new();
            write_lsn(&mut out, lsn);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{high:X}/{low:X}\""));
        }
    }
}
