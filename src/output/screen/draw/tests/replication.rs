//! The list of replication streams, of made-up ones and of real captures.

use std::collections::BTreeMap;

use super::super::super::Data;
use super::super::super::app::Tab;
use super::super::super::tests::dissect;
use super::super::super::view::StreamState;
use super::Screen;
use super::captured::Captured;
use super::fake::{Fake, replicated, shop};
use crate::replication::Lsn;

#[test]
fn streams_have_their_rate_position_and_lag_in_80_columns() {
    for (width, height) in [(80, 24), (200, 50)] {
        let mut screen = Screen::new(replicated(), width, height);
        screen.line("5 Replication 3");
        screen.keys("5");
        // By slot, those without one first.
        let rows = [
            ["-", "base backup", "1.24 MiB", "", "", "", ""],
            ["feed", "wal2json", "1.24 MiB", "", "", "", "16/B374D848"],
            ["standby", "physical", "", "", "42.0s", "309 MiB", "16/B374D848"],
            ["sub_orders", "pgoutput", "1.24 MiB", "905", "1.23ms", "4.00 KiB", "16/B374D848"],
        ];
        let first = usize::from(screen.row("SLOT▲")) + 1;
        for (line, wanted) in screen.lines()[first..].iter().zip(rows) {
            let mut rest = line.as_str();
            for text in wanted {
                rest = rest.split_once(text).unwrap_or_else(|| panic!("{text:?} in {line}\n{}", screen.text())).1;
            }
            assert!(rest.contains("10.0.0.1"), "the client: {line}");
        }
        assert_eq!(screen.lines()[first..first + 4].concat().contains("streaming"), width == 200, "{}", screen.text());
        // What has no place in the line is below.
        screen.keys("G");
        screen.line("#1  report@shop  nightly-report  10.0.0.11:40001 → 10.0.0.1:5432");
        screen.line("slot sub_orders, pgoutput, streaming since 2026-11-27 03:59:00 for 1m00s: 118");
        screen.line("write 16/B374D848  flush 16/B374D000  apply 16/B374C848  lag 1.23ms, 4.00 KiB");
    }
}

#[test]
fn streams_are_sorted_filtered_and_opened_as_sessions_are() {
    let mut screen = Screen::new(replicated(), 200, 50);
    screen.keys("5t");
    // The one that is behind most is first.
    let first = |screen: &Screen<Fake>| screen.lines()[usize::from(screen.row("KIND")) + 1].clone();
    assert!(first(&screen).starts_with("standby"), "{}", screen.text());
    screen.keys("/wal2json\n");
    assert!(screen.text().contains("none of 4"), "kinds are no names: {}", screen.text());
    screen.keys("\u{1b}/FEED\n");
    assert!(first(&screen).starts_with("feed") && screen.line("5 Replication").contains("1 of 4: FEED"));
    screen.keys("\u{1b}/--user report\n");
    assert!(screen.line("5 Replication").contains("2 of 4"), "{}", screen.text());
    screen.keys("\u{1b}\n");
    assert!(screen.text().contains("Connection 2"), "the ladder of the standby: {}", screen.text());
    screen.keys("q");
    assert_eq!(screen.app.tab, Tab::Replication);
}

#[test]
fn where_nothing_is_replicated_there_is_no_tab_but_the_list_says_so() {
    let mut screen = Screen::new(shop(), 80, 24);
    assert!(!screen.text().contains("Replication"));
    screen.keys("4\t");
    assert_eq!(screen.app.tab, Tab::Running);
    screen.keys("5");
    screen.line("5 Replication");
    screen.line("no replication stream");
}

/// A capture, up to a time after its first packet.
fn captured(path: &str, port: u16, until: Option<u64>) -> Captured {
    let (mut beside, mut dissector, _) = dissect(path, port, 1 << 30, until);
    if until.is_none() {
        dissector.finish(&mut beside);
        beside.model.end();
    }
    Captured(beside.model)
}

#[test]
fn a_real_subscription_has_a_row_for_each_of_its_streams() {
    for (width, height) in [(80, 24), (200, 50)] {
        let mut screen =
            Screen::new(captured("replication-subscription-18/capture.pcap.gz", 5518, None), width, height);
        screen.keys("5");
        let rows = screen.data.streams();
        let changes: BTreeMap<_, _> = rows.iter().map(|row| (row.slot.clone().unwrap(), row.changes)).collect();
        assert_eq!(changes.len(), 3, "{changes:?}");
        // As many as the capture has lines of changes.
        assert_eq!(changes["sub"], 726, "{changes:?}");
        assert!(rows.iter().all(|row| row.state == StreamState::Ended));
        let last = rows.iter().find(|row| row.who.conn == 6).unwrap();
        assert_eq!((last.end_lsn, last.apply_lsn, last.lag_bytes), (Lsn::parse(b"0/C1C0C50"), last.end_lsn, Some(0)));
        let line = screen.lines().into_iter().find(|line| line.contains("pgoutput") && line.contains("0/C1C0C50"));
        assert!(line.is_some_and(|line| line.starts_with("sub ")), "{}", screen.text());
        screen.keys("t\n");
        screen.line("START_REPLICATION");
    }
}

#[test]
fn while_a_standby_streams_its_lag_is_that_of_its_last_words_and_then_grows() {
    // The standby is connected, and has confirmed what it was sent.
    let captured = captured("replication-physical/standby.pcap.gz", 5525, Some(2_000_000));
    let row = captured.streams().pop().unwrap();
    assert_eq!((row.state, row.slot.as_deref()), (StreamState::Streaming, Some("standby")));
    assert!(row.lag_us.is_some_and(|us| us < 1_000_000), "{row:?}");
    let mut screen = Screen::new(captured, 80, 24);
    screen.keys("5");
    assert!(screen.line("standby").contains("physical"), "{}", screen.text());
}

#[test]
fn of_a_base_backup_it_is_shown_how_much_is_done_and_how_it_ended() {
    // pg_basebackup wrote "1129/15547 kB (7%)" before it was killed.
    let row = |until| {
        let mut screen = Screen::new(captured("replication-base-backup/killed-15.pcap.gz", 5535, until), 200, 50);
        screen.keys("5");
        screen.line("pg_basebackup")
    };
    assert!(row(Some(1_900_000)).contains("7 % done"), "{}", row(Some(1_900_000)));
    assert!(row(None).contains("interrupted"), "{}", row(None));
    let mut screen = Screen::new(captured("replication-base-backup/plain-15.pcap.gz", 5535, None), 80, 24);
    screen.keys("5");
    screen.line("base backup, completed, from 2026-11-27 07:47:48 for 272ms: 15.2 MiB, 2 archives");
}
