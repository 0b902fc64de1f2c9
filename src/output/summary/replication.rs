//! Replication: streams, their changes and transactions, and base backups.

use std::io;

use super::page::{Page, Span, join, name, name_or_unknown, prose};
use super::table::{Row, Table};
use super::units::{bytes, count, counted, some_bytes, some_count, time};
use crate::output::text::line::Paint;
use crate::record::summary::{BaseBackup, LargeTransaction, ReplicationStream, TableChanges};
use crate::record::{Outcome, Purpose, Summary, TransactionOutcome};
use crate::replication::Lsn;

/// A client that is further behind is marked, in microseconds.
const LATE: u64 = 10_000_000;

/// How many archives of a base backup are listed.
const ARCHIVES: usize = 8;

pub(super) fn write(page: &mut Page<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    streams(page, summary, top)?;
    tables(page, summary, top)?;
    transactions(page, &summary.largest_transactions, top)?;
    backups(page, summary, top)
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

/// Returns the slot of a stream, or that it has none; and whether it is known.
pub(in crate::output) fn slot(stream: &ReplicationStream) -> (String, bool) {
    match (&stream.slot, &stream.application, stream.purpose) {
        (Some(slot), ..) => (name(slot), true),
        // Changes are always streamed from a slot.
        (None, Some(_), Some(Purpose::Physical)) => ("(no slot)".to_owned(), false),
        (None, ..) => ("(unknown)".to_owned(), false),
    }
}

/// Returns the slot of a stream, and what tells the stream from others of that name: its application, its client, its server.
pub(in crate::output) fn stream_name(stream: &ReplicationStream, all: &[ReplicationStream]) -> String {
    let (mut text, _) = slot(stream);
    let of_name = |other: &&ReplicationStream| other.slot == stream.slot && other.purpose == stream.purpose;
    let mut alike: Vec<_> = all.iter().filter(of_name).collect();
    let ends: [fn(&ReplicationStream) -> &str; 3] = [
        |stream| stream.application.as_deref().unwrap_or_default(),
        |stream| &stream.client_ip,
        |stream| &stream.server,
    ];
    for end in ends {
        if alike.iter().any(|other| end(other) != end(stream)) {
            alike.retain(|other| end(other) == end(stream));
            text = format!("{text} {}", name(end(stream)));
        }
    }
    text
}

fn streams(page: &mut Page<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    let streams = &summary.replication_streams;
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
        let mut lag = some_time(stream.lag_us);
        if stream.lag_is_least {
            lag.text.insert(0, '>');
        }
        let behind = |value: Option<u64>| value.map_or_else(String::new, bytes);
        let (slot_name, is_known) = slot(stream);
        let slot_paint = if is_known { Paint::PLAIN } else { Paint::DIM };
        let plugin = stream.plugin.as_deref().map_or_else(|| purpose(stream.purpose).to_owned(), name);
        table.row(
            Row::default()
                .painted(slot_paint, slot_name)
                .cell(plugin)
                .cell(name_or_unknown(stream.application.as_deref()))
                .cell(name_or_unknown(stream.user.as_deref()))
                .cell(name(&stream.client_ip))
                .cell(bytes(stream.bytes))
                .cell(format!("{}/s", bytes(stream.bytes_per_second as u64)))
                .cell(some_count(stream.changes))
                .cell(lag)
                .cell(some_time(stream.lag_p95_us))
                .cell(some_time(stream.lag_max_us))
                .cell(behind(stream.lag_bytes))
                .cell(behind(stream.lag_p95_bytes))
                .cell(behind(stream.lag_max_bytes))
                .below(details(stream)),
        );
    }
    table.write(page)?;
    let others = (streams.len().saturating_sub(top) as u64).saturating_add(summary.other_replication_streams);
    if others > 0 {
        page.note(&format!("And {} more.", count(others)))?;
    }
    let at_least = if streams.iter().take(top).any(|stream| stream.lag_is_least) {
        " \">\": at least, since what it has not confirmed was there when the capture began."
    } else {
        ""
    };
    page.note(&format!(
        "lag: from when the server told a position first to when the client confirmed it; while it confirms no new one, since \
         the first that it has not confirmed. behind: the bytes from there to the newest position that the server has told. \
         p95: of the client's confirmations. What is not \"p95\" or \"max\" is at the end of the capture.{at_least}"
    ))
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
        (stream.subtransaction_aborts, "subtransaction"),
        (stream.streamed_transactions, "streamed"),
    ];
    let counts = counts.into_iter().filter(|(number, _)| *number > 0).map(|(number, what)| match what {
        "commit" => counted(number, what),
        "subtransaction" => format!("{} aborted", counted(number, what)),
        _ => format!("{} {what}", count(number)),
    });
    let begun = (stream.streams > 1).then(|| format!("began {} times", count(stream.streams)));
    let again = (stream.repeated_transactions > 0).then(|| {
        format!(
            "{} of them sent again ({})",
            count(stream.repeated_transactions),
            counted(stream.repeated_changes, "change")
        )
    });
    let ended = stream.ended.then(|| "ended".to_owned());
    let counts = join(counts.chain(again).chain(begun).chain(ended), ", ");
    let parts = [join(positions.into_iter().filter_map(position), "  "), counts];
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| Span::painted(Paint::DIM, part)).collect()
}

fn tables(page: &mut Page<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    let streams = &summary.replication_streams;
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
                .cell(stream_name(stream, streams))
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
    let of_others = Some(summary.other_replicated_changes).filter(|changes| *changes > 0);
    let of_others = of_others.map(|changes| format!("{} of other slots and clients", counted(changes, "change")));
    let note = join(others.into_iter().chain(messages).chain(of_others), ", ");
    if !note.is_empty() {
        page.note(&format!("And {note}."))?;
    }
    let again = streams.iter().map(|stream| stream.repeated_changes).fold(0, add);
    if again > 0 {
        page.note(&format!("{} of all were sent again, in transactions that were sent before.", count(again)))?;
    }
    Ok(())
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

/// How a base backup ended, in words.
pub(in crate::output) const fn end_of_backup(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Ok | Outcome::Suspended) => "completed",
        Some(Outcome::Error | Outcome::Skipped) => "failed",
        Some(Outcome::Canceled) => "canceled",
        Some(Outcome::Aborted) => "interrupted",
        Some(Outcome::Incomplete) => "end not captured",
        Some(Outcome::Running) | None => "under way",
    }
}

/// What a base backup is a copy of, in words.
pub(in crate::output) const fn kind_of_backup(incremental: Option<bool>) -> &'static str {
    match incremental {
        Some(true) => "incremental",
        Some(false) => "full",
        None => "",
    }
}

fn backups(page: &mut Page<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    let backups = &summary.base_backups;
    if backups.is_empty() {
        return Ok(());
    }
    page.heading("Base backups")?;
    let mut table = Table::new("")
        .name("application", 0)
        .name("kind", 5)
        .name("outcome", 0)
        .name("user", 6)
        .name("client", 2)
        .number("bytes", 0)
        .number("took", 1)
        .number("rate", 3)
        .name("began", 4)
        .number("conn", 7);
    for backup in backups.iter().take(top) {
        let is_whole = matches!(backup.outcome, Some(Outcome::Ok) | None);
        table.row(
            Row::default()
                .cell(name_or_unknown(backup.application.as_deref()))
                .cell(kind_of_backup(backup.incremental))
                .painted(if is_whole { Paint::PLAIN } else { Paint::YELLOW }, end_of_backup(backup.outcome).to_owned())
                .cell(name_or_unknown(backup.user.as_deref()))
                .cell(name(&backup.client_ip))
                .cell(some_bytes(backup.bytes))
                .cell(time(backup.active_us))
                .cell(if backup.bytes > 0 {
                    format!("{}/s", bytes(backup.bytes_per_second as u64))
                } else {
                    String::new()
                })
                .cell(page.moment(backup.started))
                .cell(backup.conn.to_string())
                .below(parts_of_backup(backup)),
        );
    }
    table.write(page)?;
    let listed = backups.len().min(top) as u64;
    let others = (backups.len() as u64 - listed).saturating_add(summary.other_base_backups);
    if others > 0 { page.note(&format!("And {} more.", count(others))) } else { Ok(()) }
}

/// The positions of a base backup, and its archives.
fn parts_of_backup(backup: &BaseBackup) -> Vec<Span> {
    let position = |(what, lsn): (&str, Option<Lsn>)| lsn.map(|lsn| format!("{what} {lsn}"));
    let positions = [("from", backup.start_lsn), ("to", backup.end_lsn)].into_iter().filter_map(position);
    let estimate = backup.total_bytes.map(|all| format!("estimated {}", bytes(all)));
    let archives = backup.archives.iter().take(ARCHIVES).map(|archive| {
        let size = bytes(archive.bytes);
        match (&archive.archive, archive.tablespace.as_deref()) {
            (Some(file), Some("") | None) => format!("{} {size}", name(file)),
            (Some(file), Some(place)) => format!("{} ({}) {size}", name(file), name(place)),
            (None, _) => format!("archive {size}"),
        }
    });
    let others = backup.other_archives.saturating_add(backup.archives.len().saturating_sub(ARCHIVES) as u64);
    let others = (others > 0).then(|| counted(others, "more archive"));
    let manifest = backup.manifest_bytes.map(|size| format!("manifest {}", bytes(size)));
    let error = backup
        .message
        .as_deref()
        .map(|message| join(backup.code.as_deref().map(name).into_iter().chain([prose(message)]), " "));
    let lines = [
        error.unwrap_or_default(),
        join(positions.chain(estimate), "  "),
        join(archives.chain(others).chain(manifest), ", "),
    ];
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| Span::painted(Paint::DIM, line)).collect()
}
