//! Text into the cells of a screen: what is too long is cut, what is wide stays aligned, and nothing can act on the terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthChar;

use crate::output::text::sanitize::{Prose, is_escaped};

/// How many bytes a cell has at most, of a character and the marks that combine with it.
const MAX_CELL: usize = 24;

/// The colors; none with `NO_COLOR`, where bold, dim and reverse have to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    pub(crate) color: bool,
}

impl Theme {
    pub(crate) fn fg(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// What is less important.
    pub(crate) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(crate) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The headings of columns.
    pub(crate) fn heading(self) -> Style {
        if self.color {
            Style::new().fg(Color::Black).bg(Color::Green)
        } else {
            Style::new().add_modifier(Modifier::REVERSED)
        }
    }

    /// The heading of the column that rows are sorted by.
    pub(crate) fn sorted(self) -> Style {
        if self.color {
            Style::new().fg(Color::Black).bg(Color::Cyan).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
        }
    }

    /// What is selected.
    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn good(self) -> Style {
        self.fg(Color::Green)
    }

    pub(crate) fn accent(self) -> Style {
        self.fg(Color::Cyan)
    }

    /// What a user may want to look at.
    pub(crate) fn warning(self) -> Style {
        self.fg(Color::Yellow)
    }

    /// What is wrong.
    pub(crate) fn bad(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// How long something has taken, in microseconds.
    pub(crate) fn age(self, us: u64) -> Style {
        match us {
            0..1_000_000 => Style::new(),
            1_000_000..10_000_000 => self.warning(),
            _ => self.bad(),
        }
    }
}

/// Text of one style.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl Piece {
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Style::new())
    }
}

/// Returns text from the wire on one line, its first `limit` characters.
pub(crate) fn line(text: &str, limit: usize) -> String {
    Prose(text.as_bytes(), limit).to_string()
}

/// Returns how many columns a character has. What joins characters has none, and is left out: terminals do not agree on the width
/// of what is joined.
fn width_of(character: char) -> Option<usize> {
    match character {
        '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' => None,
        _ if is_escaped(character) => None,
        // Terminals draw them in a cell of their own.
        '\u{ff9e}' | '\u{ff9f}' => Some(1),
        _ => character.width(),
    }
}

/// Returns how many columns a text has, up to somewhat more than `limit`.
pub(crate) fn width(text: &str, limit: usize) -> usize {
    let mut width = 0;
    for character in text.chars() {
        width += width_of(character).unwrap_or(0);
        if width > limit {
            break;
        }
    }
    width
}

/// Cuts text into lines of at most this many columns, after a space where there is one in the last part of a line.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = overflow(rest, columns.max(2)) {
        let fitting = rest.get(..end).unwrap_or(rest);
        let space = fitting.rfind(' ').map(|space| space + 1).filter(|space| *space > end / 2);
        let (head, tail) = rest.split_at_checked(space.unwrap_or(end)).unwrap_or((rest, ""));
        lines.push(head);
        rest = tail;
    }
    lines.push(rest);
    lines
}

/// Returns where the first character begins that does not fit.
fn overflow(text: &str, columns: usize) -> Option<usize> {
    let mut width = 0;
    for (at, character) in text.char_indices() {
        width += width_of(character).unwrap_or(0);
        if width > columns {
            return Some(at);
        }
    }
    None
}

/// Writes into a buffer.
pub(crate) struct Pen<'a> {
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) theme: Theme,
}

impl Pen<'_> {
    /// Writes text, cut with `…` where it does not fit. Returns how many columns it has.
    pub(crate) fn text(&mut self, x: u16, y: u16, columns: u16, text: &str, style: Style) -> u16 {
        let limit = usize::from(columns);
        let is_cut = width(text, limit) > limit;
        let room = limit - usize::from(is_cut && limit > 0);
        let mut used = 0;
        for character in text.chars() {
            let Some(width) = width_of(character) else { continue };
            if used + width > room {
                break;
            }
            if width == 0 {
                self.combine(x, y, used, character);
            } else {
                self.set(x, y, used, character, style);
                // A cell beside a wide character is hidden by it.
                if width == 2 {
                    self.set(x, y, used + 1, ' ', style);
                }
                used += width;
            }
        }
        if is_cut && limit > 0 {
            self.set(x, y, used, '…', style);
            used += 1;
        }
        u16::try_from(used).unwrap_or(columns)
    }

    /// Writes text that ends at the right side.
    pub(crate) fn right(&mut self, x: u16, y: u16, columns: u16, text: &str, style: Style) {
        let width = u16::try_from(width(text, usize::from(columns))).unwrap_or(columns).min(columns);
        self.text(x + (columns - width), y, width, text, style);
    }

    /// Writes text of several styles. Returns how many columns it has.
    pub(crate) fn pieces<'p>(
        &mut self,
        x: u16,
        y: u16,
        columns: u16,
        pieces: impl IntoIterator<Item = &'p Piece>,
    ) -> u16 {
        let mut used = 0;
        for piece in pieces {
            used += self.text(x + used, y, columns - used, &piece.text, piece.style);
            if used >= columns {
                break;
            }
        }
        used
    }

    /// Sets the style of an area.
    pub(crate) fn style(&mut self, area: Rect, style: Style) {
        self.buffer.set_style(area.intersection(self.buffer.area), style);
    }

    /// Makes an area empty.
    pub(crate) fn clear(&mut self, area: Rect) {
        let area = area.intersection(self.buffer.area);
        for position in area.positions() {
            if let Some(cell) = self.buffer.cell_mut(position) {
                cell.reset();
            }
        }
    }

    fn set(&mut self, x: u16, y: u16, column: usize, character: char, style: Style) {
        let Ok(column) = u16::try_from(column) else { return };
        if let Some(cell) = self.buffer.cell_mut((x.saturating_add(column), y)) {
            cell.set_char(character).set_style(style);
        }
    }

    /// Adds a mark to the character before it.
    fn combine(&mut self, x: u16, y: u16, used: usize, mark: char) {
        let Some(column) = used.checked_sub(1).and_then(|column| u16::try_from(column).ok()) else { return };
        if let Some(cell) = self.buffer.cell_mut((x.saturating_add(column), y)) {
            // The second cell of a wide character is blank, and has no marks.
            let symbol = cell.symbol();
            if symbol != " " && symbol.len() + mark.len_utf8() <= MAX_CELL {
                let symbol = format!("{symbol}{mark}");
                cell.set_symbol(&symbol);
            }
        }
    }
}
