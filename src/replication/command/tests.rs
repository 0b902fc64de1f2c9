use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::*;

/// Commands as clients send them, and what they are written as.
const SENT: &[(&str, &str)] = &[
    ("IDENTIFY_SYSTEM", r#"{"command":"IDENTIFY_SYSTEM"}"#),
    // pg_basebackup and pg_receivewal ask for these first.
    ("SHOW wal_segment_size", r#"{"command":"SHOW","name":"wal_segment_size"}"#),
    ("SHOW data_directory_mode", r#"{"command":"SHOW","name":"data_directory_mode"}"#),
    ("SHOW TimeZone", r#"{"command":"SHOW","name":"timezone"}"#),
    ("SHOW my.secret;", r#"{"command":"SHOW","name":"my.secret"}"#),
    // walreceiver, pg_basebackup -X stream
    ("TIMELINE_HISTORY 2", r#"{"command":"TIMELINE_HISTORY","timeline":2}"#),
    // pg_receivewal since 15
    ("READ_REPLICATION_SLOT archive", r#"{"command":"READ_REPLICATION_SLOT","slot":"archive"}"#),
    // pg_recvlogical 9.4 to 9.6; 10 to 14; since 15
    (
        r#"CREATE_REPLICATION_SLOT "recv" LOGICAL "test_decoding""#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"recv","kind":"logical","plugin":"test_decoding"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "recv" LOGICAL "test_decoding" NOEXPORT_SNAPSHOT"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"recv","kind":"logical","plugin":"test_decoding","snapshot":"nothing"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "recv" LOGICAL "test_decoding" ( SNAPSHOT 'nothing')"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"recv","kind":"logical","plugin":"test_decoding","snapshot":"nothing"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "recv" LOGICAL "pgoutput" ( FAILOVER,  TWO_PHASE,  SNAPSHOT 'nothing')"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"recv","kind":"logical","plugin":"pgoutput","snapshot":"nothing","two_phase":true,"failover":true}"#,
    ),
    // pg_receivewal 9.6 to 14; since 15
    (
        r#"CREATE_REPLICATION_SLOT "archive" PHYSICAL RESERVE_WAL"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"archive","kind":"physical","reserve_wal":true}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "archive" PHYSICAL ( RESERVE_WAL)"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"archive","kind":"physical","reserve_wal":true}"#,
    ),
    // pg_basebackup -X stream and walreceiver
    (
        r#"CREATE_REPLICATION_SLOT "pg_basebackup_4711" TEMPORARY PHYSICAL ( RESERVE_WAL)"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"pg_basebackup_4711","temporary":true,"kind":"physical","reserve_wal":true}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "pg_walreceiver_815" TEMPORARY PHYSICAL (RESERVE_WAL)"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"pg_walreceiver_815","temporary":true,"kind":"physical","reserve_wal":true}"#,
    ),
    // CREATE SUBSCRIPTION up to 14; the workers that copy its tables since 15, and up to 14
    (
        r#"CREATE_REPLICATION_SLOT "sub" LOGICAL pgoutput NOEXPORT_SNAPSHOT"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"sub","kind":"logical","plugin":"pgoutput","snapshot":"nothing"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "pg_16699_sync_16691_7712750776586012910" LOGICAL pgoutput (SNAPSHOT 'use')"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"pg_16699_sync_16691_7712750776586012910","kind":"logical","plugin":"pgoutput","snapshot":"use"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "pg_16699_sync_16691_7712750776586012910" LOGICAL pgoutput USE_SNAPSHOT"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"pg_16699_sync_16691_7712750776586012910","kind":"logical","plugin":"pgoutput","snapshot":"use"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "sub" LOGICAL pgoutput (TWO_PHASE, FAILOVER, SNAPSHOT 'export')"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"sub","kind":"logical","plugin":"pgoutput","snapshot":"export","two_phase":true,"failover":true}"#,
    ),
    // Debezium; pgjdbc; psycopg2
    (
        r#"CREATE_REPLICATION_SLOT "debezium"  LOGICAL pgoutput"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"debezium","kind":"logical","plugin":"pgoutput"}"#,
    ),
    (
        "CREATE_REPLICATION_SLOT demo TEMPORARY LOGICAL pgoutput",
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"demo","temporary":true,"kind":"logical","plugin":"pgoutput"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "pytest" LOGICAL "wal2json""#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"pytest","kind":"logical","plugin":"wal2json"}"#,
    ),
    (
        r#"CREATE_REPLICATION_SLOT "pytest" PHYSICAL"#,
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"pytest","kind":"physical"}"#,
    ),
    // ALTER SUBSCRIPTION since 17
    (
        "ALTER_REPLICATION_SLOT sub ( FAILOVER true, TWO_PHASE false );",
        r#"{"command":"ALTER_REPLICATION_SLOT","slot":"sub","options":{"failover":"true","two_phase":"false"}}"#,
    ),
    (r#"DROP_REPLICATION_SLOT "recv""#, r#"{"command":"DROP_REPLICATION_SLOT","slot":"recv"}"#),
    ("DROP_REPLICATION_SLOT sub WAIT", r#"{"command":"DROP_REPLICATION_SLOT","slot":"sub","wait":true}"#),
    // pg_receivewal, pg_basebackup -X stream; walreceiver
    (
        "START_REPLICATION 0/3000000 TIMELINE 1",
        r#"{"command":"START_REPLICATION","kind":"physical","lsn":"0/3000000","timeline":1}"#,
    ),
    (
        r#"START_REPLICATION SLOT "archive"  1A/3000000 TIMELINE 4"#,
        r#"{"command":"START_REPLICATION","slot":"archive","kind":"physical","lsn":"1A/3000000","timeline":4}"#,
    ),
    // pgjdbc; psycopg2
    (
        "START_REPLICATION SLOT standby PHYSICAL 0/16B3748",
        r#"{"command":"START_REPLICATION","slot":"standby","kind":"physical","lsn":"0/16B3748"}"#,
    ),
    ("START_REPLICATION 0/00000000", r#"{"command":"START_REPLICATION","kind":"physical","lsn":"0/0"}"#),
    // pg_recvlogical
    (
        r#"START_REPLICATION SLOT "recv" LOGICAL 0/0"#,
        r#"{"command":"START_REPLICATION","slot":"recv","kind":"logical","lsn":"0/0"}"#,
    ),
    (
        r#"START_REPLICATION SLOT "recv" LOGICAL FFFFFFFF/16B3748 ("include-xids" '1', "skip-empty-xacts")"#,
        r#"{"command":"START_REPLICATION","slot":"recv","kind":"logical","lsn":"FFFFFFFF/16B3748","options":{"include-xids":"1","skip-empty-xacts":null}}"#,
    ),
    (
        r#"START_REPLICATION SLOT "recv" LOGICAL 0/0 ("proto_version" '4', "publication_names" 'pub', "messages" 'true', "streaming" 'parallel', "binary" 'true', "origin" 'none')"#,
        r#"{"command":"START_REPLICATION","slot":"recv","kind":"logical","lsn":"0/0","options":{"proto_version":"4","publication_names":"pub","messages":"true","streaming":"parallel","binary":"true","origin":"none"}}"#,
    ),
    // A subscription of 10, and of 18
    (
        r#"START_REPLICATION SLOT "sub" LOGICAL 0/0 (proto_version '1', publication_names '"pub"')"#,
        r#"{"command":"START_REPLICATION","slot":"sub","kind":"logical","lsn":"0/0","options":{"proto_version":"1","publication_names":"\"pub\""}}"#,
    ),
    (
        r#"START_REPLICATION SLOT "sub" LOGICAL 0/61A1958 (proto_version '4', streaming 'parallel', two_phase 'on', origin 'any', publication_names '"pub","it''s ""b"""', binary 'true')"#,
        r#"{"command":"START_REPLICATION","slot":"sub","kind":"logical","lsn":"0/61A1958","options":{"proto_version":"4","streaming":"parallel","two_phase":"on","origin":"any","publication_names":"\"pub\",\"it's \"\"b\"\"\"","binary":"true"}}"#,
    ),
    // Debezium
    (
        r#"START_REPLICATION SLOT "debezium" LOGICAL 0/1774230 ("proto_version" '1', "publication_names" 'dbz_publication', "messages" 'true')"#,
        r#"{"command":"START_REPLICATION","slot":"debezium","kind":"logical","lsn":"0/1774230","options":{"proto_version":"1","publication_names":"dbz_publication","messages":"true"}}"#,
    ),
    // psycopg2
    (
        r#"START_REPLICATION SLOT "pytest" LOGICAL 0/00000000 ("pretty-print" '1', "add-tables" 'public.*')"#,
        r#"{"command":"START_REPLICATION","slot":"pytest","kind":"logical","lsn":"0/0","options":{"pretty-print":"1","add-tables":"public.*"}}"#,
    ),
    // pg_basebackup 9.4; 13 and 14 with all that can be asked for
    (
        "BASE_BACKUP LABEL 'pg_basebackup base backup'    NOWAIT  ",
        r#"{"command":"BASE_BACKUP","backup_label":"pg_basebackup base backup","wait":false}"#,
    ),
    (
        "BASE_BACKUP LABEL 'it''s' PROGRESS WAL FAST NOWAIT MAX_RATE 1024 TABLESPACE_MAP NOVERIFY_CHECKSUMS MANIFEST 'force-encode' MANIFEST_CHECKSUMS 'SHA256'",
        r#"{"command":"BASE_BACKUP","backup_label":"it's","progress":true,"checkpoint":"fast","wal":true,"wait":false,"max_rate":1024,"tablespace_map":true,"verify_checksums":false,"manifest":"force-encode","manifest_checksums":"SHA256"}"#,
    ),
    (
        "BASE_BACKUP LABEL 'pg_basebackup base backup' PROGRESS   NOWAIT    MANIFEST 'yes' ",
        r#"{"command":"BASE_BACKUP","backup_label":"pg_basebackup base backup","progress":true,"wait":false,"manifest":"yes"}"#,
    ),
    // pg_basebackup 15 to 18, of a server of 14 and older, and of one since 15
    (
        "BASE_BACKUP  LABEL 'pg_basebackup base backup'  PROGRESS  FAST  NOWAIT  MANIFEST 'yes'",
        r#"{"command":"BASE_BACKUP","backup_label":"pg_basebackup base backup","progress":true,"checkpoint":"fast","wait":false,"manifest":"yes"}"#,
    ),
    (
        "BASE_BACKUP ( LABEL 'pg_basebackup base backup',  PROGRESS,  CHECKPOINT 'fast',  WAIT 0,  MANIFEST 'yes',  TARGET 'client')",
        r#"{"command":"BASE_BACKUP","backup_label":"pg_basebackup base backup","progress":true,"checkpoint":"fast","wait":false,"manifest":"yes","backup_target":"client"}"#,
    ),
    (
        "BASE_BACKUP ( LABEL 'b',  PROGRESS,  WAL,  WAIT 0,  MAX_RATE 32,  TABLESPACE_MAP,  VERIFY_CHECKSUMS 0,  MANIFEST 'force-encode',  MANIFEST_CHECKSUMS 'sha256',  INCREMENTAL,  TARGET 'server',  TARGET_DETAIL '/backups',  COMPRESSION 'zstd',  COMPRESSION_DETAIL 'level=3,workers=4')",
        r#"{"command":"BASE_BACKUP","backup_label":"b","progress":true,"wal":true,"wait":false,"max_rate":32,"tablespace_map":true,"verify_checksums":false,"manifest":"force-encode","manifest_checksums":"sha256","backup_target":"server","target_detail":"/backups","compression":"zstd","compression_detail":"level=3,workers=4","incremental":true}"#,
    ),
    // pgmoneta, of a server of 14 and older
    (
        "BASE_BACKUP LABEL 'pgmoneta_20260101' FAST WAL NOWAIT MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA512';",
        r#"{"command":"BASE_BACKUP","backup_label":"pgmoneta_20260101","checkpoint":"fast","wal":true,"wait":false,"manifest":"yes","manifest_checksums":"SHA512"}"#,
    ),
    ("UPLOAD_MANIFEST", r#"{"command":"UPLOAD_MANIFEST"}"#),
];

fn parse(sql: &str) -> Option<Command<'_>> {
    Command::parse(sql.as_bytes())
}

fn json(sql: &[u8]) -> Option<String> {
    Command::parse(sql).map(|command| serde_json::to_string(&command).unwrap())
}

#[track_caller]
fn assert_json(sql: &str, expected: &str) {
    assert_eq!(json(sql.as_bytes()).as_deref(), Some(expected), "{sql}");
}

#[track_caller]
fn assert_none(sql: &str) {
    assert_eq!(parse(sql), None, "{sql}");
}

fn start(sql: &str) -> StartReplication<'_> {
    match parse(sql) {
        Some(Command::StartReplication(start)) => start,
        other => panic!("{other:?}"),
    }
}

fn publications(list: &str) -> Vec<String> {
    let sql = format!("START_REPLICATION SLOT s LOGICAL 0/0 (publication_names '{list}')");
    start(&sql).publications().map(|name| name.to_str_lossy().into_owned()).collect()
}

#[test]
fn what_clients_send() {
    for (sql, expected) in SENT {
        assert_json(sql, expected);
    }
}

#[test]
fn case_whitespace_and_a_semicolon_make_no_difference() {
    for (sql, expected) in SENT {
        let sql = sql.trim_end_matches([';', ' ']);
        assert_json(&format!(" \t\r\n\x0b\x0c{sql}\n;\n"), expected);
        assert_none(&format!("{sql};;"));
        assert_none(&format!(";{sql}"));
        assert_none(&format!("{sql}; {sql}"));
    }
    assert_json(
        "start_replication\nSlot\tS\rLogical\n0/a(Proto_Version'1',\"B\"'x')",
        r#"{"command":"START_REPLICATION","slot":"s","kind":"logical","lsn":"0/A","options":{"proto_version":"1","B":"x"}}"#,
    );
    assert_json("base_backup(label'x')", r#"{"command":"BASE_BACKUP","backup_label":"x"}"#);
    assert_json("Show ALL", r#"{"command":"SHOW","name":"all"}"#);
}

#[test]
fn nothing_may_follow() {
    let after =
        ["x", "WAIT WAIT", "'x'", "\"x\"", "0", "0/0", "(", ")", ",", ".", "-- x", "/* x */", "'", "\"", "$1", "\0"];
    for (sql, _) in SENT {
        let sql = sql.trim_end_matches([';', ' ']);
        for after in after {
            assert_none(&format!("{sql} {after}"));
            assert_none(&format!("{sql}; {after}"));
        }
    }
}

#[test]
fn plain_sql_is_no_command() {
    for sql in [
        "",
        " ",
        ";",
        "SELECT 1",
        "select pg_catalog.set_config('search_path', '', false);",
        "COPY t TO STDOUT",
        "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ",
        "-- x\nIDENTIFY_SYSTEM",
        "/* x */ SHOW wal_level",
        "IDENTIFY_SYSTEMS",
        "\"IDENTIFY_SYSTEM\"",
        "'IDENTIFY_SYSTEM'",
        "IDENTIFY SYSTEM",
        "0/0",
        "SHOWwal_level",
        "\u{feff}SHOW wal_level",
    ] {
        assert_none(sql);
    }
}

#[test]
fn half_and_malformed_commands() {
    for sql in [
        "SHOW",
        "SHOW ;",
        "SHOW a.",
        "SHOW .a",
        "SHOW a..b",
        "SHOW a b",
        "SHOW 'a'",
        "SHOW 1",
        "SHOW SLOT",
        "SHOW TIME ZONE",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "SHOW a -- b",
        "SHOW \"a",
        "TIMELINE_HISTORY",
        "TIMELINE_HISTORY 0",
        "TIMELINE_HISTORY -1",
        "TIMELINE_HISTORY 1.5",
        "TIMELINE_HISTORY '1'",
        "TIMELINE_HISTORY 4294967296",
        "READ_REPLICATION_SLOT",
        "CREATE_REPLICATION_SLOT",
        "CREATE_REPLICATION_SLOT s",
        "CREATE_REPLICATION_SLOT s TEMPORARY",
        "CREATE_REPLICATION_SLOT s LOGICAL",
        "CREATE_REPLICATION_SLOT LOGICAL pgoutput",
        "CREATE_REPLICATION_SLOT TEMPORARY LOGICAL pgoutput",
        "CREATE_REPLICATION_SLOT s LOGICAL TEMPORARY pgoutput",
        "CREATE_REPLICATION_SLOT s PHYSICAL pgoutput",
        "CREATE_REPLICATION_SLOT s PHYSICAL (",
        "CREATE_REPLICATION_SLOT s PHYSICAL ()",
        "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL",
        "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL,",
        "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL,)",
        "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL WAIT)",
        "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL) RESERVE_WAL",
        "CREATE_REPLICATION_SLOT s PHYSICAL RESERVE_WAL (RESERVE_WAL)",
        "CREATE_REPLICATION_SLOT s LOGICAL p FAILOVER",
        "CREATE_REPLICATION_SLOT s LOGICAL p (SNAPSHOT 'use",
        "ALTER_REPLICATION_SLOT",
        "ALTER_REPLICATION_SLOT s",
        "ALTER_REPLICATION_SLOT s ()",
        "ALTER_REPLICATION_SLOT s FAILOVER",
        "DROP_REPLICATION_SLOT",
        "DROP_REPLICATION_SLOT WAIT",
        "DROP_REPLICATION_SLOT s NOWAIT",
        "DROP_REPLICATION_SLOT a.b",
        "START_REPLICATION",
        "START_REPLICATION SLOT",
        "START_REPLICATION SLOT s",
        "START_REPLICATION SLOT LOGICAL 0/0",
        "START_REPLICATION SLOT PHYSICAL 0/0",
        "START_REPLICATION SLOT 's' 0/0",
        "START_REPLICATION SLOT s LOGICAL",
        "START_REPLICATION SLOT s LOGICAL 0",
        "START_REPLICATION SLOT s LOGICAL 0/",
        "START_REPLICATION SLOT s LOGICAL 0 /0",
        "START_REPLICATION SLOT s LOGICAL /0",
        "START_REPLICATION SLOT s LOGICAL 0/x",
        "START_REPLICATION SLOT s LOGICAL 100000000/0",
        "START_REPLICATION SLOT s LOGICAL 0/000000000",
        "START_REPLICATION SLOT s LOGICAL 0/0 TIMELINE 1",
        "START_REPLICATION SLOT s LOGICAL 0/0 ()",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a 1)",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a b)",
        "START_REPLICATION SLOT s LOGICAL 0/0 (SLOT 'b')",
        "START_REPLICATION SLOT s LOGICAL 0/0 ('a' 'b')",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a E'b')",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a 'b' 'c')",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a 'b'",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a 'b',",
        "START_REPLICATION SLOT s LOGICAL 0/0 (a 'b')(c 'd')",
        "START_REPLICATION LOGICAL 0/0",
        "START_REPLICATION 0/0 TIMELINE",
        "START_REPLICATION 0/0 TIMELINE 0",
        "START_REPLICATION 0/0 TIMELINE 1 (a 'b')",
        "START_REPLICATION 0/0 (a 'b')",
        "BASE_BACKUP LABEL",
        "BASE_BACKUP LABEL x",
        "BASE_BACKUP LABEL 'x",
        "BASE_BACKUP LABEL 'x''",
        "BASE_BACKUP MAX_RATE",
        "BASE_BACKUP MAX_RATE '1'",
        "BASE_BACKUP CHECKPOINT 'fast'",
        "BASE_BACKUP PROGRESS, WAL",
        "BASE_BACKUP (PROGRESS WAL WAL)",
        "BASE_BACKUP ()",
        "BASE_BACKUP (LABEL 'x'",
        "UPLOAD_MANIFEST x",
    ] {
        assert_none(sql);
    }
}

#[test]
fn a_command_cut_within_a_quote_or_a_list_is_none() {
    for (sql, _) in SENT {
        let mut quote = None;
        let mut depth = 0;
        for (at, byte) in sql.bytes().enumerate() {
            if quote.is_some() || depth > 0 {
                assert_eq!(json(&sql.as_bytes()[..at]), None, "{}", &sql[..at]);
            }
            match byte {
                b'\'' | b'"' if quote == Some(byte) => quote = None,
                b'\'' | b'"' if quote.is_none() => quote = Some(byte),
                b'(' if quote.is_none() => depth += 1,
                b')' if quote.is_none() => depth -= 1,
                _ => {}
            }
        }
    }
}

#[test]
fn names_and_values() {
    assert_json(
        r#"START_REPLICATION SLOT "A ""b"" 'c'" PHYSICAL 0/0"#,
        r#"{"command":"START_REPLICATION","slot":"A \"b\" 'c'","kind":"physical","lsn":"0/0"}"#,
    );
    assert_json(
        "START_REPLICATION SLOT größe$1 PHYSICAL 00000000/0TIMELINE 01",
        r#"{"command":"START_REPLICATION","slot":"größe$1","kind":"physical","lsn":"0/0","timeline":1}"#,
    );
    assert_json(r#"SHOW "A" . B."c.d""#, r#"{"command":"SHOW","name":"A.b.c.d"}"#);
    assert_json(r#"DROP_REPLICATION_SLOT """#, r#"{"command":"DROP_REPLICATION_SLOT","slot":""}"#);
    assert_json(
        r#"DROP_REPLICATION_SLOT "WAIT"WAIT"#,
        r#"{"command":"DROP_REPLICATION_SLOT","slot":"WAIT","wait":true}"#,
    );
    // What is a keyword in upper case is a name in lower case.
    assert_json(
        "CREATE_REPLICATION_SLOT temporary LOGICAL slot",
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"temporary","kind":"logical","plugin":"slot"}"#,
    );
    assert_json(
        r"START_REPLICATION SLOT s LOGICAL 0/0 (slot '\', wait '''', b '')",
        r#"{"command":"START_REPLICATION","slot":"s","kind":"logical","lsn":"0/0","options":{"slot":"\\","wait":"'","b":""}}"#,
    );
    // A position is what a word would be otherwise.
    assert_json("START_REPLICATION ABC/DEF", r#"{"command":"START_REPLICATION","kind":"physical","lsn":"ABC/DEF"}"#);
    assert_none("START_REPLICATION SLOT abc/def 0/0");
}

#[test]
fn other_encodings_are_kept() {
    let sql = b"START_REPLICATION SLOT \xe4\xf6 LOGICAL 0/0 (\xe4 '\xff', \xf6 '2', \"\xfc\"\"\" '3')";
    let Some(Command::StartReplication(start)) = Command::parse(sql) else { panic!() };
    assert_eq!(start.slot.as_deref(), Some(&b"\xe4\xf6"[..]));
    // The names of the first two options are the same as they are written.
    let options: Vec<_> = start.options.iter().collect();
    assert_eq!(options, [(&b"\xf6"[..], Some(&b"2"[..])), (b"\xfc\"", Some(b"3"))]);
    assert_eq!(
        json(sql).unwrap(),
        "{\"command\":\"START_REPLICATION\",\"slot\":\"\u{fffd}\u{fffd}\",\"kind\":\"logical\",\"lsn\":\"0/0\",\"options\":{\"\u{fffd}\":\"2\",\"\u{fffd}\\\"\":\"3\"}}"
    );
}

#[test]
fn nothing_is_copied_without_need() {
    let command = start("START_REPLICATION SLOT \"A\" LOGICAL 0/0 (proto_version '1', \"B\" 'C', d 'e''f', G 'h')");
    let copied: Vec<_> = (command.options.0.iter())
        .flat_map(|(name, value)| [name, value.as_ref().unwrap()])
        .filter(|text| matches!(text.0, Cow::Owned(_)))
        .map(|text| text.to_str_lossy())
        .collect();
    assert_eq!(copied, ["e'f", "g"]);
    assert!(matches!(command.slot, Some(Unquoted(Cow::Borrowed(b"A")))));
}

#[test]
fn the_last_of_a_repeated_option_counts() {
    let command = start("START_REPLICATION SLOT s LOGICAL 0/0 (a '1', b '2', A '3', c, \"A\" '4')");
    let options: Vec<_> = command.options.iter().collect();
    assert_eq!(options, [(&b"b"[..], Some(&b"2"[..])), (b"a", Some(b"3")), (b"c", None), (b"A", Some(b"4"))]);
    assert_eq!(command.option("a"), Some(&b"3"[..]));
    assert_eq!(command.option("c"), None);
    assert_eq!(command.option("d"), None);
    assert_json(
        "BASE_BACKUP FAST LABEL 'a' LABEL 'b'",
        r#"{"command":"BASE_BACKUP","backup_label":"b","checkpoint":"fast"}"#,
    );
    assert_json(
        "CREATE_REPLICATION_SLOT s LOGICAL p EXPORT_SNAPSHOT TWO_PHASE USE_SNAPSHOT",
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"s","kind":"logical","plugin":"p","snapshot":"use","two_phase":true}"#,
    );
}

#[test]
fn values_of_known_options() {
    for (value, expected) in [("", true), ("true", true), ("'ON'", true), ("1", true), ("off", false), ("'0'", false)] {
        let on = if expected { r#","two_phase":true"# } else { "" };
        assert_json(
            &format!("CREATE_REPLICATION_SLOT s LOGICAL p (TWO_PHASE {value})"),
            &format!(r#"{{"command":"CREATE_REPLICATION_SLOT","slot":"s","kind":"logical","plugin":"p"{on}}}"#),
        );
    }
    for (value, expected) in
        [("yes", "yes"), ("T", "yes"), ("1", "yes"), ("'No'", "no"), ("OFF", "no"), ("'Force-Encode'", "force-encode")]
    {
        assert_json(
            &format!("BASE_BACKUP (MANIFEST {value})"),
            &format!(r#"{{"command":"BASE_BACKUP","manifest":"{expected}"}}"#),
        );
    }
    assert_json(
        "BASE_BACKUP (WAIT, VERIFY_CHECKSUMS true, PROGRESS false, CHECKPOINT Spread, WAL 'off')",
        r#"{"command":"BASE_BACKUP","checkpoint":"spread","wait":true,"verify_checksums":true}"#,
    );
}

#[test]
fn other_options_and_values_are_kept() {
    assert_json(
        "BASE_BACKUP (LABEL, WAIT 2, MANIFEST 'o', CHECKPOINT, MAX_RATE 4294967296, SHOW x, new 007)",
        r#"{"command":"BASE_BACKUP","options":{"label":null,"wait":"2","manifest":"o","checkpoint":null,"max_rate":"4294967296","show":"x","new":"007"}}"#,
    );
    assert_json(
        "CREATE_REPLICATION_SLOT s LOGICAL p (SNAPSHOT 'EXPORT', FAILOVER x, TEMPORARY, \"TWO_PHASE\")",
        r#"{"command":"CREATE_REPLICATION_SLOT","slot":"s","kind":"logical","plugin":"p","options":{"snapshot":"EXPORT","failover":"x","temporary":null,"TWO_PHASE":null}}"#,
    );
}

#[test]
fn publication_names() {
    for (list, expected) in [
        ("demo", &["demo"][..]),
        (r#""demo""#, &["demo"]),
        (r#" Demo , "Demo" ,"it''s ""b"", too","" "#, &["demo", "Demo", "it's \"b\", too", ""]),
        ("größe", &["größe"]),
        (r#"a"b"#, &["a\"b"]),
        // A server does not accept these at all.
        ("", &[]),
        (" ", &[]),
        (",", &[]),
        ("a,", &[]),
        (",a", &[]),
        ("a,,b", &[]),
        ("a b", &[]),
        ("a,\"b", &[]),
        ("\"a\"b", &[]),
    ] {
        assert_eq!(publications(list), expected, "{list}");
    }
    assert_eq!(start("START_REPLICATION SLOT s LOGICAL 0/0").publications().count(), 0);
    assert_eq!(start("START_REPLICATION SLOT s LOGICAL 0/0 (publication_names)").publications().count(), 0);
    assert_eq!(start("START_REPLICATION SLOT s LOGICAL 0/0 (\"Publication_names\" 'a')").publications().count(), 0);
}

#[test]
fn the_schema_describes_what_is_written() {
    let generator = schemars::generate::SchemaSettings::default().for_serialize().into_generator();
    let schema = serde_json::to_value(generator.into_root_schema_for::<Command<'_>>()).unwrap();
    let variants: HashMap<_, _> = (schema["oneOf"].as_array().unwrap().iter())
        .map(|variant| (variant["properties"]["command"]["const"].as_str().unwrap(), variant))
        .collect();
    assert_eq!(variants.len(), COMMANDS.len());
    for (sql, expected) in SENT {
        let object: serde_json::Value = serde_json::from_str(expected).unwrap();
        let variant = variants[object["command"].as_str().unwrap()];
        let reference = variant["$ref"].as_str().map(|name| schema.pointer(&name[1..]).unwrap());
        let schemas: Vec<_> = [variant].into_iter().chain(reference).collect();
        for name in object.as_object().unwrap().keys() {
            assert!(schemas.iter().any(|schema| schema["properties"][name].is_object()), "{name} of {sql}");
            assert_ne!(name, "label", "a keyword of jq");
        }
        for required in schemas.iter().filter_map(|schema| schema["required"].as_array()).flatten() {
            assert!(object.get(required.as_str().unwrap()).is_some(), "{required} of {sql}");
        }
    }
}

/// Counts the keys that are left after parsing, which keeps one of each name.
fn keys(value: &serde_json::Value) -> usize {
    value.as_object().map_or(0, |members| members.len() + members.values().map(keys).sum::<usize>())
}

#[test]
fn any_text_is_read_without_panic() {
    // xorshift64: the same texts each time.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(limit.max(1)).unwrap()).unwrap()
    };
    const PIECES: &[&[u8]] = &[
        b"'",
        b"\"",
        b"''",
        b"\"\"",
        b"(",
        b")",
        b",",
        b";",
        b".",
        b"/",
        b"0",
        b"0/0",
        b"$",
        b" ",
        b"\0",
        b"\xff",
        b"\xc3",
        b"a",
        b"LOGICAL",
        b"SLOT",
        b"WAIT",
        b"TIMELINE 1",
        b"PHYSICAL",
        b"publication_names",
        b"99999999999999999999",
    ];
    let mut read = 0;
    for round in 0..60_000 {
        let mut text = SENT[below(SENT.len())].0.as_bytes().to_vec();
        for _ in 0..=below(4) {
            let at = below(text.len() + 1);
            let end = (at + below(6)).min(text.len());
            match below(4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..end, PIECES[below(PIECES.len())].iter().copied())),
                2 => text.truncate(at),
                _ => {
                    let other = SENT[below(SENT.len())].0.as_bytes();
                    text.truncate(at);
                    text.extend_from_slice(&other[below(other.len())..]);
                }
            }
        }
        let Some(command) = Command::parse(&text) else { continue };
        read += 1;
        let json = serde_json::to_string(&command).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        // Strings are written with escapes, so that only a key is followed by this.
        if !json.contains("\\\"") {
            assert_eq!(keys(&value), json.matches("\":").count(), "round {round}: {json}");
        }
        if let Command::StartReplication(start) = &command {
            assert!(start.publications().count() <= text.len());
        }
        text.push(b';');
        // A semicolon is the end, or the second one.
        if let Some(again) = Command::parse(&text) {
            assert_eq!(serde_json::to_string(&again).unwrap(), json);
        }
    }
    assert!(read > 1_000, "{read}");
}

#[test]
fn cost_is_linear() {
    const LENGTH: usize = 1 << 20;
    let start = "START_REPLICATION SLOT s LOGICAL 0/0 (";
    let list = |item: &str| format!("{start}{}z)", item.repeat(LENGTH / item.len()));
    let name = |item: &str| format!("{start}publication_names '{}z')", item.repeat(LENGTH / item.len()));
    let texts = [
        "1a".repeat(LENGTH / 2),
        "a/".repeat(LENGTH / 2),
        "1/".repeat(LENGTH / 2),
        "1".repeat(LENGTH),
        "(".repeat(LENGTH),
        "'".repeat(LENGTH),
        "\"".repeat(LENGTH + 1),
        " ".repeat(LENGTH),
        format!("SHOW {}a", "a.".repeat(LENGTH / 2)),
        format!("SHOW {}a", "A.".repeat(LENGTH / 2)),
        format!("SHOW \"{}\"", "\"\"".repeat(LENGTH / 2)),
        format!("TIMELINE_HISTORY {}", "9".repeat(LENGTH)),
        format!("START_REPLICATION {}/0", "f".repeat(LENGTH)),
        format!("BASE_BACKUP {}", "FAST ".repeat(LENGTH / 5)),
        format!("BASE_BACKUP {}", "LABEL 'a' ".repeat(LENGTH / 10)),
        format!("BASE_BACKUP ({} x)", "LABEL 'a''b',".repeat(LENGTH / 13)),
        format!("CREATE_REPLICATION_SLOT s PHYSICAL {}", "RESERVE_WAL ".repeat(LENGTH / 12)),
        list("a,"),
        list("a '',"),
        list("A 'b''c',"),
        format!("{start}{}z)", (0..LENGTH / 8).map(|n| format!("a{n},")).collect::<String>()),
        name("a,"),
        name("\"\"\"\","),
        name("\"\""),
        name(" "),
    ];
    let began = Instant::now();
    for text in &texts {
        let Some(command) = parse(text) else { continue };
        serde_json::to_string(&command).unwrap();
        if let Command::StartReplication(start) = &command {
            assert!(start.publications().count() <= text.len());
        }
    }
    // It takes less than a second; a square of a million would take minutes.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
