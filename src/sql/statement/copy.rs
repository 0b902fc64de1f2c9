//! The options of COPY that define the format of its data (documentation, "COPY").

use std::borrow::Cow;

use super::super::lexer::{Kind, Lexer, Token};
use super::super::literal;
use super::{Name, Reader};

/// `COPY … FROM STDIN` or `COPY … TO STDOUT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy<'a> {
    /// Whether the client sends the data.
    pub is_from_client: bool,
    /// The column list after the table; empty for all columns.
    pub columns: Vec<Name<'a>>,
    /// The format of the data, if all options are understood.
    pub options: Option<CopyOptions<'a>>,
}

/// The format of COPY data, with default values for options that are not specified. In the binary format, only `format` matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions<'a> {
    /// The format.
    pub format: CopyFormat,
    /// The column separator.
    pub delimiter: u8,
    /// The string that represents NULL.
    pub null: Cow<'a, [u8]>,
    /// The string that represents a column's default value.
    pub default: Option<Cow<'a, [u8]>>,
    /// The quote character of CSV.
    pub quote: u8,
    /// The escape character for quotes inside quotes, in CSV.
    pub escape: u8,
    /// The number of header lines. A single one contains the column names.
    pub header_lines: u32,
    /// The encoding, if it differs from `client_encoding`.
    pub encoding: Option<Cow<'a, [u8]>>,
}

/// The formats of COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Lines with tab-separated columns and backslash escapes.
    Text,
    /// Comma-separated values.
    Csv,
    /// PostgreSQL's binary format.
    Binary,
    /// A JSON object for each row, in a message of its own (PostgreSQL 19, COPY TO only).
    Json,
}

impl<'a> CopyOptions<'a> {
    /// Returns the defaults of a format.
    pub const fn new(format: CopyFormat) -> Self {
        let (delimiter, null): (u8, &'static [u8]) = match format {
            CopyFormat::Csv => (b',', b""),
            CopyFormat::Text | CopyFormat::Binary | CopyFormat::Json => (b'\t', b"\\N"),
        };
        Self {
            format,
            delimiter,
            null: Cow::Borrowed(null),
            default: None,
            quote: b'"',
            escape: b'"',
            header_lines: 0,
            encoding: None,
        }
    }

    /// Converts the options into ones that own their data.
    pub fn into_owned(self) -> CopyOptions<'static> {
        let Self { format, delimiter, null, default, quote, escape, header_lines, encoding } = self;
        let owned = |text: Cow<'a, [u8]>| Cow::Owned(text.into_owned());
        let (null, default, encoding) = (owned(null), default.map(owned), encoding.map(owned));
        CopyOptions { format, delimiter, null, default, quote, escape, header_lines, encoding }
    }
}

/// The specified options, before defaults are applied.
#[derive(Default)]
struct Specified<'a> {
    format: Option<CopyFormat>,
    delimiter: Option<u8>,
    null: Option<Cow<'a, [u8]>>,
    default: Option<Cow<'a, [u8]>>,
    quote: Option<u8>,
    escape: Option<u8>,
    header_lines: u32,
    encoding: Option<Cow<'a, [u8]>>,
}

/// Parses the text after COPY.
pub(super) fn read<'a>(mut reader: Reader<'a>) -> Option<Copy<'a>> {
    let mut specified = Specified::default();
    if reader.accept("binary") {
        specified.format = Some(CopyFormat::Binary);
    }
    let mut columns = Vec::new();
    if reader.parenthesized().is_none() {
        reader.name()?;
        while reader.accept_symbol(".") {
            reader.name()?;
        }
        columns = reader.parenthesized().and_then(names).unwrap_or_default();
    }
    let is_from_client = reader.accept("from");
    if !is_from_client {
        reader.expect("to")?;
    }
    if !reader.accept("stdin") && !reader.accept("stdout") {
        return None;
    }
    let options = specified.read(reader);
    Some(Copy { is_from_client, columns, options: options.map(|()| specified.with_defaults()) })
}

/// Parses names separated by commas.
fn names(list: &[u8]) -> Option<Vec<Name<'_>>> {
    let mut reader = Reader { tokens: Lexer::new(list), sql: list };
    let mut names = vec![reader.name()?];
    while reader.accept_symbol(",") {
        names.push(reader.name()?);
    }
    reader.tokens.next_solid().is_none().then_some(names)
}

impl<'a> Specified<'a> {
    /// Parses all options, in any of the syntaxes that the server still accepts. Returns `None` if one is unknown.
    fn read(&mut self, mut reader: Reader<'a>) -> Option<()> {
        reader.accept("using");
        if reader.accept("delimiters") {
            self.delimiter = Some(one_byte(&text(&mut reader)?)?);
        }
        reader.accept("with");
        if reader.accept_symbol("(") {
            loop {
                self.option(&mut reader)?;
                if reader.accept_symbol(")") {
                    break;
                }
                reader.accept_symbol(",").then_some(())?;
            }
        } else {
            while let Some(word) = reader.tokens.clone().next_solid().filter(|token| !token.is_word("where")) {
                reader.tokens.next_solid();
                self.old_option(word, &mut reader)?;
            }
        }
        (reader.accept("where") || reader.tokens.next_solid().is_none()).then_some(())
    }

    /// Parses an option in parentheses: `NAME value`.
    fn option(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let name = reader.name()?;
        match &*name {
            b"format" => {
                self.format = Some(match value(reader)?.to_ascii_lowercase().as_slice() {
                    b"text" => CopyFormat::Text,
                    b"csv" => CopyFormat::Csv,
                    b"binary" => CopyFormat::Binary,
                    b"json" => CopyFormat::Json,
                    _ => return None,
                });
            }
            b"delimiter" => self.delimiter = Some(one_byte(&value(reader)?)?),
            b"null" => self.null = Some(value(reader)?),
            b"default" => self.default = Some(value(reader)?),
            b"quote" => self.quote = Some(one_byte(&value(reader)?)?),
            b"escape" => self.escape = Some(one_byte(&value(reader)?)?),
            b"encoding" => self.encoding = Some(value(reader)?),
            b"header" => self.header_lines = header_lines(reader)?,
            // These do not change the format of the data, or the data shows it. FORCE_NULL and FORCE_NOT_NULL do: which fields
            // are NULL then depends on the column.
            b"freeze" | b"force_quote" | b"force_array" | b"on_error" | b"reject_limit" | b"log_verbosity" => {
                skip_value(reader)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Parses the option syntax from before PostgreSQL 9.0: `CSV HEADER DELIMITER AS ';'`.
    fn old_option(&mut self, word: Token<'a>, reader: &mut Reader<'a>) -> Option<()> {
        let is = |name| word.is_word(name);
        if is("csv") {
            self.format = Some(CopyFormat::Csv);
        } else if is("binary") {
            self.format = Some(CopyFormat::Binary);
        } else if is("header") {
            self.header_lines = 1;
        } else if is("delimiter") {
            self.delimiter = Some(one_byte(&text(reader)?)?);
        } else if is("null") {
            self.null = Some(text(reader)?);
        } else if is("quote") {
            self.quote = Some(one_byte(&text(reader)?)?);
        } else if is("escape") {
            self.escape = Some(one_byte(&text(reader)?)?);
        } else if is("encoding") {
            self.encoding = Some(text(reader)?);
        } else if is("force") {
            reader.expect("quote")?;
            if reader.accept_if(|token| token.is("*")) {
                return Some(());
            }
            reader.name()?;
            while reader.accept_symbol(",") {
                reader.name()?;
            }
        } else if !is("freeze") {
            return None;
        }
        Some(())
    }

    fn with_defaults(self) -> CopyOptions<'a> {
        let defaults = CopyOptions::new(self.format.unwrap_or(CopyFormat::Text));
        let quote = self.quote.unwrap_or(defaults.quote);
        CopyOptions {
            format: defaults.format,
            delimiter: self.delimiter.unwrap_or(defaults.delimiter),
            null: self.null.unwrap_or(defaults.null),
            default: self.default,
            quote,
            escape: self.escape.unwrap_or(quote),
            header_lines: self.header_lines,
            encoding: self.encoding,
        }
    }
}

/// Parses `AS 'x'` or `'x'`.
fn text<'a>(reader: &mut Reader<'a>) -> Option<Cow<'a, [u8]>> {
    reader.accept("as");
    literal::text(&reader.tokens.next_solid()?)
}

/// Parses a string or a word.
fn value<'a>(reader: &mut Reader<'a>) -> Option<Cow<'a, [u8]>> {
    let token = reader.tokens.next_solid()?;
    if token.kind == Kind::Text { literal::text(&token) } else { literal::name(&token) }
}

/// Parses the number of lines for HEADER: a boolean, true if omitted; MATCH, also one line; or, from PostgreSQL 19 on, a number.
fn header_lines(reader: &mut Reader<'_>) -> Option<u32> {
    let mut ahead = reader.clone();
    let token = ahead.tokens.next_solid()?;
    if token.is(",") || token.is(")") {
        return Some(1);
    }
    *reader = ahead;
    let written = if token.kind == Kind::Text { literal::text(&token)? } else { Cow::Borrowed(token.text) };
    match written.to_ascii_lowercase().as_slice() {
        b"true" | b"on" | b"match" => Some(1),
        b"false" | b"off" => Some(0),
        number => std::str::from_utf8(number).ok()?.parse().ok(),
    }
}

/// Skips a value of any kind, if there is one.
fn skip_value(reader: &mut Reader<'_>) -> Option<()> {
    if reader.parenthesized().is_none() {
        reader.accept_if(|token| !token.is(",") && !token.is(")"));
    }
    Some(())
}

fn one_byte(value: &[u8]) -> Option<u8> {
    match value {
        [byte] => Some(*byte),
        _ => None,
    }
}
