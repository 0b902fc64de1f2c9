//! A line that the user types at the bottom of the screen.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What the line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A filter; with the text of the one before.
    Filter { before: String },
    /// The name of a file, to save a session.
    Save { conn: u64 },
}

/// A line that is being typed.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) purpose: Purpose,
    pub(crate) text: String,
    /// Why it cannot be used as it is.
    pub(crate) error: Option<String>,
}

/// What a key did to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Changed,
    Accepted,
    Canceled,
    Nothing,
}

/// How many characters a line has at most.
const MAX: usize = 1_000;

impl Prompt {
    pub(crate) fn new(purpose: Purpose, text: String) -> Self {
        Self { purpose, text, error: None }
    }

    /// Adds text that was pasted.
    pub(crate) fn paste(&mut self, text: &str) {
        let room = MAX.saturating_sub(self.text.chars().count());
        self.text.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(room));
    }

    pub(crate) fn key(&mut self, key: KeyEvent) -> Typed {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Typed::Accepted,
            KeyCode::Esc => return Typed::Canceled,
            KeyCode::Char('c' | 'g') if is_control => return Typed::Canceled,
            KeyCode::Char('u') if is_control => self.text.clear(),
            KeyCode::Char('w') if is_control => {
                let kept = self.text.trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.text.truncate(kept);
            }
            // The line is empty: as in less, there is nothing more to delete than the line.
            KeyCode::Backspace if self.text.is_empty() => return Typed::Canceled,
            KeyCode::Backspace => {
                self.text.pop();
            }
            KeyCode::Char('h') if is_control => {
                self.text.pop();
            }
            KeyCode::Char(letter) if !is_control && !letter.is_control() && self.text.chars().count() < MAX => {
                self.text.push(letter);
            }
            _ => return Typed::Nothing,
        }
        Typed::Changed
    }
}
