//! Records that wait to be written: copied out of packets and sessions into a few large buffers, so that another thread can
//! make their lines.
//!
//! Of a message its frame is copied, and what its session knew of it; it is decoded when its line is made. What many records
//! have in common (the two ends, SQL, columns) is copied once for those that come right behind one another.

use std::io;

use crate::direction::Direction;
use crate::encoding::Encoding;
use crate::pg::copy::CopyRows;
use crate::pg::error::{Fields, FieldsShape};
use crate::pg::frame::Frame;
use crate::pg::list::{List, ListShape};
use crate::pg::message::Context;
use crate::pg::row::{Format, Formats, Types, Values};
use crate::pg::text::{Sql, Text};
use crate::record::query::{Failure, QuerySql};
use crate::record::told::Columns;
use crate::record::{Flags, QueryRecord, Record, Told};
use crate::redaction::Redaction;
use crate::session::execution::Tags;
use crate::time::Timestamp;
use crate::value::Settings;
use crate::value::copy::Splitter;

/// A message with more bytes than this is no common one: its line is made at once, so that a batch stays small.
const LONGEST: usize = 64 * 1024;

/// Records, in their order.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<Item>,
    bytes: Vec<u8>,
    settings: Vec<Settings>,
    copies: Vec<Copying>,
    /// What stands for settings that are not there.
    default_settings: Settings,
    recent: Recent,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are messages, and they stand in a row")]
enum Item {
    Message(Message),
    Query(Box<Query>),
    /// A line that is made already.
    Line(Piece),
}

/// Bytes in [`Batch::bytes`].
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    start: usize,
    len: usize,
}

/// A text in [`Batch::bytes`].
type KeptText = (Piece, Encoding);

/// The pieces that were copied last, in case that they are wanted again.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    client: Piece,
    server: Piece,
    sql: Piece,
    statement: Piece,
    formats: Piece,
    types: Piece,
    fields: Piece,
    user: Piece,
    database: Piece,
    application: Piece,
}

/// A [`Told`], of whose frame nothing is missing.
#[derive(Debug)]
struct Message {
    ts: Timestamp,
    conn: u64,
    seq: u64,
    packet: u64,
    query: Option<u64>,
    elapsed_us: Option<u64>,
    len: u32,
    dir: Direction,
    tag: Option<u8>,
    is_contested: bool,
    /// Whether nobody has looked into it yet.
    is_new: bool,
    context: Context,
    flags: Flags,
    client: Piece,
    server: Piece,
    body: Piece,
    sql: Option<KeptText>,
    statement: Option<KeptText>,
    columns: Option<KeptColumns>,
    copy: Option<usize>,
}

/// [`Columns`].
#[derive(Debug)]
struct KeptColumns {
    formats: KeptFormats,
    types: Piece,
    fields: Option<(Piece, ListShape)>,
    settings: usize,
}

#[derive(Debug)]
enum KeptFormats {
    Unknown,
    All(Format),
    Each(Piece),
}

/// What splits COPY data into rows, and the names of the columns.
#[derive(Debug)]
struct Copying {
    splitter: Splitter,
    keys: Vec<String>,
    redaction: Redaction,
}

/// A [`QueryRecord`].
#[derive(Debug)]
struct Query {
    /// It, without what is borrowed.
    plain: QueryRecord<'static>,
    client: Piece,
    server: Piece,
    user: Option<KeptText>,
    database: Option<KeptText>,
    application: Option<KeptText>,
    sql: Option<(KeptText, Redaction)>,
    statement: Option<KeptText>,
    portal: Option<KeptText>,
    params: Option<(Piece, ListShape, KeptColumns, Redaction)>,
    command: Piece,
    error: Option<(Piece, FieldsShape)>,
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
        self.bytes.len() + self.items.len() * size_of::<Item>()
    }

    /// Takes everything out; the buffers are kept.
    pub fn clear(&mut self) {
        let Self { items, bytes, settings, copies, recent, .. } = self;
        items.clear();
        bytes.clear();
        settings.clear();
        copies.clear();
        *recent = Recent::default();
        bytes.shrink_to(16 * LONGEST);
    }

    /// Whether a message is one that can wait: a common one.
    pub const fn takes(told: &Told<'_>) -> bool {
        let frame = &told.frame;
        frame.missing == 0 && frame.damage.is_empty() && frame.body.len() <= LONGEST && told.target.is_none()
    }

    /// Takes a message; whether nobody has looked into it yet.
    pub fn message(&mut self, told: &Told<'_>, is_new: bool) {
        let Recent { client, server, sql, statement, .. } = self.recent;
        let client = self.again(told.client.as_bytes(), client);
        let server = self.again(told.server.as_bytes(), server);
        let sql = told.sql.map(|text| (self.again(text.0, sql), text.1));
        let statement = told.statement.map(|text| (self.again(text.0, statement), text.1));
        let message = Message {
            ts: told.ts,
            conn: told.conn,
            seq: told.seq,
            packet: told.packet,
            query: told.query,
            elapsed_us: told.elapsed_us,
            len: told.frame.len,
            dir: told.dir,
            tag: told.frame.tag,
            is_contested: told.frame.is_contested,
            is_new,
            context: told.context,
            flags: told.flags,
            client,
            server,
            body: self.piece(told.frame.body),
            sql,
            statement,
            columns: told.columns.map(|columns| self.columns(&columns)),
            copy: told.copy.map(|rows| self.copying(&rows)),
        };
        (self.recent.client, self.recent.server) = (client, server);
        self.recent.sql = sql.map_or(self.recent.sql, |(piece, _)| piece);
        self.recent.statement = statement.map_or(self.recent.statement, |(piece, _)| piece);
        self.items.push(Item::Message(message));
    }

    /// Takes a request.
    pub fn query(&mut self, query: &QueryRecord<'_>) {
        let user = self.recent_text(query.user, |recent| &mut recent.user);
        let database = self.recent_text(query.database, |recent| &mut recent.database);
        let application = self.recent_text(query.application, |recent| &mut recent.application);
        let sql = query.sql.and_then(|QuerySql(Sql { text, redaction })| {
            Some((self.recent_text(Some(text), |recent| &mut recent.sql)?, redaction))
        });
        let statement = self.recent_text(query.statement, |recent| &mut recent.statement);
        let portal = query.portal.map(|portal| (self.piece(portal.0), portal.1));
        let client = self.again(query.client.as_bytes(), self.recent.client);
        let server = self.again(query.server.as_bytes(), self.recent.server);
        (self.recent.client, self.recent.server) = (client, server);
        let params = query.params.as_ref().map(|values| {
            let Values { list, formats, types, settings, columns, redaction } = *values;
            let default = Settings::default();
            let settings = settings.unwrap_or(&default);
            let columns = self.columns(&Columns { formats, types, fields: columns, settings });
            (self.piece(list.as_bytes()), list.shape(), columns, redaction)
        });
        let command = self.piece(query.command.as_bytes());
        let error = query.error.as_ref().map(|failure| {
            let (bytes, shape) = failure.fields.as_parts();
            (self.piece(bytes), shape)
        });
        self.items.push(Item::Query(Box::new(Query {
            plain: query.without_borrowed(),
            client,
            server,
            user,
            database,
            application,
            sql,
            statement,
            portal,
            params,
            command,
            error,
        })));
    }

    /// Takes a line, which `write` makes.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn line(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        self.items.push(Item::Line(Piece { start, len: self.bytes.len() - start }));
        written
    }

    /// Gives every record to `write`, in order, and puts the lines that are made already between them. Says how many messages
    /// could not be decoded, of those into which nobody had looked.
    ///
    /// # Errors
    ///
    /// Those of `write`.
    pub fn replay(
        &self,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&mut Vec<u8>, &Record<'_>) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut undecoded = 0;
        for item in &self.items {
            match item {
                Item::Message(message) => {
                    let told = self.told(message);
                    let decoded = told.decode();
                    undecoded += u64::from(message.is_new && decoded.is_err());
                    write(out, &Record::Message(told.record(Some(decoded))))?;
                }
                Item::Query(query) => write(out, &Record::Query(self.record_of(query)))?,
                Item::Line(piece) => out.extend_from_slice(self.get(*piece)),
            }
        }
        Ok(undecoded)
    }

    fn piece(&mut self, bytes: &[u8]) -> Piece {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Piece { start, len: bytes.len() }
    }

    /// A piece that may be the same as one that is there.
    fn again(&mut self, bytes: &[u8], before: Piece) -> Piece {
        if self.get(before) == bytes { before } else { self.piece(bytes) }
    }

    /// A text that may be the same as the last one of its kind.
    fn recent_text(&mut self, text: Option<Text<'_>>, last: fn(&mut Recent) -> &mut Piece) -> Option<KeptText> {
        let Text(bytes, encoding) = text?;
        let before = *last(&mut self.recent);
        let piece = self.again(bytes, before);
        *last(&mut self.recent) = piece;
        Some((piece, encoding))
    }

    fn get(&self, piece: Piece) -> &[u8] {
        self.bytes.get(piece.start..piece.start + piece.len).unwrap_or_default()
    }

    fn str(&self, piece: Piece) -> &str {
        std::str::from_utf8(self.get(piece)).unwrap_or_default()
    }

    fn text(&self, (piece, encoding): KeptText) -> Text<'_> {
        Text(self.get(piece), encoding)
    }

    fn columns(&mut self, columns: &Columns<'_>) -> KeptColumns {
        let Columns { formats, types, fields, settings } = *columns;
        let formats = match formats {
            Formats::Unknown => KeptFormats::Unknown,
            Formats::All(format) => KeptFormats::All(format),
            Formats::Each(codes) => {
                self.recent.formats = self.again(codes, self.recent.formats);
                KeptFormats::Each(self.recent.formats)
            }
        };
        self.recent.types = self.again(types.as_bytes(), self.recent.types);
        let fields = fields.map(|fields| {
            self.recent.fields = self.again(fields.as_bytes(), self.recent.fields);
            (self.recent.fields, fields.shape())
        });
        if self.settings.last() != Some(settings) {
            self.settings.push(settings.clone());
        }
        KeptColumns { formats, types: self.recent.types, fields, settings: self.settings.len() - 1 }
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
            settings: self.settings.get(columns.settings).unwrap_or(&self.default_settings),
        }
    }

    fn copying(&mut self, rows: &CopyRows<'_>) -> usize {
        let CopyRows { split, keys, redaction } = *rows;
        let splitter = split.splitter();
        let is_last = self.copies.last().is_some_and(|last| {
            last.redaction == redaction && last.keys == keys && splitter.splits_like(&last.splitter)
        });
        if !is_last {
            self.copies.push(Copying { splitter: splitter.snapshot(), keys: keys.to_vec(), redaction });
        }
        self.copies.len() - 1
    }

    fn told(&self, message: &Message) -> Told<'_> {
        let body = self.get(message.body);
        let is_contested = message.is_contested;
        Told {
            ts: message.ts,
            conn: message.conn,
            client: self.str(message.client),
            server: self.str(message.server),
            dir: message.dir,
            seq: message.seq,
            packet: message.packet,
            frame: Frame { is_contested, ..Frame::whole(message.tag, message.len, body) },
            context: message.context,
            query: message.query,
            elapsed_us: message.elapsed_us,
            target: None,
            sql: message.sql.map(|text| self.text(text)),
            statement: message.statement.map(|text| self.text(text)),
            columns: message.columns.as_ref().map(|columns| self.columns_of(columns)),
            copy: message.copy.and_then(|index| self.copies.get(index)).map(|copying| {
                let Copying { splitter, keys, redaction } = copying;
                CopyRows { split: splitter.split(body), keys, redaction: *redaction }
            }),
            flags: message.flags,
        }
    }

    fn record_of(&self, query: &Query) -> QueryRecord<'_> {
        let text = |text: Option<KeptText>| text.map(|text| self.text(text));
        QueryRecord {
            client: self.str(query.client),
            server: self.str(query.server),
            user: text(query.user),
            database: text(query.database),
            application: text(query.application),
            sql: query.sql.map(|(sql, redaction)| QuerySql(Sql { text: self.text(sql), redaction })),
            statement: text(query.statement),
            portal: text(query.portal),
            params: query.params.as_ref().map(|(piece, shape, columns, redaction)| {
                let Columns { formats, types, fields, settings } = self.columns_of(columns);
                let list = List::from_parts(self.get(*piece), *shape);
                Values { list, formats, types, settings: Some(settings), columns: fields, redaction: *redaction }
            }),
            command: Tags::from_bytes(self.get(query.command)),
            error: query.error.map(|(piece, shape)| Failure::new(Fields::from_parts(self.get(piece), shape))),
            ..query.plain.clone()
        }
    }
}
