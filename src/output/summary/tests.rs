mod filled;

use proptest::prelude::*;
use serde_json::value::RawValue;
use unicode_width::UnicodeWidthStr;

use self::filled::Source;
use super::*;
use crate::output::text::sanitize::is_escaped;
use crate::record::Outcome;
use crate::record::summary::*;
use crate::time::{Precision, Timestamp};

fn written(summary: &Summary, style: SummaryStyle) -> String {
    let mut out = Vec::new();
    write(&mut out, summary, &style).unwrap();
    String::from_utf8(out).unwrap()
}

fn at(summary: &Summary, width: usize) -> String {
    written(summary, SummaryStyle { width, ..SummaryStyle::default() })
}

/// The section with this title, without its heading.
#[track_caller]
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("── {title} ")).unwrap_or_else(|| panic!("no {title} in {text}"));
    rest.split("\n── ").next().unwrap().split_once('\n').unwrap().1.trim_end_matches('\n')
}

fn statement(sql: &str, calls: u64, exec_us: u64) -> StatementSummary {
    StatementSummary {
        fingerprint: Some(format!("{calls:016x}")),
        normalized: Some(sql.to_owned()),
        calls,
        times: Times {
            timed: calls,
            exec_us,
            mean_us: exec_us / calls,
            p50_us: 1_110,
            p95_us: 2_220,
            p99_us: 3_330,
            max_us: 4_440,
        },
        share: 33.3,
        ..StatementSummary::default()
    }
}

#[test]
fn an_empty_summary_says_that_there_is_nothing() {
    assert_eq!(
        at(&Summary::default(), 60),
        "pgdissect summary
  Capture              0 packets (0 B), 0 connections,
                       0 messages
  Requests             0 (0/s), 0 distinct statements
  Sessions             0

── Running at the end of the capture ───────────────────────
  None.

── Errors by SQLSTATE ──────────────────────────────────────
  None.

── Failed logins ───────────────────────────────────────────
  None.
"
    );
}

#[test]
fn a_table_has_the_columns_for_which_there_is_room() {
    let summary = Summary {
        statements: vec![
            StatementSummary { rows: 12_345, bytes_out: 5 << 20, ..statement("SELECT  slow\n FROM t", 2, 7_000_000) },
            StatementSummary { errors: 3, rows: 7, ..statement("SELECT often", 70_000, 50_000) },
        ],
        ..Summary::default()
    };
    assert_eq!(
        section(&at(&summary, 200), "Statements by total time"),
        "      share   total  calls  errors   mean     p50     p95     p99     max   rows       out  statement
  #1  33.3%   7.00s      2          3.50s  1.11ms  2.22ms  3.33ms  4.44ms  12.3k  5.00 MiB  SELECT slow FROM t
  #2  33.3%  50.0ms  70.0k       3    0µs  1.11ms  2.22ms  3.33ms  4.44ms      7            SELECT often"
    );
    assert_eq!(
        section(&at(&summary, 60), "Statements by calls"),
        "      share   total  calls     p95  statement
  #2  33.3%  50.0ms  70.0k  2.22ms  SELECT often
  #1  33.3%   7.00s      2  2.22ms  SELECT slow FROM t"
    );
    // Where there is no room beside the figures, SQL is below them.
    let narrow = "\n       total\n  #1   7.00s\n     SELECT slow\n     FROM t\n  #2  50.0ms\n     SELECT often\n";
    assert!(at(&summary, 20).contains(narrow), "{}", at(&summary, 20));
    let top = written(&summary, SummaryStyle { top: 1, ..SummaryStyle::default() });
    assert_eq!(section(&top, "Statements by calls").lines().count(), 2);
}

#[test]
fn wide_characters_keep_columns_in_line() {
    let group = |name: &str| Group { name: Some(name.to_owned()), requests: 5, sessions: 1, ..Group::default() };
    let summary = Summary { users: vec![group("受注管理"), group("app")], ..Summary::default() };
    let text = at(&summary, 80);
    let ends: Vec<_> = section(&text, "Users").lines().take(3).map(UnicodeWidthStr::width).collect();
    assert_eq!(ends, [ends[0]; 3], "{text}");
}

#[test]
fn a_request_has_its_parameters_and_its_error_on_lines_of_its_own() {
    let params = ["42", "null", "\"it's\"", "\"\\u001b[2J\"", "[1,2]"];
    let example = Example {
        conn: 7,
        query: Some(3),
        client: "10.0.0.5:51324".to_owned(),
        user: Some("app".to_owned()),
        database: Some("shop".to_owned()),
        sql: Some("UPDATE t\n   SET a = $1".to_owned()),
        params: Some(Params(params.map(|json| RawValue::from_string(json.to_owned()).unwrap()).to_vec())),
        outcome: Some(Outcome::Error),
        severity: Some("ERROR".to_owned()),
        code: Some("40P01".to_owned()),
        message: Some("deadlock detected".to_owned()),
        detail: Some("Process 1 waits.\nProcess 2 waits.".to_owned()),
        exec_us: Some(1_002_000),
        total_us: Some(2_000_000),
        ..Example::default()
    };
    let summary = Summary { locks: vec![example], ..Summary::default() };
    assert_eq!(
        section(&at(&summary, 100), "Deadlocks and locks that were not available"),
        "  victim of a deadlock, after 1.00s  (its client waited 2.00s)  app@shop  10.0.0.5:51324  conn 7 q3
  packet 0  1970-01-01 00:00:00.000
      UPDATE t SET a = $1
      $1=42 $2=NULL $3='it''s' $4=E'\\u001b[2J' $5=[1,2]
      ERROR 40P01 deadlock detected
      DETAIL Process 1 waits. Process 2 waits."
    );
}

#[test]
fn what_dominates_the_time_is_named() {
    let time = TimeSplit { timed: 9, server_us: 1_000, network_us: 3_000, ..TimeSplit::default() };
    let text = at(&Summary { time, ..Summary::default() }, 80);
    assert!(text.contains("Where time went      mostly network (75.0%), known of 9 requests\n"), "{text}");
    assert!(text.contains("network               75.0%   3.00ms ██████████"), "{text}");
    assert!(!text.contains("client stall"), "{text}");
}

#[test]
fn a_live_summary_has_a_line_of_the_last_seconds() {
    let at_second = |second| Timestamp::new(second, 0, Precision::Micros);
    let totals = Totals { requests: 50, errors: 2, connects: 1, bytes_out: 2_048, ..Totals::default() };
    let interval =
        |started| Some(Interval { started: at_second(started), duration_us: 10_000_000, totals: totals.clone() });
    let capture = Capture { started: Some(at_second(5)), ..Capture::default() };
    let later = Summary { capture: capture.clone(), interval: interval(20), ..Summary::default() };
    let line = "\n  last 10.0s:  50 requests (5/s)  2 errors  2.00 KiB out  1 new session\n";
    assert!(at(&later, 100).contains(line), "{}", at(&later, 100));
    let first = Summary { capture, interval: interval(5), ..Summary::default() };
    assert!(!at(&first, 100).contains("last 10.0s"), "all is in the totals");
}

#[test]
fn a_comparison_stands_at_the_top() {
    let calls = |calls, p95_us| Calls {
        calls,
        calls_per_second: calls as f64 / 10.0,
        times: Times { timed: calls, p95_us, ..Times::default() },
        ..Calls::default()
    };
    let slower = Difference {
        normalized: Some("SELECT slow".to_owned()),
        before: Some(calls(100, 1_000)),
        after: Some(calls(120, 250_000)),
        change_us_per_second: 34_500.0,
        slower_probability: Some(0.99),
        confidence: Confidence::Certain,
        ..Difference::default()
    };
    let vanished = Difference {
        normalized: Some("SELECT gone".to_owned()),
        before: Some(calls(100, 1_000)),
        change_us_per_second: -500.0,
        ..Difference::default()
    };
    let comparison = Comparison {
        explained: vec![slower],
        vanished: vec![vanished],
        duration_us: 10_000_000,
        ..Comparison::default()
    };
    let text = at(&Summary { baseline: Some(Box::new(comparison)), ..Summary::default() }, 100);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = section(&text, "Compared with the baseline").lines().map(words).collect();
    for wanted in [
        "What explains most of the change",
        "+34.5ms/s 1.00ms → 250ms 10 → 12 certain 0µs → 0µs 100 → 120 0µs → 0µs SELECT slow",
        "Vanished",
        "-500µs/s 1.00ms → – 10 → – 0µs → – 100 → – 0µs → – 0µs → – SELECT gone",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} in {lines:#?}");
    }
    assert!(text.find("Compared").unwrap() < text.find("  Capture").unwrap());
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

#[test]
fn replication_has_its_streams_changes_transactions_and_backups() {
    use crate::record::{Purpose, TransactionOutcome};
    use crate::replication::Lsn;
    let stream = ReplicationStream {
        slot: Some("sub_orders".into()),
        purpose: Some(Purpose::Logical),
        plugin: Some("pgoutput".into()),
        user: Some("repl".into()),
        application: Some("orders".into()),
        client_ip: "10.0.0.7".into(),
        streams: 2,
        bytes: 5 << 20,
        bytes_per_second: 1_048_576.0,
        end_lsn: Some(Lsn(0x16_b374_d848)),
        flush_lsn: Some(Lsn(0x16_b374_d000)),
        confirmations: 3,
        lag_bytes: Some(2_120),
        lag_p95_bytes: Some(4_096),
        lag_max_bytes: Some(8_192),
        lag_us: Some(1_500),
        lag_p95_us: Some(3_000),
        lag_max_us: Some(42_000_000),
        changes: 107,
        logical_messages: 2,
        commits: 9,
        rollbacks: 1,
        streamed_transactions: 3,
        tables: vec![TableChanges {
            schema: Some("public".into()),
            table: Some("orders".into()),
            inserts: 90,
            updates: 10,
            deletes: 2,
            ..TableChanges::default()
        }],
        other_changes: 3,
        ..ReplicationStream::default()
    };
    let archive = |archive: &str, tablespace: &str, bytes| BackupArchive {
        archive: Some(archive.into()),
        tablespace: Some(tablespace.into()),
        bytes,
    };
    let standby = ReplicationStream {
        purpose: Some(Purpose::Physical),
        application: Some("standby".into()),
        bytes: 1 << 30,
        ..ReplicationStream::default()
    };
    let summary = Summary {
        replication_streams: vec![standby, stream],
        largest_transactions: vec![LargeTransaction {
            slot: Some("sub_orders".into()),
            xid: Some(815),
            outcome: Some(TransactionOutcome::RolledBack),
            changes: 77,
            streamed: true,
            lag_us: Some(2_000),
            ..LargeTransaction::default()
        }],
        base_backups: vec![BaseBackup {
            application: Some("pg_basebackup".into()),
            outcome: Some(Outcome::Aborted),
            incremental: Some(true),
            start_lsn: Some(Lsn(0x2_0000_0028)),
            archives: vec![archive("base.tar", "", 2 << 30), archive("16384.tar", "/srv/fast", 1 << 30)],
            manifest_bytes: Some(250_000),
            bytes: 3 << 30,
            bytes_per_second: 104_857_600.0,
            active_us: 30_720_000,
            ..BaseBackup::default()
        }],
        other_base_backups: 2,
        ..Summary::default()
    };
    for width in [80, 120] {
        let text = at(&summary, width);
        let has = |title: &str, wanted: &[&str]| {
            let section = section(&text, title);
            for wanted in wanted {
                assert!(section.contains(wanted), "{wanted:?} in {section}");
            }
        };
        has("Replication", &["sub_orders", "pgoutput", "5.00 MiB", "1.50ms", "42.0s", "(no slot)", "physical"]);
        has(
            "Replication",
            &["end 16/B374D848  flush 16/B374D000", "9 commits, 1 rolled back, 3 streamed", "began 2 times"],
        );
        has("Replicated changes", &["orders", "102", "And 3 changes of other tables, 2 logical messages."]);
        has("Largest replicated transactions", &["77", "rolled back", "in progress", "815", "2.00ms"]);
        has("Base backups", &["pg_basebackup", "interrupted", "3.00 GiB", "30.7s", "from 2/28", "And 2 more."]);
        has("Base backups", &["base.tar 2.00 GiB, 16384.tar (/srv/fast) 1.00 GiB, manifest 244 KiB"]);
    }
}

#[test]
fn a_pooler_has_its_waits_by_pool_and_statement_and_who_kept_a_connection() {
    let waits = Waits {
        wait_us: 9_400_000,
        wait_mean_us: 4_700,
        wait_p50_us: 1_200,
        wait_p95_us: 2_100_000,
        wait_max_us: 4_200_000,
    };
    let bucket = |wait_us| PoolBucket { wait_us, busy_us: 2_000_000, ..PoolBucket::default() };
    let pool = Pool {
        server: "10.0.0.4:6432".into(),
        database: Some("shop".into()),
        user: Some("app".into()),
        requests: 2_000,
        unjoined_requests: 13,
        refused_by_pooler: 5,
        client_connections: 48,
        server_connections: 3,
        waits,
        busy_us: 88_000_000,
        idle_in_transaction_us: 31_000_000,
        idle_in_transaction: vec![IdleInTransaction {
            conn: 17,
            query: 4,
            client: "10.0.0.7:41000".into(),
            application: Some("billing".into()),
            server_conn: 3,
            idle_us: 30_000_000,
            ..IdleInTransaction::default()
        }],
        statements: vec![StatementWaits {
            normalized: Some("SELECT a FROM t WHERE i = $1".into()),
            calls: 1_500,
            waits,
            ..StatementWaits::default()
        }],
        over_time: PoolTraffic {
            bucket_us: 1_000_000,
            buckets: vec![bucket(0), bucket(12_000_000), bucket(3_000_000)],
        },
        ..Pool::default()
    };
    let summary = Summary { pools: vec![pool], ..Summary::default() };
    for width in [80, 160] {
        let text = at(&summary, width);
        let has = |title: &str, wanted: &[&str]| {
            let section = section(&text, title);
            for wanted in wanted {
                assert!(section.contains(wanted), "{wanted:?} in {section}");
            }
        };
        has("Poolers", &["app@shop", "2,000", "2.10s", "4.20s", "waiting  █▂ 12.0", "taken ███ 2.0"]);
        has("Statements by wait for a pooler's connection", &["9.40s", "2.10s", "SELECT a FROM t WHERE i = $1"]);
        has("Who kept a pooler's connection idle in a transaction", &["30.0s", "billing", "10.0.0.7:41000"]);
    }
    let wide = at(&summary, 160);
    let wide = section(&wide, "Poolers");
    assert!(["10.0.0.4:6432", "48", "31.0s", "refused", "13"].iter().all(|it| wide.contains(it)), "{wide}");
}

#[test]
fn streams_of_the_same_name_are_told_apart_by_what_they_differ_in() {
    let stream = |slot: Option<&str>, application: &str, client_ip: &str, server: &str| ReplicationStream {
        slot: slot.map(str::to_owned),
        purpose: Some(crate::record::Purpose::Logical),
        application: Some(application.to_owned()),
        client_ip: client_ip.to_owned(),
        server: server.to_owned(),
        ..ReplicationStream::default()
    };
    let all = [
        stream(Some("sub"), "a", "10.0.0.1", "10.0.0.9:5432"),
        stream(Some("sub"), "b", "10.0.0.1", "10.0.0.9:5432"),
        stream(Some("sub"), "b", "10.0.0.1", "10.0.0.8:5432"),
        stream(Some("other"), "a", "10.0.0.1", "10.0.0.9:5432"),
        stream(None, "a", "10.0.0.1", "10.0.0.9:5432"),
        stream(None, "a", "10.0.0.2", "10.0.0.9:5432"),
    ];
    let names = all.each_ref().map(|stream| super::replication::stream_name(stream, &all));
    let wanted =
        ["sub a", "sub b 10.0.0.9:5432", "sub b 10.0.0.8:5432", "other", "(unknown) 10.0.0.1", "(unknown) 10.0.0.2"];
    assert_eq!(names, wanted);
}
