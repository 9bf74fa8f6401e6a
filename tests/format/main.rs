//! Bytes: the format, its codecs, golden files and fuzz findings.
#![allow(clippy::unwrap_used)]

mod codec;
mod corpus;
mod fixtures;
mod golden;
mod python;
#[path = "../support/mod.rs"]
mod support;
