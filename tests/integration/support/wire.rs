//! Hand-made packets: Ethernet, IPv4, TCP.

use std::net::Ipv4Addr;

use pgdissect::{LinkType, Packet, Precision, Timestamp};

use crate::captures::OwnedPacket;

pub(crate) const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 40_000);
pub(crate) const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 2), 5432);

/// The sender of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Server,
}

impl From {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }

    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A planned TCP segment.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) from: From,
    pub(crate) client_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) window: u16,
    pub(crate) payload: Vec<u8>,
}

impl Tcp {
    pub(crate) fn new(from: From, seq: u32, ack: u32, payload: &[u8]) -> Self {
        let (syn, fin, rst, window, payload) = (false, false, false, u16::MAX, payload.to_vec());
        Self { from, client_port: CLIENT.1, seq, ack: Some(ack), syn, fin, rst, window, payload }
    }

    pub(crate) fn syn(self) -> Self {
        Self { syn: true, ..self }
    }

    pub(crate) fn fin(self) -> Self {
        Self { fin: true, ..self }
    }

    pub(crate) fn rst(self) -> Self {
        Self { rst: true, ..self }
    }

    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn without_ack(self) -> Self {
        Self { ack: None, ..self }
    }

    pub(crate) fn port(self, client_port: u16) -> Self {
        Self { client_port, ..self }
    }

    /// Returns the frame, captured `micros` microseconds after the beginning.
    pub(crate) fn at(&self, micros: u64) -> OwnedPacket {
        let client = (CLIENT.0, self.client_port);
        let (source, destination) = match self.from {
            From::Client => (client, SERVER),
            From::Server => (SERVER, client),
        };
        let mut data = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        let total = u16::try_from(40 + self.payload.len()).expect("a segment fits into an IP packet");
        data.extend([0x45, 0]);
        data.extend(total.to_be_bytes());
        data.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        data.extend(source.0.octets());
        data.extend(destination.0.octets());
        data.extend(source.1.to_be_bytes());
        data.extend(destination.1.to_be_bytes());
        data.extend(self.seq.to_be_bytes());
        data.extend(self.ack.unwrap_or_default().to_be_bytes());
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags =
            flag(self.fin, 1) | flag(self.syn, 2) | flag(self.rst, 4) | flag(self.ack.is_some(), 16) | flag(true, 8);
        data.extend([0x50, flags]);
        data.extend(self.window.to_be_bytes());
        data.extend([0; 4]);
        data.extend(&self.payload);
        let orig_len = u32::try_from(data.len()).unwrap();
        OwnedPacket { ts: time(micros), link: LinkType::ETHERNET, data, orig_len }
    }
}

/// Returns the time `micros` microseconds after the beginning.
pub(crate) fn time(micros: u64) -> Timestamp {
    const BEGINNING: i64 = 1_700_000_000;
    let nanos = u32::try_from(micros % 1_000_000 * 1_000).unwrap();
    Timestamp::new(BEGINNING + i64::try_from(micros / 1_000_000).unwrap(), nanos, Precision::Micros)
}

/// Creates a message with a type byte.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &len.to_be_bytes()[..], body].concat()
}

/// Creates a StartupMessage of protocol 3.0.
pub(crate) fn startup() -> Vec<u8> {
    startup_of("app", "shop")
}

/// The same of a user and a database.
pub(crate) fn startup_of(user: &str, database: &str) -> Vec<u8> {
    let body = [b"\0\x03\0\0", format!("user\0{user}\0database\0{database}\0\0").as_bytes()].concat();
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

#[test]
fn packets_made_by_hand_are_read_as_they_were_meant() {
    let made = Tcp::new(From::Server, 7, 9, b"payload").fin().at(1_500_000);
    let Packet { ts, .. } = made.borrow();
    assert_eq!(ts.to_string(), "2023-11-14T22:13:21.500000Z");
    let segment = pgdissect::internals::packet::decode(&made.borrow()).unwrap();
    assert_eq!((segment.source.port, segment.destination.port), (5432, 40_000));
    assert_eq!((segment.seq, segment.ack, segment.payload), (7, Some(9), &b"payload"[..]));
    assert_eq!((segment.syn, segment.fin, segment.rst, segment.snapped), (false, true, false, 0));
    assert_eq!(segment.window, u16::MAX);
}
