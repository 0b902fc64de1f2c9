//! The receiver of records.

use crate::pg::message::Decoded;
use crate::record::{LossRecord, MessageEvent, MessageRun, Record, SessionRecord};

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

    /// Called at the end of a connection that is not one of [`Config::only`](super::Config::only), as far as is known, in place of
    /// its last record.
    fn not_selected(&mut self, _session: &SessionRecord<'_>) {}

    /// Called with a loss that is not emitted, because it never became known whether its connection is one of
    /// [`Config::only`](super::Config::only).
    fn undecided_loss(&mut self, _loss: &LossRecord<'_>) {}
}

impl<F: FnMut(&Record<'_>)> Sink for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}
