//! Runs the command as a user does, always with a time limit.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The time limit for anything on the slowest machine. Nothing should come close to it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Creates the command, without environment variables that change its behaviour.
pub(crate) fn pgdissect<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgdissect"));
    command.args(args).current_dir(testdata()).stdin(Stdio::null()).env_remove("NO_COLOR").env("TZ", "UTC");
    command
}

/// Runs the command to its end, without any input. Paths are relative to `testdata`.
pub(crate) fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Outcome {
    Running::start(&mut pgdissect(args)).finish()
}

/// Returns the folder of captures.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; `None` if it was ended by a signal.
    pub(crate) code: Option<i32>,
    /// The lines on standard output, except those taken before the end.
    pub(crate) lines: Vec<String>,
    /// The text on standard error.
    pub(crate) said: String,
}

impl Outcome {
    /// Returns the lines as JSON, after checking for success without messages.
    #[track_caller]
    pub(crate) fn good(&self) -> Vec<Value> {
        assert_eq!((self.code, self.said.as_str()), (Some(0), ""));
        self.values()
    }

    /// Returns the lines as JSON.
    #[track_caller]
    pub(crate) fn values(&self) -> Vec<Value> {
        self.lines.iter().map(|line| parse(line)).collect()
    }
}

/// Parses a line.
#[track_caller]
pub(crate) fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Returns the types of the messages among lines.
pub(crate) fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["type"].as_str()).collect()
}

/// A running command; killed on drop.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    said: String,
}

impl Running {
    /// Starts a command. Its standard input is that set by the caller.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_into(Stdio::piped(), command)
    }

    /// Starts a command with another standard output than a pipe to the test.
    pub(crate) fn start_into(output: impl Into<Stdio>, command: &mut Command) -> Self {
        let mut child = command.stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        // The command would keep its ends of the pipes open.
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let stdout = child.stdout.take().map_or_else(|| channel().1, lines_of);
        let stderr = lines_of(child.stderr.take().unwrap());
        Self { child, stdout, stderr, said: String::new() }
    }

    /// Starts a command with a pipe as its standard input.
    pub(crate) fn start_with_pipe(command: &mut Command) -> Self {
        Self::start(command.stdin(Stdio::piped()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input, at once.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Closes its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.child.stdin = None;
    }

    /// Returns the next line on standard output, while the command is still running.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        match self.stdout.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("no line came ({error}); on standard error: {}", self.said_so_far()),
        }
    }

    /// Returns the lines up to and including the first that `wanted` accepts.
    #[track_caller]
    pub(crate) fn lines_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut lines = Vec::new();
        let started = Instant::now();
        loop {
            let line = parse(&self.line());
            let found = wanted(&line);
            // Others may come forever.
            assert!(found || started.elapsed() < PATIENCE, "the line did not come; the last is {line}");
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    /// Waits for a text on standard error.
    #[track_caller]
    pub(crate) fn says(&mut self, wanted: &str) {
        while !self.said.contains(wanted) {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                }
                Err(error) => panic!("it did not say {wanted:?} ({error}), but: {}", self.said),
            }
        }
    }

    fn said_so_far(&mut self) -> &str {
        for line in self.stderr.try_iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        &self.said
    }

    /// Returns whether it is still running.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, with its standard input unchanged.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let start = Instant::now();
        while self.is_alive() {
            assert!(start.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        kill(name, self.id());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Outcome {
        self.hang_up();
        let mut lines = Vec::new();
        loop {
            match self.stdout.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end; on standard error: {}", self.said_so_far()),
            }
        }
        for line in self.stderr.iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        self.ends();
        Outcome { code: self.child.wait().unwrap().code(), lines, said: std::mem::take(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn kill(signal: &str, process: u32) {
    let killed = Command::new("sh").args(["-c", r#"kill "-$0" "$1""#, signal, &process.to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Returns the lines of a pipe as they arrive. Each must end with a line feed.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).unwrap() > 0 {
            assert_eq!(line.pop(), Some(b'\n'), "half a line: {}", line.escape_ascii());
            if sender.send(String::from_utf8(std::mem::take(&mut line)).unwrap()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A folder that is removed on drop.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pgdissect-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of a file in it, as an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
