use super::*;

/// An owned frame: its type byte, length word, body, number of missing bytes, and why they are missing.
type OwnedFrame = (Option<u8>, u32, Vec<u8>, u64, Option<Cut>);

fn kept(frame: &Frame<'_>) -> OwnedFrame {
    (frame.tag, frame.len, frame.body.to_vec(), frame.missing, frame.cut)
}

fn feed(framer: &mut Framer, mut input: &[u8], framing: Framing, frames: &mut Vec<OwnedFrame>) {
    loop {
        match framer.next(&mut input, framing) {
            Step::More => return,
            Step::Frame(frame) => frames.push(kept(&frame)),
            other => panic!("{other:?}"),
        }
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
fn whole_frames_are_the_same_as_single_ones() {
    // The first body contains what looks like frames.
    let within = [message(b'S', b""), message(b'H', b"")].concat();
    let stream = [message(b'Q', &within), message(b'S', b""), message(b'D', b"S\0"), message(b'X', b"")].concat();
    for limit in [0, 1, 9, 100] {
        let mut one_by_one = Vec::new();
        feed(&mut Framer::new(Direction::Frontend, limit), &stream, Framing::Tagged, &mut one_by_one);
        assert_eq!(one_by_one.len(), 4);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut framer = Framer::new(Direction::Frontend, limit);
                let mut frames = Vec::new();
                for mut piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                    if let Some(mut whole) = framer.whole(piece) {
                        let taken = whole.by_ref().map(|(tag, len, body)| (Some(tag), len, body.to_vec(), 0, None));
                        frames.extend(taken);
                        piece = whole.rest();
                    }
                    feed(&mut framer, piece, Framing::Tagged, &mut frames);
                }
                assert_eq!(frames, one_by_one, "cut at {first} and {second}, limit {limit}");
            }
        }
        let mut contested = Framer::new(Direction::Frontend, limit);
        contested.contest_input();
        assert!(contested.whole(&stream).is_none());
    }
}

#[test]
fn frames_are_consumed_together_while_they_are_alike_whole_and_accepted() {
    let rows = [message(b'D', b"one"), message(b'D', b"two"), message(b'D', b"three")].concat();
    let stream = [rows.clone(), message(b'C', b"SELECT 3\0"), message(b'D', b"four")].concat();
    let mut whole = WholeFrames::new(Direction::Backend, &stream);
    let (run, count) = whole.run(b'D', |_| true);
    assert_eq!((run.rest(), count), (&rows[..], 3));
    assert_eq!(run.map(|(_, _, body)| body).collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);
    assert_eq!((whole.next_tag(), whole.run(b'D', |_| true).1), (Some(b'C'), 0));

    let mut whole = WholeFrames::new(Direction::Backend, &rows[..rows.len() - 1]);
    assert_eq!((whole.run(b'D', |_| true).1, whole.rest().len()), (2, 9), "the last is not whole");
    let mut whole = WholeFrames::new(Direction::Backend, &rows);
    assert_eq!((whole.run(b'D', |body| body != b"two").1, whole.rest().len()), (1, 18), "the second is not wanted");

    let sync = message(b'S', b"");
    let mut whole = Framer::new(Direction::Frontend, 100).whole(&sync).unwrap();
    assert!(!whole.pass(b"H\0\0\0\x04") && whole.pass(&sync) && whole.rest().is_empty() && !whole.pass(&sync));
    // A frame over the limit is cut, and so not passed over.
    assert!(!Framer::new(Direction::Frontend, 0).whole(&sync).unwrap().pass(&sync));
}

#[test]
fn a_gap_inside_a_body_affects_only_that_body() {
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
            let cut = (Some(b'Q'), 14, first[5..from].to_vec(), len as u64, Some(Cut::Gap));
            assert_eq!(frames, [cut, (Some(b'S'), 4, Vec::new(), 0, None)], "{len} bytes from {from}");
        }
    }
}

/// Returns the only frame of a stream of which only some bytes arrive, its number of lost bytes, and its holes with the bytes
/// after each.
fn holes(stream: &[u8], is_there: &[bool], max_message: usize) -> (OwnedFrame, u64, Vec<(Hole, Vec<u8>)>) {
    let mut framer = Framer::new(Direction::Frontend, max_message);
    let mut found = None;
    let mut take = |step: Step<'_>| {
        let Step::Frame(frame) = step else { return };
        let holes = frame.damage.holes().map(|(hole, behind)| (hole, behind.to_vec()));
        found = Some((kept(&frame), frame.damage.lost, holes.collect()));
    };
    for (byte, is_there) in stream.chunks(1).zip(is_there) {
        take(if *is_there { framer.next(&mut &byte[..], Framing::Tagged) } else { framer.gap(1, Framing::Tagged) });
    }
    assert!(!framer.is_searching());
    found.expect("a frame")
}

#[test]
fn bytes_after_a_hole_are_kept_in_their_place() {
    let stream = message(b'Q', b"0123456789");
    for pattern in 0..1_u32 << 10 {
        let is_there: Vec<bool> = (0..15).map(|at| at < 5 || pattern & (1 << (at - 5)) != 0).collect();
        let ((_, _, mut body, missing, cut), lost, holes) = holes(&stream, &is_there, 100);
        let expected: Vec<u8> = (0..10).map(|at| if is_there[at + 5] { stream[at + 5] } else { b'-' }).collect();
        assert_eq!(cut.is_some(), lost > 0);
        assert_eq!(missing, lost);
        for (hole, behind) in holes {
            assert_eq!(hole.at, body.len() as u64);
            body.extend(std::iter::repeat_n(b'-', hole.bytes as usize));
            body.extend(behind);
        }
        assert_eq!(body, expected, "{pattern:b}");
    }
}

#[test]
fn a_frame_with_holes_keeps_no_more_than_the_limit_and_no_more_holes_than_are_noted() {
    let stream = message(b'Q', b"0123456789");
    let mut is_there = [true; 15];
    is_there[7] = false;
    let (frame, lost, behind) = holes(&stream, &is_there, 4);
    assert_eq!(frame, (Some(b'Q'), 14, b"01".to_vec(), 6, Some(Cut::TooLarge)));
    assert_eq!((lost, behind), (1, vec![(Hole { at: 2, bytes: 1 }, b"34".to_vec())]));

    let body: Vec<u8> = (0..400).map(|at| b'a' + (at % 26) as u8).collect();
    let is_there: Vec<bool> = (0..405).map(|at| at < 5 || at % 2 == 0).collect();
    let (frame, lost, behind) = holes(&message(b'Q', &body), &is_there, 1_000);
    assert_eq!((lost, behind.len()), (200, MAX_HOLES));
    assert_eq!(frame.3, 400 - behind.iter().map(|(_, piece)| piece.len() as u64).sum::<u64>());
}

#[test]
fn a_frame_whose_memory_was_freed_has_the_right_end() {
    let body = vec![b'x'; 10_000];
    let stream = [message(b'Q', &body), message(b'S', b"")].concat();
    let mut framer = Framer::new(Direction::Frontend, 1 << 20);
    let mut frames = Vec::new();
    feed(&mut framer, &stream[..9_000], Framing::Tagged, &mut frames);
    assert!(framer.held() >= 9_000);
    framer.release(Framing::Tagged);
    assert!(framer.held() <= KEPT_OF_RELEASED);
    feed(&mut framer, &stream[9_000..], Framing::Tagged, &mut frames);
    let kept = KEPT_OF_RELEASED - 5;
    let released = (Some(b'Q'), 10_004, body[..kept].to_vec(), (10_000 - kept) as u64, Some(Cut::Memory));
    assert_eq!(frames, [released, (Some(b'S'), 4, Vec::new(), 0, None)]);
}

#[test]
fn only_frames_with_bytes_that_came_with_other_content_are_contested() {
    let stream = [message(b'Q', b"0123"), message(b'Q', b"4567"), message(b'S', b"")].concat();
    for from in 0..stream.len() {
        for to in from + 1..=stream.len() {
            let mut framer = Framer::new(Direction::Frontend, 100);
            let mut contested = Vec::new();
            for (index, mut input) in [&stream[..from], &stream[from..to], &stream[to..]].into_iter().enumerate() {
                if index == 1 {
                    framer.contest_input();
                }
                while let Step::Frame(frame) = framer.next(&mut input, Framing::Tagged) {
                    contested.push(frame.is_contested);
                }
                framer.end_contest();
            }
            let expected =
                [0..9, 9..18, 18..23].map(|frame: std::ops::Range<usize>| from < frame.end && to > frame.start);
            assert_eq!(contested, expected, "{from}..{to}");
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
    // A gap beyond the end of the body completes the message and starts a search.
    let mut framer = Framer::new(Direction::Frontend, 100);
    feed(&mut framer, b"Q\0\0\0\x08ab", Framing::Tagged, &mut Vec::new());
    let Step::Frame(frame) = framer.gap(3, Framing::Tagged) else { panic!("no frame") };
    assert_eq!(kept(&frame), (Some(b'Q'), 8, b"ab".to_vec(), 2, Some(Cut::Gap)));
    assert!(framer.is_searching());
    let two = [message(b'S', b""), message(b'S', b"")].concat();
    let mut input = &two[..];
    assert_eq!(framer.next(&mut input, Framing::Tagged), Step::Resumed { skipped: 0 });
    assert!(input.is_empty());
}

#[test]
fn the_end_of_a_stream_returns_the_rest() {
    let mut framer = Framer::new(Direction::Frontend, 100);
    feed(&mut framer, b"Q\0\0\0\x08ab", Framing::Tagged, &mut Vec::new());
    let Ended::Frame(frame) = framer.end(Framing::Tagged) else { panic!("no frame") };
    assert_eq!(kept(&frame), (Some(b'Q'), 8, b"ab".to_vec(), 2, Some(Cut::End)));
    let mut framer = Framer::new(Direction::Frontend, 100);
    feed(&mut framer, b"Q\0\0", Framing::Tagged, &mut Vec::new());
    assert_eq!(framer.end(Framing::Tagged), Ended::Leftover { bytes: 3 });
}

#[test]
fn what_was_held_for_another_kind_of_frame_is_searched() {
    // Held as the beginning of a tagged message, and then it would be an answer of one byte.
    let held = b"S\0\0\0\x1fALTER";
    let framer = || {
        let (mut framer, mut frames) = (Framer::new(Direction::Backend, 1 << 20), Vec::new());
        feed(&mut framer, held, Framing::Tagged, &mut frames);
        assert!(frames.is_empty());
        framer
    };
    assert_eq!(framer().end(Framing::EncryptionAnswer), Ended::Unresolved { bytes: held.len() as u64 });
    let mut lossy = framer();
    assert!(matches!(lossy.gap(10, Framing::EncryptionAnswer), Step::More));
    assert!(lossy.is_searching());
}

#[test]
fn a_search_continues_after_an_invalid_header_however_the_input_is_split() {
    let stream = [&b"Q\0\0\0\x01"[..], &message(b'S', b""), &message(b'H', b""), &message(b'X', b"")].concat();
    for size in 1..=stream.len() {
        let mut framer = Framer::new(Direction::Frontend, 100);
        let (mut malformed, mut resumed, mut tags) = (0, Vec::new(), Vec::new());
        for mut piece in stream.chunks(size) {
            loop {
                match framer.next(&mut piece, Framing::Tagged) {
                    Step::More => break,
                    Step::Malformed { header, .. } => {
                        assert_eq!(header, b"Q\0\0\0\x01");
                        malformed += 1;
                    }
                    Step::Resumed { skipped } => resumed.push(skipped),
                    Step::Frame(frame) => tags.push(frame.tag.unwrap()),
                }
            }
        }
        assert_eq!((malformed, resumed, tags), (1, vec![5], b"SHX".to_vec()), "pieces of {size}");
    }
}

#[test]
fn a_message_whose_header_is_known_in_part_is_not_searched_before_it_can_have_ended() {
    let forged = message(b'Q', b"DROP TABLE invented\0");
    // The length word is 0xc403; all of it but the last byte arrived.
    let long = message(b'd', &forged.repeat(3_000)[..0xc403 - 4]);
    let genuine = [message(b'c', b""), message(b'Q', b"SELECT 1\0"), message(b'S', b"")];
    let stream = [&long[..], &genuine.concat()].concat();
    for (seen, gap) in [(4, 1), (4, 1_448), (4, 0xc000)] {
        let mut framer = Framer::new(Direction::Frontend, 1 << 20);
        assert_eq!(framer.next(&mut &stream[..seen], Framing::Tagged), Step::More);
        assert_eq!(framer.gap(gap, Framing::Tagged), Step::More);
        let mut rest = &stream[seen + gap as usize..];
        let mut frames = Vec::new();
        loop {
            match framer.next(&mut rest, Framing::Tagged) {
                Step::Frame(frame) => frames.push((frame.tag, frame.is_guessed)),
                Step::More => break,
                Step::Resumed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            frames,
            [(Some(b'c'), true), (Some(b'Q'), true), (Some(b'S'), true)],
            "{seen} bytes, then {gap} lost"
        );
    }
}

#[test]
fn frames_after_a_guessed_boundary_are_marked_until_it_is_confirmed() {
    let stream = [message(b'Q', b"SELECT 1\0"), message(b'S', b"")].concat();
    let mut framer = Framer::new(Direction::Frontend, 100);
    let tell = |framer: &mut Framer| {
        let (mut input, mut found) = (&stream[..], Vec::new());
        loop {
            match framer.next(&mut input, Framing::Tagged) {
                Step::Frame(frame) => found.push(frame.is_guessed),
                Step::More => return found,
                _ => {}
            }
        }
    };
    assert_eq!(tell(&mut framer), [false, false]);
    assert!(framer.whole(&stream).is_some());
    framer.lose();
    assert_eq!(tell(&mut framer), [true, true]);
    assert!(framer.whole(&stream).is_none(), "the fast path says nothing of guesses");
    framer.confirm();
    assert_eq!(tell(&mut framer), [false, false]);
}
