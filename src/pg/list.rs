//! Lists inside a message: validated when the message is decoded, then decoded item by item, without a copy.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::row::Format;
use crate::encoding::Encoding;
use crate::reader::{DecodeError, Reader};

/// A type that can be decoded from the wire.
pub trait Decode<'a>: Sized {
    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// Describes what was missing, and where.
    #[doc(hidden)]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// Consecutive items of one type.
#[derive(Clone, Copy, Debug)]
pub struct List<'a, T> {
    bytes: &'a [u8],
    count: usize,
    cut: bool,
    encoding: Encoding,
    has_metadata: bool,
    items: PhantomData<fn() -> T>,
}

impl<'a, T: Decode<'a>> List<'a, T> {
    /// Decodes `count` items; fewer if the reader's input is cut off.
    ///
    /// # Errors
    ///
    /// The error of the first item that cannot be decoded.
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>, count: usize) -> Result<Self, DecodeError> {
        let start = reader.position();
        let mut end = start;
        let mut read = 0;
        // A string after the cut would decode as empty any number of times, but is not an item.
        while read < count && !(reader.is_cut() && reader.is_empty()) {
            match T::decode(reader) {
                Ok(_) => read += 1,
                Err(_) if reader.is_cut() => break,
                Err(error) => return Err(error),
            }
            end = reader.position();
        }
        let mut bytes = reader.since(start);
        if read < count {
            // The rest is the beginning of an item, and must not be interpreted as what follows the list.
            bytes = bytes.get(..end - start).unwrap_or_default();
            reader.rest();
        }
        Ok(Self {
            bytes,
            count: read,
            cut: reader.is_cut(),
            encoding: reader.encoding(),
            has_metadata: reader.has_metadata(),
            items: PhantomData,
        })
    }

    /// Decodes an Int16 count and that many items.
    ///
    /// # Errors
    ///
    /// The count is missing, or an item cannot be decoded.
    #[inline]
    pub(crate) fn counted(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let count = match reader.u16(what) {
            Ok(count) => count.into(),
            Err(_) if reader.is_cut() => {
                reader.rest();
                0
            }
            Err(error) => return Err(error),
        };
        Self::decode(reader, count)
    }

    /// Iterates over the items.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut reader = self.reader();
        (0..self.count).map_while(move |_| T::decode(&mut reader).ok())
    }
}

impl<'a, T> List<'a, T> {
    /// Returns a reader of the items.
    pub(super) const fn reader(&self) -> Reader<'a> {
        let reader = if self.cut { Reader::cut(self.bytes) } else { Reader::new(self.bytes) };
        reader.with_encoding(self.encoding).with_metadata(self.has_metadata)
    }
}

impl<T> List<'_, T> {
    /// Returns the number of items.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Returns whether the list is cut off: whatever follows the last item, and possibly the end of that item, is missing.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns whether the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns whether the items are columns with Redshift's metadata.
    pub const fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// Returns the encoding of the texts in the list.
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }
}

/// The properties of a [`List`] other than its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListShape {
    count: usize,
    cut: bool,
    encoding: Encoding,
    has_metadata: bool,
}

impl<'a, T> List<'a, T> {
    /// Returns the properties of the list other than its bytes.
    pub(crate) const fn shape(&self) -> ListShape {
        let Self { count, cut, encoding, has_metadata, .. } = *self;
        ListShape { count, cut, encoding, has_metadata }
    }

    /// Restores a list from its bytes and shape.
    pub(crate) const fn from_parts(bytes: &'a [u8], shape: ListShape) -> Self {
        let ListShape { count, cut, encoding, has_metadata } = shape;
        Self { bytes, count, cut, encoding, has_metadata, items: PhantomData }
    }

    /// Returns the items as they are on the wire.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self { bytes: &[], count: 0, cut: false, encoding: Encoding::UTF8, has_metadata: false, items: PhantomData }
    }
}

impl<'a, T: Decode<'a> + Serialize> Serialize for List<'a, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<T: JsonSchema> JsonSchema for List<'_, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("List_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<T>::json_schema(generator)
    }
}

/// A copy of a [`List`] that outlives the message. Its buffer is reused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptList {
    bytes: Vec<u8>,
    count: usize,
    cut: bool,
    encoding: Encoding,
    has_metadata: bool,
}

impl KeptList {
    /// Copies a list, replacing the one stored before.
    pub fn keep<T>(&mut self, list: &List<'_, T>) {
        self.clear();
        self.bytes.extend_from_slice(list.bytes);
        (self.count, self.cut, self.encoding) = (list.count, list.cut, list.encoding);
        self.has_metadata = list.has_metadata;
    }

    /// Stores a list of one format code.
    pub fn keep_one(&mut self, format: Format) {
        self.clear();
        self.bytes.extend_from_slice(&format.0.to_be_bytes());
        self.count = 1;
    }

    /// Returns whether the stored list equals `list`.
    pub fn is<T>(&self, list: &List<'_, T>) -> bool {
        let is_alike = self.encoding == list.encoding && self.has_metadata == list.has_metadata;
        self.bytes == list.bytes && self.count == list.count && is_alike
    }

    /// Removes the stored list.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.count, self.cut, self.encoding, self.has_metadata) = (0, false, Encoding::UTF8, false);
    }

    /// Returns the stored list. `T` must be the item type that it was stored with.
    pub fn get<'a, T: Decode<'a>>(&'a self) -> List<'a, T> {
        let Self { count, cut, encoding, has_metadata, .. } = *self;
        List { bytes: &self.bytes, count, cut, encoding, has_metadata, items: PhantomData }
    }

    /// Returns the size of the stored list in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// The object ID of a type, table or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Oid(pub u32);

impl Decode<'_> for Oid {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u32("object ID").map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_larger_than_the_message_is_an_error_and_allocates_nothing() {
        let mut reader = Reader::new(&[0xff, 0xff, 0, 0, 0, 1]);
        let error = List::<Oid>::counted(&mut reader, "count").unwrap_err();
        assert_eq!(error.to_string(), "object ID at byte 6: wanted 4 bytes, had 0 bytes");
    }

    #[test]
    fn a_cut_list_has_the_items_that_are_whole() {
        let mut reader = Reader::cut(&[0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]);
        let list = List::<Oid>::counted(&mut reader, "count").unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [Oid(1), Oid(2)]);
        assert!(reader.is_empty(), "the half item is not taken for something else");
    }
}
