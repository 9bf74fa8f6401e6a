//! Walks the snapshot: makes directories, hands files to windows, keeps what is no file until its window's files are
//! there, and gives directories their attributes when nothing more is written to them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;

use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::MAX_PATH;
use crate::model::entry::Meta;
use crate::model::entry::flags;
use crate::model::id::ChunkId;
use crate::observe::Event;
use crate::ops::restore::Job;
use crate::ops::restore::delete::join;
use crate::ops::restore::nodes::Link;
use crate::ops::restore::rules;
use crate::ops::restore::rules::Did;
use crate::ops::restore::window::Planned;
use crate::ops::restore::window::State;
use crate::ops::restore::window::Window;
use crate::store::chunks::ChunkReader;
use crate::store::trees::Budget;
use crate::store::trees::DirStream;
use crate::store::trees::MAX_NESTING;

/// Links, special files and left directories that wait at once for the files of their window.
const WAITING: usize = 50_000;

/// The walk over the snapshot.
pub(super) struct Walk<'a, 'j> {
    job: &'a Job<'j>,
    reader: &'a mut ChunkReader,
    budget: Budget,
    window: Window,
    /// First path of each group of hard links: all that grows with the snapshot.
    links: HashMap<u64, Vec<u8>>,
    /// What waits for the files of the window.
    later: Later,
    /// Directories that their owner may not enter: they get their attributes when nobody has to go into them any more.
    closed: Vec<(Vec<u8>, Meta)>,
    pub(super) files: u64,
    pub(super) dirs: u64,
    pub(super) others: u64,
    pub(super) bytes: u64,
    pub(super) changing: u64,
}

/// What comes when the files that were met before it are there, in this order.
#[derive(Default)]
struct Later {
    /// What is no file, and whether its directory is new.
    nodes: Vec<(Vec<u8>, Entry, bool)>,
    /// Further names.
    links: Vec<Link>,
    /// Directories that the walk has left and whose attributes are to be set, deepest first.
    dirs: Vec<(Vec<u8>, Meta)>,
}

impl Later {
    fn is_full(&self) -> bool {
        self.nodes.len() + self.links.len() + self.dirs.len() >= WAITING
    }
}

/// A directory being walked.
struct Level {
    base: Vec<u8>,
    dir: DirStream,
    /// Its attributes, if they are to be set.
    meta: Option<Meta>,
    /// It was not there before: nothing can be in it.
    fresh: bool,
    /// Temporary names that a killed run left in it.
    leftovers: Vec<Vec<u8>>,
}

impl<'a, 'j> Walk<'a, 'j> {
    pub(super) fn new(job: &'a Job<'j>, reader: &'a mut ChunkReader, budget: Budget) -> Self {
        Self {
            job,
            budget,
            reader,
            window: Window::default(),
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

    /// Restores everything but what `--delete` is about.
    pub(super) fn all(&mut self, root: ChunkId, start: Option<Entry>) -> Result<()> {
        match start {
            None => self.tree(root)?,
            Some(Entry { kind: Kind::Dir { tree }, .. }) => self.tree(tree)?,
            Some(entry) => match self.budget.take(&entry.name, &entry) {
                Ok(()) => {
                    self.tell_loss(&entry.name, &entry);
                    self.entry(entry.name.clone(), entry, self.job.target.is_none())?;
                }
                Err(err) => self.job.problem(&entry.name, &err),
            },
        }
        self.settle()
    }

    /// Restores what is planned, and then what waits for it: so memory follows the window, not the snapshot.
    fn settle(&mut self) -> Result<()> {
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
        for (path, meta) in later.dirs {
            self.job.check_stop()?;
            // Hard links and `--delete` may have to come by once more.
            if rules::lets_its_owner_in(&meta) {
                self.job.finish_dir(&path, &meta);
            } else {
                self.closed.push((path, meta));
            }
        }
        Ok(())
    }

    /// What can only be done when all else is: modes that let nobody in, and what locks a thing against any change.
    pub(super) fn close(self) {
        for (path, meta) in &self.closed {
            self.job.finish_dir(path, meta);
        }
        if let Some(target) = self.job.target.as_ref().filter(|_| !self.job.options.dry_run) {
            target.lock(&mut |path, err| self.job.problem(path, err));
        }
    }

    /// The reader, for what comes after the walk.
    pub(super) fn reader(&mut self) -> &mut ChunkReader {
        self.reader
    }

    fn tree(&mut self, root: ChunkId) -> Result<()> {
        let top = self.level(Vec::new(), root, self.job.target.is_none(), None);
        let mut open = vec![top];
        while let Some(level) = open.last_mut() {
            self.job.check_stop()?;
            if self.window.is_full() || self.later.is_full() {
                self.settle()?;
            }
            let entry = match level.dir.next(self.reader) {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    if let Some(level) = open.pop() {
                        self.tidy(&level);
                        self.leave(level);
                    }
                    continue;
                }
                Err(err) if err.is_damage() => {
                    self.job.problem(&level.base, &err);
                    open.pop().into_iter().for_each(|level| self.leave(level));
                    continue;
                }
                Err(err) => return Err(err),
            };
            level.leftovers.retain(|name| *name != entry.name);
            let (path, fresh, depth) = (join(&level.base, &entry.name), level.fresh, open.len());
            if let Err(err) = self.budget.take(&path, &entry) {
                self.job.problem(&path, &err);
                if self.budget.is_spent() {
                    open.into_iter().rev().for_each(|level| self.leave(level));
                    return Ok(());
                }
                continue;
            }
            self.tell_loss(&path, &entry);
            if let Kind::Dir { tree } = entry.kind {
                if let Some((fresh, meta)) = self.enter(&path, entry.meta, fresh, depth) {
                    let level = self.level(path, tree, fresh, meta);
                    open.push(level);
                }
            } else if self.job.selection.takes(&path, false) {
                self.entry(path, entry, fresh)?;
            }
        }
        Ok(())
    }

    /// What a repair could not save all of is restored as far as it was, and said to be so.
    fn tell_loss(&self, path: &[u8], entry: &Entry) {
        if let Some(why) = entry.meta.loss().filter(|_| self.job.selection.takes(path, entry.is_dir())) {
            self.job.note(path, why.to_owned());
        }
    }

    fn level(&self, base: Vec<u8>, tree: ChunkId, fresh: bool, meta: Option<Meta>) -> Level {
        let leftovers = match &self.job.target {
            // What cannot be listed is found out when something is written there.
            Some(target) if !fresh && !self.job.options.dry_run => {
                target.leftovers(&base).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        Level { base, dir: DirStream::new(tree), meta, fresh, leftovers }
    }

    fn leave(&mut self, level: Level) {
        self.later.dirs.extend(level.meta.map(|meta| (level.base, meta)));
    }

    /// Removes what a killed run left in a directory and the snapshot does not hold.
    fn tidy(&self, level: &Level) {
        for name in &level.leftovers {
            let path = join(&level.base, name);
            self.job.step(&path, |target| target.remove_leftover(&path));
        }
    }

    /// Makes a directory if anything in it may be selected; whether it is new, and what attributes it is to get in the
    /// end. Nothing if it is not to be entered.
    fn enter(&mut self, path: &[u8], meta: Meta, fresh: bool, depth: usize) -> Option<(bool, Option<Meta>)> {
        let taken = self.job.selection.takes(path, true);
        if depth >= MAX_NESTING || path.len() > MAX_PATH {
            let why = Error::Refused("too many directories inside one another".into());
            self.job.problem(path, &why);
            return None;
        }
        if !taken && !self.job.selection.may_hold(path) {
            return None;
        }
        let rule = self.job.options.overwrite;
        let found = match self.job.existing(path, fresh) {
            Ok(found) => found,
            Err(err) => {
                self.job.problem(path, &err);
                return None;
            }
        };
        if found.is_some_and(|found| !found.is_dir() && rule.keeps(&found, &meta)) {
            self.job.did(Did::Kept, path, 0);
            return None;
        }
        let there = found.filter(|found| found.is_dir());
        if !self.job.options.dry_run && !self.job.step(path, |target| target.make_dir(path)) {
            return None;
        }
        self.dirs += u64::from(taken);
        if there.is_none() {
            self.job.tell(Did::Created, path, 0);
        }
        let sets = there.is_none_or(|found| rule.sets_dir(&found, taken));
        Some((there.is_none(), sets.then_some(meta)))
    }

    fn entry(&mut self, path: Vec<u8>, entry: Entry, fresh: bool) -> Result<()> {
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
            let why = format!("{path} changed each time it was read for this snapshot: it may mix versions");
            self.job.observer.notice(Event::Warning(&why));
        }
        if entry.meta.link != 0 && self.is_further_name(&path, &entry, fresh) {
            return Ok(());
        }
        let Kind::File { size, content } = entry.kind else {
            self.later.nodes.push((path, entry, fresh));
            return Ok(());
        };
        let file = Planned {
            path,
            size,
            meta: entry.meta,
            fresh,
            plan: OnceLock::new(),
            agrees: AtomicBool::new(false),
            differs: AtomicBool::new(false),
            spans: AtomicBool::new(false),
            left: AtomicUsize::new(1),
            state: Mutex::new(State::Waiting),
        };
        self.window.add(self.job, self.reader, file, &content)
    }

    /// Whether a hard link's name is done with: it waits for the first one, or stays as it is. A name that stays as it
    /// is cannot be the first: the others would become names of something else.
    fn is_further_name(&mut self, path: &[u8], entry: &Entry, fresh: bool) -> bool {
        match self.job.keeps(path, &entry.meta, fresh) {
            Ok(false) => {}
            Ok(true) => {
                self.job.did(Did::Kept, path, entry.size());
                return true;
            }
            Err(err) => {
                self.job.problem(path, &err);
                return true;
            }
        }
        let Some(first) = self.links.get(&entry.meta.link).cloned() else {
            self.links.insert(entry.meta.link, path.to_vec());
            return false;
        };
        self.later.links.push(Link { first, path: path.to_vec(), size: entry.size() });
        true
    }
}
