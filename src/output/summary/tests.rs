mod filled;

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use self::filled::Source;
use super::*;
use crate::output::text::sanitize::is_escaped;

fn written(summary: &Summary, style: SummaryStyle) -> String {
    let mut out = Vec::new();
    write(&mut out, summary, &style).unwrap();
    String::from_utf8(out).unwrap()
}

fn at(summary: &Summary, width: usize) -> String {
    written(summary, SummaryStyle { width, ..SummaryStyle::default() })
}

/// A summary in which every field has something that is said by traffic as it mostly is.
fn plain() -> Summary {
    let texts = ["SELECT a FROM t WHERE id = $1", "app", "shop", "10.0.0.5:51324"].map(str::to_owned).to_vec();
    Source::new(texts, vec![1, 20, 333, 4_444, 55_555, 666_666, 7_777_777], vec![0.5, 12.5, 99.9], 12).summary()
}

#[test]
#[ignore = "to look at"]
fn show() {
    for width in [40, 80, 120, 200] {
        println!("{}", at(&plain(), width));
    }
}

/// Texts that would like to act on the terminal, or to be wider than they seem.
fn hostile_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        Just("\u{1b}[2J\u{1b}]0;title\u{7}\r\n\t\u{85}\u{9b}31m\u{7f}\0".to_owned()),
        Just("\u{202e}abc\u{2066}\u{200f}\u{feff}\u{2028}".to_owned()),
        Just("表のデータ".repeat(30)),
        Just("☎\u{fe0f}👩\u{200d}👩\u{200d}👧🏽e\u{301}".repeat(20)),
        Just("x".repeat(3_000)),
        Just("a b ".repeat(900)),
        Just(String::new()),
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_too_long_and_nothing_acts_on_the_terminal(
        texts in prop::collection::vec(hostile_text(), 1..12),
        numbers in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..100_000, Just(u64::MAX), Just(0)], 1..24),
        floats in prop::collection::vec(prop_oneof![any::<f64>(), 0.0..100.0, Just(f64::NAN)], 1..6),
        items in 0_usize..12,
        width in prop_oneof![0_usize..240, Just(80)],
        top in 0_usize..12,
    ) {
        let summary = Source::new(texts, numbers, floats, items).summary();
        let plain = written(&summary, SummaryStyle { color: false, width, top });
        for line in plain.lines() {
            prop_assert!(line.width() <= width.max(1), "{width}: {line:?}");
            prop_assert!(!line.contains(is_escaped), "{line:?}");
            prop_assert!(!line.ends_with(' '), "{line:?}");
        }
        // Colors change nothing but colors, and all of them end on their line.
        let colored = written(&summary, SummaryStyle { color: true, width, top });
        prop_assert_eq!(without_colors(&colored), plain);
    }
}

/// Takes away what colors a text.
fn without_colors(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    let mut depth = 0;
    parts.fold(first, |text, part| {
        let (parameter, rest) = part.split_once('m').unwrap();
        assert!(parameter.chars().all(|c| c.is_ascii_digit() || c == ';'), "{parameter:?}");
        depth += if parameter == "0" { -1 } else { 1 };
        assert!((0..=1).contains(&depth) && (depth == 0 || !rest.contains('\n')), "a color goes on");
        text + rest
    })
}
