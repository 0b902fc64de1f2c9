//! Lines of packets dissected in parallel: formatted in the dissecting thread, and merged in the order of packets when they are
//! written.

use std::io::{self, IoSlice};

use crate::dissector::{PacketsOf, Sink};
use crate::output::Form;
use crate::output::otlp::Durations;
use crate::output::stats::Statistics;
use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, Record, ReplicationEvent};

use super::log_order::LogMaker;
use super::output::{Output, PIECES};
use super::selection::Selection;
use crate::cli::extract::Chosen;

/// Formats the lines of one thread. Aligned so that threads do not share its cache lines.
#[repr(align(128))]
pub(super) struct ShardWriter {
    pub(super) selection: Selection,
    pub(super) form: Box<dyn Form>,
    pub(super) lines: ShardLines,
    /// If they are a server's log: what makes its lines, in place of the form.
    pub(super) log: Option<LogMaker>,
    /// If there is to be a summary: what the records add up to.
    pub(super) statistics: Option<Statistics>,
    /// If there are to be metrics: the durations of requests.
    pub(super) durations: Option<Durations>,
    /// The connections with lines, if their packets are extracted.
    pub(super) chosen: Option<Chosen>,
    pub(super) error: Option<io::Error>,
}

/// Lines, and for each packet with lines, in order, where they end.
#[derive(Default)]
pub(super) struct ShardLines {
    lines: Vec<u8>,
    ends: Vec<(u64, usize)>,
}

impl Sink for ShardWriter {
    fn record(&mut self, record: &Record<'_>) {
        if !self.selection.selects(record) {
            return;
        }
        let is_counted = self.selection.count(self.statistics.as_mut(), record);
        let is_wanted = self.selection.wants(record);
        if is_counted || is_wanted {
            self.choose(record.header().map(|header| header.conn));
        }
        if is_wanted {
            if let (Some(durations), Record::Query(query)) = (&mut self.durations, record) {
                durations.add(query);
            }
            match &mut self.log {
                // Writing to memory does not fail.
                Some(log) => self.error = self.error.take().or(log.record(record).err()),
                None => self.make(|form, lines| form.record(lines, record)),
            }
        }
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        if self.selection.is_in_time(event.header.ts) && self.selection.wants_message(|| event.name(decoded.as_ref())) {
            self.choose(Some(event.header.conn));
            self.make(|form, lines| form.message(lines, event, decoded));
        }
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        // Where only so many messages are wanted, nothing is dissected in parallel.
        if self.selection.wants_of(run) == run.count {
            self.choose(Some(run.first.header.conn));
            self.make(|form, lines| form.data(lines, run));
        }
    }

    fn replication(&mut self, event: &ReplicationEvent<'_>) {
        if self.selection.selects_replication(event)
            && let Some(statistics) = &mut self.statistics
        {
            statistics.replication(event);
        }
    }

    fn packets(&mut self, known: &PacketsOf<'_>) {
        if let Some(chosen) = &mut self.chosen {
            chosen.note(known);
        }
    }

    fn end_packet(&mut self, packet: u64) {
        if let Some(log) = &mut self.log {
            return log.end_packet(packet);
        }
        let ShardLines { lines, ends } = &mut self.lines;
        if lines.len() > ends.last().map_or(0, |(_, end)| *end) {
            ends.push((packet, lines.len()));
        }
    }
}

impl ShardWriter {
    fn choose(&mut self, conn: Option<u64>) {
        if let (Some(chosen), Some(conn)) = (&mut self.chosen, conn) {
            chosen.add(conn);
        }
    }

    fn make(&mut self, make: impl FnOnce(&mut dyn Form, &mut Vec<u8>) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = make(&mut *self.form, &mut self.lines.lines).err();
        }
    }
}

impl ShardLines {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.lines.shrink_to(4 * super::KEPT);
        self.ends.clear();
    }
}

/// Writes lines in the order of their packets.
pub(super) fn merge(shards: &[ShardLines], out: &mut Output) -> io::Result<()> {
    let packets = || shards.iter().flat_map(|shard| &shard.ends).map(|(packet, _)| *packet);
    let (Some(first), Some(last)) = (packets().min(), packets().max()) else { return Ok(()) };
    // The shard and range of each packet's lines: a packet has lines of one connection, and so of one shard.
    let mut places = vec![(0, 0, 0); (last - first) as usize + 1];
    for (shard, ShardLines { ends, .. }) in shards.iter().enumerate() {
        let mut start = 0;
        for (packet, end) in ends {
            if let Some(place) = places.get_mut((packet - first) as usize) {
                *place = (shard, start, *end);
            }
            start = *end;
        }
    }
    let mut pieces = Vec::with_capacity(PIECES);
    let mut places = places.into_iter().filter(|(_, start, end)| start < end).peekable();
    while let Some((shard, start, mut end)) = places.next() {
        while let Some((.., further)) = places.next_if(|(next, start, _)| (*next, *start) == (shard, end)) {
            end = further;
        }
        let lines = shards.get(shard).and_then(|shard| shard.lines.get(start..end));
        pieces.push(IoSlice::new(lines.unwrap_or_default()));
        if pieces.len() == PIECES {
            out.write_pieces(&mut pieces)?;
            pieces.clear();
        }
    }
    out.write_pieces(&mut pieces)
}
