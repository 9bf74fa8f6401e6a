//! A set: sources that are backed up together, and their settings.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use snap_backup::fs::filter::FilterOptions;
use snap_backup::fs::sources;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::tripwire::Limits;
use snap_backup::ops::check;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::{Period, Rule};
use snap_backup::ops::schedule::window::Window;
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::util::host;

use super::node::Table;
use crate::args::path_rules::{Expiry, PathRules};
use crate::args::values::Line;
use crate::args::{keep, values};

/// A set of the configuration, with defaults applied.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) table: Table,
}

impl Set {
    pub(super) fn new(name: &str, table: Table) -> Self {
        Self { name: name.to_owned(), table }
    }

    /// Returns the name or location of its repository.
    pub(crate) fn repository(&self) -> Option<OsString> {
        self.table.location("repository")
    }

    /// Returns the names or locations of its mirrors.
    pub(crate) fn mirrors(&self) -> Vec<OsString> {
        self.table.locations("mirror")
    }

    /// Returns its sources as absolute paths.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        self.table.paths("sources")
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.table.texts("tags").into_iter().filter(|tag| !tag.is_empty()).collect()
    }

    /// Returns the host name for its snapshots.
    pub(crate) fn host(&self) -> Option<String> {
        self.table.text("host").filter(|host| !host.is_empty()).map(str::to_owned)
    }

    /// Returns the kind of its backups unless a flag chooses another.
    pub(crate) fn kind(&self) -> SnapshotKind {
        match self.table.text("kind") {
            Some("full") => SnapshotKind::Full,
            Some("differential") => SnapshotKind::Differential,
            _ => SnapshotKind::Incremental,
        }
    }

    /// Returns the filter for its backups.
    pub(crate) fn filter(&self) -> FilterOptions {
        let on = |name: &str| self.table.bool(name).unwrap_or_default();
        let patterns = |name: &str| self.table.texts(name).into_iter().map(OsString::from).collect();
        FilterOptions {
            exclude: patterns("exclude"),
            iexclude: patterns("iexclude"),
            exclude_files: self.table.paths("exclude-file"),
            exclude_if_present: patterns("exclude-if-present"),
            exclude_caches: on("exclude-caches"),
            larger_than: self.table.number("exclude-larger-than"),
            gitignore: on("gitignore"),
            anchors_in_snapshot: false,
        }
    }

    /// Returns the maximum age of its last successful backup; beyond that it is overdue.
    #[allow(dead_code, reason = "for `status`")]
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.table.duration("max-age")
    }

    /// Returns the thresholds at which its backups raise an alarm; `None` means never.
    pub(crate) fn tripwire(&self) -> Option<Limits> {
        let share = |name: &str, default| self.table.share(&format!("alarm.{name}")).unwrap_or(default);
        let on = |name: &str| self.table.bool(&format!("alarm.{name}")).unwrap_or(true);
        let default = Limits::default();
        let after = self.table.number("alarm.after").and_then(|after| usize::try_from(after).ok());
        on("enabled").then(|| Limits {
            runs: after.unwrap_or(default.runs),
            lost: share("lost", default.lost),
            opaque: share("encrypted", default.opaque),
            renamed: share("renamed", default.renamed),
            growth: share("growth", default.growth),
            silence: on("silence"),
        })
    }

    /// Returns the options of its checks, which determine what is read besides the structure.
    pub(crate) fn check(&self) -> check::Options {
        let data = self.table.text("check-data").unwrap_or("none");
        let (read_data, subset) = (data == "all", values::subset(data).ok());
        check::Options { read_data, subset, ..check::Options::default() }
    }

    /// Returns a filter that selects exactly the snapshots of this set: same host and sources, and its tags.
    pub(crate) fn selection(&self) -> SnapshotFilter {
        use std::os::unix::ffi::OsStrExt;
        let tags = self.tags();
        // Converts the sources to the form in which a backup records them.
        let planned = sources::plan(&self.sources(), None).map(|plan| plan.sources);
        let raw = || self.sources().iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        let sources = planned.unwrap_or_else(|_| raw());
        SnapshotFilter {
            hosts: vec![self.host().unwrap_or_else(host::host_name)],
            tags: if tags.is_empty() { Vec::new() } else { vec![tags] },
            sources: Some(sources),
            ..SnapshotFilter::default()
        }
    }

    /// Returns the hours of the day in which backups may start.
    pub(crate) fn window(&self) -> Option<Window> {
        self.table.window("window")
    }

    /// Returns the time zone of its times; the machine's if `None`.
    pub(crate) fn zone(&self) -> Option<TimeZone> {
        self.table.zone("schedule.time-zone").cloned()
    }

    /// Returns the number of threads for its runs.
    pub(crate) fn threads(&self) -> Option<usize> {
        self.table.number("threads").and_then(|number| usize::try_from(number).ok())
    }

    /// Returns the niceness of its runs.
    pub(crate) fn nice(&self) -> Option<i32> {
        self.table.number("nice").and_then(|number| i32::try_from(number).ok())
    }

    /// Returns the maximum size of its repository.
    pub(crate) fn keep_below(&self) -> Option<Line> {
        self.table.line("keep-below")
    }

    /// Returns the age below which its snapshots are always kept.
    pub(crate) fn min_age(&self) -> Option<Age> {
        self.table.age("min-age")
    }

    /// Returns its rules per path.
    pub(crate) fn path_rules(&self) -> PathRules {
        let rule = |table: &Table| {
            let after = table.age("after")?;
            let patterns = table.texts("path").into_iter().map(OsString::from);
            Some(patterns.map(move |pattern| Expiry { pattern, after }).collect::<Vec<_>>())
        };
        PathRules {
            expire: self.table.tables("expire").filter_map(rule).flatten().collect(),
            keep_deleted: self.table.age("keep-deleted"),
        }
    }

    /// Returns whether it has any setting for `cleanup`.
    pub(crate) fn is_cleaned(&self) -> bool {
        !self.rules().is_empty() || self.keep_below().is_some() || !self.path_rules().is_empty()
    }

    /// Returns its retention rules.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let count = |name: &str| self.table.count(&format!("keep.{name}"));
        let age = |name: &str| self.table.age(&format!("keep.{name}"));
        let every = |name: &str, period| count(name).map(|number| Rule::Every(period, number));
        let within = |name: &str, period| age(name).map(|age| Rule::WithinEvery(period, age));
        let rules = [
            count("last").map(Rule::Last),
            every("hourly", Period::Hour),
            every("daily", Period::Day),
            every("weekly", Period::Week),
            every("monthly", Period::Month),
            every("yearly", Period::Year),
            age("within").map(Rule::Within),
            within("within-hourly", Period::Hour),
            within("within-daily", Period::Day),
            within("within-weekly", Period::Week),
            within("within-monthly", Period::Month),
            within("within-yearly", Period::Year),
            count("full").map(Rule::Full),
        ];
        let tags = self.table.texts("keep.tags");
        let tags = tags.iter().map(|tags| Rule::Tags(keep::list(tags)));
        rules.into_iter().flatten().chain(tags).collect()
    }
}
