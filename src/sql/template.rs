//! Templates: texts with the same template have the same normal form, and a template is computed in a fraction of the time needed
//! to normalize a text.

use super::lexer::{is_word, run};

/// Writes the text, with `0` for its numbers and `''` for its strings, into a buffer, replacing its content. Returns whether the
/// result is a template: then all texts with this template have the same normal form, unless that contains numbers which are not
/// data ([`Form::shows_numbers`](super::normalize::Form::shows_numbers)).
///
/// Only numbers of digits and strings in single quotes without special characters are replaced; other constants are part of the
/// template. A text has no template if a lexer is needed to determine the meaning of a quote: if it has comments, backslashes,
/// quoted names, or constants of other kinds.
pub fn template(sql: &[u8], template: &mut Vec<u8>) -> bool {
    template.clear();
    let mut copied = 0; // everything before it is in `template`
    let mut at = 0;
    let byte = |at: usize| sql.get(at).copied();
    let run_from = |at: usize, is_wanted: fn(u8) -> bool| sql.get(at..).map_or(0, |rest| run(rest, is_wanted));
    while let Some(found) = sql.get(at..).and_then(first_special) {
        let start = at + found;
        let before = start.checked_sub(1).and_then(byte);
        let is_in_word = before.is_some_and(|b| is_word(b) || b == b'.');
        at = start + 1;
        let stands_for: &[u8] = match (byte(start), byte(at)) {
            (Some(b'0'..=b'9' | b'$'), _) if is_in_word => {
                at += run_from(at, |b| is_word(b) || b == b'.');
                continue;
            }
            (Some(b'0'..=b'9'), _) => {
                at += run_from(at, |b| b.is_ascii_digit());
                if byte(at).is_some_and(|b| is_word(b) || b == b'.') {
                    at += run_from(at, |b| is_word(b) || b == b'.');
                    continue;
                }
                b"0"
            }
            (Some(b'$'), Some(b'0'..=b'9')) => {
                at += run_from(at, |b| b.is_ascii_digit());
                continue;
            }
            (Some(b'\''), _) if !is_in_word && before != Some(b'&') => {
                let Some(len) = sql.get(at..).and_then(|rest| memchr::memchr2(b'\'', b'\\', rest)) else {
                    return false;
                };
                let end = at + len;
                at = end + 1;
                if byte(end) != Some(b'\'') || byte(at).is_some_and(|b| b == b'\'' || is_word(b)) {
                    return false;
                }
                b"''"
            }
            (Some(b'-'), next) if next != Some(b'-') => continue,
            (Some(b'/'), next) if next != Some(b'*') => continue,
            _ => return false,
        };
        template.extend_from_slice(sql.get(copied..start).unwrap_or_default());
        template.extend_from_slice(stands_for);
        copied = at;
    }
    template.extend_from_slice(sql.get(copied..).unwrap_or_default());
    true
}

/// Returns the offset of the first byte that begins or ends a constant, a quoted name or a comment.
fn first_special(text: &[u8]) -> Option<usize> {
    const fn is_special(b: u8) -> bool {
        // Without branches, so that a chunk is compared as a whole.
        (b.wrapping_sub(b'0') < 10)
            | (b == b'\'')
            | (b == b'"')
            | (b == b'\\')
            | (b == b'$')
            | (b == b'-')
            | (b == b'/')
    }
    let has_special = |chunk: &[u8; 16]| chunk.iter().fold(0, |found, b| found | u8::from(is_special(*b))) != 0;
    let plain = 16 * text.as_chunks().0.iter().take_while(|chunk| !has_special(chunk)).count();
    text.get(plain..)?.iter().position(|b| is_special(*b)).map(|at| plain + at)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::normalize::{Form, normalize_into};
    use super::*;

    fn template_of(sql: &str) -> Option<String> {
        let mut out = b"before".to_vec();
        template(sql.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn numbers_and_strings_are_left_out_and_the_rest_is_as_it_is() {
        for (sql, expected) in [
            ("SELECT a1 FROM t WHERE b=12 AND c = 'x;y'", "SELECT a1 FROM t WHERE b=0 AND c = ''"),
            ("SELECT $12, 1.50, .5, 1e5, 0x1F, -7", "SELECT $12, 1.50, .5, 1e5, 0x1F, -0"),
            ("", ""),
        ] {
            assert_eq!(template_of(sql).as_deref(), Some(expected));
        }
        for sql in
            ["E'a'", "U&'a'", "'it''s'", "'a", r"'\'", "'O'Brien'", "a -- '", "a /* ' */", "\"a\"", "$$a$$", "$a$b$a$"]
        {
            assert_eq!(template_of(sql), None, "{sql}");
        }
    }

    proptest! {
        /// Combines relevant pieces into texts, with one of two constants at each place for one.
        #[test]
        fn texts_of_one_template_have_one_normal_form(
            pieces in prop::collection::vec((0..PIECES.len(), any::<bool>(), any::<bool>()), 1..12),
        ) {
            let text = |is_other: fn(&(usize, bool, bool)) -> bool| -> String {
                pieces.iter().map(|piece| PIECES[piece.0].replace('#', if is_other(piece) { "7" } else { "42" })).collect()
            };
            let mut forms: HashMap<String, (Form, Vec<u8>)> = HashMap::new();
            for sql in [text(|piece| piece.1), text(|piece| piece.2)] {
                let Some(template) = template_of(&sql) else { continue };
                let mut text = Vec::new();
                let form = normalize_into(sql.as_bytes(), &mut text);
                if form.shows_numbers {
                    continue;
                }
                let first = forms.entry(template).or_insert_with(|| (form, text.clone()));
                prop_assert_eq!(&*first, &(form, text), "{}", sql);
            }
        }
    }

    const PIECES: &[&str] = &[
        "#",
        "'#'",
        "'a#'",
        " ",
        "\n",
        "(",
        ")",
        ",",
        "[",
        "]",
        ";",
        "-",
        "+",
        ".",
        "::",
        "e",
        "u&",
        "x",
        "_",
        "$#",
        "$",
        "'",
        "''",
        "\\",
        "\"",
        "/",
        "*",
        "--",
        " in (",
        " values (",
        " order by ",
        " group by ",
        " varchar(",
        "::numeric(",
        "select ",
        " from t",
        " where a=",
        " null ",
        " true ",
        "extract(",
        "array[",
        " uescape ",
        "é",
        "#.#",
        "#e#",
    ];
}
