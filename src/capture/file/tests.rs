use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::FileSource;
use super::format::ByteOrder::{self, Big, Little};
use crate::capture::{Error, Event, Source};
use crate::packet::LinkType;
use crate::time::Precision::{self, Micros, Nanos};

mod formats;
#[cfg(feature = "live")]
mod pipes;
mod sources;

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
const MODIFIED: u32 = 0xa1b2_cd34;

/// An owned packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    nanos: i64,
    precision: Precision,
    link: LinkType,
    data: Vec<u8>,
    orig_len: u32,
}

/// Everything that a source returns, in order; errors as text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    packets: Vec<Got>,
    errors: Vec<String>,
}

impl Outcome {
    fn data(&self) -> Vec<&[u8]> {
        self.packets.iter().map(|packet| &packet.data[..]).collect()
    }
}

fn drain(source: &mut impl Source) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        match source.next_event() {
            Ok(Event::Packet(packet)) => outcome.packets.push(Got {
                nanos: packet.ts.as_nanos(),
                precision: packet.ts.precision(),
                link: packet.link,
                data: packet.data.to_vec(),
                orig_len: packet.orig_len,
            }),
            Ok(Event::KeyLog(_) | Event::Idle) => {}
            Ok(Event::End) => return outcome,
            Err(error) => outcome.errors.push(error.to_string()),
        }
        assert!(outcome.errors.len() <= 3, "one file, no end of errors: {outcome:?}");
    }
}

fn source(input: impl Read + Send + 'static) -> FileSource {
    FileSource::from_reader("f", input, Arc::default())
}

fn read(bytes: &[u8]) -> Outcome {
    drain(&mut source(io::Cursor::new(bytes.to_vec())))
}

/// A reader that returns its bytes in pieces of the given sizes, the last size repeatedly, with `refusals` errors `WouldBlock`
/// before each piece. After the end, it returns 0 on every call, like a pipe.
struct Stutter {
    bytes: VecDeque<u8>,
    sizes: Vec<usize>,
    refusals: u32,
    refused: u32,
}

impl Stutter {
    fn new(bytes: &[u8], sizes: &[usize], refusals: u32) -> Self {
        let sizes = sizes.iter().rev().copied().collect();
        Self { bytes: bytes.iter().copied().collect(), sizes, refusals, refused: 0 }
    }
}

impl Read for Stutter {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.refused < self.refusals && !self.bytes.is_empty() {
            self.refused += 1;
            return Err(if self.refused == 1 { io::ErrorKind::Interrupted } else { io::ErrorKind::WouldBlock }.into());
        }
        self.refused = 0;
        let size = if self.sizes.len() > 1 { self.sizes.pop().unwrap() } else { self.sizes[0] };
        let most = into.len().min(size);
        self.bytes.read(&mut into[..most])
    }
}

/// A builder of binary data with a byte order.
struct Bytes {
    order: ByteOrder,
    bytes: Vec<u8>,
}

impl Bytes {
    fn new(order: ByteOrder) -> Self {
        Self { order, bytes: Vec::new() }
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn u16(self, value: u16) -> Self {
        let bytes = if self.order == Little { value.to_le_bytes() } else { value.to_be_bytes() };
        self.raw(&bytes)
    }

    fn u32(self, value: u32) -> Self {
        let bytes = if self.order == Little { value.to_le_bytes() } else { value.to_be_bytes() };
        self.raw(&bytes)
    }

    fn i64(self, value: i64) -> Self {
        let bytes = if self.order == Little { value.to_le_bytes() } else { value.to_be_bytes() };
        self.raw(&bytes)
    }

    fn pad(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0xee);
        self
    }

    fn pcap(self, magic: u32, snaplen: u32, link: u32) -> Self {
        self.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(snaplen).u32(link)
    }

    fn packet(self, seconds: u32, fraction: u32, data: &[u8], orig_len: u32) -> Self {
        self.u32(seconds).u32(fraction).u32(data.len() as u32).u32(orig_len).raw(data)
    }

    fn block(self, kind: u32, body: impl FnOnce(Self) -> Self) -> Self {
        let body = body(Self::new(self.order)).pad().bytes;
        let len = body.len() as u32 + 12;
        self.u32(kind).u32(len).raw(&body).u32(len)
    }

    fn section(self) -> Self {
        self.block(0x0a0d_0d0a, |body| body.u32(0x1a2b_3c4d).u16(1).u16(0).i64(-1))
    }

    fn interface(self, link: u16, snaplen: u32, options: impl FnOnce(Self) -> Self) -> Self {
        self.block(1, |body| options(body.u16(link).u16(0).u32(snaplen)))
    }

    fn option(self, code: u16, value: impl FnOnce(Self) -> Self) -> Self {
        let value = value(Self::new(self.order)).bytes;
        self.u16(code).u16(value.len() as u16).raw(&value).pad()
    }

    fn enhanced(self, interface: u32, ticks: u64, data: &[u8], orig_len: u32) -> Self {
        self.block(6, |body| {
            let body = body.u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32);
            body.u32(data.len() as u32).u32(orig_len).raw(data).pad().option(1, |value| value.raw(b"a comment"))
        })
    }
}

fn got(nanos: i64, precision: Precision, link: u16, data: &[u8], orig_len: u32) -> Got {
    Got { nanos, precision, link: LinkType(link), data: data.to_vec(), orig_len }
}

fn small_pcap() -> Vec<u8> {
    Bytes::new(Little)
        .pcap(MICROS, 65_535, 1)
        .packet(1, 2, b"first", 5)
        .packet(3, 4, b"", 0)
        .packet(5, 6, &[b'x'; 300], 1_500)
        .bytes
}

fn small_pcapng(order: ByteOrder) -> Vec<u8> {
    Bytes::new(order)
        .section()
        .interface(1, 0, |options| options)
        .enhanced(0, 1_000_002, b"first", 5)
        .block(0x4000_0bad, |body| body.raw(b"anything at all"))
        .enhanced(0, 3_000_004, b"", 0)
        .enhanced(0, 5_000_006, &[b'x'; 300], 1_500)
        .bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Creates packets with few repeated patterns, so that the compressed file has several blocks.
fn large_pcap() -> Vec<u8> {
    let mut bytes = Bytes::new(Little).pcap(NANOS, 65_535, 1);
    let mut state = 1_u32;
    for number in 0..3_000 {
        let data: Vec<u8> = (0..number % 400)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b'a' + (state >> 24) as u8 % 16
            })
            .collect();
        bytes = bytes.packet(number, 0, &data, data.len() as u32);
    }
    bytes.bytes
}

fn captures() -> Vec<Vec<u8>> {
    let two = [small_pcapng(Big), small_pcapng(Little)].concat();
    vec![small_pcap(), small_pcapng(Little), two, gzip(&small_pcap()), zstd(&small_pcapng(Little))]
}

fn mutations() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(captures()), edits, any::<prop::sample::Index>()).prop_map(|(mut file, edits, cut)| {
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let kept: Range<usize> = 0..file.len() - cut.index(file.len()) / 3;
        file[kept].to_vec()
    })
}

/// Checks that the result of reading a file does not depend on how its bytes are split, even if it is damaged.
fn same_in_pieces(file: &[u8], sizes: &[usize], refusals: u32) -> Result<(), TestCaseError> {
    let whole = read(file);
    let pieces = drain(&mut source(Stutter::new(file, sizes, refusals)));
    prop_assert_eq!(whole, pieces);
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_the_same_in_any_pieces(
        file in mutations(),
        sizes in prop::collection::vec(1..200_usize, 1..20),
        refusals in 0..3_u32,
    ) {
        same_in_pieces(&file, &sizes, refusals)?;
    }

    #[test]
    fn noise_is_read_without_panic(noise in prop::collection::vec(any::<u8>(), 0..300), head in 0..6_usize) {
        let head = captures().get(head).map_or(Vec::new(), |file| file[..file.len().min(48)].to_vec());
        same_in_pieces(&[head, noise].concat(), &[7], 1)?;
    }
}

#[test]
fn another_format_is_named_however_its_bytes_arrive() {
    let record = |kind: u8| [[0; 8].as_slice(), &[kind, 0, 0, 24, 0, 0, 0, 8], &[7; 8]].concat();
    for (file, is_erf) in [
        (record(1), true),
        ([record(1), record(1)].concat(), true),
        ([record(1), record(2)].concat(), false),
        ([record(1), vec![0; 15]].concat(), false),
        (record(1)[..20].to_vec(), false),
        (vec![0; 300], false),
    ] {
        let Outcome { errors, .. } = read(&file);
        assert_eq!(errors[0].contains("perhaps an ERF file"), is_erf, "{errors:?}");
        for size in [1, 7, 16] {
            same_in_pieces(&file, &[size], 1).unwrap();
        }
    }
}
