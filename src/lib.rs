//! A content-addressed, deduplicating snapshot store.
//!
//! Files are cut into content-defined chunks; every chunk is stored once, under a keyed hash of its bytes.
//! A snapshot is a manifest that names the root of a tree of chunks, and restores alone.
//!
//! The floors, each of which imports only what lies below it:
//! [`model`] (words) < [`error`] < [`observe`], [`threads`], [`programs`], [`codec`] (pure) < [`store`] (the repository) and [`tree`]
//! (the user's files) < [`ops`] (one file per verb).
#![forbid(unsafe_code)]

pub mod codec;
pub mod error;
pub mod model;
pub mod observe;
pub mod ops;
pub mod programs;
pub mod store;
pub mod threads;
pub mod tree;

pub use error::{Error, Result};
