//! The key logs named on the command line, and reading of new lines as they grow.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tls::keylog::{KeyLogLines, Keys};
use anyhow::Context;
use nix::fcntl::OFlag;

/// How often key logs are checked for new lines.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often key logs are checked while a connection waits for keys. A client writes the keys before its first query, whose
/// result may reach the limit on held data within a millisecond.
const INTERVAL_AWAITED: Duration = Duration::from_micros(250);

/// The size of a read in bytes.
const PIECE: usize = 64 * 1024;

/// How much of a key log is read at a time between packets, in bytes: some hundredths of a second.
const MAX_READ_PER_CHECK: u64 = 8 << 20;

/// Key logs and their keys.
pub(crate) struct KeyLogs {
    pub(crate) keys: Keys,
    files: Vec<KeyLog>,
    /// Whether they may grow while packets are read.
    pub(crate) are_followed: bool,
    looked_at: Instant,
    buffer: Vec<u8>,
}

/// The state of one key log.
struct KeyLog {
    path: PathBuf,
    /// `None` while the file does not exist.
    file: Option<File>,
    read: u64,
    lines: KeyLogLines,
    /// Whether an error was reported.
    is_reported: bool,
}

impl KeyLogs {
    /// Opens key logs. One that is followed need not exist yet.
    pub(crate) fn open(paths: &[PathBuf], are_followed: bool) -> anyhow::Result<Self> {
        let keys = Keys::default();
        keys.expect_more(are_followed && !paths.is_empty());
        let mut files = Vec::new();
        for path in paths {
            let file = match open(path, are_followed) {
                Err(error) if are_followed && error.kind() == ErrorKind::NotFound => None,
                opened => Some(opened.with_context(|| format!("{}: cannot be read", path.display()))?),
            };
            files.push(KeyLog { path: path.clone(), file, read: 0, lines: KeyLogLines::default(), is_reported: false });
        }
        Ok(Self { keys, files, are_followed, looked_at: Instant::now(), buffer: Vec::new() })
    }

    /// Reads all key logs to their current end.
    pub(crate) fn read(&mut self) -> anyhow::Result<()> {
        for log in &mut self.files {
            if let Some(file) = &mut log.file {
                log.read += read_lines(file, &mut log.lines, &self.keys, &mut self.buffer, u64::MAX)
                    .with_context(|| format!("{}: cannot be read", log.path.display()))?;
            }
            if !self.are_followed {
                log.lines.finish(&self.keys);
            }
        }
        Ok(())
    }

    /// Reads new lines of key logs, if a check is due.
    pub(crate) fn follow(&mut self, now: Instant, notify: &mut dyn FnMut(&str)) {
        let interval = if self.keys.are_awaited() { INTERVAL_AWAITED } else { INTERVAL };
        if self.are_followed && !self.files.is_empty() && now - self.looked_at >= interval {
            self.looked_at = now;
            self.keys.look();
            self.catch_up(false, notify);
        }
    }

    /// Returns whether a connection waits for keys that may have been added to followed key logs.
    pub(crate) fn are_awaited(&self) -> bool {
        self.are_followed && self.keys.are_awaited()
    }

    /// Reads new lines of key logs for the last time.
    pub(crate) fn finish(&mut self, notify: &mut dyn FnMut(&str)) {
        if self.are_followed {
            self.catch_up(true, notify);
        }
    }

    /// Reads new lines. A key log that cannot be read is tried again later; one that does not exist is reported at the end.
    fn catch_up(&mut self, is_end: bool, notify: &mut dyn FnMut(&str)) {
        for log in &mut self.files {
            if let Err(error) = log.read(&self.keys, &mut self.buffer, MAX_READ_PER_CHECK)
                && (is_end || error.kind() != ErrorKind::NotFound)
                && !std::mem::replace(&mut log.is_reported, true)
            {
                // An open file can still be read.
                let is_open = log.file.is_some() && error.kind() == ErrorKind::PermissionDenied;
                let what = if is_open { "it cannot be reopened after a rotation" } else { "cannot be read" };
                notify(&format!("{}: {what}: {error}", log.path.display()));
            }
        }
    }

    /// Adds the keys of a key log embedded in a capture.
    pub(crate) fn add_embedded(&self, bytes: &[u8]) {
        let mut lines = KeyLogLines::default();
        lines.push(bytes, &self.keys);
        lines.finish(&self.keys);
    }
}

impl KeyLog {
    /// Reads new lines, up to about `limit` bytes, because more packets may be waiting.
    fn read(&mut self, keys: &Keys, buffer: &mut Vec<u8>, limit: u64) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            // The rest of a file that was renamed is read first.
            let count_read = read_lines(file, &mut self.lines, keys, buffer, limit)?;
            self.read += count_read;
            if count_read >= limit || !is_another(file, self.read, &self.path) {
                return Ok(());
            }
        }
        let mut file = open(&self.path, true)?;
        self.lines.finish(keys);
        self.read = read_lines(&mut file, &mut self.lines, keys, buffer, limit)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Opens a key log. A pipe that is not followed is read to its end before the packets; a followed one must not block.
fn open(path: &Path, is_followed: bool) -> std::io::Result<File> {
    let flags = if is_followed { OFlag::O_NONBLOCK.bits() } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads lines from a file to its current end, or about `limit` bytes. Returns the number of bytes.
fn read_lines(
    file: &mut File,
    lines: &mut KeyLogLines,
    keys: &Keys,
    buffer: &mut Vec<u8>,
    limit: u64,
) -> std::io::Result<u64> {
    buffer.resize(PIECE, 0);
    let mut count_read = 0;
    while count_read < limit {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                count_read += count as u64;
                lines.push(buffer.get(..count).unwrap_or_default(), keys);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(count_read)
}

/// Returns whether the path now names another file, or this one was truncated.
fn is_another(file: &File, read: u64, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => {
            named.is_file() && (named.len() < read || (open.dev(), open.ino()) != (named.dev(), named.ino()))
        }
        // If the user may not search its folder, this is unknown: opening it will report the error.
        (_, Err(error)) => error.kind() == ErrorKind::PermissionDenied,
        _ => false,
    }
}
