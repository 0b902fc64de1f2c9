//! The first bytes of a connection: PostgreSQL, or something else on its port.

use crate::direction::Direction;
use crate::pg::error::code;
use crate::pg::frame::Frame;
use crate::pg::framer::WholeFrames;
use crate::pg::message::{Context, Message};
use crate::pg::resync;
use crate::pg::startup::{self, Look};
use crate::tls::handshake::{ClientHello, client_hello};

use super::Encryption;

/// How many bytes may be gathered before it must be known what they are: a ClientHello fits, with all the key shares and
/// certificates' authorities that it may carry in practice.
pub const MAX_OPENING: usize = 32 * 1024;

/// How many bytes of a startup packet tell that it is one, where the rest of them is lost: its length and its code.
const TELLING: usize = 8;

/// The longest error in the form of protocol 2.0 that is believed of a server that speaks first.
const LONGEST_ERROR: usize = 4_000;

/// What the first bytes of a client are.
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

/// What the first bytes of a server are that has spoken before its client, as far as that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstReply {
    /// Too few to tell.
    Undecided,
    /// An error: the server does not wait for a client that it cannot serve.
    Error,
    /// The answer to a request for encryption, and what follows it.
    Answer(Encryption),
    /// Messages.
    Messages,
    /// Another protocol.
    Foreign(Foreign),
}

impl FirstReply {
    /// What the protocol is, where it is not PostgreSQL's.
    pub const fn name(self) -> Foreign {
        match self {
            Self::Foreign(name) => name,
            _ => SERVER_FIRST,
        }
    }
}

/// A protocol that is not PostgreSQL's, in words.
pub type Foreign = &'static str;

/// Recognizes the first bytes that a client sent.
pub fn of_client(bytes: &[u8]) -> Opening {
    match startup::look(bytes) {
        Look::Whole if behind_request(bytes).is_some_and(is_of_none) => {
            return Opening::Foreign(name_of_client(behind_request(bytes).unwrap_or_default()));
        }
        Look::Whole => return Opening::Startup,
        Look::Begun => return Opening::Undecided,
        Look::Other => {}
    }
    match client_hello(bytes) {
        ClientHello::Whole { offers_postgresql: true } => Opening::DirectTls,
        ClientHello::Whole { offers_postgresql: false } => Opening::Foreign("TLS that does not offer PostgreSQL"),
        ClientHello::Incomplete if bytes.len() < MAX_OPENING => Opening::Undecided,
        ClientHello::None if bytes.len() < 4 => Opening::Undecided,
        ClientHello::Incomplete | ClientHello::None => Opening::Foreign(name_of_client(bytes)),
    }
}

/// What a client sends behind a request for encryption, before that is answered.
fn behind_request(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f | 0x30, rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Whether no client of PostgreSQL goes on so behind a request for encryption: with neither TLS, nor a packet of GSSAPI, nor a
/// startup packet.
pub fn is_of_none(bytes: &[u8]) -> bool {
    const LONGEST_GSSAPI: u8 = 0x40;
    let is_tls = matches!(bytes, [] | [20..=23] | [20..=23, 3, ..]);
    let is_gssapi = matches!(bytes, [0, 0, ..=LONGEST_GSSAPI, ..]);
    !is_tls && !is_gssapi && startup::look(bytes) == Look::Other
}

/// Whether bytes begin with a startup packet, or what there is of one.
pub fn begins_with_startup(bytes: &[u8]) -> bool {
    match startup::look(bytes) {
        Look::Whole => true,
        Look::Begun => bytes.len() >= TELLING,
        Look::Other => false,
    }
}

/// Recognizes the first bytes of a server that did not wait for its client, as PostgreSQL's does.
pub fn of_server(bytes: &[u8]) -> FirstReply {
    let (begins, may_begin) = (
        |bytes| resync::begins_with_message(Direction::Backend, bytes),
        |bytes| resync::may_begin_with_message(Direction::Backend, bytes),
    );
    let reply = match bytes {
        [] | [b'S' | b'N' | b'G' | b'E'] | [b'S', 20..=23] => FirstReply::Undecided,
        [b'S', 20..=23, 3, ..] => FirstReply::Answer(Encryption::Tls),
        [b'N', behind @ ..] if begins_session(behind) => match begins(behind) {
            true => FirstReply::Answer(Encryption::Tls),
            false if may_begin(behind) => FirstReply::Undecided,
            false => FirstReply::Foreign(name_of_server(bytes)),
        },
        [b'E', first, ..] if *first > 0 => of_error_text(bytes),
        [b'E', ..] if is_error(bytes) => FirstReply::Error,
        _ if begins(bytes) => FirstReply::Messages,
        _ if may_begin(bytes) => FirstReply::Undecided,
        _ => FirstReply::Foreign(name_of_server(bytes)),
    };
    match reply {
        FirstReply::Undecided if bytes.len() >= MAX_OPENING => FirstReply::Foreign(name_of_server(bytes)),
        reply => reply,
    }
}

/// What the byte is that a server has sent before anything else, if nothing more comes to tell.
pub const fn of_byte(byte: u8) -> Option<Encryption> {
    match byte {
        b'S' | b'N' => Some(Encryption::Tls),
        b'G' => Some(Encryption::Gssapi),
        _ => None,
    }
}

/// Whether that is all that a server has sent.
pub const fn is_answer(bytes: &[u8]) -> bool {
    matches!(*bytes, [byte] if of_byte(byte).is_some())
}

/// Whether a server's first message may begin so: Authentication, an error, or what it negotiates.
const fn begins_session(bytes: &[u8]) -> bool {
    matches!(bytes, [b'R' | b'E' | b'v', ..])
}

/// Recognizes an error in the form of protocol 2.0: text up to a zero byte, and nothing behind it.
fn of_error_text(bytes: &[u8]) -> FirstReply {
    let text = bytes.get(1..).unwrap_or_default();
    let (text, end) = match memchr::memchr(0, text) {
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end + 1..)),
        None => (text, None),
    };
    let is_text = !text.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t'));
    match end {
        Some([]) if is_text => FirstReply::Error,
        None if is_text && text.len() < LONGEST_ERROR => FirstReply::Undecided,
        _ => FirstReply::Foreign(name_of_server(bytes)),
    }
}

/// Whether bytes begin with an error that has what each has.
fn is_error(bytes: &[u8]) -> bool {
    let Some((tag, len, body)) = WholeFrames::new(Direction::Backend, bytes).next() else { return false };
    let frame = Frame::whole(Some(tag), len, body);
    let Ok(Message::ErrorResponse(fields)) = Message::decode(Direction::Backend, &frame, &Context::default()) else {
        return false;
    };
    [code::SEVERITY, code::CODE, code::MESSAGE].into_iter().all(|code| fields.get(code).is_some())
}

fn name_of_server(bytes: &[u8]) -> Foreign {
    match bytes {
        // A packet of sequence number 0 that begins with protocol version 10 or 9.
        [_, _, _, 0, 9 | 10, ..] => "MySQL",
        [b'S', b'S', b'H', b'-', ..] => "SSH",
        [b'2', b'2', b'0', b' ' | b'-', ..] => "SMTP or FTP",
        _ => SERVER_FIRST,
    }
}

const SERVER_FIRST: Foreign = "an unknown protocol in which the server speaks first";

const UNKNOWN: Foreign = "an unknown protocol";

pub(crate) fn name_of_client(bytes: &[u8]) -> Foreign {
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
    fn startup_packets_are_recognized_when_they_are_whole() {
        assert_eq!(of_client(&[0, 0, 0, 8, 4, 210, 22, 47]), Opening::Startup, "SSLRequest");
        let startup = b"\0\0\0\x12\0\x03\0\x02user\0app\0\0";
        assert_eq!(of_client(startup), Opening::Startup, "3.2");
        assert_eq!(of_client(&[0, 0, 0, 40, 0, 99, 0, 0]), Opening::Foreign(UNKNOWN));
        for short in 0..startup.len() {
            assert_eq!(of_client(&startup[..short]), Opening::Undecided);
            assert_eq!(begins_with_startup(&startup[..short]), short >= 8);
        }
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(of_client(b"GET / HTTP/1.1\r\n"), Opening::Foreign("HTTP"));
        assert_eq!(of_client(b"SSH-2.0-OpenSSH"), Opening::Foreign("SSH"));
        assert_eq!(of_server(b"\x4a\0\0\0\x0a8.0.36\0"), FirstReply::Foreign("MySQL"));
        assert_eq!(of_server(b"SSH-2.0-OpenSSH"), FirstReply::Foreign("SSH"));
        assert_eq!(of_server(b"220 ready\r\n"), FirstReply::Foreign("SMTP or FTP"));
    }

    #[test]
    fn a_client_hello_that_never_ends_is_given_up() {
        let mut bytes = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        assert_eq!(of_client(&bytes), Opening::Undecided);
        bytes.resize(MAX_OPENING, 0);
        assert!(matches!(of_client(&bytes), Opening::Foreign(_)));
    }

    #[test]
    fn what_a_server_says_first_is_told_wherever_it_is_cut() {
        let errors: [&[u8]; 2] = [b"Ecould not fork new process\n\0", b"E\0\0\0\x17SFATAL\0C53300\0Mno\0\0"];
        for error in errors {
            for cut in 0..error.len() {
                assert_eq!(of_server(&error[..cut]), FirstReply::Undecided, "{cut} of {error:?}");
            }
            assert_eq!(of_server(error), FirstReply::Error, "{error:?}");
        }
        // MySQL greets with a length: those of 69, 78 and 83 bytes begin like an error and like answers.
        for len in [0x45, 0x4e, 0x53] {
            let greeting = [&[len, 0, 0, 0, 10][..], b"8.0.36\0", &[7; 60]].concat();
            for cut in 0..=greeting.len() {
                let reply = of_server(&greeting[..cut]);
                assert!(matches!(reply, FirstReply::Undecided | FirstReply::Foreign("MySQL")), "{reply:?}");
            }
            assert_eq!(of_server(&greeting), FirstReply::Foreign("MySQL"));
        }
        assert_eq!(of_server(b"N"), FirstReply::Undecided);
        assert_eq!(of_server(b"NR\0\0\0\x08\0\0\0\0"), FirstReply::Answer(Encryption::Tls));
        assert_eq!(of_server(b"S\x16\x03\x03\0"), FirstReply::Answer(Encryption::Tls));
        assert_eq!(of_server(b"R\0\0\0\x08\0\0\0\0"), FirstReply::Messages);
        assert!(matches!(of_server(b"ERROR :Closing Link\r\n\0more"), FirstReply::Foreign(_)));
    }
}
