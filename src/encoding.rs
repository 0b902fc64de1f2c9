//! Text in the encoding of the client, as UTF-8.

use std::borrow::Cow;

use encoding_rs as whatwg;

/// A `client_encoding` ("Character Set Support").
///
/// The default is UTF8; also SQL_ASCII, which stands for any bytes, and what was not told: what is not UTF-8 is not text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding(
    /// Its place among all but UTF-8, from 1; 0 is UTF-8. A byte, for every text has one.
    u8,
);

/// An encoding other than UTF-8.
#[derive(Debug)]
struct Charset {
    /// Its names, of which PostgreSQL takes any spelling: letters and digits alone, in lower case.
    names: &'static [&'static str],
    decoder: Decoder,
    /// Characters that are replaced when it is decoded.
    replaced: &'static [(char, char)],
    width: Width,
}

/// What decodes most of an encoding.
#[derive(Clone, Copy, Debug)]
enum Decoder {
    /// ISO 8859-1, of which the WHATWG's label `iso-8859-1` is none.
    Latin1,
    /// Big5, less the characters on which the WHATWG's Encoding Standard and PostgreSQL disagree.
    Big5,
    /// An encoding of the WHATWG's Encoding Standard.
    Whatwg(&'static whatwg::Encoding),
    /// Only ASCII is read.
    Ascii,
}

/// How many bytes a character has that is not ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    One,
    /// More, none of which looks like ASCII.
    More,
    /// Two, or two pairs. The second of each may look like ASCII, the first never does.
    Pairs,
    /// One, or two, of which the second may look like ASCII.
    ShiftJis,
}

// What PostgreSQL's tables have where the decoder has something else. They were compared for every character of one and two
// bytes of every encoding, and of three in EUC_JP. What is left are 20 of GB18030 that later editions of it have elsewhere
// in Unicode; and what only PostgreSQL has, such as the user-defined characters of UHC, is not decoded.

/// ISO 8859-9 has six letters that ISO 8859-1 has not.
const LATIN5: &[(char, char)] = &[('Ð', 'Ğ'), ('Ý', 'İ'), ('Þ', 'Ş'), ('ð', 'ğ'), ('ý', 'ı'), ('þ', 'ş')];
/// The WHATWG's `koi8-u` has two letters where that of RFC 2319 has lines of boxes.
const KOI8U: &[(char, char)] = &[('ў', '╝'), ('Ў', '╬')];
const EUC_JP: &[(char, char)] = &[('¦', '￤')];
const EUC_CN: &[(char, char)] = &[('·', '・'), ('—', '―')];

/// All but UTF-8.
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

    /// The encoding of a name, in any of the spellings that PostgreSQL takes.
    pub fn named(name: &str) -> Self {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let plain = plain.to_ascii_lowercase();
        let found = (1_u8..).zip(&CHARSETS).find(|(_, charset)| charset.names.contains(&plain.as_str()));
        Self(found.map_or(0, |(place, _)| place))
    }

    fn charset(self) -> Option<&'static Charset> {
        CHARSETS.get(usize::from(self.0).checked_sub(1)?)
    }

    /// The text that bytes are; nothing where they are none in this encoding. Borrows UTF-8 and ASCII.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        let Some(charset) = self.charset().filter(|_| !bytes.is_ascii()) else {
            // Every client encoding has ASCII for ASCII, and most text is nothing else.
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

    /// Whether it has characters of two bytes of which the second may look like ASCII.
    pub(crate) fn has_second_bytes(self) -> bool {
        self.has_second_byte(0x81)
    }

    /// Whether a byte is the first of two, of which the second may look like ASCII.
    pub(crate) fn has_second_byte(self, lead: u8) -> bool {
        match self.charset().map_or(Width::One, |charset| charset.width) {
            Width::One | Width::More => false,
            Width::Pairs => lead > 0x80,
            Width::ShiftJis => matches!(lead, 0x81..=0x9f | 0xe0..=0xfc),
        }
    }

    /// Whether what is behind a cut inside a character can be taken for other characters: so it is where they have several
    /// bytes, but for UTF-8.
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

/// Whether a character is in the text for which PostgreSQL's table of Big5 has another than the WHATWG's.
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
    fn names_are_taken_in_any_spelling_and_belong_to_one_encoding() {
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
