//! What shows that a CopyData is one of a stream or a backup, where the command that began it was not seen.

use crate::direction::Direction;
use crate::reader::Reader;
use crate::replication::backup::BackupMessage;
use crate::replication::data::{Mode, Payload};
use crate::replication::stream::StreamMessage;
use crate::replication::{Lsn, PgTime};
use crate::time::Timestamp;

/// How far a server's clock may be from that of the capture where a stream is recognized, in microseconds: a year.
const MAX_SKEW: u64 = 366 * 86_400 * 1_000_000;

/// How far a change is from the end of the server's WAL at most where a stream is recognized, in bytes: a terabyte.
const MAX_DISTANCE: u64 = 1 << 40;

/// What shows that CopyData is that of a stream, or what its payloads are.
#[derive(Debug, Default)]
pub(super) struct Recognition {
    pub(super) stream_run: u32,
    /// Whether the last message counts as one of the run: it has a position.
    pub(super) is_counted: bool,
    pub(super) pgoutput_run: u32,
    pub(super) wal_run: u32,
    /// The end of the server's WAL, and where the next part of it begins.
    end_lsn: Lsn,
    pub(super) next_lsn: Lsn,
    /// The server's clock in its last message.
    server_time: Option<PgTime>,
    /// Payloads that make no sense as messages of pgoutput.
    pub(super) is_not_pgoutput: bool,
}

impl Recognition {
    /// Returns whether a CopyData makes sense as a message of a stream, behind those before it.
    pub(super) fn is_plausible(&mut self, from: Direction, reader: &mut Reader<'_>, ts: Timestamp) -> bool {
        let Ok(message) = StreamMessage::decode(from, reader) else { return false };
        self.is_counted = true;
        let is_near = |time: PgTime| {
            let time = time.timestamp();
            time.is_some_and(|time| time.micros_since(ts) < MAX_SKEW && ts.micros_since(time) < MAX_SKEW)
        };
        match message {
            // What pgoutput writes before a change has no position.
            StreamMessage::XlogData { start_lsn: Lsn(0), end_lsn: Lsn(0), server_time } => {
                self.is_counted = false;
                is_near(server_time)
            }
            // A change has its own position alone; changes come in the order of the commits.
            StreamMessage::XlogData { start_lsn, end_lsn, server_time } if start_lsn == end_lsn => {
                let is_next = self.end_lsn == Lsn(0) || start_lsn.0.abs_diff(self.end_lsn.0) < MAX_DISTANCE;
                is_next && is_near(server_time) && self.is_later(server_time)
            }
            StreamMessage::XlogData { start_lsn, end_lsn, server_time } => {
                let is_next = start_lsn < end_lsn && end_lsn >= self.end_lsn;
                self.end_lsn = end_lsn;
                is_next && is_near(server_time) && self.is_later(server_time)
            }
            StreamMessage::Keepalive { end_lsn, server_time, .. } => {
                let is_next = end_lsn != Lsn(0) && end_lsn >= self.end_lsn;
                self.end_lsn = end_lsn;
                is_next && is_near(server_time) && self.is_later(server_time)
            }
            StreamMessage::PrimaryStatus { server_time, .. } => is_near(server_time),
            StreamMessage::StandbyStatus { write_lsn, flush_lsn, client_time, .. } => {
                flush_lsn <= write_lsn && is_near(client_time)
            }
            StreamMessage::HotStandbyFeedback { client_time, .. }
            | StreamMessage::PrimaryStatusRequest { client_time } => is_near(client_time),
        }
    }

    /// Returns whether the server's clock did not go back.
    fn is_later(&mut self, server_time: PgTime) -> bool {
        self.server_time.replace(server_time).is_none_or(|before| before <= server_time)
    }
}

/// Returns the form of a base backup that a CopyData of the server's is of, if it can be nothing else: no row in text format contains a
/// zero byte or ends without a newline, and a row in binary format has as many values, of such lengths, as it says.
pub(super) fn backup_data(body: &[u8], is_cut: bool) -> Option<Mode> {
    let is_text = memchr::memchr(0, body).is_none() && (is_cut || body.ends_with(b"\n"));
    if is_text || body.starts_with(b"PGCOPY\n") || is_binary_row(body, is_cut) {
        return None;
    }
    Some(if body.starts_with(b"d") { Mode::Backup } else { Mode::Archive })
}

/// Returns whether this is a row of COPY in binary format, or the beginning of one if it is cut, or the trailer ("Binary Format" of
/// COPY).
fn is_binary_row(body: &[u8], is_cut: bool) -> bool {
    /// The maximum number of columns of a target list.
    const MOST: u16 = 1_664;
    if body == b"\xff\xff" {
        return true;
    }
    let mut reader = if is_cut { Reader::cut(body) } else { Reader::new(body) };
    let Ok(count) = reader.u16("columns") else { return is_cut };
    if count > MOST {
        return false;
    }
    for _ in 0..count {
        let Ok(len) = reader.i32("length") else { return is_cut };
        let is_value = match usize::try_from(len) {
            Ok(len) => reader.take(len, "value").is_ok() || is_cut,
            Err(_) => len == -1,
        };
        if !is_value {
            return false;
        }
    }
    reader.is_empty()
}

/// Returns whether a CopyData of the client's is of the manifest of a base backup: its beginning; or, where it can only be that or a
/// message of a stream, text, because those have numbers of eight bytes.
pub(super) fn is_manifest(body: &[u8], is_manifest_or_stream: bool) -> bool {
    body.starts_with(b"{ \"PostgreSQL-Backup-Manifest-Version\"")
        || (is_manifest_or_stream && memchr::memchr(0, body).is_none())
}

/// Returns what a CopyData of the server's is of, which is of a stream or of a backup.
pub(super) fn replication_data(body: &[u8]) -> Mode {
    match body.first() {
        Some(b'w' | b'k' | b's') => Mode::Stream(Payload::Unknown),
        Some(b'n' | b'm' | b'd' | b'p') => Mode::Backup,
        _ => Mode::Archive,
    }
}

/// Returns whether a CopyData begins a backup in the form since version 15.
pub(super) fn is_archive(mut reader: Reader<'_>) -> bool {
    let is_name = |name: &[u8]| name.is_ascii() && memchr::memmem::find(name, b".tar").is_some();
    matches!(BackupMessage::decode(&mut reader), Ok(BackupMessage::Archive { archive, .. }) if is_name(archive.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    /// Returns how many messages make sense behind one another, up to the first one that does not.
    fn plausible(messages: &[StreamBytes]) -> usize {
        let mut recognition = Recognition::default();
        let is_plausible = |(from, message): &&StreamBytes| {
            let ts = Timestamp::from_nanos(1_795_766_400 * 1_000_000_000, Precision::Micros);
            recognition.is_plausible(*from, &mut Reader::new(message), ts)
        };
        messages.iter().take_while(is_plausible).count()
    }

    type StreamBytes = (Direction, Vec<u8>);

    /// 2026-11-27T00:00:00Z, and seconds behind it.
    fn time(seconds: i64) -> [u8; 8] {
        ((1_795_737_600 - 946_684_800 + seconds) * 1_000_000).to_be_bytes()
    }

    fn xlog_data(start: u64, end: u64, seconds: i64) -> StreamBytes {
        let header = [&b"w"[..], &start.to_be_bytes(), &end.to_be_bytes(), &time(seconds)].concat();
        (Direction::Backend, [&header[..], b"data"].concat())
    }

    fn keepalive(end: u64, seconds: i64) -> StreamBytes {
        (Direction::Backend, [&b"k"[..], &end.to_be_bytes(), &time(seconds), b"\0"].concat())
    }

    fn status(lsn: u64, seconds: i64) -> StreamBytes {
        let lsn = lsn.to_be_bytes();
        (Direction::Frontend, [&b"r"[..], &lsn, &lsn, &lsn, &time(seconds), b"\0"].concat())
    }

    #[test]
    fn changes_may_be_behind_the_end_of_the_wal_and_before_one_another() {
        let stream = [
            keepalive(0x9000, 1),
            xlog_data(0x5000, 0x5000, 2),
            xlog_data(0, 0, 2),
            xlog_data(0x4000, 0x4000, 3),
            status(0x4000, 3),
            keepalive(0x9000, 3),
        ];
        assert_eq!(plausible(&stream), stream.len());
    }

    #[test]
    fn what_has_no_position_is_not_far_from_the_end_of_the_wal() {
        let far = 1 << 50;
        let stream = [keepalive(far, 1), xlog_data(0, 0, 2), xlog_data(far, far, 2)];
        assert_eq!(plausible(&stream), stream.len());
    }

    #[test]
    fn data_of_a_backup_is_what_no_row_can_be() {
        let name = |mode| match mode {
            Some(Mode::Backup) => "files",
            Some(Mode::Archive) => "tar",
            _ => "a row",
        };
        for (body, is_cut, wanted) in [
            (&b"dtext of a file that ends in the middle of a li"[..], false, "files"),
            (b"d\x1f\x8b\x08\0", true, "files"),
            (b"pg_wal/0001 of a tar archive without", false, "tar"),
            (b"delta\t1\n", false, "a row"),
            (b"delta\t1, of which the rest is miss", true, "a row"),
            (b"zeta\t1\n", false, "a row"),
            (b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x01z", false, "a row"),
            (b"\0\x02\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff", false, "a row"),
            (b"\0\x02\0\0\0\x04\0\0", true, "a row"),
            (b"\0\x02\0\0\0\x04\0\0", false, "tar"),
            (b"\0\x01\0\0\0\x01z, and more", false, "tar"),
            (b"\0\0\0\0\x28\x1c\x5a\x01, a page", false, "tar"),
            (b"\xff\xff", false, "a row"),
            (b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", false, "a row"),
        ] {
            assert_eq!(name(backup_data(body, is_cut)), wanted, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_manifest_is_text_where_only_a_stream_is_the_alternative() {
        let (_, status) = status(0x4000, 3);
        for (body, of_two, of_any) in [
            (&b"{ \"PostgreSQL-Backup-Manifest-Version\": 2,"[..], true, true),
            (b"r\", \"Size\": 8192 },", true, false),
            (&status, false, false),
        ] {
            assert_eq!(
                (is_manifest(body, true), is_manifest(body, false)),
                (of_two, of_any),
                "{}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn what_contradicts_those_before_is_none_of_a_stream() {
        let wal = || xlog_data(0x5000, 0x9000, 2);
        for (last, what) in [
            (keepalive(0x8000, 2), "the end of the WAL goes back"),
            (keepalive(0, 2), "without a position"),
            (xlog_data(0x6000, 0x8000, 2), "the end of the WAL goes back"),
            (xlog_data(0xa000, 0x9000, 2), "WAL behind its end"),
            (xlog_data(1 << 50, 1 << 50, 2), "a change far from the end of the WAL"),
            (xlog_data(0x6000, 0x6000, 1), "the server's clock goes back"),
            (keepalive(0x9000, 800 * 86_400), "the server's clock is far from that of the capture"),
        ] {
            assert_eq!(plausible(&[wal(), last]), 1, "{what}");
        }
        assert_eq!(plausible(&[keepalive(0, 2)]), 0, "without a position");
        let (_, mut unwritten) = status(0x4000, 3);
        unwritten[9..17].copy_from_slice(&0x5000_u64.to_be_bytes());
        assert_eq!(plausible(&[(Direction::Frontend, unwritten)]), 0, "more is flushed than was written");
    }
}
