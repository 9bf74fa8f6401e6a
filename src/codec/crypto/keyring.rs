//! The keyring, which a key slot opens: the key for chunk ids, and a master key for each epoch.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::codec::crypto::envelope::KeyPair;
use crate::codec::crypto::epoch::{Epoch, Keys, ReadKeys, StoredReadKeys, StoredWriteKeys, WriteKeys};
use crate::codec::crypto::hash::{Key, NamingKeys};
use crate::codec::crypto::key_slot::SlotSecret;
use crate::codec::crypto::session_keys::{WriteSlot, WritingSession};
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::crypto::{cipher, envelope, session_keys, signature};
use crate::codec::wire;
use crate::model::config::{Config, FULL, Handover, READ, Role, SlotEntry, WRITE};
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};

/// Keys of a repository. New objects are sealed with keys of the newest epoch; keys of older epochs open what
/// was written before.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// Determines ids and boundaries of chunks in all epochs. If it changed, no stored chunk would be found
    /// again.
    naming: Key,
    /// Older epochs, in ascending order.
    older: Vec<Epoch>,
    newest: Epoch,
    /// The slot and the key pair of a write key, with which it seals session keys.
    writer: Option<(KeyId, KeyPair)>,
}

/// A keyring as stored, with the keys of each epoch. Frozen: format version 1.
#[derive(Serialize, Deserialize)]
struct Stored<K> {
    role: u8,
    naming: [u8; 32],
    epochs: Vec<(u32, K)>,
    extra: Vec<(u16, ByteBuf)>,
}

impl Keyring {
    /// Returns the keyring of an unencrypted repository, with one key for everything.
    pub fn single(master: Key) -> Self {
        Self { naming: master.clone(), older: Vec::new(), newest: Epoch::full(0, master), writer: None }
    }

    /// Returns a new random keyring. `naming` determines ids and boundaries of chunks; random if `None`.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub fn random(naming: Option<Key>) -> Result<Self, DecodeError> {
        let naming = naming.map_or_else(random_key, Ok)?;
        Ok(Self { naming, older: Vec::new(), newest: Epoch::full(0, random_key()?), writer: None })
    }

    /// Returns this keyring with one more epoch, which has a random master key.
    ///
    /// # Errors
    /// The system's random generator fails, epochs are exhausted, or this is not the keyring of a full key.
    pub fn rotated(&self) -> Result<Self, DecodeError> {
        if self.role() != Role::Full {
            return Err(DecodeError::because("only a full key can begin an epoch"));
        }
        let epoch =
            self.epoch().checked_add(1).ok_or(DecodeError::because("the highest epoch number is in use"))?;
        let mut older = self.older.clone();
        older.push(self.newest.clone());
        let newest = Epoch::full(epoch, random_key()?);
        Ok(Self { naming: self.naming.clone(), older, newest, writer: None })
    }

    /// Returns the role of the keyring.
    pub fn role(&self) -> Role {
        match self.newest.keys {
            Keys::Full(_) => Role::Full,
            Keys::Read(_) => Role::Read,
            Keys::Write(_) => Role::Write,
        }
    }

    /// Returns the key for a write key's memory on its machine; `None` for another role.
    pub fn memory_key(&self) -> Option<Key> {
        self.writer.as_ref().map(|(_, pair)| session_keys::memory_key(pair))
    }

    /// Returns the key that determines ids and boundaries of chunks.
    pub fn naming(&self) -> &Key {
        &self.naming
    }

    /// Returns the newest epoch.
    pub fn epoch(&self) -> u32 {
        self.newest.number
    }

    /// Returns the derived keys for ids and boundaries of chunks.
    pub fn naming_keys(&self, config: &Config) -> NamingKeys {
        NamingKeys::of(&self.naming, &config.family())
    }

    /// Returns the ciphers of all epochs. For a write key this begins a session: what it seals can be opened
    /// as long as the suite exists.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub fn suite(&self, config: &Config) -> Result<CipherSuite, DecodeError> {
        let older: Result<Vec<_>, _> = self.older.iter().map(|epoch| epoch.open(&config.repo)).collect();
        let newest = self.newest.open(&config.repo)?;
        let suite = CipherSuite::of_epochs(config.cipher, config.repo, older?.into_iter(), newest);
        let suite = suite.with_writers(writers_of(config));
        match (&self.newest.keys, &self.writer) {
            (Keys::Write(keys), Some((slot, pair))) => {
                let session = WritingSession::begin(&config.repo, *slot, pair, &keys.session)?;
                Ok(suite.writing(session))
            }
            _ => Ok(suite),
        }
    }

    fn epochs(&self) -> impl Iterator<Item = &Epoch> {
        self.older.iter().chain([&self.newest])
    }

    /// Returns the seed that signs configurations of an epoch; `None` if there is no such epoch, or this is
    /// not the keyring of a full key.
    pub fn signing_seed(&self, repo: &RepoId, epoch: u32) -> Option<Key> {
        self.epochs().find(|known| known.number == epoch)?.signing_seed(repo)
    }

    /// Returns the key that verifies configurations of the newest epoch.
    ///
    /// # Errors
    /// Never.
    pub fn verifying_key(&self, repo: &RepoId) -> Result<[u8; 32], DecodeError> {
        self.newest.verifying_key(repo)
    }

    /// Determines whether this keyring trusts a configuration.
    pub fn check_trust(&self, config: &Config, bytes: &[u8]) -> ConfigVerdict {
        let epoch = config.epoch.min(self.epoch());
        let keys = self.epochs().find(|known| known.number == epoch);
        let key = keys.and_then(|keys| keys.verifying_key(&config.repo).ok());
        if !key.is_some_and(|key| is_signed(config, bytes, epoch, &key)) {
            ConfigVerdict::Untrusted
        } else if config.epoch > self.epoch() {
            ConfigVerdict::Newer
        } else {
            ConfigVerdict::Ours
        }
    }

    /// Begins the next epoch in a configuration: the previous epoch signs the new verifying key.
    ///
    /// # Errors
    /// This is not the keyring of a full key.
    pub fn hand_over(&self, next: &Self, config: &mut Config) -> Result<(), DecodeError> {
        let key = next.verifying_key(&config.repo)?;
        let seed = self.newest.signing_seed(&config.repo);
        let seed = seed.ok_or(DecodeError::because("only a full key can begin an epoch"))?;
        let signed = signature::sign(&seed, &statement(&config.repo, next.epoch(), &key))?;
        config.handovers.push(Handover { epoch: next.epoch(), key, signature: ByteBuf::from(signed) });
        config.epoch = next.epoch();
        Ok(())
    }

    /// Seals the part of the keyring that a role may have to a slot.
    ///
    /// # Errors
    /// The public key is invalid, or this keyring lacks the keys.
    pub fn seal_to(
        &self,
        repo: &RepoId,
        id: KeyId,
        public: [u8; 32],
        role: Role,
    ) -> Result<SlotEntry, DecodeError> {
        let (naming, role) = (*self.naming.bytes(), role.byte());
        let plain = Zeroizing::new(match role {
            READ => {
                let epochs = self.epochs().map(|epoch| Ok((epoch.number, epoch.to_read(repo)?.stored())));
                let epochs = epochs.collect::<Result<_, DecodeError>>()?;
                wire::encode(&Stored::<StoredReadKeys> { role, naming, epochs, extra: Vec::new() })?
            }
            WRITE => {
                let epochs = self.epochs().map(|epoch| Ok((epoch.number, epoch.to_write(repo)?)));
                let epochs = epochs.collect::<Result<_, DecodeError>>()?;
                wire::encode(&Stored::<StoredWriteKeys> { role, naming, epochs, extra: Vec::new() })?
            }
            _ => {
                let epochs = self.epochs().map(|epoch| match &epoch.keys {
                    Keys::Full(master) => Ok((epoch.number, *master.bytes())),
                    Keys::Read(_) | Keys::Write(_) => {
                        Err(DecodeError::because("only a full key can create full keys"))
                    }
                });
                let epochs = epochs.collect::<Result<_, DecodeError>>()?;
                wire::encode(&Stored::<[u8; 32]> { role, naming, epochs, extra: Vec::new() })?
            }
        });
        let sealed = envelope::seal(&public, &info(repo, &id), &plain)?;
        Ok(SlotEntry { id, role, public, keyring: ByteBuf::from(sealed) })
    }

    /// Opens the keyring that a configuration seals to a slot. The caller has verified the configuration.
    ///
    /// # Errors
    /// It was not sealed to this slot, or was changed.
    pub fn open(repo: &RepoId, entry: &SlotEntry, secret: &SlotSecret) -> Result<OpenedKeyring, DecodeError> {
        let plain = envelope::open(&secret.private, &info(repo, &entry.id), &entry.keyring)?;
        // The role comes first, so that an unknown role of a newer version is recognized.
        let (role, _) = wire::take::<u8>(&plain)?;
        match (role, entry.role) {
            (FULL, FULL) => Self::decode(&plain, |master| Keys::Full(Key::new(master))),
            (WRITE, WRITE) => {
                let keys = |[shared, session, verifying]: StoredWriteKeys| {
                    Keys::Write(WriteKeys { shared: Key::new(shared), session, verifying })
                };
                let opened = Self::decode(&plain, keys)?;
                let pair = envelope::pair_of(&secret.private)?;
                Ok(match opened {
                    OpenedKeyring::Known(keyring) => {
                        OpenedKeyring::Known(Box::new(Self { writer: Some((entry.id, pair)), ..*keyring }))
                    }
                    unknown => unknown,
                })
            }
            (READ, READ) => Self::decode(&plain, |keys| Keys::Read(ReadKeys::of(keys))),
            _ => Ok(OpenedKeyring::UnknownRole(role.max(entry.role))),
        }
    }

    fn decode<K: DeserializeOwned>(
        plain: &[u8],
        keys: impl Fn(K) -> Keys,
    ) -> Result<OpenedKeyring, DecodeError> {
        let stored: Stored<K> = wire::decode(plain)?;
        if stored.extra.iter().any(|(tag, _)| tag % 2 == 1) {
            return Ok(OpenedKeyring::UnknownRole(stored.role));
        }
        let epochs = stored.epochs.into_iter();
        let mut older: Vec<Epoch> = epochs.map(|(number, key)| Epoch { number, keys: keys(key) }).collect();
        let ascends = older.is_sorted_by(|a, b| a.number < b.number);
        match older.pop() {
            Some(newest) if ascends => Ok(OpenedKeyring::Known(Box::new(Self {
                naming: Key::new(stored.naming),
                older,
                newest,
                writer: None,
            }))),
            _ => Err(DecodeError::because("the keyring has no epochs, or its epochs are out of order")),
        }
    }
}

/// Returns the slots of write keys in a configuration, valid or retired.
pub fn writers_of(config: &Config) -> Vec<WriteSlot> {
    let valid = config.slots.iter().filter(|entry| entry.role == WRITE);
    let valid = valid.map(|entry| WriteSlot { slot: entry.id, public: entry.public, last: config.epoch });
    let retired = config.retired().into_iter();
    valid.chain(retired.map(|(slot, public, last)| WriteSlot { slot, public, last })).collect()
}

/// The keyring in a key slot.
#[derive(Debug)]
pub enum OpenedKeyring {
    /// A keyring of a known role.
    Known(Box<Keyring>),
    /// A keyring of a role or with an addition that this version does not know.
    UnknownRole(u8),
}

/// Result of checking a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigVerdict {
    /// It was signed in an epoch of this keyring.
    Ours,
    /// It was signed in a later epoch, to which a chain of signatures leads.
    Newer,
    /// It was not signed by a trusted key.
    Untrusted,
}

/// Returns whether the signature of a configuration is valid. The chain of signed epochs starts at `epoch`
/// with the verifying key `key`.
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

/// Returns the message with which an epoch signs the verifying key of the next one.
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
    fn rotation_replaces_sealing_keys_and_keeps_naming_keys() {
        let repo = RepoId::new([1; 16]);
        let before = Keyring::random(None).unwrap();
        let after = before.rotated().unwrap();
        let keys = |keyring: &Keyring| keyring.newest.open(&repo).unwrap();
        let (old, new) = (keys(&before), keys(&after));
        let bytes = |key: &Option<Key>| key.as_ref().map(|key| *key.bytes());
        assert!(bytes(&old.data) != bytes(&new.data) && bytes(&old.meta) != bytes(&new.meta));
        assert_ne!(old.shared.bytes(), new.shared.bytes());
        assert_ne!(before.verifying_key(&repo).unwrap(), after.verifying_key(&repo).unwrap());
        assert_eq!(before.naming().bytes(), after.naming().bytes());
        assert_eq!((after.epoch(), after.older.len()), (1, 1));
    }

    #[test]
    fn read_keyring_opens_all_epochs_and_signs_in_none() {
        let (repo, id) = (RepoId::new([1; 16]), KeyId::new([2; 32]));
        let full = Keyring::random(None).unwrap().rotated().unwrap();
        let slot = envelope::new_pair().unwrap();
        let entry = full.seal_to(&repo, id, slot.public, Role::Read).unwrap();
        let secret = SlotSecret { private: slot.private, epoch: 0, anchor: [0; 32] };
        let open = |entry: &SlotEntry| Keyring::open(&repo, entry, &secret).unwrap();
        let OpenedKeyring::Known(read) = open(&entry) else { panic!("a role that is not known") };
        assert_eq!((read.role(), read.epoch(), read.older.len()), (Role::Read, 1, 1));
        for (its, ours) in read.epochs().zip(full.epochs()) {
            let (its, ours) = (its.open(&repo).unwrap(), ours.open(&repo).unwrap());
            let bytes = |key: &Option<Key>| key.as_ref().map(|key| *key.bytes());
            assert_eq!((bytes(&its.data), bytes(&its.meta)), (bytes(&ours.data), bytes(&ours.meta)));
            assert_eq!(bytes(&its.session), bytes(&ours.session));
            assert_eq!((its.shared.bytes(), its.verifying), (ours.shared.bytes(), ours.verifying));
            assert!(its.signing.is_none() && ours.signing.is_some());
        }
        assert!(read.signing_seed(&repo, 0).is_none() && read.rotated().is_err());
        assert!(read.seal_to(&repo, id, slot.public, Role::Full).is_err());
        // A list with a different role than the keyring is rejected.
        let other = SlotEntry { role: FULL, ..entry };
        assert!(matches!(open(&other), OpenedKeyring::UnknownRole(_)));
    }
}
