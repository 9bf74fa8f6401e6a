//! What no backup can have written: walks and readers refuse it before they allocate memory for it.

use crate::codec::chunk::chunker::MAX_CHUNK;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::ContentPart;

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
    Error::Damaged { what: "a tree".into(), source: DecodeError::because(why) }
}

/// Checks a directory piece, its first name and number of entries, against its parent's claim. Without this
/// check a directory could have an endless sequence of empty pieces.
///
/// # Errors
/// They differ.
pub fn check_piece((name, entries): (&[u8], u64), found: (Option<&[u8]>, u64)) -> Result<()> {
    let matches = found == (Some(name), entries);
    matches.then_some(()).ok_or_else(|| corrupt_tree("a piece differs from what its index records"))
}
