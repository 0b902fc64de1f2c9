//! The output: a file, a pipe, or a terminal.

use std::io::{self, IoSlice, Write};

/// The number of slices written at once: the limit of a system call.
pub(super) const PIECES: usize = 1_024;

/// The output and its name in messages.
pub(crate) struct Output {
    to: Box<dyn Write + Send>,
    name: String,
}

/// Writes all of several slices, one after the other.
pub(crate) fn write_all_pieces(to: &mut (impl Write + ?Sized), mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !pieces.is_empty() {
        match to.write_vectored(pieces) {
            Ok(0) if pieces.iter().any(|piece| !piece.is_empty()) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut pieces, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Output {
    pub(crate) fn new(to: Box<dyn Write + Send>, name: String) -> Self {
        Self { to, name }
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.to.write_all(lines).map_err(|error| self.explain(&error))
    }

    /// Writes several slices, one after the other.
    pub(super) fn write_pieces(&mut self, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        write_all_pieces(&mut *self.to, pieces).map_err(|error| self.explain(&error))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(|error| self.explain(&error))
    }

    /// Adds the name of the output to an error. The kind is kept, because a broken pipe is not an error.
    fn explain(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: cannot be written: {error}", self.name))
    }
}
