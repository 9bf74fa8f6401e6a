//! Processes, by the program `ps`: there is no `/proc`.

use rustix::process::Signal;

/// A hash (FNV-1a) of the time as text, which has whole seconds.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let text = super::host::output_of("/bin/ps", &["-o", "lstart=", "-p", &pid.to_string()])?;
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Some(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

pub(crate) fn is_ignored(signal: i32) -> bool {
    let pid = std::process::id().to_string();
    let mask = super::host::output_of("/bin/ps", &["-o", "sigignore=", "-p", &pid]).unwrap_or_default();
    u64::from_str_radix(&mask, 16).is_ok_and(|mask| (mask >> (signal - 1)) & 1 == 1)
}

/// macOS has nothing like it but `PT_DENY_ATTACH`, for which there is no safe call.
pub(crate) fn hide_memory() {}

#[cfg(target_os = "freebsd")]
pub(crate) fn signal_when_parent_ends(signal: Signal) -> bool {
    rustix::process::set_parent_process_death_signal(Some(signal)).is_ok()
}

#[cfg(not(target_os = "freebsd"))]
pub(crate) fn signal_when_parent_ends(_: Signal) -> bool {
    false
}

/// macOS: the hard limit is infinite, and more than `OPEN_MAX` is refused.
pub(crate) fn max_open_files(hard: Option<u64>) -> Option<u64> {
    const OPEN_MAX: u64 = 10_240;
    if cfg!(target_vendor = "apple") { Some(hard.unwrap_or(OPEN_MAX).min(OPEN_MAX)) } else { hard }
}
