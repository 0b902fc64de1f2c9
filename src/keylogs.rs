//! The key logs of the command line: read, and followed as they grow.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::fcntl::OFlag;
use pgdissect::tls::keylog::{Keys, Lines};

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
    lines: Lines,
    /// Whether it was said that it cannot be read.
    is_said: bool,
}

impl KeyLogs {
    /// Reads key logs as far as they go. One that is followed may not be there yet.
    pub(crate) fn open(paths: &[PathBuf], are_followed: bool) -> anyhow::Result<Self> {
        let keys = Keys::default();
        keys.expect_more(are_followed && !paths.is_empty());
        let files = paths.iter().map(|path| KeyLog {
            path: path.clone(),
            file: None,
            read: 0,
            lines: Lines::default(),
            is_said: false,
        });
        let mut logs =
            Self { keys, files: files.collect(), are_followed, looked_at: Instant::now(), buffer: Vec::new() };
        for log in &mut logs.files {
            let read = log.read(&logs.keys, &mut logs.buffer, are_followed, u64::MAX);
            if are_followed && matches!(&read, Err(error) if error.kind() == ErrorKind::NotFound) {
                continue;
            }
            read.with_context(|| format!("{}: cannot be read", log.path.display()))?;
            if !are_followed {
                log.lines.finish(&logs.keys);
            }
        }
        Ok(logs)
    }

    /// Reads what key logs have more by now, where it is time to look.
    pub(crate) fn follow(&mut self, now: Instant, say: fn(&str)) {
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
    pub(crate) fn finish(&mut self, say: fn(&str)) {
        if self.are_followed {
            self.catch_up(true, say);
        }
    }

    /// Reads what key logs have more by now. What cannot be read now may be later; one that is not there is missed at the end.
    fn catch_up(&mut self, is_end: bool, say: fn(&str)) {
        for log in &mut self.files {
            if let Err(error) = log.read(&self.keys, &mut self.buffer, true, MOST_A_LOOK)
                && (is_end || error.kind() != ErrorKind::NotFound)
                && !std::mem::replace(&mut log.is_said, true)
            {
                say(&format!("{}: cannot be read: {error}", log.path.display()));
            }
        }
    }

    /// Takes a key log that was within a capture.
    pub(crate) fn take(&self, bytes: &[u8]) {
        let mut lines = Lines::default();
        lines.push(bytes, &self.keys);
        lines.finish(&self.keys);
    }
}

impl KeyLog {
    /// Reads what there is more by now, or a part of it where more packets may be waiting.
    fn read(&mut self, keys: &Keys, buffer: &mut Vec<u8>, is_followed: bool, most: u64) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            // What has another name by now is read to its end all the same.
            let taken = take(file, &mut self.lines, keys, buffer, most)?;
            self.read += taken;
            if taken >= most || !is_another(file, self.read, &self.path) {
                return Ok(());
            }
        }
        // A pipe is read to its end before the packets, but not waited for while these come.
        let flags = if is_followed { OFlag::O_NONBLOCK.bits() } else { 0 };
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
        self.lines.finish(keys);
        self.read = take(&mut file, &mut self.lines, keys, buffer, most)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Takes lines from a file as far as it goes, or about so many bytes. Says how many they were.
fn take(file: &mut File, lines: &mut Lines, keys: &Keys, buffer: &mut Vec<u8>, most: u64) -> std::io::Result<u64> {
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
        _ => false,
    }
}
