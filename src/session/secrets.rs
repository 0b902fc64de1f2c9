//! The secrets that a session has sent, to be masked where the server repeats them.
//!
//! A server quotes what it complains of: the token at which a text does not go on, a row that violates a constraint, the
//! statement of a function, in errors and notices of the request, and of later ones. In what form depends on how deep it
//! was quoted. So secrets are compared without quotes, backslashes and the case of ASCII letters, and the beginning of a
//! long one is enough.
//!
//! Sessions that sent none have none of this.

use std::borrow::Cow;
use std::cell::OnceCell;

use memchr::memmem;

use crate::pg::startup::StartupMessage;
use crate::pg::text::Text;
use crate::sql::lexer::{Lexer, dollar_delimiter};
use crate::sql::literal::{self, percent_decoded};
use crate::sql::names::{is_connection_key, is_secret_name};
use crate::sql::secret;

mod mask;
mod search;

use search::{Beginnings, Folded, hex_byte};

/// How many secrets of a session are remembered; of more, the last ones.
const MOST: usize = 64;

/// How many bytes of one are. What comes behind them is masked with them.
const LONGEST: usize = 1_024;

/// So many first bytes of a secret tell it.
const PREFIX: usize = 8;

/// A secret of fewer bytes may be any word: it is one only where it is a word of its own, and only until its request ends.
const SHORT: usize = 6;

/// The secrets of a session.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    known: Vec<Known>,
    /// A filter for those that a text may have; made when it is asked for.
    beginnings: OnceCell<Box<Beginnings>>,
    /// Whether one was sent in a request that is under way.
    is_current: bool,
    /// Whether the request may hold one that is not known as a whole: all texts that may quote it are masked.
    is_uncertain: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    /// Folded, not empty.
    text: Box<[u8]>,
    /// It goes on.
    is_cut: bool,
    /// No more than a word beside a secret: it is forgotten with its request.
    is_passing: bool,
}

impl Secrets {
    /// Learns the secrets in SQL that was sent. What is missing of it may be one.
    pub(super) fn learn(&mut self, sql: Text<'_>, is_cut: bool) {
        let kept = sql.kept();
        let text = kept.get().0;
        let found = secret::find(text);
        self.is_current = true;
        // Of a text that is invalid in its encoding, no more is known than that it has one.
        let last = found.secrets.last().map_or(0, |secret| secret.place.end);
        self.is_uncertain |= is_cut && (last == 0 || last == text.len()) || std::str::from_utf8(text).is_err();
        self.is_uncertain |= found.secrets.len() > MOST / 4;
        for secret in &found.secrets {
            let Some(raw) = text.get(secret.place.clone()) else { continue };
            self.learn_raw(raw, secret.is_rest);
            if secret.quote.is_empty() {
                self.know_tokens(raw);
                if !secret.is_rest {
                    self.know_pieces(raw);
                }
            }
        }
    }

    /// Learns the value of a parameter that is a secret.
    pub(super) fn learn_value(&mut self, value: &[u8]) {
        self.is_current = true;
        self.know(value, false);
        self.know_parts(value);
        self.know_bytes(value);
    }

    /// Learns the secrets in the reason that a client has for CopyFail.
    pub(super) fn learn_reason(&mut self, reason: Text<'_>) {
        self.know_parts(reason.kept().get().0);
    }

    /// Learns the secrets of a StartupMessage.
    pub(super) fn learn_startup(&mut self, startup: &StartupMessage<'_>) {
        self.is_uncertain |= startup.parameters.secrets(|value| {
            self.is_current = true;
            self.know(value, false);
            self.know_parts(value);
            if let Some(decoded) = percent_decoded(value) {
                self.know(&decoded, false);
            }
        });
    }

    /// Learns what a client sends to authenticate itself by another mechanism than SCRAM: `auth=Bearer …` between other fields in
    /// OAUTHBEARER; in PLAIN the password behind the names.
    pub(super) fn learn_response(&mut self, data: &[u8], is_cut: bool) {
        self.is_uncertain |= is_cut;
        let mut last: &[u8] = b"";
        for field in data.split(|b| matches!(b, 0 | 1)).filter(|field| !field.is_empty()) {
            last = field;
            if let Some(credentials) = field.strip_prefix(b"auth=") {
                let token = credentials.split(|b| *b == b' ').rfind(|word| !word.is_empty());
                self.learn_value(token.unwrap_or_default());
                last = b"";
            }
        }
        let is_other_field = last.get(..5).is_some_and(|name| matches!(name, b"host=" | b"port="));
        if !is_other_field && data.len() > 1 {
            self.learn_value(last);
        }
    }

    fn learn_raw(&mut self, raw: &[u8], is_rest: bool) {
        for value in [Some(Cow::Borrowed(raw)), literal::loose_value(raw)].into_iter().flatten() {
            if is_rest {
                // The server may complain of any word of it.
                let mut words = value.split(|b| b.is_ascii_whitespace() || b"'\"();,=".contains(b));
                if let Some(first) = words.find(|word| !word.is_empty()) {
                    self.know(first, false);
                }
                // A long one may be the secret itself.
                for word in words {
                    self.know(word, word.len() < PREFIX);
                }
            }
            self.know(literal::without_quotes(&value), false);
            if value.first() == Some(&b'$') && !is_rest {
                // Where it has no end, its tag is what the server complains of.
                self.know_tag(&value);
            }
            self.know_parts(&value);
            if let Some(decoded) = percent_decoded(&value) {
                self.know(&decoded, false);
            }
        }
        self.know_bytes(raw);
    }

    /// Learns the secrets of a connection string.
    fn know_parts(&mut self, value: &[u8]) {
        for part in secret::find(value).secrets {
            if let Some(part) = value.get(part.place) {
                self.know(part, false);
                self.know_pieces(part);
            }
        }
        let mut is_secret = false;
        for word in value.split(|b| b.is_ascii_whitespace() || b"&?;".contains(b)) {
            match memchr::memchr(b'=', word).and_then(|at| word.split_at_checked(at)) {
                // A password that should have been quoted goes on behind a space.
                Some((name, value)) if is_secret && !is_connection_key(name) => {
                    self.know(name, true);
                    self.know(value.get(1..).unwrap_or_default(), true);
                }
                Some((name, value)) if !name.is_empty() => {
                    is_secret = is_secret_name(name);
                    if is_secret {
                        self.know(value.get(1..).unwrap_or_default(), false);
                    }
                }
                _ if is_secret => self.know(word, true),
                _ => {}
            }
        }
        if let Some(decoded) = percent_decoded(value) {
            for part in secret::find(&decoded).secrets {
                if let Some(part) = decoded.get(part.place) {
                    self.know(part, false);
                }
            }
        }
    }

    fn know_tag(&mut self, constant: &[u8]) {
        let Some(tag) = dollar_delimiter(constant) else { return self.know(constant, false) };
        if tag.len() == constant.len() || !constant.ends_with(tag) {
            self.know(constant, false);
            self.know(tag, tag.len() < PREFIX);
        }
    }

    /// Learns the pieces into which whoever parses a connection string may split a password that has separators in it.
    fn know_pieces(&mut self, password: &[u8]) {
        let separates = |b: &u8| b.is_ascii_whitespace() || b"@/?#:&=".contains(b);
        if password.len() <= LONGEST && password.iter().any(separates) {
            password.split(separates).for_each(|piece| self.know(piece, true));
        }
    }

    /// Learns the tokens that a secret without quotes is to the server, up to a blank: it complains of the first one that should
    /// not be there.
    fn know_tokens(&mut self, written: &[u8]) {
        /// More than a secret falls into.
        const MOST: usize = 8;
        for token in Lexer::new(written).take_while(|token| !token.is_blank()).take(MOST) {
            self.know(token.text, token.text.len() < SHORT);
            // `123abc` is junk behind a number, from its first letter on.
            let digits = token.text.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits > 0 && digits < token.text.len() {
                self.know(token.text.get(..=digits).unwrap_or_default(), true);
            }
        }
    }

    /// Learns the bytes of a constant in hex, as values of type bytea are written.
    fn know_bytes(&mut self, value: &[u8]) {
        let Some((_, digits)) = memmem::find(value, b"\\x").and_then(|at| value.split_at_checked(at + 2)) else {
            return;
        };
        let len = digits.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let bytes: Vec<u8> = digits.get(..len).unwrap_or_default().as_chunks::<2>().0.iter().map(hex_byte).collect();
        self.know(&bytes, false);
    }

    fn know(&mut self, text: &[u8], is_passing: bool) {
        let is_cut = text.len() > LONGEST;
        let folded = Folded::of(text.get(..LONGEST).unwrap_or(text)).bytes;
        if folded.is_empty() || is_passing && folded.len() < 2 || self.known.iter().any(|known| *known.text == *folded)
        {
            return;
        }
        if self.known.len() >= MOST {
            // One of the same request may still be needed.
            self.is_uncertain |= self.is_current;
            self.known.remove(0);
        }
        self.beginnings.take();
        let is_passing = is_passing || folded.len() < SHORT;
        self.known.push(Known { text: folded.into(), is_cut, is_passing });
    }

    /// Whether a request with a secret is under way.
    pub(super) const fn is_current(&self) -> bool {
        self.is_current
    }

    /// No request is under way any more.
    pub(super) fn end_request(&mut self) {
        (self.is_current, self.is_uncertain) = (false, false);
        if self.known.iter().any(|known| known.is_passing) {
            self.known.retain(|known| !known.is_passing);
            self.beginnings.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;
    use crate::sql::secret::MASK;

    fn masked(sql: &str, text: &str) -> String {
        let mut secrets = Secrets::default();
        secrets.learn(Text::utf8(sql.as_bytes()), false);
        String::from_utf8(secrets.mask(text.as_bytes(), Encoding::UTF8, false).into_owned()).unwrap()
    }

    #[test]
    fn what_the_server_repeats_is_masked_however_it_is_quoted() {
        for (sql, text, expected) in [
            (
                "ALTER ROLE u PASSWORD 'S3CR3T",
                "unterminated quoted string at or near \"'S3CR3T\"",
                "unterminated quoted string at or near \"'***\"",
            ),
            ("ALTER ROLE u PASSWORD it''s LOGIN", "at or near \"it\"", "at or near \"***\""),
            ("ALTER ROLE u PASSWORD Hunter2", "at or near \"Hunter2\"", "at or near \"***\""),
            ("SET app.token = Hunter2", "value hunter2 of", "value *** of"),
            ("ALTER ROLE u PASSWORD 'it''s so'", "x 'it's so' y '''it''''s so'''", "x '***' y '''***'''"),
            (r"ALTER ROLE u PASSWORD E'\x61\u0062c\144efgh'", "row (abcdefgh, 1)", "row (***, 1)"),
            (r"ALTER ROLE u PASSWORD U&'\0061bcd\+000065f'", "row (abcdef, 1)", "row (***, 1)"),
            ("ALTER ROLE u PASSWORD Hunter-x", "at or near \"Hunter\"", "at or near \"***\""),
            ("ALTER ROLE u PASSWORD Pa55wd@host/x", "at or near \"Pa55wd\"", "at or near \"***\""),
            ("ALTER ROLE u PASSWORD 5ab!x", "at or near \"5a\", \"5ab\"", "at or near \"***\", \"***\""),
            ("SET app.token = Hunter/x", "at or near \"Hunter\"", "at or near \"***\""),
            (r"UPDATE u SET password = '\x616263646566'::bytea", "bad abcdef", "bad ***"),
            (r"UPDATE u SET password = E'\\x616263646566'", "bad abcdef", "bad ***"),
            ("ALTER ROLE u PASSWORD 'ab'\n  'cdef'", "row (abcdef, 1)", "row (***, 1)"),
            ("ALTER ROLE u PASSWORD $x$it's$x$", "row (it's)", "row (***)"),
            ("ALTER ROLE u PASSWORD 'abcdefghijklm'", "$1 = 'abcdefghij...'", "$1 = '***...'"),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'host=h password=my secret' PUBLICATION p",
                "missing \"=\" after \"secret\" in connection info string, host h",
                "missing \"=\" after \"***\" in connection info string, host h",
            ),
            ("SELECT dblink('postgres://u:a%62cd@h')", "password abcd a%62cd", "password *** ***"),
            ("ALTER ROLE u PASSWORD 'a'", "a table \"a\" and a_b", "*** table \"***\" and ***_b"),
        ] {
            assert_eq!(masked(sql, text), expected, "{sql}");
        }
    }

    #[test]
    fn a_text_that_is_cut_or_in_another_encoding_shows_nothing() {
        let mut secrets = Secrets::default();
        secrets.learn(Text::utf8("ALTER ROLE u PASSWORD 'größe1'".as_bytes()), false);
        assert_eq!(*secrets.mask(b"at or near \"'gr", Encoding::UTF8, true), *b"at or near \"'***");
        assert_eq!(*secrets.mask(b"at gr\xf6\xdfe1", Encoding::named("LATIN1"), false), *b"***");
        assert_eq!(*secrets.mask(b"at \xff", Encoding::UTF8, false), *b"***");
        assert_eq!(*secrets.mask(b"at end", Encoding::named("LATIN1"), false), *b"at end");
    }

    /// A row is masked value by value: where one ends, a secret does not go on, and a word ends.
    #[test]
    fn values_of_a_row_are_apart() {
        let mut secrets = Secrets::default();
        let long = "x".repeat(5_000);
        let sql = format!("SELECT 1 WHERE password = 'users' AND token = 'longer' AND secret = '{long}'");
        secrets.learn(Text::utf8(sql.as_bytes()), false);
        secrets.learn(Text::utf8(b"ALTER ROLE u PASSWORD 'qrstuvwxyzab"), false);
        let row = |values: &[Option<&[u8]>]| {
            let mut row = (values.len() as u16).to_be_bytes().to_vec();
            for value in values {
                row.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
                row.extend_from_slice(value.unwrap_or_default());
            }
            row
        };
        let masked = |values: &[Option<&[u8]>]| secrets.mask_row(&row(values), false);
        let (mask, a) = (Some(MASK.as_bytes()), Some(&b"a"[..]));
        assert_eq!(masked(&[a, None, Some(b"users"), Some(b""), a]), Some(row(&[a, None, mask, Some(b""), a])));
        assert_eq!(masked(&[Some(b"lon"), Some(b"ger"), Some(b"superusers"), None]), None);
        assert_eq!(masked(&[Some(b"lon\0ger"), Some(&[b'b'; 97]), Some(b"\\x757365"), None, Some(b"7273")]), None);
        assert_eq!(masked(&[Some(long.as_bytes()), a, Some(b"\\x6c6f6e676572"), a]), Some(row(&[mask, a, mask, a])));
        assert_eq!(masked(&[Some(b"qrstuvwx")]), Some(row(&[mask])));
        let mut cut = row(&[a, Some(b"users")]);
        cut.truncate(cut.len() - 2);
        let mut expected = row(&[a, mask]);
        assert_eq!(secrets.mask_row(&cut, true), Some(expected));
        cut.truncate(9);
        assert_eq!(secrets.mask_row(&cut, true), None);
        expected = row(&[mask]);
        cut = row(&[Some(b"users")]);
        assert_eq!(secrets.mask_row(&[&cut[..], b"\0\0"].concat(), true), Some([&expected[..], b"\0\0"].concat()));
    }

    #[test]
    fn a_short_secret_is_masked_only_as_a_word_in_the_replies_to_its_request() {
        let mut secrets = Secrets::default();
        secrets.learn(Text::utf8(b"SELECT 1 WHERE password = 'users' AND token = 'longer'"), false);
        let shown = |secrets: &Secrets, text: &str| {
            String::from_utf8(secrets.mask(text.as_bytes(), Encoding::UTF8, false).into_owned()).unwrap()
        };
        assert_eq!(shown(&secrets, "no \"users\" of superusers, longer"), "no \"***\" of superusers, ***");
        secrets.end_request();
        assert_eq!(shown(&secrets, "no \"users\" of superusers, longer"), "no \"users\" of superusers, ***");
    }

    #[test]
    fn memory_is_bounded_and_what_is_too_much_is_masked_as_a_whole() {
        let mut secrets = Secrets::default();
        let many: String = (0..500).map(|n| format!("ALTER ROLE u PASSWORD 'secret{n}';")).collect();
        secrets.learn(Text::utf8(many.as_bytes()), false);
        assert!(secrets.is_uncertain && secrets.known.len() <= MOST);
        secrets.end_request();
        assert!(!secrets.is_uncertain && !secrets.is_current());
        let long = "x".repeat(5_000);
        secrets.learn(Text::utf8(format!("ALTER ROLE u PASSWORD '{long}'").as_bytes()), false);
        let text = format!("near {long} now");
        assert_eq!(*secrets.mask(text.as_bytes(), Encoding::UTF8, false), *b"near ***");
    }
}
