//! What a pooler asks and answers itself.

use crate::pg::error::code;
use crate::record::{Failure, QueryRecord};

/// Returns whether a request on a pooler's connection to the server, which is of none of the clients, is the pooler's own: PgBouncer sends
/// `SET application_name` before the request of another client, and `DISCARD ALL` (`server_reset_query`) behind the session of one.
/// Others that it may send, such as `SELECT 1`, are as likely those of a client that was not seen.
pub(super) fn is_request_of_pooler(query: &QueryRecord<'_>) -> bool {
    let sql = query.sql.as_ref().map_or(&b""[..], |sql| sql.0.text.0);
    let mut statements = sql.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty()).peekable();
    let is_own = |statement: &[u8]| statement == b"DISCARD ALL" || statement.starts_with(b"SET application_name=");
    statements.peek().is_some() && statements.all(is_own)
}

/// Returns whether a request of a client, which is not on any connection to the server, was answered by the pooler. Errors of a server
/// have the routine that reports them ("Error and Notice Message Fields", `R`); and PgBouncer's console is a database of that name.
pub(super) fn is_answered_by_pooler(query: &QueryRecord<'_>) -> bool {
    let is_console = query.database.is_some_and(|database| database.0 == b"pgbouncer");
    is_console || query.error.as_ref().is_some_and(is_error_of_pooler)
}

/// Returns whether an error does not come from a server.
pub(super) fn is_error_of_pooler(error: &Failure<'_>) -> bool {
    error.fields.get(code::ROUTINE).is_none()
}

/// Returns the name of an application that is set as PgBouncer does it, before the request of another client.
pub(super) fn application_name<'a>(query: &QueryRecord<'a>) -> Option<&'a [u8]> {
    let sql = query.sql.as_ref()?.0.text.0;
    let name = sql.strip_prefix(b"SET application_name='")?.strip_suffix(b"';")?;
    (!name.is_empty() && !name.contains(&b'\'')).then_some(name)
}
