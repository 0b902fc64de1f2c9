//! What the two capture formats have in common: numbers in either byte order, and what may stand next in a file.

use std::ops::Range;

use crate::packet::LinkType;
use crate::time::Timestamp;

/// More than any capture holds in one piece, and the most that one is given memory for.
pub(super) const LARGEST: u32 = 16 * 1024 * 1024;

/// The byte order in which a file, or a section of one, was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    #[inline]
    pub(super) const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    #[inline]
    pub(super) const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(super) const fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }
}

/// The first `N` words of four bytes. Headers of both formats are made of such words.
#[inline]
pub(super) fn words<const N: usize>(bytes: &[u8]) -> Option<&[[u8; 4]; N]> {
    bytes.as_chunks::<4>().0.first_chunk::<N>()
}

/// The link type of a file's or an interface's packets.
///
/// Files number raw IP 101. But 12 and 14 are what the systems' own headers call it, and some writers put those.
pub(super) const fn link_type(number: u16) -> LinkType {
    match number {
        12 | 14 => LinkType::RAW,
        _ => LinkType(number),
    }
}

/// What stands at the front of the unread bytes.
#[derive(Debug)]
pub(super) enum Next {
    /// A packet.
    Packet(PacketRecord),
    /// A key log: so many bytes, and where in them it is.
    KeyLog(usize, Range<usize>),
    /// So many bytes that tell us nothing about packets.
    Other(usize),
    /// So many bytes that make no sense, but whose end is known.
    Bad(usize, String),
    /// A piece that has not arrived whole.
    Short(CutPart),
    /// Bytes that make no sense, and nobody knows where sense begins again.
    Lost(String),
}

/// A packet and where it is.
#[derive(Clone, Debug)]
pub(super) struct PacketRecord {
    /// Bytes of the record that holds the packet.
    pub(super) len: usize,
    /// The packet's bytes, counted from the record's first.
    pub(super) data: Range<usize>,
    pub(super) ts: Timestamp,
    pub(super) link: LinkType,
    pub(super) orig_len: u32,
}

/// What a file can be cut off in, and how many bytes of it there would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutPart {
    FileHeader(usize),
    PacketHeader(usize),
    /// A packet behind a header of so many bytes.
    Packet {
        header: usize,
        len: usize,
    },
    BlockHeader(usize),
    Block(usize),
}

impl CutPart {
    /// How many bytes are needed before one can go on.
    pub(super) const fn wanted(self) -> usize {
        match self {
            Self::FileHeader(len) | Self::PacketHeader(len) | Self::BlockHeader(len) | Self::Block(len) => len,
            Self::Packet { header, len } => header.saturating_add(len),
        }
    }

    /// Says that only `had` bytes are there.
    pub(super) fn cut_off(self, had: usize) -> String {
        match self {
            Self::FileHeader(len) => format!("cut off: a file header has {len} bytes, {had} are there"),
            Self::PacketHeader(len) => format!("cut off: a packet header has {len} bytes, {had} are there"),
            Self::Packet { header, len } => {
                let had = had.saturating_sub(header);
                format!("cut off: a packet of {len} bytes was announced, {had} are there")
            }
            Self::BlockHeader(len) => format!("cut off: a block header has {len} bytes, {had} are there"),
            Self::Block(len) => format!("cut off: a block of {len} bytes was announced, {had} are there"),
        }
    }
}
