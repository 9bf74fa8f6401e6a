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
//! Everything that is documented here is the API. The modules are public only for the program `snap` and for the
//! tests of this package: they are hidden from this page, and may change in any version. (A feature that makes
//! them public was judged, too: Cargo unites the features of all that is built together, so it would also have
//! to be on whenever the program is, and would hide nothing from a program that depends on this one.)
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod codec;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod fs;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod ops;
#[doc(hidden)]
pub mod progress;
#[doc(hidden)]
pub mod repo;
#[doc(hidden)]
pub mod run_log;
#[doc(hidden)]
pub mod storage;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod util;

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
