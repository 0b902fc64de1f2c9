//! A value of any type, in either format, with any settings: written as one line of JSON that every parser accepts, and not much
//! longer than the value.

use std::sync::LazyLock;

use pgdissect::value::{Format, Settings, TypedValue, type_name};
use serde_json::Value;

/// The settings selected by the second byte of an input.
const SETTINGS: [&[(&str, &str)]; 8] = [
    &[],
    &[("DateStyle", "ISO, MDY"), ("TimeZone", "UTC"), ("IntervalStyle", "postgres"), ("client_encoding", "UTF8")],
    &[("DateStyle", "SQL, DMY"), ("TimeZone", "Europe/Berlin"), ("IntervalStyle", "sql_standard")],
    &[("DateStyle", "Postgres, MDY"), ("TimeZone", "America/Sao_Paulo"), ("IntervalStyle", "postgres_verbose")],
    &[("DateStyle", "German, DMY"), ("TimeZone", "<+02>-02"), ("IntervalStyle", "iso_8601")],
    &[("client_encoding", "LATIN1"), ("DateStyle", "SQL, MDY"), ("TimeZone", "Australia/Lord_Howe")],
    &[("client_encoding", "BIG5")],
    &[("client_encoding", "EUC_JIS_2004")],
];

/// All known types, and an unknown one.
static TYPES: LazyLock<Vec<u32>> =
    LazyLock::new(|| (0..10_000).filter(|oid| *oid == 0 || type_name(*oid).is_some()).collect());

/// The first byte of an input selects a type, the second its format and the settings; the rest is the value.
pub(crate) fn check(data: &[u8]) {
    let [oid, how, bytes @ ..] = data else { return };
    let mut settings = Settings::default();
    for (name, value) in SETTINGS[usize::from(how >> 1) % SETTINGS.len()] {
        settings.parameter(name.as_bytes(), value.as_bytes());
    }
    let format = if how & 1 == 0 { Format::Text } else { Format::Binary };
    check_value(&TypedValue {
        type_oid: TYPES[usize::from(*oid) % TYPES.len()],
        format,
        bytes,
        settings: &settings,
        encoding: settings.encoding(),
    });
}

pub(crate) fn check_value(value: &TypedValue<'_>) {
    let json = serde_json::to_string(value).unwrap();
    assert!(!json.contains(|character: char| character < ' '), "{json}");
    if let Err(error) = serde_json::from_str::<Value>(&json) {
        panic!("{error}: {json}");
    }
    // The longest output is that of a numeric, whose zeros are not on the wire.
    assert!(json.len() <= 50 * value.bytes.len() + 500, "{} bytes of {}: {json}", json.len(), value.bytes.len());
    let _ = value.shown();
}
