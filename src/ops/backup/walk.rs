//! The walk: visits every entry once in order, compares it with the parent's, and says what to read.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::Meta;
use crate::model::entry::Time;
use crate::model::entry::flags;
use crate::model::id::ChunkId;
use crate::observe::Event;
use crate::ops::backup::Run;
use crate::ops::backup::assemble::Message;
use crate::ops::backup::assemble::Was;
use crate::ops::backup::parent;
use crate::ops::backup::read::Input;
use crate::ops::backup::read::Job;
use crate::store::chunks::ChunkReader;
use crate::store::trees::DirStream;
use crate::tree::plan::Place;
use crate::tree::plan::Plan;
use crate::tree::source;
use crate::tree::source::Describer;

/// A directory of the parent, read along with the live one.
struct Before {
    stream: DirStream,
    ahead: Option<Entry>,
    tree: ChunkId,
}

/// An open directory of the walk.
struct Open {
    seq: u64,
    before: Option<Before>,
    entry: Option<Entry>,
    stored: Vec<u8>,
}

struct Walker<'a, 'run> {
    run: &'a Run<'run>,
    jobs: &'a Sender<Job>,
    out: &'a Sender<Message>,
    reader: ChunkReader,
    describer: Describer,
    links: HashMap<(u64, u64), u64>,
    /// The repository's own folder, which never backs itself up.
    own: Option<(u64, u64)>,
    seq: u64,
    removed: u64,
    stack: Vec<Open>,
}

/// Walks everything; returns how many of the parent's files are gone.
pub(super) fn work(run: &Run<'_>, plan: &Plan, jobs: &Sender<Job>, out: &Sender<Message>) -> Result<u64> {
    let own = Path::new(&run.repo.location()).metadata().ok().map(|found| (found.dev(), found.ino()));
    let mut walker = Walker {
        run,
        jobs,
        out,
        reader: ChunkReader::new(run.repo, Arc::clone(&run.index))?,
        describer: Describer::default(),
        links: HashMap::new(),
        own,
        seq: 0,
        removed: 0,
        stack: Vec::new(),
    };
    let tree = run.basis.compare.as_ref().map(|parent| parent.manifest.root);
    walker.enter(None, tree, Vec::new())?;
    match &plan.root {
        Place::Source(path) => walker.below(path)?,
        Place::Passage { below, .. } => walker.passage(below)?,
    }
    walker.leave()?;
    Ok(walker.removed)
}

impl Walker<'_, '_> {
    fn send(&self, message: Message) -> Result<()> {
        self.out.send(message).map_err(|_| Error::Stopped)
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn passage(&mut self, below: &BTreeMap<Vec<u8>, Place>) -> Result<()> {
        for (name, place) in below {
            match place {
                Place::Source(path) => self.source(name, path)?,
                Place::Passage { path, below } => {
                    let mut meta = Meta { mode: 0o755, ..Meta::default() };
                    if let Ok(found) = path.metadata() {
                        meta = self.describer.meta(&found);
                    }
                    (meta.mtime, meta.ctime) = (Time::default(), Time::default());
                    meta.flags |= flags::PASSAGE;
                    let entry =
                        Entry { name: name.clone(), kind: Kind::Dir { tree: ChunkId::new([0; 32]) }, meta };
                    self.enter_named(entry)?;
                    self.passage(below)?;
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    /// A source under its stored name.
    fn source(&mut self, name: &[u8], path: &Path) -> Result<()> {
        if self.run.options.stdin.is_some() {
            return self.stream(name);
        }
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(err) => {
                let stored = self.stored(name);
                self.run.problem(&stored, &err.to_string());
                return Ok(());
            }
        };
        self.visit(name, path, &found)?;
        if found.is_dir()
            && self
                .stack
                .last()
                .is_some_and(|open| open.entry.as_ref().is_some_and(|entry| entry.name == name))
        {
            self.below(path)?;
            self.leave()?;
        }
        Ok(())
    }

    fn stream(&mut self, name: &[u8]) -> Result<()> {
        let meta = Meta {
            mode: 0o600,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            mtime: self.run.started,
            ctime: self.run.started,
            ..Meta::default()
        };
        let kind = Kind::File { size: 0, content: crate::model::entry::Content::Parts(Vec::new()) };
        let before = self.before(name)?;
        let was = before.map_or(Was::New, |before| Was::There(Box::new(before)));
        let command = self.run.options.stdin.as_ref().and_then(|stdin| stdin.command.clone());
        self.read(Entry { name: name.to_vec(), kind, meta }, Input::Stream(command), was)
    }

    /// Everything below a source directory that is already entered.
    fn below(&mut self, root: &Path) -> Result<()> {
        let base = self.stack.len();
        let mut walk = source::walk(root, self.run.options.one_file_system);
        if self.run.filter.excludes_contents(root) {
            return Ok(());
        }
        while let Some(next) = walk.next() {
            if self.run.stopping() {
                break;
            }
            let found = match next {
                Ok(found) => found,
                Err(err) => {
                    let path =
                        err.path().map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default();
                    if err.io_error().is_none_or(|err| err.kind() != std::io::ErrorKind::NotFound) {
                        self.run.problem(&path, &err.io_error().map_or(err.to_string(), ToString::to_string));
                    }
                    continue;
                }
            };
            if found.depth() == 0 {
                continue;
            }
            while self.stack.len() > base + found.depth() - 1 {
                self.leave()?;
            }
            let path = found.path();
            let metadata = match found.metadata() {
                Ok(metadata) => metadata,
                Err(err) if err.io_error().is_some_and(|err| err.kind() == std::io::ErrorKind::NotFound) => {
                    if found.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    continue;
                }
                Err(err) => {
                    self.run.problem(path.as_os_str().as_bytes(), &err.to_string());
                    continue;
                }
            };
            let entered = self.visit(found.file_name().as_bytes(), path, &metadata)?;
            if found.file_type().is_dir() && (!entered || self.run.filter.excludes_contents(path)) {
                walk.skip_current_dir();
            }
        }
        while self.stack.len() > base {
            self.leave()?;
        }
        Ok(())
    }

    fn stored(&self, name: &[u8]) -> Vec<u8> {
        match self.stack.last() {
            Some(open) if !open.stored.is_empty() => [&open.stored, b"/".as_slice(), name].concat(),
            _ => name.to_vec(),
        }
    }

    /// One entry; true when it is a directory that is now open.
    fn visit(&mut self, name: &[u8], path: &Path, found: &Metadata) -> Result<bool> {
        let stored = self.stored(name);
        let own = found.is_dir() && self.own == Some((found.dev(), found.ino()));
        if own || self.run.filter.excludes(path, &stored, found.is_dir(), found.len()) {
            return Ok(false);
        }
        let kind = match source::kind(path, found) {
            Ok(kind) => kind,
            Err(err) => {
                self.run.problem(&stored, &err.to_string());
                return Ok(false);
            }
        };
        let mut meta = self.describer.meta(found);
        if found.nlink() > 1 && !found.is_dir() {
            let label = self.run.repo.namer().tag(b"link", &stored);
            meta.link = *self.links.entry((found.dev(), found.ino())).or_insert(label.max(1));
        }
        let entry = Entry { name: name.to_vec(), kind, meta };
        match entry.kind {
            Kind::Dir { .. } => self.enter_named(entry).map(|()| true),
            Kind::File { size, .. } => self.file(entry, path, size, &stored).map(|()| false),
            _ => {
                self.before(name)?;
                let dir = self.dir();
                self.send(Message::Entry { dir, entry, unchanged: false }).map(|()| false)
            }
        }
    }

    fn dir(&self) -> u64 {
        self.stack.last().map_or(0, |open| open.seq)
    }

    fn file(&mut self, mut entry: Entry, path: &Path, size: u64, stored: &[u8]) -> Result<()> {
        let before = self.before(&entry.name)?;
        let reusable = before.as_ref().is_some_and(|before| self.is_unchanged(before, &entry, size));
        let observer = self.run.observer;
        observer.notice(Event::Expect { files: 1, bytes: size });
        if let Some(before) = before.as_ref().filter(|_| reusable)
            && self.may_reuse(before)?
        {
            entry.kind.clone_from(&before.kind);
            observer.notice(Event::Item { action: "unchanged", path: stored, size });
            return self.send(Message::Entry { dir: self.dir(), entry, unchanged: true });
        }
        let was = before.map_or(Was::New, |before| Was::There(Box::new(before)));
        self.read(entry, Input::File { path: path.to_path_buf(), size }, was)
    }

    fn read(&mut self, entry: Entry, input: Input, was: Was) -> Result<()> {
        let seq = self.next_seq();
        let path = self.stored(&entry.name);
        self.run.observer.notice(Event::Working { path: &path });
        self.send(Message::File { seq, dir: self.dir(), entry, path, was })?;
        self.jobs.send(Job { seq, input }).map_err(|_| Error::Stopped)
    }

    /// Size, mtime, ctime and kind, and both times safely before the parent began.
    fn is_unchanged(&self, before: &Entry, now: &Entry, size: u64) -> bool {
        let Some(parent) = &self.run.basis.compare else { return false };
        let racy = Time { sec: parent.manifest.started.sec - 2, nanos: parent.manifest.started.nanos };
        let (old, new) = (&before.meta, &now.meta);
        before.is_file()
            && before.size() == size
            && old.flags & flags::CHANGED_WHILE_READ == 0
            && old.mtime == new.mtime
            && new.mtime < racy
            && (self.run.options.ignore_ctime || old.ctime == new.ctime && new.ctime < racy)
    }

    /// W2: what an untrusted parent holds is looked up, chunk by chunk.
    fn may_reuse(&mut self, before: &Entry) -> Result<bool> {
        if self.run.basis.trusted {
            return Ok(true);
        }
        let Kind::File { size, content } = &before.kind else { return Ok(false) };
        match parent::content_stands(&mut self.reader, *size, content) {
            Err(err) if err.is_damage() => Ok(false),
            other => other,
        }
    }

    fn enter_named(&mut self, entry: Entry) -> Result<()> {
        let before = self.before(&entry.name)?;
        let tree = before.and_then(|before| match before.kind {
            Kind::Dir { tree } => Some(tree),
            _ => None,
        });
        let stored = self.stored(&entry.name);
        self.enter(Some(entry), tree, stored)
    }

    fn enter(&mut self, entry: Option<Entry>, tree: Option<ChunkId>, stored: Vec<u8>) -> Result<()> {
        let seq = self.next_seq();
        let dir = self.stack.last().map(|open| open.seq);
        let mut before = tree.map(|tree| Before { stream: DirStream::new(tree), ahead: None, tree });
        let mut known = Vec::new();
        if let Some(parent) = &mut before {
            match parent.stream.next(&mut self.reader) {
                Ok(ahead) => {
                    parent.ahead = ahead;
                    known.clone_from(&parent.stream.pieces);
                    known.extend(parent.stream.announced());
                    known.push(parent.tree);
                }
                Err(err) if err.is_damage() => {
                    self.lost(&stored, &err);
                    before = None;
                }
                Err(err) => return Err(err),
            }
        }
        if !self.run.basis.trusted {
            known.clear();
        }
        self.send(Message::Enter { seq, dir, known })?;
        self.stack.push(Open { seq, before, entry, stored });
        Ok(())
    }

    fn lost(&self, stored: &[u8], err: &Error) {
        let path = String::from_utf8_lossy(stored);
        self.run
            .observer
            .notice(Event::Warning(&format!("the parent's /{path} cannot be read ({err}): reading it anew")));
    }

    /// The parent's entry of this name in the open directory; those before it are gone.
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
                let stored = open.stored.clone();
                self.lost(&stored, &err);
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// An entry that only the parent has: gone, unless the walk was interrupted before it came there.
    fn gone(&mut self, entry: &Entry) -> Result<()> {
        if self.run.stopping() {
            let dir = self.dir();
            if self.run.basis.trusted {
                return self.send(Message::Entry { dir, entry: entry.clone(), unchanged: true });
            }
            return Ok(());
        }
        let stored = self.stored(&entry.name);
        self.run.observer.notice(Event::Item { action: "removed", path: &stored, size: entry.size() });
        self.removed += u64::from(entry.is_file());
        let mut todo: Vec<DirStream> = Vec::new();
        if let Kind::Dir { tree } = &entry.kind {
            todo.push(DirStream::new(*tree));
        }
        while let Some(dir) = todo.last_mut() {
            match dir.next(&mut self.reader) {
                Ok(Some(Entry { kind: Kind::Dir { tree }, .. })) => todo.push(DirStream::new(tree)),
                Ok(Some(entry)) => self.removed += u64::from(entry.is_file()),
                Ok(None) => {
                    todo.pop();
                }
                Err(err) if err.is_damage() => {
                    todo.pop();
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        while let Some(entry) =
            self.stack.last_mut().and_then(|open| open.before.as_mut()).and_then(|parent| parent.ahead.take())
        {
            self.advance()?;
            self.gone(&entry)?;
        }
        let Some(open) = self.stack.pop() else { return Ok(()) };
        self.send(Message::Leave { seq: open.seq, entry: open.entry })
    }
}
