//! Lines as typed tables: what columns the lines of an event have, read from the schema that `--schema` prints.

use std::fmt;

use schemars::Schema;
use serde_json::Value;

use crate::record;

#[cfg(feature = "parquet")]
pub(crate) mod parquet;
mod sql;

pub(crate) use sql::{clickhouse, duckdb};

/// An event whose lines are rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Query,
    Session,
    Change,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Query, Self::Session, Self::Change];

    /// Returns the name of the event.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Session => "session",
            Self::Change => "change",
        }
    }

    /// Returns its columns, without `event`: those that all lines have, then the others.
    pub(crate) fn columns(self) -> Vec<Column> {
        columns_of(&record::schema(), self.name()).unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether not all lines have it.
    pub(crate) is_nullable: bool,
}

/// What values a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    UInt16,
    UInt32,
    UInt64,
    /// A time in UTC.
    Timestamp,
    /// Text. What is not valid text is the JSON of an object with its bytes in hex.
    Text,
    /// A list of such texts.
    TextList,
    /// Any JSON, as its text.
    Json,
}

/// Returns the columns of the lines of an event; `None` if the schema has no such event.
fn columns_of(schema: &Schema, event: &str) -> Option<Vec<Column>> {
    let root = schema.as_value();
    let is_event = |record: &&Value| record.pointer("/properties/event/const").and_then(Value::as_str) == Some(event);
    let record = root.get("oneOf")?.as_array()?.iter().find(is_event)?;
    let record = resolve(record, root);
    let properties = record.get("properties")?.as_object()?;
    let required: Vec<_> = record.get("required")?.as_array()?.iter().filter_map(Value::as_str).collect();
    // The properties are sorted by name; `required` is in the order of the fields, and begins with what identifies a line.
    let others = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
    let columns = required.iter().copied().chain(others).filter(|name| *name != "event").filter_map(|name| {
        let kind = kind_of(properties.get(name)?, root);
        Some(Column { name: name.to_owned(), kind, is_nullable: !required.contains(&name) })
    });
    Some(columns.collect())
}

/// Returns what a reference refers to.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str);
    reference.and_then(|path| root.pointer(path.strip_prefix('#')?)).unwrap_or(schema)
}

/// What a schema allows.
#[derive(Default)]
struct Allowed<'a> {
    types: Vec<&'a str>,
    format: Option<&'a str>,
    /// Whether items of an array are text.
    is_of_text: bool,
}

impl<'a> Allowed<'a> {
    fn add(&mut self, schema: &'a Value, root: &'a Value) {
        let schema = resolve(schema, root);
        match schema.get("type") {
            Some(Value::String(one)) => self.types.push(one),
            Some(Value::Array(several)) => self.types.extend(several.iter().filter_map(Value::as_str)),
            _ => {}
        }
        self.format = self.format.or_else(|| schema.get("format")?.as_str());
        if let Some(items) = schema.get("items") {
            self.is_of_text |= items.get("enum").is_some() || kind_of(items, root) == Kind::Text;
        }
        let alternatives = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
        alternatives.flatten().for_each(|schema| self.add(schema, root));
    }
}

fn kind_of(schema: &Value, root: &Value) -> Kind {
    let mut allowed = Allowed::default();
    allowed.add(schema, root);
    let allows = |name| allowed.types.contains(&name);
    match allowed.format {
        Some("date-time") => Kind::Timestamp,
        Some("int32") => Kind::Int32,
        Some("uint16") => Kind::UInt16,
        Some("uint32") => Kind::UInt32,
        // Beyond what is exact in every reader, it is a string of its digits.
        Some("uint64") => Kind::UInt64,
        _ if allows("boolean") => Kind::Bool,
        _ if allows("string") => Kind::Text,
        _ if allows("array") && !allows("object") && allowed.is_of_text => Kind::TextList,
        _ => Kind::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_types_of_the_schema() {
        let columns = Table::ALL.map(Table::columns);
        let column = |table: usize, name: &str| {
            let found = columns[table].iter().find(|column| column.name == name);
            found.map(|column| (column.kind, column.is_nullable))
        };
        for (table, name, kind, is_nullable) in [
            (0, "ts", Kind::Timestamp, false),
            (0, "conn", Kind::UInt64, false),
            (0, "client_port", Kind::UInt16, false),
            (0, "user", Kind::Text, true),
            (0, "outcome", Kind::Text, false),
            (0, "tx", Kind::Text, true),
            (0, "sql", Kind::Text, true),
            (0, "tags", Kind::Json, true),
            (0, "params", Kind::Json, true),
            (0, "error", Kind::Json, true),
            (0, "command_tags", Kind::TextList, true),
            (0, "flags", Kind::TextList, true),
            (0, "function_oid", Kind::UInt32, true),
            (1, "process_id", Kind::Int32, true),
            (1, "parameters", Kind::Json, true),
            (1, "publications", Kind::TextList, true),
            (1, "duration_us", Kind::UInt64, true),
            (2, "new", Kind::Json, true),
            (2, "cascade", Kind::Bool, true),
            (2, "unchanged", Kind::TextList, true),
            (2, "content", Kind::Text, true),
        ] {
            assert_eq!(column(table, name), Some((kind, is_nullable)), "{} {name}", Table::ALL[table]);
        }
        for columns in columns {
            assert!(columns.iter().all(|column| column.name != "event"));
            assert_eq!(columns[0].name, "ts");
        }
    }

    #[test]
    fn another_event_has_no_columns() {
        assert_eq!(columns_of(&record::schema(), "nothing"), None);
    }
}
