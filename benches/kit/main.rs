//! Measures the command: whole processes, as a user runs them.
//!
//! `cargo bench --bench kit` measures the speed of reading captures of a server (`speed`), and how time and memory grow with the
//! traffic (`growth`). `cargo bench --bench kit -- all`, as root, first creates the captures (`corpora`, with
//! benches/corpora.sh), and also captures while pgbench runs (`live`). For both, PGHOST, PGPORT and similar variables select the
//! server on this machine. Single parts can be selected by name. Files are created in target/bench, or in the folder given by
//! `--dir`; up to 2 GB of them at a time, which are removed.
//!
//! Prints tables in Markdown to standard output, and progress to standard error.

#![allow(clippy::print_stdout, clippy::indexing_slicing, missing_docs)]

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use clap::{Parser, ValueEnum};

mod capture;
mod growth;
mod live;
#[path = "../made/mod.rs"]
mod made;
mod measure;
mod speed;

/// Measures the command.
#[derive(Parser)]
struct Args {
    /// What to measure
    #[arg(default_values = ["speed", "growth"])]
    parts: Vec<Part>,

    /// The folder of captures
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,

    /// How often each speed is measured
    #[arg(long, default_value_t = 7)]
    pairs: usize,

    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Corpora,
    Speed,
    Growth,
    Live,
    All,
}

fn main() -> anyhow::Result<()> {
    measure::as_parent()?;
    // `cargo test --benches` runs benchmarks as well, without this argument.
    if !std::env::args_os().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let args = Args::parse();
    fs::create_dir_all(&args.dir)?;
    let wants = |part| args.parts.contains(&part) || args.parts.contains(&Part::All);
    println!("pgdissect {}, {}, {}\n", env!("CARGO_PKG_VERSION"), version("tcpdump"), version("tshark"));
    if wants(Part::Corpora) && !Command::new("benches/corpora.sh").arg(&args.dir).status()?.success() {
        bail!("benches/corpora.sh has not made all captures");
    }
    if wants(Part::Speed) {
        speed::speed(&args.dir, args.pairs)?;
    }
    if wants(Part::Growth) {
        growth::growth(&args.dir)?;
    }
    if wants(Part::Live) {
        live::live(&args.dir)?;
    }
    Ok(())
}

/// Returns the path of the command under test.
fn pgdissect() -> &'static str {
    env!("CARGO_BIN_EXE_pgdissect")
}

fn command(program: &str, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    [program.into()].into_iter().chain(args).collect()
}

/// Returns the version that a program prints.
fn version(program: &str) -> String {
    let said = Command::new(program).arg("--version").output().map(|output| [output.stdout, output.stderr].concat());
    let said = said.map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    let line = said.lines().find(|line| line.to_lowercase().starts_with(program));
    line.map_or_else(|| format!("no {program}"), |line| line.trim_end_matches('.').to_owned())
}

/// Prints a row of a table.
fn print_row(cells: &[&str]) {
    println!("| {} |", cells.join(" | "));
}

/// Prints progress.
#[expect(clippy::print_stderr, reason = "standard output has the tables")]
fn progress(what: &str) {
    eprintln!("{what}");
}

/// Formats a number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
