//! Filters that only put fields of a line together: the text of each value is that of the line.

use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::path::Part;
use jaq_json::Val;
use memchr::memchr2;

use super::fields::{Name, Names, Texts, each_member};
use super::terms::constant;
use super::{parse, write_value};

/// What such a filter yields.
#[derive(Debug)]
pub(super) enum Shape {
    /// `.a.b.c`
    Path(Name, Box<[Box<str>]>),
    Array(Vec<Self>),
    /// Its keys differ, and are written without escape sequences.
    Object(Vec<(Box<str>, Self)>),
}

/// Returns what a filter yields for each line that the `select`s pass that it begins with; `None` if that is more than fields that are
/// put together.
pub(super) fn of(filter: &Term<&str>, names: &mut Names) -> Option<Vec<Shape>> {
    match filter {
        Term::BinOp(left, BinaryOp::Pipe(None), right) => match &**left {
            Term::Call("select", arguments) if arguments.len() == 1 => of(right, names),
            _ => None,
        },
        Term::BinOp(left, BinaryOp::Comma, right) => {
            let mut shapes = vec_of(left, names)?;
            shapes.extend(vec_of(right, names)?);
            Some(shapes)
        }
        _ => Some(vec![one(filter, names)?]),
    }
}

/// The same of what has no `select`s.
fn vec_of(term: &Term<&str>, names: &mut Names) -> Option<Vec<Shape>> {
    match term {
        Term::BinOp(_, BinaryOp::Pipe(None), _) => None,
        _ => of(term, names),
    }
}

fn one(term: &Term<&str>, names: &mut Names) -> Option<Shape> {
    match term {
        Term::Path(from, path) if matches!(**from, Term::Id) => {
            let mut parts = path.0.iter().map(|(part, _)| match part {
                Part::Index(name) => constant(name),
                Part::Range(..) => None,
            });
            let name = names.add(parts.next()??);
            Some(Shape::Path(name, parts.map(|name| name.map(Box::from)).collect::<Option<_>>()?))
        }
        Term::Arr(None) => Some(Shape::Array(Vec::new())),
        Term::Arr(Some(term)) => vec_of(term, names).map(Shape::Array),
        Term::Obj(entries) => {
            let mut members: Vec<(Box<str>, Shape)> = Vec::new();
            for (key, value) in entries {
                let key = constant(key)?;
                let is_simple = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !is_simple || members.iter().any(|(known, _)| **known == *key) {
                    return None;
                }
                let value = match value {
                    Some(value) => one(value, names)?,
                    None => Shape::Path(names.add(key), Box::default()),
                };
                members.push((key.into(), value));
            }
            Some(Shape::Object(members))
        }
        _ => None,
    }
}

/// Writes what a filter yields. Returns `None` if that takes the filter itself, which fails or writes texts in another way: then
/// something may have been written.
pub(super) fn write(shapes: &[Shape], out: &mut Vec<u8>, texts: &Texts<'_>, is_raw: bool) -> Option<()> {
    for shape in shapes {
        write_shape(shape, out, texts, is_raw)?;
        out.push(b'\n');
    }
    Some(())
}

fn write_shape(shape: &Shape, out: &mut Vec<u8>, texts: &Texts<'_>, is_raw: bool) -> Option<()> {
    match shape {
        Shape::Path(name, within) => {
            let mut text = texts.get(*name).unwrap_or(b"null");
            for name in within {
                text = if text == b"null" { text } else { member(text, name)? };
            }
            write_text(out, text, is_raw)
        }
        Shape::Array(shapes) => {
            out.push(b'[');
            for (index, shape) in shapes.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_shape(shape, out, texts, false)?;
            }
            out.push(b']');
            Some(())
        }
        Shape::Object(members) => {
            out.push(b'{');
            for (index, (key, shape)) in members.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(b"\":");
                write_shape(shape, out, texts, false)?;
            }
            out.push(b'}');
            Some(())
        }
    }
}

/// Returns the text of a member of an object; `None` if it is no object, or one with white space.
fn member<'a>(object: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut text: &[u8] = b"null";
    each_member(object, |name, value| {
        if name == wanted.as_bytes() {
            // As with the filter, the last one counts: values of type json may have a name twice.
            text = value;
        }
        Some(true)
    })?;
    Some(text)
}

/// Writes a value as the filter would.
fn write_text(out: &mut Vec<u8>, text: &[u8], is_raw: bool) -> Option<()> {
    match text {
        // What is escaped, and how, is the filter's.
        [b'"', inner @ .., b'"'] if memchr2(b'\\', 0x7f, inner).is_none() => {
            out.extend_from_slice(if is_raw { inner } else { text });
        }
        b"null" | b"false" | b"true" | b"0" => out.extend_from_slice(text),
        [b'1'..=b'9', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => out.extend_from_slice(text),
        _ => match parse(text).ok()? {
            Val::TStr(text) if is_raw => out.extend_from_slice(&text),
            value => write_value(out, value).ok()?,
        },
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use jaq_core::load::parse;

    use super::*;

    fn written(code: &str, line: &str) -> Option<String> {
        let term = parse(code, |parser| parser.term()).unwrap();
        let mut names = Names::default();
        let shapes = of(&term, &mut names)?;
        let mut out = Vec::new();
        write(&shapes, &mut out, &names.texts(line.as_bytes())?, false)?;
        Some(String::from_utf8(out).unwrap())
    }

    const LINE: &str = r#"{"a":1,"b":"x","c":{"d":-1.50,"d":[ 1 ],"e":{"f":"\u00e4\u007f"}},"g":"\/"}"#;

    #[test]
    fn fields_are_put_together() {
        for (code, wanted) in [
            ("[.a,.b, .absent]", "[1,\"x\",null]\n"),
            ("select(.a) | {b, q: .c.d, z: [], \"g\": {a: .a}}", "{\"b\":\"x\",\"q\":[1],\"z\":[],\"g\":{\"a\":1}}\n"),
            (".a, .b", "1\n\"x\"\n"),
            (".c.e, .absent.f", "{\"f\":\"ä\\u007f\"}\nnull\n"),
            (".g", "\"/\"\n"),
            ("{}", "{}\n"),
        ] {
            assert_eq!(written(code, LINE).as_deref(), Some(wanted), "{code}");
        }
    }

    #[test]
    fn whatever_else_there_is_takes_the_filter() {
        for code in [
            ".",
            ".a.b",
            ".a | .b",
            "[.a | .b]",
            "{a: (.a, .b)}",
            "{a, a: 1}",
            "{(.b): 1}",
            ".a[0]",
            ".a + 1",
            "{$x}",
            "[.[]]",
        ] {
            assert_eq!(written(code, LINE), None, "{code}");
        }
    }
}
