//! Splitting of COPY data into rows ("File Formats", in the reference of COPY): text, CSV, binary.
//!
//! [`Splitter`] yields every row once it is complete, however the data is divided into messages: a server sends one row in each
//! message, a client divides the data anywhere. A row that lies in one message is not copied; of other rows, a limited number of
//! bytes is kept. Bytes outside of rows are returned unchanged, or counted. The splitter knows neither the types of the columns
//! nor their number.

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

/// A larger buffer is freed after the row.
const SMALL: usize = 64 * 1024;

/// The bytes of a row, without line terminator.
#[derive(Clone, Copy, Debug)]
pub struct CopyRow<'a> {
    bytes: &'a [u8],
    options: &'a CopyOptions<'static>,
    encoding: Encoding,
}

impl<'a> CopyRow<'a> {
    /// Iterates over the fields, unescaped, in the text or binary format of their types.
    pub fn fields(&self) -> CopyFields<'a> {
        CopyFields::new(self.bytes, self.options, self.encoding)
    }

    /// Returns the row as it is on the wire.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the row as JSON, in one line and without white space, if the format is JSON and the row is valid.
    pub fn json(&self) -> Option<Cow<'a, str>> {
        if self.options.format != CopyFormat::Json {
            return None;
        }
        super::json::object(self.encoding.decode(self.bytes)?)
    }
}

/// A field of a row. Written like a value of unknown type.
#[derive(Clone, Debug)]
pub struct CopyField<'a> {
    /// The content; `None` if the field is NULL.
    pub bytes: Option<Cow<'a, [u8]>>,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Text(Encoding),
    Binary,
}

impl CopyField<'_> {
    /// Returns whether the field is in a text format. The text may be invalid in its encoding.
    pub const fn is_text(&self) -> bool {
        matches!(self.form, Form::Text(_))
    }

    /// Returns the text; `None` if the field is NULL, binary, or not valid in its encoding.
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

/// Splits the data of one COPY into rows.
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
    /// Distinguishes the splitter and its snapshots from all others.
    id: u64,
    options: CopyOptions<'static>,
    encoding: Encoding,
    longest: u64,
    /// Whether the end-of-data marker may be on a line of its own.
    has_mark: bool,
    /// The state before the last data.
    before: State,
    /// The state after the last data.
    state: State,
    /// Whether the end of the COPY was reached.
    is_end: bool,
    /// Whether the last data was one row, and nothing else.
    is_row: bool,
    /// The number of bytes of rows that ended in the last data but were too long to be kept.
    too_long: u64,
    /// The number of bytes of the last data before the first row after a loss.
    lost: u64,
    /// The start of the bytes of the last data that are outside of rows, and whether all of `whole` is outside as well.
    rest: Option<(usize, bool)>,
    /// The bytes of a row that began in earlier data and ended in the last.
    whole: Vec<u8>,
    /// The beginning of an incomplete row.
    carry: Vec<u8>,
}

/// The state between two pieces of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    scanner: Scanner,
    /// The number of remaining header lines, including the one that is in progress.
    header_lines: u32,
    /// The number of bytes of an incomplete row.
    unfinished: u64,
    /// Whether these bytes are not kept.
    is_dropped: bool,
}

/// The number of splitters created.
static SPLITTERS: AtomicU64 = AtomicU64::new(0);

impl Splitter {
    /// Creates a splitter that keeps at most `longest` bytes of an incomplete row.
    pub fn new(options: CopyOptions<'static>, settings: &Settings, longest: usize) -> Self {
        let named = |name: &[u8]| Encoding::named(std::str::from_utf8(name).unwrap_or_default());
        let encoding = options.encoding.as_deref().map_or(settings.encoding, named);
        let has_lines = matches!(options.format, CopyFormat::Text | CopyFormat::Csv);
        let header_lines = if has_lines { options.header_lines } else { 0 };
        // From PostgreSQL 18 on, "\." alone on a line of CSV is a row. If the server's version is not known, it is assumed to be
        // the marker, which only older clients send.
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

    /// Returns a copy with the state that [`Splitter::split`] needs for the last data.
    pub(crate) fn snapshot(&self) -> Self {
        Self { options: self.options.clone(), whole: self.whole.clone(), carry: Vec::new(), ..*self }
    }

    /// Returns whether an earlier snapshot is equivalent to a new one, which is the case while no row spans two messages.
    pub(crate) fn splits_like(&self, snapshot: &Self) -> bool {
        let is_plain = |splitter: &Self| splitter.whole.is_empty() && splitter.rest.is_none();
        is_plain(self)
            && is_plain(snapshot)
            && (self.before, self.is_end, self.is_row, self.too_long, self.lost)
                == (snapshot.before, snapshot.is_end, snapshot.is_row, snapshot.too_long, snapshot.lost)
            && (self.state.unfinished, self.id) == (snapshot.state.unfinished, snapshot.id)
    }

    /// Processes the data of a message.
    pub fn push(&mut self, data: &[u8]) {
        self.take(data, false);
    }

    /// Processes the data of a message and returns `true`, if it is one row and nothing else. Until the next change of state,
    /// [`Splitter::split`] can then be called with any data processed in this way.
    pub fn push_row(&mut self, data: &[u8]) -> bool {
        let State { scanner, header_lines, unfinished, .. } = &self.state;
        let is_row = *header_lines == 0 && *unfinished == 0 && scanner.is_row(data);
        if is_row {
            self.begin(true, false);
        }
        is_row
    }

    /// Processes the end of the data: the last row needs no line terminator.
    pub fn finish(&mut self) {
        self.take(&[], true);
    }

    /// Returns what was found in the last data, which has to be passed again; at the end of the COPY, pass no data.
    pub const fn split<'a>(&'a self, data: &'a [u8]) -> Split<'a> {
        Split { splitter: self, data }
    }

    /// Records a loss after which the next data begins with a row: "Messages sent from the backend will always correspond to
    /// single data rows" (CopyData).
    pub fn restart(&mut self) {
        self.lose();
        self.state.scanner.restart();
    }

    /// Records a loss. In the text format, the next line begins a row; in other formats, row boundaries are no longer known.
    pub fn resume(&mut self) {
        self.lose();
        self.state.scanner.resume();
    }

    /// Discards the beginning of an incomplete row to free memory.
    pub fn release(&mut self) {
        self.state.is_dropped = self.state.unfinished > 0;
        (self.whole, self.carry) = (Vec::new(), Vec::new());
    }

    /// Returns whether no more rows can follow: all data is [`Split::rest`].
    pub const fn is_over(&self) -> bool {
        matches!(self.state.scanner, Scanner::Over)
    }

    /// Returns the number of bytes kept.
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

    /// Completes the carried row.
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

/// The rows and other bytes found in the data of one message.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    splitter: &'a Splitter,
    data: &'a [u8],
}

impl<'a> Split<'a> {
    /// Returns the splitter.
    pub(crate) const fn splitter(self) -> &'a Splitter {
        self.splitter
    }

    /// Returns the encoding of the text.
    pub(crate) const fn encoding(self) -> Encoding {
        self.splitter.encoding
    }

    /// Returns the column names, if the header ends in this data; with several header lines, the last one.
    pub fn header(self) -> Option<CopyRow<'a>> {
        if self.splitter.before.header_lines == 0 {
            return None;
        }
        let mut header = self.lines().take_while(|(_, header_lines)| *header_lines > 0);
        header.find(|(_, header_lines)| *header_lines == 1).map(|(row, _)| row)
    }

    /// Returns whether there is one header line, with the column names.
    pub(crate) const fn has_names(self) -> bool {
        self.splitter.options.header_lines == 1
    }

    /// Returns the row, if the data is one row and nothing else.
    pub(crate) fn row(self) -> Option<CopyRow<'a>> {
        let Self { splitter: Splitter { options, encoding, is_row, .. }, data } = self;
        let (_, bytes) = data.split_last().filter(|_| *is_row)?;
        Some(CopyRow { bytes, options, encoding: *encoding })
    }

    /// Iterates over the rows that end in the data. They are searched again, so that no list of rows has to be kept.
    pub fn rows(self) -> impl Iterator<Item = CopyRow<'a>> + use<'a> {
        self.lines().filter(|(_, header_lines)| *header_lines == 0).map(|(row, _)| row)
    }

    /// Iterates over the lines, each with the number of header lines that remained before it.
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

    /// Returns the bytes outside of rows: all data after the end-of-data marker or after data that cannot be parsed, and the part
    /// of the message from there on.
    pub fn rest(self) -> Option<Cow<'a, [u8]>> {
        let (at, is_carried) = self.splitter.rest?;
        let rest = self.data.get(at..).unwrap_or_default();
        Some(if is_carried { [&self.splitter.whole, rest].concat().into() } else { rest.into() })
    }

    /// Returns the number of bytes of rows that end in the data but were too long to be kept.
    pub const fn too_long(self) -> u64 {
        self.splitter.too_long
    }

    /// Returns the number of bytes between a loss and the next row.
    pub const fn lost(self) -> u64 {
        self.splitter.lost
    }

    /// Returns the number of bytes of a row that continues in the next message.
    pub const fn unfinished(self) -> u64 {
        self.splitter.state.unfinished
    }

    /// Returns whether the format is JSON.
    pub fn is_json(self) -> bool {
        self.splitter.options.format == CopyFormat::Json
    }

    /// Returns whether the format is binary.
    pub fn is_binary(self) -> bool {
        self.splitter.options.format == CopyFormat::Binary
    }

    /// Returns whether nothing was found.
    pub fn is_empty(self) -> bool {
        self.too_long() == 0
            && self.lost() == 0
            && self.splitter.rest.is_none()
            && self.unfinished() == 0
            && self.lines().next().is_none()
    }
}

/// A pass over the data of a message, row by row.
struct Walk<'a> {
    state: State,
    rest: &'a [u8],
    /// Whether no data follows.
    is_end: bool,
    longest: u64,
    has_mark: bool,
}

/// A part of the data.
struct CopyStep<'a> {
    /// The bytes of one row, or of something outside of rows.
    piece: &'a [u8],
    /// The number of its bytes in earlier messages.
    carried: u64,
    /// Whether it is too long to be kept.
    is_dropped: bool,
    header_lines: u32,
    /// What ends with it; `None` if it continues in the next message.
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
        // A row that is complete in this message need not be kept.
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

    /// Returns whether a row is the end-of-data marker of older clients.
    fn is_mark(&self, step: &CopyStep<'_>, whole: &[u8]) -> bool {
        let line = step.bytes(whole);
        let row = self.state.scanner.without_end(line);
        // In CSV it is only the marker if its line is terminated.
        self.has_mark && row == MARK && (row.len() < line.len() || !self.state.scanner.has_quotes())
    }
}

impl<'a> CopyStep<'a> {
    /// Returns all of its bytes, including those of earlier messages.
    const fn bytes(&self, whole: &'a [u8]) -> &'a [u8] {
        if self.carried == 0 { self.piece } else { whole }
    }

    const fn len(&self) -> u64 {
        self.carried + self.piece.len() as u64
    }
}
