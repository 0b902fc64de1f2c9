//! Messages that lie together in a segment: data, executions, simple queries, and the replies to both.
//!
//! They are observed together, with the same result as one by one. Most of what captures are full of comes so, and what has to be
//! found out about each is the same for all.

use super::connection::ConnectionInfo;
use super::messages::{columns_of_row, observation};
use super::stream::ConnectionDissector;
use super::{Config, Records, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::extended::{Bind, Execute, Target, TargetKind};
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::message::{Context, Decoded, Message};
use crate::pg::message_table::{backend, frontend};
use crate::pg::query::{CommandComplete, Query, ReadyForQuery};
use crate::pg::text::Text;
use crate::record::{ChangeRun, Flags, MessageEvent, MessageRun};
use crate::replication::data::{Mode, Payload};
use crate::session::Session;
use crate::session::exchange::{DescribedColumns, Replies, Requests};
use crate::session::observation::{Annotation, Observation};

/// Describe of the unnamed portal: on the wire, and as a frame.
const DESCRIBE: (&[u8], &Frame<'static>) = (b"D\0\0\0\x06P\0", &Frame::whole(Some(frontend::DESCRIBE), 6, b"P\0"));

/// Execute of the unnamed portal, for all rows.
const EXECUTE: (&[u8], &Frame<'static>) =
    (b"E\0\0\0\x09\0\0\0\0\0", &Frame::whole(Some(frontend::EXECUTE), 9, b"\0\0\0\0\0"));

/// Sync.
const SYNC: (&[u8], &Frame<'static>) = (b"S\0\0\0\x04", &Frame::whole(Some(frontend::SYNC), 4, b""));

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Dissects frames that lie whole in the input, of a session that is ready. Returns what is left of the input.
    ///
    /// Data, of which there is most, is observed as it comes: all that is together, at once.
    pub(super) fn whole_frames<'i>(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        mut whole: WholeFrames<'i>,
        origin: Origin,
    ) -> &'i [u8] {
        while let Some(tag) = whole.next_tag() {
            let (data, count) = match (direction, tag) {
                (Direction::Backend, backend::DATA_ROW | backend::COPY_DATA) if !session.goes_on_with_data(tag) => {
                    (whole, 0)
                }
                (Direction::Backend, backend::DATA_ROW) => run_of::<{ backend::DATA_ROW }>(&mut whole),
                (_, backend::COPY_DATA) if session.may_carry_replication() => (whole, 0),
                (_, backend::COPY_DATA) if self.config.records.messages => {
                    whole.run(backend::COPY_DATA, |row| session.observe_copy_row(direction, row))
                }
                (_, backend::COPY_DATA) => run_of::<{ backend::COPY_DATA }>(&mut whole),
                _ => (whole, 0),
            };
            if count > 0 {
                self.data(session, info, direction, data, count, origin);
                continue;
            }
            let behind = match (direction, tag) {
                (Direction::Frontend, frontend::BIND) => self.bind_and_execute(session, info, whole, origin),
                (Direction::Frontend, frontend::QUERY) => self.simple_query(session, info, whole, origin),
                (Direction::Backend, backend::BIND_COMPLETE | backend::ROW_DESCRIPTION | backend::COMMAND_COMPLETE) => {
                    self.exchange_replies(session, info, whole, origin)
                }
                (Direction::Backend, backend::COPY_DATA) => self.changes(session, info, whole, origin),
                _ => None,
            };
            if let Some(behind) = behind {
                whole = behind;
                continue;
            }
            let Some((tag, len, body)) = whole.next() else { break };
            self.frame(session, info, direction, &Frame::whole(Some(tag), len, body), origin);
        }
        whole.rest()
    }

    /// Dissects so many messages of data that are together, of which their session has to know no more than that. They end no
    /// request.
    fn data(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        frames: WholeFrames<'_>,
        count: u64,
        origin: Origin,
    ) {
        let Some((tag, len, body)) = { frames }.next() else { return };
        let frame = Frame::whole(Some(tag), len, body);
        let seq = info.seq + 1;
        info.seq += count;
        self.counters.messages += count;
        let observation =
            Observation { count, size: frames.rest().len() as u64, ..observation(info, &frame, None, origin) };
        let mut annotation = Annotation::default();
        session.observe(direction, &observation, self.shared, &mut annotation);
        if !self.config.records.messages || !info.is_wanted() {
            return;
        }
        let Config { named_rows, redaction, .. } = *self.config;
        let copy = if tag == backend::COPY_DATA {
            session.copy_rows(direction, Some(body), named_rows, redaction)
        } else {
            None
        };
        let context = session.context(redaction);
        let (events, sink) = self.events();
        let mut first = events.of(session, info, direction, &frame, context, copy, &annotation, origin);
        first.seq = seq;
        let data = MessageRun { first, frames, count };
        sink.data(&data);
    }

    /// Dissects changes of rows in a replication stream, if they come next, and nothing has to be done for each. Returns what is behind
    /// them.
    fn changes<'i>(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        mut whole: WholeFrames<'i>,
        origin: Origin,
    ) -> Option<WholeFrames<'i>> {
        let Records { messages, changes, streams, .. } = self.config.records;
        if messages || streams {
            return None;
        }
        let (frames, count) = session.observe_changes(&mut whole, origin.ts);
        let (tag, len, body) = { frames }.next().filter(|_| count > 0)?;
        info.seq += count;
        self.counters.messages += count;
        let (frame, size) = (Frame::whole(Some(tag), len, body), frames.rest().len() as u64);
        let observation = Observation { count, size, ..observation(info, &frame, None, origin) };
        session.observe(Direction::Backend, &observation, self.shared, &mut Annotation::default());
        if !changes || !info.is_wanted() {
            return Some(whole);
        }
        session.count_replication(Direction::Backend, size);
        let (header, packet) = (info.header(origin.ts), origin.packet);
        let xid = session.walsender().and_then(|walsender| walsender.logical().open_transaction());
        let (events, sink) = self.events();
        let context = events.replication_context(session, Mode::Stream(Payload::Pgoutput), false);
        sink.changes(&ChangeRun { header, packet, xid, context, frames, count });
        Some(whole)
    }

    /// Dissects Bind, Describe, Execute and Sync, or these without Describe, if they come next and begin an exchange. Returns what
    /// is behind them.
    fn bind_and_execute<'i>(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        whole: WholeFrames<'i>,
        origin: Origin,
    ) -> Option<WholeFrames<'i>> {
        let direction = Direction::Frontend;
        let mut behind = whole;
        let bind = frame(frontend::BIND, of_type(frontend::BIND, &mut behind)?);
        let is_described = behind.pass(DESCRIBE.0);
        if !behind.pass(EXECUTE.0) || !behind.pass(SYNC.0) {
            return None;
        }
        let context = session.context(self.config.redaction);
        let message = Message::decode_as(bind.body, &context, |body| Bind::decode(body, context.redaction))?;
        if !message.portal.0.is_empty() {
            return None;
        }
        let size = (whole.rest().len() - behind.rest().len()) as u64;
        let count = 3 + u64::from(is_described);
        let observation = Observation { count, size, ..observation(info, &bind, None, origin) };
        let mut annotation = Annotation::default();
        let requests = Requests::Execution { bind: &message, is_described };
        if !session.begin_exchange(&requests, &observation, self.shared, &mut annotation) {
            return None;
        }
        info.seq += 1;
        self.counters.messages += count;
        if self.config.records.messages && info.is_wanted() {
            let (events, sink) = self.events();
            let first = events.of(session, info, direction, &bind, context, None, &annotation, origin);
            sink.message(&first, &mut Some(Ok(Message::Bind(message))));
            let mut next = MessageEvent { columns: None, ..first };
            let name = Text(b"", context.encoding);
            if is_described {
                next = MessageEvent { seq: next.seq + 1, frame: DESCRIBE.1, ..next };
                let describe = Message::Describe(Target { kind: TargetKind::Portal, name });
                sink.message(&next, &mut Some(Ok(describe)));
            }
            next = MessageEvent { seq: next.seq + 1, frame: EXECUTE.1, ..next };
            sink.message(&next, &mut Some(Ok(Message::Execute(Execute { portal: name, max_rows: 0 }))));
            let (sql, statement, flags) = (None, None, Flags::default());
            let last = MessageEvent { seq: next.seq + 1, frame: SYNC.1, sql, statement, flags, ..next };
            sink.message(&last, &mut None);
        }
        info.seq += count - 1;
        Some(behind)
    }

    /// Dissects a simple query, if it begins an exchange. Returns what is behind it.
    fn simple_query<'i>(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        whole: WholeFrames<'i>,
        origin: Origin,
    ) -> Option<WholeFrames<'i>> {
        let direction = Direction::Frontend;
        let mut behind = whole;
        let query = frame(frontend::QUERY, of_type(frontend::QUERY, &mut behind)?);
        let context = session.context(self.config.redaction);
        let message = Message::decode_as(query.body, &context, |body| Query::decode(body, context.redaction))?;
        let observation = observation(info, &query, None, origin);
        let mut annotation = Annotation::default();
        if !session.begin_exchange(&Requests::Query(&message), &observation, self.shared, &mut annotation) {
            return None;
        }
        info.seq += 1;
        self.counters.messages += 1;
        if self.config.records.messages && info.is_wanted() {
            let (events, sink) = self.events();
            let event = events.of(session, info, direction, &query, context, None, &annotation, origin);
            sink.message(&event, &mut Some(Ok(Message::Query(message))));
        }
        Some(behind)
    }

    /// Dissects the replies to an exchange, if they come next, all of them. Returns what is behind them.
    fn exchange_replies<'i>(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        whole: WholeFrames<'i>,
        origin: Origin,
    ) -> Option<WholeFrames<'i>> {
        let direction = Direction::Backend;
        let mut behind = whole;
        let exchange = session.exchange()?;
        let bound = match behind.next_tag()? {
            backend::BIND_COMPLETE => Some(bare(backend::BIND_COMPLETE, &mut behind)?),
            _ => None,
        };
        let described = match behind.next_tag()? {
            tag @ backend::ROW_DESCRIPTION => Some((tag, of_type(tag, &mut behind)?)),
            tag @ backend::NO_DATA => Some((tag, bare(tag, &mut behind)?)),
            _ => None,
        };
        let (rows, row_count) = run_of::<{ backend::DATA_ROW }>(&mut behind);
        let complete = of_type(backend::COMMAND_COMPLETE, &mut behind)?;
        let ready = of_type(backend::READY_FOR_QUERY, &mut behind)?;
        let context = session.context(self.config.redaction);
        let mut decoded_columns = None;
        let columns = match described {
            Some((backend::ROW_DESCRIPTION, (_, body))) if exchange.repeats_columns(body, context.encoding) => {
                Some(DescribedColumns::Again)
            }
            Some((backend::ROW_DESCRIPTION, (_, body))) => {
                decoded_columns = Some(decode_columns(body, &context));
                let Some(Ok(Message::RowDescription(row))) = &decoded_columns else { return None };
                Some(DescribedColumns::Row(row))
            }
            Some(_) => Some(DescribedColumns::NoData),
            None => None,
        };
        let completed = Message::decode_as(complete.1, &context, CommandComplete::decode)?;
        let status = Message::decode_as(ready.1, &context, ReadyForQuery::decode)?;
        let last = Message::ReadyForQuery(status);
        let first_row = { rows }.next().map_or(&b""[..], |(.., body)| body);
        let replies = Replies {
            is_bound: bound.is_some(),
            columns,
            rows: row_count,
            data: (first_row, rows.rest().len() as u64),
            complete: &completed,
            ready: status,
        };
        let size = (whole.rest().len() - behind.rest().len()) as u64;
        let count = u64::from(bound.is_some()) + u64::from(described.is_some()) + row_count + 2;
        let ready = frame(backend::READY_FOR_QUERY, ready);
        let observation = Observation { count, size, ..observation(info, &ready, Some(&last), origin) };
        let mut annotation = Annotation::default();
        let ended = session.end_exchange(&replies, &observation, self.shared, &mut annotation)?;
        self.counters.messages += count;
        if self.config.records.messages && info.is_wanted() {
            let bound = bound.map(|bound| frame(backend::BIND_COMPLETE, bound));
            let described = described.map(|(tag, described)| frame(tag, described));
            let complete = frame(backend::COMMAND_COMPLETE, complete);
            // It has the number of the message before them.
            let named_rows = self.config.named_rows;
            let (events, sink) = self.events();
            let mut next = events.of(session, info, direction, &ready, context, None, &annotation, origin);
            if let Some(frame) = &bound {
                next = MessageEvent { seq: next.seq + 1, frame, ..next };
                sink.message(&next, &mut None);
            }
            if let Some(frame) = &described {
                next = MessageEvent { seq: next.seq + 1, frame, ..next };
                sink.message(&next, &mut decoded_columns);
            }
            if let Some((tag, len, body)) = { rows }.next() {
                let frame = &frame(tag, (len, body));
                let source = ended.rows(session.dialogue());
                let columns = columns_of_row(session, source.shape(), source.formats(), named_rows);
                let first = MessageEvent { seq: next.seq + 1, frame, columns: Some(columns), ..next.clone() };
                let data = MessageRun { first, frames: rows, count: row_count };
                sink.data(&data);
            }
            next = MessageEvent { seq: next.seq + row_count + 1, frame: &complete, ..next };
            sink.message(&next, &mut Some(Ok(Message::CommandComplete(completed))));
            sink.message(&MessageEvent { seq: next.seq + 1, frame: &ready, ..next }, &mut Some(Ok(last)));
        }
        info.seq += count;
        if let Some(execution) = ended.execution() {
            self.report_query(session, info, execution);
        }
        ended.recycle(self.shared);
        Some(behind)
    }
}

/// Decodes a RowDescription: few differ from the one before.
#[cold]
fn decode_columns<'i>(body: &'i [u8], context: &Context) -> Decoded<'i> {
    Message::decode(Direction::Backend, &frame(backend::ROW_DESCRIPTION, (0, body)), context)
}

/// A frame that lies whole.
#[inline(always)]
const fn frame<'i>(tag: u8, (len, body): (u32, &'i [u8])) -> Frame<'i> {
    Frame::whole(Some(tag), len, body)
}

/// The length word and the body of the next frame, if it is of this type.
#[inline(always)]
fn of_type<'i>(tag: u8, frames: &mut WholeFrames<'i>) -> Option<(u32, &'i [u8])> {
    frames.next().filter(|(next, ..)| *next == tag).map(|(_, len, body)| (len, body))
}

/// The same, if its body is empty.
#[inline(always)]
fn bare<'i>(tag: u8, frames: &mut WholeFrames<'i>) -> Option<(u32, &'i [u8])> {
    of_type(tag, frames).filter(|(_, body)| body.is_empty())
}

/// Consumes all consecutive frames of a type. A function of its own, so that its loop has the registers for itself.
#[inline(never)]
fn run_of<'i, const TAG: u8>(frames: &mut WholeFrames<'i>) -> (WholeFrames<'i>, u64) {
    frames.run(TAG, |_| true)
}
