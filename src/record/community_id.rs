//! The Community ID of a connection, by which lines can be joined with those of Zeek, Suricata, Arkime, Packetbeat and Wireshark.
//!
//! Source: Community ID flow hashing, version 1 (<https://github.com/corelight/community-id-spec>), with seed 0.

use std::borrow::Cow;
use std::net::IpAddr;

use base64ct::{Base64, Encoding as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use sha1::{Digest as _, Sha1};

use crate::packet::Endpoint;

/// The number of TCP among the protocols of IP.
const TCP: u8 = 6;

/// How a Community ID of version 1 begins.
const VERSION: &[u8] = b"1:";

/// The Community ID of a connection: the hash of its ends, whichever of them is the client. Written as `1:` and the hash in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommunityId([u8; ENCODED]);

/// The size of the hash in base64.
const ENCODED: usize = 28;

impl CommunityId {
    pub(crate) fn new(one: Endpoint, other: Endpoint) -> Self {
        let key = |end: &Endpoint| (octets(end.addr), end.port);
        let (lesser, greater) = if key(&one) <= key(&other) { (one, other) } else { (other, one) };
        let mut hash = Sha1::new();
        hash.update([0, 0]);
        hash.update(octets(lesser.addr));
        hash.update(octets(greater.addr));
        hash.update([TCP, 0]);
        hash.update(lesser.port.to_be_bytes());
        hash.update(greater.port.to_be_bytes());
        // It is encoded once, and written with every request.
        let mut encoded = [0; ENCODED];
        let _ = Base64::encode(&hash.finalize(), &mut encoded);
        Self(encoded)
    }

    /// Appends the ID as it is written.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(VERSION);
        out.extend_from_slice(&self.0);
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = Vec::new();
        self.write(&mut written);
        serializer.serialize_str(std::str::from_utf8(&written).unwrap_or_default())
    }
}

impl JsonSchema for CommunityId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CommunityId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^1:[0-9A-Za-z+/]{27}=$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_specification() {
        let end = |addr: &str, port| Endpoint { addr: addr.parse().unwrap(), port };
        let id = |one, other| serde_json::to_value(CommunityId::new(one, other)).unwrap();
        let (client, server) = (end("128.232.110.120", 34_855), end("66.35.250.204", 80));
        assert_eq!(id(client, server), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(id(server, client), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        // What Wireshark has for testdata/ipv6 and testdata/psql-prefer.
        assert_eq!(id(end("::1", 46_894), end("::1", 5432)), "1:S6DTo6gss4NQf5jcvYHrQTCskok=");
        assert_eq!(id(end("127.0.0.1", 60_666), end("127.0.0.1", 5415)), "1:nuF2QlHhjZEcTKPc4f/UZVWCB7A=");
    }
}
