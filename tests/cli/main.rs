//! The program as its users see it: real processes, flags, output and exit codes.
#![allow(clippy::unwrap_used)]

mod alarms;
mod audit;
mod browse;
mod daemon;
mod expire;
mod export;
mod guide;
mod import;
mod limits;
mod metrics;
mod mount;
mod pages;
mod restic;
mod room;
mod rot;
mod screens;
mod serve;
mod snapshots;
mod sources;
mod status;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod verbs;
