//! Passive TLS: what both sides send in clear, and what they encrypt, where the keys are known.
//!
//! [`TlsSession`](session::TlsSession) is given the bytes of both directions of a connection, and [`Keys`](keylog::Keys), and
//! gives plaintext, or says how much of it is missing, and what is known of the session. It knows nothing of what carries the
//! bytes, nor of what they mean.
//!
//! What it promises: nothing is decrypted that is not authentic; a record that was lost, or that no key fits, costs that
//! record; what waits for a key is bounded in time and size, and what is tried in vain by what was sent.

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
