//! What can be seen in the text of SQL, without a parser and without a server.
//!
//! Everything here stands on the tokens of [`lexer`], which reads any bytes, never fails, and allocates nothing. What needs a
//! grammar is not guessed: [`statement`] recognizes what is plain, and the rest is unknown.
//!
//! - [`normalize`]: the text with `$n` for its constants, and a fingerprint of that; [`template`] tells
//!   which texts have the same.
//! - [`names`]: which names are those of secrets.
//! - [`redact`]: the normal form of what is certain, without anything that may be data; [`secret`]: passwords masked.
//! - [`statement`]: the statements of a text, and what those that change a session say.
//!
//! It knows nothing of packets, messages or sessions.

mod keyword;
pub mod lexer;
pub mod literal;
pub mod names;
pub mod normalize;
pub mod redact;
pub mod secret;
pub mod statement;
pub mod template;
