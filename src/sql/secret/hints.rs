//! Hints: words near which secrets are searched for.

use crate::sql::lexer::is_word;
use crate::sql::names::{is_secret_name, is_secret_word};

/// A word after which a secret may follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    pub(super) kind: HintKind,
    pub(super) start: usize,
    /// The offset after the word.
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HintKind {
    /// The name of a secret.
    Name,
    Connection,
    Uri,
}

impl Hint {
    pub(super) fn word(self, sql: &[u8]) -> &[u8] {
        sql.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn is_strong(self, sql: &[u8]) -> bool {
        self.kind != HintKind::Name || is_secret_word(self.word(sql))
    }
}

/// The maximum length of an unqualified name (NAMEDATALEN).
pub(super) const LONGEST_NAME: usize = 64;

/// Iterates over the hints from a byte on.
pub(super) fn hints(sql: &[u8], from: usize) -> impl Iterator<Item = Hint> {
    let mut from = from;
    let mut has_subscription = false;
    std::iter::from_fn(move || {
        while let Some(at) = if has_subscription { next_pair::<true>(sql, from) } else { next_pair::<false>(sql, from) }
        {
            from = at + 1;
            let has = |before: usize, word: &str| {
                let start = at.checked_sub(before)?;
                let text = sql.get(start..start + word.len())?;
                text.eq_ignore_ascii_case(word.as_bytes()).then_some(start)
            };
            let pair = sql.get(at..at + 2).and_then(|pair| <[u8; 2]>::try_from(pair).ok());
            let start = match pair.map(|pair| pair.map(|byte| byte.to_ascii_lowercase())) {
                Some([b's', b'w']) => has(3, "password").or_else(|| has(3, "passwd")),
                Some([b'k', b'e']) => has(2, "token").or_else(|| has(0, "key")),
                Some([b'p', b'h']) => has(4, "passphrase"),
                Some([b'c', b'r']) => {
                    has_subscription |= has(4, "subscription").is_some();
                    has(2, "secret").or_else(|| has(0, "credential"))
                }
                Some([b'c', b'o']) if has_subscription => {
                    let is_start = !at.checked_sub(1).and_then(|before| sql.get(before)).is_some_and(|b| is_word(*b));
                    let is_end = !sql.get(at + 10).is_some_and(|b| is_word(*b) && *b != b'$');
                    if is_start && is_end && has(0, "connection").is_some() {
                        return Some(Hint { kind: HintKind::Connection, start: at, end: at + 10 });
                    }
                    None
                }
                Some([b'/', b'/']) => {
                    if ["postgres:", "postgresql:"].iter().any(|scheme| has(scheme.len(), scheme).is_some()) {
                        return Some(Hint { kind: HintKind::Uri, start: at, end: at + 2 });
                    }
                    None
                }
                _ => None,
            };
            if let Some(hint) = start.and_then(|start| name_around(sql, start, at)) {
                from = hint.end.max(from);
                return Some(hint);
            }
        }
        None
    })
}

/// Returns the name that contains a word, if it is the name of a secret.
fn name_around(sql: &[u8], start: usize, at: usize) -> Option<Hint> {
    let is_letter = |b: &&u8| is_word(**b) && **b != b'$';
    let before = sql.get(..start)?.iter().rev().take(LONGEST_NAME).take_while(is_letter).count();
    let after = sql.get(at..)?.iter().take(LONGEST_NAME).take_while(is_letter).count();
    if before.max(after) == LONGEST_NAME {
        return None;
    }
    let hint = Hint { kind: HintKind::Name, start: start - before, end: at + after };
    is_secret_name(hint.word(sql)).then_some(hint)
}

/// How many pairs are compared at once: the size of a vector on all x86-64 and ARM processors.
const AT_ONCE: usize = 16;

/// Returns the offset of the next pair of letters that occurs in a hint and rarely elsewhere. The pairs of `CONNECTION`, which
/// many texts contain, are optional.
fn next_pair<const CONNECTION: bool>(sql: &[u8], from: usize) -> Option<usize> {
    let (first, second) = (sql.get(from..)?, sql.get(from + 1..)?);
    let mut base = 0;
    while let (Some(a), Some(b)) = (vector(first, base), vector(second, base)) {
        if has_pair::<CONNECTION>(a, b) {
            break;
        }
        base += AT_ONCE;
    }
    // The last vector may overlap the one before.
    if let Some(last) = second.len().checked_sub(AT_ONCE).filter(|last| base > *last)
        && let (Some(a), Some(b)) = (vector(first, last), vector(second, last))
        && !has_pair::<CONNECTION>(a, b)
    {
        return None;
    }
    let mut rest = first.get(base..)?.iter().zip(second.get(base..)?);
    rest.position(|(a, b)| is_pair::<CONNECTION>(*a, *b)).map(|at| from + base + at)
}

fn vector(bytes: &[u8], at: usize) -> Option<&[u8; AT_ONCE]> {
    bytes.get(at..)?.first_chunk()
}

/// Without branches, so that all pairs are compared at once.
fn has_pair<const CONNECTION: bool>(first: &[u8; AT_ONCE], second: &[u8; AT_ONCE]) -> bool {
    first.iter().zip(second).fold(false, |any, (a, b)| any | is_pair::<CONNECTION>(*a, *b))
}

const fn is_pair<const CONNECTION: bool>(a: u8, b: u8) -> bool {
    let (a, b) = (a | 0x20, b | 0x20);
    ((a == b's') & (b == b'w'))
        | ((a == b'k') & (b == b'e'))
        | ((a == b'c') & ((b == b'r') | (CONNECTION & (b == b'o'))))
        | ((a == b'p') & (b == b'h'))
        | ((a == b'/') & (b == b'/'))
}
