//! Files, and pipes that are waited for: without `poll`, nothing else can be done in the meantime.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::input::Raw;

/// Opens what a path names.
pub(super) fn path(path: &Path) -> io::Result<Raw> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Box::new(file))
}

/// Opens standard input. [`std::io::Stdin`] itself would copy everything through a buffer of its own.
pub(super) fn stdin() -> io::Result<Raw> {
    Ok(Box::new(File::from(io::stdin().as_fd().try_clone_to_owned()?)))
}
