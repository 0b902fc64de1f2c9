//! Redaction: which data is left out of lines.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::value;

/// What is left out of lines. Each variant includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redaction {
    /// Nothing.
    Nothing,
    /// Passwords, keys, hashes and proofs.
    #[default]
    Secrets,
    /// User data: parameters, rows, COPY data, payloads, constants in SQL, values of arbitrary settings, and text that may quote
    /// these. Names, shapes, types, lengths and times are kept.
    Values,
}

impl Redaction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Secrets, Self::Values];

    /// Returns whether passwords, keys, hashes and proofs are left out.
    pub const fn hides_secrets(self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Returns whether user data is left out.
    pub const fn hides_values(self) -> bool {
        matches!(self, Self::Values)
    }

    /// Returns the shape that replaces data of a type (0 if unknown); `None` if the data is written.
    pub fn shape(self, type_oid: u32, data: &[u8]) -> Option<Shape> {
        self.hides_values().then(|| Shape { type_name: value::type_name(type_oid), bytes: data.len() })
    }
}

/// The replacement of redacted data: `{"type":"int4","bytes":4}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Shape {
    /// Its type, if it is known and part of every PostgreSQL installation.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<&'static str>,
    /// Its length on the wire, or the captured part of it; for a field of COPY data, without quotes and escapes.
    pub bytes: usize,
}

impl Shape {
    /// Returns the schema of a value that a shape may replace.
    pub(crate) fn or<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), generator.subschema_for::<Self>()] })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<")?;
        if let Some(name) = self.type_name {
            write!(f, "{name}, ")?;
        }
        write!(f, "{} byte{}>", self.bytes, if self.bytes == 1 { "" } else { "s" })
    }
}
