//! Texts, secrets and raw bytes as they are written in JSON.
//!
//! Invalid text is never replaced with substitution characters: it is written in hex.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::encoding::Encoding;
pub use crate::hex::{Bytea, Hex};
use crate::reader::{DecodeError, Reader};
use crate::redaction::Redaction;
use crate::sql::normalize::{Form, normalize_into};
use crate::sql::redact::redact;
use crate::sql::secret;
use crate::sql::tags::{self, Tags};

/// Text from the wire, and its encoding. Written as a string if it is valid in that encoding, otherwise as `{"hex": "…"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Text<'a>(pub &'a [u8], pub Encoding);

impl<'a> Text<'a> {
    /// Creates text to which `client_encoding` does not apply: UTF-8, if it is text at all.
    pub const fn utf8(bytes: &'a [u8]) -> Self {
        Self(bytes, Encoding::UTF8)
    }

    /// Decodes a String.
    ///
    /// # Errors
    ///
    /// There is no terminating zero byte.
    pub(crate) fn decode(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let encoding = reader.encoding();
        reader.cstr(what).map(|bytes| Self(bytes, encoding))
    }

    /// Returns the text, if it is valid in its encoding. Borrows UTF-8 and ASCII.
    pub fn to_str(self) -> Option<Cow<'a, str>> {
        self.1.decode(self.0)
    }

    /// Returns the text in the form used for storage and analysis.
    pub fn kept(self) -> KeptText<'a> {
        if self.1 == Encoding::UTF8 {
            return KeptText { bytes: Cow::Borrowed(self.0), encoding: self.1 };
        }
        match self.to_str() {
            Some(Cow::Borrowed(text)) => KeptText { bytes: Cow::Borrowed(text.as_bytes()), encoding: Encoding::UTF8 },
            Some(Cow::Owned(text)) => KeptText { bytes: Cow::Owned(text.into_bytes()), encoding: Encoding::UTF8 },
            None => KeptText { bytes: Cow::Borrowed(self.0), encoding: self.1 },
        }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_str() {
            Some(text) => serializer.serialize_str(&text),
            None => Hex(self.0).serialize(serializer),
        }
    }
}

/// Text that may outlive its message: UTF-8 if it is valid in its encoding, otherwise as it was sent.
///
/// Stored texts are compared, so they are decoded once, when they are stored: a session may change its `client_encoding` between
/// two messages that contain the same name, and names in SQL are compared with names in messages. Decoding also protects the
/// analysis of SQL from encodings in which a byte of a character looks like a backslash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptText<'a> {
    bytes: Cow<'a, [u8]>,
    encoding: Encoding,
}

impl KeptText<'_> {
    /// Returns the text.
    pub fn get(&self) -> Text<'_> {
        Text(&self.bytes, self.encoding)
    }

    /// Replaces the text, reusing the buffer.
    pub fn set(&mut self, text: Text<'_>) {
        let bytes = self.bytes.to_mut();
        bytes.clear();
        bytes.extend_from_slice(text.0);
        self.encoding = text.1;
    }

    /// Returns the capacity of the buffer in bytes.
    pub fn capacity(&self) -> usize {
        if let Cow::Owned(bytes) = &self.bytes { bytes.capacity() } else { 0 }
    }

    /// Converts the text into one that owns its bytes.
    pub fn into_owned(self) -> KeptText<'static> {
        KeptText { bytes: Cow::Owned(self.bytes.into_owned()), encoding: self.encoding }
    }
}

/// Dereferences to the bytes, by which texts are compared and looked up.
impl Deref for KeptText<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// SQL, or text that may quote it. Written like [`Text`], with secrets masked; in normalized form if values are not written. So is
/// its `Debug` form; `text` itself is not masked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sql<'a> {
    /// The text on the wire.
    pub text: Text<'a>,
    /// Which parts are not written.
    pub redaction: Redaction,
}

impl<'a> Sql<'a> {
    /// Creates free text that may quote SQL or data.
    pub const fn quoting(text: Text<'a>, redaction: Redaction) -> Self {
        if redaction.hides_values() {
            Self { text: Text::utf8(secret::MASK.as_bytes()), redaction: Redaction::Nothing }
        } else {
            Self { text, redaction }
        }
    }

    /// Returns the text as it is written.
    pub fn masked(&self) -> KeptText<'a> {
        let mut text = self.text.kept();
        if matches!(self.redaction, Redaction::Secrets) {
            mask_secret_tags(&mut text);
        }
        self.mask_words(text)
    }

    fn mask_words<'b>(&self, text: KeptText<'b>) -> KeptText<'b> {
        let bytes = match (self.redaction, text.bytes) {
            (Redaction::Nothing, bytes) => bytes,
            (Redaction::Secrets, Cow::Borrowed(bytes)) => secret::mask(bytes),
            (Redaction::Secrets, Cow::Owned(bytes)) => Cow::Owned(secret::mask(&bytes).into_owned()),
            (Redaction::Values, _) if text.encoding != Encoding::UTF8 => Cow::Borrowed(secret::MASK.as_bytes()),
            (Redaction::Values, bytes) => Cow::Owned(redact(&bytes).text.into_vec()),
        };
        KeptText { bytes, encoding: text.encoding }
    }

    /// Returns the tags in its comment, as they are written.
    pub(crate) fn tags(&self) -> Tags {
        if !tags::may_have(self.text.0) {
            return Tags::new();
        }
        let text = self.text.kept();
        let text = if self.redaction.hides_values() { text } else { self.mask_words(text) };
        if text.encoding != Encoding::UTF8 {
            return Tags::new();
        }
        let mut tags = tags::tags(&text);
        for (key, value) in &mut tags {
            if self.redaction.hides_values() || self.redaction.hides_secrets() && is_secret_tag(key, value) {
                secret::MASK.clone_into(value);
            }
        }
        tags
    }

    /// Writes the SQL without its constants into a buffer, replacing its content.
    pub(crate) fn normalize(&self, normalized: &mut Vec<u8>) -> Form {
        // If the text is not valid in its encoding, the end of a string constant may be uncertain.
        if self.redaction.hides_values() || self.text.1 != Encoding::UTF8 {
            let redacted = redact(self.text.0);
            normalized.clear();
            normalized.extend_from_slice(&redacted.text);
            // What is certain depends on more than the form.
            return Form { fingerprint: redacted.fingerprint, shows_numbers: true };
        }
        // A secret may lie outside of constants.
        let sql = if self.redaction.hides_secrets() { secret::mask(self.text.0) } else { Cow::Borrowed(self.text.0) };
        normalize_into(&sql, normalized)
    }
}

/// Masks the comment with tags, if one of them is a secret that cannot be seen before it is decoded: nor can be told where in the
/// comment it is.
fn mask_secret_tags(text: &mut KeptText<'_>) {
    if text.encoding != Encoding::UTF8 || !tags::may_have(&text.bytes) {
        return;
    }
    let Some((comment, tags)) = tags::find(&text.bytes) else { return };
    let is_encoded =
        |key: &str, value: &str| memchr::memmem::find(comment.text, assignment(key, value).as_bytes()).is_none();
    if tags.iter().any(|(key, value)| is_secret_tag(key, value) && is_encoded(key, value)) {
        let (start, end) = (comment.start, comment.end());
        text.bytes.to_mut().splice(start..end, [b"/*", secret::MASK.as_bytes(), b"*/"].concat());
    }
}

fn assignment(key: &str, value: &str) -> String {
    format!("{key}='{}'", value.replace('\'', "''"))
}

/// Returns whether a tag is a secret.
fn is_secret_tag(key: &str, value: &str) -> bool {
    matches!(secret::mask(assignment(key, value).as_bytes()), Cow::Owned(_))
}

impl fmt::Debug for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.masked().get().0), f)
    }
}

impl Serialize for Sql<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.masked().get().serialize(serializer)
    }
}

/// A secret: written as `"***"` unless secrets are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a> {
    bytes: &'a [u8],
    form: SecretForm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretForm {
    Masked,
    Text,
    Bytes,
}

impl<'a> Secret<'a> {
    /// The text written in place of a secret.
    pub const MASK: &'static str = secret::MASK;

    /// Creates a secret that is text when shown.
    pub const fn text(bytes: &'a [u8], redaction: Redaction) -> Self {
        Self { bytes, form: if redaction.hides_secrets() { SecretForm::Masked } else { SecretForm::Text } }
    }

    /// Creates a secret that is bytes when shown.
    pub const fn bytes(bytes: &'a [u8], redaction: Redaction) -> Self {
        Self { bytes, form: if redaction.hides_secrets() { SecretForm::Masked } else { SecretForm::Bytes } }
    }

    /// Returns the secret as it is written.
    pub fn masked(&self) -> Cow<'a, [u8]> {
        match self.form {
            SecretForm::Masked => Cow::Borrowed(Self::MASK.as_bytes()),
            SecretForm::Text => Cow::Borrowed(self.bytes),
            SecretForm::Bytes => Cow::Owned(Bytea(self.bytes).to_string().into_bytes()),
        }
    }

    /// Returns the secret itself, for comparison.
    pub const fn reveal(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MASK)
    }
}

impl Serialize for Secret<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            SecretForm::Masked => serializer.serialize_str(Self::MASK),
            SecretForm::Text => Text::utf8(self.bytes).serialize(serializer),
            SecretForm::Bytes => Bytea(self.bytes).serialize(serializer),
        }
    }
}

/// Bytes after the known fields of a message. Written as [`Bytea`], or masked if data is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// What is not written.
    pub redaction: Redaction,
}

impl Serialize for Rest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.redaction.hides_values() {
            serializer.serialize_str(Secret::MASK)
        } else {
            Bytea(self.bytes).serialize(serializer)
        }
    }
}

/// The first bytes of a body that could not be decoded. Written as [`Hex`], or masked if they may be a secret, or data that is
/// not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excerpt<'a> {
    /// The bytes.
    Bytes(Cow<'a, [u8]>),
    /// Bytes that are not written.
    Masked,
}

impl<'a> Excerpt<'a> {
    /// The maximum size of an excerpt in bytes: enough to diagnose the problem, and small enough for a line.
    pub const LONGEST: usize = 256;

    /// Returns the first bytes of something that may be data or quote SQL, with secrets masked.
    pub fn new(bytes: &'a [u8], redaction: Redaction) -> Self {
        let mut bytes = match redaction {
            Redaction::Nothing => Cow::Borrowed(bytes),
            Redaction::Secrets => secret::mask(bytes),
            Redaction::Values => return Self::Masked,
        };
        match &mut bytes {
            Cow::Borrowed(bytes) => *bytes = bytes.get(..Self::LONGEST).unwrap_or(bytes),
            Cow::Owned(bytes) => bytes.truncate(Self::LONGEST),
        }
        Self::Bytes(bytes)
    }
}

impl Serialize for Excerpt<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => Hex(bytes).serialize(serializer),
            Self::Masked => serializer.collect_map([("hex", Secret::MASK)]),
        }
    }
}

/// Implements an inlined JSON schema for a type that has a serialized form of its own.
macro_rules! inline_schema {
    ($type:ty, $name:literal, $schema:expr) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                #[allow(clippy::redundant_closure_call)]
                ($schema)(generator)
            }
        }
    };
}
pub(crate) use inline_schema;

inline_schema!(
    Text<'_>,
    "Text",
    |_: &mut SchemaGenerator| json_schema!({ "anyOf": [{ "type": "string" }, hex_schema()] })
);
inline_schema!(Sql<'_>, "Sql", Text::json_schema);
inline_schema!(Secret<'_>, "Secret", Text::json_schema);
inline_schema!(Bytea<'_>, "Bytea", |_: &mut SchemaGenerator| json_schema!({
    "type": "string",
    "pattern": r"^\\x([0-9a-f]{2})*$",
}));
inline_schema!(Rest<'_>, "Rest", |_: &mut SchemaGenerator| json_schema!({
    "anyOf": [{ "type": "string", "pattern": r"^\\x([0-9a-f]{2})*$" }, { "const": Secret::MASK }],
}));
inline_schema!(Excerpt<'_>, "Excerpt", |_: &mut SchemaGenerator| json_schema!({
    "type": "object",
    "properties": { "hex": { "type": "string", "pattern": r"^(([0-9a-f]{2})*|\*\*\*)$" } },
    "required": ["hex"],
}));
inline_schema!(Hex<'_>, "Hex", |_: &mut SchemaGenerator| hex_schema());

fn hex_schema() -> Schema {
    json_schema!({
        "type": "object",
        "properties": { "hex": { "type": "string", "pattern": "^([0-9a-f]{2})*$" } },
        "required": ["hex"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn text_that_is_not_valid_is_hex_and_nothing_is_replaced() {
        assert_eq!(json(Text::utf8("naïve\n".as_bytes())), r#""naïve\n""#);
        assert_eq!(json(Text::utf8(b"na\xefve")), r#"{"hex":"6e61ef7665"}"#);
    }

    #[test]
    fn text_is_read_in_its_encoding_and_kept_as_utf8() {
        let name = Text(b"na\xefve", Encoding::named("LATIN1"));
        assert_eq!(json(name), r#""naïve""#);
        assert_eq!(name.kept(), Text::utf8("naïve".as_bytes()).kept());
        // Bytes that would be valid UTF-8 are not interpreted as UTF-8.
        let unread = Text("naïve".as_bytes(), Encoding::named("EUC_TW"));
        assert_eq!(json(unread), r#"{"hex":"6e61c3af7665"}"#);
        assert_eq!(json(unread.kept().into_owned().get()), json(unread));
    }

    #[test]
    fn a_byte_that_looks_like_a_backslash_hides_no_secret() {
        // The last byte of the character is a backslash in ASCII.
        let sql = b"COMMENT ON ROLE a IS E'\x95\x5c'; ALTER ROLE a PASSWORD'hunter2'; SELECT '\x95\x5c'";
        let masked =
            |sql, encoding| json(Sql { text: Text(sql, Encoding::named(encoding)), redaction: Redaction::Secrets });
        assert_eq!(masked(sql, "SJIS"), r#""COMMENT ON ROLE a IS E'表'; ALTER ROLE a PASSWORD'***'; SELECT '表'""#);
        for encoding in ["UTF8", "JOHAB", "SHIFT_JIS_2004"] {
            assert!(!masked(sql, encoding).contains("68756e74657232"), "{encoding}");
        }
        let damaged = [&sql[..], b"\xff"].concat();
        assert!(!masked(&damaged, "SJIS").contains("68756e74657232"));
    }

    #[test]
    fn tags_show_no_more_than_is_to_be_shown() {
        let tags = |sql: &str, redaction| {
            let tags = Sql { text: Text::utf8(sql.as_bytes()), redaction }.tags();
            tags.iter().map(|(key, value)| format!("{key}={value};")).collect::<String>()
        };
        // The name of a secret, and a connection string with one, which can only be seen once they are decoded.
        let sql = "SELECT 1 /*route='%2Fcart',pass%77ord='hunter2',dsn='postgresql%3A%2F%2Fu%3Ahunter2%40h%2Fd'*/";
        assert_eq!(tags(sql, Redaction::Secrets), "route=/cart;password=***;dsn=***;");
        assert_eq!(tags(sql, Redaction::Nothing), "route=/cart;password=hunter2;dsn=postgresql://u:hunter2@h/d;");
        assert_eq!(tags(sql, Redaction::Values), "route=***;password=***;dsn=***;");
        let masked = |sql: &str| json(Sql { text: Text::utf8(sql.as_bytes()), redaction: Redaction::Secrets });
        assert_eq!(masked(sql), r#""SELECT 1 /*****/""#);
        assert_eq!(masked("SELECT 1 /*api%5Fkey='hunter2Secret'*/"), r#""SELECT 1 /*****/""#);
        assert_eq!(masked("SELECT 1 /*route='%2Fcart'*/"), r#""SELECT 1 /*route='%2Fcart'*/""#);
        assert_eq!(masked("SELECT 1 /*password='hunter2',a='1'*/"), r#""SELECT 1 /*password='***',a='1'*/""#);
        assert_eq!(tags("SELECT 1 /*password='hunter2',a='1'*/", Redaction::Secrets), "password=***;a=1;");
        assert_eq!(tags("SELECT 1 /*api_key='it\\'s',a='1'*/", Redaction::Secrets), "api_key=***;a=1;");
    }

    #[test]
    fn comments_with_tags_do_not_count_in_the_normal_form() {
        let form = |sql: &str, redaction| {
            let mut normalized = Vec::new();
            let form = Sql { text: Text::utf8(sql.as_bytes()), redaction }.normalize(&mut normalized);
            (String::from_utf8(normalized).unwrap(), form.fingerprint)
        };
        for redaction in Redaction::ALL {
            let plain = form("SELECT a FROM t WHERE b = 1", redaction);
            for sql in [
                "SELECT a FROM t WHERE b = 1 /*controller='cart',route='%2Fcart'*/",
                "SELECT a FROM t WHERE b = 2; /*controller='index'*/",
                "/*controller='cart'*/ SELECT a FROM t WHERE b = 1",
            ] {
                assert_eq!(form(sql, redaction), plain, "{sql}");
            }
        }
    }

    #[test]
    fn a_secret_is_masked_unless_it_is_to_be_shown() {
        assert_eq!(json(Secret::text(b"hunter2", Redaction::Secrets)), r#""***""#);
        assert_eq!(json(Secret::text(b"hunter2", Redaction::Nothing)), r#""hunter2""#);
        assert_eq!(json(Secret::bytes(&[1, 255], Redaction::Nothing)), r#""\\x01ff""#);
        assert_eq!(format!("{:?}", Secret::text(b"hunter2", Redaction::Nothing)), "***");
    }
}
