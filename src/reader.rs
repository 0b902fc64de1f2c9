//! A bounds-checked cursor over bytes from the wire: the only place that indexes into them.
//!
//! Every read names what it reads, so that an error can say where, what was wanted and what was there.

use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::encoding::Encoding;

/// A cursor over a borrowed slice.
///
/// A reader may be *cut*: the bytes that it has are the beginning of something longer, of which the rest was not captured
/// or not kept. Texts and values that reach the cut are then given as far as they go; numbers still need all their bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    cut: bool,
    encoding: Encoding,
    has_metadata: bool,
}

impl<'a> Reader<'a> {
    /// A reader of bytes that are all there.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, cut: false, encoding: Encoding::UTF8, has_metadata: false }
    }

    /// A reader of the beginning of something longer.
    pub const fn cut(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, cut: true, encoding: Encoding::UTF8, has_metadata: false }
    }

    /// The same reader, of bytes whose texts have an encoding.
    pub const fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The same reader, of columns that have Redshift's metadata behind each, or not.
    pub const fn with_metadata(mut self, has_metadata: bool) -> Self {
        self.has_metadata = has_metadata;
        self
    }

    /// Whether columns have Redshift's metadata behind each.
    pub const fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// The encoding of the texts: UTF-8 where nothing else was said.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether the bytes are only the beginning of something longer.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// How many bytes were read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The bytes that are left, without reading them.
    pub fn peek_rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.peek_rest();
        self.at = self.bytes.len();
        rest
    }

    /// The bytes that were read since `from`, an earlier [`Reader::position`].
    pub fn since(&self, from: usize) -> &'a [u8] {
        self.bytes.get(from..self.at).unwrap_or_default()
    }

    /// The next `N` bytes.
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

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// Fewer are left.
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

    /// The next `count` bytes, or what there is of them before a cut.
    ///
    /// # Errors
    ///
    /// Fewer are left, and the reader is not cut.
    #[inline]
    pub fn take_to_cut(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if self.cut && self.remaining() < count { Ok(self.rest()) } else { self.take(count, what) }
    }

    /// Bytes behind an Int32 that says how many they are, where they are all there.
    #[inline]
    pub fn sized(&mut self) -> Option<&'a [u8]> {
        let (len, behind) = self.peek_rest().split_first_chunk()?;
        let bytes = behind.get(..u32::from_be_bytes(*len) as usize)?;
        self.at += size_of::<u32>() + bytes.len();
        Some(bytes)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// None is left.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_be_bytes)
    }

    /// An Int16, unsigned: a count.
    ///
    /// # Errors
    ///
    /// Fewer than two bytes are left.
    #[inline]
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// An Int16.
    ///
    /// # Errors
    ///
    /// Fewer than two bytes are left.
    #[inline]
    pub fn i16(&mut self, what: &'static str) -> Result<i16, DecodeError> {
        self.array(what).map(i16::from_be_bytes)
    }

    /// An Int32, unsigned: an object ID, a code.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes are left.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// An Int32.
    ///
    /// # Errors
    ///
    /// Fewer than four bytes are left.
    #[inline]
    pub fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        self.array(what).map(i32::from_be_bytes)
    }

    /// An Int64, unsigned.
    ///
    /// # Errors
    ///
    /// Fewer than eight bytes are left.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// An Int64.
    ///
    /// # Errors
    ///
    /// Fewer than eight bytes are left.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// A String: bytes up to a zero byte, which is read and left out; or up to the cut.
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

    /// Asserts that everything was read.
    ///
    /// # Errors
    ///
    /// Bytes are left over, and the reader is not cut.
    #[inline]
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.is_empty() || self.cut {
            Ok(())
        } else {
            Err(DecodeError { what, at: self.at, wanted: Wanted::End, had: Had::Bytes(self.remaining()) })
        }
    }

    /// An error about a value that was read from `at`.
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
    /// Where: the offset from the first of the bytes that are given in hex.
    pub at: usize,
    /// What was wanted there.
    pub wanted: Wanted,
    /// What was there.
    pub had: Had,
}

impl DecodeError {
    /// The error without the number that was there, which may be a part of anything.
    #[must_use]
    pub const fn masked(self) -> Self {
        let had = if let Had::Value(_) = self.had { Had::Masked } else { self.had };
        Self { had, ..self }
    }
}

/// What a read wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline)]
pub enum Wanted {
    /// So many bytes.
    Bytes(usize),
    /// A zero byte that ends a string.
    Terminator,
    /// The end of the message.
    End,
    /// A value, in words.
    Value(&'static str),
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline)]
pub enum Had {
    /// So many bytes.
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
    fn an_error_says_where_what_was_wanted_and_what_was_there() {
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
    fn a_cut_reader_gives_texts_and_values_as_far_as_they_go_but_no_half_numbers() {
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
