//! Tables that pgoutput has described, and rows of them.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::pgoutput::{Column, RelationMessage, ReplicaIdentity, Tuple, TupleValue};
use crate::pg::keys::UniqueKeys;
use crate::pg::row::{Format, FormattedValue, Value};
use crate::pg::text::{KeptText, Text, inline_schema};
use crate::redaction::Redaction;
use crate::value::Settings;

/// The most bytes of a name that is kept: more than any identifier has.
pub(crate) const MAX_NAME: usize = 1_024;

/// A table, as it was described last.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its object ID.
    pub oid: u32,
    schema: KeptText<'static>,
    table: KeptText<'static>,
    replica_identity: ReplicaIdentity,
    columns: Vec<RelationColumn>,
}

/// A column of a table.
#[derive(Clone, Debug)]
struct RelationColumn {
    /// Its name, made unique.
    key: String,
    type_oid: u32,
    /// The name of its type, if a Type message has told it.
    type_name: Option<Arc<str>>,
    is_key: bool,
}

impl Relation {
    /// Keeps what a message says. The names of types that are not built in are those that `type_name` returns.
    pub fn new(message: &RelationMessage<'_>, type_name: impl Fn(u32) -> Option<Arc<str>>) -> Self {
        let mut keys = UniqueKeys::default();
        let column = |Column { is_key, name, type_oid, .. }: Column<'_>| (name.kept().into_owned(), type_oid, is_key);
        let columns: Vec<_> = message.columns.iter().map(column).collect();
        let columns = columns
            .iter()
            .map(|(name, type_oid, is_key)| {
                let key = keys.next(name.get()).into_owned();
                RelationColumn { key, type_oid: *type_oid, type_name: type_name(*type_oid), is_key: *is_key }
            })
            .collect();
        Self {
            oid: message.oid,
            schema: message.schema().kept().into_owned(),
            table: message.table.kept().into_owned(),
            replica_identity: message.replica_identity,
            columns,
        }
    }

    /// Returns whether its names, which are repeated with each change, are too long: "the maximum identifier length is 63 bytes",
    /// unless a server was built with another limit.
    pub fn is_too_long(message: &RelationMessage<'_>) -> bool {
        let names = message.columns.iter().map(|column| column.name).chain([message.schema(), message.table]);
        names.into_iter().any(|name| name.0.len() > MAX_NAME)
    }

    /// Returns about how many bytes it would need, before it is kept.
    pub fn size_of(message: &RelationMessage<'_>) -> usize {
        let columns = message.columns.iter().map(|column| size_of::<RelationColumn>() + 2 * column.name.0.len());
        size_of::<Self>() + message.schema.0.len() + message.table.0.len() + columns.sum::<usize>()
    }

    /// Returns the name of its schema.
    pub fn schema(&self) -> Text<'_> {
        self.schema.get()
    }

    /// Returns its name.
    pub fn table(&self) -> Text<'_> {
        self.table.get()
    }

    /// Returns its columns: their names, made unique, and the object IDs of their types.
    pub fn columns(&self) -> impl Iterator<Item = (&str, u32)> {
        self.columns.iter().map(|column| (&*column.key, column.type_oid))
    }

    /// Returns what identifies its old rows.
    pub const fn replica_identity(&self) -> ReplicaIdentity {
        self.replica_identity
    }

    /// Returns whether a row has as many values as it has columns, as far as the row is there.
    pub const fn fits(&self, tuple: &Tuple<'_>) -> bool {
        tuple.len() == self.columns.len() || tuple.is_cut() && tuple.len() < self.columns.len()
    }
}

/// Which of the values of a row are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All that were sent.
    Row,
    /// Those of the key that identifies the row: the others are NULL on the wire.
    Key,
}

/// A row, as it is written: by the names of its columns if they are known, else an array.
#[derive(Clone, Copy, Debug)]
pub struct RowValues<'a> {
    tuple: Tuple<'a>,
    relation: Option<&'a Relation>,
    part: Part,
    settings: Option<&'a Settings>,
    redaction: Redaction,
}

impl<'a> RowValues<'a> {
    /// Creates a row of a table, if that is known.
    pub fn new(
        tuple: Tuple<'a>,
        relation: Option<&'a Relation>,
        part: Part,
        settings: Option<&'a Settings>,
        redaction: Redaction,
    ) -> Self {
        Self { tuple, relation: relation.filter(|relation| relation.fits(&tuple)), part, settings, redaction }
    }

    /// Returns the columns whose values were not sent, if there are any.
    pub fn unchanged(&self) -> Option<UnchangedColumns<'a>> {
        let is_unchanged = self.tuple.iter().any(|value| value == TupleValue::Unchanged);
        is_unchanged.then_some(UnchangedColumns { tuple: self.tuple, relation: self.relation })
    }

    /// Returns whether the names of its columns are known.
    pub const fn has_names(&self) -> bool {
        self.relation.is_some()
    }

    /// Iterates over the values that are written, each with the name of its column if that is known.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&'a str>, FormattedValue<'a>)> {
        let Self { tuple, relation, part, .. } = *self;
        tuple.iter().enumerate().filter_map(move |(position, value)| {
            let column = relation.and_then(|relation| relation.columns.get(position));
            // Without names, a place that is left out would move those behind it.
            let is_written = column.is_none_or(|column| match value {
                TupleValue::Unchanged => false,
                TupleValue::Null => part == Part::Row || column.is_key,
                TupleValue::Text(_) | TupleValue::Binary(_) => true,
            });
            let value = self.value(value, column.map_or(0, |column| column.type_oid));
            is_written.then_some((column.map(|column| &*column.key), value))
        })
    }

    fn value(&self, value: TupleValue<'a>, type_oid: u32) -> FormattedValue<'a> {
        let (bytes, format) = match value {
            TupleValue::Null | TupleValue::Unchanged => (None, Format::TEXT),
            TupleValue::Text(bytes) => (Some(bytes), Format::TEXT),
            TupleValue::Binary(bytes) => (Some(bytes), Format::BINARY),
        };
        let encoding = self.tuple.encoding();
        let value = FormattedValue::new(Value(bytes), Some(format), encoding, self.redaction);
        FormattedValue { type_oid, settings: self.settings, ..value }
    }
}

impl Serialize for RowValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.relation.is_none() {
            return serializer.collect_seq(self.iter().map(|(_, value)| value));
        }
        serializer.collect_map(self.iter().map(|(name, value)| (name.unwrap_or_default(), value)))
    }
}

inline_schema!(RowValues<'_>, "RowValues", |_: &mut schemars::SchemaGenerator| schemars::json_schema!({
    "type": ["array", "object"]
}));

/// The columns of a row whose values were not sent, because they are large and were not changed: names, or positions from 1 if the
/// names are not known.
#[derive(Clone, Copy, Debug)]
pub struct UnchangedColumns<'a> {
    tuple: Tuple<'a>,
    relation: Option<&'a Relation>,
}

impl<'a> UnchangedColumns<'a> {
    /// Iterates over their names, or, where these are not known, their places, from 1.
    pub(crate) fn names(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let Self { tuple, relation } = *self;
        let positions = tuple.iter().enumerate().filter(|(_, value)| *value == TupleValue::Unchanged);
        positions.map(move |(position, _)| match relation.and_then(|relation| relation.columns.get(position)) {
            Some(column) => Cow::Borrowed(&*column.key),
            None => Cow::Owned((position + 1).to_string()),
        })
    }
}

impl Serialize for UnchangedColumns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

inline_schema!(UnchangedColumns<'_>, "UnchangedColumns", |_: &mut schemars::SchemaGenerator| schemars::json_schema!({
    "type": "array", "items": { "type": "string" }
}));

/// A column in a Relation message.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct ColumnBody<'a> {
    /// Its name.
    name: Text<'a>,
    /// The object ID of its type.
    type_oid: u32,
    /// The name of its type, if it is part of every installation, or if a Type message was seen.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<&'a str>,
    /// The modifier of its type; -1 if there is none.
    type_modifier: i32,
    /// Whether it is part of the key that identifies old rows.
    is_key: bool,
}

impl<'a> ColumnBody<'a> {
    /// Creates that of a column at a position of a table.
    pub(super) fn new(column: Column<'a>, relation: Option<&'a Relation>, position: usize) -> Self {
        let Column { is_key, name, type_oid, type_modifier } = column;
        let named = || relation?.columns.get(position)?.type_name.as_deref();
        let type_name = crate::value::type_name(type_oid).or_else(named);
        Self { name, type_oid, type_name, type_modifier, is_key }
    }
}
