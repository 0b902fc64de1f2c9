//! Bytes as a key log, in any cuts: the same keys, whatever the cuts; every line is a secret, passed over, or counted.

use pgdissect::{KeyCounts, KeyLogLines, Keys};

/// How many sessions are kept in these trials.
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
