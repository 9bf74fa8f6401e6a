//! Opens repositories.

use std::sync::Arc;

use crate::codec::chunk::chunker::Chunker;
use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::crypto::keyring::ConfigVerdict;
use crate::error::{Error, Result};
use crate::model::id::RepoId;
use crate::progress::{Control, Event, MessageBuffer, Observer};
use crate::repo::cache::Cache;
use crate::repo::config::{self, Candidates, candidates, check_features};
use crate::repo::divergence::{refuse, refuse_another};
use crate::repo::options::{IndexLimits, OpenOptions};
use crate::repo::repository::Repository;
use crate::repo::repository::diverged::Diverged;
use crate::repo::unlock::{self, Access, Unlocked};
use crate::repo::write_key_memory::TreeMemory;
use crate::run_log::known::{KnownPlace, Place};
use crate::storage::names::OwnObjects;
use crate::storage::{ObjectKind, Storage, names};

/// A repository that was found but not opened yet.
#[derive(Debug, Clone)]
pub struct Discovered {
    candidates: Candidates,
    only_key: Option<String>,
}

impl Discovered {
    /// Restricts opening to the key slot whose id has this prefix.
    #[must_use]
    pub fn with_key(self, id: Option<String>) -> Self {
        Self { only_key: id, ..self }
    }

    /// Takes into account what this machine knows of the location, so that a planted configuration is
    /// ignored.
    #[doc(hidden)]
    #[must_use]
    pub fn known_by(mut self, known: &KnownPlace) -> Self {
        self.candidates.drop_planted(&known.read());
        self
    }

    /// Returns whether this machine has used the repository without encryption before.
    ///
    /// # Errors
    /// A bug.
    #[doc(hidden)]
    pub fn is_known_open(&self, known: &KnownPlace) -> Result<bool> {
        Ok(known.is_known_open(&self.candidates.newest()?.repo))
    }

    /// Returns whether it claims to be encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.candidates.are_encrypted()
    }
}

impl Repository {
    /// Returns whether there is a repository.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn exists(storage: &dyn Storage) -> Result<bool> {
        Ok(!names::list(storage, ObjectKind::Config)?.is_empty())
    }

    /// Returns whether the repository claims to be encrypted.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn is_encrypted(storage: &dyn Storage) -> Result<bool> {
        Ok(candidates(storage)?.are_encrypted())
    }

    /// Returns the id that the repository claims, without opening it.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn id_at(storage: &dyn Storage) -> Result<RepoId> {
        Ok(candidates(storage)?.newest()?.repo)
    }

    /// Returns the quota that the repository claims, without opening it.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn quota_at(storage: &dyn Storage) -> Result<Option<u64>> {
        Ok(candidates(storage)?.newest()?.quota())
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When there is none, it is newer, the password is wrong, or it is not the one this machine knew here.
    pub fn open(storage: Arc<dyn Storage>, access: &OpenOptions) -> Result<Self> {
        let found = Self::discover(storage.as_ref())?;
        Self::open_found(storage, found, access)
    }

    /// Finds a repository without opening it, for callers that must know first whether it is encrypted.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn discover(storage: &dyn Storage) -> Result<Discovered> {
        candidates(storage).map(|candidates| Discovered { candidates, only_key: None })
    }

    /// Opens a repository that was found.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_found(
        storage: Arc<dyn Storage>,
        mut found: Discovered,
        access: &OpenOptions,
    ) -> Result<Self> {
        let location = storage.location();
        let known = KnownPlace::new(access.state.as_deref(), &location);
        let place = if access.accept { Place::default() } else { known.read() };
        found.candidates.drop_planted(&place);
        if !access.accept {
            // Before any key derivation: a repository that is no longer encrypted must not be given the
            // password.
            refuse_another(&known, &found.candidates, &location)?;
        }
        let with = Access {
            password: access.password.as_ref().map(|password| password.as_str()),
            dirs: (access.cache.as_deref(), access.state.as_deref()),
            only: found.only_key.take(),
        };
        let Unlocked { config, keyring, slot } =
            unlock::unlock(&mut found.candidates, storage.as_ref(), &with)?;
        let encrypted = config.is_encrypted();
        if !access.accept {
            refuse(&known, &config, encrypted, &location)?;
        }
        check_features(&config)?;
        let cache = Cache::new(access.cache.as_deref(), access.state.as_deref(), &location, &config.repo);
        let problems = found.candidates.trouble;
        let naming = keyring.naming_keys(&config);
        let what = ObjectKind::Config.path(&config.generation.to_string());
        let suite = keyring.suite(&config).map_err(Error::damaged(what.clone()))?;
        let chunker = Chunker::new(config.chunker, &naming.gear).map_err(Error::damaged(what))?;
        let hasher = ChunkHasher::new(&naming.id);
        let memory = slot
            .zip(keyring.memory_key())
            .map(|(slot, key)| Arc::new(TreeMemory::new(access.state.as_deref(), &config.repo, &slot, key)));
        let unheard = Arc::default();
        let repo = Self {
            storage: OwnObjects::of(storage),
            config,
            suite,
            hasher,
            chunker,
            keyring,
            slot,
            memory,
            cache,
            known,
            diverged: Diverged::default(),
            index_cache: Arc::default(),
            limits: IndexLimits::default(),
            control: control_or_buffer(&access.control, &unheard),
            unheard,
            healer: Arc::default(),
            bases: Arc::default(),
            command: Arc::default(),
        };
        problems.into_iter().for_each(|text| repo.control.warn(text));
        repo.compare_config(access.accept);
        Ok(repo)
    }

    /// Opens an object-for-object copy of the same repository on another storage.
    ///
    /// # Errors
    /// When there is none, or it is another repository.
    #[doc(hidden)]
    pub fn elsewhere(&self, storage: Arc<dyn Storage>) -> Result<Self> {
        let location = storage.location();
        let mut found = candidates(storage.as_ref())?;
        let another =
            || Error::Refused(format!("the repository at {location} is not the one at {}", self.location()));
        // A generation of another repository does not count, like a damaged one, if an older one is ours.
        let ours = found.first_authentic(|config, bytes| {
            if config.repo == self.config.repo {
                Ok(self.keyring.check_trust(config, bytes) == ConfigVerdict::Ours)
            } else {
                Err(config::unauthentic(config.generation))
            }
        });
        let (_, config) = ours.map_err(|err| if err.is_damage() { another() } else { err })?;
        check_features(&config)?;
        let (cache, known) = (self.cache.elsewhere(&location), self.known.elsewhere(&location));
        let (index_cache, healer, diverged, bases) = Default::default();
        let storage = OwnObjects::of(storage);
        let repo =
            Self { storage, config, cache, known, index_cache, healer, diverged, bases, ..self.clone() };
        found.trouble.into_iter().for_each(|text| repo.control.warn(text));
        repo.compare_config(false);
        Ok(repo)
    }
}

/// Returns the control of a repository: the caller's or, if that has no observer, one that keeps the messages
/// in `unheard`.
fn control_or_buffer(control: &Control<'static>, unheard: &Arc<MessageBuffer>) -> Control<'static> {
    if control.is_observed() {
        return control.clone();
    }
    let unheard = Arc::clone(unheard);
    Control::shared(move |event: Event<'_>| unheard.notice(event)).with_cancel(control.cancel())
}
