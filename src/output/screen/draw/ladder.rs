//! The ladder of a session: what the client and the server sent, one below the other.

use std::fmt::Write;

use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::Hit;
use super::super::compare::{Marked, MarkedItem};
use super::super::ladder::{Group, LadderLine, LadderView};
use super::super::rows::{activity, who};
use super::super::view::{Activity, Step};
use super::detail::title;
use super::pen::{Pen, line, width};
use super::split;
use crate::direction::Direction;
use crate::output::summary::units::{bytes, count, counted, some_bytes, some_count, time, time_of_day};
use crate::time::Timestamp;

pub(super) fn draw(
    pen: &mut Pen<'_>,
    area: Rect,
    view: &mut LadderView,
    marked: &[Marked],
    now: Timestamp,
    left: usize,
    hits: &mut Vec<(Rect, Hit)>,
) {
    let theme = pen.theme;
    let (head, rest) = split(area, 1);
    let (facts, body) = split(rest, 1);
    title(pen, head, &format!("Connection {}  {}", view.conn, who(&view.who)));
    if facts.height > 0 {
        pen.text(facts.x, facts.y, facts.width, &state(view, now), theme.dim());
    }
    view.scroll(usize::from(body.height));
    if view.lines.is_empty() && body.height > 1 {
        let text = if view.is_loaded { "none of its messages is kept" } else { "" };
        pen.text(body.x + 2, body.y + 1, body.width.saturating_sub(2), text, theme.dim());
    }
    let visible = view.lines.iter().skip(view.offset).take(view.page);
    let is_over = view.session.as_ref().is_some_and(|session| matches!(session.activity, Activity::Ended(_)));
    for (number, (y, shown)) in (body.y..body.bottom()).zip(visible).enumerate() {
        let row = Rect { y, height: 1, ..body };
        match shown {
            LadderLine::Group(group) => {
                if let Some(group) = view.groups.get(*group) {
                    let is_unfolded =
                        matches!(view.lines.get(view.offset + number + 1), Some(LadderLine::Step { before: None, .. }));
                    let is_marked = marked.iter().any(|marked| {
                        marked.who.conn == view.conn
                            && matches!(&marked.item, MarkedItem::Request { query, .. } if Some(*query) == group.query)
                    });
                    let start = group.steps.first().and_then(|step| view.ladder.steps.get(*step)).map(|step| step.ts);
                    draw_group(pen, row, group, start, (is_unfolded, is_marked, is_over), now, left);
                }
            }
            LadderLine::Step { group, step, before } => {
                let steps = &view.ladder.steps;
                let first = view.groups.get(*group).and_then(|group| group.steps.first());
                let first = first.and_then(|step| steps.get(*step)).map(|step| step.ts);
                if let (Some(step), Some(first)) = (steps.get(*step), first) {
                    let is_marked = marked.iter().any(|marked| {
                        marked.who.conn == view.conn
                            && matches!(&marked.item, MarkedItem::Message(other) if other.seq == step.seq)
                    });
                    let before = before.and_then(|before| steps.get(before)).map(|step| step.ts);
                    draw_step(pen, row, step, first, before, is_marked, left);
                }
            }
        }
        if view.offset + number == view.selected {
            pen.style(row, theme.selected());
        }
        hits.push((row, Hit::Row(number)));
    }
}

fn state(view: &LadderView, now: Timestamp) -> String {
    let mut text = String::new();
    if let Some(session) = &view.session {
        text.push_str(activity(session.activity));
        if let Some(us) = session.activity_us(now) {
            let _ = write!(text, " for {}", time(us));
        }
        text.push_str("; ");
    }
    let _ = write!(text, "{} messages", count(view.ladder.steps.iter().map(|step| step.count).sum()));
    if view.ladder.forgotten > 0 {
        let _ = write!(text, ", {} before not kept", count(view.ladder.forgotten));
    }
    if let Some(query) = view.wanted {
        let _ = write!(text, ", none of request {query}");
    }
    if let Some(session) = &view.session {
        let _ = write!(text, "; {}, {}", counted(session.requests, "request"), counted(session.errors, "error"));
    }
    text
}

/// A request in a line: its number, when it began, how long it took, its rows and bytes, and its SQL.
fn draw_group(
    pen: &mut Pen<'_>,
    row: Rect,
    group: &Group,
    start: Option<Timestamp>,
    (is_unfolded, is_marked, is_over): (bool, bool, bool),
    now: Timestamp,
    left: usize,
) {
    let theme = pen.theme;
    // What has no end when its session has one is over as well.
    let has_ended = group.has_ended || is_over;
    let is_request = group.query.is_some();
    let number = group.query.map_or_else(String::new, |query| format!("q{query}"));
    let fold = if is_unfolded { "▾" } else { "▸" };
    pen.text(row.x, row.y, 1, if is_marked { "●" } else { " " }, theme.warning());
    pen.text(row.x + 1, row.y, 1, fold, theme.dim());
    pen.text(row.x + 3, row.y, 6, &number, theme.accent());
    pen.text(row.x + 10, row.y, 12, &start.map_or_else(String::new, time_of_day), Style::new());
    // What has no end yet is as old as it is now.
    let age = start.map_or(0, |start| now.micros_since(start));
    let us = if has_ended { group.duration_us } else { age };
    let took = if has_ended { time(us) } else { format!(">{}", time(us)) };
    let style = if is_request { theme.age(us) } else { theme.dim() };
    pen.right(row.x + 23, row.y, 7, &took, style);
    let mut x = row.x + 31;
    if row.width >= 100 {
        pen.right(x, row.y, 6, &some_count(group.rows), Style::new());
        pen.right(x + 7, row.y, 9, &some_bytes(group.bytes), theme.dim());
        x += 17;
    }
    let room = row.right().saturating_sub(x);
    let title: String = line(&group.title, usize::from(room) + left).chars().skip(left).collect();
    let style = if is_request { theme.bold() } else { theme.dim() };
    match &group.error {
        Some(error) => {
            let used = pen.text(x, row.y, room / 2, &title, style);
            pen.text(x + used + 2, row.y, room.saturating_sub(used + 2), &line(error, usize::from(room)), theme.bad());
        }
        None => {
            pen.text(x, row.y, room, &title, style);
        }
    }
}

/// A message in a line: when it was captured, how long after the one before, an arrow from its sender, and its text.
fn draw_step(
    pen: &mut Pen<'_>,
    row: Rect,
    step: &Step,
    first: Timestamp,
    before: Option<Timestamp>,
    is_marked: bool,
    left: usize,
) {
    let theme = pen.theme;
    pen.text(row.x, row.y, 1, if is_marked { "●" } else { " " }, theme.warning());
    pen.right(row.x + 2, row.y, 9, &format!("+{}", time(step.ts.micros_since(first))), theme.dim());
    if let Some(before) = before {
        let wait = step.ts.micros_since(before);
        pen.right(row.x + 12, row.y, 7, &time(wait), theme.age(wait));
    }
    let ladder = (row.width / 3).clamp(14, 42);
    let x = row.x + 20;
    arrow(pen, x, row.y, ladder, step);
    let x = x + ladder + 1;
    let text = if step.count > 1 || step.json.is_empty() {
        format!("… {} more rows, {}", exact(step.count), bytes(step.bytes))
    } else {
        step.text.clone()
    };
    let room = row.right().saturating_sub(x);
    let text: String = line(&text, usize::from(room) + left + 1).chars().skip(left).collect();
    let style = match step.name.as_str() {
        "ErrorResponse" => theme.bad(),
        "NoticeResponse" => theme.warning(),
        _ if step.json.is_empty() => theme.dim(),
        _ => Style::new(),
    };
    pen.text(x, row.y, room, &text, style);
}

/// `│ Query ───────▶ │`, or `│ ◀───── DataRow │`.
fn arrow(pen: &mut Pen<'_>, x: u16, y: u16, columns: u16, step: &Step) {
    let theme = pen.theme;
    let name = if step.count > 1 { format!("{} ×{}", step.name, count(step.count)) } else { step.name.clone() };
    let inner = columns.saturating_sub(4);
    let name_room = usize::from(inner.saturating_sub(3));
    let name_width = u16::try_from(width(&name, name_room).min(name_room)).unwrap_or(0);
    let dashes = "─".repeat(usize::from(inner.saturating_sub(name_width + 2)));
    pen.text(x, y, 1, "│", theme.dim());
    pen.text(x + columns.saturating_sub(1), y, 1, "│", theme.dim());
    let x = x + 2;
    match step.dir {
        Direction::Frontend => {
            pen.text(x, y, name_width, &name, theme.bold());
            pen.text(
                x + name_width + 1,
                y,
                inner.saturating_sub(name_width + 1),
                &format!("{dashes}▶"),
                theme.accent(),
            );
        }
        Direction::Backend => {
            pen.text(x, y, inner, &format!("◀{dashes}"), theme.good());
            pen.right(x + inner.saturating_sub(name_width), y, name_width, &name, theme.bold());
        }
    }
}

/// Formats a count with all its digits.
fn exact(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
