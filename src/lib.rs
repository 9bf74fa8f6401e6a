//! A content-addressed, deduplicating snapshot store.
//!
//! Files are cut into content-defined chunks; every chunk is stored once, under a keyed hash of its bytes.
//! A snapshot is a manifest that names the root of a tree of chunks, and restores alone.
//!
//! The floors, each of which imports only what lies below it: [`model`] (the domain's types) < [`error`] < [`progress`],
//! [`util`] < [`codec`] (bytes and values, pure) < [`fs`] (the user's files), [`storage`] (where objects lie) < [`repo`]
//! (a repository on a storage), [`run_log`] (what this machine has done) < [`ops`] (what a person asks for).
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
