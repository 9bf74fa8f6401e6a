//! Reads stored directories: their entries in order, piece by piece.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::DirPiece;
use crate::codec::tree::part_list::ListPiece;
use crate::error::{Error, Result};
use crate::model::entry::{Content, ContentPart, Entry, Kind, Meta, XattrValue};
use crate::model::id::ChunkId;
use crate::model::manifest::Counts;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::file_parts::{PartListSource, each_part};
use crate::repo::walk::plausible::{check_len, corrupt_tree, decode_piece};

/// Maximum parts of the value of an extended attribute.
const MAX_VALUE_PARTS: usize = 1024;

/// Limits on what a walk of a snapshot may return: the counts of its manifest, and a little more for what is
/// counted differently. A few malicious chunks can describe an endless tree by naming the same subtree many
/// times on many levels; a walk stops at these limits.
#[derive(Debug, Clone, Copy)]
pub struct WalkLimits {
    entries: u64,
    bytes: u64,
}

impl WalkLimits {
    /// No limits, where the caller limits the walk by other means, or another walk has counted.
    pub const BOUNDLESS: Self = Self { entries: u64::MAX, bytes: u64::MAX };

    /// Returns the limits of a snapshot with these counts.
    pub fn of(counts: &Counts) -> Self {
        let files = [counts.files_new, counts.files_changed, counts.files_unchanged];
        let all = files.into_iter().chain([counts.dirs, counts.others]);
        let entries = all.fold(0, u64::saturating_add);
        Self {
            entries: entries.saturating_add(entries / 8).saturating_add(1024),
            bytes: counts.bytes_total.saturating_add(counts.bytes_total / 8).saturating_add(1 << 30),
        }
    }

    /// Returns the limits of several snapshots together.
    pub fn of_all<'a>(counts: impl Iterator<Item = &'a Counts>) -> Self {
        counts.map(Self::of).fold(Self { entries: 0, bytes: 0 }, |sum, one| Self {
            entries: sum.entries.saturating_add(one.entries),
            bytes: sum.bytes.saturating_add(one.bytes),
        })
    }

    /// Counts an entry.
    ///
    /// # Errors
    /// When there are more entries, or more bytes in files, than the manifest counts. An entry with too many
    /// bytes is not counted.
    pub fn count(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let exceeded =
            |why| Error::because(format!("the snapshot's tree at {}", String::from_utf8_lossy(path)), why);
        // Sparse files may add up to more bytes than a number holds.
        if self.entries == u64::MAX && self.bytes == u64::MAX {
            return Ok(());
        }
        let left = self.entries.checked_sub(1);
        self.entries = left.ok_or_else(|| exceeded("it has more entries than the snapshot records"))?;
        let left = self.bytes.checked_sub(entry.size());
        self.bytes = left.ok_or_else(|| exceeded("it has more bytes than the snapshot records"))?;
        Ok(())
    }

    /// Returns whether no further entry will be accepted.
    pub fn is_spent(&self) -> bool {
        self.entries == 0
    }
}

/// A directory piece that is still to be read, and its description in its parent.
#[derive(Debug)]
struct PendingPiece {
    id: ChunkId,
    /// Number of index pieces above it.
    depth: usize,
    /// The first name and the number of entries that its parent claims; `None` for a root.
    claimed: Option<(Vec<u8>, u64)>,
}

/// Iterates over a directory's entries in order, reading piece by piece.
#[derive(Debug)]
pub struct DirReader {
    /// Pieces still to be read, in reverse order.
    pending: Vec<PendingPiece>,
    entries: std::vec::IntoIter<Entry>,
    /// Last name of the pieces read so far.
    last: Option<Vec<u8>>,
    /// Entries before this name are skipped, as are pieces that hold only such entries.
    from: Vec<u8>,
    /// Every piece read so far.
    pub pieces: Vec<ChunkId>,
}

impl DirReader {
    /// Creates a reader of the directory with this root piece.
    pub fn new(tree: ChunkId) -> Self {
        Self::starting_at(tree, b"")
    }

    /// Creates a reader that starts at a name, skipping earlier pieces where possible.
    pub fn starting_at(tree: ChunkId, from: &[u8]) -> Self {
        let root = PendingPiece { id: tree, depth: 0, claimed: None };
        Self { pending: vec![root], from: from.to_vec(), ..Self::empty() }
    }

    /// Creates a reader without entries, to replace one that is abandoned.
    pub fn empty() -> Self {
        Self {
            pending: Vec::new(),
            entries: Vec::new().into_iter(),
            last: None,
            from: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Returns the pieces that are known but not read yet.
    pub fn pending_pieces(&self) -> impl Iterator<Item = ChunkId> {
        self.pending.iter().map(|piece| piece.id)
    }

    /// Returns the entry with this name if it is among those that are read but not yet returned.
    pub(crate) fn buffered(&self, name: &[u8]) -> Option<&Entry> {
        let entries = self.entries.as_slice();
        let at = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)).ok()?;
        entries.get(at)
    }

    /// Returns the next entry.
    ///
    /// # Errors
    /// When a piece is missing or damaged. The next call continues with the next piece.
    pub fn next(&mut self, reader: &mut ChunkReader) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.entries.find(|entry| entry.name >= self.from) {
                return Ok(Some(entry));
            }
            let Some(piece) = self.pending.pop() else { return Ok(None) };
            let bytes = reader.get(ChunkType::Tree, &piece.id)?;
            self.pieces.push(piece.id);
            let claimed = piece.claimed.as_ref().map(|(name, entries)| (name.as_slice(), *entries));
            match decode_piece(&piece.id, &bytes, piece.depth, claimed)? {
                DirPiece::Leaf(entries) => {
                    let first = entries.first().map(|entry| entry.name.as_slice());
                    // Within a piece names ascend, or it would not have been decoded.
                    if self.last.as_deref().is_some_and(|last| first.is_some_and(|first| last >= first)) {
                        return Err(corrupt_tree(
                            "the entries of a directory are out of order across its pieces",
                        ));
                    }
                    self.last = entries.last().map(|entry| entry.name.clone()).or(self.last.take());
                    self.entries = entries.into_iter();
                }
                DirPiece::Index(kids) => {
                    // A child ends before the first name of the next one. So each child whose successor begins
                    // at or before `from` has only earlier names.
                    let later = kids.iter().skip(1).filter(|kid| kid.first[..] <= self.from[..]).count();
                    self.pending.extend(kids.into_iter().skip(later).rev().map(|kid| PendingPiece {
                        id: kid.id,
                        depth: piece.depth + 1,
                        claimed: Some((kid.first.into_vec(), kid.entries)),
                    }));
                }
            }
        }
    }
}

/// Loads values of extended attributes that are stored in chunks. Those that no file on Linux can have are
/// left out.
///
/// # Errors
/// When a chunk is missing or damaged.
pub fn load_xattrs<'a>(reader: &mut ChunkReader, meta: &'a Meta) -> Result<Cow<'a, Meta>> {
    if meta.xattrs.iter().all(|xattr| matches!(xattr.value, XattrValue::Inline(_))) {
        return Ok(Cow::Borrowed(meta));
    }
    let mut loaded = meta.clone();
    loaded.xattrs.retain(|xattr| !xattr.value.is_too_large());
    for xattr in &mut loaded.xattrs {
        if let XattrValue::Content { size, content } = &xattr.value {
            xattr.value = XattrValue::Inline(read_value(reader, *size, content)?);
        }
    }
    Ok(Cow::Owned(loaded))
}

/// Reads a value, whose size the caller has bounded.
fn read_value(reader: &mut ChunkReader, size: u64, content: &Content) -> Result<Vec<u8>> {
    let mut parts = Vec::new();
    let mut sum = 0u64;
    each_part(reader, size, content, &mut |part| {
        sum = sum.saturating_add(part.len());
        parts.push(part);
        if sum <= size && parts.len() <= MAX_VALUE_PARTS {
            Ok(())
        } else {
            Err(corrupt_tree("an extended attribute is too large"))
        }
    })?;
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            ContentPart::Chunk { id, len } => {
                let chunk = reader.get(ChunkType::Data, &id)?;
                check_len(&chunk, len)?;
                bytes.extend_from_slice(&chunk);
            }
            ContentPart::Hole { len } => bytes.resize(bytes.len() + len as usize, 0),
        }
    }
    Ok(bytes)
}

/// Returns the ids of the pieces of a part list, each once, without the chunks of content. A malicious list
/// can name one piece many times on many levels: reading each once bounds the work.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn list_pieces(reader: &mut ChunkReader, content: &Content) -> Result<Vec<ChunkId>> {
    let Content::List(root) = content else { return Ok(Vec::new()) };
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    let mut pending = vec![*root];
    while let Some(id) = pending.pop() {
        if !seen.insert(id) {
            continue;
        }
        all.push(id);
        if let ListPiece::Index(kids) = &*reader.list(&id)? {
            pending.extend(kids.iter().map(|kid| kid.id));
        }
    }
    Ok(all)
}

/// Returns the entry with this name in a directory.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn child(reader: &mut ChunkReader, tree: ChunkId, name: &[u8]) -> Result<Option<Entry>> {
    let first = DirReader::starting_at(tree, name).next(reader)?;
    Ok(first.filter(|entry| entry.name == name))
}

/// Returns the entry at a path below a root, if there is one.
///
/// # Errors
/// When a piece is missing or damaged.
pub fn lookup(reader: &mut ChunkReader, root: ChunkId, path: &[u8]) -> Result<Option<Entry>> {
    let mut tree = root;
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
    while let Some(part) = parts.next() {
        match child(reader, tree, part)? {
            Some(entry) if parts.peek().is_none() => return Ok(Some(entry)),
            Some(Entry { kind: Kind::Dir { tree: below }, .. }) => tree = below,
            _ => return Ok(None),
        }
    }
    Ok(None)
}
