//! Options for creating and opening a repository, and limits of an open one.

use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::codec::crypto::hash::Key;
use crate::codec::crypto::kdf::KdfParams;
use crate::model::config::ChunkerParams;
use crate::model::id::RepoId;
use crate::progress::Control;

/// Options for opening a repository.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The password, if it is encrypted.
    pub password: Option<Zeroizing<String>>,
    /// Directory of this machine's disposable cache; `None`: no cache.
    pub cache: Option<PathBuf>,
    /// Directory in which this machine keeps what it knows of repositories and its runs; `None` disables
    /// that.
    pub state: Option<PathBuf>,
    /// Accept the repository at this location even if it contradicts what this machine knows.
    pub accept: bool,
    /// Receives warnings of opening it. Without an observer they wait for the first operation that has one.
    /// The methods that take a control tell theirs to that one.
    pub control: Control<'static>,
}

impl OpenOptions {
    /// With this password; no cache, and nothing is known of repositories.
    pub fn with_password(password: impl Into<String>) -> Self {
        Self { password: Some(Zeroizing::new(password.into())), ..Self::default() }
    }
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
    pub(super) naming: Key,
    pub(super) family: RepoId,
    pub(super) encrypted: bool,
    pub(super) chunker: ChunkerParams,
}

impl SharedChunking {
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

/// Memory limits of an index.
#[derive(Debug, Clone, Copy)]
pub struct IndexLimits {
    /// Maximum number of entries in memory. Beyond it they become a sorted run in the local index cache, if
    /// there is one.
    pub rows: usize,
    /// Maximum bytes of cached decoded tables.
    pub tables: usize,
    /// Number of look-ups of possibly new chunks before a run's Bloom filter is loaded.
    pub bloom_after_lookups: u32,
}

impl Default for IndexLimits {
    fn default() -> Self {
        // A hash table of entries doubles its allocation at 458 752.
        Self { rows: 450_000, tables: 24 << 20, bloom_after_lookups: 2000 }
    }
}
