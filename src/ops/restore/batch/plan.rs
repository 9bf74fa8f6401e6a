//! Compares existing files with the snapshot and plans only what differs. The repository is not read for
//! this: the existing bytes are hashed range by range, and the hashes compared with the snapshot's chunk ids.

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
use crate::ops::restore::batch::{ChunkUse, FileBatch, FilePlan, FileSlice, State};
use crate::ops::restore::overwrite::{Action, Overwrite};
use crate::progress::Event;
use crate::repo::index::{BlockAt, Index};
use crate::util::{parallel, threads};

/// Minimum size of a file that is updated in place. Smaller ones are written to a temporary file and renamed.
const MIN_IN_PLACE: u64 = 1 << 20;

/// What to do about a file.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::restore) enum Plan {
    /// Write all of it, replacing what exists, if anything.
    Create(Option<Existing>),
    /// Write the ranges that differ.
    Mend(Existing),
    /// Do not compare: it has the snapshot's size and time.
    Trust(Existing),
    /// Leave what exists.
    Keep,
}

impl Plan {
    /// Returns whether a file is large enough, and the rule allows, to update it in place.
    pub(in crate::ops::restore) fn may_stay(existing: &Existing, rule: Overwrite) -> bool {
        existing.size() >= MIN_IN_PLACE && rule.mends_in_place()
    }
}

impl Job<'_> {
    /// Returns the chunks to read, sorted by block. Files that need none are finished here.
    pub(in crate::ops::restore) fn survey(
        &self,
        index: &Arc<Index>,
        window: &FileBatch,
    ) -> Result<Vec<ChunkUse>> {
        let found = parallel::share_out("restore", threads::workers(), &window.segments, |queue| {
            let (mut uses, mut buffer) = (Vec::new(), Vec::new());
            for (number, segment) in queue {
                self.check_stop()?;
                match self.plan_slice((index, window), number as u32, segment, &mut uses, &mut buffer) {
                    Ok(()) => {}
                    Err(err @ Error::Interrupted) => return Err(err),
                    Err(err) => self.fail(&segment.file, &err),
                }
            }
            Ok(uses)
        })?;
        let mut uses = found.concat();
        uses.sort_unstable();
        Ok(uses)
    }

    /// Plans one slice of a file.
    fn plan_slice(
        &self,
        now: (&Arc<Index>, &FileBatch),
        number: u32,
        segment: &FileSlice,
        uses: &mut Vec<ChunkUse>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let file = &*segment.file;
        if matches!(*file.state.lock(), State::Failed) {
            return Ok(());
        }
        let plan = match file.plan.get() {
            Some(plan) => plan,
            None => {
                let plan = self.decide(file)?;
                file.plan.get_or_init(|| plan)
            }
        };
        match plan {
            Plan::Keep | Plan::Trust(_) => {}
            Plan::Create(_) => self.need(now, number, segment, uses, |_, _| Ok(false))?,
            Plan::Mend(existing) => {
                let old = self.target()?.read(&file.path, Some(existing))?;
                self.need(now, number, segment, uses, |at, part| {
                    self.check_stop()?;
                    let same = self.is_there(&old, at, part, buffer);
                    let note = if same { &file.agrees } else { &file.differs };
                    note.store(true, Ordering::Relaxed);
                    Ok(same)
                })?;
            }
        }
        if segment.last {
            self.count_down(file);
        }
        Ok(())
    }

    fn decide(&self, file: &FilePlan) -> Result<Plan> {
        let (Some(target), false) = (&self.target, file.fresh) else { return Ok(Plan::Create(None)) };
        let Some(existing) = target.existing(&file.path)? else { return Ok(Plan::Create(None)) };
        let rule = self.options.overwrite;
        if rule.keeps(&existing, &file.meta) {
            return Ok(Plan::Keep);
        }
        if existing.is_dir() && !self.options.delete {
            self.make_way(&file.path)?;
        }
        if !existing.is_file() || target.read(&file.path, Some(&existing)).is_err() {
            return Ok(Plan::Create(Some(existing)));
        }
        let alike = existing.size() == file.size && existing.mtime() == file.meta.mtime;
        if alike && rule == Overwrite::IfChanged {
            return Ok(Plan::Trust(existing));
        }
        Ok(Plan::Mend(existing))
    }

    /// Finds the chunks of the missing parts. Nothing is written before all of them are found.
    fn need(
        &self,
        (index, window): (&Arc<Index>, &FileBatch),
        number: u32,
        segment: &FileSlice,
        uses: &mut Vec<ChunkUse>,
        mut is_there: impl FnMut(u64, ContentPart) -> Result<bool>,
    ) -> Result<()> {
        let (file, before) = (&*segment.file, uses.len());
        let mut wanted = 0;
        let mut holes = Vec::new();
        for (part, at, what) in window.parts(segment)? {
            if is_there(at, what)? {
                self.observer.notice(Event::Done { files: 0, bytes: what.len() });
                continue;
            }
            let (id, len) = match what {
                ContentPart::Chunk { id, len } => (id, len),
                ContentPart::Hole { len } => {
                    self.observer.notice(Event::Done { files: 0, bytes: len });
                    holes.push((at, len));
                    continue;
                }
            };
            match index.find_any(ChunkType::Data, &id)?.filter(|location| location.len == len) {
                Some(found) => {
                    wanted += u64::from(len);
                    uses.push(ChunkUse { block: found.block, start: found.start, segment: number, part });
                }
                None if self.has_moved(index, &id, len)? => {
                    wanted += u64::from(len);
                    uses.push(ChunkUse { block: BlockAt::NOWHERE, start: 0, segment: number, part });
                }
                None => {
                    uses.truncate(before);
                    return Err(Error::Missing { what: format!("chunk {}", id.short()) });
                }
            }
        }
        if self.options.dry_run {
            self.tally.bytes_written.fetch_add(wanted, Ordering::Relaxed);
            uses.truncate(before);
            return Ok(());
        }
        file.left.fetch_add(uses.len() - before, Ordering::AcqRel);
        if matches!(file.plan.get(), Some(Plan::Mend(_))) && !holes.is_empty() {
            let Some(open) = self.open(file)? else { return Ok(()) };
            return holes.iter().try_for_each(|(at, len)| open.punch(*at, *len));
        }
        Ok(())
    }

    /// Returns whether a chunk that `index` lacks is in the packs that are listed now (R1): gc may have
    /// deleted a pack while the index was loaded. Such a chunk is then read by its id.
    fn has_moved(&self, index: &Arc<Index>, id: &ChunkId, len: u32) -> Result<bool> {
        let Some(newer) = self.reading.after(index)? else { return Ok(false) };
        Ok(newer.find_any(ChunkType::Data, id)?.is_some_and(|location| location.len == len))
    }

    /// Returns whether the part's bytes exist in the file. A read error counts as no.
    fn is_there(&self, old: &File, at: u64, part: ContentPart, buffer: &mut Vec<u8>) -> bool {
        match part {
            ContentPart::Hole { len } => target::is_zero(old, at, len).unwrap_or(false),
            ContentPart::Chunk { id, len } => {
                buffer.resize(len as usize, 0);
                old.read_exact_at(buffer, at).is_ok()
                    && self.repo.hasher().name(ChunkType::Data, buffer) == id
            }
        }
    }

    /// Finishes a file of which no bytes were written: its length or attributes may still differ.
    pub(in crate::ops::restore) fn finish_unchanged(
        &self,
        file: &FilePlan,
        existing: &Existing,
    ) -> Result<Action> {
        let (target, meta) = (self.target()?, self.whole(&file.meta)?);
        let differs = file.differs.load(Ordering::Relaxed) || existing.size() != file.size;
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
        // Attributes belong to the inode, and other hard links may be outside the target: this name gets its
        // own file.
        let stays = Plan::may_stay(existing, self.options.overwrite);
        target.update(&file.path, file.size, existing, stays)?.finish(&meta)?;
        Ok(Action::Updated)
    }
}
