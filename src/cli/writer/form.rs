//! The selected output format.

use std::io;

use crate::output;
use crate::output::json::{DerivedWriter, LineWriter};
use crate::output::text::TextStyle;
use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, Record};

use crate::cli::args::{Args, Format};

/// An output format.
pub(crate) enum Form {
    Json(Box<LineWriter>),
    /// JSON as derived by serde.
    DerivedJson(DerivedWriter),
    Text(TextStyle),
}

impl Form {
    pub(crate) fn new(args: &Args, color: bool) -> Self {
        match args.format {
            Format::Json if args.no_fast_paths => Self::DerivedJson(DerivedWriter),
            Format::Json => Self::Json(Box::default()),
            Format::Text => Self::Text(TextStyle { color }),
        }
    }

    /// Creates a form of the same kind for another thread.
    pub(super) fn another(&self) -> Self {
        match self {
            Self::Json(_) => Self::Json(Box::default()),
            Self::DerivedJson(_) => Self::DerivedJson(DerivedWriter),
            Self::Text(style) => Self::Text(*style),
        }
    }
}

impl output::Form for Form {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match self {
            Self::Json(json) => json.record(out, record),
            Self::DerivedJson(json) => json.record(out, record),
            Self::Text(style) => style.record(out, record),
        }
    }

    #[inline]
    fn message<'a>(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<u64> {
        match self {
            Self::Json(json) => json.message(out, event, decoded),
            Self::DerivedJson(json) => json.message(out, event, decoded),
            Self::Text(style) => style.message(out, event, decoded),
        }
    }

    fn data(&mut self, out: &mut Vec<u8>, data: &MessageRun<'_>) -> io::Result<u64> {
        match self {
            Self::Json(json) => json.data(out, data),
            Self::DerivedJson(json) => json.data(out, data),
            Self::Text(style) => style.data(out, data),
        }
    }
}
