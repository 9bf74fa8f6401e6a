//! Failures: power cuts, kills, failing calls, full disks, damaged objects.
#![allow(clippy::unwrap_used)]

mod configuration;
mod copies;
mod damage;
mod disk_full;
mod durable_names;
mod gc_disk_full;
mod kills;
mod newer;
mod odd_file_systems;
mod parity;
mod power_cut_real;
mod power_cut_replay;
mod repair;
mod repair_beside;
mod storage_errors;
mod strays;
#[path = "../support/mod.rs"]
mod support;
mod syscalls;
