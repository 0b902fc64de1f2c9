//! The tokens of JSON, appended to a vector: strings, numbers, and what stands between them.
//!
//! Most text needs no escapes: it is looked through sixteen bytes at a time, and copied as it is.

use crate::digits::{self, push_decimal, push_decimal_behind};
use crate::hex;
use crate::record::MOST_EXACT;

/// Appends bytes whose number the compiler knows, which makes them a few moves and no call.
#[inline(always)]
pub(super) fn put<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    out.extend_from_slice(bytes);
}

/// How many digits of an integer tell without a look at them that it is none beyond [`MOST_EXACT`].
const EXACT_DIGITS: usize = 15;

/// Appends a number.
#[inline]
pub(super) fn unsigned(out: &mut Vec<u8>, number: u64) {
    numbered(out, &[], number);
}

/// Appends some bytes, at most 24, and a number.
#[inline]
pub(super) fn numbered<const N: usize>(out: &mut Vec<u8>, before: &[u8; N], number: u64) {
    if number > MOST_EXACT {
        put(out, before);
        return quoted(out, &[], number);
    }
    push_decimal_behind(out, before, number);
}

/// Appends a number.
#[inline]
pub(super) fn signed(out: &mut Vec<u8>, number: i64) {
    let size = number.unsigned_abs();
    if size > MOST_EXACT {
        return quoted(out, if number < 0 { b"-" } else { b"" }, size);
    }
    if number < 0 {
        out.push(b'-');
    }
    push_decimal(out, size);
}

#[cold]
fn quoted(out: &mut Vec<u8>, sign: &[u8], number: u64) {
    out.push(b'"');
    out.extend_from_slice(sign);
    push_decimal(out, number);
    out.push(b'"');
}

/// Appends an integer that is written in digits, as JSON has it.
#[inline]
pub(super) fn integer(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > EXACT_DIGITS && !is_exact(text) {
        out.push(b'"');
        out.extend_from_slice(text);
        return out.push(b'"');
    }
    verbatim(out, text);
}

/// Whether an integer that is written in digits is none beyond [`MOST_EXACT`].
fn is_exact(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    digits.parse().is_ok_and(|number: u64| number <= MOST_EXACT)
}

/// Appends a string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    if !plain(out, text.as_bytes()) {
        escaped(out, text.as_bytes());
    }
}

/// Appends a string, if its bytes are ASCII and stand in a string as they are; else nothing.
#[inline(never)]
pub(super) fn plain(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let Some(word) = digits::word(text) else {
        let is_plain = is_plain(text);
        if is_plain {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
        return is_plain;
    };
    let blanks = (ONES * 0x20).checked_shl(8 * text.len() as u32).unwrap_or(0);
    let is_plain = others(word | blanks) == 0;
    if is_plain {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        put(out, &[b'"', a, b, c, d, e, f, g, h]);
        out.truncate(out.len() - (8 - text.len()));
        out.push(b'"');
    }
    is_plain
}

/// Whether bytes, eight or more, are ASCII and stand in a string as they are.
fn is_plain(text: &[u8]) -> bool {
    // What is no whole chunk is looked at with bytes before it.
    if let Some(last) = text.last_chunk::<32>() {
        text.as_chunks().0.iter().all(|chunk| are_plain::<32>(chunk, QUOTE)) && are_plain::<32>(last, QUOTE)
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        are_plain::<16>(first, QUOTE) & are_plain::<16>(last, QUOTE)
    } else {
        let is_plain_8 = |word: &[u8; 8]| others(u64::from_le_bytes(*word)) == 0;
        text.first_chunk().is_some_and(is_plain_8) & text.last_chunk().is_some_and(is_plain_8)
    }
}

/// Whether bytes are ASCII that stands in a string as it is, and none is `stop`.
// All are looked at, without a branch: so the compiler makes a few instructions of it.
#[inline]
fn are_plain<const N: usize>(chunk: &[u8; N], stop: u8) -> bool {
    let is_other =
        |byte: &u8| (byte.wrapping_sub(0x20) >= 0x5f) | (*byte == QUOTE) | (*byte == b'\\') | (*byte == stop);
    chunk.iter().fold(0, |found, byte| found | u8::from(is_other(byte))) == 0
}

/// Appends bytes. Few of them are a move and no call.
#[inline(never)]
fn verbatim(out: &mut Vec<u8>, bytes: &[u8]) {
    match digits::word(bytes) {
        Some(word) => {
            put(out, &word.to_le_bytes());
            out.truncate(out.len() - (8 - bytes.len()));
        }
        None => out.extend_from_slice(bytes),
    }
}

#[inline]
fn has_special(chunk: &[u8; 16]) -> bool {
    let is_special =
        |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\') | (*byte == 0x7f) | (*byte == 0xc2);
    chunk.iter().fold(0, |found, byte| found | u8::from(is_special(byte))) != 0
}

/// Appends the first bytes of a text, as far as they are ASCII, stand in a string as they are, and are not `stop`. Says how
/// many they are.
#[inline]
pub(super) fn plain_until(out: &mut Vec<u8>, text: &[u8], stop: u8) -> usize {
    let find = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        let stops = (word ^ (ONES * u64::from(stop))).wrapping_sub(ONES) & HIGH;
        ((others(word) | stops).trailing_zeros() / 8) as usize
    };
    let mut rest = text;
    // Eight bytes first, for many texts are short.
    while let Some((word, behind)) = rest.split_first_chunk() {
        put(out, word);
        let taken = find(*word);
        if taken < 8 {
            out.truncate(out.len() - (8 - taken));
            return text.len() - rest.len() + taken;
        }
        rest = behind;
        while let Some((chunk, behind)) = rest.split_first_chunk::<32>()
            && are_plain(chunk, stop)
        {
            put(out, chunk);
            rest = behind;
        }
    }
    if rest.is_empty() {
        return text.len();
    }
    // The zeros behind the last bytes are not plain.
    let word = last_bytes(text, rest.len());
    put(out, &word);
    let taken = find(word);
    out.truncate(out.len() - (8 - taken));
    text.len() - rest.len() + taken
}

/// The last bytes of a text, fewer than eight, with zeros behind them.
#[inline]
fn last_bytes(text: &[u8], count: usize) -> [u8; 8] {
    let word = match text.last_chunk() {
        Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - count)),
        // It is all of it.
        None => digits::word(text).unwrap_or_default(),
    };
    word.to_le_bytes()
}

/// The high bit of each byte of a word that is special or not ASCII: as exact as that of [`specials`].
const fn others(word: u64) -> u64 {
    // With one bit changed, the controls are below 0x21, and in place of the blank the quote.
    let controls = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    // The last character of ASCII is a control, too.
    (controls | backslash | word.wrapping_add(ONES) | word) & HIGH
}

/// Appends a string of UTF-8.
pub(super) fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    unquoted(out, text);
    out.push(b'"');
}

/// Appends what stands between the quotes of a string of UTF-8.
///
/// Eight bytes are copied at a time, and those taken back that are escaped or stand behind one that is.
pub(in crate::output) fn unquoted(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        while let Some((chunk, behind)) = rest.split_first_chunk::<16>()
            && !has_special(chunk)
        {
            put(out, chunk);
            rest = behind;
        }
        let special = match rest.split_first_chunk::<8>() {
            Some((word, behind)) => {
                put(out, word);
                let found = specials(u64::from_le_bytes(*word));
                if found == 0 {
                    rest = behind;
                    continue;
                }
                let at = found.trailing_zeros() as usize / 8;
                out.truncate(out.len() - (8 - at));
                at
            }
            None => {
                let at = rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
                let (before, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
                before.iter().for_each(|byte| out.push(*byte));
                if special.is_empty() {
                    return;
                }
                at
            }
        };
        rest = escape(out, rest.get(special..).unwrap_or_default());
    }
}

/// Appends what stands for the first character, which begins with a special byte. Gives what is behind it.
fn escape<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
    let Some((first, behind)) = text.split_first() else { return text };
    let (code, behind) = match (first, behind) {
        (0xc2, [code @ 0x80..=0x9f, behind @ ..]) => (code, behind),
        (0xc2, _) => {
            out.push(0xc2);
            return behind;
        }
        _ => (first, behind),
    };
    match code {
        b'"' => put(out, b"\\\""),
        b'\\' => put(out, b"\\\\"),
        b'\n' => put(out, b"\\n"),
        b'\r' => put(out, b"\\r"),
        b'\t' => put(out, b"\\t"),
        0x08 => put(out, b"\\b"),
        0x0c => put(out, b"\\f"),
        _ => {
            put(out, b"\\u00");
            put(out, &hex::digits(*code));
        }
    }
    behind
}

/// Whether a byte cannot be written as it is, or begins a character that may not be: quotes, backslashes, controls, and
/// 0xc2, with which those from U+0080 to U+009F begin.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f | 0xc2)
}

const QUOTE: u8 = b'"';
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// The high bit of each byte of a word that is special. The first that is set is exact; above it, a borrow may have set one
/// too many.
const fn specials(word: u64) -> u64 {
    const fn is_below(word: u64, limit: u8) -> u64 {
        word.wrapping_sub(ONES * limit as u64) & !word & HIGH
    }
    const fn is(word: u64, byte: u8) -> u64 {
        is_below(word ^ (ONES * byte as u64), 1)
    }
    is_below(word, 0x20) | is(word, b'"') | is(word, b'\\') | is(word, 0x7f) | is(word, 0xc2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    /// What the contract says: JSON, with all controls escaped.
    fn expected(text: &str) -> String {
        let escape = |c: char| if c.is_control() && c >= '\u{7f}' { format!("\\u{:04x}", c as u32) } else { c.into() };
        serde_json::to_string(text).unwrap().chars().map(escape).collect()
    }

    #[test]
    fn a_character_is_escaped_wherever_it_stands_and_whatever_stands_around_it() {
        let characters = (0..0x180).chain([0x2028, 0xfeff, 0x10ffff]).filter_map(char::from_u32);
        for character in characters {
            for around in ["a", " ", "!", "#", "[", "]", "~", "é", "\u{80}", "¢", "\"", "\u{1f}"] {
                for (before, behind) in [(0, 0), (1, 3), (7, 1), (5, 8), (15, 0), (14, 9), (16, 16), (21, 40)] {
                    let text = [around.repeat(before), character.into(), around.repeat(behind)].concat();
                    assert_eq!(written(&text), expected(&text), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_plain_where_they_are_a_string_between_quotes() {
        for byte in 0..=255_u8 {
            for len in (0..80).filter(|len| *len < 40 || len % 7 == 0) {
                for at in 0..len {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    let stays = std::str::from_utf8(&text).is_ok_and(|text| expected(text) == format!("\"{text}\""));
                    let mut out = b"x".to_vec();
                    assert_eq!(plain(&mut out, &text), stays, "{byte:#x} at {at} of {len}");
                    let expected = if stays { [&b"x\""[..], &text, b"\""].concat() } else { b"x".to_vec() };
                    assert_eq!(out, expected);
                    let mut out = b"x".to_vec();
                    let count = plain_until(&mut out, &text, b'|');
                    assert_eq!(count, if stays && byte != b'|' { len } else { at }, "{byte:#x} at {at} of {len}");
                    assert_eq!(out, [b"x", &text[..count]].concat());
                }
            }
        }
    }

    #[test]
    fn numbers_have_their_sign_and_are_strings_where_a_double_is_not_exact() {
        let most = MOST_EXACT as i64;
        let near =
            [0, 7, 99_999_999, 100_000_000, 999_999_999_999_999, 1_000_000_000_000_000, most, most + 1, i64::MAX];
        let all = near.into_iter().flat_map(|number| [number - 1, number, -number, 1 - number]).chain([i64::MIN]);
        for number in all {
            let is_exact = number.unsigned_abs() <= MOST_EXACT;
            let expected = if is_exact { number.to_string() } else { format!("\"{number}\"") };
            let mut out = b"x".to_vec();
            signed(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{expected}"));
            let mut out = b"x".to_vec();
            integer(&mut out, number.to_string().as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{expected}"));
            if let Ok(number) = u64::try_from(number) {
                let mut out = b"x".to_vec();
                numbered(&mut out, b",\"rows\":", number);
                assert_eq!(String::from_utf8(out).unwrap(), format!("x,\"rows\":{expected}"));
            }
        }
        let mut out = Vec::new();
        unsigned(&mut out, u64::MAX);
        assert_eq!(out, b"\"18446744073709551615\"");
    }
}
