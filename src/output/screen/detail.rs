//! All fields of a message, as its JSON line has them, on lines of their own; and its bytes.

use ratatui::style::Style;

use super::draw::pen::{Piece, Theme, line, wrap};
use super::list::Scroll;
use super::view::{Step, WireBytes};
use crate::output::summary::units::count;

/// How many bytes of a message are shown at most.
const MAX_SHOWN: usize = 1 << 20;

/// The columns that 16 bytes need, in hexadecimal and as characters.
const HEX_COLUMNS: u16 = 73;

/// All fields of a message, and its bytes.
pub(crate) struct DetailView {
    pub(crate) title: String,
    /// What is copied.
    pub(crate) json: String,
    fields: Vec<Line>,
    bytes: WireBytes,
    /// The lines for a width.
    wrapped: (u16, Vec<Vec<Piece>>),
    pub(crate) offset: usize,
    pub(crate) page: usize,
}

/// A line before it is wrapped.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) indent: usize,
    pub(crate) tokens: Vec<(Token, String)>,
}

/// What a part of JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Name,
    Text,
    /// A number, `true`, `false` or `null`.
    Plain,
    Punctuation,
}

impl Token {
    fn style(self, theme: Theme) -> Style {
        match self {
            Self::Name => theme.accent(),
            Self::Text => theme.good(),
            Self::Plain => theme.warning(),
            Self::Punctuation => theme.dim(),
        }
    }
}

impl DetailView {
    pub(crate) fn new(conn: u64, step: &Step, bytes: WireBytes) -> Self {
        let title = format!("{}  message {} of connection {conn}, packet {}", step.name, step.seq, step.packet);
        Self {
            title,
            fields: if step.json.is_empty() { counted(step) } else { pretty(shown(&step.json)) },
            json: step.json.clone(),
            bytes,
            wrapped: (0, Vec::new()),
            offset: 0,
            page: 1,
        }
    }

    /// Returns the lines for a width.
    pub(crate) fn lines(&mut self, width: u16, theme: Theme) -> &[Vec<Piece>] {
        if self.wrapped.0 != width {
            let mut lines: Vec<_> = self.fields.iter().flat_map(|line| line.wrap(usize::from(width), theme)).collect();
            if !self.json.is_empty() {
                lines.push(Vec::new());
                lines.extend(self.bytes.lines(width, theme));
            }
            self.wrapped = (width, lines);
        }
        &self.wrapped.1
    }

    pub(crate) fn scroll(&mut self, page: usize) {
        self.page = page.max(1);
        self.offset = self.offset.min(self.wrapped.1.len().saturating_sub(self.page));
    }
}

impl Scroll for DetailView {
    fn move_by(&mut self, lines: isize) {
        self.offset = self.offset.saturating_add_signed(lines);
        self.scroll(self.page);
    }

    fn page(&self) -> usize {
        self.page
    }
}

impl WireBytes {
    fn lines(&self, width: u16, theme: Theme) -> Vec<Vec<Piece>> {
        let note = |text: &str| vec![vec![Piece::new(text, theme.dim())]];
        match self {
            Self::Known(bytes) => hex_dump(bytes, if width < HEX_COLUMNS { 8 } else { 16 }, theme),
            Self::Redacted => note("Its bytes are not shown: some of them are redacted."),
            Self::NotKept => note("Its bytes are not kept: they are too many, or some were not captured."),
        }
    }
}

/// Formats bytes as `0000  51 00 00 00 0d 53 45 4c  45 43 54 20 31 3b 00     Q....SELECT 1;.`
fn hex_dump(bytes: &[u8], per_line: usize, theme: Theme) -> Vec<Vec<Piece>> {
    let lines = bytes.chunks(per_line).enumerate();
    let dump = lines.map(|(number, chunk)| {
        let mut hex = String::new();
        for place in 0..per_line {
            if place == 8 {
                hex.push(' ');
            }
            match chunk.get(place) {
                Some(byte) => hex.push_str(&format!("{byte:02x} ")),
                None => hex.push_str("   "),
            }
        }
        let is_shown = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let text: String = chunk.iter().map(|byte| if is_shown(byte) { char::from(*byte) } else { '.' }).collect();
        vec![
            Piece::new(format!("{:04x}  ", number * per_line), theme.dim()),
            Piece::plain(hex),
            Piece::plain(" "),
            Piece::new(text, theme.good()),
        ]
    });
    dump.collect()
}

/// Returns the beginning of a long text.
fn shown(json: &str) -> &str {
    let end = (0..=MAX_SHOWN).rev().find(|end| json.is_char_boundary(*end)).unwrap_or(0);
    json.get(..end).unwrap_or(json)
}

fn counted(step: &Step) -> Vec<Line> {
    let text = format!(
        "{} {} messages, {} bytes in all. Their fields were not kept: only the first rows of a reply are.",
        count(step.count),
        step.name,
        step.bytes
    );
    vec![Line { indent: 0, tokens: vec![(Token::Punctuation, text)] }]
}

impl Line {
    /// Cuts it into lines that fit; what follows the first is indented further.
    fn wrap(&self, width: usize, theme: Theme) -> Vec<Vec<Piece>> {
        let indent = (self.indent * 2).min(width / 2);
        let columns = width.saturating_sub(indent + 4).max(8);
        let mut lines = vec![vec![Piece::plain(" ".repeat(indent))]];
        let mut used = 0;
        for (token, text) in &self.tokens {
            let style = token.style(theme);
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let part = wrap(rest, (columns - used).max(2)).first().copied().unwrap_or(rest);
                let tail = rest.get(part.len()..).unwrap_or_default();
                if let Some(line) = lines.last_mut() {
                    line.push(Piece::new(part, style));
                }
                used += super::draw::pen::width(part, columns);
                rest = tail;
                if !rest.is_empty() || used >= columns {
                    lines.push(vec![Piece::plain(" ".repeat(indent + 4))]);
                    used = 0;
                }
            }
        }
        // A line that has only its indent was begun for nothing.
        if lines.len() > 1 && lines.last().is_some_and(|line| line.len() == 1) {
            lines.pop();
        }
        lines
    }
}

/// Puts each field of JSON on a line of its own. Lists of plain values stay on one.
pub(crate) fn pretty(json: &str) -> Vec<Line> {
    let mut lines = vec![Line { indent: 0, tokens: Vec::new() }];
    let mut indent = 0_usize;
    let mut rest = json;
    // Whether each open bracket has its items on lines of their own.
    let mut open: Vec<bool> = Vec::new();
    let begin = |lines: &mut Vec<Line>, indent| lines.push(Line { indent, tokens: Vec::new() });
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' => string_len(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => rest.find(['{', '}', '[', ']', ',', ':', '"']).unwrap_or(rest.len()),
        };
        let (text, tail) = rest.split_at_checked(len).unwrap_or((rest, ""));
        rest = tail;
        let token = match first {
            '"' if rest.starts_with(':') => Token::Name,
            '"' => Token::Text,
            '{' | '}' | '[' | ']' | ',' | ':' => Token::Punctuation,
            _ => Token::Plain,
        };
        if matches!(first, '}' | ']') && open.pop() == Some(true) {
            indent = indent.saturating_sub(1);
            begin(&mut lines, indent);
        }
        let text = match first {
            ':' => ": ".to_owned(),
            ',' if open.last() == Some(&false) => ", ".to_owned(),
            _ => line(text, MAX_SHOWN),
        };
        if let Some(line) = lines.last_mut() {
            line.tokens.push((token, text));
        }
        if matches!(first, '{' | '[') {
            let is_long = !rest.starts_with(['}', ']']) && (first == '{' || has_nested(rest));
            open.push(is_long);
            if is_long {
                indent += 1;
                begin(&mut lines, indent);
            }
        } else if first == ',' && open.last() == Some(&true) {
            begin(&mut lines, indent);
        }
    }
    lines
}

/// Returns the length of the string that a text begins with, with its quotes.
fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns whether a list, of which this is what follows its bracket, has lists or objects in it.
fn has_nested(rest: &str) -> bool {
    let mut rest = rest;
    while let Some(first) = rest.bytes().next() {
        match first {
            b'{' | b'[' => return true,
            b']' => return false,
            b'"' => rest = rest.get(string_len(rest)..).unwrap_or_default(),
            _ => rest = rest.get(1..).unwrap_or_default(),
        }
        // The next byte that has a meaning begins a character.
        let next = rest.find(['{', '[', ']', '"']).unwrap_or(rest.len());
        rest = rest.get(next..).unwrap_or_default();
    }
    false
}
