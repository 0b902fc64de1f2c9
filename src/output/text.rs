//! Text for people: one line a record, to be read as the session goes.
//!
//! ```text
//! 21:45:59.891291   1 [F2B] Query            SELECT 1/0  q3
//! 21:45:59.893941   1 [B2F] ErrorResponse    ERROR 22012 division by zero  q3 +2.650ms
//! ```
//!
//! The time of day (UTC), the number of the connection, who sends to whom, the type of the message, its fields; then
//! what the session knows of it: the request that it belongs to, and on replies the time since that request. The first
//! message of a connection says whose it is. A line has no control character but the line feed at its end, and those of
//! its colors; what is long is cut. Programs read the JSON form, which has everything.

mod body;
pub(super) mod line;
pub(crate) mod sanitize;
mod summary;

use std::fmt;
use std::io;

use self::body::Count;
use self::line::{Line, Paint};
use super::Form;
use super::summary::SummaryStyle;
use crate::direction::Direction;
use crate::pg::message::Message;
use crate::record::{Content, Counters, Flags, Header, LossRecord, MessageRecord, Reason, Record, StatsRecord};
use crate::time::Timestamp;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Whether they have colors, by the escape sequences of terminals.
    pub color: bool,
    /// How a summary looks, but for its colors.
    pub summary: SummaryStyle,
}

impl Form for TextStyle {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        write_line(out, record, self)
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(*self)
    }
}

/// The widths of the columns that stand before a message's fields. What is wider moves the rest of its line.
mod width {
    pub(super) const TIME: usize = "21:45:59.891291".len();
    pub(super) const CONN: usize = 3;
    pub(super) const DIRECTION: usize = "[F2B]".len();
    pub(super) const TYPE: usize = "CommandComplete".len() + 1;
}

/// Writes a record as one line of text, and a line feed; a summary as many.
///
/// # Errors
///
/// Those of the writer.
pub fn write_line(out: &mut impl io::Write, record: &Record<'_>, style: &TextStyle) -> io::Result<()> {
    let mut line = Line::new(out, style);
    match record {
        Record::Message(record) => message(&mut line, record)?,
        Record::Query(record) => summary::query(&mut line, record)?,
        Record::Running(record) => summary::running(&mut line, record)?,
        Record::Session(record) => summary::session(&mut line, record)?,
        Record::Loss(record) => loss(&mut line, record)?,
        Record::Stats(record) => stats(&mut line, record)?,
        // Of many lines: there is no shorter form of it that would answer anything.
        Record::Summary(summary) => {
            return super::summary::write(out, summary, &SummaryStyle { color: style.color, ..style.summary });
        }
    }
    line.end()
}

fn message(line: &mut Line<'_>, record: &MessageRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, Some(record.dir))?;
    let paint = match &record.content {
        Content::Decoded(message) => body::paint(message),
        Content::Undecoded { .. } => Paint::BOLD_RED,
    };
    line.column(paint, record.content.name(), width::TYPE)?;
    write_fields(line, record)?;
    match (record.query, record.elapsed_us) {
        (Some(query), Some(us)) => line.aside(Paint::DIM, format_args!("q{query} {}", Elapsed(us)))?,
        (Some(query), None) => line.aside(Paint::DIM, format_args!("q{query}"))?,
        (None, Some(us)) => line.aside(Paint::DIM, format_args!("{}", Elapsed(us)))?,
        (None, None) => {}
    }
    if record.seq == 1 {
        ends(line, &record.header)?;
    }
    Ok(())
}

/// Writes the fields of a message, and what is odd about it.
fn write_fields(line: &mut Line<'_>, record: &MessageRecord<'_>) -> io::Result<()> {
    match &record.content {
        Content::Decoded(message) => {
            body::write(line, message)?;
            if let (Message::Execute(_), Some(sql)) = (message, &record.sql) {
                body::sql(line, sql)?;
            }
        }
        Content::Undecoded { body, .. } => {
            body::undecoded(line, record.error.as_ref().map(|error| error as &dyn fmt::Display), body)?;
        }
    }
    oddities(line, record.flags, record.missing)
}

/// Returns the fields of a message, and what is odd about it, as text without colors.
#[cfg(feature = "cli")]
pub(super) fn fields(record: &MessageRecord<'_>) -> String {
    let (mut text, style) = (Vec::new(), TextStyle::default());
    // Writing to memory cannot fail.
    let _ = write_fields(&mut Line::new(&mut text, &style), record);
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn loss(line: &mut Line<'_>, record: &LossRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, record.dir)?;
    line.column(Paint::BOLD_RED, "LOSS", width::TYPE)?;
    if let Some(bytes) = record.bytes {
        line.painted(Paint::RED, format_args!("{} ", Count(bytes, "byte")))?;
    }
    line.painted(
        Paint::RED,
        format_args!(
            "{}",
            match record.reason {
                Reason::Missing => "missing",
                Reason::Snaplen => "cut off by the snap length of the capture",
                Reason::Midstream => "sent before the capture began",
                Reason::Limit => "left out: a limit of memory was reached",
                Reason::Overlap => "repeated with other content",
                Reason::Malformed => "not understood",
                Reason::Undecryptable => "encrypted",
                Reason::NotPostgresql => "not PostgreSQL",
                Reason::Late => "too late",
                Reason::OutOfWindow => "out of window",
            }
        ),
    )?;
    if let Some(within) = record.within {
        line.put(format_args!(" in a {within}"))?;
    }
    match record.skipped {
        Some(0) | None => {}
        Some(skipped) => line.put(format_args!(", {} skipped", Count(skipped, "captured byte")))?,
    }
    if let Some(detail) = record.detail {
        line.item(format_args!("({})", sanitize::Prose(detail.as_bytes(), sanitize::PROSE)))?;
    }
    // These may be all that is ever said of a connection; the others come between its messages.
    if record.dir.is_none() || record.reason == Reason::Midstream {
        ends(line, &record.header)?;
    }
    Ok(())
}

fn stats(line: &mut Line<'_>, record: &StatsRecord) -> io::Result<()> {
    match record.ts {
        Some(ts) => time_of_day(line, ts)?,
        None => line.skip_column(width::TIME),
    }
    line.skip_column(width::CONN);
    line.skip_column(width::DIRECTION);
    line.column(Paint::BOLD, "STATS", width::TYPE)?;
    let Counters { packets, packet_bytes, connections, open_connections, messages, losses, .. } = record.counters;
    let packets = Count(packets, "packet");
    let connections = Count(connections, "connection");
    line.item(format_args!("{packets} ({}), {connections} ({open_connections} open), ", Count(packet_bytes, "byte")))?;
    line.put(format_args!("{}, {} of loss", Count(messages, "message"), Count(losses, "report")))?;
    for (count, unit, what) in rare(&record.counters) {
        if count > 0 {
            line.put(format_args!(", {} {what}", Count(count, unit)))?;
        }
    }
    if let Some(kernel) = record.kernel {
        let received = Count(kernel.received, "packet");
        line.put(format_args!("; kernel: {received} received, "))?;
        let paint = if kernel.dropped > 0 { Paint::RED } else { Paint::DIM };
        line.painted(paint, format_args!("{} dropped", kernel.dropped))?;
        if kernel.interface_dropped > 0 {
            line.put(format_args!(", {} dropped by the interface", kernel.interface_dropped))?;
        }
    }
    Ok(())
}

/// Counters that are written only where something was counted.
const fn rare(counters: &Counters) -> [(u64, &'static str, &'static str); 13] {
    [
        (counters.undecoded_messages, "message", "not decoded"),
        (counters.missing_bytes, "byte", "missing"),
        (counters.skipped_bytes, "byte", "skipped"),
        (counters.encrypted_bytes, "byte", "encrypted"),
        (counters.retransmitted_bytes, "byte", "retransmitted"),
        (counters.out_of_window_bytes, "byte", "out of window"),
        (counters.held_bytes, "byte", "held"),
        (counters.other_packets, "packet", "of other connections"),
        (counters.unknown_link_packets, "packet", "of unknown link type"),
        (counters.damaged_packets, "packet", "damaged"),
        (counters.fragments, "fragment", "of packets"),
        (counters.lost_fragments, "fragment", "lost"),
        (counters.forgotten, "statement", "or portal forgotten"),
    ]
}

/// When, which connection, and in which direction.
fn beginning(line: &mut Line<'_>, Header { ts, conn, .. }: &Header<'_>, dir: Option<Direction>) -> io::Result<()> {
    time_of_day(line, *ts)?;
    line.put(format_args!("{conn:>width$} ", width = width::CONN))?;
    match dir {
        Some(Direction::Frontend) => line.column(Paint::CYAN, "[F2B]", width::DIRECTION),
        Some(Direction::Backend) => line.column(Paint::GREEN, "[B2F]", width::DIRECTION),
        None => {
            line.skip_column(width::DIRECTION);
            Ok(())
        }
    }
}

fn time_of_day(line: &mut Line<'_>, ts: Timestamp) -> io::Result<()> {
    let written = ts.rfc3339();
    let (_, time) = written.as_str().split_once('T').unwrap_or_default();
    line.column(Paint::DIM, time.trim_end_matches('Z'), width::TIME)
}

fn ends(line: &mut Line<'_>, Header { client, server, .. }: &Header<'_>) -> io::Result<()> {
    line.aside(Paint::DIM, format_args!("{client} -> {server}"))
}

/// Writes what is odd about a message, a request or a session.
fn oddities(line: &mut Line<'_>, flags: Flags, missing: u64) -> io::Result<()> {
    if missing == 0 && flags.is_empty() {
        return Ok(());
    }
    line.aside(Paint::RED, format_args!("[{}]", Oddities(flags, missing)))
}

/// What is odd, in a few words.
struct Oddities(Flags, u64);

impl fmt::Display for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for name in self.0.names() {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        if self.1 > 0 { write!(f, "{separator}{} missing", Count(self.1, "byte")) } else { Ok(()) }
    }
}

/// A time in milliseconds, in seconds where it is long, exact to the microsecond.
struct Elapsed(u64);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1_000_000 {
            write!(f, "+{}.{:03}ms", self.0 / 1_000, self.0 % 1_000)
        } else {
            write!(f, "+{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
        }
    }
}

#[cfg(test)]
mod tests;
