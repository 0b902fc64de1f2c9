//! What depends on the lines before: the zone of the times, dates, and the settings of sessions, which share a line.
//!
//! Lines may be made by several threads, each of which knows only its own. This is done by the one thread that has all records in their
//! order, so that the output is the same with any number of threads.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::line::{Line, Paint};
use super::sanitize::Extent;
use super::zone::Offset;
use super::{TextStyle, beginning, body, direction, width};
use crate::direction::Direction;
use crate::pg::message::{Decoded, Message};
use crate::record::{Header, MessageEvent};
use crate::time::Timestamp;

/// How many bytes of settings a line has at most. A server has about fifteen, of which none is long.
const MOST_OF_SESSION: usize = 4 * 1024;
/// How many bytes are held in all. Settings of further sessions have a line each.
const MOST: usize = 1024 * 1024;

/// What stands between the lines of records, and in place of several.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) style: TextStyle,
    /// In nanoseconds since the epoch: times for which zone and date are known from the lines before.
    known: Range<i64>,
    said: Option<(Offset, Date)>,
    /// By connection: settings whose line is not written yet.
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
}

/// Year, month and day.
type Date = [u8; "2026-11-22".len()];

/// Settings of a session, sent one right behind the other.
#[derive(Debug)]
struct Held {
    /// Of the last message.
    ts: Timestamp,
    elapsed_us: Option<u64>,
    /// As they are written.
    settings: Vec<u8>,
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.settings.len()
    }
}

impl Sequence {
    pub(crate) const fn new(style: TextStyle) -> Self {
        Self { style, known: 0..0, said: None, held: BTreeMap::new(), held_bytes: 0 }
    }

    /// Returns whether something must be written before a line of this time.
    pub(crate) fn is_news(&self, ts: Timestamp) -> bool {
        !self.known.contains(&ts.as_nanos())
    }

    /// Writes what must be known to read the time of the next line: the zone, once and where clocks change; the date, where it is another
    /// than that of the line before.
    pub(crate) fn announce(&mut self, out: &mut Vec<u8>, ts: Timestamp) -> io::Result<()> {
        if !self.is_news(ts) {
            return Ok(());
        }
        let Self { style, .. } = self;
        let offset = style.zone.offset(ts);
        let local = offset.local(ts).rfc3339();
        let date = local.as_str().as_bytes().first_chunk().copied().unwrap_or_default();
        if self.said.is_none_or(|(before, _)| before != offset) {
            let from_here_on = if self.said.is_some() { " from here on" } else { "" };
            let mut line = Line::new(out, style, Extent::Whole);
            line.painted(Paint::DIM, format_args!("times are {}{from_here_on}", style.zone.at(ts)))?;
            line.end();
        }
        if self.said.is_none_or(|(_, before)| before != date) {
            let mut line = Line::new(out, style, Extent::Whole);
            line.painted(Paint::BOLD, format_args!("{}", std::str::from_utf8(&date).unwrap_or_default()))?;
            line.end();
        }
        self.said = Some((offset, date));
        self.known = style.zone.day(ts);
        Ok(())
    }

    /// Holds a message if it is one of the settings that a server sends when a session begins. Returns whether it did.
    ///
    /// Settings that change later are not held: it may be long until another message follows, which ends the line.
    pub(crate) fn hold<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) -> bool {
        let is_of_start = event.frame.tag == Some(b'S')
            && event.dir == Direction::Backend
            && event.query.is_none()
            && event.elapsed_us.is_some();
        if !is_of_start || !event.is_common() {
            return false;
        }
        let Ok(Message::ParameterStatus(setting)) = event.decode(decoded) else { return false };
        let mut written = Vec::new();
        if body::setting(&mut Line::new(&mut written, &self.style, Extent::Whole), setting).is_err() {
            return false;
        }
        let Header { ts, conn, .. } = event.header;
        let before = self.held.get(&conn).map_or(0, Held::bytes);
        let after = before.max(size_of::<Held>()) + written.len();
        if after > MOST_OF_SESSION || self.held_bytes - before + after > MOST {
            return false;
        }
        self.held_bytes += after - before;
        let held = self.held.entry(conn).or_insert_with(|| Held { ts, elapsed_us: None, settings: Vec::new() });
        (held.ts, held.elapsed_us) = (ts, event.elapsed_us);
        held.settings.append(&mut written);
        true
    }

    /// Returns whether settings of a connection are held.
    pub(crate) fn holds(&self, conn: u64) -> bool {
        self.held.contains_key(&conn)
    }

    /// Returns the connections of which settings are held.
    pub(crate) fn connections(&self) -> Vec<u64> {
        self.held.keys().copied().collect()
    }

    /// Writes the settings of a connection that are held.
    pub(crate) fn release(&mut self, out: &mut Vec<u8>, conn: u64) -> io::Result<()> {
        let Some(held) = self.held.remove(&conn) else { return Ok(()) };
        self.held_bytes -= held.bytes();
        self.announce(out, held.ts)?;
        let mut line = Line::new(out, &self.style, Extent::Whole);
        beginning(&mut line, &Header { ts: held.ts, conn, ..Header::default() }, held.elapsed_us)?;
        direction(&mut line, Some(Direction::Backend))?;
        line.column(Paint::BOLD, "ParameterStatus", width::TYPE)?;
        // Each begins with a space.
        line.put(format_args!("{}", std::str::from_utf8(&held.settings).unwrap_or_default().trim_start()))?;
        line.end();
        Ok(())
    }
}
