//! Fields of a line: those that are known of a record without its line, and those that are found in the text of the line.

use std::borrow::Cow;

use jaq_json::{Map, Val};
use memchr::{memchr, memchr2};

use super::condition::Plain;
use super::parse;
use crate::pg::message::Decoded;
use crate::record::{Header, MOST_EXACT, MessageEvent, Record};

/// A field that is known of messages, or of requests, without their line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Event,
    Ts,
    Conn,
    Client,
    Server,
    Dir,
    Seq,
    Packet,
    Len,
    Type,
    Query,
    ElapsedUs,
    Rows,
    BytesIn,
    BytesOut,
    TotalUs,
    ExecUs,
    ServerUs,
}

/// The names of fields. Those from the first that is none of a message's are of requests alone.
const NAMES: [(&str, Field); 18] = [
    ("event", Field::Event),
    ("ts", Field::Ts),
    ("conn", Field::Conn),
    ("client", Field::Client),
    ("server", Field::Server),
    ("dir", Field::Dir),
    ("seq", Field::Seq),
    ("packet", Field::Packet),
    ("len", Field::Len),
    ("type", Field::Type),
    ("query", Field::Query),
    ("elapsed_us", Field::ElapsedUs),
    ("rows", Field::Rows),
    ("bytes_in", Field::BytesIn),
    ("bytes_out", Field::BytesOut),
    ("total_us", Field::TotalUs),
    ("exec_us", Field::ExecUs),
    ("server_us", Field::ServerUs),
];

impl Field {
    pub(super) fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// Returns whether it is the same in all messages of a run.
    const fn is_of_run(self) -> bool {
        matches!(self, Self::Event | Self::Ts | Self::Conn | Self::Client | Self::Server | Self::Dir | Self::Type)
    }
}

fn number(number: u64) -> Option<Plain<'static>> {
    // Larger ones are strings in a line.
    (number <= MOST_EXACT).then_some(Plain::Number(number as i64))
}

fn some_number(value: Option<u64>) -> Option<Plain<'static>> {
    value.map_or(Some(Plain::Null), number)
}

fn text(text: &str) -> Option<Plain<'_>> {
    Some(Plain::Text(Cow::Borrowed(text)))
}

fn of_header<'a>(header: &Header<'a>, field: Field) -> Option<Plain<'a>> {
    match field {
        Field::Ts => Some(Plain::Text(header.ts.to_string().into())),
        Field::Conn => number(header.conn),
        Field::Client => text(header.client),
        Field::Server => text(header.server),
        _ => None,
    }
}

/// Returns a field of a message's line; `None` if it is not known.
pub(super) fn of_message<'a>(
    event: &MessageEvent<'a>,
    decoded: Option<&Decoded<'a>>,
    field: Field,
) -> Option<Plain<'a>> {
    match field {
        Field::Event => text("message"),
        Field::Dir => text(if event.dir.letter() == b'F' { "F" } else { "B" }),
        Field::Seq => number(event.seq),
        Field::Packet => number(event.packet),
        Field::Len => number(event.frame.len.into()),
        Field::Type => text(event.name(decoded)),
        Field::Query => some_number(event.query),
        Field::ElapsedUs => some_number(event.elapsed_us),
        _ => of_header(&event.header, field),
    }
}

/// The same of a run of messages.
pub(super) fn of_run<'a>(first: &MessageEvent<'a>, field: Field) -> Option<Plain<'a>> {
    if field.is_of_run() { of_message(first, None, field) } else { None }
}

/// Returns a field of another record's line; `None` if it is not known.
pub(super) fn of_record<'a>(record: &Record<'a>, field: Field) -> Option<Plain<'a>> {
    let name = match record {
        Record::Query(query) => match field {
            Field::Event => "query",
            Field::Query => return number(query.query),
            Field::Packet => return number(query.packet),
            Field::Rows => return some_number(query.rows),
            Field::BytesIn => return number(query.bytes_in),
            Field::BytesOut => return number(query.bytes_out),
            Field::TotalUs => return some_number(query.total_us),
            Field::ExecUs => return some_number(query.exec_us),
            Field::ServerUs => return some_number(query.server_us),
            _ => return of_header(&query.header, field),
        },
        Record::Running(_) => "running",
        Record::Session(_) => "session",
        Record::Change(_) => "change",
        Record::Transaction(_) => "transaction",
        Record::Loss(_) => "loss",
        Record::Stats(_) => "stats",
        Record::Summary(_) => "summary",
        Record::Message(_) => return None,
    };
    if field == Field::Event { text(name) } else { None }
}

/// The most fields that are looked up in a line at once.
const MOST: usize = 16;

/// The names of fields that a filter begins with, or that it puts together.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Box<str>>);

/// One of these names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    index: usize,
    /// Which field it is of those that are known without a line.
    pub(super) field: Option<Field>,
}

/// The text of each of these fields; `None` if it is absent.
#[derive(Debug)]
pub(super) struct Texts<'a>([Option<&'a [u8]>; MOST]);

impl Names {
    pub(super) fn add(&mut self, name: &str) -> Name {
        let index = self.0.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        });
        Name { index, field: Field::of_name(name) }
    }

    /// Finds these fields in a line; `None` if they are too many, or that is no line.
    pub(super) fn texts<'a>(&self, line: &'a [u8]) -> Option<Texts<'a>> {
        let mut texts = [None; MOST];
        let mut left = self.0.len();
        if left > MOST {
            return None;
        }
        each_member(line, |name, value| {
            if let Some(index) = self.0.iter().position(|wanted| wanted.as_bytes() == name) {
                *texts.get_mut(index)? = Some(value);
                left -= 1;
            }
            // A name is in a line once.
            Some(left > 0)
        })?;
        Some(Texts(texts))
    }
}

impl<'a> Texts<'a> {
    pub(super) fn get(&self, name: Name) -> Option<&'a [u8]> {
        self.0.get(name.index).copied().flatten()
    }

    /// Returns the value of a field; `None` if that takes more than a look.
    pub(super) fn value(&self, name: Name) -> Option<Plain<'a>> {
        let Some(text) = self.get(name) else { return Some(Plain::Null) };
        match text {
            b"null" => Some(Plain::Null),
            b"false" => Some(Plain::Bool(false)),
            b"true" => Some(Plain::Bool(true)),
            [b'{' | b'[', ..] => Some(Plain::Composite),
            [b'"', inner @ .., b'"'] if memchr(b'\\', inner).is_none() => self::text(std::str::from_utf8(inner).ok()?),
            // Only integers are read as such.
            _ => std::str::from_utf8(text).ok()?.parse().ok().map(Plain::Number),
        }
    }
}

/// A field that a filter touches.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    name: Box<str>,
    key: Val,
}

impl Touched {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), key: Val::from(name.to_owned()) }
    }
}

/// Returns a line of JSON with these fields alone; `None` if it is not an object as lines are.
pub(super) fn picked(line: &[u8], touched: &[Touched]) -> Option<Val> {
    let mut picked = Map::default();
    each_member(line, |name, value| {
        if let Some(touched) = touched.iter().find(|touched| touched.name.as_bytes() == name) {
            picked.insert(touched.key.clone(), parse(value).ok()?);
        }
        // A name is in a line once.
        Some(picked.len() < touched.len())
    })?;
    Some(Val::obj(picked))
}

/// Visits the names and values of an object until a visit returns false. Returns `None` if one returns that, or if it is not an object
/// as those of lines are: without white space, and without escape sequences in names.
pub(super) fn each_member<'a>(
    object: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]) -> Option<bool>,
) -> Option<()> {
    let mut rest = object.strip_prefix(b"{")?;
    while let Some(begun) = rest.strip_prefix(b"\"") {
        let end = memchr2(b'"', b'\\', begun).filter(|end| begun.get(*end) == Some(&b'"'))?;
        let (name, after) = begun.split_at_checked(end)?;
        let after = after.strip_prefix(b"\":")?;
        let (value, after) = after.split_at_checked(end_of_value(after)?)?;
        if !visit(name, value)? {
            return Some(());
        }
        rest = after.strip_prefix(b",").unwrap_or(after);
    }
    matches!(rest, b"}" | b"}\n").then_some(())
}

/// Returns where the value ends that JSON begins with.
fn end_of_value(json: &[u8]) -> Option<usize> {
    match json.first()? {
        b'"' => end_of_string(json, 0),
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0_usize);
            loop {
                match json.get(at)? {
                    b'"' => {
                        at = end_of_string(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => memchr2(b',', b'}', json),
    }
}

/// Returns where the string ends that begins at a position.
fn end_of_string(json: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, names: &[&str]) -> Option<String> {
        let touched: Vec<_> = names.iter().map(|name| Touched::new(name)).collect();
        picked(line.as_bytes(), &touched).map(|value| value.to_string())
    }

    #[test]
    fn fields_are_found_in_a_line() {
        let line = r#"{"a":"x\"","b":{"c":[1,"]}\"\\",{}],"d":{}},"e":[],"f":-1.5e3,"g":null,"h":true}"#;
        for (name, value) in
            [("a", r#""x\"""#), ("b", r#"{"c":[1,"]}\"\\",{}],"d":{}}"#), ("e", "[]"), ("g", "null"), ("h", "true")]
        {
            let wanted = format!("{{\"{name}\":{value}}}");
            assert_eq!(of(line, &[name, "absent"]), Some(wanted.clone()));
            assert_eq!(of(&format!("{line}\n"), &[name]), Some(wanted));
        }
        assert_eq!(of(line, &[]).as_deref(), Some("{}"));
        assert_eq!(of(line, &["absent"]).as_deref(), Some("{}"));
    }

    #[test]
    fn what_is_no_line_is_left_to_the_reader_of_json() {
        for line in ["", "{", "[1]", "{\"a\":1", r#"{"a\u0041":1,"b":2}"#, r#"{"a" :1,"b":2}"#, r#"{"a":{"b":1}"#] {
            assert_eq!(of(line, &["b", "c"]), None, "{line}");
        }
    }
}
