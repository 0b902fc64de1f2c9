//! Data of a COPY as rows ("File Formats", in the reference of COPY): text, CSV, binary.
//!
//! [`Splitter`] promises that every row is handed out once it is whole, however the data is cut into messages: a server
//! sends a row a message, a client cuts where it likes. A row that lies in one message is not copied, and what is kept of
//! others is bounded. It neither knows what types the columns have, nor whether a row has the right number of them.

mod fields;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::fields::Fields;
use self::scan::{End, Scanner};
use super::Settings;
use crate::encoding::Encoding;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// A line a row, fields between delimiters, escapes with a backslash.
    Text,
    /// Comma-separated values, in which a field may be quoted and hold line ends.
    Csv,
    /// PostgreSQL's own binary format.
    Binary,
}

/// The options of a COPY that say how rows are written. Of the binary format, only the format matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// FORMAT.
    pub format: CopyFormat,
    /// DELIMITER.
    pub delimiter: u8,
    /// NULL: what stands for a null value.
    pub null: Cow<'static, [u8]>,
    /// QUOTE, in CSV.
    pub quote: u8,
    /// ESCAPE, in CSV: what stands before a quote inside quotes.
    pub escape: u8,
    /// HEADER: whether the first line has names.
    pub header: bool,
}

impl CopyOptions {
    /// The defaults of a format.
    pub const fn new(format: CopyFormat) -> Self {
        let (delimiter, null): (u8, &'static [u8]) = match format {
            CopyFormat::Csv => (b',', b""),
            CopyFormat::Text | CopyFormat::Binary => (b'\t', b"\\N"),
        };
        Self { format, delimiter, null: Cow::Borrowed(null), quote: b'"', escape: b'"', header: false }
    }
}

/// What is found in the data.
#[derive(Debug)]
pub enum CopyItem<'a> {
    /// The names of the columns.
    Header(CopyRow<'a>),
    /// A row.
    Row(CopyRow<'a>),
    /// A row, or what seems to be one, of so many bytes, which are more than may be kept.
    TooLong(u64),
    /// So many bytes that are no row: of the binary format, what comes behind something that cannot be.
    Malformed(u64),
}

/// A row: its bytes, without the end of the line.
#[derive(Clone, Copy, Debug)]
pub struct CopyRow<'a> {
    bytes: &'a [u8],
    options: &'a CopyOptions,
    encoding: Encoding,
}

impl<'a> CopyRow<'a> {
    /// The fields, unescaped: nothing where they are NULL. In the text format of their types, or in the binary one.
    pub fn fields(&self) -> impl Iterator<Item = Option<Cow<'a, [u8]>>> + use<'a> {
        Fields::new(self.bytes, self.options, self.encoding)
    }

    /// The row as it is on the wire.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Cuts the data of one COPY into rows.
///
/// ```
/// use pgdissect::value::copy::{CopyFormat, CopyItem, CopyOptions, Splitter};
///
/// let mut rows = Vec::new();
/// let mut splitter = Splitter::new(CopyOptions::new(CopyFormat::Csv), &Default::default(), 1024);
/// for data in [&b"1,\"two\nli"[..], b"nes\"\n3,\n"] {
///     splitter.push(data, |item| {
///         let CopyItem::Row(row) = item else { return };
///         rows.push(row.fields().map(|field| field.map(|field| field.into_owned())).collect::<Vec<_>>());
///     });
/// }
/// assert_eq!(rows, [[Some(b"1".to_vec()), Some(b"two\nlines".to_vec())], [Some(b"3".to_vec()), None]]);
/// ```
#[derive(Debug)]
pub struct Splitter {
    options: CopyOptions,
    encoding: Encoding,
    scanner: Scanner,
    /// The beginning of a row.
    carry: Vec<u8>,
    /// How long a row is that is not kept.
    dropped: u64,
    longest: usize,
    is_header: bool,
}

impl Splitter {
    /// A splitter that keeps `longest` bytes of an unfinished row at the most.
    pub fn new(options: CopyOptions, settings: &Settings, longest: usize) -> Self {
        let scanner = Scanner::new(&options, settings.encoding);
        let is_header = options.header && options.format != CopyFormat::Binary;
        Self { encoding: settings.encoding, scanner, carry: Vec::new(), dropped: 0, longest, is_header, options }
    }

    /// Takes the data of a message, and hands out the rows that end in it.
    pub fn push(&mut self, mut data: &[u8], mut found: impl FnMut(CopyItem<'_>)) {
        while !data.is_empty() {
            let (length, end) = self.scanner.scan(data);
            let Some((piece, rest)) = data.split_at_checked(length) else { return };
            data = rest;
            match end {
                // A row that is whole where it lies.
                Some(End::Row) if self.carry.is_empty() && self.dropped == 0 => {
                    hand_out(piece, &self.options, self.encoding, &mut self.is_header, &mut found);
                }
                Some(End::Row) => {
                    self.keep(piece);
                    self.end(&mut found);
                }
                Some(End::Nothing) => self.forget(),
                Some(End::Malformed) => {
                    let length = self.unfinished() + piece.len() as u64;
                    self.forget();
                    found(CopyItem::Malformed(length));
                }
                None => self.keep(piece),
            }
        }
    }

    /// Hands out the last row, where no line end follows it.
    pub fn finish(&mut self, mut found: impl FnMut(CopyItem<'_>)) {
        match self.scanner.is_row_without_end() {
            true => self.end(&mut found),
            false if self.unfinished() > 0 => found(CopyItem::Malformed(self.unfinished())),
            false => {}
        }
        self.restart();
    }

    /// Forgets an unfinished row: what is pushed next begins one. So it is in each message of a server, also behind one
    /// that was lost.
    pub fn restart(&mut self) {
        self.scanner.restart();
        self.forget();
    }

    fn unfinished(&self) -> u64 {
        self.dropped + self.carry.len() as u64
    }

    fn forget(&mut self) {
        self.carry.clear();
        self.dropped = 0;
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.dropped > 0 || self.carry.len().saturating_add(piece.len()) > self.longest {
            self.dropped = self.unfinished() + piece.len() as u64;
            self.carry = Vec::new();
        } else {
            self.carry.extend_from_slice(piece);
        }
    }

    /// Hands out what was kept.
    fn end(&mut self, found: &mut impl FnMut(CopyItem<'_>)) {
        if self.dropped > 0 {
            found(CopyItem::TooLong(self.dropped));
            self.is_header = false;
        } else if !self.carry.is_empty() {
            hand_out(&self.carry, &self.options, self.encoding, &mut self.is_header, found);
        }
        self.forget();
    }
}

fn hand_out(
    line: &[u8],
    options: &CopyOptions,
    encoding: Encoding,
    is_header: &mut bool,
    found: &mut impl FnMut(CopyItem<'_>),
) {
    let mut bytes = line;
    if options.format != CopyFormat::Binary {
        bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        // The mark of the end, which older clients send.
        if bytes == b"\\." {
            return;
        }
    }
    let row = CopyRow { bytes, options, encoding };
    found(if std::mem::take(is_header) { CopyItem::Header(row) } else { CopyItem::Row(row) });
}
