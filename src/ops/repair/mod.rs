//! `repair`: readable data is rewritten to new packs, damaged packs are moved to quarantine, and lost data is
//! recorded as lost. See docs/repair.md.
//!
//! Repairs are additive. They only delete derived objects that are wrong (parity files, header bundles) and
//! gc or configuration names with impossible numbers.
//!
//! `index` rebuilds the local index cache, `packs` saves what damaged packs hold (`salvage` reads one),
//! `snapshots` replaces snapshots that lost data by what is left of them (`rewrite` builds one tree),
//! `gc_records` gives up a gc run whose record cannot be read (`excessive_numbers` removes impossible
//! numbers), `parity` writes parity files.

mod excessive_numbers;
pub mod gc_records;
pub mod index;
pub mod packs;
pub mod parity;
mod rewrite;
mod salvage;
pub mod snapshots;
