//! A repository on a storage: keys and configuration, sessions, packs, snapshots, the index, reading,
//! writing, walking stored trees, and committing.

pub mod audit;
pub mod cache;
pub mod commit;
pub(crate) mod config;
pub mod divergence;
pub mod enclosing_repository;
pub mod index;
pub mod init;
pub mod keys;
pub mod lineage;
pub mod objects;
pub mod options;
pub mod repository;
pub mod snapshots;
mod unlock;
pub(crate) mod write_key_memory;

pub mod gc;
pub mod pack;
pub mod random;
pub mod read;
pub mod sessions;
pub mod walk;
pub mod write;
