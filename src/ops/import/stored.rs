//! The tree of a snapshot that an earlier import made, to go on from there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::observe::Observer;
use crate::ops::import::tree::Node;
use crate::ops::import::tree::Tree;
use crate::store::chunks::ChunkReader;
use crate::store::index::Index;
use crate::store::repository::Repository;
use crate::store::session::Session;
use crate::store::snapshots::Snapshot;
use crate::store::trees::Budget;
use crate::store::trees::DirStream;

struct Open {
    name: Vec<u8>,
    stream: DirStream,
    node: Node,
}

/// Reads it.
///
/// # Errors
/// When any of it is missing or damaged.
pub(super) fn tree(repo: &Repository, snapshot: &Snapshot, observer: &dyn Observer) -> Result<Tree> {
    // R1: until all is read.
    let (_session, sight) = Session::open_to_read(repo, observer)?;
    let mut reader = ChunkReader::new(repo, Arc::new(Index::load(repo, sight)?))?;
    let mut budget = Budget::of(&snapshot.manifest.counts);
    let mut groups = HashMap::new();
    let stream = DirStream::new(snapshot.manifest.root);
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
            let inside = Open { name, stream: DirStream::new(tree), node: Node::new(kind, meta) };
            above.push(std::mem::replace(&mut root, inside));
        } else {
            root.node.put(name, Node::new(kind, meta).in_group(group));
        }
    }
}
