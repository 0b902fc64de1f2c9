//! Types that are written in PostgreSQL's text format: bit strings, UUIDs, and types of system columns.

use std::borrow::Cow;
use std::fmt::Write;

use super::short::Short;
use crate::reader::Reader;

/// Formats the one-byte type `"char"` like PostgreSQL 16 and later: non-ASCII bytes in octal, and a zero byte as an empty text.
pub(super) fn char<'a>(byte: u8) -> Cow<'a, str> {
    match byte {
        0 => "".into(),
        0x80.. => format!("\\{byte:03o}").into(),
        _ => char::from(byte).to_string().into(),
    }
}

/// A UUID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uuid(pub(super) [u8; 16]);

impl Uuid {
    /// Parses hex digits in any case, with optional hyphens after any group of four, and optional braces, as clients may write
    /// them ("UUID Type").
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_prefix('{').map_or(Some(text), |text| text.strip_suffix('}'))?;
        let mut value = 0_u128;
        let mut digits = 0;
        for character in text.chars() {
            if character == '-' && digits > 0 && digits < 32 && digits % 4 == 0 {
                continue;
            }
            value = value << 4 | u128::from(character.to_digit(16)?);
            digits += 1;
        }
        (digits == 32).then(|| Self(value.to_be_bytes()))
    }

    pub(super) fn to_short(self) -> Short {
        let mut text = Short::new();
        for (byte, index) in self.0.into_iter().zip(0..) {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push(b'-');
            }
            text.push_hex(byte);
        }
        text
    }
}

/// Decodes `bit` and `varbit`: the number of bits, and the bits.
pub(super) fn bits(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let count = usize::try_from(reader.i32("number of bits").ok()?).ok()?;
    let bytes = reader.rest();
    if bytes.len() != count.div_ceil(8) {
        return None;
    }
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    Some(bits.take(count).map(|bit| if bit == 0 { '0' } else { '1' }).collect())
}

/// Decodes `tid`: block and item.
pub(super) fn tid(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let (block, item) = (reader.u32("block").ok()?, reader.u16("item").ok()?);
    reader.is_empty().then(|| format!("({block},{item})"))
}

/// Decodes `pg_lsn`.
pub(super) fn lsn(bytes: &[u8]) -> Option<String> {
    let position = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff))
}

/// Normalizes a `pg_lsn` in text format, which may have leading zeros, depending on the server's version.
pub(super) fn lsn_from_text(text: &str) -> Option<String> {
    let (high, low) = text.split_once('/')?;
    let part = |digits: &str| u32::from_str_radix(digits, 16).ok();
    Some(format!("{:X}/{:X}", part(high)?, part(low)?))
}

/// Decodes `pg_snapshot` and `txid_snapshot`: the first transaction in progress, the first that had not begun, and those between
/// them that were in progress.
pub(super) fn snapshot(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let count = reader.u32("number of transactions").ok()?;
    let mut shown = format!("{}:{}:", reader.u64("first").ok()?, reader.u64("next").ok()?);
    for index in 0..count {
        let comma = if index > 0 { "," } else { "" };
        write!(shown, "{comma}{}", reader.u64("transaction").ok()?).ok()?;
    }
    reader.is_empty().then_some(shown)
}

/// Converts `xml` in binary format to its text format.
///
/// In binary format, the XML declaration contains the encoding, which may differ from the client's. In text format it does not,
/// and is omitted if it would only contain version 1.0.
pub(super) fn xml_as_text(text: Cow<'_, str>) -> Cow<'_, str> {
    // A line feed after an omitted declaration would leave an empty first line.
    let without = || {
        let (declaration, rest) = text.strip_prefix("<?xml ")?.split_once("?>")?;
        let (before, encoding) = declaration.split_once(" encoding=\"")?;
        let (_, after) = encoding.split_once('"')?;
        let declaration = format!("{before}{after}");
        Some(match declaration.as_str() {
            "version=\"1.0\"" => rest.strip_prefix('\n').unwrap_or(rest).to_owned(),
            _ => format!("<?xml {declaration}?>{rest}"),
        })
    };
    match without() {
        Some(without) => without.into(),
        None => text,
    }
}
