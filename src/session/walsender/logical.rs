//! What the messages of pgoutput mean together: which transaction a change is of, what its table is, and what becomes of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::budget::{Budget, Share};
use crate::pg::text::{KeptText, Text};
use crate::reader::Reader;
use crate::replication::pgoutput::{Pgoutput, Prepare, RelationMessage, qualified};
use crate::replication::relation::{MAX_NAME, Relation};
use crate::replication::{Lsn, PgTime};

/// How many bytes it takes to count the changes of a transaction, about.
const COUNTER: usize = 128;

/// How many bytes the name of a type takes beside its characters, about.
const TYPE: usize = 96;

/// Stands for a transaction whose number is not known: none has this one.
const UNKNOWN: u32 = 0;

/// Where a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chunk {
    /// Outside of a streamed transaction.
    #[default]
    Outside,
    /// Between Stream Start, with this transaction, and Stream Stop; [`UNKNOWN`] if Stream Start was not seen.
    Inside(u32),
    /// What was before it is not known.
    Unknown,
}

/// A stream of pgoutput.
#[derive(Debug, Default)]
pub struct LogicalStream {
    relations: HashMap<u32, Kept<Arc<Relation>>, RandomState>,
    /// The tables that were described within streamed transactions, by transaction: until its commit, others may see them otherwise.
    streamed_relations: BTreeMap<(u32, u32), Kept<Arc<Relation>>>,
    types: HashMap<u32, Kept<Arc<str>>, RandomState>,
    chunk: Chunk,
    /// The transaction that Begin or Begin Prepare has begun: its number, and its changes. `None` also if that was not seen.
    open: Option<(u32, Changes)>,
    /// The changes of transactions that are streamed, by transaction and subtransaction.
    streamed: BTreeMap<(u32, u32), Kept<Changes>>,
    /// The changes of transactions that are prepared, and their global identifiers.
    prepared: BTreeMap<u32, Kept<(Changes, KeptText<'static>)>>,
    /// The last transaction that came from another server, and its name.
    origin: Option<(u32, KeptText<'static>)>,
    /// The same of transactions that are streamed.
    streamed_origins: BTreeMap<u32, Kept<KeptText<'static>>>,
    /// The table that the last message is about.
    relation: Option<Arc<Relation>>,
    /// Whether nothing of it was lost since it began.
    is_whole: bool,
    /// Whether any of this is known from messages that were found behind a boundary that was guessed.
    is_guessed: bool,
}

/// How many changes of a transaction were sent; `None` if a part of them was lost.
type Changes = Option<u64>;

/// What is kept, and the room that it takes.
#[derive(Debug)]
struct Kept<T>(T, #[expect(dead_code, reason = "it gives the room back when it is dropped")] Share);

/// What a message does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect<'a> {
    /// Nothing that can be told by itself.
    Nothing,
    /// A change of data, or a logical message.
    Change {
        /// The top-level transaction; `None` if its beginning was not seen, or if it has none.
        xid: Option<u32>,
        /// The subtransaction, where it is not the transaction itself.
        subxid: Option<u32>,
        /// Whether the transaction is streamed while it is in progress.
        is_streamed: bool,
    },
    /// The fate of a transaction, or of a subtransaction.
    Fate(Fate<'a>),
}

/// The fate of a transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate<'a> {
    /// The transaction; `None` if its beginning was not seen.
    pub xid: Option<u32>,
    /// The subtransaction that was aborted, where it is not the transaction itself.
    pub subxid: Option<u32>,
    /// What became of it.
    pub outcome: TransactionOutcome,
    /// The position of the commit, of the preparation, or of the abort.
    pub lsn: Option<Lsn>,
    /// The position behind it.
    pub end_lsn: Option<Lsn>,
    /// The time of the commit, of the preparation, of the rollback, or of the abort.
    pub time: Option<PgTime>,
    /// The global identifier of a prepared transaction.
    pub gid: Option<Text<'a>>,
    /// How many changes of it came; `None` if its beginning was not seen, or if a part of them was lost.
    pub changes: Changes,
    /// Whether all of it was seen that was sent in this stream: what was prepared in an earlier one has its changes there.
    pub is_whole: bool,
    /// Whether it was streamed while it was in progress.
    pub is_streamed: bool,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TransactionOutcome {
    /// It was committed, at once or after it was prepared.
    Committed,
    /// It, or one of its subtransactions, was rolled back while it was streamed.
    Aborted,
    /// It was prepared for a two-phase commit.
    Prepared,
    /// It was rolled back after it was prepared.
    RolledBack,
}

impl LogicalStream {
    /// Creates a stream that begins now.
    pub fn begun() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// Creates one whose beginning was not seen.
    pub fn unknown() -> Self {
        Self { chunk: Chunk::Unknown, ..Self::default() }
    }

    /// Returns whether the next message, which is at `lsn`, is between Stream Start and Stream Stop. Where that is not known, that as
    /// which `payload` is a message, and makes more sense if it is one either way.
    pub fn is_streamed(&self, payload: &Reader<'_>, lsn: Lsn) -> bool {
        match self.chunk {
            Chunk::Outside => false,
            Chunk::Inside(_) => true,
            Chunk::Unknown => {
                let sense = |is_streamed| {
                    let decoded = Pgoutput::decode(&mut payload.clone(), is_streamed);
                    decoded.ok().map(|message| self.sense(&message, lsn))
                };
                sense(true) > sense(false)
            }
        }
    }

    /// Returns how much sense a message makes that is at this position.
    fn sense(&self, message: &Pgoutput<'_>, at: Lsn) -> u8 {
        let is_name = |name: Text<'_>| !name.0.iter().any(u8::is_ascii_control) && name.to_str().is_some();
        match message {
            Pgoutput::Message { lsn, .. } if *lsn == at => 2,
            Pgoutput::Message { prefix, .. } => is_name(*prefix).into(),
            Pgoutput::Relation { relation, .. } => is_name(relation.schema).into(),
            Pgoutput::Type { schema, .. } => is_name(*schema).into(),
            _ => message.relation_oid().is_none_or(|oid| self.relations.contains_key(&oid)).into(),
        }
    }

    /// Returns the table that the last message is about, if that is known.
    pub const fn relation(&self) -> Option<&Arc<Relation>> {
        self.relation.as_ref()
    }

    /// Returns the table with this object ID, if it is known.
    pub fn relation_by_oid(&self, oid: u32) -> Option<&Arc<Relation>> {
        let own = match self.chunk {
            Chunk::Inside(xid) => self.streamed_relations.get(&(xid, oid)),
            Chunk::Outside | Chunk::Unknown => None,
        };
        own.or_else(|| self.relations.get(&oid)).map(|Kept(relation, _)| relation)
    }

    /// Returns where a transaction with this fate came from, if that is another server.
    pub fn origin(&self, fate: &Fate<'_>) -> Option<Text<'_>> {
        // The end of what was prepared may come from elsewhere.
        if fate.gid.is_some() && fate.outcome != TransactionOutcome::Prepared {
            return None;
        }
        let xid = fate.xid?;
        let last = self.origin.as_ref().filter(|(of, _)| *of == xid).map(|(_, name)| name);
        last.or_else(|| self.streamed_origins.get(&xid).map(|Kept(name, _)| name)).map(KeptText::get)
    }

    /// A message comes that was found behind a boundary that was guessed, and that nothing has confirmed: so was what is known from it.
    pub const fn guess(&mut self) {
        self.is_guessed = true;
    }

    /// Returns whether what is known may be known from such a message.
    pub const fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// Forgets what depends on messages that were lost.
    pub fn lose(&mut self) {
        *self = Self::unknown();
    }

    /// Observes a message of which not all is known, or that cannot be decoded.
    pub fn undecoded(&mut self, kind: Option<u8>) {
        self.relation = None;
        match kind {
            // Which table it describes, and how, is not known.
            Some(b'R') => (self.relations, self.streamed_relations) = Default::default(),
            Some(b'Y') => {}
            Some(b'I' | b'U' | b'D' | b'T' | b'M' | b'O') => self.lose_changes(),
            _ => self.lose(),
        }
    }

    /// Changes of all transactions that are under way were not given.
    pub fn lose_all_changes(&mut self) {
        self.is_whole = false;
        self.open = self.open.map(|(xid, _)| (xid, None));
        self.streamed.values_mut().for_each(|Kept(changes, _)| *changes = None);
        self.prepared.values_mut().for_each(|Kept((changes, _), _)| *changes = None);
    }

    /// What was lost is of the transaction that is under way.
    fn lose_changes(&mut self) {
        match self.chunk {
            Chunk::Inside(xid) => {
                if let Some(Kept(changes, _)) = self.streamed.get_mut(&(xid, xid)) {
                    *changes = None;
                }
            }
            Chunk::Outside => self.open = self.open.map(|(xid, _)| (xid, None)),
            Chunk::Unknown => {}
        }
    }

    /// Returns whether the next message is none of a streamed transaction.
    pub fn is_outside(&self) -> bool {
        self.chunk == Chunk::Outside
    }

    /// Returns the transaction that Begin has begun.
    pub fn open_transaction(&self) -> Option<u32> {
        self.open.map(|(xid, _)| xid)
    }

    /// Observes so many changes of rows of a table, in a transaction that is not streamed.
    pub fn observe_rows(&mut self, oid: u32, count: u64) {
        self.relation = self.relation_by_oid(oid).cloned();
        self.count_open(count);
    }

    /// Observes a message.
    pub fn observe<'a>(&mut self, message: &Pgoutput<'a>, budget: &Budget) -> Effect<'a> {
        if self.chunk == Chunk::Unknown && matches!(message.tag(), b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M') {
            self.chunk = if message.streamed_xid().is_some() { Chunk::Inside(UNKNOWN) } else { Chunk::Outside };
        }
        self.relation = message.relation_oid().and_then(|oid| self.relation_by_oid(oid)).cloned();
        match *message {
            Pgoutput::Begin { xid, .. } | Pgoutput::BeginPrepare { prepare: Prepare { xid, .. } } => {
                (self.open, self.chunk, self.origin) = (Some((xid, Some(0))), Chunk::Outside, None);
            }
            Pgoutput::Commit { commit_lsn, end_lsn, commit_time } => {
                let (xid, changes) = self.open.take().unzip();
                self.chunk = Chunk::Outside;
                let fate = Fate::new(TransactionOutcome::Committed, commit_lsn, end_lsn, commit_time);
                return Effect::Fate(Fate { xid, ..fate.with_changes(changes.flatten()) });
            }
            Pgoutput::Prepare { prepare } => {
                let open = self.open.take().filter(|(xid, _)| *xid == prepare.xid);
                let changes = open.and_then(|(_, changes)| changes);
                return Effect::Fate(self.prepare(&prepare, changes, budget));
            }
            Pgoutput::CommitPrepared { commit_lsn, end_lsn, commit_time, xid, gid } => {
                let fate = Fate::new(TransactionOutcome::Committed, commit_lsn, end_lsn, commit_time);
                return Effect::Fate(self.end_prepared(fate, xid, gid));
            }
            Pgoutput::RollbackPrepared { prepare_end_lsn, end_lsn, rollback_time, xid, gid, .. } => {
                let fate = Fate::new(TransactionOutcome::RolledBack, prepare_end_lsn, end_lsn, rollback_time);
                return Effect::Fate(self.end_prepared(fate, xid, gid));
            }
            Pgoutput::Origin { name, .. } => {
                let name = name.kept().into_owned();
                match self.chunk {
                    Chunk::Inside(xid) => {
                        if let Some(share) = budget.take(COUNTER + name.get().0.len()) {
                            self.streamed_origins.insert(xid, Kept(name, share));
                        }
                    }
                    Chunk::Outside | Chunk::Unknown => self.origin = self.open.map(|(xid, _)| (xid, name)),
                }
            }
            Pgoutput::Relation { relation, .. } => self.describe(&relation, budget),
            Pgoutput::Type { oid, schema, name, .. } => {
                self.types.remove(&oid);
                if schema.0.len().max(name.0.len()) <= MAX_NAME
                    && let (Some(schema), Some(name)) = (schema.to_str(), name.to_str())
                    && let Some(share) = budget.take(TYPE + schema.len() + name.len())
                {
                    self.types.insert(oid, Kept(qualified(&schema, &name).into(), share));
                }
            }
            Pgoutput::Insert { xid, .. } | Pgoutput::Update { xid, .. } | Pgoutput::Delete { xid, .. } => {
                return self.change(xid, 1, budget);
            }
            // It is a change of each table.
            Pgoutput::Truncate { xid, relation_oids, .. } => {
                return self.change(xid, relation_oids.len() as u64, budget);
            }
            Pgoutput::Message { xid, transactional, .. } => {
                if transactional {
                    return self.change(xid, 1, budget);
                }
                return Effect::Change { xid: None, subxid: None, is_streamed: false };
            }
            Pgoutput::StreamStart { xid, is_first } => {
                self.chunk = Chunk::Inside(xid);
                let is_open = self.streamed.contains_key(&(xid, xid));
                // What was before another part of a transaction that never began here is not known, nor what was before it begins again.
                if is_first || !is_open && self.is_whole {
                    match budget.take(COUNTER) {
                        Some(share) => {
                            let changes = (is_first && !is_open).then_some(0);
                            self.streamed.insert((xid, xid), Kept(changes, share));
                        }
                        // Of one that is not counted, it is not known that nothing was sent.
                        None => self.is_whole = false,
                    }
                }
            }
            Pgoutput::StreamStop => {
                self.chunk = Chunk::Outside;
                // Whose they are is not known.
                self.end_streamed(UNKNOWN, false);
            }
            Pgoutput::StreamCommit { xid, commit_lsn, end_lsn, commit_time } => {
                self.chunk = Chunk::Outside;
                let changes = self.end_streamed(xid, true);
                let fate = Fate::new(TransactionOutcome::Committed, commit_lsn, end_lsn, commit_time);
                return Effect::Fate(Fate { xid: Some(xid), is_streamed: true, ..fate.with_changes(changes) });
            }
            Pgoutput::StreamPrepare { prepare } => {
                self.chunk = Chunk::Outside;
                let changes = self.end_streamed(prepare.xid, false);
                return Effect::Fate(Fate { is_streamed: true, ..self.prepare(&prepare, changes, budget) });
            }
            Pgoutput::StreamAbort { xid, subxid, aborted } => {
                self.chunk = Chunk::Outside;
                let is_all = xid == subxid;
                let changes = if is_all {
                    self.end_streamed(xid, false)
                } else {
                    let is_known = self.is_counted(xid);
                    let changes = self.streamed.remove(&(xid, subxid)).and_then(|Kept(changes, _)| changes);
                    changes.or(Some(0)).filter(|_| is_known)
                };
                return Effect::Fate(Fate {
                    xid: Some(xid),
                    subxid: (!is_all).then_some(subxid),
                    outcome: TransactionOutcome::Aborted,
                    lsn: aborted.map(|(lsn, _)| lsn),
                    end_lsn: None,
                    time: aborted.map(|(_, time)| time),
                    gid: None,
                    changes,
                    is_whole: changes.is_some(),
                    is_streamed: true,
                });
            }
        }
        Effect::Nothing
    }

    fn change(&mut self, own: Option<u32>, count: u64, budget: &Budget) -> Effect<'static> {
        match (own, self.chunk) {
            (Some(own), Chunk::Inside(xid)) if xid != UNKNOWN => {
                self.count(xid, own, count, budget);
                Effect::Change { xid: Some(xid), subxid: (own != xid).then_some(own), is_streamed: true }
            }
            // Whether it is one of a subtransaction is not known.
            (Some(_), _) => Effect::Change { xid: None, subxid: None, is_streamed: true },
            (None, _) => Effect::Change { xid: self.count_open(count), subxid: None, is_streamed: false },
        }
    }

    /// Counts changes of the transaction that Begin has begun. Returns its number.
    fn count_open(&mut self, count: u64) -> Option<u32> {
        self.open.as_mut().map(|(xid, changes)| {
            *changes = changes.map(|changes| changes + count);
            *xid
        })
    }

    /// Counts changes of a streamed transaction, or of one of its subtransactions. Of a transaction whose beginning was not seen,
    /// nothing is counted.
    fn count(&mut self, xid: u32, own: u32, count: u64, budget: &Budget) {
        if let Some(Kept(changes, _)) = self.streamed.get_mut(&(xid, own)) {
            *changes = changes.map(|changes| changes + count);
        } else if self.streamed.contains_key(&(xid, xid)) {
            match budget.take(COUNTER) {
                Some(share) => _ = self.streamed.insert((xid, own), Kept(Some(count), share)),
                // A part of its changes is no number of them.
                None => (_, self.is_whole) = (self.end_streamed(xid, false), false),
            }
        }
    }

    fn describe(&mut self, message: &RelationMessage<'_>, budget: &Budget) {
        let transaction = if let Chunk::Inside(xid) = self.chunk { Some(xid) } else { None };
        // If there is no room for it, its changes have no names from now on.
        match transaction {
            Some(xid) => _ = self.streamed_relations.remove(&(xid, message.oid)),
            None => _ = self.relations.remove(&message.oid),
        }
        if message.columns.is_cut() || Relation::is_too_long(message) {
            return;
        }
        if let Some(share) = budget.take(Relation::size_of(message)) {
            let type_name = |oid| self.types.get(&oid).map(|Kept(name, _)| Arc::clone(name));
            let relation = Arc::new(Relation::new(message, type_name));
            self.relation = Some(Arc::clone(&relation));
            match transaction {
                Some(xid) => _ = self.streamed_relations.insert((xid, message.oid), Kept(relation, share)),
                None => _ = self.relations.insert(message.oid, Kept(relation, share)),
            }
        }
    }

    /// Returns the changes of a streamed transaction that ends, without those of subtransactions that were aborted.
    /// The tables that it described are so for others if it is committed.
    fn end_streamed(&mut self, xid: u32, is_committed: bool) -> Option<u64> {
        while let Some((&(own, oid), _)) = self.streamed_relations.range((xid, 0)..=(xid, u32::MAX)).next() {
            if let (Some(relation), true) = (self.streamed_relations.remove(&(own, oid)), is_committed) {
                self.relations.insert(oid, relation);
            }
        }
        if let Some(Kept(name, _)) = self.streamed_origins.remove(&xid) {
            self.origin = Some((xid, name));
        }
        let is_known = self.is_counted(xid);
        let mut changes = 0;
        while let Some((&key, _)) = self.streamed.range((xid, 0)..=(xid, u32::MAX)).next() {
            changes += self.streamed.remove(&key).and_then(|Kept(changes, _)| changes).unwrap_or(0);
        }
        is_known.then_some(changes)
    }

    /// Returns whether all changes of a streamed transaction were seen. Of one that never began here, nothing was sent.
    fn is_counted(&self, xid: u32) -> bool {
        self.streamed.get(&(xid, xid)).map_or(self.is_whole, |Kept(changes, _)| changes.is_some())
    }

    fn prepare<'a>(&mut self, prepare: &Prepare<'a>, changes: Changes, budget: &Budget) -> Fate<'a> {
        match budget.take(COUNTER + prepare.gid.0.len()) {
            Some(share) => {
                let gid = prepare.gid.kept().into_owned();
                self.prepared.insert(prepare.xid, Kept((changes, gid), share));
            }
            None => self.is_whole = false,
        }
        Fate::prepared(prepare).with_changes(changes)
    }

    fn end_prepared<'a>(&mut self, fate: Fate<'a>, xid: u32, gid: Text<'a>) -> Fate<'a> {
        let is_same = self.prepared.get(&xid).is_some_and(|Kept((_, known), _)| known.get().0 == gid.0);
        let prepared = if is_same { self.prepared.remove(&xid).map(|Kept((changes, _), _)| changes) } else { None };
        let fate = Fate { xid: Some(xid), gid: Some(gid), ..fate.with_changes(prepared.flatten()) };
        // Without a loss, it was prepared in an earlier stream.
        Fate { is_whole: prepared.map_or(self.is_whole, |changes| changes.is_some()), ..fate }
    }
}

impl<'a> Fate<'a> {
    const fn new(outcome: TransactionOutcome, lsn: Lsn, end_lsn: Lsn, time: PgTime) -> Self {
        Self {
            xid: None,
            subxid: None,
            outcome,
            lsn: Some(lsn),
            end_lsn: Some(end_lsn),
            time: Some(time),
            gid: None,
            changes: None,
            is_whole: false,
            is_streamed: false,
        }
    }

    fn with_changes(self, changes: Changes) -> Self {
        Self { changes, is_whole: changes.is_some(), ..self }
    }

    const fn prepared(prepare: &Prepare<'a>) -> Self {
        let Prepare { prepare_lsn, end_lsn, prepare_time, xid, gid } = *prepare;
        let fate = Self::new(TransactionOutcome::Prepared, prepare_lsn, end_lsn, prepare_time);
        Self { xid: Some(xid), gid: Some(gid), ..fate }
    }
}

#[cfg(test)]
mod tests;
