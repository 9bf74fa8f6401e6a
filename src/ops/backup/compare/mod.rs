//! The comparer: compares the entries found by the walk with the parent's, and decides which files to read.

mod count;
mod files;
mod parent_dirs;
mod reuse;
mod unchanged_dirs;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::error::{Error, Result};
use crate::fs::path_stack::PathStack;
use crate::fs::walk::WalkEvent;
use crate::model::entry::{Content, Entry, Kind, Meta};
use crate::model::id::ChunkId;
use crate::ops::backup::alarm::statistics::Tally;
use crate::ops::backup::compare::count::Counter;
use crate::ops::backup::compare::parent_dirs::ParentDir;
use crate::ops::backup::compare::unchanged_dirs::UnchangedDir;
use crate::ops::backup::messages::{Input, Job, Message, Previous};
use crate::ops::backup::states::Version;
use crate::ops::backup::{Run, Source, Stdin};
use crate::progress::{Action, Event};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::write::siblings::Siblings;
use crate::repo::write::similarity::Older;
use crate::sys::process::{getgid, getuid};

/// Messages are sent in groups: waking the assembler for each costs more than comparing.
const MESSAGES_PER_GROUP: usize = 128;

/// A directory that the walk is in.
pub(super) struct OpenDir {
    pub(super) seq: u64,
    before: Option<ParentDir>,
    /// Its tree in the parent.
    tree: Option<ChunkId>,
    /// Files in that tree that new files may be similar to.
    siblings: Option<Siblings>,
    /// Its own entry.
    pub(super) entry: Entry,
    /// Whether that entry is unchanged, apart from the tree.
    same: bool,
    /// Whether the assembler was sent its `Enter` message.
    pub(super) announced: bool,
    /// State while the message is deferred because the directory is unchanged so far.
    pub(super) unchanged: Option<UnchangedDir>,
}

pub(super) struct Comparer<'a, 'run> {
    pub(super) run: &'a Run<'run>,
    jobs: &'a Sender<Job>,
    out: &'a Sender<Vec<Message>>,
    group: Vec<Message>,
    pub(super) reader: ChunkReader,
    links: HashMap<(u64, u64), u128>,
    /// Inodes with several names in the sources. Found at the first file with several hard links, for a past
    /// state only.
    pub(super) linked_inside: Option<HashSet<(u64, u64)>>,
    seq: u64,
    pub(super) tally: Tally,
    pub(super) path_stack: PathStack,
    /// Open directories. Those not yet sent to the assembler are at the end.
    pub(super) stack: Vec<OpenDir>,
}

/// Compares all entries.
pub(super) fn compare_all(
    run: &Run<'_>,
    source: &Source<'_>,
    jobs: &Sender<Job>,
    out: &Sender<Vec<Message>>,
) -> Result<Tally> {
    let mut comparer = Comparer {
        run,
        jobs,
        out,
        group: Vec::with_capacity(MESSAGES_PER_GROUP),
        reader: ChunkReader::new(run.repo, Arc::clone(&run.index))?,
        links: HashMap::new(),
        linked_inside: None,
        seq: 0,
        tally: Tally::default(),
        path_stack: PathStack::default(),
        stack: Vec::new(),
    };
    match source {
        Source::Files(walk) => {
            let mut counter = Counter::new(run, walk);
            for group in &walk.found {
                counter.report(jobs.is_full());
                group.into_iter().try_for_each(|event| comparer.handle(event))?;
            }
            counter.report(false);
        }
        Source::Stream(stdin) => {
            let kind = Kind::Dir { tree: ChunkId::new([0; 32]) };
            comparer.enter(Entry { name: Vec::new(), kind, meta: Meta::default() }, None)?;
            comparer.add_stream(stdin)?;
            comparer.leave()?;
        }
    }
    comparer.flush()?;
    Ok(comparer.tally)
}

impl Comparer<'_, '_> {
    pub(super) fn send(&mut self, message: Message) -> Result<()> {
        self.group.push(message);
        if self.group.len() < MESSAGES_PER_GROUP { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let group = std::mem::replace(&mut self.group, Vec::with_capacity(MESSAGES_PER_GROUP));
        self.out.send(group).map_err(|_| Error::Stopped)
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Returns the stored path of an entry of the open directory.
    pub(super) fn stored_path(&self, name: &[u8]) -> Vec<u8> {
        self.path_stack.stored_of(name)
    }

    pub(super) fn dir_seq(&self) -> u64 {
        self.stack.last().map_or(0, |open| open.seq)
    }

    fn handle(&mut self, event: WalkEvent) -> Result<()> {
        match event {
            WalkEvent::Enter(entry, place) => self.enter(entry, place),
            WalkEvent::Leave => self.leave(),
            WalkEvent::Entry(entry, inode) => self.compare(entry, None, inode),
            WalkEvent::SingleFile(entry, path, inode) => self.compare(entry, Some(&path), inode),
            WalkEvent::Problem(problem) => {
                self.run.report_problem(problem);
                Ok(())
            }
            WalkEvent::Vanished(path) => {
                self.run.report_vanished(&path);
                Ok(())
            }
            WalkEvent::Warning(text) => {
                self.run.observer.notice(Event::Warning(&text));
                Ok(())
            }
        }
    }

    /// Sends the file of a stream, the only entry of its snapshot, to a reader.
    fn add_stream(&mut self, stdin: &Stdin) -> Result<()> {
        let meta = Meta {
            mode: 0o600,
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            mtime: self.run.started,
            ctime: self.run.started,
            ..Meta::default()
        };
        let kind = Kind::File { size: 0, content: Content::Parts(Vec::new()) };
        let entry = Entry { name: stdin.name.clone(), kind, meta };
        let was =
            self.parent_entry(&entry.name)?.map_or(Previous::New, |before| Previous::There(Box::new(before)));
        let older = match &was {
            Previous::There(before) => Older::of(before),
            Previous::New => self.find_sibling(&entry, u64::MAX)?,
        };
        self.read_file(entry, (Input::Stream(stdin.command.clone()), None), (was, None), older)
    }

    fn enter(&mut self, mut entry: Entry, place: Option<PathBuf>) -> Result<()> {
        let mut tree = self.run.parent_choice.compare.as_ref().map(|parent| parent.manifest.root);
        let mut same = true;
        self.run.strip(&mut entry.meta);
        if !self.stack.is_empty() {
            self.amend(&mut entry);
            let before = self.parent_entry(&entry.name)?;
            self.set_xattrs(&mut entry, before.as_ref(), place.as_deref())?;
            same = before.as_ref().is_some_and(|before| before.meta == entry.meta);
            tree = before.and_then(|before| match before.kind {
                Kind::Dir { tree } => Some(tree),
                _ => None,
            });
        }
        self.path_stack.enter(&entry.name, place.as_deref());
        let (before, known) = self.open_parent(tree)?;
        let seq = self.next_seq();
        let trusted = self.run.parent_choice.trusted && before.is_some();
        let unchanged = tree.filter(|_| trusted).map(|tree| UnchangedDir { tree, known, entries: 0, same });
        self.stack.push(OpenDir {
            seq,
            before,
            tree,
            siblings: tree.map(Siblings::of),
            entry,
            same,
            announced: false,
            unchanged,
        });
        if trusted { Ok(()) } else { self.announce() }
    }

    fn leave(&mut self) -> Result<()> {
        while let Some(entry) =
            self.stack.last_mut().and_then(|open| open.before.as_mut()).and_then(|parent| parent.next.take())
        {
            self.advance()?;
            self.handle_missing(&entry)?;
        }
        let Some(OpenDir { seq, mut entry, same, tree, unchanged, .. }) = self.stack.pop() else {
            return Ok(());
        };
        self.path_stack.leave();
        self.tally.dirs += u64::from(!self.stack.is_empty());
        let Some(unchanged) = unchanged else {
            let entry = (!self.stack.is_empty()).then_some(entry);
            // To a full backup all directories are new.
            let before = tree.filter(|_| !self.run.parent_choice.rereads);
            return self.send(Message::Leave { seq, entry, before, same });
        };
        if self.stack.is_empty() {
            return self.send(Message::Root { tree: unchanged.tree });
        }
        if unchanged.same {
            self.tally.dirs_unchanged += 1
        } else {
            self.tally.dirs_changed += 1
        }
        entry.kind = Kind::Dir { tree: unchanged.tree };
        self.complete(entry, unchanged.same)
    }

    /// Adds known metadata to an entry of the open directory.
    fn amend(&self, entry: &mut Entry) {
        if self.run.supplement().is_some() {
            self.run.amend(&self.stored_path(&entry.name), entry);
        }
    }

    fn compare(&mut self, mut entry: Entry, path: Option<&Path>, inode: Option<(u64, u64)>) -> Result<()> {
        let version = inode.map(|inode| Version::new(inode, entry.size(), &entry.meta));
        self.run.strip(&mut entry.meta);
        self.amend(&mut entry);
        if let Some(inode) = inode
            && self.has_names_inside(inode)?
        {
            let label = self.run.repo.hasher().long_tag(b"link", &self.stored_path(&entry.name));
            entry.meta.link = *self.links.entry(inode).or_insert(label.max(1));
        }
        let before = self.parent_entry(&entry.name)?;
        if let Kind::File { size, .. } = entry.kind {
            if let Some(file) = self.stored_earlier(version.as_ref(), before.as_ref(), size)? {
                return self.complete_stored(entry, file, before);
            }
            return self.compare_file(entry, path, size, before, version);
        }
        self.set_xattrs(&mut entry, before.as_ref(), path)?;
        self.tally.others += 1;
        let same = before.is_some_and(|before| before == entry);
        self.complete(entry, same)
    }

    /// Completes a file whose content is the parent's.
    pub(super) fn complete_unchanged(&mut self, entry: Entry, before: &Meta) -> Result<()> {
        self.tally.unchanged += 1;
        self.count_unread(&entry, Action::Unchanged);
        let same = entry.meta == *before;
        self.complete(entry, same)
    }

    /// Counts a file whose content need not be read.
    pub(super) fn count_unread(&mut self, entry: &Entry, action: Action) {
        let (size, observer) = (entry.size(), self.run.observer);
        self.tally.bytes += size;
        self.path_stack.with(&entry.name, |path| observer.notice(Event::Item { action, path, size }));
        observer.notice(Event::Done { files: 1, bytes: size });
    }
}
