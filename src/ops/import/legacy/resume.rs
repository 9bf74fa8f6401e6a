//! Loads the tree of a snapshot that an earlier import made, to continue from there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::ops::import::tree::{Node, Tree};
use crate::progress::Observer;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::{DirReader, WalkLimits};

struct Open {
    name: Vec<u8>,
    stream: DirReader,
    node: Node,
}

/// Reads the tree of a snapshot into memory.
///
/// # Errors
/// When any of it is missing or damaged.
pub(crate) fn tree(repo: &Repository, snapshot: &Snapshot, observer: &dyn Observer) -> Result<Tree> {
    // R1: the session is open until everything is read.
    let session = Arc::new(ReadSession::open(repo, observer)?);
    if !session.snapshots()?.iter().any(|one| one.id == snapshot.id) {
        let why = "it was forgotten meanwhile: run the import again".to_owned();
        return Err(Error::NoSnapshot { selector: snapshot.id.short(), why });
    }
    session.begin(&[snapshot.id])?;
    let mut reader = session.chunks()?;
    let mut budget = WalkLimits::of(&snapshot.manifest.counts);
    let mut groups = HashMap::new();
    let stream = DirReader::new(snapshot.manifest.root);
    let mut root = Open { name: Vec::new(), stream, node: Node::passage() };
    let mut above: Vec<Open> = Vec::new();
    loop {
        let Some(entry) = root.stream.next(&mut reader)? else {
            let Some(next) = above.pop() else { return Ok(Tree::of(root.node, groups.len() as u64)) };
            let done = std::mem::replace(&mut root, next);
            root.node.put(done.name, done.node);
            continue;
        };
        budget.take(&entry.name, &entry)?;
        let Entry { name, kind, mut meta } = entry;
        let link = std::mem::take(&mut meta.link);
        let next = groups.len() as u64 + 1;
        let group = if link == 0 { 0 } else { *groups.entry(link).or_insert(next) };
        if let Kind::Dir { tree } = kind {
            let inside = Open { name, stream: DirReader::new(tree), node: Node::new(kind, meta) };
            above.push(std::mem::replace(&mut root, inside));
        } else {
            root.node.put(name, Node::new(kind, meta).in_group(group));
        }
    }
}
