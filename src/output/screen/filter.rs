//! What rows are shown: those with a text in them, or those that conditions hold for.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::app::Tab;
use super::view::Who;

/// Returns whether an address and port is one that is wanted.
pub(crate) type IsClient = Box<dyn Fn(&str) -> bool + Send>;

/// The conditions of the options with the same names.
#[derive(Default)]
pub(crate) struct Conditions {
    pub(crate) users: Vec<String>,
    pub(crate) databases: Vec<String>,
    pub(crate) applications: Vec<String>,
    pub(crate) conns: Vec<u64>,
    pub(crate) client: Option<IsClient>,
    pub(crate) errors: bool,
    pub(crate) min_us: Option<u64>,
    pub(crate) sql: Option<Regex>,
}

/// Parses conditions, as options of the command line.
pub(crate) type ParseConditions = fn(&str) -> Result<Conditions, String>;

/// Which rows are shown.
#[derive(Default)]
pub(crate) struct Filter {
    /// As the user typed it.
    pub(crate) text: String,
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    All,
    Text(Regex),
    Conditions(Box<Conditions>),
}

impl Filter {
    /// Parses a filter: conditions if it begins with `--`, else a text to look for.
    ///
    /// # Errors
    ///
    /// Conditions that are not valid, or not yet.
    pub(crate) fn parse(text: &str, conditions: ParseConditions) -> Result<Self, String> {
        let kind = if text.is_empty() {
            Kind::All
        } else if text.starts_with("--") {
            Kind::Conditions(Box::new(conditions(text)?))
        } else {
            let text = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
            Kind::Text(text.map_err(|_| "this text is too long".to_owned())?)
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::All)
    }

    /// Returns which of the conditions do not count in a list, and why.
    pub(crate) fn ignored(&self, tab: Tab) -> Option<&'static str> {
        let Kind::Conditions(conditions) = &self.kind else { return None };
        let has_requests = conditions.min_us.is_some() || conditions.sql.is_some();
        match tab {
            Tab::Statements if conditions.names_sessions() => Some("statements are those of all sessions"),
            Tab::Sessions if has_requests => Some("sessions have no duration and no SQL"),
            Tab::Replication if conditions.sql.is_some() => Some("streams have no SQL"),
            Tab::Poolers if conditions.sql.is_some() => Some("pools have no SQL"),
            _ => None,
        }
    }

    /// Returns whether a row is shown.
    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        match &self.kind {
            Kind::All => true,
            Kind::Text(text) => subject.texts().any(|found| text.is_match(found)),
            Kind::Conditions(conditions) => conditions.hold_for(subject),
        }
    }
}

/// What a filter looks at. A condition for what a row cannot have does not count.
#[derive(Default)]
pub(crate) struct Subject<'a> {
    pub(crate) who: Option<&'a Who>,
    pub(crate) sql: Option<&'a str>,
    /// Another text.
    pub(crate) message: Option<&'a str>,
    /// The SQLSTATE of an error, and the name of its condition.
    pub(crate) code: Option<&'a str>,
    pub(crate) condition: Option<&'static str>,
    pub(crate) us: Option<u64>,
    pub(crate) has_error: bool,
}

impl<'a> Subject<'a> {
    fn texts(&self) -> impl Iterator<Item = &'a str> {
        let names = self.who.map(|who| [&who.user, &who.database, &who.application]);
        let names = names.into_iter().flatten().filter_map(|name| name.as_deref());
        let client = self.who.map(|who| who.client.as_str());
        [self.sql, self.message, self.code, self.condition, client].into_iter().flatten().chain(names)
    }
}

impl Conditions {
    fn names_sessions(&self) -> bool {
        let names = [&self.users, &self.databases, &self.applications];
        !self.conns.is_empty() || self.client.is_some() || names.into_iter().any(|names| !names.is_empty())
    }

    fn hold_for(&self, subject: &Subject<'_>) -> bool {
        subject.who.is_none_or(|who| self.has_named(who))
            && (!self.errors || subject.has_error)
            && self.min_us.is_none_or(|min| subject.us.is_none_or(|us| us >= min))
            && self.sql.as_ref().is_none_or(|regex| subject.sql.is_none_or(|sql| regex.is_match(sql)))
    }

    /// Returns whether a session is one of those that are named.
    fn has_named(&self, who: &Who) -> bool {
        let is_one_of = |names: &[String], name: &Option<String>| {
            names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name))
        };
        is_one_of(&self.users, &who.user)
            && is_one_of(&self.databases, &who.database)
            && is_one_of(&self.applications, &who.application)
            && (self.conns.is_empty() || self.conns.contains(&who.conn))
            && self.client.as_ref().is_none_or(|is_wanted| is_wanted(&who.client))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}
