//! `history`: lists every distinct version of one path in many snapshots, and which of them have it.

use std::sync::Arc;

use crate::error::{Error, Problem, Result};
use crate::model::entry::Entry;
use crate::model::entry_diff;
use crate::progress::{Control, Event};
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::walk::multi_walk::EntryVersion;
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::walk::{multi_walk, snapshot_set};
use crate::util::bitset::BitSet;

/// Which path, and where to look.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to search.
    pub choice: SnapshotQuery,
    /// The stored path; leading and trailing slashes are ignored.
    pub path: Vec<u8>,
}

/// The versions of a path.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// All snapshots that were searched, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The path, as stored.
    pub path: Vec<u8>,
    /// Distinct versions, ordered by the first snapshot that has them. The entry is that of the newest one.
    pub versions: Vec<EntryVersion>,
    /// For each host and sources that no longer have the path: index of the first snapshot without it.
    pub gone: Vec<usize>,
    /// Paths that could not be read because of damage, and why.
    pub problems: Vec<Problem>,
}

/// Finds the versions of a path.
///
/// # Errors
/// When a selector names nothing, no snapshot holds the path, the storage fails, or the run was interrupted.
/// Damage is listed in the report.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let path = snapshot_set::stored_path(&options.path)?;
    let mut past = SnapshotSet::open_query(repo, observer, &options.choice)?;
    let (trees, mut bounds) = (past.roots(), past.bounds(stop));
    let mut problems = Vec::new();
    let mut lost = |dir: &[u8], err: Error| {
        let problem = Problem::of(dir, &err);
        observer.notice(Event::Problem(&problem));
        problems.push(problem);
        Ok(())
    };
    let found = multi_walk::look_up(&mut past.reader, trees, &path, &mut lost, &mut bounds)?;
    if found.is_empty() && problems.is_empty() {
        let path = String::from_utf8_lossy(&path);
        let name = path.rsplit('/').next().unwrap_or_default();
        return Err(Error::NotFound {
            what: format!("none of the selected snapshots has '{path}'"),
            help: format!("`Repository::find('{name}')` lists the paths with this name"),
        });
    }
    let versions = group(found);
    let gone = gone(&past, &versions);
    let snapshots = past.snapshots.clone();
    past.close()?;
    Ok(Report { snapshots, path, versions, gone, problems })
}

/// Merges versions that a user cannot tell apart.
fn group(found: Vec<EntryVersion>) -> Vec<EntryVersion> {
    let mut groups: Vec<EntryVersion> = Vec::new();
    for version in found {
        match groups.iter_mut().find(|known| is_same(&known.entry, &version.entry)) {
            Some(known) => {
                if version.among.last() > known.among.last() {
                    known.entry = version.entry;
                }
                Arc::make_mut(&mut known.among).add(&version.among);
            }
            None => groups.push(version),
        }
    }
    groups
}

/// Returns whether two entries of one path are the same version for a user. A directory differs if anything
/// in it does.
pub fn is_same(a: &Entry, b: &Entry) -> bool {
    let content = entry_diff::same_content(a, b) && (!a.is_dir() || a.kind == b.kind);
    entry_diff::same_type(a, b) && content && entry_diff::metadata(&a.meta, &b.meta).is_empty()
}

fn gone(past: &SnapshotSet, versions: &[EntryVersion]) -> Vec<usize> {
    let mut having = BitSet::default();
    versions.iter().for_each(|version| having.add(&version.among));
    let mut gone = BitSet::default();
    for set in past.group_by_source() {
        // A partial snapshot may lack the path only because its run was interrupted.
        let whole = |number: &usize| past.snapshots.get(*number).is_some_and(|one| !one.manifest.partial);
        let last = set.iter().filter(|number| having.has(*number)).last();
        let after = last.and_then(|last| set.iter().filter(whole).find(|number| *number > last));
        if let Some(number) = after {
            gone.insert(number);
        }
    }
    gone.iter().collect()
}
