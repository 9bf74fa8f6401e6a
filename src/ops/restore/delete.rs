//! `--delete`: removes entries that the snapshot does not contain. Runs after everything else, and only if
//! that succeeded. Walks the snapshot a second time, for its names.

use std::collections::HashSet;
use std::iter::Peekable;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::protected_dirs::Protected;
use crate::fs::target::{RemovalFilter, name_folding};
use crate::model::entry::{Kind, Meta, flags};
use crate::model::id::ChunkId;
use crate::ops::restore::overwrite::Action;
use crate::ops::restore::{Job, Overwrite, overwrite};
use crate::progress::Event;
use crate::repo::enclosing_repository;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TOO_DEEP, TreeWalk, WalkStep};

/// A directory that both the snapshot and the target have.
struct Level {
    /// Its attributes, to be set again if an entry in it is removed; `None` for the root.
    meta: Option<Meta>,
    /// It is in the snapshot only because it is above a source: nothing in it is removed.
    ancestor_only: bool,
    /// The snapshot's names, folded, if the target folds names here.
    folded: Option<HashSet<Vec<u8>>>,
    /// Names in the target that were not compared yet, in ascending order, as in the snapshot.
    names: Peekable<std::vec::IntoIter<Vec<u8>>>,
    /// Names in the target that the snapshot does not have.
    extra: Vec<Vec<u8>>,
}

impl Job<'_> {
    /// Removes selected entries of the target that are not in the tree.
    pub(super) fn delete(
        &self,
        reader: &mut ChunkReader,
        (root, ancestor_only): (ChunkId, bool),
    ) -> Result<()> {
        let Some(top) = self.open_level(b"", None, ancestor_only) else { return Ok(()) };
        // The restore has already checked the limits.
        let mut walk = TreeWalk::new(root, WalkLimits::BOUNDLESS, top);
        while let Some(step) = walk.step(reader)? {
            self.check_stop()?;
            let entry = match step {
                WalkStep::Entry(entry) => entry,
                WalkStep::Left { kept: level, .. } => {
                    self.remove_extra(walk.path(), level)?;
                    continue;
                }
                WalkStep::Damaged(err) | WalkStep::Excess(_, err) => {
                    // Its other entries are unknown, so nothing in it is removed.
                    walk.leave();
                    self.record_error(walk.path(), &err);
                    continue;
                }
            };
            let Some(level) = walk.kept() else { break };
            while let Some(name) = level.names.next_if(|name| *name < entry.name) {
                level.extra.push(name);
            }
            let mut exists = level.names.next_if(|name| *name == entry.name).is_some();
            if let Some(folded) = &mut level.folded {
                folded.insert(name_folding::key(&entry.name));
                exists = true;
            }
            if let Kind::Dir { tree } = entry.kind
                && exists
                && (self.selection.takes(walk.path(), true) || self.selection.may_hold(walk.path()))
            {
                let ancestor_only = entry.meta.flags & flags::ANCESTOR_ONLY != 0;
                let mut meta = entry.meta;
                self.drop_unwanted_metadata(&mut meta);
                if let Some(level) = self.open_level(walk.path(), Some(meta), ancestor_only)
                    && walk.enter(tree, level).is_err()
                {
                    self.record_error(walk.path(), &Error::Refused(TOO_DEEP.into()));
                }
            }
        }
        Ok(())
    }

    /// Lists a directory of the target, to compare it with the snapshot's; `None` if it does not exist or
    /// cannot be listed.
    fn open_level(&self, dir: &[u8], meta: Option<Meta>, ancestor_only: bool) -> Option<Level> {
        let target = self.target.as_ref()?;
        let names = match target.names(dir) {
            Ok(names) => names?,
            Err(err) => {
                self.record_error(dir, &err);
                return None;
            }
        };
        let folds = target.folds(dir, &names).unwrap_or(false);
        let (names, folded) = (names.into_iter().peekable(), folds.then(HashSet::new));
        Some(Level { meta, ancestor_only, folded, names, extra: Vec::new() })
    }

    /// Removes entries of a directory that only the target has. The directory is made writable if necessary,
    /// and its attributes are set again, since a removal changes its times.
    fn remove_extra(&self, dir: &[u8], level: Level) -> Result<()> {
        let Level { meta, ancestor_only, folded, names, extra } = level;
        if ancestor_only {
            return Ok(());
        }
        let is_in_snapshot =
            |name: &Vec<u8>| folded.as_ref().is_some_and(|folded| folded.contains(&name_folding::key(name)));
        let mut extra = extra.into_iter().chain(names).filter(|name| !is_in_snapshot(name)).peekable();
        let Some(meta) = meta.filter(|_| extra.peek().is_some() && !self.options.dry_run) else {
            return extra.try_for_each(|name| self.remove(&join(dir, &name)));
        };
        let before = match self.target()?.stat_dir(dir) {
            Ok(before) => before,
            Err(err) => {
                self.record_error(dir, &err);
                return Ok(());
            }
        };
        let sets_attributes = self.options.overwrite != Overwrite::Never && self.selection.takes(dir, true);
        if !before.is_usable() && !self.try_on_target(dir, |target| target.make_dir(dir)) {
            return Ok(());
        }
        extra.try_for_each(|name| self.remove(&join(dir, &name)))?;
        if !sets_attributes {
            self.try_on_target(dir, |target| target.restore_attributes(dir, &before));
        } else if overwrite::owner_may_enter(&meta) {
            self.finish_dir(dir, &meta);
        }
        Ok(())
    }

    /// Removes an entry and everything below it, as far as selected.
    fn remove(&self, path: &[u8]) -> Result<()> {
        self.target()?.clear(path, self.options.dry_run, &mut Remover(self))
    }

    /// Prepares to replace a directory by another kind of entry: with `--delete` its content is removed,
    /// otherwise it must be empty.
    pub(super) fn make_room(&self, path: &[u8]) -> Result<()> {
        if let Some(found) = self.existing(path, false)? {
            self.refuse_protected(path, &found)?;
        }
        if self.options.delete {
            return self.remove(path);
        }
        let empty = self.target()?.names(path)?.is_none_or(|names| names.is_empty());
        empty.then_some(()).ok_or_else(|| {
            let path = String::from_utf8_lossy(path);
            Error::Refused(format!(
                "{path} is a directory that is not empty (`RestoreOptions::delete` would remove it)"
            ))
        })
    }
}

struct Remover<'a, 'j>(&'a Job<'j>);

impl RemovalFilter for Remover<'_, '_> {
    fn selects(&self, path: &[u8], is_dir: bool) -> bool {
        self.0.selection.takes(path, is_dir)
    }

    fn may_select_below(&self, dir: &[u8]) -> bool {
        self.0.selection.may_hold(dir)
    }

    fn removed(&mut self, path: &[u8], size: u64) {
        self.0.record_action(Action::Deleted, path, size);
    }

    fn not_removed(&mut self, path: &[u8], err: Error) {
        self.0.record_error(path, &err);
    }

    fn protected(&mut self, path: &[u8], found: &Protected) {
        let text = format!("{} is {}: it was not deleted", String::from_utf8_lossy(path), found.what);
        self.0.observer.notice(Event::Warning(&text));
    }

    fn reason_to_keep(&self, dir: &Path, names: &[Vec<u8>]) -> Option<Protected> {
        // It may be the repository that is being restored from, accessed over a network, or a copy of it.
        let is_repository =
            enclosing_repository::may_be_one(names) && enclosing_repository::is_repository(dir);
        is_repository.then(|| Protected { what: "a snap repository", path: dir.to_owned() })
    }
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}
