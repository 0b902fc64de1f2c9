//! JSON lines.
//!
//! [`write_line`] is what the contract is: serde's derived form of a record, by serde_json, in I-JSON: no integer beyond
//! ±(2^53 − 1) is a number, for jq 1.6, JavaScript and others would round it; it is a string of its digits. [`LineWriter`]
//! writes the same bytes several times faster.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use self::bodies::RowWriter;
use self::change_run::ChangeWriter;
use self::columns::RowDescriptions;
use self::head::{Answers, Clock, Connections, MessageStart};
use self::serializer::{Serializer, field};
use self::statements::Statements;
use self::tokens::{put, unsigned};
use super::Form;
use crate::direction::Direction;
use crate::pg::frame::Frame;
use crate::pg::message::{Decoded, Message};
use crate::pg::message_table::{self, backend};
use crate::pg::row::FormattedValue;
use crate::pg::text::{Sql, Text};
use crate::record::{ChangeRun, Content, Flags, MOST_EXACT, MessageEvent, MessageRecord, MessageRun, Record};

mod bodies;
mod change;
mod change_run;
mod columns;
mod head;
mod query;
mod serializer;
mod statements;
pub(super) mod tokens;

/// Writes a record as one line: an object, and a line feed.
///
/// # Errors
///
/// Those of the writer.
pub fn write_line(out: &mut impl io::Write, record: &Record<'_>) -> io::Result<()> {
    write_value(out, record)
}

/// Writes what is no record in the same way.
pub(crate) fn write_value(out: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, LineFormatter);
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Writes records as [`write_line`] does, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct DerivedWriter;

impl Form for DerivedWriter {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        write_line(out, record)
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(*self)
    }
}

/// Compact JSON in which no control character stands raw, and no number is beyond what a double holds exactly.
///
/// JSON itself only wants those below U+0020 escaped. A terminal also acts on U+007F to U+009F, and what a server sends
/// must not be able to act on the terminal of the one who reads it.
struct LineFormatter;

impl Formatter for LineFormatter {
    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() > MOST_EXACT { write!(writer, "\"{value}\"") } else { write!(writer, "{value}") }
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value > MOST_EXACT { write!(writer, "\"{value}\"") } else { write!(writer, "{value}") }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // U+0080 to U+009F begin with the byte 0xc2, in UTF-8.
        let mut from = 0;
        while let Some(found) = memchr::memchr2(0x7f, 0xc2, rest.as_bytes().get(from..).unwrap_or_default()) {
            let at = from + found;
            let Some(character) = rest.get(at..).and_then(|rest| rest.chars().next()) else { break };
            let behind = at + character.len_utf8();
            if !character.is_control() {
                from = behind;
                continue;
            }
            CompactFormatter.write_string_fragment(writer, rest.get(..at).unwrap_or_default())?;
            write!(writer, "\\u{:04x}", u32::from(character))?;
            rest = rest.get(behind..).unwrap_or_default();
            from = 0;
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

/// Writes records as lines, and keeps what many lines have in common as it is written.
#[derive(Debug, Default)]
pub struct LineWriter {
    clock: Clock,
    connections: Connections,
    statements: Statements,
    answers: Answers,
    rows: RowWriter,
    row_descriptions: RowDescriptions,
    changes: ChangeWriter,
}

impl Form for LineWriter {
    /// Writes a record as one line, the same as `write_line` does.
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        let written = match record {
            Record::Message(message) => self.message_record(out, message),
            Record::Query(query) => self.query(out, query),
            Record::Change(change) => self.change(out, change),
            other => other.serialize(Serializer::new(out)),
        };
        out.push(b'\n');
        written.map_err(io::Error::other)
    }

    #[inline]
    fn message<'a>(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<()> {
        let tag = event.frame.tag.filter(|tag| tag.is_ascii_alphanumeric() && event.is_common());
        let Some(tag) = tag else { return self.any_message(out, event, decoded) };
        if decoded.is_none() {
            if event.frame.body.is_empty() && message_table::is_bare(event.dir, tag) {
                self.bare_message(out, event, tag);
                return Ok(());
            }
            if (event.dir, tag) == (Direction::Backend, backend::ROW_DESCRIPTION) {
                return self.row_description(out, event, decoded);
            }
        }
        if let Ok(message) = event.decode(decoded) {
            let mut flags = Flags::default();
            event.complete(message, &mut flags);
            if flags.is_empty() {
                return self.common_message(out, event, tag, message);
            }
        }
        self.any_message(out, event, decoded)
    }

    fn data(&mut self, out: &mut Vec<u8>, run: &MessageRun<'_>) -> io::Result<()> {
        let MessageRun { first, frames, .. } = run;
        let tag = first.frame.tag.filter(|_| first.is_common() && self.rows.prepare(run));
        for (seq, (next, len, body)) in (first.seq..).zip(*frames) {
            let start = out.len();
            if let Some(tag) = tag {
                self.begin_message(out, first, seq, tag, len);
                if self.rows.write(out, first, body).is_some() {
                    self.answers.write(out, first.query, first.elapsed_us);
                    put(out, b"}\n");
                    continue;
                }
                out.truncate(start);
            }
            let frame = &Frame::whole(Some(next), len, body);
            self.message(out, &first.next(seq, frame), &mut None)?;
        }
        Ok(())
    }

    fn changes(&mut self, out: &mut Vec<u8>, run: &ChangeRun<'_>) -> io::Result<()> {
        self.change_run(out, run)
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self::default())
    }
}

impl LineWriter {
    /// Writes a line that says no more than what most do.
    #[inline(always)]
    fn common_message(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'_>,
        tag: u8,
        message: &Message<'_>,
    ) -> io::Result<()> {
        self.begin_message(out, event, event.seq, tag, event.frame.len);
        bodies::type_and_body(out, message).map_err(io::Error::other)?;
        let sql = event.sql.map(|text| Sql { text, redaction: event.context.redaction });
        self.belonging(out, (event.query, event.elapsed_us), sql.as_ref(), event.statement_of(message));
        put(out, b"}\n");
        Ok(())
    }

    /// Writes what a message belongs to.
    #[inline(always)]
    fn belonging(
        &mut self,
        out: &mut Vec<u8>,
        (query, elapsed_us): (Option<u64>, Option<u64>),
        sql: Option<&Sql<'_>>,
        statement: Option<Text<'_>>,
    ) {
        self.answers.write(out, query, elapsed_us);
        if let Some(sql) = sql {
            self.statements.write(out, sql);
        }
        if let Some(statement) = statement {
            put(out, br#","statement":"#);
            bodies::text(out, statement);
        }
    }

    /// Writes the line of a RowDescription that was not decoded.
    fn row_description<'a>(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<()> {
        let Frame { body, len, .. } = *event.frame;
        let encoding = event.context.encoding;
        let start = out.len();
        self.begin_message(out, event, event.seq, backend::ROW_DESCRIPTION, len);
        if let Some(written) = self.row_descriptions.get(body, encoding) {
            out.extend_from_slice(written);
        } else {
            let Ok(message) = event.decode(decoded) else {
                out.truncate(start);
                return self.any_message(out, event, decoded);
            };
            let start = out.len();
            bodies::type_and_body(out, message).map_err(io::Error::other)?;
            self.row_descriptions.keep(body, encoding, out.get(start..).unwrap_or_default());
        }
        self.answers.write(out, event.query, event.elapsed_us);
        put(out, b"}\n");
        Ok(())
    }

    /// Writes the line of a message without a body, by its type alone.
    #[inline(always)]
    fn bare_message(&mut self, out: &mut Vec<u8>, event: &MessageEvent<'_>, tag: u8) {
        self.begin_message(out, event, event.seq, tag, event.frame.len);
        put(out, br#","type":""#);
        out.extend_from_slice(event.name(None).as_bytes());
        out.push(b'"');
        self.answers.write(out, event.query, event.elapsed_us);
        put(out, b"}\n");
    }

    /// Writes all up to the number of `len`, with that.
    #[inline(always)]
    fn begin_message(&mut self, out: &mut Vec<u8>, event: &MessageEvent<'_>, seq: u64, tag: u8, len: u32) {
        let MessageEvent { header, dir, packet, .. } = *event;
        let start = MessageStart { header, dir, seq, packet };
        self.connections.begin_message(out, &mut self.clock, &start, tag);
        unsigned(out, len.into());
    }

    /// Writes the line of any message.
    #[inline(never)]
    fn any_message<'a>(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<()> {
        self.record(out, &Record::Message(event.to_record(decoded)))
    }

    /// Writes the fields of [`MessageRecord`] in their order, as its derived form has them.
    fn message_record(&mut self, out: &mut Vec<u8>, record: &MessageRecord<'_>) -> Result<(), serializer::Error> {
        // Every field, so that a new one cannot be forgotten.
        let MessageRecord {
            header,
            dir,
            seq,
            packet,
            tag,
            len,
            content,
            query,
            elapsed_us,
            sql,
            statement,
            target,
            replication_command,
            missing,
            holes,
            flags,
            error,
        } = record;
        let start = MessageStart { header: *header, dir: *dir, seq: *seq, packet: *packet };
        match tag.map(char::from) {
            Some(letter) if letter.is_ascii_alphanumeric() => {
                self.connections.begin_message(out, &mut self.clock, &start, letter as u8);
            }
            _ => {
                self.connections.begin_any_message(out, &mut self.clock, &start);
                if tag.is_some() {
                    member(out, "tag", tag)?;
                }
                put(out, br#","len":"#);
            }
        }
        unsigned(out, (*len).into());
        match content {
            Content::Decoded(message) => bodies::type_and_body(out, message)?,
            Content::Replication { body, .. } => {
                put(out, br#","type":"CopyData","body":"#);
                self.replication(out, body)?;
            }
            Content::Undecoded { name, body } => {
                member(out, "type", name)?;
                member(out, "body", body)?;
            }
        }
        self.belonging(out, (*query, *elapsed_us), sql.as_ref(), *statement);
        if let Some(target) = target {
            member(out, "target", target)?;
        }
        if let Some(command) = replication_command {
            member(out, "replication_command", command)?;
        }
        if *missing > 0 {
            member(out, "missing", missing)?;
        }
        if !holes.is_empty() {
            member(out, "holes", holes)?;
        }
        if !flags.is_empty() {
            member(out, "flags", flags)?;
        }
        if let Some(error) = error {
            member(out, "error", error)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Writes a member of an object that is not its first.
/// Returns a value as it is written; `None` if that fails.
pub(crate) fn value(value: &FormattedValue<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    bodies::value(&mut out, value).ok()?;
    Some(out)
}

fn member(out: &mut Vec<u8>, name: &'static str, value: &impl Serialize) -> Result<(), serializer::Error> {
    out.push(b',');
    field(out, name);
    value.serialize(Serializer::new(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, LineFormatter);
        text.serialize(&mut serializer).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_control_character_is_raw_and_every_text_comes_back() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        for text in [all.as_str(), "", "\u{7f}", "a\u{9b}31mb", "ÂÃ\u{c2}\u{85}", "¢\u{a0}"] {
            let json = written(text);
            assert!(!json.chars().any(char::is_control), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
        assert_eq!(written("a\u{9b}31m\u{7f}"), r#""a\u009b31m\u007f""#);
    }
}
