//! `gc`: deletes what no snapshot needs, beside everybody else's work. See docs/collecting.md for the rules that the
//! comments name.
//!
//! `collector` drives one run; `mark` finds what is needed, `keep` which copy of it stays, `plan` decides what becomes of
//! each pack, `repack` moves what stays, `sweep` deletes. `window` says which
//! forgotten snapshots are purged, `foresee` what a run would do. `parity` sees to the sidecars in the end.

mod choose_copy;
mod collect;
mod damage;
mod dry_run;
mod fences;
mod mark;
mod parity;
mod plan;
mod reencode;
mod repack;
mod sweep;
mod undelete_window;

use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::ops::gc::collect::Collector;
use crate::ops::gc::sweep::Deleted;
use crate::progress::Observer;
use crate::repo::repository::Repository;

/// How much may stay in the repository that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Of the repository's size.
    Share(f64),
    /// So many bytes.
    Bytes(u64),
    /// All of what is not in a pack of its own.
    Unlimited,
}

/// What to collect.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much may stay unused.
    pub max_unused: MaxUnused,
    /// Bytes of packs to move at most.
    pub max_repack: Option<u64>,
    /// Purge forgotten snapshots now, whatever the undelete window.
    pub empty_trash: bool,
    /// Write nothing.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_unused: MaxUnused::Share(0.05), max_repack: None, empty_trash: false, dry_run: false }
    }
}

/// What was collected.
#[derive(Debug, Default)]
pub struct Report {
    /// Bytes of packs before.
    pub before: u64,
    /// Packs deleted, by this and by earlier collections that waited.
    pub packs_deleted: u64,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// Packs that this run moved what is needed from.
    pub packs_moved: u64,
    /// Bytes of the packs written for that.
    pub bytes_written: u64,
    /// Condemned packs that turned out needed.
    pub rescued: u64,
    /// Forgotten snapshots purged for good.
    pub purged: u64,
    /// Bytes in packs that stay which nobody needs, about.
    pub unused: u64,
    /// Forgotten snapshots that can still be brought back.
    pub in_trash: u64,
    /// Plain bytes that only those need.
    pub trash_plain: u64,
    /// Condemned packs and their bytes that a later run deletes.
    pub later: (u64, u64),
    /// Who keeps them from being deleted now.
    pub waiting_for: Vec<String>,
    /// Needed chunks that are not there or damaged.
    pub lost: u64,
    /// Some of these are in no pack at all: no file data is deleted while they may be deltas against it.
    pub data_stays: bool,
    /// There was no room to move anything.
    pub no_room: bool,
    /// Packs that lacked parity and have it now.
    pub parity_written: u64,
    /// Bytes of that.
    pub parity_bytes: u64,
    /// Packs that lack parity still.
    pub parity_later: u64,
    /// Sidecars that nothing needs any more.
    pub parity_removed: u64,
    /// Their bytes.
    pub parity_freed: u64,
}

impl Report {
    fn add(&mut self, deleted: &Deleted) {
        self.packs_deleted += deleted.packs;
        self.bytes_deleted += deleted.bytes;
        self.rescued += deleted.rescued;
    }
}

/// Collects.
///
/// # Errors
/// When the store fails, a manifest or a tree cannot be read, or the run was interrupted. Nothing that a snapshot
/// needs is ever deleted then.
pub fn run(
    repo: &Repository,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Report> {
    repo.refuse_diverged()?;
    match Collector::run(repo, options, observer, stop, false) {
        Err(err) if err.is_full() && !options.dry_run => {
            repo.storage().release_reserve()?;
            Collector::run(repo, options, observer, stop, true)
        }
        other => other,
    }
}
