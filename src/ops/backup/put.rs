//! Where chunks go, with dedup decided by one owner: nowhere in a dry run, else to a sink.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Scope;

use crate::codec::hash::ChunkType;
use crate::error::Error;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::model::record::SessionKind;
use crate::ops::backup::Run;
use crate::store::index::Index;
use crate::store::repository::DEFAULT_LEVEL;
use crate::store::session::Session;
use crate::store::sink::Effort;
use crate::store::sink::Sink;
use crate::store::standing;

/// Bytes that a run with a parent packs harder: about a second of one core.
const HARDER: u64 = 64 << 20;

/// Who asks for a level gets it; who made the repository for speed, speed.
fn effort(run: &Run<'_>) -> Effort {
    let usual = run.repo.config().level;
    let little = run.options.level.is_none() && usual >= DEFAULT_LEVEL && run.basis.compare.is_some();
    Effort { level: run.options.level.unwrap_or(usual), harder: if little { HARDER } else { 0 } }
}

/// Where chunks go: nowhere in a dry run, else to a sink that is opened, with its session, at the first new one.
pub(super) struct Store<'run, 'scope, 'env> {
    pub(super) run: &'env Run<'run>,
    scope: &'scope Scope<'scope, 'env>,
    session: Option<Session>,
    sink: Option<Sink<'scope>>,
    dry: HashSet<ChunkId>,
    dry_added: u64,
}

impl<'run, 'scope, 'env> Store<'run, 'scope, 'env>
where
    'env: 'scope,
{
    /// Nothing is opened yet.
    pub(super) fn new(run: &'env Run<'run>, scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { run, scope, session: None, sink: None, dry: HashSet::new(), dry_added: 0 }
    }

    pub(super) fn put_tree(&mut self, bytes: &[u8], known: &[ChunkId]) -> Result<ChunkId> {
        let id = self.run.repo.namer().name(ChunkType::Tree, bytes);
        if !known.contains(&id) {
            self.put(ChunkType::Tree, id, bytes)?;
        }
        Ok(id)
    }

    pub(super) fn put(&mut self, kind: ChunkType, id: ChunkId, plain: &[u8]) -> Result<()> {
        if self.run.options.dry_run {
            if self.run.index.find(kind, &id)?.is_none() && self.dry.insert(id) {
                self.dry_added += plain.len() as u64;
            }
            return Ok(());
        }
        self.sink()?.put(kind, id, plain).map(|_| ())
    }

    /// Stores the chunks of a batch as a block, if it can be one; a dry run looks at each by itself.
    pub(super) fn put_whole(&mut self, chunks: &[(ChunkId, u32)], plain: &mut Vec<u8>) -> Result<bool> {
        if self.run.options.dry_run || chunks.is_empty() {
            return Ok(false);
        }
        self.sink()?.put_whole(ChunkType::Data, chunks, plain)
    }

    fn sink(&mut self) -> Result<&mut Sink<'scope>> {
        if self.sink.is_none() {
            self.open()?;
        }
        self.sink.as_mut().ok_or(Error::Stopped)
    }

    /// W1 and W2: the session is visible before the listings that dedup relies on.
    fn open(&mut self) -> Result<()> {
        let run = self.run;
        let (session, sight) = Session::open(run.repo, SessionKind::Writer)?;
        let stands = match run.basis.compare.as_ref() {
            None => true,
            Some(parent) if run.basis.trusted => {
                sight.vouches_for(&parent.id) && standing::is_listed(run.repo, &parent.id)?
            }
            // What was looked up one by one was looked up before there was a session.
            Some(_) => sight.still_has(run.index.sight()),
        };
        if !stands {
            run.distrust.store(true, Ordering::Relaxed);
            return Err(Error::Stopped);
        }
        let index = if sight == *run.index.sight() {
            Arc::clone(&run.index)
        } else {
            Arc::new(Index::load(run.repo, sight)?)
        };
        self.sink = Some(Sink::start(self.scope, run.repo, session.id, index, effort(run), &run.stored));
        self.session = Some(session);
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn finish(&mut self) -> Result<(Option<Session>, u64)> {
        let Some(sink) = self.sink.take() else { return Ok((None, self.dry_added)) };
        let added = sink.added();
        sink.finish()?;
        Ok((self.session.take(), added))
    }
}
