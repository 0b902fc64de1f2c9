//! Values in the server's text format: its log has parameters in the form of their type's output function, whatever they were sent in.
//!
//! Where the server's own text depends on its settings, one form is written: times with a time zone in UTC, intervals in the style
//! `postgres`, `bytea` in hex. The server formats `jsonb` anew; here it is as it was sent.

use std::io::Write;

use serde_json::Value;

use super::types::{Kind, stock};
use super::{Format, TypedValue, ValueContent, json};
use crate::hex;

/// The object IDs of types.
const JSON: u32 = 114;
const JSONB: u32 = 3802;

impl TypedValue<'_> {
    /// Appends a binary value as the output function of its type writes it; and a boolean or a timestamp as text, if a client writes
    /// it in another way.
    ///
    /// Returns `false`, and appends nothing, for other text, and if the value cannot be decoded, is or has one of a type that is not known,
    /// or its text depends on a locale.
    pub(crate) fn push_server_text(&self, out: &mut Vec<u8>) -> bool {
        let kind = Kind::of(self.type_oid);
        let is_other_text = || match kind {
            Kind::Bool => !matches!(self.bytes, b"t" | b"f"),
            Kind::Timestamp | Kind::Timestamptz => self.bytes.get(10) == Some(&b'T'),
            _ => false,
        };
        if self.format == Format::Text && !is_other_text() {
            return false;
        }
        if self.format == Format::Binary {
            // The type `json` keeps its text, and two texts of an object with a name twice are not the same.
            if let Some(json) = json::sent(kind, self.bytes) {
                return self.encoding.decode(json).is_some_and(|json| out.write_all(json.as_bytes()).is_ok());
            }
            if matches!(kind, Kind::Array(_) | Kind::Range(_) | Kind::Multirange(_) | Kind::Record) {
                let Some(input) = self.input() else { return false };
                if matches!(kind, Kind::Array(JSON | JSONB)) {
                    out.extend_from_slice(input.as_bytes());
                    return true;
                }
            }
        }
        let content = self.content();
        match &content {
            ValueContent::Undecodable(_) | ValueContent::Money(_) => return false,
            // Of other types, it is what could not be decoded.
            ValueContent::Bytes(_) if kind != Kind::Bytea => return false,
            ValueContent::Bytes(bytes) => push_bytea(out, bytes),
            ValueContent::Text(text) | ValueContent::Json(text) => out.extend_from_slice(text.as_bytes()),
            ValueContent::Bool(value) => push_bool(out, *value),
            ValueContent::Int(value) => push(out, format_args!("{value}")),
            ValueContent::Unsigned(value) => push(out, format_args!("{value}")),
            ValueContent::Float4(value) => push_float4(out, *value),
            ValueContent::Float8(value) => push_float8(out, *value),
            ValueContent::Numeric(numeric) => push(out, format_args!("{numeric}")),
            ValueContent::Uuid(uuid) => out.extend_from_slice(uuid.to_short().as_str().as_bytes()),
            ValueContent::Moment(moment) => push_moment(out, moment.to_short().as_str()),
            ValueContent::Interval(interval) => out.extend_from_slice(interval.to_postgres().as_str().as_bytes()),
            ValueContent::Array(_)
            | ValueContent::Range(_)
            | ValueContent::Multirange(_)
            | ValueContent::Composite(_) => {
                // Rare enough to be converted from the form that lines have.
                let Ok(json) = serde_json::to_value(&content) else { return false };
                push_json(out, Kind::of(self.type_oid), &json);
            }
        }
        true
    }
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}

fn push_bytea(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"\\x");
    hex::push(out, bytes);
}

fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { b't' } else { b'f' });
}

fn push_float4(out: &mut Vec<u8>, value: f32) {
    if value.is_finite() {
        // As `f2s.c` in the server's source: fixed-point notation for exponents from -4 to 5.
        push_scientific(out, &format!("{value:e}"), 6);
    } else {
        out.extend_from_slice(super::number::not_finite(value.into()).as_bytes());
    }
}

fn push_float8(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // As `d2s.c`: from -4 to 14.
        push_scientific(out, &format!("{value:e}"), 15);
    } else {
        out.extend_from_slice(super::number::not_finite(value).as_bytes());
    }
}

/// Appends a number given as `1.5e-7`, in fixed-point notation if its exponent is from -4 to less than `limit`.
fn push_scientific(out: &mut Vec<u8>, text: &str, limit: i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
    out.extend_from_slice(sign.as_bytes());
    if !(-4..limit).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return push(out, format_args!("{mantissa}e{sign}{:02}", exponent.unsigned_abs()));
    }
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        return out.extend(digits);
    }
    let whole = exponent as usize + 1;
    let count = mantissa.len() - usize::from(mantissa.contains('.'));
    for (index, digit) in digits.chain(std::iter::repeat_n(b'0', whole.saturating_sub(count))).enumerate() {
        if index == whole {
            out.push(b'.');
        }
        out.push(digit);
    }
}

/// Appends a date or time given as in ISO 8601.
fn push_moment(out: &mut Vec<u8>, text: &str) {
    let (text, zone) = text.strip_suffix('Z').map_or((text, ""), |text| (text, "+00"));
    out.extend(text.bytes().map(|byte| if byte == b'T' { b' ' } else { byte }));
    // An offset of whole hours has no minutes.
    if text.len() > 6 && matches!(text.as_bytes().get(text.len() - 6), Some(b'+' | b'-')) && text.ends_with(":00") {
        out.truncate(out.len() - 3);
    }
    out.extend_from_slice(zone.as_bytes());
}

/// Appends a value of several values, given in the form that it has in JSON.
fn push_json(out: &mut Vec<u8>, kind: Kind, json: &Value) {
    match (kind, json) {
        (Kind::Array(element), Value::Object(bounded)) => {
            let values = bounded.get("values").unwrap_or(&Value::Null);
            let mut level = Some(values);
            for bound in bounded.get("lower_bounds").and_then(Value::as_array).into_iter().flatten() {
                let (lower, size) = (bound.as_i64().unwrap_or_default(), level.and_then(Value::as_array));
                let upper = lower.saturating_add(size.map_or(0, |values| values.len() as i64)) - 1;
                push(out, format_args!("[{lower}:{upper}]"));
                level = size.and_then(|values| values.first());
            }
            out.push(b'=');
            push_json(out, Kind::Array(element), values);
        }
        (Kind::Array(element), Value::Array(values)) => {
            let delimiter = if stock(element).is_some_and(|(_, kind)| kind == Kind::Box) { b';' } else { b',' };
            separated(out, *b"{}", delimiter, values, |out, value| match value {
                Value::Null => out.extend_from_slice(b"NULL"),
                Value::Array(_) if !matches!(Kind::of(element), Kind::Record) => {
                    push_json(out, Kind::Array(element), value);
                }
                value => quoted(out, Kind::of(element), value, Quoting::Element),
            });
        }
        (Kind::Vector(_), Value::Array(values)) => {
            let numbers: Vec<_> = values.iter().map(ToString::to_string).collect();
            out.extend_from_slice(numbers.join(" ").as_bytes());
        }
        (Kind::Range(of), Value::Object(range)) => match range.get("bounds").and_then(Value::as_str) {
            Some(bounds) => {
                let (open, close) = bounds.split_at_checked(1).unwrap_or_default();
                out.extend_from_slice(open.as_bytes());
                for (index, bound) in ["lower", "upper"].into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    if let Some(bound) = range.get(bound).filter(|bound| !bound.is_null()) {
                        quoted(out, Kind::of(of), bound, Quoting::Field);
                    }
                }
                out.extend_from_slice(close.as_bytes());
            }
            None => out.extend_from_slice(b"empty"),
        },
        (Kind::Multirange(of), Value::Array(ranges)) => {
            separated(out, *b"{}", b',', ranges, |out, range| push_json(out, Kind::Range(of), range));
        }
        (Kind::Record, Value::Array(fields)) => separated(out, *b"()", b',', fields, |out, field| {
            if !field.is_null() {
                quoted(out, Kind::Opaque, field, Quoting::Field);
            }
        }),
        (Kind::Float4, Value::Number(number)) => push_float4(out, number.as_f64().unwrap_or_default() as f32),
        (Kind::Float8, Value::Number(number)) => push_float8(out, number.as_f64().unwrap_or_default()),
        (Kind::Timestamp | Kind::Timestamptz | Kind::Timetz, Value::String(text)) => push_moment(out, text),
        (Kind::Json | Kind::Jsonb, json) => push(out, format_args!("{json}")),
        (_, Value::Bool(value)) => push_bool(out, *value),
        (_, Value::String(text)) => out.extend_from_slice(text.as_bytes()),
        (_, json) => push(out, format_args!("{json}")),
    }
}

fn separated(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    delimiter: u8,
    values: &[Value],
    mut push: impl FnMut(&mut Vec<u8>, &Value),
) {
    out.push(open);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        push(out, value);
    }
    out.push(close);
}

/// How a value within another is quoted where it has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// In an array: quotes and backslashes are escaped.
    Element,
    /// In a composite value or a range: quotes and backslashes are doubled.
    Field,
}

fn quoted(out: &mut Vec<u8>, kind: Kind, value: &Value, quoting: Quoting) {
    let mut text = Vec::new();
    push_json(&mut text, kind, value);
    let is_special = |byte: &u8| match byte {
        b'"' | b'\\' | b',' => true,
        b'{' | b'}' | b';' => quoting == Quoting::Element && (*byte != b';' || kind == Kind::Box),
        b'(' | b')' | b'[' | b']' => quoting == Quoting::Field,
        byte => byte.is_ascii_whitespace() || *byte == 0x0b,
    };
    let is_null = quoting == Quoting::Element && text.eq_ignore_ascii_case(b"NULL");
    // In an array of boxes, the comma is no delimiter.
    let is_plain = !text.is_empty() && !is_null && (kind == Kind::Box || !text.iter().any(is_special));
    if is_plain {
        return out.extend_from_slice(&text);
    }
    out.push(b'"');
    for byte in text {
        match (byte, quoting) {
            (b'"' | b'\\', Quoting::Element) => out.push(b'\\'),
            (b'"' | b'\\', Quoting::Field) => out.push(byte),
            _ => {}
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn text(type_oid: u32, bytes: &[u8]) -> String {
        let settings = Settings::default();
        let value =
            TypedValue { type_oid, format: Format::Binary, bytes, settings: &settings, encoding: settings.encoding() };
        let mut out = Vec::new();
        let is_written = value.push_server_text(&mut out);
        assert!(is_written || out.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_those_of_the_server() {
        // What `SELECT x::float8` writes.
        for (value, written) in [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1.0, "1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123456.789, "123456.789"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(701, &f64::to_be_bytes(value)), written);
        }
        assert_eq!(text(700, &f32::to_be_bytes(1e6)), "1e+06");
        assert_eq!(text(700, &f32::to_be_bytes(1.1)), "1.1");
    }

    #[test]
    fn arrays_quote_what_would_be_read_as_something_else() {
        let element = |text: &str| [&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat();
        let array = |texts: &[&str]| {
            let mut bytes = Vec::new();
            for word in [1, 0, 25, texts.len() as i32, 1] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            texts.iter().for_each(|text| bytes.extend(element(text)));
            bytes
        };
        let written = text(1009, &array(&["a", "b \"c\" \\", "", "null", "d,e", "{"]));
        assert_eq!(written, r#"{a,"b \"c\" \\","","null","d,e","{"}"#);
    }

    #[test]
    fn json_is_as_it_was_sent() {
        let sent = br#"{"a" : 1.0,  "a":2}"#;
        assert_eq!(text(114, sent).as_bytes(), sent);
        assert_eq!(text(3802, b"\x01[1,  2]"), "[1,  2]");
        let array = b"\0\0\0\x01\0\0\0\0\0\0\0\x72\0\0\0\x01\0\0\0\x01\0\0\0\x0a{\"a\" : 10}";
        assert_eq!(text(199, array), r#"{"{\"a\" : 10}"}"#);
    }

    #[test]
    fn what_cannot_be_decoded_is_not_written() {
        assert_eq!(text(23, b"\0"), "");
        assert_eq!(text(790, &[0; 8]), "");
        assert_eq!(text(16_385, b"of a domain"), "");
        // An array and a range of elements that cannot be.
        assert_eq!(text(1007, b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x01\0\0\0\x01\0\0\0\x01x"), "");
        assert_eq!(text(3904, b"\x02\0\0\0\x01\x01\0\0\0\x04\0\0\0\x05"), "");
        assert_eq!(text(17, b"\0"), "\\x00");
    }
}
