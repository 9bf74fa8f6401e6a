//! W2: checks whether new data may reference the chunks of an existing snapshot.

use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::entry::{Content, Entry, Kind, Part};
use crate::model::id::{ChunkId, SnapshotId};
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::walk::dir_reader;
use crate::repo::walk::dir_reader::DirReader;
use crate::storage::ObjectKind;

/// Returns whether a snapshot is listed; called by a session that has just begun.
///
/// # Errors
/// When they cannot be listed.
pub fn is_listed(repo: &Repository, id: &SnapshotId) -> Result<bool> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    Ok(listed.iter().any(|found| found.name == id.hex()))
}

/// Returns whether new data may reference everything below a root tree. `false` if some of it is missing or
/// damaged.
///
/// # Errors
/// When the storage fails.
pub fn stands(repo: &Repository, index: &Arc<Index>, root: &ChunkId) -> Result<bool> {
    let mut reader = ChunkReader::new(repo, Arc::clone(index))?;
    let mut open = vec![DirReader::new(*root)];
    let sound = |found: Result<bool>| match found {
        Err(err) if err.is_damage() => Ok(false),
        other => other,
    };
    while let Some(dir) = open.last_mut() {
        let entry = match dir.next(&mut reader) {
            Err(err) if err.is_damage() => return Ok(false),
            other => other?,
        };
        let Some(entry) = entry else {
            for id in &dir.pieces {
                if index.find(ChunkType::Tree, id)?.is_none() {
                    return Ok(false);
                }
            }
            open.pop();
            continue;
        };
        if !sound(entry_stands(&mut reader, &entry))? {
            return Ok(false);
        }
        if let Kind::Dir { tree } = &entry.kind {
            open.push(DirReader::new(*tree));
        }
    }
    Ok(true)
}

/// Returns whether new data may reference all chunks of an entry itself.
///
/// # Errors
/// When a part list is missing or damaged, or the storage fails.
pub fn entry_stands(reader: &mut ChunkReader, entry: &Entry) -> Result<bool> {
    for (size, content) in entry.contents() {
        if !content_stands(reader, size, content)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn content_stands(reader: &mut ChunkReader, size: u64, content: &Content) -> Result<bool> {
    let index = Arc::clone(reader.index());
    let mut sound = true;
    let pieces = dir_reader::list_pieces(reader, content)?;
    for id in &pieces {
        sound &= index.find(ChunkType::Tree, id)?.is_some();
    }
    dir_reader::each_part(reader, size, content, &mut |part| {
        if let Part::Chunk { id, .. } = part {
            sound &= index.find(ChunkType::Data, &id)?.is_some();
        }
        Ok(())
    })?;
    Ok(sound)
}
