//! COPY: its start, its data, its end, and its failure.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::list::List;
use super::row::{Format, FormattedValue, Guess, Values};
use super::startup::has_secret_words;
use super::text::{Bytea, Hex, Secret, Sql, Text, inline_schema};
use crate::encoding::Encoding;
use crate::reader::{DecodeError, Reader};
use crate::redaction::{Redaction, Shape};
use crate::value;
use crate::value::copy::{CopyField, CopyRow, Split};

/// CopyInResponse, CopyOutResponse, CopyBothResponse: starts a COPY. CopyData messages follow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CopyResponse<'a> {
    /// The overall format: text (also for CSV) or binary.
    pub format: Format,
    /// The formats of the columns.
    pub column_formats: List<'a, Format>,
}

impl<'a> CopyResponse<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            format: Format(i16::from(reader.u8("copy format")? as i8)),
            column_formats: List::counted(reader, "number of columns")?,
        })
    }
}

/// CopyData: a part of the data, which need not be a whole row.
#[derive(Clone, Debug)]
pub struct CopyData<'a> {
    /// The data.
    pub data: CopyPiece<'a>,
    /// The rows in it, if the format of rows is known.
    pub rows: Option<CopyRows<'a>>,
}

/// CopyDone: the end of the data.
#[derive(Clone, Debug, Default)]
pub struct CopyDone<'a> {
    /// The last row, if no line terminator ended it.
    pub rows: Option<CopyRows<'a>>,
}

/// Rows of a COPY, with the column names if rows are written as objects.
#[derive(Clone, Copy, Debug)]
pub struct CopyRows<'a> {
    /// The rows.
    pub split: Split<'a>,
    /// The column names, all different; empty if rows are written as arrays.
    pub keys: &'a [String],
    /// Which parts are not written.
    pub redaction: Redaction,
}

impl<'a> CopyRows<'a> {
    /// Returns a row with other data that was split into one row in the same way as this one.
    pub(crate) const fn of_row<'b>(self, data: &'b [u8]) -> CopyRows<'b>
    where
        'a: 'b,
    {
        CopyRows { split: self.split.splitter().split(data), ..self }
    }
}

impl Serialize for CopyData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.rows {
            Some(rows) => rows.serialize(serializer),
            None => Body { data: Some(self.data), ..Body::default() }.serialize(serializer),
        }
    }
}

impl Serialize for CopyDone<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl Serialize for CopyRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let split = self.split;
        let rest = split.rest();
        let body = Body {
            header: split.header().map(|row| Row { row, keys: &[], redaction: self.redaction }),
            rows: Some(RowList(self)),
            unfinished: split.unfinished(),
            skipped: split.too_long() + split.lost(),
            data: rest.as_deref().map(|rest| CopyPiece::rest(rest, self)),
        };
        body.serialize(serializer)
    }
}

/// The JSON form of a CopyData, and of a CopyDone that completes a row.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "CopyData")]
struct Body<'a> {
    /// The column names from the header line; with several header lines, from the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<FormattedValue<'_>>>")]
    header: Option<Row<'a>>,
    /// The rows that end in the message, if the statement that defines their format is known: strings in text format, `"\\x…"` in
    /// binary format, null for NULL; `{"bytes": …}` if values are not written. Objects keyed by column name if the names are
    /// known and requested; in the JSON format, as the server wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Values<'_>>>")]
    rows: Option<RowList<'a>>,
    /// Bytes of a row that continues in the next message.
    #[serde(skip_serializing_if = "is_zero")]
    unfinished: u64,
    /// Bytes of rows that end in the message and are left out: they were too long to be kept (flag `limit`), or part of them was
    /// lost (flag `midstream`).
    #[serde(skip_serializing_if = "is_zero")]
    skipped: u64,
    /// The data, if the format of rows is not known. Otherwise the bytes outside of rows: the end-of-data marker of older
    /// clients, bytes that cannot be parsed, and what follows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<CopyPiece<'a>>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

macro_rules! schema_of_body {
    ($($type:ty),*) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Body::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Body::json_schema(generator)
            }
        })*
    };
}
schema_of_body!(CopyData<'_>, CopyDone<'_>);

struct RowList<'a>(&'a CopyRows<'a>);

impl Serialize for RowList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let CopyRows { split, keys, redaction } = *self.0;
        serializer.collect_seq(split.rows().map(|row| Row { row, keys, redaction }))
    }
}

struct Row<'a> {
    row: CopyRow<'a>,
    keys: &'a [String],
    redaction: Redaction,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(json) = self.row.json() {
            return match self.redaction.shape(0, self.row.as_bytes()) {
                Some(shape) => shape.serialize(serializer),
                None => value::verbatim(&json, serializer),
            };
        }
        let fields = self.row.fields().map(|field| RedactedField(field, self.redaction));
        // A row with another number of fields is an error: its fields cannot be assigned to columns.
        if self.keys.is_empty() || self.row.fields().count() != self.keys.len() {
            serializer.collect_seq(fields)
        } else {
            serializer.collect_map(self.keys.iter().zip(fields))
        }
    }
}

/// A field of a row, with its redaction.
pub(crate) struct RedactedField<'a>(pub(crate) CopyField<'a>, pub(crate) Redaction);

impl RedactedField<'_> {
    /// Returns the shape that replaces the field, if values are not written and it is not NULL.
    pub(crate) fn shape(&self) -> Option<Shape> {
        self.1.shape(0, self.0.bytes.as_deref()?)
    }
}

impl Serialize for RedactedField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.shape() {
            Some(shape) => shape.serialize(serializer),
            None => self.0.serialize(serializer),
        }
    }
}

/// Data of a COPY: a string in text format, `"\\x…"` in binary format; `{"bytes": …}` if values are not written.
#[derive(Clone, Copy, Debug)]
pub struct CopyPiece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The format of the COPY, if known.
    pub format: Option<Format>,
    /// The encoding of text.
    pub encoding: Encoding,
    /// Whether it may begin inside a multibyte character, and so could be misread as other characters. It is then not decoded as
    /// text.
    pub is_torn: bool,
    /// Which parts are not written.
    pub redaction: Redaction,
}

impl<'a> CopyPiece<'a> {
    /// Returns the bytes outside of rows. Where they begin is uncertain, so they may begin inside a multibyte character.
    pub(crate) fn rest(bytes: &'a [u8], rows: &CopyRows<'_>) -> Self {
        let CopyRows { split, redaction, .. } = *rows;
        let (format, encoding) = (if split.is_binary() { Format::BINARY } else { Format::TEXT }, split.encoding());
        Self { bytes, format: Some(format), encoding, is_torn: encoding.is_misread_when_cut(), redaction }
    }

    /// Returns whether the data may end inside a multibyte character, so that what follows could be misread as other characters.
    pub fn tears(&self) -> bool {
        self.format == Some(Format::TEXT)
            && self.encoding.is_misread_when_cut()
            && self.encoding.decode(self.bytes).is_none()
    }

    /// Returns the shape that replaces the data, if values are not written.
    pub fn shape(&self) -> Option<Shape> {
        self.redaction.shape(0, self.bytes)
    }
}

impl Serialize for CopyPiece<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(shape) = self.shape() {
            return shape.serialize(serializer);
        }
        match self.format {
            Some(Format::TEXT) if self.is_torn => Hex(self.bytes).serialize(serializer),
            Some(Format::TEXT) => Text(self.bytes, self.encoding).serialize(serializer),
            Some(_) => Bytea(self.bytes).serialize(serializer),
            None => Guess(self.bytes).serialize(serializer),
        }
    }
}

inline_schema!(CopyPiece<'_>, "CopyPiece", Shape::or::<Text<'_>>);

/// CopyFail: the frontend aborts the COPY.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CopyFail<'a> {
    /// The reason.
    pub message: Sql<'a>,
    /// The reason without redaction, for internal use.
    #[serde(skip)]
    pub(crate) reason: Text<'a>,
}

impl<'a> CopyFail<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let message = Text::decode(reader, "error message")?;
        // The reason may quote SQL, or contain settings like those in `options`.
        let is_hidden = redaction.hides_secrets() && has_secret_words(message.0);
        let shown = if is_hidden { Text::utf8(Secret::MASK.as_bytes()) } else { message };
        Ok(Self { message: Sql::quoting(shown, redaction), reason: message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cut_inside_a_character_is_not_text() {
        let json = |bytes: &'static [u8], encoding, is_torn| {
            let encoding = Encoding::named(encoding);
            let redaction = Redaction::Secrets;
            let piece = CopyPiece { bytes, format: Some(Format::TEXT), encoding, is_torn, redaction };
            (serde_json::to_string(&piece).unwrap(), piece.tears())
        };
        assert_eq!(json(b"\x95\x5c\n", "SJIS", false), (r#""表\n""#.to_owned(), false));
        assert_eq!(json(b"\x95", "SJIS", false), (r#"{"hex":"95"}"#.to_owned(), true));
        assert_eq!(json(b"\x5c\n", "SJIS", true), (r#"{"hex":"5c0a"}"#.to_owned(), false));
        // The first byte of a character is not text by itself, wherever the data is cut.
        assert_eq!(json(b"\xe8", "UTF8", false), (r#"{"hex":"e8"}"#.to_owned(), false));
        assert!(!json(b"\x81", "WIN1252", false).1);
    }
}
