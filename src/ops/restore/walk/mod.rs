//! Walks the snapshot: passes directories to `enter` and files to the batch, defers everything else until the
//! files of its batch are written, and sets the attributes of directories to which nothing more is written.

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
use crate::ops::restore::walk::enter::{End, Level, State, There};
use crate::ops::restore::{Job, batch, overwrite};
use crate::progress::Event;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};

/// Maximum number of links, special files and finished directories that wait for the files of their batch.
const WAITING: usize = 50_000;

/// The walk over the snapshot.
pub(super) struct Walk<'a, 'j> {
    pub(super) job: &'a Job<'j>,
    pub(super) reader: &'a mut ChunkReader,
    /// Root of the tree that is restored.
    pub(super) root: ChunkId,
    budget: WalkLimits,
    window: FileBatch,
    /// First path of each group of hard links. The only state that grows with the snapshot.
    links: HashMap<u128, (LinkGroup, Vec<u8>)>,
    /// What waits for the files of the batch.
    later: Later,
    /// Directories that their owner may not enter. They get their attributes at the very end, when they need
    /// not be entered any more.
    closed: Vec<(Vec<u8>, Meta)>,
    pub(super) files: u64,
    pub(super) dirs: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
    pub(super) changing: u64,
}

/// Work to do once the files met before it are written, in this order.
#[derive(Default)]
struct Later {
    /// Entries that are not regular files, and whether their directory is new.
    nodes: Vec<(Vec<u8>, Entry, bool)>,
    /// Further names of hard links.
    links: Vec<Link>,
    /// Directories that the walk has left, deepest first.
    dirs: Vec<(Vec<u8>, End)>,
}

impl Later {
    fn is_full(&self) -> bool {
        self.nodes.len() + self.links.len() + self.dirs.len() >= WAITING
    }
}

impl<'a, 'j> Walk<'a, 'j> {
    pub(super) fn new(
        job: &'a Job<'j>,
        reader: &'a mut ChunkReader,
        root: ChunkId,
        budget: WalkLimits,
    ) -> Self {
        Self {
            job,
            root,
            budget,
            reader,
            window: FileBatch::default(),
            links: HashMap::new(),
            later: Later::default(),
            closed: Vec::new(),
            files: 0,
            dirs: 0,
            others: 0,
            bytes: 0,
            changing: 0,
        }
    }

    /// Restores everything below the root, or the single entry `alone`. `way`: the root only leads to
    /// sources.
    pub(super) fn restore_all(&mut self, way: bool, alone: Option<Entry>) -> Result<()> {
        match alone {
            None => self.tree(way)?,
            Some(mut entry) => match self.budget.take(&entry.name, &entry) {
                Ok(()) => {
                    self.tell_loss(&entry.name, &entry);
                    self.job.drop_unwanted_metadata(&mut entry.meta);
                    self.job.matched(&entry.name);
                    self.entry(entry.name.clone(), entry, self.job.target.is_none())?;
                }
                Err(err) => self.job.problem(&entry.name, &err),
            },
        }
        self.finish_batch()
    }

    /// Restores the batch and then what waits for it, so that memory is bounded by the batch, not by the
    /// snapshot.
    fn finish_batch(&mut self) -> Result<()> {
        self.window.flush(self.job)?;
        let later = std::mem::take(&mut self.later);
        for (path, entry, fresh) in later.nodes {
            self.job.check_stop()?;
            self.job.node(&path, &entry, fresh);
        }
        for link in later.links {
            self.job.check_stop()?;
            self.job.link(&link);
        }
        for (path, end) in later.dirs {
            self.job.check_stop()?;
            match end {
                // Hard links and `--delete` may still have to enter it.
                End::Set(meta) if overwrite::lets_its_owner_in(&meta) => self.job.finish_dir(&path, &meta),
                End::Set(meta) => self.closed.push((path, meta)),
                End::PutBack(was) => {
                    self.job.step(&path, |target| target.put_back(&path, &was));
                }
            }
        }
        self.job.report_notes();
        Ok(())
    }

    /// Does what must come last: sets modes that shut the owner out, and immutable flags.
    pub(super) fn close(self) {
        for (path, meta) in &self.closed {
            self.job.finish_dir(path, meta);
        }
        if let Some(target) = self.job.target.as_ref().filter(|_| !self.job.options.dry_run) {
            target.lock(&mut |path, err| self.job.problem(path, err));
        }
        self.job.report_notes();
    }

    /// Returns the reader for steps that follow the walk.
    pub(super) fn reader(&mut self) -> &mut ChunkReader {
        self.reader
    }

    fn tree(&mut self, way: bool) -> Result<()> {
        let mut walk = TreeWalk::new(self.root, self.budget, self.top(self.root, way));
        loop {
            self.job.check_stop()?;
            if self.window.is_full() || self.later.is_full() {
                self.finish_batch()?;
            }
            if walk.kept().is_some_and(|level| matches!(level.state, State::Barred)) {
                walk.leave();
                continue;
            }
            let Some(step) = walk.step(self.reader)? else { return Ok(()) };
            if let (WalkStep::Entry(entry) | WalkStep::Excess(entry, _), Some(level)) = (&step, walk.kept())
                && let State::There(there) = &mut level.state
            {
                there.leftovers.retain(|name| *name != entry.name);
            }
            match step {
                WalkStep::Entry(mut entry) => {
                    self.tell_loss(walk.path(), &entry);
                    self.job.drop_unwanted_metadata(&mut entry.meta);
                    self.handle_entry(&mut walk, entry)?;
                }
                WalkStep::Left { kept: level, .. } => {
                    self.remove_stale_temp_files(&level);
                    self.leave(level);
                }
                WalkStep::Damaged(err) => {
                    self.job.problem(walk.path(), &err);
                    walk.leave().into_iter().for_each(|level| self.leave(level));
                }
                WalkStep::Excess(_, err) => {
                    self.job.problem(walk.path(), &err);
                    while walk.is_spent()
                        && let Some(level) = walk.leave()
                    {
                        self.leave(level);
                    }
                }
            }
        }
    }

    /// Handles an entry of the last open directory.
    fn handle_entry(&mut self, walk: &mut TreeWalk<'_, Level>, entry: Entry) -> Result<()> {
        let path = walk.path().to_vec();
        let taken = self.job.selection.takes(&path, entry.is_dir());
        if taken {
            self.job.matched(&path);
            if !self.make_ready(walk.all_kept()) {
                return Ok(());
            }
            let folds = walk.kept().is_some_and(|level| self.is_taken_for_another(level, &path, &entry.name));
            if folds {
                return Ok(());
            }
        }
        if let Kind::Dir { tree } = entry.kind {
            self.descend(walk, path, entry.meta, tree);
        } else if taken {
            let fresh = walk.kept().and_then(|level| level.there()).is_some_and(|there| there.fresh);
            self.entry(path, entry, fresh)?;
        }
        Ok(())
    }

    /// Reports an entry of which a repair could save only a part. It is restored as far as it was saved.
    fn tell_loss(&self, path: &[u8], entry: &Entry) {
        if let Some(why) = entry.meta.loss().filter(|_| self.job.selection.takes(path, entry.is_dir())) {
            self.job.note(Problem::new(path, ErrorKind::Damaged, why));
        }
    }

    fn leave(&mut self, level: Level) {
        if let State::There(There { end: Some(end), .. }) = level.state {
            self.later.dirs.push((level.base, end));
        }
    }

    /// Removes temporary files that a killed run left in a directory, unless the snapshot holds their names.
    fn remove_stale_temp_files(&self, level: &Level) {
        for name in level.there().iter().flat_map(|there| &there.leftovers) {
            let path = join(&level.base, name);
            self.job.step(&path, |target| target.remove_leftover(&path));
        }
    }

    fn entry(&mut self, path: Vec<u8>, entry: Entry, fresh: bool) -> Result<()> {
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
            && self.is_further_name(&path, &entry, group, fresh)
        {
            return Ok(());
        }
        let Kind::File { size, content } = entry.kind else {
            self.later.nodes.push((path, entry, fresh));
            return Ok(());
        };
        let file = FilePlan {
            path,
            size,
            meta: entry.meta,
            fresh,
            plan: OnceLock::new(),
            agrees: AtomicBool::new(false),
            differs: AtomicBool::new(false),
            spans: AtomicBool::new(false),
            left: AtomicUsize::new(1),
            state: Mutex::new(batch::State::Waiting),
        };
        self.window.add(self.job, self.reader, file, &content)
    }

    /// Returns whether a hard link's name needs no more work: it waits for the first name, or is kept as it
    /// is. A kept name cannot be the first, or the others would become links to a different file.
    fn is_further_name(&mut self, path: &[u8], entry: &Entry, group: LinkGroup, fresh: bool) -> bool {
        match self.job.keeps(path, &entry.meta, fresh) {
            Ok(false) => {}
            Ok(true) => {
                self.job.record_action(Action::Kept, path, entry.size());
                return true;
            }
            Err(err) => {
                self.job.problem(path, &err);
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
        self.later.links.push(Link { first, path: path.to_vec(), entry });
        true
    }
}
