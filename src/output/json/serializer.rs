//! A serializer of serde that writes compact JSON into a vector: what serde_json writes, with the controls escaped that
//! terminals act on.
//!
//! It exists for speed: nothing can fail, and names of fields are written as they are.

use std::fmt::{self, Write as _};

use serde::ser::{self, Serialize};

use super::tokens::{put, signed, string, unquoted, unsigned};

/// The error of a value that serde cannot serialize; none of the records has one.
pub(super) type Error = serde::de::value::Error;

/// The name of the struct as which [`serde_json::value::RawValue`] serializes itself, with its text in a field: JSON that
/// is to be written as it is.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Writes one value.
pub(super) struct Serializer<'a> {
    out: &'a mut Vec<u8>,
    /// Whether the value is the text of a raw value.
    is_raw: bool,
}

impl<'a> Serializer<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_raw: false }
    }
}

/// Escapes what is formatted.
struct Escaping<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        unquoted(self.0, text.as_bytes());
        Ok(())
    }
}

/// The members of an array or object.
pub(super) struct Members<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
    closes: &'static [u8],
    is_raw: bool,
}

impl<'a> Members<'a> {
    fn new(out: &'a mut Vec<u8>, opens: u8, closes: &'static [u8]) -> Self {
        out.push(opens);
        Self { out, is_first: true, closes, is_raw: false }
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.separate();
        value.serialize(Serializer::new(self.out))
    }

    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        if self.is_raw {
            return value.serialize(Serializer { out: self.out, is_raw: true });
        }
        self.separate();
        self::field(self.out, name);
        value.serialize(Serializer::new(self.out))
    }

    fn close(self) {
        self.out.extend_from_slice(self.closes);
    }
}

/// Writes the name of a field, which needs no escapes, and the colon behind it.
pub(super) fn field(out: &mut Vec<u8>, name: &'static str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    put(out, b"\":");
}

macro_rules! integers {
    ($write:ident: $($method:ident($type:ty))*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            $write(self.out, value.into());
            Ok(())
        })*
    };
}

macro_rules! floats {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            serde_json::to_writer(self.out, &value).map_err(ser::Error::custom)
        })*
    };
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'a>;
    type SerializeTuple = Members<'a>;
    type SerializeTupleStruct = Members<'a>;
    type SerializeTupleVariant = Members<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    integers! { signed: serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) }
    integers! { unsigned: serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) }

    floats! { serialize_f32(f32) serialize_f64(f64) }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        if self.is_raw {
            self.out.extend_from_slice(value.as_bytes());
        } else {
            string(self.out, value);
        }
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.out.push(b'"');
        write!(Escaping(self.out), "{value}").map_err(ser::Error::custom)?;
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut object = Members::new(self.out, b'{', b"}");
        object.field(variant, value)?;
        object.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(Members::new(self.out, b'[', b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'a>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a>, Error> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>, Error> {
        self.out.push(b'{');
        field(self.out, variant);
        Ok(Members::new(self.out, b'[', b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Error> {
        Ok(Members::new(self.out, b'{', b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members<'a>, Error> {
        if name == RAW_VALUE {
            return Ok(Members { out: self.out, is_first: true, closes: b"", is_raw: true });
        }
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>, Error> {
        self.out.push(b'{');
        field(self.out, variant);
        Ok(Members::new(self.out, b'{', b"}}"))
    }
}

macro_rules! arrays {
    ($($trait:ident $method:ident,)*) => {
        $(impl ser::$trait for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

arrays! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! objects {
    ($($trait:ident,)*) => {
        $(impl ser::$trait for Members<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close();
                Ok(())
            }
        })*
    };
}

objects! { SerializeStruct, SerializeStructVariant, }

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    /// A key must be text; all of the records' are.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        value.serialize(Serializer::new(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_is_written_as_it_is() {
        let raw = serde_json::value::RawValue::from_string(r#"{"a":[1.50,"\u00e9"]}"#.to_owned()).unwrap();
        let mut out = Vec::new();
        [&raw, &raw].serialize(Serializer::new(&mut out)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&[&raw, &raw]).unwrap());
    }
}
