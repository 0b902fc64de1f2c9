//! Text in the encoding of the client, as UTF-8.

use std::borrow::Cow;

use encoding_rs as whatwg;

/// A `client_encoding` ("Character Set Support").
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Encoding {
    /// UTF8; also SQL_ASCII, which stands for any bytes, and what was not told: what is not UTF-8 is not text.
    #[default]
    Utf8,
    /// One whose text is decoded, and then has some characters replaced.
    Decoded(Decoder, &'static [(char, char)]),
    /// EUC_TW, EUC_JIS_2004, SHIFT_JIS_2004, JOHAB, MULE_INTERNAL: only ASCII is read.
    Ascii,
}

/// What decodes most of an encoding.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decoder {
    /// ISO 8859-1, of which the WHATWG's label `iso-8859-1` is none.
    Latin1,
    /// Big5, less the characters on which the WHATWG's Encoding Standard and PostgreSQL disagree.
    Big5,
    /// An encoding of the WHATWG's Encoding Standard.
    Whatwg(&'static whatwg::Encoding),
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

impl Encoding {
    /// The encoding of a name, in any of the spellings that PostgreSQL takes.
    pub(super) fn named(name: &str) -> Self {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let whatwg = match plain.to_ascii_lowercase().as_str() {
            "latin1" | "iso88591" => return Self::Decoded(Decoder::Latin1, &[]),
            "latin5" | "iso88599" => return Self::Decoded(Decoder::Latin1, LATIN5),
            "koi8u" => return Self::Decoded(Decoder::Whatwg(whatwg::KOI8_U), KOI8U),
            "eucjp" => return Self::Decoded(Decoder::Whatwg(whatwg::EUC_JP), EUC_JP),
            "euccn" => return Self::Decoded(Decoder::Whatwg(whatwg::GBK), EUC_CN),
            "big5" | "win950" | "windows950" => return Self::Decoded(Decoder::Big5, &[]),
            "latin2" | "iso88592" => whatwg::ISO_8859_2,
            "latin3" | "iso88593" => whatwg::ISO_8859_3,
            "latin4" | "iso88594" => whatwg::ISO_8859_4,
            "latin6" | "iso885910" => whatwg::ISO_8859_10,
            "latin7" | "iso885913" => whatwg::ISO_8859_13,
            "latin8" | "iso885914" => whatwg::ISO_8859_14,
            "latin9" | "iso885915" => whatwg::ISO_8859_15,
            "latin10" | "iso885916" => whatwg::ISO_8859_16,
            "iso88595" => whatwg::ISO_8859_5,
            "iso88596" => whatwg::ISO_8859_6,
            "iso88597" => whatwg::ISO_8859_7,
            "iso88598" => whatwg::ISO_8859_8,
            "win1250" | "windows1250" => whatwg::WINDOWS_1250,
            "win1251" | "windows1251" | "win" => whatwg::WINDOWS_1251,
            "win1252" | "windows1252" => whatwg::WINDOWS_1252,
            "win1253" | "windows1253" => whatwg::WINDOWS_1253,
            "win1254" | "windows1254" => whatwg::WINDOWS_1254,
            "win1255" | "windows1255" => whatwg::WINDOWS_1255,
            "win1256" | "windows1256" => whatwg::WINDOWS_1256,
            "win1257" | "windows1257" => whatwg::WINDOWS_1257,
            "win1258" | "windows1258" | "abc" | "tcvn" | "tcvn5712" | "vscii" => whatwg::WINDOWS_1258,
            "win866" | "windows866" | "alt" => whatwg::IBM866,
            "win874" | "windows874" => whatwg::WINDOWS_874,
            "koi8r" | "koi8" => whatwg::KOI8_R,
            "sjis" | "shiftjis" | "mskanji" | "win932" | "windows932" => whatwg::SHIFT_JIS,
            "euckr" | "uhc" | "win949" | "windows949" => whatwg::EUC_KR,
            "gbk" | "win936" | "windows936" => whatwg::GBK,
            "gb18030" => whatwg::GB18030,
            "euctw" | "eucjis2004" | "shiftjis2004" | "johab" | "muleinternal" => return Self::Ascii,
            _ => return Self::Utf8,
        };
        Self::Decoded(Decoder::Whatwg(whatwg), &[])
    }

    /// The text that bytes are; nothing where they are none in this encoding.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            // Every client encoding has ASCII for ASCII, and most text is nothing else.
            _ if bytes.is_ascii() => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Ascii => None,
            Self::Decoded(decoder, replaced) => {
                let text = decoder.decode(bytes)?;
                let other = |character: char| replaced.iter().find(|(from, _)| *from == character);
                Some(if text.contains(|character| other(character).is_some()) {
                    text.chars().map(|character| other(character).map_or(character, |(_, to)| *to)).collect()
                } else {
                    text
                })
            }
        }
    }

    /// Whether it has characters of two bytes of which the second may look like ASCII.
    pub(super) fn has_second_bytes(self) -> bool {
        self.has_second_byte(0x81)
    }

    /// Whether a byte is the first of two, of which the second may look like ASCII.
    pub(super) fn has_second_byte(self, lead: u8) -> bool {
        match self {
            Self::Decoded(Decoder::Big5, _) => lead > 0x80,
            Self::Decoded(Decoder::Whatwg(encoding), _) if encoding == whatwg::SHIFT_JIS => {
                matches!(lead, 0x81..=0x9f | 0xe0..=0xfc)
            }
            Self::Decoded(Decoder::Whatwg(encoding), _) => {
                lead > 0x80 && [whatwg::GBK, whatwg::GB18030, whatwg::EUC_KR].contains(&encoding)
            }
            Self::Decoded(Decoder::Latin1, _) | Self::Utf8 | Self::Ascii => false,
        }
    }
}

impl Decoder {
    fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        let encoding = match self {
            Self::Latin1 => return Some(whatwg::mem::decode_latin1(bytes)),
            Self::Big5 if has_disputed_big5(bytes) => return None,
            Self::Big5 => whatwg::BIG5,
            Self::Whatwg(encoding) => encoding,
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
