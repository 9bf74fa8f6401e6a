//! What no backup can have written: walks and readers refuse it before they allocate memory for it.

use crate::codec::chunk::chunker::MAX_CHUNK;
use crate::codec::tree::dir::DirPiece;
use crate::error::{Error, Result};
use crate::model::entry::ContentPart;
use crate::model::id::ChunkId;

/// Maximum nesting of index pieces: with hundreds of children each, four levels exceed any real directory.
pub(crate) const MAX_DEPTH: usize = 8;

/// Returns whether a part's length is plausible; readers allocate memory by it.
pub fn has_valid_len(part: &ContentPart) -> bool {
    match part {
        ContentPart::Chunk { len, .. } => *len <= MAX_CHUNK,
        ContentPart::Hole { .. } => true,
    }
}

/// Returns the error for a tree that no backup can have written.
pub fn corrupt_tree(why: &'static str) -> Error {
    Error::because("a tree", why)
}

/// Decodes a directory piece that lies below `depth` index pieces, and checks it against what its parent
/// claims, its first name and number of entries; a root has no claim.
///
/// # Errors
/// It is damaged, nested too deeply, or differs from the claim.
pub fn decode_piece(
    id: &ChunkId,
    bytes: &[u8],
    depth: usize,
    claimed: Option<(&[u8], u64)>,
) -> Result<DirPiece> {
    let piece = DirPiece::decode(bytes).map_err(Error::damaged(format!("tree {}", id.short())))?;
    if let Some(claimed) = claimed {
        check_piece(claimed, piece.first_and_entries())?;
    }
    if depth >= MAX_DEPTH && matches!(piece, DirPiece::Index(_)) {
        return Err(corrupt_tree("the tree is nested too deeply"));
    }
    Ok(piece)
}

/// Checks the first name and number of entries of a directory piece against its parent's claim. Without this
/// check a directory could have an endless sequence of empty pieces.
///
/// # Errors
/// They differ.
pub fn check_piece((name, entries): (&[u8], u64), found: (Option<&[u8]>, u64)) -> Result<()> {
    let matches = found == (Some(name), entries);
    matches.then_some(()).ok_or_else(|| corrupt_tree("a piece differs from what its index records"))
}

/// Checks the length of a chunk against that in the entry of its file.
///
/// # Errors
/// They differ.
pub fn check_len(chunk: &[u8], len: u32) -> Result<()> {
    let matches = chunk.len() as u64 == u64::from(len);
    matches.then_some(()).ok_or_else(|| corrupt_tree("the length of a chunk differs from that in its entry"))
}
