//! Copies between repositories that name chunks differently. Trees are walked side by side with those of the
//! last copy of the same files, which shows what the destination has. Everything else is read, cut and hashed
//! again.
//!
//! One thread walks and plans, others read ahead of it (`repo/read/sequential`), and the caller's thread
//! cuts, stores and builds the trees. Steps between the bytes of files travel in the same order with them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, MutexGuard};

use crate::codec::tree::dir::DirBuilder;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::ChunkId;
use crate::ops::copy::Base;
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::sequential::{self, Feed};
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::{DirReader, WalkLimits};
use crate::repo::walk::file_parts;
use crate::repo::walk::multi_walk;
use crate::repo::walk::multi_walk::{Bounds, EntryVersion, Tree, Visitor};
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::content_writer::ContentWriter;
use crate::repo::write::put_chunk::{PutChunk, UNKNOWN_OWNER};
use crate::repo::write::siblings::Siblings;
use crate::repo::write::similarity::{Older, Pieces};
use crate::util::bitset::BitSet;

/// Indexes of the two trees that are walked: the one that both have, and the new one.
const BASE: usize = 0;
const NEW: usize = 1;

/// What to do after the bytes so far were taken.
enum Step {
    /// Begin a directory.
    Enter,
    /// Begin a file of this size that is similar to one in the destination.
    Like(Older, u64),
    /// Begin a content, or continue it after a hole of this length.
    Hole(u64),
    /// End a content.
    End(Content),
    /// Reuse a content of the source: its content in the destination is known.
    Known(Content, Content),
    /// Reuse a tree of the source: its id in the destination is known.
    KnownTree(ChunkId, ChunkId),
    /// End a directory of this owner. These pieces of its older version are in the destination.
    Leave(ChunkId, Vec<ChunkId>, u32),
    /// Begin an entry of this owner.
    Owner(u32),
}

type Steps = Mutex<VecDeque<Step>>;

fn lock(steps: &Steps) -> MutexGuard<'_, VecDeque<Step>> {
    steps.lock()
}

pub(super) struct Work<'a> {
    pub(super) to: &'a Repository,
    /// Whether similar chunks may become deltas.
    pub(super) deltas: bool,
    pub(super) past: &'a SnapshotSet,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a AtomicBool,
}

impl Work<'_> {
    /// Stores everything of a snapshot that the destination lacks, and returns its root there. Data of `base`
    /// may be reused.
    pub(super) fn copy(
        &self,
        old: &Snapshot,
        base: Option<&Base<'_>>,
        there: &Arc<Index>,
        chunk_writer: &mut ChunkWriter<'_>,
    ) -> Result<ChunkId> {
        if let Some(base) = base.filter(|base| base.old.manifest.root == old.manifest.root) {
            return Ok(base.root);
        }
        let steps = Steps::default();
        let mut walk_reader = self.past.another_reader()?;
        let walker = Walker {
            reader: self.past.another_reader()?,
            there: ChunkReader::new(self.to, Arc::clone(there))?,
            observer: self.observer,
            steps: &steps,
            deltas: self.deltas,
            open: vec![Beside::of(base.map(|base| base.root), 0)],
        };
        let set = |numbers: &[usize]| Arc::new(numbers.iter().copied().collect::<BitSet>());
        let new = Tree { id: old.manifest.root, among: set(&[NEW]) };
        let mut trees = vec![new];
        trees.extend(base.map(|base| Tree { id: base.old.manifest.root, among: set(&[BASE]) }));
        let counts = base.iter().map(|base| &base.old.manifest.counts).chain([&old.manifest.counts]);
        let mut bounds = Bounds { budget: WalkLimits::of_all(counts), stop: self.stop };
        let mut maker = Maker {
            to: self.to,
            reader: self.past.another_reader()?,
            chunk_writer,
            observer: self.observer,
            content: ContentWriter::new(self.to, Some(ChunkReader::new(self.to, Arc::clone(there))?)),
            owner: UNKNOWN_OWNER,
            made: Made::default(),
            above: Vec::new(),
            root: None,
        };
        sequential::run(
            self.past.session(),
            |feed| {
                let mut visitor = Walking { walker, feed };
                multi_walk::walk(&mut walk_reader, b"", trees, &mut visitor, &mut bounds)
            },
            &mut |bytes| match bytes {
                [] => {
                    let step = lock(&steps).pop_front();
                    step.map_or(Ok(()), |step| maker.step(step))
                }
                bytes => maker.bytes(bytes),
            },
        )?;
        maker.root.ok_or(Error::Stopped)
    }
}

/// A directory of the walk as the destination has it.
struct Beside {
    /// The directory's owner.
    owner: u32,
    entries: Option<DirReader>,
    next: Option<Entry>,
    /// Files in it that new ones may be similar to.
    siblings: Option<Siblings>,
}

impl Beside {
    fn of(tree: Option<ChunkId>, owner: u32) -> Self {
        Self { owner, entries: tree.map(DirReader::new), next: None, siblings: tree.map(Siblings::of) }
    }

    /// Returns the pieces of it that were read.
    fn pieces(&self) -> Vec<ChunkId> {
        self.entries.as_ref().map_or(Vec::new(), |entries| entries.pieces.clone())
    }

    /// Returns the entry of this name. Names must be asked for in order.
    fn find(&mut self, name: &[u8], reader: &mut ChunkReader) -> Result<Option<Entry>> {
        let Some(entries) = &mut self.entries else { return Ok(None) };
        loop {
            if self.next.is_none() {
                self.next = entries.next(reader)?;
            }
            match &self.next {
                Some(next) if next.name.as_slice() < name => self.next = None,
                Some(next) if next.name == name => return Ok(self.next.take()),
                _ => return Ok(None),
            }
        }
    }
}

/// Walks the trees and emits steps.
struct Walker<'a> {
    reader: ChunkReader,
    there: ChunkReader,
    observer: &'a dyn Observer,
    steps: &'a Steps,
    deltas: bool,
    open: Vec<Beside>,
}

struct Walking<'a, 'f, 'g> {
    walker: Walker<'a>,
    feed: &'f mut Feed<'g>,
}

impl Walking<'_, '_, '_> {
    fn queue(&mut self, step: Step) -> Result<()> {
        queue_step(self.walker.steps, self.feed, step)
    }

    /// Emits the contents of an entry, as references where the destination has them.
    fn contents(&mut self, entry: &Entry, old: Option<&Entry>, there: Option<&Entry>) -> Result<()> {
        let pairs: Vec<_> = match (old, there) {
            (Some(old), Some(there)) => old.contents().zip(there.contents()).collect(),
            _ => Vec::new(),
        };
        for (size, content) in entry.contents() {
            if *content == Content::Parts(Vec::new()) {
                continue;
            }
            let known = pairs.iter().find(|((_, old), (len, _))| *old == content && *len == size);
            if let Some((_, (_, there))) = known {
                self.walker.observer.notice(Event::Done { files: 0, bytes: size });
                self.queue(Step::Known(content.clone(), (*there).clone()))?;
                continue;
            }
            self.queue(Step::Owner(entry.meta.uid))?;
            if let Some(older) = self.like(entry, content, there)? {
                self.queue(Step::Like(older, size))?;
            }
            let Self { walker, feed } = self;
            file_parts::each_part(&mut walker.reader, size, content, &mut |part| match part {
                ContentPart::Hole { len } => queue_step(walker.steps, feed, Step::Hole(len)),
                ContentPart::Chunk { .. } => feed.part(&part),
            })?;
            self.queue(Step::End(content.clone()))?;
        }
        Ok(())
    }
}

impl Walking<'_, '_, '_> {
    /// Returns a file in the destination that a content may be similar to.
    fn like(&mut self, entry: &Entry, content: &Content, there: Option<&Entry>) -> Result<Option<Older>> {
        let walker = &mut self.walker;
        let is_the_file = matches!(&entry.kind, Kind::File { content: own, .. } if own == content);
        if !walker.deltas || !is_the_file {
            return Ok(None);
        }
        if let Some(older) = there.and_then(Older::of) {
            return Ok(Some(older));
        }
        match walker.open.last_mut().and_then(|beside| beside.siblings.as_mut()) {
            Some(siblings) => siblings.older(&mut walker.there, entry, entry.size()),
            None => Ok(None),
        }
    }
}

/// Queues a step. An empty piece of bytes marks its position in the stream: the step runs when that arrives.
fn queue_step(steps: &Steps, feed: &mut Feed<'_>, step: Step) -> Result<()> {
    lock(steps).push_back(step);
    feed.bytes(Vec::new())
}

impl Visitor for Walking<'_, '_, '_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        let of = |number| versions.iter().find(|one| one.among.has(number)).map(|one| &one.entry);
        let Some(new) = of(NEW) else { return Ok(false) };
        let old = of(BASE);
        let walker = &mut self.walker;
        walker.observer.notice(Event::Working { path });
        let there = match (old, walker.open.last_mut()) {
            (Some(_), Some(beside)) => beside.find(&new.name, &mut walker.there)?,
            _ => None,
        };
        self.feed.at(path)?;
        self.contents(new, old, there.as_ref())?;
        let tree_of = |entry: Option<&Entry>| match entry.map(|entry| &entry.kind) {
            Some(Kind::Dir { tree }) => Some(*tree),
            _ => None,
        };
        let Some(tree) = tree_of(Some(new)) else { return Ok(false) };
        let there = tree_of(there.as_ref());
        if let Some(there) = there.filter(|_| tree_of(old) == Some(tree)) {
            self.queue(Step::KnownTree(tree, there))?;
            return Ok(false);
        }
        self.walker.open.push(Beside::of(there, new.meta.uid));
        self.queue(Step::Enter)?;
        Ok(true)
    }

    fn leave(&mut self, _: &[u8], trees: &[Tree]) -> Result<()> {
        let beside = self.walker.open.pop();
        let owner = beside.as_ref().map_or(0, |beside| beside.owner);
        let beside = beside.filter(|_| self.walker.deltas);
        let pieces = beside.map_or(Vec::new(), |beside| beside.pieces());
        let new = trees.iter().find(|tree| tree.among.has(NEW));
        new.map_or(Ok(()), |tree| self.queue(Step::Leave(tree.id, pieces, owner)))
    }
}

/// Known ids, in the destination, of parts of an open directory.
#[derive(Default)]
struct Made {
    contents: HashMap<Content, Content>,
    trees: HashMap<ChunkId, ChunkId>,
}

/// Cuts and stores the bytes, and builds the trees.
struct Maker<'a, 's> {
    to: &'a Repository,
    reader: ChunkReader,
    chunk_writer: &'a mut ChunkWriter<'s>,
    observer: &'a dyn Observer,
    content: ContentWriter<'a>,
    /// The owner of the content.
    owner: u32,
    /// The open directory. Those above it are in `above`.
    made: Made,
    above: Vec<Made>,
    root: Option<ChunkId>,
}

impl Maker<'_, '_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.observer.notice(Event::Done { files: 0, bytes: bytes.len() as u64 });
        self.content.push(bytes, self.owner, self.chunk_writer)
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Enter => self.above.push(std::mem::take(&mut self.made)),
            Step::Like(older, size) => self.content.follow(older, size),
            Step::Hole(len) => {
                self.observer.notice(Event::Done { files: 0, bytes: len });
                self.content.hole(len, self.owner, self.chunk_writer)?;
            }
            Step::End(old) => {
                let new = self.content.finish(self.owner, self.chunk_writer)?;
                self.made.contents.insert(old, new);
            }
            Step::Known(old, new) => drop(self.made.contents.insert(old, new)),
            Step::KnownTree(old, new) => drop(self.made.trees.insert(old, new)),
            Step::Owner(uid) => self.owner = uid,
            Step::Leave(old, pieces, owner) => {
                let above = self.above.pop();
                let is_root = above.is_none();
                let made = std::mem::replace(&mut self.made, above.unwrap_or_default());
                let new = self.build(&old, &made, (pieces, owner))?;
                if is_root {
                    self.root = Some(new);
                } else {
                    self.made.trees.insert(old, new);
                }
            }
        }
        Ok(())
    }

    /// Builds a directory for the destination.
    fn build(&mut self, old: &ChunkId, made: &Made, (pieces, owner): (Vec<ChunkId>, u32)) -> Result<ChunkId> {
        let Self { to, reader, chunk_writer, .. } = self;
        let mut pieces = Pieces::new(pieces);
        let mut put = |bytes: &[u8]| chunk_writer.put_tree(owner, to.hasher(), bytes, &pieces.like_next());
        let (mut entries, mut builder) = (DirReader::new(*old), DirBuilder::default());
        while let Some(mut entry) = entries.next(reader)? {
            for (_, content) in entry.contents_mut() {
                if *content != Content::Parts(Vec::new()) {
                    content.clone_from(made.contents.get(content).ok_or_else(unknown)?);
                }
            }
            if let Kind::Dir { tree } = &mut entry.kind {
                *tree = *made.trees.get(tree).ok_or_else(unknown)?;
            }
            builder.push(&entry, to.hasher(), &mut put)?;
        }
        builder.finish(&mut put)
    }
}

/// The error for an id that was not translated: it must not be kept, as it means something else in the
/// destination.
fn unknown() -> Error {
    let source = DecodeError::because("it has an entry that was not there when it was read before");
    Error::Damaged { what: "a directory being copied".into(), source }
}
