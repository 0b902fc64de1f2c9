//! Opening of files and pipes on systems without `poll`: reads of a pipe block.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::input::Raw;

/// Opens a path.
pub(super) fn path(path: &Path) -> io::Result<Raw> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(file))
}

/// Opens standard input. [`std::io::Stdin`] would copy everything through its own buffer.
pub(super) fn stdin() -> io::Result<Raw> {
    Ok(Box::new(File::from(io::stdin().as_fd().try_clone_to_owned()?)))
}
