//! `"event":"running"`: a request that is under way.

use schemars::JsonSchema;
use serde::Serialize;

use super::QueryRecord;

/// A request that is under way: that was sent, and has no end yet. The fields are those of a query line, as far as they are known;
/// `ts` is when that was so, `rows` and the bytes are those so far, and `age_us` is the time since its first message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunningRecord<'a> {
    /// The request.
    #[serde(flatten)]
    pub query: QueryRecord<'a>,
    /// Who has to do something.
    pub state: RunningState,
}

/// Who has to do something before a request has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RunningState {
    /// The server, which works on an earlier request of the session.
    Queued,
    /// The server, which has not replied yet.
    WaitingForServer,
    /// The server, which has begun to reply.
    Sending,
    /// The client: it was asked for COPY data, or its receive window is full.
    WaitingForClient,
}
