//! The settings with which the sessions of `-F sql` are run again.

use std::fs;

use crate::captures::OwnedPacket;
use crate::cli::text::pcap;
use crate::command::{Folder, run};
use crate::wire::From::{self, Client, Server};
use crate::wire::{Tcp, message};

/// A session, packet by packet.
struct Session {
    packets: Vec<OwnedPacket>,
    sent: [u32; 2],
}

impl Session {
    /// Begins with these parameters of a StartupMessage, and these settings that the server reports.
    fn begun(parameters: &[(&str, &str)], reported: &[(&str, &str)]) -> Self {
        let mut session = Self { packets: Vec::new(), sent: [1, 1] };
        session.packets.push(Tcp::new(Client, 0, 0, b"").syn().without_ack().at(0));
        session.packets.push(Tcp::new(Server, 0, 1, b"").syn().at(1));
        let mut body = b"\0\x03\0\0user\0app\0database\0shop\0".to_vec();
        for (name, value) in parameters {
            body.extend(format!("{name}\0{value}\0").as_bytes());
        }
        body.push(0);
        let startup = [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat();
        session.send(Client, &startup);
        let mut greeting = message(b'R', &[0; 4]);
        greeting.extend(reported.iter().flat_map(|(name, value)| status(name, value)));
        greeting.extend(message(b'Z', b"I"));
        session.send(Server, &greeting);
        session
    }

    fn send(&mut self, from: From, bytes: &[u8]) {
        let (seq, ack) = (self.sent[from.index()], self.sent[from.peer().index()]);
        let at = self.packets.len() as u64 * 1_000;
        self.packets.push(Tcp::new(from, seq, ack, bytes).at(at));
        self.sent[from.index()] += u32::try_from(bytes.len()).unwrap();
    }

    /// Sends a query, and a reply with what the server reports behind it.
    fn query(&mut self, sql: &str, reported: &[(&str, &str)]) {
        self.send(Client, &message(b'Q', format!("{sql}\0").as_bytes()));
        let tag = if sql.starts_with("SET") { "SET" } else { "SELECT 1" };
        let mut reply = message(b'C', format!("{tag}\0").as_bytes());
        reply.extend(reported.iter().flat_map(|(name, value)| status(name, value)));
        reply.extend(message(b'Z', b"I"));
        self.send(Server, &reply);
    }

    /// Returns the script, without times.
    fn script(&self, more: &[&str]) -> Vec<String> {
        let folder = Folder::new();
        let capture = folder.file("capture.pcap");
        fs::write(&capture, pcap(&self.packets)).unwrap();
        let outcome = run(["-q", "-F", "sql", &capture].iter().chain(more));
        assert_eq!((outcome.code, &*outcome.said), (Some(0), ""));
        let is_kept = |line: &&String| {
            let is_time = line
                .strip_prefix("-- ")
                .is_some_and(|rest| rest.split(' ').next().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()));
            !line.is_empty() && !line.starts_with('\\') && !line.starts_with("-- S") && !is_time
        };
        outcome.lines.iter().filter(is_kept).cloned().collect()
    }
}

fn status(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

#[test]
fn a_session_has_the_settings_that_its_client_asked_for() {
    let options =
        r#"-c search_path=tenant,\ "Other" -c work_mem=1MB --statement-timeout=5s -e -c app.password=hunter2"#;
    let asked =
        [("options", options), ("extra_float_digits", "3"), ("DateStyle", "ISO"), ("x'; DROP", "1"), ("_pq_.a", "1")];
    let mut session = Session::begun(&asked, &[("DateStyle", "ISO, MDY"), ("client_encoding", "LATIN1")]);
    session.query("SELECT 1", &[]);
    let common = ["SET search_path = 'tenant', 'Other';", "SET work_mem = '1MB';", "SET statement_timeout = '5s';"];
    let not_set = "-- not set, though its client asked for it: ";
    let behind = ["SET extra_float_digits = '3';", &format!("{not_set}\"x'; DROP\""), "SET DateStyle = 'ISO, MDY';"];
    let end = ["SELECT 1;"];
    let masked = [format!("{not_set}-e"), format!("{not_set}app.password")];
    let wanted: Vec<_> = common.into_iter().chain(masked.iter().map(String::as_str)).chain(behind).chain(end).collect();
    assert_eq!(session.script(&[]), wanted);
    assert!(session.script(&["--show-secrets"]).contains(&"SET app.password = 'hunter2';".to_owned()));
    // What the server reports is what it was.
    let asked = [("options", "-c search_path=tenant"), ("search_path", "other")];
    let mut session = Session::begun(&asked, &[("search_path", "\"$user\", other")]);
    session.query("SELECT 1", &[]);
    assert_eq!(session.script(&[]), ["SET search_path = '$user', 'other';", "SELECT 1;"]);
}

#[test]
fn backslashes_are_read_as_the_server_reported() {
    const NAME: &str = "standard_conforming_strings";
    const NOT_KNOWN: &str =
        "-- not run: whether a backslash in it is an escape is not known (standard_conforming_strings)";
    const OFF: &str = "SET standard_conforming_strings = 'off'; -- as it was";
    const ON: &str = "SET standard_conforming_strings = 'on'; -- as it was";
    let begun = || Session::begun(&[], &[(NAME, "on")]);
    let set = |value: &str| format!("SET {NAME} = '{value}';");
    let mut session = begun();
    session.query(r"SELECT '\a'", &[]);
    session.query("SET standard_conforming_strings = off", &[(NAME, "off")]);
    session.query(r"SELECT '\b'", &[]);
    session.query("SET standard_conforming_strings = on", &[(NAME, "on")]);
    session.query(r"SELECT '\c'", &[]);
    let lines = session.script(&[]);
    assert_eq!(
        lines,
        [
            &*set("on"),
            r"SELECT '\a';",
            "SET standard_conforming_strings = off;",
            OFF,
            r"SELECT '\b';",
            "SET standard_conforming_strings = on;",
            ON,
            r"SELECT '\c';",
        ]
    );
    // Where the statement that sets it is not in the script, it is set all the same.
    assert_eq!(session.script(&["--sql", r"\\b"]), [&*set("on"), OFF, r"SELECT '\b';"]);
    // A request that was sent before the report may be read in either way.
    let mut session = begun();
    session.send(Client, &message(b'Q', b"SET standard_conforming_strings = off\0"));
    session.send(Client, &message(b'Q', b"SELECT '\\b'\0"));
    let done = [message(b'C', b"SET\0"), status(NAME, "off"), message(b'Z', b"I")].concat();
    session.send(Server, &[done, message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat());
    assert!(session.script(&[]).contains(&NOT_KNOWN.to_owned()));
}
