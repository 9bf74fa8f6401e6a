//! The repository: storage, packs, index, sessions, snapshots.

pub mod cache;
pub mod chunks;
pub mod index;
pub mod keys;
pub mod local;
pub mod memory;
pub mod objects;
pub mod packs;
pub mod repository;
pub mod session;
pub mod sink;
pub mod snapshots;
pub mod storage;
pub mod trees;
pub mod view;
