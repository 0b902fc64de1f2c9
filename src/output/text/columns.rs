//! How many columns of a terminal a text takes, and how a line is cut to those that there are.

use unicode_width::UnicodeWidthChar;

/// Returns how many columns a text takes.
pub(in crate::output) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Returns how many columns a character takes at most: a variation selector can make the one before it wide.
fn char_width(character: char) -> usize {
    if character == '\u{fe0f}' { 1 } else { character.width().unwrap_or(0) }
}

/// Returns the longest beginning of a text that takes no more than so many columns, and the rest.
pub(in crate::output) fn split(text: &str, columns: usize) -> (&str, &str) {
    let mut left = columns;
    let end = text.char_indices().find(|(_, character)| {
        let wide = char_width(*character);
        let is_beyond = wide > left;
        left = left.saturating_sub(wide);
        is_beyond
    });
    end.and_then(|(at, _)| text.split_at_checked(at)).unwrap_or((text, ""))
}

/// Iterates over a text with colors: its characters, each with where it ends and whether it is part of a color. An escape character
/// from the wire is never in a line, so that each begins a color of ours, which ends with `m`.
fn painted(text: &str) -> impl Iterator<Item = (char, usize, bool)> {
    let mut in_color = false;
    text.char_indices().map(move |(at, character)| {
        let is_color = in_color || character == '\u{1b}';
        in_color = is_color && character != 'm';
        (character, at + character.len_utf8(), is_color)
    })
}

/// Returns how many columns a text with colors takes.
pub(super) fn painted_width(text: &str) -> usize {
    painted(text).filter(|(.., is_color)| !is_color).map(|(character, ..)| char_width(character)).sum()
}

/// Appends a text with colors, cut to so many columns. A cut is marked with `…`, and ends the color that it is in.
pub(super) fn cut_painted(out: &mut Vec<u8>, text: &str, columns: usize) {
    if painted_width(text) <= columns {
        return out.extend_from_slice(text.as_bytes());
    }
    let Some(mut left) = columns.checked_sub(1) else { return };
    // Where the last character ends that is kept and is no space, and whether it has a color.
    let (mut end, mut has_color) = (0, false);
    let mut color = "";
    let mut color_start = 0;
    for (character, behind, is_color) in painted(text) {
        if is_color {
            if character == '\u{1b}' {
                color_start = behind;
            } else if character == 'm' {
                color = text.get(color_start..behind).unwrap_or_default();
            }
            continue;
        }
        let Some(rest) = left.checked_sub(char_width(character)) else { break };
        left = rest;
        if character != ' ' {
            (end, has_color) = (behind, color != "[0m" && !color.is_empty());
        }
    }
    out.extend_from_slice(text.get(..end).unwrap_or_default().as_bytes());
    out.extend_from_slice("…".as_bytes());
    if has_color {
        out.extend_from_slice(b"\x1b[0m");
    }
}

/// The parts of a line, by where they begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// The content, such as SQL: cut first.
    pub(super) content: usize,
    /// What came of it: of this some is left when the content is long.
    pub(super) tail: usize,
}

/// The least room for content and tail in which both are left: with less there is only the content.
const LEAST_FOR_BOTH: usize = 24;
/// The least room behind content for which none of that is cut.
const LEAST_OF_TAIL: usize = 8;

/// Appends a line with colors, cut to so many columns: of long content the end, so that what came of it can be seen, too, on a third
/// of the room.
pub(super) fn fit(out: &mut Vec<u8>, line: &str, parts: Option<Parts>, columns: usize) {
    let split = parts.and_then(|Parts { content, tail }| {
        let (before, tail) = line.split_at_checked(tail)?;
        let (head, content) = before.split_at_checked(content)?;
        Some((head, content, tail))
    });
    let Some((head, content, tail)) = split else { return cut_painted(out, line, columns) };
    let room = columns.saturating_sub(painted_width(head));
    let (of_content, of_tail) = (painted_width(content), painted_width(tail));
    let behind = room.saturating_sub(of_content);
    let for_tail = of_tail.min(if behind >= LEAST_OF_TAIL { behind } else { room / 3 });
    if of_content + of_tail <= room || room < LEAST_FOR_BOTH {
        return cut_painted(out, line, columns);
    }
    out.extend_from_slice(head.as_bytes());
    cut_painted(out, content, room - for_tail);
    cut_painted(out, tail, for_tail);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, columns: usize) -> String {
        let mut out = Vec::new();
        cut_painted(&mut out, text, columns);
        String::from_utf8(out).unwrap()
    }

    fn fitted(parts: [&str; 3], columns: usize) -> String {
        let [head, content, tail] = parts;
        let parts = Parts { content: head.len(), tail: head.len() + content.len() };
        let mut out = Vec::new();
        fit(&mut out, &[head, content, tail].concat(), Some(parts), columns);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_is_cut_by_columns_not_by_bytes_or_characters() {
        assert_eq!(cut("größe", 5), "größe");
        assert_eq!(cut("größer", 5), "größ…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…", "half of a wide character is none");
        assert_eq!(cut("one two", 5), "one…", "not behind a space");
        assert_eq!((cut("one", 1), cut("one", 0)), ("…".to_owned(), String::new()));
    }

    #[test]
    fn a_color_ends_where_it_is_cut_and_takes_no_column() {
        assert_eq!(cut("a \x1b[1;31mbcd\x1b[0m", 5), "a \x1b[1;31mbcd\x1b[0m");
        assert_eq!(cut("a \x1b[1;31mbcd\x1b[0m", 4), "a \x1b[1;31mb…\x1b[0m");
        assert_eq!(cut("\x1b[2mab\x1b[0m cde", 4), "\x1b[2mab…\x1b[0m", "one that has ended goes on to the mark");
        assert_eq!(cut("\x1b[2mab\x1b[0m cde", 5), "\x1b[2mab\x1b[0m c…");
        assert_eq!(cut("ab \x1b[2mcde\x1b[0m", 4), "ab…", "one that does not begin does not end");
    }

    #[test]
    fn of_long_content_the_outcome_is_left() {
        let sql = "SELECT ".repeat(10);
        assert_eq!(
            fitted(["QUERY ", sql.trim(), "  ERROR 57014 canceled"], 50),
            "QUERY SELECT SELECT SELECT SELECT S…  ERROR 57014…",
        );
        assert_eq!(fitted(["QUERY ", sql.trim(), "  q1"], 40), "QUERY SELECT SELECT SELECT SELECT S…  q1");
        assert_eq!(fitted(["QUERY ", "SELECT", "  ERROR 57014 canceled"], 30), "QUERY SELECT  ERROR 57014 can…");
        assert_eq!(fitted(["QUERY ", sql.trim(), "  q1"], 20), "QUERY SELECT SELECT…");
    }

    proptest! {
        #[test]
        fn whatever_a_line_has_it_fits_with_its_colors(
            parts in prop::array::uniform3(prop::collection::vec(("[a-z 日ö😀\u{301}\u{fe0f}]{0,12}", any::<bool>()), 0..6)),
            columns in 0..90_usize,
        ) {
            let paint = |(text, is_painted): (String, bool)| if is_painted { format!("\x1b[31m{text}\x1b[0m") } else { text };
            let parts = parts.map(|part| part.into_iter().map(paint).collect::<String>());
            let shown = fitted(parts.each_ref().map(String::as_str), columns);
            prop_assert!(painted_width(&shown) <= columns, "{shown:?}");
            let line = parts.concat();
            prop_assert_eq!(painted_width(&line) <= columns, shown == line);
            let mut color = false;
            for piece in shown.split_inclusive('m').filter(|piece| piece.contains('\u{1b}')) {
                let begins = piece.ends_with("\x1b[31m");
                prop_assert!(begins || piece.ends_with("\x1b[0m"), "{shown:?}");
                prop_assert_ne!(begins, color, "{:?}", shown);
                color = begins;
            }
            prop_assert!(!color, "{shown:?}");
        }
    }
}
