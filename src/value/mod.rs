//! Decoding of values by their type, from text or binary format to JSON.
//!
//! [`TypedValue`] writes a value of a stock type in the same way for both formats, and for all settings of the session's
//! `DateStyle`, `IntervalStyle`, `bytea_output` and `client_encoding`. No information is lost or invented: a value that cannot be
//! decoded as its type is written as a string in text format, and as `"\\x…"` in binary format. This module does not depend on
//! messages and sessions.
//!
//! | type | JSON |
//! | --- | --- |
//! | `bool` | boolean |
//! | `int2`, `int4`, `int8`, `oid`, `xid`, `xid8`, `cid` | number |
//! | `float4`, `float8` | number with the fewest digits that identify it; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `numeric` | string with every digit of its scale |
//! | `money` | `{"minor_units": 123456}` for `$1,234.56`: the number of decimals of the currency is not on the wire |
//! | `json`, `jsonb` | itself, without white space between tokens; otherwise a string (see below) |
//! | `bytea` | `"\\x…"` |
//! | `date`, `time`, `timestamp` | ISO 8601: `"2024-02-29T13:37:00.5"`, `"infinity"`; years before 0 and after 9999 with a sign and at least six digits, 1 BC being 0 |
//! | `timetz` | ISO 8601 with its offset |
//! | `timestamptz` | ISO 8601 in UTC: `"2024-02-29T12:37:00.5Z"` |
//! | `interval` | ISO 8601 duration, each part with its own sign: `"P1Y2M-3DT4H"` |
//! | array | array of arrays …; `{"lower_bounds": [0], "values": […]}` if an index does not begin at 1 |
//! | `int2vector`, `oidvector` | array |
//! | range | `{"lower": 1, "upper": 10, "bounds": "[)"}`, with null for no bound; `{"empty": true}` |
//! | multirange | array of ranges |
//! | composite, `record` | array |
//! | `regclass` and similar | number if the ID is on the wire, name if the name is |
//! | other stock types | string in PostgreSQL's text format |
//! | any other type | string in text format, `"\\x…"` in binary format |
//!
//! Text that is not valid in the client's encoding is `{"hex": "…"}`. So is non-ASCII text in EUC_TW, EUC_JIS_2004,
//! SHIFT_JIS_2004, JOHAB and MULE_INTERNAL, which are not supported.
//!
//! In a line, an integer beyond ±(2^53 − 1) is written as a string, like all numbers. This does not apply inside `json` and
//! `jsonb`, whose numbers are written as they were sent.
//!
//! JSON is written as a string if common parsers would reject or change it: if it is nested too deeply for a line, has an
//! unpaired surrogate, or a number out of the range of a double. Duplicate keys are kept, because they are part of the value.
//!
//! The two formats differ in these cases, because the wire lacks information:
//!
//! - An object of a `reg…` type is a name in text format and an ID in binary format.
//! - The fields of a composite are strings in text format, and values of their types in binary format. The same applies to the
//!   elements of `anyarray`.
//! - `()` in text format is a composite of one NULL, or of no fields.
//! - `money` in text format is written as it is unless it has two decimals, as in nearly all currencies.
//! - Floats in text format have lost digits if `extra_float_digits` is 0 or less.
//! - A time with a time zone abbreviation is written as it is if the session's `TimeZone` is not known, or does not have that
//!   abbreviation.
//! - A `numeric` in binary format with more than 400 zeros that are not on the wire is `"\\x…"`: eight bytes can represent
//!   147,000 digits.

mod array;
mod bytea;
mod composite;
pub(crate) mod copy;
mod datetime;
mod datetime_text;
mod geometry;
mod input;
mod interval;
mod json;
mod network;
mod number;
mod range;
mod server_text;
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
#[cfg(feature = "cli")]
pub(crate) use self::input::cast;
use self::interval::Interval;
use self::number::Numeric;
use self::range::{Multirange, Range};
pub use self::settings::Settings;
use self::types::Kind;
use crate::encoding::Encoding;
use crate::hex::{Bytea, Hex};

/// Returns the name of a type in the catalog `pg_type`, such as `int4`, or `_int4` for its array; `None` for a type that is not
/// part of every PostgreSQL installation.
pub fn type_name(oid: u32) -> Option<&'static str> {
    types::stock(oid).map(|(name, _)| name)
}

/// The format of a value on the wire ("Formats and Format Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The format of the type's output function, in the client's encoding.
    Text,
    /// The format of the type's send function.
    Binary,
}

/// A value that is not NULL, with everything needed to decode it.
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
    /// The bytes on the wire.
    pub bytes: &'a [u8],
    /// The session's settings for values.
    pub settings: &'a Settings,
    /// The `client_encoding` at the time when it was sent; that of `settings` may be a later one.
    pub encoding: Encoding,
}

/// A value in the form shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A number, a boolean, or JSON of several values, shown without quotes.
    Plain(String),
    /// Text, which is unambiguous in quotes.
    Text(Cow<'a, str>),
    /// Text that is not valid in the client's encoding.
    Undecodable(&'a [u8]),
    /// Binary data.
    Bytes(Cow<'a, [u8]>),
}

/// How values of a type are written as JSON, if that can be decided from their bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The text of a string, in the client's encoding.
    Text,
    /// An integer in JSON's form, if it has at most this many digits.
    Integer(usize),
    /// The value has to be decoded.
    Other,
}

impl Look {
    /// Returns how values of a type are written, given its object ID and a format.
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

    /// Returns whether bytes are an integer in JSON's form.
    #[inline]
    pub(crate) fn is_integer(self, bytes: &[u8]) -> bool {
        matches!(self, Self::Integer(digits) if number::is_canonical(bytes, digits))
    }
}

impl<'a> TypedValue<'a> {
    /// Returns the value in the form shown to people.
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

/// The maximum nesting depth of arrays and objects in a value. JSON parsers have limits, too: that of serde_json is 128, and a
/// value is itself nested in a line.
const LEVELS: u8 = 100;

/// The context in which a value is decoded.
#[derive(Clone, Copy, Debug)]
struct Scope<'a> {
    settings: &'a Settings,
    encoding: Encoding,
    /// The number of levels of arrays and objects that may still follow.
    levels: u8,
}

impl Scope<'_> {
    /// Returns the scope of values `levels` levels deeper; `None` if that is too deep.
    fn below(self, levels: usize) -> Option<Self> {
        let levels = self.levels.checked_sub(u8::try_from(levels).ok()?)?;
        Some(Self { levels, ..self })
    }
}

/// A decoded value.
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
    /// Valid and compact JSON.
    Json(Cow<'a, str>),
    Array(Array<'a>),
    Range(Range<'a>),
    Multirange(Multirange<'a>),
    Composite(Composite<'a>),
}

/// Decodes the text format.
fn text<'a>(kind: Kind, bytes: &'a [u8], scope: Scope<'a>) -> ValueContent<'a> {
    if let (Kind::Char, [byte]) = (kind, bytes) {
        return ValueContent::Text(system::char(*byte));
    }
    match scope.encoding.decode(bytes) {
        Some(text) => decoded(kind, text, scope),
        None => ValueContent::Undecodable(bytes),
    }
}

/// Decodes the text format, given as UTF-8.
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
        // The ID of an object that does not exist. A name that consists of digits would be quoted.
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
        // Types that are strings in JSON are written unchanged; the binary format is converted to the same form.
        _ => None,
    };
    content.unwrap_or(ValueContent::Text(text))
}

/// Decodes the binary format.
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
        // "The first byte is a version number", and so far there is only version 1.
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

/// Writes JSON unchanged.
pub(crate) fn verbatim<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(json) {
        Ok(json) => json.serialize(serializer),
        Err(_) => serializer.serialize_str(json),
    }
}

/// A value inside another: an element, a bound, or a field.
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
