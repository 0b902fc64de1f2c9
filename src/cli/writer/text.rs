//! Lines of text in the command: cut to a terminal that may be resized, and what stands between them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::output::Form;
use crate::output::text::TextStyle;
use crate::output::text::sequence::Sequence;
use crate::record::Record;

/// The width of the terminal that lines are written to, in columns.
#[derive(Clone, Debug)]
pub(crate) struct TerminalWidth(Arc<AtomicUsize>);

impl TerminalWidth {
    pub(crate) fn new(columns: usize) -> Self {
        Self(Arc::new(columns.into()))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Text for a terminal.
#[derive(Debug)]
struct TerminalText {
    style: TextStyle,
    width: TerminalWidth,
}

impl Form for TerminalText {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        self.style.width = Some(self.width.get());
        self.style.record(out, record)
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self { style: self.style.clone(), width: self.width.clone() })
    }
}

/// What only text has.
pub(super) struct Text {
    pub(super) sequence: Sequence,
    /// If lines are cut.
    width: Option<TerminalWidth>,
}

impl Text {
    /// Returns the form of lines, and what stands between them.
    pub(super) fn new(mut style: TextStyle, width: Option<TerminalWidth>) -> (Box<dyn Form>, Self) {
        style.width = width.as_ref().map(TerminalWidth::get);
        let form: Box<dyn Form> = match &width {
            Some(width) => Box::new(TerminalText { style: style.clone(), width: width.clone() }),
            None => Box::new(style.clone()),
        };
        (form, Self { sequence: Sequence::new(style), width })
    }

    /// Adapts the lines from here on to the terminal, which may have been resized.
    pub(super) fn follow_terminal(&mut self) {
        if let Some(width) = &self.width
            && let Some((terminal_size::Width(columns), _)) = terminal_size::terminal_size()
        {
            width.0.store(columns.into(), Ordering::Relaxed);
            self.sequence.style.width = Some(columns.into());
        }
    }
}
