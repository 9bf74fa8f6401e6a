//! Default actions of signals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGABRT, SIGXFSZ};

use crate::exit;

/// Makes exceeding the file size limit (`RLIMIT_FSIZE`) an ordinary error instead of ending the program, and a
/// lack of memory end it with the exit code of an error instead of a signal: the standard library then prints
/// how much could not be allocated, and aborts.
pub(crate) fn outlive_limits() {
    static EXCEEDED: AtomicBool = AtomicBool::new(false);
    // If this fails, the program ends at the limit, and has committed nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, &EXCEEDED);
    let always = Arc::new(AtomicBool::new(true));
    let _ = signal_hook::flag::register_conditional_shutdown(SIGABRT, i32::from(exit::ERROR), always);
}
