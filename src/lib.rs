//! A content-addressed, deduplicating backup repository.
//!
//! Files are cut into content-defined chunks. Every chunk is stored once, under a keyed hash of its bytes.
//! A snapshot is a manifest that names the root of a tree of chunks; it is complete by itself.
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

pub use error::{Error, Result};
