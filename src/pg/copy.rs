//! COPY: its beginning, its data, and its failure.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::list::List;
use super::row::{Format, Guess};
use super::text::{Bytea, Sql, Text, inline_schema};

use crate::reader::{DecodeError, Reader};
use crate::redaction::{Redaction, Shape};

/// CopyInResponse, CopyOutResponse, CopyBothResponse: data follows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CopyResponse<'a> {
    /// The format of the whole: text (also CSV) or binary.
    pub format: Format,
    /// The formats of the columns.
    pub column_formats: List<'a, Format>,
}

impl<'a> CopyResponse<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            format: Format(i16::from(reader.u8("copy format")? as i8)),
            column_formats: List::counted(reader, "number of columns")?,
        })
    }
}

/// CopyData: a piece of the data, which need not be a whole row.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CopyData<'a> {
    /// The piece.
    pub data: CopyPiece<'a>,
}

/// Data of a COPY: a string in text format, `"\\x…"` in binary format; `{"bytes": …}` where values are not written.
#[derive(Clone, Copy, Debug)]
pub struct CopyPiece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The format of the COPY, where it is known.
    pub format: Option<Format>,
    /// What is not to be written of it.
    pub redaction: Redaction,
}

impl CopyPiece<'_> {
    /// What stands in its place, where values are not written.
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
            Some(Format::TEXT) => Text(self.bytes).serialize(serializer),
            Some(_) => Bytea(self.bytes).serialize(serializer),
            None => Guess(self.bytes).serialize(serializer),
        }
    }
}

inline_schema!(CopyPiece<'_>, "CopyPiece", Shape::or::<Text<'_>>);

/// CopyFail: the frontend gives up.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CopyFail<'a> {
    /// Why.
    pub message: Sql<'a>,
}

impl<'a> CopyFail<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self { message: Sql::quoting(Text::decode(reader, "error message")?, redaction) })
    }
}
