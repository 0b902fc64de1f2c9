//! The requests, and which replies each of them has.

use crate::pg::message_table::backend;

/// A frontend message that the backend answers, or that changes what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Parse: answered by ParseComplete.
    Parse,
    /// Describe of a statement: answered by ParameterDescription and RowDescription or NoData.
    DescribeStatement,
    /// Bind: answered by BindComplete.
    Bind,
    /// Describe of a portal: answered by RowDescription or NoData.
    DescribePortal,
    /// Execute: answered by rows and CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Close: answered by CloseComplete.
    Close,
    /// Sync: answered by ReadyForQuery.
    Sync,
    /// Query: answered by all that its statements return, and ReadyForQuery.
    Query,
    /// FunctionCall: answered by FunctionCallResponse and ReadyForQuery.
    FunctionCall,
    /// CopyDone, CopyFail: not answered itself.
    CopyEnd,
}

impl Request {
    /// Whether ReadyForQuery ends it.
    pub const fn ends_with_ready(self) -> bool {
        matches!(self, Self::Sync | Self::Query | Self::FunctionCall)
    }

    /// Whether a backend message, by its tag, can be the first reply to it.
    pub(super) const fn begins_with(self, tag: u8) -> bool {
        match self {
            Self::Parse => tag == backend::PARSE_COMPLETE,
            Self::DescribeStatement => tag == backend::PARAMETER_DESCRIPTION,
            Self::Bind => tag == backend::BIND_COMPLETE,
            Self::DescribePortal => matches!(tag, backend::ROW_DESCRIPTION | backend::NO_DATA),
            Self::Execute => matches!(
                tag,
                backend::DATA_ROW
                    | backend::COMMAND_COMPLETE
                    | backend::EMPTY_QUERY_RESPONSE
                    | backend::PORTAL_SUSPENDED
                    | backend::COPY_IN_RESPONSE
                    | backend::COPY_OUT_RESPONSE
            ),
            Self::Close => tag == backend::CLOSE_COMPLETE,
            Self::Query => matches!(
                tag,
                backend::ROW_DESCRIPTION
                    | backend::COMMAND_COMPLETE
                    | backend::EMPTY_QUERY_RESPONSE
                    | backend::COPY_IN_RESPONSE
                    | backend::COPY_OUT_RESPONSE
                    | backend::COPY_BOTH_RESPONSE
            ),
            Self::FunctionCall => tag == backend::FUNCTION_CALL_RESPONSE,
            Self::Sync => tag == backend::READY_FOR_QUERY,
            Self::CopyEnd => false,
        }
    }

    /// Whether a backend message, by its tag, can be the next reply to it.
    pub(super) const fn goes_on_with(self, progress: Progress, tag: u8) -> bool {
        match (self, progress) {
            (_, Progress::Failed) => false,
            (Self::Query, Progress::Begun) => {
                self.begins_with(tag) || matches!(tag, backend::DATA_ROW | backend::COPY_DATA | backend::COPY_DONE)
            }
            (Self::Execute, _) => self.begins_with(tag) || matches!(tag, backend::COPY_DATA | backend::COPY_DONE),
            (Self::DescribeStatement, _) => {
                matches!(tag, backend::PARAMETER_DESCRIPTION | backend::ROW_DESCRIPTION | backend::NO_DATA)
            }
            (Self::FunctionCall, Progress::Begun | Progress::Ended) => false,
            _ => self.begins_with(tag),
        }
    }

    /// The replies of which one is to come first, ErrorResponse aside.
    const fn first_replies(self) -> &'static str {
        match self {
            Self::Parse => "ParseComplete",
            Self::DescribeStatement => "ParameterDescription",
            Self::Bind => "BindComplete",
            Self::DescribePortal => "RowDescription or NoData",
            Self::Execute => "DataRow, CommandComplete, EmptyQueryResponse, PortalSuspended or a COPY response",
            Self::Close => "CloseComplete",
            Self::Query => "RowDescription, CommandComplete, EmptyQueryResponse or a COPY response",
            Self::FunctionCall => "FunctionCallResponse",
            Self::Sync | Self::CopyEnd => "ReadyForQuery",
        }
    }

    /// The replies of which one is to come next, ErrorResponse aside.
    pub(super) const fn next_replies(self, progress: Progress) -> &'static str {
        match (self, progress) {
            (Self::Query | Self::FunctionCall, Progress::Ended) | (_, Progress::Failed) => "ReadyForQuery",
            (Self::Query | Self::Execute, Progress::Begun) => "DataRow, CopyData or CommandComplete",
            (Self::DescribeStatement, Progress::Begun) => "RowDescription or NoData",
            _ => self.first_replies(),
        }
    }
}

/// How far the request at the head of the queue was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not at all.
    #[default]
    Waits,
    /// A reply came, and its end did not.
    Begun,
    /// Its end came, or that of one of its statements.
    Ended,
    /// An error came.
    Failed,
}
