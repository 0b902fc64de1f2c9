//! A source that is read ahead of the one who takes its packets, by a thread of its own.
//!
//! Packets travel in blocks, whose number is bounded, and which are used again: so a packet costs one copy, no allocation, and
//! the memory does not depend on what the source holds. Everything comes in the order in which the source said it.

use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Error, Event, Source};
use crate::packet::Block;

/// A block with as many bytes is full: what a core's own cache holds, and enough to be worth a thread for some of it. One
/// that has the buffer into which its packets were read has all that are in that.
const FULL: usize = 192 * 1024;

/// How many blocks there are: one that is filled, one that is read, and some for when one of the two is held up.
const BLOCKS: usize = 4;

/// A source that is read ahead.
#[derive(Debug)]
pub struct ReadAhead {
    full: Receiver<ReadBlock>,
    used: Sender<Block>,
    current: ReadBlock,
    key_log: Vec<u8>,
    /// The next packet of the current block.
    next: usize,
    thread: Option<JoinHandle<()>>,
}

/// Packets, and what the source said behind them.
#[derive(Debug, Default)]
struct ReadBlock {
    packets: Block,
    word: Option<Word>,
}

/// What a source says beside packets.
#[derive(Debug)]
enum Word {
    KeyLog(Vec<u8>),
    Idle,
    End,
    Error(Error),
}

impl ReadAhead {
    /// Reads a source from now on.
    pub fn new(source: impl Source + Send + 'static) -> Self {
        let (full_in, full) = bounded(BLOCKS);
        let (used, used_out) = bounded(BLOCKS);
        for _ in 1..BLOCKS {
            // The channel has room for all of them.
            let _ = used.try_send(Block::default());
        }
        let thread = thread::spawn(move || read(source, &full_in, &used_out));
        Self { full, used, current: ReadBlock::default(), key_log: Vec::new(), next: 0, thread: Some(thread) }
    }
}

/// Reads to the end, or until nobody takes the packets any more.
fn read(mut source: impl Source, full: &Sender<ReadBlock>, used: &Receiver<Block>) {
    while let Ok(mut packets) = used.recv() {
        let word = fill(&mut packets, &mut source);
        let is_end = matches!(word, Some(Word::End));
        if full.send(ReadBlock { packets, word }).is_err() || is_end {
            return;
        }
    }
}

/// Fills a block with packets, up to the next word of the source.
fn fill(block: &mut Block, source: &mut impl Source) -> Option<Word> {
    loop {
        if !source.give(block, FULL) {
            return Some(Word::Idle);
        }
        if block.bytes() >= FULL {
            return None;
        }
        match source.next_event() {
            Ok(Event::Packet(packet)) => block.push(&packet),
            Ok(Event::KeyLog(log)) => return Some(Word::KeyLog(log.to_vec())),
            Ok(Event::Idle) => return Some(Word::Idle),
            Ok(Event::End) => return Some(Word::End),
            Err(error) => return Some(Word::Error(error)),
        }
    }
}

impl Source for ReadAhead {
    fn next_event(&mut self) -> Result<Event<'_>, Error> {
        while self.next >= self.current.packets.len() {
            match self.current.word.take() {
                Some(Word::KeyLog(log)) => {
                    self.key_log = log;
                    return Ok(Event::KeyLog(&self.key_log));
                }
                Some(Word::Idle) => return Ok(Event::Idle),
                Some(Word::Error(error)) => return Err(error),
                Some(Word::End) => {
                    // It has said its last.
                    let _ = self.thread.take().map(JoinHandle::join);
                }
                None => {}
            }
            let Ok(found) = self.full.recv() else { return Ok(Event::End) };
            let mut used = std::mem::replace(&mut self.current, found).packets;
            self.next = 0;
            used.clear();
            // Where it is not wanted any more, the source has ended.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{LinkType, Packet};
    use crate::time::{Precision, Timestamp};

    /// Says what it is told to say, packets by their length.
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
                    Ok(Event::Packet(Packet { ts, link: LinkType::RAW, data: &self.1, orig_len: 2 * len as u32 }))
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
        let mut ahead = ReadAhead::new(Script(script.clone().into_iter(), Vec::new()));
        for expected in script {
            match (ahead.next_event(), expected) {
                (Ok(Event::Idle), None) | (Err(_), Some(0)) => {}
                (Ok(Event::Packet(packet)), Some(len)) => {
                    assert_eq!(packet.data, vec![len as u8; len]);
                    assert_eq!((packet.orig_len, packet.link), (2 * len as u32, LinkType::RAW));
                    assert_eq!(packet.ts, Timestamp::new(len as i64, 0, Precision::Nanos));
                }
                (other, expected) => panic!("{other:?} is not {expected:?}"),
            }
        }
        assert!(matches!(ahead.next_event(), Ok(Event::End)));
        assert!(matches!(ahead.next_event(), Ok(Event::End)));
    }

    #[test]
    fn one_that_nobody_reads_any_more_ends() {
        let mut ahead = ReadAhead::new(Script(vec![Some(100_000); 1_000].into_iter(), Vec::new()));
        assert!(matches!(ahead.next_event(), Ok(Event::Packet(_))));
        let thread = ahead.thread.take().unwrap();
        drop(ahead);
        thread.join().unwrap();
    }
}
