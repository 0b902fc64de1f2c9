//! Files that are written one after the other: each has a name of its own once it is whole, and a new one begins by size, by time, or where
//! a signal asks for it.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::super::args::Args;
use super::super::writer::write_all_pieces;
use super::now;
use super::tables::Complete;
use crate::capture::privileges::Account;
use crate::capture::savefile::SavefileWriter;
use crate::capture::{Error, InterfaceTable};
use crate::packet::{LinkType, Packet};
use crate::time::{Precision, Timestamp};

/// How many files may have the same name, but for a number.
const MAX_OF_NAME: u32 = 10_000;

/// When a file is whole.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    size: Option<u64>,
    every: Option<Duration>,
}

impl Rotation {
    /// Returns what the options ask for: none, if there is one file for all.
    pub(super) fn new(args: &Args) -> Option<Self> {
        let (size, every) = (args.rotate_size.map(|size| size as u64), args.rotate_every);
        args.is_rotated().then_some(Self { size, every })
    }

    /// Returns when a file that begins at this time is whole: at the next multiple of the interval, in UTC.
    fn due(&self, begun: Timestamp) -> Option<Timestamp> {
        let every = i64::try_from(self.every?.as_nanos()).ok()?;
        let end = begun.as_nanos().div_euclid(every).checked_add(1)?.checked_mul(every)?;
        Some(Timestamp::from_nanos(end, Precision::Nanos))
    }

    /// Creates a file, named by the time at which it begins.
    fn begin(&self, template: &Path, at: Timestamp, owner: Option<&Account>) -> io::Result<Part> {
        let name = name_at(template, at)?;
        for name in free(&name) {
            let mut path = name.clone().into_os_string();
            path.push(".part");
            let path = PathBuf::from(path);
            let mut options = File::options();
            options.write(true).create_new(true);
            let created = match owner {
                // What is there is not truncated: somebody else writes it.
                Some(owner) if !path.exists() => owner.create(&path, File::options().write(true)),
                _ => options.open(&path),
            };
            match created {
                Ok(file) => return Ok(Part { file, path, name, due: self.due(at) }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{}: too many files of this name", name.display())))
    }
}

/// Returns the name of a file that begins at a time, in UTC.
fn name_at(template: &Path, at: Timestamp) -> io::Result<PathBuf> {
    let text = template.to_str().ok_or_else(|| io::Error::other("a name that is rotated has to be UTF-8"))?;
    let time = jiff::Timestamp::from_nanosecond(at.as_nanos().into()).map_err(io::Error::other)?;
    let name = jiff::fmt::strtime::format(text, &time.to_zoned(TimeZone::UTC));
    Ok(name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?.into())
}

/// Returns names that no file has: the name itself, and others with numbers.
fn free(name: &Path) -> impl Iterator<Item = PathBuf> {
    (0..MAX_OF_NAME).map(|number| numbered(name, number)).filter(|name| !name.exists())
}

/// Returns whether a file of this name is compressed.
pub(super) fn is_compressed(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == "zst")
}

/// Checks that a name can be one of files that are written one after the other.
pub(crate) fn check_name(template: &Path) -> io::Result<()> {
    name_at(template, Timestamp::default()).map(|_| ())
}

/// Returns a name with a number before its extensions, if it is not the first.
fn numbered(name: &Path, number: u32) -> PathBuf {
    let Some(file) = name.file_name().and_then(|file| file.to_str()).filter(|_| number > 0) else {
        return name.to_owned();
    };
    // A name may begin with a dot.
    let end = file.char_indices().skip(1).find(|(_, c)| *c == '.').map_or(file.len(), |(at, _)| at);
    let (stem, extensions) = file.split_at_checked(end).unwrap_or((file, ""));
    name.with_file_name(format!("{stem}-{number}{extensions}"))
}

/// A file that is written.
struct Part {
    file: File,
    /// Its name while it is written, and once it is whole.
    path: PathBuf,
    name: PathBuf,
    /// When it is whole, by the clock of what is written.
    due: Option<Timestamp>,
}

/// Where lines are written: to files that are rotated, or reopened where a signal asks for it.
pub(super) struct LineFiles {
    template: PathBuf,
    /// Rotated, or one file for all.
    rotation: Option<Rotation>,
    /// Whether a signal has asked for a new file.
    hang_up: Arc<AtomicBool>,
    owner: Option<Account>,
    open: Option<OpenLines>,
}

struct OpenLines {
    to: To,
    /// If they are rotated: the names of the file, and when it is whole.
    part: Option<(PathBuf, PathBuf, Option<Timestamp>)>,
    bytes: u64,
    ends_line: bool,
}

enum To {
    File(File),
    Zstd(zstd::Encoder<'static, File>),
}

impl OpenLines {
    fn new(file: File, name: &Path, part: Option<(PathBuf, PathBuf, Option<Timestamp>)>) -> io::Result<Self> {
        let to = if is_compressed(name) { To::Zstd(zstd::Encoder::new(file, 0)?) } else { To::File(file) };
        Ok(Self { to, part, bytes: 0, ends_line: true })
    }

    fn complete(self) -> io::Result<()> {
        match self.to {
            To::File(_) => {}
            To::Zstd(encoder) => drop(encoder.finish()?),
        }
        self.part.map_or(Ok(()), |(path, name, _)| fs::rename(path, name))
    }
}

impl LineFiles {
    /// Creates the first file. Returns where lines are written, and what completes the last one.
    pub(super) fn open(
        template: &Path,
        rotation: Option<Rotation>,
        hang_up: Arc<AtomicBool>,
        owner: Option<&Account>,
    ) -> io::Result<(Box<dyn Write + Send>, Complete)> {
        let mut files = Self { template: template.to_owned(), rotation, hang_up, owner: owner.cloned(), open: None };
        files.open = Some(files.begin(false)?);
        let files = Arc::new(Mutex::new(files));
        let last = Arc::clone(&files);
        let complete = move || {
            let open = last.lock().unwrap_or_else(PoisonError::into_inner).open.take();
            open.map_or(Ok(()), OpenLines::complete)
        };
        Ok((Box::new(Shared(files)), Box::new(complete)))
    }

    fn begin(&self, goes_on: bool) -> io::Result<OpenLines> {
        if let Some(rotation) = &self.rotation {
            let Part { file, path, name, due } = rotation.begin(&self.template, now(), self.owner.as_ref())?;
            return OpenLines::new(file, &name, Some((path, name.clone(), due)));
        }
        let mut options = File::options();
        options.write(true).truncate(!goes_on).append(goes_on);
        let path = &*self.template;
        let file = match &self.owner {
            Some(owner) => owner.create(path, &options),
            None => options.create(true).open(path),
        };
        OpenLines::new(file?, path, None)
    }

    /// Completes the file if it is whole, before a line.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let is_asked = self.hang_up.load(Ordering::Relaxed);
        let size = self.rotation.as_ref().and_then(|rotation| rotation.size);
        let is_large = size.is_some_and(|size| open.bytes >= size);
        let due = open.part.as_ref().and_then(|(.., due)| *due);
        let is_whole = is_large || due.is_some_and(|due| due <= now());
        if open.ends_line && (is_whole || is_asked) {
            self.hang_up.store(false, Ordering::Relaxed);
            let Some(open) = self.open.take() else { return Ok(()) };
            // The next one is created with its first line.
            return match &open.part {
                Some((path, ..)) if open.bytes == 0 => fs::remove_file(path),
                _ => open.complete(),
            };
        }
        Ok(())
    }

    /// Returns the file that is written.
    fn file(&mut self) -> io::Result<&mut OpenLines> {
        self.rotate()?;
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin(true)?,
        };
        Ok(self.open.insert(open))
    }
}

/// [`LineFiles`] that are completed by another.
struct Shared(Arc<Mutex<LineFiles>>);

impl Write for Shared {
    /// Writes all, or fails: a file may be whole between two calls, and a line is not cut.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = files.file()?;
        let bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        match &mut open.to {
            To::File(file) => write_all_pieces(file, &mut pieces.to_vec())?,
            To::Zstd(encoder) => pieces.iter().try_for_each(|piece| encoder.write_all(piece))?,
        }
        open.bytes += bytes as u64;
        if let Some(last) = pieces.iter().rev().find_map(|piece| piece.last()) {
            open.ends_line = *last == b'\n';
        }
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A file needs none; and compressed blocks that are not full would cost their compression.
        files.rotate()
    }
}

/// Where packets are written: to one file, or to files that are rotated by their own times.
pub(super) struct PacketFiles {
    out: SavefileWriter,
    rotated: Option<Rotated>,
}

struct Rotated {
    template: PathBuf,
    rotation: Rotation,
    /// Whether a signal has asked for a new file.
    hang_up: Arc<AtomicBool>,
    owner: Option<Account>,
    path: PathBuf,
    name: PathBuf,
    /// `None` before its first packet.
    due: Option<Option<Timestamp>>,
    interfaces: Option<InterfaceTable>,
    described: Vec<(u16, LinkType, Precision)>,
}

impl PacketFiles {
    /// Writes to one file.
    pub(super) const fn one(out: SavefileWriter) -> Self {
        Self { out, rotated: None }
    }

    /// Creates the first file.
    pub(super) fn rotated(
        template: &Path,
        rotation: Rotation,
        hang_up: Arc<AtomicBool>,
        owner: Option<&Account>,
    ) -> Result<Self, Error> {
        let (out, path, name) = begin(template, &rotation, now(), owner)?;
        let rotated = Rotated {
            template: template.to_owned(),
            rotation,
            hang_up,
            owner: owner.cloned(),
            path,
            name,
            due: None,
            interfaces: None,
            described: Vec::new(),
        };
        Ok(Self { out, rotated: Some(rotated) })
    }

    pub(super) fn set_interfaces(&mut self, table: InterfaceTable) {
        if let Some(rotated) = &mut self.rotated {
            rotated.interfaces = Some(table.clone());
        }
        self.out.set_interfaces(table);
    }

    pub(super) fn describe(&mut self, interface: u16, link: LinkType, precision: Precision) -> Result<(), Error> {
        if let Some(rotated) = &mut self.rotated {
            rotated.described.push((interface, link, precision));
        }
        self.out.describe(interface, link, precision)
    }

    pub(super) fn takes(&self, link: LinkType) -> bool {
        self.out.takes(link)
    }

    pub(super) fn write(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        if let Some(rotated) = &mut self.rotated {
            let is_first = rotated.due.is_none();
            // What is read may be of another time than the clock's, at which the file was created.
            if is_first
                && let Ok(name) = name_at(&rotated.template, packet.ts)
                && let Some(name) = free(&name).next()
            {
                rotated.name = name;
            }
            let due = *rotated.due.get_or_insert_with(|| rotated.rotation.due(packet.ts));
            let is_large = rotated.rotation.size.is_some_and(|size| self.out.position() >= size);
            let is_asked = rotated.hang_up.load(Ordering::Relaxed);
            if !is_first && (is_large || is_asked || due.is_some_and(|due| due <= packet.ts)) {
                rotated.hang_up.store(false, Ordering::Relaxed);
                self.rotate(packet.ts)?;
            }
        }
        self.out.write(packet)
    }

    fn rotate(&mut self, at: Timestamp) -> Result<(), Error> {
        let Some(rotated) = &mut self.rotated else { return Ok(()) };
        let (out, path, name) = begin(&rotated.template, &rotated.rotation, at, rotated.owner.as_ref())?;
        let whole = std::mem::replace(&mut self.out, out);
        let (path, name) = (std::mem::replace(&mut rotated.path, path), std::mem::replace(&mut rotated.name, name));
        rotated.due = Some(rotated.rotation.due(at));
        complete(whole, Some((path, name)))?;
        if let Some(table) = &rotated.interfaces {
            self.out.set_interfaces(table.clone());
        }
        rotated
            .described
            .iter()
            .try_for_each(|(interface, link, precision)| self.out.describe(*interface, *link, *precision))
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.out.flush()
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        complete(self.out, self.rotated.map(|rotated| (rotated.path, rotated.name)))
    }
}

fn begin(
    template: &Path,
    rotation: &Rotation,
    at: Timestamp,
    owner: Option<&Account>,
) -> Result<(SavefileWriter, PathBuf, PathBuf), Error> {
    let saved = |reason| Error::Save { path: template.to_owned(), reason };
    let Part { file, path, name, .. } = rotation.begin(template, at, owner).map_err(saved)?;
    // Its format is that of the name that it will have.
    Ok((SavefileWriter::over(&name, Ok(file))?, path, name))
}

fn complete(out: SavefileWriter, part: Option<(PathBuf, PathBuf)>) -> Result<(), Error> {
    out.finish()?;
    part.map_or(Ok(()), |(path, name)| fs::rename(path, &name).map_err(|reason| Error::Save { path: name, reason }))
}
