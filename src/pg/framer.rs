//! Message framing: splits a stream of bytes into frames, however the stream is segmented.
//!
//! A frame that lies completely in the input borrows from it. A frame that spans several inputs is copied as its bytes arrive; a
//! length word never determines the size of an allocation. Of a frame larger than the limit, the beginning is kept and the rest
//! is counted and discarded. Of a frame with a hole, the bytes after the hole are kept as well, together with the position of the
//! hole.
//!
//! ```text
//!                       +--------- gap inside a body, or body over the limit --------+
//!                       |                                                            v
//!   input --> AtBoundary/InFrame -- whole frame --> Frame             Damaged -- end of body --> Frame (missing > 0)
//!                       ^  |                                            |
//!                       |  +-- length that cannot be, gap over a header +--> Searching
//!                       |                                                        |
//!                       +---------------- boundary found <-----------------------+
//! ```

mod whole;

use bytes::{Buf, BytesMut};

pub use self::whole::WholeFrames;
use super::frame::{Cut, Damage, Frame, Hole};
use super::message_table::{self, backend};
use super::resync;
use super::startup;
use crate::direction::Direction;
use crate::reader::{DecodeError, Reader};

/// The capacity, in bytes, of the buffer that an idle direction keeps: a frame that spans two segments of usual size fits.
const KEPT_CAPACITY: usize = 4096;

/// How many bytes of an incomplete frame are kept when memory must be freed: enough to identify the message.
const KEPT_OF_RELEASED: usize = 1024;

/// The maximum number of holes recorded for a frame. Nothing after the last one is kept.
const MAX_HOLES: usize = 64;

/// The maximum length, in bytes, of an error of protocol 2.0: the server's postmaster has a buffer of 1,000 for one.
const LONGEST_VERSION_2: usize = 4_000;

/// The expected format of the next bytes of a direction, which depends on the state of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A length word and a body: StartupMessage and the other packets that can open a connection.
    Startup,
    /// One byte, or an ErrorResponse: the response to SSLRequest or GSSENCRequest.
    EncryptionAnswer,
    /// What a server sends before it has authenticated the client: tagged messages, or an error of protocol 2.0, which is `E` and
    /// a text that ends at a zero byte. A server sends the latter if it cannot serve at all, or does not know the protocol
    /// version yet.
    Handshake,
    /// A type byte, a length word and a body: all other messages.
    Tagged,
}

/// The result of passing bytes to the framer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// All input was consumed, and no frame is complete yet.
    More,
    /// A frame is complete.
    Frame(Frame<'a>),
    /// An invalid message header. The bytes that follow are searched for a message boundary.
    Malformed {
        /// The type byte, where there is one.
        tag: Option<u8>,
        /// The length word.
        len: u32,
        /// The bytes of the header.
        header: &'a [u8],
        /// Why it is invalid.
        error: DecodeError,
        /// Whether it follows an unconfirmed boundary.
        is_guessed: bool,
    },
    /// A message boundary was found again.
    Resumed {
        /// The number of bytes before it that belong to no frame.
        skipped: u64,
    },
}

/// Splits one direction of a connection into frames.
#[derive(Debug)]
pub struct Framer {
    direction: Direction,
    max_message: usize,
    /// The beginning of an incomplete frame; after a search, it may also contain complete frames.
    carry: BytesMut,
    /// How many bytes at the front of `carry` belong to the frame that was returned last.
    handed_out: usize,
    /// After a search: how many bytes at the front of `carry` arrived before the other side last sent something.
    late: usize,
    /// The holes in the frame that was returned last, or in the incomplete frame.
    holes: Vec<Hole>,
    contest: Contest,
    /// Whether the current boundaries were found by searching and are not confirmed yet.
    is_guessed: bool,
    state: State,
}

/// Which frames contain bytes that were retransmitted with different content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Contest {
    /// None that is known.
    #[default]
    None,
    /// All frames that overlap the current input.
    Input,
    /// The incomplete frame.
    Incomplete,
}

#[derive(Debug)]
enum State {
    /// `carry` begins at a message boundary.
    Framing,
    /// `carry` contains the kept part of a frame that cannot be completed.
    Damaged(Damaged),
    /// No boundary is known. `carry` contains the bytes that are still candidates.
    Searching {
        skipped: u64,
        search: resync::Search,
        /// The number of upcoming bytes that belong to a message which began before, according to the known part of its length
        /// word.
        barred: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Damaged {
    header: FrameHeader,
    /// The number of bytes of the frame that are still to come or lost.
    left: u64,
    /// The number of lost bytes.
    lost: u64,
    /// Why bytes are missing.
    cut: Cut,
    /// Whether the remaining bytes are kept.
    keeps: bool,
    /// Whether the boundary before the frame is unconfirmed.
    is_guessed: bool,
}

#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    tag: Option<u8>,
    len: u32,
    /// The size of the header: 5 bytes; 4 without a type byte; 1 for an error of protocol 2.0; 0 for a one-byte response.
    size: usize,
}

impl FrameHeader {
    /// Returns the size of the frame: header and body.
    fn total(self) -> usize {
        // A length word has 32 bits, and libpcap runs on no platform with a smaller usize.
        self.len as usize + usize::from(self.tag.is_some())
    }

    const fn is_version_2(self) -> bool {
        self.size == 1
    }
}

enum Parsed {
    /// At least this many bytes are needed to proceed.
    Need(usize),
    /// An error of protocol 2.0: all bytes up to the next zero byte are needed.
    NeedZero,
    Header(FrameHeader),
    Bad(FrameHeader, DecodeError),
}

impl Framer {
    /// Creates a framer at the beginning of a stream.
    pub fn new(direction: Direction, max_message: usize) -> Self {
        Self {
            direction,
            max_message,
            carry: BytesMut::new(),
            handed_out: 0,
            late: 0,
            holes: Vec::new(),
            contest: Contest::None,
            is_guessed: false,
            state: State::Framing,
        }
    }

    /// Discards the current boundary: the next bytes are searched for one.
    pub fn lose(&mut self) {
        if !matches!(self.state, State::Searching { .. }) {
            self.drop_handed_out();
            self.search_from(0);
        }
    }

    /// Marks the boundaries from here on as unconfirmed, until [`Self::confirm`] is called.
    pub const fn doubt(&mut self) {
        self.is_guessed = true;
    }

    /// Marks the current boundaries as confirmed.
    pub const fn confirm(&mut self) {
        self.is_guessed = self.is_searching();
    }

    /// Returns whether the current boundaries are unconfirmed.
    #[inline]
    pub const fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// Returns whether the next byte begins a message, as far as boundaries are known. Before the first byte, it may.
    pub fn is_at_boundary(&self) -> bool {
        let is_empty = self.carry.len() == self.handed_out;
        match self.state {
            State::Framing | State::Searching { skipped: 0, .. } => is_empty,
            State::Damaged(_) | State::Searching { .. } => false,
        }
    }

    /// Starts a search for a boundary after `skipped` discarded bytes.
    fn search_from(&mut self, skipped: u64) {
        self.is_guessed = true;
        self.state = State::Searching { skipped, search: resync::Search::from(skipped), barred: 0 };
    }

    /// Returns whether no boundary is known.
    pub const fn is_searching(&self) -> bool {
        matches!(self.state, State::Searching { .. })
    }

    /// Returns whether the next bytes begin a frame, as far as is known.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Framing) && self.carry.len() <= self.handed_out
    }

    /// Records that the other side sent something. It may respond to the bytes that are still being searched.
    #[inline]
    pub fn peer_sent(&mut self) {
        if self.is_searching() {
            self.late = self.carry.len();
        }
    }

    /// Consumes bytes from the front of `input` and returns the result.
    ///
    /// Call this again with the rest of the input until it returns [`Step::More`], which consumes all of it.
    #[inline]
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], framing: Framing) -> Step<'a> {
        self.drop_handed_out();
        match self.state {
            State::Framing if self.carry.is_empty() => self.frame_in_place(input, framing),
            State::Framing => self.frame_in_carry(input, framing),
            State::Damaged(damaged) => self.damaged(damaged, input),
            State::Searching { .. } => self.search(input),
        }
    }

    /// Returns the complete tagged frames at the front of `input`, the same that [`Self::next`] would return. Whatever follows
    /// them is left to [`Self::next`]. Returns `None` if bytes are carried over, or anything else is out of the ordinary.
    #[inline]
    pub fn whole<'i>(&self, input: &'i [u8]) -> Option<WholeFrames<'i>> {
        let is_plain = matches!(self.state, State::Framing)
            && self.carry.is_empty()
            && self.contest == Contest::None
            && !self.is_guessed;
        is_plain.then(|| WholeFrames::up_to(self.max_message, self.direction, input))
    }

    /// Ends a search before a hole or the end of the stream: accepts a boundary that is likely, given that no more bytes follow.
    /// The frames after it are then returned by calls with empty input.
    pub fn settle(&mut self) -> Step<'_> {
        self.drop_handed_out();
        let State::Searching { skipped, search, .. } = &self.state else { return Step::More };
        let Some(found) = search.settle(self.direction, &self.carry, *skipped) else { return Step::More };
        let at = usize::try_from(found - *skipped).unwrap_or(usize::MAX);
        self.advance(at);
        self.state = State::Framing;
        Step::Resumed { skipped: found }
    }

    /// Records that `bytes` bytes of the stream were lost here. May complete a frame, which then lacks them.
    ///
    /// Bytes lost inside a body are skipped exactly. If a header is lost, the next boundary has to be searched for.
    pub fn gap(&mut self, bytes: u64, framing: Framing) -> Step<'_> {
        self.drop_handed_out();
        if bytes == 0 {
            return Step::More;
        }
        self.damage(framing, Cut::Gap, bytes);
        match &mut self.state {
            State::Damaged(damaged) => {
                let lost = bytes.min(damaged.left);
                let at = (damaged.header.total() - damaged.header.size) as u64 - damaged.left;
                if let Some(hole) = self.holes.last_mut().filter(|hole| hole.at + hole.bytes == at) {
                    hole.bytes += lost;
                } else if self.holes.len() >= MAX_HOLES {
                    damaged.keeps = false;
                } else if lost > 0 {
                    self.holes.push(Hole { at, bytes: lost });
                }
                damaged.left -= lost;
                damaged.lost += lost;
                if bytes == lost && damaged.left > 0 {
                    return Step::More;
                }
                let damaged = *damaged;
                // The end of an error of protocol 2.0 is not known if it was lost.
                if bytes == lost && !damaged.header.is_version_2() {
                    self.state = State::Framing;
                } else {
                    self.search_from(0);
                }
                Step::Frame(self.hand_out_carry(damaged))
            }
            State::Framing => {
                let skipped = self.carry.len() as u64;
                let least = if self.is_guessed { 0 } else { least_total(self.direction, &self.carry, framing) };
                self.carry.clear();
                self.search_from(skipped);
                if let State::Searching { barred, .. } = &mut self.state {
                    *barred = least.saturating_sub(skipped).saturating_sub(bytes);
                }
                Step::More
            }
            State::Searching { skipped, search, barred } => {
                // A chain of messages cannot extend across a hole.
                *skipped += self.carry.len() as u64;
                *search = resync::Search::from(*skipped);
                *barred = barred.saturating_sub(bytes);
                self.advance(usize::MAX);
                Step::More
            }
        }
    }

    /// Records the end of the stream. Returns an incomplete frame, or the number of bytes that belong to no frame.
    pub fn end(&mut self, framing: Framing) -> Ended<'_> {
        self.drop_handed_out();
        self.damage(framing, Cut::End, 1);
        match self.state {
            State::Framing if self.carry.is_empty() => Ended::Clean,
            State::Framing => {
                let bytes = self.carry.len() as u64;
                self.carry.clear();
                Ended::Leftover { bytes }
            }
            State::Damaged(damaged) => {
                self.state = State::Framing;
                let cut = if damaged.cut == Cut::Gap && damaged.left > 0 { Cut::End } else { damaged.cut };
                Ended::Frame(self.hand_out_carry(Damaged { cut, ..damaged }))
            }
            State::Searching { skipped, .. } => {
                let bytes = skipped + self.carry.len() as u64;
                self.carry.clear();
                self.state = State::Framing;
                if bytes == 0 { Ended::Clean } else { Ended::Unresolved { bytes } }
            }
        }
    }

    /// Frees memory. The beginning of an incomplete frame is kept, and its end is still found.
    pub fn release(&mut self, framing: Framing) {
        self.drop_handed_out();
        self.damage(framing, Cut::Memory, 0);
        match &mut self.state {
            State::Damaged(damaged) => {
                if damaged.keeps || self.carry.len() > KEPT_OF_RELEASED {
                    damaged.cut = Cut::Memory;
                }
                damaged.keeps = false;
                self.carry.truncate(KEPT_OF_RELEASED);
            }
            State::Framing => {}
            State::Searching { skipped, search, .. } => {
                *skipped += self.carry.len() as u64;
                *search = resync::Search::from(*skipped);
                self.advance(usize::MAX);
            }
        }
        self.carry = BytesMut::from(&*self.carry);
    }

    /// Returns the type byte of the incomplete frame, if there is one, and how many of its bytes have arrived or were lost.
    pub fn incomplete(&self, framing: Framing) -> Option<(Option<u8>, u64)> {
        match &self.state {
            State::Framing => match parse_header(self.direction, self.carry.get(self.handed_out..)?, framing) {
                Parsed::Header(header) => Some((header.tag, (self.carry.len() - self.handed_out) as u64)),
                Parsed::NeedZero => Some((Some(backend::ERROR_RESPONSE), (self.carry.len() - self.handed_out) as u64)),
                _ => None,
            },
            State::Damaged(damaged) => Some((damaged.header.tag, damaged.header.total() as u64 - damaged.left)),
            State::Searching { .. } => None,
        }
    }

    /// Marks the bytes that are passed from now on as retransmitted with different content.
    pub fn contest_input(&mut self) {
        self.contest = Contest::Input;
    }

    /// Ends the marking of [`Self::contest_input`]. An incomplete frame stays marked.
    pub fn end_contest(&mut self) {
        if self.contest == Contest::Input {
            self.contest = Contest::None;
            if !self.is_searching() && self.carry.len() > self.handed_out {
                self.contest = Contest::Incomplete;
            }
        }
    }

    /// Marks the incomplete frame as containing bytes that were retransmitted with different content.
    pub fn contest_incomplete(&mut self) {
        self.contest = Contest::Incomplete;
    }

    /// Returns the number of bytes held.
    pub fn held(&self) -> usize {
        let search = if let State::Searching { search, .. } = &self.state { search.held() } else { 0 };
        self.carry.capacity() + self.holes.capacity() * size_of::<Hole>() + search
    }

    #[inline]
    fn drop_handed_out(&mut self) {
        if self.handed_out > 0 {
            self.drop_frame();
        }
    }

    /// Discards carried bytes.
    fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.carry.len());
        self.carry.advance(bytes);
        self.late = self.late.saturating_sub(bytes);
    }

    fn drop_frame(&mut self) {
        self.advance(self.handed_out);
        self.handed_out = 0;
        self.holes.clear();
        if self.carry.is_empty() {
            // The buffer is reused for the next frame that spans segments, unless it is large.
            if self.carry.capacity() <= KEPT_CAPACITY { self.carry.clear() } else { self.carry = BytesMut::new() }
        }
    }

    /// Handles the common case: nothing is carried over, and the frame is borrowed from the input.
    #[inline]
    fn frame_in_place<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], framing: Framing) -> Step<'a> {
        match parse_header(self.direction, input, framing) {
            Parsed::Header(header) => {
                let total = header.total();
                let Some((frame, rest)) = input.split_at_checked(total) else {
                    return self.frame_in_carry(input, framing);
                };
                *input = rest;
                let body = frame.get(header.size..).unwrap_or_default();
                let kept = body.get(..self.max_message).unwrap_or(body);
                let missing = (body.len() - kept.len()) as u64;
                let is_contested = self.contest_of_frame();
                let is_guessed = self.is_guessed;
                Step::Frame(Frame { is_contested, is_guessed, ..self::frame(header, kept, missing, Cut::TooLarge) })
            }
            Parsed::Need(_) | Parsed::NeedZero => {
                self.carry.extend_from_slice(std::mem::take(input));
                Step::More
            }
            Parsed::Bad(header, error) => {
                let wire = take(input, header.size);
                // The search begins after the first byte, so that the other bytes of the header are searched as well.
                self.carry.extend_from_slice(wire.get(1..).unwrap_or_default());
                let is_guessed = self.is_guessed;
                self.search_from(1);
                Step::Malformed { tag: header.tag, len: header.len, header: wire, error, is_guessed }
            }
        }
    }

    /// Gathers the bytes of a frame that began earlier.
    fn frame_in_carry(&mut self, input: &mut &[u8], framing: Framing) -> Step<'_> {
        loop {
            let need = match parse_header(self.direction, &self.carry, framing) {
                Parsed::Need(need) => need,
                Parsed::NeedZero => {
                    let text = memchr::memchr(0, input).map_or(input.len(), |zero| zero + 1);
                    self.carry.len() + text.max(1)
                }
                Parsed::Header(header) => {
                    let total = header.total();
                    if self.carry.len() >= total {
                        let over = (total - header.size).saturating_sub(self.max_message);
                        self.handed_out = total;
                        let is_contested = self.contest_of_frame();
                        let is_guessed = self.is_guessed;
                        let body = self.carry.get(header.size..total - over).unwrap_or_default();
                        let frame = frame(header, body, over as u64, Cut::TooLarge);
                        return Step::Frame(Frame { is_contested, is_guessed, is_late: total <= self.late, ..frame });
                    }
                    let kept = total.min(header.size.saturating_add(self.max_message));
                    if self.carry.len() >= kept {
                        let left = (total - self.carry.len()) as u64;
                        let is_guessed = self.is_guessed;
                        let damaged = Damaged { header, left, lost: 0, cut: Cut::TooLarge, keeps: false, is_guessed };
                        self.state = State::Damaged(damaged);
                        return self.damaged(damaged, input);
                    }
                    kept
                }
                Parsed::Bad(header, error) => {
                    let is_guessed = self.is_guessed;
                    self.search_from(1);
                    // All bytes returned here, except the first, are searched next.
                    self.handed_out = 1;
                    let wire = self.carry.get(..header.size).unwrap_or_default();
                    return Step::Malformed { tag: header.tag, len: header.len, header: wire, error, is_guessed };
                }
            };
            if input.is_empty() {
                return Step::More;
            }
            let wanted = need.saturating_sub(self.carry.len());
            self.carry.extend_from_slice(take(input, wanted));
        }
    }

    /// Marks the carried frame as incompletable, if its header is known. If its length is not known, because it is an error of
    /// protocol 2.0 without its end, the `lost` bytes are treated as its rest.
    fn damage(&mut self, framing: Framing, cut: Cut, lost: u64) {
        if !matches!(self.state, State::Framing) || self.carry.is_empty() {
            return;
        }
        let header = match parse_header(self.direction, &self.carry, framing) {
            Parsed::Header(header) => header,
            Parsed::NeedZero if lost > 0 => {
                let text = self.carry.len() as u64 - 1;
                let len = u32::try_from(text.saturating_add(lost)).unwrap_or(u32::MAX);
                FrameHeader { tag: Some(backend::ERROR_RESPONSE), len, size: 1 }
            }
            _ => return,
        };
        if header.total() < self.carry.len() {
            // More was held than this frame has: it was not expected when its first bytes came, and where it ends is not certain.
            return self.search_from(0);
        }
        let left = header.total().saturating_sub(self.carry.len()) as u64;
        let (keeps, is_guessed) = (cut == Cut::Gap, self.is_guessed);
        self.state = State::Damaged(Damaged { header, left, lost: 0, cut, keeps, is_guessed });
    }

    /// Consumes bytes of a frame that cannot be completed.
    fn damaged(&mut self, mut damaged: Damaged, input: &mut &[u8]) -> Step<'_> {
        let taken = take(input, usize::try_from(damaged.left).unwrap_or(usize::MAX));
        damaged.left -= taken.len() as u64;
        if damaged.keeps {
            let room = damaged.header.size.saturating_add(self.max_message).saturating_sub(self.carry.len());
            self.carry.extend_from_slice(taken.get(..room).unwrap_or(taken));
            if taken.len() > room {
                damaged.keeps = false;
                damaged.cut = Cut::TooLarge;
            }
        }
        if damaged.left > 0 {
            self.state = State::Damaged(damaged);
            return Step::More;
        }
        self.state = State::Framing;
        Step::Frame(self.hand_out_carry(damaged))
    }

    /// Returns everything carried as one frame.
    fn hand_out_carry(&mut self, damaged: Damaged) -> Frame<'_> {
        let Damaged { header, lost, cut, is_guessed, .. } = damaged;
        self.handed_out = self.carry.len();
        let is_contested = self.contest_of_frame();
        let kept = self.carry.get(header.size..).unwrap_or_default();
        let kept = kept.get(..self.max_message).unwrap_or(kept);
        let missing = (header.total() - header.size - kept.len()) as u64;
        let before = self.holes.first().and_then(|hole| usize::try_from(hole.at).ok()).unwrap_or(usize::MAX);
        let (body, behind) = kept.split_at_checked(before).unwrap_or((kept, &[]));
        let damage = Damage::new(lost, &self.holes, behind);
        Frame { damage, is_contested, is_guessed, ..frame(header, body, missing, cut) }
    }

    /// Returns whether the frame that is about to be returned contains bytes that were retransmitted with different content.
    fn contest_of_frame(&mut self) -> bool {
        let is_contested = self.contest != Contest::None;
        if self.contest == Contest::Incomplete {
            self.contest = Contest::None;
        }
        is_contested
    }

    fn search(&mut self, input: &mut &[u8]) -> Step<'_> {
        let State::Searching { skipped, search, barred } = &mut self.state else { return Step::More };
        if *barred > 0 {
            let passed = take(input, usize::try_from(*barred).unwrap_or(usize::MAX)).len() as u64;
            *barred -= passed;
            *skipped += passed;
            *search = resync::Search::from(*skipped);
            if *barred > 0 || input.is_empty() {
                return Step::More;
            }
        }
        self.carry.extend_from_slice(std::mem::take(input));
        match search.find(self.direction, &self.carry, *skipped) {
            Some(at) => {
                let bytes = usize::try_from(at - *skipped).unwrap_or(usize::MAX);
                self.advance(bytes);
                self.state = State::Framing;
                Step::Resumed { skipped: at }
            }
            None => {
                let surplus = self.carry.len().saturating_sub(resync::WINDOW);
                if surplus > 0 {
                    *skipped += surplus as u64;
                    self.advance(surplus);
                }
                Step::More
            }
        }
    }
}

/// Returns the minimum size of a message of whose header only a prefix that ends within the length word is known.
fn least_total(direction: Direction, header: &[u8], framing: Framing) -> u64 {
    let [tag, length @ ..] = header else { return 0 };
    let mut word = [0; 4];
    word.iter_mut().zip(length).for_each(|(byte, known)| *byte = *known);
    let least = u32::from_be_bytes(word);
    if framing == Framing::Tagged && least <= message_table::max_len(direction, *tag) {
        1 + u64::from(least)
    } else {
        0
    }
}

/// Removes up to `count` bytes from the front of the input and returns them.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(count).unwrap_or((*input, &[]));
    *input = rest;
    taken
}

/// What remains at the end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// Nothing.
    Clean,
    /// A frame without its end.
    Frame(Frame<'a>),
    /// Fewer bytes than a header.
    Leftover {
        /// Their number.
        bytes: u64,
    },
    /// Bytes in which no message boundary was found.
    Unresolved {
        /// Their number.
        bytes: u64,
    },
}

const fn frame(header: FrameHeader, body: &[u8], missing: u64, cut: Cut) -> Frame<'_> {
    let cut = if missing > 0 { Some(cut) } else { None };
    Frame { missing, cut, is_version_2: header.is_version_2(), ..Frame::whole(header.tag, header.len, body) }
}

/// Parses the header at the front of `bytes`.
#[inline]
fn parse_header(direction: Direction, bytes: &[u8], framing: Framing) -> Parsed {
    let mut reader = Reader::new(bytes);
    match framing {
        Framing::Startup => {
            let Ok(len) = reader.u32("length word") else { return Parsed::Need(4) };
            let header = FrameHeader { tag: None, len, size: 4 };
            if startup::PACKET_LEN.contains(&len) {
                Parsed::Header(header)
            } else {
                Parsed::Bad(header, Reader::unexpected(0, "length of a startup packet", "8 to 10000", len.into()))
            }
        }
        Framing::EncryptionAnswer => match reader.u8("answer") {
            Err(_) => Parsed::Need(1),
            Ok(backend::ERROR_RESPONSE) => parse_header(direction, bytes, Framing::Handshake),
            Ok(_) => Parsed::Header(FrameHeader { tag: None, len: 1, size: 0 }),
        },
        Framing::Handshake => match bytes {
            [backend::ERROR_RESPONSE] => Parsed::Need(2),
            // No message has 16 MiB or more at this point: a nonzero byte here is the first of a text, not of a length word.
            [backend::ERROR_RESPONSE, first, ..] if *first > 0 => parse_version_2(bytes),
            _ => parse_header(direction, bytes, Framing::Tagged),
        },
        Framing::Tagged => {
            let Some([tag, length @ ..]) = bytes.first_chunk::<5>() else { return Parsed::Need(5) };
            let (tag, len) = (*tag, u32::from_be_bytes(*length));
            let header = FrameHeader { tag: Some(tag), len, size: 5 };
            if len < message_table::MIN_LEN {
                Parsed::Bad(header, Reader::unexpected(1, "length word", "4 or more", len.into()))
            } else if len > message_table::max_len(direction, tag) {
                let wanted = "a length that either end would accept for this type";
                Parsed::Bad(header, Reader::unexpected(1, "length word", wanted, len.into()))
            } else {
                Parsed::Header(header)
            }
        }
    }
}

/// Parses the header at the front of `bytes`, which begin with an error of protocol 2.0.
#[cold]
fn parse_version_2(bytes: &[u8]) -> Parsed {
    let text = bytes.get(1..=LONGEST_VERSION_2).or(bytes.get(1..)).unwrap_or_default();
    match memchr::memchr(0, text) {
        Some(end) => Parsed::Header(FrameHeader { tag: Some(backend::ERROR_RESPONSE), len: end as u32 + 1, size: 1 }),
        None if text.len() < LONGEST_VERSION_2 => Parsed::NeedZero,
        None => {
            let len = text.first_chunk().map_or(0, |len| u32::from_be_bytes(*len));
            let header = FrameHeader { tag: Some(backend::ERROR_RESPONSE), len, size: 5 };
            Parsed::Bad(header, Reader::unexpected(1, "length word", "a length, or text with an end", len.into()))
        }
    }
}

#[cfg(test)]
mod tests;
