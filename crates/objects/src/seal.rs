//! Bytes that mean nothing without a key. Every piece has a data key of its own, kept wrapped by the store's key or by one
//! that only its writer has; every block is sealed alone, so that any of them can be read without the others.
//!
//! AES-256-GCM, of the crate that already does the same for TLS. A data key seals each block once, under its number; what
//! is wrapped with is derived anew for each data key. So no key ever meets a nonce twice, however much is written.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::BytesMut;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::types::Error;

pub const KEY_BYTES: usize = 32;
/// By so many bytes a block becomes longer.
pub(crate) const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
/// What keys are derived for; each is good for nothing else.
const WRAPPING: &[u8] = b"corten objects: wrapping";
const PROOF: &[u8] = b"corten objects: proof";
const ETAG: &[u8] = b"corten objects: etag";

/// A key of 256 bits. It has no `Display`, and `Debug` does not show it.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    fn derive(&self, purpose: &[u8], salt: &[u8]) -> [u8; KEY_BYTES] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(purpose);
        context.update(salt);
        let mut derived = [0; KEY_BYTES];
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// How new bytes are to be kept.
#[derive(Debug, Clone, Default)]
pub enum Sealing {
    #[default]
    Clear,
    /// With the store's key.
    Store,
    /// With a key that is not kept.
    Customer(Key),
}

/// How the bytes of an object are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sealed {
    #[default]
    Clear,
    Store,
    Customer(Proof),
}

impl Sealed {
    pub fn is_clear(&self) -> bool {
        *self == Self::Clear
    }

    /// Of an object that is to be, of bytes that are sealed so.
    pub fn by(sealing: &Sealing) -> Result<Self, Error> {
        match sealing {
            Sealing::Clear => Ok(Self::Clear),
            Sealing::Store => Ok(Self::Store),
            Sealing::Customer(key) => Proof::of(key).map(Self::Customer),
        }
    }
}

/// By which a key is known again, and cannot be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    salt: String,
    code: String,
}

impl Proof {
    fn of(key: &Key) -> Result<Self, Error> {
        let salt = random::<SALT_BYTES>()?;
        let code = key.derive(PROOF, &salt);
        Ok(Self { salt: STANDARD_NO_PAD.encode(salt), code: STANDARD_NO_PAD.encode(code) })
    }

    /// Whether this is the key. Takes the same time for every key.
    pub fn admits(&self, key: &Key) -> bool {
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).unwrap_or_default();
        let (salt, code) = (decode(&self.salt), decode(&self.code));
        let message = [PROOF, &salt].concat();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key.0), &message, &code).is_ok()
    }
}

/// What is kept of a piece's data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    by: Holder,
    salt: String,
    wrapped: String,
}

/// Who has the key that opens a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Holder {
    Store,
    Customer,
}

impl Seal {
    /// A new data key, for one piece; nothing for one that stays in the clear.
    pub(crate) fn new(sealing: &Sealing, store: &Key) -> Result<Option<(Self, DataKey)>, Error> {
        let (by, key) = match sealing {
            Sealing::Clear => return Ok(None),
            Sealing::Store => (Holder::Store, store),
            Sealing::Customer(key) => (Holder::Customer, key),
        };
        let data = Key(random()?);
        let salt = random::<SALT_BYTES>()?;
        let mut wrapped = data.0.to_vec();
        let wrapping = aead(&key.derive(WRAPPING, &salt))?;
        wrapping.seal_in_place_append_tag(nonce(0), Aad::empty(), &mut wrapped).map_err(|_| Error::Cipher)?;
        let seal = Self { by, salt: STANDARD_NO_PAD.encode(salt), wrapped: STANDARD_NO_PAD.encode(wrapped) };
        Ok(Some((seal, DataKey::new(data)?)))
    }

    /// The data key, with the key that it was wrapped with.
    pub(crate) fn open(&self, store: &Key, customer: Option<&Key>) -> Result<DataKey, Error> {
        let key = match (self.by, customer) {
            (Holder::Store, _) => store,
            (Holder::Customer, Some(key)) => key,
            (Holder::Customer, None) => return Err(Error::Sealed),
        };
        let decode = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| Error::WrongKey);
        let mut wrapped = decode(&self.wrapped)?;
        let wrapping = aead(&key.derive(WRAPPING, &decode(&self.salt)?))?;
        let opened = wrapping.open_in_place(nonce(0), Aad::empty(), &mut wrapped);
        let opened = opened.map_err(|_| Error::WrongKey)?;
        DataKey::new(Key(<[u8; KEY_BYTES]>::try_from(&*opened).map_err(|_| Error::WrongKey)?))
    }
}

/// What seals and opens the blocks of one piece.
pub(crate) struct DataKey {
    key: Key,
    blocks: LessSafeKey,
}

impl DataKey {
    fn new(key: Key) -> Result<Self, Error> {
        Ok(Self { blocks: aead(&key.0)?, key })
    }

    /// Seals a block, which becomes longer.
    pub(crate) fn seal(&self, number: u64, block: &mut BytesMut) -> Result<(), Error> {
        let sealed = self.blocks.seal_in_place_append_tag(nonce(number), Aad::empty(), block);
        sealed.map_err(|_| Error::Cipher)
    }

    /// Opens a block, which becomes shorter. Nothing is known of one that was not sealed under this number.
    pub(crate) fn open(&self, number: u64, block: &mut Vec<u8>) -> Option<()> {
        let len = self.blocks.open_in_place(nonce(number), Aad::empty(), block).ok()?.len();
        block.truncate(len);
        Some(())
    }

    /// An ETag of bytes whose digest tells nothing about them.
    pub(crate) fn etag(&self, md5: [u8; 16]) -> [u8; 16] {
        let mut etag = [0; 16];
        etag.copy_from_slice(&self.key.derive(ETAG, &md5)[..16]);
        etag
    }
}

fn aead(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, Error> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| Error::Cipher)
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Cipher)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: Key = Key([1; 32]);

    fn sealed(sealing: &Sealing) -> (Seal, BytesMut) {
        let (seal, key) = Seal::new(sealing, &STORE).unwrap().unwrap();
        let mut block = BytesMut::from(&b"a block"[..]);
        key.seal(3, &mut block).unwrap();
        (seal, block)
    }

    #[test]
    fn a_block_opens_with_its_key_at_its_place_alone() {
        let theirs = Key([2; 32]);
        for (sealing, given) in [(Sealing::Store, None), (Sealing::Customer(theirs.clone()), Some(&theirs))] {
            let (seal, block) = sealed(&sealing);
            let open = |key: &DataKey, number| {
                let mut block = block.to_vec();
                key.open(number, &mut block).map(|()| block)
            };
            let key = seal.open(&STORE, given).unwrap();
            assert_eq!(open(&key, 3).unwrap(), b"a block");
            assert_eq!(open(&key, 4), None);
            let (other, _) = sealed(&sealing);
            assert_eq!(open(&other.open(&STORE, given).unwrap(), 3), None);
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_a_missing_one() {
        let (seal, _) = sealed(&Sealing::Customer(Key([2; 32])));
        assert!(matches!(seal.open(&STORE, None), Err(Error::Sealed)));
        assert!(matches!(seal.open(&STORE, Some(&Key([3; 32]))), Err(Error::WrongKey)));
        let (seal, _) = sealed(&Sealing::Store);
        assert!(matches!(seal.open(&Key([3; 32]), None), Err(Error::WrongKey)));
    }

    #[test]
    fn a_proof_admits_its_key_and_shows_none() {
        let key = Key([2; 32]);
        let (one, two) = (Proof::of(&key).unwrap(), Proof::of(&key).unwrap());
        assert!(one.admits(&key) && two.admits(&key));
        assert!(!one.admits(&Key([3; 32])));
        assert_ne!(one, two, "two proofs of one key tell that it is one");
        assert_eq!(format!("{key:?}"), "Key(hidden)");
    }
}
