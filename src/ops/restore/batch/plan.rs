//! Compares existing files with the snapshot, and plans to write only the parts that differ. This reads no
//! data from the repository: the existing bytes of each part are hashed and compared with its chunk id.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::fs::target::{self, Existing};
use crate::model::entry::ContentPart;
use crate::model::id::ChunkId;
use crate::ops::restore::Job;
use crate::ops::restore::batch::{ChunkWrite, FileBatch, FilePlan, FileSlice, FileState};
use crate::ops::restore::overwrite::{Action, Overwrite};
use crate::progress::Event;
use crate::repo::index::{BlockAt, Index};
use crate::util::{parallel, threads};

/// Minimum size in bytes of a file that is updated in place. A smaller one is written to a temporary file,
/// which is renamed.
const MIN_IN_PLACE: u64 = 1 << 20;

/// How a file is restored.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::restore) enum Plan {
    /// Write all of it, and replace the existing entry, if any.
    Create(Option<Existing>),
    /// Write the parts that differ.
    Update(Existing),
    /// Write attributes only: the file has the snapshot's size and time, and its content is not compared.
    AssumeEqual(Existing),
    /// Leave the existing entry as it is.
    Keep,
}

impl Plan {
    /// Returns whether a file is updated in place: it is large enough, and the rule allows it.
    pub(in crate::ops::restore) fn may_update_in_place(existing: &Existing, rule: Overwrite) -> bool {
        existing.size() >= MIN_IN_PLACE && rule.allows_update_in_place()
    }
}

impl Job<'_> {
    /// Returns the chunks to write, sorted by block. Files that need none are finished here.
    pub(in crate::ops::restore) fn plan_batch(
        &self,
        index: &Arc<Index>,
        batch: &FileBatch,
    ) -> Result<Vec<ChunkWrite>> {
        let found = parallel::share_out("restore", threads::workers(), &batch.slices, |queue| {
            let (mut writes, mut buffer) = (Vec::new(), Vec::new());
            for (number, slice) in queue {
                self.check_stop()?;
                match self.plan_slice((index, batch), number as u32, slice, &mut writes, &mut buffer) {
                    Ok(()) => {}
                    Err(err @ Error::Interrupted) => return Err(err),
                    Err(err) => self.fail_file(&slice.file, &err),
                }
            }
            Ok(writes)
        })?;
        let mut writes = found.concat();
        writes.sort_unstable();
        Ok(writes)
    }

    fn plan_slice(
        &self,
        now: (&Arc<Index>, &FileBatch),
        number: u32,
        slice: &FileSlice,
        writes: &mut Vec<ChunkWrite>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let file = &*slice.file;
        if matches!(*file.state.lock(), FileState::Failed) {
            return Ok(());
        }
        let plan = match file.plan.get() {
            Some(plan) => plan,
            None => {
                let plan = self.choose_plan(file)?;
                file.plan.get_or_init(|| plan)
            }
        };
        match plan {
            Plan::Keep | Plan::AssumeEqual(_) => {}
            Plan::Create(_) => self.plan_missing_parts(now, number, slice, writes, |_, _| Ok(false))?,
            Plan::Update(existing) => {
                let old = self.target()?.read(&file.path, Some(existing))?;
                self.plan_missing_parts(now, number, slice, writes, |offset, part| {
                    self.check_stop()?;
                    let same = self.has_part(&old, offset, part, buffer);
                    let note = if same { &file.has_equal_parts } else { &file.has_different_parts };
                    note.store(true, Ordering::Relaxed);
                    Ok(same)
                })?;
            }
        }
        if slice.last {
            self.part_done(file);
        }
        Ok(())
    }

    fn choose_plan(&self, file: &FilePlan) -> Result<Plan> {
        let (Some(target), false) = (&self.target, file.dir_is_new) else { return Ok(Plan::Create(None)) };
        let Some(existing) = target.existing(&file.path)? else { return Ok(Plan::Create(None)) };
        let rule = self.options.overwrite;
        if rule.keeps(&existing, &file.meta) {
            return Ok(Plan::Keep);
        }
        if existing.is_dir() && !self.options.delete {
            self.make_room(&file.path)?;
        }
        if !existing.is_file() || target.read(&file.path, Some(&existing)).is_err() {
            return Ok(Plan::Create(Some(existing)));
        }
        let same_size_and_time = existing.size() == file.size && existing.mtime() == file.meta.mtime;
        if same_size_and_time && rule == Overwrite::IfChanged {
            return Ok(Plan::AssumeEqual(existing));
        }
        Ok(Plan::Update(existing))
    }

    /// Locates the chunks of the parts that are not present. If one is not found, the file fails and nothing
    /// of the slice is written.
    fn plan_missing_parts(
        &self,
        (index, batch): (&Arc<Index>, &FileBatch),
        number: u32,
        slice: &FileSlice,
        writes: &mut Vec<ChunkWrite>,
        mut is_present: impl FnMut(u64, ContentPart) -> Result<bool>,
    ) -> Result<()> {
        let (file, before) = (&*slice.file, writes.len());
        let mut missing_bytes = 0;
        let mut holes = Vec::new();
        for (part, offset, what) in batch.parts(slice)? {
            if is_present(offset, what)? {
                self.observer.notice(Event::Done { files: 0, bytes: what.len() });
                continue;
            }
            let (id, len) = match what {
                ContentPart::Chunk { id, len } => (id, len),
                ContentPart::Hole { len } => {
                    self.observer.notice(Event::Done { files: 0, bytes: len });
                    holes.push((offset, len));
                    continue;
                }
            };
            match index.find_any(ChunkType::Data, &id)?.filter(|location| location.len == len) {
                Some(found) => {
                    missing_bytes += u64::from(len);
                    writes.push(ChunkWrite { block: found.block, start: found.start, slice: number, part });
                }
                None if self.has_moved(index, &id, len)? => {
                    missing_bytes += u64::from(len);
                    writes.push(ChunkWrite { block: BlockAt::NOWHERE, start: 0, slice: number, part });
                }
                None => {
                    writes.truncate(before);
                    return Err(Error::Missing { what: format!("chunk {}", id.short()) });
                }
            }
        }
        if self.options.dry_run {
            self.tally.bytes_written.fetch_add(missing_bytes, Ordering::Relaxed);
            writes.truncate(before);
            return Ok(());
        }
        file.parts_left.fetch_add(writes.len() - before, Ordering::AcqRel);
        if matches!(file.plan.get(), Some(Plan::Update(_))) && !holes.is_empty() {
            let Some(open) = self.open_file(file)? else { return Ok(()) };
            return holes.iter().try_for_each(|(offset, len)| open.punch(*offset, *len));
        }
        Ok(())
    }

    /// Returns whether a newer listing of packs has a chunk that `index` lacks (R1): gc may have moved it
    /// while the index was loaded. Such a chunk is read by its id, without a location.
    fn has_moved(&self, index: &Arc<Index>, id: &ChunkId, len: u32) -> Result<bool> {
        let Some(newer) = self.session.newer_index(index)? else { return Ok(false) };
        Ok(newer.find_any(ChunkType::Data, id)?.is_some_and(|location| location.len == len))
    }

    /// Returns whether the file has the part's bytes at its offset. False if it cannot be read.
    fn has_part(&self, old: &File, offset: u64, part: ContentPart, buffer: &mut Vec<u8>) -> bool {
        match part {
            ContentPart::Hole { len } => target::is_zero(old, offset, len).unwrap_or(false),
            ContentPart::Chunk { id, len } => {
                buffer.resize(len as usize, 0);
                old.read_exact_at(buffer, offset).is_ok()
                    && self.repo.hasher().id_of(ChunkType::Data, buffer) == id
            }
        }
    }

    /// Finishes a file of which no chunks were written. Its length or attributes may still differ.
    pub(in crate::ops::restore) fn finish_unchanged(
        &self,
        file: &FilePlan,
        existing: &Existing,
    ) -> Result<Action> {
        let (target, meta) = (self.target()?, self.with_xattr_values(&file.meta)?);
        let differs = file.has_different_parts.load(Ordering::Relaxed) || existing.size() != file.size;
        if self.options.dry_run {
            let same = !differs && target.is_set(&file.path, existing, &meta);
            return Ok(if same { Action::Unchanged } else { Action::Updated });
        }
        if !differs && target.is_set(&file.path, existing, &meta) {
            return Ok(Action::Unchanged);
        }
        if !differs && !existing.has_other_names() {
            target.set(&file.path, existing, &meta)?;
            return Ok(Action::Updated);
        }
        // Attributes belong to the inode, which may have other hard links outside the target: this name gets
        // its own inode.
        let in_place = Plan::may_update_in_place(existing, self.options.overwrite);
        target.update(&file.path, file.size, existing, in_place)?.finish(&meta)?;
        Ok(Action::Updated)
    }
}
