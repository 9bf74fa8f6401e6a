//! Selects snapshots by host, tags and paths, as restic's filters do, or by name.

use std::collections::{BTreeSet, HashSet};

use crate::error::{Error, Result};
use crate::model::manifest::Manifest;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{self, Query, Snapshot};

/// Conditions on a snapshot. An empty filter admits every snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// The host is one of these.
    pub hosts: Vec<String>,
    /// The snapshot has all tags of one of these lists. An empty tag matches a snapshot without tags.
    pub tags: Vec<Vec<String>>,
    /// Its sources include all of these absolute paths.
    pub paths: Vec<Vec<u8>>,
    /// Its sources are exactly these absolute paths, in any order.
    pub sources: Option<Vec<Vec<u8>>>,
}

impl SnapshotFilter {
    /// Returns whether the filter admits this snapshot.
    pub fn admits(&self, manifest: &Manifest) -> bool {
        let has_path = |path: &Vec<u8>| manifest.sources.iter().any(|source| source[..] == path[..]);
        (self.hosts.is_empty() || self.hosts.contains(&manifest.host))
            && (self.tags.is_empty() || self.tags.iter().any(|tags| manifest.has_tags(tags)))
            && self.paths.iter().all(has_path)
            && self.sources.as_ref().is_none_or(|sources| {
                manifest.sources.iter().all(|source| sources.iter().any(|path| source[..] == path[..]))
                    && sources.iter().all(has_path)
            })
    }

    /// Explains which condition no snapshot meets, with the values that exist. `None` if some are admitted,
    /// or if there are no snapshots at all.
    pub fn unmatched(&self, all: &[Snapshot]) -> Option<String> {
        if all.is_empty() || all.iter().any(|one| self.admits(&one.manifest)) {
            return None;
        }
        let none_meets = |part: Self| !all.iter().any(|one| part.admits(&one.manifest));
        let (hosts, tags, paths) = (self.hosts.clone(), self.tags.clone(), self.paths.clone());
        let known = |of: fn(&Manifest) -> Vec<String>| {
            let known: BTreeSet<String> = all.iter().flat_map(|one| of(&one.manifest)).collect();
            let more = known.len().saturating_sub(MAX_NAMED);
            let mut text = known.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", ");
            if more > 0 {
                text += &format!(" and {more} more");
            }
            if text.is_empty() { "none".to_owned() } else { text }
        };
        if none_meets(Self { hosts, ..Self::default() }) {
            let found = known(|manifest| vec![manifest.host.clone()]);
            return Some(format!(
                "there is no snapshot of host {}; the hosts are {found}",
                self.hosts.join(" or ")
            ));
        }
        if none_meets(Self { tags, ..Self::default() }) {
            let lists: Vec<String> = self.tags.iter().map(|tags| tags.join(",")).collect();
            let found = known(|manifest| manifest.tags.clone());
            return Some(format!("no snapshot has the tag '{}'; the tags are {found}", lists.join("' or '")));
        }
        if none_meets(Self { paths, ..Self::default() }) || self.sources.is_some() {
            let paths =
                self.sources.as_ref().unwrap_or(&self.paths).iter().map(|path| String::from_utf8_lossy(path));
            let paths = paths.collect::<Vec<_>>().join(", ");
            let sources = |manifest: &Manifest| {
                manifest.sources.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
            };
            return Some(format!("no snapshot has the source {paths}; the sources are {}", known(sources)));
        }
        Some(
            "no snapshot matches all of `SnapshotFilter::hosts`, `SnapshotFilter::tags` and \
              `SnapshotFilter::paths`"
                .to_owned(),
        )
    }
}

/// Maximum number of hosts, tags or sources in a message.
const MAX_NAMED: usize = 10;

/// Selects whole snapshots: the named ones among those the filter admits, or all that it admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotQuery {
    /// Snapshot selectors as the user typed them.
    pub selectors: Vec<String>,
    /// The filter.
    pub selection: SnapshotFilter,
}

impl SnapshotQuery {
    /// Returns the positions of the selected snapshots in `all`.
    ///
    /// # Errors
    /// When a name matches no snapshot or names a part of one, or the filter admits none of the existing
    /// snapshots.
    pub fn places(&self, repo: &Repository, all: &[Snapshot]) -> Result<Vec<usize>> {
        let places = 0..all.len();
        if self.selectors.is_empty() {
            if let Some(why) = self.selection.unmatched(all) {
                return Err(Error::none_selected(why));
            }
            let admitted = |at: &usize| all.get(*at).is_some_and(|one| self.selection.admits(&one.manifest));
            return Ok(places.filter(admitted).collect());
        }
        let mut ids = HashSet::new();
        for selector in &self.selectors {
            match snapshots::resolve(repo, all, Query::among(selector, &self.selection))? {
                (snapshot, None) => ids.insert(snapshot.id),
                (_, Some(_)) => {
                    let why = "give a snapshot without :path";
                    return Err(Error::Usage(format!("{selector}: {why}")));
                }
            };
        }
        Ok(places.filter(|at| all.get(*at).is_some_and(|one| ids.contains(&one.id))).collect())
    }
}
