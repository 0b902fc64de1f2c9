//! The file of metrics.

use std::io::{self, Write};

use super::Run;
use crate::time::Timestamp;

/// The file of metrics, and what is written next.
pub(super) struct Metrics {
    file: Box<dyn Write + Send>,
    name: String,
    /// When the next line of a capture file is due.
    due: Option<Timestamp>,
    /// The time of the last line.
    last: Timestamp,
}

impl Metrics {
    pub(super) fn new((file, name): (Box<dyn Write + Send>, String)) -> Self {
        Self { file, name, due: None, last: Timestamp::default() }
    }

    /// Returns the time of a line that has it, or that of the line before if that is later.
    fn next(&mut self, now: Timestamp) -> Timestamp {
        self.last = self.last.max(now);
        self.last
    }
}

impl Run<'_> {
    /// Writes a line of metrics, if they are written: of all requests until now.
    pub(super) fn write_metrics(&mut self, now: Timestamp) -> io::Result<()> {
        let started = self.live_since.or(self.first_packet).unwrap_or_default();
        let (Some(metrics), Some(durations)) = (&mut self.metrics, self.writer.durations()) else { return Ok(()) };
        let mut line = Vec::new();
        // While no packet comes, lines of a live capture have the time of the clock: one with the time of the last packet would be earlier.
        durations.write(&mut line, started, metrics.next(started.max(now)))?;
        let Metrics { file, name, .. } = metrics;
        let written = file.write_all(&line).and_then(|()| file.flush());
        written.map_err(|error| io::Error::new(error.kind(), format!("{name}: cannot be written: {error}")))
    }

    /// Writes the line of metrics that is due before a packet of a file. Where nothing was captured for several intervals, each would have
    /// the same.
    pub(super) fn metrics_before(&mut self, ts: Timestamp) -> io::Result<()> {
        let interval = u64::try_from(self.args.interval().as_micros()).unwrap_or(u64::MAX).max(1);
        let Some(metrics) = &mut self.metrics else { return Ok(()) };
        let due = *metrics.due.get_or_insert(ts.later(interval));
        if ts < due {
            return Ok(());
        }
        let last = due.later(ts.micros_since(due) / interval * interval);
        metrics.due = Some(last.later(interval));
        self.write_metrics(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    #[test]
    fn no_line_is_earlier_than_the_one_before() {
        let at = |seconds| Timestamp::new(seconds, 0, Precision::Micros);
        let mut metrics = Metrics::new((Box::new(io::sink()), String::new()));
        assert_eq!([7, 9, 8, 10].map(|seconds| metrics.next(at(seconds))), [7, 9, 9, 10].map(at));
    }
}
