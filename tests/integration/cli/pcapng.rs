//! Packets written as pcapng, with `-w` and `--extract`. tshark reads them as well, where it is installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pgdissect::capture::InterfaceDescription;
use pgdissect::{Event, FileSource, Precision, Source};

use crate::cli::live::{Server, announce, can_capture, interrupt};
use crate::command::{Folder, Outcome, Running, pgdissect, run, testdata};

const PORTS: &str = "-p5415,5432,5416,6432";

/// Two interfaces without names, with different link types, by turns.
const TWO_LINK_TYPES: &str = "formats/two-interfaces-split.pcapng";

/// Each packet from `lo` and from `any`, with nanoseconds.
const NAMED: &str = "formats/two-interfaces.pcapng";

/// A packet, and its interface's name and resolution.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    nanos: i64,
    is_nanos: bool,
    link: u16,
    orig_len: u32,
    data: Vec<u8>,
    name: Option<String>,
    resolution: Option<u8>,
}

/// Returns the packets of a file, and the key logs that it contains.
fn read(file: impl Into<PathBuf>) -> (Vec<Packet>, String) {
    let mut source = FileSource::new(vec![file.into()], Arc::default());
    let interfaces = source.interfaces();
    let (mut packets, mut key_log) = (Vec::new(), String::new());
    loop {
        match source.next_event().unwrap() {
            Event::Packet(packet) => {
                let InterfaceDescription { name, resolution, .. } = interfaces.description(packet.interface);
                packets.push(Packet {
                    nanos: packet.ts.as_nanos(),
                    is_nanos: packet.ts.precision() == Precision::Nanos,
                    link: packet.link.0,
                    orig_len: packet.orig_len,
                    data: packet.data.to_vec(),
                    name,
                    resolution,
                });
            }
            Event::KeyLog(log) => {
                assert!(packets.is_empty(), "secrets are before packets");
                key_log += std::str::from_utf8(log).unwrap();
            }
            Event::Idle => {}
            Event::End => return (packets, key_log),
        }
    }
}

/// Returns the packets of captures, as a pcapng file has them: the interfaces of a pcap file have no names, but a resolution.
fn expected(captures: &[&str]) -> Vec<Packet> {
    let mut packets: Vec<_> = captures.iter().flat_map(|capture| read(testdata().join(capture)).0).collect();
    for packet in &mut packets {
        packet.resolution = packet.resolution.or(Some(if packet.is_nanos { 9 } else { 6 }));
    }
    packets
}

/// Returns what tshark shows of a file with these arguments; `None` if it is not installed.
fn tshark(file: impl AsRef<Path>, args: &[&str]) -> Option<String> {
    let ports = ["5415", "5432", "5416"].map(|port| format!("tcp.port=={port},pgsql"));
    let ports = ports.iter().flat_map(|port| ["-d", port]);
    let output = Command::new("tshark").arg("-r").arg(file.as_ref()).args(ports).args(args).output();
    let Ok(output) = output else {
        announce("SKIPPED: tshark is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Runs the command with a capture on its standard input.
fn from_pipe(capture: &str, args: &[&str]) -> Outcome {
    let mut running = Running::start_with_pipe(&mut pgdissect(args));
    running.feed(&std::fs::read(testdata().join(capture)).unwrap());
    running.finish()
}

#[test]
fn packets_of_any_link_type_and_precision_are_written_to_one_file() {
    let folder = Folder::new();
    let kept = folder.file("kept.PCAPNG");
    let captures = [TWO_LINK_TYPES, "formats/nano.pcap", "formats/raw.pcap", "formats/vlan.pcap", NAMED];
    for jobs in ["-j1", "-j4"] {
        let outcome = run([&[PORTS, jobs, "-q", "-w", &kept][..], &captures].concat());
        assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
        let found = read(&kept).0;
        assert_eq!(found, expected(&captures));
        let links: BTreeSet<_> = found.iter().map(|packet| packet.link).collect();
        assert_eq!(links, BTreeSet::from([1, 101, 113]));
    }
    assert_eq!(run([PORTS, &kept]).good(), run([&[PORTS][..], &captures].concat()).good());
    // In a pcap file, a second link type is refused, with what would accept it.
    let outcome = run([PORTS, "-q", "-w", &folder.file("kept.pcap"), TWO_LINK_TYPES]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.said.contains("a file whose name ends in .pcapng holds any"), "{}", outcome.said);
}

#[test]
fn tshark_reads_the_same_packets_and_interfaces() {
    let folder = Folder::new();
    let kept = folder.file("kept.pcapng");
    let fields =
        ["frame.interface_name", "frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type", "tcp.seq_raw"];
    let fields: Vec<_> = ["-T", "fields"].into_iter().chain(fields.iter().flat_map(|field| ["-e", field])).collect();
    for option in ["-w", "--extract"] {
        for capture in [NAMED, TWO_LINK_TYPES, "formats/capture.pcapng"] {
            run([PORTS, "-q", option, &kept, capture]).good();
            let Some(expected) = tshark(testdata().join(capture), &fields) else { return };
            assert!(expected.lines().count() > 20);
            assert_eq!(expected.contains("lo\t"), capture != TWO_LINK_TYPES, "{expected}");
            assert_eq!(tshark(&kept, &fields).unwrap(), expected, "{option} {capture}");
        }
    }
    // All files are read to their ends without complaint, and those without packets, too.
    run([PORTS, "-q", "-f", "port 1", "formats/micro.pcap", "-w", &kept]).good();
    assert_eq!(tshark(&kept, &[]).unwrap(), "");
}

#[test]
fn a_file_without_packets_is_a_capture() {
    let folder = Folder::new();
    let kept = folder.file("kept.pcapng");
    run([PORTS, "-q", "-f", "port 1", "formats/micro.pcap", "-w", &kept]).good();
    assert_eq!(read(&kept).0, []);
    // libpcap rejects a file without an interface.
    run([PORTS, "-q", &kept, "-f", "tcp"]).good();
    let bytes = std::fs::read(&kept).unwrap();
    assert_eq!(bytes[28..32], [1, 0, 0, 0], "an interface description");
}

#[test]
fn connections_are_extracted_with_their_interfaces() {
    let folder = Folder::new();
    let (of_file, of_pipe) = (folder.file("file.pcapng"), folder.file("pipe.pcapng"));
    for capture in [NAMED, TWO_LINK_TYPES, "formats/nano.pcap"] {
        let outcome = run([PORTS, "-e", "session", "--extract", &of_file, capture]);
        assert!(outcome.said.contains(" of 1 connection\n"), "{}", outcome.said);
        assert_eq!(read(&of_file).0, expected(&[capture]));
        from_pipe(capture, &[PORTS, "-q", "-e", "session", "--extract", &of_pipe, "-"]).good();
        assert_eq!(read(&of_pipe).0, expected(&[capture]));
    }
    let capture = "mixed-10000/capture.pcap.zst";
    let selection = [PORTS, "-q", "-t", "Terminate"];
    run([&selection[..], &["--extract", &of_file, capture]].concat()).good();
    // Of those that leave the buffer before their connection has a line, handshakes are inserted where they belong.
    from_pipe(capture, &[&selection[..], &["--extract", &of_pipe, "--extract-buffer", "128K", "-"]].concat()).good();
    let (all, some) = (read(&of_file).0, read(&of_pipe).0);
    assert!(some.len() > 100 && some.len() < all.len(), "{} of {}", some.len(), all.len());
    let mut others = all.iter();
    assert!(some.iter().all(|packet| others.any(|other| other == packet)), "all are in their order");
    let syns = |packets: &[Packet]| {
        packets.iter().filter(|packet| packet.data[packet.data.len().min(47)..].first() == Some(&2)).count()
    };
    assert_eq!(syns(&some), syns(&all));
}

const KEYS: &str = "tls-sessions/keys.log";

/// Three connections, each with a TLS session of its own.
const TLS: [&str; 3] =
    ["tls-sessions/scram-plus.pcap", "tls-sessions/client-certificate.pcap", "tls-sessions/client-certificate-12.pcap"];

/// Returns the client randoms of a key log.
fn client_randoms(key_log: &str) -> BTreeSet<String> {
    key_log.lines().map(|line| line.split(' ').nth(1).unwrap().to_lowercase()).collect()
}

#[test]
fn secrets_of_extracted_sessions_alone_are_written_and_only_if_asked_for() {
    let folder = Folder::new();
    let file = folder.file("extracted.pcapng");
    let all_keys = std::fs::read_to_string(testdata().join(KEYS)).unwrap();
    let sessions = run([&[PORTS, "-e", "session", "--keylog", KEYS][..], &TLS].concat()).good();
    let random_of = |conn: u64| {
        let session = sessions.iter().find(|session| session["conn"] == conn && session["tls"].is_object()).unwrap();
        session["tls"]["client_random"].as_str().unwrap().to_owned()
    };
    for (conn, jobs) in [(1, "-j1"), (2, "-j1"), (3, "-j1"), (2, "-j4")] {
        let number = conn.to_string();
        let extract = [PORTS, jobs, "--least-in-parallel=1", "--keylog", KEYS, "--conn", &number, "--extract", &file];
        let outcome = run([&extract[..], &TLS].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.said);
        assert_eq!(read(&file).1, "", "they were not asked for");

        let outcome = run([&extract[..], &["--with-secrets"], &TLS].concat());
        assert!(outcome.said.ends_with(" of 1 connection; with the secrets of 1 TLS session\n"), "{}", outcome.said);
        let (packets, key_log) = read(&file);
        assert_eq!(packets, expected(&[TLS[conn as usize - 1]]));
        let random = random_of(conn);
        assert_eq!(client_randoms(&key_log), BTreeSet::from([random.clone()]));
        let known: BTreeSet<_> = all_keys.lines().collect();
        assert!(key_log.lines().all(|line| known.contains(line)), "{key_log}");
        assert_eq!(key_log.lines().count(), if conn == 3 { 1 } else { 4 });
        let bytes = std::fs::read(&file).unwrap();
        for other in client_randoms(&all_keys).iter().filter(|other| **other != random) {
            assert!(position(&bytes, other.as_bytes()).is_none(), "{other}");
        }

        // Read alone, it gives the same as the capture with its key log.
        let everything = [PORTS, "-e", "message,query,session,loss"];
        let alone = run([&everything[..], &[&file]].concat()).good();
        let wanted = run([&everything[..], &["--keylog", KEYS, TLS[conn as usize - 1]]].concat()).good();
        assert_eq!(alone, wanted);
        assert!(alone.iter().any(|line| line["body"]["query"] == "SELECT 1/0"));

        let queries = ["-T", "fields", "-e", "pgsql.query", "-Y", "pgsql.query"];
        let keys = format!("tls.keylog_file:{}", testdata().join(KEYS).display());
        let with_keys = [&["-o", &keys][..], &queries].concat();
        let Some(found) = tshark(&file, &queries) else { continue };
        assert!(found.contains("SELECT 1/0"), "{found}");
        assert_eq!(found, tshark(testdata().join(TLS[conn as usize - 1]), &with_keys).unwrap());
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn secrets_of_a_session_without_a_captured_handshake_are_written() {
    let folder = Folder::new();
    let (keys, file) = (folder.file("keys.log"), folder.file("extracted.pcapng"));
    let extract = [PORTS, "-q", "--extract", &file, "--with-secrets", TLS[1]];
    run([&extract[..], &["--keylog", KEYS]].concat()).good();
    let key_log = read(&file).1;
    std::fs::write(&keys, &key_log).unwrap();
    // The only session of a key log is tried.
    let no_handshake = ["-f", "not tcp[((tcp[12] & 0xf0) >> 2)] = 22"];
    let outcome = run([&extract[..], &no_handshake, &["--keylog", &keys]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    assert!(outcome.values().iter().any(|line| line["body"]["query"] == "SELECT 1/0"));
    assert_eq!(read(&file).1, key_log);
    assert!(run([PORTS, &file]).values().iter().any(|line| line["body"]["query"] == "SELECT 1/0"));
}

#[test]
fn secrets_are_before_packets_that_were_written_earlier() {
    let folder = Folder::new();
    let (merged, file) = (folder.file("merged.pcapng"), folder.file("extracted.pcapng"));
    // A pipe with the handshakes of three sessions, then with much else, and with a renegotiated one.
    let all = [&TLS[..], &["rows-3000/capture.pcap", "tls-sessions/renegotiated.pcap"]].concat();
    run([&[PORTS, "-q", "-w", &merged][..], &all].concat()).good();
    for (selection, sessions, randoms) in [(&["-t", "Terminate,Query"][..], 5, 5), (&["-e", "loss"], 0, 0)] {
        let args = [PORTS, "--keylog", KEYS, "--extract", &file, "--with-secrets", "--extract-buffer", "64K", "-"];
        let outcome = from_pipe(&merged, &[&args[..], selection].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.said);
        assert!(outcome.said.contains(&format!("; with the secrets of {sessions} TLS session")), "{}", outcome.said);
        let (packets, key_log) = read(&file);
        assert_eq!(client_randoms(&key_log).len(), randoms);
        assert_eq!(packets.is_empty(), randoms == 0);
        let (found, wanted) = (run([PORTS, &file]), run([&[PORTS, "--keylog", KEYS][..], &TLS].concat()));
        let queries = |outcome: &Outcome| {
            let lines = outcome.values();
            lines.iter().filter_map(|line| line["body"]["query"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        if randoms > 0 {
            assert!(queries(&found).starts_with(&queries(&wanted)), "{}", found.said);
        }
    }
}

#[test]
fn secrets_are_refused_where_they_cannot_be() {
    let folder = Folder::new();
    let (pcap, pcapng) = (folder.file("x.pcap"), folder.file("x.pcapng"));
    for (args, wanted) in [
        (
            &["--extract", &pcap, "--with-secrets", TLS[0]][..],
            "--with-secrets requires --extract with a name that ends in .pcapng",
        ),
        (&["-w", &pcapng, "--with-secrets", TLS[0]], "--extract <FILE>"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.said.contains(wanted), "{}", outcome.said);
    }
    // Into a pipe, nothing can be inserted.
    assert!(Command::new("mkfifo").arg(&pcapng).status().unwrap().success());
    let outcome = from_pipe(TLS[0], &[PORTS, "--extract", &pcapng, "--with-secrets", "-"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.said.contains("is no file, and secrets are inserted before packets"), "{}", outcome.said);
}

/// The recipe of the README.
#[test]
fn a_capture_of_one_slow_query_is_one_command() {
    let folder = Folder::new();
    let (big, slow) = (folder.file("big.pcapng"), folder.file("slow.pcapng"));
    let others = ["mixed-10000/capture.pcap.zst", "summary/capture.pcap.gz", "tls-sessions/cancel.pcap", TLS[0]];
    run([&[PORTS, "-q", "-w", &big][..], &others].concat()).good();
    let options = [PORTS, "--keylog", KEYS, "--sql", "pg_sleep\\(10\\)", "-c", "1"];
    let outcome = run([&options[..], &["--extract", &slow, "--with-secrets", &big]].concat());
    assert_eq!((outcome.code, outcome.lines.len()), (Some(0), 1), "{}", outcome.said);
    assert!(outcome.said.contains(" of 1 connection; with the secrets of 1 TLS session\n"), "{}", outcome.said);
    let (packets, _) = read(&slow);
    assert!(packets.len() * 100 < read(&big).0.len());
    let lines = run([PORTS, "-e", "query", &slow]).good();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["sql"], "SELECT pg_sleep(10)");
    assert_eq!(lines[0]["total_us"], outcome.values()[0]["total_us"]);
    let Some(found) = tshark(&slow, &["-T", "fields", "-e", "pgsql.query", "-Y", "pgsql.query"]) else { return };
    assert_eq!(found, "SELECT pg_sleep(10)\n");
}

#[test]
#[ignore = "needs root and a server"]
fn a_live_capture_has_the_name_of_its_interface() {
    if !can_capture("pcapng of a live capture") {
        return;
    }
    let server = match Server::start() {
        Ok(server) => server,
        Err(missing) => return announce(&format!("SKIPPED: pcapng of a live capture: {missing}")),
    };
    let folder = Folder::new();
    let (kept, extracted) = (folder.file("kept.pcapng"), folder.file("extracted.pcapng"));
    let mut running =
        server.listen(["-i", "lo", "-e", "query", "--sql", "sleep", "-w", &kept, "--extract", &extracted]);
    assert_eq!(read(&kept).0, [], "it is a capture from the beginning");
    for sql in ["SELECT 1", "SELECT pg_sleep(0.1)"] {
        server.query(sql);
    }
    running.line();
    std::thread::sleep(Duration::from_millis(500));
    let outcome = interrupt(running);
    assert!(outcome.said.contains(" packets of 1 connection\n"), "{}", outcome.said);
    let (kept, extracted) = (read(kept).0, read(extracted).0);
    assert!(!extracted.is_empty() && extracted.len() < kept.len());
    for packet in kept.iter().chain(&extracted) {
        assert_eq!((packet.name.as_deref(), packet.resolution, packet.is_nanos), (Some("lo"), Some(6), false));
    }
}
