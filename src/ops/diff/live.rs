//! Reads the live directory of a comparison.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::tree::stored_xattrs;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::fs::filter::{Filter, FilterOptions};
use crate::fs::path_stack::PathStack;
use crate::fs::walk::{Walk, WalkEvent, WalkOptions};
use crate::fs::{sources, xattr};
use crate::model::entry::{Content, Entry};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::walk::compare_file;
use crate::repo::walk::diff_walk::TreeSource;
use crate::sys::long_path;

/// A live directory, walked as a backup would.
pub(super) struct LiveTree<'a> {
    hasher: &'a ChunkHasher,
    walk: Walk,
    path_stack: PathStack,
    ready: VecDeque<WalkEvent>,
    links: HashMap<(u64, u64), u128>,
    problems: Vec<Problem>,
}

impl<'a> LiveTree<'a> {
    pub(super) fn new(hasher: &'a ChunkHasher, dir: &Path, stop: &Arc<AtomicBool>) -> Result<Self> {
        if !std::fs::metadata(dir).map_err(Error::io("read the metadata of", dir))?.is_dir() {
            return Err(Error::Usage(format!("{} is not a directory", dir.display())));
        }
        // A symbolic link is followed: the directory is meant.
        let dir = std::fs::canonicalize(dir).map_err(Error::io("read the metadata of", dir))?;
        let plan = sources::plan(std::slice::from_ref(&dir), Some(b"/"))?;
        let options = WalkOptions {
            filter: Arc::new(Filter::new(&FilterOptions::default())?),
            one_file_system: false,
            allow_empty: true,
            own: Vec::new(),
        };
        let walk = Walk::start(plan, options, stop)?;
        let (ready, links, problems) = (VecDeque::new(), HashMap::new(), Vec::new());
        let mut live = Self { hasher, walk, path_stack: PathStack::default(), ready, links, problems };
        live.path_stack.enter(b"", Some(&dir));
        // The first event is the root itself.
        live.found();
        Ok(live)
    }

    fn found(&mut self) -> Option<WalkEvent> {
        while self.ready.is_empty() {
            self.ready.extend(self.walk.found.recv().ok()?);
        }
        self.ready.pop_front()
    }

    /// Adds extended attributes, encoded as in a backup, so that equal ones compare as equal.
    fn attributes(&mut self, entry: &mut Entry, place: Option<&Path>) {
        let place = place.map_or_else(|| self.path_stack.place_of(&entry.name), PathBuf::from);
        let found = match xattr::of_path(&place) {
            Ok(found) => found,
            Err(err) => xattr::FoundXattrs { values: Vec::new(), problems: vec![err.to_string()] },
        };
        entry.meta.xattrs = stored_xattrs::split_values(self.hasher, found.values).0;
        let path = place.as_os_str().as_bytes();
        let problems = found.problems.into_iter().map(|why| Problem::new(path, ErrorKind::Io, why));
        self.problems.extend(problems);
    }
}

impl TreeSource for LiveTree<'_> {
    fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            match self.found() {
                None => return Ok(None),
                Some(WalkEvent::Leave) => {
                    self.path_stack.leave();
                    return Ok(None);
                }
                Some(WalkEvent::Enter(mut entry, place)) => {
                    self.attributes(&mut entry, place.as_deref());
                    self.path_stack.enter(&entry.name, place.as_deref());
                    return Ok(Some(entry));
                }
                Some(WalkEvent::Entry(mut entry, inode)) => {
                    self.attributes(&mut entry, None);
                    if let Some(inode) = inode {
                        let next = self.links.len() as u128 + 1;
                        entry.meta.link = *self.links.entry(inode).or_insert(next);
                    }
                    return Ok(Some(entry));
                }
                Some(WalkEvent::Problem(problem)) => self.problems.push(problem),
                // A vanished file does not exist, and only a source can be a lone file.
                Some(WalkEvent::Vanished(_) | WalkEvent::SingleFile(..) | WalkEvent::Warning(_)) => {}
            }
        }
    }

    fn enter(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn skip(&mut self) -> Result<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.found() {
                None => return Ok(()),
                Some(WalkEvent::Enter(..)) => depth += 1,
                Some(WalkEvent::Leave) => depth -= 1,
                Some(_) => {}
            }
        }
        self.path_stack.leave();
        Ok(())
    }

    fn problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }
}

/// Returns whether a live file equals the stored one: each part is read and hashed.
pub(super) fn holds(
    repo: &Repository,
    reader: &mut ChunkReader,
    dir: &Path,
    path: &[u8],
    size: u64,
    content: &Content,
    stop: &AtomicBool,
) -> Result<bool> {
    let path = dir.join(OsStr::from_bytes(path));
    let mut file = long_path::open_to_read(&path).map_err(Error::io("read", &path))?;
    compare_file::matches(repo.hasher(), reader, (&mut file, &path), size, content, &|| {
        stop.load(Ordering::Relaxed)
    })
}
