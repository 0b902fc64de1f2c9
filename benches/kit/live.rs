//! The cost of a live capture while pgbench runs at full speed, and the losses, compared with tcpdump.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pgdissect::capture::DEFAULT_BUFFER_KIB;
use serde_json::Value;

use crate::capture::{Capture, Scratch};
use crate::measure::{self, Ended, Running, Usage, last_line};
use crate::{command, grouped, mib, pgdissect, print_row, progress};

/// The approximate duration of pgbench in seconds.
const SECONDS: f64 = 10.0;

/// A number of transactions whose packets exceed the buffers of the command and the kernel if the output is read slowly.
const TOO_MANY: u64 = 400_000;

/// Like pgbench -S, but without tables, so that any database can be used and is not changed.
const SCRIPT: &str = "\\set aid random(1, 1000000)\nSELECT :aid::int AS aid, repeat(' ', 84) AS filler;\n";

/// The program that captures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    None,
    Tcpdump,
    IntoFile,
    IntoPipe,
    /// pgdissect, whose lines are read more slowly than they are written.
    IntoSlowPipe,
}

impl Listener {
    const fn title(self) -> &'static str {
        match self {
            Self::None => "nobody",
            Self::Tcpdump => "tcpdump, -w file",
            Self::IntoFile => "pgdissect, -o file",
            Self::IntoPipe => "pgdissect, pipe",
            Self::IntoSlowPipe => "pgdissect, pipe that is read at 1 MB/s",
        }
    }
}

/// The result of a capture.
struct CaptureResult {
    taken: Usage,
    messages: u64,
    losses: Option<u64>,
    received: u64,
    dropped: u64,
}

pub(crate) fn live(dir: &Path) -> anyhow::Result<()> {
    let cpus = thread::available_parallelism()?.get();
    print_row(&[
        "clients",
        "listener",
        "transactions/s",
        "processors idle",
        "packets",
        "dropped by kernel",
        "messages",
        "losses",
        "CPU s a million messages",
        "peak memory",
    ]);
    print_row(&["---"; 10]);
    let script = Scratch(dir.join("live.sql"));
    fs::write(&script.0, SCRIPT)?;
    for clients in [1, 2 * cpus] {
        progress(&format!("live, {clients} clients: how fast they are"));
        let trial = 20_000 / clients as u64;
        let (time, _) = pgbench(&script.0, clients, trial)?;
        let transactions = (SECONDS / time.as_secs_f64() * trial as f64) as u64;
        let listeners = [Listener::None, Listener::Tcpdump, Listener::IntoFile, Listener::IntoPipe];
        for listener in listeners {
            one(listener, clients, transactions, &script.0, dir)?;
        }
    }
    one(Listener::IntoSlowPipe, 1, TOO_MANY, &script.0, dir)?;
    println!();
    Ok(())
}

fn one(listener: Listener, clients: usize, transactions: u64, script: &Path, dir: &Path) -> anyhow::Result<()> {
    progress(&format!("live, {clients} clients: {}", listener.title()));
    let out = Scratch(dir.join("live.out"));
    let (pgbench, heard) = listen(listener, &out.0, || pgbench(script, clients, transactions))?;
    let (time, idle) = pgbench;
    let speed = transactions as f64 * clients as f64 / time.as_secs_f64();
    let mut cells = vec![clients.to_string(), listener.title().to_owned(), grouped(speed as u64)];
    cells.push(format!("{:.0}%", idle * 100.0));
    if let Some(CaptureResult { taken, messages, losses, received, dropped }) = heard {
        cells.extend([
            grouped(received),
            grouped(dropped),
            grouped(messages),
            losses.map_or_else(String::new, grouped),
            format!("{:.2}", taken.cpu.as_secs_f64() * 1e6 / messages as f64),
            mib(taken.peak),
        ]);
    }
    cells.resize(10, String::new());
    print_row(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(())
}

/// Captures while a function runs.
fn listen<T>(
    listener: Listener,
    out: &Path,
    run: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Option<CaptureResult>)> {
    if listener == Listener::None {
        return Ok((run()?, None));
    }
    let is_slow = Arc::new(AtomicBool::new(listener == Listener::IntoSlowPipe));
    let is_piped = matches!(listener, Listener::IntoPipe | Listener::IntoSlowPipe);
    let output = if is_piped { Stdio::piped() } else { Stdio::null() };
    let mut running = Running::start(&command_of(listener, out), output)?;
    let reader = if is_piped { Some(measure::read_all(running.output()?, Arc::clone(&is_slow))) } else { None };
    running.wait_for_words("listening on")?;
    let ran = run()?;
    // The kernel delivers its packets within a second.
    thread::sleep(Duration::from_secs(2));
    running.interrupt()?;
    is_slow.store(false, Ordering::Relaxed);
    let Ended { taken, words } = running.wait()?;
    if listener == Listener::Tcpdump {
        let capture = Capture::open(out)?;
        let said = |what: &str| {
            let number = words.iter().find_map(|line| line.strip_suffix(what)?.trim().parse().ok());
            number.with_context(|| format!("tcpdump does not say how many{what}"))
        };
        let (received, dropped) = (said(" packets received by filter")?, said(" packets dropped by kernel")?);
        return Ok((ran, Some(CaptureResult { taken, messages: capture.messages, losses: None, received, dropped })));
    }
    let stats = match reader {
        Some(reader) => reader.join().map_err(|_| anyhow::anyhow!("the reader has panicked"))??,
        None => last_line_of(out)?,
    };
    let stats: Value = serde_json::from_str(&stats).context("the last line")?;
    let figure = |pointer| stats.pointer(pointer).and_then(Value::as_u64).context("the last line is not of stats");
    let heard = CaptureResult {
        taken,
        messages: figure("/messages")?,
        losses: Some(figure("/losses")?),
        received: figure("/kernel/received")?,
        dropped: figure("/kernel/dropped")?,
    };
    Ok((ran, Some(heard)))
}

fn command_of(listener: Listener, out: &Path) -> Vec<OsString> {
    let buffer = DEFAULT_BUFFER_KIB.to_string();
    let mut args: Vec<OsString> = ["-i", "lo", "-B", &buffer].map(Into::into).to_vec();
    if listener == Listener::Tcpdump {
        args.extend(["-Z", "root", "-w"].map(Into::into));
        args.extend([out.into(), format!("tcp port {}", port()).into()]);
        return command("tcpdump", args);
    }
    args.extend(["-p", &port(), "-e", "message,loss,stats"].map(Into::into));
    if listener == Listener::IntoFile {
        args.extend(["-o".into(), out.into()]);
    }
    command(pgdissect(), args)
}

fn port() -> String {
    std::env::var("PGPORT").unwrap_or_else(|_| "5432".to_owned())
}

/// Runs a number of transactions on each connection. Returns the duration, and the idle share of all processors.
fn pgbench(script: &Path, clients: usize, transactions: u64) -> anyhow::Result<(Duration, f64)> {
    let mut pgbench = Command::new("pgbench");
    if std::env::var_os("PGHOST").is_none() {
        pgbench.env("PGHOST", "127.0.0.1");
    }
    pgbench.envs([("PGSSLMODE", "disable"), ("PGGSSENCMODE", "disable")]).args(["-n", "-M", "prepared", "-f"]);
    pgbench.arg(script).args(["-c", &clients.to_string(), "-t", &transactions.to_string()]);
    let started = Instant::now();
    let (idle, all) = processors()?;
    let output = pgbench.output().context("pgbench")?;
    let time = started.elapsed();
    let (idle_then, all_then) = processors()?;
    if !output.status.success() {
        bail!("pgbench: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((time, (idle_then - idle) as f64 / (all_then - all) as f64))
}

/// Returns the idle time and the total time of all processors since the system was booted, in clock ticks.
fn processors() -> anyhow::Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let [user, nice, system, idle, wait, irq, soft_irq, steal, ..] = ticks[..] else { bail!("/proc/stat: {line}") };
    Ok((idle + wait, user + nice + system + idle + wait + irq + soft_irq + steal))
}

fn last_line_of(path: &Path) -> anyhow::Result<String> {
    const MORE_THAN_A_LINE: u64 = 64 << 10;
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MORE_THAN_A_LINE)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(last_line(&end))
}
