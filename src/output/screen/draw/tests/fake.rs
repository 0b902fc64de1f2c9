//! Data of a busy shop, and data of someone who wants to harm.

use std::cell::RefCell;
use std::sync::Arc;

use super::super::super::Data;
use super::super::super::view::{
    Activity, ErrorCount, ErrorKind, ErrorRow, Ladder, Overview, PoolRow, Rate, RequestRow, RunningRow, SessionRow,
    StatementRow, Step, StreamRow, StreamState, Who, Window, WireBytes,
};
use crate::direction::Direction;
use crate::record::summary::{IdleInTransaction, Pool, StatementWaits, Waits};
use crate::record::{EndReason, Purpose, RunningState};
use crate::replication::Lsn;
use crate::time::{Precision, Timestamp};

/// When everything is.
pub(super) fn now() -> Timestamp {
    Timestamp::new(1_795_752_000, 123_456_000, Precision::Micros)
}

/// Data that a test can change.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) overview: RefCell<Overview>,
    pub(super) running: RefCell<Vec<RunningRow>>,
    pub(super) statements: Vec<StatementRow>,
    pub(super) sessions: Vec<Arc<SessionRow>>,
    pub(super) streams: RefCell<Vec<Arc<StreamRow>>>,
    pub(super) pools: Vec<Arc<PoolRow>>,
    pub(super) errors: RefCell<Vec<Arc<ErrorRow>>>,
    pub(super) counts: Vec<ErrorCount>,
    pub(super) requests: Vec<RequestRow>,
    /// For each connection.
    pub(super) steps: RefCell<Vec<Step>>,
}

impl Data for Fake {
    fn overview(&self) -> Overview {
        self.overview.borrow().clone()
    }

    fn running(&self) -> Arc<[RunningRow]> {
        self.running.borrow().clone().into()
    }

    fn statements(&self, window: Window) -> Vec<StatementRow> {
        match window {
            Window::TenSeconds => self.statements.iter().take(1).cloned().collect(),
            _ => self.statements.clone(),
        }
    }

    fn sessions(&self) -> Vec<Arc<SessionRow>> {
        self.sessions.clone()
    }

    fn errors(&self) -> Vec<Arc<ErrorRow>> {
        self.errors.borrow().clone()
    }

    fn error_counts(&self) -> Vec<ErrorCount> {
        self.counts.clone()
    }

    fn streams(&self) -> Vec<Arc<StreamRow>> {
        self.streams.borrow().clone()
    }

    fn pools(&self) -> Vec<Arc<PoolRow>> {
        self.pools.clone()
    }

    fn ladder(&self, conn: u64) -> Ladder {
        if conn == 9 { Ladder::default() } else { Ladder { steps: self.steps.borrow().clone(), forgotten: 17 } }
    }

    fn wire_bytes(&self, _: u64, seq: u64) -> WireBytes {
        if seq.is_multiple_of(2) { WireBytes::Known((0..=seq as u8).collect()) } else { WireBytes::NotKept }
    }

    fn requests(&self, _: &StatementRow) -> Vec<RequestRow> {
        self.requests.clone()
    }
}

const SQL: [&str; 6] = [
    "SELECT o.id, o.created_at, c.name, sum(i.price * i.quantity) AS total\nFROM orders o\n  JOIN customers c ON c.id = o.customer_id\nWHERE o.created_at > $1 AND c.country = $2 GROUP BY o.id, c.name ORDER BY total DESC LIMIT $3",
    "UPDATE accounts SET balance = balance + $1 WHERE id = $2",
    "SELECT * FROM items WHERE order_id = $1",
    "COPY events TO STDOUT",
    "BEGIN",
    "INSERT INTO 日本語テーブル (名前) VALUES ($1)",
];

fn who(conn: u64) -> Who {
    let of = |names: &[&str]| names.get(conn as usize % names.len()).map(|name| (*name).to_owned());
    Who {
        conn,
        client: format!("10.0.0.{}:{}", 10 + conn, 40_000 + conn),
        server: "10.0.0.1:5432".to_owned(),
        user: of(&["app", "report", "admin"]),
        database: of(&["shop", "shop", "warehouse"]),
        application: of(&["web", "nightly-report", "psql"]),
    }
}

/// A shop with requests, sessions and errors.
pub(super) fn shop() -> Fake {
    let ago = |us| now().earlier(us);
    let states = [
        (12_345_000, RunningState::WaitingForServer),
        (2_500_000, RunningState::Sending),
        (320_000, RunningState::WaitingForClient),
        (1_200, RunningState::Queued),
    ];
    let mut running: Vec<_> = (1..)
        .zip(states)
        .map(|(conn, (age, state))| RunningRow {
            who: who(conn),
            query: Some(2),
            activity: Activity::Request(state),
            since: ago(age),
            sql: SQL[conn as usize - 1].to_owned(),
            params: "[\"2026-11-01\",\"DE\",10]".to_owned(),
            rows: (conn == 2).then_some(12_345),
            bytes_out: if conn == 2 { 1_234_567 } else { 0 },
            is_uncertain: conn == 3,
        })
        .collect();
    running.push(RunningRow {
        who: who(5),
        query: Some(7),
        activity: Activity::IdleInTransaction,
        since: ago(245_000_000),
        sql: SQL[1].to_owned(),
        params: String::new(),
        rows: None,
        bytes_out: 0,
        is_uncertain: false,
    });
    let statements = (1..)
        .zip(SQL)
        .map(|(number, sql): (u64, _)| StatementRow {
            fingerprint: Some(format!("{:016x}", number * 0x1234_5678_9abc)),
            sql: sql.to_owned(),
            calls: 10_000 / number,
            errors: if number == 2 { 7 } else { 0 },
            calls_per_second: 166.7 / number as f64,
            total_us: 90_000_000 / number,
            mean_us: 9_000 * number * number,
            p95_us: 30_000 * number,
            max_us: 2_000_000 * number,
            rows: 120_000 / number,
            bytes: 12_000_000 / number,
        })
        .collect();
    let activities = [
        Activity::Request(RunningState::WaitingForServer),
        Activity::Request(RunningState::Sending),
        Activity::Request(RunningState::WaitingForClient),
        Activity::Request(RunningState::Queued),
        Activity::IdleInTransaction,
        Activity::Idle,
        Activity::Encrypted,
        Activity::Ended(Some(EndReason::Terminate)),
        Activity::Starting,
    ];
    let sessions = (1..)
        .zip(activities)
        .map(|(conn, activity)| {
            Arc::new(SessionRow {
                who: who(conn),
                process_id: Some(4_000 + conn as i32),
                activity,
                since: Some(ago(1_500_000 * conn)),
                started: ago(3_600_000_000),
                is_midstream: conn == 4,
                requests: 1_234 * conn,
                errors: if conn == 2 { 3 } else { 0 },
                bytes_in: 123_456 * conn,
                bytes_out: 1_234_567 * conn,
                rtt_client_us: Some(87 * conn),
                rtt_server_us: None,
                lost_bytes: if conn == 4 { 1_460 } else { 0 },
                idle_in_transaction_us: if conn == 5 { 245_000_000 } else { 0 },
                encryption: if conn == 7 { "TLSv1.3".to_owned() } else { String::new() },
            })
        })
        .collect();
    let kinds = [
        (ErrorKind::Login, "28P01", "invalid_password", "password authentication failed for user \"report\"", ""),
        (ErrorKind::Cancel, "57014", "query_canceled", "canceling statement due to user request", SQL[0]),
        (ErrorKind::Request, "23505", "unique_violation", "duplicate key value violates unique constraint", SQL[1]),
    ];
    let errors = (1..)
        .zip(kinds)
        .map(|(number, (kind, code, condition, message, sql))| {
            Arc::new(ErrorRow {
                ts: ago(60_000_000 / number),
                who: who(number),
                query: (kind != ErrorKind::Login).then_some(2),
                kind,
                code: code.to_owned(),
                condition: Some(condition),
                message: message.to_owned(),
                sql: sql.to_owned(),
                params: String::new(),
                total_us: Some(1_000 * number),
            })
        })
        .collect();
    let count = |code: &str, condition, count| ErrorCount { code: code.to_owned(), condition: Some(condition), count };
    let rates = (0..120).map(|second| Rate {
        requests: 100 + (second * second) % 700,
        errors: u64::from(second == 100),
        p95_us: 4_000 + 97 * second,
    });
    Fake {
        overview: RefCell::new(Overview {
            now: now(),
            started: Some(ago(185_000_000)),
            is_under_way: true,
            rates: rates.collect(),
            packets: 1_234_567,
            messages: 456_789,
            dropped: Some(0),
            open_connections: 8,
            running: 4,
            idle_in_transaction: 1,
            errors: 12,
            streams: 0,
            open_streams: 0,
            pools: 0,
            lost_bytes: 0,
            midstream_sessions: 0,
            encrypted_sessions: 0,
            foreign: 0,
            forgotten_sessions: 0,
            forgotten_errors: 0,
            is_partial: false,
            notes: Vec::new(),
        }),
        running: RefCell::new(running),
        statements,
        sessions,
        streams: RefCell::default(),
        pools: Vec::new(),
        errors: RefCell::new(errors),
        counts: vec![
            count("57014", "query_canceled", 2),
            count("23505", "unique_violation", 7),
            count("28P01", "invalid_password", 3),
        ],
        requests: requests(),
        steps: RefCell::new(steps()),
    }
}

/// A shop that is replicated.
pub(super) fn replicated() -> Fake {
    let fake = shop();
    *fake.streams.borrow_mut() = streams().into_iter().map(Arc::new).collect();
    (fake.overview.borrow_mut().streams, fake.overview.borrow_mut().open_streams) = (4, 3);
    fake
}

/// The same shop behind a pooler: one pool that waits, with a client that keeps a connection, and one that does not.
pub(super) fn pooled() -> Fake {
    let waits = |us| Waits {
        wait_us: us * 900,
        wait_mean_us: us,
        wait_p50_us: us / 2,
        wait_p95_us: us * 3,
        wait_max_us: us * 10,
    };
    let pool = |user: &str, us| Pool {
        server: "10.0.0.4:6432".to_owned(),
        database: Some("shop".to_owned()),
        user: Some(user.to_owned()),
        requests: 12_345,
        client_connections: 48,
        server_connections: 3,
        waits: waits(us),
        busy_us: 75_000_000,
        ..Pool::default()
    };
    let idle = IdleInTransaction {
        conn: 17,
        query: 4,
        client: "10.0.0.7:41000".to_owned(),
        application: Some("billing".to_owned()),
        server_conn: 3,
        idle_us: 30_000_000,
        ..IdleInTransaction::default()
    };
    let statement =
        StatementWaits { normalized: Some(SQL[2].to_owned()), calls: 1_500, waits: waits(20), ..Default::default() };
    let busy = Pool {
        idle_in_transaction_us: 31_000_000,
        idle_in_transaction: vec![idle],
        statements: vec![statement],
        refused_by_pooler: 5,
        unjoined_requests: 13,
        ..pool("app", 400_000)
    };
    let fake = Fake { pools: [busy, pool("report", 90)].map(|pool| Arc::new(PoolRow(pool))).to_vec(), ..shop() };
    fake.overview.borrow_mut().pools = 2;
    fake
}

/// A subscription, a standby that hangs, a base backup, and a stream that has ended.
fn streams() -> Vec<StreamRow> {
    let ago = |us| now().earlier(us);
    let row = |conn, slot: &str| StreamRow {
        who: who(conn),
        slot: (!slot.is_empty()).then(|| slot.to_owned()),
        started: ago(60_000_000),
        bytes: 123_456_789,
        bytes_per_second: 1_300_000.0,
        end_lsn: Some(Lsn(0x16_b374_d848)),
        ..StreamRow::default()
    };
    vec![
        StreamRow {
            purpose: Some(Purpose::Logical),
            plugin: Some("pgoutput".to_owned()),
            changes: 54_321,
            changes_per_second: 905.0,
            commits: 321,
            write_lsn: Some(Lsn(0x16_b374_d848)),
            flush_lsn: Some(Lsn(0x16_b374_d000)),
            apply_lsn: Some(Lsn(0x16_b374_c848)),
            lag_us: Some(1_234),
            lag_bytes: Some(4_096),
            ..row(1, "sub_orders")
        },
        StreamRow {
            purpose: Some(Purpose::Physical),
            bytes_per_second: 0.0,
            write_lsn: Some(Lsn(0x16_a000_0000)),
            lag_us: Some(42_000_000),
            lag_bytes: Some(324_327_496),
            ..row(2, "standby")
        },
        StreamRow {
            purpose: Some(Purpose::Backup),
            state: StreamState::Backup,
            archives: 2,
            end_lsn: None,
            ..row(3, "")
        },
        StreamRow {
            purpose: Some(Purpose::Logical),
            plugin: Some("wal2json".to_owned()),
            state: StreamState::Ended,
            ended: Some(ago(30_000_000)),
            ..row(4, "feed")
        },
    ]
}

fn requests() -> Vec<RequestRow> {
    (1..=4)
        .map(|number| RequestRow {
            who: who(number),
            query: Some(number),
            ts: now().earlier(10_000_000 * number),
            total_us: (number != 1).then_some(1_000 * number * number),
            rows: 10 * number,
            bytes: 1_000 * number,
            error: if number == 4 { "57014".to_owned() } else { String::new() },
            params: format!("[{number}]"),
        })
        .collect()
}

/// The messages of a session: its startup, a simple query, and one that is slower and has more rows.
pub(super) fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |us: u64, dir, name: &str, query: Option<u64>, bytes, text: &str, body: &str| {
        let seq = steps.len() as u64 + 18;
        let letter = if dir == Direction::Frontend { "F" } else { "B" };
        let of_query = query.map_or_else(String::new, |query| format!(",\"query\":{query}"));
        let count = if text.starts_with('…') { 12_345 } else { 1 };
        steps.push(Step {
            seq,
            ts: now().earlier(9_000_000).later(us),
            packet: seq * 2,
            dir,
            name: name.to_owned(),
            count,
            query,
            bytes,
            text: text.to_owned(),
            json: if count > 1 {
                String::new()
            } else {
                format!(
                    "{{\"event\":\"message\",\"conn\":3,\"dir\":\"{letter}\",\"seq\":{seq},\"type\":\"{name}\",\"body\":{body}{of_query}}}"
                )
            },
        });
    };
    use Direction::{Backend, Frontend};
    add(0, Frontend, "StartupMessage", None, 70, "user=app database=shop", "{\"parameters\":{\"user\":\"app\"}}");
    add(900, Backend, "AuthenticationOk", None, 9, "", "null");
    add(901, Backend, "ParameterStatus", None, 30, "TimeZone=UTC", "{\"name\":\"TimeZone\",\"value\":\"UTC\"}");
    add(902, Backend, "ReadyForQuery", None, 6, "idle", "{\"status\":\"idle\"}");
    for (query, slow, rows) in [(1, 1, false), (2, 1_500, true)] {
        let at = |us: u64| query * 100_000 + us * slow;
        let sql = "SELECT * FROM items WHERE order_id = $1";
        let bind = format!("{{\"statement\":\"\",\"parameter_values\":[{query},null,\"x\"]}}");
        add(at(0), Frontend, "Parse", Some(query), 60, sql, &format!("{{\"query\":\"{sql}\"}}"));
        add(at(0), Frontend, "Bind", Some(query), 30, &format!("$1={query}"), &bind);
        add(at(0), Frontend, "Execute", Some(query), 10, sql, "{\"max_rows\":0}");
        add(at(0), Frontend, "Sync", Some(query), 5, "", "null");
        add(at(500), Backend, "ParseComplete", Some(query), 5, "", "null");
        add(at(501), Backend, "BindComplete", Some(query), 5, "", "null");
        add(at(800), Backend, "DataRow", Some(query), 200, "1, 'first'", "{\"values\":[\"1\",\"first\"]}");
        if rows {
            add(at(801), Backend, "DataRow", Some(query), 2_469_000, "… rows", "");
            add(
                at(802),
                Backend,
                "ErrorResponse",
                Some(query),
                120,
                "ERROR 57014 canceling statement",
                "{\"code\":\"57014\"}",
            );
        } else {
            add(at(810), Backend, "CommandComplete", Some(query), 14, "SELECT 1", "{\"command_tag\":\"SELECT 1\"}");
        }
        add(at(811), Backend, "ReadyForQuery", Some(query), 6, "idle", "{\"status\":\"idle\"}");
    }
    steps
}

/// Texts that try to act on a terminal, to hide, and to be wide.
pub(super) fn hostile() -> Fake {
    let text = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31mrow\r\nnext\t\u{202e}txet\u{200b}\u{2066}\u{7f}\u{0}日本\u{301}e\u{301}👩‍👩‍👧‍👦\u{fe0f}";
    let fake = shop();
    let who = |who: &Who| Who {
        client: text.to_owned(),
        server: text.to_owned(),
        user: Some(text.to_owned()),
        database: Some(text.to_owned()),
        application: Some(text.repeat(20)),
        ..who.clone()
    };
    let long = text.repeat(200);
    let mut steps = steps();
    for step in &mut steps {
        step.text = text.to_owned();
        step.name = format!("{}{text}", step.name);
        step.json = format!("{{\"{text}\":[\"{text}\",{{\"a\":\"{text}\"}}]{text}");
    }
    for row in fake.running.borrow_mut().iter_mut() {
        (row.who, row.sql, row.params) = (who(&row.who), long.clone(), text.to_owned());
    }
    let error = |row: &Arc<ErrorRow>| {
        let (message, sql, code) = (long.clone(), long.clone(), text.to_owned());
        Arc::new(ErrorRow { who: who(&row.who), message, sql, code, params: text.to_owned(), ..(**row).clone() })
    };
    let session = |row: &Arc<SessionRow>| {
        Arc::new(SessionRow { who: who(&row.who), encryption: text.to_owned(), ..(**row).clone() })
    };
    fake.overview.borrow_mut().notes.push(text.to_owned());
    let errors = fake.errors.borrow().iter().map(error).collect();
    Fake {
        overview: fake.overview.clone(),
        running: fake.running.clone(),
        statements: fake.statements.iter().map(|row| StatementRow { sql: long.clone(), ..row.clone() }).collect(),
        sessions: fake.sessions.iter().map(session).collect(),
        streams: RefCell::new(
            streams()
                .into_iter()
                .map(|row| {
                    let name = Some(text.to_owned());
                    Arc::new(StreamRow { who: who(&row.who), slot: name.clone(), plugin: name, ..row })
                })
                .collect(),
        ),
        pools: pooled()
            .pools
            .iter()
            .map(|row| {
                let PoolRow(mut pool) = (**row).clone();
                (pool.server, pool.user, pool.database) = (text.to_owned(), Some(text.to_owned()), None);
                for idle in &mut pool.idle_in_transaction {
                    (idle.client, idle.application) = (text.to_owned(), Some(text.to_owned()));
                }
                pool.statements.iter_mut().for_each(|statement| statement.normalized = Some(long.clone()));
                Arc::new(PoolRow(pool))
            })
            .collect(),
        errors: RefCell::new(errors),
        counts: vec![ErrorCount { code: text.to_owned(), condition: None, count: u64::MAX }],
        requests: fake
            .requests
            .iter()
            .map(|row| RequestRow {
                who: who(&row.who),
                error: text.to_owned(),
                params: text.to_owned(),
                ..row.clone()
            })
            .collect(),
        steps: RefCell::new(steps),
    }
}
