//! Arguments for retention rules and for selecting snapshots.

use std::path::PathBuf;

use clap::Args;
use snap_backup::Result;
use snap_backup::fs::sources;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::groups::GroupBy;
use snap_backup::ops::forget::policy::{Count, Period, Rule};
use snap_backup::repo::snapshots::filter::SnapshotFilter;

use crate::args::path_rules::PathRules;
use crate::args::values::{self, SizeLimit, snapshot_count};
use crate::commands::gc::Collect;

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// latest, latest~N, an id prefix, a date or a time; without any, forget all that no --keep-* rule keeps
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["Keep", "Filters", "group_by"])]
    pub(crate) snapshots: Vec<String>,
    /// Only snapshots of this set of the configuration, by the rules of the set; can be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = ["snapshots", "Filters"])]
    pub(crate) set: Vec<String>,
    /// Allow the newest snapshot of a host and its sources to be forgotten by name
    #[arg(long, requires = "snapshots", conflicts_with_all = ["Keep", "Filters"])]
    pub(crate) allow_remove_all: bool,
    /// Also forget pinned snapshots, and those that an open alarm protects
    #[arg(long, requires = "snapshots", conflicts_with_all = ["Keep", "Filters"])]
    pub(crate) force: bool,
    /// Run a garbage collection afterwards
    #[arg(long)]
    pub(crate) prune: bool,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Apply the rules to each group of snapshots with the same host, paths or tags (comma-separated; '': one
    /// group)
    #[arg(short, long, value_name = "GROUPS", default_value = "host,paths", value_parser = group_by)]
    pub(crate) group_by: GroupBy,
    #[command(flatten)]
    pub(crate) keep: Keep,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// After the rules, forget as many more snapshots as needed to bring the repository below this: a size,
    /// or a percentage of its file system
    #[arg(long, value_name = "SIZE|P%", value_parser = values::size_limit)]
    pub(crate) keep_below: Option<SizeLimit>,
    #[command(flatten)]
    pub(crate) paths: PathRules,
    /// Only snapshots of this set of the configuration, by the rules of the set; can be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "Filters")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) collect: Collect,
    /// Apply the rules to each group of snapshots with the same host, paths or tags (comma-separated; '': one
    /// group)
    #[arg(short, long, value_name = "GROUPS", default_value = "host,paths", value_parser = group_by)]
    pub(crate) group_by: GroupBy,
    #[command(flatten)]
    pub(crate) keep: Keep,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// Returns rules for counts and ages: first for all snapshots, then by hour, day, week, month and year; then
/// `more`, then one rule for each list of tags.
pub(crate) fn rules(
    counts: [Option<Count>; 6],
    ages: [Option<Age>; 6],
    more: impl Iterator<Item = Rule>,
    tags: &[String],
) -> Vec<Rule> {
    let [last, counts @ ..] = counts;
    let [within, ages @ ..] = ages;
    let periods = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
    let every =
        periods.into_iter().zip(counts).filter_map(|(period, count)| Some(Rule::Every(period, count?)));
    let each =
        periods.into_iter().zip(ages).filter_map(|(period, age)| Some(Rule::WithinEvery(period, age?)));
    let counted = last.map(Rule::Last).into_iter().chain(every);
    let aged = within.map(Rule::Within).into_iter().chain(each);
    counted.chain(aged).chain(more).chain(tags.iter().map(|tags| Rule::Tags(split_list(tags)))).collect()
}

/// Retention rules. A snapshot is kept if any of them keeps it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Retention rules")]
pub(crate) struct Keep {
    /// Keep the newest N snapshots; N can be unlimited
    #[arg(short = 'l', long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_last: Option<Count>,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(short = 'H', long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_hourly: Option<Count>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(short = 'd', long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_daily: Option<Count>,
    /// Keep the newest snapshot of each of the last N weeks that have one
    #[arg(short = 'w', long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_weekly: Option<Count>,
    /// Keep the newest snapshot of each of the last N months that have one
    #[arg(short = 'm', long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_monthly: Option<Count>,
    /// Keep the newest snapshot of each of the last N years that have one
    #[arg(short = 'y', long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_yearly: Option<Count>,
    /// Keep all snapshots that were current at some time within this period: 2y5m7d3h (m: months), 30d
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    keep_within: Option<Age>,
    /// Keep the newest snapshot of each hour within this period
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    keep_within_hourly: Option<Age>,
    /// Keep the newest snapshot of each day within this period
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    keep_within_daily: Option<Age>,
    /// Keep the newest snapshot of each week within this period
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    keep_within_weekly: Option<Age>,
    /// Keep the newest snapshot of each month within this period
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    keep_within_monthly: Option<Age>,
    /// Keep the newest snapshot of each year within this period
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    keep_within_yearly: Option<Age>,
    /// Keep snapshots with all of these tags; if repeated, with any of the lists
    #[arg(long, value_name = "TAG[,TAG]")]
    keep_tag: Vec<String>,
    /// Keep the newest N full snapshots; N can be unlimited
    #[arg(long, value_name = "N", value_parser = snapshot_count, allow_negative_numbers = true)]
    keep_full: Option<Count>,
    /// Keep all snapshots that have not expired
    #[arg(long)]
    expired: bool,
    /// Let no rule forget a snapshot younger than this
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    min_age: Option<Age>,
}

impl Keep {
    /// Returns the given rules.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let counts = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
        ];
        let ages = [
            self.keep_within,
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_yearly,
        ];
        let more = [self.keep_full.map(Rule::Full), self.expired.then_some(Rule::Unexpired)];
        rules(counts, ages, more.into_iter().flatten(), &self.keep_tag)
    }

    /// Returns the age below which snapshots are always kept, if given.
    pub(crate) fn min_age(&self) -> Option<Age> {
        self.min_age
    }

    /// Returns the number of full snapshots to keep, if given.
    pub(crate) fn fulls(&self) -> Option<Count> {
        self.keep_full
    }
}

/// Filters that select snapshots.
#[derive(Debug, Args)]
#[command(next_help_heading = "Snapshot selection")]
pub(crate) struct Filters {
    /// Only snapshots of this host; if repeated, of any of them
    #[arg(long)]
    host: Vec<String>,
    /// Only snapshots with all of these tags; if repeated, with any of the lists; '' means without tags
    #[arg(long, value_name = "TAG[,TAG]")]
    tag: Vec<String>,
    /// Only snapshots that have this source; if repeated, all of them
    #[arg(long)]
    path: Vec<PathBuf>,
}

impl Filters {
    /// Returns whether no filter was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.host.is_empty() && self.tag.is_empty() && self.path.is_empty()
    }

    /// Converts the arguments to a filter.
    pub(crate) fn selection(&self) -> Result<SnapshotFilter> {
        use std::os::unix::ffi::OsStrExt;
        let mut paths = Vec::new();
        for path in &self.path {
            // Converts the path to the form in which sources are recorded.
            let path = sources::absolute(path)?;
            paths.push(path.as_os_str().as_bytes().to_vec());
        }
        let tags = self.tag.iter().map(|tags| split_list(tags)).collect();
        Ok(SnapshotFilter { hosts: self.host.clone(), tags, paths, sources: None })
    }
}

/// Splits at commas.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

pub(crate) fn group_by(text: &str) -> Result<GroupBy, String> {
    let mut by = GroupBy { host: false, paths: false, tags: false };
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "host" | "hosts" => by.host = true,
            "path" | "paths" => by.paths = true,
            "tag" | "tags" => by.tags = true,
            _ => return Err("host, paths and tags, with commas between".to_owned()),
        }
    }
    Ok(by)
}
