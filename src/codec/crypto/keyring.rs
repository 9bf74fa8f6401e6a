//! The keyring: what a key slot opens. It holds the key that names chunks, and a master key for each epoch.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::crypto::hash::{Key, SubKeys};
use crate::codec::crypto::key_slot::SlotSecret;
use crate::codec::crypto::{cipher, envelope, signature};
use crate::codec::wire;
use crate::model::config::{Config, FULL, Handover, SlotEntry};
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};

/// Keys of a repository. What is written is sealed with keys of the newest epoch; those of older epochs open
/// what was written before.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Names and cuts chunks in all epochs: otherwise nothing stored before would be found again.
    naming: Key,
    /// By epoch, ascending.
    older: Vec<(u32, Key)>,
    newest: (u32, Key),
}

/// A keyring in its stored form. Frozen: format version 1.
#[derive(Serialize, Deserialize)]
struct Stored {
    role: u8,
    naming: [u8; 32],
    epochs: Vec<(u32, [u8; 32])>,
    extra: Vec<(u16, ByteBuf)>,
}

impl Keyring {
    /// Returns the keyring of an unencrypted repository: one key for everything.
    pub fn single(master: Key) -> Self {
        Self { naming: master.clone(), older: Vec::new(), newest: (0, master) }
    }

    /// Returns a new random keyring that names and cuts chunks with `naming`, or if that is `None` with a
    /// random key.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub fn random(naming: Option<Key>) -> Result<Self, DecodeError> {
        let naming = naming.map_or_else(random_key, Ok)?;
        Ok(Self { naming, older: Vec::new(), newest: (0, random_key()?) })
    }

    /// Returns this keyring with one more epoch, with a random master key.
    ///
    /// # Errors
    /// The system's random generator fails, or no number is left.
    pub fn rotated(&self) -> Result<Self, DecodeError> {
        let epoch = self.epoch().checked_add(1).ok_or(DecodeError::because("no epoch is left"))?;
        let mut older = self.older.clone();
        older.push(self.newest.clone());
        Ok(Self { naming: self.naming.clone(), older, newest: (epoch, random_key()?) })
    }

    /// Returns the key that names and cuts chunks.
    pub fn naming(&self) -> &Key {
        &self.naming
    }

    /// Returns the newest epoch.
    pub fn epoch(&self) -> u32 {
        self.newest.0
    }

    /// Returns the keys of the newest epoch.
    pub fn keys(&self, config: &Config) -> SubKeys {
        SubKeys::of(&self.naming, &self.newest.1, &config.repo, &config.family())
    }

    /// Returns the ciphers of all epochs.
    pub fn suite(&self, config: &Config) -> CipherSuite {
        let keys = |master| SubKeys::of(&self.naming, master, &config.repo, &config.family());
        let older = self.older.iter().map(|(epoch, master)| (*epoch, keys(master)));
        CipherSuite::of_epochs(config.cipher, config.repo, older, (self.newest.0, &keys(&self.newest.1)))
    }

    /// Returns the seed that signs configurations of an epoch.
    pub fn signing_seed(&self, repo: &RepoId, epoch: u32) -> Option<Key> {
        let mut all = self.older.iter().chain([&self.newest]);
        let (_, master) = all.find(|(number, _)| *number == epoch)?;
        Some(SubKeys::of(&self.naming, master, repo, repo).config)
    }

    /// Returns the key that verifies configurations of the newest epoch.
    ///
    /// # Errors
    /// Never.
    pub fn verifying_key(&self, repo: &RepoId) -> Result<[u8; 32], DecodeError> {
        signature::verifying_key(&SubKeys::of(&self.naming, &self.newest.1, repo, repo).config)
    }

    /// Judges the bytes of a configuration.
    pub fn judge(&self, config: &Config, bytes: &[u8]) -> Verdict {
        let seed = self.signing_seed(&config.repo, config.epoch.min(self.epoch()));
        let key = seed.and_then(|seed| signature::verifying_key(&seed).ok());
        match key.is_some_and(|key| is_signed(config, bytes, config.epoch.min(self.epoch()), &key)) {
            false => Verdict::Unfit,
            true if config.epoch > self.epoch() => Verdict::Newer,
            true => Verdict::Ours,
        }
    }

    /// Begins the next epoch in a configuration: the newest epoch before vouches for the key that verifies it.
    ///
    /// # Errors
    /// Something cannot be encoded.
    pub fn hand_over(&self, next: &Self, config: &mut Config) -> Result<(), DecodeError> {
        let key = next.verifying_key(&config.repo)?;
        let seed = SubKeys::of(&self.naming, &self.newest.1, &config.repo, &config.repo).config;
        let signed = signature::sign(&seed, &statement(&config.repo, next.epoch(), &key))?;
        config.handovers.push(Handover { epoch: next.epoch(), key, signature: ByteBuf::from(signed) });
        config.epoch = next.epoch();
        Ok(())
    }

    /// Seals the keyring to a slot.
    ///
    /// # Errors
    /// The public key is invalid.
    pub fn seal_to(&self, repo: &RepoId, id: KeyId, public: [u8; 32]) -> Result<SlotEntry, DecodeError> {
        let epochs = self.older.iter().chain([&self.newest]).map(|(epoch, key)| (*epoch, *key.bytes()));
        let stored =
            Stored { role: FULL, naming: *self.naming.bytes(), epochs: epochs.collect(), extra: Vec::new() };
        let plain = Zeroizing::new(wire::encode(&stored)?);
        let sealed = envelope::seal(&public, &info(repo, &id), &plain)?;
        Ok(SlotEntry { id, role: FULL, public, keyring: ByteBuf::from(sealed) })
    }

    /// Opens the keyring that a configuration seals to a slot. The caller has verified the configuration.
    ///
    /// # Errors
    /// It is not what was sealed.
    pub fn open(repo: &RepoId, entry: &SlotEntry, secret: &SlotSecret) -> Result<Opened, DecodeError> {
        let plain = envelope::open(&secret.private, &info(repo, &entry.id), &entry.keyring)?;
        // The role comes first, so that one of a newer program can be told.
        let (role, _) = wire::take::<u8>(&plain)?;
        if role != FULL || entry.role != FULL {
            return Ok(Opened::UnknownRole(role.max(entry.role)));
        }
        let stored: Stored = wire::decode(&plain)?;
        if stored.extra.iter().any(|(tag, _)| tag % 2 == 1) {
            return Ok(Opened::UnknownRole(role));
        }
        let ascends = stored.epochs.iter().zip(stored.epochs.iter().skip(1)).all(|((a, _), (b, _))| a < b);
        let mut older: Vec<(u32, Key)> =
            stored.epochs.iter().map(|(epoch, master)| (*epoch, Key::new(*master))).collect();
        match older.pop() {
            Some(newest) if ascends => {
                Ok(Opened::Full(Self { naming: Key::new(stored.naming), older, newest }))
            }
            _ => Err(DecodeError::because("a keyring without epochs, or with epochs in disorder")),
        }
    }
}

/// What a key slot opens.
#[derive(Debug)]
pub enum Opened {
    /// A keyring that reads and writes everything.
    Full(Keyring),
    /// One of a role, or with an addition, that this program does not know.
    UnknownRole(u8),
}

/// What a keyring says of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was signed with a key of this keyring.
    Ours,
    /// It was signed in a later epoch, for which the epochs between vouch.
    Newer,
    /// It was not.
    Unfit,
}

/// Returns whether a configuration was signed by an epoch for which the chain of epochs vouches that begins at
/// `epoch`, whose verifying key is `key`.
pub fn is_signed(config: &Config, bytes: &[u8], mut epoch: u32, key: &[u8; 32]) -> bool {
    let mut key = *key;
    for next in &config.handovers {
        if next.epoch <= epoch || next.epoch > config.epoch {
            continue;
        }
        if !signature::verifies(&key, &statement(&config.repo, next.epoch, &next.key), &next.signature) {
            return false;
        }
        (epoch, key) = (next.epoch, next.key);
    }
    let signed = bytes.split_last_chunk::<{ signature::SIGNATURE }>();
    epoch == config.epoch && signed.is_some_and(|(rest, by)| signature::verifies(&key, rest, by))
}

/// What an epoch signs to vouch for the next one.
fn statement(repo: &RepoId, epoch: u32, key: &[u8; 32]) -> Vec<u8> {
    [b"snap/1 epoch".as_slice(), repo.as_bytes(), &epoch.to_le_bytes(), key].concat()
}

fn info(repo: &RepoId, slot: &KeyId) -> Vec<u8> {
    [b"snap/1 keyring".as_slice(), repo.as_bytes(), slot.as_bytes()].concat()
}

fn random_key() -> Result<Key, DecodeError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    cipher::random(bytes.as_mut())?;
    Ok(Key::new(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_makes_new_keys_that_seal_and_sign_and_keeps_those_that_name() {
        let repo = RepoId::new([1; 16]);
        let before = Keyring::random(None).unwrap();
        let after = before.rotated().unwrap();
        let keys = |keyring: &Keyring| SubKeys::of(&keyring.naming, &keyring.newest.1, &repo, &repo);
        let (old, new) = (keys(&before), keys(&after));
        assert!(old.data.bytes() != new.data.bytes() && old.meta.bytes() != new.meta.bytes());
        assert_ne!(before.verifying_key(&repo).unwrap(), after.verifying_key(&repo).unwrap());
        assert_eq!((old.id.bytes(), old.gear), (new.id.bytes(), new.gear));
        assert_eq!((after.epoch(), after.older.len()), (1, 1));
    }
}
