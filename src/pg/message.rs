//! Messages: their names, their fields, and the decoding of frame bodies.
//!
//! Decoding does not copy: every message borrows from its frame.

use schemars::{JsonSchema, Schema};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::auth::{self, Asked, Authentication};
use super::copy::{CopyData, CopyDone, CopyFail, CopyPiece, CopyResponse};
use super::error::Fields;
use super::extended::{Bind, Execute, ParameterDescription, Parse, Target};
use super::frame::Frame;
use super::message_table::{self, BodyKind, MessageType, backend, frontend, message_types};
use super::query::{CommandComplete, FunctionCall, FunctionCallResponse, NotificationResponse, Query, ReadyForQuery};
use super::row::{DataRow, Format, Metadata, RowDescription};
use super::startup::{
    self, BackendKeyData, CancelRequest, EncryptionResponse, NegotiateProtocolVersion, ParameterStatus,
    ProtocolVersion, StartupMessage, UnknownRequest,
};
use super::text::{Excerpt, Secret};
use crate::direction::Direction;
use crate::encoding::Encoding;
use crate::reader::{DecodeError, Reader};
use crate::redaction::Redaction;
use crate::sql::secret;

/// What the interpretation of a message depends on besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The kind of the last authentication request.
    pub asked: Asked,
    /// Whether the client is known to be authenticated already.
    pub is_authenticated: bool,
    /// Whether the pending encryption request is a GSSENCRequest.
    pub gssenc: bool,
    /// The `client_encoding`.
    pub encoding: Encoding,
    /// The format of the COPY in progress, if known.
    pub copy_format: Option<Format>,
    /// Whether the next CopyData may begin inside a multibyte character.
    pub is_copy_torn: bool,
    /// Whether columns may have Redshift's metadata.
    pub metadata: Metadata,
    /// Whether the server's side is a walsender, which executes replication commands.
    pub is_walsender: bool,
    /// What is not written.
    pub redaction: Redaction,
}

/// Declares the messages, each with its fields and its name.
macro_rules! messages {
    ($($variant:ident $(($body:ty))? = $name:literal,)*) => {
        /// Every message of protocol 3.0 and 3.2, by its documented name. Written as `"type"` and `"body"`.
        #[derive(Clone, Debug, JsonSchema)]
        #[serde(tag = "type", content = "body")]
        #[schemars(transform = body_is_optional)]
        #[allow(missing_docs)] // the names are those of the documentation
        pub enum Message<'a> {
            $(#[serde(rename = $name)] $variant $(($body))?,)*
        }

        impl Message<'_> {
            /// The names of all messages.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Returns the documented name of the message.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(messages!(@pattern $variant _ $($body)?) => $name,)*
                }
            }

            /// Returns whether the message has fields to write.
            pub(crate) const fn has_body(&self) -> bool {
                match self {
                    Self::CopyDone(done) if done.rows.is_none() => false,
                    $(messages!(@pattern $variant _ $($body)?) => messages!(@has_body $($body)?),)*
                }
            }
        }

        impl Serialize for Body<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 {
                    $(messages!(@message $variant body $($body)?) => messages!(@body serializer body $($body)?),)*
                }
            }
        }
    };
    (@pattern $variant:ident $body:tt) => { Self::$variant };
    (@pattern $variant:ident $body:tt $type:ty) => { Self::$variant($body) };
    (@message $variant:ident $body:tt) => { Message::$variant };
    (@message $variant:ident $body:tt $type:ty) => { Message::$variant($body) };
    (@has_body) => { false };
    (@has_body $type:ty) => { true };
    (@body $serializer:ident $body:ident) => { $serializer.serialize_unit() };
    (@body $serializer:ident $body:ident $type:ty) => { $body.serialize($serializer) };
}

/// The fields of a message.
pub(crate) struct Body<'a>(pub(crate) &'a Message<'a>);

messages! {
    // Messages without a type byte.
    StartupMessage(StartupMessage<'a>) = "StartupMessage",
    SslRequest = "SSLRequest",
    GssencRequest = "GSSENCRequest",
    CancelRequest(CancelRequest<'a>) = "CancelRequest",
    UnknownRequest(UnknownRequest<'a>) = "UnknownRequest",
    SslResponse(EncryptionResponse) = "SSLResponse",
    GssencResponse(EncryptionResponse) = "GSSENCResponse",

    // Authentication.
    AuthenticationOk = "AuthenticationOk",
    AuthenticationKerberosV5 = "AuthenticationKerberosV5",
    AuthenticationCleartextPassword = "AuthenticationCleartextPassword",
    AuthenticationMd5Password(auth::Md5Password<'a>) = "AuthenticationMD5Password",
    AuthenticationScmCredential = "AuthenticationSCMCredential",
    AuthenticationGss = "AuthenticationGSS",
    AuthenticationGssContinue(auth::GssToken<'a>) = "AuthenticationGSSContinue",
    AuthenticationSspi = "AuthenticationSSPI",
    AuthenticationSasl(auth::Sasl<'a>) = "AuthenticationSASL",
    AuthenticationSaslContinue(auth::SaslContinue<'a>) = "AuthenticationSASLContinue",
    AuthenticationSaslFinal(auth::SaslFinal<'a>) = "AuthenticationSASLFinal",
    UnknownAuthentication(auth::UnknownAuthentication<'a>) = "Authentication",
    PasswordMessage(auth::PasswordMessage<'a>) = "PasswordMessage",
    SaslInitialResponse(auth::SaslInitialResponse<'a>) = "SASLInitialResponse",
    SaslResponse(auth::SaslResponse<'a>) = "SASLResponse",
    GssResponse(auth::GssToken<'a>) = "GSSResponse",
    UnknownAuthenticationResponse(auth::UnknownAuthenticationResponse<'a>) = "UnknownAuthenticationResponse",

    // The session.
    NegotiateProtocolVersion(NegotiateProtocolVersion<'a>) = "NegotiateProtocolVersion",
    BackendKeyData(BackendKeyData<'a>) = "BackendKeyData",
    ParameterStatus(ParameterStatus<'a>) = "ParameterStatus",
    NotificationResponse(NotificationResponse<'a>) = "NotificationResponse",
    NoticeResponse(Fields<'a>) = "NoticeResponse",
    ErrorResponse(Fields<'a>) = "ErrorResponse",
    ReadyForQuery(ReadyForQuery) = "ReadyForQuery",
    Terminate = "Terminate",

    // Queries.
    Query(Query<'a>) = "Query",
    RowDescription(RowDescription<'a>) = "RowDescription",
    DataRow(DataRow<'a>) = "DataRow",
    CommandComplete(CommandComplete<'a>) = "CommandComplete",
    EmptyQueryResponse = "EmptyQueryResponse",
    FunctionCall(FunctionCall<'a>) = "FunctionCall",
    FunctionCallResponse(FunctionCallResponse<'a>) = "FunctionCallResponse",

    // The extended query protocol.
    Parse(Parse<'a>) = "Parse",
    ParseComplete = "ParseComplete",
    Bind(Bind<'a>) = "Bind",
    BindComplete = "BindComplete",
    Describe(Target<'a>) = "Describe",
    ParameterDescription(ParameterDescription<'a>) = "ParameterDescription",
    NoData = "NoData",
    Execute(Execute<'a>) = "Execute",
    PortalSuspended = "PortalSuspended",
    Close(Target<'a>) = "Close",
    CloseComplete = "CloseComplete",
    Flush = "Flush",
    Sync = "Sync",

    // COPY.
    CopyInResponse(CopyResponse<'a>) = "CopyInResponse",
    CopyOutResponse(CopyResponse<'a>) = "CopyOutResponse",
    CopyBothResponse(CopyResponse<'a>) = "CopyBothResponse",
    CopyData(CopyData<'a>) = "CopyData",
    CopyDone(CopyDone<'a>) = "CopyDone",
    CopyFail(CopyFail<'a>) = "CopyFail",
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Message", 2)?;
        object.serialize_field("type", self.name())?;
        if self.has_body() {
            object.serialize_field("body", &Body(self))?;
        }
        object.end()
    }
}

/// A message, or the error of decoding its body.
pub type Decoded<'a> = Result<Message<'a>, DecodeError>;

impl<'a> Message<'a> {
    /// Decodes the body of a frame.
    ///
    /// # Errors
    ///
    /// The type byte is unknown, or the body does not have the documented form. The frame itself is complete, so the message
    /// after it can be decoded.
    #[doc(hidden)]
    #[inline(always)]
    pub fn decode(direction: Direction, frame: &Frame<'a>, context: &Context) -> Result<Self, DecodeError> {
        let reader = if frame.missing == 0 { Reader::new(frame.body) } else { Reader::cut(frame.body) };
        let mut reader = reader.with_encoding(context.encoding);
        // Built in place: it is large, and there is one for each message.
        let mut decoded = match (frame.tag, direction) {
            (Some(tag), Direction::Frontend) => Self::decode_frontend(tag, &mut reader, context),
            (Some(backend::ERROR_RESPONSE), Direction::Backend) if frame.is_version_2 => {
                Fields::decode_version_2(&mut reader, context.redaction).map(Self::ErrorResponse)
            }
            (Some(tag), Direction::Backend) => Self::decode_backend(tag, &mut reader, context),
            (None, Direction::Frontend) => Self::decode_startup_packet(&mut reader, context),
            (None, Direction::Backend) => Self::decode_encryption_response(&mut reader, context),
        };
        if decoded.is_ok()
            && let Err(error) = reader.finish("message")
        {
            decoded = Err(error);
        }
        decoded
    }

    /// Decodes the body of a complete frame whose type is known; `None` if it does not have the documented form.
    #[inline(always)]
    pub(crate) fn decode_as<T>(
        body: &'a [u8],
        context: &Context,
        decode: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Option<T> {
        let mut reader = Reader::new(body).with_encoding(context.encoding);
        let decoded = decode(&mut reader).ok()?;
        reader.finish("message").ok()?;
        Some(decoded)
    }

    #[cold]
    fn decode_startup_packet(r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        Ok(match r.clone().u32("protocol version")? {
            startup::code::SSL => {
                r.u32("SSL request code")?;
                Self::SslRequest
            }
            startup::code::GSSENC => {
                r.u32("GSSAPI encryption request code")?;
                Self::GssencRequest
            }
            startup::code::CANCEL => Self::CancelRequest(CancelRequest::decode(r, context.redaction)?),
            other if ProtocolVersion(other).major() == startup::code::MAJOR => {
                Self::UnknownRequest(UnknownRequest::decode(r, context.redaction)?)
            }
            _ => Self::StartupMessage(StartupMessage::decode(r, context.redaction)?),
        })
    }

    #[cold]
    fn decode_encryption_response(r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let (accepts, wanted) =
            if context.gssenc { (b'G', "'G' (71) or 'N' (78)") } else { (b'S', "'S' (83) or 'N' (78)") };
        let accepted = match r.u8("answer")? {
            b'N' => false,
            answer if answer == accepts => true,
            other => return Err(Reader::unexpected(0, "answer to an encryption request", wanted, other.into())),
        };
        let response = EncryptionResponse { accepted };
        Ok(if context.gssenc { Self::GssencResponse(response) } else { Self::SslResponse(response) })
    }

    /// Decodes the client's response, whose meaning depends on the authentication request.
    #[cold]
    fn authentication_response(r: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
        let redaction = context.redaction;
        Ok(match context.asked {
            Asked::Password => Self::PasswordMessage(auth::PasswordMessage::decode(r, redaction)?),
            Asked::SaslInitial => Self::SaslInitialResponse(auth::SaslInitialResponse::decode(r, redaction)?),
            Asked::ScramContinue => Self::SaslResponse(auth::SaslResponse::decode(r, true, redaction)),
            Asked::SaslContinue => Self::SaslResponse(auth::SaslResponse::decode(r, false, redaction)),
            Asked::Gss => Self::GssResponse(auth::GssToken { token: Secret::bytes(r.rest(), redaction) }),
            Asked::Unknown => {
                let data = Secret::bytes(r.rest(), redaction);
                Self::UnknownAuthenticationResponse(auth::UnknownAuthenticationResponse { data })
            }
        })
    }

    fn copy_data(r: &mut Reader<'a>, context: &Context) -> Self {
        let Context { encoding, copy_format, is_copy_torn, redaction, .. } = *context;
        let data = CopyPiece { bytes: r.rest(), format: copy_format, encoding, is_torn: is_copy_torn, redaction };
        Self::CopyData(CopyData { data, rows: None })
    }
}

macro_rules! decoders {
    ($frontend:ident Frontend {
        $($f_tag:ident = $f_byte:literal, $f_name:literal, $f_len:ident, $f_body:ident, $f_role:ident, |$f_r:tt, $f_c:tt| $f_decode:expr;)*
    }
    $backend:ident Backend {
        $($b_tag:ident = $b_byte:literal, $b_name:literal, $b_len:ident, $b_body:ident, $b_role:ident, |$b_r:tt, $b_c:tt| $b_decode:expr;)*
    }) => {
        impl<'a> Message<'a> {
            #[inline(always)]
            fn decode_frontend(tag: u8, reader: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
                Ok(match tag {
                    $($frontend::$f_tag => {
                        let ($f_r, $f_c) = (reader, context);
                        $f_decode
                    })*
                    _ => return Err(unknown_tag(tag)),
                })
            }

            #[inline(always)]
            fn decode_backend(tag: u8, reader: &mut Reader<'a>, context: &Context) -> Result<Self, DecodeError> {
                Ok(match tag {
                    $($backend::$b_tag => {
                        let ($b_r, $b_c) = (reader, context);
                        $b_decode
                    })*
                    _ => return Err(unknown_tag(tag)),
                })
            }
        }
    };
}
message_types!(decoders);

impl<'a> From<Authentication<'a>> for Message<'a> {
    fn from(authentication: Authentication<'a>) -> Self {
        match authentication {
            Authentication::Ok => Self::AuthenticationOk,
            Authentication::KerberosV5 => Self::AuthenticationKerberosV5,
            Authentication::CleartextPassword => Self::AuthenticationCleartextPassword,
            Authentication::Md5Password(body) => Self::AuthenticationMd5Password(body),
            Authentication::ScmCredential => Self::AuthenticationScmCredential,
            Authentication::Gss => Self::AuthenticationGss,
            Authentication::GssContinue(body) => Self::AuthenticationGssContinue(body),
            Authentication::Sspi => Self::AuthenticationSspi,
            Authentication::Sasl(body) => Self::AuthenticationSasl(body),
            Authentication::SaslContinue(body) => Self::AuthenticationSaslContinue(body),
            Authentication::SaslFinal(body) => Self::AuthenticationSaslFinal(body),
            Authentication::Unknown(body) => Self::UnknownAuthentication(body),
        }
    }
}

/// Makes the body optional in the schema, because CopyDone usually has none.
fn body_is_optional(schema: &mut Schema) {
    let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for variant in variants.into_iter().flatten() {
        if variant.pointer("/properties/type/const").is_some_and(|name| name == "CopyDone")
            && let Some(required) = variant.get_mut("required")
        {
            *required = json!(["type"]);
        }
    }
}

fn unknown_tag(tag: u8) -> DecodeError {
    Reader::unexpected(0, "message type", "a type of this direction", tag.into())
}

/// Returns the name of a message that cannot be decoded, as far as its frame identifies it.
pub fn undecoded_name(direction: Direction, tag: Option<u8>, context: &Context) -> &'static str {
    match (direction, tag) {
        (Direction::Frontend, None) => "StartupMessage",
        (Direction::Backend, None) if context.gssenc => "GSSENCResponse",
        (Direction::Backend, None) => "SSLResponse",
        (_, Some(tag)) => {
            message_table::message_type(direction, tag).map_or("Unknown", |message_type| message_type.name)
        }
    }
}

/// Returns the part of an undecodable message's body that may be written.
pub fn undecoded_body<'a>(direction: Direction, tag: Option<u8>, body: &'a [u8], context: &Context) -> Excerpt<'a> {
    let is_cancel = || Reader::new(body).u32("code") == Ok(startup::code::CANCEL);
    let kind = tag.and_then(|tag| body_kind(direction, tag));
    let is_secret = match (direction, tag) {
        (Direction::Frontend, None) => is_cancel() || secret::may_have(body),
        _ if kind == Some(BodyKind::Secret) => true,
        // Forks define authentication messages of their own.
        (Direction::Frontend, Some(_)) => !context.is_authenticated,
        (Direction::Backend, _) => false,
    };
    if is_secret && context.redaction.hides_secrets() { Excerpt::Masked } else { Excerpt::new(body, context.redaction) }
}

/// Returns whether the bytes captured after a hole in a body must not be written. They may be part of a secret whose beginning
/// was lost, such as a password in SQL; if values are not written, they may be part of one.
pub const fn is_masked_behind(direction: Direction, tag: Option<u8>, redaction: Redaction) -> bool {
    let is_data = match tag {
        Some(tag) => matches!(body_kind(direction, tag), Some(BodyKind::Data | BodyKind::Description)),
        None => false,
    };
    redaction.hides_values() || redaction.hides_secrets() && !is_data
}

const fn body_kind(direction: Direction, tag: u8) -> Option<BodyKind> {
    match message_table::message_type(direction, tag) {
        Some(MessageType { body, .. }) => Some(body),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_decoded_shows_no_secret_either() {
        let cases: [(Direction, Option<u8>, &[u8]); 7] = [
            (Direction::Frontend, Some(b'p'), b"hunter2"),
            (Direction::Backend, Some(b'K'), b"\0\0\0\x01hunter2"),
            (Direction::Backend, Some(b'R'), b"\0\0\0\x05hunter2"),
            (Direction::Frontend, None, b"\x04\xd2\x16\x2ehunter2"),
            (Direction::Frontend, Some(b'i'), b"hunter2"),
            (Direction::Frontend, None, b"\0\x03\0\0crdb:session_revival_token_base64\0hunter2"),
            (Direction::Frontend, Some(b'Q'), b"ALTER ROLE app PASSWORD 'hunter2'"),
        ];
        let secret = "68756e74657232";
        for (direction, tag, body) in cases {
            let written = |redaction| {
                let context = Context { redaction, ..Context::default() };
                serde_json::to_string(&undecoded_body(direction, tag, body, &context)).unwrap()
            };
            assert!(!written(Redaction::Secrets).contains(secret), "{tag:?}");
            assert!(written(Redaction::Nothing).contains(secret), "{tag:?}");
        }
    }
}
