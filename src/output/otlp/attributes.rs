//! Attributes of spans and of metrics.

use std::borrow::Cow;

use serde::Serialize;

use super::{Long, string};
use crate::pg::error::code;
use crate::record::{Outcome, QueryRecord};

/// `KeyValue`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Attribute<'a> {
    pub(super) key: &'static str,
    pub(super) value: Value<'a>,
}

/// `AnyValue`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Value<'a> {
    #[serde(rename = "stringValue")]
    String(Cow<'a, str>),
    #[serde(rename = "intValue")]
    Int(Long<i64>),
    #[serde(rename = "boolValue")]
    Bool(bool),
}

impl Attribute<'_> {
    pub(super) fn into_owned(self) -> Attribute<'static> {
        let value = match self.value {
            Value::String(text) => Value::String(text.into_owned().into()),
            Value::Int(number) => Value::Int(number),
            Value::Bool(value) => Value::Bool(value),
        };
        Attribute { key: self.key, value }
    }
}

/// Attributes, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a>(pub(super) Vec<Attribute<'a>>);

impl<'a> Attributes<'a> {
    pub(super) fn string(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        self.0.push(Attribute { key, value: Value::String(value.into()) });
    }

    pub(super) fn int(&mut self, key: &'static str, value: u64) {
        // No number of an attribute is that large.
        self.0.push(Attribute { key, value: Value::Int(Long(i64::try_from(value).unwrap_or(i64::MAX))) });
    }

    /// Adds an address and its port.
    pub(super) fn end(&mut self, [address_key, port_key]: [&'static str; 2], end: &'a str) {
        let Some((address, port)) = end.rsplit_once(':') else { return };
        let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
        self.string(address_key, address);
        if let Ok(port) = port.parse() {
            self.int(port_key, port);
        }
    }

    /// Returns the attributes of a request that its duration has as well: those with few values.
    pub(super) fn of_few_values(query: &QueryRecord<'a>, summary: Option<String>) -> Self {
        let mut attributes = Self::default();
        attributes.string("db.system.name", "postgresql");
        if let Some(database) = query.database {
            attributes.string("db.namespace", string(database));
        }
        if let Some(summary) = summary {
            attributes.string("db.query.summary", summary);
        }
        let state = query.error.as_ref().and_then(|error| error.fields.get(code::CODE)).map(string);
        if let Some(state) = &state {
            attributes.string("db.response.status_code", state.clone());
        }
        let failure = state.or(match query.outcome {
            Outcome::Error => Some("error".into()),
            Outcome::Canceled => Some("canceled".into()),
            Outcome::Aborted => Some("aborted".into()),
            _ => None,
        });
        if let Some(failure) = failure {
            attributes.string("error.type", failure);
        }
        attributes.end(["server.address", "server.port"], query.header.server);
        attributes.end(["network.peer.address", "network.peer.port"], query.header.server);
        attributes
    }
}
