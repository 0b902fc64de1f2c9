//! What the names in requests stand for that were sent before that was known.
//!
//! A request that is sent ahead refers to what its client expects a name to stand for by then. Where a Parse, Bind or Close before
//! it has failed, or was ignored, or SQL has changed what the name stands for, the server uses what it stands for when the
//! request's turn comes. That is known then here, too, for all before it is answered.

use std::sync::Arc;

use super::answers::Answers;
use super::execution::Executions;
use super::names::Known;
use super::pipeline::Pipeline;
use super::request::RequestTarget;
use super::request_queue::{Expected, Request};
use super::shared::Shared;
use super::statements::{Kept, Portal, Statements};

impl Pipeline {
    /// Resolves the name in the request whose turn it is again, where it may not stand for what it was sent with.
    #[inline(always)]
    pub(super) fn revise(&mut self, shared: &mut Shared) {
        if self.statements.is_stale || self.stale_up_to > 0 {
            self.revise_head(shared);
        }
    }

    #[cold]
    fn revise_head(&mut self, shared: &mut Shared) {
        let Self { request_queue, statements, executions, stale_up_to, revised, .. } = self;
        if std::mem::take(&mut statements.is_stale) {
            *stale_up_to = request_queue.requests();
        }
        match request_queue.head_mut().filter(|head| head.id <= *stale_up_to) {
            Some(head) => {
                if head.id > *revised {
                    *revised = head.id;
                    revise(head, statements, executions, &mut shared.kept);
                }
            }
            None => *stale_up_to = 0,
        }
    }
}

/// Resolves the name of the statement again in a Bind that the server ignores, if the Parse of that was ignored or refused before an
/// earlier ReadyForQuery. A Bind still refers to what was sent together with it.
#[cold]
pub(super) fn revise_skipped(
    expected: &mut Expected<RequestTarget>,
    statements: &mut Statements,
    executions: &mut Executions,
    kept: &mut Kept,
) {
    let RequestTarget::Portal(portal) = &expected.target else { return };
    let refused_in = portal.statement().and_then(|statement| statement.refused_in());
    if refused_in.is_some_and(|cycle| cycle != statements.cycle) {
        revise(expected, statements, executions, kept);
    }
}

/// Resolves the name in a request again.
fn revise(
    expected: &mut Expected<RequestTarget>,
    statements: &mut Statements,
    executions: &mut Executions,
    kept: &mut Kept,
) {
    let mut execution = expected.query.and_then(|query| executions.get(query));
    match (&expected.target, expected.request) {
        (RequestTarget::Portal(had), Request::Bind) => {
            let Some(name) = had.statement_name() else { return };
            let statement = statements.prepared.confirmed(name.0).cloned();
            if had.is_of(&statement) {
                return;
            }
            let portal = statements.rebind(kept, had, statement);
            statements.portals.replace(had.name().0, expected.id, &portal);
            if let Some(execution) = &mut execution {
                execution.is_midstream |= portal.is_statement_unknown();
                execution.portal = Some(Arc::clone(&portal));
            }
            expected.target = RequestTarget::Portal(portal);
        }
        (RequestTarget::Portal(had), Request::DescribePortal | Request::Execute) => {
            let portal = statements.portals.confirmed(had.name().0).cloned();
            if matches!(&portal, Known::As(portal) if Arc::ptr_eq(portal, had)) {
                return;
            }
            if let Some(execution) = &mut execution
                && execution.portal.as_ref().is_some_and(|portal| Arc::ptr_eq(portal, had))
            {
                execution.is_midstream |= is_unknown(&portal);
                execution.portal = portal.clone().get();
            }
            (expected.target, expected.answers) = match portal {
                Known::As(portal) => {
                    let answers = portal.answers();
                    (RequestTarget::Portal(portal), answers)
                }
                Known::Nothing | Known::Unknown => (RequestTarget::Nothing, Answers::ANY),
            };
        }
        (RequestTarget::Statement(had), Request::DescribeStatement) => {
            let statement = statements.prepared.confirmed(had.name().0).cloned();
            if matches!(&statement, Known::As(statement) if Arc::ptr_eq(statement, had)) {
                return;
            }
            if let Some(execution) = &mut execution
                && execution.statement.as_ref().is_some_and(|statement| Arc::ptr_eq(statement, had))
            {
                execution.is_midstream |= matches!(statement, Known::Unknown);
                execution.statement = statement.clone().get();
            }
            (expected.target, expected.answers) = match statement {
                Known::As(statement) => {
                    let answers = statement.answers();
                    (RequestTarget::Statement(statement), answers)
                }
                Known::Nothing | Known::Unknown => (RequestTarget::Nothing, Answers::ANY),
            };
        }
        _ => {}
    }
}

fn is_unknown(portal: &Known<Arc<Portal>>) -> bool {
    match portal {
        Known::As(portal) => portal.is_statement_unknown(),
        Known::Nothing => false,
        Known::Unknown => true,
    }
}
