//! Writes the files of a batch: each worker takes one block after another. A file gets its final name when
//! its last part is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::fs::target::NewFile;
use crate::model::entry::ContentPart;
use crate::model::id::ChunkId;
use crate::ops::restore::Job;
use crate::ops::restore::batch::plan::Plan;
use crate::ops::restore::batch::{ChunkWrite, FileBatch, FilePlan, FileState};
use crate::ops::restore::overwrite::Action;
use crate::progress::Event;
use crate::repo::index::{Index, Location};
use crate::repo::read::chunk_reader::{self, BlockReader, ChunkReader};
use crate::util::{parallel, threads};

impl Job<'_> {
    /// Reads and decodes each block once, and writes its chunks to all files that need them.
    pub(super) fn write_blocks(&self, index: &Index, batch: &FileBatch, writes: &[ChunkWrite]) -> Result<()> {
        let blocks: Vec<&[ChunkWrite]> = writes.chunk_by(|a, b| a.block == b.block).collect();
        parallel::share_out("restore", threads::workers(), &blocks, |queue| {
            // Chunks that do not match their ids are read by `fallback`, which finds other copies.
            let mut reader = BlockReader::new(self.repo)?.without_verifying_bases();
            let mut fallback = ChunkReader::following(&self.session)?;
            let mut plain = Vec::new();
            for (_, writes) in queue {
                self.check_stop()?;
                let Some(first) = writes.first() else { continue };
                let read = reader.read(index, first.block, &mut plain).is_ok();
                self.write_block(batch, writes, read.then_some(plain.as_slice()), &mut fallback);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Writes a block's chunks. If the block could not be read (`plain` is `None`), or a chunk does not match
    /// its id, `fallback` reads the chunk: it finds intact copies and chunks that were moved.
    fn write_block(
        &self,
        batch: &FileBatch,
        writes: &[ChunkWrite],
        plain: Option<&[u8]>,
        fallback: &mut ChunkReader,
    ) {
        let mut verified: Option<ChunkId> = None;
        for write in writes {
            let slice = batch.slices.get(write.slice as usize);
            let (Some(slice), Some((offset, ContentPart::Chunk { id, len }))) =
                (slice, batch.part(write.part))
            else {
                continue;
            };
            let bytes = match plain {
                Some(plain) if verified == Some(id) => {
                    plain.get(write.start as usize..write.start as usize + len as usize)
                }
                Some(plain) => {
                    let location = Location { block: write.block, start: write.start, len };
                    let hasher = self.repo.hasher();
                    chunk_reader::verified_chunk(hasher, ChunkType::Data, &id, plain, &location).ok()
                }
                None => None,
            };
            if let Some(bytes) = bytes {
                verified = Some(id);
                self.write_chunk(&slice.file, offset, bytes);
                continue;
            }
            match fallback.get(ChunkType::Data, &id) {
                Ok(bytes) => self.write_chunk(&slice.file, offset, &bytes),
                Err(err) => self.fail_file(&slice.file, &err),
            }
        }
    }

    fn write_chunk(&self, file: &FilePlan, offset: u64, bytes: &[u8]) {
        let open = match self.open_file(file) {
            Ok(Some(open)) => open,
            Ok(None) => return,
            Err(err) => return self.fail_file(file, &err),
        };
        if let Err(err) = open.write_at(offset, bytes) {
            return self.fail_file(file, &err);
        }
        drop(open);
        self.tally.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.observer.notice(Event::Done { files: 0, bytes: bytes.len() as u64 });
        self.part_done(file);
    }

    /// Counts a part of the file as done, and finishes the file after the last one.
    pub(super) fn part_done(&self, file: &FilePlan) {
        if file.parts_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(file);
        }
    }

    /// Returns the file to write to, opening it if necessary; `None` if it has failed or is finished.
    pub(super) fn open_file(&self, file: &FilePlan) -> Result<Option<Arc<NewFile>>> {
        let mut state = file.state.lock();
        if let FileState::Waiting = *state {
            let (target, size) = (self.target()?, file.size);
            let new = match file.plan.get() {
                // If the file is in one batch and no part of the existing file is equal, it is written anew.
                Some(Plan::Update(existing))
                    if file.has_equal_parts.load(Ordering::Relaxed)
                        || file.spans_batches.load(Ordering::Relaxed) =>
                {
                    let in_place = Plan::may_update_in_place(existing, self.options.overwrite);
                    target.update(&file.path, size, existing, in_place)?
                }
                _ => target.new_file(&file.path, size)?,
            };
            *state = FileState::Open(Arc::new(new));
        }
        Ok(match &*state {
            FileState::Open(open) => Some(Arc::clone(open)),
            _ => None,
        })
    }

    /// Records a failure of a file, unless it has failed before. Nothing more is written to it.
    pub(super) fn fail_file(&self, file: &FilePlan, err: &Error) {
        let mut state = file.state.lock();
        if !matches!(*state, FileState::Failed) {
            *state = FileState::Failed;
            drop(state);
            self.mark_not_restored(&file.path, file.meta.link, true);
            self.record_error(&file.path, err);
        }
    }

    /// Sets the name and attributes of a file whose parts are all written, and counts it.
    fn finish(&self, file: &FilePlan) {
        let action = match self.try_finish(file) {
            Ok(Some(action)) => action,
            Ok(None) => return,
            Err(err) => return self.fail_file(file, &err),
        };
        if matches!(action, Action::Created | Action::Updated) {
            self.tally.files_written.fetch_add(1, Ordering::Relaxed);
        }
        self.observer.notice(Event::Done { files: 1, bytes: 0 });
        self.record_action(action, &file.path, file.size);
    }

    /// As [`Job::finish`], without counting. Returns `None` if the file has failed or is finished already.
    fn try_finish(&self, file: &FilePlan) -> Result<Option<Action>> {
        let previous = {
            let mut state = file.state.lock();
            match &*state {
                FileState::Failed | FileState::Done => return Ok(None),
                FileState::Waiting | FileState::Open(_) => std::mem::replace(&mut *state, FileState::Done),
            }
        };
        let plan = file.plan.get().copied().unwrap_or(Plan::Create(None));
        let open = match (previous, plan) {
            (_, Plan::Keep) => return Ok(Some(Action::Kept)),
            (FileState::Waiting, Plan::AssumeEqual(existing) | Plan::Update(existing)) => {
                return self.finish_unchanged(file, &existing).map(Some);
            }
            (FileState::Waiting, Plan::Create(found)) if self.options.dry_run => {
                if found.is_some_and(|found| found.is_dir()) {
                    self.make_room(&file.path)?;
                }
                return Ok(Some(found.map_or(Action::Created, |_| Action::Updated)));
            }
            (FileState::Open(open), _) => open,
            (_, _) => Arc::new(self.target()?.new_file(&file.path, file.size)?),
        };
        // This thread has the only reference: the others dropped theirs before they called `part_done`.
        let open = Arc::into_inner(open).ok_or(Error::Stopped)?;
        match plan {
            Plan::Create(Some(found)) if found.is_dir() => self.make_room(&file.path)?,
            _ => {}
        }
        let meta = self.with_xattr_values(&file.meta)?;
        if matches!(plan, Plan::Create(None)) {
            open.finish_new(&meta)?;
            return Ok(Some(Action::Created));
        }
        open.finish(&meta)?;
        Ok(Some(Action::Updated))
    }
}
