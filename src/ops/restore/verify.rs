//! Reads restored files back and compares them with the snapshot's ids: from disk, not from the page cache.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::fs::target;
use crate::model::entry::ContentPart;
use crate::ops::restore::Job;
use crate::ops::restore::batch::plan::Plan;
use crate::ops::restore::batch::{FileBatch, FilePlan, FileSlice, State};
use crate::util::{parallel, threads};

impl Job<'_> {
    /// Verifies every file of the batch except those that were kept or have failed.
    pub(super) fn verify(&self, window: &FileBatch) -> Result<()> {
        self.target()?.sync()?;
        parallel::share_out("restore", threads::workers(), &window.segments, |queue| {
            let mut buffer = Vec::new();
            for (_, segment) in queue {
                self.check_stop()?;
                if let Err(err) = self.compare(window, segment, &mut buffer) {
                    self.fail(&segment.file, &err);
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn compare(&self, window: &FileBatch, segment: &FileSlice, buffer: &mut Vec<u8>) -> Result<()> {
        let Some(file) = self.to_read_back(&segment.file)? else { return Ok(()) };
        target::forget_cached(&file);
        let differs = || Error::Refused("the written content differs when it is read back".into());
        for (_, at, part) in window.parts(segment)? {
            let sound = match part {
                ContentPart::Hole { len } => target::is_zero(&file, at, len),
                ContentPart::Chunk { id, len } => {
                    buffer.resize(len as usize, 0);
                    let read = file.read_exact_at(buffer, at);
                    read.map(|()| self.repo.hasher().name(ChunkType::Data, buffer) == id)
                }
            };
            let shown = self.options.target.join(String::from_utf8_lossy(&segment.file.path).as_ref());
            if !sound.map_err(Error::io("read back", shown))? {
                return Err(differs());
            }
        }
        let len = file.metadata().map_err(Error::io("read the metadata of", "the restored file"))?.len();
        let whole = !segment.last || len == segment.file.size;
        whole.then_some(()).ok_or_else(differs)
    }

    fn to_read_back(&self, file: &FilePlan) -> Result<Option<File>> {
        if matches!(file.plan.get(), Some(Plan::Keep) | None) {
            return Ok(None);
        }
        let open = match &*file.state.lock() {
            State::Failed => return Ok(None),
            State::Open(open) => Some(Arc::clone(open)),
            State::Waiting | State::Done => None,
        };
        match open {
            Some(open) => open.read_back(self.target()?).map(Some),
            None => self.target()?.read(&file.path, None).map(Some),
        }
    }
}
