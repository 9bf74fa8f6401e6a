//! Walks the snapshot: passes directories to `enter` and files to the batch. Links, special files and the
//! attributes of finished directories are deferred until the files of the batch are written.

mod enter;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;

use crate::codec::tree::dir::{LinkGroup, link_group};
use crate::error::{ErrorKind, Problem, Result};
use crate::model::entry::{Content, Entry, Kind, Meta, flags};
use crate::model::id::ChunkId;
use crate::ops::restore::batch::{FileBatch, FilePlan};
use crate::ops::restore::delete::join;
use crate::ops::restore::overwrite::Action;
use crate::ops::restore::special::Link;
use crate::ops::restore::walk::enter::{DirState, FinalAttributes, Level, TargetDir};
use crate::ops::restore::{Job, batch, overwrite};
use crate::progress::Event;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};

/// Maximum number of links, special files and finished directories that wait for the files of their batch.
const MAX_DEFERRED: usize = 50_000;

/// The walk of the snapshot's tree, with its counters.
pub(super) struct Walk<'a, 'j> {
    pub(super) job: &'a Job<'j>,
    pub(super) reader: &'a mut ChunkReader,
    /// Root of the tree that is restored.
    pub(super) root: ChunkId,
    limits: WalkLimits,
    batch: FileBatch,
    /// First path of each group of hard links, by link number. The only state that grows with the snapshot.
    links: HashMap<u128, (LinkGroup, Vec<u8>)>,
    /// Work that needs the files of the batch.
    deferred: Deferred,
    /// Directories that their owner may not enter. They get their attributes last, since until then they are
    /// entered for hard links and `--delete`.
    closed_dirs: Vec<(Vec<u8>, Meta)>,
    pub(super) files: u64,
    pub(super) dirs: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
    pub(super) changing: u64,
}

/// Work to be done, in this order, when the files of the batch are written.
#[derive(Default)]
struct Deferred {
    /// Entries that are not regular files, and whether their directory is new.
    nodes: Vec<(Vec<u8>, Entry, bool)>,
    /// Further names of hard links.
    links: Vec<Link>,
    /// Directories that the walk has left, deepest first.
    dirs: Vec<(Vec<u8>, FinalAttributes)>,
}

impl Deferred {
    fn is_full(&self) -> bool {
        self.nodes.len() + self.links.len() + self.dirs.len() >= MAX_DEFERRED
    }
}

impl<'a, 'j> Walk<'a, 'j> {
    pub(super) fn new(
        job: &'a Job<'j>,
        reader: &'a mut ChunkReader,
        root: ChunkId,
        limits: WalkLimits,
    ) -> Self {
        Self {
            job,
            root,
            limits,
            reader,
            batch: FileBatch::default(),
            links: HashMap::new(),
            deferred: Deferred::default(),
            closed_dirs: Vec::new(),
            files: 0,
            dirs: 0,
            others: 0,
            bytes: 0,
            changing: 0,
        }
    }

    /// Restores everything below the root, or only the entry `single`. `ancestor_only`: the root is in the
    /// snapshot only because it is above a source.
    pub(super) fn restore_all(&mut self, ancestor_only: bool, single: Option<Entry>) -> Result<()> {
        match single {
            None => self.walk_tree(ancestor_only)?,
            Some(mut entry) => match self.limits.count(&entry.name, &entry) {
                Ok(()) => {
                    self.report_loss(&entry.name, &entry);
                    self.job.drop_unwanted_metadata(&mut entry.meta);
                    self.job.matched(&entry.name);
                    self.restore_entry(entry.name.clone(), entry, self.job.target.is_none())?;
                }
                Err(err) => self.job.record_error(&entry.name, &err),
            },
        }
        self.finish_batch()
    }

    /// Restores the batch, and then the deferred work.
    fn finish_batch(&mut self) -> Result<()> {
        self.batch.flush(self.job)?;
        let deferred = std::mem::take(&mut self.deferred);
        for (path, entry, dir_is_new) in deferred.nodes {
            self.job.check_stop()?;
            self.job.create_node(&path, &entry, dir_is_new);
        }
        for link in deferred.links {
            self.job.check_stop()?;
            self.job.create_link(&link);
        }
        for (path, final_attributes) in deferred.dirs {
            self.job.check_stop()?;
            match final_attributes {
                FinalAttributes::Set(meta) if overwrite::owner_may_enter(&meta) => {
                    self.job.finish_dir(&path, &meta)
                }
                FinalAttributes::Set(meta) => self.closed_dirs.push((path, meta)),
                FinalAttributes::Restore(before) => {
                    self.job.try_on_target(&path, |target| target.restore_attributes(&path, &before));
                }
            }
        }
        self.job.report_notes();
        Ok(())
    }

    /// Sets the modes of directories that their owner may not enter, and immutable flags. Nothing can be
    /// written afterwards.
    pub(super) fn finish(self) {
        for (path, meta) in &self.closed_dirs {
            self.job.finish_dir(path, meta);
        }
        if let Some(target) = self.job.target.as_ref().filter(|_| !self.job.options.dry_run) {
            target.lock(&mut |path, err| self.job.record_error(path, err));
        }
        self.job.report_notes();
    }

    pub(super) fn reader(&mut self) -> &mut ChunkReader {
        self.reader
    }

    fn walk_tree(&mut self, ancestor_only: bool) -> Result<()> {
        let mut walk = TreeWalk::new(self.root, self.limits, self.root_level(self.root, ancestor_only));
        loop {
            self.job.check_stop()?;
            if self.batch.is_full() || self.deferred.is_full() {
                self.finish_batch()?;
            }
            if walk.kept().is_some_and(|level| matches!(level.state, DirState::Unusable)) {
                walk.leave();
                continue;
            }
            let Some(step) = walk.step(self.reader)? else { return Ok(()) };
            if let (WalkStep::Entry(entry) | WalkStep::Excess(entry, _), Some(level)) = (&step, walk.kept())
                && let DirState::Exists(dir) = &mut level.state
            {
                dir.leftovers.retain(|name| *name != entry.name);
            }
            match step {
                WalkStep::Entry(mut entry) => {
                    self.report_loss(walk.path(), &entry);
                    self.job.drop_unwanted_metadata(&mut entry.meta);
                    self.handle_entry(&mut walk, entry)?;
                }
                WalkStep::Left { kept: level, .. } => {
                    self.remove_stale_temp_files(&level);
                    self.defer_dir(level);
                }
                WalkStep::Damaged(err) => {
                    self.job.record_error(walk.path(), &err);
                    walk.leave().into_iter().for_each(|level| self.defer_dir(level));
                }
                WalkStep::Excess(_, err) => {
                    self.job.record_error(walk.path(), &err);
                    while walk.is_spent()
                        && let Some(level) = walk.leave()
                    {
                        self.defer_dir(level);
                    }
                }
            }
        }
    }

    /// Handles an entry of the last open directory.
    fn handle_entry(&mut self, walk: &mut TreeWalk<'_, Level>, entry: Entry) -> Result<()> {
        let path = walk.path().to_vec();
        let selected = self.job.selection.takes(&path, entry.is_dir());
        if selected {
            self.job.matched(&path);
            if !self.create_open_dirs(walk.all_kept()) {
                return Ok(());
            }
            let collides = walk.kept().is_some_and(|level| self.name_collides(level, &path, &entry.name));
            if collides {
                return Ok(());
            }
        }
        if let Kind::Dir { tree } = entry.kind {
            self.descend(walk, path, entry.meta, tree);
        } else if selected {
            let dir_is_new = walk.kept().and_then(|level| level.target_dir()).is_some_and(|dir| dir.is_new);
            self.restore_entry(path, entry, dir_is_new)?;
        }
        Ok(())
    }

    /// Reports an entry of which a repair recovered only a part. That part is restored.
    fn report_loss(&self, path: &[u8], entry: &Entry) {
        if let Some(why) = entry.meta.loss().filter(|_| self.job.selection.takes(path, entry.is_dir())) {
            self.job.record_problem(Problem::new(path, ErrorKind::Damaged, why));
        }
    }

    /// Defers setting the attributes of a directory that the walk has left.
    fn defer_dir(&mut self, level: Level) {
        if let DirState::Exists(TargetDir { final_attributes: Some(final_attributes), .. }) = level.state {
            self.deferred.dirs.push((level.base, final_attributes));
        }
    }

    /// Removes temporary files that a killed run left in a directory, unless the snapshot has entries with
    /// these names.
    fn remove_stale_temp_files(&self, level: &Level) {
        for name in level.target_dir().iter().flat_map(|dir| &dir.leftovers) {
            let path = join(&level.base, name);
            self.job.try_on_target(&path, |target| target.remove_leftover(&path));
        }
    }

    /// Counts an entry that is not a directory, and adds it to the batch or defers it.
    fn restore_entry(&mut self, path: Vec<u8>, entry: Entry, dir_is_new: bool) -> Result<()> {
        if self.job.options.no_devices && entry.is_device() {
            return Ok(());
        }
        match entry.kind {
            Kind::File { size, .. } => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(size);
            }
            _ => self.others += 1,
        }
        if entry.meta.flags & flags::CHANGED_WHILE_READ != 0 {
            self.changing += 1;
            let path = String::from_utf8_lossy(&path);
            let why = format!("{path} changed each time the backup read it: it may mix versions");
            self.job.observer.notice(Event::Warning(&why));
        }
        if let Some(group) = link_group(&entry)
            && self.is_handled_as_link(&path, &entry, group, dir_is_new)
        {
            return Ok(());
        }
        let Kind::File { size, content } = entry.kind else {
            self.deferred.nodes.push((path, entry, dir_is_new));
            return Ok(());
        };
        let file = FilePlan {
            path,
            size,
            meta: entry.meta,
            dir_is_new,
            plan: OnceLock::new(),
            has_equal_parts: AtomicBool::new(false),
            has_different_parts: AtomicBool::new(false),
            spans_batches: AtomicBool::new(false),
            parts_left: AtomicUsize::new(1),
            state: Mutex::new(batch::FileState::Waiting),
        };
        self.batch.add(self.job, self.reader, file, &content)
    }

    /// Returns whether an entry with hard links needs no content: it is deferred until the first name of its
    /// group exists, the overwrite rule keeps the existing file, or it failed. A kept name is never the first
    /// one, since the others would become links to a different file.
    fn is_handled_as_link(&mut self, path: &[u8], entry: &Entry, group: LinkGroup, dir_is_new: bool) -> bool {
        match self.job.is_kept(path, &entry.meta, dir_is_new) {
            Ok(false) => {}
            Ok(true) => {
                self.job.record_action(Action::Kept, path, entry.size());
                return true;
            }
            Err(err) => {
                self.job.record_error(path, &err);
                return true;
            }
        }
        let Some((its_group, first)) = self.links.get(&entry.meta.link).cloned() else {
            self.links.insert(entry.meta.link, (group, path.to_vec()));
            return false;
        };
        if its_group != group {
            let [path, first] = [path, &first].map(String::from_utf8_lossy);
            let why = format!(
                "{path} is stored as a hard link of {first}, but with different content: it is restored as \
                 a separate file"
            );
            self.job.observer.notice(Event::Warning(&why));
            return false;
        }
        let kind = match &entry.kind {
            // The content is restored under the first name.
            Kind::File { size, .. } => Kind::File { size: *size, content: Content::Parts(Vec::new()) },
            other => other.clone(),
        };
        let entry = Entry { name: Vec::new(), kind, meta: entry.meta.clone() };
        self.deferred.links.push(Link { first, path: path.to_vec(), entry });
        true
    }
}
