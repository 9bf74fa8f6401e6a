//! The cost of a run, counted in storage calls and bytes, never in time.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::fs::inotify;
use snap_backup::model::manifest::{Counts, SnapshotKind};
use snap_backup::ops::backup::{Backup, Options};
use snap_backup::repo::index::Index;
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::repo::snapshots;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Control, Result};

use crate::support::dates::ahead;
use crate::support::heard::Heard;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::{CHEAP_KDF, Random};

/// Counts calls and bytes.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStorage,
    reads: AtomicU64,
    tree_reads: AtomicU64,
    writes: AtomicU64,
}

impl Counting {
    fn take(&self) -> (u64, u64, u64) {
        (
            self.reads.swap(0, Ordering::Relaxed),
            self.tree_reads.swap(0, Ordering::Relaxed),
            self.writes.swap(0, Ordering::Relaxed),
        )
    }
}

impl Storage for Counting {
    fn location(&self) -> String {
        "counting".into()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.list(area)
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(area, name, limit)
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.tree_reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read_range(area, name, offset, out)
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.create(area, name, parts)
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.create_held(area, name, bytes)
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.replace(area, name, bytes)
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.inner.is_held(area, name)
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.remove(area, name)
    }
    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.inner.sync(area)
    }
}

#[test]
fn unchanged_run_writes_nothing_and_opens_no_file() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("src");
    for dir in 0..20 {
        let dir = source.join(format!("d{dir}"));
        fs::create_dir_all(&dir).unwrap();
        (0..20).for_each(|file| fs::write(dir.join(format!("f{file}")), format!("{dir:?} {file}")).unwrap());
    }
    let storage = Arc::new(Counting::default());
    let cache = Some(home.path().join("cache"));
    let options = Options { sources: vec![source], ..Options::default() };
    let init = InitOptions {
        password: Some("p".to_owned().into()),
        kdf: CHEAP_KDF,
        cache: cache.clone(),
        ..InitOptions::default()
    };
    let first = Repository::init(storage.clone(), &init).unwrap();
    let made = Backup::begin(options.clone(), None, &Control::default().with_clock(ahead))
        .unwrap()
        .run(&first, &Control::default())
        .unwrap();
    assert_eq!((made.counts.files_new, made.problems.len()), (400, 0));
    drop(first);

    storage.take();
    let (password, heard) = (Some("p".to_owned().into()), Heard::default());
    let access = OpenOptions { password, cache, control: heard.control(), ..OpenOptions::default() };
    let repo = Repository::open(storage.clone(), &access).unwrap();
    let again = Backup::begin(options.clone(), None, &Control::default().with_clock(ahead))
        .unwrap()
        .run(&repo, &Control::default())
        .unwrap();
    let (reads, tree_reads, writes) = storage.take();
    assert_eq!((again.counts.files_unchanged, again.counts.bytes_read), (400, 0));
    assert!(again.snapshot.is_none() && again.newest == made.snapshot);
    assert_eq!(writes, 0, "an unchanged run writes nothing");
    assert!(reads <= 10, "{reads} store calls");
    assert!(tree_reads <= 2, "{tree_reads} reads of tree blocks");
    assert_eq!(heard.take(), Vec::<String>::new());
}

#[test]
fn an_unchanged_run_opens_no_file_of_the_source() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("src");
    fs::create_dir(&source).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    for name in ["a", "b", "c"] {
        let path = source.join(name);
        fs::write(&path, name).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    }
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    for name in ["a", "b", "c"] {
        inotify::add_watch(&watch, source.join(name), inotify::WatchFlags::OPEN).unwrap();
    }
    let opened = || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&watch, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(|_| ())).count()
    };
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let repo = Repository::init(storage, &InitOptions::default()).unwrap();
    // The ctimes of the files are recent. Without them, only the mtimes show that the files are old.
    let options = Options { sources: vec![source], ignore_ctime: true, ..Options::default() };
    let run = || {
        Backup::begin(options.clone(), None, &Control::default())
            .unwrap()
            .run(&repo, &Control::default())
            .unwrap()
    };
    run();
    assert_eq!(opened(), 3, "the watch sees each file opened once");
    let again = run();
    assert_eq!((again.counts.files_unchanged, opened()), (3, 0));
}

/// System calls on the tree, counted from outside: one statx for each entry, no attribute is read and no file
/// opened.
#[test]
fn an_unchanged_run_asks_once_for_each_entry() {
    let sandbox = crate::support::Sandbox::open();
    for dir in 0..10 {
        (0..20).for_each(|file| sandbox.write(&[(&format!("d{dir}/f{file}-of-the-tree"), "text")]));
    }
    let traced = |log: &str| {
        let mut command = std::process::Command::new("strace");
        let bin = sandbox.command(&["backup", "src"]);
        let calls = "trace=%file,flistxattr,fgetxattr,lseek";
        command.args(["-f", "-qq", "-e", calls, "-o", log]).arg(bin.get_program()).args(bin.get_args());
        command.current_dir(sandbox.path("")).env_clear();
        bin.get_envs().filter_map(|(name, value)| Some((name, value?))).for_each(|(name, value)| {
            command.env(name, value);
        });
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.output().is_ok_and(|output| output.status.success())
    };
    let log = sandbox.path("log");
    if !traced(log.to_str().unwrap()) {
        crate::support::skipped("no strace, or it may not trace");
        return;
    }
    // More recent files are read again on purpose.
    std::thread::sleep(Duration::from_millis(2500));
    sandbox.ok(&["backup", "--allow-empty", "src"]);
    assert!(traced(log.to_str().unwrap()));
    let log = fs::read_to_string(log).unwrap();
    let count = |call: &str, what: &str| {
        log.lines().filter(|line| line.contains(call) && line.contains(what)).count()
    };
    assert_eq!(count("statx(", "-of-the-tree"), 200, "{log}");
    for call in ["open", "listxattr", "getxattr", "lseek", "readlink"] {
        assert_eq!(count(call, "-of-the-tree"), 0, "{call}");
    }
    assert_eq!(count("listxattr", ""), count("listxattr", "ENOENT"), "{log}");
}

/// A directory that is reused because it equals the parent's must give the same result as a walk.
#[test]
fn an_incremental_has_the_tree_of_a_full_to_the_byte() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("src");
    let path = |name: &str| source.join(name);
    for dir in ["all/same/deep", "first", "last", "gone", "link", "late/deep/er", "empty"] {
        fs::create_dir_all(path(dir)).unwrap();
    }
    for name in
        ["all/same/a", "all/same/deep/b", "all/z", "top", "late/deep/er/c", "late/deep/er/d", "late/a"]
    {
        fs::write(path(name), name).unwrap();
    }
    for (dir, file) in
        ["first", "last", "gone", "link"].iter().flat_map(|dir| [(dir, "1"), (dir, "2"), (dir, "3")])
    {
        fs::write(path(dir).join(file), file).unwrap();
    }
    std::os::unix::fs::symlink("1", path("link/0")).unwrap();
    let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap();
    let run = |kind| {
        let options = Options { sources: vec![source.clone()], kind, ..Options::default() };
        let made = Backup::begin(options, None, &Control::default().with_clock(ahead))
            .unwrap()
            .run(&repo, &Control::default())
            .unwrap();
        let made_of = snapshots::load(&repo, &made.snapshot.unwrap().hex()).unwrap().unwrap();
        (made_of.manifest.root, made.counts)
    };
    run(SnapshotKind::Full);
    fs::write(path("first/1"), "other").unwrap();
    fs::write(path("last/3"), "other").unwrap();
    fs::write(path("late/deep/er/d"), "other").unwrap();
    fs::remove_file(path("gone/2")).unwrap();
    fs::remove_file(path("link/0")).unwrap();
    std::os::unix::fs::symlink("2", path("link/0")).unwrap();
    let (root, counts) = run(SnapshotKind::Incremental);
    let unread = [counts.files_new, counts.files_changed, counts.files_removed, counts.files_unchanged];
    assert_eq!(unread, [0, 3, 1, 15], "new, changed, removed, unchanged");
    let (whole, all) = run(SnapshotKind::Full);
    assert_eq!(root, whole);
    let sums = |counts: &Counts| (counts.dirs, counts.others, counts.bytes_total);
    assert_eq!(sums(&counts), sums(&all));
}

#[test]
fn small_additions_are_compressed_at_a_higher_level() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("src");
    let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap();
    let mut random = crate::support::Random::new(5);
    // Different words each time, from the same sentences.
    let mut text = || -> String {
        let sentences: Vec<String> = (0..400).map(|_| format!("{:x} ", random.next()).repeat(2)).collect();
        (0..20_000).map(|_| random.pick(&sentences).as_str()).collect()
    };
    let mut stored = |level| {
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("text"), text()).unwrap();
        let options = Options { sources: vec![source.clone()], level, ..Options::default() };
        let made = Backup::begin(options, None, &Control::default())
            .unwrap()
            .run(&repo, &Control::default())
            .unwrap();
        made.counts.bytes_stored as f64
    };
    let (first, second, as_asked) = (stored(None), stored(None), stored(Some(3)));
    assert!(second < 0.97 * first, "{first} at first, then {second}");
    assert!(
        (as_asked / first - 1.0).abs() < 0.02,
        "{first} at first, {as_asked} where the level is asked for"
    );
}

/// On remote storage each request takes time, however little it returns.
#[test]
fn new_machine_reads_each_table_once_and_in_parallel() {
    let storage = Arc::new(Hooked::default());
    let library = Library::on(storage.clone(), None);
    for seed in 0..12 {
        library.write("src", &[("file", &Random::new(seed).bytes(50_000))]);
        library.backup("src", Options::default());
    }
    let packs = storage.inner.list(ObjectKind::Packs).unwrap().len();
    let together = Arc::new((Mutex::new(0), Condvar::new()));
    for _ in 0..2 {
        let together = together.clone();
        storage.before(Act::Read, ObjectKind::Packs, move |_, _| {
            let mut here = together.0.lock().unwrap();
            *here += 1;
            together.1.notify_all();
            // A call that arrives alone continues after a while, and is recorded as alone.
            let both = together.1.wait_timeout_while(here, Duration::from_secs(20), |here| *here < 2);
            assert!(!both.unwrap().1.timed_out(), "one table was waited for before the next was asked for");
        });
    }
    storage.calls();
    let stranger = Repository::open(storage.clone(), &OpenOptions::default()).unwrap();
    let repo_state = RepoState::read(stranger.storage(), stranger.suite(), |_| Ok(())).unwrap();
    let index = Index::load(&stranger, repo_state).unwrap();
    assert!(storage.is_spent());
    assert_eq!(index.packs().len(), packs);
    let reads =
        storage.calls().into_iter().filter(|(act, area, _)| (*act, *area) == (Act::Read, ObjectKind::Packs));
    assert_eq!(reads.count(), packs);
}
