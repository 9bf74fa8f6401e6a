//! `import`: an archive, or the old script's directory of archives, as snapshots.
//!
//! One thread decompresses, the caller's parses, cuts and names, the sink's workers compress and write. Members are
//! not sorted, so the tree is gathered in memory and stored when the archive has ended. Nothing is committed unless
//! all of it could be read.

mod decompress;
mod legacy;
mod members;
mod out;
mod take;
mod tree;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::{Counts, SnapshotKind};
use crate::ops::import::members::Place;
use crate::ops::import::take::{ImportJob, Record};
use crate::ops::import::tree::{Names, Tree};
use crate::progress::Observer;
use crate::repo::repository::Repository;
use crate::util::host;

pub use crate::ops::import::legacy::{LegacyOptions, LegacySummary, run as run_legacy};

/// What an import records.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the archive lies: with the host, the set that the snapshot belongs to.
    pub source: Vec<u8>,
    /// Below which path its members stand; empty: at the root.
    pub store_as: Vec<u8>,
    /// Labels.
    pub tags: Vec<String>,
    /// Instead of this machine's name.
    pub host: Option<String>,
    /// Instead of now.
    pub time: Option<Time>,
    /// Instead of the repository's compression level.
    pub level: Option<i32>,
    /// Most bytes of memory for names and metadata, instead of half of the machine's.
    pub memory: Option<u64>,
    /// Read everything, write nothing.
    pub dry_run: bool,
}

/// What an import did.
#[derive(Debug)]
pub struct Summary {
    /// The new snapshot; `None` in a dry run.
    pub snapshot: Option<SnapshotId>,
    /// Numbers.
    pub counts: Counts,
    /// Members that cannot be stored or not wholly, and why.
    pub problems: Vec<(Vec<u8>, String)>,
    /// How long it took.
    pub seconds: f64,
}

/// Reads an archive, compressed with gzip or zstd or not at all, into a snapshot.
///
/// # Errors
/// When it cannot be read to its end, or a member must not be believed: nothing is committed then.
pub fn run(
    repo: &Repository,
    options: &Options,
    archive: Box<dyn Read + Send>,
    observer: &dyn Observer,
    stop: &Arc<AtomicBool>,
) -> Result<Summary> {
    let clock = Instant::now();
    let prefix = members::names_of(&options.store_as)
        .map_err(|why| Error::Usage(format!("the path to store it as: {why}")))?;
    let place = |names: Names| -> Names { prefix.iter().cloned().chain(names).collect() };
    let record = Record {
        kind: SnapshotKind::Full,
        parent: None,
        based_on: None,
        started: options.time.unwrap_or_else(Time::now),
        host: options.host.clone().unwrap_or_else(host::host_name),
        sources: vec![ByteBuf::from(options.source.clone())],
        tags: options.tags.clone(),
        level: options.level,
    };
    let memory = options.memory.unwrap_or_else(half_of_memory);
    let work = ImportJob { repo, observer, stop, memory, dry_run: options.dry_run };
    let place = Place { of: &place, from_beside: false };
    let (taken, _) = work.take(archive, Tree::default(), place, &record)?;
    let seconds = clock.elapsed().as_secs_f64();
    Ok(Summary { snapshot: taken.snapshot, counts: taken.counts, problems: taken.problems, seconds })
}

/// Half of what the machine has.
fn half_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    // The types differ from one kind of machine to another.
    #[allow(clippy::useless_conversion)]
    let (total, unit) = (u64::from(info.totalram), u64::from(info.mem_unit));
    total.saturating_mul(unit.max(1)) / 2
}
