//! The lines of a server's log in the order of their times. A record comes when its request has ended, or its session is ready; lines of
//! it have the time at which that began.

use std::cmp::Reverse;

use crate::output::{Form, LogStyle, ServerLog};
use crate::record::Record;
use crate::time::Timestamp;

/// How many bytes of lines wait for earlier ones at most.
const MOST_HELD: usize = 64 << 20;

/// How many bytes wait before it is asked again what may be written.
const LEAST_HELD: usize = 1 << 20;

/// How much later than a packet, in microseconds, one may come that was captured before it, or that fills a hole.
const LATE: u64 = 500_000;

/// How long lines wait for an earlier one where they have the times of ends, in microseconds. The few that have the time of a beginning,
/// of a session or of a Parse long before its Execute, are not worth more.
const PATIENCE: u64 = 2_000_000;

/// A log whose lines wait until none can come that is earlier.
pub(super) struct LogOrder {
    log: ServerLog,
    /// How long lines wait, if there is a limit.
    patience: Option<u64>,
    /// Lines, one behind the other.
    bytes: Vec<u8>,
    /// How many of these are in lines that were written.
    written: usize,
    /// The lines that wait, the next one last: sorted up to `sorted`.
    lines: Vec<Waiting>,
    /// The lines since the last look, as they came.
    new: Vec<Waiting>,
    /// How many lines there were.
    count: u64,
    /// How many bytes wait when it is asked next what may be written.
    ask_at: usize,
    most_held: usize,
    /// Whether lines are written because too many wait, until some less do.
    is_draining: bool,
    /// Whether that ever was so.
    has_overflowed: bool,
}

/// Where a line is.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ts: Timestamp,
    number: u64,
    start: usize,
    end: usize,
}

impl LogOrder {
    pub(super) fn new(log: ServerLog, style: LogStyle) -> Self {
        Self {
            log: log.noting_ends(),
            patience: (style == LogStyle::Duration).then_some(PATIENCE),
            bytes: Vec::new(),
            written: 0,
            lines: Vec::new(),
            new: Vec::new(),
            count: 0,
            ask_at: LEAST_HELD,
            most_held: MOST_HELD,
            is_draining: false,
            has_overflowed: false,
        }
    }

    /// Takes the lines of a record.
    pub(super) fn record(&mut self, record: &Record<'_>) -> std::io::Result<()> {
        let Self { log, bytes, new, count, .. } = self;
        let mut start = bytes.len();
        log.record(bytes, record)?;
        for (ts, end) in log.ends() {
            *count += 1;
            new.push(Waiting { ts, number: *count, start, end });
            start = end;
        }
        Ok(())
    }

    /// Returns whether so much waits that it should be asked what may be written.
    pub(super) const fn is_long(&self) -> bool {
        self.bytes.len() - self.written >= self.ask_at
    }

    /// Returns whether the statements are to be run again, and have secrets masked.
    pub(super) const fn masks(&self) -> bool {
        self.patience.is_none() && self.log.has_secret()
    }

    /// Returns whether the statements are to be run again, and the text of a parameter is not known.
    pub(super) const fn lacks_text(&self) -> bool {
        self.patience.is_none() && self.log.lacks_text()
    }

    /// Returns whether lines were written out of order, because too many waited.
    pub(super) const fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    /// Appends lines to `out`, up to about so many bytes: those before which none can come, where all packets up to `now` were
    /// dissected, and the earliest record to come began at `earliest`. Returns whether there are more.
    pub(super) fn pass(&mut self, now: Timestamp, earliest: Option<Timestamp>, out: &mut Vec<u8>, most: usize) -> bool {
        let known = now.earlier(LATE);
        let mut mark = earliest.map_or(known, |earliest| earliest.min(known));
        if let Some(patience) = self.patience {
            mark = mark.max(known.earlier(patience));
        }
        self.write(Some(mark), out, most)
    }

    /// Appends lines, up to about so many bytes: there are no records any more. Returns whether there are more.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, most: usize) -> bool {
        self.write(None, out, most)
    }

    fn write(&mut self, mark: Option<Timestamp>, out: &mut Vec<u8>, most: usize) -> bool {
        if !self.new.is_empty() {
            self.lines.append(&mut self.new);
            // Mostly sorted already, which costs no more than to look at each.
            self.lines.sort_by_key(|line| Reverse((line.ts.as_nanos(), line.number)));
        }
        let most = out.len().saturating_add(most);
        self.is_draining |= self.bytes.len() - self.written > self.most_held;
        let mut has_more = false;
        while let Some(line) = self.lines.last() {
            let is_due = mark.is_none_or(|mark| line.ts < mark);
            self.is_draining &= self.bytes.len() - self.written > self.most_held / 4 * 3;
            if !is_due && !self.is_draining {
                break;
            }
            if out.len() >= most {
                has_more = true;
                break;
            }
            self.has_overflowed |= !is_due;
            out.extend_from_slice(self.bytes.get(line.start..line.end).unwrap_or_default());
            self.written += line.end - line.start;
            self.lines.pop();
        }
        if !has_more {
            self.compact();
        }
        has_more
    }

    /// Frees the bytes of lines that were written, once these are half of them.
    fn compact(&mut self) {
        if self.written * 2 >= self.bytes.len() {
            let mut bytes = Vec::with_capacity(self.bytes.len() - self.written);
            for line in &mut self.lines {
                let start = bytes.len();
                bytes.extend_from_slice(self.bytes.get(line.start..line.end).unwrap_or_default());
                (line.start, line.end) = (start, bytes.len());
            }
            (self.bytes, self.written) = (bytes, 0);
        }
        self.ask_at = (2 * (self.bytes.len() - self.written)).clamp(LEAST_HELD, self.most_held);
    }
}
