//! Everything that holds for the library and for the command as a whole: real captures, libpq's own traces, the contract
//! of the lines, the laws of segmentation, hostile input; files, pipes, exit codes, and live capture beside a real server.

// A test that panics says what is wrong; clippy.toml allows it in test functions, and this in what they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod agree;
mod captures;
mod cases_attribution;
mod cases_foreign;
mod cases_resync;
mod cases_secrets;
mod cases_tcp;
mod cases_violation;
mod cli;
mod command;
mod contract;
mod copy;
mod cuts;
mod disconnections;
mod encodings;
mod every_way;
mod fingerprints;
mod fuzzed;
mod hostile;
mod hostile_tls;
mod live;
mod live_tls;
mod loss;
mod numbers;
mod oracle;
mod parallel;
mod queries;
mod redaction;
mod scenarios;
mod server_log;
mod server_text;
mod sql;
mod strict;
mod sweep;
mod tcp;

mod tls;
mod trace;
mod tunnels;
mod values;
mod wire;
