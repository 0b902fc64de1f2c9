//! The types and bodies of the messages that captures are full of, written by hand: the same as what serde derives, without
//! the name of a field, a separator and a value each finding its own way.

use serde::Serialize;

use super::serializer::{Error, Serializer};
use super::tokens::{escaped, integer, numbered, plain, plain_until, put, signed, string, unsigned};
use crate::hex;
use crate::pg::copy::{CopyData, CopyPiece, CopyRows};
use crate::pg::extended::TargetKind;
use crate::pg::list::{List, Oid};
use crate::pg::message::{Body, Context, Message};
use crate::pg::message_table::backend;
use crate::pg::query::TransactionStatus;
use crate::pg::row::{Field, Format, FormattedValue, Values};
use crate::pg::text::{Rest, Sql, Text};
use crate::reader::Reader;
use crate::record::event::Columns;
use crate::record::{MessageEvent, MessageRun};
use crate::value::copy::CopyRow;
use crate::value::{Look, TypedValue};

/// Writes the members `type` and, of a message with fields, `body`, with a comma before them.
pub(super) fn type_and_body(out: &mut Vec<u8>, message: &Message<'_>) -> Result<(), Error> {
    match message {
        Message::Query(query) => {
            put(out, br#","type":"Query","body":{"query":"#);
            sql(out, &query.query);
        }
        Message::Parse(parse) => {
            put(out, br#","type":"Parse","body":{"statement":"#);
            text(out, parse.statement);
            put(out, br#","query":"#);
            sql(out, &parse.query);
            put(out, br#","parameter_types":"#);
            oids(out, &parse.parameter_types);
        }
        Message::Bind(bind) => {
            put(out, br#","type":"Bind","body":{"portal":"#);
            text(out, bind.portal);
            put(out, br#","statement":"#);
            text(out, bind.statement);
            put(out, br#","parameter_formats":"#);
            formats(out, &bind.parameter_formats);
            put(out, br#","parameter_values":"#);
            values(out, &bind.parameter_values)?;
            put(out, br#","result_formats":"#);
            formats(out, &bind.result_formats);
            rest(out, bind.rest)?;
        }
        Message::Describe(target) => {
            match target.kind {
                TargetKind::Statement => put(out, br#","type":"Describe","body":{"kind":"statement","name":"#),
                TargetKind::Portal => put(out, br#","type":"Describe","body":{"kind":"portal","name":"#),
            }
            text(out, target.name);
        }
        Message::Execute(execute) => {
            put(out, br#","type":"Execute","body":{"portal":"#);
            text(out, execute.portal);
            put(out, br#","max_rows":"#);
            signed(out, execute.max_rows.into());
        }
        Message::ParameterDescription(description) => {
            put(out, br#","type":"ParameterDescription","body":{"parameter_types":"#);
            oids(out, &description.parameter_types);
        }
        Message::RowDescription(description) => {
            put(out, br#","type":"RowDescription","body":{"fields":"#);
            list(out, description.fields.iter(), |out, item| field(out, &item));
            rest(out, description.rest)?;
        }
        Message::DataRow(row) => {
            put(out, br#","type":"DataRow","body":{"values":"#);
            values(out, &row.values)?;
        }
        Message::CopyData(CopyData { data, rows: None }) => {
            put(out, br#","type":"CopyData","body":{"data":"#);
            piece(out, data)?;
        }
        Message::CopyData(CopyData { rows: Some(rows), .. }) if has_rows_alone(rows) => {
            put(out, br#","type":"CopyData","body":{"rows":"#);
            copy_rows(out, rows)?;
        }
        Message::CommandComplete(complete) => {
            put(out, br#","type":"CommandComplete","body":{"command_tag":"#);
            text(out, complete.command_tag);
            put(out, br#","command":"#);
            text(out, complete.command);
            if let Some(rows) = complete.rows {
                numbered(out, br#","rows":"#, rows);
            }
        }
        Message::ReadyForQuery(ready) => {
            put(out, br#","type":"ReadyForQuery","body":{"transaction_status":"#);
            transaction_status(out, ready.transaction_status)?;
        }
        Message::ParameterStatus(status) => {
            put(out, br#","type":"ParameterStatus","body":{"name":"#);
            text(out, status.name);
            put(out, br#","value":"#);
            text(out, status.value);
        }
        Message::ParseComplete => return bare(out, br#","type":"ParseComplete""#),
        Message::BindComplete => return bare(out, br#","type":"BindComplete""#),
        Message::Sync => return bare(out, br#","type":"Sync""#),
        other => return derived(out, other),
    }
    out.push(b'}');
    Ok(())
}

/// Writes the member of what is behind the fields that are known, with a comma before it.
fn rest(out: &mut Vec<u8>, rest: Option<Rest<'_>>) -> Result<(), Error> {
    let Some(rest) = rest else { return Ok(()) };
    put(out, br#","rest":"#);
    rest.serialize(Serializer::new(out))
}

/// Writes all that there is.
fn bare<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) -> Result<(), Error> {
    put(out, bytes);
    Ok(())
}

/// Writes what serde derives.
fn derived(out: &mut Vec<u8>, message: &Message<'_>) -> Result<(), Error> {
    put(out, br#","type":""#);
    out.extend_from_slice(message.name().as_bytes());
    out.push(b'"');
    if message.has_body() {
        put(out, br#","body":"#);
        Body(message).serialize(Serializer::new(out))?;
    }
    Ok(())
}

/// Writes text.
#[inline]
pub(super) fn text(out: &mut Vec<u8>, text: Text<'_>) {
    // In every encoding of a client, ASCII is ASCII.
    if !plain(out, text.0) {
        uncommon_text(out, text);
    }
}

#[inline(never)]
fn uncommon_text(out: &mut Vec<u8>, text: Text<'_>) {
    if text.0.is_ascii() {
        return escaped(out, text.0);
    }
    match text.to_str() {
        Some(text) => string(out, &text),
        None => {
            put(out, br#"{"hex":""#);
            hex::push(out, text.0);
            put(out, br#""}"#);
        }
    }
}

/// Writes SQL, with the secrets in it masked.
pub(super) fn sql(out: &mut Vec<u8>, sql: &Sql<'_>) {
    text(out, sql.masked().get());
}

/// Writes a piece of the data of a COPY.
fn piece(out: &mut Vec<u8>, piece: &CopyPiece<'_>) -> Result<(), Error> {
    if piece.format != Some(Format::TEXT) || piece.is_torn || piece.redaction.hides_values() {
        return piece.serialize(Serializer::new(out));
    }
    text(out, Text(piece.bytes, piece.encoding));
    Ok(())
}

/// Whether there is nothing to write but rows, each as an array of its values.
fn has_rows_alone(rows: &CopyRows<'_>) -> bool {
    let CopyRows { split, keys, redaction } = rows;
    let others = split.unfinished() + split.too_long() + split.lost();
    others == 0
        && !split.is_json()
        && keys.is_empty()
        && !redaction.hides_values()
        && split.header().is_none()
        && split.rest().is_none()
}

fn copy_rows(out: &mut Vec<u8>, rows: &CopyRows<'_>) -> Result<(), Error> {
    out.push(b'[');
    for (index, row) in rows.split.rows().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        copy_row(out, &row)?;
    }
    out.push(b']');
    Ok(())
}

fn copy_row(out: &mut Vec<u8>, row: &CopyRow<'_>) -> Result<(), Error> {
    let mut fields = row.fields();
    let start = out.len();
    loop {
        // A plain field is copied while it is looked for where it ends.
        put(out, b",\"");
        let before = out.len();
        match fields.next_plain(|line, delimiter| plain_until(out, line, delimiter)) {
            Some(Some(_)) => out.push(b'"'),
            Some(None) => {
                out.truncate(before - 1);
                put(out, b"null");
            }
            None => {
                out.truncate(before - 1);
                let Some(field) = fields.next() else { break };
                field.serialize(Serializer::new(out))?;
            }
        }
    }
    // Behind the last field there is a comma as well as before the first.
    out.pop();
    match out.get_mut(start) {
        Some(comma) => *comma = b'[',
        None => out.push(b'['),
    }
    out.push(b']');
    Ok(())
}

/// Writes the state of a transaction.
pub(super) fn transaction_status(out: &mut Vec<u8>, status: TransactionStatus) -> Result<(), Error> {
    match status {
        TransactionStatus::IDLE => put(out, br#""idle""#),
        TransactionStatus::IN_TRANSACTION => put(out, br#""in_transaction""#),
        TransactionStatus::FAILED => put(out, br#""failed""#),
        other => return other.serialize(Serializer::new(out)),
    }
    Ok(())
}

/// Writes an array.
#[inline]
pub(super) fn list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut item: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, next) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(out, next);
    }
    out.push(b']');
}

fn oids(out: &mut Vec<u8>, oids: &List<'_, Oid>) {
    list(out, oids.iter(), |out, oid| unsigned(out, oid.0.into()));
}

fn formats(out: &mut Vec<u8>, formats: &List<'_, Format>) {
    list(out, formats.iter(), format);
}

fn format(out: &mut Vec<u8>, format: Format) {
    match format {
        Format::TEXT => put(out, br#""text""#),
        Format::BINARY => put(out, br#""binary""#),
        Format(other) => {
            out.push(b'"');
            signed(out, other.into());
            out.push(b'"');
        }
    }
}

fn field(out: &mut Vec<u8>, field: &Field<'_>) {
    put(out, br#"{"name":"#);
    text(out, field.name);
    numbered(out, br#","table_oid":"#, field.table_oid.0.into());
    put(out, br#","attribute_number":"#);
    signed(out, field.attribute_number.into());
    numbered(out, br#","type_oid":"#, field.type_oid.0.into());
    put(out, br#","type_size":"#);
    signed(out, field.type_size.into());
    put(out, br#","type_modifier":"#);
    signed(out, field.type_modifier.into());
    put(out, br#","format":"#);
    format(out, field.format);
    if let Some(metadata) = field.metadata {
        put(out, br#","metadata":"#);
        for (index, (name, value)) in metadata.names().into_iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            plain_name(out, name);
            text(out, value);
        }
        for (name, value) in metadata.flags() {
            out.push(b',');
            plain_name(out, name);
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
        out.push(b'}');
    }
    out.push(b'}');
}

/// Writes the name of a member, which is a word, and what is before its value.
fn plain_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    put(out, b"\":");
}

/// Writes values by their types.
pub(super) fn values(out: &mut Vec<u8>, values: &Values<'_>) -> Result<(), Error> {
    if values.columns.is_some() {
        return values.serialize(Serializer::new(out));
    }
    out.push(b'[');
    for item in values.iter() {
        value(out, &item)?;
        out.push(b',');
    }
    // There is none behind the last.
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b']');
    Ok(())
}

#[inline(always)]
pub(super) fn value(out: &mut Vec<u8>, value: &FormattedValue<'_>) -> Result<(), Error> {
    let Some(bytes) = value.value.0 else { return bare(out, b"null") };
    let Some(typed) = value.typed().filter(|_| !value.redaction.hides_values()) else {
        return value.serialize(Serializer::new(out));
    };
    if !looked_at(out, Look::of(typed.type_oid, typed.format), bytes) {
        return typed.serialize(Serializer::new(out));
    }
    Ok(())
}

/// Writes a value, if a look at its bytes is enough for that.
#[inline(always)]
pub(super) fn looked_at(out: &mut Vec<u8>, look: Look, bytes: &[u8]) -> bool {
    if look == Look::Text {
        return plain(out, bytes);
    }
    let is_integer = look.is_integer(bytes);
    if is_integer {
        integer(out, bytes);
    }
    is_integer
}

/// Writes the types and bodies of messages of data that are alike.
#[derive(Debug, Default)]
pub(super) struct RowWriter {
    looks: Vec<Look>,
}

impl RowWriter {
    /// Makes itself ready for rows. Says whether it can write them.
    pub(super) fn prepare(&mut self, data: &MessageRun<'_>) -> bool {
        let MessageRun { first, .. } = data;
        match (first.frame.tag, &first.columns, &first.copy) {
            (Some(backend::DATA_ROW), Some(columns), _)
                if columns.fields.is_none() && !first.context.redaction.hides_values() =>
            {
                let Columns { formats, types, .. } = *columns;
                let count = first.frame.body.first_chunk().map_or(0, |count| u16::from_be_bytes(*count));
                self.looks.clear();
                self.looks.extend((0..count.into()).map_while(|index| {
                    let format = formats.get(index)?.of_value()?;
                    Some(Look::of(types.get(index), format))
                }));
                self.looks.len() == usize::from(count)
            }
            (Some(backend::COPY_DATA), _, Some(rows)) => has_rows_alone(rows),
            _ => false,
        }
    }

    /// Writes one of them, if nothing is odd about it; else anything.
    #[inline(always)]
    pub(super) fn write(&self, out: &mut Vec<u8>, event: &MessageEvent<'_>, body: &[u8]) -> Option<()> {
        match (&event.columns, &event.copy) {
            (Some(columns), _) => {
                put(out, br#","type":"DataRow","body":{"values":["#);
                self.values(out, columns, event.context, body)?;
            }
            (None, Some(rows)) => {
                put(out, br#","type":"CopyData","body":{"rows":["#);
                copy_row(out, &rows.of_row(body).split.row()?).ok()?;
            }
            (None, None) => return None,
        }
        put(out, b"]}");
        Some(())
    }

    #[inline(always)]
    fn values(&self, out: &mut Vec<u8>, columns: &Columns<'_>, context: Context, body: &[u8]) -> Option<()> {
        let mut reader = Reader::new(body).with_encoding(context.encoding);
        if usize::from(reader.u16("number of columns").ok()?) != self.looks.len() {
            return None;
        }
        for (index, look) in self.looks.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match reader.sized() {
                Some(bytes) if looked_at(out, *look, bytes) => {}
                Some(bytes) => {
                    let Columns { formats, types, settings, .. } = *columns;
                    let format = formats.get(index)?.of_value()?;
                    let encoding = context.encoding;
                    let typed = TypedValue { type_oid: types.get(index), format, bytes, settings, encoding };
                    typed.serialize(Serializer::new(out)).ok()?;
                }
                None if reader.i32("length of a value") == Ok(-1) => put(out, b"null"),
                None => return None,
            }
        }
        reader.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pg::row::Value;
    use crate::redaction::Redaction;
    use crate::sql::statement::{CopyFormat, CopyOptions};
    use crate::value::Settings;
    use crate::value::copy::Splitter;

    fn settings(encoding: &str) -> Settings {
        let mut settings = Settings::default();
        settings.parameter(b"client_encoding", encoding.as_bytes());
        settings
    }

    proptest! {
        #[test]
        fn rows_are_written_as_they_are_derived(
            fields in proptest::collection::vec(
                prop_oneof![
                    3 => proptest::sample::select(vec![
                        "", "7", "-12345", "\\N", "NULL", "\\.", "a\\tb", "\"two\"", "\"a,\"\"b\"", "'x'", "a'b", "\u{7f}",
                        "größe", "\u{9b}", "|", ",", "\\",
                    ]).prop_map(str::to_owned),
                    1 => "[ -~]{0,70}",
                ],
                0..12,
            ),
            ends in proptest::collection::vec(proptest::sample::select(vec!["\t", "\t", ",", ",", "|", "\n", "\n"]), 12),
            options in proptest::sample::select(vec![
                CopyOptions::new(CopyFormat::Text),
                CopyOptions { delimiter: b'|', null: b"NULL".into(), ..CopyOptions::new(CopyFormat::Text) },
                CopyOptions::new(CopyFormat::Csv),
                CopyOptions { quote: b'\'', escape: b'\\', ..CopyOptions::new(CopyFormat::Csv) },
                CopyOptions { header_lines: 1, ..CopyOptions::new(CopyFormat::Csv) },
            ]),
            encoding in proptest::sample::select(vec!["UTF8", "LATIN1", "SJIS"]),
            by_line: bool,
        ) {
            let data: String = fields.iter().zip(ends).flat_map(|(field, end)| [field, end]).collect();
            let pieces: Vec<&str> = if by_line { data.split_inclusive('\n').collect() } else { vec![&data] };
            let settings = settings(encoding);
            let (encoding, redaction) = (settings.encoding(), Redaction::Secrets);
            let mut splitter = Splitter::new(options, &settings, 1_000);
            for bytes in pieces.into_iter().map(str::as_bytes) {
                splitter.push(bytes);
                let data = CopyPiece { bytes, format: Some(Format::TEXT), encoding, is_torn: false, redaction };
                let rows = Some(CopyRows { split: splitter.split(bytes), keys: &[], redaction });
                let message = Message::CopyData(CopyData { data, rows });
                let (mut written, mut expected) = (Vec::new(), Vec::new());
                type_and_body(&mut written, &message).unwrap();
                derived(&mut expected, &message).unwrap();
                prop_assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(expected).unwrap());
            }
        }

        #[test]
        fn values_are_written_as_they_are_derived(
            text in prop_oneof!["-?0?[0-9]{0,20}", "[0-9]{1,10}.?", "[ -~]{0,70}", "\\PC{0,20}"],
            type_oid in proptest::sample::select(vec![0, 16, 20, 21, 23, 25, 26, 701, 1042, 1700]),
        ) {
            let settings = settings("UTF8");
            let value = Value(Some(text.as_bytes()));
            let value = FormattedValue::new(value, Some(Format::TEXT), settings.encoding(), Redaction::Secrets);
            let value = FormattedValue { type_oid, settings: Some(&settings), ..value };
            let (mut written, mut expected) = (Vec::new(), Vec::new());
            super::value(&mut written, &value).unwrap();
            value.serialize(Serializer::new(&mut expected)).unwrap();
            prop_assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(expected).unwrap());
        }
    }
}
