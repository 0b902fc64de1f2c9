//! Measurement of whole processes: elapsed time, processor time, and peak memory.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

/// The argument that makes this program measure a process.
const MEASURE: &str = "--measure";

/// The resources used by a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// The elapsed time.
    pub(crate) time: Duration,
    /// The processor time, in user and kernel mode.
    pub(crate) cpu: Duration,
    /// The peak of resident memory in bytes.
    pub(crate) peak: u64,
}

/// A process that is measured.
///
/// Linux accounts for all children of a process together, and a child's memory starts with that of its parent. So each process
/// has a small parent of its own: this program, run with [`MEASURE`].
pub(crate) struct Running {
    name: String,
    /// The parent.
    child: Child,
    said: BufReader<ChildStderr>,
    words: Vec<String>,
    has_ended: bool,
}

/// The result of a finished process.
pub(crate) struct Ended {
    pub(crate) taken: Usage,
    /// The lines of its standard error.
    pub(crate) words: Vec<String>,
}

/// Runs a process to its end, discarding its output.
pub(crate) fn run(command: &[OsString]) -> anyhow::Result<Usage> {
    Ok(Running::start(command, Stdio::null())?.wait()?.taken)
}

impl Running {
    /// Starts a process.
    pub(crate) fn start(command: &[OsString], output: Stdio) -> anyhow::Result<Self> {
        let name = command.first().context("which process?")?.to_string_lossy().into_owned();
        let mut child = Command::new(std::env::current_exe()?)
            .arg(MEASURE)
            .args(command)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stderr.take().context("it has a standard error")?);
        Ok(Self { name, child, said, words: Vec::new(), has_ended: false })
    }

    /// Returns its standard output, if that is a pipe.
    pub(crate) fn output(&mut self) -> anyhow::Result<ChildStdout> {
        self.child.stdout.take().context("it has a standard output")
    }

    /// Waits for a line on standard error that contains a text.
    pub(crate) fn wait_for_words(&mut self, wanted: &str) -> anyhow::Result<()> {
        while self.read_line()? {
            if self.words.last().is_some_and(|line| line.contains(wanted)) {
                return Ok(());
            }
        }
        bail!("{}: {}", self.name, self.words.join("; "))
    }

    /// Interrupts it like Ctrl-C.
    pub(crate) fn interrupt(&self) -> anyhow::Result<()> {
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        for child in children.split_whitespace() {
            kill(Pid::from_raw(child.parse()?), Signal::SIGINT)?;
        }
        Ok(())
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> anyhow::Result<Ended> {
        while self.read_line()? {}
        self.has_ended = true;
        let status = self.child.wait()?;
        let figures = self.words.last().into_iter().flat_map(|line| line.split(' '));
        let figures: Vec<u64> = figures.filter_map(|figure| figure.parse().ok()).collect();
        let [micros, cpu, peak] = figures[..] else { bail!("{}: {}", self.name, self.words.join("; ")) };
        if !status.success() {
            bail!("{}: {status}: {}", self.name, self.words.join("; "));
        }
        let taken = Usage { time: Duration::from_micros(micros), cpu: Duration::from_micros(cpu), peak };
        Ok(Ended { taken, words: std::mem::take(&mut self.words) })
    }

    fn read_line(&mut self) -> io::Result<bool> {
        let mut line = String::new();
        let is_more = self.said.read_line(&mut line)? > 0;
        if is_more {
            self.words.push(line.trim_end().to_owned());
        }
        Ok(is_more)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = self.interrupt();
        }
    }
}

/// Measures a process, if this program was started for that. The last line on standard error has the result: elapsed
/// microseconds, processor microseconds, and bytes.
#[expect(clippy::print_stderr, reason = "that is where it is heard")]
pub(crate) fn as_parent() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|arg| arg != MEASURE) {
        return Ok(());
    }
    // Ctrl-C is for the measured process, which does not inherit a handler.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))?;
    let started = Instant::now();
    let status = Command::new(args.next().context("which process?")?).args(args).status()?;
    let time = started.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    eprintln!("{} {cpu} {}", time.as_micros(), usage.max_rss() * 1024);
    std::process::exit(status.code().unwrap_or(1));
}

/// Reads a pipe to its end, and returns its last line. Reads 1 MB per second while `is_slow` is set.
pub(crate) fn read_all(mut pipe: ChildStdout, is_slow: Arc<AtomicBool>) -> JoinHandle<io::Result<String>> {
    const KEPT: usize = 64 << 10;
    thread::spawn(move || {
        let mut buffer = vec![0; KEPT];
        let mut end = Vec::new();
        loop {
            let read = pipe.read(&mut buffer)?;
            if read == 0 {
                return Ok(last_line(&end));
            }
            end.extend_from_slice(&buffer[..read]);
            if end.len() > 16 * KEPT {
                end.drain(..end.len() - KEPT);
            }
            if is_slow.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(64));
            }
        }
    })
}

/// Returns the last line of a text.
pub(crate) fn last_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next_back().unwrap_or_default().to_owned()
}

/// Returns the median; of an even number of values, the lower one of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
