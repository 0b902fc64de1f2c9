//! Files, and pipes that may keep us waiting.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::input::Raw;

/// How long a pipe may keep us waiting before we say that there is nothing.
const PATIENCE_MS: u8 = 50;

/// Opens what a path names.
pub(super) fn path(path: &Path) -> io::Result<Raw> {
    // Without O_NONBLOCK, to open a FIFO is to wait for somebody to open its other end.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    patient(file)
}

/// Opens standard input. [`std::io::Stdin`] itself would copy everything through a buffer of its own, and `poll` does
/// not see what waits in there.
pub(super) fn stdin() -> io::Result<Raw> {
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
