//! Default actions of signals.

use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Makes exceeding the file size limit (RLIMIT_FSIZE) an ordinary error instead of ending the program.
pub(crate) fn outlive_limits() {
    static EXCEEDED: AtomicBool = AtomicBool::new(false);
    // If this fails, the program ends at the limit, and has committed nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, &EXCEEDED);
}
