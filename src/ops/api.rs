//! The operations as methods of [`Repository`], with the public names of their options and reports.

use std::io::{Read, Write};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::codec::crypto::kdf::KdfParams;
use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::id::{KeyId, SnapshotId};
use crate::ops::repair::{gc_records, index, packs, parity, snapshots as broken};
use crate::ops::{backup, check};
use crate::ops::{
    cat, copy, diff, du, export, find, forget, gc, history, import, key, ls, restore, rewrite, stats, sync,
};
use crate::progress::{Control, Event, MessageBuffer, Observer};
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::repo::snapshots::{Query, Snapshot};
use crate::storage::Storage;

pub use crate::ops::backup::{Options as BackupOptions, Report as BackupReport};
pub use crate::ops::check::{Options as CheckOptions, Report as CheckReport};
pub use crate::ops::copy::{Options as CopyOptions, Report as CopyReport};
pub use crate::ops::diff::{Difference, Options as DiffOptions, Report as DiffReport};
pub use crate::ops::du::{Options as DuOptions, Report as DuReport};
pub use crate::ops::export::{Format as ExportFormat, Options as ExportOptions, Report as ExportReport};
pub use crate::ops::find::{Match, Options as FindOptions, Report as FindReport};
pub use crate::ops::forget::{Forgotten, Options as ForgetOptions, PolicyOptions, groups::Group};
pub use crate::ops::gc::{Options as GcOptions, Report as GcReport};
pub use crate::ops::history::{Options as HistoryOptions, Report as HistoryReport};
pub use crate::ops::import::{Options as ImportOptions, Report as ImportReport};
pub use crate::ops::key::Slot as KeySlot;
pub use crate::ops::ls::Levels;
pub use crate::ops::repair::gc_records::Report as RepairGcRecordsReport;
pub use crate::ops::repair::index::Report as RepairIndexReport;
pub use crate::ops::repair::packs::{Options as RepairPacksOptions, Report as RepairPacksReport};
pub use crate::ops::repair::parity::Report as RepairParityReport;
pub use crate::ops::repair::snapshots::{Options as RepairSnapshotsOptions, Report as RepairSnapshotsReport};
pub use crate::ops::restore::{Options as RestoreOptions, Report as RestoreReport};
pub use crate::ops::rewrite::{Change, Options as RewriteOptions, Report as RewriteReport};
pub use crate::ops::stats::{Options as StatsOptions, Report as StatsReport};
pub use crate::ops::sync::{Options as SyncOptions, Report as SyncReport};
pub use crate::repo::sessions::trash_entries::TrashEntry;

/// # Operations
///
/// Each takes its options and a [`Control`], and returns a report. Warnings go to the observer of the
/// control; what a check finds is in its report. A cancelled operation fails with
/// [`ErrorKind::Interrupted`](crate::ErrorKind), unless it was cancelled after it began and its report says
/// that a part of the work was kept. Those that only list, print, forget or change keys are not interrupted
/// once they have begun. All operations can also
/// fail with [`ErrorKind::Io`](crate::ErrorKind) or a similar error of the storage, and with
/// [`ErrorKind::Damaged`](crate::ErrorKind).
impl Repository {
    /// Saves files and directories as a snapshot. Entries that cannot be read are listed in the report.
    ///
    /// # Errors
    /// `BadInput` when nothing could be read, `Usage` when the options contradict each other.
    pub fn backup(&self, options: &BackupOptions, control: &Control<'_>) -> Result<BackupReport> {
        let own = self.storage().local_dir().map(ToOwned::to_owned);
        self.observed(control, |repo| {
            backup::Backup::begin(options.clone(), own, control)?.run(repo, control)
        })
    }

    /// Restores a snapshot, or a part of one, to a directory. Entries that cannot be restored are listed in
    /// the report.
    ///
    /// # Errors
    /// `NotFound` when the selector matches nothing, `Refused` when the target must not be written to.
    pub fn restore(&self, options: &RestoreOptions, control: &Control<'_>) -> Result<RestoreReport> {
        self.observed(control, |repo| restore::run(repo, options, control))
    }

    /// Returns the snapshots that match a filter, oldest first.
    ///
    /// # Errors
    /// Those of all operations.
    pub fn snapshots(&self, filter: &SnapshotFilter, control: &Control<'_>) -> Result<Vec<Snapshot>> {
        let mut all = self.observed(control, snapshots::list)?;
        all.retain(|snapshot| filter.admits(&snapshot.manifest));
        Ok(all)
    }

    /// Calls `each` for the path and entry of everything in a directory of a snapshot, in order of paths.
    ///
    /// # Errors
    /// `NotFound` when the query matches nothing; errors that `each` returns.
    pub fn list_dir<'a>(
        &self,
        query: impl Into<Query<'a>>,
        levels: Levels,
        each: &mut dyn FnMut(&[u8], &Entry) -> Result<()>,
        control: &Control<'_>,
    ) -> Result<Snapshot> {
        self.observed(control, |repo| ls::run(repo, query, levels, each))
    }

    /// Writes the content of a file, given as `SNAPSHOT:PATH`, to `out`.
    ///
    /// # Errors
    /// `NotFound` when the query matches nothing, `Usage` when it does not name a file.
    pub fn cat<'a>(
        &self,
        query: impl Into<Query<'a>>,
        out: &mut dyn Write,
        control: &Control<'_>,
    ) -> Result<()> {
        self.observed(control, |repo| cat::run(repo, query, out))
    }

    /// Searches snapshots for paths, and calls `each` for every match.
    ///
    /// # Errors
    /// `Usage` when a pattern is invalid; errors that `each` returns.
    pub fn find(
        &self,
        options: &FindOptions,
        each: &mut dyn FnMut(&Match<'_>) -> Result<()>,
        control: &Control<'_>,
    ) -> Result<FindReport> {
        self.observed(control, |repo| find::run(repo, options, each, control))
    }

    /// Compares two snapshots, or a snapshot with a directory, and calls `each` for every difference.
    ///
    /// # Errors
    /// `NotFound` when a side does not exist; errors that `each` returns.
    pub fn diff(
        &self,
        options: &DiffOptions,
        each: &mut dyn FnMut(&Difference<'_>) -> Result<()>,
        control: &Control<'_>,
    ) -> Result<DiffReport> {
        self.observed(control, |repo| diff::run(repo, options, each, control))
    }

    /// Returns the versions of a path in all snapshots.
    ///
    /// # Errors
    /// `NotFound` when no snapshot has it.
    pub fn history(&self, options: &HistoryOptions, control: &Control<'_>) -> Result<HistoryReport> {
        self.observed(control, |repo| history::run(repo, options, control))
    }

    /// Measures the space used by the directories of snapshots.
    ///
    /// # Errors
    /// `NotFound` when the chosen snapshots do not have the path.
    pub fn du(&self, options: &DuOptions, control: &Control<'_>) -> Result<DuReport> {
        self.observed(control, |repo| du::run(repo, options, control))
    }

    /// Measures snapshots and the repository.
    ///
    /// # Errors
    /// `NotFound` when a selector matches nothing.
    pub fn stats(&self, options: &StatsOptions, control: &Control<'_>) -> Result<StatsReport> {
        self.observed(control, |repo| stats::run(repo, options, control))
    }

    /// Writes a snapshot, or a part of one, as an archive.
    ///
    /// # Errors
    /// `NotFound` when the selector matches nothing; an error of `out`.
    pub fn export(
        &self,
        options: &ExportOptions,
        out: &mut (dyn Write + Send),
        control: &Control<'_>,
    ) -> Result<ExportReport> {
        self.observed(control, |repo| export::run(repo, options, out, control))
    }

    /// Saves a tar archive, compressed or not, as a snapshot.
    ///
    /// # Errors
    /// `BadInput` when the archive cannot be read. Nothing of it is saved then.
    pub fn import(
        &self,
        options: &ImportOptions,
        archive: Box<dyn Read + Send>,
        control: &Control<'_>,
    ) -> Result<ImportReport> {
        self.observed(control, |repo| import::run(repo, options, archive, control))
    }

    /// Forgets snapshots by name. They can be brought back until [`Self::gc`] purges them.
    ///
    /// # Errors
    /// `NotFound` when a selector matches nothing, `Protected` when a snapshot is pinned, protected by an
    /// alarm or the newest of its sources. Nothing is forgotten then.
    pub fn forget(&self, options: &ForgetOptions, control: &Control<'_>) -> Result<Vec<Forgotten>> {
        self.observed(control, |repo| forget::run(repo, options))
    }

    /// Forgets the snapshots that no rule keeps. Returns for each why it is kept or forgotten.
    ///
    /// # Errors
    /// `Protected` when there is no usable rule.
    pub fn forget_by_policy(&self, options: &PolicyOptions, control: &Control<'_>) -> Result<Vec<Group>> {
        self.observed(control, |repo| forget::by_policy(repo, options))
    }

    /// Returns the snapshots that [`Self::undelete`] can bring back.
    ///
    /// # Errors
    /// Those of all operations.
    pub fn trashed(&self, control: &Control<'_>) -> Result<Vec<(TrashEntry, Snapshot)>> {
        self.observed(control, forget::trashed)
    }

    /// Brings back forgotten snapshots, each given by a prefix of its id. Returns their current ids.
    ///
    /// # Errors
    /// `NotFound` when a prefix matches no snapshot or several, `Refused` when one is being purged.
    pub fn undelete(&self, prefixes: &[String], control: &Control<'_>) -> Result<Vec<SnapshotId>> {
        self.observed(control, |repo| forget::undelete(repo, prefixes))
    }

    /// Changes the metadata of snapshots, or removes paths from them.
    ///
    /// # Errors
    /// `NotFound` when a selector matches nothing, `Protected` when a snapshot is pinned.
    pub fn rewrite(&self, options: &RewriteOptions, control: &Control<'_>) -> Result<RewriteReport> {
        self.observed(control, |repo| rewrite::run(repo, options, control))
    }

    /// Copies snapshots to another repository, which may have other keys and chunk boundaries.
    ///
    /// # Errors
    /// `Refused` when both are the same repository.
    pub fn copy_to(&self, to: &Self, options: &CopyOptions, control: &Control<'_>) -> Result<CopyReport> {
        to.observed(control, |to| self.observed(control, |from| copy::run(from, to, options, control)))
    }

    /// Mirrors this repository to another storage, object by object.
    ///
    /// # Errors
    /// `Refused` when the storage contains another repository.
    pub fn sync_to(
        &self,
        to: &Arc<dyn Storage>,
        options: &SyncOptions,
        control: &Control<'_>,
    ) -> Result<SyncReport> {
        self.observed(control, |repo| sync::run(repo, to, options, control))
    }

    /// Deletes what no snapshot needs.
    ///
    /// # Errors
    /// `Damaged` when it is unknown what snapshots need. Needed data is never deleted, even then.
    pub fn gc(&self, options: &GcOptions, control: &Control<'_>) -> Result<GcReport> {
        self.observed(control, |repo| gc::run(repo, options, control))
    }

    /// Verifies that everything that snapshots need exists and, if requested, is intact. Damage is listed in
    /// the report.
    ///
    /// # Errors
    /// Those of all operations.
    pub fn check(&self, options: &CheckOptions, control: &Control<'_>) -> Result<CheckReport> {
        self.observed(control, |repo| check::run(repo, options, control))
    }

    /// Rebuilds the index and header bundles from the tables of packs.
    ///
    /// # Errors
    /// Those of all operations.
    pub fn repair_index(&self, dry_run: bool, control: &Control<'_>) -> Result<RepairIndexReport> {
        self.observed(control, |repo| index::run(repo, dry_run, control))
    }

    /// Saves the intact part of damaged packs, and rebuilds the rest from parity if possible.
    ///
    /// # Errors
    /// `NotFound` when an id matches no pack.
    pub fn repair_packs(
        &self,
        options: &RepairPacksOptions,
        control: &Control<'_>,
    ) -> Result<RepairPacksReport> {
        self.observed(control, |repo| packs::run(repo, options, control))
    }

    /// Replaces snapshots that lost data by snapshots of what is left.
    ///
    /// # Errors
    /// `NotFound` when an id matches no snapshot.
    pub fn repair_snapshots(
        &self,
        options: &RepairSnapshotsOptions,
        control: &Control<'_>,
    ) -> Result<RepairSnapshotsReport> {
        self.observed(control, |repo| broken::run(repo, options, control))
    }

    /// Writes missing or damaged parity.
    ///
    /// # Errors
    /// Those of all operations.
    pub fn repair_parity(&self, dry_run: bool, control: &Control<'_>) -> Result<RepairParityReport> {
        self.observed(control, |repo| parity::run(repo, dry_run, control))
    }

    /// Removes unreadable records of garbage collections.
    ///
    /// # Errors
    /// `Refused` while another process may need them.
    pub fn repair_gc_records(&self, dry_run: bool, control: &Control<'_>) -> Result<RepairGcRecordsReport> {
        self.observed(control, |repo| gc_records::run(repo, dry_run))
    }

    /// Lists the key slots: the passwords that open the repository.
    ///
    /// # Errors
    /// Those of all operations.
    pub fn keys(&self, control: &Control<'_>) -> Result<Vec<KeySlot>> {
        self.observed(control, key::list)
    }

    /// Adds a password. `costs` is the cost of trying it.
    ///
    /// # Errors
    /// `Usage` when the repository is not encrypted.
    pub fn add_key(
        &self,
        password: &Zeroizing<String>,
        costs: KdfParams,
        label: &str,
        control: &Control<'_>,
    ) -> Result<KeyId> {
        self.observed(control, |repo| key::add(repo, password, costs, label))
    }

    /// Removes a password, given by a prefix of its slot's id.
    ///
    /// # Errors
    /// `Usage` when the prefix matches no slot or several, `Refused` for the slot in use.
    pub fn remove_key(&self, prefix: &str, control: &Control<'_>) -> Result<KeyId> {
        self.observed(control, |repo| key::remove(repo, prefix))
    }

    /// Runs the work on a handle that buffers its messages, and passes them on afterwards: the control borrows
    /// its observer, so a repository cannot hold it. A storage is asked, because it was there before any
    /// observer.
    fn observed<T>(&self, control: &Control<'_>, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        control.check()?;
        let messages = Arc::new(MessageBuffer::new());
        self.unheard().pass_on(&*messages);
        let keep = Arc::clone(&messages);
        let done = work(&self.with_control(Control::shared(move |event: Event<'_>| keep.notice(event))));
        self.storage().cautions().iter().for_each(|text| messages.notice(Event::Warning(text)));
        messages.pass_on(control.observer());
        done
    }
}
