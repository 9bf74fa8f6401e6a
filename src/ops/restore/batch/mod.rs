//! A batch of files that are planned and restored together. Its limits bound memory for any snapshot.

pub(super) mod plan;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::{self, Error, Result};
use crate::fs::target::NewFile;
use crate::model::entry::{Content, ContentPart, Meta};
use crate::ops::restore::Job;
use crate::ops::restore::batch::plan::Plan;
use crate::repo::index::BlockAt;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::file_parts;
use crate::repo::walk::plausible;

/// Maximum number of files in a batch.
const MAX_FILES: usize = 100_000;
/// Maximum number of parts in a batch. A file of more parts is restored over several batches.
const MAX_PARTS: usize = 500_000;

/// A file that is being restored, shared by its slices.
pub(super) struct FilePlan {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    pub(super) meta: Meta,
    /// Its directory was created by this run, so nothing can exist at its path.
    pub(super) dir_is_new: bool,
    /// What to do. Set when the first slice is planned.
    pub(super) plan: OnceLock<Plan>,
    /// Some parts of the existing file equal the snapshot's.
    pub(super) has_equal_parts: AtomicBool,
    /// Some parts of the existing file differ.
    pub(super) has_different_parts: AtomicBool,
    /// It continues in the next batch.
    pub(super) spans_batches: AtomicBool,
    /// Parts to be written, plus one until all parts are planned.
    pub(super) parts_left: AtomicUsize,
    pub(super) state: Mutex<FileState>,
}

pub(super) enum FileState {
    /// Nothing is written yet.
    Waiting,
    Open(Arc<NewFile>),
    Failed,
    Done,
}

/// The parts of a file that are in this batch.
pub(super) struct FileSlice {
    pub(super) file: Arc<FilePlan>,
    parts: Range<usize>,
    /// This is the last slice of the file.
    pub(super) last: bool,
}

/// A chunk to be written to one place. The derived order groups writes by block and chunk, so that each block
/// is read once and each chunk is checked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChunkWrite {
    pub(super) block: BlockAt,
    /// Offset of the chunk in the plain bytes of its block.
    pub(super) start: u32,
    /// Number of the slice in the batch.
    pub(super) slice: u32,
    /// Number of the part in the batch.
    pub(super) part: u32,
}

/// Files that are restored together.
#[derive(Default)]
pub(super) struct FileBatch {
    pub(super) slices: Vec<FileSlice>,
    /// Each part with its offset in its file.
    parts: Vec<(u64, ContentPart)>,
}

impl FileBatch {
    pub(super) fn part(&self, number: u32) -> Option<(u64, ContentPart)> {
        self.parts.get(number as usize).copied()
    }

    /// Returns the parts of a slice with their numbers and file offsets.
    ///
    /// # Errors
    /// When the slice's parts are not in its batch, which is a bug.
    pub(super) fn parts(&self, slice: &FileSlice) -> Result<impl Iterator<Item = (u32, u64, ContentPart)>> {
        let rule = "the parts of a file's slice are in its batch";
        let parts = error::part(&self.parts, slice.parts.clone(), rule)?;
        let numbered = (slice.parts.start as u32..).zip(parts);
        Ok(numbered.map(|(number, (offset, part))| (number, *offset, *part)))
    }

    /// Adds a file. Restores the batch each time that it is full; the file then has slices in several
    /// batches.
    pub(super) fn add(
        &mut self,
        job: &Job<'_>,
        reader: &mut ChunkReader,
        file: FilePlan,
        content: &Content,
    ) -> Result<()> {
        let file = Arc::new(file);
        let mut offset = 0u64;
        let mut start = self.parts.len();
        let planned = file_parts::each_part(reader, file.size, content, &mut |part| {
            if self.parts.len() >= MAX_PARTS {
                file.spans_batches.store(true, Ordering::Relaxed);
                self.add_slice(&file, start, false);
                self.flush(job)?;
                start = 0;
            }
            if !plausible::has_valid_len(&part) {
                return Err(Error::Damaged { what: "a part".into(), source: too_long() });
            }
            self.parts.push((offset, part));
            offset = offset.saturating_add(part.len());
            Ok(())
        });
        match planned {
            Err(err) if err.is_damage() => {
                // Its parts in this batch are dropped, since the file cannot be complete.
                self.parts.truncate(start);
                job.fail_file(&file, &err);
                return Ok(());
            }
            other => other?,
        }
        self.add_slice(&file, start, true);
        Ok(())
    }

    /// Returns whether the batch must be restored before a file is added.
    pub(super) fn is_full(&self) -> bool {
        self.slices.len() >= MAX_FILES || self.parts.len() >= MAX_PARTS
    }

    fn add_slice(&mut self, file: &Arc<FilePlan>, start: usize, last: bool) {
        let parts = start..self.parts.len();
        self.slices.push(FileSlice { file: Arc::clone(file), parts, last });
    }

    /// Restores the batch and empties it.
    pub(super) fn flush(&mut self, job: &Job<'_>) -> Result<()> {
        // The index as of the start of the batch. Chunks that are moved later are found by the fallback
        // reader.
        let index = job.session.index()?;
        let writes = job.plan_batch(&index, self)?;
        if !job.options.dry_run {
            job.write_blocks(&index, self, &writes)?;
            if job.options.verify {
                job.verify(self)?;
            }
        }
        *self = Self::default();
        Ok(())
    }
}

fn too_long() -> crate::model::decode_error::DecodeError {
    crate::model::decode_error::DecodeError::because("a chunk is too long")
}
