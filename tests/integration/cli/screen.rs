//! The screen as a user has it, in a terminal.

use std::process::{Command, Stdio};

use pgdissect::{Event, Precision, Source, Timestamp, capture};

use super::text::pcap;
use crate::captures::OwnedPacket;
use crate::cli::live::{Server, announce};
use crate::command::{Folder, kill, run, testdata};
use crate::tmux::Terminal;
use crate::wire::{From, Tcp, message, startup};

const BINARY: &str = env!("CARGO_BIN_EXE_pgdissect");

/// Opens the screen of a capture, and waits for its end.
fn browse(test: &str, width: u16, height: u16, options: &str) -> Option<Terminal> {
    let terminal = Terminal::start(test, width, height)?;
    let capture = testdata().join("psql-prefer/capture.pcap");
    // SIGQUIT is to leave no file behind.
    terminal.runs(&format!("ulimit -c 0; {BINARY} -p 5415 -F top {options} {}; echo code=$?.", capture.display()));
    terminal.shows("  ended  ");
    Some(terminal)
}

#[test]
fn a_capture_is_browsed_from_the_list_to_the_bytes() {
    let Some(terminal) = browse("a_capture_is_browsed_from_the_list_to_the_bytes", 80, 24, "") else { return };
    terminal.types("2");
    terminal.shows("SELECT * FROM pg_stat");
    terminal.types("3");
    terminal.shows("app  shop");
    terminal.presses("Enter");
    terminal.shows("Connection 1  app@shop  psql");
    terminal.types("*");
    let ladder = terminal.shows("RowDescription │");
    assert!(ladder.contains("│ ◀───"), "{ladder}");
    terminal.types("gj");
    terminal.presses("Enter");
    terminal.shows("\"type\": \"SSLRequest\"");
    terminal.resizes(60, 12);
    terminal.shows("\"server\": ");
    terminal.types("qqq");
    terminal.shows("code=0.");
    terminal.checks_that_it_is_restored();
}

#[test]
fn the_capture_may_be_standard_input() {
    let Some(terminal) = Terminal::start("the_capture_may_be_standard_input", 80, 24) else { return };
    let capture = testdata().join("psql-prefer/capture.pcap");
    terminal.runs(&format!("cat {} | {BINARY} -p 5415 -F top -; echo code=$?.", capture.display()));
    terminal.shows("  ended  ");
    terminal.types("2");
    terminal.shows("SELECT * FROM pg_stat");
    terminal.types("q");
    terminal.shows("code=0.");
    terminal.checks_that_it_is_restored();
}

#[test]
fn a_terminal_is_no_capture() {
    let Some(terminal) = Terminal::start("a_terminal_is_no_capture", 120, 24) else { return };
    for format in ["top", "json"] {
        terminal.runs(&format!("clear; {BINARY} -F {format} -; echo code=$?."));
        let text = terminal.shows("code=2.");
        assert!(text.contains("standard input is a terminal"), "{text}");
    }
}

#[test]
fn a_pipe_from_a_live_capture_goes_by_the_clock() {
    let Some(terminal) = Terminal::start("a_pipe_from_a_live_capture_goes_by_the_clock", 100, 24) else { return };
    let startup = startup();
    let seq = 1 + u32::try_from(startup.len()).unwrap();
    let packets = [
        Tcp::new(From::Client, 0, 0, b"").syn().without_ack(),
        Tcp::new(From::Server, 0, 1, b"").syn(),
        Tcp::new(From::Client, 1, 1, &startup),
        Tcp::new(From::Server, 1, seq, &[message(b'R', &[0; 4]), message(b'Z', b"I")].concat()),
        Tcp::new(From::Client, seq, 16, &message(b'Q', b"SELECT pg_sleep(60)\0")),
    ];
    let now = jiff::Timestamp::now();
    let at = Timestamp::new(now.as_second(), now.subsec_nanosecond().unsigned_abs(), Precision::Micros);
    let packets = packets.map(|packet| OwnedPacket { ts: at, ..packet.at(0) });
    let directory = Folder::new();
    let file = directory.file("now.pcap");
    std::fs::write(&file, pcap(&packets)).unwrap();
    terminal.runs(&format!("(cat {file}; sleep 60) | {BINARY} -p 5432 -F top -; echo code=$?."));
    terminal.waits("an age of seconds", |screen| {
        let row = screen.lines().find(|line| line.contains("SELECT pg_sleep(60)")).unwrap_or_default();
        let age = row.split_whitespace().next().and_then(|age| age.strip_suffix("s"));
        age.and_then(|seconds| seconds.parse::<f64>().ok()).is_some_and(|seconds| seconds > 2.0)
    });
    terminal.types("q");
    terminal.presses("C-c");
    terminal.shows("code=");
}

#[test]
fn colors_are_as_asked_for() {
    let Some(terminal) = browse("colors_are_as_asked_for", 80, 24, "") else { return };
    assert!(terminal.colored().contains("\u{1b}[38;5;"), "{:?}", terminal.colored());
    terminal.types("q");
    let options = ["", "--color never", "--color always"];
    for option in options {
        let Some(terminal) = Terminal::start("colors_are_as_asked_for", 80, 24) else { return };
        let capture = testdata().join("psql-prefer/capture.pcap");
        terminal.runs(&format!("NO_COLOR=1 {BINARY} -p 5415 -F top {option} {}", capture.display()));
        terminal.shows("  ended  ");
        let has_color = terminal.colored().contains("\u{1b}[38;5;");
        assert_eq!(has_color, option == "--color always", "{option}: {:?}", terminal.colored());
    }
}

#[test]
fn a_signal_restores_the_terminal() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let Some(terminal) = browse("a_signal_restores_the_terminal", 80, 24, "") else { return };
        assert!(!terminal.is_restored());
        let parent = terminal.screen();
        assert!(parent.contains("Running"), "{parent}");
        kill(signal, terminal.foreground());
        terminal.shows("code=");
        terminal.checks_that_it_is_restored();
    }
}

#[test]
fn it_is_suspended_and_goes_on() {
    let Some(terminal) = browse("it_is_suspended_and_goes_on", 80, 24, "") else { return };
    terminal.presses("C-z");
    terminal.shows("Stopped");
    terminal.checks_that_it_is_restored();
    terminal.runs("fg");
    terminal.shows("1 Running");
    assert!(!terminal.is_restored(), "it is the screen's again");
    terminal.types("3");
    terminal.shows("app  shop");
    terminal.types("q");
    terminal.waits("the shell", |screen| !screen.contains("1 Running"));
    terminal.checks_that_it_is_restored();
}

#[test]
fn a_session_is_saved() {
    let Some(terminal) = browse("a_session_is_saved", 80, 24, "") else { return };
    let path = std::env::temp_dir().join(format!("pgdissect-screen-{}.jsonl", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let save = || {
        terminal.types("3s");
        terminal.shows("save to");
        terminal.presses("C-u");
        terminal.types(&path.display().to_string());
        terminal.presses("Enter");
    };
    save();
    terminal.shows("saved ");
    let saved = std::fs::read_to_string(&path).unwrap();
    let expected = std::fs::read_to_string(testdata().join("psql-prefer/expected.jsonl")).unwrap();
    let messages: Vec<_> = expected.lines().filter(|line| line.contains("\"event\":\"message\"")).collect();
    assert_eq!(saved.lines().collect::<Vec<_>>(), messages);
    // What is there is not overwritten.
    save();
    terminal.shows("exists");
    std::fs::remove_file(&path).unwrap();
    terminal.types("q");
}

/// A step of [`crate::cli::live::beside_a_real_server`].
pub(crate) fn what_hangs_is_found_beside_much_else(server: &Server) {
    let Some(terminal) = Terminal::start("what_hangs_is_found_beside_much_else", 100, 24) else { return };
    let postgres = |program: &str| {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p"]).arg(server.port.to_string());
        command.env("PGSSLMODE", "disable").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let Ok(made) = postgres("pgbench").args(["-i", "-s", "1", "postgres"]).status() else {
        return announce("SKIPPED: cli::screen::what_hangs_is_found_beside_much_else: no pgbench");
    };
    assert!(made.success());
    terminal.runs(&format!("{BINARY} -i lo -p {} -F top; echo code=$?.", server.port));
    terminal.shows("1 Running");
    let mut bench = postgres("pgbench").args(["-n", "-S", "-c", "4", "-T", "60", "postgres"]).spawn().unwrap();
    let mut hanging = postgres("psql").args(["-c", "SELECT pg_sleep(60), 'hanging'", "postgres"]).spawn().unwrap();
    // The oldest request is the first row, whatever else comes and goes below it.
    let oldest = |screen: &str| {
        let heading = screen.lines().position(|line| line.contains("STATE"))?;
        screen.lines().nth(heading + 1).map(str::to_owned)
    };
    let row =
        terminal.waits("the hanging request", |screen| oldest(screen).is_some_and(|row| row.contains("'hanging'")));
    let row = oldest(&row).unwrap();
    assert!(row.contains("waiting for server") && row.contains("postgres"), "{row}");
    // Its age goes on, though nothing comes from its server.
    terminal.waits("an age of seconds", |screen| oldest(screen).is_some_and(|row| row.trim_start().starts_with("2.")));
    terminal.types("2");
    terminal.shows("SELECT abalance FROM pgbench_accounts WHERE aid = $1");
    terminal.types("1");
    terminal.presses("Home");
    terminal.presses("Enter");
    terminal.shows("SELECT pg_sleep(60), 'hanging'");
    let path = std::env::temp_dir().join(format!("pgdissect-screen-{}.pcap", std::process::id()));
    let _ = std::fs::remove_file(&path);
    terminal.types("s");
    terminal.shows("save to");
    terminal.presses("C-u");
    terminal.types(&path.display().to_string());
    terminal.presses("Enter");
    terminal.shows("saved ");
    let lines = run(["-p", &server.port.to_string(), "-e", "query,session", &path.display().to_string()]).values();
    assert!(lines.iter().any(|line| line["sql"] == "SELECT pg_sleep(60), 'hanging'"), "{lines:?}");
    assert!(lines.iter().all(|line| line["conn"] == 1 && line["flags"].is_null()), "{lines:?}");
    std::fs::remove_file(&path).unwrap();
    terminal.types("qqq");
    terminal.shows("code=0.");
    terminal.checks_that_it_is_restored();
    for client in [&mut bench, &mut hanging] {
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn there_is_no_screen_without_a_terminal() {
    let capture = testdata().join("psql-prefer/capture.pcap");
    let output = Command::new(BINARY).args(["-p", "5415", "-F", "top"]).arg(capture).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("-F top draws on a terminal"));
    assert!(output.stdout.is_empty());
}

/// A source of packets that fails as nothing should.
struct Broken;

impl Source for Broken {
    fn next_event(&mut self) -> Result<Event<'_>, capture::Error> {
        std::thread::sleep(std::time::Duration::from_secs(1));
        panic!("a defect")
    }
}

/// Not a test of its own: the next one runs it in a terminal.
#[test]
#[ignore = "runs in a terminal of another test"]
fn panics_behind_a_screen() {
    let out = Box::new(std::io::sink());
    let _ = pgdissect::cli::dissect(&["-F", "top", "-j", "1"], Broken, out, &mut |_| {});
}

#[test]
fn a_panic_restores_the_terminal_before_its_message() {
    let Some(terminal) = Terminal::start("a_panic_restores_the_terminal_before_its_message", 80, 24) else { return };
    let tests = std::env::current_exe().unwrap();
    let options = "--exact cli::screen::panics_behind_a_screen --ignored --nocapture --test-threads 1";
    terminal.runs(&format!("RUST_BACKTRACE=0 {} {options}; echo code=$?.", tests.display()));
    terminal.shows("1 Running");
    assert!(!terminal.is_restored());
    let screen = terminal.shows("code=101.");
    assert!(screen.contains("a defect"), "the message is on the shell's screen: {screen}");
    terminal.checks_that_it_is_restored();
}
