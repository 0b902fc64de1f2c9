//! Messages that open a connection, and messages that describe the new session.
//!
//! Source: PostgreSQL documentation, "Message Flow", "Start-up" and "Message Formats".

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::keys::UniqueKeys;
use super::list::{Decode, List};
use super::text::{KeptText, Secret, Text, inline_schema};
use crate::reader::{DecodeError, Reader};
use crate::redaction::Redaction;
use crate::sql::names::is_secret_name;
use crate::sql::secret;

/// The request codes used in place of a StartupMessage's protocol version. Their major version is 1234.
pub(crate) mod code {
    /// The major version of all request codes, including those that are not PostgreSQL's.
    pub(crate) const MAJOR: u32 = 1234;
    /// CancelRequest.
    pub(crate) const CANCEL: u32 = (1234 << 16) | 5678;
    /// SSLRequest.
    pub(crate) const SSL: u32 = (1234 << 16) | 5679;
    /// GSSENCRequest.
    pub(crate) const GSSENC: u32 = (1234 << 16) | 5680;
}

/// The valid range of a startup packet's length word: from its own four bytes and those of the code up to the server's
/// MAX_STARTUP_PACKET_LENGTH.
pub(crate) const PACKET_LEN: std::ops::RangeInclusive<u32> = 8..=10_000;

/// The length word of every StartupMessage of protocol 1.0 or 2.0.
const FIXED_LEN: u32 = 296;

/// The fields of a StartupMessage of protocol 1.0 or 2.0, and their sizes: "these are all strings that are '\\0' terminated only
/// if there is room" (pqcomm.h).
const FIXED: [(&str, usize); 5] = [("database", 64), ("user", 32), ("options", 64), ("unused", 64), ("tty", 64)];

/// The major versions that are accepted in a StartupMessage. Current servers reject versions from 4 on with an error that names
/// the version.
const MAJORS: std::ops::RangeInclusive<u32> = 1..=9;

/// The result of [`look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The bytes begin with a complete, valid startup packet.
    Whole,
    /// The bytes may be the beginning of a startup packet.
    Begun,
    /// The bytes are not a startup packet.
    Other,
}

/// Checks whether bytes begin with a startup packet. Other protocols also begin with a length and a small number, so the whole
/// packet has to be valid.
pub(crate) fn look(bytes: &[u8]) -> Look {
    let Some((len, after)) = bytes.split_first_chunk() else {
        return if bytes.iter().take(2).all(|byte| *byte == 0) { Look::Begun } else { Look::Other };
    };
    let len = u32::from_be_bytes(*len);
    if !PACKET_LEN.contains(&len) {
        return Look::Other;
    }
    let size = len as usize - 4;
    let (body, is_whole) = after.get(..size).map_or((after, false), |body| (body, true));
    let mut reader = Reader::new(body);
    let Ok(code) = reader.u32("code") else { return Look::Begun };
    let version = ProtocolVersion(code);
    let fits = match version.major() {
        code::MAJOR => true,
        1 | 2 => len == FIXED_LEN && is_fixed(reader.rest()),
        major if MAJORS.contains(&major) => match parameters_look(&mut reader) {
            Look::Whole => is_whole && (major == 3 || has_user(body)),
            look => !is_whole && look == Look::Begun,
        },
        _ => false,
    };
    match (fits, is_whole) {
        (true, true) => Look::Whole,
        (true, false) => Look::Begun,
        (false, _) => Look::Other,
    }
}

/// Returns whether fixed-width fields, or a prefix of them, are strings that include a user.
fn is_fixed(mut fields: &[u8]) -> bool {
    for (name, size) in FIXED {
        let (field, rest) = fields.split_at_checked(size).unwrap_or((fields, &[]));
        let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
        if text.iter().any(u8::is_ascii_control) || name == "user" && field.first() == Some(&0) {
            return false;
        }
        fields = rest;
    }
    true
}

/// Checks whether the rest consists of parameter names and values only.
fn parameters_look(reader: &mut Reader<'_>) -> Look {
    loop {
        match reader.cstr("parameter name") {
            Ok(b"") => return if reader.is_empty() { Look::Whole } else { Look::Other },
            Ok(name) if name.iter().any(u8::is_ascii_control) => return Look::Other,
            Err(_) if reader.peek_rest().iter().any(u8::is_ascii_control) => return Look::Other,
            Ok(_) if reader.cstr("parameter value").is_ok() => {}
            _ => return Look::Begun,
        }
    }
}

fn has_user(body: &[u8]) -> bool {
    let startup = StartupMessage::decode(&mut Reader::new(body), Redaction::Nothing);
    startup.is_ok_and(|startup| startup.parameters.iter().any(|(name, _)| name.0 == b"user"))
}

/// A protocol version: the major number in the high half, the minor in the low. Written as `"3.2"`. Greenplum sets the upper four
/// bits to 7 for connections inside a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// Returns the major number.
    pub const fn major(self) -> u32 {
        if self.is_greenplum_internal() { self.0 >> 16 & 0xfff } else { self.0 >> 16 }
    }

    /// Returns whether it is the version used between the parts of a Greenplum cluster.
    pub const fn is_greenplum_internal(self) -> bool {
        self.0 >> 28 == 7
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 & 0xffff)
    }
}

impl Serialize for ProtocolVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

inline_schema!(ProtocolVersion, "ProtocolVersion", |_: &mut SchemaGenerator| json_schema!({
    "type": "string",
    "pattern": r"^\d+\.\d+$",
}));

/// StartupMessage: the requested version, and parameters: `user`, `database`, settings, `_pq_.` protocol options.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StartupMessage<'a> {
    /// The requested version.
    pub protocol_version: ProtocolVersion,
    /// Whether the connection is between parts of a Greenplum cluster.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub greenplum_internal: bool,
    /// Names and values in the order in which they were sent; `#2`, `#3`, … are appended to repeated names.
    pub parameters: Parameters<'a>,
}

impl<'a> StartupMessage<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let protocol_version = ProtocolVersion(reader.u32("protocol version")?);
        let parameters = if matches!(protocol_version.major(), 1 | 2) {
            Parameters::decode_fixed(reader, redaction)?
        } else {
            Parameters::decode(reader, redaction)?
        };
        Ok(Self { protocol_version, greenplum_internal: protocol_version.is_greenplum_internal(), parameters })
    }
}

/// Names and values up to an empty name; or, in protocol 2.0, the fields that are not empty.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    pairs: &'a [u8],
    is_fixed: bool,
    cut: bool,
    redaction: Redaction,
}

impl<'a> Parameters<'a> {
    fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let start = reader.position();
        let mut pairs = reader.since(start);
        loop {
            let name = reader.cstr("parameter name")?;
            if name.is_empty() {
                return Ok(Self { pairs, is_fixed: false, cut: reader.is_cut(), redaction });
            }
            reader.cstr("parameter value")?;
            pairs = reader.since(start);
        }
    }

    fn decode_fixed(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let size = FIXED.iter().map(|(_, size)| size).sum();
        let pairs = reader.take_to_cut(size, "fields of a StartupMessage of protocol 2.0")?;
        Ok(Self { pairs, is_fixed: true, cut: reader.is_cut(), redaction })
    }

    /// Iterates over the names and values as they are written, with secrets masked.
    pub fn iter(&self) -> impl Iterator<Item = (Text<'a>, KeptText<'a>)> + use<'a> {
        let redaction = self.redaction;
        self.sent().map(move |(name, value)| {
            let shown = setting(name, value, redaction);
            let masked = if redaction.hides_secrets() { masked_words(shown) } else { None };
            (name, masked.unwrap_or_else(|| shown.kept()))
        })
    }

    /// Passes the secret parts of the values to `take`. Returns whether a secret may continue after the end of the last value.
    pub(crate) fn secrets(&self, mut take: impl FnMut(&[u8])) -> bool {
        let mut is_secret = false;
        for (name, value) in self.sent() {
            is_secret = is_secret_name(name.0);
            if is_secret {
                take(value.0);
            } else if secret::may_have(value.0) {
                is_secret = true;
                secret_words(value.0).for_each(|(_, secret)| take(&without_backslashes(secret)));
                secret::find(value.0)
                    .secrets
                    .iter()
                    .filter_map(|found| value.0.get(found.place.clone()))
                    .for_each(&mut take);
            }
        }
        is_secret && self.cut
    }

    /// Iterates over the names and values as they were sent.
    fn sent(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + use<'a> {
        let mut reader = if self.cut { Reader::cut(self.pairs) } else { Reader::new(self.pairs) };
        let is_fixed = self.is_fixed;
        let mut fixed = FIXED.iter();
        std::iter::from_fn(move || {
            while !reader.is_empty() {
                let (name, value) = if is_fixed {
                    let (name, size) = fixed.next()?;
                    let field = reader.take_to_cut(*size, name).ok()?;
                    let value = field.split(|byte| *byte == 0).next().unwrap_or_default();
                    if value.is_empty() {
                        continue;
                    }
                    (name.as_bytes(), value)
                } else {
                    (reader.cstr("parameter name").ok()?, reader.cstr("parameter value").ok()?)
                };
                return Some((Text::utf8(name), Text::utf8(value)));
            }
            None
        })
    }
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut keys = UniqueKeys::default();
        for (name, value) in self.iter() {
            map.serialize_entry(&*keys.next(name), &value.get())?;
        }
        map.end()
    }
}

inline_schema!(Parameters<'_>, "Parameters", BTreeMap::<String, Text<'_>>::json_schema);

/// CancelRequest: the process ID and key of the session whose query is to be canceled. Keys have 4 bytes in protocol 3.0, and up
/// to 256 in 3.2.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CancelRequest<'a> {
    /// The process ID of the target backend.
    pub process_id: i32,
    /// The secret key of the target backend.
    pub secret_key: Secret<'a>,
}

impl<'a> CancelRequest<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        reader.u32("cancel request code")?;
        Ok(Self { process_id: reader.i32("process ID")?, secret_key: secret_key(reader, redaction)? })
    }
}

/// A request code of major version 1234 that is not PostgreSQL's.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnknownRequest<'a> {
    /// The code, formatted like a version.
    pub code: ProtocolVersion,
    /// The rest of the packet, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Secret<'a>>,
}

impl<'a> UnknownRequest<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let code = ProtocolVersion(reader.u32("request code")?);
        let data = reader.rest();
        Ok(Self { code, data: (!data.is_empty()).then(|| Secret::bytes(data, redaction)) })
    }
}

/// BackendKeyData: the data that the frontend needs to cancel a query.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BackendKeyData<'a> {
    /// The process ID of this backend.
    pub process_id: i32,
    /// The secret key of this backend.
    pub secret_key: Secret<'a>,
}

impl<'a> BackendKeyData<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self { process_id: reader.i32("process ID")?, secret_key: secret_key(reader, redaction)? })
    }
}

/// Decodes a secret key. "The minimum and maximum key length are 4 and 256 bytes, respectively."
fn secret_key<'a>(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Secret<'a>, DecodeError> {
    let at = reader.position();
    let key = reader.rest();
    if !(4..=256).contains(&key.len()) && !reader.is_cut() {
        return Err(Reader::unexpected(at, "length of the secret key", "4 to 256", key.len() as i64));
    }
    Ok(Secret::bytes(key, redaction))
}

/// SSLResponse, GSSENCResponse: the one-byte response to an SSLRequest or a GSSENCRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EncryptionResponse {
    /// Whether the server accepts encryption: `S` for TLS, `G` for GSSAPI, `N` for neither.
    pub accepted: bool,
}

/// NegotiateProtocolVersion: the server does not support the requested minor version or some `_pq_.` options.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest version that the server supports.
    pub newest_protocol_version: ProtocolVersion,
    /// Protocol options that the server does not recognize.
    pub unrecognized_options: List<'a, Text<'a>>,
}

impl<'a> Decode<'a> for Text<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Text::decode(reader, "string")
    }
}

impl<'a> NegotiateProtocolVersion<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let newest_protocol_version = ProtocolVersion(reader.u32("newest protocol version")?);
        let at = reader.position();
        let count = reader.i32("number of options")?;
        let count = usize::try_from(count)
            .map_err(|_| Reader::unexpected(at, "number of options", "0 or more", count.into()))?;
        Ok(Self { newest_protocol_version, unrecognized_options: List::decode(reader, count)? })
    }
}

/// ParameterStatus: the value of a setting that is reported to the frontend, at startup and after each change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ParameterStatus<'a> {
    /// The name of the run-time parameter.
    pub name: Text<'a>,
    /// Its current value.
    pub value: Text<'a>,
}

impl<'a> ParameterStatus<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let name = Text::decode(reader, "parameter name")?;
        let value = Text::decode(reader, "parameter value")?;
        let shown = setting(name, value, redaction);
        let has_secret =
            redaction.hides_secrets() && masked_words(shown).is_some_and(|masked| *masked != *shown.kept());
        Ok(Self { name, value: if has_secret { Text::utf8(Secret::MASK.as_bytes()) } else { shown } })
    }
}

/// The parameters whose values are names or keywords: the identity of the session, and what PostgreSQL 18 reports ("Message
/// Flow", "Asynchronous Operations"). Any other parameter may have any value: `options`, a customized option, a pooler's
/// parameter.
/// option, one of a pooler.
const PLAIN_SETTINGS: [&str; 18] = [
    "user",
    "database",
    "replication",
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "scram_iterations",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

fn is_plain(name: &[u8]) -> bool {
    PLAIN_SETTINGS.iter().any(|plain| name.eq_ignore_ascii_case(plain.as_bytes()))
}

/// Returns the value of a parameter as it is written.
fn setting<'a>(name: Text<'a>, value: Text<'a>, redaction: Redaction) -> Text<'a> {
    let is_hidden =
        redaction.hides_values() && !is_plain(name.0) || redaction.hides_secrets() && is_secret_name(name.0);
    if is_hidden { Text::utf8(Secret::MASK.as_bytes()) } else { value }
}

/// Masks the secrets in a text, either in the form of `options`, such as `-c app.token=x`, or in SQL; `None` if there are none.
pub(super) fn masked_words(value: Text<'_>) -> Option<KeptText<'static>> {
    if !secret::may_have(value.0) {
        return None;
    }
    let mut masked = Vec::with_capacity(value.0.len());
    let mut kept = 0;
    for (place, secret) in secret_words(value.0) {
        masked.extend_from_slice(value.0.get(kept..place).unwrap_or_default());
        masked.extend_from_slice(Secret::MASK.as_bytes());
        kept = place + secret.len();
    }
    masked.extend_from_slice(value.0.get(kept..).unwrap_or_default());
    let masked = secret::mask(&masked).into_owned();
    Some(Text(&masked, value.1).kept().into_owned())
}

/// Iterates over the positions and values of settings in `options` whose names indicate a secret. Blanks around `=` are invalid,
/// but the server quotes them in its error. Poolers separate options with `;`.
fn secret_words(options: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    // The expected kind of the next word, after the name of a secret.
    let mut next = NextWord::Any;
    std::iter::from_fn(move || {
        while at < options.len() {
            let rest = options.get(at..)?;
            // A backslash escapes the space after it.
            let mut is_escaped = false;
            let is_end = |b: &u8| {
                let was_escaped = is_escaped;
                is_escaped = !was_escaped && *b == b'\\';
                b.is_ascii_whitespace() && !was_escaped
            };
            let len = rest.iter().position(is_end).unwrap_or(rest.len());
            let start = at;
            at += len + 1;
            let word = rest.get(..len).filter(|word| !word.is_empty());
            let Some(word) = word else { continue };
            let value = match next {
                NextWord::Value if !word.starts_with(b"-") => Some(0),
                NextWord::Equals if word.starts_with(b"=") => Some(1),
                _ => secret_value(word),
            };
            next = match value {
                Some(value) if value == len => NextWord::Value,
                None if is_secret_name(word) => NextWord::Equals,
                _ => NextWord::Any,
            };
            let secret = value.and_then(|value| Some((start + value, word.get(value..)?)));
            if secret.is_some_and(|(_, secret)| !secret.is_empty()) {
                return secret;
            }
        }
        None
    })
}

/// The kind of a word in `options`, given the word before.
enum NextWord {
    Any,
    /// It may begin with `=` and set the value of the word before.
    Equals,
    /// It is the value of the word before.
    Value,
}

/// Returns whether a text contains words that set secrets.
pub(super) fn has_secret_words(text: &[u8]) -> bool {
    secret_words(text).next().is_some()
}

/// Returns the start of the value in a word that sets a secret.
fn secret_value(word: &[u8]) -> Option<usize> {
    let mut start = 0;
    for setting in word.split(|b| b";&".contains(b)) {
        if let Some(equals) = memchr::memchr(b'=', setting)
            && setting.get(..equals).is_some_and(is_secret_name)
        {
            return Some(start + equals + 1);
        }
        start += setting.len() + 1;
    }
    None
}

/// Removes the backslashes that escape characters of an option.
fn without_backslashes(option: &[u8]) -> Vec<u8> {
    let mut rest = option.iter();
    let next = || rest.next().and_then(|b| if *b == b'\\' { rest.next() } else { Some(b) }).copied();
    std::iter::from_fn(next).collect()
}

/// Returns whether the value of a setting may repeat arbitrary client data, and has no influence on decoding.
pub(crate) fn may_repeat(name: &[u8]) -> bool {
    name == b"application_name" || !is_plain(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_again_stay_and_keys_stay_unique() {
        let body = b"\0\x03\0\0a\0one\0a\0two\0a#2\0three\0a\0four\0\0";
        let message = StartupMessage::decode(&mut Reader::new(body), Redaction::Secrets).unwrap();
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r##"{"protocol_version":"3.0","parameters":{"a":"one","a#2":"two","a#2#2":"three","a#3":"four"}}"##
        );
    }

    /// Prepends a length word.
    fn packet(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], body].concat()
    }

    fn version_2(user: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 292];
        body[1] = 2;
        body[4..8].copy_from_slice(b"shop");
        body[68..][..user.len()].copy_from_slice(user);
        packet(&body)
    }

    #[test]
    fn a_message_of_protocol_2_has_fields_of_fixed_width() {
        let (all, user) = (version_2(&[b'u'; 32]), "u".repeat(32));
        let message = StartupMessage::decode(&mut Reader::new(&all[4..]), Redaction::Secrets).unwrap();
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            format!(r#"{{"protocol_version":"2.0","parameters":{{"database":"shop","user":"{user}"}}}}"#)
        );
    }

    #[test]
    fn connections_inside_a_greenplum_cluster_are_recognized() {
        let message = StartupMessage::decode(&mut Reader::new(b"\x70\x03\0\0user\0a\0\0"), Redaction::Secrets).unwrap();
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"protocol_version":"3.0","greenplum_internal":true,"parameters":{"user":"a"}}"#
        );
    }

    #[test]
    fn what_begins_a_connection_is_known_wherever_it_is_cut() {
        let begins = [
            packet(b"\0\x03\0\0user\0app\0\0"),
            packet(b"\0\x03\x27\x0fuser\0app\0_pq_.x\0\0\0"),
            packet(b"\0\x03\0\0\0"),
            packet(b"\0\x04\0\0user\0app\0\0"),
            packet(b"\x70\x03\0\0user\0app\0gpqeid\0x\0\0"),
            packet(b"\x04\xd2\x16\x2f"),
            packet(b"\x04\xd2\x16\x2e\0\0\0\x01key!"),
            packet(b"\x04\xd2\x16\x39whatever"),
            version_2(b"app"),
        ];
        for bytes in begins {
            for cut in 0..bytes.len() {
                assert_eq!(look(&bytes[..cut]), Look::Begun, "{cut} of {bytes:?}");
            }
            assert_eq!(look(&bytes), Look::Whole, "{bytes:?}");
            assert_eq!(look(&[&bytes[..], b"more"].concat()), Look::Whole, "{bytes:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_to_its_end_begins_no_connection() {
        let others = [
            // Kafka: Metadata, ListOffsets, LeaderAndIsr, ApiVersions.
            packet(b"\0\x03\0\x09\0\0\0\x01\0\x07rdkafka\0\x01\0\0"),
            packet(&[b"\0\x02\0\x05\0\0\0\x07\0\x08consumer".as_slice(), &[0; 274]].concat()),
            packet(b"\0\x04\0\x01\0\0\0\x01\0\x01a\0\0\0\x01"),
            packet(b"\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0"),
            packet(b"\0\x03\0\0user\0app\0\0more"),
            packet(b"\0\x03\0\0user\0app\0"),
            packet(b"\0\x03\0\0user\0app"),
            packet(b"\0\x04\0\0name\0app\0\0"),
            packet(b"\0\x02\0\0user\0app\0\0"),
            version_2(b""),
            b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0".to_vec(),
            b"\x16\x03\x01\x02\0".to_vec(),
            b"G".to_vec(),
        ];
        for bytes in others {
            assert_eq!(look(&bytes), Look::Other, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_named_like_a_secret_is_masked() {
        let body = b"\0\x03\0\0user\0app\0crdb:session_revival_token_base64\0x\0API_KEY\0x\0options\0\
            -c app.token=x\\ y -c search_path=a --jwt_secret=x -capp.key=x\0database\0postgres://u:x@h/d\0\0";
        let message = StartupMessage::decode(&mut Reader::new(body), Redaction::Secrets).unwrap();
        assert_eq!(
            serde_json::to_string(&message.parameters).unwrap(),
            concat!(
                r#"{"user":"app","crdb:session_revival_token_base64":"***","API_KEY":"***","#,
                r#""options":"-c app.token=*** -c search_path=a --jwt_secret=*** -capp.key=***","#,
                r#""database":"postgres://u:***@h/d"}"#
            )
        );
        let message = StartupMessage::decode(&mut Reader::new(body), Redaction::Nothing).unwrap();
        assert!(!serde_json::to_string(&message).unwrap().contains("***"));
    }

    #[test]
    fn secrets_in_options_are_masked_however_they_are_set() {
        for (options, shown) in [
            ("-c app.token=x -c a.b=c", "-c app.token=*** -c a.b=c"),
            ("-c app.token = x a", "-c app.token = *** a"),
            ("-c app.token= x a", "-c app.token= *** a"),
            ("-c app.token =x a", "-c app.token =*** a"),
            ("-c app.token= -c a.b=c", "-c app.token= -c a.b=c"),
            ("-c app.token  =  x\\ y a", "-c app.token  =  *** a"),
            ("endpoint=e;password=x;y", "endpoint=e;password=***"),
            ("project=p&api_key=x", "project=p&api_key=***"),
            ("-c a.tokens token a", "-c a.tokens token a"),
        ] {
            let masked = masked_words(Text::utf8(options.as_bytes())).unwrap();
            assert_eq!(*masked, *shown.as_bytes(), "{options}");
        }
    }

    #[test]
    fn a_setting_that_has_a_secret_in_it_is_masked() {
        for (body, value) in [
            (&b"application_name\0host=h password=x\0"[..], "***"),
            (b"application_name\0postgres://u:x@h/d\0", "***"),
            (b"application_name\0token ring\0", "token ring"),
            (b"application_name\0a;password=x\0", "***"),
        ] {
            let status = ParameterStatus::decode(&mut Reader::new(body), Redaction::Secrets).unwrap();
            assert_eq!(status.value.0, value.as_bytes());
        }
    }

    #[test]
    fn parameters_without_an_end_are_an_error() {
        let mut reader = Reader::new(b"\0\x03\0\0user\0app\0");
        assert_eq!(
            StartupMessage::decode(&mut reader, Redaction::Secrets).unwrap_err().to_string(),
            "parameter name at byte 13: wanted a zero byte, had 0 bytes"
        );
    }

    #[test]
    fn keys_have_4_to_256_bytes() {
        for (len, fits) in [(3, false), (4, true), (32, true), (256, true), (257, false)] {
            let body = vec![0; 4 + len];
            assert_eq!(BackendKeyData::decode(&mut Reader::new(&body), Redaction::Secrets).is_ok(), fits, "{len}");
        }
    }
}
