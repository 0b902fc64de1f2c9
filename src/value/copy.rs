//! Data of a COPY as rows ("File Formats", in the reference of COPY): text, CSV, binary.
//!
//! [`Splitter`] promises that every row is handed out once it is whole, however the data is cut into messages: a server
//! sends a row a message, a client cuts where it likes. A row that lies in one message is not copied, and what is kept of
//! others is bounded. What is no row is given as it is, or counted. It neither knows what types the columns have, nor whether
//! a row has the right number of them.

mod fields;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

pub use self::fields::CopyFields;
use self::scan::{End, MARK, Scanner};
use super::Settings;
use crate::encoding::Encoding;
use crate::hex::{Bytea, Hex};
use crate::sql::statement::{CopyFormat, CopyOptions};

/// A buffer larger than this is not kept for the next row.
const SMALL: usize = 64 * 1024;

/// A row: its bytes, without the end of the line.
#[derive(Clone, Copy, Debug)]
pub struct CopyRow<'a> {
    bytes: &'a [u8],
    options: &'a CopyOptions<'static>,
    encoding: Encoding,
}

impl<'a> CopyRow<'a> {
    /// The fields, unescaped, in the text format of their types or in the binary one.
    pub fn fields(&self) -> CopyFields<'a> {
        CopyFields::new(self.bytes, self.options, self.encoding)
    }

    /// The row as it is on the wire.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The row as JSON, in one line and without white space, where it is in that format and is what it should be.
    pub fn json(&self) -> Option<Cow<'a, str>> {
        if self.options.format != CopyFormat::Json {
            return None;
        }
        super::json::object(self.encoding.decode(self.bytes)?)
    }
}

/// A field of a row, written as what a value of an unknown type is.
#[derive(Clone, Debug)]
pub struct CopyField<'a> {
    /// What is in it; nothing where it is NULL.
    pub bytes: Option<Cow<'a, [u8]>>,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Text(Encoding),
    Binary,
}

impl CopyField<'_> {
    /// Whether it is text, as far as it is valid in its encoding.
    pub const fn is_text(&self) -> bool {
        matches!(self.form, Form::Text(_))
    }

    /// Its text; nothing where it is NULL, binary, or not valid in its encoding.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self.form {
            Form::Text(encoding) => encoding.decode(self.bytes.as_deref()?),
            Form::Binary => None,
        }
    }
}

impl Serialize for CopyField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = &self.bytes else { return serializer.serialize_none() };
        match self.form {
            Form::Binary => Bytea(bytes).serialize(serializer),
            Form::Text(encoding) => match encoding.decode(bytes) {
                Some(text) => serializer.serialize_str(&text),
                None => Hex(bytes).serialize(serializer),
            },
        }
    }
}

/// Cuts the data of one COPY into rows.
///
/// ```
/// use pgdissect::internals::copy::Splitter;
/// use pgdissect::internals::sql::statement::{CopyFormat, CopyOptions};
///
/// let mut rows = Vec::new();
/// let mut splitter = Splitter::new(CopyOptions::new(CopyFormat::Csv), &Default::default(), 1024);
/// for data in [&b"1,\"two\nli"[..], b"nes\"\n3,\n"] {
///     splitter.push(data);
///     for row in splitter.split(data).rows() {
///         rows.push(row.fields().map(|field| field.bytes.map(|bytes| bytes.into_owned())).collect::<Vec<_>>());
///     }
/// }
/// assert_eq!(rows, [[Some(b"1".to_vec()), Some(b"two\nlines".to_vec())], [Some(b"3".to_vec()), None]]);
/// ```
#[derive(Debug)]
pub struct Splitter {
    /// Tells it, and its snapshots, from all others.
    id: u64,
    options: CopyOptions<'static>,
    encoding: Encoding,
    longest: u64,
    /// Whether a line of its own can be the mark of the end.
    has_mark: bool,
    /// Before the data that was pushed last.
    before: State,
    /// Behind it.
    state: State,
    /// Whether that was the end.
    is_end: bool,
    /// Whether it was one row, and nothing else.
    is_row: bool,
    /// How many bytes that ended in it are in no row, for these were too long.
    too_long: u64,
    /// How many, for something before them was lost.
    lost: u64,
    /// Where in it begins what is in no row, and whether all of `whole` is in none either.
    rest: Option<(usize, bool)>,
    /// What of that data did not begin in it, and is whole now.
    whole: Vec<u8>,
    /// The beginning of a row.
    carry: Vec<u8>,
}

/// What is remembered from one piece of data to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    scanner: Scanner,
    /// How many lines of the header are left, with the one that begins, or has begun.
    header_lines: u32,
    /// How many bytes of a row there were.
    unfinished: u64,
    /// Whether they are not kept.
    is_dropped: bool,
}

/// How many splitters there were.
static SPLITTERS: AtomicU64 = AtomicU64::new(0);

impl Splitter {
    /// A splitter that keeps `longest` bytes of an unfinished row at the most.
    pub fn new(options: CopyOptions<'static>, settings: &Settings, longest: usize) -> Self {
        let named = |name: &[u8]| Encoding::named(std::str::from_utf8(name).unwrap_or_default());
        let encoding = options.encoding.as_deref().map_or(settings.encoding, named);
        let has_lines = matches!(options.format, CopyFormat::Text | CopyFormat::Csv);
        let header_lines = if has_lines { options.header_lines } else { 0 };
        // "\." alone on a line is a row of CSV from PostgreSQL 18 on. Where it is not known whose the server is, clients of
        // before are those that send it.
        let is_before_18 = settings.server_major.is_none_or(|major| major < 18);
        let has_mark = has_lines && (options.format == CopyFormat::Text || is_before_18);
        let scanner = Scanner::new(&options, encoding);
        let state = State { scanner, header_lines, unfinished: 0, is_dropped: false };
        let (whole, carry) = (Vec::new(), Vec::new());
        Self {
            id: SPLITTERS.fetch_add(1, Ordering::Relaxed),
            encoding,
            longest: longest as u64,
            has_mark,
            before: state,
            state,
            is_end: false,
            is_row: false,
            too_long: 0,
            lost: 0,
            rest: None,
            whole,
            carry,
            options,
        }
    }

    /// What [`Splitter::split`] needs of it now, for the data that was pushed last.
    pub(crate) fn snapshot(&self) -> Self {
        Self { options: self.options.clone(), whole: self.whole.clone(), carry: Vec::new(), ..*self }
    }

    /// Whether a snapshot that was taken before serves as well as one that is taken now: it does while nothing has been carried
    /// from one piece to the next.
    pub(crate) fn splits_like(&self, snapshot: &Self) -> bool {
        let is_plain = |splitter: &Self| splitter.whole.is_empty() && splitter.rest.is_none();
        is_plain(self)
            && is_plain(snapshot)
            && (self.before, self.is_end, self.is_row, self.too_long, self.lost)
                == (snapshot.before, snapshot.is_end, snapshot.is_row, snapshot.too_long, snapshot.lost)
            && (self.state.unfinished, self.id) == (snapshot.state.unfinished, snapshot.id)
    }

    /// Takes the data of a message.
    pub fn push(&mut self, data: &[u8]) {
        self.take(data, false);
    }

    /// Takes the data of a message, if that is one row and nothing else. [`Splitter::split`] finds in it what it finds in any
    /// other that was taken so, right behind it.
    pub fn push_row(&mut self, data: &[u8]) -> bool {
        let State { scanner, header_lines, unfinished, .. } = &self.state;
        let is_row = *header_lines == 0 && *unfinished == 0 && scanner.is_row(data);
        if is_row {
            self.begin(true, false);
        }
        is_row
    }

    /// Takes the end of the data: the last row needs no end of a line.
    pub fn finish(&mut self) {
        self.take(&[], true);
    }

    /// What was found in the data that was pushed last, which is to be given again; or at the end, for no data.
    pub const fn split<'a>(&'a self, data: &'a [u8]) -> Split<'a> {
        Split { splitter: self, data }
    }

    /// Something was lost, and what is pushed next begins a row: "Messages sent from the backend will always correspond to
    /// single data rows" (CopyData).
    pub fn restart(&mut self) {
        self.lose();
        self.state.scanner.restart();
    }

    /// Something was lost. The next line of the text format begins a row; in the other formats nothing tells where one does.
    pub fn resume(&mut self) {
        self.lose();
        self.state.scanner.resume();
    }

    /// Gives up the beginning of a row, for the memory is needed for others.
    pub fn release(&mut self) {
        self.state.is_dropped = self.state.unfinished > 0;
        (self.whole, self.carry) = (Vec::new(), Vec::new());
    }

    /// Whether no rows come any more: all data is [`Split::rest`].
    pub const fn is_over(&self) -> bool {
        matches!(self.state.scanner, Scanner::Over)
    }

    /// How many bytes it keeps of rows.
    pub const fn held(&self) -> usize {
        self.whole.capacity() + self.carry.capacity()
    }

    fn lose(&mut self) {
        self.carry.clear();
        self.state = State { header_lines: 0, unfinished: 0, is_dropped: false, ..self.state };
    }

    fn begin(&mut self, is_row: bool, is_end: bool) {
        (self.before, self.is_row, self.is_end) = (self.state, is_row, is_end);
        (self.too_long, self.lost, self.rest) = (0, 0, None);
        self.whole.clear();
        self.whole.shrink_to(SMALL);
    }

    fn take(&mut self, data: &[u8], is_end: bool) {
        if !is_end && self.push_row(data) {
            return;
        }
        self.begin(false, is_end);
        let mut walk = self.walk(data);
        while let Some(step) = walk.next() {
            let is_carried = step.carried > 0;
            match step.end {
                None => self.keep(&step),
                Some(End::Row) => {
                    if is_carried {
                        self.keep(&step);
                        self.end();
                    }
                    if step.is_dropped {
                        self.too_long += step.len();
                    } else if walk.is_mark(&step, &self.whole) {
                        walk.state.scanner = Scanner::Over;
                        let at = data.len() - walk.rest.len();
                        self.rest = Some(if is_carried { (at, true) } else { (at - step.piece.len(), false) });
                        break;
                    }
                }
                Some(End::Rest) => {
                    self.too_long += if step.is_dropped { step.carried } else { 0 };
                    self.rest = Some((data.len() - step.piece.len(), is_carried));
                    self.end();
                }
                Some(End::Skipped) => self.lost += step.len(),
                Some(End::Nothing) => self.carry.clear(),
            }
        }
        self.state = walk.state;
    }

    /// What is carried has ended.
    fn end(&mut self) {
        std::mem::swap(&mut self.whole, &mut self.carry);
        self.carry.clear();
    }

    fn keep(&mut self, step: &CopyStep<'_>) {
        if step.is_dropped {
            self.carry = Vec::new();
        } else {
            self.carry.extend_from_slice(step.piece);
        }
    }

    fn walk<'a>(&self, data: &'a [u8]) -> Walk<'a> {
        Walk { state: self.before, rest: data, is_end: self.is_end, longest: self.longest, has_mark: self.has_mark }
    }
}

/// What was found in the data of one message.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    splitter: &'a Splitter,
    data: &'a [u8],
}

impl<'a> Split<'a> {
    /// What splits it.
    pub(crate) const fn splitter(self) -> &'a Splitter {
        self.splitter
    }

    /// How its text is to be read.
    pub(crate) const fn encoding(self) -> Encoding {
        self.splitter.encoding
    }

    /// The names of the columns, where they end in it: of several lines before the first row, the last.
    pub fn header(self) -> Option<CopyRow<'a>> {
        if self.splitter.before.header_lines == 0 {
            return None;
        }
        let mut header = self.lines().take_while(|(_, header_lines)| *header_lines > 0);
        header.find(|(_, header_lines)| *header_lines == 1).map(|(row, _)| row)
    }

    /// Whether the line before the first row is the only one, and has the names of the columns.
    pub(crate) const fn has_names(self) -> bool {
        self.splitter.options.header_lines == 1
    }

    /// The row, where it is one and nothing else.
    pub(crate) fn row(self) -> Option<CopyRow<'a>> {
        let Self { splitter: Splitter { options, encoding, is_row, .. }, data } = self;
        let (_, bytes) = data.split_last().filter(|_| *is_row)?;
        Some(CopyRow { bytes, options, encoding: *encoding })
    }

    /// The rows that end in it. They are looked for again, so that nothing has to be kept of a message with many of them.
    pub fn rows(self) -> impl Iterator<Item = CopyRow<'a>> + use<'a> {
        self.lines().filter(|(_, header_lines)| *header_lines == 0).map(|(row, _)| row)
    }

    /// Its lines, each with how many of the header were left with it.
    fn lines(self) -> impl Iterator<Item = (CopyRow<'a>, u32)> + use<'a> {
        let Self { splitter: Splitter { options, encoding, whole, is_row, .. }, data } = self;
        let row = |bytes| CopyRow { bytes, options, encoding: *encoding };
        let mut only = self.row().map(|row| (row, 0));
        let mut walk = self.splitter.walk(if *is_row { &[] } else { data });
        std::iter::from_fn(move || {
            if only.is_some() {
                return only.take();
            }
            loop {
                let step = walk.next()?;
                match step.end {
                    Some(End::Row) if walk.is_mark(&step, whole) => return None,
                    Some(End::Row) if !step.is_dropped => {
                        let bytes = walk.state.scanner.without_end(step.bytes(whole));
                        return Some((row(bytes), step.header_lines));
                    }
                    Some(End::Rest) => return None,
                    _ => {}
                }
            }
        })
    }

    /// What is in no row: all that comes behind the mark of the end, or behind what cannot be read, and the message that has
    /// that, from there on.
    pub fn rest(self) -> Option<Cow<'a, [u8]>> {
        let (at, is_carried) = self.splitter.rest?;
        let rest = self.data.get(at..).unwrap_or_default();
        Some(if is_carried { [&self.splitter.whole, rest].concat().into() } else { rest.into() })
    }

    /// How many bytes of rows end in it that were too long to be kept.
    pub const fn too_long(self) -> u64 {
        self.splitter.too_long
    }

    /// How many bytes it has between something that was lost and the next row.
    pub const fn lost(self) -> u64 {
        self.splitter.lost
    }

    /// How many bytes there are of a row that goes on in the next message.
    pub const fn unfinished(self) -> u64 {
        self.splitter.state.unfinished
    }

    /// Whether each row is a value of JSON.
    pub fn is_json(self) -> bool {
        self.splitter.options.format == CopyFormat::Json
    }

    /// Whether it is in the binary format.
    pub fn is_binary(self) -> bool {
        self.splitter.options.format == CopyFormat::Binary
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.too_long() == 0
            && self.lost() == 0
            && self.splitter.rest.is_none()
            && self.unfinished() == 0
            && self.lines().next().is_none()
    }
}

/// The way through the data of a message, row by row.
struct Walk<'a> {
    state: State,
    rest: &'a [u8],
    /// Whether nothing follows it.
    is_end: bool,
    longest: u64,
    has_mark: bool,
}

/// A piece of the data.
struct CopyStep<'a> {
    /// Of one row, or of something else.
    piece: &'a [u8],
    /// How many bytes of the same were in earlier messages.
    carried: u64,
    /// Whether they, or it, are too many to be kept.
    is_dropped: bool,
    header_lines: u32,
    /// What ends with it; nothing where it goes on in the next message.
    end: Option<End>,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Option<CopyStep<'a>> {
        let State { scanner, header_lines, unfinished: carried, is_dropped } = &mut self.state;
        let (length, end) = if !self.rest.is_empty() {
            scanner.scan(self.rest)
        } else if std::mem::take(&mut self.is_end) && *carried > 0 {
            (0, Some(scanner.finish()))
        } else {
            return None;
        };
        let (piece, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let mut step = CopyStep { piece, carried: *carried, is_dropped: *is_dropped, header_lines: *header_lines, end };
        // A row that is whole where it lies need not be kept.
        let is_to_be_kept = end.is_none() || step.carried > 0 && end == Some(End::Row);
        step.is_dropped |= is_to_be_kept && step.len() > self.longest;
        if end.is_some() {
            (*carried, *is_dropped) = (0, false);
            *header_lines = match end {
                Some(End::Nothing) => *header_lines,
                Some(End::Row) => header_lines.saturating_sub(1),
                _ => 0,
            };
        } else {
            (*carried, *is_dropped) = (step.len(), step.is_dropped);
        }
        Some(step)
    }

    /// Whether a row that ends with a step is the mark of the end, which older clients send.
    fn is_mark(&self, step: &CopyStep<'_>, whole: &[u8]) -> bool {
        let line = step.bytes(whole);
        let row = self.state.scanner.without_end(line);
        // In CSV, nothing but the end of its line makes it one.
        self.has_mark && row == MARK && (row.len() < line.len() || !self.state.scanner.has_quotes())
    }
}

impl<'a> CopyStep<'a> {
    /// All of it, where what was carried is put together.
    const fn bytes(&self, whole: &'a [u8]) -> &'a [u8] {
        if self.carried == 0 { self.piece } else { whole }
    }

    const fn len(&self) -> u64 {
        self.carried + self.piece.len() as u64
    }
}
