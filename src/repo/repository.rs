//! Opening repositories, and access to their parts.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::codec::chunk::chunker::Chunker;
use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::crypto::keyring::{ConfigVerdict, Keyring};
use crate::codec::crypto::session_keys::WriteSlot;
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::crypto::{key_slot, keyring};
use crate::codec::pack::parity::MAX_SHARE;
use crate::error::{Error, Result};
use crate::model::config::{Config, Role};
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};
use crate::progress::{Control, Event};
use crate::repo::cache::{Cache, LastSeen};
use crate::repo::config::{Candidates, candidates, check_features, read_config};
use crate::repo::divergence::{Diverged, refuse, refuse_another};
use crate::repo::index::local_cache::LocalIndexCache;
use crate::repo::options::{IndexLimits, OpenOptions};
use crate::repo::pack::heal::PackHealer;
use crate::repo::read::base_reader::BaseBlocks;
use crate::repo::unlock::{Access, Unlocked};
use crate::repo::write_key_memory::TreeMemory;
use crate::repo::{config, objects, unlock};
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
    #[must_use]
    pub fn known_by(mut self, known: &KnownPlace) -> Self {
        self.candidates.settle(&known.read());
        self
    }

    /// Returns whether this machine has used the repository without encryption before.
    ///
    /// # Errors
    /// A bug.
    pub fn is_known_open(&self, known: &KnownPlace) -> Result<bool> {
        Ok(known.is_known_open(&self.candidates.newest()?.repo))
    }

    /// Returns whether it claims to be encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.candidates.are_encrypted()
    }
}

/// An open repository. Cheap to clone; clones share the local index cache.
#[derive(Debug, Clone)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    config: Config,
    suite: CipherSuite,
    hasher: ChunkHasher,
    chunker: Chunker,
    keyring: Keyring,
    slot: Option<KeyId>,
    memory: Option<Arc<TreeMemory>>,
    cache: Cache,
    known: KnownPlace,
    diverged: Diverged,
    index_cache: Arc<OnceLock<Option<Arc<LocalIndexCache>>>>,
    limits: IndexLimits,
    control: Control<'static>,
    /// Warnings of opening it that nobody has heard: the first operation with an observer passes them on.
    unheard: Arc<Mutex<Vec<String>>>,
    healer: Arc<PackHealer>,
    bases: Arc<BaseBlocks>,
    command: Arc<str>,
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
        found.candidates.settle(&place);
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
        let trouble = found.candidates.trouble;
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
            control: heard(&access.control, &unheard),
            unheard,
            healer: Arc::default(),
            bases: Arc::default(),
            command: Arc::default(),
        };
        trouble.into_iter().for_each(|text| repo.control.warn(text));
        repo.get_acquainted(access.accept);
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
            || Error::Refused(format!("at {location} is another repository than at {}", self.location()));
        // A generation of another repository does not count, like a damaged one, if an older one is ours.
        let ours = found.first_whole(|config, bytes| {
            if config.repo == self.config.repo {
                Ok(self.keyring.check_trust(config, bytes) == ConfigVerdict::Ours)
            } else {
                Err(config::unfit(config.generation))
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
        repo.get_acquainted(false);
        Ok(repo)
    }

    /// Verifies a generation of the configuration, and that it belongs to this repository.
    ///
    /// # Errors
    /// The error says what is wrong with it.
    #[doc(hidden)]
    pub fn check_config(&self, name: &str) -> Result<()> {
        let number = name.parse().map_err(|_| objects::unknown_name(ObjectKind::Config, name))?;
        let (bytes, config) = read_config(self.storage(), number)?;
        let is_ours = config.repo == self.config.repo;
        match self.keyring.check_trust(&config, &bytes) {
            ConfigVerdict::Ours if is_ours => return Ok(()),
            // It is valid in a later epoch, and must not be removed as damaged.
            ConfigVerdict::Newer if is_ours => return self.refuse_rotated(),
            _ => {}
        }
        Err(Error::Damaged {
            what: ObjectKind::Config.path(name),
            source: DecodeError::because("its check does not fit"),
        })
    }

    /// Returns whether a generation of the configuration was planted: it is not encrypted although the
    /// repository is, or vice versa.
    ///
    /// # Errors
    /// When the storage fails.
    #[doc(hidden)]
    pub fn is_planted_config(&self, name: &str) -> Result<bool> {
        let number = name.parse().map_err(|_| objects::unknown_name(ObjectKind::Config, name))?;
        match read_config(self.storage(), number) {
            Ok((_, config)) => Ok(config.is_encrypted() != self.config.is_encrypted()),
            Err(err) if err.is_missing() || err.is_damage() || err.is_newer() => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Verifies bytes as a generation of this repository's configuration.
    ///
    /// # Errors
    /// `Damaged` says what is wrong with them.
    #[doc(hidden)]
    pub fn is_its_config(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let damaged = || Error::damaged(ObjectKind::Config.path(name));
        objects::check_header(ObjectKind::Config, name, bytes)?;
        let config = key_slot::open_config(bytes).map_err(damaged())?;
        let its = config.repo == self.config.repo
            && config.generation.to_string() == name
            && self.keyring.check_trust(&config, bytes) == ConfigVerdict::Ours;
        its.then_some(()).ok_or(DecodeError::because("its check does not fit")).map_err(damaged())
    }

    /// Sets the share of parity, in percent, for future packs, by a new generation of the configuration.
    ///
    /// # Errors
    /// When the share is out of range, this program may not write here, or it could not be made durable.
    pub fn set_parity(&mut self, share: u8) -> Result<()> {
        self.may_write()?;
        if share > MAX_SHARE {
            return Err(Error::Usage(format!("parity is a share of 0 to {MAX_SHARE} percent")));
        }
        self.config = config::set_parity(self.storage(), &self.keyring, share)?;
        self.cache.note(&ObjectKind::Config.path(&self.config.generation.to_string()), true);
        self.get_acquainted(false);
        Ok(())
    }

    /// Sets the maximum total size of packs in bytes, by a new generation of the configuration.
    ///
    /// # Errors
    /// When this program may not write here, or it could not be made durable.
    pub fn set_quota(&mut self, bytes: Option<u64>) -> Result<()> {
        self.may_write()?;
        self.config = config::set_quota(self.storage(), &self.keyring, bytes)?;
        self.cache.note(&ObjectKind::Config.path(&self.config.generation.to_string()), true);
        self.get_acquainted(false);
        Ok(())
    }

    /// Allows delta blocks from now on.
    /// Writes a new generation of the configuration, which older versions of this program refuse.
    ///
    /// # Errors
    /// When this program may not write here, or it could not be made durable.
    pub fn allow_deltas(&mut self) -> Result<()> {
        self.may_write()?;
        self.config = config::allow_deltas(self.storage(), &self.keyring)?;
        self.cache.note(&ObjectKind::Config.path(&self.config.generation.to_string()), true);
        Ok(())
    }

    /// Returns whether blocks may be deltas. Another process may have allowed that in a newer configuration.
    ///
    /// # Errors
    /// When the newer configuration cannot be read.
    pub(crate) fn allows_deltas(&self) -> Result<bool> {
        Ok(self.config.has_deltas() || self.current_config()?.has_deltas())
    }

    /// Returns the current configuration, which other processes may have changed since the repository was
    /// opened.
    ///
    /// # Errors
    /// When the storage fails, or the key was rotated since.
    #[doc(hidden)]
    pub fn current_config(&self) -> Result<Config> {
        config::current(self.storage(), &self.keyring)
    }

    /// Fails if the key was rotated after the repository was opened. New objects would be sealed for revoked
    /// keys, and objects of others would be unreadable here without being damaged.
    ///
    /// # Errors
    /// `Refused`, or when the storage fails.
    pub(crate) fn refuse_rotated(&self) -> Result<()> {
        if !self.config.is_encrypted() {
            return Ok(());
        }
        let now = keyring::writers_of(&self.current_config()?);
        let knows = |writer: &WriteSlot| self.suite.writers().iter().any(|known| known.slot == writer.slot);
        if self.role() != Role::Write && !now.iter().all(knows) {
            let why = "a write key was added while this command ran: run it again";
            return Err(Error::Refused(why.into()));
        }
        Ok(())
    }

    /// Records generations of the configuration that this machine has just written.
    pub(crate) fn wrote_config(&self, written: &[Config]) {
        for config in written {
            self.cache.note(&ObjectKind::Config.path(&config.generation.to_string()), true);
            self.know_config(config, false);
        }
    }

    /// Returns the healer that rebuilds damaged packs for readers.
    #[doc(hidden)]
    pub fn healer(&self) -> &Arc<PackHealer> {
        &self.healer
    }

    /// Returns the cache of decoded blocks that hold bases of deltas.
    pub(crate) fn base_blocks(&self) -> &Arc<BaseBlocks> {
        &self.bases
    }

    /// Returns the role of the key in use.
    pub fn role(&self) -> Role {
        self.keyring.role()
    }

    /// Checks that this program and key may write here.
    ///
    /// # Errors
    /// When the key is one that only reads, or the repository uses a feature that only programs knowing it
    /// may write with.
    #[doc(hidden)]
    pub fn may_write(&self) -> Result<()> {
        let slot = self.slot.map(|slot| slot.short()).unwrap_or_default();
        match self.role() {
            Role::Full => self.knows_to_write(),
            Role::Read => Err(Error::Refused(format!(
                "the key in use (slot {slot}) has the role read: it restores, lists and checks, and writes nothing to \
                 the repository; use a full key for this"
            ))),
            Role::Write => Err(Error::Refused(format!(
                "the key in use (slot {slot}) has the role write: it makes backups, and nothing else; use a full key \
                 for this"
            ))),
        }
    }

    /// Checks that the key in use may add snapshots.
    ///
    /// # Errors
    /// As [`Self::may_write`].
    #[doc(hidden)]
    pub fn may_add(&self) -> Result<()> {
        if self.role() == Role::Write { self.knows_to_write() } else { self.may_write() }
    }

    /// Checks that the key in use can open objects that others wrote.
    ///
    /// # Errors
    /// When it only writes.
    #[doc(hidden)]
    pub fn may_read(&self) -> Result<()> {
        if self.role() != Role::Write {
            return Ok(());
        }
        let slot = self.slot.map(|slot| slot.short()).unwrap_or_default();
        Err(Error::Refused(format!(
            "the key in use (slot {slot}) has the role write: it makes backups and reads nothing back, neither its own \
             snapshots nor those of others; use a full key for this, or one of role read"
        )))
    }

    /// Returns the slot of the write key in use; `None` for other roles.
    #[doc(hidden)]
    pub fn writer(&self) -> Option<KeyId> {
        self.slot.filter(|_| self.role() == Role::Write)
    }

    /// Returns the memory of a write key; `None` for other roles.
    pub(crate) fn memory(&self) -> Option<&Arc<TreeMemory>> {
        self.memory.as_ref()
    }

    fn knows_to_write(&self) -> Result<()> {
        if self.config.ro_compat == 0 {
            return Ok(());
        }
        Err(Error::Refused(
            "the repository uses a feature that this version can read beside but not write: use a newer snap"
                .into(),
        ))
    }

    /// Returns the configuration: what is fixed at creation and what can be set.
    #[doc(hidden)]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the location of its storage.
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// Returns the storage.
    pub fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// Returns the shared handle of the storage.
    pub fn shared_storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Sets the command for audit records. It must not contain secrets.
    #[doc(hidden)]
    #[must_use]
    pub fn used_by(self, command: &str) -> Self {
        Self { command: command.into(), ..self }
    }

    /// Returns the command given to [`Self::used_by`]; empty if there was none.
    #[doc(hidden)]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Returns its ciphers.
    #[doc(hidden)]
    pub fn suite(&self) -> &CipherSuite {
        &self.suite
    }

    /// Returns the keyed hash that names its chunks.
    #[doc(hidden)]
    pub fn hasher(&self) -> &ChunkHasher {
        &self.hasher
    }

    /// Returns the chunker.
    #[doc(hidden)]
    pub fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// Returns its keys, for sealing them to another key slot.
    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Returns the key slot that opened it; `None` without encryption.
    pub fn slot(&self) -> Option<KeyId> {
        self.slot
    }

    /// Returns what this machine knows of the location.
    #[doc(hidden)]
    pub fn known(&self) -> &KnownPlace {
        &self.known
    }

    /// Returns the shared list of differences from what this machine knows, noticed so far.
    pub(crate) fn diverged_kept(&self) -> &Diverged {
        &self.diverged
    }

    /// Returns this machine's cache for it.
    #[doc(hidden)]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns the local index cache, opened on first use.
    #[doc(hidden)]
    pub fn index_cache(&self) -> Option<&Arc<LocalIndexCache>> {
        let open = || {
            let dir = self.cache.view_dir().unwrap_or_else(|why| {
                self.control.warn(format!("{why}: working without it, which takes longer"));
                None
            })?;
            let (index_cache, warning) = LocalIndexCache::open(&dir, &self.config.repo, &self.hasher);
            warning.into_iter().for_each(|text| self.control.warn(text));
            index_cache.map(Arc::new)
        };
        self.index_cache.get_or_init(open).as_ref()
    }

    /// Returns a handle of the same repository whose local index cache is closed until used. Only one process
    /// of a machine can have it open, so long-lived processes use one such handle per piece of work and drop
    /// it.
    #[doc(hidden)]
    pub fn with_closed_index_cache(&self) -> Self {
        Self { index_cache: Arc::default(), ..self.clone() }
    }

    /// Deletes the local index cache, before its first use; it is then rebuilt.
    ///
    /// # Errors
    /// When another process uses it, or it cannot be removed.
    #[doc(hidden)]
    pub fn reset_index_cache(&self) -> Result<()> {
        if self.index_cache.get().is_some() {
            return Err(Error::Refused("this machine's index cache is in use".into()));
        }
        let Some(dir) = self.cache.view_dir().map_err(Error::Refused)? else { return Ok(()) };
        LocalIndexCache::discard(&dir, &self.config.repo).map_err(Error::Refused)
    }

    /// Returns the memory limits of an index.
    #[doc(hidden)]
    pub fn limits(&self) -> IndexLimits {
        self.limits
    }

    /// Sets the memory limits of an index.
    #[doc(hidden)]
    pub fn set_limits(&mut self, limits: IndexLimits) {
        self.limits = limits;
    }

    /// Returns who receives warnings and notes while it is open.
    #[doc(hidden)]
    pub fn control(&self) -> &Control<'static> {
        &self.control
    }

    /// Returns and forgets the warnings that nobody has heard.
    pub(crate) fn take_unheard(&self) -> Vec<String> {
        std::mem::take(&mut *self.unheard.lock())
    }

    /// Returns a handle of the same repository that tells its warnings to another observer.
    pub(crate) fn with_control(&self, control: Control<'static>) -> Self {
        Self { control, ..self.clone() }
    }

    /// Returns objects that have disappeared since this machine last listed them, and records the current
    /// ones.
    ///
    /// # Errors
    /// When the storage fails.
    #[doc(hidden)]
    pub fn vanished(&self) -> Result<Vec<String>> {
        let mut seen = BTreeSet::new();
        for area in [ObjectKind::Config, ObjectKind::Keys, ObjectKind::Snapshots] {
            seen.extend(self.storage.list(area)?.into_iter().map(|found| area.path(&found.name)));
        }
        let before = self.cache.remembered();
        let gone = before.objects.difference(&seen).cloned().collect();
        self.cache.remember(&LastSeen { objects: seen });
        Ok(gone)
    }
}

/// Returns the control of a repository: the caller's or, if that has no observer, one that keeps the warnings
/// in `unheard`.
fn heard(control: &Control<'static>, unheard: &Arc<Mutex<Vec<String>>>) -> Control<'static> {
    if control.is_observed() {
        return control.clone();
    }
    let unheard = Arc::clone(unheard);
    let keep = move |event: Event<'_>| {
        if let Event::Warning(text) = event {
            let mut unheard = unheard.lock();
            if !unheard.iter().any(|known| known == text) {
                unheard.push(text.to_owned());
            }
        }
    };
    Control::shared(keep).with_cancel(control.cancel())
}
