//! What lines of sessions and requests have of replication, against the commands that the captures' `how-made.md` has.

use serde_json::{Value, json};

use super::{Line, dissect};

fn ended(lines: &[Line]) -> Vec<&Value> {
    lines.iter().map(|line| &line.value).filter(|line| line["state"] == "ended").collect()
}

#[test]
fn sessions_say_what_they_are_for() {
    for (capture, wanted) in [
        (
            "replication-pgoutput-v1/capture.pcap",
            json!({ "replication": "logical", "slot": "recv", "plugin": "pgoutput", "publications": ["pub", "pub_root"] }),
        ),
        (
            "replication-pgoutput-v4-parallel/capture.pcap.gz",
            json!({ "replication": "logical", "slot": "recv", "plugin": "pgoutput", "publications": ["pub"] }),
        ),
        (
            "replication-physical/receivewal.pcap.gz",
            json!({ "replication": "physical", "slot": "archive", "timeline": 1 }),
        ),
        ("replication-physical/timeline.pcap.gz", json!({ "replication": "physical", "timeline": 2 })),
        ("replication-base-backup/gzip-15.pcap.gz", json!({ "replication": "backup" })),
    ] {
        let lines = dissect(capture);
        let sessions = ended(&lines);
        let fields = ["replication", "slot", "plugin", "publications", "timeline"];
        let of_session = |line: &&Value| {
            let present = fields.into_iter().filter_map(|name| Some((name.to_owned(), line.get(name)?.clone())));
            Value::Object(present.collect())
        };
        let all: Vec<Value> = sessions.iter().map(of_session).collect();
        assert!(all.contains(&wanted), "{capture}: {all:?}");
    }
}

#[test]
fn a_query_to_a_walsender_has_the_fields_of_its_command() {
    let lines = dissect("replication-commands/commands-18.pcap");
    let mut commands = 0;
    for line in lines.iter().map(|line| &line.value).filter(|line| line["type"] == "Query") {
        let text = line["body"]["query"].as_str().unwrap();
        let parsed = pgdissect::replication::command::Command::parse(text.as_bytes());
        let wanted = parsed.map(|command| serde_json::to_value(command).unwrap());
        assert_eq!(line.get("replication_command"), wanted.as_ref(), "{text}");
        commands += usize::from(wanted.is_some());
    }
    assert!(commands > 60, "{commands}");
}
