//! Threads: whether this user may have as many as a run takes. A run that got some of them and not the others would have
//! to be stopped half-way.

use snap_backup::{Error, Result};

/// Of them this many go with each processor, ...
const EACH: usize = 3;
/// ... and these with the run.
const OTHERS: usize = 8;
/// Bytes for one that does nothing.
const STACK: usize = 64 << 10;

/// Whether there may be so many at once.
pub(crate) fn check() -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    snap_backup::util::threads::can_start(EACH * processors + OTHERS, STACK)
        .map_err(Error::io("start", "the threads that a run takes"))
}
