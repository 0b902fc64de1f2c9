//! The round-trip times between the capture point and both ends of a connection.
//!
//! A segment and its acknowledgment pass the capture point one round trip to the receiver apart, and whatever time the receiver
//! took to acknowledge. So the minimum over many is used. A receiver may delay the acknowledgment of a small segment by up to
//! 500 ms, and most send it together with their own next data (RFC 9293, section 3.8.6.3): such a time alone shows little. A
//! minimum is only known once something was acknowledged that is not delayed: a SYN, or two full-sized segments.
//!
//! A segment that is sent again has no acknowledgment of its own (Karn's algorithm: RFC 6298, section 3).

use crate::direction::{Direction, PerDirection};
use crate::time::Timestamp;

/// How many bytes are acknowledged at once: two segments of an Ethernet.
const UNDELAYED: u32 = 2 * 1_460;

/// The round-trip times of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrips(PerDirection<Sent>);

/// What one end has sent, and the other has acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// The sequence number behind the data sent, and the last one acknowledged; nothing until data was sent.
    numbers: Option<(u32, u32)>,
    /// The sequence number behind a segment that was not acknowledged yet, and when it was sent.
    timed: Option<(u32, Timestamp)>,
    /// The shortest time until an acknowledgment, in nanoseconds.
    min: Option<u64>,
    /// Whether one was not delayed.
    is_known: bool,
}

impl RoundTrips {
    /// Records a segment: its sender, the sequence number and the size of its payload, and what it acknowledges.
    #[inline(always)]
    pub fn segment(&mut self, from: Direction, (seq, len): (u32, u32), ack: Option<u32>, ts: Timestamp) {
        if len > 0 {
            self.0.get_mut(from).send(seq, len, ts);
        }
        if let Some(ack) = ack {
            self.0.get_mut(from.opposite()).acknowledge(ack, len == 0, ts);
        }
    }

    /// Records the segments that opened the connection: the client's SYN, the server's, and the acknowledgment of that, with their
    /// times. A SYN that was sent more than once must not be among them.
    pub fn handshake(&mut self, [syn, syn_ack, ack]: [Option<Timestamp>; 3]) {
        self.0.frontend.sample(syn, syn_ack);
        self.0.backend.sample(syn_ack, ack);
    }

    /// Returns the round-trip time between the capture point and an end, in microseconds, if it is known.
    pub fn of(&self, end: Direction) -> Option<u64> {
        let sent = self.0.get(end.opposite());
        sent.min.filter(|_| sent.is_known).map(|nanos| nanos / 1_000)
    }
}

impl Sent {
    #[inline(always)]
    fn send(&mut self, seq: u32, len: u32, ts: Timestamp) {
        let end = seq.wrapping_add(len);
        let (next, acked) = self.numbers.unwrap_or((seq, seq));
        if seq.wrapping_sub(next) as i32 >= 0 {
            self.numbers = Some((end, acked));
            self.timed.get_or_insert((end, ts));
        } else {
            self.timed = None;
        }
    }

    #[inline(always)]
    fn acknowledge(&mut self, ack: u32, is_bare: bool, ts: Timestamp) {
        let Some((next, acked)) = self.numbers else { return };
        let new = ack.wrapping_sub(acked);
        if new == 0 || new as i32 <= 0 {
            return;
        }
        self.numbers = Some((next, ack));
        if let Some((_, sent)) = self.timed.take_if(|(end, _)| ack.wrapping_sub(*end) as i32 >= 0) {
            self.is_known |= is_bare && new >= UNDELAYED;
            self.note(sent, ts);
        }
    }

    fn sample(&mut self, sent: Option<Timestamp>, acknowledged: Option<Timestamp>) {
        if let (Some(sent), Some(acknowledged)) = (sent, acknowledged) {
            self.is_known = true;
            self.note(sent, acknowledged);
        }
    }

    fn note(&mut self, sent: Timestamp, acknowledged: Timestamp) {
        // A capture may hold a segment behind its acknowledgment, and clocks may be set back.
        if let Some(nanos) = acknowledged.nanos_since(sent) {
            self.min = Some(self.min.map_or(nanos, |min| min.min(nanos)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    const CLIENT: Direction = Direction::Frontend;
    const SERVER: Direction = Direction::Backend;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000, Precision::Micros)
    }

    #[test]
    fn the_handshake_shows_both() {
        let mut trips = RoundTrips::default();
        trips.handshake([Some(at(0)), Some(at(700)), Some(at(1_100))]);
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (Some(700), Some(400)));
        // A reply that took longer changes nothing, one that was faster does.
        trips.segment(CLIENT, (1, 10), Some(1), at(2_000));
        trips.segment(SERVER, (1, 10), Some(11), at(9_000));
        trips.segment(CLIENT, (11, 10), Some(11), at(9_050));
        trips.segment(SERVER, (11, 10), Some(21), at(9_250));
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (Some(200), Some(50)));
    }

    #[test]
    fn an_acknowledgment_that_may_be_delayed_shows_nothing_by_itself() {
        let mut trips = RoundTrips::default();
        trips.segment(CLIENT, (1, 10), Some(1), at(0));
        trips.segment(SERVER, (1, 0), Some(11), at(40_000));
        trips.segment(SERVER, (1, 10), Some(11), at(50_000));
        trips.segment(CLIENT, (11, 0), Some(11), at(90_000));
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (None, None));
        trips.segment(SERVER, (11, 1_460), Some(11), at(100_000));
        trips.segment(SERVER, (1_471, 1_460), Some(11), at(100_010));
        trips.segment(CLIENT, (11, 0), Some(2_931), at(105_000));
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (None, Some(5_000)));
    }

    #[test]
    fn what_was_sent_again_is_not_timed() {
        let mut trips = RoundTrips::default();
        trips.segment(SERVER, (u32::MAX - 999, 3_000), None, at(0));
        trips.segment(SERVER, (u32::MAX - 999, 3_000), None, at(200_000));
        trips.segment(CLIENT, (1, 0), Some(2_000), at(200_100));
        assert_eq!(trips.of(CLIENT), None);
        trips.segment(SERVER, (2_000, 3_000), None, at(300_000));
        trips.segment(CLIENT, (1, 0), Some(5_000), at(300_800));
        assert_eq!(trips.of(CLIENT), Some(800));
    }

    #[test]
    fn an_acknowledgment_before_its_segment_is_not_timed() {
        let mut trips = RoundTrips::default();
        trips.handshake([Some(at(500)), Some(at(400)), Some(at(900))]);
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (None, Some(500)));
    }
}
