//! What need not be said: a directory that is as the parent has it, all the way down, has the parent's tree. Its
//! entries are neither passed on nor encoded nor named again.

use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::Entry;
use crate::model::id::ChunkId;
use crate::ops::backup::assemble::Message;
use crate::ops::backup::compare::Comparer;
use crate::repo::walk::dir_reader::DirReader;

/// A directory that is in a trusted parent, while all that the walk has found in it is what the parent has.
#[derive(Debug)]
pub(super) struct UnchangedDir {
    /// The parent's tree of it.
    pub(super) tree: ChunkId,
    /// Pieces of that, known when it was begun.
    pub(super) known: Vec<ChunkId>,
    /// Its first entries in the parent, which were found again.
    pub(super) entries: u64,
    /// Its own entry, but for the tree, is the parent's, too.
    pub(super) same: bool,
}

impl Comparer<'_, '_> {
    /// An entry of the open directory that is not read; `same` if it is in all the parent's.
    pub(super) fn complete(&mut self, entry: Entry, same: bool) -> Result<()> {
        if let Some(untold) = self.stack.last_mut().and_then(|open| open.untold.as_mut()).filter(|_| same) {
            untold.entries += 1;
            return Ok(());
        }
        self.tell()?;
        let dir = self.dir();
        self.send(Message::Entry { dir, entry })
    }

    /// Something is not as in the parent: tells the assembler of the open directories, and of what is in them so far.
    pub(super) fn tell(&mut self) -> Result<()> {
        let first = self.stack.iter().rposition(|open| open.told).map_or(0, |at| at + 1);
        for at in first..self.stack.len() {
            let above = at.checked_sub(1).and_then(|at| self.stack.get(at)).map(|open| open.seq);
            let Some(open) = self.stack.get_mut(at) else { break };
            open.told = true;
            let seq = open.seq;
            let Some(untold) = open.untold.take() else {
                self.send(Message::Enter { seq, dir: above, known: Vec::new() })?;
                continue;
            };
            self.send(Message::Enter { seq, dir: above, known: untold.known })?;
            let mut again = DirReader::new(untold.tree);
            for _ in 0..untold.entries {
                let entry = again.next(&mut self.reader)?.ok_or_else(shorter)?;
                self.send(Message::Entry { dir: seq, entry })?;
            }
        }
        Ok(())
    }
}

fn shorter() -> Error {
    let source = DecodeError::because("it has become shorter while it was read");
    Error::Damaged { what: "the parent's tree".into(), source }
}
