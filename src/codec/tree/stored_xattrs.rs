//! Extended attributes in entries: small values are stored in the entry, large ones become chunks.

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::model::entry::{Content, ContentPart, Xattr, XattrValue};
use crate::model::id::ChunkId;

/// Maximum total bytes of values in one entry: enough for ACLs, capabilities and labels.
const MAX_INLINE: usize = 512;

/// A value that is to be stored as a data chunk.
#[derive(Debug)]
pub struct Value {
    /// Id of the chunk.
    pub id: ChunkId,
    /// Bytes of the chunk.
    pub bytes: Vec<u8>,
}

/// Splits attributes, sorted by name, into those of the entry and the values that must be stored as chunks.
pub fn split_values(hasher: &ChunkHasher, found: Vec<(Vec<u8>, Vec<u8>)>) -> (Vec<Xattr>, Vec<Value>) {
    let (mut all, mut large) = (Vec::with_capacity(found.len()), Vec::new());
    let mut inline = 0;
    for (name, bytes) in found {
        let value = if inline + bytes.len() <= MAX_INLINE {
            inline += bytes.len();
            XattrValue::Inline(bytes)
        } else {
            let id = hasher.id_of(ChunkType::Data, &bytes);
            let part = ContentPart::Chunk { id, len: bytes.len() as u32 };
            let size = bytes.len() as u64;
            large.push(Value { id, bytes });
            XattrValue::Content { size, content: Content::Parts(vec![part]) }
        };
        all.push(Xattr { name, value });
    }
    (all, large)
}
