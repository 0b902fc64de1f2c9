//! Passwords inside SQL: found and masked.
//!
//! `CREATE ROLE`, `ALTER ROLE` and their kin carry passwords as literals: `… PASSWORD 'secret'`.

use std::borrow::Cow;

/// What stands in place of a secret.
pub(super) const MASK: &str = "***";

/// Replaces every string literal that follows the word PASSWORD, in any of PostgreSQL's quoting styles, by `'***'`.
///
/// Borrows where there is nothing to mask, which costs one search for the word.
pub(super) fn mask_passwords(sql: &[u8]) -> Cow<'_, [u8]> {
    let mut masked: Option<Vec<u8>> = None;
    let mut kept = 0; // everything before it is in `masked`
    let mut at = 0;
    while let Some(word) = find_word(sql, at) {
        at = word;
        let literal = skip_blank(sql, word);
        let Some(end) = literal_end(sql, literal) else { continue };
        let masked = masked.get_or_insert_with(|| Vec::with_capacity(sql.len()));
        masked.extend_from_slice(sql.get(kept..literal).unwrap_or_default());
        masked.push(b'\'');
        masked.extend_from_slice(MASK.as_bytes());
        masked.push(b'\'');
        kept = end;
        at = end;
    }
    match masked {
        Some(mut masked) => {
            masked.extend_from_slice(sql.get(kept..).unwrap_or_default());
            Cow::Owned(masked)
        }
        None => Cow::Borrowed(sql),
    }
}

/// The end of the next occurrence of PASSWORD as a word of its own, in any case, at or after `from`.
fn find_word(sql: &[u8], from: usize) -> Option<usize> {
    const WORD: &[u8] = b"password";
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80);
    let mut at = from;
    loop {
        at += memchr::memchr2(b'p', b'P', sql.get(at..)?)?;
        let end = at + WORD.len();
        let found = sql.get(at..end).is_some_and(|word| word.eq_ignore_ascii_case(WORD));
        if found && !is_word(at.checked_sub(1).and_then(|i| sql.get(i))) && !is_word(sql.get(end)) {
            return Some(end);
        }
        at += 1;
    }
}

/// Where white space and comments that begin at `at` end.
fn skip_blank(sql: &[u8], mut at: usize) -> usize {
    loop {
        let rest = sql.get(at..).unwrap_or_default();
        if rest.first().is_some_and(|b| b.is_ascii_whitespace() || *b == 0x0b) {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += comment_len(rest);
        } else {
            return at;
        }
    }
}

/// The length of a block comment, which may have others inside it.
fn comment_len(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(pair) = rest.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth = depth.saturating_sub(1),
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Where the string literal that begins at `at` ends: `'…'`, `E'…'`, `U&'…'`, `B'…'`, `N'…'` or `$tag$…$tag$`; the end of
/// the text where the literal has none.
fn literal_end(sql: &[u8], at: usize) -> Option<usize> {
    let rest = sql.get(at..)?;
    let (prefix, escapes) = match rest {
        [b'\'', ..] => (0, false),
        [b'e' | b'E', b'\'', ..] => (1, true),
        [b'b' | b'B' | b'n' | b'N' | b'x' | b'X', b'\'', ..] => (1, false),
        [b'u' | b'U', b'&', b'\'', ..] => (2, false),
        [b'$', ..] => return dollar_quoted_len(rest).map(|len| at + len),
        _ => return None,
    };
    let mut at = at + prefix + 1;
    loop {
        let Some(next) = sql.get(at..).and_then(|rest| memchr::memchr2(b'\'', b'\\', rest)) else {
            return Some(sql.len());
        };
        at += next;
        match sql.get(at..at + 2) {
            Some(b"''") => at += 2,
            Some([b'\\', _]) if escapes => at += 2,
            Some([b'\'', _]) => return Some(at + 1),
            Some(_) => at += 1,
            None => return Some(sql.len()),
        }
    }
}

/// The length of a dollar-quoted literal; nothing where it is not one.
fn dollar_quoted_len(rest: &[u8]) -> Option<usize> {
    let tag_end = 1 + memchr::memchr(b'$', rest.get(1..)?)?;
    let tag = rest.get(..=tag_end)?;
    let is_tag = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80 || *b == b'$';
    if !tag.iter().all(is_tag) || tag.get(1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let body = rest.get(tag.len()..)?;
    Some(memchr::memmem::find(body, tag).map_or(rest.len(), |at| tag.len() + at + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(sql: &str) -> String {
        String::from_utf8(mask_passwords(sql.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn every_quoting_style_is_masked() {
        for literal in
            ["'s3cret'", "'it''s3cret'", r"E'a\'s3cret'", "U&'s3cret'", "$$s3cret$$", "$a$s$3cret$b$$a$", "'s3cret"]
        {
            assert_eq!(masked(&format!("ALTER ROLE u PASSWORD {literal}")), "ALTER ROLE u PASSWORD '***'", "{literal}");
        }
        assert_eq!(
            masked("create user a encrypted password/* now */ 'x' login; alter role b Password -- c\n 'y' ;"),
            "create user a encrypted password/* now */ '***' login; alter role b Password -- c\n '***' ;"
        );
    }

    #[test]
    fn what_is_no_password_literal_is_left_alone() {
        for sql in [
            "SELECT password FROM users WHERE name = 'x'",
            "ALTER ROLE u PASSWORD NULL",
            "SELECT 'mypassword' , 'x'",
            "SELECT password_hash 'x'",
            "SELECT $1, password $1",
            "",
            "p",
        ] {
            assert!(matches!(mask_passwords(sql.as_bytes()), Cow::Borrowed(_)), "{sql}");
        }
    }
}
