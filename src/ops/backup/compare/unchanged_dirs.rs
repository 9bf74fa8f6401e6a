//! Defers directories that look unchanged. If a directory and everything below it equal the parent's, the new
//! tree references the parent's tree, and its entries are neither sent to the assembler nor encoded again.

use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::Entry;
use crate::model::id::ChunkId;
use crate::ops::backup::compare::Comparer;
use crate::ops::backup::messages::Message;
use crate::repo::walk::dir_reader::DirReader;

/// A directory of a trusted parent in which everything found so far is unchanged.
#[derive(Debug)]
pub(in crate::ops::backup) struct UnchangedDir {
    /// Its tree in the parent.
    pub(super) tree: ChunkId,
    /// Pieces of that tree known when the directory was entered.
    pub(super) known: Vec<ChunkId>,
    /// Number of its first entries in the parent that were found unchanged.
    pub(super) entries: u64,
    /// Whether its own entry, without the tree, equals the parent's.
    pub(super) same: bool,
}

impl Comparer<'_, '_> {
    /// Handles an entry of the open directory that is not read; `same` if it equals the parent's.
    pub(in crate::ops::backup) fn complete(&mut self, entry: Entry, same: bool) -> Result<()> {
        if let Some(unchanged) =
            self.stack.last_mut().and_then(|open| open.unchanged.as_mut()).filter(|_| same)
        {
            unchanged.entries += 1;
            return Ok(());
        }
        self.announce()?;
        let dir = self.dir_seq();
        self.send(Message::Entry { dir, entry })
    }

    /// Sends the deferred directories and their entries so far to the assembler, as something has changed.
    pub(super) fn announce(&mut self) -> Result<()> {
        let first = self.stack.iter().rposition(|open| open.announced).map_or(0, |at| at + 1);
        for at in first..self.stack.len() {
            let container = at.checked_sub(1).and_then(|at| self.stack.get(at)).map(|open| open.seq);
            let Some(open) = self.stack.get_mut(at) else { break };
            open.announced = true;
            let (seq, owner) = (open.seq, open.entry.meta.uid);
            let Some(unchanged) = open.unchanged.take() else {
                self.send(Message::Enter { seq, dir: container, owner, known: Vec::new() })?;
                continue;
            };
            self.send(Message::Enter { seq, dir: container, owner, known: unchanged.known })?;
            let mut parent_dir = DirReader::new(unchanged.tree);
            for _ in 0..unchanged.entries {
                let entry = parent_dir.next(&mut self.reader)?.ok_or_else(parent_tree_shrank)?;
                self.send(Message::Entry { dir: seq, entry })?;
            }
        }
        Ok(())
    }
}

fn parent_tree_shrank() -> Error {
    let source = DecodeError::because("it became shorter while it was read");
    Error::Damaged { what: "the parent's tree".into(), source }
}
