//! Virtual directories above the snapshots: directories of snapshots by name, and of links to them by host
//! and tag.

use crate::ops::mount::snapshot_list::SnapshotList;

/// A directory or link that is not in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Virtual {
    /// The root of the mount.
    Top,
    /// Directory of all snapshots.
    Snapshots,
    /// A directory for each host.
    Hosts,
    /// A directory for each tag.
    Tags,
    /// Links to the snapshots of this host.
    Host(String),
    /// Links to the snapshots with this tag.
    Tag(String),
    /// A symbolic link with this target.
    Link(String),
}

/// An entry of a virtual directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Child {
    /// Another virtual directory or link.
    Virtual(Virtual),
    /// The root of the snapshot of this name.
    Snapshot(String),
}

const LATEST: &str = "latest";

impl Virtual {
    /// Returns whether it is a link and not a directory.
    pub(super) fn is_link(&self) -> bool {
        matches!(self, Self::Link(_))
    }

    /// Returns the names of its entries.
    pub(super) fn names(&self, shown: &SnapshotList) -> Vec<String> {
        let with_latest = |names: &[String]| {
            let latest = shown.latest_of(names).map(|_| LATEST.to_owned());
            latest.into_iter().chain(names.iter().cloned()).collect()
        };
        match self {
            Self::Top => {
                let latest = shown.latest.as_ref().map(|_| LATEST);
                ["hosts", "snapshots", "tags"].into_iter().chain(latest).map(str::to_owned).collect()
            }
            Self::Snapshots => shown.snapshots.keys().cloned().collect(),
            Self::Hosts => shown.hosts.keys().cloned().collect(),
            Self::Tags => shown.tags.keys().cloned().collect(),
            Self::Host(host) => shown.hosts.get(host).map(|names| with_latest(names)).unwrap_or_default(),
            Self::Tag(tag) => shown.tags.get(tag).map(|names| with_latest(names)).unwrap_or_default(),
            Self::Link(_) => Vec::new(),
        }
    }

    /// Returns the entry of this name.
    pub(super) fn child(&self, name: &str, shown: &SnapshotList) -> Option<Child> {
        let link = |name: &String| Virtual::Link(format!("../../snapshots/{name}"));
        let among = |names: Option<&Vec<String>>| {
            let names = names?;
            if name == LATEST {
                return shown.latest_of(names).map(link);
            }
            names.iter().find(|one| *one == name).map(link)
        };
        let found = match self {
            Self::Top => match name {
                "hosts" => Some(Self::Hosts),
                "snapshots" => Some(Self::Snapshots),
                "tags" => Some(Self::Tags),
                LATEST => shown.latest.as_ref().map(|name| Self::Link(format!("snapshots/{name}"))),
                _ => None,
            },
            Self::Snapshots => {
                return shown.snapshots.contains_key(name).then(|| Child::Snapshot(name.to_owned()));
            }
            Self::Hosts => shown.hosts.contains_key(name).then(|| Self::Host(name.to_owned())),
            Self::Tags => shown.tags.contains_key(name).then(|| Self::Tag(name.to_owned())),
            Self::Host(host) => among(shown.hosts.get(host)),
            Self::Tag(tag) => among(shown.tags.get(tag)),
            Self::Link(_) => None,
        };
        found.map(Child::Virtual)
    }
}
