//! This machine.

use rustix::time::ClockId;

pub(crate) const HAS_LAUNCHD: bool = false;
pub(crate) const CLOCK_WITH_SLEEP: ClockId = ClockId::Boottime;

pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

pub(crate) fn memory() -> Option<u64> {
    let info = rustix::system::sysinfo();
    // The integer types differ between architectures.
    #[allow(clippy::useless_conversion)]
    let (total, unit) = (u64::from(info.totalram), u64::from(info.mem_unit));
    Some(total.saturating_mul(unit.max(1)))
}
