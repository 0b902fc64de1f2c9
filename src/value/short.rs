//! Short ASCII texts, built without allocation and without `core::fmt`, which would take several times as long.

/// An ASCII text of up to 64 bytes. The longest is an interval, of 56 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    bytes: [u8; 64],
    length: usize,
}

impl Short {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }

    pub(super) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    pub(super) fn push(&mut self, byte: u8) {
        if let Some(next) = self.bytes.get_mut(self.length) {
            *next = byte;
            self.length += 1;
        }
    }

    pub(super) fn push_str(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.push(byte));
    }

    /// Appends a decimal number, padded with zeros to `width` digits.
    pub(super) fn push_number(&mut self, number: u64, width: u32) {
        let digits = number.checked_ilog10().map_or(1, |power| power + 1).max(width);
        let mut power = 10_u64.pow(digits.clamp(1, 20) - 1);
        while power > 0 {
            // A single digit.
            self.push(b'0' + (number / power % 10) as u8);
            power /= 10;
        }
    }

    /// Appends two hexadecimal digits.
    pub(super) fn push_hex(&mut self, byte: u8) {
        for digit in [byte >> 4, byte & 0xf] {
            self.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        }
    }
}
