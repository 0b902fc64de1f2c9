//! Who makes a request, and what that tells of where a pooler sends it.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::topology::Listener;
use crate::pg::text::{KeptText, Text};
use crate::record::QueryRecord;

/// How many joins there have to be until they are evidence, of which all but a tenth have to agree.
const LEAST: u32 = 8;

/// The client of a connection, and whose session it is.
#[derive(Debug, Default)]
pub(super) struct Who {
    client: String,
    application: Option<KeptText<'static>>,
    user: Option<KeptText<'static>>,
    database: Option<KeptText<'static>>,
}

impl Who {
    pub(super) fn of(query: &QueryRecord<'_>) -> Self {
        let kept = |text: Option<Text<'_>>| text.map(|text| text.kept().into_owned());
        Self {
            client: query.header.client.to_owned(),
            application: kept(query.application),
            user: kept(query.user),
            database: kept(query.database),
        }
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    pub(super) fn application(&self) -> Option<Text<'_>> {
        self.application.as_ref().map(KeptText::get)
    }

    /// Returns the user and the database.
    pub(super) fn names(&self) -> [Option<Text<'_>>; 2] {
        [&self.user, &self.database].map(|name| name.as_ref().map(KeptText::get))
    }

    pub(super) fn is_of(&self, query: &QueryRecord<'_>) -> bool {
        self.client == query.header.client
            && self.application() == query.application
            && self.user.as_ref().map(KeptText::get) == query.user
            && self.database.as_ref().map(KeptText::get) == query.database
    }

    /// Returns whether the applications of both are the same, if both are known.
    fn has_application_of(&self, other: &Self) -> Option<bool> {
        Some(self.application()? == other.application()?)
    }

    /// Returns whether they are of one pool: the same user and database.
    pub(super) fn is_of_pool_of(&self, other: &Self) -> bool {
        let is_same = |one: &Option<KeptText<'_>>, other: &Option<KeptText<'_>>| {
            one.as_ref().map(KeptText::get) == other.as_ref().map(KeptText::get)
        };
        is_same(&self.user, &other.user) && is_same(&self.database, &other.database)
    }
}

/// Whether poolers tell the server the names of their clients' applications, by what was joined.
#[derive(Debug, Default)]
pub(super) struct Applications(HashMap<Listener, (u32, u32), RandomState>);

impl Applications {
    pub(super) fn join(&mut self, listener: Listener, client: &Who, server: &Who) {
        let Some(is_same) = client.has_application_of(server) else { return };
        let (same, others) = self.0.entry(listener).or_default();
        let count = if is_same { same } else { others };
        *count = count.saturating_add(1);
    }

    /// Returns whether an execution cannot be that of a client's, because the server was told another name.
    pub(super) fn differ(&self, listener: Listener, client: &Who, server: &Who) -> bool {
        client.has_application_of(server) == Some(false)
            && self.0.get(&listener).is_some_and(|(same, others)| *same >= LEAST && *same >= others.saturating_mul(9))
    }
}
