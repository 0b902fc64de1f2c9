//! The type byte of a message: its name, and how long such a message may be.
//!
//! Source of the names: PostgreSQL documentation, "Frontend/Backend Protocol", section "Message Formats".

use crate::direction::Direction;

/// The longest message that a server or libpq takes: PostgreSQL's MaxAllocSize, 1 GiB less one, plus the length word.
const LARGE: u32 = 0x3fff_ffff + 4;

/// What libpq (`fe-protocol3.c`) allows for backend messages that carry no data, before it says that it lost
/// synchronization.
const SMALL_BACKEND: u32 = 30_000;

/// What is believed of a letter that is no type of the direction: forks have some of their own, and Greenplum's carry plans
/// and statistics. No text is taken for one: the first byte of its length would not be 0.
const UNKNOWN_LETTER: u32 = (1 << 24) - 1;

/// What the server (`libpq.h`, PQ_SMALL_MESSAGE_LIMIT) allows for frontend messages that carry no data.
const SMALL_FRONTEND: u32 = 10_000;

/// An authentication token: the server's PG_MAX_AUTH_TOKEN_LENGTH, with room for codes and names before it.
const AUTH_TOKEN: u32 = 65_535 + 64;

/// 65,535 object IDs, a count and the length word.
const OID_LIST: u32 = 65_535 * 4 + 2 + 4;

/// A message type, as its tag tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name in the documentation. `R` and `p` stand for several messages: they have the name of the family.
    pub name: &'static str,
    /// The greatest value of the length word that either end of a connection would accept.
    pub max_len: u32,
}

/// The least value of a length word: it counts itself.
pub const MIN_LEN: u32 = 4;

/// What the tag means in this direction, or nothing where the protocol has no such tag.
pub const fn kind(direction: Direction, tag: u8) -> Option<Kind> {
    let (name, max_len) = match direction {
        Direction::Frontend => match tag {
            b'B' => ("Bind", LARGE),
            b'C' => ("Close", SMALL_FRONTEND),
            b'd' => ("CopyData", LARGE),
            b'c' => ("CopyDone", SMALL_FRONTEND),
            b'f' => ("CopyFail", SMALL_FRONTEND),
            b'D' => ("Describe", SMALL_FRONTEND),
            b'E' => ("Execute", SMALL_FRONTEND),
            b'H' => ("Flush", SMALL_FRONTEND),
            b'F' => ("FunctionCall", LARGE),
            b'P' => ("Parse", LARGE),
            b'p' => ("PasswordMessage", AUTH_TOKEN),
            b'Q' => ("Query", LARGE),
            b'S' => ("Sync", SMALL_FRONTEND),
            b'X' => ("Terminate", SMALL_FRONTEND),
            _ => return None,
        },
        Direction::Backend => match tag {
            b'R' => ("Authentication", AUTH_TOKEN),
            b'K' => ("BackendKeyData", SMALL_BACKEND),
            b'2' => ("BindComplete", SMALL_BACKEND),
            b'3' => ("CloseComplete", SMALL_BACKEND),
            b'C' => ("CommandComplete", SMALL_BACKEND),
            b'd' => ("CopyData", LARGE),
            b'c' => ("CopyDone", SMALL_BACKEND),
            b'G' => ("CopyInResponse", OID_LIST),
            b'H' => ("CopyOutResponse", OID_LIST),
            b'W' => ("CopyBothResponse", OID_LIST),
            b'D' => ("DataRow", LARGE),
            b'I' => ("EmptyQueryResponse", SMALL_BACKEND),
            b'E' => ("ErrorResponse", LARGE),
            b'V' => ("FunctionCallResponse", LARGE),
            b'v' => ("NegotiateProtocolVersion", SMALL_BACKEND),
            b'n' => ("NoData", SMALL_BACKEND),
            b'N' => ("NoticeResponse", LARGE),
            b'A' => ("NotificationResponse", LARGE),
            b't' => ("ParameterDescription", OID_LIST),
            b'S' => ("ParameterStatus", SMALL_BACKEND),
            b'1' => ("ParseComplete", SMALL_BACKEND),
            b's' => ("PortalSuspended", SMALL_BACKEND),
            b'Z' => ("ReadyForQuery", SMALL_BACKEND),
            b'T' => ("RowDescription", LARGE),
            _ => return None,
        },
    };
    Some(Kind { name, max_len })
}

/// Whether the protocol has a message with this tag in this direction.
pub const fn is_known(direction: Direction, tag: u8) -> bool {
    kind(direction, tag).is_some()
}

/// Whether a message has no body, and all that it says is its type. CopyDone has none either, but may end a row.
#[inline(always)]
pub const fn is_bare(direction: Direction, tag: u8) -> bool {
    match direction {
        Direction::Frontend => matches!(tag, b'S' | b'H'),
        Direction::Backend => matches!(tag, b'1' | b'2' | b'3' | b'n' | b's' | b'I'),
    }
}

/// The greatest length word that is believed for a tag, known or not.
pub fn max_len(direction: Direction, tag: u8) -> u32 {
    // It is asked for every message: a table is faster than the names.
    static FRONTEND: [u32; 256] = max_lens(Direction::Frontend);
    static BACKEND: [u32; 256] = max_lens(Direction::Backend);
    let table = match direction {
        Direction::Frontend => &FRONTEND,
        Direction::Backend => &BACKEND,
    };
    table.get(usize::from(tag)).copied().unwrap_or(SMALL_BACKEND)
}

#[allow(clippy::indexing_slicing)] // of a table, by what has no value outside of it
const fn max_lens(direction: Direction) -> [u32; 256] {
    let mut table = [SMALL_BACKEND; 256];
    let mut tag = 0;
    while tag < table.len() {
        if let Some(kind) = kind(direction, tag as u8) {
            table[tag] = kind.max_len;
        } else if (tag as u8).is_ascii_alphabetic() {
            table[tag] = UNKNOWN_LETTER;
        }
        tag += 1;
    }
    table
}
