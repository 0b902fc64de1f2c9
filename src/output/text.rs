//! Text for people: one line a record, to be read as the session goes.
//!
//! ```text
//! 21:45:59.891291   1             [F2B] Query            SELECT 1/0  q3
//! 21:45:59.893941   1     2.650ms [B2F] ErrorResponse    ERROR 22012 division by zero  q3
//! ```
//!
//! The time of day, the number of the connection, on replies the time since their request, who sends to whom, the type of the message,
//! its fields; then what the session knows of it: the request that it belongs to. The first message of a connection has its ends.
//! A line has no control character but the line feed at its end, and those of its colors. On a terminal it is cut to the width of that,
//! and what is long is an excerpt; else nothing is cut. What depends on the lines before is written by [`sequence`]. Programs read the
//! JSON form.

mod body;
pub(super) mod columns;
pub(super) mod line;
mod replication;
pub(crate) mod sanitize;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
pub(crate) mod sequence;
mod summary;
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command uses it"))]
mod zone;

use std::fmt;
use std::io;

use self::body::Count;
use self::line::{Line, Paint};
use self::sanitize::Extent;
use super::Form;
use super::summary::SummaryStyle;
use crate::direction::Direction;
use crate::pg::message::Message;
use crate::record::{Content, Counters, Flags, Header, LossRecord, MessageRecord, Reason, Record, StatsRecord};
use crate::time::Timestamp;

pub use self::zone::Zone;

/// How lines look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Whether they have colors, by the escape sequences of terminals.
    pub color: bool,
    /// How many columns a line has at most; what is longer is cut. `None` for lines of any length, of which nothing is left out.
    pub width: Option<usize>,
    /// The zone of times of day.
    pub zone: Zone,
    /// Whether other lines than those of messages leave out the columns of messages, which are for output without messages then.
    pub compact: bool,
    /// How a summary looks, but for its colors.
    pub summary: SummaryStyle,
}

impl Form for TextStyle {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        write_line(out, record, self)
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(self.clone())
    }
}

/// The widths of the columns that stand before a message's fields. What is wider moves the rest of its line.
mod width {
    pub(super) const TIME: usize = "21:45:59.891291".len();
    pub(super) const CONN: usize = 3;
    pub(super) const ELAPSED: usize = "99999.999ms".len();
    pub(super) const DIRECTION: usize = "[F2B]".len();
    pub(super) const TYPE: usize = "CommandComplete".len() + 1;
    /// Of lines of other kinds than messages, where there are no messages.
    pub(super) const KIND: usize = "SESSION".len();
}

/// Writes a record as one line of text, and a line feed; a summary as many.
///
/// # Errors
///
/// Those of the writer.
pub fn write_line(out: &mut Vec<u8>, record: &Record<'_>, style: &TextStyle) -> io::Result<()> {
    if let Record::Summary(summary) = record {
        // Of many lines: there is no shorter form of it that would answer anything.
        return super::summary::write(out, summary, &SummaryStyle { color: style.color, ..style.summary });
    }
    if style.width.is_some() {
        let start = out.len();
        let mut line = Line::new(out, style, Extent::Whole);
        line.give_up_beyond_its_width();
        if fill(&mut line, record).is_ok() && line.fits() {
            line.end();
            return Ok(());
        }
        out.truncate(start);
    }
    let extent = if style.width.is_some() { Extent::Excerpt } else { Extent::Whole };
    let mut line = Line::new(out, style, extent);
    fill(&mut line, record)?;
    line.end();
    Ok(())
}

fn fill(line: &mut Line<'_>, record: &Record<'_>) -> io::Result<()> {
    match record {
        Record::Message(record) => message(line, record),
        Record::Query(record) => summary::query(line, record),
        Record::Running(record) => summary::running(line, record),
        Record::Session(record) => summary::session(line, record),
        Record::Change(record) => replication::change(line, record),
        Record::Transaction(record) => replication::transaction(line, record),
        Record::Loss(record) => loss(line, record),
        Record::Stats(record) => stats(line, record),
        Record::Summary(_) => Ok(()),
    }
}

fn message(line: &mut Line<'_>, record: &MessageRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, record.elapsed_us)?;
    direction(line, Some(record.dir))?;
    let paint = match &record.content {
        Content::Decoded(message) => body::paint(message),
        Content::Replication { .. } => Paint::PLAIN,
        Content::Undecoded { .. } => Paint::BOLD_RED,
    };
    line.column(paint, record.content.name(), width::TYPE)?;
    write_fields(line, record)?;
    line.tail();
    if let Some(query) = record.query {
        line.aside(Paint::DIM, format_args!("q{query}"))?;
    }
    if record.seq == 1 {
        ends(line, &record.header)?;
    }
    Ok(())
}

/// Writes what is odd about a message, and its fields.
fn write_fields(line: &mut Line<'_>, record: &MessageRecord<'_>) -> io::Result<()> {
    oddities(line, record.flags, record.missing)?;
    line.content();
    match &record.content {
        Content::Decoded(message) => {
            body::write(line, message)?;
            match (message, &record.sql) {
                (Message::Execute(_), Some(sql)) => body::sql(line, sql),
                _ => Ok(()),
            }
        }
        Content::Replication { body, .. } => replication::data(line, body),
        Content::Undecoded { body, .. } => {
            body::undecoded(line, record.error.as_ref().map(|error| error as &dyn fmt::Display), body)
        }
    }
}

/// Returns what is odd about a message, and an excerpt of its fields, as text without colors.
#[cfg(feature = "cli")]
pub(super) fn fields(record: &MessageRecord<'_>) -> String {
    let (mut text, style) = (Vec::new(), TextStyle::default());
    // Writing to memory cannot fail.
    let _ = write_fields(&mut Line::new(&mut text, &style, Extent::Excerpt), record);
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn loss(line: &mut Line<'_>, record: &LossRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, None)?;
    if !line.is_compact {
        direction(line, record.dir)?;
    }
    // Of a connection whose keys are not known. What is lost of one that is decrypted has an offset, or was skipped.
    let is_encrypted = record.reason == Reason::Undecryptable
        && record.offset.is_none()
        && record.skipped.is_none_or(|bytes| bytes == 0);
    if is_encrypted {
        kind(line, Paint::BOLD_YELLOW, "ENCRYPTED")?;
    } else {
        kind(line, Paint::BOLD_RED, "LOSS")?;
    }
    if line.is_compact && record.dir.is_some() {
        direction(line, record.dir)?;
    }
    let paint = if is_encrypted { Paint::YELLOW } else { Paint::RED };
    line.content();
    if let Some(skipped) = record.skipped.filter(|bytes| *bytes > 0) {
        line.painted(paint, format_args!("{} skipped", Count(skipped, "captured byte")))?;
        line.put(format_args!(", "))?;
    }
    if let Some(bytes) = record.bytes {
        line.painted(paint, format_args!("{}", Count(bytes, "byte")))?;
        line.separate();
    }
    match (is_encrypted, record.detail) {
        (true, Some(detail)) if record.bytes.is_none() => {
            line.put(format_args!("{}", sanitize::Prose(detail.as_bytes(), line.extent.limit(sanitize::PROSE))))?;
        }
        (true, _) => line.put(format_args!("in all"))?,
        (false, detail) => {
            let unknown = if record.reason == Reason::Missing && record.bytes.is_none() { "bytes " } else { "" };
            line.painted(paint, format_args!("{unknown}{}", what_is(record.reason)))?;
            if let Some(within) = record.within {
                line.put(format_args!(" in a {within}"))?;
            }
            if let Some(detail) = detail {
                let limit = line.extent.limit(sanitize::PROSE);
                line.item(format_args!("({})", sanitize::Prose(detail.as_bytes(), limit)))?;
            }
        }
    }
    line.tail();
    // These may be all that is ever said of a connection; the others come between its messages.
    if record.dir.is_none() || record.reason == Reason::Midstream {
        ends(line, &record.header)?;
    }
    Ok(())
}

/// Returns what is wrong with lost bytes, in words.
const fn what_is(reason: Reason) -> &'static str {
    match reason {
        Reason::Missing => "missing",
        Reason::Snaplen => "cut off by the snap length of the capture",
        Reason::Midstream => "midstream: sent before the capture began",
        Reason::Limit => "left out: a limit of memory was reached",
        Reason::Overlap => "repeated with other content",
        Reason::Malformed => "not understood",
        Reason::Undecryptable => "encrypted",
        Reason::NotPostgresql => "not PostgreSQL",
        Reason::Late => "too late",
        Reason::OutOfWindow => "out of window",
    }
}

fn stats(line: &mut Line<'_>, record: &StatsRecord) -> io::Result<()> {
    match record.ts {
        Some(ts) => time_of_day(line, ts)?,
        None => line.skip_column(width::TIME),
    }
    line.skip_column(width::CONN);
    line.skip_column(width::ELAPSED);
    if !line.is_compact {
        line.skip_column(width::DIRECTION);
    }
    kind(line, Paint::BOLD, "STATS")?;
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
const fn rare(counters: &Counters) -> [(u64, &'static str, &'static str); 14] {
    [
        (counters.undecoded_messages, "message", "not decoded"),
        (counters.ambiguous_joins, "request", "ambiguous behind a pooler"),
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

/// When, which connection, and how long it took.
fn beginning(line: &mut Line<'_>, Header { ts, conn, .. }: &Header<'_>, elapsed_us: Option<u64>) -> io::Result<()> {
    time_of_day(line, *ts)?;
    line.put(format_args!("{conn:>width$} ", width = width::CONN))?;
    match elapsed_us.map(Elapsed) {
        Some(elapsed) => {
            line.align_right(elapsed.width(), width::ELAPSED);
            let paint = if elapsed.0 >= SLOW { Paint::YELLOW } else { Paint::PLAIN };
            line.painted(paint, format_args!("{elapsed}"))?;
            line.separate();
        }
        None => line.skip_column(width::ELAPSED),
    }
    Ok(())
}

fn direction(line: &mut Line<'_>, dir: Option<Direction>) -> io::Result<()> {
    match dir {
        Some(Direction::Frontend) => line.column(Paint::CYAN, "[F2B]", width::DIRECTION),
        Some(Direction::Backend) => line.column(Paint::GREEN, "[B2F]", width::DIRECTION),
        None => {
            line.skip_column(width::DIRECTION);
            Ok(())
        }
    }
}

/// Writes which kind of line it is that is none of a message.
fn kind(line: &mut Line<'_>, paint: Paint, name: &str) -> io::Result<()> {
    line.column(paint, name, if line.is_compact { width::KIND } else { width::TYPE })
}

fn time_of_day(line: &mut Line<'_>, ts: Timestamp) -> io::Result<()> {
    let written = line.zone.offset(ts).local(ts).rfc3339();
    let (_, time) = written.as_str().split_once('T').unwrap_or_default();
    line.column(Paint::DIM, time.trim_end_matches('Z'), width::TIME)
}

fn ends(line: &mut Line<'_>, Header { client, server, .. }: &Header<'_>) -> io::Result<()> {
    line.aside(Paint::DIM, format_args!("{client} -> {server}"))
}

/// Writes what is odd about a message, a request or a session: before what may be cut.
fn oddities(line: &mut Line<'_>, flags: Flags, missing: u64) -> io::Result<()> {
    if missing == 0 && flags.is_empty() {
        return Ok(());
    }
    line.painted(Paint::RED, format_args!("[{}]", Oddities(flags, missing)))?;
    line.separate();
    Ok(())
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

/// From here on a duration is in a color, in microseconds: a person notices it.
const SLOW: u64 = 1_000_000;

/// A duration in milliseconds, as PostgreSQL's log has it, exact to the microsecond: always in the same unit, so that a longer one is
/// longer to the eye, and to `sort`.
struct Elapsed(u64);

impl Elapsed {
    /// Returns how many columns it takes.
    fn width(&self) -> usize {
        (self.0 / 1_000).checked_ilog10().map_or(1, |digits| digits as usize + 1) + ".000ms".len()
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}ms", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests;
