//! What somebody should look at: statements of an audit, candidates for N+1, results without a limit.

use std::io;

use super::page::{Page, Span, name, name_or, prose};
use super::statements::Statements;
use super::table::{Row, Table};
use super::units::{bytes, count, some_count, time};
use crate::output::text::line::Paint;
use crate::record::summary::{AuditEntry, AuditKind, Caller, Candidate, UnlimitedSelect};

/// How many callers of a statement are listed.
const CALLERS: usize = 4;

pub(super) fn audit(page: &mut Page<'_>, entries: &[AuditEntry], top: usize) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    page.heading("Statements for an audit")?;
    let mut table = Table::new("statement").name("kind", 1).number("calls", 0).number("errors", 2);
    for entry in entries.iter().take(top) {
        let kind = match entry.kind {
            AuditKind::CopyProgram => Span::painted(Paint::RED, "COPY … PROGRAM"),
            AuditKind::Role => "role".into(),
            AuditKind::Privilege => "privilege".into(),
            AuditKind::SetRole => "SET ROLE".into(),
            AuditKind::System => "ALTER SYSTEM".into(),
            AuditKind::CopyFile => "COPY of a file".into(),
            AuditKind::Ddl => "DDL".into(),
        };
        let mut by: Vec<_> = entry.callers.iter().take(CALLERS).map(caller).collect();
        let more = entry.callers.len().saturating_sub(CALLERS);
        if more > 0 {
            by.push(format!("and {more} more").into());
        }
        table.row(
            Row::default()
                .cell(kind)
                .cell(count(entry.calls))
                .painted(Paint::RED, some_count(entry.errors))
                .text(Span::painted(Paint::CYAN, prose(&entry.normalized)))
                .below(by),
        );
    }
    table.write(page)
}

fn caller(caller: &Caller) -> Span {
    let mut text = name_or(caller.user.as_deref(), "an unknown user");
    if let Some(database) = &caller.database {
        text = format!("{text}@{}", name(database));
    }
    for more in [&caller.application, &caller.client_ip].into_iter().flatten().filter(|more| !more.is_empty()) {
        text = format!("{text} {}", name(more));
    }
    Span::painted(Paint::DIM, format!("by {text} ({})", count(caller.calls)))
}

pub(super) fn n_plus_one(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    candidates: &[Candidate],
    top: usize,
) -> io::Result<()> {
    if candidates.is_empty() {
        return Ok(());
    }
    page.heading("Candidates for N+1")?;
    page.note(
        "One statement, called many times with different parameters by one session, in one transaction or without a pause: one \
         request might do.",
    )?;
    let mut table = Table::new("statement")
        .number("", 5)
        .number("most", 0)
        .number("calls", 2)
        .number("bursts", 4)
        .number("time", 3)
        .name("application", 1)
        .name("user", 7)
        .number("conn", 8)
        .name("most at", 9)
        .name("in", 10);
    for candidate in candidates.iter().take(top) {
        table.row(
            Row::default()
                .painted(Paint::DIM, statements.number(Some(&candidate.fingerprint)))
                .cell(count(candidate.max_calls))
                .cell(count(candidate.calls))
                .cell(count(candidate.bursts))
                .cell(time(candidate.exec_us))
                .cell(candidate.application.as_deref().map_or_else(String::new, name))
                .cell(candidate.user.as_deref().map_or_else(String::new, name))
                .cell(candidate.conn.to_string())
                .cell(page.moment(candidate.started))
                .cell(if candidate.in_transaction { "transaction" } else { "burst" })
                .text(Span::painted(Paint::CYAN, prose(&candidate.normalized))),
        );
    }
    table.write(page)?;
    page.note("most: the most calls in one transaction or burst.")
}

pub(super) fn unlimited(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    selects: &[UnlimitedSelect],
    top: usize,
) -> io::Result<()> {
    if selects.is_empty() {
        return Ok(());
    }
    page.heading("SELECT without LIMIT that returned many rows")?;
    let mut table = Table::new("statement")
        .number("", 4)
        .number("most rows", 0)
        .number("calls", 1)
        .number("rows", 2)
        .number("out", 3);
    for select in selects.iter().take(top) {
        table.row(
            Row::default()
                .painted(Paint::DIM, statements.number(Some(&select.fingerprint)))
                .cell(count(select.max_rows))
                .cell(count(select.calls))
                .cell(count(select.rows))
                .cell(bytes(select.bytes_out))
                .text(Span::painted(Paint::CYAN, prose(&select.normalized))),
        );
    }
    table.write(page)
}
