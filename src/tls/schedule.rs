//! Key derivation: from the secrets of a key log to the keys of records.
//!
//! Sources: RFC 8446, sections 7.1 to 7.3 (TLS 1.3); RFC 5246, sections 5 and 6.3 (TLS 1.2).

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use sha2::{Sha256, Sha384};

use super::keylog::ClientRandom;
use super::suite::{Hash, Mode, Suite};
use crate::direction::{Direction, PerDirection};

/// The keys that protect the records of one direction.
#[derive(Clone, Copy)]
pub(super) struct RecordKeys {
    /// Only the first bytes, up to the cipher's key size, are used.
    pub(super) key: [u8; 32],
    /// The implicit part of the nonce: 12 bytes, or the first 4.
    pub(super) iv: [u8; 12],
    /// The MAC key of a CBC suite.
    pub(super) mac: [u8; 48],
}

impl Default for RecordKeys {
    fn default() -> Self {
        Self { key: [0; 32], iv: [0; 12], mac: [0; 48] }
    }
}

impl fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKeys")
    }
}

/// A traffic secret of TLS 1.3.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TrafficSecret {
    bytes: [u8; 48],
    len: usize,
}

impl fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecret")
    }
}

impl TrafficSecret {
    /// Creates a traffic secret from a key log's, if it has the size of the hash.
    pub(super) fn new(hash: Hash, secret: &[u8]) -> Option<Self> {
        let mut bytes = [0; 48];
        bytes.get_mut(..secret.len())?.copy_from_slice(secret);
        (secret.len() == hash.size()).then_some(Self { bytes, len: secret.len() })
    }

    /// Derives the record keys.
    pub(super) fn keys(&self, suite: Suite) -> Option<RecordKeys> {
        let mut keys = RecordKeys::default();
        self.expand(suite.hash, b"key", keys.key.get_mut(..suite.algorithm.key_size())?)?;
        self.expand(suite.hash, b"iv", &mut keys.iv)?;
        Some(keys)
    }

    /// Derives the secret that follows a KeyUpdate.
    pub(super) fn updated(&self, hash: Hash) -> Option<Self> {
        let mut next = Self { bytes: [0; 48], len: self.len };
        self.expand(hash, b"traffic upd", next.bytes.get_mut(..self.len)?)?;
        Some(next)
    }

    /// `HKDF-Expand-Label(secret, label, "", length)`.
    fn expand(&self, hash: Hash, label: &[u8], into: &mut [u8]) -> Option<()> {
        const PREFIX: &[u8] = b"tls13 ";
        let secret = self.bytes.get(..self.len)?;
        let len = u16::try_from(into.len()).ok()?.to_be_bytes();
        let label_len = [u8::try_from(PREFIX.len() + label.len()).ok()?];
        // struct { uint16 length; opaque label<7..255>; opaque context<0..255>; } HkdfLabel
        let info = [&len[..], &label_len, PREFIX, label, &[0]];
        match hash {
            Hash::Sha256 => Hkdf::<Sha256>::from_prk(secret).ok()?.expand_multi_info(&info, into).ok(),
            Hash::Sha384 => Hkdf::<Sha384>::from_prk(secret).ok()?.expand_multi_info(&info, into).ok(),
        }
    }
}

/// Derives the keys of both directions from a TLS 1.2 master secret.
pub(super) fn key_block(
    suite: Suite,
    master: &[u8],
    client_random: &ClientRandom,
    server_random: &[u8; 32],
) -> Option<PerDirection<RecordKeys>> {
    let key = suite.algorithm.key_size();
    let (mac, iv) = match suite.algorithm.mode() {
        // The IV is sent with each record.
        Mode::Cbc(mac) => (mac.size(), 0),
        Mode::Aead { explicit_nonce, .. } => (0, 12 - explicit_nonce as usize),
    };
    // The maximum is that of AES-256-CBC with SHA-384: 2 × (48 + 32).
    let mut block = [0; 160];
    let block = block.get_mut(..2 * (mac + key + iv))?;
    let seed = [b"key expansion".as_slice(), server_random, client_random];
    match suite.hash {
        Hash::Sha256 => prf::<Hmac<Sha256>>(master, &seed, block)?,
        Hash::Sha384 => prf::<Hmac<Sha384>>(master, &seed, block)?,
    }
    // "client_write_MAC_key, server_write_MAC_key, client_write_key, server_write_key, client_write_IV, server_write_IV"
    let mut keys = PerDirection::<RecordKeys>::default();
    let mut rest = &*block;
    for (part, len) in [(Part::Mac, mac), (Part::Key, key), (Part::Iv, iv)] {
        for direction in Direction::BOTH {
            let (piece, behind) = rest.split_at_checked(len)?;
            rest = behind;
            let keys = keys.get_mut(direction);
            let into: &mut [u8] = match part {
                Part::Mac => &mut keys.mac,
                Part::Key => &mut keys.key,
                Part::Iv => &mut keys.iv,
            };
            into.get_mut(..len)?.copy_from_slice(piece);
        }
    }
    Some(keys)
}

enum Part {
    Mac,
    Key,
    Iv,
}

/// `P_hash(secret, seed)`, with the seed in pieces.
fn prf<M: hmac::Mac + KeyInit + Clone>(secret: &[u8], seed: &[&[u8]], into: &mut [u8]) -> Option<()> {
    let keyed = <M as KeyInit>::new_from_slice(secret).ok()?;
    let with_seed = |mut mac: M| {
        seed.iter().for_each(|piece| mac.update(piece));
        mac.finalize().into_bytes()
    };
    // A(1) = HMAC_hash(secret, seed), A(i) = HMAC_hash(secret, A(i-1))
    let mut a = with_seed(keyed.clone());
    for piece in into.chunks_mut(a.len()) {
        let mut mac = keyed.clone();
        mac.update(&a);
        let output = with_seed(mac);
        piece.copy_from_slice(output.get(..piece.len())?);
        let mut next = keyed.clone();
        next.update(&a);
        a = next.finalize().into_bytes();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 8448, section 3, "Simple 1-RTT Handshake": the server's handshake traffic secret and its keys.
    #[test]
    fn traffic_keys_are_those_of_rfc_8448() {
        let suite = Suite::by_id(0x1301).unwrap();
        let secret =
            bytes("b6 7b 7d 69 0c c1 6c 4e 75 e5 42 13 cb 2d 37 b4 e9 c9 12 bc de d9 10 5d 42 be fd 59 d3 91 ad 38");
        let keys = TrafficSecret::new(suite.hash, &secret).unwrap().keys(suite).unwrap();
        assert_eq!(keys.key[..16], bytes("3f ce 51 60 09 c2 17 27 d0 f2 e4 e8 6e e4 03 bc"));
        assert_eq!(keys.iv[..], bytes("5d 31 3e b2 67 12 76 ee 13 00 0b 30"));
        assert_eq!(TrafficSecret::new(Hash::Sha384, &secret), None);
    }
}
