//! The ClientHello: whether a connection that begins with TLS is meant for PostgreSQL.
//!
//! Sources: RFC 8446, sections 4.1.2 and 5.1; RFC 7301 (ALPN); PostgreSQL documentation, "SSL Session Encryption": direct
//! negotiation requires the ALPN protocol name `postgresql`.

use tls_parser::{
    TlsExtension, TlsMessage, TlsMessageHandshake, TlsRecordType, parse_tls_client_hello_extensions,
    parse_tls_message_handshake, parse_tls_raw_record,
};

/// The ALPN protocol name of PostgreSQL.
const ALPN_POSTGRESQL: &[u8] = b"postgresql";

/// What the first bytes of a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHello {
    /// No ClientHello.
    None,
    /// The beginning of one.
    Incomplete,
    /// A whole one.
    Whole {
        /// Whether it offers PostgreSQL's protocol.
        offers_postgresql: bool,
    },
}

/// Whether bytes begin with the header of a TLS record: a content type, and a version of SSL 3.0 to TLS 1.3.
pub fn is_record(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=23, 3, 0..=4, ..])
}

/// Reads the first bytes of a client.
pub fn client_hello(bytes: &[u8]) -> ClientHello {
    const HANDSHAKE: u8 = TlsRecordType::Handshake.0;
    if !matches!(bytes, [] | [HANDSHAKE] | [HANDSHAKE, 3, ..]) {
        return ClientHello::None;
    }
    // A ClientHello may span records.
    let mut handshake = Vec::new();
    let mut rest = bytes;
    loop {
        match parse_tls_raw_record(rest) {
            Ok((behind, record)) if record.hdr.record_type == TlsRecordType::Handshake => {
                handshake.extend_from_slice(record.data);
                rest = behind;
            }
            Err(error) if error.is_incomplete() => return ClientHello::Incomplete,
            _ => return ClientHello::None,
        }
        match parse_tls_message_handshake(&handshake) {
            Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) => {
                return ClientHello::Whole { offers_postgresql: hello.ext.is_some_and(offers_postgresql) };
            }
            Err(error) if error.is_incomplete() => {}
            _ => return ClientHello::None,
        }
    }
}

fn offers_postgresql(extensions: &[u8]) -> bool {
    parse_tls_client_hello_extensions(extensions).is_ok_and(|(_, extensions)| {
        extensions
            .iter()
            .any(|extension| matches!(extension, TlsExtension::ALPN(names) if names.contains(&ALPN_POSTGRESQL)))
    })
}
