//! Decoding of text in client encodings to UTF-8.

use std::borrow::Cow;

use encoding_rs as whatwg;

/// A `client_encoding` ("Character Set Support").
///
/// The default is UTF8. It is also used for SQL_ASCII, which allows any bytes, and if the encoding is not known: what is not
/// UTF-8 is then not decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding(
    /// The index of the encoding among all but UTF-8, from 1; 0 is UTF-8. One byte, because every text contains one.
    u8,
);

/// An encoding other than UTF-8.
#[derive(Debug)]
struct Charset {
    /// Its names, normalized to lower-case letters and digits, because PostgreSQL accepts any spelling.
    names: &'static [&'static str],
    decoder: Decoder,
    /// Characters that are replaced after decoding.
    replaced: &'static [(char, char)],
    width: Width,
}

/// The decoder for most characters of an encoding.
#[derive(Clone, Copy, Debug)]
enum Decoder {
    /// ISO 8859-1, which differs from the encoding with the WHATWG's label `iso-8859-1`.
    Latin1,
    /// Big5, without the characters on which the WHATWG's Encoding Standard and PostgreSQL differ.
    Big5,
    /// An encoding of the WHATWG's Encoding Standard.
    Whatwg(&'static whatwg::Encoding),
    /// Only ASCII is decoded.
    Ascii,
}

/// The number of bytes of a non-ASCII character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    One,
    /// Several, none of which looks like ASCII.
    More,
    /// Two, or two pairs. The second byte of each may look like ASCII, the first never does.
    Pairs,
    /// One, or two, of which the second may look like ASCII.
    ShiftJis,
}

// Characters for which PostgreSQL's tables differ from the decoder. They were compared for every character of one and two bytes
// in all encodings, and of three bytes in EUC_JP. The remaining differences are 20 characters of GB18030 that later editions map
// differently; and characters that only PostgreSQL has, such as the user-defined ones of UHC, are not decoded.

/// ISO 8859-9 replaces six letters of ISO 8859-1.
const LATIN5: &[(char, char)] = &[('Ð', 'Ğ'), ('Ý', 'İ'), ('Þ', 'Ş'), ('ð', 'ğ'), ('ý', 'ı'), ('þ', 'ş')];
/// The WHATWG's `koi8-u` has two letters in place of box-drawing characters of RFC 2319.
const KOI8U: &[(char, char)] = &[('ў', '╝'), ('Ў', '╬')];
const EUC_JP: &[(char, char)] = &[('¦', '￤')];
const EUC_CN: &[(char, char)] = &[('·', '・'), ('—', '―')];

/// All encodings but UTF-8.
static CHARSETS: [Charset; 37] = [
    charset(&["latin1", "iso88591"], Decoder::Latin1, &[], Width::One),
    charset(&["latin5", "iso88599"], Decoder::Latin1, LATIN5, Width::One),
    single(&["latin2", "iso88592"], &whatwg::ISO_8859_2_INIT),
    single(&["latin3", "iso88593"], &whatwg::ISO_8859_3_INIT),
    single(&["latin4", "iso88594"], &whatwg::ISO_8859_4_INIT),
    single(&["latin6", "iso885910"], &whatwg::ISO_8859_10_INIT),
    single(&["latin7", "iso885913"], &whatwg::ISO_8859_13_INIT),
    single(&["latin8", "iso885914"], &whatwg::ISO_8859_14_INIT),
    single(&["latin9", "iso885915"], &whatwg::ISO_8859_15_INIT),
    single(&["latin10", "iso885916"], &whatwg::ISO_8859_16_INIT),
    single(&["iso88595"], &whatwg::ISO_8859_5_INIT),
    single(&["iso88596"], &whatwg::ISO_8859_6_INIT),
    single(&["iso88597"], &whatwg::ISO_8859_7_INIT),
    single(&["iso88598"], &whatwg::ISO_8859_8_INIT),
    single(&["win1250", "windows1250"], &whatwg::WINDOWS_1250_INIT),
    single(&["win1251", "windows1251", "win"], &whatwg::WINDOWS_1251_INIT),
    single(&["win1252", "windows1252"], &whatwg::WINDOWS_1252_INIT),
    single(&["win1253", "windows1253"], &whatwg::WINDOWS_1253_INIT),
    single(&["win1254", "windows1254"], &whatwg::WINDOWS_1254_INIT),
    single(&["win1255", "windows1255"], &whatwg::WINDOWS_1255_INIT),
    single(&["win1256", "windows1256"], &whatwg::WINDOWS_1256_INIT),
    single(&["win1257", "windows1257"], &whatwg::WINDOWS_1257_INIT),
    single(&["win1258", "windows1258", "abc", "tcvn", "tcvn5712", "vscii"], &whatwg::WINDOWS_1258_INIT),
    single(&["win866", "windows866", "alt"], &whatwg::IBM866_INIT),
    single(&["win874", "windows874"], &whatwg::WINDOWS_874_INIT),
    single(&["koi8r", "koi8"], &whatwg::KOI8_R_INIT),
    charset(&["koi8u"], Decoder::Whatwg(&whatwg::KOI8_U_INIT), KOI8U, Width::One),
    charset(&["eucjp"], Decoder::Whatwg(&whatwg::EUC_JP_INIT), EUC_JP, Width::More),
    charset(&["euccn"], Decoder::Whatwg(&whatwg::GBK_INIT), EUC_CN, Width::Pairs),
    charset(&["euckr", "uhc", "win949", "windows949"], Decoder::Whatwg(&whatwg::EUC_KR_INIT), &[], Width::Pairs),
    charset(&["gbk", "win936", "windows936"], Decoder::Whatwg(&whatwg::GBK_INIT), &[], Width::Pairs),
    charset(&["gb18030"], Decoder::Whatwg(&whatwg::GB18030_INIT), &[], Width::Pairs),
    charset(&["big5", "win950", "windows950"], Decoder::Big5, &[], Width::Pairs),
    charset(
        &["sjis", "shiftjis", "mskanji", "win932", "windows932"],
        Decoder::Whatwg(&whatwg::SHIFT_JIS_INIT),
        &[],
        Width::ShiftJis,
    ),
    charset(&["shiftjis2004"], Decoder::Ascii, &[], Width::ShiftJis),
    charset(&["johab"], Decoder::Ascii, &[], Width::Pairs),
    charset(&["euctw", "eucjis2004", "muleinternal"], Decoder::Ascii, &[], Width::More),
];

const fn single(names: &'static [&'static str], encoding: &'static whatwg::Encoding) -> Charset {
    charset(names, Decoder::Whatwg(encoding), &[], Width::One)
}

const fn charset(
    names: &'static [&'static str],
    decoder: Decoder,
    replaced: &'static [(char, char)],
    width: Width,
) -> Charset {
    Charset { names, decoder, replaced, width }
}

impl Encoding {
    /// UTF-8.
    pub const UTF8: Self = Self(0);

    /// Returns the encoding with a name, in any spelling that PostgreSQL accepts.
    pub fn named(name: &str) -> Self {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let plain = plain.to_ascii_lowercase();
        let found = (1_u8..).zip(&CHARSETS).find(|(_, charset)| charset.names.contains(&plain.as_str()));
        Self(found.map_or(0, |(place, _)| place))
    }

    fn charset(self) -> Option<&'static Charset> {
        CHARSETS.get(usize::from(self.0).checked_sub(1)?)
    }

    /// Decodes bytes; `None` if they are invalid in this encoding. Borrows UTF-8 and ASCII.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        let Some(charset) = self.charset().filter(|_| !bytes.is_ascii()) else {
            // ASCII is the same in every client encoding, and most text is ASCII.
            return std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
        };
        let text = charset.decoder.decode(bytes)?;
        let other = |character: char| charset.replaced.iter().find(|(from, _)| *from == character);
        Some(if text.contains(|character| other(character).is_some()) {
            text.chars().map(|character| other(character).map_or(character, |(_, to)| *to)).collect()
        } else {
            text
        })
    }

    /// Returns whether it has characters of two bytes whose second byte may look like ASCII.
    pub(crate) fn has_second_bytes(self) -> bool {
        self.has_second_byte(0x81)
    }

    /// Returns whether a byte is the first of two, of which the second may look like ASCII.
    pub(crate) fn has_second_byte(self, lead: u8) -> bool {
        match self.charset().map_or(Width::One, |charset| charset.width) {
            Width::One | Width::More => false,
            Width::Pairs => lead > 0x80,
            Width::ShiftJis => matches!(lead, 0x81..=0x9f | 0xe0..=0xfc),
        }
    }

    /// Returns whether text that was cut inside a character may be misread as other characters: in all multibyte encodings except
    /// UTF-8.
    pub(crate) fn is_misread_when_cut(self) -> bool {
        self.charset().is_some_and(|charset| charset.width != Width::One)
    }
}

impl Decoder {
    fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        let encoding = match self {
            Self::Latin1 => return Some(whatwg::mem::decode_latin1(bytes)),
            Self::Big5 if has_disputed_big5(bytes) => return None,
            Self::Big5 => whatwg::BIG5,
            Self::Whatwg(encoding) => encoding,
            Self::Ascii => return None,
        };
        encoding.decode_without_bom_handling_and_without_replacement(bytes)
    }
}

/// Returns whether the text contains a character for which PostgreSQL's table of Big5 differs from the WHATWG's.
fn has_disputed_big5(bytes: &[u8]) -> bool {
    let mut bytes = bytes.iter().copied();
    while let Some(lead) = bytes.next() {
        if lead < 0x80 {
            continue;
        }
        match u16::from_be_bytes([lead, bytes.next().unwrap_or_default()]) {
            0xa145 | 0xa14e | 0xa15a | 0xa1c2 | 0xa1c3 | 0xa1c5 | 0xa1e3 | 0xa1f2 | 0xa1f3 | 0xa1fe => return true,
            0xa240..=0xa242 | 0xa244 | 0xa246 | 0xa247 | 0xa2cc | 0xa2ce | 0xc6a1..=0xc7fc => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_in_any_spelling_and_belong_to_one_encoding() {
        for (name, expected) in [("LATIN1", "ï"), ("ISO-8859-1", "ï"), ("win1251", "п"), ("ISO_8859_5", "я")] {
            assert_eq!(Encoding::named(name).decode(b"\xef").as_deref(), Some(expected), "{name}");
        }
        for name in ["UTF8", "UNICODE", "SQL_ASCII", "", "no such encoding"] {
            assert_eq!(Encoding::named(name), Encoding::UTF8);
        }
        let names: Vec<_> = CHARSETS.iter().flat_map(|charset| charset.names).collect();
        assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1));
    }

    #[test]
    fn ascii_is_ascii_everywhere() {
        let ascii: Vec<u8> = (0..0x80).collect();
        for name in CHARSETS.iter().flat_map(|charset| charset.names) {
            assert_eq!(Encoding::named(name).decode(&ascii).unwrap().as_bytes(), ascii, "{name}");
        }
    }
}
