//! A complete or truncated body of any message, decoded in any context: each form of its line keeps the contract.

use arbitrary::{Result, Unstructured};
use pgdissect::internals::pg::auth::Asked;
use pgdissect::internals::pg::message;
use pgdissect::internals::pg::message::Context;
use pgdissect::internals::pg::row::Metadata;
use pgdissect::message::{Cut, Encoding, Format, Frame};
use pgdissect::record::{Content, Flags, Header, Holes, LossRecord, MessageRecord, Reason};
use pgdissect::{Direction, Message, Precision, Record, Redaction, Timestamp};

use super::lines;

const ASKED: [Asked; 6] =
    [Asked::Unknown, Asked::Password, Asked::SaslInitial, Asked::ScramContinue, Asked::SaslContinue, Asked::Gss];

const ENCODINGS: [&str; 6] = ["UTF8", "SJIS", "LATIN1", "GB18030", "EUC_JP", "JOHAB"];

pub(crate) fn check(data: &[u8]) {
    // An input that ends too early is ignored.
    let _: Result<()> = decode(&mut Unstructured::new(data));
}

fn decode(u: &mut Unstructured<'_>) -> Result<()> {
    let direction = *u.choose(&Direction::BOTH)?;
    let tag = u.arbitrary::<Option<u8>>()?;
    let formats = [None, Some(Format::TEXT), Some(Format::BINARY)];
    // Derived from the length, so that existing seeds keep their meaning.
    let encoding = Encoding::named(ENCODINGS[u.len() % ENCODINGS.len()]);
    let context = Context {
        is_walsender: false,
        is_authenticated: true,
        encoding,
        is_copy_torn: u.len().is_multiple_of(7),
        asked: *u.choose(&ASKED)?,
        gssenc: u.arbitrary()?,
        copy_format: *u.choose(&formats)?,
        metadata: [Metadata::None, Metadata::Possible, Metadata::Announced][u.len() % 3],
        redaction: *u.choose(&Redaction::ALL)?,
    };
    let missing = u64::from(*u.choose(&[0, 0, 0, 1, 77, u32::MAX])?);
    let ts = Timestamp::from_nanos(u.arbitrary()?, if u.arbitrary()? { Precision::Micros } else { Precision::Nanos });
    let (query, elapsed_us) = (u.arbitrary()?, u.arbitrary()?);
    let body = u.bytes(u.len())?;

    let cut = (missing > 0).then_some(Cut::TooLarge);
    let len = u32::try_from(body.len() as u64 + 4 + missing).unwrap_or(u32::MAX);
    let frame = Frame { missing, cut, ..Frame::whole(tag, len, body) };
    let decoded = Message::decode(direction, &frame, &context);
    let name = message::undecoded_name(direction, tag, &context);
    let (content, error) = match &decoded {
        Ok(message) => {
            // An authentication message may have the name of its group, because its type follows the type byte.
            let is_same = message.name() == name || matches!(tag, Some(b'R' | b'p')) || tag.is_none();
            assert!(is_same, "{} is called {name} where it cannot be decoded", message.name());
            (Content::Decoded(message), None)
        }
        Err(error) => {
            let body = message::undecoded_body(direction, tag, body, &context);
            (Content::Undecoded { name, body }, Some(*error))
        }
    };
    let is_decoded = error.is_none();
    let record = Record::Message(MessageRecord {
        header: Header { ts, conn: 1, client: "10.0.0.1:40000", server: "[::1]:5432" },
        dir: direction,
        seq: 1,
        packet: 1,
        tag: tag.map(Into::into),
        len,
        content,
        query,
        elapsed_us,
        sql: None,
        statement: None,
        target: None,
        replication_command: None,
        missing,
        holes: Holes::default(),
        flags: Flags { truncated: missing > 0, midstream: context.gssenc, ..Flags::default() },
        error,
    });
    let value = lines::check(&record);
    assert_eq!(value["event"], "message");
    assert_eq!(value.get("error").is_some(), !is_decoded);
    assert!(value["type"].is_string(), "{value}");

    // The same bytes as the detail of a loss.
    let detail = String::from_utf8_lossy(body);
    lines::check(&Record::Loss(LossRecord {
        header: Header { ts, conn: 1, client: "10.0.0.1:40000", server: "[::1]:5432" },
        dir: None,
        packet: 1,
        bytes: query,
        offset: elapsed_us,
        within: None,
        reason: Reason::Malformed,
        skipped: elapsed_us,
        detail: Some(&detail),
    }));
    Ok(())
}
