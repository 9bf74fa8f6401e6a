//! Threads: whether this user may have as many as a run takes. A run that got some of them and not the others would have
//! to be stopped half-way.

use std::sync::RwLock;
use std::thread::Builder;

use snap_backup::{Error, Result};

/// Of them this many go with each processor, ...
const EACH: usize = 3;
/// ... and these with the run.
const OTHERS: usize = 8;
/// Bytes for one that does nothing.
const STACK: usize = 64 << 10;

/// Whether there may be so many at once: they are started, and end when all are there.
pub(crate) fn check() -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let gate = RwLock::new(());
    let closed = gate.write();
    std::thread::scope(|scope| {
        let wait = || drop(gate.read());
        for _ in 0..EACH * processors + OTHERS {
            let started = Builder::new().stack_size(STACK).spawn_scoped(scope, wait);
            started.map_err(Error::io("start", "the threads that a run takes"))?;
        }
        drop(closed);
        Ok(())
    })
}
