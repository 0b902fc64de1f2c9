//! `-F text`: what a person sees, on a terminal and through a pipe.

use std::process::Command;

use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::command::{Outcome, Running, pgdissect, run, testdata};
use crate::hostile::fuzz_seeds::every_way;
use crate::terminal::{Terminal, plain, width};
use crate::wire::{From, Tcp, message, startup};

const PORTS: &str = "-p5415,5416,5432,6432";

/// Real traffic with long statements, wide characters, errors, losses, TLS, COPY.
const CAPTURES: [&str; 8] = [
    "psql-prefer/capture.pcap",
    "simple-query/capture.pcap",
    "extended-query/capture.pcap",
    "client-encodings/capture.pcap.gz",
    "copy-formats/capture.pcap",
    "loss/burst.pcap",
    "tls-no-keys/capture.pcap",
    "pipeline-error/capture.pcap",
];

const ALL: [&str; 2] = ["message,query,session,loss,stats", "query,session,loss,stats"];

fn text(args: &[&str]) -> Command {
    pgdissect([&[PORTS, "-F", "text"], args].concat())
}

#[track_caller]
fn piped(args: &[&str]) -> Vec<String> {
    let outcome = Running::start(&mut text(args)).finish();
    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""), "{args:?}");
    outcome.lines
}

/// Returns lines without those that precede the first of a record.
#[track_caller]
fn records(lines: &[String]) -> &[String] {
    assert!(lines[0].starts_with("times are "), "{lines:?}");
    assert_eq!(lines[1].len(), "2026-11-22".len(), "{lines:?}");
    &lines[2..]
}

#[test]
fn lines_fit_a_terminal_of_80_and_200_columns() {
    let mut has_wide_at_the_cut = false;
    for (capture, events) in CAPTURES.iter().flat_map(|capture| ALL.map(|events| (capture, events))) {
        let args = [capture, "-e", events];
        let whole = piped(&args);
        for columns in [80, 200] {
            let shown = Terminal::lines_of(columns, &mut text(&args));
            assert_eq!(shown.len(), whole.len(), "{args:?}");
            let (mut cut, columns) = (0, usize::from(columns));
            for (shown, whole) in shown.iter().zip(&whole) {
                let plain = plain(shown);
                assert!(width(&plain) <= columns, "{columns}: {} {plain}", width(&plain));
                if width(whole) > columns {
                    cut += 1;
                    assert!(plain.contains('…'), "{plain}");
                    // What is before the content is never cut.
                    assert_eq!(plain.get(..31), whole.get(..31), "{plain}");
                    let before = plain.split('…').next().unwrap();
                    has_wide_at_the_cut |= width(before) < before.len() && width(&plain) + 1 == columns;
                } else {
                    assert_eq!(&plain, whole);
                }
            }
            assert!(cut > 0 || columns > 80, "{args:?}: nothing is cut");
        }
    }
    assert!(has_wide_at_the_cut, "a wide character that has no room is left out");
}

#[test]
fn wrap_keeps_lines_whole_on_a_terminal() {
    for capture in CAPTURES {
        let args = [capture, "-e", ALL[0]];
        let shown = Terminal::lines_of(80, text(&args).arg("--wrap"));
        assert_eq!(shown.iter().map(|line| plain(line)).collect::<Vec<_>>(), piped(&args));
    }
}

#[test]
fn into_a_pipe_nothing_is_cut() {
    let lines = piped(&["value-1mb/capture.pcap.gz"]);
    let json = run([PORTS, "value-1mb/capture.pcap.gz", "-tDataRow"]).good();
    let values = json.iter().flat_map(|row| row["body"]["values"].as_array().unwrap()).filter_map(Value::as_str);
    let long: Vec<_> = values.filter(|value| value.len() > 1_000_000).collect();
    assert!(!long.is_empty() && long.iter().all(|value| lines.iter().any(|line| line.contains(value))));
    for capture in CAPTURES {
        assert!(!piped(&[capture, "-e", ALL[0]]).join("").contains('…'), "{capture}");
    }
    let statements = run([PORTS, "-e", "query", "loss/burst.pcap"]).good();
    let shown = piped(&["-e", "query", "loss/burst.pcap"]).join("\n");
    assert!(statements.iter().any(|query| query["sql"].as_str().unwrap().len() > 5_000));
    assert!(statements.iter().all(|query| shown.contains(query["sql"].as_str().unwrap())));
}

#[test]
fn lines_follow_a_terminal_that_is_resized() {
    let file = std::fs::read(testdata().join("extended-query/capture.pcap")).unwrap();
    let (first, second) = file.split_at(file.len() / 2);
    for jobs in ["-j1", "-j3"] {
        let mut terminal = Terminal::new(80);
        let mut running = terminal.start(text(&["-e", ALL[0], jobs, "-"]).stdin(std::process::Stdio::piped()));
        running.feed(first);
        let mut before = vec![terminal.line()];
        while !before.last().unwrap().contains('…') || before.len() < 40 {
            before.push(terminal.line());
        }
        assert!(before.iter().all(|line| width(&plain(line)) <= 80));
        terminal.resize(120);
        // It is asked for where the command waits for packets, or writes what it has.
        std::thread::sleep(std::time::Duration::from_millis(500));
        running.feed(second);
        running.hang_up();
        let after = terminal.rest();
        assert_eq!(running.finish().code, Some(0));
        let widest = after.iter().map(|line| width(&plain(line))).max();
        assert_eq!(widest, Some(120), "{jobs}: {after:?}");
    }
}

#[test]
fn the_duration_has_a_column_of_its_own() {
    const COLUMN: std::ops::Range<usize> = 20..31;
    for (capture, events) in
        CAPTURES.iter().flat_map(|capture| ["query,session", "message"].map(|kind| (capture, kind)))
    {
        let json = run([PORTS, capture, "-e", events]).good();
        let json = json.iter().filter(|line| line["type"] != "ParameterStatus");
        let lines = piped(&[capture, "-e", events]);
        let lines: Vec<_> = records(&lines).iter().filter(|line| !line.contains(" ParameterStatus  ")).collect();
        assert_eq!(json.clone().count(), lines.len(), "{capture}");
        for (json, line) in json.zip(lines) {
            let us = ["total_us", "age_us", "duration_us", "ready_us", "elapsed_us"].map(|name| json[name].as_u64());
            let us = if json["state"] == "ended" { us[2] } else { us.into_iter().flatten().next() };
            let wanted = us.map_or_else(String::new, |us| format!("{}.{:03}ms", us / 1_000, us % 1_000));
            assert_eq!(line[COLUMN], format!("{wanted:>11}"), "{line}\n{json}");
            let kind = &line[COLUMN.end + 1..];
            assert!(kind.starts_with(['Q', 'S', '[']), "{line}");
        }
    }
}

fn is_folded(line: &Value) -> bool {
    line["type"] == "ParameterStatus" && line["elapsed_us"].is_u64() && line.get("query").is_none()
}

#[test]
fn the_settings_of_a_session_are_one_line() {
    for capture in
        ["psql-prefer/capture.pcap", "cancel/capture.pcap", "mixed-10000/capture.pcap.zst", "protocol-32/capture.pcap"]
    {
        let json = run([PORTS, capture]).good();
        let settings = json.iter().filter(|line| is_folded(line));
        let mut wanted: Vec<(u64, Vec<&str>)> = Vec::new();
        for line in settings {
            let (conn, name) = (line["conn"].as_u64().unwrap(), line["body"]["name"].as_str().unwrap());
            match wanted.iter_mut().find(|(other, _)| *other == conn) {
                Some((_, names)) => names.push(name),
                None => wanted.push((conn, vec![name])),
            }
        }
        assert!(wanted.iter().all(|(_, names)| names.len() > 10), "{capture}");
        let lines = piped(&[capture]);
        let shown = lines.iter().filter(|line| line.contains(" ParameterStatus  ")).map(|line| {
            let (before, settings) = line.split_once(" ParameterStatus  ").unwrap();
            let conn = before.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
            (conn, settings.split('=').map(|name| name.rsplit(' ').next().unwrap()).collect::<Vec<_>>())
        });
        let mut shown: Vec<_> = shown.map(|(conn, names)| (conn, names[..names.len() - 1].to_vec())).collect();
        // What a statement changes has a line of its own, where it is.
        shown.retain(|(_, names)| names.len() > 1);
        assert_eq!(shown, wanted, "{capture}");
    }
}

/// The bytes of a capture file.
pub(super) fn pcap(packets: &[OwnedPacket]) -> Vec<u8> {
    let mut file = [&[0xd4_u8, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0, 0, 4, 0, 1, 0, 0, 0]].concat();
    for packet in packets {
        let (seconds, nanos) = packet.ts.parts();
        let len = packet.data.len() as u32;
        for field in [u32::try_from(seconds).unwrap(), nanos / 1_000, len, len] {
            file.extend(field.to_le_bytes());
        }
        file.extend(&packet.data);
    }
    file
}

#[test]
fn changes_say_what_was_not_sent_and_how_a_table_is_emptied() {
    let capture = "replication-pgoutput-v1/capture.pcap";
    let changes: Vec<Value> = crate::command::run(["-q", "-p", "5515", "-e", "change", capture]).values();
    let lines = crate::command::run(["-q", "-p", "5515", "-F", "text", "-e", "change", capture]).lines;
    let lines: Vec<&String> = lines.iter().filter(|line| line.contains("CHANGE")).collect();
    assert_eq!(lines.len(), changes.len());
    let (mut unchanged, mut emptied) = (0, 0);
    for (line, change) in lines.into_iter().zip(&changes) {
        let columns: Vec<&str> =
            change["unchanged"].as_array().into_iter().flatten().map(|column| column.as_str().unwrap()).collect();
        let wanted = format!("unchanged({})", columns.join(", "));
        assert_eq!(line.contains(&wanted), !columns.is_empty(), "{line}");
        unchanged += usize::from(!columns.is_empty());
        for (field, wanted) in [("cascade", "cascade"), ("restart_identity", "restart identity")] {
            let is_so = change["op"] == "truncate" && change[field] == true;
            assert_eq!(line.contains(wanted), is_so, "{line}");
            emptied += usize::from(is_so);
        }
    }
    assert!(unchanged > 3 && emptied > 3, "{unchanged} {emptied}");
}

fn setting(name: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0of it\0").as_bytes())
}

fn handshake(port: u16) -> Vec<OwnedPacket> {
    let request = Tcp::new(From::Client, 0, 0, b"").syn().without_ack().port(port);
    vec![request.at(0), Tcp::new(From::Server, 0, 1, b"").syn().port(port).at(0)]
}

/// Two sessions that begin at once; the settings of each come in two segments, by turns. The second never ends its login.
fn interleaved() -> Vec<u8> {
    let ok = message(b'R', &[0; 4]);
    let first = [ok.clone(), setting("a"), setting("b")].concat();
    let second = [setting("c"), setting("d"), message(b'Z', b"I"), setting("later")].concat();
    let mut packets = [40_001, 40_002].map(handshake).concat();
    for (port, at) in [(40_001, 0), (40_002, 10)] {
        packets.push(Tcp::new(From::Client, 1, 1, &startup()).port(port).at(at));
    }
    for (port, at) in [(40_001, 20), (40_002, 30)] {
        packets.push(Tcp::new(From::Server, 1, 1 + startup().len() as u32, &first).port(port).at(at));
    }
    let next = 1 + first.len() as u32;
    let acked = 1 + startup().len() as u32;
    packets.push(Tcp::new(From::Server, next, acked, &setting("c")).port(40_002).at(40));
    packets.push(Tcp::new(From::Server, next, acked, &second).port(40_001).at(50));
    pcap(&packets)
}

fn written(file: &[u8], args: &[&str]) -> Vec<String> {
    let written = every_way::check(file, &[&["-F", "text", "--utc"], args].concat());
    String::from_utf8(written.lines).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn settings_of_sessions_that_begin_at_once_are_a_line_each() {
    let lines = written(&interleaved(), &["-e", "message"]);
    let shown: Vec<_> = records(&lines).iter().map(|line| &line[7..]).collect();
    assert_eq!(
        shown,
        [
            "0.000000   1             [F2B] StartupMessage   3.0 user=app database=shop  10.0.0.1:40001 -> 10.0.0.2:5432",
            "0.000010   2             [F2B] StartupMessage   3.0 user=app database=shop  10.0.0.1:40002 -> 10.0.0.2:5432",
            "0.000020   1     0.020ms [B2F] AuthenticationOk",
            "0.000030   2     0.020ms [B2F] AuthenticationOk",
            "0.000050   1     0.050ms [B2F] ParameterStatus  a='of it' b='of it' c='of it' d='of it'",
            "0.000050   1     0.050ms [B2F] ReadyForQuery    idle",
            // One that is not of the beginning is not held, for what follows may be long in coming.
            "0.000050   1             [B2F] ParameterStatus  later='of it'",
            "0.000040   2     0.030ms [B2F] ParameterStatus  a='of it' b='of it' c='of it'",
        ]
    );
    // Only selected ones.
    let lines = written(&interleaved(), &["-t", "ParameterStatus"]);
    assert_eq!(records(&lines).len(), 3, "{lines:?}");
}

#[test]
fn a_limit_counts_messages_not_lines() {
    let settings = |count| {
        let lines = piped(&["psql-prefer/capture.pcap", "-c", count]);
        let lines = records(&lines);
        (lines.len(), lines.last().unwrap().matches('=').count())
    };
    // Two requests for TLS and its answer, the startup, AuthenticationOk, and as many settings as are left.
    assert_eq!(settings("4").0, 4);
    assert_eq!(settings("5"), (5, 1));
    assert_eq!(settings("10"), (5, 6));
    assert_eq!(settings("17").0, 5);
    assert_eq!(settings("18").0, 6);
    let lines = written(&interleaved(), &["-c", "7"]);
    let settings: Vec<_> = lines.iter().filter_map(|line| line.split_once("ParameterStatus")).collect();
    assert_eq!(settings.iter().map(|(_, settings)| settings.matches('=').count()).collect::<Vec<_>>(), [1, 2]);
}

/// The lines of settings of so many sessions, each with so many, that all stop before their line can be written.
fn settings_of(sessions: u16, settings: usize) -> Vec<String> {
    let many: Vec<u8> = (0..settings).flat_map(|number| setting(&format!("setting_{number}"))).collect();
    let reply = [message(b'R', &[0; 4]), many].concat();
    let sessions = (0..sessions).flat_map(|number| {
        let (port, at) = (41_000 + number, u64::from(number) * 100);
        let request = Tcp::new(From::Client, 1, 1, &startup()).port(port).at(at);
        let reply = Tcp::new(From::Server, 1, 1 + startup().len() as u32, &reply).port(port).at(at + 50);
        [handshake(port), vec![request, reply]].concat()
    });
    let lines = written(&pcap(&sessions.collect::<Vec<_>>()), &["-e", "message"]);
    lines.into_iter().filter(|line| line.contains("ParameterStatus")).collect()
}

#[test]
fn memory_for_settings_is_bounded() {
    let count = |lines: &[String]| lines.iter().map(|line| line.matches('=').count()).sum::<usize>();
    // More than is kept of one session.
    let lines = settings_of(10, 1_000);
    assert_eq!(count(&lines), 10_000, "none is lost");
    assert!((40..120).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| line.len() < 5_000));
    // More than is kept of all: the last have a line for each.
    let lines = settings_of(700, 100);
    assert_eq!(count(&lines), 70_000, "none is lost");
    assert!(lines.len() > 5_000, "{}", lines.len());
}

#[test]
fn times_are_local_and_the_zone_is_said_once() {
    let begins = |zone: &str, args: &[&str]| {
        let args = [&["-e", "query", "cancel/capture.pcap"], args].concat();
        let Outcome { lines, .. } = Running::start(text(&args).env("TZ", zone)).finish();
        assert_eq!(lines.iter().filter(|line| line.starts_with("times are ")).count(), 1, "{lines:?}");
        [lines[0].clone(), format!("{} {}", lines[1], &lines[2][..15])]
    };
    assert_eq!(begins("UTC", &[]), ["times are UTC", "2026-11-22 21:48:48.616911"]);
    let berlin = ["times are Europe/Berlin (UTC+01:00)", "2026-11-22 22:48:48.616911"];
    assert_eq!(begins("Europe/Berlin", &[]), berlin);
    assert_eq!(begins(":Europe/Berlin", &[]), berlin);
    assert_eq!(begins("Asia/Kathmandu", &[]), ["times are Asia/Kathmandu (UTC+05:45)", "2026-11-23 03:33:48.616911"]);
    assert_eq!(begins("CET-1CEST,M3.5.0,M10.5.0/3", &[]), ["times are CET (UTC+01:00)", "2026-11-22 22:48:48.616911"]);
    assert_eq!(begins("Europe/Berlin", &["--utc"]), ["times are UTC", "2026-11-22 21:48:48.616911"]);
    let json = pgdissect([PORTS, "cancel/capture.pcap"]).env("TZ", "Europe/Berlin").output().unwrap();
    assert!(String::from_utf8(json.stdout).unwrap().contains("T21:48:48.616911Z"), "JSON has UTC");
    // A zone that does not exist is said, not guessed.
    let unknown = Running::start(text(&["-c1", "cancel/capture.pcap"]).env("TZ", "Nowhere/Land")).finish();
    assert!(unknown.said.contains("Nowhere/Land") && unknown.said.contains("times are in UTC"), "{}", unknown.said);
    assert_eq!(unknown.lines[0], "times are UTC");
}

#[test]
fn a_day_that_begins_has_a_line_with_any_number_of_threads() {
    // In this zone midnight is between two requests of the capture.
    let of = |zone: &str, jobs: &str, events: &str| {
        Running::start(text(&["-e", events, jobs, "cancel/capture.pcap"]).env("TZ", zone)).finish().lines
    };
    for events in ALL {
        let lines = of("LMT-02:11:11", "-j1", events);
        let at = lines.iter().position(|line| line == "2026-11-23").expect("a line for the day");
        assert_eq!(lines.iter().filter(|line| !line.contains(' ')).count(), 2, "each day once: {lines:?}");
        assert!(lines[2..at].iter().all(|line| line.starts_with("23:59:59.")), "{lines:?}");
        assert!(lines[at + 1..].iter().all(|line| line.starts_with("00:00:00.")), "{lines:?}");
        for jobs in ["-j2", "-j4"] {
            assert_eq!(of("LMT-02:11:11", jobs, events), lines);
        }
    }
    // Where clocks change, the zone is said again.
    let lines = of("AAA0BBB-1,M11.4.0/21:48:49,M12.4.0", "-j2", "query");
    let at = lines.iter().position(|line| line == "times are BBB (UTC+01:00) from here on").expect("clocks change");
    assert_eq!(lines[..2], ["times are AAA (UTC+00:00)", "2026-11-22"]);
    assert!(lines[2..at].iter().all(|line| line.starts_with("21:48:48.")), "{lines:?}");
    assert!(lines[at + 1..].iter().all(|line| line.starts_with("22:48:49.")), "{lines:?}");
}

#[test]
fn text_is_the_same_with_any_number_of_threads() {
    for capture in ["mixed-10000/capture.pcap.zst", "driver-jdbc/capture.pcap.gz", "client-encodings/capture.pcap.gz"] {
        for args in [&["-e", ALL[0]][..], &["-e", ALL[1]], &["-c", "700"], &["-t", "ParameterStatus,Query"]] {
            // In this zone a day begins in the first capture.
            let of = |jobs| {
                let mut command = text(&[&[capture, jobs, "--least-in-parallel", "2"], args].concat());
                Running::start(command.env("TZ", "LMT-23:01:35")).finish().lines
            };
            let lines = of("-j1");
            assert!(lines.len() > 10, "{capture} {args:?}");
            assert_eq!(lines, of("-j4"), "{capture} {args:?}");
        }
    }
}

#[test]
fn what_is_skipped_or_midstream_is_seen_on_a_narrow_terminal() {
    let shown = |capture, events| -> Vec<String> {
        Terminal::lines_of(80, &mut text(&["-q", "-e", events, capture])).iter().map(|line| plain(line)).collect()
    };
    for (capture, word) in [
        ("pipeline-error/capture.pcap", "skipped"),
        ("loss/burst.pcap", "skipped"),
        ("tcp/midstream.pcap", "midstream"),
        ("loss/authentication.pcap", "midstream"),
        ("cases/pgbouncer-copy.pcap", "midstream"),
    ] {
        for events in ["query,session,loss", "message", "loss"] {
            let json = run([PORTS, "-q", "-e", events, capture]).values();
            let has = |line: &&Value| {
                let is = |value: &Value| value.as_str() == Some(word) || value.as_u64().is_some_and(|bytes| bytes > 0);
                line["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == word))
                    || ["outcome", "reason"].into_iter().any(|field| is(&line[field]) && !line[field].is_u64())
                    || (word == "skipped" && is(&line["skipped"]))
            };
            let wanted = json.iter().filter(has).count();
            let lines = shown(capture, events);
            // Not in the SQL.
            let forms =
                ["QUERY   skipped ", "[skipped", ", skipped", "captured byte skipped", "captured bytes skipped"];
            let forms = if word == "skipped" { &forms[..] } else { &[word] };
            let found = lines.iter().filter(|line| forms.iter().any(|form| line.contains(form))).count();
            assert_eq!(found, wanted, "{capture} {events}: {lines:#?}");
        }
    }
}

#[test]
fn tls_without_keys_is_encrypted_not_lost() {
    for capture in [
        "tls-no-keys/capture.pcap",
        "tls-direct/capture.pcap",
        "tls-unsupported/suite.pcap",
        "gssenc-granted/capture.pcap",
    ] {
        let lines = piped(&["-e", "loss", capture]);
        let records = records(&lines);
        assert!(records.len() > 1 && records.iter().all(|line| line.contains(" ENCRYPTED ")), "{lines:?}");
    }
    // With the keys there is neither, and what is missing is lost.
    let whole = ["tls-no-keys/capture.pcap", "--keylog", "tls-no-keys/keys.log", "-e", "loss"];
    if captures::testdata().join(whole[2]).exists() {
        assert!(piped(&whole).is_empty());
    }
    assert!(piped(&["-e", "loss", "loss/burst.pcap"]).iter().all(|line| !line.contains("ENCRYPTED")));
}
