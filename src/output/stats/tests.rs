use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::build::Context;
#[cfg(feature = "cli")]
use super::windows::{Key, Windows};
use super::{Bursts, Limits, Statistics};
use crate::direction::Direction;
use crate::packet::Endpoint;
use crate::pg::query::TransactionStatus;
use crate::pg::text::{Sql, Text};
use crate::record::summary::{OtherStatements, PoolBucket, Summary};
use crate::record::{
    Backend, BackupFacts, CommunityId, Downstream, Evidence, Flags, Header, Purpose, QueryRecord, QuerySql, Record,
    ReplicationEvent, ReplicationKind, Steps, Upstream,
};
use crate::redaction::Redaction;
use crate::replication::Lsn;
use crate::session::execution::{Outcome, Protocol, Tags};
use crate::time::{Precision, Timestamp};

const LIMITS: Limits = Limits { top: 10, statement_bytes: 1 << 20 };

fn at(us: u64) -> Timestamp {
    Timestamp::from_nanos(us as i64 * 1_000, Precision::Micros)
}

/// A request that the server works on for so long, and has answered at a time.
fn request<'a>(conn: u64, query: u64, sql: &'a str, ended: u64, exec_us: u64) -> QueryRecord<'a> {
    let end = Endpoint { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 5432 };
    QueryRecord {
        header: Header { ts: at(ended), conn, client: "10.0.0.1:40000", server: "10.0.0.2:5432" },
        community_id: CommunityId::new(end, end),
        query,
        packet: query,
        started: at(ended - exec_us),
        user: Some(Text::utf8(b"app")),
        database: Some(Text::utf8(b"shop")),
        application: None,
        protocol: Protocol::Simple,
        sql: Some(QuerySql(Sql { text: Text::utf8(sql.as_bytes()), redaction: Redaction::Secrets })),
        statement: None,
        portal: None,
        function_oid: None,
        params: None,
        command_tags: Tags::default(),
        rows: Some(1),
        bytes_in: 10,
        bytes_out: 20,
        outcome: Outcome::Ok,
        error: None,
        canceled_by: None,
        parse_us: None,
        bind_us: None,
        first_row_us: None,
        last_row_us: None,
        total_us: Some(exec_us),
        exec_us: Some(exec_us),
        server_us: None,
        transfer_us: None,
        client_stall_us: None,
        retransmitted: None,
        age_us: None,
        rtt_client_us: None,
        rtt_server_us: None,
        upstream: None,
        downstream: None,
        pooler: false,
        tx: Some(TransactionStatus::IDLE),
        violation: None,
        flags: Flags::default(),
        backend: Backend::default(),
        evidence: Evidence::default(),
        steps: Steps::default(),
    }
}

fn summary(statistics: &mut Statistics) -> Summary {
    statistics.summary(&Context::default(), None)
}

#[test]
fn too_many_statements_are_forgotten_and_counted_and_the_heaviest_stay() {
    let mut statistics = Statistics::new(LIMITS, Arc::default());
    let mut exec_us = 0;
    for n in 0..20_000_u64 {
        let rare = format!("SELECT column_{n} FROM t WHERE i = {n}");
        statistics.record(&Record::Query(request(n, 1, &rare, 1_000_000 + n, n % 100)));
        let often = format!("SELECT {n} FROM heavy_{}", n % 5);
        statistics.record(&Record::Query(request(n, 2, &often, 1_000_000 + n, 40)));
        exec_us += n % 100 + 40;
    }
    let size: usize = statistics.statements.sizes().iter().sum();
    assert!(size <= LIMITS.statement_bytes, "{size}");
    let summary = summary(&mut statistics);
    assert!(summary.capture.forgotten_statements > 10_000);
    assert!(summary.capture.forgotten_exec_us <= 99);
    let heaviest: Vec<_> = summary.statements.iter().take(5).map(|s| (s.calls, s.times.exec_us)).collect();
    assert_eq!(heaviest, [(4_000, 160_000); 5]);
    let OtherStatements { calls, exec_us: others, distinct_statements, .. } = summary.other_statements.unwrap();
    assert_eq!(calls + summary.statements.iter().map(|s| s.calls).sum::<u64>(), 40_000);
    assert_eq!(others + summary.statements.iter().map(|s| s.times.exec_us).sum::<u64>(), exec_us);
    assert_eq!(distinct_statements + summary.statements.len() as u64, 20_005);
    assert_eq!((summary.totals.requests, summary.totals.times.exec_us), (40_000, exec_us));
}

#[test]
fn of_too_many_clients_the_users_are_still_known() {
    let mut statistics = Statistics::new(LIMITS, Arc::default());
    let addresses: Vec<_> = (0..70_000_u32).map(|n| format!("{}:1", Ipv4Addr::from(n))).collect();
    let (one, other) = addresses.split_at(40_000);
    let mut second = Statistics::new(LIMITS, Arc::default());
    for (statistics, addresses) in [(&mut statistics, one), (&mut second, other)] {
        for (conn, client) in addresses.iter().enumerate() {
            let mut record = request(conn as u64, 1, "SELECT 1", 1_000, 10);
            record.header.client = client;
            statistics.record(&Record::Query(record));
        }
    }
    statistics.merge(second);
    let summary = summary(&mut statistics);
    let users: Vec<_> = summary.users.iter().map(|user| (user.name.as_deref(), user.requests)).collect();
    assert_eq!(users, [(Some("app"), 70_000)]);
    assert!(summary.clients.iter().any(|client| client.name.is_none() && client.requests > 4_000));
}

/// A message of the backup that a request is for.
fn of_backup<'a>(record: &QueryRecord<'a>) -> ReplicationEvent<'a> {
    ReplicationEvent {
        header: record.header,
        packet: 1,
        query: Some(record.query),
        purpose: Some(Purpose::Backup),
        slot: None,
        plugin: None,
        user: None,
        database: None,
        application: None,
        kind: ReplicationKind::Archive { archive: None, tablespace: None },
        backup: Some(BackupFacts { begun: Some(record.started), archives: 1, ..BackupFacts::default() }),
        dir: Direction::Backend,
        size: 100,
        bytes: 0,
        is_first: false,
        elapsed_us: 0,
    }
}

#[test]
fn base_backups_of_all_threads_are_listed_and_more_than_are_kept_are_counted() {
    let limits = Limits { top: 2_000, ..LIMITS };
    let mut threads = [Statistics::new(limits, Arc::default()), Statistics::new(limits, Arc::default())];
    for conn in 1..=1_400 {
        let statistics = &mut threads[conn as usize % 2];
        let mut record = request(conn, 1, "BASE_BACKUP ( INCREMENTAL )", 2_000, 1_000);
        record.backend.is_walsender = true;
        // Those of a number that is a multiple of three fail without a message of their own.
        if conn % 3 == 0 {
            record.outcome = Outcome::Error;
        } else {
            statistics.replication(&ReplicationEvent { bytes: conn, is_first: true, ..of_backup(&record) });
        }
        statistics.record(&Record::Query(record));
    }
    // Messages of one come to both threads, its end to one of them.
    let mut record = request(2_000, 1, "BASE_BACKUP", 2_000, 1_000);
    record.backend.is_walsender = true;
    for number in 1..=100 {
        let archives = if number <= 50 { 1 } else { 2 };
        let kind = match number {
            1 | 51 => ReplicationKind::Archive { archive: Some(Text::utf8(b"x.tar")), tablespace: None },
            _ => ReplicationKind::Other,
        };
        let facts = BackupFacts {
            begun: Some(record.started),
            archives,
            is_manifest: number > 90,
            start_lsn: Some(Lsn(16)),
            end_lsn: (number == 100).then_some(Lsn(32)),
            ..BackupFacts::default()
        };
        threads[number as usize % 2].replication(&ReplicationEvent {
            kind,
            backup: Some(facts),
            bytes: number,
            is_first: number == 1,
            ..of_backup(&record)
        });
    }
    threads[1].record(&Record::Query(record));
    let [mut statistics, other] = threads;
    statistics.merge(other);
    let listed = summary(&mut statistics);
    let [split, first, ..] = &*listed.base_backups else { panic!("{listed:?}") };
    assert_eq!((split.conn, split.bytes, split.outcome), (2_000, 5_050, Some(Outcome::Ok)));
    assert_eq!((split.start_lsn, split.end_lsn, split.manifest_bytes), (Some(Lsn(16)), Some(Lsn(32)), Some(955)));
    let archives = split.archives.iter().map(|archive| (archive.archive.as_deref(), archive.bytes));
    assert_eq!(archives.collect::<Vec<_>>(), [(Some("x.tar"), 1_275), (Some("x.tar"), 2_820)]);
    assert_eq!(
        (first.conn, first.bytes, first.archives[0].bytes, first.outcome),
        (1_400, 1_400, 1_400, Some(Outcome::Ok))
    );
    assert_eq!((listed.base_backups.len(), listed.other_base_backups), (1_024, 377));
    assert!(listed.base_backups.is_sorted_by(|one, other| one.bytes >= other.bytes));
    assert!(listed.base_backups.iter().any(|backup| backup.conn % 2 == 1), "{:?}", listed.base_backups);

    // Of more than one thread keeps, each is counted once, whichever thread is merged into which.
    for is_first in [false, true] {
        let mut threads = [Statistics::new(LIMITS, Arc::default()), Statistics::new(LIMITS, Arc::default())];
        for conn in 1..=1_100 {
            let mut record = request(conn, 1, "BASE_BACKUP", 2_000, 1_000);
            record.backend.is_walsender = true;
            for statistics in threads.iter_mut().take(if conn > 1_050 { 2 } else { 1 }) {
                statistics.replication(&ReplicationEvent { bytes: conn, ..of_backup(&record) });
            }
            threads[0].record(&Record::Query(record));
        }
        threads.rotate_left(usize::from(is_first));
        let [mut statistics, other] = threads;
        statistics.merge(other);
        let listed = summary(&mut statistics);
        assert_eq!((listed.base_backups.len(), listed.other_base_backups), (10, 1_090), "{is_first}");
    }

    let mut statistics = Statistics::new(LIMITS, Arc::default());
    let mut record = request(3, 1, "BASE_BACKUP ( INCREMENTAL )", 2_000, 1_000);
    (record.backend.is_walsender, record.outcome) = (true, Outcome::Error);
    statistics.record(&Record::Query(record));
    let failed = &summary(&mut statistics).base_backups[0];
    assert_eq!((failed.outcome, failed.incremental, failed.bytes), (Some(Outcome::Error), Some(true), 0));
}

#[test]
fn many_calls_with_different_parameters_in_a_burst_are_a_candidate() {
    let mut statistics = Statistics::new(LIMITS, Arc::<Bursts>::default());
    let mut call = |conn, query, sql: &str, ended, in_transaction| {
        let mut record = request(conn, query, sql, ended, 100);
        record.tx = Some(if in_transaction { TransactionStatus::IN_TRANSACTION } else { TransactionStatus::IDLE });
        statistics.record(&Record::Query(record));
    };
    for n in 0..40 {
        // A loop over rows, each with two statements.
        call(1, 2 * n, &format!("SELECT * FROM child WHERE parent = {n}"), 1_000 * n + 1_000, true);
        call(1, 2 * n + 1, &format!("SELECT * FROM other WHERE parent = {n}"), 1_000 * n + 1_500, true);
        // The same parameters each time.
        call(2, n, "SELECT * FROM settings WHERE i = 1", 1_000 * n + 1_000, false);
        // A pause before each.
        call(3, n, &format!("SELECT * FROM page WHERE i = {n}"), 200_000 * n + 1_000, false);
        // Each in a transaction of its own.
        call(4, 2 * n, "BEGIN", 1_000 * n + 1_000, false);
        call(4, 2 * n + 1, &format!("SELECT * FROM single WHERE i = {n}"), 1_000 * n + 1_500, true);
    }
    // Too few.
    for n in 0..9 {
        call(5, n, &format!("SELECT * FROM few WHERE i = {n}"), 1_000 * n + 1_000, false);
    }
    let summary = summary(&mut statistics);
    let candidates = summary.n_plus_one.iter().map(|found| {
        (found.normalized.as_str(), found.bursts, found.calls, found.max_calls, found.exec_us, found.in_transaction)
    });
    let mut candidates: Vec<_> = candidates.collect();
    candidates.sort_unstable();
    assert_eq!(
        candidates,
        [
            ("SELECT * FROM child WHERE parent = $1", 1, 40, 40, 4_000, true),
            ("SELECT * FROM other WHERE parent = $1", 1, 40, 40, 4_000, true),
        ]
    );
    assert_eq!(summary.n_plus_one[0].user.as_deref(), Some("app"));
}

#[cfg(feature = "cli")]
#[test]
fn a_window_of_time_has_the_requests_of_its_seconds() {
    let mut windows = Windows::default();
    // Some requests a second, with pauses; two statements.
    let seconds = (0..900_u64).filter(|second| !(300..320).contains(second) && second % 7 != 0);
    let times: Vec<u64> = seconds.flat_map(|second| [second * 1_000_000 + 10, second * 1_000_000 + 700_000]).collect();
    for (number, ended) in times.iter().enumerate() {
        let sql = if number % 3 == 0 { "SELECT 1" } else { "UPDATE t SET a = 1" };
        windows.add(&request(1, number as u64, sql, 1_700_000_000_000_000 + ended, 100), number % 5 == 0);
        let now = at(1_700_000_000_000_000 + ended);
        for last in [10, 60, 300_u64] {
            let (sums, seconds) = windows.sums(now, Some(last as u32));
            let found: u64 = sums.iter().map(|(_, sums)| sums.calls).sum();
            // Slices are of a second, and of ten seconds beyond the last ten.
            let slice = if last == 10 { 1_000_000 } else { 5_500_000 };
            let within =
                |length: u64| times.iter().filter(|time| **time <= *ended && **time + length >= *ended).count() as u64;
            let (fewest, most) = (within(last * 1_000_000 - slice), within(last * 1_000_000 + slice));
            assert!((fewest..=most).contains(&found), "{last} s before {ended}: {found}, not {fewest} to {most}");
            assert!(seconds <= last as f64, "{seconds}");
        }
        let (sums, _) = windows.sums(now, None);
        assert_eq!(sums.iter().map(|(_, sums)| sums.calls).sum::<u64>(), number as u64 + 1);
        assert_eq!(sums.iter().map(|(_, sums)| sums.errors).sum::<u64>(), number as u64 / 5 + 1);
    }
    let quiet = at(1_700_000_000_000_000 + 2_000_000_000);
    assert!(windows.sums(quiet, Some(300)).0.is_empty());
}

#[cfg(feature = "cli")]
#[test]
fn statements_beyond_the_limit_of_a_window_are_counted_together() {
    let mut windows = Windows::default();
    for number in 0..20_000_u64 {
        let sql = format!("SELECT a{number}");
        windows.add(&request(1, number, &sql, 1_700_000_000_000_000 + number * 1_000, 100), false);
    }
    let (sums, _) = windows.sums(at(1_700_000_000_000_000 + 20_000_000), None);
    assert_eq!(sums.iter().map(|(_, sums)| sums.calls).sum::<u64>(), 20_000);
    assert!(sums.len() <= 2 * 4_097, "{}", sums.len());
    assert!(sums.iter().any(|(key, _)| *key == Key::Others));
}

/// A request that a pooler has forwarded: at its client's side, and at the server's.
fn forwarded<'a>(
    client: (u64, u64),
    server: (u64, u64),
    sql: &'a str,
    sent: u64,
    wait_us: u64,
) -> [QueryRecord<'a>; 2] {
    let began = sent + wait_us;
    let ended = began + 100;
    let upstream = Upstream {
        conn: server.0,
        query: server.1,
        wait_us,
        idle_us: (client.1 > 1).then_some(5_000),
        executed: (at(began), at(ended)),
    };
    let at_pooler = Evidence { is_at_pooler: true, ..Evidence::default() };
    let header = Header { client: "10.0.0.7:5000", server: "10.0.0.1:6432", ..header(client.0, ended + 10) };
    let at_client = request(client.0, client.1, sql, ended + 10, wait_us + 110);
    let downstream = Downstream {
        conn: client.0,
        query: client.1,
        client: "10.0.0.7:5000",
        application: Some(APP),
        names: [Some(Text::utf8(b"app")), Some(Text::utf8(b"pool"))],
    };
    let at_server = request(server.0, server.1, sql, ended, 100);
    [
        QueryRecord { header, application: Some(APP), upstream: Some(upstream), evidence: at_pooler, ..at_client },
        QueryRecord { downstream: Some(downstream), ..at_server },
    ]
}

const APP: Text<'_> = Text::utf8(b"billing");

fn header<'a>(conn: u64, ended: u64) -> Header<'a> {
    request(conn, 1, "", ended, 0).header
}

#[test]
fn what_a_pooler_asks_itself_is_no_loop_of_an_application() {
    for pooler in [false, true] {
        let mut statistics = Statistics::new(LIMITS, Arc::default());
        let texts: Vec<_> = (1..40).map(|number| format!("SELECT a FROM t WHERE i = {number}")).collect();
        for (sql, number) in texts.iter().zip(1..) {
            let own = request(8, number, sql, number * 1_000, 100);
            statistics.record(&Record::Query(QueryRecord { pooler, ..own }));
        }
        assert_eq!(summary(&mut statistics).n_plus_one.len(), usize::from(!pooler));
    }
}

#[test]
fn what_went_through_a_pooler_counts_once_with_its_client_and_the_time_on_the_server() {
    let refused = QueryRecord {
        pooler: true,
        error: None,
        outcome: Outcome::Error,
        ..forwarded((3, 1), (9, 9), "SELECT 9", 2_000_000, 2_890)[0].clone()
    };
    // It has waited in vain, and that is no time of the server's.
    let (sent, replied) = (at(2_000_000), Some((at(2_003_000), at(2_003_000))));
    let evidence = Evidence { sent, replied, ..refused.evidence };
    let refused = QueryRecord { upstream: None, exec_us: Some(3_000), server_us: Some(3_000), evidence, ..refused };
    let own = QueryRecord { pooler: true, ..request(8, 3, "SET application_name = 'x'", 2_100_000, 100) };
    let records: Vec<_> = [
        forwarded((1, 1), (8, 1), "SELECT 1", 1_000_000, 400),
        forwarded((2, 1), (9, 1), "SELECT 2", 1_000_050, 1_600),
        forwarded((1, 2), (8, 2), "SELECT a FROM t WHERE i = 3", 1_500_000, 30),
    ]
    .into_iter()
    .flatten()
    .chain([refused, own])
    .collect();
    let mut one = Statistics::new(LIMITS, Arc::default());
    records.iter().for_each(|record| one.record(&Record::Query(record.clone())));
    // Received by two threads.
    let bursts = Arc::default();
    let (mut first, mut second) = (Statistics::new(LIMITS, Arc::clone(&bursts)), Statistics::new(LIMITS, bursts));
    for (index, record) in records.iter().enumerate() {
        if index % 3 == 0 { &mut first } else { &mut second }.record(&Record::Query(record.clone()));
    }
    first.merge(second);
    let summaries = [summary(&mut one), summary(&mut first)];
    let [json, merged] = summaries.each_ref().map(|summary| serde_json::to_value(summary).unwrap());
    assert_eq!(json, merged);

    let [summary, _] = summaries;
    assert_eq!((summary.totals.requests, summary.totals.times.exec_us), (5, 400));
    let of_clients = summary.slowest.iter().filter(|example| example.conn != 8);
    assert!(of_clients.clone().all(|example| example.client == "10.0.0.7:5000" && example.conn < 8));
    assert_eq!(of_clients.count(), 3);
    let databases: Vec<_> = summary.databases.iter().map(|group| (group.name.as_deref(), group.requests)).collect();
    assert_eq!(databases, [(Some("pool"), 3), (Some("shop"), 2)]);
    let applications: Vec<_> =
        summary.applications.iter().map(|group| (group.name.as_deref(), group.requests)).collect();
    assert_eq!(applications, [(Some("billing"), 4), (None, 1)]);
    let [pool] = &*summary.pools else { panic!("{:?}", summary.pools) };
    assert_eq!(
        (&*pool.server, pool.database.as_deref(), pool.user.as_deref()),
        ("10.0.0.1:6432", Some("shop"), Some("app"))
    );
    assert_eq!((pool.requests, pool.client_connections, pool.server_connections), (3, 3, 2));
    assert_eq!((pool.answered_by_pooler, pool.refused_by_pooler, pool.unjoined_requests), (1, 1, 0));
    assert_eq!((pool.waits.wait_us, pool.waits.wait_mean_us, pool.waits.wait_max_us), (5_030, 1_257, 3_000));
    assert_eq!((pool.busy_us, pool.idle_in_transaction_us), (300, 5_000));
    let idle: Vec<_> =
        pool.idle_in_transaction.iter().map(|idle| (idle.conn, idle.query, idle.server_conn, idle.idle_us)).collect();
    assert_eq!(idle, [(1, 2, 8, 5_000)]);
    let statements: Vec<_> =
        pool.statements.iter().map(|it| (it.normalized.as_deref(), it.calls, it.waits.wait_us)).collect();
    assert_eq!(statements, [(Some("SELECT $1"), 3, 5_000), (Some("SELECT a FROM t WHERE i = $1"), 1, 30)]);
    // Each time is where it was, however wide the buckets are.
    let buckets = &pool.over_time.buckets;
    let sum = |of: fn(&PoolBucket) -> u64| buckets.iter().map(of).sum::<u64>();
    assert_eq!(sum(|bucket| bucket.wait_us), 5_030);
    assert_eq!(sum(|bucket| bucket.busy_us), 300);
    assert_eq!(sum(|bucket| bucket.idle_in_transaction_us), 5_000);
    assert_eq!(sum(|bucket| bucket.requests), 3);
    let waited: Vec<_> = buckets.iter().filter(|bucket| bucket.wait_us > 0).map(|bucket| bucket.started).collect();
    assert_eq!(waited.first().zip(waited.last()), Some((&at(1_000_000), &at(2_000_000))));
}
