//! The state of a screen, and what keys and clicks do to it. It does no I/O: what is to be done outside it is an [`Action`].

use std::sync::Arc;

use crossterm::event::{Event, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::Data;
use super::compare::{CompareView, Marked, MarkedItem};
use super::detail::DetailView;
use super::draw::pen::Theme;
use super::filter::{Filter, ParseConditions};
use super::keys::{Command, command};
use super::ladder::LadderView;
use super::list::{List, Scroll, Sorted};
use super::prompt::{Prompt, Purpose, Typed};
use super::view::{
    ErrorCount, ErrorRow, Overview, PoolRow, RequestRow, RunningRow, SessionRow, StatementRow, Step, StreamRow, Who,
    Window,
};

mod command;

/// A list of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tab {
    #[default]
    Running,
    Statements,
    Sessions,
    Errors,
    Replication,
    Poolers,
}

impl Tab {
    pub(crate) const ALL: [Self; 6] =
        [Self::Running, Self::Statements, Self::Sessions, Self::Errors, Self::Replication, Self::Poolers];

    /// Returns the list with this number, of 1 to 6.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    fn beside(self, step: isize) -> Self {
        let place = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        let next = (place + Self::ALL.len()).saturating_add_signed(step) % Self::ALL.len();
        Self::ALL.get(next).copied().unwrap_or(self)
    }
}

pub(crate) const WINDOWS: [Window; 4] = [Window::TenSeconds, Window::Minute, Window::FiveMinutes, Window::All];

/// What a screen is made with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) color: bool,
    /// The options that leave out sessions or requests, as the user wrote them; empty if there are none.
    pub(crate) selection: String,
    /// Parses a filter that begins with `--`.
    pub(crate) conditions: ParseConditions,
}

/// What is to be done outside the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// End the command.
    Quit,
    /// Put text into the clipboard of the terminal.
    Copy(String),
    /// Save a session.
    Save {
        conn: u64,
        path: String,
        /// What to write; `None` for its packets.
        lines: Option<Lines>,
    },
    /// Stop the process, as Ctrl-Z does.
    Suspend,
    /// Draw everything again, whatever is on the terminal.
    Redraw,
}

/// The lines of the messages of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) text: String,
    /// How many messages have none, because they were counted only or are forgotten.
    pub(crate) not_kept: u64,
}

/// What was opened from a list.
pub(crate) enum View {
    Statement(Box<StatementView>),
    Ladder(Box<LadderView>),
    Detail(Box<DetailView>),
    Compare(Box<CompareView>),
}

/// A statement and requests of it.
pub(crate) struct StatementView {
    pub(crate) statement: Arc<StatementRow>,
    all: Vec<Arc<RequestRow>>,
    pub(crate) requests: List<RequestRow>,
}

/// What is at a place of the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hit {
    Tab(Tab),
    Window,
    Column(usize),
    /// A row, from the first visible one.
    Row(usize),
}

/// The rows of all lists at one time.
#[derive(Default)]
struct Rows {
    running: Vec<Arc<RunningRow>>,
    /// By window.
    statements: [Vec<Arc<StatementRow>>; 4],
    sessions: Vec<Arc<SessionRow>>,
    errors: Vec<Arc<ErrorRow>>,
    streams: Vec<Arc<StreamRow>>,
    pools: Vec<Arc<PoolRow>>,
}

/// The state of a screen.
pub(crate) struct App {
    pub(super) settings: Settings,
    pub(crate) theme: Theme,
    pub(crate) overview: Overview,
    rows: Rows,
    pub(crate) tab: Tab,
    pub(crate) window: Window,
    pub(crate) running: List<RunningRow>,
    pub(crate) statements: List<StatementRow>,
    pub(crate) sessions: List<SessionRow>,
    pub(crate) errors: List<ErrorRow>,
    pub(crate) error_counts: Vec<ErrorCount>,
    pub(crate) streams: List<StreamRow>,
    pub(crate) pools: List<PoolRow>,
    pub(crate) views: Vec<View>,
    pub(crate) filter: Filter,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) is_paused: bool,
    /// Whether an error pauses.
    pub(crate) is_freezing: bool,
    /// How many errors there were when it was looked last.
    errors_seen: Option<u64>,
    /// What is marked to compare; at most two.
    pub(crate) marked: Vec<Marked>,
    /// A message for the user, until the next key.
    pub(crate) message: Option<String>,
    /// How many lines of what is selected are shown, of 3 steps.
    pub(crate) preview: u8,
    /// How far the last column is scrolled sideways.
    pub(crate) left: usize,
    /// The first line of the help that is visible, if it is shown.
    pub(crate) help: Option<usize>,
    /// What was drawn where.
    pub(crate) hits: Vec<(Rect, Hit)>,
}

impl App {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            theme: Theme { color: settings.color },
            settings,
            overview: Overview::default(),
            rows: Rows::default(),
            tab: Tab::default(),
            window: Window::default(),
            running: List::new(0, true),
            statements: List::new(2, true),
            sessions: List::new(4, false),
            errors: List::new(0, true),
            error_counts: Vec::new(),
            streams: List::new(0, false),
            pools: List::new(5, true),
            views: Vec::new(),
            filter: Filter::default(),
            prompt: None,
            is_paused: false,
            is_freezing: false,
            errors_seen: None,
            marked: Vec::new(),
            message: None,
            preview: 1,
            left: 0,
            help: None,
            hits: Vec::new(),
        }
    }

    /// Returns whether what is shown changes with time.
    pub(crate) const fn is_changing(&self) -> bool {
        !self.is_paused && self.overview.is_under_way
    }

    /// Shows what there is now, unless it is paused.
    pub(crate) fn refresh(&mut self, data: &dyn Data) {
        if !self.is_paused {
            let was_under_way = self.overview.is_under_way;
            self.overview = data.overview();
            let errors = self.overview.errors;
            let seen = self.errors_seen.replace(errors);
            let has_new_error = seen.is_some_and(|seen| errors > seen);
            if self.is_freezing && has_new_error {
                self.pause(data);
                // The first of those that are new.
                let new = errors.saturating_sub(seen.unwrap_or(0)).saturating_sub(1);
                let error = self.rows.errors.iter().rev().nth(usize::try_from(new).unwrap_or(usize::MAX));
                let error = error.or(self.rows.errors.last());
                let text = error.map_or_else(String::new, |error| format!(": {} {}", error.code, error.message));
                self.message = Some(format!("paused at an error{text}"));
            } else {
                self.fetch(self.tab, self.window, data);
            }
            if was_under_way && !self.overview.is_under_way {
                self.message = Some("the capture has ended".to_owned());
            }
        }
        self.refresh_view(data);
        self.update();
    }

    fn fetch(&mut self, tab: Tab, window: Window, data: &dyn Data) {
        match tab {
            Tab::Running => self.rows.running = data.running().iter().cloned().map(Arc::new).collect(),
            Tab::Statements => {
                let place = WINDOWS.iter().position(|other| *other == window).unwrap_or(0);
                if let Some(rows) = self.rows.statements.get_mut(place) {
                    *rows = data.statements(window).into_iter().map(Arc::new).collect();
                }
            }
            Tab::Sessions => self.rows.sessions = data.sessions(),
            Tab::Errors => {
                self.rows.errors = data.errors();
                self.error_counts = data.error_counts();
                self.error_counts.sort_by(|one, other| other.count.cmp(&one.count).then(one.code.cmp(&other.code)));
            }
            Tab::Replication => self.rows.streams = data.streams(),
            Tab::Poolers => self.rows.pools = data.pools(),
        }
    }

    fn refresh_view(&mut self, data: &dyn Data) {
        let is_paused = self.is_paused;
        match self.views.last_mut() {
            Some(View::Ladder(view)) if !is_paused || !view.is_loaded => {
                view.set(data.ladder(view.conn));
                view.session = data.sessions().into_iter().find(|session| session.who.conn == view.conn);
                if let Some(session) = &view.session {
                    view.who = session.who.clone();
                }
            }
            Some(View::Statement(view)) if !is_paused => {
                view.all = data.requests(&view.statement).into_iter().map(Arc::new).collect();
            }
            _ => {}
        }
    }

    /// Filters and sorts what is shown.
    fn update(&mut self) {
        let now = self.overview.now;
        match self.tab {
            Tab::Running => self.running.set(&self.rows.running, &self.filter, now),
            Tab::Statements => {
                let place = WINDOWS.iter().position(|other| *other == self.window).unwrap_or(0);
                if let Some(rows) = self.rows.statements.get(place) {
                    self.statements.set(rows, &self.filter, now);
                }
            }
            Tab::Sessions => self.sessions.set(&self.rows.sessions, &self.filter, now),
            Tab::Errors => self.errors.set(&self.rows.errors, &self.filter, now),
            Tab::Replication => self.streams.set(&self.rows.streams, &self.filter, now),
            Tab::Poolers => self.pools.set(&self.rows.pools, &self.filter, now),
        }
        if let Some(View::Statement(view)) = self.views.last_mut() {
            view.requests.set(&view.all, &Filter::default(), now);
        }
    }

    /// Keeps what there is now, in all lists.
    fn pause(&mut self, data: &dyn Data) {
        for tab in Tab::ALL {
            for window in WINDOWS {
                if tab == Tab::Statements || window == self.window {
                    self.fetch(tab, window, data);
                }
            }
        }
        self.is_paused = true;
    }

    /// Handles a key, a click or a paste.
    pub(crate) fn event(&mut self, event: &Event, data: &dyn Data) -> Option<Action> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key, data),
            Event::Mouse(mouse) => self.mouse(*mouse, data),
            Event::Paste(text) => {
                let prompt = self.prompt.as_mut()?;
                prompt.paste(text);
                self.typed();
                None
            }
            _ => None,
        }
    }

    fn key(&mut self, key: KeyEvent, data: &dyn Data) -> Option<Action> {
        self.message = None;
        if self.prompt.is_some() {
            return self.prompt_key(key, data);
        }
        let command = command(key);
        if self.help.is_some() {
            self.help_command(command);
            return (command == Some(Command::Quit)).then_some(Action::Quit);
        }
        self.command(command?, data)
    }

    fn mouse(&mut self, mouse: MouseEvent, data: &dyn Data) -> Option<Action> {
        match mouse.kind {
            MouseEventKind::ScrollDown => self.scroll(3),
            MouseEventKind::ScrollUp => self.scroll(-3),
            MouseEventKind::Down(MouseButton::Left) if self.help.is_some() => self.help = None,
            MouseEventKind::Down(MouseButton::Left) if self.prompt.is_none() => {
                self.message = None;
                let at = Position::new(mouse.column, mouse.row);
                let (_, hit) = self.hits.iter().rev().find(|(area, _)| area.contains(at))?;
                return self.hit(*hit, data);
            }
            _ => {}
        }
        None
    }

    fn hit(&mut self, hit: Hit, data: &dyn Data) -> Option<Action> {
        let now = self.overview.now;
        match hit {
            Hit::Tab(tab) => return self.command(Command::Show(tab), data),
            Hit::Window => return self.command(Command::Window(1), data),
            Hit::Column(column) => {
                if let Some(list) = self.list() {
                    list.sort_by(column, now);
                }
            }
            Hit::Row(row) => {
                let is_selected = match self.views.last_mut() {
                    Some(View::Ladder(view)) => {
                        let was = view.selected;
                        view.select(view.offset + row);
                        view.selected == was
                    }
                    _ => self.list().is_some_and(|list| {
                        let (selected, offset) = list.place();
                        list.select(offset + row);
                        list.place().0 == selected
                    }),
                };
                // A second click opens it.
                if is_selected {
                    return self.command(Command::Open, data);
                }
            }
        }
        None
    }

    /// The list that is shown, if one is.
    fn list(&mut self) -> Option<&mut dyn Sorted> {
        match self.views.last_mut() {
            Some(View::Statement(view)) => Some(&mut view.requests),
            Some(_) => None,
            None => Some(match self.tab {
                Tab::Running => &mut self.running,
                Tab::Statements => &mut self.statements,
                Tab::Sessions => &mut self.sessions,
                Tab::Errors => &mut self.errors,
                Tab::Replication => &mut self.streams,
                Tab::Poolers => &mut self.pools,
            }),
        }
    }

    fn scroller(&mut self) -> &mut dyn Scroll {
        match self.views.last_mut() {
            Some(View::Ladder(view)) => &mut **view,
            Some(View::Detail(view)) => &mut **view,
            Some(View::Compare(view)) => &mut **view,
            Some(View::Statement(view)) => &mut view.requests,
            None => match self.tab {
                Tab::Running => &mut self.running,
                Tab::Statements => &mut self.statements,
                Tab::Sessions => &mut self.sessions,
                Tab::Errors => &mut self.errors,
                Tab::Replication => &mut self.streams,
                Tab::Poolers => &mut self.pools,
            },
        }
    }

    fn scroll(&mut self, lines: isize) {
        match &mut self.help {
            Some(offset) => *offset = offset.saturating_add_signed(lines),
            None => self.scroller().move_by(lines),
        }
    }

    fn help_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Move(lines)) => self.scroll(lines),
            Some(Command::Page(pages) | Command::HalfPage(pages)) => self.scroll(pages * 10),
            Some(Command::First) => self.help = Some(0),
            Some(Command::Last) => self.scroll(1_000),
            _ => self.help = None,
        }
    }

    fn prompt_key(&mut self, key: KeyEvent, data: &dyn Data) -> Option<Action> {
        if command(key) == Some(Command::Suspend) {
            return Some(Action::Suspend);
        }
        let prompt = self.prompt.as_mut()?;
        match prompt.key(key) {
            Typed::Nothing => {}
            Typed::Changed => self.typed(),
            Typed::Canceled => {
                if let Some(Prompt { purpose: Purpose::Filter { before }, .. }) = self.prompt.take() {
                    self.set_filter(&before);
                }
            }
            // What is not valid is not lost.
            Typed::Accepted if prompt.error.is_some() && matches!(prompt.purpose, Purpose::Filter { .. }) => {}
            Typed::Accepted => {
                let prompt = self.prompt.take()?;
                if let (Purpose::Save { conn }, false) = (prompt.purpose, prompt.text.trim().is_empty()) {
                    return Some(save(conn, prompt.text.trim(), data));
                }
            }
        }
        None
    }

    /// Filters as the user types.
    fn typed(&mut self) {
        let Some(prompt) = &mut self.prompt else { return };
        if matches!(prompt.purpose, Purpose::Filter { .. }) {
            let text = prompt.text.clone();
            let parsed = Filter::parse(&text, self.settings.conditions);
            prompt.error = parsed.as_ref().err().cloned();
            if let Ok(filter) = parsed {
                self.filter = filter;
                self.update();
            }
        } else {
            prompt.error = None;
        }
    }

    /// A session could not be saved: the name of the file is asked for once more.
    pub(crate) fn save_failed(&mut self, conn: u64, path: String, error: String) {
        self.prompt = Some(Prompt { purpose: Purpose::Save { conn }, text: path, error: Some(error) });
    }

    fn set_filter(&mut self, text: &str) {
        if let Ok(filter) = Filter::parse(text, self.settings.conditions) {
            self.filter = filter;
            self.update();
        }
    }
}

/// Returns what saves a session: its packets where the name is that of a capture, else its lines.
fn save(conn: u64, path: &str, data: &dyn Data) -> Action {
    let is_capture = [".pcap", ".pcapng", ".cap"].iter().any(|end| path.ends_with(end));
    let lines = || {
        let ladder = data.ladder(conn);
        let mut lines = Lines { not_kept: ladder.forgotten, ..Lines::default() };
        for step in &ladder.steps {
            if step.json.is_empty() {
                lines.not_kept += step.count;
            } else {
                lines.text.push_str(step.json.trim_end());
                lines.text.push('\n');
            }
        }
        lines
    };
    Action::Save { conn, path: path.to_owned(), lines: (!is_capture).then(lines) }
}
