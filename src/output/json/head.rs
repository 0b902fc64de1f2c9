//! What many lines begin with, kept as it is written: a time in the same second, the ends of the same connection, all that
//! messages in one packet have in common.

use std::ops::Range;

use super::bodies;
use super::tokens::{numbered, put, string, unsigned};
use crate::digits;
use crate::direction::Direction;
use crate::pg::text::{KeptText, Text};
use crate::record::ends::Ends;
use crate::record::{Header, MOST_EXACT};
use crate::time::{Precision, Timestamp};

/// Writes times: most are in the same second as the last one.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// That second, and how it is written.
    second: Range<i64>,
    text: [u8; SECOND],
}

const SECOND: usize = "\"2026-11-22T21:30:32.".len();

impl Clock {
    #[inline(always)]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, ts: Timestamp) {
        let nanos = match self.second.contains(&ts.as_nanos()) {
            true => (ts.as_nanos() - self.second.start) as u32,
            false => self.begin(ts),
        };
        let [_, _, a, b, c, d, e, f] = digits::eight(nanos / 1_000);
        put(out, &self.text);
        match ts.precision() {
            Precision::Micros => put(out, &[a, b, c, d, e, f, b'Z', b'"']),
            Precision::Nanos => {
                let [.., g, h, i] = digits::eight(nanos);
                put(out, &[a, b, c, d, e, f, g, h, i, b'Z', b'"']);
            }
        }
    }

    /// Takes the second of a time. Gives the nanoseconds behind it.
    #[inline(never)]
    fn begin(&mut self, ts: Timestamp) -> u32 {
        self.second = ts.second();
        let mut text = Vec::new();
        string(&mut text, ts.rfc3339().as_str());
        self.text = text.first_chunk().copied().unwrap_or_default();
        ts.parts().1
    }
}

/// Writes what lines of connections begin with that come by turns.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The last connection of each remainder of its number. None at all until there is one.
    kept: Vec<CachedConnection>,
}

/// How many are kept.
const KEPT: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct CachedConnection {
    /// None where none is kept yet.
    conn: Option<u64>,
    client: String,
    server: String,
    /// The members `conn`, `client` and `server`, each with a comma before it, and those of both ends in parts behind them.
    written: Vec<u8>,
    /// Where those of both ends in parts begin.
    ends_at: usize,
    message: Beginning,
    pub(super) identity: Identity,
}

impl CachedConnection {
    /// The members `conn`, `client` and `server`, each with a comma before it.
    #[inline(always)]
    pub(super) fn header(&self) -> &[u8] {
        self.written.get(..self.ends_at).unwrap_or_default()
    }

    /// The same, and `client_ip`, `client_port`, `server_ip` and `server_port`.
    #[inline(always)]
    pub(super) fn header_with_ends(&self) -> &[u8] {
        &self.written
    }
}

/// The members `user`, `database` and `application`, each with a comma before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    names: [Option<KeptText<'static>>; 3],
    written: Vec<u8>,
}

impl Identity {
    /// Writes those that there are, in their order.
    #[inline]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, names: [Option<Text<'_>>; 3]) {
        let is_kept = |(kept, name): (&Option<KeptText<'_>>, Option<Text<'_>>)| match (kept, name) {
            (Some(kept), Some(name)) => is_same(kept, name.0) && kept.get().1 == name.1,
            (None, None) => true,
            _ => false,
        };
        if !self.names.iter().zip(names).all(is_kept) {
            self.set(names);
        }
        out.extend_from_slice(&self.written);
    }

    #[inline(never)]
    fn set(&mut self, names: [Option<Text<'_>>; 3]) {
        self.written.clear();
        for (member, name) in [&br#","user":"#[..], br#","database":"#, br#","application":"#].into_iter().zip(names) {
            if let Some(name) = name {
                self.written.extend_from_slice(member);
                bodies::text(&mut self.written, name);
            }
        }
        self.names = names.map(|name| {
            let mut kept = KeptText::default();
            kept.set(name?);
            Some(kept)
        });
    }
}

/// How the line of a message began, up to the number of `len`.
#[derive(Clone, Debug, Default)]
struct Beginning {
    written: Vec<u8>,
    ts: Timestamp,
    seq: u64,
    packet: u64,
    /// Where the letter of `dir`, the numbers of `seq` and `packet`, and the letter of `tag` are.
    dir_at: usize,
    seq_at: Range<usize>,
    packet_at: Range<usize>,
    tag_at: usize,
    /// The second of `ts`.
    second: Range<i64>,
    /// The numbers of packets that have as many digits.
    packets: Range<u64>,
}

/// Where the digits behind the second are.
const FRACTION: usize = br#"{"event":"message","ts":"#.len() + SECOND;

/// What the line of a message begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageStart<'a> {
    pub(super) header: Header<'a>,
    pub(super) dir: Direction,
    pub(super) seq: u64,
    pub(super) packet: u64,
}

impl MessageStart<'_> {
    /// Writes it, up to the member `packet`, with what is kept of the connection. Says where the letter of `dir` and the
    /// number of `seq` are.
    fn write(&self, out: &mut Vec<u8>, clock: &mut Clock, connection: &[u8]) -> (usize, Range<usize>) {
        put(out, br#"{"event":"message","ts":"#);
        clock.write(out, self.header.ts);
        out.extend_from_slice(connection);
        put(out, br#","dir":""#);
        let dir_at = out.len();
        out.push(letter(self.dir));
        put(out, br#"","seq":"#);
        let seq_at = out.len();
        unsigned(out, self.seq);
        let seq_at = seq_at..out.len();
        numbered(out, br#","packet":"#, self.packet);
        (dir_at, seq_at)
    }
}

const fn letter(dir: Direction) -> u8 {
    match dir {
        Direction::Frontend => b'F',
        Direction::Backend => b'B',
    }
}

impl Connections {
    /// Writes all that is before the number of `len`, of a message whose tag is a letter.
    #[inline(always)]
    pub(super) fn begin_message(&mut self, out: &mut Vec<u8>, clock: &mut Clock, start: &MessageStart<'_>, tag: u8) {
        let Some(CachedConnection { written, ends_at, message, .. }) = self.get(&start.header) else {
            return;
        };
        if !message.goes_on(start) {
            message.begin(written.get(..*ends_at).unwrap_or_default(), clock, start);
        }
        message.set(start.dir, tag);
        out.extend_from_slice(&message.written);
    }

    /// Writes all that is before `tag` and `len`, of any message.
    pub(super) fn begin_any_message(&mut self, out: &mut Vec<u8>, clock: &mut Clock, start: &MessageStart<'_>) {
        if let Some(kept) = self.get(&start.header) {
            start.write(out, clock, kept.header());
        }
    }

    /// What is kept of a connection.
    #[inline(always)]
    pub(super) fn get(&mut self, header: &Header<'_>) -> Option<&mut CachedConnection> {
        // Every field, so that a new one cannot be forgotten.
        let Header { ts: _, conn, client, server } = *header;
        match self.kept.get(conn as usize % KEPT) {
            Some(kept)
                if kept.conn == Some(conn)
                    && is_same(kept.client.as_bytes(), client.as_bytes())
                    && is_same(kept.server.as_bytes(), server.as_bytes()) => {}
            _ => self.keep(header),
        }
        self.kept.get_mut(conn as usize % KEPT)
    }

    #[inline(never)]
    fn keep(&mut self, header: &Header<'_>) {
        // Every field, so that a new one cannot be forgotten.
        let Header { ts: _, conn, client, server } = *header;
        let mut written = Vec::new();
        numbered(&mut written, br#","conn":"#, conn);
        put(&mut written, br#","client":"#);
        string(&mut written, client);
        put(&mut written, br#","server":"#);
        string(&mut written, server);
        let ends_at = written.len();
        // Every field, so that a new one cannot be forgotten.
        let Ends { client_ip, client_port, server_ip, server_port } = header.ends();
        put(&mut written, br#","client_ip":"#);
        string(&mut written, client_ip);
        numbered(&mut written, br#","client_port":"#, client_port.into());
        put(&mut written, br#","server_ip":"#);
        string(&mut written, server_ip);
        numbered(&mut written, br#","server_port":"#, server_port.into());
        if self.kept.is_empty() {
            self.kept.resize(KEPT, CachedConnection::default());
        }
        if let Some(kept) = self.kept.get_mut(conn as usize % KEPT) {
            let (client, server) = (client.to_owned(), server.to_owned());
            *kept =
                CachedConnection { conn: Some(conn), client, server, written, ends_at, ..CachedConnection::default() };
        }
    }
}

impl Beginning {
    /// The next `seq`, where both are written as numbers.
    #[inline(always)]
    fn next(&self) -> Option<u64> {
        (self.seq < MOST_EXACT).then(|| self.seq + 1)
    }

    /// Counts `seq` up, where this is the next message, and in the same packet: so it is with most.
    #[inline(always)]
    fn goes_on(&mut self, start: &MessageStart<'_>) -> bool {
        if (self.next(), self.packet) != (Some(start.seq), start.packet)
            || self.ts != start.header.ts
            || self.ts.precision() != start.header.ts.precision()
        {
            return false;
        }
        self.seq = start.seq;
        self.written.get_mut(self.seq_at.clone()).is_some_and(digits::increment)
    }

    #[inline(never)]
    fn begin(&mut self, connection: &[u8], clock: &mut Clock, start: &MessageStart<'_>) {
        if self.follows(start) == Some(()) {
            return;
        }
        let out = &mut self.written;
        out.clear();
        (self.dir_at, self.seq_at) = start.write(out, clock, connection);
        self.packet_at = self.seq_at.end + br#","packet":"#.len()..out.len();
        put(out, br#","tag":""#);
        self.tag_at = out.len();
        put(out, br#" ","len":"#);
        (self.ts, self.seq, self.packet) = (start.header.ts, start.seq, start.packet);
        self.second = start.header.ts.second();
        self.packets = match self.packet_at.len() as u32 {
            digits @ 1..=8 => 10_u64.pow(digits - 1)..10_u64.pow(digits),
            _ => 0..0,
        };
    }

    /// Puts other digits in their places, where this is the next message, in a later packet, and nothing else differs.
    fn follows(&mut self, start: &MessageStart<'_>) -> Option<()> {
        let is_next = self.next() == Some(start.seq) && self.ts.precision() == start.header.ts.precision();
        if !is_next || !self.second.contains(&start.header.ts.as_nanos()) || !self.packets.contains(&start.packet) {
            return None;
        }
        if !digits::increment(self.written.get_mut(self.seq_at.clone())?) {
            return None;
        }
        let nanos = (start.header.ts.as_nanos() - self.second.start) as u32;
        let ([_, _, micros @ ..], [.., g, h, i]) = (digits::eight(nanos / 1_000), digits::eight(nanos));
        *self.written.get_mut(FRACTION..)?.first_chunk_mut()? = micros;
        if start.header.ts.precision() == Precision::Nanos {
            *self.written.get_mut(FRACTION + micros.len()..)?.first_chunk_mut()? = [g, h, i];
        }
        let packet = digits::eight(start.packet as u32);
        let packet = packet.get(packet.len().checked_sub(self.packet_at.len())?..)?;
        self.written.get_mut(self.packet_at.clone())?.copy_from_slice(packet);
        (self.ts, self.seq, self.packet) = (start.header.ts, start.seq, start.packet);
        Some(())
    }

    #[inline(always)]
    fn set(&mut self, dir: Direction, tag: u8) {
        if let Some(letter) = self.written.get_mut(self.dir_at) {
            *letter = self::letter(dir);
        }
        if let Some(letter) = self.written.get_mut(self.tag_at) {
            *letter = tag;
        }
    }
}

/// Writes the members `query` and `elapsed_us`, which several messages in a packet have in common.
#[derive(Debug, Default)]
pub(super) struct Answers {
    query: Option<u64>,
    elapsed_us: Option<u64>,
    written: Vec<u8>,
}

impl Answers {
    #[inline(always)]
    pub(super) fn write(&mut self, out: &mut Vec<u8>, query: Option<u64>, elapsed_us: Option<u64>) {
        if (self.query, self.elapsed_us) != (query, elapsed_us) {
            self.set(query, elapsed_us);
        }
        out.extend_from_slice(&self.written);
    }

    #[inline(never)]
    fn set(&mut self, query: Option<u64>, elapsed_us: Option<u64>) {
        self.written.clear();
        if let Some(query) = query {
            numbered(&mut self.written, br#","query":"#, query);
        }
        if let Some(elapsed_us) = elapsed_us {
            numbered(&mut self.written, br#","elapsed_us":"#, elapsed_us);
        }
        (self.query, self.elapsed_us) = (query, elapsed_us);
    }
}

/// Whether texts are the same: without a call where they have 4 to 16 bytes, as most addresses and names have.
#[inline(always)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    fn are_same<const N: usize>(one: &[u8], other: &[u8]) -> Option<bool> {
        let starts = one.first_chunk::<N>()? == other.first_chunk()?;
        Some(starts & (one.last_chunk::<N>()? == other.last_chunk()?))
    }
    if one.len() != other.len() {
        return false;
    }
    let is_same = match one.len() {
        8..=16 => are_same::<8>(one, other),
        4..=7 => are_same::<4>(one, other),
        _ => None,
    };
    is_same.unwrap_or_else(|| one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_written_as_if_it_was_not() {
        let (mut connections, mut clock) = (Connections::default(), Clock::default());
        let mut next = 0;
        let seconds = [
            i64::MIN,
            i64::MIN + 1,
            -1_000_000_000,
            -7,
            0,
            999_999_000,
            999_999_999,
            1_000_000_000,
            1_000_001_000,
            i64::MAX,
        ];
        for precision in [Precision::Micros, Precision::Nanos] {
            for (ts, packet) in
                seconds.into_iter().flat_map(|ts| [8, 9, 10, 11, 99_999_999, 100_000_000].map(|n| (ts, n)))
            {
                for step in [1, 1, 1, 7] {
                    next += step;
                    let ts = Timestamp::from_nanos(ts, precision);
                    let (conn, client, server) = (next % 3, "10.0.0.5:51324", "[::1]:5432");
                    let header = Header { ts, conn, client, server };
                    let start = MessageStart { header, dir: Direction::Backend, seq: next / 3, packet };
                    let (mut kept, mut expected) = (Vec::new(), Vec::new());
                    connections.begin_message(&mut kept, &mut clock, &start, b'D');
                    Connections::default().begin_message(&mut expected, &mut Clock::default(), &start, b'D');
                    assert_eq!(String::from_utf8(kept), String::from_utf8(expected));
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_any_more_is_not_counted_up() {
        let (mut connections, mut clock) = (Connections::default(), Clock::default());
        for seq in MOST_EXACT - 3..MOST_EXACT + 3 {
            let (client, server, ts) = ("10.0.0.5:51324", "[::1]:5432", Timestamp::default());
            let header = Header { ts, conn: 1, client, server };
            let start = MessageStart { header, dir: Direction::Backend, seq, packet: 7 };
            let mut kept = Vec::new();
            connections.begin_message(&mut kept, &mut clock, &start, b'D');
            let expected = if seq <= MOST_EXACT { format!(r#""seq":{seq},"#) } else { format!(r#""seq":"{seq}","#) };
            let kept = String::from_utf8(kept).unwrap();
            assert!(kept.contains(&expected) && kept.ends_with(r#","packet":7,"tag":"D","len":"#), "{kept}");
        }
    }

    #[test]
    fn texts_are_the_same_where_all_their_bytes_are() {
        for len in 0..40 {
            let text = vec![b'x'; len];
            assert!(is_same(&text, &text.clone()));
            assert!(!is_same(&text, &[&text[..], b"x"].concat()));
            for at in 0..len {
                let mut other = text.clone();
                other[at] = b'y';
                assert!(!is_same(&text, &other));
            }
        }
    }
}
