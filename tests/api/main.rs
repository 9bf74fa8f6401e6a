//! The operations, called through the library.
#![allow(clippy::unwrap_used)]

mod browse;
mod control;
mod copy;
mod diff;
mod drill;
mod expire;
mod fidelity;
mod files_changing;
mod freshness;
mod history;
mod holds;
mod index;
mod io_budget;
mod listings;
mod pace;
mod random_stories;
mod restore;
mod retention;
mod rewrite;
mod roles;
mod rot;
mod rotation;
mod run_log;
mod schedule;
mod sizes;
mod slots;
mod states;
mod stats;
#[path = "../support/mod.rs"]
mod support;
mod sync;
mod totals;
mod tripwire;
mod unchanged;
mod writers;
