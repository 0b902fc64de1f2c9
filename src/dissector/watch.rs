//! Confirmation of message boundaries that were found by searching.
//!
//! A user can store a value that contains what looks like messages, and a search for a boundary that starts inside of that value
//! finds them. But such bytes cannot make the other side send something. So boundaries are confirmed by the order in which both
//! sides send: if the server is ready and the client sends next, no message is incomplete in either direction, and there is a
//! true boundary in both. If the boundaries found coincide with these, all replies from there on match the requests, and the same
//! is observed once more when the client sends next, then the boundaries of both sides are right.
//!
//! A client that pipelines requests while a value is incomplete sends when the server is not ready. Then the only protection is
//! that both boundaries would have to coincide by chance, and that replies would have to match.

use std::collections::VecDeque;

use crate::direction::Direction;
use crate::pg::message_table::{self, backend, frontend};

/// The maximum number of messages that wait for replies. A longer pipeline confirms nothing.
const MAX_WAITING: usize = 256;

/// Represents a startup packet, which has no type byte.
const STARTUP: u8 = 0;

/// Observes a connection with unconfirmed boundaries.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The side that sent last.
    sender: Option<Direction>,
    /// Whether the server's last message was ReadyForQuery, or neither side has sent anything yet.
    is_ready: bool,
    /// The client's messages that wait for replies, from the first one sent while the server was ready; `None` before that.
    waiting: Option<VecDeque<u8>>,
    /// Whether all of them have had their replies.
    is_answered: bool,
    /// Whether the server waits for COPY data.
    is_copying: bool,
    /// Whether the server has sent an error, and ignores messages before the next Sync.
    is_skipping: bool,
    /// Whether the server has accepted the client after a startup packet.
    has_started: bool,
}

impl Watch {
    /// Starts observing; `is_first` is whether neither side has sent anything yet.
    pub(super) fn new(is_first: bool) -> Self {
        Self { is_ready: is_first, ..Self::default() }
    }

    /// Records that a side sends data, and whether both sides are at a message boundary, as far as boundaries are known. Returns
    /// whether this confirms the boundaries.
    pub(super) fn observe_send(&mut self, direction: Direction, are_at_boundary: bool) -> bool {
        if self.sender.replace(direction) == Some(direction) {
            return false;
        }
        if !are_at_boundary {
            self.doubt();
        } else if direction == Direction::Frontend && self.is_ready {
            if self.is_answered {
                return true;
            }
            self.waiting.get_or_insert_default();
        }
        false
    }

    /// Discards the evidence so far, because something contradicts it or is missing.
    pub(super) fn doubt(&mut self) {
        *self = Self { sender: self.sender, has_started: self.has_started, ..Self::default() };
    }

    /// Returns whether the server has accepted the client after a startup packet.
    pub(super) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Records a message by its type byte.
    pub(super) fn message(&mut self, direction: Direction, tag: Option<u8>) {
        let fits = match direction {
            Direction::Frontend => self.request(tag),
            Direction::Backend => self.reply(tag),
        };
        if !fits {
            self.doubt();
        }
        match (direction, tag) {
            // These may be sent at any time.
            (Direction::Backend, Some(tag)) if message_table::is_asynchronous(tag) => {}
            (Direction::Frontend, _) => {}
            (Direction::Backend, _) => self.is_ready = tag == Some(backend::READY_FOR_QUERY),
        }
    }

    fn request(&mut self, tag: Option<u8>) -> bool {
        self.is_answered = false;
        let Some(waiting) = &mut self.waiting else { return true };
        match tag.unwrap_or(STARTUP) {
            frontend::TERMINATE => true,
            frontend::PASSWORD_MESSAGE => waiting.front() == Some(&STARTUP),
            frontend::FLUSH => !waiting.is_empty(),
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => self.is_copying,
            tag @ (STARTUP
            | frontend::PARSE
            | frontend::BIND
            | frontend::DESCRIBE
            | frontend::EXECUTE
            | frontend::CLOSE
            | frontend::SYNC
            | frontend::QUERY
            | frontend::FUNCTION_CALL) => {
                self.is_skipping &= tag != frontend::SYNC;
                if !self.is_skipping {
                    waiting.push_back(tag);
                }
                waiting.len() <= MAX_WAITING
            }
            _ => false,
        }
    }

    fn reply(&mut self, tag: Option<u8>) -> bool {
        let Some(waiting) = &mut self.waiting else { return true };
        let tag = tag.unwrap_or(STARTUP);
        if message_table::is_asynchronous(tag) {
            return true;
        }
        let Some(&head) = waiting.front() else { return false };
        self.is_copying &= !matches!(tag, backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE);
        match (tag, head) {
            (backend::PARSE_COMPLETE, frontend::PARSE)
            | (backend::BIND_COMPLETE, frontend::BIND)
            | (backend::CLOSE_COMPLETE, frontend::CLOSE)
            | (backend::NO_DATA | backend::ROW_DESCRIPTION, frontend::DESCRIBE)
            | (
                backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE | backend::PORTAL_SUSPENDED,
                frontend::EXECUTE,
            )
            | (STARTUP, STARTUP) => {
                waiting.pop_front();
            }
            (backend::READY_FOR_QUERY, frontend::QUERY | frontend::SYNC | frontend::FUNCTION_CALL | STARTUP) => {
                self.has_started |= head == STARTUP;
                waiting.pop_front();
                self.is_answered = waiting.is_empty();
            }
            (
                backend::ERROR_RESPONSE,
                frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::EXECUTE | frontend::CLOSE,
            ) => {
                let skipped = waiting.iter().position(|tag| *tag == frontend::SYNC);
                self.is_skipping = skipped.is_none();
                waiting.drain(..skipped.unwrap_or(waiting.len()));
            }
            (backend::COPY_IN_RESPONSE, frontend::QUERY | frontend::EXECUTE) => self.is_copying = true,
            (backend::PARAMETER_DESCRIPTION, frontend::DESCRIBE)
            | (
                backend::DATA_ROW | backend::COPY_OUT_RESPONSE | backend::COPY_DATA | backend::COPY_DONE,
                frontend::EXECUTE,
            )
            | (
                backend::ROW_DESCRIPTION
                | backend::DATA_ROW
                | backend::COMMAND_COMPLETE
                | backend::EMPTY_QUERY_RESPONSE
                | backend::COPY_OUT_RESPONSE
                | backend::COPY_DATA
                | backend::COPY_DONE
                | backend::ERROR_RESPONSE,
                frontend::QUERY,
            )
            | (backend::FUNCTION_CALL_RESPONSE | backend::ERROR_RESPONSE, frontend::FUNCTION_CALL)
            | (backend::ERROR_RESPONSE, frontend::SYNC)
            | (
                backend::AUTHENTICATION
                | backend::BACKEND_KEY_DATA
                | backend::NEGOTIATE_PROTOCOL_VERSION
                | backend::ERROR_RESPONSE,
                STARTUP,
            ) => {}
            _ => return false,
        }
        true
    }

    /// Returns the memory used, in bytes.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.waiting.as_ref().map_or(0, VecDeque::capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates both sides from a list of turns, each with the messages of one side, such as `F:PBDES B:12nCZ`. Returns the
    /// index of the turn at which the boundaries are confirmed.
    fn confirmed_at(words: &str) -> Option<usize> {
        let mut watch = Watch::new(true);
        for (index, word) in words.split(' ').enumerate() {
            let (side, tags) = word.split_once(':').unwrap();
            let direction = if side == "F" { Direction::Frontend } else { Direction::Backend };
            if watch.observe_send(direction, true) {
                return Some(index);
            }
            tags.bytes().for_each(|tag| watch.message(direction, (tag != b'_').then_some(tag)));
        }
        None
    }

    #[test]
    fn a_request_and_its_replies_confirm_where_the_next_begins() {
        for words in [
            "F:Q B:TDDCZ F:Q",
            "F:PBDES B:12TDCZ F:Q",
            "F:PBES B:1EZ F:Q",
            "F:Q B:EZ F:Q",
            "F:F B:VZ F:Q",
            "F:Q B:HddcCZ F:Q",
        ] {
            assert_eq!(confirmed_at(words), Some(2), "{words}");
        }
        assert_eq!(confirmed_at("F:Q B:G F:ddc B:CZ F:Q"), Some(4));
        assert_eq!(confirmed_at("F:PDH B:1tn F:BES B:2CZ F:Q"), Some(4));
        assert_eq!(confirmed_at("F:PBE B:E F:BES B:Z F:Q"), Some(4));
        assert_eq!(confirmed_at("F:_ B:R F:p B:RSKZ F:Q"), Some(4));
        assert_eq!(confirmed_at("F:_ B:_ F:_ B:RSKZ F:Q"), Some(4));
        assert_eq!(confirmed_at("F:Q B:TDCZ B:A F:Q"), Some(3));
        // A capture that begins in the middle of a reply.
        assert_eq!(confirmed_at("B:DDCZ F:Q B:CZ F:Q"), Some(3));
    }

    #[test]
    fn replies_that_do_not_fit_confirm_nothing() {
        for words in
            ["F:Q B:12nCZ F:Q", "F:BES B:TDCZ F:Q", "F:QQ B:CZ F:Q", "F:dd B:CZ F:Q", "F:H B:Z F:Q", "F:Q B:TDC F:Q"]
        {
            assert_eq!(confirmed_at(words), None, "{words}");
        }
        // Until replies match.
        assert_eq!(confirmed_at("F:Q B:12nCZ F:Q B:TDCZ F:Q"), Some(4));
    }

    #[test]
    fn a_side_that_speaks_in_the_midst_of_a_message_confirms_nothing() {
        let mut watch = Watch::new(true);
        assert!(!watch.observe_send(Direction::Frontend, true));
        watch.message(Direction::Frontend, Some(frontend::QUERY));
        assert!(!watch.observe_send(Direction::Backend, false));
        b"CZ".iter().for_each(|tag| watch.message(Direction::Backend, Some(*tag)));
        assert!(!watch.observe_send(Direction::Frontend, true));
    }
}
