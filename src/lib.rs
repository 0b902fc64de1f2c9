//! pgdissect
pub mod capture;
pub mod direction;
pub mod packet;
pub mod pg;
pub mod reader;
pub mod time;
