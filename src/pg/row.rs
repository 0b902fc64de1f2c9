//! Rows: their description, their values, and the format of each value.

use std::{fmt, slice};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::keys::UniqueKeys;
use super::list::{Decode, KeptList, List, Oid};
use super::text::{Bytea, Rest, Secret, Text, inline_schema};
use crate::encoding::Encoding;
use crate::reader::{DecodeError, Reader};
use crate::redaction::{Redaction, Shape};
use crate::sql::secret::Parameters;
use crate::value::{self, Settings, TypedValue};

/// A format code: 0 for text, 1 for binary. Written as `"text"`, `"binary"`, or the number if it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(pub i16);

impl Format {
    /// The text format of a type.
    pub const TEXT: Self = Self(0);
    /// The binary format of a type.
    pub const BINARY: Self = Self(1);

    /// Returns the format of values with this code.
    pub(crate) const fn of_value(self) -> Option<value::Format> {
        match self {
            Self::TEXT => Some(value::Format::Text),
            Self::BINARY => Some(value::Format::Binary),
            _ => None,
        }
    }
}

impl Decode<'_> for Format {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.i16("format code").map(Self)
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::TEXT => serializer.serialize_str("text"),
            Self::BINARY => serializer.serialize_str("binary"),
            Self(other) => serializer.collect_str(&other),
        }
    }
}

inline_schema!(Format, "Format", |_: &mut SchemaGenerator| json_schema!({
    "anyOf": [{ "enum": ["text", "binary"] }, { "type": "string", "pattern": "^-?[0-9]+$" }],
}));

/// The formats of a list of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formats<'a> {
    /// The message that specifies them was not captured.
    #[default]
    Unknown,
    /// The same for all.
    All(Format),
    /// One for each, as they are on the wire.
    Each(&'a [u8]),
}

impl<'a> Formats<'a> {
    /// Returns the formats that a list of codes specifies: "zero … the default format (text) …; or one, in which case the
    /// specified format code is applied to all …; or it can equal the actual number" (Bind).
    pub fn from_codes(codes: List<'a, Format>) -> Self {
        match codes.len() {
            0 => Self::All(Format::TEXT),
            1 => codes.iter().next().map_or(Self::Unknown, Self::All),
            _ => Self::Each(codes.as_bytes()),
        }
    }

    /// Returns the format of the value at an index.
    pub fn get(self, index: usize) -> Option<Format> {
        match self {
            Self::Unknown => None,
            Self::All(format) => Some(format),
            Self::Each(codes) => {
                let code = codes.get(2 * index..)?.first_chunk()?;
                Some(Format(i16::from_be_bytes(*code)))
            }
        }
    }

    /// Returns whether the formats are unknown.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// RowDescription: the columns of the rows that follow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RowDescription<'a> {
    /// The columns.
    pub fields: List<'a, Field<'a>>,
    /// Bytes after the columns that can be decoded, as in forks with another form of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest<'a>>,
}

/// Whether columns may contain Redshift's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// They do not.
    #[default]
    None,
    /// Unknown: the messages that would show it were not captured.
    Possible,
    /// The client has requested it, and some responses contain it.
    Announced,
}

impl<'a> RowDescription<'a> {
    #[inline]
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        metadata: Metadata,
        redaction: Redaction,
    ) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let fields = List::counted(reader, "number of fields");
        // The form of a message that is cut off cannot be determined.
        let is_certain = !(reader.is_cut() && metadata == Metadata::Announced);
        if metadata == Metadata::None || is_certain && fields.is_ok() && reader.finish("").is_ok() {
            return Ok(Self { fields: fields?, rest: None });
        }
        Self::decode_fork(reader, start, metadata, redaction, fields)
    }

    /// Decodes columns with metadata, if these make up the whole message. Otherwise, if metadata was announced, decodes the first
    /// column, which begins like any other.
    #[cold]
    fn decode_fork(
        reader: &mut Reader<'a>,
        start: Reader<'a>,
        metadata: Metadata,
        redaction: Redaction,
        plain: Result<List<'a, Field<'a>>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut with_metadata = start.clone().with_metadata(true);
        if !start.is_cut()
            && let Ok(fields) = List::counted(&mut with_metadata, "number of fields")
            && with_metadata.is_empty()
        {
            reader.rest();
            return Ok(Self { fields, rest: None });
        }
        let mut first = start;
        if metadata == Metadata::Announced
            && first.u16("number of fields").is_ok()
            && let Ok(fields) = List::decode(&mut first, 1)
        {
            reader.rest();
            return Ok(Self { fields, rest: Some(Rest { bytes: first.rest(), redaction }) });
        }
        Ok(Self { fields: plain?, rest: None })
    }
}

/// A copy of the column descriptions, for the rows that follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowShape {
    fields: KeptList,
    /// The formats, encoded as in Bind.
    codes: Vec<u8>,
    /// The types, encoded as in ParameterDescription.
    types: Vec<u8>,
}

impl RowShape {
    /// Copies columns, replacing those stored before.
    pub fn keep(&mut self, description: &RowDescription<'_>) {
        self.fields.keep(&description.fields);
        self.codes.clear();
        self.types.clear();
        for field in description.fields.iter() {
            self.codes.extend_from_slice(&field.format.0.to_be_bytes());
            self.types.extend_from_slice(&field.type_oid.0.to_be_bytes());
        }
    }

    /// Returns whether these columns equal the stored ones.
    pub fn is(&self, description: &RowDescription<'_>) -> bool {
        self.fields.is(&description.fields)
    }

    /// Returns whether the body of a RowDescription, in this encoding, describes the stored columns.
    pub fn is_body(&self, body: &[u8], encoding: Encoding) -> bool {
        let fields = self.fields();
        body.split_first_chunk().is_some_and(|(count, items)| {
            usize::from(u16::from_be_bytes(*count)) == fields.len()
                && items == fields.as_bytes()
                && !fields.is_cut()
                && !fields.has_metadata()
                && fields.encoding() == encoding
        })
    }

    /// Returns the columns.
    pub fn fields(&self) -> List<'_, Field<'_>> {
        self.fields.get()
    }

    /// Returns the formats of the columns. They apply to the rows, except after Describe of a statement: then the formats are not
    /// known yet, and reported as text.
    pub fn formats(&self) -> Formats<'_> {
        Formats::Each(&self.codes)
    }

    /// Returns the types of the columns.
    pub fn types(&self) -> Types<'_> {
        Types(&self.types)
    }
}

/// One column.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Field<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// The object ID of its table; 0 if it is not a table's column.
    pub table_oid: Oid,
    /// The attribute number in that table; 0 if it is not a table's column.
    pub attribute_number: i16,
    /// The object ID of its type.
    pub type_oid: Oid,
    /// The size of its type in bytes; negative if it varies.
    pub type_size: i16,
    /// The type modifier, such as a length; -1 for none.
    pub type_modifier: i32,
    /// The format of its values.
    pub format: Format,
    /// Redshift's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ColumnMetadata<'a>>,
}

impl<'a> Decode<'a> for Field<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let metadata =
            |reader: &mut Reader<'a>| reader.has_metadata().then(|| ColumnMetadata::decode(reader)).transpose();
        Ok(Self {
            name: Text::decode(reader, "field name")?,
            table_oid: Oid(reader.u32("table object ID")?),
            attribute_number: reader.i16("attribute number")?,
            type_oid: Oid(reader.u32("type object ID")?),
            type_size: reader.i16("type size")?,
            type_modifier: reader.i32("type modifier")?,
            format: Format(reader.i16("format code")?),
            metadata: metadata(reader)?,
        })
    }
}

/// The metadata of a column, "extended result metadata" in the source code of Redshift's drivers, which request it with the
/// parameter `client_protocol_version`.
#[derive(Clone, Copy, Debug)]
pub struct ColumnMetadata<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    flags: u16,
}

impl<'a> ColumnMetadata<'a> {
    const NAMES: [&'static str; 4] = ["schema_name", "table_name", "column_name", "catalog_name"];
    const FLAGS: [(&'static str, u32); 4] =
        [("nullable", 0), ("autoincrement", 4), ("read_only", 8), ("searchable", 12)];

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = reader.position();
        for name in Self::NAMES {
            reader.cstr(name)?;
        }
        Ok(Self { bytes: reader.since(start), encoding: reader.encoding(), flags: reader.u16("flags of a column")? })
    }

    /// Returns the names of the column's origin.
    pub fn names(self) -> [(&'static str, Text<'a>); 4] {
        let mut reader = Reader::new(self.bytes);
        Self::NAMES.map(|name| (name, Text(reader.cstr(name).unwrap_or_default(), self.encoding)))
    }

    /// Returns the flags of the column.
    pub fn flags(self) -> [(&'static str, bool); 4] {
        Self::FLAGS.map(|(name, bit)| (name, self.flags >> bit & 1 == 1))
    }
}

impl Serialize for ColumnMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.names() {
            map.serialize_entry(name, &value)?;
        }
        for (name, value) in self.flags() {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

inline_schema!(ColumnMetadata<'_>, "ColumnMetadata", |generator: &mut SchemaGenerator| {
    let text = Text::json_schema(generator);
    let names = ColumnMetadata::NAMES.map(|name| (name.to_owned(), text.clone().into()));
    let flags = ColumnMetadata::FLAGS.map(|(name, _)| (name.to_owned(), serde_json::json!({ "type": "boolean" })));
    let properties: serde_json::Map<_, _> = names.into_iter().chain(flags).collect();
    json_schema!({ "type": "object", "properties": properties })
});

/// DataRow: the values of one row.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DataRow<'a> {
    /// The values, one for each column.
    pub values: Values<'a>,
}

impl<'a> DataRow<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let list = List::counted(reader, "number of columns")?;
        Ok(Self { values: Values::new(list, Formats::Unknown, redaction) })
    }
}

/// A value as it is on the wire; `None` if it is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(pub Option<&'a [u8]>);

impl<'a> Decode<'a> for Value<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.sized() {
            Some(bytes) => Ok(Self(Some(bytes))),
            None => Self::decode_uncommon(reader),
        }
    }
}

impl<'a> Value<'a> {
    /// Decodes a value that is NULL or incomplete.
    #[inline(never)]
    fn decode_uncommon(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = reader.position();
        match reader.i32("length of a value")? {
            -1 => Ok(Self(None)),
            len => match usize::try_from(len) {
                Ok(len) => Ok(Self(Some(reader.take_to_cut(len, "value")?))),
                Err(_) => Err(Reader::unexpected(at, "length of a value", "-1 or more", len.into())),
            },
        }
    }
}

/// The types of a list of values: object IDs as they are on the wire. An unknown type is 0, or beyond the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Types<'a>(&'a [u8]);

impl<'a> Types<'a> {
    /// Returns the types in a list of object IDs.
    pub const fn from_oids(oids: &List<'a, Oid>) -> Self {
        Self(oids.as_bytes())
    }

    /// Returns the types as they are on the wire.
    pub(crate) const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Creates the types from their form on the wire.
    pub(crate) const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the type of the value at an index; 0 if it is not known.
    pub fn get(self, index: usize) -> u32 {
        self.0.get(4 * index..).and_then(|types| types.first_chunk()).map_or(0, |oid| u32::from_be_bytes(*oid))
    }
}

/// Values of parameters, arguments or columns, with their formats and types as far as these are known.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The values.
    pub list: List<'a, Value<'a>>,
    /// Their formats.
    pub formats: Formats<'a>,
    /// Their types.
    pub types: Types<'a>,
    /// The session's settings for values, if known.
    pub settings: Option<&'a Settings>,
    /// The columns, if values are to be written by column name.
    pub columns: Option<List<'a, Field<'a>>>,
    /// Which of them are secrets.
    pub(crate) secrets: Parameters,
    /// Which parts are not written.
    pub redaction: Redaction,
}

impl<'a> Values<'a> {
    /// Creates values of which only the formats are known.
    pub fn new(list: List<'a, Value<'a>>, formats: Formats<'a>, redaction: Redaction) -> Self {
        let (types, secrets) = (Types::default(), Parameters::default());
        Self { list, formats, types, settings: None, columns: None, secrets, redaction }
    }

    /// Iterates over the values with their formats and types.
    pub fn iter(&self) -> FormattedValues<'a> {
        let Self { list, formats, types, settings, secrets, redaction, .. } = *self;
        let (format, codes) = match formats {
            Formats::Unknown => (None, [].iter()),
            Formats::All(format) => (Some(format), [].iter()),
            Formats::Each(codes) => (None, codes.as_chunks().0.iter()),
        };
        FormattedValues {
            reader: list.reader(),
            left: list.len(),
            format,
            codes,
            types: types.0.as_chunks().0.iter(),
            settings,
            // A value that may be cut off is not decoded as its type.
            settings_of_last: settings.filter(|_| !list.is_cut()),
            secrets: if matches!(redaction, Redaction::Secrets) { secrets } else { Parameters::default() },
            redaction,
        }
    }
}

/// An iterator over [`Values`].
#[derive(Clone, Debug)]
pub struct FormattedValues<'a> {
    reader: Reader<'a>,
    left: usize,
    /// The format of values without a code of their own.
    format: Option<Format>,
    codes: slice::Iter<'a, [u8; 2]>,
    types: slice::Iter<'a, [u8; 4]>,
    settings: Option<&'a Settings>,
    settings_of_last: Option<&'a Settings>,
    secrets: Parameters,
    redaction: Redaction,
}

impl<'a> Iterator for FormattedValues<'a> {
    type Item = FormattedValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<FormattedValue<'a>> {
        self.left = self.left.checked_sub(1)?;
        let is_secret = self.secrets.shift();
        let value = FormattedValue {
            value: Value::decode(&mut self.reader).ok()?,
            format: self.codes.next().map_or(self.format, |code| Some(Format(i16::from_be_bytes(*code)))),
            type_oid: self.types.next().map_or(0, |oid| u32::from_be_bytes(*oid)),
            settings: if self.left == 0 { self.settings_of_last } else { self.settings },
            encoding: self.reader.encoding(),
            redaction: self.redaction,
        };
        Some(if is_secret { value.masked() } else { value })
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.columns {
            Some(columns) if columns.len() >= self.list.len() => {
                let mut keys = UniqueKeys::default();
                let mut map = serializer.serialize_map(Some(self.list.len()))?;
                for (column, value) in columns.iter().zip(self.iter()) {
                    map.serialize_entry(&*keys.next(column.name), &value)?;
                }
                map.end()
            }
            _ => serializer.collect_seq(self.iter()),
        }
    }
}

inline_schema!(Values<'_>, "Values", |_: &mut SchemaGenerator| json_schema!({ "type": ["array", "object"] }));

/// A value, with its format and type if known.
///
/// Written according to its type ([`crate::value`]). If the type is not known, written as null, a string for text, or `"\\x…"`
/// for binary data. If the format is not known, data that is readable text is written as text. If values are not written, null or
/// a [`Shape`].
#[derive(Clone, Copy, Debug)]
pub struct FormattedValue<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Its format.
    pub format: Option<Format>,
    /// The object ID of its type; 0 if it is not known.
    pub type_oid: u32,
    /// The session's settings for values, if known.
    pub settings: Option<&'a Settings>,
    /// The encoding of text.
    pub encoding: Encoding,
    /// Which parts are not written.
    pub redaction: Redaction,
}

impl<'a> FormattedValue<'a> {
    /// Creates a value of which only the format is known.
    pub const fn new(value: Value<'a>, format: Option<Format>, encoding: Encoding, redaction: Redaction) -> Self {
        Self { value, format, type_oid: 0, settings: None, encoding, redaction }
    }

    /// Replaces the value with `***`, unless it is NULL.
    #[cold]
    const fn masked(self) -> Self {
        match self.value.0 {
            Some(_) => {
                let value = Value(Some(Secret::MASK.as_bytes()));
                Self { value, format: Some(Format::TEXT), type_oid: 0, ..self }
            }
            None => self,
        }
    }

    /// Returns the shape that replaces the value, if values are not written and it is not NULL.
    pub fn shape(&self) -> Option<Shape> {
        self.redaction.shape(self.type_oid, self.value.0?)
    }

    /// Returns the value with its type; `None` if it is NULL, or if its format or type is not known.
    pub fn typed(&self) -> Option<TypedValue<'a>> {
        let format = self.format?.of_value()?;
        let Self { type_oid, encoding, .. } = *self;
        Some(TypedValue { type_oid, format, bytes: self.value.0?, settings: self.settings?, encoding })
    }
}

impl Serialize for FormattedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(shape) = self.shape() {
            return shape.serialize(serializer);
        }
        if let Some(typed) = self.typed() {
            return typed.serialize(serializer);
        }
        let Some(bytes) = self.value.0 else { return serializer.serialize_none() };
        match self.format {
            Some(Format::TEXT) => Text(bytes, self.encoding).serialize(serializer),
            Some(_) => Bytea(bytes).serialize(serializer),
            None => Guess(bytes).serialize(serializer),
        }
    }
}

// Any JSON, because a value of type json may be any.
inline_schema!(FormattedValue<'_>, "Value", |_: &mut SchemaGenerator| Schema::from(true));

/// Data of unknown format: text if it is readable text, otherwise binary.
#[derive(Clone, Copy, Debug)]
pub struct Guess<'a>(pub &'a [u8]);

impl<'a> Guess<'a> {
    /// Returns the data as text, if it is UTF-8 without control characters other than white space.
    pub fn as_text(self) -> Option<&'a str> {
        let control = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r');
        std::str::from_utf8(self.0).ok().filter(|_| !self.0.iter().any(control))
    }
}

impl fmt::Display for Guess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => f.write_str(text),
            None => Bytea(self.0).fmt(f),
        }
    }
}

impl Serialize for Guess<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_text() {
            Some(text) => serializer.serialize_str(text),
            None => Bytea(self.0).serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &[u8] = b"\0\x04\0\0\0\x02hi\xff\xff\xff\xff\0\0\0\0\0\0\0\x02\x00\x01";

    fn row_as(formats: Formats<'_>) -> String {
        let mut row = DataRow::decode(&mut Reader::new(ROW), Redaction::Secrets).unwrap();
        row.values.formats = formats;
        serde_json::to_string(&row.values).unwrap()
    }

    #[test]
    fn values_are_written_by_their_format() {
        assert_eq!(row_as(Formats::All(Format::TEXT)), r#"["hi",null,"","\u0000\u0001"]"#);
        assert_eq!(row_as(Formats::All(Format::BINARY)), r#"["\\x6869",null,"\\x","\\x0001"]"#);
        assert_eq!(row_as(Formats::Each(&[0, 0, 0, 0, 0, 0, 0, 1])), r#"["hi",null,"","\\x0001"]"#);
        assert_eq!(row_as(Formats::Unknown), r#"["hi",null,"","\\x0001"]"#);
    }

    #[test]
    fn of_values_that_are_not_written_nulls_types_and_lengths_are_left() {
        let mut row = DataRow::decode(&mut Reader::new(ROW), Redaction::Values).unwrap();
        row.values.types = Types(&[0, 0, 0, 25, 0, 0, 0, 25, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(
            serde_json::to_string(&row.values).unwrap(),
            r#"[{"type":"text","bytes":2},null,{"bytes":0},{"bytes":2}]"#
        );
    }

    #[test]
    fn fewer_format_codes_than_values_leave_the_rest_unknown() {
        assert_eq!(row_as(Formats::Each(&[0, 1])), r#"["\\x6869",null,"","\\x0001"]"#);
    }

    #[test]
    fn a_length_below_minus_one_is_an_error() {
        let error = DataRow::decode(&mut Reader::new(b"\0\x01\xff\xff\xff\xfe"), Redaction::Secrets).unwrap_err();
        assert_eq!(error.to_string(), "length of a value at byte 2: wanted -1 or more, had -2");
    }

    #[test]
    fn a_cut_row_has_the_beginning_of_its_last_value() {
        let row = DataRow::decode(&mut Reader::cut(b"\0\x03\0\0\0\x02hi\0\0\0\x09hal"), Redaction::Secrets).unwrap();
        assert_eq!(serde_json::to_string(&row.values).unwrap(), r#"["hi","hal"]"#);
    }
}
