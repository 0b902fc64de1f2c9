//! Texts and rows without the secrets that they repeat.

use std::borrow::Cow;

use super::search::SEPARATOR;
use super::{PREFIX, Secrets};
use crate::encoding::Encoding;
use crate::pg::error::{self, Quotes};
use crate::pg::text::Text;
use crate::sql::secret::MASK;

impl Secrets {
    /// The body of an ErrorResponse or a NoticeResponse without the secrets that its texts repeat, where they do.
    pub(in crate::session) fn mask_fields(&self, body: &[u8], encoding: Encoding, is_cut: bool) -> Option<Vec<u8>> {
        let mut masked = Vec::with_capacity(body.len());
        let mut is_masked = false;
        let mut rest = body;
        while let [code, behind @ ..] = rest {
            masked.push(*code);
            if *code == 0 {
                masked.extend_from_slice(behind);
                break;
            }
            let end = memchr::memchr(0, behind);
            let (text, behind) = behind.split_at_checked(end.unwrap_or(behind.len()))?;
            let shown = match error::quotes(*code) {
                Quotes::Nothing => Cow::Borrowed(text),
                Quotes::Anything if self.is_uncertain => Cow::Borrowed(MASK.as_bytes()),
                _ => self.mask(text, encoding, is_cut && end.is_none()),
            };
            is_masked |= *shown != *text;
            masked.extend_from_slice(&shown);
            masked.extend_from_slice(behind.get(..1).unwrap_or_default());
            rest = behind.get(1..).unwrap_or_default();
        }
        is_masked.then_some(masked)
    }

    /// The body of a ParameterStatus or a NotificationResponse without the secrets that its last string repeats, where it does.
    pub(in crate::session) fn mask_last(&self, body: &[u8], encoding: Encoding, is_cut: bool) -> Option<Vec<u8>> {
        let (strings, end) = body.split_at_checked(body.len() - usize::from(body.last() == Some(&0)))?;
        let (before, text) = strings.split_at_checked(memchr::memrchr(0, strings)? + 1)?;
        let masked = self.mask(text, encoding, is_cut && end.is_empty());
        (*masked != *text).then(|| [before, &masked, end].concat())
    }

    /// The body of a DataRow with `***` for the values that repeat a secret, where some do. All values are searched at once: a
    /// row may have thousands.
    pub(in crate::session) fn mask_row(&self, body: &[u8], is_cut: bool) -> Option<Vec<u8>> {
        let (count, rest) = body.split_first_chunk::<2>()?;
        let shortest = self.known.iter().map(|known| known.text.len().min(PREFIX)).min()?;
        let sizes = 4 * usize::from(u16::from_be_bytes(*count));
        if rest.len() < sizes + shortest && !is_cut {
            return None;
        }
        let mut values = Vec::with_capacity(rest.len());
        for (_, value) in row_values(rest) {
            values.extend_from_slice(value.unwrap_or_default());
            values.push(SEPARATOR);
        }
        values.pop();
        let places = self.places(&values, is_cut);
        if places.is_empty() {
            return None;
        }
        let mut places = places.into_iter().peekable();
        let mut masked = count.to_vec();
        let (mut start, mut left) = (0, rest);
        for (size, value) in row_values(rest) {
            let end = start + value.map_or(0, <[u8]>::len);
            while places.next_if(|(_, last)| *last <= start).is_some() {}
            if start < end && places.peek().is_some_and(|(first, _)| *first < end) {
                masked.extend_from_slice(&(MASK.len() as i32).to_be_bytes());
                masked.extend_from_slice(MASK.as_bytes());
            } else {
                masked.extend_from_slice(size);
                masked.extend_from_slice(value.unwrap_or_default());
            }
            start = end + 1;
            left = left.get(4 + value.map_or(0, <[u8]>::len)..).unwrap_or_default();
        }
        masked.extend_from_slice(left);
        Some(masked)
    }

    /// A text without the secrets, where it has some. One that `is_cut` may end inside a secret.
    pub(in crate::session) fn mask<'a>(&self, text: &'a [u8], encoding: Encoding, is_cut: bool) -> Cow<'a, [u8]> {
        let kept = Text(text, encoding).kept();
        let read = kept.get();
        let places = self.places(read.0, is_cut);
        let is_text = std::str::from_utf8(read.0).is_ok();
        if read.0 != text || !is_text {
            // In another encoding, or not in the one that it should be in.
            let is_hidden = !places.is_empty() || !is_text && self.known.iter().any(|known| !known.text.is_ascii());
            return if is_hidden { Cow::Borrowed(MASK.as_bytes()) } else { Cow::Borrowed(text) };
        }
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut kept = 0;
        for (start, end) in places {
            masked.extend_from_slice(text.get(kept..start).unwrap_or_default());
            masked.extend_from_slice(MASK.as_bytes());
            kept = end;
        }
        masked.extend_from_slice(text.get(kept..).unwrap_or_default());
        Cow::Owned(masked)
    }
}

/// The values of a row, with their sizes; the last one may be cut.
fn row_values(rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], Option<&[u8]>)> {
    let mut rest = rest;
    std::iter::from_fn(move || {
        let (size, behind) = rest.split_first_chunk::<4>()?;
        let Ok(len) = usize::try_from(i32::from_be_bytes(*size)) else {
            rest = behind;
            return Some((size, None));
        };
        let (value, behind) = behind.split_at_checked(len).unwrap_or((behind, b""));
        rest = behind;
        Some((size, Some(value)))
    })
}
