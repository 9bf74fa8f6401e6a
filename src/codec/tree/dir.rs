//! Directories as chunks: entries sorted by the bytes of their names. Large directories are split by
//! content.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use crate::codec::crypto::hash::{ChunkHasher, sha256};
use crate::codec::tree::entry_ext;
use crate::codec::tree::split::RecordSplitter;
use crate::codec::wire;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart, Entry, Kind, Meta, Time, check_name, flags};
use crate::model::id::ChunkId;

const DIR_LEAF: u8 = 1;
const DIR_INDEX: u8 = 2;
pub(crate) const LIST_LEAF: u8 = 3;
pub(crate) const LIST_INDEX: u8 = 4;

/// Maximum length of a tree chunk in bytes.
pub const MAX_PIECE: u32 = 4 << 20;

#[derive(Serialize, Deserialize)]
enum KindV1<'a> {
    File {
        size: u64,
        parts: Cow<'a, [ContentPart]>,
    },
    FileList {
        size: u64,
        list: ChunkId,
    },
    Dir {
        tree: ChunkId,
    },
    Symlink {
        #[serde(borrow)]
        target: &'a Bytes,
    },
    Fifo,
    Socket,
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct EntryV1<'a> {
    #[serde(borrow)]
    name: &'a Bytes,
    #[serde(borrow)]
    kind: KindV1<'a>,
    mode: u32,
    uid: u32,
    gid: u32,
    user: u32,
    group: u32,
    mtime: Time,
    ctime: Time,
    link: u128,
    flags: u32,
    extra: Vec<(u16, ByteBuf)>,
}

/// Hard links of one file; see [`link_group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkGroup([u8; 32]);

impl LinkGroup {
    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A child of an index piece of a directory. Frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirChild {
    /// Name of its first entry.
    pub first: ByteBuf,
    /// Id of the child's chunk.
    pub id: ChunkId,
    /// Number of entries below it.
    pub entries: u64,
}

/// A piece of a directory, stored as one chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum DirPiece {
    /// Entries, sorted by name.
    Leaf(Vec<Entry>),
    /// References to further pieces.
    Index(Vec<DirChild>),
}

/// Names of users and groups of one piece, each stored once.
#[derive(Debug, Default)]
struct Names {
    list: Vec<Arc<str>>,
    known: HashMap<Arc<str>, u32>,
}

impl Names {
    /// Returns 0 for `None`, otherwise the position in the list plus one.
    fn number(&mut self, name: Option<&Arc<str>>) -> u32 {
        let Some(name) = name else { return 0 };
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        self.list.push(Arc::clone(name));
        let number = self.list.len() as u32;
        self.known.insert(Arc::clone(name), number);
        number
    }
}

/// Collects entries in order and stores each piece as soon as it is full. `put` stores a tree chunk.
#[derive(Debug, Default)]
pub struct DirBuilder {
    names: Names,
    body: Vec<u8>,
    count: u32,
    first: Vec<u8>,
    kids: Vec<DirChild>,
    splitter: RecordSplitter,
}

impl DirBuilder {
    /// Adds an entry, whose name must sort after all previous ones.
    ///
    /// # Errors
    /// A piece cannot be stored.
    pub fn push(
        &mut self,
        entry: &Entry,
        hasher: &ChunkHasher,
        put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>,
    ) -> Result<()> {
        let before = self.body.len();
        if self.count == 0 {
            self.first.clone_from(&entry.name);
        }
        self.count += 1;
        let written = Error::making("a tree");
        let row = to_wire(entry, &mut self.names);
        let body = std::mem::take(&mut self.body);
        self.body = row.and_then(|row| wire::append(&row, body)).map_err(written)?;
        // The hash is computed only if a piece may end here: most directories are one short piece.
        let len = self.body.len() - before;
        if self.splitter.ends_after(len, || hasher.tag(b"split", &entry.name)) {
            self.close_leaf(put)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<()> {
        let written = Error::making("a tree");
        let names: Vec<&str> = self.names.list.iter().map(|name| &**name).collect();
        let mut piece = wire::append(&(names, self.count), vec![DIR_LEAF]).map_err(written)?;
        piece.extend_from_slice(&self.body);
        let id = put(&piece)?;
        let first = ByteBuf::from(std::mem::take(&mut self.first));
        self.kids.push(DirChild { first, id, entries: u64::from(self.count) });
        self.body.clear();
        self.names = Names::default();
        self.count = 0;
        Ok(())
    }

    /// Stores what is left and returns the id of the tree's root chunk.
    ///
    /// # Errors
    /// A piece cannot be stored.
    pub fn finish(mut self, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<ChunkId> {
        if self.count > 0 || self.kids.is_empty() {
            self.close_leaf(put)?;
        }
        let mut kids = self.kids;
        loop {
            if let [only] = kids.as_slice() {
                return Ok(only.id);
            }
            let mut above = Vec::new();
            let mut open = Vec::new();
            let mut splitter = RecordSplitter::default();
            for kid in kids {
                let ends = splitter.ends_after(40 + kid.first.len(), || kid.id.prefix());
                open.push(kid);
                if ends {
                    above.push(close_index(&mut open, put)?);
                }
            }
            if !open.is_empty() {
                above.push(close_index(&mut open, put)?);
            }
            kids = above;
        }
    }
}

fn close_index(open: &mut Vec<DirChild>, put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<DirChild> {
    let piece = wire::append(open, vec![DIR_INDEX]).map_err(Error::making("a tree"))?;
    let id = put(&piece)?;
    let entries = open.iter().map(|kid| kid.entries).sum();
    let first = open.first().map(|kid| kid.first.clone()).unwrap_or_default();
    open.clear();
    Ok(DirChild { first, id, entries })
}

/// Returns the key that all names of one hard-linked file share: it is equal for entries of the same number,
/// kind and content. `None` for an entry without a number. The number alone is not sufficient, because it
/// must not give an entry the content of another.
pub fn link_group(entry: &Entry) -> Option<LinkGroup> {
    let number = Some(entry.meta.link).filter(|number| *number != 0)?;
    let bytes = wire::encode(&(number, kind_to_wire(&entry.kind))).ok()?;
    Some(LinkGroup(sha256(&bytes)))
}

fn kind_to_wire(kind: &Kind) -> KindV1<'_> {
    match kind {
        Kind::File { size, content: Content::Parts(parts) } => {
            KindV1::File { size: *size, parts: Cow::Borrowed(parts) }
        }
        Kind::File { size, content: Content::List(list) } => KindV1::FileList { size: *size, list: *list },
        Kind::Dir { tree } => KindV1::Dir { tree: *tree },
        Kind::Symlink { target } => KindV1::Symlink { target: Bytes::new(target) },
        Kind::Fifo => KindV1::Fifo,
        Kind::Socket => KindV1::Socket,
        Kind::CharDevice { major, minor } => KindV1::CharDevice { major: *major, minor: *minor },
        Kind::BlockDevice { major, minor } => KindV1::BlockDevice { major: *major, minor: *minor },
    }
}

fn to_wire<'a>(entry: &'a Entry, names: &mut Names) -> Result<EntryV1<'a>, DecodeError> {
    let meta = &entry.meta;
    Ok(EntryV1 {
        name: Bytes::new(&entry.name),
        kind: kind_to_wire(&entry.kind),
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        user: names.number(meta.user.as_ref()),
        group: names.number(meta.group.as_ref()),
        mtime: meta.mtime,
        ctime: meta.ctime,
        link: meta.link,
        flags: meta.flags,
        extra: entry_ext::to_wire(meta)?,
    })
}

fn from_wire(row: EntryV1<'_>, names: &[Arc<str>]) -> Result<Entry, DecodeError> {
    let kind = match row.kind {
        KindV1::File { size, parts } => {
            entry_ext::check_total(&parts, size)?;
            Kind::File { size, content: Content::Parts(parts.into_owned()) }
        }
        KindV1::FileList { size, list } => Kind::File { size, content: Content::List(list) },
        KindV1::Dir { tree } => Kind::Dir { tree },
        KindV1::Symlink { target } => Kind::Symlink { target: target.to_vec() },
        KindV1::Fifo => Kind::Fifo,
        KindV1::Socket => Kind::Socket,
        KindV1::CharDevice { major, minor } => Kind::CharDevice { major, minor },
        KindV1::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
    };
    let name_of = |number: u32| match number.checked_sub(1) {
        None => Ok(None),
        Some(at) => names
            .get(at as usize)
            .cloned()
            .map(Some)
            .ok_or(DecodeError::because("an entry refers to an owner name that the piece does not have")),
    };
    if row.mode > 0o7777 {
        return Err(DecodeError::because("the mode of an entry is invalid"));
    }
    if row.flags & !flags::KNOWN != 0 {
        return Err(DecodeError::newer(format!("the entry {} has unknown flags", printable(row.name))));
    }
    check_name(row.name).map_err(|why| DecodeError::with(format!("{why}: {}", printable(row.name))))?;
    let mut meta = Meta {
        mode: row.mode,
        uid: row.uid,
        gid: row.gid,
        user: name_of(row.user)?,
        group: name_of(row.group)?,
        mtime: row.mtime,
        ctime: row.ctime,
        link: row.link,
        flags: row.flags,
        ..Meta::default()
    };
    entry_ext::from_wire(row.extra, &mut meta)?;
    Ok(Entry { name: row.name.to_vec(), kind, meta })
}

/// Splits off the first byte of a tree chunk: the type of the piece.
pub(crate) fn split_tag(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    bytes.split_first().map(|(tag, rest)| (*tag, rest)).ok_or(DecodeError::because("it is empty"))
}

impl DirPiece {
    /// Returns the first name and the number of entries, including those of all pieces below it.
    pub fn first_and_entries(&self) -> (Option<&[u8]>, u64) {
        match self {
            Self::Leaf(entries) => (entries.first().map(|entry| entry.name.as_slice()), entries.len() as u64),
            Self::Index(kids) => {
                let entries = kids.iter().map(|kid| kid.entries).fold(0, u64::saturating_add);
                (kids.first().map(|kid| kid.first.as_slice()), entries)
            }
        }
    }

    /// Decodes a tree chunk that should be a piece of a directory. Names are verified to be valid and
    /// ascending.
    ///
    /// # Errors
    /// The chunk is not a valid piece of a directory.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match split_tag(bytes)? {
            (DIR_LEAF, rest) => decode_leaf(rest).map(Self::Leaf),
            (DIR_INDEX, rest) => {
                let kids: Vec<DirChild> = wire::decode(rest)?;
                if kids.is_empty() || !kids.is_sorted_by(|a, b| a.first < b.first) {
                    return Err(DecodeError::because("the entries of a directory are out of order"));
                }
                Ok(Self::Index(kids))
            }
            _ => Err(DecodeError::because("it is not a piece of a directory")),
        }
    }
}

/// Formats a possibly invalid name for display.
fn printable(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name.get(..300).unwrap_or(name)))
}

fn decode_leaf(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let ((names, count), mut rest): ((Vec<&str>, u32), &[u8]) = wire::take(bytes)?;
    let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
    let mut entries: Vec<Entry> = Vec::with_capacity((count as usize).min(rest.len() / 16));
    for _ in 0..count {
        let (row, after) = wire::take::<EntryV1<'_>>(rest)?;
        rest = after;
        let entry = from_wire(row, &names)?;
        if entries.last().is_some_and(|last| last.name >= entry.name) {
            return Err(DecodeError::with(format!(
                "the entries of a directory are out of order at {}",
                printable(&entry.name)
            )));
        }
        entries.push(entry);
    }
    if rest.is_empty() { Ok(entries) } else { Err(DecodeError::because("it has trailing bytes")) }
}
