//! The rules of docs/concurrency.md: concurrent writers, readers and collectors in every order.
#![allow(clippy::unwrap_used)]

mod beliefs;
mod deltas;
mod deltas_drift;
mod deltas_forged;
mod deltas_later;
mod deltas_lost;
mod durable;
mod forget_any_subset;
mod growth;
mod interleave_exhaustive;
mod interleave_random;
mod interleave_readers;
mod rules_fences;
mod rules_gc;
mod rules_staged;
mod rules_write;
mod streams;
mod stress_processes;
#[path = "../support/mod.rs"]
mod support;
mod weak_storage;
