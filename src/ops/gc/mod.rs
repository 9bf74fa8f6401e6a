//! `gc`: deletes what no snapshot needs, concurrently with other sessions. The rules C1 to C5, W1 to W3 and
//! R1 are defined in docs/concurrency.md.
//!
//! `collect` is one run. `mark` finds the chunks that roots need, `choose_copy` which copy of each stays, and
//! `plan` decides what happens to each pack; for it, `reencode` chooses deltas to be stored whole, and
//! `deltas` chunks to become deltas. `repack` moves needed chunks to new packs, and `sweep` deletes the old
//! ones.
//!
//! `undelete_window` decides which forgotten snapshots are purged, and `dry_run` reports what a run would do.
//! `parity` maintains the parity files, `fences` removes old fences, `damage` maintains the damage records.
//! `missing` refuses to run if lost snapshots may need the data.

mod choose_copy;
mod collect;
mod damage;
mod deltas;
mod dry_run;
mod fences;
mod mark;
mod missing;
mod parity;
mod plan;
mod reencode;
mod repack;
mod sweep;
mod undelete_window;

use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
use crate::ops::gc::collect::Collector;
pub use crate::ops::gc::deltas::Similar;
pub use crate::ops::gc::missing::{Missing, missing};
use crate::ops::gc::sweep::Deleted;
use crate::progress::Control;
use crate::repo::repository::Repository;

/// How much unneeded data may stay in the repository.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// A share of the repository's size, from 0 to 1.
    Share(f64),
    /// A number of bytes.
    Bytes(u64),
    /// Any amount: only packs in which nothing is needed are deleted.
    Unlimited,
}

/// Options of a garbage collection.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much unneeded data may stay.
    pub max_unused: MaxUnused,
    /// Maximum total size of the packs to move, in bytes.
    pub max_repack: Option<u64>,
    /// Also move packs that were sealed in older epochs of the key, so that they are sealed in the newest.
    pub reseal: bool,
    /// Also store chunks as deltas against their older versions.
    pub delta: bool,
    /// Purge forgotten snapshots now, regardless of the undelete window.
    pub empty_trash: bool,
    /// Only report what would be done.
    pub dry_run: bool,
    /// Snapshots that a dry run treats as forgotten, because they will be before a real run.
    pub forgotten: Vec<SnapshotId>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::Share(0.05),
            max_repack: None,
            reseal: false,
            delta: false,
            empty_trash: false,
            dry_run: false,
            forgotten: Vec::new(),
        }
    }
}

/// Result of a garbage collection.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Bytes of all packs before the run.
    pub before: u64,
    /// Packs deleted, condemned by this run or by earlier ones that had to wait.
    pub packs_deleted: u64,
    /// Bytes of the deleted packs.
    pub bytes_deleted: u64,
    /// Packs whose needed blocks this run moved to new packs.
    pub packs_moved: u64,
    /// Bytes of the packs written for that.
    pub bytes_written: u64,
    /// Chunks that became deltas ([`Options::delta`]).
    pub similar: Similar,
    /// Condemned packs that turned out to be needed and were kept.
    pub rescued: u64,
    /// Forgotten snapshots purged for good.
    pub purged: u64,
    /// Unneeded bytes in packs that stay, approximately.
    pub unused: u64,
    /// Forgotten snapshots that can still be brought back.
    pub in_trash: u64,
    /// Plain bytes that only the snapshots in the trash need.
    pub trash_plain: u64,
    /// Condemned packs that a later run deletes: their number, and their size in bytes.
    pub later: (u64, u64),
    /// Descriptions of the sessions for which the sweep waits.
    pub waiting_for: Vec<String>,
    /// Needed chunks that are missing or damaged.
    pub lost: u64,
    /// Whether some of these are in no pack at all. Then no file data is deleted, since they may be deltas
    /// made from it.
    pub data_stays: bool,
    /// Whether the disk was full, so that nothing was moved.
    pub no_room: bool,
    /// Packs without parity for which this run wrote it.
    pub parity_written: u64,
    /// Bytes of parity written.
    pub parity_bytes: u64,
    /// Packs that still lack parity.
    pub parity_later: u64,
    /// Parity files removed because their packs are gone.
    pub parity_removed: u64,
    /// Bytes of the parity files removed.
    pub parity_freed: u64,
}

impl Report {
    fn add(&mut self, deleted: &Deleted) {
        self.packs_deleted += deleted.packs;
        self.bytes_deleted += deleted.bytes;
        self.rescued += deleted.rescued;
    }
}

/// Runs a garbage collection.
///
/// # Errors
/// When the storage fails, a manifest or a tree cannot be read, or the run was interrupted. Data that a
/// snapshot needs is never deleted, even then.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    repo.refuse_diverged()?;
    missing::refuse_lost(repo)?;
    if options.delta && !repo.config().has_deltas() {
        let why = "this repository has no deltas: `Repository::allow_deltas` allows them";
        return Err(Error::Refused(why.into()));
    }
    match Collector::run(repo, options, observer, stop, false) {
        Err(err) if err.is_full() && !options.dry_run => {
            repo.storage().release_reserve()?;
            Collector::run(repo, options, observer, stop, true)
        }
        other => other,
    }
}
