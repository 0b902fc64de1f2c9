//! ErrorResponse and NoticeResponse.
//!
//! Source: PostgreSQL documentation, "Error and Notice Message Fields".

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::text::{Hex, Sql, Text};
use crate::encoding::Encoding;
use crate::reader::{DecodeError, Reader};
use crate::redaction::Redaction;

/// ErrorResponse, NoticeResponse: fields, each identified by a one-letter code.
///
/// Written as an object keyed by field name. Fields with an undocumented code, and repeated fields, are written in `other_fields`
/// with their code.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    cut: bool,
    encoding: Encoding,
    redaction: Redaction,
    /// Whether the body is a message text only, without field codes.
    is_version_2: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let start = reader.position();
        let mut bytes = reader.since(start);
        loop {
            match reader.u8("field code") {
                Ok(0) => break,
                Ok(_) => reader.cstr("field value")?,
                Err(_) if reader.is_cut() => break,
                Err(error) => return Err(error),
            };
            bytes = reader.since(start);
        }
        Ok(Self { bytes, cut: reader.is_cut(), encoding: reader.encoding(), redaction, is_version_2: false })
    }

    /// Decodes an error of protocol 2.0, which is a message text only.
    pub(super) fn decode_version_2(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let start = reader.position();
        reader.cstr("error message")?;
        let bytes = reader.since(start);
        Ok(Self { bytes, cut: reader.is_cut(), encoding: reader.encoding(), redaction, is_version_2: true })
    }

    /// Returns the fields as they are on the wire, and the properties needed to interpret them.
    pub(crate) const fn as_parts(&self) -> (&'a [u8], FieldsShape) {
        let Self { bytes, cut, encoding, redaction, is_version_2 } = *self;
        (bytes, FieldsShape { cut, encoding, redaction, is_version_2 })
    }

    /// Restores fields from the result of [`Self::as_parts`].
    pub(crate) const fn from_parts(bytes: &'a [u8], shape: FieldsShape) -> Self {
        let FieldsShape { cut, encoding, redaction, is_version_2 } = shape;
        Self { bytes, cut, encoding, redaction, is_version_2 }
    }

    /// Returns whether this is an error of protocol 2.0: a message text only.
    pub const fn is_version_2(&self) -> bool {
        self.is_version_2
    }

    /// Iterates over the codes and values of the fields, in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Text<'a>)> + use<'a> {
        let reader = if self.cut { Reader::cut(self.bytes) } else { Reader::new(self.bytes) };
        let mut reader = reader.with_encoding(self.encoding);
        let mut has_no_code = self.is_version_2;
        std::iter::from_fn(move || {
            let code = if std::mem::take(&mut has_no_code) { code::MESSAGE } else { reader.u8("field code").ok()? };
            Some((code, Text::decode(&mut reader, "field value").ok()?))
        })
    }

    /// Returns the value of the field with this code.
    pub fn get(&self, code: u8) -> Option<Text<'a>> {
        self.iter().find_map(|(found, value)| (found == code).then_some(value))
    }

    /// Returns the value of the field with this code, with redaction applied when it is written.
    pub fn get_sql(&self, code: u8) -> Option<Sql<'a>> {
        self.get(code).map(|text| self.sql(code, text))
    }

    fn sql(&self, code: u8, text: Text<'a>) -> Sql<'a> {
        if may_quote_data(code, text) {
            Sql::quoting(text, self.redaction)
        } else {
            Sql { text, redaction: self.redaction.min(Redaction::Secrets) }
        }
    }

    /// Iterates over the fields with the names under which they are written: `None` for an undocumented code, or a repeated
    /// field.
    fn named(&self) -> impl Iterator<Item = (u8, Option<&'static str>, Text<'a>)> + use<'a> {
        let mut seen = 0_u128;
        self.iter().map(move |(code, text)| {
            let bit = 1_u128.checked_shl(code.into()).unwrap_or_default();
            let again = seen & bit != 0;
            seen |= bit;
            (code, name(code).filter(|_| !again), text)
        })
    }

    /// Iterates over the fields without a name.
    fn others(&self) -> impl Iterator<Item = (u8, Text<'a>)> + use<'a> {
        self.named().filter_map(|(code, name, text)| name.is_none().then_some((code, text)))
    }
}

/// The properties of [`Fields`] other than their bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldsShape {
    cut: bool,
    encoding: Encoding,
    redaction: Redaction,
    is_version_2: bool,
}

/// A copy of [`Fields`] that outlives the message. Its buffer is reused.
#[derive(Clone, Debug, Default)]
pub struct KeptFields {
    bytes: Vec<u8>,
    is_kept: bool,
    cut: bool,
    encoding: Encoding,
    is_version_2: bool,
}

impl KeptFields {
    /// Copies fields, replacing those stored before; at most so many bytes of them.
    pub fn keep(&mut self, fields: &Fields<'_>, longest: usize) {
        self.clear();
        let kept = fields.bytes.get(..longest).unwrap_or(fields.bytes);
        self.bytes.extend_from_slice(kept);
        (self.is_kept, self.encoding, self.is_version_2) = (true, fields.encoding, fields.is_version_2);
        self.cut = fields.cut || kept.len() < fields.bytes.len();
    }

    /// Removes the stored fields.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.is_kept, self.cut) = (false, false);
    }

    /// Returns the stored fields, if any.
    pub fn get(&self, redaction: Redaction) -> Option<Fields<'_>> {
        let Self { cut, encoding, is_version_2, .. } = *self;
        self.is_kept.then_some(Fields { bytes: &self.bytes, cut, encoding, redaction, is_version_2 })
    }

    /// Returns the capacity of the buffer in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Returns the documented name of a field.
const fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        code::SEVERITY => "severity",
        code::SEVERITY_NONLOCALIZED => "severity_nonlocalized",
        code::CODE => "code",
        code::MESSAGE => "message",
        code::DETAIL => "detail",
        code::HINT => "hint",
        b'P' => "position",
        b'p' => "internal_position",
        b'q' => "internal_query",
        b'W' => "where",
        b's' => "schema_name",
        b't' => "table_name",
        b'c' => "column_name",
        b'd' => "data_type_name",
        b'n' => "constraint_name",
        b'F' => "file",
        b'L' => "line",
        b'R' => "routine",
        _ => return None,
    })
}

/// Field codes.
pub mod code {
    /// Severity, in the server's language: ERROR, FATAL, PANIC, WARNING, NOTICE, DEBUG, INFO, LOG.
    pub const SEVERITY: u8 = b'S';
    /// Severity, never translated.
    pub const SEVERITY_NONLOCALIZED: u8 = b'V';
    /// The SQLSTATE.
    pub const CODE: u8 = b'C';
    /// The primary message.
    pub const MESSAGE: u8 = b'M';
    /// An optional secondary message.
    pub const DETAIL: u8 = b'D';
    /// An optional suggestion what to do about the problem.
    pub const HINT: u8 = b'H';
    /// The routine in the server's source that reports the error.
    pub const ROUTINE: u8 = b'R';
}

/// Returns whether the value of a field is a decimal integer.
const fn is_number(code: u8) -> bool {
    matches!(code, b'P' | b'p' | b'L')
}

/// Which client data the value of a field may repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// Anything: the field is free text, or its meaning is unknown.
    Anything,
    /// A name.
    Name,
    /// Nothing: the server generates the value itself.
    Nothing,
}

/// Returns which client data a field may repeat.
pub(crate) const fn quotes(code: u8) -> Quotes {
    match code {
        code::MESSAGE | code::DETAIL | code::HINT | b'q' | b'W' => Quotes::Anything,
        b's' | b't' | b'c' | b'd' | b'n' => Quotes::Name,
        _ if name(code).is_some() => Quotes::Nothing,
        _ => Quotes::Anything,
    }
}

/// Returns whether the value of a field may quote data: it is free text, or does not have the form that its code requires.
fn may_quote_data(code: u8, text: Text<'_>) -> bool {
    match quotes(code) {
        Quotes::Anything => true,
        _ => is_number(code) && !text.0.iter().all(u8::is_ascii_digit),
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (code, name, text) in self.named() {
            let Some(name) = name else { continue };
            match text.to_str().and_then(|text| text.parse::<u32>().ok()) {
                Some(number) if is_number(code) => map.serialize_entry(name, &number)?,
                _ => map.serialize_entry(name, &self.sql(code, text))?,
            }
        }
        if self.others().next().is_some() {
            map.serialize_entry("other_fields", &OtherFields(self))?;
        }
        map.end()
    }
}

struct OtherFields<'a>(&'a Fields<'a>);

impl Serialize for OtherFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .others()
                .map(|(code, text)| OtherField { code: Code(code), value: Sql::quoting(text, self.0.redaction) }),
        )
    }
}

#[derive(Serialize)]
struct OtherField<'a> {
    code: Code,
    value: Sql<'a>,
}

/// A field code, written as a character if it is ASCII and in hex otherwise.
struct Code(u8);

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_ascii() {
            serializer.serialize_char(self.0.into())
        } else {
            serializer.collect_str(&Hex(&[self.0]))
        }
    }
}

impl JsonSchema for Fields<'_> {
    fn schema_name() -> Cow<'static, str> {
        "ErrorFields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = Text::json_schema(generator);
        let mut properties = serde_json::Map::new();
        for code in 0..=u8::MAX {
            let Some(name) = name(code) else { continue };
            let value =
                if is_number(code) { json_schema!({ "anyOf": [{ "type": "integer" }, text] }) } else { text.clone() };
            properties.insert(name.to_owned(), value.into());
        }
        properties.insert(
            "other_fields".to_owned(),
            json_schema!({
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": { "code": { "type": "string" }, "value": text },
                    "required": ["code", "value"],
                },
            })
            .into(),
        );
        json_schema!({ "type": "object", "properties": properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &[u8]) -> String {
        serde_json::to_string(&Fields::decode(&mut Reader::new(body), Redaction::Secrets).unwrap()).unwrap()
    }

    #[test]
    fn fields_are_named_and_none_is_lost() {
        assert_eq!(
            json(b"SERROR\0C42601\0Msyntax\0P15\0Lx\0Mtwice\0Yodd\0\0"),
            concat!(
                r#"{"severity":"ERROR","code":"42601","message":"syntax","position":15,"line":"x","#,
                r#""other_fields":[{"code":"M","value":"twice"},{"code":"Y","value":"odd"}]}"#
            )
        );
    }

    #[test]
    fn an_error_of_protocol_2_is_its_message() {
        let fields = Fields::decode_version_2(&mut Reader::new(b"FATAL:  no\n\0"), Redaction::Secrets).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"message":"FATAL:  no\n"}"#);
        assert!(Fields::decode_version_2(&mut Reader::new(b"FATAL"), Redaction::Secrets).is_err());
    }

    #[test]
    fn a_password_in_a_message_is_masked() {
        assert_eq!(
            json(b"Msyntax error in ALTER ROLE x PASSWORD 'y'\0\0"),
            r#"{"message":"syntax error in ALTER ROLE x PASSWORD '***'"}"#
        );
    }

    #[test]
    fn without_values_only_names_are_left() {
        let body = b"SERROR\0C23505\0Mx\0Dx\0Hx\0P15\0px\0qx\0Wx\0spublic\0tt\0nt_key\0L7\0Mx\0Yx\0\0";
        let fields = Fields::decode(&mut Reader::new(body), Redaction::Values).unwrap();
        assert_eq!(
            serde_json::to_string(&fields).unwrap(),
            concat!(
                r#"{"severity":"ERROR","code":"23505","message":"***","detail":"***","hint":"***","position":15,"#,
                r#""internal_position":"***","internal_query":"***","where":"***","schema_name":"public","#,
                r#""table_name":"t","constraint_name":"t_key","line":7,"#,
                r#""other_fields":[{"code":"M","value":"***"},{"code":"Y","value":"***"}]}"#
            )
        );
    }

    #[test]
    fn no_terminator_is_an_error() {
        assert!(Fields::decode(&mut Reader::new(b"SERROR\0"), Redaction::Secrets).is_err());
        assert!(Fields::decode(&mut Reader::cut(b"SERROR\0Mhal"), Redaction::Secrets).is_ok());
    }
}
