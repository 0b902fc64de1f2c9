//! `-F parquet`: the folder of the tables.

use std::io::{self, Write};
use std::path::Path;

use crate::capture::privileges::Account;

/// Completes an output, when everything is written.
pub(super) type Complete = Box<dyn FnOnce() -> io::Result<()>>;

/// Returns an output that writes lines as tables to a folder, which is created if there is none, and belongs to `owner` then.
#[cfg(feature = "parquet")]
pub(super) fn open(folder: &Path, owner: Option<&Account>) -> io::Result<(Box<dyn Write + Send>, Complete)> {
    use crate::output::tables::parquet::{Limits, SharedTables};

    let created = owner.map_or_else(|| std::fs::create_dir(folder), |owner| owner.create_folder(folder));
    created.or_else(|error| if folder.is_dir() { Ok(()) } else { Err(error) })?;
    let tables = SharedTables::new(folder, Limits::default())?;
    let (out, name) = (tables.clone(), folder.display().to_string());
    let complete = move || {
        let explain = |error: io::Error| io::Error::new(error.kind(), format!("{name}: cannot be written: {error}"));
        tables.finish().map_err(explain)
    };
    Ok((Box::new(out), Box::new(complete)))
}

/// Without the feature, the arguments are refused before.
#[cfg(not(feature = "parquet"))]
pub(super) fn open(_: &Path, _: Option<&Account>) -> io::Result<(Box<dyn Write + Send>, Complete)> {
    Err(io::ErrorKind::Unsupported.into())
}
