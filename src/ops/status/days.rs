//! Results of a set's backups on each of the last days.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::entry::Time;
use crate::ops::status::SetStatus;
use crate::ops::status::sets::{id_of, is_of};
use crate::repo::snapshots::Snapshot;
use crate::run_log::{Ending, History, RunRecord, RunState};

/// The best result of a set's backups on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Day {
    /// No backup is known.
    None,
    /// All backups failed.
    Failed,
    /// A snapshot was made, but it is partial or some entries could not be read.
    Partial,
    /// A complete snapshot was made, or nothing had changed.
    Good,
}

impl Day {
    /// Returns a stable name for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "no backup",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::Good => "good",
        }
    }
}

/// Returns the last `number` days of a set up to that of `now` in `zone`, oldest first. `snapshots` adds
/// backups that are not in this machine's run log.
pub fn days(
    set: &SetStatus,
    history: &History,
    snapshots: &[Snapshot],
    (now, zone): (Time, &TimeZone),
    number: u16,
) -> Vec<(Date, Day)> {
    let Some(today) = date(now, zone) else { return Vec::new() };
    let mut strip: Vec<(Date, Day)> = (0..i64::from(number))
        .rev()
        .filter_map(|before| {
            Some((today.checked_sub(jiff::Span::new().try_days(before).ok()?).ok()?, Day::None))
        })
        .collect();
    let runs = history.runs.iter().filter(|run| run.verb == "backup" && is_of(run, set));
    let runs = runs.map(|run| (run.start, of_run(run)));
    let made = snapshots.iter().filter(|one| id_of(one) == set.id);
    for (at, day) in runs.chain(made.map(|one| (one.manifest.started, of_snapshot(one)))) {
        let Some(date) = date(at, zone) else { continue };
        if let Ok(found) = strip.binary_search_by_key(&date, |(date, _)| *date)
            && let Some((_, known)) = strip.get_mut(found)
        {
            *known = (*known).max(day);
        }
    }
    strip
}

fn date(at: Time, zone: &TimeZone) -> Option<Date> {
    let stamp = Timestamp::from_second(at.sec).ok()?;
    Some(stamp.to_zoned_datetime(zone.clone()).date())
}

fn of_run(run: &RunRecord) -> Day {
    match run.state() {
        RunState::Ended(Ending::Problems | Ending::TimeUp) => Day::Partial,
        _ if run.is_good() => Day::Good,
        _ if run.is_bad() => Day::Failed,
        _ => Day::None,
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Day {
    if snapshot.manifest.partial || snapshot.manifest.counts.errors > 0 { Day::Partial } else { Day::Good }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::sets;

    const NOW: Time = Time { sec: 1_800_000_000, nanos: 0 };

    fn run(days_ago: i64, ending: Ending) -> RunRecord {
        let mut run = RunRecord::new("backup", "/r");
        run.start = Time { sec: NOW.sec - days_ago * 86_400, nanos: 0 };
        run.end = Some(run.start);
        run.ending = Some(ending);
        run.exit = Some(if ending == Ending::Failed { 1 } else { 0 });
        run.set_id = Some("a".to_owned());
        run
    }

    #[test]
    fn each_day_shows_the_best_of_its_runs() {
        let mut other = run(1, Ending::Done);
        other.set_id = Some("b".to_owned());
        let runs = vec![
            run(70, Ending::Done),
            run(4, Ending::Done),
            run(3, Ending::Problems),
            run(3, Ending::Failed),
            run(2, Ending::Failed),
            run(2, Ending::Done),
            other,
            run(0, Ending::Failed),
        ];
        let history = History { runs, unreadable: 0 };
        let set = sets::new("a", "h", Vec::new());
        let strip = days(&set, &history, &[], (NOW, &TimeZone::UTC), 5);
        let found: Vec<Day> = strip.iter().map(|(_, day)| *day).collect();
        assert_eq!(found, [Day::Good, Day::Partial, Day::Good, Day::None, Day::Failed]);
        assert_eq!(strip.last().map(|(date, _)| date.to_string()), Some("2027-01-15".to_owned()));
    }
}
