//! pgdissect
pub mod capture;
pub mod packet;
pub mod time;
