//! A message as its session sees it, and what it means there.

use std::sync::Arc;

use super::names::Known;
use super::statements::{Portal, Statement};
use crate::packet::Origin;
use crate::pg::frame::Frame;
use crate::pg::message::Message;
use crate::pg::row::Types;
use crate::pg::text::Text;
use crate::sql::secret::Parameters;

/// A message, as the session looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a, 'm> {
    /// The message as it lay in the stream.
    pub frame: &'a Frame<'a>,
    /// The message, where it could be decoded, and was.
    pub message: Option<&'a Message<'m>>,
    /// The packet in which it ended.
    pub origin: Origin,
    /// The number of its connection.
    pub conn: u64,
    /// How many messages these are: 1, or a run of data, all alike but for their bodies.
    pub count: u64,
    /// Its bytes on the wire.
    pub size: u64,
}

impl<'a, 'm> Observation<'a, 'm> {
    /// Returns that of no message, at a time.
    pub const fn nothing(origin: Origin) -> Self {
        const NOTHING: &Frame<'static> = &Frame::whole(None, 0, b"");
        Self { frame: NOTHING, message: None, origin, conn: 0, count: 0, size: 0 }
    }

    /// Returns the type byte.
    #[inline(always)]
    pub const fn tag(&self) -> Option<u8> {
        self.frame.tag
    }

    /// Returns whether bytes of its body are missing.
    #[inline(always)]
    pub fn is_cut(&self) -> bool {
        self.frame.missing > 0 || !self.frame.damage.is_empty()
    }

    /// Returns whether it is a request that was answered, as far as it was, before it was found.
    #[inline(always)]
    pub const fn is_late(&self) -> bool {
        self.frame.is_late
    }

    /// Returns whether it was found behind a boundary that is a guess.
    #[inline(always)]
    pub const fn is_guessed(&self) -> bool {
        self.frame.is_guessed
    }

    /// Returns the message, if no part of it is missing.
    #[inline(always)]
    pub fn whole(&self) -> Option<&'a Message<'m>> {
        self.message.filter(|_| !self.is_cut())
    }

    /// The message, where the names in it are whole: half a name is another one.
    #[inline(always)]
    pub fn named(&self) -> Option<&'a Message<'m>> {
        let names_len = |message: &Message<'_>| match message {
            Message::Parse(parse) => parse.statement.0.len() + 1,
            Message::Bind(bind) => bind.portal.0.len() + 1 + bind.statement.0.len() + 1,
            Message::Describe(target) | Message::Close(target) => 1 + target.name.0.len() + 1,
            Message::Execute(execute) => execute.portal.0.len() + 1,
            _ => 0,
        };
        self.message.filter(|message| !self.is_cut() || names_len(message) <= self.frame.body.len())
    }
}

/// What is known of a message from the others.
#[derive(Clone, Debug, Default)]
pub struct Annotation {
    /// The number of the query that it belongs to.
    pub query: Option<u64>,
    /// Microseconds since the request that this answers.
    pub elapsed_us: Option<u64>,
    /// Whether TCP's numbers alone have shown which request it answers.
    pub is_tied: bool,
    /// Whether the server ignores it, as far as it is known by now.
    pub is_skipped: bool,
    /// What the name in it refers to.
    pub subject: Subject,
    /// The connection whose request a CancelRequest is about.
    pub target: Option<u64>,
    /// Whether the target is known from the user only.
    pub is_from_file: bool,
    /// Whether with it the session is ready for its first request.
    pub is_ready: bool,
    /// Whether there is, or may be, a secret in its SQL, or among its values.
    pub has_secrets: bool,
}

/// What the name in a request refers to.
#[derive(Clone, Debug, Default)]
pub enum Subject {
    /// Nothing, or nothing that is there.
    #[default]
    Nothing,
    /// This statement.
    Statement(Arc<Statement>),
    /// This portal.
    Portal(Arc<Portal>),
    /// Something that was prepared before the capture began, or was lost, or forgotten.
    Unknown,
}

impl Subject {
    pub(super) fn of(statement: &Known<Arc<Statement>>) -> Self {
        match statement {
            Known::As(statement) => Self::Statement(Arc::clone(statement)),
            Known::Nothing => Self::Nothing,
            Known::Unknown => Self::Unknown,
        }
    }

    pub(super) fn of_portal(portal: &Known<Arc<Portal>>) -> Self {
        match portal {
            Known::As(portal) => Self::Portal(Arc::clone(portal)),
            Known::Nothing => Self::Nothing,
            Known::Unknown => Self::Unknown,
        }
    }

    /// The statement, where it is known.
    pub fn statement(&self) -> Option<&Statement> {
        match self {
            Self::Statement(statement) => Some(statement),
            Self::Portal(portal) => portal.statement().map(|statement| &**statement),
            Self::Nothing | Self::Unknown => None,
        }
    }

    /// The types of the parameters of a Bind, as far as they are known.
    pub fn parameter_types(&self) -> Types<'_> {
        if let Self::Portal(portal) = self { portal.parameter_types() } else { Types::default() }
    }

    /// Which of the parameters of a Bind are secrets.
    pub fn secret_parameters(&self) -> Parameters {
        if let Self::Portal(portal) = self { portal.secret_parameters() } else { Parameters::default() }
    }

    /// The name of the statement, where it is known.
    pub fn statement_name(&self) -> Option<Text<'_>> {
        match self {
            Self::Statement(statement) => Some(statement.name()),
            Self::Portal(portal) => portal.statement_name(),
            Self::Nothing | Self::Unknown => None,
        }
    }

    /// Whether what it was made of was found behind a boundary that was a guess.
    pub fn is_guessed(&self) -> bool {
        match self {
            Self::Portal(portal) => portal.is_guessed(),
            Self::Statement(statement) => statement.is_guessed(),
            Self::Nothing | Self::Unknown => false,
        }
    }

    /// Whether it was prepared before the capture began, or was lost, or forgotten.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Portal(portal) => portal.is_statement_unknown(),
            Self::Statement(_) | Self::Nothing => false,
        }
    }
}
