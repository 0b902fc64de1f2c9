//! pgdissect
pub mod capture;
pub mod direction;
pub mod dissector;
pub mod output;
pub mod packet;
pub mod pg;
pub mod reader;
pub mod record;
pub mod session;
pub mod tcp;
pub mod time;
pub mod tls;
