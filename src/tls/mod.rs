//! Passive TLS: the metadata sent in the clear, and decryption if the keys are known.
//!
//! A [`TlsSession`](session::TlsSession) is passed the bytes of both directions of a connection, and [`Keys`](keylog::Keys). It
//! returns the plaintext, reports how much of it is missing, and collects the session's metadata. It depends neither on the
//! transport nor on the meaning of the bytes.
//!
//! Guarantees: only authentic records are decrypted. A record that was lost, or that no key fits, does not affect other records.
//! The wait for a key is bounded in time and size, and the number of failed trials by the amount of data sent.

mod decrypt;
pub mod facts;
pub mod handshake;
mod hello;
pub mod keylog;
mod record;
mod schedule;
pub mod session;
mod side;
pub mod suite;

pub use hello::Version;
