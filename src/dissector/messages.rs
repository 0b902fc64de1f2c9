//! From a frame to a message, what it means in its session, and its line.

use std::cell::Cell;

use super::connection::ConnectionInfo;
use super::loss::Loss;
use super::stream::ConnectionDissector;
use super::{Config, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::copy::CopyRows;
use crate::pg::frame::{Cut, Frame};
use crate::pg::message::{Context, Message};
use crate::pg::message_table::{self, backend, frontend};
use crate::pg::row::{Formats, RowShape, Types};
use crate::reader::DecodeError;
use crate::record::change::ChangeOf;
use crate::record::event::Columns;
use crate::record::{
    ChangeRecord, Content, Flags, Holes, MessageEvent, MessageRecord, Reason, Record, ReplicationEvent,
    TransactionRecord,
};
use crate::replication::data::{Mode, PayloadData, ReplicationContent, ReplicationContext, ReplicationData};
use crate::replication::stream::StreamMessage;
use crate::session::Session;
use crate::session::observation::{Annotation, Observation};
use crate::session::shared::Shared;
use crate::session::walsender::ObservedReplication;
use crate::session::walsender::logical::Effect;
use crate::session::walsender::progress::Advance;
use crate::sql::secret::Parameters;

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Decodes a frame, tells its session, and gives its line.
    #[inline(never)]
    pub(super) fn frame(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) {
        if let Some(watch) = &mut info.watch {
            watch.message(direction, frame.tag);
        }
        info.is_guessed |= frame.is_guessed;
        // What the server repeats of a secret is masked before anyone looks at it.
        let masked = session.masked(direction, frame, self.config.redaction);
        let with_masked;
        let frame = match &masked {
            Some(body) => {
                with_masked = Frame { body, ..*frame };
                &with_masked
            }
            None => frame,
        };
        let is_ready = if self.config.records.messages {
            self.frame_with_line(session, info, direction, frame, origin)
        } else {
            self.frame_without_line(session, info, direction, frame, origin)
        };
        if is_ready {
            self.report_ready(session, info, origin);
        }
        if self.config.records.queries {
            self.report_queries(session, info);
        }
        if let Some(cut) = frame.cut {
            self.report_cut(info, direction, frame, cut, origin);
        }
    }

    /// A frame that has no line of its own. Says whether with it the session is ready.
    #[inline(always)]
    fn frame_without_line(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) -> bool {
        let mut annotation = Annotation::default();
        info.seq += 1;
        self.counters.messages += 1;
        if says_no_more_than_its_type(direction, frame) {
            self.observe(session, info, direction, frame, None, origin, &mut annotation);
            self.replication_of(session, info, direction, frame, origin);
            return annotation.is_ready;
        }
        let decoded = Message::decode(direction, frame, &session.context(self.config.redaction));
        self.counters.undecoded_messages += u64::from(decoded.is_err());
        self.observe(session, info, direction, frame, decoded.as_ref().ok(), origin, &mut annotation);
        annotation.is_ready
    }

    /// A frame that has a line. Says whether with it the session is ready.
    #[inline(always)]
    fn frame_with_line(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) -> bool {
        info.seq += 1;
        self.counters.messages += 1;
        let context = session.context(self.config.redaction);
        let mut decoded =
            if is_left_to_sink(direction, frame) { None } else { Some(Message::decode(direction, frame, &context)) };
        self.counters.undecoded_messages += u64::from(matches!(decoded, Some(Err(_))));
        let mut annotation = Annotation::default();
        let message = decoded.as_ref().and_then(|decoded| decoded.as_ref().ok());
        self.observe(session, info, direction, frame, message, origin, &mut annotation);
        let observed = self.replication_of(session, info, direction, frame, origin);
        let copy = self.rows_of(session, direction, frame, message);
        let too_long = copy.map_or(0, |rows| rows.split.too_long());
        if info.is_wanted() {
            let (events, sink) = self.events();
            let mut event = events.of(session, info, direction, frame, context, copy, &annotation, origin);
            event.replication = observed.map(|observed| events.replication(session, &observed));
            sink.message(&event, &mut decoded);
        }
        if too_long > 0 {
            let detail = Some("a row of COPY data is longer than may be kept: see --max-message, --max-held");
            let (dir, skipped) = (Some(direction), Some(too_long));
            self.lose(info, &Loss { dir, skipped, reason: Reason::Limit, detail, ..Loss::new(origin) });
        }
        annotation.is_ready
    }

    /// Returns what a CopyData of a replication stream or a backup is, and gives the lines of its changes.
    #[inline(always)]
    fn replication_of<'f>(
        &mut self,
        session: &mut Session,
        info: &ConnectionInfo,
        direction: Direction,
        frame: &Frame<'f>,
        origin: Origin,
    ) -> Option<ObservedReplication<'f>> {
        if !matches!(frame.tag, Some(backend::COPY_DATA | backend::DATA_ROW)) || !session.may_carry_replication() {
            return None;
        }
        if frame.tag == Some(backend::DATA_ROW) {
            if direction == Direction::Backend
                && let Some(advance) = session.observe_backup_row(frame, origin.ts)
            {
                self.report_backup_row(session, info, frame, advance, origin);
            }
            return None;
        }
        let observed = session.observe_replication(direction, frame, origin.ts)?;
        let unsent = if frame.cut.is_some_and(Cut::is_unsent) { frame.missing } else { 0 };
        let len = frame.len.saturating_sub(u32::try_from(unsent).unwrap_or(u32::MAX));
        let flags = Flags {
            overlap: frame.is_contested,
            resynchronized: frame.is_guessed
                || session.walsender().is_some_and(|walsender| walsender.logical().is_guessed()),
            ..Flags::default()
        };
        self.report_change(session, info, (direction, len), &observed, flags, origin);
        Some(observed)
    }

    /// Gives what a row says of a base backup.
    #[cold]
    fn report_backup_row(
        &mut self,
        session: &mut Session,
        info: &ConnectionInfo,
        frame: &Frame<'_>,
        advance: Advance,
        origin: Origin,
    ) {
        if !self.config.records.changes || !info.is_wanted() {
            return;
        }
        session.count_replication(Direction::Backend, u64::from(frame.len) + 1);
        if let Some(walsender) = session.walsender() {
            let (header, who) = (info.header(origin.ts), session.facts().identity());
            let place = (header, origin.packet, session.dialogue().answered_request());
            let event = ReplicationEvent::of_row(place, who, walsender, frame.len, advance);
            self.sink.replication(&event);
        }
    }

    /// Gives what a message is to its stream, the lines of the changes in it, and of the fate of a transaction.
    fn report_change(
        &mut self,
        session: &mut Session,
        info: &ConnectionInfo,
        (dir, len): (Direction, u32),
        observed: &ObservedReplication<'_>,
        flags: Flags,
        origin: Origin,
    ) {
        if !self.config.records.changes || !info.is_wanted() {
            return;
        }
        if observed.mode != Mode::Manifest {
            // The length does not count the tag.
            session.count_replication(dir, u64::from(len) + 1);
        }
        let session = &*session;
        let Some(walsender) = session.walsender() else { return };
        let header = info.header(origin.ts);
        let (events, sink) = self.events();
        let logical = walsender.logical();
        if observed.mode != Mode::Manifest {
            let who = session.facts().identity();
            let place = (header, origin.packet, session.dialogue().answered_request());
            sink.replication(&ReplicationEvent::new(place, who, walsender, (dir, len), observed));
        }
        match (observed.effect, &observed.content) {
            (
                Effect::Change { xid, subxid, is_streamed },
                ReplicationContent::Stream(StreamMessage::XlogData { start_lsn, .. }, PayloadData::Pgoutput(message)),
            ) => {
                let data = events.replication(session, observed);
                let relation = |oid| logical.relation_by_oid(oid).map(|relation| &**relation);
                let of = ChangeOf { xid, subxid, is_streamed, flags };
                ChangeRecord::each((header, origin.packet, *start_lsn), message, of, &data, relation, |change| {
                    sink.record(&Record::Change(change));
                });
            }
            (Effect::Fate(fate), _) => {
                let origin_name = logical.origin(&fate);
                let place = (header, origin.packet);
                sink.record(&Record::Transaction(TransactionRecord::new(place, &fate, origin_name, flags)));
            }
            _ => {}
        }
    }

    /// The rows of a COPY that are in a message.
    fn rows_of<'a>(
        &self,
        session: &'a Session,
        direction: Direction,
        frame: &Frame<'a>,
        message: Option<&Message<'a>>,
    ) -> Option<CopyRows<'a>> {
        let Config { named_rows, redaction, .. } = *self.config;
        let data = match message? {
            Message::CopyData(_) => Some(frame.body),
            Message::CopyDone(_) => None,
            _ => return None,
        };
        session.copy_rows(direction, data, named_rows, redaction)
    }

    /// Tells the session of a message.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what it means is written where it is asked for, not moved there")]
    fn observe(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        frame: &Frame<'_>,
        message: Option<&Message<'_>>,
        origin: Origin,
        annotation: &mut Annotation,
    ) {
        let observation = observation(info, frame, message, origin);
        session.observe(direction, &observation, self.shared, annotation);
        if let Some(Message::CancelRequest(cancel)) = message
            && annotation.target.is_none()
            && frame.missing == 0
        {
            annotation.target = self.shared.cancels.known(cancel.process_id, info.server);
            annotation.is_from_file = annotation.target.is_some();
        }
        if matches!(message, Some(Message::StartupMessage(_) | Message::ParameterStatus(_))) {
            info.select(&self.config.only, &session.facts().identity());
            self.release_withheld(info);
        }
    }

    /// Tells what a message lacks.
    fn report_cut(
        &mut self,
        info: &mut ConnectionInfo,
        direction: Direction,
        frame: &Frame<'_>,
        cut: Cut,
        origin: Origin,
    ) {
        let (reason, detail) = match cut {
            Cut::TooLarge => (Reason::Limit, "the message is larger than --max-message"),
            Cut::Memory => (Reason::Limit, "more is held than --max-held"),
            Cut::End => (Reason::Missing, "the stream ended inside a message"),
            Cut::Sender => (Reason::Malformed, "its sender closed the connection inside of a message"),
            Cut::Reset => (Reason::Malformed, "the connection was reset inside of a message"),
            // A gap was reported when it was found.
            Cut::Gap => return,
        };
        // What was never sent is not lost.
        let bytes = (!cut.is_unsent()).then(|| frame.missing.saturating_sub(frame.damage.lost));
        self.lose(info, &Loss { dir: Some(direction), bytes, reason, detail: Some(detail), ..Loss::new(origin) });
    }

    /// The line of a message whose header cannot be.
    pub(super) fn malformed(
        &mut self,
        info: &mut ConnectionInfo,
        direction: Direction,
        (tag, len, is_guessed): (Option<u8>, u32, bool),
        content: Content<'_>,
        error: DecodeError,
        origin: Origin,
    ) {
        info.seq += 1;
        self.counters.messages += 1;
        self.counters.undecoded_messages += 1;
        if !self.config.records.messages || !info.is_wanted() {
            return;
        }
        self.sink.record(&Record::Message(MessageRecord {
            header: info.header(origin.ts),
            dir: direction,
            seq: info.seq,
            packet: origin.packet,
            tag: tag.map(Into::into),
            len,
            content,
            query: None,
            elapsed_us: None,
            sql: None,
            statement: None,
            target: None,
            replication_command: None,
            missing: 0,
            holes: Holes::default(),
            flags: Flags { resynchronized: is_guessed, ..Flags::default() },
            error: Some(if self.config.redaction.hides_values() { error.masked() } else { error }),
        }));
    }
}

/// Returns a message as its session looks at it.
#[inline(always)]
pub(super) fn observation<'a, 'm>(
    info: &ConnectionInfo,
    frame: &'a Frame<'a>,
    message: Option<&'a Message<'m>>,
    origin: Origin,
) -> Observation<'a, 'm> {
    let size = u64::from(frame.len) + u64::from(frame.tag.is_some());
    Observation { frame, message, origin, conn: info.conn, count: 1, size }
}

/// What events are made of, besides what a session knows of its message.
#[derive(Clone, Copy)]
pub(super) struct Events<'a> {
    config: &'a Config,
    shared: &'a Shared,
    undecoded: &'a Cell<u64>,
}

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Returns what events are made of, and where they go.
    #[inline(always)]
    pub(super) fn events(&mut self) -> (Events<'_>, &mut S) {
        let Self { config, counters, shared, sink } = self;
        (Events { config, shared, undecoded: Cell::from_mut(&mut counters.undecoded_messages) }, sink)
    }
}

impl<'a> Events<'a> {
    /// Returns the event of a message, with what its session knows of it.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "all that is known of a message comes together here")]
    pub(super) fn of(
        self,
        session: &'a Session,
        info: &'a ConnectionInfo,
        direction: Direction,
        frame: &'a Frame<'a>,
        context: Context,
        copy: Option<CopyRows<'a>>,
        annotation: &'a Annotation,
        origin: Origin,
    ) -> MessageEvent<'a> {
        let Self { config, shared, undecoded } = self;
        let statement = annotation.subject.statement();
        let sql = statement.and_then(|statement| shared.kept.texts.get(statement.text()?));
        MessageEvent {
            header: info.header(origin.ts),
            dir: direction,
            seq: info.seq,
            packet: origin.packet,
            frame,
            context,
            query: annotation.query,
            elapsed_us: annotation.elapsed_us,
            target: annotation.target,
            sql,
            statement: annotation.subject.statement_name(),
            columns: columns(session, direction, frame.tag, annotation, config.named_rows),
            copy,
            replication: None,
            flags: Flags {
                midstream: annotation.subject.is_unknown(),
                skipped: annotation.is_skipped,
                uncertain: annotation.is_tied,
                limit: statement.is_some() && sql.is_none(),
                resynchronized: frame.is_guessed || annotation.subject.is_guessed(),
                from_file: annotation.is_from_file,
                ..Flags::default()
            },
            undecoded,
        }
    }

    /// Returns a CopyData of a replication stream or of a backup, with what its session knows of it.
    fn replication(self, session: &'a Session, observed: &ObservedReplication<'a>) -> ReplicationData<'a> {
        let ObservedReplication { mode, is_streamed, content, .. } = *observed;
        ReplicationData { content, context: self.replication_context(session, mode, is_streamed) }
    }

    /// Returns what the decoding of the last CopyData that was observed depends on.
    pub(super) fn replication_context(
        self,
        session: &'a Session,
        mode: Mode,
        is_streamed: bool,
    ) -> ReplicationContext<'a> {
        let Config { redaction, shows_wal, shows_backups, .. } = *self.config;
        ReplicationContext {
            mode,
            is_streamed,
            relation: session.walsender().and_then(|walsender| walsender.logical().relation()),
            settings: Some(&session.facts().settings),
            shows_data: if matches!(mode, Mode::Stream(_)) { shows_wal } else { shows_backups },
            encoding: session.facts().encoding(),
            redaction,
        }
    }
}

/// Whether a message is one of many of the data that a request returns or takes.
#[inline(always)]
const fn is_data(direction: Direction, tag: Option<u8>) -> bool {
    matches!(
        (direction, tag),
        (Direction::Backend, Some(backend::DATA_ROW | backend::COPY_DATA))
            | (Direction::Frontend, Some(frontend::COPY_DATA))
    )
}

/// Whether a session has to know no more of a message than its type: it is data, or has no body.
#[inline(always)]
const fn says_no_more_than_its_type(direction: Direction, frame: &Frame<'_>) -> bool {
    let is_empty = frame.body.is_empty() && frame.missing == 0;
    match frame.tag {
        Some(tag) => {
            is_data(direction, Some(tag))
                || is_empty && (message_table::is_bare(direction, tag) || tag == backend::COPY_DONE)
        }
        None => false,
    }
}

/// Whether a message may be given on undecoded. Of COPY data a session finds the rows.
#[inline(always)]
const fn is_left_to_sink(direction: Direction, frame: &Frame<'_>) -> bool {
    says_no_more_than_its_type(direction, frame) && !matches!(frame.tag, Some(backend::COPY_DATA | backend::COPY_DONE))
}

/// What the values of a message are.
#[inline(always)]
fn columns<'a>(
    session: &'a Session,
    direction: Direction,
    tag: Option<u8>,
    annotation: &'a Annotation,
    has_named_rows: bool,
) -> Option<Columns<'a>> {
    let settings = &session.facts().settings;
    let dialogue = session.dialogue();
    let (formats, types) = match (direction, tag) {
        (Direction::Backend, Some(backend::DATA_ROW)) => {
            return Some(columns_of_row(session, dialogue.row(), dialogue.row_formats(), has_named_rows));
        }
        (Direction::Frontend, Some(frontend::BIND)) => (Formats::Unknown, annotation.subject.parameter_types()),
        (Direction::Frontend, Some(frontend::FUNCTION_CALL)) => (Formats::Unknown, Types::default()),
        (Direction::Backend, Some(backend::FUNCTION_CALL_RESPONSE)) => (dialogue.row_formats(), Types::default()),
        _ => return None,
    };
    let secrets = annotation.subject.secret_parameters();
    Some(Columns { formats, types, fields: None, secrets, settings })
}

/// What the values of a row are.
#[inline(always)]
pub(super) fn columns_of_row<'a>(
    session: &'a Session,
    shape: Option<&'a RowShape>,
    formats: Formats<'a>,
    has_named_rows: bool,
) -> Columns<'a> {
    let fields = shape.filter(|_| has_named_rows).map(RowShape::fields);
    let types = shape.map_or(Types::default(), RowShape::types);
    Columns { formats, types, fields, secrets: Parameters::default(), settings: &session.facts().settings }
}
