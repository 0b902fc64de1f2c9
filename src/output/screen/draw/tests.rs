//! The screen without a terminal.

mod captured;
mod fake;
mod fuzz;
mod keys;
mod pools;
mod replication;
mod sorting;
mod views;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::Data;
use super::super::app::{Action, App, Settings};
use super::super::filter::Conditions;
use super::draw;

/// Parses what the tests need of conditions.
fn conditions(text: &str) -> Result<Conditions, String> {
    let words: Vec<_> = text.split_whitespace().collect();
    match words.as_slice() {
        ["--user", user] => Ok(Conditions { users: vec![(*user).to_owned()], ..Conditions::default() }),
        ["--errors"] => Ok(Conditions { errors: true, ..Conditions::default() }),
        ["--min-duration", "2s"] => Ok(Conditions { min_us: Some(2_000_000), ..Conditions::default() }),
        _ => Err("not an option".to_owned()),
    }
}

/// A screen with its data.
struct Screen<D> {
    data: D,
    app: App,
    terminal: Terminal<TestBackend>,
}

impl<D: Data> Screen<D> {
    fn new(data: D, width: u16, height: u16) -> Self {
        let app = App::new(Settings { color: true, selection: String::new(), conditions });
        let mut screen = Self { data, app, terminal: Terminal::new(TestBackend::new(width, height)).unwrap() };
        screen.app.refresh(&screen.data);
        screen.draw();
        screen
    }

    fn draw(&mut self) {
        self.terminal.draw(|frame| draw(frame, &mut self.app)).unwrap();
    }

    fn event(&mut self, event: &Event) -> Option<Action> {
        let action = self.app.event(event, &self.data);
        self.draw();
        action
    }

    /// Sends keys, one for each character.
    fn keys(&mut self, keys: &str) -> Option<Action> {
        let mut last = None;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                '↓' => KeyCode::Down,
                '↑' => KeyCode::Up,
                '→' => KeyCode::Right,
                key => KeyCode::Char(key),
            };
            last = self.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        }
        last
    }

    fn click(&mut self, column: u16, row: u16) -> Option<Action> {
        let kind = MouseEventKind::Down(MouseButton::Left);
        self.event(&Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
    }

    fn refresh(&mut self) {
        self.app.refresh(&self.data);
        self.draw();
    }

    /// Returns the lines on the screen, without spaces at their ends.
    fn lines(&self) -> Vec<String> {
        let buffer = self.terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(buffer.area.width).max(1));
        // The cell beside a wide character is part of it.
        rows.map(|row| {
            let mut text = String::new();
            let mut skipped = 0;
            for cell in row {
                if skipped == 0 {
                    text.push_str(cell.symbol());
                    skipped = super::pen::width(cell.symbol(), 2).saturating_sub(1);
                } else {
                    skipped -= 1;
                }
            }
            text.trim_end().to_owned()
        })
        .collect()
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Returns the line with a text.
    #[track_caller]
    fn line(&self, text: &str) -> String {
        let lines = self.lines();
        let found = lines.iter().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("no {text:?} in\n{}", lines.join("\n"))).clone()
    }

    #[track_caller]
    fn row(&self, text: &str) -> u16 {
        let row = self.lines().iter().position(|line| line.contains(text));
        u16::try_from(row.unwrap_or_else(|| panic!("no {text:?} in\n{}", self.text()))).unwrap()
    }
}
