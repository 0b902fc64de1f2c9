//! What is different from an earlier capture.

use std::io;

use super::page::{Page, Span, sql_or_unknown};
use super::statements::Statements;
use super::table::{Row, Table};
use super::units::{change, count, date_time, per_second, percent, rate, share, time};
use crate::output::text::line::Paint;
use crate::record::Summary;
use crate::record::summary::{Calls, Comparison, Confidence, Difference, Totals};

pub(super) fn write(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    summary: &Summary,
    before: &Comparison,
    top: usize,
) -> io::Result<()> {
    page.heading("Compared with the baseline")?;
    if let Some(started) = before.started {
        page.note(&format!(
            "It began {} UTC and lasted {}. All is before → after; load is execution time a second.",
            date_time(started),
            time(before.duration_us)
        ))?;
    }
    let rates = |totals: &Totals, us: u64| {
        let busy = per_second(totals.times.exec_us, us) / 1_000_000.0;
        (format!("{}/s", rate(per_second(totals.requests, us))), format!("{}/s", time((busy * 1_000_000.0) as u64)))
    };
    let (requests_before, busy_before) = rates(&before.totals, before.duration_us);
    let (requests_after, busy_after) = rates(&summary.totals, summary.capture.duration_us);
    page.field("Requests", [arrow(&requests_before, &requests_after).into()])?;
    page.field("Load", [arrow(&busy_before, &busy_after).into()])?;
    let (was, is) = (&before.totals.times, &summary.totals.times);
    let quantiles = [("p50", was.p50_us, is.p50_us), ("p95", was.p95_us, is.p95_us), ("p99", was.p99_us, is.p99_us)];
    let quantiles = quantiles.map(|(what, was, is)| format!("{what} {}", arrow(&time(was), &time(is))));
    page.field("Execution time", quantiles.map(Span::from))?;
    let failed =
        |totals: &Totals| format!("{} ({})", count(totals.errors), percent(share(totals.errors, totals.requests)));
    page.field("Errors", [arrow(&failed(&before.totals), &failed(&summary.totals)).into()])?;

    let sections = [
        ("What explains most of the change", &before.explained),
        ("Appeared", &before.appeared),
        ("Vanished", &before.vanished),
        ("Slower", &before.slower),
        ("Faster", &before.faster),
        ("More frequent", &before.more_frequent),
        ("Less frequent", &before.less_frequent),
        ("Began to fail", &before.began_to_fail),
    ];
    sections.into_iter().try_for_each(|(title, differences)| section(page, statements, title, differences, top))
}

fn section(
    page: &mut Page<'_>,
    statements: &Statements<'_>,
    title: &'static str,
    differences: &[Difference],
    top: usize,
) -> io::Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.line(page.indent(2), &[Span::painted(Paint::BOLD, title)])?;
    let mut table = Table::new("statement")
        .number("", 5)
        .number("load", 0)
        .number("p95", 1)
        .number("calls/s", 2)
        .name("sure", 3)
        .number("errors", 4)
        .number("p50", 6)
        .number("calls", 7)
        .number("mean", 8)
        .number("p99", 9)
        .number("slower", 10);
    for difference in differences.iter().take(top) {
        let (was, is) = (difference.before.as_ref(), difference.after.as_ref());
        let both = |of: fn(&Calls) -> String| {
            let of = |calls: Option<&Calls>| calls.map_or_else(|| "–".to_owned(), of);
            match (of(was), of(is)) {
                (was, is) if was.is_empty() && is.is_empty() => String::new(),
                (was, is) => arrow(&was, &is),
            }
        };
        let sure = match difference.confidence {
            Confidence::Certain => Span::painted(Paint::BOLD, Confidence::Certain.name()),
            Confidence::Likely => Confidence::Likely.name().into(),
            Confidence::Unsure => Span::painted(Paint::DIM, Confidence::Unsure.name()),
        };
        // Of a statement that is only in one of the two, there is nothing to be sure of.
        let sure = if was.is_some() && is.is_some() { sure } else { Span::default() };
        let load = difference.change_us_per_second;
        let paint = if load > 0.0 { Paint::RED } else { Paint::GREEN };
        let failed = [was, is].into_iter().flatten().any(|calls| calls.errors > 0);
        table.row(
            Row::default()
                .painted(Paint::DIM, statements.number(difference.fingerprint.as_deref()))
                .painted(paint, format!("{}/s", change(load)))
                .cell(both(|calls| timed(calls, calls.times.p95_us)))
                .cell(both(|calls| rate(calls.calls_per_second)))
                .cell(sure)
                .painted(Paint::RED, if failed { both(|calls| count(calls.errors)) } else { String::new() })
                .cell(both(|calls| timed(calls, calls.times.p50_us)))
                .cell(both(|calls| count(calls.calls)))
                .cell(both(|calls| timed(calls, calls.times.mean_us)))
                .cell(both(|calls| timed(calls, calls.times.p99_us)))
                .cell(
                    difference.slower_probability.map_or_else(String::new, |probability| percent(probability * 100.0)),
                )
                .text(sql_or_unknown(difference.normalized.as_deref())),
        );
    }
    table.write(page)
}

fn timed(calls: &Calls, us: u64) -> String {
    if calls.times.timed == 0 { String::new() } else { time(us) }
}

fn arrow(before: &str, after: &str) -> String {
    format!("{before} → {after}")
}
