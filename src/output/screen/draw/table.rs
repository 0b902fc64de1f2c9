//! A list as a table.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::super::app::Hit;
use super::super::list::{List, Row};
use super::pen::{Pen, width};
use crate::time::Timestamp;

/// How many columns of the terminal any column has at most, except the last.
const MAX: usize = 48;

/// How many the last one has at least.
const LEAST: i32 = 10;

/// How many columns of the terminal a name has at most, of so many.
const fn most(terminal: u16) -> usize {
    match terminal {
        0..120 => 12,
        120..160 => 16,
        160.. => 22,
    }
}

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
    let most = most(area.width);
    let cells: Vec<Vec<_>> = (list.rows.iter().skip(list.offset).take(list.page))
        .map(|row| {
            let limit = |column| if column == last { usize::from(area.width) + left } else { MAX };
            (0..=last).map(|column| row.cell(column, limit(column) + 1, now, pen.theme)).collect()
        })
        .collect();

    // How wide each column is, and which are shown.
    list.widths.resize(R::COLUMNS.len(), 0);
    for (index, (column, before)) in R::COLUMNS.iter().zip(&mut list.widths).enumerate().take(last) {
        let widest = cells.iter().filter_map(|row| row.get(index)).map(|cell| width(&cell.text, MAX)).max();
        let limit = if column.is_number || column.title == "STATE" || column.title == "CLIENT" { MAX } else { most };
        let title = column.title.width() + usize::from(list.sort == index);
        let columns = widest.unwrap_or(0).min(limit).max(title).max(usize::from(*before));
        *before = u16::try_from(columns).unwrap_or(u16::MAX);
    }
    let shown = shown::<R>(&list.widths, area.width);
    let mut places = Vec::new();
    let mut x = area.x;
    for column in shown {
        let rest = area.right().saturating_sub(x);
        let columns = list.widths.get(column).copied().filter(|_| column != last).unwrap_or(rest).min(rest);
        places.push((column, x, columns));
        x = x.saturating_add(columns + 1);
    }

    pen.style(Rect { height: 1, ..area }, pen.theme.heading());
    for (column, x, columns) in &places {
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
        for (column, x, columns) in &places {
            let Some(cell) = row.get(*column) else { continue };
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

/// Returns which columns are shown: where there is little room, the last is worth more than others.
fn shown<R: Row>(widths: &[u16], terminal: u16) -> Vec<usize> {
    let last = R::COLUMNS.len().saturating_sub(1);
    let (least, percent) = R::LAST;
    let of_last = least.max(u16::try_from(u32::from(terminal) * u32::from(percent) / 100).unwrap_or(least));
    let mut by_rank: Vec<_> = R::COLUMNS.iter().enumerate().take(last).collect();
    by_rank.sort_by_key(|(_, column)| column.rank);
    let mut left = i32::from(terminal) - i32::from(of_last);
    let mut shown = Vec::new();
    for (index, column) in by_rank {
        let needed = widths.get(index).map_or(0, |width| i32::from(*width) + 1);
        // What is always shown may make the last one narrower, but not hide it.
        let room = if column.rank == 0 { left + i32::from(of_last) - LEAST } else { left };
        if needed <= room || shown.is_empty() {
            shown.push(index);
            left -= needed;
        }
    }
    shown.push(last);
    shown.sort_unstable();
    shown
}
