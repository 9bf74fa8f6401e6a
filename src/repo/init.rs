//! Creating repositories.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::codec::chunk::chunker;
use crate::codec::crypto::hash::Key;
use crate::codec::crypto::kdf::KdfParams;
use crate::codec::crypto::keyring::Keyring;
use crate::codec::crypto::{cipher, key_slot};
use crate::error::{Error, Result};
use crate::model::config::{CLIENTS, ChunkerParams, CipherKind, Config, DELTAS, Role};
use crate::model::entry::Time;
use crate::model::id::RepoId;
use crate::progress::Control;
use crate::repo::keys;
use crate::repo::repository::{OpenOptions, Repository};
use crate::run_log::known::KnownPlace;
use crate::storage::{CreateOutcome, ObjectKind, Storage};

/// Average chunk size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChunkerProfile {
    /// 64 KiB.
    #[default]
    K64,
    /// 256 KiB.
    K256,
    /// 1 MiB.
    M1,
}

/// Options for creating a repository.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// `None`: not encrypted.
    pub password: Option<Zeroizing<String>>,
    /// Cost of trying a password.
    pub kdf: KdfParams,
    /// Average chunk size.
    pub chunker: ChunkerProfile,
    /// Compression level.
    pub level: i32,
    /// Cache directory, as in [`OpenOptions`].
    pub cache: Option<PathBuf>,
    /// State directory, as in [`OpenOptions`].
    pub state: Option<PathBuf>,
    /// Undelete window: how long a forgotten snapshot can be brought back, in whole seconds.
    pub undelete_window: Duration,
    /// Time without a heartbeat after which a session is considered dead, in whole seconds.
    pub stale_after: Duration,
    /// Share of parity in percent; 0 means none.
    pub parity: u8,
    /// Whether blocks may be deltas.
    pub deltas: bool,
    /// Whether write keys will be used.
    pub clients: bool,
    /// A repository whose chunk boundaries and chunk ids are adopted, so that copies between the two need no
    /// recompression.
    pub shared_chunking: Option<SharedChunking>,
    /// As in [`OpenOptions`].
    pub control: Control<'static>,
}

/// The parameters by which two repositories split and name chunks identically.
#[derive(Debug, Clone)]
pub struct SharedChunking {
    naming: Key,
    family: RepoId,
    encrypted: bool,
    chunker: ChunkerParams,
}

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

    /// Returns whether an encrypted or unencrypted repository may share these parameters. A key that one
    /// repository stores in the clear must not name the chunks of an encrypted one.
    pub fn allows(&self, encrypted: bool) -> bool {
        self.encrypted == encrypted
    }
}

/// The default compression level.
pub const DEFAULT_LEVEL: i32 = 3;

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            password: None,
            kdf: KdfParams::default(),
            chunker: ChunkerProfile::default(),
            level: DEFAULT_LEVEL,
            cache: None,
            state: None,
            undelete_window: Duration::from_secs(24 * 3600),
            stale_after: Duration::from_secs(3600),
            parity: 0,
            deltas: true,
            clients: false,
            shared_chunking: None,
            control: Control::default(),
        }
    }
}

impl InitOptions {
    /// An encrypted repository, with the defaults for the rest.
    pub fn with_password(password: impl Into<String>) -> Self {
        Self { password: Some(Zeroizing::new(password.into())), ..Self::default() }
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
            return Err(cannot("of two that share a key, both are encrypted or neither"));
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
        let seed = seed.ok_or(Error::Bug { what: "a new keyring signs" })?;
        let bytes = key_slot::close_config(&config, &seed).map_err(Error::making("the configuration"))?;
        if storage.create(ObjectKind::Config, "1", &[&bytes])? == CreateOutcome::Exists {
            return Err(cannot("somebody else made one just now"));
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
