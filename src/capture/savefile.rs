//! Writing raw packets to a file, for Wireshark, tcpdump or another run.
//!
//! The file is a classic pcap. It is not written by libpcap, because its writer does not report that the disk is full.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::filter::link_type_name;
use super::live::DEFAULT_SNAPLEN;
use crate::packet::{LinkType, Packet};
use crate::time::Precision;

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Writes packets to a pcap file.
///
/// A pcap file has one link type and one timestamp precision. Both are those of the first packet, unless they were set before
/// ([`SavefileWriter::begin`]).
#[derive(Debug)]
pub struct SavefileWriter<W: Write = BufWriter<File>> {
    path: PathBuf,
    out: W,
    header: Option<FileHeader>,
    /// The number of bytes written.
    position: u64,
}

#[derive(Clone, Copy, Debug)]
struct FileHeader {
    link: LinkType,
    precision: Precision,
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

    /// Inserts packets at earlier [positions](Self::position), sorted by them. The file has to be open for reading as well. If it
    /// is a pipe or a device, the packets are appended.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if they cannot be written.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn insert(&mut self, packets: &[(u64, Packet<'_>)]) -> Result<(), Error> {
        self.flush()?;
        let is_file = self.out.get_ref().metadata().is_ok_and(|file| file.is_file());
        let behind = packets.partition_point(|(position, _)| is_file && *position < self.position);
        let (within, behind) = packets.split_at(behind);
        if let Some(FileHeader { precision, .. }) = self.header
            && !within.is_empty()
        {
            let inserted = insert(self.out.get_ref(), within, precision, self.position);
            let inserted = inserted.and_then(|()| self.out.seek(SeekFrom::End(0)));
            self.position = self.checked(inserted)?;
        }
        behind.iter().try_for_each(|(_, packet)| self.write(packet))
    }
}

/// Inserts packets into a file that ends at `end`.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
fn insert(file: &File, packets: &[(u64, Packet<'_>)], precision: Precision, mut end: u64) -> io::Result<()> {
    let len = |packet: &Packet<'_>| 16 + packet.data.len() as u64;
    let mut shift: u64 = packets.iter().map(|(_, packet)| len(packet)).sum();
    for (position, packet) in packets.iter().rev() {
        move_up(file, *position, end, shift)?;
        end = *position;
        shift -= len(packet);
        let record = [&record_header(packet, precision), packet.data].concat();
        file.write_all_at(&record, end + shift)?;
    }
    Ok(())
}

impl<W: Write> SavefileWriter<W> {
    /// Creates a writer to `out`, which should be buffered; `path` is its name in error messages.
    pub fn new(path: &Path, out: W) -> Self {
        Self { path: path.to_owned(), out, header: None, position: 0 }
    }

    /// Writes the file header, so that the file is a valid capture even without packets. Later calls have no effect.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written.
    pub fn begin(&mut self, link: LinkType, precision: Precision) -> Result<(), Error> {
        if self.header.is_some() {
            return Ok(());
        }
        self.header = Some(FileHeader { link, precision });
        let magic = match precision {
            Precision::Micros => MAGIC_MICROS,
            Precision::Nanos => MAGIC_NANOS,
        };
        let mut header = [0; 24];
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
        self.position += header.len() as u64;
        let written = self.out.write_all(&header);
        self.checked(written)
    }

    /// Returns the position in the file at which the next packet will be written.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the path of the file.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file accepts packets of a link type: any before the first packet, then only that of the first.
    pub fn takes(&self, link: LinkType) -> bool {
        self.header.is_none_or(|header| header.link == link)
    }

    /// Writes a packet.
    ///
    /// # Errors
    ///
    /// [`Error::Save`] if it cannot be written, or if its link type is not the file's. In the latter case, the file is still
    /// valid and accepts other packets.
    pub fn write(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        let Some(FileHeader { link, precision }) = self.header else {
            self.begin(packet.link, packet.ts.precision())?;
            return self.write(packet);
        };
        if packet.link != link {
            return self.checked(Err(io::Error::other(format!(
                "a packet of link type {} ({}) cannot be added: the file's packets are of link type {} ({}), and a pcap \
                 file holds one",
                packet.link.0,
                link_type_name(packet.link),
                link.0,
                link_type_name(link),
            ))));
        }
        let header = record_header(packet, precision);
        self.position += (header.len() + packet.data.len()) as u64;
        let written = self.out.write_all(&header).and_then(|()| self.out.write_all(packet.data));
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
        self.begin(LinkType::ETHERNET, Precision::Micros)?;
        self.flush()?;
        Ok(self.out)
    }

    fn checked<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|reason| Error::Save { path: self.path.clone(), reason })
    }
}

/// Returns the header of a packet in a file of this precision.
fn record_header(packet: &Packet<'_>, precision: Precision) -> [u8; 16] {
    let nanos = packet.ts.as_nanos();
    // The format has unsigned 32-bit seconds: from 1970 to 2106.
    let seconds = nanos.div_euclid(NANOS_PER_SECOND).clamp(0, u32::MAX.into()) as u32;
    let fraction = nanos.rem_euclid(NANOS_PER_SECOND) as u32;
    let fraction = match precision {
        Precision::Micros => fraction / 1_000,
        Precision::Nanos => fraction,
    };
    let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
    let mut header = [0; 16];
    fill(
        &mut header,
        &[
            &seconds.to_le_bytes(),
            &fraction.to_le_bytes(),
            &captured.to_le_bytes(),
            &packet.orig_len.max(captured).to_le_bytes(),
        ],
    );
    header
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn packet(link: LinkType, ts: Timestamp, data: &[u8]) -> Packet<'_> {
        Packet { ts, link, data, orig_len: 1_500 }
    }

    fn writer() -> SavefileWriter<Vec<u8>> {
        SavefileWriter::new(Path::new("test.pcap"), Vec::new())
    }

    /// Seconds, fraction of a second, length on the wire, bytes.
    type ReadBack = (i64, i64, u32, Vec<u8>);

    /// Reads a file with libpcap and returns its link type and packets.
    fn read(file: &[u8], precision: pcap::Precision) -> (i32, Vec<ReadBack>) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pgdissect-savefile-{}-{number}.pcap", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let mut capture = pcap::Capture::from_file_with_precision(&path, precision).unwrap();
        let link = capture.get_datalink().0;
        let mut packets = Vec::new();
        while let Ok(packet) = capture.next_packet() {
            let header = packet.header;
            packets.push((header.ts.tv_sec, header.ts.tv_usec, header.len, packet.data.to_vec()));
        }
        std::fs::remove_file(path).unwrap();
        (link, packets)
    }

    #[test]
    fn packets_are_read_back_as_they_were() {
        let first = Timestamp::new(1_795_383_032, 123_456_000, Precision::Micros);
        let second = Timestamp::new(i32::MAX.into(), 999_999_000, Precision::Micros);
        let mut writer = writer();
        writer.write(&packet(LinkType::ETHERNET, first, b"one")).unwrap();
        writer.write(&packet(LinkType::ETHERNET, second, b"")).unwrap();
        let (link, packets) = read(&writer.finish().unwrap(), pcap::Precision::Micro);
        assert_eq!(link, 1);
        let wanted = [(1_795_383_032, 123_456, 1_500, b"one".to_vec()), (i32::MAX.into(), 999_999, 1_500, Vec::new())];
        assert_eq!(packets, wanted);
    }

    #[test]
    fn nanoseconds_are_kept() {
        let at = Timestamp::new(1_795_383_032, 123_456_789, Precision::Nanos);
        let mut writer = writer();
        writer.write(&packet(LinkType::RAW, at, b"one")).unwrap();
        let (link, packets) = read(&writer.finish().unwrap(), pcap::Precision::Nano);
        assert_eq!(link, 12, "LINKTYPE_RAW becomes DLT_RAW");
        assert_eq!(packets, [(1_795_383_032, 123_456_789, 1_500, b"one".to_vec())]);
    }

    #[test]
    fn a_time_that_the_format_cannot_hold_becomes_the_nearest() {
        let early = Timestamp::new(-5, 0, Precision::Micros);
        let mut writer = writer();
        writer.write(&packet(LinkType::ETHERNET, early, b"one")).unwrap();
        assert_eq!(read(&writer.finish().unwrap(), pcap::Precision::Micro).1[0].0, 0);
    }

    #[test]
    fn a_file_without_packets_is_a_capture() {
        assert_eq!(read(&writer().finish().unwrap(), pcap::Precision::Micro), (1, Vec::new()));
        let mut writer = writer();
        writer.begin(LinkType::LINUX_SLL2, Precision::Micros).unwrap();
        assert_eq!(read(&writer.finish().unwrap(), pcap::Precision::Micro), (276, Vec::new()));
    }

    #[test]
    fn a_second_link_type_is_refused_and_does_no_harm() {
        let at = Timestamp::new(1, 0, Precision::Micros);
        let mut writer = writer();
        writer.write(&packet(LinkType::ETHERNET, at, b"one")).unwrap();
        assert!(writer.takes(LinkType::ETHERNET) && !writer.takes(LinkType::LINUX_SLL));
        let error = writer.write(&packet(LinkType::LINUX_SLL, at, b"two")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "test.pcap: cannot be written: a packet of link type 113 (LINUX_SLL) cannot be added: the file's packets are \
             of link type 1 (EN10MB), and a pcap file holds one"
        );
        writer.write(&packet(LinkType::ETHERNET, at, b"three")).unwrap();
        assert_eq!(read(&writer.finish().unwrap(), pcap::Precision::Micro).1.len(), 2);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut writer = SavefileWriter::create(Path::new("/dev/full")).unwrap();
        writer.write(&packet(LinkType::ETHERNET, Timestamp::default(), b"one")).unwrap();
        assert!(matches!(writer.flush(), Err(Error::Save { .. })));
    }
}
