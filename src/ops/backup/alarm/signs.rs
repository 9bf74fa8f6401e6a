//! Decides whether this backup gives an alarm.

use crate::model::manifest::{Counts, SnapshotKind};
use crate::model::signs::Signs;
use crate::model::tripwire::{self, AlarmReason};
use crate::ops::backup::Run;
use crate::ops::backup::alarm::statistics::{ReadCounts, Tally, seconds_between};
use crate::ops::backup::parent::ParentChoice;

/// The statistics of the backup, and the reasons for an alarm.
#[derive(Debug, Default)]
pub(in crate::ops::backup) struct Judgement {
    pub(in crate::ops::backup) signs: Option<Signs>,
    pub(in crate::ops::backup) reasons: Vec<AlarmReason>,
}

/// Judges a backup that was not interrupted. `silent` means that nothing changed.
pub(in crate::ops::backup) fn judge(
    run: &Run<'_>,
    read: ReadCounts,
    tally: &Tally,
    counts: &Counts,
    silent: bool,
) -> Judgement {
    let Some(compared) = run.parent_choice.compare.as_ref().filter(|_| run.options.stdin.is_none()) else {
        return Judgement::default();
    };
    let (suffix, alike) = tally.suffixes.most_frequent_new();
    let before = &compared.manifest.counts;
    let mut now = Signs {
        span: seconds_between(compared.manifest.started, run.started),
        before: before.files(),
        bytes_before: before.bytes_total,
        bytes: counts.bytes_total,
        new: read.new,
        moved: read.moved,
        rewritten: read.rewritten,
        removed: tally.removed,
        opaque: read.opaque,
        opaque_new: read.opaque_new,
        alike,
        suffix,
        ..Signs::default()
    };
    subtract_previous_differential(run.parent_choice, &mut now);
    let past = &run.parent_choice.past;
    let limits = run.options.tripwire.as_ref().filter(|_| !run.options.expect_change);
    let mut reasons = tripwire::evaluate(past, &mut now, limits);
    if silent {
        let newest = run.parent_choice.newest.as_ref();
        let age = newest.map_or(0, |newest| seconds_between(newest.manifest.started, run.started));
        reasons.extend(tripwire::silence(past, age, limits));
    }
    Judgement { signs: Some(now), reasons }
}

/// Subtracts the counts of the previous differential, which was compared with the same full backup.
fn subtract_previous_differential(parent_choice: &ParentChoice, now: &mut Signs) {
    let Some(newest) = &parent_choice.newest else { return };
    let (Some(parent), SnapshotKind::Differential) = (parent_choice.parent, newest.manifest.kind) else {
        return;
    };
    if parent_choice.kind != SnapshotKind::Differential || newest.manifest.parent != Some(parent) {
        return;
    }
    let less = |number: &mut u64, before: u64| *number = number.saturating_sub(before);
    let counts = &newest.manifest.counts;
    less(&mut now.new, counts.files_new);
    less(&mut now.rewritten, counts.files_changed);
    less(&mut now.removed, counts.files_removed);
}
