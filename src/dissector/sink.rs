//! Where records go.

use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, Record};

/// Receives the records that a [`Dissector`](super::Dissector) makes. Any `FnMut(&Record)` is one.
///
/// [`record`](Self::record) is all that has to be implemented. A sink for which that is too slow also implements
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
    /// Handles a record, which borrows from the packet that is being dissected.
    fn record(&mut self, record: &Record<'_>);

    /// Called when all records of a packet, by its number, have been emitted; only where packets are dissected in parallel, so that
    /// their records can be put in order.
    fn end_packet(&mut self, _packet: u64) {}

    /// Handles a message before its record is made. It is decoded already if its session needed that. Returns how many messages
    /// could not be decoded, of those that were not yet: 1 or 0. An implementation that decodes later counts that itself.
    #[inline(always)]
    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) -> u64 {
        let (record, undecoded) = event.to_record(decoded);
        self.record(&Record::Message(record));
        undecoded
    }

    /// Handles a run of data messages, none of them decoded. Returns how many could not be decoded.
    fn data(&mut self, run: &MessageRun<'_>) -> u64 {
        let mut undecoded = 0;
        run.for_each(|event| undecoded += self.message(event, &mut None));
        undecoded
    }
}

impl<F: FnMut(&Record<'_>)> Sink for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}
