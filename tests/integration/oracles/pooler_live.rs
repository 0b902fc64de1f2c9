//! Many clients through a real PgBouncer, which ask for the same at the same time.
//!
//! Each transaction draws a number from a sequence: it is in the replies at both sides, and no two are the same. What comes before and
//! behind it in its transaction is next to it on the same connection to the server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::captures;
use crate::cli::live::{Server, announce, can_capture, free_port, interrupt};
use crate::command::{Folder, PATIENCE, Running, kill, parse, pgdissect};
use crate::oracles::pooler::{Lines, number, without_some};
use crate::stand_in;

/// Six requests a transaction of pgbench. All clients send the same text; parameters differ in some of them.
const SCRIPT: &str = "\\set id random(1, 50)
SELECT nextval('pool_seq');
BEGIN;
UPDATE pool_item SET n = n + 1 WHERE id = :id;
SELECT nextval('pool_seq');
COMMIT;
SELECT nextval('pool_seq'), :id::int + :client_id::int;
";

/// The last is the [stand-in](crate::stand_in), which prepares statements under names of its own.
const MODES: [(&str, &str); 4] =
    [("renamed", "prepared"), ("transaction", "simple"), ("transaction", "extended"), ("session", "prepared")];
const CLIENTS: u32 = 20;
const TRANSACTIONS: u32 = 60;

/// A PgBouncer of this test alone.
struct PgBouncer {
    process: Child,
    port: u16,
}

impl PgBouncer {
    fn start(folder: &Folder, server: &Server, mode: &str, pool_size: u32) -> Self {
        let port = free_port();
        let config = format!(
            "[databases]\nshop = host=127.0.0.1 port={} dbname=postgres user=postgres pool_mode={mode} pool_size={pool_size}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n\
             max_client_conn = 100\nignore_startup_parameters = extra_float_digits\n",
            server.port
        );
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.file("pgbouncer.ini");
        fs::write(&path, config).unwrap();
        // It refuses to run as root.
        let mut command = Command::new("pgbouncer");
        command.args(["-q", "-u", "postgres", &path]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "PgBouncer does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, port }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        kill("INT", self.process.id());
        std::thread::sleep(Duration::from_millis(200));
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns which request on a connection to the server is that of a client's, as the numbers in the replies tell; and what is next to
/// it in its transaction, where nothing is lost between them.
fn truth(lines: &Lines, is_server: impl Fn(&Value) -> bool, is_whole: bool) -> BTreeMap<(u64, u64), (u64, u64)> {
    let drawn = |value: &Value| {
        let [row] = lines.data.get(&number(value)).map_or(&[][..], Vec::as_slice) else { return None };
        let sql = value["sql"].as_str()?;
        sql.starts_with("SELECT nextval").then(|| row["values"][0].to_string())
    };
    let of_server: BTreeMap<_, _> =
        lines.queries.iter().filter(|query| is_server(query)).filter_map(|it| Some((drawn(it)?, number(it)))).collect();
    let sql: BTreeMap<_, _> =
        lines.queries.iter().filter_map(|query| Some((number(query), query["sql"].as_str()?))).collect();
    let mut truth = BTreeMap::new();
    for client in lines.queries.iter().filter(|query| !is_server(query)) {
        let Some((conn, query)) = drawn(client).and_then(|value| of_server.get(&value).copied()) else { continue };
        let (own, nth) = number(client);
        truth.insert((own, nth), (conn, query));
        if is_whole && client["tx"] == "in_transaction" {
            for (step, begins) in [(-2, "BEGIN"), (-1, "UPDATE"), (1, "COMMIT")] {
                let of = |number: (u64, u64)| (number.0, number.1.saturating_add_signed(step));
                let (at_client, at_server) = (of((own, nth)), of((conn, query)));
                let is_it = |number| sql.get(&number).is_some_and(|sql: &&str| sql.starts_with(begins));
                if is_it(at_client) && is_it(at_server) {
                    truth.insert(at_client, at_server);
                }
            }
        }
    }
    truth
}

/// Checks that no join is wrong, and returns how many there are, of how many.
fn check(lines: &Lines, is_server: impl Fn(&Value) -> bool, is_whole: bool, what: &str) -> (usize, usize) {
    let truth = truth(lines, &is_server, is_whole);
    let clients: Vec<_> = lines.queries.iter().filter(|query| !is_server(query)).collect();
    let mut joined = 0;
    for client in &clients {
        if let Some(upstream) = client.get("upstream") {
            joined += 1;
            if let Some(wanted) = truth.get(&number(client)) {
                assert_eq!(number(upstream), *wanted, "{what}: {client}");
            }
        }
    }
    (joined, clients.len())
}

#[test]
#[ignore = "needs root, a server and PgBouncer: run by .ci/slow"]
fn no_request_of_many_is_joined_with_that_of_another_client() {
    const TEST: &str = "oracles::pooler_live::no_request_of_many_is_joined_with_that_of_another_client";
    if !can_capture(TEST) {
        return;
    }
    if Command::new("pgbouncer").arg("--version").output().is_err() {
        return announce(&format!("SKIPPED: {TEST}: no pgbouncer"));
    }
    let server = match Server::start() {
        Ok(server) => server,
        Err(missing) => return announce(&format!("SKIPPED: {TEST}: {missing}")),
    };
    server.query("CREATE SEQUENCE pool_seq");
    server.query("CREATE TABLE pool_item (id int PRIMARY KEY, n int)");
    server.query("INSERT INTO pool_item SELECT i, 0 FROM generate_series(1, 50) i");
    let folder = Folder::new();
    let script = folder.file("script.sql");
    fs::write(&script, SCRIPT).unwrap();
    let mut all = (0, 0);
    for (mode, protocol) in MODES {
        let what = format!("{mode}, {protocol}");
        let pgbouncer = (mode != "renamed").then(|| PgBouncer::start(&folder, &server, mode, 3));
        let port = pgbouncer.as_ref().map_or_else(|| stand_in::start(server.port, 3), |pgbouncer| pgbouncer.port);
        let (output, capture) = (folder.file("lines.json"), folder.file("capture.pcap"));
        let pooler = format!("127.0.0.1:{port}");
        let ports = format!("-p{port},{}", server.port);
        let mut command = pgdissect(["-i", "lo", "-B65536", "-equery,message,stats", "--pooler", &pooler, &ports]);
        let mut running = Running::start(command.args(["-o", &output, "-w", &capture]));
        running.says("listening on");
        let mut pgbench = Command::new(Server::programs().unwrap().join("pgbench"));
        pgbench.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string(), "-n"]);
        pgbench.args([
            "-R",
            "400",
            "-c",
            &CLIENTS.to_string(),
            "-t",
            &TRANSACTIONS.to_string(),
            "-M",
            protocol,
            "-f",
            &script,
            "shop",
        ]);
        // Who connects or prepares a statement blocks its thread, while others may have the connection that it waits for.
        pgbench.args(["-j", &CLIENTS.to_string()]);
        // In session mode, a client keeps its connection: so that others have one, each transaction is a session.
        if mode == "session" {
            pgbench.arg("-C");
        }
        let result = pgbench.env("PGSSLMODE", "disable").output().unwrap();
        assert!(result.status.success(), "{what}: {}", String::from_utf8_lossy(&result.stderr));
        std::thread::sleep(Duration::from_millis(1_500));
        let said = interrupt(running).said;
        assert!(said.contains(" 0 dropped by kernel"), "{said}");
        drop(pgbouncer);

        let is_server = |query: &Value| query["server"].as_str().unwrap().ends_with(&format!(":{}", server.port));
        let lines = fs::read_to_string(&output).unwrap();
        let live = Lines::new(lines.lines().map(parse));
        if mode == "renamed" {
            let is_renamed =
                |query: &&Value| query["statement"].as_str().is_some_and(|it| it.starts_with("PGBOUNCER_"));
            let of_server: Vec<_> = live.queries.iter().filter(|query| is_server(query)).collect();
            assert!(of_server.len() > 7_000 && of_server.into_iter().all(|query| is_renamed(&query)), "{what}");
        }
        let (joined, requests) = check(&live, is_server, true, &what);
        all = (all.0 + joined, all.1 + requests);
        assert!(requests as u32 >= CLIENTS * TRANSACTIONS * 6, "{what}: {requests}");
        // Each session prepares its statements first.
        let tenths = if mode == "session" { 4 } else { 9 };
        let known = truth(&live, is_server, true).len();
        assert!(known >= requests * tenths / 10, "{what}: {known} of {requests}");
        // Parameters and replies differ in half of them; the others are those of transactions.
        assert!(joined * 100 >= requests * 99, "{what}: {joined} of {requests}");
        // The same, of the file, and of what is left of it.
        let (packets, damage) = captures::packets(&[Path::new(&capture).to_owned()]);
        assert_eq!(damage, [""; 0]);
        let whole = Lines::of(&packets, true, &pooler, server.port);
        assert!(check(&whole, is_server, true, &what).0 >= joined, "{what}: of the file");
        for (seed, one_of) in [(1, 1_000), (2, 200), (3, 50)] {
            let rest = without_some(&packets, seed, one_of);
            let lossy = Lines::of(&rest, true, &pooler, server.port);
            let (joined, requests) = check(&lossy, is_server, false, &format!("{what}, without one of {one_of}"));
            announce(&format!("{what}: without one packet of {one_of}, {joined} of {requests} are joined"));
        }
    }
    let (joined, requests) = all;
    announce(&format!("{joined} of {requests} requests were joined, none with another"));
    assert!(requests >= 20_000, "{requests}");
}
