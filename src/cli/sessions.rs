//! `--sessions`: who the sessions are that began before the capture, from a file with rows of pg_stat_activity.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use csv::{ByteRecord, ReaderBuilder};

use crate::dissector::KnownSession;
use crate::packet::Endpoint;

/// The columns that are read.
const COLUMNS: [&str; 6] = ["client_addr", "client_port", "usename", "datname", "application_name", "pid"];

/// The maximum length of the file: far more than the rows of a server with all connections that it can have.
const MAX_BYTES: u64 = 64 << 20;

/// The port of a session by a Unix socket.
const UNIX_SOCKET: &[u8] = b"-1";

/// Reads a file in CSV with a header.
pub(super) fn read(path: &Path) -> anyhow::Result<HashMap<Endpoint, KnownSession>> {
    let file = std::fs::File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    parse(file.take(MAX_BYTES)).with_context(|| path.display().to_string())
}

fn parse(file: impl std::io::Read) -> anyhow::Result<HashMap<Endpoint, KnownSession>> {
    let mut reader = ReaderBuilder::new().from_reader(file);
    let header = reader.byte_headers()?.clone();
    let place = |name: &str| {
        let wanted = || format!("line 1: expected a header with the columns {}", COLUMNS.join(", "));
        let place = header.iter().position(|column| column.trim_ascii() == name.as_bytes());
        place.with_context(|| format!("{}; {name} is missing", wanted()))
    };
    let mut places = [0; COLUMNS.len()];
    for (to, name) in places.iter_mut().zip(COLUMNS) {
        *to = place(name)?;
    }
    let mut sessions = HashMap::new();
    let mut row = ByteRecord::new();
    while reader.read_byte_record(&mut row)? {
        if reader.position().byte() >= MAX_BYTES {
            bail!("the file is too long: expected less than {} MiB", MAX_BYTES >> 20);
        }
        let line = row.position().map_or(0, csv::Position::line);
        let fields = places.map(|place| row.get(place).unwrap_or_default());
        let session = session(fields).with_context(|| format!("line {line}"))?;
        let Some((client, session)) = session else { continue };
        match sessions.entry(client) {
            Entry::Vacant(entry) => {
                entry.insert(session);
            }
            Entry::Occupied(entry) if *entry.get() == session => {}
            Entry::Occupied(_) => bail!("line {line}: expected one row for each client, but {client} has another"),
        }
    }
    Ok(sessions)
}

/// Returns the client and the session of a row; `None` if it has no TCP connection.
fn session(fields: [&[u8]; COLUMNS.len()]) -> anyhow::Result<Option<(Endpoint, KnownSession)>> {
    let [addr, port, user, database, application, process_id] = fields;
    // NULL: a background process, or one that the user may not see.
    if port.is_empty() || port == UNIX_SOCKET || addr.is_empty() {
        return Ok(None);
    }
    let port = text(port).parse().ok().filter(|port| *port > 0);
    let port = port.with_context(|| expected("client_port", "a number from 1 to 65535, or -1", fields[1]))?;
    let addr = address(&text(addr)).with_context(|| expected("client_addr", "an IP address", addr))?;
    let process_id = match process_id {
        [] => None,
        digits => {
            let number = text(digits).parse().ok().filter(|pid| *pid > 0);
            Some(number.with_context(|| expected("pid", "a number above 0", digits))?)
        }
    };
    let name = |name: &[u8]| (!name.is_empty()).then(|| name.to_vec());
    let session = KnownSession {
        user: name(user),
        database: name(database),
        // Empty is not NULL: it is the name of an application that has none.
        application: Some(application.to_vec()),
        process_id,
    };
    Ok(Some((Endpoint { addr, port }, session)))
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field.trim_ascii()).into_owned()
}

fn expected(column: &str, wanted: &str, had: &[u8]) -> String {
    format!("{column}: expected {wanted}, not {:?}", text(had))
}

/// Parses an address, without its zone or the length of its network, and as IPv4 where it stands for that.
fn address(text: &str) -> Option<IpAddr> {
    let (text, network) = text.split_once('/').unwrap_or((text, ""));
    let (text, _zone) = text.split_once('%').unwrap_or((text, ""));
    let addr: IpAddr = text.parse().ok()?;
    let is_host = match addr {
        IpAddr::V4(_) => matches!(network, "" | "32"),
        IpAddr::V6(_) => matches!(network, "" | "128"),
    };
    is_host.then(|| addr.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(rows: &str) -> Vec<(String, KnownSession)> {
        let mut known: Vec<_> = parse(rows.as_bytes()).unwrap().into_iter().collect();
        known.sort_by_key(|(client, _)| *client);
        known.into_iter().map(|(client, session)| (client.to_string(), session)).collect()
    }

    fn error(rows: &str) -> String {
        format!("{:#}", parse(rows.as_bytes()).unwrap_err())
    }

    #[test]
    fn columns_are_found_by_name() {
        let rows = "pid,datname,state,client_port,usename,application_name,client_addr\n\
                    7,shop,idle,5001,app,\"a, \"\"b\"\"\",10.0.0.1\n\
                    8,,active,5002,replica,,::1\n";
        let session = |user: &str, database: Option<&str>, application: &str, pid| KnownSession {
            user: Some(user.into()),
            database: database.map(Into::into),
            application: Some(application.into()),
            process_id: Some(pid),
        };
        assert_eq!(
            known(rows),
            [
                ("10.0.0.1:5001".to_owned(), session("app", Some("shop"), "a, \"b\"", 7)),
                ("[::1]:5002".to_owned(), session("replica", None, "", 8)),
            ]
        );
    }

    const HEADER: &str = "client_addr,client_port,usename,datname,application_name,pid\n";

    #[test]
    fn addresses_are_those_of_packets() {
        for (written, client) in [
            ("::ffff:10.0.0.1", "10.0.0.1:5001"),
            ("10.0.0.1/32", "10.0.0.1:5001"),
            ("fe80::1%eth0", "[fe80::1]:5001"),
            ("2001:db8::0001/128", "[2001:db8::1]:5001"),
        ] {
            let known = known(&format!("{HEADER}{written},5001,app,shop,x,7\n"));
            assert_eq!(known.iter().map(|(client, _)| client.as_str()).collect::<Vec<_>>(), [client]);
        }
    }

    #[test]
    fn sessions_without_a_tcp_connection_are_skipped() {
        assert_eq!(known(&format!("{HEADER},-1,app,shop,psql,7\n,,,,,9\n")), []);
        assert_eq!(known(HEADER), []);
    }

    #[test]
    fn errors_name_the_line_and_what_was_expected() {
        for (rows, wanted) in [
            (
                "",
                "line 1: expected a header with the columns client_addr, client_port, usename, datname, application_name, pid; client_addr is missing",
            ),
            ("client_addr,client_port,usename,datname,application_name\n", "; pid is missing"),
            (
                &format!("{HEADER}10.0.0.1,70000,a,b,c,7\n"),
                "line 2: client_port: expected a number from 1 to 65535, or -1, not \"70000\"",
            ),
            (
                &format!("{HEADER}10.0.0.1,5001,a,b,c,7\nhost,5001,a,b,c,7\n"),
                "line 3: client_addr: expected an IP address, not \"host\"",
            ),
            (
                &format!("{HEADER}10.0.0.0/8,5001,a,b,c,7\n"),
                "line 2: client_addr: expected an IP address, not \"10.0.0.0/8\"",
            ),
            (&format!("{HEADER}10.0.0.1,5001,a,b,c,x\n"), "line 2: pid: expected a number above 0, not \"x\""),
            (
                &format!("{HEADER}10.0.0.1,5001,a,b,c,7\n10.0.0.1,5001,z,b,c,8\n"),
                "line 3: expected one row for each client, but 10.0.0.1:5001 has another",
            ),
            (&format!("{HEADER}10.0.0.1,5001\n"), "line: 2"),
        ] {
            let error = error(rows);
            assert!(error.contains(wanted), "{error}");
        }
    }
}
