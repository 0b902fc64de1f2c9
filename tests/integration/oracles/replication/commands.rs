//! Every command of a walsender, with the server's answer (`results-*.jsonl`), and its trace by libpq.

use std::collections::{BTreeMap, BTreeSet};

use pgdissect::replication::command::Command;
use serde_json::{Value, json};

use super::{dissect, jsonl};

const VERSIONS: [&str; 3] = ["14", "15", "18"];

fn parsed(command: &str) -> Option<Value> {
    Command::parse(command.as_bytes()).map(|command| serde_json::to_value(command).unwrap())
}

#[test]
fn what_a_server_accepts_as_a_command_is_parsed_as_that_command() {
    // The three versions accept different syntax, and the parser that of all.
    let mut is_accepted: BTreeMap<String, bool> = BTreeMap::new();
    let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for version in VERSIONS {
        for result in jsonl(&format!("replication-commands/results-{version}.jsonl")) {
            let text = result["command"].as_str().unwrap().to_owned();
            let error = result["error"].as_str().unwrap_or_default();
            *is_accepted.entry(text.clone()).or_default() |=
                !["syntax error", "invalid timeline"].iter().any(|refused| error.contains(refused));
            tags.entry(text).or_default().extend(result["tag"].as_str().map(str::to_owned));
        }
    }
    let mut commands = 0;
    for (text, is_accepted) in &is_accepted {
        let word: String = text.chars().take_while(|char| char.is_ascii_alphabetic() || *char == '_').collect();
        let is_replication = word.contains('_') || word == "SHOW";
        let Some(command) = parsed(text) else {
            assert!(!is_accepted || !is_replication, "{text}");
            continue;
        };
        // In lower case it is none to a server, which `command` says of itself.
        assert!(*is_accepted && is_replication || text == "identify_system", "{text}: {command}");
        assert_eq!(command["command"], word.to_uppercase(), "{text}");
        let tags = &tags[text];
        let of_stream = ["COPY 0", "START_STREAMING", "SELECT"];
        assert!(tags.iter().all(|tag| *tag == word || of_stream.contains(&tag.as_str())), "{text}: {tags:?}");
        commands += 1;
    }
    assert!(commands > 70, "{commands} of {}", is_accepted.len());
}

#[test]
fn fields_are_those_of_the_answers() {
    let mut seen = BTreeSet::new();
    for version in VERSIONS {
        for result in jsonl(&format!("replication-commands/results-{version}.jsonl")) {
            let text = result["command"].as_str().unwrap();
            let row = &result["rows"][0];
            let value = |column: &str| {
                let place = result["columns"].as_array().unwrap().iter().position(|name| name == column).unwrap();
                &row[place]
            };
            let Some(command) = parsed(text).filter(|_| !row.is_null()) else { continue };
            let name = command["command"].as_str().unwrap().to_owned();
            match &*name {
                "CREATE_REPLICATION_SLOT" => {
                    assert_eq!(&command["slot"], value("slot_name"), "{text}");
                    assert_eq!(command.get("plugin").unwrap_or(&Value::Null), value("output_plugin"), "{text}");
                    // Without a word on it, a server exports it.
                    let is_exported =
                        command["kind"] == "logical" && matches!(command["snapshot"].as_str(), None | Some("export"));
                    assert_eq!(is_exported, !value("snapshot_name").is_null(), "{text}");
                }
                "SHOW" => assert_eq!(command["name"], result["columns"][0], "{text}"),
                _ => {}
            }
            seen.insert(name);
        }
    }
    assert!(
        seen.contains("CREATE_REPLICATION_SLOT") && seen.contains("SHOW") && seen.contains("READ_REPLICATION_SLOT")
    );
}

#[test]
fn options_of_both_syntaxes_are_the_same_fields() {
    let slot = |rest: Value| {
        let mut command = json!({ "command": "CREATE_REPLICATION_SLOT", "kind": "logical", "plugin": "pgoutput" });
        command.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        command
    };
    for (text, wanted) in [
        (
            "CREATE_REPLICATION_SLOT l2 LOGICAL \"pgoutput\" EXPORT_SNAPSHOT",
            slot(json!({ "slot": "l2", "snapshot": "export" })),
        ),
        (
            "CREATE_REPLICATION_SLOT l3 TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT",
            slot(json!({ "slot": "l3", "temporary": true, "snapshot": "nothing" })),
        ),
        (
            "CREATE_REPLICATION_SLOT n4 LOGICAL pgoutput (SNAPSHOT 'nothing', TWO_PHASE)",
            slot(json!({ "slot": "n4", "snapshot": "nothing", "two_phase": true })),
        ),
        (
            "CREATE_REPLICATION_SLOT f1 LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER)",
            slot(json!({ "slot": "f1", "snapshot": "nothing", "failover": true })),
        ),
        (
            "CREATE_REPLICATION_SLOT n9 LOGICAL pgoutput (NO_SUCH_OPTION)",
            slot(json!({ "slot": "n9", "options": { "no_such_option": null } })),
        ),
        (
            "START_REPLICATION SLOT l2 LOGICAL 0/0 (proto_version '1', publication_names '\"pub\",\"other one\"')",
            json!({ "command": "START_REPLICATION", "slot": "l2", "kind": "logical", "lsn": "0/0",
                "options": { "proto_version": "1", "publication_names": "\"pub\",\"other one\"" } }),
        ),
        (
            "START_REPLICATION SLOT \"l1\" LOGICAL 0/0 (\"include-xids\" '0', \"skip-empty-xacts\")",
            json!({ "command": "START_REPLICATION", "slot": "l1", "kind": "logical", "lsn": "0/0",
                "options": { "include-xids": "0", "skip-empty-xacts": null } }),
        ),
        (
            "START_REPLICATION FFFFFFFF/0",
            json!({ "command": "START_REPLICATION", "kind": "physical", "lsn": "FFFFFFFF/0" }),
        ),
        (
            "DROP_REPLICATION_SLOT \"p2\" WAIT",
            json!({ "command": "DROP_REPLICATION_SLOT", "slot": "p2", "wait": true }),
        ),
        (
            "ALTER_REPLICATION_SLOT \"l2\" ( FAILOVER false, TWO_PHASE true );",
            json!({ "command": "ALTER_REPLICATION_SLOT", "slot": "l2", "options": { "failover": "false", "two_phase": "true" } }),
        ),
        (
            "BASE_BACKUP (LABEL 'to nowhere', PROGRESS, CHECKPOINT 'fast', WAIT 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'NONE', VERIFY_CHECKSUMS false, TARGET 'blackhole')",
            json!({ "command": "BASE_BACKUP", "backup_label": "to nowhere", "progress": true, "checkpoint": "fast", "wait": false,
                "manifest": "yes", "manifest_checksums": "NONE", "verify_checksums": false, "backup_target": "blackhole" }),
        ),
        (
            "BASE_BACKUP LABEL 'it''s' PROGRESS FAST WAL NOWAIT MAX_RATE 1 TABLESPACE_MAP NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'none'",
            json!({ "command": "BASE_BACKUP", "backup_label": "it's", "progress": true, "checkpoint": "fast", "wal": true, "wait": false,
                "max_rate": 1, "tablespace_map": true, "verify_checksums": false, "manifest": "yes", "manifest_checksums": "none" }),
        ),
    ] {
        let sent = VERSIONS.iter().any(|version| {
            jsonl(&format!("replication-commands/results-{version}.jsonl"))
                .iter()
                .any(|result| result["command"] == text)
        });
        assert!(sent, "{text}");
        assert_eq!(parsed(text), Some(wanted), "{text}");
    }
}

/// Returns the commands of a connection, each with whether it was answered without an error: libpq returns several results for one.
fn answered(results: &[Value], conn: u64) -> Vec<(&str, bool)> {
    let mut commands: Vec<(&str, bool)> = Vec::new();
    let mut is_open = false;
    for result in results.iter().filter(|result| result["connection"] == conn) {
        let command = result["command"].as_str().unwrap();
        let goes_on = is_open && commands.last().is_some_and(|(last, _)| *last == command);
        if !goes_on {
            commands.push((command, true));
        }
        let is_error = !result["error"].is_null();
        commands.last_mut().unwrap().1 = !is_error && result["status"] != "COPY_BOTH";
        let is_last = !matches!(result["tag"].as_str(), None | Some("COPY 0" | "START_STREAMING" | "SELECT"));
        // libpq makes a result of its own of the end of the connection.
        let is_fatal = result["error"].as_str().is_some_and(|error| error.starts_with("FATAL"));
        is_open = is_fatal || !is_error && (!is_last || command.contains("; "));
    }
    commands
}

#[test]
fn each_command_has_its_own_outcome() {
    for version in VERSIONS {
        let lines = dissect(&format!("replication-commands/commands-{version}.pcap"));
        let results = jsonl(&format!("replication-commands/results-{version}.jsonl"));
        for conn in 1..=5 {
            let of_conn = lines.iter().map(|line| &line.value).filter(|line| line["conn"] == conn);
            let mut had: Vec<&Value> = of_conn.filter(|line| line["event"] == "query").collect();
            had.sort_by_key(|line| line["query"].as_u64());
            let had: Vec<_> =
                had.iter().map(|line| (line["sql"].as_str().unwrap_or_default(), line["outcome"] == "ok")).collect();
            assert_eq!(had, answered(&results, conn), "{version}, connection {conn}");
        }
    }
}
