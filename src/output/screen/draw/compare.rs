//! Two requests or messages side by side.

use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::compare::{CompareView, Pair};
use super::detail::title;
use super::pen::{Pen, Piece, line, width, wrap};
use super::split;

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, view: &mut CompareView) {
    let theme = pen.theme;
    let (head, body) = split(area, 1);
    let longest = view.pairs.iter().map(|pair| width(&pair.field, 40)).max().unwrap_or(0);
    let field = u16::try_from(longest).unwrap_or(0).clamp(8, (area.width / 4).max(8));
    let change = if view.pairs.iter().any(|pair| !pair.change.is_empty()) { 7 } else { 0 };
    let side = area.width.saturating_sub(field + change + 4) / 2;
    let sides = [area.x + field + 2, area.x + field + side + 4];
    title(pen, head, "");
    if head.height > 0 {
        for (x, name) in sides.iter().zip(&view.names) {
            pen.text(*x, head.y, side, name, theme.heading());
        }
    }
    let lines: Vec<_> = view.pairs.iter().flat_map(|pair| pair_lines(pair, side)).collect();
    let count = lines.len();
    let page = usize::from(body.height).max(1);
    view.offset = view.offset.min(count.saturating_sub(page));
    if lines.is_empty() && body.height > 1 {
        pen.text(body.x + 2, body.y + 1, body.width.saturating_sub(2), "nothing differs", theme.dim());
    }
    for (y, shown) in (body.y..body.bottom()).zip(lines.iter().skip(view.offset)) {
        let style = if shown.differs { theme.warning() } else { theme.dim() };
        pen.text(body.x + 1, y, field, shown.field, style);
        // Without color, what differs has a sign.
        pen.text(body.x, y, 1, if shown.differs && shown.is_first { "≠" } else { " " }, theme.warning());
        for (x, text) in sides.iter().zip(&shown.sides) {
            let pieces =
                text.as_ref().map_or_else(Vec::new, |(text, range)| highlighted(text, *range, shown.differs, pen));
            pen.pieces(*x, y, side, &pieces);
        }
        let last = area.right().saturating_sub(change);
        pen.right(last, y, change, shown.change, theme.bold());
    }
    (view.lines, view.page) = (count, page);
}

/// A line of a comparison on the screen.
struct Line<'a> {
    field: &'a str,
    is_first: bool,
    differs: bool,
    change: &'a str,
    /// The text of each side, and from where to where it differs from the other.
    sides: [Option<(String, (usize, usize))>; 2],
}

fn pair_lines(pair: &Pair, side: u16) -> Vec<Line<'_>> {
    let texts = [line(&pair.left, 20_000), line(&pair.right, 20_000)];
    let [left, right] = &texts;
    let start = left.bytes().zip(right.bytes()).take_while(|(one, other)| one == other).count();
    let room = left.len().min(right.len()) - start;
    let end = left.bytes().rev().zip(right.bytes().rev()).take(room).take_while(|(one, other)| one == other).count();
    let columns = usize::from(side);
    let [left, right] = texts.each_ref().map(|text| wrap(text, columns.max(2)));
    let count = left.len().max(right.len());
    let (mut left_at, mut right_at) = (0, 0);
    (0..count)
        .map(|number| {
            let part = |lines: &[&str], at: &mut usize, len: usize| {
                lines.get(number).map(|text| {
                    let range = (start.saturating_sub(*at), (len - end).saturating_sub(*at));
                    *at += text.len();
                    ((*text).to_owned(), range)
                })
            };
            Line {
                field: if number == 0 { &pair.field } else { "" },
                is_first: number == 0,
                differs: pair.differs(),
                change: if number == 0 { &pair.change } else { "" },
                sides: [
                    part(&left, &mut left_at, texts.first().map_or(0, String::len)),
                    part(&right, &mut right_at, texts.last().map_or(0, String::len)),
                ],
            }
        })
        .collect()
}

/// Splits a text so that what differs stands out.
fn highlighted(text: &str, (start, end): (usize, usize), differs: bool, pen: &Pen<'_>) -> Vec<Piece> {
    let theme = pen.theme;
    if !differs {
        return vec![Piece::new(text, theme.dim())];
    }
    // Ranges are of bytes, and may begin within a character.
    let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let after =
        |at: usize| (at.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let (start, end) = (boundary(start), after(end));
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    vec![
        Piece::new(part(0..start), Style::new()),
        Piece::new(part(start..end.max(start)), theme.warning().patch(theme.bold())),
        Piece::new(part(end.max(start)..text.len()), Style::new()),
    ]
}
