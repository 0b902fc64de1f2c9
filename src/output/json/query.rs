//! `"event":"query"`, written by hand: the fields of [`QueryRecord`] in their order, as its derived form has them.

use super::bodies::{list, text, transaction_status, values};
use super::serializer::Error;
use super::tokens::{numbered, put, unsigned};
use super::{LineWriter, member};
use crate::pg::text::Text;
use crate::record::QueryRecord;
use crate::record::query::{Downstream, Upstream};
use crate::session::execution::{Outcome, Protocol};

impl LineWriter {
    pub(super) fn query(&mut self, out: &mut Vec<u8>, record: &QueryRecord<'_>) -> Result<(), Error> {
        // Every field, so that a new one cannot be forgotten.
        let QueryRecord {
            header,
            community_id,
            query,
            packet,
            started,
            user,
            database,
            application,
            protocol,
            sql,
            statement,
            portal,
            function_oid,
            params,
            command_tags,
            rows,
            bytes_in,
            bytes_out,
            retransmitted,
            outcome,
            error,
            canceled_by,
            parse_us,
            bind_us,
            first_row_us,
            last_row_us,
            total_us,
            exec_us,
            server_us,
            transfer_us,
            client_stall_us,
            age_us,
            rtt_client_us,
            rtt_server_us,
            upstream,
            downstream,
            pooler,
            tx,
            violation,
            flags,
            // Not written.
            backend: _,
            evidence: _,
            steps: _,
        } = record;
        put(out, br#"{"event":"query","ts":"#);
        self.clock.write(out, header.ts);
        let kept = self.connections.get(header);
        if let Some(kept) = &kept {
            out.extend_from_slice(kept.header_with_ends());
        }
        put(out, br#","community_id":""#);
        community_id.write(out);
        put(out, br#"","query":"#);
        unsigned(out, *query);
        numbered(out, br#","packet":"#, *packet);
        put(out, br#","started":"#);
        self.clock.write(out, *started);
        if let Some(kept) = kept {
            kept.identity.write(out, [*user, *database, *application]);
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
            numbered(out, br#","function_oid":"#, function_oid.0.into());
        }
        if let Some(params) = params {
            put(out, br#","params":"#);
            values(out, params)?;
        }
        if !command_tags.is_empty() {
            put(out, br#","command_tags":"#);
            list(out, command_tags.iter(), text);
        }
        if let Some(rows) = rows {
            numbered(out, br#","rows":"#, *rows);
        }
        numbered(out, br#","bytes_in":"#, *bytes_in);
        numbered(out, br#","bytes_out":"#, *bytes_out);
        if let Some(retransmitted) = retransmitted {
            numbered(out, br#","retransmitted":"#, *retransmitted);
        }
        match outcome {
            Outcome::Ok => put(out, br#","outcome":"ok""#),
            other => member(out, "outcome", other)?,
        }
        if let Some(error) = error {
            member(out, "error", error)?;
        }
        if let Some(canceled_by) = canceled_by {
            numbered(out, br#","canceled_by":"#, *canceled_by);
        }
        if let Some(parse_us) = parse_us {
            numbered(out, br#","parse_us":"#, *parse_us);
        }
        if let Some(bind_us) = bind_us {
            numbered(out, br#","bind_us":"#, *bind_us);
        }
        if let Some(first_row_us) = first_row_us {
            numbered(out, br#","first_row_us":"#, *first_row_us);
        }
        if let Some(last_row_us) = last_row_us {
            numbered(out, br#","last_row_us":"#, *last_row_us);
        }
        if let Some(total_us) = total_us {
            numbered(out, br#","total_us":"#, *total_us);
        }
        if let Some(exec_us) = exec_us {
            numbered(out, br#","exec_us":"#, *exec_us);
        }
        if let Some(server_us) = server_us {
            numbered(out, br#","server_us":"#, *server_us);
        }
        if let Some(transfer_us) = transfer_us {
            numbered(out, br#","transfer_us":"#, *transfer_us);
        }
        if let Some(client_stall_us) = client_stall_us {
            numbered(out, br#","client_stall_us":"#, *client_stall_us);
        }
        if let Some(age_us) = age_us {
            numbered(out, br#","age_us":"#, *age_us);
        }
        if let Some(rtt_client_us) = rtt_client_us {
            numbered(out, br#","rtt_client_us":"#, *rtt_client_us);
        }
        if let Some(rtt_server_us) = rtt_server_us {
            numbered(out, br#","rtt_server_us":"#, *rtt_server_us);
        }
        if let Some(Upstream { conn, query, wait_us, idle_us, executed: _ }) = upstream {
            numbered(out, br#","upstream":{"conn":"#, *conn);
            numbered(out, br#","query":"#, *query);
            numbered(out, br#","wait_us":"#, *wait_us);
            if let Some(idle_us) = idle_us {
                numbered(out, br#","idle_us":"#, *idle_us);
            }
            out.push(b'}');
        }
        if let Some(Downstream { conn, query, client, application, .. }) = downstream {
            numbered(out, br#","downstream":{"conn":"#, *conn);
            numbered(out, br#","query":"#, *query);
            put(out, br#","client":"#);
            text(out, Text::utf8(client.as_bytes()));
            if let Some(application) = application {
                put(out, br#","application":"#);
                text(out, *application);
            }
            out.push(b'}');
        }
        if *pooler {
            put(out, br#","pooler":true"#);
        }
        if let Some(tx) = tx {
            put(out, br#","tx":"#);
            transaction_status(out, *tx)?;
        }
        if let Some(violation) = violation {
            member(out, "violation", violation)?;
        }
        if !flags.is_empty() {
            member(out, "flags", flags)?;
        }
        out.push(b'}');
        Ok(())
    }
}
