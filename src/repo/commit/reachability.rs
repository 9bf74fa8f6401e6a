//! W2: checks whether new data may reference the chunks of an existing snapshot.

use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::walk::dir_reader::{self, WalkLimits};
use crate::repo::walk::file_parts;
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};

/// Returns whether new data may reference everything below a root tree. `false` if some of it is missing,
/// damaged or too deep to be walked.
///
/// # Errors
/// When the storage fails.
pub fn is_complete(repo: &Repository, index: &Arc<Index>, root: &ChunkId) -> Result<bool> {
    let mut reader = ChunkReader::new(repo, Arc::clone(index))?;
    let mut walk = TreeWalk::new(*root, WalkLimits::BOUNDLESS, ());
    let unless_damaged = |found: Result<bool>| match found {
        Err(err) if err.is_damage() => Ok(false),
        other => other,
    };
    while let Some(step) = walk.step(&mut reader)? {
        let is_usable = match step {
            WalkStep::Entry(entry) => {
                let enters = match entry.kind {
                    Kind::Dir { tree } => walk.enter(tree, ()).is_ok(),
                    _ => true,
                };
                enters && unless_damaged(entry_is_usable(&mut reader, &entry))?
            }
            WalkStep::Left { pieces, .. } => all_usable(index, &pieces)?,
            WalkStep::Excess(..) | WalkStep::Damaged(_) => false,
        };
        if !is_usable {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether new data may reference these pieces of trees.
///
/// # Errors
/// When a table cannot be read.
pub fn all_usable(index: &Index, pieces: &[ChunkId]) -> Result<bool> {
    for id in pieces {
        if index.find(ChunkType::Tree, id)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether new data may reference all chunks of an entry itself.
///
/// # Errors
/// When a part list is missing or damaged, or the storage fails.
pub fn entry_is_usable(reader: &mut ChunkReader, entry: &Entry) -> Result<bool> {
    for (size, content) in entry.contents() {
        if !content_is_usable(reader, size, content)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn content_is_usable(reader: &mut ChunkReader, size: u64, content: &Content) -> Result<bool> {
    let index = Arc::clone(reader.index());
    let mut is_usable = all_usable(&index, &dir_reader::list_pieces(reader, content)?)?;
    file_parts::each_part(reader, size, content, &mut |part| {
        if let ContentPart::Chunk { id, .. } = part {
            is_usable &= index.find(ChunkType::Data, &id)?.is_some();
        }
        Ok(())
    })?;
    Ok(is_usable)
}
