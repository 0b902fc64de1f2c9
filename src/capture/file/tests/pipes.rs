//! Pipes without data.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::sources::Scratch;
use super::*;
use crate::capture::file::open;

#[test]
fn a_pipe_is_idle_at_once_and_then_waits_a_little() {
    const LITTLE: Duration = Duration::from_millis(40);
    let pipe = || {
        let (reader, writer) = io::pipe().unwrap();
        (source(open::with_bounded_wait(File::from(OwnedFd::from(reader))).unwrap()), writer)
    };
    let idle = |source: &mut FileSource| {
        let began = Instant::now();
        assert!(matches!(source.next_event(), Ok(Event::Idle)));
        began.elapsed()
    };
    // Several attempts, because a busy machine may delay the test for as long.
    assert!((0..5).any(|_| {
        let (mut source, _writer) = pipe();
        idle(&mut source) < LITTLE
    }));

    let (mut source, mut writer) = pipe();
    let file = small_pcap();
    idle(&mut source);
    assert!(idle(&mut source) >= LITTLE);
    writer.write_all(&file[..50]).unwrap();
    assert!(matches!(source.next_event(), Ok(Event::Packet(packet)) if packet.data == b"first"));
    idle(&mut source);
    assert!(idle(&mut source) >= LITTLE);
    writer.write_all(&file[50..]).unwrap();
    drop(writer);
    assert_eq!(drain(&mut source).packets.len(), 2);
}

#[test]
fn a_fifo_is_opened_without_waiting_for_its_other_end() {
    let scratch = Scratch::new("fifo");
    let path = scratch.0.join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut source = FileSource::new(vec![path.clone()], Arc::default());
    for _ in 0..3 {
        assert!(matches!(source.next_event(), Ok(Event::Idle)));
    }
    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    assert!(matches!(source.next_event(), Ok(Event::Idle)));
    writer.write_all(&small_pcap()).unwrap();
    drop(writer);
    assert_eq!(drain(&mut source), Outcome { packets: read(&small_pcap()).packets, errors: Vec::new() });
}
