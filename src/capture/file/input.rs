//! Bytes in: files, pipes that may keep us waiting, and the two kinds of compression.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::unpack::{Gzip, Unpacked, Zstd};

/// How long a pipe may keep us waiting before we say that there is nothing.
const PATIENCE_MS: u8 = 50;

/// Any source of bytes. [`io::ErrorKind::WouldBlock`] means that there are none now.
pub(super) type Raw = Box<dyn Read + Send>;

/// Opens what a path names.
pub(super) fn open(path: &Path) -> io::Result<Raw> {
    // Without O_NONBLOCK, to open a FIFO is to wait for somebody to open its other end.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    patient(file)
}

/// Opens standard input. [`std::io::Stdin`] itself would copy everything through a buffer of its own, and `poll` does
/// not see what waits in there.
pub(super) fn open_stdin() -> io::Result<Raw> {
    patient(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Makes sure that a read does not wait for long, whatever has been opened.
pub(super) fn patient(file: File) -> io::Result<Raw> {
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    Ok(if kind.is_file() { Box::new(file) } else { Box::new(Patient { file, waits: false }) })
}

/// A pipe, FIFO, socket or terminal. A read waits for at most [`PATIENCE_MS`], and not at all the first time that there is
/// nothing, for then our owner may have something to finish before it waits.
#[derive(Debug)]
struct Patient {
    file: File,
    waits: bool,
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let timeout = if self.waits { PATIENCE_MS.into() } else { PollTimeout::ZERO };
        let ready = match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => ready > 0,
            // A signal: our owner wants to know.
            Err(Errno::EINTR) => false,
            Err(errno) => return Err(errno.into()),
        };
        self.waits = !ready;
        if ready { self.file.read(into) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

/// A compression, recognised by how its stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) const fn from_magic(magic: [u8; 4]) -> Option<Self> {
        match magic {
            // The third byte is the method, and deflate is the only one there is.
            [0x1f, 0x8b, 8, _] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            // A skippable frame; pzstd begins its files with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// A capture's bytes, decompressed where need be.
pub(super) enum Input {
    Plain(Raw),
    Gzip(Unpacked<Gzip>),
    Zstd(Unpacked<Zstd>),
}

impl Input {
    pub(super) fn new(raw: Raw) -> Self {
        Self::Plain(raw)
    }

    /// The compression that is being undone.
    pub(super) const fn compression(&self) -> Option<Compression> {
        match self {
            Self::Plain(_) => None,
            Self::Gzip(_) => Some(Compression::Gzip),
            Self::Zstd(_) => Some(Compression::Zstd),
        }
    }

    /// From here on decompresses, beginning with `head`, which was read as if it were plain.
    pub(super) fn decompress(&mut self, compression: Compression, head: Vec<u8>) -> io::Result<()> {
        let Self::Plain(raw) = std::mem::replace(self, Self::Plain(Box::new(io::empty()))) else {
            return Err(io::Error::other("compressed twice"));
        };
        *self = match compression {
            Compression::Gzip => Self::Gzip(Unpacked::new(Gzip::new(), head, raw)),
            Compression::Zstd => Self::Zstd(Unpacked::new(Zstd::new()?, head, raw)),
        };
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(into),
            Self::Gzip(unpacked) => unpacked.read(into),
            Self::Zstd(unpacked) => unpacked.read(into),
        }
    }
}
