//! Keys of a write key's session. They are random, sealed to the epoch, and discarded when the session ends.

use std::fmt;

use zeroize::Zeroizing;

use crate::codec::crypto::cipher::Cipher;
use crate::codec::crypto::envelope::KeyPair;
use crate::codec::crypto::hash::Key;
use crate::codec::crypto::{cipher, envelope, hash};
use crate::model::config::CipherKind;
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};

/// Length of an [`Envelope`] in bytes.
pub const ENVELOPE: usize = 32 + envelope::KEY + 2 * 32 + 16;
/// Length in bytes of the tag by which a write key recognizes its own packs.
pub const OWN_TAG: usize = 32;

/// Session keys as stored in packs and manifests: the slot of the writer, and both keys, sealed by the writer
/// to the session key of the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Envelope([u8; ENVELOPE]);

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({})", self.slot().short())
    }
}

impl Envelope {
    /// Wraps the stored bytes.
    pub const fn new(bytes: [u8; ENVELOPE]) -> Self {
        Self(bytes)
    }

    /// Returns the stored bytes.
    pub const fn bytes(&self) -> &[u8; ENVELOPE] {
        &self.0
    }

    /// Returns the slot that claims to have made it.
    pub fn slot(&self) -> KeyId {
        KeyId::new(self.0.first_chunk().copied().unwrap_or_default())
    }

    /// Opens the keys with the private session key of the epoch.
    ///
    /// # Errors
    /// The writer did not seal it.
    pub fn open(
        &self,
        repo: &RepoId,
        private: &Key,
        writer: &[u8; 32],
    ) -> Result<SessionCiphers, DecodeError> {
        let sealed = self.0.get(32..).unwrap_or_default();
        let plain = envelope::open_from(private, writer, &info(repo, &self.slot()), sealed)?;
        let (Some(data), Some(meta)) = (plain.first_chunk::<32>(), plain.last_chunk::<32>()) else {
            return Err(DecodeError::because("session keys are too short"));
        };
        Ok(SessionCiphers::of(Key::new(*data), Key::new(*meta)))
    }
}

/// The ciphers of one session of a write key.
#[derive(Debug)]
pub struct SessionCiphers {
    /// Seals blocks of file data.
    pub data: Cipher,
    /// Seals trees and manifests.
    pub meta: Cipher,
}

impl SessionCiphers {
    fn of(data: Key, meta: Key) -> Self {
        let cipher = |key| Cipher::new(CipherKind::Xaes256Gcm, key);
        Self { data: cipher(data), meta: cipher(meta) }
    }
}

/// The current session of a write key.
#[derive(Debug)]
pub struct WritingSession {
    /// The sealed session keys.
    pub envelope: Envelope,
    /// The session keys in the clear; there is no other copy.
    pub ciphers: SessionCiphers,
    /// Known only to the slot; recognizes packs that the slot has written.
    own: Key,
}

impl WritingSession {
    /// Generates random keys, and seals them to the session key of an epoch.
    ///
    /// # Errors
    /// The system's random generator fails, or a key is invalid.
    pub fn begin(repo: &RepoId, slot: KeyId, writer: &KeyPair, to: &[u8; 32]) -> Result<Self, DecodeError> {
        let mut both = Zeroizing::new([0u8; 64]);
        cipher::random(both.as_mut())?;
        let sealed = envelope::seal_as(writer, to, &info(repo, &slot), both.as_ref())?;
        let bytes = [slot.as_bytes().as_slice(), &sealed].concat();
        let bytes =
            bytes.try_into().map_err(|_| DecodeError::because("session keys have the wrong length"))?;
        let [data, meta] = [both.first_chunk::<32>(), both.last_chunk::<32>()]
            .map(|half| Key::new(half.copied().unwrap_or_default()));
        let own = own_key(writer);
        Ok(Self { envelope: Envelope(bytes), ciphers: SessionCiphers::of(data, meta), own })
    }

    /// Returns the tag by which this slot recognizes its own tables.
    pub fn tag(&self, aad: &[u8], compressed: &[u8]) -> [u8; OWN_TAG] {
        hash::mac(
            &self.own,
            &[b"snap/1 own".as_slice(), &(aad.len() as u64).to_le_bytes(), aad, compressed].concat(),
        )
    }
}

/// Returns the key by which the holder of a slot recognizes its own packs.
fn own_key(writer: &KeyPair) -> Key {
    Key::new(hash::mac(&writer.private, b"snap/1 own key"))
}

/// Returns the key that seals the memory of a slot's holder on its machine.
pub fn memory_key(writer: &KeyPair) -> Key {
    Key::new(hash::mac(&writer.private, b"snap/1 memory"))
}

/// A slot with the role write, valid or retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteSlot {
    /// The slot.
    pub slot: KeyId,
    /// Its X25519 public key.
    pub public: [u8; 32],
    /// The last epoch in which it was valid.
    pub last: u32,
}

/// The keys that an object was sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealing {
    /// The epoch.
    pub epoch: u32,
    /// Session keys; `None` means keys of the epoch.
    pub by: Option<Envelope>,
}

impl From<u32> for Sealing {
    fn from(epoch: u32) -> Self {
        Self { epoch, by: None }
    }
}

fn info(repo: &RepoId, slot: &KeyId) -> Vec<u8> {
    [b"snap/1 session".as_slice(), repo.as_bytes(), slot.as_bytes()].concat()
}
