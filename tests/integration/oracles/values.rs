//! Values of real servers: the same JSON in both formats, with all settings, and the same as the server's own casts.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use pgdissect::internals::copy::Splitter;
use pgdissect::internals::sql::statement::{CopyFormat, CopyOptions};
use pgdissect::value::{Format, Settings, TypedValue, type_name};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::hostile::fuzz_seeds::value::check_value;

/// Client encodings of which only ASCII is decoded.
const UNREAD: [&str; 4] = ["EUC_TW", "JOHAB", "EUC_JIS_2004", "SHIFT_JIS_2004"];

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Types { types: BTreeMap<String, String> },
    Settings { settings: BTreeMap<String, String> },
    Value(Sample),
}

/// A value sent by a server; see `testdata/values/how-made.md`.
#[derive(Deserialize)]
struct Sample {
    oid: u32,
    sql: String,
    text: Option<String>,
    text_hex: Option<String>,
    binary: String,
    /// The result of the server's casts.
    json: Option<String>,
    #[serde(skip)]
    settings: Settings,
    #[serde(skip)]
    encoding: String,
}

impl Sample {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/values");
        let mut samples = Vec::new();
        for file in ["pg15.jsonl", "pg18.jsonl"] {
            let (mut current, mut encoding) = (Settings::default(), String::new());
            for line in std::fs::read_to_string(folder.join(file)).unwrap().lines() {
                match serde_json::from_str(line).unwrap() {
                    Line::Types { types } => {
                        for (oid, name) in types {
                            assert_eq!(type_name(oid.parse().unwrap()), Some(name.as_str()));
                        }
                    }
                    Line::Settings { settings } => {
                        current = Settings::default();
                        for (name, value) in &settings {
                            current.parameter(name.as_bytes(), value.as_bytes());
                        }
                        encoding = settings["client_encoding"].clone();
                    }
                    Line::Value(sample) => {
                        samples.push(Self { settings: current.clone(), encoding: encoding.clone(), ..sample });
                    }
                }
            }
        }
        assert!(samples.len() > 4_000, "{}", samples.len());
        samples
    }

    fn text(&self) -> Vec<u8> {
        match &self.text {
            Some(text) => text.clone().into_bytes(),
            None => bytes(self.text_hex.as_ref().unwrap()),
        }
    }

    /// Returns the value as written for both formats.
    fn written(&self) -> [String; 2] {
        [(Format::Text, self.text()), (Format::Binary, bytes(&self.binary))].map(|(format, bytes)| {
            let Self { oid, settings, .. } = self;
            serde_json::to_string(&TypedValue {
                type_oid: *oid,
                format,
                bytes: &bytes,
                settings,
                encoding: settings.encoding(),
            })
            .unwrap()
        })
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn text_and_binary_format_have_the_same_json() {
    let mut differences = Vec::new();
    for sample in Sample::all() {
        let [text, binary] = sample.written();
        // Text that is not decoded cannot be compared; in other formats, only parts may not be decoded.
        let is_unread = UNREAD.contains(&sample.encoding.as_str()) && text.starts_with(r#"{"hex":"#);
        if text != binary && !is_unread {
            let Sample { sql, settings, .. } = &sample;
            differences.push(format!("{sql}\n  text   {text}\n  binary {binary}\n  {settings:?} {}", sample.encoding));
        }
    }
    let shown = differences.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differ:\n{shown}", differences.len());
}

#[test]
fn a_client_encoding_changes_nothing_or_is_not_supported() {
    let mut in_utf8 = HashMap::new();
    let (mut same, mut hex) = (0, 0);
    for sample in Sample::all() {
        let [text, _] = sample.written();
        if sample.encoding == "UTF8" {
            in_utf8.entry(sample.sql).or_insert(text);
        } else if text.starts_with(r#"{"hex":"#) {
            assert!(UNREAD.contains(&sample.encoding.as_str()), "{} in {}: {text}", sample.sql, sample.encoding);
            hex += 1;
        } else {
            assert_eq!(text, in_utf8[&sample.sql], "{} in {}", sample.sql, sample.encoding);
            same += 1;
        }
    }
    assert!(same > 400 && hex > 40, "{same} {hex}");
}

#[test]
fn the_servers_own_casts_agree() {
    let mut differences = Vec::new();
    let mut compared = 0;
    for sample in Sample::all() {
        let Some(said) = &sample.json else { continue };
        let [text, _] = sample.written();
        let said: Value = match serde_json::from_str(said) {
            Ok(said) => iso(said, type_name(sample.oid).unwrap()),
            // JSON that serde_json cannot parse either is a string.
            Err(_) => said.clone().into(),
        };
        let ours: Value = serde_json::from_str(&text).unwrap();
        compared += 1;
        if !is_same(&without_bounds(ours), &said) {
            differences.push(format!("{}: {text}, not {said}", sample.sql));
        }
    }
    let shown = differences.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{shown}", differences.len());
    assert!(compared > 1_000, "{compared}");
}

/// Returns whether two values are the same, with 1 equal to 1.0.
fn is_same(ours: &Value, said: &Value) -> bool {
    match (ours, said) {
        (Value::Number(ours), Value::Number(said)) => ours == said || (ours.is_f64() && ours.as_f64() == said.as_f64()),
        (Value::Array(ours), Value::Array(said)) => {
            ours.len() == said.len() && ours.iter().zip(said).all(|(ours, said)| is_same(ours, said))
        }
        _ => ours == said,
    }
}

/// Returns the elements of an array, without the bounds, which `to_json` omits.
fn without_bounds(value: Value) -> Value {
    match value.get("lower_bounds") {
        Some(_) => value["values"].clone(),
        None => value,
    }
}

/// Returns dates and times in the strict ISO 8601 of `to_json`.
fn iso(value: Value, type_name: &str) -> Value {
    let is_of_dates = ["date", "time", "ts"].iter().any(|part| type_name.trim_start_matches('_').starts_with(part));
    if !is_of_dates || type_name.contains("tsvector") || type_name.contains("tsquery") {
        return value;
    }
    match value {
        Value::Array(values) => values.into_iter().map(|value| iso(value, type_name)).collect(),
        Value::Object(values) => values.into_iter().map(|(key, value)| (key, iso(value, type_name))).collect(),
        Value::String(text) => {
            let (text, is_bc) = text.strip_suffix(" BC").map_or((text.as_str(), false), |text| (text, true));
            let (year, rest) = text.split_once('-').unwrap_or((text, ""));
            let year = match year.parse::<i64>() {
                Ok(year) if is_bc && year > 1 => format!("-{:06}", year - 1),
                Ok(_) if is_bc => "0000".to_owned(),
                Ok(year) if year > 9999 => format!("+{year:06}"),
                _ => year.to_owned(),
            };
            let text = if rest.is_empty() { text.to_owned() } else { format!("{year}-{rest}") };
            match type_name.trim_start_matches('_') {
                "timetz" if !text[8..].contains(':') => format!("{text}:00").into(),
                "timetz" => text.into(),
                _ => text.replace("+00:00", "Z").into(),
            }
        }
        value => value,
    }
}

/// A COPY of a server; see `testdata/values/how-made.md`.
#[derive(Deserialize)]
struct Copied {
    options: String,
    data: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Copied {
    fn options(&self) -> CopyOptions<'static> {
        let format = match self.options.split([' ', ',']).nth(1).unwrap() {
            "text" => CopyFormat::Text,
            "csv" => CopyFormat::Csv,
            _ => CopyFormat::Binary,
        };
        let mut options = CopyOptions::new(format);
        for option in self.options.split(", ") {
            let (name, literal) = option.split_once(' ').unwrap();
            let value = match literal {
                "''''" => "'",
                r"E'\t'" => "\t",
                literal => literal.trim_matches('\''),
            };
            match name {
                "DELIMITER" => options.delimiter = value.as_bytes()[0],
                "NULL" => options.null = value.as_bytes().to_vec().into(),
                "QUOTE" => options.quote = value.as_bytes()[0],
                "ESCAPE" => options.escape = value.as_bytes()[0],
                "HEADER" => options.header_lines = 1,
                _ => {}
            }
        }
        options
    }
}

#[test]
fn what_a_server_copies_out_is_split_into_the_rows_that_it_has() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/values/copy.jsonl");
    let mut copies = 0;
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let copied: Copied = serde_json::from_str(line).unwrap();
        let data = copied.data.iter().map(|piece| bytes(piece)).collect::<Vec<_>>().concat();
        // Also in pieces, as a client might send it.
        for size in [1, 7, data.len()] {
            let mut rows: Vec<Vec<Option<String>>> = Vec::new();
            let mut splitter = Splitter::new(copied.options(), &Settings::default(), 10_000);
            for piece in data.chunks(size).map(Some).chain([None]) {
                match piece {
                    Some(piece) => splitter.push(piece),
                    None => splitter.finish(),
                }
                let split = splitter.split(piece.unwrap_or_default());
                assert_eq!((split.rest(), split.too_long(), split.lost()), (None, 0, 0));
                assert!(split.header().is_none_or(|header| header.as_bytes() == b"a,b"));
                let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
                rows.extend(split.rows().map(|row| row.fields().map(|field| field.bytes.map(text)).collect()));
            }
            assert_eq!(rows, copied.rows, "{}", copied.options);
        }
        copies += 1;
    }
    assert_eq!(copies, 8);
}

/// A change to the bytes of a value.
#[derive(Clone, Debug)]
enum Change {
    Cut(usize),
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize),
}

fn change() -> impl Strategy<Value = Change> {
    // Bytes with a special meaning, in text or as the first byte of a length.
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"\0\x01\x7f\x80\xff{}[](),;:\"'\\ +-./0129TZePNBC".to_vec())
    ];
    prop_oneof![
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), byte.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), proptest::collection::vec(byte, 1..5)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        any::<usize>().prop_map(Change::Remove),
    ]
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        let end = bytes.len();
        match self {
            Self::Cut(at) => bytes.truncate(at % (end + 1)),
            Self::Insert(at, new) => drop(bytes.splice(at % (end + 1)..at % (end + 1), new)),
            Self::Set(at, byte) if end > 0 => bytes[at % end] = byte,
            Self::Remove(at) if end > 0 => drop(bytes.remove(at % end)),
            Self::Set(..) | Self::Remove(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn damaged_values_are_valid_json_all_the_same(seed in proptest::collection::vec(change(), 50..100)) {
        let mut changes = seed.iter().cycle().skip(seed.len() / 3);
        for sample in Sample::all() {
            let oids = [sample.oid, sample.oid ^ 1, 0];
            for (format, bytes) in [(Format::Text, sample.text()), (Format::Binary, bytes(&sample.binary))] {
                let mut bytes = bytes;
                for _ in 0..3 {
                    changes.next().unwrap().clone().apply(&mut bytes);
                    for type_oid in oids {
                        let settings = &sample.settings;
                        let encoding = settings.encoding();
                        check_value(&TypedValue { type_oid, format, bytes: &bytes, settings, encoding });
                    }
                }
            }
        }
    }
}
