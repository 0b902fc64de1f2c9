//! Requests: how one is queued, what it does to names, and what it executes.

use std::sync::Arc;

use super::answers::Answers;
use super::budget::Share;
use super::execution::{Execution, Outcome, Protocol};
use super::name_commands;
use super::names::{Known, Names};
use super::observation::{Annotation, Observation, Subject};
use super::pipeline::Pipeline;
use super::request_queue::{QueuePlace, Request, RequestQueue};
use super::settle::settle;
use super::shared::Shared;
use super::statements::{Kept, Portal, Statement, Statements};
use crate::pg::extended::{Bind, Execute, Parse, Target, TargetKind};
use crate::pg::message::Message;
use crate::pg::message_table::frontend;
use crate::pg::query::FunctionCall;
use crate::pg::text::KeptText;
use crate::sql::secret;

/// What a request that waits is about.
#[derive(Debug, Default)]
pub(super) enum RequestTarget {
    #[default]
    Nothing,
    Statement(Arc<Statement>),
    Portal(Arc<Portal>),
    Name(TargetKind, Box<KeptText<'static>>),
    /// A simple query that may do something to names, or copy.
    Sql(Box<Sql>),
}

/// A simple query.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: KeptText<'static>,
    /// Where the statement begins that is executed now.
    pub(super) now: usize,
    _share: Share,
}

impl Pipeline {
    /// Observes a message of the frontend.
    #[inline(always)]
    pub(super) fn request(
        &mut self,
        tag: u8,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) {
        self.statements.guess(observation.is_guessed());
        let request = match (tag, observation.named()) {
            (frontend::PARSE, _) => Request::Parse,
            (frontend::BIND, _) => Request::Bind,
            (frontend::DESCRIBE, Some(Message::Describe(target))) if target.kind == TargetKind::Statement => {
                Request::DescribeStatement
            }
            (frontend::DESCRIBE, described) => {
                if described.is_none() {
                    // It may be of a statement.
                    self.request_queue.doubt();
                }
                Request::DescribePortal
            }
            (frontend::EXECUTE, _) => Request::Execute,
            (frontend::CLOSE, _) => Request::Close,
            (frontend::SYNC, _) => Request::Sync,
            (frontend::QUERY, _) => Request::Query,
            (frontend::FUNCTION_CALL, _) => Request::FunctionCall,
            (frontend::COPY_DONE | frontend::COPY_FAIL, _) => Request::CopyEnd,
            (frontend::COPY_DATA | frontend::FLUSH, _) => {
                annotation.query = self.request_queue.last_query();
                annotation.is_skipped = tag == frontend::COPY_DATA && self.request_queue.drops_copy_data();
                if tag == frontend::COPY_DATA {
                    self.request_queue.copy_data();
                } else if observation.size != 5 {
                    // The server answers it with an error.
                    self.request_queue.doubt();
                }
                if let Some(execution) = annotation.query.and_then(|query| self.executions.get(query)) {
                    execution.bytes_in += observation.size;
                    execution.is_guessed |= observation.is_guessed();
                }
                return;
            }
            (frontend::TERMINATE, _) => return,
            _ => {
                // What answers it is unknown.
                self.request_queue.doubt();
                return;
            }
        };
        let Self { request_queue, statements, executions, .. } = self;
        let is_dropped = request == Request::CopyEnd && request_queue.drops_copy_data();
        let settle = &mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation);
        let (query, place) = request_queue.request(request, observation.origin.ts, settle);
        annotation.query = query;
        let is_skipped = matches!(place, QueuePlace::Skipped(_));
        annotation.is_skipped = is_skipped || is_dropped;
        if request == Request::Sync {
            statements.end_skipped();
        }
        self.queries += u64::from(matches!(request, Request::Execute | Request::Query | Request::FunctionCall));

        let execution = match query {
            Some(number) if shared.wants_queries => {
                if matches!(request, Request::Sync | Request::CopyEnd) {
                    executions.get(number)
                } else {
                    let mut execution =
                        executions.begin(number, observation.origin.ts, observation.origin.packet, &mut shared.spare);
                    if let Some(execution) = &mut execution {
                        execution.is_uncertain |= request_queue.is_uncertain();
                        execution.is_truncated |= observation.is_cut();
                        execution.is_limited |= place == QueuePlace::TooMany;
                    }
                    execution
                }
            }
            _ => None,
        };
        let mut queued = Queued { request_queue, statements, kept: &mut shared.kept, execution, place, annotation };
        queued.record(request, observation, shared.wants_queries);
        let Queued { execution, .. } = queued;
        if let Some(execution) = execution {
            if !matches!(request, Request::Sync | Request::CopyEnd) {
                execution.send(observation.origin.ts);
            }
            execution.bytes_in += observation.size;
            execution.is_guessed |= observation.is_guessed();
            if is_skipped && execution.is_executed && execution.outcome.is_none() {
                execution.end(Outcome::Skipped, observation.origin.ts, observation.origin.packet);
            }
        }
        if place == QueuePlace::TooMany {
            statements.forget(&mut shared.kept);
        }
        if observation.is_late() {
            self.miss(observation, shared);
        }
    }

    /// What waits was answered before it was found: its replies cannot be distinguished from others.
    #[cold]
    fn miss(&mut self, observation: &Observation<'_, '_>, shared: &mut Shared) {
        let Self { request_queue, statements, executions, .. } = self;
        executions.lose();
        request_queue
            .miss(&mut |expected, outcome| settle(expected, outcome, statements, executions, shared, observation));
    }
}

/// A request that has its place in the queue.
struct Queued<'a> {
    request_queue: &'a mut RequestQueue<RequestTarget>,
    statements: &'a mut Statements,
    kept: &'a mut Kept,
    /// What it executes, where that is wanted.
    execution: Option<&'a mut Execution>,
    place: QueuePlace,
    annotation: &'a mut Annotation,
}

impl Queued<'_> {
    /// Records what it does to names, and what it executes.
    #[inline]
    fn record(&mut self, request: Request, observation: &Observation<'_, '_>, wants_values: bool) {
        match (request, observation.named()) {
            (Request::Parse, Some(Message::Parse(parse))) => self.parse(parse, observation.is_cut()),
            (Request::Bind, Some(Message::Bind(bind))) => self.bind(bind, wants_values),
            (Request::DescribeStatement, Some(Message::Describe(target))) => self.describe_statement(target),
            (Request::DescribePortal, Some(Message::Describe(target))) => self.describe_portal(target),
            (Request::Execute, Some(Message::Execute(execute))) => self.execute(execute),
            (Request::Close, Some(Message::Close(target))) => self.close(target),
            (Request::Query, message) => self.query(message, observation.is_cut()),
            (Request::FunctionCall, Some(Message::FunctionCall(call))) => self.call(call, wants_values),
            // It could not be decoded, and may have been about any of them.
            (Request::Parse, _) => self.statements.prepared.forget(),
            (Request::Bind, _) => self.statements.portals.forget(),
            (Request::Execute, _) => self.execute_unknown(Protocol::Extended),
            (Request::FunctionCall, _) => self.execute_unknown(Protocol::Function),
            _ => {}
        }
    }

    /// Gives a name a meaning, or removes it, as far as the requests behind this one see it.
    fn send<T>(place: QueuePlace, names: &mut Names<T>, name: &[u8], annotation: Option<Arc<T>>) {
        match place {
            QueuePlace::Waits(id) => names.send(name, id, annotation),
            QueuePlace::Skipped(id) => names.send_skipped(name, id, annotation),
            QueuePlace::None | QueuePlace::TooMany => {}
        }
    }

    fn set_target(&mut self, target: RequestTarget) {
        if matches!(self.place, QueuePlace::Waits(_)) {
            self.request_queue.set_target(target);
        }
    }

    fn set_answers(&mut self, answers: Answers) {
        if matches!(self.place, QueuePlace::Waits(_)) {
            self.request_queue.set_answers(answers);
        }
    }

    fn parse(&mut self, parse: &Parse<'_>, is_cut: bool) {
        let is_next = self.request_queue.waits_alone(self.place);
        let statement = self.statements.parse(self.kept, parse, is_cut, is_next);
        Self::send(self.place, &mut self.statements.prepared, statement.name().0, Some(Arc::clone(&statement)));
        self.statements.make_room(self.kept);
        self.annotation.has_secrets = statement.has_secrets();
        if let Some(execution) = &mut self.execution {
            execution.parse(&statement);
        }
        self.set_target(RequestTarget::Statement(statement));
    }

    fn bind(&mut self, bind: &Bind<'_>, wants_values: bool) {
        let portal = self.statements.bind(self.kept, bind, wants_values);
        self.annotation.subject = Subject::Portal(Arc::clone(&portal));
        Self::send(self.place, &mut self.statements.portals, portal.name().0, Some(Arc::clone(&portal)));
        self.statements.make_room(self.kept);
        self.annotation.has_secrets = !portal.secret_parameters().is_empty();
        if let Some(execution) = &mut self.execution {
            execution.is_midstream |= portal.is_statement_unknown();
            execution.is_bound = true;
            execution.portal = Some(Arc::clone(&portal));
        }
        self.set_target(RequestTarget::Portal(portal));
    }

    fn describe_statement(&mut self, target: &Target<'_>) {
        let statement = self.statements.prepared.get(&target.name.kept()).cloned();
        self.annotation.subject = Subject::of(&statement);
        let Known::As(statement) = statement else { return };
        if let Some(execution) = &mut self.execution {
            execution.statement.get_or_insert_with(|| Arc::clone(&statement));
        }
        self.set_answers(statement.answers());
        self.set_target(RequestTarget::Statement(statement));
    }

    fn describe_portal(&mut self, target: &Target<'_>) {
        let portal = self.statements.portals.get(&target.name.kept()).cloned();
        self.annotation.subject = Subject::of_portal(&portal);
        if let Known::As(portal) = portal {
            self.set_answers(portal.answers());
            self.set_target(RequestTarget::Portal(portal));
        }
    }

    fn execute(&mut self, execute: &Execute<'_>) {
        let portal = self.statements.portals.get(&execute.portal.kept()).cloned();
        self.annotation.subject = Subject::of_portal(&portal);
        if let Some(execution) = &mut self.execution {
            execution.execute(Protocol::Extended);
            execution.is_midstream |= self.annotation.subject.is_unknown();
            execution.portal = portal.clone().get();
        }
        if let Known::As(portal) = portal {
            self.set_answers(portal.answers());
            self.set_target(RequestTarget::Portal(portal));
        }
    }

    fn execute_unknown(&mut self, protocol: Protocol) {
        if let Some(execution) = &mut self.execution {
            execution.execute(protocol);
            execution.is_midstream = true;
        }
    }

    fn close(&mut self, target: &Target<'_>) {
        let name = target.name.kept();
        match target.kind {
            TargetKind::Statement => Self::send(self.place, &mut self.statements.prepared, name.get().0, None),
            TargetKind::Portal => Self::send(self.place, &mut self.statements.portals, name.get().0, None),
        }
        self.set_target(RequestTarget::Name(target.kind, name.into_owned().into()));
    }

    fn query(&mut self, message: Option<&Message<'_>>, is_cut: bool) {
        // "Note that a simple Query message also destroys the unnamed statement", and the unnamed portal.
        Self::send(self.place, &mut self.statements.prepared, b"", None);
        Self::send(self.place, &mut self.statements.portals, b"", None);
        let sql = if let Some(Message::Query(query)) = message { Some(query.query.text) } else { None };
        self.annotation.has_secrets =
            sql.is_some_and(|sql| secret::may_have(sql.0) || is_cut && secret::may_have_had(sql.0));
        if let Some(execution) = &mut self.execution {
            execution.execute(Protocol::Simple);
            if let Some(sql) = sql {
                execution.keep_sql(sql, is_cut, self.statements.budget());
            }
        }
        if let Some(sql) = sql.filter(|_| !is_cut) {
            self.set_answers(Answers::to_query(sql.0));
        }
        if let Some(sql) = sql.filter(|sql| !is_cut && name_commands::is_needed(sql.0))
            && let Some(_share) = self.statements.budget().take(sql.0.len())
        {
            self.set_target(RequestTarget::Sql(Sql { text: sql.kept().into_owned(), now: 0, _share }.into()));
        }
    }

    fn call(&mut self, call: &FunctionCall<'_>, wants_values: bool) {
        let portal = self.statements.call(self.kept, call, wants_values);
        if let Some(execution) = &mut self.execution {
            execution.execute(Protocol::Function);
            execution.function = Some(call.function_oid);
            execution.portal = Some(Arc::clone(&portal));
        }
        self.set_target(RequestTarget::Portal(portal));
    }
}
