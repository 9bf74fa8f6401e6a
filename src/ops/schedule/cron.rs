//! Cron expressions in a time zone. The only module that uses croner.

use std::cmp::Ordering;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

/// A cron expression: five fields (minute, hour, day of the month, month, day of the week), six with seconds
/// in front, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. If both day fields are restricted, one
/// match is enough.
///
/// A fixed time of day that a clock change skips is due right after the change; one that occurs twice is due
/// once. Expressions with several minutes or hours, `*` or a step follow the times that exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    cron: croner::Cron,
    text: String,
}

impl Cron {
    /// Parses an expression.
    ///
    /// # Errors
    /// A description of what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser
            .parse(text)
            .map_err(|err| format!("it is not a cron expression (minute hour day month weekday): {err}"))?;
        // An expression that never matches would never be reported as missed, either.
        let cron = Self { cron, text: text.to_owned() };
        match cron.after(Timestamp::UNIX_EPOCH, &TimeZone::UTC) {
            Some(_) => Ok(cron),
            None => Err("it never matches".to_owned()),
        }
    }

    /// Returns the first time after an instant; `None` if there is none.
    pub fn after(&self, instant: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = Local(instant.to_zoned_datetime(zone.clone()));
        self.cron.find_next_occurrence(&from, false).ok().map(|next| next.0.timestamp())
    }

    /// Returns the last time up to and including an instant.
    pub fn latest(&self, instant: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = Local(instant.to_zoned_datetime(zone.clone()));
        self.cron.find_previous_occurrence(&from, true).ok().map(|last| last.0.timestamp())
    }

    /// Returns the expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Adapts a time to croner, which uses another version of jiff.
#[derive(Clone)]
struct Local(ZonedDateTime);

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.datetime();
        let number = |part: i8| u32::try_from(part).unwrap_or_default();
        let date =
            CivilDate::from_parts_unchecked(i32::from(at.year()), number(at.month()), number(at.day()));
        let time =
            CivilTime::from_parts_unchecked(number(at.hour()), number(at.minute()), number(at.second()));
        CivilDateTime::new(date, time)
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(
            u32::try_from(self.0.weekday().to_sunday_zero_offset()).unwrap_or_default(),
        )
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let at = jiff::civil::DateTime::new(
            year,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        )
        .map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.0.time_zone().to_ambiguous_zoned_datetime(at);
        let wrong = |_| CronError::InvalidTime;
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(Self(ambiguous.unambiguous().map_err(wrong)?))
            }
            AmbiguousOffset::Fold { .. } => Resolution::Ambiguous(
                Self(ambiguous.clone().earlier().map_err(wrong)?),
                Self(ambiguous.later().map_err(wrong)?),
            ),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}
