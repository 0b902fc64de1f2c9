//! Where secrets are in what the server sends.

use memchr::memmem;

use super::{Known, MOST, PREFIX, SHORT, Secrets};

/// What stands between texts that are searched as one. Texts do not have it, and where values in binary do, too much is masked.
pub(super) const SEPARATOR: u8 = 0;

impl Secrets {
    /// Where bytes are in hex in a text that have a secret in them, as values of type bytea are written.
    fn places_in_hex(&self, text: &[u8]) -> Vec<(usize, usize)> {
        // All of them are searched at once, with something between them.
        let mut bytes = Vec::new();
        let mut written = Vec::new();
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| memmem::find(rest, b"\\x")) {
            let start = from + found + 2;
            let len = text.get(start..).unwrap_or_default().iter().take_while(|b| b.is_ascii_hexdigit()).count();
            from = start + len;
            let digits = text.get(start..from).unwrap_or_default().as_chunks::<2>().0;
            if digits.len() >= SHORT {
                bytes.extend(digits.iter().map(hex_byte));
                bytes.push(SEPARATOR);
                written.push((bytes.len(), start, from));
            }
        }
        if bytes.is_empty() {
            return Vec::new();
        }
        let mut places = self.places(&bytes, false).into_iter().peekable();
        let mut first = 0;
        written.retain(|(end, ..)| {
            while places.next_if(|(_, last)| *last <= first).is_some() {}
            first = *end;
            places.peek().is_some_and(|(start, _)| start < end)
        });
        written.into_iter().map(|(_, start, end)| (start, end)).collect()
    }

    /// Where secrets are in a text, in order and apart. Where it is several, a [`SEPARATOR`] is between them.
    pub(super) fn places(&self, text: &[u8], is_cut: bool) -> Vec<(usize, usize)> {
        let folded = Folded::of(text);
        let mut places = Vec::new();
        let beginnings = self.beginnings.get_or_init(|| Beginnings::of(&self.known));
        let begun = beginnings.that_may_be_in(&folded.bytes);
        for (number, known) in (0..).zip(&self.known) {
            let may_be_in = begun >> number & 1 != 0;
            if !may_be_in && !is_cut {
                continue;
            }
            // Each is found in a time that depends on the text alone.
            let place = |start: usize, len: usize| {
                let end = folded.end_of(start + len, text);
                let goes_on = known.is_cut && len == known.text.len();
                let rest = text.get(end..).filter(|_| goes_on);
                let rest = rest.map_or(0, |rest| memchr::memchr(SEPARATOR, rest).unwrap_or(rest.len()));
                (folded.at(start, text), end + rest)
            };
            for start in memmem::find_iter(&folded.bytes, &*known.text).take_while(|_| may_be_in) {
                let end = start + known.text.len();
                if known.text.len() >= SHORT || folded.is_word_end(start) && folded.is_word_end(end) {
                    places.push(place(start, known.text.len()));
                }
            }
            // Its beginning, and as much as is there of it.
            let mut from = 0;
            while may_be_in
                && let Some(prefix) = known.text.get(..PREFIX)
                && let Some(rest) = folded.bytes.get(from..)
                && let Some(found) = memmem::find(rest, prefix)
            {
                let rest = rest.get(found..).unwrap_or_default();
                let len = known.text.iter().zip(rest).take_while(|(a, b)| a == b).count();
                places.push(place(from + found, len));
                from += found + len;
            }
            if is_cut {
                let ends = (1..known.text.len().min(folded.bytes.len() + 1)).rev();
                let len =
                    { ends }.find(|len| known.text.get(..*len).is_some_and(|start| folded.bytes.ends_with(start)));
                if let Some(len) = len {
                    places.push((folded.at(folded.bytes.len() - len, text), text.len()));
                }
            }
        }
        places.extend(self.places_in_hex(text));
        places.sort_unstable();
        let mut apart: Vec<(usize, usize)> = Vec::with_capacity(places.len());
        for (start, end) in places {
            match apart.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => apart.push((start, end)),
            }
        }
        apart
    }
}

/// The first bytes of all secrets that are known: for each byte a bit for each secret that has it there, or ends before.
#[derive(Debug)]
pub(super) struct Beginnings([[u64; 256]; 4]);

impl Beginnings {
    fn of(known: &[Known]) -> Box<Self> {
        let mut beginnings = Box::new(Self([[0; 256]; 4]));
        for (number, known) in (0..MOST).zip(known) {
            for (at, table) in beginnings.0.iter_mut().enumerate() {
                match known.text.get(at) {
                    Some(byte) => {
                        if let Some(secrets) = table.get_mut(usize::from(*byte)) {
                            *secrets |= 1 << number;
                        }
                    }
                    None => table.iter_mut().for_each(|secrets| *secrets |= 1 << number),
                }
            }
        }
        beginnings
    }

    /// Which secrets may be in bytes: a bit for each.
    fn that_may_be_in(&self, bytes: &[u8]) -> u64 {
        let Self([first, second, third, fourth]) = self;
        let with = |table: &[u64; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or_default();
        let all = bytes.windows(4).fold(0, |any, bytes| match bytes {
            [a, b, c, d] => any | with(first, *a) & with(second, *b) & with(third, *c) & with(fourth, *d),
            _ => any,
        });
        // What the end cuts off is as it should be.
        let last = bytes.get(bytes.len().saturating_sub(3)..).unwrap_or_default();
        (0..last.len()).fold(all, |any, at| {
            let begun = last.get(at..).unwrap_or_default().iter().zip(&self.0);
            any | begun.fold(u64::MAX, |all, (byte, table)| all & with(table, *byte))
        })
    }
}

/// A text without quotes and backslashes, in small letters, and where its bytes were.
pub(super) struct Folded {
    pub(super) bytes: Vec<u8>,
    places: Vec<u32>,
}

impl Folded {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut folded = Self { bytes: Vec::with_capacity(text.len()), places: Vec::with_capacity(text.len()) };
        for (at, byte) in (0..).zip(text) {
            if !matches!(byte, b'\'' | b'"' | b'\\') {
                folded.bytes.push(byte.to_ascii_lowercase());
                folded.places.push(at);
            }
        }
        folded
    }

    fn at(&self, index: usize, text: &[u8]) -> usize {
        self.places.get(index).map_or(text.len(), |at| *at as usize)
    }

    /// Where what ends before an index ends in the text.
    fn end_of(&self, index: usize, text: &[u8]) -> usize {
        index.checked_sub(1).and_then(|last| self.places.get(last)).map_or(text.len(), |last| *last as usize + 1)
    }

    /// Whether no word goes on at an index.
    fn is_word_end(&self, index: usize) -> bool {
        let is_letter = |at: usize| self.bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80);
        let are_apart = match (index.checked_sub(1).and_then(|at| self.places.get(at)), self.places.get(index)) {
            (Some(before), Some(behind)) => behind - before > 1,
            _ => true,
        };
        are_apart || !index.checked_sub(1).is_some_and(is_letter) || !is_letter(index)
    }
}

/// The byte that two digits stand for.
pub(super) fn hex_byte([high, low]: &[u8; 2]) -> u8 {
    let digit = |b: u8| char::from(b).to_digit(16).unwrap_or_default() as u8;
    digit(*high) << 4 | digit(*low)
}
