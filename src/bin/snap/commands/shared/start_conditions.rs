//! Conditions for starting a run: hours of the day, mains power, metered connections, and the user's own
//! conditions. A run that must not start now is skipped, which is not a failure.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use snap_backup::ops::schedule::window::Window;
use snap_backup::util::programs;
use snap_backup::{Error, Result};

use crate::args::pace::Pace;
use crate::context::Context;
use crate::process::shell_command::{self, CommandError};
use crate::terminal::output;
use crate::terminal::progress::stop_on_signals;

/// Directory in which Linux describes batteries and mains adapters.
const SUPPLIES: &str = "/sys/class/power_supply";

/// Returns the time window of a backup, and its time zone.
pub(crate) fn window(context: &Context, pace: &Pace) -> Option<(Window, TimeZone)> {
    let own = context.set_settings();
    let window = pace.window.or(own.window)?;
    Some((window, own.schedule.time_zone.unwrap_or_else(TimeZone::system)))
}

/// Returns why a backup must not start now; `None` if it may.
///
/// # Errors
/// The location of the repository is unknown.
pub(crate) fn of_backup(context: &Context, pace: &Pace) -> Result<Option<String>> {
    if let Some((window, zone)) = window(context, pace) {
        let now = Timestamp::now();
        if !window.is_open(now, &zone) {
            let opens = window.opens(now, &zone).to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M");
            return Ok(Some(format!("it is outside of the window {window}, which opens at {opens}")));
        }
    }
    let Some(set) = &context.set else { return Ok(None) };
    if !set.settings.on_battery && is_on_battery(Path::new(SUPPLIES)) {
        return Ok(Some("this machine runs on battery (`on-battery = false`)".to_owned()));
    }
    // A local repository causes no network traffic.
    if !set.settings.metered && context.storage()?.is_remote() && is_metered() {
        return Ok(Some("the network connection is metered (`metered = false`)".to_owned()));
    }
    Ok(None)
}

/// Reports that a run is skipped.
pub(crate) fn tell(context: &Context, why: &str) -> Result<()> {
    if context.global.json {
        return output::print(&json!({"message_type": "skipped", "reason": why}).to_string());
    }
    if context.prints_success() {
        output::print(&format!("skipped: {}", output::printable(why)))
    } else {
        Ok(())
    }
}

/// Runs the conditions of a set in order. Returns the reason to skip the run if one of them fails.
///
/// # Errors
/// `Interrupted`.
pub(crate) fn conditions(context: &Context, variables: &[(&'static str, String)]) -> Result<Option<String>> {
    let Some(set) = &context.set else { return Ok(None) };
    let hooks = &set.settings.hooks;
    let stop = stop_on_signals()?;
    for (number, line) in hooks.condition.iter().enumerate() {
        let mut command = shell_command::shell(&line.0);
        command.env("SNAP_HOOK", "condition").envs(variables.iter().cloned());
        match shell_command::run(command, b"", hooks.timeout, Some(&stop)) {
            Ok(()) => {}
            Err(CommandError::Stopped) => return Err(Error::Interrupted),
            Err(CommandError::Failed(why)) => {
                return Ok(Some(format!("condition {} failed: {why}", number + 1)));
            }
        }
    }
    Ok(None)
}

/// Returns whether a battery is discharging and no adapter is online. Returns false without batteries, or if
/// the system gives no information. Batteries of peripherals such as mice are ignored.
fn is_on_battery(supplies: &Path) -> bool {
    let Ok(entries) = fs::read_dir(supplies) else { return false };
    let mut discharging = false;
    for entry in entries.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("scope").trim() == "Device" {
            continue;
        }
        match read("type").trim() {
            "Battery" => discharging |= read("status").trim() == "Discharging",
            // Mains, USB and others. Other adapters may be online even if this one is not.
            _ if read("online").trim() == "1" => return false,
            _ => {}
        }
    }
    discharging
}

/// Asks NetworkManager whether the primary connection is metered, including its own guess. Returns false if
/// that is unknown.
fn is_metered() -> bool {
    let answer = |program: &str, args: &[&str]| {
        let mut command = programs::foreign(program);
        command.args(args).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let name = "org.freedesktop.NetworkManager";
    let property = ["get-property", name, "/org/freedesktop/NetworkManager", name, "Metered"];
    if let Some(known) = answer("busctl", &property).as_deref().and_then(of_property) {
        return known;
    }
    let fields = ["-t", "-f", "GENERAL.STATE,GENERAL.METERED", "device", "show"];
    answer("nmcli", &fields).is_some_and(|text| of_devices(&text))
}

/// Parses NetworkManager's `Metered` property: `u 1` and `u 3` are metered, `u 0` is unknown.
fn of_property(text: &str) -> Option<bool> {
    match text.trim() {
        "u 1" | "u 3" => Some(true),
        "u 2" | "u 4" => Some(false),
        _ => None,
    }
}

/// Returns whether a connected device is metered, from the output of `nmcli`.
fn of_devices(text: &str) -> bool {
    let mut connected = false;
    for line in text.lines() {
        match line.split_once(':') {
            Some(("GENERAL.STATE", state)) => connected = state.starts_with("100"),
            Some(("GENERAL.METERED", metered)) if connected && metered.starts_with("yes") => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_without_adapter_and_discharging_is_on_battery() {
        let on = |supplies: &[(&str, &str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (at, (kind, file, text)) in supplies.iter().enumerate() {
                let supply = dir.path().join(at.to_string());
                fs::create_dir(&supply).unwrap();
                fs::write(supply.join("type"), format!("{kind}\n")).unwrap();
                fs::write(supply.join(file), format!("{text}\n")).unwrap();
                if *file == "scope" {
                    fs::write(supply.join("status"), "Discharging\n").unwrap();
                }
            }
            is_on_battery(dir.path())
        };
        assert!(!on(&[]));
        assert!(!is_on_battery(Path::new("/no/such/folder")));
        assert!(on(&[("Battery", "status", "Discharging")]));
        assert!(on(&[("Mains", "online", "0"), ("Battery", "status", "Discharging")]));
        assert!(!on(&[("Mains", "online", "1"), ("Battery", "status", "Discharging")]));
        assert!(!on(&[("Battery", "status", "Charging"), ("Mains", "online", "0")]));
        assert!(!on(&[("Battery", "scope", "Device")]), "a mouse");
    }

    #[test]
    fn network_manager_is_parsed_and_silence_is_not_metered() {
        let all = ["u 0\n", "u 1\n", "u 2\n", "u 3\n", "u 4\n", "", "x"];
        assert_eq!(
            all.map(of_property),
            [None, Some(true), Some(false), Some(true), Some(false), None, None]
        );
        let devices = |wifi: &str, modem: &str| {
            of_devices(&format!(
                "GENERAL.STATE:100 (connected)\nGENERAL.METERED:{wifi}\n\nGENERAL.STATE:30 (disconnected)\nGENERAL.METERED:{modem}\n"
            ))
        };
        assert!(devices("yes", "unknown") && devices("yes (guessed)", "no"));
        assert!(!devices("no (guessed)", "yes") && !devices("unknown", "unknown") && !of_devices(""));
    }
}
