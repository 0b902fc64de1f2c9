//! Decompression of gzip and zstd in steps that do not depend on who reads.
//!
//! What a stream gives before it is found to be damaged is the same in whatever pieces it comes, and whatever room there is for
//! what comes out: the decoders are given their input up to the end of what they decode as one, and all that they have made
//! is handed out before an error is. The readers of flate2 and zstd lose what they made in the call that fails, and how much
//! that is depends on both.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::ops::Range;

use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress, inflate_flags};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::input::Raw;

/// How much compressed input is read at a time.
const PIECE: usize = 16 * 1024;

/// What a zstd block gives at most (RFC 8878, section 3.1.1.2.4).
const ZSTD_BLOCK: usize = 128 * 1024;

/// The header of a zstd block, which the decoder would like to have with the block before.
const ZSTD_BLOCK_HEADER: usize = 3;

/// More than the header of any gzip member: an extra field of 64 KiB, a name and a comment.
const LONGEST_GZIP_HEADER: usize = 256 * 1024;

/// The checksum and the length behind a gzip member.
const GZIP_TRAILER: usize = 8;

/// What a decoder reads from: what had been read before it was known to be compressed, and then the rest.
type Packed = BufReader<Chain<Cursor<Vec<u8>>, Raw>>;

/// A compressed stream, decompressed as it is read.
pub(super) struct Unpacked<D> {
    packed: Packed,
    decoder: D,
    /// What the last step has made and nobody has read yet.
    fresh: Range<usize>,
}

/// A decoder that goes step by step.
pub(super) trait Steps {
    /// Takes input from the front of what is there, which is nothing at the end. Says how much it took, and where in
    /// [`Self::made`] is what it made of it.
    fn step(&mut self, input: &[u8]) -> io::Result<(usize, Range<usize>)>;

    /// Where it puts what it makes.
    fn made(&self) -> &[u8];

    /// Whether the stream may end here.
    fn may_end(&self) -> bool;
}

impl<D: Steps> Unpacked<D> {
    /// What comes out of `raw`, which begins with `head`.
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
        let mut fresh = self.decoder.made().get(self.fresh.clone()).unwrap_or_default();
        let len = fresh.read(into)?;
        self.fresh.start += len;
        Ok(len)
    }
}

/// Frames of zstd, one behind the other.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    made: Vec<u8>,
    /// How much input the decoder wants for its next step, with the header of the block behind; 0 between frames.
    wants: usize,
}

impl Zstd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decoder: Decoder::new()?, made: vec![0; ZSTD_BLOCK], wants: 0 })
    }
}

impl Steps for Zstd {
    fn step(&mut self, input: &[u8]) -> io::Result<(usize, Range<usize>)> {
        // Without the header of the block behind it, so that it makes one block and gives it. At the end of that it wants no
        // more than the header.
        let most = if self.wants > ZSTD_BLOCK_HEADER { self.wants - ZSTD_BLOCK_HEADER } else { self.wants.max(1) };
        let mut input = InBuffer::around(input.get(..most).unwrap_or(input));
        let mut made = OutBuffer::around(&mut self.made[..]);
        self.wants = self.decoder.run(&mut input, &mut made)?;
        Ok((input.pos(), 0..made.pos()))
    }

    fn made(&self) -> &[u8] {
        &self.made
    }

    fn may_end(&self) -> bool {
        self.wants == 0
    }
}

/// Members of gzip, one behind the other (RFC 1952).
pub(super) struct Gzip {
    part: Part,
    inflate: Box<DecompressorOxide>,
    /// What was made last, which what comes next refers to.
    window: Vec<u8>,
    /// Where in the window it ends.
    at: usize,
    crc: Hasher,
    /// How many bytes the member has given, as far as its length is told.
    len: u32,
}

/// What is read of a member.
enum Part {
    /// Its header, as far as it has come.
    Header(Vec<u8>),
    Data,
    /// What is behind the data, as far as it has come.
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
            // What was made before is given first; the decoder stays where it failed.
            _ if made.is_empty() => return Err(invalid("corrupt deflate stream")),
            _ => {}
        }
        Ok((taken, made))
    }

    /// Ends a member, if what it has given is what it says.
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

    fn made(&self) -> &[u8] {
        &self.window
    }

    fn may_end(&self) -> bool {
        matches!(&self.part, Part::Header(header) if header.is_empty())
    }
}

/// How long the header of a gzip member is that begins with these bytes; nothing where it goes on.
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
