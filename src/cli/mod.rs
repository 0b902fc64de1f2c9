//! The command: arguments, the loop over packets, and the exit code.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::capture::{Source, interfaces};
use crate::output::tables;
use crate::record;
use clap::CommandFactory;

use self::args::{Args, SchemaForm};

mod args;
mod extract;
mod jq;
mod key_logs;
mod progress;
mod run;
mod screen;
mod screen_data;
mod select;
mod sessions;
mod writer;

/// The exit code if lines were written, but not all of the input could be read.
const PARTIAL: u8 = 1;
/// The exit code if the command failed.
const FAILED: u8 = 2;
/// The exit code if the filter of `--jq` failed on a line: that of jq.
const UNFILTERED: u8 = 5;

/// Runs the command with the arguments and standard streams of this process.
pub fn main() -> ExitCode {
    let args = Args::from_command_line();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        // The reader of the output has closed it, as `head` does: not an error.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            notify(&format!("{error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Dissects the packets of a source like the command with these arguments. Writes lines to `out`, and messages for the user to
/// `messages`. Returns the exit code.
///
/// # Errors
///
/// Invalid arguments, and errors that stop the command.
pub fn dissect(
    args: &[&str],
    source: impl Source + Send + 'static,
    out: Box<dyn Write + Send>,
    messages: &mut dyn FnMut(&str),
) -> anyhow::Result<u8> {
    run::dissect(&Args::of(args)?, source, out, messages)
}

fn run(args: &Args) -> anyhow::Result<u8> {
    if let Some(form) = args.schema {
        let schema = match form {
            SchemaForm::Json => format!("{}\n", serde_json::to_string_pretty(&record::schema())?),
            SchemaForm::Duckdb => tables::duckdb(),
            SchemaForm::Clickhouse => tables::clickhouse(),
        };
        io::stdout().write_all(schema.as_bytes())?;
        return Ok(0);
    }
    if args.man {
        clap_mangen::Man::new(Args::command()).render(&mut io::stdout())?;
        return Ok(0);
    }
    if let Some(shell) = args.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "pgdissect", &mut script);
        io::stdout().write_all(&script)?;
        return Ok(0);
    }
    if args.list_interfaces {
        for interface in interfaces::list()? {
            writeln!(io::stdout(), "{interface}")?;
        }
        return Ok(0);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let ends_on_hang_up = !is_hang_up_ignored() && !args.reopens_on_hang_up();
    let hang_up = ends_on_hang_up.then_some(signal_hook::consts::SIGHUP);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM].into_iter().chain(hang_up) {
        // The first signal stops cleanly. If that is not possible, because nobody reads the output, a second one exits at once.
        signal_hook::flag::register_conditional_shutdown(signal, FAILED.into(), Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    match &args.interface {
        Some(interface) => run::listen(args, interface, &stop),
        None => run::read(args, &stop),
    }
}

/// Returns whether SIGHUP is ignored, as under nohup: then the command outlives its terminal. Otherwise it ends cleanly with it.
fn is_hang_up_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored >> (signal_hook::consts::SIGHUP - 1) & 1 == 1
}

/// Prints a message for the user.
fn notify(text: &str) {
    // If standard error cannot be written, there is no way to report that.
    let _ = writeln!(io::stderr(), "pgdissect: {text}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
