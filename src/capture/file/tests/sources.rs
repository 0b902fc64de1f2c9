//! Sources of captures: compressed, in pieces, through pipes, and from several files.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::capture::read_ahead::ReadAhead;

#[test]
fn compressed_streams_of_several_members_and_frames() {
    let plain = large_pcap();
    let wanted = read(&plain);
    assert_eq!(wanted.packets.len(), 3_000);
    for pack in [gzip, zstd] {
        assert_eq!(read(&pack(&plain)), wanted);
        for at in [1, 3, 24, 100_001] {
            let (head, tail) = plain.split_at(at);
            let members = [pack(head), pack(b""), pack(tail)].concat();
            assert_eq!(read(&members), wanted, "split at {at}");
        }
    }
    // A skippable frame at the beginning, as written by pzstd.
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], &zstd(&plain)[..]].concat();
    assert_eq!(read(&skippable), wanted);
}

#[test]
fn a_truncated_compressed_stream_yields_the_packets_before_the_cut() {
    let plain = small_pcap();
    let whole = read(&plain);
    for (pack, name) in [(gzip as fn(&[u8]) -> Vec<u8>, "gzip"), (zstd, "zstd")] {
        let packed = pack(&plain);
        for cut in 4..packed.len() {
            let outcome = read(&packed[..cut]);
            assert!(whole.packets.starts_with(&outcome.packets), "{name} cut at {cut}");
            assert_eq!(outcome.errors.len(), 1, "{name} cut at {cut}: {outcome:?}");
            assert!(outcome.errors[0].contains(&format!("the {name} stream is cut off")), "cut at {cut}: {outcome:?}");
        }
        // All data, but not the whole checksum after it.
        assert_eq!(read(&packed[..packed.len() - 1]).packets, whole.packets);
    }
}

#[test]
fn a_damaged_compressed_stream_yields_the_packets_before_the_damage() {
    let plain = large_pcap();
    let whole = read(&plain);
    for (pack, name) in [(gzip as fn(&[u8]) -> Vec<u8>, "gzip"), (zstd, "zstd")] {
        let mut packed = pack(&plain);
        let middle = packed.len() / 2;
        packed[middle..middle + 64].fill(0xff);
        let outcome = read(&packed);
        let [error] = &outcome.errors[..] else { panic!("{outcome:?}") };
        // The damaged bytes themselves may decompress to anything, unless the format has a checksum in between.
        let same = outcome.packets.iter().zip(&whole.packets).take_while(|(a, b)| a == b).count();
        assert!(same > 500, "{name}: {same} {error}");
    }
}

#[test]
fn damage_at_any_place_has_the_same_result_for_every_reader() {
    let plain = large_pcap();
    let mut pcapng = Bytes::new(Little).section().interface(1, 0, |options| options);
    for packet in read(&plain).packets {
        pcapng = pcapng.enhanced(0, packet.nanos as u64 / 1_000, &packet.data, packet.orig_len);
    }
    let members = [gzip(&plain[..100_000]), gzip(&plain[100_000..])].concat();
    let frames = [zstd(&plain[..100_000]), zstd(&plain[100_000..])].concat();
    let files = [gzip(&plain), zstd(&plain), members, frames, plain, pcapng.bytes];
    for (which, file) in files.iter().enumerate() {
        let places = (0..60).map(|place| place * file.len() / 60).chain(file.len() - 12..file.len());
        for place in places {
            let mut damaged = file.clone();
            damaged[place] ^= 0xff;
            let wanted = read(&damaged);
            let ahead = drain(&mut ReadAhead::new(source(io::Cursor::new(damaged.clone()))).unwrap());
            assert!(ahead == wanted, "file {which}, byte {place}: {:?}, not {:?}", ahead.errors, wanted.errors);
            let pieces = drain(&mut source(Stutter::new(&damaged, &[1, 10_000, 777, 100_000], 1)));
            assert!(pieces == wanted, "file {which}, byte {place}: {:?}, not {:?}", pieces.errors, wanted.errors);
        }
    }
}

#[test]
fn a_wrong_checksum_is_reported_and_loses_nothing() {
    let plain = large_pcap();
    let whole = read(&plain);
    for (pack, checksum) in [(gzip as fn(&[u8]) -> Vec<u8>, 8), (zstd, 4)] {
        let mut packed = pack(&plain);
        let at = packed.len() - checksum;
        packed[at] ^= 1;
        let outcome = read(&packed);
        assert!(outcome.packets == whole.packets);
        assert_eq!(outcome.errors.len(), 1, "{:?}", outcome.errors);
        assert!(!outcome.errors[0].contains("cut off"), "{:?}", outcome.errors);
    }
}

#[test]
fn refusals_in_the_midst_of_every_read_change_nothing() {
    let plain = small_pcap();
    let files = [
        plain.clone(),
        small_pcapng(Little),
        gzip(&plain),
        zstd(&plain),
        [gzip(&plain[..50]), gzip(&plain[50..])].concat(),
        [zstd(&plain[..50]), zstd(&plain[50..])].concat(),
    ];
    for file in files {
        let wanted = read(&file);
        assert_eq!(wanted.packets.len(), 3);
        for refusals in [1, 2, 40] {
            assert_eq!(drain(&mut source(Stutter::new(&file, &[1], refusals))), wanted, "{refusals} refusals");
        }
    }
}

#[test]
fn a_complete_packet_is_never_kept_back() {
    for pack in [|bytes: &[u8]| bytes.to_vec(), zstd, gzip] {
        let file = small_pcap();
        let file = [pack(&file[..45]), pack(&file[45..])].concat();
        let first = pack(&small_pcap()[..45]).len();
        let mut source = source(Stutter::new(&file, &[first, usize::MAX], 2));
        let mut idle = 0;
        loop {
            match source.next_event().unwrap() {
                Event::Idle => idle += 1,
                Event::Packet(packet) => break assert_eq!(packet.data, b"first"),
                Event::KeyLog(_) | Event::End => panic!("no packet"),
            }
        }
        assert_eq!(idle, 1, "the reader refuses once before each piece, and the packet is in the first");
    }
}

#[test]
fn an_unreadable_input_is_distinguished_from_an_interrupted_one() {
    struct Breaks(io::Cursor<Vec<u8>>);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(io::Error::from_raw_os_error(5)),
                read => Ok(read),
            }
        }
    }
    let breaks = |bytes: &[u8]| drain(&mut source(Breaks(io::Cursor::new(bytes.to_vec()))));
    assert!(breaks(b"").errors[0].starts_with("f: cannot be opened: "));
    let outcome = breaks(&small_pcap()[..60]);
    assert_eq!(outcome.data(), [b"first"]);
    assert!(outcome.errors[0].starts_with("f: byte 45: cut off: a packet header has 16 bytes, 15 are there (reading"));
    assert!(breaks(&small_pcap()).errors[0].starts_with("f: byte 377: reading failed: "));
    assert!(breaks(&gzip(&small_pcap())).errors[0].starts_with("f: byte 377: reading failed: "));
}

/// A directory that is removed on drop.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgdissect-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn several_files_are_one_capture_and_an_error_affects_only_its_file() {
    let scratch = Scratch::new("several");
    let paths = vec![
        scratch.file("a", &small_pcap()),
        scratch.0.join("missing"),
        scratch.file("b", &small_pcap()[..50]),
        scratch.file("text", b"hello"),
        scratch.0.clone(),
        scratch.file("c", &gzip(&small_pcapng(Big))),
    ];
    let mut source = FileSource::new(paths.clone(), Arc::default());
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    loop {
        match source.next_event() {
            Ok(Event::Packet(packet)) => packets.push(packet.data.len()),
            Ok(Event::KeyLog(_) | Event::Idle) => panic!("a file has no reason to wait"),
            Ok(Event::End) => break,
            Err(error) => errors.push(error),
        }
    }
    assert_eq!(packets, [5, 0, 300, 5, 5, 0, 300]);
    let [Error::Open { path, reason }, Error::Damaged { offset: 45, .. }, Error::NotACapture { .. }, directory] =
        &errors[..]
    else {
        panic!("{errors:?}")
    };
    assert_eq!((path, reason.kind()), (&paths[1], io::ErrorKind::NotFound));
    assert!(matches!(directory, Error::Open { reason, .. } if reason.kind() == io::ErrorKind::IsADirectory));
    assert!(matches!(source.next_event(), Ok(Event::End)));
}

#[test]
fn the_current_file_has_a_name() {
    let scratch = Scratch::new("name");
    let path = scratch.file("a", &small_pcap());
    let mut source = FileSource::new(vec![path.clone()], Arc::default());
    assert_eq!(source.current(), None);
    source.next_event().unwrap();
    assert_eq!(source.current(), Some(&*path));
    drain(&mut source);
    assert_eq!(source.current(), None);
}

#[test]
fn to_stop_is_the_end() {
    let stop = Arc::new(AtomicBool::new(false));
    let mut source = FileSource::from_reader("f", io::Cursor::new(small_pcap()), Arc::clone(&stop));
    assert!(matches!(source.next_event(), Ok(Event::Packet(_))));
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(source.next_event(), Ok(Event::End)));
}

#[test]
fn others_have_a_turn_while_nothing_but_other_blocks_goes_by() {
    let mut file = Bytes::new(Little).section();
    for _ in 0..1_000 {
        file = file.block(5, |body| body.raw(&[0; 100]));
    }
    let mut source = source(Stutter::new(&file.bytes, &[1_000], 0));
    let mut idle = 0;
    while let Event::Idle = source.next_event().unwrap() {
        idle += 1;
    }
    assert!(idle > 0);
}
