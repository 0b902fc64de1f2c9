//! The key logs of the command line: read, and followed as they grow.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tls::keylog::{KeyLogLines, Keys};
use anyhow::Context;
use nix::fcntl::OFlag;

/// How often it is looked whether a key log has grown.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often it is looked while something waits for keys. A client writes them before its first query, whose result may fill
/// what may be held within a millisecond.
const INTERVAL_AWAITED: Duration = Duration::from_micros(250);

/// How much is read in one piece, in bytes.
const PIECE: usize = 64 * 1024;

/// How much of a key log is read at a time while packets come, in bytes: some hundredths of a second.
const MOST_A_LOOK: u64 = 8 << 20;

/// Key logs, and the keys that they give.
pub(crate) struct KeyLogs {
    pub(crate) keys: Keys,
    files: Vec<KeyLog>,
    /// Whether they may grow while packets are read.
    pub(crate) are_followed: bool,
    looked_at: Instant,
    buffer: Vec<u8>,
}

/// One key log.
struct KeyLog {
    path: PathBuf,
    /// None as long as there is no such file.
    file: Option<File>,
    read: u64,
    lines: KeyLogLines,
    /// Whether it was said that it cannot be read.
    is_said: bool,
}

impl KeyLogs {
    /// Opens key logs. One that is followed may not be there yet.
    pub(crate) fn open(paths: &[PathBuf], are_followed: bool) -> anyhow::Result<Self> {
        let keys = Keys::default();
        keys.expect_more(are_followed && !paths.is_empty());
        let mut files = Vec::new();
        for path in paths {
            let file = match open(path, are_followed) {
                Err(error) if are_followed && error.kind() == ErrorKind::NotFound => None,
                opened => Some(opened.with_context(|| format!("{}: cannot be read", path.display()))?),
            };
            files.push(KeyLog { path: path.clone(), file, read: 0, lines: KeyLogLines::default(), is_said: false });
        }
        Ok(Self { keys, files, are_followed, looked_at: Instant::now(), buffer: Vec::new() })
    }

    /// Reads them as far as they go.
    pub(crate) fn read(&mut self) -> anyhow::Result<()> {
        for log in &mut self.files {
            if let Some(file) = &mut log.file {
                log.read += take(file, &mut log.lines, &self.keys, &mut self.buffer, u64::MAX)
                    .with_context(|| format!("{}: cannot be read", log.path.display()))?;
            }
            if !self.are_followed {
                log.lines.finish(&self.keys);
            }
        }
        Ok(())
    }

    /// Reads what key logs have more by now, where it is time to look.
    pub(crate) fn follow(&mut self, now: Instant, say: &mut dyn FnMut(&str)) {
        let interval = if self.keys.are_awaited() { INTERVAL_AWAITED } else { INTERVAL };
        if self.are_followed && !self.files.is_empty() && now - self.looked_at >= interval {
            self.looked_at = now;
            self.keys.look();
            self.catch_up(false, say);
        }
    }

    /// Whether something waits for what key logs may have more by now.
    pub(crate) fn are_awaited(&self) -> bool {
        self.are_followed && self.keys.are_awaited()
    }

    /// Reads what key logs have more by now, for the last time.
    pub(crate) fn finish(&mut self, say: &mut dyn FnMut(&str)) {
        if self.are_followed {
            self.catch_up(true, say);
        }
    }

    /// Reads what key logs have more by now. What cannot be read now may be later; one that is not there is missed at the end.
    fn catch_up(&mut self, is_end: bool, say: &mut dyn FnMut(&str)) {
        for log in &mut self.files {
            if let Err(error) = log.read(&self.keys, &mut self.buffer, MOST_A_LOOK)
                && (is_end || error.kind() != ErrorKind::NotFound)
                && !std::mem::replace(&mut log.is_said, true)
            {
                // What is open already is read all the same.
                let is_open = log.file.is_some() && error.kind() == ErrorKind::PermissionDenied;
                let what = if is_open { "it cannot be opened again, if it is rotated" } else { "cannot be read" };
                say(&format!("{}: {what}: {error}", log.path.display()));
            }
        }
    }

    /// Takes a key log that was within a capture.
    pub(crate) fn take(&self, bytes: &[u8]) {
        let mut lines = KeyLogLines::default();
        lines.push(bytes, &self.keys);
        lines.finish(&self.keys);
    }
}

impl KeyLog {
    /// Reads what there is more by now, or a part of it where more packets may be waiting.
    fn read(&mut self, keys: &Keys, buffer: &mut Vec<u8>, most: u64) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            // What has another name by now is read to its end all the same.
            let taken = take(file, &mut self.lines, keys, buffer, most)?;
            self.read += taken;
            if taken >= most || !is_another(file, self.read, &self.path) {
                return Ok(());
            }
        }
        let mut file = open(&self.path, true)?;
        self.lines.finish(keys);
        self.read = take(&mut file, &mut self.lines, keys, buffer, most)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Opens a key log. A pipe is read to its end before the packets, but not waited for while these come.
fn open(path: &Path, is_followed: bool) -> std::io::Result<File> {
    let flags = if is_followed { OFlag::O_NONBLOCK.bits() } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Takes lines from a file as far as it goes, or about so many bytes. Says how many they were.
fn take(
    file: &mut File,
    lines: &mut KeyLogLines,
    keys: &Keys,
    buffer: &mut Vec<u8>,
    most: u64,
) -> std::io::Result<u64> {
    buffer.resize(PIECE, 0);
    let mut taken = 0;
    while taken < most {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => {
                taken += count as u64;
                lines.push(buffer.get(..count).unwrap_or_default(), keys);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Whether another file has the name by now, or this one was emptied.
fn is_another(file: &File, read: u64, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => {
            named.is_file() && (named.len() < read || (open.dev(), open.ino()) != (named.dev(), named.ino()))
        }
        // It may be, for a user that may not look into its folder: to open it will say so.
        (_, Err(error)) => error.kind() == ErrorKind::PermissionDenied,
        _ => false,
    }
}
