//! The fields of a message that matter to the one who follows a session, in a compact form.
//!
//! What is the default is left out: the unnamed statement and portal, the text format, no limit of rows.

use std::fmt;
use std::io;

use super::line::{Line, Paint};
use super::sanitize::{Binary, COPY, Data, Extent, Name, PROSE, Prose, SQL, Value, Word};
use crate::pg::auth::{SaslContinue, SaslFinal, SaslInitialResponse, SaslResponse};
use crate::pg::copy::{CopyPiece, CopyResponse, CopyRows, RedactedField};
use crate::pg::error::{Fields, code};
use crate::pg::extended::{Bind, Execute, Parse, Target, TargetKind};
use crate::pg::list::{List, Oid};
use crate::pg::message::Message;
use crate::pg::query::FunctionCall;
use crate::pg::row::{Format, RowDescription, Values};
use crate::pg::startup::{EncryptionResponse, ParameterStatus, StartupMessage};
use crate::pg::text::{Excerpt, KeptText, Rest, Secret, Sql, Text};
use crate::redaction::Redaction;
use crate::value::copy::CopyRow;

/// How many fields are shown of a row of a COPY.
const FIELDS: usize = 16;

/// Writes the fields of a message.
pub(super) fn write(line: &mut Line<'_>, message: &Message<'_>) -> io::Result<()> {
    let extent = line.extent;
    match message {
        Message::StartupMessage(body) => startup(line, body),
        Message::CancelRequest(body) => key(line, body.process_id, &body.secret_key),
        Message::UnknownRequest(body) => {
            line.item(format_args!("code={}", body.code))?;
            body.data.as_ref().map_or(Ok(()), |data| secret(line, "data", data))
        }
        Message::SslResponse(body) => encryption(line, *body, "TLS"),
        Message::GssencResponse(body) => encryption(line, *body, "GSSAPI encryption"),

        Message::AuthenticationMd5Password(body) => line.item(format_args!("salt={}", body.salt)),
        Message::AuthenticationGssContinue(body) | Message::GssResponse(body) => secret(line, "token", &body.token),
        Message::AuthenticationSasl(body) => {
            line.list(", ", body.mechanisms.iter().map(|name| Name(name, extent))).map(drop)
        }
        Message::AuthenticationSaslContinue(body) => sasl_continue(line, body),
        Message::AuthenticationSaslFinal(body) => sasl_final(line, body),
        Message::UnknownAuthentication(body) => {
            line.item(format_args!("code={}", body.auth_request))?;
            secret(line, "data", &body.data)
        }
        Message::PasswordMessage(body) => secret(line, "password", &body.password),
        Message::SaslInitialResponse(body) => sasl_initial_response(line, body),
        Message::SaslResponse(body) => sasl_response(line, body),
        Message::UnknownAuthenticationResponse(body) => secret(line, "data", &body.data),

        Message::NegotiateProtocolVersion(body) => {
            line.item(format_args!("newest={}", body.newest_protocol_version))?;
            if body.unrecognized_options.is_empty() {
                return Ok(());
            }
            named_list(line, "unrecognized", body.unrecognized_options.iter().map(|name| Name(name, extent)))
        }
        Message::BackendKeyData(body) => key(line, body.process_id, &body.secret_key),
        Message::ParameterStatus(body) => setting(line, body),
        Message::NotificationResponse(body) => {
            line.item(format_args!("{} ", Name(body.channel, extent)))?;
            match body.payload.shape() {
                Some(shape) => line.put(format_args!("{shape}"))?,
                None => {
                    let masked = body.payload.masked();
                    let payload = Data { text: masked.get(), format: Some(Format::TEXT), excerpt: PROSE, extent };
                    line.put(format_args!("{payload}"))?;
                }
            }
            line.item(format_args!("pid={}", body.process_id))
        }
        Message::NoticeResponse(fields) => report(line, fields, Paint::YELLOW),
        Message::ErrorResponse(fields) => report(line, fields, Paint::RED),
        Message::ReadyForQuery(body) => line.item(format_args!("{}", body.transaction_status)),

        Message::Query(body) => sql(line, &body.query),
        Message::RowDescription(body) => row_description(line, body),
        Message::DataRow(body) => values(line, &body.values, "column"),
        Message::CommandComplete(body) => line.item(format_args!("{}", Prose(body.command_tag.0, extent.limit(PROSE)))),
        Message::FunctionCall(body) => function_call(line, body),
        Message::FunctionCallResponse(body) => line.item(format_args!("{}", Value(body.value, extent))),

        Message::Parse(body) => parse(line, body),
        Message::Bind(body) => bind(line, body),
        Message::Describe(body) | Message::Close(body) => target(line, body),
        Message::ParameterDescription(body) if body.parameter_types.is_empty() => {
            line.item(format_args!("no parameters"))
        }
        Message::ParameterDescription(body) => types(line, body.parameter_types),
        Message::Execute(body) => execute(line, body),

        Message::CopyInResponse(body) | Message::CopyOutResponse(body) | Message::CopyBothResponse(body) => {
            copy_response(line, body)
        }
        Message::CopyData(body) => match &body.rows {
            Some(rows) => copy_rows(line, rows),
            None => copy_data(line, body.data),
        },
        Message::CopyDone(body) => body.rows.as_ref().map_or(Ok(()), |rows| copy_rows(line, rows)),
        Message::CopyFail(body) => line.item(format_args!("{}", Prose(&body.message.masked(), extent.limit(PROSE)))),

        Message::SslRequest
        | Message::GssencRequest
        | Message::AuthenticationOk
        | Message::AuthenticationKerberosV5
        | Message::AuthenticationCleartextPassword
        | Message::AuthenticationScmCredential
        | Message::AuthenticationGss
        | Message::AuthenticationSspi
        | Message::Terminate
        | Message::EmptyQueryResponse
        | Message::ParseComplete
        | Message::BindComplete
        | Message::NoData
        | Message::PortalSuspended
        | Message::CloseComplete
        | Message::Flush
        | Message::Sync => Ok(()),
    }
}

/// The emphasis that the type of a message has.
pub(super) const fn paint(message: &Message<'_>) -> Paint {
    match message {
        Message::ErrorResponse(_) => Paint::BOLD_RED,
        Message::NoticeResponse(_) => Paint::BOLD_YELLOW,
        _ => Paint::BOLD,
    }
}

/// Writes a setting of the session.
pub(super) fn setting(line: &mut Line<'_>, body: &ParameterStatus<'_>) -> io::Result<()> {
    line.item(format_args!("{}={}", Name(body.name, line.extent), Word(body.value, line.extent)))
}

fn startup(line: &mut Line<'_>, body: &StartupMessage<'_>) -> io::Result<()> {
    line.item(format_args!("{}", body.protocol_version))?;
    if body.greenplum_internal {
        line.item(format_args!("(Greenplum, internal)"))?;
    }
    let extent = line.extent;
    let parameters = body.parameters.iter().map(|(name, value)| Pair(name, value, extent));
    line.separate();
    line.list(" ", parameters).map(drop)
}

fn key(line: &mut Line<'_>, process_id: i32, secret_key: &Secret<'_>) -> io::Result<()> {
    line.item(format_args!("pid={process_id}"))?;
    secret(line, "key", secret_key)
}

fn encryption(line: &mut Line<'_>, body: EncryptionResponse, what: &str) -> io::Result<()> {
    let answer = if body.accepted { "yes, go on with" } else { "no" };
    line.item(format_args!("{answer} {what}"))
}

fn secret(line: &mut Line<'_>, name: &str, secret: &Secret<'_>) -> io::Result<()> {
    word(line, name, Text::utf8(&secret.masked()))
}

fn word(line: &mut Line<'_>, name: &str, text: Text<'_>) -> io::Result<()> {
    line.item(format_args!("{name}={}", Word(text, line.extent)))
}

fn sasl_initial_response(line: &mut Line<'_>, body: &SaslInitialResponse<'_>) -> io::Result<()> {
    line.item(format_args!("{}", Name(body.mechanism, line.extent)))?;
    if let Some(scram) = &body.scram {
        word(line, "channel_binding", scram.channel_binding)?;
        if let Some(authzid) = scram.authzid {
            word(line, "authzid", authzid)?;
        }
        word(line, "user", scram.user)?;
        word(line, "nonce", scram.nonce)?;
    }
    match &body.data {
        Some(Some(data)) => secret(line, "data", data),
        Some(None) | None => Ok(()),
    }
}

fn sasl_continue(line: &mut Line<'_>, body: &SaslContinue<'_>) -> io::Result<()> {
    if let Some(scram) = &body.scram {
        word(line, "nonce", scram.nonce)?;
        word(line, "salt", scram.salt)?;
        line.item(format_args!("iterations={}", scram.iterations))?;
    }
    body.data.as_ref().map_or(Ok(()), |data| secret(line, "data", data))
}

fn sasl_response(line: &mut Line<'_>, body: &SaslResponse<'_>) -> io::Result<()> {
    if let Some(scram) = &body.scram {
        word(line, "channel_binding", scram.channel_binding)?;
        word(line, "nonce", scram.nonce)?;
        secret(line, "proof", &scram.proof)?;
    }
    body.data.as_ref().map_or(Ok(()), |data| secret(line, "data", data))
}

fn sasl_final(line: &mut Line<'_>, body: &SaslFinal<'_>) -> io::Result<()> {
    if let Some(scram) = &body.scram {
        if let Some(signature) = &scram.signature {
            secret(line, "signature", signature)?;
        }
        if let Some(error) = scram.server_error {
            word(line, "error", error)?;
        }
    }
    body.data.as_ref().map_or(Ok(()), |data| secret(line, "data", data))
}

/// Writes an error or a notice: `ERROR 22012 division by zero`, then what helps to find the cause.
pub(super) fn report(line: &mut Line<'_>, fields: &Fields<'_>, paint: Paint) -> io::Result<()> {
    let extent = line.extent;
    let severity = fields.get(code::SEVERITY_NONLOCALIZED).or_else(|| fields.get(code::SEVERITY));
    // 00000 is "successful completion": a notice that has nothing more to say.
    let sqlstate = fields.get(code::CODE).filter(|code| code.0 != b"00000");
    for text in [severity, sqlstate].into_iter().flatten() {
        line.separate();
        line.painted(paint, format_args!("{}", Word(text, extent)))?;
    }
    if let Some(message) = fields.get_sql(code::MESSAGE) {
        line.separate();
        line.painted(paint, format_args!("{}", Prose(&message.masked(), extent.limit(PROSE))))?;
    }
    for (name, code) in [("DETAIL", code::DETAIL), ("HINT", code::HINT), ("CONTEXT", b'W')] {
        if let Some(text) = fields.get_sql(code) {
            line.item(format_args!("{name}: {}", Prose(&text.masked(), extent.limit(PROSE))))?;
        }
    }
    let places =
        [("position", b'P'), ("schema", b's'), ("table", b't'), ("column", b'c'), ("type", b'd'), ("constraint", b'n')];
    let places = places.into_iter().filter_map(|(name, code)| Some(ErrorPlace(name, fields.get_sql(code)?, extent)));
    let mut places = places.peekable();
    if places.peek().is_none() {
        return Ok(());
    }
    line.item(format_args!("("))?;
    line.list(" ", places)?;
    line.put(format_args!(")"))
}

/// Writes SQL.
pub(super) fn sql(line: &mut Line<'_>, sql: &Sql<'_>) -> io::Result<()> {
    let text = sql.masked();
    if text.trim_ascii().is_empty() {
        return line.item(format_args!("(empty)"));
    }
    line.item(format_args!("{}", Prose(&text, line.extent.limit(SQL))))
}

fn row_description(line: &mut Line<'_>, body: &RowDescription<'_>) -> io::Result<()> {
    let extent = line.extent;
    line.list(", ", body.fields.iter().map(|field| Name(field.name, extent)))?;
    line.item(format_args!("({}", Count(body.fields.len() as u64, "column")))?;
    let format = common_format(body.fields.iter().map(|field| field.format));
    match format {
        Some(Format::TEXT) => {}
        Some(Format::BINARY) => line.put(format_args!(", binary"))?,
        Some(Format(other)) => line.put(format_args!(", format {other}"))?,
        None if body.fields.is_empty() => {}
        None => line.put(format_args!(", some binary"))?,
    }
    line.put(format_args!(")"))?;
    rest(line, body.rest)
}

fn values(line: &mut Line<'_>, values: &Values<'_>, unit: &'static str) -> io::Result<()> {
    if values.list.is_empty() {
        return line.item(format_args!("(no {unit}s)"));
    }
    let extent = line.extent;
    if line.list(", ", values.iter().map(|value| Value(value, extent)))? {
        line.item(format_args!("({})", Count(values.list.len() as u64, unit)))?;
    }
    Ok(())
}

fn function_call(line: &mut Line<'_>, body: &FunctionCall<'_>) -> io::Result<()> {
    line.item(format_args!("function={}", body.function_oid.0))?;
    line.separate();
    values(line, &body.arguments, "argument")?;
    result_format(line, Some(body.result_format))
}

fn parse(line: &mut Line<'_>, body: &Parse<'_>) -> io::Result<()> {
    name(line, "statement", body.statement)?;
    if !body.parameter_types.is_empty() {
        types(line, body.parameter_types)?;
    }
    sql(line, &body.query)
}

fn bind(line: &mut Line<'_>, body: &Bind<'_>) -> io::Result<()> {
    name(line, "portal", body.portal)?;
    name(line, "statement", body.statement)?;
    parameters(line, &body.parameter_values)?;
    match (body.result_formats.is_empty(), common_format(body.result_formats.iter())) {
        (true, _) => {}
        (false, format) => result_format(line, format)?,
    }
    rest(line, body.rest)
}

/// Writes how much is behind the fields that are known.
fn rest(line: &mut Line<'_>, rest: Option<Rest<'_>>) -> io::Result<()> {
    rest.map_or(Ok(()), |rest| line.item(format_args!("(and {} more)", Count(rest.bytes.len() as u64, "byte"))))
}

/// Writes the values of parameters, each with its number.
pub(super) fn parameters(line: &mut Line<'_>, values: &Values<'_>) -> io::Result<()> {
    if values.list.is_empty() {
        return Ok(());
    }
    line.separate();
    let extent = line.extent;
    let parameters = (1..).zip(values.iter().map(|value| Value(value, extent)));
    if line.list(" ", parameters.map(|(number, value)| Parameter(number, value)))? {
        line.item(format_args!("({})", Count(values.list.len() as u64, "parameter")))?;
    }
    Ok(())
}

fn target(line: &mut Line<'_>, body: &Target<'_>) -> io::Result<()> {
    let kind = match body.kind {
        TargetKind::Statement => "statement",
        TargetKind::Portal => "portal",
    };
    if body.name.0.is_empty() {
        line.item(format_args!("unnamed {kind}"))
    } else {
        line.item(format_args!("{kind} {}", Name(body.name, line.extent)))
    }
}

fn execute(line: &mut Line<'_>, body: &Execute<'_>) -> io::Result<()> {
    name(line, "portal", body.portal)?;
    if body.max_rows == 0 { Ok(()) } else { line.item(format_args!("max_rows={}", body.max_rows)) }
}

fn copy_response(line: &mut Line<'_>, body: &CopyResponse<'_>) -> io::Result<()> {
    let columns = Count(body.column_formats.len() as u64, "column");
    match body.format {
        Format::TEXT => line.item(format_args!("text, {columns}")),
        Format::BINARY => line.item(format_args!("binary, {columns}")),
        Format(other) => line.item(format_args!("format {other}, {columns}")),
    }
}

fn copy_data(line: &mut Line<'_>, data: CopyPiece<'_>) -> io::Result<()> {
    if let Some(shape) = data.shape() {
        return line.item(format_args!("{shape}"));
    }
    let CopyPiece { bytes, format, encoding, is_torn, .. } = data;
    let format = if is_torn { Some(Format::BINARY) } else { format };
    let data = Data { text: Text(bytes, encoding), format, excerpt: COPY, extent: line.extent };
    line.item(format_args!("{data}"))
}

/// Writes rows of a COPY, each in parentheses, and what is in none.
fn copy_rows(line: &mut Line<'_>, rows: &CopyRows<'_>) -> io::Result<()> {
    let CopyRows { split, redaction, .. } = *rows;
    let extent = line.extent;
    if let Some(header) = split.header() {
        line.item(format_args!("header={}", Row(header, redaction, extent)))?;
    }
    line.separate();
    if line.list(", ", split.rows().map(|row| Row(row, redaction, extent)))? {
        line.item(format_args!("({})", Count(split.rows().count() as u64, "row")))?;
    }
    for (bytes, what) in
        [(split.unfinished(), "unfinished"), (split.too_long(), "too long"), (split.lost(), "behind a loss")]
    {
        if bytes > 0 {
            line.item(format_args!("({} {what})", Count(bytes, "byte")))?;
        }
    }
    if split.is_empty() {
        line.item(format_args!("(no row)"))?;
    }
    if let Some(rest) = split.rest() {
        line.item(format_args!("no row:"))?;
        copy_data(line, CopyPiece::rest(&rest, rows))?;
    }
    Ok(())
}

/// A row of a COPY: `(1, 'text', NULL)`.
struct Row<'a>(CopyRow<'a>, Redaction, Extent);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(json) = self.0.json() {
            return match self.1.shape(0, self.0.as_bytes()) {
                Some(shape) => write!(f, "{shape}"),
                None => write!(f, "{}", Prose(json.as_bytes(), self.2.limit(COPY))),
            };
        }
        for (number, field) in self.0.fields().enumerate() {
            f.write_str(if number == 0 { "(" } else { ", " })?;
            if number == self.2.limit(FIELDS) {
                f.write_str("…")?;
                break;
            }
            let field = RedactedField(field, self.1);
            if let Some(shape) = field.shape() {
                write!(f, "{shape}")?;
                continue;
            }
            let field = field.0;
            match (field.text(), &field.bytes) {
                (Some(text), _) => write!(f, "{}", Data::value(text.as_bytes(), Format::TEXT, self.2))?,
                (None, Some(bytes)) if field.is_text() => write!(f, "{}", Data::value(bytes, Format::TEXT, self.2))?,
                (None, Some(bytes)) => write!(f, "{}", Data::value(bytes, Format::BINARY, self.2))?,
                (None, None) => f.write_str("NULL")?,
            }
        }
        f.write_str(")")
    }
}

/// The name of a statement or of a portal, where it has one.
fn name(line: &mut Line<'_>, what: &str, name: Text<'_>) -> io::Result<()> {
    if name.0.is_empty() { Ok(()) } else { line.item(format_args!("{what}={}", Name(name, line.extent))) }
}

fn types(line: &mut Line<'_>, types: List<'_, Oid>) -> io::Result<()> {
    named_list(line, "types", types.iter().map(|oid| oid.0))
}

fn named_list<T: fmt::Display>(line: &mut Line<'_>, name: &str, items: impl Iterator<Item = T>) -> io::Result<()> {
    line.item(format_args!("{name}="))?;
    line.list(",", items).map(drop)
}

/// The format that all have, where it is one.
fn common_format(mut formats: impl Iterator<Item = Format>) -> Option<Format> {
    let first = formats.next()?;
    formats.all(|format| format == first).then_some(first)
}

fn result_format(line: &mut Line<'_>, format: Option<Format>) -> io::Result<()> {
    match format {
        Some(Format::TEXT) => Ok(()),
        Some(Format::BINARY) => line.item(format_args!("result=binary")),
        Some(Format(other)) => line.item(format_args!("result={other}")),
        None => line.item(format_args!("result=mixed")),
    }
}

/// A name and its value.
struct Pair<'a>(Text<'a>, KeptText<'a>, Extent);

impl fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", Name(self.0, self.2), Word(self.1.get(), self.2))
    }
}

/// Where an error is: the kind of place, and its name.
struct ErrorPlace<'a>(&'static str, Sql<'a>, Extent);

impl fmt::Display for ErrorPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0, Word(self.1.masked().get(), self.2))
    }
}

/// A parameter as SQL refers to it, with its value.
struct Parameter<'a>(usize, Value<'a>);

impl fmt::Display for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}={}", self.0, self.1)
    }
}

/// A number of things, in words.
pub(super) struct Count(pub(super) u64, pub(super) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// Writes what is known of a message that could not be decoded: why, and its first bytes.
pub(super) fn undecoded(line: &mut Line<'_>, error: Option<&dyn fmt::Display>, body: &Excerpt<'_>) -> io::Result<()> {
    line.separate();
    match error {
        Some(error) => line.painted(Paint::RED, format_args!("not decoded: {error}:"))?,
        None => line.painted(Paint::RED, format_args!("not decoded:"))?,
    }
    match body {
        Excerpt::Bytes(bytes) => line.item(format_args!("{}", Binary(bytes, line.extent))),
        Excerpt::Masked => line.item(format_args!("{}", Secret::MASK)),
    }
}
