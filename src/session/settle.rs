//! What becomes of names and executions when a request is answered, or will not be.

use super::execution::{Executions, Outcome, SMALL};
use super::names::Names;
use super::observation::Observation;
use super::request::RequestTarget;
use super::request_queue::{Expected, Request, RequestOutcome};
use super::revision::revise_skipped;
use super::shared::Shared;
use super::statements::Statements;
use crate::pg::extended::TargetKind;

/// Settles a request: what it does to names is confirmed or removed.
pub(super) fn settle(
    mut expected: Expected<RequestTarget>,
    outcome: RequestOutcome,
    statements: &mut Statements,
    executions: &mut Executions,
    shared: &mut Shared,
    observation: &Observation<'_, '_>,
) {
    let left = match outcome {
        RequestOutcome::Skipped => Some(Outcome::Skipped),
        RequestOutcome::Unknown => Some(Outcome::Incomplete),
        RequestOutcome::Answered | RequestOutcome::Failed => None,
    };
    if let Some(outcome) = left
        && matches!(expected.request, Request::Execute | Request::Query | Request::FunctionCall)
        && let Some(execution) = expected.query.and_then(|query| executions.get(query))
        && execution.outcome.is_none()
    {
        execution.end(outcome, observation.origin.ts, observation.origin.packet);
    }
    if outcome == RequestOutcome::Skipped && expected.request == Request::Bind {
        revise_skipped(&mut expected, statements, executions, &mut shared.kept);
    }
    let (request, id) = (expected.request, expected.id);
    let is_refused = matches!(outcome, RequestOutcome::Failed | RequestOutcome::Skipped);
    statements.is_stale |= outcome != RequestOutcome::Answered && !matches!(request, Request::Sync | Request::CopyEnd);
    match expected.target {
        RequestTarget::Statement(statement) if request == Request::Parse => {
            if is_refused {
                statements.refuse(&statement);
            }
            settle_name(&mut statements.prepared, statement.name().0, id, outcome);
            shared.kept.statements.give(statement);
        }
        RequestTarget::Portal(portal) if request == Request::Bind => {
            settle_name(&mut statements.portals, portal.name().0, id, outcome);
        }
        RequestTarget::Portal(portal)
            if matches!(request, Request::Execute | Request::FunctionCall) && portal.size() <= SMALL =>
        {
            shared.kept.portals.give(portal);
        }
        RequestTarget::Name(TargetKind::Statement, name) => settle_name(&mut statements.prepared, &name, id, outcome),
        RequestTarget::Name(TargetKind::Portal, name) => settle_name(&mut statements.portals, &name, id, outcome),
        _ if request == Request::Query => {
            settle_name(&mut statements.prepared, b"", id, outcome);
            settle_name(&mut statements.portals, b"", id, outcome);
        }
        _ => {}
    }
}

fn settle_name<T>(names: &mut Names<T>, name: &[u8], id: u64, outcome: RequestOutcome) {
    match outcome {
        RequestOutcome::Answered => names.confirm(name, id),
        RequestOutcome::Failed => names.fail(name, id),
        RequestOutcome::Skipped => names.take_back(name, id),
        RequestOutcome::Unknown => names.lose(name, id),
    }
}
