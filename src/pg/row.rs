//! Rows: their description, their values, and the format that each value has.

use std::fmt;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::list::{Decode, KeptList, List, Oid};
use super::text::{Bytea, Text, inline_schema};
use crate::reader::{DecodeError, Reader};

/// A format code: 0 for text, 1 for binary. Written as `"text"`, `"binary"`, or the number where it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(pub i16);

impl Format {
    /// The text format of a type.
    pub const TEXT: Self = Self(0);
    /// The binary format of a type.
    pub const BINARY: Self = Self(1);
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
            Self(other) => serializer.serialize_i16(other),
        }
    }
}

inline_schema!(Format, "Format", |_: &mut SchemaGenerator| json_schema!({
    "anyOf": [{ "enum": ["text", "binary"] }, { "type": "integer" }],
}));

/// The formats of a list of values.
#[derive(Clone, Copy, Debug, Default)]
pub enum Formats<'a> {
    /// What told them was not captured.
    #[default]
    Unknown,
    /// All the same.
    All(Format),
    /// One each, as they are on the wire.
    Each(&'a [u8]),
}

impl<'a> Formats<'a> {
    /// The formats that a list of codes stands for: "zero … the default format (text) …; or one, in which case the
    /// specified format code is applied to all …; or it can equal the actual number" (Bind).
    pub fn from_codes(codes: List<'a, Format>) -> Self {
        match codes.len() {
            0 => Self::All(Format::TEXT),
            1 => codes.iter().next().map_or(Self::Unknown, Self::All),
            _ => Self::Each(codes.as_bytes()),
        }
    }

    /// The format of the value at an index.
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

    /// Whether nothing is known of them.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// RowDescription: the columns of the rows that follow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RowDescription<'a> {
    /// The columns.
    pub fields: List<'a, Field<'a>>,
}

impl<'a> RowDescription<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { fields: List::counted(reader, "number of fields")? })
    }
}

/// The columns of rows, kept for the rows that come later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowShape {
    fields: KeptList,
    /// The formats, as Bind has them.
    codes: Vec<u8>,
}

impl RowShape {
    /// Keeps columns in place of those before.
    pub fn keep(&mut self, description: &RowDescription<'_>) {
        self.fields.keep(&description.fields);
        self.codes.clear();
        self.codes.extend(description.fields.iter().flat_map(|field| field.format.0.to_be_bytes()));
    }

    /// Whether these are the columns that are kept.
    pub fn is(&self, description: &RowDescription<'_>) -> bool {
        self.fields.is(&description.fields)
    }

    /// The columns.
    pub fn fields(&self) -> List<'_, Field<'_>> {
        self.fields.get()
    }

    /// The formats of the columns, which are those of the rows in all but one case: after Describe of a statement they
    /// are not known yet, and all say text.
    pub fn formats(&self) -> Formats<'_> {
        Formats::Each(&self.codes)
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.fields.size() + self.codes.len()
    }
}

/// One column.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Field<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// The table it comes from, else 0.
    pub table_oid: Oid,
    /// Its attribute number in that table, else 0.
    pub attribute_number: i16,
    /// Its type.
    pub type_oid: Oid,
    /// The size of its type in bytes; negative where it varies.
    pub type_size: i16,
    /// What else its type says, such as a length; -1 for nothing.
    pub type_modifier: i32,
    /// The format of its values.
    pub format: Format,
}

impl<'a> Decode<'a> for Field<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: Text::decode(reader, "field name")?,
            table_oid: Oid(reader.u32("table object ID")?),
            attribute_number: reader.i16("attribute number")?,
            type_oid: Oid(reader.u32("type object ID")?),
            type_size: reader.i16("type size")?,
            type_modifier: reader.i32("type modifier")?,
            format: Format(reader.i16("format code")?),
        })
    }
}

/// DataRow: the values of one row.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DataRow<'a> {
    /// The values, one a column.
    pub values: Values<'a>,
}

impl<'a> DataRow<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let list = List::counted(reader, "number of columns")?;
        Ok(Self { values: Values { list, formats: Formats::Unknown } })
    }
}

/// A value as it is on the wire; nothing where it is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(pub Option<&'a [u8]>);

impl<'a> Decode<'a> for Value<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
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

/// Values of parameters, arguments or columns, with what is known of their formats.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The values.
    pub list: List<'a, Value<'a>>,
    /// Their formats.
    pub formats: Formats<'a>,
}

impl<'a> Values<'a> {
    /// The values, each with its format.
    pub fn iter(&self) -> impl Iterator<Item = FormattedValue<'a>> + use<'a> {
        let formats = self.formats;
        self.list.iter().enumerate().map(move |(index, value)| FormattedValue { value, format: formats.get(index) })
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

inline_schema!(Values<'_>, "Values", Vec::<FormattedValue<'_>>::json_schema);

/// A value and its format, where that is known.
///
/// Written as null, a string for text, and `"\\x…"` for binary data. Where the format is not known, text is taken for
/// text where it reads as text.
#[derive(Clone, Copy, Debug)]
pub struct FormattedValue<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Its format.
    pub format: Option<Format>,
}

impl Serialize for FormattedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.value.0 else { return serializer.serialize_none() };
        match self.format {
            Some(Format::TEXT) => Text(bytes).serialize(serializer),
            Some(_) => Bytea(bytes).serialize(serializer),
            None => Guess(bytes).serialize(serializer),
        }
    }
}

inline_schema!(FormattedValue<'_>, "Value", |_: &mut SchemaGenerator| json_schema!({
    "anyOf": [
        { "type": ["string", "null"] },
        { "type": "object", "properties": { "hex": { "type": "string" } }, "required": ["hex"] },
    ],
}));

/// Data whose format is not known: text where it reads as text, else binary.
#[derive(Clone, Copy, Debug)]
pub struct Guess<'a>(pub &'a [u8]);

impl<'a> Guess<'a> {
    /// The data as text, where it is UTF-8 without control characters other than those of spacing.
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
        let mut row = DataRow::decode(&mut Reader::new(ROW)).unwrap();
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
    fn fewer_format_codes_than_values_leave_the_rest_unknown() {
        assert_eq!(row_as(Formats::Each(&[0, 1])), r#"["\\x6869",null,"","\\x0001"]"#);
    }

    #[test]
    fn a_length_below_minus_one_is_an_error() {
        let error = DataRow::decode(&mut Reader::new(b"\0\x01\xff\xff\xff\xfe")).unwrap_err();
        assert_eq!(error.to_string(), "length of a value at byte 2: wanted -1 or more, had -2");
    }

    #[test]
    fn a_cut_row_has_the_beginning_of_its_last_value() {
        let row = DataRow::decode(&mut Reader::cut(b"\0\x03\0\0\0\x02hi\0\0\0\x09hal")).unwrap();
        assert_eq!(serde_json::to_string(&row.values).unwrap(), r#"["hi","hal"]"#);
    }
}
