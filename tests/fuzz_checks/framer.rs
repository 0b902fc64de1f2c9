//! Bytes split anywhere, with gaps: every byte is in a frame or reported, exactly once.

use arbitrary::{Result, Unstructured};
use pgdissect::Direction;
use pgdissect::internals::pg::framer::{Ended, Framer, Framing, Step};
use pgdissect::message::{Cut, Frame};

/// The next event of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This number of lost bytes.
    Gap(u64),
    /// No data follows for now, so that a likely boundary is accepted.
    Settle,
    /// Boundaries are no longer known.
    Lose,
    /// Memory must be freed.
    Release,
    /// The following bytes have another framing.
    Framing(Framing),
}

const FRAMINGS: [Framing; 4] = [Framing::Tagged, Framing::Startup, Framing::EncryptionAnswer, Framing::Handshake];

pub(crate) fn check(data: &[u8]) {
    let Ok((direction, inputs, max_message, size)) = read(&mut Unstructured::new(data)) else { return };
    account(direction, &inputs, max_message, size);
}

fn read(u: &mut Unstructured<'_>) -> Result<(Direction, Vec<Input>, usize, usize)> {
    let direction = *u.choose(&Direction::BOTH)?;
    let max_message = *u.choose(&[1 << 20, 0, 1, 16, 300])?;
    let size = *u.choose(&[usize::MAX, 1, 2, 5, 7, 64])?;
    let mut inputs = Vec::new();
    while !u.is_empty() {
        inputs.push(match u.int_in_range(0..=15_u8)? {
            0..=7 => {
                let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
                Input::Bytes(u.bytes(len)?.to_vec())
            }
            8 => Input::Bytes(u.bytes(u.len())?.to_vec()),
            9 => Input::Gap(u64::from(u.arbitrary::<u32>()?)),
            10 | 11 => Input::Gap(u.arbitrary::<u8>()?.into()),
            12 => Input::Settle,
            13 if u.arbitrary()? => Input::Release,
            13 => Input::Lose,
            _ => Input::Framing(*u.choose(&FRAMINGS)?),
        });
    }
    Ok((direction, inputs, max_message, size))
}

/// A framer, and counts of its input and output.
struct Ledger {
    max_message: usize,
    /// The number of input bytes, including gaps.
    given: u64,
    /// The number of bytes in frames, including those missing from them, and of skipped bytes.
    found: u64,
    /// The number of bytes of gaps outside of frames.
    lost: u64,
}

impl Ledger {
    /// Returns the number of bytes still in the framer.
    fn pending(&self) -> u64 {
        self.given.checked_sub(self.found + self.lost).expect("nothing is handed out twice")
    }

    /// Checks a frame. Returns its size on the wire.
    fn frame(&self, frame: &Frame<'_>) -> u64 {
        assert!(frame.body.len() <= self.max_message, "no body is longer than the limit");
        let whole = u64::from(frame.len) + u64::from(frame.tag.is_some());
        let header = match (frame.tag, frame.len) {
            (Some(_), _) if frame.is_version_2 => 1,
            (Some(_), _) => 5,
            (None, 1) => 0,
            (None, _) => 4,
        };
        let behind: usize = frame.damage.holes().map(|(_, behind)| behind.len()).sum();
        assert_eq!(header + (frame.body.len() + behind) as u64 + frame.missing, whole, "{frame:?}");
        assert_eq!(frame.cut.is_some(), frame.missing > 0, "{frame:?}");
        let holes: u64 = frame.damage.holes().map(|(hole, _)| hole.bytes).sum();
        assert!(holes <= frame.damage.lost && frame.damage.lost <= frame.missing, "{frame:?}");
        whole
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::More => {}
            Step::Frame(frame) => self.found += self.frame(&frame),
            Step::Resumed { skipped } => self.found += skipped,
            // The header is searched for a boundary, and counted with the skipped bytes.
            Step::Malformed { header, .. } => assert!(matches!(header.len(), 4 | 5), "{header:?}"),
        }
        self.pending();
    }
}

/// Passes inputs to a framer, with bytes in pieces of at most `size`, and checks that every byte is accounted for.
pub(crate) fn account(direction: Direction, inputs: &[Input], max_message: usize, size: usize) {
    let mut framer = Framer::new(direction, max_message);
    let mut framing = Framing::Tagged;
    let mut ledger = Ledger { max_message, given: 0, found: 0, lost: 0 };
    for input in inputs {
        match input {
            Input::Bytes(bytes) => {
                ledger.given += bytes.len() as u64;
                for piece in bytes.chunks(size.min(bytes.len().max(1))) {
                    feed(&mut framer, piece, framing, &mut ledger);
                }
            }
            Input::Gap(bytes) => gap(&mut framer, *bytes, framing, &mut ledger),
            Input::Settle => {
                ledger.step(framer.settle());
                feed(&mut framer, &[], framing, &mut ledger);
            }
            // This only happens at the beginning of a direction, or between two messages.
            Input::Lose if ledger.pending() > 0 && !framer.is_searching() => {}
            Input::Lose => {
                framer.lose();
                assert!(framer.is_searching());
            }
            Input::Release => {
                framer.release(framing);
                assert!(framer.held() <= 4096, "{} bytes are held", framer.held());
            }
            Input::Framing(other) => {
                framing = *other;
                feed(&mut framer, &[], framing, &mut ledger);
            }
        }
        let held = framer.held() as u64;
        assert!(held <= 3 * ledger.given + (64 << 10), "{held} bytes are held of {}", ledger.given);
    }
    let pending = ledger.pending();
    match framer.end(framing) {
        Ended::Clean => assert_eq!(pending, 0, "every byte is accounted for"),
        Ended::Frame(frame) => {
            let whole = ledger.frame(&frame);
            assert!(whole > pending && whole - pending <= frame.missing, "{pending} bytes were left for {frame:?}");
        }
        Ended::Leftover { bytes } | Ended::Unresolved { bytes } => assert_eq!(bytes, pending, "all that is left"),
    }
    assert_eq!(framer.end(framing), Ended::Clean, "a stream ends once");
}

/// Passes bytes until the framer needs more.
fn feed(framer: &mut Framer, mut piece: &[u8], framing: Framing, ledger: &mut Ledger) {
    let most = 4 * (piece.len() as u64 + ledger.pending()) + 16;
    for _ in 0..most {
        let step = framer.next(&mut piece, framing);
        let is_done = step == Step::More;
        ledger.step(step);
        if is_done {
            assert!(piece.is_empty(), "everything is taken in");
            return;
        }
    }
    panic!("it does not end");
}

fn gap(framer: &mut Framer, bytes: u64, framing: Framing, ledger: &mut Ledger) {
    let (was_searching, pending) = (framer.is_searching(), ledger.pending());
    ledger.given += bytes;
    let whole = match framer.gap(bytes, framing) {
        Step::More => None,
        Step::Frame(frame) => {
            assert!(matches!(frame.cut, Some(Cut::Gap | Cut::TooLarge | Cut::Memory)), "{frame:?}");
            assert!(frame.damage.lost > 0, "{frame:?}");
            assert!(!was_searching, "no frame is found in a gap");
            Some(ledger.frame(&frame))
        }
        other => panic!("a gap gives {other:?}"),
    };
    match (whole, framer.is_searching()) {
        (Some(whole), false) => {
            assert_eq!(whole, pending + bytes, "the gap ends where the frame does");
            ledger.found += whole;
        }
        (Some(whole), true) => {
            let beyond = pending < whole && whole <= pending + bytes;
            assert!(
                beyond,
                "the gap goes to the end of the frame, or beyond: {whole} bytes, {pending} pending, {bytes} lost"
            );
            ledger.found += whole;
            ledger.lost += pending + bytes - whole;
        }
        (None, true) => ledger.lost += bytes,
        (None, false) => {}
    }
    assert!(!was_searching || framer.is_searching(), "a gap is no boundary");
}
