//! What there was instead, where nothing was selected.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::super::args::{Args, Event};
use super::super::run::counted;
use super::super::select::selection;
use crate::output::stats::Tally;
use crate::output::text::sanitize::{Extent, Name, Prose};
use crate::pg::text::Text;
use crate::record::SessionRecord;
use crate::record::ends::without_port;
use crate::time::Timestamp;

/// How many different names are counted.
const MAX_NAMES: usize = 1_000;
/// How long they can be, in bytes.
const MAX_NAME: usize = 1_024;
/// How many names are listed.
const LISTED: usize = 10;
/// How many statements are listed, and how much of each.
const STATEMENTS: (usize, usize) = (5, 100);

/// Which conditions were met by at least one record that met those before, in the order in which they are checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closest {
    /// It was of a selected connection.
    pub(super) connection: bool,
    /// It was in time.
    pub(super) time: bool,
    /// It was a request.
    pub(super) request: bool,
    /// Which failed, if only those are written.
    pub(super) outcome: bool,
    /// For long enough.
    pub(super) duration: bool,
    /// With enough rows.
    pub(super) rows: bool,
    /// And a selected statement.
    pub(super) statement: bool,
    /// A session was selected for its error.
    pub(super) session: bool,
    /// The longest time of those whose time was compared, and the most rows of those whose rows were.
    pub(super) longest_us: Option<u64>,
    pub(super) most_rows: Option<u64>,
    /// There was a change, and a stream of changes whose plugin is another than pgoutput.
    pub(super) change: bool,
    pub(super) other_plugin: bool,
}

impl Closest {
    pub(super) fn merge(&mut self, other: &Self) {
        self.connection |= other.connection;
        self.time |= other.time;
        self.request |= other.request;
        self.outcome |= other.outcome;
        self.duration |= other.duration;
        self.rows |= other.rows;
        self.statement |= other.statement;
        self.session |= other.session;
        self.longest_us = self.longest_us.max(other.longest_us);
        self.most_rows = self.most_rows.max(other.most_rows);
        self.change |= other.change;
        self.other_plugin |= other.other_plugin;
    }
}

/// The sessions that were not selected, and losses of which it is not known whether they were.
#[derive(Debug, Default)]
pub(super) struct Others {
    users: Names,
    databases: Names,
    applications: Names,
    /// The addresses of clients, and these with their ports.
    clients: Names,
    ends: Names,
    pub(super) undecided_losses: u64,
}

impl Others {
    pub(super) fn add(&mut self, session: &SessionRecord<'_>) {
        self.users.add(session.user);
        self.databases.add(session.database);
        self.applications.add(session.application);
        let end = session.header.client;
        self.clients.add(Some(Text::utf8(without_port(end).as_bytes())));
        self.ends.add(Some(Text::utf8(end.as_bytes())));
    }
}

/// How many sessions had each name.
#[derive(Debug, Default)]
struct Names {
    sessions: HashMap<Box<[u8]>, u64>,
    /// The sessions whose name is not known, and those with further names.
    unknown: u64,
    further: u64,
}

impl Names {
    fn add(&mut self, name: Option<Text<'_>>) {
        let Some(name) = name else { return self.unknown += 1 };
        if let Some(sessions) = self.sessions.get_mut(name.0) {
            *sessions += 1;
        } else if self.sessions.len() < MAX_NAMES && name.0.len() <= MAX_NAME {
            self.sessions.insert(name.0.into(), 1);
        } else {
            self.further += 1;
        }
    }

    /// Returns the names with the most sessions, for a person.
    fn list(&self, what: &str) -> String {
        let mut all: Vec<_> = self.sessions.iter().map(|(name, sessions)| (Reverse(*sessions), name)).collect();
        all.sort_unstable();
        let listed = all.iter().take(LISTED);
        let mut parts: Vec<_> = listed
            .map(|(Reverse(sessions), name)| {
                format!("{} ({})", Name(Text::utf8(name), Extent::Excerpt), counted(*sessions, "session"))
            })
            .collect();
        match (all.len().saturating_sub(LISTED), self.further) {
            (0, _) => {}
            (more, 0) => parts.push(format!("and {more} more")),
            (more, _) => parts.push(format!("and more than {more} more")),
        }
        if self.unknown > 0 {
            parts.push(format!("not known ({})", counted(self.unknown, "session")));
        }
        format!("{what} seen: {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })
    }
}

/// What the report needs to know beside what was chosen.
pub(super) struct Seen<'a> {
    pub(super) closest: Closest,
    pub(super) others: &'a Others,
    pub(super) connections: u64,
    /// The first and the last time of packets.
    pub(super) times: Option<(Timestamp, Timestamp)>,
}

impl Seen<'_> {
    /// Returns what to tell a user whose options selected nothing, a line each; nothing, if they did.
    pub(super) fn report<'t>(&self, args: &Args, tallies: impl Iterator<Item = &'t Tally>) -> Vec<String> {
        let Self { closest, others, connections, times } = self;
        let chooses_sessions = args.chooses_sessions();
        let chooses_times = args.since.is_some() || args.until.is_some();
        let chooses_statements = args.sql.is_some() || !args.fingerprint.is_empty();
        let chooses_requests = chooses_statements || args.min_rows.is_some() || args.min_duration.is_some();
        let mut lines = Vec::new();
        if *connections == 0 {
            return lines;
        }
        if chooses_sessions && !closest.connection {
            if !args.conn.is_empty() {
                lines.push(match connections {
                    1 => "there was 1 connection, with the number 1".to_owned(),
                    last => format!("there were {last} connections, with the numbers 1 to {last}"),
                });
            }
            if !args.client.is_empty() {
                let with_ports = args.client.iter().any(|client| client.port.is_some());
                lines.push(if with_ports { &others.ends } else { &others.clients }.list("clients"));
            }
            for (wanted, names, what) in [
                (&args.user, &others.users, "users"),
                (&args.database, &others.databases, "databases"),
                (&args.application, &others.applications, "applications"),
            ] {
                if !wanted.is_empty() {
                    lines.push(names.list(what));
                }
            }
        } else if chooses_times && !closest.time {
            let local = |ts: &Timestamp| {
                let ts = jiff::Timestamp::from_nanosecond(ts.as_nanos().into()).unwrap_or_default();
                ts.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.6f%:z").to_string()
            };
            lines.extend(
                times.iter().map(|(first, last)| format!("packets are from {} to {}", local(first), local(last))),
            );
        } else if chooses_requests && !closest.request {
            lines.push("there was no request".to_owned());
        } else if args.errors && closest.request && !closest.outcome && !closest.session {
            lines.push("no request failed".to_owned());
        } else if chooses_requests && closest.outcome && !closest.duration {
            let longest = closest.longest_us.map(|us| format!("{:?}", Duration::from_micros(us)));
            lines
                .push(format!("the longest request took {}", longest.as_deref().unwrap_or("a time that is not known")));
        } else if chooses_requests && closest.duration && !closest.rows {
            lines.push(format!("the most rows of a request were {}", closest.most_rows.unwrap_or_default()));
        } else if chooses_statements && closest.rows && !closest.statement {
            let statements = Tally::most_frequent(tallies);
            lines.push("statements seen:".to_owned());
            for (calls, fingerprint, normalized) in statements.iter().take(STATEMENTS.0) {
                lines.push(match fingerprint {
                    Some(fingerprint) => {
                        format!("  {calls} × {fingerprint} {}", Prose(normalized.as_bytes(), STATEMENTS.1))
                    }
                    None => format!("  {calls} × not known"),
                });
            }
            match statements.len().saturating_sub(STATEMENTS.0) {
                0 => {}
                more => lines.push(format!("  and {more} more")),
            }
        }
        if !lines.is_empty() {
            lines.insert(0, format!("nothing matched {}", selection(args).join(" ")));
        }
        if args.events.contains(&Event::Change) && closest.other_plugin && !closest.change {
            lines.push(
                "there are no lines of changes, for these are read of pgoutput alone: what wal2json, test_decoding or another plugin \
                 wrote is in the lines of messages"
                    .to_owned(),
            );
        }
        lines
    }

    /// Returns what to tell a user of losses that have no line.
    pub(super) fn undecided(&self) -> Option<String> {
        let losses = match self.others.undecided_losses {
            0 => return None,
            1 => "1 loss has".to_owned(),
            losses => format!("{losses} losses have"),
        };
        Some(format!("{losses} no line: it is not known whether the connection was asked for"))
    }
}
