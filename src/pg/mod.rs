//! The PostgreSQL wire protocol, versions 3.0 and 3.2: bytes to frames, frames to messages.
//!
//! Two floors. [`framer`] finds where messages begin and end, and promises to hand out every byte or to say which it
//! could not place. [`message`] decodes the body of a frame, and promises that a body that does not decode costs that body
//! alone. Neither knows of connections, of time, or of what a message means in its session.
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
