//! The list of pools behind poolers.

use super::super::super::app::Tab;
use super::Screen;
use super::fake::{pooled, shop};

#[test]
fn pools_have_their_waits_in_80_columns_and_who_keeps_a_connection_below() {
    for (width, height) in [(80, 24), (200, 50)] {
        let mut screen = Screen::new(pooled(), width, height);
        screen.line("6 Poolers");
        screen.keys("6");
        // The one whose requests waited longest is first.
        let first = usize::from(screen.row("WAIT P95")) + 1;
        let rows =
            [["app", "shop", "1.20s", "4.00s", "12.3k", "31.0s"], ["report", "shop", "270µs", "900µs", "12.3k", ""]];
        for (line, wanted) in screen.lines()[first..].iter().zip(rows) {
            let mut rest = line.as_str();
            for text in wanted {
                rest = rest.split_once(text).unwrap_or_else(|| panic!("{text:?} in {line}\n{}", screen.text())).1;
            }
        }
        assert!(screen.lines()[first].contains("10.0.0.4:6432"), "{}", screen.text());
        screen.line("48 clients, 3 connections to the server, busy for 1m15s together");
        screen.line("idle in transaction for 30.0s: billing #17 10.0.0.7:41000, before q4");
        screen.line("18.0ms in 1,500 calls: SELECT * FROM items WHERE order_id = $1");
        screen.keys("/report\n");
        assert!(screen.line("6 Poolers").contains("1 of 2: report"), "{}", screen.text());
    }
}

#[test]
fn where_no_pooler_is_there_is_no_tab_but_the_list_says_so() {
    let mut screen = Screen::new(shop(), 80, 24);
    assert!(!screen.text().contains("Poolers"));
    screen.keys("4\t");
    assert_eq!(screen.app.tab, Tab::Running);
    screen.keys("6");
    assert!(screen.text().contains("no request was seen on both sides of a pooler (--pooler)"), "{}", screen.text());
}
