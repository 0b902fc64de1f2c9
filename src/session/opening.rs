//! The first bytes of a connection: PostgreSQL, or something else on its port.

use crate::pg::startup;
use crate::reader::Reader;
use crate::tls::handshake::{ClientHello, client_hello};

/// How many bytes may be gathered before it must be known what they are: a ClientHello fits, with all the key shares and
/// certificates' authorities that it may carry in practice.
pub const MAX_OPENING: usize = 32 * 1024;

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Too few to tell.
    Undecided,
    /// A startup packet.
    Startup,
    /// TLS from the first byte, meant for PostgreSQL.
    DirectTls,
    /// Another protocol.
    Foreign(Foreign),
}

/// A protocol that is not PostgreSQL's, in words.
pub type Foreign = &'static str;

/// Recognizes the first bytes that a client sent.
pub fn of_client(bytes: &[u8]) -> Opening {
    let mut reader = Reader::new(bytes);
    let Ok(len) = reader.u32("length word") else { return Opening::Undecided };
    if startup::PACKET_LEN.contains(&len) {
        return match reader.u32("protocol version") {
            Ok(code) if startup::is_startup_code(code) => Opening::Startup,
            Ok(_) => Opening::Foreign(UNKNOWN),
            Err(_) => Opening::Undecided,
        };
    }
    match client_hello(bytes) {
        ClientHello::Whole { offers_postgresql: true } => Opening::DirectTls,
        ClientHello::Whole { offers_postgresql: false } => Opening::Foreign("TLS that does not offer PostgreSQL"),
        ClientHello::Incomplete if bytes.len() < MAX_OPENING => Opening::Undecided,
        ClientHello::Incomplete | ClientHello::None => Opening::Foreign(name_of_client(bytes)),
    }
}

/// Recognizes the first bytes of a server that did not wait for its client, as PostgreSQL's does.
pub fn of_server(bytes: &[u8]) -> Foreign {
    match bytes {
        // A packet of sequence number 0 that begins with protocol version 10 or 9.
        [_, _, _, 0, 9 | 10, ..] => "MySQL",
        [b'S', b'S', b'H', b'-', ..] => "SSH",
        [b'2', b'2', b'0', b' ' | b'-', ..] => "SMTP or FTP",
        _ => "an unknown protocol in which the server speaks first",
    }
}

const UNKNOWN: Foreign = "an unknown protocol";

fn name_of_client(bytes: &[u8]) -> Foreign {
    const HTTP: [&[u8]; 9] =
        [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"PRI * "];
    if HTTP.iter().any(|method| bytes.starts_with(method)) {
        "HTTP"
    } else if bytes.starts_with(b"SSH-") {
        "SSH"
    } else {
        UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_packets_are_recognized_by_their_code() {
        assert_eq!(of_client(&[0, 0, 0, 8, 4, 210, 22, 47]), Opening::Startup, "SSLRequest");
        assert_eq!(of_client(&[0, 0, 0, 40, 0, 3, 0, 2]), Opening::Startup, "3.2");
        assert_eq!(of_client(&[0, 0, 0, 40, 0, 9, 0, 0]), Opening::Foreign(UNKNOWN));
        for short in 0..8 {
            assert_eq!(of_client(&[0, 0, 0, 8, 4, 210, 22, 47][..short]), Opening::Undecided);
        }
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(of_client(b"GET / HTTP/1.1\r\n"), Opening::Foreign("HTTP"));
        assert_eq!(of_client(b"SSH-2.0-OpenSSH"), Opening::Foreign("SSH"));
        assert_eq!(of_server(b"\x4a\0\0\0\x0a8.0.36\0"), "MySQL");
    }

    #[test]
    fn a_client_hello_that_never_ends_is_given_up() {
        let mut bytes = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        assert_eq!(of_client(&bytes), Opening::Undecided);
        bytes.resize(MAX_OPENING, 0);
        assert!(matches!(of_client(&bytes), Opening::Foreign(_)));
    }
}
