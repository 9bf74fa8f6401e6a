//! A sink for new chunks: a writer or, in a dry run, a counter.

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::repo::index::Index;
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::pack_writer::Written;
use crate::repo::write::put_chunk::PutChunk;

/// Counts the chunks that would be stored.
#[derive(Debug)]
pub struct ChunkCounter {
    index: Arc<Index>,
    counted: HashSet<ChunkId>,
    written: Written,
}

impl PutChunk for ChunkCounter {
    fn index(&self) -> &Index {
        &self.index
    }

    fn put_similar(
        &mut self,
        _owner: u32,
        kind: ChunkType,
        id: ChunkId,
        plain: &[u8],
        _similar: &[(ChunkId, u32)],
    ) -> Result<bool> {
        let is_new = self.index.find(kind, &id)?.is_none() && self.counted.insert(id);
        if is_new {
            self.written.count(kind, 1, plain.len() as u64);
        }
        Ok(is_new)
    }
}

/// Stores chunks, or counts those that would be stored.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum ChunkSink<'scope> {
    /// Stores them.
    Writer(ChunkWriter<'scope>),
    /// Counts them. Keeps their ids, so that each is counted once.
    Counter(ChunkCounter),
}

impl ChunkSink<'_> {
    /// Creates a sink that only counts the chunks that the index lacks.
    pub fn counting(index: &Arc<Index>) -> Self {
        let (index, counted, written) = (Arc::clone(index), HashSet::new(), Written::default());
        Self::Counter(ChunkCounter { index, counted, written })
    }

    /// Returns the writer or the counter.
    pub fn chunks(&mut self) -> &mut dyn PutChunk {
        match self {
            Self::Writer(chunk_writer) => chunk_writer,
            Self::Counter(counter) => counter,
        }
    }

    /// Makes everything durable, unless `producer` failed: see [`ChunkWriter::finish`].
    ///
    /// # Errors
    /// As [`ChunkWriter::finish`].
    pub fn finish<T>(self, producer: Result<T>) -> Result<(T, Written)> {
        match self {
            Self::Writer(chunk_writer) => chunk_writer.finish(producer),
            Self::Counter(counter) => producer.map(|produced| (produced, counter.written)),
        }
    }
}
