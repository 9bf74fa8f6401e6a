//! A content-addressed, deduplicating backup repository.
//!
//! Files are cut into content-defined chunks. Every chunk is stored once, under a keyed hash of its bytes.
//! A snapshot is a manifest that names the root of a tree of chunks; it is complete by itself.
//!
//! # A backup and a restore
//!
//! ```
//! use std::sync::Arc;
//!
//! use snap_backup::Control;
//! use snap_backup::ops::backup::{self, Backup};
//! use snap_backup::ops::restore;
//! use snap_backup::repo::repository::{InitOptions, Repository};
//! use snap_backup::storage::memory::MemoryStorage;
//!
//! # fn main() -> snap_backup::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # std::fs::create_dir(dir.path().join("notes")).unwrap();
//! # std::fs::write(dir.path().join("notes/today.txt"), "buy milk").unwrap();
//! let storage = Arc::new(MemoryStorage::default());
//! let repo = Repository::init(storage, &InitOptions::default())?;
//! let control = Control::default();
//!
//! let options = backup::Options { sources: vec![dir.path().join("notes")], ..Default::default() };
//! let saved = Backup::begin(options, None, &control)?.run(&repo, &control)?;
//! assert_eq!(saved.counts.files_new, 1);
//!
//! let options = restore::Options {
//!     selector: "latest".to_owned(),
//!     target: dir.path().join("restored"),
//!     ..Default::default()
//! };
//! let restored = restore::run(&repo, &options, &control)?;
//! assert_eq!(restored.files_written, 1);
//! # Ok(()) }
//! ```
//!
//! The folder `examples` has more.
//!
//! # Structure
//!
//! The layers, each of which imports only those to its left: [`model`] (the domain's types) < [`error`] <
//! [`progress`], [`util`] < [`codec`] (bytes and values, pure) < [`fs`] (the user's files), [`storage`]
//! (where objects are stored) < [`repo`] (a repository on a storage), [`run_log`] (history of this
//! machine's runs) < [`ops`] (the operations that a user runs).
#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
pub mod fs;
pub mod model;
pub mod ops;
pub mod progress;
pub mod repo;
pub mod run_log;
pub mod storage;
pub mod util;

pub use error::{Error, ErrorKind, Result};
pub use progress::{Control, Event, Observer};
