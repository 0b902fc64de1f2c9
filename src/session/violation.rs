//! Where the server, or a pooler before it, broke the protocol: a reply that no request waits for, or none where one must come.
//!
//! Told only of sessions that were seen from their beginning, without a loss: else it may be the capture that lacks something.

use schemars::JsonSchema;
use serde::Serialize;

use crate::direction::Direction;
use crate::pg::message_table;

/// How the protocol was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Breach {
    /// ReadyForQuery, or the reply to a later request, came before the request was answered to its end.
    NoEnding,
    /// CommandComplete, EmptyQueryResponse or PortalSuspended came where nothing was being executed.
    TwoEndings,
    /// A reply of a type that cannot answer the request that was to be answered.
    WrongReply,
    /// ReadyForQuery came while no request waited for it.
    UnsolicitedReady,
}

/// What was to come, and what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Violation {
    /// How the protocol was broken.
    pub what: Breach,
    /// The replies of which one was to come, ErrorResponse aside; absent where no request waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<&'static str>,
    /// The message that came instead.
    pub had: &'static str,
    /// The number of the captured packet in which it ended.
    pub packet: u64,
}

impl Violation {
    /// Of a backend message, by its tag.
    pub(super) fn new(what: Breach, wanted: Option<&'static str>, had: u8, packet: u64) -> Self {
        let had = message_table::message_type(Direction::Backend, had).map_or("an unknown message", |known| known.name);
        Self { what, wanted, had, packet }
    }
}
