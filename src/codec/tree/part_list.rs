//! Part lists: the parts of a file that has too many of them for its entry.

use serde::{Deserialize, Serialize};

use crate::codec::tree::dir::{LIST_INDEX, LIST_LEAF, split_tag};
use crate::codec::tree::entry_ext;
use crate::codec::tree::split::RecordSplitter;
use crate::codec::wire;
use crate::error::Result;
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart};
use crate::model::id::ChunkId;

/// Maximum number of parts in an entry.
pub const MAX_INLINE: usize = 1024;

/// A child of an index piece of a part list. Frozen: format version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListChild {
    /// Id of the child's chunk.
    pub id: ChunkId,
    /// Bytes of the file that it covers.
    pub len: u64,
}

/// A piece of a part list, stored as one chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum ListPiece {
    /// Parts, in order.
    Leaf(Vec<ContentPart>),
    /// References to further pieces.
    Index(Vec<ListChild>),
}

/// Collects a file's parts and stores each piece as soon as it is full. `put` stores a tree chunk.
#[derive(Debug, Default)]
pub struct ListBuilder {
    parts: Vec<ContentPart>,
    kids: Vec<ListChild>,
    splitter: RecordSplitter,
    /// Whether the parts are too many for the entry.
    is_list: bool,
}

impl ListBuilder {
    /// Adds a part.
    ///
    /// # Errors
    /// A piece cannot be stored.
    pub fn push(&mut self, part: ContentPart, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<()> {
        if self.is_list {
            return self.add(part, put);
        }
        self.parts.push(part);
        if self.parts.len() > MAX_INLINE {
            self.is_list = true;
            for part in std::mem::take(&mut self.parts) {
                self.add(part, put)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, part: ContentPart, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<()> {
        let hash = match part {
            ContentPart::Chunk { id, .. } => id.prefix(),
            ContentPart::Hole { len } => len.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        self.parts.push(part);
        if self.splitter.ends_after(36, || hash) {
            self.close_leaf(put)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<()> {
        let len = self.parts.iter().map(ContentPart::len).sum();
        let id = put(&piece(LIST_LEAF, &self.parts)?)?;
        self.kids.push(ListChild { id, len });
        self.parts.clear();
        Ok(())
    }

    /// Stores what is left and returns the content for the entry.
    ///
    /// # Errors
    /// A piece cannot be stored.
    pub fn finish(mut self, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<Content> {
        if !self.is_list {
            return Ok(Content::Parts(self.parts));
        }
        if !self.parts.is_empty() {
            self.close_leaf(put)?;
        }
        let mut kids = self.kids;
        while kids.len() > 1 {
            let mut above = Vec::new();
            let mut open = Vec::new();
            let mut splitter = RecordSplitter::default();
            for kid in kids {
                open.push(kid);
                if splitter.ends_after(38, || kid.id.prefix()) {
                    above.push(close_index(&mut open, put)?);
                }
            }
            if !open.is_empty() {
                above.push(close_index(&mut open, put)?);
            }
            kids = above;
        }
        let root = kids.first().map(|kid| Content::List(kid.id));
        Ok(root.unwrap_or(Content::Parts(Vec::new())))
    }
}

fn close_index(
    open: &mut Vec<ListChild>,
    put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>,
) -> Result<ListChild> {
    let len = open.iter().map(|kid| kid.len).sum();
    let id = put(&piece(LIST_INDEX, open)?)?;
    open.clear();
    Ok(ListChild { id, len })
}

fn piece<T: Serialize>(tag: u8, value: &T) -> Result<Vec<u8>> {
    wire::append(value, vec![tag]).map_err(crate::error::Error::making("a list"))
}

impl ListPiece {
    /// Decodes a tree chunk that should be a piece of a part list.
    ///
    /// # Errors
    /// The chunk is not a valid piece of a part list.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let empty = DecodeError::because("a piece of a part list is empty");
        match split_tag(bytes)? {
            (LIST_LEAF, rest) => {
                let parts: Vec<ContentPart> = wire::decode(rest)?;
                entry_ext::check_parts(&parts)?;
                if parts.is_empty() { Err(empty) } else { Ok(Self::Leaf(parts)) }
            }
            (LIST_INDEX, rest) => {
                let kids: Vec<ListChild> = wire::decode(rest)?;
                if kids.is_empty() { Err(empty) } else { Ok(Self::Index(kids)) }
            }
            _ => Err(DecodeError::because("it is not a piece of a part list")),
        }
    }
}
