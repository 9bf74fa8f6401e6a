//! Lengths of time as users write them: `2y5m7d3h`.

use std::fmt;

use jiff::{Span, ZonedDateTime};

use crate::model::entry::Time;

/// Maximum number of a unit. Anything longer reaches back before every snapshot.
const MOST: u32 = 9999;

/// A length of time by the calendar: a day ends at the same time of the next day, even if a clock change lies
/// between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Age {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    hours: u32,
}

impl Age {
    /// Makes an age of this many days.
    pub fn days(days: u32) -> Self {
        Self { days: days.min(MOST), ..Self::default() }
    }

    /// Parses numbers with units, each at most once and the largest first: years, months, weeks, days, hours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut age = Self::default();
        let mut units = ['y', 'm', 'w', 'd', 'h'].into_iter();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, unit) = rest.split_at(end);
            let unit = unit.chars().next()?;
            let number = number.parse().ok().filter(|number| *number <= MOST)?;
            *age.unit(units.find(|known| *known == unit)?)? = number;
            rest = rest.get(end + 1..)?;
        }
        (!text.is_empty()).then_some(age)
    }

    fn unit(&mut self, unit: char) -> Option<&mut u32> {
        match unit {
            'y' => Some(&mut self.years),
            'm' => Some(&mut self.months),
            'w' => Some(&mut self.weeks),
            'd' => Some(&mut self.days),
            'h' => Some(&mut self.hours),
            _ => None,
        }
    }

    /// Returns the instant this long before another; the earliest instant if it is out of range.
    pub fn before(&self, now: &ZonedDateTime) -> Time {
        now.checked_sub(self.span()).map_or(Time { sec: i64::MIN, nanos: 0 }, time)
    }

    /// Returns the instant this long after another; the latest instant if it is out of range.
    pub fn after(&self, now: &ZonedDateTime) -> Time {
        now.checked_add(self.span()).map_or(Time { sec: i64::MAX, nanos: 0 }, time)
    }

    fn span(&self) -> Span {
        let days = Span::new().years(self.years).months(self.months).weeks(self.weeks).days(self.days);
        days.hours(self.hours)
    }
}

fn time(at: ZonedDateTime) -> Time {
    let at = at.timestamp();
    Time { sec: at.as_second(), nanos: u32::try_from(at.subsec_nanosecond()).unwrap_or(0) }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units =
            [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')];
        if units.iter().all(|(number, _)| *number == 0) {
            return f.write_str("0d");
        }
        units
            .iter()
            .filter(|(number, _)| *number > 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::Age;

    #[test]
    fn ages_read_as_they_are_written() {
        for text in ["2y5m7d3h", "30d", "1w", "0d", "9999y9999m9999w9999d9999h"] {
            assert_eq!(Age::parse(text).map(|age| age.to_string()).as_deref(), Some(text));
        }
        for text in ["", "d", "7", "7x", "7d2y", "7d7d", "-7d", "7.5d", "7d ", "10000d", "7dd", "\u{664}d"] {
            assert_eq!(Age::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        let now = date(2026, 3, 29).at(12, 0, 0, 0).in_tz("Europe/Berlin").unwrap();
        let gone = |text: &str| now.timestamp().as_second() - Age::parse(text).unwrap().before(&now).sec;
        // In the night before, clocks were set forward.
        assert_eq!(gone("1d"), 23 * 3600);
        assert_eq!(gone("24h"), 24 * 3600);
        assert_eq!(gone("1m1d"), 30 * 86400 - 3600);
    }
}
