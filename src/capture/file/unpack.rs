//! Decompression of gzip and zstd in steps that do not depend on the sizes of reads.
//!
//! The output before damage is detected is the same however the input is split, and however large the output buffers are: a
//! decoder is passed its input up to the end of one decoding unit, and all of its output is returned before an error is. The
//! readers of flate2 and zstd lose the output of the call that fails, the amount of which depends on both.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::ops::Range;

use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress, inflate_flags};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::input::Raw;

/// The amount of compressed input read at a time.
const PIECE: usize = 16 * 1024;

/// The maximum size of a zstd block's output (RFC 8878, section 3.1.1.2.4).
const ZSTD_BLOCK: usize = 128 * 1024;

/// The size of a zstd block header, which the decoder requests together with the block before it.
const ZSTD_BLOCK_HEADER: usize = 3;

/// The maximum size of a gzip header, generously: an extra field of 64 KiB, a name and a comment.
const LONGEST_GZIP_HEADER: usize = 256 * 1024;

/// The size of a gzip trailer: checksum and length.
const GZIP_TRAILER: usize = 8;

/// The compressed input: the bytes that were read before the compression was detected, then the rest.
type Packed = BufReader<Chain<Cursor<Vec<u8>>, Raw>>;

/// A compressed stream that is decompressed as it is read.
pub(super) struct Unpacked<D> {
    packed: Packed,
    decoder: D,
    /// The position of output of the last step that was not read yet.
    fresh: Range<usize>,
}

/// A decoder that works step by step.
pub(super) trait Steps {
    /// Consumes input from the front of `input`, which is empty at the end of the stream. Returns the number of consumed bytes,
    /// and the position of the output in [`Self::output`].
    fn step(&mut self, input: &[u8]) -> io::Result<(usize, Range<usize>)>;

    /// Returns the output buffer.
    fn output(&self) -> &[u8];

    /// Returns whether the stream may end here.
    fn may_end(&self) -> bool;
}

impl<D: Steps> Unpacked<D> {
    /// Creates a decompressor of `raw`, of which `head` was read already.
    pub(super) fn new(decoder: D, head: Vec<u8>, raw: Raw) -> Self {
        let packed = BufReader::with_capacity(PIECE, Cursor::new(head).chain(raw));
        Self { packed, decoder, fresh: 0..0 }
    }
}

impl<D: Steps> Read for Unpacked<D> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.fresh.is_empty() {
            let input = self.packed.fill_buf()?;
            if input.is_empty() && self.decoder.may_end() {
                return Ok(0);
            }
            let is_end = input.is_empty();
            let (taken, made) = self.decoder.step(input)?;
            if is_end && made.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.packed.consume(taken);
            self.fresh = made;
        }
        let mut fresh = self.decoder.output().get(self.fresh.clone()).unwrap_or_default();
        let len = fresh.read(into)?;
        self.fresh.start += len;
        Ok(len)
    }
}

/// A decoder of consecutive zstd frames.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    made: Vec<u8>,
    /// The input size that the decoder requests for its next step, including the header of the following block; 0 between frames.
    wants: usize,
}

impl Zstd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decoder: Decoder::new()?, made: vec![0; ZSTD_BLOCK], wants: 0 })
    }
}

impl Steps for Zstd {
    fn step(&mut self, input: &[u8]) -> io::Result<(usize, Range<usize>)> {
        // Without the header of the following block, the decoder decodes exactly one block and returns its output. After that it
        // requests only the header.
        let most = if self.wants > ZSTD_BLOCK_HEADER { self.wants - ZSTD_BLOCK_HEADER } else { self.wants.max(1) };
        let mut input = InBuffer::around(input.get(..most).unwrap_or(input));
        let mut made = OutBuffer::around(&mut self.made[..]);
        self.wants = self.decoder.run(&mut input, &mut made)?;
        Ok((input.pos(), 0..made.pos()))
    }

    fn output(&self) -> &[u8] {
        &self.made
    }

    fn may_end(&self) -> bool {
        self.wants == 0
    }
}

/// A decoder of consecutive gzip members (RFC 1952).
pub(super) struct Gzip {
    part: Part,
    inflate: Box<DecompressorOxide>,
    /// The most recent output, to which later data may refer.
    window: Vec<u8>,
    /// The end of the output in the window.
    at: usize,
    crc: Hasher,
    /// The size of the member's output so far, modulo 2^32 as in its trailer.
    len: u32,
}

/// The part of a member that is being read.
enum Part {
    /// The received bytes of an incomplete header.
    Header(Vec<u8>),
    Data,
    /// The received bytes of an incomplete trailer.
    Trailer(Vec<u8>),
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            part: Part::Header(Vec::new()),
            inflate: Box::default(),
            window: vec![0; TINFL_LZ_DICT_SIZE],
            at: 0,
            crc: Hasher::new(),
            len: 0,
        }
    }

    fn inflate(&mut self, input: &[u8]) -> io::Result<(usize, Range<usize>)> {
        let flags = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
        let (status, taken, made) = decompress(&mut self.inflate, input, &mut self.window, self.at, flags);
        let made = self.at..self.at + made;
        self.at = made.end % self.window.len();
        let bytes = self.window.get(made.clone()).unwrap_or_default();
        self.crc.update(bytes);
        self.len = self.len.wrapping_add(bytes.len() as u32);
        match status {
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
            TINFLStatus::Done => self.part = Part::Trailer(Vec::new()),
            // Output produced before the error is returned first; the decoder stays in its failed state.
            _ if made.is_empty() => return Err(invalid("corrupt deflate stream")),
            _ => {}
        }
        Ok((taken, made))
    }

    /// Ends a member and verifies its checksum and length.
    fn end_member(&mut self, trailer: [u8; GZIP_TRAILER]) -> io::Result<()> {
        let told = |word: Option<&[u8; 4]>| word.map_or(0, |word| u32::from_le_bytes(*word));
        let (crc, len) = (told(trailer.first_chunk()), told(trailer.last_chunk()));
        if crc != std::mem::take(&mut self.crc).finalize() || len != std::mem::take(&mut self.len) {
            return Err(invalid("corrupt gzip stream does not have a matching checksum"));
        }
        (self.part, self.at) = (Part::Header(Vec::new()), 0);
        self.inflate.init();
        Ok(())
    }
}

impl Steps for Gzip {
    fn step(&mut self, input: &[u8]) -> io::Result<(usize, Range<usize>)> {
        let taken = match &mut self.part {
            Part::Data => return self.inflate(input),
            Part::Header(header) => {
                let before = header.len();
                header.extend_from_slice(input);
                match header_len(header)? {
                    Some(len) => {
                        self.part = Part::Data;
                        len - before
                    }
                    None => input.len(),
                }
            }
            Part::Trailer(trailer) => {
                let rest = input.get(..GZIP_TRAILER - trailer.len()).unwrap_or(input);
                trailer.extend_from_slice(rest);
                let whole = trailer.first_chunk().copied();
                if let Some(trailer) = whole {
                    self.end_member(trailer)?;
                }
                rest.len()
            }
        };
        Ok((taken, 0..0))
    }

    fn output(&self) -> &[u8] {
        &self.window
    }

    fn may_end(&self) -> bool {
        matches!(&self.part, Part::Header(header) if header.is_empty())
    }
}

/// Returns the size of the gzip header at the front of these bytes; `None` if it is incomplete.
fn header_len(header: &[u8]) -> io::Result<Option<usize>> {
    const FHCRC: u8 = 1 << 1;
    const FEXTRA: u8 = 1 << 2;
    const FNAME: u8 = 1 << 3;
    const FCOMMENT: u8 = 1 << 4;
    const FIXED: usize = 10;
    let fits = [0x1f, 0x8b, 8].iter().zip(header).all(|(wanted, found)| wanted == found);
    if !fits || header.len() > LONGEST_GZIP_HEADER {
        return Err(invalid("invalid gzip header"));
    }
    let Some([_, _, _, flags, ..]) = header.first_chunk::<FIXED>() else { return Ok(None) };
    let mut len = FIXED;
    if flags & FEXTRA != 0 {
        let Some(size) = header.get(len..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        len += 2 + usize::from(u16::from_le_bytes(*size));
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let Some(end) = header.get(len..).and_then(|rest| memchr::memchr(0, rest)) else { return Ok(None) };
            len += end + 1;
        }
    }
    len += if flags & FHCRC != 0 { 2 } else { 0 };
    Ok((len <= header.len()).then_some(len))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
