use std::sync::Arc;

use super::*;
use crate::capture::{Event, FileSource, InterfaceDescription, Source};
use crate::time::Timestamp;

fn packet(link: LinkType, ts: Timestamp, data: &[u8]) -> Packet<'_> {
    Packet { ts, link, data, orig_len: 1_500, interface: 0 }
}

fn writer() -> SavefileWriter<Vec<u8>> {
    SavefileWriter::new(Path::new("test.pcap"), Vec::new())
}

/// Seconds, fraction of a second, length on the wire, bytes.
type ReadBack = (i64, i64, u32, Vec<u8>);

/// Reads a file with libpcap and returns its link type and packets.
fn read(file: &[u8], precision: pcap::Precision) -> (i32, Vec<ReadBack>) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("pgdissect-savefile-{}-{number}.pcap", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let mut capture = pcap::Capture::from_file_with_precision(&path, precision).unwrap();
    let link = capture.get_datalink().0;
    let mut packets = Vec::new();
    while let Ok(packet) = capture.next_packet() {
        let header = packet.header;
        packets.push((header.ts.tv_sec, header.ts.tv_usec, header.len, packet.data.to_vec()));
    }
    std::fs::remove_file(path).unwrap();
    (link, packets)
}

#[test]
fn packets_are_read_back_as_they_were() {
    let first = Timestamp::new(1_795_383_032, 123_456_000, Precision::Micros);
    let second = Timestamp::new(i32::MAX.into(), 999_999_000, Precision::Micros);
    let mut writer = writer();
    writer.write(&packet(LinkType::ETHERNET, first, b"one")).unwrap();
    writer.write(&packet(LinkType::ETHERNET, second, b"")).unwrap();
    let (link, packets) = read(&writer.finish().unwrap(), pcap::Precision::Micro);
    assert_eq!(link, 1);
    let wanted = [(1_795_383_032, 123_456, 1_500, b"one".to_vec()), (i32::MAX.into(), 999_999, 1_500, Vec::new())];
    assert_eq!(packets, wanted);
}

#[test]
fn nanoseconds_are_kept() {
    let at = Timestamp::new(1_795_383_032, 123_456_789, Precision::Nanos);
    let mut writer = writer();
    writer.write(&packet(LinkType::RAW, at, b"one")).unwrap();
    let (link, packets) = read(&writer.finish().unwrap(), pcap::Precision::Nano);
    assert_eq!(link, 12, "LINKTYPE_RAW becomes DLT_RAW");
    assert_eq!(packets, [(1_795_383_032, 123_456_789, 1_500, b"one".to_vec())]);
}

#[test]
fn a_time_that_the_format_cannot_hold_becomes_the_nearest() {
    let early = Timestamp::new(-5, 0, Precision::Micros);
    let mut writer = writer();
    writer.write(&packet(LinkType::ETHERNET, early, b"one")).unwrap();
    assert_eq!(read(&writer.finish().unwrap(), pcap::Precision::Micro).1[0].0, 0);
}

#[test]
fn a_file_without_packets_is_a_capture() {
    assert_eq!(read(&writer().finish().unwrap(), pcap::Precision::Micro), (1, Vec::new()));
    let mut writer = writer();
    writer.begin(LinkType::LINUX_SLL2, Precision::Micros).unwrap();
    assert_eq!(read(&writer.finish().unwrap(), pcap::Precision::Micro), (276, Vec::new()));
}

#[test]
fn a_second_link_type_is_refused_and_does_no_harm() {
    let at = Timestamp::new(1, 0, Precision::Micros);
    let mut writer = writer();
    writer.write(&packet(LinkType::ETHERNET, at, b"one")).unwrap();
    assert!(writer.takes(LinkType::ETHERNET) && !writer.takes(LinkType::LINUX_SLL));
    let error = writer.write(&packet(LinkType::LINUX_SLL, at, b"two")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test.pcap: cannot be written: a packet of link type 113 (LINUX_SLL) cannot be added: the file's packets are \
         of link type 1 (EN10MB), and a pcap file holds one; a file whose name ends in .pcapng holds any"
    );
    writer.write(&packet(LinkType::ETHERNET, at, b"three")).unwrap();
    assert_eq!(read(&writer.finish().unwrap(), pcap::Precision::Micro).1.len(), 2);
}

/// Returns the times of the packets of a file, and the descriptions of their interfaces.
fn read_back(file: Vec<u8>) -> Vec<(Timestamp, InterfaceDescription)> {
    let mut source = FileSource::from_reader("test", io::Cursor::new(file), Arc::default());
    let (interfaces, mut found) = (source.interfaces(), Vec::new());
    while let Event::Packet(packet) = source.next_event().unwrap() {
        found.push((packet.ts, interfaces.description(packet.interface)));
    }
    found
}

#[test]
fn interfaces_of_pcapng_keep_their_resolutions_and_names() {
    let table = InterfaceTable::default();
    let mut writer = SavefileWriter::new(Path::new("test.pcapng"), Vec::new());
    writer.set_interfaces(table.clone());
    let mut expected = Vec::new();
    // Powers of ten and of two, and two that are finer than nanoseconds, in which they are written.
    for (resolution, kept, nanos) in [
        (6, 6, 123_456_000),
        (9, 9, 123_456_789),
        (3, 3, 123_000_000),
        (0, 0, 0),
        (7, 7, 123_456_700),
        (0x80 | 10, 0x80 | 10, 999_023_437),
        (0x80 | 20, 0x80 | 20, 999_999_046),
        (0x80 | 29, 0x80 | 29, 999_999_998),
        (0x80 | 40, 9, 1),
        (12, 9, 7),
    ] {
        let name = Some(format!("eth{resolution}"));
        let description = Some("the \u{e4}ther".to_owned()).filter(|_| resolution == 9);
        let described = InterfaceDescription { name, description, resolution: Some(resolution) };
        let precision = if matches!(resolution, 0..=6 | 0x8a) { Precision::Micros } else { Precision::Nanos };
        let ts = Timestamp::new(1_795_383_032, nanos, precision);
        let interface = table.number(&described);
        writer.write(&Packet { ts, link: LinkType::RAW, data: b"five5", orig_len: 5, interface }).unwrap();
        expected.push((ts, InterfaceDescription { resolution: Some(kept), ..described }));
    }
    assert_eq!(read_back(writer.finish().unwrap()), expected);
}

#[test]
fn a_large_key_log_is_in_several_blocks() {
    let line = format!("CLIENT_RANDOM {} {}\n", "ab".repeat(32), "cd".repeat(48));
    let key_log = line.repeat(20_000);
    let path = std::env::temp_dir().join(format!("pgdissect-secrets-{}.pcapng", std::process::id()));
    let mut writer = SavefileWriter::create(&path).unwrap();
    writer.insert(key_log.as_bytes(), &[]).unwrap();
    writer.write(&packet(LinkType::ETHERNET, Timestamp::default(), b"one")).unwrap();
    writer.finish().unwrap();
    let mut source = FileSource::new(vec![path.clone()], Arc::default());
    let (mut found, mut blocks) = (String::new(), 0);
    while let Event::KeyLog(part) = source.next_event().unwrap() {
        found += std::str::from_utf8(part).unwrap();
        blocks += 1;
    }
    std::fs::remove_file(path).unwrap();
    assert!(found == key_log);
    assert_eq!(blocks, 4);
}

#[test]
fn a_full_disk_is_an_error() {
    let mut writer = SavefileWriter::create(Path::new("/dev/full")).unwrap();
    writer.write(&packet(LinkType::ETHERNET, Timestamp::default(), b"one")).unwrap();
    assert!(matches!(writer.flush(), Err(Error::Save { .. })));
}
