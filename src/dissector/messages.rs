//! From a frame to a message, what it means in its session, and its line.

use super::Sink;
use super::connection::About;
use super::engine::{Engine, Loss};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::extended::TargetKind;
use crate::pg::frame::{Cut, Frame};
use crate::pg::message::{self, Message};
use crate::pg::row::{RowShape, Types};
use crate::pg::text::{Sql, Text};
use crate::reader::DecodeError;
use crate::record::{Content, Flags, Holes, MessageRecord, Reason, Record};
use crate::session::Session;
use crate::session::meaning::{Meaning, Seen};

impl<S: Sink> Engine<'_, S> {
    /// Decodes a frame and gives its line.
    pub(super) fn frame(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) {
        let context = session.context(self.config.redaction);
        if !self.config.records.messages && is_data(frame.tag, direction) {
            // Nobody is told what is in it.
            self.observe(session, about, direction, frame, None, origin);
            about.seq += 1;
            self.counters.messages += 1;
            self.after(session, about, direction, frame, false, origin);
            return;
        }
        let decoded = Message::decode(direction, frame, &context);
        let meaning = self.observe(session, about, direction, frame, decoded.as_ref().ok(), origin);
        let mut attributes = Attributes {
            flags: Flags { truncated: frame.missing > 0, overlap: frame.is_contested, ..meaning_flags(&meaning) },
            hides_damage: message::is_masked_behind(direction, frame.tag, self.config.redaction),
            error: None,
            meaning: &meaning,
        };
        let content = match decoded {
            Ok(mut message) => {
                attributes.flags.midstream |= complete(&mut message, session, &meaning, self.config.named_rows);
                Content::Decoded(message)
            }
            Err(error) => {
                attributes.error = Some(error);
                let name = message::undecoded_name(direction, frame.tag, &context);
                Content::Undecoded { name, body: message::undecoded_body(direction, frame.tag, frame.body, &context) }
            }
        };
        let is_ready = meaning.is_ready;
        self.message(about, direction, frame, content, attributes, origin);
        self.after(session, about, direction, frame, is_ready, origin);
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
    ) -> Meaning {
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
        let meaning = session.observe(direction, &seen, self.shared);
        if matches!(message, Some(Message::StartupMessage(_) | Message::ParameterStatus(_))) {
            about.is_wanted = self.config.only.wants(&session.facts().identity());
            about.is_unwanted = !about.is_wanted;
        }
        meaning
    }

    /// Tells what a message has brought about, and what it lacks.
    fn after(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        is_ready: bool,
        origin: Origin,
    ) {
        if is_ready {
            self.tell_ready(session, about, origin);
        }
        self.tell_queries(session, about);
        let (reason, detail) = match frame.cut {
            Some(Cut::TooLarge) => (Reason::Limit, "the message is larger than --max-message"),
            Some(Cut::Memory) => (Reason::Limit, "more is held than --max-held"),
            Some(Cut::End) => (Reason::Missing, "the stream ended inside a message"),
            // A gap was reported when it was found.
            Some(Cut::Gap) | None => return,
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
        let hides_values = redaction.hides_values();
        let normal_form = sql.filter(|_| hides_values).map(|sql| self.shared.normal_forms.get(sql));
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
            sql: match &normal_form {
                Some(form) => Some(Sql::normal(form)),
                None => sql.map(|sql| Sql { text: Text(sql), redaction }),
            },
            statement: meaning.subject.statement_name().map(Text).or(named),
            target: meaning.target,
            missing: frame.missing,
            holes: Holes { damage: frame.damage, hides: hides_damage },
            flags,
            error: if hides_values { error.map(DecodeError::masked) } else { error },
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

/// Whether a message is data, which says nothing that the session has to know.
const fn is_data(tag: Option<u8>, direction: Direction) -> bool {
    matches!((tag, direction), (Some(b'D' | b'd'), Direction::Backend) | (Some(b'd'), Direction::Frontend))
}

/// What is odd about a message from what the session knows.
fn meaning_flags(meaning: &Meaning) -> Flags {
    Flags { midstream: meaning.subject.is_unknown(), skipped: meaning.is_skipped, ..Flags::default() }
}

/// Gives a message what only the session knows of it. Says whether something that it depends on was never seen.
fn complete<'a>(message: &mut Message<'a>, session: &'a Session, meaning: &'a Meaning, has_named_rows: bool) -> bool {
    let settings = Some(&session.facts().settings);
    match message {
        Message::Bind(bind) => {
            bind.parameters.settings = settings;
            bind.parameters.types = meaning.subject.parameter_types();
            false
        }
        Message::DataRow(row) => {
            let shape = session.dialogue().row();
            row.values.formats = session.dialogue().row_formats();
            row.values.settings = settings;
            row.values.types = shape.map_or(Types::default(), RowShape::types);
            row.values.columns = shape.filter(|_| has_named_rows).map(RowShape::fields);
            row.values.formats.is_unknown() && !row.values.list.is_empty()
        }
        Message::FunctionCall(call) => {
            call.arguments.settings = settings;
            false
        }
        Message::FunctionCallResponse(response) => {
            response.value.format = session.dialogue().row_formats().get(0);
            response.value.settings = settings;
            response.value.format.is_none()
        }
        Message::CopyData(copy) => copy.data.format.is_none(),
        Message::UnknownAuthenticationResponse(_) => true,
        _ => false,
    }
}
