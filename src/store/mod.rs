//! The repository: storage, packs, index, sessions, snapshots.

mod ahead;
mod at_once;
mod bases;
pub mod blocks;
pub mod cache;
pub mod chunks;
#[cfg(feature = "cloud")]
pub mod cloud;
pub mod collections;
pub mod commit;
mod config;
pub mod count;
mod covered;
pub mod damage;
pub mod dirs;
pub mod divergence;
mod drift;
pub mod enclosing;
mod fresh;
pub mod graph;
pub mod holds;
#[cfg(any(feature = "cloud", feature = "rest"))]
#[cfg_attr(not(feature = "rest"), allow(dead_code, unused_imports, reason = "for rest"))]
mod http;
pub mod index;
pub mod init;
pub mod journal;
pub mod keys;
pub(crate) mod like;
pub mod limit;
pub mod liveness;
pub mod local;
pub mod memory;
pub mod mender;
pub mod mirror;
pub mod names;
mod noise;
pub mod objects;
pub mod packs;
pub mod pairs;
pub mod parity;
pub mod parts;
pub mod past;
#[cfg_attr(not(any(feature = "cloud", feature = "rest")), allow(dead_code, reason = "it is for HTTP"))]
pub mod patience;
pub mod read_session;
mod recent;
pub mod repository;
#[cfg(feature = "rest")]
pub mod rest;
pub mod roots;
pub mod rows;
mod runs;
pub mod segments;
pub mod selection;
pub mod session;
pub mod sftp;
pub mod shared;
pub mod shelf;
mod sieve;
mod silence;
pub mod similar;
pub mod sink;
pub mod snapshots;
pub mod standing;
pub mod storage;
pub mod stream;
pub mod tables;
mod tagged;
pub mod trash;
pub mod trees;
pub mod versions;
pub mod view;
pub mod writing;
