//! Decimal digits of numbers, eight at a time, without `core::fmt`, which would take several times as long.

const HUNDRED_MILLION: u32 = 100_000_000;
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// Appends a number in decimal.
#[inline]
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    push_decimal_behind(out, &[], number);
}

/// Appends at most 24 bytes, followed by a number in decimal.
#[inline]
pub(crate) fn push_decimal_behind<const N: usize>(out: &mut Vec<u8>, before: &[u8; N], number: u64) {
    const { assert!(N <= 24) };
    let Some(number) = u32::try_from(number).ok().filter(|number| *number < HUNDRED_MILLION) else {
        return push_large(out, before, number);
    };
    let digits = eight_values(number);
    // There is at least one digit.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    // A copy of fixed size is cheaper than one of the required size.
    let mut both = [0; 32];
    let Some((head, tail)) = both.split_first_chunk_mut::<N>() else { return };
    let Some(tail) = tail.first_chunk_mut() else { return };
    (*head, *tail) = (*before, ((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
    out.extend_from_slice(&both);
    out.truncate(out.len() - (both.len() - N - 8) - zeros as usize);
}

#[cold]
fn push_large(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    push_decimal(out, number / u64::from(HUNDRED_MILLION));
    out.extend_from_slice(&eight((number % u64::from(HUNDRED_MILLION)) as u32));
}

/// Increments a decimal number; `false` if that needs another digit.
#[inline]
pub(crate) fn increment(number: &mut [u8]) -> bool {
    for digit in number.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return true;
        }
        *digit = b'0';
    }
    false
}

/// Returns up to eight bytes as a word, the first in the lowest byte, padded with zeros.
#[inline]
pub(crate) fn word(bytes: &[u8]) -> Option<u64> {
    let place = |byte: u8, index: usize| u64::from(byte) << (8 * index);
    match (bytes.first_chunk(), bytes.last_chunk(), bytes) {
        (Some(first), Some(last), _) if bytes.len() <= 8 => {
            let shift = 8 * (bytes.len() - 4);
            Some(u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift)
        }
        (Some(_), ..) => None,
        (.., []) => Some(0),
        (.., [one]) => Some((*one).into()),
        (.., [first, between @ .., last]) => {
            let between = between.first().map_or(0, |byte| place(*byte, 1));
            Some(place(*first, 0) | between | place(*last, bytes.len() - 1))
        }
    }
}

/// Returns whether the first `count` bytes of a word are digits.
#[inline]
pub(crate) const fn are_digits(word: u64, count: usize) -> bool {
    let behind = match ZEROS.checked_shl(8 * count as u32) {
        Some(behind) => behind,
        None => 0,
    };
    let values = (word | behind) ^ ZEROS;
    let high = u64::from_ne_bytes([0x80; 8]);
    (values.wrapping_add(u64::from_ne_bytes([0x76; 8])) | values) & high == 0
}

/// Returns the last eight digits of a number, padded with zeros.
#[inline]
pub(crate) const fn eight(number: u32) -> [u8; 8] {
    (eight_values(number % HUNDRED_MILLION) | ZEROS).to_le_bytes()
}

/// Returns the digits of a number below 100,000,000, each in a byte, the first in the lowest.
///
/// Divides in all lanes at once: by multiplication with 2^20 / 100 and 2^10 / 10, rounded up, which is exact for dividends below
/// 10,000 and 100.
const fn eight_values(number: u32) -> u64 {
    let fours = (number / 10_000) as u64 | ((number % 10_000) as u64) << 32;
    let hundreds = (fours * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = (twos * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (twos - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_have_the_digits_that_formatting_gives() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let near = powers.flat_map(|power| (0..5).flat_map(move |by| [power.wrapping_sub(by), power + by]));
        let spread = (0..100_000).map(|n| n * 1_000_003 % 100_000_000);
        for number in (0..20_000).chain(near).chain(spread).chain([u64::MAX]) {
            let mut out = b"x".to_vec();
            push_decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{number}"));
            assert_eq!(&eight(number as u32), format!("{:08}", number as u32 % HUNDRED_MILLION).as_bytes());
            let mut out = b"x".to_vec();
            push_decimal_behind(&mut out, b",\"elapsed_us\":", number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x,\"elapsed_us\":{number}"));
        }
    }

    #[test]
    fn numbers_count_up() {
        for number in (0..2_000).chain([999_998, 999_999]) {
            let mut digits = number.to_string().into_bytes();
            let next = (number + 1).to_string();
            assert_eq!(increment(&mut digits), digits.len() == next.len());
            assert!(digits.len() != next.len() || digits == next.as_bytes());
        }
    }

    #[test]
    fn digits_are_distinguished_from_all_other_bytes() {
        for len in 0..=8 {
            let text = &b"90817263"[..len];
            assert_eq!(word(text).map(u64::to_le_bytes).unwrap()[..len], *text);
            assert!(are_digits(word(text).unwrap(), len));
            for (at, byte) in (0..len).flat_map(|at| (0..=255_u8).map(move |byte| (at, byte))) {
                let mut text = text.to_vec();
                text[at] = byte;
                assert_eq!(are_digits(word(&text).unwrap(), len), byte.is_ascii_digit(), "{byte:#x} at {at} of {len}");
            }
        }
        assert_eq!(word(b"123456789"), None);
    }
}
