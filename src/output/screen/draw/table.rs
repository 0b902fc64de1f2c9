//! A list as a table.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::super::app::Hit;
use super::super::list::{List, Row};
use super::pen::{Pen, width};
use crate::time::Timestamp;

/// How many columns of the terminal the last column has at least.
const LAST: u16 = 12;

/// Draws a list with its headings.
pub(super) fn draw<R: Row>(
    pen: &mut Pen<'_>,
    area: Rect,
    list: &mut List<R>,
    now: Timestamp,
    left: usize,
    nothing: &str,
    hits: &mut Vec<(Rect, Hit)>,
) {
    if area.height == 0 || area.width == 0 {
        return;
    }
    list.scroll(usize::from(area.height - 1));
    let last = R::COLUMNS.len().saturating_sub(1);
    let shown: Vec<_> = (0..=last).filter(|column| limit::<R>(*column, area.width) > 0).collect();
    let limits: Vec<_> = shown
        .iter()
        .map(|column| {
            let limit = usize::from(limit::<R>(*column, area.width));
            if *column == last { usize::from(area.width) + left } else { limit }
        })
        .collect();
    let visible = list.rows.iter().skip(list.offset).take(list.page);
    let cells: Vec<Vec<_>> = visible
        .map(|row| {
            shown.iter().zip(&limits).map(|(column, limit)| row.cell(*column, limit + 1, now, pen.theme)).collect()
        })
        .collect();

    // Where each column is.
    list.widths.resize(R::COLUMNS.len(), 0);
    let mut x = area.x;
    let mut places = Vec::new();
    for (index, column) in shown.iter().enumerate() {
        let is_last = *column == last;
        let title = R::COLUMNS.get(*column).map_or("", |column| column.title);
        let limit = limits.get(index).copied().unwrap_or(0);
        let widest =
            cells.iter().filter_map(|row| row.get(index)).map(|cell| width(&cell.text, limit).min(limit)).max();
        let before = list.widths.get(*column).copied().map_or(0, usize::from).min(limit);
        let title_width = title.width() + usize::from(list.sort == *column && !is_last);
        let columns = widest.unwrap_or(0).max(before).max(title_width);
        let columns = if is_last { usize::from(area.right().saturating_sub(x)) } else { columns };
        let columns = u16::try_from(columns).unwrap_or(u16::MAX);
        // On a narrow terminal, the last column is worth more than those before it.
        if !is_last && index > 0 && x + columns + 1 + LAST > area.right() {
            continue;
        }
        if let Some(width) = list.widths.get_mut(*column).filter(|_| !is_last) {
            *width = columns;
        }
        places.push((index, *column, x, columns));
        x += columns + 1;
    }

    pen.style(Rect { height: 1, ..area }, pen.theme.heading());
    for (_, column, x, columns) in &places {
        let Some(head) = R::COLUMNS.get(*column) else { continue };
        let is_sorted = list.sort == *column;
        let arrow = if list.is_descending { "▼" } else { "▲" };
        let title = if is_sorted { format!("{}{arrow}", head.title) } else { head.title.to_owned() };
        let style = if is_sorted { pen.theme.sorted() } else { pen.theme.heading() };
        if head.is_number {
            pen.right(*x, area.y, *columns, &title, style);
        } else {
            pen.text(*x, area.y, *columns, &title, style);
        }
        hits.push((Rect { x: *x, y: area.y, width: columns + 1, height: 1 }, Hit::Column(*column)));
    }

    if list.rows.is_empty() {
        if area.height > 2 {
            pen.text(area.x + 2, area.y + 2, area.width.saturating_sub(2), nothing, pen.theme.dim());
        }
        return;
    }
    for (number, (y, row)) in (area.y + 1..).zip(&cells).enumerate() {
        for (index, column, x, columns) in &places {
            let Some(cell) = row.get(*index) else { continue };
            let is_number = R::COLUMNS.get(*column).is_some_and(|column| column.is_number);
            if is_number {
                pen.right(*x, y, *columns, &cell.text, cell.style);
            } else if *column == last && left > 0 {
                let skipped: String = cell.text.chars().skip(left).collect();
                pen.text(*x, y, *columns, &skipped, cell.style);
            } else {
                pen.text(*x, y, *columns, &cell.text, cell.style);
            }
        }
        let line = Rect { y, height: 1, ..area };
        if list.offset + number == list.selected {
            pen.style(line, pen.theme.selected());
        }
        hits.push((line, Hit::Row(number)));
    }
}

fn limit<R: Row>(column: usize, terminal: u16) -> u16 {
    R::COLUMNS.get(column).map_or(0, |column| column.width(terminal))
}
