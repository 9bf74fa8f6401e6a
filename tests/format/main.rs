//! Bytes: the format, its codecs, golden files and what fuzzing found.
#![allow(clippy::unwrap_used)]

mod codec;
mod corpus;
mod fixtures;
mod golden;
#[path = "../support/mod.rs"]
mod support;
