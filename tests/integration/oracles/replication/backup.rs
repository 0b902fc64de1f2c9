//! Base backups against the files that `pg_basebackup` wrote; and that nothing of them, nor of the WAL, is in any line unless it is
//! wanted.

use pgdissect::{Config, Keys, Records};
use serde_json::Value;

use super::{Line, dissect, dissect_packets, jsonl, lsn, text};
use crate::captures;
use crate::command::run;
use crate::laws::redaction::written;

/// An archive, or the manifest: its name, and how many bytes of it there are.
type Part = (String, u64);

/// What the messages of a backup add up to.
#[derive(Debug, Default)]
struct Backup {
    parts: Vec<Part>,
    /// What was told of progress, with the number of archives that had begun.
    progress: Vec<(usize, u64)>,
}

impl Backup {
    fn of(lines: &[Line]) -> Self {
        let mut backup = Self::default();
        for line in lines.iter().filter(|line| line.is("message") && line.value["dir"] == "B") {
            let body = &line.value["body"];
            match (line.value["type"].as_str().unwrap(), body["kind"].as_str()) {
                // Up to version 14, each has a COPY of its own.
                ("CopyOutResponse", _) => backup.parts.push(("a COPY".to_owned(), 0)),
                (_, Some("archive")) => backup.parts.push((body["archive"].as_str().unwrap().to_owned(), 0)),
                (_, Some("manifest")) => backup.parts.push(("backup_manifest".to_owned(), 0)),
                (_, Some("data")) => backup.parts.last_mut().unwrap().1 += body["bytes"].as_u64().unwrap(),
                (_, Some("progress")) => {
                    let done = body["bytes_done"].as_u64().unwrap();
                    backup.progress.push((backup.parts.len(), done));
                }
                ("CopyData", kind) => assert_eq!(kind, Some("xlog_data"), "{}", line.value),
                _ => {}
            }
        }
        backup
    }
}

/// Returns the files that were written, but for that which the other connection has received.
fn files(name: &str) -> Vec<Part> {
    let files = jsonl(&format!("replication-base-backup/{name}.files.jsonl.gz"));
    let file = |file: &Value| {
        let path = file["file"].as_str().unwrap().split_once('/').unwrap().1;
        (path.to_owned(), file["bytes"].as_u64().unwrap())
    };
    files.iter().map(file).filter(|(name, _)| name != "pg_wal.tar").collect()
}

fn dissected(name: &str) -> Vec<Line> {
    let lines = dissect(&format!("replication-base-backup/{name}.pcap.gz"));
    for line in &lines {
        assert!(!line.is("loss") && line.value.get("flags").is_none(), "{name}: {}", line.value);
        assert!(line.value["body"].get("error").is_none(), "{name}: {}", line.value);
    }
    lines
}

#[test]
fn archives_have_the_bytes_of_the_files_that_were_written() {
    for name in ["tar-15", "gzip-15", "full-18", "incremental-18"] {
        let Backup { parts, progress } = Backup::of(&dissected(name));
        // The COPY, in which all of them are, is not one of them.
        let mut sent = parts[1..].to_vec();
        assert_eq!(sent.last().unwrap().0, "backup_manifest", "{name}");
        // Progress is of the archives so far, before their compression.
        let mut total = 0;
        for (archive, (begun, done)) in sent.iter().zip(&progress) {
            total += archive.1;
            assert!(
                *begun <= parts.len() && if name == "gzip-15" { *done > total } else { *done == total },
                "{name}: {progress:?}"
            );
        }
        assert_eq!(progress.len(), 2, "{name}");
        let mut files = files(name);
        sent.sort();
        files.sort();
        assert_eq!(sent, files, "{name}");
    }
}

/// Returns the base backups in the summary of captures, in the order in which they began.
fn summary(names: &[&str]) -> (Vec<Value>, Value) {
    let captures = names.iter().map(|name| format!("replication-base-backup/{name}.pcap.gz"));
    let args = ["-q", "-p", "5534,5535,5538", "-e", "summary"].map(str::to_owned).into_iter().chain(captures);
    let summary = run(args).values().pop().unwrap();
    let mut backups = summary["base_backups"].as_array().unwrap().clone();
    backups.sort_by_key(|backup| backup["started"].as_str().unwrap().to_owned());
    (backups, summary)
}

#[test]
fn a_summary_has_each_backup_as_pg_basebackup_has_reported_and_written_it() {
    let names = ["tar-15", "gzip-15", "tar-14", "full-18", "incremental-18"];
    let (backups, _) = summary(&names);
    assert_eq!(backups.len(), names.len());
    for (name, backup) in names.iter().zip(&backups) {
        let messages = text(&format!("replication-base-backup/{name}.err"));
        for (what, field) in [("start", "start_lsn"), ("end", "end_lsn")] {
            // Without WAL, pg_basebackup has no use for the positions, and does not report them.
            if let Some((_, point)) = messages.split_once(&format!("write-ahead log {what} point: ")) {
                assert_eq!(backup[field].as_str(), point.split_whitespace().next(), "{name}: {what}");
            }
            assert!(lsn(&backup[field]) > 0, "{name}: {backup}");
        }
        // The estimate is not sent without --progress, and corrected by pg_basebackup if there is more.
        let estimate = messages.lines().find_map(|line| {
            let (_, all) = line.split_once(" kB (")?.0.trim().split_once('/')?;
            Some(all.parse::<u64>().unwrap() * 1_024)
        });
        if let Some(estimate) = estimate {
            assert_eq!(backup["total_bytes"], estimate, "{name}");
        }
        assert_eq!(backup["outcome"], "ok", "{name}");
        assert_eq!(backup["incremental"], *name == "incremental-18", "{name}");
        let manifest = ("backup_manifest".to_owned(), backup["manifest_bytes"].as_u64().unwrap());
        let archive = |part: &Value| {
            let bytes = part["bytes"].as_u64().unwrap();
            (part["archive"].as_str().unwrap_or("an archive").to_owned(), bytes)
        };
        let archives = backup["archives"].as_array().unwrap();
        let mut parts: Vec<_> = archives.iter().map(archive).chain([manifest]).collect();
        assert_eq!(backup["bytes"], parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), "{name}");
        let mut files = files(name);
        if *name == "tar-14" {
            // Without names, and without two blocks of zeros that pg_basebackup adds.
            files
                .iter_mut()
                .filter(|(file, _)| file.ends_with(".tar"))
                .for_each(|(file, bytes)| ("an archive".clone_into(file), *bytes -= 1_024).1);
        } else {
            let places = archives.iter().map(|part| part["tablespace"].as_str().unwrap());
            assert!(
                places
                    .map(|place| place.rsplit('/').next().unwrap())
                    .eq([if name.ends_with("15") { "space15" } else { "space18" }, "",])
            );
        }
        parts.sort();
        files.sort();
        assert_eq!(parts, files, "{name}");
    }
}

#[test]
fn a_backup_whose_client_was_killed_was_interrupted_and_nothing_of_it_is_missing() {
    let (backups, summary) = summary(&["killed-15", "error-15"]);
    let [failed, killed] = &*backups else { panic!("{backups:?}") };
    assert_eq!(
        (&failed["outcome"], &failed["bytes"], &failed["incremental"]),
        (&"error".into(), &0.into(), &false.into())
    );
    assert_eq!(killed["outcome"], "aborted");
    // "1129/15547 kB (7%)": of the files that were read.
    let reported = text("replication-base-backup/killed-15.err");
    let reported = reported.lines().last().unwrap().split_once(" kB").unwrap().0.trim().to_owned();
    let kib = |bytes: &Value| bytes.as_u64().unwrap() / 1_024;
    assert_eq!(format!("{}/{}", kib(&killed["bytes_done"]), kib(&killed["total_bytes"])), reported);
    assert!(killed["archives"][1]["bytes"].as_u64() > killed["bytes_done"].as_u64(), "{killed}");
    // Without what its last message lacks.
    let sent = Backup::of(&dissect("replication-base-backup/killed-15.pcap.gz"))
        .parts
        .iter()
        .map(|(_, bytes)| bytes)
        .sum::<u64>();
    assert_eq!(killed["bytes"], sent);
    assert_eq!(killed.get("end_lsn"), None);
    assert_eq!(summary["totals"]["unfinished"], 1);
    assert!(summary.get("running").is_none_or(|running| running.as_array().unwrap().is_empty()), "{summary}");
    // The server had not sent the rest of its last message.
    let capture = &summary["capture"];
    assert_eq!((&capture["missing_bytes"], &capture["losses"]), (&0.into(), &1.into()), "{capture}");
}

#[test]
fn archives_of_servers_before_15_are_copies_of_their_own() {
    let Backup { parts, progress } = Backup::of(&dissected("tar-14"));
    assert!(progress.is_empty());
    // pg_basebackup writes two blocks of zeros behind each archive, which such a server does not send.
    let wanted = [("16384.tar", 1_024), ("base.tar", 1_024), ("backup_manifest", 0)].map(|(name, added)| {
        files("tar-14").iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes - added).unwrap()
    });
    assert_eq!(parts.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), wanted);
}

#[test]
fn other_targets_have_progress_and_errors_only() {
    let Backup { parts, progress } = Backup::of(&dissected("blackhole-15"));
    let names: Vec<_> = parts.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["a COPY", "16384.tar", "base.tar", "backup_manifest"]);
    assert!(parts.iter().all(|(_, bytes)| *bytes == 0) && progress.len() == 2, "{parts:?}");

    let lines = dissected("error-15");
    let last = lines.iter().rfind(|line| line.is("query")).unwrap();
    assert!(text("replication-base-backup/error-15.err").contains(last.value["error"]["message"].as_str().unwrap()));
    assert_eq!(last.value["outcome"], "error");
    assert!(Backup::of(&lines).parts.is_empty());
}

#[test]
fn a_manifest_that_is_uploaded_is_counted() {
    let lines = dissected("incremental-18");
    let uploaded = lines.iter().filter(|line| line.value["dir"] == "F" && line.value["type"] == "CopyData");
    let bytes: u64 = uploaded
        .map(|line| {
            assert_eq!(line.value["body"]["kind"], "manifest_data");
            line.value["body"]["bytes"].as_u64().unwrap()
        })
        .sum();
    let manifest = files("full-18").into_iter().find(|(name, _)| name == "backup_manifest").unwrap();
    assert_eq!(bytes, manifest.1, "it is that of the full backup");
}

#[test]
fn the_wal_that_is_streamed_beside_a_backup_is_from_its_start_to_its_end() {
    let lines = dissected("tar-15");
    let messages = text("replication-base-backup/tar-15.err");
    let point = |what: &str| {
        let position = messages.split_once(what).unwrap().1.split_whitespace().next().unwrap();
        lsn(&position.into())
    };
    let parts: Vec<_> = lines.iter().filter(|line| line.value["body"]["kind"] == "xlog_data").collect();
    let first = lsn(&parts[0].value["body"]["start_lsn"]);
    let last = &parts.last().unwrap().value["body"];
    assert!(first <= point("write-ahead log start point: "));
    assert!(lsn(&last["start_lsn"]) + last["bytes"].as_u64().unwrap() >= point("write-ahead log end point: "));
}

/// Parts of the archives and manifests, of the WAL that carries them, and both in hex.
const CONTENTS: [&str; 8] = [
    "ustar",
    "7573746172",
    "global/pg_control",
    "676c6f62616c2f70675f636f6e74726f6c",
    "START WAL LOCATION",
    "PostgreSQL-Backup-Manifest",
    "506f737467726553514c2d4261636b7570",
    "Checksum",
];

#[test]
fn no_byte_of_a_backup_is_in_a_line_unless_it_is_wanted() {
    for name in ["tar-15", "tar-14", "gzip-15", "incremental-18"] {
        let (packets, _) =
            captures::packets(&[captures::testdata().join(format!("replication-base-backup/{name}.pcap.gz"))]);
        let on_the_wire: Vec<u8> = packets.iter().flat_map(|packet| packet.data.clone()).collect();
        let is_sent = |content: &str| memchr::memmem::find(&on_the_wire, content.as_bytes()).is_some();
        assert!(is_sent("PostgreSQL-Backup-Manifest") && (is_sent("ustar") || name == "gzip-15"), "{name}");
        // The WAL is shown, which is something else.
        let lines = written(&packets, Config { shows_wal: true, ..captures::everything() });
        for content in CONTENTS {
            assert!(!lines.contains(content), "{name}: {content}");
        }
        for line in dissected(name).iter().filter(|line| line.is("message") && line.value["type"] == "CopyData") {
            const COUNTED: [&str; 6] = ["kind", "bytes", "archive", "tablespace", "bytes_done", "reply_requested"];
            let fields = line.value["body"].as_object().unwrap().keys();
            let other = fields.filter(|field| {
                !COUNTED.contains(&field.as_str()) && !field.ends_with("_lsn") && !field.ends_with("_time")
            });
            assert_eq!(other.collect::<Vec<_>>(), Vec::<&String>::new());
        }
    }
}

fn binary(bytes: &[u8]) -> String {
    format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[test]
fn bytes_that_are_wanted_are_those_on_the_wire() {
    let messages = Records { messages: true, ..Records::NONE };
    for (name, config, other) in [
        ("replication-base-backup/gzip-15.pcap.gz", Config { shows_backups: true, ..captures::config() }, "xlog_data"),
        ("replication-physical/receivewal.pcap.gz", Config { shows_wal: true, ..captures::config() }, "data"),
    ] {
        let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
        let config = Config { records: messages, ..config };
        let mut bytes = 0;
        for line in dissect_packets(&packets, config.clone(), &Keys::default()) {
            let body = &line.value["body"];
            let content = match body["kind"].as_str() {
                Some("data") => &line.body[1..],
                Some("xlog_data") => &line.body[25..],
                _ => continue,
            };
            assert_ne!(body["kind"], other);
            assert!(body["binary"] == binary(content) && body["bytes"] == content.len());
            bytes += content.len();
        }
        assert!(bytes > 1_000_000, "{name}: {bytes}");
        // What hides values hides these as well.
        let hidden = Config { redaction: pgdissect::Redaction::Values, ..config };
        assert!(
            dissect_packets(&packets, hidden, &Keys::default())
                .iter()
                .all(|line| line.value["body"].get("binary").is_none())
        );
    }
}

#[test]
fn no_byte_of_the_wal_is_in_a_line_unless_it_is_wanted() {
    for name in ["receivewal", "timeline", "standby"] {
        let (packets, _) =
            captures::packets(&[captures::testdata().join(format!("replication-physical/{name}.pcap.gz"))]);
        let lines = written(&packets, Config { shows_backups: true, ..captures::everything() });
        // Rows as they are in the WAL.
        for content in ["row 1", "live 20", "the last", "while nobody", "726f772031", "6c697665", "\\\\x"] {
            assert!(!lines.contains(content), "{name}: {content}");
        }
    }
}
