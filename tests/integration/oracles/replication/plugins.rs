//! Plugins that write text or JSON: each XLogData is what `pg_recvlogical` has written.

use serde_json::Value;

use super::{Line, dissect, streamed, text};

fn data(name: &str) -> Vec<Value> {
    let lines = dissect(&format!("replication-text-plugins/{name}.pcap.gz"));
    assert!(lines.iter().all(|line| !line.is("loss") && !line.is("change") && !line.is("transaction")));
    let payloads = streamed(&lines).filter(|line| line.payload().is_some());
    let data = |line: &Line| {
        assert!(line.value.get("flags").is_none() && line.value["body"].get("bytes").is_none(), "{}", line.value);
        line.value["body"]["data"].clone()
    };
    payloads.map(data).collect()
}

#[test]
fn text_is_that_which_the_client_received() {
    let lines: Vec<String> =
        data("test_decoding").iter().map(|data| data.as_str().unwrap().to_owned() + "\n").collect();
    assert_eq!(lines.len(), 385);
    assert_eq!(lines.concat(), text("replication-text-plugins/test_decoding.out.gz"));
}

#[test]
fn json_is_json() {
    for (name, count) in [("wal2json_1", 14), ("wal2json_2", 382)] {
        let lines = dissect(&format!("replication-text-plugins/{name}.pcap.gz"));
        let (mut received, mut objects) = (String::new(), 0);
        for line in streamed(&lines) {
            let Some(payload) = line.payload() else { continue };
            let (data, text) = (&line.value["body"]["data"], std::str::from_utf8(payload).unwrap());
            match serde_json::from_str::<Value>(text) {
                Ok(value) => assert_eq!(data, &value, "{name}"),
                // The first change of a transaction begins with a comma if it is a message without a transaction.
                Err(_) => assert_eq!(data, text, "{name}"),
            }
            objects += usize::from(data.is_object());
            received = received + text + "\n";
        }
        assert_eq!(objects, count, "{name}");
        assert_eq!(received, text(&format!("replication-text-plugins/{name}.out.gz")), "{name}");
    }
}
