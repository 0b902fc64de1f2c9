//! What each view shows, on a small terminal and on a large one.

use super::super::super::app::Action;
use super::Screen;
use super::fake::{Fake, hostile, shop};
use crate::output::text::sanitize::is_escaped;

/// A small terminal, and a large one.
const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

#[test]
fn the_header_has_rates_and_what_is_missing() {
    for (width, height) in SIZES {
        let data = shop();
        let screen = Screen::new(data, width, height);
        assert!(screen.line("pgdissect").contains("3m05s  8 open, 4 running, 1 idle in transaction"));
        assert!(screen.line("requests/s").contains("261"));
        assert!(screen.line("p95").contains("15.5ms"));
        // As many seconds as there is room for, the latest at the right side; of 120 that there are.
        let bars = screen.line("requests/s").chars().filter(|c| ('▁'..='█').contains(c)).count();
        assert_eq!(bars, usize::from(width - 20).min(120));
        assert!(screen.line("1.23M packets").contains("457k messages, 0 dropped  complete"));

        let data = shop();
        {
            let mut overview = data.overview.borrow_mut();
            (overview.dropped, overview.lost_bytes) = (Some(7), 2_048);
            (overview.midstream_sessions, overview.encrypted_sessions, overview.foreign) = (3, 1, 2);
        }
        let screen = Screen::new(data, width, height);
        let missing = "incomplete: 7 dropped, 2.00 KiB lost, 3 began before, 1 encrypted, 2 not PostgreSQL";
        // On a small terminal, the end of it is cut off.
        let missing = missing.get(..usize::from(width - 20)).unwrap_or(missing);
        assert!(screen.line("packets").contains(missing), "{}", screen.text());
    }
}

#[test]
fn lists_that_are_not_whole_and_options_that_select_are_named() {
    for (width, height) in SIZES {
        let data = shop();
        {
            let mut overview = data.overview.borrow_mut();
            (overview.forgotten_sessions, overview.forgotten_errors) = (15_904, 7);
        }
        let mut screen = Screen::new(data, width, height);
        screen.app.settings.selection = "--user app".to_owned();
        screen.draw();
        assert!(screen.line("1 Running").ends_with("only --user app"), "{}", screen.text());
        screen.keys("3");
        assert!(screen.line("1 Running").contains("15.9k before these"), "{}", screen.text());
        screen.keys("4");
        assert!(screen.line("1 Running").contains("7 before these"), "{}", screen.text());
    }
}

#[test]
fn running_has_the_oldest_first_with_state_and_sql() {
    for (width, height) in SIZES {
        let screen = Screen::new(shop(), width, height);
        let first = screen.row("AGE▼") + 1;
        let lines = screen.lines();
        let rows = &lines[usize::from(first)..usize::from(first) + 5];
        for (row, wanted) in rows.iter().zip([
            ["4m05s", "idle in transaction", "admin", "warehouse", "UPDATE accounts"],
            ["12.3s", "waiting for server", "report", "shop", "SELECT o.id"],
            ["2.50s", "sending rows", "admin", "warehouse", "UPDATE accounts"],
            ["320ms?", "waiting for client", "app", "shop", "SELECT * FROM items"],
            ["1.20ms", "queued", "report", "shop", "COPY events"],
        ]) {
            assert!(wanted.iter().all(|text| row.contains(text)), "{wanted:?} in {row}");
        }
        if width == 200 {
            assert!(rows[1].contains("nightly-report") && rows[1].contains("10.0.0.11:40001"), "{}", rows[1]);
            assert!(rows[3].contains("[\"2026-11-01\",\"DE\",10]"), "parameters: {}", rows[3]);
        }
        // What has no place in the line is below.
        assert!(screen.line("#5  ").contains("admin@warehouse  psql  10.0.0.15:40005 → 10.0.0.1:5432"));
    }
}

#[test]
fn an_age_counts_by_the_clock_while_nothing_comes() {
    let mut screen = Screen::new(shop(), 80, 24);
    let later = screen.data.overview.borrow().now.later(2_000_000);
    screen.data.overview.borrow_mut().now = later;
    screen.refresh();
    assert!(screen.line("waiting for server").contains("14.3s"));
}

#[test]
fn ages_have_colors_unless_there_are_none() {
    use ratatui::style::{Color, Modifier};
    let cell = |screen: &Screen<Fake>, text: &str| {
        let row = screen.row(text);
        screen.terminal.backend().buffer()[(4, row)].clone()
    };
    let mut screen = Screen::new(shop(), 80, 24);
    assert_eq!(cell(&screen, "waiting for server").fg, Color::Red);
    assert_eq!(cell(&screen, "sending rows").fg, Color::Yellow);
    assert_eq!(cell(&screen, "waiting for client").fg, Color::Reset);
    screen.app.theme.color = false;
    screen.draw();
    for keys in ["", "2", "3", "4", "\n", "*", "\n", "?"] {
        screen.keys(keys);
        let buffer = screen.terminal.backend().buffer();
        let is_plain = |cell: &ratatui::buffer::Cell| cell.fg == Color::Reset && cell.bg == Color::Reset;
        assert!(buffer.content().iter().all(is_plain), "{keys:?}");
    }
    screen.keys("q1");
    assert!(cell(&screen, "4m05s").modifier.contains(Modifier::REVERSED), "what is selected is visible");
}

#[test]
fn statements_have_windows_and_sort_by_any_column() {
    for (width, height) in SIZES {
        let mut screen = Screen::new(shop(), width, height);
        screen.keys("2");
        assert!(screen.line("2 Statements").contains("10s [1m] 5m  all"));
        let row = screen.line("UPDATE accounts");
        for figure in ["83.3", "45.0s", "36.0ms", "60.0ms", "4.00s", "60.0k", "7"] {
            assert!(row.contains(figure), "{figure} in {row}");
        }
        assert!(screen.row("SELECT o.id") < screen.row("INSERT INTO"));
        // By the time in all, in the other direction; then by the mean.
        screen.keys("i");
        assert!(screen.row("SELECT o.id") > screen.row("INSERT INTO"));
        screen.keys(">");
        assert!(screen.line("CALLS/S").contains("MEAN▼"), "{}", screen.text());
        assert!(screen.row("SELECT o.id") > screen.row("INSERT INTO"));
        let (column, heading) = (screen.line("CALLS/S").find("SQL").unwrap(), screen.row("CALLS/S"));
        let column = screen.line("CALLS/S")[..column].chars().count();
        screen.click(u16::try_from(column).unwrap(), heading);
        assert!(screen.line("CALLS/S").contains("SQL▲"));
        assert!(screen.row("  BEGIN") < screen.row("COPY events"));
        screen.keys("W");
        assert!(screen.line("2 Statements").contains("[10s] 1m"));
        assert!(!screen.text().contains("COPY events"));
    }
}

#[test]
fn a_statement_opens_its_requests_and_these_their_sessions() {
    let mut screen = Screen::new(shop(), 80, 24);
    screen.keys("2\n");
    assert!(screen.line("Statement ").contains("0000123456789abc"));
    assert!(screen.line("10.0k calls").contains("mean 9.00ms, p95 30.0ms, max 2.00s"));
    assert!(screen.line(">10.0s").contains("[1]"), "one is under way");
    assert!(screen.line("57014").contains("[4]"));
    // It has ended since.
    screen.data.requests[0].total_us = Some(2_500_000);
    screen.refresh();
    assert!(screen.line(" 2.50s ").contains("[1]"), "{}", screen.text());
    screen.keys("g↓\n");
    assert!(screen.line("Connection 2").contains("admin@warehouse"));
    screen.keys("qq");
    assert!(screen.text().contains("CALLS/S"));
}

#[test]
fn sessions_say_who_is_connected_since_when_and_what_is_lost() {
    let screen = |(width, height)| {
        let mut screen = Screen::new(shop(), width, height);
        screen.keys("3");
        screen
    };
    let small = screen((80, 24));
    assert!(small.line("10.0.0.15:40005").contains("idle in transaction 7.50s  1h00m 6,170"));
    assert!(small.line("   4 report").contains(">1h00m"), "it began before the capture");
    let large = screen((200, 50));
    let row = large.line("   4 report");
    for wanted in ["nightly-report", "queued", "6.00s", ">1h00m", "4,936", "482 KiB", "4.71 MiB", "348µs", "1.43 KiB"]
    {
        assert!(row.contains(wanted), "{wanted} in {row}");
    }
    assert!(large.line("idle in transaction 7.50s").contains("4m05s"), "the time idle in transactions");
}

#[test]
fn errors_have_the_latest_first_and_counts_by_code() {
    for (width, height) in SIZES {
        let mut screen = Screen::new(shop(), width, height);
        screen.keys("4");
        let counts = "23505 unique_violation 7  28P01 invalid_password 3  57014 query_canceled 2";
        assert!(screen.text().contains(counts));
        let [request, cancel, login] = ["request 23505", "cancel  57014", "login   28P01"].map(|text| screen.row(text));
        assert!(request < cancel && cancel < login);
        assert!(screen.line("login   28P01").contains("password authentication failed"));
        screen.keys("\n");
        assert!(screen.line("Connection 3").contains("app@shop"));
    }
}

#[test]
fn a_ladder_is_folded_by_request_and_opens_to_the_fields_of_a_message() {
    for (width, height) in SIZES {
        let mut screen = Screen::new(shop(), width, height);
        screen.keys("3\n");
        assert!(screen.line("17 before").contains("12.4k messages"));
        assert!(screen.line("q1 ").contains("811µs"));
        assert!(screen.line("q2 ").contains("ERROR 57014"));
        assert!(!screen.text().contains("CommandComplete"), "folded");
        screen.keys("g↓ ");
        let arrow = screen.line("Parse ──");
        assert!(arrow.contains("▶ │ SELECT * FROM items"), "{arrow}");
        let arrow = screen.line("CommandComplete");
        assert!(arrow.contains("+810µs") && arrow.contains("10µs") && arrow.contains("│ ◀──"), "{arrow}");
        assert!(!screen.text().contains("AuthenticationOk"), "of one request only");
        screen.keys("*");
        assert!(screen.text().contains("AuthenticationOk"));
        screen.keys("G");
        assert!(screen.line("DataRow ×12.3k").contains("… 12,345 more rows, 2.35 MiB"));
        // The fields of a Bind.
        screen.keys("*g↓ ↓↓\n");
        assert!(screen.line("message 23").contains("Bind"), "{}", screen.text());
        assert!(
            screen
                .text()
                .contains("  \"body\": {\n    \"statement\": \"\",\n    \"parameter_values\": [1, null, \"x\"]\n  },")
        );
        screen.keys("q");
        assert!(screen.text().contains("Connection 1"));
    }
}

#[test]
fn a_session_whose_messages_are_not_kept_says_so() {
    let mut screen = Screen::new(shop(), 80, 24);
    screen.keys("3");
    let row = screen.row("10.0.0.19");
    screen.click(20, row);
    screen.click(20, row);
    assert!(screen.text().contains("none of its messages is kept"));
}

#[test]
fn two_requests_are_compared_with_what_differs() {
    for (width, height) in SIZES {
        let mut screen = Screen::new(shop(), width, height);
        screen.keys("3\ng↓m↓m");
        assert!(screen.line("pgdissect").contains("2 MARKED"));
        screen.keys("c");
        for (field, wanted) in [
            ("≠$1", ["1", "2"]),
            ("≠duration", ["811µs", "1.22s"]),
            ("≠first row after", ["800µs", "1.20s"]),
            ("≠rows", ["1", "12.3k"]),
            ("≠bytes received", ["230 B", "2.35 MiB"]),
        ] {
            let line = screen.line(field);
            assert!(wanted.iter().all(|value| line.contains(value)), "{line}");
        }
        assert!(screen.line("≠duration").contains("×1"), "{}", screen.line("≠duration"));
        assert!(screen.line(" SQL ").contains("SELECT * FROM items") && !screen.text().contains("≠SQL"));
        screen.keys("d");
        assert!(!screen.text().contains("SELECT * FROM items"), "only what differs");
        screen.keys("G");
        assert!(screen.line("≠CommandComplete").contains('1'), "{}", screen.text());
    }
}

#[test]
fn two_messages_are_compared_field_by_field() {
    let mut screen = Screen::new(shop(), 80, 30);
    screen.keys("3\n*g");
    for _ in 0..2 {
        screen.keys("↓");
        while !screen.app.views.iter().any(|view| {
            matches!(view, super::super::super::app::View::Ladder(view)
            if view.selected_step().is_some_and(|step| step.name == "Bind"))
        }) {
            screen.keys("↓");
        }
        screen.keys("m");
    }
    screen.keys("c");
    assert!(screen.line("≠body.parameter").contains("[1,null,\"x\"]"), "{}", screen.text());
    assert!(screen.line("≠body.parameter").contains("[2,null,\"x\"]"));
    assert!(screen.line(" type ").contains("Bind"));
}

#[test]
fn a_text_from_the_wire_cannot_act_on_the_terminal() {
    for (width, height) in [(80, 24), (200, 50), (40, 10)] {
        let mut screen = Screen::new(hostile(), width, height);
        for keys in [
            "",
            "v",
            "2",
            "\n",
            "q3",
            "4",
            "→",
            "\n",
            "*",
            "G",
            "\n",
            "G",
            "qm",
            "↑m",
            "c",
            "d",
            "q",
            "y",
            "?",
            "q5",
            "\n",
            "q1s",
            "\u{1b}/\u{1b}",
        ] {
            screen.keys(keys);
            for cell in screen.terminal.backend().buffer().content() {
                assert!(!cell.symbol().contains(|c| is_escaped(c) || c == '\u{200d}'), "{keys:?}: {:?}", cell.symbol());
                assert!(cell.symbol().len() <= 24);
            }
        }
    }
}

#[test]
fn wide_characters_stay_aligned() {
    use unicode_width::UnicodeWidthStr;
    let data = shop();
    data.running.borrow_mut()[0].who.user = Some("日本語の名前がとても長い".to_owned());
    data.running.borrow_mut()[1].who.user = Some("e\u{301}te\u{301}".to_owned());
    let screen = Screen::new(data, 80, 24);
    let column = |text: &str, name: &str| {
        let line = screen.line(text);
        line[..line.find(name).unwrap()].width()
    };
    assert_eq!(column("waiting for server", "shop"), column("queued", "shop"), "{}", screen.text());
    assert_eq!(column("sending rows", "warehouse"), column("queued", "shop"));
    assert!(screen.line("waiting for server").contains("日本語の名…"));
}

#[test]
fn the_help_has_every_key() {
    for (width, height) in SIZES {
        let mut screen = Screen::new(shop(), width, height);
        screen.keys("?");
        let mut text = screen.text();
        for _ in 0..5 {
            screen.keys("↓↓↓↓↓↓↓↓↓↓");
            text.push_str(&screen.text());
        }
        for key in [
            "F1-F6",
            "replication",
            "Enter",
            "Ctrl-F",
            "Ctrl-Z",
            "--min-duration",
            "compare",
            "freeze",
            "copy",
            "save",
            "quit",
        ] {
            assert!(text.contains(key), "{key}");
        }
        assert_eq!(screen.keys("x"), None::<Action>);
        assert!(screen.text().contains("AGE▼"), "any other key closes it");
    }
}
