//! `repair`: only ever adds, but for wrong copies of what packs say (sidecars, segments). What can still be read is written anew, what it was read from is moved aside, and what is
//! lost is marked as lost. See docs/repair.md.
//!
//! `index` rebuilds this machine's view, `packs` saves what damaged packs hold (`salvage` reads one), `snapshots` makes
//! snapshots of what is left of those that lost something (`rewrite` makes one tree), `collections` gives up a collection
//! whose record cannot be read, `parity` writes sidecars.

pub mod collections;
pub mod index;
mod numbers;
pub mod packs;
pub mod parity;
mod rewrite;
mod salvage;
pub mod snapshots;
