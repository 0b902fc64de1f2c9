//! Tables that fit the terminal: on a narrow one they have fewer columns, the least important ones left out.

use std::io;

use super::page::{Page, Span, cut, wrap};
use crate::output::text::line::Paint;

/// How many spaces are between columns.
const GAP: usize = 2;

/// How many spaces are before the first one.
const INDENT: usize = 2;

/// A text that is cut has at least so many columns beside its row, or stands below it.
const LEAST_TEXT: usize = 12;

/// How many lines a text has that stands below its row.
const LINES_BELOW: usize = 2;

/// A column.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    align: Align,
    /// How important it is: that with the highest rank is left out first, that with 0 never.
    rank: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// A table: columns of figures and names; and a text for each row, such as its SQL, which has the room that is left.
pub(super) struct Table {
    columns: Vec<Column>,
    /// The title of the column of texts.
    text: &'static str,
    rows: Vec<Row>,
}

/// A row.
#[derive(Default)]
pub(super) struct Row {
    cells: Vec<Span>,
    text: Span,
    below: Vec<Span>,
}

impl Row {
    /// Adds the cell of the next column.
    pub(super) fn cell(mut self, cell: impl Into<Span>) -> Self {
        self.cells.push(cell.into());
        self
    }

    /// Adds the cell of the next column, in a color.
    pub(super) fn painted(self, paint: Paint, cell: String) -> Self {
        self.cell(Span::painted(paint, cell))
    }

    /// Adds the text.
    pub(super) fn text(mut self, text: impl Into<Span>) -> Self {
        self.text = text.into();
        self
    }

    /// Adds what stands on a line of its own below the row.
    pub(super) fn below(mut self, parts: Vec<Span>) -> Self {
        self.below = parts;
        self
    }
}

impl Table {
    /// Creates a table whose column of texts has this title; without one where it is empty.
    pub(super) const fn new(text: &'static str) -> Self {
        Self { columns: Vec::new(), text, rows: Vec::new() }
    }

    /// Adds a column of numbers, right-aligned.
    pub(super) fn number(mut self, title: &'static str, rank: u8) -> Self {
        self.columns.push(Column { title, align: Align::Right, rank });
        self
    }

    /// Adds a column of names, left-aligned.
    pub(super) fn name(mut self, title: &'static str, rank: u8) -> Self {
        self.columns.push(Column { title, align: Align::Left, rank });
        self
    }

    pub(super) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Writes the table. Columns that are empty are left out.
    pub(super) fn write(self, page: &mut Page<'_>) -> io::Result<()> {
        let indent = page.indent(INDENT);
        let has_texts = self.rows.iter().any(|row| !row.text.text.is_empty());
        let layout = Layout::fit(&self, page.width.saturating_sub(indent));
        let titles = self.columns.iter().map(|column| Span::painted(Paint::DIM, column.title)).collect::<Vec<_>>();
        let text = if layout.is_beside && has_texts { self.text } else { "" };
        layout.line(page, &self.columns, &titles, Span::painted(Paint::DIM, text))?;
        for row in self.rows {
            let text = if layout.is_beside { row.text.clone() } else { Span::default() };
            layout.line(page, &self.columns, &row.cells, text)?;
            if !layout.is_beside {
                let deeper = page.indent(INDENT * 3);
                for line in wrap(&row.text.text, page.width.saturating_sub(deeper), LINES_BELOW) {
                    page.line(deeper, &[line.into()])?;
                }
            }
            if !row.below.is_empty() {
                page.flow(INDENT * 3, row.below)?;
            }
        }
        Ok(())
    }
}

/// How wide columns are.
struct Layout {
    /// The width of each column; `None` where it is left out.
    widths: Vec<Option<usize>>,
    /// Whether there is room for the texts beside the columns.
    is_beside: bool,
}

impl Layout {
    fn fit(table: &Table, width: usize) -> Self {
        let longest_text = table.rows.iter().map(|row| row.text.width()).max().unwrap_or_default();
        // SQL has two fifths of a terminal of 80 columns; of a wider one, figures have more.
        let wanted = if width <= 80 { width * 2 / 5 } else { 32 + (width - 80) / 4 };
        let wanted = if longest_text == 0 { 0 } else { longest_text.min(wanted) + GAP };
        let mut widths: Vec<Option<usize>> =
            table.columns.iter().enumerate().map(|(at, column)| width_of(table, at, column, width)).collect();
        let taken = |widths: &[Option<usize>]| {
            let kept = widths.iter().flatten();
            kept.clone().sum::<usize>() + kept.count().saturating_sub(1) * GAP
        };
        while taken(&widths) + wanted > width {
            let kept = table.columns.iter().zip(widths.iter_mut()).filter(|(_, width)| width.is_some());
            let least = kept.filter(|(column, _)| column.rank > 0).max_by_key(|(column, _)| column.rank);
            let Some((_, width)) = least else { break };
            *width = None;
        }
        let room = width.saturating_sub(taken(&widths) + GAP);
        Self { is_beside: longest_text == 0 || room >= longest_text.min(LEAST_TEXT), widths }
    }

    fn line(&self, page: &mut Page<'_>, columns: &[Column], cells: &[Span], text: Span) -> io::Result<()> {
        let mut spans = Vec::new();
        let kept = columns.iter().zip(cells).zip(&self.widths).filter_map(|(cell, width)| Some((cell, (*width)?)));
        for ((column, cell), width) in kept {
            let mut cell = cell.clone();
            cell.text = cut(&cell.text, width);
            let padding = Span::from(" ".repeat(width.saturating_sub(cell.width())));
            if !spans.is_empty() {
                spans.push(" ".repeat(GAP).into());
            }
            match column.align {
                Align::Left => spans.extend([cell, padding]),
                Align::Right => spans.extend([padding, cell]),
            }
        }
        if !text.text.is_empty() {
            spans.extend([" ".repeat(GAP).into(), text]);
        }
        page.line(page.indent(INDENT), &spans)
    }
}

/// Returns the width of a column, `None` where it is empty.
fn width_of(table: &Table, at: usize, column: &Column, page: usize) -> Option<usize> {
    let cells = table.rows.iter().filter_map(|row| row.cells.get(at)).map(Span::width);
    let longest = cells.max().filter(|longest| *longest > 0)?.max(column.title.len());
    // A long name is cut, so that it does not crowd out the figures of all others.
    Some(if column.align == Align::Left { longest.min((page / 4).max(8)) } else { longest })
}
