//! Message boundaries: a stream of bytes in, whole frames out, however the stream is cut.
//!
//! A frame that lies whole in the input is borrowed from it. Only one that spans inputs is copied, as its bytes arrive:
//! no length word ever sizes an allocation. A frame larger than the limit keeps its first bytes; the rest is counted and
//! streamed past. One with a hole keeps what is behind it as well, and knows where the hole is.
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

/// How much of a buffer an idle direction keeps, in bytes: room for a frame that spans two segments of an ordinary MTU.
const KEPT_CAPACITY: usize = 4096;

/// How much of a frame is kept, in bytes, where memory is needed for others: enough to see what it was.
const KEPT_OF_RELEASED: usize = 1024;

/// How many holes of a frame are noted. Behind more, nothing of it is kept.
const MAX_HOLES: usize = 64;

/// The longest error of protocol 2.0 that is believed, in bytes: the server's postmaster has 1,000 for one.
const LONGEST_VERSION_2: usize = 4_000;

/// How the next bytes of a direction are to be cut, as the session knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A length word, then a body: StartupMessage and the other packets that open a connection.
    Startup,
    /// One byte, or an ErrorResponse: the answer to SSLRequest or GSSENCRequest.
    EncryptionAnswer,
    /// What a server sends until it has authenticated its client: as everything else, or an error of protocol 2.0, which is
    /// `E` and text up to a zero byte. A server sends that where it cannot serve at all, or does not know better.
    Handshake,
    /// A type byte, a length word, a body: everything else.
    Tagged,
}

/// What the framer has to say after it was given bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Everything was taken in, and no frame is complete yet.
    More,
    /// A frame is complete.
    Frame(Frame<'a>),
    /// The header of a message cannot be: its bytes, and why. What follows is searched for a boundary.
    Malformed {
        /// The type byte, where there is one.
        tag: Option<u8>,
        /// The length word.
        len: u32,
        /// The header as it is on the wire.
        header: &'a [u8],
        /// Why it cannot be.
        error: DecodeError,
        /// Whether the boundary that it stands behind is a guess.
        is_guessed: bool,
    },
    /// A boundary was found again, after so many bytes that belong to no frame.
    Resumed {
        /// The bytes between.
        skipped: u64,
    },
}

/// Cuts one direction of one connection into frames.
#[derive(Debug)]
pub struct Framer {
    direction: Direction,
    max_message: usize,
    /// The beginning of a frame that is not whole yet; behind a search, also frames that are.
    carry: BytesMut,
    /// How much at the front of `carry` belongs to the frame that was handed out last.
    handed_out: usize,
    /// How much at the front of `carry` was there when the other side spoke last, behind a search.
    late: usize,
    /// The holes in the frame that is handed out, or gathered.
    holes: Vec<Hole>,
    contest: Contest,
    /// Whether the boundaries are a guess, for one was searched.
    is_guessed: bool,
    state: State,
}

/// Which frames have bytes that came a second time, with other content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Contest {
    /// None that is known.
    #[default]
    None,
    /// All to which the bytes that are fed now belong.
    Fed,
    /// The one that is not whole yet.
    UnderWay,
}

#[derive(Debug)]
enum State {
    /// `carry` begins at a boundary.
    Framing,
    /// `carry` has what is kept of a frame that will not be whole.
    Damaged(Damaged),
    /// No boundary is known. `carry` has what was not yet given up.
    Searching {
        skipped: u64,
        search: resync::Search,
        /// How many bytes, of those to come, belong to a message that has begun before, as the beginning of its header told.
        barred: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Damaged {
    header: FrameHeader,
    /// How many bytes of it are still to come, or lost.
    left: u64,
    /// How many were lost.
    lost: u64,
    /// Why bytes of it are missing.
    cut: Cut,
    /// Whether what is still to come is kept.
    keeps: bool,
    /// Whether the boundary before it is a guess.
    is_guessed: bool,
}

#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    tag: Option<u8>,
    len: u32,
    /// The bytes of the header: 5, 4, 1 before an error of protocol 2.0, or 0 before a one-byte answer.
    size: usize,
}

impl FrameHeader {
    /// The bytes of the frame, header and body.
    fn total(self) -> usize {
        // A length word has 32 bits, and a usize no fewer than that on any platform that has libpcap.
        self.len as usize + usize::from(self.tag.is_some())
    }

    const fn is_version_2(self) -> bool {
        self.size == 1
    }
}

enum Parsed {
    /// So many bytes are needed to tell more.
    Need(usize),
    /// An error of protocol 2.0: all up to the next zero byte is needed.
    NeedZero,
    Header(FrameHeader),
    Bad(FrameHeader, DecodeError),
}

impl Framer {
    /// A framer at the beginning of a stream.
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

    /// Gives up the current boundary: what comes next is searched for one.
    pub fn lose(&mut self) {
        if !matches!(self.state, State::Searching { .. }) {
            self.drop_handed_out();
            self.search_from(0);
        }
    }

    /// Takes the boundaries from here on for a guess, until they are [confirmed](Self::confirm).
    pub const fn doubt(&mut self) {
        self.is_guessed = true;
    }

    /// What was guessed is right.
    pub const fn confirm(&mut self) {
        self.is_guessed = self.is_searching();
    }

    /// Whether the boundaries are a guess.
    #[inline]
    pub const fn is_guessed(&self) -> bool {
        self.is_guessed
    }

    /// Whether a message begins with the next byte, as far as boundaries are known; where nothing came yet, it may.
    pub fn is_at_boundary(&self) -> bool {
        let is_empty = self.carry.len() == self.handed_out;
        match self.state {
            State::Framing | State::Searching { skipped: 0, .. } => is_empty,
            State::Damaged(_) | State::Searching { .. } => false,
        }
    }

    /// Gives up the boundary, and so many bytes.
    fn search_from(&mut self, skipped: u64) {
        self.is_guessed = true;
        self.state = State::Searching { skipped, search: resync::Search::from(skipped), barred: 0 };
    }

    /// Whether no boundary is known.
    pub const fn is_searching(&self) -> bool {
        matches!(self.state, State::Searching { .. })
    }

    /// Whether what comes next begins a frame, as far as is known.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Framing) && self.carry.len() <= self.handed_out
    }

    /// Called when the other side sends something: it has received what is being searched, and may be answering it.
    #[inline]
    pub fn other_speaks(&mut self) {
        if self.is_searching() {
            self.late = self.carry.len();
        }
    }

    /// Takes bytes from the front of `input`, and says what they led to.
    ///
    /// To be called again with what is left of the input until it says [`Step::More`], which takes all of it.
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

    /// The tagged frames that lie whole at the front of `input`, one behind the other, as [`Self::next`] would say them. What
    /// is behind them is left to it; and all of it, where something was carried over or is out of the ordinary.
    #[inline]
    pub fn whole<'i>(&self, input: &'i [u8]) -> Option<WholeFrames<'i>> {
        let is_plain = matches!(self.state, State::Framing)
            && self.carry.is_empty()
            && self.contest == Contest::None
            && !self.is_guessed;
        is_plain.then(|| WholeFrames::up_to(self.max_message, self.direction, input))
    }

    /// Tells that nothing more comes before a hole or the end, where a boundary is searched: one that is likely by now is
    /// believed. Then there may be frames to be asked for, with no input.
    pub fn settle(&mut self) -> Step<'_> {
        self.drop_handed_out();
        let State::Searching { skipped, search, .. } = &self.state else { return Step::More };
        let Some(found) = search.settle(self.direction, &self.carry, *skipped) else { return Step::More };
        let at = usize::try_from(found - *skipped).unwrap_or(usize::MAX);
        self.advance(at);
        self.state = State::Framing;
        Step::Resumed { skipped: found }
    }

    /// Tells that `bytes` bytes of the stream were lost here. May complete a frame, which then lacks them.
    ///
    /// What is lost of a body is skipped exactly; a lost header ends what is known of boundaries.
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
                // Where the text of an error ends whose end is lost, is not known.
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
                // Bytes before and behind a hole are no chain.
                *skipped += self.carry.len() as u64;
                *search = resync::Search::from(*skipped);
                *barred = barred.saturating_sub(bytes);
                self.advance(usize::MAX);
                Step::More
            }
        }
    }

    /// Tells that the stream ends here. May give the frame that the end cuts off; else the bytes that belong to none.
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

    /// Gives back memory that others need. Of a frame that is not whole yet the beginning is kept, and its end is found all
    /// the same.
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

    /// Where a frame has begun whose end is not there yet: its type byte, and how many of its bytes have come or were lost.
    pub fn under_way(&self, framing: Framing) -> Option<(Option<u8>, u64)> {
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

    /// Tells that the bytes that are fed now also came with other content.
    pub fn contest_fed(&mut self) {
        self.contest = Contest::Fed;
    }

    /// Tells that what is fed from here on did not; what is under way keeps its mark.
    pub fn contest_ends(&mut self) {
        if self.contest == Contest::Fed {
            self.contest = Contest::None;
            if !self.is_searching() && self.carry.len() > self.handed_out {
                self.contest = Contest::UnderWay;
            }
        }
    }

    /// Tells that the frame that is under way has bytes that also came with other content.
    pub fn contest_under_way(&mut self) {
        self.contest = Contest::UnderWay;
    }

    /// How many bytes are held.
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

    /// Steps over bytes that are carried.
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
            // The buffer is kept for the next frame that spans segments, but a large one is not kept for the rest of the
            // connection.
            if self.carry.capacity() <= KEPT_CAPACITY { self.carry.clear() } else { self.carry = BytesMut::new() }
        }
    }

    /// The common case: nothing is carried over, and the frame is borrowed from the input.
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
                // The search begins behind the first byte, so that the bytes of the header are searched, too.
                self.carry.extend_from_slice(wire.get(1..).unwrap_or_default());
                let is_guessed = self.is_guessed;
                self.search_from(1);
                Step::Malformed { tag: header.tag, len: header.len, header: wire, error, is_guessed }
            }
        }
    }

    /// A frame began earlier: its bytes are gathered.
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
                    // What is handed out here is searched next, all but its first byte.
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

    /// Where the header of a frame that is not whole is known, tells that it never will be. Of a text without its end, so many
    /// bytes that are `lost` are taken for its rest.
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
        let left = header.total().saturating_sub(self.carry.len()) as u64;
        let (keeps, is_guessed) = (cut == Cut::Gap, self.is_guessed);
        self.state = State::Damaged(Damaged { header, left, lost: 0, cut, keeps, is_guessed });
    }

    /// Takes bytes of a frame that will not be whole.
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

    /// Hands out all that is carried as one frame.
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

    /// Whether the frame that is handed out now has bytes that also came with other content.
    fn contest_of_frame(&mut self) -> bool {
        let is_contested = self.contest != Contest::None;
        if self.contest == Contest::UnderWay {
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

/// How many bytes a message has at least of whose header this is the beginning, where that ends within the length word.
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

/// Takes `count` bytes from the front, or as many as there are.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(count).unwrap_or((*input, &[]));
    *input = rest;
    taken
}

/// What the end of a stream leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// Nothing.
    Clean,
    /// A frame without its end.
    Frame(Frame<'a>),
    /// Fewer bytes than a header has.
    Leftover {
        /// How many.
        bytes: u64,
    },
    /// Bytes in which no boundary was found.
    Unresolved {
        /// How many.
        bytes: u64,
    },
}

const fn frame(header: FrameHeader, body: &[u8], missing: u64, cut: Cut) -> Frame<'_> {
    let cut = if missing > 0 { Some(cut) } else { None };
    Frame { missing, cut, is_version_2: header.is_version_2(), ..Frame::whole(header.tag, header.len, body) }
}

/// Reads the header at the front of `bytes`.
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
            // No message has 16 MiB or more here: this byte is the first of a text, and not of a length word.
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

/// Reads the header at the front of `bytes`, which begin with an error of protocol 2.0.
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
