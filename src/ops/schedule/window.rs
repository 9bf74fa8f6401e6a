//! Hours of the day in which runs may start: `22:00-06:00`. Pure: the caller passes the time.

use std::fmt;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Number of minutes that are searched for an opening or an end: two days, each of which has both.
const MINUTES: i64 = 2 * 24 * 60;

/// A part of each day in local time. If it ends before it begins, it extends over midnight.
///
/// It follows the wall clock: when clocks are set back, it is an hour longer; when they are set forward, an
/// hour shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: Time,
    to: Time,
}

impl Window {
    /// Parses `HH:MM-HH:MM`. `24:00` is midnight.
    ///
    /// # Errors
    /// The error describes the expected form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "two times of day, such as 22:00-06:00".to_owned();
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let (from, to) = (time(from).ok_or_else(wrong)?, time(to).ok_or_else(wrong)?);
        if from == to {
            Err("the two times are the same: omit the window to allow the whole day".to_owned())
        } else {
            Ok(Self { from, to })
        }
    }

    /// Returns whether it is open.
    pub fn is_open(self, at: Timestamp, zone: &TimeZone) -> bool {
        let time = zone.to_datetime(at).time();
        if self.from < self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }

    /// Returns when it opens; `at` itself if it is open then.
    pub fn opens(self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        self.first(at, |minute| self.is_open(minute, zone))
    }

    /// Returns when it closes; `at` itself if it is not open then.
    pub fn closes(self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        self.first(at, |minute| !self.is_open(minute, zone))
    }

    /// Returns `at` or the first later minute for which `fits` is true. Clocks change at full minutes as
    /// well.
    fn first(self, at: Timestamp, fits: impl Fn(Timestamp) -> bool) -> Timestamp {
        if fits(at) {
            return at;
        }
        let begun = at.as_second().div_euclid(60) * 60;
        let minutes = (1..=MINUTES).filter_map(|minute| Timestamp::from_second(begun + minute * 60).ok());
        let mut minutes = minutes.skip_while(|minute| !fits(*minute));
        minutes.next().unwrap_or_else(|| at.checked_add(SignedDuration::from_hours(24)).unwrap_or(at))
    }
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| match text.len() {
        1 | 2 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<i8>().ok(),
        _ => None,
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), to.hour(), to.minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_reaches_over_midnight() {
        let (night, day) = (Window::parse("22:00-06:00").unwrap(), Window::parse("9:00-17:30").unwrap());
        let zone = TimeZone::UTC;
        let open = |window: Window, time: &str| window.is_open(at(&format!("2026-11-24T{time}Z")), &zone);
        for (time, at_night, by_day) in [
            ("00:00:00", true, false),
            ("05:59:59", true, false),
            ("06:00:00", false, false),
            ("09:00:00", false, true),
            ("17:29:59", false, true),
            ("17:30:00", false, false),
            ("21:59:59", false, false),
            ("22:00:00", true, false),
            ("23:59:59", true, false),
        ] {
            assert_eq!((open(night, time), open(day, time)), (at_night, by_day), "{time}");
        }
        assert_eq!(night.opens(at("2026-11-24T06:00:01Z"), &zone), at("2026-11-24T22:00:00Z"));
        assert_eq!(night.closes(at("2026-11-24T23:10:30Z"), &zone), at("2026-11-25T06:00:00Z"));
        let open = at("2026-11-24T23:10:30Z");
        assert_eq!(night.opens(open, &zone), open);
        assert_eq!(day.closes(open, &zone), open);
    }

    #[test]
    fn clocks_that_are_set_make_it_an_hour_longer_or_shorter() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let window = Window::parse("02:00-03:00").unwrap();
        // Set back at 01:00 UTC: half past two occurs twice.
        let opens = window.opens(at("2026-10-24T22:00:00Z"), &zone);
        assert_eq!(opens, at("2026-10-25T00:00:00Z"));
        assert_eq!(window.closes(opens, &zone), at("2026-10-25T02:00:00Z"));
        // Set forward at 01:00 UTC: two o'clock does not exist on that day.
        assert_eq!(window.opens(at("2026-03-28T23:00:00Z"), &zone), at("2026-03-30T00:00:00Z"));
        let night = Window::parse("22:00-06:00").unwrap();
        let hours = |from: &str| {
            let opens = night.opens(at(from), &zone);
            night.closes(opens, &zone).duration_since(opens).as_hours()
        };
        assert_eq!(hours("2026-03-28T12:00:00Z"), 7);
        assert_eq!(hours("2026-06-28T12:00:00Z"), 8);
        assert_eq!(hours("2026-10-24T12:00:00Z"), 9);
    }

    #[test]
    fn windows_are_read_as_they_are_written() {
        for text in ["22:00-06:00", "00:00-12:00", "09:15-17:30"] {
            assert_eq!(Window::parse(text).map(|window| window.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Window::parse("18:00-24:00").unwrap().to_string(), "18:00-00:00");
        for text in
            ["", "22:00", "22-06", "22:00-22:00", "25:00-06:00", "22:60-06:00", "+1:00-2:00", "24:01-2:00"]
        {
            assert!(Window::parse(text).is_err(), "{text:?}");
        }
    }
}
