//! The end of a file that was read: its entry, and what the run reports about it.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::entry::{Entry, Kind, Meta, flags};
use crate::model::id::ChunkId;
use crate::ops::backup::assemble::{Assembler, OpenFile};
use crate::ops::backup::messages::{FileStat, Outcome, Previous};
use crate::ops::backup::{Run, Stdin, rot};
use crate::progress::{Action, Event};

impl Assembler<'_, '_, '_> {
    pub(super) fn end_file(&mut self, seq: u64, outcome: Outcome) -> Result<()> {
        let Some(file) = self.files.remove(&seq) else { return Ok(()) };
        let OpenFile { dir, mut entry, path, was, steady, list, mut pieces, first_chunk } = *file;
        let run = self.store.run;
        // A stream is the whole snapshot. A truncated one is not saved, not even as a partial snapshot.
        if run.options.stdin.is_some() && run.is_interrupted() {
            return Err(run.why_ended());
        }
        let entry = match outcome {
            // If the input is empty, the program that was to write it has most likely failed.
            Outcome::Done { size: 0, .. } if run.options.stdin.is_some() && !run.options.allow_empty => {
                return Err(Error::NothingRead(describe_empty_stream(run.options.stdin.as_ref())));
            }
            Outcome::Done { size, seen, changed, opaque } => {
                let (store, owner) = (&mut self.store, entry.meta.uid);
                let mut put = |bytes: &[u8]| store.put_tree(owner, bytes, (&mut pieces, false));
                let content = list.finish(&mut put)?;
                entry.kind = Kind::File { size, content };
                let mut version = None;
                if let Some(seen) = seen {
                    version = seen.version(size).filter(|_| !changed);
                    replace_metadata(run, &mut entry, &path, *seen);
                }
                run.record_linked(version, &entry);
                if changed {
                    run.changing.fetch_add(1, Ordering::Relaxed);
                    entry.meta.flags |= flags::CHANGED_WHILE_READ;
                    let path = String::from_utf8_lossy(&path);
                    run.observer.notice(Event::Warning(&format!("{path} changed while it was being read")));
                }
                let is_corrupt = self.mark_bit_rot((&path, steady.as_deref()), &was, &mut entry)?;
                self.counts.bytes_total += size;
                self.tally(&was, &entry, first_chunk, opaque)?;
                let (count, action) = match was {
                    Previous::There(_) if run.parent_choice.rereads => {
                        (&mut self.counts.files_new, Action::New)
                    }
                    Previous::New => (&mut self.counts.files_new, Action::New),
                    // Read because its times could not be trusted, and found unchanged.
                    Previous::There(before) if is_same(&before, &entry) => {
                        (&mut self.counts.files_unchanged, Action::Unchanged)
                    }
                    Previous::There(_) => (&mut self.counts.files_changed, Action::Changed),
                };
                *count += 1;
                let action = if is_corrupt { Action::Corrupt } else { action };
                run.observer.notice(Event::Item { action, path: &path, size });
                run.observer.notice(Event::Done { files: 1, bytes: 0 });
                Some(entry)
            }
            Outcome::Unchanged { read, problem } => {
                let size = entry.size();
                self.counts.files_unchanged += 1;
                self.counts.bytes_total += size;
                self.counts.bytes_read += read.unwrap_or(0);
                read.iter().for_each(|bytes| run.rot_findings.count_reread(*bytes));
                problem.iter().for_each(|why| run.report_problem(Problem::new(&*path, ErrorKind::Io, why)));
                run.observer.notice(Event::Item { action: Action::Unchanged, path: &path, size });
                run.observer.notice(Event::Done { files: 1, bytes: size });
                Some(entry)
            }
            Outcome::Bug(what) => return Err(Error::Bug { what }),
            Outcome::Failed(why) if run.options.stdin.is_some() => return Err(Error::NothingRead(why)),
            Outcome::Failed(why) => {
                run.report_problem(Problem::new(path, ErrorKind::Io, why));
                None
            }
            Outcome::Vanished | Outcome::Again => {
                run.report_vanished(&path);
                None
            }
        };
        self.resolved.insert(seq, entry);
        self.drain(dir)
    }

    /// Marks a file that was read if it has bit rot, and returns whether it has. A mark of the parent is kept
    /// as long as the content is the same.
    fn mark_bit_rot(
        &mut self,
        (path, steady): (&[u8], Option<&Path>),
        was: &Previous,
        entry: &mut Entry,
    ) -> Result<bool> {
        let Previous::There(before) = was else { return Ok(false) };
        if before.kind == entry.kind {
            entry.meta.corrupt_since = before.meta.corrupt_since;
            return Ok(false);
        }
        let (old, new) = (&before.meta, &entry.meta);
        let is_steady = (old.mtime, old.ctime, old.born) == (new.mtime, new.ctime, new.born)
            && new.flags & flags::CHANGED_WHILE_READ == 0
            && before.size() == entry.size();
        match steady.filter(|_| is_steady) {
            Some(place) => rot::classify(self.store.run, &mut self.lists, (path, place), before, entry),
            None => Ok(false),
        }
    }

    /// Counts a file that was read for the alarm.
    fn tally(&mut self, was: &Previous, entry: &Entry, first: Option<ChunkId>, opaque: bool) -> Result<()> {
        if self.store.run.parent_choice.compare.is_none() {
            return Ok(());
        }
        match was {
            Previous::There(before) => self.read.count_known(before, entry, opaque),
            Previous::New => {
                let index = &self.store.run.index;
                let stored = first.map_or(Ok(None), |first| index.find(ChunkType::Data, &first))?;
                self.read.count_new(stored.is_some(), opaque);
            }
        }
        Ok(())
    }
}

fn describe_empty_stream(stdin: Option<&Stdin>) -> String {
    let who = match stdin.and_then(|stdin| stdin.command.as_ref()?.first()) {
        Some(program) => format!("{} printed nothing", program.display()),
        None => "standard input was empty".to_owned(),
    };
    format!("{who}: no snapshot was saved (`BackupOptions::allow_empty` saves an empty one)")
}

/// Returns whether two entries would be restored identically.
fn is_same(before: &Entry, now: &Entry) -> bool {
    let (old, new) = (&before.meta, &now.meta);
    before.kind == now.kind
        && (old.mode, old.uid, old.gid, old.mtime) == (new.mode, new.uid, new.gid, new.mtime)
        && (&old.xattrs, old.attrs) == (&new.xattrs, new.attrs)
}

/// Replaces the metadata from the walk by that of the file that was read, which may be another one by then.
fn replace_metadata(run: &Run<'_>, entry: &mut Entry, path: &[u8], seen: FileStat) {
    let link = if seen.same { entry.meta.link } else { 0 };
    entry.meta = Meta { link, ..seen.meta };
    run.strip(&mut entry.meta);
    run.amend(path, entry);
    run.add_xattrs(path, entry);
    run.report_incomplete(path, entry, &seen.problems);
}
