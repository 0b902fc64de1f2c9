//! Single requests: the slowest, the largest, and those that had no end.

use std::io;

use serde_json::value::RawValue;

use super::page::{Page, Span, join, name, prose};
use super::statements::Statements;
use super::units::{bad_end, bytes, counted, time};
use crate::output::text::line::Paint;
use crate::output::text::sanitize::{Data, Extent};
use crate::pg::row::Format;
use crate::record::Outcome;
use crate::record::Summary;
use crate::record::summary::{Example, Params};

/// How many lines the SQL of a request has.
const SQL_LINES: usize = 3;

/// What has fewer bytes is not called large.
const LARGE: u64 = 16 * 1024;

/// How many lines its parameters have.
const PARAMS_LINES: usize = 2;

pub(super) fn slowest(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    examples: &[Example],
    top: usize,
) -> io::Result<()> {
    if examples.is_empty() {
        return Ok(());
    }
    page.heading("Slowest requests")?;
    for example in examples.iter().take(top) {
        request(page, statements, example, Span::painted(Paint::BOLD, exec_time(example)))?;
    }
    Ok(())
}

pub(super) fn largest(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    examples: &[Example],
    top: usize,
) -> io::Result<()> {
    let size = |example: &Example| example.bytes_in.saturating_add(example.bytes_out);
    let mut large = examples.iter().filter(|example| size(example) >= LARGE).take(top).peekable();
    if large.peek().is_none() {
        return Ok(());
    }
    page.heading("Largest requests and results")?;
    large.try_for_each(|example| request(page, statements, example, Span::painted(Paint::BOLD, bytes(size(example)))))
}

pub(super) fn running(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    summary: &Summary,
    top: usize,
) -> io::Result<()> {
    let under_way = summary.capture.under_way;
    page.heading(if under_way { "Running now" } else { "Running at the end of the capture" })?;
    if summary.running.is_empty() {
        return page.note("None.");
    }
    for example in summary.running.iter().take(top) {
        let age = example.age_us.map_or_else(|| "age unknown".to_owned(), |us| format!("≥ {}", time(us)));
        request(page, statements, example, Span::painted(Paint::BOLD_YELLOW, age))?;
    }
    Ok(())
}

/// Writes a request: what about it is looked for, whose it is, its SQL and parameters, and its error.
pub(super) fn request(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    example: &Example,
    lead: Span,
) -> io::Result<()> {
    let mut parts = vec![lead];
    if let (Some(waited), Some(worked)) = (example.total_us, example.exec_us)
        // A request that waited behind others of a pipeline.
        && waited > worked.saturating_add(worked / 10).saturating_add(1_000)
    {
        parts.push(format!("(its client waited {})", time(waited)).into());
    }
    if let Some(end) = bad_end(example.outcome).filter(|_| example.outcome != Some(Outcome::Incomplete)) {
        parts.push(Span::painted(Paint::RED, end));
    }
    if let Some(rows) = example.rows {
        parts.push(counted(rows, "row").into());
    }
    if example.bytes_in > 0 || example.bytes_out > 0 {
        parts.push(format!("{} in", bytes(example.bytes_in)).into());
        parts.push(format!("{} out", bytes(example.bytes_out)).into());
    }
    parts.extend(whose(page, example));
    page.flow(2, parts)?;

    let deeper = page.indent(6);
    if let Some(sql) = &example.sql {
        let number = statements.number(example.fingerprint.as_deref());
        let number = if number.is_empty() { number } else { format!("{number} ") };
        page.wrapped(deeper, Some(Paint::CYAN), &format!("{number}{}", prose(sql)), SQL_LINES)?;
    } else if example.query.is_some() {
        page.line(deeper, &[Span::painted(Paint::DIM, "(its SQL is not known)")])?;
    }
    if let Some(params) = example.params.as_ref().map(parameters).filter(|params| !params.is_empty()) {
        page.wrapped(deeper, None, &params, PARAMS_LINES)?;
    }
    error(page, example)
}

/// Writes the error of a request or a session.
pub(super) fn error(page: &mut Page<'_>, example: &Example) -> io::Result<()> {
    let Some(message) = &example.message else { return Ok(()) };
    let deeper = page.indent(6);
    let severity = example.severity.as_deref().map(name);
    let code = example.code.as_deref().map(name);
    page.wrapped(deeper, Some(Paint::RED), &join(severity.into_iter().chain(code).chain([prose(message)]), " "), 3)?;
    let Some(detail) = &example.detail else { return Ok(()) };
    page.wrapped(deeper, None, &format!("DETAIL {}", prose(detail)), 4)
}

/// Writes which request it is, and whose.
pub(super) fn whose(page: &Page<'_>, example: &Example) -> Vec<Span> {
    let mut parts = Vec::new();
    let who = match (&example.user, &example.database) {
        (Some(user), Some(database)) => format!("{}@{}", name(user), name(database)),
        (Some(user), None) => name(user),
        (None, Some(database)) => format!("@{}", name(database)),
        (None, None) => String::new(),
    };
    parts.push(who.into());
    if let Some(application) = example.application.as_deref().filter(|application| !application.is_empty()) {
        parts.push(name(application).into());
    }
    parts.push(Span::painted(Paint::DIM, name(&example.client)));
    let query = example.query.map_or_else(String::new, |query| format!(" q{query}"));
    parts.push(Span::painted(Paint::DIM, format!("conn {}{query}", example.conn)));
    parts.push(Span::painted(Paint::DIM, format!("packet {}", example.packet)));
    parts.push(Span::painted(Paint::DIM, page.moment(example.started)));
    parts
}

/// Writes how long the server can have worked on a request.
pub(super) fn exec_time(example: &Example) -> String {
    example.exec_us.or(example.total_us).map_or_else(|| "time unknown".to_owned(), time)
}

/// Writes values as SQL would: `$1=42 $2='text' $3=NULL`.
fn parameters(Params(values): &Params) -> String {
    join(values.iter().enumerate().map(|(at, value)| format!("${}={}", at + 1, parameter(value))), " ")
}

fn parameter(value: &RawValue) -> String {
    let json = value.get();
    if json == "null" {
        return "NULL".to_owned();
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Data::value(text.as_bytes(), Format::TEXT, Extent::Excerpt).to_string(),
        Err(_) => prose(json),
    }
}
