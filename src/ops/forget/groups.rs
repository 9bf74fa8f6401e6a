//! Groups snapshots to which a policy is applied together.

use std::collections::BTreeMap;

use serde_bytes::ByteBuf;

use crate::model::id::KeyId;
use crate::ops::forget::policy::{self, Decision, Now, Rule};
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotFilter;

/// Which properties the snapshots of a group share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The sources.
    pub paths: bool,
    /// The tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

/// The shared properties of a group; `None` for those that may differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// The host.
    pub host: Option<String>,
    /// The sources.
    pub paths: Option<Vec<ByteBuf>>,
    /// The tags, sorted.
    pub tags: Option<Vec<String>>,
    /// The write key that made them; `None` means full keys. Snapshots of a write key do not displace others.
    pub writer: Option<KeyId>,
}

impl GroupKey {
    fn of(snapshot: &Snapshot, by: GroupBy) -> Self {
        let manifest = &snapshot.manifest;
        let mut tags = manifest.tags.clone();
        tags.sort();
        tags.dedup();
        Self {
            host: by.host.then(|| manifest.host.clone()),
            paths: by.paths.then(|| manifest.sources.clone()),
            tags: by.tags.then_some(tags),
            writer: manifest.writer(),
        }
    }
}

/// A group, and the decisions for its snapshots, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The shared properties.
    pub key: GroupKey,
    /// The decision for each snapshot.
    pub decisions: Vec<Decision>,
}

/// Groups snapshots, keeping their order within each group.
pub fn group<'a>(
    snapshots: impl Iterator<Item = &'a Snapshot>,
    by: GroupBy,
) -> BTreeMap<GroupKey, Vec<&'a Snapshot>> {
    let mut groups: BTreeMap<GroupKey, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        groups.entry(GroupKey::of(snapshot, by)).or_default().push(snapshot);
    }
    groups
}

/// Decides for each group of the selected snapshots. `all` are those of the repository, oldest first.
pub fn decide(
    all: &[Snapshot],
    selection: &SnapshotFilter,
    by: GroupBy,
    rules: &[Rule],
    now: &Now,
) -> Vec<Group> {
    let groups = group(all.iter().filter(|snapshot| selection.admits(&snapshot.manifest)), by);
    let decided = |(key, group): (GroupKey, Vec<&Snapshot>)| {
        let decisions = policy::decide(&group, all, rules, now);
        Group { key, decisions }
    };
    groups.into_iter().map(decided).collect()
}
