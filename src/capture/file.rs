//! Capture files: pcap and pcapng, optionally compressed with gzip or zstd, from the file system or from a pipe.
//!
//! Format and compression are detected by content, never by file name. A packet is returned as soon as it has arrived completely,
//! borrowed from the read buffer. Of a truncated or damaged file, every packet before the damage is returned, then an error that
//! describes what was expected and what was found.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::vec;

use self::input::Raw;
use self::reader::{Advance, CaptureReader};
use super::{Error, Event, InterfaceTable, Source};
use crate::packet::Block;

mod buffer;
mod format;
mod input;
#[cfg_attr(not(feature = "live"), path = "file/open_blocking.rs")]
mod open;
mod pcap;
mod pcapng;
mod reader;
#[cfg(test)]
mod tests;
mod unpack;

/// The name of standard input in messages.
const STANDARD_INPUT: &str = "standard input";

/// One or more capture files, read one after the other as one sequence of packets.
///
/// ```no_run
/// use std::sync::{Arc, atomic::AtomicBool};
///
/// use pgdissect::{Event, FileSource, Source};
///
/// let mut source = FileSource::new(vec!["a.pcap".into(), "b.pcapng.gz".into()], Arc::new(AtomicBool::new(false)));
/// loop {
///     match source.next_event() {
///         Ok(Event::Packet(packet)) => println!("{} {} bytes", packet.ts, packet.data.len()),
///         Ok(Event::KeyLog(_) | Event::Idle) => {}
///         Ok(Event::End) => break,
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// ```
pub struct FileSource {
    waiting: vec::IntoIter<PathBuf>,
    current: Option<CaptureReader>,
    stop: Arc<AtomicBool>,
    bytes_read: Arc<AtomicU64>,
    interfaces: InterfaceTable,
}

/// A file whose bytes are counted as they are read.
struct Counted {
    raw: Raw,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl FileSource {
    /// Creates a source of the packets in `paths`. Each file is opened when its turn comes; `-` is standard input. The source
    /// ends early once `stop` is set.
    pub fn new(paths: Vec<PathBuf>, stop: Arc<AtomicBool>) -> Self {
        let waiting = paths.into_iter();
        Self { waiting, current: None, stop, bytes_read: Arc::default(), interfaces: InterfaceTable::default() }
    }

    /// Creates a source of the packets in `input`, with a name for messages.
    ///
    /// `input` should not block, but return [`std::io::ErrorKind::WouldBlock`] if it has no bytes yet, which becomes
    /// [`Event::Idle`]. At its end it must return 0 on every call.
    pub fn from_reader(name: impl Into<PathBuf>, input: impl Read + Send + 'static, stop: Arc<AtomicBool>) -> Self {
        let mut source = Self::new(Vec::new(), stop);
        source.current = Some(CaptureReader::new(name.into(), Box::new(input), source.interfaces.clone()));
        source
    }

    /// Returns the name of the file that is being read.
    pub fn current(&self) -> Option<&Path> {
        self.current.as_ref().map(CaptureReader::name)
    }

    /// Returns the number of bytes read of the files so far, as they are on disk: compressed ones count as they are. It changes as
    /// the source is read.
    #[doc(hidden)]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// Opens the next file. Returns `false` if there is none.
    fn open_next(&mut self) -> Result<bool, Error> {
        let Some(path) = self.waiting.next() else { return Ok(false) };
        let (name, opened) = if path.as_os_str() == "-" {
            (STANDARD_INPUT.into(), open::stdin())
        } else {
            let opened = open::path(&path);
            (path, opened)
        };
        match opened {
            Ok(raw) => {
                let counted = Counted { raw, bytes_read: Arc::clone(&self.bytes_read) };
                self.current = Some(CaptureReader::new(name, Box::new(counted), self.interfaces.clone()));
            }
            Err(reason) => return Err(Error::Open { path: name, reason }),
        }
        Ok(true)
    }
}

impl Source for FileSource {
    #[inline]
    fn next_event(&mut self) -> Result<Event<'_>, Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Event::End);
        }
        let found = loop {
            let Some(reader) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                return Ok(Event::End);
            };
            match reader.advance()? {
                Advance::Packet(found) => break Ok(found),
                Advance::KeyLog(place) => break Err(place),
                Advance::Idle => return Ok(Event::Idle),
                Advance::End => self.current = None,
            }
        };
        Ok(self.current.as_ref().map_or(Event::End, |reader| match found {
            Ok(packet) => Event::Packet(reader.packet(packet)),
            Err(key_log) => Event::KeyLog(reader.bytes(key_log)),
        }))
    }

    fn interfaces(&self) -> InterfaceTable {
        self.interfaces.clone()
    }

    fn give(&mut self, block: &mut Block, full: usize) -> bool {
        let is_stopped = self.stop.load(Ordering::Relaxed);
        self.current.as_mut().is_none_or(|reader| is_stopped || reader.give(block, full))
    }
}
