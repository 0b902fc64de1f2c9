//! What a run does for its screen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::super::args::{Args, Format};
use super::super::notify;
use super::super::screen::{Screen, conditions};
use super::super::screen_data::ScreenData;
use super::super::select::selection;
use super::Run;
use crate::capture::Source;
use crate::output::screen::app::Settings;

/// A request of the screen: the packets of a connection are to be saved.
pub(super) struct Save {
    conn: u64,
    path: PathBuf,
    reply: Sender<Result<String, String>>,
}

/// Prints the messages for the user that came while there was a screen.
pub(super) fn print_notes(screen: Option<&ScreenData>) {
    let notes = screen.map(|screen| screen.model().overview().notes).unwrap_or_default();
    notes.iter().for_each(|note| notify(note));
}

/// Returns what a screen shows, if there is to be one.
pub(super) fn screen(args: &Args) -> Option<Arc<ScreenData>> {
    (args.format == Format::Top).then(|| Arc::new(ScreenData::new()))
}

impl Run<'_> {
    /// Starts to draw the screen, if there is to be one.
    pub(super) fn start_screen(&mut self, data: Option<Arc<ScreenData>>, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
        if let Some(data) = data {
            self.writer.set_screen(Arc::clone(&data));
            let settings = Settings {
                color: self.color,
                selection: selection(self.args).join(" "),
                conditions: conditions::parse,
            };
            let (sender, saves) = channel();
            let save = Box::new(move |conn, path: &Path| {
                let (reply, saved) = channel();
                let gone = |_| "the capture has ended".to_owned();
                sender.send(Save { conn, path: path.to_owned(), reply }).map_err(|_| gone(()))?;
                saved.recv().map_err(|_| gone(()))?
            });
            self.saves = Some(saves);
            self.screen = Some(Screen::start(data, settings, Some(save), Arc::clone(stop))?);
        }
        Ok(())
    }

    /// Saves packets for the screen, if that is requested within this time.
    pub(super) fn save_packets(&mut self, wait: Duration) {
        let Some(saves) = &self.saves else { return };
        while let Ok(Save { conn, path, reply }) = saves.recv_timeout(wait) {
            let saved = match (&self.extract, self.writer.owners()) {
                (Some(extract), Some(owners)) => extract.save(conn, &path, self.dissector.packets(), owners),
                _ => Ok("packets are not kept".to_owned()),
            };
            // If the screen has ended, nobody wants to know.
            let name = format!("{}: ", path.display());
            let failed = |error: anyhow::Error| {
                let text = format!("{error:#}");
                text.strip_prefix(&name).map_or_else(|| text.clone(), str::to_owned)
            };
            let hidden = self.args.redaction().hides_values();
            let note = if hidden { ", as they were captured: values are not left out" } else { "" };
            let _ = reply.send(saved.map(|text| text + note).map_err(failed));
        }
    }

    /// Shows all that was captured until the user ends the screen, unless a signal or the user already has.
    pub(super) fn end_screen(&mut self, screen: Screen, source: &dyn Source, stop: &AtomicBool) -> anyhow::Result<()> {
        let is_stopped = stop.load(Ordering::Relaxed);
        // What is said at the end is of the end.
        self.screen_due.1 = Instant::now();
        self.refresh_screen(Instant::now(), source);
        let stats = self.end(source)?;
        if !self.is_live && !self.args.quiet {
            self.report(&stats);
        }
        if let Some(data) = self.writer.screen() {
            data.model().end();
        }
        while !is_stopped && !screen.is_finished() {
            self.save_packets(Duration::from_millis(50));
        }
        // The thread of the screen may wait for an answer.
        self.saves = None;
        Ok(screen.finish()?)
    }

    /// Gives the screen what is under way, and counters.
    pub(super) fn refresh_screen(&mut self, now: Instant, source: &dyn Source) {
        const REQUESTS: Duration = Duration::from_millis(250);
        /// Where there are many sessions, they are looked at less often.
        const MANY: u64 = 2_000;
        let Some(screen) = self.writer.screen().cloned() else { return };
        let time = self.known_time();
        self.dissector.running(time, &mut self.joiner.before(&mut self.writer));
        let stats = self.stats(source);
        if now >= self.screen_due.1 {
            let mut model = screen.model();
            model.begin_sessions();
            self.dissector.open_sessions(time, |session| model.open_session(session));
            self.screen_due.1 = now + if stats.counters.open_connections > MANY { 4 * REQUESTS } else { REQUESTS };
        }
        screen.model().refresh(time, self.live_since.or(self.first_packet), &stats);
        self.screen_due.0 = now + REQUESTS;
    }
}
