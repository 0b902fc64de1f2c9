//! A source that is read ahead by a thread of its own.
//!
//! Packets are transferred in a fixed number of reused blocks: a packet costs one copy and no allocation, and the memory does not
//! depend on the source. The order of events is preserved.

use std::io;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Error, Event, InterfaceTable, Source};
use crate::packet::Block;

/// A block with this many bytes is full: it fits into a core's own cache, and is large enough to be worth the transfer. A block
/// that takes over a read buffer has all packets of that buffer.
const FULL: usize = 192 * 1024;

/// The number of blocks: one being filled, one being read, and some more in case either thread is delayed.
const BLOCKS: usize = 4;

/// A source that is read ahead.
#[derive(Debug)]
pub struct ReadAhead {
    full: Receiver<ReadBlock>,
    used: Sender<Block>,
    current: ReadBlock,
    key_log: Vec<u8>,
    /// The index of the next packet in the current block.
    next: usize,
    thread: Option<JoinHandle<()>>,
    interfaces: InterfaceTable,
}

/// Packets, and the event that followed them.
#[derive(Debug, Default)]
struct ReadBlock {
    packets: Block,
    event: Option<OtherEvent>,
}

/// An event other than a packet.
#[derive(Debug)]
enum OtherEvent {
    KeyLog(Vec<u8>),
    Idle,
    End,
    Error(Error),
}

impl ReadAhead {
    /// Starts a thread that reads a source.
    ///
    /// # Errors
    ///
    /// The system does not start a thread.
    pub fn new(source: impl Source + Send + 'static) -> io::Result<Self> {
        let interfaces = source.interfaces();
        let (full_in, full) = bounded(BLOCKS);
        let (used, used_out) = bounded(BLOCKS);
        for _ in 1..BLOCKS {
            // The channel has room for all blocks.
            let _ = used.try_send(Block::default());
        }
        let read = move || read(source, &full_in, &used_out);
        let thread = Some(thread::Builder::new().name("reader".to_owned()).spawn(read)?);
        Ok(Self { full, used, current: ReadBlock::default(), key_log: Vec::new(), next: 0, thread, interfaces })
    }
}

/// Reads to the end of the source, or until the receiver is dropped.
fn read(mut source: impl Source, full: &Sender<ReadBlock>, used: &Receiver<Block>) {
    while let Ok(mut packets) = used.recv() {
        let event = fill(&mut packets, &mut source);
        let is_end = matches!(event, Some(OtherEvent::End));
        if full.send(ReadBlock { packets, event }).is_err() || is_end {
            return;
        }
    }
}

/// Fills a block with packets, up to the next other event, which is returned.
fn fill(block: &mut Block, source: &mut impl Source) -> Option<OtherEvent> {
    loop {
        if !source.give(block, FULL) {
            return Some(OtherEvent::Idle);
        }
        if block.bytes() >= FULL {
            return None;
        }
        match source.next_event() {
            Ok(Event::Packet(packet)) => block.push(&packet),
            Ok(Event::KeyLog(log)) => return Some(OtherEvent::KeyLog(log.to_vec())),
            Ok(Event::Idle) => return Some(OtherEvent::Idle),
            Ok(Event::End) => return Some(OtherEvent::End),
            Err(error) => return Some(OtherEvent::Error(error)),
        }
    }
}

impl Source for ReadAhead {
    fn next_event(&mut self) -> Result<Event<'_>, Error> {
        while self.next >= self.current.packets.len() {
            match self.current.event.take() {
                Some(OtherEvent::KeyLog(log)) => {
                    self.key_log = log;
                    return Ok(Event::KeyLog(&self.key_log));
                }
                Some(OtherEvent::Idle) => return Ok(Event::Idle),
                Some(OtherEvent::Error(error)) => return Err(error),
                Some(OtherEvent::End) => {
                    // The thread has ended.
                    let _ = self.thread.take().map(JoinHandle::join);
                }
                None => {}
            }
            let Ok(found) = self.full.recv() else { return Ok(Event::End) };
            let mut used = std::mem::replace(&mut self.current, found).packets;
            self.next = 0;
            used.clear();
            // The receiver is gone if the source has ended.
            let _ = self.used.try_send(used);
        }
        let Some(packet) = self.current.packets.packet(self.next) else { return Ok(Event::End) };
        self.next += 1;
        Ok(Event::Packet(packet))
    }

    fn ready(&self) -> Option<(&Block, usize)> {
        Some((&self.current.packets, self.next)).filter(|(block, next)| *next < block.len())
    }

    fn pass(&mut self, packets: usize) {
        self.next += packets;
    }

    fn interfaces(&self) -> InterfaceTable {
        self.interfaces.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{LinkType, Packet};
    use crate::time::{Precision, Timestamp};

    /// A source with a fixed sequence of events; packets are given by their length.
    struct Script(std::vec::IntoIter<Option<usize>>, Vec<u8>);

    impl Source for Script {
        fn next_event(&mut self) -> Result<Event<'_>, Error> {
            match self.0.next() {
                None => Ok(Event::End),
                Some(None) => Ok(Event::Idle),
                Some(Some(0)) => Err(Error::Live("broken".to_owned())),
                Some(Some(len)) => {
                    self.1 = vec![len as u8; len];
                    let ts = Timestamp::new(len as i64, 0, Precision::Nanos);
                    let (orig_len, interface) = (2 * len as u32, len as u16);
                    Ok(Event::Packet(Packet { ts, link: LinkType::RAW, data: &self.1, orig_len, interface }))
                }
            }
        }
    }

    #[test]
    fn everything_comes_in_its_order() {
        let lengths = (1..2_000).map(|number| match number % 7 {
            3 => None,
            5 => Some(0),
            _ => Some(number),
        });
        let script: Vec<_> = lengths.collect();
        let mut ahead = ReadAhead::new(Script(script.clone().into_iter(), Vec::new())).unwrap();
        for expected in script {
            match (ahead.next_event(), expected) {
                (Ok(Event::Idle), None) | (Err(_), Some(0)) => {}
                (Ok(Event::Packet(packet)), Some(len)) => {
                    assert_eq!(packet.data, vec![len as u8; len]);
                    assert_eq!((packet.orig_len, packet.link), (2 * len as u32, LinkType::RAW));
                    assert_eq!(packet.interface, len as u16);
                    assert_eq!(packet.ts, Timestamp::new(len as i64, 0, Precision::Nanos));
                }
                (other, expected) => panic!("{other:?} is not {expected:?}"),
            }
        }
        assert!(matches!(ahead.next_event(), Ok(Event::End)));
        assert!(matches!(ahead.next_event(), Ok(Event::End)));
    }

    #[test]
    fn the_thread_ends_when_the_reader_is_dropped() {
        let mut ahead = ReadAhead::new(Script(vec![Some(100_000); 1_000].into_iter(), Vec::new())).unwrap();
        assert!(matches!(ahead.next_event(), Ok(Event::Packet(_))));
        let thread = ahead.thread.take().unwrap();
        drop(ahead);
        thread.join().unwrap();
    }
}
