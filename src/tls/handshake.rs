//! Reassembly of handshake messages from records, and detection of connections that begin with a ClientHello.
//!
//! Sources: RFC 8446, sections 4 and 5.1; PostgreSQL documentation, "SSL Session Encryption": direct negotiation requires the
//! ALPN protocol name `postgresql`.

use super::hello;
use super::record::{self, Records};
use crate::reader::Reader;

/// The largest message that is kept, in bytes: enough for certificate chains, and for the key shares of all known groups. A
/// larger message is skipped.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The maximum number of records over which the first ClientHello of a connection may be spread. A client uses a single record if
/// the size allows it. Without a limit, a hello sent in one-byte records would be parsed again for each of them.
const MAX_RECORDS: usize = 64;

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const END_OF_EARLY_DATA: u8 = 5;
pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const FINISHED: u8 = 20;
pub(super) const KEY_UPDATE: u8 = 24;

/// The size of a message's header, in bytes: its type, and the length of its body in 24 bits.
const HEADER: usize = 4;

/// The kind of a client's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHello {
    /// Not a ClientHello.
    None,
    /// A prefix of a ClientHello.
    Incomplete,
    /// A complete ClientHello.
    Whole {
        /// Whether it offers PostgreSQL's ALPN protocol.
        offers_postgresql: bool,
    },
}

/// Returns whether bytes begin with the header of a TLS record: a content type, and a version from SSL 3.0 to TLS 1.3.
pub fn is_record(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=23, 3, 0..=4, ..])
}

/// Classifies the first bytes of a client.
pub fn client_hello(bytes: &[u8]) -> ClientHello {
    if !matches!(bytes, [] | [record::HANDSHAKE] | [record::HANDSHAKE, 3, ..]) {
        return ClientHello::None;
    }
    let (mut records, mut messages) = (Records::new(), Messages::default());
    let mut rest = bytes;
    for _ in 0..MAX_RECORDS {
        let (used, record) = records.next(rest);
        rest = rest.get(used..).unwrap_or_default();
        let Some(record) = record else {
            return if records.is_searching() { ClientHello::None } else { ClientHello::Incomplete };
        };
        if record.kind != record::HANDSHAKE {
            return ClientHello::None;
        }
        let mut content = record.payload;
        match messages.next(&mut content) {
            Some(Message { kind: CLIENT_HELLO, body }) => {
                return hello::ClientHello::read(body).map_or(ClientHello::None, |hello| ClientHello::Whole {
                    offers_postgresql: hello.offers_postgresql(),
                });
            }
            Some(_) => return ClientHello::None,
            None => {}
        }
    }
    ClientHello::None
}

/// A handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u8,
    pub(super) body: &'a [u8],
}

/// Splits the handshake content of one direction into messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The beginning of a message, or the message that was returned last.
    carry: Vec<u8>,
    is_handed_out: bool,
    /// The number of bytes still to be skipped of a message that is too large.
    skip: usize,
}

impl Messages {
    /// Consumes bytes from the front of a record's content and returns the message that they complete. Call this again until it
    /// returns `None`.
    pub(super) fn next<'a, 'c: 'a>(&'a mut self, content: &mut &'c [u8]) -> Option<Message<'a>> {
        if std::mem::take(&mut self.is_handed_out) {
            self.carry = Vec::new();
        }
        loop {
            let skipped = self.skip.min(content.len());
            self.skip -= skipped;
            *content = content.get(skipped..)?;
            if content.is_empty() {
                return None;
            }
            if self.carry.is_empty()
                && let Some(total) = total(content)
                && let Some((wire, rest)) = content.split_at_checked(total)
            {
                *content = rest;
                return message(wire);
            }
            let wanted = total(&self.carry).unwrap_or(HEADER);
            if wanted > MAX_MESSAGE {
                self.skip = wanted - self.carry.len();
                self.carry = Vec::new();
                continue;
            }
            let (taken, rest) = content.split_at_checked(wanted - self.carry.len()).unwrap_or((content, &[]));
            *content = rest;
            self.carry.extend_from_slice(taken);
            if total(&self.carry) == Some(self.carry.len()) {
                break;
            }
        }
        self.is_handed_out = true;
        message(&self.carry)
    }

    /// Discards an incomplete message, because bytes after it were lost.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the number of bytes held.
    pub(super) fn held(&self) -> usize {
        self.carry.capacity()
    }
}

/// Returns the size of a message, including its header.
fn total(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let word = reader.u32("message").ok()?;
    Some(HEADER + (word & 0x00ff_ffff) as usize)
}

fn message(wire: &[u8]) -> Option<Message<'_>> {
    let (header, body) = wire.split_at_checked(HEADER)?;
    Some(Message { kind: *header.first()?, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_records_cut_them() {
        let wire =
            [&[1, 0, 0, 3, 7, 8, 9][..], &[20, 0, 0, 0], &[24, 0, 0, 1, 1], &[11, 1, 0, 0], &[5; 65_536]].concat();
        for size in [1, 2, 3, 4, 5, 7, 16, 1000, 16_384] {
            let mut messages = Messages::default();
            let mut found = Vec::new();
            for mut piece in wire.chunks(size) {
                while let Some(message) = messages.next(&mut piece) {
                    found.push((message.kind, message.body.to_vec()));
                }
                assert!(piece.is_empty());
            }
            let expected = [(1, vec![7, 8, 9]), (20, vec![]), (24, vec![1])];
            assert_eq!(found, expected, "pieces of {size}; one that is longer than the limit is passed over");
            assert!(messages.held() < 100);
        }
    }
}
