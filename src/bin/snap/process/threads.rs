//! Checks whether this user may start as many threads as a run needs. A run that got only some of them
//! would have to stop halfway.

use snap_backup::{Error, Result};

const THREADS_PER_PROCESSOR: usize = 3;
const OTHER_THREADS: usize = 8;
/// Stack size of a thread that the check starts.
const STACK_BYTES: usize = 64 << 10;

/// Checks that all threads of a run can exist at once.
pub(crate) fn check() -> Result<()> {
    let processors = snap_backup::util::threads::workers();
    snap_backup::util::threads::can_start(THREADS_PER_PROCESSOR * processors + OTHER_THREADS, STACK_BYTES)
        .map_err(Error::io("start", "the threads that a run takes"))
}
