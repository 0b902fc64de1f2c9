//! Comparison of `session` lines with the servers' log lines for the end of the same sessions (`log_disconnections`).
//!
//! Each disconnection in a log corresponds to an ended session of the same user and database, and vice versa. The duration of a
//! session in the capture is not shorter than that of its server process, and little longer: the process does not know the time
//! on the network, and parts of its own start and end.
//! way there and back, and its own beginning and end.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::command;
use crate::oracles::agree::{self, BOUNCER, RUNS};
use crate::oracles::server_log::{self, Disconnection};

/// A `session` line for the end of a session.
#[derive(Debug, Deserialize)]
struct Ended {
    client: String,
    server: String,
    user: Option<String>,
    database: Option<String>,
    end_reason: String,
    duration_us: u64,
}

#[test]
fn sessions_are_those_of_the_servers_log() {
    let mut excess = Vec::new();
    for (folder, _) in RUNS {
        let mut ours: BTreeMap<String, Ended> = BTreeMap::new();
        for line in agree::run(folder, "session").into_iter().filter(|line| line["state"] == "ended") {
            let line: Ended = serde_json::from_value(line).unwrap();
            let same_port = ours.insert(line.client.clone(), line);
            assert!(same_port.is_none(), "{folder}: a port was used twice: {same_port:?}");
        }
        for theirs in server_log::disconnections(&command::testdata().join(folder)) {
            let Disconnection { port, user, database, milliseconds } = theirs;
            let ours = ours.remove(&format!("127.0.0.1:{port}"));
            let ours = ours.unwrap_or_else(|| panic!("{folder}: no session ended on port {port}"));
            assert_eq!((ours.user, ours.database), (Some(user), Some(database)), "{folder}, port {port}");
            assert!(["terminate", "fatal"].contains(&&*ours.end_reason), "{folder}, port {port}: {}", ours.end_reason);
            let longer = (ours.duration_us / 1_000).checked_sub(milliseconds);
            excess.push(longer.unwrap_or_else(|| panic!("{folder}, port {port}: less than {milliseconds} ms")));
        }
        // A cancel request is not a session; PgBouncer's clients are not the server's, and its own sessions do not end.
        let is_logged =
            |ours: &Ended| ours.user.is_some() && ours.server != BOUNCER && ours.end_reason != "capture_end";
        let left: Vec<_> = ours.values().filter(|ours| is_logged(ours)).collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    excess.sort_unstable();
    let (median, most) = (excess[excess.len() / 2], excess[excess.len() - 1]);
    assert_eq!(excess.len(), 73, "sessions");
    assert!(median <= 5 && most < 25, "{median} and {most} ms more than in the server");
}
