//! The traversal of a walk: which entries of the sources are saved, and what is reported about the others.
//!
//! A source is always saved: filters, marker files and file system boundaries apply only to what is below
//! it. If they exclude a directory that leads to another source, the directory is entered for that source
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, vec};

use crossbeam_channel::Sender;

use crate::error::{ErrorKind, Problem};
use crate::fs::filter::{EntryPath, FilterVerdict};
use crate::fs::path_stack::PathStack;
use crate::fs::sources::{SourceNode, SourceTree};
use crate::fs::stat::{self, Inode, MetadataReader};
use crate::fs::walk::{WalkEvent, WalkOptions, WalkTotals};
use crate::model::entry::{Entry, Kind, MAX_NESTING, MAX_PATH, Meta, Time, flags};
use crate::model::id::ChunkId;
use crate::sys::fs::CWD;

/// Number of events that are sent together: waking the receiver for each one costs more than the walk.
const EVENTS_PER_GROUP: usize = 128;
/// Number of innermost directories that are kept open.
const MAX_OPEN_DIRS: usize = 64;

/// The receiver of the events is gone.
pub(crate) struct ReceiverGone;

/// A directory that the walk is in.
#[derive(Default)]
pub(super) struct OpenDir {
    /// Descriptor for examining its entries without resolving its path again; opened when first used.
    fd: Option<OwnedFd>,
    /// Whether its file system path is its parent's followed by its name.
    is_below: bool,
    /// The verdict of the patterns.
    verdict: FilterVerdict,
    /// Whether only entries that lead to sources are wanted.
    only_sources: bool,
}

/// The state of a walk.
pub(crate) struct Walker {
    pub(super) options: WalkOptions,
    /// Whether the filter can exclude single entries.
    pub(super) filters: bool,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) totals: Arc<WalkTotals>,
    pub(super) out: Sender<Vec<WalkEvent>>,
    pub(super) waiting: Vec<WalkEvent>,
    pub(super) metadata_reader: MetadataReader,
    pub(super) own: Vec<(u64, u64)>,
    pub(super) path_stack: PathStack,
    pub(super) open: Vec<OpenDir>,
    /// The device to stay on.
    pub(super) device: Option<u64>,
    /// Reused buffer for listings.
    pub(super) space: Vec<u8>,
    /// Sources inside sources that have not been reached yet.
    pub(super) nested: BTreeSet<PathBuf>,
    /// Outermost sources, for warnings about links.
    pub(super) sources: Vec<PathBuf>,
    /// Numbers of entries that were sent, and that were excluded.
    pub(super) sent: u64,
    pub(super) excluded: u64,
}

impl Walker {
    /// Creates a walker without reading any source.
    pub(crate) fn new(
        plan: &SourceTree,
        options: WalkOptions,
        stop: Arc<AtomicBool>,
        totals: Arc<WalkTotals>,
        out: Sender<Vec<WalkEvent>>,
    ) -> Self {
        let own = options.own.iter().filter_map(|own| stat::follow(own).ok());
        let mut sources = Vec::new();
        collect_outermost(&plan.root, &mut sources);
        Self {
            own: own.map(|own| own.id).collect(),
            filters: !options.filter.is_empty(),
            options,
            stop,
            totals,
            out,
            waiting: Vec::with_capacity(EVENTS_PER_GROUP),
            metadata_reader: MetadataReader::default(),
            path_stack: PathStack::default(),
            open: Vec::new(),
            device: None,
            space: Vec::new(),
            nested: plan.nested.clone(),
            sources,
            sent: 0,
            excluded: 0,
        }
    }

    /// Walks all sources.
    pub(crate) fn walk_sources(&mut self, plan: &SourceTree) -> Result<(), ReceiverGone> {
        let (SourceNode::Source(path) | SourceNode::Ancestor { path, .. }) = &plan.root;
        let root = Entry { name: Vec::new(), kind: no_tree(), meta: Meta::default() };
        self.enter(root, Some(path), OpenDir::default())?;
        match &plan.root {
            SourceNode::Source(path) => match stat::follow(path) {
                Ok(found) if self.is_own(&found) => self.report_own_dir(b"")?,
                Ok(found) => {
                    self.warn_excluded(path, b"", &found)?;
                    self.walk_below(path)?;
                }
                Err(err) => self.problem(path.as_os_str().as_bytes(), err.to_string())?,
            },
            SourceNode::Ancestor { below, .. } => self.walk_ancestor(below)?,
        }
        self.leave()?;
        self.report_unreached()?;
        self.flush()
    }

    pub(super) fn send(&mut self, found: WalkEvent) -> Result<(), ReceiverGone> {
        self.waiting.push(found);
        if self.waiting.len() < EVENTS_PER_GROUP { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), ReceiverGone> {
        let group = std::mem::replace(&mut self.waiting, Vec::with_capacity(EVENTS_PER_GROUP));
        self.out.send(group).map_err(|_| ReceiverGone)
    }

    pub(super) fn problem(&mut self, path: &[u8], why: String) -> Result<(), ReceiverGone> {
        self.send(WalkEvent::Problem(Problem::new(path, ErrorKind::Io, why)))
    }

    fn enter(&mut self, entry: Entry, path: Option<&Path>, mut open: OpenDir) -> Result<(), ReceiverGone> {
        self.path_stack.enter(&entry.name, path);
        open.is_below = path.is_none();
        self.open.push(open);
        if let Some(outer) = self.open.len().checked_sub(MAX_OPEN_DIRS).and_then(|at| self.open.get_mut(at)) {
            outer.fd = None;
        }
        self.sent += 1;
        self.send(WalkEvent::Enter(entry, path.map(Path::to_path_buf)))
    }

    fn leave(&mut self) -> Result<(), ReceiverGone> {
        self.open.pop();
        self.path_stack.leave();
        self.send(WalkEvent::Leave)
    }

    /// Walks the sources below a directory that only leads to them.
    fn walk_ancestor(&mut self, below: &BTreeMap<Vec<u8>, SourceNode>) -> Result<(), ReceiverGone> {
        for (name, node) in below {
            match node {
                SourceNode::Source(path) => self.walk_source(name, path)?,
                SourceNode::Ancestor { path, below } => {
                    let mut meta = Meta { mode: 0o755, ..Meta::default() };
                    if let Ok(found) = stat::follow(path) {
                        meta = self.metadata_reader.meta(&found);
                    }
                    let entry = Entry { name: name.clone(), kind: no_tree(), meta: as_ancestor(meta) };
                    self.enter(entry, Some(path), OpenDir::default())?;
                    self.walk_ancestor(below)?;
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    /// Sends a source under its stored name, and everything below it.
    fn walk_source(&mut self, name: &[u8], path: &Path) -> Result<(), ReceiverGone> {
        let stored = self.path_stack.stored_of(name);
        let is_nested = self.nested.remove(path);
        let found = stat::stat(CWD, path);
        let found = found.and_then(|found| Ok((found, stat::kind(CWD, path.as_os_str(), &found)?)));
        let (found, kind) = match found {
            Err(err) => return self.problem(&stored, err.to_string()),
            Ok((found, _)) if self.is_own(&found) => return self.report_own_dir(&stored),
            Ok(found) => found,
        };
        if !is_nested {
            self.warn_excluded(path, &stored, &found)?;
        }
        if let Kind::Symlink { target } = &kind {
            self.warn_link(path, &stored, target)?;
        }
        let entry = Entry { name: name.to_vec(), kind, meta: self.metadata_reader.meta(&found) };
        if !entry.is_dir() {
            self.count(&found);
            return self.send(WalkEvent::SingleFile(entry, path.to_path_buf(), found.linked_inode()));
        }
        self.enter(entry, Some(path), OpenDir::default())?;
        self.walk_below(path)?;
        self.leave()
    }

    /// Walks everything below a source directory that has been entered: directories before their contents,
    /// names sorted by their bytes. Follows no links.
    fn walk_below(&mut self, root: &Path) -> Result<(), ReceiverGone> {
        let device =
            if self.options.one_file_system { stat::follow(root).ok().map(|root| root.id.0) } else { None };
        let outer = std::mem::replace(&mut self.device, device);
        let before = (self.sent, self.excluded);
        let base = self.open.len();
        let mut todo = vec![self.names()?];
        while let Some(names) = todo.last_mut() {
            if self.stop.load(Ordering::Relaxed) {
                todo.clear();
            } else if let Some(name) = names.next() {
                if self.visit_entry(name)? {
                    todo.push(self.names()?);
                }
            } else {
                todo.pop();
                if !todo.is_empty() {
                    self.leave()?;
                }
            }
        }
        while self.open.len() > base {
            self.leave()?;
        }
        self.device = outer;
        let is_empty = before.0 == self.sent && before.1 < self.excluded;
        if is_empty && !self.options.allow_empty && !self.stop.load(Ordering::Relaxed) {
            self.report_empty_source()?;
        }
        Ok(())
    }

    /// Returns the names in the current directory that are to be examined.
    fn names(&mut self) -> Result<vec::IntoIter<Vec<u8>>, ReceiverGone> {
        let to_sources = self.names_to_sources();
        if self.open.last().is_some_and(|open| open.only_sources) {
            return Ok(Vec::from_iter(to_sources).into_iter());
        }
        let mut space = std::mem::take(&mut self.space);
        let listed = self.dir().map(|dir| stat::names(dir, &mut space));
        self.space = space;
        let (mut names, failed) = listed.unwrap_or_else(|err| (Vec::new(), Some(err)));
        if let Some(err) = failed {
            self.report_unlisted(&err, !names.is_empty())?;
        }
        if !to_sources.is_empty() {
            // A directory that cannot be listed may still be searchable.
            names.retain(|name| !to_sources.contains(name));
            names.extend(to_sources);
            names.sort_unstable();
        }
        Ok(names.into_iter())
    }

    /// Reports that the current directory cannot be listed, or not completely. A directory that has
    /// disappeared is not a problem.
    fn report_unlisted(&mut self, err: &io::Error, partly: bool) -> Result<(), ReceiverGone> {
        let path = self.path_stack.place().as_os_str().as_bytes().to_vec();
        match err.kind() {
            io::ErrorKind::NotFound if !partly => self.send(WalkEvent::Vanished(path)),
            _ if partly => self.problem(&path, format!("its listing is incomplete: {err}")),
            _ => self.problem(&path, err.to_string()),
        }
    }

    /// Handles an entry of the current directory; true if it is a directory that was entered.
    fn visit_entry(&mut self, name: Vec<u8>) -> Result<bool, ReceiverGone> {
        let mut leads = false;
        if !self.nested.is_empty() {
            let place = self.path_stack.place_of(&name);
            if let Some(path) = self.nested.get(&place).cloned() {
                return self.walk_source(&name, &path).map(|()| false);
            }
            leads = self.leads_to_source(&place);
        }
        let (found, kind) = match self.stat(&name) {
            Ok(found) => found,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return self.send(WalkEvent::Vanished(self.path_stack.stored_of(&name))).map(|()| false);
            }
            Err(err) => return self.report_unsaved(&name, err.to_string()),
        };
        let (verdict, out) = self.verdict(&name, &found);
        if out && !(leads && found.is_dir()) {
            self.excluded += 1;
            return Ok(false);
        }
        let long = self.path_stack.stored().len() + name.len() >= MAX_PATH - 256;
        if found.is_dir() && (self.path_stack.depth() >= MAX_NESTING || long) {
            return self.report_unsaved(&name, "not saved: directories are nested too deeply".to_owned());
        }
        if !found.is_dir() {
            let entry = Entry { name, kind, meta: self.metadata_reader.meta(&found) };
            self.sent += 1;
            self.count(&found);
            return self.send(WalkEvent::Entry(entry, found.linked_inode())).map(|()| false);
        }
        let only_sources = out || self.is_elsewhere(&found) || self.is_marked(&name);
        let mut meta = self.metadata_reader.meta(&found);
        if only_sources && leads {
            // A restore must not take it for the complete directory.
            meta = as_ancestor(meta);
        }
        let open = OpenDir { verdict, only_sources, ..OpenDir::default() };
        self.enter(Entry { name, kind, meta }, None, open).map(|()| true)
    }

    /// Returns the verdict of the patterns on an entry of the current directory, and whether it is excluded
    /// for any reason.
    fn verdict(&self, name: &[u8], found: &Inode) -> (FilterVerdict, bool) {
        let above = self.open.last();
        if above.is_some_and(|above| above.only_sources) || self.is_own(found) {
            return (FilterVerdict::default(), true);
        }
        if !self.filters {
            return (FilterVerdict::default(), false);
        }
        let location = EntryPath { dir: self.path_stack.place(), stored_dir: self.path_stack.stored(), name };
        let verdict =
            self.options.filter.decide(above.map(|above| above.verdict).unwrap_or_default(), location);
        (verdict, self.options.filter.excludes(verdict, location, found.is_dir(), found.size))
    }

    fn count(&self, found: &Inode) {
        if found.is_file() {
            self.totals.add(found.size);
        }
    }

    fn report_unsaved(&mut self, name: &[u8], why: String) -> Result<bool, ReceiverGone> {
        let path = self.path_stack.place_of(name);
        self.problem(path.as_os_str().as_bytes(), why).map(|()| false)
    }

    fn stat(&mut self, name: &[u8]) -> io::Result<(Inode, Kind)> {
        let dir = self.dir()?;
        let found = stat::stat(dir, name)?;
        let kind = stat::kind(dir, name, &found)?;
        Ok((found, kind))
    }

    /// Returns the descriptor of the current directory.
    fn dir(&mut self) -> io::Result<&OwnedFd> {
        let (open, above) = self.open.split_last_mut().ok_or(io::ErrorKind::NotFound)?;
        let fd = match (open.fd.take(), above.last().and_then(|above| above.fd.as_ref())) {
            (Some(fd), _) => fd,
            (None, Some(above)) if open.is_below => stat::open_dir_in(above, self.path_stack.name())?,
            (None, _) => stat::open_dir(self.path_stack.place())?,
        };
        Ok(open.fd.insert(fd))
    }

    /// Returns whether it is one of snap's own directories.
    fn is_own(&self, found: &Inode) -> bool {
        found.is_dir() && self.own.contains(&found.id)
    }

    /// Returns whether it is on another file system and these are excluded.
    fn is_elsewhere(&self, found: &Inode) -> bool {
        self.device.is_some_and(|device| device != found.id.0)
    }

    fn is_marked(&self, name: &[u8]) -> bool {
        self.options.filter.has_markers()
            && self.options.filter.excludes_contents(&self.path_stack.place_of(name))
    }
}

/// Returns the type of a directory whose tree is not known yet.
fn no_tree() -> Kind {
    Kind::Dir { tree: ChunkId::new([0; 32]) }
}

/// Marks the metadata of a directory that is stored only for what is below it, and removes its times.
fn as_ancestor(mut meta: Meta) -> Meta {
    (meta.mtime, meta.ctime) = (Time::default(), Time::default());
    meta.flags |= flags::ANCESTOR_ONLY;
    meta
}

fn collect_outermost(node: &SourceNode, sources: &mut Vec<PathBuf>) {
    match node {
        SourceNode::Source(path) => sources.push(path.clone()),
        SourceNode::Ancestor { below, .. } => {
            below.values().for_each(|node| collect_outermost(node, sources))
        }
    }
}
