//! The table of message types with a type byte: one row defines everything common to all messages of a type.
//!
//! Source: PostgreSQL documentation, "Frontend/Backend Protocol", section "Message Formats".
//!
//! To add a message, add its row here, and its variant to [`Message`](super::message::Message); the compiler asks for the rest.

use crate::direction::Direction;

/// The longest message that a server or libpq accepts: PostgreSQL's MaxAllocSize, 1 GiB less one, plus the length word.
const LARGE: u32 = 0x3fff_ffff + 4;

/// The limit of libpq (`fe-protocol3.c`) for backend messages without data, above which it reports a loss of synchronization.
const SMALL_BACKEND: u32 = 30_000;

/// The limit for a letter that is no message type of the direction. Forks define some of their own; Greenplum's carry plans and
/// statistics. The limit excludes text, in which the first byte of the length would not be 0.
const UNKNOWN_LETTER: u32 = (1 << 24) - 1;

/// The limit of the server (`libpq.h`, PQ_SMALL_MESSAGE_LIMIT) for frontend messages without data.
const SMALL_FRONTEND: u32 = 10_000;

/// The limit for an authentication token: the server's PG_MAX_AUTH_TOKEN_LENGTH, plus room for the fields before it.
const AUTH_TOKEN: u32 = 65_535 + 64;

/// 65,535 object IDs, a count and the length word.
const OID_LIST: u32 = 65_535 * 4 + 2 + 4;

/// The content of a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// No body: the type is all of the message.
    Nothing,
    /// No body, but the message may complete a row, which is then written with it.
    EndOfData,
    /// User data.
    Data,
    /// Names and types of user data.
    Description,
    /// Credentials, or a key to cancel a query.
    Secret,
    /// Anything else: it may quote SQL, and so a secret.
    Text,
}

/// The effect of a message on the requests that wait for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No effect: it belongs to the session.
    Nothing,
    /// A request that is answered by replies or by ReadyForQuery.
    Request,
    /// Data of a request in progress.
    Data,
    /// A reply to a request.
    Answer,
    /// Ends a request with an error, or ends the session if there is no request.
    Error,
    /// Ends all requests up to the next Sync or Query.
    Ready,
    /// May be sent at any time, whatever is in progress.
    Asynchronous,
}

/// A message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageType {
    /// The name in the documentation. `R` and `p` are shared by several messages, and have the name of the group.
    pub name: &'static str,
    /// The greatest value of the length word that client and server accept.
    pub max_len: u32,
    /// The content of the body.
    pub body: BodyKind,
    /// The effect on the requests that wait for replies.
    pub role: Role,
}

/// The table. For each type: its type byte; its name, maximum length word, body kind and role, which make up its [`MessageType`];
/// and an expression that decodes its body from a reader, in a [`Context`](super::message::Context).
macro_rules! message_types {
    ($with:ident) => {
        $with! {
            frontend Frontend {
                BIND = b'B', "Bind", LARGE, Data, Request, |r, c| Message::Bind(Bind::decode(r, c.redaction)?);
                CLOSE = b'C', "Close", SMALL_FRONTEND, Text, Request, |r, _| Message::Close(Target::decode(r)?);
                COPY_DATA = b'd', "CopyData", LARGE, Data, Data, |r, c| Message::copy_data(r, c);
                COPY_DONE = b'c', "CopyDone", SMALL_FRONTEND, EndOfData, Request, |_, _| Message::CopyDone(CopyDone::default());
                COPY_FAIL = b'f', "CopyFail", SMALL_FRONTEND, Text, Request, |r, c| Message::CopyFail(CopyFail::decode(r, c.redaction)?);
                DESCRIBE = b'D', "Describe", SMALL_FRONTEND, Text, Request, |r, _| Message::Describe(Target::decode(r)?);
                EXECUTE = b'E', "Execute", SMALL_FRONTEND, Text, Request, |r, _| Message::Execute(Execute::decode(r)?);
                FLUSH = b'H', "Flush", SMALL_FRONTEND, Nothing, Nothing, |_, _| Message::Flush;
                FUNCTION_CALL = b'F', "FunctionCall", LARGE, Data, Request, |r, c| Message::FunctionCall(FunctionCall::decode(r, c.redaction)?);
                PARSE = b'P', "Parse", LARGE, Text, Request, |r, c| Message::Parse(Parse::decode(r, c.redaction)?);
                PASSWORD_MESSAGE = b'p', "PasswordMessage", AUTH_TOKEN, Secret, Nothing, |r, c| Message::authentication_response(r, c)?;
                QUERY = b'Q', "Query", LARGE, Text, Request, |r, c| Message::Query(Query::decode(r, c.redaction)?);
                SYNC = b'S', "Sync", SMALL_FRONTEND, Nothing, Request, |_, _| Message::Sync;
                TERMINATE = b'X', "Terminate", SMALL_FRONTEND, Text, Nothing, |_, _| Message::Terminate;
            }
            backend Backend {
                AUTHENTICATION = b'R', "Authentication", AUTH_TOKEN, Secret, Nothing, |r, c| Authentication::decode(r, c.asked, c.redaction)?.into();
                BACKEND_KEY_DATA = b'K', "BackendKeyData", SMALL_BACKEND, Secret, Nothing, |r, c| Message::BackendKeyData(BackendKeyData::decode(r, c.redaction)?);
                BIND_COMPLETE = b'2', "BindComplete", SMALL_BACKEND, Nothing, Answer, |_, _| Message::BindComplete;
                CLOSE_COMPLETE = b'3', "CloseComplete", SMALL_BACKEND, Nothing, Answer, |_, _| Message::CloseComplete;
                COMMAND_COMPLETE = b'C', "CommandComplete", SMALL_BACKEND, Text, Answer, |r, _| Message::CommandComplete(CommandComplete::decode(r)?);
                COPY_DATA = b'd', "CopyData", LARGE, Data, Answer, |r, c| Message::copy_data(r, c);
                COPY_DONE = b'c', "CopyDone", SMALL_BACKEND, EndOfData, Answer, |_, _| Message::CopyDone(CopyDone::default());
                COPY_IN_RESPONSE = b'G', "CopyInResponse", OID_LIST, Text, Answer, |r, _| Message::CopyInResponse(CopyResponse::decode(r)?);
                COPY_OUT_RESPONSE = b'H', "CopyOutResponse", OID_LIST, Text, Answer, |r, _| Message::CopyOutResponse(CopyResponse::decode(r)?);
                COPY_BOTH_RESPONSE = b'W', "CopyBothResponse", OID_LIST, Text, Answer, |r, _| Message::CopyBothResponse(CopyResponse::decode(r)?);
                DATA_ROW = b'D', "DataRow", LARGE, Data, Answer, |r, c| Message::DataRow(DataRow::decode(r, c.redaction)?);
                EMPTY_QUERY_RESPONSE = b'I', "EmptyQueryResponse", SMALL_BACKEND, Nothing, Answer, |_, _| Message::EmptyQueryResponse;
                ERROR_RESPONSE = b'E', "ErrorResponse", LARGE, Text, Error, |r, c| Message::ErrorResponse(Fields::decode(r, c.redaction)?);
                FUNCTION_CALL_RESPONSE = b'V', "FunctionCallResponse", LARGE, Data, Answer, |r, c| Message::FunctionCallResponse(FunctionCallResponse::decode(r, c.redaction)?);
                NEGOTIATE_PROTOCOL_VERSION = b'v', "NegotiateProtocolVersion", SMALL_BACKEND, Text, Nothing, |r, _| Message::NegotiateProtocolVersion(NegotiateProtocolVersion::decode(r)?);
                NO_DATA = b'n', "NoData", SMALL_BACKEND, Nothing, Answer, |_, _| Message::NoData;
                NOTICE_RESPONSE = b'N', "NoticeResponse", LARGE, Text, Asynchronous, |r, c| Message::NoticeResponse(Fields::decode(r, c.redaction)?);
                NOTIFICATION_RESPONSE = b'A', "NotificationResponse", LARGE, Text, Asynchronous, |r, c| Message::NotificationResponse(NotificationResponse::decode(r, c.redaction)?);
                PARAMETER_DESCRIPTION = b't', "ParameterDescription", OID_LIST, Description, Answer, |r, _| Message::ParameterDescription(ParameterDescription::decode(r)?);
                PARAMETER_STATUS = b'S', "ParameterStatus", SMALL_BACKEND, Text, Asynchronous, |r, c| Message::ParameterStatus(ParameterStatus::decode(r, c.redaction)?);
                PARSE_COMPLETE = b'1', "ParseComplete", SMALL_BACKEND, Nothing, Answer, |_, _| Message::ParseComplete;
                PORTAL_SUSPENDED = b's', "PortalSuspended", SMALL_BACKEND, Nothing, Answer, |_, _| Message::PortalSuspended;
                READY_FOR_QUERY = b'Z', "ReadyForQuery", SMALL_BACKEND, Text, Ready, |r, _| Message::ReadyForQuery(ReadyForQuery::decode(r)?);
                ROW_DESCRIPTION = b'T', "RowDescription", LARGE, Description, Answer, |r, c| Message::RowDescription(RowDescription::decode(r, c.metadata, c.redaction)?);
            }
        }
    };
}
pub(super) use message_types;

macro_rules! tags {
    ($($module:ident $direction:ident {
        $($tag:ident = $byte:literal, $name:literal, $max_len:ident, $body:ident, $role:ident, |$r:tt, $c:tt| $decode:expr;)*
    })*) => {
        $(
            #[doc = concat!("The tags of messages of the ", stringify!($module), ".")]
            pub mod $module {
                $(#[doc = $name] pub const $tag: u8 = $byte;)*
            }
        )*

        /// Returns the message type for a type byte in a direction; `None` if the protocol has no such type.
        pub const fn message_type(direction: Direction, tag: u8) -> Option<MessageType> {
            Some(match (direction, tag) {
                $($((Direction::$direction, $module::$tag) => MessageType {
                    name: $name,
                    max_len: $max_len,
                    body: BodyKind::$body,
                    role: Role::$role,
                },)*)*
                _ => return None,
            })
        }
    };
}
message_types!(tags);

/// The minimum value of a length word, which counts itself.
pub const MIN_LEN: u32 = 4;

/// Returns whether the protocol has a message with this type byte in this direction.
pub const fn is_known(direction: Direction, tag: u8) -> bool {
    message_type(direction, tag).is_some()
}

/// Returns whether a message consists of its type alone. CopyDone has no body either, but may complete a row.
#[inline(always)]
pub const fn is_bare(direction: Direction, tag: u8) -> bool {
    matches!(message_type(direction, tag), Some(MessageType { body: BodyKind::Nothing, .. }))
}

/// Returns whether a message of the backend may be sent at any time, whatever is in progress.
#[inline(always)]
pub const fn is_asynchronous(tag: u8) -> bool {
    matches!(role_of_reply(tag), Some(Role::Asynchronous))
}

/// Returns the effect of a backend message on the requests that wait for replies.
#[inline(always)]
pub const fn role_of_reply(tag: u8) -> Option<Role> {
    match message_type(Direction::Backend, tag) {
        Some(message_type) => Some(message_type.role),
        None => None,
    }
}

/// Returns the greatest length word accepted for a type byte, known or not.
pub fn max_len(direction: Direction, tag: u8) -> u32 {
    // Looked up for every message: a table by type byte is faster than a match.
    static FRONTEND: [u32; 256] = max_lens(Direction::Frontend);
    static BACKEND: [u32; 256] = max_lens(Direction::Backend);
    let table = match direction {
        Direction::Frontend => &FRONTEND,
        Direction::Backend => &BACKEND,
    };
    table.get(usize::from(tag)).copied().unwrap_or(SMALL_BACKEND)
}

#[allow(clippy::indexing_slicing)] // indexed by type bytes only; the table has 256 entries
const fn max_lens(direction: Direction) -> [u32; 256] {
    let mut table = [SMALL_BACKEND; 256];
    let mut tag = 0;
    while tag < table.len() {
        if let Some(message_type) = message_type(direction, tag as u8) {
            table[tag] = message_type.max_len;
        } else if (tag as u8).is_ascii_alphabetic() {
            table[tag] = UNKNOWN_LETTER;
        }
        tag += 1;
    }
    table
}
