//! Default actions of signals.

use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Makes exceeding the file size limit (RLIMIT_FSIZE) an ordinary error instead of ending the program.
pub(crate) fn outlive_limits() {
    static EXCEEDED: AtomicBool = AtomicBool::new(false);
    // If this fails, the program ends at the limit, and has committed nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, &EXCEEDED);
}

/// Returns whether the parent process made this one ignore a signal.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (mask >> (signal - 1)) & 1 == 1
}
