//! Capture files: pcap and pcapng, optionally compressed with gzip or zstd, from the file system or from a pipe.
//!
//! Format and compression are detected by content, never by file name. A packet is returned as soon as it has arrived completely,
//! borrowed from the read buffer. Of a truncated or damaged file, every packet before the damage is returned, then an error that
//! describes what was expected and what was found.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::input::Raw;
use self::reader::{Advance, CaptureReader, FoundPacket};
use super::{Error, Event, InterfaceTable, Source};
use crate::packet::Block;
use crate::time::Timestamp;

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

/// One or more capture files, read one after the other as one sequence of packets, or [merged](Self::merged).
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
    waiting: VecDeque<WaitingFile>,
    /// Those that are being read: several if they have packets of the same time.
    open: Vec<OpenFile>,
    /// The index of the one that has the last packet.
    current: usize,
    /// Whether the times of the first packets are still to be found, for files that are merged.
    has_to_peek: bool,
    stop: Arc<AtomicBool>,
    bytes_read: Arc<AtomicU64>,
    interfaces: InterfaceTable,
}

/// A file that is not open yet.
struct WaitingFile {
    path: PathBuf,
    /// When its first packet was captured, if that is known.
    first: Option<Timestamp>,
}

/// A file that is being read.
struct OpenFile {
    reader: CaptureReader,
    /// The next packet, if it was found already.
    next: Option<FoundPacket>,
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
        Self {
            waiting: paths.into_iter().map(|path| WaitingFile { path, first: None }).collect(),
            open: Vec::new(),
            current: 0,
            has_to_peek: false,
            stop,
            bytes_read: Arc::default(),
            interfaces: InterfaceTable::default(),
        }
    }

    /// Creates a source of the packets in `paths` that merges files by time: one whose first packet was captured before the next packet
    /// of those that are read is read together with them. So are captures of several interfaces at the same time. If one of the files is
    /// a pipe, they are read one after the other.
    pub fn merged(paths: Vec<PathBuf>, stop: Arc<AtomicBool>) -> Self {
        Self { has_to_peek: true, ..Self::new(paths, stop) }
    }

    /// Creates a source of the packets in `input`, with a name for messages.
    ///
    /// `input` should not block, but return [`std::io::ErrorKind::WouldBlock`] if it has no bytes yet, which becomes
    /// [`Event::Idle`]. At its end it must return 0 on every call.
    pub fn from_reader(name: impl Into<PathBuf>, input: impl Read + Send + 'static, stop: Arc<AtomicBool>) -> Self {
        let mut source = Self::new(Vec::new(), stop);
        let reader = CaptureReader::new(name.into(), Box::new(input), source.interfaces.clone());
        source.open.push(OpenFile { reader, next: None });
        source
    }

    /// Returns the name of the file that is being read.
    pub fn current(&self) -> Option<&Path> {
        self.open.get(self.current).map(|file| file.reader.name())
    }

    /// Returns the number of bytes read of the files so far, as they are on disk: compressed ones count as they are. It changes as
    /// the source is read.
    #[doc(hidden)]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// Finds out when the first packets were captured, if there are several files.
    fn peek(&mut self) {
        self.has_to_peek = false;
        let is_file = |file: &WaitingFile| fs::metadata(&file.path).is_ok_and(|metadata| metadata.is_file());
        if self.waiting.len() < 2 || !self.waiting.iter().all(is_file) {
            return;
        }
        for file in &mut self.waiting {
            // What is wrong with it is reported when it is its turn.
            let Ok(raw) = open::path(&file.path) else { continue };
            let mut reader = CaptureReader::new(file.path.clone(), raw, InterfaceTable::default());
            file.first = loop {
                match reader.advance() {
                    Ok(Advance::Packet(found)) => break Some(found.ts()),
                    Ok(Advance::KeyLog(_)) => {}
                    Ok(Advance::Idle | Advance::End) | Err(_) => break None,
                }
            };
        }
    }

    /// Opens a file.
    fn open(&mut self, WaitingFile { path, .. }: WaitingFile) -> Result<(), Error> {
        let (name, opened) = if path.as_os_str() == "-" {
            (STANDARD_INPUT.into(), open::stdin())
        } else {
            let opened = open::path(&path);
            (path, opened)
        };
        match opened {
            Ok(raw) => {
                let counted = Counted { raw, bytes_read: Arc::clone(&self.bytes_read) };
                let reader = CaptureReader::new(name, Box::new(counted), self.interfaces.clone());
                self.open.push(OpenFile { reader, next: None });
                Ok(())
            }
            Err(reason) => Err(Error::Open { path: name, reason }),
        }
    }

    /// Opens the file whose turn it is before a packet of this time, or the next one if none is open. Returns `false` if there is none.
    fn open_next(&mut self, before: Option<Timestamp>) -> Result<bool, Error> {
        let index = match before {
            Some(ts) => self.waiting.iter().position(|file| file.first.is_some_and(|first| first <= ts)),
            None => Some(0),
        };
        let Some(file) = index.and_then(|index| self.waiting.remove(index)) else { return Ok(false) };
        self.open(file)?;
        Ok(true)
    }

    /// Finds the file with the next packet, or another event.
    fn find_next(&mut self) -> Result<Found, Error> {
        if self.has_to_peek {
            self.peek();
        }
        loop {
            let mut index = 0;
            while let Some(file) = self.open.get_mut(index) {
                if file.next.is_none() {
                    match file.reader.advance()? {
                        Advance::Packet(found) => file.next = Some(found),
                        Advance::KeyLog(place) => return Ok(Found::KeyLog(index, place)),
                        Advance::Idle => return Ok(Found::Idle),
                        Advance::End => {
                            self.open.remove(index);
                            continue;
                        }
                    }
                }
                index += 1;
            }
            let times =
                self.open.iter().enumerate().filter_map(|(index, file)| Some((file.next.as_ref()?.ts(), index)));
            let earliest = times.min();
            if !self.open_next(earliest.map(|(ts, _)| ts))? {
                return Ok(earliest.map_or(Found::End, |(_, index)| Found::Packet(index)));
            }
        }
    }
}

/// What comes next, and in which of the open files.
enum Found {
    Packet(usize),
    KeyLog(usize, Range<usize>),
    Idle,
    End,
}

impl Source for FileSource {
    #[inline]
    fn next_event(&mut self) -> Result<Event<'_>, Error> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Event::End);
        }
        let (index, place) = match self.find_next()? {
            Found::Packet(index) => (index, None),
            Found::KeyLog(index, place) => (index, Some(place)),
            Found::Idle => return Ok(Event::Idle),
            Found::End => return Ok(Event::End),
        };
        self.current = index;
        let Some(OpenFile { reader, next }) = self.open.get_mut(index) else { return Ok(Event::End) };
        if let Some(place) = place {
            return Ok(Event::KeyLog(reader.bytes(place)));
        }
        Ok(next.take().map_or(Event::End, |found| Event::Packet(reader.packet(found))))
    }

    fn interfaces(&self) -> InterfaceTable {
        self.interfaces.clone()
    }

    fn give(&mut self, block: &mut Block, full: usize) -> bool {
        let is_stopped = self.stop.load(Ordering::Relaxed);
        let before = self.waiting.iter().filter_map(|file| file.first).min();
        match &mut *self.open {
            [OpenFile { reader, next: None }] if !is_stopped => reader.give(block, full, before),
            _ => true,
        }
    }
}
