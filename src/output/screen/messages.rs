//! The latest messages of each session, in bounded memory.
//!
//! A session has two batches of messages: when the newer one is full, the older one is emptied, and takes its place. Of the data of a
//! request the first messages are kept, and the others are counted. Where the memory for all sessions is used up, those that have had no
//! message for the longest time lose theirs first.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde_json::Value;

use super::view::{Ladder, Step, WireBytes};
use crate::direction::Direction;
use crate::output::Form;
use crate::output::batch::Batch;
use crate::output::{json, text};
use crate::pg::frame::Frame;
use crate::pg::message::Decoded;
use crate::pg::message_table::{backend, frontend};
use crate::record::{MessageEvent, MessageRecord, MessageRun, Record};
use crate::redaction::Redaction;
use crate::time::{Precision, Timestamp};

/// How many bytes one batch of a session has at least, and at most: less if there are many sessions.
const MIN_BATCH: usize = 32 << 10;
const MAX_BATCH: usize = 1 << 20;

/// The most runs of data of a session that are counted only.
const MAX_COUNTED: usize = 1_024;

/// How many messages of data of a request are kept: DataRow, CopyData.
const MAX_DATA: u32 = 32;

/// How many bytes of the body of a message are kept.
pub(super) const MAX_BODY: usize = 64 << 10;

/// What a session needs in memory beside its messages, in bytes, about.
const SESSION_BYTES: usize = 6 << 10;

/// The latest messages of each session.
#[derive(Debug)]
pub(super) struct Messages {
    sessions: HashMap<u64, Box<SessionMessages>, RandomState>,
    /// The bytes that all need.
    bytes: usize,
    max_bytes: usize,
    /// Counts messages, to find out which session had one last.
    clock: u64,
}

#[derive(Debug, Default)]
struct SessionMessages {
    older: Batch,
    newer: Batch,
    /// Runs of data that were counted only.
    counted: VecDeque<Step>,
    /// The request whose data comes, and how many messages of it were kept.
    data: (Option<u64>, u32),
    /// How many messages were forgotten.
    forgotten: u64,
    /// The last request, and its statement.
    last: Option<(u64, Arc<str>)>,
    touched: u64,
    /// The bytes that were accounted for the batches.
    bytes: usize,
}

impl Messages {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { sessions: HashMap::default(), bytes: 0, max_bytes, clock: 0 }
    }

    pub(super) fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        let session = self.session(event.header.conn);
        if is_data(event) {
            if session.data.0 != event.query {
                session.data = (event.query, 0);
            }
            if session.data.1 >= MAX_DATA {
                return session.count(event, event.seq, 1, event.frame.body.len() as u64 + 5);
            }
            session.data.1 += 1;
        }
        session.keep(event, decoded);
        self.make_room(event.header.conn);
    }

    pub(super) fn data(&mut self, run: &MessageRun<'_>) {
        let first = &run.first;
        let session = self.session(first.header.conn);
        if session.data.0 != first.query {
            session.data = (first.query, 0);
        }
        let kept = u64::from(MAX_DATA - session.data.1.min(MAX_DATA)).min(run.count);
        session.data.1 += kept as u32;
        let mut bytes = run.frames.rest().len() as u64;
        for (seq, (tag, len, body)) in (first.seq..).zip(run.frames).take(kept as usize) {
            session.keep(&first.next(seq, &Frame::whole(Some(tag), len, body)), &mut None);
            bytes = bytes.saturating_sub(u64::from(len) + 1);
        }
        if kept < run.count {
            session.count(first, first.seq + kept, run.count - kept, bytes);
        }
        self.make_room(first.header.conn);
    }

    /// Returns the bytes that all messages need.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes the statement of the last request of a session, whose messages are kept.
    pub(super) fn note_statement(&mut self, conn: u64, query: u64, statement: &Arc<str>) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            match &mut session.last {
                Some((last, text)) if Arc::ptr_eq(text, statement) => *last = query,
                last => *last = Some((query, Arc::clone(statement))),
            }
        }
    }

    /// Returns the last request of a session, and its statement, as far as these are known.
    pub(super) fn last_statement(&self, conn: u64) -> (Option<u64>, String) {
        let last = self.sessions.get(&conn).and_then(|session| session.last.as_ref());
        last.map_or((None, String::new()), |(query, text)| (Some(*query), text.to_string()))
    }

    fn session(&mut self, conn: u64) -> &mut SessionMessages {
        self.clock += 1;
        let clock = self.clock;
        let session = self.sessions.entry(conn).or_insert_with(|| {
            self.bytes += SESSION_BYTES;
            Box::default()
        });
        session.touched = clock;
        session
    }

    /// Accounts for the messages of a session, and frees memory if all need more than the limit.
    #[inline]
    fn make_room(&mut self, conn: u64) {
        let sessions = self.sessions.len().max(1);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.flip_if_full((self.max_bytes / 4 / sessions).clamp(MIN_BATCH, MAX_BATCH));
        let counted = session.counted.len() * size_of::<Step>();
        let bytes = session.older.bytes() + session.newer.bytes() + counted;
        self.bytes = self.bytes - session.bytes + bytes;
        session.bytes = bytes;
        if self.bytes > self.max_bytes {
            self.forget();
        }
    }

    /// Forgets the messages of sessions that had none for the longest time, until a quarter of the memory is free.
    #[cold]
    fn forget(&mut self) {
        let mut touched: Vec<_> = self.sessions.iter().map(|(conn, session)| (session.touched, *conn)).collect();
        touched.sort_unstable();
        for (_, conn) in touched {
            if self.bytes <= self.max_bytes / 4 * 3 {
                break;
            }
            if let Some(session) = self.sessions.remove(&conn) {
                self.bytes -= session.bytes + SESSION_BYTES;
            }
        }
    }

    /// Returns the messages of a session.
    pub(super) fn ladder(&self, conn: u64) -> Ladder {
        let Some(session) = self.sessions.get(&conn) else { return Ladder::default() };
        let mut steps: Vec<Step> = session.counted.iter().cloned().collect();
        let undecoded = Cell::new(0);
        for batch in [&session.older, &session.newer] {
            let (mut form, mut lines) = (Steps::default(), Vec::new());
            // Writing to memory cannot fail.
            let _ = batch.write(&mut lines, &mut form, &undecoded);
            steps.append(&mut form.0);
            steps.extend(lines.split(|byte| *byte == b'\n').filter_map(step_of_line));
        }
        steps.sort_by_key(|step| step.seq);
        let first = steps.first().map_or(0, |step| step.seq.saturating_sub(1));
        Ladder { steps, forgotten: session.forgotten.max(first) }
    }

    /// Returns the bytes of a message of a session.
    pub(super) fn wire_bytes(&self, conn: u64, seq: u64) -> WireBytes {
        let mut form = WireBytesOf { seq, bytes: WireBytes::NotKept };
        if let Some(session) = self.sessions.get(&conn) {
            for batch in [&session.older, &session.newer] {
                // Writing to memory cannot fail.
                let _ = batch.write(&mut Vec::new(), &mut form, &Cell::new(0));
            }
        }
        form.bytes
    }
}

impl SessionMessages {
    fn keep<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        if Batch::takes(event) {
            self.newer.message(event, decoded.is_none());
        } else {
            self.newer.line(|line| {
                let Frame { body, missing, .. } = *event.frame;
                let kept = body.get(..MAX_BODY).unwrap_or(body);
                let frame = Frame { body: kept, missing: missing + (body.len() - kept.len()) as u64, ..*event.frame };
                // Writing to memory cannot fail.
                let _ = if kept.len() == body.len() {
                    json::write_line(line, &Record::Message(event.to_record(decoded)))
                } else {
                    json::write_line(line, &Record::Message(event.next(event.seq, &frame).to_record(&mut None)))
                };
            });
        }
    }

    fn flip_if_full(&mut self, max_bytes: usize) {
        if self.newer.bytes() >= max_bytes {
            self.forgotten += self.older.len() as u64;
            self.older.clear();
            std::mem::swap(&mut self.older, &mut self.newer);
        }
    }

    /// Counts messages of data that are not kept.
    fn count(&mut self, event: &MessageEvent<'_>, seq: u64, count: u64, bytes: u64) {
        if self.counted.len() >= MAX_COUNTED {
            self.counted.pop_front();
        }
        match self.counted.back_mut().filter(|step| step.query == event.query && step.seq + step.count == seq) {
            Some(step) => {
                step.count += count;
                step.bytes = step.bytes.saturating_add(bytes);
            }
            None => self.counted.push_back(Step {
                seq,
                ts: event.header.ts,
                packet: event.packet,
                dir: event.dir,
                name: event.name(None).to_owned(),
                count,
                query: event.query,
                bytes,
                text: String::new(),
                json: String::new(),
            }),
        }
    }
}

/// Whether a message is one of many: a row, or COPY data.
fn is_data(event: &MessageEvent<'_>) -> bool {
    match event.dir {
        Direction::Backend => matches!(event.frame.tag, Some(backend::DATA_ROW | backend::COPY_DATA)),
        Direction::Frontend => event.frame.tag == Some(frontend::COPY_DATA),
    }
}

/// The messages of a batch as steps.
#[derive(Debug, Default)]
struct Steps(Vec<Step>);

impl Form for Steps {
    fn record(&mut self, _: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        if let Record::Message(message) = record {
            let mut line = Vec::new();
            json::write_line(&mut line, record)?;
            self.0.push(step(message, line));
        }
        Ok(())
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self::default())
    }
}

/// The bytes of one message of a batch.
#[derive(Debug)]
struct WireBytesOf {
    seq: u64,
    bytes: WireBytes,
}

impl Form for WireBytesOf {
    fn record(&mut self, _: &mut Vec<u8>, _: &Record<'_>) -> io::Result<()> {
        Ok(())
    }

    fn message<'a>(
        &mut self,
        _: &mut Vec<u8>,
        event: &MessageEvent<'a>,
        decoded: &mut Option<Decoded<'a>>,
    ) -> io::Result<()> {
        if event.seq == self.seq {
            self.bytes =
                if hides_nothing(event, decoded)? { WireBytes::Known(wire_bytes(event)) } else { WireBytes::Redacted };
        }
        Ok(())
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self { seq: self.seq, bytes: self.bytes.clone() })
    }
}

fn wire_bytes(event: &MessageEvent<'_>) -> Vec<u8> {
    let Frame { tag, len, body, .. } = *event.frame;
    [tag.as_slice(), &len.to_be_bytes(), body].concat()
}

/// Returns whether the line of a message is the same without redaction, so that all its bytes may be shown.
fn hides_nothing<'a>(event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) -> io::Result<bool> {
    let mut plain = event.clone();
    plain.context.redaction = Redaction::Nothing;
    if let Some(copy) = &mut plain.copy {
        copy.redaction = Redaction::Nothing;
    }
    if let Some(replication) = &mut plain.replication {
        (replication.context.redaction, replication.context.shows_data) = (Redaction::Nothing, true);
    }
    let (mut line, mut plain_line) = (Vec::new(), Vec::new());
    json::write_line(&mut line, &Record::Message(event.to_record(decoded)))?;
    json::write_line(&mut plain_line, &Record::Message(plain.to_record(&mut None)))?;
    // What is not decoded is shown in part, and the rest of it is not known to be harmless.
    let is_known = matches!(decoded, Some(Ok(_))) || event.context.redaction == Redaction::Nothing;
    Ok(is_known && line == plain_line)
}

fn step(message: &MessageRecord<'_>, mut line: Vec<u8>) -> Step {
    line.truncate(line.trim_ascii_end().len());
    Step {
        seq: message.seq,
        ts: message.header.ts,
        packet: message.packet,
        dir: message.dir,
        name: message.content.name().to_owned(),
        count: 1,
        query: message.query,
        bytes: u64::from(message.len) + u64::from(message.tag.is_some()),
        text: text::fields(message),
        json: String::from_utf8(line).unwrap_or_default(),
    }
}

/// Returns the step of a line that was made when the message came.
/// Returns the beginning of a body: of its SQL, if it has some.
fn excerpt(body: &Value) -> String {
    let sql = body.get("query").and_then(Value::as_str);
    let text = sql.map_or_else(|| body.to_string().into(), std::borrow::Cow::from);
    text.chars().take(500).collect()
}

fn step_of_line(line: &[u8]) -> Option<Step> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let number = |field: &str| value.get(field).and_then(Value::as_u64);
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let ts: jiff::Timestamp = text("ts")?.parse().ok()?;
    Some(Step {
        seq: number("seq")?,
        ts: Timestamp::from_nanos(i64::try_from(ts.as_nanosecond()).ok()?, Precision::Micros),
        packet: number("packet")?,
        dir: if text("dir") == Some("F") { Direction::Frontend } else { Direction::Backend },
        name: text("type").unwrap_or_default().to_owned(),
        count: 1,
        query: number("query"),
        bytes: number("len")? + u64::from(value.get("tag").is_some()),
        text: value.get("body").map(excerpt).unwrap_or_default(),
        json: String::from_utf8(line.to_vec()).ok()?,
    })
}
