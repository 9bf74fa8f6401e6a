//! Determines which entries of a tree lost data, and builds the tree without the lost parts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirBuilder;
use crate::codec::tree::part_list::{ListBuilder, ListPiece};
use crate::error::{ErrorKind, Problem, Result};
use crate::model::entry::{Content, ContentPart, Entry, Kind, XattrValue};
use crate::model::id::ChunkId;
use crate::model::manifest::Manifest;
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TOO_DEEP, TreeWalk, WalkStep};
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::put_chunk::UNKNOWN_OWNER;

/// Maximum number of losses that are reported one by one.
const MAX_REPORTED: usize = 1000;
/// Maximum depth of a part list, as in readers.
const MAX_DEPTH: usize = 8;

/// What a snapshot lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostEntries {
    /// The first thousand affected entries.
    pub problems: Vec<Problem>,
    /// Entries that lost data or are gone.
    pub entries: u64,
    /// Bytes of files that are lost.
    pub bytes: u64,
}

impl LostEntries {
    fn report(&mut self, path: &[u8], why: String) {
        self.entries += 1;
        if self.problems.len() < MAX_REPORTED {
            self.problems.push(Problem::new(path, ErrorKind::Damaged, why));
        }
    }
}

/// Walks trees over one index, and rewrites those that lost data.
pub(super) struct Rewriter<'a, 'scope> {
    repo: &'a Repository,
    observer: &'a dyn Observer,
    index: Arc<Index>,
    reader: ChunkReader,
    /// Reads file data while `reader` is in a part list.
    spare: ChunkReader,
    /// Directories walked, and whether nothing below them is lost.
    whole: HashMap<ChunkId, bool>,
    /// Receives new pieces of trees. `None` while only examining.
    pub(super) chunk_writer: Option<ChunkWriter<'scope>>,
    stop: &'a AtomicBool,
}

/// A directory that the walk is in.
struct OpenDir {
    tree: ChunkId,
    builder: DirBuilder,
    /// Its entry in the parent directory.
    entry: Option<Entry>,
    /// Pieces of it that cannot be read.
    lost: u64,
    /// Nothing below it is lost.
    whole: bool,
}

impl OpenDir {
    fn of(tree: ChunkId, entry: Option<Entry>) -> Self {
        Self { tree, builder: DirBuilder::default(), entry, lost: 0, whole: true }
    }

    /// Counts a part of it that is lost.
    fn count_lost(&mut self) {
        self.lost += 1;
        self.whole = false;
    }
}

/// The repaired content of an entry, with holes in place of lost parts.
struct RepairedEntry {
    content: Content,
    lost: u64,
}

impl<'a, 'scope> Rewriter<'a, 'scope> {
    pub(super) fn new(
        (repo, observer): (&'a Repository, &'a dyn Observer),
        index: &Arc<Index>,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        Ok(Self {
            repo,
            observer,
            index: Arc::clone(index),
            reader: ChunkReader::new(repo, Arc::clone(index))?,
            spare: ChunkReader::new(repo, Arc::clone(index))?,
            whole: HashMap::new(),
            chunk_writer: None,
            stop,
        })
    }

    /// Returns what a snapshot lost, and the root of the repaired tree: `None` if nothing is left, the
    /// original root if nothing is lost.
    ///
    /// # Errors
    /// When the storage fails or the run was interrupted.
    pub(super) fn snapshot(&mut self, manifest: &Manifest) -> Result<(Option<ChunkId>, LostEntries)> {
        let (mut losses, mut entries) = (LostEntries::default(), 0u64);
        let limits = WalkLimits::of(&manifest.counts);
        let mut walk =
            TreeWalk::new(manifest.root, limits, OpenDir::of(manifest.root, None)).until(self.stop);
        while let Some(step) = walk.step(&mut self.reader)? {
            let entry = match step {
                WalkStep::Entry(entry) => entry,
                WalkStep::Left { kept, .. } => {
                    let Some(root) = self.leave(kept, walk.kept())? else { continue };
                    let nothing = entries == 0 && losses.entries > 0;
                    return Ok(((!nothing).then_some(root), losses));
                }
                WalkStep::Damaged(err) => {
                    walk.kept().into_iter().for_each(OpenDir::count_lost);
                    losses.report(walk.path(), format!("directory: {}", err.chain()));
                    continue;
                }
                // The tree exceeds its limits: keep the entries of this directory read so far.
                WalkStep::Excess(_, err) => {
                    entries += 1;
                    walk.kept().into_iter().for_each(OpenDir::count_lost);
                    losses.report(walk.path(), err.chain());
                    walk.skip_rest();
                    continue;
                }
            };
            entries += 1;
            if let Kind::Dir { tree } = entry.kind
                && !self.whole.get(&tree).copied().unwrap_or_default()
            {
                if walk.enter(tree, OpenDir::of(tree, Some(entry))).is_err() {
                    walk.kept().into_iter().for_each(OpenDir::count_lost);
                    losses.report(walk.path(), TOO_DEEP.to_owned());
                }
                continue;
            }
            let bytes = entry.size();
            let repaired = self.repair_entry(entry, walk.path(), &mut losses)?;
            self.observer.notice(Event::Done { files: 0, bytes });
            let Some(dir) = walk.kept() else { continue };
            dir.whole &= repaired.as_ref().is_some_and(|(_, whole)| *whole);
            if let Some((entry, _)) = repaired {
                let (chunk_writer, hasher) = (&mut self.chunk_writer, self.repo.hasher());
                dir.builder.push(&entry, hasher, &mut |bytes| put(self.repo, chunk_writer, bytes))?;
            }
        }
        Ok((None, losses))
    }

    /// Ends a directory and adds its entry to its parent. Returns the root's tree for the root.
    fn leave(&mut self, done: OpenDir, above: Option<&mut OpenDir>) -> Result<Option<ChunkId>> {
        let OpenDir { tree, builder, entry, lost, whole, .. } = done;
        let (repo, chunk_writer) = (self.repo, &mut self.chunk_writer);
        self.whole.insert(tree, whole);
        let tree = if whole { tree } else { builder.finish(&mut |bytes| put(repo, chunk_writer, bytes))? };
        let (Some(mut entry), Some(above)) = (entry, above) else { return Ok(Some(tree)) };
        entry.kind = Kind::Dir { tree };
        entry.meta.lost = entry.meta.lost.saturating_add(lost);
        above.whole &= whole;
        above.builder.push(&entry, repo.hasher(), &mut |bytes| put(repo, chunk_writer, bytes))?;
        Ok(None)
    }

    /// Returns the entry without its lost parts, and whether nothing was lost; `None` if nothing is left of
    /// it.
    fn repair_entry(
        &mut self,
        mut entry: Entry,
        path: &[u8],
        losses: &mut LostEntries,
    ) -> Result<Option<(Entry, bool)>> {
        let mut lost = 0;
        let (size, repaired) = match &entry.kind {
            Kind::File { size, content } => (*size, Some(self.repair_content(*size, content)?)),
            _ => (0, None),
        };
        if let Some(RepairedEntry { content, lost: bytes }) = repaired.filter(|repaired| repaired.lost > 0) {
            losses.bytes += bytes;
            if bytes == size {
                losses.report(path, format!("all of its {size} bytes are lost"));
                return Ok(None);
            }
            losses.report(path, format!("{bytes} of its {size} bytes are lost and replaced by zeros"));
            lost += bytes;
            entry.kind = Kind::File { size, content };
        }
        for xattr in std::mem::take(&mut entry.meta.xattrs) {
            if let XattrValue::Content { size, content } = &xattr.value
                && self.repair_content(*size, content)?.lost > 0
            {
                losses.report(path, format!("attribute {} is lost", String::from_utf8_lossy(&xattr.name)));
                lost += 1;
                continue;
            }
            entry.meta.xattrs.push(xattr);
        }
        entry.meta.lost = entry.meta.lost.saturating_add(lost);
        Ok(Some((entry, lost == 0)))
    }

    /// Returns the content with holes in place of lost parts.
    fn repair_content(&mut self, size: u64, content: &Content) -> Result<RepairedEntry> {
        if let Content::Parts(parts) = content
            && self.all_there(parts)?
        {
            return Ok(RepairedEntry { content: content.clone(), lost: 0 });
        }
        let mut list = RepairedContent::default();
        let root = match content {
            Content::Parts(parts) => {
                self.repair_parts(parts, &mut list)?;
                None
            }
            Content::List(root) => Some((*root, 0, size)),
        };
        let mut todo: Vec<(ChunkId, usize, u64)> = root.into_iter().collect();
        while let Some((id, depth, len)) = todo.pop() {
            let piece = match self.reader.get(ChunkType::Tree, &id) {
                Ok(bytes) => ListPiece::decode(&bytes).ok().filter(|piece| covers(piece, len)),
                Err(err) if err.is_damage() => None,
                Err(err) => return Err(err),
            };
            match piece {
                Some(ListPiece::Leaf(parts)) => self.repair_parts(&parts, &mut list)?,
                Some(ListPiece::Index(kids)) if depth < MAX_DEPTH => {
                    todo.extend(kids.iter().rev().map(|kid| (kid.id, depth + 1, kid.len)));
                }
                _ => list.count_lost(len),
            }
        }
        let (repo, chunk_writer) = (self.repo, &mut self.chunk_writer);
        list.finish(&mut |bytes| put(repo, chunk_writer, bytes))
    }

    fn all_there(&mut self, parts: &[ContentPart]) -> Result<bool> {
        for part in parts {
            if let ContentPart::Chunk { id, .. } = part
                && !self.is_there(id)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn repair_parts(&mut self, parts: &[ContentPart], list: &mut RepairedContent) -> Result<()> {
        for part in parts {
            let is_readable = match part {
                ContentPart::Chunk { id, .. } => self.is_there(id)?,
                ContentPart::Hole { .. } => true,
            };
            if is_readable {
                let (repo, chunk_writer) = (self.repo, &mut self.chunk_writer);
                list.push(*part, &mut |bytes| put(repo, chunk_writer, bytes))?;
            } else {
                list.count_lost(part.len());
            }
        }
        Ok(())
    }

    /// Returns whether a chunk is in a good pack, or can still be read.
    fn is_there(&mut self, id: &ChunkId) -> Result<bool> {
        if self.index.find_cached(ChunkType::Data, id).is_some()
            || self.index.find(ChunkType::Data, id)?.is_some()
        {
            return Ok(true);
        }
        match self.spare.get(ChunkType::Data, id) {
            Ok(_) => Ok(true),
            Err(err) if err.is_damage() => Ok(false),
            Err(err) => Err(err),
        }
    }
}

/// Builds a repaired content.
#[derive(Default)]
struct RepairedContent {
    list: ListBuilder,
    /// Lost bytes not yet added to the list. Adjacent losses become one hole.
    pending: u64,
    lost: u64,
}

impl RepairedContent {
    fn count_lost(&mut self, len: u64) {
        self.pending += len;
        self.lost += len;
    }

    fn push(&mut self, part: ContentPart, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<()> {
        self.flush(put)?;
        self.list.push(part, put)
    }

    fn flush(&mut self, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<()> {
        match std::mem::take(&mut self.pending) {
            0 => Ok(()),
            len => self.list.push(ContentPart::Hole { len }, put),
        }
    }

    fn finish(mut self, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<RepairedEntry> {
        self.flush(put)?;
        Ok(RepairedEntry { content: self.list.finish(put)?, lost: self.lost })
    }
}

/// Returns whether a piece covers as many bytes as its reference claims.
fn covers(piece: &ListPiece, len: u64) -> bool {
    let lengths: Vec<u64> = match piece {
        ListPiece::Leaf(parts) => parts.iter().map(ContentPart::len).collect(),
        ListPiece::Index(kids) => kids.iter().map(|kid| kid.len).collect(),
    };
    lengths.iter().try_fold(0u64, |sum, len| sum.checked_add(*len).filter(|_| *len > 0)) == Some(len)
}

/// Returns the id of a tree chunk, after storing it if there is a writer.
fn put(repo: &Repository, chunk_writer: &mut Option<ChunkWriter<'_>>, bytes: &[u8]) -> Result<ChunkId> {
    let id = repo.hasher().id_of(ChunkType::Tree, bytes);
    if let Some(chunk_writer) = chunk_writer {
        chunk_writer.put(UNKNOWN_OWNER, ChunkType::Tree, id, bytes)?;
    }
    Ok(id)
}
