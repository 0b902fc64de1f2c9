//! A statement, what its requests add up to, and some of them.

use ratatui::layout::Rect;

use super::super::app::{Hit, StatementView};
use super::detail::title;
use super::pen::{Pen, line, wrap};
use super::{split, table};
use crate::output::summary::units::{bytes, count, counted, rate, time};
use crate::time::Timestamp;

pub(super) fn draw(
    pen: &mut Pen<'_>,
    area: Rect,
    view: &mut StatementView,
    now: Timestamp,
    left: usize,
    hits: &mut Vec<(Rect, Hit)>,
) {
    let row = &view.statement;
    let (head, body) = split(area, 1);
    title(pen, head, &format!("Statement {}", row.fingerprint.as_deref().unwrap_or("(SQL not known)")));
    let figures = format!(
        "{}, {}/s, {}, total {}, mean {}, p95 {}, max {}, {}, {}",
        counted(row.calls, "call"),
        rate(row.calls_per_second),
        counted(row.errors, "error"),
        time(row.total_us),
        time(row.mean_us),
        time(row.p95_us),
        time(row.max_us),
        counted(row.rows, "row"),
        bytes(row.bytes)
    );
    let sql = line(&row.sql, 10_000);
    let lines = wrap(&sql, usize::from(body.width));
    let most = usize::from(body.height / 2).max(1);
    let lines = lines.get(..most.min(lines.len())).unwrap_or_default();
    let (top, requests) = split(body, u16::try_from(lines.len() + 2).unwrap_or(0));
    if top.height > 0 {
        pen.text(top.x, top.y, top.width, &figures, pen.theme.bold());
    }
    for (y, line) in (top.y + 1..top.bottom().max(top.y + 1) - 1).zip(lines) {
        pen.text(top.x, y, top.width, line, pen.theme.accent());
    }
    let known = count(view.requests.total as u64);
    if top.height > 1 {
        let text = format!("{known} of its requests: under way, latest, slowest, failed");
        pen.text(top.x, top.bottom() - 1, top.width, &text, pen.theme.dim());
    }
    table::draw(pen, requests, &mut view.requests, now, left, "none of its requests is kept", hits);
}
