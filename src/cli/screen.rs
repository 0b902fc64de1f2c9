//! The terminal of a screen: keys in, frames out, and as it was before when the command ends, however it does.

pub(super) mod conditions;

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event,
};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{execute, style};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTSTP, SIGUSR1, SIGUSR2};

use crate::output::screen::Data;
use crate::output::screen::app::{Action, App, Lines, Settings};
use crate::output::screen::draw::draw;

/// The time between two looks at the data.
const INTERVAL: Duration = Duration::from_millis(500);

/// The time after which signals are looked at.
const WAIT: Duration = Duration::from_millis(100);

/// How long the thread of the screen has to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many keys are handled before what they did is drawn.
const MAX_EVENTS: usize = 100;

/// Whether the terminal is the screen's now.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// Held by who writes to the terminal.
static TERMINAL: Mutex<()> = Mutex::new(());

/// Saves the packets of a connection to a file. Returns what was saved, in words.
pub(super) type SavePackets = Box<dyn FnMut(u64, &Path) -> Result<String, String> + Send>;

/// A screen, which is drawn by a thread of its own.
pub(super) struct Screen {
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Whether it is to end.
    end: Arc<AtomicBool>,
}

impl Screen {
    /// Starts to draw. The screen ends, and the terminal is as before, when `stop` is set, which is also what `q` does.
    ///
    /// # Errors
    ///
    /// Fails if standard output is no terminal, and if there is no terminal to read keys from.
    pub(super) fn start(
        data: Arc<dyn Data + Send + Sync>,
        settings: Settings,
        save_packets: Option<SavePackets>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::other("-F top draws on a terminal, which standard output is not"));
        }
        restore_at_panic();
        let end = Arc::new(AtomicBool::new(false));
        let signals = Signals::register()?;
        // Whether there are colors is decided already.
        style::force_color_output(true);
        enter()?;
        let run = {
            let end = Arc::clone(&end);
            move || {
                let _stop = StopAtEnd(Arc::clone(&stop));
                let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout())))?;
                let app = App::new(settings);
                Loop { app, terminal, data, save_packets, stop, end, signals }.run()
            }
        };
        let thread = thread::Builder::new().name("screen".to_owned()).spawn(run);
        let thread = thread.inspect_err(|_| leave())?;
        Ok(Self { thread: Some(thread), end })
    }

    /// Returns whether the user has ended it, or it has failed.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the screen.
    ///
    /// # Errors
    ///
    /// Those of the terminal.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.end.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        // A terminal that nobody reads would block the thread, and whoever waits for it, forever.
        let started = Instant::now();
        while !self.is_finished() {
            if started.elapsed() > PATIENCE {
                return disable_raw_mode();
            }
            thread::sleep(Duration::from_millis(5));
        }
        let joined = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        leave();
        joined.unwrap_or_else(|_| Err(io::Error::other("the screen has failed")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // The error that dropped it is the one to report.
        let _ = self.join();
    }
}

/// Stops the command when the thread of the screen ends, for whatever reason: nobody could stop it with a key any more.
struct StopAtEnd(Arc<AtomicBool>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Signals that came: those of job control, and the last of those that end the process at once.
struct Signals {
    stop: Arc<AtomicBool>,
    go_on: Arc<AtomicBool>,
    /// 0 if none came.
    end: Arc<AtomicUsize>,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let signals = Self { stop: Arc::default(), go_on: Arc::default(), end: Arc::default() };
        signal_hook::flag::register(SIGTSTP, Arc::clone(&signals.stop))?;
        signal_hook::flag::register(SIGCONT, Arc::clone(&signals.go_on))?;
        for signal in [SIGQUIT, SIGUSR1, SIGUSR2] {
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.end), signal.unsigned_abs() as usize)?;
        }
        Ok(signals)
    }
}

/// What the thread of the screen does.
struct Loop {
    app: App,
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    data: Arc<dyn Data + Send + Sync>,
    save_packets: Option<SavePackets>,
    stop: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    signals: Signals,
}

impl Loop {
    fn run(mut self) -> io::Result<()> {
        let result = self.draw_until_end();
        leave();
        result
    }

    fn draw_until_end(&mut self) -> io::Result<()> {
        self.app.refresh(&*self.data);
        let mut refresh_at = Instant::now() + INTERVAL;
        let mut is_drawn = false;
        let was_stopped = |this: &Self| this.stop.load(Ordering::Relaxed) || this.end.load(Ordering::Relaxed);
        while !was_stopped(self) {
            self.handle_signals(&mut is_drawn)?;
            let now = Instant::now();
            if now >= refresh_at {
                if self.app.is_changing() {
                    self.app.refresh(&*self.data);
                    is_drawn = false;
                }
                // On a slow machine there are fewer frames.
                refresh_at = now + INTERVAL.max(now.elapsed() * 10);
            }
            if !is_drawn {
                if !self.draw()? {
                    return Ok(());
                }
                is_drawn = true;
            }
            let wait = refresh_at.saturating_duration_since(Instant::now()).min(WAIT);
            if event::poll(wait)? {
                for _ in 0..MAX_EVENTS {
                    if self.event(&event::read()?)? {
                        return Ok(());
                    }
                    if !event::poll(Duration::ZERO)? {
                        break;
                    }
                }
                is_drawn = false;
            }
        }
        Ok(())
    }

    /// Draws a frame, unless a panic has given the terminal back.
    fn draw(&mut self) -> io::Result<bool> {
        let _lock = lock();
        let is_ours = IS_OURS.load(Ordering::Relaxed);
        if is_ours {
            self.terminal.draw(|frame| draw(frame, &mut self.app))?;
        }
        Ok(is_ours)
    }

    /// Handles an event. Returns whether the user wants to end.
    fn event(&mut self, event: &Event) -> io::Result<bool> {
        let Some(action) = self.app.event(event, &*self.data) else { return Ok(false) };
        match action {
            Action::Quit => return Ok(true),
            Action::Copy(text) => copy(self.terminal.backend_mut(), &text)?,
            Action::Save { conn, path, lines } => match self.save(conn, &in_home(&path), lines.as_ref()) {
                Ok(saved) => self.app.message = Some(saved),
                Err(error) => self.app.save_failed(conn, path, error),
            },
            // All processes of a pipeline stop, as with Ctrl-Z anywhere. This one does when the signal arrives.
            Action::Suspend => kill(Pid::from_raw(0), Signal::SIGTSTP)?,
            Action::Redraw => self.redraw()?,
        }
        Ok(false)
    }

    /// Draws everything again. `Terminal::clear` would ask the terminal where its cursor is, which not every terminal answers.
    fn redraw(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    fn handle_signals(&mut self, is_drawn: &mut bool) -> io::Result<()> {
        let end = self.signals.end.swap(0, Ordering::Relaxed);
        if let (1.., Ok(signal)) = (end, i32::try_from(end)) {
            leave();
            signal_hook::low_level::emulate_default_handler(signal)?;
        }
        if self.signals.stop.swap(false, Ordering::Relaxed) {
            leave();
            signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
            // It goes on.
            self.signals.go_on.store(true, Ordering::Relaxed);
        }
        if self.signals.go_on.swap(false, Ordering::Relaxed) {
            // The shell has its own modes, and may have written anything.
            leave();
            enter()?;
            self.redraw()?;
            *is_drawn = false;
        }
        Ok(())
    }

    fn save(&mut self, conn: u64, path: &Path, lines: Option<&Lines>) -> Result<String, String> {
        let Some(lines) = lines else {
            let save = self.save_packets.as_mut().ok_or("packets cannot be saved here; for lines use .jsonl")?;
            return save(conn, path);
        };
        // What is there is kept: a key is no place to ask whether it may be lost.
        let mut file = File::create_new(path).map_err(|error| error.to_string())?;
        file.write_all(lines.text.as_bytes()).map_err(|error| {
            // Half a file is none; if it cannot be removed, the error is still the one to report.
            let _ = fs::remove_file(path);
            error.to_string()
        })?;
        let saved = format!("saved {} messages of connection {conn} to {}", lines.text.lines().count(), path.display());
        Ok(match lines.not_kept {
            0 => saved,
            not_kept => format!("{saved}; {not_kept} others are not kept"),
        })
    }
}

/// Returns a path that was typed: no shell has replaced `~`.
fn in_home(path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").zip(std::env::var_os("HOME"));
    home.map_or_else(|| PathBuf::from(path), |(rest, home)| Path::new(&home).join(rest))
}

/// Puts text into the clipboard, through the terminal (OSC 52), which may be far away.
fn copy(out: &mut impl Write, text: &str) -> io::Result<()> {
    let mut buffer = vec![0; Base64::encoded_len(text.as_bytes())];
    let encoded = Base64::encode(text.as_bytes(), &mut buffer).map_err(io::Error::other)?;
    write!(out, "\x1b]52;c;{encoded}\x07")?;
    out.flush()
}

fn lock() -> MutexGuard<'static, ()> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the terminal a screen's.
fn enter() -> io::Result<()> {
    let lock = lock();
    enable_raw_mode()?;
    IS_OURS.store(true, Ordering::Relaxed);
    let entered = execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste, Hide);
    drop(lock);
    entered.inspect_err(|_| leave())
}

/// Makes the terminal what it was.
fn leave() {
    let _lock = lock();
    restore();
}

/// Makes the terminal what it was, once. Where the terminal does not answer, nothing can be done.
fn restore() {
    if !IS_OURS.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = execute!(io::stdout(), DisableBracketedPaste, DisableMouseCapture, Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// Restores the terminal before the message of a panic is printed, in whatever thread.
fn restore_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The thread that panics may be the one that draws, and hold the lock.
            let is_drawing = thread::current().name() == Some("screen");
            if is_drawing {
                restore();
            } else {
                leave();
            }
            before(info);
        }));
    });
}
