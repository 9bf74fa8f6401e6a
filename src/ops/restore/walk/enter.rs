//! Creates directories, decides which existing ones and which links may be used, and sets their final
//! attributes.
//!
//! A directory that only leads to restored entries belongs to the user, not to the snapshot: if it exists it
//! keeps its mode, owner and times, and if it is a symbolic link it stays one. A directory that is not
//! selected itself is created only when an entry in it is.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::fs::target::{Existing, Lead, Target, name_folding};
use crate::model::entry::{Entry, Kind, Meta, flags};
use crate::model::id::ChunkId;
use crate::ops::restore::overwrite::Action;
use crate::ops::restore::walk::Walk;
use crate::ops::restore::{Job, Overwrite};
use crate::repo::walk::dir_reader::{self, DirReader};
use crate::repo::walk::tree_walk::{TOO_DEEP, TreeWalk};

/// Levels of directories that are compared with the snapshot before a symbolic link is followed.
const DEEPEST_WAY: usize = 100;

/// A directory that is being walked.
pub(super) struct Level {
    pub(super) base: Vec<u8>,
    pub(super) what: What,
    pub(super) state: State,
}

/// The role of a directory in this restore.
#[derive(Clone, Copy)]
pub(super) struct What {
    /// It is in the snapshot only because it is above a source.
    pub(super) way: bool,
    /// It leads to a source or is one: the user may have replaced it by a symbolic link.
    pub(super) outer: bool,
    /// It is selected itself.
    pub(super) taken: bool,
    pub(super) tree: ChunkId,
}

impl What {
    /// Returns whether the directory only leads to restored entries, so that its attributes must not be
    /// changed.
    fn only_leads(self) -> bool {
        self.way || !self.taken
    }
}

pub(super) enum State {
    /// Not created yet: it is when an entry in it is selected.
    Waiting(Meta),
    There(There),
    /// Nothing can be restored in it; this has been reported.
    Barred,
}

/// A directory that exists in the target, or would after a real run.
pub(super) struct There {
    /// It did not exist before, so nothing can be in it.
    pub(super) fresh: bool,
    /// What to do when nothing more is written to it.
    pub(super) end: Option<End>,
    /// Temporary files that a killed run left in it.
    pub(super) leftovers: Vec<Vec<u8>>,
    /// Names met so far, folded, if the target does not distinguish all names here (by case or
    /// normalization).
    pub(super) folded: Option<Folded>,
}

#[derive(Default)]
pub(super) struct Folded {
    names: HashSet<Vec<u8>>,
    inodes: HashSet<(u64, u64)>,
}

pub(super) enum End {
    /// Set the snapshot's attributes.
    Set(Meta),
    /// Restore the attributes it had before.
    PutBack(Existing),
}

impl Level {
    pub(super) fn there(&self) -> Option<&There> {
        match &self.state {
            State::There(there) => Some(there),
            _ => None,
        }
    }
}

impl Walk<'_, '_> {
    /// Returns the level of the directory to which everything is restored.
    pub(super) fn top(&self, tree: ChunkId, way: bool) -> Level {
        let (job, base) = (self.job, Vec::new());
        let is_part = !job.options.include.is_empty() || job.options.only.is_some();
        let target = job.target.as_ref();
        let was = target.filter(|_| way || is_part).and_then(|target| target.look_at_dir(b"").ok());
        let what = What { way, outer: way, taken: true, tree };
        let (leftovers, folds) = self.look_around(&base, target.is_none(), job.root_folds());
        let folded = folds.then(Folded::default);
        let there = There { fresh: target.is_none(), end: was.map(End::PutBack), leftovers, folded };
        Level { base, what, state: State::There(there) }
    }

    /// Enters a directory of the snapshot if anything in it may be selected.
    pub(super) fn descend(
        &mut self,
        walk: &mut TreeWalk<'_, Level>,
        path: Vec<u8>,
        meta: Meta,
        tree: ChunkId,
    ) {
        let taken = self.job.selection.takes(&path, true);
        if !taken && !self.job.selection.may_hold(&path) {
            return;
        }
        let way = meta.flags & flags::PASSAGE != 0;
        let outer = way || walk.kept().is_some_and(|level| level.what.way);
        let what = What { way, outer, taken, tree };
        let level = Level { base: path, what, state: State::Waiting(meta) };
        if walk.enter(tree, level).is_err() {
            return self.job.problem(walk.path(), &Error::Refused(TOO_DEEP.into()));
        }
        if taken && self.make_ready(walk.all_kept()) {
            self.dirs += 1;
        }
    }

    /// Creates the open directories that do not exist yet. Returns whether entries can be restored in the
    /// last one.
    pub(super) fn make_ready(&mut self, open: &mut [Level]) -> bool {
        let mut barred = false;
        for at in 0..open.len() {
            let Some((above, [level, ..])) = open.split_at_mut_checked(at) else { return false };
            if barred {
                level.state = State::Barred;
                continue;
            }
            if let State::Waiting(meta) = &mut level.state {
                let meta = std::mem::take(meta);
                level.state =
                    self.make_below(above.last_mut(), level, meta).map_or(State::Barred, State::There);
            }
            barred = level.there().is_none();
        }
        !barred
    }

    /// Creates a directory in its parent directory.
    fn make_below(&mut self, above: Option<&mut Level>, level: &Level, meta: Meta) -> Option<There> {
        let mut known = (false, false);
        if let Some(above) = above {
            known = above.there().map_or(known, |there| (there.fresh, there.folded.is_some()));
            let name = level.base.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            // A directory that is selected itself was checked when it was met.
            if !level.what.taken && self.is_taken_for_another(above, &level.base, name) {
                return None;
            }
        }
        self.make(&level.base, meta, level.what, known)
    }

    /// Creates or finds a directory. Returns `None`, after reporting it, if that is refused or fails.
    fn make(&mut self, path: &[u8], meta: Meta, what: What, (fresh, folds): (bool, bool)) -> Option<There> {
        let job = self.job;
        let (found, replaces) = match self.find(path, &meta, what, fresh) {
            Ok(Found::Nothing) => (None, false),
            Ok(Found::InTheWay) => (None, true),
            Ok(Found::Dir(found)) => (Some(found), false),
            Ok(Found::Kept) => {
                job.record_action(Action::Kept, path, 0);
                return None;
            }
            Err(err) => {
                job.problem(path, &err);
                return None;
            }
        };
        let end = match found {
            None => {
                let make = |target: &Target| {
                    if replaces { target.make_dir(path) } else { target.make_new_dir(path) }
                };
                if !job.step(path, make) {
                    return None;
                }
                job.report(Action::Created, path, 0);
                Some(End::Set(meta))
            }
            Some(found) => {
                let opens = !what.only_leads() || !found.is_usable() && !job.is_root();
                if opens && !job.step(path, |target| target.make_dir(path)) {
                    return None;
                }
                if what.only_leads() || job.options.overwrite == Overwrite::Never {
                    Some(End::PutBack(found))
                } else {
                    Some(End::Set(meta))
                }
            }
        };
        let fresh = found.is_none();
        let (leftovers, folds) = self.look_around(path, fresh, folds);
        Some(There { fresh, end, leftovers, folded: folds.then(Folded::default) })
    }

    /// Determines what exists at a directory's path.
    fn find(&mut self, path: &[u8], meta: &Meta, what: What, fresh: bool) -> Result<Found> {
        let job = self.job;
        let Some(found) = job.existing(path, fresh)? else { return Ok(Found::Nothing) };
        if found.is_dir() {
            job.is_free(path, &found)?;
            return Ok(Found::Dir(found));
        }
        let lead = if found.is_symlink() { job.target()?.lead(path)? } else { Lead::Nowhere };
        let keeps = job.options.overwrite.keeps(&found, meta);
        match lead {
            Lead::Nowhere if what.only_leads() => Err(Error::Refused(barrier(&lead, what))),
            Lead::Nowhere if keeps => Ok(Found::Kept),
            Lead::Nowhere => Ok(Found::InTheWay),
            _ if keeps && what.taken && !what.outer => Ok(Found::Kept),
            Lead::Beneath(real) if what.outer && !self.clashes(what, &real)? => {
                job.target()?.follow(path, real);
                let found = job.target()?.look_at_dir(path)?;
                job.is_free(path, &found)?;
                Ok(Found::Dir(found))
            }
            lead => Err(Error::Refused(barrier(&lead, what))),
        }
    }

    /// Returns whether entries below a link would mix with other entries that the snapshot holds at the
    /// link's destination.
    fn clashes(&mut self, what: What, real: &[u8]) -> Result<bool> {
        let other = if real.is_empty() {
            Some(self.root)
        } else {
            match dir_reader::lookup(self.reader, self.root, real)? {
                None => None,
                Some(Entry { kind: Kind::Dir { tree }, .. }) => Some(tree),
                Some(_) => return Ok(true),
            }
        };
        other.map_or(Ok(false), |other| self.differ((what.tree, what.way), other, 0))
    }

    /// Returns whether two directories hold different things under the same name.
    fn differ(&mut self, (tree, way): (ChunkId, bool), other: ChunkId, depth: usize) -> Result<bool> {
        if tree == other {
            return Ok(false);
        }
        if !way || depth > DEEPEST_WAY {
            return Ok(true);
        }
        let mut dir = DirReader::new(tree);
        while let Some(entry) = dir.next(self.reader)? {
            let Some(theirs) = dir_reader::child(self.reader, other, &entry.name)? else { continue };
            let way = entry.meta.flags & flags::PASSAGE != 0;
            let differs = match (&entry.kind, &theirs.kind) {
                (Kind::Dir { tree }, Kind::Dir { tree: other }) => {
                    self.differ((*tree, way), *other, depth + 1)?
                }
                (one, other) => one != other,
            };
            if differs {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns temporary files that a killed run left in a directory, and whether the target folds names in
    /// it. If the directory's own names do not show it, the parent's answer holds.
    fn look_around(&self, base: &[u8], fresh: bool, above: bool) -> (Vec<Vec<u8>>, bool) {
        let Some(target) = self.job.target.as_ref().filter(|_| !fresh) else { return (Vec::new(), above) };
        // A directory that cannot be listed causes an error when something is written to it.
        let names = target.names(base).ok().flatten().unwrap_or_default();
        let folds = target.folds(base, &names).unwrap_or(above);
        let leftovers = if self.job.options.dry_run { Vec::new() } else { target.leftovers(names) };
        (leftovers, folds)
    }

    /// Returns whether an entry would replace another of the same directory because the target cannot
    /// distinguish their names. Reports this as a problem.
    pub(super) fn is_taken_for_another(&self, level: &mut Level, path: &[u8], name: &[u8]) -> bool {
        let State::There(There { fresh, folded: Some(folded), .. }) = &mut level.state else { return false };
        let found = self.job.existing(path, *fresh).ok().flatten().filter(|found| !found.has_other_names());
        let twice = !folded.names.insert(name_folding::key(name))
            || found.is_some_and(|found| !folded.inodes.insert(found.id()));
        if twice {
            let why = "the target's file system does not distinguish its name from that of another restored \
                       entry of this directory: restore it to another target, or alone with \
                       `RestoreOptions::include`";
            self.job.problem(path, &Error::Refused(why.into()));
        }
        twice
    }
}

enum Found {
    Nothing,
    /// Not a directory, and not a link to one.
    InTheWay,
    Dir(Existing),
    Kept,
}

/// Explains why a directory cannot be restored over what exists at its path.
fn barrier(lead: &Lead, what: What) -> String {
    match lead {
        Lead::Outside(to) => format!(
            "it is a symbolic link to {}, outside of the target: nothing below it was restored",
            to.display()
        ),
        Lead::Beneath(to) if what.outer => format!(
            "it is a symbolic link to {}, which the snapshot also contains: nothing below it was restored",
            String::from_utf8_lossy(to)
        ),
        Lead::Beneath(to) => format!(
            "it is a symbolic link to the directory {}, but a directory in the snapshot: nothing below it \
             was restored (remove the link to restore it)",
            String::from_utf8_lossy(to)
        ),
        Lead::Nowhere => {
            "it is not a directory, but entries below it are selected: nothing below it was restored".into()
        }
    }
}

impl Job<'_> {
    /// Refuses to restore into a protected directory.
    pub(in crate::ops::restore) fn is_free(&self, path: &[u8], found: &Existing) -> Result<()> {
        let Some(protected) = self.target.as_ref().and_then(|target| target.protected(found)) else {
            return Ok(());
        };
        let path = String::from_utf8_lossy(path);
        Err(Error::Refused(format!("{path} is {}: nothing was restored there", protected.what)))
    }

    pub(super) fn is_root(&self) -> bool {
        crate::sys::users::is_root()
    }

    /// Returns whether names are folded in the target's root or, if that does not exist, in its nearest
    /// parent.
    fn root_folds(&self) -> bool {
        match &self.target {
            Some(target) if !self.options.dry_run => target.probe_folding(),
            _ => name_folding::near(&self.options.target),
        }
    }
}
