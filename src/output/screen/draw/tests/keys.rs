//! What keys and clicks do.

use std::sync::Arc;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseEvent, MouseEventKind};

use super::super::super::app::{Action, Tab};
use super::Screen;
use super::fake::{Fake, shop};

fn screen() -> Screen<Fake> {
    Screen::new(shop(), 80, 24)
}

#[test]
fn q_goes_back_and_quits_and_control_c_quits() {
    let mut screen = screen();
    screen.keys("3\n");
    assert_eq!(screen.keys("q"), None);
    assert!(screen.text().contains("CONN"));
    assert_eq!(screen.keys("q"), Some(Action::Quit));
    screen.keys("\n");
    assert_eq!(screen.keys("Q"), Some(Action::Quit));
    let control = |letter| Event::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
    assert_eq!(screen.event(&control('c')), Some(Action::Quit));
    assert_eq!(screen.event(&control('z')), Some(Action::Suspend));
    assert_eq!(screen.event(&control('l')), Some(Action::Redraw));
}

#[test]
fn lists_are_chosen_by_number_function_key_tab_and_click() {
    let mut screen = screen();
    for (key, tab) in [('2', Tab::Statements), ('4', Tab::Errors), ('3', Tab::Sessions), ('1', Tab::Running)] {
        screen.keys(&key.to_string());
        assert_eq!(screen.app.tab, tab);
    }
    screen.keys("\t");
    assert_eq!(screen.app.tab, Tab::Statements);
    screen.event(&Event::Key(KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT)));
    screen.event(&Event::Key(KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT)));
    assert_eq!(screen.app.tab, Tab::Errors);
    screen.event(&Event::Key(KeyEvent::new(KeyCode::F(3), KeyModifiers::NONE)));
    assert_eq!(screen.app.tab, Tab::Sessions);
    let line = screen.line("4 Errors");
    screen.click(u16::try_from(line.find("4 Errors").unwrap()).unwrap(), screen.row("4 Errors"));
    assert_eq!(screen.app.tab, Tab::Errors);
}

#[test]
fn a_filter_works_while_it_is_typed() {
    let mut screen = screen();
    screen.keys("/ITEMS");
    assert!(screen.text().contains("/ITEMS"));
    assert!(screen.text().contains("SELECT * FROM items") && !screen.text().contains("COPY events"));
    // A space that would pause is a part of the text.
    screen.keys(" where\n");
    assert!(!screen.app.is_paused);
    assert!(screen.line("1 Running").contains("1 of 5: ITEMS where"));
    // User, application, client and database.
    for (text, count) in [("report", 2), ("NIGHTLY", 2), ("10.0.0.12", 1), ("warehouse", 2), ("nothing", 0)] {
        screen.keys("\u{1b}");
        screen.keys(&format!("/{text}\n"));
        assert!(screen.line("1 Running").contains(&format!("{count} of 5: ")), "{text}: {}", screen.text());
    }
    assert!(screen.text().contains("none of 5 matches the filter"));
    screen.keys("\u{1b}");
    assert!(screen.text().contains("COPY events"), "escape shows all");
    // What is given up while it is typed, is as before.
    screen.keys("/items\n/xyz\u{1b}");
    assert!(screen.line("1 Running").contains("1 of 5: items"));
}

#[test]
fn a_filter_of_options_has_their_conditions() {
    let mut screen = screen();
    screen.keys("/--user app");
    assert!(screen.text().contains("waiting for client") && !screen.text().contains("waiting for server"));
    screen.keys("x y\n");
    assert!(screen.text().contains("not an option"), "it is not accepted");
    screen.event(&Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    screen.keys("--min-duration 2s\n");
    assert!(screen.line("1 Running").contains("3 of 5: --min-duration 2s"));
    screen.keys("\u{1b}2/--errors\n");
    assert!(screen.text().contains("UPDATE accounts") && !screen.text().contains("COPY events"));
}

#[test]
fn a_pause_keeps_what_is_shown_in_all_lists() {
    for key in ["p", " "] {
        let mut screen = screen();
        screen.keys(key);
        assert!(screen.line("pgdissect").contains("PAUSED"));
        screen.data.running.borrow_mut().clear();
        screen.data.errors.borrow_mut().clear();
        screen.refresh();
        assert!(screen.text().contains("COPY events"));
        screen.keys("4");
        assert!(screen.text().contains("unique constraint"), "a list that was not shown before");
        screen.keys("1");
        screen.keys(key);
        assert!(screen.text().contains("no request is under way"));
        assert!(!screen.text().contains("PAUSED"));
    }
}

#[test]
fn freeze_pauses_at_the_next_error() {
    let mut screen = screen();
    screen.keys("f");
    screen.refresh();
    assert!(!screen.app.is_paused, "errors of before do not count");
    for message in ["the new one", "another right behind it"] {
        let error = super::super::super::view::ErrorRow {
            message: message.to_owned(),
            ..(*screen.data.errors.borrow()[0]).clone()
        };
        screen.data.errors.borrow_mut().push(Arc::new(error));
        screen.data.overview.borrow_mut().errors += 1;
    }
    screen.refresh();
    assert!(screen.app.is_paused);
    assert!(screen.text().contains("paused at an error: 28P01 the new one"), "{}", screen.text());
    screen.keys("p");
    screen.refresh();
    assert!(!screen.app.is_paused, "the same error pauses once");
}

#[test]
fn what_is_selected_stays_selected_when_rows_move() {
    let mut screen = screen();
    screen.keys("↓↓");
    assert!(screen.text().contains("sending rows for 2.50s"), "{}", screen.text());
    let mut older = screen.data.running.borrow()[0].clone();
    older.since = older.since.earlier(1_000_000_000);
    older.who.conn = 77;
    screen.data.running.borrow_mut().push(older);
    screen.refresh();
    assert!(screen.text().contains("sending rows for 2.50s"));
    // Who has selected nothing, sees the oldest.
    screen.keys("g");
    assert!(screen.text().contains("#77"));
}

#[test]
fn a_condition_that_cannot_count_in_a_list_is_told() {
    let mut screen = screen();
    for (keys, why) in [
        ("2/--user nobody\n", "statements are those of all sessions"),
        ("\u{1b}3/--min-duration 2s\n", "sessions have no duration and no SQL"),
    ] {
        screen.keys(keys);
        assert!(screen.text().contains(why), "{}", screen.text());
    }
    screen.keys("1");
    assert!(!screen.text().contains("sessions have no duration"), "{}", screen.text());
}

#[test]
fn errors_are_found_by_code_and_condition() {
    for text in ["23505", "unique_violation"] {
        let mut screen = screen();
        screen.keys(&format!("4/{text}\n"));
        assert!(screen.text().contains(&format!(" of 3: {text}")), "{}", screen.text());
        assert!(!screen.text().contains("0 of 3"), "{}", screen.text());
    }
}

#[test]
fn a_name_that_cannot_be_saved_to_is_asked_for_once_more() {
    let mut screen = screen();
    let save = |action| match action {
        Some(Action::Save { conn, path, .. }) => (conn, path),
        other => panic!("{other:?}"),
    };
    screen.keys("3s");
    screen.event(&Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    let (conn, path) = save(screen.keys("/nowhere/x.jsonl\n"));
    screen.app.save_failed(conn, path, "No such file".to_owned());
    screen.draw();
    assert!(screen.line("save to").contains("/nowhere/x.jsonl   No such file"));
    let (again, path) = save(screen.keys("2\n"));
    assert_eq!((again, path.as_str()), (conn, "/nowhere/x.jsonl2"));
}

#[test]
fn what_is_typed_does_not_keep_the_command_from_being_suspended() {
    let mut screen = screen();
    screen.keys("/abc");
    let key = KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL);
    assert_eq!(screen.event(&Event::Key(key)), Some(Action::Suspend));
    assert!(screen.line("/abc").starts_with("/abc"));
}

#[test]
fn sql_is_copied_whole() {
    let mut screen = screen();
    let copied = |action| match action {
        Some(Action::Copy(text)) => text,
        other => panic!("{other:?}"),
    };
    let text = copied(screen.keys("↓y"));
    assert!(text.starts_with("SELECT o.id") && text.contains('\n') && text.ends_with("LIMIT $3"), "{text}");
    assert!(copied(screen.keys("2y")).starts_with("SELECT o.id"));
    assert_eq!(screen.keys("3y"), None);
    assert!(screen.text().contains("nothing to copy"));
    assert_eq!(copied(screen.keys("\ng↓y")), "SELECT * FROM items WHERE order_id = $1");
    assert!(copied(screen.keys(" ↓\ny")).starts_with("{\"event\":\"message\""), "a message is its line");
}

#[test]
fn a_session_is_saved_as_its_lines_or_its_packets() {
    let mut screen = screen();
    screen.keys("3↓s");
    assert!(screen.text().contains("session-2.jsonl"));
    let Some(Action::Save { conn, path, lines: Some(lines) }) = screen.keys("\n") else { panic!("nothing is saved") };
    assert_eq!((conn, path.as_str()), (2, "session-2.jsonl"));
    assert_eq!(lines.text.lines().count(), 22, "all messages, but for rows that were counted");
    let counted: u64 =
        screen.data.steps.borrow().iter().filter(|step| step.json.is_empty()).map(|step| step.count).sum();
    assert_eq!(lines.not_kept, 17 + counted);
    assert!(lines.text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    screen.keys("s");
    screen.event(&Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    let action = screen.keys("a.pcap\n");
    assert_eq!(action, Some(Action::Save { conn: 2, path: "a.pcap".to_owned(), lines: None }));
    assert_eq!(screen.keys("s\u{1b}"), None);
    screen.keys("2");
    assert_eq!(screen.keys("s\n"), None, "a statement is no session");
}

#[test]
fn marks_are_two_and_the_same_key_takes_one_back() {
    let mut screen = screen();
    screen.keys("c");
    assert!(screen.text().contains("mark two requests or messages with m: 0 marked"));
    screen.keys("3\ng↓m");
    assert!(screen.line("pgdissect").contains("1 MARKED"));
    screen.keys("m");
    assert!(!screen.line("pgdissect").contains("MARKED"));
    // Requests of two sessions.
    screen.keys("mqq3↓\ng↓↓mc");
    assert!(
        screen.text().contains("request 1 of #1") && screen.text().contains("request 2 of #2"),
        "{}",
        screen.text()
    );
}

#[test]
fn the_wheel_and_pages_move() {
    let mut screen = screen();
    let wheel = |kind| Event::Mouse(MouseEvent { kind, column: 10, row: 10, modifiers: KeyModifiers::NONE });
    screen.event(&wheel(MouseEventKind::ScrollDown));
    assert_eq!(screen.app.running.selected, 3);
    screen.event(&wheel(MouseEventKind::ScrollUp));
    assert_eq!(screen.app.running.selected, 0);
    screen.keys("G");
    assert_eq!(screen.app.running.selected, 4);
    screen.event(&Event::Key(KeyEvent::new(KeyCode::PageUp, KeyModifiers::NONE)));
    assert_eq!(screen.app.running.selected, 0);
    screen.keys("jjk");
    assert_eq!(screen.app.running.selected, 1);
}

#[test]
fn a_click_selects_a_row_and_another_opens_it() {
    let mut screen = screen();
    let row = screen.row("waiting for client");
    screen.click(30, row);
    assert!(screen.line("#3  ").contains("app@shop"));
    screen.click(30, row);
    assert!(screen.text().contains("Connection 3"));
}

#[test]
fn long_sql_is_scrolled_sideways() {
    let mut screen = screen();
    assert!(!screen.line("waiting for server").contains("sum("));
    screen.keys("→→");
    assert!(screen.line("waiting for server").contains("sum("), "{}", screen.text());
}

#[test]
fn a_ladder_that_grows_is_followed_at_its_end_only() {
    let mut screen = screen();
    screen.keys("3\nG");
    let mut step = screen.data.steps.borrow().last().unwrap().clone();
    (step.seq, step.query, step.name) = (500, Some(9), "Query".to_owned());
    screen.data.steps.borrow_mut().push(step.clone());
    screen.refresh();
    assert_eq!(screen.line("q9").chars().next(), Some(' '));
    let selected = |screen: &Screen<Fake>| match screen.app.views.last() {
        Some(super::super::super::app::View::Ladder(view)) => (view.selected, view.lines.len()),
        _ => panic!("no ladder"),
    };
    assert_eq!(selected(&screen), (3, 4));
    screen.keys("↑");
    (step.seq, step.query) = (501, Some(10));
    screen.data.steps.borrow_mut().push(step);
    screen.refresh();
    assert_eq!(selected(&screen), (2, 5));
}
