//! Processes, their limits, priorities and signals.

use std::num::NonZero;

use crate::sys::system;
pub use rustix::process::{
    Pid, Resource, Rlimit, Signal, getegid, geteuid, getgid, getpid, getppid, getpriority_process, getrlimit,
    getuid, kill_process, kill_process_group, setpriority_process, setrlimit, setsid,
};

/// Returns when a process started, in a unit of the system. Only for comparison, because process ids are
/// reused. `None` if there is no such process, or the system does not report it.
pub fn started(pid: u32) -> Option<u64> {
    system::started(pid)
}

/// Returns whether the parent process made this one ignore a signal.
pub fn is_ignored(signal: i32) -> bool {
    system::is_ignored(signal)
}

/// Prevents core dumps, and keeps other processes of this user from reading this one's memory, as far as the
/// system supports that. Programs that it starts inherit only the limit on core dumps, which they can raise
/// again: `execve` resets the rest.
pub fn hide_memory() {
    // Prevents core dumps also on systems where the next call does nothing.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    system::hide_memory();
}

/// Has the system send this process a signal when its parent ends. Returns whether it will.
pub fn signal_when_parent_ends(signal: Signal) -> bool {
    system::signal_when_parent_ends(signal)
}

/// Raises the limit of open files of this process as far as possible, and returns it.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = system::max_open_files(limit.maximum);
    // Best effort: the limit that is read next is what counts.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the number of a process id.
pub fn number_of(pid: Pid) -> NonZero<i32> {
    pid.as_raw_nonzero()
}
