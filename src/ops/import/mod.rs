//! `import`: imports an archive, or the legacy backup script's directory of archives, as snapshots.
//!
//! One thread decompresses, the caller's thread parses, cuts and hashes, and the writer's workers compress
//! and write. Members are not sorted, so the tree is built in memory and stored at the end of the archive.
//! Nothing is committed unless the whole archive could be read.

mod archive;
mod decompress;
mod legacy;
mod members;
mod tree;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_bytes::ByteBuf;

use crate::error::{Error, Problem, Result};
use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::{Counts, SnapshotKind};
use crate::ops::import::archive::{ImportedArchive, Record};
use crate::ops::import::members::PathMap;
use crate::ops::import::tree::{Names, Tree};
use crate::progress::{Control, Observer};
use crate::repo::repository::Repository;
use crate::util::host;

pub use crate::ops::import::legacy::{LegacyOptions, LegacySummary, run as run_legacy};

/// What to record, and how to import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is recorded as the snapshot's sources, usually the path of the archive. Together with the host
    /// they identify the set.
    pub sources: Vec<Vec<u8>>,
    /// Stored path below which members are put; empty: at the root.
    pub store_as: Vec<u8>,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Host name to record instead of this machine's.
    pub host: Option<String>,
    /// User name to record instead of this process's.
    pub user: Option<String>,
    /// Description of the snapshot.
    pub description: Option<String>,
    /// A permanent identifier of the origin of the archive; see
    /// [`Manifest::origin`](crate::model::manifest::Manifest::origin).
    pub origin: Option<String>,
    /// Time to record instead of now.
    pub time: Option<Time>,
    /// Compression level to use instead of the repository's.
    pub level: Option<i32>,
    /// Maximum bytes of memory for names and metadata, instead of half of the machine's memory.
    pub memory: Option<u64>,
    /// Read the archive, but store nothing.
    pub dry_run: bool,
}

/// What all archives of an import share.
#[derive(Clone, Copy)]
struct ImportJob<'a> {
    repo: &'a Repository,
    observer: &'a dyn Observer,
    stop: &'a Arc<AtomicBool>,
    /// Maximum bytes of memory for names and metadata.
    memory: u64,
    dry_run: bool,
}

/// Result of an import.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The new snapshot; `None` in a dry run.
    pub snapshot: Option<SnapshotId>,
    /// Root of the tree, also in a dry run: equal archives have equal ones.
    pub root: ChunkId,
    /// Statistics of the import.
    pub counts: Counts,
    /// Members that cannot be stored, or only in part, and why.
    pub problems: Vec<Problem>,
    /// How long it took.
    pub duration: Duration,
}

/// Imports an archive (plain, gzip or zstd) as a snapshot.
///
/// # Errors
/// When it cannot be read to its end, or a member is invalid. Nothing is committed then.
pub fn run(
    repo: &Repository,
    options: &Options,
    archive: Box<dyn Read + Send>,
    control: &Control<'_>,
) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    if !options.dry_run {
        repo.may_write()?;
    }
    let clock = Instant::now();
    let prefix = members::names_of(&options.store_as)
        .map_err(|why| Error::Usage(format!("the path to store it as: {why}")))?;
    let map = |names: Names| -> Names { prefix.iter().cloned().chain(names).collect() };
    let record = Record {
        kind: SnapshotKind::Full,
        parent: None,
        based_on: None,
        started: options.time.unwrap_or_else(Time::now),
        host: options.host.clone().unwrap_or_else(host::host_name),
        user: options.user.clone(),
        sources: options.sources.iter().cloned().map(ByteBuf::from).collect(),
        tags: options.tags.clone(),
        description: options.description.clone(),
        origin: options.origin.clone(),
        level: options.level,
    };
    let memory = options.memory.unwrap_or_else(half_of_memory);
    let job = ImportJob { repo, observer, stop, memory, dry_run: options.dry_run };
    let paths = PathMap { map: &map, skips_parent_dirs: false };
    let (imported, _) = job.import_archive(archive, Tree::default(), paths, &record)?;
    let ImportedArchive { snapshot, root, counts, problems } = imported;
    Ok(Report { snapshot, root, counts, problems, duration: clock.elapsed() })
}

/// Assumed memory of the machine in bytes, where the system does not report it.
const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;

/// Returns half of the machine's memory in bytes.
fn half_of_memory() -> u64 {
    crate::sys::host::memory().unwrap_or(DEFAULT_MEMORY_BYTES) / 2
}
