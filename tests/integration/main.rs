//! Tests of the library and the command as a whole: real captures, libpq's own traces, the contract of the lines, the laws of
//! segmentation, hostile input; files, pipes, exit codes, and live capture with a real server.

// Tests panic with a description of the problem. clippy.toml allows it in test functions, and this in helper functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod laws {
    pub(crate) mod contract;
    mod copy;
    pub(crate) mod cuts;
    mod every_way;
    mod loss;
    mod numbers;
    mod parallel;
    pub(crate) mod redaction;
    mod replication_summary;
    mod running;
    mod scenarios;
    mod selection;
    mod shards;
    mod summary;
    mod sweep;
    mod times;
}

mod oracles {
    pub(crate) mod agree;
    mod disconnections;
    mod encodings;
    mod fingerprints;
    mod libpq_trace;
    mod log_forms;
    mod log_tools;
    mod otlp;
    mod pg_stat_statements;
    mod pooler;
    mod pooler_live;
    mod queries;
    mod replication;
    pub(crate) mod server_log;
    mod sql;
    mod sql_script;
    mod tls;
    mod tunnels;
    mod values;
}

mod hostile {
    mod any_bytes;
    mod any_tls;
    pub(crate) mod cases_attribution;
    mod cases_foreign;
    mod cases_resync;
    mod cases_secrets;
    mod cases_tcp;
    mod cases_violation;
    pub(crate) mod fuzz_seeds;
    mod tcp;
}

mod cli {
    mod command_line;
    mod extract;
    mod jq;
    pub(crate) mod live;
    mod live_replication;
    mod live_tls;
    mod log_order;
    mod network;
    mod pcapng;
    mod pooler;
    mod report;
    mod rotation;
    mod screen;
    mod selection;
    mod sessions;
    mod sql_settings;
    mod summary;
    mod tables;
    mod text;
}

mod support {
    pub(crate) mod browser;
    pub(crate) mod captures;
    pub(crate) mod command;
    pub(crate) mod network;
    pub(crate) mod server_text;
    pub(crate) mod stand_in;
    pub(crate) mod strict;
    pub(crate) mod terminal;
    pub(crate) mod tmux;
    pub(crate) mod trace;
    pub(crate) mod wire;
}

use support::{browser, captures, command, network, stand_in, strict, terminal, tmux, wire};
