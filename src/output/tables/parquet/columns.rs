//! Rows as the columns of a Parquet file.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{Column, Kind, Table};

/// The columns of a table, with the rows that are in memory.
pub(super) struct Columns {
    schema: TypePtr,
    by_name: HashMap<String, usize>,
    columns: Vec<ColumnValues>,
    rows: usize,
    line_bytes: usize,
}

impl Columns {
    pub(super) fn of(table: Table) -> Result<Self> {
        let columns = table.columns();
        let fields = columns.iter().map(|column| Ok(Arc::new(field(column)?))).collect::<Result<_>>()?;
        Ok(Self {
            schema: Arc::new(Type::group_type_builder(table.name()).with_fields(fields).build()?),
            by_name: columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect(),
            columns: columns.into_iter().map(ColumnValues::new).collect(),
            rows: 0,
            line_bytes: 0,
        })
    }

    pub(super) fn schema(&self) -> TypePtr {
        Arc::clone(&self.schema)
    }

    /// Returns the number of rows.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the size of the lines of these rows.
    pub(super) const fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Adds a row with the members of a line.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        deserializer.deserialize_map(Row(self))?;
        self.line_bytes += line.len();
        Ok(())
    }

    /// Writes the rows to a file, as a group, and removes them.
    pub(super) fn write<W: io::Write + Send>(&mut self, file: &mut SerializedFileWriter<W>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = file.next_row_group()?;
        for column in &self.columns {
            let writer = group.next_column()?;
            column.write(writer.ok_or_else(|| ParquetError::General("more columns than fields".to_owned()))?)?;
        }
        group.close()?;
        self.clear();
        Ok(())
    }

    /// Removes all rows.
    pub(super) fn clear(&mut self) {
        self.columns.iter_mut().for_each(ColumnValues::clear);
        (self.rows, self.line_bytes) = (0, 0);
    }
}

/// Returns the field of a column.
fn field(column: &Column) -> Result<Type> {
    let Column { name, kind, is_nullable } = column;
    let repetition = if *is_nullable { Repetition::OPTIONAL } else { Repetition::REQUIRED };
    let (physical, logical) = match kind {
        Kind::Bool => (PhysicalType::BOOLEAN, None),
        Kind::Int32 => (PhysicalType::INT32, None),
        Kind::UInt16 => (PhysicalType::INT32, Some(LogicalType::integer(16, false))),
        Kind::UInt32 => (PhysicalType::INT32, Some(LogicalType::integer(32, false))),
        Kind::UInt64 => (PhysicalType::INT64, Some(LogicalType::integer(64, false))),
        Kind::Timestamp => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        // Not of the logical type JSON, which some readers have as bytes.
        Kind::Text | Kind::Json | Kind::TextList => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let values = |name, repetition| {
        let field = Type::primitive_type_builder(name, physical);
        field.with_logical_type(logical).with_repetition(repetition).build()
    };
    if *kind != Kind::TextList {
        return values(name, repetition);
    }
    // The format's three levels of a list.
    let element = Arc::new(values("element", Repetition::REQUIRED)?);
    let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![element]);
    let field = Type::group_type_builder(name).with_logical_type(Some(LogicalType::List));
    field.with_repetition(repetition).with_fields(vec![Arc::new(list.build()?)]).build()
}

/// A column, with its values so far.
struct ColumnValues {
    column: Column,
    /// The number of rows that it has.
    rows: usize,
    /// How much of each value's path there is, and, in a list, whether it goes on.
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    values: Values,
}

/// Values without nulls, in the physical types of the format.
enum Values {
    Bools(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Texts(Vec<ByteArray>),
}

impl ColumnValues {
    fn new(column: Column) -> Self {
        let values = match column.kind {
            Kind::Bool => Values::Bools(Vec::new()),
            Kind::Int32 | Kind::UInt16 | Kind::UInt32 => Values::Ints(Vec::new()),
            Kind::UInt64 | Kind::Timestamp => Values::Longs(Vec::new()),
            Kind::Text | Kind::Json | Kind::TextList => Values::Texts(Vec::new()),
        };
        Self { column, rows: 0, definitions: Vec::new(), repetitions: Vec::new(), values }
    }

    /// Adds the value of a row, by its JSON; `None` if it is not of the column's type.
    fn add(&mut self, json: &str) -> Option<()> {
        // Beyond what is exact in every reader, an integer is a string of its digits.
        let digits = json.trim_matches('"');
        let is_present = i16::from(self.column.is_nullable);
        match (&mut self.values, self.column.kind) {
            (Values::Bools(values), _) => values.push(json.parse().ok()?),
            (Values::Ints(values), Kind::UInt16) => values.push(digits.parse::<u16>().ok()?.into()),
            (Values::Ints(values), Kind::UInt32) => values.push(digits.parse::<u32>().ok()?.cast_signed()),
            (Values::Ints(values), _) => values.push(digits.parse().ok()?),
            (Values::Longs(values), Kind::Timestamp) => {
                values.push(digits.parse::<jiff::Timestamp>().ok()?.as_microsecond());
            }
            (Values::Longs(values), _) => values.push(digits.parse::<u64>().ok()?.cast_signed()),
            (Values::Texts(values), Kind::TextList) => {
                let items = serde_json::from_str::<Vec<&RawValue>>(json).ok()?;
                for (index, item) in items.iter().enumerate() {
                    values.push(text(item.get())?);
                    self.definitions.push(is_present + 1);
                    self.repetitions.push(i16::from(index > 0));
                }
                if items.is_empty() {
                    self.definitions.push(is_present);
                    self.repetitions.push(0);
                }
                self.rows += 1;
                return Some(());
            }
            (Values::Texts(values), Kind::Text) => values.push(text(json)?),
            (Values::Texts(values), _) => values.push(json.into()),
        }
        self.definitions.push(is_present);
        self.rows += 1;
        Some(())
    }

    /// Adds the absence of a value; `None` if the column has to have one.
    fn add_null(&mut self) -> Option<()> {
        if !self.column.is_nullable {
            return None;
        }
        self.definitions.push(0);
        self.repetitions.push(0);
        self.rows += 1;
        Some(())
    }

    /// Writes the values.
    fn write(&self, mut to: SerializedColumnWriter<'_>) -> Result<()> {
        let is_list = self.column.kind == Kind::TextList;
        let definitions = (self.column.is_nullable || is_list).then_some(&*self.definitions);
        let repetitions = is_list.then_some(&*self.repetitions);
        match &self.values {
            Values::Bools(values) => to.typed::<BoolType>().write_batch(values, definitions, repetitions),
            Values::Ints(values) => to.typed::<Int32Type>().write_batch(values, definitions, repetitions),
            Values::Longs(values) => to.typed::<Int64Type>().write_batch(values, definitions, repetitions),
            Values::Texts(values) => to.typed::<ByteArrayType>().write_batch(values, definitions, repetitions),
        }?;
        to.close()
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.definitions.clear();
        self.repetitions.clear();
        match &mut self.values {
            Values::Bools(values) => values.clear(),
            Values::Ints(values) => values.clear(),
            Values::Longs(values) => values.clear(),
            Values::Texts(values) => values.clear(),
        }
    }
}

/// Returns text by its JSON. What is not a string is as it is written.
fn text(json: &str) -> Option<ByteArray> {
    match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
        Some(plain) if memchr::memchr(b'\\', plain.as_bytes()).is_none() => Some(plain.into()),
        Some(_) => Some(serde_json::from_str::<String>(json).ok()?.as_str().into()),
        None => Some(json.into()),
    }
}

/// A line that becomes a row.
struct Row<'a>(&'a mut Columns);

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<(), A::Error> {
        let Columns { by_name, columns, rows, .. } = self.0;
        while let Some((name, value)) = members.next_entry::<&str, &RawValue>()? {
            let column = by_name.get(name).and_then(|index| columns.get_mut(*index));
            if let Some(column) = column.filter(|_| value.get() != "null")
                && column.add(value.get()).is_none()
            {
                return Err(A::Error::custom(format!("`{name}` is not of its column's type")));
            }
        }
        *rows += 1;
        for column in columns.iter_mut().filter(|column| column.rows < *rows) {
            if column.add_null().is_none() {
                return Err(A::Error::custom(format!("`{}` is missing", column.column.name)));
            }
        }
        Ok(())
    }
}
