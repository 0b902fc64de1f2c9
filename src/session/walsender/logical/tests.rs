use super::*;
use crate::session::budget::Total;

/// A stream, and what it may keep.
struct Stream(LogicalStream, Budget);

impl Stream {
    fn begun() -> Self {
        Self(LogicalStream::begun(), Budget::new(1 << 20, &Total::new(1 << 20)))
    }

    fn unknown() -> Self {
        Self(LogicalStream::unknown(), Self::begun().1)
    }

    /// Observes a message, as which it is decoded where it is.
    fn observe<'a>(&mut self, bytes: &'a [u8]) -> Effect<'a> {
        let mut reader = Reader::new(bytes);
        let is_streamed = self.0.is_streamed(&reader, Lsn(0));
        let message = Pgoutput::decode(&mut reader, is_streamed).unwrap();
        self.0.observe(&message, &self.1)
    }

    /// Observes what has no effect of its own.
    fn see(&mut self, bytes: &[u8]) {
        assert_eq!(self.observe(bytes), Effect::Nothing);
    }

    /// Observes a change. Returns its transaction and subtransaction, and the table.
    fn change(&mut self, bytes: &[u8]) -> (Option<u32>, Option<u32>, Option<String>) {
        let Effect::Change { xid, subxid, .. } = self.observe(bytes) else { panic!("it is a change") };
        let table = self.0.relation().map(|relation| relation.table().to_str().unwrap().into_owned());
        (xid, subxid, table)
    }

    /// Observes a fate. Returns the transaction and the number of its changes.
    fn fate(&mut self, bytes: &[u8]) -> (Option<u32>, Option<u64>) {
        let Effect::Fate(fate) = self.observe(bytes) else { panic!("it is a fate") };
        (fate.xid, fate.changes)
    }
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn begin(xid: u32) -> Vec<u8> {
    bytes(&[b"B", &[0; 16], &number(xid)])
}

fn commit() -> Vec<u8> {
    bytes(&[b"C", &[0; 25]])
}

fn start(xid: u32, is_first: bool) -> Vec<u8> {
    bytes(&[b"S", &number(xid), &[is_first.into()]])
}

/// Relation, with a column.
fn relation(own: Option<u32>, oid: u32, table: &str) -> Vec<u8> {
    let own = own.map(number);
    let own = own.as_ref().map_or(&[][..], |own| own);
    bytes(&[b"R", own, &number(oid), b"public\0", table.as_bytes(), b"\0d\0\x01\x01id\0", &number(23), &[0xff; 4]])
}

fn insert(own: Option<u32>, oid: u32) -> Vec<u8> {
    let own = own.map(number);
    bytes(&[b"I", own.as_ref().map_or(&[][..], |own| own), &number(oid), b"N\0\x01t\0\0\0\x011"])
}

fn stream_commit(xid: u32) -> Vec<u8> {
    bytes(&[b"c", &number(xid), &[0; 25]])
}

fn abort(xid: u32, subxid: u32) -> Vec<u8> {
    bytes(&[b"A", &number(xid), &number(subxid)])
}

const STOP: &[u8] = b"E";

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn changes_are_of_the_transaction_that_is_open() {
    let mut stream = Stream::begun();
    stream.see(&begin(7));
    stream.see(&relation(None, 1, "t"));
    assert_eq!(stream.change(&insert(None, 1)), (Some(7), None, named("t")));
    assert_eq!(stream.fate(&commit()), (Some(7), Some(1)));
    stream.see(&begin(8));
    assert_eq!(stream.fate(&commit()), (Some(8), Some(0)));
}

#[test]
fn subtransactions_that_are_aborted_take_their_own_changes_along() {
    let mut stream = Stream::begun();
    stream.see(&start(10, true));
    stream.see(&relation(Some(10), 1, "t"));
    assert_eq!(stream.change(&insert(Some(10), 1)), (Some(10), None, named("t")));
    assert_eq!(stream.change(&insert(Some(11), 1)), (Some(10), Some(11), named("t")));
    assert_eq!(stream.change(&insert(Some(12), 1)), (Some(10), Some(12), named("t")));
    stream.see(STOP);
    // Another transaction comes in between.
    stream.see(&begin(20));
    assert_eq!(stream.fate(&commit()), (Some(20), Some(0)));
    assert_eq!(stream.fate(&abort(10, 11)), (Some(10), Some(1)));
    stream.see(&start(10, false));
    stream.change(&insert(Some(12), 1));
    stream.see(STOP);
    assert_eq!(stream.fate(&stream_commit(10)), (Some(10), Some(3)));
    // One that never began, of which nothing was sent.
    assert_eq!(stream.fate(&abort(30, 31)), (Some(30), Some(0)));
    assert_eq!(stream.fate(&abort(30, 30)), (Some(30), Some(0)));
}

#[test]
fn a_table_is_as_its_own_transaction_sees_it_until_that_is_committed() {
    let mut stream = Stream::begun();
    stream.see(&begin(1));
    stream.see(&relation(None, 1, "before"));
    stream.fate(&commit());
    for xid in [10, 11] {
        stream.see(&start(xid, true));
        stream.see(&relation(Some(xid), 1, if xid == 10 { "ten" } else { "eleven" }));
        stream.see(STOP);
    }
    let seen = |stream: &mut Stream| {
        stream.see(&begin(2));
        let (_, _, table) = stream.change(&insert(None, 1));
        stream.fate(&commit());
        table
    };
    assert_eq!(seen(&mut stream), named("before"));
    stream.see(&start(10, false));
    assert_eq!(stream.change(&insert(Some(10), 1)).2, named("ten"));
    stream.see(STOP);
    stream.fate(&abort(10, 10));
    assert_eq!(seen(&mut stream), named("before"));
    stream.fate(&stream_commit(11));
    assert_eq!(seen(&mut stream), named("eleven"));
}

#[test]
fn what_is_prepared_keeps_its_changes_until_its_end() {
    let prepare = |tag: u8, flags: &[u8], xid| bytes(&[&[tag], flags, &[0; 24], &number(xid), b"gid\0"]);
    let mut stream = Stream::begun();
    stream.see(&prepare(b'b', b"", 5));
    stream.see(&relation(None, 1, "t"));
    stream.change(&insert(None, 1));
    assert_eq!(stream.fate(&prepare(b'P', b"\0", 5)), (Some(5), Some(1)));
    stream.see(&start(6, true));
    stream.change(&insert(Some(6), 1));
    stream.change(&insert(Some(6), 1));
    stream.see(STOP);
    assert_eq!(stream.fate(&prepare(b'p', b"\0", 6)), (Some(6), Some(2)));
    let rollback = bytes(&[b"r\0", &[0; 32], &number(6), b"gid\0"]);
    assert_eq!(stream.fate(&rollback), (Some(6), Some(2)));
    assert_eq!(stream.fate(&prepare(b'K', b"\0", 5)), (Some(5), Some(1)));
    // One of the same number, but another name, is another one.
    stream.see(&prepare(b'b', b"", 7));
    stream.change(&insert(None, 1));
    assert_eq!(stream.fate(&prepare(b'P', b"\0", 7)), (Some(7), Some(1)));
    assert_eq!(stream.fate(&bytes(&[b"K\0", &[0; 24], &number(7), b"other\0"])), (Some(7), None));
    assert_eq!(stream.fate(&prepare(b'K', b"\0", 7)), (Some(7), Some(1)));
    // One that was prepared in another stream.
    assert_eq!(stream.fate(&prepare(b'K', b"\0", 4)), (Some(4), None));
}

#[test]
fn an_origin_is_that_of_its_own_transaction() {
    let origin = bytes(&[b"O", &[0; 8], b"elsewhere\0"]);
    let mut stream = Stream::begun();
    let name_at = |stream: &mut Stream, message: &[u8]| {
        let Effect::Fate(fate) = stream.observe(message) else { panic!("it is a fate") };
        stream.0.origin(&fate).map(|name| name.to_str().unwrap().into_owned())
    };
    stream.see(&start(10, true));
    stream.see(STOP);
    stream.see(&start(11, true));
    stream.see(&origin);
    stream.see(STOP);
    assert_eq!(name_at(&mut stream, &stream_commit(10)), None);
    stream.see(&begin(12));
    assert_eq!(name_at(&mut stream, &commit()), None);
    assert_eq!(name_at(&mut stream, &stream_commit(11)), named("elsewhere"));
}

#[test]
fn changes_that_are_lost_are_those_of_the_chunk_they_are_in() {
    let mut stream = Stream::begun();
    for xid in [10, 20, 30] {
        stream.see(&start(xid, true));
        stream.change(&insert(Some(xid + 1), 1));
        if xid == 20 {
            stream.0.undecoded(Some(b'U'));
        }
        stream.change(&insert(Some(xid + 2), 1));
        stream.see(STOP);
    }
    assert_eq!(stream.fate(&stream_commit(10)), (Some(10), Some(2)));
    assert_eq!(stream.fate(&abort(20, 21)), (Some(20), None), "whose change it was is not known");
    assert_eq!(stream.fate(&stream_commit(20)), (Some(20), None));
    assert_eq!(stream.fate(&stream_commit(30)), (Some(30), Some(2)));
}

#[test]
fn what_was_prepared_before_a_loss_is_not_taken_for_that_of_an_earlier_stream() {
    let message = |tag: u8| bytes(&[&[tag, 0], &[0; 24], &number(5), b"gid\0"]);
    let is_whole = |stream: &mut Stream| {
        let message = message(b'K');
        let Effect::Fate(Fate { changes: None, is_whole, .. }) = stream.observe(&message) else {
            panic!("its changes are not known")
        };
        is_whole
    };
    let mut stream = Stream::begun();
    assert!(is_whole(&mut stream), "it was prepared in an earlier stream");
    stream.see(&bytes(&[b"b", &[0; 24], &number(5), b"gid\0"]));
    stream.0.undecoded(Some(b'I'));
    assert_eq!(stream.fate(&message(b'P')), (Some(5), None));
    assert!(!is_whole(&mut stream), "a change of it was lost");
    stream.0.lose();
    assert!(!is_whole(&mut stream));
}

#[test]
fn truncate_is_a_change_of_each_table() {
    let mut stream = Stream::begun();
    stream.see(&begin(7));
    stream.change(&bytes(&[b"T", &number(2), b"\0", &number(1), &number(2)]));
    assert_eq!(stream.fate(&commit()), (Some(7), Some(2)));
}

#[test]
fn within_a_chunk_whose_start_was_not_seen_no_transaction_is_named() {
    let mut stream = Stream::unknown();
    assert_eq!(stream.change(&insert(Some(10), 1)), (None, None, None));
    stream.see(&relation(Some(10), 1, "own"));
    assert_eq!(stream.change(&insert(Some(10), 1)), (None, None, named("own")));
    stream.see(STOP);
    // Others may see the table otherwise.
    stream.see(&begin(11));
    assert_eq!(stream.change(&insert(None, 1)), (Some(11), None, None));
    stream.fate(&commit());
    // Not all of its changes were seen.
    assert_eq!(stream.fate(&stream_commit(10)), (Some(10), None));
    assert_eq!(stream.fate(&abort(12, 12)), (Some(12), None));
}

#[test]
fn where_a_chunk_was_lost_a_message_is_read_as_it_makes_more_sense() {
    // Each can be read with a transaction and without.
    const AT: u64 = 0x058e_e078;
    let message =
        |xid: &[u8], lsn: u64| bytes(&[b"M", xid, b"\0", &lsn.to_be_bytes(), b"prefix\0", &number(4), b"text"]);
    for (bytes, wanted) in [
        (message(&number(999), AT), true),
        // Its position is none that could decide it.
        (message(&number(999), AT + 1), true),
        (message(b"", AT), false),
    ] {
        for is_streamed in [false, true] {
            assert!(Pgoutput::decode(&mut Reader::new(&bytes), is_streamed).is_ok(), "{bytes:?}");
        }
        let reader = Reader::new(&bytes);
        assert_eq!(Stream::unknown().0.is_streamed(&reader, Lsn(AT)), wanted, "{bytes:?}");
    }
}

#[test]
fn what_was_lost_is_not_known() {
    let mut stream = Stream::begun();
    stream.see(&begin(7));
    stream.see(&relation(None, 1, "t"));
    // A change that cannot be decoded changes no name; a table that cannot be is any.
    stream.0.undecoded(Some(b'I'));
    assert_eq!(stream.change(&insert(None, 1)).2, named("t"));
    assert_eq!(stream.fate(&commit()), (Some(7), None), "a change of it was lost");
    stream.see(&begin(7));
    stream.0.undecoded(Some(b'R'));
    assert_eq!(stream.change(&insert(None, 1)), (Some(7), None, None));
    stream.0.lose();
    assert_eq!(stream.change(&insert(None, 1)), (None, None, None));
    assert_eq!(stream.fate(&commit()), (None, None));
}

#[test]
fn without_room_names_and_numbers_are_unknown() {
    let mut stream = Stream(LogicalStream::begun(), Budget::new(0, &Total::new(0)));
    stream.see(&begin(7));
    stream.see(&relation(None, 1, "t"));
    assert_eq!(stream.change(&insert(None, 1)).2, None);
    stream.fate(&commit());
    stream.see(&start(10, true));
    stream.change(&insert(Some(10), 1));
    stream.see(STOP);
    assert_ne!(stream.fate(&stream_commit(10)).1, Some(0), "it has a change");
}

/// Origin, of a server with this name.
fn origin(name: &str) -> Vec<u8> {
    bytes(&[b"O", &[0; 8], name.as_bytes(), b"\0"])
}

#[test]
fn origins_of_streamed_transactions_are_kept_beside_each_other() {
    let mut stream = Stream::begun();
    for xid in [10, 20] {
        stream.see(&start(xid, true));
        stream.see(&origin(&format!("n{xid}")));
        stream.see(STOP);
    }
    stream.see(&start(30, true));
    stream.see(STOP);
    let mut from = |bytes: &[u8]| {
        let Effect::Fate(fate) = stream.observe(bytes) else { panic!("it is a fate") };
        stream.0.origin(&fate).map(|name| name.to_str().unwrap().into_owned())
    };
    assert_eq!(from(&abort(20, 21)), named("n20"));
    assert_eq!(from(&stream_commit(10)), named("n10"));
    assert_eq!(from(&stream_commit(20)), named("n20"));
    assert_eq!(from(&stream_commit(30)), None);
    // A transaction of the same number, without an origin.
    stream.see(&begin(5));
    stream.see(&origin("n5"));
    stream.fate(&commit());
    stream.see(&begin(5));
    let commit = commit();
    let Effect::Fate(fate) = stream.observe(&commit) else { panic!("it is a fate") };
    assert_eq!(stream.0.origin(&fate), None);
}

#[test]
fn a_part_of_a_transaction_that_never_began_has_no_number_of_changes() {
    for (first, second) in [(false, false), (true, true)] {
        let mut stream = Stream::begun();
        stream.see(&start(10, first));
        stream.change(&insert(Some(10), 1));
        stream.see(STOP);
        stream.see(&start(10, second));
        stream.change(&insert(Some(10), 1));
        stream.see(STOP);
        assert_eq!(stream.fate(&stream_commit(10)), (Some(10), None), "{first} {second}");
        // What comes behind it is not concerned.
        stream.see(&start(11, true));
        stream.change(&insert(Some(11), 1));
        stream.see(STOP);
        assert_eq!(stream.fate(&stream_commit(11)), (Some(11), Some(1)));
    }
}

#[test]
fn names_that_are_too_long_are_not_repeated_with_each_change() {
    let mut stream = Stream::begun();
    stream.see(&relation(None, 1, &"t".repeat(MAX_NAME)));
    stream.see(&relation(None, 2, &"t".repeat(MAX_NAME + 1)));
    stream.see(&begin(7));
    assert_eq!(stream.change(&insert(None, 1)).2, Some("t".repeat(MAX_NAME)));
    assert_eq!(stream.change(&insert(None, 2)).2, None);
}
