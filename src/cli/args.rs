//! The command line.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::jq::Filter;
use crate::capture::live;
use crate::capture::savefile::is_pcapng;
use crate::dissector::{Clients, Partition};
use crate::output::LogFormat;
use crate::pg::message::Message;
use crate::redaction::Redaction;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, ValueEnum};
use regex::bytes::Regex;

use super::select::{
    Pooler, When, parse_clients, parse_fingerprint, parse_pooler, parse_regex, parse_shard, parse_when,
};

/// Show the PostgreSQL protocol messages in network packets, one JSON object per line.
///
/// Reads capture files (pcap or pcapng, also .gz and .zst) or listens on an interface. Never sends a packet.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 110, after_help = EXAMPLES, disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    /// Capture files, read in order as one capture; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Read a capture file, the same as FILE; may be repeated
    #[arg(short = 'r', long, value_name = "FILE", help_heading = "Input")]
    pub(crate) read: Vec<PathBuf>,

    /// Read the capture files that are named in this file, one a line, or each ended by a zero byte; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "interface", help_heading = "Input")]
    pub(crate) paths_from: Option<PathBuf>,

    /// Listen on an interface; `any` for all
    #[arg(short = 'i', long, value_name = "INTERFACE", help_heading = "Input")]
    pub(crate) interface: Option<String>,

    /// List the interfaces that can be captured on
    #[arg(short = 'D', long, help_heading = "Input")]
    pub(crate) list_interfaces: bool,

    /// Ports of servers; `auto` detects PostgreSQL on any port by the first bytes of a connection, `auto,5432` does both
    #[arg(short, long, value_name = "PORTS", default_value = "5432", value_parser = parse_ports, help_heading = "Input")]
    pub(crate) port: Ports,

    /// Process only packets that also match this libpcap filter
    #[arg(short, long, value_name = "BPF", help_heading = "Input")]
    pub(crate) filter: Option<String>,

    /// Decrypt TLS with the keys in this key log, as written for SSLKEYLOGFILE and by libpq's sslkeylogfile; may be repeated, and
    /// may still grow while packets are captured
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) keylog: Vec<PathBuf>,

    /// Read who the sessions are that began before the capture: a CSV file with header and the columns client_addr, client_port,
    /// usename, datname, application_name and pid of pg_stat_activity
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) sessions: Option<PathBuf>,

    /// Bytes to capture of each packet; 0 for all
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value_t = 0,
        requires = "interface",
        help_heading = "Live capture"
    )]
    pub(crate) snaplen: u32,

    /// Capture tunnels as well, whatever they contain: VXLAN, Geneve, GRE, IP in IP, MPLS, PPPoE
    #[arg(long, requires = "interface", help_heading = "Live capture")]
    pub(crate) tunnels: bool,

    /// Size of the kernel's capture buffer, in KiB
    #[arg(
        short = 'B', long, value_name = "KIB", default_value_t = live::DEFAULT_BUFFER_KIB, requires = "interface", help_heading = "Live capture"
    )]
    pub(crate) buffer_size: u32,

    /// Do not put the interface into promiscuous mode
    #[arg(long, requires = "interface", help_heading = "Live capture")]
    pub(crate) no_promiscuous: bool,

    /// Switch to this user once the interface and all files are open; created files belong to the user
    #[arg(short = 'Z', long, value_name = "USER", requires = "interface", help_heading = "Live capture")]
    pub(crate) relinquish_privileges: Option<String>,

    /// Stop after this time: 30s, 5m, 1h
    #[arg(
        long, value_name = "TIME", value_parser = parse_duration, requires = "interface",
        help_heading = "Live capture"
    )]
    pub(crate) duration: Option<Duration>,

    /// With -e running, with --otlp-metrics, and live with -e stats or a summary: time between two of them [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Output")]
    pub(crate) stats_interval: Option<Duration>,

    /// Kinds of lines to write [default: message,loss; with --errors, and live with -F text on a terminal: query,session,loss;
    /// with other options about requests: query,loss]
    #[arg(short, long, value_name = "EVENTS", value_delimiter = ',', help_heading = "Output")]
    pub(crate) events: Vec<Event>,

    /// Write only messages of these types, such as Query,Parse,ErrorResponse
    #[arg(
        short, long, value_name = "TYPES", value_delimiter = ',', hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Message::NAMES.iter().chain(&["Unknown"])), ignore_case = true,
        help_heading = "Output"
    )]
    pub(crate) types: Vec<String>,

    /// Write only requests that failed, or were canceled or aborted, and sessions whose login failed or that an error ended
    #[arg(long, help_heading = "Selection")]
    pub(crate) errors: bool,

    /// Of requests, write only those that took at least this time: 500us, 100ms, 2s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Selection")]
    pub(crate) min_duration: Option<Duration>,

    /// Write only the lines of sessions of these users
    #[arg(long, value_name = "USERS", value_delimiter = ',', help_heading = "Selection")]
    pub(crate) user: Vec<String>,

    /// Write only the lines of sessions in these databases
    #[arg(long, value_name = "DATABASES", value_delimiter = ',', help_heading = "Selection")]
    pub(crate) database: Vec<String>,

    /// Write only the lines of sessions of these applications (application_name)
    #[arg(long, value_name = "APPLICATIONS", value_delimiter = ',', help_heading = "Selection")]
    pub(crate) application: Vec<String>,

    /// Write only the lines of these connections, by their numbers (conn)
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..), help_heading = "Selection")]
    pub(crate) conn: Vec<u64>,

    /// Dissect only a part of all connections: that with the index I, from 0, of N parts. N processes share one archive, each with an I of
    /// its own, and no connection is cut
    #[arg(long, value_name = "I/N", value_parser = parse_shard, help_heading = "Input")]
    pub(crate) shard: Option<(u32, u32)>,

    /// What stays together with --shard: each connection, or all connections of a client's host
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = ShardBy::Connection, requires = "shard", help_heading = "Input")]
    pub(crate) shard_by: ShardBy,

    /// The addresses on which poolers (PgBouncer) accept connections: join the requests of their clients with those on their connections
    /// to the server. With auto, poolers are found by themselves, but not on the loopback interface
    #[arg(long, value_name = "ADDR[:PORT]", value_delimiter = ',', value_parser = parse_pooler, help_heading = "Input")]
    pub(crate) pooler: Vec<Pooler>,

    /// Write only the lines of sessions of these clients: an address, with a port or without, or a network, such as 10.0.0.0/8 or
    /// [::1]:40000
    #[arg(long, value_name = "ADDR[:PORT]", value_delimiter = ',', value_parser = parse_clients, help_heading = "Selection")]
    pub(crate) client: Vec<Clients>,

    /// Write only what was at this time or later: 2026-11-27T04:10:05Z, "2026-11-27 04:10" or 04:10 (local time), 30s (after the
    /// first packet)
    #[arg(long, value_name = "TIME", value_parser = parse_when, allow_hyphen_values = true, help_heading = "Selection")]
    pub(crate) since: Option<When>,

    /// Write only what was at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = parse_when, allow_hyphen_values = true, help_heading = "Selection")]
    pub(crate) until: Option<When>,

    /// Of requests, write only those that returned or changed at least this many rows
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(crate) min_rows: Option<u64>,

    /// Of requests, write only those whose SQL matches this regular expression; (?i) ignores case
    #[arg(long, value_name = "REGEX", value_parser = parse_regex, help_heading = "Selection")]
    pub(crate) sql: Option<Regex>,

    /// Of requests, write only those with these fingerprints
    #[arg(long, value_name = "FINGERPRINTS", value_delimiter = ',', value_parser = parse_fingerprint, help_heading = "Selection")]
    pub(crate) fingerprint: Vec<u64>,

    /// What to make of the records
    #[arg(short = 'F', long, value_enum, default_value_t = Format::Json, help_heading = "Output")]
    pub(crate) format: Format,

    /// With a server's log: which statements it has [default: duration]
    #[arg(long, value_enum, value_name = "STYLE", help_heading = "Output")]
    pub(crate) log_style: Option<Statements>,

    /// With a server's log: the major version of PostgreSQL whose form it has; from 16 on, parameters are in `Parameters: $1 = …`
    /// [default: 15]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(14..=19), help_heading = "Output")]
    pub(crate) log_version: Option<u8>,

    /// With -F otlp: write the histogram of the durations of requests to this file, at the end and each time that --stats-interval has
    /// passed
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) otlp_metrics: Option<PathBuf>,

    /// Write what this jq filter yields for each JSON line, as jq -c does
    #[arg(long, value_name = "FILTER", help_heading = "Output")]
    pub(crate) jq: Option<String>,

    /// With --jq: write strings without quotes, as jq -r does
    #[arg(long, requires = "jq", help_heading = "Output")]
    pub(crate) jq_raw: bool,

    /// The compiled filter of --jq
    #[arg(skip)]
    pub(crate) jq_filter: Option<Filter>,

    /// With a summary: the number of items of each of its lists
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000), help_heading = "Output")]
    pub(crate) top: u16,

    /// With a summary: compare with this capture, of the same workload before; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(crate) baseline: Vec<PathBuf>,

    /// Write the bytes of the WAL in physical replication streams, which are only counted otherwise; they contain password hashes
    #[arg(long, conflicts_with = "redact", help_heading = "Output")]
    pub(crate) wal_data: bool,

    /// Write the bytes of base backups, which are only counted otherwise; they contain password hashes
    #[arg(long, conflicts_with = "redact", help_heading = "Output")]
    pub(crate) base_backup_data: bool,

    /// Write rows as objects keyed by column name, instead of arrays
    #[arg(long, help_heading = "Output")]
    pub(crate) named_rows: bool,

    /// Write lines to a file; with -F parquet, tables to a folder
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Write the raw packets to a pcap file as well; to a pcapng file, which may have any link types and has the names of interfaces, if
    /// its name ends in .pcapng
    #[arg(short, long, value_name = "FILE", value_parser = parse_savefile, help_heading = "Output")]
    pub(crate) write: Option<PathBuf>,

    /// Begin a new file of -o and -w when one has about this many bytes, before compression; suffixes K, M, G. Names have times as in
    /// strftime(3), in UTC, as in lines-%Y%m%dT%H%M%S.jsonl, and a number where a name is taken; a file is NAME.part until it is whole
    #[arg(long, value_name = "BYTES", value_parser = parse_buffer, help_heading = "Output")]
    pub(crate) rotate_size: Option<usize>,

    /// Begin a new file at each multiple of this time, in UTC: of -o by the clock, of -w by the times of packets; units s, m, h, d
    #[arg(long, value_name = "TIME", value_parser = parse_interval, help_heading = "Output")]
    pub(crate) rotate_every: Option<Duration>,

    /// Write the packets of the connections that have a line to a pcap or pcapng file, from their first to their last
    #[arg(long, value_name = "FILE", value_parser = parse_savefile, help_heading = "Output")]
    pub(crate) extract: Option<PathBuf>,

    /// With --extract: write the secrets of the TLS sessions of these connections to its file as well, a pcapng file; whoever has it can
    /// decrypt them
    #[arg(long, requires = "extract", help_heading = "Output")]
    pub(crate) with_secrets: bool,

    /// With --extract, live or from a pipe: keep the last packets, up to this many bytes; suffixes K, M, G
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_buffer, requires = "extract", help_heading = "Limits")]
    pub(crate) extract_buffer: usize,

    /// Stop after this many messages; if none are written, after this many lines of queries and sessions
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Output")]
    pub(crate) count: Option<u64>,

    /// Use this many threads; the output is the same [default: the number of cores, at most 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Output")]
    pub(crate) jobs: Option<u16>,

    /// Keep at most this many bytes of a message; suffixes K, M, G
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = parse_size, help_heading = "Limits")]
    pub(crate) max_message: usize,

    /// Follow at most this many connections at a time
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = parse_connections, help_heading = "Limits")]
    pub(crate) max_connections: usize,

    /// Hold at most this many bytes after missing bytes of a connection, before the missing ones are given up
    #[arg(long, value_name = "BYTES", default_value = "8M", value_parser = parse_size, help_heading = "Limits")]
    pub(crate) max_early: usize,

    /// Hold at most this many bytes of out-of-order segments and incomplete messages, over all connections
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = parse_size, help_heading = "Limits")]
    pub(crate) max_held: usize,

    /// Keep at most this many bytes of prepared SQL, and as many of all other session state
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_size, help_heading = "Output")]
    pub(crate) max_remembered: usize,

    /// What to leave out
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Redact::Secrets, help_heading = "Output")]
    pub(crate) redact: Redact,

    /// Write passwords, keys and proofs instead of ***
    #[arg(long, conflicts_with = "redact", help_heading = "Output")]
    pub(crate) show_secrets: bool,

    /// On a terminal, keep lines of text whole instead of cutting them to its width
    #[arg(long, help_heading = "Output")]
    pub(crate) wrap: bool,

    /// Write the times of text in UTC instead of local time
    #[arg(long, help_heading = "Output")]
    pub(crate) utc: bool,

    /// When to color text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto, help_heading = "Output")]
    pub(crate) color: Color,

    /// Write only errors to standard error
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Disable fast paths and threads; the lines are the same
    #[arg(long, hide = true)]
    pub(crate) no_fast_paths: bool,

    /// The minimum number of packets to dissect in parallel
    #[arg(long, hide = true, default_value_t = 128)]
    pub(crate) least_in_parallel: usize,

    /// Print the JSON Schema of the lines, or what DuckDB or ClickHouse needs to read them as tables
    #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, default_missing_value = "json")]
    pub(crate) schema: Option<SchemaForm>,

    /// Print the man page
    #[arg(long, exclusive = true)]
    pub(crate) man: bool,

    /// Print completions for a shell
    #[arg(long, value_name = "SHELL", value_enum, exclusive = true)]
    pub(crate) completions: Option<clap_complete::Shell>,

    /// Print help
    #[arg(short = 'h', long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

impl Args {
    /// Returns which part of all connections is dissected, if not all are.
    pub(crate) fn partition(&self) -> Option<Partition> {
        let (index, count) = self.shard?;
        Some(Partition { index, count, by_host: self.shard_by == ShardBy::Host })
    }

    /// Returns what is not written.
    pub(crate) const fn redaction(&self) -> Redaction {
        match self.redact {
            _ if self.show_secrets => Redaction::Nothing,
            Redact::Secrets => Redaction::Secrets,
            Redact::Values => Redaction::Values,
        }
    }

    /// Returns the time between two lines of counters, two summaries, or two looks at what is under way.
    pub(crate) fn interval(&self) -> Duration {
        self.stats_interval.unwrap_or(Duration::from_secs(10))
    }

    /// Returns an option that selects among requests, besides `--errors`, if one is given.
    fn chooses_requests(&self) -> Option<&'static str> {
        [
            (self.min_duration.is_some(), "--min-duration"),
            (self.min_rows.is_some(), "--min-rows"),
            (self.sql.is_some(), "--sql"),
            (!self.fingerprint.is_empty(), "--fingerprint"),
        ]
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
    }

    /// Returns whether an option selects among sessions.
    pub(crate) fn chooses_sessions(&self) -> bool {
        let names = [&self.user, &self.database, &self.application];
        !self.conn.is_empty() || !self.client.is_empty() || names.into_iter().any(|names| !names.is_empty())
    }

    /// Parses the command line. If it is invalid, prints an error and exits.
    pub(crate) fn from_command_line() -> Self {
        Self::parse().checked(io::stdout().is_terminal()).unwrap_or_else(|error| error.exit())
    }

    /// Parses the arguments after the command name.
    pub(super) fn of(args: &[&str]) -> Result<Self, clap::Error> {
        let args = Self::try_parse_from(std::iter::once(&"pgdissect").chain(args))?;
        args.checked(false)
    }

    /// Applies defaults that depend on several arguments, and checks that the arguments can be used together.
    fn checked(mut self, on_terminal: bool) -> Result<Self, clap::Error> {
        // Messages of a live capture scroll too fast to be read.
        let on_terminal = on_terminal && self.output.as_ref().is_none_or(|path| path.as_os_str() == "-");
        let is_watched =
            on_terminal && self.interface.is_some() && self.format == Format::Text && self.types.is_empty();
        let is_summary = matches!(self.format, Format::Summary | Format::Html);
        let writes_lines = !self.events.is_empty() || !self.types.is_empty() || self.count.is_some();
        if self.format == Format::Top && (writes_lines || self.output.is_some()) {
            let conflict = "-F top writes no lines: -e, -t, -c and -o require another format";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, conflict));
        }
        let chooses_kinds = !self.events.is_empty() || !self.types.is_empty();
        if self.format == Format::Otlp && chooses_kinds || self.format == Format::Sql && writes_lines {
            let conflict =
                "-F otlp and -F sql write requests alone: -e and -t require another format, and -F sql has no -c";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, conflict));
        }
        if self.format == Format::Otlp {
            self.events = vec![Event::Query];
        } else if self.format == Format::Sql {
            self.events = vec![Event::Query, Event::Session];
        } else if self.events.is_empty() && is_summary {
            self.events = vec![Event::Summary];
        } else if self.events.is_empty() && self.format == Format::Top {
            self.events = vec![Event::Message, Event::Query, Event::Running, Event::Session];
        } else if self.events.is_empty() && self.format == Format::Parquet {
            self.events = vec![Event::Query, Event::Session, Event::Change];
        } else if self.events.is_empty() && self.format.log().is_some() {
            self.events = vec![Event::Query, Event::Session];
        } else if self.events.is_empty() {
            self.events = match (self.errors, self.chooses_requests().is_some()) {
                (true, _) => vec![Event::Query, Event::Session, Event::Loss],
                (false, true) => vec![Event::Query, Event::Loss],
                (false, false) if !self.pooler.is_empty() => vec![Event::Query, Event::Loss],
                (false, false) if is_watched => vec![Event::Query, Event::Session, Event::Loss],
                (false, false) => vec![Event::Message, Event::Loss],
            };
        }
        if let Some(code) = &self.jq {
            if self.format != Format::Json {
                let conflict = "--jq filters JSON lines: it requires -F json";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, conflict));
            }
            let filter = Filter::compile(code, self.jq_raw, self.no_fast_paths);
            self.jq_filter = Some(filter.map_err(|error| {
                Self::command().error(ErrorKind::ValueValidation, format!("the filter of --jq is wrong: {error}"))
            })?);
        }
        match self.check_inputs().and_then(|()| self.check_selection()) {
            Ok(()) => Ok(self),
            Err(conflict) => Err(Self::command().error(ErrorKind::ArgumentConflict, conflict)),
        }
    }

    /// Checks that options which select among lines of a kind are used with lines of that kind.
    fn check_selection(&self) -> Result<(), String> {
        let wants = |event| self.events.contains(&event);
        if matches!(self.format, Format::Summary | Format::Html) && self.events != [Event::Summary] {
            return Err("-F summary and -F html write no lines: -e requires -F json or -F text".to_owned());
        }
        if self.format == Format::Parquet {
            self.check_tables()?;
        }
        self.check_rotation()?;
        if self.format.log().is_some() && !self.types.is_empty() {
            return Err("-t selects among messages, and a server's log has none".to_owned());
        }
        if self.format.log().is_some()
            && self.events.iter().any(|event| !matches!(event, Event::Query | Event::Session))
        {
            return Err("a server's log consists of requests and sessions: -e query,session, or one of them".to_owned());
        }
        if !self.baseline.is_empty() && !wants(Event::Summary) {
            return Err("--baseline compares summaries: it requires -F summary, -F html or -e summary".to_owned());
        }
        let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
        if self.baseline.iter().any(is_stdin) && self.files.iter().chain(&self.read).any(is_stdin) {
            return Err("standard input cannot be both the capture and its baseline".to_owned());
        }
        if self.output.is_some() && self.output == self.write {
            return Err("-o and -w cannot be the same file".to_owned());
        }
        if self.extract.is_some() && (self.extract == self.output || self.extract == self.write) {
            return Err("--extract needs a file of its own, other than those of -o and -w".to_owned());
        }
        if self.with_secrets && self.extract.as_deref().is_some_and(|path| !is_pcapng(path)) {
            return Err(
                "--with-secrets requires --extract with a name that ends in .pcapng: a pcap file has no secrets"
                    .to_owned(),
            );
        }
        let has_joins = match self.format {
            Format::Json | Format::Text | Format::Parquet => wants(Event::Query) || wants(Event::Summary),
            Format::Summary | Format::Html | Format::Top => true,
            Format::Otlp | Format::Sql | Format::Csvlog | Format::Jsonlog | Format::Stderrlog => false,
        };
        if !self.pooler.is_empty() && (!has_joins || self.extract.is_some()) {
            return Err(
                "--pooler joins requests: it requires -e query in JSON or text, -F summary, -F html or -F top, \
                        without --extract"
                    .to_owned(),
            );
        }
        // What was asked on a connection that is not followed would be joined with what another client has asked.
        if !self.pooler.is_empty() && self.port.auto && self.port.named.len() < 2 {
            return Err("--pooler requires -p with the ports of both sides, as in -p 6432,5432: auto alone does not follow a connection \
                        whose beginning was lost, and joins could be wrong"
                .to_owned());
        }
        if self.format == Format::Sql && self.redaction().hides_values() {
            return Err(
                "-F sql writes statements that can be run, with their values: not with --redact values".to_owned()
            );
        }
        if self.format.log().is_none() && (self.log_style.is_some() || self.log_version.is_some()) {
            return Err("--log-style and --log-version require -F csvlog, -F jsonlog or -F stderrlog".to_owned());
        }
        if self.otlp_metrics.as_ref().is_some_and(is_stdin) {
            return Err("--otlp-metrics needs a file: standard output is for spans".to_owned());
        }
        if self.otlp_metrics.is_some() && self.format != Format::Otlp {
            return Err("--otlp-metrics requires -F otlp".to_owned());
        }
        if let Some(metrics) = &self.otlp_metrics
            && [&self.output, &self.write, &self.extract].into_iter().flatten().any(|other| other == metrics)
        {
            return Err(
                "--otlp-metrics needs a file of its own: collectors read spans and metrics from different files"
                    .to_owned(),
            );
        }
        if self.count.is_some() && self.events == [Event::Summary] {
            return Err("-c limits the number of lines, and a summary has none".to_owned());
        }
        if !self.types.is_empty() && !wants(Event::Message) {
            return Err("-t selects among messages: it requires -e message".to_owned());
        }
        if self.errors && !wants(Event::Query) && !wants(Event::Session) && !wants(Event::Summary) {
            return Err("--errors selects among requests and sessions: it requires -e query or -e session".to_owned());
        }
        if let Some(option) = self.chooses_requests()
            && ![Event::Query, Event::Running, Event::Summary].into_iter().any(wants)
        {
            return Err(format!("{option} selects among requests: it requires -e query or -e running"));
        }
        if let (Some(since), Some(until)) = (&self.since, &self.until)
            && until.is_before(since)
        {
            return Err(format!("--until {until} is before --since {since}"));
        }
        let has_interval = wants(Event::Running) || self.otlp_metrics.is_some();
        if self.stats_interval.is_some() && self.interface.is_none() && !has_interval {
            return Err("--stats-interval requires -i, -e running or --otlp-metrics".to_owned());
        }
        Ok(())
    }

    /// Returns the files that are written, each with its option. Standard output is none.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let outputs = [
            ("-o", &self.output),
            ("-w", &self.write),
            ("--extract", &self.extract),
            ("--otlp-metrics", &self.otlp_metrics),
        ];
        let outputs = outputs.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)));
        outputs.filter(|(_, path)| path.as_os_str() != "-")
    }

    /// Returns whether the files of -o and -w are rotated.
    pub(crate) const fn is_rotated(&self) -> bool {
        self.rotate_size.is_some() || self.rotate_every.is_some()
    }

    /// Returns whether the file of lines may be followed by another.
    pub(crate) fn reopens_output(&self) -> bool {
        self.is_rotated() || self.reopens_on_hang_up()
    }

    /// Returns whether SIGHUP asks for new files: for a service, which has no terminal that could hang up.
    pub(crate) fn reopens_on_hang_up(&self) -> bool {
        let reopens = self.outputs().any(|(option, _)| option == "-o" || option == "-w" && self.is_rotated());
        let is_table = self.format == Format::Parquet;
        self.interface.is_some() && reopens && !is_table && fs::File::open("/dev/tty").is_err()
    }

    /// Checks that files can be rotated.
    fn check_rotation(&self) -> Result<(), String> {
        if !self.is_rotated() {
            return Ok(());
        }
        let files: Vec<_> = self.outputs().filter(|(option, _)| matches!(*option, "-o" | "-w")).collect();
        if files.is_empty() {
            return Err("--rotate-size and --rotate-every are for the files of -o and -w".to_owned());
        }
        if matches!(self.format, Format::Html | Format::Parquet | Format::Sql | Format::Top) && self.output.is_some() {
            return Err(
                "--rotate-size and --rotate-every are for lines: not for -F html, parquet, sql and top".to_owned()
            );
        }
        files.into_iter().try_for_each(|(option, path)| {
            super::run::check_name(path).map_err(|error| format!("{option} {}: {error}", path.display()))
        })
    }

    /// Checks that tables can be written.
    fn check_tables(&self) -> Result<(), String> {
        if !cfg!(feature = "parquet") {
            return Err("-F parquet is not in this program, which was built without the Cargo feature `parquet`: \
                 cargo install --path . --features parquet"
                .to_owned());
        }
        if self.output.as_ref().is_none_or(|path| path.as_os_str() == "-") {
            return Err("-F parquet writes several files: it requires -o FOLDER".to_owned());
        }
        if self.events.iter().any(|event| !matches!(event, Event::Query | Event::Session | Event::Change)) {
            return Err(
                "-F parquet has tables of requests, sessions and changes: -e query,session,change, or some of them"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Checks that packets come from an interface, or from files named in one way.
    ///
    /// With clap's own conflicts, an argument that requires `-i` would be ignored if a file conflicts with `-i`. And users of
    /// tcpdump may put a filter where a file is expected.
    fn check_inputs(&self) -> Result<(), String> {
        if self.schema.is_some() && (self.interface.is_some() || !self.files.is_empty() || !self.read.is_empty()) {
            return Err("--schema prints what is the same for every capture: it reads none".to_owned());
        }
        let other = match (&self.interface, self.read.as_slice()) {
            (Some(_), []) => "-i",
            (None, [_, ..]) => "-r",
            (None, []) => return Ok(()),
            (Some(_), [_, ..]) => return Err("-i and -r cannot be used together".to_owned()),
        };
        let files: Vec<_> = self.files.iter().map(|file| file.to_string_lossy()).collect();
        if files.is_empty() {
            return Ok(());
        }
        let files = files.join(" ");
        Err(format!("{other} and the file {files:?} cannot be used together; to use it as a filter, pass it with -f"))
    }
}

const EXAMPLES: &str = "\
Examples:
  pgdissect capture.pcap | jq -c 'select(.type==\"Query\") | .body.query'
  pgdissect -p 5432,6432 -t ErrorResponse monday.pcap.gz tuesday.pcap.gz
  sudo pgdissect -i any -F top
  pgdissect -F summary monday.pcap.gz
  ssh db1 sudo tcpdump -i eth0 -U -w - port 5432 | pgdissect -

Exit codes:
  0  done
  1  the input was cut short or damaged; all that could be read was written
  2  wrong usage, or something could not be opened or written
  5  the filter of --jq failed on a line";

/// The ports of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ports {
    /// These ports.
    pub(crate) named: Vec<u16>,
    /// Any port, with detection.
    pub(crate) auto: bool,
}

impl Ports {
    /// Returns the ports to which a capture can be restricted; empty if it cannot.
    pub(crate) fn only(&self) -> &[u16] {
        if self.auto { &[] } else { &self.named }
    }
}

/// Kinds of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Event {
    /// Protocol messages
    Message,
    /// Executed requests, after they have ended
    Query,
    /// Requests under way, each time that --stats-interval has passed
    Running,
    /// Sessions, once they are ready and after they have ended
    Session,
    /// Changes of rows, in streams of logical replication (pgoutput)
    Change,
    /// What became of transactions, in streams of logical replication (pgoutput)
    Transaction,
    /// Bytes that are missing or could not be decoded
    Loss,
    /// Counters, at the end, and periodically in a live capture
    Stats,
    /// What all requests and sessions add up to, at the end, and periodically in a live capture
    Summary,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object per line
    Json,
    /// One line of text, for people
    Text,
    /// No lines, but what they add up to, as text: statements, errors, sessions, what is slow
    Summary,
    /// The same as a page for a browser
    Html,
    /// Requests, sessions and changes as tables, in files of the folder -o; if built with the feature `parquet`
    Parquet,
    /// Requests as spans for OpenTelemetry, in lines of OTLP's JSON
    Otlp,
    /// The statements of each session as a script for psql, with their parameters put in
    Sql,
    /// A screen: what runs now, statements, sessions and errors, and the messages of each session
    Top,
    /// Requests, sessions and errors as the server's own log in CSV, for pgBadger, pgreplay and file_fdw
    Csvlog,
    /// The same as the server's log in JSON
    Jsonlog,
    /// The same as text, with log_line_prefix '%m [%p]: user=%u,db=%d,app=%a,client=%h '
    Stderrlog,
}

impl Format {
    /// Returns which log of a server it is, if it is one.
    pub(crate) const fn log(self) -> Option<LogFormat> {
        match self {
            Self::Csvlog => Some(LogFormat::Csv),
            Self::Jsonlog => Some(LogFormat::Json),
            Self::Stderrlog => Some(LogFormat::Stderr),
            _ => None,
        }
    }
}

/// Which statements a server's log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Statements {
    /// With their durations, when they have ended, as with log_min_duration_statement = 0
    Duration,
    /// As they were sent, as with log_statement = all; for pgreplay
    Statement,
}

/// What stays together where connections are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShardBy {
    /// Each connection
    Connection,
    /// All connections of a client's host
    Host,
}

/// In which form the schema is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaForm {
    /// JSON Schema, of all lines
    Json,
    /// SQL for DuckDB: functions that read files of lines as tables
    Duckdb,
    /// SQL for ClickHouse: tables into which lines can be inserted
    Clickhouse,
}

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Redact {
    /// Passwords, keys, hashes and proofs
    Secrets,
    /// Data as well: parameters, rows, COPY data, constants in SQL, and what may quote them
    Values,
}

/// When text is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn parse_ports(text: &str) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for port in text.split(',') {
        match (port.trim(), port.trim().parse::<u16>()) {
            ("auto", _) => ports.auto = true,
            (_, Ok(number)) if number > 0 => ports.named.push(number),
            _ => {
                let wanted = "expected numbers from 1 to 65535, separated by commas, or auto";
                return Err(format!("{port:?} is not a port: {wanted}"));
            }
        }
    }
    Ok(ports)
}

fn parse_savefile(text: &str) -> Result<PathBuf, String> {
    // Standard output is for lines; a capture mixed with them would be useless.
    if text == "-" {
        Err("packets cannot be written to standard output, which is for lines".to_owned())
    } else {
        Ok(text.into())
    }
}

/// Parses a time of at least a second.
fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        short if short < Duration::from_secs(1) => Err("expected at least 1s".to_owned()),
        time => Ok(time),
    }
}

/// Parses a time with its unit. A bare number is rejected: it would be seconds for sleep(1), but milliseconds in PostgreSQL's
/// settings.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let seconds = match text.get(digits.len()..).unwrap_or_default() {
        // The micro sign, and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "" if digits.parse::<f64>().is_ok() => {
            return Err(format!("{digits} has no unit: for milliseconds write {digits}ms; others are us, s, m, h, d"));
        }
        _ => return Err(NO_DURATION.to_owned()),
    };
    let number = digits.trim_ascii().parse::<f64>().map_err(|_| NO_DURATION.to_owned())?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time above 0".to_owned()),
    }
}

const NO_DURATION: &str = "expected a number and its unit: us, ms, s, m, h or d";

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(connections) if connections > 0 => Ok(connections),
        _ => Err("expected a number above 0".to_owned()),
    }
}

fn parse_buffer(text: &str) -> Result<usize, String> {
    const LEAST: usize = 64 << 10;
    match parse_size(text)? {
        size if size < LEAST => Err("expected at least 64K".to_owned()),
        size => Ok(size),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: usize = match text.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        _ => return Err("expected a number of bytes, optionally with the suffix K, M or G".to_owned()),
    };
    let number = digits
        .parse::<usize>()
        .map_err(|_| "expected a number of bytes, optionally with the suffix K, M or G".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is more than this machine can address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn messages_are_the_default_unless_they_scroll_past() {
        let events = |args: &str, on_terminal| {
            let args = std::iter::once("pgdissect").chain(args.split_whitespace());
            Args::try_parse_from(args).unwrap().checked(on_terminal).unwrap().events
        };
        let requests = vec![Event::Query, Event::Session, Event::Loss];
        let messages = vec![Event::Message, Event::Loss];
        assert_eq!(events("-i any -F text", true), requests);
        assert_eq!(events("-i any -F text -o -", true), requests);
        for (args, on_terminal) in [
            ("-i any -F text", false),
            ("-i any", true),
            ("-F text x.pcap", true),
            ("-i any -F text -o x", true),
            ("-i any -F text -t Query", true),
        ] {
            assert_eq!(events(args, on_terminal), messages, "{args}");
        }
        assert_eq!(events("-i any -F text -e message", true), [Event::Message]);
        assert_eq!(events("-i any -F text --min-duration 1s", true), [Event::Query, Event::Loss]);
    }

    #[test]
    fn ports_are_a_list_or_auto_or_both() {
        let ports = |named: &[u16], auto| Ok(Ports { named: named.to_vec(), auto });
        assert_eq!(parse_ports("5432, 6432"), ports(&[5432, 6432], false));
        assert_eq!(parse_ports("auto"), ports(&[], true));
        assert_eq!(parse_ports("auto,5432"), ports(&[5432], true));
        assert_eq!(parse_ports("5432,auto"), ports(&[5432], true));
        for wrong in ["", "0", "65536", "5432,", "postgres", "auto,", "auto,x"] {
            assert!(parse_ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for (text, micros) in
            [("1us", 1), ("7µs", 7), ("7μs", 7), ("0.5ms", 500), ("2 s", 2_000_000), ("1min", 60_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(parse_duration("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["0s", "s", "3w", "1e999s", "-1s", "1ns", "", "1 2s", "MS"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(parse_duration("100").unwrap_err().contains("write 100ms"));
        assert_eq!(parse_size("64K"), Ok(65_536));
        assert!(parse_size("99999999999G").is_err());
    }
}
