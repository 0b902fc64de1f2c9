//! Encrypted sessions with a real server, decrypted live with a growing key log: steps of `live`.
//!
//! `openssl s_client` provides TLS like libpq, and writes the key log. The messages inside are created here.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cli::live::{Server, announce, count, free_port, interrupt, is_terminate};
use crate::command::{Folder, PATIENCE, Running};

const BY_REQUEST: &[&str] = &["-starttls", "postgres"];
const DIRECTLY: &[&str] = &["-alpn", "postgresql"];

pub(crate) fn keys_are_found_as_the_log_grows(server: &Server) {
    let Some(_) = certificate(server) else { return };
    let folder = Folder::new();
    let keys = folder.file("keys.log");
    // The file does not exist yet.
    let mut running = server.listen(["-i", "lo", "--keylog", &keys]);
    let sqls = ["SELECT 'tls 1'", "SELECT 'tls 2'", "SELECT 'tls 3'", "SELECT 'tls 4'"];
    // All at the same time, and in both versions.
    let clients = sqls.iter().zip(["-tls1_3", "-tls1_2"].iter().cycle());
    let clients = clients.map(|(sql, version)| Client::start(server.port, &keys, BY_REQUEST, version, sql));
    clients.collect::<Vec<_>>().into_iter().for_each(Client::finish);
    are_read(&mut running, &sqls);
    // Another file has its name by now, like after a rotation.
    let next = folder.file("next.log");
    Client::start(server.port, &next, BY_REQUEST, "-tls1_3", "SELECT 'tls 5'").finish();
    fs::rename(&next, &keys).unwrap();
    are_read(&mut running, &["SELECT 'tls 5'"]);
    interrupt(running);
}

pub(crate) fn keys_may_come_behind_the_end_of_their_session(server: &Server) {
    let Some(_) = certificate(server) else { return };
    let folder = Folder::new();
    let (written, next, followed) = (folder.file("written.log"), folder.file("next.log"), folder.file("followed.log"));
    fs::write(&followed, "# nothing yet\n").unwrap();
    let mut running = server.listen(["-i", "lo", "--keylog", &followed]);
    Client::start(server.port, &written, BY_REQUEST, "-tls1_3", "SELECT 'late 1'").finish();
    Client::start(server.port, &next, BY_REQUEST, "-tls1_2", "SELECT 'late 2'").finish();
    // Longer than segments of a reset connection are processed.
    std::thread::sleep(Duration::from_millis(1_500));
    let mut file = fs::OpenOptions::new().append(true).open(&followed).unwrap();
    for piece in fs::read(&written).unwrap().chunks(100) {
        std::thread::sleep(Duration::from_millis(5));
        file.write_all(piece).unwrap();
    }
    // It is rotated before its last line can have been read.
    fs::rename(&next, &followed).unwrap();
    are_read(&mut running, &["SELECT 'late 1'", "SELECT 'late 2'"]);
    interrupt(running);
}

pub(crate) fn a_large_result_right_behind_the_handshake_is_read(server: &Server) {
    let Some(_) = certificate(server) else { return };
    let folder = Folder::new();
    let keys = folder.file("keys.log");
    let mut running = server.listen(["-i", "lo", "-B", "65536", "--keylog", &keys]);
    // More than may be held for a key, at once.
    let sql = "SELECT repeat('large', 200) FROM generate_series(1, 4000)";
    Client::start(server.port, &keys, BY_REQUEST, "-tls1_3", sql).finish();
    let lines: Vec<_> = (0..2).flat_map(|_| running.lines_until(|line| line["type"] == "ReadyForQuery")).collect();
    assert!(lines.iter().all(|line| line["event"] == "message"), "nothing is lost");
    assert_eq!(lines.iter().filter(|line| line["type"] == "DataRow").count(), 4_000);
    interrupt(running);
}

pub(crate) fn direct_negotiation_is_read_as_well(server: &Server) {
    let Some([certificate, key]) = certificate(server) else { return };
    let folder = Folder::new();
    let keys = folder.file("keys.log");
    // Servers before PostgreSQL 17 do not support it, but proxies in front of them may.
    let port = free_port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-alpn", "postgresql", "-naccept", "1", "-accept", &port.to_string()]);
    command.arg("-cert").arg(certificate).arg("-key").arg(key);
    let mut front = Started::new(&mut command);
    let (mut from_client, mut to_client) = (front.0.stdout.take().unwrap(), front.0.stdin.take().unwrap());
    let mut from_server = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut to_server = from_server.try_clone().unwrap();
    let pumps = [
        std::thread::spawn(move || {
            pump(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(Shutdown::Both);
        }),
        std::thread::spawn(move || pump(&mut from_server, &mut to_client)),
    ];
    wait_until_it_listens(port);
    let mut running =
        Running::start(&mut crate::command::pgdissect(["-i", "lo", "--keylog", &keys, "-p", &port.to_string()]));
    running.says("listening on");
    let client = Client::start(port, &keys, DIRECTLY, "-tls1_3", "SELECT 'direct'");
    let lines = running.lines_until(is_terminate);
    assert_eq!(lines[0]["type"], "StartupMessage", "nothing is said in clear before it");
    assert_eq!(count(&lines, "SELECT 'direct'"), 1);
    assert!(lines.iter().all(|line| line["event"] == "message"), "nothing is lost");
    drop((client, front));
    pumps.into_iter().for_each(|pump| pump.join().unwrap());
    interrupt(running);
}

/// Returns the server's certificate and key, if it has TLS.
fn certificate(server: &Server) -> Option<&[PathBuf; 2]> {
    if server.certificate.is_none() {
        announce("SKIPPED: encrypted sessions: no openssl");
    }
    server.certificate.as_ref()
}

/// Waits for as many sessions as there are statements: each with its own statement and row, and without loss.
#[track_caller]
fn are_read(running: &mut Running, sqls: &[&str]) {
    // The server is ready at the beginning, and after the statement, which is its last message.
    let ready = (0..2 * sqls.len()).flat_map(|_| running.lines_until(|line| line["type"] == "ReadyForQuery"));
    let lines: Vec<_> = ready.collect();
    for sql in sqls {
        assert_eq!(count(&lines, sql), 1, "{sql}: {lines:?}");
    }
    assert_eq!(lines.iter().filter(|line| line["type"] == "DataRow").count(), sqls.len());
    assert!(lines.iter().all(|line| line["event"] == "message"), "nothing is lost: {lines:?}");
}

/// A process that is killed on drop.
struct Started(Child);

impl Started {
    fn new(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that starts a session, executes one statement, and ends the session.
struct Client(Started);

impl Client {
    fn start(port: u16, keys: &str, how: &[&str], version: &str, sql: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}"), "-keylogfile", keys, version]);
        let mut started = Started::new(command.args(how));
        // The server processes them in order.
        let startup = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00";
        let messages = [message(b"", startup), message(b"Q", &[sql.as_bytes(), b"\0"].concat()), message(b"X", b"")];
        // Its standard input ends here; it continues until the server ends the session.
        started.0.stdin.take().unwrap().write_all(&messages.concat()).unwrap();
        Self(started)
    }

    #[track_caller]
    fn finish(mut self) {
        let mut answer = Vec::new();
        self.0.0.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
        assert!(answer.windows(6).any(|window| window == b"Z\0\0\0\x05I"), "{}", answer.escape_ascii());
    }
}

fn message(tag: &[u8], body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(4 + body.len()).unwrap();
    [tag, &len.to_be_bytes(), body].concat()
}

/// Forwards bytes as long as they are accepted.
fn pump(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..size]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// Waits for a listener on a port without connecting to it.
fn wait_until_it_listens(port: u16) {
    let start = Instant::now();
    let is_there = |table: &&str| {
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().any(|line| line.contains(&format!(":{port:04X} ")) && line.contains(" 0A "))
    };
    while !["/proc/net/tcp", "/proc/net/tcp6"].iter().any(is_there) {
        assert!(start.elapsed() < PATIENCE, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
