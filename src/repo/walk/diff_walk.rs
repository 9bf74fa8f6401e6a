//! Walks two trees in parallel: every name that either has, in order, with the entry of each.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::{Error, Problem, Result};
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential::with_path;
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::{TreeWalk, WalkStep, check_depth};

/// A tree that is read depth first, each directory in order of names.
pub trait TreeSource {
    /// Returns the next entry of the innermost open directory. At its end returns `None`, and its parent
    /// becomes the innermost.
    ///
    /// # Errors
    /// When it cannot be read.
    fn next(&mut self) -> Result<Option<Entry>>;

    /// Opens the directory that was returned last.
    ///
    /// # Errors
    /// When it cannot be read.
    fn enter(&mut self, dir: &Entry) -> Result<()> {
        let _ = dir;
        Ok(())
    }

    /// Skips the directory that was returned last.
    ///
    /// # Errors
    /// When what comes after it cannot be read.
    fn skip(&mut self) -> Result<()> {
        Ok(())
    }

    /// Returns, once, what is missing because it could not be read.
    fn problems(&mut self) -> Vec<Problem> {
        Vec::new()
    }
}

/// A tree of the repository.
#[derive(Debug)]
pub struct StoredTree {
    reader: ChunkReader,
    walk: TreeWalk<'static>,
}

impl StoredTree {
    /// Creates a source with this root.
    ///
    /// # Errors
    /// When no reader can be created.
    pub fn new(session: &Arc<ReadSession>, root: ChunkId) -> Result<Self> {
        // The caller limits the walk, by `DiffLimits`.
        let walk = TreeWalk::new(root, WalkLimits::BOUNDLESS, ());
        Ok(Self { reader: session.chunks()?, walk })
    }
}

impl TreeSource for StoredTree {
    fn next(&mut self) -> Result<Option<Entry>> {
        match self.walk.step(&mut self.reader)? {
            Some(WalkStep::Entry(entry)) => Ok(Some(entry)),
            Some(WalkStep::Excess(_, err) | WalkStep::Damaged(err)) => Err(err),
            Some(WalkStep::Left { .. }) | None => Ok(None),
        }
    }

    fn enter(&mut self, dir: &Entry) -> Result<()> {
        if let Kind::Dir { tree } = dir.kind { self.walk.enter(tree, ()) } else { Ok(()) }
    }
}

/// A tree of one entry that is not a directory, or of none.
#[derive(Debug)]
pub struct SingleEntry(pub Option<Entry>);

impl TreeSource for SingleEntry {
    fn next(&mut self) -> Result<Option<Entry>> {
        Ok(self.0.take())
    }
}

/// The entries of the two trees at one path; at least one exists.
#[derive(Debug)]
pub struct DiffEntry<'a> {
    /// Path relative to the roots.
    pub path: &'a [u8],
    /// The entry in the first tree.
    pub before: Option<&'a Entry>,
    /// The entry in the second tree.
    pub after: Option<&'a Entry>,
}

impl DiffEntry<'_> {
    /// Returns whether both are stored directories with the same tree id.
    pub fn same_tree(&self) -> bool {
        match (self.before.map(|entry| &entry.kind), self.after.map(|entry| &entry.kind)) {
            (Some(Kind::Dir { tree: a }), Some(Kind::Dir { tree: b })) => a == b,
            _ => false,
        }
    }
}

/// Limits on what the two trees may hold, see [`WalkLimits`]. A live file tree has no limits.
#[derive(Debug, Clone, Copy)]
pub struct DiffLimits {
    /// Limits of the first tree.
    pub before: WalkLimits,
    /// Limits of the second tree.
    pub after: WalkLimits,
}

impl DiffLimits {
    /// Returns the limits of trees in these snapshots.
    pub fn of(before: Option<&Snapshot>, after: Option<&Snapshot>) -> Self {
        let limits = |snapshot: Option<&Snapshot>| {
            snapshot.map_or(WalkLimits::BOUNDLESS, |snapshot| WalkLimits::of(&snapshot.manifest.counts))
        };
        Self { before: limits(before), after: limits(after) }
    }

    /// Counts the entries at a path.
    ///
    /// # Errors
    /// When a snapshot has more than its manifest counts.
    pub fn count(&mut self, pair: &DiffEntry<'_>) -> Result<()> {
        pair.before.map_or(Ok(()), |entry| self.before.count(pair.path, entry))?;
        pair.after.map_or(Ok(()), |entry| self.after.count(pair.path, entry))
    }
}

/// A directory that is open in one tree or both, and the next unprocessed entry of each.
struct Frame {
    path: Vec<u8>,
    before: NextEntry,
    after: NextEntry,
}

enum NextEntry {
    Unread,
    Read(Box<Entry>),
    Closed,
}

impl NextEntry {
    fn read(&mut self, tree: &mut dyn TreeSource) -> Result<()> {
        if matches!(self, Self::Unread) {
            *self = tree.next()?.map_or(Self::Closed, |entry| Self::Read(Box::new(entry)));
        }
        Ok(())
    }

    fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Read(entry) => Some(&entry.name),
            _ => None,
        }
    }

    fn take_if(&mut self, wanted: bool) -> Option<Entry> {
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

/// Calls `each` for every path; directories are opened if it returns `true`.
///
/// # Errors
/// When a tree cannot be read, is nested too deeply, or `each` fails.
pub fn walk(
    before: &mut dyn TreeSource,
    after: &mut dyn TreeSource,
    each: &mut dyn FnMut(DiffEntry<'_>) -> Result<bool>,
) -> Result<()> {
    let root = Frame { path: Vec::new(), before: NextEntry::Unread, after: NextEntry::Unread };
    let mut stack = vec![root];
    while let Some(frame) = stack.last_mut() {
        frame.before.read(before).map_err(|err| with_path(&frame.path, err))?;
        frame.after.read(after).map_err(|err| with_path(&frame.path, err))?;
        let order = match (frame.before.name(), frame.after.name()) {
            (None, None) => {
                stack.pop();
                continue;
            }
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        let (old, new) = (frame.before.take_if(order.is_le()), frame.after.take_if(order.is_ge()));
        let either = old.as_ref().or(new.as_ref());
        let name = either.ok_or(Error::Bug { what: "one of two trees has the name" })?.name.as_slice();
        let path = match frame.path.as_slice() {
            b"" => name.to_vec(),
            above => [above, b"/", name].concat(),
        };
        let enter = each(DiffEntry { path: &path, before: old.as_ref(), after: new.as_ref() })?;
        let mut frame = Frame { path, before: NextEntry::Closed, after: NextEntry::Closed };
        frame.before = enter_or_skip(before, old.as_ref(), enter)?;
        frame.after = enter_or_skip(after, new.as_ref(), enter)?;
        if matches!(frame.before, NextEntry::Unread) || matches!(frame.after, NextEntry::Unread) {
            check_depth(stack.len(), &frame.path)?;
            stack.push(frame);
        }
    }
    Ok(())
}

/// Opens an entry that is a directory, or skips it.
fn enter_or_skip(tree: &mut dyn TreeSource, entry: Option<&Entry>, enter: bool) -> Result<NextEntry> {
    let Some(dir) = entry.filter(|entry| entry.is_dir()) else { return Ok(NextEntry::Closed) };
    if enter {
        tree.enter(dir)?;
        return Ok(NextEntry::Unread);
    }
    tree.skip()?;
    Ok(NextEntry::Closed)
}
