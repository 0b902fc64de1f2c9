//! Arbitrary bytes as a key log, split anywhere: the keys do not depend on the splits; every line is a secret, ignored, or
//! counted.

use pgdissect::{KeyCounts, KeyLogLines, Keys};

/// The limit on the number of sessions.
const MAX_SESSIONS: usize = 3;

pub(crate) fn check(data: &[u8]) {
    let [size, log @ ..] = data else { return };
    let whole = read(log, log.len().max(1));
    assert_eq!(read(log, usize::from(*size).max(1)), whole);
    assert!(whole.sessions <= MAX_SESSIONS as u64);
    let lines = log.split(|byte| *byte == b'\n').count() as u64;
    assert!(whole.bad_lines + whole.sessions + whole.forgotten <= lines, "{whole:?} of {lines} lines");
}

fn read(log: &[u8], size: usize) -> KeyCounts {
    let keys = Keys::new(MAX_SESSIONS);
    let mut lines = KeyLogLines::default();
    log.chunks(size).for_each(|piece| lines.push(piece, &keys));
    lines.finish(&keys);
    let counts = keys.counts();
    assert_eq!(keys.generation() > 0, counts.sessions > 0);
    counts
}
