//! Summaries to make pages of: one as a busy shop has it, one that is hostile, and one that is as large as can be.

use serde_json::value::RawValue;

use crate::record::summary::{
    AuditEntry, AuditKind, BackupArchive, BaseBackup, Bin, Bucket, Caller, Calls, Candidate, CodeCount, Comparison,
    Confidence, Difference, ErrorStatement, ErrorSummary, Example, FailedLogin, Group, IdleInTransaction,
    LargeTransaction, LossReason, OtherStatements, Params, Pool, PoolBucket, PoolTraffic, PreparedUse, Protection,
    ReplicationBucket, ReplicationStream, ReplicationTraffic, Share, StatementSummary, StatementWaits, Summary,
    TableChanges, Times, Totals, UnlimitedSelect, Waits, Weakness,
};
use crate::record::{Purpose, Reason, TransactionOutcome};
use crate::replication::Lsn;
use crate::session::execution::Outcome;
use crate::time::{Precision, Timestamp};

const SECOND: i64 = 1_000_000_000;

/// The texts of a sample.
pub(super) struct Texts {
    pub(super) sql: Vec<String>,
    pub(super) name: String,
    pub(super) message: String,
    pub(super) param: String,
}

/// How much of everything a sample has.
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) nested: usize,
    pub(super) buckets: usize,
    /// What figures are multiplied by.
    pub(super) scale: u64,
}

/// A capture of some minutes of a shop.
pub(super) fn rich() -> Summary {
    let sql = [
        "SELECT o.id, o.created_at, c.name, sum(i.price * i.quantity) AS total\nFROM orders o\nJOIN customers c ON c.id = o.customer_id\nJOIN items i ON i.order_id = o.id\nWHERE o.created_at > $1 AND c.country = $2\nGROUP BY o.id, c.name\nORDER BY total DESC\nLIMIT $3",
        "SELECT * FROM items WHERE order_id = $1",
        "UPDATE accounts SET balance = balance + $1 WHERE id = $2",
        "INSERT INTO events (kind, payload, created_at) VALUES ($1, $2, now()) RETURNING id",
        "SELECT count(*) FROM sessions WHERE expires_at < now()",
        "COPY events TO STDOUT (FORMAT binary)",
        "BEGIN",
        "COMMIT",
        "DELETE FROM carts WHERE updated_at < now() - $1::interval",
        "SELECT name, price FROM products WHERE search @@ to_tsquery($1) ORDER BY rank DESC",
    ];
    let texts = Texts {
        sql: sql.map(str::to_owned).to_vec(),
        name: "shop".into(),
        message: "duplicate key value violates unique constraint \"accounts_pkey\"".into(),
        param: "\"2026-11-22 00:00:00+00\"".into(),
    };
    sample(&texts, &Size { rows: 10, nested: 3, buckets: 120, scale: 1 })
}

/// Texts that try to be markup, to leave their element, and to be read in another order.
pub(super) fn hostile() -> Summary {
    let text = "</script></pre></textarea><!--<script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='alert(3)' {{ 7*7 }} \u{202e}txet\u{1b}[31m\u{0}\u{2028}\u{200b}";
    let texts = Texts {
        sql: vec![format!("SELECT '{text}'"), text.to_owned()],
        name: text.to_owned(),
        message: text.to_owned(),
        param: serde_json::to_string(text).expect("a string is JSON"),
    };
    let mut summary = sample(&texts, &Size { rows: 3, nested: 3, buckets: 3, scale: 1 });
    for statement in &mut summary.statements {
        statement.fingerprint = Some(format!("\"><script>alert(4)</script>{}", statement.calls));
    }
    for (index, error) in summary.errors.iter_mut().enumerate() {
        error.code = format!("'\"><i>{index}");
    }
    summary
}

/// More of everything than a page can hold.
pub(super) fn extreme() -> Summary {
    let texts = Texts {
        sql: vec!["\u{202e}".repeat(4_096), "<&>\"'".repeat(2_000)],
        name: "\u{1}".repeat(10_000),
        message: "\u{e0001}".repeat(10_000),
        param: serde_json::to_string(&"\u{202e}".repeat(1_000)).expect("a string is JSON"),
    };
    sample(&texts, &Size { rows: 1_200, nested: 30, buckets: 2_500, scale: u64::MAX / 1_000_000 })
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(1_795_383_959 * SECOND + nanos, Precision::Micros)
}

fn fingerprint(index: usize) -> String {
    format!("{:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index as u64 + 1))
}

fn times(timed: u64, mean_us: u64) -> Times {
    let times = |factor: u64| mean_us.saturating_mul(factor) / 10;
    Times {
        timed,
        exec_us: timed.saturating_mul(mean_us),
        mean_us,
        p50_us: times(7),
        p95_us: times(30),
        p99_us: times(80),
        max_us: times(400),
    }
}

fn waits(mean_us: u64) -> Waits {
    Waits {
        wait_us: mean_us * 71_003,
        wait_mean_us: mean_us,
        wait_p50_us: mean_us / 3,
        wait_p95_us: mean_us * 5,
        wait_max_us: mean_us * 401,
    }
}

/// Bins of about 1 % as the summary has them, around a mean.
fn histogram(timed: u64, mean_us: u64) -> Vec<Bin> {
    let weights = [1, 4, 9, 16, 22, 18, 12, 8, 5, 2, 1, 1, 0, 0, 1];
    let bin = |(index, weight): (usize, u64)| Bin {
        us: mean_us.saturating_mul(1 << index) / 16 + index as u64,
        count: (timed.saturating_mul(weight) / 100).max(u64::from(weight > 0)),
    };
    weights.into_iter().enumerate().map(bin).filter(|bin| bin.count > 0).collect()
}

fn shares(texts: &Texts, size: &Size, calls: u64) -> Vec<Share> {
    let named = |index: usize| Share {
        name: (index != 2).then(|| format!("{}-{index}", texts.name)),
        calls: calls / (index as u64 + 1),
    };
    (0..size.nested).map(named).collect()
}

fn example(texts: &Texts, index: usize, scale: u64) -> Example {
    let exec_us = 8_400_000_u64.saturating_mul(scale) / (index as u64 + 1);
    let param = |json: &str| RawValue::from_string(json.to_owned()).expect("it is JSON");
    Example {
        ts: at(index as i64 * SECOND * 3 / 2),
        started: at(index as i64 * SECOND),
        conn: index as u64 + 17,
        query: Some(index as u64 * 31 + 1),
        packet: index as u64 * 997 + 4,
        client: format!("10.2.0.{}:{}", index % 250 + 1, 40_000 + index),
        server: "10.2.1.5:5432".into(),
        user: Some(texts.name.clone()),
        database: Some(texts.name.clone()),
        application: (index % 3 != 1).then(|| texts.name.clone()),
        fingerprint: Some(fingerprint(index)),
        sql: Some(texts.sql[index % texts.sql.len()].clone()),
        params: Some(Params(vec![param(&texts.param), param("42"), param("null")])),
        outcome: Some(Outcome::Ok),
        rows: Some(index as u64 * 100),
        bytes_in: 512 + index as u64,
        bytes_out: 1_572_864 / (index as u64 + 1),
        total_us: Some(exec_us.saturating_add(300)),
        exec_us: Some(exec_us),
        ..Example::default()
    }
}

fn failed(texts: &Texts, index: usize, code: &str, condition: &str) -> Example {
    Example {
        outcome: Some(if code == "57014" { Outcome::Canceled } else { Outcome::Error }),
        severity: Some("ERROR".into()),
        code: Some(code.into()),
        condition: Some(condition.into()),
        message: Some(texts.message.clone()),
        detail: Some(format!("Key (id)=(42) already exists. {}", texts.message)),
        canceled_by: (code == "57014").then_some(99),
        canceled_from: (code == "57014").then(|| "10.2.0.9:51234".into()),
        ..example(texts, index, 1)
    }
}

fn statement(texts: &Texts, size: &Size, index: usize) -> StatementSummary {
    let calls = 60_000_u64.saturating_mul(size.scale) / (index as u64 + 1);
    let mean_us = 90_000 / (index as u64 * index as u64 + 1) + 40;
    StatementSummary {
        fingerprint: (index != 9).then(|| fingerprint(index)),
        normalized: (index != 9).then(|| texts.sql[index % texts.sql.len()].clone()),
        calls,
        errors: if index % 3 == 2 { calls / 1_000 } else { 0 },
        times: times(calls, mean_us),
        share: 60.0 / (index as f64 + 1.0),
        rows: calls.saturating_mul(index as u64 % 4),
        bytes_in: calls.saturating_mul(120),
        bytes_out: calls.saturating_mul(900),
        histogram: histogram(calls, mean_us),
        users: shares(texts, size, calls),
        databases: shares(texts, size, calls),
        applications: shares(texts, size, calls),
        clients: shares(texts, size, calls),
        error_codes: vec![CodeCount { code: "23505".into(), condition: Some("unique_violation".into()), count: 7 }],
        example: Some(Box::new(example(texts, index, size.scale))),
    }
}

fn group(texts: &Texts, index: usize) -> Group {
    let requests = 90_000 / (index as u64 + 1);
    Group {
        name: (index != 2).then(|| format!("{}-{index}", texts.name)),
        sessions: 40,
        connects: 38,
        connects_per_second: 0.31,
        logins_failed: index as u64 % 2,
        login_mean_us: 4_200,
        login_p95_us: 9_100,
        login_max_us: 44_000,
        requests,
        errors: index as u64 * 3,
        exec_us: requests * 700,
        rows: requests * 4,
        bytes_in: requests * 100,
        bytes_out: requests * 1_000,
        idle_in_transaction_us: index as u64 * 5_000_000,
    }
}

fn bucket(index: usize) -> Bucket {
    let wave = (index as f64 / 9.0).sin().mul_add(300.0, 800.0) as u64;
    let slow = if (70..85).contains(&index) { 30 } else { 1 };
    let mean_us = 900 * slow + wave;
    Bucket {
        started: at(index as i64 * SECOND),
        requests: wave,
        errors: if slow > 1 { wave / 20 } else { u64::from(index.is_multiple_of(17)) },
        connects: index as u64 % 5,
        bytes_in: wave * 130,
        bytes_out: wave * 1_100 * slow,
        times: times(wave, mean_us),
        histogram: histogram(wave, mean_us),
    }
}

fn difference(texts: &Texts, index: usize, before: bool, after: bool) -> Difference {
    let calls = |mean_us| Calls { calls: 900, calls_per_second: 7.5, errors: 3, times: times(900, mean_us) };
    Difference {
        fingerprint: Some(fingerprint(index)),
        normalized: Some(texts.sql[index % texts.sql.len()].clone()),
        before: before.then(|| calls(1_000)),
        after: after.then(|| calls(90_000)),
        change_us_per_second: 667_500.0 / (index as f64 + 1.0) * if index % 3 == 2 { -1.0 } else { 1.0 },
        slower_probability: Some(0.97),
        confidence: Confidence::Certain,
    }
}

fn comparison(texts: &Texts, size: &Size) -> Comparison {
    let all = |before, after| (0..size.rows.min(4_000) / 3 + 1).map(|i| difference(texts, i, before, after)).collect();
    Comparison {
        started: Some(at(-86_400 * SECOND)),
        duration_us: 115_000_000,
        totals: Totals { requests: 80_000, errors: 12, times: times(79_000, 800), connects: 30, ..Totals::default() },
        explained: all(true, true),
        appeared: all(false, true),
        vanished: all(true, false),
        slower: all(true, true),
        faster: Vec::new(),
        more_frequent: all(true, true),
        less_frequent: Vec::new(),
        began_to_fail: all(true, true),
    }
}

/// A stream whose client hangs for a while.
fn stream(texts: &Texts, size: &Size, index: usize) -> ReplicationStream {
    let number = |number: u64| number / (index as u64 + 1) + index as u64;
    let bucket = |at_second: usize| {
        let hangs = if (70..85).contains(&at_second) { (at_second - 69) as u64 } else { 0 };
        ReplicationBucket {
            started: at(at_second as i64 * SECOND),
            bytes: number(if hangs > 0 { 0 } else { 900_000 + at_second as u64 % 7 * 110_000 }),
            changes: number(4_000),
            lag_bytes: at_second.is_multiple_of(2).then(|| number(hangs * 1_000_000 + 4_096)),
            lag_us: at_second.is_multiple_of(2).then(|| number(hangs * 1_000_000 + 2_500)),
        }
    };
    ReplicationStream {
        slot: (index != 2).then(|| format!("{}-{index}", texts.name)),
        purpose: Some(if index == 1 { Purpose::Physical } else { Purpose::Logical }),
        plugin: (index != 1).then(|| "pgoutput".into()),
        user: Some(texts.name.clone()),
        database: Some(texts.name.clone()),
        application: Some(texts.name.clone()),
        client_ip: "10.2.0.8".into(),
        server: "10.2.1.5:5432".into(),
        conn: 31 + index as u64,
        streams: 2,
        started: at(0),
        ts: at(119 * SECOND),
        ended: index == 2,
        active_us: number(118_000_000),
        bytes: number(95_000_000),
        bytes_per_second: 805_084.7,
        end_lsn: Some(Lsn(0x16_b374_d848)),
        write_lsn: Some(Lsn(0x16_b374_d848)),
        flush_lsn: Some(Lsn(0x16_b374_0000)),
        apply_lsn: (index != 1).then_some(Lsn(0x16_b373_0000)),
        confirmations: number(1_190),
        lag_bytes: Some(number(55_368)),
        lag_p95_bytes: Some(number(9_000_000)),
        lag_max_bytes: Some(number(15_004_096)),
        lag_us: Some(number(2_501)),
        lag_is_least: index == 1,
        lag_p95_us: Some(number(9_300_000)),
        lag_max_us: Some(number(15_002_500)),
        changes: number(480_000),
        logical_messages: number(12),
        commits: number(9_100),
        prepares: number(8),
        aborts: number(5),
        subtransaction_aborts: number(3),
        rollbacks: number(2),
        streamed_transactions: number(41),
        repeated_transactions: index as u64,
        repeated_changes: index as u64 * 40,
        commit_lag_p95_us: Some(number(9_100_000)),
        commit_lag_max_us: Some(number(15_100_000)),
        tables: (0..size.rows.min(40))
            .map(|table| TableChanges {
                schema: Some("public".into()),
                table: (table != 3).then(|| format!("{}-{table}", texts.name)),
                relation_oid: 16_384 + table as u32,
                inserts: number(200_000),
                updates: number(100_001),
                deletes: number(5_003),
                truncates: number(1),
            })
            .collect(),
        other_changes: number(77),
        over_time: ReplicationTraffic { bucket_us: 1_000_000, buckets: (0..size.buckets).map(bucket).collect() },
    }
}

fn sample(texts: &Texts, size: &Size) -> Summary {
    let scale = size.scale;
    let list = |count: usize| 0..count.min(size.rows);
    let sql = |index: usize| texts.sql[index % texts.sql.len()].clone();
    let mut summary = Summary {
        ts: Some(at(120 * SECOND)),
        totals: Totals {
            requests: 98_712,
            errors: 1_204,
            unfinished: 17,
            skipped: 50,
            times: times(98_600_u64.saturating_mul(scale), 1_400),
            rows: 412_345,
            bytes_in: 13_400_000,
            bytes_out: 118_000_000,
            distinct_statements: 312,
            sessions: 160,
            connects: 152,
            most_connects_per_second: 41,
            logins_failed: 6,
            idle_in_transaction_us: 71_000_000,
        },
        statements: list(usize::MAX).map(|i| statement(texts, size, i)).collect(),
        other_statements: Some(OtherStatements {
            distinct_statements: 302,
            calls: 4_000,
            errors: 2,
            timed: 3_990,
            exec_us: 9_000_000,
            rows: 12_000,
            bytes_in: 400_000,
            bytes_out: 3_000_000,
        }),
        slowest: list(usize::MAX).map(|i| example(texts, i, scale)).collect(),
        largest: list(usize::MAX).map(|i| example(texts, i + 3, scale)).collect(),
        running: vec![Example {
            exec_us: None,
            total_us: None,
            age_us: Some(93_000_000),
            outcome: Some(Outcome::Incomplete),
            rows: None,
            ..example(texts, 4, 1)
        }],
        cancels: list(4).map(|i| failed(texts, i, "57014", "query_canceled")).collect(),
        locks: list(2).map(|i| failed(texts, i, "40P01", "deadlock_detected")).collect(),
        users: list(usize::MAX).map(|i| group(texts, i)).collect(),
        databases: list(2).map(|i| group(texts, i)).collect(),
        applications: list(usize::MAX).map(|i| group(texts, i)).collect(),
        clients: list(usize::MAX).map(|i| group(texts, i)).collect(),
        baseline: Some(Box::new(comparison(texts, size))),
        ..Summary::default()
    };
    summary.capture.started = Some(at(0));
    summary.capture.duration_us = 120_000_000;
    summary.capture.counters.packets = 412_990;
    summary.capture.counters.packet_bytes = 161_000_000;
    summary.capture.counters.missing_bytes = 2_920;
    summary.capture.midstream_sessions = 8;
    summary.capture.uncertain_requests = 3;
    summary.capture.loss_reasons =
        vec![LossReason { reason: Reason::Missing, count: 2, missing_bytes: 2_920, skipped_bytes: 0 }];
    summary.errors = [
        ("23505", "unique_violation"),
        ("57014", "query_canceled"),
        ("40P01", "deadlock_detected"),
        ("28P01", "invalid_password"),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, (code, condition))| ErrorSummary {
        code: code.into(),
        condition: Some(condition.into()),
        count: 900 / (index as u64 + 1),
        sessions: if code == "28P01" { 6 } else { 0 },
        statements: (0..size.nested)
            .map(|i| ErrorStatement { fingerprint: Some(fingerprint(i)), normalized: Some(sql(i)), count: 300 })
            .collect(),
        example: Box::new(failed(texts, index, code, condition)),
    })
    .collect();
    summary.failed_logins = list(usize::MAX)
        .map(|index| FailedLogin {
            user: Some(texts.name.clone()),
            database: Some(texts.name.clone()),
            application: None,
            client_ip: format!("10.2.0.{index}"),
            code: Some("28P01".into()),
            condition: Some("invalid_password".into()),
            message: Some(texts.message.clone()),
            count: 3,
            started: at(SECOND),
            ts: at(9 * SECOND),
        })
        .collect();
    summary.prepared = list(usize::MAX)
        .map(|index| PreparedUse {
            application: Some(texts.name.clone()),
            user: Some(texts.name.clone()),
            simple: 12,
            extended: 1_000,
            parsed: 1_000 / (index as u64 + 1),
            named: 0,
            share: 100.0 / (index as f64 + 1.0),
        })
        .collect();
    summary.time.timed = 98_000;
    summary.time.server_us = 110_000_000;
    summary.time.transfer_us = 21_000_000;
    summary.time.client_stall_us = 4_000_000;
    summary.time.network_us = 9_000_000;
    summary.time.idle_in_transaction_us = 71_000_000;
    summary.protection = vec![
        Protection {
            encryption: Some("TLSv1.3".into()),
            auth_method: Some("scram-sha-256".into()),
            weaknesses: vec![Weakness::NoChannelBinding],
            sessions: 120,
        },
        Protection {
            encryption: Some("none".into()),
            auth_method: Some("md5".into()),
            weaknesses: vec![Weakness::Md5],
            sessions: 38,
        },
        Protection { encryption: None, auth_method: Some(texts.name.clone()), weaknesses: vec![], sessions: 2 },
    ];
    summary.audit = list(usize::MAX)
        .map(|index| AuditEntry {
            kind: [AuditKind::CopyProgram, AuditKind::Role, AuditKind::Privilege, AuditKind::Ddl][index % 4],
            fingerprint: fingerprint(index + 100),
            normalized: sql(index + 2),
            calls: 2,
            errors: index as u64 % 2,
            callers: (0..size.nested)
                .map(|_| Caller {
                    user: Some(texts.name.clone()),
                    database: Some(texts.name.clone()),
                    application: None,
                    client_ip: Some("10.2.0.7".into()),
                    calls: 1,
                })
                .collect(),
        })
        .collect();
    summary.n_plus_one = list(usize::MAX)
        .map(|index| Candidate {
            fingerprint: fingerprint(index + 1),
            normalized: sql(index + 1),
            bursts: 40,
            calls: 8_000,
            max_calls: 410,
            exec_us: 3_100_000,
            conn: 17,
            started: at(3 * SECOND),
            in_transaction: index % 2 == 0,
            user: Some(texts.name.clone()),
            application: Some(texts.name.clone()),
        })
        .collect();
    summary.unlimited_selects = list(usize::MAX)
        .map(|index| UnlimitedSelect {
            fingerprint: fingerprint(index + 9),
            normalized: sql(index + 9),
            calls: 4,
            rows: 400_000,
            max_rows: 120_000,
            bytes_out: 33_000_000,
        })
        .collect();
    summary.replication_streams =
        list(if size.rows > 100 { 40 } else { 3 }).map(|index| stream(texts, size, index)).collect();
    summary.largest_transactions = list(usize::MAX)
        .map(|index| LargeTransaction {
            ts: at(index as i64 * SECOND),
            conn: 31,
            packet: 90_000 + index as u64,
            slot: Some(texts.name.clone()),
            application: Some(texts.name.clone()),
            client: "10.2.0.8:40123".into(),
            xid: Some(7_001 + index as u32),
            gid: (index == 1).then(|| texts.name.clone()),
            outcome: Some(TransactionOutcome::Committed),
            changes: 500_000 / (index as u64 + 1),
            streamed: index % 2 == 0,
            commit_ts: Some(at(index as i64 * SECOND - 1)),
            lag_us: Some(81_000 + index as u64),
        })
        .collect();
    summary.base_backups = list(2)
        .map(|index| BaseBackup {
            user: Some(texts.name.clone()),
            application: Some("pg_basebackup".into()),
            client_ip: "10.2.0.8".into(),
            server: "10.2.1.5:5432".into(),
            conn: 44 + index as u64,
            started: at(0),
            ts: at(60 * SECOND),
            outcome: (index != 1).then_some(Outcome::Ok),
            code: (index == 1).then(|| "58P01".into()),
            message: (index == 1).then(|| texts.message.clone()),
            incremental: Some(index == 1),
            start_lsn: Some(Lsn(0x16_b374_d848)),
            end_lsn: (index != 1).then_some(Lsn(0x16_b474_d848)),
            active_us: 12_000_000,
            bytes: 4_300_000_000,
            bytes_per_second: 358_333_333.3,
            total_bytes: Some(5_000_000_000),
            bytes_done: Some(4_300_000_000),
            archives: (0..list(3).len())
                .map(|number| BackupArchive {
                    archive: Some(format!("{}.tar", texts.name)),
                    tablespace: (number > 0).then(|| texts.name.clone()),
                    bytes: 1_433_333_333,
                })
                .collect(),
            other_archives: 7,
            manifest_bytes: Some(250_000),
        })
        .collect();
    summary.pools = list(2)
        .map(|index| Pool {
            server: "10.2.1.4:6432".into(),
            database: Some(texts.name.clone()),
            user: (index == 0).then(|| texts.name.clone()),
            requests: 71_003,
            unjoined_requests: 21,
            answered_by_pooler: 12,
            refused_by_pooler: 7,
            client_connections: 49,
            server_connections: 6,
            waits: waits(9_001),
            busy_us: 310_000_001,
            idle_in_transaction_us: 44_000_003,
            idle_in_transaction: list(4)
                .map(|number| IdleInTransaction {
                    ts: at(number as i64 * SECOND),
                    conn: 61,
                    query: 402,
                    client: "10.2.0.9:50123".into(),
                    application: (number > 0).then(|| texts.name.clone()),
                    server_conn: 62,
                    idle_us: 6_000_000 / (number as u64 + 1),
                })
                .collect(),
            statements: list(5)
                .map(|number| StatementWaits {
                    fingerprint: Some(fingerprint(number)),
                    normalized: (number != 1).then(|| sql(number)),
                    calls: 14_200 / (number as u64 + 1),
                    waits: waits(801 + number as u64),
                })
                .collect(),
            unlisted_statements: 17,
            over_time: PoolTraffic {
                bucket_us: 500_000,
                buckets: (0..size.buckets)
                    .map(|number| PoolBucket {
                        started: at(number as i64 * SECOND / 2),
                        requests: 23 + number as u64 % 7,
                        wait_us: 6_100 * (number as u64 % 11),
                        busy_us: 1_200_000,
                        idle_in_transaction_us: 10_000 * (number as u64 % 3),
                    })
                    .collect(),
            },
        })
        .collect();
    summary.traffic.bucket_us = 1_000_000;
    summary.traffic.buckets = (0..size.buckets).map(bucket).collect();
    summary
}
