//! Properties of every line.

use pgdissect::Record;
use pgdissect::internals::{json, text};
use pgdissect::output::TextStyle;
use serde_json::Value;

use super::strict;

/// Writes a record in every form and checks each. Returns the JSON form.
pub(crate) fn check(record: &Record<'_>) -> Value {
    let mut out = Vec::new();
    for (color, width) in [(false, None), (true, None), (false, Some(40)), (true, Some(120))] {
        out.clear();
        text::write_line(&mut out, record, &TextStyle { color, width, ..TextStyle::default() }).unwrap();
        let line = one_line(&out);
        assert!(!line.trim().is_empty(), "a line says something");
        let plain = if color { without_colors(line) } else { line.to_owned() };
        assert!(!plain.chars().any(char::is_control), "a control character stands raw: {plain:?}");
        assert!(!plain.ends_with(' '), "a line ends with a space: {plain:?}");
    }
    out.clear();
    json::write_line(&mut out, record).unwrap();
    let line = one_line(&out);
    assert!(!line.chars().any(char::is_control), "a control character stands raw: {line:?}");
    assert!(line.starts_with("{\"event\":\""), "`event` is first: {line}");
    strict::parse(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn one_line(out: &[u8]) -> &str {
    let line = std::str::from_utf8(out).expect("a line is UTF-8");
    line.strip_suffix('\n').expect("a line ends with a line feed")
}

/// Removes the escape sequences of colors, and nothing else.
fn without_colors(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let (parameters, behind) = behind.split_once('m').expect("a color ends");
        assert!(parameters.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "not a color: {parameters:?}");
        rest = behind;
    }
    plain.push_str(rest);
    plain
}
