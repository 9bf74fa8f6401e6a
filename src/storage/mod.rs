//! The storage of a repository: one narrow trait, and its implementations.

#[cfg(any(feature = "cloud", feature = "rest"))]
#[cfg_attr(not(feature = "rest"), allow(dead_code, unused_imports, reason = "for rest"))]
pub(crate) mod http;
pub mod local;
pub mod memory;
pub mod mirror;
pub mod names;
#[cfg(feature = "cloud")]
pub mod object_store;
pub mod rate_limit;
#[cfg(feature = "rest")]
pub mod rest;
#[cfg_attr(not(any(feature = "cloud", feature = "rest")), allow(dead_code, reason = "it is for HTTP"))]
pub mod retry;
pub mod sftp;
#[cfg(any(feature = "cli", feature = "cloud", feature = "rest"))]
pub mod tls;

use std::path::Path;
use std::{fmt, io};

use crate::error::{Error, Result};
use crate::model::entry::Time;

/// Maximum bytes of an object that is moved by reading and writing it: a little more than any pack.
const MAX_MOVED: u64 = (1 << 30) + (128 << 20);

/// The folders of a repository. See docs/format.md, "Layout".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// Generations of the configuration.
    Config,
    /// Key slots.
    Keys,
    /// Packs; spread over 256 folders by the first byte of the name.
    Packs,
    /// Parity files (sidecars) from which packs can be rebuilt; spread like packs.
    Parity,
    /// Header bundles (segments): copies of many packs' headers.
    Index,
    /// Manifests and fences.
    Snapshots,
    /// Forgotten manifests.
    Trash,
    /// Running sessions.
    Sessions,
    /// Records of gc runs.
    Gc,
    /// Damage records.
    Damage,
    /// Damaged packs, moved here after their readable data was rewritten. Never read.
    Quarantine,
    /// Who forgot, rewrote or purged what, and when.
    Audit,
}

impl ObjectKind {
    /// All object kinds.
    pub const ALL: [Self; 12] = [
        Self::Config,
        Self::Keys,
        Self::Packs,
        Self::Parity,
        Self::Index,
        Self::Snapshots,
        Self::Trash,
        Self::Sessions,
        Self::Gc,
        Self::Damage,
        Self::Quarantine,
        Self::Audit,
    ];

    /// Returns the folder name.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Keys => "keys",
            Self::Packs => "packs",
            Self::Parity => "parity",
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Trash => "trash",
            Self::Sessions => "sessions",
            Self::Gc => "gc",
            Self::Damage => "damage",
            Self::Quarantine => "quarantine",
            Self::Audit => "audit",
        }
    }

    /// Returns whether its objects are spread over 256 folders by the first byte of their names.
    pub const fn is_spread(self) -> bool {
        matches!(self, Self::Packs | Self::Parity)
    }

    /// Returns the path of an object within the repository, for messages and for storages that have paths.
    pub fn path(self, name: &str) -> String {
        match name.get(..2) {
            Some(shard) if self.is_spread() => format!("{}/{shard}/{name}", self.folder()),
            _ => format!("{}/{name}", self.folder()),
        }
    }
}

/// A listed object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Name within its folder.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// Modification time by the storage's clock; `None` if the storage reports none. For display and the
    /// undelete window only; never for safety.
    pub modified: Option<Time>,
}

/// Result of creating an object if it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The object is new, complete and durable.
    New,
    /// An object of that name existed and is untouched.
    Exists,
}

/// Free and total space of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that can still be written.
    pub free: u64,
    /// Total bytes.
    pub total: u64,
}

/// A lock that marks a session as alive while it is held (on a local disk: flock on its file).
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// The guard of storages without locks, where only heartbeats show that a session is alive.
#[derive(Debug)]
struct NoLock;

impl LockGuard for NoLock {}

/// Where a repository is stored. Every implementation passes the same conformance suite.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Returns the location, for messages and to recognize the storage again.
    fn location(&self) -> String;

    /// Lists all objects of a kind, in order of name. A folder that was never written to is empty.
    ///
    /// # Errors
    /// The listing may be incomplete: an error is never treated as an empty list.
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>>;

    /// Returns the paths of foreign files in a kind's folders that no listing returns, for messages.
    ///
    /// # Errors
    /// The folder cannot be listed.
    fn strays(&self, _area: ObjectKind) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// `Missing` if there is none; `Damaged` if it is longer than `limit` bytes (then nothing is allocated).
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>>;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `Missing` if there is no object, `Damaged` if it ends before `out` is full.
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()>;

    /// Creates an object from the concatenated `parts`, if the name is free. On return it is complete and
    /// durable; before, it is not visible. Exactly one of several callers gets `New`.
    ///
    /// # Errors
    /// It could not be made durable. Then it does not exist, or its state is unknown: never retry the sync.
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome>;

    /// Like `create`, but takes ownership of the bytes, which saves a copy on some storages.
    ///
    /// # Errors
    /// As `create`.
    fn create_owned(&self, area: ObjectKind, name: &str, parts: Vec<Vec<u8>>) -> Result<CreateOutcome> {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        self.create(area, name, &parts)
    }

    /// Returns whether requests go over a network, so that each has latency however small it is.
    fn is_remote(&self) -> bool {
        false
    }

    /// Returns the directory, if the storage is a local one.
    fn local_dir(&self) -> Option<&Path> {
        None
    }

    /// Like `create`, and locks the object until the returned guard is dropped. On storages without locks the
    /// guard does nothing.
    ///
    /// # Errors
    /// As `create`; an existing name is an error.
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        match self.create(area, name, &[bytes])? {
            CreateOutcome::New => Ok(Box::new(NoLock)),
            CreateOutcome::Exists => {
                let full = format!("{}/{}", self.location(), area.path(name));
                Err(Error::io("create", full)(io::ErrorKind::AlreadyExists.into()))
            }
        }
    }

    /// Creates or replaces an object. Only for heartbeats, and for what a gc run observed of them.
    /// A reader sees the old bytes or the new, never a mixture. Not necessarily durable.
    ///
    /// # Errors
    /// It could not be written.
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()>;

    /// Returns whether a process holds the object's lock. `None` if the storage has no locks; local storages
    /// return that whether or not the object exists.
    ///
    /// # Errors
    /// The object cannot be examined; a missing one is `Some(false)`.
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>>;

    /// Returns why this storage is unsafe for concurrent garbage collection.
    /// `None` if it guarantees exclusive creation, read-after-write listings and visible locks.
    ///
    /// # Errors
    /// This cannot be determined.
    fn weakness(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns warnings about limitations of this storage that were found while using it, each once.
    fn cautions(&self) -> Vec<String> {
        Vec::new()
    }

    /// Moves an object to another kind under a name that is free there, durably. If interrupted, it may exist
    /// in both.
    ///
    /// # Errors
    /// `Missing` if there is none; or it could not be made durable in its new place.
    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        let bytes = self.read(from.0, from.1, MAX_MOVED)?;
        let created = self.create(to.0, to.1, &[&bytes])?;
        // If the target has the same bytes, an earlier move was interrupted.
        if created == CreateOutcome::Exists && self.read(to.0, to.1, MAX_MOVED)? != bytes {
            return Ok(CreateOutcome::Exists);
        }
        self.remove(from.0, from.1)?;
        self.sync(from.0)?;
        Ok(CreateOutcome::New)
    }

    /// Removes an object. It is not an error if there is none.
    ///
    /// # Errors
    /// It could not be removed.
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()>;

    /// Releases the space reserved for a full disk, so that snapshots can be forgotten and garbage collected.
    /// Storages without a capacity limit of their own reserve none.
    ///
    /// # Errors
    /// It could not be released.
    fn release_reserve(&self) -> Result<()> {
        Ok(())
    }

    /// Reserves some space for a full disk, unless it is reserved already. Best effort.
    fn keep_reserve(&self) {}

    /// Returns free and total space; `None` if the storage does not report it.
    fn capacity(&self) -> Option<Capacity> {
        None
    }

    /// Removes invisible leftovers of interrupted writers: temporary files.
    ///
    /// # Errors
    /// Some could not be removed.
    fn remove_stale_temp_files(&self) -> Result<()> {
        Ok(())
    }

    /// Makes removals of a kind durable.
    ///
    /// # Errors
    /// They may not be durable.
    fn sync(&self, area: ObjectKind) -> Result<()>;
}

/// Returns whether an object exists and consists of the concatenated parts.
#[cfg(any(feature = "cloud", feature = "rest"))]
pub(crate) fn has_content(storage: &impl Storage, area: ObjectKind, name: &str, parts: &[&[u8]]) -> bool {
    let len = parts.iter().map(|part| part.len() as u64).sum();
    let Ok(bytes) = storage.read(area, name, len) else { return false };
    let mut rest = bytes.as_slice();
    let all = parts.iter().all(|part| rest.strip_prefix(*part).map(|after| rest = after).is_some());
    all && rest.is_empty()
}

/// Returns the error for an object that ends before a range that is read.
pub(crate) fn too_short(what: impl Into<String>) -> Error {
    Error::because(what, "it is shorter than expected")
}

/// Returns the error for an object that is longer than the limit of a read.
pub(crate) fn too_long(what: impl Into<String>) -> Error {
    Error::because(what, "it is longer than an object of its type can be")
}

/// Returns an empty buffer for an object of this length.
///
/// # Errors
/// There is not enough memory.
pub(crate) fn buffer(len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX));
    reserved.map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(bytes)
}

/// Rejects an invalid object name before it becomes a path: names may come from damaged objects.
pub(crate) fn check_name(area: ObjectKind, name: &str) -> Result<()> {
    let unsharded = area.is_spread() && name.get(..2).is_none();
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || unsharded {
        return Err(Error::Missing { what: area.path(name) });
    }
    Ok(())
}
