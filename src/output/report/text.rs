//! Text from the wire, as HTML: it can neither become markup, nor hide or turn around what is beside it.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

use crate::output::text::sanitize::is_escaped;

/// How many characters of a name are shown: PostgreSQL keeps 63 bytes of one, but a client may send more.
const NAME: usize = 80;
/// How many characters of SQL are shown on one line.
const LINE: usize = 160;

/// What becomes of white space.
#[derive(Clone, Copy)]
enum Layout {
    /// Line breaks and tabs are kept.
    Block,
    /// All of it is one space: for a line of a table.
    Line,
}

/// Text that is escaped, and cut if it is long.
///
/// What would not be seen, or would change the direction of text, is written as its code: `<b>\u202e</b>`, bold, so that it differs
/// from the same characters in the text itself.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    text: &'a str,
    limit: usize,
    layout: Layout,
}

/// Text of many lines.
pub(super) fn block(text: &str, limit: usize) -> Text<'_> {
    Text { text, limit, layout: Layout::Block }
}

/// The beginning of a text, on one line.
pub(super) fn line(text: &str) -> Text<'_> {
    Text { text, limit: LINE, layout: Layout::Line }
}

/// A name, or a short text that should be whole.
pub(super) fn word(text: &str) -> Text<'_> {
    Text { text, limit: NAME, layout: Layout::Line }
}

/// A name that may be unknown, or empty.
pub(super) fn name(name: &Option<String>) -> Name<'_> {
    Name(name.as_deref())
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.text.char_indices().nth(self.limit).map_or(self.text.len(), |(at, _)| at);
        let (shown, rest) = self.text.split_at_checked(end).unwrap_or((self.text, ""));
        match self.layout {
            Layout::Block => {
                for (index, text) in shown.split("\r\n").enumerate() {
                    f.write_str(if index > 0 { "\n" } else { "" })?;
                    write_word(f, text)?;
                }
            }
            Layout::Line => {
                let mut words = shown.split_ascii_whitespace();
                words.next().into_iter().try_for_each(|word| write_word(f, word))?;
                for word in words {
                    f.write_char(' ')?;
                    write_word(f, word)?;
                }
            }
        }
        match (rest.len(), self.layout) {
            (0, _) => Ok(()),
            (_, Layout::Line) => f.write_char('…'),
            (bytes, Layout::Block) => write!(f, r#"<i class="cut">… {bytes} more bytes are not shown</i>"#),
        }
    }
}

impl HtmlSafe for Text<'_> {}

fn write_word(f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
    word.chars().try_for_each(|character| write_char(f, character))
}

fn write_char(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '&' => f.write_str("&amp;"),
        '"' => f.write_str("&quot;"),
        '\'' => f.write_str("&#39;"),
        '\n' | '\t' => f.write_char(character),
        _ if is_escaped(character) || is_invisible(character) => write!(f, r"<b>\u{:04x}</b>", u32::from(character)),
        _ => f.write_char(character),
    }
}

/// Whether a character has no width, so that two texts that differ in it look the same. U+200C and U+200D are not among them:
/// languages and emoji need them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A name that may be unknown.
#[derive(Clone, Copy)]
pub(super) struct Name<'a>(Option<&'a str>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some("") => f.write_str(r#"<span class="unknown">empty</span>"#),
            Some(name) => word(name).fmt(f),
            None => f.write_str(r#"<span class="unknown">not known</span>"#),
        }
    }
}

impl HtmlSafe for Name<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        let hostile = r#"</pre><script>alert('x')</script>"&amp;"#;
        let escaped = "&lt;/pre&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;amp;";
        assert_eq!(block(hostile, 100).to_string(), escaped);
        assert_eq!(line(hostile).to_string(), escaped);
        assert_eq!(name(&Some(hostile.to_owned())).to_string(), escaped);
    }

    #[test]
    fn what_cannot_be_seen_is_made_visible() {
        assert_eq!(line("a\u{202e}b\u{1b}c").to_string(), r"a<b>\u202e</b>b<b>\u001b</b>c");
        assert_eq!(block("a\r\nb\tc\r\u{200b}", 100).to_string(), "a\nb\tc<b>\\u000d</b><b>\\u200b</b>");
        let all: String = ('\0'..=char::MAX).collect();
        let shown = block(&all, usize::MAX).to_string();
        assert!(!shown.contains(|c: char| !matches!(c, '\n' | '\t') && (is_escaped(c) || is_invisible(c))));
    }

    #[test]
    fn what_is_long_is_cut_with_a_note() {
        assert_eq!(block("ééé", 2).to_string(), r#"éé<i class="cut">… 2 more bytes are not shown</i>"#);
        assert_eq!(block("ééé", 3).to_string(), "ééé");
        assert_eq!(word(&"n".repeat(NAME + 1)).to_string(), format!("{}…", "n".repeat(NAME)));
        assert_eq!(line("SELECT a,\n\t  b").to_string(), "SELECT a, b");
    }

    #[test]
    fn an_empty_name_differs_from_an_unknown_one() {
        assert!(name(&None).to_string().contains("not known"));
        assert!(name(&Some(String::new())).to_string().contains("empty"));
    }
}
