//! This machine: its name, its boot, its clocks and its memory.

use rustix::time::{ClockId, clock_gettime};

use crate::sys::system;

/// Whether launchd runs the machine.
pub const HAS_LAUNCHD: bool = system::HAS_LAUNCHD;

/// Returns this machine's host name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns the kernel's id of this boot; empty if the system has none.
pub fn boot_id() -> String {
    system::boot_id()
}

/// Returns the size of the main memory in bytes, if the system reports it.
pub fn memory() -> Option<u64> {
    system::memory()
}

/// Returns the seconds since an arbitrary moment, by a clock that also runs while the machine is suspended
/// and is never set.
pub fn seconds_with_sleep() -> i64 {
    clock_gettime(system::CLOCK_WITH_SLEEP).tv_sec
}

/// Returns the seconds since 1970 by the wall clock.
pub fn seconds_by_wall_clock() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Returns the microseconds of `CLOCK_MONOTONIC`, in which the service manager expects times.
pub fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}
