//! Live capture on the loopback interface, with a real server and a real client.
//!
//! This needs root, a PostgreSQL server and psql. If they are missing, a message is printed to standard error. The server belongs
//! to this test alone, with its own data and port, and is stopped when the test ends in any way.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{live_replication, live_tls, screen};
use crate::command::{Folder, Outcome, PATIENCE, Running, kill, pgdissect, run, types};
use crate::network::Namespace;
use crate::terminal::{Terminal, plain};

/// Prints a message that is visible even if the test passes, unlike the output of print macros.
pub(crate) fn announce(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns whether a live test can run.
pub(crate) fn can_capture(test: &str) -> bool {
    let is_root = fs::read_to_string("/proc/self/status").is_ok_and(|status| user_ids(&status) == [0; 4]);
    // Root in a container may still lack the permission.
    let refused = is_root.then(|| run(["-i", "lo", "--duration", "1ms", "-q"])).filter(|tried| tried.code != Some(0));
    let reason = match refused {
        None if is_root => return true,
        None => "live capture needs root".to_owned(),
        Some(tried) => tried.said,
    };
    announce(&format!("SKIPPED: {test}: {}", reason.trim_end()));
    false
}

/// Returns the real, effective, saved and file system user IDs of a process.
fn user_ids(status: &str) -> Vec<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    ids.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// Returns the user and group IDs of a name.
fn account(name: &str) -> Option<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
    Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
}

/// Returns a port without a listener.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A PostgreSQL server for this test alone.
pub(crate) struct Server {
    postgres: Child,
    pub(crate) port: u16,
    /// The paths of its certificate and key, if it has TLS.
    pub(crate) certificate: Option<[PathBuf; 2]>,
    _folder: Folder,
}

impl Server {
    /// Starts a server, or describes what is missing.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_at(None)
    }

    /// Starts a server in a network namespace, with access by other hosts.
    pub(crate) fn start_in(namespace: &Namespace) -> Result<Self, String> {
        Self::start_at(Some(namespace))
    }

    fn start_at(namespace: Option<&Namespace>) -> Result<Self, String> {
        let programs = Self::programs().ok_or("no PostgreSQL server under /usr/lib/postgresql")?;
        let (uid, gid) = account("postgres").or_else(|| account("nobody")).ok_or("no user for the server")?;
        if !Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Err("no psql".to_owned());
        }
        let folder = Folder::new();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        chown(&data, Some(uid), Some(gid)).unwrap();
        let as_its_user = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.uid(uid).gid(gid).current_dir(folder.path()).env("LC_ALL", "C").arg("-D").arg(&data);
            command.stdin(Stdio::null());
            command
        };

        let initdb = as_its_user("initdb").args("-U postgres -A trust -E UTF8 --no-sync".split(' ')).output().unwrap();
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        if namespace.is_some() {
            let mut access = fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf")).unwrap();
            access.write_all(b"host all all samenet trust\n").unwrap();
        }
        let certificate = make_certificate(&data, uid, gid);
        let ssl = if certificate.is_some() { "ssl=on" } else { "ssl=off" };
        let log = folder.path().join("log");
        // Another process may take the port in the meantime.
        for _ in 0..5 {
            let port = free_port();
            let mut server = as_its_user("postgres");
            if let Some(namespace) = namespace {
                // As root into the namespace, and from there on as its user.
                let mut inside = Command::new("nsenter");
                inside.arg(format!("--net={}", namespace.path().display()));
                inside.args([format!("--setuid={uid}"), format!("--setgid={gid}"), "--".to_owned()]);
                inside
                    .arg(programs.join("postgres"))
                    .arg("-D")
                    .arg(&data)
                    .current_dir(folder.path())
                    .env("LC_ALL", "C");
                server = inside;
                server.stdin(Stdio::null());
            }
            let address = if namespace.is_some() { "*" } else { "127.0.0.1" };
            server.args(["-p", &port.to_string(), "-k", "", "-F", "-c", &format!("listen_addresses={address}")]);
            server.args(["-c", "shared_buffers=16MB", "-c", "max_connections=20", "-c", "wal_level=logical"]);
            server.args(["-c", "max_prepared_transactions=2", "-c", "logical_decoding_work_mem=64kB", "-c", ssl]);
            server.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
            let mut postgres = server.spawn().unwrap();
            let start = Instant::now();
            while start.elapsed() < PATIENCE && postgres.try_wait().unwrap().is_none() {
                let mut probe = psql(port, "SELECT 1");
                if let Some(namespace) = namespace {
                    let (args, inside) = (probe, namespace.command("psql"));
                    probe = inside;
                    probe.args(args.get_args()).env("PGSSLMODE", "disable").stdout(Stdio::null()).stderr(Stdio::null());
                }
                if probe.status().unwrap().success() {
                    return Ok(Self { postgres, port, certificate, _folder: folder });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = postgres.kill();
            let _ = postgres.wait();
        }
        panic!("the server does not start: {}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// Returns the folder of the newest server's programs.
    pub(crate) fn programs() -> Option<PathBuf> {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
        folders.filter(|folder| folder.join("initdb").exists() && folder.join("postgres").exists()).max()
    }

    /// Returns its port as an argument.
    pub(crate) fn port(&self) -> String {
        format!("-p{}", self.port)
    }

    /// Runs a psql session with one statement.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) {
        let output = psql(self.port, sql).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts pgdissect and returns once it listens.
    #[track_caller]
    pub(crate) fn listen<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Running {
        let mut running = Running::start(pgdissect(args).arg(self.port()));
        running.says("listening on");
        running
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT requests a fast shutdown. A server that ignores it is killed.
        kill("INT", self.postgres.id());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if self.postgres.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.postgres.kill();
        let _ = self.postgres.wait();
    }
}

/// Creates a certificate and key where the server accepts them; `None` without openssl.
fn make_certificate(data: &Path, uid: u32, gid: u32) -> Option<[PathBuf; 2]> {
    let files = ["server.crt", "server.key"].map(|name| data.join(name));
    let mut openssl = Command::new("openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost".split(' '));
    openssl.arg("-out").arg(&files[0]).arg("-keyout").arg(&files[1]);
    let status = openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    assert!(status.success(), "openssl makes no certificate");
    for file in &files {
        chown(file, Some(uid), Some(gid)).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    Some(files)
}

/// Unencrypted, even if the server has TLS.
fn psql(port: u16, sql: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p"]).arg(port.to_string());
    command.args(["-c", sql]).env("PGCONNECT_TIMEOUT", "60").env("PGSSLMODE", "disable");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn is_terminate(line: &Value) -> bool {
    line["type"] == "Terminate"
}

/// Returns how often a statement was captured.
pub(crate) fn count(lines: &[Value], sql: &str) -> usize {
    lines.iter().filter(|line| line["type"] == "Query" && line["body"]["query"] == sql).count()
}

/// Ends a capture like Ctrl-C, and checks its messages.
#[track_caller]
pub(crate) fn interrupt(running: Running) -> Outcome {
    running.signal("INT");
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    assert!(outcome.said.contains(" dropped by kernel, "), "no summary: {}", outcome.said);
    outcome
}

#[test]
#[expect(clippy::print_stdout, reason = "where a step fails, the test's output says which")]
fn beside_a_real_server() {
    if !can_capture("cli::live::beside_a_real_server") {
        return;
    }
    let server = match Server::start() {
        Ok(server) => server,
        Err(missing) => return announce(&format!("SKIPPED: live::beside_a_real_server: {missing}")),
    };
    // One after the other, because each captures all traffic on the server's port.
    for (name, step) in [
        ("messages_come_while_it_listens", messages_come_while_it_listens as fn(&Server)),
        ("any_shows_each_message_once", any_shows_each_message_once),
        ("text_on_a_terminal_has_no_messages", text_on_a_terminal_has_no_messages),
        ("it_stops_after_so_many_messages", it_stops_after_so_many_messages),
        ("it_stops_after_a_time", it_stops_after_a_time),
        ("packets_are_kept_while_it_listens", packets_are_kept_while_it_listens),
        ("root_is_given_up", root_is_given_up),
        ("files_are_opened_before_root_is_given_up", files_are_opened_before_root_is_given_up),
        ("counters_come_from_the_kernel", counters_come_from_the_kernel),
        ("a_summary_covers_the_whole_run_and_its_interval", a_summary_covers_the_whole_run_and_its_interval),
        ("what_runs_is_shown_while_the_server_is_silent", what_runs_is_shown_while_the_server_is_silent),
        ("what_hangs_is_found_beside_much_else", screen::what_hangs_is_found_beside_much_else),
        ("changes_give_the_tables_of_the_publisher", live_replication::changes_give_the_tables_of_the_publisher),
        ("a_snap_length_is_a_loss", a_snap_length_is_a_loss),
        ("a_filter_is_added_to_the_ports", a_filter_is_added_to_the_ports),
        ("a_closed_output_is_a_quiet_end", a_closed_output_is_a_quiet_end),
        ("keys_are_found_as_the_log_grows", live_tls::keys_are_found_as_the_log_grows),
        ("keys_may_come_behind_the_end_of_their_session", live_tls::keys_may_come_behind_the_end_of_their_session),
        (
            "a_large_result_right_behind_the_handshake_is_read",
            live_tls::a_large_result_right_behind_the_handshake_is_read,
        ),
        ("direct_negotiation_is_read_as_well", live_tls::direct_negotiation_is_read_as_well),
    ] {
        println!("{name}");
        step(&server);
    }
}

fn messages_come_while_it_listens(server: &Server) {
    let mut running = server.listen(["-i", "lo"]);
    server.query("SELECT 'one' AS word, 2 AS number");
    let lines = running.lines_until(is_terminate);
    assert!(running.is_alive());
    assert_eq!(count(&lines, "SELECT 'one' AS word, 2 AS number"), 1);
    let row = lines.iter().find(|line| line["type"] == "DataRow").unwrap();
    assert_eq!(row["body"]["values"], serde_json::json!(["one", 2]));
    assert_eq!(row["server"], format!("127.0.0.1:{}", server.port));
    for wanted in ["StartupMessage", "AuthenticationOk", "RowDescription", "CommandComplete", "ReadyForQuery"] {
        assert!(types(&lines).contains(&wanted), "{wanted} is missing: {:?}", types(&lines));
    }
    let outcome = interrupt(running);
    assert!(outcome.lines.is_empty(), "{:?}", outcome.lines);
    assert!(outcome.said.contains(&format!("{} messages on 1 connection;", lines.len())), "{}", outcome.said);
}

fn any_shows_each_message_once(server: &Server) {
    let mut running = server.listen(["-i", "any"]);
    server.query("SELECT 'any'");
    let lines = running.lines_until(is_terminate);
    assert_eq!(count(&lines, "SELECT 'any'"), 1);
    let count = |name| types(&lines).into_iter().filter(|found| *found == name).count();
    assert_eq!([count("StartupMessage"), count("DataRow"), count("CommandComplete")], [1, 1, 1]);
    assert!(lines.iter().all(|line| line["event"] == "message"), "nothing is lost");
    assert!(interrupt(running).lines.is_empty(), "nor does anything come again");
}

fn text_on_a_terminal_has_no_messages(server: &Server) {
    let mut terminal = Terminal::new(80);
    let shown = |args: &[&str]| {
        let mut running = terminal.start(pgdissect([&["-i", "lo", "-F", "text"], args].concat()).arg(server.port()));
        running.says("listening on");
        server.query("SELECT 'watched'");
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("Terminate") || line.contains("ended by")) {
            lines.push(plain(&terminal.line()));
        }
        interrupt(running);
        lines
    };
    let kinds = |lines: &[String]| {
        lines
            .iter()
            .map(|line| {
                line.split(' ')
                    .find(|word| ["QUERY", "SESSION", "[F2B]", "[B2F]"].contains(word))
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    let lines = shown(&[]);
    assert_eq!(kinds(&lines)[2..], ["SESSION", "QUERY", "SESSION"], "{lines:?}");
    assert!(lines[3].contains(" SELECT 'watched'  SELECT 1  "), "{lines:?}");
    // Unless messages are asked for, or wanted by their type.
    for args in [&["-e", "message"][..], &["-t", "Query,Terminate"]] {
        let lines = shown(args);
        assert!(kinds(&lines)[2..].iter().all(|kind| kind.starts_with('[')), "{lines:?}");
    }
    assert!(terminal.rest().is_empty());
}

fn it_stops_after_so_many_messages(server: &Server) {
    let running = server.listen(["-i", "lo", "-t", "query", "-c", "2"]);
    for sql in ["SELECT 'c1'", "SELECT 'c2'", "SELECT 'c3'"] {
        server.query(sql);
    }
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    let lines = outcome.values();
    assert_eq!((lines.len(), count(&lines, "SELECT 'c1'"), count(&lines, "SELECT 'c2'")), (2, 1, 1));
}

fn it_stops_after_a_time(server: &Server) {
    let start = Instant::now();
    let running = server.listen(["-i", "lo", "--duration", "1s", "-e", "message,stats"]);
    server.query("SELECT 'duration'");
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(outcome.values().last().unwrap()["event"], "stats", "it ends in good order");
}

fn packets_are_kept_while_it_listens(server: &Server) {
    let folder = Folder::new();
    let kept = folder.file("kept.pcap");
    let mut running = server.listen(["-i", "lo", "-w", &kept]);
    // A capture without packets is valid, too.
    let before = run([&server.port(), "-estats", &kept]).good();
    assert_eq!(before[0]["packets"], 0);
    server.query("SELECT 'kept'");
    let lines = running.lines_until(is_terminate);

    // It can be read while it is written: it contains the packets of the lines so far, or will soon.
    let start = Instant::now();
    loop {
        let read = run([&server.port(), "-q", &kept]);
        if read.values().last().is_some_and(is_terminate) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "what was shown is not in the file");
    }
    interrupt(running);
    assert_eq!(run([&server.port(), &kept]).good(), lines);
    // As standard input, because tcpdump drops root privileges and may lack permission for the folder.
    let file = fs::File::open(&kept).unwrap();
    if let Ok(tcpdump) = Command::new("tcpdump").args(["-n", "-r", "-"]).stdin(file).output() {
        assert!(tcpdump.status.success(), "tcpdump: {}", String::from_utf8_lossy(&tcpdump.stderr));
        let packets = run([&server.port(), "-estats", &kept]).good()[0]["packets"].as_u64().unwrap();
        assert_eq!(String::from_utf8_lossy(&tcpdump.stdout).lines().count() as u64, packets);
    }
}

fn root_is_given_up(server: &Server) {
    let Some((nobody, _)) = account("nobody") else { return announce("SKIPPED: -Z nobody: no user nobody") };
    let folder = Folder::new();
    chown(folder.path(), Some(nobody), None).unwrap();
    let kept = folder.path().join("kept.pcap");
    let mut running = server.listen([
        OsStr::new("-i"),
        "lo".as_ref(),
        "-Z".as_ref(),
        "nobody".as_ref(),
        "-w".as_ref(),
        kept.as_ref(),
    ]);
    server.query("SELECT 'nobody'");
    assert_eq!(count(&running.lines_until(is_terminate), "SELECT 'nobody'"), 1);
    // In every thread.
    for thread in fs::read_dir(format!("/proc/{}/task", running.id())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert_eq!(user_ids(&status), [nobody; 4], "{status}");
        let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
        assert_eq!(capabilities.trim().trim_start_matches('0'), "", "no capability is left");
    }
    interrupt(running);
    assert_eq!(fs::metadata(&kept).unwrap().uid(), nobody, "files are the user's");
}

fn files_are_opened_before_root_is_given_up(server: &Server) {
    let Some((nobody, group)) = account("nobody") else { return announce("SKIPPED: -Z nobody: no user nobody") };
    // Only root has access.
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let [lines, kept, keys] = ["lines.jsonl", "kept.pcap", "keys.log"].map(|name| folder.file(name));
    fs::write(&keys, "# nothing yet\n").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let listen = || server.listen(["-i", "lo", "-Z", "nobody", "-o", &lines, "-w", &kept, "--keylog", &keys]);
    let count_in = |sql: &str| fs::read_to_string(&lines).unwrap().lines().filter(|line| line.contains(sql)).count();
    let owner = |path: &str| fs::metadata(path).map(|file| (file.uid(), file.gid())).unwrap();

    let mut running = listen();
    // An open file is still read, but may fail to be reopened.
    running.says("keys.log: it cannot be reopened after a rotation: Permission denied");
    server.query("SELECT 'into a folder of root'");
    let start = Instant::now();
    while count_in("Terminate") == 0 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(running);
    assert_eq!(count_in("\"query\":\"SELECT 'into a folder of root'\""), 1);
    assert_eq!((owner(&lines), owner(&kept)), ((nobody, group), (nobody, group)));
    assert_eq!(owner(&keys), (0, 0), "what is only read stays whose it is");
    let read = run([&server.port(), "-tQuery", &kept]).good();
    assert_eq!(count(&read, "SELECT 'into a folder of root'"), 1);

    // An existing file is truncated, and keeps its owner.
    chown(&lines, Some(0), Some(0)).unwrap();
    interrupt(listen());
    assert_eq!((count_in("Query"), owner(&lines), owner(&kept)), (0, (0, 0), (nobody, group)));

    // With an unknown user, no file is created.
    let other = folder.file("other.jsonl");
    let outcome = run(["-i", "lo", "-Z", "nosuchuser", "-o", &other]);
    assert_eq!((outcome.code, Path::new(&other).exists()), (Some(2), false), "{}", outcome.said);
}

fn counters_come_from_the_kernel(server: &Server) {
    let mut running = server.listen(["-i", "lo", "-e", "stats", "--stats-interval", "50ms"]);
    server.query("SELECT 'stats'");
    let lines = running.lines_until(|line| line["messages"].as_u64() > Some(5) && line["open_connections"] == 0);
    for line in &lines {
        assert_eq!(line["event"], "stats");
    }
    let last = interrupt(running).values().pop().unwrap();
    let packets = last["packets"].as_u64().unwrap();
    assert!(packets > 0 && last["kernel"]["received"].as_u64() >= Some(packets), "{last}");
    assert_eq!((&last["kernel"]["dropped"], &last["kernel"]["interface_dropped"]), (&0.into(), &0.into()));
}

fn a_summary_covers_the_whole_run_and_its_interval(server: &Server) {
    let mut running = server.listen(["-i", "lo", "-e", "summary", "--stats-interval", "100ms"]);
    server.query("SELECT 'first'");
    running.lines_until(|line| line["totals"]["requests"] == 1);
    server.query("SELECT 'second'");
    let last = interrupt(running).values().pop().unwrap();
    assert_eq!((&last["totals"]["requests"], &last["totals"]["sessions"]), (&2.into(), &2.into()));
    assert!(last["interval"]["requests"].as_u64() < Some(2), "{last}");
    assert_eq!(last["statements"][0]["normalized"], "SELECT $1");
    assert!(last["capture"]["kernel"]["received"].as_u64() > Some(0), "{last}");
}

fn what_runs_is_shown_while_the_server_is_silent(server: &Server) {
    let mut running = server.listen(["-i", "lo", "-e", "running,summary", "--stats-interval", "50ms"]);
    let mut client = psql(server.port, "SELECT pg_sleep(60)").spawn().unwrap();
    let lines = running.lines_until(|line| line["age_us"].as_u64() > Some(500_000));
    let lines: Vec<_> = lines.iter().filter(|line| line["event"] == "running").collect();
    let ages: Vec<_> = lines.iter().map(|line| line["age_us"].as_u64().unwrap()).collect();
    assert!(ages.len() > 3 && ages.is_sorted(), "nothing was captured, and its age goes on: {ages:?}");
    for line in lines {
        assert_eq!((&line["sql"], &line["state"]), (&"SELECT pg_sleep(60)".into(), &"waiting_for_server".into()));
    }
    // A summary has the same.
    let summary = running.lines_until(|line| line["running"][0]["age_us"].as_u64() > Some(500_000)).pop().unwrap();
    assert_eq!(summary["running"][0]["sql"], "SELECT pg_sleep(60)");
    client.kill().unwrap();
    client.wait().unwrap();
    // The server notices that its client is gone when it has slept: until then the request is not over.
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'");
    running.lines_until(|line| line["event"] == "summary" && line["running"] == serde_json::json!([]));
    interrupt(running);
}

fn a_snap_length_is_a_loss(server: &Server) {
    let mut running = server.listen(["-i", "lo", "-s", "120"]);
    server.query("SELECT repeat('long ', 1000)");
    let lines = running.lines_until(is_terminate);
    assert!(lines.iter().any(|line| line["event"] == "loss" && line["reason"] == "snaplen"), "{lines:?}");
    interrupt(running);
}

fn a_filter_is_added_to_the_ports(server: &Server) {
    let running = server.listen(["-i", "lo", "-f", "host 127.0.0.2", "-e", "message,stats"]);
    server.query("SELECT 'not for you'");
    let lines = interrupt(running).values();
    assert_eq!((lines.len(), &lines[0]["packets"]), (1, &0.into()));
}

fn a_closed_output_is_a_quiet_end(server: &Server) {
    // Without any message to write, a closed pipe has to be detected without a write.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = pgdissect(["-q", "-i", "lo", &server.port(), "--duration", "1h"]);
    let running = Running::start_into(writer, &mut command);
    let outcome = running.finish();
    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_listened_on_is_named() {
    if !can_capture("cli::live::what_cannot_be_listened_on_is_named") {
        return;
    }
    for (args, wanted) in [
        (&["-i", "nosuch0"][..], "pgdissect: nosuch0: no such interface; pgdissect -D lists them\n"),
        (
            &["-i", "lo", "-f", "tcp prt 3"],
            "pgdissect: filter \"tcp prt 3\": can't parse filter expression: syntax error\n",
        ),
        (&["-i", "lo", "-Z", "nosuchuser"], "pgdissect: cannot become user nosuchuser: there is no such user\n"),
        (
            &["-i", "lo", "-w", "/nosuch/x.pcap"],
            "pgdissect: /nosuch/x.pcap: cannot be written: No such file or directory",
        ),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2), "{}", outcome.said);
        assert!(outcome.said.starts_with(wanted), "{}", outcome.said);
        assert!(outcome.lines.is_empty());
    }
    let listed = run(["-D"]);
    assert!(listed.code == Some(0) && listed.lines.iter().any(|line| line.contains(".lo ")), "{listed:?}");
}

#[test]
fn without_the_right_to_capture_the_remedy_is_named() {
    if !can_capture("cli::live::without_the_right_to_capture_the_remedy_is_named") {
        return;
    }
    let Some((uid, gid)) = account("nobody") else { return announce("SKIPPED: no permission: no user nobody") };
    // Other users may lack access to the build folder.
    let folder = Folder::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("pgdissect");
    // Not copied by this process, because a child of another thread could still have it open for writing when it is executed.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_pgdissect")).arg(&program).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(&program);
        Running::start(command.args(args).uid(uid).gid(gid).current_dir(Path::new("/")).stdin(Stdio::null())).finish()
    };
    let outcome = as_nobody(&["-i", "lo"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.said.starts_with("pgdissect: lo: you don't have permission to capture on it"), "{}", outcome.said);
    assert!(outcome.said.contains("sudo setcap cap_net_raw"), "{}", outcome.said);
    let outcome = as_nobody(&["-i", "nosuch0"]);
    assert_eq!(outcome.said, "pgdissect: nosuch0: no such interface; pgdissect -D lists them\n");
}

#[test]
fn other_traffic_on_the_port_is_not_postgresql() {
    if !can_capture("cli::live::other_traffic_on_the_port_is_not_postgresql") {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut running = Running::start(&mut pgdissect(["-i", "lo", "-p", &address.port().to_string()]));
    running.says(&format!("listening on lo for PostgreSQL on port {}", address.port()));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let loss = running.lines_until(|_| true).pop().unwrap();
    assert_eq!((&loss["event"], &loss["reason"]), (&"loss".into(), &"not_postgresql".into()));
    interrupt(running);
}
