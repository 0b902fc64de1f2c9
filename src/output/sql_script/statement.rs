//! The statements of a request, as psql sends them.

use crate::pg::error::code;
use crate::pg::row::FormattedValue;
use crate::record::{Outcome, Protocol, QueryRecord};
use crate::redaction::Redaction;
use crate::sql::lexer::{Kind, Lexer, Token};

use super::literal;

/// How long a request can be in the script, in bytes.
const LONGEST: usize = 64 << 20;

/// How a backslash in `'…'` is read, which `standard_conforming_strings` decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is a backslash.
    Conforming,
    /// It is an escape.
    Backslashes,
    #[default]
    Unknown,
}

impl Reading {
    pub(super) const fn of(conforms: bool) -> Self {
        if conforms { Self::Conforming } else { Self::Backslashes }
    }
}

/// Returns whether a request may set how backslashes are read.
pub(super) fn may_set_reading(query: &QueryRecord<'_>) -> bool {
    query.sql.as_ref().is_some_and(|sql| contains(sql.0.text.0, b"standard_conforming_strings"))
}

/// Why a request is not run by the script.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: &'static str,
}

impl Refused {
    pub(super) const fn of(why: &'static str) -> Self {
        Self { why }
    }
}

impl From<&'static str> for Refused {
    fn from(why: &'static str) -> Self {
        Self { why }
    }
}

/// The first words of what a walsender understands, and nobody else.
const REPLICATION: [&str; 9] = [
    "identify_system",
    "start_replication",
    "create_replication_slot",
    "drop_replication_slot",
    "alter_replication_slot",
    "read_replication_slot",
    "timeline_history",
    "base_backup",
    "upload_manifest",
];

/// Returns the statements of a request for psql, to be sent together, with a `;` behind the last.
pub(super) fn script(query: &QueryRecord<'_>, reading: Reading) -> Result<String, Refused> {
    let Some(sql) = &query.sql else {
        return Err(Refused::of(match query.protocol {
            Protocol::Function => "a FunctionCall is not SQL",
            _ => "its SQL was not captured, or not kept",
        }));
    };
    match query.outcome {
        Outcome::Skipped => return Err(Refused::of("the server ignored it, for a request before it had failed")),
        Outcome::Canceled => return Err(Refused::of("it was canceled")),
        Outcome::Aborted => return Err(Refused::of("its session ended before it did")),
        Outcome::Incomplete | Outcome::Running => return Err(Refused::of("how it ended was not captured")),
        Outcome::Ok | Outcome::Error | Outcome::Suspended => {}
    }
    if query.flags.truncated {
        return Err(Refused::of("not all of its SQL was captured, or kept"));
    }
    let Some(text) = sql.0.text.to_str() else {
        return Err(Refused::of("it is not valid in its encoding"));
    };
    if sql.0.redaction != Redaction::Nothing && *sql.0.masked() != *text.as_bytes() {
        return Err(Refused::of("it has a secret (--show-secrets)"));
    }
    let values = parameters(query)?;
    let is_extended = query.protocol == Protocol::Extended;
    let writer =
        Writer { out: String::with_capacity(text.len()), values: values.as_deref(), is_extended, lists: Vec::new() };
    let script = writer.write(&text, reading)?;
    let is_untyped = |value: &FormattedValue<'_>| crate::value::cast(value.type_oid).is_none();
    if is_of_parameter_type(query) && values.iter().flatten().any(is_untyped) {
        return Err(Refused::of("the type of a parameter could not be determined, and a constant needs none"));
    }
    Ok(script)
}

/// Returns whether a request failed because of a parameter whose type could not be told from where it stands: SQLSTATE
/// indeterminate_datatype, or ambiguous_parameter.
fn is_of_parameter_type(query: &QueryRecord<'_>) -> bool {
    let state = query.error.as_ref().and_then(|error| error.fields.get(code::CODE));
    state.is_some_and(|state| matches!(state.0, b"42P18" | b"42P08"))
}

/// Returns the values of a request's parameters, if they are known.
fn parameters<'a>(query: &QueryRecord<'a>) -> Result<Option<Vec<FormattedValue<'a>>>, Refused> {
    let Some(values) = &query.params else { return Ok(None) };
    if values.list.is_cut() {
        return Err(Refused::of("not all of its parameters were captured, or kept"));
    }
    let mut secrets = values.secrets;
    let has_secret = values.redaction != Redaction::Nothing && (0..values.list.len()).any(|_| secrets.shift());
    if has_secret || values.redaction.hides_values() {
        return Err(Refused::of("a parameter is a secret (--show-secrets)"));
    }
    Ok(Some(values.iter().collect()))
}

struct Writer<'a> {
    out: String,
    values: Option<&'a [FormattedValue<'a>]>,
    is_extended: bool,
    /// The lists of GROUP BY and ORDER BY that are open, by how many parentheses they are in.
    lists: Vec<usize>,
}

/// The words that end a list of GROUP BY or ORDER BY.
const AFTER_LIST: [&str; 12] =
    ["having", "window", "union", "intersect", "except", "order", "limit", "offset", "fetch", "for", "rows", "range"];

impl Writer<'_> {
    fn write(mut self, text: &str, reading: Reading) -> Result<String, Refused> {
        let mut tokens = lexer(text, reading)?;
        // What psql counts, to know where a statement ends.
        let (mut parentheses, mut body) = (0_usize, Body::default());
        let mut first: Option<Token<'_>> = None;
        let mut before: Option<Token<'_>> = None;
        // Whether the end is in a comment, and whether settings are reset.
        let (mut is_in_comment, mut is_reset) = (false, false);
        // Where a `;` goes once it is known whether anything follows.
        let mut end = None;
        while let Some(token) = tokens.next() {
            if !token.is_closed {
                return Err("a constant, a name or a comment in it has no end".into());
            }
            if token.is_blank() {
                if token.kind == Kind::Comment {
                    is_in_comment = token.text.starts_with(b"--");
                }
                self.put(&token);
                continue;
            }
            is_in_comment = false;
            if token.is(";") && parentheses == 0 && body.depth == 0 {
                end = end.or(first.map(|_| self.out.len()));
                before = None;
                continue;
            }
            if let Some(end) = end.take() {
                // Sent together, as they were: in one transaction.
                self.out.insert_str(end, "\\;");
                first = None;
                body = Body::default();
            }
            check(&token, first.as_ref(), before.as_ref())?;
            is_reset |= first.is_none() && ["reset", "discard"].into_iter().any(|word| token.is_word(word));
            first = first.or(Some(token));
            self.note_list(&token, before.as_ref(), parentheses);
            match token.kind {
                Kind::Parameter if self.is_extended => {
                    let is_item = self.lists.last() == Some(&parentheses)
                        && before.is_some_and(|before| before.is(",") || before.is_word("by"));
                    self.parameter(&token, tokens.clone(), is_item)?;
                }
                // psql would put in a variable of this name, if it has one.
                Kind::Symbol if token.is(":") && names_variable(text, token.end()) => self.out.push_str(": "),
                _ => self.put(&token),
            }
            if token.is("(") {
                parentheses += 1;
            } else if token.is(")") {
                parentheses = parentheses.saturating_sub(1);
            } else if token.kind == Kind::Word {
                body.word(&token, parentheses);
            }
            before = Some(token);
        }
        if first.is_none() {
            return Err("it is empty".into());
        }
        if parentheses > 0 || body.depth > 0 {
            return Err("its parentheses, or a BEGIN in it, have no end".into());
        }
        self.out.truncate(self.out.trim_end().len());
        self.out.push_str(if is_in_comment { "\n;\n" } else { ";\n" });
        if is_reset {
            // That may have been one of the settings that were reset.
            self.out.push_str("SET client_encoding = 'UTF8'; -- of this script\n");
        }
        Ok(self.out)
    }

    fn put(&mut self, token: &Token<'_>) {
        self.out.push_str(&String::from_utf8_lossy(token.text));
    }

    /// Notes where lists of GROUP BY and ORDER BY begin and end.
    fn note_list(&mut self, token: &Token<'_>, before: Option<&Token<'_>>, parentheses: usize) {
        let is_list = token.is_word("by")
            && before.is_some_and(|before| ["group", "order"].into_iter().any(|word| before.is_word(word)));
        if token.is(")") || is_list || AFTER_LIST.into_iter().any(|word| token.is_word(word)) {
            self.lists.truncate(self.lists.partition_point(|list| *list < parentheses));
        }
        if is_list {
            self.lists.push(parentheses);
        }
    }

    /// Writes the value of a parameter, which may be the first of an item of GROUP BY or ORDER BY.
    fn parameter(&mut self, token: &Token<'_>, mut rest: Lexer<'_>, is_item: bool) -> Result<(), Refused> {
        let number = token.text.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let value = number.and_then(|number| self.values?.get(number.checked_sub(1)?));
        let value = value.ok_or(Refused::of("the value of a parameter is not known"))?;
        // What is before or behind it must not become a part of it: an operator `U&`, a constant.
        let is_apart = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'(' | b'[' | b',');
        if !self.out.bytes().next_back().is_none_or(is_apart) {
            self.out.push(' ');
        }
        let next = rest.next();
        // Only a parameter, not a cast, can have an index or a field behind it.
        let next_solid = next.filter(|next| !next.is_blank()).or_else(|| rest.next_solid());
        let is_indexed = next_solid.is_some_and(|next| next.is("[") || next.is("."));
        if is_indexed {
            self.out.push('(');
        }
        let is_typed = literal::parameter(&mut self.out, value)?;
        let is_whole = next_solid
            .is_none_or(|next| [",", ")", ";"].into_iter().any(|end| next.is(end)) || next.kind == Kind::Word);
        if is_item && is_whole && !is_typed {
            return Err(Refused::of(
                "a parameter whose type is not known is by itself in GROUP BY or ORDER BY, where a constant means a column",
            ));
        }
        // The SQL may name a long one any number of times.
        if self.out.len() > LONGEST {
            return Err(Refused::of("with its parameters it would be longer than 64 MiB"));
        }
        if is_indexed {
            self.out.push(')');
        } else if next
            .is_some_and(|next| matches!(next.kind, Kind::Word | Kind::QuotedWord | Kind::Text | Kind::Number))
        {
            self.out.push(' ');
        }
        Ok(())
    }
}

/// Returns a lexer that reads a text as the server did.
fn lexer(text: &str, reading: Reading) -> Result<Lexer<'_>, Refused> {
    let (conforming, backslashes) = (Lexer::new(text.as_bytes()), Lexer::with_backslashes(text.as_bytes()));
    match reading {
        _ if !text.contains('\\') => Ok(conforming),
        Reading::Conforming => Ok(conforming),
        Reading::Backslashes => Ok(backslashes),
        Reading::Unknown if has_plain_backslash(text) => {
            Err(Refused::of("whether a backslash in it is an escape is not known (standard_conforming_strings)"))
        }
        Reading::Unknown => Ok(conforming),
    }
}

/// Returns whether a backslash is in a constant that one setting reads otherwise than the other.
fn has_plain_backslash(text: &str) -> bool {
    Lexer::new(text.as_bytes()).any(|token| {
        token.kind == Kind::Text
            && token.text.contains(&b'\\')
            && matches!(token.text.first(), Some(b'\'' | b'n' | b'N'))
    })
}

/// Returns an error if psql, or the server that it sends to, would not read a token as the captured server did.
fn check(token: &Token<'_>, first: Option<&Token<'_>>, before: Option<&Token<'_>>) -> Result<(), Refused> {
    let is = |token: Option<&Token<'_>>, words: &[&str]| {
        token.is_some_and(|token| words.iter().any(|word| token.is_word(word)))
    };
    if token.kind == Kind::Other && token.text == b"\\" {
        return Err("psql would read its backslash as a command".into());
    }
    if token.is_word("stdin") && is(first, &["copy"]) {
        return Err("the data of its COPY is not in this script".into());
    }
    if first.is_none() && is(Some(token), &REPLICATION) {
        return Err("it is a replication command".into());
    }
    let is_encoding = is(Some(token), &["names"]) && is(before, &["set", "session", "local"]);
    let name = b"client_encoding";
    let is_named = match (token.kind, token.text) {
        // Code, which may set it; other constants are the name, or data.
        (Kind::Text, [b'$', ..]) => contains(token.text, name),
        (Kind::Text, text) => text.trim_ascii_start().len() <= name.len() + 3 && contains(text, name),
        (_, text) => contains(text, name),
    };
    if is_encoding || is_named {
        return Err("it may set client_encoding, and this script is in UTF-8".into());
    }
    Ok(())
}

/// Returns whether what is behind a colon names one of psql's variables: `:name`, `:'name'`, `:"name"`, `:{?name}`.
fn names_variable(text: &str, at: usize) -> bool {
    let next = text.as_bytes().get(at);
    next.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'\'' | b'"' | b'{') || !b.is_ascii())
}

/// Returns whether a text contains a word, in any case.
fn contains(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// The body of a function that begins with BEGIN, as psql's lexer counts it.
#[derive(Debug, Default)]
struct Body {
    /// Whether the first words are those of CREATE FUNCTION or CREATE PROCEDURE, and how many were seen.
    words: [u8; 4],
    count: usize,
    depth: usize,
}

impl Body {
    fn word(&mut self, token: &Token<'_>, parentheses: usize) {
        if let Some(word) = self.words.get_mut(self.count) {
            let known =
                ["create", "function", "procedure", "or", "replace"].into_iter().any(|known| token.is_word(known));
            *word = token.text.first().filter(|_| known).map_or(0, u8::to_ascii_lowercase);
        }
        self.count += 1;
        let is_function = matches!(self.words, [b'c', b'f' | b'p', ..] | [b'c', b'o', b'r', b'f' | b'p']);
        if !is_function || parentheses > 0 {
            return;
        }
        if token.is_word("begin") || token.is_word("case") && self.depth > 0 {
            self.depth += 1;
        } else if token.is_word("end") {
            self.depth = self.depth.saturating_sub(1);
        }
    }
}
