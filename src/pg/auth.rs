//! Authentication: requests from the backend, responses from the frontend, and the SCRAM messages they contain.
//!
//! Sources: PostgreSQL documentation, "SASL Authentication" and "Message Formats"; RFC 5802, section 5.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::list::List;
use super::text::{Bytea, Secret, Text};
use crate::reader::{DecodeError, Reader};
use crate::redaction::Redaction;

/// The kind of the last authentication request: it decides how a `p` message is interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(hidden)]
pub enum Asked {
    /// No request was seen.
    #[default]
    Unknown,
    /// A password, in clear or as an MD5 hash.
    Password,
    /// The choice of a SASL mechanism.
    SaslInitial,
    /// The next SASL message of a SCRAM exchange.
    ScramContinue,
    /// The next SASL message of a mechanism other than SCRAM.
    SaslContinue,
    /// A GSSAPI or SSPI token.
    Gss,
}

/// The authentication request codes: the number after the length word of an Authentication message.
mod request {
    pub(super) const OK: u32 = 0;
    pub(super) const KERBEROS_V5: u32 = 2;
    pub(super) const CLEARTEXT_PASSWORD: u32 = 3;
    pub(super) const MD5_PASSWORD: u32 = 5;
    pub(super) const SCM_CREDENTIAL: u32 = 6;
    pub(super) const GSS: u32 = 7;
    pub(super) const GSS_CONTINUE: u32 = 8;
    pub(super) const SSPI: u32 = 9;
    pub(super) const SASL: u32 = 10;
    pub(super) const SASL_CONTINUE: u32 = 11;
    pub(super) const SASL_FINAL: u32 = 12;
}

/// An `R` message, before it is mapped to the message named after its request code.
pub(super) enum Authentication<'a> {
    Ok,
    KerberosV5,
    CleartextPassword,
    Md5Password(Md5Password<'a>),
    ScmCredential,
    Gss,
    GssContinue(GssToken<'a>),
    Sspi,
    Sasl(Sasl<'a>),
    SaslContinue(SaslContinue<'a>),
    SaslFinal(SaslFinal<'a>),
    Unknown(UnknownAuthentication<'a>),
}

impl<'a> Authentication<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, asked: Asked, redaction: Redaction) -> Result<Self, DecodeError> {
        let scram = matches!(asked, Asked::ScramContinue);
        Ok(match reader.u32("authentication code")? {
            request::OK => Self::Ok,
            request::KERBEROS_V5 => Self::KerberosV5,
            request::CLEARTEXT_PASSWORD => Self::CleartextPassword,
            request::MD5_PASSWORD => Self::Md5Password(Md5Password { salt: Bytea(reader.take(4, "salt")?) }),
            request::SCM_CREDENTIAL => Self::ScmCredential,
            request::GSS => Self::Gss,
            request::GSS_CONTINUE => Self::GssContinue(GssToken { token: Secret::bytes(reader.rest(), redaction) }),
            request::SSPI => Self::Sspi,
            request::SASL => Self::Sasl(Sasl::decode(reader)?),
            request::SASL_CONTINUE => Self::SaslContinue(SaslContinue::decode(reader, scram, redaction)),
            request::SASL_FINAL => Self::SaslFinal(SaslFinal::decode(reader, scram, redaction)),
            code => Self::Unknown(UnknownAuthentication {
                auth_request: code,
                data: Secret::bytes(reader.rest(), redaction),
            }),
        })
    }
}

/// AuthenticationMD5Password.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Md5Password<'a> {
    /// The salt of the hash.
    pub salt: Bytea<'a>,
}

/// AuthenticationGSSContinue and GSSResponse: a token of the GSSAPI or SSPI exchange.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GssToken<'a> {
    /// The token.
    pub token: Secret<'a>,
}

/// An Authentication message with an undocumented request code.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnknownAuthentication<'a> {
    /// The request code.
    pub auth_request: u32,
    /// The rest of the body.
    pub data: Secret<'a>,
}

/// AuthenticationSASL: the mechanisms that the server offers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sasl<'a> {
    /// Their names, in the server's order of preference.
    pub mechanisms: List<'a, Text<'a>>,
}

impl<'a> Sasl<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = reader.clone();
        let mut count = 0;
        while !reader.is_empty() && !reader.cstr("SASL mechanism")?.is_empty() {
            count += 1;
        }
        let mechanisms = List::decode(&mut start.clone(), count)?;
        Ok(Self { mechanisms })
    }
}

/// AuthenticationSASLContinue: the server's challenge.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SaslContinue<'a> {
    /// The challenge, where it is SCRAM's server-first-message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram: Option<ScramServerFirst<'a>>,
    /// The challenge of another mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Secret<'a>>,
}

impl<'a> SaslContinue<'a> {
    fn decode(reader: &mut Reader<'a>, scram: bool, redaction: Redaction) -> Self {
        let data = reader.rest();
        let scram = if scram { ScramServerFirst::decode(data) } else { None };
        let redaction = if is_refusal(data) { without_secrets(redaction) } else { redaction };
        Self { data: scram.is_none().then(|| Secret::text(data, redaction)), scram }
    }
}

/// Returns whether a server message is the JSON object that explains why a token is refused, with the endpoints at which to
/// obtain another (RFC 7628, section 3.2.2), and nothing else.
fn is_refusal(data: &[u8]) -> bool {
    /// "scope (OPTIONAL)", "openid-configuration (OPTIONAL)".
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Refusal<'a> {
        #[serde(borrow, rename = "status")]
        _status: Cow<'a, str>,
        #[serde(borrow, default, rename = "scope")]
        _scope: Option<Cow<'a, str>>,
        #[serde(borrow, default, rename = "openid-configuration")]
        _configuration: Option<Cow<'a, str>>,
    }
    data.first() == Some(&b'{') && serde_json::from_slice::<Refusal<'_>>(data).is_ok()
}

/// Returns the redaction of data that contains no secrets.
const fn without_secrets(redaction: Redaction) -> Redaction {
    match redaction {
        Redaction::Secrets => Redaction::Nothing,
        other => other,
    }
}

/// AuthenticationSASLFinal: the outcome of the exchange.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SaslFinal<'a> {
    /// The outcome, where it is SCRAM's server-final-message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram: Option<ScramServerFinal<'a>>,
    /// The outcome of another mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Secret<'a>>,
}

impl<'a> SaslFinal<'a> {
    fn decode(reader: &mut Reader<'a>, scram: bool, redaction: Redaction) -> Self {
        let data = reader.rest();
        let scram = if scram { ScramServerFinal::decode(data, redaction) } else { None };
        Self { data: scram.is_none().then(|| Secret::text(data, redaction)), scram }
    }
}

/// PasswordMessage: a clear-text password, or `md5` followed by a hash.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PasswordMessage<'a> {
    /// The password or its hash.
    pub password: Secret<'a>,
}

impl<'a> PasswordMessage<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        Ok(Self { password: Secret::text(reader.cstr("password")?, redaction) })
    }
}

/// SASLInitialResponse: the mechanism that the client selected, and its first message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism.
    pub mechanism: Text<'a>,
    /// The first message, where it is SCRAM's client-first-message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram: Option<ScramClientFirst<'a>>,
    /// The first message of another mechanism; null if the client sent none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Option<Secret<'a>>>,
}

impl<'a> SaslInitialResponse<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, redaction: Redaction) -> Result<Self, DecodeError> {
        let mechanism = Text::decode(reader, "SASL mechanism")?;
        let at = reader.position();
        let data = match reader.i32("length of the initial response")? {
            -1 => None,
            len => {
                let len = usize::try_from(len)
                    .map_err(|_| Reader::unexpected(at, "length of the initial response", "-1 or more", len.into()))?;
                Some(reader.take_to_cut(len, "initial response")?)
            }
        };
        let scram = if is_scram(mechanism) { data.and_then(ScramClientFirst::decode) } else { None };
        Ok(Self { mechanism, data: scram.is_none().then(|| data.map(|data| Secret::text(data, redaction))), scram })
    }
}

/// Returns whether a SASL mechanism is SCRAM, with channel binding or without.
pub(crate) fn is_scram(mechanism: Text<'_>) -> bool {
    mechanism.0.starts_with(b"SCRAM-")
}

/// Returns whether it is a mechanism of SCRAM with channel binding.
pub(crate) fn is_scram_plus(mechanism: Text<'_>) -> bool {
    is_scram(mechanism) && mechanism.0.ends_with(b"-PLUS")
}

/// SASLResponse: the client's response to a challenge.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SaslResponse<'a> {
    /// The response, if it is SCRAM's client-final-message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram: Option<ScramClientFinal<'a>>,
    /// The response of another mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Secret<'a>>,
}

impl<'a> SaslResponse<'a> {
    pub(super) fn decode(reader: &mut Reader<'a>, scram: bool, redaction: Redaction) -> Self {
        let data = reader.rest();
        let scram = if scram { ScramClientFinal::decode(data, redaction) } else { None };
        // The dummy response that an OAUTHBEARER client sends to end a failed exchange (RFC 7628, section 3.2.3).
        let redaction = if data == b"\x01" { without_secrets(redaction) } else { redaction };
        Self { data: scram.is_none().then(|| Secret::text(data, redaction)), scram }
    }
}

/// The response to an authentication request that was not captured. It may contain anything, and is masked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnknownAuthenticationResponse<'a> {
    /// The whole body.
    pub data: Secret<'a>,
}

/// SCRAM's client-first-message, such as `n,,n=user,r=nonce`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScramClientFirst<'a> {
    /// The channel binding: `n` if the client does not support it, `y` if the client supports it but believes that the server
    /// does not, or the binding in use, such as `p=tls-server-end-point`.
    pub channel_binding: Text<'a>,
    /// The identity to act as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authzid: Option<Text<'a>>,
    /// The user name. PostgreSQL ignores it and uses that of the startup message.
    pub user: Text<'a>,
    /// The client's nonce.
    pub nonce: Text<'a>,
}

impl<'a> ScramClientFirst<'a> {
    fn decode(message: &'a [u8]) -> Option<Self> {
        let mut parts = message.splitn(3, |b| *b == b',');
        let channel_binding = parts.next()?;
        let authzid = parts.next()?;
        let bare = parts.next()?;
        Some(Self {
            channel_binding: Text::utf8(channel_binding),
            authzid: authzid.strip_prefix(b"a=").map(Text::utf8),
            user: attribute(bare, b'n')?,
            nonce: attribute(bare, b'r')?,
        })
    }
}

/// SCRAM's server-first-message: `r=nonce,s=salt,i=iterations`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScramServerFirst<'a> {
    /// The client's nonce followed by the server's.
    pub nonce: Text<'a>,
    /// The salt, in base64.
    pub salt: Text<'a>,
    /// The iteration count of the hash.
    pub iterations: u32,
}

impl<'a> ScramServerFirst<'a> {
    fn decode(message: &'a [u8]) -> Option<Self> {
        Some(Self {
            nonce: attribute(message, b'r')?,
            salt: attribute(message, b's')?,
            iterations: attribute(message, b'i')?.to_str()?.parse().ok()?,
        })
    }
}

/// SCRAM's client-final-message: `c=binding,r=nonce,p=proof`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScramClientFinal<'a> {
    /// The channel binding header and data, in base64.
    pub channel_binding: Text<'a>,
    /// The client's nonce followed by the server's.
    pub nonce: Text<'a>,
    /// The client's proof, in base64.
    pub proof: Secret<'a>,
}

impl<'a> ScramClientFinal<'a> {
    fn decode(message: &'a [u8], redaction: Redaction) -> Option<Self> {
        Some(Self {
            channel_binding: attribute(message, b'c')?,
            nonce: attribute(message, b'r')?,
            proof: Secret::text(attribute(message, b'p')?.0, redaction),
        })
    }
}

/// SCRAM's server-final-message: `v=signature` or `e=error`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScramServerFinal<'a> {
    /// The server's signature, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<Secret<'a>>,
    /// The reason why the server rejects the authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_error: Option<Text<'a>>,
}

impl<'a> ScramServerFinal<'a> {
    fn decode(message: &'a [u8], redaction: Redaction) -> Option<Self> {
        let signature = attribute(message, b'v').map(|signature| Secret::text(signature.0, redaction));
        let server_error = attribute(message, b'e');
        (signature.is_some() || server_error.is_some()).then_some(Self { signature, server_error })
    }
}

/// Returns the value of the attribute `name=…` in a comma-separated list.
fn attribute(message: &[u8], name: u8) -> Option<Text<'_>> {
    message.split(|b| *b == b',').find_map(|part| match part {
        [first, b'=', value @ ..] if *first == name => Some(Text::utf8(value)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scram_with_channel_binding_and_an_identity() {
        let message = ScramClientFirst::decode(b"p=tls-server-end-point,a=admin,n=user,r=fyko+d2lbb").unwrap();
        assert_eq!(message.channel_binding, Text::utf8(b"p=tls-server-end-point"));
        assert_eq!(message.authzid, Some(Text::utf8(b"admin")));
        assert_eq!((message.user, message.nonce), (Text::utf8(b"user"), Text::utf8(b"fyko+d2lbb")));
    }

    #[test]
    fn what_is_not_scram_is_kept_whole_and_masked() {
        let body = b"OAUTHBEARER\0\0\0\0\x13n,,\x01auth=Bearer xyz";
        let message = SaslInitialResponse::decode(&mut Reader::new(body), Redaction::Secrets).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), r#"{"mechanism":"OAUTHBEARER","data":"***"}"#);
    }

    #[test]
    fn the_reason_why_a_token_is_refused_is_not_secret() {
        let json = |data: &[u8], redaction| {
            serde_json::to_string(&SaslContinue::decode(&mut Reader::new(data), false, redaction)).unwrap()
        };
        let refusal =
            br#"{"status":"invalid_token","openid-configuration":"https://i.example/.well-known","scope":"a b"}"#;
        assert!(json(refusal, Redaction::Secrets).contains("i.example"));
        assert_eq!(json(refusal, Redaction::Values), r#"{"data":"***"}"#);
        for other in [&br#"{"status":"ok","access_token":"x"}"#[..], b"x", b"{}", br#"{"status":"x"} x"#] {
            assert_eq!(json(other, Redaction::Secrets), r#"{"data":"***"}"#);
        }
        let response = |data| {
            serde_json::to_string(&SaslResponse::decode(&mut Reader::new(data), false, Redaction::Secrets)).unwrap()
        };
        assert_eq!(response(b"\x01"), r#"{"data":"\u0001"}"#);
        assert_eq!(response(b"\x02"), r#"{"data":"***"}"#);
    }

    #[test]
    fn sasl_mechanisms_end_at_an_empty_name() {
        let mut reader = Reader::new(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        let Ok(Authentication::Sasl(sasl)) = Authentication::decode(&mut reader, Asked::Unknown, Redaction::Secrets)
        else {
            panic!("no AuthenticationSASL")
        };
        assert_eq!(serde_json::to_string(&sasl.mechanisms).unwrap(), r#"["SCRAM-SHA-256-PLUS","SCRAM-SHA-256"]"#);
        assert!(reader.is_empty());
    }
}
