//! Walks a snapshot: determines the order of members, and writes the headers between their contents.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::tar::sparse::MapText;
use crate::codec::tar::write::Stored as Size;
use crate::codec::tar::{Node, padding, sparse, write};
use crate::codec::tree::dir::{LinkGroup, link_group};
use crate::error::{Error, Result};
use crate::model::entry::{Content, ContentPart, Entry, Kind, Time};
use crate::model::id::ChunkId;
use crate::ops::export::difference::Delta;
use crate::ops::export::{DELETED, ExportCounts, Root, member};
use crate::progress::{Action, Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential::{self, Feed};
use crate::repo::walk::diff_walk;
use crate::repo::walk::diff_walk::{DiffEntry, DiffLimits, SingleEntry, StoredTree, TreeSource};
use crate::repo::walk::file_parts;

/// Bytes of a sparse map that are sent at a time.
const MAP_PIECE_BYTES: usize = 32 << 10;

pub(super) struct Walk<'a> {
    session: &'a Arc<ReadSession>,
    reader: ChunkReader,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    started: Time,
    /// Prefix of the path of each member.
    pub(super) prefix: Vec<u8>,
    /// Names of the entries to export from the directory; all if `None`.
    pub(super) names: Option<BTreeSet<Vec<u8>>>,
    /// First path of each group of hard links.
    links: HashMap<LinkGroup, Vec<u8>>,
    /// Directories that the walk is in, and whether they have been written. A delta has only those with a
    /// change below.
    open_dirs: Vec<(Vec<u8>, Entry, bool)>,
    /// Limits from the counts of the snapshot, and of the one it is compared with.
    limits: DiffLimits,
    pub(super) counts: ExportCounts,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        session: &'a Arc<ReadSession>,
        reader: ChunkReader,
        observer: &'a dyn Observer,
        stop: &'a AtomicBool,
        started: Time,
        limits: DiffLimits,
    ) -> Self {
        let counts = ExportCounts {
            files: 0,
            dirs: 0,
            others: 0,
            bytes: 0,
            archive_bytes: 0,
            left_out: 0,
            deleted: 0,
        };
        Self {
            session,
            reader,
            observer,
            stop,
            started,
            prefix: Vec::new(),
            names: None,
            links: HashMap::new(),
            open_dirs: Vec::new(),
            limits,
            counts,
        }
    }

    /// Writes the whole archive.
    pub(super) fn write_all(
        &mut self,
        feed: &mut Feed<'_>,
        root: &Root,
        before: Option<&Root>,
        is_delta: bool,
    ) -> Result<()> {
        match root {
            Root::Single(_) if is_delta => {
                return Err(Error::Usage(
                    "only whole snapshots and directories can be exported as a delta".into(),
                ));
            }
            Root::Single(entry) => {
                self.limits.after.count(&entry.name, entry)?;
                self.write_entry(feed, &entry.name, entry)?;
            }
            Root::Tree(tree) => self.write_tree(feed, *tree, before, is_delta)?,
        }
        feed.bytes(write::END.to_vec())
    }

    fn write_tree(
        &mut self,
        feed: &mut Feed<'_>,
        tree: ChunkId,
        before: Option<&Root>,
        is_delta: bool,
    ) -> Result<()> {
        let mut delta = None;
        if is_delta {
            let found = Delta::find(&mut *self.open_root(before)?, &mut *self.open_tree(tree)?, self.limits)?;
            self.write_removed_list(feed, &found)?;
            delta = Some(found);
        }
        let (mut old, mut new) = (self.open_root(before)?, self.open_tree(tree)?);
        diff_walk::walk(&mut *old, &mut *new, &mut |pair| self.visit(feed, &pair, delta.as_ref()))
    }

    /// Writes the list of removed paths as the first member, so that it can be used while the rest arrives.
    fn write_removed_list(&mut self, feed: &mut Feed<'_>, delta: &Delta) -> Result<()> {
        let mut bytes = Vec::new();
        let len = delta.deleted.len() as u64;
        write::member(&member::removed_list(DELETED, self.started), Size::Plain(len), &mut bytes);
        bytes.extend_from_slice(&delta.deleted);
        self.counts.deleted = delta.count;
        feed.bytes(bytes)?;
        feed.zeros(padding(len))
    }

    fn open_tree(&self, tree: ChunkId) -> Result<Box<dyn TreeSource>> {
        Ok(Box::new(StoredTree::new(self.session, tree)?))
    }

    fn open_root(&self, root: Option<&Root>) -> Result<Box<dyn TreeSource>> {
        match root {
            Some(Root::Tree(tree)) => self.open_tree(*tree),
            _ => Ok(Box::new(SingleEntry(None))),
        }
    }

    /// Writes one path. Returns true if the walk is to enter it.
    fn visit(&mut self, feed: &mut Feed<'_>, pair: &DiffEntry<'_>, delta: Option<&Delta>) -> Result<bool> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let inside = |dir: &[u8]| pair.path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"));
        while self.open_dirs.last().is_some_and(|(dir, ..)| !inside(dir)) {
            self.open_dirs.pop();
        }
        self.limits.count(pair)?;
        if self.names.as_ref().is_some_and(|names| !pair.path.contains(&b'/') && !names.contains(pair.path)) {
            return Ok(false);
        }
        let Some(after) = pair.after else {
            self.write_open_dirs(feed)?;
            return Ok(false);
        };
        let is_included = delta.is_none_or(|delta| delta.includes(pair, after));
        if after.is_dir() {
            self.open_dirs.push((pair.path.to_vec(), after.clone(), false));
        }
        if is_included {
            self.write_open_dirs(feed)?;
            if !after.is_dir() {
                self.write_entry(feed, pair.path, after)?;
            }
        }
        Ok(after.is_dir() && delta.is_none_or(|delta| delta.may_include_below(pair)))
    }

    /// Writes the open directories that have not been written yet.
    fn write_open_dirs(&mut self, feed: &mut Feed<'_>) -> Result<()> {
        let mut open_dirs = std::mem::take(&mut self.open_dirs);
        for (path, dir, written) in open_dirs.iter_mut().filter(|(_, _, written)| !written) {
            *written = true;
            self.write_entry(feed, path, dir)?;
        }
        self.open_dirs = open_dirs;
        Ok(())
    }

    fn write_entry(&mut self, feed: &mut Feed<'_>, path: &[u8], entry: &Entry) -> Result<()> {
        let Some(mut node) = member::node_of(&entry.kind) else {
            self.counts.left_out += 1;
            let shown = String::from_utf8_lossy(path);
            let why = format!("{shown} is a socket, which archives cannot contain");
            self.observer.notice(Event::Warning(&why));
            return Ok(());
        };
        self.observer.notice(Event::Working { path });
        let mut size = entry.size();
        if let Some(group) = link_group(entry) {
            match self.links.get(&group) {
                Some(first) => (node, size) = (Node::HardLink(first.clone()), 0),
                None => {
                    self.links.insert(group, self.name_of(path));
                }
            }
        }
        match &entry.kind {
            Kind::File { .. } => self.counts.files += 1,
            Kind::Dir { .. } => self.counts.dirs += 1,
            _ => self.counts.others += 1,
        }
        self.counts.bytes += size;
        let written = match (&entry.kind, &node) {
            (Kind::File { size, content }, Node::File) => self.write_file(feed, path, entry, *size, content),
            _ => self.write_header(feed, path, entry, node, Size::Plain(0)),
        };
        written.map_err(|err| sequential::with_path(path, err))?;
        if let Some(why) = entry.meta.loss() {
            let why = format!("/{}: {why}", String::from_utf8_lossy(path));
            self.observer.notice(Event::Warning(&why));
        }
        let left_out = entry.meta.not_restorable();
        if left_out > 0 {
            let shown = String::from_utf8_lossy(path);
            let why = format!(
                "/{shown}: the archive does not contain {left_out} of its attributes, which are those of another \
                 operating system"
            );
            self.observer.notice(Event::Warning(&why));
        }
        self.observer.notice(Event::Item { action: Action::Exported, path, size });
        self.observer.notice(Event::Done { files: u64::from(entry.is_file()), bytes: 0 });
        Ok(())
    }

    /// Returns the name of a member.
    fn name_of(&self, path: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), path].concat()
    }

    fn write_header(
        &mut self,
        feed: &mut Feed<'_>,
        path: &[u8],
        entry: &Entry,
        node: Node,
        size: Size,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let member = member::tar_member(entry, &self.name_of(path), node, self.started, &mut self.reader)?;
        write::member(&member, size, &mut bytes);
        feed.bytes(bytes)
    }

    fn write_file(
        &mut self,
        feed: &mut Feed<'_>,
        path: &[u8],
        entry: &Entry,
        size: u64,
        content: &Content,
    ) -> Result<()> {
        let mut map = MapText::default();
        let (mut data, mut is_sparse) = (0, false);
        self.each_segment(size, content, &mut |offset, len| {
            is_sparse |= len != size || offset != 0;
            data += len;
            map.add(offset, len);
            Ok(())
        })?;
        feed.set_path(path)?;
        if is_sparse {
            let text = map.bytes();
            let stored = text + padding(text) + data;
            self.write_header(feed, path, entry, Node::File, Size::Sparse { real: size, stored })?;
            self.write_map(feed, &map, size, content)?;
            feed.zeros(padding(text))?;
        } else {
            self.write_header(feed, path, entry, Node::File, Size::Plain(size))?;
        }
        file_parts::each_part(&mut self.reader, size, content, &mut |part| match part {
            ContentPart::Hole { .. } => Ok(()),
            part => feed.part(&part),
        })?;
        feed.zeros(padding(data))
    }

    /// Writes the sparse map of a file. Its text can be long, so it is generated twice rather than kept.
    fn write_map(&mut self, feed: &mut Feed<'_>, map: &MapText, size: u64, content: &Content) -> Result<()> {
        let mut text = map.head().into_bytes();
        self.each_segment(size, content, &mut |offset, len| {
            text.extend_from_slice(sparse::line(offset).as_bytes());
            text.extend_from_slice(sparse::line(len).as_bytes());
            if text.len() < MAP_PIECE_BYTES { Ok(()) } else { feed.bytes(std::mem::take(&mut text)) }
        })?;
        feed.bytes(text)
    }

    /// Calls `each` for every run of data between holes, and for the end of a file that is empty or ends in a
    /// hole.
    fn each_segment(
        &mut self,
        size: u64,
        content: &Content,
        each: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let (mut start, mut at) = (0u64, 0u64);
        file_parts::each_part(&mut self.reader, size, content, &mut |part| {
            let here = at;
            at += part.len();
            if let ContentPart::Hole { .. } = part {
                if here > start {
                    each(start, here - start)?;
                }
                start = at;
            }
            Ok(())
        })?;
        each(start, at - start)
    }
}
