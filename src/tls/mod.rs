//! TLS, as far as it can be read without keys.

pub mod handshake;
