//! Making and opening repositories; hands out the parts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use zeroize::Zeroizing;

use crate::codec::chunk::chunker::Chunker;
use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::crypto::hash::{ChunkHasher, Key};
use crate::codec::crypto::key_slot;
use crate::codec::pack::parity::MAX_SHARE;
use crate::error::{Error, Result};
use crate::model::config::{CipherKind, Config};
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};
use crate::progress::{Event, Observer};
use crate::repo::cache::{Cache, LastSeen};
use crate::repo::config;
use crate::repo::config::{Candidates, candidates, check_features, keys_of, read_config};
use crate::repo::divergence::{Diverged, refuse, refuse_another};
use crate::repo::index::catalog::IndexLimits;
use crate::repo::index::local_cache::LocalIndexCache;
pub use crate::repo::init::{ChunkerProfile, DEFAULT_LEVEL, InitOptions};
use crate::repo::keys::KeyChoice;
use crate::repo::pack::heal::PackHealer;
use crate::repo::read::base_reader::BaseBlocks;
use crate::repo::{keys, objects};
use crate::run_log::known::KnownPlace;
use crate::storage::names::OwnObjects;
use crate::storage::{ObjectKind, Storage, names};

/// Where this machine keeps the id of the key slot that opened the repository last.
const LAST_SLOT: &str = "slot";

/// What opening a repository takes.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The password, for an encrypted one.
    pub password: Option<Zeroizing<String>>,
    /// Where this machine keeps what it can lose; `None`: nowhere.
    pub cache: Option<PathBuf>,
    /// Where this machine keeps what it knows of repositories and of its runs; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// Take what is there for the right repository, whatever this machine knows.
    pub accept: bool,
}

/// What a person should read, each sentence once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Notes a sentence.
    pub(crate) fn add(&self, text: String) {
        let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}

/// A repository that is not opened yet.
#[derive(Debug, Clone)]
pub struct Discovered {
    candidates: Candidates,
    only_key: Option<String>,
}

impl Discovered {
    /// Opens with the key slot whose id begins so, and with no other.
    #[must_use]
    pub fn with_key(self, id: Option<String>) -> Self {
        Self { only_key: id, ..self }
    }

    /// Whether it says that it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.candidates.are_encrypted()
    }

    /// Opens the newest whole configuration: gives it with its bytes, the master key and the slot that held that.
    fn unlock(
        &mut self,
        storage: &dyn Storage,
        access: &OpenOptions,
    ) -> Result<(Config, Key, Option<KeyId>)> {
        let only_key = self.only_key.take();
        // A key takes a while to derive: once for each repository that a configuration names.
        let mut derived: Vec<(RepoId, Key, KeyId)> = Vec::new();
        let mut wrong: Vec<RepoId> = Vec::new();
        let mut master = None;
        let (_, config) = self.candidates.first_whole(|config| {
            let (key, slot) = match (&config.open_master, &access.password) {
                (Some(open), _) if config.cipher == CipherKind::None => (Key::new(*open), None),
                (_, None) => return Err(Error::NoPassword { location: storage.location() }),
                (_, Some(password)) => {
                    if wrong.contains(&config.repo) {
                        return Err(Error::WrongPassword { location: storage.location(), untried: 0 });
                    }
                    if !derived.iter().any(|(repo, ..)| *repo == config.repo) {
                        let place = (storage.location(), &config.repo);
                        let cache =
                            Cache::new(access.cache.as_deref(), access.state.as_deref(), &place.0, place.1);
                        let last = cache.text(LAST_SLOT).and_then(|id| KeyId::parse(id.trim()).ok());
                        let choice = KeyChoice { only: only_key.clone(), last };
                        let unlocked = keys::unlock(storage, &config.repo, password.as_bytes(), &choice);
                        let (slot, key) = unlocked.inspect_err(|_| wrong.push(config.repo))?;
                        if last != Some(slot) {
                            cache.keep_text(LAST_SLOT, &slot.hex());
                        }
                        derived.push((config.repo, key, slot));
                    }
                    let known = derived.iter().find(|(repo, ..)| *repo == config.repo);
                    let (_, key, slot) = known.ok_or(Error::Bug { what: "a derived key is kept" })?;
                    (key.clone(), Some(*slot))
                }
            };
            let check = keys_of(&key, config).config;
            master = Some((key, slot));
            Ok(check)
        })?;
        let (key, slot) = master.ok_or(Error::Bug { what: "a checked configuration has a key" })?;
        Ok((config, key, slot))
    }
}

/// An open repository. Cheap to clone; clones share the view and the warnings.
#[derive(Debug, Clone)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    config: Config,
    suite: CipherSuite,
    hasher: ChunkHasher,
    chunker: Chunker,
    master: Key,
    slot: Option<KeyId>,
    cache: Cache,
    known: KnownPlace,
    diverged: Diverged,
    index_cache: Arc<OnceLock<Option<Arc<LocalIndexCache>>>>,
    limits: IndexLimits,
    warnings: Warnings,
    notes: Warnings,
    healer: Arc<PackHealer>,
    bases: Arc<BaseBlocks>,
}

impl Repository {
    /// Whether there is a repository.
    ///
    /// # Errors
    /// When the store fails.
    pub fn exists(storage: &dyn Storage) -> Result<bool> {
        Ok(!names::list(storage, ObjectKind::Config)?.is_empty())
    }

    /// Whether the repository says that it is encrypted.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn is_encrypted(storage: &dyn Storage) -> Result<bool> {
        Ok(candidates(storage)?.are_encrypted())
    }

    /// Which repository is there, as it says itself: nothing is opened.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn id_at(storage: &dyn Storage) -> Result<RepoId> {
        Ok(candidates(storage)?.newest()?.repo)
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When there is none, it is newer, the password is wrong, or it is not the one this machine knew here.
    pub fn open(storage: Arc<dyn Storage>, access: &OpenOptions) -> Result<Self> {
        let found = Self::find(storage.as_ref())?;
        Self::open_found(storage, found, access)
    }

    /// What says that there is a repository: for those who must know whether it is encrypted before they open it.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn find(storage: &dyn Storage) -> Result<Discovered> {
        candidates(storage).map(|candidates| Discovered { candidates, only_key: None })
    }

    /// Opens what was found.
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
        if !access.accept {
            // Before anything is derived: what is not encrypted any more must not be shown a password.
            refuse_another(&known, &found.candidates, &location)?;
        }
        let (config, master, slot) = found.unlock(storage.as_ref(), access)?;
        let encrypted = config.cipher != CipherKind::None;
        if !access.accept {
            refuse(&known, &config, encrypted, &location)?;
        }
        check_features(&config)?;
        let cache = Cache::new(access.cache.as_deref(), access.state.as_deref(), &location, &config.repo);
        let trouble = found.candidates.trouble;
        let subkeys = keys_of(&master, &config);
        let what = ObjectKind::Config.path(&config.generation.to_string());
        let suite = CipherSuite::new(config.cipher, config.repo, &subkeys);
        let chunker = Chunker::new(config.chunker, &subkeys.gear).map_err(Error::damaged(what))?;
        let hasher = ChunkHasher::new(&subkeys.id);
        let repo = Self {
            storage: OwnObjects::of(storage),
            config,
            suite,
            hasher,
            chunker,
            master,
            slot,
            cache,
            known,
            diverged: Diverged::default(),
            index_cache: Arc::default(),
            limits: IndexLimits::default(),
            warnings: Warnings::default(),
            notes: Warnings::default(),
            healer: Arc::default(),
            bases: Arc::default(),
        };
        trouble.into_iter().for_each(|text| repo.warn(text));
        repo.get_acquainted(encrypted, access.accept);
        Ok(repo)
    }

    /// The same repository where a copy of it lies, object for object.
    ///
    /// # Errors
    /// When there is none, or another one.
    pub fn elsewhere(&self, storage: Arc<dyn Storage>) -> Result<Self> {
        let location = storage.location();
        let mut found = candidates(storage.as_ref())?;
        let another =
            || Error::Refused(format!("at {location} is another repository than at {}", self.location()));
        let ours = found.first_whole(|config| match config.repo == self.config.repo {
            true => Ok(keys_of(&self.master, config).config),
            false => Err(another()),
        });
        let (_, config) = ours.map_err(|err| if err.is_damage() { another() } else { err })?;
        check_features(&config)?;
        let (cache, known) = (self.cache.elsewhere(&location), self.known.elsewhere(&location));
        let encrypted = config.cipher != CipherKind::None;
        let (index_cache, healer, warnings, diverged, bases) = Default::default();
        let storage = OwnObjects::of(storage);
        let repo = Self {
            storage,
            config,
            cache,
            known,
            index_cache,
            healer,
            warnings,
            diverged,
            bases,
            ..self.clone()
        };
        found.trouble.into_iter().for_each(|text| repo.warn(text));
        repo.get_acquainted(encrypted, false);
        Ok(repo)
    }

    /// Whether a generation of the configuration is whole and this repository's.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_config(&self, name: &str) -> Result<()> {
        let number = name.parse().map_err(|_| objects::unknown_name(ObjectKind::Config, name))?;
        let (bytes, config) = read_config(self.storage(), number)?;
        let key = keys_of(&self.master, &self.config).config;
        if config.repo == self.config.repo && key_slot::check_config(&bytes, &key) {
            return Ok(());
        }
        Err(Error::Damaged {
            what: ObjectKind::Config.path(name),
            source: DecodeError::because("its check does not fit"),
        })
    }

    /// Whether bytes are a generation of this repository's configuration.
    ///
    /// # Errors
    /// `Damaged` says what is wrong with them.
    pub fn is_its_config(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let damaged = || Error::damaged(ObjectKind::Config.path(name));
        objects::check_header(ObjectKind::Config, name, bytes)?;
        let config = key_slot::open_config(bytes).map_err(damaged())?;
        let key = keys_of(&self.master, &self.config).config;
        let its = config.repo == self.config.repo
            && config.generation.to_string() == name
            && key_slot::check_config(bytes, &key);
        its.then_some(()).ok_or(DecodeError::because("its check does not fit")).map_err(damaged())
    }

    /// Sets the share of parity, in percent, for packs to come: a new generation of the configuration.
    ///
    /// # Errors
    /// When it is no share, this program may not write here, or it could not be made durable.
    pub fn set_parity(&mut self, share: u8) -> Result<()> {
        self.may_write()?;
        if share > MAX_SHARE {
            return Err(Error::Usage(format!("parity is a share of 0 to {MAX_SHARE} percent")));
        }
        let key = keys_of(&self.master, &self.config).config;
        self.config = config::set_parity(self.storage(), &key, share)?;
        self.cache.note(&ObjectKind::Config.path(&self.config.generation.to_string()), true);
        self.get_acquainted(self.config.cipher != CipherKind::None, false);
        Ok(())
    }

    /// Lets blocks be deltas from now on: a new generation of the configuration, which older versions of this program refuse.
    ///
    /// # Errors
    /// When this program may not write here, or it could not be made durable.
    pub fn allow_deltas(&mut self) -> Result<()> {
        self.may_write()?;
        let key = keys_of(&self.master, &self.config).config;
        self.config = config::allow_deltas(self.storage(), &key)?;
        self.cache.note(&ObjectKind::Config.path(&self.config.generation.to_string()), true);
        Ok(())
    }

    /// What rebuilds damaged packs for those who read them.
    pub fn healer(&self) -> &Arc<PackHealer> {
        &self.healer
    }

    /// Decoded blocks that deltas are made from.
    pub(crate) fn base_blocks(&self) -> &Arc<BaseBlocks> {
        &self.bases
    }

    /// Whether this program may write here.
    ///
    /// # Errors
    /// When the repository uses a feature that only those who know it may write beside.
    pub fn may_write(&self) -> Result<()> {
        if self.config.ro_compat == 0 {
            return Ok(());
        }
        Err(Error::Refused(
            "the repository uses a feature that this version can read beside but not write: use a newer snap"
                .into(),
        ))
    }

    /// What is fixed and what is set.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it is.
    pub fn location(&self) -> String {
        self.storage.location()
    }

    /// The store.
    pub fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// The store, to keep.
    pub fn shared_storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Its ciphers.
    pub fn suite(&self) -> &CipherSuite {
        &self.suite
    }

    /// Names its chunks.
    pub fn hasher(&self) -> &ChunkHasher {
        &self.hasher
    }

    /// Cuts its chunks.
    pub fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// The master key, to wrap it under another password.
    pub fn master(&self) -> &Key {
        &self.master
    }

    /// The slot that opened it.
    pub fn slot(&self) -> Option<KeyId> {
        self.slot
    }

    /// What this machine knows of the place.
    pub fn known(&self) -> &KnownPlace {
        &self.known
    }

    /// How it differs from what this machine knows, as far as was seen until now.
    pub(crate) fn diverged_kept(&self) -> &Diverged {
        &self.diverged
    }

    /// What this machine remembers of it.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// This machine's view of the packs, opened when first asked for.
    pub fn index_cache(&self) -> Option<&Arc<LocalIndexCache>> {
        let open = || {
            let dir = self.cache.view_dir().unwrap_or_else(|why| {
                self.warn(format!("{why}: working without it, which takes longer"));
                None
            })?;
            let (index_cache, warning) = LocalIndexCache::open(&dir, &self.config.repo, &self.hasher);
            warning.into_iter().for_each(|text| self.warn(text));
            index_cache.map(Arc::new)
        };
        self.index_cache.get_or_init(open).as_ref()
    }

    /// The same repository, its view closed until it is asked for: of this machine's programs only one at a time has it
    /// open, so whoever stays for long opens one for each piece of work and lets go of it.
    pub fn with_closed_index_cache(&self) -> Self {
        Self { index_cache: Arc::default(), ..self.clone() }
    }

    /// Throws this machine's view away, before it is first asked for: it is then made anew.
    ///
    /// # Errors
    /// When somebody uses it, or it cannot be removed.
    pub fn reset_index_cache(&self) -> Result<()> {
        if self.index_cache.get().is_some() {
            return Err(Error::Refused("this machine's index cache is in use".into()));
        }
        let Some(dir) = self.cache.view_dir().map_err(Error::Refused)? else { return Ok(()) };
        LocalIndexCache::discard(&dir, &self.config.repo).map_err(Error::Refused)
    }

    /// What an index may take of this machine's memory.
    pub fn limits(&self) -> IndexLimits {
        self.limits
    }

    /// Sets what an index may take of this machine's memory.
    pub fn set_limits(&mut self, limits: IndexLimits) {
        self.limits = limits;
    }

    /// Notes something a person should read.
    pub fn warn(&self, text: String) {
        self.warnings.add(text);
    }

    /// Keeps what a person may want to know, and who has nothing to fear from not knowing it.
    pub fn note(&self, text: String) {
        self.notes.add(text);
    }

    /// Such notes since the last call.
    pub fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where warnings are noted, for those who outlive a borrow of this.
    pub(crate) fn warnings_kept(&self) -> &Warnings {
        &self.warnings
    }

    /// Takes what was noted.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings =
            std::mem::take(&mut *self.warnings.0.lock().unwrap_or_else(PoisonError::into_inner));
        warnings.extend(self.storage.cautions());
        warnings
    }

    /// Names that stood here when this machine last looked and are gone now; remembers today's.
    ///
    /// # Errors
    /// When the store fails.
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

/// What is to be read is kept with the repository's own warnings, for whoever asks for them.
impl Observer for Repository {
    fn notice(&self, event: Event<'_>) {
        if let Event::Warning(text) = event {
            self.warn(text.to_owned());
        }
    }
}
