//! A set: sources that are backed up together, and their settings.

use std::ffi::OsString;
use std::path::PathBuf;

use snap_backup::fs::filter::FilterOptions;
use snap_backup::fs::sources;
use snap_backup::model::tripwire::Limits;
use snap_backup::ops::forget::policy::Rule;
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::util::host;

use super::field::Named;
use super::model::{Expire, SetSettings};
use super::types::Pattern;
use crate::args::keep;
use crate::args::path_rules::{Expiry, PathRules};

/// A set of the configuration, with defaults applied.
pub(crate) type Set = Named<SetSettings>;

impl Set {
    /// Returns its sources as absolute paths.
    pub(crate) fn sources(&self) -> &[PathBuf] {
        self.settings.sources.as_deref().unwrap_or_default()
    }

    /// Returns the name or location of its repository.
    pub(crate) fn repository(&self) -> Option<OsString> {
        self.settings.repository.as_ref().map(|named| named.value.0.clone())
    }

    /// Returns the names or locations of its mirrors.
    pub(crate) fn mirrors(&self) -> Vec<OsString> {
        self.settings.mirror.iter().map(|mirror| mirror.0.clone()).collect()
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.settings.tags.iter().filter(|tag| !tag.is_empty()).cloned().collect()
    }

    /// Returns the host name for its snapshots; `None` means the machine's.
    pub(crate) fn host(&self) -> Option<String> {
        self.settings.host.clone().filter(|host| !host.is_empty())
    }

    /// Returns the filter for its backups.
    pub(crate) fn filter(&self) -> FilterOptions {
        let settings = &self.settings;
        FilterOptions {
            exclude: patterns(&settings.exclude),
            iexclude: patterns(&settings.iexclude),
            exclude_files: settings.exclude_file.clone(),
            exclude_if_present: settings.exclude_if_present.iter().map(OsString::from).collect(),
            exclude_caches: settings.exclude_caches,
            larger_than: settings.exclude_larger_than.map(|size| size.0),
            gitignore: settings.gitignore,
            anchors_in_snapshot: false,
        }
    }

    /// Returns the thresholds at which its backups raise an alarm; `None` means never.
    pub(crate) fn tripwire(&self) -> Option<Limits> {
        let alarm = &self.settings.alarm;
        alarm.enabled.then(|| Limits {
            runs: usize::try_from(alarm.after).unwrap_or(usize::MAX),
            lost: alarm.lost.0,
            opaque: alarm.encrypted.0,
            renamed: alarm.renamed.0,
            growth: alarm.growth.0,
            silence: alarm.silence,
        })
    }

    /// Returns a filter that selects exactly the snapshots of this set: same host and sources, and its tags.
    pub(crate) fn selection(&self) -> SnapshotFilter {
        use std::os::unix::ffi::OsStrExt;
        let tags = self.tags();
        // Converts the sources to the form in which a backup records them.
        let planned = sources::plan(self.sources(), None).map(|plan| plan.sources);
        let raw = || self.sources().iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        let sources = planned.unwrap_or_else(|_| raw());
        SnapshotFilter {
            hosts: vec![self.host().unwrap_or_else(host::host_name)],
            tags: if tags.is_empty() { Vec::new() } else { vec![tags] },
            sources: Some(sources),
            ..SnapshotFilter::default()
        }
    }

    /// Returns its rules per path.
    pub(crate) fn path_rules(&self) -> PathRules {
        let rule = |rule: &Expire| {
            let (path, after) = (rule.path.as_ref()?, rule.after?);
            Some(patterns(path).into_iter().map(move |pattern| Expiry { pattern, after }))
        };
        PathRules {
            expire: self.settings.expire.value.iter().filter_map(rule).flatten().collect(),
            keep_deleted: self.settings.keep_deleted,
        }
    }

    /// Returns whether it has any setting for `cleanup`.
    pub(crate) fn is_cleaned(&self) -> bool {
        !self.rules().is_empty() || self.settings.keep_below.is_some() || !self.path_rules().is_empty()
    }

    /// Returns its retention rules.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let keep = &self.settings.keep;
        let counts = [keep.last, keep.hourly, keep.daily, keep.weekly, keep.monthly, keep.yearly];
        let ages = [
            keep.within,
            keep.within_hourly,
            keep.within_daily,
            keep.within_weekly,
            keep.within_monthly,
            keep.within_yearly,
        ];
        keep::rules(counts, ages, keep.full.map(Rule::Full).into_iter(), &keep.tags)
    }
}

pub(crate) fn patterns(patterns: &[Pattern]) -> Vec<OsString> {
    patterns.iter().map(|pattern| OsString::from(&pattern.0)).collect()
}
