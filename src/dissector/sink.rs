//! The receiver of records.

use crate::packet::Endpoint;
use crate::pg::message::Decoded;
use crate::record::{ChangeRun, LossRecord, MessageEvent, MessageRun, Record, ReplicationEvent, SessionRecord};
use crate::time::Timestamp;

/// Receives the records that a [`Dissector`](super::Dissector) emits. Implemented for any `FnMut(&Record)`.
///
/// Only [`record`](Self::record) has to be implemented. A sink that needs more speed can also implement
/// [`message`](Self::message) and [`data`](Self::data), which are called before a message is decoded.
///
/// ```
/// use pgdissect::record::Reason;
/// use pgdissect::{Record, Sink};
///
/// /// Counts bytes that were not captured.
/// #[derive(Default)]
/// struct Missing(u64);
///
/// impl Sink for Missing {
///     fn record(&mut self, record: &Record<'_>) {
///         if let Record::Loss(loss) = record
///             && loss.reason == Reason::Missing
///         {
///             self.0 += loss.bytes.unwrap_or(0);
///         }
///     }
/// }
/// ```
pub trait Sink {
    /// Handles a record, which borrows from the current packet.
    fn record(&mut self, record: &Record<'_>);

    /// Called after all records of a packet were emitted, with its number. Only called if packets are dissected in parallel, so
    /// that their records can be put in order.
    fn end_packet(&mut self, _packet: u64) {}

    /// Handles what becomes known of which packets are those of which connection. Packets are numbered from 1.
    fn packets(&mut self, _known: &PacketsOf<'_>) {}

    /// Handles a message before its record is created. It is decoded already if the session needed that; an implementation that
    /// decodes it uses [`MessageEvent::decode`], which counts messages that cannot be decoded.
    #[inline(always)]
    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        self.record(&Record::Message(event.to_record(decoded)));
    }

    /// Handles a run of data messages, none of them decoded.
    fn data(&mut self, run: &MessageRun<'_>) {
        run.for_each(|event| self.message(event, &mut None));
    }

    /// Handles a run of changes of rows in a replication stream, of which no records were created.
    fn changes(&mut self, run: &ChangeRun<'_>) {
        run.for_each(|change| self.record(&Record::Change(change)));
    }

    /// Handles a message of a replication stream or a base backup, before the records of its changes. Only called if these are
    /// emitted; for every message, if [`Records::streams`](super::Records::streams) are chosen.
    fn replication(&mut self, _event: &ReplicationEvent<'_>) {}

    /// Called when bytes of a connection are missing that may still arrive, with the time since which it may have sent what there are
    /// no records of yet; and with `None` when there are records of everything, or a [loss](LossRecord).
    fn incomplete(&mut self, _conn: u64, _since: Option<Timestamp>) {}

    /// Called at the end of a connection that is not one of [`Config::only`](super::Config::only), as far as is known, in place of
    /// its last record.
    fn not_selected(&mut self, _session: &SessionRecord<'_>) {}

    /// Called with a loss that is not emitted, because it never became known whether its connection is one of
    /// [`Config::only`](super::Config::only).
    fn undecided_loss(&mut self, _loss: &LossRecord<'_>) {}
}

/// What becomes known of which packets are those of which connection.
///
/// Between two ends, there may be several connections, one after the other. A packet between them is a connection's if it is
/// - the first of the connection, or after that one, and has the flag SYN,
/// - or is one of those since the connection is the known one between its ends.
///
/// Packets of the next connection between the same ends are excluded by the same rule.
#[derive(Clone, Copy, Debug)]
pub enum PacketsOf<'a> {
    /// A connection got its number, before the first record that has it.
    Begin {
        /// The number of the connection.
        conn: u64,
        /// Both ends, the client first.
        ends: [Endpoint; 2],
        /// Its first packet.
        first: u64,
        /// The packet since which it is the known one between its ends. Later than `first` if another one was until then.
        since: u64,
    },
    /// The session of a connection is ready for requests.
    Ready {
        /// The number of the connection.
        conn: u64,
        /// The packet that contained the end of the message that says so.
        packet: u64,
    },
    /// A TLS session began on a connection.
    Tls {
        /// The number of the connection.
        conn: u64,
        /// What identifies the session in a key log.
        client_random: [u8; 32],
    },
    /// Later packets between its ends are not this connection's, and no record of it follows.
    End {
        /// The number of the connection.
        conn: u64,
        /// The first packet that is not its own.
        before: u64,
        /// The first packet of the next connection between these ends, if there is one. It may be before that.
        next: Option<u64>,
    },
    /// A packet was the last fragment of a segment.
    Fragments {
        /// Both ends of the segment, source first.
        ends: [Endpoint; 2],
        /// Whether it has the flag SYN.
        syn: bool,
        /// The packet that completed it.
        packet: u64,
        /// All packets that contained its fragments.
        fragments: &'a [u64],
    },
}

impl<F: FnMut(&Record<'_>)> Sink for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}
