//! The content of both formats, and damaged files.

use std::io;

use super::*;

#[test]
fn pcap_in_either_byte_order_and_every_magic() {
    for order in [Little, Big] {
        for (magic, precision, fraction) in [(MICROS, Micros, 999_999), (NANOS, Nanos, 999_999_999)] {
            let file = Bytes::new(order).pcap(magic, 65_535, 113).packet(1_700_000_000, fraction, b"abc", 3).packet(
                u32::MAX,
                0,
                b"defg",
                1_000,
            );
            let outcome = read(&file.bytes);
            assert_eq!(outcome.errors, [""; 0]);
            let nanos = if magic == MICROS { 1_700_000_000_999_999_000 } else { 1_700_000_000_999_999_999 };
            let late = i64::from(u32::MAX) * 1_000_000_000;
            assert_eq!(
                outcome.packets,
                [got(nanos, precision, 113, b"abc", 3), got(late, precision, 113, b"defg", 1_000)]
            );
        }
        let file = Bytes::new(order).pcap(MODIFIED, 65_535, 1);
        let file = file.u32(7).u32(8).u32(3).u32(4).u32(2).u16(0x0800).raw(&[0, 0]).raw(b"abc");
        assert_eq!(read(&file.bytes).packets, [got(7_000_008_000, Micros, 1, b"abc", 4)]);
    }
}

#[test]
fn a_link_type_is_what_is_left_without_the_length_of_the_frame_check_sequence() {
    for (number, wanted) in [(1, 1), (0x1400_0001, 1), (12, 101), (14, 101), (101, 101), (276, 276), (0x1234, 0x1234)] {
        let pcap = Bytes::new(Little).pcap(MICROS, 0, number).packet(0, 0, b"a", 1);
        assert_eq!(read(&pcap.bytes).packets[0].link, LinkType(wanted));
    }
    let pcapng = Bytes::new(Big).section().interface(14, 0, |options| options).enhanced(0, 0, b"a", 1);
    assert_eq!(read(&pcapng.bytes).packets[0].link, LinkType::RAW);
}

#[test]
fn a_pcap_packet_may_be_longer_than_the_snap_length_but_not_than_any_packet() {
    let large = vec![7; 256 * 1024];
    let file = Bytes::new(Little).pcap(MICROS, 64, 1).packet(0, 0, &large, 9).packet(0, 0, b"next", 4).bytes;
    // As in tcpdump, bytes beyond the snap length are skipped.
    assert_eq!(read(&file).data(), [&large[..64], b"next"]);

    let file = Bytes::new(Little).pcap(MICROS, 64, 1).packet(0, 0, b"a", 1).packet(0, 0, &[0; 262_145], 9).bytes;
    let outcome = read(&file);
    assert_eq!(outcome.data(), [b"a"]);
    let wanted = "f: byte 41: a packet of 262145 bytes was announced, the maximum is 262144; \
                  everything before it was read";
    assert_eq!(outcome.errors, [wanted]);

    let huge = vec![7; 5 * 1024 * 1024 + 3];
    let file = Bytes::new(Little).pcap(MICROS, u32::MAX, 1).packet(0, 0, b"a", 1).packet(0, 0, &huge, 9);
    let file = file.packet(0, 0, b"next", 4).bytes;
    assert_eq!(read(&file).data(), [b"a", &huge[..], b"next"]);
}

#[test]
fn a_length_alone_allocates_nothing() {
    let file = Bytes::new(Little).pcap(MICROS, u32::MAX, 1).u32(0).u32(0).u32(16 << 20).u32(0).raw(b"abc");
    let mut source = source(io::Cursor::new(file.bytes));
    let outcome = drain(&mut source);
    assert!(outcome.errors[0].contains("a packet of 16777216 bytes was announced, 3 are there"), "{outcome:?}");
}

#[test]
fn an_unknown_version_is_not_a_capture() {
    let file = Bytes::new(Big).u32(MICROS).u16(3).u16(1).raw(&[0; 16]);
    assert_eq!(read(&file.bytes).errors, ["f: not a capture file: wanted version 2 of the pcap format, found 3.1"]);
    let file = Bytes::new(Big).block(0x0a0d_0d0a, |body| body.u32(0x1a2b_3c4d).u16(2).u16(5).i64(-1));
    assert_eq!(read(&file.bytes).errors, ["f: not a capture file: wanted version 1 of the pcapng format, found 2.5"]);
}

#[test]
fn what_is_not_a_capture_is_named() {
    for (bytes, wanted) in [
        (&b""[..], "it is empty"),
        (b"abc", "wanted a pcap or pcapng header, found 0x616263"),
        (b"\x7fELF\x02", "wanted a pcap or pcapng header, found 0x7f454c46"),
        (b"\xfd7zXZ\0", "wanted a pcap or pcapng header, found 0xfd377a58: xz, decompress it first"),
        (b"\n\r\r\n\x1c\0\0\0text", "a section without a byte-order magic, found 0x74657874"),
        (&gzip(b"hello"), "wanted a pcap or pcapng header in the gzip stream, found 0x68656c6c"),
        (&gzip(b""), "it is empty"),
        (&gzip(&gzip(b"hello")), "wanted a pcap or pcapng header in the gzip stream, found 0x1f8b0800"),
    ] {
        assert_eq!(read(bytes).errors, [format!("f: not a capture file: {wanted}")]);
    }
}

#[test]
fn pcapng_time_has_the_resolution_and_offset_of_its_interface() {
    let second = 1_000_000_000_i64;
    for (resolution, offset, ticks, nanos, precision) in [
        (6, 0, 1_700_000_000_123_456, 1_700_000_000_123_456_000, Micros),
        (9, 0, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789, Nanos),
        (7, 0, 15, 1_500, Nanos),
        (3, 0, 1_001, 1_001_000_000, Micros),
        (0, 0, 7, 7 * second, Micros),
        (12, 0, 1_999, 1, Nanos),
        (28, 0, 10_000_000_000_000_000_000, 1, Nanos),
        (127, 0, u64::MAX, 0, Nanos),
        (0x80, 0, 7, 7 * second, Micros),
        (0x80 | 1, 0, 3, 1_500_000_000, Micros),
        (0x80 | 19, 0, (1 << 19) * 5 + (1 << 18), 5_500_000_000, Micros),
        (0x80 | 20, 0, 1 << 19, 500_000_000, Nanos),
        (0x80 | 63, 0, 1 << 63, second, Nanos),
        (0x80 | 127, 0, u64::MAX, 0, Nanos),
        (6, 1_700_000_000, 5, 1_700_000_000 * second + 5_000, Micros),
        (6, -2, 1_000_000, -second, Micros),
        (9, i64::MAX, 0, i64::MAX, Nanos),
        (9, i64::MIN, 0, i64::MIN, Nanos),
        (0, 0, u64::MAX, i64::MAX, Micros),
    ] {
        for order in [Little, Big] {
            let file = Bytes::new(order).section().interface(1, 0, |options| {
                let options = options.option(2, |value| value.raw(b"eth0"));
                let options = options.option(9, |value| value.raw(&[resolution]));
                options.option(14, |value| value.i64(offset)).option(0, |value| value)
            });
            let file = file.enhanced(0, ticks, b"a", 1);
            assert_eq!(read(&file.bytes).packets, [got(nanos, precision, 1, b"a", 1)], "{resolution:#x} {offset}");
        }
    }
}

#[test]
fn an_option_of_the_wrong_length_is_as_if_it_were_not_there() {
    let file = Bytes::new(Little).section().interface(1, 0, |options| {
        options.option(9, |value| value.raw(&[9, 9])).option(14, |value| value.raw(&[1])).u16(9).u16(500)
    });
    assert_eq!(read(&file.enhanced(0, 1, b"a", 1).bytes).packets, [got(1_000, Micros, 1, b"a", 1)]);
}

#[test]
fn pcapng_interfaces_differ_in_link_type_and_clock() {
    for order in [Little, Big] {
        let file = Bytes::new(order)
            .section()
            .interface(1, 0, |options| options)
            .enhanced(0, 1, b"ethernet", 8)
            .interface(113, 0, |options| options.option(9, |value| value.raw(&[9])))
            .enhanced(1, 2, b"cooked", 60)
            .enhanced(0, 3, b"ethernet again", 14);
        let outcome = read(&file.bytes);
        assert_eq!(outcome.errors, [""; 0]);
        assert_eq!(
            outcome.packets,
            [
                got(1_000, Micros, 1, b"ethernet", 8),
                got(2, Nanos, 113, b"cooked", 60),
                got(3_000, Micros, 1, b"ethernet again", 14),
            ]
        );
    }
}

#[test]
fn each_section_has_its_own_byte_order_and_interfaces() {
    let mut file = Vec::new();
    for (order, link) in [(Little, 1), (Big, 101), (Big, 113), (Little, 276)] {
        let section = Bytes::new(order).section().interface(link, 0, |options| options).enhanced(0, 1, b"a", 1);
        file.extend(section.bytes);
    }
    file.extend(Bytes::new(Little).section().enhanced(0, 1, b"a", 1).bytes);
    let outcome = read(&file);
    assert_eq!(outcome.packets.iter().map(|packet| packet.link.0).collect::<Vec<_>>(), [1, 101, 113, 276]);
    assert_eq!(outcome.errors.len(), 1, "{outcome:?}");
    assert!(outcome.errors[0].contains("interface 0, which is none of the 0 that are described"), "{outcome:?}");
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    for order in [Little, Big] {
        let file = Bytes::new(order)
            .section()
            .interface(1, 4, |options| options)
            .block(3, |body| body.u32(3).raw(b"abc"))
            .block(3, |body| body.u32(90).raw(b"abcd"))
            .block(2, |body| body.u16(0).u16(17).u32(0).u32(5).u32(2).u32(9).raw(b"xy"));
        let outcome = read(&file.bytes);
        assert_eq!(outcome.errors, [""; 0]);
        assert_eq!(
            outcome.packets,
            [got(0, Micros, 1, b"abc", 3), got(0, Micros, 1, b"abcd", 90), got(5_000, Micros, 1, b"xy", 9)]
        );
    }
    let file = Bytes::new(Little).section().interface(1, 0, |options| options);
    let file = file.block(3, |body| body.u32(90).raw(b"abcd"));
    assert_eq!(read(&file.bytes).data(), [b"abcd"]);
}

#[test]
fn blocks_that_make_no_sense_are_skipped_and_reported_twice_at_most() {
    let file = Bytes::new(Little)
        .section()
        .interface(1, 0, |options| options)
        .enhanced(0, 0, b"a", 1)
        .enhanced(1, 0, b"unknown", 7)
        .enhanced(0, 0, b"b", 1)
        .block(6, |body| body.u32(0).u32(0).u32(0).u32(5).u32(5).raw(b"abcd"))
        .block(6, |body| body.u32(0))
        .block(3, |body| body)
        .block(1, |body| body.u32(0))
        .enhanced(0, 0, b"c", 1)
        .enhanced(1, 0, b"of an interface described badly", 31)
        .enhanced(0, 0, b"d", 1);
    let outcome = read(&file.bytes);
    assert_eq!(outcome.data(), [b"a", b"b", b"c", b"d"]);
    assert_eq!(
        outcome.errors,
        [
            "f: byte 100: a packet of interface 1, which is none of the 1 that are described; \
             skipped, everything else is read",
            "f: byte 340: the last of 5 more blocks that make no sense; skipped, everything else is read",
        ]
    );
}

#[test]
fn a_block_whose_end_is_unknown_ends_the_file() {
    let before = || Bytes::new(Big).section().interface(1, 0, |options| options).enhanced(0, 0, b"a", 1);
    let offset = before().bytes.len();
    for (bad, wanted) in [
        (before().u32(6).u32(8).u32(8), "a block of 8 bytes was announced, which is not a valid block length"),
        (before().u32(6).u32(33).raw(&[0; 40]), "a block of 33 bytes was announced, which is not a valid block length"),
        (before().u32(6).u32(1 << 30), "a block of 1073741824 bytes was announced, which is not a valid block length"),
        (before().u32(5).u32(16).u32(0).u32(20), "a block of 16 bytes was announced, its end has the length 20"),
        (before().u32(0x0a0d_0d0a).u32(28).raw(&[0; 24]), "a section without a byte-order magic, found 0x00000000"),
    ] {
        let outcome = read(&bad.enhanced(0, 0, b"b", 1).bytes);
        assert_eq!(outcome.data(), [b"a"]);
        assert_eq!(outcome.errors, [format!("f: byte {offset}: {wanted}; everything before it was read")]);
    }
}

/// Truncates a capture at every position. `ends` are the ends of its header and records; `packets` has the number of packets up
/// to each.
fn cut_everywhere(file: &[u8], ends: &[usize], packets: &[usize]) {
    let whole = read(file);
    assert_eq!(whole.errors, [""; 0]);
    for cut in 1..=file.len() {
        let outcome = read(&file[..cut]);
        let complete = ends.iter().filter(|end| **end <= cut).count();
        let (offset, packets) = complete.checked_sub(1).map_or((0, 0), |last| (ends[last], packets[last]));
        assert_eq!(outcome.packets, whole.packets[..packets], "cut at {cut}");
        if cut < 4 {
            assert!(outcome.errors[0].starts_with("f: not a capture file: wanted a pcap or pcapng header, found 0x"));
        } else if cut == offset {
            assert_eq!(outcome.errors, [""; 0], "cut at {cut}");
        } else {
            assert_eq!(outcome.errors.len(), 1, "cut at {cut}");
            assert!(
                outcome.errors[0].starts_with(&format!("f: byte {offset}: cut off: ")),
                "cut at {cut}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_truncated_pcap_file_yields_the_packets_before_the_cut() {
    cut_everywhere(&small_pcap(), &[24, 45, 61, 377], &[0, 1, 2, 3]);
    let outcome = read(&small_pcap()[..76]);
    assert_eq!(
        outcome.errors,
        ["f: byte 61: cut off: a packet header has 16 bytes, 15 are there; everything before it was read"]
    );
    let outcome = read(&small_pcap()[..89]);
    assert_eq!(
        outcome.errors,
        ["f: byte 61: cut off: a packet of 300 bytes was announced, 12 are there; everything before it was read"]
    );
}

#[test]
fn a_truncated_pcapng_file_yields_the_packets_before_the_cut() {
    for order in [Little, Big] {
        cut_everywhere(&small_pcapng(order), &[28, 48, 104, 132, 180, 528], &[0, 0, 1, 1, 2, 3]);
    }
}
