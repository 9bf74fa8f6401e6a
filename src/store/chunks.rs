//! Reading chunks: a block is fetched, opened and unpacked, and every chunk taken from it must have its id.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::block::BlockOpener;
use crate::codec::hash::ChunkType;
use crate::codec::hash::Namer;
use crate::error::Error;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::model::malformed::Malformed;
use crate::store::index::BlockAt;
use crate::store::index::Index;
use crate::store::index::Location;
use crate::store::repository::Repository;
use crate::store::storage::Area;
use crate::store::storage::Storage;

/// Decoded blocks kept: neighbours in a tree lie in few blocks.
const KEPT: usize = 12;

/// Reads blocks; one per thread.
#[derive(Debug)]
pub struct BlockReader {
    storage: Arc<dyn Storage>,
    opener: BlockOpener,
    sealed: Vec<u8>,
}

impl BlockReader {
    /// For a repository.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(repo: &Repository) -> Result<Self> {
        let opener = BlockOpener::new(repo.ring().clone()).map_err(Error::damaged("a block reader"))?;
        Ok(Self { storage: Arc::clone(repo.shared_storage()), opener, sealed: Vec::new() })
    }

    /// Replaces `plain` by a block's bytes.
    ///
    /// # Errors
    /// When the pack is gone or the block is damaged.
    pub fn read(&mut self, index: &Index, at: BlockAt, plain: &mut Vec<u8>) -> Result<()> {
        let place =
            index.place(at).ok_or_else(|| Error::Missing { what: "a block of an unknown pack".into() })?;
        let name = place.pack.hex();
        self.sealed.resize(place.stored as usize, 0);
        self.storage.read_range(Area::Packs, &name, u64::from(place.offset), &mut self.sealed)?;
        self.opener
            .open(place.kind, place.codec, place.plain, &mut self.sealed, plain)
            .map_err(Error::damaged(Area::Packs.path(&name)))
    }
}

/// The bytes of a chunk in its block, if they are what the id says.
///
/// # Errors
/// When they are not.
pub fn slice<'a>(
    namer: &Namer,
    kind: ChunkType,
    id: &ChunkId,
    block: &'a [u8],
    location: &Location,
) -> Result<&'a [u8]> {
    let start = location.start as usize;
    let bytes = block.get(start..start + location.len as usize);
    bytes.filter(|bytes| namer.name(kind, bytes) == *id).ok_or_else(|| Error::Damaged {
        what: format!("chunk {}", id.short()),
        source: Malformed::because("its bytes do not have its id"),
    })
}

/// Reads single chunks, trees mostly, through a few kept blocks.
#[derive(Debug)]
pub struct ChunkReader {
    reader: BlockReader,
    namer: Namer,
    index: Arc<Index>,
    kept: VecDeque<(BlockAt, Arc<Vec<u8>>)>,
}

impl ChunkReader {
    /// Over an index.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn new(repo: &Repository, index: Arc<Index>) -> Result<Self> {
        let reader = BlockReader::new(repo)?;
        Ok(Self { reader, namer: repo.namer().clone(), index, kept: VecDeque::new() })
    }

    /// The index it reads through.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// A chunk's bytes. Where one copy is damaged, the others are tried.
    ///
    /// # Errors
    /// When no copy is whole.
    pub fn get(&mut self, kind: ChunkType, id: &ChunkId) -> Result<Vec<u8>> {
        let missing = || Error::Missing { what: format!("chunk {}", id.short()) };
        let index = Arc::clone(&self.index);
        let first = index.find_any(kind, id).ok_or_else(missing)?;
        let failed = match self.at(kind, id, &first) {
            Ok(bytes) => return Ok(bytes),
            Err(err) if err.is_damage() => err,
            Err(err) => return Err(err),
        };
        let mut others = index.copies(kind, id).filter(|copy| copy.0 != first);
        others.find_map(|copy| self.at(kind, id, &copy.0).ok()).ok_or(failed)
    }

    fn at(&mut self, kind: ChunkType, id: &ChunkId, location: &Location) -> Result<Vec<u8>> {
        let block = self.block(location.block)?;
        slice(&self.namer, kind, id, &block, location).map(<[u8]>::to_vec)
    }

    fn block(&mut self, at: BlockAt) -> Result<Arc<Vec<u8>>> {
        if let Some((_, block)) = self.kept.iter().find(|(kept, _)| *kept == at) {
            return Ok(Arc::clone(block));
        }
        let mut plain = Vec::new();
        self.reader.read(&self.index, at, &mut plain)?;
        let block = Arc::new(plain);
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((at, Arc::clone(&block)));
        Ok(block)
    }
}
