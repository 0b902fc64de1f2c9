//! Cipher suites: the algorithms that protect the records of a session.
//!
//! Sources: RFC 8446, appendix B.4; for TLS 1.2 RFC 5246 (CBC), RFC 5288 and 5289 (GCM), RFC 6655 and 7251 (CCM), RFC 7905
//! (ChaCha20-Poly1305).
//!
//! To add a suite, add its row in `suite/table.rs`; if its algorithm is new, the compiler asks for the rest.

use self::table::SUITES;

mod table;

/// A suite that can be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// Its number in IANA's registry.
    pub(super) id: u16,
    pub(super) algorithm: Algorithm,
    pub(super) hash: Hash,
    /// Whether it is a suite of TLS 1.3, which has none in common with earlier versions.
    pub(super) is_tls13: bool,
}

/// The algorithm that encrypts records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    Aes128Ccm,
    Aes256Ccm,
    /// With a tag of 8 bytes.
    Aes128Ccm8,
    Aes256Ccm8,
    Aes128Cbc(Mac),
    Aes256Cbc(Mac),
}

/// The algorithm that authenticates records of a CBC suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mac {
    Sha1,
    Sha256,
    Sha384,
}

/// The hash from which keys are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
}

impl Suite {
    /// Returns the suite with a number; `None` if it is unknown, or too old to be supported.
    pub(super) fn by_id(id: u16) -> Option<Self> {
        let (_, protection) = find(id)?;
        let (algorithm, hash, is_tls13) = protection?;
        Some(Self { id, algorithm, hash, is_tls13 })
    }

    /// Returns the TLS 1.3 suites whose secrets have `len` bytes.
    pub(super) fn with_secrets_of(len: usize) -> impl Iterator<Item = Self> {
        let all = SUITES.iter().filter_map(|(id, ..)| Self::by_id(*id));
        all.filter(move |suite| suite.is_tls13 && suite.hash.size() == len)
    }
}

/// Returns the name of a suite in IANA's registry.
pub fn name(id: u16) -> Option<&'static str> {
    find(id).map(|(name, _)| name)
}

type Row = (&'static str, Option<(Algorithm, Hash, bool)>);

fn find(id: u16) -> Option<Row> {
    let at = SUITES.binary_search_by_key(&id, |(id, ..)| *id).ok()?;
    SUITES.get(at).map(|(_, name, protection)| (*name, *protection))
}

/// How an algorithm protects a record, with sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Authenticated encryption with a tag. In TLS 1.2, a record may contain a part of its nonce.
    Aead { tag: u64, explicit_nonce: u64 },
    /// An IV in the record, padding, and a MAC.
    Cbc(Mac),
}

impl Algorithm {
    /// Returns the key size, in bytes, and how it protects a record.
    const fn parts(self) -> (usize, Mode) {
        match self {
            // RFC 5288, section 3.
            Self::Aes128Gcm => (16, Mode::Aead { tag: 16, explicit_nonce: 8 }),
            Self::Aes256Gcm => (32, Mode::Aead { tag: 16, explicit_nonce: 8 }),
            // RFC 7905, section 2.
            Self::ChaCha20Poly1305 => (32, Mode::Aead { tag: 16, explicit_nonce: 0 }),
            // RFC 6655, sections 3 and 4.
            Self::Aes128Ccm => (16, Mode::Aead { tag: 16, explicit_nonce: 8 }),
            Self::Aes256Ccm => (32, Mode::Aead { tag: 16, explicit_nonce: 8 }),
            Self::Aes128Ccm8 => (16, Mode::Aead { tag: 8, explicit_nonce: 8 }),
            Self::Aes256Ccm8 => (32, Mode::Aead { tag: 8, explicit_nonce: 8 }),
            // RFC 5246, section 6.2.3.2.
            Self::Aes128Cbc(mac) => (16, Mode::Cbc(mac)),
            Self::Aes256Cbc(mac) => (32, Mode::Cbc(mac)),
        }
    }

    /// Returns the key size in bytes.
    pub(super) const fn key_size(self) -> usize {
        self.parts().0
    }

    /// Returns how it protects a record.
    pub(super) const fn mode(self) -> Mode {
        self.parts().1
    }

    /// Returns the size of a record minus its plaintext and header, in bytes, if that does not depend on the plaintext.
    pub(super) const fn expansion(self, is_tls13: bool) -> Option<u64> {
        match self.mode() {
            // One more byte for the content type.
            Mode::Aead { tag, .. } if is_tls13 => Some(tag + 1),
            Mode::Aead { tag, explicit_nonce } => Some(tag + explicit_nonce),
            Mode::Cbc(_) => None,
        }
    }
}

impl Mac {
    /// Returns the size of its key and of its output, in bytes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

impl Hash {
    /// Returns the size of its output in bytes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_of_the_registry() {
        let suite = |id| Suite::by_id(id).map(|suite| (suite.algorithm, suite.hash, suite.is_tls13));
        use Algorithm::{
            Aes128Cbc, Aes128Ccm, Aes128Ccm8, Aes128Gcm, Aes256Cbc, Aes256Ccm8, Aes256Gcm, ChaCha20Poly1305,
        };
        use Hash::{Sha256, Sha384};
        assert_eq!(suite(0x1301), Some((Aes128Gcm, Sha256, true)));
        assert_eq!(suite(0x1302), Some((Aes256Gcm, Sha384, true)));
        assert_eq!(suite(0x1303), Some((ChaCha20Poly1305, Sha256, true)));
        assert_eq!(suite(0x1304), Some((Aes128Ccm, Sha256, true)));
        assert_eq!(suite(0x1305), Some((Aes128Ccm8, Sha256, true)));
        assert_eq!(suite(0xc02f), Some((Aes128Gcm, Sha256, false)), "ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(suite(0xc030), Some((Aes256Gcm, Sha384, false)), "ECDHE_RSA_WITH_AES_256_GCM_SHA384");
        assert_eq!(suite(0xcca8), Some((ChaCha20Poly1305, Sha256, false)), "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256");
        assert_eq!(suite(0x002f), Some((Aes128Cbc(Mac::Sha1), Sha256, false)), "RSA_WITH_AES_128_CBC_SHA");
        assert_eq!(suite(0xc027), Some((Aes128Cbc(Mac::Sha256), Sha256, false)), "ECDHE_RSA_WITH_AES_128_CBC_SHA256");
        assert_eq!(suite(0xc028), Some((Aes256Cbc(Mac::Sha384), Sha384, false)), "ECDHE_RSA_WITH_AES_256_CBC_SHA384");
        assert_eq!(suite(0xc0af), Some((Aes256Ccm8, Sha256, false)), "ECDHE_ECDSA_WITH_AES_256_CCM_8");
        assert_eq!(suite(0x0005), None, "RSA_WITH_RC4_128_SHA");
        assert_eq!(suite(0x000a), None, "RSA_WITH_3DES_EDE_CBC_SHA");
        assert_eq!(suite(0xfefe), None);
        assert_eq!(name(0x1302), Some("TLS_AES_256_GCM_SHA384"));
        assert_eq!(name(0x0005), Some("TLS_RSA_WITH_RC4_128_SHA"));
    }

    #[test]
    fn the_table_is_sorted_and_names_match_the_algorithms() {
        assert!(SUITES.is_sorted_by(|(one, ..), (next, ..)| one < next));
        for (id, name, protection) in SUITES {
            let Some((algorithm, hash, is_tls13)) = *protection else { continue };
            let mac = |mac| match mac {
                Mac::Sha1 => "SHA",
                Mac::Sha256 => "SHA256",
                Mac::Sha384 => "SHA384",
            };
            let cipher = match algorithm {
                Algorithm::Aes128Gcm => "AES_128_GCM",
                Algorithm::Aes256Gcm => "AES_256_GCM",
                Algorithm::ChaCha20Poly1305 => "CHACHA20_POLY1305",
                Algorithm::Aes128Ccm => "AES_128_CCM",
                Algorithm::Aes256Ccm => "AES_256_CCM",
                Algorithm::Aes128Ccm8 => "AES_128_CCM_8",
                Algorithm::Aes256Ccm8 => "AES_256_CCM_8",
                Algorithm::Aes128Cbc(_) => "AES_128_CBC",
                Algorithm::Aes256Cbc(_) => "AES_256_CBC",
            };
            let ending = match (algorithm.mode(), hash) {
                (Mode::Cbc(of_record), _) => mac(of_record),
                (Mode::Aead { .. }, Hash::Sha256) => "SHA256",
                (Mode::Aead { .. }, Hash::Sha384) => "SHA384",
            };
            // Names of CCM suites omit the hash, which is SHA-256, except in TLS 1.3.
            let is_ccm = cipher.contains("CCM") && (name.ends_with(cipher) || name.ends_with("_CCM_8_SHA256"));
            let is_named = name.strip_suffix(ending).is_some_and(|rest| rest.ends_with(&format!("{cipher}_")));
            assert!(is_named || is_ccm, "{id:#06x} {name}: {algorithm:?} {hash:?}");
            assert_eq!(is_tls13, !name.contains("_WITH_") && !name.contains("ECDHE_PSK"), "{name}");
        }
    }
}
