//! An open repository, and access to its parts.

mod diverged;
mod generations;
mod open;
mod roles;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use crate::codec::chunk::chunker::Chunker;
use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::crypto::keyring::Keyring;
use crate::codec::crypto::suite::CipherSuite;
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::id::KeyId;
use crate::progress::{Control, MessageBuffer};
use crate::repo::cache::{Cache, LastSeen};
use crate::repo::index::local_cache::LocalIndexCache;
use crate::repo::options::IndexLimits;
use crate::repo::pack::heal::PackHealer;
use crate::repo::read::base_blocks::BaseBlocks;
use crate::repo::write_key_memory::TreeMemory;
use crate::run_log::known::KnownPlace;
use crate::storage::{ObjectKind, Storage};

use diverged::Diverged;
pub use open::Discovered;

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
    /// Messages that had no observer: the first operation that has one passes them on.
    unheard: Arc<MessageBuffer>,
    healer: Arc<PackHealer>,
    bases: Arc<BaseBlocks>,
    command: Arc<str>,
}

impl Repository {
    /// Returns the healer that rebuilds damaged packs for readers.
    #[doc(hidden)]
    pub fn healer(&self) -> &Arc<PackHealer> {
        &self.healer
    }

    /// Returns the cache of decoded blocks that hold bases of deltas.
    pub(crate) fn base_blocks(&self) -> &Arc<BaseBlocks> {
        &self.bases
    }

    /// Returns the memory of a write key; `None` for other roles.
    pub(crate) fn memory(&self) -> Option<&Arc<TreeMemory>> {
        self.memory.as_ref()
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
    pub(crate) fn divergence_log(&self) -> &Diverged {
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
                self.control.warn(format!("{why}: continuing without it, which is slower"));
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
            return Err(Error::Refused("the local index cache is in use".into()));
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

    /// Returns the control whose observer receives its warnings and notes.
    #[doc(hidden)]
    pub fn control(&self) -> &Control<'static> {
        &self.control
    }

    /// Returns the messages that had no observer.
    pub(crate) fn unheard(&self) -> &MessageBuffer {
        &self.unheard
    }

    /// Returns a handle of the same repository that sends its warnings to another observer.
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
