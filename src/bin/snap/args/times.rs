//! Parses times and dates as users write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use snap_backup::model::entry::Time;
use snap_backup::ops::forget::age::Age;

/// Parses a time in the past: an age, a date (its beginning in local time) or a time.
pub(crate) fn past(text: &str) -> Result<Time, String> {
    match Age::parse(text) {
        Some(age) => Ok(age.before(&Timestamp::now().to_zoned_datetime(TimeZone::system()))),
        None => instant(text, Some),
    }
}

/// Parses a time in the future: a duration from now, a date (its end in local time) or a time.
pub(crate) fn future(text: &str) -> Result<Time, String> {
    let now = Timestamp::now();
    let at = match Age::parse(text) {
        Some(age) => age.after(&now.to_zoned_datetime(TimeZone::system())),
        None => instant(text, |date| date.tomorrow().ok())?,
    };
    if at.sec > now.as_second() {
        Ok(at)
    } else {
        Err("the time is in the past: give a time in the future".to_owned())
    }
}

/// Parses a date or a time. `date` maps a date to the day at whose beginning it is taken.
fn instant(text: &str, date: impl Fn(Date) -> Option<Date>) -> Result<Time, String> {
    let wrong =
        || "a date (2026-11-24), a time (2026-11-24T10:00, ...Z) or an age (30d, 2y5m1w7d3h)".to_owned();
    let zone = TimeZone::system();
    let at = if let Ok(day) = text.parse::<Date>()
        && text.len() == 10
    {
        date(day).and_then(|day| zone.to_timestamp(day.at(0, 0, 0, 0)).ok())
    } else if let Ok(at) = text.parse::<Timestamp>() {
        Some(at)
    } else {
        text.parse::<DateTime>().ok().and_then(|at| zone.to_timestamp(at).ok())
    };
    let at = at.ok_or_else(wrong)?;
    let nanos = at.as_nanosecond().rem_euclid(1_000_000_000);
    let sec = at.as_nanosecond().div_euclid(1_000_000_000);
    Ok(Time {
        sec: i64::try_from(sec).map_err(|_| wrong())?,
        nanos: u32::try_from(nanos).map_err(|_| wrong())?,
    })
}

#[cfg(test)]
mod tests {
    use super::{future, past};

    #[test]
    fn a_date_begins_at_midnight_and_a_time_may_have_a_zone() {
        let at = |text: &str| past(text).map(|time| (time.sec, time.nanos));
        assert_eq!(at("1970-01-02T00:00:00.5Z"), Ok((86_400, 500_000_000)));
        assert_eq!(at("1969-12-31T23:59:59.5Z"), Ok((-1, 500_000_000)));
        assert_eq!(at("2026-11-24"), at("2026-11-24T00:00"));
        assert_eq!(future("2126-11-24").map(|time| (time.sec, time.nanos)), at("2126-11-25"));
        assert!(["2020-01-01", "2020-01-01T00:00:00Z", "0d"].iter().all(|text| future(text).is_err()));
        assert!(future("1d").unwrap() < future("2d").unwrap());
        assert!(at("1d").unwrap() > at("2d").unwrap());
        assert!(["", "soon", "2026-13-01", "2026-11-24T25:00"].iter().all(|text| past(text).is_err()));
    }
}
