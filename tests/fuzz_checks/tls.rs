//! Two streams as a TLS session, with a key log, holes, and keys that arrive late: it returns no more than its input, holds no
//! more than the limit, and counts every byte.

use arbitrary::{Result, Unstructured};
use pgdissect::internals::direction::PerDirection;
use pgdissect::internals::packet::Origin;
use pgdissect::internals::tls::handshake;
use pgdissect::internals::tls::session::{Event, MAX_HELD, TlsSession, Tools};
use pgdissect::{Direction, KeyLogLines, Keys, Precision, Timestamp};

/// The maximum memory of a session in addition to held records: a record and a handshake message in each direction, and its
/// metadata.
const MAX_BESIDE: usize = 300 << 10;

/// The next event.
#[derive(Clone, Debug)]
enum Input {
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64),
    /// The key log becomes available.
    Keys,
    Release,
}

/// Checks a session, in the format of the seeds: a byte for the settings, the key log preceded by a two-byte length, and for each
/// input a byte for its kind and two bytes for its length.
pub(crate) fn check(data: &[u8]) {
    let Ok((settings, log, inputs)) = read(&mut Unstructured::new(data)) else { return };
    for input in &inputs {
        if let Input::Bytes(_, bytes) = input {
            handshake::client_hello(bytes);
        }
    }
    follow(settings, &log, &inputs);
}

fn read(u: &mut Unstructured<'_>) -> Result<(u8, Vec<u8>, Vec<Input>)> {
    let bytes = |u: &mut Unstructured<'_>| -> Result<Vec<u8>> {
        let len = usize::from(u16::from_be_bytes([u.arbitrary()?, u.arbitrary()?])).min(u.len());
        Ok(u.bytes(len)?.to_vec())
    };
    let settings = u.arbitrary()?;
    let log = bytes(u)?;
    let mut inputs = Vec::new();
    while !u.is_empty() {
        let kind: u8 = u.arbitrary()?;
        let direction = if kind & 1 == 0 { Direction::Frontend } else { Direction::Backend };
        inputs.push(match kind >> 1 & 7 {
            0..=4 => Input::Bytes(direction, bytes(u)?),
            5 => Input::Gap(direction, u64::from(u.arbitrary::<u16>()?)),
            6 => Input::Keys,
            _ => Input::Release,
        });
    }
    Ok((settings, log, inputs))
}

fn follow(settings: u8, log: &[u8], inputs: &[Input]) {
    let is_midstream = PerDirection::new(|direction| settings >> (direction as u8) & 1 == 1);
    let keys = Keys::default();
    let take_keys = || {
        let mut lines = KeyLogLines::default();
        lines.push(log, &keys);
        lines.finish(&keys);
    };
    keys.expect_more(settings & 4 != 0);
    if settings & 8 == 0 {
        take_keys();
    }
    let size = if settings & 16 == 0 { usize::MAX } else { 1 + usize::from(settings >> 5) };
    let mut tools = Tools::new(keys.clone());
    let mut session = TlsSession::new(is_midstream);
    let (mut given, mut found) = (PerDirection::<u64>::default(), PerDirection::<u64>::default());
    let mut sink = |direction: Direction, event: Event<'_>, _: Origin| match event {
        Event::Begins(_) => {}
        Event::Data(bytes) => {
            assert!(!bytes.is_empty() && bytes.len() <= 1 << 15);
            *found.get_mut(direction) += bytes.len() as u64;
        }
        Event::Gap { skipped, .. } => *found.get_mut(direction) += skipped,
    };
    let mut origin = Origin { packet: 0, ts: Timestamp::new(1_700_000_000, 0, Precision::Micros) };
    for input in inputs {
        origin.packet += 1;
        match input {
            Input::Bytes(direction, bytes) => {
                *given.get_mut(*direction) += bytes.len() as u64;
                for piece in bytes.chunks(size.min(bytes.len().max(1))) {
                    session.push(*direction, piece, origin, &mut tools, &mut sink);
                }
            }
            Input::Gap(direction, bytes) => session.gap(*direction, *bytes),
            Input::Keys => {
                take_keys();
                session.resume(&mut tools, &mut sink);
            }
            Input::Release => {
                session.release(&mut tools, &mut sink);
                assert!(session.waits_since().is_none());
            }
        }
        assert!(session.held() <= 2 * MAX_HELD + MAX_BESIDE, "{} bytes are held", session.held());
        for direction in Direction::BOTH {
            assert_eq!(session.counts(direction).bytes, *given.get(direction));
        }
    }
    session.end(origin, &mut tools, &mut sink);
    for direction in Direction::BOTH {
        let (given, found) = (*given.get(direction), *found.get(direction));
        assert!(found <= given, "{found} bytes are given of {given}");
        assert!(session.counts(direction).records * 6 <= given, "a record has a header, and a byte");
    }
    assert!(session.waits_since().is_none(), "nothing waits behind the end");
}
