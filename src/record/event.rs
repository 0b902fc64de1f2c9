//! A message before its line is made: its frame, and what its session knows of it.
//!
//! What the line says beside is decoded from the frame: by the one who makes the line, which may be another thread, when the
//! session is further on. So nothing here is anything but a copy or a borrow of what was known when the message came.

use std::cell::Cell;

use super::{Content, Flags, Header, Holes, MessageRecord};
use crate::direction::Direction;
use crate::pg::copy::CopyRows;
use crate::pg::extended::TargetKind;
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::list::List;
use crate::pg::message::{self, Context, Decoded, Message};
use crate::pg::message_table::frontend;
use crate::pg::row::{Field, Formats, Types};
use crate::pg::text::{Sql, Text};
use crate::replication::command::Command;
use crate::replication::data::ReplicationData;
use crate::sql::secret::Parameters;
use crate::value::Settings;

/// A message, and what its session knows of it. The fields that are not explained are those of [`MessageRecord`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct MessageEvent<'a> {
    pub header: Header<'a>,
    pub dir: Direction,
    pub seq: u64,
    pub packet: u64,
    /// The message as it lay in the stream.
    pub frame: &'a Frame<'a>,
    /// What its decoding depends on.
    pub(crate) context: Context,
    pub query: Option<u64>,
    pub elapsed_us: Option<u64>,
    pub target: Option<u64>,
    /// The SQL that the name in it stands for.
    pub sql: Option<Text<'a>>,
    /// The name of the statement, where the message does not have it itself.
    pub statement: Option<Text<'a>>,
    /// What its values are, where it has some.
    pub(crate) columns: Option<Columns<'a>>,
    /// The rows of a COPY in it.
    pub(crate) copy: Option<CopyRows<'a>>,
    /// What a CopyData of a replication stream, or of a base backup, is.
    pub(crate) replication: Option<ReplicationData<'a>>,
    /// What is odd about it, as far as the session knows.
    pub flags: Flags,
    /// Counts the messages whose body turns out not to decode.
    pub undecoded: &'a Cell<u64>,
}

/// Messages of data that came one right behind the other: they differ in `seq`, and in their bodies.
#[derive(Clone, Debug)]
pub struct MessageRun<'a> {
    /// The first of them.
    pub first: MessageEvent<'a>,
    /// The frames of all of them.
    pub(crate) frames: WholeFrames<'a>,
    /// How many they are.
    pub count: u64,
}

impl MessageRun<'_> {
    /// Returns the same run, which counts messages that cannot be decoded elsewhere.
    #[doc(hidden)]
    pub fn counting_in<'b>(&'b self, undecoded: &'b Cell<u64>) -> MessageRun<'b> {
        MessageRun { first: self.first.counting_in(undecoded), ..*self }
    }

    /// Gives each of them.
    pub fn for_each(&self, mut take: impl FnMut(&MessageEvent<'_>)) {
        let Self { first, frames, .. } = self;
        for (seq, (tag, len, body)) in (first.seq..).zip(*frames) {
            take(&first.next(seq, &Frame::whole(Some(tag), len, body)));
        }
    }
}

/// What values are, as far as the session knows: those of a row, of parameters, of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    /// Their formats, but for those of parameters.
    pub formats: Formats<'a>,
    /// Their types.
    pub types: Types<'a>,
    /// The columns of a row, where it is to be written by their names.
    pub fields: Option<List<'a, Field<'a>>>,
    /// Which of the values of parameters are secrets.
    pub secrets: Parameters,
    /// How values are written.
    pub settings: &'a Settings,
}

impl<'a> MessageEvent<'a> {
    /// Another one, of the same data.
    pub(crate) fn next<'b>(&self, seq: u64, frame: &'b Frame<'b>) -> MessageEvent<'b>
    where
        'a: 'b,
    {
        let copy = self.copy.map(|rows| rows.of_row(frame.body));
        MessageEvent { seq, frame, copy, replication: None, ..self.clone() }
    }

    /// The name of the message, as its line has it. One that can only be told by its content must be decoded.
    pub fn name(&self, decoded: Option<&Decoded<'_>>) -> &'static str {
        match decoded {
            Some(Ok(message)) => message.name(),
            _ => message::undecoded_name(self.dir, self.frame.tag, &self.context),
        }
    }

    /// Returns the same event, which counts messages that cannot be decoded elsewhere.
    #[doc(hidden)]
    pub fn counting_in<'b>(&self, undecoded: &'b Cell<u64>) -> MessageEvent<'b>
    where
        'a: 'b,
    {
        MessageEvent { undecoded, ..self.clone() }
    }

    /// Decodes the message, where that was not done yet.
    #[inline(always)]
    pub fn decode<'m>(&self, decoded: &'m mut Option<Decoded<'a>>) -> &'m mut Decoded<'a> {
        decoded.get_or_insert_with(|| {
            let decoded = Message::decode(self.dir, self.frame, &self.context);
            self.undecoded.set(self.undecoded.get() + u64::from(decoded.is_err()));
            decoded
        })
    }

    /// Whether its line says no more of it than what most do, unless that turns out when it is decoded.
    #[inline(always)]
    pub(crate) fn is_common(&self) -> bool {
        let Self { frame, flags, context, .. } = self;
        frame.missing == 0
            && frame.damage.is_empty()
            && !frame.is_contested
            && self.target.is_none()
            && self.replication.is_none()
            && !context.is_walsender
            && flags.is_empty()
    }

    /// The statement that its line names.
    #[inline(always)]
    pub(crate) fn statement_of<'m>(&self, message: &'m Message<'a>) -> Option<Text<'m>>
    where
        'a: 'm,
    {
        self.statement.or(match message {
            Message::Bind(bind) => Some(bind.statement),
            Message::Describe(target) if target.kind == TargetKind::Statement => Some(target.name),
            _ => None,
        })
    }

    /// Returns its record. The message is completed by what only its session knows of it.
    #[inline(always)]
    pub fn to_record<'m>(&self, decoded: &'m mut Option<Decoded<'a>>) -> MessageRecord<'m>
    where
        'a: 'm,
    {
        let decoded = self.decode(decoded);
        let Self { frame, context, sql, .. } = self;
        let redaction = context.redaction;
        let mut flags = Flags { truncated: frame.missing > 0, overlap: frame.is_contested, ..self.flags };
        let mut statement = self.statement;
        let replication_command = self.replication_command();
        let (content, error) = match decoded {
            Ok(message) if let Some(body) = self.replication => {
                flags.midstream |= body.is_midstream();
                (Content::Replication { name: message.name(), body }, None)
            }
            Ok(message) => {
                self.complete(message, &mut flags);
                let message: &'m Message<'a> = message;
                statement = self.statement_of(message);
                (Content::Decoded(message), None)
            }
            Err(error) => {
                let name = message::undecoded_name(self.dir, frame.tag, context);
                let body = message::undecoded_body(self.dir, frame.tag, frame.body, context);
                let error = if redaction.hides_values() { error.masked() } else { *error };
                (Content::Undecoded { name, body }, Some(error))
            }
        };
        MessageRecord {
            header: self.header,
            dir: self.dir,
            seq: self.seq,
            packet: self.packet,
            tag: frame.tag.map(Into::into),
            len: frame.len,
            content,
            query: self.query,
            elapsed_us: self.elapsed_us,
            sql: sql.map(|text| Sql { text, redaction }),
            statement,
            target: self.target,
            replication_command,
            missing: frame.missing,
            holes: Holes {
                damage: frame.damage,
                hides: message::is_masked_behind(self.dir, frame.tag, redaction)
                    || self.replication.is_some_and(|data| data.is_hidden()),
            },
            flags,
            error,
        }
    }

    /// Returns the replication command in a Query, unless a part of it is not known or not to be written.
    fn replication_command(&self) -> Option<Command<'a>> {
        let Self { frame, context, .. } = self;
        let is_command = context.is_walsender && self.dir == Direction::Frontend && frame.tag == Some(frontend::QUERY);
        if !is_command || frame.missing > 0 || !frame.damage.is_empty() || context.redaction.hides_values() {
            return None;
        }
        let text = frame.body.strip_suffix(b"\0")?;
        let sql = Sql { text: Text(text, context.encoding), redaction: context.redaction };
        // What may be a secret is in no field either.
        if *sql.masked() == *text { Command::parse(text) } else { None }
    }

    /// Gives a message what only the session knows of it, and flags where something that it depends on is not known.
    #[inline(always)]
    pub(crate) fn complete(&self, message: &mut Message<'a>, flags: &mut Flags) {
        if let Some(rows) = &self.copy {
            flags.limit |= rows.split.too_long() > 0;
            flags.midstream |= rows.split.lost() > 0;
        }
        match message {
            Message::CopyData(copy) => {
                copy.rows = self.copy;
                flags.midstream |= copy.data.format.is_none() && self.copy.is_none() && !flags.skipped;
            }
            Message::CopyDone(copy) => copy.rows = self.copy,
            Message::UnknownAuthenticationResponse(_) => flags.midstream = true,
            message => {
                if let Some(columns) = &self.columns {
                    columns.complete(message, flags);
                }
            }
        }
    }
}

impl<'a> Columns<'a> {
    /// Whether they are known to be the same.
    pub(crate) fn is_same(&self, other: &Columns<'_>) -> bool {
        let is_same_list = match (&self.fields, &other.fields) {
            (None, None) => true,
            (Some(fields), Some(others)) => fields.as_bytes() == others.as_bytes() && fields.shape() == others.shape(),
            _ => false,
        };
        is_same_list
            && self.formats == other.formats
            && self.types.as_bytes() == other.types.as_bytes()
            && self.secrets == other.secrets
            && self.settings.is_same(other.settings)
    }

    fn complete(&self, message: &mut Message<'a>, flags: &mut Flags) {
        let Self { formats, types, fields, secrets, settings } = *self;
        match message {
            Message::Bind(bind) => {
                (bind.parameter_values.types, bind.parameter_values.settings) = (types, Some(settings));
                bind.parameter_values.secrets = secrets;
            }
            Message::DataRow(row) => {
                let values = &mut row.values;
                (values.formats, values.types, values.columns) = (formats, types, fields);
                values.settings = Some(settings);
                flags.midstream |= formats.is_unknown() && !values.list.is_empty();
            }
            Message::FunctionCall(call) => call.arguments.settings = Some(settings),
            Message::FunctionCallResponse(response) => {
                (response.value.format, response.value.settings) = (formats.get(0), Some(settings));
                flags.midstream |= response.value.format.is_none();
            }
            _ => {}
        }
    }
}
