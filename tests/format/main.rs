//! Bytes: the format, its codecs, golden files and what fuzzing found.
#![allow(clippy::unwrap_used)]

mod codec;
mod corpus;
mod fixtures;
mod golden;
mod python;
#[path = "../support/mod.rs"]
mod support;
