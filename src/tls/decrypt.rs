//! Decryption of one record. The ciphers are RustCrypto's, which use the processor's AES instructions if available.
//!
//! Sources: RFC 8446, section 5.2; RFC 5246, section 6.2.3; RFC 5288 (GCM), RFC 6655 (CCM), RFC 7905 (ChaCha20-Poly1305), RFC
//! 7366 (encrypt-then-MAC).

use std::fmt;

use aes::cipher::inout::InOutBuf;
use aes::cipher::{BlockModeDecrypt, InnerIvInit, array::Array};
use aes::{Aes128, Aes256};
use aes_gcm::aead::{AeadInOut, array::typenum::Unsigned};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use ccm::Ccm;
use ccm::consts::{U8, U12, U16};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha384};

use super::record::{MAX_CIPHERTEXT, TlsRecord};
use super::schedule::RecordKeys;
use super::suite::{Algorithm, Mac, Mode, Suite};

/// The AES block size in bytes.
const BLOCK: usize = 16;

/// The output buffer for decrypted records, shared by all connections.
#[derive(Clone)]
pub(super) struct Scratch(Box<[u8]>);

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; MAX_CIPHERTEXT].into())
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

impl Scratch {
    /// Returns the first `len` bytes.
    pub(super) fn get(&self, len: usize) -> &[u8] {
        self.0.get(..len).unwrap_or_default()
    }

    /// Returns the first `len` bytes for writing.
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        self.0.get_mut(..len)
    }
}

/// Decrypts the records of one direction with one key.
pub(super) struct Opener {
    suite: Suite,
    cipher: Cipher,
    iv: [u8; 12],
    /// Whether the MAC of a CBC suite covers the ciphertext.
    encrypts_then_macs: bool,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opener").field(&self.suite).finish()
    }
}

enum Cipher {
    Aes128Gcm(Box<Aes128Gcm>),
    Aes256Gcm(Box<Aes256Gcm>),
    ChaCha20Poly1305(ChaCha20Poly1305),
    Aes128Ccm(Box<Ccm<Aes128, U16, U12>>),
    Aes256Ccm(Box<Ccm<Aes256, U16, U12>>),
    Aes128Ccm8(Box<Ccm<Aes128, U8, U12>>),
    Aes256Ccm8(Box<Ccm<Aes256, U8, U12>>),
    Aes128Cbc(Box<Aes128>, Keyed),
    Aes256Cbc(Box<Aes256>, Keyed),
}

/// A MAC initialized with its key.
enum Keyed {
    Sha1(Box<Hmac<Sha1>>),
    Sha256(Box<Hmac<Sha256>>),
    Sha384(Box<Hmac<Sha384>>),
}

impl Opener {
    pub(super) fn new(suite: Suite, keys: &RecordKeys, encrypts_then_macs: bool) -> Option<Self> {
        let key = keys.key.get(..suite.algorithm.key_size())?;
        let cipher = match suite.algorithm {
            Algorithm::Aes128Gcm => Cipher::Aes128Gcm(Box::new(Aes128Gcm::new_from_slice(key).ok()?)),
            Algorithm::Aes256Gcm => Cipher::Aes256Gcm(Box::new(Aes256Gcm::new_from_slice(key).ok()?)),
            Algorithm::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305(ChaCha20Poly1305::new_from_slice(key).ok()?),
            Algorithm::Aes128Ccm => Cipher::Aes128Ccm(Box::new(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes256Ccm => Cipher::Aes256Ccm(Box::new(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes128Ccm8 => Cipher::Aes128Ccm8(Box::new(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes256Ccm8 => Cipher::Aes256Ccm8(Box::new(Ccm::new_from_slice(key).ok()?)),
            Algorithm::Aes128Cbc(mac) => {
                Cipher::Aes128Cbc(Box::new(Aes128::new_from_slice(key).ok()?), Keyed::new(mac, keys)?)
            }
            Algorithm::Aes256Cbc(mac) => {
                Cipher::Aes256Cbc(Box::new(Aes256::new_from_slice(key).ok()?), Keyed::new(mac, keys)?)
            }
        };
        Some(Self { suite, cipher, iv: keys.iv, encrypts_then_macs })
    }

    /// Returns the size of a record minus its header and plaintext, in bytes, if that does not depend on the plaintext.
    pub(super) const fn expansion(&self) -> Option<u64> {
        self.suite.algorithm.expansion(self.suite.is_tls13)
    }

    /// Decrypts the record with a sequence number, counted from 0. Returns `None` if it is not authentic.
    pub(super) fn open<'a>(&self, number: u64, record: &TlsRecord<'_>, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        match &self.cipher {
            Cipher::Aes128Gcm(cipher) => self.open_aead(&**cipher, number, record, scratch),
            Cipher::Aes256Gcm(cipher) => self.open_aead(&**cipher, number, record, scratch),
            Cipher::ChaCha20Poly1305(cipher) => self.open_aead(cipher, number, record, scratch),
            Cipher::Aes128Ccm(cipher) => self.open_aead(&**cipher, number, record, scratch),
            Cipher::Aes256Ccm(cipher) => self.open_aead(&**cipher, number, record, scratch),
            Cipher::Aes128Ccm8(cipher) => self.open_aead(&**cipher, number, record, scratch),
            Cipher::Aes256Ccm8(cipher) => self.open_aead(&**cipher, number, record, scratch),
            Cipher::Aes128Cbc(cipher, mac) => self.open_cbc(&**cipher, mac, number, record, scratch),
            Cipher::Aes256Cbc(cipher, mac) => self.open_cbc(&**cipher, mac, number, record, scratch),
        }
    }

    fn open_aead<'a, A: AeadInOut<NonceSize = U12>>(
        &self,
        cipher: &A,
        number: u64,
        record: &TlsRecord<'_>,
        scratch: &'a mut Scratch,
    ) -> Option<&'a [u8]> {
        let mut nonce = self.iv;
        let mut sealed = record.payload;
        if self.suite.is_tls13 || matches!(self.suite.algorithm.mode(), Mode::Aead { explicit_nonce: 0, .. }) {
            // "The padded sequence number is XORed with" the IV.
            let (_, tail) = nonce.split_last_chunk_mut::<8>()?;
            *tail = (u64::from_be_bytes(*tail) ^ number).to_be_bytes();
        } else {
            let (explicit, rest) = sealed.split_first_chunk::<8>()?;
            *nonce.last_chunk_mut::<8>()? = *explicit;
            sealed = rest;
        }
        let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(A::TagSize::USIZE)?)?;
        let (mut tls12, tls13);
        let authenticated: &[u8] = if self.suite.is_tls13 {
            tls13 = record.header();
            &tls13
        } else {
            tls12 = pseudo_header(number, record, sealed.len());
            &mut tls12
        };
        let opened = scratch.room(sealed.len())?;
        let buffer = InOutBuf::new(sealed, opened).ok()?;
        cipher.decrypt_inout_detached(&Array(nonce), authenticated, buffer, tag.try_into().ok()?).ok()?;
        scratch.0.get(..sealed.len())
    }

    fn open_cbc<'a, C>(
        &self,
        cipher: &C,
        mac: &Keyed,
        number: u64,
        record: &TlsRecord<'_>,
        scratch: &'a mut Scratch,
    ) -> Option<&'a [u8]>
    where
        C: aes::cipher::BlockCipherDecrypt + aes::cipher::BlockSizeUser<BlockSize = U16>,
    {
        let mut sealed = record.payload;
        if self.encrypts_then_macs {
            let (before, found) = sealed.split_at_checked(sealed.len().checked_sub(mac.size())?)?;
            mac.verify(&pseudo_header(number, record, before.len()), before, found)?;
            sealed = before;
        }
        let (iv, blocks) = sealed.split_first_chunk::<BLOCK>()?;
        let (blocks, []) = Array::<u8, U16>::slice_as_chunks(blocks) else { return None };
        let len = blocks.len() * BLOCK;
        let (opened, _) = Array::<u8, U16>::slice_as_chunks_mut(scratch.room(len)?);
        let mut decryptor = cbc::Decryptor::inner_iv_init(cipher, &Array(*iv));
        decryptor.decrypt_blocks_b2b(blocks, opened).ok()?;
        let opened = scratch.0.get(..len)?;
        // Each byte of the padding, and the padding length after it, equals that length.
        let padding = *opened.last()?;
        let (content, padded) = opened.split_at_checked(len.checked_sub(usize::from(padding) + 1)?)?;
        if padded.iter().any(|byte| *byte != padding) {
            return None;
        }
        if self.encrypts_then_macs {
            return Some(content);
        }
        let (content, found) = content.split_at_checked(content.len().checked_sub(mac.size())?)?;
        mac.verify(&pseudo_header(number, record, content.len()), content, found)?;
        Some(content)
    }
}

/// Returns the data that TLS 1.2 authenticates besides the content: `seq_num + type + version + length`.
fn pseudo_header(number: u64, record: &TlsRecord<'_>, len: usize) -> [u8; 13] {
    let mut header = [0; 13];
    let [major, minor] = record.version;
    let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    let parts = number.to_be_bytes().into_iter().chain([record.kind, major, minor, high, low]);
    header.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    header
}

impl Keyed {
    fn new(mac: Mac, keys: &RecordKeys) -> Option<Self> {
        let key = keys.mac.get(..mac.size())?;
        Some(match mac {
            Mac::Sha1 => Self::Sha1(Box::new(Hmac::new_from_slice(key).ok()?)),
            Mac::Sha256 => Self::Sha256(Box::new(Hmac::new_from_slice(key).ok()?)),
            Mac::Sha384 => Self::Sha384(Box::new(Hmac::new_from_slice(key).ok()?)),
        })
    }

    const fn size(&self) -> usize {
        match self {
            Self::Sha1(_) => Mac::Sha1.size(),
            Self::Sha256(_) => Mac::Sha256.size(),
            Self::Sha384(_) => Mac::Sha384.size(),
        }
    }

    fn verify(&self, header: &[u8], content: &[u8], found: &[u8]) -> Option<()> {
        match self {
            Self::Sha1(mac) => mac.as_ref().clone().chain_update(header).chain_update(content).verify_slice(found).ok(),
            Self::Sha256(mac) => {
                mac.as_ref().clone().chain_update(header).chain_update(content).verify_slice(found).ok()
            }
            Self::Sha384(mac) => {
                mac.as_ref().clone().chain_update(header).chain_update(content).verify_slice(found).ok()
            }
        }
    }
}
