//! What can be said of a TLS session: mostly in clear, some only where it is decrypted.
//!
//! Sources: RFC 8446, sections 4.4.2 and 6.2; RFC 5246, section 7.4.2; RFC 5280 (certificates), RFC 4514 (names as text).

use x509_cert::der::Decode;

use super::hello::{ClientHello, ServerHello, Version};
use super::keylog::ClientRandom;
use crate::direction::{Direction, PerDirection};
use crate::reader::Reader;

/// The longest name that is kept, in bytes: a host name has 253 at the most (RFC 1035), an ALPN name 255. A certificate's may
/// be longer, but of one that is very long nobody wants to know.
const MAX_NAME: usize = 1024;

/// How many application protocols are kept.
const MAX_PROTOCOLS: usize = 8;

/// What is known of a TLS session.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The version that the server chose.
    pub version: Option<Version>,
    /// The cipher suite that the server chose, by its number in IANA's registry.
    pub suite: Option<u16>,
    /// The client random: what names the session in a key log.
    pub client_random: Option<ClientRandom>,
    /// The name of the server that the client wants (SNI).
    pub server_name: Option<Box<[u8]>>,
    /// The application protocols that the client offers (ALPN).
    pub protocols: Vec<Box<[u8]>>,
    /// Whether an earlier session is resumed, once the server has answered.
    pub is_resumed: Option<bool>,
    /// The fingerprint JA4 of the client.
    pub ja4: Option<Box<str>>,
    /// Whether the client offers to send data before the server's first word (0-RTT).
    pub offers_early_data: bool,
    /// Whether the server asked for another ClientHello.
    pub is_retried: bool,
    /// How many times a handshake began anew inside the session (TLS 1.2).
    pub renegotiations: u64,
    /// How many times a side changed its key (TLS 1.3); seen where it is decrypted.
    pub key_updates: u64,
    /// The certificate of each side: in TLS 1.3 only where it is decrypted.
    pub certificates: PerDirection<Option<Certificate>>,
    /// The first error that a side told the other, by its number in IANA's registry.
    pub alert: Option<(Direction, u8)>,
}

impl Facts {
    pub(super) fn client_hello(&mut self, hello: &ClientHello<'_>) {
        let kept = |name: &[u8]| (name.len() <= MAX_NAME).then(|| Box::from(name));
        self.client_random = Some(hello.random);
        self.server_name = hello.server_name().and_then(kept);
        self.protocols = hello.protocols().filter_map(kept).take(MAX_PROTOCOLS).collect();
        self.ja4 = Some(hello.ja4().into());
        self.offers_early_data = hello.offers_early_data();
    }

    pub(super) fn server_hello(&mut self, hello: &ServerHello<'_>, is_resumed: bool) {
        self.version = Some(hello.version);
        self.suite = Some(hello.suite);
        self.is_resumed = Some(is_resumed);
    }

    /// Takes the body of a Certificate message.
    pub(super) fn certificate(&mut self, direction: Direction, body: &[u8]) {
        let is_tls13 = self.version == Some(Version::TLS13);
        *self.certificates.get_mut(direction) = leaf(body, is_tls13).and_then(Certificate::read);
    }

    /// Takes an alert. That a side closes the session is none.
    pub(super) fn alert(&mut self, direction: Direction, content: &[u8]) {
        if let [_, description] = *content
            && !matches!(alert_name(description), Some("close_notify" | "user_canceled" | "no_renegotiation"))
        {
            self.alert.get_or_insert((direction, description));
        }
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        let certificate = |certificate: &Option<Certificate>| certificate.as_ref().map_or(0, Certificate::held);
        self.server_name.as_ref().map_or(0, |name| name.len())
            + self.protocols.iter().map(|name| name.len() + size_of::<Box<[u8]>>()).sum::<usize>()
            + certificate(&self.certificates.frontend)
            + certificate(&self.certificates.backend)
    }
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is: a distinguished name as RFC 4514 writes it.
    pub subject: Box<str>,
    /// Who vouches for it.
    pub issuer: Box<str>,
    /// From when on it is valid, as RFC 3339 writes it.
    pub not_before: Box<str>,
    /// How long it is valid.
    pub not_after: Box<str>,
}

impl Certificate {
    fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let name = |name: String| (name.len() <= MAX_NAME).then(|| name.into_boxed_str());
        let validity = certificate.validity();
        Some(Self {
            subject: name(certificate.subject().to_string())?,
            issuer: name(certificate.issuer().to_string())?,
            not_before: validity.not_before.to_date_time().to_string().into(),
            not_after: validity.not_after.to_date_time().to_string().into(),
        })
    }

    fn held(&self) -> usize {
        self.subject.len() + self.issuer.len() + self.not_before.len() + self.not_after.len()
    }
}

/// The sender's own certificate, which comes first. Lengths have 24 bits.
fn leaf(body: &[u8], is_tls13: bool) -> Option<&[u8]> {
    let mut reader = Reader::new(body);
    if is_tls13 {
        let len = reader.u8("request context").ok()?;
        reader.take(len.into(), "request context").ok()?;
    }
    take24(&mut reader).and_then(|list| take24(&mut Reader::new(list)))
}

fn take24<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let high = reader.u8("length").ok()?;
    let low = reader.u16("length").ok()?;
    reader.take(usize::from(high) << 16 | usize::from(low), "certificates").ok()
}

/// The name of an alert (RFC 8446, section 6).
pub const fn alert_name(description: u8) -> Option<&'static str> {
    Some(match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => return None,
    })
}
