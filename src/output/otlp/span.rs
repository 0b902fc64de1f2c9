//! A request as a span.

use std::borrow::Cow;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::attributes::{Attribute, Attributes};
use super::summary::summary;
use super::{Long, string};
use crate::hex::Hex;
use crate::pg::error::code;
use crate::pg::text::{KeptText, Sql, Text};
use crate::record::{Outcome, Protocol, QueryRecord, QuerySql};
use crate::redaction::Redaction;
use crate::sql::statement;

/// `SPAN_KIND_CLIENT`.
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent is another process's.
const REMOTE_PARENT: u32 = 0x300;

/// How many bytes of the SQL, and of an error, are written. Collectors read lines of at most 1 MiB by default, and an escape has six bytes.
const MAX_SQL: usize = 128 << 10;
const MAX_MESSAGE: usize = 16 << 10;

/// `Span`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u32>,
    name: Cow<'a, str>,
    kind: u8,
    start_time_unix_nano: Long<i64>,
    end_time_unix_nano: Long<i64>,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

/// `Status`.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    code: u8,
}

impl<'a> Span<'a> {
    pub(super) fn new(query: &QueryRecord<'a>) -> Self {
        let [trace_id, span_id] = identifiers(query);
        let parent = query.sql.as_ref().and_then(Parent::of);
        let summary = query.sql.as_ref().and_then(summary);
        let name = summary.clone().map_or("postgresql".into(), Cow::Owned);
        // A request without an end ends when that was last known.
        let micros = query.total_us.or(query.age_us);
        let ended = micros.map_or(query.header.ts, |micros| query.started.later(micros));
        let status = || {
            let message = query.error.as_ref().and_then(|error| error.fields.get_sql(code::MESSAGE));
            Status { message: message.map(|message| cut(&message.masked(), MAX_MESSAGE)), code: ERROR }
        };
        let is_failed = query.has_failed() || query.outcome == Outcome::Aborted;
        Self {
            flags: parent.as_ref().map(|parent| REMOTE_PARENT | u32::from(parent.flags)),
            trace_id: parent.as_ref().map_or(trace_id, |parent| parent.trace_id.clone()),
            span_id,
            parent_span_id: parent.map(|parent| parent.span_id),
            kind: CLIENT,
            start_time_unix_nano: Long(query.started.as_nanos()),
            end_time_unix_nano: Long(ended.as_nanos().max(query.started.as_nanos())),
            attributes: attributes(query, summary),
            status: is_failed.then(status),
            name,
        }
    }
}

fn attributes<'a>(query: &QueryRecord<'a>, summary: Option<String>) -> Vec<Attribute<'a>> {
    let mut attributes = Attributes::of_few_values(query, summary);
    if let Some(sql) = &query.sql {
        attributes.string("db.query.text", text(sql));
        // "SHOULD NOT be set for a single operation".
        let statements = || statement::split(&sql.0.text.kept()).count();
        if query.protocol == Protocol::Simple
            && let Some(statements @ 2..) = Some(statements())
        {
            attributes.int("db.operation.batch.size", statements as u64);
        }
    }
    if let Some(rows) = returned_rows(query) {
        attributes.int("db.response.returned_rows", rows);
    }
    attributes.end(["client.address", "client.port"], query.header.client);
    if let Some(user) = query.user {
        attributes.string("user.name", string(user));
    }
    if query.outcome != Outcome::Ok {
        let outcome = match query.outcome {
            Outcome::Ok => "ok",
            Outcome::Error => "error",
            Outcome::Canceled => "canceled",
            Outcome::Skipped => "skipped",
            Outcome::Suspended => "suspended",
            Outcome::Aborted => "aborted",
            Outcome::Incomplete => "incomplete",
            Outcome::Running => "running",
        };
        attributes.string("pgdissect.outcome", outcome);
    }
    attributes.int("pgdissect.conn", query.header.conn);
    attributes.int("pgdissect.query", query.query);
    attributes.0
}

/// Returns the SQL as it is to be written.
fn text(sql: &QuerySql<'_>) -> String {
    let QuerySql(Sql { text, redaction }) = sql;
    if redaction.hides_values() {
        let (normalized, _) = sql.normalize();
        return cut(&Text(&normalized, text.1).kept(), MAX_SQL);
    }
    cut(&sql.0.masked(), MAX_SQL)
}

/// Returns the beginning of a text.
fn cut(text: &KeptText<'_>, limit: usize) -> String {
    let mut text = string(text.get()).into_owned();
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// Returns how many rows were returned, if all were: the tags of other commands count what they changed.
fn returned_rows(query: &QueryRecord<'_>) -> Option<u64> {
    let mut tags = query.command_tags.iter();
    let returns = |tag: &[u8]| tag.starts_with(b"SELECT ") || tag.starts_with(b"FETCH ");
    query.rows.filter(|_| !query.command_tags.is_empty() && tags.all(|tag| returns(tag.0)))
}

/// Returns the identifiers of a request's trace and span: the same whenever the capture is read.
fn identifiers(query: &QueryRecord<'_>) -> [String; 2] {
    let mut hash = Sha256::new();
    for end in [query.header.client, query.header.server] {
        hash.update(end);
        hash.update([0]);
    }
    for number in [query.header.conn, query.query] {
        hash.update(number.to_be_bytes());
    }
    hash.update(query.started.as_nanos().to_be_bytes());
    let hash = hash.finalize();
    let hex = |range: std::ops::Range<usize>| Hex(hash.get(range).unwrap_or_default()).to_string();
    [hex(0..16), hex(16..24)]
}

/// The span that caused a request, by the `traceparent` in the comment of its SQL.
struct Parent {
    trace_id: String,
    span_id: String,
    flags: u8,
}

impl Parent {
    fn of(sql: &QuerySql<'_>) -> Option<Self> {
        // Without values, too: it is of a fixed form, and no data.
        let redaction = sql.0.redaction.min(Redaction::Secrets);
        let tags = Sql { redaction, ..sql.0 }.tags();
        let (_, value) = tags.iter().find(|(key, _)| key == "traceparent")?;
        Self::read(value)
    }

    /// Parses a header of the W3C's Trace Context. A version after 00 may have more behind it.
    fn read(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let mut part = |len: usize| {
            let is_hex = |part: &&str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            parts.next().filter(|part| part.len() == len).filter(is_hex)
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_zero = |id: &str| id.bytes().all(|b| b == b'0');
        if version == "ff" || version == "00" && parts.next().is_some() || is_zero(trace_id) || is_zero(span_id) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id: trace_id.to_owned(), span_id: span_id.to_owned(), flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_what_the_recommendation_has_and_nothing_else() {
        let read = |value: &str| Parent::read(value).map(|parent| (parent.trace_id, parent.span_id, parent.flags));
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let valid = Some((trace.to_owned(), span.to_owned(), 1));
        assert_eq!(read(&format!("00-{trace}-{span}-01")), valid);
        assert_eq!(read(&format!("cc-{trace}-{span}-01-what-the-future-has")), valid);
        for wrong in [
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-1"),
            String::new(),
        ] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}
