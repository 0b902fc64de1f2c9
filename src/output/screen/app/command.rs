//! What the commands of the keys do.

use std::sync::Arc;

use super::super::compare::request_sql;
use super::super::draw::pen::line;
use super::super::messages::MAX_BODY;
use super::{
    Action, App, Command, CompareView, Data, DetailView, LadderView, List, Marked, MarkedItem, Prompt, Purpose,
    StatementView, Step, Tab, View, WINDOWS, Who,
};

impl App {
    pub(super) fn command(&mut self, command: Command, data: &dyn Data) -> Option<Action> {
        let now = self.overview.now;
        match command {
            Command::Move(lines) => self.scroll(lines),
            Command::Page(pages) => self.scroll_pages(pages, 1),
            Command::HalfPage(pages) => self.scroll_pages(pages, 2),
            Command::First => self.scroll(isize::MIN / 2),
            Command::Last => self.scroll(isize::MAX / 2),
            Command::Sideways(step) => self.left = self.left.saturating_add_signed(step * 16).min(1 << 16),
            Command::Open => self.open(data),
            Command::Toggle => match self.views.last_mut() {
                Some(View::Ladder(view)) => view.toggle(),
                _ => self.toggle_pause(data),
            },
            Command::ToggleAll => match self.views.last_mut() {
                Some(View::Ladder(view)) => view.toggle_all(),
                Some(View::Compare(view)) => view.toggle(),
                _ => {}
            },
            Command::Back => self.back(),
            Command::Close if self.views.is_empty() => return Some(Action::Quit),
            Command::Close => self.back(),
            Command::Quit => return Some(Action::Quit),
            Command::Show(tab) => self.show(tab, data),
            Command::NextTab(step) => {
                // A list in which nothing can be is none to come to.
                let mut beside = self.tab.beside(step);
                while !self.overview.has(beside) {
                    beside = beside.beside(step);
                }
                self.show(beside, data);
            }
            Command::Pause => self.toggle_pause(data),
            Command::Freeze => {
                self.is_freezing = !self.is_freezing;
                self.message = Some(if self.is_freezing {
                    "pauses as soon as an error comes".to_owned()
                } else {
                    "does not pause at errors".to_owned()
                });
            }
            Command::Filter => {
                // The filter is one of lists.
                self.views.clear();
                let before = self.filter.text.clone();
                self.prompt = Some(Prompt::new(Purpose::Filter { before: before.clone() }, before));
            }
            Command::Window(step) => self.next_window(step, data),
            Command::SortBeside(step) => self.with_list(|list| list.sort_beside(step, now)),
            Command::SortByTime => self.with_list(|list| list.sort_by_time(now)),
            Command::Invert => self.with_list(|list| list.invert(now)),
            Command::Copy => return self.copy(),
            Command::Mark => self.mark(data),
            Command::Compare => self.compare(),
            Command::Save => self.save(),
            Command::Preview => self.preview = (self.preview + 1) % 3,
            Command::Help => self.help = Some(0),
            Command::Redraw => return Some(Action::Redraw),
            Command::Suspend => return Some(Action::Suspend),
        }
        None
    }

    fn with_list(&mut self, change: impl FnOnce(&mut dyn super::Sorted)) {
        if let Some(list) = self.list() {
            change(list);
        }
    }

    fn scroll_pages(&mut self, pages: isize, part: usize) {
        let lines = (self.scroller().page() / part).max(1);
        self.scroll(pages * isize::try_from(lines).unwrap_or(1));
    }

    fn show(&mut self, tab: Tab, data: &dyn Data) {
        self.views.clear();
        self.left = 0;
        self.tab = tab;
        self.refresh(data);
    }

    fn next_window(&mut self, step: isize, data: &dyn Data) {
        if self.tab != Tab::Statements || !self.views.is_empty() {
            self.message = Some("windows of time are those of statements (2)".to_owned());
            return;
        }
        let place = WINDOWS.iter().position(|window| *window == self.window).unwrap_or(0);
        let next = (place + WINDOWS.len()).saturating_add_signed(step) % WINDOWS.len();
        self.window = WINDOWS.get(next).copied().unwrap_or(self.window);
        self.refresh(data);
    }

    fn toggle_pause(&mut self, data: &dyn Data) {
        if self.is_paused {
            self.is_paused = false;
            // Errors that came meanwhile are no reason to pause again.
            self.errors_seen = None;
            self.refresh(data);
        } else {
            self.pause(data);
        }
    }

    fn back(&mut self) {
        if self.views.pop().is_none() && !self.filter.is_empty() {
            self.set_filter("");
        }
        self.left = 0;
        self.update();
    }

    /// Returns the selected session, and its request if one is selected.
    fn selected(&self) -> Option<(&Who, Option<u64>)> {
        match self.views.last() {
            Some(View::Statement(view)) => view.requests.selected_row().map(|row| (&row.who, row.query)),
            Some(View::Ladder(view)) => Some((&view.who, view.selected_group().and_then(|group| group.query))),
            Some(View::Detail(_)) => self.views.iter().rev().find_map(|view| match view {
                View::Ladder(view) => Some((&view.who, view.selected_group().and_then(|group| group.query))),
                _ => None,
            }),
            Some(View::Compare(_)) => None,
            None => match self.tab {
                Tab::Running => self.running.selected_row().map(|row| (&row.who, row.query)),
                Tab::Statements | Tab::Poolers => None,
                Tab::Sessions => self.sessions.selected_row().map(|row| (&row.who, None)),
                Tab::Errors => self.errors.selected_row().map(|row| (&row.who, row.query)),
                Tab::Replication => self.streams.selected_row().map(|row| (&row.who, None)),
            },
        }
    }

    fn open(&mut self, data: &dyn Data) {
        self.left = 0;
        match self.views.last_mut() {
            Some(View::Ladder(view)) => match view.selected_step() {
                Some(step) => {
                    let detail = DetailView::new(view.conn, step, data.wire_bytes(view.conn, step.seq));
                    self.views.push(View::Detail(Box::new(detail)));
                }
                None => view.toggle(),
            },
            Some(View::Detail(_) | View::Compare(_)) => {}
            None if self.tab == Tab::Statements => {
                let Some(statement) = self.statements.selected_row().cloned() else { return };
                let all = data.requests(&statement).into_iter().map(Arc::new).collect();
                let view = StatementView { statement, all, requests: List::new(0, true) };
                self.views.push(View::Statement(Box::new(view)));
                self.update();
            }
            None | Some(View::Statement(_)) => {
                let Some((who, query)) = self.selected() else { return };
                let ladder = LadderView::new(who.clone(), query);
                self.views.push(View::Ladder(Box::new(ladder)));
                self.refresh(data);
            }
        }
    }

    fn copy(&mut self) -> Option<Action> {
        let text = match self.views.last() {
            Some(View::Statement(view)) => view.statement.sql.clone(),
            Some(View::Ladder(view)) => match (view.selected_step(), view.selected_group()) {
                (Some(step), _) if !step.json.is_empty() => step.json.clone(),
                (_, Some(group)) => {
                    let sql = request_sql(&view.selected_steps());
                    if sql.is_empty() { group.title.clone() } else { sql }
                }
                _ => String::new(),
            },
            Some(View::Detail(view)) => view.json.clone(),
            Some(View::Compare(_)) => String::new(),
            None => match self.tab {
                Tab::Running => self.running.selected_row().map_or_else(String::new, |row| row.sql.clone()),
                Tab::Statements => self.statements.selected_row().map_or_else(String::new, |row| row.sql.clone()),
                Tab::Sessions | Tab::Replication | Tab::Poolers => String::new(),
                Tab::Errors => self.errors.selected_row().map_or_else(String::new, |row| {
                    if row.sql.is_empty() { row.message.clone() } else { row.sql.clone() }
                }),
            },
        };
        if text.is_empty() {
            self.message = Some("nothing to copy: no SQL is selected".to_owned());
            return None;
        }
        // Whether it has one, and allows this, no terminal says.
        let part = if text.len() + 4 > MAX_BODY { "the beginning, which is all that is kept" } else { "copied" };
        self.message = Some(format!("{part}, to the clipboard of the terminal: {}", line(&text, 200)));
        Some(Action::Copy(text))
    }

    fn mark(&mut self, data: &dyn Data) {
        let message = match self.views.last() {
            Some(View::Ladder(view)) => view.selected_step().cloned(),
            _ => None,
        };
        let selected = self.selected().map(|(who, query)| (who.clone(), query));
        let item = match (message, &selected) {
            (Some(step), _) => Some(MarkedItem::Message(step)),
            (None, Some((who, Some(query)))) => self.request(who, *query, data),
            (None, _) => None,
        };
        let (Some((who, _)), Some(item)) = (selected, item) else {
            self.message = Some("mark a request, or a message in a ladder, whose messages are kept".to_owned());
            return;
        };
        let marked = Marked { who, item };
        if let Some(place) = self.marked.iter().position(|other| other.is_same(&marked)) {
            self.marked.remove(place);
            self.message = Some(format!("not marked: {}", marked.name()));
            return;
        }
        if self.marked.len() > 1 {
            self.marked.remove(0);
        }
        let then = if self.marked.is_empty() { "mark another, then c compares" } else { "c compares" };
        self.message = Some(format!("marked {}; {then}", marked.name()));
        self.marked.push(marked);
    }

    /// Returns a request with its messages, as far as they are kept.
    fn request(&self, who: &Who, query: u64, data: &dyn Data) -> Option<MarkedItem> {
        let is_of = |step: &Step| step.query == Some(query);
        let steps: Vec<_> = match self.views.last() {
            Some(View::Ladder(view)) => view.selected_steps(),
            _ => data.ladder(who.conn).steps.into_iter().filter(is_of).collect(),
        };
        (!steps.is_empty()).then_some(MarkedItem::Request { query, steps })
    }

    fn compare(&mut self) {
        let [left, right] = self.marked.as_slice() else {
            self.message = Some(format!("mark two requests or messages with m: {} marked", self.marked.len()));
            return;
        };
        let view = CompareView::new(left, right);
        self.views.push(View::Compare(Box::new(view)));
    }

    fn save(&mut self) {
        let Some(conn) = self.selected().map(|(who, _)| who.conn) else {
            self.message = Some("select a session to save".to_owned());
            return;
        };
        self.prompt = Some(Prompt::new(Purpose::Save { conn }, format!("session-{conn}.jsonl")));
    }
}
