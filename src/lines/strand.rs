//! Lines of packets that are dissected side by side: made in the thread that dissects, and put in the order of the packets
//! when they are written.

use std::io::{self, IoSlice};

use pgdissect::dissector::Sink;
use pgdissect::output::Form as _;
use pgdissect::pg::message::Decoded;
use pgdissect::record::{Record, Told, ToldData};

use super::Selection;
use super::form::Form;
use super::out::Out;

/// How many pieces are written at once: what a system call takes.
const PIECES: usize = 1_024;

/// Makes the lines of one thread; apart from what other threads write to.
#[repr(align(128))]
pub(super) struct Strand {
    pub(super) selection: Selection,
    pub(super) form: Form,
    pub(super) text: Text,
    pub(super) error: Option<io::Error>,
}

/// Lines, and how far those of each packet go that has some, in order.
#[derive(Default)]
pub(super) struct Text {
    lines: Vec<u8>,
    ends: Vec<(u64, usize)>,
}

impl Sink for Strand {
    fn record(&mut self, record: &Record<'_>) {
        if self.selection.wants(record) {
            self.make(|form, lines| form.record(lines, record).map(|()| 0));
        }
    }

    fn message<'a>(&mut self, told: &Told<'a>, decoded: &mut Option<Decoded<'a>>) -> u64 {
        if !self.selection.wants_message(|| told.name(decoded.as_ref())) {
            return 0;
        }
        self.make(|form, lines| form.message(lines, told, decoded))
    }

    fn data(&mut self, data: &ToldData<'_>) -> u64 {
        // Where only so many messages are wanted, nothing is dissected side by side.
        if self.selection.wants_of(data) < data.count {
            return 0;
        }
        self.make(|form, lines| form.data(lines, data))
    }

    fn end_packet(&mut self, packet: u64) {
        let Text { lines, ends } = &mut self.text;
        if lines.len() > ends.last().map_or(0, |(_, end)| *end) {
            ends.push((packet, lines.len()));
        }
    }
}

impl Strand {
    /// Gives what `make` says.
    fn make(&mut self, make: impl FnOnce(&mut Form, &mut Vec<u8>) -> io::Result<u64>) -> u64 {
        if self.error.is_some() {
            return 0;
        }
        match make(&mut self.form, &mut self.text.lines) {
            Ok(said) => said,
            Err(error) => {
                self.error = Some(error);
                0
            }
        }
    }
}

impl Text {
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.lines.shrink_to(4 * super::KEPT);
        self.ends.clear();
    }
}

/// Writes lines in the order of their packets.
pub(super) fn weave(texts: &[Text], out: &mut Out) -> io::Result<()> {
    let packets = || texts.iter().flat_map(|text| &text.ends).map(|(packet, _)| *packet);
    let (Some(first), Some(last)) = (packets().min(), packets().max()) else { return Ok(()) };
    // Whose the lines of each packet are: a packet has those of one connection, in one text.
    let mut places = vec![(0, 0, 0); (last - first) as usize + 1];
    for (text, Text { ends, .. }) in texts.iter().enumerate() {
        let mut start = 0;
        for (packet, end) in ends {
            if let Some(place) = places.get_mut((packet - first) as usize) {
                *place = (text, start, *end);
            }
            start = *end;
        }
    }
    let mut pieces = Vec::with_capacity(PIECES);
    let mut places = places.into_iter().filter(|(_, start, end)| start < end).peekable();
    while let Some((text, start, mut end)) = places.next() {
        while let Some((.., further)) = places.next_if(|(next, start, _)| (*next, *start) == (text, end)) {
            end = further;
        }
        let lines = texts.get(text).and_then(|text| text.lines.get(start..end));
        pieces.push(IoSlice::new(lines.unwrap_or_default()));
        if pieces.len() == PIECES {
            out.write_pieces(&mut pieces)?;
            pieces.clear();
        }
    }
    out.write_pieces(&mut pieces)
}
