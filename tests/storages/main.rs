//! One contract for all storages, and what is particular to each of the remote ones.
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
