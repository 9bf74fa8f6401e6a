//! The keys of an epoch, as far as a role has them.

use crate::codec::crypto::hash::{Key, SubKeys};
use crate::codec::crypto::suite::EpochKeys;
use crate::codec::crypto::{envelope, signature};
use crate::model::decode_error::DecodeError;
use crate::model::id::RepoId;

/// An epoch of a keyring.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    pub(super) number: u32,
    pub(super) keys: Keys,
}

/// The keys that a keyring has of an epoch. All epochs of a keyring have the same role.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    /// The master key, from which all others are derived.
    Full(Key),
    /// Keys that open, but none that sign.
    Read(ReadKeys),
    /// The key that all roles have, and a public key to seal to.
    Write(WriteKeys),
}

/// The keys of an epoch in the keyring of a write key.
#[derive(Debug, Clone)]
pub(super) struct WriteKeys {
    pub(super) shared: Key,
    /// Public key to which session keys are sealed.
    pub(super) session: [u8; 32],
    pub(super) verifying: [u8; 32],
}

/// The fields of [`WriteKeys`] in order. Frozen: format version 1.
pub(super) type StoredWriteKeys = [[u8; 32]; 3];

/// The keys of an epoch in the keyring of a read key.
#[derive(Debug, Clone)]
pub(super) struct ReadKeys {
    data: Key,
    meta: Key,
    shared: Key,
    session: Key,
    verifying: [u8; 32],
}

/// The fields of [`ReadKeys`] in order. Frozen: format version 1.
pub(super) type StoredReadKeys = [[u8; 32]; 5];

impl ReadKeys {
    pub(super) fn of([data, meta, shared, session, verifying]: StoredReadKeys) -> Self {
        let [data, meta, shared, session] = [data, meta, shared, session].map(Key::new);
        Self { data, meta, shared, session, verifying }
    }

    pub(super) fn stored(&self) -> StoredReadKeys {
        let Self { data, meta, shared, session, verifying } = self;
        [*data.bytes(), *meta.bytes(), *shared.bytes(), *session.bytes(), *verifying]
    }
}

impl Epoch {
    pub(super) fn full(number: u32, master: Key) -> Self {
        Self { number, keys: Keys::Full(master) }
    }

    /// Returns the keys that seal and open objects of this epoch.
    pub(super) fn open(&self, repo: &RepoId) -> Result<EpochKeys, DecodeError> {
        match &self.keys {
            Keys::Full(master) => EpochKeys::full(self.number, &SubKeys::derive(master, repo)),
            Keys::Read(keys) => Ok(EpochKeys {
                epoch: self.number,
                data: Some(keys.data.clone()),
                meta: Some(keys.meta.clone()),
                shared: keys.shared.clone(),
                session: Some(keys.session.clone()),
                verifying: keys.verifying,
                signing: None,
            }),
            Keys::Write(keys) => Ok(EpochKeys {
                epoch: self.number,
                data: None,
                meta: None,
                shared: keys.shared.clone(),
                session: None,
                verifying: keys.verifying,
                signing: None,
            }),
        }
    }

    /// Returns the keys of this epoch for a read key.
    pub(super) fn to_read(&self, repo: &RepoId) -> Result<ReadKeys, DecodeError> {
        match &self.keys {
            Keys::Read(keys) => Ok(keys.clone()),
            Keys::Write(_) => Err(DecodeError::because("only a full key can create read keys")),
            Keys::Full(master) => {
                let SubKeys { data, meta, shared, session, config, .. } = SubKeys::derive(master, repo);
                Ok(ReadKeys { data, meta, shared, session, verifying: signature::verifying_key(&config)? })
            }
        }
    }

    /// Returns the keys of this epoch for a write key.
    pub(super) fn to_write(&self, repo: &RepoId) -> Result<StoredWriteKeys, DecodeError> {
        let Keys::Full(master) = &self.keys else {
            return Err(DecodeError::because("only a full key can create write keys"));
        };
        let SubKeys { shared, session, config, .. } = SubKeys::derive(master, repo);
        Ok([*shared.bytes(), envelope::pair_of(&session)?.public, signature::verifying_key(&config)?])
    }

    pub(super) fn verifying_key(&self, repo: &RepoId) -> Result<[u8; 32], DecodeError> {
        match &self.keys {
            Keys::Full(master) => signature::verifying_key(&SubKeys::derive(master, repo).config),
            Keys::Read(keys) => Ok(keys.verifying),
            Keys::Write(keys) => Ok(keys.verifying),
        }
    }

    /// Returns the signing seed; `None` if the keyring is not that of a full key.
    pub(super) fn signing_seed(&self, repo: &RepoId) -> Option<Key> {
        match &self.keys {
            Keys::Full(master) => Some(SubKeys::derive(master, repo).config),
            Keys::Read(_) | Keys::Write(_) => None,
        }
    }
}
