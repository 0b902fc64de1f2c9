//! Writing raw packets to a file, for Wireshark, tcpdump or another run.
//!
//! The file is a pcapng if its name ends in `.pcapng`, else a classic pcap. Neither is written by libpcap, because its writer does
//! not report that the disk is full, and writes no pcapng.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use self::pcapng::{Key, Section};
use super::filter::link_type_name;
use super::live::DEFAULT_SNAPLEN;
use super::{Error, InterfaceTable};
use crate::packet::{LinkType, Packet};
use crate::time::Precision;

mod pcapng;
#[cfg(test)]
mod tests;

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
const PCAP_HEADER_LEN: usize = 24;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Writes packets to a pcap or pcapng file.
///
/// A pcap file has one link type and one timestamp precision. Both are those of the first packet, unless they were set before
/// ([`SavefileWriter::begin`]). A pcapng file has those of each packet, and the names of interfaces.
#[derive(Debug)]
pub struct SavefileWriter<W: Write = BufWriter<File>> {
    path: PathBuf,
    out: W,
    format: Format,
    /// The number of bytes written.
    position: u64,
}

#[derive(Debug)]
enum Format {
    /// Its header, once it is written.
    Pcap(Option<FileHeader>),
    Pcapng(Section),
}

#[derive(Clone, Copy, Debug)]
struct FileHeader {
    link: LinkType,
    precision: Precision,
}

/// What is before and behind the bytes of a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    head: [u8; 28],
    head_len: usize,
    tail: [u8; 7],
    tail_len: usize,
}

impl Framing {
    fn head(&self) -> &[u8] {
        self.head.get(..self.head_len).unwrap_or_default()
    }

    fn tail(&self) -> &[u8] {
        self.tail.get(..self.tail_len).unwrap_or_default()
    }
}

/// Returns whether a file of this name is a pcapng file.
pub(crate) fn is_pcapng(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pcapng"))
}

impl SavefileWriter {
    /// Creates a file, or truncates an existing one.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if the system rejects it.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let created = File::create(path);
        Self::over(path, created)
    }

    /// Creates a writer for the result of opening a file.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if opening it failed.
    pub fn over(path: &Path, file: io::Result<File>) -> Result<Self, Error> {
        let file = file.map_err(|reason| Error::Save { path: path.to_owned(), reason })?;
        // The default of 8 KiB hardly holds one jumbo frame; with 256 KiB, the cost of writing is negligible.
        Ok(Self::new(path, BufWriter::with_capacity(256 * 1024, file)))
    }

    /// Inserts a TLS key log at the beginning of a pcapng file, and packets at earlier [places](Self::place), sorted by them. The file
    /// has to be open for reading as well. If it is a pipe or a device, they are appended.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if they cannot be written.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn insert(&mut self, key_log: &[u8], packets: &[(u64, Packet<'_>)]) -> Result<(), Error> {
        let secrets = match &self.format {
            Format::Pcapng(_) => pcapng::secrets(key_log),
            Format::Pcap(_) => Vec::new(),
        };
        if !secrets.is_empty() {
            self.begin_section()?;
        }
        self.flush()?;
        let is_file = self.out.get_ref().metadata().is_ok_and(|file| file.is_file());
        let (mut within, mut behind) = (Vec::new(), Vec::new());
        if !secrets.is_empty() {
            within.push((pcapng::SECTION_LEN, Framing::default(), &*secrets));
        }
        for (position, packet) in packets {
            match self.framing(packet, *position).filter(|_| is_file && *position < self.position) {
                Some(framing) => within.push((*position, framing, packet.data)),
                None => behind.push(packet),
            }
        }
        if !is_file {
            within.drain(..).try_for_each(|(_, _, secrets)| self.write_all(&[secrets]))?;
        } else if !within.is_empty() {
            let inserted = insert(self.out.get_ref(), &within, self.position);
            let inserted = inserted.and_then(|()| self.out.seek(SeekFrom::End(0)));
            self.position = self.checked(inserted)?;
        }
        behind.into_iter().try_for_each(|packet| self.write(packet))
    }
}

/// Inserts packets into a file that ends at `end`.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
fn insert(file: &File, packets: &[(u64, Framing, &[u8])], mut end: u64) -> io::Result<()> {
    let len = |framing: &Framing, data: &[u8]| (framing.head_len + data.len() + framing.tail_len) as u64;
    let mut shift: u64 = packets.iter().map(|(_, framing, data)| len(framing, data)).sum();
    for (position, framing, data) in packets.iter().rev() {
        move_up(file, *position, end, shift)?;
        end = *position;
        shift -= len(framing, data);
        let record = [framing.head(), data, framing.tail()].concat();
        file.write_all_at(&record, end + shift)?;
    }
    Ok(())
}

impl<W: Write> SavefileWriter<W> {
    /// Creates a writer to `out`, which should be buffered; `path` is its name in error messages, and decides which format it has.
    pub fn new(path: &Path, out: W) -> Self {
        let format = if is_pcapng(path) { Format::Pcapng(Section::default()) } else { Format::Pcap(None) };
        Self { path: path.to_owned(), out, format, position: 0 }
    }

    /// Sets the table of the interfaces of the packets.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn set_interfaces(&mut self, table: InterfaceTable) {
        if let Format::Pcapng(section) = &mut self.format {
            section.table = table;
        }
    }

    /// Writes the file header, so that the file is a valid capture even without packets. Later calls have no effect.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written.
    pub fn begin(&mut self, link: LinkType, precision: Precision) -> Result<(), Error> {
        let header = match &mut self.format {
            Format::Pcapng(_) => return self.begin_section(),
            Format::Pcap(Some(_)) => return Ok(()),
            Format::Pcap(header) => header,
        };
        *header = Some(FileHeader { link, precision });
        let magic = match precision {
            Precision::Micros => MAGIC_MICROS,
            Precision::Nanos => MAGIC_NANOS,
        };
        let mut header = [0; PCAP_HEADER_LEN];
        // The two zero words are the time zone and the timestamp accuracy, which are unused.
        fill(
            &mut header,
            &[
                &magic.to_le_bytes(),
                &VERSION_MAJOR.to_le_bytes(),
                &VERSION_MINOR.to_le_bytes(),
                &[0; 8],
                &DEFAULT_SNAPLEN.to_le_bytes(),
                &u32::from(link.0).to_le_bytes(),
            ],
        );
        self.write_all(&[&header])
    }

    /// Writes the header of a pcapng file.
    fn begin_section(&mut self) -> Result<(), Error> {
        let Format::Pcapng(section) = &mut self.format else { return Ok(()) };
        if std::mem::replace(&mut section.has_begun, true) {
            return Ok(());
        }
        self.write_all(&[&pcapng::section_header()])
    }

    /// Writes what a file has before packets of an interface.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written.
    pub(crate) fn describe(&mut self, interface: u16, link: LinkType, precision: Precision) -> Result<(), Error> {
        self.begin(link, precision)?;
        let Format::Pcapng(section) = &mut self.format else { return Ok(()) };
        let key = Key::new(interface, link, precision);
        if section.find(key).is_none() {
            let block = section.describe(key, self.position);
            self.write_all(&[&block])?;
        }
        Ok(())
    }

    /// Returns the position in the file at which a packet that comes now would be written; it can be [inserted](Self::insert) there
    /// later.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if what has to be before it cannot be written.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn place(&mut self, packet: &Packet<'_>) -> Result<u64, Error> {
        if let Format::Pcap(None) = self.format {
            // What the header has, is decided by the first packet that is written.
            return Ok(PCAP_HEADER_LEN as u64);
        }
        self.describe(packet.interface, packet.link, packet.ts.precision())?;
        Ok(self.position)
    }

    /// Returns the number of bytes written.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the path of the file.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file accepts packets of a link type: a pcapng file any, a pcap file any before the first packet, then only
    /// that of the first.
    pub fn takes(&self, link: LinkType) -> bool {
        match &self.format {
            Format::Pcap(header) => header.is_none_or(|header| header.link == link),
            Format::Pcapng(_) => true,
        }
    }

    /// Writes a packet.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written, or if its link type is not the file's. In the latter case, the file is still
    /// valid and accepts other packets.
    pub fn write(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        if let Some(framing) = self.framing(packet, self.position) {
            return self.write_all(&[framing.head(), packet.data, framing.tail()]);
        }
        if let Format::Pcap(Some(FileHeader { link, .. })) = self.format {
            return self.checked(Err(io::Error::other(format!(
                "a packet of link type {} ({}) cannot be added: the file's packets are of link type {} ({}), and a pcap \
                 file holds one; a file whose name ends in .pcapng holds any",
                packet.link.0,
                link_type_name(packet.link),
                link.0,
                link_type_name(link),
            ))));
        }
        self.describe(packet.interface, packet.link, packet.ts.precision())?;
        match self.framing(packet, self.position) {
            Some(framing) => self.write_all(&[framing.head(), packet.data, framing.tail()]),
            None => Ok(()),
        }
    }

    /// Returns what is before and behind the bytes of a packet at a position; `None` if the file cannot have it there.
    fn framing(&self, packet: &Packet<'_>, position: u64) -> Option<Framing> {
        match &self.format {
            Format::Pcap(header) => {
                let FileHeader { precision, .. } = (*header).filter(|header| header.link == packet.link)?;
                Some(record_framing(packet, precision))
            }
            Format::Pcapng(section) => {
                let described = section.find(Key::of(packet)).filter(|described| described.end <= position)?;
                Some(pcapng::framing(packet, described))
            }
        }
    }

    fn write_all(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        self.position += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let written = parts.iter().try_for_each(|part| self.out.write_all(part));
        self.checked(written)
    }

    /// Flushes the buffer to the operating system, so that others can read the file.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.out.flush();
        self.checked(flushed)
    }

    /// Completes the file. Without packets, it becomes a capture with an empty list of packets, which other programs open without
    /// complaint, rather than an empty file.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written.
    pub fn finish(mut self) -> Result<W, Error> {
        let has_packets = match &self.format {
            Format::Pcap(header) => header.is_some(),
            Format::Pcapng(section) => !section.is_empty(),
        };
        if !has_packets {
            self.describe(0, LinkType::ETHERNET, Precision::Micros)?;
        }
        self.flush()?;
        Ok(self.out)
    }

    fn checked<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|reason| Error::Save { path: self.path.clone(), reason })
    }
}

/// Returns the header of a packet in a pcap file of this precision.
fn record_framing(packet: &Packet<'_>, precision: Precision) -> Framing {
    let nanos = packet.ts.as_nanos();
    // The format has unsigned 32-bit seconds: from 1970 to 2106.
    let seconds = nanos.div_euclid(NANOS_PER_SECOND).clamp(0, u32::MAX.into()) as u32;
    let fraction = nanos.rem_euclid(NANOS_PER_SECOND) as u32;
    let fraction = match precision {
        Precision::Micros => fraction / 1_000,
        Precision::Nanos => fraction,
    };
    let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
    let mut framing = Framing { head_len: 16, ..Framing::default() };
    fill(
        &mut framing.head,
        &[
            &seconds.to_le_bytes(),
            &fraction.to_le_bytes(),
            &captured.to_le_bytes(),
            &packet.orig_len.max(captured).to_le_bytes(),
        ],
    );
    framing
}

/// Moves the bytes of a file from `start` to `end` up by `shift`.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
fn move_up(file: &File, start: u64, mut end: u64, shift: u64) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let mut buffer = vec![0; CHUNK.min(end.saturating_sub(start)) as usize];
    // From the end, because the destination may overlap with what is still to be moved.
    while end > start {
        let from = end.saturating_sub(CHUNK).max(start);
        let Some(chunk) = buffer.get_mut(..(end - from) as usize) else { break };
        file.read_exact_at(chunk, from)?;
        file.write_all_at(chunk, from + shift)?;
        end = from;
    }
    Ok(())
}

/// Concatenates parts.
fn fill(header: &mut [u8], parts: &[&[u8]]) {
    for (to, from) in header.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
}
