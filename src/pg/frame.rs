//! A frame: the bytes of one message, before its body is decoded.

/// The bytes of one message in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type byte, if the message has one.
    pub tag: Option<u8>,
    /// The length word, which counts itself, but not the type byte. 1 for a one-byte response.
    pub len: u32,
    /// The body, or a prefix of it.
    pub body: &'a [u8],
    /// The number of bytes of the body that are neither in `body` nor after a hole.
    pub missing: u64,
    /// Why bytes are missing.
    pub cut: Option<Cut>,
    /// The holes in the body.
    pub damage: Damage<'a>,
    /// Whether it is an error of protocol 2.0: a text that ends at a zero byte, without a length word. `len` then counts the
    /// bytes after the type byte.
    pub is_version_2: bool,
    /// Whether some of its bytes were retransmitted with different content.
    pub is_contested: bool,
    /// Whether the other side has sent something between the arrival of this frame and its detection.
    pub is_late: bool,
    /// Whether it follows a message boundary that was found by searching and is not confirmed yet.
    pub is_guessed: bool,
}

impl<'a> Frame<'a> {
    /// Creates a frame with a complete body.
    pub const fn whole(tag: Option<u8>, len: u32, body: &'a [u8]) -> Self {
        Self {
            tag,
            len,
            body,
            missing: 0,
            cut: None,
            damage: Damage::new(0, &[], &[]),
            is_version_2: false,
            is_contested: false,
            is_late: false,
            is_guessed: false,
        }
    }
}

/// Why a frame lacks a part of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The message is larger than the limit.
    TooLarge,
    /// The memory limit over all connections was exceeded.
    Memory,
    /// Bytes are missing from the stream.
    Gap,
    /// The capture of the stream ended.
    End,
    /// The sender ended the stream inside the message.
    Sender,
    /// The connection was reset inside the message, and everything that is known to have been sent was captured.
    Reset,
}

impl Cut {
    /// Returns whether what the message lacks was never sent.
    pub const fn is_unsent(self) -> bool {
        matches!(self, Self::Sender | Self::Reset)
    }
}

/// The holes in a body, and the bytes captured after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage<'a> {
    /// The number of bytes of the body that were lost: the sum of the holes, unless there are too many to be recorded.
    pub lost: u64,
    /// Sorted by position, and not adjacent.
    holes: &'a [Hole],
    /// The captured bytes after the first hole, concatenated.
    behind: &'a [u8],
}

/// A range of lost bytes in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The offset of its first byte in the body.
    pub at: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Hole {
    const fn end(self) -> u64 {
        self.at + self.bytes
    }
}

impl<'a> Damage<'a> {
    /// Creates a description of holes. `behind` has the captured bytes after the first hole.
    pub(super) const fn new(lost: u64, holes: &'a [Hole], behind: &'a [u8]) -> Self {
        Self { lost, holes, behind }
    }

    /// Iterates over the holes, each with the captured bytes between it and the next one.
    pub fn holes(self) -> impl Iterator<Item = (Hole, &'a [u8])> {
        let mut behind = self.behind;
        self.holes.iter().enumerate().map(move |(index, hole)| {
            let next = self.holes.get(index + 1).map_or(u64::MAX, |next| next.at);
            let len = usize::try_from(next - hole.end()).unwrap_or(usize::MAX).min(behind.len());
            let (piece, rest) = behind.split_at_checked(len).unwrap_or_default();
            behind = rest;
            (*hole, piece)
        })
    }

    /// Returns whether there are no holes.
    pub const fn is_empty(self) -> bool {
        self.holes.is_empty()
    }
}
