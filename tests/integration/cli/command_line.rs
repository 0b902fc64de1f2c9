//! The command with files and pipes: flags, lines, messages to the user, exit codes.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::command::{Folder, Outcome, Running, parse, pgdissect, run, testdata, types};

/// The capture of `formats` from which most others in that folder were made, and the port of its server.
const MICRO: &str = "formats/micro.pcap";
const PORT: &str = "-p5415";

/// The number of messages in it.
const MESSAGES: usize = 70;

/// Returns the lines of a capture, with the server's port given.
#[track_caller]
fn lines(capture: &str) -> Vec<String> {
    let outcome = run([PORT, capture]);
    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""), "{capture}");
    outcome.lines
}

/// Returns the parts of a line that do not depend on when, where and in which kind of packet a message was captured.
fn essence(line: &str) -> Value {
    let mut value = parse(line);
    for field in ["ts", "client", "server", "packet", "elapsed_us"] {
        value.as_object_mut().unwrap().remove(field);
    }
    value
}

/// Returns the ends of the packets in a little-endian pcap file.
fn packet_ends(file: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 24;
    while at < file.len() {
        at += 16 + u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends
}

fn read(capture: &str) -> Vec<u8> {
    fs::read(testdata().join(capture)).unwrap()
}

#[track_caller]
fn assert_says(outcome: &Outcome, code: i32, wanted: &str) {
    assert!(outcome.said.contains(wanted), "wanted {wanted:?}, got {:?}", outcome.said);
    assert_eq!(outcome.code, Some(code), "{}", outcome.said);
}

mod files {
    use super::*;

    #[test]
    fn every_format_and_link_type_results_in_the_same_messages() {
        let wanted: Vec<_> = lines(MICRO).iter().map(|line| essence(line)).collect();
        assert_eq!(wanted.len(), MESSAGES);
        let mut tried = 0;
        for file in fs::read_dir(testdata().join("formats")).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let is_part = name.starts_with("rotated-") || name == "cut.pcap";
            if !name.contains(".pcap") || is_part {
                continue;
            }
            let found: Vec<_> = lines(&format!("formats/{name}")).iter().map(|line| essence(line)).collect();
            assert_eq!(found, wanted, "{name}");
            tried += 1;
        }
        assert!(tried >= 18, "the captures were not found");
    }

    #[test]
    fn the_same_packets_in_another_file_result_in_the_same_lines() {
        let wanted = lines(MICRO);
        for name in ["capture.pcap.gz", "capture.pcap.zst", "micro-big-endian.pcap", "vlan.pcap", "raw.pcap"] {
            assert_eq!(lines(&format!("formats/{name}")), wanted, "{name}");
        }
    }

    #[test]
    fn rotated_files_in_order_are_one_capture() {
        let wanted = lines(MICRO);
        let (one, two) = ("formats/rotated-1.pcap", "formats/rotated-2.pcap");
        for args in [&[PORT, one, two][..], &[PORT, "-r", one, "-r", two], &[PORT, "--read", one, "--read", two]] {
            let outcome = run(args);
            outcome.good();
            assert_eq!(outcome.lines, wanted, "{args:?}");
        }
    }

    #[test]
    fn a_truncated_file_yields_everything_before_the_cut() {
        let outcome = run([PORT, "formats/cut.pcap"]);
        assert_says(&outcome, 1, "pgdissect: formats/cut.pcap: byte 3197: cut off");
        let whole = lines(MICRO);
        let before = whole.iter().filter(|line| parse(line)["packet"].as_u64() < Some(22)).count();
        assert!(before > 40);
        assert_eq!(outcome.lines[..before], whole[..before]);
        for line in &outcome.lines[before..] {
            assert_eq!(parse(line)["event"], "loss");
        }
        // The readable ones are read, whatever is wrong with others.
        let outcome = run([PORT, "formats/cut.pcap", "-", MICRO]);
        assert_says(&outcome, 2, "standard input: not a capture file: it is empty");
        assert_says(&outcome, 2, "formats/cut.pcap: byte 3197");
        assert!(outcome.lines.len() > before);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (capture, wanted) in [
            ("nosuch.pcap", "pgdissect: nosuch.pcap: cannot be opened: No such file or directory"),
            ("formats", "pgdissect: formats: cannot be opened: Is a directory"),
            (
                "formats/how-made.md",
                "pgdissect: formats/how-made.md: not a capture file: wanted a pcap or pcapng header",
            ),
            ("-", "pgdissect: standard input: not a capture file: it is empty"),
        ] {
            let outcome = run([capture]);
            assert_says(&outcome, 2, wanted);
            assert_eq!(outcome.said.lines().count(), 1, "{}", outcome.said);
            assert!(outcome.lines.is_empty());
        }
        let outcome = run([PORT, "nosuch.pcap", MICRO]);
        assert_says(&outcome, 2, "nosuch.pcap");
        assert_eq!(outcome.lines, lines(MICRO));
    }

    #[test]
    fn files_of_other_programs_are_named_with_what_converts_them() {
        let mut tried = 0;
        for file in fs::read_dir(testdata().join("formats/others")).unwrap() {
            let name = format!("formats/others/{}", file.unwrap().file_name().into_string().unwrap());
            let outcome = run([&name]);
            assert_says(&outcome, 2, ": perhaps a");
            assert_says(&outcome, 2, "file");
            assert_says(&outcome, 2, ", which `editcap -F pcapng IN OUT` converts");
            tried += 1;
        }
        assert!(tried >= 10, "the files were not found");
    }

    #[test]
    fn an_unknown_link_type_is_named_once() {
        let folder = Folder::new();
        let mut file = read(MICRO);
        file[20] = 105;
        fs::write(folder.path().join("radio.pcap"), file).unwrap();
        let outcome = run(["-e", "stats", "-p5415", &folder.file("radio.pcap")]);
        assert_says(&outcome, 0, "pgdissect: link type 105 (IEEE802_11) is not supported");
        assert_eq!(outcome.said.lines().count(), 1, "no hint that would not help: {}", outcome.said);
        assert_eq!(outcome.values()[0]["unknown_link_packets"], 29);
    }

    #[test]
    fn a_wrong_port_gets_a_hint() {
        let outcome = run([MICRO]);
        assert!(outcome.lines.is_empty());
        assert_says(&outcome, 0, "pgdissect: no PostgreSQL in 29 packets: -p PORT sets the server's port");
        assert_eq!(run(["-q", MICRO]).said, "");
        // If there is a message, no hint is printed.
        run([PORT, "-t", "CopyFail", MICRO]).good();
    }
}

mod ports {
    use super::*;

    #[test]
    fn auto_finds_servers_on_any_port() {
        let outcome = run(["-p", "auto", MICRO]);
        outcome.good();
        assert_eq!(outcome.lines, lines(MICRO));
    }

    #[test]
    fn auto_leaves_other_protocols_alone() {
        for capture in ["http-foreign/capture.pcap", "mysql-foreign/capture.pcap", "tls-foreign/capture.pcap"] {
            let outcome = run(["-p", "auto", capture]);
            assert!(outcome.lines.is_empty(), "{capture}: {:?}", outcome.lines);
            assert_says(&outcome, 0, "no PostgreSQL in");
        }
    }

    #[test]
    fn there_can_be_several() {
        for ports in ["5415,5432", "5432,5415", "5432, 5415"] {
            let outcome = run(["-p", ports, MICRO]);
            outcome.good();
            assert_eq!(outcome.lines, lines(MICRO));
        }
    }
}

mod choosing {
    use super::*;

    #[test]
    fn events() {
        let count = |args: &[&str]| {
            let lines = run([&[PORT, MICRO], args].concat()).good();
            ["message", "loss", "stats"].map(|event| lines.iter().filter(|line| line["event"] == event).count())
        };
        assert_eq!(count(&[]), [MESSAGES, 0, 0]);
        assert_eq!(count(&["-e", "message,stats"]), [MESSAGES, 0, 1]);
        assert_eq!(count(&["-e", "message", "-e", "stats"]), [MESSAGES, 0, 1]);
        assert_eq!(count(&["--events", "loss"]), [0, 0, 0]);
        let stats = &run([PORT, MICRO, "-estats"]).good()[0];
        assert_eq!(
            (&stats["packets"], &stats["messages"], &stats["connections"]),
            (&29.into(), &MESSAGES.into(), &1.into())
        );
        assert!(stats.get("kernel").is_none());
    }

    #[test]
    fn types_of_messages() {
        let found = run([PORT, MICRO, "-t", "query,PARSE", "-t", "ErrorResponse"]).good();
        let found = types(&found);
        let wanted: Vec<_> = lines(MICRO).iter().map(|line| parse(line)).collect();
        let wanted: Vec<_> =
            types(&wanted).into_iter().filter(|name| ["Query", "Parse", "ErrorResponse"].contains(name)).collect();
        assert_eq!(found, wanted);
        assert!(wanted.contains(&"Query") && wanted.contains(&"Parse") && wanted.contains(&"ErrorResponse"));
        assert_says(&run([PORT, MICRO, "-t", "Query,Foo"]), 2, "invalid value 'Foo'");
    }

    #[test]
    fn so_many_messages() {
        let outcome = run([PORT, MICRO, "-c", "3"]);
        outcome.good();
        assert_eq!(outcome.lines, lines(MICRO)[..3]);
        // Only written messages count.
        assert_eq!(types(&run([PORT, MICRO, "-c2", "-tDataRow"]).good()), ["DataRow", "DataRow"]);
        assert_eq!(run([PORT, MICRO, "-c", "1000"]).good().len(), MESSAGES);
    }

    #[test]
    fn requests_that_failed_or_took_long() {
        const CANCEL: &str = "cancel/capture.pcap";
        let sql = |args: &[&str]| -> Vec<Value> {
            run([&[PORT, CANCEL], args].concat()).good().iter().map(|line| line["sql"].clone()).collect()
        };
        let all = sql(&["-e", "query"]);
        assert_eq!(all.len(), 4);
        // The option selects lines of requests, and of sessions that have failed.
        assert_eq!(sql(&["--errors"]), all[1..3]);
        for time in ["200ms", "200000us", "0.2s"] {
            assert_eq!(sql(&["--min-duration", time]), all[1..2], "{time}");
        }
        assert_says(&run([PORT, CANCEL, "--min-duration", "200"]), 2, "for milliseconds write 200ms");
    }

    #[test]
    fn requests_that_still_ran() {
        const OPEN: &str = "cases/cut-message.pcap";
        let lines = run([OPEN, "--min-duration", "30s"]).good();
        let open: Vec<_> = lines.iter().filter(|line| line["event"] == "query").collect();
        assert_eq!(open.len(), 1);
        assert_eq!((&open[0]["outcome"], &open[0]["age_us"]), (&json!("incomplete"), &json!(30_000_800)));
        let text = run([OPEN, "-e", "query", "--min-duration", "30s", "-F", "text"]);
        assert!(text.lines.iter().any(|line| line.contains(" 30000.800ms QUERY   incomplete ")), "{:?}", text.lines);
    }

    #[test]
    fn logins_that_failed() {
        let lines = run([PORT, "auth-scram-wrong/capture.pcap", "--errors"]).good();
        let failed: Vec<_> = lines.iter().filter(|line| line["event"] == "session").collect();
        assert!(!failed.is_empty());
        for session in failed {
            assert_eq!(
                (&session["state"], &session["error"]["severity"]),
                (&json!("ended"), &json!("FATAL")),
                "{session}"
            );
        }
        // Of those of requests alone, and of sessions alone.
        assert!(run([PORT, "auth-scram-wrong/capture.pcap", "--errors", "-e", "query"]).good().is_empty());
        assert_eq!(run([PORT, "auth-scram-wrong/capture.pcap", "--errors", "-e", "session"]).good(), lines);
    }

    #[test]
    fn sessions_by_who_they_are() {
        const SIMPLE: &str = "simple-query/capture.pcap";
        let count = |args: &[&str]| run([&[PORT, SIMPLE, "-q"], args].concat()).good().len();
        let all = count(&[]);
        assert_eq!(count(&["--user", "app", "--database", "shop,other"]), all);
        assert_eq!(count(&["--user", "nobody"]), 0);
        // The first session has several names, one after the other.
        let of_each = ["simple", "notifier"].map(|name| count(&["--application", name]));
        assert!(of_each.iter().all(|count| *count > 0) && of_each.iter().sum::<usize>() < all);
    }

    #[test]
    fn rows_by_the_names_of_their_columns() {
        let rows = run([PORT, "-tDataRow", "--named-rows", "-c1", "simple-query/capture.pcap"]).good();
        assert_eq!(rows[0]["body"]["values"], json!({ "one": 1, "word": "text", "nothing": null, "empty": "" }));
    }

    #[test]
    fn requests_and_sessions_as_text() {
        let outcome = run([PORT, "-F", "text", "-e", "query,session", "cancel/capture.pcap"]);
        assert_eq!(outcome.code, Some(0));
        assert_eq!(outcome.lines[..2], ["times are UTC", "2026-11-22"]);
        let shown: Vec<_> = outcome.lines[2..].iter().map(|line| &line[16..]).collect();
        assert_eq!(
            shown[..3],
            [
                "  1     7.064ms SESSION ready  app@shop  127.0.0.1:49676 -> 127.0.0.1:5415  \
                 server='15.18 (Debian 15.18-0+deb12u1)' protocol=3.0 auth=none pid=8575",
                "  1     0.465ms QUERY   SELECT 'before'  SELECT 1  app@shop  q1",
                "  1   201.980ms QUERY   canceled  SELECT pg_sleep(60)  \
                 ERROR 57014 canceling statement due to user request  canceled by connection 2  app@shop  q2",
            ]
        );
        assert_eq!(
            shown.last(),
            Some(
                &"  1   480.052ms SESSION ended by the client  app@shop  4 requests, 2 errors, 224 bytes from the client, \
                  2560 to it  127.0.0.1:49676 -> 127.0.0.1:5415"
            )
        );
    }

    #[test]
    fn packets_by_a_filter() {
        let all = run([PORT, MICRO, "-f", "tcp port 5415 and host 127.0.0.1"]);
        all.good();
        assert_eq!(all.lines, lines(MICRO));
        let none = run([PORT, MICRO, "-e", "stats", "-f", "udp"]).good();
        assert_eq!(none[0]["filtered_packets"], none[0]["packets"]);
        assert_says(&run([PORT, MICRO, "-f", "tcp prt 3"]), 2, r#"pgdissect: filter "tcp prt 3": can't parse filter"#);
    }

    #[test]
    fn one_direction_alone_is_read_and_keeps_its_packet_numbers() {
        let whole: Vec<_> = lines("psql-prefer/capture.pcap").iter().map(|line| parse(line)).collect();
        for (dir, filter, peer) in [("F", "dst port 5415", "B"), ("B", "src port 5415", "F")] {
            let of = |lines: &[Value]| {
                let of_dir = lines.iter().filter(|line| line["event"] == "message" && line["dir"] == dir);
                of_dir.map(|line| json!([line["type"], line["packet"], line["body"]])).collect::<Vec<_>>()
            };
            let outcome = run([PORT, "-f", filter, "psql-prefer/capture.pcap"]);
            let found: Vec<_> = outcome.lines.iter().map(|line| parse(line)).collect();
            assert_eq!(of(&found), of(&whole), "{filter}");

            // Data of the other side is known from its acknowledgments, and reported as missing.
            let sent = |line: &Value| line["len"].as_u64().unwrap() + u64::from(line["tag"].is_string());
            let peers = whole.iter().filter(|line| line["dir"] == peer);
            let losses: Vec<_> = found.iter().filter(|line| line["event"] == "loss").collect();
            assert_eq!(losses.len(), 1, "{filter}");
            assert_eq!((&losses[0]["dir"], &losses[0]["reason"]), (&json!(peer), &json!("missing")));
            // If a FIN is acknowledged together with the last bytes, it cannot be distinguished from another byte.
            let missed = peers.map(sent).sum::<u64>();
            assert!((missed..=missed + 1).contains(&losses[0]["bytes"].as_u64().unwrap()), "{filter}");
        }
    }

    #[test]
    fn a_filter_that_one_link_type_lacks_does_not_affect_others() {
        let outcome = run([PORT, "-f", "vlan", "formats/vlan.pcap", "formats/null.pcap"]);
        assert_says(&outcome, 2, r#"pgdissect: filter "vlan": no VLAN support for BSD loopback"#);
        assert_eq!(outcome.said.lines().count(), 1, "{}", outcome.said);
        assert_eq!(outcome.lines, lines("formats/vlan.pcap"));
        let outcome = run([PORT, "-f", "vlan", "formats/null.pcap", "formats/vlan.pcap"]);
        assert_eq!((outcome.code, outcome.lines.len()), (Some(2), MESSAGES));
    }
}

mod output {
    use super::*;

    #[test]
    fn lines_into_a_file() {
        let folder = Folder::new();
        let outcome = run([PORT, MICRO, "-o", &folder.file("lines")]);
        assert!(outcome.good().is_empty());
        let written = fs::read_to_string(folder.path().join("lines")).unwrap();
        assert_eq!(written.lines().collect::<Vec<_>>(), lines(MICRO));
        assert_eq!(run([PORT, MICRO, "-o", "-"]).lines, lines(MICRO));
        let missing = folder.file("no/such/folder");
        assert_says(
            &run([PORT, MICRO, "-o", &missing]),
            2,
            &format!("pgdissect: {missing}: cannot be created: No such file"),
        );
    }

    #[test]
    fn packets_written_to_a_file_result_in_the_same_lines() {
        let folder = Folder::new();
        let kept = folder.file("kept.pcap");
        for capture in
            [MICRO, "formats/nano.pcap", "formats/capture.pcapng", "formats/any-sll2.pcap", "formats/raw.pcap"]
        {
            run([PORT, capture, "-w", &kept]).good();
            assert_eq!(lines(&kept), lines(capture), "{capture}");
        }
        let outcome = run([PORT, MICRO, "-w", &folder.file("no/such/folder")]);
        assert_says(&outcome, 2, "cannot be written: No such file");
        // Only packets that match the filter are written.
        run(["-p5415", "-q", MICRO, "-f", "src port 5415", "-w", &kept]);
        let server_only = run(["-p5415", "-estats", &kept]).good();
        assert!(server_only[0]["packets"].as_u64().is_some_and(|packets| 0 < packets && packets < 29));
    }

    #[test]
    fn packets_that_a_file_cannot_hold_are_dissected_all_the_same() {
        let folder = Folder::new();
        let kept = folder.file("kept.pcap");
        let two_link_types = "formats/two-interfaces-split.pcapng";
        let outcome = run([PORT, two_link_types, "-w", &kept]);
        assert_says(&outcome, 1, "a packet of link type 113 (LINUX_SLL) cannot be added");
        assert_eq!(outcome.said.lines().count(), 1, "{}", outcome.said);
        assert_eq!(outcome.lines, lines(two_link_types));
        let packets = run([PORT, "-q", "-e", "stats", &kept]).good()[0]["packets"].as_u64();
        assert!(packets.is_some_and(|packets| 0 < packets && packets < 29), "those of the first link type are there");
    }

    #[test]
    fn a_file_that_is_read_is_not_overwritten() {
        let folder = Folder::new();
        let capture = folder.file("capture.pcap");
        fs::copy(testdata().join(MICRO), &capture).unwrap();
        fs::hard_link(&capture, folder.path().join("also.pcap")).unwrap();
        for args in [["-o", &capture], ["-w", &capture], ["-w", &folder.file("also.pcap")]] {
            let outcome = run([&[PORT, MICRO, capture.as_str()], &args[..]].concat());
            assert_says(&outcome, 2, &format!("pgdissect: {capture}: is an input, and would be overwritten"));
            assert_eq!(fs::read(&capture).unwrap(), read(MICRO));
        }
    }

    #[test]
    fn standard_input_and_output_are_different_files() {
        let folder = Folder::new();
        let capture = fs::File::open(testdata().join(MICRO)).unwrap();
        let output =
            pgdissect([PORT, "-q", "-", "-o", "-"]).current_dir(folder.path()).stdin(capture).output().unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(0), pgdissect([PORT, MICRO]).output().unwrap().stdout));
    }

    #[test]
    fn outputs_are_different_files_however_they_are_named() {
        let folder = Folder::new();
        let (new, keys) = (folder.file("new.pcap"), folder.file("keys.log"));
        fs::write(&keys, "# of one session\n").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let other = folder.path().join("sub/../new.pcap").display().to_string();
        let also = folder.file("also.log");
        fs::hard_link(&keys, &also).unwrap();
        for (args, wanted) in [
            (["-o", &new, "-w", &other], format!("{other}: -o and -w cannot be the same file")),
            (["-w", &new, "--extract", &other], format!("{other}: -w and --extract cannot be the same file")),
            (["-o", &also, "--keylog", &keys], format!("{also}: is a key log, and would be overwritten")),
        ] {
            assert_says(&run([&[PORT, MICRO], &args[..]].concat()), 2, &format!("pgdissect: {wanted}"));
        }
        assert!(!fs::exists(&new).unwrap());
        assert_eq!(fs::read_to_string(&keys).unwrap(), "# of one session\n");
    }

    #[test]
    fn a_full_disk_is_named() {
        for (args, wanted) in [
            (&["-o", "/dev/full"][..], "pgdissect: /dev/full: cannot be written: No space left on device"),
            (&["-w", "/dev/full"], "pgdissect: /dev/full: cannot be written: No space left on device"),
        ] {
            assert_says(&run([&[PORT, MICRO], args].concat()), 2, wanted);
        }
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = pgdissect([PORT, MICRO]).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("pgdissect: standard output: cannot be written: No space left on device"), "{said}");
    }

    #[test]
    fn text_has_a_line_for_each_of_json_but_settings_and_no_control_characters() {
        for capture in [MICRO, "simple-query/capture.pcap", "copy-binary/capture.pcap", "mysql-foreign/capture.pcap"] {
            let args = ["-p5415,5416", "-emessage,loss,stats", capture];
            let json = run(args);
            json.good();
            let text = run([&args[..], &["-F", "text"]].concat());
            assert_eq!((text.code, text.said.as_str()), (Some(0), ""), "{capture}");
            // Settings share a line, and two precede the first.
            let is_setting = |line: &&Value| line["type"] == "ParameterStatus" && line["elapsed_us"].is_u64();
            let values = json.values();
            let mut sessions: Vec<_> = values.iter().filter(is_setting).map(|line| line["conn"].as_u64()).collect();
            let settings = sessions.len();
            sessions.dedup();
            assert_eq!(text.lines.len(), 2 + json.lines.len() - settings + sessions.len(), "{capture}");
            for line in text.lines.iter().chain(&json.lines) {
                assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
            }
        }
    }

    #[test]
    fn long_messages_are_cut_at_the_limit() {
        let found = run(["-p5415", "--max-message", "64", "value-1mb/capture.pcap.gz"]).good();
        let row = found.iter().find(|line| line["type"] == "DataRow").unwrap();
        let after = found.iter().skip_while(|line| line["type"] != "DataRow").nth(1).unwrap();
        assert_eq!(row["flags"], json!(["truncated"]));
        let missing = row["missing"].as_u64().unwrap();
        assert!(row["len"].as_u64().unwrap() - missing <= 4 + 64, "{row}");
        assert_eq!(
            (&after["event"], &after["reason"], &after["bytes"]),
            (&"loss".into(), &"limit".into(), &missing.into())
        );
        // Nothing else is missing.
        let count = |lines: &[Value]| lines.iter().filter(|line| line["event"] == "message").count();
        let whole = run(["-p5415", "value-1mb/capture.pcap.gz"]).good();
        assert_eq!(count(&found), count(&whole));
        assert_eq!(whole.len(), count(&whole), "by default all of it is kept");
    }

    #[test]
    fn secrets_are_masked_unless_asked_for() {
        for capture in ["auth-password-ok/capture.pcap", "auth-scram-ok/capture.pcap", "cancel/capture.pcap"] {
            let masked = run([PORT, capture]);
            let shown = run([PORT, "--show-secrets", capture]);
            let (masked, shown) = (masked.good(), shown.good());
            assert!(masked.iter().any(|line| line.to_string().contains(r#""***""#)), "{capture}");
            assert!(!shown.iter().any(|line| line.to_string().contains(r#""***""#)), "{capture}");
            assert_eq!(masked.len(), shown.len());
        }
        let password = |args: &[&str]| {
            let lines = run([&[PORT, "auth-password-ok/capture.pcap", "-tPasswordMessage"], args].concat()).good();
            lines[0]["body"]["password"].as_str().unwrap().to_owned()
        };
        assert_eq!(password(&[]), "***");
        assert_eq!(password(&["--show-secrets"]), "pw-clear-secret");
    }

    #[test]
    fn values_are_left_out_where_that_is_asked_for() {
        let rows = |args: &[&str]| {
            let lines = run([&[PORT, "extended-query/capture.pcap", "-tDataRow", "-c1"], args].concat()).good();
            lines[0]["body"]["values"].clone()
        };
        let shown = serde_json::json!(["größe", 42, null]);
        assert_eq!((rows(&[]), rows(&["--redact", "secrets"])), (shown.clone(), shown));
        let shapes = serde_json::json!([{ "type": "text", "bytes": 7 }, { "type": "int4", "bytes": 2 }, null]);
        assert_eq!(rows(&["--redact", "values"]), shapes);
        assert_eq!(run(["--redact", "values", "--show-secrets", "x.pcap"]).code, Some(2));
    }

    #[test]
    fn lines_are_as_the_schema_says() {
        let schema = run(["--schema"]);
        assert_eq!((schema.code, schema.said.as_str()), (Some(0), ""));
        let schema = jsonschema::validator_for(&parse(&schema.lines.join("\n"))).unwrap();
        for capture in [MICRO, "simple-query/capture.pcap", "auth-scram-ok/capture.pcap", "mysql-foreign/capture.pcap"]
        {
            for line in run(["-p5415,5416", "-emessage,loss,stats", capture]).good() {
                if let Err(error) = schema.validate(&line) {
                    panic!("{error}: {line}");
                }
            }
        }
        assert!(!schema.is_valid(&json!({"event": "message"})));
    }

    #[test]
    fn color_is_only_where_it_is_asked_for() {
        let escapes = |args: &[&str]| run([&[PORT, MICRO], args].concat()).lines.join("").contains('\u{1b}');
        assert!(!escapes(&["-F", "text"]), "a pipe is no terminal");
        assert!(!escapes(&["-F", "text", "--color", "never"]));
        assert!(escapes(&["-F", "text", "--color", "always"]));
        assert!(!escapes(&["--color", "always"]), "JSON has none");
    }
}

mod usage {
    use super::*;

    #[test]
    fn nothing_to_read_is_an_error() {
        let outcome = run::<&str>([]);
        assert_says(&outcome, 2, "pgdissect: nothing to read: pass a capture file");
    }

    #[test]
    fn wrong_flags_are_refused() {
        for args in [
            &["--no-such-flag"][..],
            &["-p", "0", MICRO],
            &["-p", "65536", MICRO],
            &["-p", "postgres", MICRO],
            &["-c", "0", MICRO],
            &["-e", "massage", MICRO],
            &["-t", "Qeury", MICRO],
            &["-F", "yaml", MICRO],
            &["--max-message", "many", MICRO],
            &["-F", "summary", "-e", "query", MICRO],
            &["-F", "html", "-e", "query,summary", MICRO],
            &["-F", "summary", "-c", "5", MICRO],
            &["-F", "summary", "-t", "Query", MICRO],
            &["--top", "0", "-F", "summary", MICRO],
            &["--baseline", MICRO, MICRO],
            &["-i", "lo", MICRO],
            &["-i", "lo", "-r", MICRO],
            &["-r", MICRO, MICRO],
            &["-w", "-", MICRO],
            // These are only valid with an interface.
            &["-s", "100", MICRO],
            &["-B", "100", MICRO],
            &["-Z", "nobody", MICRO],
            &["--duration", "1s", MICRO],
            &["--stats-interval", "1s", MICRO],
            &["--no-promiscuous", MICRO],
            &["--duration", "1s", "-r", MICRO],
            &["--duration", "1s"],
            &["--log-style", "statement", MICRO],
            &["--log-version", "16", MICRO],
            &["--log-version", "20", "-F", "csvlog", MICRO],
            &["-F", "csvlog", "-t", "Query", MICRO],
            &["-F", "otlp", "--otlp-metrics", "-", MICRO],
            &["--schema", "duckdb", MICRO],
        ] {
            let outcome = run(args);
            assert_eq!(outcome.code, Some(2), "{args:?}");
            assert!(outcome.lines.is_empty() && outcome.said.starts_with("error: "), "{args:?}: {}", outcome.said);
        }
    }

    #[test]
    fn a_filter_where_tcpdump_has_it_gets_a_hint() {
        for args in [&["-i", "lo", "--duration", "1s", "port", "5432"][..], &["-r", MICRO, "port", "5432"]] {
            let outcome = run(args);
            assert_says(
                &outcome,
                2,
                r#"the file "port 5432" cannot be used together; to use it as a filter, pass it with -f"#,
            );
        }
    }

    #[test]
    fn captures_can_be_named_in_a_file_or_on_standard_input() {
        let wanted = run([PORT, "formats/rotated-1.pcap", "formats/rotated-2.pcap"]);
        let folder = Folder::new();
        let list = folder.file("list");
        let names = ["formats/rotated-1.pcap", "formats/rotated-2.pcap"];
        for (end, file) in [("\n", true), ("\0", true), ("\n", false), ("\0", false)] {
            let text = names.map(|name| format!("{}{end}", testdata().join(name).display())).concat();
            let outcome = if file {
                fs::write(&list, text).unwrap();
                run([PORT, "--paths-from", &list])
            } else {
                let mut running = Running::start_with_pipe(&mut pgdissect([PORT, "--paths-from", "-"]));
                running.feed(text.as_bytes());
                running.finish()
            };
            assert_eq!((outcome.code, &outcome.lines), (Some(0), &wanted.lines), "{}", outcome.said);
        }
        // Behind those that are arguments.
        fs::write(&list, testdata().join(names[1]).display().to_string()).unwrap();
        assert_eq!(run([PORT, "--paths-from", &list, names[0]]).lines, wanted.lines);
        fs::write(&list, "\n").unwrap();
        assert_says(&run(["--paths-from", &list]), 2, "names no capture file");
        assert_says(&run(["--paths-from", "/no/such/list"]), 2, "/no/such/list: cannot be read");
    }

    #[test]
    fn help_version_and_interfaces_are_printed() {
        let printed = |args: &[&str]| {
            let outcome = run(args);
            assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
            outcome.lines.join("\n")
        };
        let help = printed(&["--help"]);
        assert!(
            help.contains("Usage: pgdissect")
                && help.contains("  5  the filter of --jq")
                && help.contains("--show-secrets")
        );
        assert!(printed(&["-h"]).len() < help.len());
        assert_eq!(printed(&["-V"]), concat!("pgdissect ", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_man_page_and_completions_have_every_option() {
        let printed = |args: &[&str]| {
            let outcome = run(args);
            assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""), "{args:?}");
            outcome.lines.join("\n")
        };
        let help = printed(&["--help"]);
        let options: Vec<_> = help
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|option| option.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap())
            .filter(|option| !option.is_empty())
            .collect();
        assert!(options.len() > 70, "{options:?}");
        let man = printed(&["--man"]);
        assert!(man.contains(".TH pgdissect 1") && man.contains("Exit codes"), "{man}");
        for option in &options {
            assert!(man.contains(&option.replace('-', "\\-")), "{option} is not in the man page");
        }
        for (shell, form) in [("bash", "--"), ("zsh", "--"), ("fish", "-l ")] {
            let script = printed(&["--completions", shell]);
            for option in &options {
                assert!(script.contains(&format!("{form}{option}")), "{shell} has no {option}");
            }
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", "source /dev/stdin && complete -p pgdissect"]).stdin(Stdio::piped());
        let mut bash = bash.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        bash.stdin.take().unwrap().write_all(printed(&["--completions", "bash"]).as_bytes()).unwrap();
        let output = bash.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_says(&run(["--man", MICRO]), 2, "cannot be used with one or more of the other specified arguments");
    }
}

mod pipes {
    use super::*;

    #[test]
    fn standard_input_can_be_plain_or_compressed() {
        for capture in [MICRO, "formats/capture.pcap.gz", "formats/capture.pcap.zst", "formats/capture.pcapng"] {
            let mut running = Running::start_with_pipe(&mut pgdissect([PORT, "-"]));
            running.feed(&read(capture));
            let outcome = running.finish();
            outcome.good();
            assert_eq!(outcome.lines, lines(capture), "{capture}");
        }
        // A file as standard input, and a file after it.
        let one = fs::File::open(testdata().join("formats/rotated-1.pcap")).unwrap();
        let outcome = Running::start(pgdissect([PORT, "-", "formats/rotated-2.pcap"]).stdin(one)).finish();
        outcome.good();
        assert_eq!(outcome.lines, lines(MICRO));
    }

    #[test]
    fn a_line_comes_when_its_message_is_complete_however_slowly_the_bytes_come() {
        let wanted = lines(MICRO);
        let file = read(MICRO);
        let mut running = Running::start_with_pipe(&mut pgdissect([PORT, "-"]));
        let (mut fed, mut got) = (0, 0);
        for (end, packet) in packet_ends(&file).into_iter().zip(1_u64..) {
            // The last byte of a packet arrives separately: nothing must wait for another byte.
            running.feed(&file[fed..end - 1]);
            running.feed(&file[end - 1..end]);
            fed = end;
            while got < wanted.len() && parse(&wanted[got])["packet"].as_u64() == Some(packet) {
                assert_eq!(running.line(), wanted[got]);
                got += 1;
            }
        }
        assert!(running.is_alive());
        assert_eq!(got, wanted.len());
        assert!(running.finish().good().is_empty());
    }

    #[test]
    fn lines_of_a_compressed_pipe_come_while_it_is_open() {
        for capture in ["formats/capture.pcap.gz", "formats/capture.pcap.zst"] {
            let file = read(capture);
            let mut running = Running::start_with_pipe(&mut pgdissect([PORT, "-"]));
            for piece in file.chunks(100) {
                running.feed(piece);
            }
            for wanted in lines(capture) {
                assert_eq!(running.line(), wanted, "{capture}");
            }
            assert!(running.is_alive());
            assert!(running.finish().good().is_empty());
        }
    }

    #[test]
    fn a_pipe_that_ends_within_a_packet_is_cut_off() {
        let file = read(MICRO);
        let ends = packet_ends(&file);
        let mut running = Running::start_with_pipe(&mut pgdissect([PORT, "-"]));
        running.feed(&file[..ends[7] + 20]);
        let outcome = running.finish();
        assert_says(&outcome, 1, "pgdissect: standard input: byte ");
        assert!(outcome.lines.iter().any(|line| parse(line)["type"] == "Query"), "what came before is there");
    }

    #[test]
    fn a_closed_output_is_a_quiet_end() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = pgdissect([PORT, "rows-3000/capture.pcap"]).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
        // This is detected even before there is anything to write.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut waiting = Running::start_into(writer, pgdissect([PORT, "-"]).stdin(Stdio::piped()));
        waiting.ends();
        assert_eq!(waiting.finish().code, Some(0));
        // The same if only a part was read.
        let program = env!("CARGO_BIN_EXE_pgdissect");
        let script = format!(r#"{{ "{program}" -p5415 rows-3000/capture.pcap; echo "code $?" >&2; }} | head -n 1"#);
        let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(testdata()).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "code 0\n");
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_signal_is_a_clean_end() {
        let file = read(MICRO);
        let half = packet_ends(&file)[13];
        let wanted = lines(MICRO).iter().filter(|line| parse(line)["packet"].as_u64() <= Some(14)).count();
        for signal in ["INT", "TERM"] {
            let mut running = Running::start_with_pipe(&mut pgdissect([PORT, "-emessage,stats", "-"]));
            running.feed(&file[..half + 5]);
            let first = running.line();
            running.signal(signal);
            // Standard input stays open until the command has ended.
            let lines = running.lines_until(|line| line["event"] == "stats");
            let outcome = running.finish();
            assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""), "SIG{signal}");
            assert_eq!(first, super::lines(MICRO)[0]);
            assert_eq!(1 + lines.len() - 1, wanted, "SIG{signal}");
            assert!(outcome.lines.is_empty());
        }
    }

    #[test]
    fn a_signal_ends_it_before_anything_has_come() {
        let mut running = Running::start_with_pipe(&mut pgdissect(["-"]));
        // It only handles signals once it has started, which is not observable, so several are sent.
        while running.is_alive() {
            running.signal("TERM");
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        assert_ne!(running.finish().code, Some(1));
    }
}

mod keylogs {
    use super::*;

    const ENCRYPTED: &str = "tls-suites/TLS_AES_256_GCM_SHA384.pcap";
    const KEYS: &str = "tls-suites/keys.log";

    /// The number of messages in it; two of them are unencrypted.
    const MESSAGES: usize = 90;

    /// Returns the lines of the capture file.
    fn expected() -> Vec<String> {
        let outcome = run(["--keylog", KEYS, ENCRYPTED]);
        assert_eq!(types(&outcome.good()).len(), MESSAGES);
        outcome.lines
    }

    #[test]
    fn a_session_is_read_with_its_keys_from_any_of_several_files() {
        let expected = expected();
        let folder = Folder::new();
        let bad = folder.file("bad");
        fs::write(&bad, "CLIENT_RANDOM 00\n\u{0}\n# a comment\nnothing").unwrap();
        let outcome = run(["--keylog", &bad, "--keylog", KEYS, "-e", "message,loss,stats", ENCRYPTED]);
        outcome.good();
        let (stats, lines) = outcome.lines.split_last().unwrap();
        assert_eq!(lines, expected);
        assert_eq!(parse(stats)["bad_key_lines"], 3);
        assert_eq!(parse(stats)["decrypted_bytes"], 8_999);
    }

    #[test]
    fn keys_within_the_capture_are_enough_also_where_it_is_read_ahead() {
        let expected = run(["--keylog", KEYS, "tls-suites/TLS_CHACHA20_POLY1305_SHA256.pcap"]).lines;
        assert_eq!(run(["tls-secrets/capture.pcapng"]).lines, expected);
        assert_eq!(run(["-j1", "tls-secrets/capture.pcapng"]).lines, expected);
        assert_eq!(run(["-j4", "tls-secrets/capture.pcapng"]).lines, expected);
    }

    #[test]
    fn a_key_log_that_is_not_there_is_named() {
        let outcome = run(["--keylog", "nosuch.log", ENCRYPTED]);
        assert_says(&outcome, 2, "pgdissect: nosuch.log: cannot be read: No such file or directory");
        assert!(outcome.lines.is_empty());
    }

    #[test]
    fn a_key_log_is_followed_as_it_grows_while_packets_come() {
        let expected = expected();
        let folder = Folder::new();
        let keys = folder.file("keys.log");
        let capture = read(ENCRYPTED);
        let ends = packet_ends(&capture);
        let mut running = Running::start_with_pipe(&mut pgdissect(["--keylog", &keys, "-"]));
        running.feed(&capture[..ends[20]]);
        let mut lines: Vec<String> = (0..2).map(|_| running.line()).collect();
        assert_eq!(lines, expected[..2], "what is in clear");
        // The key log now exists, and ends in the middle of a line.
        let log = fs::read_to_string(testdata().join(KEYS)).unwrap();
        let random = run(["-e", "session", ENCRYPTED]).good()[0]["tls"]["client_random"].as_str().unwrap().to_owned();
        let log: String = log.lines().filter(|line| line.contains(&random)).flat_map(|line| [line, "\n"]).collect();
        fs::write(&keys, &log[..log.len() - 40]).unwrap();
        running.feed(&capture[ends[20]..]);
        let mut file = fs::OpenOptions::new().append(true).open(&keys).unwrap();
        std::io::Write::write_all(&mut file, &log.as_bytes()[log.len() - 40..]).unwrap();
        // Its standard input is still open.
        lines.extend((2..expected.len()).map(|_| running.line()));
        assert_eq!(lines, expected);
        running.hang_up();
        assert_eq!(running.finish().lines, [""; 0]);
    }

    #[test]
    fn a_key_log_that_never_comes_is_missed_at_the_end() {
        let folder = Folder::new();
        let keys = folder.file("keys.log");
        let mut running = Running::start_with_pipe(&mut pgdissect(["-q", "--keylog", &keys, "-"]));
        running.feed(&read(ENCRYPTED));
        assert_eq!(parse(&running.line())["type"], "SSLRequest");
        let outcome = running.finish();
        assert_eq!(
            outcome.said,
            format!("pgdissect: {keys}: cannot be read: No such file or directory (os error 2)\n")
        );
        assert_eq!(outcome.code, Some(0));
        assert!(outcome.values().iter().any(|line| line["reason"] == "undecryptable"));
    }
}
