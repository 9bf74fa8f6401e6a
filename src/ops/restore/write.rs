//! Fills the files of a batch: workers take one block after another. A file is renamed when its last part is
//! written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::fs::target::NewFile;
use crate::model::entry::ContentPart;
use crate::model::id::ChunkId;
use crate::ops::restore::Job;
use crate::ops::restore::batch::plan::Plan;
use crate::ops::restore::batch::{ChunkUse, FileBatch, FilePlan, State};
use crate::ops::restore::overwrite::Action;
use crate::progress::Event;
use crate::repo::index::{Index, Location};
use crate::repo::read::chunk_reader::{self, BlockReader, ChunkReader};
use crate::util::{parallel, threads};

impl Job<'_> {
    /// Reads and decodes each block once, and writes its chunks to all their places.
    pub(super) fn fill(&self, index: &Index, window: &FileBatch, uses: &[ChunkUse]) -> Result<()> {
        let blocks: Vec<&[ChunkUse]> = uses.chunk_by(|a, b| a.block == b.block).collect();
        parallel::share_out("restore", threads::workers(), &blocks, |queue| {
            // Chunks that do not match their ids are read by `spare`, which finds other copies.
            let mut reader = BlockReader::new(self.repo)?.without_naming_bases();
            let mut spare = ChunkReader::following(&self.reading)?;
            let mut plain = Vec::new();
            for (_, uses) in queue {
                self.check_stop()?;
                let Some(first) = uses.first() else { continue };
                let read = reader.read(index, first.block, &mut plain).is_ok();
                self.block(window, uses, read.then_some(plain.as_slice()), &mut spare);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes a block's chunks. A chunk that does not match its id is read by `spare`, which succeeds if
    /// another copy is intact or the chunk was moved.
    fn block(&self, window: &FileBatch, uses: &[ChunkUse], plain: Option<&[u8]>, spare: &mut ChunkReader) {
        let mut sound: Option<ChunkId> = None;
        for one in uses {
            let segment = window.segments.get(one.segment as usize);
            let (Some(segment), Some((at, ContentPart::Chunk { id, len }))) =
                (segment, window.part(one.part))
            else {
                continue;
            };
            let bytes = match plain {
                Some(plain) if sound == Some(id) => {
                    plain.get(one.start as usize..one.start as usize + len as usize)
                }
                Some(plain) => {
                    let location = Location { block: one.block, start: one.start, len };
                    chunk_reader::slice(self.repo.hasher(), ChunkType::Data, &id, plain, &location).ok()
                }
                None => None,
            };
            if let Some(bytes) = bytes {
                sound = Some(id);
                self.write(&segment.file, at, bytes);
                continue;
            }
            match spare.get(ChunkType::Data, &id) {
                Ok(bytes) => self.write(&segment.file, at, &bytes),
                Err(err) => self.fail(&segment.file, &err),
            }
        }
    }

    fn write(&self, file: &FilePlan, at: u64, bytes: &[u8]) {
        let open = match self.open(file) {
            Ok(Some(open)) => open,
            Ok(None) => return,
            Err(err) => return self.fail(file, &err),
        };
        if let Err(err) = open.write_at(at, bytes) {
            return self.fail(file, &err);
        }
        drop(open);
        self.tally.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.observer.notice(Event::Done { files: 0, bytes: bytes.len() as u64 });
        self.count_down(file);
    }

    /// Counts one part of this file as done, and finishes the file after the last.
    pub(super) fn count_down(&self, file: &FilePlan) {
        if file.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(file);
        }
    }

    /// Returns the file to write to, opening it if necessary; `None` if it has failed or is finished.
    pub(super) fn open(&self, file: &FilePlan) -> Result<Option<Arc<NewFile>>> {
        let mut state = file.state.lock();
        if let State::Waiting = *state {
            let (target, size) = (self.target()?, file.size);
            let new = match file.plan.get() {
                // A file within one batch of which no part is right needs nothing of the old file.
                Some(Plan::Mend(existing))
                    if file.agrees.load(Ordering::Relaxed) || file.spans.load(Ordering::Relaxed) =>
                {
                    let stays = Plan::may_stay(existing, self.options.overwrite);
                    target.update(&file.path, size, existing, stays)?
                }
                _ => target.new_file(&file.path, size)?,
            };
            *state = State::Open(Arc::new(new));
        }
        Ok(match &*state {
            State::Open(open) => Some(Arc::clone(open)),
            _ => None,
        })
    }

    pub(super) fn fail(&self, file: &FilePlan, err: &Error) {
        let mut state = file.state.lock();
        if !matches!(*state, State::Failed) {
            *state = State::Failed;
            drop(state);
            self.mark_wrong(&file.path, file.meta.link, true);
            self.problem(&file.path, err);
        }
    }

    /// Gives a file whose parts are all written its name and attributes.
    fn finish(&self, file: &FilePlan) {
        let done = match self.finished(file) {
            Ok(Some(did)) => did,
            Ok(None) => return,
            Err(err) => return self.fail(file, &err),
        };
        if matches!(done, Action::Created | Action::Updated) {
            self.tally.files_written.fetch_add(1, Ordering::Relaxed);
        }
        self.observer.notice(Event::Done { files: 1, bytes: 0 });
        self.record_action(done, &file.path, file.size);
    }

    fn finished(&self, file: &FilePlan) -> Result<Option<Action>> {
        let was = {
            let mut state = file.state.lock();
            match &*state {
                State::Failed | State::Done => return Ok(None),
                State::Waiting | State::Open(_) => std::mem::replace(&mut *state, State::Done),
            }
        };
        let plan = file.plan.get().copied().unwrap_or(Plan::Create(None));
        let open = match (was, plan) {
            (_, Plan::Keep) => return Ok(Some(Action::Kept)),
            (State::Waiting, Plan::Trust(existing) | Plan::Mend(existing)) => {
                return self.finish_unchanged(file, &existing).map(Some);
            }
            (State::Waiting, Plan::Create(found)) if self.options.dry_run => {
                if found.is_some_and(|found| found.is_dir()) {
                    self.make_way(&file.path)?;
                }
                return Ok(Some(found.map_or(Action::Created, |_| Action::Updated)));
            }
            (State::Open(open), _) => open,
            (_, _) => Arc::new(self.target()?.new_file(&file.path, file.size)?),
        };
        // The thread that wrote the last part has the last reference: the others dropped theirs before
        // counting down.
        let open = Arc::into_inner(open).ok_or(Error::Stopped)?;
        match plan {
            Plan::Create(Some(found)) if found.is_dir() => self.make_way(&file.path)?,
            _ => {}
        }
        let meta = self.whole(&file.meta)?;
        if matches!(plan, Plan::Create(None)) {
            open.finish_new(&meta)?;
            return Ok(Some(Action::Created));
        }
        open.finish(&meta)?;
        Ok(Some(Action::Updated))
    }
}
