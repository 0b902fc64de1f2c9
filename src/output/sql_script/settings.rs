//! The settings with which a session began, as statements that set them.

use std::io::{self, Write};

use super::literal;
use crate::output::text::sanitize::{Extent, Name};
use crate::pg::text::{Secret, Text};
use crate::record::{SessionRecord, Setting};

/// The settings that a server reports, and a script sets to what they were then: those that decide how constants, parameters in text
/// format, and names are read.
const REPORTED: [&str; 5] = ["standard_conforming_strings", "DateStyle", "IntervalStyle", "TimeZone", "search_path"];

/// The settings whose values are lists of names. In one constant, such a list would be one name.
const LISTS: [&str; 2] = ["search_path", "temp_tablespaces"];

/// What the script decides, and what can be set in options alone.
const OWN: [&str; 1] = ["client_encoding"];

/// Appends the statements for what a session asked for when it began, and for what the server reported then. Returns whether a
/// backslash in a constant is no escape, if it was reported.
pub(super) fn put(out: &mut Vec<u8>, session: &SessionRecord<'_>) -> io::Result<Option<bool>> {
    let reported: Vec<_> = session.parameters.0.iter().filter_map(reported).collect();
    for asked in session.startup.0 {
        let name = asked.name.get();
        let Some(value) = asked.value.get().to_str() else {
            refuse(out, name)?;
            continue;
        };
        if name.0 == b"options" {
            for option in options(&value) {
                match option {
                    Ok((name, value)) => ask(out, &name, &value, &reported)?,
                    Err(option) => refuse(out, Text::utf8(option.as_bytes()))?,
                }
            }
        } else if let Some(name) = name.to_str() {
            ask(out, &name, &value, &reported)?;
        } else {
            refuse(out, name)?;
        }
    }
    let mut conforms = None;
    for (name, value) in reported {
        if name == "standard_conforming_strings" {
            conforms = Some(value == "on");
        }
        set(out, name, &value)?;
    }
    Ok(conforms)
}

fn reported(setting: &Setting) -> Option<(&'static str, String)> {
    let name = setting.name.get();
    let known = REPORTED.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name.0))?;
    Some((known, setting.value.get().to_str()?.into_owned()))
}

/// Sets what the client asked for, unless the server reported what it was.
fn ask(out: &mut Vec<u8>, name: &str, value: &str, reported: &[(&str, String)]) -> io::Result<()> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    if reported.iter().any(|(known, _)| is(known)) || OWN.iter().any(is) {
        return Ok(());
    }
    if !is_name(name) || value.contains(Secret::MASK) {
        return refuse(out, Text::utf8(name.as_bytes()));
    }
    set(out, name, value)
}

fn set(out: &mut Vec<u8>, name: &str, value: &str) -> io::Result<()> {
    let mut text = String::new();
    if LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) {
        let Some(names) = names(value) else { return refuse(out, Text::utf8(name.as_bytes())) };
        for (index, name) in names.iter().enumerate() {
            text.push_str(if index > 0 { ", " } else { "" });
            literal::put(&mut text, name);
        }
    } else {
        literal::put(&mut text, value);
    }
    writeln!(out, "SET {name} = {text};")
}

fn refuse(out: &mut Vec<u8>, what: Text<'_>) -> io::Result<()> {
    writeln!(out, "-- not set, though its client asked for it: {}", Name(what, Extent::Whole))
}

/// Whether it is the name of a setting, which is written as it is: of letters, digits and underscores, in parts.
fn is_name(name: &str) -> bool {
    name.split('.').all(|part| {
        !part.starts_with(|c: char| c.is_ascii_digit())
            && !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Splits a list of names: those without quotes are in lower case.
fn names(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list.trim_start();
    if rest.is_empty() {
        return Some(vec![String::new()]);
    }
    loop {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (part, behind) = rest.split_once('"')?;
                name.push_str(part);
                rest = behind;
                let Some(behind) = rest.strip_prefix('"') else { break };
                name.push('"');
                rest = behind;
            }
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(rest.len());
            let (plain, behind) = rest.split_at_checked(end)?;
            if plain.is_empty() || plain.contains('"') {
                return None;
            }
            name = plain.to_ascii_lowercase();
            rest = behind;
        }
        names.push(name);
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// Splits `options`, the arguments for the server's process: `-c name=value`, `-cname=value`, `--name=value`. Others are an error.
fn options(text: &str) -> Vec<Result<(String, String), String>> {
    let mut words = words(text).into_iter();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
            Some("") => words.next().unwrap_or_default(),
            Some(setting) => setting.to_owned(),
            None => String::new(),
        };
        // The server reads a hyphen in a name as an underscore.
        let pair = setting.split_once('=').map(|(name, value)| (name.replace('-', "_"), value.to_owned()));
        found.push(pair.ok_or(if setting.is_empty() { word } else { setting }));
    }
    found
}

/// Splits words at blanks. A backslash makes the next character one of the word.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    while characters.next_if(char::is_ascii_whitespace).is_some() || characters.peek().is_some() {
        let mut word = String::new();
        while let Some(character) = characters.next_if(|c| !c.is_ascii_whitespace()) {
            word.extend(if character == '\\' { characters.next() } else { Some(character) });
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_servers_process() {
        let set = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(
            options(r#"-c search_path=a,\ "B" -cwork_mem=1MB  --statement-timeout=5s -e -c app.x=a=b\\c "#),
            [
                set("search_path", r#"a, "B""#),
                set("work_mem", "1MB"),
                set("statement_timeout", "5s"),
                Err("-e".to_owned()),
                set("app.x", r"a=b\c"),
            ]
        );
        assert_eq!(options(" "), []);
        assert_eq!(options("-c"), [Err("-c".to_owned())]);
    }

    #[test]
    fn a_list_of_names_is_one_constant_for_each() {
        let set = |value: &str| {
            let mut out = Vec::new();
            set(&mut out, "search_path", value).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(set(r#""$user", public"#), "SET search_path = '$user', 'public';\n");
        assert_eq!(set(r#"Tenant,"Other ""one"", it's""#), "SET search_path = 'tenant', 'Other \"one\", it''s';\n");
        assert_eq!(set(""), "SET search_path = '';\n");
        for wrong in ["a,", "\"a", "a b", ",", "a\"b"] {
            assert!(set(wrong).starts_with("-- not set"), "{wrong}");
        }
    }

    #[test]
    fn names_of_settings_are_no_sql() {
        for (name, is_valid) in
            [("work_mem", true), ("app.user_id", true), ("a; drop", false), ("1a", false), ("a.", false)]
        {
            assert_eq!(is_name(name), is_valid, "{name}");
        }
    }
}
