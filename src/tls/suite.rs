//! Cipher suites: what protects the records of a session.
//!
//! Sources: RFC 8446, appendix B.4; for TLS 1.2 RFC 5246 (CBC), RFC 5288 and 5289 (GCM), RFC 6655 and 7251 (CCM), RFC 7905
//! (ChaCha20-Poly1305). Names and parts are those of IANA's registry, as tls-parser has it.

use tls_parser::{TlsCipherEnc, TlsCipherEncMode, TlsCipherKx, TlsCipherMac, TlsCipherSuite, TlsPRF};

/// A suite that can be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite {
    /// Its number in IANA's registry.
    pub(super) id: u16,
    pub(super) algorithm: Algorithm,
    pub(super) hash: Hash,
    /// Whether it is of TLS 1.3, whose suites and those before it have nothing in common.
    pub(super) is_tls13: bool,
}

/// What encrypts records.
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

/// What authenticates records beside CBC.
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
    /// The suite with a number; nothing where it is unknown, or too old to be decrypted here.
    pub(super) fn by_id(id: u16) -> Option<Self> {
        let suite = TlsCipherSuite::from_id(id)?;
        let is_ccm8 = suite.name.ends_with("_CCM_8") || suite.name.contains("_CCM_8_");
        let is_256 = match suite.enc_size {
            128 => false,
            256 => true,
            _ => return None,
        };
        let mac = match suite.mac {
            TlsCipherMac::HmacSha1 => Some(Mac::Sha1),
            TlsCipherMac::HmacSha256 => Some(Mac::Sha256),
            TlsCipherMac::HmacSha384 => Some(Mac::Sha384),
            _ => None,
        };
        let algorithm = match (suite.enc, suite.enc_mode, is_256) {
            (TlsCipherEnc::Chacha20_Poly1305, ..) => Algorithm::ChaCha20Poly1305,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Gcm, false) => Algorithm::Aes128Gcm,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Gcm, true) => Algorithm::Aes256Gcm,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Ccm, false) if is_ccm8 => Algorithm::Aes128Ccm8,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Ccm, true) if is_ccm8 => Algorithm::Aes256Ccm8,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Ccm, false) => Algorithm::Aes128Ccm,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Ccm, true) => Algorithm::Aes256Ccm,
            (TlsCipherEnc::Aes, TlsCipherEncMode::Cbc, false) => Algorithm::Aes128Cbc(mac?),
            (TlsCipherEnc::Aes, TlsCipherEncMode::Cbc, true) => Algorithm::Aes256Cbc(mac?),
            _ => return None,
        };
        // "New cipher suites MUST explicitly specify a PRF and, in general, SHOULD use the TLS PRF with SHA-256 or a stronger
        // standard hash function" (RFC 5246, section 5): the default is SHA-256.
        let hash = if suite.prf == TlsPRF::Sha384 { Hash::Sha384 } else { Hash::Sha256 };
        Some(Self { id, algorithm, hash, is_tls13: suite.kx == TlsCipherKx::Tls13 })
    }

    /// The suites of TLS 1.3 whose secrets have so many bytes.
    pub(super) fn with_secrets_of(len: usize) -> impl Iterator<Item = Self> {
        let all = [0x1301, 0x1302, 0x1303, 0x1304, 0x1305].into_iter().filter_map(Self::by_id);
        all.filter(move |suite| suite.hash.size() == len)
    }
}

/// The name of a suite in IANA's registry.
pub fn name(id: u16) -> Option<&'static str> {
    TlsCipherSuite::from_id(id).map(|suite| suite.name)
}

impl Algorithm {
    /// The size of its key, in bytes.
    pub(super) const fn key_size(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ccm | Self::Aes128Ccm8 | Self::Aes128Cbc(_) => 16,
            Self::Aes256Gcm | Self::Aes256Ccm | Self::Aes256Ccm8 | Self::Aes256Cbc(_) => 32,
            Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The size of what a record has beside its plaintext and header, in bytes, where that does not depend on the plaintext.
    pub(super) const fn expansion(self, is_tls13: bool) -> Option<u64> {
        let tag = match self {
            Self::Aes128Ccm8 | Self::Aes256Ccm8 => 8,
            Self::Aes128Cbc(_) | Self::Aes256Cbc(_) => return None,
            _ => 16,
        };
        Some(match self {
            // The byte that tells the content's type.
            _ if is_tls13 => tag + 1,
            Self::ChaCha20Poly1305 => tag,
            // A part of the nonce.
            _ => tag + 8,
        })
    }
}

impl Mac {
    /// The size of its key and of its output, in bytes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }
}

impl Hash {
    /// The size of its output, in bytes.
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
    }
}
