//! Values by their type: from text or binary format to JSON.
//!
//! [`TypedValue`] promises that a value of a stock type is written the same, in whichever format it travelled, whatever
//! the session's `DateStyle`, `IntervalStyle`, `bytea_output` and `client_encoding` are; and that nothing is lost or made
//! up: what cannot be read as its type says is the string that it is in text format, and `"\\x…"` in binary format.
//! Knows nothing of messages and sessions.
//!
//! | type | JSON |
//! | --- | --- |
//! | `bool` | boolean |
//! | `int2`, `int4`, `int8`, `oid`, `xid`, `xid8`, `cid` | number |
//! | `float4`, `float8` | number of the fewest digits that tell it from others; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `numeric` | string with every digit of its scale |
//! | `money` | `{"minor_units": 123456}` for `$1,234.56`: how many decimals a currency has is not on the wire |
//! | `json`, `jsonb` | itself, less white space between tokens; else a string (see below) |
//! | `bytea` | `"\\x…"` |
//! | `date`, `time`, `timestamp` | ISO 8601: `"2024-02-29T13:37:00.5"`, `"infinity"`; years before 0 and beyond 9999 with a sign and six digits at least, 1 BC being 0 |
//! | `timetz` | ISO 8601 with its offset |
//! | `timestamptz` | ISO 8601 in UTC: `"2024-02-29T12:37:00.5Z"` |
//! | `interval` | ISO 8601 duration, each part with its own sign: `"P1Y2M-3DT4H"` |
//! | array | array of arrays …; `{"lower_bounds": [0], "values": […]}` where an index does not begin at 1 |
//! | `int2vector`, `oidvector` | array |
//! | range | `{"lower": 1, "upper": 10, "bounds": "[)"}`, null where it has no bound; `{"empty": true}` |
//! | multirange | array of ranges |
//! | composite, `record` | array |
//! | `regclass` and its kin | number where the ID is on the wire, name where the name is |
//! | other stock types | string, as PostgreSQL writes them |
//! | any other type | string in text format, `"\\x…"` in binary format |
//!
//! Text that is not valid in the client's encoding is `{"hex": "…"}`. So is text with characters beyond ASCII in EUC_TW,
//! EUC_JIS_2004, SHIFT_JIS_2004, JOHAB and MULE_INTERNAL, which are not read.
//!
//! In a line, an integer beyond ±(2^53 − 1) is a string: the writer of lines sees to that, for values as for all numbers. Not so
//! inside `json` and `jsonb`, whose numbers are their sender's.
//!
//! JSON is a string where common readers would refuse or change it: nested more deeply than a line should be, a surrogate
//! without its partner, a number beyond the range of a double. Keys that come twice stay, for they are the value.
//!
//! What cannot be the same in both formats, for the wire does not tell enough:
//!
//! - An object of a `reg…` type is a name in text and an ID in binary format.
//! - The fields of a composite are strings in text format, and of their types in binary format. So are the elements of
//!   `anyarray`.
//! - `()` is in text format a composite of one NULL, or of no field at all.
//! - `money` in text format stays as it is unless it has two decimals, as nearly all currencies have.
//! - Floats in text format have lost digits where `extra_float_digits` is 0 or less.
//! - A time of day with the abbreviation of a zone stays as it is where the session's `TimeZone` is not known, or does
//!   not have that abbreviation.
//! - A `numeric` in binary format of which more than 400 digits are zeros that are not on the wire is `"\\x…"`: eight
//!   bytes can stand for 147,000 digits.

mod array;
mod bytea;
mod composite;
pub(crate) mod copy;
mod datetime;
mod datetime_text;
mod geometry;
mod interval;
mod json;
mod network;
mod number;
mod range;
mod settings;
mod short;
mod system;
#[cfg(test)]
mod tests;
mod text_search;
mod types;

use std::borrow::Cow;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use self::array::Array;
use self::composite::Composite;
use self::datetime::Moment;
use self::interval::Interval;
use self::number::Numeric;
use self::range::{Multirange, Range};
pub use self::settings::Settings;
use self::types::Kind;
use crate::encoding::Encoding;
use crate::hex::{Bytea, Hex};

/// The name of a type in the catalog `pg_type`, such as `int4`, or `_int4` for its array; nothing for a type that is not
/// in every stock PostgreSQL.
pub fn type_name(oid: u32) -> Option<&'static str> {
    types::stock(oid).map(|(name, _)| name)
}

/// The format that a value has on the wire ("Formats and Format Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As PostgreSQL writes it for people, in the client's encoding.
    Text,
    /// As the type's send function writes it.
    Binary,
}

/// A value that is not NULL, with what it takes to read it.
///
/// ```
/// use pgdissect::value::{Format, Settings, TypedValue};
///
/// let settings = Settings::default();
/// let json = |format, bytes| {
///     let value = TypedValue { type_oid: 23, format, bytes, settings: &settings, encoding: settings.encoding() };
///     serde_json::to_string(&value).unwrap()
/// };
/// assert_eq!(json(Format::Text, b"42"), "42");
/// assert_eq!(json(Format::Binary, &[0, 0, 0, 42]), "42");
/// assert_eq!(json(Format::Binary, &[42]), r#""\\x2a""#);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TypedValue<'a> {
    /// The object ID of its type.
    pub type_oid: u32,
    /// Its format.
    pub format: Format,
    /// What is on the wire.
    pub bytes: &'a [u8],
    /// What its session says about how values are written.
    pub settings: &'a Settings,
    /// The `client_encoding` with which it was sent; that of `settings` may be a later one.
    pub encoding: Encoding,
}

/// A value as it is shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A number, a boolean, or JSON that holds several values: stands without quotes.
    Plain(String),
    /// Text; in quotes, it cannot be taken for something else.
    Text(Cow<'a, str>),
    /// Text that is not valid in the client's encoding.
    Undecodable(&'a [u8]),
    /// Binary data.
    Bytes(Cow<'a, [u8]>),
}

/// How values of a type become JSON, as far as no more than a look at their bytes tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// They are the text of a string, in the client's encoding.
    Text,
    /// They are an integer as JSON has it, where they have no more than so many digits.
    Integer(usize),
    /// It takes more than a look.
    Other,
}

impl Look {
    /// At values of a type, by its object ID, in a format.
    #[inline]
    pub(crate) fn of(type_oid: u32, format: Format) -> Self {
        if format != Format::Text {
            return Self::Other;
        }
        match Kind::of(type_oid) {
            Kind::Opaque | Kind::Text | Kind::Numeric => Self::Text,
            Kind::Int2 => Self::Integer(4),
            Kind::Int4 => Self::Integer(9),
            Kind::Int8 => Self::Integer(18),
            _ => Self::Other,
        }
    }

    /// Whether bytes are an integer as JSON has it.
    #[inline]
    pub(crate) fn is_integer(self, bytes: &[u8]) -> bool {
        matches!(self, Self::Integer(digits) if number::is_canonical(bytes, digits))
    }
}

impl<'a> TypedValue<'a> {
    /// The value for a person to read.
    pub fn shown(&self) -> Shown<'a> {
        match self.content() {
            ValueContent::Text(text) if self.is_numeric() && number::is_plain(&text) => Shown::Plain(text.into_owned()),
            ValueContent::Text(text) => Shown::Text(text),
            ValueContent::Undecodable(bytes) => Shown::Undecodable(bytes),
            ValueContent::Bytes(bytes) => Shown::Bytes(bytes),
            ValueContent::Numeric(numeric @ Numeric::Special(_)) => Shown::Text(numeric.to_string().into()),
            ValueContent::Numeric(numeric) => Shown::Plain(numeric.to_string()),
            ValueContent::Moment(moment) => Shown::Text(moment.to_short().as_str().to_owned().into()),
            ValueContent::Interval(interval) => Shown::Text(interval.to_short().as_str().to_owned().into()),
            ValueContent::Uuid(uuid) => Shown::Text(uuid.to_short().as_str().to_owned().into()),
            other => match serde_json::to_string(&other) {
                Ok(json) => Shown::Plain(json),
                Err(_) => Shown::Bytes(self.bytes.into()),
            },
        }
    }

    fn is_numeric(&self) -> bool {
        Kind::of(self.type_oid) == Kind::Numeric
    }

    fn content(&self) -> ValueContent<'a> {
        let kind = Kind::of(self.type_oid);
        let scope = Scope { settings: self.settings, encoding: self.encoding, levels: LEVELS };
        match self.format {
            Format::Text => text(kind, self.bytes, scope),
            Format::Binary => binary(kind, self.bytes, scope),
        }
    }
}

impl Serialize for TypedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.content().serialize(serializer)
    }
}

/// How deeply arrays and objects may be nested in a value. Readers of JSON have limits, too: that of serde_json is 128,
/// and there are some levels around a value.
const LEVELS: u8 = 100;

/// What is known where a value is read.
#[derive(Clone, Copy, Debug)]
struct Scope<'a> {
    settings: &'a Settings,
    encoding: Encoding,
    /// How many levels of arrays and objects may still follow.
    levels: u8,
}

impl Scope<'_> {
    /// The scope of values that are so many levels below; nothing where that is too deep.
    fn below(self, levels: usize) -> Option<Self> {
        let levels = self.levels.checked_sub(u8::try_from(levels).ok()?)?;
        Some(Self { levels, ..self })
    }
}

/// What a value is.
#[derive(Debug)]
enum ValueContent<'a> {
    Text(Cow<'a, str>),
    /// Text that is not valid in the client's encoding.
    Undecodable(&'a [u8]),
    Bytes(Cow<'a, [u8]>),
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float4(f32),
    Float8(f64),
    Numeric(Numeric<'a>),
    Money(i64),
    Uuid(system::Uuid),
    Moment(Moment),
    Interval(Interval),
    /// JSON that is valid and compact.
    Json(Cow<'a, str>),
    Array(Array<'a>),
    Range(Range<'a>),
    Multirange(Multirange<'a>),
    Composite(Composite<'a>),
}

/// Reads the text format.
fn text<'a>(kind: Kind, bytes: &'a [u8], scope: Scope<'a>) -> ValueContent<'a> {
    if let (Kind::Char, [byte]) = (kind, bytes) {
        return ValueContent::Text(system::char(*byte));
    }
    match scope.encoding.decode(bytes) {
        Some(text) => decoded(kind, text, scope),
        None => ValueContent::Undecodable(bytes),
    }
}

/// Reads the text format, of text in UTF-8.
fn decoded<'a>(kind: Kind, text: Cow<'a, str>, scope: Scope<'a>) -> ValueContent<'a> {
    let settings = scope.settings;
    let content = match kind {
        Kind::Bool => number::bool(&text).map(ValueContent::Bool),
        Kind::Int2 => number::int::<i16>(&text).map(|int| ValueContent::Int(int.into())),
        Kind::Int4 => number::int::<i32>(&text).map(|int| ValueContent::Int(int.into())),
        Kind::Int8 => number::int(&text).map(ValueContent::Int),
        Kind::Oid => number::int::<u32>(&text).map(|int| ValueContent::Unsigned(int.into())),
        Kind::Xid8 => number::int(&text).map(ValueContent::Unsigned),
        Kind::Reg if text == "-" => Some(ValueContent::Unsigned(0)),
        // The number of an object that there is none of. A name of digits would be in quotes.
        Kind::Reg | Kind::RegOperator => number::int::<u32>(&text).map(|int| ValueContent::Unsigned(int.into())),
        Kind::Float4 => number::float(&text).map(ValueContent::Float4),
        Kind::Float8 => number::float(&text).map(ValueContent::Float8),
        Kind::Money => number::money(&text).map(ValueContent::Money),
        Kind::Uuid => system::Uuid::from_text(&text).map(ValueContent::Uuid),
        Kind::Lsn => system::lsn_from_text(&text).map(|lsn| ValueContent::Text(lsn.into())),
        Kind::Point | Kind::Line | Kind::Lseg | Kind::Box | Kind::Path | Kind::Polygon | Kind::Circle => {
            geometry::from_text(&text).map(|shape| ValueContent::Text(shape.into()))
        }
        Kind::Date => datetime_text::date(&text, settings).map(|days| ValueContent::Moment(Moment::Date(days))),
        Kind::Time => datetime_text::time(&text).map(|time| ValueContent::Moment(Moment::Time(time))),
        Kind::Timetz => {
            datetime_text::timetz(&text).map(|(time, east)| ValueContent::Moment(Moment::Timetz(time, east)))
        }
        Kind::Timestamp => {
            datetime_text::timestamp(&text, settings).map(|time| ValueContent::Moment(Moment::Timestamp(time)))
        }
        Kind::Timestamptz => {
            datetime_text::timestamptz(&text, settings).map(|time| ValueContent::Moment(Moment::Timestamptz(time)))
        }
        Kind::Interval => interval::from_text(&text, settings).map(ValueContent::Interval),
        Kind::Bytea => bytea::from_text(&text).map(|bytes| ValueContent::Bytes(bytes.into())),
        Kind::Json | Kind::Jsonb => return json::read(text, scope),
        Kind::Array(element) => return Array::from_text(element, text, scope),
        Kind::Vector(element) => return Array::from_vector_text(element, text, scope),
        Kind::Range(of) => return Range::from_text(of, text, scope),
        Kind::Multirange(of) => return Multirange::from_text(of, text, scope),
        Kind::Record => return Composite::from_text(text, scope),
        // What is a string in JSON is a string as it is, and the binary format is written like it.
        _ => None,
    };
    content.unwrap_or(ValueContent::Text(text))
}

/// Reads the binary format.
fn binary<'a>(kind: Kind, bytes: &'a [u8], scope: Scope<'a>) -> ValueContent<'a> {
    let string = |text: Option<String>| text.map(|text| ValueContent::Text(text.into()));
    let content = match kind {
        Kind::Opaque => None,
        Kind::Text => return text(kind, bytes, scope),
        Kind::Char => bytes.first().filter(|_| bytes.len() == 1).map(|byte| ValueContent::Text(system::char(*byte))),
        Kind::Bool => number::bool_from_binary(bytes).map(ValueContent::Bool),
        Kind::Int2 => bytes.try_into().ok().map(|bytes| ValueContent::Int(i16::from_be_bytes(bytes).into())),
        Kind::Int4 => bytes.try_into().ok().map(|bytes| ValueContent::Int(i32::from_be_bytes(bytes).into())),
        Kind::Int8 => bytes.try_into().ok().map(|bytes| ValueContent::Int(i64::from_be_bytes(bytes))),
        Kind::Oid | Kind::Reg | Kind::RegOperator => {
            bytes.try_into().ok().map(|bytes| ValueContent::Unsigned(u32::from_be_bytes(bytes).into()))
        }
        Kind::Xid8 => bytes.try_into().ok().map(|bytes| ValueContent::Unsigned(u64::from_be_bytes(bytes))),
        Kind::Float4 => bytes.try_into().ok().map(|bytes| ValueContent::Float4(f32::from_be_bytes(bytes))),
        Kind::Float8 => bytes.try_into().ok().map(|bytes| ValueContent::Float8(f64::from_be_bytes(bytes))),
        Kind::Numeric => Numeric::from_binary(bytes).map(ValueContent::Numeric),
        Kind::Money => bytes.try_into().ok().map(|bytes| ValueContent::Money(i64::from_be_bytes(bytes))),
        Kind::Uuid => bytes.try_into().ok().map(|bytes| ValueContent::Uuid(system::Uuid(bytes))),
        Kind::Date | Kind::Time | Kind::Timetz | Kind::Timestamp | Kind::Timestamptz => {
            Moment::from_binary(kind, bytes).map(ValueContent::Moment)
        }
        Kind::Interval => Interval::from_binary(bytes).map(ValueContent::Interval),
        Kind::Bytea => Some(ValueContent::Bytes(bytes.into())),
        Kind::Json => return text(kind, bytes, scope),
        // "The first byte is a version number", and so far there is one version.
        Kind::Jsonb | Kind::Jsonpath => bytes.strip_prefix(&[1]).map(|bytes| text(kind, bytes, scope)),
        Kind::Xml => scope.encoding.decode(bytes).map(|text| ValueContent::Text(system::xml_as_text(text))),
        Kind::Inet => string(network::address(bytes, false)),
        Kind::Cidr => string(network::address(bytes, true)),
        Kind::Macaddr => string(network::hardware_address(bytes)),
        Kind::Bit => string(system::bits(bytes)),
        Kind::Tid => string(system::tid(bytes)),
        Kind::Lsn => string(system::lsn(bytes)),
        Kind::Snapshot => string(system::snapshot(bytes)),
        Kind::Point | Kind::Line | Kind::Lseg | Kind::Box | Kind::Path | Kind::Polygon | Kind::Circle => {
            string(geometry::shape(kind, bytes))
        }
        Kind::Tsvector => string(text_search::vector(bytes, scope.encoding)),
        Kind::Tsquery => string(text_search::query(bytes, scope.encoding)),
        Kind::Array(_) | Kind::Vector(_) => Array::from_binary(kind, bytes, scope).map(ValueContent::Array),
        Kind::Range(of) => Range::from_binary(of, bytes, scope).map(ValueContent::Range),
        Kind::Multirange(of) => Multirange::from_binary(of, bytes, scope).map(ValueContent::Multirange),
        Kind::Record => Composite::from_binary(bytes, scope).map(ValueContent::Composite),
    };
    content.unwrap_or(ValueContent::Bytes(bytes.into()))
}

impl Serialize for ValueContent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Undecodable(bytes) => Hex(bytes).serialize(serializer),
            Self::Bytes(bytes) => Bytea(bytes).serialize(serializer),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Float4(value) if value.is_finite() => serializer.serialize_f32(*value),
            Self::Float4(value) => serializer.serialize_str(number::not_finite((*value).into())),
            Self::Float8(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float8(value) => serializer.serialize_str(number::not_finite(*value)),
            Self::Numeric(numeric) => serializer.collect_str(numeric),
            Self::Money(minor_units) => {
                let mut object = serializer.serialize_struct("Money", 1)?;
                object.serialize_field("minor_units", minor_units)?;
                object.end()
            }
            Self::Uuid(uuid) => serializer.serialize_str(uuid.to_short().as_str()),
            Self::Moment(moment) => serializer.serialize_str(moment.to_short().as_str()),
            Self::Interval(interval) => serializer.serialize_str(interval.to_short().as_str()),
            Self::Json(json) => verbatim(json, serializer),
            Self::Array(array) => array.serialize(serializer),
            Self::Range(range) => range.serialize(serializer),
            Self::Multirange(ranges) => ranges.serialize(serializer),
            Self::Composite(record) => record.serialize(serializer),
        }
    }
}

/// Writes JSON as it is.
pub(crate) fn verbatim<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(json) {
        Ok(json) => json.serialize(serializer),
        Err(_) => serializer.serialize_str(json),
    }
}

/// A value inside another: an element, a bound, a field.
#[derive(Clone, Debug)]
struct Part<'a> {
    kind: Kind,
    value: Raw<'a>,
    scope: Scope<'a>,
}

#[derive(Clone, Debug)]
enum Raw<'a> {
    Null,
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
}

impl<'a> Part<'a> {
    fn text(kind: Kind, text: Option<Cow<'a, str>>, scope: Scope<'a>) -> Self {
        Self { kind, value: text.map_or(Raw::Null, Raw::Text), scope }
    }

    fn binary(kind: Kind, bytes: Option<&'a [u8]>, scope: Scope<'a>) -> Self {
        Self { kind, value: bytes.map_or(Raw::Null, Raw::Binary), scope }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Raw::Null => serializer.serialize_none(),
            Raw::Text(text) => decoded(self.kind, Cow::Borrowed(text), self.scope).serialize(serializer),
            Raw::Binary(bytes) => binary(self.kind, bytes, self.scope).serialize(serializer),
        }
    }
}
