//! Arguments for when a backup may run, for how long, and how fast.

use std::time::Duration;

use clap::Args;
use snap_backup::ops::schedule::window::Window;

use crate::args::values;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Time and rate limits")]
pub(crate) struct Pace {
    /// Stop after this time and save what was read as a partial snapshot; the next run continues from it
    /// (exit code 26)
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub(crate) max_duration: Option<Duration>,
    /// Run only within these hours of local time, and stop at their end: 22:00-06:00
    #[arg(long, value_name = "HH:MM-HH:MM", value_parser = Window::parse)]
    pub(crate) window: Option<Window>,
    /// Limit the rate of reading sources, in KiB per second or with a unit (500K, 2M); 0: no limit
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit_read: Option<u64>,
}

/// Parses a duration that is not zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        Duration::ZERO => Err("a duration above zero, like 30m or 2h".to_owned()),
        time => Ok(time),
    }
}

/// Parses a number of threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| "a number from 1 to 1024".to_owned())
}

/// Parses a niceness.
pub(crate) fn nice(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|number| (0..=19).contains(number));
    number.ok_or_else(|| "a number from 0 (unchanged) to 19 (lowest priority)".to_owned())
}
