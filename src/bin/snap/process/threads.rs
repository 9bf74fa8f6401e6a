//! Checks whether this user may start as many threads as a run needs. A run that got only some of them
//! would have to stop halfway.

use snap_backup::{Error, Result};

/// Threads of a run per processor.
const EACH: usize = 3;
/// Further threads of a run.
const OTHERS: usize = 8;
/// Stack size in bytes of a test thread.
const STACK: usize = 64 << 10;

/// Checks that all threads of a run can exist at once.
pub(crate) fn check() -> Result<()> {
    let processors = snap_backup::util::threads::workers();
    snap_backup::util::threads::can_start(EACH * processors + OTHERS, STACK)
        .map_err(Error::io("start", "the threads that a run takes"))
}
