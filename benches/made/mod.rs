//! Generated connections: their packets, one by one, over Ethernet and IPv4.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use pgdissect::{LinkType, Packet, Precision, Timestamp};

/// The TCP payload of a full Ethernet frame with the usual options, in bytes.
pub(crate) const SEGMENT: usize = 1448;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// An endpoint of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}
use End::{Client, Server};

/// The state of a connection's endpoints.
pub(crate) struct Connection {
    /// The client's address and port.
    client: ([u8; 4], u16),
    /// The next sequence numbers.
    pub(crate) next: [u32; 2],
}

impl Connection {
    pub(crate) fn new(number: u64) -> Self {
        const PORTS: u64 = 50_000;
        let [.., b, c, d] = (number / PORTS + 1).to_be_bytes();
        Self { client: ([10, b, c, d], 10_000 + (number % PORTS) as u16), next: [1, 1] }
    }
}

/// A receiver of packets.
pub(crate) trait Take {
    fn take(&mut self, packet: &Packet<'_>);
}

impl<F: FnMut(&Packet<'_>)> Take for F {
    fn take(&mut self, packet: &Packet<'_>) {
        self(packet);
    }
}

/// The point where packets are generated and captured.
pub(crate) struct Tap<T> {
    pub(crate) to: T,
    /// The current frame.
    pub(crate) frame: Vec<u8>,
    nanos: i64,
}

impl<T: Take> Tap<T> {
    pub(crate) fn new(to: T) -> Self {
        Self { to, frame: Vec::new(), nanos: 1_700_000_000_000_000_000 }
    }

    /// Opens a connection: SYNs and startup, until the server is ready.
    pub(crate) fn open(&mut self, number: u64) -> Connection {
        let mut connection = Connection::new(number);
        self.segment(&connection, Client, SYN, 0, b"");
        self.segment(&connection, Server, SYN | ACK, 0, b"");
        connection.next = [2, 2];
        let mut startup = b"\0\x03\0\0user\0app\0database\0shop\0application_name\0the shop\0\0".to_vec();
        startup.splice(0..0, (startup.len() as u32 + 4).to_be_bytes());
        self.send(&mut connection, Client, &startup);
        let settings = [&b"client_encoding\0UTF8\0"[..], b"server_encoding\0UTF8\0", b"TimeZone\0Etc/UTC\0"];
        let settings: Vec<u8> = settings.iter().flat_map(|setting| message(b'S', setting)).collect();
        let ready = [message(b'R', &[0; 4]), settings, message(b'K', b"\0\0\0\x07abcd"), message(b'Z', b"I")].concat();
        self.send(&mut connection, Server, &ready);
        connection
    }

    /// Closes a connection: Terminate and FINs.
    pub(crate) fn close(&mut self, connection: &mut Connection) {
        self.send(connection, Client, &message(b'X', b""));
        for from in [Client, Server] {
            self.segment(connection, from, FIN | ACK, 0, b"");
            connection.next[from as usize] += 1;
        }
    }

    /// Sends the next bytes in one segment of any size.
    pub(crate) fn send(&mut self, connection: &mut Connection, from: End, payload: &[u8]) {
        self.segment(connection, from, ACK, 0, payload);
        let next = &mut connection.next[from as usize];
        *next = next.wrapping_add(payload.len() as u32);
    }

    /// Sends the next bytes in segments of the usual size.
    pub(crate) fn stream(&mut self, connection: &mut Connection, from: End, bytes: &[u8]) {
        for payload in bytes.chunks(SEGMENT) {
            self.send(connection, from, payload);
        }
    }

    /// Sends a segment whose sequence number is `further` bytes ahead.
    pub(crate) fn segment(&mut self, connection: &Connection, from: End, flags: u8, further: u32, payload: &[u8]) {
        self.frame(connection, from, flags, further, payload);
        self.deliver();
    }

    pub(crate) fn frame(&mut self, connection: &Connection, from: End, flags: u8, further: u32, payload: &[u8]) {
        const SERVER: ([u8; 4], u16) = ([172, 16, 0, 1], 5432);
        let (source, destination) = match from {
            Client => (connection.client, SERVER),
            Server => (SERVER, connection.client),
        };
        let [seq, ack] = [from as usize, 1 - from as usize].map(|side| connection.next[side]);
        let frame = &mut self.frame;
        frame.clear();
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
        frame.extend([0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(source.0);
        frame.extend(destination.0);
        frame.extend(source.1.to_be_bytes());
        frame.extend(destination.1.to_be_bytes());
        frame.extend(seq.wrapping_add(further).to_be_bytes());
        frame.extend(if flags & ACK == 0 { 0 } else { ack }.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
    }

    /// Captures the frame, ten microseconds after the last one.
    pub(crate) fn deliver(&mut self) {
        self.nanos += 10_000;
        self.to.take(&packet(self.nanos, &self.frame));
    }
}

/// Returns a frame as a captured packet.
pub(crate) fn packet(nanos: i64, frame: &[u8]) -> Packet<'_> {
    Packet {
        ts: Timestamp::from_nanos(nanos, Precision::Micros),
        link: LinkType::ETHERNET,
        data: frame,
        orig_len: frame.len() as u32,
        interface: 0,
    }
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

/// Creates a DataRow.
pub(crate) fn row(values: &[&[u8]]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(*value);
    }
    message(b'D', &body)
}

pub(crate) const INT4: u32 = 23;
pub(crate) const TEXT: u32 = 25;

/// Creates a RowDescription of columns in text format.
pub(crate) fn description(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = (columns.len() as u16).to_be_bytes().to_vec();
    for (name, type_oid) in columns {
        body.extend(name.bytes());
        body.extend([0; 7]);
        body.extend(type_oid.to_be_bytes());
        body.extend(b"\0\x04\xff\xff\xff\xff\0\0");
    }
    message(b'T', &body)
}

/// Creates the end of a SELECT.
pub(crate) fn complete(rows: u64) -> Vec<u8> {
    [message(b'C', format!("SELECT {rows}\0").as_bytes()), message(b'Z', b"I")].concat()
}

/// The requests of pgbench -S -M prepared, and their replies.
pub(crate) struct Select {
    described: Vec<u8>,
}

impl Select {
    /// The number of messages in a request and its reply.
    pub(crate) const MESSAGES: u64 = 9;

    pub(crate) fn new() -> Self {
        Self { described: [message(b'2', b""), description(&[("abalance", INT4)])].concat() }
    }

    /// Prepares the statement.
    pub(crate) fn prepare<T: Take>(&self, tap: &mut Tap<T>, connection: &mut Connection) {
        let parse = b"P_0\0SELECT abalance FROM pgbench_accounts WHERE aid = $1;\0\0\0";
        tap.send(connection, Client, &[message(b'P', parse), message(b'S', b"")].concat());
        tap.send(connection, Server, &[message(b'1', b""), message(b'Z', b"I")].concat());
    }

    /// Executes the statement once.
    pub(crate) fn execute<T: Take>(&self, tap: &mut Tap<T>, connection: &mut Connection, aid: u64) {
        let aid = (1_000_000 + aid % 1_000_000).to_string();
        let bind = [b"\0P_0\0\0\0\0\x01", &(aid.len() as u32).to_be_bytes()[..], aid.as_bytes(), b"\0\0"].concat();
        let [bind, describe, execute, sync] =
            [message(b'B', &bind), message(b'D', b"P\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
        tap.send(connection, Client, &[bind, describe, execute, sync].concat());
        tap.send(connection, Server, &[&self.described[..], &row(&[b"-42"]), &complete(1)].concat());
    }
}

/// Generates SELECT * FROM pgbench_accounts with a number of rows.
pub(crate) fn accounts<T: Take>(tap: &mut Tap<T>, connection: &mut Connection, rows: u64) {
    let columns = [("aid", INT4), ("bid", INT4), ("abalance", INT4), ("filler", TEXT)];
    result(tap, connection, &columns, rows, |number| row(&[number.to_string().as_bytes(), b"1", b"0", &[b' '; 84]]));
}

/// Generates COPY pgbench_accounts TO STDOUT with a number of rows.
pub(crate) fn copied_accounts<T: Take>(tap: &mut Tap<T>, connection: &mut Connection, rows: u64) {
    tap.send(connection, Client, &message(b'Q', b"COPY pgbench_accounts TO STDOUT\0"));
    let mut bytes = message(b'H', &[0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in 0..rows {
        bytes.extend(message(b'd', format!("{number}\t1\t0\t{:84}\n", "").as_bytes()));
    }
    bytes.extend([message(b'c', b""), message(b'C', b"COPY\0"), message(b'Z', b"I")].concat());
    tap.stream(connection, Server, &bytes);
}

/// Generates a result in full segments, independent of message boundaries.
pub(crate) fn result<T: Take>(
    tap: &mut Tap<T>,
    connection: &mut Connection,
    columns: &[(&str, u32)],
    rows: u64,
    row: impl Fn(u64) -> Vec<u8>,
) {
    tap.send(connection, Client, &message(b'Q', b"SELECT * FROM pgbench_accounts\0"));
    let mut bytes = description(columns);
    for number in 0..rows {
        bytes.extend(row(number));
        let full = bytes.len() / SEGMENT * SEGMENT;
        tap.stream(connection, Server, &bytes[..full]);
        bytes.drain(..full);
    }
    bytes.extend(complete(rows));
    tap.stream(connection, Server, &bytes);
}
