//! `ls`: lists the entries of a snapshot.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential::belonging;
use crate::repo::repository::Repository;
use crate::repo::snapshots;
use crate::repo::snapshots::{Query, Snapshot};
use crate::repo::walk::dir_reader::{DirReader, MAX_NESTING, WalkLimits};

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Levels {
    /// Only the entries of the directory.
    One,
    /// All entries below it.
    All,
    /// `All` for a whole snapshot, `One` for a path.
    AsNamed,
}

/// Calls `each` for every entry below the selected directory, in order, or for the selected file itself.
///
/// # Errors
/// When the selector names nothing or a tree is damaged.
pub fn run<'a>(
    repo: &Repository,
    query: impl Into<Query<'a>>,
    levels: Levels,
    each: &mut dyn FnMut(&[u8], &Entry) -> Result<()>,
) -> Result<Snapshot> {
    let session = Arc::new(ReadSession::open(repo, repo)?);
    let (snapshot, path) = snapshots::resolve(repo, &session.snapshots()?, query)?;
    session.begin(&[snapshot.id])?;
    let mut reader = session.chunks()?;
    let recursive = match levels {
        Levels::One => false,
        Levels::All => true,
        Levels::AsNamed => path.is_none(),
    };
    let start = path.unwrap_or_default();
    let mut tree = snapshot.manifest.root;
    for part in start.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        match crate::repo::walk::dir_reader::child(&mut reader, tree, part)? {
            Some(Entry { kind: Kind::Dir { tree: below }, .. }) => tree = below,
            Some(entry) if start.ends_with(part) => {
                each(&start, &entry)?;
                return Ok(snapshot);
            }
            _ => {
                return Err(Error::no_path(&snapshot.id, &start));
            }
        }
    }
    let mut budget = WalkLimits::of(&snapshot.manifest.counts);
    walk(&mut reader, tree, start, recursive, &mut |path, entry| {
        budget.take(path, entry)?;
        each(path, entry)
    })?;
    session.leave()?;
    Ok(snapshot)
}

fn walk(
    reader: &mut ChunkReader,
    tree: ChunkId,
    start: Vec<u8>,
    recursive: bool,
    each: &mut dyn FnMut(&[u8], &Entry) -> Result<()>,
) -> Result<()> {
    let mut open = vec![(start, DirReader::new(tree))];
    while let Some((base, dir)) = open.last_mut() {
        let Some(entry) = dir.next(reader).map_err(|err| belonging(base, err))? else {
            open.pop();
            continue;
        };
        let path =
            if base.is_empty() { entry.name.clone() } else { [base, b"/".as_slice(), &entry.name].concat() };
        each(&path, &entry)?;
        if let Kind::Dir { tree } = entry.kind
            && recursive
        {
            if open.len() >= MAX_NESTING {
                let path = String::from_utf8_lossy(&path).into_owned();
                return Err(Error::Refused(format!("{path}: too many directories inside one another")));
            }
            open.push((path, DirReader::new(tree)));
        }
    }
    Ok(())
}
