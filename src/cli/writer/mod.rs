//! Where lines go: chosen, written into one buffer, and handed on in large pieces; by this thread, or by others.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::dissector::{Dissector, Sink};
use crate::output::Form;
use crate::output::batch::Batch;
use crate::output::json::{DerivedWriter, LineWriter};
use crate::output::text::TextStyle;
use crate::packet::Block;
use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, QueryRecord, Record, StatsRecord};
use crate::session::execution::Outcome;

use self::output::Output;
use self::shard::{ShardLines, ShardWriter};
use self::worker_pool::WorkerPool;
use super::args::{Args, Event, Format};

mod output;
mod shard;
mod worker_pool;

/// How much is gathered before it is handed on.
const BUFFER: usize = 64 * 1024;

/// How much of a buffer is kept: one very long line must not cost its memory for ever.
const KEPT: usize = 1024 * 1024;

/// How long a line may wait for others, when they come one after the other without a pause.
const PATIENCE: Duration = Duration::from_millis(50);

/// Writes the lines that were asked for.
pub(crate) struct Writer {
    selection: Selection,
    form: Box<dyn Form>,
    mode: Mode,
    /// What makes the lines of packets that are dissected side by side; nothing where that is not done.
    shards: Vec<ShardWriter>,
    /// How many packets are worth the threads that dissect them side by side.
    least_in_parallel: usize,
    flushed: Instant,
}

/// Who makes lines of records.
enum Mode {
    /// This thread.
    Direct {
        out: Output,
        buffer: Vec<u8>,
        /// The first error of `out`: nothing is written behind it.
        error: Option<io::Error>,
    },
    /// Others.
    Pooled(Box<WorkerPool>),
}

/// Which records were asked for.
#[derive(Clone)]
struct Selection {
    messages: bool,
    losses: bool,
    stats: bool,
    /// The types of messages to write; all where there are none.
    types: Vec<String>,
    /// Whether only requests are written that have failed.
    only_errors: bool,
    /// How many microseconds a request must have taken to be written.
    min_us: Option<u128>,
    /// How many messages may still be written; without messages, how many lines of queries and sessions.
    left: u64,
}

impl Writer {
    /// A writer to `out`, which messages call `name`, with so many threads beside this one.
    ///
    /// # Errors
    ///
    /// Fails where the system starts no threads.
    pub(crate) fn new(
        out: Box<dyn Write + Send>,
        name: String,
        args: &Args,
        color: bool,
        workers: usize,
    ) -> io::Result<Self> {
        let wants = |event| args.events.contains(&event);
        let form: Box<dyn Form> = match args.format {
            Format::Json if args.no_fast_paths => Box::new(DerivedWriter),
            Format::Json => Box::new(LineWriter::default()),
            Format::Text => Box::new(TextStyle { color }),
        };
        let out = Output::new(out, name);
        let selection = Selection {
            messages: wants(Event::Message),
            losses: wants(Event::Loss),
            stats: wants(Event::Stats),
            types: args.types.clone(),
            only_errors: args.errors,
            min_us: args.min_duration.map(|duration| duration.as_micros()),
            left: args.count.unwrap_or(u64::MAX),
        };
        let shard = || ShardWriter {
            selection: selection.clone(),
            form: form.another(),
            lines: ShardLines::default(),
            error: None,
        };
        // Which messages are the first so many is only known when those before them are counted.
        let shards = if args.count.is_none() && workers > 0 { workers + 1 } else { 0 };
        Ok(Self {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            least_in_parallel: args.least_in_parallel,
            selection,
            mode: match workers {
                0 => Mode::Direct { out, buffer: Vec::with_capacity(2 * BUFFER), error: None },
                workers => Mode::Pooled(Box::new(WorkerPool::new(&*form, out, workers)?)),
            },
            form,
            flushed: Instant::now(),
        })
    }

    /// Whether all messages that were asked for were written.
    pub(crate) const fn is_done(&self) -> bool {
        self.selection.left == 0
    }

    /// Writes counters, where they were asked for.
    pub(crate) fn stats(&mut self, stats: &StatsRecord) {
        if self.selection.stats {
            self.write(&Record::Stats(stats.clone()));
        }
    }

    /// Has packets dissected side by side, where it is worth while. Says how many that were, which may be none.
    pub(crate) fn in_parallel(&mut self, dissector: &mut Dissector, block: &Block, next: usize) -> usize {
        let Mode::Pooled(pool) = &mut self.mode else { return 0 };
        let taken = dissector.in_parallel(block, next, self.least_in_parallel, pool.threads(), &mut self.shards);
        if taken > 0 {
            let lines = self.shards.iter_mut().map(|shard| std::mem::take(&mut shard.lines)).collect();
            let mut used = pool.merge(lines).into_iter();
            for shard in &mut self.shards {
                shard.lines = used.next().unwrap_or_default();
                if let Some(error) = shard.error.take() {
                    pool.fail(error);
                }
            }
        }
        taken
    }

    /// Whether packets may be dissected side by side.
    pub(crate) const fn has_shards(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Hands on what was written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        match &mut self.mode {
            Mode::Direct { out, buffer, error } => {
                hand_on(out, buffer, error);
                error.take().map_or_else(|| out.flush(), Err)
            }
            Mode::Pooled(pool) => {
                pool.hand_on();
                pool.check()
            }
        }
    }

    /// Hands on what has waited long enough.
    pub(crate) fn flush_if_older(&mut self, now: Instant) -> io::Result<()> {
        if now - self.flushed >= PATIENCE { self.flush() } else { Ok(()) }
    }

    /// The error that stopped the writing, where there was one.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match &mut self.mode {
            Mode::Direct { error, .. } => error.take().map_or(Ok(()), Err),
            Mode::Pooled(pool) => pool.check(),
        }
    }

    /// Writes everything that was asked for so far, and what comes behind in this thread. Returns how many messages other
    /// threads could not decode.
    pub(crate) fn settle(&mut self) -> io::Result<u64> {
        let Mode::Pooled(pool) = &mut self.mode else { return Ok(0) };
        let out = pool.finish()?;
        let undecoded = pool.undecoded();
        self.mode = Mode::Direct { out, buffer: Vec::new(), error: None };
        Ok(undecoded)
    }

    fn write(&mut self, record: &Record<'_>) {
        if let (Mode::Pooled(pool), Record::Query(query)) = (&mut self.mode, record) {
            return pool.fill(|batch| batch.query(query));
        }
        self.make(|form, lines| form.record(lines, record));
    }

    /// Makes lines in this thread.
    fn make(&mut self, make: impl FnOnce(&mut dyn Form, &mut Vec<u8>) -> io::Result<()>) {
        let Self { mode, form, .. } = self;
        match mode {
            Mode::Direct { out, buffer, error } => {
                if error.is_none() {
                    *error = make(&mut **form, buffer).err();
                    if buffer.len() >= BUFFER {
                        hand_on(out, buffer, error);
                    }
                }
            }
            Mode::Pooled(pool) => {
                let mut made = Ok(());
                pool.fill(|batch| batch.line(|lines| made = make(&mut **form, lines)));
                if let Err(failed) = made {
                    pool.fail(failed);
                }
            }
        }
    }

    /// [`Sink::message`], of one that is selected.
    fn selected<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        match &mut self.mode {
            Mode::Pooled(pool) if Batch::takes(event) => pool.fill(|batch| batch.message(event, decoded.is_none())),
            _ => self.make(|form, lines| form.message(lines, event, decoded)),
        }
    }
}

/// Hands on what is gathered.
fn hand_on(out: &mut Output, buffer: &mut Vec<u8>, error: &mut Option<io::Error>) {
    if error.is_none()
        && let Err(failed) = out.write(buffer)
    {
        *error = Some(failed);
    }
    buffer.clear();
    buffer.shrink_to(KEPT);
}

impl Selection {
    fn wants(&mut self, record: &Record<'_>) -> bool {
        match record {
            Record::Message(message) => self.wants_message(|| message.content.name()),
            Record::Query(query) => self.selects(query) && self.wants_other(),
            Record::Session(_) => self.wants_other(),
            Record::Loss(_) => self.losses && self.left > 0,
            Record::Stats(_) => self.stats,
        }
    }

    /// Whether a line of a query or a session is wanted. They count where messages do not.
    const fn wants_other(&mut self) -> bool {
        let wanted = self.left > 0;
        self.left -= (wanted && !self.messages) as u64;
        wanted
    }

    fn wants_message(&mut self, name: impl FnOnce() -> &'static str) -> bool {
        let wanted = self.messages && self.left > 0 && (self.types.is_empty() || self.has_type(name()));
        self.left -= u64::from(wanted);
        wanted
    }

    /// How many of these are wanted: the first so many.
    fn wants_of(&mut self, data: &MessageRun<'_>) -> u64 {
        let are_wanted = self.messages && (self.types.is_empty() || self.has_type(data.first.name(None)));
        let wanted = if are_wanted { data.count.min(self.left) } else { 0 };
        self.left -= wanted;
        wanted
    }

    fn has_type(&self, name: &str) -> bool {
        self.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    }

    /// Whether a request is among those that were asked for.
    fn selects(&self, query: &QueryRecord<'_>) -> bool {
        let has_failed = matches!(query.outcome, Outcome::Error | Outcome::Canceled | Outcome::Aborted);
        (!self.only_errors || has_failed)
            && self.min_us.is_none_or(|min| query.total_us.is_some_and(|total| u128::from(total) >= min))
    }
}

impl Sink for Writer {
    fn record(&mut self, record: &Record<'_>) {
        if self.selection.wants(record) {
            self.write(record);
        }
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        if self.selection.wants_message(|| event.name(decoded.as_ref())) {
            self.selected(event, decoded);
        }
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        let mut left = self.selection.wants_of(run);
        if left < run.count {
            return run.for_each(|event| {
                if left > 0 {
                    left -= 1;
                    self.selected(event, &mut None);
                }
            });
        }
        match &mut self.mode {
            Mode::Pooled(pool) if Batch::takes_data(run) => pool.fill(|batch| batch.data(run)),
            _ => self.make(|form, lines| form.data(lines, run)),
        }
    }
}
