//! Creates directories, decides which existing ones and which links may be used, and sets their final
//! attributes.
//!
//! A directory that is not restored itself, but only entries below it, keeps its mode, owner and times if it
//! exists, and remains a symbolic link if it is one. It is created only when an entry in it is restored.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::fs::target::{Existing, LinkTarget, Target, name_folding};
use crate::model::entry::{Entry, Kind, Meta, flags};
use crate::model::id::ChunkId;
use crate::ops::restore::overwrite::Action;
use crate::ops::restore::walk::Walk;
use crate::ops::restore::{Job, Overwrite};
use crate::repo::walk::dir_reader::{self, DirReader};
use crate::repo::walk::tree_walk::{TOO_DEEP, TreeWalk};

/// Maximum depth to which two trees are compared before a symbolic link is followed.
const MAX_COMPARED_DEPTH: usize = 100;

/// A directory on the path from the root to the current entry.
pub(super) struct Level {
    pub(super) base: Vec<u8>,
    pub(super) role: DirRole,
    pub(super) state: DirState,
}

/// The role of a directory in this restore.
#[derive(Clone, Copy)]
pub(super) struct DirRole {
    /// It is in the snapshot only because it is above a source.
    pub(super) ancestor_only: bool,
    /// It is above a source or is one. If the user has replaced it by a symbolic link, the link is followed.
    pub(super) may_be_link: bool,
    /// The user's selection includes the directory itself, not only entries below it.
    pub(super) selected: bool,
    pub(super) tree: ChunkId,
}

impl DirRole {
    /// Returns whether only entries below the directory are restored, so that its own attributes must not be
    /// changed.
    fn only_leads(self) -> bool {
        self.ancestor_only || !self.selected
    }
}

pub(super) enum DirState {
    /// Not created yet. It will be when an entry in it is restored.
    NotCreated(Meta),
    Exists(TargetDir),
    /// Nothing can be restored in it, which has been reported.
    Unusable,
}

/// A directory that exists in the target, or would after a real run.
pub(super) struct TargetDir {
    /// It did not exist before this run, so entries in it need not be looked for.
    pub(super) is_new: bool,
    /// Attributes to set when nothing more is written to it; `None` if they do not change.
    pub(super) final_attributes: Option<FinalAttributes>,
    /// Temporary files that a killed run left in it.
    pub(super) leftovers: Vec<Vec<u8>>,
    /// Entries restored in it so far, if the target folds names (ignores case or Unicode normalization).
    pub(super) folded: Option<Folded>,
}

#[derive(Default)]
pub(super) struct Folded {
    /// Folded names.
    names: HashSet<Vec<u8>>,
    /// Existing files with these names: device and inode.
    inodes: HashSet<(u64, u64)>,
}

pub(super) enum FinalAttributes {
    /// Set the snapshot's attributes.
    Set(Meta),
    /// Restore the attributes that the directory had before.
    Restore(Existing),
}

impl Level {
    pub(super) fn target_dir(&self) -> Option<&TargetDir> {
        match &self.state {
            DirState::Exists(dir) => Some(dir),
            _ => None,
        }
    }
}

impl Walk<'_, '_> {
    /// Returns the level of the target itself.
    pub(super) fn root_level(&self, tree: ChunkId, ancestor_only: bool) -> Level {
        let (job, base) = (self.job, Vec::new());
        let is_part = !job.options.include.is_empty() || job.options.only.is_some();
        let target = job.target.as_ref();
        let before = target.filter(|_| ancestor_only || is_part).and_then(|target| target.stat_dir(b"").ok());
        let role = DirRole { ancestor_only, may_be_link: ancestor_only, selected: true, tree };
        let (leftovers, folds) = self.scan_dir(&base, target.is_none(), job.root_folds());
        let folded = folds.then(Folded::default);
        let dir = TargetDir {
            is_new: target.is_none(),
            final_attributes: before.map(FinalAttributes::Restore),
            leftovers,
            folded,
        };
        Level { base, role, state: DirState::Exists(dir) }
    }

    /// Enters a directory of the snapshot if it, or an entry below it, may be selected.
    pub(super) fn descend(
        &mut self,
        walk: &mut TreeWalk<'_, Level>,
        path: Vec<u8>,
        meta: Meta,
        tree: ChunkId,
    ) {
        let selected = self.job.selection.takes(&path, true);
        if !selected && !self.job.selection.may_hold(&path) {
            return;
        }
        let ancestor_only = meta.flags & flags::ANCESTOR_ONLY != 0;
        let may_be_link = ancestor_only || walk.kept().is_some_and(|level| level.role.ancestor_only);
        let role = DirRole { ancestor_only, may_be_link, selected, tree };
        let level = Level { base: path, role, state: DirState::NotCreated(meta) };
        if walk.enter(tree, level).is_err() {
            return self.job.record_error(walk.path(), &Error::Refused(TOO_DEEP.into()));
        }
        if selected && self.create_open_dirs(walk.all_kept()) {
            self.dirs += 1;
        }
    }

    /// Creates those of the `open` directories that do not exist yet. Returns whether entries can be restored
    /// in the last one.
    pub(super) fn create_open_dirs(&mut self, open: &mut [Level]) -> bool {
        let mut unusable = false;
        for number in 0..open.len() {
            let Some((parent, [level, ..])) = open.split_at_mut_checked(number) else { return false };
            if unusable {
                level.state = DirState::Unusable;
                continue;
            }
            if let DirState::NotCreated(meta) = &mut level.state {
                let meta = std::mem::take(meta);
                level.state = self
                    .create_in_parent(parent.last_mut(), level, meta)
                    .map_or(DirState::Unusable, DirState::Exists);
            }
            unusable = level.target_dir().is_none();
        }
        !unusable
    }

    /// Creates a directory. Returns `None`, after reporting it, if that is refused or fails.
    fn create_in_parent(
        &mut self,
        parent: Option<&mut Level>,
        level: &Level,
        meta: Meta,
    ) -> Option<TargetDir> {
        let mut parent_state = (false, false);
        if let Some(parent) = parent {
            parent_state = parent.target_dir().map_or(parent_state, |dir| (dir.is_new, dir.folded.is_some()));
            let name = level.base.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            // If the directory is selected itself, `handle_entry` has checked this.
            if !level.role.selected && self.name_collides(parent, &level.base, name) {
                return None;
            }
        }
        self.create_dir(&level.base, meta, level.role, parent_state)
    }

    /// Creates a directory, or uses an existing one. Returns `None`, after reporting it, if that is refused
    /// or fails.
    fn create_dir(
        &mut self,
        path: &[u8],
        meta: Meta,
        role: DirRole,
        (parent_is_new, parent_folds): (bool, bool),
    ) -> Option<TargetDir> {
        let job = self.job;
        let (found, replaces) = match self.find_existing(path, &meta, role, parent_is_new) {
            Ok(Found::Nothing) => (None, false),
            Ok(Found::InTheWay) => (None, true),
            Ok(Found::Dir(found)) => (Some(found), false),
            Ok(Found::Kept) => {
                job.record_action(Action::Kept, path, 0);
                return None;
            }
            Err(err) => {
                job.record_error(path, &err);
                return None;
            }
        };
        let final_attributes = match found {
            None => {
                let make = |target: &Target| {
                    if replaces { target.make_dir(path) } else { target.make_new_dir(path) }
                };
                if !job.try_on_target(path, make) {
                    return None;
                }
                job.report_action(Action::Created, path, 0);
                Some(FinalAttributes::Set(meta))
            }
            Some(found) => {
                let makes_usable = !role.only_leads() || !found.is_usable() && !job.is_root();
                if makes_usable && !job.try_on_target(path, |target| target.make_dir(path)) {
                    return None;
                }
                if role.only_leads() || job.options.overwrite == Overwrite::Never {
                    Some(FinalAttributes::Restore(found))
                } else {
                    Some(FinalAttributes::Set(meta))
                }
            }
        };
        let is_new = found.is_none();
        let (leftovers, folds) = self.scan_dir(path, is_new, parent_folds);
        Some(TargetDir { is_new, final_attributes, leftovers, folded: folds.then(Folded::default) })
    }

    /// Determines what exists at the path of a directory of the snapshot. Links that lead to directories are
    /// followed where [`DirRole::may_be_link`] allows it.
    fn find_existing(
        &mut self,
        path: &[u8],
        meta: &Meta,
        role: DirRole,
        parent_is_new: bool,
    ) -> Result<Found> {
        let job = self.job;
        let Some(found) = job.existing(path, parent_is_new)? else { return Ok(Found::Nothing) };
        if found.is_dir() {
            job.refuse_protected(path, &found)?;
            return Ok(Found::Dir(found));
        }
        let link = if found.is_symlink() { job.target()?.resolve_link(path)? } else { LinkTarget::Nowhere };
        let keeps = job.options.overwrite.keeps(&found, meta);
        match link {
            LinkTarget::Nowhere if role.only_leads() => Err(Error::Refused(refusal(&link, role))),
            LinkTarget::Nowhere if keeps => Ok(Found::Kept),
            LinkTarget::Nowhere => Ok(Found::InTheWay),
            _ if keeps && role.selected && !role.may_be_link => Ok(Found::Kept),
            LinkTarget::Beneath(destination)
                if role.may_be_link && !self.mixes_with_other_entries(role, &destination)? =>
            {
                job.target()?.follow(path, destination);
                let found = job.target()?.stat_dir(path)?;
                job.refuse_protected(path, &found)?;
                Ok(Found::Dir(found))
            }
            link => Err(Error::Refused(refusal(&link, role))),
        }
    }

    /// Returns whether the snapshot has other entries at the destination of a link, so that those below the
    /// link would mix with them.
    fn mixes_with_other_entries(&mut self, role: DirRole, destination: &[u8]) -> Result<bool> {
        let other = if destination.is_empty() {
            Some(self.root)
        } else {
            match dir_reader::lookup(self.reader, self.root, destination)? {
                None => None,
                Some(Entry { kind: Kind::Dir { tree }, .. }) => Some(tree),
                Some(_) => return Ok(true),
            }
        };
        other.map_or(Ok(false), |other| self.trees_differ((role.tree, role.ancestor_only), other, 0))
    }

    /// Returns whether two directories have different entries under the same name. Below sources, any
    /// difference counts.
    fn trees_differ(
        &mut self,
        (tree, ancestor_only): (ChunkId, bool),
        other: ChunkId,
        depth: usize,
    ) -> Result<bool> {
        if tree == other {
            return Ok(false);
        }
        if !ancestor_only || depth > MAX_COMPARED_DEPTH {
            return Ok(true);
        }
        let mut dir = DirReader::new(tree);
        while let Some(entry) = dir.next(self.reader)? {
            let Some(theirs) = dir_reader::child(self.reader, other, &entry.name)? else { continue };
            let ancestor_only = entry.meta.flags & flags::ANCESTOR_ONLY != 0;
            let differs = match (&entry.kind, &theirs.kind) {
                (Kind::Dir { tree }, Kind::Dir { tree: other }) => {
                    self.trees_differ((*tree, ancestor_only), *other, depth + 1)?
                }
                (ours, theirs) => ours != theirs,
            };
            if differs {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns temporary files that a killed run left in a directory, and whether the target folds names in
    /// it. If the existing names do not show this, it is assumed to be as in the parent directory.
    fn scan_dir(&self, base: &[u8], is_new: bool, parent_folds: bool) -> (Vec<Vec<u8>>, bool) {
        let Some(target) = self.job.target.as_ref().filter(|_| !is_new) else {
            return (Vec::new(), parent_folds);
        };
        // A directory that cannot be listed causes an error when something is written to it.
        let names = target.names(base).ok().flatten().unwrap_or_default();
        let folds = target.folds(base, &names).unwrap_or(parent_folds);
        let leftovers = if self.job.options.dry_run { Vec::new() } else { target.leftovers(names) };
        (leftovers, folds)
    }

    /// Returns whether an entry would replace another restored entry of the same directory, because the
    /// target folds their names. Reports this as a problem.
    pub(super) fn name_collides(&self, level: &mut Level, path: &[u8], name: &[u8]) -> bool {
        let DirState::Exists(TargetDir { is_new, folded: Some(folded), .. }) = &mut level.state else {
            return false;
        };
        let found = self.job.existing(path, *is_new).ok().flatten().filter(|found| !found.has_other_names());
        let collides = !folded.names.insert(name_folding::key(name))
            || found.is_some_and(|found| !folded.inodes.insert(found.id()));
        if collides {
            let why = "the target's file system does not distinguish its name from that of another restored \
                       entry of this directory: restore it to another target, or alone with \
                       `RestoreOptions::include`";
            self.job.record_error(path, &Error::Refused(why.into()));
        }
        collides
    }
}

enum Found {
    Nothing,
    /// Neither a directory nor a link to one.
    InTheWay,
    Dir(Existing),
    /// The overwrite rule keeps it.
    Kept,
}

/// Explains why a directory cannot be restored over what exists at its path.
fn refusal(link: &LinkTarget, role: DirRole) -> String {
    match link {
        LinkTarget::Outside(to) => format!(
            "it is a symbolic link to {}, outside of the target: nothing below it was restored",
            to.display()
        ),
        LinkTarget::Beneath(to) if role.may_be_link => format!(
            "it is a symbolic link to {}, which the snapshot also contains: nothing below it was restored",
            String::from_utf8_lossy(to)
        ),
        LinkTarget::Beneath(to) => format!(
            "it is a symbolic link to the directory {}, but a directory in the snapshot: nothing below it \
             was restored (remove the link to restore it)",
            String::from_utf8_lossy(to)
        ),
        LinkTarget::Nowhere => {
            "it is not a directory, but entries below it are selected: nothing below it was restored".into()
        }
    }
}

impl Job<'_> {
    /// Refuses to restore into a protected directory.
    pub(in crate::ops::restore) fn refuse_protected(&self, path: &[u8], found: &Existing) -> Result<()> {
        let Some(protected) = self.target.as_ref().and_then(|target| target.protected(found)) else {
            return Ok(());
        };
        let path = String::from_utf8_lossy(path);
        Err(Error::Refused(format!("{path} is {}: nothing was restored there", protected.what)))
    }

    pub(super) fn is_root(&self) -> bool {
        crate::sys::users::is_root()
    }

    /// Returns whether names are folded in the target or, if that does not exist, in its nearest existing
    /// parent.
    fn root_folds(&self) -> bool {
        match &self.target {
            Some(target) if !self.options.dry_run => target.probe_folding(),
            _ => name_folding::folds_near(&self.options.target),
        }
    }
}
