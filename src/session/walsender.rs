//! A session with a walsender: which command it executes, what its CopyData carries, and how far each side is.
//!
//! The command that opens a COPY determines which messages CopyData carries. Where that was not seen, a stream is recognized by
//! several messages in a row that make sense together.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::Serialize;

use super::budget::Budget;
use crate::direction::{Direction, PerDirection};
use crate::encoding::Encoding;
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::message_table::backend;
use crate::pg::text::{KeptText, Text};
use crate::reader::Reader;
use crate::replication::Lsn;
use crate::replication::command::Kind;
use crate::replication::data::{Mode, Payload, PayloadData, ReplicationContent};
use crate::replication::pgoutput::Pgoutput;
use crate::replication::stream::StreamMessage;
use crate::time::Timestamp;
use backup::BackupFacts;
use logical::{Effect, LogicalStream};
use progress::{Advance, Progress};
use recognition::{Recognition, backup_data, is_archive, is_manifest, replication_data};
pub use task::is_copying_command;
use task::{Start, Task, kept};

pub mod backup;
pub mod logical;
pub mod progress;
mod recognition;
mod task;

/// How many commands are remembered that have no reply yet: clients send one at a time.
const MAX_COMMANDS: usize = 16;

/// How many slots are remembered with their plugins.
const MAX_SLOTS: usize = 16;

/// How many messages in a row show that CopyData is that of a stream.
const STREAM_RUN: u32 = 3;

/// How many payloads in a row show that they are messages of pgoutput.
const PGOUTPUT_RUN: u32 = 8;

/// How many payloads in a row that follow one another in the WAL show that they are the WAL itself.
const WAL_RUN: u32 = 3;

/// What a walsender is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Purpose {
    /// The WAL as it is.
    Physical,
    /// Changes decoded from it.
    Logical,
    /// Base backups.
    Backup,
}

impl Purpose {
    /// Returns what a session is for whose startup message has this value of `replication`, before it has sent a command: with
    /// `database`, it can do what the others do, and is connected to a database; `None` if it is no session with a walsender.
    pub fn of_startup(replication: &[u8]) -> Option<Self> {
        // As parse_bool does: unique prefixes of these, in any case.
        let is_prefix = |word: &str, least: usize| {
            replication.len() >= least
                && word.as_bytes().get(..replication.len()).is_some_and(|start| start.eq_ignore_ascii_case(replication))
        };
        let is_on = replication == b"1" || is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2);
        match replication {
            b"database" => Some(Self::Logical),
            _ => is_on.then_some(Self::Physical),
        }
    }
}

/// What a session with a walsender is about.
#[derive(Debug)]
pub struct Walsender {
    /// What it is used for, as far as it is known.
    pub purpose: Option<Purpose>,
    /// Whether it is one: it was asked for, or enough of a stream was seen.
    pub is_known: bool,
    /// The slot that is streamed from.
    pub slot: Option<KeptText<'static>>,
    /// The output plugin of the slot.
    pub plugin: Option<KeptText<'static>>,
    /// The publications that are streamed.
    pub publications: Vec<KeptText<'static>>,
    /// The timeline that is streamed.
    pub timeline: Option<u32>,
    /// The last base backup.
    pub backup: BackupFacts,
    /// The bytes of messages of the request under way that were given as those of a stream or a backup.
    pub given_bytes: PerDirection<u64>,
    /// The commands whose ReadyForQuery has not come.
    tasks: VecDeque<Task>,
    /// What the stream is that may have begun where bytes of the server's were lost, for its command waited for that.
    awaited: Option<Box<Start>>,
    mode: Option<Mode>,
    /// The slots that were created, with their plugins.
    slots: VecDeque<(KeptText<'static>, KeptText<'static>)>,
    logical: LogicalStream,
    progress: Progress,
    recognition: Recognition,
    /// Whether what the payloads are is a guess that is yet to be confirmed.
    is_payload_uncertain: bool,
    /// Whether the first message of a backup is to show its form: the version of the server is not known.
    is_form_uncertain: bool,
    /// Whether SQL can be executed as well.
    may_have_database: bool,
    /// Whether the COPY that is under way is one of SQL.
    is_copy_of_sql: bool,
}

/// What an observed CopyData is.
#[derive(Clone, Copy, Debug)]
pub struct ObservedReplication<'a> {
    /// What it carries.
    pub mode: Mode,
    /// Whether it is between Stream Start and Stream Stop.
    pub is_streamed: bool,
    /// It.
    pub content: ReplicationContent<'a>,
    /// What it does.
    pub effect: Effect<'a>,
    /// What it adds to the progress of its stream or backup.
    pub advance: Advance,
}

impl Walsender {
    /// Creates that of a session whose startup message has this value of `replication`; `None` if that asks for no walsender.
    pub fn of_startup(replication: &[u8]) -> Option<Self> {
        let purpose = Purpose::of_startup(replication)?;
        Some(Self { may_have_database: purpose == Purpose::Logical, ..Self::new(Some(purpose)) })
    }

    /// Creates that of a session whose beginning was not seen.
    pub fn unknown() -> Self {
        Self { is_known: false, logical: LogicalStream::unknown(), ..Self::new(None) }
    }

    fn new(purpose: Option<Purpose>) -> Self {
        Self {
            purpose,
            is_known: true,
            slot: None,
            plugin: None,
            publications: Vec::new(),
            timeline: None,
            backup: BackupFacts::unknown(),
            given_bytes: PerDirection::default(),
            tasks: VecDeque::new(),
            awaited: None,
            mode: None,
            slots: VecDeque::new(),
            logical: LogicalStream::default(),
            progress: Progress::default(),
            recognition: Recognition::default(),
            is_payload_uncertain: false,
            is_form_uncertain: false,
            may_have_database: true,
            is_copy_of_sql: false,
        }
    }

    /// Returns what CopyData carries now, if it is a stream or a backup.
    pub const fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// Returns what the messages of pgoutput mean.
    pub const fn logical(&self) -> &LogicalStream {
        &self.logical
    }

    /// Observes a request that is no Query, and is answered with ReadyForQuery.
    pub fn other_request(&mut self) {
        self.push(Task::Other);
    }

    fn push(&mut self, task: Task) {
        self.awaited = None;
        if self.tasks.len() >= MAX_COMMANDS {
            self.tasks.pop_front();
        }
        self.tasks.push_back(task);
        if self.tasks.len() == 1 {
            self.begin_turn();
        }
    }

    /// The server executes the first of the commands.
    fn begin_turn(&mut self) {
        match self.tasks.front() {
            Some(Task::Backup { is_incremental, asked, .. }) => {
                (self.purpose, self.backup) = (Some(Purpose::Backup), BackupFacts::asked(*is_incremental, *asked));
                self.progress.begin_backup(*asked);
            }
            Some(Task::Manifest) => self.purpose = Some(Purpose::Backup),
            _ => {}
        }
    }

    /// Observes a Query; its text, if that is whole.
    pub fn command(&mut self, sql: Option<Text<'_>>, ts: Timestamp) {
        self.push(Task::of(sql, ts));
    }

    /// A stream begins. Returns what its payloads are.
    fn begin_stream(&mut self, start: Start) -> Payload {
        let Start { kind, slot, timeline, publications, has_pgoutput_options } = start;
        (self.slot, self.timeline, self.publications, self.plugin) = (slot, timeline, publications, None);
        if kind == Kind::Physical {
            self.purpose = Some(Purpose::Physical);
            return Payload::Wal;
        }
        self.purpose = Some(Purpose::Logical);
        let created = self.slots.iter().rev().find(|(slot, _)| Some(slot) == self.slot.as_ref());
        self.plugin = created.map(|(_, plugin)| plugin.clone());
        if self.plugin.is_none() && has_pgoutput_options {
            self.plugin = kept(b"pgoutput", Encoding::UTF8);
        }
        match self.plugin.as_deref() {
            Some(b"pgoutput") => Payload::Pgoutput,
            Some(b"wal2json") => Payload::Json,
            _ => Payload::Other,
        }
    }

    /// A stream begins of which CopyBothResponse was lost, if this is a message of one: nothing else was asked for.
    fn begin_awaited(&mut self, from: Direction, body: &[u8]) {
        let is_of_stream = |kind: &u8| match from {
            Direction::Backend => b"wks".contains(kind),
            Direction::Frontend => b"rhp".contains(kind),
        };
        if let Some(start) = self.awaited.take_if(|_| body.first().is_some_and(is_of_stream)) {
            let payload = self.begin_stream(*start);
            (self.mode, self.is_known) = (Some(Mode::Stream(payload)), true);
            self.is_payload_uncertain = matches!(payload, Payload::Unknown | Payload::Other);
            self.progress.begin_copy(true);
        }
    }

    /// A COPY begins, by this tag of the server's. Returns whether it is a stream or a backup.
    pub fn begin_copy(&mut self, tag: u8, server_version: Option<Text<'_>>) -> bool {
        self.awaited = None;
        let no_task = &mut Task::Unknown;
        let task = self.tasks.front_mut().unwrap_or(no_task);
        let is_out = tag == backend::COPY_OUT_RESPONSE;
        let of_options = if let Task::Backup { is_new, .. } = task { *is_new } else { None };
        self.is_copy_of_sql = is_out && matches!(task, Task::Other | Task::Slot(_)) && self.may_have_database;
        self.mode = match (tag, task) {
            (backend::COPY_BOTH_RESPONSE, task @ Task::Stream(_)) => match std::mem::replace(task, Task::Other) {
                Task::Stream(start) => Some(Mode::Stream(self.begin_stream(*start))),
                _ => None,
            },
            // Nothing else has a CopyBothResponse: a stream whose command was not seen. What is known is of the one before.
            (backend::COPY_BOTH_RESPONSE, _) => {
                (self.slot, self.plugin, self.timeline, self.publications) = (None, None, None, Vec::new());
                Some(Mode::Stream(Payload::Unknown))
            }
            // Without a database, there is no COPY of SQL; nor is one likely behind a backup.
            (backend::COPY_OUT_RESPONSE, Task::Other | Task::Slot(_)) if self.may_have_database => None,
            (backend::COPY_OUT_RESPONSE, Task::Unknown)
                if self.may_have_database && self.purpose != Some(Purpose::Backup) =>
            {
                None
            }
            (backend::COPY_OUT_RESPONSE, Task::Backup { .. } | Task::Unknown | Task::Other | Task::Slot(_)) => {
                let major = server_version.and_then(|version| major_version(version.0));
                let is_new = major.map(|major| major >= 15).or(of_options);
                self.is_form_uncertain = is_new.is_none();
                Some(if is_new == Some(false) { Mode::Archive } else { Mode::Backup })
            }
            (backend::COPY_IN_RESPONSE, Task::Manifest) => Some(Mode::Manifest),
            // Without a database, nothing else is copied in.
            (backend::COPY_IN_RESPONSE, _) if self.is_known && !self.may_have_database => Some(Mode::Manifest),
            _ => None,
        };
        self.is_payload_uncertain = matches!(self.mode, Some(Mode::Stream(Payload::Unknown | Payload::Other)));
        if matches!(self.mode, Some(Mode::Stream(_))) {
            (self.logical, self.recognition) = (LogicalStream::begun(), Recognition::default());
        }
        if matches!(self.mode, Some(Mode::Backup | Mode::Archive)) {
            self.backup.begin_files();
        }
        self.progress.begin_copy(matches!(self.mode, Some(Mode::Stream(_))));
        self.is_known |= self.mode.is_some();
        self.mode.is_some()
    }

    /// Observes CommandComplete.
    pub fn complete(&mut self) {
        self.end_copy();
        let Some(task @ Task::Slot(_)) = self.tasks.front_mut() else { return };
        let Task::Slot(slot) = std::mem::replace(task, Task::Other) else { return };
        let (slot, plugin) = *slot;
        // One of the same name may have been dropped, and created elsewhere.
        self.slots.retain(|(before, _)| *before != slot);
        if let Some(plugin) = plugin {
            if self.slots.len() >= MAX_SLOTS {
                self.slots.pop_front();
            }
            self.slots.push_back((slot, plugin));
        }
    }

    /// Observes ErrorResponse.
    pub fn fail(&mut self) {
        self.end_copy();
        self.tasks.front_mut().into_iter().for_each(|task| *task = Task::Other);
    }

    const fn end_copy(&mut self) {
        (self.mode, self.is_copy_of_sql) = (None, false);
    }

    /// Observes ReadyForQuery.
    pub fn ready(&mut self) {
        self.end_copy();
        self.tasks.pop_front();
        (self.backup, self.progress) = (BackupFacts::unknown(), Progress::default());
        self.begin_turn();
    }

    /// Bytes of this direction were lost: what depended on them is not known any more. What CopyData carries stays the same: a stream
    /// ends with messages of both sides, and a walsender is hardly given another purpose.
    pub fn lose(&mut self, direction: Direction) {
        let last = self.tasks.pop_back();
        self.tasks.clear();
        if direction == Direction::Backend {
            self.logical.lose();
            if let Some(Task::Stream(start)) = last {
                self.awaited = Some(start);
            }
        } else {
            self.awaited = None;
        }
        self.recognition = Recognition::default();
    }

    /// Whether rows are those of a base backup: [`Self::row`].
    pub fn has_backup(&self) -> bool {
        matches!(self.tasks.front(), Some(Task::Backup { .. }))
    }

    /// Observes a DataRow of the server's. Returns what it adds to the progress of a base backup, if it is one of its rows.
    pub fn row(&mut self, frame: &Frame<'_>, ts: Timestamp) -> Option<Advance> {
        (self.has_backup() && self.backup.observe(frame, ts)).then(|| self.progress.advance(ts))
    }

    /// Observes a CopyData. Returns `None` if it is not one of a stream or a backup, as far as it is known.
    pub fn observe<'a>(
        &mut self,
        from: Direction,
        frame: &Frame<'a>,
        ts: Timestamp,
        encoding: Encoding,
        budget: &Budget,
    ) -> Option<ObservedReplication<'a>> {
        let is_cut = frame.missing > 0 || !frame.damage.is_empty();
        let reader = if is_cut { Reader::cut(frame.body) } else { Reader::new(frame.body) };
        let reader = reader.with_encoding(encoding);
        if self.is_copy_of_sql {
            return None;
        }
        if frame.is_guessed && from == Direction::Backend {
            self.logical.guess();
        }
        self.begin_awaited(from, frame.body);
        if self.mode.is_none() && !self.recognize(from, reader.clone(), is_cut, ts) {
            let is_certain = self.is_known && !self.may_have_database;
            let mode = match from {
                Direction::Backend if is_certain => Some(replication_data(frame.body)),
                Direction::Backend => backup_data(frame.body, is_cut),
                Direction::Frontend => is_manifest(frame.body, is_certain).then_some(Mode::Manifest),
            };
            // What comes behind it is of the same kind, though it may look like text.
            self.mode = Some(mode?);
            self.is_payload_uncertain = matches!(self.mode, Some(Mode::Stream(_)));
            if !self.is_payload_uncertain {
                (self.purpose, self.is_known) = (Some(Purpose::Backup), true);
            }
        }
        if std::mem::take(&mut self.is_form_uncertain) && !is_archive(reader.clone()) {
            self.mode = Some(Mode::Archive);
        }
        let mut mode = self.mode.unwrap_or(Mode::Stream(Payload::Unknown));
        if let (true, Mode::Stream(_), Direction::Backend, false) = (self.is_payload_uncertain, mode, from, is_cut) {
            self.recognize_payload(reader.clone(), budget);
            mode = self.mode.unwrap_or(mode);
        }
        let mut is_streamed = false;
        let of_payload = |payload: &Reader<'_>, lsn| {
            is_streamed = self.logical.is_streamed(payload, lsn);
            is_streamed
        };
        let content = ReplicationContent::decode(mode, of_payload, from, reader);
        if let (None, ReplicationContent::Stream(StreamMessage::XlogData { start_lsn, end_lsn, .. }, _)) =
            (self.purpose, &content)
            && self.is_known
            && *end_lsn != Lsn(0)
        {
            // A change has its own position alone.
            self.purpose = Some(if start_lsn == end_lsn { Purpose::Logical } else { Purpose::Physical });
        }
        let effect = match &content {
            ReplicationContent::Stream(_, payload) => self.payload(payload, is_cut, budget),
            ReplicationContent::Undecoded(..) if from == Direction::Backend => {
                self.logical.undecoded(None);
                Effect::Nothing
            }
            _ => Effect::Nothing,
        };
        let advance = self.progress.observe(from, &content, ts);
        if matches!(mode, Mode::Backup | Mode::Archive) {
            self.backup.advance(&content, &advance, ts);
        }
        Some(ObservedReplication { mode, is_streamed, content, effect, advance })
    }

    /// Observes the changes of rows at the beginning of these frames of the server's: of one table, in a transaction that is not
    /// streamed. Returns them, and how many they are; none if they have to be observed one by one.
    pub fn observe_changes<'i>(
        &mut self,
        frames: &mut WholeFrames<'i>,
        ts: Timestamp,
        encoding: Encoding,
    ) -> (WholeFrames<'i>, u64) {
        let Self { mode, logical, progress, purpose, .. } = self;
        let is_stream = *mode == Some(Mode::Stream(Payload::Pgoutput)) && purpose.is_some();
        // Lines of what depends on a guess say so.
        if !is_stream || !logical.is_outside() || logical.is_guessed() {
            return (*frames, 0);
        }
        let mut table = None;
        let (run, count) = frames.run(backend::COPY_DATA, |body| {
            let mut reader = Reader::new(body).with_encoding(encoding);
            let Ok(StreamMessage::XlogData { end_lsn, .. }) = StreamMessage::decode(Direction::Backend, &mut reader)
            else {
                return false;
            };
            let Some(oid) = Pgoutput::changed_row(&mut reader) else { return false };
            let is_same = *table.get_or_insert(oid) == oid;
            if is_same {
                progress.told(end_lsn, ts);
            }
            is_same
        });
        if let Some(oid) = table.filter(|_| count > 0) {
            progress.advance(ts);
            logical.observe_rows(oid, count);
        }
        (run, count)
    }

    fn payload<'a>(&mut self, payload: &PayloadData<'a>, is_cut: bool, budget: &Budget) -> Effect<'a> {
        match payload {
            // What is cut off is not a change, nor the description of a table.
            PayloadData::Pgoutput(message) if !is_cut => self.logical.observe(message, budget),
            PayloadData::Pgoutput(message) => {
                self.logical.undecoded(Some(message.tag()));
                Effect::Nothing
            }
            PayloadData::NotPgoutput(_, data) => {
                self.logical.undecoded(data.first().copied());
                Effect::Nothing
            }
            PayloadData::None | PayloadData::Wal(_) | PayloadData::Json(_) | PayloadData::Other(_) => Effect::Nothing,
        }
    }

    /// Returns whether a CopyData may be one of a stream: with enough of them in a row, the stream is recognized.
    fn recognize(&mut self, from: Direction, mut reader: Reader<'_>, is_cut: bool, ts: Timestamp) -> bool {
        let is_plausible = !is_cut && self.recognition.is_plausible(from, &mut reader, ts);
        if !is_plausible {
            self.recognition = Recognition::default();
            return false;
        }
        if self.recognition.is_counted {
            self.recognition.stream_run += 1;
        }
        if self.recognition.stream_run >= STREAM_RUN {
            self.mode = Some(Mode::Stream(Payload::Unknown));
            (self.is_payload_uncertain, self.is_known) = (true, true);
        }
        true
    }

    /// Finds out what the payloads of a stream are.
    fn recognize_payload(&mut self, mut reader: Reader<'_>, budget: &Budget) {
        let Ok(StreamMessage::XlogData { start_lsn, .. }) = StreamMessage::decode(Direction::Backend, &mut reader)
        else {
            return;
        };
        let recognition = &mut self.recognition;
        let len = reader.remaining() as u64;
        let follows = start_lsn == recognition.next_lsn && start_lsn != Lsn(0);
        recognition.wal_run = if follows { recognition.wal_run + 1 } else { 0 };
        recognition.next_lsn = Lsn(start_lsn.0.saturating_add(len));
        if recognition.wal_run >= WAL_RUN && self.mode == Some(Mode::Stream(Payload::Unknown)) {
            (self.mode, self.is_payload_uncertain) = (Some(Mode::Stream(Payload::Wal)), false);
            self.purpose = Some(Purpose::Physical);
            return;
        }
        if recognition.is_not_pgoutput {
            return;
        }
        let is_streamed = self.logical.is_streamed(&reader, start_lsn);
        match Pgoutput::decode(&mut reader, is_streamed) {
            Ok(message) => {
                recognition.pgoutput_run += 1;
                if recognition.pgoutput_run >= PGOUTPUT_RUN {
                    // Those that showed what it is have no lines.
                    self.logical.lose_all_changes();
                    (self.mode, self.is_payload_uncertain) = (Some(Mode::Stream(Payload::Pgoutput)), false);
                    (self.purpose, self.plugin) = (Some(Purpose::Logical), kept(b"pgoutput", Encoding::UTF8));
                } else {
                    // The tables that are described meanwhile are known later.
                    self.logical.observe(&message, budget);
                }
            }
            Err(_) => recognition.is_not_pgoutput = true,
        }
    }
}

/// Returns the major version of a `server_version`: `15.18 (Debian 15.18-0+deb12u1)`, `9.6.24`, `19devel`.
fn major_version(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|digit| digit.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
