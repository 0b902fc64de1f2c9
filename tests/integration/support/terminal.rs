//! A terminal for the command: its lines, with and without their colors.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::pty::{Winsize, openpty};
use unicode_width::UnicodeWidthStr;

use crate::command::{PATIENCE, Running};

/// A pseudoterminal, and what was written to it.
pub(crate) struct Terminal {
    /// The side of the command; `None` once nothing more is to be started on it.
    inside: Option<File>,
    lines: Receiver<String>,
}

impl Terminal {
    /// Opens a terminal of so many columns.
    pub(crate) fn new(columns: u16) -> Self {
        let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = openpty(Some(&size), None).unwrap();
        let mut outside = File::from(ends.master);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
            // Where no process has it open any more, that is an error.
            while let Ok(read @ 1..) = outside.read(&mut bytes) {
                text.extend_from_slice(&bytes[..read]);
                while let Some(end) = text.windows(2).position(|ending| ending == b"\r\n") {
                    let line = text.drain(..end + 2).take(end).collect();
                    let _ = sender.send(String::from_utf8(line).unwrap());
                }
            }
            assert!(text.is_empty(), "half a line: {}", text.escape_ascii());
        });
        Self { inside: Some(File::from(ends.slave)), lines }
    }

    /// Starts a command on it.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        Running::start_into(self.output(), command)
    }

    fn output(&self) -> Stdio {
        self.inside.as_ref().unwrap().try_clone().unwrap().into()
    }

    /// Gives it another width.
    pub(crate) fn resize(&self, columns: u16) {
        let columns = columns.to_string();
        assert!(Command::new("stty").args(["cols", &columns]).stdin(self.output()).status().unwrap().success());
    }

    /// Returns the next line, which must come.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line comes")
    }

    /// Returns the lines until its commands have ended.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.inside = None;
        std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect()
    }

    /// Returns the lines of a command that ends well.
    #[track_caller]
    pub(crate) fn lines_of(columns: u16, command: &mut Command) -> Vec<String> {
        let mut terminal = Self::new(columns);
        let running = terminal.start(command);
        let lines = terminal.rest();
        let outcome = running.finish();
        assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
        lines
    }
}

/// Removes the colors of a line, each of which must end before the line does.
#[track_caller]
pub(crate) fn plain(line: &str) -> String {
    let mut plain = String::new();
    let (mut rest, mut color) = (line, false);
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let (parameters, behind) = behind.split_once('m').expect("a color ends");
        assert!(parameters.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "no color: {line:?}");
        color = parameters != "0";
        rest = behind;
    }
    assert!(!color, "a color does not end: {line:?}");
    plain.push_str(rest);
    assert!(!plain.contains(char::is_control), "{line:?}");
    plain
}

/// Returns how many columns a line without colors takes.
pub(crate) fn width(plain: &str) -> usize {
    plain.width()
}
