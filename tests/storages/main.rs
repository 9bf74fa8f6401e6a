//! One contract for all storages, and the specifics of each remote one.
#![allow(clippy::unwrap_used)]

mod conformance;
mod header_bundles;
mod network_faults;
mod object_stores;
mod rest;
mod sftp;
#[path = "../support/mod.rs"]
mod support;
mod tls;
