//! Geometric types, in PostgreSQL's text format ("Geometric Types").

use std::fmt::{self, Write};

use super::number::{float, not_finite};
use super::types::Kind;
use crate::reader::Reader;

/// Decodes a shape; `None` if the bytes are invalid.
pub(super) fn shape(kind: Kind, bytes: &[u8]) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let mut float = || reader.u64("coordinate").ok().map(|bits| Float(f64::from_bits(bits)));
    let shown = match kind {
        Kind::Point => format!("({},{})", float()?, float()?),
        Kind::Line => format!("{{{},{},{}}}", float()?, float()?, float()?),
        Kind::Lseg => format!("[({},{}),({},{})]", float()?, float()?, float()?, float()?),
        Kind::Box => format!("({},{}),({},{})", float()?, float()?, float()?, float()?),
        Kind::Circle => format!("<({},{}),{}>", float()?, float()?, float()?),
        Kind::Path => {
            let is_closed = reader.u8("closed").ok()? != 0;
            let points = points(&mut reader)?;
            if is_closed { format!("({points})") } else { format!("[{points}]") }
        }
        Kind::Polygon => format!("({})", points(&mut reader)?),
        _ => return None,
    };
    reader.is_empty().then_some(shown)
}

/// Normalizes the numbers of a shape in text format to the form used for the binary format: of two shortest decimal forms of a
/// double, servers may write the other one.
pub(super) fn from_text(text: &str) -> Option<String> {
    let is_sign = |c: char| "()[]{}<>,".contains(c);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at_checked(rest.find(is_sign)?)?;
        if !number.trim_ascii().is_empty() {
            write!(shown, "{}", Float(float(number)?)).ok()?;
        }
        let (sign, behind) = behind.split_at_checked(1)?;
        shown.push_str(sign);
        rest = behind;
    }
    Some(shown)
}

fn points(reader: &mut Reader<'_>) -> Option<String> {
    let count = reader.u32("number of points").ok()?;
    let mut shown = String::new();
    for index in 0..count {
        let mut float = || reader.u64("coordinate").ok().map(|bits| Float(f64::from_bits(bits)));
        let comma = if index > 0 { "," } else { "" };
        write!(shown, "{comma}({},{})", float()?, float()?).ok()?;
    }
    Some(shown)
}

/// Formats a double like PostgreSQL 12 and later: with the fewest digits, in fixed notation if that is short.
struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_finite() {
            return f.write_str(not_finite(self.0));
        }
        let scientific = format!("{:e}", self.0);
        let (digits, exponent) = scientific.split_once('e').ok_or(fmt::Error)?;
        match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..15).contains(&exponent) => write!(f, "{digits}e{exponent:+03}"),
            _ => self.0.fmt(f),
        }
    }
}
