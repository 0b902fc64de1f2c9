//! Stricter parsing of a line than serde_json's: a duplicate key in an object is an error, and so is an integer that a double
//! cannot represent.
//!
//! Both are allowed inside a user's value, because JSON allows them.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::Value;

/// Parses a line. The error describes what is wrong with it.
pub(crate) fn parse(line: &str) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let value = Place::Line.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// A position in a line.
#[derive(Clone, Copy)]
enum Place {
    /// In fields of the contract.
    Line,
    /// In the values of parameters, arguments or columns: an array, or an object keyed by column name.
    Values,
    /// In a value.
    Value,
}

impl Place {
    /// Returns the position of a member of an object.
    fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Line, "params" | "parameter_values" | "arguments" | "values") => Self::Values,
            (Self::Line, "value") | (Self::Values | Self::Value, _) => Self::Value,
            (Self::Line, _) => Self::Line,
        }
    }

    /// Returns the position of an item of an array.
    const fn item(self) -> Self {
        if let Self::Line = self { Self::Line } else { Self::Value }
    }
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with unique keys")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.visit_u64::<E>(value.unsigned_abs())?;
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        match self {
            Self::Line if value >= 1 << 53 => {
                Err(E::custom(format_args!("{value} is a number that many readers change")))
            }
            _ => Ok(value.into()),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.item())? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.member(&key))?;
            if object.insert(key.clone(), value).is_some() && !matches!(self, Self::Value) {
                return Err(A::Error::custom(format_args!("the key {key:?} comes twice")));
            }
        }
        Ok(object.into())
    }
}

#[test]
fn ambiguous_json_is_found_at_any_depth_except_in_a_value() {
    assert!(parse(r#"{"a":1,"b":{"a":[{"a":null}]}}"#).is_ok());
    assert!(parse(r#"{"params":[{"a":1,"a":[{"b":1,"b":2}]}],"body":{"values":{"j":{"a":1,"a":2}}}}"#).is_ok());
    for twice in [
        r#"{"a":1,"a":1}"#,
        r#"{"b":[{"a":1,"a":2}]}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"params":[],"params":[]}"#,
        r#"{"body":{"values":{"j":1,"j":1}}}"#,
    ] {
        assert!(parse(twice).is_err(), "{twice}");
    }
    assert!(parse("{} {}").is_err(), "something behind the value");
    assert!(parse(r#"{"rows":9007199254740991,"params":[9007199254740993]}"#).is_ok());
    assert!(parse(r#"{"rows":9007199254740992}"#).is_err() && parse(r#"{"a":[-9007199254740992]}"#).is_err());
}
