//! Copies between repositories that name or cut chunks differently. A snapshot is walked together with its
//! predecessor that was copied before, and with that one's copy: files that did not change keep their content
//! in the destination. All others are read, cut and hashed again.
//!
//! One thread walks and plans, others read the chunks (`repo/read/sequential`), and the caller's thread cuts
//! and stores the bytes and builds the trees. Steps, such as the end of a file, reach it in their place
//! between the bytes.

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

/// Indices of the two trees that are walked: of the snapshot that was copied before, and of the new one.
const BASE: usize = 0;
const NEW: usize = 1;

/// An action of the caller's thread between two pieces of bytes.
enum Step {
    /// Begin a directory.
    Enter,
    /// Begin a file of this size that is similar to one in the destination.
    Similar(Older, u64),
    /// Add a hole of this length to the content.
    Hole(u64),
    /// End the content, which is this one in the source.
    End(Content),
    /// Translate a content of the source to its known content in the destination.
    Known(Content, Content),
    /// Translate a tree of the source to its known id in the destination.
    KnownTree(ChunkId, ChunkId),
    /// End a directory: its tree in the source, the pieces of its older version in the destination, its
    /// owner.
    Leave(ChunkId, Vec<ChunkId>, u32),
    /// Set the owner of the contents that follow.
    Owner(u32),
}

type Steps = Mutex<VecDeque<Step>>;

fn lock(steps: &Steps) -> MutexGuard<'_, VecDeque<Step>> {
    steps.lock()
}

/// Copies one snapshot.
pub(super) struct Rechunker<'a> {
    pub(super) to: &'a Repository,
    /// Whether similar chunks may become deltas.
    pub(super) deltas: bool,
    pub(super) source: &'a SnapshotSet,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a AtomicBool,
}

impl Rechunker<'_> {
    /// Stores the data of a snapshot that the destination lacks, and returns its root there. Data of the copy
    /// of `base` may be reused.
    pub(super) fn copy(
        &self,
        old: &Snapshot,
        base: Option<&Base<'_>>,
        destination: &Arc<Index>,
        chunk_writer: &mut ChunkWriter<'_>,
    ) -> Result<ChunkId> {
        if let Some(base) = base.filter(|base| base.old.manifest.root == old.manifest.root) {
            return Ok(base.root);
        }
        let steps = Steps::default();
        let mut walk_reader = self.source.new_reader()?;
        let planner = Planner {
            reader: self.source.new_reader()?,
            destination: ChunkReader::new(self.to, Arc::clone(destination))?,
            observer: self.observer,
            steps: &steps,
            deltas: self.deltas,
            open_dirs: vec![DestinationDir::of(base.map(|base| base.root), 0)],
        };
        let set = |numbers: &[usize]| Arc::new(numbers.iter().copied().collect::<BitSet>());
        let new = Tree { id: old.manifest.root, among: set(&[NEW]) };
        let mut trees = vec![new];
        trees.extend(base.map(|base| Tree { id: base.old.manifest.root, among: set(&[BASE]) }));
        let counts = base.iter().map(|base| &base.old.manifest.counts).chain([&old.manifest.counts]);
        let mut bounds = Bounds { budget: WalkLimits::of_all(counts), stop: self.stop };
        let mut builder = TreeBuilder {
            to: self.to,
            reader: self.source.new_reader()?,
            chunk_writer,
            observer: self.observer,
            content: ContentWriter::new(self.to, Some(ChunkReader::new(self.to, Arc::clone(destination))?)),
            owner: UNKNOWN_OWNER,
            translations: Translations::default(),
            parents: Vec::new(),
            root: None,
        };
        sequential::run(
            self.source.session(),
            |feed| {
                let mut visitor = PlanVisitor { planner, feed };
                multi_walk::walk(&mut walk_reader, b"", trees, &mut visitor, &mut bounds)
            },
            &mut |bytes| match bytes {
                [] => {
                    let step = lock(&steps).pop_front();
                    step.map_or(Ok(()), |step| builder.step(step))
                }
                bytes => builder.bytes(bytes),
            },
        )?;
        builder.root.ok_or(Error::Stopped)
    }
}

/// A directory that is being walked, as in the copy of the base.
struct DestinationDir {
    /// The directory's owner.
    owner: u32,
    /// Reads its entries; `None` if the copy does not have the directory.
    entries: Option<DirReader>,
    /// The next entry, already read.
    next: Option<Entry>,
    /// Its files, to which new ones may be similar.
    siblings: Option<Siblings>,
}

impl DestinationDir {
    fn of(tree: Option<ChunkId>, owner: u32) -> Self {
        Self { owner, entries: tree.map(DirReader::new), next: None, siblings: tree.map(Siblings::of) }
    }

    /// Returns the pieces of the directory that were read.
    fn pieces(&self) -> Vec<ChunkId> {
        self.entries.as_ref().map_or(Vec::new(), |entries| entries.pieces.clone())
    }

    /// Returns the entry with this name. Must be called with ascending names.
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

/// State of the walk, which emits the steps.
struct Planner<'a> {
    reader: ChunkReader,
    destination: ChunkReader,
    observer: &'a dyn Observer,
    steps: &'a Steps,
    deltas: bool,
    open_dirs: Vec<DestinationDir>,
}

struct PlanVisitor<'a, 'f, 'g> {
    planner: Planner<'a>,
    feed: &'f mut Feed<'g>,
}

impl PlanVisitor<'_, '_, '_> {
    fn queue(&mut self, step: Step) -> Result<()> {
        queue_step(self.planner.steps, self.feed, step)
    }

    /// Emits the contents of an entry. `old` is its version in the base, and `copy` the copy of that: a
    /// content that has not changed is only translated.
    fn contents(&mut self, entry: &Entry, old: Option<&Entry>, copy: Option<&Entry>) -> Result<()> {
        let pairs: Vec<_> = match (old, copy) {
            (Some(old), Some(copy)) => old.contents().zip(copy.contents()).collect(),
            _ => Vec::new(),
        };
        for (size, content) in entry.contents() {
            if *content == Content::Parts(Vec::new()) {
                continue;
            }
            let known = pairs.iter().find(|((_, old), (len, _))| *old == content && *len == size);
            if let Some((_, (_, copy))) = known {
                self.planner.observer.notice(Event::Done { files: 0, bytes: size });
                self.queue(Step::Known(content.clone(), (*copy).clone()))?;
                continue;
            }
            self.queue(Step::Owner(entry.meta.uid))?;
            if let Some(older) = self.similar_file(entry, content, copy)? {
                self.queue(Step::Similar(older, size))?;
            }
            let Self { planner, feed } = self;
            file_parts::each_part(&mut planner.reader, size, content, &mut |part| match part {
                ContentPart::Hole { len } => queue_step(planner.steps, feed, Step::Hole(len)),
                ContentPart::Chunk { .. } => feed.part(&part),
            })?;
            self.queue(Step::End(content.clone()))?;
        }
        Ok(())
    }
}

impl PlanVisitor<'_, '_, '_> {
    /// Returns a file in the destination to which a file's content may be similar.
    fn similar_file(
        &mut self,
        entry: &Entry,
        content: &Content,
        copy: Option<&Entry>,
    ) -> Result<Option<Older>> {
        let planner = &mut self.planner;
        let is_the_file = matches!(&entry.kind, Kind::File { content: own, .. } if own == content);
        if !planner.deltas || !is_the_file {
            return Ok(None);
        }
        if let Some(older) = copy.and_then(Older::of) {
            return Ok(Some(older));
        }
        match planner.open_dirs.last_mut().and_then(|dir| dir.siblings.as_mut()) {
            Some(siblings) => siblings.older(&mut planner.destination, entry, entry.size()),
            None => Ok(None),
        }
    }
}

/// Queues a step. An empty piece marks its position in the stream of bytes: when it arrives, the step is run.
fn queue_step(steps: &Steps, feed: &mut Feed<'_>, step: Step) -> Result<()> {
    lock(steps).push_back(step);
    feed.bytes(Vec::new())
}

impl Visitor for PlanVisitor<'_, '_, '_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        let version_in =
            |number| versions.iter().find(|version| version.among.has(number)).map(|version| &version.entry);
        let Some(new) = version_in(NEW) else { return Ok(false) };
        let old = version_in(BASE);
        let planner = &mut self.planner;
        planner.observer.notice(Event::Working { path });
        let copy = match (old, planner.open_dirs.last_mut()) {
            (Some(_), Some(dir)) => dir.find(&new.name, &mut planner.destination)?,
            _ => None,
        };
        self.feed.set_path(path)?;
        self.contents(new, old, copy.as_ref())?;
        let tree_of = |entry: Option<&Entry>| match entry.map(|entry| &entry.kind) {
            Some(Kind::Dir { tree }) => Some(*tree),
            _ => None,
        };
        let Some(tree) = tree_of(Some(new)) else { return Ok(false) };
        let copy = tree_of(copy.as_ref());
        if let Some(copy) = copy.filter(|_| tree_of(old) == Some(tree)) {
            self.queue(Step::KnownTree(tree, copy))?;
            return Ok(false);
        }
        self.planner.open_dirs.push(DestinationDir::of(copy, new.meta.uid));
        self.queue(Step::Enter)?;
        Ok(true)
    }

    fn leave(&mut self, _: &[u8], trees: &[Tree]) -> Result<()> {
        let dir = self.planner.open_dirs.pop();
        let owner = dir.as_ref().map_or(0, |dir| dir.owner);
        let dir = dir.filter(|_| self.planner.deltas);
        let pieces = dir.map_or(Vec::new(), |dir| dir.pieces());
        let new = trees.iter().find(|tree| tree.among.has(NEW));
        new.map_or(Ok(()), |tree| self.queue(Step::Leave(tree.id, pieces, owner)))
    }
}

/// Contents and trees of an open directory: from those in the source to those in the destination.
#[derive(Default)]
struct Translations {
    contents: HashMap<Content, Content>,
    trees: HashMap<ChunkId, ChunkId>,
}

/// Cuts and stores the bytes, and builds the trees in the destination.
struct TreeBuilder<'a, 's> {
    to: &'a Repository,
    reader: ChunkReader,
    chunk_writer: &'a mut ChunkWriter<'s>,
    observer: &'a dyn Observer,
    content: ContentWriter<'a>,
    /// The owner of the content, a user id.
    owner: u32,
    /// Those of the innermost open directory; `parents` has those of the directories above it.
    translations: Translations,
    parents: Vec<Translations>,
    root: Option<ChunkId>,
}

impl TreeBuilder<'_, '_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.observer.notice(Event::Done { files: 0, bytes: bytes.len() as u64 });
        self.content.push(bytes, self.owner, self.chunk_writer)
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Enter => self.parents.push(std::mem::take(&mut self.translations)),
            Step::Similar(older, size) => self.content.follow(older, size),
            Step::Hole(len) => {
                self.observer.notice(Event::Done { files: 0, bytes: len });
                self.content.hole(len, self.owner, self.chunk_writer)?;
            }
            Step::End(old) => {
                let new = self.content.finish(self.owner, self.chunk_writer)?;
                self.translations.contents.insert(old, new);
            }
            Step::Known(old, new) => drop(self.translations.contents.insert(old, new)),
            Step::KnownTree(old, new) => drop(self.translations.trees.insert(old, new)),
            Step::Owner(uid) => self.owner = uid,
            Step::Leave(old, pieces, owner) => {
                let parent = self.parents.pop();
                let is_root = parent.is_none();
                let translations = std::mem::replace(&mut self.translations, parent.unwrap_or_default());
                let new = self.build(&old, &translations, (pieces, owner))?;
                if is_root {
                    self.root = Some(new);
                } else {
                    self.translations.trees.insert(old, new);
                }
            }
        }
        Ok(())
    }

    /// Builds a directory of the destination from the one in the source, with translated contents and trees.
    fn build(
        &mut self,
        old: &ChunkId,
        translations: &Translations,
        (pieces, owner): (Vec<ChunkId>, u32),
    ) -> Result<ChunkId> {
        let Self { to, reader, chunk_writer, .. } = self;
        let mut pieces = Pieces::new(pieces);
        let mut put =
            |bytes: &[u8]| chunk_writer.put_tree(owner, to.hasher(), bytes, &pieces.similar_to_next());
        let (mut entries, mut builder) = (DirReader::new(*old), DirBuilder::default());
        while let Some(mut entry) = entries.next(reader)? {
            for (_, content) in entry.contents_mut() {
                if *content != Content::Parts(Vec::new()) {
                    content.clone_from(translations.contents.get(content).ok_or_else(untranslated)?);
                }
            }
            if let Kind::Dir { tree } = &mut entry.kind {
                *tree = *translations.trees.get(tree).ok_or_else(untranslated)?;
            }
            builder.push(&entry, to.hasher(), &mut put)?;
        }
        builder.finish(&mut put)
    }
}

/// Returns the error for an id that was not translated. It must not be stored: it names nothing in the
/// destination.
fn untranslated() -> Error {
    let source = DecodeError::because("it has an entry that was not there when it was read before");
    Error::Damaged { what: "a directory being copied".into(), source }
}
