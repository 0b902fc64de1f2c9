//! Where lines go: chosen, written into one buffer, and handed on in large pieces.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use pgdissect::dissector::Sink;
use pgdissect::output::json::LineWriter;
use pgdissect::output::text::{self, TextStyle};
use pgdissect::record::{Content, QueryRecord, Record, StatsRecord};
use pgdissect::session::execution::Outcome;

use crate::cli::{Args, Event, Format};

/// How much is gathered before it is handed on.
const BUFFER: usize = 64 * 1024;

/// How long a line may wait for others, when they come one after the other without a pause.
const PATIENCE: Duration = Duration::from_millis(50);

/// Writes the lines that were asked for.
pub(crate) struct Lines {
    out: Box<dyn Write>,
    /// What messages call `out`.
    name: String,
    buffer: Vec<u8>,
    flushed: Instant,
    /// The first error of `out`: nothing is written behind it.
    error: Option<io::Error>,
    format: Format,
    style: TextStyle,
    json: LineWriter,
    messages: bool,
    losses: bool,
    stats: bool,
    /// The types of messages to write; all where there are none.
    types: Vec<String>,
    /// Whether only requests are written that have failed.
    only_errors: bool,
    /// How many microseconds a request must have taken to be written.
    min_us: Option<u128>,
    /// How many messages may still be written.
    left: u64,
}

impl Lines {
    /// Lines for `out`, which messages call `name`.
    pub(crate) fn new(out: Box<dyn Write>, name: String, args: &Args, color: bool) -> Self {
        let wants = |event| args.events.contains(&event);
        Self {
            out,
            name,
            buffer: Vec::with_capacity(2 * BUFFER),
            flushed: Instant::now(),
            error: None,
            format: args.format,
            style: TextStyle { color },
            json: LineWriter::default(),
            messages: wants(Event::Message),
            losses: wants(Event::Loss),
            stats: wants(Event::Stats),
            types: args.types.clone(),
            only_errors: args.errors,
            min_us: args.min_duration.map(|duration| duration.as_micros()),
            left: args.count.unwrap_or(u64::MAX),
        }
    }

    /// Whether all messages that were asked for were written.
    pub(crate) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Writes counters, where they were asked for.
    pub(crate) fn stats(&mut self, stats: &StatsRecord) {
        if self.stats {
            self.write(&Record::Stats(stats.clone()));
        }
    }

    /// Hands on what was written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.hand_on();
        self.flushed = Instant::now();
        self.check()?;
        self.out.flush().map_err(|error| self.explain(&error))
    }

    /// Hands on what has waited long enough.
    pub(crate) fn flush_if_older(&mut self, now: Instant) -> io::Result<()> {
        if now - self.flushed >= PATIENCE { self.flush() } else { Ok(()) }
    }

    /// The error that stopped the writing, where there was one.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    fn wants(&mut self, record: &Record<'_>) -> bool {
        match record {
            Record::Message(message) => {
                let name = match &message.content {
                    Content::Decoded(message) => message.name(),
                    Content::Undecoded { name, .. } => name,
                };
                let wanted = self.messages
                    && self.left > 0
                    && (self.types.is_empty() || self.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)));
                self.left -= u64::from(wanted);
                wanted
            }
            Record::Query(query) => self.left > 0 && self.selects(query),
            Record::Session(_) => self.left > 0,
            Record::Loss(_) => self.losses && self.left > 0,
            Record::Stats(_) => self.stats,
        }
    }

    /// Whether a request is among those that were asked for.
    fn selects(&self, query: &QueryRecord<'_>) -> bool {
        let has_failed = matches!(query.outcome, Outcome::Error | Outcome::Canceled | Outcome::Aborted);
        (!self.only_errors || has_failed)
            && self.min_us.is_none_or(|min| query.total_us.is_some_and(|total| u128::from(total) >= min))
    }

    fn write(&mut self, record: &Record<'_>) {
        if self.error.is_some() {
            return;
        }
        let written = match self.format {
            Format::Json => self.json.write(&mut self.buffer, record),
            Format::Text => text::write_line(&mut self.buffer, record, &self.style),
        };
        if let Err(error) = written {
            self.error = Some(error);
        }
        if self.buffer.len() >= BUFFER {
            self.hand_on();
        }
    }

    /// Says whose error it is. The kind stays, for a broken pipe is none.
    fn explain(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: cannot be written: {error}", self.name))
    }

    fn hand_on(&mut self) {
        if self.error.is_none()
            && let Err(error) = self.out.write_all(&self.buffer)
        {
            self.error = Some(self.explain(&error));
        }
        self.buffer.clear();
        // One very long line must not cost its memory for ever.
        self.buffer.shrink_to(2 * BUFFER);
    }
}

impl Sink for Lines {
    fn record(&mut self, record: &Record<'_>) {
        if self.wants(record) {
            self.write(record);
        }
    }
}
