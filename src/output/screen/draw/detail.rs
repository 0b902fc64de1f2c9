//! All fields of a message.

use ratatui::layout::Rect;

use super::super::detail::DetailView;
use super::pen::Pen;
use super::split;

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, view: &mut DetailView) {
    let (head, body) = split(area, 1);
    title(pen, head, &view.title);
    let theme = pen.theme;
    // Wrapped before it is scrolled, which needs the number of lines.
    view.lines(body.width, theme);
    view.scroll(usize::from(body.height));
    let offset = view.offset;
    for (y, line) in (body.y..body.bottom()).zip(view.lines(body.width, theme).iter().skip(offset)) {
        pen.pieces(body.x, y, body.width, line);
    }
}

/// Draws the title of a view.
pub(super) fn title(pen: &mut Pen<'_>, area: Rect, text: &str) {
    if area.height > 0 {
        pen.style(area, pen.theme.heading());
        pen.text(area.x, area.y, area.width, text, pen.theme.heading());
    }
}
