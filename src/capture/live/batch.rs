//! Packets on their way from the thread that takes them out of the kernel to the one that reads them.
//!
//! Packets travel in batches, each one a block of bytes and a list of headers, over a bounded channel; used batches come
//! back over a second one. So a packet costs one copy and no allocation, the memory is bounded, and a reader that is held
//! up for a moment (by a slow terminal, a full pipe) does not make the kernel drop packets at once.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use crate::time::Timestamp;

/// How large the batches are, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A batch with as many bytes is full.
    pub(super) bytes: usize,
    /// The longest packet there can be. Every batch has room for one beyond `bytes`, so that none ever grows.
    pub(super) longest: usize,
    /// A batch with as many packets is full.
    pub(super) packets: usize,
    /// How many batches there are at most, full, in use and empty.
    pub(super) batches: usize,
}

/// A packet in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketHeader {
    pub(super) ts: Timestamp,
    /// Its length on the wire.
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
    /// The memory is reserved here, but becomes real only when it is written to.
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

/// The other end is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// Both ends of a way for packets.
pub(super) fn channel(limits: Limits) -> (Producer, Consumer) {
    // Each channel has room for every batch there is, so that handing one over never waits: the only wait is for an
    // empty batch.
    let (full_in, full_out) = bounded(limits.batches);
    let (used_in, used_out) = bounded(limits.batches);
    let producer = Producer { limits, full: full_in, used: used_out, spare: Vec::new(), made: 0, filling: None };
    let consumer = Consumer { full: full_out, used: used_in, current: Batch::default(), next: 0, waits: false };
    (producer, consumer)
}

/// The end that takes packets in.
#[derive(Debug)]
pub(super) struct Producer {
    limits: Limits,
    full: Sender<Batch>,
    used: Receiver<Batch>,
    /// Batches that came back while none was needed.
    spare: Vec<Batch>,
    made: usize,
    filling: Option<Batch>,
}

impl Producer {
    /// Sees to it that there is room for a packet. Where every batch is full, waits for as long as `patience` for one to
    /// come back, and says whether one did.
    pub(super) fn ready(&mut self, patience: Duration) -> Result<bool, Gone> {
        if self.filling.is_none() {
            self.filling = self.empty_batch(patience)?;
        }
        Ok(self.filling.is_some())
    }

    fn empty_batch(&mut self, patience: Duration) -> Result<Option<Batch>, Gone> {
        if let Some(batch) = self.spare.pop() {
            return Ok(Some(batch));
        }
        match self.used.try_recv() {
            Ok(batch) => return Ok(Some(batch)),
            Err(TryRecvError::Disconnected) => return Err(Gone),
            Err(TryRecvError::Empty) => {}
        }
        if self.made < self.limits.batches {
            self.made += 1;
            return Ok(Some(Batch::new(&self.limits)));
        }
        match self.used.recv_timeout(patience) {
            Ok(batch) => Ok(Some(batch)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    /// Takes in a packet, which needs [`Producer::ready`] to have said so before. A batch that becomes full is handed
    /// over.
    pub(super) fn push(&mut self, ts: Timestamp, orig_len: u32, data: &[u8]) -> Result<(), Gone> {
        let Some(batch) = &mut self.filling else { return Ok(()) };
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(data);
        let end = batch.bytes.len();
        batch.headers.push(PacketHeader { ts, orig_len, start, end });
        if end >= self.limits.bytes || batch.headers.len() >= self.limits.packets { self.hand_over() } else { Ok(()) }
    }

    /// There are no more packets for the moment: hands over those there are, unless the consumer has enough to do.
    ///
    /// In light traffic the kernel hands out packets by ones and twos. If each handful went out as a batch of its own, a
    /// consumer that is held up would soon have all batches, nearly empty.
    pub(super) fn pause(&mut self) -> Result<(), Gone> {
        const ENOUGH: usize = 2;
        match self.used.try_recv() {
            Ok(batch) => self.spare.push(batch),
            Err(TryRecvError::Disconnected) => return Err(Gone),
            Err(TryRecvError::Empty) => {}
        }
        if self.full.len() < ENOUGH { self.hand_over() } else { Ok(()) }
    }

    /// Whether packets wait here for the consumer to have less to do.
    pub(super) fn holds_packets(&self) -> bool {
        self.filling.as_ref().is_some_and(|batch| !batch.headers.is_empty())
    }

    /// Hands over the packets there are.
    pub(super) fn hand_over(&mut self) -> Result<(), Gone> {
        match self.filling.take_if(|batch| !batch.headers.is_empty()) {
            Some(batch) => self.full.send(batch).map_err(|_| Gone),
            None => Ok(()),
        }
    }
}

/// What a [`Consumer`] has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// A packet; [`Consumer::bytes`] has its bytes.
    Packet(PacketHeader),
    /// Nothing for the moment.
    Idle,
    /// Nothing ever again: the producer is gone.
    End,
}

/// The end that gives packets out.
#[derive(Debug)]
pub(super) struct Consumer {
    full: Receiver<Batch>,
    used: Sender<Batch>,
    current: Batch,
    /// The next packet of the current batch.
    next: usize,
    /// The last word was that there is nothing, so this time it may take a moment.
    waits: bool,
}

impl Consumer {
    /// The next packet. Where there is none, says so at once the first time, for the owner to do what it has put off, and
    /// from then on waits for as long as `patience` first.
    pub(super) fn advance(&mut self, patience: Duration) -> Next {
        loop {
            if let Some(header) = self.current.headers.get(self.next) {
                self.next += 1;
                return Next::Packet(*header);
            }
            let batch = if self.waits {
                self.full.recv_timeout(patience).map_err(|error| error == RecvTimeoutError::Disconnected)
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
        // The placeholder that stood for the first batch is not worth sending back.
        if used.bytes.capacity() > 0 {
            used.clear();
            // A producer that is gone needs no batches; the packets that it left are given out all the same.
            let _ = self.used.try_send(used);
        }
    }

    /// The bytes of the packet that [`Consumer::advance`] gave last.
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

    /// The packets that are there now, each checked for its own time, length and bytes.
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
            // All batches full, two packets in each; from the second round on the consumer still holds one.
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
    fn idle_is_said_at_once_and_then_after_a_while() {
        let (mut producer, mut consumer) = channel(LIMITS);
        let patience = Duration::from_millis(30);
        for _ in 0..2 {
            let start = std::time::Instant::now();
            assert!(matches!(consumer.advance(Duration::from_secs(60)), Next::Idle));
            assert!(matches!(consumer.advance(patience), Next::Idle));
            assert!(start.elapsed() >= patience);
            push(&mut producer, 3, 1);
            producer.pause().unwrap();
            assert!(matches!(consumer.advance(patience), Next::Packet(_)));
        }
    }

    #[test]
    fn what_was_handed_over_outlives_the_producer() {
        let (mut producer, mut consumer) = channel(LIMITS);
        for number in 0..25 {
            push(&mut producer, number, 1);
        }
        producer.hand_over().unwrap();
        drop(producer);
        assert_eq!(take(&mut consumer).len(), 25);
        assert!(matches!(consumer.advance(MOMENT), Next::End));
        assert!(matches!(consumer.advance(MOMENT), Next::End));
    }

    #[test]
    fn a_producer_notices_that_nobody_reads() {
        let (mut producer, consumer) = channel(LIMITS);
        push(&mut producer, 0, 1);
        drop(consumer);
        assert!(producer.pause().is_err());
        assert!(producer.hand_over().is_err());
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
            producer.hand_over().unwrap();
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
