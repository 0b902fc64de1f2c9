//! Records to bytes: JSON lines, and text for people.
//!
//! ```
//! use pgdissect::{Form, LineWriter, Record, StatsRecord};
//!
//! let mut lines = Vec::new();
//! LineWriter::default().record(&mut lines, &Record::Stats(StatsRecord::default()))?;
//! assert!(lines.starts_with(br#"{"event":"stats","packets":0,"#));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;

use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, Record};

pub(crate) mod batch;
pub(crate) mod json;
pub(crate) mod text;

pub use json::LineWriter;
pub use text::TextStyle;

/// A form of lines.
pub trait Form {
    /// Writes a record as one line.
    ///
    /// # Errors
    ///
    /// Those of what is written.
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()>;

    /// Writes the line of a message. Says how many could not be decoded, of those that were not yet: one, or none.
    ///
    /// # Errors
    ///
    /// Those of [`Form::record`].
    #[inline]
    fn message<'a>(
        &mut self,
        out: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<u64> {
        let (record, undecoded) = event.to_record(decoded);
        self.record(out, &Record::Message(record))?;
        Ok(undecoded)
    }

    /// Writes the lines of messages of data. Says how many could not be decoded.
    ///
    /// # Errors
    ///
    /// Those of [`Form::record`].
    fn data(&mut self, out: &mut Vec<u8>, data: &MessageRun<'_>) -> io::Result<u64> {
        let mut undecoded = Ok(0);
        data.for_each(|event| {
            if let Ok(count) = &mut undecoded {
                match self.message(out, event, &mut None) {
                    Ok(more) => *count += more,
                    Err(error) => undecoded = Err(error),
                }
            }
        });
        undecoded
    }
}
