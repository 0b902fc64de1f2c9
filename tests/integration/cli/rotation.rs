//! Files that are written one after the other.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::captures;
use crate::cli::live::{can_capture, interrupt};
use crate::command::{Folder, PATIENCE, Running, kill, parse, run};

/// Returns the files in a folder with an extension, by their names.
fn files(folder: &Folder, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(extension)).collect();
    files.sort();
    files
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "zst") {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    zstd::Decoder::new(&*bytes).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn lines_are_in_files_of_a_size_that_end_with_a_line() {
    let capture = "pooler-pgbouncer/transaction.pcap.gz";
    // A log is written at once, when all of it is known.
    for (form, name, least) in [(&["-e", "message"][..], "lines.jsonl", 2), (&["-F", "csvlog"], "log-%%.csv.zst", 1)] {
        let all = run([&["-q", "-p5415,6432", capture], form].concat()).lines.join("\n");
        for jobs in ["1", "3"] {
            let folder = Folder::new();
            let output = folder.file(name);
            let more = [
                "-q",
                "-p5415,6432",
                capture,
                "-j",
                jobs,
                "--least-in-parallel=2",
                "-o",
                &output,
                "--rotate-size",
                "64K",
            ];
            assert_eq!(run([&more[..], form].concat()).code, Some(0));
            let files = files(&folder, "");
            // The number is the place in the order.
            let number = |path: &PathBuf| {
                let stem = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
                stem.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
            };
            let mut files: Vec<(u32, PathBuf)> = files.into_iter().map(|path| (number(&path), path)).collect();
            files.sort_unstable();
            assert!(files.len() >= least, "{files:?}");
            let texts: Vec<_> = files.iter().map(|(_, path)| text(path)).collect();
            assert!(texts.iter().all(|text| text.ends_with('\n')));
            assert!(texts.iter().rev().skip(1).all(|text| text.len() >= 64 << 10), "{files:?}");
            assert_eq!(texts.concat().trim_end(), all);
            assert_eq!(files[0].1.file_name().unwrap().to_str().unwrap().contains('%'), name.contains('%'));
        }
    }
}

#[test]
fn packets_are_in_files_by_their_times() {
    let capture = "replication-ends/capture.pcap";
    let (packets, _) = captures::packets(&[captures::testdata().join(capture)]);
    for name in ["%Y%m%dT%H%M%S.pcap", "%Y%m%dT%H%M%S.pcapng"] {
        let folder = Folder::new();
        let output = folder.file(name);
        let args = ["-q", "-p5415", "-equery", capture, "-w", &output, "--rotate-every", "1s"];
        let lines = run(args).lines;
        let files = files(&folder, "");
        assert!(files.len() > 1 && files.iter().all(|path| path.extension() != Some("part".as_ref())), "{files:?}");
        let (of_files, _) = captures::packets(&files);
        let times = |packets: &[captures::OwnedPacket]| packets.iter().map(|packet| packet.ts).collect::<Vec<_>>();
        assert!(times(&of_files) == times(&packets));
        for path in &files {
            let (packets, _) = captures::packets(std::slice::from_ref(path));
            let second = packets[0].ts.rfc3339().as_str()[..19].replace(['-', ':'], "");
            assert!(packets.iter().all(|packet| packet.ts.rfc3339().as_str()[..19].replace(['-', ':'], "") == second));
            assert_eq!(path.file_stem().unwrap().to_str(), Some(&*second));
        }
        let paths: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(run([&["-q", "-p5415", "-equery"], &*paths].concat()).lines, lines);
    }
}

#[test]
fn no_file_is_overwritten() {
    let folder = Folder::new();
    let output = folder.file("lines.jsonl");
    fs::write(&output, "mine").unwrap();
    let args = ["-q", "planted/capture.pcap", "-e", "query", "-o", &output, "--rotate-size", "1M"];
    assert_eq!(run(args).code, Some(0));
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
    assert_eq!(text(Path::new(&folder.file("lines-1.jsonl"))).lines().count(), run(&args[..4]).lines.len());
}

#[test]
fn what_cannot_be_rotated_is_refused() {
    for (args, said) in [
        (&["--rotate-size", "1M"][..], "for the files of -o and -w"),
        (&["--rotate-every", "1h", "-o", "-"], "for the files of -o and -w"),
        (&["--rotate-every", "10ms", "-o", "x"], "expected at least 1s"),
        (&["--rotate-every", "1h", "-F", "html", "-o", "x.html"], "not for -F html"),
        (&["--rotate-every", "1h", "-o", "x-%"], "-o x-%: "),
        (&["--rotate-every", "1h", "-w", "no-such-folder/%H.pcap"], "no-such-folder"),
    ] {
        let outcome = run([&["planted/capture.pcap"], args].concat());
        assert_ne!(outcome.code, Some(0), "{args:?}");
        assert!(outcome.said.contains(said), "{args:?}: {}", outcome.said);
    }
}

/// Waits until there are so many whole files.
fn wait_for(folder: &Folder, extension: &str, count: usize) -> Vec<PathBuf> {
    let start = Instant::now();
    loop {
        let files = files(folder, extension);
        if files.len() >= count {
            return files;
        }
        assert!(start.elapsed() < PATIENCE, "{files:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_begins_new_files_by_time_and_by_signal() {
    if !can_capture("cli::rotation::a_service_begins_new_files_by_time_and_by_signal") {
        return;
    }
    let folder = Folder::new();
    let (lines, log) = (folder.file("stats-%H%M%S.jsonl"), folder.file("plain.jsonl"));
    let service = |args: &[&str]| {
        let args = [&["-i", "lo", "-e", "stats", "--stats-interval", "100ms"], args].concat();
        // Without a terminal that could hang up.
        let mut command = Command::new("setsid");
        let mut running = Running::start(command.arg(env!("CARGO_BIN_EXE_pgdissect")).args(args).stdin(Stdio::null()));
        running.says("listening on");
        running
    };
    // By time.
    let running = service(&["-o", &lines, "--rotate-every", "1s"]);
    let whole = wait_for(&folder, ".jsonl", 2);
    interrupt(running);
    assert!(files(&folder, ".part").is_empty());
    for path in &whole {
        text(path).lines().for_each(|line| assert_eq!(parse(line)["event"], "stats"));
    }
    // By signal: what another has renamed is left, and a new file is there.
    let running = service(&["-o", &log]);
    let moved = folder.file("plain.jsonl.1");
    let grows = |path: &str| {
        let start = Instant::now();
        while !fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            assert!(start.elapsed() < PATIENCE, "{path}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    grows(&log);
    fs::rename(&log, &moved).unwrap();
    kill("HUP", running.id());
    grows(&log);
    interrupt(running);
    for path in [&log, &moved] {
        text(Path::new(path)).lines().for_each(|line| assert_eq!(parse(line)["event"], "stats"));
    }
}
