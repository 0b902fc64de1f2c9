//! Prepared statements and portals: what their names stand for.
//!
//! Source: PostgreSQL documentation, "Message Flow", "Extended Query".

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::answers::Answers;
use super::budget::{Budget, Share};
use super::interner::{Interner, TextId};
use super::names::{Known, Names};
use super::pool::Pool;
use crate::pg::extended::{Bind, Parse};
use crate::pg::list::KeptList;
use crate::pg::query::FunctionCall;
use crate::pg::row::{RowShape, Types};
use crate::pg::text::{KeptText, Text};
use crate::sql::names::is_secret_name;
use crate::sql::secret::{self, NamedByParameter, Parameters, StatementSecrets};

mod describe;
mod portal;

pub use portal::Portal;

/// How many named statements, or portals, of a connection are remembered. Of more, those that were not used for the
/// longest time are forgotten: they are unknown then.
const MAX_NAMES: usize = 4_096;

/// What a statement or a portal costs beside the bytes that it has on the wire: itself, and its place among the names.
const OVERHEAD: usize = 256;

/// How many bytes of what is remembered a byte of traffic can ask for at most: the shortest message has five, and nothing
/// is kept of it more than twice.
pub const MOST_FOR_A_BYTE: usize = 2 * OVERHEAD / 5;

/// A prepared statement.
#[derive(Debug, Default)]
pub struct Statement {
    name: KeptText<'static>,
    text: Option<TextId>,
    /// The types of parameters, as far as Parse declares them.
    declared: KeptList,
    /// The types of parameters that the server has described.
    described: OnceLock<(KeptList, Share)>,
    row: OnceLock<Arc<Row>>,
    /// The [age](Statements::age) in which the server described it first.
    described_in: OnceLock<u64>,
    /// The one that had the name before, with the same SQL and the same declared types, which the server has described in the same
    /// age. Drivers that keep no statements describe one, and parse it again to execute it.
    same: Option<Arc<Statement>>,
    has_secrets: bool,
    secret_parameters: Parameters,
    /// Which other parameters are secrets where a setting has the name of one.
    secret_settings: Vec<NamedByParameter>,
    /// What its SQL can be answered by.
    answers: Answers,
    /// Its Parse was found behind a boundary that is a guess.
    is_guessed: bool,
    /// The [cycle](Statements::cycle) in which its Parse has failed, or was ignored.
    refused_in: OnceLock<u64>,
    share: Option<Share>,
}

impl Statement {
    /// The [cycle](Statements::cycle) in which its Parse has failed, or was ignored, if it was.
    pub(super) fn refused_in(&self) -> Option<u64> {
        self.refused_in.get().copied()
    }

    /// Whether there is, or may be, a secret in its SQL.
    pub const fn has_secrets(&self) -> bool {
        self.has_secrets
    }

    fn set_secrets(&mut self, secrets: Option<&StatementSecrets>) {
        self.secret_settings.clear();
        (self.has_secrets, self.secret_parameters) = match secrets {
            Some(secrets) => {
                self.secret_settings.extend_from_slice(&secrets.settings);
                (secrets.are_in_sql, secrets.parameters)
            }
            None => (false, Parameters::default()),
        };
    }

    /// Which of the values that are bound to its parameters are secrets.
    #[inline]
    fn secrets_of(&self, bind: &Bind<'_>) -> Parameters {
        if self.secret_settings.is_empty() { self.secret_parameters } else { self.secrets_of_settings(bind) }
    }

    #[cold]
    fn secrets_of_settings(&self, bind: &Bind<'_>) -> Parameters {
        let is_secret = |setting: &&NamedByParameter| match bind.parameter_values.list.iter().nth(setting.name.into()) {
            Some(value) => value.0.is_some_and(is_secret_name),
            // It was cut off.
            None => true,
        };
        let settings = self.secret_settings.iter().filter(is_secret);
        settings.fold(self.secret_parameters, |all, setting| all.with(setting.value))
    }

    /// Its name; empty for the unnamed one.
    pub fn name(&self) -> Text<'_> {
        self.name.get()
    }

    /// What its SQL can be answered by, as far as that is known.
    pub const fn answers(&self) -> Answers {
        self.answers
    }

    /// Whether its Parse was found behind a boundary that was a guess.
    pub const fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// Where its SQL is kept; nowhere where it was cut or is too long.
    pub const fn text(&self) -> Option<TextId> {
        self.text
    }

    /// The types of its parameters, as the server has described them; else as the client has declared them, 0 for those that it
    /// left to the server.
    pub fn parameter_types(&self) -> Types<'_> {
        let described = self.described.get().or_else(|| self.same.as_ref()?.described.get());
        Types::from_oids(&described.map_or(&self.declared, |(described, _)| described).get())
    }

    /// The columns of its rows, where the server has described them. Their formats are not known before Bind.
    pub fn row(&self) -> Option<&RowShape> {
        self.row.get().or_else(|| self.same.as_ref()?.row.get()).map(|row| &row.shape)
    }

    /// What stands for a statement that is parsed again, in an age, with the same SQL and the same declared types.
    fn described(before: Arc<Self>, text: Option<TextId>, parse: &Parse<'_>, age: u64) -> Option<Arc<Self>> {
        if text.is_none() || before.text != text || !before.declared.is(&parse.parameter_types) {
            return None;
        }
        // One that has another stands for nothing itself, so that they are no chain.
        let described = before.same.as_ref().map_or(&before, |same| same);
        (described.described_in.get() == Some(&age)).then(|| Arc::clone(described))
    }
}

/// What of a statement is a secret whose SQL is kept, or not.
fn secrets<'a>(
    texts: &'a Interner,
    kept: Option<TextId>,
    sql: Text<'_>,
    is_cut: bool,
) -> Option<Cow<'a, StatementSecrets>> {
    if let Some(id) = kept {
        return texts.secrets(id).map(Cow::Borrowed);
    }
    let found = StatementSecrets::of(&sql.kept()).map(|found| *found);
    let may_have_had = || is_cut && secret::may_have_had(sql.0);
    let cut = || may_have_had().then(|| StatementSecrets { are_in_sql: true, ..StatementSecrets::default() });
    found.or_else(cut).map(Cow::Owned)
}

/// The columns of rows.
#[derive(Debug, Default)]
pub struct Row {
    /// The columns.
    pub shape: RowShape,
    share: Option<Share>,
}

/// What other connections have to do with it: buffers that can be used again, texts, room.
#[derive(Debug)]
pub struct Kept {
    /// SQL texts.
    pub texts: Interner,
    /// Statements that nobody may need any more.
    pub statements: Pool<Statement>,
    /// Portals that nobody may need any more.
    pub portals: Pool<Portal>,
    /// How many statements and portals were forgotten, to make room for others.
    pub forgotten: u64,
}

/// The statements and portals of a connection.
#[derive(Debug)]
pub struct Statements {
    /// Statements by name.
    pub(super) prepared: Names<Statement>,
    /// Portals by name.
    pub(super) portals: Names<Portal>,
    budget: Budget,
    /// Counts when it may have changed what types a statement has: a transaction ended, with the locks that it held, or the
    /// session itself did something that is no query. While neither has happened, nobody can have altered a table, view or
    /// type that a statement of the transaction was parsed with (PostgreSQL documentation, "Explicit Locking").
    age: u64,
    /// The columns that were described last.
    last_row: Option<Arc<Row>>,
    /// The message that is observed now was found behind a boundary that is a guess.
    is_guessed: bool,
    /// What a name stands for may have changed, in another way than the requests that wait were sent with.
    pub(super) is_stale: bool,
    /// Counts ReadyForQuery.
    pub(super) cycle: u64,
}

impl Statements {
    /// None; all of them where the connection was seen from its beginning.
    pub fn new(is_complete: bool, budget: Budget) -> Self {
        Self {
            prepared: Names::new(is_complete),
            portals: Names::new(is_complete),
            budget,
            age: 0,
            last_row: None,
            is_guessed: false,
            is_stale: false,
            cycle: 0,
        }
    }

    /// Sets whether the message that is observed next was found behind a boundary that is a guess.
    pub(super) const fn guess(&mut self, is_guessed: bool) {
        self.is_guessed = is_guessed;
    }

    /// The room that the connection has.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The statement that a Parse makes. Where its end was not seen, neither was all of its SQL. Whether it `is_next`: no request
    /// waits that the server executes before it.
    pub fn parse(&mut self, kept: &mut Kept, parse: &Parse<'_>, is_cut: bool, is_next: bool) -> Arc<Statement> {
        let text = if is_cut { None } else { kept.texts.keep(parse.query.text) };
        let name = parse.statement.kept();
        let size = name.len() + parse.parameter_types.as_bytes().len();
        let share = self.room(size);
        let before = if is_next { self.prepared.get(&name).get().cloned() } else { None };
        let same = before.and_then(|before| Statement::described(before, text, parse, self.age));
        let answers = if is_cut { Answers::ANY } else { Answers::to(parse.query.text.0) };
        // SQL can give a name to another statement, unseen.
        let answers = if name.is_empty() { answers } else { answers.of_name() };
        let is_guessed = self.is_guessed;
        let Kept { texts, statements, .. } = kept;
        let secrets = secrets(texts, text, parse.query.text, is_cut);
        statements.fill(|statement| {
            statement.name.set(name.get());
            statement.is_guessed = is_guessed;
            statement.text = text;
            statement.described.take();
            statement.row.take();
            statement.described_in.take();
            statement.refused_in.take();
            statement.same = same;
            statement.set_secrets(secrets.as_deref());
            statement.answers = answers;
            statement.declared.clear();
            if share.is_some() {
                statement.declared.keep(&parse.parameter_types);
            }
            statement.share = share;
        })
    }

    /// The portal that a Bind makes. The values of its parameters are kept where they are wanted.
    pub(super) fn bind(&mut self, kept: &mut Kept, bind: &Bind<'_>, is_wanted: bool) -> Arc<Portal> {
        let Self { prepared, budget, is_guessed, .. } = self;
        let Kept { texts, portals, .. } = kept;
        let formats = bind.parameter_formats.as_bytes().len() + bind.result_formats.as_bytes().len();
        let values = if is_wanted { bind.parameter_values.list.as_bytes().len() } else { 0 };
        let (portal_name, statement_name) = (bind.portal.kept(), bind.statement.kept());
        let names = portal_name.len() + statement_name.len();
        // It mostly has been one of the same statement before.
        portals.fill(|portal| {
            portal.name.set(portal_name.get());
            (portal.is_declared, portal.is_held) = (false, false);
            let statement = prepared.get(&statement_name);
            portal.is_statement_unknown = matches!(statement, Known::Unknown);
            portal.statement_name.set(statement_name.get());
            let statement = statement.get();
            portal.is_guessed = *is_guessed || statement.is_some_and(|statement| statement.is_guessed);
            match statement {
                Some(statement) => {
                    if let Some(text) = statement.text() {
                        texts.touch(text);
                    }
                    if !portal.statement.as_ref().is_some_and(|had| Arc::ptr_eq(had, statement)) {
                        portal.statement = Some(Arc::clone(statement));
                    }
                }
                None => portal.statement = None,
            }
            portal.secret_parameters = statement.map_or(Parameters::default(), |statement| statement.secrets_of(bind));
            portal.row.take();
            // Where there is no room for the values, there may be for the rest.
            portal.has_parameters =
                budget.take_again(&mut portal.share, names + formats + values + OVERHEAD) && is_wanted;
            portal.is_limited = is_wanted && !portal.has_parameters;
            if portal.share.is_none() {
                budget.take_again(&mut portal.share, names + formats + OVERHEAD);
            }
            portal.result_formats.keep(&bind.result_formats);
            if portal.has_parameters {
                portal.parameters.keep(&bind.parameter_values.list);
                portal.parameter_formats.keep(&bind.parameter_formats);
            } else {
                portal.parameters.clear();
                portal.parameter_formats.clear();
            }
        })
    }

    /// The portal that a Bind makes whose statement is another than it was sent with.
    pub(super) fn rebind(&self, kept: &mut Kept, sent: &Portal, statement: Known<Arc<Statement>>) -> Arc<Portal> {
        kept.portals.fill(|portal| {
            portal.name.set(sent.name());
            portal.statement_name.set(sent.statement_name.get());
            (portal.is_declared, portal.is_held) = (false, false);
            portal.is_statement_unknown = matches!(statement, Known::Unknown);
            portal.statement = statement.get();
            let statement = portal.statement.as_deref();
            portal.is_guessed = sent.is_guessed || statement.is_some_and(|statement| statement.is_guessed);
            // Which settings it sets is not looked for again: each may be a secret.
            let secrets = |statement: &Statement| {
                let settings = statement.secret_settings.iter();
                settings.fold(statement.secret_parameters, |all, setting| all.with(setting.value))
            };
            portal.secret_parameters = statement.map_or(Parameters::default(), secrets);
            portal.row.take();
            portal.result_formats.clone_from(&sent.result_formats);
            let size = sent.parameters.size() + sent.parameter_formats.size() + sent.result_formats.size();
            portal.has_parameters = self.budget.take_again(&mut portal.share, size + OVERHEAD) && sent.has_parameters;
            portal.is_limited = sent.is_limited || sent.has_parameters && !portal.has_parameters;
            if portal.has_parameters {
                portal.parameters.clone_from(&sent.parameters);
                portal.parameter_formats.clone_from(&sent.parameter_formats);
            } else {
                portal.parameters.clear();
                portal.parameter_formats.clear();
            }
        })
    }

    /// The Parse of a statement has failed, or was ignored.
    pub(super) fn refuse(&self, statement: &Statement) {
        statement.refused_in.get_or_init(|| self.cycle);
    }

    /// A function call, as if it were a portal: its arguments are the values of parameters.
    pub fn call(&mut self, kept: &mut Kept, call: &FunctionCall<'_>, is_wanted: bool) -> Arc<Portal> {
        let size = call.arguments.list.as_bytes().len() + call.argument_formats.as_bytes().len();
        let share = if is_wanted { self.room(size) } else { None };
        kept.portals.fill(|portal| {
            portal.name.set(Text::default());
            portal.statement_name.set(Text::default());
            (portal.is_declared, portal.is_held) = (false, false);
            portal.is_statement_unknown = false;
            portal.secret_parameters = Parameters::default();
            portal.statement = None;
            portal.row.take();
            portal.parameters.clear();
            portal.parameter_formats.clear();
            portal.result_formats.keep_one(call.result_format);
            portal.has_parameters = share.is_some();
            portal.is_limited = is_wanted && share.is_none();
            if share.is_some() {
                portal.parameters.keep(&call.arguments.list);
                portal.parameter_formats.keep(&call.argument_formats);
            }
            portal.share = share;
        })
    }

    /// Room for something of a size on the wire.
    fn room(&self, size: usize) -> Option<Share> {
        self.budget.take(size + OVERHEAD)
    }

    /// Forgets what was not used for long, where there are too many names or no room for more.
    pub fn make_room(&mut self, kept: &mut Kept) {
        if self.prepared.len() > MAX_NAMES {
            kept.forgotten += self.prepared.forget_oldest() as u64;
        }
        if self.portals.len() > MAX_NAMES {
            kept.forgotten += self.portals.forget_oldest() as u64;
        }
    }

    /// What comes from here on is not ignored by the server, as it was behind an error.
    pub(super) fn end_skipped(&mut self) {
        self.prepared.end_skipped();
        self.portals.end_skipped();
    }

    /// What any name stands for is not known any more.
    pub fn forget(&mut self, kept: &mut Kept) {
        kept.forgotten += (self.prepared.len() + self.portals.len()) as u64;
        self.prepared.forget();
        self.portals.forget();
    }

    /// Adds a statement that SQL has prepared: PREPARE.
    pub(super) fn prepare(&mut self, kept: &mut Kept, name: Text<'_>, sql: Text<'_>) {
        let name = name.kept().into_owned();
        let share = self.room(name.len());
        let text = kept.texts.keep(sql);
        let mut statement = Statement { name: name.clone(), text, share, ..Statement::default() };
        statement.set_secrets(secrets(&kept.texts, text, sql, false).as_deref());
        self.prepared.establish(&name, Arc::new(statement));
        self.make_room(kept);
    }

    /// Adds a cursor that SQL has declared, which is a portal: DECLARE.
    pub(super) fn declare(&mut self, kept: &mut Kept, name: Text<'_>, is_held: bool, sql: Text<'_>) {
        let name = name.kept().into_owned();
        let share = self.room(name.len());
        let statement = Statement { text: kept.texts.keep(sql), ..Statement::default() };
        self.portals.establish(
            &name,
            Arc::new(Portal {
                name: name.clone(),
                is_declared: true,
                is_held,
                statement: Some(Arc::new(statement)),
                share,
                ..Portal::default()
            }),
        );
        self.make_room(kept);
    }

    /// The types of statements that are parsed from here on may differ from those before.
    pub(super) const fn grow_old(&mut self) {
        self.age += 1;
    }

    /// "… portals … are destroyed at the end of the current transaction", but for cursors WITH HOLD.
    pub(super) fn end_transaction(&mut self) {
        self.grow_old();
        self.portals.clear(|portal| portal.is_held);
    }
}
