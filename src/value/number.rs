//! Booleans and numbers.

use std::fmt;
use std::str::FromStr;

use crate::digits;
use crate::reader::Reader;

/// Parses a boolean: `t` or `f` from a server, or any form that a server accepts from clients ("Boolean Type").
pub(super) fn bool(text: &str) -> Option<bool> {
    match text {
        "t" => return Some(true),
        "f" => return Some(false),
        _ => {}
    }
    let text = text.trim_ascii();
    // "Unique prefixes of these strings are also accepted", in any case; `o` is ambiguous.
    let is = |word: &str, least: usize| {
        text.len() >= least && word.get(..text.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(text))
    };
    if is("true", 1) || is("yes", 1) || is("on", 2) || text == "1" {
        Some(true)
    } else if is("false", 1) || is("no", 1) || is("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// Decodes a boolean. Servers accept any nonzero byte as true.
pub(super) const fn bool_from_binary(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [byte] => Some(*byte != 0),
        _ => None,
    }
}

/// Parses a decimal integer in the range of its type.
pub(super) fn int<T: FromStr>(text: &str) -> Option<T> {
    text.trim_ascii().parse().ok()
}

/// Returns whether a text is an integer in JSON's form, of at most `most` digits: no sign other than a minus, and no leading
/// zeros.
#[inline]
pub(super) fn is_canonical(text: &[u8], most: usize) -> bool {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let has_zero = digits.first() == Some(&b'0') && (is_negative || digits.len() > 1);
    let are_digits = || match digits::word(digits) {
        Some(word) => digits::are_digits(word, digits.len()),
        None => digits.iter().all(u8::is_ascii_digit),
    };
    (1..=most).contains(&digits.len()) && !has_zero && are_digits()
}

/// Parses a floating-point number, unless it is out of the type's range.
pub(super) fn float<T: FromStr + Into<f64> + Copy>(text: &str) -> Option<T> {
    let text = text.trim_ascii();
    let number: T = text.parse().ok()?;
    let value: f64 = number.into();
    let is_word = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let is_zero = || !text.split(['e', 'E']).next().unwrap_or_default().contains(|c| matches!(c, '1'..='9'));
    (is_word || (value.is_finite() && (value != 0.0 || is_zero()))).then_some(number)
}

/// Returns the name of a number that JSON cannot represent.
pub(super) const fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Parses an amount of money with two decimals, in the smallest unit of its currency, whatever thousands separator, decimal
/// separator, currency symbol and sign its locale uses.
///
/// The digits of an amount are those of the integer that the server stores, if all decimals are present. A server always writes
/// them; a client might write `$5`, which must not be interpreted as five cents.
pub(super) fn money(text: &str) -> Option<i64> {
    let (_, decimals) = text.rsplit_once(['.', ','])?;
    let decimals = decimals.trim_end_matches(|c: char| !c.is_ascii_digit());
    if decimals.len() != 2 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_negative = text.contains(['-', '(']);
    let mut digits = text.bytes().filter(u8::is_ascii_digit);
    let amount = digits.try_fold(0_i128, |amount, digit| amount.checked_mul(10)?.checked_add((digit - b'0').into()))?;
    i64::try_from(if is_negative { -amount } else { amount }).ok()
}

/// Returns whether a text is a decimal number in PostgreSQL's form.
pub(super) fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.'))
}

/// A numeric in binary format: groups of four decimal digits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numeric<'a> {
    Finite {
        is_negative: bool,
        /// The power of 10,000 by which the first group is multiplied.
        weight: i16,
        /// The number of decimals.
        scale: u16,
        /// The groups, in big-endian byte order.
        groups: &'a [u8],
    },
    Special(&'static str),
}

/// The maximum number of written zeros that are not on the wire: enough to represent any double as a numeric.
const MAX_ZEROS: usize = 400;

impl<'a> Numeric<'a> {
    pub(super) fn from_binary(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.u16("number of groups").ok()?;
        let weight = reader.i16("weight").ok()?;
        let sign = reader.u16("sign").ok()?;
        let scale = reader.u16("scale").ok()?;
        let is_negative = match sign {
            0x0000 => false,
            0x4000 => true,
            0xc000 => return Some(Self::Special("NaN")),
            0xd000 => return Some(Self::Special("Infinity")),
            0xf000 => return Some(Self::Special("-Infinity")),
            _ => return None,
        };
        let groups = reader.rest();
        let (pairs, rest) = groups.as_chunks::<2>();
        if pairs.len() != usize::from(count)
            || !rest.is_empty()
            || pairs.iter().any(|pair| u16::from_be_bytes(*pair) > 9999)
        {
            return None;
        }
        let whole = usize::try_from(i32::from(weight) + 1).unwrap_or(0);
        if 4 * whole + usize::from(scale) > 4 * pairs.len() + MAX_ZEROS {
            return None;
        }
        Some(Self::Finite { is_negative, weight, scale, groups })
    }
}

impl fmt::Display for Numeric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_negative, weight, scale, groups) = match self {
            Self::Special(word) => return f.write_str(word),
            Self::Finite { is_negative, weight, scale, groups } => (*is_negative, i32::from(*weight), *scale, *groups),
        };
        // The group that is multiplied by this power of 10,000.
        let group = |power: i32| -> u16 {
            let index = usize::try_from(weight - power).ok();
            let pair = index.and_then(|index| groups.as_chunks::<2>().0.get(index));
            pair.map_or(0, |pair| u16::from_be_bytes(*pair))
        };
        if is_negative {
            f.write_str("-")?;
        }
        write!(f, "{}", if weight < 0 { 0 } else { group(weight) })?;
        for power in (0..weight).rev() {
            write!(f, "{:04}", group(power))?;
        }
        let mut left = usize::from(scale);
        if left > 0 {
            f.write_str(".")?;
        }
        let mut power = -1;
        while left > 0 {
            let mut group = group(power);
            let shown = left.min(4);
            for _ in shown..4 {
                group /= 10;
            }
            write!(f, "{group:0shown$}")?;
            left -= shown;
            power -= 1;
        }
        Ok(())
    }
}
