//! A bounds-checked cursor over bytes from the wire. This is the only module that indexes into them.
//!
//! Every read has a description, so that an error can state the position, and what was expected and found.

use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::encoding::Encoding;

/// A cursor over a borrowed slice.
///
/// A reader may be *cut*: its bytes are a prefix of something longer, the rest of which was not captured or not kept. Strings and
/// values that reach the cut are then returned as far as they go; numbers still need all their bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    cut: bool,
    encoding: Encoding,
    has_metadata: bool,
}

impl<'a> Reader<'a> {
    /// Creates a reader of complete bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, cut: false, encoding: Encoding::UTF8, has_metadata: false }
    }

    /// Creates a reader of a prefix of something longer.
    pub const fn cut(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, cut: true, encoding: Encoding::UTF8, has_metadata: false }
    }

    /// Sets the encoding of strings.
    pub const fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Sets whether Redshift's metadata follows each column.
    pub const fn with_metadata(mut self, has_metadata: bool) -> Self {
        self.has_metadata = has_metadata;
        self
    }

    /// Returns whether Redshift's metadata follows each column.
    pub const fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// Returns the encoding of strings; UTF-8 by default.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns whether the bytes are a prefix of something longer.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns the number of bytes read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Returns the number of remaining bytes.
    pub const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Returns whether no bytes remain.
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Returns the remaining bytes without reading them.
    pub fn peek_rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads the remaining bytes.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.peek_rest();
        self.at = self.bytes.len();
        rest
    }

    /// Returns the bytes read since `from`, an earlier [`Reader::position`].
    pub fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or_default()
    }

    /// Reads `N` bytes.
    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        match self.peek_rest().first_chunk::<N>() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.short(what, N)),
        }
    }

    /// Reads `count` bytes.
    ///
    /// # Errors
    ///
    /// Fewer remain.
    #[inline]
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.peek_rest().get(..count) {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None => Err(self.short(what, count)),
        }
    }

    /// Reads `count` bytes, or all up to the cut.
    ///
    /// # Errors
    ///
    /// Fewer remain, and the reader is not cut.
    #[inline]
    pub fn take_to_cut(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if self.cut && self.remaining() < count { Ok(self.rest()) } else { self.take(count, what) }
    }

    /// Reads an Int32 and that many bytes; `None` if not all of them are there.
    #[inline]
    pub fn sized(&mut self) -> Option<&'a [u8]> {
        let (len, after) = self.peek_rest().split_first_chunk()?;
        let bytes = after.get(..u32::from_be_bytes(*len) as usize)?;
        self.at += size_of::<u32>() + bytes.len();
        Some(bytes)
    }

    /// Reads a byte.
    ///
    /// # Errors
    ///
    /// None remains.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_be_bytes)
    }

    /// Reads an Int16 as an unsigned number, such as a count.
    ///
    /// # Errors
    ///
    /// Fewer than two bytes remain.
    #[inline]
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Reads an Int16.
    ///
    /// # Errors
    ///
    /// Fewer than two bytes remain.
    #[inline]
    pub fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// Reads an Int32 as an unsigned number, such as an object ID.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes remain.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Reads an Int32.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes remain.
    #[inline]
    pub fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// Reads an Int64 as an unsigned number.
    ///
    /// # Errors
    ///
    /// Fewer than eight bytes remain.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Reads an Int64.
    ///
    /// # Errors
    ///
    /// Fewer than eight bytes remain.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// Reads a String: the bytes up to a zero byte, which is consumed but not returned; or up to the cut.
    ///
    /// # Errors
    ///
    /// There is no zero byte, and the reader is not cut.
    #[inline]
    pub fn cstr(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = self.peek_rest();
        // Many names are empty.
        let end = if rest.first() == Some(&0) { Some(0) } else { memchr::memchr(0, rest) };
        match end {
            Some(end) => {
                self.at += end + 1;
                Ok(rest.get(..end).unwrap_or_default())
            }
            None if self.cut => Ok(self.rest()),
            None => Err(DecodeError { what, at: self.at, wanted: Wanted::Terminator, had: Had::Bytes(rest.len()) }),
        }
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    ///
    /// Bytes remain, and the reader is not cut.
    #[inline]
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.is_empty() || self.cut {
            Ok(())
        } else {
            Err(DecodeError { what, at: self.at, wanted: Wanted::End, had: Had::Bytes(self.remaining()) })
        }
    }

    /// Creates an error about a value that was read at `at`.
    pub fn unexpected(at: usize, what: &'static str, wanted: &'static str, had: i64) -> DecodeError {
        DecodeError { what, at, wanted: Wanted::Value(wanted), had: Had::Value(had) }
    }

    #[cold]
    const fn short(&self, what: &'static str, wanted: usize) -> DecodeError {
        DecodeError { what, at: self.at, wanted: Wanted::Bytes(wanted), had: Had::Bytes(self.remaining()) }
    }
}

/// Why bytes could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, thiserror::Error)]
#[error("{what} at byte {at}: wanted {wanted}, had {had}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// The position: the offset from the first of the bytes that are written in hex.
    pub at: usize,
    /// What was expected there.
    pub wanted: Wanted,
    /// What was found.
    pub had: Had,
}

impl DecodeError {
    /// Returns the error without the number that was found, which may be part of any data.
    #[must_use]
    pub const fn masked(self) -> Self {
        let had = if let Had::Value(_) = self.had { Had::Masked } else { self.had };
        Self { had, ..self }
    }
}

/// What a read expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline)]
pub enum Wanted {
    /// This number of bytes.
    Bytes(usize),
    /// A zero byte that terminates a string.
    Terminator,
    /// The end of the message.
    End,
    /// A value, as a description.
    Value(&'static str),
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline)]
pub enum Had {
    /// This number of bytes.
    Bytes(usize),
    /// A number.
    Value(i64),
    /// A number that is not written.
    Masked,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(count) => write_bytes(f, *count),
            Self::Terminator => f.write_str("a zero byte"),
            Self::End => f.write_str("the end of the message"),
            Self::Value(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Had {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(count) => write_bytes(f, *count),
            Self::Value(value) => write!(f, "{value}"),
            Self::Masked => f.write_str("***"),
        }
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    write!(f, "{count} byte{}", if count == 1 { "" } else { "s" })
}

impl Serialize for Wanted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Had {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_position_what_was_wanted_and_what_was_found() {
        let mut reader = Reader::new(&[0, 1, 2]);
        assert_eq!(reader.u16("count"), Ok(1));
        let error = reader.i32("length").unwrap_err();
        assert_eq!(error.to_string(), "length at byte 2: wanted 4 bytes, had 1 byte");
        assert_eq!(reader.remaining(), 1, "a failed read takes nothing");
        assert_eq!(reader.cstr("name").unwrap_err().to_string(), "name at byte 2: wanted a zero byte, had 1 byte");
        assert_eq!(
            reader.finish("Query").unwrap_err().to_string(),
            "Query at byte 2: wanted the end of the message, had 1 byte"
        );
    }

    #[test]
    fn a_cut_reader_returns_partial_texts_and_values_but_no_partial_numbers() {
        let mut reader = Reader::cut(b"abc\0def");
        assert_eq!(reader.cstr("name"), Ok(&b"abc"[..]));
        assert_eq!(reader.cstr("name"), Ok(&b"def"[..]));
        assert_eq!(reader.take_to_cut(9, "value"), Ok(&b""[..]));
        assert!(reader.u16("count").is_err());
        assert_eq!(reader.finish("Query"), Ok(()));
    }

    #[test]
    fn lengths_up_to_the_largest_are_refused_without_overflow() {
        let mut reader = Reader::new(b"ab");
        reader.u8("first").unwrap();
        assert!(reader.take(usize::MAX, "value").is_err());
        assert_eq!(reader.rest(), b"b");
        assert!(reader.is_empty());
    }
}
