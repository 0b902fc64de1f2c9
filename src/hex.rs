//! Bytes in hexadecimal.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Binary data: a string in the hex format of bytea, `"\\x…"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bytea<'a>(pub &'a [u8]);

impl fmt::Display for Bytea<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\\x")?;
        write_hex(f, self.0)
    }
}

impl Serialize for Bytea<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Bytes that are not valid in their expected form: `{"hex": "…"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.0)
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Hex", 1)?;
        object.serialize_field("hex", &format_args!("{self}"))?;
        object.end()
    }
}

/// Returns the two lower-case hex digits of a byte.
#[inline]
pub(crate) fn digits(byte: u8) -> [u8; 2] {
    DIGITS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Appends two hex digits for each byte.
pub(crate) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(2 * bytes.len());
    let (chunks, rest) = bytes.as_chunks::<CHUNK>();
    for chunk in chunks {
        out.extend_from_slice(chunk.map(digits).as_flattened());
    }
    for byte in rest {
        out.extend_from_slice(&digits(*byte));
    }
}

const CHUNK: usize = 16;

const DIGITS: [[u8; 2]; 256] = {
    const fn digit(value: u8) -> u8 {
        if value < 10 { b'0' + value } else { b'a' + value - 10 }
    }
    let mut digits = [[0; 2]; 256];
    let mut rest = digits.as_mut_slice();
    let mut byte = 0_u8;
    while let Some((pair, behind)) = rest.split_first_mut() {
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
        rest = behind;
        byte = byte.wrapping_add(1);
    }
    digits
};

/// Writes two hex digits for each byte, in chunks for speed.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut written = [[0; 2]; CHUNK];
    for chunk in bytes.chunks(CHUNK) {
        written.iter_mut().zip(chunk).for_each(|(pair, byte)| *pair = digits(*byte));
        let written = written.get(..chunk.len()).unwrap_or_default();
        f.write_str(std::str::from_utf8(written.as_flattened()).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn binary_is_written_as_bytea() {
        assert_eq!(json(Bytea(&[])), r#""\\x""#);
        let long: Vec<u8> = (0..=255).collect();
        let written: String = serde_json::from_str(&json(Bytea(&long))).unwrap();
        assert_eq!(written.len(), 2 + 512);
        assert!(written.starts_with("\\x000102") && written.ends_with("fdfeff"));
    }
}
