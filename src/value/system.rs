//! Small types, each written as PostgreSQL writes it: bit strings, UUIDs, and those of the system's own columns.

use std::borrow::Cow;
use std::fmt::Write;

use super::short::Short;
use crate::reader::Reader;

/// The one-byte type `"char"`, as PostgreSQL 16 and later write it: in octal beyond ASCII; nothing for a zero byte.
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
    /// Digits in any case; hyphens behind any group of four, and braces around all, as clients may write them ("UUID
    /// Type").
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

/// `bit` and `varbit`: how many bits, and the bits.
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

/// `tid`: block and item.
pub(super) fn tid(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let (block, item) = (reader.u32("block").ok()?, reader.u16("item").ok()?);
    reader.is_empty().then(|| format!("({block},{item})"))
}

/// `pg_lsn`.
pub(super) fn lsn(bytes: &[u8]) -> Option<String> {
    let position = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff))
}

/// `pg_lsn`, of text that may have leading zeros: what a server writes depends on its version.
pub(super) fn lsn_from_text(text: &str) -> Option<String> {
    let (high, low) = text.split_once('/')?;
    let part = |digits: &str| u32::from_str_radix(digits, 16).ok();
    Some(format!("{:X}/{:X}", part(high)?, part(low)?))
}

/// `pg_snapshot` and `txid_snapshot`: the first transaction in progress, the first that had not begun, and which of those
/// between were in progress.
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

/// `xml` of binary format as it would be in text format.
///
/// A declaration in binary format tells the encoding, for there it is not that of everything else. In text format it
/// does not, and is left out altogether where it would only say version 1.0.
pub(super) fn xml_as_text(text: Cow<'_, str>) -> Cow<'_, str> {
    // A line feed behind a declaration that is left out would begin the value with an empty line.
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
