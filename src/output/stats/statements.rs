//! The statements, by fingerprint: found by their text, and counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::callers::{CallerId, CallsBy, Moved};
use super::example;
use super::histogram::Timing;
use super::{add_each, cut, owned};
use crate::output::cache::Cache;
use crate::pg::error::code;
use crate::pg::text::{Sql, Text};
use crate::record::QueryRecord;
use crate::record::summary::{Example, OtherStatements};
use crate::sql::audit::AuditKind;
use crate::sql::normalize::Fingerprint;
use crate::sql::secret;
use crate::sql::template::template;

/// How many bytes of a normal form are kept.
const MAX_NORMALIZED: usize = 16 * 1024;

/// How many requests may come between two looks at the memory of all statements, which grows with their callers as well.
const REQUESTS_PER_LOOK: usize = 1 << 16;

/// How many statements that are first by something else than their time are kept when others are forgotten.
const KEPT_FOR_OTHER_REASONS: usize = 1_000;

/// An SQLSTATE.
pub(super) type Code = [u8; 5];

/// The statement of a request, by its index. Valid until a statement is forgotten.
pub(super) type StatementId = u32;

/// A statement and its calls.
#[derive(Debug)]
pub(super) struct Statement {
    /// `None` for requests without SQL.
    pub(super) fingerprint: Option<u64>,
    pub(super) normalized: Option<Arc<str>>,
    pub(super) audit: Option<AuditKind>,
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) timing: Timing,
    pub(super) rows: u64,
    pub(super) max_rows: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) callers: CallsBy,
    pub(super) codes: BTreeMap<Code, u64>,
    /// The slowest call.
    pub(super) example: Option<Box<Example>>,
}

impl Statement {
    fn new(fingerprint: Option<u64>, normalized: Option<Arc<str>>) -> Self {
        Self {
            fingerprint,
            audit: normalized.as_ref().and_then(|sql| AuditKind::of(sql.as_bytes())),
            normalized,
            calls: 0,
            errors: 0,
            timing: Timing::default(),
            rows: 0,
            max_rows: 0,
            bytes_in: 0,
            bytes_out: 0,
            callers: CallsBy::default(),
            codes: BTreeMap::new(),
            example: None,
        }
    }

    /// Of normal forms with the same fingerprint, the shortest is kept, so that it does not matter which came first.
    fn prefer(&mut self, normalized: Arc<str>) {
        let order = |sql: &Arc<str>| (sql.len(), Arc::clone(sql));
        if self.normalized.as_ref().is_some_and(|known| order(&normalized) < order(known)) {
            self.audit = AuditKind::of(normalized.as_bytes());
            self.normalized = Some(normalized);
        }
    }

    /// The fingerprint as it is written.
    pub(super) fn name(&self) -> Option<String> {
        self.fingerprint.map(|hash| Fingerprint(hash).to_string())
    }

    #[inline]
    pub(super) fn call(&mut self, record: &QueryRecord<'_>, caller: CallerId, has_failed: bool) {
        self.calls += 1;
        self.errors += u64::from(has_failed);
        let rows = record.rows.unwrap_or_default();
        self.rows = self.rows.saturating_add(rows);
        self.max_rows = self.max_rows.max(rows);
        self.bytes_in = self.bytes_in.saturating_add(record.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(record.bytes_out);
        self.callers.add(caller, 1);
        // Of those that are equal, the first, whatever the order in which connections are dissected.
        let is_slowest = self.example.as_ref().is_none_or(|example| {
            record.exec_us > example.exec_us
                || record.exec_us == example.exec_us
                    && (record.header.ts, record.header.conn) < (example.ts, example.conn)
        });
        if let Some(us) = record.exec_us {
            self.timing.add(us);
        }
        if is_slowest {
            self.example = Some(Box::new(example::request(record, self.name().as_deref())));
        }
        if let Some(code) = record.error.as_ref().and_then(|error| error.fields.get(code::CODE)).and_then(sqlstate) {
            *self.codes.entry(code).or_default() += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        if let Some(normalized) = other.normalized {
            self.prefer(normalized);
        }
        self.calls += other.calls;
        self.errors += other.errors;
        self.rows = self.rows.saturating_add(other.rows);
        self.max_rows = self.max_rows.max(other.max_rows);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        other.codes.iter().for_each(|(code, count)| *self.codes.entry(*code).or_default() += count);
        self.timing.merge(&other.timing);
        let key = |example: &Example| (example.exec_us, Reverse((example.ts, example.conn, example.query)));
        self.example = [self.example.take(), other.example].into_iter().flatten().max_by_key(|example| key(example));
    }

    /// Roughly the bytes that it needs in memory.
    fn size(&self) -> usize {
        size_of::<Self>()
            + 64
            + self.normalized.as_ref().map_or(0, |sql| sql.len() + 16)
            + self.timing.allocated()
            + self.callers.allocated()
            + self.codes.len() * 32
            + self.example.as_deref().map_or(0, example::size)
    }
}

/// Returns an SQLSTATE, if it is one.
pub(super) fn sqlstate(code: Text<'_>) -> Option<Code> {
    code.0.try_into().ok()
}

/// What a text is found by, once it came again.
#[derive(Clone, Copy, Debug)]
struct Found {
    statement: StatementId,
    manner: Sql<'static>,
    /// For a template: whether no text of it has a secret.
    has_no_secret: bool,
}

/// What decides beside its bytes how SQL is normalized.
const fn manner(sql: &Sql<'_>) -> Sql<'static> {
    Sql { text: Text(&[], sql.text.1), redaction: sql.redaction }
}

/// All statements, up to a limit of memory.
#[derive(Debug)]
pub(super) struct Statements {
    statements: Vec<Statement>,
    by_fingerprint: HashMap<Option<u64>, StatementId, RandomState>,
    texts: Cache<Found>,
    templates: Cache<Found>,
    template: Vec<u8>,
    normalized: Vec<u8>,
    max_bytes: usize,
    /// The number of statements at which their size is determined, and the number of requests after which it is.
    check_at: usize,
    requests_left: usize,
    /// What was forgotten.
    pub(super) forgotten: OtherStatements,
    /// The longest time of one that was forgotten.
    pub(super) forgotten_exec_us: u64,
}

impl Statements {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            statements: Vec::new(),
            by_fingerprint: HashMap::default(),
            texts: Cache::default(),
            templates: Cache::default(),
            template: Vec::new(),
            normalized: Vec::new(),
            max_bytes,
            check_at: 1_024,
            requests_left: REQUESTS_PER_LOOK,
            forgotten: OtherStatements::default(),
            forgotten_exec_us: 0,
        }
    }

    pub(super) fn get_mut(&mut self, id: StatementId) -> Option<&mut Statement> {
        self.statements.get_mut(id as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.statements.len()
    }

    pub(super) fn get(&self, fingerprint: Option<u64>) -> Option<&Statement> {
        self.statements.get(*self.by_fingerprint.get(&fingerprint)? as usize)
    }

    /// Returns the statement of a request.
    #[inline]
    pub(super) fn find(&mut self, sql: Option<&Sql<'_>>) -> StatementId {
        self.requests_left -= 1;
        if self.requests_left == 0 {
            self.requests_left = REQUESTS_PER_LOOK;
            self.limit();
        }
        match sql {
            Some(sql) => match self.texts.get(sql.text.0) {
                Some(found) if found.manner == manner(sql) => found.statement,
                _ => self.find_by_form(sql),
            },
            None => self.find_or_insert(None, None),
        }
    }

    fn find_by_form(&mut self, sql: &Sql<'_>) -> StatementId {
        let has_template = template(sql.text.0, &mut self.template);
        let found = if has_template { self.templates.get(&self.template).copied() } else { None };
        // What a secret is may depend on what the template leaves out.
        let found =
            found.filter(|found| found.manner == manner(sql) && (found.has_no_secret || !secret::may_have(sql.text.0)));
        let found = found.unwrap_or_else(|| {
            let form = sql.normalize(&mut self.normalized);
            let statement = self.find_or_insert(Some(form.fingerprint.0), Some(sql));
            let has_no_secret = !self.template.contains(&b'\'') && !sql.redaction.hides_values();
            let found = Found { statement, manner: manner(sql), has_no_secret };
            if has_template && !form.shows_numbers && !secret::may_have(sql.text.0) {
                self.templates.offer(&self.template, size_of::<Found>(), || found);
            }
            found
        });
        self.texts.offer(sql.text.0, size_of::<Found>(), || found);
        found.statement
    }

    /// Returns the statement with a fingerprint, whose normal form is that in `self.normalized`.
    fn find_or_insert(&mut self, fingerprint: Option<u64>, sql: Option<&Sql<'_>>) -> StatementId {
        let known = self.by_fingerprint.get(&fingerprint).copied();
        let Some(sql) = sql else { return known.unwrap_or_else(|| self.insert(Statement::new(fingerprint, None))) };
        let mut text = owned(Text(&self.normalized, sql.text.1));
        cut(&mut text, MAX_NORMALIZED);
        let Some(id) = known else { return self.insert(Statement::new(fingerprint, Some(text.into()))) };
        if let Some(statement) = self.get_mut(id) {
            statement.prefer(text.into());
        }
        id
    }

    fn insert(&mut self, statement: Statement) -> StatementId {
        if self.statements.len() >= self.check_at {
            self.limit();
        }
        let id = self.statements.len() as StatementId;
        self.by_fingerprint.insert(statement.fingerprint, id);
        self.statements.push(statement);
        id
    }

    /// Forgets statements if all need more memory than the limit: until they need half of that. Those with the longest times stay,
    /// and some that are first by another order.
    fn limit(&mut self) {
        let sizes = self.sizes();
        let mut size: usize = sizes.iter().sum();
        if size > self.max_bytes {
            size = self.forget(&sizes);
        }
        // Not the size of each is known when it grows: so three quarters of what seems to be left are filled before the next look.
        let mean = size / self.statements.len().max(1) + 1;
        self.check_at = self.statements.len() + self.max_bytes.saturating_sub(size) / mean / 4 * 3 + 1_024;
    }

    /// Returns what each statement needs in memory, in bytes.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.statements.iter().map(Statement::size).collect()
    }

    /// Forgets statements of these sizes, and returns the size of the others.
    fn forget(&mut self, sizes: &[usize]) -> usize {
        let orders: [fn(&Statement) -> u64; 5] = [
            |statement| statement.calls,
            |statement| statement.rows,
            |statement| statement.bytes_in.saturating_add(statement.bytes_out),
            |statement| statement.timing.max,
            |statement| u64::from(statement.audit.is_some()),
        ];
        // By their indices: a statement is large.
        let mut ordered: Vec<StatementId> = (0..self.statements.len() as StatementId).collect();
        let mut stays = vec![false; ordered.len()];
        let place = |id: &StatementId, order: fn(&Statement) -> u64| {
            let statement = self.statements.get(*id as usize);
            (Reverse(statement.map(order)), statement.map(|statement| statement.fingerprint))
        };
        let each = KEPT_FOR_OTHER_REASONS.min(ordered.len() / 20);
        for order in orders {
            ordered.select_nth_unstable_by_key(each, |id| place(id, order));
            for id in ordered.iter().take(each) {
                stays.get_mut(*id as usize).into_iter().for_each(|stays| *stays = true);
            }
        }
        let places = self.statements.iter().zip(0_u32..);
        let mut places: Vec<_> =
            places.map(|(statement, id)| (Reverse(statement.timing.sum), statement.fingerprint, id)).collect();
        places.sort_unstable();
        let (mut size, room) = (0, self.max_bytes / 2);
        for (_, _, id) in places {
            let (Some(stays), Some(own)) = (stays.get_mut(id as usize), sizes.get(id as usize)) else { continue };
            *stays |= size + own <= room;
            size += if *stays { *own } else { 0 };
        }
        let mut stays = stays.into_iter();
        let (forgotten, longest) = (&mut self.forgotten, &mut self.forgotten_exec_us);
        self.statements.retain(|statement| {
            let stays = stays.next().unwrap_or(true);
            if !stays {
                add_other(forgotten, statement);
                *longest = (*longest).max(statement.timing.sum);
            }
            stays
        });
        self.texts = Cache::default();
        self.templates = Cache::default();
        let ids = self.statements.iter().zip(0..).map(|(statement, id)| (statement.fingerprint, id));
        self.by_fingerprint = ids.collect();
        size
    }

    /// Adds all statements of another, whose callers have these identifiers here.
    pub(super) fn merge(&mut self, other: Self, moved: &Moved) {
        self.forgotten_exec_us = self.forgotten_exec_us.max(other.forgotten_exec_us);
        merge_other(&mut self.forgotten, &other.forgotten);
        for mut statement in other.statements {
            let mut callers = CallsBy::default();
            callers.merge(&statement.callers, moved);
            statement.callers = callers;
            match self.by_fingerprint.get(&statement.fingerprint) {
                Some(id) => {
                    if let Some(own) = self.statements.get_mut(*id as usize) {
                        statement.callers.iter().for_each(|(caller, calls)| own.callers.add(caller, calls));
                        own.merge(statement);
                    }
                }
                None => {
                    self.insert(statement);
                }
            }
        }
    }
}

/// Adds a statement that is not listed.
pub(super) fn add_other(others: &mut OtherStatements, statement: &Statement) {
    merge_other(
        others,
        &OtherStatements {
            distinct_statements: 1,
            calls: statement.calls,
            errors: statement.errors,
            timed: statement.timing.count,
            exec_us: statement.timing.sum,
            rows: statement.rows,
            bytes_in: statement.bytes_in,
            bytes_out: statement.bytes_out,
        },
    );
}

pub(super) fn merge_other(others: &mut OtherStatements, more: &OtherStatements) {
    let OtherStatements { distinct_statements, calls, errors, timed, exec_us, rows, bytes_in, bytes_out } = more;
    add_each([
        (&mut others.distinct_statements, distinct_statements),
        (&mut others.calls, calls),
        (&mut others.errors, errors),
        (&mut others.timed, timed),
        (&mut others.exec_us, exec_us),
        (&mut others.rows, rows),
        (&mut others.bytes_in, bytes_in),
        (&mut others.bytes_out, bytes_out),
    ]);
}
