//! The forms of lines, one of which is chosen.

use std::io;

use pgdissect::output;
use pgdissect::output::json::LineWriter;
use pgdissect::output::text::TextStyle;
use pgdissect::pg::message::Decoded;
use pgdissect::record::{Record, Told, ToldData};

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
}

impl output::Form for Form {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match self {
            Self::Json(json) => json.record(out, record),
            Self::Text(style) => style.record(out, record),
        }
    }

    #[inline]
    fn message<'a>(
        &mut self,
        out: &mut Vec<u8>,
        told: &Told<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<u64> {
        match self {
            Self::Json(json) => json.message(out, told, decoded),
            Self::Text(style) => style.message(out, told, decoded),
        }
    }

    fn data(&mut self, out: &mut Vec<u8>, data: &ToldData<'_>) -> io::Result<u64> {
        match self {
            Self::Json(json) => json.data(out, data),
            Self::Text(style) => style.data(out, data),
        }
    }
}
