//! Iterates over the parts of a file: all of them, or those of a range.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::part_list::ListPiece;
use crate::error::{self, Error, Result};
use crate::model::entry::{Content, ContentPart};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::plausible::{MAX_DEPTH, check_len, corrupt_tree};
use crate::util::zeros;

/// Provides pieces of part lists.
pub trait PartListSource {
    /// Returns a piece.
    ///
    /// # Errors
    /// When it is missing, damaged or not a list piece.
    fn list(&mut self, id: &ChunkId) -> Result<Arc<ListPiece>>;
}

impl PartListSource for ChunkReader {
    fn list(&mut self, id: &ChunkId) -> Result<Arc<ListPiece>> {
        decode(id, &self.get(ChunkType::Tree, id)?).map(Arc::new)
    }
}

/// Decodes a piece of a part list.
pub(crate) fn decode(id: &ChunkId, bytes: &[u8]) -> Result<ListPiece> {
    ListPiece::decode(bytes).map_err(Error::damaged(format!("list {}", id.short())))
}

/// Calls `each` for every part of a file in order.
///
/// # Errors
/// When a piece of its list is missing or damaged, or its length differs from its description.
pub fn each_part(
    reader: &mut ChunkReader,
    size: u64,
    content: &Content,
    each: &mut dyn FnMut(ContentPart) -> Result<()>,
) -> Result<()> {
    match content {
        Content::Parts(parts) => parts.iter().try_for_each(|part| each(*part)),
        Content::List(_) => each_part_in(reader, size, content, 0..u64::MAX, &mut |_, part| each(part)),
    }
}

/// Like [`each_part`], but only for parts that overlap a range, each with its offset in the file.
/// Pieces of the list outside the range are not read.
///
/// # Errors
/// As [`each_part`].
pub fn each_part_in(
    reader: &mut dyn PartListSource,
    size: u64,
    content: &Content,
    range: Range<u64>,
    each: &mut dyn FnMut(u64, ContentPart) -> Result<()>,
) -> Result<()> {
    let is_in = |at: u64, len: u64| at < range.end && at.saturating_add(len) > range.start;
    let mut each_in_range = |parts: &[ContentPart], mut at: u64| {
        for part in parts {
            if is_in(at, part.len()) {
                each(at, *part)?;
            }
            at = at.saturating_add(part.len());
        }
        Ok(())
    };
    let root = match content {
        Content::Parts(parts) => return each_in_range(parts, 0),
        Content::List(root) => *root,
    };
    let mut pending = vec![(root, 0, 0, size)];
    while let Some((id, depth, mut at, len)) = pending.pop() {
        let piece = reader.list(&id)?;
        let sum = match &*piece {
            ListPiece::Leaf(parts) => sum(parts.iter().map(ContentPart::len)),
            ListPiece::Index(kids) => sum(kids.iter().map(|kid| kid.len)),
        };
        if sum != Some(len) {
            return Err(corrupt_tree("the parts of a file do not add up to its size"));
        }
        match &*piece {
            ListPiece::Leaf(parts) => each_in_range(parts, at)?,
            ListPiece::Index(_) if depth >= MAX_DEPTH => {
                return Err(corrupt_tree("the part list is nested too deeply"));
            }
            ListPiece::Index(kids) => {
                let first = pending.len();
                for kid in kids {
                    if is_in(at, kid.len) {
                        pending.push((kid.id, depth + 1, at, kid.len));
                    }
                    at = at.saturating_add(kid.len);
                }
                if let Some(kids) = pending.get_mut(first..) {
                    kids.reverse();
                }
            }
        }
    }
    Ok(())
}

/// Passes the bytes of a range of a file to `out` in order, part by part, holes as zeros. For small reads
/// here and there; large sequential reads use [`sequential`](crate::repo::read::sequential), which reads
/// ahead.
///
/// # Errors
/// As [`each_part`]; when a chunk is missing, damaged, or has another length than described; what `out`
/// returns.
pub fn read_range(
    reader: &mut ChunkReader,
    size: u64,
    content: &Content,
    range: Range<u64>,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut parts = Vec::new();
    each_part_in(reader, size, content, range.clone(), &mut |at, part| {
        parts.push((at, part));
        Ok(())
    })?;
    for (at, part) in parts {
        let start = range.start.saturating_sub(at);
        let end = part.len().min(range.end.saturating_sub(at));
        let (id, len) = match part {
            ContentPart::Hole { .. } => {
                zeros::pass_on(end.saturating_sub(start), out)?;
                continue;
            }
            ContentPart::Chunk { id, len } => (id, len),
        };
        let chunk = reader.get(ChunkType::Data, &id)?;
        check_len(&chunk, len)?;
        // Both offsets are at most a chunk's length.
        out(error::part(&chunk, start as usize..end as usize, "a range ends within its chunk")?)?;
    }
    Ok(())
}

/// Sums the lengths. `None` if one is zero (there could be any number of those) or the sum is too large.
fn sum(mut lengths: impl Iterator<Item = u64>) -> Option<u64> {
    lengths.try_fold(0u64, |sum, len| sum.checked_add(len).filter(|_| len > 0))
}
