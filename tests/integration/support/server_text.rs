//! Comparison of values in a server's text format with JSON, and with values as clients write them.

use serde_json::Value;

/// Returns whether a JSON value is the one in the server's text; `None` is NULL. A string may be the same value in another form:
/// that of the client, which the server parsed before it wrote its own.
pub(crate) fn agrees(text: Option<&str>, value: &Value) -> bool {
    let Some(text) = text else { return value.is_null() };
    let is_json = || serde_json::from_str::<Value>(text).is_ok_and(|json| json == *value);
    match value {
        // A jsonb null is also written as null.
        Value::Null => text == "null",
        Value::Bool(value) => text == if *value { "t" } else { "f" },
        Value::Number(number) => text.parse::<f64>().is_ok_and(|theirs| number.as_f64() == Some(theirs)),
        Value::String(value) => text == value || canonical(text) == canonical(value) || is_same_structure(text, value),
        Value::Array(values) => is_json() || is_array(text, values),
        Value::Object(range) => is_json() || is_range(text, range),
    }
}

/// Compares JSON, and arrays.
fn is_same_structure(text: &str, value: &str) -> bool {
    match serde_json::from_str::<Value>(value) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => agrees(Some(text), &json),
        _ => elements(value)
            .is_some_and(|values| is_array(text, &values.into_iter().map(Value::from).collect::<Vec<_>>())),
    }
}

/// Normalizes a boolean, an instant in UTC, or an interval.
fn canonical(text: &str) -> String {
    match &*text.to_ascii_lowercase() {
        "t" | "true" => return "t".to_owned(),
        "f" | "false" => return "f".to_owned(),
        "nan" => return "nan".to_owned(),
        _ => {}
    }
    if let Some(interval) = interval(text) {
        return interval;
    }
    let moment = text.replacen(' ', "T", 1);
    let Some((date, time)) = moment.split_once('T') else { return text.to_owned() };
    let time = ["Z", "+00:00", "+00"].iter().find_map(|zone| time.strip_suffix(zone)).unwrap_or(time);
    let time = if time.contains('.') { time.trim_end_matches('0').trim_end_matches('.') } else { time };
    // A date that is sent as a timestamp is its midnight.
    if time == "00:00:00" { date.to_owned() } else { format!("{date}T{time}") }
}

/// Converts `3 days 04:00:00.000005` to ISO 8601.
fn interval(text: &str) -> Option<String> {
    let (days, time) = text.split_once(" days ")?;
    let mut iso = format!("P{days}DT");
    for (part, unit) in time.split(':').zip(["H", "M", "S"]) {
        let number = part.trim_start_matches('0');
        if !number.is_empty() {
            let zero = if number.starts_with('.') { "0" } else { "" };
            iso.push_str(&format!("{zero}{number}{unit}"));
        }
    }
    Some(iso)
}

/// `[1,5)`
fn is_range(text: &str, range: &serde_json::Map<String, Value>) -> bool {
    let bound = |name: &str| range.get(name).map(ToString::to_string).unwrap_or_default();
    let Some((open, close)) = range.get("bounds").and_then(Value::as_str).and_then(|both| both.split_at_checked(1))
    else {
        return false;
    };
    text == format!("{open}{},{}{close}", bound("lower"), bound("upper"))
}

fn is_array(text: &str, values: &[Value]) -> bool {
    elements(text).is_some_and(|theirs| {
        theirs.len() == values.len() && theirs.iter().zip(values).all(|(theirs, ours)| agrees(theirs.as_deref(), ours))
    })
}

/// Returns the elements of `{1,"two, three",NULL,{…}}`.
fn elements(array: &str) -> Option<Vec<Option<String>>> {
    let mut rest = array.strip_prefix('{')?;
    let mut elements = Vec::new();
    while rest != "}" {
        if !elements.is_empty() {
            rest = rest.strip_prefix(',')?;
        }
        let (element, behind) = if rest.starts_with('"') { quoted(rest)? } else { plain(rest)? };
        elements.push(element);
        rest = behind;
    }
    Some(elements)
}

/// Parses `"an \\"element\\""`, and returns the rest.
fn quoted(text: &str) -> Option<(Option<String>, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Some(value), chars.as_str())),
            '\\' => value.push(chars.next()?),
            char => value.push(char),
        }
    }
}

/// Parses an unquoted element or an array, and returns the rest.
fn plain(text: &str) -> Option<(Option<String>, &str)> {
    let mut depth = 0_usize;
    let mut rest = text;
    while !(depth == 0 && rest.starts_with([',', '}'])) {
        if rest.starts_with('"') {
            rest = quoted(rest)?.1;
            continue;
        }
        let mut chars = rest.chars();
        match chars.next()? {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        rest = chars.as_str();
    }
    let value = text.strip_suffix(rest)?;
    Some(((!value.eq_ignore_ascii_case("null")).then(|| value.to_owned()), rest))
}

#[test]
fn values_agree_in_all_the_ways_in_which_they_can_be_written() {
    let agree = |text: &str, json: &str| agrees(Some(text), &serde_json::from_str(json).unwrap());
    assert!(agrees(None, &Value::Null) && !agrees(None, &"".into()) && !agrees(Some(""), &Value::Null));
    assert!(agree("1e+300", "1e300") && agree("NaN", "\"NaN\"") && agree("t", "true") && !agree("1", "2"));
    assert!(agree("2024-02-29 12:34:56.789+00", "\"2024-02-29T12:34:56.789Z\""));
    assert!(agree("3 days 04:00:00.000005", "\"P3DT4H0.000005S\""));
    assert!(agree("[1,5)", r#"{"lower": 1, "upper": 5, "bounds": "[)"}"#));
    assert!(agree(r#"{"k": [1, null]}"#, r#"{"k":[1,null]}"#) && agree("[1]", "[1]") && agree("null", "null"));
    assert!(agree(r#"{a,"b \"c\", {d",NULL,"NULL"}"#, r#"["a", "b \"c\", {d", null, "NULL"]"#));
    assert!(agree("2024-02-29", "\"2024-02-29T00:00:00.000Z\"") && agree("t", "\"TRUE\"") && !agree("t", "\"x\""));
    assert!(agree("{{1,2},{3,NULL}}", r#""{{\"1\",2},{3,null}}""#) && !agree("{1,2}", r#""{1,3}""#));
    assert!(agree(r#"{{1,2},{3,"4"}}"#, "[[1, 2], [3, 4]]") && agree("{}", "[]"));
    assert!(!agree("{1,2}", "[1]") && !agree("{1}", "[1, 2]") && !agree("{1,2}", "[2, 1]"));
}
