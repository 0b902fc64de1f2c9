//! A list of rows: sorted, filtered, and with one selected.

use std::cmp::Ordering;
use std::sync::Arc;

use ratatui::style::Style;

use super::draw::pen::Theme;
use super::filter::Filter;
use crate::time::Timestamp;

/// A column of a list. The last one has the rest of the line.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Whether it is a number, which ends at the right side, and where the largest is looked for first.
    pub(crate) is_number: bool,
    /// 0 if it is always shown; else its place among those that are shown where there is room.
    pub(crate) rank: u8,
}

impl Column {
    pub(crate) const fn number(title: &'static str, rank: u8) -> Self {
        Self { title, is_number: true, rank }
    }

    pub(crate) const fn text(title: &'static str, rank: u8) -> Self {
        Self { title, is_number: false, rank }
    }
}

/// A cell of a row.
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// What a list consists of.
pub(crate) trait Row: Sized {
    /// What tells it from others, also after it has changed.
    type Id: PartialEq + Clone;
    const COLUMNS: &'static [Column];
    /// How many columns of the terminal the last one has at least, and how many of 100.
    const LAST: (u16, u16);
    /// The column of the time that is looked at first.
    const TIME: usize;

    fn id(&self) -> Self::Id;

    /// Returns what a column shows, of at most so many characters.
    fn cell(&self, column: usize, limit: usize, now: Timestamp, theme: Theme) -> Cell;

    /// Compares by a column.
    fn order(&self, other: &Self, column: usize, now: Timestamp) -> Ordering;

    fn matches(&self, filter: &Filter, now: Timestamp) -> bool;
}

/// A list of rows.
pub(crate) struct List<R: Row> {
    /// The rows to show, sorted.
    pub(crate) rows: Vec<Arc<R>>,
    /// How many rows there are without the filter.
    pub(crate) total: usize,
    pub(crate) selected: usize,
    /// The row that the user has selected: it stays so where others move. `None` for whichever is the first.
    chosen: Option<R::Id>,
    /// The first row that is visible.
    pub(crate) offset: usize,
    /// How many rows are visible.
    pub(crate) page: usize,
    /// The column that rows are sorted by.
    pub(crate) sort: usize,
    pub(crate) is_descending: bool,
    /// How wide the columns have been: they do not shrink while one reads.
    pub(crate) widths: Vec<u16>,
}

impl<R: Row> List<R> {
    pub(crate) fn new(sort: usize, is_descending: bool) -> Self {
        Self {
            rows: Vec::new(),
            total: 0,
            selected: 0,
            chosen: None,
            offset: 0,
            page: 1,
            sort,
            is_descending,
            widths: Vec::new(),
        }
    }

    /// Sets the rows.
    pub(crate) fn set(&mut self, all: &[Arc<R>], filter: &Filter, now: Timestamp) {
        self.total = all.len();
        self.rows.clear();
        self.rows.extend(all.iter().filter(|row| row.matches(filter, now)).cloned());
        self.sort(now);
    }

    fn sort(&mut self, now: Timestamp) {
        let (column, is_descending) = (self.sort, self.is_descending);
        self.rows.sort_by(|one, other| {
            let order = one.order(other, column, now);
            if is_descending { order.reverse() } else { order }
        });
        let found = self.chosen.as_ref().and_then(|id| self.rows.iter().position(|row| row.id() == *id));
        self.selected = match (found, &self.chosen) {
            (Some(found), _) => found,
            (None, Some(_)) => self.selected.min(self.rows.len().saturating_sub(1)),
            (None, None) => 0,
        };
        if found.is_none() && self.chosen.is_some() {
            self.chosen = self.selected_row().map(|row| row.id());
        }
    }

    pub(crate) fn selected_row(&self) -> Option<&Arc<R>> {
        self.rows.get(self.selected)
    }

    /// Selects a row.
    pub(crate) fn select(&mut self, index: usize) {
        self.selected = index.min(self.rows.len().saturating_sub(1));
        self.chosen = if self.selected == 0 { None } else { self.selected_row().map(|row| row.id()) };
    }

    /// Scrolls so that the selected row is visible.
    pub(crate) fn scroll(&mut self, page: usize) {
        self.page = page.max(1);
        (self.selected, self.offset) = visible(self.selected, self.offset, self.rows.len(), self.page);
    }
}

/// What can be moved in, line by line.
pub(crate) trait Scroll {
    /// Moves by so many lines.
    fn move_by(&mut self, lines: isize);
    /// How many lines are visible.
    fn page(&self) -> usize;
}

/// A list, whatever it consists of.
pub(crate) trait Sorted: Scroll {
    fn select(&mut self, row: usize);
    /// The selected row, and the first that is visible.
    fn place(&self) -> (usize, usize);
    /// Sorts by a column; if that is so already, in the other direction.
    fn sort_by(&mut self, column: usize, now: Timestamp);
    /// Sorts by the next column, or the one before.
    fn sort_beside(&mut self, step: isize, now: Timestamp);
    fn sort_by_time(&mut self, now: Timestamp);
    fn invert(&mut self, now: Timestamp);
}

impl<R: Row> Scroll for List<R> {
    fn move_by(&mut self, lines: isize) {
        self.select(self.selected.saturating_add_signed(lines));
    }

    fn page(&self) -> usize {
        self.page
    }
}

impl<R: Row> Sorted for List<R> {
    fn select(&mut self, row: usize) {
        Self::select(self, row);
    }

    fn place(&self) -> (usize, usize) {
        (self.selected, self.offset)
    }

    fn sort_by(&mut self, column: usize, now: Timestamp) {
        let Some(chosen) = R::COLUMNS.get(column) else { return };
        self.is_descending = if self.sort == column { !self.is_descending } else { chosen.is_number };
        self.sort = column;
        self.sort(now);
    }

    fn sort_beside(&mut self, step: isize, now: Timestamp) {
        let count = R::COLUMNS.len();
        self.sort_by((self.sort + count).saturating_add_signed(step) % count.max(1), now);
    }

    fn sort_by_time(&mut self, now: Timestamp) {
        self.sort_by(R::TIME, now);
    }

    fn invert(&mut self, now: Timestamp) {
        self.sort_by(self.sort, now);
    }
}

/// Returns the selected row and the first visible one, of so many rows of which a page is visible.
pub(crate) fn visible(selected: usize, offset: usize, rows: usize, page: usize) -> (usize, usize) {
    let selected = selected.min(rows.saturating_sub(1));
    let first = (selected + 1).saturating_sub(page);
    let offset = offset.min(rows.saturating_sub(page)).clamp(first, selected.max(first));
    (selected, offset)
}
