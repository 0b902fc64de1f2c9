//! Messages that lie together in a segment: data, and executions.
//!
//! They are taken at once, with the same result as one by one. Of all that captures are full of most comes so, and what has to
//! be found out about each is the same for all.

use super::connection::About;
use super::engine::Engine;
use super::messages::{columns_of_row, seen, told};
use super::{Config, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::message::Message;
use crate::record::{Flags, Told, ToldData};
use crate::session::Session;
use crate::session::meaning::{Meaning, Seen};
use crate::session::together::{Described, Replies};

/// Describe of the unnamed portal.
const DESCRIBE: &[u8] = b"D\0\0\0\x06P\0";

/// Execute of the unnamed portal, for all rows.
const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";

/// Sync.
const SYNC: &[u8] = b"S\0\0\0\x04";

impl<S: Sink> Engine<'_, S> {
    /// Takes frames that lie whole in the input, of a session that is ready. Says what is left of the input.
    ///
    /// Data, of which there is most, is taken as it comes: all that is together, at once.
    pub(super) fn whole_frames<'i>(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        mut whole: WholeFrames<'i>,
        origin: Origin,
    ) -> &'i [u8] {
        while let Some(tag) = whole.next_tag() {
            let (data, count) = match (direction, tag) {
                (Direction::Backend, b'D') => whole.run(b'D', |_| true),
                (_, b'd') if self.config.records.messages => whole.run(b'd', |row| session.takes_row(direction, row)),
                (_, b'd') => whole.run(b'd', |_| true),
                _ => (whole, 0),
            };
            if count > 0 {
                self.data(session, about, direction, data, count, origin);
                continue;
            }
            let behind = match (direction, tag) {
                (Direction::Frontend, b'B') => self.execution(session, about, whole, origin),
                (Direction::Backend, b'2') => self.executed(session, about, whole, origin),
                _ => None,
            };
            if let Some(behind) = behind {
                whole = behind;
                continue;
            }
            let Some((tag, len, body)) = whole.next() else { break };
            self.frame(session, about, direction, &Frame::whole(Some(tag), len, body), origin);
        }
        whole.rest()
    }

    /// Takes so many messages of data that are together, of which their session has to know no more than that. They end no
    /// request.
    fn data(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frames: WholeFrames<'_>,
        count: u64,
        origin: Origin,
    ) {
        let Some((tag, len, body)) = { frames }.next() else { return };
        let frame = Frame::whole(Some(tag), len, body);
        let seq = about.seq + 1;
        about.seq += count;
        self.counters.messages += count;
        let seen = Seen { count, size: frames.rest().len() as u64, ..seen(about, &frame, None, origin) };
        let mut meaning = Meaning::default();
        session.observe(direction, &seen, self.shared, &mut meaning);
        if !self.config.records.messages || !about.is_wanted {
            return;
        }
        let Config { named_rows, redaction, .. } = *self.config;
        let copy = if tag == b'd' { session.copy_rows(direction, Some(body), named_rows, redaction) } else { None };
        let context = session.context(redaction);
        let mut first =
            told(self.config, self.shared, session, about, direction, &frame, context, copy, &meaning, origin);
        first.seq = seq;
        let data = ToldData { first, frames, count };
        self.counters.undecoded_messages += self.sink.data(&data);
    }

    /// Takes Bind, Describe, Execute and Sync, or these without Describe, if they are what comes next, and nothing else is
    /// under way. Says what is behind them.
    fn execution<'i>(
        &mut self,
        session: &mut Session,
        about: &mut About,
        whole: WholeFrames<'i>,
        origin: Origin,
    ) -> Option<WholeFrames<'i>> {
        let direction = Direction::Frontend;
        let mut behind = whole;
        let bind = frame(&mut behind)?;
        let steps = behind.rest();
        let is_described = steps.starts_with(DESCRIBE);
        let steps = if is_described { steps.get(DESCRIBE.len()..)? } else { steps };
        if !steps.strip_prefix(EXECUTE)?.starts_with(SYNC) {
            return None;
        }
        let context = session.context(self.config.redaction);
        let mut decoded = Some(Message::decode(direction, &bind, &context));
        let Some(Ok(Message::Bind(message))) = &decoded else { return None };
        if !message.portal.0.is_empty() {
            return None;
        }
        let describe = if is_described { Some(frame(&mut behind)?) } else { None };
        let (execute, sync) = (frame(&mut behind)?, frame(&mut behind)?);
        let size = (whole.rest().len() - behind.rest().len()) as u64;
        let count = 3 + u64::from(is_described);
        let seen = Seen { count, size, ..seen(about, &bind, None, origin) };
        let mut meaning = Meaning::default();
        if !session.execute(message, is_described, &seen, self.shared, &mut meaning) {
            return None;
        }
        about.seq += 1;
        self.counters.messages += count;
        if self.config.records.messages && about.is_wanted {
            let first =
                told(self.config, self.shared, session, about, direction, &bind, context, None, &meaning, origin);
            self.sink.message(&first, &mut decoded);
            let mut next = Told { columns: None, ..first };
            for frame in describe.iter().chain([&execute]) {
                next = Told { seq: next.seq + 1, frame, ..next };
                self.sink.message(&next, &mut None);
            }
            let (sql, statement, flags) = (None, None, Flags::default());
            let last = Told { seq: next.seq + 1, frame: &sync, sql, statement, flags, ..next };
            self.sink.message(&last, &mut None);
        }
        about.seq += count - 1;
        if self.config.records.queries {
            self.tell_queries(session, about);
        }
        Some(behind)
    }

    /// Takes the replies to [`Self::execution`], if they are what comes next, and those requests alone wait for replies. Says
    /// what is behind them.
    fn executed<'i>(
        &mut self,
        session: &mut Session,
        about: &mut About,
        whole: WholeFrames<'i>,
        origin: Origin,
    ) -> Option<WholeFrames<'i>> {
        let direction = Direction::Backend;
        let mut behind = whole;
        let is_described = session.dialogue().waits_for_execution()?;
        let bound = of_type(b'2', &mut behind).filter(|frame| frame.body.is_empty())?;
        let described = match behind.next_tag() {
            Some(b'T') if is_described => Some(of_type(b'T', &mut behind)?),
            Some(b'n') if is_described => Some(of_type(b'n', &mut behind).filter(|frame| frame.body.is_empty())?),
            _ if is_described => return None,
            _ => None,
        };
        let (rows, row_count) = behind.run(b'D', |_| true);
        let complete = of_type(b'C', &mut behind)?;
        let ready = of_type(b'Z', &mut behind)?;
        let context = session.context(self.config.redaction);
        let mut of_rows = None;
        let row = match described {
            Some(Frame { tag: Some(b'T'), body, .. }) => {
                if session.dialogue().statements().describes_again(body, context.encoding) {
                    Some(Described::Again)
                } else {
                    of_rows = Some(Message::decode(direction, &Frame::whole(Some(b'T'), 0, body), &context));
                    let Some(Ok(Message::RowDescription(row))) = &of_rows else { return None };
                    Some(Described::Row(row))
                }
            }
            _ => None,
        };
        let mut of_complete = Some(Message::decode(direction, &complete, &context));
        let mut of_ready = Some(Message::decode(direction, &ready, &context));
        let (Some(Ok(Message::CommandComplete(message))), Some(Ok(last @ Message::ReadyForQuery(status)))) =
            (&of_complete, &of_ready)
        else {
            return None;
        };
        let replies = Replies { row, rows: row_count, complete: message, ready: status };
        let size = (whole.rest().len() - behind.rest().len()) as u64;
        let count = 3 + u64::from(is_described) + row_count;
        let seen = Seen { count, size, ..seen(about, &ready, Some(last), origin) };
        let mut meaning = Meaning::default();
        let portal = session.executed_at_once(&replies, &seen, self.shared, &mut meaning)?;
        self.counters.messages += count;
        about.seq += 1;
        if self.config.records.messages && about.is_wanted {
            let mut next =
                told(self.config, self.shared, session, about, direction, &bound, context, None, &meaning, origin);
            self.sink.message(&next, &mut None);
            if let Some(frame) = &described {
                next = Told { seq: next.seq + 1, frame, ..next };
                self.sink.message(&next, &mut of_rows);
            }
            if let Some(frame) = &frame(&mut { rows }) {
                let columns = columns_of_row(session, portal.row(), portal.row_formats(), self.config.named_rows);
                let first = Told { seq: next.seq + 1, frame, columns: Some(columns), ..next.clone() };
                let data = ToldData { first, frames: rows, count: row_count };
                self.counters.undecoded_messages += self.sink.data(&data);
            }
            next = Told { seq: next.seq + row_count + 1, frame: &complete, ..next };
            self.sink.message(&next, &mut of_complete);
            self.sink.message(&Told { seq: next.seq + 1, frame: &ready, ..next }, &mut of_ready);
        }
        about.seq += count - 1;
        if self.config.records.queries {
            self.tell_queries(session, about);
        }
        Some(behind)
    }
}

/// The next frame.
#[inline(always)]
fn frame<'i>(frames: &mut WholeFrames<'i>) -> Option<Frame<'i>> {
    let (tag, len, body) = frames.next()?;
    Some(Frame::whole(Some(tag), len, body))
}

/// The next frame, if it is of this type.
#[inline(always)]
fn of_type<'i>(tag: u8, frames: &mut WholeFrames<'i>) -> Option<Frame<'i>> {
    let (next, len, body) = frames.next()?;
    (next == tag).then(|| Frame::whole(Some(tag), len, body))
}
