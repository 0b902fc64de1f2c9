//! A progress bar on standard error, while files are read.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::{Args, Format};

/// Nothing is shown of what takes less time than this.
const DELAY: Duration = Duration::from_millis(400);

/// The time between two looks at what was read.
const INTERVAL: Duration = Duration::from_millis(100);

const TEMPLATE: &str = "{prefix}{wide_bar:.cyan/dim} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";

/// A progress bar. It is removed when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    stop: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows how much of the files was read, if standard error is a terminal to which no lines go. Returns `None` if nothing is to
    /// be shown, also because a file is a pipe, whose size is not known.
    pub(super) fn start(
        args: &Args,
        files: &[PathBuf],
        bytes_read: Arc<AtomicU64>,
        prefix: &'static str,
    ) -> Option<Self> {
        // A summary is written when all is read, and the bar is gone.
        let writes_lines = !matches!(args.format, Format::Summary | Format::Html) && prefix.is_empty();
        let shares_terminal = writes_lines && args.output.is_none() && io::stdout().is_terminal();
        if args.quiet || shares_terminal || !io::stderr().is_terminal() {
            return None;
        }
        // In less room there is none for a bar.
        let columns = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
        if columns < 60 {
            return None;
        }
        let len = |path: &PathBuf| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len());
        let total = files.iter().map(len).sum::<Option<u64>>()?;
        let style = ProgressStyle::with_template(TEMPLATE).ok()?.progress_chars("━━─");
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()).with_style(style);
        bar.set_prefix(prefix);
        let (stop, stopped) = channel();
        let shown = bar.clone();
        let watch = move || {
            let mut wait = DELAY;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                if wait == DELAY {
                    shown.set_draw_target(ProgressDrawTarget::stderr());
                    wait = INTERVAL;
                }
                shown.set_position(bytes_read.load(Ordering::Relaxed));
            }
        };
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(watch).ok()?;
        Some(Self { bar, stop: Some((stop, thread)) })
    }

    /// Returns the bar, above which messages can be printed.
    pub(super) fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.stop.take() {
            drop(stop);
            // It ends at once, and cannot fail.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}
