//! The ciphers of an open repository: they seal, open, sign and verify objects with the right keys.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::codec::crypto::cipher::Cipher;
use crate::codec::crypto::hash::{ChunkType, Key, SubKeys};
use crate::codec::crypto::session_keys::{Envelope, Sealing, SessionCiphers, WriteSlot, WritingSession};
use crate::codec::crypto::signature::{self, SIGNATURE, VERIFYING};
use crate::model::config::CipherKind;
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};

/// The keys of one epoch for sealing, signing and verifying objects.
#[derive(Debug, Clone)]
pub struct EpochKeys {
    /// Number of the epoch.
    pub epoch: u32,
    /// Seals blocks of file data. A write key has none.
    pub data: Option<Key>,
    /// Seals trees, and objects with names of hosts, users or paths. A write key has none.
    pub meta: Option<Key>,
    /// Seals objects that every role can read.
    pub shared: Key,
    /// Opens session keys of write keys. A write key has none.
    pub session: Option<Key>,
    /// Verifies objects that only a full key may write.
    pub verifying: [u8; VERIFYING],
    /// Seed of the signing key. Only a full key has it.
    pub signing: Option<Key>,
}

impl EpochKeys {
    /// Returns the keys of an epoch for a full key.
    ///
    /// # Errors
    /// Never.
    pub fn full(epoch: u32, keys: &SubKeys) -> Result<Self, DecodeError> {
        Ok(Self::of(epoch, keys, signature::verifying_key(&keys.config)?))
    }

    fn of(epoch: u32, keys: &SubKeys, verifying: [u8; VERIFYING]) -> Self {
        let SubKeys { data, meta, shared, session, config, .. } = keys.clone();
        let [data, meta, session, signing] = [data, meta, session, config].map(Some);
        Self { epoch, data, meta, shared, session, verifying, signing }
    }
}

#[derive(Debug)]
struct EpochCiphers {
    epoch: u32,
    data: Option<Cipher>,
    meta: Option<Cipher>,
    shared: Cipher,
    session: Option<Key>,
    verifying: [u8; VERIFYING],
    signing: Option<Key>,
}

/// Cache of opened session keys, because packs of one session follow each other.
type Opened = Arc<Mutex<HashMap<Envelope, Arc<SessionCiphers>>>>;
/// Maximum number of cached session keys.
const MAX_OPENED: usize = 4096;

/// The ciphers of an open repository, for all epochs of its keyring.
#[derive(Debug, Clone)]
pub struct CipherSuite {
    /// Part of all associated data, so that no object of another repository can be substituted.
    pub repo: RepoId,
    /// The kind of all ciphers.
    pub kind: CipherKind,
    /// The newest epoch, whose keys seal new objects.
    pub epoch: u32,
    newest: Arc<EpochCiphers>,
    /// Older epochs, whose keys open older objects.
    older: Arc<[EpochCiphers]>,
    /// Slots whose sessions are trusted.
    writers: Arc<[WriteSlot]>,
    /// The session of a write key. Only this session can open what it seals; other write keys cannot.
    writing: Option<Arc<WritingSession>>,
    opened: Opened,
}

const LOCKED: DecodeError = DecodeError::because("a write key cannot decrypt it");

impl CipherSuite {
    /// Creates the ciphers of a repository with the keys of its first epoch.
    pub fn new(kind: CipherKind, repo: RepoId, keys: &SubKeys) -> Self {
        // Never fails. The fallback is not a key and verifies nothing.
        let verifying = signature::verifying_key(&keys.config).unwrap_or([0xff; VERIFYING]);
        Self::of_epochs(kind, repo, std::iter::empty(), EpochKeys::of(0, keys, verifying))
    }

    /// Creates the ciphers of several epochs.
    pub fn of_epochs(
        kind: CipherKind,
        repo: RepoId,
        older: impl Iterator<Item = EpochKeys>,
        newest: EpochKeys,
    ) -> Self {
        let cipher = |key| Cipher::new(kind, key);
        let ciphers = |keys: EpochKeys| EpochCiphers {
            epoch: keys.epoch,
            data: keys.data.map(cipher),
            meta: keys.meta.map(cipher),
            shared: cipher(keys.shared),
            session: keys.session,
            verifying: keys.verifying,
            signing: keys.signing,
        };
        let (epoch, older) = (newest.epoch, older.map(ciphers).collect());
        let (writers, newest) = (Arc::default(), Arc::new(ciphers(newest)));
        Self { repo, kind, epoch, newest, older, writers, writing: None, opened: Opened::default() }
    }

    /// Returns the suite with the slots whose sessions it trusts.
    #[must_use]
    pub fn with_writers(self, writers: Vec<WriteSlot>) -> Self {
        Self { writers: writers.into(), ..self }
    }

    /// Returns the suite with a session, whose keys seal new objects.
    #[must_use]
    pub fn writing(self, session: WritingSession) -> Self {
        Self { writing: Some(Arc::new(session)), ..self }
    }

    /// Returns the session of a write key, if new objects are sealed with one.
    pub fn session(&self) -> Option<&WritingSession> {
        self.writing.as_deref()
    }

    /// Returns the slots whose sessions are trusted.
    pub fn writers(&self) -> &[WriteSlot] {
        &self.writers
    }

    /// Returns the keys that new objects are sealed with.
    pub fn now(&self) -> Sealing {
        Sealing { epoch: self.epoch, by: self.writing.as_ref().map(|session| session.envelope) }
    }

    /// Returns whether new data may refer to chunks sealed with these keys: those of full keys, and those
    /// that the current write key has recognized as its own. With the shared key alone, any bytes can be
    /// stored under any id.
    pub fn may_reuse(&self, by: Option<&Envelope>, own: Option<KeyId>) -> bool {
        by.is_none() || own.is_some() && own == self.writing.as_ref().map(|session| session.envelope.slot())
    }

    /// Returns the cipher for new blocks of a type.
    ///
    /// # Errors
    /// The key of this suite cannot seal any.
    pub fn block(&self, kind: ChunkType) -> Result<Cipher, DecodeError> {
        self.block_of(self.now(), kind)
    }

    /// Returns the cipher for new objects that every role can read.
    pub fn shared(&self) -> &Cipher {
        &self.newest.shared
    }

    /// Returns the cipher that opens blocks of a type with this sealing.
    ///
    /// # Errors
    /// The keys are not available.
    pub fn block_of(&self, sealing: impl Into<Sealing>, kind: ChunkType) -> Result<Cipher, DecodeError> {
        let Sealing { epoch, by } = sealing.into();
        let keys = self.of_epoch(epoch)?;
        if let Some(envelope) = by {
            return self.with_session(keys, &envelope, |ciphers| match kind {
                ChunkType::Data => ciphers.data.clone(),
                ChunkType::Tree => ciphers.meta.clone(),
            });
        }
        let cipher = if kind == ChunkType::Data { &keys.data } else { &keys.meta };
        cipher.clone().ok_or(LOCKED)
    }

    /// Returns the cipher that opens objects with names of hosts, users or paths with this sealing.
    ///
    /// # Errors
    /// The keys are not available.
    pub fn meta_of(&self, sealing: impl Into<Sealing>) -> Result<Cipher, DecodeError> {
        self.block_of(sealing, ChunkType::Tree)
    }

    /// Returns the cipher that opens objects of an epoch that every role can read.
    ///
    /// # Errors
    /// There are no keys of this epoch.
    pub fn shared_of(&self, epoch: u32) -> Result<&Cipher, DecodeError> {
        Ok(&self.of_epoch(epoch)?.shared)
    }

    fn with_session<T>(
        &self,
        keys: &EpochCiphers,
        envelope: &Envelope,
        choose: impl Fn(&SessionCiphers) -> T,
    ) -> Result<T, DecodeError> {
        if let Some(session) = self.writing.as_ref().filter(|session| session.envelope == *envelope) {
            return Ok(choose(&session.ciphers));
        }
        let writer = self.writers.iter().find(|writer| writer.slot == envelope.slot());
        let writer = writer.filter(|writer| keys.epoch <= writer.last).ok_or_else(|| {
            DecodeError::with(format!(
                "its header names key slot {} and epoch {}, but no such write key was valid then",
                envelope.slot().short(),
                keys.epoch
            ))
        })?;
        let opened = || self.opened.lock();
        if let Some(ciphers) = opened().get(envelope) {
            return Ok(choose(ciphers));
        }
        let private = keys.session.as_ref().ok_or(LOCKED)?;
        let ciphers = Arc::new(envelope.open(&self.repo, private, &writer.public)?);
        let chosen = choose(&ciphers);
        let mut opened = opened();
        if opened.len() >= MAX_OPENED {
            opened.clear();
        }
        opened.insert(*envelope, ciphers);
        Ok(chosen)
    }

    /// Returns `body` with the signature of the newest epoch, to be sealed with `aad`. Unencrypted
    /// repositories have no signatures, because everybody has the key.
    ///
    /// # Errors
    /// The key of this suite cannot sign.
    pub fn signed(&self, aad: &[u8], body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = body.to_vec();
        if self.kind != CipherKind::None {
            let seed = self.newest.signing.as_ref();
            let seed = seed.ok_or(DecodeError::because("only a full key can sign it"))?;
            out.extend_from_slice(&signature::sign(seed, &statement(aad, body))?);
        }
        Ok(out)
    }

    /// Verifies the signature that [`Self::signed`] appended in an epoch, and returns the body.
    ///
    /// # Errors
    /// It was not signed by a full key.
    pub fn verified<'a>(&self, epoch: u32, aad: &[u8], plain: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        if self.kind == CipherKind::None {
            return Ok(plain);
        }
        let (body, by) = plain
            .split_last_chunk::<SIGNATURE>()
            .ok_or(DecodeError::because("it is too short for a signature"))?;
        if signature::verifies(&self.of_epoch(epoch)?.verifying, &statement(aad, body), by) {
            Ok(body)
        } else {
            Err(DecodeError::because("its signature was not made by a full key"))
        }
    }

    /// Returns the number of bytes that [`Self::signed`] adds.
    pub fn signature_len(&self) -> usize {
        if self.kind == CipherKind::None { 0 } else { SIGNATURE }
    }

    fn of_epoch(&self, epoch: u32) -> Result<&EpochCiphers, DecodeError> {
        if epoch == self.epoch {
            return Ok(&self.newest);
        }
        self.older.iter().find(|ciphers| ciphers.epoch == epoch).ok_or_else(|| self.no_epoch(epoch))
    }

    fn no_epoch(&self, epoch: u32) -> DecodeError {
        let hint =
            if epoch > self.epoch { "; if the key was rotated just now, run the command again" } else { "" };
        DecodeError::with(format!(
            "its header names epoch {epoch} of the key, but this key has epochs up to {}{hint}",
            self.epoch
        ))
    }
}

/// Returns the message to sign for an object with this associated data.
fn statement(aad: &[u8], body: &[u8]) -> Vec<u8> {
    [b"snap/1 signed".as_slice(), &(aad.len() as u64).to_le_bytes(), aad, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::crypto::envelope;

    fn suite_of(epoch: u32, writers: Vec<WriteSlot>) -> (CipherSuite, [u8; 32]) {
        let repo = RepoId::new([2; 16]);
        let keys = |number: u32| SubKeys::derive(&Key::new([number as u8 + 1; 32]), &repo);
        let older = (0..epoch).filter_map(|number| EpochKeys::full(number, &keys(number)).ok());
        let newest = keys(epoch);
        let public = envelope::pair_of(&newest.session).unwrap().public;
        let newest = EpochKeys::full(epoch, &newest).unwrap();
        let suite = CipherSuite::of_epochs(CipherKind::Xaes256Gcm, repo, older, newest);
        (suite.with_writers(writers), public)
    }

    #[test]
    fn former_writer_is_trusted_in_the_epochs_it_was_valid() {
        let (slot, pair) = (KeyId::new([5; 32]), envelope::new_pair().unwrap());
        let writer = |last| vec![WriteSlot { slot, public: pair.public, last }];
        let session = |suite: &CipherSuite, to| WritingSession::begin(&suite.repo, slot, &pair, to).unwrap();
        let (old, to_old) = suite_of(0, writer(0));
        let by_old = session(&old, &to_old).envelope;
        let (new, to_new) = suite_of(1, writer(0));
        let by_new = session(&new, &to_new).envelope;
        let opens = |suite: &CipherSuite, epoch, by| {
            suite.block_of(Sealing { epoch, by: Some(by) }, ChunkType::Data).is_ok()
        };
        assert!(opens(&old, 0, by_old) && opens(&new, 0, by_old), "what it wrote while it was valid");
        assert!(!opens(&new, 1, by_new), "what it writes in a later epoch");
        assert!(!opens(&new, 0, by_new) && !opens(&new, 1, by_old), "keys sealed to another epoch");
        let info = [b"snap/1 session".as_slice(), old.repo.as_bytes(), slot.as_bytes()].concat();
        let by_nobody = envelope::seal(&to_old, &info, &[1; 64]).unwrap();
        let by_nobody = [slot.as_bytes().as_slice(), &by_nobody].concat().try_into().unwrap();
        assert!(!opens(&old, 0, Envelope::new(by_nobody)), "sealed with public keys alone");
        let (valid, _) = suite_of(1, writer(1));
        assert!(opens(&valid, 1, by_new) && opens(&valid, 0, by_old));
        let (unlisted, _) = suite_of(1, Vec::new());
        assert!(!opens(&unlisted, 1, by_new));
    }

    #[test]
    fn write_session_opens_its_own_data_only_while_it_lives() {
        let (slot, pair) = (KeyId::new([5; 32]), envelope::new_pair().unwrap());
        let (full, public) = suite_of(0, vec![WriteSlot { slot, public: pair.public, last: 0 }]);
        let locked = EpochKeys { data: None, meta: None, session: None, signing: None, ..full_keys() };
        let begin = || {
            let suite = CipherSuite::of_epochs(full.kind, full.repo, std::iter::empty(), locked.clone());
            let writers = full.writers().to_vec();
            suite
                .with_writers(writers)
                .writing(WritingSession::begin(&full.repo, slot, &pair, &public).unwrap())
        };
        let (one, other) = (begin(), begin());
        let mut sealed = Vec::new();
        one.block(ChunkType::Tree).unwrap().seal(b"aad", b"plain", &mut sealed).unwrap();
        let opens = |suite: &CipherSuite, by| {
            let cipher = suite.block_of(by, ChunkType::Tree);
            cipher.is_ok_and(|cipher| cipher.open(b"aad", &mut sealed.clone()).is_ok())
        };
        assert!(opens(&one, one.now()) && opens(&full, one.now()));
        assert!(!opens(&other, one.now()), "the session has ended");
        assert!(!opens(&one, Sealing::from(0)) && one.signed(b"", b"").is_err());
        assert!(full.may_reuse(None, None) && !full.may_reuse(one.now().by.as_ref(), Some(slot)));
        assert!(
            one.may_reuse(one.now().by.as_ref(), Some(slot)) && !one.may_reuse(one.now().by.as_ref(), None)
        );
    }

    fn full_keys() -> EpochKeys {
        EpochKeys::full(0, &SubKeys::derive(&Key::new([1; 32]), &RepoId::new([2; 16]))).unwrap()
    }
}
