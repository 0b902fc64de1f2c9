//! A session with a walsender in which anything may be: commands of any text, and CopyData of any bytes in every mode, with or without
//! its beginning, whole, cut or lost. Lines keep the contract, in every way in which they are made, and memory stays within its limit.

use std::cell::Cell;

use arbitrary::{Result, Unstructured};
use pgdissect::internals::json;
use pgdissect::message::Decoded;
use pgdissect::output::Form as _;
use pgdissect::record::{MessageEvent, MessageRun};
use pgdissect::replication::command::Command;
use pgdissect::{
    Config, Direction, Dissector, LinkType, Packet, Precision, Record, Records, Redaction, Sink, Timestamp,
};

use super::lines;

/// What opens the stream: a command, the tag of the server's reply, and the server's version.
const OPENINGS: [(&str, u8, &str); 12] = [
    ("START_REPLICATION 0/0", b'W', "15.1"),
    ("START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')", b'W', "10"),
    ("START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '2', publication_names 'p', streaming 'on')", b'W', "14"),
    ("START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '3', publication_names 'p', two_phase 'on')", b'W', "15"),
    (
        "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '4', publication_names 'p', streaming 'parallel')",
        b'W',
        "18.4",
    ),
    ("START_REPLICATION SLOT s LOGICAL 0/0", b'W', "18.4"),
    ("CREATE_REPLICATION_SLOT s LOGICAL wal2json; START_REPLICATION SLOT s LOGICAL 0/0", b'W', "9.6.24"),
    ("BASE_BACKUP (LABEL 'x')", b'H', "15"),
    ("BASE_BACKUP LABEL 'x'", b'H', "14.23"),
    ("UPLOAD_MANIFEST", b'G', "19devel"),
    ("COPY t TO STDOUT", b'H', "15"),
    // The capture begins inside of a stream.
    ("", 0, ""),
];

/// The letters of pgoutput's messages.
const PGOUTPUT: &[u8] = b"BCORYIUDTMSEcAbPKrp";

/// One side's bytes in the next packet, or as many that are lost.
struct Sent {
    from: Direction,
    bytes: Vec<u8>,
    is_lost: bool,
}

/// Makes packets of a connection.
#[derive(Default)]
struct Connection {
    sent: [u32; 2],
    packets: Vec<Vec<u8>>,
}

impl Connection {
    fn send(&mut self, Sent { from, bytes, is_lost }: &Sent) {
        let (own, other) = if *from == Direction::Frontend { (0, 1) } else { (1, 0) };
        let ports: [u16; 2] = if own == 0 { [40_000, 5432] } else { [5432, 40_000] };
        let mut packet = vec![0x45, 0];
        packet.extend(u16::try_from(40 + bytes.len()).expect("they are few").to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1 + own as u8, 10, 0, 0, 1 + other as u8]);
        packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        packet.extend(self.sent[own].to_be_bytes());
        packet.extend(self.sent[other].to_be_bytes());
        packet.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(bytes);
        self.sent[own] = self.sent[own].wrapping_add(u32::try_from(bytes.len()).expect("they are few"));
        if !is_lost {
            self.packets.push(packet);
        }
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).expect("it is short").to_be_bytes(), body].concat()
}

/// Returns a small number: those of transactions and tables are to be met again.
fn number(u: &mut Unstructured<'_>) -> Result<[u8; 4]> {
    Ok(u32::from(u.int_in_range(1..=4_u8)?).to_be_bytes())
}

fn name(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=6)?;
    let mut name: Vec<u8> = u.bytes(len)?.iter().map(|byte| (*byte).max(1)).collect();
    name.push(0);
    Ok(name)
}

/// Appends a row.
fn row(u: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
    let count = u.int_in_range(0..=3_u8)?;
    out.extend([0, count]);
    for _ in 0..count {
        match *u.choose(b"nutb")? {
            kind @ (b't' | b'b') => {
                let len = u.int_in_range(0..=9_u8)?;
                out.extend([kind, 0, 0, 0, len]);
                out.extend(u.bytes(len.into())?);
            }
            kind => out.push(kind),
        }
    }
    Ok(())
}

/// Returns a message of pgoutput, nearly always one that is right behind those before it.
fn pgoutput(u: &mut Unstructured<'_>, is_inside: &mut bool) -> Result<Vec<u8>> {
    let tag = *u.choose(PGOUTPUT)?;
    let mut out = vec![tag];
    if b"RYIUDTM".contains(&tag) && *is_inside != u.ratio(1, 50)? {
        out.extend(number(u)?);
    }
    *is_inside = tag == b'S' || *is_inside && tag != b'E';
    match tag {
        b'B' => out.extend([&[0; 16], &number(u)?[..]].concat()),
        b'C' => out.extend([0; 25]),
        b'O' => out.extend([&[0; 8], &name(u)?[..]].concat()),
        b'R' => {
            out.extend([&number(u)?[..], &name(u)?, &name(u)?, &[*u.choose(b"dnfi")?, 0]].concat());
            let count = u.int_in_range(0..=3_u8)?;
            out.push(count);
            for _ in 0..count {
                let type_oid = u32::from(*u.choose(&[16_u16, 20, 23, 25, 114, 1184, 1700, 20_000])?);
                out.extend([&[u.int_in_range(0..=1)?][..], &name(u)?, &type_oid.to_be_bytes(), &[0xff; 4]].concat());
            }
        }
        b'Y' => out.extend([&number(u)?[..], &name(u)?, &name(u)?].concat()),
        b'I' => {
            out.extend([&number(u)?[..], b"N"].concat());
            row(u, &mut out)?;
        }
        b'U' | b'D' => {
            out.extend([&number(u)?[..], &[*u.choose(b"KON")?]].concat());
            row(u, &mut out)?;
            if tag == b'U' && out.get(5) != Some(&b'N') {
                out.push(b'N');
                row(u, &mut out)?;
            }
        }
        b'T' => out.extend([&[0, 0, 0, 2, u.int_in_range(0..=3)?][..], &number(u)?, &number(u)?].concat()),
        b'M' => out.extend([&[u.int_in_range(0..=1)?][..], &[0; 8], &name(u)?, &[0, 0, 0, 2, b'h', 0xf6]].concat()),
        b'S' => out.extend([&number(u)?[..], &[u.int_in_range(0..=1)?]].concat()),
        b'E' => {}
        b'c' => out.extend([&number(u)?[..], &[0; 25]].concat()),
        b'A' => {
            out.extend([number(u)?, number(u)?].concat());
            if u.arbitrary()? {
                out.extend([0; 16]);
            }
        }
        b'b' => out.extend([&[0; 24][..], &number(u)?[..], &name(u)?].concat()),
        b'P' | b'K' | b'p' => out.extend([&[0; 25][..], &number(u)?[..], &name(u)?].concat()),
        _ => out.extend([&[0; 33][..], &number(u)?[..], &name(u)?].concat()),
    }
    Ok(out)
}

fn bytes<'a>(u: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let len = u.int_in_range(0..=40)?;
    u.bytes(len.min(u.len()))
}

/// Returns the next message of either side.
fn next(u: &mut Unstructured<'_>, at: u8, is_inside: &mut bool) -> Result<(Direction, Vec<u8>)> {
    let xlog_data = |payload: &[u8]| {
        // Positions that go on, and a time near that of the capture.
        let position = [0, 0, 0, 0, 1, 0, at, 0];
        message(b'd', &[b"w", &position[..], &position, &[0, 2, 0xad, 0, 0, 0, 0, 0], payload].concat())
    };
    let of_server = |bytes| (Direction::Backend, bytes);
    Ok(match u.int_in_range(0..=99_u8)? {
        13.. => of_server(xlog_data(&pgoutput(u, is_inside)?)),
        0 => of_server(xlog_data(bytes(u)?)),
        1 => {
            let from = *u.choose(&Direction::BOTH)?;
            (from, message(b'd', &[&[*u.choose(b"wksrhpnmd")?], bytes(u)?].concat()))
        }
        2 => (*u.choose(&Direction::BOTH)?, message(b'd', bytes(u)?)),
        3 => (Direction::Frontend, message(b'd', &[&b"r"[..], &[0; 33]].concat())),
        4 => of_server(message(b'd', &[b"p", &[0; 8][..]].concat())),
        5 => (*u.choose(&Direction::BOTH)?, message(b'c', b"")),
        6 => of_server(message(b'Z', b"I")),
        _ => (Direction::Frontend, message(b'Q', &[bytes(u)?, b"\0"].concat())),
    })
}

fn packets(u: &mut Unstructured<'_>) -> Result<Vec<Vec<u8>>> {
    let mut connection = Connection::default();
    let mut send = |from, bytes, is_lost| connection.send(&Sent { from, bytes, is_lost });
    let (command, reply, version) = *u.choose(&OPENINGS)?;
    if reply != 0 {
        let startup = b"\0\x03\0\0user\0u\0replication\0database\0\0";
        let len = u32::try_from(startup.len() + 4).expect("it is short");
        send(Direction::Frontend, [&len.to_be_bytes()[..], startup].concat(), false);
        let told = message(b'S', format!("server_version\0{version}\0").as_bytes());
        send(Direction::Backend, [message(b'R', &[0; 4]), told, message(b'Z', b"I")].concat(), false);
        for command in command.split("; ") {
            send(Direction::Frontend, message(b'Q', format!("{command}\0").as_bytes()), false);
            if command.starts_with("CREATE") {
                send(
                    Direction::Backend,
                    [message(b'C', b"CREATE_REPLICATION_SLOT\0"), message(b'Z', b"I")].concat(),
                    false,
                );
            }
        }
        send(Direction::Backend, message(reply, &[0, 0, 0]), false);
    }
    let (mut at, mut is_inside) = (0, false);
    while !u.is_empty() {
        at = u8::wrapping_add(at, 1);
        // What is left is not enough for another message.
        let Ok((from, mut bytes)) = next(u, at, &mut is_inside) else { break };
        let how = u.arbitrary::<u8>().unwrap_or_default();
        if how & 0x7f == 1 {
            bytes.truncate(usize::from(how) % (bytes.len() + 1));
        }
        send(from, bytes, how & 0x7f == 2);
    }
    Ok(connection.packets)
}

/// Checks lines, and keeps them.
#[derive(Default)]
struct Checked {
    lines: Vec<String>,
    writer: json::LineWriter,
}

impl Sink for Checked {
    fn record(&mut self, record: &Record<'_>) {
        lines::check(record);
        let mut line = Vec::new();
        json::write_line(&mut line, record).expect("a vector can be written to");
        assert_eq!(line.pop(), Some(b'\n'), "a line ends with a line feed");
        self.lines.push(String::from_utf8(line).expect("a line is UTF-8"));
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        let (mut fast, undecoded) = (Vec::new(), Cell::new(0));
        let event_of_fast = event.counting_in(&undecoded);
        self.writer.message(&mut fast, &event_of_fast, &mut decoded.clone()).expect("a vector can be written to");
        self.record(&Record::Message(event.to_record(decoded)));
        assert_eq!(fast.pop(), Some(b'\n'), "a line ends with a line feed");
        assert_eq!(Some(&*String::from_utf8_lossy(&fast)), self.lines.last().map(String::as_str));
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        run.for_each(|event| self.message(event, &mut None));
    }
}

fn dissect(packets: &[Vec<u8>], config: Config) -> Vec<String> {
    let most = 2 * config.max_remembered as u64;
    let mut sink = Checked::default();
    let mut dissector = Dissector::new(config);
    // Of the year that the server's clock is in.
    for (second, data) in (1_700_000_000..).zip(packets) {
        let ts = Timestamp::new(second, 0, Precision::Micros);
        let orig_len = u32::try_from(data.len()).expect("it is short");
        dissector.packet(&Packet { ts, link: LinkType::RAW, data, orig_len, interface: 0 }, &mut sink);
        let counters = dissector.counters();
        assert!(counters.remembered_bytes <= most, "{} bytes are remembered", counters.remembered_bytes);
    }
    dissector.finish(&mut sink);
    assert_eq!(dissector.counters().held_bytes, 0, "nothing is left");
    sink.lines
}

/// Dissects what an input stands for. Returns the lines, which are JSON and keep the contract.
pub(crate) fn checked(data: &[u8]) -> Vec<String> {
    let _ = Command::parse(data);
    let mut u = Unstructured::new(data);
    let Ok(settings) = u.arbitrary::<u8>() else { return Vec::new() };
    let Ok(packets) = packets(&mut u) else { return Vec::new() };
    let bit = |bit: u8| settings >> bit & 1 == 1;
    let config = Config {
        ports: Some(vec![5432]),
        records: Records::ALL,
        redaction: if bit(0) { Redaction::Values } else { Redaction::Secrets },
        max_remembered: if bit(1) { 1_500 } else { 1 << 20 },
        max_message: if bit(2) { 40 } else { 1 << 20 },
        shows_wal: bit(3),
        shows_backups: bit(4),
        ..Config::default()
    };
    let lines = dissect(&packets, config.clone());
    if !bit(1) {
        assert_eq!(lines, dissect(&packets, Config { fast_paths: false, ..config }), "by the long ways");
    }
    lines
}

#[allow(dead_code, reason = "the tests call `checked`, the fuzz target this")]
pub(crate) fn check(data: &[u8]) {
    checked(data);
}
