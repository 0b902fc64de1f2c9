//! Where records go.

use crate::pg::message::Decoded;
use crate::record::{MessageEvent, MessageRun, Record};

/// Receives the records that a [`Dissector`](super::Dissector) makes. Any `FnMut(&Record)` is one.
///
/// [`record`](Self::record) is all that has to be implemented. A sink for which that is too slow also implements
/// [`message`](Self::message) and [`data`](Self::data), which are called before a message is decoded.
///
/// ```
/// use pgdissect::dissector::Sink;
/// use pgdissect::record::{Reason, Record};
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

    /// Handles a message before its record is made. It is decoded already if its session needed that; an implementation that
    /// decodes it does so by [`MessageEvent::decode`], which counts those that do not decode.
    #[inline(always)]
    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        self.record(&Record::Message(event.to_record(decoded)));
    }

    /// Handles a run of data messages, none of them decoded.
    fn data(&mut self, run: &MessageRun<'_>) {
        run.for_each(|event| self.message(event, &mut None));
    }
}

impl<F: FnMut(&Record<'_>)> Sink for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}
