//! The keys.

use ratatui::layout::Rect;

use super::super::keys::HELP;
use super::pen::{Pen, Piece, wrap};

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, offset: &mut usize) {
    let theme = pen.theme;
    pen.clear(area);
    let key_width = usize::from(area.width / 3).min(28);
    let what_width = usize::from(area.width).saturating_sub(key_width + 3);
    let mut lines = Vec::new();
    for (title, keys) in HELP {
        if !lines.is_empty() {
            lines.push(Vec::new());
        }
        lines.push(vec![Piece::new(*title, theme.bold())]);
        for (key, what) in *keys {
            let (key, what) = (wrap(key, key_width), wrap(what, what_width));
            for number in 0..key.len().max(what.len()) {
                let key = key.get(number).copied().unwrap_or("").trim_end();
                let padding = " ".repeat(key_width.saturating_sub(super::pen::width(key, key_width)));
                lines.push(vec![
                    Piece::new(format!("  {key}{padding}"), theme.accent()),
                    Piece::plain(format!(" {}", what.get(number).copied().unwrap_or(""))),
                ]);
            }
        }
    }
    *offset = (*offset).min(lines.len().saturating_sub(usize::from(area.height)));
    for (y, line) in (area.y..area.bottom()).zip(lines.iter().skip(*offset)) {
        pen.pieces(area.x, y, area.width, line);
    }
}
