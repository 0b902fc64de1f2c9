//! The lines of a server's log in the order of their times. A record comes when its request has ended, or its session is ready; lines of
//! it have the time at which that began.
//!
//! ```text
//!   records of some connections -> LogMaker --+
//!   records of others           -> LogMaker --+--> LogOrder: lines that wait, until none can come that is earlier
//! ```

use std::io::{self, IoSlice};

use super::output::{Output, PIECES};
use crate::output::{Form as _, LogStyle, ServerLog};
use crate::record::Record;
use crate::time::Timestamp;

/// How many bytes of lines wait for earlier ones at most.
const MOST_HELD: usize = 64 << 20;

/// After so many bytes it is asked again what may be written.
pub(super) const LEAST_HELD: usize = 1 << 20;

/// How much later than a packet, in microseconds, one may come that was captured before it, or that fills a hole.
const LATE: u64 = 500_000;

/// How long lines wait for an earlier one where they have the times of ends, in microseconds. The few that have the time of a beginning,
/// of a session or of a Parse long before its Execute, are not worth more.
const PATIENCE: u64 = 2_000_000;

/// How many bytes of lines that were written are held, in addition to as many as wait, so that these are not moved.
const SLACK: usize = 16 << 20;

/// How many empty buffers are kept.
const SPARE: usize = 8;

/// How many lines one is moved before, at most, where it is made.
const NEAR: usize = 64;

/// Lines, one behind the other.
#[derive(Default)]
pub(super) struct LogLines {
    bytes: Vec<u8>,
    /// In their order, but for those that belong farther to the front than [`NEAR`] lines.
    lines: Vec<LogLine>,
}

impl LogLines {
    /// Returns how many bytes there are.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Where a line is in its buffer, and what lines are ordered by.
#[derive(Clone, Copy, Debug)]
struct LogLine {
    due: Timestamp,
    /// Where they are made by several threads: the packet of its record.
    packet: u64,
    start: usize,
    end: usize,
}

/// Which of the lines may be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    None,
    /// Those before this time.
    Before(Timestamp),
    All,
}

/// Makes the lines of records.
pub(super) struct LogMaker {
    log: ServerLog,
    /// How long lines wait, if there is a limit.
    patience: Option<u64>,
    lines: LogLines,
    /// How many lines are in their place.
    placed: usize,
}

impl LogMaker {
    pub(super) fn new(log: ServerLog, style: LogStyle) -> Self {
        Self {
            log: log.noting_ends(),
            patience: (style == LogStyle::Duration).then_some(PATIENCE),
            lines: LogLines::default(),
            placed: 0,
        }
    }

    /// Returns what makes the lines of other records of the same log.
    pub(super) fn another(&self) -> Self {
        Self { log: self.log.part(), patience: self.patience, lines: LogLines::default(), placed: 0 }
    }

    /// Makes the lines of a record.
    pub(super) fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let Self { log, lines, patience, .. } = self;
        let mut start = lines.bytes.len();
        log.record(&mut lines.bytes, record)?;
        // What comes too late has the place where it could have come at the earliest. So the order does not depend on when it is asked
        // what may be written.
        let earliest = patience.zip(record.ts()).map(|(patience, ts)| ts.earlier(LATE + patience));
        let due = |ts: Timestamp| earliest.map_or(ts, |earliest| ts.max(earliest));
        lines.lines.extend(log.ends().map(|(ts, end)| {
            let start = std::mem::replace(&mut start, end);
            LogLine { due: due(ts), packet: 0, start, end }
        }));
        Ok(())
    }

    /// Notes that the lines since the last call are of this packet, and brings them in their place.
    pub(super) fn end_packet(&mut self, packet: u64) {
        let lines = &mut self.lines.lines;
        for end in std::mem::replace(&mut self.placed, lines.len())..lines.len() {
            let Some((line, before)) = lines.get_mut(..=end).and_then(<[_]>::split_last_mut) else { return };
            line.packet = packet;
            let due = line.due;
            let is_later = |other: &&LogLine| other.due > due;
            let later = before.iter().rev().take(NEAR + 1).take_while(is_later).count();
            // What is farther away is found out where all are brought in order.
            if (1..=NEAR).contains(&later)
                && let Some(moved) = lines.get_mut(end - later..=end)
            {
                moved.rotate_right(1);
            }
        }
    }

    /// Returns the lines since the last call. Further ones are made in a buffer that was used before, if there is one.
    pub(super) fn take(&mut self, used: Option<LogLines>) -> LogLines {
        self.end_packet(0);
        self.placed = 0;
        std::mem::replace(&mut self.lines, used.unwrap_or_default())
    }

    /// Returns how many bytes were made since lines were taken.
    pub(super) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns which lines may be written: those before which none can come, where all packets up to `now` were dissected, and the
    /// earliest record to come began at `earliest`.
    pub(super) fn due(&self, now: Timestamp, earliest: Option<Timestamp>) -> Due {
        let known = now.earlier(LATE);
        let mark = earliest.map_or(known, |earliest| earliest.min(known));
        Due::Before(self.patience.map_or(mark, |patience| mark.max(known.earlier(patience))))
    }

    /// Returns whether the statements are to be run again, and have secrets masked.
    pub(super) const fn masks(&self) -> bool {
        self.patience.is_none() && self.log.has_secret()
    }

    /// Returns whether the statements are to be run again, and the text of a parameter is not known.
    pub(super) const fn lacks_text(&self) -> bool {
        self.patience.is_none() && self.log.lacks_text()
    }
}

/// Lines that wait until none can come that is earlier.
pub(super) struct LogOrder {
    /// Where the lines are.
    chunks: Vec<Chunk>,
    /// The indices of chunks that are empty.
    empty: Vec<usize>,
    /// Empty buffers.
    spare: Vec<Vec<u8>>,
    /// Lines in their order, and those that were added since the last look.
    lines: Vec<Waiting>,
    /// How many lines were written, of these.
    written: usize,
    /// The earliest of the lines that were added since the last look, and how many these are.
    earliest_new: Option<Timestamp>,
    new: usize,
    /// How often lines were added.
    sets: u64,
    /// How many bytes wait, and are in chunks.
    waiting: usize,
    held: usize,
    most_held: usize,
    /// Whether lines are written because too many wait, until some less do.
    is_draining: bool,
    /// Whether that ever was so.
    has_overflowed: bool,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// How many of its lines wait.
    lines: usize,
}

/// Where a line is.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    line: LogLine,
    set: u64,
    chunk: usize,
}

impl Default for LogOrder {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            empty: Vec::new(),
            spare: Vec::new(),
            lines: Vec::new(),
            written: 0,
            earliest_new: None,
            new: 0,
            sets: 0,
            waiting: 0,
            held: 0,
            most_held: MOST_HELD,
            is_draining: false,
            has_overflowed: false,
        }
    }
}

impl LogOrder {
    /// Adds lines that were made after all that were added before; those of several makers by their packets. What is left is empty, for
    /// reuse.
    pub(super) fn add(&mut self, made: &mut [LogLines]) {
        self.sets += 1;
        for LogLines { bytes, lines } in made.iter_mut().filter(|made| !made.lines.is_empty()) {
            let bytes = std::mem::replace(bytes, self.spare.pop().unwrap_or_default());
            let chunk = self.chunk(bytes, lines.len());
            self.new += lines.len();
            for line in lines.drain(..) {
                self.waiting += line.end - line.start;
                self.earliest_new = Some(self.earliest_new.map_or(line.due, |earliest| earliest.min(line.due)));
                self.lines.push(Waiting { line, set: self.sets, chunk });
            }
        }
    }

    /// Returns the index of a new chunk.
    fn chunk(&mut self, bytes: Vec<u8>, lines: usize) -> usize {
        self.held += bytes.len();
        let index = self.empty.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk::default());
            self.chunks.len() - 1
        });
        if let Some(chunk) = self.chunks.get_mut(index) {
            *chunk = Chunk { bytes, lines };
        }
        index
    }

    /// Returns whether lines were written out of order, because too many waited.
    pub(super) const fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    /// Writes the lines that are due.
    pub(super) fn write(&mut self, due: Due, out: &mut Output) -> io::Result<()> {
        if due == Due::None {
            return Ok(());
        }
        self.sort();
        self.is_draining |= self.waiting > self.most_held;
        let mut first = self.written;
        while let Some(Waiting { line, .. }) = self.lines.get(self.written) {
            let is_due = match due {
                Due::Before(mark) => line.due < mark,
                Due::None | Due::All => true,
            };
            self.is_draining &= self.waiting > self.most_held / 4 * 3;
            if !is_due && !self.is_draining {
                break;
            }
            self.has_overflowed |= !is_due;
            self.waiting -= line.end - line.start;
            self.written += 1;
            if self.written - first == PIECES {
                self.write_from(first, out)?;
                first = self.written;
            }
        }
        self.write_from(first, out)?;
        if self.held > 2 * self.waiting + SLACK {
            self.compact();
        }
        Ok(())
    }

    /// Brings the lines in their order.
    fn sort(&mut self) {
        let Some(earliest) = self.earliest_new.take() else { return };
        let old = self.lines.len() - std::mem::take(&mut self.new);
        let earlier = self.lines.get(self.written..old).unwrap_or_default();
        let from = self.written + earlier.partition_point(|waiting| waiting.line.due <= earliest);
        // Runs that are in order.
        if let Some(lines) = self.lines.get_mut(from..) {
            lines.sort_by_key(|Waiting { line, set, .. }| (line.due.as_nanos(), *set, line.packet));
        }
        if self.written > self.lines.len() / 2 {
            self.lines.drain(..std::mem::take(&mut self.written));
        }
    }

    /// Writes the lines from this one on, up to the last one written. A chunk is free with the last one of its lines.
    fn write_from(&mut self, first: usize, out: &mut Output) -> io::Result<()> {
        let lines = self.lines.get(first..self.written).unwrap_or_default();
        let mut pieces = Vec::with_capacity(lines.len());
        let mut rest = lines.iter().peekable();
        while let Some(Waiting { line, chunk, .. }) = rest.next() {
            let mut end = line.end;
            while let Some(next) = rest.next_if(|next| (next.chunk, next.line.start) == (*chunk, end)) {
                end = next.line.end;
            }
            let bytes = self.chunks.get(*chunk).and_then(|chunk| chunk.bytes.get(line.start..end));
            pieces.push(IoSlice::new(bytes.unwrap_or_default()));
        }
        out.write_pieces(&mut pieces)?;
        for Waiting { chunk: index, .. } in lines {
            let Some(chunk) = self.chunks.get_mut(*index) else { continue };
            chunk.lines -= 1;
            if chunk.lines == 0 {
                let mut bytes = std::mem::take(&mut chunk.bytes);
                self.held -= bytes.len();
                self.empty.push(*index);
                if self.spare.len() < SPARE {
                    bytes.clear();
                    bytes.shrink_to(4 * LEAST_HELD);
                    self.spare.push(bytes);
                }
            }
        }
        Ok(())
    }

    /// Moves all lines that wait into one chunk.
    fn compact(&mut self) {
        self.lines.drain(..std::mem::take(&mut self.written));
        let mut bytes = Vec::with_capacity(self.waiting);
        for Waiting { line, chunk, .. } in &mut self.lines {
            let start = bytes.len();
            let chunk = self.chunks.get(std::mem::take(chunk)).map_or(&[][..], |chunk| &chunk.bytes);
            bytes.extend_from_slice(chunk.get(line.start..line.end).unwrap_or_default());
            (line.start, line.end) = (start, bytes.len());
        }
        self.chunks.clear();
        self.empty.clear();
        self.held = bytes.len();
        self.chunks.push(Chunk { bytes, lines: self.lines.len() });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::time::Precision;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn output(&self) -> Output {
            Output::new(Box::new(self.clone()), "output".to_owned())
        }

        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    /// Lines of these times in seconds and packets, with their text.
    fn lines(of: &[(i64, u64, &str)]) -> LogLines {
        let mut made = LogLines::default();
        for (seconds, packet, text) in of {
            let start = made.bytes.len();
            made.bytes.extend_from_slice(text.as_bytes());
            let end = made.bytes.len();
            made.lines.push(LogLine { due: at(*seconds), packet: *packet, start, end });
        }
        made
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0, Precision::Micros)
    }

    #[test]
    fn lines_of_several_makers_are_in_order_of_time_then_of_packet() {
        let (mut order, written) = (LogOrder::default(), Written::default());
        let mut out = written.output();
        order.add(&mut [lines(&[(1, 2, "b"), (3, 6, "f")]), lines(&[(1, 1, "a"), (1, 3, "c"), (2, 5, "e")])]);
        order.add(&mut [lines(&[(1, 0, "d"), (4, 0, "g")])]);
        order.write(Due::Before(at(3)), &mut out).unwrap();
        assert_eq!(written.take(), "abcde");
        order.add(&mut [lines(&[(2, 0, "late")])]);
        order.write(Due::None, &mut out).unwrap();
        assert_eq!(written.take(), "");
        order.write(Due::All, &mut out).unwrap();
        assert_eq!(written.take(), "latefg");
        assert_eq!((order.waiting, order.held), (0, 0));
    }

    #[test]
    fn the_memory_of_lines_that_were_written_is_freed_while_others_wait() {
        let (mut order, written) = (LogOrder::default(), Written::default());
        let mut out = written.output();
        let long = "x".repeat(SLACK / 4);
        for set in 0..40 {
            let name = format!("<{set}>");
            order.add(&mut [lines(&[(set, 0, &long), (1_000 + set, 0, &name)])]);
            order.write(Due::Before(at(set + 1)), &mut out).unwrap();
            assert_eq!(written.take(), long);
            assert!(order.held <= SLACK + 2 * order.waiting && !order.has_overflowed(), "{}", order.held);
        }
        order.write(Due::All, &mut out).unwrap();
        assert_eq!(written.take(), (0..40).map(|set| format!("<{set}>")).collect::<String>());
    }

    #[test]
    fn too_many_lines_do_not_wait() {
        let (mut order, written) = (LogOrder { most_held: 1_000, ..LogOrder::default() }, Written::default());
        let mut out = written.output();
        let text = "x".repeat(100);
        let of: Vec<_> = (0..11).map(|second| (second, 0, &*text)).collect();
        order.add(&mut [lines(&of)]);
        order.write(Due::Before(at(0)), &mut out).unwrap();
        // Up to three quarters of what may wait.
        assert_eq!((written.take().len(), order.waiting, order.has_overflowed()), (400, 700, true));
    }
}
