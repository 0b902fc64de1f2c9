//! TCP: segments in, the ordered bytes of each direction out.
//!
//! A [`Conversation`](conversation::Conversation) takes the segments of one connection and promises that every byte that
//! was captured comes out once, in order, and that what was not captured comes out as a gap of known size. It knows
//! nothing of what the bytes mean.
//!
//! Source: RFC 9293.

pub mod assembler;
pub mod conversation;
pub mod seq;
