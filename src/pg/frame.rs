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
    /// How many bytes of the body are missing behind `body`.
    pub missing: u64,
    /// Why they are missing.
    pub cut: Option<Cut>,
}

/// Why a frame does not have its whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is larger than the limit.
    TooLarge,
    /// Bytes are missing from the stream.
    Gap,
    /// The stream ended.
    End,
}
