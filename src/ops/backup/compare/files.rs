//! Files: which are unchanged, and which are read.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::path_stack::PathStack;
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::ops::backup::compare::Comparer;
use crate::ops::backup::messages::{Context, Input, Job, Message, Previous};
use crate::ops::backup::rot::Expected;
use crate::ops::backup::states::Version;
use crate::progress::Event;
use crate::repo::walk::dir_reader;
use crate::repo::write::similarity::Older;

/// Maximum size in bytes of an older version whose part list is read for its pieces.
const MAX_LISTED_BYTES: u64 = 16 << 30;

impl Comparer<'_, '_> {
    /// Completes an unchanged file, and sends others to a reader.
    pub(super) fn compare_file(
        &mut self,
        mut entry: Entry,
        path: Option<&Path>,
        size: u64,
        before: Option<Entry>,
        version: Option<Version>,
    ) -> Result<()> {
        let inode = version.map(|version| version.inode);
        let place = |path_stack: &PathStack, name: &[u8]| {
            path.map_or_else(|| path_stack.place_of(name), Path::to_path_buf)
        };
        let Some(before) = before else {
            self.tally.suffixes.add_new(&entry.name);
            let input = Input::File { path: place(&self.path_stack, &entry.name), size, inode };
            let sibling = self.find_sibling(&entry, size)?;
            return self.read_file(entry, (input, None), (Previous::New, None), sibling);
        };
        self.tally.suffixes.add_old(&entry.name);
        if self.is_unchanged(&before, &entry, size) && self.may_reuse(&before)? {
            self.set_xattrs(&mut entry, Some(&before), path)?;
            entry.meta.corrupt_since = before.meta.corrupt_since;
            if self.is_due(&entry.name) {
                let input = Input::File { path: place(&self.path_stack, &entry.name), size, inode };
                return self.reread_unchanged(entry, input, before);
            }
            entry.kind = before.kind;
            self.run.record_linked(version, &entry);
            return self.complete_unchanged(entry, &before.meta);
        }
        let place = place(&self.path_stack, &entry.name);
        let steady = self.is_steady(&before, &entry, size).then(|| place.clone());
        let input = Input::File { path: place, size, inode };
        let older = Older::of(&before);
        self.read_known(entry, input, (before, steady), older, None)
    }

    /// Reads an unchanged file again. If its bytes are the parent's, so is its entry.
    fn reread_unchanged(&mut self, mut entry: Entry, input: Input, before: Entry) -> Result<()> {
        let steady = match &input {
            Input::File { path, size, .. } => self.is_steady(&before, &entry, *size).then(|| path.clone()),
            Input::Stream(_) => None,
        };
        let times = (entry.meta.mtime, entry.meta.ctime);
        entry.kind = before.kind.clone();
        let older = Older::of(&before);
        let expected = match &before.kind {
            Kind::File { size, content } => Some(Expected { size: *size, content: content.clone(), times }),
            _ => None,
        };
        self.read_known(entry, input, (before, steady), older, expected)
    }

    /// Returns a file in the parent's directory that a new file may be similar to.
    pub(super) fn find_sibling(&mut self, entry: &Entry, size: u64) -> Result<Option<Older>> {
        let wanted = self.run.may_use_deltas && !self.run.parent_choice.rereads;
        match self.stack.last_mut().and_then(|open| open.siblings.as_mut()) {
            Some(siblings) if wanted => siblings.older(&mut self.reader, entry, size),
            _ => Ok(None),
        }
    }

    /// Returns the pieces of an older version's part list. For larger files reading it costs more
    /// than it saves.
    fn list_pieces(&mut self, older: Option<&Older>) -> Result<Vec<ChunkId>> {
        match older {
            Some(older) if self.run.may_use_deltas && older.size <= MAX_LISTED_BYTES => {
                match dir_reader::list_pieces(&mut self.reader, &older.content) {
                    Err(err) if err.is_damage() => Ok(Vec::new()),
                    pieces => pieces,
                }
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Reads a file that the parent has. `steady` is its path, if bytes that differ from the parent's are bit
    /// rot. With `expected` its bytes are first compared with the parent's.
    fn read_known(
        &mut self,
        entry: Entry,
        input: Input,
        (before, steady): (Entry, Option<PathBuf>),
        older: Option<Older>,
        expected: Option<Expected>,
    ) -> Result<()> {
        let was = Previous::There(Box::new(before));
        self.read_file(entry, (input, expected.map(Box::new)), (was, steady), older)
    }

    /// Sends a file to the assembler and to a reader.
    pub(super) fn read_file(
        &mut self,
        entry: Entry,
        (input, expected): (Input, Option<Box<Expected>>),
        (was, steady): (Previous, Option<PathBuf>),
        older: Option<Older>,
    ) -> Result<()> {
        let alone = matches!(&input, Input::File { path, .. } if self.run.backup.isolated.contains(path));
        // An isolated file may only become a delta of its own older version.
        let may_follow = !alone || matches!(was, Previous::There(_));
        let older =
            older.filter(|_| self.run.may_use_deltas && !self.run.parent_choice.rereads && may_follow);
        let pieces = self.list_pieces(older.as_ref())?;
        let seq = self.next_seq();
        let context = Context { owner: entry.meta.uid, file: alone.then_some(seq) };
        let path = self.stored_path(&entry.name);
        self.run.observer.notice(Event::Working { path: &path });
        self.announce()?;
        let dir = self.dir_seq();
        self.send(Message::File { seq, dir, entry, path, was, steady, pieces })?;
        self.jobs.send(Job { seq, input, older, expected, context }).map_err(|_| Error::Stopped)
    }
}
