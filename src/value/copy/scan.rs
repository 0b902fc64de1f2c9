//! Where rows end, in bytes that come in pieces.

use super::{CopyFormat, CopyOptions};
use crate::encoding::Encoding;

/// What ends with the bytes that were scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Row,
    /// Something that is no row: the header and the trailer of the binary format.
    Nothing,
    /// What cannot be; all that follows is the same.
    Malformed,
}

/// What is remembered from one piece to the next.
#[derive(Debug)]
pub(super) enum Scanner {
    Lines(Lines),
    Binary(Binary),
}

impl Scanner {
    pub(super) fn new(options: &CopyOptions, encoding: Encoding) -> Self {
        match options.format {
            CopyFormat::Binary => Self::Binary(Binary::Signature { read: 0 }),
            format => {
                let quote = (format == CopyFormat::Csv).then_some(options.quote);
                // A doubled quote needs no care: it closes and opens.
                let escape = match quote {
                    None => Some(b'\\'),
                    Some(quote) => Some(options.escape).filter(|escape| *escape != quote),
                };
                Self::Lines(Lines { quote, escape, encoding, in_quotes: false, is_escaped: false, skips: false })
            }
        }
    }

    /// How many bytes belong to what has begun, and what ends with them, if anything.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        match self {
            Self::Lines(lines) => match lines.scan(bytes) {
                Some(length) => (length, Some(End::Row)),
                None => (bytes.len(), None),
            },
            Self::Binary(binary) => binary.scan(bytes),
        }
    }

    /// Whether what has begun is a row if nothing follows.
    pub(super) const fn is_row_without_end(&self) -> bool {
        matches!(self, Self::Lines(Lines { in_quotes: false, .. }))
    }

    /// Begins a row.
    pub(super) const fn restart(&mut self) {
        match self {
            Self::Lines(lines) => {
                lines.in_quotes = false;
                lines.is_escaped = false;
                lines.skips = false;
            }
            Self::Binary(binary) => *binary = Binary::START,
        }
    }
}

/// Rows that end with a line.
#[derive(Debug)]
pub(super) struct Lines {
    /// What opens and closes quotes, in CSV.
    quote: Option<u8>,
    /// What takes the meaning from the byte behind it: in text anywhere, in CSV inside quotes.
    escape: Option<u8>,
    encoding: Encoding,
    in_quotes: bool,
    is_escaped: bool,
    /// Whether the next byte is the second of a character.
    skips: bool,
}

impl Lines {
    /// Where the row ends, behind its line feed.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        for (byte, end) in bytes.iter().copied().zip(1..) {
            if std::mem::take(&mut self.skips) {
                continue;
            }
            let is_escaped = std::mem::take(&mut self.is_escaped);
            if byte >= 0x80 {
                self.skips = self.encoding.has_second_byte(byte);
            } else if is_escaped {
                continue;
            } else if Some(byte) == self.escape && (self.quote.is_none() || self.in_quotes) {
                self.is_escaped = true;
            } else if Some(byte) == self.quote {
                self.in_quotes = !self.in_quotes;
            } else if byte == b'\n' && !self.in_quotes {
                return Some(end);
            }
        }
        None
    }
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// A header; rows, of which each has the number of its fields, and each field its length; a trailer.
#[derive(Debug)]
pub(super) enum Binary {
    Signature {
        read: usize,
    },
    /// Flags, and the length of an extension: the header's numbers, of which the last is how much follows.
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
    Malformed,
}

impl Binary {
    const START: Self = Self::Count { read: 0, number: 0 };

    fn scan(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (taken, end) = self.step(rest);
            at += taken;
            if end.is_some() {
                return (at, end);
            }
        }
        (at, None)
    }

    /// Takes some of the bytes, of which there is one at least.
    fn step(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let Some(byte) = bytes.first().copied() else { return (0, None) };
        let with = |number: u32| number << 8 | u32::from(byte);
        let mut end = None;
        let mut taken = 1;
        *self = match *self {
            Self::Signature { read } if SIGNATURE.get(read) != Some(&byte) => {
                // Without a header, from the middle: it might be a row.
                end = Some(End::Malformed);
                Self::Malformed
            }
            Self::Signature { read } if read + 1 < SIGNATURE.len() => Self::Signature { read: read + 1 },
            Self::Signature { .. } => Self::Header { read: 0, number: 0 },
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
                    Self::START
                }
                0 => {
                    end = Some(End::Row);
                    Self::START
                }
                fields @ 1..=0x7fff => Self::Length { fields: fields as u16, read: 0, number: 0 },
                _ => {
                    end = Some(End::Malformed);
                    Self::Malformed
                }
            },
            Self::Length { fields, read, number } if read < 3 => {
                Self::Length { fields, read: read + 1, number: with(number) }
            }
            Self::Length { fields, number, .. } => match with(number) {
                u32::MAX | 0 => Self::behind_field(fields, &mut end),
                left if left > i32::MAX as u32 => {
                    end = Some(End::Malformed);
                    Self::Malformed
                }
                left => Self::Value { fields, left },
            },
            Self::Value { fields, left } => {
                taken = bytes.len().min(left as usize);
                match left - taken as u32 {
                    0 => Self::behind_field(fields, &mut end),
                    left => Self::Value { fields, left },
                }
            }
            Self::Malformed => {
                taken = bytes.len();
                end = Some(End::Malformed);
                Self::Malformed
            }
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
