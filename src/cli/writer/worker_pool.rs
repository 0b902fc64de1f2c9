//! Formatting of records as lines by worker threads, written in the order of records.
//!
//! ```text
//!                       +--> worker: lines of a batch --+
//!   records -> batch ---+--> worker: lines of a batch --+--> writer: batches in their order
//!                       +--> worker: lines of a batch --+
//! ```
//!
//! A batch is sent to any free worker, and a receiver for its lines to the writer, which waits for the batches in order. So the
//! output does not depend on the number of workers. The number of batches is limited: if all are in use, the thread that fills
//! them formats lines as well.
//!
//! Lines of packets dissected in parallel take their place in the order of batches.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::output::Form;
use crate::output::batch::Batch;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::log_order::{Due, LogLines, LogOrder};
use super::output::Output;
use super::shard::{self, ShardLines};

/// A batch with this many records is full, or with this many bytes: it fits into a core's own cache, together with its lines.
const FULL_RECORDS: usize = 1_024;
const FULL_BYTES: usize = 128 * 1024;

/// The number of batches for each worker: one in progress and one that waits.
const BATCHES_EACH: usize = 2;

/// The number of sets of shards' lines: one being filled, and one being written. More would not fit into a cache.
const SETS: usize = 2;

/// The threads, and the channels to them.
pub(super) struct WorkerPool {
    batch: Batch,
    threads: ThreadPool,
    /// Formats batches for which no thread is free.
    own: Worker,
    /// Batches that wait for a thread. For each there is a job of the pool.
    work: Sender<Job>,
    jobs: Receiver<Job>,
    /// The workers that format no batch: one for each thread of the pool.
    idle: Receiver<Worker>,
    idle_again: Sender<Worker>,
    order: Option<Sender<Chunk>>,
    used: Receiver<Batch>,
    used_lines: Receiver<Vec<ShardLines>>,
    used_log: Receiver<Vec<LogLines>>,
    /// The number of sets in use.
    sets: usize,
    writer: Option<JoinHandle<Output>>,
    state: Arc<State>,
}

/// A batch, and the channel for its lines.
struct Job {
    batch: Batch,
    lines: Sender<Vec<u8>>,
}

/// Formats the lines of batches.
struct Worker {
    /// Empty buffers to reuse.
    spare: Receiver<Vec<u8>>,
    /// Returns batches for reuse.
    used: Sender<Batch>,
    form: Box<dyn Form>,
    state: Arc<State>,
}

/// An item to write, in order.
enum Chunk {
    /// The lines that this channel will receive.
    Batch(Receiver<Vec<u8>>),
    /// These lines, merged in the order of their packets.
    Merged(Vec<ShardLines>),
    /// No lines: what was written is to be flushed.
    Flush,
    /// These lines of a log, once they are due.
    Log(Vec<LogLines>, Due),
}

/// State shared by the threads.
#[derive(Default)]
struct State {
    has_failed: AtomicBool,
    /// The first error of the output: nothing is written after it.
    error: Mutex<Option<io::Error>>,
    /// The number of messages that could not be decoded, of those that were passed undecoded.
    undecoded: AtomicU64,
    /// Whether lines of a log were written out of order, because too many waited.
    log_has_overflowed: AtomicBool,
}

/// The other ends of channels for buffers that were used.
struct Used {
    spare: Sender<Vec<u8>>,
    lines: Sender<Vec<ShardLines>>,
    log: Sender<Vec<LogLines>>,
}

impl WorkerPool {
    /// Starts the threads that write lines in a form to `out`: the writer, and this number of workers.
    ///
    /// # Errors
    ///
    /// Fails where the system starts no threads.
    pub(super) fn new(form: &dyn Form, out: Output, workers: usize) -> io::Result<Self> {
        let batches = BATCHES_EACH * workers;
        let (work, jobs) = bounded::<Job>(batches);
        // Includes room for batches formatted by this thread while all workers are busy, and for all buffers.
        let queued = 2 * batches;
        let (order, chunks) = bounded::<Chunk>(queued);
        let (spare_in, spare) = bounded::<Vec<u8>>(queued);
        let (used_in, used) = bounded::<Batch>(queued);
        let (used_lines_in, used_lines) = bounded::<Vec<ShardLines>>(SETS);
        let (used_log_in, used_log) = bounded::<Vec<LogLines>>(SETS);
        let state = Arc::new(State::default());
        let panicked = Arc::clone(&state);
        let threads = ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|index| format!("worker {index}"))
            .panic_handler(move |_| panicked.fail(io::Error::other("a thread that makes lines panicked")))
            .build()
            .map_err(io::Error::other)?;
        let worker =
            || Worker { spare: spare.clone(), used: used_in.clone(), form: form.another(), state: Arc::clone(&state) };
        let own = worker();
        let (idle_again, idle) = bounded(workers);
        for _ in 0..workers {
            let _ = idle_again.send(worker());
        }
        let of_writer = Arc::clone(&state);
        let used_ends = Used { spare: spare_in, lines: used_lines_in, log: used_log_in };
        let write = move || write(&chunks, &used_ends, out, &of_writer);
        let writer = Some(thread::Builder::new().name("writer".to_owned()).spawn(write)?);
        Ok(Self {
            batch: Batch::default(),
            threads,
            own,
            work,
            jobs,
            idle,
            idle_again,
            order: Some(order),
            used,
            used_lines,
            used_log,
            sets: 1,
            writer,
            state,
        })
    }

    /// Returns the threads, for other work.
    pub(super) const fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    /// Adds something to the batch, and sends it if it is full.
    pub(super) fn fill(&mut self, fill: impl FnOnce(&mut Batch)) {
        fill(&mut self.batch);
        if self.batch.len() >= FULL_RECORDS || self.batch.bytes() >= FULL_BYTES {
            self.send_batch();
        }
    }

    /// Sends the batch.
    pub(super) fn send_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, self.used.try_recv().unwrap_or_default());
        let (lines, chunk) = bounded(1);
        // If the writer has ended, `check` returns the error that ended it.
        let Some(order) = &self.order else { return };
        let _ = order.send(Chunk::Batch(chunk));
        match self.work.try_send(Job { batch, lines }) {
            Ok(()) => {
                let (jobs, idle, idle_again) = (self.jobs.clone(), self.idle.clone(), self.idle_again.clone());
                self.threads.spawn(move || {
                    // Each spawned closure finds a job, and each thread a worker.
                    let (Ok(job), Ok(mut worker)) = (jobs.try_recv(), idle.try_recv()) else { return };
                    worker.make(job);
                    let _ = idle_again.try_send(worker);
                });
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.own.make(job),
        }
    }

    /// Flushes what was written, once all before is.
    pub(super) fn flush(&mut self) {
        self.send_batch();
        if let Some(order) = &self.order {
            let _ = order.send(Chunk::Flush);
        }
    }

    /// Appends lines that were formatted elsewhere after all others, and returns an empty set.
    pub(super) fn merge(&mut self, lines: Vec<ShardLines>) -> Vec<ShardLines> {
        self.send_batch();
        if let Some(order) = &self.order {
            let _ = order.send(Chunk::Merged(lines));
        }
        empty_set(&mut self.sets, &self.used_lines)
    }

    /// Sends lines of a log, and returns an empty set. Those that are due are written.
    pub(super) fn log(&mut self, lines: Vec<LogLines>, due: Due) -> Vec<LogLines> {
        if let Some(order) = &self.order {
            let _ = order.send(Chunk::Log(lines, due));
        }
        empty_set(&mut self.sets, &self.used_log)
    }

    /// Returns whether lines of a log were written out of order.
    pub(super) fn log_has_overflowed(&self) -> bool {
        self.state.log_has_overflowed.load(Ordering::Relaxed)
    }

    /// Records an error; the first one is kept.
    pub(super) fn fail(&self, error: io::Error) {
        self.state.fail(error);
    }

    /// Returns the error that stopped the output, if any.
    pub(super) fn check(&self) -> io::Result<()> {
        if !self.state.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.state.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Waits until everything is written, and returns the output.
    pub(super) fn finish(&mut self) -> io::Result<Output> {
        self.send_batch();
        self.order = None;
        let out = self.writer.take().and_then(|writer| writer.join().ok());
        self.check()?;
        out.ok_or_else(|| io::Error::other("the thread that writes lines panicked"))
    }

    /// Returns how many messages the threads could not decode. The number is final after [`Self::finish`].
    pub(super) fn undecoded(&self) -> u64 {
        self.state.undecoded.load(Ordering::Relaxed)
    }
}

/// Returns a set of buffers that were used: a new one, as long as there are less of them than [`SETS`].
fn empty_set<T>(sets: &mut usize, used: &Receiver<Vec<T>>) -> Vec<T> {
    if *sets < SETS {
        *sets += 1;
        return Vec::new();
    }
    // If the writer has ended, `check` returns the error that ended it.
    used.recv().unwrap_or_default()
}

impl State {
    fn fail(&self, error: io::Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
    }
}

impl Worker {
    /// Formats the lines of a batch, and sends them to the writer; none, if that fails.
    fn make(&mut self, job: Job) {
        let Job { mut batch, lines: reply } = job;
        let mut lines = self.spare.try_recv().unwrap_or_default();
        let undecoded = Cell::new(0);
        if let Err(error) = batch.write(&mut lines, &mut *self.form, &undecoded) {
            return self.state.fail(error);
        }
        self.state.undecoded.fetch_add(undecoded.get(), Ordering::Relaxed);
        let _ = reply.send(lines);
        batch.clear();
        let _ = self.used.try_send(batch);
    }
}

fn write(chunks: &Receiver<Chunk>, used: &Used, mut out: Output, state: &State) -> Output {
    let mut log = LogOrder::default();
    for chunk in chunks {
        let written = match chunk {
            Chunk::Batch(lines) => {
                // A worker that failed has recorded its error.
                let Ok(mut lines) = lines.recv() else { break };
                let written = out.write(&lines);
                lines.clear();
                lines.shrink_to(super::KEPT);
                let _ = used.spare.try_send(lines);
                written
            }
            Chunk::Merged(mut shards) => {
                let written = shard::merge(&shards, &mut out);
                shards.iter_mut().for_each(ShardLines::clear);
                let _ = used.lines.try_send(shards);
                written
            }
            Chunk::Flush => Ok(()),
            Chunk::Log(mut lines, due) => {
                log.add(&mut lines);
                let _ = used.log.try_send(lines);
                let written = log.write(due, &mut out);
                state.log_has_overflowed.store(log.has_overflowed(), Ordering::Relaxed);
                written
            }
        };
        // Lines should be visible immediately, unless more follow at once.
        let seen = written.and_then(|()| if chunks.is_empty() { out.flush() } else { Ok(()) });
        if let Err(error) = seen {
            state.fail(error);
            break;
        }
    }
    out
}
