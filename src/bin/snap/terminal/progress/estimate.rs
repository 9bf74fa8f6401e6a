//! Estimates the rate and the remaining time.

/// Time constant in seconds for smoothing the rate.
const RATE_SECONDS: f64 = 8.0;
/// Time constant in seconds with which the remaining time follows the average of the whole run.
const LEFT_SECONDS: f64 = 15.0;
/// Seconds before the first estimate.
const FIRST_SECONDS: f64 = 5.0;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// Smoothed rate in bytes per second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    bytes: u64,
    at: f64,
    value: f64,
}

impl Rate {
    pub(super) fn update(&mut self, bytes: u64, at: f64) -> f64 {
        let span = at - self.at;
        if span > 0.0 {
            let now = bytes.saturating_sub(self.bytes) as f64 / span;
            // At the beginning, the average of all so far.
            let weight = (1.0 - (-span / RATE_SECONDS).exp()).max(span / at);
            self.value += (now - self.value) * weight;
            (self.bytes, self.at) = (bytes, at);
        }
        self.value
    }
}

/// The remaining time. It slowly follows the average of the whole run, and the displayed value stays until
/// it is clearly wrong: a number that jumps is worse than one that is slightly off.
#[derive(Debug, Default)]
pub(super) struct Left {
    at: f64,
    seconds: Option<f64>,
    shown: Option<Shown>,
}

/// The displayed value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shown {
    number: f64,
    /// Length of the unit in seconds.
    unit: f64,
}

impl Left {
    /// Updates the estimate: `share` of the work was done in `at` seconds. Returns `None` while there is no
    /// estimate, and when everything is done.
    pub(super) fn update(&mut self, share: Option<f64>, at: f64) -> Option<String> {
        let share = share.filter(|share| *share > 0.001 && *share < 1.0 && at >= FIRST_SECONDS)?;
        let whole_run = at * (1.0 - share) / share;
        let span = (at - self.at).max(0.0);
        let seconds = match self.seconds {
            None => whole_run,
            Some(before) => {
                let expected = (before - span).max(0.0);
                expected + (whole_run - expected) * (1.0 - (-span / LEFT_SECONDS).exp())
            }
        };
        (self.at, self.seconds) = (at, Some(seconds));
        let shown = match self.shown {
            Some(shown) if (seconds - shown.number * shown.unit).abs() < 0.9 * shown.unit => shown,
            _ => rounded(seconds),
        };
        self.shown = Some(shown);
        Some(format_left(shown))
    }
}

/// Rounds to 10 seconds, minutes, or 10 minutes.
fn rounded(seconds: f64) -> Shown {
    let unit = match seconds {
        _ if seconds < 50.0 => 10.0,
        _ if seconds < 90.0 * MINUTE => MINUTE,
        _ if seconds < 48.0 * HOUR => 10.0 * MINUTE,
        _ => 24.0 * HOUR,
    };
    Shown { number: (seconds / unit).round().max(if unit > 10.0 { 1.0 } else { 0.0 }), unit }
}

fn format_left(Shown { number, unit }: Shown) -> String {
    let seconds = number * unit;
    if seconds < 10.0 {
        return "a few seconds left".to_owned();
    }
    if unit < MINUTE {
        return format!("about {seconds:.0} s left");
    }
    if unit > HOUR {
        return format!("about {number:.0} days left");
    }
    let minutes = (seconds / MINUTE) as u64;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("about {minutes} min left"),
        (hours, 0) => format!("about {hours} h left"),
        (hours, minutes) => format!("about {hours} h {minutes} min left"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Left, Rate, format_left, rounded};

    /// Returns what is displayed during a run with `total` work whose speed varies over time.
    fn shown(total: f64, speed: impl Fn(f64) -> f64) -> Vec<String> {
        let (mut left, mut done, mut at, mut all) = (Left::default(), 0.0, 0.0, Vec::<String>::new());
        while done < total {
            at += 0.1;
            done += speed(at) * 0.1;
            let text = left.update(Some(done / total), at);
            if let Some(text) = text.filter(|text| all.last() != Some(text)) {
                all.push(text);
            }
        }
        all
    }

    #[test]
    fn remaining_time_only_counts_down() {
        let steady = shown(600.0, |_| 1.0);
        assert_eq!(steady.first().map(String::as_str), Some("about 10 min left"));
        assert_eq!(steady.last().map(String::as_str), Some("a few seconds left"));
        let minutes = steady.iter().filter(|text| text.ends_with("min left")).count();
        assert_eq!(minutes, 10, "{steady:?}");
    }

    #[test]
    fn rate_does_not_jump_with_bursts() {
        // Nothing for three seconds, then four times the speed for one second, repeatedly.
        let bursts = shown(600.0, |at| if at % 4.0 < 3.0 { 0.0 } else { 4.0 });
        let number = |text: &String| text.split(' ').nth(1).and_then(|word| word.parse::<f64>().ok());
        let minutes: Vec<f64> =
            bursts.iter().filter(|text| text.ends_with("min left")).filter_map(number).collect();
        let ups = minutes.windows(2).filter(|pair| pair[1] > pair[0]).count();
        assert!(ups <= 1, "{minutes:?}");
        assert!(minutes.iter().all(|minutes| *minutes <= 14.0), "{minutes:?}");
    }

    #[test]
    fn no_estimate_at_the_beginning_and_the_end() {
        let mut left = Left::default();
        assert_eq!(left.update(Some(0.5), 1.0), None);
        assert_eq!(left.update(None, 9.0), None);
        assert_eq!(left.update(Some(1.0), 9.0), None);
    }

    #[test]
    fn long_times_are_rounded_more() {
        for (seconds, text) in [
            (3.0, "a few seconds left"),
            (24.0, "about 20 s left"),
            (55.0, "about 1 min left"),
            (185.0, "about 3 min left"),
            (2.0 * 3600.0 + 14.0 * 60.0, "about 2 h 10 min left"),
            (4.0 * 3600.0, "about 4 h left"),
            (80.0 * 3600.0, "about 3 days left"),
        ] {
            assert_eq!(format_left(rounded(seconds)), text);
        }
    }

    #[test]
    fn a_rate_is_smooth() {
        let mut rate = Rate::default();
        assert_eq!(rate.update(100, 1.0), 100.0);
        assert_eq!(rate.update(100, 2.0), 50.0, "at first the average");
        for second in 3..100 {
            rate.update(100 * second, second as f64);
        }
        let after = rate.update(9900, 100.0);
        assert!((80.0..100.0).contains(&after), "{after}");
    }
}
