//! Processes, their limits, priorities and signals.

use std::num::NonZero;

pub use crate::sys::posix::process::{
    Pid, Resource, Rlimit, Signal, getegid, geteuid, getgid, getpid, getppid, getpriority_process, getrlimit,
    getuid, kill_process, kill_process_group, setpriority_process, setrlimit, setsid,
};
use crate::sys::system;

/// Returns when a process started, in a unit of the system that is only good for comparison: process ids are
/// reused. `None` if there is no such process, or the system does not say.
pub fn started(pid: u32) -> Option<u64> {
    system::started(pid)
}

/// Returns whether the parent process made this one ignore a signal.
pub fn is_ignored(signal: i32) -> bool {
    system::is_ignored(signal)
}

/// Prevents other processes of this user from reading this one's memory, and core dumps of it. If the system
/// refuses or has nothing like that, everything stays as it was.
pub fn hide_memory() {
    // Whatever has a core dump at all: the limit is enough on systems without the rest.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    system::hide_memory();
}

/// Has the system send this process a signal when its parent ends. Returns whether it will.
pub fn signal_when_parent_ends(signal: Signal) -> bool {
    system::signal_when_parent_ends(signal)
}

/// Raises the number of files that this process may have open as far as it may. Returns the number.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = system::most_open_files(limit.maximum);
    // Best effort: the limit that is read next is what counts.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns the number of a process id.
pub fn number_of(pid: Pid) -> NonZero<i32> {
    pid.as_raw_nonzero()
}
