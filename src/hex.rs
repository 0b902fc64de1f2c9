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

/// Bytes that are not what they should be: `{"hex": "…"}`.
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

/// Writes two lower-case digits a byte, in chunks, so that a large value is not written a digit at a time.
fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    const CHUNK: usize = 64;
    for chunk in bytes.chunks(CHUNK) {
        let mut digits = [0; 2 * CHUNK];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(chunk) {
            if let [high, low] = pair {
                *high = DIGITS.get(usize::from(byte >> 4)).copied().unwrap_or_default();
                *low = DIGITS.get(usize::from(byte & 0xf)).copied().unwrap_or_default();
            }
        }
        let written = digits.get(..2 * chunk.len()).unwrap_or_default();
        f.write_str(std::str::from_utf8(written).map_err(|_| fmt::Error)?)?;
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
