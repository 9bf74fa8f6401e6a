//! What a stored piece of a tree refers to.

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirPiece;
use crate::codec::tree::part_list::ListPiece;
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart, Kind};
use crate::model::id::ChunkId;

/// A reference to a chunk, with its role.
#[derive(Debug, Clone, Copy)]
pub enum ChunkRef {
    /// A piece of a directory.
    Dir(ChunkId),
    /// A piece of a part list.
    List(ChunkId),
    /// Bytes of a file.
    Data(ChunkId),
}

impl ChunkRef {
    /// Returns its type and id.
    pub fn type_and_id(&self) -> (ChunkType, &ChunkId) {
        match self {
            Self::Dir(id) | Self::List(id) => (ChunkType::Tree, id),
            Self::Data(id) => (ChunkType::Data, id),
        }
    }

    /// Returns the references in its bytes, in their order.
    ///
    /// # Errors
    /// The bytes are not those of a tree.
    pub fn references_in(&self, bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut found = Vec::new();
        match self {
            Self::Dir(_) => match DirPiece::decode(bytes)? {
                DirPiece::Index(kids) => found.extend(kids.iter().map(|kid| Self::Dir(kid.id))),
                DirPiece::Leaf(entries) => {
                    for entry in &entries {
                        if let Kind::Dir { tree } = &entry.kind {
                            found.push(Self::Dir(*tree));
                        }
                        for (_, content) in entry.contents() {
                            match content {
                                Content::List(list) => found.push(Self::List(*list)),
                                Content::Parts(parts) => found.extend(data_of(parts)),
                            }
                        }
                    }
                }
            },
            Self::List(_) => match ListPiece::decode(bytes)? {
                ListPiece::Index(kids) => found.extend(kids.iter().map(|kid| Self::List(kid.id))),
                ListPiece::Leaf(parts) => found.extend(data_of(&parts)),
            },
            Self::Data(_) => {}
        }
        Ok(found)
    }
}

fn data_of(parts: &[ContentPart]) -> impl Iterator<Item = ChunkRef> {
    parts.iter().filter_map(|part| match part {
        ContentPart::Chunk { id, .. } => Some(ChunkRef::Data(*id)),
        ContentPart::Hole { .. } => None,
    })
}
