//! Text in the encoding of the client, as UTF-8.

use std::borrow::Cow;

use encoding_rs as whatwg;

/// A `client_encoding` ("Character Set Support").
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Encoding {
    /// UTF8; also SQL_ASCII, which stands for any bytes, and what was not told: what is not UTF-8 is not text.
    #[default]
    Utf8,
    /// LATIN1: ISO 8859-1, of which the WHATWG's label `iso-8859-1` is none.
    Latin1,
    /// LATIN5: ISO 8859-9, which is windows-1254 but for the C1 controls.
    Latin5,
    /// KOI8U (RFC 2319), of which the WHATWG's `koi8-u` has two letters of another alphabet.
    Koi8U,
    /// One that the WHATWG's Encoding Standard has, too.
    Whatwg(&'static whatwg::Encoding),
    /// EUC_TW, EUC_JIS_2004, SHIFT_JIS_2004, JOHAB, MULE_INTERNAL: only ASCII is read.
    Ascii,
}

impl Encoding {
    /// The encoding of a name, in any of the spellings that PostgreSQL takes.
    pub(super) fn named(name: &str) -> Self {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Self::Whatwg(match plain.to_ascii_lowercase().as_str() {
            "latin1" | "iso88591" => return Self::Latin1,
            "latin5" | "iso88599" => return Self::Latin5,
            "koi8u" => return Self::Koi8U,
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
            "eucjp" => whatwg::EUC_JP,
            "sjis" | "shiftjis" | "mskanji" | "win932" | "windows932" => whatwg::SHIFT_JIS,
            "euckr" | "uhc" | "win949" | "windows949" => whatwg::EUC_KR,
            "euccn" | "gbk" | "win936" | "windows936" => whatwg::GBK,
            "gb18030" => whatwg::GB18030,
            "big5" | "win950" | "windows950" => whatwg::BIG5,
            "euctw" | "eucjis2004" | "shiftjis2004" | "johab" | "muleinternal" => return Self::Ascii,
            _ => return Self::Utf8,
        })
    }

    /// The text that bytes are; nothing where they are none in this encoding.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            // Every client encoding has ASCII for ASCII, and most text is nothing else.
            _ if bytes.is_ascii() => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Ascii => None,
            Self::Latin1 => Some(whatwg::mem::decode_latin1(bytes)),
            Self::Latin5 => Some(whatwg::WINDOWS_1254.decode_without_bom_handling(bytes).0)
                .map(|text| replace(&text, bytes, |byte| (0x80..0xa0).contains(&byte).then(|| char::from(byte)))),
            Self::Koi8U => Some(whatwg::KOI8_U.decode_without_bom_handling(bytes).0).map(|text| {
                replace(&text, bytes, |byte| match byte {
                    0xae => Some('╝'),
                    0xbe => Some('╬'),
                    _ => None,
                })
            }),
            Self::Whatwg(encoding) => encoding.decode_without_bom_handling_and_without_replacement(bytes),
        }
    }
}

/// Text of an encoding with one byte a character, where some bytes stand for other characters.
fn replace<'a>(text: &str, bytes: &[u8], other: impl Fn(u8) -> Option<char>) -> Cow<'a, str> {
    text.chars().zip(bytes).map(|(character, byte)| other(*byte).unwrap_or(character)).collect()
}
