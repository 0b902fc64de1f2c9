//! Bytes in: files, pipes that may keep us waiting, and the two kinds of compression.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a pipe may keep us waiting before we say that there is nothing.
const PATIENCE_MS: u8 = 50;

/// How much compressed input a decoder is given at a time.
///
/// A decoder that meets damage throws away what it made of the same piece of input before the damage, so the piece is
/// small. It also keeps output back when the room for it is used up, and a small piece seldom yields that much.
const COMPRESSED_PIECE: usize = 16 * 1024;

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

/// What a decoder reads from: what we had read before we knew that it was compressed, and then the rest.
type Packed = BufReader<Chain<Cursor<Vec<u8>>, Raw>>;

/// A capture's bytes, decompressed where need be.
pub(super) struct Input {
    decoder: Decoder,
    /// Whether all output for the input so far has been read.
    drained: bool,
}

enum Decoder {
    None(Raw),
    Gzip(MultiGzDecoder<Packed>),
    Zstd(zstd::Decoder<'static, Packed>),
}

impl Input {
    pub(super) fn new(raw: Raw) -> Self {
        Self { decoder: Decoder::None(raw), drained: true }
    }

    /// The compression that is being undone.
    pub(super) const fn compression(&self) -> Option<Compression> {
        match self.decoder {
            Decoder::None(_) => None,
            Decoder::Gzip(_) => Some(Compression::Gzip),
            Decoder::Zstd(_) => Some(Compression::Zstd),
        }
    }

    /// From here on decompresses, beginning with `head`, which was read as if it were plain.
    pub(super) fn decompress(&mut self, compression: Compression, head: Vec<u8>) -> io::Result<()> {
        let Decoder::None(raw) = std::mem::replace(&mut self.decoder, Decoder::None(Box::new(io::empty()))) else {
            return Err(io::Error::other("compressed twice"));
        };
        let packed = BufReader::with_capacity(COMPRESSED_PIECE, Cursor::new(head).chain(raw));
        self.decoder = match compression {
            Compression::Gzip => Decoder::Gzip(MultiGzDecoder::new(packed)),
            Compression::Zstd => Decoder::Zstd(zstd::Decoder::with_buffer(packed)?),
        };
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.decoder {
            Decoder::None(raw) => raw.read(into)?,
            Decoder::Gzip(decoder) => decoder.read(into)?,
            Decoder::Zstd(decoder) => {
                // Each read of the decoder asks zstd first whether it still holds output, and zstd takes sixteen such
                // questions without new input for a caller gone astray. So ask only when there is either.
                if self.drained {
                    decoder.get_mut().fill_buf()?;
                }
                decoder.read(into).inspect_err(|_| self.drained = true)?
            }
        };
        self.drained = read < into.len();
        Ok(read)
    }
}
