//! The pcapng format: blocks, some of which contain packets, and others the information needed to interpret them.
//!
//! Source: draft-ietf-opsawg-pcapng. The blocks are parsed here rather than by a crate: this code is on the path of every packet,
//! crates allocate a vector of options for each, and damaged blocks have to be skipped.

use super::format::{ByteOrder, CutPart, LARGEST, Next, PacketRecord, link_type, words};
use crate::capture::{InterfaceDescription, InterfaceTable};
use crate::packet::LinkType;
use crate::time::{Precision, Timestamp};

/// Block types: Section Header, Interface Description, Enhanced Packet, Simple Packet, and Decryption Secrets Block (section
/// 10.1).
const SHB: u32 = 0x0a0d_0d0a;
const IDB: u32 = 1;
const EPB: u32 = 6;
const SPB: u32 = 3;
const DSB: u32 = 10;

/// The obsolete Packet Block, replaced by the Enhanced Packet Block.
const PACKET_BLOCK: u32 = 2;

/// The options `opt_endofopt`, `if_name`, `if_description`, `if_tsresol` and `if_tsoffset` (sections 3.5 and 4.2).
const END_OF_OPTIONS: u16 = 0;
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const TIMESTAMP_RESOLUTION: u16 = 9;
const TIMESTAMP_OFFSET: u16 = 14;

/// Microseconds.
const DEFAULT_RESOLUTION: u8 = 6;

/// The secrets type of a TLS key log: the letters `TLSK`.
const TLS_KEY_LOG: u32 = 0x544c_534b;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// A block's body is preceded by type and length, and followed by the length again.
const BLOCK_HEADER: usize = 8;
const BLOCK_TRAILER: usize = 4;

/// The maximum number of interfaces in a section: as many as a Packet Block can address. Each needs memory until the section
/// ends.
const MAX_INTERFACES: usize = 1 << 16;

/// Returns whether a file begins like a pcapng file. The type of its first block is the same in both byte orders.
pub(super) const fn is_magic(magic: [u8; 4]) -> bool {
    u32::from_le_bytes(magic) == SHB
}

/// The state of the current section of a pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: ByteOrder,
    /// The interfaces by number; `None` for an invalid description, so that later interfaces keep their numbers.
    interfaces: Vec<Option<Interface>>,
    /// Their descriptions, and those of other sections and files.
    described: InterfaceTable,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
    /// Its number in the table of descriptions.
    number: u16,
}

impl Pcapng {
    pub(super) const fn new(described: InterfaceTable) -> Self {
        Self { order: ByteOrder::Little, interfaces: Vec::new(), described }
    }

    /// Parses the block at the front of `unread`. The caller must skip it before the next call, unless the result is
    /// [`Next::Short`] or [`Next::Lost`], because its content was recorded already.
    #[inline]
    pub(super) fn next(&mut self, unread: &[u8]) -> Next {
        let Some([kind, len]) = words(unread) else { return Next::Short(CutPart::BlockHeader(BLOCK_HEADER)) };
        let kind = self.order.u32(*kind);
        if kind == SHB {
            // The byte order of the section is that of its magic number, which follows the length.
            let Some([_, _, magic]) = words(unread) else { return Next::Short(CutPart::BlockHeader(BLOCK_HEADER + 4)) };
            match [ByteOrder::Little, ByteOrder::Big].into_iter().find(|order| order.u32(*magic) == BYTE_ORDER_MAGIC) {
                Some(order) => self.order = order,
                None => return Next::Lost(format!("a section without a byte-order magic, found {}", Hex(magic))),
            }
        }
        let (body, len) = match self.block(*len, unread) {
            Ok(block) => block,
            Err(next) => return next,
        };
        match kind {
            EPB | PACKET_BLOCK => self.packet(kind, body, len),
            SPB => self.simple_packet(body, len),
            IDB => self.interface(body, len),
            SHB => self.section(body, len),
            DSB => self.secrets(body, len),
            _ => Next::Other(len),
        }
    }

    /// Returns the packet at the front of `unread`, if there is a complete packet block. Changes no state.
    #[inline]
    pub(super) fn packet_at(&self, unread: &[u8]) -> Option<PacketRecord> {
        let [kind, len] = words(unread)?;
        let kind = Some(self.order.u32(*kind)).filter(|kind| *kind == EPB)?;
        let (body, len) = self.block(*len, unread).ok()?;
        if let Next::Packet(record) = self.packet(kind, body, len) { Some(record) } else { None }
    }

    /// Returns the body of the block at the front of `unread`, and the block's size.
    #[inline]
    fn block<'a>(&self, len: [u8; 4], unread: &'a [u8]) -> Result<(&'a [u8], usize), Next> {
        let len = self.order.u32(len);
        if len < (BLOCK_HEADER + BLOCK_TRAILER) as u32 || len > LARGEST || !len.is_multiple_of(4) {
            return Err(Next::Lost(format!("a block of {len} bytes was announced, which is not a valid block length")));
        }
        let len = len as usize;
        let Some((body, trailer)) = unread.get(BLOCK_HEADER..len).and_then(<[u8]>::split_last_chunk) else {
            return Err(Next::Short(CutPart::Block(len)));
        };
        let trailer = self.order.u32(*trailer);
        if trailer as usize != len {
            return Err(Next::Lost(format!("a block of {len} bytes was announced, its end has the length {trailer}")));
        }
        Ok((body, len))
    }

    #[inline]
    fn packet(&self, kind: u32, body: &[u8], len: usize) -> Next {
        const FIXED: usize = 20;
        let Some([interface, high, low, caplen, orig_len]) = words(body) else {
            return too_short("a packet", len, BLOCK_HEADER + FIXED + BLOCK_TRAILER);
        };
        let number = if kind == PACKET_BLOCK {
            // A 16-bit interface number, followed by a count of dropped packets.
            let [a, b, ..] = *interface;
            self.order.u16([a, b]).into()
        } else {
            self.order.u32(*interface)
        };
        let Some(interface) = self.interface_of(number) else { return self.unknown_interface(number, len) };
        let caplen = self.order.u32(*caplen) as usize;
        let room = body.len() - FIXED;
        if caplen > room {
            return Next::Bad(len, format!("a packet of {caplen} bytes was announced in a block with room for {room}"));
        }
        let ticks = (u64::from(self.order.u32(*high)) << 32) | u64::from(self.order.u32(*low));
        let data = BLOCK_HEADER + FIXED;
        Next::Packet(PacketRecord {
            len,
            data: data..data + caplen,
            ts: interface.clock.at(ticks),
            link: interface.link,
            orig_len: self.order.u32(*orig_len),
            interface: interface.number,
        })
    }

    fn simple_packet(&self, body: &[u8], len: usize) -> Next {
        const FIXED: usize = 4;
        let Some([orig_len]) = words(body) else {
            return too_short("a simple packet", len, BLOCK_HEADER + FIXED + BLOCK_TRAILER);
        };
        // "The Simple Packet Block does not contain the Interface ID field. Therefore, it MUST be assumed that all the
        // Simple Packet Blocks have been captured on the interface previously specified in the first Interface
        // Description Block."
        let Some(interface) = self.interface_of(0) else { return self.unknown_interface(0, len) };
        let orig_len = self.order.u32(*orig_len);
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let caplen = (orig_len.min(snaplen) as usize).min(body.len() - FIXED);
        let data = BLOCK_HEADER + FIXED;
        Next::Packet(PacketRecord {
            len,
            data: data..data + caplen,
            // It has no timestamp; libpcap also reports 0.
            ts: Timestamp::from_nanos(0, Precision::Micros),
            link: interface.link,
            orig_len,
            interface: interface.number,
        })
    }

    fn interface_of(&self, number: u32) -> Option<&Interface> {
        self.interfaces.get(number as usize)?.as_ref()
    }

    #[cold]
    fn unknown_interface(&self, number: u32, len: usize) -> Next {
        let described = self.interfaces.iter().flatten().count();
        Next::Bad(len, format!("a packet of interface {number}, which is none of the {described} that are described"))
    }

    fn interface(&mut self, body: &[u8], len: usize) -> Next {
        const FIXED: usize = 8;
        if self.interfaces.len() == MAX_INTERFACES {
            return Next::Bad(len, format!("more than {MAX_INTERFACES} interfaces in a section"));
        }
        let (Some([link, snaplen]), Some(options)) = (words(body), body.get(FIXED..)) else {
            self.interfaces.push(None);
            return too_short("an interface description", len, BLOCK_HEADER + FIXED + BLOCK_TRAILER);
        };
        let [a, b, _, _] = *link;
        let Options { description, offset } = Options::read(self.order, options);
        self.interfaces.push(Some(Interface {
            link: link_type(self.order.u16([a, b])),
            snaplen: self.order.u32(*snaplen),
            clock: Clock::from_resolution(description.resolution.unwrap_or(DEFAULT_RESOLUTION), offset),
            number: self.described.number(&description),
        }));
        Next::Other(len)
    }

    /// Parses a Decryption Secrets Block: the type of the secrets, their length, and the secrets.
    fn secrets(&self, body: &[u8], len: usize) -> Next {
        const FIXED: usize = 8;
        let Some([kind, size]) = words(body) else {
            return too_short("secrets", len, BLOCK_HEADER + FIXED + BLOCK_TRAILER);
        };
        if self.order.u32(*kind) != TLS_KEY_LOG {
            return Next::Other(len);
        }
        let (size, room) = (self.order.u32(*size) as usize, body.len() - FIXED);
        if size > room {
            return Next::Bad(len, format!("secrets of {size} bytes were announced in a block with room for {room}"));
        }
        let data = BLOCK_HEADER + FIXED;
        Next::KeyLog(len, data..data + size)
    }

    fn section(&mut self, body: &[u8], len: usize) -> Next {
        const FIXED: usize = 16;
        let Some([_magic, version, _, _]) = words(body) else {
            return Next::Lost(format!("a section header of {len} bytes, too short for its {FIXED} bytes of fields"));
        };
        let [a, b, c, d] = *version;
        let (major, minor) = (self.order.u16([a, b]), self.order.u16([c, d]));
        if major != 1 {
            return Next::Lost(format!("wanted version 1 of the pcapng format, found {major}.{minor}"));
        }
        self.interfaces.clear();
        Next::Other(len)
    }
}

#[cold]
fn too_short(what: &str, len: usize, least: usize) -> Next {
    Next::Bad(len, format!("{what} in a block of {len} bytes, which needs at least {least}"))
}

/// Bytes in the order of the file.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{}", crate::hex::Hex(self.0))
    }
}

/// The timestamp resolution and offset of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    unit: Unit,
    precision: Precision,
    /// Nanoseconds to add to each timestamp.
    offset: i128,
}

/// The unit of timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// This many nanoseconds.
    Nanos(u64),
    /// A nanosecond divided by this number; 0 if no number of ticks amounts to a nanosecond.
    PartOfNano(u64),
    /// A second divided by this power of two.
    Binary(u8),
}

/// Splits off the first option: its code, its value, and the rest. Values are padded to a multiple of four bytes.
fn option(order: ByteOrder, options: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (code, rest) = options.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::from(order.u16(*len));
    let value = rest.get(..len)?;
    Some((order.u16(*code), value, rest.get(len.next_multiple_of(4)..)?))
}

/// The options of an interface.
struct Options {
    description: InterfaceDescription,
    /// What to add to each timestamp, in seconds.
    offset: i64,
}

impl Options {
    fn read(order: ByteOrder, mut options: &[u8]) -> Self {
        let resolution = Some(DEFAULT_RESOLUTION);
        let mut found = Self { description: InterfaceDescription { resolution, ..Default::default() }, offset: 0 };
        let description = &mut found.description;
        while let Some((code, value, rest)) = option(order, options) {
            options = rest;
            match (code, value) {
                (END_OF_OPTIONS, _) => break,
                (NAME, value) => description.name = InterfaceDescription::text(value),
                (DESCRIPTION, value) => description.description = InterfaceDescription::text(value),
                (TIMESTAMP_RESOLUTION, [value]) => description.resolution = Some(*value),
                (TIMESTAMP_OFFSET, value) => {
                    found.offset = value.try_into().map_or(found.offset, |value| order.i64(value));
                }
                _ => {}
            }
        }
        found
    }
}

impl Clock {
    /// "If the Most Significant Bit is equal to zero, the remaining bits indicate the resolution of the timestamp as a
    /// negative power of 10 […]. If the Most Significant Bit is equal to one, the remaining bits indicate the resolution
    /// as a negative power of 2."
    fn from_resolution(resolution: u8, offset_seconds: i64) -> Self {
        let exponent = resolution & 0x7f;
        let power_of_ten = |exponent: u8| 10_u64.checked_pow(exponent.into());
        let (unit, finer) = if resolution & 0x80 != 0 {
            (Unit::Binary(exponent), exponent > 19) // 2^19 is the greatest below a million
        } else if let Some(smaller) = 9_u8.checked_sub(exponent) {
            (Unit::Nanos(power_of_ten(smaller).unwrap_or(1)), exponent > 6)
        } else {
            (Unit::PartOfNano(power_of_ten(exponent - 9).unwrap_or(0)), true)
        };
        let precision = if finer { Precision::Nanos } else { Precision::Micros };
        Self { unit, precision, offset: i128::from(offset_seconds) * 1_000_000_000 }
    }

    /// Returns the instant of a timestamp; the nearest representable one if it is out of range.
    #[inline]
    fn at(&self, ticks: u64) -> Timestamp {
        let nanos = match self.unit {
            Unit::Nanos(nanos) => u128::from(ticks) * u128::from(nanos),
            Unit::PartOfNano(parts) => ticks.checked_div(parts).unwrap_or(0).into(),
            Unit::Binary(exponent) => (u128::from(ticks) * 1_000_000_000) >> exponent,
        };
        let nanos = (nanos as i128).saturating_add(self.offset);
        let nanos = nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Timestamp::from_nanos(nanos, self.precision)
    }
}
