//! The end of the way: a file, a pipe, a terminal.

use std::io::{self, Write};

/// Where lines go, and what messages call it.
pub(crate) struct Out {
    to: Box<dyn Write + Send>,
    name: String,
}

impl Out {
    pub(crate) fn new(to: Box<dyn Write + Send>, name: String) -> Self {
        Self { to, name }
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.to.write_all(lines).map_err(|error| self.explain(&error))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush().map_err(|error| self.explain(&error))
    }

    /// Says whose error it is. The kind stays, for a broken pipe is none.
    fn explain(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: cannot be written: {error}", self.name))
    }
}
