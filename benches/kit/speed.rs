//! The speed of the command with captures of a server, compared with tcpdump and tshark.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::capture::{Capture, Scratch};
use crate::measure::{self, median};
use crate::{command, grouped, mib, pgdissect, print_row, progress};

/// The captures, as named by corpora.sh, and their descriptions.
const CORPORA: [(&str, &str); 6] = [
    ("simple", "pgbench -S, simple"),
    ("prepared", "pgbench -S, prepared"),
    ("tpcb", "pgbench TPC-B, prepared"),
    ("select", "SELECT of 1,000,000 rows"),
    ("copy", "COPY of 1,000,000 rows"),
    ("changes", "1,000,000 changes of rows"),
];

/// The flags to measure, if the command supports them.
const MODES: [&[&str]; 6] = [
    &["-e", "message"],
    &["-e", "query"],
    &["-e", "message", "-t", "Query"],
    &["-e", "message", "--redact", "values"],
    &["-F", "csvlog"],
    &["-F", "summary"],
];

/// The flags to measure with changes of rows, and what they are compared with.
const CHANGES: [&[&str]; 2] = [&["-e", "change"], &["-e", "message", "-t", "CopyData"]];
const ROWS: [&[&str]; 1] = [&["-e", "message", "-t", "DataRow"]];

pub(crate) fn speed(dir: &Path, pairs: usize) -> anyhow::Result<()> {
    let mut corpora = Vec::new();
    for (name, title) in CORPORA {
        let path = dir.join(name).with_extension("pcap");
        if path.exists() {
            let more: &[&[&str]] = match name {
                "changes" => &CHANGES,
                "select" => &ROWS,
                _ => &[],
            };
            corpora.push((title, more, Capture::open(&path)?));
        } else {
            progress(&format!("there is no {}: `cargo bench --bench kit -- corpora` makes it", path.display()));
        }
    }
    if corpora.is_empty() {
        return Ok(());
    }
    print_row(&["capture", "size", "packets", "messages"]);
    print_row(&["---"; 4]);
    for (title, _, capture) in &corpora {
        let megabytes = format!("{:.0} MB", capture.bytes as f64 / 1e6);
        print_row(&[title, &megabytes, &grouped(capture.packets), &grouped(capture.messages)]);
    }
    println!();
    print_row(&[
        "capture",
        "flags",
        "time, tcpdump -w = 1",
        "tshark's time, this = 1",
        "messages/s",
        "MB/s",
        "instructions a message",
        "allocations a message",
        "peak memory",
    ]);
    print_row(&["---"; 9]);
    for (title, more, capture) in &corpora {
        let modes: Vec<_> = MODES.iter().chain(*more).copied().filter(|mode| is_known(mode)).collect();
        one(title, capture, &modes, dir, pairs).with_context(|| capture.path.display().to_string())?;
    }
    println!();
    Ok(())
}

/// Returns whether the command supports these flags.
fn is_known(mode: &[&str]) -> bool {
    let known =
        Command::new(pgdissect()).args(mode).arg("--schema").output().is_ok_and(|output| output.status.success());
    if !known {
        progress(&format!("the command does not know {}: left out", mode.join(" ")));
    }
    known
}

fn one(title: &str, capture: &Capture, modes: &[&[&str]], dir: &Path, pairs: usize) -> anyhow::Result<()> {
    progress(title);
    let smaller_file = Scratch(dir.join("cut-40.pcap"));
    let smaller = capture.cut(capture.bytes / 40, &smaller_file.0)?;
    let cut_file = Scratch(dir.join("cut-20.pcap"));
    let cut = capture.cut(capture.bytes / 20, &cut_file.0)?;

    let tcpdump = tcpdump(capture);
    let mut ratios = vec![Vec::new(); modes.len()];
    let mut times = vec![Vec::new(); modes.len()];
    let mut peaks = vec![0; modes.len()];
    for round in 0..=pairs {
        for (index, mode) in modes.iter().enumerate() {
            let of_tcpdump = measure::run(&tcpdump)?;
            let taken = measure::run(&dissect(capture, mode))?;
            // The first round is a warm-up.
            if round > 0 {
                ratios[index].push(taken.time.as_secs_f64() / of_tcpdump.time.as_secs_f64());
                times[index].push(taken.time.as_secs_f64());
                peaks[index] = peaks[index].max(taken.peak);
            }
        }
    }

    progress(&format!("{title}: tshark"));
    let of_tshark = measure::run(&tshark(capture))?.time.as_secs_f64();

    progress(&format!("{title}: callgrind, on the first 5% less the first 2.5%"));
    for (index, mode) in modes.iter().enumerate() {
        // The difference removes the fixed cost of a run.
        let [more, less] = [callgrind(&cut, mode, dir)?, callgrind(&smaller, mode, dir)?];
        let messages = (cut.messages - smaller.messages) as f64;
        let time = median(times[index].clone());
        print_row(&[
            title,
            &format!("`{}`", mode.join(" ")),
            &format!("{:.2}", median(ratios[index].clone())),
            &format!("{:.0}", of_tshark / time),
            &grouped((capture.messages as f64 / time) as u64),
            &format!("{:.0}", capture.bytes as f64 / 1e6 / time),
            &grouped(((more.instructions - less.instructions) as f64 / messages) as u64),
            &format!("{:.4}", more.allocations.saturating_sub(less.allocations) as f64 / messages),
            &mib(peaks[index]),
        ]);
    }
    Ok(())
}

/// Returns a command of tcpdump that reads a capture and discards the packets.
pub(crate) fn tcpdump(capture: &Capture) -> Vec<OsString> {
    command("tcpdump", ["-r".into(), capture.path.clone().into(), "-w".into(), "/dev/null".into()])
}

fn tshark(capture: &Capture) -> Vec<OsString> {
    let decode_as = format!("tcp.port=={},pgsql", capture.port);
    let mut command = command("tshark", ["-r".into(), capture.path.clone().into(), "-d".into(), decode_as.into()]);
    command.extend(["-T", "ek", "-Y", "pgsql"].map(Into::into));
    command
}

/// Returns a command of pgdissect that reads a capture.
pub(crate) fn dissect(capture: &Capture, flags: &[&str]) -> Vec<OsString> {
    let mut command = command(pgdissect(), flags.iter().map(OsString::from));
    command.extend(["-q".into(), "-p".into(), capture.port.to_string().into(), capture.path.clone().into()]);
    command
}

/// Counts from callgrind.
struct Counted {
    instructions: u64,
    /// Calls of malloc and similar functions.
    allocations: u64,
}

fn callgrind(capture: &Capture, mode: &[&str], dir: &Path) -> anyhow::Result<Counted> {
    let profile = Scratch(dir.join("callgrind.out"));
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(&profile.0);
    let mut command = command("valgrind", ["--tool=callgrind".into(), out]);
    command.extend(dissect(capture, mode));
    measure::run(&command)?;
    read_profile(&fs::read_to_string(&profile.0)?)
}

/// Parses the relevant parts of callgrind's format. The first occurrence of a function has a number and a name, `fn=(7) malloc`
/// or `cfn=(7) malloc`; later ones only the number, `cfn=(7)`, followed by `calls=3` and other data of the calls.
fn read_profile(profile: &str) -> anyhow::Result<Counted> {
    let mut instructions = None;
    let mut allocating = Vec::new();
    let mut called = "";
    let mut allocations = 0;
    for line in profile.lines() {
        let Some((key, value)) = line.split_once(['=', ':']) else { continue };
        match key {
            "fn" | "cfn" => {
                let (number, name) = value.split_once(' ').unwrap_or((value, ""));
                if ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"].contains(&name) {
                    allocating.push(number);
                }
                called = number;
            }
            "calls" if allocating.contains(&called) => {
                allocations += value.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
            "totals" | "summary" => instructions = value.trim().parse().ok().or(instructions),
            _ => {}
        }
    }
    let Some(instructions) = instructions else { bail!("callgrind has not counted") };
    Ok(Counted { instructions, allocations })
}
