//! Each view of a real capture.

use std::sync::Arc;

use super::super::super::Data;
use super::super::super::model::Model;
use super::super::super::tests::dissect;
use super::super::super::view::{
    ErrorCount, ErrorRow, Ladder, Overview, PoolRow, RequestRow, RunningRow, SessionRow, StatementRow, StreamRow,
    Window, WireBytes,
};
use super::Screen;

/// The model of a capture.
pub(super) struct Captured(pub(super) Model);

impl Data for Captured {
    fn overview(&self) -> Overview {
        self.0.overview()
    }

    fn running(&self) -> Arc<[RunningRow]> {
        self.0.running()
    }

    fn statements(&self, window: Window) -> Vec<StatementRow> {
        self.0.statements(window, self.0.overview().now)
    }

    fn sessions(&self) -> Vec<Arc<SessionRow>> {
        self.0.sessions()
    }

    fn errors(&self) -> Vec<Arc<ErrorRow>> {
        self.0.errors()
    }

    fn error_counts(&self) -> Vec<ErrorCount> {
        self.0.error_counts()
    }

    fn streams(&self) -> Vec<Arc<StreamRow>> {
        self.0.streams(self.0.now())
    }

    fn pools(&self) -> Vec<Arc<PoolRow>> {
        self.0.pools()
    }

    fn ladder(&self, conn: u64) -> Ladder {
        self.0.ladder(conn)
    }

    fn wire_bytes(&self, conn: u64, seq: u64) -> WireBytes {
        self.0.wire_bytes(conn, seq)
    }

    fn requests(&self, statement: &StatementRow) -> Vec<RequestRow> {
        self.0.requests(statement)
    }
}

/// The capture of a workload with errors, locks and a request that hangs, up to a time after its first packet in microseconds.
pub(super) fn shop(until: Option<u64>) -> Captured {
    captured("summary/capture.pcap.gz", 5415, until)
}

/// The same, of any capture.
fn captured(path: &str, port: u16, until: Option<u64>) -> Captured {
    let (mut beside, mut dissector, _) = dissect(path, port, 1 << 30, until);
    if until.is_none() {
        dissector.finish(&mut beside);
        beside.model.end();
    }
    Captured(beside.model)
}

#[test]
fn what_runs_has_its_state_and_its_sql() {
    let screen = Screen::new(shop(Some(300_000)), 110, 30);
    let row = screen.line("SELECT pg_sleep(60)");
    assert!(row.contains("waiting for server") && row.contains("app") && row.contains("shop"), "{row}");
    // In the statement's order: the request that waits for a lock is older than its neighbor.
    assert!(screen.text().contains("UPDATE purchase SET total"), "{}", screen.text());
}

#[test]
fn what_is_found_out_at_the_end_is_in_the_header() {
    for (path, port, wanted) in [
        ("tls-no-keys/capture.pcap", 5432, "incomplete: 1 encrypted"),
        ("http-foreign/capture.pcap", 5415, "1 not PostgreSQL"),
    ] {
        let screen = Screen::new(captured(path, port, None), 120, 30);
        assert!(screen.line("packets").contains(wanted), "{}", screen.text());
    }
    // The sessions in it have ended with its last packets.
    assert!(
        Screen::new(captured("simple-query/capture.pcap", 5432, None), 120, 30).line("pgdissect").contains(" 0 open")
    );
}

#[test]
fn statements_sessions_and_errors_are_those_of_the_capture() {
    let mut screen = Screen::new(shop(None), 200, 120);
    screen.keys("2");
    let text = screen.text();
    assert!(text.contains("SELECT name, price FROM item WHERE purchase_id = $1"), "{text}");
    // That which took most of the time is first.
    let rows: Vec<_> = text.lines().collect();
    let heading = rows.iter().position(|line| line.contains("CALLS/S")).unwrap();
    assert!(rows[heading + 1].contains("UPDATE purchase SET total = $2 WHERE id = $1"), "{text}");
    screen.keys("3");
    let row = screen.line("[::1]:36514");
    assert!(row.contains("u_md5"), "{row}");
    screen.keys("4");
    let text = screen.text();
    for wanted in ["28P01", "40P01", "57014"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn a_session_opens_its_ladder_and_a_message_its_fields() {
    let mut screen = Screen::new(shop(None), 200, 120);
    screen.keys("3\n");
    screen.line("CREATE TABLE purchase");
    screen.keys("*");
    let text = screen.text();
    assert!(text.contains("StartupMessage") && text.contains("CommandComplete"), "{text}");
    screen.keys("gjj\n");
    let text = screen.text();
    assert!(text.contains("\"event\": \"message\"") && text.contains("\"conn\": 1"), "{text}");
}

#[test]
fn what_has_no_end_is_over_with_its_session() {
    let mut screen = Screen::new(captured("replication-reconnect/fails-again.pcap.gz", 5441, None), 120, 40);
    screen.keys("3\n");
    let row = screen.line("START_REPLICATION");
    assert!(row.contains("ms") && !row.contains('>'), "its age is none of the capture's end: {row}");
}

#[test]
fn a_message_has_its_bytes_below_its_fields() {
    let mut screen = Screen::new(shop(None), 100, 120);
    screen.keys("3\n*g");
    let query = screen.row("CREATE TABLE purchase");
    screen.click(30, query + 1);
    screen.keys("\n");
    let (first, second) = (screen.line("0000  "), screen.line("0010  "));
    assert!(first.starts_with("0000  51 00 00 00 ") && first.contains("CREATE"), "{first}");
    assert_eq!(first.chars().nth(56), Some('Q'), "{first}");
    assert_eq!(second.find("  "), Some(4), "{second}");
    // On a narrow terminal there are fewer in a line.
    let mut screen = Screen::new(shop(None), 60, 120);
    screen.keys("3\n*g");
    screen.click(30, screen.row("CREATE TABLE purchase") + 1);
    screen.keys("\n");
    screen.line("0008  ");
}
