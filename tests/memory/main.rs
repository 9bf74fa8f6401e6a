//! What operations hold in memory at the peak, each in a process of its own. One is measured at a time: a
//! thread that has to wait for a processor holds a block or two longer.
#![allow(clippy::unwrap_used)]

mod large;
mod many_chunks;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while something is measured.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
