//! Sequence numbers: 32-bit numbers that wrap around, mapped to 64-bit offsets that do not.
//!
//! RFC 9293, section 3.4: "all arithmetic dealing with sequence numbers must be performed modulo 2^32".

/// A position in a stream, as a sequence number and an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset from the first captured byte.
    pub offset: u64,
    /// The sequence number of the byte at this offset.
    pub seq: u32,
}

impl Position {
    /// Creates the position of the first captured byte.
    pub const fn start(seq: u32) -> Self {
        Self { offset: 0, seq }
    }

    /// Returns the offset of another sequence number, the one nearest to this position in either direction; `None` if it lies
    /// before the start of the stream.
    pub const fn offset_of(self, seq: u32) -> Option<u64> {
        let distance = seq.wrapping_sub(self.seq) as i32;
        self.offset.checked_add_signed(distance as i64)
    }

    /// Returns the position `bytes` further on.
    #[must_use]
    pub const fn advance(self, bytes: u64) -> Self {
        // The cast keeps the low 32 bits, which is what a sequence number is.
        Self { offset: self.offset.saturating_add(bytes), seq: self.seq.wrapping_add(bytes as u32) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_where_sequence_numbers_wrap() {
        let start = Position::start(u32::MAX - 9);
        assert_eq!(start.offset_of(0), Some(10));
        let later = start.advance(6_000_000_000);
        assert_eq!(later.offset_of(later.seq), Some(6_000_000_000));
        assert_eq!(later.offset_of(later.seq.wrapping_sub(5)), Some(5_999_999_995));
        assert_eq!(later.offset_of(later.seq.wrapping_add(5)), Some(6_000_000_005));
    }

    #[test]
    fn what_lies_before_the_beginning_has_no_offset() {
        assert_eq!(Position::start(100).offset_of(99), None);
    }
}
