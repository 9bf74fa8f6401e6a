//! The comparer: compares the entries found by the walk with the parent's, and decides which files to read.

mod count;
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
use crate::ops::backup::compare::unchanged_dirs::UnchangedDir;
use crate::ops::backup::messages::{Context, Input, Job, Message, Previous};
use crate::ops::backup::rot::Expected;
use crate::ops::backup::states::Version;
use crate::ops::backup::{Run, Source, Stdin};
use crate::progress::{Action, Event};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::{self, DirReader, WalkLimits};
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep};
use crate::repo::write::siblings::Siblings;
use crate::repo::write::similarity::Older;
use crate::sys::process::{getgid, getuid};

/// Messages sent together: waking the assembler for each costs more than comparing.
const TOGETHER: usize = 128;

/// Maximum size in bytes of older versions whose part lists are read ahead.
const HUGE: u64 = 16 << 30;

/// A directory of the parent, read side by side with the live one.
struct Before {
    stream: DirReader,
    /// The next entry, which the walk has not reached.
    ahead: Option<Entry>,
}

/// A directory that the walk is in.
pub(super) struct Open {
    pub(super) seq: u64,
    before: Option<Before>,
    /// Its tree in the parent.
    tree: Option<ChunkId>,
    /// Files in that tree that new ones may be similar to.
    siblings: Option<Siblings>,
    /// Its own entry.
    pub(super) entry: Entry,
    /// Whether that entry is unchanged, apart from the tree.
    same: bool,
    /// Whether the assembler was sent its `Enter` message.
    pub(super) told: bool,
    /// State while the message is deferred because the directory is unchanged so far.
    pub(super) unchanged: Option<UnchangedDir>,
}

pub(super) struct Comparer<'a, 'run> {
    pub(super) run: &'a Run<'run>,
    jobs: &'a Sender<Job>,
    out: &'a Sender<Vec<Message>>,
    waiting: Vec<Message>,
    pub(super) reader: ChunkReader,
    links: HashMap<(u64, u64), u128>,
    /// Inodes with several names in the walk; counted at the first that may be one, for a past state only.
    pub(super) linked_inside: Option<HashSet<(u64, u64)>>,
    seq: u64,
    pub(super) tally: Tally,
    pub(super) path_stack: PathStack,
    /// Open directories. Those not yet sent to the assembler are at the end.
    pub(super) stack: Vec<Open>,
}

/// Compares all entries.
pub(super) fn work(
    run: &Run<'_>,
    source: &Source<'_>,
    jobs: &Sender<Job>,
    out: &Sender<Vec<Message>>,
) -> Result<Tally> {
    let mut comparer = Comparer {
        run,
        jobs,
        out,
        waiting: Vec::with_capacity(TOGETHER),
        reader: ChunkReader::new(run.repo, Arc::clone(&run.index))?,
        links: HashMap::new(),
        linked_inside: None,
        seq: 0,
        tally: Tally::default(),
        path_stack: PathStack::default(),
        stack: Vec::new(),
    };
    match source {
        Source::Files(survey) => {
            let mut counter = Counter::new(run, survey);
            for together in &survey.found {
                counter.report(jobs.is_full());
                together.into_iter().try_for_each(|found| comparer.take(found))?;
            }
            counter.report(false);
        }
        Source::Stream(stdin) => {
            let kind = Kind::Dir { tree: ChunkId::new([0; 32]) };
            comparer.enter(Entry { name: Vec::new(), kind, meta: Meta::default() }, None)?;
            comparer.stream(stdin)?;
            comparer.leave()?;
        }
    }
    comparer.flush()?;
    Ok(comparer.tally)
}

impl Comparer<'_, '_> {
    pub(super) fn send(&mut self, message: Message) -> Result<()> {
        self.waiting.push(message);
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let together = std::mem::replace(&mut self.waiting, Vec::with_capacity(TOGETHER));
        self.out.send(together).map_err(|_| Error::Stopped)
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn stored(&self, name: &[u8]) -> Vec<u8> {
        self.path_stack.stored_of(name)
    }

    pub(super) fn dir(&self) -> u64 {
        self.stack.last().map_or(0, |open| open.seq)
    }

    fn take(&mut self, found: WalkEvent) -> Result<()> {
        match found {
            WalkEvent::Enter(entry, place) => self.enter(entry, place),
            WalkEvent::Leave => self.leave(),
            WalkEvent::Entry(entry, inode) => self.entry(entry, None, inode),
            WalkEvent::Lone(entry, path, inode) => self.entry(entry, Some(&path), inode),
            WalkEvent::Problem(problem) => {
                self.run.problem(problem);
                Ok(())
            }
            WalkEvent::Vanished(path) => {
                self.run.vanished(&path);
                Ok(())
            }
            WalkEvent::Warning(text) => {
                self.run.observer.notice(Event::Warning(&text));
                Ok(())
            }
        }
    }

    /// Sends the only entry of a snapshot of a stream.
    fn stream(&mut self, stdin: &Stdin) -> Result<()> {
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
        let was = self.before(&entry.name)?.map_or(Previous::New, |before| Previous::There(Box::new(before)));
        let older = match &was {
            Previous::There(before) => Older::of(before),
            Previous::New => self.sibling(&entry, u64::MAX)?,
        };
        self.read(entry, Input::Stream(stdin.command.clone()), was, older)
    }

    fn enter(&mut self, mut entry: Entry, place: Option<PathBuf>) -> Result<()> {
        let mut tree = self.run.basis.compare.as_ref().map(|parent| parent.manifest.root);
        let mut same = true;
        self.run.strip(&mut entry.meta);
        if !self.stack.is_empty() {
            self.amend(&mut entry);
            let before = self.before(&entry.name)?;
            self.attributes(&mut entry, before.as_ref(), place.as_deref())?;
            same = before.as_ref().is_some_and(|before| before.meta == entry.meta);
            tree = before.and_then(|before| match before.kind {
                Kind::Dir { tree } => Some(tree),
                _ => None,
            });
        }
        self.path_stack.enter(&entry.name, place.as_deref());
        let (before, known) = self.before_of(tree)?;
        let seq = self.next_seq();
        let trusted = self.run.basis.trusted && before.is_some();
        let unchanged = tree.filter(|_| trusted).map(|tree| UnchangedDir { tree, known, entries: 0, same });
        self.stack.push(Open {
            seq,
            before,
            tree,
            siblings: tree.map(Siblings::of),
            entry,
            same,
            told: false,
            unchanged,
        });
        if trusted { Ok(()) } else { self.announce() }
    }

    fn leave(&mut self) -> Result<()> {
        while let Some(entry) =
            self.stack.last_mut().and_then(|open| open.before.as_mut()).and_then(|parent| parent.ahead.take())
        {
            self.advance()?;
            self.gone(&entry)?;
        }
        let Some(Open { seq, mut entry, same, tree, unchanged, .. }) = self.stack.pop() else {
            return Ok(());
        };
        self.path_stack.leave();
        self.tally.dirs += u64::from(!self.stack.is_empty());
        let Some(unchanged) = unchanged else {
            let entry = (!self.stack.is_empty()).then_some(entry);
            // To a full backup all directories are new.
            let before = tree.filter(|_| !self.run.basis.rereads);
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
            self.run.amend(&self.stored(&entry.name), entry);
        }
    }

    fn entry(&mut self, mut entry: Entry, path: Option<&Path>, inode: Option<(u64, u64)>) -> Result<()> {
        let version = inode.map(|inode| Version::new(inode, entry.size(), &entry.meta));
        self.run.strip(&mut entry.meta);
        self.amend(&mut entry);
        if let Some(inode) = inode
            && self.has_names_inside(inode)?
        {
            let label = self.run.repo.hasher().long_tag(b"link", &self.stored(&entry.name));
            entry.meta.link = *self.links.entry(inode).or_insert(label.max(1));
        }
        let before = self.before(&entry.name)?;
        if let Kind::File { size, .. } = entry.kind {
            if let Some(file) = self.stored_earlier(version.as_ref(), before.as_ref(), size)? {
                return self.reuse(entry, file, before);
            }
            return self.file(entry, path, size, before, version);
        }
        self.attributes(&mut entry, before.as_ref(), path)?;
        self.tally.others += 1;
        let same = before.is_some_and(|before| before == entry);
        self.complete(entry, same)
    }

    fn file(
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
            self.tally.suffixes.comes(&entry.name);
            let input = Input::File { path: place(&self.path_stack, &entry.name), size, inode };
            let sibling = self.sibling(&entry, size)?;
            return self.read(entry, input, Previous::New, sibling);
        };
        self.tally.suffixes.was(&entry.name);
        if self.is_unchanged(&before, &entry, size) && self.may_reuse(&before)? {
            self.attributes(&mut entry, Some(&before), path)?;
            entry.meta.corrupt_since = before.meta.corrupt_since;
            if self.is_due(&entry.name) {
                let input = Input::File { path: place(&self.path_stack, &entry.name), size, inode };
                return self.reread(entry, input, before);
            }
            entry.kind = before.kind;
            self.remember(version, &entry);
            return self.unchanged(entry, &before.meta);
        }
        let place = place(&self.path_stack, &entry.name);
        let steady = self.is_steady(&before, &entry, size).then(|| place.clone());
        let input = Input::File { path: place, size, inode };
        let older = Older::of(&before);
        self.read_known(entry, input, (before, steady), older, None)
    }

    /// Reads an unchanged file again. If its bytes are the parent's, so is its entry.
    fn reread(&mut self, mut entry: Entry, input: Input, before: Entry) -> Result<()> {
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

    /// Returns the sibling of a new file in the parent's directory.
    fn sibling(&mut self, entry: &Entry, size: u64) -> Result<Option<Older>> {
        let wanted = self.run.deltas && !self.run.basis.rereads;
        match self.stack.last_mut().and_then(|open| open.siblings.as_mut()) {
            Some(siblings) if wanted => siblings.older(&mut self.reader, entry, size),
            _ => Ok(None),
        }
    }

    /// Returns the pieces of an older version's part list. For huge files reading them costs more than it
    /// saves.
    fn pieces_of(&mut self, older: Option<&Older>) -> Result<Vec<ChunkId>> {
        match older {
            Some(older) if self.run.deltas && older.size <= HUGE => {
                match dir_reader::list_pieces(&mut self.reader, &older.content) {
                    Err(err) if err.is_damage() => Ok(Vec::new()),
                    pieces => pieces,
                }
            }
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn unchanged(&mut self, entry: Entry, before: &Meta) -> Result<()> {
        self.tally.unchanged += 1;
        self.not_read(&entry, Action::Unchanged);
        let same = entry.meta == *before;
        self.complete(entry, same)
    }

    /// Counts a file whose content need not be read.
    pub(super) fn not_read(&mut self, entry: &Entry, action: Action) {
        let (size, observer) = (entry.size(), self.run.observer);
        self.tally.bytes += size;
        self.path_stack.with(&entry.name, |path| observer.notice(Event::Item { action, path, size }));
        observer.notice(Event::Done { files: 1, bytes: size });
    }

    fn read(&mut self, entry: Entry, input: Input, was: Previous, older: Option<Older>) -> Result<()> {
        self.send_file(entry, (input, None), (was, None), older)
    }

    /// Reads a file that the parent has. `steady` is where it is, if other bytes than the parent's are bit
    /// rot; with `expected` its bytes are first compared with the parent's.
    fn read_known(
        &mut self,
        entry: Entry,
        input: Input,
        (before, steady): (Entry, Option<PathBuf>),
        older: Option<Older>,
        expected: Option<Expected>,
    ) -> Result<()> {
        let was = Previous::There(Box::new(before));
        self.send_file(entry, (input, expected.map(Box::new)), (was, steady), older)
    }

    fn send_file(
        &mut self,
        entry: Entry,
        (input, expected): (Input, Option<Box<Expected>>),
        (was, steady): (Previous, Option<PathBuf>),
        older: Option<Older>,
    ) -> Result<()> {
        let alone = matches!(&input, Input::File { path, .. } if self.run.isolated.contains(path));
        let is_itself = !alone || matches!(was, Previous::There(_));
        let older = older.filter(|_| self.run.deltas && !self.run.basis.rereads && is_itself);
        let pieces = self.pieces_of(older.as_ref())?;
        let seq = self.next_seq();
        let context = Context { owner: entry.meta.uid, file: alone.then_some(seq) };
        let path = self.stored(&entry.name);
        self.run.observer.notice(Event::Working { path: &path });
        self.announce()?;
        let dir = self.dir();
        self.send(Message::File { seq, dir, entry, path, was, steady, pieces })?;
        self.jobs.send(Job { seq, input, older, expected, context }).map_err(|_| Error::Stopped)
    }

    /// Begins a directory of the parent. Also returns the pieces of its tree known so far.
    fn before_of(&mut self, tree: Option<ChunkId>) -> Result<(Option<Before>, Vec<ChunkId>)> {
        let Some(tree) = tree else { return Ok((None, Vec::new())) };
        let mut stream = DirReader::new(tree);
        match stream.next(&mut self.reader) {
            Ok(ahead) => {
                let mut known = stream.pieces.clone();
                let mut later: Vec<ChunkId> = stream.announced().collect();
                later.reverse();
                known.extend(later);
                known.push(tree);
                Ok((Some(Before { stream, ahead }), known))
            }
            Err(err) if err.is_damage() => {
                self.lost(&err);
                Ok((None, Vec::new()))
            }
            Err(err) => Err(err),
        }
    }

    fn lost(&self, err: &Error) {
        if self.run.basis.rereads {
            return;
        }
        let path = String::from_utf8_lossy(self.path_stack.stored());
        self.run
            .observer
            .notice(Event::Warning(&format!("the parent's /{path} cannot be read ({err}): reading it anew")));
    }

    /// Returns the parent's entry of this name in the open directory. Entries skipped on the way are gone.
    fn before(&mut self, name: &[u8]) -> Result<Option<Entry>> {
        loop {
            let Some(parent) = self.stack.last_mut().and_then(|open| open.before.as_mut()) else {
                return Ok(None);
            };
            match parent.ahead.as_ref().map(|ahead| ahead.name.as_slice().cmp(name)) {
                None | Some(std::cmp::Ordering::Greater) => return Ok(None),
                order => {
                    let entry = parent.ahead.take();
                    self.advance()?;
                    match entry {
                        Some(entry) if order == Some(std::cmp::Ordering::Less) => self.gone(&entry)?,
                        entry => return Ok(entry),
                    }
                }
            }
        }
    }

    fn advance(&mut self) -> Result<()> {
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        let Some(parent) = open.before.as_mut() else { return Ok(()) };
        match parent.stream.next(&mut self.reader) {
            Ok(ahead) => parent.ahead = ahead,
            Err(err) if err.is_damage() => {
                open.before = None;
                self.lost(&err);
                // It is unknown what else the parent's directory holds, so it does not count as unchanged.
                self.announce()?;
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Takes over an entry of the parent that an interrupted walk did not reach.
    fn kept(&mut self, entry: &Entry) -> Result<()> {
        match &entry.kind {
            Kind::File { size, .. } => {
                self.tally.unchanged += 1;
                self.tally.bytes += size;
                self.run.observer.notice(Event::Done { files: 1, bytes: *size });
            }
            Kind::Dir { .. } => {}
            _ => self.tally.others += 1,
        }
        self.complete(entry.clone(), true)
    }

    /// Handles an entry that only the parent has: it was removed, unless the walk was interrupted before it.
    fn gone(&mut self, entry: &Entry) -> Result<()> {
        if self.run.stopping() {
            return if self.run.basis.trusted { self.kept(entry) } else { Ok(()) };
        }
        self.announce()?;
        if !self.run.basis.rereads {
            let stored = self.stored(&entry.name);
            self.run.observer.notice(Event::Item {
                action: Action::Removed,
                path: &stored,
                size: entry.size(),
            });
        }
        self.removed(entry);
        let Kind::Dir { tree } = entry.kind else { return Ok(()) };
        let mut below = TreeWalk::new(tree, WalkLimits::BOUNDLESS, ());
        while let Some(step) = below.step(&mut self.reader)? {
            match step {
                WalkStep::Entry(Entry { kind: Kind::Dir { tree }, .. }) if below.enter(tree, ()).is_ok() => {}
                WalkStep::Entry(entry) => self.removed(&entry),
                // The files of what cannot be read are not counted.
                WalkStep::Damaged(_) | WalkStep::Excess(..) => {
                    below.leave();
                }
                WalkStep::Left { .. } => {}
            }
        }
        Ok(())
    }

    fn removed(&mut self, entry: &Entry) {
        if entry.is_file() {
            self.tally.removed += 1;
            self.tally.suffixes.was(&entry.name);
        }
    }
}
