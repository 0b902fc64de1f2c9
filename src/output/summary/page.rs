//! Lines that fit the terminal: cut, flowed and wrapped by the columns that their characters take.

use std::fmt::{Display, Write as _};
use std::io;

use super::SummaryStyle;
use super::units::{date, time_of_day};
use crate::output::text::columns::split;
pub(super) use crate::output::text::columns::width;
use crate::output::text::line::Paint;
use crate::output::text::sanitize::{Extent, Name, Prose};
use crate::pg::text::Text;
use crate::time::Timestamp;

/// How many characters of SQL or of a message are looked at, before it is cut to what there is room for.
const PROSE: usize = 2_000;

/// Text of one color, which no terminal acts upon: what is from the wire is escaped by [`prose`] or [`name`].
#[derive(Clone, Debug, Default)]
pub(super) struct Span {
    pub(super) text: String,
    paint: Option<Paint>,
}

impl Span {
    pub(super) fn painted(paint: Paint, text: impl Into<String>) -> Self {
        Self { text: text.into(), paint: Some(paint) }
    }

    pub(super) fn width(&self) -> usize {
        width(&self.text)
    }
}

impl From<String> for Span {
    fn from(text: String) -> Self {
        Self { text, paint: None }
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// SQL, or a message for people, on one line.
pub(super) fn prose(text: &str) -> String {
    Prose(text.as_bytes(), PROSE).to_string()
}

/// A name, in quotes where it is not one word.
pub(super) fn name(text: &str) -> String {
    Name(Text::utf8(text.as_bytes()), Extent::Excerpt).to_string()
}

/// A name that may be unknown, within a sentence.
pub(super) fn name_or(text: Option<&str>, unknown: &'static str) -> String {
    text.map_or_else(|| unknown.to_owned(), name)
}

/// A name that may be unknown.
pub(super) fn name_or_unknown(text: Option<&str>) -> Span {
    text.map_or_else(|| Span::painted(Paint::DIM, "(unknown)"), |text| name(text).into())
}

/// SQL without constants, on one line. No space in it means anything, unless it is in a name.
pub(super) fn normalized(sql: &str) -> String {
    join(prose(sql).split(' ').filter(|word| !word.is_empty()), " ")
}

/// SQL without constants that may be unknown.
pub(super) fn sql_or_unknown(sql: Option<&str>) -> Span {
    sql.map_or_else(|| Span::painted(Paint::DIM, "(its SQL is not known)"), |sql| normalized(sql).into())
}

/// Cuts a text to so many columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns {
        0 => String::new(),
        _ => format!("{}…", split(text, columns - 1).0.trim_end()),
    }
}

/// Breaks a text into lines of so many columns, between words where these are not longer than a line. What does not fit the last line
/// is cut.
pub(super) fn wrap(text: &str, columns: usize, most_lines: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if lines.len() + 1 == most_lines {
            lines.push(cut(rest, columns));
            break;
        }
        let (fitting, beyond) = split(rest, columns);
        let at = if beyond.is_empty() || beyond.starts_with(' ') {
            fitting.len()
        } else {
            // A word that is longer than half a line is broken.
            fitting.rfind(' ').filter(|at| *at * 2 > fitting.len()).unwrap_or(fitting.len())
        };
        let (line, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        lines.push(line.trim_end().to_owned());
        rest = after.trim_start();
    }
    lines
}

/// How wide labels are.
pub(super) const LABEL: usize = "Idle in transaction".len();

/// A terminal that is narrower has no columns of labels.
pub(super) const NARROW: usize = 60;

/// What is written, line by line.
pub(super) struct Page<'a> {
    out: &'a mut dyn io::Write,
    color: bool,
    /// How many columns a line has.
    pub(super) width: usize,
    /// The date on which the capture began: times of it are written without.
    date: String,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a mut dyn io::Write, style: &SummaryStyle, began: Option<Timestamp>) -> Self {
        Self { out, color: style.color, width: style.width.max(1), date: began.map(date).unwrap_or_default() }
    }

    /// Formats when something was: the time of day, in UTC, and the date, where it is another than that of the beginning.
    pub(super) fn moment(&self, ts: Timestamp) -> String {
        let (date, time) = (date(ts), time_of_day(ts));
        if date == self.date { time } else { format!("{date} {time}") }
    }

    /// Writes a line, cut where it is too long. Every other function writes through this one.
    pub(super) fn line(&mut self, indent: usize, spans: &[Span]) -> io::Result<()> {
        let mut line = String::new();
        // Spaces are owed until something follows them, so that no line ends with some.
        let mut owed = indent;
        let mut left = self.width;
        let is_cut = indent + spans.iter().map(Span::width).sum::<usize>() > self.width;
        for span in spans {
            let shown = span.text.trim_start_matches(' ');
            owed += span.text.len() - shown.len();
            let kept = shown.trim_end_matches(' ');
            if kept.is_empty() {
                continue;
            }
            let Some(room) = left.checked_sub(owed).filter(|room| *room > 0) else { break };
            let wide = width(kept);
            // Where more follows that does not fit, the cut is marked, here or on what follows.
            let text =
                if wide > room || (is_cut && wide == room) { cut(&format!("{kept}…"), room) } else { kept.into() };
            let _ = write!(line, "{:owed$}", "");
            match span.paint.filter(|_| self.color) {
                Some(paint) => {
                    let _ = write!(line, "\x1b[{}m{text}\x1b[0m", paint.sgr());
                }
                None => line.push_str(&text),
            }
            left = room.saturating_sub(wide);
            owed = shown.len() - kept.len();
        }
        line.push('\n');
        self.out.write_all(line.as_bytes())
    }

    pub(super) fn blank(&mut self) -> io::Result<()> {
        self.line(0, &[])
    }

    /// Begins a section.
    pub(super) fn heading(&mut self, title: &str) -> io::Result<()> {
        self.blank()?;
        let rule = "─".repeat(self.width.saturating_sub(width(title) + 4));
        self.line(
            0,
            &[
                Span::painted(Paint::DIM, "── "),
                Span::painted(Paint::BOLD, title),
                Span::from(" "),
                Span::painted(Paint::DIM, rule),
            ],
        )
    }

    /// Writes a text for people on as many lines as it needs.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.wrapped(2, Some(Paint::DIM), text, usize::MAX)
    }

    /// Writes a text on up to so many lines.
    pub(super) fn wrapped(
        &mut self,
        indent: usize,
        paint: Option<Paint>,
        text: &str,
        most_lines: usize,
    ) -> io::Result<()> {
        let indent = self.indent(indent);
        wrap(text, self.width.saturating_sub(indent), most_lines)
            .into_iter()
            .try_for_each(|text| self.line(indent, &[Span { text, paint }]))
    }

    /// Writes parts side by side, on as many lines as they need.
    pub(super) fn flow(&mut self, indent: usize, parts: impl IntoIterator<Item = Span>) -> io::Result<()> {
        self.flow_behind(Vec::new(), self.indent(indent), "  ", parts)
    }

    /// Writes a label, and what it stands for: beside it, and below that.
    pub(super) fn field(&mut self, label: &str, parts: impl IntoIterator<Item = Span>) -> io::Result<()> {
        let (label, indent) = if self.width < NARROW {
            (Span::painted(Paint::DIM, format!("  {label}  ")), self.indent(4))
        } else {
            (Span::painted(Paint::DIM, format!("  {label:LABEL$}  ")), LABEL + 4)
        };
        self.flow_behind(vec![label], indent, ", ", parts)
    }

    fn flow_behind(
        &mut self,
        begin: Vec<Span>,
        indent: usize,
        separator: &str,
        parts: impl IntoIterator<Item = Span>,
    ) -> io::Result<()> {
        let mut line = begin;
        let mut column: usize = line.iter().map(Span::width).sum();
        let mut begun = line.is_empty();
        if begun {
            column = indent;
        }
        let mut at_start = true;
        for part in parts {
            if part.text.is_empty() {
                continue;
            }
            let gap = if at_start { 0 } else { width(separator) };
            // A separator that is seen ends the line that it is on.
            if !at_start && column + gap + part.width() + width(separator.trim_end()) > self.width {
                line.push(separator.trim_end().into());
                self.line(if begun { indent } else { 0 }, &line)?;
                line.clear();
                (begun, column) = (true, indent);
            } else if !at_start {
                line.push(separator.into());
                column += gap;
            }
            column += part.width();
            line.push(part);
            at_start = false;
        }
        self.line(if begun { indent } else { 0 }, &line)
    }

    /// An indentation that leaves room on a narrow terminal.
    pub(super) fn indent(&self, wanted: usize) -> usize {
        wanted.min(self.width / 4)
    }
}

/// Joins what is not empty.
pub(super) fn join<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push_str(separator);
        }
        let _ = write!(text, "{item}");
    }
    text
}
