//! What failed: errors, logins, cancels and locks.

use std::io;

use super::page::{Page, Span, join, name, name_or_unknown, prose};
use super::requests::{error, exec_time, request, whose};
use super::statements::{Statements, count_of};
use super::table::{Row, Table};
use super::units::{count, counted};
use crate::output::text::line::Paint;
use crate::record::summary::{ErrorSummary, Example, FailedLogin};

/// How many statements are listed that raised an error.
const STATEMENTS: usize = 3;

pub(super) fn errors(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    errors: &[ErrorSummary],
    top: usize,
) -> io::Result<()> {
    page.heading("Errors by SQLSTATE")?;
    if errors.is_empty() {
        return page.note("None.");
    }
    for summary in errors.iter().take(top) {
        let mut head = vec![Span::painted(Paint::BOLD_RED, count_of(summary.count, &name(&summary.code)))];
        if let Some(condition) = &summary.condition {
            head.push(name(condition).into());
        }
        if summary.sessions > 0 {
            head.push(format!("({})", counted(summary.sessions, "session")).into());
        }
        page.flow(2, head)?;
        error(page, &summary.example)?;
        let deeper = page.indent(6);
        let first = std::iter::once(Span::painted(Paint::DIM, "first:")).chain(whose(page, &summary.example));
        page.flow(6, first.collect::<Vec<_>>())?;
        for raised in summary.statements.iter().take(STATEMENTS) {
            let number = statements.number(raised.fingerprint.as_deref());
            let sql = raised.normalized.as_deref().map_or_else(|| "(its SQL is not known)".to_owned(), prose);
            let sql = join([number, sql].into_iter().filter(|part| !part.is_empty()), " ");
            page.line(deeper, &[count_of(raised.count, "").into(), Span::painted(Paint::CYAN, sql)])?;
        }
        let more = summary.statements.len().saturating_sub(STATEMENTS);
        if more > 0 {
            page.line(deeper, &[format!("and {more} more").into()])?;
        }
    }
    Ok(())
}

pub(super) fn logins(page: &mut Page<'_>, logins: &[FailedLogin], top: usize) -> io::Result<()> {
    page.heading("Failed logins")?;
    if logins.is_empty() {
        return page.note("None.");
    }
    let mut table = Table::new("message")
        .number("count", 0)
        .name("user", 0)
        .name("database", 3)
        .name("client", 1)
        .name("application", 5)
        .name("SQLSTATE", 2)
        .name("condition", 6)
        .name("last", 4);
    for login in logins.iter().take(top) {
        table.row(
            Row::default()
                .painted(Paint::RED, count(login.count))
                .cell(name_or_unknown(login.user.as_deref()))
                .cell(name_or_unknown(login.database.as_deref()))
                .cell(name(&login.client_ip))
                .cell(login.application.as_deref().map_or_else(String::new, name))
                .cell(login.code.as_deref().map_or_else(String::new, name))
                .cell(login.condition.as_deref().map_or_else(String::new, name))
                .cell(page.moment(login.ts))
                .text(login.message.as_deref().map_or_else(String::new, prose)),
        );
    }
    table.write(page)
}

pub(super) fn cancels(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    cancels: &[Example],
    top: usize,
) -> io::Result<()> {
    if cancels.is_empty() {
        return Ok(());
    }
    page.heading("Canceled requests")?;
    for example in cancels.iter().take(top) {
        let who = match (&example.canceled_from, example.canceled_by) {
            (Some(from), Some(conn)) => format!("from {} (conn {conn})", name(from)),
            (Some(from), None) => format!("from {}", name(from)),
            (None, Some(conn)) => format!("by conn {conn}"),
            // By the server itself, or by a request that was not captured: the message of the error tells.
            (None, None) => match example.message.as_deref() {
                Some(message) if message.contains("timeout") => "by a timeout".to_owned(),
                _ => "by pg_cancel_backend(), or a cancel request that was not captured".to_owned(),
            },
        };
        let mut example = example.clone();
        let lead = format!("canceled after {} {who}", exec_time(&example));
        example.outcome = None;
        request(page, statements, &example, Span::painted(Paint::BOLD, lead))?;
    }
    Ok(())
}

pub(super) fn locks(page: &mut Page<'_>, statements: &Statements<'_>, locks: &[Example], top: usize) -> io::Result<()> {
    if locks.is_empty() {
        return Ok(());
    }
    page.heading("Deadlocks and locks that were not available")?;
    for example in locks.iter().take(top) {
        let what = match example.code.as_deref() {
            Some("40P01") => "victim of a deadlock",
            Some("55P03") => "lock not available",
            _ => "failed for a lock",
        };
        let mut example = example.clone();
        let lead = format!("{what}, after {}", exec_time(&example));
        example.outcome = None;
        request(page, statements, &example, Span::painted(Paint::BOLD_RED, lead))?;
    }
    Ok(())
}
