//! The parent's directories, read side by side with the live ones.

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::ops::backup::compare::Comparer;
use crate::progress::{Action, Event};
use crate::repo::walk::dir_reader::{DirReader, WalkLimits};
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};

/// A directory of the parent, read side by side with the live one.
pub(super) struct ParentDir {
    stream: DirReader,
    /// Its next entry, which the walk has not reached.
    pub(super) next: Option<Entry>,
}

impl Comparer<'_, '_> {
    /// Begins a directory of the parent. Also returns the pieces of its tree known so far.
    pub(super) fn open_parent(&mut self, tree: Option<ChunkId>) -> Result<(Option<ParentDir>, Vec<ChunkId>)> {
        let Some(tree) = tree else { return Ok((None, Vec::new())) };
        let mut stream = DirReader::new(tree);
        match stream.next(&mut self.reader) {
            Ok(next) => {
                let mut known = stream.pieces.clone();
                let mut later: Vec<ChunkId> = stream.pending_pieces().collect();
                later.reverse();
                known.extend(later);
                known.push(tree);
                Ok((Some(ParentDir { stream, next }), known))
            }
            Err(err) if err.is_damage() => {
                self.warn_unreadable(&err);
                Ok((None, Vec::new()))
            }
            Err(err) => Err(err),
        }
    }

    fn warn_unreadable(&self, err: &Error) {
        if self.run.parent_choice.rereads {
            return;
        }
        let path = String::from_utf8_lossy(self.path_stack.stored());
        self.run.observer.notice(Event::Warning(&format!(
            "the parent's /{path} cannot be read ({err}): all its files are read again"
        )));
    }

    /// Returns the parent's entry of this name in the open directory. The entries before it
    /// are missing in the live directory.
    pub(super) fn parent_entry(&mut self, name: &[u8]) -> Result<Option<Entry>> {
        loop {
            let Some(parent) = self.stack.last_mut().and_then(|open| open.before.as_mut()) else {
                return Ok(None);
            };
            match parent.next.as_ref().map(|next| next.name.as_slice().cmp(name)) {
                None | Some(std::cmp::Ordering::Greater) => return Ok(None),
                order => {
                    let entry = parent.next.take();
                    self.advance()?;
                    match entry {
                        Some(entry) if order == Some(std::cmp::Ordering::Less) => {
                            self.handle_missing(&entry)?
                        }
                        entry => return Ok(entry),
                    }
                }
            }
        }
    }

    pub(super) fn advance(&mut self) -> Result<()> {
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        let Some(parent) = open.before.as_mut() else { return Ok(()) };
        match parent.stream.next(&mut self.reader) {
            Ok(next) => parent.next = next,
            Err(err) if err.is_damage() => {
                open.before = None;
                self.warn_unreadable(&err);
                // It is unknown what else the parent's directory holds, so it does not count as unchanged.
                self.announce()?;
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Takes over an entry of the parent that an interrupted walk did not reach.
    fn take_over(&mut self, entry: &Entry) -> Result<()> {
        match &entry.kind {
            Kind::File { size, .. } => {
                self.tally.unchanged += 1;
                self.tally.bytes += size;
                self.run.observer.notice(Event::Done { files: 1, bytes: *size });
            }
            Kind::Dir { .. } => {}
            _ => self.tally.others += 1,
        }
        self.complete(entry.clone(), true)
    }

    /// Handles an entry that only the parent has: it was removed, unless the walk was interrupted before it.
    pub(super) fn handle_missing(&mut self, entry: &Entry) -> Result<()> {
        if self.run.is_stopping() {
            return if self.run.parent_choice.trusted { self.take_over(entry) } else { Ok(()) };
        }
        self.announce()?;
        if !self.run.parent_choice.rereads {
            let path = self.stored_path(&entry.name);
            self.run.observer.notice(Event::Item {
                action: Action::Removed,
                path: &path,
                size: entry.size(),
            });
        }
        self.count_removed(entry);
        let Kind::Dir { tree } = entry.kind else { return Ok(()) };
        let mut below = TreeWalk::new(tree, WalkLimits::BOUNDLESS, ());
        while let Some(step) = below.step(&mut self.reader)? {
            match step {
                WalkStep::Entry(Entry { kind: Kind::Dir { tree }, .. }) if below.enter(tree, ()).is_ok() => {}
                WalkStep::Entry(entry) => self.count_removed(&entry),
                // Files in damaged directories are not counted.
                WalkStep::Damaged(_) | WalkStep::Excess(..) => {
                    below.leave();
                }
                WalkStep::Left { .. } => {}
            }
        }
        Ok(())
    }

    fn count_removed(&mut self, entry: &Entry) {
        if entry.is_file() {
            self.tally.removed += 1;
            self.tally.suffixes.add_old(&entry.name);
        }
    }
}
