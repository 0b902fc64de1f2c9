//! What a pooler asks and answers itself.

use crate::pg::error::code;
use crate::record::QueryRecord;

/// Statements by which poolers reset or check a connection, or give it the settings of a client, in upper case: PgBouncer
/// (`server_reset_query`, `server_check_query`, and the parameters that it keeps in step), Odyssey, PgCat, pgpool-II
/// (`reset_query_list`).
const RESETS: &[&[u8]] = &[
    b"DISCARD ALL",
    b"RESET ALL",
    b"DEALLOCATE ALL",
    b"CLOSE ALL",
    b"UNLISTEN *",
    b"ABORT",
    b"ROLLBACK",
    b"SELECT 1",
    b"",
];

/// Returns whether a request on a pooler's connection to the server, which is of none of the clients, is the pooler's own.
pub(super) fn is_request_of_pooler(query: &QueryRecord<'_>) -> bool {
    let Some(sql) = &query.sql else { return false };
    let statements = sql.0.text.0.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    statements
        .into_iter()
        .all(|statement| RESETS.iter().any(|reset| reset.eq_ignore_ascii_case(statement)) || is_setting(statement))
}

/// `SET name = 'value'`, or `SET name TO 'value'`, of one of the parameters that a server reports.
fn is_setting(statement: &[u8]) -> bool {
    let Some((command, rest)) = statement.split_at_checked(4) else { return false };
    command.eq_ignore_ascii_case(b"SET ") && !rest.is_empty()
}

/// Returns whether a request of a client, which is not on any connection to the server, was answered by the pooler. Errors of a server
/// have the routine that reports them ("Error and Notice Message Fields", `R`); and PgBouncer's console is a database of that name.
pub(super) fn is_answered_by_pooler(query: &QueryRecord<'_>) -> bool {
    let is_console = query.database.is_some_and(|database| database.0 == b"pgbouncer");
    is_console || query.error.as_ref().is_some_and(|error| error.fields.get(code::ROUTINE).is_none())
}
