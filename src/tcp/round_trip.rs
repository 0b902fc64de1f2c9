//! The round-trip times between the capture point and both ends of a connection.
//!
//! A segment and its acknowledgment pass the capture point one round trip to the receiver apart, and whatever time the receiver
//! took to acknowledge. So the minimum over many is used. A receiver may delay the acknowledgment of less than two full-sized
//! segments by up to 500 ms, and most send it together with their own next data (RFC 9293, section 3.8.6.3): such a time alone
//! shows little. A minimum is only known once something was acknowledged that is not delayed: a SYN, or two full-sized segments.
//!
//! A segment that is sent again has no acknowledgment of its own (Karn's algorithm: RFC 6298, section 3).

use crate::direction::{Direction, PerDirection};
use crate::time::Timestamp;

/// The size of a full-sized segment, unless larger ones are seen: that of an Ethernet.
const FULL_SIZED: u32 = 1_460;

/// The least size of a full-sized segment: that of IPv6 with its minimum MTU (RFC 8200, section 5).
const LEAST_FULL_SIZED: u32 = 1_220;

/// How many microseconds a sender waits at most before it sends what is less than a segment into a window that has no more room: RFC
/// 9293, section 3.8.6.2.1.
const OVERRIDE_TIMEOUT: u64 = 1_000_000;

/// Segments within so many nanoseconds of each other were sent in one go.
const ONE_GO: u64 = 1_000_000;

/// A copy of a segment that follows within so many nanoseconds was captured twice, not sent twice: the shortest retransmission
/// timeout in use is 200 ms, and tail loss probes and fast retransmissions follow acknowledgments or a round trip.
pub const CAPTURED_TWICE: u64 = 1_000_000;

/// The round-trip times of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrips(PerDirection<Sent>);

/// What one end has sent, and the other has acknowledged.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Whether data was sent.
    is_seen: bool,
    /// Whether the last segment was sent once, and whether it is a SYN.
    is_timed: bool,
    is_syn: bool,
    /// Whether one of the times was not delayed.
    is_known: bool,
    /// The sequence number after the data sent, and the last one acknowledged.
    next: u32,
    acked: u32,
    /// The size of the largest segment.
    largest: u32,
    /// When the last segment was sent, and its size.
    sent: Timestamp,
    len: u32,
    /// When the one before was sent, and the last full-sized one before it.
    before: Timestamp,
    full_before: Timestamp,
    /// The size of the longest segment that was seen.
    longest: u32,
    /// The shortest time until an acknowledgment, in nanoseconds.
    min: u64,
    /// Two sequence numbers, the earlier one first, and the times in nanoseconds at which the data from there on was sent, at least
    /// [`CAPTURED_TWICE`] apart.
    marks: [(u32, i64); 2],
    /// The same of the data that was sent again last.
    again: Option<(u32, i64)>,
}

impl Default for Sent {
    fn default() -> Self {
        let (is_seen, is_timed, is_syn, is_known) = (false, false, false, false);
        let (next, acked, largest, sent, min) = (0, 0, FULL_SIZED, Timestamp::default(), u64::MAX);
        let (before, full_before, len, longest, marks, again) = (sent, sent, 0, 0, [(0, 0); 2], None);
        Self {
            is_seen,
            is_timed,
            is_syn,
            is_known,
            next,
            acked,
            largest,
            sent,
            len,
            before,
            full_before,
            longest,
            min,
            marks,
            again,
        }
    }
}

/// What of a segment matters here.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its sequence number.
    pub seq: u32,
    /// The size of its payload, captured or not, with 1 for a SYN.
    pub len: u32,
    /// What it acknowledges.
    pub ack: Option<u32>,
    /// Whether it is a SYN.
    pub syn: bool,
}

impl RoundTrips {
    /// Records a segment that fits into its connection. Returns whether data from its sequence number on was sent before, and not
    /// only [captured twice](CAPTURED_TWICE).
    #[inline(always)]
    pub fn segment(&mut self, from: Direction, segment: Sample, ts: Timestamp) -> bool {
        let is_sent_again = segment.len > 0 && self.0.get_mut(from).send(&segment, ts);
        if let Some(ack) = segment.ack {
            self.0.get_mut(from.opposite()).acknowledge(ack, segment.len == 0, ts);
        }
        is_sent_again
    }

    /// Records the segments that opened the connection: the client's SYN, the server's, and the acknowledgment of that, with their
    /// times. A SYN that was sent more than once must not be among them.
    pub fn handshake(&mut self, [syn, syn_ack, ack]: [Option<Timestamp>; 3]) {
        for (sent, from, to) in [(&mut self.0.frontend, syn, syn_ack), (&mut self.0.backend, syn_ack, ack)] {
            if let (Some(from), Some(to)) = (from, to) {
                sent.note(from, to, true);
            }
        }
    }

    /// Returns the round-trip time between the capture point and an end, in microseconds, if it is known.
    pub fn of(&self, end: Direction) -> Option<u64> {
        let sent = self.0.get(end.opposite());
        (sent.is_known && sent.min < u64::MAX).then_some(sent.min / 1_000)
    }

    /// Returns since when a side can send no more, given that what it has sent just fills the receiver's window, and `ack` acknowledges
    /// all of that.
    pub fn filled_at(&self, from: Direction, ack: u32) -> Option<Timestamp> {
        let sent = self.0.get(from);
        (sent.is_seen && sent.next == ack).then(|| sent.filled_at())
    }
}

impl Sent {
    #[inline(always)]
    fn send(&mut self, segment: &Sample, ts: Timestamp) -> bool {
        if self.is_seen && segment.seq == self.next {
            self.time(segment, ts);
            return false;
        }
        self.send_out_of_order(segment, ts)
    }

    #[inline(always)]
    fn time(&mut self, &Sample { seq, len, syn, .. }: &Sample, ts: Timestamp) {
        self.next = seq.wrapping_add(len);
        self.largest = self.largest.max(len);
        let [_, last] = self.marks;
        if ts.as_nanos().saturating_sub(last.1) >= CAPTURED_TWICE as i64 {
            self.marks = [last, (seq, ts.as_nanos())];
        }
        if self.len >= LEAST_FULL_SIZED {
            self.full_before = self.sent;
        }
        (self.before, self.len, self.longest) = (self.sent, len, self.longest.max(len));
        (self.sent, self.is_timed, self.is_syn) = (ts, true, syn);
    }

    #[cold]
    fn send_out_of_order(&mut self, segment: &Sample, ts: Timestamp) -> bool {
        let &Sample { seq, len, syn, .. } = segment;
        let end = seq.wrapping_add(len);
        if !self.is_seen || is_behind(self.next, seq) && !syn {
            if !self.is_seen {
                self.marks = [(seq, ts.as_nanos()); 2];
            }
            // What is missing in between was not captured: what acknowledges it shows nothing.
            (self.is_seen, self.acked) = (true, seq);
            self.time(segment, ts);
            return false;
        }
        let is_sent_again = !syn && self.is_sent_again(seq, ts);
        if end == self.next {
            self.is_timed &= ts.nanos_since(self.sent).is_some_and(|nanos| nanos < CAPTURED_TWICE);
        } else if !syn {
            self.is_timed = false;
            if is_behind(self.next, end) {
                (self.next, self.sent) = (end, ts);
            }
        }
        // Another SYN amid a connection may be forged.
        is_sent_again
    }

    /// A sender waits before it fills a window in which there is no room for a whole segment (RFC 9293, section 3.8.6.2.1). If all
    /// before that was sent in one go, and not only little of it, there was more to send.
    fn filled_at(&self) -> Timestamp {
        let is_rest =
            self.len < self.longest && self.before.nanos_since(self.full_before).is_some_and(|nanos| nanos < ONE_GO);
        if is_rest { self.sent.earlier(OVERRIDE_TIMEOUT).max(self.before) } else { self.sent }
    }

    /// Returns whether the data from a sequence number on was surely sent before, rather than [captured twice](CAPTURED_TWICE).
    fn is_sent_again(&mut self, seq: u32, ts: Timestamp) -> bool {
        let [earlier, later] = self.marks;
        let sent_by = match self.again {
            Some((again, at)) if again == seq => at,
            _ if is_behind(seq, earlier.0) => earlier.1,
            _ if is_behind(seq, later.0) => later.1,
            _ => self.sent.as_nanos(),
        };
        let is_sent_again = ts.as_nanos().saturating_sub(sent_by) >= CAPTURED_TWICE as i64;
        if is_sent_again {
            self.again = Some((seq, ts.as_nanos()));
        }
        is_sent_again
    }

    #[inline(always)]
    fn acknowledge(&mut self, ack: u32, is_bare: bool, ts: Timestamp) {
        if ack != self.acked && self.is_seen && is_behind(self.acked, ack) && !is_behind(self.next, ack) {
            self.acknowledge_new(ack, is_bare, ts);
        }
    }

    fn acknowledge_new(&mut self, ack: u32, is_bare: bool, ts: Timestamp) {
        let new = ack.wrapping_sub(self.acked);
        self.acked = ack;
        // Of the last segment alone it is certain that it had arrived just before.
        if ack == self.next && self.is_timed {
            self.is_timed = false;
            let is_undelayed = self.is_syn || is_bare && new / 2 >= self.largest;
            self.note(self.sent, ts, is_undelayed);
        }
    }

    fn note(&mut self, sent: Timestamp, acknowledged: Timestamp, is_undelayed: bool) {
        // A capture may hold a segment behind its acknowledgment, and clocks may be set back.
        if let Some(nanos) = acknowledged.nanos_since(sent) {
            self.min = self.min.min(nanos);
            self.is_known |= is_undelayed;
        }
    }
}

/// Returns whether a sequence number is behind another.
#[inline(always)]
const fn is_behind(one: u32, other: u32) -> bool {
    other.wrapping_sub(one) as i32 > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    const CLIENT: Direction = Direction::Frontend;
    const SERVER: Direction = Direction::Backend;

    fn segment(seq: u32, len: u32, ack: u32) -> Sample {
        Sample { seq, len, ack: Some(ack), syn: false }
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000, Precision::Micros)
    }

    #[test]
    fn the_handshake_shows_both() {
        let mut trips = RoundTrips::default();
        trips.handshake([Some(at(0)), Some(at(700)), Some(at(1_100))]);
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (Some(700), Some(400)));
        // A reply that took longer changes nothing, one that was faster does.
        trips.segment(CLIENT, segment(1, 10, 1), at(2_000));
        trips.segment(SERVER, segment(1, 10, 11), at(9_000));
        trips.segment(CLIENT, segment(11, 10, 11), at(9_050));
        trips.segment(SERVER, segment(11, 10, 21), at(9_250));
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (Some(200), Some(50)));
    }

    #[test]
    fn an_acknowledgment_that_may_be_delayed_shows_nothing_by_itself() {
        let mut trips = RoundTrips::default();
        trips.segment(CLIENT, segment(1, 10, 1), at(0));
        trips.segment(SERVER, segment(1, 0, 11), at(40_000));
        trips.segment(SERVER, segment(1, 10, 11), at(50_000));
        trips.segment(CLIENT, segment(11, 0, 11), at(90_000));
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (None, None));
        trips.segment(SERVER, segment(11, 1_460, 11), at(100_000));
        trips.segment(SERVER, segment(1_471, 1_460, 11), at(100_010));
        trips.segment(CLIENT, segment(11, 0, 2_931), at(105_000));
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (None, Some(4_990)));
    }

    #[test]
    fn what_was_sent_again_is_not_timed() {
        let mut trips = RoundTrips::default();
        trips.segment(SERVER, segment(u32::MAX - 999, 3_000, 1), at(0));
        trips.segment(SERVER, segment(u32::MAX - 999, 3_000, 1), at(200_000));
        trips.segment(CLIENT, segment(1, 0, 2_000), at(200_100));
        assert_eq!(trips.of(CLIENT), None);
        trips.segment(SERVER, segment(2_000, 3_000, 1), at(300_000));
        trips.segment(SERVER, segment(5_000, 3_000, 1), at(300_000));
        trips.segment(CLIENT, segment(1, 0, 8_000), at(300_800));
        assert_eq!(trips.of(CLIENT), Some(800));
    }

    #[test]
    fn an_acknowledgment_before_its_segment_is_not_timed() {
        let mut trips = RoundTrips::default();
        trips.handshake([Some(at(500)), Some(at(400)), Some(at(900))]);
        assert_eq!((trips.of(SERVER), trips.of(CLIENT)), (None, Some(500)));
    }

    #[test]
    fn full_sized_segments_may_be_larger_than_those_of_an_ethernet() {
        let mut trips = RoundTrips::default();
        trips.segment(CLIENT, segment(1, 3_000, 1), at(0));
        trips.segment(SERVER, segment(1, 0, 3_001), at(40_000));
        assert_eq!(trips.of(SERVER), None);
    }

    #[test]
    fn a_pause_between_segments_is_no_time_of_the_network() {
        let mut trips = RoundTrips::default();
        trips.segment(CLIENT, segment(1, 100, 1), at(0));
        trips.segment(CLIENT, segment(101, 1_460, 1), at(30_000));
        trips.segment(CLIENT, segment(1_561, 1_460, 1), at(30_010));
        trips.segment(SERVER, segment(1, 0, 3_021), at(30_200));
        assert_eq!(trips.of(SERVER), Some(190));
    }

    #[test]
    fn bytes_that_were_not_captured_are_not_timed() {
        let mut trips = RoundTrips::default();
        trips.segment(CLIENT, segment(1, 100, 1), at(0));
        trips.segment(SERVER, segment(1, 0, 20_001), at(5_000_000));
        assert_eq!(trips.of(SERVER), None);
        trips.segment(CLIENT, segment(20_001, 100, 1), at(6_000_000));
        trips.segment(SERVER, segment(1, 0, 20_101), at(6_040_000));
        assert_eq!(trips.of(SERVER), None);
    }

    #[test]
    fn a_segment_that_was_captured_twice_is_timed() {
        let mut trips = RoundTrips::default();
        for copy in [0, 1] {
            trips.segment(SERVER, Sample { seq: 0, len: 1, ack: Some(1), syn: true }, at(copy));
        }
        for copy in [0, 1] {
            trips.segment(CLIENT, segment(1, 0, 1), at(900 + copy));
        }
        assert_eq!(trips.of(CLIENT), Some(900));
    }

    #[test]
    fn a_segment_that_was_captured_twice_is_not_sent_again() {
        let mut trips = RoundTrips::default();
        let mut send = |number: u32, micros| {
            let seq = (u32::MAX - 1_000).wrapping_add(100 * number);
            trips.segment(SERVER, segment(seq, 100, 1), at(micros))
        };
        assert_eq!([0, 999, 1_000].map(|micros| send(0, micros)), [false, false, true]);
        // One every 100 us, as in a transfer that goes on: what is sent again then is still found, if not at once.
        assert!((1..40_u32).all(|number| !send(number, i64::from(number) * 100)));
        assert!(!send(39, 3_950) && !send(30, 3_950));
        assert!(send(19, 3_950) && send(0, 3_950));
        // So is a copy of what was sent again.
        assert_eq!([4_900, 5_000, 6_000].map(|micros| send(39, micros)), [true, false, true]);
    }

    #[test]
    fn a_retransmission_with_more_bytes_is_not_timed_either() {
        let mut trips = RoundTrips::default();
        trips.handshake([Some(at(0)), Some(at(100_000)), Some(at(100_700))]);
        trips.segment(CLIENT, segment(1, 1, 1), at(200_000));
        trips.segment(CLIENT, segment(1, 1_460, 1), at(400_000));
        trips.segment(CLIENT, segment(2, 1_459, 1), at(600_000));
        trips.segment(SERVER, segment(1, 0, 1_461), at(600_010));
        assert_eq!(trips.of(SERVER), Some(100_000));
    }
}
