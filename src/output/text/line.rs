//! A line in the making: its columns, its colors, and the spaces between its parts.

use std::fmt;
use std::io::{self, Write};

use super::columns::{self, Parts};
use super::sanitize::Extent;
use super::{TextStyle, Zone};

/// How many bytes a list of values or of names takes on a line before it is cut.
const LIST: usize = 240;

/// A color, or another emphasis, by its SGR parameter.
#[derive(Clone, Copy, Debug)]
pub(in crate::output) struct Paint(&'static str);

impl Paint {
    /// No emphasis.
    pub(in crate::output) const PLAIN: Self = Self("");
    pub(in crate::output) const BOLD: Self = Self("1");
    pub(in crate::output) const DIM: Self = Self("2");
    pub(in crate::output) const RED: Self = Self("31");
    pub(in crate::output) const BOLD_RED: Self = Self("1;31");
    pub(in crate::output) const YELLOW: Self = Self("33");
    pub(in crate::output) const BOLD_YELLOW: Self = Self("1;33");
    pub(in crate::output) const GREEN: Self = Self("32");
    pub(in crate::output) const CYAN: Self = Self("36");

    /// Returns the parameter.
    pub(in crate::output) const fn sgr(self) -> &'static str {
        self.0
    }
}

/// Where a line goes.
///
/// Spaces are owed until something follows them, so that no line ends with spaces and no part has to know whether there
/// is another behind it.
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Where it begins.
    start: usize,
    color: bool,
    /// How many columns it has at most.
    width: Option<usize>,
    pub(super) zone: &'a Zone,
    /// How much is shown of what is long.
    pub(super) extent: Extent,
    /// Whether there are no columns for messages.
    pub(super) is_compact: bool,
    /// How many bytes may be written, if it is given up where it does not fit.
    limit: usize,
    /// Spaces owed.
    spaces: usize,
    /// Where its content begins, and how many spaces precede that.
    content: Option<(usize, usize)>,
    tail: Option<usize>,
}

impl<'a> Line<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: &'a TextStyle, extent: Extent) -> Self {
        Self {
            start: out.len(),
            out,
            color: style.color,
            width: style.width,
            zone: &style.zone,
            extent,
            is_compact: style.compact,
            limit: usize::MAX,
            spaces: 0,
            content: None,
            tail: None,
        }
    }

    /// Has writing fail once the line is so long that it cannot fit, so that a long value is not formatted in vain.
    pub(super) fn give_up_beyond_its_width(&mut self) {
        // A character has up to four bytes; the rest is for colors, and for characters that take no column.
        self.limit = self.width.map_or(usize::MAX, |width| width.saturating_mul(4).saturating_add(1_024));
    }

    /// Returns whether all of it fits.
    pub(super) fn fits(&self) -> bool {
        let line = self.out.get(self.start..).unwrap_or_default();
        self.width.is_none_or(|width| {
            line.len() <= width || columns::painted_width(std::str::from_utf8(line).unwrap_or_default()) <= width
        })
    }

    /// Begins what is cut first where the line is too long.
    pub(super) const fn content(&mut self) {
        self.content = Some((self.out.len(), self.spaces));
    }

    /// Ends what is cut first.
    pub(super) fn tail(&mut self) {
        self.tail.get_or_insert(self.out.len());
    }

    /// Ends the line, and cuts it where it is too long.
    pub(super) fn end(self) {
        let Self { out, start, .. } = self;
        // No character takes more columns than it has bytes.
        if let Some(width) = self.width
            && out.len() - start > width
        {
            let line = out.split_off(start);
            let parts = self.content.zip(self.tail).map(|((content, spaces), tail)| Parts {
                content: (content + spaces).min(tail) - start,
                tail: tail - start,
            });
            columns::fit(out, std::str::from_utf8(&line).unwrap_or_default(), parts, width);
        }
        out.push(b'\n');
    }

    /// Writes something of a known width, and owes the spaces up to the width of its column and one more.
    pub(super) fn column(&mut self, paint: Paint, text: &str, width: usize) -> io::Result<()> {
        self.painted(paint, format_args!("{text}"))?;
        self.spaces += width.saturating_sub(text.len()) + 1;
        Ok(())
    }

    /// Owes the spaces before a text of so many characters that ends where its column ends.
    pub(super) const fn align_right(&mut self, characters: usize, width: usize) {
        self.spaces += width.saturating_sub(characters);
    }

    /// Leaves a column empty.
    pub(super) const fn skip_column(&mut self, width: usize) {
        self.spaces += width + 1;
    }

    /// Writes something right behind what is there.
    pub(super) fn put(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        let spaces = std::mem::take(&mut self.spaces);
        write!(self, "{:spaces$}{text}", "")
    }

    /// Owes a space before what follows, where none is owed yet.
    pub(super) fn separate(&mut self) {
        self.spaces = self.spaces.max(1);
    }

    /// Owes so many spaces before what follows.
    pub(super) fn owe(&mut self, spaces: usize) {
        self.spaces = self.spaces.max(spaces);
    }

    /// Writes something that stands apart from what is there by a space.
    pub(super) fn item(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.separate();
        self.put(text)
    }

    /// Writes what is not of the message itself, and stands apart from it by two spaces.
    pub(super) fn aside(&mut self, paint: Paint, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.spaces = self.spaces.max(2);
        self.painted(paint, text)
    }

    /// Writes items with something between them; of an excerpt, as many as a line can hold. Returns whether some were left out.
    pub(super) fn list<T: fmt::Display>(
        &mut self,
        separator: &str,
        items: impl IntoIterator<Item = T>,
    ) -> io::Result<bool> {
        let start = self.out.len();
        let limit = self.extent.limit(LIST);
        for (number, item) in items.into_iter().enumerate() {
            let separator = if number > 0 { separator } else { "" };
            if self.out.len() - start > limit {
                self.put(format_args!("{separator}…"))?;
                return Ok(true);
            }
            self.put(format_args!("{separator}{item}"))?;
        }
        Ok(false)
    }

    /// Writes in a color, where colors are wanted.
    pub(super) fn painted(&mut self, paint: Paint, text: fmt::Arguments<'_>) -> io::Result<()> {
        if self.color && !paint.0.is_empty() {
            self.put(format_args!("\x1b[{}m{text}\x1b[0m", paint.0))
        } else {
            self.put(text)
        }
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.len() - self.start + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
