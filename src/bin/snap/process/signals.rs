//! What the system does to programs unasked.

use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;

/// A file that grows beyond this user's limit is an error like any other, not the end of the program.
pub(crate) fn outlive_limits() {
    // Without it the program ends there, and has committed nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Whether whoever started this program told it to ignore a signal.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (mask >> (signal - 1)) & 1 == 1
}
