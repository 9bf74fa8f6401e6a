//! The survey: visits every entry of the sources once, in order of stored paths, and tells what is there.
//!
//! It knows nothing of repositories, so it can begin while the password is still being turned into a key.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::vec;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;
use rustix::fs::CWD;

use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::MAX_NESTING;
use crate::model::entry::MAX_PATH;
use crate::model::entry::Meta;
use crate::model::entry::Time;
use crate::model::entry::flags;
use crate::model::id::ChunkId;
use crate::tree::filter::Filter;
use crate::tree::plan::Place;
use crate::tree::plan::Plan;
use crate::tree::source;
use crate::tree::source::Describer;
use crate::tree::source::Inode;
use crate::tree::trail::Trail;

/// Finds that travel together: waking the other side for each costs more than the walk.
const TOGETHER: usize = 128;
/// Such groups that may wait: what is walked while the repository is opened.
const AHEAD: usize = 256;
/// Directories held open, the innermost.
const HELD: usize = 64;

/// What is found, in order of stored paths.
#[derive(Debug)]
pub enum Found {
    /// A directory, whose contents follow; its place in the file system, where that is not its name in the place of
    /// the one above.
    Enter(Entry, Option<PathBuf>),
    /// The directory last entered ends.
    Leave,
    /// Anything else in the open directory; device and inode of what has further names.
    Entry(Entry, Option<(u64, u64)>),
    /// A source that is no directory, and its place: it need not have its stored name.
    Lone(Entry, PathBuf, Option<(u64, u64)>),
    /// Something that cannot be read, and why.
    Problem(Vec<u8>, String),
    /// Something that was gone before it could be looked at.
    Vanished(Vec<u8>),
}

/// How to walk.
pub struct SurveyOptions {
    /// What stays out.
    pub filter: Filter,
    /// Whether other file systems stay out.
    pub one_file_system: bool,
    /// Folders of our own, which stay out: the repository, and what this machine keeps.
    pub own: Vec<PathBuf>,
}

/// A walk in a thread of its own, bounded in how far it runs ahead; it ends when this is dropped.
#[derive(Debug)]
pub struct Survey {
    /// What is found, in groups; it ends with the walk.
    pub found: Receiver<Vec<Found>>,
    /// An instant before the first look.
    pub started: Time,
}

impl Survey {
    /// Begins. When `stop` becomes true, the walk ends early, as if there were nothing more.
    pub fn start(plan: Plan, options: SurveyOptions, stop: &Arc<AtomicBool>) -> Self {
        let started = Time::now();
        let (out, found) = bounded(AHEAD);
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            let own = options.own.iter().filter_map(|own| source::follow(own).ok());
            let mut walker = Walker {
                own: own.map(|own| own.id).collect(),
                filters: !options.filter.is_empty(),
                options,
                stop,
                out,
                waiting: Vec::with_capacity(TOGETHER),
                describer: Describer::default(),
                trail: Trail::default(),
                open: Vec::new(),
                space: Vec::new(),
            };
            // It fails only where nobody listens any more.
            let _ = walker.all(&plan);
        });
        Self { found, started }
    }
}

/// Nobody listens any more.
struct Unheard;

/// A directory that the walk is in.
struct Open {
    /// The file system that it lies on, where that is known.
    device: Option<u64>,
    /// To look at what is in it without walking down to it again; opened when first used.
    fd: Option<OwnedFd>,
    /// It has its name in the one above.
    is_below: bool,
}

struct Walker {
    options: SurveyOptions,
    /// Whether the filter has anything to say.
    filters: bool,
    stop: Arc<AtomicBool>,
    out: Sender<Vec<Found>>,
    waiting: Vec<Found>,
    describer: Describer,
    own: Vec<(u64, u64)>,
    trail: Trail,
    open: Vec<Open>,
    /// For listings.
    space: Vec<u8>,
}

impl Walker {
    fn all(&mut self, plan: &Plan) -> Result<(), Unheard> {
        let (Place::Source(path) | Place::Passage { path, .. }) = &plan.root;
        self.enter(Entry { name: Vec::new(), kind: no_tree(), meta: Meta::default() }, Some(path), None)?;
        match &plan.root {
            Place::Source(path) => self.below(path)?,
            Place::Passage { below, .. } => self.passage(below)?,
        }
        self.leave()?;
        self.flush()
    }

    fn send(&mut self, found: Found) -> Result<(), Unheard> {
        self.waiting.push(found);
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Unheard> {
        let together = std::mem::replace(&mut self.waiting, Vec::with_capacity(TOGETHER));
        self.out.send(together).map_err(|_| Unheard)
    }

    fn problem(&mut self, path: &[u8], why: String) -> Result<(), Unheard> {
        self.send(Found::Problem(path.to_vec(), why))
    }

    fn enter(&mut self, entry: Entry, path: Option<&Path>, device: Option<u64>) -> Result<(), Unheard> {
        self.trail.enter(&entry.name, path);
        self.open.push(Open { device, fd: None, is_below: path.is_none() });
        if let Some(outer) = self.open.len().checked_sub(HELD).and_then(|at| self.open.get_mut(at)) {
            outer.fd = None;
        }
        self.send(Found::Enter(entry, path.map(Path::to_path_buf)))
    }

    fn leave(&mut self) -> Result<(), Unheard> {
        self.open.pop();
        self.trail.leave();
        self.send(Found::Leave)
    }

    fn passage(&mut self, below: &BTreeMap<Vec<u8>, Place>) -> Result<(), Unheard> {
        for (name, place) in below {
            match place {
                Place::Source(path) => self.source(name, path)?,
                Place::Passage { path, below } => {
                    let mut meta = Meta { mode: 0o755, ..Meta::default() };
                    if let Ok(found) = source::follow(path) {
                        meta = self.describer.meta(&found);
                    }
                    (meta.mtime, meta.ctime) = (Time::default(), Time::default());
                    meta.flags |= flags::PASSAGE;
                    self.enter(Entry { name: name.clone(), kind: no_tree(), meta }, Some(path), None)?;
                    self.passage(below)?;
                    self.leave()?;
                }
            }
        }
        Ok(())
    }

    /// A source under its stored name.
    fn source(&mut self, name: &[u8], path: &Path) -> Result<(), Unheard> {
        let looked = source::look(CWD, path);
        let looked = looked.and_then(|found| Ok((found, source::kind(CWD, path.as_os_str(), &found)?)));
        match looked {
            Err(err) => self.problem(&self.trail.stored_of(name), err.to_string()),
            Ok((found, _)) if self.excludes(name, path, &found) || self.is_own(&found) => Ok(()),
            Ok((found, kind)) => {
                let entry = Entry { name: name.to_vec(), kind, meta: self.describer.meta(&found) };
                if !entry.is_dir() {
                    return self.send(Found::Lone(entry, path.to_path_buf(), found.further_names()));
                }
                self.enter(entry, Some(path), Some(found.id.0))?;
                self.below(path)?;
                self.leave()
            }
        }
    }

    /// Everything below a source directory that is already entered: directories before their contents, names in order
    /// of their bytes. Follows no links.
    fn below(&mut self, root: &Path) -> Result<(), Unheard> {
        if self.options.filter.excludes_contents(root) {
            return Ok(());
        }
        let device = match self.options.one_file_system {
            true => source::follow(root).ok().map(|root| root.id.0),
            false => None,
        };
        let base = self.open.len();
        let mut todo = vec![self.names(device)?];
        while let Some(names) = todo.last_mut() {
            if self.stop.load(Ordering::Relaxed) {
                todo.clear();
            } else if let Some(name) = names.next() {
                if self.entry(name)? {
                    let outside = self.options.filter.excludes_contents(self.trail.place());
                    todo.push(if outside { Vec::new().into_iter() } else { self.names(device)? });
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
        Ok(())
    }

    /// Names in the open directory; none if it lies on another device than this.
    fn names(&mut self, device: Option<u64>) -> Result<vec::IntoIter<Vec<u8>>, Unheard> {
        let other = |open: &Open| device.is_some() && open.device.is_some() && open.device != device;
        if self.open.last().is_some_and(other) {
            return Ok(Vec::new().into_iter());
        }
        let mut space = std::mem::take(&mut self.space);
        let names = self.dir().and_then(|dir| source::names(dir, &mut space));
        self.space = space;
        match names {
            Ok(names) => return Ok(names.into_iter()),
            Err(err) => self.unreadable(&err)?,
        }
        Ok(Vec::new().into_iter())
    }

    /// The open directory cannot be read. What is gone before it is looked at was never there.
    fn unreadable(&mut self, err: &io::Error) -> Result<(), Unheard> {
        let path = self.trail.place().as_os_str().as_bytes().to_vec();
        match err.kind() {
            io::ErrorKind::NotFound => self.send(Found::Vanished(path)),
            _ => self.problem(&path, err.to_string()),
        }
    }

    /// An entry of the open directory; true when it is a directory that is now open itself.
    fn entry(&mut self, name: Vec<u8>) -> Result<bool, Unheard> {
        let (found, kind) = match self.look(&name) {
            Ok(looked) => looked,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return self.send(Found::Vanished(self.trail.stored_of(&name))).map(|()| false);
            }
            Err(err) => return self.no_entry(&name, err.to_string()),
        };
        if self.filters && self.excludes(&name, &self.trail.place_of(&name), &found) || self.is_own(&found) {
            return Ok(false);
        }
        let long = self.trail.stored().len() + name.len() >= MAX_PATH - 256;
        if found.is_dir() && (self.trail.depth() >= MAX_NESTING || long) {
            return self.no_entry(&name, "left out: too many directories inside one another".to_owned());
        }
        let entry = Entry { name, kind, meta: self.describer.meta(&found) };
        if entry.is_dir() {
            return self.enter(entry, None, Some(found.id.0)).map(|()| true);
        }
        self.send(Found::Entry(entry, found.further_names())).map(|()| false)
    }

    fn no_entry(&mut self, name: &[u8], why: String) -> Result<bool, Unheard> {
        let path = self.trail.place_of(name);
        self.problem(path.as_os_str().as_bytes(), why).map(|()| false)
    }

    fn look(&mut self, name: &[u8]) -> io::Result<(Inode, Kind)> {
        let dir = self.dir()?;
        let found = source::look(dir, name)?;
        let kind = source::kind(dir, name, &found)?;
        Ok((found, kind))
    }

    /// The open directory.
    fn dir(&mut self) -> io::Result<&OwnedFd> {
        let (open, above) = self.open.split_last_mut().ok_or(io::ErrorKind::NotFound)?;
        let fd = match (open.fd.take(), above.last().and_then(|above| above.fd.as_ref())) {
            (Some(fd), _) => fd,
            (None, Some(above)) if open.is_below => source::open_dir_in(above, self.trail.name())?,
            (None, _) => source::open_dir(self.trail.place())?,
        };
        Ok(open.fd.insert(fd))
    }

    fn excludes(&self, name: &[u8], path: &Path, found: &Inode) -> bool {
        let stored = self.trail.stored_of(name);
        self.filters && self.options.filter.excludes(path, &stored, found.is_dir(), found.size)
    }

    /// A folder of the program's own.
    fn is_own(&self, found: &Inode) -> bool {
        found.is_dir() && self.own.contains(&found.id)
    }
}

/// A directory whose tree is not known yet.
fn no_tree() -> Kind {
    Kind::Dir { tree: ChunkId::new([0; 32]) }
}
