//! Reads one capture from its first byte to its last.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::buffer::Buffer;
use super::format::{CutPart, Next, PacketRecord};
use super::input::{Compression, Input, Raw};
use super::pcap::{HeaderStatus, Magic, Pcap};
use super::pcapng::{self, Hex, Pcapng};
use crate::capture::{Error, InterfaceTable};
use crate::packet::{Block, Packet};
use crate::time::Timestamp;

/// How many reads a call may do before it returns without a packet, so that the caller can do other work.
const READS_PER_CALL: u32 = 64;

/// The magic numbers of other formats that editcap can convert (Wireshark's `wiretap`).
const OTHER_FORMATS: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a snoop file"),
    (b"RTSS", "a file of Microsoft Network Monitor 1"),
    (b"GMBU", "a file of Microsoft Network Monitor 2"),
    (b"XCP\0", "a file of NetXRay or Sniffer for Windows"),
    (b"TRSNIFF data", "a file of Sniffer for DOS"),
    (b"iptrace ", "an iptrace file of AIX"),
    (b"ObserverPktBuffe", "an Observer file"),
    (b"\x05VNF", "a file of Visual Networks"),
    (b"\xaa\xaa\xaa\xaa", "a 5View file"),
    (b"\x7fver", "a file of EtherPeek or OmniPeek"),
    (b"\x01\x10\x4c\0", "a file of LANalyzer"),
    (b"TR\0d\0", "an nettl file of HP-UX"),
    (b"\x42\xd2\0\x34\x12\x66\x22\x88", "a RADCOM file"),
    (b"\0\0\x02\0\x12\x05\0\x10", "a K12 file"),
];

/// Reads a capture of any format and compression from any input.
pub(super) struct CaptureReader {
    name: PathBuf,
    input: Input,
    ended: Option<Ended>,
    buffer: Buffer,
    format: Format,
    skipped: Skipped,
    interfaces: InterfaceTable,
}

/// The detected format.
enum Format {
    Unknown,
    Pcap(Pcap),
    Pcapng(Pcapng),
    /// The capture was read to its end, or as far as it is valid.
    Over,
}

/// Why no more bytes will arrive.
enum Ended {
    /// The end of the input.
    Cleanly,
    /// A read error.
    Failed(io::Error),
}

/// Invalid blocks that were skipped. The first is reported at once, the others together at the end, so that a file in which every
/// packet is invalid does not cause a message for each.
#[derive(Default)]
struct Skipped {
    reported: bool,
    more: u64,
    last: u64,
}

/// The result of [`CaptureReader::advance`].
pub(super) enum Advance {
    /// A packet, for [`CaptureReader::packet`].
    Packet(FoundPacket),
    /// The position of a key log, for [`CaptureReader::bytes`].
    KeyLog(Range<usize>),
    /// Nothing at the moment.
    Idle,
    /// The end of the capture.
    End,
}

/// A packet and its position in the buffer, valid until the next call of [`CaptureReader::advance`]. It is not a [`Packet`] yet,
/// because the borrow checker would extend its borrow over the whole loop.
pub(super) struct FoundPacket {
    record: PacketRecord,
    place: Range<usize>,
}

impl FoundPacket {
    /// When the packet was captured.
    pub(super) const fn ts(&self) -> Timestamp {
        self.record.ts
    }
}

impl CaptureReader {
    pub(super) fn new(name: PathBuf, raw: Raw, interfaces: InterfaceTable) -> Self {
        Self {
            name,
            input: Input::new(raw),
            ended: None,
            buffer: Buffer::new(),
            format: Format::Unknown,
            skipped: Skipped::default(),
            interfaces,
        }
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Returns a packet found by the last call of [`advance`](Self::advance).
    #[inline]
    pub(super) fn packet(&self, found: FoundPacket) -> Packet<'_> {
        let FoundPacket { record, place: Range { start, .. } } = found;
        let data = self.buffer.get(start + record.data.start..start + record.data.end);
        record.packet(data)
    }

    /// Returns the bytes found by the last call of [`advance`](Self::advance).
    pub(super) fn bytes(&self, place: Range<usize>) -> &[u8] {
        self.buffer.get(place)
    }

    /// Advances to the next packet. After an error, the next call continues with what can still be read.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<Advance, Error> {
        let mut reads = READS_PER_CALL;
        loop {
            let unread = self.buffer.unread();
            let next = match &mut self.format {
                Format::Pcap(pcap) => pcap.next(unread),
                Format::Pcapng(pcapng) => pcapng.next(unread),
                Format::Unknown => match self.recognise()? {
                    Some(piece) => Next::Short(piece),
                    None => continue,
                },
                Format::Over => return self.account(),
            };
            match next {
                Next::Packet(record) => {
                    let place = self.buffer.consume(record.len);
                    return Ok(Advance::Packet(FoundPacket { record, place }));
                }
                Next::KeyLog(len, data) => {
                    let start = self.buffer.consume(len).start;
                    return Ok(Advance::KeyLog(start + data.start..start + data.end));
                }
                Next::Other(len) => {
                    self.buffer.consume(len);
                }
                Next::Bad(len, reason) => {
                    let offset = self.buffer.offset();
                    self.buffer.consume(len);
                    self.skip(offset, reason)?;
                }
                Next::Short(piece) => {
                    if self.ended.is_some() {
                        return self.end(piece);
                    }
                    if reads == 0 {
                        return Ok(Advance::Idle);
                    }
                    reads -= 1;
                    if !self.read(piece.wanted()) {
                        return Ok(Advance::Idle);
                    }
                }
                Next::Lost(reason) => return Err(self.damaged(reason)),
            }
        }
    }

    /// Moves packets that have arrived into a block, until it has about `full` bytes. If the block is empty, it takes over the
    /// read buffer without a copy. It stops at a packet that was not captured before a time, if there is one. Returns `false` if there
    /// are no more packets at the moment.
    pub(super) fn give(&mut self, block: &mut Block, full: usize, before: Option<Timestamp>) -> bool {
        if matches!(self.format, Format::Unknown | Format::Over) {
            return true;
        }
        let is_first = block.is_empty();
        let mut has_more = true;
        let mut reads = if is_first { READS_PER_CALL } else { 0 };
        while reads > 0 && has_more && self.ended.is_none() && self.buffer.unread().len() < full {
            reads -= 1;
            has_more = self.read(full);
        }
        let (start, unread) = (self.buffer.start(), self.buffer.unread());
        let mut taken = 0;
        while let Some(record) = self.packet_at(unread.get(taken..).unwrap_or_default())
            && before.is_none_or(|before| record.ts < before)
        {
            let place = taken + record.data.start..taken + record.data.end;
            if is_first {
                if !block.push_at(&record.packet(&[]), start + place.start..start + place.end) {
                    break;
                }
            } else if block.bytes() < full {
                block.push(&record.packet(unread.get(place).unwrap_or_default()));
            } else {
                break;
            }
            taken += record.len;
        }
        if is_first && taken > 0 {
            self.buffer.swap(taken, block.buffer());
        } else {
            self.buffer.consume(taken);
        }
        has_more
    }

    /// Returns the packet at the front of `unread`; `None` if there is something else.
    #[inline]
    fn packet_at(&self, unread: &[u8]) -> Option<PacketRecord> {
        match &self.format {
            Format::Pcap(pcap) => match pcap.next(unread) {
                Next::Packet(record) => Some(record),
                _ => None,
            },
            Format::Pcapng(pcapng) => pcapng.packet_at(unread),
            Format::Unknown | Format::Over => None,
        }
    }

    /// Reads once. Returns whether to try parsing again.
    fn read(&mut self, wanted: usize) -> bool {
        match self.buffer.fill(&mut self.input, wanted) {
            Ok(0) => self.ended = Some(Ended::Cleanly),
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return false,
                io::ErrorKind::Interrupted => {}
                _ => self.ended = Some(Ended::Failed(error)),
            },
        }
        true
    }

    /// Detects the format from the first bytes. Returns which part of the file is still incomplete, if any.
    fn recognise(&mut self) -> Result<Option<CutPart>, Error> {
        let unread = self.buffer.unread();
        let Some(magic) = unread.first_chunk() else {
            if !matches!(self.ended, Some(Ended::Cleanly)) {
                return Ok(Some(CutPart::FileHeader(4)));
            }
            let reason = if unread.is_empty() { "it is empty".to_owned() } else { self.wanted_a_header(unread) };
            return Err(self.not_a_capture(reason));
        };
        if let Some(magic) = Magic::new(*magic) {
            match Pcap::read_header(magic, unread) {
                HeaderStatus::Read { pcap, len } => {
                    self.format = Format::Pcap(pcap);
                    self.buffer.consume(len);
                }
                HeaderStatus::Short(piece) => return Ok(Some(piece)),
                HeaderStatus::Unknown(reason) => return Err(self.not_a_capture(reason)),
            }
        } else if pcapng::is_magic(*magic) {
            let mut pcapng = Pcapng::new(self.interfaces.clone());
            match pcapng.next(unread) {
                Next::Short(piece) => return Ok(Some(piece)),
                Next::Lost(reason) => return Err(self.not_a_capture(reason)),
                Next::Packet(_) | Next::KeyLog(..) | Next::Other(_) | Next::Bad(..) => {
                    self.format = Format::Pcapng(pcapng);
                }
            }
        } else if let (Some(compression), None) = (Compression::from_magic(*magic), self.input.compression()) {
            let head = self.buffer.take();
            self.ended = None;
            if let Err(error) = self.input.decompress(compression, head) {
                self.ended = Some(Ended::Failed(error));
            }
        } else if self.ended.is_none() && self.buffer.unread().len() < self.other_format_needs() {
            return Ok(Some(CutPart::FileHeader(self.other_format_needs())));
        } else {
            let reason = self.wanted_a_header(magic);
            return Err(self.not_a_capture(reason));
        }
        Ok(None)
    }

    fn wanted_a_header(&self, found: &[u8]) -> String {
        let advice = match found {
            [0xfd, b'7', b'z', b'X'] => ": xz, decompress it first".to_owned(),
            [b'B', b'Z', b'h', _] => ": bzip2, decompress it first".to_owned(),
            [0x04, 0x22, 0x4d, 0x18] => ": lz4, decompress it first".to_owned(),
            [b'P', b'K', 3, 4] => ": a zip archive, unpack it first".to_owned(),
            _ => match self.other_format() {
                Some(name) => format!(": perhaps {name}, which `editcap -F pcapng IN OUT` converts"),
                None => String::new(),
            },
        };
        let within = match self.input.compression() {
            Some(compression) => format!(" in the {} stream", compression.name()),
            None => String::new(),
        };
        format!("wanted a pcap or pcapng header{within}, found {}{advice}", Hex(found))
    }

    /// Returns the name of another program's capture format that the file begins like.
    fn other_format(&self) -> Option<&'static str> {
        let unread = self.buffer.unread();
        let known = OTHER_FORMATS.iter().find(|(magic, _)| unread.starts_with(magic));
        let erf = || {
            let (kind, len) = erf_record(unread)?;
            let next = unread.get(len..)?;
            let is_one = if next.is_empty() { true } else { erf_record(next)?.0 == kind };
            is_one.then_some("an ERF file")
        };
        known.map(|(_, name)| *name).or_else(erf)
    }

    /// Returns how many bytes show whether the file is another program's: the same, however it arrives.
    fn other_format_needs(&self) -> usize {
        erf_record(self.buffer.unread()).map_or(ERF_HEADER, |(_, len)| len + ERF_HEADER)
    }

    /// Handles the end of the bytes before `piece` is complete.
    #[cold]
    fn end(&mut self, piece: CutPart) -> Result<Advance, Error> {
        let had = self.buffer.unread().len();
        let cut_off = (had > 0).then(|| piece.cut_off(had));
        let reason = match (cut_off, self.ended.take()) {
            (None, Some(Ended::Failed(reason))) if self.is_untouched() => {
                self.format = Format::Over;
                return Err(Error::Open { path: self.name.clone(), reason });
            }
            (None, Some(Ended::Failed(error))) => self.failure(&error),
            (Some(cut_off), Some(Ended::Failed(error))) => format!("{cut_off} ({})", self.failure(&error)),
            (Some(cut_off), _) => cut_off,
            (None, _) => {
                self.format = Format::Over;
                return self.account();
            }
        };
        Err(self.damaged(reason))
    }

    /// Returns whether not a single byte was read from the input.
    fn is_untouched(&self) -> bool {
        matches!(self.format, Format::Unknown) && self.input.compression().is_none() && self.buffer.unread().is_empty()
    }

    /// Describes a read error.
    fn failure(&self, error: &io::Error) -> String {
        match self.input.compression() {
            Some(compression) if error.kind() == io::ErrorKind::UnexpectedEof => {
                format!("the {} stream is cut off", compression.name())
            }
            // An error without an OS error code comes from the decoder.
            Some(compression) if error.raw_os_error().is_none() => {
                format!("the {} stream is damaged: {error}", compression.name())
            }
            _ => format!("reading failed: {error}"),
        }
    }

    #[cold]
    fn skip(&mut self, offset: u64, reason: String) -> Result<(), Error> {
        if self.skipped.reported {
            self.skipped.more += 1;
            self.skipped.last = offset;
            return Ok(());
        }
        self.skipped.reported = true;
        Err(Error::Skipped { path: self.name.clone(), offset, reason })
    }

    /// Reports the number of skipped blocks that were not reported yet, then the end.
    #[cold]
    fn account(&mut self) -> Result<Advance, Error> {
        let Skipped { more, last, .. } = std::mem::take(&mut self.skipped);
        if more == 0 {
            return Ok(Advance::End);
        }
        let reason = format!("the last of {more} more blocks that make no sense");
        Err(Error::Skipped { path: self.name.clone(), offset: last, reason })
    }

    #[cold]
    fn damaged(&mut self, reason: String) -> Error {
        self.format = Format::Over;
        Error::Damaged { path: self.name.clone(), offset: self.buffer.offset(), reason }
    }

    #[cold]
    fn not_a_capture(&mut self, reason: String) -> Error {
        self.format = Format::Over;
        Error::NotACapture { path: self.name.clone(), reason }
    }
}

/// How many bytes of an ERF record's header are looked at.
const ERF_HEADER: usize = 16;

/// Returns the type and the length of the ERF record that bytes may begin with. The format has no magic number: behind a time, each
/// record has its type, flags, its length, losses, and the length of its packet.
fn erf_record(bytes: &[u8]) -> Option<(u8, usize)> {
    let [.., kind, _, high, low, _, _, _, _] = *bytes.first_chunk::<ERF_HEADER>()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    ((1..=48).contains(&(kind & 0x7f)) && len >= ERF_HEADER).then_some((kind, len))
}
