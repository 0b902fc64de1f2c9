//! Transfer of packets from the capture thread to the thread that processes them.
//!
//! Packets are sent in batches, each with a block of bytes and a list of headers, over a bounded channel; used batches are
//! returned over a second one. So a packet costs one copy and no allocation, the memory is bounded, and a consumer that is
//! delayed for a moment, by a slow terminal or a full pipe, does not make the kernel drop packets at once.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::time::Timestamp;

/// The size and number of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A batch with this many bytes is full.
    pub(super) bytes: usize,
    /// The maximum packet size. Every batch has room for one packet beyond `bytes`, so that no batch ever grows.
    pub(super) longest: usize,
    /// A batch with this many packets is full.
    pub(super) packets: usize,
    /// The maximum number of batches: full, in use and empty.
    pub(super) batches: usize,
}

/// A packet in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketHeader {
    pub(super) ts: Timestamp,
    /// The length on the wire.
    pub(super) orig_len: u32,
    start: usize,
    end: usize,
}

#[derive(Debug, Default)]
struct Batch {
    headers: Vec<PacketHeader>,
    bytes: Vec<u8>,
}

impl Batch {
    /// Returns the memory is reserved here; the system allocates it when it is first written.
    fn new(limits: &Limits) -> Self {
        Self {
            headers: Vec::with_capacity(limits.packets),
            bytes: Vec::with_capacity(limits.bytes.saturating_add(limits.longest)),
        }
    }

    fn clear(&mut self) {
        self.headers.clear();
        self.bytes.clear();
    }
}

/// The other end of the channel was dropped.
#[derive(Debug)]
pub(super) struct Disconnected;

/// Creates the two ends of a channel for packets.
pub(super) fn channel(limits: Limits) -> (Producer, Consumer) {
    // Each channel has room for all batches, so sending never blocks: the producer only waits for an empty batch.
    let (full_in, full_out) = bounded(limits.batches);
    let (used_in, used_out) = bounded(limits.batches);
    let producer = Producer { limits, full: full_in, used: used_out, spare: Vec::new(), made: 0, filling: None };
    let consumer = Consumer { full: full_out, used: used_in, current: Batch::default(), next: 0, waits: false };
    (producer, consumer)
}

/// The end that sends packets.
#[derive(Debug)]
pub(super) struct Producer {
    limits: Limits,
    full: Sender<Batch>,
    used: Receiver<Batch>,
    /// Returned batches that are not needed yet.
    spare: Vec<Batch>,
    made: usize,
    filling: Option<Batch>,
}

impl Producer {
    /// Makes room for a packet. If every batch is full, waits up to `max_wait` for one to be returned. Returns whether there is
    /// room.
    pub(super) fn ready(&mut self, max_wait: Duration) -> Result<bool, Disconnected> {
        if self.filling.is_none() {
            self.filling = self.empty_batch(max_wait)?;
        }
        Ok(self.filling.is_some())
    }

    fn empty_batch(&mut self, max_wait: Duration) -> Result<Option<Batch>, Disconnected> {
        if let Some(batch) = self.spare.pop() {
            return Ok(Some(batch));
        }
        match self.used.try_recv() {
            Ok(batch) => return Ok(Some(batch)),
            Err(TryRecvError::Disconnected) => return Err(Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        if self.made < self.limits.batches {
            self.made += 1;
            return Ok(Some(Batch::new(&self.limits)));
        }
        match self.used.recv_timeout(max_wait) {
            Ok(batch) => Ok(Some(batch)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Disconnected),
        }
    }

    /// Adds a packet, after [`Producer::ready`] has returned `true`. A batch that becomes full is sent.
    pub(super) fn push(&mut self, ts: Timestamp, orig_len: u32, data: &[u8]) -> Result<(), Disconnected> {
        let Some(batch) = &mut self.filling else { return Ok(()) };
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(data);
        let end = batch.bytes.len();
        batch.headers.push(PacketHeader { ts, orig_len, start, end });
        if end >= self.limits.bytes || batch.headers.len() >= self.limits.packets { self.send_batch() } else { Ok(()) }
    }

    /// Called when there are no more packets at the moment: sends the packets so far, unless the consumer has enough to do.
    ///
    /// In light traffic, the kernel delivers packets by ones and twos. If each were sent as a batch of its own, a delayed
    /// consumer would soon hold all batches, nearly empty.
    pub(super) fn pause(&mut self) -> Result<(), Disconnected> {
        const ENOUGH: usize = 2;
        match self.used.try_recv() {
            Ok(batch) => self.spare.push(batch),
            Err(TryRecvError::Disconnected) => return Err(Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        if self.full.len() < ENOUGH { self.send_batch() } else { Ok(()) }
    }

    /// Returns whether packets were kept back until the consumer has less to do.
    pub(super) fn holds_packets(&self) -> bool {
        self.filling.as_ref().is_some_and(|batch| !batch.headers.is_empty())
    }

    /// Sends the packets so far.
    pub(super) fn send_batch(&mut self) -> Result<(), Disconnected> {
        match self.filling.take_if(|batch| !batch.headers.is_empty()) {
            Some(batch) => self.full.send(batch).map_err(|_| Disconnected),
            None => Ok(()),
        }
    }
}

/// The result of [`Consumer::advance`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// A packet, whose bytes [`Consumer::bytes`] returns.
    Packet(PacketHeader),
    /// Nothing at the moment.
    Idle,
    /// The producer was dropped, and no packets are left.
    End,
}

/// The end that receives packets.
#[derive(Debug)]
pub(super) struct Consumer {
    full: Receiver<Batch>,
    used: Sender<Batch>,
    current: Batch,
    /// The index of the next packet in the current batch.
    next: usize,
    /// Whether the last result was [`Next::Idle`], so that the next call may wait.
    waits: bool,
}

impl Consumer {
    /// Returns the next packet. If there is none, the first call returns [`Next::Idle`] at once, so that the caller can do
    /// deferred work; the following calls wait up to `max_wait` first.
    pub(super) fn advance(&mut self, max_wait: Duration) -> Next {
        loop {
            if let Some(header) = self.current.headers.get(self.next) {
                self.next += 1;
                return Next::Packet(*header);
            }
            let batch = if self.waits {
                self.full.recv_timeout(max_wait).map_err(|error| error == RecvTimeoutError::Disconnected)
            } else {
                self.full.try_recv().map_err(|error| error == TryRecvError::Disconnected)
            };
            match batch {
                Ok(batch) => self.begin(batch),
                Err(true) => return Next::End,
                Err(false) => {
                    self.waits = true;
                    return Next::Idle;
                }
            }
        }
    }

    fn begin(&mut self, batch: Batch) {
        let mut used = std::mem::replace(&mut self.current, batch);
        self.next = 0;
        self.waits = false;
        // The placeholder for the first batch has no buffer worth returning.
        if used.bytes.capacity() > 0 {
            used.clear();
            // A dropped producer needs no batches; the packets that it sent are still returned.
            let _ = self.used.try_send(used);
        }
    }

    /// Returns the bytes of the packet that [`Consumer::advance`] returned last.
    pub(super) fn bytes(&self, header: &PacketHeader) -> &[u8] {
        self.current.bytes.get(header.start..header.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Precision;

    const LIMITS: Limits = Limits { bytes: 100, longest: 60, packets: 10, batches: 4 };
    const MOMENT: Duration = Duration::from_millis(1);

    fn at(number: u32) -> Timestamp {
        Timestamp::new(number.into(), 0, Precision::Micros)
    }

    fn push(producer: &mut Producer, number: u32, len: usize) {
        assert!(producer.ready(MOMENT).unwrap());
        producer.push(at(number), number, &vec![number as u8; len]).unwrap();
    }

    /// Returns the numbers of the available packets, after checking the time, length and bytes of each.
    fn take(consumer: &mut Consumer) -> Vec<u32> {
        let mut numbers = Vec::new();
        while let Next::Packet(header) = consumer.advance(MOMENT) {
            assert_eq!(header.ts, at(header.orig_len));
            assert!(consumer.bytes(&header).iter().all(|byte| *byte == header.orig_len as u8));
            numbers.push(header.orig_len);
        }
        numbers
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let (mut producer, mut consumer) = channel(LIMITS);
        for number in 0..5 {
            push(&mut producer, number, 7);
        }
        assert!(take(&mut consumer).is_empty(), "not handed over yet");
        producer.pause().unwrap();
        assert_eq!(take(&mut consumer), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_empty_packet_is_a_packet() {
        let (mut producer, mut consumer) = channel(LIMITS);
        push(&mut producer, 0, 0);
        producer.pause().unwrap();
        assert_eq!(take(&mut consumer), [0]);
    }

    #[test]
    fn a_full_batch_goes_by_itself() {
        let (mut producer, mut consumer) = channel(LIMITS);
        push(&mut producer, 0, 60);
        push(&mut producer, 1, 60);
        assert!(!producer.holds_packets());
        assert_eq!(take(&mut consumer), [0, 1]);
        for number in 0..10 {
            push(&mut producer, number, 1);
        }
        assert!(!producer.holds_packets());
        assert_eq!(take(&mut consumer).len(), 10);
    }

    #[test]
    fn memory_is_bounded_and_reused() {
        let (mut producer, mut consumer) = channel(LIMITS);
        let capacity = LIMITS.bytes + LIMITS.longest;
        for round in 0..50_u32 {
            let mut pushed = 0;
            while producer.ready(MOMENT).unwrap() {
                push(&mut producer, round + pushed, 60);
                pushed += 1;
                assert!(producer.filling.as_ref().is_none_or(|batch| batch.bytes.capacity() == capacity));
            }
            // All batches are full, with two packets each; from the second round on, the consumer still holds one.
            assert_eq!(pushed, if round == 0 { 8 } else { 6 });
            assert_eq!(take(&mut consumer).len(), pushed as usize);
        }
        assert_eq!(producer.made, LIMITS.batches);
    }

    #[test]
    fn a_slow_consumer_gets_full_batches() {
        let (mut producer, mut consumer) = channel(LIMITS);
        for number in 0..17 {
            push(&mut producer, number, 1);
            producer.pause().unwrap();
        }
        assert_eq!(producer.full.len(), 3, "two that went early, one that was full");
        assert!(producer.holds_packets());
        assert_eq!(take(&mut consumer).len(), 12);
        producer.pause().unwrap();
        assert_eq!(take(&mut consumer).len(), 5);
    }

    #[test]
    fn idle_is_returned_at_once_and_then_after_a_while() {
        let (mut producer, mut consumer) = channel(LIMITS);
        let max_wait = Duration::from_millis(30);
        for _ in 0..2 {
            let start = std::time::Instant::now();
            assert!(matches!(consumer.advance(Duration::from_secs(60)), Next::Idle));
            assert!(matches!(consumer.advance(max_wait), Next::Idle));
            assert!(start.elapsed() >= max_wait);
            push(&mut producer, 3, 1);
            producer.pause().unwrap();
            assert!(matches!(consumer.advance(max_wait), Next::Packet(_)));
        }
    }

    #[test]
    fn what_was_handed_over_outlives_the_producer() {
        let (mut producer, mut consumer) = channel(LIMITS);
        for number in 0..25 {
            push(&mut producer, number, 1);
        }
        producer.send_batch().unwrap();
        drop(producer);
        assert_eq!(take(&mut consumer).len(), 25);
        assert!(matches!(consumer.advance(MOMENT), Next::End));
        assert!(matches!(consumer.advance(MOMENT), Next::End));
    }

    #[test]
    fn a_producer_detects_that_the_consumer_is_gone() {
        let (mut producer, consumer) = channel(LIMITS);
        push(&mut producer, 0, 1);
        drop(consumer);
        assert!(producer.pause().is_err());
        assert!(producer.send_batch().is_err());
        assert!(producer.ready(MOMENT).is_err());
    }

    #[test]
    fn works_across_threads() {
        let (mut producer, mut consumer) = channel(LIMITS);
        const PACKETS: u32 = 20_000;
        let thread = std::thread::spawn(move || {
            for number in 0..PACKETS {
                while !producer.ready(MOMENT).unwrap() {}
                producer.push(at(number), number, &[number as u8; 9]).unwrap();
                if number % 7 == 0 {
                    producer.pause().unwrap();
                }
            }
            producer.send_batch().unwrap();
        });
        let mut expected = 0;
        loop {
            match consumer.advance(MOMENT) {
                Next::Packet(header) => {
                    assert_eq!(header.orig_len, expected);
                    assert_eq!(consumer.bytes(&header), [expected as u8; 9]);
                    expected += 1;
                }
                Next::Idle => {}
                Next::End => break,
            }
        }
        assert_eq!(expected, PACKETS);
        thread.join().unwrap();
    }
}
