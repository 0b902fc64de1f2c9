//! Opening of files, and of pipes that may have no data yet.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::input::Raw;

/// How long a read of a pipe waits before it reports that there is no data.
const MAX_WAIT_MS: u8 = 50;

/// Opens a path.
pub(super) fn path(path: &Path) -> io::Result<Raw> {
    // Without O_NONBLOCK, opening a FIFO waits until its other end is opened.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    with_bounded_wait(file)
}

/// Opens standard input. [`std::io::Stdin`] would copy everything through its own buffer, whose content `poll` does not see.
pub(super) fn stdin() -> io::Result<Raw> {
    with_bounded_wait(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Limits how long a read may wait, whatever kind of file this is.
pub(super) fn with_bounded_wait(file: File) -> io::Result<Raw> {
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    Ok(if kind.is_file() { Box::new(file) } else { Box::new(BoundedWait { file, waits: false }) })
}

/// A pipe, FIFO, socket or terminal. A read waits for [`MAX_WAIT_MS`] at most. The first read without data does not wait at all,
/// because the caller may have work to finish first.
#[derive(Debug)]
struct BoundedWait {
    file: File,
    waits: bool,
}

impl Read for BoundedWait {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let timeout = if self.waits { MAX_WAIT_MS.into() } else { PollTimeout::ZERO };
        let ready = match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => ready > 0,
            // Interrupted by a signal, which the caller must be able to handle.
            Err(Errno::EINTR) => false,
            Err(errno) => return Err(errno.into()),
        };
        self.waits = !ready;
        if ready { self.file.read(into) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}
