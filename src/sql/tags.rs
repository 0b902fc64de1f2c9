//! Tags in the comment of a statement, by the convention of sqlcommenter (<https://google.github.io/sqlcommenter/spec/>):
//! `SELECT 1 /*controller='cart',route='%2Fcart'*/`.
//!
//! Libraries write the comment at the end of a statement, some at its beginning. A comment that does not follow the convention in full
//! has no tags.

use super::lexer::{Kind, Lexer, Token, is_blank};

/// More tags than libraries write. A comment with more has none.
const MOST: usize = 64;

/// Keys and values, as they were before they were encoded, in the order of the comment.
pub type Tags = Vec<(String, String)>;

/// Returns whether a text begins or ends with what may be a comment.
pub fn may_have(sql: &[u8]) -> bool {
    begins_with_comment(sql) || ends_with_comment(sql)
}

fn begins_with_comment(sql: &[u8]) -> bool {
    sql.trim_ascii_start().starts_with(b"/*")
}

fn ends_with_comment(sql: &[u8]) -> bool {
    let is_dropped = |byte: &u8| is_blank(*byte) || *byte == b';';
    let len = sql.iter().rposition(|byte| !is_dropped(byte)).map_or(0, |last| last + 1);
    sql.get(..len).is_some_and(|sql| sql.ends_with(b"*/"))
}

/// Returns the tags in the comment at the end of a text, or else in the one at its beginning.
pub fn tags(sql: &[u8]) -> Tags {
    find(sql).map(|(_, tags)| tags).unwrap_or_default()
}

/// Returns the comment that has tags, and the tags.
pub fn find(sql: &[u8]) -> Option<(Token<'_>, Tags)> {
    let last = if ends_with_comment(sql) { last_comment(sql) } else { None };
    let first = || {
        let comment = Lexer::new(sql).find(|token| token.kind != Kind::Blank).filter(|_| begins_with_comment(sql));
        comment.filter(is_comment)
    };
    [last, first()].into_iter().flatten().find_map(|comment| Some((comment, read(comment.text)?)))
}

fn is_comment(token: &Token<'_>) -> bool {
    token.kind == Kind::Comment && token.is_closed && token.text.starts_with(b"/*")
}

/// Returns the comment at the end of a text, if it surely is one: a backslash may or may not escape the quote behind it.
fn last_comment(sql: &[u8]) -> Option<Token<'_>> {
    let last = |lexer: Lexer<'_>| {
        lexer
            .filter(|token| token.kind != Kind::Blank && !token.is(";"))
            .last()
            .filter(is_comment)
            .map(|last| last.start)
    };
    let start = last(Lexer::new(sql))?;
    if sql.contains(&b'\\') && last(Lexer::with_backslashes(sql)) != Some(start) {
        return None;
    }
    Lexer::new(sql).starting_at(start).next()
}

/// Returns the tags of a comment.
fn read(comment: &[u8]) -> Option<Tags> {
    let mut rest = comment.strip_prefix(b"/*")?.strip_suffix(b"*/")?.trim_ascii();
    let mut tags = Tags::new();
    loop {
        let is_of_key = |byte: &u8| !byte.is_ascii_control() && !b" ='\",\\".contains(byte);
        let (key, value) = rest.split_at_checked(rest.iter().take_while(|byte| is_of_key(byte)).count())?;
        let value = value.strip_prefix(b"='")?;
        let len = end_of_value(value)?;
        let key = decode(key)?;
        if key.is_empty() || tags.len() == MOST || tags.iter().any(|(known, _)| *known == key) {
            return None;
        }
        tags.push((key, decode(value.get(..len)?)?));
        rest = value.get(len + 1..)?.trim_ascii();
        if rest.is_empty() {
            return Some(tags);
        }
        rest = rest.strip_prefix(b",")?.trim_ascii();
    }
}

/// Returns the offset of the quote that ends a value.
fn end_of_value(value: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    value.iter().position(|byte| {
        let is_end = *byte == b'\'' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    })
}

/// Decodes a key or a value: `\'` is a quote, and `%2F` a byte. So is `%%2F`, which libraries for Python write for drivers that make one
/// `%` of it, and not all do.
fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        decoded.push(match first {
            b'\\' if behind.first() == Some(&b'\'') => continue,
            b'%' => {
                let digits = behind.strip_prefix(b"%").unwrap_or(behind);
                let ([high, low], behind) = digits.split_first_chunk::<2>()?;
                rest = behind;
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                u8::try_from(digit(high)? << 4 | digit(low)?).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> String {
        tags(sql.as_bytes()).iter().map(|(key, value)| format!("{key}={value};")).collect()
    }

    #[test]
    fn tags_are_decoded_at_the_end_and_at_the_beginning() {
        // The specification's own example.
        let example = "SELECT * FROM FOO /*action='%2Fparam*d',controller='index,'framework='spring',\
            traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/";
        assert_eq!(of(example), "");
        let example = example.replace("'index,'", "'index',");
        assert!(of(&example).starts_with("action=/param*d;controller=index;framework=spring;traceparent=00-5bd66ef"));
        assert!(of(&example).ends_with(";tracestate=congo=t61rcWkgMzE,rojo=00f067aa0ba902b7;"));
        assert_eq!(of("SELECT 1; /* a='1' , b='2' */ ; \n"), "a=1;b=2;");
        assert_eq!(of(" /*a='1'*/ SELECT 1"), "a=1;");
        assert_eq!(of("/*a='1'*/ SELECT 1 /*b='2'*/"), "b=2;");
        assert_eq!(of("/*a='1'*/ SELECT 1 /* why */"), "a=1;");
        assert_eq!(of("SELECT 1 /*a='it\\'s',b='na%C3%AFve',c='',d='%%2F'*/"), "a=it's;b=naïve;c=;d=/;");
        assert_eq!(of(r"SELECT '\\', E'\'' /*a='1'*/"), "a=1;");
    }

    #[test]
    fn what_does_not_follow_the_convention_has_no_tags() {
        for comment in [
            "",
            " ",
            "a",
            "a=",
            "a=1",
            "a='1",
            "a='1'b='2'",
            "a='1',",
            ",a='1'",
            "='1'",
            "a ='1'",
            "a= '1'",
            "a='%'",
            "a='%4'",
            "a='%zz'",
            "a='%ff'",
            "a='1',a='2'",
            "a=\"1\"",
            "+ SeqScan(t)",
            "/* a='1' */",
            "a='1' */ /*",
        ] {
            assert_eq!(of(&format!("SELECT 1 /*{comment}*/")), "", "{comment}");
        }
        let many: Vec<_> = (0..=MOST).map(|n| format!("k{n}='v'")).collect();
        assert_eq!(of(&format!("SELECT 1 /*{}*/", many.join(","))), "");
        assert_ne!(of(&format!("SELECT 1 /*{}*/", many[1..].join(","))), "");
    }

    #[test]
    fn a_comment_is_none_inside_of_something_else() {
        for sql in [
            "SELECT 1 /*a='1'*/ FROM t",
            "SELECT '/*a=''1''*/",
            "SELECT $$ /*a='1'*/",
            "SELECT 1 -- /*a='1'*/",
            "-- /*a='1'*/",
            "SELECT \"/*a='1'*/",
            r"SELECT 'it\' /*a='1'*/",
            "/*a='1'",
            "/*/",
        ] {
            assert_eq!(of(sql), "", "{sql}");
        }
    }
}
