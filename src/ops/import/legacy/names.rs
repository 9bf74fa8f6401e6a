//! Maps member names of the legacy backup script's archives to stored paths. In a full, names begin with the
//! last component of a source (`data/...`). In other archives they are relative to the script's working
//! directory (`srv/app/data/...`).

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::fs::sources::{self, SourceNode};
use crate::ops::import::members;
use crate::ops::import::tree::Names;

/// A source of the script.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Its path, relative to the script's working directory.
    pub(crate) given: Names,
    /// Its path in snapshots.
    pub(crate) stored: Names,
}

/// Returns the sources to record in snapshots, and the stored path of each. If none are given, the archives'
/// directory is recorded.
pub(crate) fn sources(paths: &[PathBuf], dir: &Path) -> Result<(Vec<ByteBuf>, Vec<Source>)> {
    if paths.is_empty() {
        let dir = std::fs::canonicalize(dir).map_err(Error::io("find", dir))?;
        return Ok((vec![ByteBuf::from(dir.as_os_str().as_bytes())], Vec::new()));
    }
    let planned = sources::plan(paths, None)?;
    let mut sources = Vec::new();
    for source in paths {
        let usage = |why| Error::Usage(format!("{}: {why}", source.display()));
        let parts = source.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        });
        let given: Vec<&[u8]> = parts.collect();
        let given = members::names_of(&given.join(&b'/')).map_err(usage)?;
        sources.push(Source { given, stored: stored_path(source)? });
    }
    Ok((planned.sources.into_iter().map(ByteBuf::from).collect(), sources))
}

/// Returns the path at which `backup` would store a source.
fn stored_path(source: &Path) -> Result<Names> {
    let plan = sources::plan(&[source.to_path_buf()], None)?;
    let (mut place, mut names) = (&plan.root, Names::new());
    while let SourceNode::Ancestor { below, .. } = place {
        let Some((name, next)) = below.first_key_value() else { break };
        names.push(name.clone());
        place = next;
    }
    Ok(names)
}

/// Returns a member's path in the snapshot. `roots` are the top-level names of the full.
pub(crate) fn map_member(names: Names, is_full: bool, roots: &[Vec<u8>], sources: &[Source]) -> Names {
    if !is_full {
        // Sources may be nested: the longest matching one is used.
        let matching = sources
            .iter()
            .filter_map(|source| names.strip_prefix(source.given.as_slice()).map(|rest| (source, rest)));
        if let Some((source, rest)) = matching.max_by_key(|(source, _)| source.given.len()) {
            return source.stored.iter().chain(rest).cloned().collect();
        }
    }
    // The path inside a source begins at the leftmost component that is the last component of a source.
    let is_root = |name: &Vec<u8>| {
        roots.contains(name) || sources.iter().any(|source| source.given.last() == Some(name))
    };
    let start = if is_full { Some(0) } else { names.iter().position(is_root) };
    let Some(inside) = start.and_then(|start| names.get(start..)) else { return names };
    let source = sources.iter().find(|source| source.given.last() == inside.first());
    match (source, inside.split_first()) {
        (Some(source), Some((_, rest))) => source.stored.iter().chain(rest).cloned().collect(),
        _ => inside.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, is_full: bool, sources: &[(&str, &str)]) -> String {
        let names = |path: &str| members::names_of(path.as_bytes()).unwrap();
        let sources =
            sources.iter().map(|(given, stored)| Source { given: names(given), stored: names(stored) });
        let sources: Vec<_> = sources.collect();
        let roots = [b"data".to_vec(), b"uploads".to_vec()];
        String::from_utf8(map_member(names(path), is_full, &roots, &sources).join(&b'/')).unwrap()
    }

    #[test]
    fn names_of_incrementals_begin_where_a_source_begins() {
        assert_eq!(at("data/a", true, &[]), "data/a");
        assert_eq!(at("data/a", false, &[]), "data/a");
        assert_eq!(at("srv/app/data/a", false, &[]), "data/a");
        assert_eq!(at("srv/data/uploads/a", false, &[]), "data/uploads/a");
        assert_eq!(at("elsewhere/a", false, &[]), "elsewhere/a");
    }

    #[test]
    fn sources_that_are_named_stand_where_a_backup_would_put_them() {
        let sources = [("storage/data", "storage/data"), ("srv/uploads", "srv/uploads")];
        assert_eq!(at("data/a", true, &sources), "storage/data/a");
        assert_eq!(at("uploads/a", true, &sources), "srv/uploads/a");
        assert_eq!(at("storage/data/a", false, &sources), "storage/data/a");
        assert_eq!(at("app/storage/data/a", false, &sources), "storage/data/a");
    }
}
