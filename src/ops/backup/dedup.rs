//! Opens the session at the first chunk, and passes chunks to the `ChunkSink`, which decides dedup. In a dry
//! run there is no session: the sink only counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Scope;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::ChunkId;
use crate::ops::backup::Run;
use crate::repo::commit::write_session::{self, ParentTrust};
use crate::repo::index::Index;
use crate::repo::options::DEFAULT_LEVEL;
use crate::repo::sessions::session::Session;
use crate::repo::write::chunk_sink::ChunkSink;
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy, MAX_HARDER_BYTES};
use crate::repo::write::pack_writer::Written;
use crate::repo::write::put_chunk::PutChunk;
use crate::repo::write::similarity::Pieces;

/// Plain bytes that a run with a parent compresses at a higher level: about a second of one core.
const HARDER_BYTES: u64 = 64 << 20;
/// One more byte is compressed at that level for this many bytes that are read and cut, which costs a few
/// percent of the time that these take.
const READ_PER_HARDER_BYTE: u64 = 96;

/// Returns the compression policy of a run that has read this many bytes.
fn compression_policy(run: &Run<'_>, read: u64) -> CompressionPolicy {
    let level = run.options.level.unwrap_or(run.repo.config().level);
    let allowed = (HARDER_BYTES + read / READ_PER_HARDER_BYTE).min(MAX_HARDER_BYTES);
    let harder = if compresses_harder(run) { allowed } else { 0 };
    CompressionPolicy { level, harder }
}

/// Returns whether the higher level is used: only if neither a level was requested nor the repository was
/// configured for speed.
fn compresses_harder(run: &Run<'_>) -> bool {
    let is_slow_enough = run.repo.config().level >= DEFAULT_LEVEL;
    run.options.level.is_none() && is_slow_enough && run.parent_choice.parent.is_some()
}

/// Stores new chunks. The sink and its session are opened at the first one.
pub(super) struct DedupWriter<'run, 'scope, 'env> {
    pub(super) run: &'env Run<'run>,
    scope: &'scope Scope<'scope, 'env>,
    session: Option<Session>,
    sink: Option<ChunkSink<'scope>>,
    /// Bytes of files that were read before the sink was opened.
    read: u64,
}

impl<'run, 'scope, 'env> DedupWriter<'run, 'scope, 'env>
where
    'env: 'scope,
{
    /// Makes a writer without opening anything.
    pub(super) fn new(run: &'env Run<'run>, scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { run, scope, session: None, sink: None, read: 0 }
    }

    /// Stores a piece of a directory or part list of this owner. `pieces` are its pieces in the parent. If
    /// these `exist`, as those of a directory do, they are not stored again.
    pub(super) fn put_tree(
        &mut self,
        owner: u32,
        bytes: &[u8],
        (pieces, exist): (&mut Pieces, bool),
    ) -> Result<ChunkId> {
        let id = self.run.repo.hasher().id_of(ChunkType::Tree, bytes);
        if let Some(memory) = self.run.repo.memory() {
            memory.add_chunk(id, bytes);
        }
        let like = pieces.similar_to_next();
        if exist && pieces.known.contains(&id) {
            return Ok(id);
        }
        let like = if self.run.may_use_deltas { like } else { Vec::new() };
        let known = self.run.index.lengths(ChunkType::Tree, &like)?;
        self.put_chunk(owner, (ChunkType::Tree, id), bytes, &known)?;
        Ok(id)
    }

    /// Stores a chunk of this owner, possibly as a delta against similar chunks.
    pub(super) fn put_chunk(
        &mut self,
        owner: u32,
        (kind, id): (ChunkType, ChunkId),
        plain: &[u8],
        like: &[(ChunkId, u32)],
    ) -> Result<()> {
        self.sink()?.put_similar(owner, kind, id, plain, like).map(|_| ())
    }

    /// Stores the chunks of a batch, which has one owner, as one block, if possible. In a dry run each chunk
    /// is looked up separately.
    pub(super) fn put_whole(&mut self, chunks: &[(ChunkId, u32)], plain: &mut Vec<u8>) -> Result<bool> {
        if chunks.is_empty() {
            return Ok(false);
        }
        self.sink()?.put_whole(ChunkType::Data, chunks, plain)
    }

    /// Counts bytes of files that were read.
    pub(super) fn count_read(&mut self, bytes: u64) {
        match &mut self.sink {
            Some(ChunkSink::Writer(writer)) if compresses_harder(self.run) => {
                writer.add_harder(bytes / READ_PER_HARDER_BYTE)
            }
            Some(_) => {}
            None => self.read += bytes,
        }
    }

    /// Keeps what follows of this owner out of the blocks of what came before.
    pub(super) fn close_blocks(&mut self, owner: u32) -> Result<()> {
        let Some(ChunkSink::Writer(writer)) = self.sink.as_mut() else { return Ok(()) };
        writer.close_blocks(owner, ChunkType::Data)
    }

    /// Returns the sink, which it opens if necessary.
    fn sink(&mut self) -> Result<&mut dyn PutChunk> {
        if self.sink.is_none() {
            if self.run.options.dry_run {
                self.sink = Some(ChunkSink::counting(&self.run.index));
            } else {
                self.open()?;
            }
        }
        self.sink.as_mut().map(ChunkSink::chunks).ok_or(Error::Stopped)
    }

    /// Opens the session, visible before the listings that dedup relies on (W1, W2), and the sink.
    fn open(&mut self) -> Result<()> {
        let run = self.run;
        let (session, repo_state) = write_session::open(run.repo)?;
        let still_allows = || repo_state.still_allows(run.index.repo_state());
        let is_reusable = match run.parent_choice.compare.as_ref() {
            // A past state also reuses chunks of other states than its parent, looked up before the session.
            _ if run.options.recorded.is_some() && !still_allows() => false,
            None => true,
            // No chunk of a stream was looked up before the session, and a full backup looks up none.
            Some(_) if run.options.stdin.is_some() || run.parent_choice.rereads => true,
            Some(parent) if run.parent_choice.trusted => {
                write_session::trust(run.repo, &repo_state, &[parent.id])? == ParentTrust::Whole
            }
            // The parent's chunks were looked up one by one, but before the session.
            Some(_) => still_allows(),
        };
        if !is_reusable {
            run.parent_invalidated.store(true, Ordering::Relaxed);
            return Err(Error::Stopped);
        }
        let index = if repo_state == *run.index.repo_state() {
            Arc::clone(&run.index)
        } else {
            Arc::new(Index::load(run.repo, repo_state)?)
        };
        let policy = compression_policy(run, self.read);
        let writer = ChunkWriter::start(self.scope, run.repo, session.id, index, policy, &run.stored)?;
        self.sink = Some(ChunkSink::Writer(writer));
        self.session = Some(session);
        Ok(())
    }

    /// Returns the stored bytes of all sealed blocks so far, including those of unfinished packs.
    pub(super) fn sealed_bytes(&self) -> u64 {
        match &self.sink {
            Some(ChunkSink::Writer(writer)) => writer.sealed_bytes(),
            _ => 0,
        }
    }

    /// Makes everything durable, unless `producer` failed. Returns the session, if any, and the totals.
    pub(super) fn finish(self, producer: Result<()>) -> Result<(Option<Session>, Written)> {
        match self.sink {
            Some(sink) => sink.finish(producer).map(|((), written)| (self.session, written)),
            None => producer.map(|()| (None, Written::default())),
        }
    }
}
