//! What is above every list: rates and times of the last seconds, how complete the picture is, and the names of the lists.

use std::fmt::Write;

use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::{App, Hit, Tab, WINDOWS};
use super::super::view::{Overview, Rate, Window};
use super::pen::{Pen, Piece, Theme, line};
use super::tab_name;
use crate::output::summary::units::{bytes, count, counted, date_time, time, time_of_day};

/// The heights of a bar in a line.
const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Returns how many lines the header has.
pub(super) const fn height(area: Rect) -> u16 {
    match area.height {
        0..10 => 1,
        10..18 => 2,
        18.. => 5,
    }
}

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, app: &mut App) {
    let mut y = area.y;
    if area.height > 1 {
        title(pen, area, y, app);
        y += 1;
    }
    if area.height > 4 {
        rates(pen, area, y, &app.overview);
        completeness(pen, area, y + 2, &app.overview);
        y += 3;
    }
    if area.height > 0 {
        tabs(pen, area, y, app);
    }
}

/// The first line: what is watched, until when, and what it does.
fn title(pen: &mut Pen<'_>, area: Rect, y: u16, app: &App) {
    let theme = pen.theme;
    let overview = &app.overview;
    let now = if area.width < 100 { time_of_day(overview.now) } else { date_time(overview.now) };
    // Milliseconds would only flicker.
    let now = now.split_once('.').map_or(now.as_str(), |(seconds, _)| seconds);
    let mut pieces = vec![Piece::new("pgdissect", theme.bold()), Piece::plain(format!("  {now} UTC"))];
    if let Some(started) = overview.started {
        pieces.push(Piece::plain(format!("  {}", time(overview.now.micros_since(started)))));
    }
    pieces.push(if overview.is_under_way {
        Piece::new("", Style::new())
    } else {
        Piece::new("  ended", theme.accent())
    });
    pieces.push(Piece::plain(format!(
        "  {} open, {} running, ",
        count(overview.open_connections),
        count(overview.running)
    )));
    let idle = format!("{} idle in transaction", count(overview.idle_in_transaction));
    pieces.push(Piece::new(idle, if overview.idle_in_transaction > 0 { theme.warning() } else { Style::new() }));
    let mut right = String::new();
    if app.is_paused {
        right.push_str(" PAUSED ");
    }
    if app.is_freezing {
        right.push_str(" FREEZE ");
    }
    if !app.marked.is_empty() {
        right.push_str(if app.marked.len() == 1 { " 1 MARKED " } else { " 2 MARKED " });
    }
    let reserved = u16::try_from(right.len()).unwrap_or(0).min(area.width);
    pen.pieces(area.x, y, area.width - reserved, &pieces);
    pen.right(area.x, y, area.width, &right, theme.warning().patch(theme.selected()));
}

/// Two lines of bars: requests a second, and their times.
fn rates(pen: &mut Pen<'_>, area: Rect, y: u16, overview: &Overview) {
    let theme = pen.theme;
    let label = 20.min(area.width);
    let room = usize::from(area.width - label);
    let shown = overview.rates.get(overview.rates.len().saturating_sub(room)..).unwrap_or_default();
    let (last, max) = (shown.last().copied().unwrap_or_default(), shown.iter().map(|rate| rate.requests).max());
    let max_p95 = shown.iter().map(|rate| rate.p95_us).max();
    let rows = [
        (false, "requests/s", count(last.requests), max.unwrap_or(0)),
        (true, "p95", time(last.p95_us), max_p95.unwrap_or(0)),
    ];
    for (y, (is_time, name, value, max)) in (y..).zip(rows) {
        pen.text(area.x, y, label, name, theme.dim());
        pen.right(area.x, y, label.saturating_sub(2), &value, theme.bold());
        let first = area.right().saturating_sub(u16::try_from(shown.len()).unwrap_or(area.width));
        for (x, rate) in (first..).zip(shown) {
            let value = if is_time { rate.p95_us } else { rate.requests };
            pen.text(x, y, 1, bar(value, max), bar_style(rate, is_time, theme));
        }
    }
}

fn bar_style(rate: &Rate, is_time: bool, theme: Theme) -> Style {
    if is_time {
        let style = theme.age(rate.p95_us);
        return if style == Style::new() { theme.accent() } else { style };
    }
    if rate.errors > 0 { theme.fg(ratatui::style::Color::Red) } else { theme.good() }
}

fn bar(value: u64, max: u64) -> &'static str {
    let height = match (value, max) {
        (0, _) | (_, 0) => 0,
        // What is there is visible.
        (value, max) => (u128::from(value) * 8 / u128::from(max)).max(1),
    };
    usize::try_from(height).ok().and_then(|height| BARS.get(height)).copied().unwrap_or("█")
}

/// How much was captured, and what is missing.
fn completeness(pen: &mut Pen<'_>, area: Rect, y: u16, overview: &Overview) {
    let theme = pen.theme;
    let mut text = counted(overview.packets, "packet");
    let dropped = overview.dropped.unwrap_or(0);
    let missing = [
        (dropped, format!("{} dropped", count(dropped))),
        (overview.lost_bytes, format!("{} lost", bytes(overview.lost_bytes))),
        (overview.midstream_sessions, format!("{} began before", count(overview.midstream_sessions))),
        (overview.encrypted_sessions, format!("{} encrypted", count(overview.encrypted_sessions))),
        (overview.foreign, format!("{} not PostgreSQL", count(overview.foreign))),
        (overview.is_partial.into(), "the input is cut short or damaged".to_owned()),
    ];
    if area.width >= 100 || missing.iter().all(|(amount, _)| *amount == 0) {
        let _ = write!(text, ", {}", counted(overview.messages, "message"));
        text.push_str(if overview.dropped == Some(0) { ", 0 dropped" } else { "" });
    }
    let mut pieces = vec![Piece::new(text, theme.dim())];
    let missing: Vec<_> = missing.into_iter().filter(|(amount, _)| *amount > 0).map(|(_, text)| text).collect();
    pieces.push(if missing.is_empty() {
        Piece::new("  complete", theme.good())
    } else {
        Piece::new(format!("  incomplete: {}", missing.join(", ")), theme.warning())
    });
    if let Some(note) = overview.notes.last() {
        pieces.push(Piece::new(format!("  {}", line(note, 240)), theme.accent()));
    }
    pen.pieces(area.x, y, area.width, &pieces);
}

/// The names of the lists, and which rows of them are shown.
fn tabs(pen: &mut Pen<'_>, area: Rect, y: u16, app: &mut App) {
    let theme = pen.theme;
    let overview = &app.overview;
    let mut x = area.x;
    let mut hits = Vec::new();
    for (number, tab) in (1..).zip(Tab::ALL) {
        if !overview.has(tab) && app.tab != tab {
            continue;
        }
        let amount = match tab {
            Tab::Running => overview.running + overview.idle_in_transaction,
            Tab::Statements => 0,
            Tab::Sessions => overview.open_connections,
            Tab::Errors => overview.errors,
            Tab::Replication => overview.open_streams,
            Tab::Poolers => 0,
        };
        let amount = if amount > 0 { format!(" {}", count(amount)) } else { String::new() };
        let text = format!(" {number} {}{amount} ", tab_name(tab));
        let style = match tab {
            _ if tab == app.tab => theme.bold().patch(theme.selected()),
            Tab::Errors if overview.errors > 0 => theme.bad(),
            _ => Style::new(),
        };
        let width = pen.text(x, y, area.right().saturating_sub(x), &text, style);
        hits.push((Rect { x, y, width, height: 1 }, Hit::Tab(tab)));
        x += width;
    }
    let is_statements = app.tab == Tab::Statements && app.views.is_empty();
    if is_statements {
        let width = pen.text(x + 1, y, area.right().saturating_sub(x + 1), &windows(app.window), theme.accent());
        hits.push((Rect { x: x + 1, y, width, height: 1 }, Hit::Window));
        x += width + 1;
    }
    let mut right = String::new();
    if !app.filter.is_empty() && app.prompt.is_none() {
        let (shown, total) = match app.tab {
            Tab::Running => (app.running.rows.len(), app.running.total),
            Tab::Statements => (app.statements.rows.len(), app.statements.total),
            Tab::Sessions => (app.sessions.rows.len(), app.sessions.total),
            Tab::Errors => (app.errors.rows.len(), app.errors.total),
            Tab::Replication => (app.streams.rows.len(), app.streams.total),
            Tab::Poolers => (app.pools.rows.len(), app.pools.total),
        };
        right = format!("{shown} of {total}: {}", line(&app.filter.text, 200));
    } else if let (Some(not_kept), true) = (overview.not_kept(app.tab), app.views.is_empty()) {
        right = format!("{} before these are not kept", count(not_kept));
    } else if !app.settings.selection.is_empty() {
        right = format!("only {}", line(&app.settings.selection, 200));
    }
    if !right.is_empty() {
        pen.right(x + 1, y, area.right().saturating_sub(x + 1), &right, theme.warning());
    }
    app.hits.extend(hits);
}

/// The windows of time, with the one that is shown in brackets.
fn windows(shown: Window) -> String {
    let names = WINDOWS.map(|window| {
        let name = match window {
            Window::TenSeconds => "10s",
            Window::Minute => "1m",
            Window::FiveMinutes => "5m",
            Window::All => "all",
        };
        if window == shown { format!("[{name}]") } else { format!(" {name} ") }
    });
    names.concat()
}
