//! Portals: statements with values for their parameters.

use std::sync::{Arc, OnceLock};

use super::{Row, Statement};
use crate::pg::list::KeptList;
use crate::pg::row::{Formats, RowShape, Types, Values};
use crate::pg::text::{KeptText, Text};
use crate::redaction::Redaction;
use crate::session::answers::Answers;
use crate::session::budget::Share;
use crate::session::names::Known;
use crate::sql::secret::Parameters;

/// A portal: a statement with values for its parameters.
#[derive(Debug, Default)]
pub struct Portal {
    pub(super) name: KeptText<'static>,
    pub(super) statement_name: KeptText<'static>,
    /// DECLARE has made it, so that its statement has no name, and whether its rows are binary is not known.
    pub(super) is_declared: bool,
    /// It outlives its transaction.
    pub(super) is_held: bool,
    pub(super) statement: Option<Arc<Statement>>,
    pub(super) is_statement_unknown: bool,
    pub(super) secret_parameters: Parameters,
    /// Its Bind, or the Parse of its statement, was found behind a boundary that is a guess.
    pub(super) is_guessed: bool,
    pub(super) parameters: KeptList,
    pub(super) parameter_formats: KeptList,
    pub(super) has_parameters: bool,
    /// Whether there was no room for the values of its parameters, which are wanted.
    pub(super) is_limited: bool,
    pub(super) result_formats: KeptList,
    pub(super) row: OnceLock<Arc<Row>>,
    pub(super) share: Option<Share>,
}

impl Portal {
    /// Returns whether the values of its parameters are missing because there was no room for them.
    pub const fn lacks_parameters(&self) -> bool {
        self.is_limited
    }

    /// Its name; empty for the unnamed one.
    pub fn name(&self) -> Text<'_> {
        self.name.get()
    }

    /// The name of the statement that it was made of.
    pub fn statement_name(&self) -> Option<Text<'_>> {
        (!self.is_declared).then(|| self.statement_name.get())
    }

    /// The statement that it was made of, where it is known.
    pub fn statement(&self) -> Option<&Arc<Statement>> {
        self.statement.as_ref()
    }

    /// What its SQL can be answered by, as far as that is known.
    pub fn answers(&self) -> Answers {
        self.statement.as_ref().map_or(Answers::ANY, |statement| statement.answers())
    }

    /// Whether its statement is this one.
    pub(in crate::session) fn is_of(&self, statement: &Known<Arc<Statement>>) -> bool {
        match (&self.statement, statement) {
            (Some(had), Known::As(statement)) => Arc::ptr_eq(had, statement),
            (None, Known::Nothing) => !self.is_statement_unknown,
            (None, Known::Unknown) => self.is_statement_unknown,
            _ => false,
        }
    }

    /// Whether its statement was prepared before the capture began, or is not known for another reason of the kind.
    pub const fn is_statement_unknown(&self) -> bool {
        self.is_statement_unknown
    }

    /// Whether its Bind, or the Parse of its statement, was found behind a boundary that was a guess.
    pub const fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// The values of its parameters; none where there was no room to keep them.
    pub fn parameters(&self, redaction: Redaction) -> Option<Values<'_>> {
        if !self.has_parameters {
            return None;
        }
        let formats = Formats::from_codes(self.parameter_formats.get());
        let values = Values::new(self.parameters.get(), formats, redaction);
        Some(Values { types: self.parameter_types(), secrets: self.secret_parameters(), ..values })
    }

    /// Which of its parameters are secrets, as far as it is known.
    pub const fn secret_parameters(&self) -> Parameters {
        self.secret_parameters
    }

    /// The types of its parameters, as far as they are known.
    pub fn parameter_types(&self) -> Types<'_> {
        self.statement.as_ref().map_or(Types::default(), |statement| statement.parameter_types())
    }

    /// The formats of its rows.
    pub fn row_formats(&self) -> Formats<'_> {
        match self.row.get() {
            Some(row) => row.shape.formats(),
            None if self.is_declared => Formats::Unknown,
            None => Formats::from_codes(self.result_formats.get()),
        }
    }

    /// How many bytes its values take.
    pub fn size(&self) -> usize {
        self.parameters.size()
    }

    /// The columns of its rows, where the server has described them.
    pub fn row(&self) -> Option<&RowShape> {
        self.row.get().map(|row| &row.shape).or_else(|| self.statement.as_ref()?.row())
    }
}
