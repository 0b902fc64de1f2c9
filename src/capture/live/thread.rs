//! The thread that copies packets out of the kernel's buffer, and does nothing else.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture};

use super::BLOCK_TIMEOUT;
use super::batch::{Disconnected, Producer};
use crate::capture::{Error, KernelCounters, filter};
use crate::time::{Precision, Timestamp};

/// How long the capture thread waits for the kernel before it checks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// How often the kernel's counters are read. libpcap reads files in /sys for them.
const COUNTERS_EVERY: Duration = Duration::from_millis(500);

/// After how many consecutive packets to check whether the counters are due.
const PACKETS_PER_LOOK: u64 = 4096;

/// The kernel's counters as the capture thread last read them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    received: AtomicU64,
    dropped: AtomicU64,
    interface_dropped: AtomicU64,
}

impl Counters {
    pub(super) fn load(&self) -> KernelCounters {
        KernelCounters {
            received: self.received.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            interface_dropped: self.interface_dropped.load(Relaxed),
        }
    }
}

/// libpcap's counters at the last read. They have 32 bits, and wrap around within hours on a busy link.
#[derive(Debug, Default)]
struct Counted {
    at: Option<Instant>,
    received: u32,
    dropped: u32,
    interface_dropped: u32,
}

/// The capture thread.
pub(super) struct CaptureThread {
    capture: Capture<Active>,
    interface: String,
    producer: Producer,
    stop: Arc<AtomicBool>,
    packets: u64,
    counters: Arc<Counters>,
    counted: Counted,
}

/// When a capture that was asked to stop is complete.
struct Ending {
    /// Packets after this time are discarded.
    at: Timestamp,
    /// By this time, the kernel has delivered every block with packets from before the stop. It needs one or two timeouts,
    /// depending on when a packet arrived, and a kernel with coarse timers rounds them up.
    drained: Instant,
}

impl Ending {
    fn now() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(epoch.as_nanos()).unwrap_or(i64::MAX);
        Self { at: Timestamp::from_nanos(nanos, Precision::Micros), drained: Instant::now() + 4 * BLOCK_TIMEOUT }
    }
}

impl CaptureThread {
    pub(super) fn new(
        capture: Capture<Active>,
        interface: String,
        producer: Producer,
        stop: Arc<AtomicBool>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { capture, interface, producer, stop, packets: 0, counters, counted: Counted::default() }
    }

    /// Captures until asked to stop, or until the consumer is dropped.
    pub(super) fn run(mut self) -> Result<(), Error> {
        let result = self.capture_until_stopped();
        // All of this has to happen before the producer is dropped, which ends the consumer. Errors do not matter if the consumer
        // is gone.
        self.read_counters();
        let _ = self.producer.send_batch();
        result.or_else(|reason| match reason {
            Stopped::Unread => Ok(()),
            Stopped::Failed(error) => Err(error),
        })
    }

    fn capture_until_stopped(&mut self) -> Result<(), Stopped> {
        let mut ending = None;
        loop {
            if ending.is_none() && self.stop.load(Relaxed) {
                ending = Some(Ending::now());
            }
            if !self.producer.ready(STOP_CHECK)? {
                // Meanwhile the kernel's buffer fills up; then the kernel drops packets, and counts them.
                self.read_counters_sometimes();
                continue;
            }
            match self.read_packet(ending.as_ref())? {
                // If the thread can barely keep up, the buffer is never empty. This is when drops matter most.
                Read::Packet if self.packets.is_multiple_of(PACKETS_PER_LOOK) => self.read_counters_sometimes(),
                Read::Packet => {}
                Read::Nothing => {
                    self.producer.pause()?;
                    self.read_counters_sometimes();
                    if ending.as_ref().is_some_and(|ending| Instant::now() >= ending.drained) {
                        return Ok(());
                    }
                    self.wait(ending.is_some())?;
                }
                Read::TooLate => return Ok(()),
            }
        }
    }

    /// Reads one packet, if there is one.
    ///
    /// `dispatch` with a count of one avoids the copy that libpcap makes for `next_packet`.
    fn read_packet(&mut self, ending: Option<&Ending>) -> Result<Read, Stopped> {
        let Self { capture, producer, packets, .. } = self;
        let mut read = Ok(Read::Nothing);
        let taken = capture.dispatch(Some(1), |packet| {
            let ts = timestamp(packet.header);
            if ending.is_some_and(|ending| ts > ending.at) {
                read = Ok(Read::TooLate);
            } else {
                *packets += 1;
                read = producer.push(ts, packet.header.len, packet.data).map(|()| Read::Packet);
            }
        });
        match taken {
            Ok(_) => Ok(read?),
            Err(error) => Err(Stopped::Failed(self.explain_break(&error))),
        }
    }

    /// Waits until the kernel delivers a block.
    fn wait(&self, ending: bool) -> Result<(), Stopped> {
        let hurry = ending || self.producer.holds_packets();
        let timeout =
            PollTimeout::try_from(if hurry { BLOCK_TIMEOUT } else { STOP_CHECK }).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.capture.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            // An error condition of the interface ends the poll as well; the next read returns it.
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => {
                Err(Stopped::Failed(Error::Live(format!("{}: cannot wait for packets: {error}", self.interface))))
            }
        }
    }

    fn explain_break(&self, error: &pcap::Error) -> Error {
        let (interface, packets) = (&self.interface, self.packets);
        let reason = filter::reason(error);
        Error::Live(if reason.contains("disappeared") {
            format!("the interface {interface} disappeared; {packets} packets were captured until then")
        } else if reason.contains("went down") || reason.contains("is down") {
            format!("the interface {interface} went down; {packets} packets were captured until then")
        } else {
            format!("{interface}: the capture was interrupted: {reason}; {packets} packets were captured until then")
        })
    }

    fn read_counters_sometimes(&mut self) {
        if self.counted.at.is_none_or(|at| at.elapsed() >= COUNTERS_EVERY) {
            self.read_counters();
        }
    }

    fn read_counters(&mut self) {
        // Missing statistics are no reason to end a capture; the last ones remain.
        let Ok(now) = self.capture.stats() else { return };
        let add = |to: &AtomicU64, now: u32, before: u32| {
            to.fetch_add(now.wrapping_sub(before).into(), Relaxed);
        };
        add(&self.counters.received, now.received, self.counted.received);
        add(&self.counters.dropped, now.dropped, self.counted.dropped);
        add(&self.counters.interface_dropped, now.if_dropped, self.counted.interface_dropped);
        self.counted = Counted {
            at: Some(Instant::now()),
            received: now.received,
            dropped: now.dropped,
            interface_dropped: now.if_dropped,
        };
    }
}

/// The result of reading from the kernel's buffer.
enum Read {
    Packet,
    Nothing,
    /// A packet from after the stop.
    TooLate,
}

/// Why a capture ended without being asked to stop.
enum Stopped {
    /// The consumer was dropped.
    Unread,
    Failed(Error),
}

impl From<Disconnected> for Stopped {
    fn from(_: Disconnected) -> Self {
        Self::Unread
    }
}

fn timestamp(header: &pcap::PacketHeader) -> Timestamp {
    let micros = u32::try_from(header.ts.tv_usec).unwrap_or_default();
    Timestamp::new(header.ts.tv_sec, micros.saturating_mul(1_000), Precision::Micros)
}
