//! Two trees side by side: every name that either has, in order, with what each has of it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential::belonging;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::{DirReader, MAX_NESTING, WalkLimits};

/// A tree read from its root down, each directory in order of names.
pub trait TreeSource {
    /// The next entry of the innermost open directory; at its end `None`, and the one above is innermost again.
    ///
    /// # Errors
    /// When it cannot be read.
    fn next(&mut self) -> Result<Option<Entry>>;

    /// Opens the directory that was given last.
    ///
    /// # Errors
    /// When it cannot be read.
    fn enter(&mut self, dir: &Entry) -> Result<()>;

    /// Leaves the directory that was given last closed.
    ///
    /// # Errors
    /// When what comes behind it cannot be read.
    fn pass(&mut self) -> Result<()>;

    /// Takes what could not be read and is missing therefore: (path, why).
    fn problems(&mut self) -> Vec<(Vec<u8>, String)> {
        Vec::new()
    }
}

/// A tree of the repository.
#[derive(Debug)]
pub struct StoredTree {
    reader: ChunkReader,
    open: Vec<DirReader>,
}

impl StoredTree {
    /// With this root.
    ///
    /// # Errors
    /// When no reader can be made.
    pub fn new(session: &Arc<ReadSession>, root: ChunkId) -> Result<Self> {
        Ok(Self { reader: session.chunks()?, open: vec![DirReader::new(root)] })
    }
}

impl TreeSource for StoredTree {
    fn next(&mut self) -> Result<Option<Entry>> {
        let Some(dir) = self.open.last_mut() else { return Ok(None) };
        let entry = dir.next(&mut self.reader)?;
        if entry.is_none() {
            self.open.pop();
        }
        Ok(entry)
    }

    fn enter(&mut self, dir: &Entry) -> Result<()> {
        if let Kind::Dir { tree } = dir.kind {
            self.open.push(DirReader::new(tree));
        }
        Ok(())
    }

    fn pass(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A tree without entries.
#[derive(Debug, Clone, Copy)]
pub struct EmptyTree;

impl TreeSource for EmptyTree {
    fn next(&mut self) -> Result<Option<Entry>> {
        Ok(None)
    }

    fn enter(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn pass(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A tree of one entry that is no directory.
#[derive(Debug)]
pub struct SingleEntry(pub Option<Entry>);

impl TreeSource for SingleEntry {
    fn next(&mut self) -> Result<Option<Entry>> {
        Ok(self.0.take())
    }

    fn enter(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn pass(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What the two trees have under one path; at least one has something.
#[derive(Debug)]
pub struct DiffEntry<'a> {
    /// Relative to the roots.
    pub path: &'a [u8],
    /// In the first tree.
    pub before: Option<&'a Entry>,
    /// In the second.
    pub after: Option<&'a Entry>,
}

impl DiffEntry<'_> {
    /// Whether both are directories that hold the same, and are stored.
    pub fn same_tree(&self) -> bool {
        match (self.before.map(|entry| &entry.kind), self.after.map(|entry| &entry.kind)) {
            (Some(Kind::Dir { tree: a }), Some(Kind::Dir { tree: b })) => a == b,
            _ => false,
        }
    }
}

/// What either tree may hold: see [`WalkLimits`]. One that is live has no bounds but the disk's.
#[derive(Debug, Clone, Copy)]
pub struct DiffLimits {
    /// Of the first tree.
    pub before: WalkLimits,
    /// Of the second.
    pub after: WalkLimits,
}

impl DiffLimits {
    /// Of trees in these snapshots.
    pub fn of(before: Option<&Snapshot>, after: Option<&Snapshot>) -> Self {
        let of = |snapshot: Option<&Snapshot>| {
            snapshot.map_or(WalkLimits::BOUNDLESS, |snapshot| WalkLimits::of(&snapshot.manifest.counts))
        };
        Self { before: of(before), after: of(after) }
    }

    /// Takes what both have under a path.
    ///
    /// # Errors
    /// When a snapshot holds more than it counts.
    pub fn take(&mut self, pair: &DiffEntry<'_>) -> Result<()> {
        pair.before.map_or(Ok(()), |entry| self.before.take(pair.path, entry))?;
        pair.after.map_or(Ok(()), |entry| self.after.take(pair.path, entry))
    }
}

/// A directory that is open in one tree or both, and the entry of each that is not dealt with yet.
struct Frame {
    path: Vec<u8>,
    before: Ahead,
    after: Ahead,
}

enum Ahead {
    Unread,
    Read(Box<Entry>),
    Closed,
}

impl Ahead {
    fn fill(&mut self, side: &mut dyn TreeSource) -> Result<()> {
        if matches!(self, Self::Unread) {
            *self = side.next()?.map_or(Self::Closed, |entry| Self::Read(Box::new(entry)));
        }
        Ok(())
    }

    fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Read(entry) => Some(&entry.name),
            _ => None,
        }
    }

    fn take(&mut self, wanted: bool) -> Option<Entry> {
        if !wanted {
            return None;
        }
        match std::mem::replace(self, Self::Unread) {
            Self::Read(entry) => Some(*entry),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// Calls `each` for every path; directories are opened where it says true.
///
/// # Errors
/// When a tree cannot be read, is nested absurdly deep, or `each` fails.
pub fn walk(
    before: &mut dyn TreeSource,
    after: &mut dyn TreeSource,
    each: &mut dyn FnMut(DiffEntry<'_>) -> Result<bool>,
) -> Result<()> {
    let root = Frame { path: Vec::new(), before: Ahead::Unread, after: Ahead::Unread };
    let mut stack = vec![root];
    while let Some(frame) = stack.last_mut() {
        frame.before.fill(before).map_err(|err| belonging(&frame.path, err))?;
        frame.after.fill(after).map_err(|err| belonging(&frame.path, err))?;
        let order = match (frame.before.name(), frame.after.name()) {
            (None, None) => {
                stack.pop();
                continue;
            }
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        let (old, new) = (frame.before.take(order.is_le()), frame.after.take(order.is_ge()));
        let either = old.as_ref().or(new.as_ref());
        let name = either.ok_or(Error::Bug { what: "one of two trees has the name" })?.name.as_slice();
        let path = match frame.path.as_slice() {
            b"" => name.to_vec(),
            above => [above, b"/", name].concat(),
        };
        let go = each(DiffEntry { path: &path, before: old.as_ref(), after: new.as_ref() })?;
        let mut frame = Frame { path, before: Ahead::Closed, after: Ahead::Closed };
        frame.before = open(before, old.as_ref(), go)?;
        frame.after = open(after, new.as_ref(), go)?;
        if matches!(frame.before, Ahead::Unread) || matches!(frame.after, Ahead::Unread) {
            if stack.len() >= MAX_NESTING {
                let path = String::from_utf8_lossy(&frame.path).into_owned();
                return Err(Error::Refused(format!("{path}: too many directories inside one another")));
            }
            stack.push(frame);
        }
    }
    Ok(())
}

/// Opens an entry that is a directory, or passes it by.
fn open(side: &mut dyn TreeSource, entry: Option<&Entry>, go: bool) -> Result<Ahead> {
    let Some(dir) = entry.filter(|entry| entry.is_dir()) else { return Ok(Ahead::Closed) };
    if go {
        side.enter(dir)?;
        return Ok(Ahead::Unread);
    }
    side.pass()?;
    Ok(Ahead::Closed)
}
