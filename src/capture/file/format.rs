//! Common parts of the two capture formats: byte orders, and the result of parsing the next record.

use std::ops::Range;

use crate::packet::{LinkType, Packet};
use crate::time::Timestamp;

/// The largest record that is accepted, and the most memory that one is given.
pub(super) const LARGEST: u32 = 16 * 1024 * 1024;

/// The byte order of a file or section.
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

/// Returns the first `N` words of four bytes. The headers of both formats consist of such words.
#[inline]
pub(super) fn words<const N: usize>(bytes: &[u8]) -> Option<&[[u8; 4]; N]> {
    bytes.as_chunks::<4>().0.first_chunk::<N>()
}

/// Returns the link type of a file's or an interface's packets.
///
/// The number of raw IP in files is 101. But some writers use 12 or 14, its numbers in the header files of operating systems.
pub(super) const fn link_type(number: u16) -> LinkType {
    match number {
        12 | 14 => LinkType::RAW,
        _ => LinkType(number),
    }
}

/// The result of parsing the front of the unread bytes.
#[derive(Debug)]
pub(super) enum Next {
    /// A packet.
    Packet(PacketRecord),
    /// A key log: the size of its block, and its position in the block.
    KeyLog(usize, Range<usize>),
    /// A block of this size that is irrelevant for packets.
    Other(usize),
    /// An invalid block of this size, and what is wrong with it.
    Bad(usize, String),
    /// An incomplete part of the file.
    Short(CutPart),
    /// Invalid bytes, after which no record boundary is known, and what is wrong with them.
    Lost(String),
}

/// A packet and its position.
#[derive(Clone, Debug)]
pub(super) struct PacketRecord {
    /// The size of the record that contains the packet.
    pub(super) len: usize,
    /// The position of the packet's bytes in the record.
    pub(super) data: Range<usize>,
    pub(super) ts: Timestamp,
    pub(super) link: LinkType,
    pub(super) orig_len: u32,
    pub(super) interface: u16,
}

impl PacketRecord {
    /// Returns the packet with these bytes.
    #[inline]
    pub(super) const fn packet<'a>(&self, data: &'a [u8]) -> Packet<'a> {
        let Self { ts, link, orig_len, interface, .. } = *self;
        Packet { ts, link, data, orig_len, interface }
    }
}

/// A part of a file that may be truncated, with its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutPart {
    FileHeader(usize),
    PacketHeader(usize),
    /// A packet after a header of `header` bytes.
    Packet {
        header: usize,
        len: usize,
    },
    BlockHeader(usize),
    Block(usize),
}

impl CutPart {
    /// Returns how many bytes are needed to continue.
    pub(super) const fn wanted(self) -> usize {
        match self {
            Self::FileHeader(len) | Self::PacketHeader(len) | Self::BlockHeader(len) | Self::Block(len) => len,
            Self::Packet { header, len } => header.saturating_add(len),
        }
    }

    /// Describes the truncation: only `had` bytes are there.
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
