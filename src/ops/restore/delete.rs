//! `--delete`: removes what the snapshot does not hold. Runs after everything else, and only if that
//! succeeded. Reads the snapshot's trees a second time to know its names.

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
    /// Its attributes, to be set again if an entry in it is removed.
    meta: Option<Meta>,
    /// It only leads to sources: nothing in it is removed.
    way: bool,
    /// The snapshot's names, folded, if the target does not distinguish all names here.
    folded: Option<HashSet<Vec<u8>>>,
    /// Names in the target, in ascending order as the snapshot's are.
    names: Peekable<std::vec::IntoIter<Vec<u8>>>,
    extra: Vec<Vec<u8>>,
}

impl Job<'_> {
    /// Removes selected entries of the target that are not in the tree.
    pub(super) fn delete(&self, reader: &mut ChunkReader, (root, way): (ChunkId, bool)) -> Result<()> {
        let Some(top) = self.level(b"", None, way) else { return Ok(()) };
        // The restore has counted the entries.
        let mut walk = TreeWalk::new(root, WalkLimits::BOUNDLESS, top);
        while let Some(step) = walk.step(reader)? {
            self.check_stop()?;
            let entry = match step {
                WalkStep::Entry(entry) => entry,
                WalkStep::Left { kept: level, .. } => {
                    self.clear_extra(walk.path(), level)?;
                    continue;
                }
                WalkStep::Damaged(err) | WalkStep::Excess(_, err) => {
                    // It is unknown what else the directory holds: nothing in it is removed.
                    walk.leave();
                    self.problem(walk.path(), &err);
                    continue;
                }
            };
            let Some(level) = walk.kept() else { break };
            while let Some(name) = level.names.next_if(|name| *name < entry.name) {
                level.extra.push(name);
            }
            let mut there = level.names.next_if(|name| *name == entry.name).is_some();
            if let Some(folded) = &mut level.folded {
                folded.insert(name_folding::key(&entry.name));
                there = true;
            }
            if let Kind::Dir { tree } = entry.kind
                && there
                && (self.selection.takes(walk.path(), true) || self.selection.may_hold(walk.path()))
            {
                let way = entry.meta.flags & flags::PASSAGE != 0;
                let mut meta = entry.meta;
                self.drop_unwanted_metadata(&mut meta);
                if let Some(level) = self.level(walk.path(), Some(meta), way)
                    && walk.enter(tree, level).is_err()
                {
                    self.problem(walk.path(), &Error::Refused(TOO_DEEP.into()));
                }
            }
        }
        Ok(())
    }

    /// Returns what is to be compared with a directory of the snapshot; `None` if the target has none.
    fn level(&self, base: &[u8], meta: Option<Meta>, way: bool) -> Option<Level> {
        let target = self.target.as_ref()?;
        let names = match target.names(base) {
            Ok(names) => names?,
            Err(err) => {
                self.problem(base, &err);
                return None;
            }
        };
        let folds = target.folds(base, &names).unwrap_or(false);
        let (names, folded) = (names.into_iter().peekable(), folds.then(HashSet::new));
        Some(Level { meta, way, folded, names, extra: Vec::new() })
    }

    /// Removes entries of a directory that only the target has. Removing changes the directory's times, and
    /// its mode may forbid it: such a directory is made writable and gets its attributes again afterwards.
    fn clear_extra(&self, base: &[u8], level: Level) -> Result<()> {
        let Level { meta, way, folded, names, extra } = level;
        if way {
            return Ok(());
        }
        let is_held =
            |name: &Vec<u8>| folded.as_ref().is_some_and(|folded| folded.contains(&name_folding::key(name)));
        let mut extra = extra.into_iter().chain(names).filter(|name| !is_held(name)).peekable();
        let Some(meta) = meta.filter(|_| extra.peek().is_some() && !self.options.dry_run) else {
            return extra.try_for_each(|name| self.clear(&join(base, &name)));
        };
        let was = match self.target()?.look_at_dir(base) {
            Ok(was) => was,
            Err(err) => {
                self.problem(base, &err);
                return Ok(());
            }
        };
        let sets = self.options.overwrite != Overwrite::Never && self.selection.takes(base, true);
        if !was.is_usable() && !self.step(base, |target| target.make_dir(base)) {
            return Ok(());
        }
        extra.try_for_each(|name| self.clear(&join(base, &name)))?;
        if !sets {
            self.step(base, |target| target.put_back(base, &was));
        } else if overwrite::lets_its_owner_in(&meta) {
            self.finish_dir(base, &meta);
        }
        Ok(())
    }

    /// Removes an entry and everything below it, as far as selected.
    fn clear(&self, path: &[u8]) -> Result<()> {
        self.target()?.clear(path, self.options.dry_run, &mut Remover(self))
    }

    /// Makes room where a directory exists and something else belongs: only `--delete` may remove a
    /// directory's content.
    pub(super) fn make_way(&self, path: &[u8]) -> Result<()> {
        if let Some(found) = self.existing(path, false)? {
            self.is_free(path, &found)?;
        }
        if self.options.delete {
            return self.clear(path);
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
    fn takes(&self, path: &[u8], is_dir: bool) -> bool {
        self.0.selection.takes(path, is_dir)
    }

    fn may_hold(&self, dir: &[u8]) -> bool {
        self.0.selection.may_hold(dir)
    }

    fn gone(&mut self, path: &[u8], size: u64) {
        self.0.record_action(Action::Deleted, path, size);
    }

    fn stays(&mut self, path: &[u8], err: Error) {
        self.0.problem(path, &err);
    }

    fn spares(&mut self, path: &[u8], found: &Protected) {
        let text = format!("{} is {}: it was not deleted", String::from_utf8_lossy(path), found.what);
        self.0.observer.notice(Event::Warning(&text));
    }

    fn keeps(&self, dir: &Path, names: &[Vec<u8>]) -> Option<Protected> {
        // It may be the repository in use, reached over a network, or a copy of it. Repositories are never
        // deleted.
        let is_one = enclosing_repository::may_be_one(names) && enclosing_repository::is_repository(dir);
        is_one.then(|| Protected { what: "a snap repository", path: dir.to_owned() })
    }
}

pub(super) fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    if base.is_empty() { name.to_vec() } else { [base, b"/", name].concat() }
}
