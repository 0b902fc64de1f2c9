//! Writing of lines: selected, formatted into one buffer, and written in large pieces, by this thread or by others.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::jq::Filtered;
use crate::dissector::{Dissector, PacketsOf, Sink};
use crate::output::Form;
use crate::output::batch::Batch;
use crate::output::json::{DerivedWriter, LineWriter};
use crate::output::otlp::{Durations, Otlp, TraceLines};
use crate::output::report;
use crate::output::sql_script::SqlScript;
use crate::output::stats::{Bursts, Limits, Statistics};
use crate::output::summary::SummaryStyle;
use crate::output::text::sequence::Sequence;
use crate::output::text::{TextStyle, Zone};
use crate::output::{LogStyle, ServerLog};
use crate::packet::Block;
use crate::pg::message::Decoded;
use crate::record::{
    ChangeRun, LossRecord, MessageEvent, MessageRun, Record, ReplicationEvent, SessionRecord, StatsRecord, Summary,
};
use crate::time::Timestamp;

use self::log_order::{Due, LEAST_HELD, LogLines, LogMaker, LogOrder};
use self::output::Output;
use self::selection::Selection;
use self::shard::{ShardLines, ShardWriter};
use self::text::Text;
use self::unmatched::{Closest, Others, Seen};
use self::worker_pool::WorkerPool;
use super::args::{Args, Event, Format, Statements};
use super::extract::{Chosen, Owners};
use super::screen_data::ScreenData;

mod log_order;
mod output;
mod selection;
mod shard;
mod text;
mod unmatched;
mod worker_pool;

pub(crate) use self::output::write_all_pieces;
pub(crate) use self::text::TerminalWidth;

/// The size at which the buffer is written.
const BUFFER: usize = 64 * 1024;

/// The capacity of the buffer that is kept, so that one very long line does not use memory forever.
const KEPT: usize = 1024 * 1024;

/// The memory for the statements of a summary.
const MAX_STATEMENT_BYTES: usize = 64 << 20;

/// How long lines may be buffered while more lines arrive without a pause.
const MAX_DELAY: Duration = Duration::from_millis(50);

/// How text looks.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) color: bool,
    /// How many columns a line of a summary has at most.
    pub(crate) width: usize,
    /// How many a line of a record has, if it is cut.
    pub(crate) terminal: Option<TerminalWidth>,
    /// Whether it is written to a terminal.
    pub(crate) to_terminal: bool,
    /// The zone of times of day.
    pub(crate) zone: Zone,
}

/// The summary as a page for a browser.
#[derive(Debug)]
struct Page;

impl Form for Page {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Summary(summary) => report::write(out, summary),
            _ => Ok(()),
        }
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self)
    }
}

/// Writes the selected lines.
pub(crate) struct Writer {
    selection: Selection,
    others: Others,
    form: Box<dyn Form>,
    /// If the form is text: what depends on the lines before.
    text: Option<Text>,
    /// If they are a server's log: what makes its lines, in place of the form.
    log: Option<LogMaker>,
    /// Empty buffers for its lines.
    used_log: Vec<LogLines>,
    /// How many bytes of a log were passed on since it was asked what may be written.
    log_bytes: usize,
    /// Whether lines of a log were written out of order.
    log_has_overflowed: bool,
    mode: Mode,
    /// Whether the form holds records back.
    holds_back: bool,
    /// Whether the output has to be flushed without lines, because a file may be whole.
    is_rotated: bool,
    /// If there are to be metrics: the durations of requests, except those of shards.
    durations: Option<Durations>,
    /// If there is to be a summary: what the records add up to, except those of shards.
    statistics: Option<Statistics>,
    /// Where the records go in place of lines, if they are for a screen.
    screen: Option<Arc<ScreenData>>,
    /// If packets are extracted: which connections they belong to.
    owners: Option<Owners>,
    /// Whether lines choose connections.
    chooses: bool,
    /// Whether a filter may leave nothing of a line, which does not choose then.
    filters: bool,
    /// Whether requests alone are written, so that a session chooses no connection.
    is_script: bool,
    /// The writers for packets dissected in parallel; empty if that is disabled.
    shards: Vec<ShardWriter>,
    /// The minimum number of packets for which parallel dissection is worthwhile.
    least_in_parallel: usize,
    flushed: Instant,
}

/// Which threads format records as lines.
enum Mode {
    /// This thread.
    Direct {
        out: Output,
        buffer: Vec<u8>,
        /// The first error of `out`: nothing is written after it.
        error: Option<io::Error>,
        /// The lines of a log that wait.
        log: Box<LogOrder>,
    },
    /// Worker threads.
    Pooled(Box<WorkerPool>),
}

impl Writer {
    /// Creates a writer to `out`, named `name` in messages, with this number of additional threads.
    ///
    /// # Errors
    ///
    /// Fails where the system starts no threads.
    pub(crate) fn new(
        out: Box<dyn Write + Send>,
        name: String,
        args: &Args,
        look: Look,
        workers: usize,
    ) -> io::Result<Self> {
        let wants = |event| args.events.contains(&event);
        let summary = SummaryStyle { color: look.color, width: look.width, top: args.top.into() };
        let (mut text, mut log) = (None, None);
        let form: Box<dyn Form> = match args.format {
            Format::Json if args.no_fast_paths => Box::new(DerivedWriter),
            // Tables are made of the lines.
            Format::Json | Format::Parquet => Box::new(LineWriter::default()),
            Format::Text => {
                let compact = !wants(Event::Message);
                let style = TextStyle { color: look.color, zone: look.zone, compact, summary, width: None };
                let (form, made) = Text::new(style, look.terminal);
                text = Some(made);
                form
            }
            Format::Otlp => Box::new(Otlp),
            Format::Sql => Box::new(SqlScript::new(look.to_terminal)),
            Format::Summary => Box::new(summary),
            Format::Html => Box::new(Page),
            Format::Csvlog | Format::Jsonlog | Format::Stderrlog => {
                let style = match args.log_style {
                    None | Some(Statements::Duration) => LogStyle::Duration,
                    Some(Statements::Statement) => LogStyle::Statement,
                };
                let version = args.log_version.unwrap_or(15);
                let made = ServerLog::new(args.format.log().unwrap_or_default(), style, version);
                let min_us = args.min_duration.map_or(0, |least| u64::try_from(least.as_micros()).unwrap_or(u64::MAX));
                log = Some(LogMaker::new(made.min_duration(min_us), style));
                Box::new(Page)
            }
            // Writes nothing: the records are those of the screen.
            Format::Top => Box::new(Page),
        };
        let out = if args.format == Format::Otlp { Box::new(TraceLines::new(out)) } else { out };
        let form = match &args.jq_filter {
            Some(filter) => Box::new(Filtered::new(form, filter.clone())),
            None => form,
        };
        let out = Output::new(out, name);
        // Lines choose connections if the filter leaves anything of them.
        let is_alone = args.jq_filter.is_some() && args.extract.is_some();
        let workers = if is_alone { 0 } else { workers };
        let durations = || args.otlp_metrics.as_ref().map(|_| Durations::default());
        // To limit the number of messages, they have to be counted in order; and lines of text depend on those before.
        let is_in_order = args.count.is_some() || text.is_some();
        let shards = if workers > 0 && !is_in_order { workers + 1 } else { 0 };
        let bursts = Arc::<Bursts>::default();
        let statement_bytes = MAX_STATEMENT_BYTES / (shards + 1);
        let limits = Limits { top: args.top.into(), statement_bytes };
        let statistics = || wants(Event::Summary).then(|| Statistics::new(limits, Arc::clone(&bursts)));
        let shard = || ShardWriter {
            selection: Selection::new(args),
            form: form.another(),
            lines: ShardLines::default(),
            log: log.as_ref().map(LogMaker::another),
            statistics: statistics(),
            durations: durations(),
            chosen: args.extract.as_ref().map(|_| Chosen::default()),
            error: None,
        };
        Ok(Self {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            statistics: statistics(),
            durations: durations(),
            holds_back: matches!(args.format, Format::Otlp | Format::Sql),
            is_rotated: args.reopens_output(),
            screen: None,
            owners: None,
            chooses: false,
            filters: args.jq_filter.is_some(),
            is_script: args.format == Format::Sql,
            least_in_parallel: args.least_in_parallel,
            selection: Selection::new(args),
            others: Others::default(),
            mode: match workers {
                0 => Mode::Direct { out, buffer: Vec::with_capacity(2 * BUFFER), error: None, log: Box::default() },
                workers => Mode::Pooled(Box::new(WorkerPool::new(&*form, out, workers)?)),
            },
            form,
            text,
            log,
            used_log: Vec::new(),
            log_bytes: 0,
            log_has_overflowed: false,
            flushed: Instant::now(),
        })
    }

    /// Sets where the records go in place of lines.
    pub(crate) fn set_screen(&mut self, screen: Arc<ScreenData>) {
        self.screen = Some(screen);
    }

    /// Returns where the records go in place of lines, if they are for a screen.
    pub(crate) const fn screen(&self) -> Option<&Arc<ScreenData>> {
        self.screen.as_ref()
    }

    /// Returns whether the requested number of messages was written.
    pub(crate) const fn is_done(&self) -> bool {
        self.selection.left == 0
    }

    /// Determines what is selected by its time, in a capture with this first packet.
    pub(crate) fn begin(&mut self, args: &Args, first: Timestamp) {
        let selections = self.shards.iter_mut().map(|shard| &mut shard.selection);
        selections.chain([&mut self.selection]).for_each(|selection| selection.begin(args, first));
    }

    /// Returns what to tell a user whose options selected nothing, or left something out, a line each. `times` are the first and
    /// the last of packets.
    pub(crate) fn unmatched(
        &self,
        args: &Args,
        connections: u64,
        times: Option<(Timestamp, Timestamp)>,
    ) -> Vec<String> {
        let selections = || self.shards.iter().map(|shard| &shard.selection).chain([&self.selection]);
        let mut closest = Closest::default();
        selections().for_each(|selection| closest.merge(&selection.closest));
        let seen = Seen { closest, others: &self.others, connections, times };
        let mut lines = seen.report(args, selections().filter_map(Selection::tally));
        lines.extend(seen.undecided());
        let logs = || self.shards.iter().filter_map(|shard| shard.log.as_ref()).chain(&self.log);
        if logs().any(LogMaker::masks) {
            let text = "secrets are *** in this log, and would be so where it is replayed: --show-secrets writes them";
            lines.push(text.to_owned());
        }
        if logs().any(LogMaker::lacks_text) {
            let text = "the text of some parameters is not known, mostly because they are binary and of a type of their own: these \
                        lines have \"not all are known as text\" in DETAIL, and fail where this log is replayed";
            lines.push(text.to_owned());
        }
        lines
    }

    /// Writes counters, if they are selected.
    pub(crate) fn stats(&mut self, stats: &StatsRecord) {
        if self.selection.stats {
            self.write(&Record::Stats(stats.clone()));
        }
    }

    /// Sets where connections with lines are noted, so that their packets can be extracted.
    pub(crate) fn set_owners(&mut self, owners: Owners, chooses: bool) {
        self.owners = Some(owners);
        self.chooses = chooses;
    }

    /// Returns which packets belong to connections with lines, if that was set.
    pub(crate) const fn owners(&mut self) -> Option<&mut Owners> {
        self.owners.as_mut()
    }

    fn choose(&mut self, conn: Option<u64>) {
        if let (Some(owners), Some(conn), true) = (&mut self.owners, conn, self.chooses) {
            owners.choose(conn);
        }
    }

    /// Returns the statistics for a summary, if there is to be one. Those of all threads are in them at the end, after
    /// [`Self::merge_statistics`].
    pub(crate) const fn statistics(&mut self) -> Option<&mut Statistics> {
        self.statistics.as_mut()
    }

    /// Returns the durations of requests, if there are to be metrics.
    pub(crate) const fn durations(&self) -> Option<&Durations> {
        self.durations.as_ref()
    }

    /// Merges the statistics of all threads. Nothing may be dissected in parallel afterwards.
    pub(crate) fn merge_statistics(&mut self) {
        let shards = self.shards.iter_mut().filter_map(|shard| shard.statistics.take());
        if let Some(statistics) = &mut self.statistics {
            shards.for_each(|shard| statistics.merge(shard));
        }
        let shards = self.shards.iter_mut().filter_map(|shard| shard.durations.take());
        if let Some(durations) = &mut self.durations {
            shards.for_each(|shard| durations.merge(shard));
        }
    }

    /// Returns the statistics, if there are any.
    pub(crate) fn into_statistics(self) -> Option<Statistics> {
        self.statistics
    }

    /// Writes a summary.
    pub(crate) fn summary(&mut self, summary: &Summary) {
        self.write(&Record::Summary(summary));
    }

    /// Dissects packets of a block in parallel, if that is worthwhile. Returns the number of packets processed, which may be 0.
    pub(crate) fn in_parallel(&mut self, dissector: &mut Dissector, block: &Block, next: usize) -> usize {
        let Mode::Pooled(pool) = &mut self.mode else { return 0 };
        let taken = dissector.in_parallel(block, next, self.least_in_parallel, pool.threads(), &mut self.shards);
        if taken > 0
            && let Some(log) = &mut self.log
        {
            let shards = self.shards.iter_mut().filter_map(|shard| shard.log.as_mut());
            let mut used = std::mem::take(&mut self.used_log).into_iter();
            let lines: Vec<_> = [log].into_iter().chain(shards).map(|log| log.take(used.next())).collect();
            self.log_bytes += lines.iter().map(LogLines::len).sum::<usize>();
            self.used_log = pool.log(lines, Due::None);
        } else if taken > 0 {
            let lines = self.shards.iter_mut().map(|shard| std::mem::take(&mut shard.lines)).collect();
            let mut used = pool.merge(lines).into_iter();
            for shard in &mut self.shards {
                shard.lines = used.next().unwrap_or_default();
            }
        }
        for shard in &mut self.shards {
            if let (Some(owners), Some(chosen)) = (&mut self.owners, &mut shard.chosen) {
                owners.choose_all(chosen);
            }
            if let Some(error) = shard.error.take() {
                pool.fail(error);
            }
        }
        taken
    }

    /// Returns whether packets may be dissected in parallel.
    pub(crate) const fn has_shards(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Returns whether so many lines of a log wait for earlier ones that it should be found out which can come.
    pub(crate) fn has_long_log(&self) -> bool {
        self.log.as_ref().is_some_and(|log| self.log_bytes + log.len() >= LEAST_HELD)
    }

    /// Returns whether lines wait for earlier ones.
    pub(crate) const fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Writes the lines of a log before which none can come any more, where all packets up to `now` were dissected, and the earliest
    /// record to come began at `earliest`. Returns whether lines were written out of order for the first time, because too many waited.
    pub(crate) fn pass_log(&mut self, now: Timestamp, earliest: Option<Timestamp>) -> bool {
        let Some(due) = self.log.as_ref().map(|log| log.due(now, earliest)) else { return false };
        let has_overflowed = self.write_log(due);
        has_overflowed && !std::mem::replace(&mut self.log_has_overflowed, true)
    }

    /// Writes the lines of a log that are due. Returns whether any were written out of order so far, as far as is known.
    fn write_log(&mut self, due: Due) -> bool {
        let Some(log) = &mut self.log else { return false };
        self.log_bytes = 0;
        let mut lines = vec![log.take(self.used_log.pop())];
        match &mut self.mode {
            Mode::Direct { out, error, log: order, .. } => {
                order.add(&mut lines);
                self.used_log = lines;
                if error.is_none() {
                    *error = order.write(due, out).err();
                }
                order.has_overflowed()
            }
            Mode::Pooled(pool) => {
                self.used_log = pool.log(lines, due);
                pool.log_has_overflowed()
            }
        }
    }

    /// Writes and flushes the buffered lines.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        if let Some(text) = &mut self.text {
            text.follow_terminal();
        }
        if self.holds_back {
            self.make(|form, lines| form.flush(lines, false));
        }
        match &mut self.mode {
            Mode::Direct { out, buffer, error, .. } => {
                write_buffer(out, buffer, error);
                error.take().map_or_else(|| out.flush(), Err)
            }
            Mode::Pooled(pool) => {
                if self.is_rotated {
                    pool.flush();
                } else {
                    pool.send_batch();
                }
                pool.check()
            }
        }
    }

    /// Flushes lines that were buffered for long enough.
    pub(crate) fn flush_if_older(&mut self, now: Instant) -> io::Result<()> {
        if now - self.flushed >= MAX_DELAY { self.flush() } else { Ok(()) }
    }

    /// Returns the error that stopped the output, if any.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match &mut self.mode {
            Mode::Direct { error, .. } => error.take().map_or(Ok(()), Err),
            Mode::Pooled(pool) => pool.check(),
        }
    }

    /// Waits until all lines so far are written. Returns how many messages, of those passed undecoded, could not be decoded.
    /// Further lines are written by this thread.
    pub(crate) fn settle(&mut self) -> io::Result<u64> {
        for conn in self.text.as_ref().map_or_else(Vec::new, |text| text.sequence.connections()) {
            self.release(conn);
        }
        if self.holds_back {
            self.make(|form, lines| form.flush(lines, true));
        }
        self.write_log(Due::All);
        let Mode::Pooled(pool) = &mut self.mode else { return Ok(0) };
        let out = pool.finish()?;
        let undecoded = pool.undecoded();
        self.mode = Mode::Direct { out, buffer: Vec::new(), error: None, log: Box::default() };
        Ok(undecoded)
    }

    /// Writes a record. Returns whether anything was written, as far as is known.
    fn write(&mut self, record: &Record<'_>) -> bool {
        if let Some(log) = &mut self.log {
            // Writing to memory does not fail.
            return log.record(record).is_ok();
        }
        if let Some(ts) = record.ts() {
            self.announce(ts);
        }
        if let (Mode::Pooled(pool), Record::Query(query)) = (&mut self.mode, record) {
            pool.fill(|batch| batch.query(query));
            return true;
        }
        self.make(|form, lines| form.record(lines, record))
    }

    /// Formats lines in this thread. Returns whether there are any, as far as is known.
    fn make(&mut self, make: impl FnOnce(&mut dyn Form, &mut Vec<u8>) -> io::Result<()>) -> bool {
        let Self { mode, form, .. } = self;
        match mode {
            Mode::Direct { out, buffer, error, .. } => {
                let before = buffer.len();
                if error.is_none() {
                    *error = make(&mut **form, buffer).err();
                }
                let is_more = buffer.len() > before;
                if error.is_none() && buffer.len() >= BUFFER {
                    write_buffer(out, buffer, error);
                }
                is_more
            }
            Mode::Pooled(pool) => {
                let mut made = Ok(());
                pool.fill(|batch| batch.line(|lines| made = make(&mut **form, lines)));
                if let Err(failed) = made {
                    pool.fail(failed);
                }
                true
            }
        }
    }

    /// Writes what must be known to read the time of the next line of text.
    fn announce(&mut self, ts: Timestamp) {
        if self.text.as_ref().is_some_and(|text| text.sequence.is_news(ts)) {
            self.make_in_order(|sequence, lines| sequence.announce(lines, ts));
        }
    }

    /// Writes the settings of a connection, if some are held: another message or record of it follows.
    fn release(&mut self, conn: u64) {
        if self.text.as_ref().is_some_and(|text| text.sequence.holds(conn)) {
            self.make_in_order(|sequence, lines| sequence.release(lines, conn));
        }
    }

    /// Formats lines of text that depend on those before.
    fn make_in_order(&mut self, make: impl FnOnce(&mut Sequence, &mut Vec<u8>) -> io::Result<()>) {
        if let Some(mut text) = self.text.take() {
            self.make(|_, lines| make(&mut text.sequence, lines));
            self.text = Some(text);
        }
    }

    /// Handles a selected message as [`Sink::message`].
    fn selected<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        self.announce(event.header.ts);
        match &mut self.mode {
            Mode::Pooled(pool) if Batch::takes(event) => pool.fill(|batch| batch.message(event, decoded.is_none())),
            _ => {
                let is_written = self.make(|form, lines| form.message(lines, event, decoded));
                self.choose_filtered(event.header.conn, is_written);
            }
        }
    }

    /// Notes the connection of a line that the filter, if there is one, has left something of.
    fn choose_filtered(&mut self, conn: u64, is_written: bool) {
        if self.filters && is_written {
            self.choose(Some(conn));
        }
    }
}

/// Writes the buffered lines.
fn write_buffer(out: &mut Output, buffer: &mut Vec<u8>, error: &mut Option<io::Error>) {
    if error.is_none()
        && let Err(failed) = out.write(buffer)
    {
        *error = Some(failed);
    }
    buffer.clear();
    buffer.shrink_to(KEPT);
}

impl Sink for Writer {
    fn record(&mut self, record: &Record<'_>) {
        if !self.selection.selects(record) {
            return;
        }
        if let Some(screen) = &self.screen {
            screen.model().record(record);
            // There are no lines: as with a summary, requests choose.
            if let Record::Query(query) = record {
                self.choose(Some(query.header.conn));
            }
            return;
        }
        if self.text.is_some()
            && let Some(header) = record.header()
        {
            self.release(header.conn);
        }
        let is_counted = self.selection.count(self.statistics.as_mut(), record);
        let is_wanted = self.selection.wants(record);
        let is_chosen = if self.is_script { matches!(record, Record::Query(_)) } else { !self.filters };
        if is_counted || is_wanted && is_chosen {
            self.choose(record.header().map(|header| header.conn));
        }
        if is_wanted {
            if let (Some(durations), Record::Query(query)) = (&mut self.durations, record) {
                durations.add(query);
            }
            let is_written = self.write(record);
            if let Some(header) = record.header() {
                self.choose_filtered(header.conn, is_written);
            }
        }
    }

    fn changes(&mut self, run: &ChangeRun<'_>) {
        let is_of_lines = self.screen.is_none() && self.statistics.is_none() && self.text.is_none();
        if !is_of_lines || !self.selection.wants_changes(run) {
            return run.for_each(|change| self.record(&Record::Change(change)));
        }
        if !self.filters {
            self.choose(Some(run.header.conn));
        }
        match &mut self.mode {
            Mode::Pooled(pool) if Batch::takes_changes(run) => pool.fill(|batch| batch.changes(run)),
            _ => {
                let is_written = self.make(|form, lines| form.changes(lines, run));
                self.choose_filtered(run.header.conn, is_written);
            }
        }
    }

    fn replication(&mut self, event: &ReplicationEvent<'_>) {
        if !self.selection.selects_replication(event) {
            return;
        }
        if let Some(screen) = &self.screen {
            screen.model().replication(event);
        } else if let Some(statistics) = &mut self.statistics {
            statistics.replication(event);
        }
    }

    fn packets(&mut self, known: &PacketsOf<'_>) {
        if let Some(owners) = &mut self.owners {
            owners.note(known);
        }
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        if !self.selection.is_in_time(event.header.ts) {
            return;
        }
        if let Some(screen) = &self.screen {
            return screen.model().message(event, decoded);
        }
        let is_wanted = self.selection.wants_message(|| event.name(decoded.as_ref()));
        if is_wanted && !self.filters {
            self.choose(Some(event.header.conn));
        }
        if let Some(text) = &mut self.text {
            if is_wanted && text.sequence.hold(event, decoded) {
                return;
            }
            self.release(event.header.conn);
        }
        if is_wanted {
            self.selected(event, decoded);
        }
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        if let Some(screen) = &self.screen {
            if self.selection.is_in_time(run.first.header.ts) {
                screen.model().data(run);
            }
            return;
        }
        self.release(run.first.header.conn);
        let mut left = self.selection.wants_of(run);
        if left > 0 && !self.filters {
            self.choose(Some(run.first.header.conn));
        }
        if left < run.count {
            return run.for_each(|event| {
                if left > 0 {
                    left -= 1;
                    self.selected(event, &mut None);
                }
            });
        }
        if run.count > 0 {
            self.announce(run.first.header.ts);
        }
        match &mut self.mode {
            Mode::Pooled(pool) if Batch::takes_data(run) => pool.fill(|batch| batch.data(run)),
            _ => {
                let is_written = self.make(|form, lines| form.data(lines, run));
                self.choose_filtered(run.first.header.conn, is_written);
            }
        }
    }

    fn not_selected(&mut self, session: &SessionRecord<'_>) {
        self.others.add(session);
    }

    fn undecided_loss(&mut self, _loss: &LossRecord<'_>) {
        self.others.undecided_losses += 1;
    }
}
