//! A summary as a page.

use std::io;

use crate::record::Summary;

/// Writes a summary as a page.
///
/// # Errors
///
/// Those of the writer.
pub(crate) fn write(out: &mut dyn io::Write, summary: &Summary) -> io::Result<()> {
    writeln!(out, "{}", summary.totals.requests)
}
