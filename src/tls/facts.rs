//! Metadata of a TLS session. Most of it is sent in the clear; some is known only if the session is decrypted.
//!
//! Sources: RFC 8446, sections 4.4.2 and 6.2; RFC 5246, section 7.4.2; RFC 5280 (certificates), RFC 4514 (names as text).

use x509_cert::der::Decode;

use super::hello::{ClientHello, ServerHello, Version};
use super::keylog::ClientRandom;
use crate::direction::{Direction, PerDirection};
use crate::reader::Reader;

/// The longest name that is kept, in bytes. A host name has at most 253 (RFC 1035), an ALPN name 255. A certificate's may be
/// longer, but a very long one is not worth its memory.
const MAX_NAME: usize = 1024;

/// The maximum number of application protocols that are kept.
const MAX_PROTOCOLS: usize = 8;

/// The metadata of a TLS session.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The version that the server selected.
    pub version: Option<Version>,
    /// The cipher suite that the server selected, by its number in IANA's registry.
    pub suite: Option<u16>,
    /// The client random, which identifies the session in a key log.
    pub client_random: Option<ClientRandom>,
    /// The server name that the client requests (SNI).
    pub server_name: Option<Box<[u8]>>,
    /// The application protocols that the client offers (ALPN).
    pub protocols: Vec<Box<[u8]>>,
    /// Whether an earlier session is resumed; `None` until the server has answered.
    pub is_resumed: Option<bool>,
    /// The client's JA4 fingerprint.
    pub ja4: Option<Box<str>>,
    /// Whether the client offers early data (0-RTT), sent before the server's first message.
    pub offers_early_data: bool,
    /// Whether the server sent a HelloRetryRequest.
    pub is_retried: bool,
    /// The number of renegotiations (TLS 1.2).
    pub renegotiations: u64,
    /// The number of key updates by either side (TLS 1.3); known only if the session is decrypted.
    pub key_updates: u64,
    /// The certificate of each side; in TLS 1.3 known only if the session is decrypted.
    pub certificates: PerDirection<Option<Certificate>>,
    /// The first error alert and its sender, by the alert's number in IANA's registry.
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

    /// Records the body of a Certificate message.
    pub(super) fn certificate(&mut self, direction: Direction, body: &[u8]) {
        let is_tls13 = self.version == Some(Version::TLS13);
        *self.certificates.get_mut(direction) = leaf(body, is_tls13).and_then(Certificate::read);
    }

    /// Records an alert, unless it is close_notify.
    pub(super) fn alert(&mut self, direction: Direction, content: &[u8]) {
        if let [_, description] = *content
            && !matches!(alert_name(description), Some("close_notify" | "user_canceled" | "no_renegotiation"))
        {
            self.alert.get_or_insert((direction, description));
        }
    }

    /// Returns the number of bytes held.
    pub fn held(&self) -> usize {
        let certificate = |certificate: &Option<Certificate>| certificate.as_ref().map_or(0, Certificate::held);
        self.server_name.as_ref().map_or(0, |name| name.len())
            + self.protocols.iter().map(|name| name.len() + size_of::<Box<[u8]>>()).sum::<usize>()
            + certificate(&self.certificates.frontend)
            + certificate(&self.certificates.backend)
    }
}

/// The main fields of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The subject: a distinguished name in the format of RFC 4514.
    pub subject: Box<str>,
    /// The issuer.
    pub issuer: Box<str>,
    /// The start of the validity period, in the format of RFC 3339.
    pub not_before: Box<str>,
    /// The end of the validity period.
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

/// Returns the sender's own certificate, which is the first of the chain. Lengths have 24 bits.
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

/// Returns the name of an alert (RFC 8446, section 6).
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
