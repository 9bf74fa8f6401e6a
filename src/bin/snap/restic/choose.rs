//! Selects snapshots as restic does.

use std::os::unix::ffi::OsStrExt;

use snap_backup::fs::sources;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::repo::snapshots::{self, Snapshot};
use snap_backup::{Error, Result};

use super::flags::Filters;
use super::{codes, ids};
use crate::args::keep::split_list;
use crate::terminal::output;

/// Converts restic's filter flags.
///
/// # Errors
/// When the working directory is unknown.
pub(super) fn selection(filters: &Filters) -> Result<SnapshotFilter> {
    let mut paths = Vec::new();
    for path in &filters.path {
        paths.push(sources::absolute(path)?.as_os_str().as_bytes().to_vec());
    }
    let tags = filters.tag.iter().map(|tags| split_list(tags)).collect();
    Ok(SnapshotFilter { hosts: filters.hosts(), tags, paths, sources: None })
}

/// Returns the snapshots with these ids; without ids, all complete snapshots that match the filters. Unknown
/// ids are reported and ignored.
///
/// # Errors
/// When the repository cannot be read.
pub(super) fn several(repo: &Repository, named: &[String], filters: &Filters) -> Result<Vec<Snapshot>> {
    let all = snapshots::list(repo)?;
    let selection = selection(filters)?;
    if named.is_empty() {
        let is_meant = |one: &Snapshot| !one.manifest.partial && selection.admits(&one.manifest);
        return Ok(all.into_iter().filter(is_meant).collect());
    }
    let mut chosen: Vec<Snapshot> = Vec::new();
    for name in named {
        match pick(&all, name, &selection) {
            Ok(one) if chosen.iter().any(|known| known.id == one.id) => {}
            Ok(one) => chosen.push(one),
            Err(Error::NoSnapshot { .. }) => {
                output::eprint(&output::printable(&format!(
                    "Ignoring \"{name}\": {}",
                    codes::no_match(name)
                )));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(chosen)
}

/// Returns the named snapshot, and the stored path after the colon. The filters apply only to `latest`.
///
/// # Errors
/// When there is no such snapshot.
pub(super) fn one(repo: &Repository, named: &str, filters: &Filters) -> Result<(Snapshot, Option<Vec<u8>>)> {
    let path = ids::cut(named).1.map(|path| stored(path.as_bytes())).filter(|path| !path.is_empty());
    Ok((pick(&snapshots::list(repo)?, named, &selection(filters)?)?, path))
}

fn pick(all: &[Snapshot], named: &str, selection: &SnapshotFilter) -> Result<Snapshot> {
    let name = ids::cut(named).0;
    let none = || Error::NoSnapshot { selector: named.to_owned(), why: String::new() };
    if name.starts_with("latest") {
        let query = snapshots::Query { selector: name.as_bytes(), among: Some(selection) };
        return snapshots::resolve_in(all, query).map(|(found, _)| found).map_err(|_| none());
    }
    // Only prefixes of ids are accepted here, not snap's times.
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none());
    }
    if all.iter().filter(|one| one.id.hex().starts_with(&name.to_ascii_lowercase())).count() > 1 {
        return Err(Error::Usage(format!("multiple IDs with prefix \"{name}\" found")));
    }
    snapshots::resolve_in(all, name).map(|(found, _)| found).map_err(|_| none())
}

/// Returns a query for exactly these snapshots.
pub(super) fn exactly(chosen: &[Snapshot]) -> SnapshotQuery {
    SnapshotQuery { selectors: chosen.iter().map(|one| one.id.hex()).collect(), ..SnapshotQuery::default() }
}

/// Returns a stored path: without slashes around it.
pub(super) fn stored(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(part, [] | [b'.']));
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Returns a selector of a snapshot, or of a path in it.
pub(super) fn selector(snapshot: &Snapshot, path: &[u8]) -> Vec<u8> {
    let mut selector = snapshot.id.hex().into_bytes();
    if !path.is_empty() {
        selector.extend_from_slice(b":/");
        selector.extend_from_slice(path);
    }
    selector
}

/// Returns the tags of all lists without empty ones.
pub(super) fn tags(lists: &[String]) -> Vec<String> {
    let tags = lists.iter().flat_map(|tags| split_list(tags));
    tags.filter(|tag| !tag.is_empty()).collect()
}
