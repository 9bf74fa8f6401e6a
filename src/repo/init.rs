//! Creating repositories.

use std::sync::Arc;

use crate::codec::chunk::chunker;
use crate::codec::crypto::keyring::Keyring;
use crate::codec::crypto::{cipher, key_slot};
use crate::error::{Error, Result};
use crate::model::config::{CLIENTS, CipherKind, Config, DELTAS, Role};
use crate::model::entry::Time;
use crate::model::id::RepoId;
use crate::repo::keys;
use crate::repo::options::{ChunkerProfile, InitOptions, OpenOptions, SharedChunking};
use crate::repo::repository::Repository;
use crate::run_log::known::KnownPlace;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

impl SharedChunking {
    /// Returns the parameters of this repository.
    pub fn of(repo: &Repository) -> Self {
        let config = repo.config();
        Self {
            naming: repo.keyring().naming().clone(),
            family: config.family(),
            encrypted: config.is_encrypted(),
            chunker: config.chunker,
        }
    }
}

impl Repository {
    /// Creates a repository: the key slot first, the configuration last; with the latter it exists.
    ///
    /// # Errors
    /// When there is one already, or it could not be made durable.
    pub fn init(storage: Arc<dyn Storage>, options: &InitOptions) -> Result<Self> {
        let cannot = |why: &str| Error::CannotInit { location: storage.location(), why: why.to_owned() };
        if Self::exists(storage.as_ref())? {
            return Err(Error::RepositoryExists { location: storage.location() });
        }
        // An explicit init means that a different repository at this location is intended.
        KnownPlace::new(options.state.as_deref(), &storage.location()).clear()?;
        let shared_chunking = options.shared_chunking.as_ref();
        if shared_chunking.is_some_and(|shared_chunking| !shared_chunking.allows(options.password.is_some()))
        {
            let why = "repositories that share chunk names must both be encrypted or both be unencrypted";
            return Err(cannot(why));
        }
        let naming = shared_chunking.map(|shared_chunking| shared_chunking.naming.clone());
        let mut keyring = Keyring::random(naming).map_err(Error::damaged("a new key"))?;
        let mut id = [0u8; 16];
        cipher::random(&mut id).map_err(Error::damaged("a new repository id"))?;
        let mut open_master = None;
        if options.password.is_none() {
            open_master = Some(*keyring.naming().bytes());
            keyring = Keyring::single(keyring.naming().clone());
        }
        let mut config = new_config(RepoId::new(id), open_master, options);
        if let Some(shared_chunking) = shared_chunking {
            config.set_family(shared_chunking.family);
            config.chunker = shared_chunking.chunker;
        }
        if let Some(password) = &options.password {
            let suite = keyring.suite(&config).map_err(Error::making("a new key"))?;
            let (storage, password) = (storage.as_ref(), password.as_bytes());
            let of = (Role::Full, "");
            config.slots.push(keys::add(storage, &suite, &keyring, password, options.kdf, of)?);
        }
        let seed = keyring.signing_seed(&config.repo, config.epoch);
        let seed = seed.ok_or(Error::Bug { what: "a new keyring can sign" })?;
        let bytes = key_slot::encode_config(&config, &seed).map_err(Error::making("the configuration"))?;
        if storage.create(ObjectKind::Config, "1", &[&bytes])? == CreateOutcome::Exists {
            return Err(cannot("another process has just created one"));
        }
        let (cache, state) = (options.cache.clone(), options.state.clone());
        let (password, control) = (options.password.clone(), options.control.clone());
        let access = OpenOptions { password, cache, state, accept: false, control };
        let repo = Self::open(storage, &access)?;
        repo.storage().keep_reserve();
        repo.cache().note(&ObjectKind::Config.path("1"), true);
        if let Some(slot) = repo.slot() {
            repo.cache().note(&ObjectKind::Keys.path(&slot.hex()), true);
        }
        Ok(repo)
    }
}

fn new_config(repo: RepoId, open_master: Option<[u8; 32]>, options: &InitOptions) -> Config {
    let cipher = if options.password.is_some() { CipherKind::Xaes256Gcm } else { CipherKind::None };
    let mut config = Config {
        repo,
        generation: 1,
        created: Time::now(),
        incompat: if options.deltas { DELTAS } else { 0 } | if options.clients { CLIENTS } else { 0 },
        ro_compat: 0,
        cipher,
        open_master,
        chunker: match options.chunker {
            ChunkerProfile::K64 => chunker::K64,
            ChunkerProfile::K256 => chunker::K256,
            ChunkerProfile::M1 => chunker::M1,
        },
        block_target: 2 << 20,
        data_pack: 32 << 20,
        tree_pack: 8 << 20,
        level: options.level,
        undelete_window: options.undelete_window.as_secs(),
        stale_after: options.stale_after.as_secs(),
        epoch: 0,
        handovers: Vec::new(),
        slots: Vec::new(),
        extra: Vec::new(),
    };
    config.set_parity(options.parity);
    config
}
