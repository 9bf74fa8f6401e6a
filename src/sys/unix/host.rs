//! This machine, by the program `sysctl`: there is no safe call.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::time::ClockId;

pub(crate) const HAS_LAUNCHD: bool = cfg!(target_os = "macos");

/// macOS: it runs while the machine sleeps. FreeBSD has no such clock; there only the wall clock shows it.
pub(crate) const CLOCK_WITH_SLEEP: ClockId = ClockId::Monotonic;

/// macOS has an id of the boot session. What FreeBSD has (`kern.boottime`) changes when the clock is set.
pub(crate) fn boot_id() -> String {
    static KNOWN: OnceLock<String> = OnceLock::new();
    let ask = || if cfg!(target_vendor = "apple") { sysctl("kern.bootsessionuuid") } else { None };
    KNOWN.get_or_init(|| ask().unwrap_or_default()).clone()
}

pub(crate) fn memory() -> Option<u64> {
    let name = if cfg!(target_vendor = "apple") { "hw.memsize" } else { "hw.physmem" };
    sysctl(name)?.parse().ok()
}

fn sysctl(name: &str) -> Option<String> {
    let program = if cfg!(target_vendor = "apple") { "/usr/sbin/sysctl" } else { "/sbin/sysctl" };
    output_of(program, &["-n", name])
}

/// Returns what a program of the system prints, without blanks at its ends. It gets an empty environment: no
/// passwords.
pub(super) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").args(arguments);
    let ended = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(ended.stdout).ok()?.trim().to_owned();
    (ended.status.success() && !text.is_empty()).then_some(text)
}
