//! A frame: one message as it lay in the stream, before its body is looked at.

/// One message as it lay in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type byte, where there is one.
    pub tag: Option<u8>,
    /// The length word: it counts itself, not the tag. 1 for a one-byte answer.
    pub len: u32,
    /// The body, or as much of its beginning as there is.
    pub body: &'a [u8],
    /// How many bytes of the body are neither in `body` nor behind a hole.
    pub missing: u64,
    /// Why they are missing.
    pub cut: Option<Cut>,
    /// What a gap did to the body.
    pub damage: Damage<'a>,
    /// Whether it is an error of protocol 2.0: a text up to a zero byte, with no length word before it. `len` counts what is
    /// behind the tag all the same.
    pub is_version_2: bool,
    /// Whether some of its bytes came a second time, with other content.
    pub is_contested: bool,
    /// Whether the other side has spoken between its coming and its being found.
    pub is_late: bool,
    /// Whether it was found behind a boundary that is a guess.
    pub is_guessed: bool,
}

impl<'a> Frame<'a> {
    /// A frame of which nothing is missing.
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

/// Why a frame does not have its whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is larger than the limit.
    TooLarge,
    /// More was held, over all connections, than the limit.
    Memory,
    /// Bytes are missing from the stream.
    Gap,
    /// The stream ended.
    End,
    /// Its sender ended the stream inside of it: there was no more.
    Sender,
}

/// The holes in a body, and what was captured behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage<'a> {
    /// How many bytes of the body were lost, which is the sum of the holes, unless these are too many to be noted.
    pub lost: u64,
    /// In order, and none next to another.
    holes: &'a [Hole],
    /// What was captured behind the first of them, put together.
    behind: &'a [u8],
}

/// A hole in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins, in bytes from the beginning of the body.
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
    /// Holes, and what was captured behind the first.
    pub(super) const fn new(lost: u64, holes: &'a [Hole], behind: &'a [u8]) -> Self {
        Self { lost, holes, behind }
    }

    /// The holes, each with what was kept of the bytes between it and the next.
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

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.holes.is_empty()
    }
}
