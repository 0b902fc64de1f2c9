//! The summary for a terminal: one screen that answers most questions, and sections below it.
//!
//! What stands in it is made to be read: three digits of a number that count, what is long cut. The JSON form has everything. Lines are never
//! longer than the terminal is wide, and nothing from the wire can act on it.

mod baseline;
mod chart;
mod failures;
mod findings;
mod overview;
mod page;
mod pools;
pub(super) mod replication;
mod requests;
mod sessions;
mod statements;
mod table;
mod traffic;
pub(super) mod units;

use std::io;

use self::page::Page;
use self::statements::{Order, Statements};
use super::Form;
use crate::record::{Record, Summary};

/// How a summary looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryStyle {
    /// Whether it has colors, by the escape sequences of terminals.
    pub color: bool,
    /// How many columns a line has at most.
    pub width: usize,
    /// How many items a section has at most.
    pub top: usize,
}

impl Default for SummaryStyle {
    fn default() -> Self {
        Self { color: false, width: 100, top: 10 }
    }
}

impl Form for SummaryStyle {
    /// Writes a summary; of other records nothing.
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Summary(summary) => write(out, summary, self),
            _ => Ok(()),
        }
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(*self)
    }
}

/// Writes a summary as text for people.
///
/// # Errors
///
/// Those of the writer.
pub fn write(out: &mut impl io::Write, summary: &Summary, style: &SummaryStyle) -> io::Result<()> {
    let page = &mut Page::new(out, style, summary.capture.started);
    let top = style.top;
    let statements = &Statements::new(&summary.statements, top);

    overview::title(page, summary)?;
    if let Some(comparison) = &summary.baseline {
        baseline::write(page, statements, summary, comparison, top)?;
        page.heading("The capture itself")?;
    }
    overview::write(page, summary)?;
    statements.write(page, Order::Time, Some(&summary.totals))?;
    for order in [Order::Calls, Order::Mean, Order::Rows, Order::Bytes] {
        statements.write(page, order, None)?;
    }
    requests::slowest(page, statements, &summary.slowest, top)?;
    requests::running(page, statements, summary, top)?;
    failures::errors(page, statements, &summary.errors, top)?;
    failures::logins(page, &summary.failed_logins, top)?;
    failures::cancels(page, statements, &summary.cancels, top)?;
    failures::locks(page, statements, &summary.locks, top)?;
    sessions::groups(page, summary, top)?;
    sessions::prepared(page, &summary.prepared, top)?;
    sessions::protection(page, &summary.protection, top)?;
    findings::audit(page, &summary.audit, top)?;
    findings::n_plus_one(page, statements, &summary.n_plus_one, top)?;
    findings::unlimited(page, statements, &summary.unlimited_selects, top)?;
    requests::largest(page, statements, &summary.largest, top)?;
    pools::write(page, statements, summary, top)?;
    replication::write(page, summary, top)?;
    traffic::write(page, &summary.traffic)?;
    statements.write_in_full(page)
}

#[cfg(test)]
mod tests;
