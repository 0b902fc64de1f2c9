//! What confirms message boundaries that were guessed.
//!
//! Whoever has a value stored can put bytes into it that look like messages, and where a boundary is searched inside of that
//! value, they are found. What such bytes cannot do is to have the other side speak. So a guess is believed for the order in
//! which both sides speak: where the server says that it is ready and the client speaks next, nothing is under way in either
//! direction, and a true boundary is there in both of them. If what was guessed has one there as well, all replies from there
//! on fit the requests, and the same is found once more when the client speaks next, then both sides are read where they begin.
//!
//! A client that sends requests without waiting for replies, while a value is under way, speaks when something is: against
//! this, only that both boundaries would have to be met by chance, and that replies would have to fit.

use std::collections::VecDeque;

use crate::direction::Direction;
use crate::pg::message_table::{self, backend, frontend};

/// How many messages may wait for replies. A pipeline of more confirms nothing.
const MOST_WAITING: usize = 256;

/// Stands for a startup packet, which has no type byte.
const STARTUP: u8 = 0;

/// Watches a connection of which boundaries were guessed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Who has spoken last.
    speaker: Option<Direction>,
    /// The server's last word was that it is ready; or nothing was heard before of either side.
    is_ready: bool,
    /// The client's messages that wait for replies, since it spoke when the server was ready. None before it did.
    waiting: Option<VecDeque<u8>>,
    /// All of them have had their replies.
    has_agreed: bool,
    /// The server waits for COPY data.
    is_copying: bool,
    /// The server has sent an error, and ignores what comes before the next Sync.
    is_skipping: bool,
    /// The server has let the client in, as a startup packet asked for.
    has_started: bool,
}

impl Watch {
    /// One from now on; of a connection of which nothing was heard yet, where that `is_first`.
    pub(super) fn new(is_first: bool) -> Self {
        Self { is_ready: is_first, ..Self::default() }
    }

    /// A side speaks, and both sides are where messages begin, as far as boundaries are known, or not. Says whether this
    /// confirms them.
    pub(super) fn speaks(&mut self, direction: Direction, are_at_boundary: bool) -> bool {
        if self.speaker.replace(direction) == Some(direction) {
            return false;
        }
        if !are_at_boundary {
            self.doubt();
        } else if direction == Direction::Frontend && self.is_ready {
            if self.has_agreed {
                return true;
            }
            self.waiting.get_or_insert_default();
        }
        false
    }

    /// Something speaks against what was guessed, or is missing: what was seen before confirms nothing.
    pub(super) fn doubt(&mut self) {
        *self = Self { speaker: self.speaker, has_started: self.has_started, ..Self::default() };
    }

    /// Whether the server has let the client in, as a startup packet asked for.
    pub(super) const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Takes a message, by its type byte.
    pub(super) fn message(&mut self, direction: Direction, tag: Option<u8>) {
        let fits = match direction {
            Direction::Frontend => self.request(tag),
            Direction::Backend => self.reply(tag),
        };
        if !fits {
            self.doubt();
        }
        match (direction, tag) {
            // These come at any time.
            (Direction::Backend, Some(tag)) if message_table::is_asynchronous(tag) => {}
            (Direction::Frontend, _) => {}
            (Direction::Backend, _) => self.is_ready = tag == Some(backend::READY_FOR_QUERY),
        }
    }

    fn request(&mut self, tag: Option<u8>) -> bool {
        self.has_agreed = false;
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
                waiting.len() <= MOST_WAITING
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
                self.has_agreed = waiting.is_empty();
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

    /// How many bytes it takes.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.waiting.as_ref().map_or(0, VecDeque::capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has both sides speak, each word one side's messages, as `F:PBDES B:12nCZ`; tells at which word it is confirmed.
    fn confirmed_at(words: &str) -> Option<usize> {
        let mut watch = Watch::new(true);
        for (index, word) in words.split(' ').enumerate() {
            let (side, tags) = word.split_once(':').unwrap();
            let direction = if side == "F" { Direction::Frontend } else { Direction::Backend };
            if watch.speaks(direction, true) {
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
        // Until they do.
        assert_eq!(confirmed_at("F:Q B:12nCZ F:Q B:TDCZ F:Q"), Some(4));
    }

    #[test]
    fn a_side_that_speaks_in_the_midst_of_a_message_confirms_nothing() {
        let mut watch = Watch::new(true);
        assert!(!watch.speaks(Direction::Frontend, true));
        watch.message(Direction::Frontend, Some(frontend::QUERY));
        assert!(!watch.speaks(Direction::Backend, false));
        b"CZ".iter().for_each(|tag| watch.message(Direction::Backend, Some(*tag)));
        assert!(!watch.speaks(Direction::Frontend, true));
    }
}
