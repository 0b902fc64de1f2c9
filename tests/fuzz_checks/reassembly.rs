//! Segments of both directions, in any order, with any numbers: the output can be explained by the input.
//!
//! Each byte of a direction is a function of its sequence number, so the right position of any byte is known. The start of a
//! stream is not prescribed, but a single start must explain everything that was delivered.

use arbitrary::{Result, Unstructured};
use pgdissect::internals::direction::PerDirection;
use pgdissect::internals::packet::{Endpoint, Origin, Segment};
use pgdissect::internals::tcp::assembler::StreamContent;
use pgdissect::internals::tcp::conversation::{Accepted, Conversation, Delivery};
use pgdissect::{Direction, Precision, Timestamp};

/// The maximum distance of a segment ahead of the stream (RFC 7323, section 2.3).
const MAX_WINDOW: i64 = 1 << 30;

/// Returns the byte at a sequence number.
fn truth(direction: Direction, seq: u32) -> u8 {
    let salt = if direction == Direction::Frontend { 0x9e37_79b9 } else { 0x85eb_ca6b };
    let mixed = (seq ^ salt).wrapping_mul(0xcc9e_2d51);
    (mixed ^ mixed >> 15 ^ mixed >> 23) as u8
}

/// A planned segment.
#[derive(Clone, Debug)]
struct Plan {
    direction: Direction,
    seq: u32,
    ack: Option<u32>,
    syn: bool,
    fin: bool,
    rst: bool,
    len: u8,
    /// The difference between its bytes and the right ones.
    lie: u8,
    snapped: u32,
    micros: u64,
}

impl Plan {
    /// Returns the sequence number of the first byte.
    fn first(&self) -> u32 {
        self.seq.wrapping_add(self.syn.into())
    }

    fn payload(&self) -> Vec<u8> {
        (0..u32::from(self.len)).map(|at| truth(self.direction, self.first().wrapping_add(at)) ^ self.lie).collect()
    }
}

pub(crate) fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((max_held, begins, plans)) = read(&mut u) else { return };
    run(max_held, begins, &plans);
}

fn read(u: &mut Unstructured<'_>) -> Result<(usize, bool, Vec<Plan>)> {
    let max_held = *u.choose(&[1 << 20, 0, 300, 1_000, 20_000])?;
    let (begins, lies): (bool, bool) = u.arbitrary()?;
    // The current position in each direction, from the sender's view.
    let mut next: PerDirection<u32> = PerDirection { frontend: u.arbitrary()?, backend: u.arbitrary()? };
    let mut plans = Vec::new();
    while !u.is_empty() && plans.len() < 300 {
        let direction = *u.choose(&Direction::BOTH)?;
        let flags: u8 = u.arbitrary()?;
        let flag = |bit: u8| flags >> bit & 1 == 1;
        let len = u.arbitrary::<u8>()? & if flag(0) { 0xff } else { 0x0f };
        let at = *next.get(direction);
        let seq = match u.int_in_range(0..=15_u8)? {
            // The next bytes in sequence; or with a hole, or a retransmission.
            0..=7 => at,
            8..=10 => at.wrapping_add(u.arbitrary::<u8>()?.into()),
            11..=13 => at.wrapping_sub(u.arbitrary::<u8>()?.into()),
            14 => at.wrapping_add(1 << u.int_in_range(8..=31)?),
            _ => u.arbitrary()?,
        };
        let peer_at = *next.get(direction.opposite());
        let ack = match u.int_in_range(0..=7_u8)? {
            0 => None,
            1..=4 => Some(peer_at),
            5 => Some(peer_at.wrapping_add(u.arbitrary::<u8>()?.into())),
            6 => Some(peer_at.wrapping_sub(u.arbitrary::<u8>()?.into())),
            _ => Some(u.arbitrary()?),
        };
        let snapped = match (flag(1) && flag(2), flag(3)) {
            (true, true) => u.arbitrary()?,
            (true, false) => u.arbitrary::<u8>()?.into(),
            (false, _) => 0,
        };
        let (syn, fin, rst) = (flag(4) && flag(5), flag(4) && flag(6), flag(5) && flag(6) && flag(7));
        let micros = match u.int_in_range(0..=7_u8)? {
            0..=4 => 10,
            5 => u.int_in_range(0..=200_000)?,
            6 => u.int_in_range(0..=40_000_000)?,
            _ => u.int_in_range(0..=200_000_000)?,
        };
        let lie = if lies { u.arbitrary()? } else { 0 };
        let plan = Plan { direction, seq, ack, syn, fin, rst, len, lie, snapped, micros };
        *next.get_mut(direction) = plan.first().wrapping_add(len.into()).wrapping_add(snapped).wrapping_add(fin.into());
        plans.push(plan);
    }
    Ok((max_held, begins, plans))
}

/// An event in a direction.
#[derive(Clone, Debug)]
enum Happened {
    /// Bytes were captured, from this sequence number on.
    Sent {
        first: u32,
        len: u64,
    },
    /// Bytes were cut off by the snap length.
    CutOff {
        first: u32,
        len: u64,
    },
    Delivered(Vec<u8>),
    Snapped(u64),
    Missing(u64),
}

/// A conversation, and its history.
struct Watched {
    conversation: Conversation,
    happened: PerDirection<Vec<Happened>>,
    /// The possible starts of each direction.
    beginnings: PerDirection<Vec<u32>>,
    segments: u64,
}

impl Watched {
    fn new(max_held: usize) -> Self {
        Self {
            conversation: Conversation::new(max_held),
            happened: PerDirection::default(),
            beginnings: PerDirection::default(),
            segments: 0,
        }
    }

    fn deliver(&mut self, direction: Direction, delivery: Delivery) {
        self.happened.get_mut(direction).push(match delivery {
            Delivery::Content { content: StreamContent::Data(bytes), .. } => {
                assert!(!bytes.is_empty(), "a delivery has bytes");
                Happened::Delivered(bytes.to_vec())
            }
            Delivery::Content { content: StreamContent::Snapped(bytes), .. } => {
                assert!(bytes > 0, "what was cut off is something");
                Happened::Snapped(bytes)
            }
            Delivery::Missing { bytes, .. } => {
                assert!(bytes > 0, "a gap is of something");
                Happened::Missing(bytes)
            }
        });
    }

    /// Requests deliveries until there are none.
    fn drain(&mut self, next: impl Fn(&mut Conversation) -> Option<(Direction, Delivery, Origin)>) {
        // Each segment splits held pieces in two at most, and a gap may precede each part.
        for _ in 0..8 * self.segments * self.segments + 64 {
            let Some((direction, delivery, _)) = next(&mut self.conversation) else { return };
            self.deliver(direction, delivery);
        }
        panic!("it does not end");
    }

    fn end(mut self, origin: Origin, is_true: bool) {
        self.drain(|conversation| conversation.pop_at_end(origin));
        assert_eq!(self.conversation.held(), 0, "nothing is left");
        for direction in Direction::BOTH {
            let happened = self.happened.get(direction);
            let sum = |of: fn(&Happened) -> u64| happened.iter().map(of).sum::<u64>();
            let sent = sum(|what| match what {
                Happened::Sent { len, .. } | Happened::CutOff { len, .. } => *len,
                _ => 0,
            });
            let delivered = sum(|what| if let Happened::Delivered(bytes) = what { bytes.len() as u64 } else { 0 });
            let counters = self.conversation.counters(direction);
            assert!(
                delivered + counters.retransmitted + counters.out_of_window <= sent,
                "{direction}: {delivered} bytes of {sent} were delivered, {counters:?}"
            );
            let beginnings = self.beginnings.get(direction);
            if happened.is_empty() {
                continue;
            }
            let mut why = Vec::new();
            let is_explained =
                beginnings.iter().any(|beginning| match explain(direction, *beginning, happened, is_true) {
                    Ok(()) => true,
                    Err(reason) => {
                        why.push((*beginning, reason));
                        false
                    }
                });
            assert!(is_explained, "{direction}: no beginning explains {happened:?}: {why:?}");
        }
    }
}

/// Checks that all events are consistent with a stream that starts at a sequence number.
fn explain(direction: Direction, beginning: u32, happened: &[Happened], is_true: bool) -> Result<(), String> {
    let mut next = 0_u64;
    let mut sent: Vec<(u64, u64)> = Vec::new();
    let mut cut_off: Vec<(u64, u64)> = Vec::new();
    // The new part of a segment, as offsets.
    let range = |next: u64, first: u32, len: u64| {
        let distance = i64::from(first.wrapping_sub(beginning.wrapping_add(next as u32)) as i32);
        let start = i128::from(next) + i128::from(distance);
        let end = start + i128::from(len);
        let start = start.max(next.into());
        (distance <= MAX_WINDOW && start < end).then_some((start as u64, end as u64))
    };
    for what in happened {
        match what {
            Happened::Sent { first, len } => sent.extend(range(next, *first, *len)),
            Happened::CutOff { first, len } => cut_off.extend(range(next, *first, *len)),
            Happened::Delivered(bytes) => {
                for (at, byte) in bytes.iter().enumerate() {
                    let offset = next + at as u64;
                    if is_true && *byte != truth(direction, beginning.wrapping_add(offset as u32)) {
                        return Err(format!("the byte at {offset} is not the one that was sent"));
                    }
                    if !sent.iter().any(|(start, end)| *start <= offset && offset < *end) {
                        return Err(format!("the byte at {offset} was not captured"));
                    }
                }
                next += bytes.len() as u64;
            }
            Happened::Snapped(bytes) => {
                for edge in [next, next + bytes - 1] {
                    if !cut_off.iter().any(|(start, end)| *start <= edge && edge < *end) {
                        return Err(format!("the byte at {edge} was not cut off"));
                    }
                }
                if let Some(found) = sent.iter().find(|(start, end)| *start < next + bytes && next < *end) {
                    return Err(format!("{bytes} bytes are cut off at {next}, but {found:?} were captured"));
                }
                next += bytes;
            }
            Happened::Missing(bytes) => {
                if let Some(found) = sent.iter().find(|(start, end)| *start < next + bytes && next < *end) {
                    return Err(format!("{bytes} bytes are missing at {next}, but {found:?} were captured"));
                }
                next += bytes;
            }
        }
    }
    match sent.iter().find(|(_, end)| *end > next) {
        Some(left) => Err(format!("{left:?} were captured, and {next} bytes delivered")),
        None => Ok(()),
    }
}

fn run(max_held: usize, begins: bool, plans: &[Plan]) {
    let end = |port: u16| Endpoint { addr: [127, 0, 0, 1].into(), port };
    let is_true = plans.iter().all(|plan| plan.lie == 0);
    let mut micros = 0_u64;
    let mut watched = Watched::new(max_held);
    let mut origin = Origin { packet: 0, ts: Timestamp::default() };
    for (index, plan) in plans.iter().enumerate() {
        micros += plan.micros;
        let ts = Timestamp::from_nanos(i64::try_from(micros * 1_000).unwrap(), Precision::Micros);
        origin = Origin { packet: index as u64 + 1, ts };
        let payload = plan.payload();
        let (direction, peer) = (plan.direction, plan.direction.opposite());
        let (source, destination) =
            if direction == Direction::Frontend { (end(40_000), end(5432)) } else { (end(5432), end(40_000)) };
        let Plan { seq, ack, syn, fin, rst, snapped, .. } = *plan;
        let (window, payload) = (u16::MAX, &payload[..]);
        let segment = Segment { source, destination, seq, ack, syn, fin, rst, window, payload, snapped };

        // As in the engine: a new connection between the same endpoints, and one that has ended.
        let opens_another =
            syn && watched.segments > 0 && !watched.conversation.numbers().opened_with(direction, &segment);
        if opens_another || watched.conversation.is_finished() {
            watched.end(origin, is_true);
            watched = Watched::new(max_held);
        }
        if begins && watched.segments == 0 && !syn {
            watched.conversation.begins_with(direction, &segment);
        }
        watched.segments += 1;
        watched.beginnings.get_mut(direction).push(plan.first());
        watched.beginnings.get_mut(peer).extend(ack);
        if !rst {
            let events = watched.happened.get_mut(direction);
            if !payload.is_empty() {
                events.push(Happened::Sent { first: plan.first(), len: payload.len() as u64 });
            }
            if snapped > 0 {
                let first = plan.first().wrapping_add(plan.len.into());
                events.push(Happened::CutOff { first, len: snapped.into() });
            }
        }
        if let Accepted::InOrder(bytes) = watched.conversation.accept(direction, &segment, origin) {
            watched.deliver(
                direction,
                Delivery::Content { content: StreamContent::Data(bytes.to_vec().into()), is_contested: false },
            );
        }
        watched.drain(|conversation| conversation.pop(ts));
        let held = watched.conversation.held();
        assert!(held <= max_held, "{held} bytes are held, with a limit of {max_held}");
    }
    watched.end(origin, is_true);
}
