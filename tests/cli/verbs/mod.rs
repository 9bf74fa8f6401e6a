//! The program for its users: the real binary, a directory, and the restored tree. One file per topic.
#![allow(clippy::unwrap_used)]

mod answers;
mod codes;
mod config;
mod deltas;
mod future;
mod history;
mod keys;
mod kinds;
mod known;
mod legacy;
mod mistakes;
mod pages;
mod places;
mod prompts;
mod retention;
mod selectors;
mod shared;
mod stats;
mod trees;
mod trust;
mod view;
mod wrecks;

use crate::support::Sandbox;

fn snapshots(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    sandbox.ok(&["snapshots", "--json"]).json().as_array().unwrap().clone()
}
