//! Records to bytes.

use std::io;

use pgdissect::output::frozen::Batch;
use pgdissect::output::json::LineWriter;
use pgdissect::output::text::{self, TextStyle};
use pgdissect::record::Record;

use crate::cli::Format;

/// How lines are written.
pub(crate) enum Form {
    Json(Box<LineWriter>),
    Text(TextStyle),
}

impl Form {
    pub(crate) fn new(format: Format, color: bool) -> Self {
        match format {
            Format::Json => Self::Json(Box::default()),
            Format::Text => Self::Text(TextStyle { color }),
        }
    }

    /// One of the same kind, for another thread.
    pub(super) fn another(&self) -> Self {
        match self {
            Self::Json(_) => Self::Json(Box::default()),
            Self::Text(style) => Self::Text(*style),
        }
    }

    /// Writes a record.
    pub(super) fn line(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match self {
            Self::Json(json) => json.write(out, record),
            Self::Text(style) => text::write_line(out, record, style),
        }
    }

    /// Writes the records of a batch. Says how many messages could not be decoded, of those that were not yet.
    pub(super) fn batch(&mut self, out: &mut Vec<u8>, batch: &Batch) -> io::Result<u64> {
        batch.replay(out, |out, record| self.line(out, record))
    }
}
