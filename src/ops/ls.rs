//! `ls`: lists the entries of a snapshot.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{self, Query, Snapshot};
use crate::repo::walk::dir_reader::{self, WalkLimits};
use crate::repo::walk::tree_walk::TreeWalk;

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
    let selected = select(repo, query)?;
    selected.list(levels, each)?;
    Ok(selected.snapshot)
}

/// A snapshot, or a part of one, to be listed.
pub struct Selected {
    session: Arc<ReadSession>,
    snapshot: Snapshot,
    path: Option<Vec<u8>>,
}

/// Selects what to list, for a caller that needs the snapshot before its entries.
///
/// # Errors
/// When the selector names nothing.
pub fn select<'a>(repo: &Repository, query: impl Into<Query<'a>>) -> Result<Selected> {
    let session = Arc::new(ReadSession::open(repo, repo.control().observer())?);
    let (snapshot, path) = snapshots::resolve(repo, &session.snapshots()?, query)?;
    Ok(Selected { session, snapshot, path })
}

impl Selected {
    /// Returns the snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Lists as [`run`] does.
    ///
    /// # Errors
    /// When the path is not in the snapshot, or a tree is damaged.
    pub fn list(&self, levels: Levels, each: &mut dyn FnMut(&[u8], &Entry) -> Result<()>) -> Result<()> {
        let Self { session, snapshot, path } = self;
        session.set_snapshots(&[snapshot.id])?;
        let mut reader = session.chunks()?;
        let recursive = match levels {
            Levels::One => false,
            Levels::All => true,
            Levels::AsNamed => path.is_none(),
        };
        let start = path.clone().unwrap_or_default();
        let mut tree = snapshot.manifest.root;
        for part in start.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            match dir_reader::child(&mut reader, tree, part)? {
                Some(Entry { kind: Kind::Dir { tree: below }, .. }) => tree = below,
                Some(entry) if start.ends_with(part) => {
                    each(&start, &entry)?;
                    return Ok(());
                }
                _ => {
                    return Err(Error::no_path(&snapshot.id, &start));
                }
            }
        }
        let mut walk = TreeWalk::below(start, tree, WalkLimits::of(&snapshot.manifest.counts), ());
        while let Some(entry) = walk.next_entry(&mut reader)? {
            each(walk.path(), &entry)?;
            if let Kind::Dir { tree } = entry.kind
                && recursive
            {
                walk.enter(tree, ())?;
            }
        }
        session.end()
    }
}
