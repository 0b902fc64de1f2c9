//! Analysis of SQL text, without a parser and without a server.
//!
//! Everything is based on the tokens of [`lexer`], which accepts any bytes, never fails, and does not allocate. Nothing that
//! needs a grammar is guessed: [`statement`] recognizes simple statements, and the rest is unknown.
//!
//! - [`normalize`]: the text with `$n` in place of its constants, and a fingerprint; [`template`] detects texts with the same
//!   normal form.
//! - [`audit`]: what an audit looks for, and whether a query limits its rows.
//! - [`names`]: which names are those of secrets.
//! - [`redact`]: the normal form of the part that can be lexed with certainty, without possible data; [`secret`]: masking of
//!   secrets.
//! - [`tags`]: what an application says of a statement in a comment.
//! - [`statement`]: the statements of a text, and the parameters of those that change the session.
//!
//! This module does not depend on packets, messages or sessions.

pub mod audit;
mod keyword;
pub mod lexer;
pub mod literal;
pub mod names;
pub mod normalize;
pub mod redact;
pub mod secret;
pub mod statement;
pub mod tags;
pub mod template;
