//! Loads the tree of a snapshot that an earlier import made, to import the next archive on top of it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::ops::import::tree::{Node, Tree};
use crate::progress::Observer;
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential::with_path;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};

/// Reads the tree of a snapshot into memory.
///
/// # Errors
/// When any of it is missing or damaged.
pub(crate) fn load(repo: &Repository, snapshot: &Snapshot, observer: &dyn Observer) -> Result<Tree> {
    // R1: the session is open until everything is read.
    let session = Arc::new(ReadSession::open(repo, observer)?);
    if !session.snapshots()?.iter().any(|listed| listed.id == snapshot.id) {
        let why = "it was forgotten in the meantime: run the import again".to_owned();
        return Err(Error::NoSnapshot { selector: snapshot.id.short(), why });
    }
    session.set_snapshots(&[snapshot.id])?;
    let mut reader = session.chunks()?;
    let mut groups = HashMap::new();
    let limits = WalkLimits::of(&snapshot.manifest.counts);
    let mut walk = TreeWalk::new(snapshot.manifest.root, limits, (Vec::new(), Node::ancestor()));
    while let Some(step) = walk.step(&mut reader)? {
        let Entry { name, kind, mut meta } = match step {
            WalkStep::Entry(entry) => entry,
            WalkStep::Left { kept: (name, node), .. } => {
                let Some((_, above)) = walk.kept() else { return Ok(Tree::of(node, groups.len() as u64)) };
                above.add(name, node);
                continue;
            }
            WalkStep::Damaged(err) => return Err(with_path(walk.path(), err)),
            WalkStep::Excess(_, err) => return Err(err),
        };
        let link = std::mem::take(&mut meta.link);
        let next = groups.len() as u64 + 1;
        let group = if link == 0 { 0 } else { *groups.entry(link).or_insert(next) };
        if let Kind::Dir { tree } = kind {
            walk.enter(tree, (name, Node::new(kind, meta)))?;
        } else if let Some((_, above)) = walk.kept() {
            above.add(name, Node::new(kind, meta).in_group(group));
        }
    }
    Err(Error::Bug { what: "a walk ends with its root" })
}
