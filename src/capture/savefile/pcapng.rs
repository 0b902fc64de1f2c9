//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng): one section, in little-endian byte order.

use std::collections::HashMap;

use super::{Framing, fill};
use crate::capture::live::DEFAULT_SNAPLEN;
use crate::capture::{InterfaceDescription, InterfaceTable};
use crate::packet::{LinkType, Packet};
use crate::time::Precision;

/// Block types.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// The secrets type of a TLS key log: the letters `TLSK`.
const TLS_KEY_LOG: u32 = 0x544c_534b;

/// How much of a key log is in one block, in bytes, about. Readers limit the size of blocks.
const SECRETS_PER_BLOCK: usize = 1 << 20;

/// The options `opt_endofopt`, `if_name`, `if_description` and `if_tsresol` (sections 3.5 and 4.2).
const END_OF_OPTIONS: u16 = 0;
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const TIMESTAMP_RESOLUTION: u16 = 9;

/// The size of a block without its body.
const BLOCK_OVERHEAD: usize = 12;

/// The size of the section header.
pub(super) const SECTION_LEN: u64 = 28;

/// The flag of a resolution that is a power of two, and not of ten.
const BINARY: u8 = 0x80;

/// What distinguishes interfaces of the file: the interface of the source, which may be unknown, link type, and precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    interface: u16,
    link: LinkType,
    is_nanos: bool,
}

impl Key {
    pub(super) const fn new(interface: u16, link: LinkType, precision: Precision) -> Self {
        Self { interface, link, is_nanos: matches!(precision, Precision::Nanos) }
    }

    pub(super) const fn of(packet: &Packet<'_>) -> Self {
        Self::new(packet.interface, packet.link, packet.ts.precision())
    }
}

/// An interface that the file describes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    number: u32,
    resolution: u8,
    /// The position behind its description.
    pub(super) end: u64,
}

/// The section, with its interfaces.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) has_begun: bool,
    /// The interfaces of the source.
    pub(super) table: InterfaceTable,
    described: HashMap<Key, Described, foldhash::fast::RandomState>,
}

impl Section {
    /// Returns whether no interface is described, without which some readers reject the file.
    pub(super) fn is_empty(&self) -> bool {
        self.described.is_empty()
    }

    pub(super) fn find(&self, key: Key) -> Option<Described> {
        self.described.get(&key).copied()
    }

    /// Adds an interface. Returns its description, which has to be written at this position.
    pub(super) fn describe(&mut self, key: Key, position: u64) -> Vec<u8> {
        let InterfaceDescription { name, description, resolution } = self.table.description(key.interface);
        let resolution = resolution.unwrap_or(if key.is_nanos { 9 } else { 6 });
        // Timestamps have nanoseconds at most.
        let resolution = match (resolution & BINARY, resolution & !BINARY) {
            (0, 0..=9) | (BINARY, 0..=29) => resolution,
            _ => 9,
        };
        let mut body = Vec::new();
        body.extend(key.link.0.to_le_bytes());
        body.extend([0; 2]);
        body.extend(DEFAULT_SNAPLEN.to_le_bytes());
        for (code, text) in [(NAME, name), (DESCRIPTION, description)] {
            if let Some(text) = text {
                option(&mut body, code, text.as_bytes());
            }
        }
        option(&mut body, TIMESTAMP_RESOLUTION, &[resolution]);
        option(&mut body, END_OF_OPTIONS, &[]);
        let block = block(INTERFACE_DESCRIPTION, &body);
        let number = self.described.len() as u32;
        self.described.insert(key, Described { number, resolution, end: position + block.len() as u64 });
        block
    }
}

/// Returns the section header: of unknown length.
pub(super) fn section_header() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
    // Version 1.0.
    body.extend([1, 0, 0, 0]);
    body.extend([0xff; 8]);
    block(SECTION_HEADER, &body)
}

/// Returns blocks with a TLS key log.
pub(super) fn secrets(mut key_log: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::new();
    while !key_log.is_empty() {
        // Whole lines.
        let end = key_log.get(..SECRETS_PER_BLOCK).and_then(|part| memchr::memrchr(b'\n', part)).map(|end| end + 1);
        let (part, rest) = key_log.split_at_checked(end.unwrap_or(key_log.len())).unwrap_or((key_log, &[]));
        let body = [&TLS_KEY_LOG.to_le_bytes()[..], &(part.len() as u32).to_le_bytes(), part].concat();
        blocks.extend(block(DECRYPTION_SECRETS, &body));
        key_log = rest;
    }
    blocks
}

/// Returns what is before and behind the bytes of a packet in its block.
pub(super) fn framing(packet: &Packet<'_>, interface: Described) -> Framing {
    let ticks = ticks(packet.ts.as_nanos(), interface.resolution);
    let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
    let padding = captured.wrapping_neg() % 4;
    let len = captured.saturating_add(padding + 32);
    let mut framing = Framing { head_len: 28, tail_len: (4 + padding) as usize, ..Framing::default() };
    fill(
        &mut framing.head,
        &[
            &ENHANCED_PACKET.to_le_bytes(),
            &len.to_le_bytes(),
            &interface.number.to_le_bytes(),
            &((ticks >> 32) as u32).to_le_bytes(),
            &(ticks as u32).to_le_bytes(),
            &captured.to_le_bytes(),
            &packet.orig_len.max(captured).to_le_bytes(),
        ],
    );
    let zeros = [0; 3];
    fill(&mut framing.tail, &[zeros.get(..padding as usize).unwrap_or_default(), &len.to_le_bytes()]);
    framing
}

/// Returns a time in units of a resolution. The format has unsigned times: from 1970 on.
fn ticks(nanos: i64, resolution: u8) -> u64 {
    let nanos = u64::try_from(nanos).unwrap_or_default();
    let exponent = u32::from(resolution & !BINARY);
    if resolution & BINARY == 0 {
        return nanos / 10_u64.pow(9_u32.saturating_sub(exponent));
    }
    // A reader rounds down to nanoseconds: this is the tick of which it does so to this time.
    let ticks = (u128::from(nanos) << exponent).div_ceil(1_000_000_000);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Returns a block, whose body is padded to a multiple of four bytes.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = ((padded + BLOCK_OVERHEAD) as u32).to_le_bytes();
    let mut block = Vec::with_capacity(padded + BLOCK_OVERHEAD);
    block.extend(kind.to_le_bytes());
    block.extend(len);
    block.extend(body);
    block.resize(padded + 8, 0);
    block.extend(len);
    block
}

/// Adds an option, padded to a multiple of four bytes.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = value.len().min(u16::MAX.into());
    body.extend(code.to_le_bytes());
    body.extend((len as u16).to_le_bytes());
    body.extend(value.iter().take(len));
    body.resize(body.len().next_multiple_of(4), 0);
}
