//! TCP reassembly: segments in, the ordered bytes of each direction out.
//!
//! A [`Conversation`](conversation::Conversation) accepts the segments of one connection. It guarantees that each captured byte
//! is delivered once, in order, and that each byte not captured is reported as part of a gap of known size. It does not interpret
//! the bytes.
//!
//! Source: RFC 9293.

pub mod assembler;
pub mod conversation;
pub mod round_trip;
pub mod seq;
