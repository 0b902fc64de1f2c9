//! The PostgreSQL wire protocol, versions 3.0 and 3.2: bytes to frames, frames to messages.
//!
//! There are two layers. [`framer`] finds message boundaries; it returns every byte as part of a frame, or reports it as
//! unresolved. [`message`] decodes the body of a frame; a body that cannot be decoded does not affect other messages. Neither
//! depends on connections, time, or the session.
//!
//! Each group of messages has a file, with its fields, its decoding and its names side by side.

pub mod auth;
pub mod condition;
pub mod copy;
pub mod error;
pub mod extended;
pub mod frame;
pub mod framer;
pub mod gssenc;
pub(crate) mod keys;
pub mod list;
pub mod message;
pub mod message_table;
pub mod query;
pub mod resync;
pub mod row;
pub mod startup;
pub mod text;
