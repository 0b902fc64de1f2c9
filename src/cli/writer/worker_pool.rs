//! Lines that other threads make of records, and write in the order of the records.
//!
//! ```text
//!                       +--> worker: lines of a batch --+
//!   records -> batch ---+--> worker: lines of a batch --+--> writer: batches in their order
//!                       +--> worker: lines of a batch --+
//! ```
//!
//! A batch goes to whichever worker is free, and a receiver of its lines to the writer, which waits for one after the other. So the
//! bytes are the same however many workers there are. The number of batches is bounded: where as many wait, the one who fills
//! them makes lines as well.
//!
//! Lines that were made where packets were dissected, side by side, take their place in the order of batches.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::output::Form;
use crate::output::batch::Batch;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::output::Output;
use super::shard::{self, ShardLines};

/// A batch with as many records is full; or with as many bytes: what a core's own cache holds, with the lines made of it.
const FULL_RECORDS: usize = 1_024;
const FULL_BYTES: usize = 128 * 1024;

/// How many batches there may be for each worker: one that it works on, and one that waits.
const BATCHES_EACH: usize = 2;

/// How many sets of shards' lines there are: one that is filled, and one that is written. More would be in no cache.
const SETS: usize = 2;

/// The threads, and the way to them.
pub(super) struct WorkerPool {
    batch: Batch,
    threads: ThreadPool,
    /// Makes lines of what the threads have no time for.
    own: Worker,
    /// Batches that wait for a thread: there are as many jobs of the pool.
    work: Sender<Job>,
    jobs: Receiver<Job>,
    /// One for each thread of the pool, while that makes no lines.
    idle: Receiver<Worker>,
    idle_again: Sender<Worker>,
    order: Option<Sender<Chunk>>,
    used: Receiver<Batch>,
    used_lines: Receiver<Vec<ShardLines>>,
    /// How many of them there are.
    sets: usize,
    writer: Option<JoinHandle<Output>>,
    state: Arc<State>,
}

/// A batch, and where its lines are waited for.
struct Job {
    batch: Batch,
    lines: Sender<Vec<u8>>,
}

/// Makes lines of batches.
struct Worker {
    /// Buffers to be used again.
    spare: Receiver<Vec<u8>>,
    /// Where batches go to be used again.
    used: Sender<Batch>,
    form: Box<dyn Form>,
    state: Arc<State>,
}

/// What the writer is to write next.
enum Chunk {
    /// The lines that come here.
    Batch(Receiver<Vec<u8>>),
    /// These, in the order of their packets.
    Merged(Vec<ShardLines>),
}

/// What the threads report.
#[derive(Default)]
struct State {
    has_failed: AtomicBool,
    /// The first error of the output: nothing is written behind it.
    error: Mutex<Option<io::Error>>,
    /// Messages that could not be decoded, of those that nobody had decoded before.
    undecoded: AtomicU64,
}

impl WorkerPool {
    /// Threads that write lines in a form to `out`: the writer, and so many workers.
    ///
    /// # Errors
    ///
    /// Fails where the system starts no threads.
    pub(super) fn new(form: &dyn Form, out: Output, workers: usize) -> io::Result<Self> {
        let batches = BATCHES_EACH * workers;
        let (work, jobs) = bounded::<Job>(batches);
        // There is room as well for what is made while as many wait; and for the buffers of all.
        let queued = 2 * batches;
        let (order, chunks) = bounded::<Chunk>(queued);
        let (spare_in, spare) = bounded::<Vec<u8>>(queued);
        let (used_in, used) = bounded::<Batch>(queued);
        let (used_lines_in, used_lines) = bounded::<Vec<ShardLines>>(SETS);
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
        let write = move || write(&chunks, &spare_in, &used_lines_in, out, &of_writer);
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
            sets: 1,
            writer,
            state,
        })
    }

    /// The threads, for other work.
    pub(super) const fn threads(&self) -> &ThreadPool {
        &self.threads
    }

    /// Puts something into the batch, and hands that over where it is full.
    pub(super) fn fill(&mut self, fill: impl FnOnce(&mut Batch)) {
        fill(&mut self.batch);
        if self.batch.len() >= FULL_RECORDS || self.batch.bytes() >= FULL_BYTES {
            self.hand_on();
        }
    }

    /// Hands the batch over.
    pub(super) fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, self.used.try_recv().unwrap_or_default());
        let (lines, chunk) = bounded(1);
        // Where the writer is gone, `check` returns the error that ended it.
        let Some(order) = &self.order else { return };
        let _ = order.send(Chunk::Batch(chunk));
        match self.work.try_send(Job { batch, lines }) {
            Ok(()) => {
                let (jobs, idle, idle_again) = (self.jobs.clone(), self.idle.clone(), self.idle_again.clone());
                self.threads.spawn(move || {
                    // There is a job for each that is spawned, and a worker for each thread.
                    let (Ok(job), Ok(mut worker)) = (jobs.try_recv(), idle.try_recv()) else { return };
                    worker.make(job);
                    let _ = idle_again.try_send(worker);
                });
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => self.own.make(job),
        }
    }

    /// Puts lines that were made elsewhere behind all others, and gives a set to be filled next.
    pub(super) fn merge(&mut self, lines: Vec<ShardLines>) -> Vec<ShardLines> {
        self.hand_on();
        if let Some(order) = &self.order {
            let _ = order.send(Chunk::Merged(lines));
        }
        if self.sets < SETS {
            self.sets += 1;
            return Vec::new();
        }
        // Where the writer is gone, the error that ended it is told by `check`.
        self.used_lines.recv().unwrap_or_default()
    }

    /// Records an error; the first one is kept.
    pub(super) fn fail(&self, error: io::Error) {
        self.state.fail(error);
    }

    /// The error that stopped the writing, where there was one.
    pub(super) fn check(&self) -> io::Result<()> {
        if !self.state.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.state.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Waits until everything is written, and returns where to.
    pub(super) fn finish(&mut self) -> io::Result<Output> {
        self.hand_on();
        self.order = None;
        let out = self.writer.take().and_then(|writer| writer.join().ok());
        self.check()?;
        out.ok_or_else(|| io::Error::other("the thread that writes lines panicked"))
    }

    /// How many messages could not be decoded by the threads. All is known when it is finished.
    pub(super) fn undecoded(&self) -> u64 {
        self.state.undecoded.load(Ordering::Relaxed)
    }
}

impl State {
    fn fail(&self, error: io::Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
    }
}

impl Worker {
    /// Makes the lines of a batch, and sends them to the writer; none, where that fails.
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

fn write(
    chunks: &Receiver<Chunk>,
    spare: &Sender<Vec<u8>>,
    used_lines: &Sender<Vec<ShardLines>>,
    mut out: Output,
    state: &State,
) -> Output {
    for chunk in chunks {
        let written = match chunk {
            Chunk::Batch(lines) => {
                // A worker that failed has recorded why.
                let Ok(mut lines) = lines.recv() else { break };
                let written = out.write(&lines);
                lines.clear();
                lines.shrink_to(super::KEPT);
                let _ = spare.try_send(lines);
                written
            }
            Chunk::Merged(mut shards) => {
                let written = shard::merge(&shards, &mut out);
                shards.iter_mut().for_each(ShardLines::clear);
                let _ = used_lines.try_send(shards);
                written
            }
        };
        // Lines are for people and pipes: what is written is seen, unless more is right behind it.
        let seen = written.and_then(|()| if chunks.is_empty() { out.flush() } else { Ok(()) });
        if let Err(error) = seen {
            state.fail(error);
            break;
        }
    }
    out
}
