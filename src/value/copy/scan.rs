//! Detection of row boundaries in data that arrives in pieces.

use memchr::{memchr2, memchr3};

use crate::encoding::Encoding;
use crate::sql::statement::{CopyFormat, CopyOptions};

/// What ends with the scanned bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Row,
    /// Something outside of rows: the header or the trailer of the binary format.
    Nothing,
    /// A row whose beginning, or a part of it, was lost.
    Skipped,
    /// Invalid data, and everything after it.
    Rest,
}

/// The state between two pieces of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanner {
    Lines(Lines),
    Binary(Binary),
    /// JSON values, each in a message of its own.
    Json,
    /// No more rows can follow.
    Over,
}

impl Scanner {
    pub(super) fn new(options: &CopyOptions<'_>, encoding: Encoding) -> Self {
        match options.format {
            CopyFormat::Binary => Self::Binary(Binary::Signature { read: 0 }),
            CopyFormat::Json => Self::Json,
            CopyFormat::Text => Self::Lines(Lines::new(None, Some(b'\\'), encoding)),
            // A doubled quote needs no special treatment: it closes and reopens.
            CopyFormat::Csv if options.escape == options.quote => {
                Self::Lines(Lines::new(Some(options.quote), None, encoding))
            }
            CopyFormat::Csv => Self::Lines(Lines::new(Some(options.quote), Some(options.escape), encoding)),
        }
    }

    /// Returns whether bytes are one row and nothing else, as far as a quick check shows; nearly all messages of a server are. No
    /// row may be in progress before, and none is afterwards.
    #[inline]
    pub(super) fn is_row(&self, bytes: &[u8]) -> bool {
        matches!(self, Self::Lines(lines) if lines.is_row(bytes))
    }

    /// Returns how many bytes belong to what is in progress, and what ends with them, if anything.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let found = match self {
            Self::Lines(lines) => lines.scan(bytes),
            Self::Binary(binary) => binary.scan(bytes),
            Self::Json => scan_json(bytes),
            Self::Over => (bytes.len(), Some(End::Rest)),
        };
        if found.1 == Some(End::Rest) {
            *self = Self::Over;
        }
        found
    }

    /// Returns what is in progress at the end of the data.
    pub(super) fn finish(&mut self) -> End {
        match self {
            Self::Lines(Lines { in_quotes: false, line_end, .. }) => {
                // A line feed at the end of the row did not terminate it, so it is escaped.
                if *line_end != LineEnd::MaybeCr {
                    *line_end = LineEnd::Unknown;
                }
                End::Row
            }
            Self::Lines(_) | Self::Binary(_) | Self::Json | Self::Over => End::Rest,
        }
    }

    /// Begins a row.
    pub(super) const fn restart(&mut self) {
        match self {
            Self::Lines(lines) => lines.begin_row(),
            Self::Binary(binary) => *binary = Binary::START,
            Self::Json | Self::Over => {}
        }
    }

    /// Continues after a loss.
    pub(super) const fn resume(&mut self) {
        match self {
            Self::Lines(lines) if lines.quote.is_none() => {
                lines.begin_row();
                lines.lost = Some(None);
            }
            // A quoted field or a value may be incomplete.
            _ => *self = Self::Over,
        }
    }

    /// Returns whether rows may contain quotes, as in CSV.
    pub(super) const fn has_quotes(&self) -> bool {
        matches!(self, Self::Lines(Lines { quote: Some(_), .. }))
    }

    /// Returns a complete row without its line terminator.
    pub(super) fn without_end<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Lines(lines) => lines.without_end(row),
            // FORCE_ARRAY puts a space or a comma before each row.
            Self::Json => row.strip_prefix(b",").unwrap_or(row).trim_ascii(),
            Self::Binary(_) | Self::Over => row,
        }
    }
}

/// Scans a message of JSON. "Messages sent from the backend will always correspond to single data rows". A value may contain line
/// feeds from a column of type json. The brackets of FORCE_ARRAY are messages of their own.
fn scan_json(bytes: &[u8]) -> (usize, Option<End>) {
    match bytes.split_last() {
        Some((b'\n', b"[" | b"]")) => (bytes.len(), Some(End::Nothing)),
        Some((b'\n', _)) => (bytes.len(), Some(End::Row)),
        _ => (bytes.len(), None),
    }
}

/// The end-of-data marker, a line that older clients send after the last row.
pub(super) const MARK: &[u8] = b"\\.";

/// Rows that are terminated by the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// The quote character, in CSV.
    quote: Option<u8>,
    /// The escape character: anywhere in text, inside quotes in CSV.
    escape: Option<u8>,
    encoding: Encoding,
    line_end: LineEnd,
    in_quotes: bool,
    is_escaped: bool,
    /// Whether the next byte is the second of a character.
    skips: bool,
    /// Set after a loss until the end of a line is found, to the last byte.
    lost: Option<Option<u8>>,
}

/// How lines are terminated: all like the first one, otherwise it is an error ("File Formats").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Unknown,
    /// Not known yet, and the last byte was a carriage return: a line feed may belong to it.
    MaybeCr,
    Lf,
    CrLf,
    Cr,
}

impl Lines {
    const fn new(quote: Option<u8>, escape: Option<u8>, encoding: Encoding) -> Self {
        let line_end = LineEnd::Unknown;
        Self { quote, escape, encoding, line_end, in_quotes: false, is_escaped: false, skips: false, lost: None }
    }

    const fn begin_row(&mut self) {
        *self = Self { line_end: self.line_end, ..Self::new(self.quote, self.escape, self.encoding) };
    }

    fn scan(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        if let Some(last) = self.lost {
            return self.find_line_end(last, bytes);
        }
        let mut at = 0;
        while let Some(rest) = bytes.get(at..) {
            at += self.plain(rest);
            let Some(byte) = bytes.get(at).copied() else { break };
            if self.line_end == LineEnd::MaybeCr {
                self.line_end = if byte == b'\n' { LineEnd::CrLf } else { LineEnd::Cr };
                // The row ended before this byte, which does not belong to the line terminator.
                return (at + usize::from(byte == b'\n'), Some(End::Row));
            }
            at += 1;
            if self.ends_row(byte) {
                return (at, Some(End::Row));
            }
        }
        (bytes.len(), None)
    }

    /// Implements [`Scanner::is_row`] for lines terminated by line feeds.
    fn is_row(&self, bytes: &[u8]) -> bool {
        let Some((b'\n', row)) = bytes.split_last() else { return false };
        let Self { line_end, in_quotes, is_escaped, skips, lost, .. } = self;
        let is_between = *line_end == LineEnd::Lf && !(*in_quotes || *is_escaped || *skips) && lost.is_none();
        is_between && self.plain(bytes) == row.len() && row != MARK
    }

    /// Returns how many of the first bytes have no special meaning.
    fn plain(&self, bytes: &[u8]) -> usize {
        if self.encoding.has_second_bytes() || self.is_escaped || self.line_end == LineEnd::MaybeCr {
            return 0;
        }
        let special = match (self.quote, self.escape) {
            (Some(quote), escape) if self.in_quotes => memchr2(quote, escape.unwrap_or(quote), bytes),
            (Some(special), _) | (None, Some(special)) => memchr3(b'\n', b'\r', special, bytes),
            (None, None) => memchr2(b'\n', b'\r', bytes),
        };
        special.unwrap_or(bytes.len())
    }

    /// Processes a byte. Returns whether the row ends with it.
    fn ends_row(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.skips) {
            return false;
        }
        let is_escaped = std::mem::take(&mut self.is_escaped);
        if byte >= 0x80 {
            self.skips = self.encoding.has_second_byte(byte);
        } else if is_escaped {
        } else if Some(byte) == self.escape && (self.quote.is_none() || self.in_quotes) {
            self.is_escaped = true;
        } else if Some(byte) == self.quote {
            self.in_quotes = !self.in_quotes;
        } else if self.in_quotes {
        } else if byte == b'\n' && self.line_end != LineEnd::Cr {
            if self.line_end == LineEnd::Unknown {
                self.line_end = LineEnd::Lf;
            }
            return true;
        } else if byte == b'\r' && self.line_end == LineEnd::Unknown {
            self.line_end = LineEnd::MaybeCr;
        } else if byte == b'\r' {
            return self.line_end == LineEnd::Cr;
        }
        false
    }

    /// Searches for the end of a line after a loss. It is only accepted if the byte before it was captured and does not escape
    /// it.
    fn find_line_end(&mut self, mut last: Option<u8>, bytes: &[u8]) -> (usize, Option<End>) {
        let line_end = if self.line_end == LineEnd::Cr { b'\r' } else { b'\n' };
        for (byte, end) in bytes.iter().copied().zip(1..) {
            if byte == line_end && last.is_some_and(|last| last != b'\\') {
                self.lost = None;
                return (end, Some(End::Skipped));
            }
            last = Some(byte);
        }
        self.lost = Some(last);
        (bytes.len(), Some(End::Skipped))
    }

    fn without_end<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        let line_end: &[u8] = match self.line_end {
            LineEnd::Unknown => b"",
            LineEnd::Lf => b"\n",
            LineEnd::CrLf => b"\r\n",
            LineEnd::Cr | LineEnd::MaybeCr => b"\r",
        };
        row.strip_suffix(line_end).unwrap_or(row)
    }
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The binary format: a header; rows, each with its number of fields, and each field with its length; a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Signature {
        read: usize,
    },
    /// The flags and the length of the header extension. The latter determines how many bytes follow.
    Header {
        read: usize,
        number: u32,
    },
    Extension {
        left: u32,
    },
    Count {
        read: usize,
        number: u32,
    },
    Length {
        fields: u16,
        read: usize,
        number: u32,
    },
    Value {
        fields: u16,
        left: u32,
    },
    /// After the trailer.
    Trailer,
}

impl Binary {
    const START: Self = Self::Count { read: 0, number: 0 };

    fn scan(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (taken, end) = self.step(rest);
            at += taken;
            match end {
                Some(End::Rest) => return (bytes.len(), end),
                Some(_) => return (at, end),
                None => {}
            }
        }
        (at, None)
    }

    /// Consumes some of the bytes, of which there must be at least one.
    fn step(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let Some(byte) = bytes.first().copied() else { return (0, None) };
        let with = |number: u32| number << 8 | u32::from(byte);
        let mut end = None;
        let mut taken = 1;
        *self = match *self {
            Self::Signature { read } if SIGNATURE.get(read) != Some(&byte) => return (1, Some(End::Rest)),
            Self::Signature { read } if read + 1 < SIGNATURE.len() => Self::Signature { read: read + 1 },
            Self::Signature { .. } => Self::Header { read: 0, number: 0 },
            // "Bits 16–31 are reserved to denote critical file format issues", such as object IDs in rows.
            Self::Header { read: 3, number } if with(number) >> 16 != 0 => return (1, Some(End::Rest)),
            Self::Header { read, number } if read < 7 => Self::Header { read: read + 1, number: with(number) },
            Self::Header { number, .. } => match with(number) {
                0 => {
                    end = Some(End::Nothing);
                    Self::START
                }
                left => Self::Extension { left },
            },
            Self::Extension { left } => {
                let skipped = bytes.len().min(left as usize);
                taken = skipped;
                match left - skipped as u32 {
                    0 => {
                        end = Some(End::Nothing);
                        Self::START
                    }
                    left => Self::Extension { left },
                }
            }
            Self::Count { read: 0, number } => Self::Count { read: 1, number: with(number) },
            Self::Count { number, .. } => match with(number) {
                0xffff => {
                    end = Some(End::Nothing);
                    Self::Trailer
                }
                0 => {
                    end = Some(End::Row);
                    Self::START
                }
                fields @ 1..=0x7fff => Self::Length { fields: fields as u16, read: 0, number: 0 },
                _ => return (1, Some(End::Rest)),
            },
            Self::Length { fields, read, number } if read < 3 => {
                Self::Length { fields, read: read + 1, number: with(number) }
            }
            Self::Length { fields, number, .. } => match with(number) {
                u32::MAX | 0 => Self::behind_field(fields, &mut end),
                left if left > i32::MAX as u32 => return (1, Some(End::Rest)),
                left => Self::Value { fields, left },
            },
            Self::Value { fields, left } => {
                taken = bytes.len().min(left as usize);
                match left - taken as u32 {
                    0 => Self::behind_field(fields, &mut end),
                    left => Self::Value { fields, left },
                }
            }
            Self::Trailer => return (1, Some(End::Rest)),
        };
        (taken, end)
    }

    const fn behind_field(fields: u16, end: &mut Option<End>) -> Self {
        if fields > 1 {
            Self::Length { fields: fields - 1, read: 0, number: 0 }
        } else {
            *end = Some(End::Row);
            Self::START
        }
    }
}
