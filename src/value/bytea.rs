//! Binary strings in text format ("Binary Data Types"), with either setting of `bytea_output`.

/// Decodes the hex format `\x…` or the escape format.
pub(super) fn from_text(text: &str) -> Option<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => hex(digits),
        None => escaped(text),
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| u8::try_from(value(*high)? << 4 | value(*low)?).ok()).collect()
}

/// Decodes the escape format: a backslash is doubled, and other bytes may be `\` and three octal digits.
fn escaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    while let Some(part) = parts.next() {
        if part.is_empty() {
            bytes.push(b'\\');
            bytes.extend_from_slice(parts.next()?.as_bytes());
        } else {
            let (octal, rest) = part.split_at_checked(3)?;
            if !octal.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
                return None;
            }
            bytes.push(u8::from_str_radix(octal, 8).ok()?);
            bytes.extend_from_slice(rest.as_bytes());
        }
    }
    Some(bytes)
}
