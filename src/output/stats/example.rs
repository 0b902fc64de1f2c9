//! Single requests and sessions, as they are kept.

use serde_json::value::RawValue;

use super::{cut, owned};
use crate::output::json;
use crate::pg::error::code;
use crate::pg::row::Values;
use crate::pg::text::Sql;
use crate::record::summary::{Example, Params};
use crate::record::{Failure, QueryRecord, SessionRecord};

/// How many bytes of SQL, of the values of parameters, and of a text of an error, are kept.
const MAX_TEXT: usize = 4_096;

/// Returns the request as an example.
pub(in crate::output) fn request(record: &QueryRecord<'_>, fingerprint: Option<&str>) -> Example {
    let mut example = Example {
        ts: record.header.ts,
        started: record.started,
        conn: record.header.conn,
        query: Some(record.query),
        packet: record.packet,
        client: record.header.client.to_owned(),
        server: record.header.server.to_owned(),
        user: record.user.map(owned),
        database: record.database.map(owned),
        application: record.application.map(owned),
        fingerprint: fingerprint.map(str::to_owned),
        truncated: record.flags.truncated,
        outcome: Some(record.outcome),
        canceled_by: record.canceled_by,
        rows: record.rows,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        total_us: record.total_us,
        exec_us: record.exec_us,
        age_us: record.age_us,
        ..Example::default()
    };
    example.sql = record.sql.map(|sql| text(&sql.0, &mut example.truncated));
    example.params = record.params.as_ref().map(|values| params(values, &mut example.truncated));
    failure(&mut example, record.error.as_ref());
    example
}

/// Returns roughly the bytes that an example needs in memory.
pub(super) fn size(example: &Example) -> usize {
    let texts = [
        Some(&example.client),
        Some(&example.server),
        example.user.as_ref(),
        example.database.as_ref(),
        example.application.as_ref(),
        example.fingerprint.as_ref(),
        example.sql.as_ref(),
        example.severity.as_ref(),
        example.code.as_ref(),
        example.condition.as_ref(),
        example.message.as_ref(),
        example.detail.as_ref(),
    ];
    let params = example.params.iter().flat_map(|params| &params.0).map(|value| value.get().len() + 32);
    size_of::<Example>()
        + texts.into_iter().flatten().map(|text| text.len() + 16).sum::<usize>()
        + params.sum::<usize>()
}

/// Returns the session as an example.
pub(in crate::output) fn session(record: &SessionRecord<'_>) -> Example {
    let mut example = Example {
        ts: record.header.ts,
        started: record.started,
        conn: record.header.conn,
        packet: record.packet,
        client: record.header.client.to_owned(),
        server: record.header.server.to_owned(),
        user: record.user.map(owned),
        database: record.database.map(owned),
        application: record.application.map(owned),
        bytes_in: record.ended.as_ref().map_or(0, |ended| ended.bytes_in),
        bytes_out: record.ended.as_ref().map_or(0, |ended| ended.bytes_out),
        ..Example::default()
    };
    failure(&mut example, record.error.as_ref());
    example
}

fn failure(example: &mut Example, failure: Option<&Failure<'_>>) {
    let Some(Failure { condition, fields }) = failure else { return };
    let mut field = |code| fields.get_sql(code).map(|sql| text(&sql, &mut example.truncated));
    let severity = field(code::SEVERITY_NONLOCALIZED).or_else(|| field(code::SEVERITY));
    let (code, message, detail) = (field(code::CODE), field(code::MESSAGE), field(code::DETAIL));
    (example.severity, example.code, example.message, example.detail) = (severity, code, message, detail);
    example.condition = condition.map(str::to_owned);
}

/// Returns the SQLSTATE and the message of an error.
pub(super) fn error(failure: &Failure<'_>) -> [Option<String>; 2] {
    [code::CODE, code::MESSAGE].map(|code| failure.fields.get_sql(code).map(|sql| text(&sql, &mut false)))
}

/// Returns the text as it is written, or its beginning.
fn text(sql: &Sql<'_>, truncated: &mut bool) -> String {
    let mut text = owned(sql.masked().get());
    *truncated |= cut(&mut text, MAX_TEXT);
    text
}

/// Returns the values as they are written, or the first of them.
fn params(values: &Values<'_>, truncated: &mut bool) -> Params {
    let mut written = Vec::new();
    let mut len = 0;
    for value in values.iter() {
        let json = json::value(&value).and_then(|json| String::from_utf8(json).ok());
        let Some(json) = json.and_then(|json| RawValue::from_string(json).ok()) else { break };
        len += json.get().len();
        if len > MAX_TEXT {
            break;
        }
        written.push(json);
    }
    *truncated |= written.len() < values.list.len();
    Params(written)
}
