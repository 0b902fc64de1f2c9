//! Each column of each list sorts its rows, one way and the other.

use std::sync::Arc;

use super::super::super::app::{App, Hit, View};
use super::super::super::list::{List, Row};
use super::super::super::view::{Activity, ErrorKind, ErrorRow, RequestRow, RunningRow, SessionRow, StatementRow, Who};
use super::Screen;
use super::fake::{Fake, now};
use crate::record::RunningState;

/// How many rows each list has.
const ROWS: u64 = 12;

/// What sessions do, in the order of their column.
const ACTIVITIES: [Activity; 9] = [
    Activity::Request(RunningState::WaitingForServer),
    Activity::Request(RunningState::Sending),
    Activity::Request(RunningState::WaitingForClient),
    Activity::Request(RunningState::Queued),
    Activity::IdleInTransaction,
    Activity::Starting,
    Activity::Idle,
    Activity::Encrypted,
    Activity::Ended(None),
];

/// By their names.
const KINDS: [ErrorKind; 4] = [ErrorKind::Cancel, ErrorKind::Login, ErrorKind::Request, ErrorKind::Session];

/// Returns what a row has in a column. Each column has the rows in another order, so that one that does not sort is told from those that
/// do, and from the order of the rows.
fn value(row: u64, column: u64) -> u64 {
    row * (column + 7) % 61
}

fn text(row: u64, column: u64) -> String {
    format!("{:02}", value(row, column))
}

fn who(row: u64, conn: u64, [user, database, application, client]: [u64; 4]) -> Who {
    Who {
        conn,
        client: format!("10.0.0.{}:5000", 100 + value(row, client)),
        server: "10.0.0.1:5432".to_owned(),
        user: Some(text(row, user)),
        database: Some(text(row, database)),
        application: Some(text(row, application)),
    }
}

fn activity(row: u64, column: u64, of: usize) -> Activity {
    ACTIVITIES[value(row, column) as usize % of]
}

fn running(row: u64) -> RunningRow {
    RunningRow {
        who: who(row, 1, [2, 3, 4, 5]),
        query: Some(row),
        activity: activity(row, 1, 5),
        since: now().earlier(1_000_000 * value(row, 0)),
        sql: text(row, 8),
        params: String::new(),
        rows: Some(value(row, 6)),
        bytes_out: value(row, 7),
        is_uncertain: false,
    }
}

fn statement(row: u64) -> StatementRow {
    StatementRow {
        fingerprint: Some(format!("{row:016x}")),
        sql: text(row, 9),
        calls: value(row, 1),
        errors: value(row, 8),
        calls_per_second: value(row, 0) as f64 / 7.0,
        total_us: value(row, 2),
        mean_us: value(row, 3),
        p95_us: value(row, 4),
        max_us: value(row, 5),
        rows: value(row, 6),
        bytes: value(row, 7),
    }
}

fn session(row: u64) -> SessionRow {
    let activity = activity(row, 4, 9);
    let since = now().earlier(1_000 * value(row, 5));
    let end = if matches!(activity, Activity::Ended(_)) { since } else { now() };
    SessionRow {
        who: who(row, value(row, 0), [1, 2, 3, 15]),
        process_id: Some(row as i32),
        activity,
        since: Some(since),
        started: end.earlier(1_000_000 * value(row, 6)),
        is_midstream: false,
        requests: value(row, 7),
        errors: value(row, 8),
        bytes_in: value(row, 9),
        bytes_out: value(row, 10),
        rtt_client_us: Some(value(row, 11)),
        rtt_server_us: Some(value(row, 12)),
        idle_in_transaction_us: value(row, 13),
        lost_bytes: value(row, 14),
        encryption: String::new(),
    }
}

fn error(row: u64) -> ErrorRow {
    ErrorRow {
        ts: now().earlier(100_000_000).later(1_000_000 * value(row, 0)),
        who: who(row, 1, [3, 4, 5, 6]),
        query: Some(row),
        kind: KINDS[value(row, 1) as usize % KINDS.len()],
        code: text(row, 2),
        condition: None,
        message: text(row, 8),
        sql: String::new(),
        params: String::new(),
        total_us: Some(value(row, 7)),
    }
}

fn request(row: u64) -> RequestRow {
    RequestRow {
        who: who(row, 1, [5, 6, 20, 7]),
        query: Some(row),
        ts: now().earlier(100_000_000).later(1_000_000 * value(row, 0)),
        total_us: Some(value(row, 1)),
        rows: value(row, 2),
        bytes: value(row, 3),
        error: text(row, 4),
        params: text(row, 8),
    }
}

/// Clicks on the heading of each column, twice. `list` returns the list that is shown, `number` which row one is, and `values` how many
/// different values a column has, if these are few.
#[track_caller]
fn check<R: Row>(
    screen: &mut Screen<Fake>,
    list: fn(&App) -> &List<R>,
    number: fn(&R) -> u64,
    values: fn(u64) -> Option<usize>,
) {
    // The first is the one that some lists are sorted by already.
    for column in (1..R::COLUMNS.len()).chain([0]) {
        let heading = &R::COLUMNS[column];
        let is_heading = |hit: &Hit| matches!(hit, Hit::Column(place) if *place == column);
        let (area, _) = *screen.app.hits.iter().find(|(_, hit)| is_heading(hit)).unwrap();
        let title: String =
            screen.lines()[usize::from(area.y)].chars().skip(area.x.into()).take(area.width.into()).collect();
        assert!(title.contains(heading.title), "{}: {title}", heading.title);
        // The largest number is what is looked for first.
        for is_descending in [heading.is_number, !heading.is_number] {
            screen.click(area.x, area.y);
            let rows = &list(&screen.app).rows;
            let mut found: Vec<_> = rows.iter().map(|row| value(number(row), column as u64)).collect();
            assert_eq!(found.len() as u64, ROWS);
            if let Some(values) = values(column as u64) {
                found.iter_mut().for_each(|value| *value %= values as u64);
            }
            if is_descending {
                found.reverse();
            }
            assert!(found.is_sorted(), "{} {is_descending}: {found:?}", heading.title);
        }
    }
}

fn requests_of_statement(app: &App) -> &List<RequestRow> {
    match app.views.last() {
        Some(View::Statement(view)) => &view.requests,
        _ => panic!("no statement"),
    }
}

#[test]
fn every_column_sorts_both_ways() {
    let all = || 1..=ROWS;
    let data = Fake::default();
    data.overview.borrow_mut().now = now();
    data.running.borrow_mut().extend(all().map(running));
    data.errors.borrow_mut().extend(all().map(error).map(Arc::new));
    let data = Fake {
        statements: all().map(statement).collect(),
        sessions: all().map(session).map(Arc::new).collect(),
        requests: all().map(request).collect(),
        ..data
    };
    let mut screen = Screen::new(data, 300, 60);
    check(&mut screen, |app| &app.running, |row| row.query.unwrap(), |column| (column == 1).then_some(5));
    screen.keys("3");
    let number = |row: &SessionRow| row.process_id.unwrap().unsigned_abs().into();
    check(&mut screen, |app| &app.sessions, number, |column| (column == 4).then_some(9));
    screen.keys("4");
    check(&mut screen, |app| &app.errors, |row| row.query.unwrap(), |column| (column == 1).then_some(KINDS.len()));
    screen.keys("2");
    let number = |row: &StatementRow| u64::from_str_radix(row.fingerprint.as_ref().unwrap(), 16).unwrap();
    check(&mut screen, |app| &app.statements, number, |_| None);
    screen.keys("\n");
    check(&mut screen, requests_of_statement, |row| row.query.unwrap(), |_| None);
}
