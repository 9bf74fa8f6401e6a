//! Deduplicating, encrypted snapshots of directory trees.
//!
//! Files are cut into content-defined chunks. Every chunk is stored once, under a keyed hash of its bytes.
//! A snapshot is a manifest that names the root of a tree of chunks; it is complete by itself.
//!
//! # A backup and a restore
//!
//! ```
//! use std::sync::Arc;
//!
//! use snap_backup::{BackupOptions, Control, InitOptions, MemoryStorage, Repository, RestoreOptions};
//!
//! # fn main() -> snap_backup::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # std::fs::create_dir(dir.path().join("notes")).unwrap();
//! # std::fs::write(dir.path().join("notes/today.txt"), "buy milk").unwrap();
//! let storage = Arc::new(MemoryStorage::default());
//! let repo = Repository::init(storage, &InitOptions::with_password("secret"))?;
//! let control = Control::default();
//!
//! let report = repo.backup(&BackupOptions::of([dir.path().join("notes")]), &control)?;
//! assert_eq!(report.counts.files_new, 1);
//!
//! let options = RestoreOptions::of("latest", dir.path().join("restored"));
//! let report = repo.restore(&options, &control)?;
//! assert_eq!(report.files_written, 1);
//! # Ok(()) }
//! ```
//!
//! The folder `examples` has more: progress and cancellation, lists of snapshots, a storage of one's own.
//!
//! # Overview
//!
//! - A [`Repository`] is made or opened on a [`Storage`]. Its methods are the operations. They have one shape:
//!   options and a [`Control`] in, a report out.
//! - A [`Control`] says who receives the [`Event`]s of an operation, and what cancels it.
//! - An [`Error`] has an [`ErrorKind`], by which callers decide. Messages are for people. They name operations
//!   and options as this page does.
//! - Options have defaults: `GcOptions { dry_run: true, ..GcOptions::default() }`. New fields may come in any
//!   version, in options and in reports.
//! - Stored paths are bytes, without a slash at the beginning. Times are [`Time`]s, sizes are bytes.
//!
//! Everything that is documented here is the API. The modules are public only with the feature `internals`, which
//! the program `snap` and the tests of this package need: they may change in any version.
#![forbid(unsafe_code)]
// What only the program calls is dead in a library without it.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unreachable_pub, unused_imports))]
// Links to modules are for readers of the code.
#![cfg_attr(not(feature = "internals"), allow(rustdoc::private_intra_doc_links))]

#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod codec;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod error;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod fs;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod model;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod ops;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod progress;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod repo;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod run_log;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod storage;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod sys;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod util;

#[cfg(not(feature = "internals"))]
mod codec;
#[cfg(not(feature = "internals"))]
mod error;
#[cfg(not(feature = "internals"))]
mod fs;
#[cfg(not(feature = "internals"))]
mod model;
#[cfg(not(feature = "internals"))]
mod ops;
#[cfg(not(feature = "internals"))]
mod progress;
#[cfg(not(feature = "internals"))]
mod repo;
#[cfg(not(feature = "internals"))]
mod run_log;
#[cfg(not(feature = "internals"))]
mod storage;
#[cfg(not(feature = "internals"))]
mod sys;
#[cfg(not(feature = "internals"))]
mod util;

pub use codec::crypto::kdf::KdfParams;
pub use error::{Error, ErrorKind, Problem, Result};
pub use fs::filter::FilterOptions;
pub use fs::protected_dirs::Protected;
pub use fs::xattr_choice::XattrChoice;
pub use model::config::Role;
pub use model::decode_error::DecodeError;
pub use model::entry::{Content, Entry, Kind, Meta, Time};
pub use model::id::{ChunkId, KeyId, PackId, RepoId, SnapshotId};
pub use model::manifest::{Counts, Manifest, SnapshotKind};
pub use ops::api::{
    BackupOptions, BackupReport, Change, CheckOptions, CheckReport, CopyOptions, CopyReport, DiffOptions,
    DiffReport, Difference, DuOptions, DuReport, ExportFormat, ExportOptions, ExportReport, FindOptions,
    FindReport, ForgetOptions, Forgotten, GcOptions, GcReport, Group, HistoryOptions, HistoryReport,
    ImportOptions, ImportReport, KeySlot, Levels, Match, PolicyOptions, RepairGcRecordsReport,
    RepairIndexReport, RepairPacksOptions, RepairPacksReport, RepairParityReport, RepairSnapshotsOptions,
    RepairSnapshotsReport, RestoreOptions, RestoreReport, RewriteOptions, RewriteReport, StatsOptions,
    StatsReport, SyncOptions, SyncReport, TrashEntry,
};
pub use ops::backup::Stdin;
pub use ops::check::{Finding, Remark, Subject, Subset};
pub use ops::find::EntryType;
pub use ops::forget::age::Age;
pub use ops::forget::groups::GroupBy;
pub use ops::forget::policy::Rule;
pub use ops::gc::MaxUnused;
pub use ops::restore::Overwrite;
pub use progress::{Action, Control, Event, Observer};
pub use repo::options::{ChunkerProfile, InitOptions, OpenOptions};
pub use repo::repository::{Discovered, Repository};
pub use repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
pub use repo::snapshots::{Query, Snapshot};
pub use repo::write::delta_writer::Delta;
pub use storage::local::LocalStorage;
pub use storage::memory::MemoryStorage;
pub use storage::{Capacity, CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
pub use util::time_limit::TimeLimit;

/// What options and reports consist of: the types of their fields, for those who name them.
pub mod parts {
    pub use crate::fs::filter::RestoreFilter;
    pub use crate::model::entry::{ContentPart, Xattr, XattrValue};
    pub use crate::model::manifest_ext::{Lineage, MoreCounts, Rot};
    pub use crate::model::signs::Signs;
    pub use crate::model::tripwire::{AlarmReason, AlarmState, Limits};
    pub use crate::ops::backup::{Reread, Rereading};
    pub use crate::ops::copy::Copied;
    pub use crate::ops::diff::{DifferenceKind, DifferenceTotals};
    pub use crate::ops::du::{DirTotals, DirUsage};
    pub use crate::ops::export::ExportCounts;
    pub use crate::ops::forget::groups::GroupKey;
    pub use crate::ops::forget::policy::{Count, Decision, KeepReason, Period};
    pub use crate::ops::gc::Similar;
    pub use crate::ops::repair::index::WrongSegment;
    pub use crate::ops::repair::packs::PackFate;
    pub use crate::ops::repair::snapshots::{Item, LostEntries, SnapshotFate};
    pub use crate::ops::rewrite::Rewritten;
    pub use crate::ops::rewrite::removed_totals::RemovedTotals;
    pub use crate::ops::stats::{Packs, SetLine, SnapshotStats};
    pub use crate::repo::lineage::Gap;
    pub use crate::repo::options::SharedChunking;
    pub use crate::repo::walk::multi_walk::EntryVersion;
    pub use crate::repo::walk::ref_graph::ChunkTotals;
    pub use crate::repo::write::pack_writer::Deltas;
    pub use crate::util::bitset::BitSet;
}
