//! A screen as a function of its state.

mod compare;
mod detail;
mod footer;
mod header;
mod help;
mod ladder;
pub(crate) mod pen;
mod preview;
mod statement;
mod table;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::Rect;

use self::pen::Pen;
use super::app::{App, Tab, View};

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let area = frame.area();
    app.hits.clear();
    let mut pen = Pen { buffer: frame.buffer_mut(), theme: app.theme };
    let (header, rest) = split(area, header::height(area));
    let (body, footer) = split(rest, rest.height.saturating_sub(1));
    header::draw(&mut pen, header, app);
    match app.views.last_mut() {
        None => lists(&mut pen, body, app),
        Some(View::Ladder(view)) => {
            ladder::draw(&mut pen, body, view, &app.marked, app.overview.now, app.left, &mut app.hits);
        }
        Some(View::Detail(view)) => detail::draw(&mut pen, body, view),
        Some(View::Compare(view)) => compare::draw(&mut pen, body, view),
        Some(View::Statement(view)) => {
            statement::draw(&mut pen, body, view, app.overview.now, app.left, &mut app.hits);
        }
    }
    if let Some(offset) = &mut app.help {
        help::draw(&mut pen, body, offset);
    }
    let cursor = footer::draw(&mut pen, footer, app);
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
}

/// Splits off the first lines of an area.
fn split(area: Rect, lines: u16) -> (Rect, Rect) {
    let lines = lines.min(area.height);
    let head = Rect { height: lines, ..area };
    (head, Rect { y: area.y + lines, height: area.height - lines, ..area })
}

fn lists(pen: &mut Pen<'_>, area: Rect, app: &mut App) {
    let (list, below) = split(area, area.height - preview::height(area, app.preview));
    let nothing = nothing(app);
    let (now, left) = (app.overview.now, app.left);
    match app.tab {
        Tab::Running => table::draw(pen, list, &mut app.running, now, left, &nothing, &mut app.hits),
        Tab::Statements => table::draw(pen, list, &mut app.statements, now, left, &nothing, &mut app.hits),
        Tab::Sessions => table::draw(pen, list, &mut app.sessions, now, left, &nothing, &mut app.hits),
        Tab::Errors => {
            let counts = preview::error_counts(app, list);
            let (head, list) = split(list, u16::try_from(counts.len()).unwrap_or(0));
            for (y, line) in (head.y..).zip(&counts) {
                pen.pieces(head.x, y, head.width, line);
            }
            table::draw(pen, list, &mut app.errors, now, left, &nothing, &mut app.hits);
        }
        Tab::Replication => table::draw(pen, list, &mut app.streams, now, left, &nothing, &mut app.hits),
        Tab::Poolers => table::draw(pen, list, &mut app.pools, now, left, &nothing, &mut app.hits),
    }
    if below.height > 0 {
        preview::draw(pen, below, app);
    }
}

/// Returns what is shown in place of rows.
fn nothing(app: &App) -> String {
    let total = match app.tab {
        Tab::Running => app.running.total,
        Tab::Statements => app.statements.total,
        Tab::Sessions => app.sessions.total,
        Tab::Errors => app.errors.total,
        Tab::Replication => app.streams.total,
        Tab::Poolers => app.pools.total,
    };
    if total > 0 && !app.filter.is_empty() {
        return format!("none of {total} matches the filter (Esc shows all)");
    }
    let selection = &app.settings.selection;
    if app.tab == Tab::Sessions && !selection.is_empty() && app.overview.packets > 0 {
        return format!("no session was seen that matches {selection}");
    }
    let encrypted = app.overview.encrypted_sessions;
    if encrypted > 0 && matches!(app.tab, Tab::Running | Tab::Statements) {
        return format!("nothing, of sessions that can be read: {encrypted} encrypted, without their keys (--keylog)");
    }
    let text = match app.tab {
        Tab::Running => "no request is under way",
        Tab::Statements => "no request has ended in this time (w for a longer one)",
        Tab::Sessions if app.overview.packets == 0 && app.overview.is_under_way => "no packet yet",
        Tab::Sessions => "no PostgreSQL session was seen",
        Tab::Errors => "no errors",
        Tab::Replication => "no replication stream, and no base backup, was seen",
        Tab::Poolers => "no request was seen on both sides of a pooler (--pooler)",
    };
    text.to_owned()
}

/// Returns the name of a list.
pub(crate) const fn tab_name(tab: Tab) -> &'static str {
    match tab {
        Tab::Running => "Running",
        Tab::Statements => "Statements",
        Tab::Sessions => "Sessions",
        Tab::Errors => "Errors",
        Tab::Replication => "Replication",
        Tab::Poolers => "Poolers",
    }
}
