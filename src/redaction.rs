//! How much of what was on the wire is written.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::value;

/// What is left out of the lines: each leaves out what those before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redaction {
    /// Nothing.
    Nothing,
    /// Passwords, keys, hashes and proofs.
    #[default]
    Secrets,
    /// What a user would call data: parameters, rows, COPY data, payloads, constants in SQL, values of settings that may be
    /// anything, and what may quote these. Names are left, and shapes, types, lengths and times.
    Values,
}

impl Redaction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Secrets, Self::Values];

    /// Whether passwords, keys, hashes and proofs are left out.
    pub const fn hides_secrets(self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// Whether data is left out.
    pub const fn hides_values(self) -> bool {
        matches!(self, Self::Values)
    }

    /// The shape that stands in place of data of a type (0 where that is not known); nothing where the data is written.
    pub fn shape(self, type_oid: u32, data: &[u8]) -> Option<Shape> {
        self.hides_values().then(|| Shape { type_name: value::type_name(type_oid), bytes: data.len() })
    }
}

/// What stands in place of data: `{"type":"int4","bytes":4}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Shape {
    /// Its type, where that is known and is one of every PostgreSQL.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_name: Option<&'static str>,
    /// Its length on the wire, or how much of it was captured; of a field of COPY data, without quotes and escapes.
    pub bytes: usize,
}

impl Shape {
    /// The schema of something that it may stand in place of.
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
