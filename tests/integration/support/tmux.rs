//! A terminal that a test types into and looks at: tmux.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::PATIENCE;

/// A terminal with a shell; ended on drop.
pub(crate) struct Terminal {
    server: String,
}

impl Terminal {
    /// Starts a shell in a terminal of this size. Returns `None`, and prints that the test is skipped, where there is no tmux.
    pub(crate) fn start(test: &str, width: u16, height: u16) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if Command::new("tmux").arg("-V").output().is_err() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("{test}: skipped: tmux is not installed");
            }
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { server: format!("pgdissect-test-{}-{number}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        // The shell has job control, and none of the user's settings.
        let shell = "env -u NO_COLOR PS1='$ ' bash --norc --noprofile -i";
        let options = ["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, shell];
        let output = terminal.tmux(&options);
        assert!(output.status.success(), "{output:?}");
        terminal.shows("$");
        Some(terminal)
    }

    fn tmux(&self, args: &[&str]) -> Output {
        Command::new("tmux").args(["-L", &self.server]).args(args).env_remove("TMUX").output().unwrap()
    }

    /// Types text as it is.
    pub(crate) fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses a key by its name, such as `Enter` or `C-z`.
    pub(crate) fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Runs a command of the shell.
    pub(crate) fn runs(&self, command: &str) {
        self.types(command);
        self.presses("Enter");
    }

    pub(crate) fn resizes(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Returns what is on the screen.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// Returns what is on the screen, with its colors.
    pub(crate) fn colored(&self) -> String {
        String::from_utf8(self.tmux(&["capture-pane", "-p", "-e"]).stdout).unwrap()
    }

    /// Returns the process ID of what the shell runs.
    pub(crate) fn foreground(&self) -> u32 {
        let shell = String::from_utf8(self.tmux(&["display", "-p", "#{pane_pid}"]).stdout).unwrap();
        let children = Command::new("pgrep").args(["-n", "-P", shell.trim()]).output().unwrap();
        String::from_utf8(children.stdout).unwrap().trim().parse().unwrap()
    }

    /// Waits until a condition holds for what is on the screen.
    #[track_caller]
    pub(crate) fn waits(&self, wanted: &str, holds: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(started.elapsed() < PATIENCE, "{wanted:?} did not come:\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for a text.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) -> String {
        self.waits(text, |screen| screen.contains(text))
    }

    /// Returns whether it is as a shell needs it: its own screen, a visible cursor, no reports of the mouse; lines and echo.
    pub(crate) fn is_restored(&self) -> bool {
        let flags = "#{alternate_on}#{cursor_flag}#{mouse_any_flag}#{bracket_paste_flag}";
        let flags = String::from_utf8(self.tmux(&["display", "-p", flags]).stdout).unwrap();
        // tmux 3.3 does not know the last.
        flags.trim().starts_with("010")
    }

    /// Checks that the terminal is restored, by asking the shell.
    #[track_caller]
    pub(crate) fn checks_that_it_is_restored(&self) {
        let modes = r"stty -a | tr ' ;' '\n\n' | grep -xE -- '-?(icanon|echo|isig|opost)' | sort | tr '\n' ' '";
        self.runs(&format!("clear; {modes}; echo modes"));
        self.shows("echo icanon isig opost modes");
        assert!(self.is_restored());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
