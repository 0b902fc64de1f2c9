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

/// The line of a message, behind the column of its connection.
fn line(direction: Direction, tag: u8, body: &[u8], context: &Context) -> String {
    let line = written(&Record::Message(record(direction, Some(tag), body, context)), false);
    line.strip_prefix("01:02:03.000004   7 ").unwrap().to_owned()
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
        missing: 0,
        holes: Holes::default(),
        flags: Flags::default(),
        error,
    }
}

fn written(record: &Record<'_>, color: bool) -> String {
    let mut out = Vec::new();
    write_line(&mut out, record, &TextStyle { color, ..TextStyle::default() }).unwrap();
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
fn what_the_session_knows_stands_at_the_end() {
    let reply = MessageRecord {
        seq: 1,
        query: Some(3),
        elapsed_us: Some(2_650),
        missing: 5,
        flags: Flags { truncated: true, midstream: true, ..Flags::default() },
        ..record(Direction::Backend, Some(b'Z'), b"I", &Context::default())
    };
    let line = written(&Record::Message(reply), false);
    assert_eq!(
        line,
        "01:02:03.000004   7 [B2F] ReadyForQuery    idle  [truncated, midstream, 5 bytes missing]  q3 +2.650ms  \
         10.0.0.5:51324 -> [::1]:5432"
    );
    assert_eq!(Elapsed(999_999).to_string(), "+999.999ms");
    assert_eq!(Elapsed(61_000_001).to_string(), "+61.000001s");
}

#[test]
fn the_time_has_the_digits_of_the_capture() {
    let ts = Timestamp::new(3_723, 4, Precision::Nanos);
    let record = record(Direction::Frontend, Some(b'S'), b"", &Context::default());
    let record = MessageRecord { header: Header { ts, ..record.header }, ..record };
    assert_eq!(written(&Record::Message(record), false), "01:02:03.000000004   7 [F2B] Sync");
}

#[test]
fn null_is_told_from_the_text_null() {
    let row = backend(b'D', b"\0\x03\xff\xff\xff\xff\0\0\0\x04NULL\0\0\0\x0242");
    assert_eq!(row, "[B2F] DataRow          NULL, 'NULL', 42");
}

#[test]
fn a_row_of_many_columns_is_cut_and_counted() {
    let mut body = 1000_u16.to_be_bytes().to_vec();
    body.extend(b"\0\0\0\x05value".repeat(1000));
    let row = backend(b'D', &body);
    assert!(row.starts_with("[B2F] DataRow          'value', 'value', "), "{row}");
    assert!(row.ends_with("'value', … (1000 columns)"), "{row}");
    assert!(row.len() < 320, "{row}");
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
    let line = frontend(b'Q', long.as_bytes());
    assert!(line.contains('…') && !line.contains("hun"), "{line}");
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
        "00:00:00.000000   1 [B2F] LOSS             1448 bytes missing, 1 captured byte skipped (why)"
    );
    let foreign = LossRecord { dir: None, bytes: None, reason: Reason::NotPostgresql, skipped: None, ..loss };
    assert_eq!(
        written(&Record::Loss(foreign), false),
        "00:00:00.000000   1       LOSS             not PostgreSQL (why)  a:1 -> b:2"
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
        written(&Record::Message(record), false).rsplit_once("CopyData ").unwrap().1.trim_start().to_owned()
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
        "\x1b[2m01:02:03.000004\x1b[0m   7 \x1b[32m[B2F]\x1b[0m \x1b[1;31mErrorResponse\x1b[0m    \
         \x1b[31mERROR\x1b[0m \x1b[31mno\x1b[0m"
    );
    let mut plain = colored;
    for code in ["\x1b[2m", "\x1b[32m", "\x1b[1;31m", "\x1b[31m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, written(&Record::Message(error), false));
}

proptest! {
    #[test]
    fn whatever_is_sent_is_one_short_line_without_controls(
        frontend in any::<bool>(),
        tag in prop::option::weighted(0.9, prop::sample::select(&b"BCDEFGHKINPQRSTVWXZcdfnpstv123A"[..])),
        body in prop::collection::vec(prop_oneof![3 => 0..=3_u8, 1 => any::<u8>()], 0..2000),
        asked in prop::sample::select(&[Asked::Unknown, Asked::Password, Asked::SaslInitial, Asked::ScramContinue][..]),
        redaction in prop::sample::select(&Redaction::ALL[..]),
    ) {
        let direction = if frontend { Direction::Frontend } else { Direction::Backend };
        let context = Context { asked, redaction, ..Context::default() };
        let line = written(&Record::Message(record(direction, tag, &body, &context)), false);
        prop_assert!(!line.contains(char::is_control), "{line:?}");
        prop_assert!(!line.ends_with(' '), "{line:?}");
        prop_assert!(line.len() < 16_384, "{}", line.len());
    }
}
