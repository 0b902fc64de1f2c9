//! Records that wait to be written: copied out of packets and sessions into a few large buffers, so that another thread can
//! make their lines.
//!
//! Of a message its frame is copied, and what its session knew of it; it is decoded when its line is made. What many records
//! have in common (the two ends, SQL, columns) is copied once for those that come right behind one another.

use std::cell::Cell;
use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use super::Form;
use crate::direction::{Direction, PerDirection};
use crate::encoding::Encoding;
use crate::pg::copy::CopyRows;
use crate::pg::error::{Fields, FieldsShape};
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::list::{List, ListShape};
use crate::pg::message::Context;
use crate::pg::row::{Format, Formats, Types, Values};
use crate::pg::text::{Sql, Text};
use crate::record::event::Columns;
use crate::record::query::{Borrowed, Downstream, Failure, QuerySql, Steps};
use crate::record::{ChangeRun, Flags, Header, MessageEvent, MessageRun, QueryRecord, Record};
use crate::redaction::Redaction;
use crate::replication::data::{Mode, ReplicationContext, ReplicationData};
use crate::replication::relation::Relation;
use crate::session::execution::Tags;
use crate::sql::secret::Parameters;
use crate::time::Timestamp;
use crate::value::Settings;
use crate::value::copy::Splitter;

/// A message with more bytes than this is no common one: its line is made at once, so that a batch stays small.
const LONGEST: usize = 64 * 1024;

/// Records, in their order.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<Item>,
    queries: Vec<Query>,
    bytes: Vec<u8>,
    /// Addresses and ports.
    ends: String,
    sources: Vec<Source>,
    subjects: Vec<Subject>,
    columns: Vec<KeptColumns>,
    settings: Vec<Settings>,
    copies: Vec<Copying>,
    replications: Vec<Replication>,
    /// What stands for settings that are not there.
    default_settings: Settings,
    recents: [Recent; RECENT],
}

/// For how many connections it is known what was copied last: those whose lines come by turns.
const RECENT: usize = 16;

#[derive(Debug)]
enum Item {
    Message(Message),
    /// Messages of data: the first, with the frames of all in place of its body; and how many.
    Data(Message, u64),
    /// Changes of rows.
    Changes(Changes),
    /// The next of the queries.
    Query,
    /// A line that is made already.
    Line(BatchRange),
}

/// Bytes in [`Batch::bytes`].
#[derive(Clone, Copy, Debug, Default)]
struct BatchRange {
    start: usize,
    len: usize,
}

/// A text in [`Batch::bytes`].
type KeptText = (BatchRange, Encoding);

/// An index, or none.
type Index = Option<NonZeroU32>;

/// The last that was copied of the connections that share a remainder, in case that it is wanted again.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    source: Index,
    subject: Index,
    /// Of parameters, and of rows.
    columns: PerDirection<Index>,
    settings: Index,
    user: BatchRange,
    database: BatchRange,
    application: BatchRange,
}

/// A [`MessageEvent`], of whose frame nothing is missing.
#[derive(Debug)]
struct Message {
    ts: Timestamp,
    seq: u64,
    packet: u64,
    query: Option<u64>,
    elapsed_us: Option<u64>,
    body: BatchRange,
    len: u32,
    source: Index,
    subject: Index,
    columns: Index,
    copy: Index,
    replication: Index,
    dir: Direction,
    tag: Option<u8>,
    is_contested: bool,
    /// Whether nobody has looked into it yet.
    is_new: bool,
    flags: Flags,
}

/// A [`ChangeRun`].
#[derive(Debug)]
struct Changes {
    ts: Timestamp,
    packet: u64,
    xid: Option<u32>,
    source: Index,
    replication: Index,
    frames: BatchRange,
    count: u64,
}

/// Whose message it is, and what its decoding depends on. A connection has its ends for good.
#[derive(Debug)]
struct Source {
    conn: u64,
    client: Range<usize>,
    server: Range<usize>,
    context: Context,
}

/// What a request speaks of.
#[derive(Clone, Copy, Debug)]
struct Subject {
    sql: Option<KeptText>,
    statement: Option<KeptText>,
}

/// [`Columns`].
#[derive(Debug)]
struct KeptColumns {
    formats: KeptFormats,
    types: BatchRange,
    fields: Option<(BatchRange, ListShape)>,
    secrets: Parameters,
    settings: Index,
}

#[derive(Debug)]
enum KeptFormats {
    Unknown,
    All(Format),
    Each(BatchRange),
}

/// What splits COPY data into rows, and the names of the columns.
#[derive(Debug)]
struct Copying {
    splitter: Splitter,
    keys: Vec<String>,
    redaction: Redaction,
}

/// [`ReplicationContext`].
#[derive(Debug)]
struct Replication {
    mode: Mode,
    is_streamed: bool,
    relation: Option<Arc<Relation>>,
    settings: Index,
    shows_data: bool,
    encoding: Encoding,
    redaction: Redaction,
}

/// A [`QueryRecord`].
#[derive(Debug)]
struct Query {
    /// It, without what is borrowed.
    plain: QueryRecord<'static>,
    source: Index,
    user: Option<KeptText>,
    database: Option<KeptText>,
    application: Option<KeptText>,
    redaction: Redaction,
    subject: Index,
    portal: Option<KeptText>,
    params: Option<(BatchRange, ListShape, Index, Redaction)>,
    command_tags: BatchRange,
    downstream: Option<KeptDownstream>,
    error: Option<(BatchRange, FieldsShape)>,
}

/// A [`Downstream`].
#[derive(Clone, Copy, Debug)]
struct KeptDownstream {
    conn: u64,
    query: u64,
    client: (usize, usize),
    application: Option<KeptText>,
}

impl Batch {
    /// How many records there are.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many bytes they take.
    pub const fn bytes(&self) -> usize {
        self.bytes.len() + self.items.len() * size_of::<Item>() + self.queries.len() * size_of::<Query>()
    }

    /// Takes everything out; the buffers are kept.
    pub fn clear(&mut self) {
        let Self {
            items,
            queries,
            bytes,
            ends,
            sources,
            subjects,
            columns,
            settings,
            copies,
            replications,
            recents,
            ..
        } = self;
        items.clear();
        queries.clear();
        bytes.clear();
        ends.clear();
        sources.clear();
        subjects.clear();
        columns.clear();
        settings.clear();
        copies.clear();
        replications.clear();
        *recents = Default::default();
        bytes.shrink_to(16 * LONGEST);
    }

    /// Whether a message is one that can wait: a common one.
    pub const fn takes(event: &MessageEvent<'_>) -> bool {
        let frame = &event.frame;
        let is_plain = frame.missing == 0 && frame.damage.is_empty() && !frame.is_version_2;
        is_plain && frame.body.len() <= LONGEST && event.target.is_none()
    }

    /// Whether messages of data can wait.
    pub const fn takes_data(data: &MessageRun<'_>) -> bool {
        Self::takes(&data.first) && data.frames.rest().len() <= LONGEST
    }

    /// Takes a message; whether nobody has looked into it yet.
    pub fn message(&mut self, event: &MessageEvent<'_>, is_new: bool) {
        let message = self.encode_message(event, event.frame.body, is_new);
        self.items.push(Item::Message(message));
    }

    /// Takes messages of data.
    pub fn data(&mut self, data: &MessageRun<'_>) {
        let first = self.encode_message(&data.first, data.frames.rest(), true);
        self.items.push(Item::Data(first, data.count));
    }

    /// Returns whether changes can wait.
    pub const fn takes_changes(run: &ChangeRun<'_>) -> bool {
        run.frames.rest().len() <= LONGEST
    }

    /// Adds changes.
    pub fn changes(&mut self, run: &ChangeRun<'_>) {
        let ChangeRun { header, packet, xid, context, frames, count } = run;
        let mut recent = self.recent(header.conn);
        recent.source = self.source(recent.source, header, None);
        self.keep_recent(header.conn, recent);
        let changes = Changes {
            ts: header.ts,
            packet: *packet,
            xid: *xid,
            source: recent.source,
            replication: self.replication(context),
            frames: self.piece(frames.rest()),
            count: *count,
        };
        self.items.push(Item::Changes(changes));
    }

    fn encode_message(&mut self, event: &MessageEvent<'_>, body: &[u8], is_new: bool) -> Message {
        let mut recent = self.recent(event.header.conn);
        recent.source = self.source(recent.source, &event.header, Some(&event.context));
        let subject = if event.sql.is_some() || event.statement.is_some() {
            recent.subject = self.subject(recent.subject, event.sql, event.statement);
            recent.subject
        } else {
            None
        };
        let columns = match &event.columns {
            Some(columns) => self.columns_again(&mut recent, event.dir, columns),
            None => None,
        };
        self.keep_recent(event.header.conn, recent);
        Message {
            ts: event.header.ts,
            seq: event.seq,
            packet: event.packet,
            query: event.query,
            elapsed_us: event.elapsed_us,
            body: self.piece(body),
            len: event.frame.len,
            source: recent.source,
            subject,
            columns,
            copy: event.copy.as_ref().and_then(|rows| self.copying(rows)),
            replication: event.replication.as_ref().and_then(|data| self.replication(&data.context)),
            dir: event.dir,
            tag: event.frame.tag,
            is_contested: event.frame.is_contested,
            is_new,
            flags: event.flags,
        }
    }

    /// Takes a request.
    pub fn query(&mut self, query: &QueryRecord<'_>) {
        let mut recent = self.recent(query.header.conn);
        recent.source = self.source(recent.source, &query.header, None);
        let user = self.text_again(query.user, &mut recent.user);
        let database = self.text_again(query.database, &mut recent.database);
        let application = self.text_again(query.application, &mut recent.application);
        let sql = query.sql.as_ref().map(|QuerySql(sql)| sql.text);
        recent.subject = self.subject(recent.subject, sql, query.statement);
        let params = query.params.as_ref().map(|values| {
            let Values { list, formats, types, settings, columns, secrets, redaction } = *values;
            let default = Settings::default();
            let settings = settings.unwrap_or(&default);
            let columns = Columns { formats, types, fields: columns, secrets, settings };
            let columns = self.columns_again(&mut recent, Direction::Frontend, &columns);
            (self.piece(list.as_bytes()), list.shape(), columns, redaction)
        });
        self.keep_recent(query.header.conn, recent);
        let portal = query.portal.map(|portal| (self.piece(portal.0), portal.1));
        let command_tags = self.piece(query.command_tags.as_bytes());
        let downstream = query.downstream.map(|Downstream { conn, query, client, application, names: _ }| {
            let start = self.ends.len();
            self.ends.push_str(client);
            let application = application.map(|Text(bytes, encoding)| (self.piece(bytes), encoding));
            KeptDownstream { conn, query, client: (start, self.ends.len()), application }
        });
        let error = query.error.as_ref().map(|failure| {
            let (bytes, shape) = failure.fields.as_parts();
            (self.piece(bytes), shape)
        });
        self.queries.push(Query {
            plain: query.with_borrowed(Borrowed {
                header: Header { ts: query.header.ts, ..Header::default() },
                ..Borrowed::default()
            }),
            source: recent.source,
            user,
            database,
            application,
            redaction: query.sql.as_ref().map_or(Redaction::default(), |QuerySql(sql)| sql.redaction),
            subject: recent.subject,
            portal,
            params,
            command_tags,
            downstream,
            error,
        });
        self.items.push(Item::Query);
    }

    /// Takes lines, which `make` makes.
    pub fn line(&mut self, make: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        make(&mut self.bytes);
        self.items.push(Item::Line(BatchRange { start, len: self.bytes.len() - start }));
    }

    /// Writes the lines of all, in order; counts in `undecoded` the messages that do not decode, of those that had not been
    /// decoded before.
    ///
    /// # Errors
    ///
    /// Those of the form.
    pub fn write(&self, out: &mut Vec<u8>, form: &mut dyn Form, undecoded: &Cell<u64>) -> io::Result<()> {
        let counted = Cell::new(0);
        let mut queries = self.queries.iter();
        for item in &self.items {
            match item {
                Item::Message(message) => {
                    let frame = Frame::whole(message.tag, message.len, self.get(message.body));
                    let frame = &Frame { is_contested: message.is_contested, ..frame };
                    // What was decoded before is counted already.
                    let undecoded = if message.is_new { undecoded } else { &counted };
                    let Some(event) = self.event(message, frame, undecoded) else { continue };
                    let mut decoded = None;
                    if !message.is_new {
                        let _ = event.decode(&mut decoded);
                    }
                    form.message(out, &event, &mut decoded)?;
                }
                Item::Data(first, count) => {
                    let frames = WholeFrames::new(first.dir, self.get(first.body));
                    let Some((tag, len, body)) = { frames }.next() else { continue };
                    let frame = &Frame::whole(Some(tag), len, body);
                    let Some(first) = self.event(first, frame, undecoded) else { continue };
                    form.data(out, &MessageRun { first, frames, count: *count })?;
                }
                Item::Changes(changes) => {
                    let Changes { ts, packet, xid, source, replication, frames, count } = *changes;
                    let source = at(&self.sources, source);
                    let Some((source, context)) = source.zip(self.replication_context(replication)) else { continue };
                    let frames = WholeFrames::new(Direction::Backend, self.get(frames));
                    let header = self.header(source, ts);
                    form.changes(out, &ChangeRun { header, packet, xid, context, frames, count })?;
                }
                Item::Query => {
                    let Some(query) = queries.next().and_then(|query| self.record_of(query)) else { continue };
                    form.record(out, &Record::Query(query))?;
                }
                Item::Line(piece) => out.extend_from_slice(self.get(*piece)),
            }
        }
        Ok(())
    }

    /// Returns a request by its index, in a batch of requests only.
    pub fn query_at(&self, index: usize) -> Option<QueryRecord<'_>> {
        self.queries.get(index).and_then(|query| self.record_of(query))
    }

    fn recent(&self, conn: u64) -> Recent {
        self.recents.get(conn as usize % RECENT).copied().unwrap_or_default()
    }

    fn keep_recent(&mut self, conn: u64, recent: Recent) {
        if let Some(kept) = self.recents.get_mut(conn as usize % RECENT) {
            *kept = recent;
        }
    }

    /// Of a request, whatever its messages depended on.
    fn source(&mut self, before: Index, header: &Header<'_>, context: Option<&Context>) -> Index {
        // Every field, so that a new one cannot be forgotten.
        let Header { ts: _, conn, client, server } = *header;
        if at(&self.sources, before)
            .is_some_and(|source| source.conn == conn && context.is_none_or(|context| source.context == *context))
        {
            return before;
        }
        let mut end = |text: &str| {
            self.ends.push_str(text);
            self.ends.len() - text.len()..self.ends.len()
        };
        let (client, server) = (end(client), end(server));
        put(&mut self.sources, Source { conn, client, server, context: context.copied().unwrap_or_default() })
    }

    fn subject(&mut self, before: Index, sql: Option<Text<'_>>, statement: Option<Text<'_>>) -> Index {
        if let Some(found) = at(&self.subjects, before)
            && found.sql.map(|text| self.text(text)) == sql
            && found.statement.map(|text| self.text(text)) == statement
        {
            return before;
        }
        let mut kept = |text: Text<'_>| (self.piece(text.0), text.1);
        let subject = Subject { sql: sql.map(&mut kept), statement: statement.map(&mut kept) };
        put(&mut self.subjects, subject)
    }

    fn piece(&mut self, bytes: &[u8]) -> BatchRange {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        BatchRange { start, len: bytes.len() }
    }

    /// A text that may be the same as before.
    fn text_again(&mut self, text: Option<Text<'_>>, before: &mut BatchRange) -> Option<KeptText> {
        let Text(bytes, encoding) = text?;
        if self.get(*before) != bytes {
            *before = self.piece(bytes);
        }
        Some((*before, encoding))
    }

    fn get(&self, piece: BatchRange) -> &[u8] {
        self.bytes.get(piece.start..piece.start + piece.len).unwrap_or_default()
    }

    fn text(&self, (piece, encoding): KeptText) -> Text<'_> {
        Text(self.get(piece), encoding)
    }

    fn header(&self, source: &Source, ts: Timestamp) -> Header<'_> {
        let end = |range: &Range<usize>| self.ends.get(range.clone()).unwrap_or_default();
        Header { ts, conn: source.conn, client: end(&source.client), server: end(&source.server) }
    }

    fn columns_again(&mut self, recent: &mut Recent, dir: Direction, columns: &Columns<'_>) -> Index {
        let index = recent.columns.get_mut(dir);
        if at(&self.columns, *index).is_none_or(|kept| !self.columns_of(kept).is_same(columns)) {
            *index = self.columns(columns, &mut recent.settings);
        }
        *index
    }

    fn columns(&mut self, columns: &Columns<'_>, before: &mut Index) -> Index {
        let Columns { formats, types, fields, secrets, settings } = *columns;
        let formats = match formats {
            Formats::Unknown => KeptFormats::Unknown,
            Formats::All(format) => KeptFormats::All(format),
            Formats::Each(codes) => KeptFormats::Each(self.piece(codes)),
        };
        let types = self.piece(types.as_bytes());
        let fields = fields.map(|fields| (self.piece(fields.as_bytes()), fields.shape()));
        if at(&self.settings, *before).is_none_or(|before| !before.is_same(settings)) {
            *before = put(&mut self.settings, settings.clone());
        }
        put(&mut self.columns, KeptColumns { formats, types, fields, secrets, settings: *before })
    }

    fn columns_of(&self, columns: &KeptColumns) -> Columns<'_> {
        Columns {
            formats: match columns.formats {
                KeptFormats::Unknown => Formats::Unknown,
                KeptFormats::All(format) => Formats::All(format),
                KeptFormats::Each(codes) => Formats::Each(self.get(codes)),
            },
            types: Types::from_bytes(self.get(columns.types)),
            fields: columns.fields.map(|(piece, shape)| List::from_parts(self.get(piece), shape)),
            secrets: columns.secrets,
            settings: at(&self.settings, columns.settings).unwrap_or(&self.default_settings),
        }
    }

    fn copying(&mut self, rows: &CopyRows<'_>) -> Index {
        let CopyRows { split, keys, redaction } = *rows;
        let splitter = split.splitter();
        let last = NonZeroU32::new(self.copies.len() as u32);
        let is_last = at(&self.copies, last).is_some_and(|last| {
            last.redaction == redaction && last.keys == keys && splitter.splits_like(&last.splitter)
        });
        if is_last {
            return last;
        }
        put(&mut self.copies, Copying { splitter: splitter.snapshot(), keys: keys.to_vec(), redaction })
    }

    fn replication(&mut self, context: &ReplicationContext<'_>) -> Index {
        // Every field, so that a new one cannot be forgotten.
        let ReplicationContext { mode, is_streamed, relation, settings, shows_data, encoding, redaction } = *context;
        let last = NonZeroU32::new(self.replications.len() as u32);
        let kept = at(&self.replications, last);
        let kept_settings = kept.and_then(|kept| kept.settings);
        let has_settings = match (at(&self.settings, kept_settings), settings) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_same(other),
            _ => false,
        };
        let is_last = has_settings
            && kept.is_some_and(|kept| {
                let is_same_relation = match (&kept.relation, relation) {
                    (None, None) => true,
                    (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                    _ => false,
                };
                is_same_relation
                    && (kept.mode, kept.is_streamed, kept.shows_data) == (mode, is_streamed, shows_data)
                    && (kept.encoding, kept.redaction) == (encoding, redaction)
            });
        if is_last {
            return last;
        }
        let settings = match settings {
            Some(_) if has_settings => kept_settings,
            Some(settings) => put(&mut self.settings, settings.clone()),
            None => None,
        };
        let relation = relation.cloned();
        let kept = Replication { mode, is_streamed, relation, settings, shows_data, encoding, redaction };
        put(&mut self.replications, kept)
    }

    fn replication_context(&self, replication: Index) -> Option<ReplicationContext<'_>> {
        let kept = at(&self.replications, replication)?;
        Some(ReplicationContext {
            mode: kept.mode,
            is_streamed: kept.is_streamed,
            relation: kept.relation.as_ref(),
            settings: at(&self.settings, kept.settings),
            shows_data: kept.shows_data,
            encoding: kept.encoding,
            redaction: kept.redaction,
        })
    }

    fn event<'a>(
        &'a self,
        message: &Message,
        frame: &'a Frame<'a>,
        undecoded: &'a Cell<u64>,
    ) -> Option<MessageEvent<'a>> {
        let source = at(&self.sources, message.source)?;
        let subject = at(&self.subjects, message.subject);
        Some(MessageEvent {
            header: self.header(source, message.ts),
            dir: message.dir,
            seq: message.seq,
            packet: message.packet,
            frame,
            context: source.context,
            query: message.query,
            elapsed_us: message.elapsed_us,
            target: None,
            sql: subject.and_then(|subject| Some(self.text(subject.sql?))),
            statement: subject.and_then(|subject| Some(self.text(subject.statement?))),
            columns: at(&self.columns, message.columns).map(|columns| self.columns_of(columns)),
            copy: at(&self.copies, message.copy).map(|copying| {
                let Copying { splitter, keys, redaction } = copying;
                CopyRows { split: splitter.split(frame.body), keys, redaction: *redaction }
            }),
            replication: self
                .replication_context(message.replication)
                .map(|context| ReplicationData::decode(context, message.dir, frame.body, false)),
            flags: message.flags,
            undecoded,
        })
    }

    fn record_of(&self, kept: &Query) -> Option<QueryRecord<'_>> {
        let source = at(&self.sources, kept.source)?;
        let Subject { sql, statement } = *at(&self.subjects, kept.subject)?;
        let text = |text: Option<KeptText>| text.map(|text| self.text(text));
        let redaction = kept.redaction;
        Some(kept.plain.with_borrowed(Borrowed {
            header: self.header(source, kept.plain.header.ts),
            user: text(kept.user),
            database: text(kept.database),
            application: text(kept.application),
            sql: sql.map(|sql| QuerySql(Sql { text: self.text(sql), redaction })),
            statement: text(statement),
            portal: text(kept.portal),
            params: kept.params.as_ref().and_then(|(piece, shape, columns, redaction)| {
                let Columns { formats, types, fields, secrets, settings } =
                    self.columns_of(at(&self.columns, *columns)?);
                let settings = Some(settings);
                let list = List::from_parts(self.get(*piece), *shape);
                Some(Values { list, formats, types, settings, columns: fields, secrets, redaction: *redaction })
            }),
            command_tags: Tags::from_bytes(self.get(kept.command_tags)),
            downstream: kept.downstream.map(|KeptDownstream { conn, query, client: (start, end), application }| {
                let client = self.ends.get(start..end).unwrap_or_default();
                // The names are not on lines.
                Downstream { conn, query, client, application: text(application), names: [None; 2] }
            }),
            error: kept.error.map(|(piece, shape)| Failure::new(Fields::from_parts(self.get(piece), shape))),
            // Only forms have them that one thread makes, in order.
            steps: Steps::default(),
        }))
    }
}

/// Where it was put.
fn put<T>(all: &mut Vec<T>, item: T) -> Index {
    all.push(item);
    NonZeroU32::new(all.len() as u32)
}

/// What was put there.
fn at<T>(all: &[T], index: Index) -> Option<&T> {
    all.get(index?.get() as usize - 1)
}
