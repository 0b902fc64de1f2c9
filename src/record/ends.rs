//! The two ends of a connection in parts, for tables that are joined or grouped by an address or a port alone.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::Header;

/// A header with both ends in parts as well.
#[derive(Serialize, JsonSchema)]
pub(super) struct HeaderWithEnds<'a> {
    #[serde(flatten)]
    header: Header<'a>,
    #[serde(flatten)]
    ends: Ends<'a>,
}

/// Both ends of a connection in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Ends<'a> {
    /// The client's address, without brackets.
    pub(crate) client_ip: &'a str,
    /// The client's port.
    pub(crate) client_port: u16,
    /// The server's address, without brackets.
    pub(crate) server_ip: &'a str,
    /// The server's port.
    pub(crate) server_port: u16,
}

impl<'a> Header<'a> {
    /// Returns both ends in parts.
    pub(crate) fn ends(&self) -> Ends<'a> {
        let (client_ip, client_port) = split_end(self.client);
        let (server_ip, server_port) = split_end(self.server);
        Ends { client_ip, client_port, server_ip, server_port }
    }

    /// Serializes it with both ends in parts.
    pub(super) fn with_ends<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        HeaderWithEnds { header: *self, ends: self.ends() }.serialize(serializer)
    }
}

/// Splits `address:port`.
fn split_end(end: &str) -> (&str, u16) {
    let port = end.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (without_port(end), port.unwrap_or_default())
}

/// Returns the address of `address:port`.
pub(crate) fn without_port(end: &str) -> &str {
    let ip = end.rsplit_once(':').map_or(end, |(ip, _)| ip);
    ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_split_into_address_and_port() {
        assert_eq!(split_end("10.0.0.1:5432"), ("10.0.0.1", 5432));
        assert_eq!(split_end("[fe80::1]:65535"), ("fe80::1", 65535));
        assert_eq!(split_end("?"), ("?", 0));
    }
}
