//! Summaries in which every field has something.

use serde_json::value::RawValue;

use crate::record::summary::*;
use crate::record::{Counters, KernelStats, Outcome, Purpose, Reason, Summary, TransactionOutcome};
use crate::replication::Lsn;
use crate::time::{Precision, Timestamp};

/// Where the values of fields come from, in turn.
pub(super) struct Source {
    pub(super) texts: Vec<String>,
    pub(super) numbers: Vec<u64>,
    pub(super) floats: Vec<f64>,
    /// How many items a section has.
    pub(super) items: usize,
    at: usize,
}

impl Source {
    pub(super) fn new(texts: Vec<String>, numbers: Vec<u64>, floats: Vec<f64>, items: usize) -> Self {
        Self { texts, numbers, floats, items, at: 0 }
    }

    fn next(&mut self) -> usize {
        self.at += 1;
        self.at
    }

    fn text(&mut self) -> String {
        let at = self.next() % self.texts.len();
        self.texts[at].clone()
    }

    fn some(&mut self) -> Option<String> {
        // Not in step with the texts, so that each field is now and then absent.
        (!self.next().is_multiple_of(7)).then(|| self.text())
    }

    fn number(&mut self) -> u64 {
        let at = self.next() % self.numbers.len();
        self.numbers[at]
    }

    fn float(&mut self) -> f64 {
        let at = self.next() % self.floats.len();
        self.floats[at]
    }

    fn ts(&mut self) -> Timestamp {
        Timestamp::from_nanos(self.number() as i64, Precision::Micros)
    }

    fn many<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.items).map(|_| item(self)).collect()
    }

    fn times(&mut self) -> Times {
        Times {
            timed: self.number(),
            exec_us: self.number(),
            mean_us: self.number(),
            p50_us: self.number(),
            p95_us: self.number(),
            p99_us: self.number(),
            max_us: self.number(),
        }
    }

    fn totals(&mut self) -> Totals {
        Totals {
            requests: self.number(),
            errors: self.number(),
            unfinished: self.number(),
            skipped: self.number(),
            times: self.times(),
            rows: self.number(),
            bytes_in: self.number(),
            bytes_out: self.number(),
            distinct_statements: self.number(),
            sessions: self.number(),
            connects: self.number(),
            most_connects_per_second: self.number(),
            logins_failed: self.number(),
            idle_in_transaction_us: self.number(),
        }
    }

    fn bins(&mut self) -> Vec<Bin> {
        self.many(|s| Bin { us: s.number(), count: s.number() })
    }

    fn shares(&mut self) -> Vec<Share> {
        self.many(|s| Share { name: s.some(), calls: s.number() })
    }

    fn example(&mut self) -> Example {
        let text = self.text();
        let params = [serde_json::to_string(&text).unwrap(), "null".to_owned(), format!("[{}]", self.number())];
        Example {
            ts: self.ts(),
            started: self.ts(),
            conn: self.number(),
            query: Some(self.number()),
            packet: self.number(),
            client: self.text(),
            server: self.text(),
            user: self.some(),
            database: self.some(),
            application: self.some(),
            fingerprint: self.some(),
            sql: self.some(),
            params: Some(Params(params.map(|json| RawValue::from_string(json).unwrap()).to_vec())),
            truncated: true,
            outcome: Some([Outcome::Ok, Outcome::Error, Outcome::Canceled, Outcome::Aborted][self.at % 4]),
            severity: self.some(),
            code: self.some(),
            condition: self.some(),
            message: self.some(),
            detail: self.some(),
            canceled_by: Some(self.number()),
            canceled_from: self.some(),
            rows: Some(self.number()),
            bytes_in: self.number(),
            bytes_out: self.number(),
            total_us: Some(self.number()),
            exec_us: Some(self.number()),
            age_us: Some(self.number()),
        }
    }

    fn group(&mut self) -> Group {
        Group {
            name: self.some(),
            sessions: self.number(),
            connects: self.number(),
            connects_per_second: self.float(),
            logins_failed: self.number(),
            login_mean_us: self.number(),
            login_p95_us: self.number(),
            login_max_us: self.number(),
            requests: self.number(),
            errors: self.number(),
            exec_us: self.number(),
            rows: self.number(),
            bytes_in: self.number(),
            bytes_out: self.number(),
            idle_in_transaction_us: self.number(),
        }
    }

    fn calls(&mut self) -> Option<Calls> {
        (!self.next().is_multiple_of(3)).then(|| Calls {
            calls: self.number(),
            calls_per_second: self.float(),
            errors: self.number(),
            times: self.times(),
        })
    }

    fn difference(&mut self) -> Difference {
        Difference {
            fingerprint: self.some(),
            normalized: self.some(),
            before: self.calls(),
            after: self.calls(),
            change_us_per_second: self.float(),
            slower_probability: Some(self.float()),
            confidence: [Confidence::Unsure, Confidence::Likely, Confidence::Certain][self.at % 3],
        }
    }

    fn statement(&mut self) -> StatementSummary {
        StatementSummary {
            fingerprint: self.some(),
            normalized: self.some(),
            calls: self.number(),
            errors: self.number(),
            times: self.times(),
            share: self.float(),
            rows: self.number(),
            bytes_in: self.number(),
            bytes_out: self.number(),
            histogram: self.bins(),
            users: self.shares(),
            databases: self.shares(),
            applications: self.shares(),
            clients: self.shares(),
            error_codes: self.many(|s| CodeCount { code: s.text(), condition: s.some(), count: s.number() }),
            example: Some(Box::new(self.example())),
        }
    }

    fn comparison(&mut self) -> Comparison {
        Comparison {
            started: Some(self.ts()),
            duration_us: self.number(),
            totals: self.totals(),
            explained: self.many(Self::difference),
            appeared: self.many(Self::difference),
            vanished: self.many(Self::difference),
            slower: self.many(Self::difference),
            faster: self.many(Self::difference),
            more_frequent: self.many(Self::difference),
            less_frequent: self.many(Self::difference),
            began_to_fail: self.many(Self::difference),
        }
    }

    fn capture(&mut self) -> Capture {
        Capture {
            started: Some(self.ts()),
            duration_us: self.number(),
            under_way: false,
            interrupted: true,
            selection: self.many(Self::text),
            counters: Counters {
                packets: self.number(),
                packet_bytes: self.number(),
                connections: self.number(),
                messages: self.number(),
                undecoded_messages: self.number(),
                losses: self.number(),
                missing_bytes: self.number(),
                lost_fragments: self.number(),
                ..Counters::default()
            },
            kernel: Some(KernelStats {
                received: self.number(),
                dropped: self.number(),
                interface_dropped: self.number(),
            }),
            loss_reasons: self.many(|s| LossReason {
                reason: Reason::Missing,
                count: s.number(),
                missing_bytes: s.number(),
                skipped_bytes: s.number(),
            }),
            midstream_sessions: self.number(),
            undecrypted_sessions: self.number(),
            uncertain_requests: self.number(),
            forgotten_statements: self.number(),
            forgotten_exec_us: self.number(),
        }
    }

    fn error(&mut self) -> ErrorSummary {
        ErrorSummary {
            code: self.text(),
            condition: self.some(),
            count: self.number(),
            sessions: self.number(),
            statements: self.many(|s| ErrorStatement {
                fingerprint: s.some(),
                normalized: s.some(),
                count: s.number(),
            }),
            example: Box::new(self.example()),
        }
    }

    fn waits(&mut self) -> Waits {
        Waits {
            wait_us: self.number(),
            wait_mean_us: self.number(),
            wait_p50_us: self.number(),
            wait_p95_us: self.number(),
            wait_max_us: self.number(),
        }
    }

    fn pool(&mut self) -> Pool {
        Pool {
            server: self.text(),
            database: self.some(),
            user: self.some(),
            requests: self.number(),
            unjoined_requests: self.number(),
            answered_by_pooler: self.number(),
            refused_by_pooler: self.number(),
            client_connections: self.number(),
            server_connections: self.number(),
            waits: self.waits(),
            busy_us: self.number(),
            idle_in_transaction_us: self.number(),
            idle_in_transaction: self.many(|s| IdleInTransaction {
                ts: s.ts(),
                conn: s.number(),
                query: s.number(),
                client: s.text(),
                application: s.some(),
                server_conn: s.number(),
                idle_us: s.number(),
            }),
            statements: self.many(|s| StatementWaits {
                fingerprint: s.some(),
                normalized: s.some(),
                calls: s.number(),
                waits: s.waits(),
            }),
            unlisted_statements: self.number(),
            over_time: PoolTraffic {
                bucket_us: self.number(),
                buckets: self.many(|s| PoolBucket {
                    started: s.ts(),
                    requests: s.number(),
                    wait_us: s.number(),
                    busy_us: s.number(),
                    idle_in_transaction_us: s.number(),
                }),
            },
        }
    }

    fn stream(&mut self) -> ReplicationStream {
        let mut lsn = || Some(Lsn(self.number()));
        let (end_lsn, write_lsn, flush_lsn, apply_lsn) = (lsn(), lsn(), lsn(), lsn());
        ReplicationStream {
            slot: self.some(),
            purpose: Some(Purpose::Logical),
            plugin: self.some(),
            user: self.some(),
            database: self.some(),
            application: self.some(),
            client_ip: self.text(),
            server: self.text(),
            conn: self.number(),
            streams: self.number(),
            started: self.ts(),
            ts: self.ts(),
            ended: true,
            active_us: self.number(),
            bytes: self.number(),
            bytes_per_second: self.float(),
            end_lsn,
            write_lsn,
            flush_lsn,
            apply_lsn,
            confirmations: self.number(),
            lag_bytes: Some(self.number()),
            lag_p95_bytes: Some(self.number()),
            lag_max_bytes: Some(self.number()),
            lag_us: Some(self.number()),
            lag_is_least: true,
            lag_p95_us: Some(self.number()),
            lag_max_us: Some(self.number()),
            changes: self.number(),
            logical_messages: self.number(),
            commits: self.number(),
            prepares: self.number(),
            aborts: self.number(),
            subtransaction_aborts: self.number(),
            rollbacks: self.number(),
            streamed_transactions: self.number(),
            repeated_transactions: self.number(),
            repeated_changes: self.number(),
            commit_lag_p95_us: Some(self.number()),
            commit_lag_max_us: Some(self.number()),
            tables: self.many(|s| TableChanges {
                schema: s.some(),
                table: s.some(),
                relation_oid: s.number() as u32,
                inserts: s.number(),
                updates: s.number(),
                deletes: s.number(),
                truncates: s.number(),
            }),
            other_changes: self.number(),
            over_time: ReplicationTraffic {
                bucket_us: self.number(),
                buckets: self.many(|s| ReplicationBucket {
                    started: s.ts(),
                    bytes: s.number(),
                    changes: s.number(),
                    lag_bytes: Some(s.number()),
                    lag_us: Some(s.number()),
                }),
            },
        }
    }

    pub(super) fn summary(&mut self) -> Summary {
        Summary {
            ts: Some(self.ts()),
            capture: self.capture(),
            totals: self.totals(),
            interval: Some(Interval { started: self.ts(), duration_us: self.number(), totals: self.totals() }),
            statements: self.many(Self::statement),
            other_statements: Some(OtherStatements {
                distinct_statements: self.number(),
                calls: self.number(),
                exec_us: self.number(),
                ..OtherStatements::default()
            }),
            slowest: self.many(Self::example),
            largest: self.many(Self::example),
            running: self.many(Self::example),
            errors: self.many(Self::error),
            failed_logins: self.many(|s| FailedLogin {
                user: s.some(),
                database: s.some(),
                application: s.some(),
                client_ip: s.text(),
                code: s.some(),
                condition: s.some(),
                message: s.some(),
                count: s.number(),
                started: s.ts(),
                ts: s.ts(),
            }),
            cancels: self.many(Self::example),
            locks: self.many(Self::example),
            users: self.many(Self::group),
            databases: self.many(Self::group),
            applications: self.many(Self::group),
            clients: self.many(Self::group),
            prepared: self.many(|s| PreparedUse {
                application: s.some(),
                user: s.some(),
                simple: s.number(),
                extended: s.number(),
                parsed: s.number(),
                named: s.number(),
                share: s.float(),
            }),
            time: TimeSplit {
                timed: self.number(),
                server_us: self.number(),
                transfer_us: self.number(),
                client_stall_us: self.number(),
                network_us: self.number(),
                idle_in_transaction_us: self.number(),
            },
            protection: self.many(|s| Protection {
                encryption: s.some(),
                auth_method: s.some(),
                weaknesses: vec![Weakness::Md5, Weakness::NoChannelBinding],
                sessions: s.number(),
            }),
            audit: self.many(|s| AuditEntry {
                kind: AuditKind::CopyProgram,
                fingerprint: s.text(),
                normalized: s.text(),
                calls: s.number(),
                errors: s.number(),
                callers: s.many(|s| Caller {
                    user: s.some(),
                    database: s.some(),
                    application: s.some(),
                    client_ip: s.some(),
                    calls: s.number(),
                }),
            }),
            n_plus_one: self.many(|s| Candidate {
                fingerprint: s.text(),
                normalized: s.text(),
                bursts: s.number(),
                calls: s.number(),
                max_calls: s.number(),
                exec_us: s.number(),
                conn: s.number(),
                started: s.ts(),
                in_transaction: true,
                user: s.some(),
                application: s.some(),
            }),
            unlimited_selects: self.many(|s| UnlimitedSelect {
                fingerprint: s.text(),
                normalized: s.text(),
                calls: s.number(),
                rows: s.number(),
                max_rows: s.number(),
                bytes_out: s.number(),
            }),
            traffic: Traffic {
                bucket_us: self.number(),
                buckets: self.many(|s| Bucket {
                    started: s.ts(),
                    requests: s.number(),
                    errors: s.number(),
                    connects: s.number(),
                    bytes_in: s.number(),
                    bytes_out: s.number(),
                    times: s.times(),
                    histogram: Vec::new(),
                }),
            },
            replication_streams: self.many(Self::stream),
            other_replication_streams: self.number(),
            other_replicated_changes: self.number(),
            largest_transactions: self.many(|s| LargeTransaction {
                ts: s.ts(),
                conn: s.number(),
                packet: s.number(),
                slot: s.some(),
                application: s.some(),
                client: s.text(),
                xid: Some(s.number() as u32),
                gid: s.some(),
                outcome: Some(TransactionOutcome::Aborted),
                changes: s.number(),
                streamed: true,
                commit_ts: Some(s.ts()),
                lag_us: Some(s.number()),
            }),
            base_backups: self.many(|s| BaseBackup {
                user: s.some(),
                application: s.some(),
                client_ip: s.text(),
                server: s.text(),
                conn: s.number(),
                started: s.ts(),
                ts: s.ts(),
                outcome: Some([Outcome::Ok, Outcome::Error, Outcome::Canceled, Outcome::Aborted][s.at % 4]),
                code: s.some(),
                message: s.some(),
                incremental: Some(true),
                start_lsn: Some(Lsn(s.number())),
                end_lsn: Some(Lsn(s.number())),
                active_us: s.number(),
                bytes: s.number(),
                bytes_per_second: s.float(),
                total_bytes: Some(s.number()),
                bytes_done: Some(s.number()),
                archives: s.many(|s| BackupArchive { archive: s.some(), tablespace: s.some(), bytes: s.number() }),
                other_archives: s.number(),
                manifest_bytes: Some(s.number()),
            }),
            other_base_backups: self.number(),
            pools: self.many(Self::pool),
            baseline: Some(Box::new(self.comparison())),
        }
    }
}
