//! Input bytes, decompressed if necessary.

use std::io::{self, Read};

use super::unpack::{Gzip, Unpacked, Zstd};

/// Any source of bytes. [`io::ErrorKind::WouldBlock`] means that there are none at the moment.
pub(super) type Raw = Box<dyn Read + Send>;

/// A compression format, detected by its magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) const fn from_magic(magic: [u8; 4]) -> Option<Self> {
        match magic {
            // The third byte is the compression method; deflate is the only one.
            [0x1f, 0x8b, 8, _] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            // A skippable frame, with which files of pzstd begin.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The bytes of a capture, decompressed if necessary.
pub(super) enum Input {
    Plain(Raw),
    Gzip(Unpacked<Gzip>),
    Zstd(Unpacked<Zstd>),
}

impl Input {
    pub(super) fn new(raw: Raw) -> Self {
        Self::Plain(raw)
    }

    /// Returns the compression format.
    pub(super) const fn compression(&self) -> Option<Compression> {
        match self {
            Self::Plain(_) => None,
            Self::Gzip(_) => Some(Compression::Gzip),
            Self::Zstd(_) => Some(Compression::Zstd),
        }
    }

    /// Switches to decompression. `head` has the bytes that were read before as uncompressed.
    pub(super) fn decompress(&mut self, compression: Compression, head: Vec<u8>) -> io::Result<()> {
        let Self::Plain(raw) = std::mem::replace(self, Self::Plain(Box::new(io::empty()))) else {
            return Err(io::Error::other("compressed twice"));
        };
        *self = match compression {
            Compression::Gzip => Self::Gzip(Unpacked::new(Gzip::new(), head, raw)),
            Compression::Zstd => Self::Zstd(Unpacked::new(Zstd::new()?, head, raw)),
        };
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(into),
            Self::Gzip(unpacked) => unpacked.read(into),
            Self::Zstd(unpacked) => unpacked.read(into),
        }
    }
}
