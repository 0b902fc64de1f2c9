//! Replication: streams, their changes and transactions, and base backups.

use std::io;

use super::page::{Page, Span, join, name, name_or_unknown};
use super::table::{Row, Table};
use super::units::{bytes, count, counted, some_bytes, some_count, time};
use crate::output::text::line::Paint;
use crate::record::summary::{BaseBackup, LargeTransaction, ReplicationStream, TableChanges};
use crate::record::{Purpose, Summary, TransactionOutcome};
use crate::replication::Lsn;

/// A client that is further behind is marked, in microseconds.
const LATE: u64 = 10_000_000;

pub(super) fn write(page: &mut Page<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    streams(page, &summary.replication_streams, top)?;
    tables(page, &summary.replication_streams, top)?;
    transactions(page, &summary.largest_transactions, top)?;
    backups(page, &summary.base_backups, top)
}

/// What is streamed: the plugin, or the WAL as it is.
pub(in crate::output) const fn purpose(purpose: Option<Purpose>) -> &'static str {
    match purpose {
        Some(Purpose::Physical) => "physical",
        Some(Purpose::Logical) => "logical",
        Some(Purpose::Backup) => "base backup",
        None => "",
    }
}

pub(in crate::output) const fn outcome(outcome: Option<TransactionOutcome>) -> &'static str {
    match outcome {
        Some(TransactionOutcome::Committed) => "committed",
        Some(TransactionOutcome::Aborted) => "aborted",
        Some(TransactionOutcome::Prepared) => "prepared",
        Some(TransactionOutcome::RolledBack) => "rolled back",
        None => "",
    }
}

/// The slot of a stream; or who streams without one.
fn slot(stream: &ReplicationStream) -> Span {
    match (&stream.slot, &stream.application, stream.purpose) {
        (Some(slot), ..) => name(slot).into(),
        // Changes are always streamed from a slot.
        (None, Some(_), Some(Purpose::Physical)) => Span::painted(Paint::DIM, "(no slot)"),
        (None, ..) => Span::painted(Paint::DIM, "(unknown)"),
    }
}

fn streams(page: &mut Page<'_>, streams: &[ReplicationStream], top: usize) -> io::Result<()> {
    if streams.is_empty() {
        return Ok(());
    }
    page.heading("Replication")?;
    let mut table = Table::new("")
        .name("slot", 0)
        .name("streams", 3)
        .name("application", 6)
        .name("user", 9)
        .name("client", 5)
        .number("bytes", 1)
        .number("rate", 2)
        .number("changes", 4)
        .number("lag", 0)
        .number("lag p95", 7)
        .number("lag max", 1)
        .number("behind", 2)
        .number("behind p95", 10)
        .number("behind max", 8);
    for stream in streams.iter().take(top) {
        let some_time = |us: Option<u64>| {
            let paint = if us.is_some_and(|us| us >= LATE) { Paint::YELLOW } else { Paint::PLAIN };
            Span::painted(paint, us.map_or_else(String::new, time))
        };
        let behind = |value: Option<u64>| value.map_or_else(String::new, bytes);
        let plugin = stream.plugin.as_deref().map_or_else(|| purpose(stream.purpose).to_owned(), name);
        table.row(
            Row::default()
                .cell(slot(stream))
                .cell(plugin)
                .cell(name_or_unknown(stream.application.as_deref()))
                .cell(name_or_unknown(stream.user.as_deref()))
                .cell(name(&stream.client_ip))
                .cell(bytes(stream.bytes))
                .cell(format!("{}/s", bytes(stream.bytes_per_second as u64)))
                .cell(some_count(stream.changes))
                .cell(some_time(stream.lag_us))
                .cell(some_time(stream.lag_p95_us))
                .cell(some_time(stream.lag_max_us))
                .cell(behind(stream.lag_bytes))
                .cell(behind(stream.lag_p95_bytes))
                .cell(behind(stream.lag_max_bytes))
                .below(details(stream)),
        );
    }
    table.write(page)?;
    page.note(
        "lag: from when the server told a position first to when the client confirmed it; while it confirms no new one, since \
         the first that it has not confirmed. behind: the bytes from there to the newest position that the server has told. \
         p95: of the client's confirmations. What is not \"p95\" or \"max\" is at the end.",
    )
}

/// The positions of a stream, and what became of its transactions.
fn details(stream: &ReplicationStream) -> Vec<Span> {
    let position = |(what, lsn): (&str, Option<Lsn>)| lsn.map(|lsn| format!("{what} {lsn}"));
    let positions = [
        ("end", stream.end_lsn),
        ("write", stream.write_lsn),
        ("flush", stream.flush_lsn),
        ("apply", stream.apply_lsn),
    ];
    let counts = [
        (stream.commits, "commit"),
        (stream.prepares, "prepared"),
        (stream.rollbacks, "rolled back"),
        (stream.aborts, "aborted"),
        (stream.subtransaction_aborts, "subtransactions aborted"),
        (stream.streamed_transactions, "streamed"),
    ];
    let counts = counts.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| match what {
        "commit" => counted(number, what),
        _ => format!("{} {what}", count(number)),
    });
    let begun = (stream.streams > 1).then(|| format!("began {} times", count(stream.streams)));
    let parts = [join(positions.into_iter().filter_map(position), "  "), join(counts.chain(begun), ", ")];
    parts.into_iter().map(|part| Span::painted(Paint::DIM, part)).collect()
}

fn tables(page: &mut Page<'_>, streams: &[ReplicationStream], top: usize) -> io::Result<()> {
    let mut all: Vec<(&ReplicationStream, &TableChanges)> =
        streams.iter().flat_map(|stream| stream.tables.iter().map(move |table| (stream, table))).collect();
    if all.is_empty() {
        return Ok(());
    }
    all.sort_by_key(|(_, table)| std::cmp::Reverse(table.changes()));
    page.heading("Replicated changes")?;
    let mut rows = Table::new("")
        .name("table", 0)
        .name("slot", 1)
        .number("changes", 0)
        .number("inserts", 2)
        .number("updates", 3)
        .number("deletes", 4)
        .number("truncates", 5);
    for (stream, table) in all.iter().take(top) {
        rows.row(
            Row::default()
                .cell(table_name(table))
                .cell(slot(stream))
                .cell(count(table.changes()))
                .cell(some_count(table.inserts))
                .cell(some_count(table.updates))
                .cell(some_count(table.deletes))
                .cell(some_count(table.truncates)),
        );
    }
    rows.write(page)?;
    let add = u64::saturating_add;
    let listed = all.iter().take(top).map(|(_, table)| table.changes()).fold(0, add);
    let messages = streams.iter().map(|stream| stream.logical_messages).fold(0, add);
    let changes = streams.iter().map(|stream| stream.changes).fold(0, add);
    let others = changes.saturating_sub(listed).saturating_sub(messages);
    let others = (others > 0).then(|| format!("{} of other tables", counted(others, "change")));
    let messages = (messages > 0).then(|| counted(messages, "logical message"));
    let note = join(others.into_iter().chain(messages), ", ");
    if note.is_empty() { Ok(()) } else { page.note(&format!("And {note}.")) }
}

fn table_name(table: &TableChanges) -> Span {
    match (&table.schema, &table.table) {
        (Some(schema), Some(table)) if schema == "public" => name(table).into(),
        (Some(schema), Some(table)) => format!("{}.{}", name(schema), name(table)).into(),
        _ => Span::painted(Paint::DIM, format!("(object {})", table.relation_oid)),
    }
}

fn transactions(page: &mut Page<'_>, transactions: &[LargeTransaction], top: usize) -> io::Result<()> {
    if transactions.is_empty() {
        return Ok(());
    }
    page.heading("Largest replicated transactions")?;
    let mut table = Table::new("")
        .number("changes", 0)
        .name("outcome", 0)
        .name("sent", 2)
        .number("xid", 1)
        .name("slot", 3)
        .name("at", 4)
        .number("lag", 1)
        .number("conn", 6)
        .number("packet", 7)
        .name("identifier", 5);
    for transaction in transactions.iter().take(top) {
        let paint = match transaction.outcome {
            Some(TransactionOutcome::Aborted | TransactionOutcome::RolledBack) => Paint::YELLOW,
            _ => Paint::PLAIN,
        };
        table.row(
            Row::default()
                .cell(count(transaction.changes))
                .painted(paint, outcome(transaction.outcome).to_owned())
                .cell(if transaction.streamed { "in progress" } else { "" })
                .cell(transaction.xid.map_or_else(String::new, |xid| xid.to_string()))
                .cell(transaction.slot.as_deref().map_or_else(String::new, name))
                .cell(page.moment(transaction.ts))
                .cell(transaction.lag_us.map_or_else(String::new, time))
                .cell(transaction.conn.to_string())
                .cell(transaction.packet.to_string())
                .cell(transaction.gid.as_deref().map_or_else(String::new, name)),
        );
    }
    table.write(page)
}

fn backups(page: &mut Page<'_>, backups: &[BaseBackup], top: usize) -> io::Result<()> {
    if backups.is_empty() {
        return Ok(());
    }
    page.heading("Base backups")?;
    let mut table = Table::new("")
        .name("application", 0)
        .name("user", 5)
        .name("client", 2)
        .number("backups", 6)
        .number("archives", 3)
        .number("bytes", 0)
        .number("took", 1)
        .number("rate", 1)
        .name("began", 4);
    for backup in backups.iter().take(top) {
        table.row(
            Row::default()
                .cell(name_or_unknown(backup.application.as_deref()))
                .cell(name_or_unknown(backup.user.as_deref()))
                .cell(name(&backup.client_ip))
                .cell(count(backup.backups))
                .cell(count(backup.archives))
                .cell(some_bytes(backup.bytes))
                .cell(time(backup.active_us))
                .cell(format!("{}/s", bytes(backup.bytes_per_second as u64)))
                .cell(page.moment(backup.started)),
        );
    }
    table.write(page)
}
