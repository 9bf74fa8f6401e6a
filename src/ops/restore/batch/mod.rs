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
const WINDOW_FILES: usize = 100_000;
/// Maximum number of parts in a batch. A file of more parts is restored over several batches.
const WINDOW_PARTS: usize = 500_000;

/// A file that is being restored.
pub(super) struct FilePlan {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    pub(super) meta: Meta,
    /// Its directory is new, so nothing can exist at its path.
    pub(super) fresh: bool,
    /// What to do, once the file has been compared.
    pub(super) plan: OnceLock<Plan>,
    /// Some existing parts equal the snapshot's.
    pub(super) agrees: AtomicBool,
    /// Some existing parts differ.
    pub(super) differs: AtomicBool,
    /// It continues in the next batch.
    pub(super) spans: AtomicBool,
    /// Parts still to be written, plus one until all parts are known.
    pub(super) left: AtomicUsize,
    pub(super) state: Mutex<State>,
}

pub(super) enum State {
    Waiting,
    Open(Arc<NewFile>),
    Failed,
    Done,
}

/// The parts of a file that are in this batch.
pub(super) struct FileSlice {
    pub(super) file: Arc<FilePlan>,
    parts: Range<usize>,
    /// Whether this is the last slice of the file.
    pub(super) last: bool,
}

/// One place that a chunk is written to. Sorted by location, so that a block is read and a chunk checked
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChunkUse {
    pub(super) block: BlockAt,
    /// Offset of the chunk in the plain bytes of its block.
    pub(super) start: u32,
    pub(super) segment: u32,
    /// Number of the part in the batch.
    pub(super) part: u32,
}

#[derive(Default)]
pub(super) struct FileBatch {
    pub(super) segments: Vec<FileSlice>,
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
    pub(super) fn parts(&self, segment: &FileSlice) -> Result<impl Iterator<Item = (u32, u64, ContentPart)>> {
        let parts = error::part(
            &self.parts,
            segment.parts.clone(),
            "the parts of a segment are in its \
             batch",
        )?;
        let numbered = (segment.parts.start as u32..).zip(parts);
        Ok(numbered.map(|(number, (at, part))| (number, *at, *part)))
    }

    /// Plans a file. If it has more parts than a batch holds, flushes each full batch before planning the
    /// next parts.
    pub(super) fn add(
        &mut self,
        job: &Job<'_>,
        reader: &mut ChunkReader,
        file: FilePlan,
        content: &Content,
    ) -> Result<()> {
        let file = Arc::new(file);
        let mut at = 0u64;
        let mut start = self.parts.len();
        let planned = file_parts::each_part(reader, file.size, content, &mut |part| {
            if self.parts.len() >= WINDOW_PARTS {
                file.spans.store(true, Ordering::Relaxed);
                self.close(&file, start, false);
                self.flush(job)?;
                start = 0;
            }
            if !plausible::is_bearable(&part) {
                return Err(Error::Damaged { what: "a part".into(), source: too_long() });
            }
            self.parts.push((at, part));
            at = at.saturating_add(part.len());
            Ok(())
        });
        match planned {
            Err(err) if err.is_damage() => {
                // Parts not compared yet are dropped: they are not the whole file.
                self.parts.truncate(start);
                job.fail(&file, &err);
                return Ok(());
            }
            other => other?,
        }
        self.close(&file, start, true);
        Ok(())
    }

    /// Returns whether the batch must be restored before anything is added.
    pub(super) fn is_full(&self) -> bool {
        self.segments.len() >= WINDOW_FILES || self.parts.len() >= WINDOW_PARTS
    }

    fn close(&mut self, file: &Arc<FilePlan>, start: usize, last: bool) {
        let parts = start..self.parts.len();
        self.segments.push(FileSlice { file: Arc::clone(file), parts, last });
    }

    /// Restores the batch and empties it.
    pub(super) fn flush(&mut self, job: &Job<'_>) -> Result<()> {
        // The index as of the start of the batch. Chunks that move later are found by the second reader.
        let index = job.reading.index()?;
        let uses = job.survey(&index, self)?;
        if !job.options.dry_run {
            job.fill(&index, self, &uses)?;
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
