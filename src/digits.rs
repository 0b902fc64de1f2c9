//! Numbers as decimal digits, eight at a time: without the machinery of formatting, which takes several times as long.

const HUNDRED_MILLION: u32 = 100_000_000;
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// Appends a number in decimal.
#[inline]
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: u64) {
    match u32::try_from(number) {
        // A single digit.
        Ok(number @ 0..=9) => out.push(b'0' + number as u8),
        Ok(number @ ..HUNDRED_MILLION) => {
            let digits = eight_values(number);
            let zeros = digits.trailing_zeros() / 8;
            // A copy of a fixed size costs less than one of just the bytes that count.
            out.extend_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
            out.truncate(out.len() - zeros as usize);
        }
        _ => push_large(out, number),
    }
}

#[cold]
fn push_large(out: &mut Vec<u8>, number: u64) {
    push_decimal(out, number / u64::from(HUNDRED_MILLION));
    out.extend_from_slice(&eight((number % u64::from(HUNDRED_MILLION)) as u32));
}

/// The last eight digits of a number, with zeros before it where it has fewer.
#[inline]
pub(crate) const fn eight(number: u32) -> [u8; 8] {
    (eight_values(number % HUNDRED_MILLION) | ZEROS).to_le_bytes()
}

/// The digits of a number below 100,000,000, each in a byte, the first in the lowest.
///
/// Divides in all lanes at once: by multiplication with 2^20 / 100 and 2^10 / 10, rounded up, which is exact for dividends
/// below 10,000 and 100.
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
        }
    }
}
