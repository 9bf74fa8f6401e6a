//! `restore`: plan by block, read and decode each block once, write it to all its places.
//!
//! Directories come first (open to their owner alone), files as their blocks arrive, links when files are there,
//! directories' own metadata last and deepest first.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::codec::hash::ChunkType;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::Meta;
use crate::model::entry::Part;
use crate::model::id::ChunkId;
use crate::model::id::SnapshotId;
use crate::model::record::SessionKind;
use crate::observe::Event;
use crate::observe::Observer;
use crate::store::chunks;
use crate::store::chunks::BlockReader;
use crate::store::chunks::ChunkReader;
use crate::store::index::BlockAt;
use crate::store::index::Index;
use crate::store::index::Location;
use crate::store::repository::Repository;
use crate::store::session::Session;
use crate::store::session::Sight;
use crate::store::snapshots;
use crate::store::trees;
use crate::store::trees::DirStream;
use crate::store::trees::MAX_NESTING;
use crate::tree::filter::Selection;
use crate::tree::target::NewFile;
use crate::tree::target::Target;
use crate::tree::target::TargetOptions;

/// Files planned at once: bounds memory, whatever the snapshot's size.
const WINDOW_FILES: usize = 100_000;
/// Parts planned at once.
const WINDOW_PARTS: usize = 1_000_000;

/// What to restore, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `SNAPSHOT[:path]`.
    pub selector: String,
    /// Where to.
    pub target: PathBuf,
    /// Only these.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Owners by number, not by name.
    pub numeric_ids: bool,
    /// Leave owners alone.
    pub no_owner: bool,
    /// Write runs of zeros as holes.
    pub sparse: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Read everything back and compare.
    pub verify: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Summary {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links and special files.
    pub others: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What could not be restored, and why.
    pub problems: Vec<(Vec<u8>, String)>,
    /// Some of that because of damage in the repository.
    pub damage: bool,
    /// Owners, modes, times and devices that this user may not set.
    pub left_out: u64,
}

/// A file of the window being restored.
struct Planned {
    path: Vec<u8>,
    size: u64,
    meta: Meta,
    /// Parts still to be written.
    left: AtomicUsize,
    state: Mutex<State>,
}

enum State {
    Waiting,
    Open(Arc<NewFile>),
    Failed,
    Done,
}

/// One place that a chunk goes to.
struct Use {
    file: u32,
    at: u64,
    id: ChunkId,
    location: Location,
}

struct Job<'a> {
    repo: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    index: Arc<Index>,
    target: Option<Target>,
    problems: Mutex<Vec<(Vec<u8>, String)>>,
    damage: AtomicBool,
}

#[derive(Default)]
struct Window {
    files: Vec<Planned>,
    uses: BTreeMap<BlockAt, Vec<Use>>,
    parts: usize,
}

impl Job<'_> {
    fn problem(&self, path: &[u8], err: &Error) {
        if err.is_damage() {
            self.damage.store(true, Ordering::Relaxed);
        }
        let why = err.chain();
        self.observer.notice(Event::Problem { path, why: &why });
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_vec(), why));
    }

    /// Runs one step on the target, if there is one; a failure is a problem of that path.
    fn step(&self, path: &[u8], work: impl FnOnce(&Target) -> Result<()>) -> bool {
        let Some(target) = &self.target else { return true };
        let result = work(target);
        if let Err(err) = &result {
            self.problem(path, err);
        }
        result.is_ok()
    }
}

/// Restores.
///
/// # Errors
/// When the selector names nothing, the target cannot be opened, or the run was interrupted. Single entries are
/// listed in the summary.
pub fn run(
    repo: &Repository,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Summary> {
    let clock = Instant::now();
    raise_open_files();
    let (snapshot, path) = snapshots::resolve(repo, &options.selector)?;
    let selection = Selection::new(&options.include, &options.exclude)?;
    let (session, sight) = open_session(repo, observer)?;
    let index = Arc::new(Index::load(repo, sight)?);
    let mut reader = ChunkReader::new(repo, Arc::clone(&index))?;
    let start = match &path {
        None => None,
        Some(path) => Some(trees::lookup(&mut reader, snapshot.manifest.root, path)?.ok_or_else(|| {
            let why = format!("it holds no {}", String::from_utf8_lossy(path));
            Error::NoSnapshot { selector: options.selector.clone(), why }
        })?),
    };
    let target = match options.dry_run {
        true => None,
        false => Some(Target::open(
            &options.target,
            TargetOptions {
                numeric_ids: options.numeric_ids,
                owner: !options.no_owner,
                sparse: options.sparse,
            },
        )?),
    };
    let job = Job {
        repo,
        options,
        observer,
        stop,
        index,
        target,
        problems: Mutex::default(),
        damage: AtomicBool::new(false),
    };
    let counts = &snapshot.manifest.counts;
    if path.is_none() && options.include.is_empty() {
        let files = counts.files_new + counts.files_changed + counts.files_unchanged;
        observer.notice(Event::Expect { files, bytes: counts.bytes_total });
    }
    let mut walk = Walk::new(&job, &mut reader, &selection);
    walk.all(snapshot.manifest.root, start)?;
    let Walk { files, dirs, others, bytes, .. } = walk;
    if let Some(session) = session {
        session.close()?;
    }
    let left_out = job.target.as_ref().map_or(0, |target| target.left_out().total());
    Ok(Summary {
        snapshot: snapshot.id,
        files,
        dirs,
        others,
        bytes,
        seconds: clock.elapsed().as_secs_f64(),
        problems: job.problems.into_inner().unwrap_or_else(PoisonError::into_inner),
        damage: job.damage.into_inner(),
        left_out,
    })
}

/// A file stays open from its first block to its last, and after many small changes those lie apart.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // Best effort: with too few, single files are reported.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

/// R1: a reader is a session; where none can be made it reads without one, and says so.
fn open_session(repo: &Repository, observer: &dyn Observer) -> Result<(Option<Session>, Sight)> {
    match Session::open(repo.shared_storage(), repo.ring(), SessionKind::Reader) {
        Ok((session, sight)) => Ok((Some(session), sight)),
        Err(Error::Io { .. }) => {
            observer.notice(Event::Warning(
                "the repository cannot be written to: reading without a session, so do not run gc meanwhile",
            ));
            Ok((None, Sight::look(repo.storage(), repo.ring(), |_| Ok(()))?))
        }
        Err(err) => Err(err),
    }
}

/// The walk over the snapshot, which fills windows and finishes what files cannot.
struct Walk<'a, 'j> {
    job: &'a Job<'j>,
    reader: &'a mut ChunkReader,
    selection: &'a Selection,
    window: Window,
    /// First path of each group of hard links, and those that wait to be linked to it.
    links: HashMap<u64, Vec<u8>>,
    linked: Vec<(Vec<u8>, Vec<u8>)>,
    later: Vec<(Vec<u8>, Entry)>,
    /// Directories that are made, in order; `Some` until their metadata is set.
    made: Vec<(Vec<u8>, Meta)>,
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
}

impl<'a, 'j> Walk<'a, 'j> {
    fn new(job: &'a Job<'j>, reader: &'a mut ChunkReader, selection: &'a Selection) -> Self {
        Self {
            job,
            reader,
            selection,
            window: Window::default(),
            links: HashMap::new(),
            linked: Vec::new(),
            later: Vec::new(),
            made: Vec::new(),
            files: 0,
            dirs: 0,
            others: 0,
            bytes: 0,
        }
    }

    fn all(&mut self, root: ChunkId, start: Option<Entry>) -> Result<()> {
        match start {
            None => self.tree(root)?,
            Some(Entry { kind: Kind::Dir { tree }, .. }) => self.tree(tree)?,
            Some(entry) => self.entry(entry.name.clone(), entry)?,
        }
        self.flush()?;
        for (path, entry) in std::mem::take(&mut self.later) {
            self.job.step(&path, |target| match &entry.kind {
                Kind::Symlink { target: to } => target.symlink(&path, to, &entry.meta),
                kind => target.special(&path, kind, &entry.meta),
            });
        }
        for (existing, path) in std::mem::take(&mut self.linked) {
            self.job.step(&path, |target| target.hard_link(&existing, &path));
        }
        for (path, meta) in std::mem::take(&mut self.made).iter().rev() {
            self.job.step(path, |target| target.finish_dir(path, meta));
        }
        Ok(())
    }

    fn tree(&mut self, root: ChunkId) -> Result<()> {
        let mut open: Vec<(Vec<u8>, DirStream)> = vec![(Vec::new(), DirStream::new(root))];
        while let Some((base, dir)) = open.last_mut() {
            if self.job.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let entry = match dir.next(self.reader) {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    open.pop();
                    continue;
                }
                Err(err) if err.is_damage() => {
                    let base = base.clone();
                    self.job.problem(&base, &err);
                    open.pop();
                    continue;
                }
                Err(err) => return Err(err),
            };
            let path = if base.is_empty() {
                entry.name.clone()
            } else {
                [base, b"/".as_slice(), &entry.name].concat()
            };
            match entry.kind {
                Kind::Dir { tree } => {
                    let taken = self.selection.takes(&path, true);
                    if open.len() >= MAX_NESTING {
                        let why = Error::Refused("too many directories inside one another".into());
                        self.job.problem(&path, &why);
                    } else if (taken || self.selection.may_hold(&path)) && self.dir(&path, entry.meta, taken)
                    {
                        open.push((path, DirStream::new(tree)));
                    }
                }
                _ if self.selection.takes(&path, false) => self.entry(path, entry)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a directory; false when nothing below it can be restored.
    fn dir(&mut self, path: &[u8], meta: Meta, taken: bool) -> bool {
        if !self.job.step(path, |target| target.make_dir(path)) {
            return false;
        }
        self.dirs += u64::from(taken);
        self.made.push((path.to_vec(), meta));
        true
    }

    fn entry(&mut self, path: Vec<u8>, entry: Entry) -> Result<()> {
        if entry.meta.link != 0 {
            if let Some(first) = self.links.get(&entry.meta.link).cloned() {
                self.count(&entry);
                self.linked.push((first, path));
                return Ok(());
            }
            self.links.insert(entry.meta.link, path.clone());
        }
        self.count(&entry);
        match &entry.kind {
            Kind::File { size, content } => {
                let (size, content) = (*size, content.clone());
                self.file(path, size, &content, entry.meta)?;
                if self.window.files.len() >= WINDOW_FILES || self.window.parts >= WINDOW_PARTS {
                    self.flush()?;
                }
            }
            _ => self.later.push((path, entry)),
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File { size, .. } => {
                self.files += 1;
                self.bytes += size;
            }
            _ => self.others += 1,
        }
    }

    /// Plans a file: where each of its parts comes from.
    fn file(
        &mut self,
        path: Vec<u8>,
        size: u64,
        content: &crate::model::entry::Content,
        meta: Meta,
    ) -> Result<()> {
        let number = self.window.files.len() as u32;
        let index = Arc::clone(self.reader.index());
        let mut uses: Vec<Use> = Vec::new();
        let mut at = 0u64;
        let planned = trees::each_part(self.reader, size, content, &mut |part| {
            if let Part::Chunk { id, len } = part {
                let location = index
                    .find_any(ChunkType::Data, &id)
                    .filter(|location| location.len == len)
                    .ok_or_else(|| Error::Missing { what: format!("chunk {}", id.short()) })?;
                uses.push(Use { file: number, at, id, location });
            }
            at += part.len();
            Ok(())
        });
        match planned {
            Err(err) if err.is_damage() => {
                self.job.problem(&path, &err);
                return Ok(());
            }
            other => other?,
        }
        self.window.parts += uses.len();
        let left = AtomicUsize::new(uses.len());
        self.window.files.push(Planned { path, size, meta, left, state: Mutex::new(State::Waiting) });
        for one in uses {
            self.window.uses.entry(one.location.block).or_default().push(one);
        }
        Ok(())
    }

    /// Restores the files planned so far.
    fn flush(&mut self) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        if self.job.options.dry_run {
            for file in &window.files {
                self.job.observer.notice(Event::Item {
                    action: "would restore",
                    path: &file.path,
                    size: file.size,
                });
            }
            return Ok(());
        }
        for file in window.files.iter().filter(|file| file.left.load(Ordering::Relaxed) == 0) {
            self.job.finish(file);
        }
        let blocks: Vec<(BlockAt, Vec<Use>)> = window.uses.into_iter().collect();
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        std::thread::scope(|scope| {
            let (job, files, blocks, next) = (self.job, window.files.as_slice(), blocks.as_slice(), &next);
            let all: Vec<_> =
                (0..workers).map(|_| scope.spawn(move || job.blocks(files, blocks, next))).collect();
            all.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(Error::Stopped)))
        })?;
        if self.job.options.verify {
            self.job.verify(&window.files, &blocks);
        }
        Ok(())
    }
}

impl Job<'_> {
    /// A worker: takes the next block until none is left.
    fn blocks(&self, files: &[Planned], blocks: &[(BlockAt, Vec<Use>)], next: &AtomicUsize) -> Result<()> {
        let mut reader = BlockReader::new(self.repo)?;
        let mut spare = ChunkReader::new(self.repo, Arc::clone(&self.index))?;
        let mut plain = Vec::new();
        while let Some((at, uses)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let read = reader.read(&self.index, *at, &mut plain);
            let mut named: Option<(ChunkId, Result<()>)> = None;
            for one in uses {
                let Some(file) = files.get(one.file as usize) else { continue };
                let sound = match &named {
                    Some((id, Ok(()))) if *id == one.id => true,
                    _ => {
                        read.is_ok()
                            && chunks::slice(
                                self.repo.namer(),
                                ChunkType::Data,
                                &one.id,
                                &plain,
                                &one.location,
                            )
                            .is_ok()
                    }
                };
                if sound {
                    named = Some((one.id, Ok(())));
                    let start = one.location.start as usize;
                    let bytes = plain.get(start..start + one.location.len as usize).unwrap_or_default();
                    self.write(file, one.at, bytes);
                } else {
                    // Another copy may be whole.
                    match spare.get(ChunkType::Data, &one.id) {
                        Ok(bytes) => self.write(file, one.at, &bytes),
                        Err(err) => self.fail(file, &err),
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads back what was written and compares it with the ids.
    fn verify(&self, files: &[Planned], blocks: &[(BlockAt, Vec<Use>)]) {
        for one in blocks.iter().flat_map(|(_, uses)| uses) {
            let Some(file) = files.get(one.file as usize) else { continue };
            if !matches!(*file.state.lock().unwrap_or_else(PoisonError::into_inner), State::Done) {
                continue;
            }
            let path = self.options.target.join(OsStr::from_bytes(&file.path));
            let mut bytes = vec![0u8; one.location.len as usize];
            let read = File::open(&path).and_then(|open| open.read_exact_at(&mut bytes, one.at));
            let read = read.map_err(Error::io("read back", &path));
            let sound = self.repo.namer().name(ChunkType::Data, &bytes) == one.id;
            if let Err(err) = read.and_then(|()| {
                sound
                    .then_some(())
                    .ok_or_else(|| Error::Refused("what was written reads back differently".into()))
            }) {
                self.fail(file, &err);
            }
        }
    }

    fn write(&self, file: &Planned, at: u64, bytes: &[u8]) {
        let open = match self.open(file) {
            Ok(Some(open)) => open,
            Ok(None) => return,
            Err(err) => return self.fail(file, &err),
        };
        if let Err(err) = open.write_at(at, bytes) {
            return self.fail(file, &err);
        }
        drop(open);
        self.observer.notice(Event::Done { files: 0, bytes: bytes.len() as u64 });
        if file.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(file);
        }
    }

    fn open(&self, file: &Planned) -> Result<Option<Arc<NewFile>>> {
        let mut state = file.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting = *state {
            let Some(target) = &self.target else { return Ok(None) };
            *state = State::Open(Arc::new(target.new_file(&file.path, file.size)?));
        }
        Ok(match &*state {
            State::Open(open) => Some(Arc::clone(open)),
            _ => None,
        })
    }

    fn fail(&self, file: &Planned, err: &Error) {
        let mut state = file.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Failed) {
            *state = State::Failed;
            drop(state);
            self.problem(&file.path, err);
        }
    }

    /// All parts are written: gives the file its name and metadata.
    fn finish(&self, file: &Planned) {
        if let Err(err) = self.open(file) {
            return self.fail(file, &err);
        }
        let mut state = file.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Open(open) = std::mem::replace(&mut *state, State::Done) else {
            *state = State::Failed;
            return;
        };
        drop(state);
        // Whoever wrote the last part holds the last reference: the others dropped theirs before counting down.
        let done = Arc::into_inner(open).ok_or(Error::Stopped).and_then(|open| open.finish(&file.meta));
        match done {
            Ok(()) => {
                self.observer.notice(Event::Item { action: "restored", path: &file.path, size: file.size });
                self.observer.notice(Event::Done { files: 1, bytes: 0 });
            }
            Err(err) => self.fail(file, &err),
        }
    }
}
