//! Records to bytes: JSON lines, text for people, a server's log, and a report as a page.
//!
//! ```
//! use pgdissect::{Form, LineWriter, Record, StatsRecord};
//!
//! let mut lines = Vec::new();
//! LineWriter::default().record(&mut lines, &Record::Stats(StatsRecord::default()))?;
//! assert!(lines.starts_with(br#"{"event":"stats","packets":0,"#));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{fmt, io};

use crate::pg::message::Decoded;
use crate::record::{ChangeRun, MessageEvent, MessageRun, Record};

pub(crate) mod batch;
pub(crate) mod cache;
pub(crate) mod json;
#[cfg(feature = "cli")]
pub(crate) mod otlp;
#[cfg(feature = "cli")]
pub(crate) mod report;
#[cfg(feature = "cli")]
pub(crate) mod screen;
pub(crate) mod server_log;
#[cfg(feature = "cli")]
pub(crate) mod sql_script;
pub(crate) mod stats;
pub mod summary;
#[cfg(feature = "cli")]
pub(crate) mod tables;
pub(crate) mod text;

pub use json::LineWriter;
pub use server_log::{LogFormat, LogStyle, ServerLog};
pub use text::{TextStyle, Zone};

/// A form of lines.
pub trait Form: fmt::Debug + Send {
    /// Writes a record as one line.
    ///
    /// # Errors
    ///
    /// Those of what is written.
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()>;

    /// Writes the line of a message, which is decoded already if its session needed that.
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
    ) -> io::Result<()> {
        self.record(out, &Record::Message(event.to_record(decoded)))
    }

    /// Writes the lines of a run of data messages.
    ///
    /// # Errors
    ///
    /// Those of [`Form::record`].
    fn data(&mut self, out: &mut Vec<u8>, run: &MessageRun<'_>) -> io::Result<()> {
        let mut written = Ok(());
        run.for_each(|event| {
            if written.is_ok() {
                written = self.message(out, event, &mut None);
            }
        });
        written
    }

    /// Writes the lines of a run of changes.
    ///
    /// # Errors
    ///
    /// Those of [`Form::record`].
    fn changes(&mut self, out: &mut Vec<u8>, run: &ChangeRun<'_>) -> io::Result<()> {
        let mut written = Ok(());
        run.for_each(|change| {
            if written.is_ok() {
                written = self.record(out, &Record::Change(change));
            }
        });
        written
    }

    /// Writes what was held back until now: when lines are to be seen at once, and when there are no more (`ends`).
    ///
    /// # Errors
    ///
    /// Those of [`Form::record`].
    fn flush(&mut self, _out: &mut Vec<u8>, _ends: bool) -> io::Result<()> {
        Ok(())
    }

    /// Returns another of the same kind, which has written nothing yet, for another thread.
    fn another(&self) -> Box<dyn Form>;
}
