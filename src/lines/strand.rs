//! Lines of packets that are dissected side by side: made in the thread that dissects, and put in the order of the packets
//! when they are written.

use std::io::{self, IoSlice};

use pgdissect::dissector::Sink;
use pgdissect::record::Record;

use super::Selection;
use super::form::Form;
use super::out::Out;

/// How many pieces are written at once: what a system call takes.
const PIECES: usize = 1_024;

/// Makes the lines of one thread.
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
        if !self.selection.wants(record) || self.error.is_some() {
            return;
        }
        if let Err(error) = self.form.line(&mut self.text.lines, record) {
            self.error = Some(error);
        }
    }

    fn end_packet(&mut self, packet: u64) {
        let Text { lines, ends } = &mut self.text;
        if lines.len() > ends.last().map_or(0, |(_, end)| *end) {
            ends.push((packet, lines.len()));
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
    let texts: Vec<_> = texts.iter().filter(|text| !text.ends.is_empty()).collect();
    let mut strands: Vec<_> = texts.iter().map(|text| (text.ends.iter().peekable(), 0)).collect();
    let mut pieces = Vec::with_capacity(PIECES);
    loop {
        // Each packet is in one of them.
        let next = strands.iter_mut().map(|(ends, _)| ends.peek().map(|(packet, _)| *packet)).enumerate();
        let Some((strand, _)) = next.filter_map(|(strand, packet)| Some((strand, packet?))).min_by_key(|next| next.1)
        else {
            break;
        };
        let others = strands.iter_mut().enumerate().filter(|(other, _)| *other != strand);
        let until =
            others.filter_map(|(_, (ends, _))| ends.peek().map(|(packet, _)| *packet)).min().unwrap_or(u64::MAX);
        let (Some((ends, start)), Some(text)) = (strands.get_mut(strand), texts.get(strand)) else { break };
        let mut end = *start;
        while let Some((_, next)) = ends.next_if(|(packet, _)| *packet < until) {
            end = *next;
        }
        pieces.push(IoSlice::new(text.lines.get(*start..end).unwrap_or_default()));
        *start = end;
        if pieces.len() == PIECES {
            out.write_pieces(&mut pieces)?;
            pieces.clear();
        }
    }
    out.write_pieces(&mut pieces)
}
