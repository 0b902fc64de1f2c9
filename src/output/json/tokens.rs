//! The tokens of JSON, appended to a vector: strings, numbers, and what stands between them.
//!
//! Most text needs no escapes: it is looked through sixteen bytes at a time, and copied as it is.

use crate::digits::push_decimal;
use crate::hex;

/// Appends bytes whose number the compiler knows, which makes them a few moves and no call.
#[inline]
pub(super) fn put<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    out.extend_from_slice(bytes);
}

/// Appends a number.
#[inline]
pub(super) fn unsigned(out: &mut Vec<u8>, number: u64) {
    push_decimal(out, number);
}

/// Appends a number.
#[inline]
pub(super) fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_decimal(out, number.unsigned_abs());
}

/// Appends a string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) { plain(out, text.as_bytes()) } else { escaped(out, text.as_bytes()) }
}

/// Appends a string of bytes for which [`is_plain`] holds.
#[inline]
pub(super) fn plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Whether bytes are ASCII and stand in a string as they are.
#[inline]
pub(super) fn is_plain(text: &[u8]) -> bool {
    // What is no whole chunk is looked at with bytes before it, or with some of its own twice.
    if let Some(last) = text.last_chunk() {
        text.as_chunks().0.iter().all(is_plain_16) && is_plain_16(last)
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        is_plain_8(u64::from_le_bytes(*first)) & is_plain_8(u64::from_le_bytes(*last))
    } else if let (Some([a, b, c, d]), Some([e, f, g, h])) = (text.first_chunk(), text.last_chunk()) {
        is_plain_8(u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
    } else {
        match *text {
            [] => true,
            [a] => is_plain_8(u64::from_le_bytes([a; 8])),
            [a, .., b] => {
                let between = text.get(1).copied().unwrap_or(a);
                is_plain_8(u64::from_le_bytes([a, between, b, b, b, b, b, b]))
            }
        }
    }
}

// Of sixteen bytes, all are looked at, without a branch: so the compiler makes a few instructions of it.
#[inline]
fn is_plain_16(chunk: &[u8; 16]) -> bool {
    let is_other = |byte: &u8| (byte.wrapping_sub(0x20) >= 0x5f) | (*byte == b'"') | (*byte == b'\\');
    chunk.iter().fold(0, |found, byte| found | u8::from(is_other(byte))) == 0
}

#[inline]
fn has_special(chunk: &[u8; 16]) -> bool {
    let is_special =
        |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\') | (*byte == 0x7f) | (*byte == 0xc2);
    chunk.iter().fold(0, |found, byte| found | u8::from(is_special(byte))) != 0
}

const fn is_plain_8(word: u64) -> bool {
    specials(word) | word & HIGH == 0
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
pub(super) fn unquoted(out: &mut Vec<u8>, text: &[u8]) {
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
            for len in 1..40 {
                for at in 0..len {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    let stays = std::str::from_utf8(&text).is_ok_and(|text| expected(text) == format!("\"{text}\""));
                    assert_eq!(is_plain(&text), stays, "{byte:#x} at {at} of {len}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn numbers_have_their_sign() {
        for number in [i64::MIN, -10, -1, 0, 7, i64::MAX] {
            let mut out = Vec::new();
            signed(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
