//! `"event":"query"`, written by hand: the fields of [`QueryRecord`] in their order, as its derived form has them.

use super::bodies::{list, text, transaction_status, values};
use super::serializer::Error;
use super::tokens::{put, unsigned};
use super::{LineWriter, member};
use crate::record::QueryRecord;
use crate::session::execution::{Outcome, Protocol};

impl LineWriter {
    pub(super) fn query(&mut self, out: &mut Vec<u8>, record: &QueryRecord<'_>) -> Result<(), Error> {
        let QueryRecord { ts, conn, client, server, query, packet, started, user, database, application, .. } = record;
        let QueryRecord { protocol, sql, statement, portal, function_oid, params, command, rows, .. } = record;
        let QueryRecord { bytes_in, bytes_out, outcome, error, canceled_by, parse_us, bind_us, .. } = record;
        let QueryRecord { first_row_us, last_row_us, total_us, tx, flags, .. } = record;
        put(out, br#"{"event":"query","ts":"#);
        self.clock.write(out, *ts);
        self.connections.write(out, *conn, client, server);
        put(out, br#","query":"#);
        unsigned(out, *query);
        put(out, br#","packet":"#);
        unsigned(out, *packet);
        put(out, br#","started":"#);
        self.clock.write(out, *started);
        if let Some(user) = user {
            put(out, br#","user":"#);
            text(out, *user);
        }
        if let Some(database) = database {
            put(out, br#","database":"#);
            text(out, *database);
        }
        if let Some(application) = application {
            put(out, br#","application":"#);
            text(out, *application);
        }
        match protocol {
            Protocol::Simple => put(out, br#","protocol":"simple""#),
            Protocol::Extended => put(out, br#","protocol":"extended""#),
            Protocol::Function => put(out, br#","protocol":"function""#),
        }
        if let Some(sql) = sql {
            self.statements.write_with_form(out, &sql.0);
        }
        if let Some(statement) = statement {
            put(out, br#","statement":"#);
            text(out, *statement);
        }
        if let Some(portal) = portal {
            put(out, br#","portal":"#);
            text(out, *portal);
        }
        if let Some(function_oid) = function_oid {
            put(out, br#","function_oid":"#);
            unsigned(out, function_oid.0.into());
        }
        if let Some(params) = params {
            put(out, br#","params":"#);
            values(out, params)?;
        }
        if !command.is_empty() {
            put(out, br#","command":"#);
            list(out, command.iter(), text);
        }
        if let Some(rows) = rows {
            put(out, br#","rows":"#);
            unsigned(out, *rows);
        }
        put(out, br#","bytes_in":"#);
        unsigned(out, *bytes_in);
        put(out, br#","bytes_out":"#);
        unsigned(out, *bytes_out);
        match outcome {
            Outcome::Ok => put(out, br#","outcome":"ok""#),
            other => member(out, "outcome", other)?,
        }
        if let Some(error) = error {
            member(out, "error", error)?;
        }
        if let Some(canceled_by) = canceled_by {
            put(out, br#","canceled_by":"#);
            unsigned(out, *canceled_by);
        }
        if let Some(parse_us) = parse_us {
            put(out, br#","parse_us":"#);
            unsigned(out, *parse_us);
        }
        if let Some(bind_us) = bind_us {
            put(out, br#","bind_us":"#);
            unsigned(out, *bind_us);
        }
        if let Some(first_row_us) = first_row_us {
            put(out, br#","first_row_us":"#);
            unsigned(out, *first_row_us);
        }
        if let Some(last_row_us) = last_row_us {
            put(out, br#","last_row_us":"#);
            unsigned(out, *last_row_us);
        }
        if let Some(total_us) = total_us {
            put(out, br#","total_us":"#);
            unsigned(out, *total_us);
        }
        if let Some(tx) = tx {
            put(out, br#","tx":"#);
            transaction_status(out, *tx)?;
        }
        if !flags.is_empty() {
            member(out, "flags", flags)?;
        }
        out.push(b'}');
        Ok(())
    }
}
