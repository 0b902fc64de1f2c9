//! From a frame to a message, what it means in its session, and its line.

use super::connection::About;
use super::engine::{Engine, Loss};
use super::{Config, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::copy::CopyRows;
use crate::pg::extended::TargetKind;
use crate::pg::frame::{Cut, Frame};
use crate::pg::message::{self, Message};
use crate::pg::row::{RowShape, Types};
use crate::pg::text::Sql;
use crate::reader::DecodeError;
use crate::record::{Content, Flags, Holes, MessageRecord, Reason, Record};
use crate::session::Session;
use crate::session::meaning::{Meaning, Seen};

impl<S: Sink> Engine<'_, S> {
    /// Decodes a frame, tells its session, and gives its line.
    pub(super) fn frame(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) {
        let is_ready = if self.config.records.messages {
            self.told_frame(session, about, direction, frame, origin)
        } else {
            self.untold_frame(session, about, direction, frame, origin)
        };
        if is_ready {
            self.tell_ready(session, about, origin);
        }
        if self.config.records.queries {
            self.tell_queries(session, about);
        }
        if let Some(cut) = frame.cut {
            self.tell_cut(about, direction, frame, cut, origin);
        }
    }

    /// A frame that has no line of its own. Says whether with it the session is ready.
    fn untold_frame(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) -> bool {
        let mut meaning = Meaning::default();
        about.seq += 1;
        self.counters.messages += 1;
        if says_no_more_than_its_type(direction, frame) {
            self.observe(session, about, direction, frame, None, origin, &mut meaning);
            return meaning.is_ready;
        }
        let decoded = Message::decode(direction, frame, &session.context(self.config.redaction));
        self.counters.undecoded_messages += u64::from(decoded.is_err());
        self.observe(session, about, direction, frame, decoded.as_ref().ok(), origin, &mut meaning);
        meaning.is_ready
    }

    /// A frame that has a line. Says whether with it the session is ready.
    fn told_frame(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) -> bool {
        let context = session.context(self.config.redaction);
        let decoded = Message::decode(direction, frame, &context);
        let mut meaning = Meaning::default();
        self.observe(session, about, direction, frame, decoded.as_ref().ok(), origin, &mut meaning);
        let mut attributes = Attributes {
            flags: Flags { truncated: frame.missing > 0, overlap: frame.is_contested, ..meaning_flags(&meaning) },
            hides_damage: message::is_masked_behind(direction, frame.tag, self.config.redaction),
            error: None,
            meaning: &meaning,
        };
        let content = match decoded {
            Ok(mut message) => {
                let flags = &mut attributes.flags;
                complete(&mut message, direction, session, &meaning, self.config, flags);
                Content::Decoded(message)
            }
            Err(error) => {
                attributes.error = Some(error);
                let name = message::undecoded_name(direction, frame.tag, &context);
                Content::Undecoded { name, body: message::undecoded_body(direction, frame.tag, frame.body, &context) }
            }
        };
        let (too_long, lost) = rows_of(&content).map_or((0, 0), |rows| (rows.split.too_long(), rows.split.lost()));
        attributes.flags.limit |= too_long > 0;
        attributes.flags.midstream |= lost > 0;
        self.message(about, direction, frame, content, attributes, origin);
        if too_long > 0 {
            let detail = Some("a row of COPY data is longer than may be kept: see --max-message, --max-held");
            let (dir, skipped) = (Some(direction), Some(too_long));
            self.lose(about, &Loss { dir, skipped, reason: Reason::Limit, detail, ..Loss::new(origin) });
        }
        meaning.is_ready
    }

    /// Tells the session of a message.
    fn observe(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        message: Option<&Message<'_>>,
        origin: Origin,
        meaning: &mut Meaning,
    ) {
        let seen = Seen {
            tag: frame.tag,
            message,
            at: origin.ts,
            packet: origin.packet,
            conn: about.conn,
            size: u64::from(frame.len) + u64::from(frame.tag.is_some()),
            is_cut: frame.missing > 0 || !frame.damage.is_empty(),
            body_len: frame.body.len(),
        };
        session.observe(direction, &seen, self.shared, meaning);
        if matches!(message, Some(Message::StartupMessage(_) | Message::ParameterStatus(_))) {
            about.is_wanted = self.config.only.wants(&session.facts().identity());
            about.is_unwanted = !about.is_wanted;
        }
    }

    /// Tells what a message lacks.
    fn tell_cut(&mut self, about: &mut About, direction: Direction, frame: &Frame<'_>, cut: Cut, origin: Origin) {
        let (reason, detail) = match cut {
            Cut::TooLarge => (Reason::Limit, "the message is larger than --max-message"),
            Cut::Memory => (Reason::Limit, "more is held than --max-held"),
            Cut::End => (Reason::Missing, "the stream ended inside a message"),
            // A gap was reported when it was found.
            Cut::Gap => return,
        };
        let bytes = Some(frame.missing.saturating_sub(frame.damage.lost));
        self.lose(about, &Loss { dir: Some(direction), bytes, reason, detail: Some(detail), ..Loss::new(origin) });
    }

    pub(super) fn message(
        &mut self,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        content: Content<'_>,
        attributes: Attributes<'_>,
        origin: Origin,
    ) {
        about.seq += 1;
        self.counters.messages += 1;
        self.counters.undecoded_messages += u64::from(attributes.error.is_some());
        if !self.config.records.messages || !about.is_wanted {
            return;
        }
        let Attributes { meaning, mut flags, hides_damage, error } = attributes;
        let redaction = self.config.redaction;
        let statement = meaning.subject.statement();
        let sql = statement.and_then(|statement| self.shared.kept.texts.get(statement.text()?));
        flags.limit |= statement.is_some() && sql.is_none();
        let named = match &content {
            Content::Decoded(Message::Bind(bind)) => Some(bind.statement),
            Content::Decoded(Message::Describe(target)) if target.kind == TargetKind::Statement => Some(target.name),
            _ => None,
        };
        self.sink.record(&Record::Message(MessageRecord {
            ts: origin.ts,
            conn: about.conn,
            client: &about.client_text,
            server: &about.server_text,
            dir: direction,
            seq: about.seq,
            packet: origin.packet,
            tag: frame.tag.map(Into::into),
            len: frame.len,
            content,
            query: meaning.query,
            elapsed_us: meaning.elapsed_us,
            sql: sql.map(|text| Sql { text, redaction }),
            statement: meaning.subject.statement_name().or(named),
            target: meaning.target,
            missing: frame.missing,
            holes: Holes { damage: frame.damage, hides: hides_damage },
            flags,
            error: if redaction.hides_values() { error.map(DecodeError::masked) } else { error },
        }));
    }
}

/// What a line says of a message beside its content.
pub(super) struct Attributes<'a> {
    pub(super) meaning: &'a Meaning,
    pub(super) flags: Flags,
    /// Whether what was captured behind a hole is not to be written.
    pub(super) hides_damage: bool,
    pub(super) error: Option<DecodeError>,
}

/// Whether a session has to know no more of a message than its type: it is data, or has no body.
const fn says_no_more_than_its_type(direction: Direction, frame: &Frame<'_>) -> bool {
    let is_whole = frame.body.is_empty() && frame.missing == 0;
    match (direction, frame.tag) {
        (Direction::Backend, Some(b'D' | b'd')) | (Direction::Frontend, Some(b'd')) => true,
        (Direction::Backend, Some(b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c')) => is_whole,
        (Direction::Frontend, Some(b'S' | b'H' | b'c')) => is_whole,
        _ => false,
    }
}

/// What is odd about a message from what the session knows.
fn meaning_flags(meaning: &Meaning) -> Flags {
    Flags { midstream: meaning.subject.is_unknown(), skipped: meaning.is_skipped, ..Flags::default() }
}

/// Gives a message what only the session knows of it, and flags where something that it depends on is not known.
fn complete<'a>(
    message: &mut Message<'a>,
    direction: Direction,
    session: &'a Session,
    meaning: &'a Meaning,
    config: &Config,
    flags: &mut Flags,
) {
    let Config { named_rows: has_named_rows, redaction, .. } = *config;
    let settings = Some(&session.facts().settings);
    match message {
        Message::Bind(bind) => {
            bind.parameters.settings = settings;
            bind.parameters.types = meaning.subject.parameter_types();
        }
        Message::DataRow(row) => {
            let shape = session.dialogue().row();
            row.values.formats = session.dialogue().row_formats();
            row.values.settings = settings;
            row.values.types = shape.map_or(Types::default(), RowShape::types);
            row.values.columns = shape.filter(|_| has_named_rows).map(RowShape::fields);
            flags.midstream |= row.values.formats.is_unknown() && !row.values.list.is_empty();
        }
        Message::FunctionCall(call) => call.arguments.settings = settings,
        Message::FunctionCallResponse(response) => {
            response.value.format = session.dialogue().row_formats().get(0);
            response.value.settings = settings;
            flags.midstream |= response.value.format.is_none();
        }
        Message::CopyData(copy) => {
            copy.rows = session.copy_rows(direction, Some(copy.data.bytes), has_named_rows, redaction);
            flags.midstream |= copy.data.format.is_none() && copy.rows.is_none();
        }
        Message::CopyDone(copy) => copy.rows = session.copy_rows(direction, None, has_named_rows, redaction),
        Message::UnknownAuthenticationResponse(_) => flags.midstream = true,
        _ => {}
    }
}

/// The rows of a COPY that are in a message.
const fn rows_of<'a>(content: &Content<'a>) -> Option<CopyRows<'a>> {
    match content {
        Content::Decoded(Message::CopyData(copy)) => copy.rows,
        Content::Decoded(Message::CopyDone(copy)) => copy.rows,
        _ => None,
    }
}
