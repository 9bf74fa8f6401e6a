//! The outside world as the repository sees it: one narrow trait.

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

use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::model::entry::Time;

/// Most bytes of an object that is moved by being read and written: a little more than any pack.
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
    /// Sidecars of packs, from which these can be rebuilt; spread as they are.
    Parity,
    /// Segments: what many packs begin with.
    Index,
    /// Manifests and fences.
    Snapshots,
    /// Forgotten manifests.
    Trash,
    /// Running sessions.
    Sessions,
    /// Collections.
    Gc,
    /// What was found damaged.
    Damage,
    /// Damaged packs, moved aside when what could be read of them had been written anew. Nobody reads these.
    Quarantine,
}

impl ObjectKind {
    /// All areas.
    pub const ALL: [Self; 11] = [
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
    ];

    /// Folder name.
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
        }
    }

    /// Whether its objects lie in 256 folders, by the first byte of their names.
    pub const fn is_spread(self) -> bool {
        matches!(self, Self::Packs | Self::Parity)
    }

    /// Path of an object within the repository, for messages and for stores that have paths.
    pub fn path(self, name: &str) -> String {
        match name.get(..2) {
            Some(shard) if self.is_spread() => format!("{}/{shard}/{name}", self.folder()),
            _ => format!("{}/{name}", self.folder()),
        }
    }
}

/// An object that a listing found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Name within its area.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// When it was written, by the store's clock; `None` where the store does not say. For people and for the
    /// undelete window; never for safety.
    pub modified: Option<Time>,
}

/// What a create-if-absent found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The object is new, complete and durable.
    New,
    /// An object of that name was there and is untouched.
    Exists,
}

/// The room of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes that may still be written.
    pub free: u64,
    /// Bytes of all.
    pub total: u64,
}

/// Keeps a session visibly alive for as long as it is held (on a local disk: an flock on its file).
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// Of stores where nothing holds an object: who is at work shows by its heartbeat.
#[derive(Debug)]
struct Unheld;

impl LockGuard for Unheld {}

/// Where a repository lies. Every implementation passes the same conformance suite.
pub trait Storage: Send + Sync + fmt::Debug {
    /// For people, and to recognise the place again.
    fn location(&self) -> String;

    /// All objects of an area, in order of name. An area never written to is empty.
    ///
    /// # Errors
    /// Whenever the listing may be incomplete: an error is never an empty list.
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>>;

    /// What lies in an area's folders, is not snap's, and is in no listing: by its path in the repository, for people.
    ///
    /// # Errors
    /// When the area cannot be listed.
    fn strays(&self, _area: ObjectKind) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// A whole object.
    ///
    /// # Errors
    /// `Missing` when there is none; `Damaged` when it is longer than `limit` bytes (nothing is allocated then).
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>>;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `Missing` when there is no object, `Damaged` when it ends before `out` is full.
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()>;

    /// Creates an object from `parts`, one after the other, if the name is free. On return it is complete and
    /// durable; before, nobody sees it. Exactly one of several callers gets `New`.
    ///
    /// # Errors
    /// When it could not be made durable. It is then not there, or its state is unknown: never retry the sync.
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome>;

    /// Like `create`, of bytes that may go to whoever sends them: then they need not be copied for that.
    ///
    /// # Errors
    /// As `create`.
    fn create_owned(&self, area: ObjectKind, name: &str, parts: Vec<Vec<u8>>) -> Result<CreateOutcome> {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        self.create(area, name, &parts)
    }

    /// Whether a line lies in between, so that each request takes a while however small it is.
    fn is_remote(&self) -> bool {
        false
    }

    /// The directory that it is, if it is one of this machine.
    fn local_dir(&self) -> Option<&Path> {
        None
    }

    /// Like `create`, and the object is held until the returned value is dropped; where there are no locks, nothing
    /// holds it.
    ///
    /// # Errors
    /// As `create`; an existing name is an error.
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        match self.create(area, name, &[bytes])? {
            CreateOutcome::New => Ok(Box::new(Unheld)),
            CreateOutcome::Exists => {
                let full = format!("{}/{}", self.location(), area.path(name));
                Err(Error::io("create", full)(std::io::ErrorKind::AlreadyExists.into()))
            }
        }
    }

    /// Writes an object whether or not the name is free. Only for heartbeats and what a collector saw of them.
    /// A reader sees the old bytes or the new, never a mixture. Not necessarily durable.
    ///
    /// # Errors
    /// When it could not be written.
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()>;

    /// Whether somebody holds the object. `None` where the store cannot tell; unless it is far, it says so whether or not
    /// there is such an object.
    ///
    /// # Errors
    /// When the object could not be looked at, but for its being missing: `Some(false)`.
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>>;

    /// What kind of store this is, if it cannot promise what collecting beside others needs: that of several callers
    /// exactly one creates a name, that a listing holds what others created before it, and that a lock is seen by all.
    /// `None`: it promises that.
    ///
    /// # Errors
    /// When that cannot be told.
    fn weakness(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// What a person should know of this store and has not been told yet: what it cannot do, found at work.
    fn cautions(&self) -> Vec<String> {
        Vec::new()
    }

    /// Moves an object to another area under a name that is free there, durably. Cut short, it may stand in both.
    ///
    /// # Errors
    /// `Missing` when there is none; when it could not be made durable in its new place.
    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        let bytes = self.read(from.0, from.1, MAX_MOVED)?;
        let created = self.create(to.0, to.1, &[&bytes])?;
        // Its own bytes there: it was cut short before.
        if created == CreateOutcome::Exists && self.read(to.0, to.1, MAX_MOVED)? != bytes {
            return Ok(CreateOutcome::Exists);
        }
        self.remove(from.0, from.1)?;
        self.sync(from.0)?;
        Ok(CreateOutcome::New)
    }

    /// Removes an object; none there is no error.
    ///
    /// # Errors
    /// When it is still there.
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()>;

    /// Gives back the space kept for a full disk, so that something can be forgotten and collected there. Stores
    /// without a limit of their own keep none.
    ///
    /// # Errors
    /// When it could not be given back.
    fn release_reserve(&self) -> Result<()> {
        Ok(())
    }

    /// Keeps some space for a full disk, unless it is kept already. Best effort.
    fn keep_reserve(&self) {}

    /// How much room there is; `None` where the store does not say.
    fn capacity(&self) -> Option<Capacity> {
        None
    }

    /// Removes what writers that are gone have left behind and nobody can see: temporary files.
    ///
    /// # Errors
    /// When some of it is still there.
    fn remove_stale_temp_files(&self) -> Result<()> {
        Ok(())
    }

    /// Makes removals in an area durable.
    ///
    /// # Errors
    /// When they may not be.
    fn sync(&self, area: ObjectKind) -> Result<()>;
}

/// Whether the parts, one after the other, are these bytes.
#[cfg(any(feature = "cloud", feature = "rest"))]
pub(crate) fn are(parts: &[&[u8]], bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let all = parts.iter().all(|part| rest.strip_prefix(*part).map(|behind| rest = behind).is_some());
    all && rest.is_empty()
}

/// Refuses what cannot be an object's name, before it becomes a path: names may come from damaged objects.
pub(crate) fn check_name(area: ObjectKind, name: &str) -> Result<()> {
    let unsharded = area.is_spread() && name.get(..2).is_none();
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || unsharded {
        return Err(Error::Missing { what: area.path(name) });
    }
    Ok(())
}
