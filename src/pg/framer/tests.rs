use super::*;

/// A frame that is kept: its tag, its length word, its body, and what is missing.
type Kept = (Option<u8>, u32, Vec<u8>, u64, Option<Cut>);

fn kept(frame: &Frame<'_>) -> Kept {
    (frame.tag, frame.len, frame.body.to_vec(), frame.missing, frame.cut)
}

fn feed(framer: &mut Framer, mut input: &[u8], framing: Framing, frames: &mut Vec<Kept>) {
    loop {
        let (used, step) = framer.next(input, framing);
        match step {
            Step::More => return,
            Step::Frame(frame) => frames.push(kept(&frame)),
            other => panic!("{other:?}"),
        }
        input = &input[used..];
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

#[test]
fn a_frame_is_the_same_at_whatever_prefix_the_input_is_cut() {
    let stream = [message(b'Q', b"SELECT 1\0"), message(b'S', b""), message(b'Q', b"SELECT 22\0")].concat();
    for limit in [0, 1, 3, 9, 100] {
        let mut whole = Vec::new();
        feed(&mut Framer::new(Direction::Frontend, limit), &stream, Framing::Tagged, &mut whole);
        assert_eq!(whole.len(), 3);
        for (_, len, body, missing, cut) in &whole {
            assert_eq!(body.len() as u64 + missing, u64::from(len - 4));
            assert!(body.len() <= limit);
            assert_eq!(*cut, (*missing > 0).then_some(Cut::TooLarge));
        }
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut framer = Framer::new(Direction::Frontend, limit);
                let mut frames = Vec::new();
                for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                    feed(&mut framer, piece, Framing::Tagged, &mut frames);
                }
                assert_eq!(frames, whole, "cut at {first} and {second}, limit {limit}");
                assert_eq!(framer.end(Framing::Tagged), Ended::Clean);
            }
        }
    }
}

#[test]
fn a_gap_inside_a_body_costs_only_that_body() {
    let first = message(b'Q', b"0123456789");
    let second = message(b'S', b"");
    for from in 5..first.len() {
        for len in 1..=first.len() - from {
            let mut framer = Framer::new(Direction::Frontend, 100);
            let mut frames = Vec::new();
            feed(&mut framer, &first[..from], Framing::Tagged, &mut frames);
            if let Step::Frame(frame) = framer.gap(len as u64, Framing::Tagged) {
                frames.push(kept(&frame));
            }
            assert!(!framer.is_searching());
            feed(&mut framer, &first[from + len..], Framing::Tagged, &mut frames);
            feed(&mut framer, &second, Framing::Tagged, &mut frames);
            let cut = (Some(b'Q'), 14, first[5..from].to_vec(), (first.len() - from) as u64, Some(Cut::Gap));
            assert_eq!(frames, [cut, (Some(b'S'), 4, Vec::new(), 0, None)], "{len} bytes from {from}");
        }
    }
}

#[test]
fn a_gap_over_a_header_ends_what_is_known_of_boundaries() {
    for (before, gap) in [(&b""[..], 1), (b"Q", 3), (b"Q\0\0\0", 1), (b"Q\0\0\0\x06ab", 1)] {
        let mut framer = Framer::new(Direction::Frontend, 100);
        let mut frames = Vec::new();
        feed(&mut framer, before, Framing::Tagged, &mut frames);
        assert_eq!(framer.gap(gap, Framing::Tagged), Step::More);
        assert!(framer.is_searching(), "{before:?}");
        let Ended::Unresolved { bytes } = framer.end(Framing::Tagged) else { continue };
        assert!(bytes <= before.len() as u64);
    }
    // One that goes beyond the end of the body gives the message, and then searches.
    let mut framer = Framer::new(Direction::Frontend, 100);
    feed(&mut framer, b"Q\0\0\0\x08ab", Framing::Tagged, &mut Vec::new());
    let Step::Frame(frame) = framer.gap(3, Framing::Tagged) else { panic!("no frame") };
    assert_eq!(kept(&frame), (Some(b'Q'), 8, b"ab".to_vec(), 2, Some(Cut::Gap)));
    assert!(framer.is_searching());
    let two = [message(b'S', b""), message(b'S', b"")].concat();
    let (used, step) = framer.next(&two, Framing::Tagged);
    assert_eq!((used, step), (two.len(), Step::Resumed { skipped: 0 }));
}

#[test]
fn the_end_of_a_stream_gives_what_there_is() {
    let mut framer = Framer::new(Direction::Frontend, 100);
    feed(&mut framer, b"Q\0\0\0\x08ab", Framing::Tagged, &mut Vec::new());
    let Ended::Frame(frame) = framer.end(Framing::Tagged) else { panic!("no frame") };
    assert_eq!(kept(&frame), (Some(b'Q'), 8, b"ab".to_vec(), 2, Some(Cut::End)));
    let mut framer = Framer::new(Direction::Frontend, 100);
    feed(&mut framer, b"Q\0\0", Framing::Tagged, &mut Vec::new());
    assert_eq!(framer.end(Framing::Tagged), Ended::Leftover { bytes: 3 });
}

#[test]
fn a_search_goes_on_behind_a_header_that_cannot_be_however_the_input_is_cut() {
    let stream = [&b"Q\0\0\0\x01"[..], &message(b'S', b""), &message(b'H', b""), &message(b'X', b"")].concat();
    for size in 1..=stream.len() {
        let mut framer = Framer::new(Direction::Frontend, 100);
        let (mut malformed, mut resumed, mut tags) = (0, Vec::new(), Vec::new());
        for mut piece in stream.chunks(size) {
            loop {
                let (used, step) = framer.next(piece, Framing::Tagged);
                match step {
                    Step::More => break,
                    Step::Malformed { header, .. } => {
                        assert_eq!(header, b"Q\0\0\0\x01");
                        malformed += 1;
                    }
                    Step::Resumed { skipped } => resumed.push(skipped),
                    Step::Frame(frame) => tags.push(frame.tag.unwrap()),
                }
                piece = &piece[used..];
            }
        }
        assert_eq!((malformed, resumed, tags), (1, vec![5], b"SHX".to_vec()), "pieces of {size}");
    }
}
