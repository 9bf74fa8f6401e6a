//! Making and opening repositories; hands out the parts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use zeroize::Zeroizing;

use crate::codec::chunker;
use crate::codec::chunker::Chunker;
use crate::codec::cipher;
use crate::codec::cipher::Ring;
use crate::codec::hash::Key;
use crate::codec::hash::Namer;
use crate::codec::hash::SubKeys;
use crate::codec::slot;
use crate::error::Error;
use crate::error::Result;
use crate::model::config::CipherKind;
use crate::model::config::Config;
use crate::model::entry::Time;
use crate::model::id::KeyId;
use crate::model::id::RepoId;
use crate::model::malformed::Malformed;
use crate::store::cache::Cache;
use crate::store::cache::Known;
use crate::store::cache::Remembered;
use crate::store::keys;
use crate::store::objects;
use crate::store::storage::Area;
use crate::store::storage::Created;
use crate::store::storage::Storage;
use crate::store::view::View;

const MAX_CONFIG: u64 = 1 << 20;

/// What opening a repository takes.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The password, for an encrypted one.
    pub password: Option<Zeroizing<String>>,
    /// Where this machine keeps what it remembers; `None`: nowhere.
    pub cache: Option<PathBuf>,
}

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

/// What making a repository takes.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// `None`: not encrypted.
    pub password: Option<Zeroizing<String>>,
    /// Average chunk size.
    pub chunker: ChunkerProfile,
    /// Compression level.
    pub level: i32,
    /// As in [`Access`].
    pub cache: Option<PathBuf>,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self { password: None, chunker: ChunkerProfile::default(), level: 3, cache: None }
    }
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    storage: Arc<dyn Storage>,
    config: Config,
    ring: Ring,
    namer: Namer,
    chunker: Chunker,
    master: Key,
    slot: Option<KeyId>,
    cache: Cache,
    view: OnceLock<Option<View>>,
    warnings: Mutex<Vec<String>>,
}

impl Repository {
    /// Makes a repository: the key slot first, the configuration last; with it, it exists.
    ///
    /// # Errors
    /// When there is one, or it could not be made durable.
    pub fn init(storage: Arc<dyn Storage>, options: &InitOptions) -> Result<Self> {
        let cannot = |why: &str| Error::CannotInit { location: storage.location(), why: why.to_owned() };
        if Self::exists(storage.as_ref())? {
            return Err(cannot("there is one already"));
        }
        let random = || -> Result<[u8; 32]> {
            let mut bytes = [0u8; 32];
            cipher::random(&mut bytes).map_err(Error::damaged("a new key"))?;
            Ok(bytes)
        };
        let master = Key::new(random()?);
        let mut id = [0u8; 16];
        cipher::random(&mut id).map_err(Error::damaged("a new repository id"))?;
        let config = new_config(RepoId::new(id), &master, options);
        let subkeys = SubKeys::derive(&master, &config.repo);
        let ring = Ring::new(config.cipher, config.repo, &subkeys);
        if let Some(password) = &options.password {
            keys::add(storage.as_ref(), &ring, &master, password.as_bytes(), "")?;
        }
        let bytes = slot::close_config(&config, &subkeys.config)
            .map_err(Error::damaged("the configuration, being written,"))?;
        if storage.create(Area::Config, "1", &[&bytes])? == Created::Exists {
            return Err(cannot("somebody else made one just now"));
        }
        Self::open(storage, &Access { password: options.password.clone(), cache: options.cache.clone() })
    }

    /// Whether there is a repository.
    ///
    /// # Errors
    /// When the store fails.
    pub fn exists(storage: &dyn Storage) -> Result<bool> {
        Ok(!storage.list(Area::Config)?.is_empty())
    }

    /// Whether the repository says that it is encrypted.
    ///
    /// # Errors
    /// `NoRepository` when there is none.
    pub fn is_encrypted(storage: &dyn Storage) -> Result<bool> {
        Ok(newest_config(storage)?.1.cipher != CipherKind::None)
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// When there is none, it is newer, the password is wrong, or it is not the one this machine knew here.
    pub fn open(storage: Arc<dyn Storage>, access: &Access) -> Result<Self> {
        let location = storage.location();
        let (bytes, config, trouble) = newest_config(storage.as_ref())?;
        check_features(&config)?;
        let cache = Cache::new(access.cache.as_deref(), &location, Some(&config.repo));
        let encrypted = config.cipher != CipherKind::None;
        check_known(&cache, &config, encrypted, &location)?;
        let (slot, master) = match (&config.open_master, &access.password) {
            (Some(master), _) if !encrypted => (None, Key::new(*master)),
            (_, None) => return Err(Error::NoPassword { location }),
            (_, Some(password)) => {
                let (id, key) = keys::unlock(storage.as_ref(), &config.repo, password.as_bytes())?;
                (Some(id), key)
            }
        };
        let subkeys = SubKeys::derive(&master, &config.repo);
        let what = Area::Config.path(&config.generation.to_string());
        if !slot::check_config(&bytes, &subkeys.config) {
            return Err(Error::Damaged { what, source: Malformed::because("its check does not fit") });
        }
        let ring = Ring::new(config.cipher, config.repo, &subkeys);
        let chunker = Chunker::new(config.chunker, &subkeys.gear).map_err(Error::damaged(what))?;
        let namer = Namer::new(&subkeys.id);
        cache.remember_place(Known { repo: config.repo, encrypted });
        let repo = Self {
            storage,
            config,
            ring,
            namer,
            chunker,
            master,
            slot,
            cache,
            view: OnceLock::new(),
            warnings: Mutex::default(),
        };
        trouble.into_iter().for_each(|text| repo.warn(text));
        Ok(repo)
    }

    /// Whether a generation of the configuration is whole and this repository's.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_config(&self, name: &str) -> Result<()> {
        let number = name.parse().map_err(|_| objects::unknown_name(Area::Config, name))?;
        let (bytes, config) = read_config(self.storage(), number)?;
        let key = SubKeys::derive(&self.master, &self.config.repo).config;
        if config.repo == self.config.repo && slot::check_config(&bytes, &key) {
            return Ok(());
        }
        Err(Error::Damaged {
            what: Area::Config.path(name),
            source: Malformed::because("its check does not fit"),
        })
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
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Names its chunks.
    pub fn namer(&self) -> &Namer {
        &self.namer
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

    /// What this machine remembers of it.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// This machine's view of the tables, opened when first asked for.
    pub fn view(&self) -> Option<&View> {
        let open = || {
            let (view, warning) = View::open(&self.cache.view_dir()?, &self.config.repo);
            warning.into_iter().for_each(|text| self.warn(text));
            view
        };
        self.view.get_or_init(open).as_ref()
    }

    /// Notes something a person should read.
    pub fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Takes what was noted.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names that stood here when this machine last looked and are gone now; remembers today's.
    ///
    /// # Errors
    /// When the store fails.
    pub fn vanished(&self) -> Result<Vec<String>> {
        let mut seen = BTreeSet::new();
        for area in [Area::Config, Area::Keys, Area::Snapshots] {
            seen.extend(self.storage.list(area)?.into_iter().map(|found| area.path(&found.name)));
        }
        let before = self.cache.remembered();
        let gone = before.objects.difference(&seen).cloned().collect();
        self.cache.remember(&Remembered { objects: seen });
        Ok(gone)
    }
}

fn new_config(repo: RepoId, master: &Key, options: &InitOptions) -> Config {
    let cipher = if options.password.is_some() { CipherKind::Xaes256Gcm } else { CipherKind::None };
    Config {
        repo,
        generation: 1,
        created: Time::now(),
        incompat: 0,
        ro_compat: 0,
        cipher,
        open_master: options.password.is_none().then(|| *master.bytes()),
        chunker: match options.chunker {
            ChunkerProfile::K64 => chunker::K64,
            ChunkerProfile::K256 => chunker::K256,
            ChunkerProfile::M1 => chunker::M1,
        },
        block_target: 1 << 20,
        data_pack: 32 << 20,
        tree_pack: 8 << 20,
        level: options.level,
        undelete_window: 24 * 3600,
        stale_after: 3600,
        extra: Vec::new(),
    }
}

/// The newest generation that is whole, its bytes, and what is wrong with newer ones.
fn newest_config(storage: &dyn Storage) -> Result<(Vec<u8>, Config, Vec<String>)> {
    let mut numbers: Vec<u32> =
        storage.list(Area::Config)?.iter().filter_map(|found| found.name.parse().ok()).collect();
    numbers.sort_unstable();
    let mut trouble = Vec::new();
    let mut first = None;
    for number in numbers.iter().rev() {
        match read_config(storage, *number) {
            Ok((bytes, config)) => return Ok((bytes, config, trouble)),
            Err(err) if err.is_damage() => {
                trouble.push(format!("{err}; an older generation is used"));
                first.get_or_insert(err);
            }
            Err(err) => return Err(err),
        }
    }
    Err(first.unwrap_or(Error::NoRepository { location: storage.location() }))
}

fn read_config(storage: &dyn Storage, number: u32) -> Result<(Vec<u8>, Config)> {
    let name = number.to_string();
    let bytes = storage.read(Area::Config, &name, MAX_CONFIG)?;
    objects::check_header(Area::Config, &name, &bytes)?;
    let config = slot::open_config(&bytes).map_err(Error::damaged(Area::Config.path(&name)))?;
    if config.generation == number {
        return Ok((bytes, config));
    }
    let source = Malformed::because("a generation under another's name");
    Err(Error::Damaged { what: Area::Config.path(&name), source })
}

fn check_features(config: &Config) -> Result<()> {
    if config.incompat != 0 || config.extra.iter().any(|(tag, _)| tag % 2 == 1) {
        return Err(Error::Refused("the repository uses a feature that this version does not know".into()));
    }
    Ok(())
}

/// A repository that was encrypted must not come back unencrypted, or as another, without a word.
fn check_known(cache: &Cache, config: &Config, encrypted: bool, location: &str) -> Result<()> {
    let Some(known) = cache.known() else { return Ok(()) };
    if known.encrypted && !encrypted {
        return Err(Error::Refused(format!(
            "the repository at {location} was encrypted when this machine last saw it, and is not now: \
             somebody may have swapped it. If you made a new one there, remove {} from the cache's folder `known`",
            known.repo
        )));
    }
    if known.repo != config.repo && known.encrypted {
        // Another encrypted repository needs its own password, so this is no way in; the person should know.
        return Ok(());
    }
    Ok(())
}
