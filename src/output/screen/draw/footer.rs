//! The last line: what the user types, a message, or the keys.

use ratatui::layout::{Position, Rect};

use super::super::app::{App, Tab, View};
use super::super::prompt::Purpose;
use super::pen::{Pen, Piece, line, width};

/// Draws it. Returns where the cursor is, if something is typed.
pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, app: &App) -> Option<Position> {
    if area.height == 0 {
        return None;
    }
    let theme = pen.theme;
    if let Some(prompt) = &app.prompt {
        let label = match prompt.purpose {
            Purpose::Filter { .. } => "/",
            Purpose::Save { .. } => "save to (.pcap for packets): ",
        };
        // The end is what is typed.
        let room = usize::from(area.width).saturating_sub(label.len() + 1);
        let mut text = prompt.text.as_str();
        while width(text, room) > room {
            text = text.split_at_checked(text.chars().next().map_or(0, char::len_utf8)).map_or("", |(_, rest)| rest);
        }
        let pieces = [Piece::new(label, theme.bold()), Piece::plain(text)];
        let used = pen.pieces(area.x, area.y, area.width, &pieces);
        let hint = match (&prompt.error, &prompt.purpose) {
            (Some(error), _) => line(error, 200),
            (None, Purpose::Filter { .. }) if prompt.text.is_empty() => {
                "text, or options such as --user app --min-duration 1s".to_owned()
            }
            (None, Purpose::Filter { .. }) => app.filter.ignored(app.tab).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        let style = if prompt.error.is_some() { theme.bad() } else { theme.dim() };
        let left = area.width.saturating_sub(used + 3);
        pen.text(area.x + used + 3, area.y, left, &hint, style);
        return Some(Position::new((area.x + used).min(area.right().saturating_sub(1)), area.y));
    }
    if let Some(message) = &app.message {
        pen.text(area.x, area.y, area.width, &line(message, 500), theme.bold());
        return None;
    }
    let ignored = app.filter.ignored(app.tab).filter(|_| app.views.is_empty() && app.help.is_none());
    if let Some(why) = ignored {
        pen.text(area.x, area.y, area.width, &format!("not all of the filter counts here: {why}"), theme.warning());
        return None;
    }
    let mut x = area.x;
    for (key, what) in keys(app) {
        let needed = u16::try_from(key.len() + what.len() + 3).unwrap_or(area.width);
        if x + needed > area.right() {
            break;
        }
        x += pen.text(x, area.y, area.right() - x, key, theme.accent().patch(theme.bold()));
        x += 1 + pen.text(x + 1, area.y, area.right() - x, what, theme.dim()) + 2;
    }
    None
}

fn keys(app: &App) -> Vec<(&'static str, &'static str)> {
    let pause = ("p", if app.is_paused { "go on" } else { "pause" });
    let mut keys = match app.views.last() {
        _ if app.help.is_some() => vec![("any key", "back")],
        Some(View::Ladder(_)) => {
            vec![("Enter", "open"), ("*", "all"), ("m", "mark"), ("c", "compare"), ("y", "copy"), ("s", "save")]
        }
        Some(View::Detail(_)) => vec![("y", "copy"), ("m", "mark"), ("c", "compare")],
        Some(View::Compare(_)) => vec![("d", "only what differs")],
        Some(View::Statement(_)) => vec![("Enter", "ladder"), ("m", "mark"), ("c", "compare"), ("y", "copy"), pause],
        None => {
            let open = if app.tab == Tab::Statements { "requests" } else { "ladder" };
            let mut keys = vec![("Enter", open), ("/", "filter"), ("<>", "sort"), pause, ("y", "copy")];
            keys.push(if app.tab == Tab::Statements { ("w", "window") } else { ("s", "save") });
            keys
        }
    };
    if app.help.is_none() {
        keys.push(("?", "help"));
        keys.push(("q", if app.views.is_empty() { "quit" } else { "back" }));
    }
    keys
}
