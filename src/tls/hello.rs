//! ClientHello and ServerHello.
//!
//! Sources: RFC 8446, sections 4.1.2, 4.1.3 and 4.2; RFC 6066, section 3 (SNI); RFC 7301 (ALPN); RFC 8701 (GREASE); for JA4 its
//! authors' description, "JA4: TLS Client Fingerprinting".

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::keylog::ClientRandom;
use crate::hex::Hex;
use crate::reader::{DecodeError, Reader};

/// The ALPN protocol name of PostgreSQL.
const ALPN_POSTGRESQL: &[u8] = b"postgresql";

/// Extension numbers.
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(super) const ALPN: u16 = 16;
    pub(super) const ENCRYPT_THEN_MAC: u16 = 22;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const EARLY_DATA: u16 = 42;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
}

/// The random of a ServerHello that is a HelloRetryRequest: "the SHA-256 of 'HelloRetryRequest'".
const HELLO_RETRY_REQUEST: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A protocol version as it is on the wire: 0x0303 is TLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16);

impl Version {
    pub(super) const TLS12: Self = Self(0x0303);
    pub(super) const TLS13: Self = Self(0x0304);

    /// Returns its name as in PostgreSQL's view pg_stat_ssl.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0300 => "SSLv3",
            0x0301 => "TLSv1",
            0x0302 => "TLSv1.1",
            0x0303 => "TLSv1.2",
            0x0304 => "TLSv1.3",
            _ => return None,
        })
    }
}

/// The body of a ClientHello.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientHello<'a> {
    pub(super) version: Version,
    pub(super) random: ClientRandom,
    pub(super) session_id: &'a [u8],
    suites: &'a [u8],
    extensions: Extensions<'a>,
}

/// The body of a ServerHello.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerHello<'a> {
    pub(super) version: Version,
    pub(super) random: [u8; 32],
    pub(super) session_id: &'a [u8],
    pub(super) suite: u16,
    /// Whether a pre-shared key from an earlier session is used (TLS 1.3).
    pub(super) accepts_psk: bool,
    pub(super) encrypts_then_macs: bool,
}

/// Consecutive extensions.
#[derive(Clone, Copy, Debug)]
struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// Parses the rest of a hello, from which the extensions may be absent.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.is_empty() { Ok(Self(&[])) } else { vector16(reader, "extensions").map(Self) }
    }

    /// Iterates over the numbers and data of the extensions, up to the first invalid one.
    fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            let number = reader.u16("extension").ok()?;
            Some((number, vector16(&mut reader, "extension").ok()?))
        })
    }

    fn find(self, number: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == number).map(|(_, data)| data)
    }
}

fn vector8<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let len = reader.u8(what)?;
    reader.take(len.into(), what)
}

fn vector16<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let len = reader.u16(what)?;
    reader.take(len.into(), what)
}

fn random(reader: &mut Reader<'_>) -> Result<[u8; 32], DecodeError> {
    let bytes = reader.take(32, "random")?;
    Ok(bytes.first_chunk().copied().unwrap_or_default())
}

/// Iterates over the 16-bit numbers in a list, without GREASE values.
fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).filter(|number| !is_grease(*number))
}

/// Returns whether a number is a GREASE value: "0x0A0A, 0x1A1A, … 0xFAFA".
const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

impl<'a> ClientHello<'a> {
    /// Parses the body of the handshake message.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let version = Version(reader.u16("legacy version")?);
        let random = random(&mut reader)?;
        let session_id = vector8(&mut reader, "session ID")?;
        let suites = vector16(&mut reader, "cipher suites")?;
        vector8(&mut reader, "compression methods")?;
        let extensions = Extensions::read(&mut reader)?;
        Ok(Self { version, random, session_id, suites, extensions })
    }

    /// Returns the requested server name.
    pub(super) fn server_name(&self) -> Option<&'a [u8]> {
        let mut list = Reader::new(self.extensions.find(extension::SERVER_NAME)?);
        let mut names = Reader::new(vector16(&mut list, "server names").ok()?);
        // Host names (0) are the only kind of name.
        (names.u8("kind of name").ok()? == 0).then(|| vector16(&mut names, "host name").ok()).flatten()
    }

    /// Iterates over the offered application protocols.
    pub(super) fn protocols(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut data = Reader::new(self.extensions.find(extension::ALPN).unwrap_or_default());
        let mut list = Reader::new(vector16(&mut data, "protocols").unwrap_or_default());
        std::iter::from_fn(move || vector8(&mut list, "protocol").ok())
    }

    /// Returns whether PostgreSQL's protocol is offered.
    pub(super) fn offers_postgresql(&self) -> bool {
        self.protocols().any(|protocol| protocol == ALPN_POSTGRESQL)
    }

    /// Returns whether the client offers early data, sent before the server's first message.
    pub(super) fn offers_early_data(&self) -> bool {
        self.extensions.find(extension::EARLY_DATA).is_some()
    }

    /// Returns the client's JA4 fingerprint.
    pub(super) fn ja4(&self) -> String {
        let extensions: Vec<u16> =
            self.extensions.iter().map(|(number, _)| number).filter(|number| !is_grease(*number)).collect();
        let offered = self.extensions.find(extension::SUPPORTED_VERSIONS).and_then(<[u8]>::split_first);
        let version = offered.and_then(|(_, list)| numbers(list).max()).unwrap_or(self.version.0);
        let version = match version {
            0x0300 => "s3",
            0x0301 => "10",
            0x0302 => "11",
            0x0303 => "12",
            0x0304 => "13",
            _ => "00",
        };
        let server_name = if extensions.contains(&extension::SERVER_NAME) { 'd' } else { 'i' };
        let mut suites: Vec<u16> = numbers(self.suites).collect();
        let [first, last] = ends(self.protocols().next().unwrap_or_default());
        let counts = [suites.len().min(99), extensions.len().min(99)];
        let [suite_count, extension_count] = counts;
        suites.sort_unstable();
        let mut named = extensions;
        named.retain(|number| !matches!(*number, extension::SERVER_NAME | extension::ALPN));
        named.sort_unstable();
        let algorithms = self.extensions.find(extension::SIGNATURE_ALGORITHMS).and_then(|data| data.get(2..));
        let mut list = hex_list(named.iter().copied());
        if let Some(algorithms) = algorithms.filter(|algorithms| !algorithms.is_empty()) {
            list.push('_');
            list.push_str(&hex_list(numbers(algorithms)));
        }
        let suites = short_hash(&hex_list(suites.iter().copied()));
        let extensions = if named.is_empty() { short_hash("") } else { short_hash(&list) };
        format!("t{version}{server_name}{suite_count:02}{extension_count:02}{first}{last}_{suites}_{extensions}")
    }
}

/// Returns the first and last character of a protocol name; if they are not letters or digits, those of its hex form.
fn ends(name: &[u8]) -> [char; 2] {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return ['0', '0'] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)];
    }
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0xf)]
}

fn hex_list(numbers: impl Iterator<Item = u16>) -> String {
    let mut list = String::new();
    for number in numbers {
        let comma = if list.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(list, "{comma}{number:04x}");
    }
    list
}

/// Returns the first 12 hex digits of the SHA-256 hash of a text; zeros for an empty one.
fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let [a, b, c, d, e, f, ..] = Sha256::digest(text.as_bytes()).0;
    Hex(&[a, b, c, d, e, f]).to_string()
}

impl<'a> ServerHello<'a> {
    /// Parses the body of the handshake message.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let legacy = Version(reader.u16("legacy version")?);
        let random = random(&mut reader)?;
        let session_id = vector8(&mut reader, "session ID")?;
        let suite = reader.u16("cipher suite")?;
        reader.u8("compression method")?;
        let extensions = Extensions::read(&mut reader)?;
        let chosen = extensions.find(extension::SUPPORTED_VERSIONS).and_then(|data| data.first_chunk());
        Ok(Self {
            version: chosen.map_or(legacy, |version| Version(u16::from_be_bytes(*version))),
            random,
            session_id,
            suite,
            accepts_psk: extensions.find(extension::PRE_SHARED_KEY).is_some(),
            encrypts_then_macs: extensions.find(extension::ENCRYPT_THEN_MAC).is_some(),
        })
    }

    /// Returns whether it is a HelloRetryRequest.
    pub(super) fn is_retry_request(&self) -> bool {
        self.random == HELLO_RETRY_REQUEST
    }
}

/// Returns whether an EncryptedExtensions message accepts early data.
pub(super) fn accepts_early_data(body: &[u8]) -> bool {
    Extensions::read(&mut Reader::new(body)).is_ok_and(|found| found.find(extension::EARLY_DATA).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grease_values_are_ignored() {
        let greases: Vec<u16> = (0..=u16::MAX).filter(|number| is_grease(*number)).collect();
        assert_eq!(greases.len(), 16);
        assert_eq!((greases[0], greases[1], greases[15]), (0x0a0a, 0x1a1a, 0xfafa));
    }

    #[test]
    fn the_random_that_asks_for_another_hello_is_a_hash_of_its_name() {
        assert_eq!(HELLO_RETRY_REQUEST[..], Sha256::digest(b"HelloRetryRequest")[..]);
    }

    #[test]
    fn half_a_hello_is_none() {
        let hello = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
        for len in 0..hello.len() {
            assert!(ClientHello::read(&hello[..len]).is_err(), "{len}");
        }
        let read = ClientHello::read(&hello).unwrap();
        assert_eq!(read.random, [7; 32]);
        assert_eq!(read.ja4(), "t12i010000_0f2cb44170f4_000000000000");
        assert!(!read.offers_postgresql() && read.server_name().is_none());
    }
}
