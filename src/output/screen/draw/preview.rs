//! What is selected in a list, with all that has no place in its line.

use std::fmt::Write;

use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::{App, Tab};
use super::super::rows::{activity, error_kind, who};
use super::super::view::{ErrorRow, PoolRow, RunningRow, SessionRow, StatementRow, StreamRow};
use super::pen::{Pen, Piece, line, width, wrap};
use crate::output::summary::units::{bytes, count, counted, date_time, rate, time};
use crate::time::Timestamp;

/// How many characters of SQL are shown.
const SQL: usize = 20_000;

/// Returns how many lines it has.
pub(super) fn height(area: Rect, step: u8) -> u16 {
    match step {
        0 => 0,
        1 if area.height < 12 => 0,
        1 => (area.height / 4).clamp(4, 8),
        _ => area.height / 2,
    }
}

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, app: &App) {
    let theme = pen.theme;
    let now = app.overview.now;
    let lines = match app.tab {
        Tab::Running => app.running.selected_row().map(|row| running(row, now)),
        Tab::Statements => app.statements.selected_row().map(|row| statement(row)),
        Tab::Sessions => app.sessions.selected_row().map(|row| session(row, now)),
        Tab::Errors => app.errors.selected_row().map(|row| error(row)),
        Tab::Replication => app.streams.selected_row().map(|row| stream(row, now)),
        Tab::Poolers => app.pools.selected_row().map(|row| pool(row)),
    };
    pen.text(area.x, area.y, area.width, &"─".repeat(usize::from(area.width)), theme.dim());
    let Some(lines) = lines else { return };
    let mut parts = Vec::new();
    for (number, text) in lines.iter().filter(|text| !text.is_empty()).enumerate() {
        let style = if number == 0 { theme.accent() } else { Style::new() };
        parts.extend(wrap(text, usize::from(area.width)).into_iter().map(|part| (part, style)));
    }
    let rows = area.y + 1..area.bottom();
    let has_more = parts.len() > rows.len();
    for (y, (part, style)) in rows.clone().zip(&parts) {
        let used = pen.text(area.x, y, area.width, part.trim_end(), *style);
        if has_more && y + 1 == rows.end {
            pen.text(area.x + used.min(area.width.saturating_sub(1)), y, 1, "…", *style);
        }
    }
}

fn running(row: &RunningRow, now: Timestamp) -> Vec<String> {
    let mut state = format!("{} for {}", activity(row.activity), time(row.age_us(now)));
    if let Some(rows) = row.rows {
        let _ = write!(state, ", {}", counted(rows, "row"));
    }
    if row.bytes_out > 0 {
        let _ = write!(state, ", {}", bytes(row.bytes_out));
    }
    if row.is_uncertain {
        state.push_str(", not certain: bytes are missing, or it began before the capture");
    }
    let params = if row.params.is_empty() { String::new() } else { format!("parameters {}", line(&row.params, SQL)) };
    vec![format!("#{}  {}", row.who.conn, who(&row.who)), state, line(&row.sql, SQL), params]
}

fn statement(row: &StatementRow) -> Vec<String> {
    let figures = format!(
        "{}, {}/s, total {}, {}, {}, {}",
        counted(row.calls, "call"),
        rate(row.calls_per_second),
        time(row.total_us),
        counted(row.rows, "row"),
        bytes(row.bytes),
        counted(row.errors, "error")
    );
    let fingerprint = row.fingerprint.as_deref().unwrap_or("SQL not known");
    vec![format!("{fingerprint}  {figures}"), line(&row.sql, SQL)]
}

fn session(row: &SessionRow, now: Timestamp) -> Vec<String> {
    let mut first = format!("#{}  {}", row.who.conn, who(&row.who));
    if let Some(pid) = row.process_id {
        let _ = write!(first, "  pid {pid}");
    }
    if !row.encryption.is_empty() {
        let _ = write!(first, "  {}", line(&row.encryption, 63));
    }
    let since = if row.is_midstream { "began before" } else { "connected" };
    let mut second = format!("{since} {}, {}", date_time(row.started), activity(row.activity));
    if let Some(us) = row.activity_us(now) {
        let _ = write!(second, " for {}", time(us));
    }
    let mut third = format!(
        "{}, {}, {} in, {} out",
        counted(row.requests, "request"),
        counted(row.errors, "error"),
        bytes(row.bytes_in),
        bytes(row.bytes_out)
    );
    for (name, us) in [("client", row.rtt_client_us), ("server", row.rtt_server_us)] {
        if let Some(us) = us {
            let _ = write!(third, ", round trip to the {name} {}", time(us));
        }
    }
    if row.idle_in_transaction_us > 0 {
        let _ = write!(third, ", idle in transactions {}", time(row.idle_in_transaction_us));
    }
    if row.lost_bytes > 0 {
        let _ = write!(third, ", {} lost", bytes(row.lost_bytes));
    }
    vec![first, second, third]
}

fn error(row: &ErrorRow) -> Vec<String> {
    let condition = row.condition.map_or_else(String::new, |condition| format!(" {condition}"));
    let mut second =
        format!("{} {}{condition}: {}", error_kind(row.kind), line(&row.code, 5), line(&row.message, 2_000));
    if let Some(us) = row.total_us {
        let _ = write!(second, ", after {}", time(us));
    }
    let params = if row.params.is_empty() { String::new() } else { format!("parameters {}", line(&row.params, SQL)) };
    vec![format!("#{}  {}", row.who.conn, who(&row.who)), second, line(&row.sql, SQL), params]
}

fn stream(row: &StreamRow, now: Timestamp) -> Vec<String> {
    let slot = row.slot.as_ref().map(|slot| format!("slot {}", line(slot, 63)));
    let what = slot.into_iter().chain([row.kind(63), row.state()]).filter(|part| !part.is_empty());
    let what = what.collect::<Vec<_>>().join(", ");
    let end = row.ended.unwrap_or(now);
    let mut second = format!(
        "{what}{} {} for {}: {}",
        if row.ended.is_some() { ", from" } else { " since" },
        date_time(row.started),
        time(end.micros_since(row.started)),
        bytes(row.bytes)
    );
    let counts =
        [(row.changes, "change"), (row.commits, "commit"), (row.aborts, "rollback"), (row.archives, "archive")];
    for (number, what) in counts.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(second, ", {}", counted(number, what));
    }
    let positions = [("write", row.write_lsn), ("flush", row.flush_lsn), ("apply", row.apply_lsn)];
    let positions = positions.into_iter().filter_map(|(what, lsn)| lsn.map(|lsn| format!("{what} {lsn}")));
    let mut third = positions.collect::<Vec<_>>().join("  ");
    if let (Some(us), Some(behind)) = (row.lag_us, row.lag_bytes) {
        let _ = write!(third, "  lag {}, {}", time(us), bytes(behind));
    }
    // Of few lines, the first are seen.
    vec![format!("#{}  {}", row.who.conn, who(&row.who)), third, second]
}

fn pool(PoolRow(pool): &PoolRow) -> Vec<String> {
    let connections = counted(pool.server_connections, "connection");
    let (clients, busy) = (counted(pool.client_connections, "client"), time(pool.busy_us));
    let mut lines = vec![format!("{clients}, {connections} to the server, busy for {busy} together")];
    if let Some(idle) = pool.idle_in_transaction.first() {
        let application = idle.application.as_deref().filter(|name| !name.is_empty()).unwrap_or("(no name)");
        lines.push(format!(
            "idle in transaction for {}: {} #{} {}, before q{}",
            time(idle.idle_us),
            line(application, 63),
            idle.conn,
            line(&idle.client, 63),
            idle.query
        ));
    }
    let waited = pool.statements.iter().filter(|statement| statement.waits.wait_us > 0);
    lines.extend(waited.map(|statement| {
        let sql = statement.normalized.as_deref().unwrap_or("(SQL not known)");
        let (wait, calls) = (time(statement.waits.wait_us), counted(statement.calls, "call"));
        format!("{wait} in {calls}: {}", line(sql, 200))
    }));
    lines
}

/// Returns how often each SQLSTATE came, in a few lines.
pub(super) fn error_counts(app: &App, area: Rect) -> Vec<Vec<Piece>> {
    let theme = app.theme;
    let most = usize::from(area.height / 6).min(3);
    let columns = usize::from(area.width);
    let mut lines: Vec<Vec<Piece>> = Vec::new();
    let mut used = columns;
    for error in &app.error_counts {
        let code = if error.code.is_empty() { "?????".to_owned() } else { line(&error.code, 5) };
        let name = error.condition.map_or_else(String::new, |condition| format!(" {condition}"));
        let needed = width(&format!("{code}{name} {}  ", count(error.count)), columns);
        if used + needed > columns + 2 {
            if lines.len() >= most {
                break;
            }
            lines.push(Vec::new());
            used = 0;
        }
        used += needed;
        if let Some(last) = lines.last_mut() {
            last.push(Piece::new(code, theme.accent()));
            last.push(Piece::plain(name));
            last.push(Piece::new(format!(" {}  ", count(error.count)), theme.bold()));
        }
    }
    lines
}
