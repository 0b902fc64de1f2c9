//! The COPY that is under way, and the rows in its data.
//!
//! Its statement determines how rows are written. So there are none where that was not seen, nor where bytes were lost and it
//! is not known any more where a row begins.

use super::budget::{Budget, Share};
use crate::direction::Direction;
use crate::encoding::Encoding;
use crate::pg::copy::{CopyPiece, CopyRows};
use crate::pg::keys::UniqueKeys;
use crate::pg::row::Format;
use crate::pg::text::Text;
use crate::redaction::Redaction;
use crate::sql::statement::{CopyOptions, Statement};
use crate::value::Settings;
use crate::value::copy::Splitter;

/// More columns than this has no table, and no result (MaxTupleAttributeNumber).
const MAX_COLUMNS: usize = 1_664;

/// What is known of the COPY that is under way.
#[derive(Debug, Default)]
pub(super) struct Copying {
    /// The format of its data.
    format: Option<Format>,
    /// Whether the last piece of it ended, or may have ended, inside a character.
    is_torn: bool,
    rows: Option<Box<RowSplitter>>,
    /// The client has sent data since its last request.
    has_data: bool,
}

#[derive(Debug)]
struct RowSplitter {
    from: Direction,
    splitter: Splitter,
    /// The names of the columns, all different; none where they are not known.
    keys: Vec<String>,
    /// They are from the header: data, for a client may write anything there.
    is_named_by_data: bool,
    /// Bytes of the last message are missing.
    is_cut: bool,
    /// CopyDone has come.
    is_done: bool,
    /// The room for it and its keys, but for what the splitter keeps of rows.
    _shares: [Share; 2],
}

impl Copying {
    /// The format of the data, where it is known.
    pub(super) const fn format(&self) -> Option<Format> {
        self.format
    }

    /// Whether the data may go on inside a character.
    pub(super) const fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// A COPY begins. Returns whether its rows can be split, once its statement is known: the client may not wait with its data.
    pub(super) fn begin(&mut self, from: Direction, format: Format) -> bool {
        self.format = Some(format);
        if from == Direction::Frontend && self.has_data {
            self.rows = self.rows.take().filter(|rows| rows.from == from && rows.format() == format);
            return false;
        }
        (self.rows, self.is_torn) = (None, false);
        true
    }

    /// The statement of the COPY that has begun, or whose data the client sends now, is this one. At most `longest` bytes of
    /// a row are kept.
    pub(super) fn understand(
        &mut self,
        from: Direction,
        sql: Text<'_>,
        settings: &Settings,
        longest: usize,
        budget: &Budget,
    ) {
        let rows = RowSplitter::of(from, sql, settings, longest, budget);
        self.rows = rows.filter(|rows| self.format.is_none_or(|format| rows.format() == format)).map(Box::new);
    }

    /// Whether data that the client sends now is the first of a COPY of which no reply was seen.
    pub(super) fn may_begin(&self) -> bool {
        !self.has_data && self.rows.as_ref().is_none_or(|rows| rows.is_done)
    }

    /// The client sends a request, or the end of its data: what data comes behind it is of another COPY.
    pub(super) const fn request(&mut self) {
        self.has_data = false;
    }

    /// It is over, or what it is is not known any more.
    pub(super) fn end(&mut self) {
        (self.format, self.is_torn, self.rows) = (None, false, None);
    }

    /// Observes a piece of the data.
    pub(super) fn data(&mut self, from: Direction, data: CopyPiece<'_>, is_cut: bool, budget: &Budget) {
        let CopyPiece { bytes, encoding, .. } = data;
        self.has_data |= from == Direction::Frontend;
        self.is_torn |= data.tears() || is_cut && encoding.is_misread_when_cut();
        let Some(rows) = self.rows.as_mut().filter(|rows| rows.from == from && !rows.is_done) else { return };
        rows.recover();
        if rows.splitter.is_over() {
            self.rows = None;
            return;
        }
        rows.splitter.push(bytes);
        rows.is_cut = is_cut;
        rows.read_header(bytes, budget);
    }

    /// Reads a piece of the data, all of it there, as a row. Returns false, and nothing was read, where it is not a row and nothing
    /// else, or more is known behind it than before. Text is in this encoding.
    pub(super) fn row(&mut self, from: Direction, bytes: &[u8], encoding: Encoding) -> bool {
        let rows = self.rows.as_mut().filter(|rows| rows.from == from && !rows.is_done && !rows.is_cut);
        let is_row = !encoding.is_misread_when_cut() && rows.is_some_and(|rows| rows.splitter.push_row(bytes));
        self.has_data |= is_row && from == Direction::Frontend;
        is_row
    }

    /// Observes CopyDone.
    pub(super) fn done(&mut self, from: Direction) {
        if let Some(rows) = self.rows.as_mut().filter(|rows| rows.from == from && !rows.is_done) {
            rows.recover();
            rows.splitter.finish();
            rows.is_done = true;
        }
    }

    /// The rows in the data that was observed last; or, for no data, what CopyDone has left.
    pub(super) fn rows<'a>(
        &'a self,
        from: Direction,
        data: Option<&'a [u8]>,
        has_keys: bool,
        redaction: Redaction,
    ) -> Option<CopyRows<'a>> {
        let rows = self.rows.as_ref().filter(|rows| rows.from == from && rows.is_done == data.is_none())?;
        let split = rows.splitter.split(data.unwrap_or_default());
        let is_left = data.is_some() || !split.is_empty();
        let has_keys = has_keys && !(rows.is_named_by_data && redaction.hides_values());
        is_left.then(|| CopyRows { split, keys: if has_keys { &rows.keys } else { &[] }, redaction })
    }

    /// How many bytes are kept of a row that is not whole.
    pub(super) fn held(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.splitter.held())
    }

    /// Drops them.
    pub(super) fn release(&mut self) {
        if let Some(rows) = &mut self.rows {
            rows.splitter.release();
        }
    }
}

impl RowSplitter {
    /// `None` where the statement is none that determines how rows are written.
    fn of(from: Direction, sql: Text<'_>, settings: &Settings, longest: usize, budget: &Budget) -> Option<Self> {
        let Statement::Copy(copy) = Statement::of(sql.0) else { return None };
        let is_from_client = from == Direction::Frontend;
        let options = copy.options.filter(|options| copy.is_from_client == is_from_client && is_ascii(options))?;
        let share = budget.take(size_of::<Self>() + sql.0.len())?;
        let splitter = Splitter::new(options.into_owned(), settings, longest);
        let names = copy.columns.iter().map(|name| Text(name, sql.1));
        let (keys, share_of_keys) = keys(names, budget).unwrap_or_default();
        Some(Self {
            from,
            splitter,
            keys,
            is_named_by_data: false,
            is_cut: false,
            is_done: false,
            _shares: [share, share_of_keys],
        })
    }

    /// The format of its data.
    fn format(&self) -> Format {
        if self.splitter.split(&[]).is_binary() { Format::BINARY } else { Format::TEXT }
    }

    /// Goes on behind what is missing of the last message.
    fn recover(&mut self) {
        if std::mem::take(&mut self.is_cut) {
            match self.from {
                Direction::Backend => self.splitter.restart(),
                Direction::Frontend => self.splitter.resume(),
            }
        }
    }

    /// Reads the names of the columns from the header, where the statement has none.
    fn read_header(&mut self, data: &[u8], budget: &Budget) {
        let Some(header) = self.splitter.split(data).header().filter(|_| self.keys.is_empty()) else { return };
        if !self.splitter.split(data).has_names() {
            return;
        }
        let fields: Vec<_> = header.fields().take(MAX_COLUMNS + 1).collect();
        let encoding = self.splitter.split(data).encoding();
        let names = fields.iter().map(|field| Text(field.bytes.as_deref().unwrap_or_default(), encoding));
        if let Some((keys, share)) = keys(names, budget) {
            let [_, of_keys] = &mut self._shares;
            (self.keys, *of_keys, self.is_named_by_data) = (keys, share, true);
        }
    }
}

/// Makes names of columns unique, where there are no more than can be and there is room for them.
fn keys<'a>(names: impl Iterator<Item = Text<'a>> + Clone, budget: &Budget) -> Option<(Vec<String>, Share)> {
    let size = names.clone().map(|name| size_of::<String>() + 2 * name.0.len()).sum();
    let share = budget.take(size).filter(|_| names.clone().count() <= MAX_COLUMNS)?;
    let mut unique = UniqueKeys::default();
    Some((names.map(|name| unique.next(name).into_owned()).collect(), share))
}

/// Whether nothing in the options depends on the encoding of the statement, which need not be that of the data.
fn is_ascii(options: &CopyOptions<'_>) -> bool {
    let bytes = [options.delimiter, options.quote, options.escape];
    options.null.is_ascii() && options.default.as_ref().is_none_or(|text| text.is_ascii()) && bytes.is_ascii()
}
