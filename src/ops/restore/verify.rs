//! Reads restored files back from disk, not from the page cache, and compares their chunks with the
//! snapshot's ids.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::fs::target;
use crate::model::entry::ContentPart;
use crate::ops::restore::Job;
use crate::ops::restore::batch::plan::Plan;
use crate::ops::restore::batch::{FileBatch, FilePlan, FileSlice, FileState};
use crate::util::{parallel, threads};

impl Job<'_> {
    /// Verifies every file of the batch except those that were kept or have failed.
    pub(super) fn verify(&self, batch: &FileBatch) -> Result<()> {
        self.target()?.sync()?;
        parallel::share_out("restore", threads::workers(), &batch.slices, |queue| {
            let mut buffer = Vec::new();
            for (_, slice) in queue {
                self.check_stop()?;
                if let Err(err) = self.verify_slice(batch, slice, &mut buffer) {
                    self.fail_file(&slice.file, &err);
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn verify_slice(&self, batch: &FileBatch, slice: &FileSlice, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(file) = self.open_for_verify(&slice.file)? else { return Ok(()) };
        target::forget_cached(&file);
        let differs = || Error::Refused("the written content differs when it is read back".into());
        for (_, offset, part) in batch.parts(slice)? {
            let matches = match part {
                ContentPart::Hole { len } => target::is_zero(&file, offset, len),
                ContentPart::Chunk { id, len } => {
                    buffer.resize(len as usize, 0);
                    let read = file.read_exact_at(buffer, offset);
                    read.map(|()| self.repo.hasher().id_of(ChunkType::Data, buffer) == id)
                }
            };
            let path = self.options.target.join(String::from_utf8_lossy(&slice.file.path).as_ref());
            if !matches.map_err(Error::io("read back", path))? {
                return Err(differs());
            }
        }
        let len = file.metadata().map_err(Error::io("read the metadata of", "the restored file"))?.len();
        let whole = !slice.last || len == slice.file.size;
        whole.then_some(()).ok_or_else(differs)
    }

    /// Opens a file to read it back; `None` if it was kept or has failed.
    fn open_for_verify(&self, file: &FilePlan) -> Result<Option<File>> {
        if matches!(file.plan.get(), Some(Plan::Keep) | None) {
            return Ok(None);
        }
        let open = match &*file.state.lock() {
            FileState::Failed => return Ok(None),
            FileState::Open(open) => Some(Arc::clone(open)),
            FileState::Waiting | FileState::Done => None,
        };
        match open {
            Some(open) => open.read_back(self.target()?).map(Some),
            None => self.target()?.read(&file.path, None).map(Some),
        }
    }
}
