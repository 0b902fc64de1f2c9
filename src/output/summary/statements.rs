//! Statements: tables by what they cost, and each of them in full.

use std::io;

use super::chart::histogram;
use super::page::{Page, Span, join, name, normalized, sql_or_unknown};
use super::table::{Row, Table};
use super::units::{bytes, count, counted, percent, some_bytes, some_count, time};
use crate::output::text::line::Paint;
use crate::record::summary::{Share, StatementSummary, Times, Totals};

/// How many lines the SQL of a statement has.
const SQL_LINES: usize = 6;

/// How many names of users, applications and so on are listed.
const NAMES: usize = 4;

/// By what statements are ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Time,
    Calls,
    Mean,
    Rows,
    Bytes,
}

impl Order {
    const ALL: [Self; 5] = [Self::Time, Self::Calls, Self::Mean, Self::Rows, Self::Bytes];

    const fn title(self) -> &'static str {
        match self {
            Self::Time => "Statements by total time",
            Self::Calls => "Statements by calls",
            Self::Mean => "Statements by mean time",
            Self::Rows => "Statements by rows",
            Self::Bytes => "Statements by bytes",
        }
    }

    const fn key(self, statement: &StatementSummary) -> u64 {
        match self {
            Self::Time => statement.times.exec_us,
            Self::Calls => statement.calls,
            Self::Mean => statement.times.mean_us,
            Self::Rows => statement.rows,
            Self::Bytes => statement.bytes_in.saturating_add(statement.bytes_out),
        }
    }
}

/// The statements of a summary. Each has a number, that of its place by total time among those that are listed.
pub(super) struct Statements<'a> {
    statements: &'a [StatementSummary],
    top: usize,
    /// The places of the statements that a table lists, in order.
    listed: Vec<usize>,
}

impl<'a> Statements<'a> {
    pub(super) fn new(statements: &'a [StatementSummary], top: usize) -> Self {
        let mut this = Self { statements, top, listed: Vec::new() };
        let mut listed: Vec<_> = Order::ALL.into_iter().flat_map(|order| this.first(order)).map(|(at, _)| at).collect();
        listed.sort_unstable();
        listed.dedup();
        this.listed = listed;
        this
    }

    /// Returns the statements that are first in an order, and their places.
    fn first(&self, order: Order) -> Vec<(usize, &'a StatementSummary)> {
        let mut first: Vec<_> = self.statements.iter().enumerate().collect();
        if order != Order::Time {
            first.retain(|(_, statement)| order.key(statement) > 0);
        }
        first.sort_by_key(|(_, statement)| std::cmp::Reverse(order.key(statement)));
        first.truncate(self.top);
        first
    }

    /// Returns the number of a statement, such as `#3`, or nothing where it is not listed.
    pub(super) fn number(&self, fingerprint: Option<&str>) -> String {
        let Some(fingerprint) = fingerprint else { return String::new() };
        let is_it = |at: &usize| {
            self.statements.get(*at).is_some_and(|statement| statement.fingerprint.as_deref() == Some(fingerprint))
        };
        self.listed.iter().position(is_it).map_or_else(String::new, |place| format!("#{}", place + 1))
    }

    fn number_at(&self, at: usize) -> String {
        self.listed.binary_search(&at).map_or_else(|_| String::new(), |place| format!("#{}", place + 1))
    }

    /// Writes the table in one order, and what all others add up to.
    pub(super) fn write(&self, page: &mut Page<'_>, order: Order, totals: Option<&Totals>) -> io::Result<()> {
        let first = self.first(order);
        // One statement is the first in every order.
        if first.is_empty() || (order != Order::Time && self.statements.len() == 1) {
            return Ok(());
        }
        page.heading(order.title())?;
        let rank = |of: Order, rank: u8| if of == order { 0 } else { rank };
        let mut table = Table::new("statement")
            .number("", 0)
            .number("share", 1)
            .number("total", rank(Order::Time, 2))
            .number("calls", rank(Order::Calls, 3))
            .number("errors", 6)
            .number("mean", rank(Order::Mean, 5))
            .number("p50", 12)
            .number("p95", 4)
            .number("p99", 9)
            .number("max", 8)
            .number("rows", rank(Order::Rows, 7))
            .number("in", rank(Order::Bytes, 11))
            .number("out", rank(Order::Bytes, 10));
        let (mut statements, mut calls, mut exec_us) = (0, 0_u64, 0_u64);
        for (at, statement) in first {
            let StatementSummary { times, .. } = statement;
            (statements, calls) = (statements + 1, calls.saturating_add(statement.calls));
            exec_us = exec_us.saturating_add(times.exec_us);
            let timed = |us| if times.timed == 0 { String::new() } else { time(us) };
            table.row(
                Row::default()
                    .painted(Paint::DIM, self.number_at(at))
                    .cell(percent(statement.share))
                    .cell(timed(times.exec_us))
                    .cell(count(statement.calls))
                    .painted(Paint::RED, some_count(statement.errors))
                    .cell(timed(times.mean_us))
                    .cell(timed(times.p50_us))
                    .cell(timed(times.p95_us))
                    .cell(timed(times.p99_us))
                    .cell(timed(times.max_us))
                    .cell(some_count(statement.rows))
                    .cell(some_bytes(statement.bytes_in))
                    .cell(some_bytes(statement.bytes_out))
                    .text(sql_or_unknown(statement.normalized.as_deref())),
            );
        }
        table.write(page)?;
        let Some(totals) = totals.filter(|totals| totals.distinct_statements > statements) else { return Ok(()) };
        let others = counted(totals.distinct_statements - statements, "other statement");
        let exec_us = totals.times.exec_us.saturating_sub(exec_us);
        let calls = counted(totals.requests.saturating_sub(calls), "call");
        page.note(&format!("and {others}: {} in {calls}", time(exec_us)))
    }

    /// Writes each statement that a table lists in full.
    pub(super) fn write_in_full(&self, page: &mut Page<'_>) -> io::Result<()> {
        if self.listed.is_empty() {
            return Ok(());
        }
        page.heading("Statements in full")?;
        let mut is_first = true;
        for (at, statement) in self.listed.iter().filter_map(|at| Some((*at, self.statements.get(*at)?))) {
            if !std::mem::take(&mut is_first) {
                page.blank()?;
            }
            self.in_full(page, at, statement)?;
        }
        Ok(())
    }

    fn in_full(&self, page: &mut Page<'_>, at: usize, statement: &StatementSummary) -> io::Result<()> {
        let deeper = page.indent(6);
        let mut head = vec![Span::painted(Paint::BOLD, self.number_at(at))];
        if let Some(fingerprint) = &statement.fingerprint {
            head.push(Span::painted(Paint::DIM, name(fingerprint)));
        }
        head.push(format!("{} of the time", percent(statement.share)).into());
        page.flow(2, head)?;
        match &statement.normalized {
            Some(sql) => page.wrapped(deeper, Some(Paint::CYAN), &normalized(sql), SQL_LINES)?,
            None => page.line(deeper, &[sql_or_unknown(None)])?,
        }
        let mut figures = vec![counted(statement.calls, "call").into()];
        if statement.errors > 0 {
            let codes = join(statement.error_codes.iter().map(|code| count_of(code.count, &name(&code.code))), ", ");
            let errors = counted(statement.errors, "error");
            let codes = if codes.is_empty() { codes } else { format!(" ({codes})") };
            figures.push(Span::painted(Paint::RED, format!("{errors}{codes}")));
        }
        figures.push(counted(statement.rows, "row").into());
        figures.push(format!("{} in", bytes(statement.bytes_in)).into());
        figures.push(format!("{} out", bytes(statement.bytes_out)).into());
        page.flow(deeper, figures)?;
        if statement.times.timed > 0 {
            page.flow(deeper, times(&statement.times))?;
        }
        if let (Some(first), Some(last)) = (statement.histogram.first(), statement.histogram.last())
            && statement.times.timed > 1
        {
            let drawn = histogram(&statement.histogram);
            page.line(
                deeper,
                &[format!("≤{} ", time(first.us)).into(), drawn.into(), format!(" ≤{}", time(last.us)).into()],
            )?;
        }
        let callers = [
            ("user", &statement.users),
            ("database", &statement.databases),
            ("application", &statement.applications),
            ("client", &statement.clients),
        ];
        page.flow(deeper, callers.into_iter().filter(|(_, shares)| !shares.is_empty()).map(shares))
    }
}

/// Writes times, the total first.
pub(super) fn times(times: &Times) -> Vec<Span> {
    [
        ("total", times.exec_us),
        ("mean", times.mean_us),
        ("p50", times.p50_us),
        ("p95", times.p95_us),
        ("p99", times.p99_us),
        ("max", times.max_us),
    ]
    .map(|(what, us)| format!("{what} {}", time(us)).into())
    .to_vec()
}

/// Writes who called: the names of one kind, with their counts where there are several.
fn shares((what, shares): (&str, &Vec<Share>)) -> Span {
    let shown = |share: &Share| share.name.as_deref().map_or_else(|| "(unknown)".to_owned(), name);
    let named = match shares.as_slice() {
        [only] => shown(only),
        several => {
            let named = several.iter().take(NAMES).map(|share| format!("{} ({})", shown(share), count(share.calls)));
            let more = several.len().saturating_sub(NAMES);
            let more = (more > 0).then(|| format!("{more} more"));
            join(named.chain(more), ", ")
        }
    };
    format!("{what} {named}").into()
}

/// Writes how many of something: `3 × 40P01`.
pub(super) fn count_of(how_many: u64, what: &str) -> String {
    format!("{} × {what}", count(how_many))
}
