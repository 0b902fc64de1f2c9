//! Network addresses ("Network Address Types").

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::reader::Reader;

/// Decodes an `inet`, or a `cidr`, which always has its prefix length.
pub(super) fn address(bytes: &[u8], is_cidr: bool) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let family = reader.u8("family").ok()?;
    let prefix = reader.u8("prefix length").ok()?;
    let _ = reader.u8("is cidr").ok()?;
    let length = reader.u8("length").ok()?;
    let address = reader.rest();
    if address.len() != usize::from(length) {
        return None;
    }
    let (address, longest) = match family {
        2 => (Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).to_string(), 32),
        3 => (ipv6(<[u8; 16]>::try_from(address).ok()?.into()), 128),
        _ => return None,
    };
    match prefix {
        _ if prefix > longest => None,
        _ if prefix == longest && !is_cidr => Some(address),
        _ => Some(format!("{address}/{prefix}")),
    }
}

/// Formats an IPv6 address like PostgreSQL: the end is written like IPv4 also after exactly 96 zero bits.
fn ipv6(address: Ipv6Addr) -> String {
    let value = u128::from(address);
    match u32::try_from(value) {
        Ok(low) if low > 0xffff => format!("::{}", Ipv4Addr::from(low)),
        _ => address.to_string(),
    }
}

/// Decodes a `macaddr` or `macaddr8`.
pub(super) fn hardware_address(bytes: &[u8]) -> Option<String> {
    if !matches!(bytes.len(), 6 | 8) {
        return None;
    }
    let mut shown = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        write!(shown, "{}{byte:02x}", if index > 0 { ":" } else { "" }).ok()?;
    }
    Some(shown)
}
