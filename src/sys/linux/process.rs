//! Processes, by `/proc`.

use std::os::fd::RawFd;

use rustix::process::{DumpableBehavior, Signal};

/// Returns a path that refers to the file of a descriptor of this process.
pub(crate) fn path_of(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// In the kernel's clock ticks since boot.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything: fields are counted after it.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (mask >> (signal - 1)) & 1 == 1
}

pub(crate) fn hide_memory() {
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

pub(crate) fn signal_when_parent_ends(signal: Signal) -> bool {
    rustix::process::set_parent_process_death_signal(Some(signal)).is_ok()
}

pub(crate) fn max_open_files(hard: Option<u64>) -> Option<u64> {
    hard
}
