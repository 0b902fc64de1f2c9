use proptest::prelude::*;

use super::*;
use crate::pg::auth::Asked;
use crate::pg::copy::{CopyData, CopyRows};
use crate::pg::frame::Frame;
use crate::pg::message::{self, Context, Message};
use crate::pg::text::Excerpt;
use crate::record::{Flags, Holes, KernelStats};
use crate::redaction::Redaction;
use crate::sql::statement::Statement;
use crate::time::Precision;
use crate::value::Settings;
use crate::value::copy::Splitter;

/// The line of a message, behind the columns of its connection and time.
fn line(direction: Direction, tag: u8, body: &[u8], context: &Context) -> String {
    line_in(&TextStyle::default(), direction, tag, body, context)
}

fn line_in(style: &TextStyle, direction: Direction, tag: u8, body: &[u8], context: &Context) -> String {
    let line = written_in(style, &Record::Message(record(direction, Some(tag), body, context)));
    line.strip_prefix("01:02:03.000004   7             ").unwrap().to_owned()
}

fn backend(tag: u8, body: &[u8]) -> String {
    line(Direction::Backend, tag, body, &Context::default())
}

fn frontend(tag: u8, body: &[u8]) -> String {
    line(Direction::Frontend, tag, body, &Context::default())
}

/// A record, as the engine makes it. Its message stays as long as the tests run.
fn record<'a>(direction: Direction, tag: Option<u8>, body: &'a [u8], context: &Context) -> MessageRecord<'a> {
    let len = body.len() as u32 + 4;
    let (content, error) = match Message::decode(direction, &Frame::whole(tag, len, body), context) {
        Ok(message) => (Content::Decoded(Box::leak(Box::new(message))), None),
        Err(error) => {
            let name = message::undecoded_name(direction, tag, context);
            (Content::Undecoded { name, body: Excerpt::new(body, context.redaction) }, Some(error))
        }
    };
    MessageRecord {
        header: Header {
            ts: Timestamp::new(3_723, 4_000, Precision::Micros),
            conn: 7,
            client: "10.0.0.5:51324",
            server: "[::1]:5432",
        },
        dir: direction,
        seq: 2,
        packet: 3,
        tag: tag.map(Into::into),
        len,
        content,
        query: None,
        elapsed_us: None,
        sql: None,
        statement: None,
        target: None,
        replication_command: None,
        missing: 0,
        holes: Holes::default(),
        flags: Flags::default(),
        error,
    }
}

fn written(record: &Record<'_>, color: bool) -> String {
    written_in(&TextStyle { color, ..TextStyle::default() }, record)
}

fn written_in(style: &TextStyle, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    write_line(&mut out, record, style).unwrap();
    let mut line = String::from_utf8(out).unwrap();
    assert_eq!(line.pop(), Some('\n'));
    line
}

#[test]
fn a_request_and_its_reply_line_up() {
    assert_eq!(frontend(b'Q', b"SELECT 1,\n       2;\0"), "[F2B] Query            SELECT 1, 2;");
    assert_eq!(backend(b'C', b"SELECT 1\0"), "[B2F] CommandComplete  SELECT 1");
    assert_eq!(frontend(b'S', b""), "[F2B] Sync", "and no line ends with spaces");
}

#[test]
fn the_duration_has_a_column_and_what_is_odd_precedes_what_may_be_cut() {
    let reply = MessageRecord {
        seq: 1,
        query: Some(3),
        elapsed_us: Some(2_650),
        missing: 5,
        flags: Flags { truncated: true, midstream: true, skipped: true, ..Flags::default() },
        ..record(Direction::Backend, Some(b'Z'), b"I", &Context::default())
    };
    assert_eq!(
        written(&Record::Message(reply.clone()), false),
        "01:02:03.000004   7     2.650ms [B2F] ReadyForQuery    [truncated, midstream, skipped, 5 bytes missing] idle  q3  \
         10.0.0.5:51324 -> [::1]:5432"
    );
    // The decimal points are one below the other, up to 100 seconds.
    for (us, column) in [
        (0, "   7     0.000ms [B2F] "),
        (999_999, "   7   999.999ms [B2F] "),
        (61_000_001, "   7 61000.001ms [B2F] "),
        (3_600_000_000, "   7 3600000.000ms [B2F] "),
    ] {
        let line = written(&Record::Message(MessageRecord { elapsed_us: Some(us), ..reply.clone() }), false);
        assert_eq!(line.get(15..15 + column.len()), Some(column), "{line}");
    }
}

#[test]
fn the_time_has_the_digits_of_the_capture() {
    let ts = Timestamp::new(3_723, 4, Precision::Nanos);
    let record = record(Direction::Frontend, Some(b'S'), b"", &Context::default());
    let record = MessageRecord { header: Header { ts, ..record.header }, ..record };
    assert_eq!(written(&Record::Message(record), false), "01:02:03.000000004   7             [F2B] Sync");
}

#[test]
fn times_are_those_of_the_zone() {
    let style = TextStyle { zone: Zone::named("Asia/Kathmandu").unwrap(), ..TextStyle::default() };
    let record = Record::Message(record(Direction::Frontend, Some(b'S'), b"", &Context::default()));
    // The offset of 1970.
    assert_eq!(written_in(&style, &record), "06:32:03.000004   7             [F2B] Sync");
}

#[test]
fn null_is_told_from_the_text_null() {
    let row = backend(b'D', b"\0\x03\xff\xff\xff\xff\0\0\0\x04NULL\0\0\0\x0242");
    assert_eq!(row, "[B2F] DataRow          NULL, 'NULL', 42");
}

#[test]
fn on_a_terminal_a_row_of_many_columns_is_an_excerpt_and_counted() {
    let mut body = 1000_u16.to_be_bytes().to_vec();
    body.extend(b"\0\0\0\x05value".repeat(1000));
    let row = |width| {
        line_in(&TextStyle { width, ..TextStyle::default() }, Direction::Backend, b'D', &body, &Context::default())
    };
    let shown = row(Some(400));
    assert!(shown.starts_with("[B2F] DataRow          'value', 'value', "), "{shown}");
    assert!(shown.ends_with("'value', … (1000 columns)"), "{shown}");
    assert!(shown.len() < 320, "{shown}");
    assert_eq!(columns::width(&row(Some(80))), 80 - 32);
    assert_eq!(row(None), format!("[B2F] DataRow          {}", vec!["'value'"; 1000].join(", ")), "else all of it");
}

#[test]
fn nothing_is_left_out_where_there_is_no_terminal() {
    let long = "long ".repeat(200);
    let long = long.trim();
    let all = |tag, body: String| backend(tag, body.as_bytes());
    assert_eq!(all(b'E', format!("M{long}\0\0")), format!("[B2F] ErrorResponse    {long}"));
    assert_eq!(all(b'C', format!("{long}\0")), format!("[B2F] CommandComplete  {long}"));
    assert_eq!(all(b'S', format!("search_path\0{long}\0")), format!("[B2F] ParameterStatus  search_path='{long}'"));
    assert_eq!(frontend(b'Q', format!("{long}\0").as_bytes()), format!("[F2B] Query            {long}"));
    assert_eq!(frontend(b'D', format!("S{long}\0").as_bytes()), format!("[F2B] Describe         statement \"{long}\""));
    assert_eq!(frontend(b'd', long.as_bytes()), format!("[F2B] CopyData         '{long}'"));
    for (is_binary, shown) in
        [(0, format!("'{long}'")), (1, format!("\\x{}", "6c6f6e6720".repeat(200).trim_end_matches("20")))]
    {
        let mut bind = format!("\0s\0\0\x01\0{}\0\x01", char::from(is_binary)).into_bytes();
        bind.extend((long.len() as u32).to_be_bytes());
        bind.extend([long.as_bytes(), b"\0\0"].concat());
        assert_eq!(frontend(b'B', &bind), format!("[F2B] Bind             statement=s $1={shown}"));
    }
}

#[test]
fn an_error_says_what_and_where() {
    assert_eq!(
        backend(b'E', b"SFEHLER\0VERROR\0C22012\0Mdivision by zero\0DHow?\0HDo\n  not.\0P8\0Fint.c\0\0"),
        "[B2F] ErrorResponse    ERROR 22012 division by zero DETAIL: How? HINT: Do not. (position=8)"
    );
    assert_eq!(backend(b'N', b"SNOTICE\0C00000\0Mskipping\0\0"), "[B2F] NoticeResponse   NOTICE skipping");
}

#[test]
fn a_statement_and_its_parameters() {
    assert_eq!(
        frontend(b'P', b"s1\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\0"),
        "[F2B] Parse            statement=s1 types=23,0 SELECT $1"
    );
    assert_eq!(
        frontend(b'B', b"\0s1\0\0\x02\0\x01\0\0\0\x03\0\0\0\x02\0\x05\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01"),
        "[F2B] Bind             statement=s1 $1=\\x0005 $2='x' $3=NULL result=binary"
    );
    assert_eq!(frontend(b'E', b"\0\0\0\0\x32"), "[F2B] Execute          max_rows=50");
    assert_eq!(frontend(b'D', b"S\0"), "[F2B] Describe         unnamed statement");
}

#[test]
fn secrets_stay_masked_unless_they_are_to_be_shown() {
    let password = |redaction| {
        let context = Context { asked: Asked::Password, redaction, ..Context::default() };
        line(Direction::Frontend, b'p', b"hun ter2\0", &context)
    };
    assert_eq!(password(Redaction::Secrets), "[F2B] PasswordMessage  password=***");
    assert_eq!(password(Redaction::Nothing), "[F2B] PasswordMessage  password='hun ter2'");

    assert_eq!(backend(b'K', b"\0\0\x1c\x20key!"), "[B2F] BackendKeyData   pid=7200 key=***");
    assert_eq!(frontend(b'Q', b"ALTER ROLE u PASSWORD 'x'\0"), "[F2B] Query            ALTER ROLE u PASSWORD '***'");
    assert_eq!(backend(b'E', b"Mat PASSWORD 'x'\0\0"), "[B2F] ErrorResponse    at PASSWORD '***'");
    assert_eq!(frontend(b'f', b"PASSWORD 'x'\0"), "[F2B] CopyFail         PASSWORD '***'");
}

#[test]
fn shapes_stand_in_place_of_values() {
    let context = Context { redaction: Redaction::Values, ..Context::default() };
    let frontend = |tag, body: &[u8]| line(Direction::Frontend, tag, body, &context);
    let backend = |tag, body: &[u8]| line(Direction::Backend, tag, body, &context);
    assert_eq!(frontend(b'Q', b"SELECT 'x' -- y\0"), "[F2B] Query            SELECT $1");
    assert_eq!(frontend(b'Q', b"-- y\0"), "[F2B] Query            (empty)");
    assert_eq!(
        frontend(b'B', b"\0\0\0\0\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\0"),
        "[F2B] Bind             $1=<1 byte> $2=NULL"
    );
    assert_eq!(frontend(b'd', b"x\t1\n"), "[F2B] CopyData         <4 bytes>");
    assert_eq!(frontend(b'f', b"x\0"), "[F2B] CopyFail         ***");
    assert_eq!(backend(b'A', b"\0\0\0\x07c\0payload\0"), "[B2F] NotificationResponse c <7 bytes> pid=7");
    assert_eq!(
        backend(b'E', b"SERROR\0C23505\0Mx\0Dx\0P8\0tt\0\0"),
        "[B2F] ErrorResponse    ERROR 23505 *** DETAIL: *** (position=8 table=t)"
    );
    assert_eq!(backend(b'S', b"search_path\0a\0"), "[B2F] ParameterStatus  search_path=a");
    assert_eq!(backend(b'S', b"my.option\0a\0"), "[B2F] ParameterStatus  my.option=***");
    assert_eq!(
        backend(b'Z', b"xyz"),
        "[B2F] ReadyForQuery    not decoded: message at byte 1: wanted the end of the message, had 2 bytes: ***"
    );
}

#[test]
fn a_secret_behind_the_cut_does_not_show_its_beginning() {
    let long = format!("SELECT '{}'; ALTER ROLE u PASSWORD 'hunter2'\0", "x".repeat(sanitize::SQL - 35));
    for columns in (40..=600).step_by(7) {
        let style = TextStyle { width: Some(columns), ..TextStyle::default() };
        let line = line_in(&style, Direction::Frontend, b'Q', long.as_bytes(), &Context::default());
        assert!(!line.contains("hun") && (line.contains('…') || line.ends_with("PASSWORD '***'")), "{line}");
    }
}

#[test]
fn a_message_that_is_not_decoded_says_why() {
    assert_eq!(
        backend(b'D', b"\0\x01\0\0\0\x09hi"),
        "[B2F] DataRow          not decoded: value at byte 6: wanted 9 bytes, had 2 bytes: \\x0001000000096869"
    );
}

#[test]
fn losses_and_counters_are_in_words() {
    let loss = LossRecord {
        header: Header { ts: Timestamp::new(0, 0, Precision::Micros), conn: 1, client: "a:1", server: "b:2" },
        dir: Some(Direction::Backend),
        packet: 1,
        bytes: Some(1448),
        offset: Some(7_000),
        within: None,
        reason: Reason::Missing,
        skipped: Some(1),
        detail: Some("why"),
    };
    assert_eq!(
        written(&Record::Loss(loss.clone()), false),
        "00:00:00.000000   1             [B2F] LOSS             1 captured byte skipped, 1448 bytes missing (why)"
    );
    let foreign = LossRecord { dir: None, bytes: None, reason: Reason::NotPostgresql, skipped: None, ..loss.clone() };
    assert_eq!(
        written(&Record::Loss(foreign), false),
        "00:00:00.000000   1                   LOSS             not PostgreSQL (why)  a:1 -> b:2"
    );
    let midstream = LossRecord { reason: Reason::Midstream, bytes: None, skipped: None, detail: None, ..loss };
    assert_eq!(
        written(&Record::Loss(midstream), false),
        "00:00:00.000000   1             [B2F] LOSS             midstream: sent before the capture began  a:1 -> b:2"
    );
    let stats = StatsRecord {
        ts: None,
        counters: Counters { packets: 1, connections: 2, damaged_packets: 3, ..Counters::default() },
        kernel: Some(KernelStats { received: 9, dropped: 0, interface_dropped: 0 }),
    };
    assert_eq!(
        written(&Record::Stats(stats), false).trim_start(),
        "STATS            1 packet (0 bytes), 2 connections (0 open), 0 messages, 0 reports of loss, \
         3 packets damaged; kernel: 9 packets received, 0 dropped"
    );
}

#[test]
fn rows_of_a_copy_are_in_parentheses_and_what_is_in_none_is_said() {
    let copied = |sql: &[u8], pieces: &[&[u8]]| {
        let Statement::Copy(copy) = Statement::of(sql) else { panic!("no COPY") };
        let mut splitter = Splitter::new(copy.options.unwrap().into_owned(), &Settings::default(), 60);
        pieces.iter().for_each(|piece| splitter.push(piece));
        let record = record(Direction::Frontend, Some(b'd'), pieces.last().unwrap(), &Context::default());
        let Content::Decoded(Message::CopyData(copy)) = record.content else { panic!("no CopyData") };
        let split = splitter.split(copy.data.bytes);
        let rows = Some(CopyRows { split, keys: &[], redaction: Redaction::default() });
        let message = Message::CopyData(CopyData { rows, ..copy.clone() });
        let record = MessageRecord { content: Content::Decoded(&message), ..record };
        let style = TextStyle { width: Some(400), ..TextStyle::default() };
        written_in(&style, &Record::Message(record)).rsplit_once("CopyData ").unwrap().1.trim_start().to_owned()
    };
    let csv = b"COPY t FROM STDIN CSV HEADER";
    assert_eq!(
        copied(csv, &[b"id,a b\n1,\"x\ny\"\n,\"\"\nabc"]),
        r"header=('id', 'a b') (1, E'x\ny'), (NULL, '') (3 bytes unfinished)"
    );
    let text = b"COPY t FROM STDIN";
    assert_eq!(copied(text, &[&[b'x'; 40], &[b'x'; 40], b"\n"]), "(81 bytes too long)");
    assert_eq!(copied(text, &[b"a\n\\.\nb\n"]), r"('a') no row: E'\\.\nb\n'");
    let binary = b"COPY t FROM STDIN BINARY";
    let data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x01a\xff\xff\xff\xff";
    assert_eq!(copied(binary, &[data]), r"(\x61, NULL)");
    assert_eq!(copied(binary, &[data, b"\xff\xff"]), "(no row)");
    let many: Vec<u8> = (100..200).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    let many = copied(text, &[&many]);
    assert!(many.starts_with("(100), (101), ") && many.ends_with(", … (100 rows)") && many.len() < 300, "{many}");
}

#[test]
fn colors_add_nothing_but_colors() {
    let error = record(Direction::Backend, Some(b'E'), b"SERROR\0Mno\0\0", &Context::default());
    let colored = written(&Record::Message(error.clone()), true);
    assert_eq!(
        colored,
        "\x1b[2m01:02:03.000004\x1b[0m   7             \x1b[32m[B2F]\x1b[0m \x1b[1;31mErrorResponse\x1b[0m    \
         \x1b[31mERROR\x1b[0m \x1b[31mno\x1b[0m"
    );
    let mut plain = colored;
    for code in ["\x1b[2m", "\x1b[32m", "\x1b[1;31m", "\x1b[31m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, written(&Record::Message(error), false));
}

#[test]
fn encrypted_bytes_are_no_loss_unless_they_are_of_a_session_that_is_decrypted() {
    let loss = LossRecord {
        header: Header { ts: Timestamp::new(0, 0, Precision::Micros), conn: 1, client: "a:1", server: "b:2" },
        dir: None,
        packet: 1,
        bytes: None,
        offset: None,
        within: None,
        reason: Reason::Undecryptable,
        skipped: None,
        detail: Some("TLS: no key"),
    };
    let after =
        |loss: &LossRecord<'_>| written(&Record::Loss(loss.clone()), false).split_off("00:00:00.000000   1 ".len());
    assert_eq!(after(&loss).trim_start(), "ENCRYPTED        TLS: no key  a:1 -> b:2");
    let dir = Some(Direction::Frontend);
    let all = LossRecord { dir, bytes: Some(7), detail: Some("encrypted bytes in all"), ..loss.clone() };
    assert_eq!(after(&all).trim_start(), "[F2B] ENCRYPTED        7 bytes in all");
    let skipped = LossRecord { dir, skipped: Some(9), detail: Some("why"), ..loss.clone() };
    assert_eq!(after(&skipped).trim_start(), "[F2B] LOSS             9 captured bytes skipped, encrypted (why)");
    let gap = LossRecord { dir, offset: Some(3), bytes: Some(9), detail: None, ..loss };
    assert_eq!(after(&gap).trim_start(), "[F2B] LOSS             9 bytes encrypted");
}

proptest! {
    #[test]
    fn whatever_is_sent_is_one_line_that_fits_without_controls(
        frontend in any::<bool>(),
        tag in prop::option::weighted(0.9, prop::sample::select(&b"BCDEFGHKINPQRSTVWXZcdfnpstv123A"[..])),
        body in prop::collection::vec(prop_oneof![3 => 0..=3_u8, 1 => any::<u8>()], 0..2000),
        asked in prop::sample::select(&[Asked::Unknown, Asked::Password, Asked::SaslInitial, Asked::ScramContinue][..]),
        redaction in prop::sample::select(&Redaction::ALL[..]),
        width in prop::option::of(1..300_usize),
        color in any::<bool>(),
    ) {
        let direction = if frontend { Direction::Frontend } else { Direction::Backend };
        let context = Context { asked, redaction, ..Context::default() };
        let style = TextStyle { width, color, ..TextStyle::default() };
        let mut line = written_in(&style, &Record::Message(record(direction, tag, &body, &context)));
        let cut = columns::painted_width(&line);
        for code in [1, 2, 31, 32, 33, 36, 0] {
            line = line.replace(&format!("\x1b[{code}m"), "").replace(&format!("\x1b[1;{code}m"), "");
        }
        prop_assert!(!line.contains(char::is_control), "{line:?}");
        prop_assert!(!line.ends_with(' '), "{line:?}");
        prop_assert_eq!(columns::width(&line), cut);
        match width {
            Some(width) => prop_assert!(cut <= width, "{width} {line}"),
            // Nothing is longer than as many escapes as there are bytes.
            None => prop_assert!(line.len() < 16_384 + 8 * body.len(), "{}", line.len()),
        }
    }
}
