//! Peak memory of operations, each in a process of its own. They are measured one at a time, because a thread
//! that waits for a processor holds a block or two longer.
#![allow(clippy::unwrap_used)]

mod large;
mod many_chunks;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held during a measurement.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
