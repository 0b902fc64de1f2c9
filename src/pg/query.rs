//! Simple queries, function calls, and replies that end a request.

use std::fmt;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::list::{Decode, List, Oid};
use super::row::{Format, Formats, FormattedValue, Value, Values};
use super::startup::masked_words;
use super::text::{KeptText, Sql, Text, inline_schema};
use crate::reader::{DecodeError, Reader};
use crate::redaction::{Redaction, Shape};

/// Query: SQL text with any number of statements.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Query<'a> {
    /// The text.
    pub query: Sql<'a>,
}

impl<'a> Query<'a> {
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self { query: Sql { text: Text::decode(reader, "query string")?, redaction } })
    }
}

/// CommandComplete: a statement was completed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CommandComplete<'a> {
    /// The command tag as it was sent: `INSERT 0 5`.
    pub command_tag: Text<'a>,
    /// The command: `INSERT`.
    pub command: Text<'a>,
    /// The number of rows returned or changed, if the tag contains one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl<'a> CommandComplete<'a> {
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // Command tags are ASCII in every client encoding.
        let tag = reader.cstr("command tag")?;
        let (command, rows) = Self::take_apart(tag);
        Ok(Self { command_tag: Text::utf8(tag), command: Text::utf8(command), rows })
    }

    /// Splits a command tag. The numbers at its end are the row count and, for INSERT, an object ID before it that is now always
    /// 0.
    fn take_apart(tag: &[u8]) -> (&[u8], Option<u64>) {
        let mut words = tag.rsplitn(2, |b| *b == b' ');
        let last = words.next().and_then(number);
        let (Some(rows), Some(rest)) = (last, words.next()) else { return (tag, None) };
        let command = rest.strip_prefix(b"INSERT ").and_then(number).map_or(rest, |_| b"INSERT");
        (command, Some(rows))
    }
}

/// Parses a decimal number.
fn number(text: &[u8]) -> Option<u64> {
    let add = |number: u64, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    if text.is_empty() { None } else { text.iter().try_fold(0, add) }
}

/// ReadyForQuery: the backend is ready for a new query cycle.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ReadyForQuery {
    /// The transaction status of the session.
    pub transaction_status: TransactionStatus,
}

impl ReadyForQuery {
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { transaction_status: TransactionStatus(reader.u8("transaction status")?) })
    }
}

/// The transaction status, as its letter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransactionStatus(pub u8);

impl TransactionStatus {
    /// Not in a transaction block.
    pub const IDLE: Self = Self(b'I');
    /// In a transaction block.
    pub const IN_TRANSACTION: Self = Self(b'T');
    /// In a failed transaction block: requests are rejected until it ends.
    pub const FAILED: Self = Self(b'E');
}

impl fmt::Debug for TransactionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TransactionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'I' => f.write_str("idle"),
            b'T' => f.write_str("in_transaction"),
            b'E' => f.write_str("failed"),
            other => write!(f, "unknown 0x{other:02x}"),
        }
    }
}

impl Serialize for TransactionStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

inline_schema!(TransactionStatus, "TransactionStatus", |_: &mut SchemaGenerator| json_schema!({
    "type": "string",
    "pattern": "^(idle|in_transaction|failed|unknown 0x[0-9a-f]{2})$",
}));

/// NotificationResponse: a NOTIFY on a channel on which the session listens.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NotificationResponse<'a> {
    /// The process ID of the notifying backend.
    pub process_id: i32,
    /// The channel.
    pub channel: Text<'a>,
    /// The payload, which may be empty.
    pub payload: Payload<'a>,
}

/// The payload of a NOTIFY, a text; `{"bytes": …}` if values are not written.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The text.
    pub text: Text<'a>,
    /// Which parts are not written.
    pub redaction: Redaction,
}

impl Payload<'_> {
    /// Returns the text with secrets masked, as it is written.
    pub fn masked(&self) -> KeptText<'_> {
        let masked = if self.redaction.hides_secrets() { masked_words(self.text) } else { None };
        masked.unwrap_or_else(|| self.text.kept())
    }

    /// Returns the shape that replaces the text, if values are not written.
    pub fn shape(&self) -> Option<Shape> {
        self.redaction.shape(0, self.text.0)
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.shape() {
            Some(shape) => shape.serialize(serializer),
            None => self.masked().get().serialize(serializer),
        }
    }
}

inline_schema!(Payload<'_>, "Payload", Shape::or::<Text<'_>>);

impl<'a> NotificationResponse<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self {
            process_id: reader.i32("process ID")?,
            channel: Text::decode(reader, "channel")?,
            payload: Payload { text: Text::decode(reader, "payload")?, redaction },
        })
    }
}

/// FunctionCall: calls a function by its object ID, without SQL.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FunctionCall<'a> {
    /// The object ID of the function.
    pub function_oid: Oid,
    /// The formats of the arguments: none (all text), one for all, or one for each.
    pub argument_formats: List<'a, Format>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// The requested format of the result.
    pub result_format: Format,
}

impl<'a> FunctionCall<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let function_oid = Oid(reader.u32("function object ID")?);
        let argument_formats = List::counted(reader, "number of argument formats")?;
        let list = List::counted(reader, "number of arguments")?;
        let arguments = Values::new(list, Formats::from_codes(argument_formats), redaction);
        let result_format = Format(reader.i16("result format")?);
        Ok(Self { function_oid, argument_formats, arguments, result_format })
    }
}

/// FunctionCallResponse: the result of the function.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct FunctionCallResponse<'a> {
    /// The value.
    pub value: FormattedValue<'a>,
}

impl<'a> FunctionCallResponse<'a> {
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self { value: FormattedValue::new(Value::decode(reader)?, None, reader.encoding(), redaction) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_tags_are_split() {
        for (tag, command, rows) in [
            ("INSERT 0 5", "INSERT", Some(5)),
            ("SELECT 3000", "SELECT", Some(3000)),
            ("COPY 0", "COPY", Some(0)),
            ("CREATE TABLE", "CREATE TABLE", None),
            ("BEGIN", "BEGIN", None),
            ("UPDATE 18446744073709551616", "UPDATE 18446744073709551616", None),
            ("", "", None),
        ] {
            let mut body = tag.as_bytes().to_vec();
            body.push(0);
            let message = CommandComplete::decode(&mut Reader::new(&body)).unwrap();
            assert_eq!((message.command, message.rows), (Text::utf8(command.as_bytes()), rows), "{tag}");
        }
    }
}
