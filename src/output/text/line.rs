//! A line in the making: its columns, its colors, and the spaces between its parts.

use std::fmt;
use std::io::{self, Write};

use super::TextStyle;

/// How many bytes a list of values or of names takes on a line before it is cut.
const LIST: usize = 240;

/// A color, or another emphasis, by its SGR parameter.
#[derive(Clone, Copy, Debug)]
pub(in crate::output) struct Paint(&'static str);

impl Paint {
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
    out: &'a mut dyn io::Write,
    color: bool,
    /// Spaces owed.
    spaces: usize,
    /// Bytes so far.
    written: usize,
}

impl<'a> Line<'a> {
    pub(super) fn new(out: &'a mut dyn io::Write, style: &TextStyle) -> Self {
        Self { out, color: style.color, spaces: 0, written: 0 }
    }

    /// Ends the line.
    pub(super) fn end(self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// Writes something of a known width, and owes the spaces up to the width of its column and one more.
    pub(super) fn column(&mut self, paint: Paint, text: &str, width: usize) -> io::Result<()> {
        self.painted(paint, format_args!("{text}"))?;
        self.spaces += width.saturating_sub(text.len()) + 1;
        Ok(())
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

    /// Writes items with something between them, as many as a line can hold. Says whether some had to be left out.
    pub(super) fn list<T: fmt::Display>(
        &mut self,
        separator: &str,
        items: impl IntoIterator<Item = T>,
    ) -> io::Result<bool> {
        let start = self.written;
        for (number, item) in items.into_iter().enumerate() {
            let separator = if number > 0 { separator } else { "" };
            if self.written.saturating_sub(start) > LIST {
                self.put(format_args!("{separator}…"))?;
                return Ok(true);
            }
            self.put(format_args!("{separator}{item}"))?;
        }
        Ok(false)
    }

    /// Writes in a color, where colors are wanted.
    pub(super) fn painted(&mut self, paint: Paint, text: fmt::Arguments<'_>) -> io::Result<()> {
        if self.color { self.put(format_args!("\x1b[{}m{text}\x1b[0m", paint.0)) } else { self.put(text) }
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
