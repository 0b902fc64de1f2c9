//! What many lines begin with, kept as it is written: a time in the same second, the ends of the same connection.

use super::tokens::{put, string, unsigned};
use crate::digits;
use crate::time::{Precision, Timestamp};

/// Writes times: many are the last one again, and most are in the same second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The last time. `text` is how it is written.
    last: Option<Timestamp>,
    text: Vec<u8>,
    /// How its second is written.
    second: [u8; SECOND],
}

const SECOND: usize = "\"2026-11-22T21:30:32.".len();
const MICROS: usize = SECOND + "123456Z\"".len();

impl Clock {
    #[inline(always)]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, ts: Timestamp) {
        if self.last.is_none_or(|last| last != ts || last.precision() != ts.precision()) {
            self.set(ts);
        }
        match <&[u8; MICROS]>::try_from(self.text.as_slice()) {
            Ok(text) => put(out, text),
            Err(_) => out.extend_from_slice(&self.text),
        }
    }

    #[inline(never)]
    fn set(&mut self, ts: Timestamp) {
        let last = self.last.replace(ts);
        let (second, nanos) = ts.parts();
        self.text.clear();
        if last.is_none_or(|last| last.parts().0 != second) {
            string(&mut self.text, ts.rfc3339().as_str());
            self.second = self.text.first_chunk().copied().unwrap_or_default();
            return;
        }
        put(&mut self.text, &self.second);
        let [_, _, a, b, c, d, e, f] = digits::eight(nanos / 1_000);
        match ts.precision() {
            Precision::Micros => put(&mut self.text, &[a, b, c, d, e, f, b'Z', b'"']),
            Precision::Nanos => {
                let [.., g, h, i] = digits::eight(nanos);
                put(&mut self.text, &[a, b, c, d, e, f, g, h, i, b'Z', b'"']);
            }
        }
    }
}

/// Writes the members `conn`, `client` and `server`, of connections whose lines come by turns.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The last connection of each remainder of its number. None at all until there is one.
    kept: Vec<Kept>,
}

/// How many are kept.
const KEPT: usize = 64;

#[derive(Clone, Debug, Default)]
struct Kept {
    /// None where none is kept yet.
    conn: Option<u64>,
    client: String,
    server: String,
    /// The members, with a comma before them.
    written: Vec<u8>,
}

impl Connections {
    #[inline(always)]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, conn: u64, client: &str, server: &str) {
        match self.kept.get(conn as usize % KEPT) {
            Some(kept) if kept.conn == Some(conn) && kept.client == client && kept.server == server => {
                out.extend_from_slice(&kept.written);
            }
            _ => self.write_and_keep(out, conn, client, server),
        }
    }

    #[inline(never)]
    fn write_and_keep(&mut self, out: &mut Vec<u8>, conn: u64, client: &str, server: &str) {
        let start = out.len();
        put(out, br#","conn":"#);
        unsigned(out, conn);
        put(out, br#","client":"#);
        string(out, client);
        put(out, br#","server":"#);
        string(out, server);
        if self.kept.is_empty() {
            self.kept.resize(KEPT, Kept::default());
        }
        if let Some(kept) = self.kept.get_mut(conn as usize % KEPT) {
            let written = out.get(start..).unwrap_or_default().to_vec();
            *kept = Kept { conn: Some(conn), client: client.to_owned(), server: server.to_owned(), written };
        }
    }
}
