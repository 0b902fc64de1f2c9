//! Requests for OpenTelemetry, as the lines of JSON that the collector's `otlpjsonfile` receiver reads: spans, and the histogram of
//! their durations.
//!
//! Names and meanings are those of the stable semantic conventions for client calls of databases, but for `db.response.returned_rows`,
//! which they have as experimental, and for `pgdissect.*`. The types are the messages of the protocol that are written, in its mapping
//! to JSON: keys in lower camel case, integers of 64 bits as strings, identifiers in hex.

mod attributes;
mod lines;
mod metrics;
mod span;
mod summary;

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use self::attributes::{Attribute, Value};
use self::span::Span;
use super::Form;
use crate::pg::text::{Bytea, Text};
use crate::record::{QueryRecord, Record};

pub(crate) use self::lines::TraceLines;
pub(crate) use self::metrics::Durations;

/// Requests as spans. Each line has one; [`TraceLines`] joins them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Otlp;

impl Form for Otlp {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Query(query) => super::json::write_value(out, &trace(query)),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>, _ends: bool) -> io::Result<()> {
        out.extend_from_slice(lines::END);
        Ok(())
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(*self)
    }
}

/// `TracesData`, of one span.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Debug, Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: [Span<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Resource<'a> {
    attributes: [Attribute<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

impl Scope {
    const SELF: Self = Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
}

fn trace<'a>(query: &QueryRecord<'a>) -> Trace<'a> {
    let resource = Resource::of(service(query));
    let scope_spans = [ScopeSpans { scope: Scope::SELF, spans: [Span::new(query)] }];
    Trace { resource_spans: [ResourceSpans { resource, scope_spans }] }
}

impl<'a> Resource<'a> {
    fn of(service: std::borrow::Cow<'a, str>) -> Self {
        Self { attributes: [Attribute { key: "service.name", value: Value::String(service) }] }
    }
}

/// Returns the name of the service that made a request: that of its application. Without one, what the conventions say.
fn service<'a>(query: &QueryRecord<'a>) -> std::borrow::Cow<'a, str> {
    match query.application {
        Some(application) if !application.0.is_empty() => string(application),
        _ => "unknown_service".into(),
    }
}

/// Returns text as a string; in hex, as `\x…`, if it is not valid in its encoding.
fn string(text: Text<'_>) -> std::borrow::Cow<'_, str> {
    text.to_str().unwrap_or_else(|| Bytea(text.0).to_string().into())
}

/// An integer of 64 bits, which the mapping to JSON has as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Long<T>(T);

impl<T: fmt::Display> Serialize for Long<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
