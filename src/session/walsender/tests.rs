use super::*;

#[test]
fn a_session_is_for_replication_if_its_startup_message_asks_for_it() {
    for (value, wanted) in [
        ("database", Some(Purpose::Logical)),
        ("true", Some(Purpose::Physical)),
        ("T", Some(Purpose::Physical)),
        ("on", Some(Purpose::Physical)),
        ("Yes", Some(Purpose::Physical)),
        ("1", Some(Purpose::Physical)),
        ("false", None),
        ("o", None),
        ("off", None),
        ("0", None),
        ("", None),
        ("truer", None),
    ] {
        assert_eq!(Purpose::of_startup(value.as_bytes()), wanted, "{value}");
    }
}

fn walsender(startup: &[u8]) -> Walsender {
    Walsender::of_startup(startup).unwrap()
}

fn query(walsender: &mut Walsender, sql: &str, us: i64) {
    walsender.command(Some(Text::utf8(sql.as_bytes())), at(us));
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_nanos(us * 1_000, crate::time::Precision::Micros)
}

/// Observes a DataRow with these values. Returns whether it is one of a backup.
fn row(walsender: &mut Walsender, values: &[Option<&str>]) -> bool {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        body.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
        body.extend(value.unwrap_or_default().as_bytes());
    }
    let frame = Frame::whole(Some(backend::DATA_ROW), body.len() as u32 + 4, &body);
    walsender.row(&frame, at(0)).is_some()
}

/// The rows, files and end of a backup between these positions.
fn backup(walsender: &mut Walsender, from: &str, to: &str, kib: Option<&str>) -> BackupFacts {
    assert!(row(walsender, &[Some(from), Some("1")]));
    walsender.complete();
    row(walsender, &[None, None, kib]);
    walsender.complete();
    assert!(walsender.begin_copy(backend::COPY_OUT_RESPONSE, Some(Text::utf8(b"15.3"))));
    row(walsender, &[Some(to), Some("1")]);
    let facts = walsender.backup;
    walsender.complete();
    walsender.ready();
    facts
}

#[test]
fn commands_that_are_sent_ahead_take_effect_in_their_turn() {
    let mut walsender = walsender(b"true");
    query(&mut walsender, "BASE_BACKUP ( INCREMENTAL )", 1);
    query(&mut walsender, "BASE_BACKUP ( LABEL 'second' )", 2);
    query(&mut walsender, "START_REPLICATION SLOT b PHYSICAL 0/0", 3);
    for (is_incremental, from, to, kib, bytes) in
        [(true, "0/10", "0/20", Some("7"), Some(7_168)), (false, "0/30", "0/40", None, None)]
    {
        let facts = backup(&mut walsender, from, to, kib);
        let lsn = |text: &str| Lsn::parse(text.as_bytes());
        assert_eq!((facts.start_lsn, facts.end_lsn), (lsn(from), lsn(to)));
        assert_eq!((facts.is_incremental, facts.total_bytes), (Some(is_incremental), bytes));
        assert_eq!(walsender.slot, None, "it does not stream yet");
    }
    assert!(walsender.begin_copy(backend::COPY_BOTH_RESPONSE, None));
    assert_eq!((walsender.purpose, walsender.slot.is_some()), (Some(Purpose::Physical), true));
}

#[test]
fn a_command_whose_query_was_lost_has_nothing_of_the_one_before() {
    let mut walsender = walsender(b"true");
    query(&mut walsender, "BASE_BACKUP", 1);
    backup(&mut walsender, "0/10", "0/20", Some("7"));
    assert!(!row(&mut walsender, &[Some("0/30"), Some("1")]), "that it is of a backup is not known");
    assert!(walsender.begin_copy(backend::COPY_OUT_RESPONSE, Some(Text::utf8(b"15.3"))));
    assert_eq!(walsender.backup, BackupFacts::unknown());
}

#[test]
fn commands_that_fail_have_no_effect() {
    let mut walsender = walsender(b"database");
    query(&mut walsender, "CREATE_REPLICATION_SLOT s LOGICAL wal2json", 1);
    walsender.fail();
    walsender.ready();
    let start = "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')";
    query(&mut walsender, start, 2);
    walsender.fail();
    walsender.ready();
    assert_eq!((walsender.slot.is_some(), walsender.publications.len()), (false, 0));
    query(&mut walsender, start, 3);
    assert!(walsender.begin_copy(backend::COPY_BOTH_RESPONSE, None));
    assert_eq!(walsender.plugin.as_deref(), Some(&b"pgoutput"[..]), "the slot with another one was not created");
}

#[test]
fn rows_of_sql_are_no_backup_whatever_they_begin_with() {
    let mut walsender = walsender(b"database");
    query(&mut walsender, "COPY t TO STDOUT", 1);
    assert!(!walsender.begin_copy(backend::COPY_OUT_RESPONSE, None));
    let budget = Budget::new(1 << 20, &super::super::budget::Total::new(1 << 20));
    let body = b"nbase.tar\0\0";
    let frame = Frame::whole(Some(backend::COPY_DATA), body.len() as u32 + 4, body);
    let observed = walsender.observe(Direction::Backend, &frame, at(2), Encoding::UTF8, &budget);
    assert!(observed.is_none() && walsender.purpose == Some(Purpose::Logical));
}

#[test]
fn the_form_of_a_backup_is_that_of_its_options_where_the_version_is_not_known() {
    for (sql, mode) in [
        ("BASE_BACKUP ( LABEL 'a' )", Mode::Backup),
        ("BASE_BACKUP LABEL 'a'", Mode::Archive),
        ("BASE_BACKUP;", Mode::Backup),
    ] {
        let mut walsender = walsender(b"true");
        query(&mut walsender, sql, 1);
        assert!(walsender.begin_copy(backend::COPY_OUT_RESPONSE, None));
        assert_eq!((walsender.mode(), walsender.is_form_uncertain), (Some(mode), sql.ends_with(';')), "{sql}");
    }
}

#[test]
fn a_stream_whose_command_was_lost_has_nothing_of_the_one_before() {
    let mut walsender = walsender(b"database");
    query(&mut walsender, "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')", 1);
    assert!(walsender.begin_copy(backend::COPY_BOTH_RESPONSE, None));
    assert_eq!((walsender.slot.is_some(), walsender.publications.len()), (true, 1));
    walsender.complete();
    walsender.ready();
    // Whether what is lost came behind this command, and is what the server replies to, is not known.
    query(&mut walsender, "START_REPLICATION SLOT t LOGICAL 0/0 (proto_version '1', publication_names 'p')", 2);
    walsender.lose(Direction::Frontend);
    assert!(walsender.begin_copy(backend::COPY_BOTH_RESPONSE, None));
    assert_eq!(walsender.mode(), Some(Mode::Stream(Payload::Unknown)));
    assert_eq!((walsender.slot.is_some(), walsender.plugin.is_some(), walsender.publications.len()), (false, false, 0));
}

#[test]
fn a_slot_that_was_dropped_may_come_back_with_another_plugin() {
    for (drop, is_dropped) in [("DROP_REPLICATION_SLOT s", true), ("DROP_REPLICATION_SLOT other WAIT", false)] {
        let mut walsender = walsender(b"database");
        for (us, sql) in [(1, "CREATE_REPLICATION_SLOT s LOGICAL wal2json"), (2, drop)] {
            query(&mut walsender, sql, us);
            walsender.complete();
            walsender.ready();
        }
        query(&mut walsender, "START_REPLICATION SLOT s LOGICAL 0/0", 3);
        assert!(walsender.begin_copy(backend::COPY_BOTH_RESPONSE, None));
        assert_eq!(walsender.plugin.is_none(), is_dropped, "{drop}");
    }
}
